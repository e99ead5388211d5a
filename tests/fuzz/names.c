/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Names, objects, UUIDs, JSON and the identity file, of any text; and what the mount finds under a name. The first byte chooses. */
#include "error.h"
#include "fuzz.h"
#include "json.h"
#include "meta_private.h"
#include "nodes.h"
#include "util.h"

#include <string.h>

static void try_names(const char *text)
{
    static const char *const kinds[] = { "LUN", "snapshot", "pool", "disk" };
    g_autofree char *lun = NULL, *snapshot = NULL;
    VvUuid uuid;
    for (unsigned i = 0; i < G_N_ELEMENTS(kinds); i++) {
        g_autoptr(GError) error = NULL;
        if (vv_name_check(text, kinds[i], &error))
            g_assert_true(*text != 0 && strlen(text) <= VV_NAME_BYTES_MAX && !strchr(text, '/') && !strchr(text, '@') &&
                          strcmp(text, ".") != 0 && strcmp(text, "..") != 0);
        else
            g_assert_error(error, VV_ERROR, VV_ERROR_INVALID_NAME);
    }
    for (unsigned pattern = 0; pattern < 2; pattern++) {
        g_autoptr(GError) error = NULL;
        if (vv_name_split(text, pattern, &lun, &snapshot, &error)) {
            g_assert_true(vv_name_check(lun, "LUN", NULL));
            g_assert_true(pattern || vv_name_check(snapshot, "snapshot", NULL));
            g_clear_pointer(&lun, g_free);
            g_clear_pointer(&snapshot, g_free);
        } else {
            g_assert_nonnull(error);
        }
    }
    if (vv_uuid_parse(text, &uuid)) {
        g_autofree char *back = vv_uuid_format(&uuid);
        g_assert_cmpint(g_ascii_strcasecmp(back, text), ==, 0);
    }
}

static void try_json(const char *text, size_t length_bytes)
{
    const char *why = NULL;
    g_autoptr(JsonNode) node = vv_json_parse(text, length_bytes, &why);
    g_assert_true((node == NULL) == (why != NULL));
    if (node == NULL)
        return;
    g_autofree char *again = vv_json_text(node);
    g_autoptr(JsonNode) back = vv_json_parse(again, strlen(again), &why);
    g_assert_true(back != NULL || strstr(again, "e") != NULL || strstr(again, "E") != NULL); /* fractions: see id_is_good() in rpc.c */
    if (JSON_NODE_HOLDS_OBJECT(node)) {
        g_autofree char *canonical = vv_json_canonical(json_node_get_object(node), NULL);
        g_assert_true(g_utf8_validate(canonical, -1, NULL));
    }
}

static void try_identity(const uint8_t *data, size_t length_bytes)
{
    g_autofree char *path = g_build_filename(fuzz_folder(), "vvfs-pool", NULL), *name = NULL;
    g_autoptr(GError) error = NULL;
    VvUuid uuid;
    g_assert_true(g_file_set_contents_full(path, (const char *) data, (gssize) length_bytes, G_FILE_SET_CONTENTS_NONE, 0600, NULL));
    if (vv_meta_identify(fuzz_folder(), &name, &uuid, &error))
        g_assert_true(vv_name_check(name, "pool", NULL));
    else
        g_assert_nonnull(error);
}

/* A catalog with nothing in it stands behind the mount: names are hashed and compared, numbers taken apart. */
static void try_mount(const uint8_t *data, size_t length_bytes)
{
    static VvFuse *fuse;
    uint64_t parent, node = 0;
    struct stat st;
    if (length_bytes < sizeof parent)
        return;
    if (fuse == NULL) {
        VvMeta *meta = g_new0(VvMeta, 1);
        vvm_catalog_init(meta);
        pthread_rwlock_init(&meta->lock, NULL);
        pthread_mutex_init(&meta->turnstile, NULL);
        fuse = g_new0(VvFuse, 1);
        fuse->meta = meta;
        vv_handles_init(&fuse->handles);
    }
    memcpy(&parent, data, sizeof parent);
    g_autofree char *name = g_strndup((const char *) data + sizeof parent, length_bytes - sizeof parent);
    if (vv_node_find(fuse, parent, name, &node) == 0)
        g_assert_cmpuint(node, <, VV_NODE_TEXT + VV_FUSE_TEXTS_MAX);
    vv_node_find(fuse, parent % 8, name, &node);
    (void) vv_node_stat(fuse, parent, NULL, &st);
    if (vv_node_name_check(name, "LUN") == 0)
        g_assert_true(vv_name_check(name, "LUN", NULL));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length_bytes)
{
    if (length_bytes == 0 || length_bytes > 65536)
        return 0;
    g_autofree char *text = g_strndup((const char *) data + 1, length_bytes - 1);
    switch (data[0] & 3) {
    case 0:
        try_names(text);
        break;
    case 1:
        try_json((const char *) data + 1, length_bytes - 1);
        break;
    case 2:
        try_identity(data + 1, length_bytes - 1);
        break;
    default:
        try_mount(data + 1, length_bytes - 1);
        break;
    }
    return 0;
}
