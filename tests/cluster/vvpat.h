/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The parts of vvpat. */
#ifndef VVPAT_H
#define VVPAT_H

#include "oplog.h"
#include "stamp.h"

#define FILES_MAX 64u
#define LOGS_MAX 256u
#define DEPTH_MAX 256u
#define RING_MAX 64u /* VV_NODES_MAX */
#define IO_BYTES_MAX (1u << 20)

/* Exit codes. */
enum { EXIT_GOOD = 0, EXIT_WRONG = 1, EXIT_USAGE = 2, EXIT_FAILED_IO = 3 };

typedef struct {
    const char *files[FILES_MAX];
    unsigned file_count;
    const char *logs[LOGS_MAX];
    unsigned log_count;
    uint32_t lun, node;                /* of the first file */
    uint64_t offset_bytes, size_bytes; /* size 0: to the end of the file */
    uint32_t least_bytes, most_bytes;  /* of one operation */
    uint32_t depth;
    uint64_t count;       /* operations; of pingpong the last number */
    uint64_t seconds;     /* 0: no limit */
    uint64_t flush_every; /* writes; 0: never */
    uint32_t pause_ms;
    uint64_t seed;
    uint32_t reads_percent;
    bool buffered;
    /* verify, causal */
    bool flushed; /* only what a flush covered must be there */
    bool whole;
    uint64_t since_ns, until_ns; /* the image is of an instant between */
    /* pingpong */
    const char *ring;
    uint32_t index, local, slots;
    uint64_t from;
    bool no_look;
} Options;

/* Each returns an exit code, and prints what is wrong: at most WRONG_SHOWN of it, and how much there was. */
#define WRONG_SHOWN 20u
int vvpat_write(const Options *options);
int vvpat_mix(const Options *options);
int vvpat_verify(const Options *options);
int vvpat_pingpong(const Options *options);
int vvpat_causal(const Options *options);

/* ---- shared: vvpat.c */
/* Open file @i; says why not on stderr: -1. */
int vvpat_open(const Options *options, unsigned i, bool write);
/* Bytes of file @i that are used, whole multiples of @unit; 0: none, and it was said. */
uint64_t vvpat_size(const Options *options, unsigned i, int fd, uint64_t unit);
/* 0, or -errno; a short transfer is -EIO. */
int vvpat_pread(int fd, void *data, size_t bytes, uint64_t offset);
int vvpat_pwrite(int fd, const void *data, size_t bytes, uint64_t offset);
void vvpat_pause(const Options *options);
void *vvpat_buffer(size_t bytes); /* aligned for direct I/O; freed with free() */
uint64_t vvpat_random(uint64_t *state);
/* Who may have written what a sector holds, once a log says so. */
uint32_t vvpat_value_node(uint64_t value);
uint64_t vvpat_value_sequence(uint64_t value);

#endif
