/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A buddy system: a piece of order n is 2^n pages at a multiple of its size; its other half, if both are free, makes one of order n + 1.
 *
 *   state[page]   of the first page of a piece: its order, with OUT while somebody has it; INSIDE of all others
 *   next, last    lists of free pieces, by order, through their first pages */
#include "object_memory.h"

#include "limits.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>

#define PAGE VV_BLOCK_BYTES
#define ORDERS 9u /* of one page to VV_IO_BYTES_MAX */
#define PAGES_MAX (128u << 8)
#define NONE UINT16_MAX
#define OUT 0x80u
#define INSIDE 0xffu
G_STATIC_ASSERT(PAGE << (ORDERS - 1) == VV_IO_BYTES_MAX && PAGES_MAX < NONE);

struct VvObjectMemory {
    uint8_t *base;
    size_t bytes, used_bytes;
    uint16_t first[ORDERS];
    uint16_t *next, *last;
    uint8_t *state;
};

static unsigned order_of(size_t bytes)
{
    unsigned order = 0;

    while ((size_t) PAGE << order < bytes)
        order++;
    return order;
}

static void push(VvObjectMemory *memory, uint16_t page, unsigned order)
{
    memory->state[page] = (uint8_t) order;
    memory->last[page] = NONE;
    memory->next[page] = memory->first[order];
    if (memory->first[order] != NONE)
        memory->last[memory->first[order]] = page;
    memory->first[order] = page;
}

static void take_out(VvObjectMemory *memory, uint16_t page, unsigned order)
{
    if (memory->last[page] == NONE)
        memory->first[order] = memory->next[page];
    else
        memory->next[memory->last[page]] = memory->next[page];
    if (memory->next[page] != NONE)
        memory->last[memory->next[page]] = memory->last[page];
    memory->state[page] = INSIDE;
}

VvObjectMemory *vv_object_memory_new(size_t bytes)
{
    VvObjectMemory *memory = g_new0(VvObjectMemory, 1);
    size_t pages = bytes / PAGE;

    g_assert(bytes > 0 && bytes % VV_IO_BYTES_MAX == 0 && pages <= PAGES_MAX);
    memory->bytes = bytes;
    memory->base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory->base == MAP_FAILED)
        g_error("no address space of %zu bytes is to be had", bytes);
    memory->next = g_new(uint16_t, pages);
    memory->last = g_new(uint16_t, pages);
    memory->state = g_malloc(pages);
    for (unsigned order = 0; order < ORDERS; order++)
        memory->first[order] = NONE;
    for (size_t i = 0; i < pages; i++)
        memory->state[i] = INSIDE;
    for (size_t i = pages; i > 0; i -= 1u << (ORDERS - 1)) /* the lowest is taken first */
        push(memory, (uint16_t) (i - (1u << (ORDERS - 1))), ORDERS - 1);
    return memory;
}

void vv_object_memory_free(VvObjectMemory *memory)
{
    if (!memory)
        return;
    g_assert(memory->used_bytes == 0);
    munmap(memory->base, memory->bytes);
    g_free(memory->next);
    g_free(memory->last);
    g_free(memory->state);
    g_free(memory);
}

size_t vv_object_memory_takes(size_t bytes)
{
    return (size_t) PAGE << order_of(bytes);
}

void *vv_object_memory_get(VvObjectMemory *memory, size_t bytes)
{
    unsigned wanted = order_of(bytes), order = wanted;
    uint16_t page;

    g_assert(bytes > 0 && wanted < ORDERS);
    while (order < ORDERS && memory->first[order] == NONE)
        order++;
    if (order == ORDERS)
        return NULL;
    page = memory->first[order];
    take_out(memory, page, order);
    while (order > wanted) {
        order--;
        push(memory, (uint16_t) (page + (1u << order)), order);
    }
    memory->state[page] = (uint8_t) (OUT | wanted);
    memory->used_bytes += (size_t) PAGE << wanted;
    return memory->base + (size_t) page * PAGE;
}

void vv_object_memory_put(VvObjectMemory *memory, void *data)
{
    size_t at = (size_t) ((uint8_t *) data - memory->base);
    uint16_t page = (uint16_t) (at / PAGE);
    unsigned order;

    g_assert(at < memory->bytes && at % PAGE == 0 && (memory->state[page] & OUT) && memory->state[page] != INSIDE);
    order = memory->state[page] & ~OUT;
    memory->used_bytes -= (size_t) PAGE << order;
    memory->state[page] = INSIDE;
    while (order + 1 < ORDERS) {
        uint16_t other = (uint16_t) (page ^ (1u << order));

        if (memory->state[other] != order)
            break;
        take_out(memory, other, order);
        page = MIN(page, other);
        order++;
    }
    push(memory, page, order);
}

size_t vv_object_memory_used(const VvObjectMemory *memory)
{
    return memory->used_bytes;
}
