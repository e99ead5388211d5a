/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The table of jobs: what the catalog has now, and what it had and has no more. */
#include "jobs.h"

#include "error.h"
#include "pool_jobs.h"

struct VvJobTable {
    pthread_mutex_t lock;   /* guards all below; taken before the catalog's read lock */
    GPtrArray *items;       /* VvJobItem by number: known jobs, running and ended */
    GHashTable *cancelling; /* numbers, uint64_t * owned */
};

void vv_job_item_free(VvJobItem *item)
{
    if (!item)
        return;
    g_free(item->kind);
    g_free(item->object);
    g_free(item);
}

VvJobTable *vv_job_table_new(void)
{
    VvJobTable *table = g_new0(VvJobTable, 1);

    pthread_mutex_init(&table->lock, NULL);
    table->items = g_ptr_array_new_with_free_func((GDestroyNotify) vv_job_item_free);
    table->cancelling = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
    return table;
}

void vv_job_table_free(VvJobTable *table)
{
    if (!table)
        return;
    g_ptr_array_unref(table->items);
    g_hash_table_unref(table->cancelling);
    pthread_mutex_destroy(&table->lock);
    g_free(table);
}

static uint64_t number_of(uint64_t id)
{
    return id & (((uint64_t) 1 << VV_ID_TAG_SHIFT) - 1);
}

static VvJobItem *find(GPtrArray *items, uint64_t number)
{
    for (unsigned i = 0; i < items->len; i++) {
        VvJobItem *item = items->pdata[i];

        if (item->number == number)
            return item;
    }
    return NULL;
}

static VvJobItem *copy_item(const VvJobItem *item)
{
    VvJobItem *copy = g_memdup2(item, sizeof(*item));

    copy->kind = g_strdup(item->kind);
    copy->object = g_strdup(item->object);
    return copy;
}

/* ---- bringing up to date; table->lock held */
static VvJobItem *add_item(VvJobTable *table, uint64_t id, VvJobKind kind, const char *lun, uint64_t created_ns)
{
    VvJobItem *item = g_new0(VvJobItem, 1);

    item->id = id;
    item->number = number_of(id);
    item->kind = g_strdup(kind == VV_JOB_MERGE ? "merge" : kind == VV_JOB_REPACK ? "repack" : kind == VV_JOB_SCRUB ? "scrub" : "reclaim");
    item->object = lun && *lun ? g_strdup(lun) : NULL;
    item->created_ns = created_ns;
    g_ptr_array_add(table->items, item);
    return item;
}

/* The catalog's read lock is held too. */
static void update_from_catalog(VvJobTable *table, const VvMeta *meta, const VvJob *job)
{
    VvJobItem *item = find(table->items, number_of(job->id));
    const VvLun *lun = vv_meta_lun(meta, job->lun);

    if (!item)
        item = add_item(table, job->id, job->kind, lun ? lun->name : NULL, job->created_ns);
    item->done = job->done_pages;
    item->total = job->total_pages;
    item->state = job->state;
    item->ended = false;
}

static void mark_ended(VvJobTable *table, VvJobItem *item, uint64_t ended_ns, uint64_t errors)
{
    item->ended = true;
    item->ended_ns = ended_ns;
    item->state = g_hash_table_remove(table->cancelling, &item->number) ? VV_JOB_CANCELLED
                  : errors > 0                                                  ? VV_JOB_FAILED
                                                                                : VV_JOB_DONE;
    item->errors = errors;
    if (item->state != VV_JOB_CANCELLED)
        item->done = item->total;
    item->rate_bytes = 0;
    item->seconds_left = 0;
}

/* Those that nobody saw running, too. After the catalog was looked at: what ended meanwhile is among them. */
static void update_from_ended(VvDaemon *daemon)
{
    VvJobTable *table = daemon->jobs;
    g_autoptr(GPtrArray) ended = vv_pool_ended_jobs(daemon->pool);

    for (unsigned i = 0; i < ended->len; i++) {
        const VvEndedJob *job = ended->pdata[i];
        VvJobItem *item = find(table->items, number_of(job->id));

        if (!item)
            item = add_item(table, job->id, job->kind, job->lun, job->created_ns);
        if (item->ended)
            continue;
        item->total = job->total_pages;
        mark_ended(table, item, job->ended_ns, job->errors);
    }
}

static void forget_old(VvJobTable *table)
{
    uint64_t oldest_ns = vv_now_ns() - (uint64_t) VV_ENDED_JOB_SECONDS * 1000000000u;
    unsigned ended = 0;

    /* Newest last: count from there. */
    for (unsigned i = table->items->len; i-- > 0;) {
        const VvJobItem *item = table->items->pdata[i];

        if (item->ended && (++ended > VV_ENDED_JOBS_MAX || item->ended_ns < oldest_ns))
            g_ptr_array_remove_index(table->items, i);
    }
}

static gint compare_items(gconstpointer a, gconstpointer b)
{
    const VvJobItem *const *left = a, *const *right = b;

    return (*left)->number < (*right)->number ? -1 : (*left)->number > (*right)->number;
}

static void refresh_locked(VvDaemon *daemon)
{
    VvJobTable *table = daemon->jobs;
    VvMeta *meta = vv_pool_meta(daemon->pool);
    g_autoptr(GHashTable) living = g_hash_table_new(g_int64_hash, g_int64_equal);
    GPtrArray *jobs;

    vv_meta_read_lock(meta);
    jobs = vv_meta_jobs(meta);
    for (unsigned i = 0; i < jobs->len; i++) {
        const VvJob *job = jobs->pdata[i];
        uint64_t number = number_of(job->id);

        update_from_catalog(table, meta, job);
        g_hash_table_add(living, &find(table->items, number)->number);
    }
    vv_meta_read_unlock(meta);
    update_from_ended(daemon);
    for (unsigned i = 0; i < table->items->len; i++) {
        VvJobItem *item = table->items->pdata[i];
        VvJobRate rate;

        if (item->ended)
            continue;
        if (!g_hash_table_contains(living, &item->number))
            mark_ended(table, item, vv_now_ns(), 0);
        else if (vv_pool_job_rate(daemon->pool, item->id, &rate)) {
            item->rate_bytes = rate.rate_bytes;
            item->seconds_left = rate.seconds_left;
        }
    }
    g_ptr_array_sort(table->items, compare_items);
    forget_old(table);
}

GPtrArray *vv_job_items(VvDaemon *daemon, bool all)
{
    GPtrArray *copies = g_ptr_array_new_with_free_func((GDestroyNotify) vv_job_item_free);
    VV_LOCKED(&daemon->jobs->lock);

    refresh_locked(daemon);
    for (unsigned i = 0; i < daemon->jobs->items->len; i++) {
        const VvJobItem *item = daemon->jobs->items->pdata[i];

        if (all || !item->ended)
            g_ptr_array_add(copies, copy_item(item));
    }
    return copies;
}

VvJobItem *vv_job_item(VvDaemon *daemon, uint64_t number, GError **error)
{
    g_autofree char *text = g_strdup_printf("%" G_GUINT64_FORMAT, number);
    VvJobItem *item;
    VV_LOCKED(&daemon->jobs->lock);

    refresh_locked(daemon);
    item = find(daemon->jobs->items, number);
    if (item)
        return copy_item(item);
    vv_set_error(error, VV_ERROR_NOT_FOUND, text, "vvfs-admin job list", "no job %s in pool %s", text, daemon->name);
    return NULL;
}

VvJobItem *vv_job_item_or_ended(VvDaemon *daemon, uint64_t id, const char *kind, const char *object)
{
    VvJobTable *table = daemon->jobs;
    VvJobItem *item;
    VV_LOCKED(&table->lock);

    refresh_locked(daemon);
    item = find(table->items, number_of(id));
    if (!item) {
        item = g_new0(VvJobItem, 1);
        item->id = id;
        item->number = number_of(id);
        item->kind = g_strdup(kind);
        item->object = g_strdup(object);
        item->created_ns = vv_now_ns();
        mark_ended(table, item, vv_now_ns(), 0);
        g_ptr_array_add(table->items, item);
        g_ptr_array_sort(table->items, compare_items);
    }
    return copy_item(item);
}

void vv_job_cancelling(VvDaemon *daemon, uint64_t number, bool cancelling)
{
    VV_LOCKED(&daemon->jobs->lock);

    if (cancelling)
        g_hash_table_add(daemon->jobs->cancelling, g_memdup2(&number, sizeof(number)));
    else
        g_hash_table_remove(daemon->jobs->cancelling, &number);
}

JsonObject *vv_job_json(const VvJobItem *item)
{
    JsonObject *object = json_object_new();

    vv_json_set_u64(object, "id", item->number);
    vv_json_set_string(object, "kind", item->kind);
    vv_json_set_string(object, "object", item->object);
    vv_json_set_u64(object, "done", item->done);
    vv_json_set_u64(object, "total", item->total);
    vv_json_set_string(object, "state", vv_job_state_name(item->state));
    if (item->rate_bytes)
        vv_json_set_u64(object, "rate", item->rate_bytes);
    else
        vv_json_set_null(object, "rate");
    if (item->seconds_left)
        vv_json_set_u64(object, "seconds_left", item->seconds_left);
    else
        vv_json_set_null(object, "seconds_left");
    return object;
}

/* In the shape of the protocol's errors. */
static void set_error(JsonObject *object, const VvJobItem *item)
{
    JsonObject *error = vv_json_set_object(object, "error");
    g_autofree char *message = g_strdup_printf("the scrub found %" G_GUINT64_FORMAT " error%s", item->errors, item->errors == 1 ? "" : "s");

    vv_json_set_string(error, "code", "damaged");
    vv_json_set_null(error, "object");
    vv_json_set_string(error, "message", message);
    vv_json_set_string(error, "hint", "vvfs-admin doctor");
}

JsonObject *vv_job_json_show(const VvJobItem *item)
{
    JsonObject *object = vv_job_json(item);

    if (item->errors > 0)
        set_error(object, item);
    else
        vv_json_set_null(object, "error");
    vv_json_set_time(object, "created", item->created_ns);
    return object;
}
