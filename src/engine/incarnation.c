/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The incarnation, and the file by which it outlives an orderly end.
 *
 * The file flushed, at most 256 bytes: "vvfs-flushed 1", "opening HEX", "incarnation HEX", "crc HEX" (crc32c of the lines before), a line each.
 * It is written when all that was acknowledged is on the disks and nothing comes any more. It speaks of the opening that wrote it: with the
 * next one's number in the map it is of no meaning any more, so nothing has to remove it. */
#include "incarnation.h"

#include "codec.h"
#include "engine.h"
#include "pending_file.h"

#include <stdio.h>

#define FLUSHED_BYTES_MAX 256u

static char *format(uint64_t opening, uint64_t incarnation)
{
    g_autofree char *text = g_strdup_printf(
        "vvfs-flushed 1\nopening %016" G_GINT64_MODIFIER "x\nincarnation %016" G_GINT64_MODIFIER "x\n", opening, incarnation);

    return g_strdup_printf("%scrc %08x\n", text, vv_crc32c(0, text, strlen(text)));
}

uint64_t vv_incarnation_left(const char *directory, uint64_t opening)
{
    g_autofree char *path = g_build_filename(directory, VV_FLUSHED_FILE, NULL), *text = NULL, *expected = NULL;
    guint64 of = 0, incarnation = 0;
    gsize bytes = 0;

    if (!g_file_get_contents(path, &text, &bytes, NULL) || bytes > FLUSHED_BYTES_MAX)
        return 0;
    if (sscanf(text, "vvfs-flushed 1\nopening %16" G_GINT64_MODIFIER "x\nincarnation %16" G_GINT64_MODIFIER "x\n", &of, &incarnation) != 2)
        return 0;
    expected = format(of, incarnation);
    return of == opening && strcmp(text, expected) == 0 ? incarnation : 0;
}

void vv_incarnation_leave(VvPool *pool)
{
    g_autofree char *text = format(pool->opening, pool->incarnation);
    int rc = vv_replace_file(pool->directory, VV_FLUSHED_FILE, text);

    if (rc < 0)
        vv_log(VV_LOG_NOTE, "%s/%s cannot be written: %s; other nodes will think that writes were lost", pool->directory, VV_FLUSHED_FILE,
            g_strerror(-rc));
}

uint64_t vv_pool_incarnation(const VvPool *pool)
{
    return pool->incarnation;
}
