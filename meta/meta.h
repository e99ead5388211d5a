/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A pool's metadata as one object: catalog, pages, space, journal and store together.
 *
 * How a change travels: build ops -> vv_meta_log (journal append) -> vv_meta_sync -> vv_meta_apply (catalog and overlay)
 * -> later vv_meta_checkpoint (store) -> the journal before it is released. Start: open the store, replay.
 *
 * Locks, in order: log_lock (one logger at a time; the committer), then the read/write lock of catalog and overlay.
 * Readers take the read lock through the functions below; apply takes the write lock by itself. */
#ifndef VV_META_H
#define VV_META_H

#include "catalog.h"
#include "journal.h"
#include "map_check.h"
#include "ops.h"
#include "page.h"
#include "sums.h"

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/* Called while an op is applied, with the write lock held: must be quick, must not call back. Not called in replay. */
typedef struct {
    /* What somebody sees of @key's branch and region may have another page or other own flags now. With @page (borrowed) it is the head
     * alone, and this is what it sees now, under @key, in @family; NULL: not known here, and not only the head. */
    void (*page_changed)(void *user, uint64_t family, const VvPageKey *key, const VvPage *page);
    /* These blocks are in use now, with these checksums, or (NULL) without; told before anybody can see them. Of families that have, or
     * had, checksums. */
    void (*sums_set)(void *user, uint64_t family, uint32_t segment, uint32_t first_block, uint32_t count_blocks, const uint32_t *sums);
    /* Blocks left the applied map; the engine makes them usable again when I4 allows. */
    void (*blocks_freed)(void *user, uint64_t family, uint32_t segment, uint32_t first_block, uint32_t count_blocks);
    void (*segment_granted)(void *user, const VvSegment *segment);
    /* @segment had @old_shift before; its new shift is in it, 0 if it is gone. */
    void (*segment_shrunk)(void *user, const VvSegment *segment, uint8_t old_shift);
    void (*job_added)(void *user, const VvJob *job);
    void (*job_ended)(void *user, const VvJob *job);
    void (*member_set)(void *user, uint8_t kind, uint64_t id); /* a record of table member, also that it has gone */
    void (*op_applied)(void *user, const VvOp *op);            /* every op, behind all others that it caused */
} VvMetaHooks;

typedef struct {
    const char *name;
    VvUuid uuid;
    uint64_t created_ns;
} VvMetaCreate;

/* Make the pool's metadata in the existing directory: "map/" (store), "journal/", and the identity file
 * "vvfs-pool" last (so a pool directory without it is an unfinished one). */
bool vv_meta_create(const char *directory, const VvMetaCreate *create, GError **error);

/* The identity file alone, whole and durable: the last thing that makes a directory a pool's. */
bool vv_meta_write_identity(const char *directory, const VvMetaCreate *create, GError **error);
/* The identity file: name and UUID of the pool in @directory. Errors: not-found (no pool there), unsupported (newer
 * format), damaged. */
bool vv_meta_identify(const char *directory, char **ret_name, VvUuid *ret_uuid, GError **error);

/* Open and replay. The caller holds the pool's lock file (the daemon's), unless @read_only: then nothing is written and
 * the journal's tail is applied in memory only. @run_ops: see journal.h, NULL for files. */
VvMeta *vv_meta_open(const char *directory, bool read_only, const VvRunOps *run_ops, GError **error);
/* The same; @opening->number becomes the pool's, durably before anything else is written; 0, as with the other: one is drawn. */
typedef struct {
    uint64_t number;
    /* Called, unless NULL, with the number of the opening before this one, when nothing is written yet. False: it must not be opened. */
    bool (*check)(void *user, uint64_t before, GError **error);
    void *user;
    VvMapCheck map_check; /* the other: VV_MAP_BY_SIZE */
} VvOpening;
VvMeta *vv_meta_open_as(
    const char *directory, bool read_only, const VvRunOps *run_ops, const VvOpening *opening, GError **error);
void vv_meta_set_hooks(VvMeta *meta, const VvMetaHooks *hooks, void *user); /* before the first apply */
/* The map's checksums are lost, so that the pool in @directory, whose lock the caller has, does not open: make them anew, if all that
 * vv_meta_check looks at is in order. Errors: damaged (it is not, and nothing was changed), conflict (they are not lost). */
bool vv_meta_rebuild_sums(const char *directory, GError **error);
/* Check in the background what opening left of the map; @trouble, on a thread of its own and once: something in it is damaged or cannot
 * be read (@why), and reads that need it fail. Until vv_meta_unwatch. */
bool vv_meta_watch(VvMeta *meta, void (*trouble)(void *user, const char *why), void *user, GError **error);
void vv_meta_unwatch(VvMeta *meta);
/* What of the map was not compared with its checksums yet is left for the next start: a checkpoint, which needs all of it, gets -ESHUTDOWN, also
 * one under way. Before vv_meta_close; nothing that has to be stored may come any more. [any] */
void vv_meta_give_up_check(VvMeta *meta);
void vv_meta_close(VvMeta *meta);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VvMeta, vv_meta_close)

void vv_meta_read_lock(VvMeta *meta);
void vv_meta_read_unlock(VvMeta *meta);

/* A new id; kept across crashes because every op that uses one raises the counter. Any thread. */
uint64_t vv_meta_new_id(VvMeta *meta);

/* ---- changing: the committer's thread (vv_meta_log and _sync under its own serialisation) */
/* Append one entry of these ops. 0; -ENOSPC: checkpoint first (what only removes and discards is still taken when nothing else is);
 * -EIO: journal stopped. */
int vv_meta_log(VvMeta *meta, const VvOps *ops, uint64_t *ret_index);
int vv_meta_sync(VvMeta *meta);
/* What vv_meta_log and vv_meta_sync need while memory is short stays in memory. Bytes. */
size_t vv_meta_lock_memory(VvMeta *meta);
/* Apply the entry logged as @index (the next one). 0, or -EUCLEAN/-EIO: the metadata contradicts itself or cannot be
 * read; the pool has failed: nothing more can be applied (I5), reads go on. */
int vv_meta_apply(VvMeta *meta, uint64_t index, const VvOps *ops);
/* Syncs of the journal since the start. [any] */
uint64_t vv_meta_journal_syncs(VvMeta *meta);
/* Why the journal has stopped: the -errno of the first write or sync that failed; 0: it has not. The committer. */
int vv_meta_journal_error(VvMeta *meta);
/* Why the pool failed, NULL if it did not. Borrowed for ever. */
const char *vv_meta_failure(VvMeta *meta);

/* Do these ops remove or discard something, and nothing else? */
bool vv_ops_only_free(const VvOps *ops);

/* ---- checkpoints: one thread */
/* Is there enough in overlay or journal that one is due? */
bool vv_meta_checkpoint_due(VvMeta *meta);
/* The generation that fills has VV_OVERLAY_BYTES_MAX while the other is being written, or waits for another try. [any] */
bool vv_meta_overlay_is_full(VvMeta *meta);
uint64_t vv_meta_overlay_bytes(VvMeta *meta); /* memory of both. [any] */
/* Write everything applied so far to the store, release the journal. Blocks on the disk; not on appliers, save while
 * generations are switched. The first one after the start of a large map waits until all of it was compared with its checksums. 0, -ENOSPC
 * (what was applied stays in memory and in the journal), -EUCLEAN, -ENOMEM (the map: vv_meta_watch tells more), -ESHUTDOWN (that was given
 * up), -EIO (also when the pool has failed). */
int vv_meta_checkpoint(VvMeta *meta);
/* There is so little room for the map that nothing may make it larger: what removes and discards needs it (room.c). Changes at
 * checkpoints. [any] */
bool vv_meta_is_cramped(VvMeta *meta);
uint64_t vv_meta_reclaim_ns(const VvMeta *meta); /* how long the last RECLAIM op held appliers up. Any thread */
uint64_t vv_meta_room(VvMeta *meta); /* bytes that the map can write without asking for space. [any] */

/* ---- pages. Source: overlay, then table "page". Take the read lock by themselves, behind a writer that waits, so the caller
 * must not hold it; may page-fault; never wait for I/O otherwise. 0; -ENODATA no version (all holes; ret_* untouched); -EUCLEAN a record failed to decode; -EIO. */
/* What a reader at (branch, epoch) sees in @region; *ret_key is the page's own key (its branch may be an origin),
 * *ret_family the family its places are in. Any of the ret_ may be NULL. The branch must exist, else -ESTALE. */
int vv_map_lookup(VvMeta *meta, uint64_t branch, uint64_t region, uint64_t epoch, VvPage *ret_page, VvPageKey *ret_key,
                  uint64_t *ret_family);
/* The first region at or after @region in which that reader sees a page. */
int vv_map_next_region(VvMeta *meta, uint64_t branch, uint64_t region, uint64_t epoch, uint64_t *ret_region);
/* Of which block of its LUN each of these places of @family is (all versions have it there): into @ret_blocks, UINT64_MAX for those that no
 * page names. Walks all pages of the family, in slices. @stop (NULL: none) ends it with -ECANCELED. */
int vv_map_find_places(VvMeta *meta, uint64_t family, const VvPlace *places, unsigned count, bool (*stop)(void *user), void *user,
                       uint64_t *ret_blocks);
/* May a MOVE take up this region? 0; -E2BIG: it has more versions and branches than an entry may visit; -ESTALE: no such family. */
int vv_map_may_move(VvMeta *meta, uint64_t family, uint64_t region);
/* Is @key's page the head's own page (R1)? Read lock held. */
bool vv_map_page_is_heads(const VvBranch *branch, const VvPageKey *key);

/* Ranges in which two points (or a point and a LUN's head, epoch UINT64_MAX) differ by address, in order, merged, in
 * blocks; @zero: the second maps nothing there. Clipped to regions that either maps. A false return of @range stops. */
typedef struct { uint64_t branch; uint64_t epoch; uint64_t size_bytes; } VvPoint;
typedef bool (*VvDiffFunc)(void *user, uint64_t offset_bytes, uint64_t length_bytes, bool zero);
int vv_map_diff(VvMeta *meta, const VvPoint *from, const VvPoint *to, VvDiffFunc range, void *user);

/* ---- space */
/* total = used + held + free. @freeing_bytes is the part of @used_bytes that jobs will free: exact for a family in which at most one
 * LUN or snapshot is left, elsewhere at most all that the largest of them does not map; 0 while nothing will be freed. */
typedef struct { uint64_t total_bytes, used_bytes, free_bytes, held_bytes, freeing_bytes; } VvSpaceSummary;
/* Takes the read lock. Walks the jobs, and the LUNs and snapshots of the families that have some. */
void vv_meta_space(VvMeta *meta, VvSpaceSummary *ret_space);
/* A free aligned run of 1 << @shift bytes: best fit over @disks (NULL: all; most free first), outside of the segments
 * @taken (NULL: none). Read lock held. The caller reserves it by logging the grant before it asks again. False: none. */
bool vv_space_find_run(
    const VvMeta *meta, uint8_t shift, const VvDiskSet *disks, const GHashTable *taken, VvCopy *ret_copy);
/* May the LUN become a clone in @branch? A clone lies where its family lies, and what was made for chosen disks may not leave
 * them. Read lock held. */
bool vv_space_may_adopt(const VvMeta *meta, const VvLun *lun, uint64_t branch);
/* The applied free bitmap of a piece: 1 = free. -ENODATA: all used. Takes the read lock. */
int vv_space_piece(VvMeta *meta, uint64_t family, uint32_t segment, uint32_t piece, uint64_t *ret_bits /* [128] */);

/* What removing these objects (a LUN: with all its snapshots) would free, exactly, in blocks, opens not counted; by walking
 * the pages of the families concerned. The id of a LUN's branch: what its head alone sees, as its snapshots stay. @count 0: what
 * the jobs now queued will free. Takes the read lock in slices; -EAGAIN if a family changed meanwhile (try again); -E2BIG if there
 * are more than @most_looks pages and branches to look at (UINT64_MAX: never); -EUCLEAN, -EIO. */
int vv_space_exclusive(VvMeta *meta, const uint64_t *ids, unsigned count, uint64_t most_looks, uint64_t *ret_blocks);
/* The same for cutting a LUN to @size_bytes: what only its head sees, in blocks that lie wholly behind that. */
int vv_space_cut(VvMeta *meta, uint64_t lun, uint64_t size_bytes, uint64_t *ret_blocks);

#define VV_MOUNT_REQUEST_PREFIX "fuse-" /* of the ids of requests that came through the mount */
/* ---- requests (CLI.md --id): the recorded result or NULL; newly allocated. Takes the read lock. */
char *vv_meta_request_result(VvMeta *meta, const char *id);

/* ---- check */
typedef struct { const char *code; char *object; char *message; bool repaired; } VvCheckError;
typedef void (*VvCheckFunc)(void *user, const VvCheckError *error);
/* Recompute everything from the pages and compare: double use, leaks, own flags, shadowed pages that nothing can reach,
 * index, counters, bad records. On a consistent state (takes the read lock in one piece if @meta serves; @repair only
 * offline). Returns 0 when it could look at everything (errors are told through @report), else -EIO. */
int vv_meta_check(VvMeta *meta, bool repair, VvCheckFunc report, void *user);

#endif
