/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The log of one recording: everything that reached the pool's files, in order, and between it what the workload asked for and what
 * it was told. It lies in memory that processes share, without pointers, so that it can be stored as it is.
 *
 *   a recording on disk   offset  size
 *                              0     8  magic "VVCRASH\n"
 *                              8     4  version
 *                             12     4  states tried at each boundary
 *                             16     8  seed
 *                             24     8  bytes of the base: events FILE, NAME, DATA, LUN, SNAPSHOT
 *                             32     8  bytes of the log: the other events
 *                             40     8  states are tried when so many ops have begun,
 *                             48     8  and behind so many bytes of the log
 *                             56     -  both
 * Integers are the machine's: a recording is read where it was made. */
#ifndef VV_CRASH_LOG_H
#define VV_CRASH_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LOG_MAGIC "VVCRASH\n"
#define LOG_VERSION 1u
#define LOG_BYTES_MAX ((uint64_t) 1 << 30) /* address space; memory as it fills */
#define NAME_BYTES_MAX 48u
#define FILES_MAX 96u /* of a pool: 16 journal files and what replaces them, the map, two disks, three small ones */
#define NO_FILE UINT32_MAX

typedef enum {
    /* the base: what there was before */
    EV_FILE,     /* @file, @length = its size */
    EV_NAME,     /* @file is called data */
    EV_DATA,     /* @file has data at @offset */
    EV_LUN,      /* model: @file = LUN, @length = size; name and bytes */
    EV_SNAPSHOT, /* model: @file = LUN, @offset = place, @length = size; name and bytes */
    /* what happened to files */
    EV_WRITE,        /* whole sectors at @offset as they were afterwards; @size: of the file then */
    EV_WRITE_SYNCED, /* the same through O_DSYNC: durable when it returns */
    EV_PUNCH,        /* [@offset, +@length): may hold anything from now on */
    EV_SIZE,         /* @size */
    EV_SYNC,         /* @file */
    EV_CREATE,       /* data = name: a new @file */
    EV_RENAME,       /* data = old name, 0, new name */
    EV_UNLINK,       /* data = name */
    EV_SYNC_FOLDER,  /* data = name of the folder */
    /* what the workload did */
    EV_BEGIN,   /* data = Op */
    EV_END,     /* the op before was acknowledged */
    EV_SEEN,    /* after a kill, or two writes at once: @file = LUN shows data at @offset, which the model did not expect */
    EV_ABORTED, /* the op before was under way when the process was killed, and has not happened */
    EV_HALF,    /* the same, and of its outcomes the first holds */
    EV_KILLED,  /* the process died; what the kernel had stays */
    EV_CLOSED,  /* the pool was closed */
    EV_N_KINDS,
} EventKind;

typedef struct {
    uint32_t kind;
    uint32_t file;
    uint64_t offset;
    uint64_t length;
    uint64_t size;
    uint64_t data_bytes; /* behind this; the next event is at the next multiple of 8 */
    uint8_t data[];
} Event;

typedef struct {
    uint64_t used;
    uint64_t count;
    uint8_t bytes[];
} Log;

/* In shared memory, empty. */
Log *log_new(void);
void log_clear(Log *log);
/* Forget what is behind the event at @number. */
void log_cut(Log *log, uint64_t number);
/* Appends; @data may be NULL: the bytes are for the caller to fill. */
Event *log_add(Log *log, EventKind kind, uint32_t file, const void *data, size_t data_bytes);

static inline const Event *log_at(const Log *log, uint64_t offset)
{
    return offset < log->used ? (const Event *) (const void *) (log->bytes + offset) : NULL;
}

static inline uint64_t log_behind(uint64_t offset, const Event *event)
{
    return offset + sizeof *event + (event->data_bytes + 7) / 8 * 8;
}

/* for (const Event *event; (event = log_at(log, at)); at = log_behind(at, event)) */

typedef struct {
    char magic[8];
    uint32_t version;
    uint32_t per_boundary;
    uint64_t seed;
    uint64_t base_bytes;
    uint64_t log_bytes;
    uint64_t skip_ops;
    uint64_t skip_bytes;
} RecordingHeader;

/* False, with why on stderr: not a recording, of another version, or cut. Events are checked against their own lengths. */
bool log_load(const char *path, RecordingHeader *ret_header, Log *base, Log *log);
/* For signal handlers too: only system calls. */
bool log_save(const char *path, const RecordingHeader *header, const Log *base, const Log *log);

#endif
