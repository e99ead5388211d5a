/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "store_lazy.h"

#include "codec.h"
#include "store_sums_private.h"
#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>

#define CHUNK_PAGES_MIN 64u  /* a word of bits; 256 KiB take some 60 us to compare */
#define CHUNKS_MAX 16384u    /* each open or closed by itself is a mapping: a quarter of what a process may have */
#define READ_BYTES 4096u     /* on the stack of a signal handler */

struct VvLazy {
    int data_fd, sums_fd; /* borrowed */
    uint32_t page_bytes;
    uint64_t count_words, chunk_words;
    _Atomic uint64_t *words; /* owned: a bit for each page that is not compared */
    _Atomic uint64_t left;   /* bits that are set */
    _Atomic uint64_t next;   /* first word of the chunk that vv_lazy_next takes */
    _Atomic bool stopped;
    uint8_t *base;           /* NULL: not closed */
    VvFault *fault;          /* borrowed */
};

VvLazy *vv_lazy_new(int data_fd, int sums_fd, uint32_t page_bytes, uint64_t count_pages)
{
    VvLazy *lazy = g_new0(VvLazy, 1);

    lazy->data_fd = data_fd;
    lazy->sums_fd = sums_fd;
    lazy->page_bytes = page_bytes;
    lazy->count_words = count_pages / 64 + 1;
    lazy->chunk_words = CHUNK_PAGES_MIN / 64;
    while (lazy->count_words / lazy->chunk_words >= CHUNKS_MAX)
        lazy->chunk_words *= 2;
    lazy->words = g_malloc0(lazy->count_words * sizeof *lazy->words);
    return lazy;
}

void vv_lazy_free(VvLazy *lazy)
{
    if (lazy == NULL)
        return;
    g_free((void *) lazy->words);
    g_free(lazy);
}

static bool is_set(VvLazy *lazy, uint64_t page)
{
    return page / 64 < lazy->count_words && (atomic_load(&lazy->words[page / 64]) >> page % 64 & 1) != 0;
}

void vv_lazy_add(VvLazy *lazy, uint64_t page)
{
    g_assert(page / 64 < lazy->count_words && !is_set(lazy, page));
    lazy->words[page / 64] |= UINT64_C(1) << page % 64;
    lazy->left++;
}

uint64_t vv_lazy_left(VvLazy *lazy) { return atomic_load(&lazy->left); }

/* ---- comparing; all of it also in a signal handler */

typedef struct {
    uint64_t number; /* UINT64_MAX: none */
    int error;
    uint8_t bytes[SECTOR_BYTES];
} Sector;

static VvFaultKind compare_page(VvLazy *lazy, uint64_t page, Sector *sector)
{
    uint32_t crc = vvs_page_crc_begin(page);
    uint8_t bytes[READ_BYTES];

    if (sector->number != page / SECTOR_SUMS) {
        sector->number = page / SECTOR_SUMS;
        sector->error = vvs_read_sector(lazy->sums_fd, sector->number, sector->bytes);
    }
    if (sector->error != 0)
        return sector->error == -EUCLEAN ? VV_FAULT_SUMS_DAMAGED : VV_FAULT_SUMS_UNREADABLE;
    for (uint32_t at = 0; at < lazy->page_bytes; at += READ_BYTES) {
        size_t want = lazy->page_bytes - at < READ_BYTES ? lazy->page_bytes - at : READ_BYTES;
        ssize_t got = pread(lazy->data_fd, bytes, want, (off_t) (page * lazy->page_bytes + at));

        if (got != (ssize_t) want)
            return VV_FAULT_UNREADABLE;
        crc = vv_crc32c(crc, bytes, want);
    }
    return crc == vv_get_u32(sector->bytes + page % SECTOR_SUMS * 4) ? VV_FAULT_NONE : VV_FAULT_DAMAGED;
}

/* Where it is: in data.mdb, or in the file of sums. */
static uint64_t offset_of(const VvLazy *lazy, VvFaultKind kind, uint64_t page)
{
    bool in_sums = kind == VV_FAULT_SUMS_DAMAGED || kind == VV_FAULT_SUMS_UNREADABLE;

    return in_sums ? SECTORS_AT + page / SECTOR_SUMS * SECTOR_BYTES : page * lazy->page_bytes;
}

/* L1: open what is compared by now of these pages. False: the kernel does not. */
static bool open_pages(VvLazy *lazy, uint64_t first, uint64_t end)
{
    uint64_t from = first;
    bool done = true;

    for (uint64_t page = first; page <= end && lazy->base != NULL; page++) {
        if (page < end && !is_set(lazy, page))
            continue;
        if (page > from)
            done = mprotect(lazy->base + from * lazy->page_bytes, (page - from) * lazy->page_bytes, PROT_READ) == 0 && done;
        from = page + 1;
    }
    return done;
}

static void forget(VvLazy *lazy, uint64_t page)
{
    uint64_t bit = UINT64_C(1) << page % 64;

    if ((atomic_fetch_and(&lazy->words[page / 64], ~bit) & bit) != 0)
        atomic_fetch_sub(&lazy->left, 1);
}

/* Compare what is not yet in the chunk of @word, and open it. The first that is wrong, and *ret_offset then. That the kernel opens no page now is
 * not noted: who needs one is told, and it is tried again. */
static VvFaultKind compare_chunk(VvLazy *lazy, uint64_t word, uint64_t *ret_bytes, uint64_t *ret_offset)
{
    uint64_t first = word / lazy->chunk_words * lazy->chunk_words, end = MIN(first + lazy->chunk_words, lazy->count_words);
    Sector sector = { .number = UINT64_MAX };
    VvFaultKind result = VV_FAULT_NONE;

    for (word = first; word < end; word++) {
        for (uint64_t todo = atomic_load(&lazy->words[word]); todo != 0; todo &= todo - 1) {
            uint64_t page = word * 64 + (unsigned) __builtin_ctzll(todo);
            VvFaultKind kind = compare_page(lazy, page, &sector);

            *ret_bytes += lazy->page_bytes;
            if (kind == VV_FAULT_NONE) {
                forget(lazy, page);
                continue;
            }
            if (!is_set(lazy, page)) /* L3 */
                continue;
            if (lazy->fault != NULL)
                vv_fault_note(lazy->fault, kind, offset_of(lazy, kind, page));
            if (result == VV_FAULT_NONE)
                *ret_offset = offset_of(lazy, kind, page);
            result = result == VV_FAULT_NONE ? kind : result;
        }
    }
    if (!open_pages(lazy, first * 64, end * 64) && result == VV_FAULT_NONE) {
        *ret_offset = first * 64 * lazy->page_bytes;
        result = VV_FAULT_NO_MEMORY;
    }
    return result;
}

VvFaultKind vv_lazy_admit(void *user, uint64_t offset)
{
    VvLazy *lazy = user;
    uint64_t page = offset / lazy->page_bytes, bytes = 0, bad;
    VvFaultKind kind = page / 64 < lazy->count_words ? compare_chunk(lazy, page / 64, &bytes, &bad) : VV_FAULT_DAMAGED;

    return kind == VV_FAULT_NONE || kind == VV_FAULT_NO_MEMORY || is_set(lazy, page) ? kind : VV_FAULT_NONE; /* another page's */
}

bool vv_lazy_next(VvLazy *lazy, uint64_t *ret_bytes)
{
    uint64_t word = atomic_fetch_add(&lazy->next, lazy->chunk_words), offset = 0;

    *ret_bytes = 0;
    if (word >= lazy->count_words)
        return false;
    posix_fadvise(lazy->data_fd, (off_t) (word * 64 * lazy->page_bytes), (off_t) (lazy->chunk_words * 64 * lazy->page_bytes),
        POSIX_FADV_WILLNEED);
    compare_chunk(lazy, word, ret_bytes, &offset);
    return true;
}

void vv_lazy_stop(VvLazy *lazy) { atomic_store(&lazy->stopped, true); }

int vv_lazy_finish(VvLazy *lazy, VvFaultKind *ret_kind, uint64_t *ret_offset)
{
    uint64_t bytes = 0, offset = 0;
    VvFaultKind kind = VV_FAULT_NONE;

    while (vv_lazy_left(lazy) > 0 && !atomic_load(&lazy->stopped) && vv_lazy_next(lazy, &bytes))
        continue;
    for (uint64_t word = 0; word < lazy->count_words && vv_lazy_left(lazy) > 0 && kind == VV_FAULT_NONE; word++) {
        if (atomic_load(&lazy->stopped))
            return -ESHUTDOWN;
        if (atomic_load(&lazy->words[word]) != 0)
            kind = compare_chunk(lazy, word, &bytes, &offset);
    }
    *ret_kind = kind;
    *ret_offset = offset;
    return vv_fault_errno(kind);
}

/* ---- closing */

bool vv_lazy_close(VvLazy *lazy, uint8_t *base, VvFault *fault)
{
    uint64_t count_chunks = (lazy->count_words + lazy->chunk_words - 1) / lazy->chunk_words, from = 0;
    size_t chunk_bytes = lazy->chunk_words * 64 * lazy->page_bytes;

    lazy->fault = fault;
    lazy->base = base;
    for (uint64_t chunk = 0; chunk <= count_chunks; chunk++) {
        uint64_t end = MIN((chunk + 1) * lazy->chunk_words, lazy->count_words);
        bool any = false;

        for (uint64_t word = chunk * lazy->chunk_words; chunk < count_chunks && word < end && !any; word++)
            any = lazy->words[word] != 0;
        if (any)
            continue;
        if (chunk > from && mprotect(base + from * chunk_bytes, (chunk - from) * chunk_bytes, PROT_NONE) != 0)
            return false;
        from = chunk + 1;
    }
    return true;
}
