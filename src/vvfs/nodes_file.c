/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The file "nodes" of a pool directory with a node's credentials: its layout is in node_setup.h. It is replaced as a whole. */
#include "node_setup.h"

#include "address.h"
#include "codec.h"
#include "error.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#define FIRST_LINE "vvfs-nodes 1"
#define FILE_BYTES_MAX (128u << 10) /* 64 nodes of 800 bytes, twice */

bool vv_nodes_exist(const char *directory)
{
    g_autofree char *path = g_build_filename(directory, "nodes", NULL);

    return g_file_test(path, G_FILE_TEST_EXISTS);
}

static char *format(const VvJoined *joined)
{
    GString *text = g_string_new(FIRST_LINE "\n");

    g_string_append_printf(text, "self %" G_GUINT64_FORMAT " %s\n", joined->node, vv_token_role_name(joined->role));
    for (unsigned i = 0; i < joined->nodes->len; i++) {
        const VvKnownNode *node = &g_array_index(joined->nodes, VvKnownNode, i);
        g_autofree char *addresses = g_strjoinv(" ", node->addresses);

        g_string_append_printf(text, "node %" G_GUINT64_FORMAT " %s %s %s\n", node->id, node->guest ? "guest" : "member", node->name,
            addresses);
    }
    g_string_append_printf(text, "crc %08x\n", vv_crc32c(0, text->str, text->len));
    return g_string_free(text, FALSE);
}

bool vv_nodes_save(const char *directory, const VvJoined *joined, GError **error)
{
    g_autofree char *text = format(joined), *path = g_build_filename(directory, "nodes", NULL), *there = NULL;
    int result;

    if (g_file_get_contents(path, &there, NULL, NULL) && strcmp(there, text) == 0)
        return true;
    result = vv_replace_file(directory, "nodes", text);
    if (result != 0)
        vv_set_error_errno(error, result, path, "cannot write %s", path);
    return result == 0;
}

static bool parse_id(const char *text, uint64_t *ret_id)
{
    char *end = NULL;

    *ret_id = g_ascii_isdigit(*text) ? g_ascii_strtoull(text, &end, 10) : 0;
    return *ret_id != 0 && *end == '\0';
}

/* "node ID member|guest NAME ADDRESS..." */
static bool parse_node(const char *line, GArray *nodes)
{
    g_auto(GStrv) words = g_strsplit(line, " ", -1);
    uint64_t id;

    if (g_strv_length(words) < 5 || g_strv_length(words) > 4 + VV_NODE_ADDRESSES_MAX || strcmp(words[0], "node") != 0 ||
        !parse_id(words[1], &id) || (strcmp(words[2], "guest") != 0 && strcmp(words[2], "member") != 0))
        return false;
    vv_known_nodes_add(nodes, id, strcmp(words[2], "guest") == 0, words[3], (const char *const *) words + 4);
    return true;
}

static bool parse_self(const char *line, VvJoined *joined)
{
    g_auto(GStrv) words = g_strsplit(line, " ", -1);

    return g_strv_length(words) == 3 && strcmp(words[0], "self") == 0 && parse_id(words[1], &joined->node) &&
           vv_token_role_parse(words[2], &joined->role);
}

static bool parse(const char *text, VvJoined *joined)
{
    const char *last = g_strrstr(text, "\ncrc ");
    g_autofree char *wanted = last ? g_strdup_printf("crc %08x\n", vv_crc32c(0, text, (size_t) (last + 1 - text))) : NULL;
    g_auto(GStrv) lines = NULL;

    if (!last || strcmp(last + 1, wanted) != 0)
        return false;
    lines = g_strsplit(text, "\n", -1);
    if (g_strv_length(lines) < 4 || strcmp(lines[0], FIRST_LINE) != 0 || !parse_self(lines[1], joined))
        return false;
    joined->nodes = vv_known_nodes_new();
    for (char **line = lines + 2; !g_str_has_prefix(*line, "crc "); line++)
        if (!parse_node(*line, joined->nodes))
            return false;
    if (!vv_known_nodes_check(joined->nodes, NULL))
        return false;
    for (unsigned i = 0; i < joined->nodes->len; i++) {
        const VvKnownNode *node = &g_array_index(joined->nodes, VvKnownNode, i);

        if (node->id == joined->node)
            joined->node_name = g_strdup(node->name);
    }
    return joined->node_name != NULL;
}

bool vv_nodes_load(const char *directory, VvJoined *ret_joined, GError **error)
{
    g_autofree char *path = g_build_filename(directory, "nodes", NULL), *text = g_malloc0(FILE_BYTES_MAX + 1);
    vv_autofd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    g_auto(VvJoined) joined = { 0 };
    ssize_t got = fd < 0 ? -1 : read(fd, text, FILE_BYTES_MAX);

    if (got < 0) {
        vv_set_error_errno(error, errno, path, "cannot read %s", path);
        return false;
    }
    if ((size_t) got != strlen(text) || !parse(text, &joined)) {
        vv_set_error(error, VV_ERROR_DAMAGED, path, NULL, "%s is damaged", path);
        return false;
    }
    *ret_joined = joined;
    memset(&joined, 0, sizeof joined);
    return true;
}
