/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The pool's settings. Stored as text by key; what is not stored has its default:
 *
 *   key              default  values                        means
 *   default-mode     0600     octal, up to 7777             permission bits of a new LUN
 *   default-uid      0        number                        its owner
 *   default-gid      0        number                        its group
 *   default-on-full  error    error, wait                   what a write does when there is no space
 *   default-timeout  60       1 to 86400 seconds            how long a request may wait
 *   default-redirect auto     auto, always                  whether own blocks are overwritten where they are
 *   warn-used        80       1 to 100 percent              doctor warns from here on
 *   restore-keep     0        0 to 1000000                  points of restores kept per LUN; 0: all
 *   repack           auto     auto, off                     whether scattered LUNs are repacked when the pool is idle
 *   share-default    rw       rw, ro, none                  who may use a LUN whose own table does not say: every member. It is stored
 *                                                           with the tables (sharing.h)
 */
#include "members.h"
#include "sharing.h"
#include "transaction.h"

#include <stdlib.h>
#include <string.h>

typedef enum { KIND_NUMBER, KIND_OCTAL, KIND_WORD, KIND_SHARE /* words of sharing.h; not in the settings' table */ } Kind;

static const struct {
    const char *key;
    Kind kind;
    uint64_t least, most, standard;
    const char *words[4]; /* KIND_WORD: numbers are positions */
    const char *accepted;
} settings[] = {
    { "default-mode", KIND_OCTAL, 0, 07777, 0600, { NULL }, "octal permission bits, 0 to 7777" },
    { "default-uid", KIND_NUMBER, 0, UINT32_MAX - 1, 0, { NULL }, "a number" },
    { "default-gid", KIND_NUMBER, 0, UINT32_MAX - 1, 0, { NULL }, "a number" },
    { "default-on-full", KIND_WORD, 0, 1, VV_ON_FULL_ERROR, { "error", "wait", NULL }, "error or wait" },
    { "default-timeout", KIND_NUMBER, 1, 86400, VV_LUN_TIMEOUT_SECONDS, { NULL }, "1 to 86400 (seconds)" },
    { "default-redirect", KIND_WORD, 0, 1, 0, { "auto", "always", NULL }, "auto or always" },
    { "warn-used", KIND_NUMBER, 1, 100, 80, { NULL }, "1 to 100 (percent)" },
    { "restore-keep", KIND_NUMBER, 0, 1000000, 0, { NULL }, "0 (all) to 1000000" },
    { "repack", KIND_WORD, 0, 1, 0, { "auto", "off", NULL }, "auto or off" },
    { "share-default", KIND_SHARE, VV_SHARE_NONE, VV_SHARE_RW, VV_SHARE_RW, { NULL }, "rw, ro or none" },
};

static int find_setting(const char *key)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(settings); i++)
        if (strcmp(settings[i].key, key) == 0)
            return (int) i;
    return -1;
}

static bool parse_value(int index, const char *text, uint64_t *ret_value)
{
    uint64_t value;
    char *end;

    if (settings[index].kind == KIND_SHARE) {
        VvShareMode mode;

        if (!vv_share_mode_parse(text, &mode, NULL) || mode == VV_SHARE_UNSET)
            return false;
        *ret_value = mode;
        return true;
    }
    if (settings[index].kind == KIND_WORD) {
        for (unsigned i = 0; settings[index].words[i]; i++)
            if (strcmp(settings[index].words[i], text) == 0) {
                *ret_value = i;
                return true;
            }
        return false;
    }
    if (!g_ascii_isdigit(*text))
        return false;
    value = g_ascii_strtoull(text, &end, settings[index].kind == KIND_OCTAL ? 8 : 10);
    if (*end || value < settings[index].least || value > settings[index].most)
        return false;
    *ret_value = value;
    return true;
}

uint64_t vv_setting_number(const VvPool *pool, const char *key)
{
    int index = find_setting(key);
    const char *text = g_hash_table_lookup(vv_meta_pool(pool->meta)->settings, key);
    uint64_t value;

    g_assert(index >= 0);
    return text && parse_value(index, text, &value) ? value : settings[index].standard;
}

void vv_setting_defaults(const VvPool *pool, VvLunProps *ret_props)
{
    *ret_props = (VvLunProps){
        .mode = (uint32_t) vv_setting_number(pool, "default-mode"),
        .uid = (uint32_t) vv_setting_number(pool, "default-uid"),
        .gid = (uint32_t) vv_setting_number(pool, "default-gid"),
        .on_full = (uint8_t) vv_setting_number(pool, "default-on-full"),
        .timeout_s = (uint32_t) vv_setting_number(pool, "default-timeout"),
        .redirect_always = vv_setting_number(pool, "default-redirect") != 0,
        .copies = 1,
    };
}

char **vv_pool_settings(VvPool *pool)
{
    g_autoptr(GPtrArray) pairs = g_ptr_array_new();

    {
        VV_META_READ(pool->meta);

        for (unsigned i = 0; i < G_N_ELEMENTS(settings); i++) {
            uint64_t value = settings[i].kind == KIND_SHARE ? vv_share_standard(pool->meta) : vv_setting_number(pool, settings[i].key);

            g_ptr_array_add(pairs, g_strdup(settings[i].key));
            g_ptr_array_add(pairs, settings[i].kind == KIND_WORD    ? g_strdup(settings[i].words[value])
                                   : settings[i].kind == KIND_SHARE ? g_strdup(vv_share_mode_name((VvShareMode) value))
                                   : settings[i].kind == KIND_OCTAL
                                       ? g_strdup_printf("%04" G_GINT64_MODIFIER "o", value)
                                       : g_strdup_printf("%" G_GUINT64_FORMAT, value));
        }
    }
    g_ptr_array_add(pairs, NULL);
    return (char **) g_ptr_array_free(g_steal_pointer(&pairs), FALSE);
}

static bool check_setting(const char *key, const char *value, GError **error)
{
    int index = find_setting(key);
    uint64_t number;
    g_autoptr(GString) known = NULL;

    if (index >= 0 && parse_value(index, value, &number))
        return true;
    if (index >= 0) {
        vv_set_error(error, VV_ERROR_USAGE, key, settings[index].accepted, "%s cannot be \"%s\"", key, value);
        return false;
    }
    known = g_string_new(NULL);
    for (unsigned i = 0; i < G_N_ELEMENTS(settings); i++)
        g_string_append_printf(known, "%s%s", i > 0 ? ", " : "", settings[i].key);
    vv_set_error(error, VV_ERROR_USAGE, key, known->str, "a pool has no setting \"%s\"", key);
    return false;
}

static bool add_setting(VvTransaction *tx, const char *key, const char *value, GError **error)
{
    VvShareMode mode;
    VvOp *op;

    if (settings[find_setting(key)].kind == KIND_SHARE)
        return vv_share_mode_parse(value, &mode, error) && vv_share_set_standard(tx, mode, error);
    op = vv_transaction_add(tx, VV_OP_POOL_SET);
    op->pool_set.key = g_strdup(key);
    op->pool_set.value = g_strdup(value);
    return true;
}

static bool set_once(VvPool *pool, const char *const *keys, const char *const *values, VvRequest *request,
    GError **error)
{
    g_auto(VvTransaction) tx = VV_TRANSACTION_INIT;

    for (unsigned i = 0; keys[i]; i++)
        if (!check_setting(keys[i], values[i], error))
            return false;
    if (!vv_transaction_begin(&tx, pool, request, false, error))
        return tx.repeated;
    for (unsigned i = 0; keys[i]; i++)
        if (!add_setting(&tx, keys[i], values[i], error))
            return false;
    return vv_transaction_commit(&tx, NULL, 0, "pool", error);
}

bool vv_pool_check(VvPool *pool, VvCheckFunc report, void *user, GError **error)
{
    int result;

    vv_members_check(pool->meta, report, user);
    result = vv_meta_check(pool->meta, false, report, user);
    if (result < 0)
        vv_set_error_errno(error, result, NULL, "the pool could not be checked to the end");
    return result == 0;
}

/* ---- properties of LUNs */

bool vv_props_check(uint32_t mask, const VvLunProps *props, const char *object, GError **error)
{
    if (mask & VV_LUN_MODE && props->mode > 07777) {
        vv_set_error(
            error, VV_ERROR_USAGE, object, "octal permission bits, 0 to 7777", "mode cannot be %o", props->mode);
        return false;
    }
    if (mask & VV_LUN_ON_FULL && props->on_full > VV_ON_FULL_WAIT) {
        vv_set_error(error, VV_ERROR_USAGE, object, "error or wait", "on-full cannot be %u", props->on_full);
        return false;
    }
    if (mask & VV_LUN_TIMEOUT && (props->timeout_s < 1 || props->timeout_s > 86400)) {
        vv_set_error(error, VV_ERROR_USAGE, object, "1 to 86400 (seconds)", "timeout cannot be %u", props->timeout_s);
        return false;
    }
    if (mask & VV_LUN_COPIES && props->copies != 1) {
        vv_set_error(error, props->copies == 0 ? VV_ERROR_USAGE : VV_ERROR_UNSUPPORTED, object, NULL,
            "not in this version: copies=%u", props->copies);
        return false;
    }
    return true;
}

void vv_props_merge(VvLunProps *props, uint32_t mask, const VvLunProps *given)
{
    if (mask & VV_LUN_MODE)
        props->mode = given->mode;
    if (mask & VV_LUN_UID)
        props->uid = given->uid;
    if (mask & VV_LUN_GID)
        props->gid = given->gid;
    if (mask & VV_LUN_INTEGRITY)
        props->integrity = given->integrity;
    if (mask & VV_LUN_REDIRECT)
        props->redirect_always = given->redirect_always;
    if (mask & VV_LUN_ON_FULL)
        props->on_full = given->on_full;
    if (mask & VV_LUN_COPIES)
        props->copies = given->copies;
    if (mask & VV_LUN_TIMEOUT)
        props->timeout_s = given->timeout_s;
    if (mask & VV_LUN_KEEP)
        props->keep_until_ns = given->keep_until_ns;
}

/* ---- until they are decided: another node may have changed something while they looked */

static bool set_until_decided(VvPool *pool, const char *const *keys, const char *const *values, VvRequest *request, GError **error)
{
    VV_UNTIL_DECIDED(error, set_once(pool, keys, values, request, &failure));
}

bool vv_pool_set(VvPool *pool, const char *const *keys, const char *const *values, VvRequest *request, GError **error)
{
    bool done = set_until_decided(pool, keys, values, request, error);

    if (done)
        vv_pool_shares_settle(pool);
    return done;
}
