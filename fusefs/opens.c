/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Records of open files: see opens.h for the layout. */
#include "opens.h"

#include "error.h"
#include "handles.h"
#include "survival.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#define OPENS_MAGIC "vvopens1"
#define RECORDS_OFFSET 4096u
#define RECORDS_MAX (VV_HANDLES_PER_CHUNK * VV_HANDLE_CHUNKS_MAX)
_Static_assert(VV_OPENS_FILE_BYTES == RECORDS_OFFSET + (uint64_t) RECORDS_MAX * sizeof(VvOpenRecord), "a record a handle");

bool vv_opens_map(VvOpens *opens, int fd, GError **error)
{
    char *map = mmap(NULL, VV_OPENS_FILE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED) {
        vv_set_error_errno(error, errno, NULL, "the table of open files cannot be mapped");
        return false;
    }
    static const char zero[8];
    _Atomic uint32_t *used = (void *) (map + 8);
    if (memcmp(map, zero, sizeof zero) == 0)
        memcpy(map, OPENS_MAGIC, 8);
    if (memcmp(map, OPENS_MAGIC, 8) != 0 || atomic_load(used) > RECORDS_MAX) {
        munmap(map, VV_OPENS_FILE_BYTES);
        vv_set_error(error, VV_ERROR_DAMAGED, NULL, NULL, "the table of open files is not one that this vvfs knows");
        return false;
    }
    *opens = (VvOpens){ .map = map, .records = (void *) (map + RECORDS_OFFSET), .used = used };
    return true;
}

void vv_opens_unmap(VvOpens *opens)
{
    if (opens->map)
        munmap(opens->map, VV_OPENS_FILE_BYTES);
    g_clear_pointer(&opens->uniques, g_hash_table_unref);
    opens->map = NULL;
}

GArray *vv_fuse_open_objects(int opens_fd)
{
    GArray *ids = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    VvOpens opens;
    if (!vv_opens_map(&opens, opens_fd, NULL))
        return ids;
    uint32_t used = atomic_load(opens.used);
    for (uint32_t i = 0; i < used; i++) {
        const VvOpenRecord *record = &opens.records[i];
        if ((atomic_load(&record->generation) & 1) && record->kind == VV_HANDLE_OBJECT)
            g_array_append_val(ids, record->node);
    }
    vv_opens_unmap(&opens);
    return ids;
}
