/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Slots: see slots.h for states and layout. */
#include "slots.h"

#include "pinned.h"
#include "slab.h"

#include <sys/mman.h>
#include <time.h>

#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24 /* 5.18: also where the process locks its memory */
#endif

uint64_t vv_coarse_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return (uint64_t) now.tv_sec * 1000 + (uint64_t) now.tv_nsec / 1000000;
}

/* Pages from @from on, up to what was touched. False: they stay. */
static bool forget(uint8_t *from, const VvSlot *slot)
{
    if (slot->reserved)
        return true;
    uint8_t *end = slot->data + (slot->touched_bytes + 4095) / 4096 * 4096;
    size_t length_bytes = end > from ? (size_t) (end - from) : 0;
    return length_bytes == 0 || madvise(from, length_bytes, MADV_DONTNEED_LOCKED) == 0 ||
           madvise(from, length_bytes, MADV_DONTNEED) == 0;
}

void vv_slot_trim(VvSlot *slot, uint32_t keep_bytes)
{
    keep_bytes = (keep_bytes + 4095) / 4096 * 4096;
    if (slot->touched_bytes > keep_bytes && forget(slot->data + keep_bytes, slot))
        slot->touched_bytes = keep_bytes;
}

static void push_free(VvSlots *slots, VvSlot *slot)
{
    if (slot->reserved) {
        slot->touched_bytes = 0;
        slot->next = slots->reserve;
        slots->reserve = slot;
        return;
    }
    /* What runs is let in below the share, and the last one reaches above it: so does the last one that stays. Else each request of a queue
     * that is as deep as the share would fault in anew what the one before it gave back. */
    if (slots->warm_bytes + slots->running_bytes > slots->share_bytes &&
        forget(slot->data - 4096, slot))
        slot->touched_bytes = 0;
    slots->warm_bytes += slot->touched_bytes;
    slot->next = slots->free;
    slots->free = slot;
}

/* Its header and the data of a small request are there before it is read into. Else the kernel faults them in while it hands a request
 * over, and if this process is killed just then the request is lost: its client gets EIO, and no successor hears of it. */
static void populate(VvSlot *slot)
{
    if (!slot->reserved && vv_pin_populate(slot->data - 4096, 4096 + VV_SLOT_READY_BYTES))
        slot->touched_bytes = VV_SLOT_READY_BYTES;
}

static bool grow(VvSlots *slots)
{
    uint32_t chunk = atomic_load_explicit(&slots->chunk_count, memory_order_relaxed);
    if (chunk == VV_SLOT_CHUNKS_MAX)
        return false;
    size_t area_bytes = (size_t) VV_SLOTS_PER_CHUNK * VV_SLOT_AREA_BYTES;
    uint8_t *area = mmap(NULL, area_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (area == MAP_FAILED)
        return false;
    (void) madvise(area, area_bytes, MADV_NOHUGEPAGE); /* a 4 KiB request must not cost 2 MiB */
    if (chunk == 0)
        vv_pin_share(area, VV_SLOTS_RESERVED * VV_SLOT_AREA_BYTES);
    VvSlot *array = vv_slab_get0(VV_SLOTS_PER_CHUNK * sizeof *array);
    for (size_t i = VV_SLOTS_PER_CHUNK; i-- > 0;) {
        VvSlot *slot = &array[i];
        slot->slots = slots;
        slot->data = area + i * VV_SLOT_AREA_BYTES + 4096;
        slot->io.user = slot;
        slot->reserved = chunk == 0 && i < VV_SLOTS_RESERVED;
        pthread_mutex_init(&slot->lock, NULL);
        populate(slot);
        push_free(slots, slot);
    }
    slots->areas[chunk] = area;
    atomic_store_explicit(&slots->chunks[chunk], array, memory_order_release);
    atomic_store_explicit(&slots->chunk_count, chunk + 1, memory_order_release);
    return true;
}

bool vv_slots_init(VvSlots *slots, struct VvFuse *fuse, uint64_t share_bytes)
{
    slots->fuse = fuse;
    slots->share_bytes = share_bytes;
    for (unsigned i = 0; i < 4; i++) { /* 64: usual queue depths find theirs made */
        if (!grow(slots))
            return false;
    }
    return true;
}

size_t vv_slots_lock(VvSlots *slots)
{
    return vv_pin_lock(slots->areas[0], (size_t) VV_SLOTS_RESERVED * VV_SLOT_AREA_BYTES);
}

void vv_slots_clear(VvSlots *slots)
{
    uint32_t count = atomic_load(&slots->chunk_count);
    for (uint32_t chunk = 0; chunk < count; chunk++) {
        VvSlot *array = atomic_load(&slots->chunks[chunk]);
        for (size_t i = 0; i < VV_SLOTS_PER_CHUNK; i++) {
            g_assert(array[i].state == VV_SLOT_FREE);
            pthread_mutex_destroy(&array[i].lock);
        }
        vv_slab_put(array);
        munmap(slots->areas[chunk], (size_t) VV_SLOTS_PER_CHUNK * VV_SLOT_AREA_BYTES);
    }
    atomic_store(&slots->chunk_count, 0);
}

void vv_slots_own(VvSlots *slots)
{
    slots->owner = pthread_self();
    slots->owned = true;
}

static void take_back(VvSlots *slots)
{
    VvSlot *slot = atomic_exchange_explicit(&slots->returned, NULL, memory_order_acquire);
    while (slot) {
        VvSlot *next = slot->next;
        push_free(slots, slot);
        slot = next;
    }
}

void vv_slots_drain(VvSlots *slots)
{
    uint32_t total = atomic_load(&slots->chunk_count) * VV_SLOTS_PER_CHUNK, count = 0;
    for (;;) {
        take_back(slots);
        count = 0;
        for (const VvSlot *slot = slots->free; slot; slot = slot->next)
            count++;
        for (const VvSlot *slot = slots->reserve; slot; slot = slot->next)
            count++;
        if (count == total)
            return;
        g_usleep(1000);
    }
}

VvSlot *vv_slot_get(VvSlots *slots)
{
    if (slots->reserve == NULL)
        take_back(slots);
    if (slots->reserve == NULL && slots->free == NULL && !grow(slots))
        return NULL;
    VvSlot **list = slots->reserve ? &slots->reserve : &slots->free, *slot = *list;
    *list = slot->next;
    slots->warm_bytes -= slot->touched_bytes; /* a reserved one's: none */
    slot->next = NULL;
    return slot;
}

void vv_slot_clear(VvSlot *slot)
{
    VV_LOCKED(&slot->lock);
    slot->state = VV_SLOT_FREE;
    slot->account = NULL;
    slot->interrupted = slot->shed = false;
}

void vv_slot_put(VvSlot *slot)
{
    VvSlots *slots = slot->slots;
    vv_slot_clear(slot);
    if (!slots->owned || pthread_equal(slots->owner, pthread_self())) {
        push_free(slots, slot);
        return;
    }
    VvSlot *head = atomic_load_explicit(&slots->returned, memory_order_relaxed);
    do
        slot->next = head;
    while (!atomic_compare_exchange_weak_explicit(
        &slots->returned, &head, slot, memory_order_release, memory_order_relaxed));
}

void vv_slots_each(VvSlots *slots, bool (*each)(void *user, VvSlot *slot), void *user)
{
    uint32_t count = atomic_load_explicit(&slots->chunk_count, memory_order_acquire);
    for (uint32_t chunk = 0; chunk < count; chunk++) {
        VvSlot *array = atomic_load_explicit(&slots->chunks[chunk], memory_order_acquire);
        for (size_t i = 0; i < VV_SLOTS_PER_CHUNK; i++) {
            if (!each(user, &array[i]))
                return;
        }
    }
}
