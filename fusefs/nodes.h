/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Inode numbers: object numbers, never pointers, so that they mean the same after a restart.
 *
 *     number                    what
 *     1                         the root
 *     2, 3, 4                   luns, snapshots, .vvfs
 *     5 ...                     the texts of .vvfs
 *     id (bits 62, 63 clear)    the LUN or snapshot of that id (ids carry a tag above bit 40, never 0)
 *     id | 1 << 63              the folder of a LUN's snapshots */
#ifndef VV_NODES_H
#define VV_NODES_H

#include "fuse_private.h"

#include <sys/stat.h>

#define VV_NODE_ROOT 1u
#define VV_NODE_LUNS 2u
#define VV_NODE_SNAPSHOTS 3u
#define VV_NODE_LIVE 4u
#define VV_NODE_TEXT 5u /* and following */
#define VV_NODE_FOLDER ((uint64_t) 1 << 63)

typedef enum {
    VV_KIND_ROOT,
    VV_KIND_LUNS,
    VV_KIND_SNAPSHOTS,
    VV_KIND_LIVE,
    VV_KIND_TEXT,
    VV_KIND_FOLDER,
    VV_KIND_OBJECT,
    VV_KIND_NONE,
} VvNodeKind;
VvNodeKind vv_node_kind(const VvFuse *fuse, uint64_t node);
static inline uint64_t vv_node_object(uint64_t node)
{
    return node & ~VV_NODE_FOLDER;
}

/* What stat(2) says of @node. With a view (an open handle's) its size, mtime and space are the view's own; else they are
 * looked up by number. Takes the catalog's read lock for a moment. 0 or -ESTALE. */
int vv_node_stat(VvFuse *fuse, uint64_t node, VvView *view, struct stat *ret_stat);

/* The node that @name in @parent stands for. 0, -ENOENT, -ENOTDIR. */
int vv_node_find(VvFuse *fuse, uint64_t parent, const char *name, uint64_t *ret_node);

/* May @name be given to a new object? 0, -EINVAL (also: too long). */
int vv_node_name_check(const char *name, const char *kind);

/* Names of an object and, for a snapshot, of its LUN, newly allocated ("" while hidden). False: gone. */
typedef struct {
    bool snapshot;
    bool orphan;
    char *name;
    char *lun;
    uint64_t lun_id;
} VvObjectName;
bool vv_node_object_name(VvFuse *fuse, uint64_t id, VvObjectName *ret_name);
void vv_object_name_clear(VvObjectName *name);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(VvObjectName, vv_object_name_clear)

/* May this node see the node @node of the mount, an object or a folder (sharing.h)? One load if no object of the pool has a table; else takes the
 * catalog's read lock. What is no object is seen. */
bool vv_node_is_seen(VvFuse *fuse, uint64_t node);
/* The same with the read lock held, of a LUN or snapshot, and of a LUN's folder. */
bool vv_object_is_seen(VvFuse *fuse, uint64_t id);
bool vv_folder_is_seen(VvFuse *fuse, const VvLun *lun);
/* May it be written, renamed or removed here, as far as sharing goes? 0, -EACCES, -ESTALE (it is not seen). */
int vv_node_refuse_change(VvFuse *fuse, uint64_t node);

/* Fill a look-up's answer for @node. 0 or -errno. */
int vv_node_entry(VvFuse *fuse, uint64_t node, struct fuse_entry_param *ret_entry);

#endif
