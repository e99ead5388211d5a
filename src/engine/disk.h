/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Disks: the backing stores. A file or a block device, opened once, flock'ed on that open file description, labelled; or an export of
 * an NBD server ("nbd://..."), which has no lock (link.c).
 *
 * Layout of a disk: [0, 1 MiB) label area (the label in its first 4 KiB, a copy at 512 KiB), data from 1 MiB in units
 * of 1 MiB, the last 64 KiB reserved. */
#ifndef VV_DISK_H
#define VV_DISK_H

#include "limits.h"
#include "util.h"

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct VvDisk VvDisk;

/* What a label says. Offset table in label.c and docs/format.md. */
typedef struct {
    VvUuid pool_uuid;
    VvUuid disk_uuid;
    uint64_t disk_id;
    uint64_t size_bytes; /* of the whole disk, as labelled: grows by vv_disk_relabel */
    uint64_t created_ns;
    uint64_t incarnation; /* of the pool that served it last; 0: none */
    char pool_name[VV_NAME_BYTES_MAX + 1];
    char disk_name[VV_NAME_BYTES_MAX + 1];
} VvLabel;

/* Pure codecs: @bytes is VV_BLOCK_BYTES long. decode: 0; -ENODATA not a vvfs label; -EUCLEAN a label with a flipped
 * bit; -EOPNOTSUPP a newer format. */
void vv_label_encode(const VvLabel *label, uint8_t *bytes);
int vv_label_decode(const uint8_t *bytes, VvLabel *ret_label);

typedef struct {
    const char *pool_directory; /* the pool that wants it; a disk standing on one of its own LUNs is refused. May be NULL */
    const char *mount_point;    /* where that pool is mounted, or NULL */
    bool overwrite;             /* erase signatures (never a mounted or open one) */
    uint64_t create_bytes;      /* 0: must exist; else make a sparse file of this size (must not exist) */
} VvDiskFormat;

/* What can become a disk, checked and held for us alone (lock; of a block device the kernel's exclusive claim) until it is
 * freed. A claim changes nothing. Who makes several disks claims all of them, then writes: a refusal of the last one leaves
 * the first as it was. */
typedef struct VvDiskClaim VvDiskClaim;
/* Refuses, each with a message of its own that names the thing found: too small (VV_DISK_BYTES_MIN), mounted (where),
 * in use (open exclusively by the kernel: swap, md, loop's backing file...), any signature that libblkid knows (type,
 * label, and for ext and XFS last mount time where it can be told; partition tables too), already a disk of a pool
 * (which; the same pool under another name too), read-only, gone, not a file or block device, a LUN or a loop device
 * over a LUN of @pool_directory's mount. Nothing is changed on refusal.
 * @pool_uuid: of the pool that wants it.
 * Errors: in-use-device, exists, not-found, denied, unsupported, io, usage, limit (open files). */
VvDiskClaim *vv_disk_claim(const char *path, const VvDiskFormat *format, const VvUuid *pool_uuid, GError **error);
/* Erase what it carries, or make the file, and write the label (both copies, synced). Once. @label->size_bytes is filled in.
 * Errors: exists (a file that came meanwhile), no-space, denied, io: of what was there something may be erased. */
bool vv_disk_claim_write(VvDiskClaim *claim, VvLabel *label, GError **error);
void vv_disk_claim_free(VvDiskClaim *claim);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VvDiskClaim, vv_disk_claim_free)
/* Both at once, for one disk. */
bool vv_disk_format(const char *path, const VvDiskFormat *format, VvLabel *label, GError **error);

/* Erase the labels of an unused disk (pool destroy, disk remove). Only if they say @disk_uuid. */
bool vv_disk_erase_label(const char *path, const VvUuid *disk_uuid, GError **error);
/* Read the label of whatever is at @path; not-found if it has none. The second copy is used (and said so in
 * *ret_repaired, may be NULL) if the first is bad. */
bool vv_disk_read_label(const char *path, VvLabel *ret_label, bool *ret_repaired, GError **error);

/* How I/O reaches the medium. The default table uses the file; faults come through another. All block, and return 0 or
 * -errno (a short transfer is -EIO). */
typedef struct {
    int (*read)(VvDisk *disk, void *data, size_t length_bytes, uint64_t offset);
    int (*write)(VvDisk *disk, const void *data, size_t length_bytes, uint64_t offset);
    int (*sync)(VvDisk *disk); /* fdatasync */
    int (*discard)(VvDisk *disk, uint64_t offset, uint64_t length_bytes); /* punch a hole; reads may return anything */
} VvDiskOps;
extern const VvDiskOps vv_disk_file_ops;

/* Open once, lock (flock LOCK_EX on this open file description: I/O in flight pins it, so who gets the lock knows that
 * nothing of a predecessor can still land; waits up to @lock_wait_ms), O_DIRECT where the medium allows, check that the
 * label says @pool_uuid and @disk_uuid (NULL: any). @read_only takes no lock (for check).
 * Errors: not-found, busy (locked: by which pid if /proc/locks tells), damaged, conflict (another disk), io. */
VvDisk *vv_disk_open(const char *path, const VvUuid *pool_uuid, const VvUuid *disk_uuid, bool read_only,
                     unsigned lock_wait_ms, GError **error);
/* No I/O may be under way (asserted). */
void vv_disk_close(VvDisk *disk);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VvDisk, vv_disk_close)

const VvLabel *vv_disk_label(const VvDisk *disk); /* borrowed */
const char *vv_disk_path(const VvDisk *disk);
int vv_disk_fd(const VvDisk *disk); /* -1: not a file of this machine */
/* The medium has memory speed and no asynchronous path (tmpfs): do I/O at once, in the caller. Also true whenever the
 * operations are not the default ones. */
bool vv_disk_is_inline(const VvDisk *disk);
bool vv_disk_is_direct(const VvDisk *disk);      /* opened O_DIRECT: buffers aligned to VV_BLOCK_BYTES */
uint64_t vv_disk_current_bytes(const VvDisk *disk); /* of the medium now, 0 if it cannot be told. May wait for a connection */
/* Of a disk behind a connection: why it is not reached just now, a new text; NULL: it is, or it is a file. Any thread. */
char *vv_disk_unreached(const VvDisk *disk);
const VvDiskOps *vv_disk_ops(const VvDisk *disk);
void vv_disk_set_ops(VvDisk *disk, const VvDiskOps *ops, void *user); /* what is under way may use the old ones; they stay valid */
void *vv_disk_ops_user(const VvDisk *disk);
/* Rewrite the label with another size (the file is grown first if it is a file that is smaller) or name. Control thread. */
bool vv_disk_relabel(VvDisk *disk, uint64_t size_bytes, const char *disk_name, GError **error);

/* Counters, read by stats; written with relaxed atomics by whoever does I/O. */
typedef struct {
    uint64_t reads, read_bytes, writes, write_bytes, syncs, discards, discard_bytes, errors;
} VvDiskCounters;
VvDiskCounters vv_disk_counters(const VvDisk *disk);
/* Called by whoever did I/O that did not go through the functions here (the ring). */
void vv_disk_count(VvDisk *disk, bool write, uint64_t bytes, int result);

/* ---- blocking helpers for threads that may wait (jobs, control) */
int vv_disk_read(VvDisk *disk, void *data, size_t length_bytes, uint64_t offset);
int vv_disk_write(VvDisk *disk, const void *data, size_t length_bytes, uint64_t offset);
int vv_disk_discard(VvDisk *disk, uint64_t offset, uint64_t length_bytes);

/* ---- sync tickets: each disk has its own syncer thread (started on first use)
 * A ticket covers every write completed before it was asked for. Tickets asked for while a sync is running wait for
 * the next one: a ticket in flight never covers a later write. A failed sync fails every ticket it carried and the disk
 * remembers it: all later tickets fail with the same error (never retried as if nothing had happened). */
typedef void (*VvSyncDone)(void *user, int result); /* on the syncer's thread; must not block */
void vv_disk_sync_async(VvDisk *disk, VvSyncDone done, void *user);
/* Blocking form; not for workers. */
int vv_disk_sync(VvDisk *disk);
/* 0, or the error of the sync that failed. */
int vv_disk_sync_error(const VvDisk *disk);
/* Whoever had the disk before saw a sync fail. Before the first ticket. */
void vv_disk_inherit_sync_error(VvDisk *disk, int error);
/* Call @failed with the first sync's error, on the syncer's thread, before any ticket is answered with it. Before the first ticket. */
void vv_disk_watch_syncs(VvDisk *disk, void (*failed)(void *user, VvDisk *disk, int error), void *user);

#endif
