/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "oplog.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MAGIC "vvpat-log-000001"

typedef struct {
    char magic[16];
    _Atomic uint64_t count; /* of records that were begun; the last of them may still be empty */
    uint64_t reserved[5];
} Head;
_Static_assert(sizeof(Head) == 64, "the head is 64 bytes");

struct OpLog {
    Head *head; /* mapped */
    OpRecord *records;
    uint64_t capacity;
    size_t mapped_bytes;
};

uint64_t oplog_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t) now.tv_sec * 1000000000u + (uint64_t) now.tv_nsec;
}

static OpLog *map(int fd, size_t bytes, bool write)
{
    void *data = mmap(NULL, bytes, write ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd, 0);
    OpLog *log = data == MAP_FAILED ? NULL : calloc(1, sizeof *log);

    if (log == NULL)
        return NULL;
    log->head = data;
    log->records = (OpRecord *) (void *) ((uint8_t *) data + sizeof(Head));
    log->mapped_bytes = bytes;
    log->capacity = (bytes - sizeof(Head)) / sizeof(OpRecord);
    return log;
}

static OpLog *say(const char *path, const char *why)
{
    fprintf(stderr, "vvpat: log %s: %s\n", path, why);
    return NULL;
}

OpLog *oplog_open(const char *path, uint64_t room)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    Head head = { .magic = MAGIC };
    OpLog *log = NULL;
    struct stat st;
    size_t bytes;

    if (fd < 0 || fstat(fd, &st) != 0)
        return say(path, strerror(errno));
    if ((st.st_size == 0 && pwrite(fd, &head, sizeof head, 0) != (ssize_t) sizeof head) ||
        pread(fd, &head, sizeof head, 0) != (ssize_t) sizeof head) {
        say(path, "cannot be written");
    } else if (memcmp(head.magic, MAGIC, 16) != 0 || head.count > OPLOG_OPS_MAX || room > OPLOG_OPS_MAX - head.count) {
        say(path, "is no log, or one that is full");
    } else {
        bytes = sizeof head + (size_t) (head.count + room) * sizeof(OpRecord);
        if (ftruncate(fd, (off_t) bytes) != 0 || (log = map(fd, bytes, true)) == NULL)
            say(path, strerror(errno));
    }
    close(fd);
    return log;
}

OpLog *oplog_read(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    OpLog *log = NULL;
    struct stat st;

    if (fd < 0 || fstat(fd, &st) != 0)
        return say(path, strerror(errno));
    if (st.st_size < (off_t) sizeof(Head) || (log = map(fd, (size_t) st.st_size, false)) == NULL ||
        memcmp(log->head->magic, MAGIC, 16) != 0) {
        oplog_close(log);
        log = say(path, "is no log");
    }
    close(fd);
    return log;
}

void oplog_close(OpLog *log)
{
    if (log == NULL)
        return;
    munmap(log->head, log->mapped_bytes);
    free(log);
}

uint64_t oplog_count(const OpLog *log)
{
    uint64_t count = atomic_load(&log->head->count);

    return count < log->capacity ? count : log->capacity;
}

const OpRecord *oplog_at(const OpLog *log, uint64_t i)
{
    return &log->records[i];
}

OpRecord *oplog_begin(OpLog *log, const OpRecord *what)
{
    uint64_t i = atomic_load(&log->head->count);
    OpRecord *record;

    do {
        if (i >= log->capacity)
            return NULL;
    } while (!atomic_compare_exchange_weak(&log->head->count, &i, i + 1));
    record = &log->records[i];
    record->lun = what->lun;
    record->node = what->node;
    record->offset_bytes = what->offset_bytes;
    record->length_bytes = what->length_bytes;
    record->value = what->value;
    record->start_ns = oplog_now_ns();
    atomic_store(&record->kind, atomic_load_explicit(&what->kind, memory_order_relaxed));
    return record;
}

void oplog_end(OpRecord *record, int result)
{
    record->result = result;
    atomic_store(&record->end_ns, oplog_now_ns());
}
