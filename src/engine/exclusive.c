/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Exclusive counts: what removing an object would free. A count walks the pages of a family, so it is remembered with the
 * family's change number and made by the jobs' thread when somebody asks. */
#include "frees.h"
#include "pool_private.h"
#include "transaction.h"

#include <errno.h>

#define WANTED_MAX 65536u
#define COUNTS_MAX 262144u
#define TRIES_MAX 16u /* a family that changes all the time is asked for again by whoever still wants to know */

typedef struct {
    uint64_t change_number, bytes;
} Count;

struct VvExclusive {
    pthread_mutex_t lock; /* a leaf */
    GHashTable *counts;   /* object id -> Count */
    GHashTable *wanted;   /* object id -> tries so far */
    GQueue order;         /* of wanted ids, owned */
};

struct VvExclusive *vv_exclusive_new(void)
{
    struct VvExclusive *counts = g_new0(struct VvExclusive, 1);

    pthread_mutex_init(&counts->lock, NULL);
    counts->counts = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, g_free);
    counts->wanted = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
    g_queue_init(&counts->order);
    return counts;
}

void vv_exclusive_free(struct VvExclusive *counts)
{
    if (!counts)
        return;
    g_queue_clear_full(&counts->order, g_free);
    g_hash_table_unref(counts->wanted);
    g_hash_table_unref(counts->counts);
    pthread_mutex_destroy(&counts->lock);
    g_free(counts);
}

/* The ids that go with @id, and the family's number. -ENOENT; 1: *ret_bytes is known without counting. */
static int look_up(VvPool *pool, uint64_t id, GArray *ids, uint64_t *ret_change, uint64_t *ret_bytes)
{
    VV_META_READ(pool->meta);
    const VvLun *lun = vv_meta_lun(pool->meta, id);
    const VvSnapshot *snapshot = lun ? NULL : vv_meta_snapshot(pool->meta, id);
    const VvBranch *branch = lun || snapshot ? vv_meta_branch(pool->meta, lun ? lun->branch : snapshot->branch) : NULL;
    const VvFamily *family = branch ? vv_meta_family(pool->meta, branch->family) : NULL;

    if (!family || (snapshot && snapshot->hidden))
        return -ENOENT;
    *ret_change = family->change_number;
    if (lun)
        vv_append_lun_ids(lun, ids);
    else
        g_array_append_val(ids, id);
    if (lun && family->branches->len == 1 && branch->points->len == 0) {
        *ret_bytes = lun->used_blocks << VV_BLOCK_SHIFT; /* nobody to share with */
        return 1;
    }
    return 0;
}

static void remember(struct VvExclusive *counts, uint64_t id, uint64_t change, uint64_t bytes)
{
    Count *count = g_new(Count, 1);

    *count = (Count){ change, bytes };
    VV_LOCKED(&counts->lock);
    if (g_hash_table_size(counts->counts) >= COUNTS_MAX)
        g_hash_table_remove_all(counts->counts);
    g_hash_table_insert(counts->counts, g_memdup2(&id, sizeof id), count);
}

static bool recall(struct VvExclusive *counts, uint64_t id, uint64_t change, uint64_t *ret_bytes)
{
    const Count *count;

    VV_LOCKED(&counts->lock);
    count = g_hash_table_lookup(counts->counts, &id);
    if (!count || count->change_number != change)
        return false;
    *ret_bytes = count->bytes;
    return true;
}

static void want(struct VvExclusive *counts, uint64_t id, unsigned tries)
{
    VV_LOCKED(&counts->lock);
    if (g_hash_table_contains(counts->wanted, &id) || counts->order.length >= WANTED_MAX || tries > TRIES_MAX)
        return;
    g_hash_table_insert(counts->wanted, g_memdup2(&id, sizeof id), GUINT_TO_POINTER(tries));
    g_queue_push_tail(&counts->order, g_memdup2(&id, sizeof id));
}

static int count_now(VvPool *pool, struct VvExclusive *counts, uint64_t id, uint64_t *ret_bytes)
{
    g_autoptr(GArray) ids = g_array_new(FALSE, FALSE, sizeof id);
    uint64_t change = 0, bytes = 0, blocks = 0;
    int result = look_up(pool, id, ids, &change, &bytes);

    if (result < 0)
        return result;
    if (result == 0 && !recall(counts, id, change, &bytes)) {
        atomic_fetch_add(&pool->counting, 1);
        result = vv_space_exclusive(pool->meta, (const uint64_t *) (const void *) ids->data, ids->len, UINT64_MAX, &blocks);
        atomic_fetch_sub(&pool->counting, 1);
        if (result < 0)
            return result;
        bytes = blocks << VV_BLOCK_SHIFT;
        remember(counts, id, change, bytes);
    }
    *ret_bytes = bytes;
    return 0;
}

bool vv_exclusive_step(VvPool *pool)
{
    struct VvExclusive *counts = vv_jobs_exclusive(pool);
    uint64_t bytes, *next;
    unsigned tries = 0;
    bool more;

    {
        VV_LOCKED(&counts->lock);
        next = g_queue_pop_head(&counts->order);
        if (!next)
            return false;
        tries = GPOINTER_TO_UINT(g_hash_table_lookup(counts->wanted, next));
        g_hash_table_remove(counts->wanted, next);
        more = counts->order.length > 0;
    }
    if (count_now(pool, counts, *next, &bytes) == -EAGAIN) {
        want(counts, *next, tries + 1);
        more = true;
    }
    g_free(next);
    return more;
}

/* The id of a LUN and the size that it has; false: there is none. */
static bool find_size(VvPool *pool, const char *name, uint64_t *ret_id, uint64_t *ret_bytes)
{
    VV_META_READ(pool->meta);
    const VvLun *lun = vv_find_lun(pool, name, NULL);

    if (!lun)
        return false;
    *ret_id = lun->id;
    *ret_bytes = lun->size_bytes;
    return true;
}

bool vv_pool_resize_frees(VvPool *pool, const char *name, uint64_t size_bytes, uint64_t *ret_bytes)
{
    uint64_t id, old_bytes, blocks = 0;

    if (!find_size(pool, name, &id, &old_bytes))
        return false;
    for (unsigned try = 0; size_bytes < old_bytes && try < VV_EXCLUSIVE_TRIES; try++) {
        int result = vv_space_cut(pool->meta, id, size_bytes, &blocks);

        if (result == 0)
            break;
        if (result != -EAGAIN || try + 1 == VV_EXCLUSIVE_TRIES)
            return false;
    }
    *ret_bytes = blocks << VV_BLOCK_SHIFT;
    return true;
}

bool vv_pool_exclusive(VvPool *pool, uint64_t object_id, bool wait, uint64_t *ret_bytes)
{
    struct VvExclusive *counts = vv_jobs_exclusive(pool);
    g_autoptr(GArray) ids = g_array_new(FALSE, FALSE, sizeof object_id);
    uint64_t change = 0, bytes = 0;
    int result = pool->options.guest ? -ENODATA : look_up(pool, object_id, ids, &change, &bytes); /* it does not know what shares blocks */

    if (result < 0)
        return false;
    if (result == 1 || recall(counts, object_id, change, &bytes)) {
        *ret_bytes = bytes;
        return true;
    }
    if (!wait) {
        want(counts, object_id, 0);
        vv_jobs_kick(pool);
        return false;
    }
    for (unsigned try = 0; try < VV_EXCLUSIVE_TRIES; try++) {
        result = count_now(pool, counts, object_id, &bytes);
        if (result == 0)
            *ret_bytes = bytes;
        if (result != -EAGAIN)
            return result == 0;
    }
    return false;
}
