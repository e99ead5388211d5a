/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Checksums of the map that are lost and made anew: store_rebuild.c says what they need to fit. Here the pool is opened with them on trial, to be
 * read only, and everything in it is checked; a single finding, even one that could be repaired, may be what the lost checksums would
 * have told of. */
#include "error.h"
#include "meta_private.h"

#include <errno.h>

static void first_finding_cb(void *user, const VvCheckError *found)
{
    char **first = user;
    if (*first == NULL)
        *first = g_strdup(found->message);
}

static bool check_trial(const char *directory, GError **error)
{
    VvOpening opening = { .map_check = VV_MAP_TRIAL };
    g_autoptr(VvMeta) meta = vv_meta_open_as(directory, true, NULL, &opening, error);
    g_autofree char *finding = NULL;
    if (meta == NULL)
        return false;
    int result = vv_meta_check(meta, false, first_finding_cb, &finding);
    if (result != 0)
        vv_set_error_errno(error, result, directory, "the map in %s/map could not be checked to the end", directory);
    else if (finding != NULL)
        vv_set_error(error, VV_ERROR_DAMAGED, directory, NULL, "the map in %s/map is not in order: %s", directory, finding);
    return result == 0 && finding == NULL;
}

bool vv_meta_rebuild_sums(const char *directory, GError **error)
{
    g_autofree char *map = g_build_filename(directory, "map", NULL);
    if (!vv_store_rebuild(map, error))
        return false;
    bool sound = check_trial(directory, error);
    return vv_store_end_trial(map, sound, sound ? error : NULL) && sound;
}
