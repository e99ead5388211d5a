/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One row per key: how its value is read and written. */
#include "settings.h"

#include "error.h"

#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <time.h>

#define LUN_TIMEOUT_SECONDS_MAX 86400u

bool vv_keep_parse(const char *text, uint64_t *ret_until_ns, GError **error)
{
    g_autoptr(GTimeZone) here = g_time_zone_new_local();
    g_autofree char *midnight = strchr(text, 'T') ? NULL : g_strconcat(text, "T00:00:00", NULL);
    g_autoptr(GDateTime) time = NULL;

    if (strcmp(text, "off") == 0) {
        *ret_until_ns = 0;
        return true;
    }
    if (strcmp(text, "on") == 0) {
        *ret_until_ns = UINT64_MAX;
        return true;
    }
    time = g_date_time_new_from_iso8601(midnight ? midnight : text, here);
    if (!time || g_date_time_to_unix(time) <= 0) {
        vv_set_error(error, VV_ERROR_USAGE, text, NULL,
            "keep=%s: on, off, a date (2026-12-24) or a time (2026-12-24T18:00:00Z)", text);
        return false;
    }
    *ret_until_ns = (uint64_t) g_date_time_to_unix(time) * 1000000000u;
    return true;
}

char *vv_keep_format(uint64_t until_ns)
{
    g_autoptr(GDateTime) time = NULL;

    if (until_ns == 0)
        return g_strdup("off");
    if (until_ns == UINT64_MAX)
        return g_strdup("on");
    time = g_date_time_new_from_unix_local((gint64) (until_ns / 1000000000u));
    if (g_date_time_get_hour(time) == 0 && g_date_time_get_minute(time) == 0 && g_date_time_get_second(time) == 0)
        return g_date_time_format(time, "%Y-%m-%d");
    g_clear_pointer(&time, g_date_time_unref);
    time = g_date_time_new_from_unix_utc((gint64) (until_ns / 1000000000u));
    return g_date_time_format(time, "%Y-%m-%dT%H:%M:%SZ");
}

/* ---- values: false means "does not take that" */
static bool parse_mode(const char *text, VvLunProps *props)
{
    guint64 value;

    if (!g_ascii_string_to_unsigned(text, 8, 0, 0777, &value, NULL))
        return false;
    props->mode = (uint32_t) value;
    return true;
}

static bool parse_uid(const char *text, VvLunProps *props)
{
    guint64 value;
    struct passwd entry, *found = NULL;
    char room[4096];

    if (g_ascii_string_to_unsigned(text, 10, 0, G_MAXUINT32 - 1, &value, NULL))
        props->uid = (uint32_t) value;
    else if (getpwnam_r(text, &entry, room, sizeof(room), &found) == 0 && found)
        props->uid = found->pw_uid;
    else
        return false;
    return true;
}

static bool parse_gid(const char *text, VvLunProps *props)
{
    guint64 value;
    struct group entry, *found = NULL;
    g_autofree char *room = g_malloc(65536); /* groups have many members */

    if (g_ascii_string_to_unsigned(text, 10, 0, G_MAXUINT32 - 1, &value, NULL))
        props->gid = (uint32_t) value;
    else if (getgrnam_r(text, &entry, room, 65536, &found) == 0 && found)
        props->gid = found->gr_gid;
    else
        return false;
    return true;
}

static bool parse_word(const char *text, const char *zero, const char *one, bool *ret_one)
{
    *ret_one = strcmp(text, one) == 0;
    return *ret_one || strcmp(text, zero) == 0;
}

static bool parse_integrity(const char *text, VvLunProps *props)
{
    return parse_word(text, "off", "on", &props->integrity);
}

static bool parse_redirect(const char *text, VvLunProps *props)
{
    return parse_word(text, "auto", "always", &props->redirect_always);
}

static bool parse_on_full(const char *text, VvLunProps *props)
{
    bool wait;

    if (!parse_word(text, "error", "wait", &wait))
        return false;
    props->on_full = wait ? VV_ON_FULL_WAIT : VV_ON_FULL_ERROR;
    return true;
}

static bool parse_copies(const char *text, VvLunProps *props)
{
    guint64 value;

    if (!g_ascii_string_to_unsigned(text, 10, 1, VV_SEGMENT_COPIES_MAX, &value, NULL))
        return false;
    props->copies = (uint8_t) value;
    return true;
}

static bool parse_timeout(const char *text, VvLunProps *props)
{
    guint64 value;

    if (!g_ascii_string_to_unsigned(text, 10, 1, LUN_TIMEOUT_SECONDS_MAX, &value, NULL))
        return false;
    props->timeout_s = (uint32_t) value;
    return true;
}

static bool parse_keep(const char *text, VvLunProps *props)
{
    return vv_keep_parse(text, &props->keep_until_ns, NULL);
}

static const struct {
    const char *key;
    uint32_t bit;
    bool (*parse)(const char *text, VvLunProps *props);
    const char *takes;
} keys[] = {
    { "mode", VV_LUN_MODE, parse_mode, "permission bits, octal: 0600" },
    { "uid", VV_LUN_UID, parse_uid, "a user's name or number" },
    { "gid", VV_LUN_GID, parse_gid, "a group's name or number" },
    { "integrity", VV_LUN_INTEGRITY, parse_integrity, "on or off" },
    { "redirect", VV_LUN_REDIRECT, parse_redirect, "auto or always" },
    { "on-full", VV_LUN_ON_FULL, parse_on_full, "error or wait" },
    { "timeout", VV_LUN_TIMEOUT, parse_timeout, "seconds, 1 to 86400" },
    { "copies", VV_LUN_COPIES, parse_copies, "1 to 4" },
    { "keep", VV_LUN_KEEP, parse_keep, "on, off, a date (2026-12-24) or a time (2026-12-24T18:00:00Z)" },
};

static bool parse_one(const char *key, const char *value, uint32_t *mask, VvLunProps *props, GError **error)
{
    GString *known;

    for (size_t i = 0; i < G_N_ELEMENTS(keys); i++) {
        if (strcmp(keys[i].key, key) != 0)
            continue;
        if (!keys[i].parse(value, props)) {
            vv_set_error(error, VV_ERROR_USAGE, key, NULL, "%s=%s: %s takes %s", key, value, key, keys[i].takes);
            return false;
        }
        *mask |= keys[i].bit;
        return true;
    }
    known = g_string_new(keys[0].key);
    for (size_t i = 1; i < G_N_ELEMENTS(keys); i++)
        g_string_append_printf(known, " %s", keys[i].key);
    vv_set_error(error, VV_ERROR_USAGE, key, NULL, "no setting %s; there are %s", key, known->str);
    g_string_free(known, TRUE);
    return false;
}

bool vv_lun_settings_parse(JsonObject *settings, uint32_t *ret_mask, VvLunProps *ret_props, GError **error)
{
    VvLunProps props = { 0 };
    uint32_t mask = 0;
    JsonObjectIter iter;
    const char *key;
    JsonNode *value;

    if (settings) {
        json_object_iter_init(&iter, settings);
        while (json_object_iter_next(&iter, &key, &value))
            if (!parse_one(key, json_node_get_string(value), &mask, &props, error))
                return false;
    }
    if ((mask & VV_LUN_COPIES) && props.copies != 1) {
        vv_set_error(error, VV_ERROR_UNSUPPORTED, "copies", NULL, "not in this version: more than one copy");
        return false;
    }
    *ret_mask = mask;
    *ret_props = props;
    return true;
}

static void set_number(JsonObject *settings, const char *key, uint32_t value)
{
    g_autofree char *text = g_strdup_printf("%u", value);

    vv_json_set_string(settings, key, text);
}

void vv_lun_settings_format(const VvLunProps *props, JsonObject *settings)
{
    g_autofree char *mode = g_strdup_printf("%04o", props->mode);
    g_autofree char *keep = vv_keep_format(props->keep_until_ns);

    vv_json_set_string(settings, "mode", mode);
    set_number(settings, "uid", props->uid);
    set_number(settings, "gid", props->gid);
    vv_json_set_string(settings, "integrity", props->integrity ? "on" : "off");
    vv_json_set_string(settings, "redirect", props->redirect_always ? "always" : "auto");
    vv_json_set_string(settings, "on-full", props->on_full == VV_ON_FULL_WAIT ? "wait" : "error");
    set_number(settings, "timeout", props->timeout_s);
    set_number(settings, "copies", props->copies);
    vv_json_set_string(settings, "keep", keep);
}
