/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "events_file.h"

#include "codec.h"
#include "util.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define TEXT_BYTES (VV_EVENT_SLOT_BYTES - 32u)
#define CODE_BYTES_MAX 32u
#define CRC_AT 16u

typedef struct {
    _Atomic uint64_t number;
    uint64_t time_ns;
    uint32_t crc;
    uint8_t severity, code_bytes;
    uint16_t object_bytes, message_bytes;
    uint8_t zero[6];
    char text[TEXT_BYTES];
} Slot;
G_STATIC_ASSERT(sizeof(Slot) == VV_EVENT_SLOT_BYTES && G_STRUCT_OFFSET(Slot, crc) == CRC_AT && G_STRUCT_OFFSET(Slot, text) == 32);

struct VvEventsFile {
    Slot *slots; /* mapped */
};

VvEventsFile *vv_events_file_open(int fd)
{
    int seals = fcntl(fd, F_GET_SEALS);
    VvEventsFile *file;
    struct stat st;
    void *map;

    if (seals < 0 || !(seals & F_SEAL_SHRINK) || fstat(fd, &st) != 0 || st.st_size != VV_EVENTS_FILE_BYTES)
        return NULL;
    map = mmap(NULL, VV_EVENTS_FILE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED)
        return NULL;
    file = g_new0(VvEventsFile, 1);
    file->slots = map;
    return file;
}

void vv_events_file_close(VvEventsFile *file)
{
    if (!file)
        return;
    munmap(file->slots, VV_EVENTS_FILE_BYTES);
    g_free(file);
}

/* With @number in the place of what is there. */
static uint32_t slot_crc(const Slot *slot, uint64_t number)
{
    uint32_t crc = vv_crc32c(0, &number, sizeof(number));

    crc = vv_crc32c(crc, &slot->time_ns, sizeof(slot->time_ns));
    return vv_crc32c(crc, (const uint8_t *) slot + CRC_AT + sizeof(slot->crc), VV_EVENT_SLOT_BYTES - CRC_AT - sizeof(slot->crc));
}

/* As much of @text as there is room for, in whole characters. */
static size_t put_text(char *to, const char *text, size_t room_bytes)
{
    size_t length_bytes = strlen(text);

    if (length_bytes > room_bytes)
        length_bytes = (size_t) (g_utf8_find_prev_char(text, text + room_bytes + 1) - text);
    memcpy(to, text, length_bytes);
    return length_bytes;
}

void vv_events_file_put(VvEventsFile *file, const VvEvent *event)
{
    Slot *slot = &file->slots[event->number % VV_EVENTS_KEPT];
    size_t at;

    atomic_store(&slot->number, 0);
    slot->time_ns = event->time_ns;
    slot->severity = (uint8_t) event->severity;
    memset(slot->zero, 0, sizeof(slot->zero));
    memset(slot->text, 0, sizeof(slot->text));
    slot->code_bytes = (uint8_t) put_text(slot->text, event->code, CODE_BYTES_MAX);
    at = slot->code_bytes;
    slot->object_bytes = (uint16_t) put_text(slot->text + at, event->object, TEXT_BYTES / 2);
    at += slot->object_bytes;
    slot->message_bytes = (uint16_t) put_text(slot->text + at, event->message, TEXT_BYTES - at);
    slot->crc = slot_crc(slot, event->number);
    atomic_store(&slot->number, event->number);
}

static bool is_whole(const Slot *slot, uint64_t number)
{
    return number != 0 && slot->crc == slot_crc(slot, number) && slot->severity <= VV_SEVERITY_CRITICAL &&
           (size_t) slot->code_bytes + slot->object_bytes + slot->message_bytes <= TEXT_BYTES &&
           g_utf8_validate(slot->text, (gssize) ((size_t) slot->code_bytes + slot->object_bytes + slot->message_bytes), NULL);
}

VvEvent *vv_events_file_get(const VvEventsFile *file, uint64_t number)
{
    const Slot *slot = &file->slots[number % VV_EVENTS_KEPT];
    VvEvent *event;

    if (atomic_load(&slot->number) != number || !is_whole(slot, number))
        return NULL;
    event = g_new0(VvEvent, 1);
    event->number = number;
    event->time_ns = slot->time_ns;
    event->severity = slot->severity;
    event->code = g_strndup(slot->text, slot->code_bytes);
    event->object = g_strndup(slot->text + slot->code_bytes, slot->object_bytes);
    event->message = g_strndup(slot->text + slot->code_bytes + slot->object_bytes, slot->message_bytes);
    return event;
}

uint64_t vv_events_file_last(const VvEventsFile *file)
{
    uint64_t last = 0;

    for (uint64_t i = 0; i < VV_EVENTS_KEPT; i++) {
        uint64_t number = atomic_load(&file->slots[i].number);

        if (number > last && number % VV_EVENTS_KEPT == i && number < UINT64_MAX / 2 && is_whole(&file->slots[i], number))
            last = number;
    }
    return last;
}
