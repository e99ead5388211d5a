/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Names and directories. A directory lists what it held when it was opened, in the order of numbers, without what was removed since.
 * The offset behind an entry is 1 for ".", 2 for "..", and 2 + its number (without the bit of a folder) for the rest: so it stays true
 * whatever is made or removed meanwhile, and in a list that is made anew after a takeover too. */
#include "nodes.h"

#include <string.h>

void vv_fuse_lookup(fuse_req_t request, fuse_ino_t parent, const char *name)
{
    VvFuse *fuse = vv_fuse_of(request);
    struct fuse_entry_param entry;
    uint64_t node;
    int rc = vv_node_find(fuse, parent, name, &node);
    if (rc == 0)
        rc = vv_node_entry(fuse, node, &entry);
    if (rc == 0)
        fuse_reply_entry(request, &entry);
    else
        fuse_reply_err(request, -rc);
}

/* ---- what a directory holds */

static void list_luns(VvFuse *fuse, uint64_t flag, VvFile *file)
{
    vv_meta_read_lock(fuse->meta);
    GPtrArray *luns = vv_meta_luns(fuse->meta);
    file->ids = g_new(uint64_t, luns->len + 1);
    file->id_count = 0;
    for (unsigned i = 0; i < luns->len; i++) {
        const VvLun *lun = g_ptr_array_index(luns, i);
        if (flag ? vv_folder_is_seen(fuse, lun) : vv_object_is_seen(fuse, lun->id))
            file->ids[file->id_count++] = lun->id | flag;
    }
    vv_meta_read_unlock(fuse->meta);
}

static int list_snapshots(VvFuse *fuse, uint64_t lun_id, VvFile *file)
{
    int result = -ESTALE;
    vv_meta_read_lock(fuse->meta);
    const VvLun *lun = vv_meta_lun(fuse->meta, lun_id);
    if (lun && !lun->orphan) {
        file->ids = g_new(uint64_t, lun->snapshots->len + 1);
        for (unsigned i = 0; i < lun->snapshots->len; i++) {
            uint64_t id = ((const VvSnapshot *) g_ptr_array_index(lun->snapshots, i))->id;
            if (vv_object_is_seen(fuse, id))
                file->ids[file->id_count++] = id;
        }
        result = 0;
    }
    vv_meta_read_unlock(fuse->meta);
    return result;
}

static void list_numbers(uint64_t first, unsigned count, VvFile *file)
{
    file->ids = g_new(uint64_t, count + 1);
    file->id_count = count;
    for (unsigned i = 0; i < count; i++)
        file->ids[i] = first + i;
}

static int list(VvFuse *fuse, uint64_t node, VvFile *file)
{
    g_clear_pointer(&file->ids, g_free);
    file->id_count = 0;
    switch (vv_node_kind(fuse, node)) {
    case VV_KIND_ROOT:
        list_numbers(VV_NODE_LUNS, 3, file);
        return 0;
    case VV_KIND_LIVE:
        list_numbers(VV_NODE_TEXT, fuse->text_count, file);
        return 0;
    case VV_KIND_LUNS:
        list_luns(fuse, 0, file);
        return 0;
    case VV_KIND_SNAPSHOTS:
        list_luns(fuse, VV_NODE_FOLDER, file);
        return 0;
    case VV_KIND_FOLDER:
        return list_snapshots(fuse, vv_node_object(node), file);
    default:
        return -ENOTDIR;
    }
}

void vv_fuse_opendir(fuse_req_t request, fuse_ino_t node, struct fuse_file_info *info)
{
    VvFuse *fuse = vv_fuse_of(request);
    VvFile *file = vv_request_again ? vv_file_opened_by(&fuse->handles, vv_request_unique, &info->fh) : NULL;
    if (file) /* made by a predecessor that could not say so */
        vv_file_close(&fuse->handles, file);
    file = vv_file_new(&fuse->handles, VV_HANDLE_DIRECTORY);
    if (file == NULL) {
        fuse_reply_err(request, ENFILE);
        return;
    }
    int rc = list(fuse, node, file);
    if (rc < 0) {
        vv_file_close(&fuse->handles, file);
        fuse_reply_err(request, -rc);
        return;
    }
    info->fh = vv_file_publish(&fuse->handles, file, &(VvOpened){ node, vv_request_unique, fuse_req_ctx(request)->pid });
    if (fuse_reply_open(request, info) == -ENOENT) /* the caller is gone: nobody will release it */
        vv_file_close(&fuse->handles, file);
}

void vv_fuse_releasedir(fuse_req_t request, fuse_ino_t node, struct fuse_file_info *info)
{
    (void) node;
    VvFuse *fuse = vv_fuse_of(request);
    VvFile *file = vv_file_get(&fuse->handles, info->fh);
    if (file)
        vv_file_close(&fuse->handles, file);
    fuse_reply_err(request, 0);
}

/* The name of @node within its directory, into @ret_name (VV_NAME_BYTES_MAX + 1 bytes). False: gone. */
static bool name_of(VvFuse *fuse, uint64_t node, char *ret_name)
{
    static const char *const fixed[] = { "luns", "snapshots", ".vvfs" };
    if (node <= VV_NODE_LIVE) {
        g_strlcpy(ret_name, fixed[node - VV_NODE_LUNS], VV_NAME_BYTES_MAX + 1);
        return true;
    }
    if (node < VV_NODE_TEXT + VV_FUSE_TEXTS_MAX) {
        g_strlcpy(ret_name, fuse->texts[node - VV_NODE_TEXT].name, VV_NAME_BYTES_MAX + 1);
        return true;
    }
    vv_meta_read_lock(fuse->meta);
    const VvLun *lun = vv_meta_lun(fuse->meta, vv_node_object(node));
    const VvSnapshot *snapshot = lun ? NULL : vv_meta_snapshot(fuse->meta, vv_node_object(node));
    bool found = lun ? !lun->orphan : snapshot && !snapshot->hidden;
    if (found)
        found = node & VV_NODE_FOLDER && lun ? vv_folder_is_seen(fuse, lun) : vv_object_is_seen(fuse, vv_node_object(node));
    if (found)
        g_strlcpy(ret_name, lun ? lun->name : snapshot->name, VV_NAME_BYTES_MAX + 1);
    vv_meta_read_unlock(fuse->meta);
    return found;
}

static size_t add(fuse_req_t request, char *buffer, size_t room_bytes, const char *name, bool plus,
    const struct fuse_entry_param *entry, off_t next)
{
    return plus ? fuse_add_direntry_plus(request, buffer, room_bytes, name, entry, next)
                : fuse_add_direntry(request, buffer, room_bytes, name, &entry->attr, next);
}

/* The entry at @position: 0 and 1 are "." and "..". False: nothing to show there. */
static bool entry_at(VvFuse *fuse, uint64_t directory, const VvFile *file, size_t position, bool plus, char *ret_name,
    struct fuse_entry_param *ret_entry)
{
    *ret_entry = (struct fuse_entry_param){ 0 };
    if (position < 2) { /* no look-up is counted for these: their number in `ino` of the attributes only */
        g_strlcpy(ret_name, position == 0 ? "." : "..", VV_NAME_BYTES_MAX + 1);
        bool in_folder = vv_node_kind(fuse, directory) == VV_KIND_FOLDER;
        ret_entry->attr.st_ino = position == 0 ? directory : in_folder ? VV_NODE_SNAPSHOTS : VV_NODE_ROOT;
        ret_entry->attr.st_mode = S_IFDIR;
        return true;
    }
    uint64_t node = file->ids[position - 2];
    if (!name_of(fuse, node, ret_name))
        return false;
    VvNodeKind kind = vv_node_kind(fuse, node);
    if (plus) {
        if (vv_node_entry(fuse, node, ret_entry) < 0)
            return false;
        /* `ls -l` of ten thousand snapshots would ask twice for each; notifier.c has what keeps this true. */
        if (kind == VV_KIND_OBJECT && vv_node_kind(fuse, directory) == VV_KIND_FOLDER)
            ret_entry->entry_timeout = ret_entry->attr_timeout = VV_LISTED_TIMEOUT_MS / 1000.0;
        return true;
    }
    ret_entry->attr.st_ino = node;
    ret_entry->attr.st_mode = kind == VV_KIND_OBJECT || kind == VV_KIND_TEXT ? S_IFREG : S_IFDIR;
    return true;
}

static uint64_t offset_behind(const VvFile *file, size_t position)
{
    return position < 2 ? position + 1 : 2 + vv_node_object(file->ids[position - 2]);
}

/* Where the list goes on at @offset. */
static size_t position_at(const VvFile *file, uint64_t offset)
{
    if (offset <= 2)
        return (size_t) offset;
    size_t begin = 0, end = file->id_count; /* the first number that is larger */
    while (begin < end) {
        size_t middle = begin + (end - begin) / 2;
        if (vv_node_object(file->ids[middle]) > offset - 2)
            end = middle;
        else
            begin = middle + 1;
    }
    return begin + 2;
}

static void read_directory(
    fuse_req_t request, uint64_t node, size_t size_bytes, uint64_t offset, uint64_t fh, bool plus)
{
    VvFuse *fuse = vv_fuse_of(request);
    VvFile *file = vv_file_get(&fuse->handles, fh);
    if (file == NULL || file->kind != VV_HANDLE_DIRECTORY) {
        fuse_reply_err(request, EBADF);
        return;
    }
    if (offset == 0 || file->remade) { /* rewinddir(3) sees what is there now */
        file->remade = false;
        int rc = list(fuse, node, file);
        if (rc < 0) {
            fuse_reply_err(request, -rc);
            return;
        }
    }
    size_bytes = MIN(size_bytes, VV_DIRECTORY_BYTES_MAX);
    g_autofree char *buffer = g_malloc(size_bytes);
    size_t used_bytes = 0;
    for (size_t position = position_at(file, offset); position < file->id_count + 2; position++) {
        char name[VV_NAME_BYTES_MAX + 1];
        struct fuse_entry_param entry;
        if (!entry_at(fuse, node, file, position, plus, name, &entry))
            continue;
        size_t entry_bytes =
            add(request, buffer + used_bytes, size_bytes - used_bytes, name, plus, &entry,
            (off_t) offset_behind(file, position));
        if (entry_bytes > size_bytes - used_bytes)
            break;
        used_bytes += entry_bytes;
    }
    if (plus && vv_node_kind(fuse, node) == VV_KIND_FOLDER)
        atomic_store(&fuse->listed_ms, vv_coarse_ms());
    fuse_reply_buf(request, buffer, used_bytes);
}

void vv_fuse_readdir(fuse_req_t request, fuse_ino_t node, size_t size, off_t offset, struct fuse_file_info *info)
{
    read_directory(request, node, size, (uint64_t) offset, info->fh, false);
}

void vv_fuse_readdirplus(fuse_req_t request, fuse_ino_t node, size_t size, off_t offset, struct fuse_file_info *info)
{
    read_directory(request, node, size, (uint64_t) offset, info->fh, true);
}
