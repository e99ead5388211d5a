/* SPDX-License-Identifier: GPL-2.0-or-later */
/* verify: what may a sector hold? Of the writes that the logs tell of it:
 *
 *     floor     those that must be there: acknowledged by --since; with --flushed: acknowledged before a flush of the same node began that
 *               was acknowledged by --since
 *     W may     if no write of the floor began after W had been acknowledged (who has not returned may still be done), and
 *               W began before --until
 *     zeros     if no write of the floor covers the sector
 *
 * Without logs, only that what is there is whole and in its place. */
#include "vvpat.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    OpLog *logs[LOGS_MAX];
    unsigned log_count;
} Logs;

/* The writes of one file's sectors: those of sector i are list[first[i]] to list[first[i + 1]]. */
typedef struct {
    uint64_t first_sector, sectors;
    uint64_t *first;
    const OpRecord **list;
} Index;

typedef struct {
    const Options *options;
    const Logs *logs;
    const char *path;
    uint32_t lun;
    uint64_t wrong, stamped;
} Check;

/* ---- logs */
static bool open_logs(const Options *o, Logs *logs)
{
    for (unsigned i = 0; i < o->log_count; i++) {
        logs->logs[i] = oplog_read(o->logs[i]);
        if (logs->logs[i] == NULL)
            return false;
        logs->log_count = i + 1;
    }
    return true;
}

static void close_logs(Logs *logs)
{
    for (unsigned i = 0; i < logs->log_count; i++)
        oplog_close(logs->logs[i]);
}

static bool acknowledged(const OpRecord *record, uint64_t by_ns)
{
    return record->end_ns != 0 && record->result == 0 && record->end_ns <= by_ns;
}

typedef void (*VisitFunc)(void *user, const OpRecord *record, uint64_t sector);

static void visit_sectors(const Logs *logs, uint32_t lun, const Index *index, VisitFunc visit, void *user)
{
    for (unsigned i = 0; i < logs->log_count; i++) {
        for (uint64_t k = 0; k < oplog_count(logs->logs[i]); k++) {
            const OpRecord *record = oplog_at(logs->logs[i], k);
            uint64_t sector = record->offset_bytes / STAMP_BYTES, last = sector + record->length_bytes / STAMP_BYTES;
            if (record->kind != OP_WRITE || record->lun != lun)
                continue;
            for (; sector < last; sector++) {
                if (sector >= index->first_sector && sector - index->first_sector < index->sectors)
                    visit(user, record, sector - index->first_sector);
            }
        }
    }
}

static void count_one(void *user, const OpRecord *record, uint64_t sector)
{
    (void) record;
    ((Index *) user)->first[sector + 2]++;
}

static void put_one(void *user, const OpRecord *record, uint64_t sector)
{
    Index *index = user;

    index->list[index->first[sector + 1]++] = record;
}

/* A counting sort: counts two further, filled one further, which leaves the firsts. */
static bool make_index(const Logs *logs, uint32_t lun, Index *index)
{
    index->first = calloc(index->sectors + 2, sizeof *index->first);
    if (index->first == NULL)
        return false;
    visit_sectors(logs, lun, index, count_one, index);
    for (uint64_t i = 2; i < index->sectors + 2; i++)
        index->first[i] += index->first[i - 1];
    index->list = calloc(index->first[index->sectors + 1] + 1, sizeof *index->list);
    if (index->list == NULL)
        return false;
    visit_sectors(logs, lun, index, put_one, index);
    return true;
}

/* When the last flush began that covers what @node had acknowledged by then; 0: none. */
static uint64_t last_flush_ns(const Check *c, uint32_t node)
{
    static uint64_t answer; /* of the last question */
    static uint32_t of_node = UINT32_MAX, of_lun = UINT32_MAX;

    if (of_node == node && of_lun == c->lun)
        return answer;
    answer = 0;
    for (unsigned i = 0; i < c->logs->log_count; i++) {
        for (uint64_t k = 0; k < oplog_count(c->logs->logs[i]); k++) {
            const OpRecord *record = oplog_at(c->logs->logs[i], k);
            if (record->kind == OP_FLUSH && record->lun == c->lun && record->node == node &&
                record->start_ns > answer && acknowledged(record, c->options->since_ns))
                answer = record->start_ns;
        }
    }
    of_node = node;
    of_lun = c->lun;
    return answer;
}

static bool is_floor(const Check *c, const OpRecord *record)
{
    if (!acknowledged(record, c->options->since_ns))
        return false;
    return !c->options->flushed || record->end_ns <= last_flush_ns(c, record->node);
}

/* ---- sectors */
static void say(Check *c, uint64_t sector, const char *what, const Stamp *found, const OpRecord *better)
{
    if (c->wrong++ >= WRONG_SHOWN)
        return;
    printf("%s: sector %" PRIu64 ": %s", c->path, sector, what);
    if (found)
        printf(" (LUN %u, sector %" PRIu64 ", node %u, sequence %" PRIu64 ")", found->lun, found->sector, found->node,
            found->sequence);
    if (better)
        printf("; node %u, sequence %" PRIu64 " must be there, %s %" PRIu64, better->node,
            vvpat_value_sequence(better->value), c->options->flushed ? "flushed, acknowledged at" : "acknowledged at",
            better->end_ns);
    printf("\n");
}

/* Which write of the floor makes a write that was acknowledged at @end_ns (0: unknown) one that cannot be there any more? */
static const OpRecord *find_newer(const Check *c, const OpRecord *const *list, uint64_t count, uint64_t end_ns)
{
    for (uint64_t i = 0; i < count; i++) {
        if (list[i]->start_ns > end_ns && is_floor(c, list[i]))
            return list[i];
    }
    return NULL;
}

static void check_sector(Check *c, const Index *index, const uint8_t *data, uint64_t sector)
{
    uint64_t i = sector - index->first_sector, count = c->logs->log_count ? index->first[i + 1] - index->first[i] : 0;
    const OpRecord *const *list = c->logs->log_count ? index->list + index->first[i] : NULL;
    const OpRecord *found = NULL, *newer;
    Stamp stamp;
    StampState state = stamp_look(data, c->lun, sector, &stamp);

    if (state != STAMP_GOOD && state != STAMP_EMPTY) {
        say(c, sector, stamp_state_name(state), state == STAMP_STRANGE ? NULL : &stamp, NULL);
        return;
    }
    c->stamped += state == STAMP_GOOD;
    if (c->logs->log_count == 0)
        return;
    if (state == STAMP_EMPTY) {
        newer = find_newer(c, list, count, 0);
        if (newer)
            say(c, sector, "zeros", NULL, newer);
        return;
    }
    for (uint64_t k = 0; k < count && !found; k++) {
        if (list[k]->value == stamp_value(&stamp))
            found = list[k];
    }
    if (!found) {
        say(c, sector, "what no log tells of", &stamp, NULL);
    } else if (found->start_ns > c->options->until_ns) {
        say(c, sector, "what was written later", &stamp, NULL);
    } else {
        bool returned = found->end_ns != 0 && found->result == 0;
        newer = find_newer(c, list, count, returned ? found->end_ns : UINT64_MAX);
        if (newer)
            say(c, sector, "an older write", &stamp, newer);
    }
}

static bool check_file(Check *c, unsigned file)
{
    int fd = vvpat_open(c->options, file, false);
    uint64_t bytes = fd < 0 ? 0 : vvpat_size(c->options, file, fd, STAMP_BYTES), done = 0;
    Index index = { .first_sector = c->options->offset_bytes / STAMP_BYTES, .sectors = bytes / STAMP_BYTES };
    uint8_t *data = vvpat_buffer(IO_BYTES_MAX);
    bool good = bytes > 0 && make_index(c->logs, c->lun, &index);

    while (good && done < bytes) {
        size_t part = bytes - done < IO_BYTES_MAX ? (size_t) (bytes - done) : IO_BYTES_MAX;
        int result = vvpat_pread(fd, data, part, c->options->offset_bytes + done);
        if (result != 0) {
            fprintf(stderr, "vvpat: %s: read at %" PRIu64 ": %s\n", c->path, c->options->offset_bytes + done,
                strerror(-result));
            good = false;
        }
        for (size_t i = 0; i < part && good; i += STAMP_BYTES)
            check_sector(c, &index, data + i, (c->options->offset_bytes + done + i) / STAMP_BYTES);
        done += part;
    }
    free(index.first);
    free(index.list);
    free(data);
    if (fd >= 0)
        close(fd);
    return good;
}

int vvpat_verify(const Options *options)
{
    Logs logs = { .log_count = 0 };
    Check check = { .options = options, .logs = &logs };
    bool good = open_logs(options, &logs);

    for (unsigned i = 0; i < options->file_count && good; i++) {
        check.path = options->files[i];
        check.lun = options->lun + i;
        good = check_file(&check, i);
    }
    close_logs(&logs);
    if (!good)
        return EXIT_FAILED_IO;
    printf("%" PRIu64 " stamped sectors, %" PRIu64 " wrong\n", check.stamped, check.wrong);
    return check.wrong ? EXIT_WRONG : EXIT_GOOD;
}
