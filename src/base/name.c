/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Names of pools, disks, LUNs and snapshots, and LUN@SNAP. The rule is CLI.md section 2:
 * 1 to VV_NAME_BYTES_MAX of A-Z a-z 0-9 . _ + -, the first not -, and neither "." nor "..". */
#include "error.h"
#include "limits.h"
#include "util.h"

#include <string.h>

#define NAME_PUNCTUATION "._+-"
#define PATTERN_PUNCTUATION "._+-*?[]"
#define HINT "Names are 1 to 128 of A-Z a-z 0-9 . _ + -, do not begin with -, and are not \".\" or \"..\"."
G_STATIC_ASSERT(VV_NAME_BYTES_MAX == 128);

/* Why @name breaks the rule, newly allocated; NULL if it keeps it. */
static char *find_fault(const char *name, const char *punctuation)
{
    size_t length_bytes = strlen(name);

    if (length_bytes == 0)
        return g_strdup("it is empty");
    if (length_bytes > VV_NAME_BYTES_MAX)
        return g_strdup_printf("it has %zu characters, at most %u are allowed", length_bytes, VV_NAME_BYTES_MAX);
    for (const char *c = name; *c; c++) {
        if (g_ascii_isalnum(*c) || strchr(punctuation, *c))
            continue;
        if (g_ascii_isprint(*c))
            return g_strdup_printf("it contains '%c'", *c);
        return g_strdup("it contains a character that is not plain ASCII");
    }
    if (name[0] == '-')
        return g_strdup("it begins with '-'");
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return g_strdup("it means a directory");
    return NULL;
}

static bool check(const char *name, const char *kind, const char *punctuation, GError **error)
{
    g_autofree char *fault = find_fault(name, punctuation);
    g_autofree char *printable = NULL;

    if (!fault)
        return true;
    printable = g_strescape(name, NULL);
    vv_set_error(error, VV_ERROR_INVALID_NAME, printable, HINT, "\"%.*s\" cannot name a %s: %s",
        2 * (int) VV_NAME_BYTES_MAX, printable, kind, fault);
    return false;
}

bool vv_name_check(const char *name, const char *kind, GError **error)
{
    return check(name, kind, NAME_PUNCTUATION, error);
}

bool vv_name_split(const char *object, bool pattern, char **ret_lun, char **ret_snapshot, GError **error)
{
    const char *at = strchr(object, '@');
    g_autofree char *lun = NULL;

    if (!at || strchr(at + 1, '@')) {
        g_autofree char *printable = g_strescape(object, NULL);

        vv_set_error(error, VV_ERROR_INVALID_NAME, printable, "write LUN@SNAP",
            "\"%.*s\" does not name a snapshot: it has %s '@'", 4 * (int) VV_NAME_BYTES_MAX, printable,
            at ? "more than one" : "no");
        return false;
    }
    lun = g_strndup(object, (size_t) (at - object));
    if (!check(lun, "LUN", NAME_PUNCTUATION, error) ||
        !check(at + 1, "snapshot", pattern ? PATTERN_PUNCTUATION : NAME_PUNCTUATION, error))
        return false;
    *ret_lun = g_steal_pointer(&lun);
    *ret_snapshot = g_strdup(at + 1);
    return true;
}

bool vv_node_address_parse(const char *text, uint64_t *ret_node, const char **ret_path)
{
    const char *digits = text + strlen("node://");
    char *end;
    uint64_t node;

    if (!vv_is_node_address(text) || !g_ascii_isdigit(*digits))
        return false;
    node = g_ascii_strtoull(digits, &end, 10);
    if (node == 0 || node > INT64_MAX || *end != '/' || end[1] == '\0')
        return false;
    *ret_node = node;
    *ret_path = end;
    return true;
}

char *vv_node_address(uint64_t node, const char *path)
{
    return g_strdup_printf("node://%" G_GUINT64_FORMAT "%s", node, path);
}

char *vv_disk_base_name(const char *path)
{
    g_autofree char *export = NULL;
    uint64_t node;

    (void) vv_node_address_parse(path, &node, &path);
    if (!vv_is_address(path))
        return g_path_get_basename(path);
    path = strstr(path, "://") + 3;
    path += strcspn(path, "/?");
    export = g_strndup(path, strcspn(path, "?"));
    if (strspn(export, "/") == strlen(export))
        return g_strdup("nbd");
    return g_path_get_basename(export);
}
