/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Making, opening, closing, removing and renaming files. All on operation threads: these may wait for disks and drains.
 *
 *     what is opened   how the kernel treats it
 *     LUN              direct I/O, writes in parallel: nothing is cached, so nothing can be stale; MAP_SHARED is ENODEV
 *     snapshot         the page cache, kept over closes: it never changes (a refresh makes a new inode)
 *     text             direct I/O from the copy made at open */
#include "again.h"
#include "nodes.h"

#include <stdio.h>
#include <string.h>

void vv_reply_error(fuse_req_t request, const GError *error)
{
    const char *hint = vv_error_get_hint(error);
    const char *joint = hint && g_str_has_suffix(hint, ".") ? ". " : ": "; /* a sentence, or a command */
    vv_log(VV_LOG_NOTE, "%s%s%s", error->message, hint ? joint : "", hint ? hint : "");
    int err = vv_error_to_errno(error);
    if (err == EIO && vv_pool_failure(vv_fuse_of(request)->pool)) /* as writes do */
        err = EROFS;
    fuse_reply_err(request, err);
}

static bool is_read_only(VvFuse *fuse)
{
    return fuse->read_only || vv_pool_is_read_only(fuse->pool);
}

/* @here: by this process, so it has to be told. */
static void names_changed(VvFuse *fuse, bool here)
{
    atomic_store(&fuse->changed_ns, vv_now_ns());
    if (here && fuse->far.changed)
        fuse->far.changed(fuse->far.user);
}

/* ---- texts */

static void open_text(fuse_req_t request, uint64_t node, struct fuse_file_info *info)
{
    VvFuse *fuse = vv_fuse_of(request);
    const VvLiveText *text = &fuse->texts[node - VV_NODE_TEXT];
    if ((info->flags & O_ACCMODE) != O_RDONLY) {
        fuse_reply_err(request, EACCES);
        return;
    }
    size_t text_bytes = 0;
    g_autofree char *made = text->producer(text->user, &text_bytes);
    uint64_t before;
    VvFile *file = vv_request_again ? vv_file_opened_by(&fuse->handles, vv_request_unique, &before) : NULL;
    if (file) /* not read yet: this one is newer */
        vv_file_close(&fuse->handles, file);
    file = made ? vv_file_new(&fuse->handles, VV_HANDLE_TEXT) : NULL;
    if (file == NULL) {
        fuse_reply_err(request, made ? ENFILE : EIO);
        return;
    }
    file->text = g_steal_pointer(&made);
    file->text_bytes = text_bytes;
    info->direct_io = 1;
    info->fh = vv_file_publish(&fuse->handles, file, &(VvOpened){ node, vv_request_unique, fuse_req_ctx(request)->pid });
    if (fuse_reply_open(request, info) == -ENOENT) /* the caller is gone: nobody will release it */
        vv_file_close(&fuse->handles, file);
}

/* ---- LUNs and snapshots */

/* A published file on the object; 0 or -errno. */
static int open_object(fuse_req_t request, uint64_t id, bool write, VvFile **ret_file, uint64_t *ret_fh)
{
    VvFuse *fuse = vv_fuse_of(request);
    VvOpen open = { .write = write, .pid = fuse_req_ctx(request)->pid };
    VvHandle *handle;
    *ret_file = vv_request_again ? vv_file_opened_by(&fuse->handles, vv_request_unique, ret_fh) : NULL;
    if (*ret_file && (*ret_file)->object_id == id)
        return 0;
    if (!vv_node_is_seen(fuse, id)) /* the number is known from before: the kernel looks its name up again */
        return -ESTALE;
    int rc = vv_handle_open(fuse->pool, id, &open, &handle);
    if (rc < 0)
        return rc;
    VvFile *file = vv_file_new(&fuse->handles, VV_HANDLE_OBJECT);
    if (file == NULL) {
        vv_handle_close(handle);
        return -ENFILE;
    }
    vv_file_set_object(&fuse->handles, file, handle);
    *ret_fh = vv_file_publish(&fuse->handles, file, &(VvOpened){ id, vv_request_unique, open.pid });
    *ret_file = file;
    return 0;
}

static uint32_t open_flags(const VvFile *file)
{
    return vv_view_is_lun(file->view) ? FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES : FOPEN_KEEP_CACHE;
}

/* O_TRUNC: fine on a LUN that cp is about to make, or that is empty; never on a disk with something on it. */
static bool truncate_at_open(VvFuse *fuse, VvFile *file, GError **error)
{
    VvViewStat now;
    vv_view_stat(file->view, &now);
    if (now.size_bytes == 0)
        return true;
    if (now.elastic)
        return vv_pool_lun_truncate(fuse->pool, file->object_id, 0, error);
    g_auto(VvObjectName) name = { 0 };
    if (!vv_node_object_name(fuse, file->object_id, &name))
        name.name = g_strdup("?");
    vv_set_error(error, VV_ERROR_DENIED, name.name, "`vvfs-admin lun resize --shrink`, or write with `conv=notrunc`",
        "%s is a disk and is not cut by opening it", name.name);
    return false;
}

/* libfuse before 3.15 has no field for parallel writes: the answer is made here. */
static int reply_open(fuse_req_t request, uint64_t fh, uint32_t flags)
{
    struct fuse_open_out out = { .fh = fh, .open_flags = flags };
    struct iovec iov = { &out, sizeof out };
    return fuse_reply_iov(request, &iov, 1);
}

void vv_fuse_open(fuse_req_t request, fuse_ino_t node, struct fuse_file_info *info)
{
    VvFuse *fuse = vv_fuse_of(request);
    VvNodeKind kind = vv_node_kind(fuse, node);
    if (kind == VV_KIND_TEXT) {
        open_text(request, node, info);
        return;
    }
    if (kind != VV_KIND_OBJECT) {
        fuse_reply_err(request, kind == VV_KIND_NONE ? ESTALE : EISDIR);
        return;
    }
    bool write = (info->flags & O_ACCMODE) != O_RDONLY;
    bool cut = write && (info->flags & O_TRUNC);
    VvFile *file;
    uint64_t fh;
    int rc = write && is_read_only(fuse) ? -EROFS : open_object(request, node, write, &file, &fh);
    if (rc < 0) {
        fuse_reply_err(request, -rc);
        return;
    }
    g_autoptr(GError) error = NULL;
    if (cut && !truncate_at_open(fuse, file, &error)) {
        vv_file_close(&fuse->handles, file);
        vv_reply_error(request, error);
        return;
    }
    if (reply_open(request, fh, open_flags(file)) == -ENOENT) /* the caller is gone: nobody will release it */
        vv_file_close(&fuse->handles, file);
}

void vv_fuse_release(fuse_req_t request, fuse_ino_t node, struct fuse_file_info *info)
{
    (void) node;
    VvFuse *fuse = vv_fuse_of(request);
    VvFile *file = vv_file_get(&fuse->handles, info->fh);
    if (file)
        vv_file_close(&fuse->handles, file);
    fuse_reply_err(request, 0);
}

/* ---- making */

static bool make_lun(
    fuse_req_t request, VvAgain *again, const char *name, mode_t mode, uint64_t *ret_id, GError **error)
{
    const struct fuse_ctx *caller = fuse_req_ctx(request);
    VvLunCreate create = {
        .name = name,
        .elastic = true,
        .props_mask = VV_LUN_MODE | VV_LUN_UID | VV_LUN_GID,
        .props = { .mode = mode & 0777, .uid = caller->uid, .gid = caller->gid },
    };
    VvFuse *fuse = vv_fuse_of(request);
    if (fuse->far.lun_create == NULL)
        return vv_pool_lun_create(fuse->pool, &create, &again->request, ret_id, error);
    if (!fuse->far.lun_create(fuse->far.user, &create, &again->request, error))
        return false;
    if (vv_node_find(fuse, VV_NODE_LUNS, name, ret_id) == 0)
        return true;
    vv_set_error(error, VV_ERROR_STALE, name, NULL, "%s was removed or renamed at once", name);
    return false;
}

static bool make_snapshot(
    VvFuse *fuse, VvAgain *again, uint64_t folder, const char *name, uint64_t *ret_id, GError **error)
{
    g_auto(VvObjectName) lun = { 0 };
    if (!vv_node_object_name(fuse, vv_node_object(folder), &lun) || lun.orphan) {
        vv_set_error(error, VV_ERROR_NOT_FOUND, NULL, NULL, "the LUN of this folder is gone");
        return false;
    }
    if (!vv_node_is_seen(fuse, vv_node_object(folder))) {
        g_autofree char *hint = g_strdup_printf("vvfs-admin share show %s", lun.name);
        vv_set_error(error, VV_ERROR_DENIED, lun.name, hint, "%s is not shared with this node, which so takes no snapshots of it", lun.name);
        return false;
    }
    g_autofree char *object = g_strconcat(lun.name, "@", name, NULL);
    const char *const objects[] = { object, NULL };
    VvSnapshotOptions options = { .kind = VV_SNAPSHOT_MANUAL };
    bool made = fuse->far.snapshot_create ? fuse->far.snapshot_create(fuse->far.user, object, &again->request, error)
                                          : vv_pool_snapshot_create(fuse->pool, objects, &options, &again->request, error);
    if (!made)
        return false;
    if (vv_node_find(fuse, folder, name, ret_id) < 0) {
        vv_set_error(error, VV_ERROR_STALE, object, NULL, "%s was removed or renamed at once", object);
        return false;
    }
    return true;
}

/* Make what @name in @parent stands for. True: *ret_id exists. False: the request was answered. */
static bool make(fuse_req_t request, uint64_t parent, const char *name, mode_t mode, uint64_t *ret_id)
{
    VvFuse *fuse = vv_fuse_of(request);
    VvNodeKind kind = vv_node_kind(fuse, parent);
    bool lun = kind == VV_KIND_LUNS;
    g_auto(VvAgain) again;
    int rc = 0;
    vv_again_begin(fuse, &again);
    if (vv_again_is_done(fuse, &again)) {
        rc = vv_node_find(fuse, parent, name, ret_id);
        if (rc == 0)
            return true;
        rc = -ESTALE; /* it was made, and somebody has removed it since */
    } else if (is_read_only(fuse))
        rc = -EROFS;
    else if (!S_ISREG(mode) || (!lun && kind != VV_KIND_FOLDER))
        rc = -EPERM;
    else
        rc = vv_node_name_check(name, lun ? "LUN" : "snapshot");
    if (rc < 0) {
        fuse_reply_err(request, -rc);
        return false;
    }
    g_autoptr(GError) error = NULL;
    bool made = lun ? make_lun(request, &again, name, mode, ret_id, &error)
                    : make_snapshot(fuse, &again, parent, name, ret_id, &error);
    if (made)
        names_changed(fuse, fuse->far.lun_create == NULL);
    else
        vv_reply_error(request, error);
    return made;
}

static void fill_attr(const struct stat *st, struct fuse_attr *attr)
{
    *attr = (struct fuse_attr){
        .ino = st->st_ino,
        .size = (uint64_t) st->st_size,
        .blocks = (uint64_t) st->st_blocks,
        .atime = (uint64_t) st->st_atim.tv_sec,
        .mtime = (uint64_t) st->st_mtim.tv_sec,
        .ctime = (uint64_t) st->st_ctim.tv_sec,
        .atimensec = (uint32_t) st->st_atim.tv_nsec,
        .mtimensec = (uint32_t) st->st_mtim.tv_nsec,
        .ctimensec = (uint32_t) st->st_ctim.tv_nsec,
        .mode = st->st_mode,
        .nlink = (uint32_t) st->st_nlink,
        .uid = st->st_uid,
        .gid = st->st_gid,
        .blksize = (uint32_t) st->st_blksize,
    };
}

void vv_fuse_create(fuse_req_t request, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *info)
{
    VvFuse *fuse = vv_fuse_of(request);
    uint64_t id;
    if (!make(request, parent, name, mode, &id))
        return;
    bool lun = vv_node_kind(fuse, parent) == VV_KIND_LUNS;
    bool write = lun && (info->flags & O_ACCMODE) != O_RDONLY;
    struct fuse_entry_param entry;
    VvFile *file = NULL;
    uint64_t fh = 0;
    int rc = open_object(request, id, write, &file, &fh);
    if (rc == 0 && (rc = vv_node_entry(fuse, id, &entry)) < 0)
        vv_file_close(&fuse->handles, file);
    if (rc < 0) {
        fuse_reply_err(request, -rc);
        return;
    }
    struct fuse_entry_out entry_out = { .nodeid = id, .generation = entry.generation };
    fill_attr(&entry.attr, &entry_out.attr);
    /* A snapshot's first handle may be open for writing, and must not leave in the cache what it cannot write. */
    struct fuse_open_out open_out = { .fh = fh, .open_flags = lun ? open_flags(file) : FOPEN_DIRECT_IO };
    struct iovec iov[] = { { &entry_out, sizeof entry_out }, { &open_out, sizeof open_out } };
    if (fuse_reply_iov(request, iov, 2) == -ENOENT) /* the caller is gone: nobody will release it */
        vv_file_close(&fuse->handles, file);
}

void vv_fuse_mknod(fuse_req_t request, fuse_ino_t parent, const char *name, mode_t mode, dev_t device)
{
    (void) device;
    uint64_t id;
    if (!make(request, parent, name, mode, &id))
        return;
    struct fuse_entry_param entry;
    int rc = vv_node_entry(vv_fuse_of(request), id, &entry);
    if (rc < 0)
        fuse_reply_err(request, -rc);
    else
        fuse_reply_entry(request, &entry);
}

/* ---- removing and renaming */

/* "LUN" or "LUN@SNAP" for @name in @parent, which exists. NULL: it does not (*ret_err says why). */
static char *object_at(VvFuse *fuse, uint64_t parent, const char *name, uint64_t *ret_id, int *ret_err)
{
    VvNodeKind kind = vv_node_kind(fuse, parent);
    *ret_err = 0;
    if (kind != VV_KIND_LUNS && kind != VV_KIND_FOLDER)
        *ret_err = EPERM;
    else
        *ret_err = -vv_node_find(fuse, parent, name, ret_id);
    if (*ret_err)
        return NULL;
    if (kind == VV_KIND_LUNS)
        return g_strdup(name);
    g_auto(VvObjectName) lun = { 0 };
    if (!vv_node_object_name(fuse, vv_node_object(parent), &lun) || lun.orphan) {
        *ret_err = ENOENT;
        return NULL;
    }
    return g_strconcat(lun.name, "@", name, NULL);
}

static bool remove_object(VvFuse *fuse, bool lun, const char *object, VvAgain *again, GError **error)
{
    const char *const objects[] = { object, NULL };
    if (fuse->far.remove)
        return fuse->far.remove(fuse->far.user, lun, object, &again->request, error);
    /* Without a VvRemoval: nobody asks here what it frees, and counting that reads all pages. */
    return lun ? vv_pool_lun_remove(fuse->pool, objects, false, false, false, &again->request, NULL, error)
               : vv_pool_snapshot_remove(fuse->pool, objects, false, false, &again->request, NULL, error);
}

void vv_fuse_unlink(fuse_req_t request, fuse_ino_t parent, const char *name)
{
    VvFuse *fuse = vv_fuse_of(request);
    g_auto(VvAgain) again;
    uint64_t id;
    int err;
    vv_again_begin(fuse, &again);
    if (vv_again_is_done(fuse, &again)) {
        fuse_reply_err(request, 0);
        return;
    }
    g_autofree char *object = object_at(fuse, parent, name, &id, &err);
    if (object && is_read_only(fuse))
        err = EROFS;
    else if (object)
        err = -vv_node_refuse_change(fuse, id);
    if (err) {
        fuse_reply_err(request, err);
        return;
    }
    g_autoptr(GError) error = NULL;
    if (!remove_object(fuse, vv_node_kind(fuse, parent) == VV_KIND_LUNS, object, &again, &error)) {
        vv_reply_error(request, error);
        return;
    }
    names_changed(fuse, fuse->far.remove == NULL);
    fuse_reply_err(request, 0);
}

/* 0: it may be done; else the errno. */
static int refuse_rename(VvFuse *fuse, uint64_t parent, uint64_t new_parent, const char *new_name, unsigned flags)
{
    VvNodeKind kind = vv_node_kind(fuse, parent);
    if (flags & ~(unsigned) RENAME_NOREPLACE)
        return EINVAL;
    if (kind != VV_KIND_LUNS && kind != VV_KIND_FOLDER)
        return EPERM;
    if (parent != new_parent) /* a snapshot stays with its LUN, and a LUN is none */
        return EXDEV;
    if (is_read_only(fuse))
        return EROFS;
    return -vv_node_name_check(new_name, kind == VV_KIND_LUNS ? "LUN" : "snapshot");
}

void vv_fuse_rename(fuse_req_t request, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
    const char *new_name, unsigned flags)
{
    VvFuse *fuse = vv_fuse_of(request);
    g_auto(VvAgain) again;
    uint64_t id, existing;
    vv_again_begin(fuse, &again);
    if (vv_again_is_done(fuse, &again)) {
        fuse_reply_err(request, 0);
        return;
    }
    int err = refuse_rename(fuse, parent, new_parent, new_name, flags);
    g_autofree char *object = err ? NULL : object_at(fuse, parent, name, &id, &err);
    if (object)
        err = -vv_node_refuse_change(fuse, id);
    if (!err && vv_node_find(fuse, parent, new_name, &existing) == 0) {
        if (existing != id || (flags & RENAME_NOREPLACE))
            err = EEXIST; /* never replaced: it may be somebody's disk */
        else {
            fuse_reply_err(request, 0);
            return;
        }
    }
    if (err) {
        fuse_reply_err(request, err);
        return;
    }
    g_autoptr(GError) error = NULL;
    bool renamed = vv_node_kind(fuse, parent) == VV_KIND_LUNS
                       ? vv_pool_lun_rename(fuse->pool, object, new_name, &again.request, &error)
                       : vv_pool_snapshot_rename(fuse->pool, object, new_name, &again.request, &error);
    if (!renamed) {
        vv_reply_error(request, error);
        return;
    }
    names_changed(fuse, true);
    fuse_reply_err(request, 0);
}
