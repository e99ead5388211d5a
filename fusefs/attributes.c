/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Attributes of files and of the file system. */
#include "nodes.h"

#include <string.h>

static VvView *view_of(VvFuse *fuse, uint64_t node, const struct fuse_file_info *info)
{
    VvFile *file = info ? vv_file_get(&fuse->handles, info->fh) : NULL;
    return file && file->kind == VV_HANDLE_OBJECT && file->object_id == node ? file->view : NULL;
}

static void reply_stat(fuse_req_t request, uint64_t node, VvView *view)
{
    struct stat st;
    int rc = vv_node_stat(vv_fuse_of(request), node, view, &st);
    if (rc < 0)
        fuse_reply_err(request, -rc);
    else
        fuse_reply_attr(request, &st, node <= VV_NODE_LIVE ? 1.0 : 0.0);
}

void vv_fuse_getattr(fuse_req_t request, fuse_ino_t node, struct fuse_file_info *info)
{
    reply_stat(request, node, view_of(vv_fuse_of(request), node, info));
}

static uint64_t ns_of(struct timespec time)
{
    if (time.tv_sec < 0)
        return 0;
    if ((uint64_t) time.tv_sec > UINT64_MAX / 1000000000u - 1)
        return UINT64_MAX;
    return (uint64_t) time.tv_sec * 1000000000u + (uint64_t) time.tv_nsec;
}

/* chmod, chown, utimens of a LUN. */
static bool set_lun_attributes(VvFuse *fuse, uint64_t id, const struct stat *attr, int to_set, GError **error)
{
    VvLunProps props = { 0 };
    uint32_t mask = 0;
    uint64_t now_ns = vv_now_ns(), mtime_ns = 0, atime_ns = 0;
    if (to_set & FUSE_SET_ATTR_MODE) {
        mask |= VV_LUN_MODE;
        props.mode = attr->st_mode & 0777;
    }
    if (to_set & FUSE_SET_ATTR_UID) {
        mask |= VV_LUN_UID;
        props.uid = attr->st_uid;
    }
    if (to_set & FUSE_SET_ATTR_GID) {
        mask |= VV_LUN_GID;
        props.gid = attr->st_gid;
    }
    if (to_set & (FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_MTIME_NOW)) {
        mask |= VV_LUN_MTIME;
        mtime_ns = to_set & FUSE_SET_ATTR_MTIME_NOW ? now_ns : ns_of(attr->st_mtim);
    }
    if (to_set & (FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_ATIME_NOW)) {
        mask |= VV_LUN_ATIME;
        atime_ns = to_set & FUSE_SET_ATTR_ATIME_NOW ? now_ns : ns_of(attr->st_atim);
    }
    if (mask == 0)
        return true;
    if (fuse->far.set_attributes && (mask & VV_LUN_MTIME)) /* who has the disks keeps it with what is written */
        return fuse->far.set_attributes(fuse->far.user, id, mask, &props, mtime_ns, atime_ns, error);
    return vv_pool_lun_set_attributes(fuse->pool, id, mask, &props, mtime_ns, atime_ns, error);
}

/* 0: go on; else what to answer. */
static int refuse_setattr(VvFuse *fuse, uint64_t node, const VvObjectName *name, int to_set)
{
    const int times_now = FUSE_SET_ATTR_MTIME_NOW | FUSE_SET_ATTR_ATIME_NOW;
    const int times = times_now | FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_CTIME;
    if (vv_node_kind(fuse, node) != VV_KIND_OBJECT)
        return EPERM;
    if (!name->snapshot)
        return fuse->read_only || vv_pool_is_read_only(fuse->pool) ? EROFS : 0;
    /* touch(1) of a new name takes a snapshot, then sets its times to now: that they are those of the instant is as good. */
    bool touches = (to_set & times_now) && !(to_set & ~times);
    return touches ? -1 : EROFS;
}

void vv_fuse_setattr(fuse_req_t request, fuse_ino_t node, struct stat *attr, int to_set, struct fuse_file_info *info)
{
    VvFuse *fuse = vv_fuse_of(request);
    g_auto(VvObjectName) name = { 0 };
    if (vv_node_kind(fuse, node) == VV_KIND_OBJECT && !vv_node_object_name(fuse, node, &name)) {
        fuse_reply_err(request, ESTALE);
        return;
    }
    int refusal = refuse_setattr(fuse, node, &name, to_set);
    if (refusal == 0)
        refusal = -vv_node_refuse_change(fuse, node);
    if (refusal > 0) {
        fuse_reply_err(request, refusal);
        return;
    }
    g_autoptr(GError) error = NULL;
    if (refusal == 0) {
        bool ok = true;
        if (to_set & FUSE_SET_ATTR_SIZE)
            ok = vv_pool_lun_truncate(fuse->pool, node, (uint64_t) attr->st_size, &error);
        if (!ok || !set_lun_attributes(fuse, node, attr, to_set, &error)) {
            vv_reply_error(request, error);
            return;
        }
        if (to_set & (FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID))
            vv_notify(fuse, VV_NOTICE_CHANGED, node); /* the folder's follow */
        bool far = fuse->far.set_attributes && (to_set & (FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_MTIME_NOW));
        if (!far && fuse->far.changed) /* who did it has told the others */
            fuse->far.changed(fuse->far.user);
    }
    reply_stat(request, node, view_of(fuse, node, info));
}

void vv_fuse_statfs(fuse_req_t request, fuse_ino_t node)
{
    (void) node;
    VvFuse *fuse = vv_fuse_of(request);
    VvSpaceSummary space;
    vv_pool_space(fuse->pool, &space);
    vv_meta_read_lock(fuse->meta);
    uint64_t luns = vv_meta_luns(fuse->meta)->len;
    vv_meta_read_unlock(fuse->meta);
    struct statvfs st = {
        .f_bsize = VV_BLOCK_BYTES, /* the loop driver's discard granularity */
        .f_frsize = VV_BLOCK_BYTES,
        .f_blocks = space.total_bytes / VV_BLOCK_BYTES,
        .f_bfree = space.free_bytes / VV_BLOCK_BYTES,
        .f_bavail = space.free_bytes / VV_BLOCK_BYTES,
        .f_files = VV_LUNS_MAX,
        .f_ffree = luns < VV_LUNS_MAX ? VV_LUNS_MAX - luns : 0,
        .f_namemax = VV_NAME_BYTES_MAX,
    };
    st.f_favail = st.f_ffree;
    fuse_reply_statfs(request, &st);
}
