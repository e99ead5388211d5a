/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Chunks and the objects in them: see slab.h.
 *
 * An object's chunk is found by its address. Free objects of a chunk are a list through themselves; chunks of a class with free
 * objects are a list, of which one may be empty, so that who gets and puts one object does not move chunks.
 *
 * Locks: a class's lock, then the area's; while somebody waits for a chunk he has neither. */
#include "slab.h"

#include "limits.h"
#include "pinned.h"
#include "util.h"

#include <stdatomic.h>
#include <string.h>
#include <sched.h>
#include <sys/mman.h>
#include <time.h>

#if defined(__SANITIZE_ADDRESS__)
#define MALLOCED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define MALLOCED 1
#endif
#endif
#ifndef MALLOCED
#define MALLOCED 0
#endif

#define CHUNKS (VV_SLAB_BYTES_MAX / VV_SLAB_CHUNK_BYTES)
#define RESERVE_CHUNKS (VV_SLAB_RESERVE_BYTES / VV_SLAB_CHUNK_BYTES)
#define LOW_CHUNKS (RESERVE_CHUNKS * 5 / 8)       /* below it who can wait waits */
#define SHORT_CHUNKS (RESERVE_CHUNKS / 4)         /* below it no request is read */
#define CACHE_CHUNKS (RESERVE_CHUNKS * 3 / 4)     /* below it caches get none */
#define FINE_CLASSES 8u                           /* 16 to 128, in steps of 16; then four to each doubling */
#define CLASSES (FINE_CLASSES + 4u * 6u)          /* up to 8 KiB */
#define OBJECT_BYTES_MAX (128u << 6)
#define RETRY_MS 10u        /* of who waits, and of the filler that got nothing */
#define WAITS_MAX 100u      /* then malloc is asked: a mistake in the limits must not stop everything */
#define SURPLUS_MS 10000u   /* what was free for so long is not needed */
#define GROW_CHUNKS 8u      /* at once: fewer calls, and no long one */
#define RELEASE_CHUNKS 8u   /* the same */

_Static_assert(CHUNKS < UINT16_MAX, "links are 16 bits");

typedef enum { ABSENT, FREE, OBJECTS, SPAN } ChunkState;

typedef struct {
    uint8_t state;           /* area.lock to change to or from FREE */
    uint8_t class;           /* OBJECTS */
    bool listed;             /* class lock: in the list of those with free objects */
    uint16_t used, fresh;    /* class lock: objects that are out; the first that never was */
    uint16_t previous, next; /* class lock: index + 1 */
    uint16_t span_chunks;    /* of a span's first */
    void *free;              /* class lock */
} Chunk;

typedef struct {
    _Alignas(64) pthread_mutex_t lock;
    uint32_t object_bytes, capacity;
    uint16_t first; /* chunk with free objects, index + 1 */
} Class;

static struct {
    pthread_once_t once;
    pthread_mutex_t lock;
    pthread_cond_t changed; /* for the filler */
    pthread_cond_t room;    /* for who waits */
    uint8_t *base;
    Chunk chunks[CHUNKS];
    uint64_t free[CHUNKS / 64]; /* bit = chunk is FREE */
    _Atomic unsigned free_count; /* written under the lock */
    _Atomic unsigned resident_count;
    unsigned least_free; /* since the filler looked for a surplus */
    size_t locked_bytes;
    unsigned starts;
    bool running, stopping, starving, was_low, to_be_locked;
    pthread_t filler;
    _Atomic uint64_t grown, waits;
    _Atomic bool started;
    _Atomic bool given_up; /* somebody waited in vain, and nothing was put since: others need not wait so long again */
    pthread_mutex_t start_lock; /* start and stop, one after the other; before lock */
    Class classes[CLASSES];

    pthread_mutex_t watch_lock; /* held while watchers run */
    struct {
        VvSlabRoom room;
        void *user;
    } watchers[VV_SLAB_WATCHERS_MAX];
} area = { .once = PTHREAD_ONCE_INIT,
    .lock = PTHREAD_MUTEX_INITIALIZER,
    .changed = PTHREAD_COND_INITIALIZER,
    .room = PTHREAD_COND_INITIALIZER,
    .start_lock = PTHREAD_MUTEX_INITIALIZER,
    .watch_lock = PTHREAD_MUTEX_INITIALIZER };

/* ---- classes */

static unsigned class_of(size_t bytes)
{
    if (bytes <= 16 * FINE_CLASSES)
        return bytes <= 16 ? 0 : (unsigned) ((bytes - 1) / 16);
    unsigned shift = 63 - (unsigned) __builtin_clzll(bytes - 1); /* 7: above 128 */
    return FINE_CLASSES + (shift - 7) * 4 + (unsigned) ((bytes - 1) >> (shift - 2) & 3);
}

static uint32_t class_bytes(unsigned class)
{
    if (class < FINE_CLASSES)
        return 16 * (class + 1);
    unsigned shift = 7 + (class - FINE_CLASSES) / 4;
    return (1u << shift) + ((class - FINE_CLASSES) % 4 + 1) * (1u << (shift - 2));
}

static void area_init(void)
{
    void *base = mmap(NULL, VV_SLAB_BYTES_MAX, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED)
        g_error("no address space of %u MiB is to be had", VV_SLAB_BYTES_MAX >> 20);
    (void) madvise(base, VV_SLAB_BYTES_MAX, MADV_NOHUGEPAGE);
    if (area.to_be_locked)
        vv_pin_share(base, VV_SLAB_RESERVE_BYTES);
    area.base = base;
    for (unsigned i = 0; i < CLASSES; i++) {
        vv_mutex_init_short(&area.classes[i].lock);
        area.classes[i].object_bytes = class_bytes(i);
        area.classes[i].capacity = VV_SLAB_CHUNK_BYTES / class_bytes(i);
    }
}

static uint8_t *chunk_memory(unsigned index)
{
    return area.base + (size_t) index * VV_SLAB_CHUNK_BYTES;
}

/* ---- chunks: area.lock held, save where it says not */

static void set_free(unsigned index, bool free)
{
    area.free[index / 64] ^= (uint64_t) 1 << index % 64;
    area.chunks[index].state = free ? FREE : ABSENT;
    unsigned count = atomic_load_explicit(&area.free_count, memory_order_relaxed) + (free ? 1u : -1u);
    atomic_store_explicit(&area.free_count, count, memory_order_relaxed);
    area.least_free = MIN(area.least_free, count);
}

static bool are_in_state(unsigned first, unsigned count, ChunkState state)
{
    for (unsigned i = 0; i < count; i++)
        if (area.chunks[first + i].state != state)
            return false;
    return true;
}

/* The first @count chunks side by side; CHUNKS: none. */
static unsigned find_chunks(unsigned count, ChunkState state)
{
    if (state == FREE && count == 1) {
        for (unsigned i = 0; i < CHUNKS / 64; i++)
            if (area.free[i] != 0)
                return i * 64 + (unsigned) __builtin_ctzll(area.free[i]);
        return CHUNKS;
    }
    for (unsigned i = 0; i + count <= CHUNKS; i++)
        if (are_in_state(i, count, state))
            return i;
    return CHUNKS;
}

/* The pages of absent chunks. Without area.lock, unless nothing is started. */
static bool populate(unsigned first, unsigned count)
{
    return vv_pin_populate(chunk_memory(first), (size_t) count * VV_SLAB_CHUNK_BYTES);
}

static void add_free(unsigned first, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        set_free(first + i, true);
    area.resident_count += count;
}

/* @spare_chunks: must be left. CHUNKS: there are none. */
static unsigned take_chunks(unsigned count, unsigned spare_chunks)
{
    unsigned first = CHUNKS;
    if (atomic_load_explicit(&area.free_count, memory_order_relaxed) >= spare_chunks + count)
        first = find_chunks(count, FREE);
    if (first == CHUNKS && area.starts == 0) { /* nobody is in a hurry: pages come when they are touched */
        unsigned absent = find_chunks(count, ABSENT);
        if (absent < CHUNKS)
            add_free(first = absent, count);
    }
    for (unsigned i = 0; first < CHUNKS && i < count; i++)
        set_free(first + i, false);
    area.was_low |= vv_slab_is_low();
    if (area.starts > 0 && atomic_load_explicit(&area.free_count, memory_order_relaxed) < RESERVE_CHUNKS)
        pthread_cond_signal(&area.changed);
    return first;
}

static void give_chunks(unsigned first, unsigned count)
{
    VV_LOCKED(&area.lock);
    for (unsigned i = 0; i < count; i++)
        set_free(first + i, true);
    atomic_store(&area.given_up, false);
    unsigned now_free = atomic_load_explicit(&area.free_count, memory_order_relaxed);
    if (area.was_low || (now_free > RESERVE_CHUNKS && now_free <= RESERVE_CHUNKS + count)) /* the filler looks for a surplus from now on */
        pthread_cond_signal(&area.changed);
    pthread_cond_broadcast(&area.room);
}

static void deadline_in(struct timespec *ret_deadline, unsigned ms)
{
    clock_gettime(CLOCK_REALTIME, ret_deadline);
    ret_deadline->tv_nsec += (long) (ms % 1000) * 1000000;
    ret_deadline->tv_sec += ms / 1000 + ret_deadline->tv_nsec / 1000000000;
    ret_deadline->tv_nsec %= 1000000000;
}

/* ---- the filler */

/* Ask the kernel for what is missing. False: it gave nothing. */
static bool fill_locked(void)
{
    unsigned have = atomic_load(&area.free_count), count = MIN(GROW_CHUNKS, RESERVE_CHUNKS - have);
    unsigned first = area.starving ? CHUNKS : find_chunks(count, ABSENT);
    if (first == CHUNKS && count > 1)
        first = area.starving ? CHUNKS : find_chunks(count = 1, ABSENT);
    if (first == CHUNKS)
        return false;
    pthread_mutex_unlock(&area.lock); /* nobody else makes chunks while we run */
    bool good = populate(first, count);
    pthread_mutex_lock(&area.lock);
    if (good) {
        add_free(first, count);
        atomic_store(&area.given_up, false);
        atomic_fetch_add_explicit(&area.grown, count, memory_order_relaxed);
        pthread_cond_broadcast(&area.room);
    }
    return good;
}

/* The last @count free chunks go back to the kernel, those of the locked part stay. */
static void release_locked(unsigned count)
{
    unsigned least = area.to_be_locked ? RESERVE_CHUNKS : 0; /* shared pages would stay */
    for (unsigned i = CHUNKS; i > least && count > 0; i--) {
        if (area.chunks[i - 1].state != FREE || madvise(chunk_memory(i - 1), VV_SLAB_CHUNK_BYTES, MADV_DONTNEED) != 0)
            continue;
        set_free(i - 1, false);
        area.resident_count--;
        count--;
    }
}

static void tell_watchers(void)
{
    VV_LOCKED(&area.watch_lock);
    for (unsigned i = 0; i < VV_SLAB_WATCHERS_MAX; i++)
        if (area.watchers[i].room)
            area.watchers[i].room(area.watchers[i].user);
}

static void *filler_main(void *user)
{
    (void) user;
    struct timespec deadline;
    uint64_t looked_ms = vv_monotonic_ms();
    pthread_setname_np(pthread_self(), "filler");
    pthread_mutex_lock(&area.lock);
    while (!area.stopping) {
        bool good = true;
        while (good && !area.stopping && atomic_load(&area.free_count) < RESERVE_CHUNKS)
            good = fill_locked();
        if (area.was_low && !vv_slab_is_low()) {
            area.was_low = false;
            pthread_mutex_unlock(&area.lock);
            tell_watchers();
            pthread_mutex_lock(&area.lock);
            continue;
        }
        uint64_t now_ms = vv_monotonic_ms();
        if (now_ms - looked_ms >= SURPLUS_MS) { /* M3 */
            for (unsigned left = area.least_free > RESERVE_CHUNKS ? area.least_free - RESERVE_CHUNKS : 0; left > 0;) {
                unsigned count = MIN(left, RELEASE_CHUNKS);
                release_locked(count);
                left -= count;
                pthread_mutex_unlock(&area.lock); /* who needs a chunk meanwhile does not wait for all of them */
                sched_yield();
                pthread_mutex_lock(&area.lock);
            }
            area.least_free = atomic_load(&area.free_count);
            looked_ms = now_ms;
        }
        if (area.stopping)
            break;
        if (!good) {
            deadline_in(&deadline, RETRY_MS);
            pthread_cond_timedwait(&area.changed, &area.lock, &deadline);
        } else if (atomic_load(&area.free_count) > RESERVE_CHUNKS) {
            deadline_in(&deadline, SURPLUS_MS);
            pthread_cond_timedwait(&area.changed, &area.lock, &deadline);
        } else if (atomic_load(&area.free_count) == RESERVE_CHUNKS) {
            pthread_cond_wait(&area.changed, &area.lock);
        }
    }
    pthread_mutex_unlock(&area.lock);
    return NULL;
}

void vv_slab_start(void)
{
    pthread_once(&area.once, area_init);
    if (MALLOCED)
        return;
    VV_LOCKED(&area.start_lock);
    VV_LOCKED(&area.lock);
    if (area.starts++ > 0)
        return;
    while (atomic_load(&area.free_count) < RESERVE_CHUNKS) {
        unsigned first = find_chunks(1, ABSENT);
        if (first == CHUNKS || !populate(first, 1))
            break; /* the filler goes on trying */
        add_free(first, 1);
    }
    area.least_free = atomic_load(&area.free_count);
    area.stopping = false;
    area.running = pthread_create(&area.filler, NULL, filler_main, NULL) == 0;
    g_assert(area.running);
    atomic_store(&area.started, true);
}

void vv_slab_stop(void)
{
    if (MALLOCED)
        return;
    VV_LOCKED(&area.start_lock);
    pthread_mutex_lock(&area.lock);
    g_assert(area.starts > 0);
    bool last = area.starts == 1;
    if (last) {
        atomic_store(&area.started, false);
        area.stopping = true;
        pthread_cond_signal(&area.changed);
    }
    pthread_mutex_unlock(&area.lock);
    if (last)
        pthread_join(area.filler, NULL); /* while it runs nobody else makes chunks */
    VV_LOCKED(&area.lock);
    area.starts--;
}

size_t vv_slab_lock(void)
{
    area.to_be_locked = true;
    pthread_once(&area.once, area_init);
    if (MALLOCED || mlock(area.base, VV_SLAB_RESERVE_BYTES) != 0)
        return 0;
    VV_LOCKED(&area.lock);
    for (unsigned i = 0; i < RESERVE_CHUNKS; i++) /* it has given them their pages */
        if (area.chunks[i].state == ABSENT)
            add_free(i, 1);
    area.locked_bytes = VV_SLAB_RESERVE_BYTES;
    return area.locked_bytes;
}

/* Where all of it is in use malloc serves, and nobody waits for the kernel's sake. */
static bool is_below(unsigned chunks)
{
    return atomic_load_explicit(&area.started, memory_order_relaxed) &&
           atomic_load_explicit(&area.resident_count, memory_order_relaxed) < CHUNKS &&
           atomic_load_explicit(&area.free_count, memory_order_relaxed) < chunks;
}

bool vv_slab_is_low(void)
{
    return is_below(LOW_CHUNKS);
}

bool vv_slab_is_short(void)
{
    return is_below(SHORT_CHUNKS);
}

/* ---- objects: the class's lock held */

static void link_chunk(Class *class, unsigned index)
{
    Chunk *chunk = &area.chunks[index];
    chunk->previous = 0;
    chunk->next = class->first;
    if (class->first)
        area.chunks[class->first - 1].previous = (uint16_t) (index + 1);
    class->first = (uint16_t) (index + 1);
    chunk->listed = true;
}

static void unlink_chunk(Class *class, unsigned index)
{
    Chunk *chunk = &area.chunks[index];
    if (chunk->next)
        area.chunks[chunk->next - 1].previous = chunk->previous;
    if (chunk->previous)
        area.chunks[chunk->previous - 1].next = chunk->next;
    else
        class->first = chunk->next;
    chunk->listed = false;
}

/* NULL: no chunk has one. */
static void *pop_object(Class *class)
{
    if (class->first == 0)
        return NULL;
    unsigned index = class->first - 1u;
    Chunk *chunk = &area.chunks[index];
    void *object = chunk->free;
    if (object)
        memcpy(&chunk->free, object, sizeof chunk->free);
    else
        object = chunk_memory(index) + (size_t) chunk->fresh++ * class->object_bytes;
    if (++chunk->used == class->capacity)
        unlink_chunk(class, index);
    return object;
}

/* Returns the chunk if nobody needs it any more, else CHUNKS. */
static unsigned push_object(Class *class, void *object, unsigned index)
{
    Chunk *chunk = &area.chunks[index];
    g_assert(chunk->used > 0);
    memcpy(object, &chunk->free, sizeof chunk->free);
    chunk->free = object;
    chunk->used--;
    if (!chunk->listed)
        link_chunk(class, index);
    if (chunk->used > 0 || (chunk->next == 0 && chunk->previous == 0))
        return CHUNKS;
    unlink_chunk(class, index);
    return index;
}

static void begin_chunk(Class *class, unsigned index)
{
    area.chunks[index].class = (uint8_t) (class - area.classes);
    link_chunk(class, index);
}

static unsigned take_locking(unsigned count, unsigned spare_chunks, ChunkState state)
{
    VV_LOCKED(&area.lock);
    unsigned first = take_chunks(count, spare_chunks);
    for (unsigned i = 0; first < CHUNKS && i < count; i++)
        area.chunks[first + i] = (Chunk){ .state = (uint8_t) state, .span_chunks = (uint16_t) count };
    return first;
}

static void *get_object(unsigned number, unsigned spare_chunks)
{
    Class *class = &area.classes[number];
    pthread_mutex_lock(&class->lock);
    void *object = pop_object(class);
    if (object == NULL) {
        unsigned index = take_locking(1, spare_chunks, OBJECTS);
        if (index < CHUNKS) {
            begin_chunk(class, index);
            object = pop_object(class);
        }
    }
    pthread_mutex_unlock(&class->lock);
    return object;
}

static void *get_memory(size_t bytes, unsigned spare_chunks)
{
    pthread_once(&area.once, area_init);
    if (bytes <= OBJECT_BYTES_MAX)
        return get_object(class_of(bytes), spare_chunks);
    size_t count = (bytes + VV_SLAB_CHUNK_BYTES - 1) / VV_SLAB_CHUNK_BYTES;
    unsigned first = count <= CHUNKS ? take_locking((unsigned) count, spare_chunks, SPAN) : CHUNKS;
    return first < CHUNKS ? chunk_memory(first) : NULL;
}

/* ---- for everybody */

void *vv_slab_try(size_t bytes)
{
    if (MALLOCED)
        return g_try_malloc(bytes);
    return get_memory(bytes, atomic_load_explicit(&area.started, memory_order_relaxed) ? CACHE_CHUNKS : 0);
}

static bool is_used_up(void)
{
    VV_LOCKED(&area.lock);
    return area.starts == 0 || area.resident_count == CHUNKS;
}

void *vv_slab_get(size_t bytes)
{
    if (MALLOCED)
        return g_malloc(bytes);
    for (unsigned waits = 0;; waits++) {
        void *memory = get_memory(bytes, 0);
        if (memory)
            return memory;
        if (waits == WAITS_MAX)
            atomic_store(&area.given_up, true);
        if (bytes > OBJECT_BYTES_MAX || is_used_up() || atomic_load(&area.given_up)) /* not on the path of I/O: slab.h */
            return g_malloc(bytes);
        atomic_fetch_add_explicit(&area.waits, 1, memory_order_relaxed);
        struct timespec deadline;
        VV_LOCKED(&area.lock);
        deadline_in(&deadline, RETRY_MS);
        pthread_cond_signal(&area.changed);
        pthread_cond_timedwait(&area.room, &area.lock, &deadline);
    }
}

void *vv_slab_get0(size_t bytes)
{
    return memset(vv_slab_get(bytes), 0, bytes);
}

void *vv_slab_copy(const void *data, size_t bytes)
{
    return bytes > 0 ? memcpy(vv_slab_get(bytes), data, bytes) : NULL;
}

/* CHUNKS: it is malloc's. */
static unsigned chunk_of(const void *memory)
{
    uintptr_t offset = (uintptr_t) memory - (uintptr_t) area.base;
    return offset < VV_SLAB_BYTES_MAX ? (unsigned) (offset / VV_SLAB_CHUNK_BYTES) : CHUNKS;
}

void vv_slab_put(void *memory)
{
    unsigned index = MALLOCED || memory == NULL ? CHUNKS : chunk_of(memory);
    if (index == CHUNKS) {
        g_free(memory);
        return;
    }
    Chunk *chunk = &area.chunks[index];
    if (chunk->state == SPAN) {
        give_chunks(index, chunk->span_chunks);
        return;
    }
    g_assert(chunk->state == OBJECTS);
    Class *class = &area.classes[chunk->class];
    pthread_mutex_lock(&class->lock);
    index = push_object(class, memory, index);
    pthread_mutex_unlock(&class->lock);
    if (index < CHUNKS)
        give_chunks(index, 1);
}

void *vv_slab_renew(void *memory, size_t bytes)
{
    if (memory == NULL)
        return vv_slab_get(bytes);
    if (MALLOCED || chunk_of(memory) == CHUNKS)
        return g_realloc(memory, bytes);
    const Chunk *chunk = &area.chunks[chunk_of(memory)];
    size_t have_bytes = chunk->state == SPAN ? (size_t) chunk->span_chunks * VV_SLAB_CHUNK_BYTES
                                             : area.classes[chunk->class].object_bytes;
    if (bytes <= have_bytes && bytes > have_bytes / 2)
        return memory;
    void *renewed = vv_slab_get(bytes);
    memcpy(renewed, memory, MIN(bytes, have_bytes));
    vv_slab_put(memory);
    return renewed;
}

/* ---- watching */

void vv_slab_watch(VvSlabRoom room, void *user)
{
    VV_LOCKED(&area.watch_lock);
    for (unsigned i = 0; i < VV_SLAB_WATCHERS_MAX; i++)
        if (area.watchers[i].room == NULL) {
            area.watchers[i].room = room;
            area.watchers[i].user = user;
            return;
        }
    g_assert_not_reached();
}

void vv_slab_unwatch(VvSlabRoom room, void *user)
{
    VV_LOCKED(&area.watch_lock);
    for (unsigned i = 0; i < VV_SLAB_WATCHERS_MAX; i++)
        if (area.watchers[i].room == room && area.watchers[i].user == user)
            area.watchers[i].room = NULL;
}

void vv_slab_stat(VvSlabStat *ret_stat)
{
    VV_LOCKED(&area.lock);
    *ret_stat = (VvSlabStat){ .resident_bytes = (uint64_t) area.resident_count * VV_SLAB_CHUNK_BYTES,
        .free_bytes = (uint64_t) atomic_load(&area.free_count) * VV_SLAB_CHUNK_BYTES,
        .grown = atomic_load(&area.grown),
        .waits = atomic_load(&area.waits) };
}

void vv_slab_starve(size_t keep_bytes)
{
    VV_LOCKED(&area.lock);
    unsigned keep = (unsigned) MIN(keep_bytes / VV_SLAB_CHUNK_BYTES, CHUNKS), count = atomic_load(&area.free_count);
    area.starving = keep_bytes != SIZE_MAX;
    if (area.starving && count > keep)
        release_locked(count - keep);
    pthread_cond_signal(&area.changed);
}
