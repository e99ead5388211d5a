/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A writer whose disk is taken away at any moment, and the look at what is left.
 *
 *     crash-writer write FILE LOG SEED     until a call fails: random writes of 1 to 32 blocks and punched holes in the
 *                                          first AREA_BYTES of FILE, fsync now and then
 *     crash-writer verify FILE LOG         prints what is wrong, exit 1 if anything was
 *
 * LOG, on another medium, is a mapped table that the writer's own death does not lose: for each block what the last fsync
 * that returned covers, and every change begun since. A change has a number, which is in every 64 bits of its blocks; a hole
 * is number 0. What is found must be a whole block, with one of these. */
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <inttypes.h>
#include <linux/falloc.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOCK 4096u
#define BLOCKS 8192u
#define AREA_BYTES ((uint64_t) BLOCKS * BLOCK)
#define RUN_MAX 32u
#define ROUND 256u
#define CHANGES_MAX 64u

/* Of one block. Of the changes since the last fsync any may be what a crash leaves. */
typedef struct {
    uint64_t durable; /* what the last fsync covered: number, 0 for zeros */
    uint64_t count;   /* of changes since; all are kept */
    uint64_t change[CHANGES_MAX];
} Block;

typedef struct {
    uint64_t number; /* the last that was used */
    uint64_t fsyncs;
    Block blocks[BLOCKS];
} Log;

static uint64_t data[RUN_MAX * BLOCK / 8] __attribute__((aligned(4096)));

static Log *open_log(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    Log *log = MAP_FAILED;

    if (fd >= 0 && ftruncate(fd, sizeof *log) == 0)
        log = mmap(NULL, sizeof *log, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (log == MAP_FAILED) {
        fprintf(stderr, "crash-writer: %s: %s\n", path, strerror(errno));
        exit(2);
    }
    return log;
}

static bool log_change(Log *log, uint64_t block, uint64_t number)
{
    Block *entry = &log->blocks[block];

    if (entry->count == CHANGES_MAX)
        return false;
    entry->change[entry->count] = number;
    entry->count++;
    return true;
}

/* One change of a random run of blocks; it is logged before it begins. False: it failed. */
static bool change(int fd, Log *log, GRand *rand, bool *ret_full)
{
    uint32_t count = (uint32_t) g_rand_int_range(rand, 1, RUN_MAX + 1);
    uint32_t first = (uint32_t) g_rand_int_range(rand, 0, (gint32) (BLOCKS - count));
    uint64_t number = ++log->number;
    bool punch = g_rand_int_range(rand, 0, 16) == 0;

    for (uint32_t i = 0; i < count; i++)
        *ret_full |= !log_change(log, first + i, punch ? 0 : number) || log->blocks[first + i].count == CHANGES_MAX;
    if (punch)
        return fallocate(
                   fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t) first * BLOCK, (off_t) count * BLOCK) == 0;
    for (size_t i = 0; i < (size_t) count * BLOCK / 8; i++)
        data[i] = number;
    return pwrite(fd, data, (size_t) count * BLOCK, (off_t) first * BLOCK) == (ssize_t) ((size_t) count * BLOCK);
}

static bool sync_all(int fd, Log *log)
{
    if (fsync(fd) != 0)
        return false;
    for (uint32_t i = 0; i < BLOCKS; i++) {
        Block *entry = &log->blocks[i];
        if (entry->count == 0)
            continue;
        /* In this order: a kill of this process in between must not make it look emptier than it is. */
        entry->durable = entry->change[entry->count - 1];
        entry->count = 0;
    }
    log->fsyncs++;
    return true;
}

static int write_until_gone(const char *path, Log *log, uint32_t seed)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(seed);
    int fd = open(path, O_RDWR | O_CLOEXEC | (seed & 1 ? O_DIRECT : 0));
    int changes_left = 0;
    bool full = false;

    if (fd < 0) {
        fprintf(stderr, "crash-writer: %s: %s\n", path, strerror(errno));
        return 2;
    }
    while (change(fd, log, rand, &full)) {
        if (!full && changes_left-- > 0)
            continue;
        if (!sync_all(fd, log))
            break;
        changes_left = g_rand_int_range(rand, 0, ROUND);
        full = false;
    }
    close(fd);
    return 0;
}

static bool may_hold(const Block *entry, uint64_t number)
{
    if (number == entry->durable)
        return true;
    for (uint64_t i = 0; i < entry->count; i++) {
        if (entry->change[i] == number)
            return true;
    }
    return false;
}

static int verify(const char *path, Log *log)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    unsigned wrong = 0;

    for (uint32_t i = 0; i < BLOCKS; i++) {
        Block *entry = &log->blocks[i];
        if (fd < 0 || pread(fd, data, BLOCK, (off_t) i * BLOCK) != BLOCK) {
            printf("block %u: read: %s\n", i, strerror(errno));
            return 1;
        }
        bool whole = memcmp(data, data + 1, BLOCK - 8) == 0;
        if ((!whole || !may_hold(entry, data[0])) && wrong++ < 10)
            printf("block %u: %s%" PRIu64 "; %" PRIu64 " was flushed, and %" PRIu64
                   " changes begun since, the last %" PRIu64 "\n",
                i, whole ? "" : "mixed, begins with ", data[0], entry->durable, entry->count,
                entry->count ? entry->change[entry->count - 1] : 0);
        /* What was found is what a later look must find. */
        entry->durable = data[0];
        entry->count = 0;
    }
    printf("# %" PRIu64 " changes, %" PRIu64 " flushes so far\n", log->number, log->fsyncs);
    close(fd);
    return wrong ? 1 : 0;
}

int main(int argc, char **argv)
{
    if (argc == 5 && strcmp(argv[1], "write") == 0)
        return write_until_gone(argv[2], open_log(argv[3]), (uint32_t) strtoul(argv[4], NULL, 10));
    if (argc == 4 && strcmp(argv[1], "verify") == 0)
        return verify(argv[2], open_log(argv[3]));
    fprintf(stderr, "usage: crash-writer write FILE LOG SEED | verify FILE LOG\n");
    return 2;
}
