/* SPDX-License-Identifier: GPL-2.0-or-later */
/* two-orders FILE ROUNDS: writes that overlap must end as if one had come after the other. Threads write, all at once:
 *
 *     part       writers                                        what may be read afterwards
 *     sectors    eight of 512 bytes in one block, each its own  all eight: a read-modify-write loses none
 *     block      one of 4 KiB and three of 512 bytes within     each of the three: its own sector, or the block's;
 *                                                               the rest of the block is the block writer's
 *     long       three of 1 MiB, 4 KiB and 512 bytes apart      each sector is of one that covers it; where two
 *                                                               overlap in whole sectors any of them, never old
 *
 * FILE is opened O_DIRECT for sectors and block. The file must hold 4 MiB. Prints what is wrong; exit 1 if anything was. */
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SECTOR 512u
#define BLOCK 4096u
#define LONG (1u << 20)
#define SPAN (LONG + 2 * BLOCK)
#define WRITERS_MAX 8u

typedef struct {
    int fd;
    uint64_t offset;
    size_t length;
    char *data; /* aligned, all of one byte that changes with each round */
    unsigned char fill;
} Writer;

static void *aligned(size_t length)
{
    void *memory = aligned_alloc(BLOCK, (length + BLOCK - 1) / BLOCK * BLOCK);
    g_assert(memory != NULL);
    return memory;
}

static pthread_barrier_t barrier;
static atomic_bool ending;
static atomic_uint wrong;
static unsigned writer_count;
static Writer writers[WRITERS_MAX];

static void *write_rounds(void *user)
{
    Writer *writer = user;

    for (;;) {
        pthread_barrier_wait(&barrier);
        if (atomic_load(&ending))
            return NULL;
        ssize_t done = pwrite(writer->fd, writer->data, writer->length, (off_t) writer->offset);
        if (done != (ssize_t) writer->length) {
            if (atomic_fetch_add(&wrong, 1) == 0)
                printf("write of %zu bytes at %" PRIu64 ": %zd, %s\n", writer->length, writer->offset, done,
                    strerror(errno));
        }
        pthread_barrier_wait(&barrier);
    }
}

/* May the sector at @offset hold only @fill? That of a writer that covers it. */
static bool explains(uint64_t offset, unsigned char fill)
{
    for (unsigned i = 0; i < writer_count; i++) {
        const Writer *writer = &writers[i];
        if (writer->fill == fill && writer->offset <= offset && offset + SECTOR <= writer->offset + writer->length)
            return true;
    }
    return false;
}

static bool is_covered(uint64_t offset)
{
    for (unsigned i = 0; i < writer_count; i++) {
        if (writers[i].offset <= offset && offset + SECTOR <= writers[i].offset + writers[i].length)
            return true;
    }
    return false;
}

static void check(const char *part, unsigned round, const char *data, uint64_t begin, size_t length)
{
    for (uint64_t at = 0; at < length; at += SECTOR) {
        const char *sector = data + at;
        bool same = memcmp(sector, sector + 1, SECTOR - 1) == 0;
        if (!is_covered(begin + at) || (same && explains(begin + at, (unsigned char) sector[0])))
            continue;
        if (atomic_fetch_add(&wrong, 1) < 10)
            printf("%s, round %u: the sector at %" PRIu64 " holds %s%02x\n", part, round, begin + at,
                same ? "" : "mixed ", (unsigned) (unsigned char) sector[0]);
    }
}

/* The round's writes, then look. Each round has its own bytes: what is left of the round before is wrong. */
static void play(const char *part, unsigned rounds, int read_fd, uint64_t begin, size_t length)
{
    pthread_t threads[WRITERS_MAX];
    char *data = aligned(length);

    atomic_store(&ending, false);
    pthread_barrier_init(&barrier, NULL, writer_count + 1);
    for (unsigned i = 0; i < writer_count; i++) {
        writers[i].data = aligned(writers[i].length);
        pthread_create(&threads[i], NULL, write_rounds, &writers[i]);
    }
    for (unsigned round = 0; round < rounds; round++) {
        for (unsigned i = 0; i < writer_count; i++) {
            writers[i].fill = (unsigned char) (1 + (round * writer_count + i) % 251);
            memset(writers[i].data, writers[i].fill, writers[i].length);
        }
        pthread_barrier_wait(&barrier);
        pthread_barrier_wait(&barrier);
        if (pread(read_fd, data, length, (off_t) begin) != (ssize_t) length) {
            printf("%s, round %u: read: %s\n", part, round, strerror(errno));
            atomic_fetch_add(&wrong, 1);
            break;
        }
        check(part, round, data, begin, length);
    }
    atomic_store(&ending, true);
    pthread_barrier_wait(&barrier);
    for (unsigned i = 0; i < writer_count; i++) {
        pthread_join(threads[i], NULL);
        free(writers[i].data);
    }
    pthread_barrier_destroy(&barrier);
    free(data);
}

static void add(int fd, uint64_t offset, size_t length)
{
    writers[writer_count++] = (Writer){ .fd = fd, .offset = offset, .length = length };
}

int main(int argc, char **argv)
{
    unsigned rounds = argc == 3 ? (unsigned) atoi(argv[2]) : 0;
    int direct = rounds ? open(argv[1], O_RDWR | O_DIRECT | O_CLOEXEC) : -1;
    int plain = rounds ? open(argv[1], O_RDWR | O_CLOEXEC) : -1;

    if (direct < 0 || plain < 0) {
        fprintf(stderr, "usage: two-orders FILE ROUNDS (%s)\n", strerror(errno));
        return 2;
    }
    writer_count = 0;
    for (unsigned i = 0; i < BLOCK / SECTOR; i++)
        add(direct, i * SECTOR, SECTOR);
    play("sectors", rounds, plain, 0, BLOCK);

    writer_count = 0;
    add(direct, BLOCK, BLOCK);
    add(direct, BLOCK, SECTOR);
    add(direct, BLOCK + 3 * SECTOR, SECTOR);
    add(direct, BLOCK + 7 * SECTOR, SECTOR);
    play("block", rounds, plain, BLOCK, BLOCK);

    writer_count = 0;
    add(plain, LONG + SECTOR, LONG);
    add(plain, LONG + BLOCK, LONG);
    add(plain, LONG + BLOCK + SECTOR, LONG);
    play("long", rounds / 20 + 1, plain, LONG, SPAN);
    close(direct);
    close(plain);
    return atomic_load(&wrong) ? 1 : 0;
}
