/* SPDX-License-Identifier: GPL-2.0-or-later */
/* linear: could the blocks of LUNs have done what was told of them, one operation at a time? See register.h.
 *
 *     linear LOG...       logs of `vvpat mix`, all of one run, of whatever nodes
 *     linear --text FILE  a history written by hand:    w|r BLOCK VALUE START END|?     # and remarks
 *
 * A block whose operations all cover the same range is one register; where some cover a part of others each sector is one. Prints for each
 * bad register what happened until it went wrong. Exit status: 0 linearizable, 1 not, 2 usage, 3 it could not be told. */
#include "oplog.h"
#include "register.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECTOR_BYTES 512u
#define BAD_SHOWN 5u
#define OPS_SHOWN 12u

typedef struct {
    uint32_t lun;
    uint64_t offset_bytes, length_bytes;
    RegisterOp op;
} Told;

typedef struct {
    Told *told;
    size_t count, room;
    uint64_t registers, bad;
} History;

static bool add(History *h, const Told *told)
{
    if (h->count == h->room) {
        size_t room = h->room ? h->room * 2 : 4096;
        Told *more = realloc(h->told, room * sizeof *more);
        if (more == NULL)
            return false;
        h->told = more;
        h->room = room;
    }
    h->told[h->count++] = *told;
    return true;
}

/* Reads that did not end well say nothing; such writes may or may not have been done. */
static bool add_log(History *h, const char *path)
{
    OpLog *log = oplog_read(path);

    if (log == NULL)
        return false;
    for (uint64_t i = 0; i < oplog_count(log); i++) {
        const OpRecord *record = oplog_at(log, i);
        bool known = record->end_ns != 0 && record->result == 0;
        Told told = { .lun = record->lun,
            .offset_bytes = record->offset_bytes,
            .length_bytes = record->length_bytes,
            .op = { .write = record->kind == OP_WRITE,
                .value = record->value,
                .start_ns = record->start_ns,
                .end_ns = known ? record->end_ns : REGISTER_OPEN } };
        if ((record->kind == OP_WRITE || (record->kind == OP_READ && known)) && !add(h, &told))
            return false;
    }
    oplog_close(log);
    return true;
}

static bool add_text(History *h, const char *path)
{
    FILE *file = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
    char line[256], kind, end[32];
    unsigned number = 0;
    bool good = file != NULL;

    while (good && fgets(line, sizeof line, file)) {
        Told told = { .length_bytes = SECTOR_BYTES };
        uint64_t block;
        number++;
        line[strcspn(line, "#\n")] = '\0';
        if (line[strspn(line, " \t")] == '\0')
            continue;
        good = sscanf(line, " %c %" SCNu64 " %" SCNu64 " %" SCNu64 " %31s", &kind, &block, &told.op.value,
                   &told.op.start_ns, end) == 5 &&
               (kind == 'w' || kind == 'r');
        told.op.write = kind == 'w';
        told.offset_bytes = block * SECTOR_BYTES;
        told.op.end_ns = strcmp(end, "?") == 0 ? REGISTER_OPEN : strtoull(end, NULL, 10);
        good = good && told.op.end_ns >= told.op.start_ns && (told.op.write || told.op.end_ns != REGISTER_OPEN) &&
               add(h, &told);
    }
    if (!good)
        fprintf(stderr, "linear: %s: line %u is no operation\n", path, number);
    if (file && file != stdin)
        fclose(file);
    return good;
}

/* ---- registers */
static int by_place(const void *a, const void *b)
{
    const Told *x = a, *y = b;

    if (x->lun != y->lun)
        return x->lun < y->lun ? -1 : 1;
    if (x->offset_bytes != y->offset_bytes)
        return x->offset_bytes < y->offset_bytes ? -1 : 1;
    return x->length_bytes < y->length_bytes ? -1 : x->length_bytes > y->length_bytes;
}

/* Until the last that belongs to the same place or overlaps with what does. */
static size_t find_group(const History *h, size_t first, bool *ret_uniform)
{
    const Told *told = &h->told[first];
    uint64_t end = told->offset_bytes + told->length_bytes;
    size_t i = first + 1;

    *ret_uniform = true;
    for (; i < h->count && h->told[i].lun == told->lun && h->told[i].offset_bytes < end; i++) {
        if (h->told[i].offset_bytes != told->offset_bytes || h->told[i].length_bytes != told->length_bytes)
            *ret_uniform = false;
        if (h->told[i].offset_bytes + h->told[i].length_bytes > end)
            end = h->told[i].offset_bytes + h->told[i].length_bytes;
    }
    return i;
}

static void show(const RegisterOp *ops, size_t count, uint64_t bad_ns)
{
    size_t first = 0, shown = 0, until = 0;

    while (until < count && ops[until].start_ns <= bad_ns)
        until++;
    first = until > OPS_SHOWN ? until - OPS_SHOWN : 0;
    for (size_t i = first; i < until && shown < OPS_SHOWN; i++, shown++) {
        printf("    %-5s %10" PRIu64 " (node %" PRIu64 ")  from %" PRIu64, ops[i].write ? "write" : "read",
            ops[i].value & (((uint64_t) 1 << 43) - 1), ops[i].value >> 43, ops[i].start_ns);
        if (ops[i].end_ns == REGISTER_OPEN)
            printf(", never returned\n");
        else
            printf(" to %" PRIu64 "%s\n", ops[i].end_ns, ops[i].end_ns == bad_ns ? "   <- cannot be" : "");
    }
}

/* False: no memory. */
static bool check_register(History *h, uint32_t lun, uint64_t offset, RegisterOp *ops, size_t count)
{
    uint64_t bad_ns = 0;
    RegisterVerdict verdict = register_check(ops, count, &bad_ns);

    h->registers++;
    if (verdict == REGISTER_BAD && h->bad++ < BAD_SHOWN) {
        printf("LUN %u, offset %" PRIu64 ": not linearizable: the last operations begun until %" PRIu64 ":\n", lun,
            offset, bad_ns);
        show(ops, count, bad_ns);
    }
    return verdict != REGISTER_NO_MEMORY;
}

static bool check_group(History *h, size_t first, size_t end, bool uniform)
{
    RegisterOp *ops = calloc(end - first, sizeof *ops);
    uint64_t from = h->told[first].offset_bytes, until = from;
    bool good = ops != NULL;

    for (size_t i = first; i < end; i++) {
        if (h->told[i].offset_bytes + h->told[i].length_bytes > until)
            until = h->told[i].offset_bytes + h->told[i].length_bytes;
    }
    for (uint64_t at = from; at < until && good; at += uniform ? until - from : SECTOR_BYTES) {
        size_t count = 0;
        for (size_t i = first; i < end; i++) {
            const Told *told = &h->told[i];
            if (told->offset_bytes <= at && at < told->offset_bytes + told->length_bytes)
                ops[count++] = told->op;
        }
        good = count == 0 || check_register(h, h->told[first].lun, at, ops, count);
    }
    free(ops);
    return good;
}

static bool check_all(History *h)
{
    bool good = true, uniform;

    if (h->count > 0)
        qsort(h->told, h->count, sizeof *h->told, by_place);
    for (size_t first = 0, end; first < h->count && good; first = end) {
        end = find_group(h, first, &uniform);
        good = check_group(h, first, end, uniform);
    }
    return good;
}

int main(int argc, char **argv)
{
    History h = { .told = NULL };
    bool text = argc > 1 && strcmp(argv[1], "--text") == 0, good = true;

    if (argc < (text ? 3 : 2) || (!text && argv[1][0] == '-')) {
        fprintf(stderr, "usage: linear LOG... | linear --text FILE\n");
        return 2;
    }
    for (int i = text ? 2 : 1; i < argc && good; i++)
        good = text ? add_text(&h, argv[i]) : add_log(&h, argv[i]);
    good = good && check_all(&h);
    free(h.told);
    if (!good)
        return 3;
    printf("%zu operations on %" PRIu64 " registers, %" PRIu64 " not linearizable\n", h.count, h.registers, h.bad);
    return h.bad ? 1 : 0;
}
