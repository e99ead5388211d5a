/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files that make up a disk share: disk.c, disk_format.c, disk_users.c, disk_signature.c, syncer.c, worker.c. */
#ifndef VV_DISK_PRIVATE_H
#define VV_DISK_PRIVATE_H

#include "disk.h"
#include "error.h"
#include "remote.h"
#include "trouble.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

/* Where the copies of the label stand. */
#define VV_LABEL_SECOND_AT (512u << 10)
/* Of a disk without locks: a block that changes while it is in use. label.c */
#define VV_BEAT_AT (768u << 10)
void vv_beat_encode(const VvUuid *disk_uuid, uint64_t count, uint8_t *bytes);

/* ---- syncer.c */
typedef struct {
    VvSyncDone done;
    void *user;
} VvSyncTicket;

/* A list of tickets that only grows, so that asking for one seldom allocates. */
typedef struct {
    VvSyncTicket *tickets; /* owned */
    size_t count, capacity;
} VvSyncBatch;

typedef struct {
    pthread_mutex_t lock; /* guards waiting, started, stopping */
    pthread_cond_t changed;
    VvSyncBatch waiting;
    VvSyncBatch running; /* the syncer thread's */
    bool started, stopping;
    pthread_t thread;
    _Atomic int error; /* 0, or the -errno of the sync that failed: never goes back */
    void (*failed)(void *user, VvDisk *disk, int error); /* or NULL */
    void *failed_user;
} VvSyncer;

void vv_syncer_init(VvSyncer *syncer);
/* Ends the thread. No ticket may be waiting (asserted). */
void vv_syncer_clear(VvSyncer *syncer);

/* ---- disk.c */
/* Counters are split so that workers do not share a cache line. */
#define VV_DISK_SHARDS 8u
typedef struct {
    _Alignas(64) _Atomic uint64_t reads;
    _Atomic uint64_t read_bytes, writes, write_bytes, syncs, discards, discard_bytes, errors;
    _Atomic uint64_t begun, ended; /* I/O under way: begun - ended over all shards */
} VvDiskShard;

struct VvDisk {
    char *path;       /* owned */
    VvRemote *remote; /* owned; NULL: a file or device of this machine, */
    int fd;           /* which this is; else -1 */
    bool block_device;
    bool direct;
    bool memory; /* tmpfs or ramfs */
    bool read_only;
    const VvDiskOps *_Atomic ops; /* borrowed; both: may be exchanged under I/O, some of which uses the old ones */
    void *_Atomic ops_user;
    VvLabel label; /* size_bytes and disk_name: changed by relabel, on the control thread */
    atomic_bool cannot_discard;
    VvSyncer syncer;
    VvTroubles troubles;
    VvDiskShard shards[VV_DISK_SHARDS];
};

/* An I/O that did not go through the functions of disk.h begins and ends (the ring's). vv_disk_close asserts that as
 * many ended as began. */
void vv_disk_begin(VvDisk *disk);
void vv_disk_end(VvDisk *disk);
void vv_disk_count_sync(VvDisk *disk, int result);
/* From an errno (either sign) to the closed set of error.h, negative; 0 stays 0. */
int vv_disk_errno(int err);

/* ---- medium.c: what is under a disk: a file or device, or (fd is -1) a remote. Borrowed. All block. 0 or -errno. */
typedef struct {
    int fd;
    VvRemote *remote;
} VvMedium;
int vv_medium_read(const VvMedium *medium, void *data, size_t length_bytes, uint64_t offset);
int vv_medium_write(const VvMedium *medium, const void *data, size_t length_bytes, uint64_t offset);
int vv_medium_sync(const VvMedium *medium);
/* As those of disk_signature.c. Of a remote medium the first and last 4 MiB are looked at, and erased. */
char *vv_medium_find_signature(const VvMedium *medium, uint64_t size_bytes);
int vv_medium_wipe_signatures(const VvMedium *medium, uint64_t size_bytes);

/* ---- disk.c */
/* How the two copies of a label were found. */
typedef struct {
    VvLabel label;
    int first, second; /* results of vv_label_decode, or -EIO */
    bool first_zero;   /* the first copy is all zeroes */
    bool differ;       /* both decode, and do not say the same */
} VvLabelPair;
/* 0: @ret_pair->label is what counts (the first copy if it is good). Otherwise -ENODATA no label, -EUCLEAN damaged,
 * -EOPNOTSUPP a newer format, -EIO unreadable. */
int vv_label_pair_read(const VvMedium *medium, VvLabelPair *ret_pair);
/* Both copies, each synced before the next: the first is new before the second changes. */
int vv_label_pair_write(const VvMedium *medium, const VvLabel *label);
/* The same, of an open disk. Does not change what disk->label says. */
int vv_disk_write_label(VvDisk *disk, const VvLabel *label);
/* Of no medium yet. Closed as any. */
VvDisk *vv_disk_new(const char *path, bool read_only);
/* What vv_label_pair_read returned, in words: not-found, damaged, unsupported, io. */
void vv_label_set_error(GError **error, int rc, const char *path);
bool vv_is_zero(const void *data, size_t length_bytes);

/* Is @fd a regular file or a block device, and how large? Errors: unsupported, io. */
bool vv_disk_examine(int fd, const char *path, struct stat *ret_stat, uint64_t *ret_bytes, GError **error);
/* stat(2) of @path, refusing what can be no disk before anything opens it. Errors: not-found, denied, unsupported, io. */
bool vv_disk_stat(const char *path, struct stat *ret_stat, GError **error);

/* ---- disk_users.c */
/* Who uses the file or device @st (mounts, swap, mapped and loop devices, locks): a new text that follows "PATH is ",
 * such as "mounted at /srv"; NULL if nobody can be found. The caller's own lock counts too. */
char *vv_disk_find_user(const struct stat *st);
/* Another process that has @path open, under this name: a new text that follows "PATH is "; NULL if none is found. */
char *vv_disk_find_opener(const char *path);
/* Does the open file or device @fd stand on a file under @mount_point, through any number of loop devices, mapped
 * devices, partitions and mounted file systems? False if @mount_point is no FUSE mount. */
bool vv_disk_stands_on(int fd, const char *mount_point);
/* The same of the file system whose number is @target, of whatever kind. */
bool vv_disk_stands_on_device(int fd, dev_t target);

/* ---- disk_signature.c */
/* What libblkid finds on @fd: a new text that follows "PATH holds ", NULL if there is nothing. */
char *vv_disk_find_signature(int fd, uint64_t size_bytes);
/* Erase all that libblkid finds; @fd is writable and not O_DIRECT. 0 or -errno. */
int vv_disk_wipe_signatures(int fd, uint64_t size_bytes);

#endif
