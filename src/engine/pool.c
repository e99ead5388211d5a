/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The open pool: its parts, in which order they begin and end, checkpoints, failure.
 *
 *   open                                     close
 *   lock                                     no new requests, no new handles (closing)
 *   metadata: store, replay                  closed objects seen to; flush of all views
 *   disks                                    jobs, ticker
 *   events, mount, counters                  committer (after a last flush there is nothing left for it)
 *   tables: eras, segments, pages, space     last checkpoint, checkpointer
 *   checkpointer, committer, look-up         service worker, look-up
 *   service worker, ticker, jobs             views, tables
 *   hooks of meta; orphans, elastic LUNs     disks, metadata, lock
 *
 * P1  Nothing is applied before the hooks are set, and the tables are made from the catalog before that.
 * P2  The lock is held from before anything is read until after everything is closed.
 * P3  What can be read when the pool is open is durable as soon as a flush is answered. What a process that died wrote in place is read
 *     from the kernel's memory, and no view knows that it wrote it: so disks are synced before anybody reads, or (pending_adopt.c) by
 *     each LUN's first flush. */
#include "alloc_private.h"
#include "cluster_log.h"
#include "damage.h"
#include "done.h"
#include "elsewhere.h"
#include "holds.h"
#include "incarnation.h"
#include "intent.h"
#include "io_state.h"
#include "members.h"
#include "news.h"
#include "pending_slots.h"
#include "pool_private.h"
#include "reach.h"
#include "scrub.h"
#include "serving.h"
#include "sharing.h"
#include "slab.h"
#include "transaction.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>

#define LOCK_POLL_MS 10u

/* ---- the lock: on the directory itself, so that nothing else opens the pool through this library. The daemon has a lock file
 * of its own, taken before, which also tells who serves the pool and where. */

int vv_pool_take_lock(const char *directory, unsigned wait_ms, GError **error)
{
    uint64_t deadline_ms = vv_monotonic_ms() + wait_ms;
    vv_autofd int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int taken;

    if (fd < 0) {
        vv_set_error_errno(error, errno, directory, "%s cannot be opened", directory);
        return -1;
    }
    while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno != EWOULDBLOCK && errno != EINTR) {
            vv_set_error_errno(error, errno, directory, "%s cannot be locked", directory);
            return -1;
        }
        if (vv_monotonic_ms() >= deadline_ms) {
            vv_set_error(error, VV_ERROR_BUSY, directory, "vvfs-admin pool list",
                "the pool in %s is served by another process", directory);
            return -1;
        }
        g_usleep(LOCK_POLL_MS * 1000);
    }
    taken = fd;
    fd = -1;
    return taken;
}

char *vv_pool_disk_path(const char *directory, const char *path)
{
    return *path == '/' || vv_is_address(path) ? g_strdup(path) : g_build_filename(directory, path, NULL);
}

/* ---- checkpoints */

/* One event when room becomes scarce, and one when there is some again. */
static void checkpoint_over(VvPool *pool, int result, bool was_cramped)
{
    bool cramped = vv_meta_is_cramped(pool->meta);

    if (result == 0)
        atomic_fetch_add_explicit(&pool->checkpoints, 1, memory_order_relaxed);
    if (cramped && !was_cramped)
        vv_pool_event(pool, VV_SEVERITY_CRITICAL, "map-full", NULL,
            "there is no room for a larger map in %s: writes that need new space, snapshots and new LUNs are refused until there is",
            pool->directory);
    else if (!cramped && was_cramped)
        vv_pool_event(pool, VV_SEVERITY_INFO, "map-full", NULL, "there is room for the map again");
    if (cramped)
        vv_ticker_kick(pool->ticker);
    if (result == -ESHUTDOWN)
        vv_log(VV_LOG_INFO, "the map in %s/map was not compared with its checksums to the end: the journal keeps what it lacks", pool->directory);
    else if (result < 0 && result != -ENOSPC)
        vv_pool_fail(pool, "the map in %s/map cannot be written: %s", pool->directory, g_strerror(-result));
}

static void *checkpointer_main(void *user)
{
    VvPool *pool = user;
    struct VvPoolThreads *threads = pool->threads;

    pthread_setname_np(pthread_self(), "vv-checkpoint");
    pthread_mutex_lock(&threads->lock);
    for (;;) {
        uint64_t number;
        bool was_cramped;
        int result;

        while (threads->checkpoint_done == threads->checkpoint_asked && !threads->stopping)
            pthread_cond_wait(&threads->asked, &threads->lock);
        if (threads->checkpoint_done == threads->checkpoint_asked)
            break;
        number = threads->checkpoint_asked;
        pthread_mutex_unlock(&threads->lock);
        was_cramped = vv_meta_is_cramped(pool->meta);
        result = vv_meta_checkpoint(pool->meta);
        checkpoint_over(pool, result, was_cramped);
        pthread_mutex_lock(&threads->lock);
        threads->checkpoint_result = result;
        threads->checkpoint_done = number;
        pthread_cond_broadcast(&threads->done);
    }
    pthread_mutex_unlock(&threads->lock);
    return NULL;
}

int vv_pool_checkpoint_now(VvPool *pool)
{
    struct VvPoolThreads *threads = pool->threads;
    uint64_t number;

    VV_LOCKED(&threads->lock);
    g_assert(threads->checkpointer_runs);
    number = ++threads->checkpoint_asked;
    pthread_cond_signal(&threads->asked);
    while (threads->checkpoint_done < number)
        pthread_cond_wait(&threads->done, &threads->lock);
    return threads->checkpoint_result;
}

void vv_pool_checkpoint_kick(VvPool *pool)
{
    struct VvPoolThreads *threads = pool->threads;

    VV_LOCKED(&threads->lock);
    if (threads->checkpoint_asked > threads->checkpoint_done + 1)
        return; /* one is under way and another is asked for: that covers everything */
    threads->checkpoint_asked++;
    pthread_cond_signal(&threads->asked);
}

void vv_pool_checkpoint_wait(VvPool *pool)
{
    struct VvPoolThreads *threads = pool->threads;
    uint64_t number;

    atomic_fetch_add_explicit(&pool->checkpoint_waits, 1, memory_order_relaxed);
    VV_LOCKED(&threads->lock);
    g_assert(threads->checkpointer_runs);
    number = threads->checkpoint_done + 1;
    threads->checkpoint_asked = MAX(threads->checkpoint_asked, number);
    pthread_cond_signal(&threads->asked);
    while (threads->checkpoint_done < number)
        pthread_cond_wait(&threads->done, &threads->lock);
}

/* ---- failure and ends */

void vv_pool_fail(VvPool *pool, const char *format, ...)
{
    char *why, *none = NULL;
    va_list args;

    va_start(args, format);
    why = g_strdup_vprintf(format, args);
    va_end(args);
    if (!atomic_compare_exchange_strong(&pool->failure, &none, why)) {
        g_free(why);
        return;
    }
    atomic_store(&pool->failed, true); /* before anybody is woken, and seen by who parks afterwards */
    vv_pool_event(
        pool, VV_SEVERITY_CRITICAL, "failed", NULL, "the pool has failed and takes no writes any more: %s", why);
    vv_views_abort_waiting(pool);
    vv_jobs_kick(pool);
}

void vv_pool_abort_waiting(VvPool *pool)
{
    atomic_store(&pool->abort_waiting, true);
    if (pool->elsewhere)
        pool->elsewhere->abort_waiting(pool->elsewhere->user);
    vv_views_abort_waiting(pool);
}

bool vv_pool_aborts_waiting(const VvPool *pool)
{
    return atomic_load(&pool->abort_waiting);
}

int vv_pool_flush(VvPool *pool)
{
    g_autoptr(VvViewList) views = vv_views_all(pool);
    int first = 0;

    for (unsigned i = 0; i < views->len; i++) {
        VvView *view = views->at[i];
        int result = vv_view_is_lun(view) ? vv_view_flush(view) : 0;

        if (result < 0 && result != -ESTALE && first == 0)
            first = result;
    }
    return first;
}

const char *vv_pool_directory(const VvPool *pool)
{
    return pool->directory;
}

VvMeta *vv_pool_meta(VvPool *pool)
{
    return pool->meta;
}

const char *vv_pool_failure(const VvPool *pool)
{
    return atomic_load(&pool->failure);
}

bool vv_pool_is_read_only(const VvPool *pool)
{
    return pool->read_only;
}

void vv_pool_set_hooks(VvPool *pool, const VvPoolHooks *hooks, void *user)
{
    vv_config_lock(pool);
    pool->hooks = hooks ? *hooks : (VvPoolHooks){ .object_changed = NULL };
    pool->hooks_user = user;
    vv_config_unlock(pool);
}

/* ---- hooks of meta: with its write lock held */

static void on_page_changed(void *user, uint64_t family, const VvPageKey *key, const VvPage *page)
{
    VvPool *pool = user;

    if (page)
        vv_page_cache_refresh(pool->cache, family, key, page);
    else
        vv_page_cache_invalidate(pool->cache, key->branch, key->region);
}

static void on_sums_set(
    void *user, uint64_t family, uint32_t segment, uint32_t first, uint32_t count, const uint32_t *sums)
{
    VvPool *pool = user;

    if (sums)
        vv_sum_cache_add_family(pool->sums, family);
    vv_sum_cache_set(pool->sums, family, vv_place(segment, first, false), count, sums);
}

static void on_blocks_freed(void *user, uint64_t family, uint32_t segment, uint32_t first, uint32_t count)
{
    VvPool *pool = user;

    if (pool->without_disks)
        return;
    atomic_fetch_add_explicit(&pool->reclaimed_blocks, count, memory_order_relaxed);
    vv_alloc_freed(pool->alloc, family, segment, first, count);
}

static void on_segment_granted(void *user, const VvSegment *segment)
{
    VvPool *pool = user;

    if (pool->without_disks)
        return;
    vv_segments_granted(pool, segment);
    vv_alloc_granted(pool->alloc, segment);
}

static void on_segment_shrunk(void *user, const VvSegment *segment, uint8_t old_shift)
{
    VvPool *pool = user;

    if (pool->without_disks)
        return;
    vv_alloc_shrunk(pool->alloc, segment, old_shift);
    vv_segments_shrunk(pool, segment, old_shift);
}

static void on_job_added(void *user, const VvJob *job)
{
    vv_jobs_added(user, job);
    vv_repack_added(((VvPool *) user)->repack, job);
    vv_scrub_added(((VvPool *) user)->scrub, job);
}

/* Of the map's watch: its own thread. */
static void map_trouble_cb(void *user, const char *why)
{
    vv_pool_fail(user, "%s", why);
}

static void on_job_ended(void *user, const VvJob *job)
{
    vv_jobs_ended(user, job);
}

static void on_member_set(void *user, uint8_t kind, uint64_t id)
{
    VvPool *pool = user;

    vv_shares_note(pool, kind, id);
    if (kind != VV_MEMBER_SHARE && pool->options.members_changed)
        pool->options.members_changed(pool->options.members_user);
}

static void on_op_applied(void *user, const VvOp *op)
{
    VvPool *pool = user;

    if (pool->options.op_applied)
        pool->options.op_applied(pool->options.members_user, op);
}

/* The thread of news: another node has changed who may use what. */
static void settle_shares_cb(void *user)
{
    vv_pool_shares_settle(user);
}

static const VvMetaHooks meta_hooks = {
    .member_set = on_member_set,
    .op_applied = on_op_applied,
    .page_changed = on_page_changed,
    .sums_set = on_sums_set,
    .blocks_freed = on_blocks_freed,
    .segment_granted = on_segment_granted,
    .segment_shrunk = on_segment_shrunk,
    .job_added = on_job_added,
    .job_ended = on_job_ended,
};

/* ---- open */

static VvPool *pool_new(const char *directory, const VvPoolOptions *options)
{
    VvPool *pool = g_new0(VvPool, 1);

    vv_slab_start();

    pool->directory = g_canonicalize_filename(directory, NULL);
    pool->options = *options;
    pool->read_only = options->read_only;
    pool->without_disks = options->without_disks;
    pool->elsewhere = options->without_disks ? options->elsewhere : NULL;
    pthread_mutex_init(&pool->config_lock, NULL);
    vv_claims_init(&pool->claims);
    pool->holds = vv_holds_new();
    pool->dones = vv_dones_new();
    pool->intents = vv_intents_new();
    pthread_mutex_init(&pool->grant_lock, NULL);
    pthread_mutex_init(&pool->disks_lock, NULL);
    pthread_mutex_init(&pool->views_lock, NULL);
    pthread_mutex_init(&pool->stats_lock, NULL);
    pool->disks = g_ptr_array_new();
    pool->disk_slots = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
    pool->views = g_hash_table_new(g_int64_hash, g_int64_equal);
    pool->events = vv_event_log_new();
    if (options->have_events)
        vv_event_log_keep(pool->events, options->events_fd);
    pool->mount = vv_mount_info_new();
    pool->lun_stats = vv_lun_stats_new();
    pool->shares = vv_shares_new();
    pthread_mutex_init(&pool->settle_lock, NULL);
    pool->threads = g_new0(struct VvPoolThreads, 1);
    pool->threads->lock_fd = -1;
    pthread_mutex_init(&pool->threads->lock, NULL);
    pthread_cond_init(&pool->threads->asked, NULL);
    pthread_cond_init(&pool->threads->done, NULL);
    pool->threads->adoptions = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, vv_adoption_free);
    return pool;
}

static VvDisk *open_disk(VvPool *pool, const VvUuid *pool_uuid, const VvDiskInfo *info, const char *path, GError **error)
{
    VvLabel label;

    if (!vv_is_node_address(path))
        return vv_disk_open(path, pool_uuid, &info->uuid, pool->read_only, pool->options.lock_wait_ms, error);
    vv_far_label(pool, info, &label);
    return vv_disk_open_far(pool->options.reach, path, &label, error);
}

/* Those of the records that are not open. @early: of a cluster the newest entries are not applied yet, so a disk that cannot be opened may
 * be one that was removed, and is somebody else's by now; when they are it counts, and what was added since is opened. */
static bool open_disks(VvPool *pool, bool early, GError **error)
{
    bool lags = early && atomic_load(&pool->cluster);
    g_autoptr(GPtrArray) paths = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GArray) infos = g_array_new(FALSE, FALSE, sizeof(VvDiskInfo));
    VvUuid pool_uuid;

    if (pool->without_disks)
        return true;
    {
        VV_META_READ(pool->meta);
        GPtrArray *disks = vv_meta_disks(pool->meta);

        pool_uuid = vv_meta_pool(pool->meta)->uuid;
        for (unsigned i = 0; i < disks->len; i++) {
            g_array_append_vals(infos, g_ptr_array_index(disks, i), 1);
            g_ptr_array_add(
                paths, vv_pool_disk_path(pool->directory, ((const VvDiskInfo *) g_ptr_array_index(disks, i))->path));
        }
    }
    for (unsigned i = 0; i < infos->len; i++) {
        const VvDiskInfo *info = &g_array_index(infos, VvDiskInfo, i);
        g_autoptr(GError) why = NULL;
        VvDisk *disk;

        if (g_hash_table_contains(pool->disk_slots, &info->id))
            continue;
        disk = open_disk(pool, &pool_uuid, info, g_ptr_array_index(paths, i), &why);
        if (!disk && lags)
            continue;
        if (!disk) {
            g_propagate_prefixed_error(error, g_steal_pointer(&why), "disk %s: ", info->name);
            return false;
        }
        vv_pool_attach_disk(pool, info->id, disk);
    }
    return true;
}

/* The newest entries are applied: disks are those of the records. */
static bool follow_disks(VvPool *pool, GError **error)
{
    g_autoptr(GArray) gone = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    GHashTableIter iter;
    void *id;

    if (pool->without_disks || !atomic_load(&pool->cluster))
        return true;
    {
        VV_META_READ(pool->meta);
        g_hash_table_iter_init(&iter, pool->disk_slots);
        while (g_hash_table_iter_next(&iter, &id, NULL))
            if (!vv_meta_disk(pool->meta, *(const uint64_t *) id))
                g_array_append_vals(gone, id, 1);
    }
    for (unsigned i = 0; i < gone->len; i++)
        vv_disk_close(vv_pool_detach_disk(pool, g_array_index(gone, uint64_t, i)));
    if (!open_disks(pool, false, error))
        return false;
    vv_segments_disks_changed(pool);
    return true;
}

/* P3. A disk that fails remembers it: flushes that need it fail, all else goes on. */
static void sync_disks(VvPool *pool)
{
    for (unsigned i = 0; i < pool->disks->len; i++) {
        VvDisk *disk = g_ptr_array_index(pool->disks, i);
        int result = !disk || vv_pending_disk_inherits(pool, i) ? 0 : vv_disk_sync(disk); /* else the first flush of each LUN does it: the mount waits */

        if (result < 0)
            vv_pool_event(pool, VV_SEVERITY_CRITICAL, "disk", vv_disk_label(disk)->disk_name,
                "what a process that died had written to disk %s cannot be synced: %s", vv_disk_label(disk)->disk_name,
                g_strerror(-result));
    }
}

static void *service_main(void *user)
{
    pthread_setname_np(pthread_self(), "vv-service");
    vv_worker_run(user);
    return NULL;
}

static bool start_thread(pthread_t *thread, void *(*run)(void *), void *user, bool *ret_runs, GError **error)
{
    int err = pthread_create(thread, NULL, run, user);

    if (err != 0)
        vv_set_error_errno(error, err, NULL, "a thread cannot be started");
    *ret_runs = err == 0;
    return err == 0;
}

static VvSumCache *make_sum_cache(VvPool *pool)
{
    VvSumCache *cache = vv_sum_cache_new(VV_SUM_CACHE_BYTES);
    VV_META_READ(pool->meta);
    GPtrArray *families = vv_meta_families(pool->meta);

    for (unsigned i = 0; i < families->len; i++) {
        const VvFamily *family = g_ptr_array_index(families, i);

        if (family->has_sums)
            vv_sum_cache_add_family(cache, family->id);
    }
    return cache;
}

/* There is memory again: writes that wait for the journal go on. */
static void room_cb(void *pool)
{
    vv_pending_wake(pool);
}

/* Of a cluster: what was journalled is applied as the cluster agrees. */
static bool join_log(VvPool *pool, GError **error)
{
    const VvClusterLog *log = atomic_load(&pool->cluster);

    return !log || (log->attach(log->user, pool, error) && log->ready(log->user, error));
}

static bool start_parts(VvPool *pool, GError **error)
{
    pool->eras = vv_eras_new();
    pool->segments = vv_segments_new(pool);
    pool->cache = vv_page_cache_new(VV_PAGE_CACHE_BYTES);
    pool->sums = make_sum_cache(pool);
    pool->damages = vv_damages_new(pool);
    pool->io_pool = vv_io_pool_new();
    pool->alloc = vv_alloc_new(pool);
    pool->jobs = vv_jobs_new(pool);
    pool->repack = vv_repack_new(pool);
    pool->scrub = vv_scrub_new(pool);
    vv_meta_set_hooks(pool->meta, &meta_hooks, pool); /* P1 */
    if (!start_thread(&pool->checkpointer, checkpointer_main, pool, &pool->threads->checkpointer_runs, error))
        return false;
    pool->news = vv_news_new(vv_meta_applied_index(pool->meta));
    vv_news_on_shared(pool->news, settle_shares_cb, pool);
    pool->committer = vv_committer_new(pool);
    pool->lookup = vv_lookup_new(pool);
    pool->service = vv_worker_new(VV_SERVICE_WORKER, false, error);
    if (!pool->service ||
        !start_thread(&pool->service_thread, service_main, pool->service, &pool->threads->service_runs, error))
        return false;
    if (!join_log(pool, error) || !follow_disks(pool, error))
        return false;
    vv_alloc_begin(pool->alloc);
    if (!vv_pending_adopt(pool, error)) /* while nobody journals */
        return false;
    pool->ticker = vv_ticker_new(pool);
    vv_ticker_kick(pool->ticker);
    vv_slab_watch(room_cb, pool);
    if (pool->without_disks) /* what works on data is the affair of the node that has them */
        return vv_meta_watch(pool->meta, map_trouble_cb, pool, error);
    if (!pool->read_only) {
        int result;

        sync_disks(pool);
        result = vv_pool_settle_all(pool);

        if (result < 0) {
            vv_set_error_errno(error, result, pool->directory, "what the last run left open cannot be cleared away");
            return false;
        }
    }
    return vv_meta_watch(pool->meta, map_trouble_cb, pool, error) && vv_jobs_start(pool, error) && vv_scrub_start(pool->scrub, error) &&
           (pool->read_only || vv_repack_start(pool->repack, error));
}

static bool check_cluster(VvPool *pool, GError **error)
{
    const VvClusterLog *log = pool->options.cluster;

    if (pool->options.guest) /* CL4 */
        atomic_store(&pool->cluster, log);
    if (!vv_meta_is_cluster(pool->meta))
        return true;
    if (!log || pool->read_only) {
        vv_set_error(error, VV_ERROR_UNSUPPORTED, pool->directory, NULL, "the pool in %s is one of several nodes: %s", pool->directory,
            log ? "it cannot be opened read-only" : "it is opened by a daemon that talks to the others");
        return false;
    }
    vv_meta_set_base_source(pool->meta, &log->base);
    atomic_store(&pool->cluster, log);
    return true;
}

static bool open_meta(VvPool *pool, GError **error)
{
    VvOpening opening = { .check = vv_pending_check_cb, .user = pool, .map_check = pool->options.takes_over ? VV_MAP_LATE : VV_MAP_BY_SIZE };

    while (opening.number == 0)
        vv_random_bytes(&opening.number, sizeof opening.number);
    pool->opening = opening.number;
    pool->meta = vv_meta_open_as(pool->directory, pool->read_only || pool->options.guest, pool->options.run_ops, &opening, error);
    if (!pool->meta)
        return false;
    vv_shares_load(pool);
    return check_cluster(pool, error);
}

static void pool_free(VvPool *pool);

VvPool *vv_pool_open(const char *directory, const VvPoolOptions *options, GError **error)
{
    static const VvPoolOptions none;
    VvPool *pool = pool_new(directory, options ? options : &none);
    g_autofree char *name = NULL;
    VvUuid uuid;

    if (!vv_meta_identify(pool->directory, &name, &uuid, error))
        goto fail;
    pool->threads->lock_fd = vv_pool_take_lock(pool->directory, pool->options.lock_wait_ms, error);
    if (pool->threads->lock_fd < 0)
        goto fail;
    if (!vv_serving_check(pool->directory, error) || !vv_pending_attach(pool, &uuid, error) || !open_meta(pool, error) ||
        !vv_pending_own(pool, error) || !open_disks(pool, true, error) || !vv_serving_begin(pool, error) || !start_parts(pool, error))
        goto fail;
    return pool;
fail:
    pool_free(pool);
    return NULL;
}

/* ---- close */

static void stop_threads(VvPool *pool)
{
    struct VvPoolThreads *threads = pool->threads;

    if (pool->meta)
        vv_meta_unwatch(pool->meta);
    vv_slab_unwatch(room_cb, pool);
    vv_repack_stop(pool->repack);
    vv_scrub_stop(pool->scrub);
    vv_jobs_stop(pool);
    if (pool->alloc)
        vv_alloc_stop(pool->alloc); /* it commits grants */
    vv_ticker_stop(pool->ticker);
    if (threads->service_runs) {
        vv_worker_stop(pool->service);
        pthread_join(pool->service_thread, NULL);
    }
    if (atomic_load(&pool->cluster))
        atomic_load(&pool->cluster)->detach(atomic_load(&pool->cluster)->user);
    g_clear_pointer(&pool->committer, vv_committer_free);
    g_clear_pointer(&pool->news, vv_news_free);
    g_clear_pointer(&pool->lookup, vv_lookup_free);
    if (threads->checkpointer_runs) {
        vv_meta_give_up_check(pool->meta); /* a checkpoint is not worth waiting for it */
        if (!pool->read_only && !pool->options.guest && !atomic_load(&pool->failed))
            (void) vv_pool_checkpoint_now(pool); /* a failure has told itself; the journal holds everything */
        pthread_mutex_lock(&threads->lock);
        threads->stopping = true;
        pthread_cond_signal(&threads->asked);
        pthread_mutex_unlock(&threads->lock);
        pthread_join(pool->checkpointer, NULL);
    }
    g_clear_pointer(&pool->service, vv_worker_free);
}

/* What is pending in a pool that failed cannot be journalled any more; a successor may find it. */
static void drop_views(VvPool *pool)
{
    g_autoptr(VvViewList) views = vv_views_all(pool);

    for (unsigned i = 0; i < views->len; i++) {
        VvRetired retired;

        vv_view_retire(views->at[i], &retired);
        vv_retired_finish(pool, &retired, true);
    }
}

static void pool_free(VvPool *pool)
{
    stop_threads(pool);
    g_clear_pointer(&pool->threads->adoptions, g_hash_table_unref); /* they hold views */
    drop_views(pool);
    g_assert(g_hash_table_size(pool->views) == 0);
    g_clear_pointer(&pool->ticker, vv_ticker_free); /* what is kicked until here */
    g_clear_pointer(&pool->ticker, vv_ticker_free);
    g_clear_pointer(&pool->jobs, vv_jobs_free);
    g_clear_pointer(&pool->repack, vv_repack_free);
    g_clear_pointer(&pool->io_pool, vv_io_pool_free);
    g_clear_pointer(&pool->alloc, vv_alloc_free);
    g_clear_pointer(&pool->cache, vv_page_cache_free);
    g_clear_pointer(&pool->sums, vv_sum_cache_free);
    g_clear_pointer(&pool->damages, vv_damages_free);
    g_clear_pointer(&pool->scrub, vv_scrub_free);
    g_clear_pointer(&pool->segments, vv_segments_free);
    g_clear_pointer(&pool->eras, vv_eras_free);
    for (unsigned i = 0; i < pool->disks->len; i++)
        vv_disk_close(g_ptr_array_index(pool->disks, i));
    g_ptr_array_unref(pool->disks);
    g_hash_table_unref(pool->disk_slots);
    g_hash_table_unref(pool->views);
    g_clear_pointer(&pool->meta, vv_meta_close);
    g_clear_pointer(&pool->left, vv_left_free);
    g_clear_pointer(&pool->pending_file, vv_pending_file_close);
    vv_serving_end(pool);
    vv_close_fd(&pool->threads->lock_fd); /* P2 */
    pthread_cond_destroy(&pool->threads->asked);
    pthread_cond_destroy(&pool->threads->done);
    pthread_mutex_destroy(&pool->threads->lock);
    g_free(pool->threads);
    vv_lun_stats_free(pool->lun_stats);
    vv_shares_free(pool->shares);
    pthread_mutex_destroy(&pool->settle_lock);
    vv_dones_free(pool->dones);
    vv_intents_free(pool->intents);
    vv_mount_info_free(pool->mount);
    vv_event_log_free(pool->events);
    pthread_mutex_destroy(&pool->config_lock);
    vv_claims_clear(&pool->claims);
    vv_holds_free(pool->holds);
    pthread_mutex_destroy(&pool->grant_lock);
    pthread_mutex_destroy(&pool->disks_lock);
    pthread_mutex_destroy(&pool->views_lock);
    pthread_mutex_destroy(&pool->stats_lock);
    g_free(pool->failure);
    g_free(pool->directory);
    g_free(pool);
    vv_slab_stop();
}

void vv_pool_close(VvPool *pool)
{
    bool flushed;

    if (!pool)
        return;
    vv_pool_is_ending(pool);
    vv_jobs_drain_closed(pool);
    vv_config_lock(pool); /* a transaction under way ends first, */
    pthread_mutex_lock(&pool->claims.lock); /* and so does an open */
    atomic_store(&pool->closing, true);
    pthread_mutex_unlock(&pool->claims.lock);
    vv_config_unlock(pool);
    vv_transactions_wait_paused(pool);
    vv_config_lock(pool); /* and are over */
    vv_config_unlock(pool);
    flushed = !pool->read_only && !atomic_load(&pool->failed) && vv_pool_flush(pool) == 0;
    if (!flushed && !pool->read_only && !atomic_load(&pool->failed))
        vv_log(VV_LOG_ERROR, "not everything could be flushed while closing the pool in %s", pool->directory);
    if (!pool->read_only && !atomic_load(&pool->failed))
        (void) vv_flush_background(pool, UINT64_MAX, NULL); /* mtimes; the ticker's end waits for it */
    if (flushed && !pool->without_disks)
        vv_incarnation_leave(pool);
    pool_free(pool);
}
