/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sharing: which of the pool's nodes may use which LUN or snapshot. Each object may have a table of its own, as a record of kind 3 of
 * table "member", under the object's id; id 0 is the pool's default. Little-endian:
 *
 *   u8 version 1, u8 default mode (0: the pool's), u16 count, {u64 node, u8 mode} each, ascending by node
 *
 * H1  What an object without a record has: the pool's default, and that is rw. A snapshot is never more than ro. A guest has only what its own
 *     row says.
 * H2  A snapshot's record is made with the snapshot, from its LUN's (rw becomes ro); a clone's with the clone, from its snapshot's, as it
 *     is written there; a refresh keeps the snapshot's own. Each in the entry that makes the object.
 * H3  The record goes in the entry in which the object goes (meta/apply.c): with a removal or, of what is open, with its purge.
 * H4  Who has it open when the mode is taken away is in the way, or (--force) is revoked: from then on its requests end with EIO. On return
 *     from the change none of them is under way on this node.
 * H5  Who opens while a change is decided waits for it (VV_CLAIM_OPENS), so nobody comes between the look and the entry. */
#ifndef VV_SHARING_H
#define VV_SHARING_H

#include "limits.h"
#include "pool.h"

#define VV_SHARE_POOL 0u   /* id of the pool's default */

typedef enum { VV_SHARE_UNSET, VV_SHARE_NONE, VV_SHARE_RO, VV_SHARE_RW } VvShareMode;
/* "none", "ro", "rw"; NULL: it is none of them. */
const char *vv_share_mode_name(VvShareMode mode);
/* Also "default": VV_SHARE_UNSET. Error: usage. */
bool vv_share_mode_parse(const char *text, VvShareMode *ret_mode, GError **error);

typedef struct {
    uint64_t node;
    VvShareMode mode; /* not UNSET */
} VvShareRow;
typedef struct {
    VvShareMode standard; /* UNSET: the pool's */
    unsigned count;
    VvShareRow rows[VV_NODES_MAX]; /* ascending by node */
} VvShareTable;

/* ---- tables */
/* decode is total; false: bad bytes, or not in range. A table that says nothing encodes to no bytes. */
void vv_share_encode(const VvShareTable *table, GByteArray *out);
bool vv_share_decode(const uint8_t *body, size_t length_bytes, VvShareTable *ret_table);
bool vv_share_says_nothing(const VvShareTable *table);
/* The mode of @node, UNSET takes the row out. False: there is no room. */
bool vv_share_table_set(VvShareTable *table, uint64_t node, VvShareMode mode);
/* What a snapshot gets of it. */
void vv_share_table_cap(VvShareTable *table);

/* ---- looking. The mode is a bound: what the object or the mount forbids beside stays forbidden, as writing a snapshot. */
/* What @node (0: this one) may do with the object; of the pool's default if there is no such object. One load while no object of the pool
 * has a table. Takes meta's read lock. [any] */
VvShareMode vv_pool_share_mode(VvPool *pool, uint64_t object_id, uint64_t node);
/* The same with the read lock held. */
VvShareMode vv_pool_share_mode_locked(VvPool *pool, uint64_t object_id, uint64_t node);
/* Is the folder of the LUN's snapshots there for this node: may it use the LUN, or one of its snapshots? Read lock held. */
bool vv_pool_share_sees_folder_locked(VvPool *pool, const VvLun *lun);
/* Has any object a table, or the pool a default or a guest? One load. [any] */
bool vv_pool_share_any(VvPool *pool);

typedef struct {
    VvShareMode standard; /* never UNSET */
    char **nodes;         /* names, NULL-terminated, sorted; with */
    VvShareMode *modes;   /* their modes */
} VvShareView;
void vv_share_view_clear(VvShareView *view);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(VvShareView, vv_share_view_clear)
/* The table of "LUN" or "LUN@SNAP", without nodes that are gone. Errors: not-found, invalid-name. [any] */
bool vv_pool_share_get(VvPool *pool, const char *object, VvShareView *ret_view, GError **error);
/* The same of an id; what is gone has the pool's default. [any] */
void vv_pool_share_get_id(VvPool *pool, uint64_t object_id, VvShareView *ret_view);
/* The name of node @id (0: this one), newly allocated; the machine's, or a number, if there is no record of it. [any] */
char *vv_pool_node_name(VvPool *pool, uint64_t id);
/* not-found, as CLI.md words it, if @node (0: this one) may not read @object. An object that there is not is no error here. */
bool vv_pool_share_refuse(VvPool *pool, const char *object, uint64_t node, GError **error);

/* Error denied: this node is a guest of the pool @name. */
void vv_refuse_guest(const char *name, GError **error);

/* ---- changes: control threads */
struct VvShareChanges {
    const char *const *nodes; /* names of nodes, or "default"; NULL-terminated, with */
    const VvShareMode *modes; /* the mode of each; UNSET: its row goes, or the default becomes the pool's */
};
typedef struct {
    bool with_snapshots; /* of a LUN: the same for each of them, with ro for rw */
    bool force;
} VvShareHow;
/* Errors: not-found (object, node), usage (rw of a snapshot; a node twice), busy (H4; who has it open, on which node), unsupported (the pool
 * does not listen), no-coordinator (a node without disks does not know who has it open), limit. */
bool vv_pool_share_set(
    VvPool *pool, const char *object, const struct VvShareChanges *changes, const VvShareHow *how, VvRequest *request, GError **error);
/* Revoke what records that were applied have taken away, and tell the mount; for VvPoolOptions.shares_changed, later. On return all that
 * was applied before the call is seen to. No locks held; control threads. */
void vv_pool_shares_settle(VvPool *pool);

/* ---- for the engine */
struct VvShares;
struct VvShares *vv_shares_new(void);
void vv_shares_free(struct VvShares *shares);
/* The pool's metadata was opened. */
void vv_shares_load(VvPool *pool);
/* Meta's hook: its write lock is held. */
void vv_shares_note(VvPool *pool, uint8_t kind, uint64_t id);
/* What was noted, for who settles: @ret_all: there was too much to note. */
GArray *vv_shares_take(VvPool *pool, bool *ret_all);
/* Every record: for `pool check`. Takes the read lock; true if the record is a table. */
void vv_shares_check(VvMeta *meta, VvCheckFunc report, void *user);
/* The table of an object; without a record an empty one. Read lock held. */
void vv_share_table_of(VvMeta *meta, uint64_t object_id, VvShareTable *ret_table);
/* A guest; the pool's default; "LUN" (*ret_snapshot is NULL) or "LUN@SNAP". Read lock held. */
bool vv_share_is_guest(VvMeta *meta, uint64_t node);
VvShareMode vv_share_standard(VvMeta *meta);
bool vv_share_find(VvPool *pool, const char *object, const VvLun **ret_lun, const VvSnapshot **ret_snapshot, GError **error);
/* What the table says for @node, who may be a guest; @standard: the pool's default. */
VvShareMode vv_share_table_mode(const VvShareTable *table, uint64_t node, bool guest, VvShareMode standard);
/* config_share.c, for transactions. The op that makes @table the object's. */
struct VvTransaction;
void vv_share_put(struct VvTransaction *tx, uint64_t object_id, const VvShareTable *table);
/* What is wanted for a snapshot, with numbers for the names of nodes; to be freed by g_free. NULL: errors as vv_pool_share_set. */
typedef struct VvShareWanted VvShareWanted;
VvShareWanted *vv_share_read_changes(VvPool *pool, const struct VvShareChanges *changes, const char *object, GError **error);
/* H2: @to, which this entry makes, gets @from's, and what is @wanted (NULL: nothing) beside. Read lock held. Error: limit. */
bool vv_share_inherit(struct VvTransaction *tx, uint64_t from, uint64_t to, bool snapshot, const VvShareWanted *wanted, GError **error);
/* @object_id, which this entry makes through the mount of @node (0: this one), is that node's whatever the pool's default: who makes a file can
 * write it. */
void vv_share_own(struct VvTransaction *tx, uint64_t object_id, uint64_t node);
/* The pool's default, for config_pool.c; the same refusals as vv_pool_share_set, for everything that is open. */
bool vv_share_set_standard(struct VvTransaction *tx, VvShareMode mode, GError **error);

#endif
