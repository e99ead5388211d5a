/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Nodes: from numbers and names to objects, and what stat(2) says of them.
 *
 * Everything here looks into the catalog under its read lock, for a moment, and copies; the pool is asked for the numbers of
 * a view after the lock is released, because it may take locks that come before it. */
#include "nodes.h"
#include "sharing.h"

#include <string.h>

VvNodeKind vv_node_kind(const VvFuse *fuse, uint64_t node)
{
    if (node & VV_NODE_FOLDER)
        return VV_KIND_FOLDER;
    switch (node) {
    case VV_NODE_ROOT:
        return VV_KIND_ROOT;
    case VV_NODE_LUNS:
        return VV_KIND_LUNS;
    case VV_NODE_SNAPSHOTS:
        return VV_KIND_SNAPSHOTS;
    case VV_NODE_LIVE:
        return VV_KIND_LIVE;
    default:
        if (node >= VV_NODE_TEXT && node < VV_NODE_TEXT + VV_FUSE_TEXTS_MAX)
            return node < VV_NODE_TEXT + fuse->text_count ? VV_KIND_TEXT : VV_KIND_NONE;
        return node == 0 ? VV_KIND_NONE : VV_KIND_OBJECT;
    }
}

/* ---- who may */

bool vv_object_is_seen(VvFuse *fuse, uint64_t id)
{
    return !vv_pool_share_any(fuse->pool) || vv_pool_share_mode_locked(fuse->pool, id, 0) != VV_SHARE_NONE;
}

bool vv_folder_is_seen(VvFuse *fuse, const VvLun *lun)
{
    return vv_pool_share_sees_folder_locked(fuse->pool, lun);
}

bool vv_node_is_seen(VvFuse *fuse, uint64_t node)
{
    VvNodeKind kind = vv_node_kind(fuse, node);
    if (!vv_pool_share_any(fuse->pool) || (kind != VV_KIND_OBJECT && kind != VV_KIND_FOLDER))
        return true;
    vv_meta_read_lock(fuse->meta);
    const VvLun *lun = kind == VV_KIND_FOLDER ? vv_meta_lun(fuse->meta, vv_node_object(node)) : NULL;
    bool seen = lun ? vv_folder_is_seen(fuse, lun) : vv_object_is_seen(fuse, vv_node_object(node));
    vv_meta_read_unlock(fuse->meta);
    return seen;
}

int vv_node_refuse_change(VvFuse *fuse, uint64_t node)
{
    if (!vv_pool_share_any(fuse->pool))
        return 0;
    vv_meta_read_lock(fuse->meta);
    VvShareMode mode = vv_pool_share_mode_locked(fuse->pool, vv_node_object(node), 0);
    bool snapshot = vv_meta_snapshot(fuse->meta, vv_node_object(node));
    vv_meta_read_unlock(fuse->meta);
    if (mode == VV_SHARE_NONE)
        return -ESTALE;
    return mode == VV_SHARE_RW || snapshot ? 0 : -EACCES;
}

/* ---- stat */

static struct timespec timespec_of(uint64_t ns)
{
    return (struct timespec){ .tv_sec = (time_t) (ns / 1000000000u), .tv_nsec = (long) (ns % 1000000000u) };
}

static void set_times(struct stat *st, uint64_t atime_ns, uint64_t mtime_ns, uint64_t ctime_ns)
{
    st->st_atim = timespec_of(atime_ns);
    st->st_mtim = timespec_of(mtime_ns);
    st->st_ctim = timespec_of(ctime_ns);
}

static void stat_own(VvFuse *fuse, uint64_t node, VvNodeKind kind, struct stat *st)
{
    bool directory = kind != VV_KIND_TEXT;
    uint64_t changed_ns =
        kind == VV_KIND_LUNS || kind == VV_KIND_SNAPSHOTS ? atomic_load(&fuse->changed_ns) : fuse->started_ns;
    st->st_ino = node;
    st->st_uid = fuse->uid;
    st->st_gid = fuse->gid;
    st->st_mode = directory ? S_IFDIR | fuse->mode : S_IFREG | (fuse->mode & 0444);
    if (kind == VV_KIND_ROOT || kind == VV_KIND_LIVE)
        st->st_mode &= ~(mode_t) 0222;
    st->st_nlink = directory ? 2 : 1;
    set_times(st, changed_ns, changed_ns, changed_ns);
    if (kind == VV_KIND_TEXT) { /* made when opened: now, of no size known before */
        uint64_t now_ns = vv_now_ns();
        set_times(st, now_ns, now_ns, now_ns);
    }
}

/* The folder of a LUN's snapshots is as open as the LUN: who may read it may list, who may write it may make snapshots. */
static void stat_folder(const VvLun *lun, struct stat *st)
{
    mode_t readers = lun->props.mode & 0444, writers = lun->props.mode & 0222;
    const VvSnapshot *newest = lun->snapshots->len ? g_ptr_array_index(lun->snapshots, lun->snapshots->len - 1) : NULL;
    uint64_t changed_ns = newest ? MAX(newest->created_ns, lun->ctime_ns) : lun->ctime_ns;
    st->st_ino = lun->id | VV_NODE_FOLDER;
    st->st_mode = S_IFDIR | readers | readers >> 2 | writers;
    st->st_uid = lun->props.uid;
    st->st_gid = lun->props.gid;
    st->st_nlink = 2;
    set_times(st, changed_ns, changed_ns, changed_ns);
}

static void stat_lun(const VvLun *lun, struct stat *st)
{
    st->st_ino = lun->id;
    st->st_mode = S_IFREG | (lun->props.mode & 0777);
    st->st_uid = lun->props.uid;
    st->st_gid = lun->props.gid;
    st->st_nlink = lun->orphan ? 0 : 1;
    st->st_size = (off_t) lun->size_bytes;
    st->st_blocks = (blkcnt_t) (lun->used_blocks * (VV_BLOCK_BYTES / 512));
    set_times(st, lun->atime_ns, lun->mtime_ns, lun->ctime_ns);
}

static void stat_snapshot(const VvSnapshot *snapshot, const VvLun *lun, struct stat *st)
{
    st->st_ino = snapshot->id;
    st->st_mode = S_IFREG | (lun ? lun->props.mode & 0444 : 0400);
    st->st_uid = lun ? lun->props.uid : 0;
    st->st_gid = lun ? lun->props.gid : 0;
    st->st_nlink = snapshot->hidden ? 0 : 1;
    st->st_size = (off_t) snapshot->size_bytes;
    st->st_blocks = (blkcnt_t) (snapshot->used_blocks * (VV_BLOCK_BYTES / 512));
    set_times(st, snapshot->mtime_ns, snapshot->mtime_ns, snapshot->created_ns);
}

/* What may not be written here loses its w; what is not seen is gone, but for who has it open still. */
static int stat_shared(VvFuse *fuse, uint64_t node, VvNodeKind kind, const VvLun *lun, struct stat *st)
{
    if (!vv_pool_share_any(fuse->pool))
        return 0;
    VvShareMode mode = vv_pool_share_mode_locked(fuse->pool, vv_node_object(node), 0);
    if (mode != VV_SHARE_RW)
        st->st_mode &= ~(mode_t) (kind == VV_KIND_FOLDER && mode == VV_SHARE_RO ? 0 : 0222);
    if (kind == VV_KIND_FOLDER)
        return vv_folder_is_seen(fuse, lun) ? 0 : -ESTALE;
    return mode != VV_SHARE_NONE || vv_handles_is_open(&fuse->handles, node) ? 0 : -ESTALE;
}

/* What the catalog says of a LUN, a snapshot or a folder. *ret_lun: it is a LUN. */
static int stat_stored(VvFuse *fuse, uint64_t node, VvNodeKind kind, struct stat *st, bool *ret_lun)
{
    int result = 0;
    *ret_lun = false;
    vv_meta_read_lock(fuse->meta);
    const VvLun *lun = vv_meta_lun(fuse->meta, vv_node_object(node));
    const VvSnapshot *snapshot = lun ? NULL : vv_meta_snapshot(fuse->meta, vv_node_object(node));
    if (lun && kind == VV_KIND_FOLDER && !lun->orphan) {
        stat_folder(lun, st);
    } else if (lun && kind == VV_KIND_OBJECT) {
        stat_lun(lun, st);
        *ret_lun = true;
    } else if (snapshot && kind == VV_KIND_OBJECT && (!snapshot->hidden || vv_handles_is_open(&fuse->handles, node))) {
        /* One that is hidden and not open is gone: ESTALE makes the kernel look a listed name up again. */
        stat_snapshot(snapshot, vv_meta_lun(fuse->meta, snapshot->lun), st);
    } else {
        result = -ESTALE;
    }
    if (result == 0)
        result = stat_shared(fuse, node, kind, lun, st);
    vv_meta_read_unlock(fuse->meta);
    return result;
}

int vv_node_stat(VvFuse *fuse, uint64_t node, VvView *view, struct stat *ret_stat)
{
    struct stat st = { .st_blksize = VV_BLOCK_BYTES };
    VvNodeKind kind = vv_node_kind(fuse, node);
    if (kind == VV_KIND_NONE)
        return -ESTALE;
    if (kind != VV_KIND_FOLDER && kind != VV_KIND_OBJECT) {
        stat_own(fuse, node, kind, &st);
        *ret_stat = st;
        return 0;
    }
    bool is_lun;
    int rc = stat_stored(fuse, node, kind, &st, &is_lun);
    if (rc < 0)
        return rc;
    VvViewStat now;
    if (is_lun && view)
        vv_view_stat(view, &now);
    if (is_lun && (view || vv_pool_stat(fuse->pool, node, &now) == 0)) {
        st.st_size = (off_t) now.size_bytes;
        st.st_blocks = (blkcnt_t) (now.used_bytes / 512);
        st.st_mtim = timespec_of(now.mtime_ns);
        if (st.st_ctim.tv_sec < st.st_mtim.tv_sec ||
            (st.st_ctim.tv_sec == st.st_mtim.tv_sec && st.st_ctim.tv_nsec < st.st_mtim.tv_nsec))
            st.st_ctim = st.st_mtim; /* a write changes both */
    }
    *ret_stat = st;
    return 0;
}

int vv_node_entry(VvFuse *fuse, uint64_t node, struct fuse_entry_param *ret_entry)
{
    struct fuse_entry_param entry = { .ino = node, .generation = 1 };
    int rc = vv_node_stat(fuse, node, NULL, &entry.attr);
    if (rc < 0)
        return rc == -ESTALE ? -ENOENT : rc;
    /* The kernel asks again for everything that a command may rename, remove or resize behind its back; for a folder not
     * at once, or each of its files would cost a look-up of the folder (notifier.c has what keeps this true). */
    if (node <= VV_NODE_LIVE) {
        entry.entry_timeout = VV_NAME_TIMEOUT_S;
        entry.attr_timeout = 1.0;
    } else if (vv_node_kind(fuse, node) == VV_KIND_FOLDER) {
        entry.entry_timeout = entry.attr_timeout = VV_LISTED_TIMEOUT_MS / 1000.0;
        atomic_store(&fuse->listed_ms, vv_coarse_ms());
    }
    *ret_entry = entry;
    return 0;
}

/* ---- names */

static uint64_t find_own(const VvFuse *fuse, VvNodeKind parent, const char *name)
{
    if (parent == VV_KIND_ROOT) {
        static const char *const names[] = { "luns", "snapshots", ".vvfs" };
        for (unsigned i = 0; i < G_N_ELEMENTS(names); i++) {
            if (strcmp(name, names[i]) == 0)
                return VV_NODE_LUNS + i;
        }
    } else {
        for (unsigned i = 0; i < fuse->text_count; i++) {
            if (strcmp(name, fuse->texts[i].name) == 0)
                return VV_NODE_TEXT + i;
        }
    }
    return 0;
}

int vv_node_find(VvFuse *fuse, uint64_t parent, const char *name, uint64_t *ret_node)
{
    VvNodeKind kind = vv_node_kind(fuse, parent);
    uint64_t node = 0;
    if (kind == VV_KIND_OBJECT || kind == VV_KIND_TEXT || kind == VV_KIND_NONE)
        return -ENOTDIR;
    if (kind == VV_KIND_ROOT || kind == VV_KIND_LIVE) {
        node = find_own(fuse, kind, name);
    } else {
        vv_meta_read_lock(fuse->meta);
        if (kind == VV_KIND_FOLDER) {
            const VvLun *lun = vv_meta_lun(fuse->meta, vv_node_object(parent));
            const VvSnapshot *snapshot = lun ? vv_meta_snapshot_by_name(fuse->meta, lun, name) : NULL;
            if (snapshot && !snapshot->hidden && vv_object_is_seen(fuse, snapshot->id))
                node = snapshot->id;
        } else {
            const VvLun *lun = vv_meta_lun_by_name(fuse->meta, name);
            if (lun && !lun->orphan && (kind == VV_KIND_LUNS ? vv_object_is_seen(fuse, lun->id) : vv_folder_is_seen(fuse, lun)))
                node = kind == VV_KIND_LUNS ? lun->id : lun->id | VV_NODE_FOLDER;
        }
        vv_meta_read_unlock(fuse->meta);
    }
    if (node == 0)
        return -ENOENT;
    *ret_node = node;
    return 0;
}

int vv_node_name_check(const char *name, const char *kind)
{
    return vv_name_check(name, kind, NULL) ? 0 : -EINVAL;
}

void vv_object_name_clear(VvObjectName *name)
{
    g_clear_pointer(&name->name, g_free);
    g_clear_pointer(&name->lun, g_free);
}

bool vv_node_object_name(VvFuse *fuse, uint64_t id, VvObjectName *ret_name)
{
    VvObjectName found = { 0 };
    vv_meta_read_lock(fuse->meta);
    const VvLun *lun = vv_meta_lun(fuse->meta, id);
    const VvSnapshot *snapshot = lun ? NULL : vv_meta_snapshot(fuse->meta, id);
    if (lun) {
        found.name = g_strdup(lun->name);
        found.lun = g_strdup(lun->name);
        found.lun_id = id;
        found.orphan = lun->orphan;
    } else if (snapshot) {
        lun = vv_meta_lun(fuse->meta, snapshot->lun);
        found.snapshot = true;
        found.name = g_strdup(snapshot->name);
        found.lun = g_strdup(lun ? lun->name : "");
        found.lun_id = snapshot->lun;
        found.orphan = snapshot->hidden;
    }
    vv_meta_read_unlock(fuse->meta);
    if (found.name == NULL)
        return false;
    *ret_name = found;
    return true;
}
