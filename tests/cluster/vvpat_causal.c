/* SPDX-License-Identifier: GPL-2.0-or-later */
/* causal: images of all files of a ping-pong, taken as one snapshot. If number N is there, all before it must be (pingpong.h): who wrote N
 * had seen them acknowledged. Only N itself may be there in part, as it may have been under way; not with --whole.
 *
 * With logs: N is at least the last that was acknowledged by --since, and had been begun by --until. */
#include "pingpong.h"
#include "vvpat.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* One slot of one file as it was found. */
typedef struct {
    uint64_t low, high; /* the lowest and the highest number of its sectors; 0: never written */
} Slot;

typedef struct {
    const Options *options;
    Slot *slots; /* of file 0, then of file 1, ... */
    uint32_t slot_count, slot_bytes, participants;
    uint64_t highest, wrong;
} Images;

static void say(Images *images, unsigned file, uint32_t slot, const char *what, const Stamp *stamp)
{
    if (images->wrong++ >= WRONG_SHOWN)
        return;
    printf("%s: slot %u: %s", images->options->files[file], slot, what);
    if (stamp)
        printf(" (LUN %u, sector %" PRIu64 ", number %" PRIu64 ")", stamp->lun, stamp->sector, stamp->sequence);
    printf("\n");
}

/* Any stamp says how many slots there are, and how large. */
static int learn(Images *images)
{
    const Options *o = images->options;
    uint8_t *data = vvpat_buffer(STAMP_BYTES * 8);

    for (unsigned i = 0; i < o->file_count && images->slot_count == 0; i++) {
        int fd = vvpat_open(o, i, false);
        uint64_t bytes = fd < 0 ? 0 : vvpat_size(o, i, fd, STAMP_BYTES * 8);
        int result = bytes ? 0 : -1;
        for (uint64_t done = 0; done < bytes && images->slot_count == 0 && result == 0; done += STAMP_BYTES * 8) {
            Stamp stamp;
            result = vvpat_pread(fd, data, STAMP_BYTES * 8, o->offset_bytes + done);
            if (result != 0 ||
                stamp_look(data, o->lun + i, (o->offset_bytes + done) / STAMP_BYTES, &stamp) != STAMP_GOOD ||
                stamp.luns != o->file_count || stamp.slots == 0 || stamp.slots > 1u << 20 || stamp.participants == 0 ||
                stamp.write_bytes == 0 || stamp.write_bytes > IO_BYTES_MAX)
                continue;
            images->slot_count = stamp.slots;
            images->slot_bytes = stamp.write_bytes;
            images->participants = stamp.participants;
        }
        if (fd >= 0)
            close(fd);
        if (result != 0) {
            fprintf(stderr, "vvpat: %s: cannot be read\n", o->files[i]);
            free(data);
            return EXIT_FAILED_IO;
        }
    }
    free(data);
    return EXIT_GOOD;
}

static void look_at_slot(Images *images, unsigned file, uint32_t slot, const uint8_t *data)
{
    const Options *o = images->options;
    Slot *found = &images->slots[(size_t) file * images->slot_count + slot];
    uint64_t sector = (o->offset_bytes + (uint64_t) slot * images->slot_bytes) / STAMP_BYTES;

    *found = (Slot){ .low = UINT64_MAX };
    for (uint32_t i = 0; i < images->slot_bytes / STAMP_BYTES; i++) {
        Stamp stamp = { 0 };
        StampState state = stamp_look(data + (size_t) i * STAMP_BYTES, o->lun + file, sector + i, &stamp);
        if (state != STAMP_GOOD && state != STAMP_EMPTY) {
            say(images, file, slot, stamp_state_name(state), state == STAMP_STRANGE ? NULL : &stamp);
            continue;
        }
        if (state == STAMP_GOOD && (stamp.luns != o->file_count || stamp.slots != images->slot_count ||
                                       pingpong_file(stamp.sequence, stamp.luns) != file ||
                                       pingpong_slot(stamp.sequence, stamp.luns, stamp.slots) != slot ||
                                       stamp.node != stamp.sequence % images->participants))
            say(images, file, slot, "a number that does not belong here", &stamp);
        uint64_t number = state == STAMP_GOOD ? stamp.sequence : 0;
        found->low = number < found->low ? number : found->low;
        found->high = number > found->high ? number : found->high;
    }
    if (found->high > images->highest)
        images->highest = found->high;
}

static int read_images(Images *images)
{
    const Options *o = images->options;
    uint8_t *data = vvpat_buffer(images->slot_bytes);
    int code = EXIT_GOOD;

    for (unsigned i = 0; i < o->file_count && code == EXIT_GOOD; i++) {
        int fd = vvpat_open(o, i, false);
        for (uint32_t slot = 0; slot < images->slot_count && code == EXIT_GOOD; slot++) {
            int result = fd < 0 ? -1
                                : vvpat_pread(fd, data, images->slot_bytes,
                                      o->offset_bytes + (uint64_t) slot * images->slot_bytes);
            if (result == 0)
                look_at_slot(images, i, slot, data);
            else
                code = EXIT_FAILED_IO;
        }
        if (fd >= 0)
            close(fd);
        if (code != EXIT_GOOD)
            fprintf(stderr, "vvpat: %s: cannot be read\n", o->files[i]);
    }
    free(data);
    return code;
}

static void check_prefix(Images *images)
{
    const Options *o = images->options;

    for (unsigned file = 0; file < o->file_count; file++) {
        for (uint32_t slot = 0; slot < images->slot_count; slot++) {
            const Slot *found = &images->slots[(size_t) file * images->slot_count + slot];
            uint64_t wanted = pingpong_expected(images->highest, file, slot, o->file_count, images->slot_count);
            uint64_t round = (uint64_t) o->file_count * images->slot_count,
                     before = wanted > round ? wanted - round : 0;
            bool under_way = wanted == images->highest && !o->whole && found->high == wanted && (found->low == before);
            if ((found->low == wanted && found->high == wanted) || under_way)
                continue;
            if (images->wrong++ < WRONG_SHOWN)
                printf("%s: slot %u: number %" PRIu64 " is missing, %" PRIu64 "%s is there, though number %" PRIu64
                       " is in the image\n",
                    o->files[file], slot, wanted, found->low, found->low == found->high ? "" : " in part",
                    images->highest);
        }
    }
}

static int check_logs(Images *images)
{
    const Options *o = images->options;
    uint64_t least = 0, most = 0;

    for (unsigned i = 0; i < o->log_count; i++) {
        OpLog *log = oplog_read(o->logs[i]);
        if (log == NULL)
            return EXIT_FAILED_IO;
        for (uint64_t k = 0; k < oplog_count(log); k++) {
            const OpRecord *record = oplog_at(log, k);
            uint64_t number = vvpat_value_sequence(record->value);
            if (record->kind != OP_WRITE)
                continue;
            if (record->end_ns != 0 && record->result == 0 && record->end_ns <= o->since_ns && number > least)
                least = number;
            if (record->start_ns <= o->until_ns && number > most)
                most = number;
        }
        oplog_close(log);
    }
    if (o->log_count && images->highest < least && images->wrong++ < WRONG_SHOWN)
        printf("number %" PRIu64 " was acknowledged before, and the image ends with %" PRIu64 "\n", least,
            images->highest);
    if (o->log_count && images->highest > most && images->wrong++ < WRONG_SHOWN)
        printf("the image ends with number %" PRIu64 ", which was begun later: the last before was %" PRIu64 "\n",
            images->highest, most);
    return EXIT_GOOD;
}

int vvpat_causal(const Options *options)
{
    Images images = { .options = options };
    int code = learn(&images);

    if (code == EXIT_GOOD && images.slot_count != 0) {
        images.slots = calloc((size_t) options->file_count * images.slot_count, sizeof *images.slots);
        code = images.slots ? read_images(&images) : EXIT_FAILED_IO;
        if (code == EXIT_GOOD)
            check_prefix(&images);
        free(images.slots);
    }
    if (code == EXIT_GOOD)
        code = check_logs(&images);
    if (code != EXIT_GOOD)
        return code;
    printf("number %" PRIu64 " is the last, %" PRIu64 " wrong\n", images.highest, images.wrong);
    return images.wrong ? EXIT_WRONG : EXIT_GOOD;
}
