/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Open files: a table of handles, and the accounts of the objects they are on.
 *
 * A file handle that the kernel holds is (generation << 32 | index). Entries are never moved or freed while the table lives,
 * so a worker finds one without a lock; a generation that does not match is a programmer's error of the kernel or ours and
 * answers EBADF. The kernel sends RELEASE only after every request of the handle was answered. */
#ifndef VV_HANDLES_H
#define VV_HANDLES_H

#include "io.h"
#include "opens.h"

#include <glib.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define VV_HANDLES_PER_CHUNK 256u
#define VV_HANDLE_CHUNKS_MAX 4096u /* 1 Mi open files: more than the kernel's usual limit of a machine */

/* What the parked requests of one LUN or snapshot hold (quota.c). One per object that is open. */
typedef struct {
    uint64_t id;
    unsigned refs;                /* handles: handles.lock */
    _Atomic uint64_t bytes;       /* of requests that are parked */
    _Atomic uint32_t count;       /* of them */
    _Atomic uint32_t waiting;     /* requests that have been parked, and have not ended */
    _Atomic uint64_t progress_ms; /* when one of these last ended well, or the first of them was parked; coarse monotonic clock */
    atomic_bool held;             /* the keeper says that it waits for long */
} VvAccount;

typedef enum { VV_HANDLE_FREE, VV_HANDLE_OBJECT, VV_HANDLE_DIRECTORY, VV_HANDLE_TEXT, VV_HANDLE_LOST } VvHandleKind;
/* lost: open since before a predecessor died, and not to be opened again; everything but its release is EIO */

typedef struct {
    _Atomic uint32_t generation; /* odd while in use */
    uint32_t index;
    VvHandleKind kind;
    /* object */
    VvHandle *handle; /* owned */
    VvView *view;     /* the handle's */
    VvAccount *account;
    uint64_t object_id;
    bool may_write;
    uint64_t adopt_source; /* copy_file_range made it a clone of this, 0: not; operation threads in turn */
    uint64_t adopt_bytes;  /* so much of it */
    /* directory */
    uint64_t *ids; /* owned: what it lists, in order */
    size_t id_count;
    /* text */
    char *text; /* owned */
    size_t text_bytes;
    size_t old_text_bytes; /* of the text that a predecessor made */
    bool remade; /* after a predecessor died, and nobody has read it from its beginning since; ops and workers in turn */
    uint32_t next_free; /* handles.lock */
} VvFile;

typedef struct {
    pthread_mutex_t lock; /* guards what follows, not the files */
    _Atomic(VvFile *) chunks[VV_HANDLE_CHUNKS_MAX];
    uint32_t chunk_count;
    uint32_t first_free;         /* index, UINT32_MAX: none */
    GHashTable *accounts;        /* id -> VvAccount */
    _Atomic uint32_t open_count; /* objects' only */
    VvOpens opens;               /* what of it outlives the process, if it does */
} VvHandles;

/* Who opened what: of the request. */
typedef struct {
    uint64_t node, unique;
    pid_t pid;
} VvOpened;

void vv_handles_init(VvHandles *handles);
/* Keep records in the memfd @fd, and restore what it holds: directories are empty until they are listed again, texts and objects are
 * the caller's to fill in, by vv_handles_each_file. Before the first file. */
bool vv_handles_keep_in(VvHandles *handles, int fd, GError **error);
/* Every file that is open, and (@open false) every closed one of which the record tells the node. No request may be under way. */
void vv_handles_each_file(
    VvHandles *handles, void (*each)(void *user, VvFile *file, const VvOpenRecord *record, bool open), void *user);
/* Closes what is open still. No request may be under way. @leave: for a successor, which finds the records; nothing is seen to
 * that follows a last close. */
void vv_handles_close_all(VvHandles *handles, bool leave);
void vv_handles_clear(VvHandles *handles);

/* A free entry, to be filled in and then published; NULL: VV_HANDLE_CHUNKS_MAX. Any thread. */
VvFile *vv_file_new(VvHandles *handles, VvHandleKind kind);
/* From here on vv_file_get finds it. Returns what to tell the kernel. */
uint64_t vv_file_publish(VvHandles *handles, VvFile *file, const VvOpened *opened);
/* The file that the same request opened when a predecessor carried it out, and what to tell the kernel; NULL: none. Any thread. */
VvFile *vv_file_opened_by(VvHandles *handles, uint64_t unique, uint64_t *ret_fh);
/* Closes and frees the entry. An object's: may block (vv_handle_close). */
void vv_file_close(VvHandles *handles, VvFile *file);
/* NULL: no such handle. Any thread, no lock. */
VvFile *vv_file_get(VvHandles *handles, uint64_t fh);
/* Fill in an object's fields from @handle, which the file owns from then on. */
void vv_file_set_object(VvHandles *handles, VvFile *file, VvHandle *handle);
/* Is there a file on that object? */
bool vv_handles_is_open(VvHandles *handles, uint64_t object_id);
/* Run @each for every account, under the lock. */
void vv_handles_each_account(VvHandles *handles, void (*each)(void *user, VvAccount *account), void *user);

#endif
