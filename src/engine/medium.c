/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is under a disk, for those who handle labels and signatures: an open file or device, or a remote medium. */
#include "disk_private.h"
#include "remote.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#define EDGE_BYTES ((uint64_t) 4 << 20)  /* at both ends: where libblkid looks for signatures */
#define PIECE_BYTES ((uint64_t) 1 << 20) /* of it */

int vv_medium_read(const VvMedium *medium, void *data, size_t length_bytes, uint64_t offset)
{
    if (!medium->remote)
        return vv_pread_full(medium->fd, data, length_bytes, offset);
    return vv_remote_do(medium->remote, VV_REMOTE_READ, data, length_bytes, offset);
}

int vv_medium_write(const VvMedium *medium, const void *data, size_t length_bytes, uint64_t offset)
{
    if (!medium->remote)
        return vv_pwrite_full(medium->fd, data, length_bytes, offset);
    return vv_remote_do(medium->remote, VV_REMOTE_WRITE, (void *) (uintptr_t) data, length_bytes, offset);
}

int vv_medium_sync(const VvMedium *medium)
{
    if (medium->remote)
        return vv_remote_do(medium->remote, VV_REMOTE_SYNC, NULL, 0, 0);
    return fdatasync(medium->fd) < 0 ? -errno : 0;
}

/* ---- what a remote medium holds */

/* The first and the last EDGE_BYTES of it; the pieces overlap if it is small. @write: zeroes instead. */
static int each_edge(const VvMedium *medium, uint64_t size_bytes, bool write, int copy_fd)
{
    g_autofree uint8_t *piece = g_malloc0(PIECE_BYTES);
    uint64_t edge_bytes = MIN(EDGE_BYTES, size_bytes);
    int rc = 0;

    for (unsigned end = 0; end < 2; end++) {
        uint64_t start = end == 0 ? 0 : size_bytes - edge_bytes;

        for (uint64_t done = 0; done < edge_bytes && rc == 0; done += PIECE_BYTES) {
            uint64_t length = MIN(PIECE_BYTES, edge_bytes - done);

            rc = write ? vv_medium_write(medium, piece, length, start + done)
                       : vv_medium_read(medium, piece, length, start + done);
            if (rc == 0 && !write && !vv_is_zero(piece, length))
                rc = vv_pwrite_full(copy_fd, piece, length, start + done);
        }
    }
    return rc;
}

char *vv_medium_find_signature(const VvMedium *medium, uint64_t size_bytes)
{
    vv_autofd int copy_fd = -1;
    char *found;

    if (!medium->remote)
        return vv_disk_find_signature(medium->fd, size_bytes);
    size_bytes -= size_bytes % VV_BLOCK_BYTES;
    copy_fd = memfd_create("signatures", MFD_CLOEXEC);
    if (copy_fd < 0 || ftruncate(copy_fd, (off_t) size_bytes) < 0 || each_edge(medium, size_bytes, false, copy_fd) != 0)
        return g_strdup("what cannot be read");
    found = vv_disk_find_signature(copy_fd, size_bytes);
    return found;
}

int vv_medium_wipe_signatures(const VvMedium *medium, uint64_t size_bytes)
{
    int rc;

    if (!medium->remote)
        return vv_disk_wipe_signatures(medium->fd, size_bytes);
    rc = each_edge(medium, size_bytes - size_bytes % VV_BLOCK_BYTES, true, -1);
    return rc == 0 ? vv_medium_sync(medium) : rc;
}
