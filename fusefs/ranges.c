/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Work on ranges of files: preallocate, punch, zero, seek, copy. All on operation threads: a range may be a whole LUN. */
#include "nodes.h"

#include <linux/falloc.h>

/* An object's file, or NULL and the request answered. */
static VvFile *object_file(fuse_req_t request, const struct fuse_file_info *info, bool write)
{
    VvFuse *fuse = vv_fuse_of(request);
    VvFile *file = info ? vv_file_get(&fuse->handles, info->fh) : NULL;
    int err = 0;
    if (file == NULL)
        err = EBADF;
    else if (file->kind != VV_HANDLE_OBJECT)
        err = EINVAL;
    else if (vv_handle_is_revoked(file->handle))
        err = EIO;
    else if (write && !file->may_write)
        err = EROFS;
    if (err) {
        fuse_reply_err(request, err);
        return NULL;
    }
    return file;
}

/* ---- fallocate */

static int fallocate_range(VvFile *file, int mode, uint64_t offset, uint64_t length_bytes)
{
    if (length_bytes == 0)
        return 0;
    if (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
        return vv_handle_zero(file->handle, offset, length_bytes);
    return vv_handle_allocate(file->handle, offset, length_bytes);
}

void vv_fuse_fallocate(
    fuse_req_t request, fuse_ino_t node, int mode, off_t offset, off_t length, struct fuse_file_info *info)
{
    (void) node;
    VvFuse *fuse = vv_fuse_of(request);
    const int kind = mode & ~FALLOC_FL_KEEP_SIZE;
    if ((kind != 0 && kind != FALLOC_FL_PUNCH_HOLE && kind != FALLOC_FL_ZERO_RANGE) || mode == FALLOC_FL_PUNCH_HOLE) {
        fuse_reply_err(request, EOPNOTSUPP);
        return;
    }
    VvFile *file = object_file(request, info, true);
    if (file == NULL)
        return;
    uint64_t begin = (uint64_t) offset, end = begin + (uint64_t) length;
    if (offset < 0 || length <= 0 || end > VV_LUN_BYTES_MAX) {
        fuse_reply_err(request, offset < 0 || length <= 0 ? EINVAL : EFBIG);
        return;
    }
    g_autoptr(GError) error = NULL;
    if (!(mode & FALLOC_FL_KEEP_SIZE) && !vv_pool_lun_extend(fuse->pool, file->object_id, end, &error)) {
        vv_reply_error(request, error);
        return;
    }
    end = MIN(end, vv_view_size(file->view)); /* with KEEP_SIZE: what lies past the end has nothing to change */
    fuse_reply_err(request, end > begin ? -fallocate_range(file, mode, begin, end - begin) : 0);
}

/* ---- lseek */

void vv_fuse_lseek(fuse_req_t request, fuse_ino_t node, off_t offset, int whence, struct fuse_file_info *info)
{
    (void) node;
    VvFile *file = object_file(request, info, false);
    if (file == NULL)
        return;
    if ((whence != SEEK_DATA && whence != SEEK_HOLE) || offset < 0) {
        fuse_reply_err(request, offset < 0 ? ENXIO : EINVAL);
        return;
    }
    uint64_t found;
    int rc = vv_view_seek(file->view, (uint64_t) offset, whence == SEEK_DATA, &found);
    if (rc < 0)
        fuse_reply_err(request, -rc);
    else
        fuse_reply_lseek(request, (off_t) found);
}

/* ---- copy_file_range
 * cp into a LUN that it has just made copies from 0 in pieces, each beginning where the last ended or, if the source is
 * sparse, behind a hole. Such pieces make the LUN a clone of the source, as long as what was copied so far. */

/* Is [begin, end) of @view a hole? */
static bool is_hole(VvView *view, uint64_t begin, uint64_t end)
{
    uint64_t data;
    if (begin >= end)
        return true;
    int rc = vv_view_seek(view, begin, true, &data);
    return rc == -ENXIO || (rc == 0 && data >= end);
}

/* Can this piece make @to a clone, or a longer one? */
static bool may_adopt(const VvFile *from, const VvFile *to, uint64_t from_offset, uint64_t to_offset)
{
    if (from_offset != to_offset || from->object_id == to->object_id)
        return false;
    VvViewStat now;
    vv_view_stat(to->view, &now);
    if (!now.elastic)
        return false;
    if (to->adopt_source == 0 ? now.size_bytes != 0 || now.used_bytes != 0
                              : to->adopt_source != from->object_id || now.size_bytes != to->adopt_bytes)
        return false;
    return to_offset >= to->adopt_bytes && is_hole(from->view, to->adopt_bytes, from_offset);
}

/* True: done. */
static bool adopt(VvFuse *fuse, const VvFile *from, VvFile *to, uint64_t size_bytes)
{
    g_autoptr(GError) error = NULL;
    bool adopted = fuse->far.adopt ? fuse->far.adopt(fuse->far.user, to->object_id, from->object_id, size_bytes, &error)
                                   : vv_pool_lun_adopt(fuse->pool, to->object_id, from->object_id, size_bytes, &error);
    if (!adopted) {
        if (!g_error_matches(error, VV_ERROR, VV_ERROR_UNSUPPORTED))
            vv_log(VV_LOG_NOTE, "copied instead of cloned: %s", error->message);
        to->adopt_source = 0;
        return false;
    }
    to->adopt_source = from->object_id;
    to->adopt_bytes = size_bytes;
    return true;
}

void vv_fuse_copy_file_range(fuse_req_t request, fuse_ino_t from_node, off_t from_offset,
    struct fuse_file_info *from_info, fuse_ino_t to_node, off_t to_offset, struct fuse_file_info *to_info,
    size_t length, int flags)
{
    (void) from_node;
    (void) to_node;
    VvFuse *fuse = vv_fuse_of(request);
    VvFile *from = object_file(request, from_info, false);
    VvFile *to = from ? object_file(request, to_info, true) : NULL;
    if (to == NULL)
        return;
    if (flags != 0 || from_offset < 0 || to_offset < 0) {
        fuse_reply_err(request, EINVAL);
        return;
    }
    uint64_t from_bytes = vv_view_size(from->view);
    uint64_t begin = (uint64_t) from_offset;
    uint64_t length_bytes = begin < from_bytes ? MIN((uint64_t) length, from_bytes - begin) : 0;
    length_bytes =
        MIN(length_bytes, (uint64_t) INT32_MAX & ~(uint64_t) (VV_BLOCK_BYTES - 1)); /* the answer has 32 bits */
    int64_t copied = 0;
    if (length_bytes > 0) {
        if (may_adopt(from, to, begin, (uint64_t) to_offset) && adopt(fuse, from, to, begin + length_bytes))
            copied = (int64_t) length_bytes;
        else
            copied = vv_handle_copy(from->handle, begin, to->handle, (uint64_t) to_offset, length_bytes);
    }
    if (copied < 0)
        fuse_reply_err(request, (int) -copied);
    else
        fuse_reply_write(request, (size_t) copied);
}
