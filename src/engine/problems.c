/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Problems: what is wrong with the pool, worst first, each with the commands that mend it; and the one word for all of it. */
#include "problems.h"

#include "disk_private.h"
#include "pool_private.h"
#include "transaction.h"

#include <string.h>

#define REMOVABLE_TOLD 3u

static void problem_free(void *data)
{
    VvProblem *problem = data;

    g_free(problem->code);
    g_free(problem->object);
    g_free(problem->message);
    g_strfreev(problem->fix);
    g_strfreev(problem->effect);
    g_free(problem);
}

GPtrArray *vv_problems_new(void)
{
    return g_ptr_array_new_with_free_func(problem_free);
}

/* Takes @message. @fixes: command, effect ("" or NULL: none), command, effect, ..., owned by the caller. */
void vv_problems_add(GPtrArray *problems, VvSeverity severity, const char *code, const char *object, char *message,
    const GPtrArray *fixes)
{
    VvProblem *problem = g_new0(VvProblem, 1);
    unsigned count = fixes ? fixes->len / 2 : 0;

    problem->severity = severity;
    problem->code = g_strdup(code);
    problem->object = g_strdup(object ? object : "");
    problem->message = message;
    problem->fix = g_new0(char *, count + 1);
    problem->effect = g_new0(char *, count + 1);
    for (unsigned i = 0; i < count; i++) {
        const char *effect = g_ptr_array_index(fixes, 2 * i + 1);

        problem->fix[i] = g_strdup(g_ptr_array_index(fixes, 2 * i));
        problem->effect[i] = g_strdup(effect ? effect : "");
    }
    g_ptr_array_add(problems, problem);
}

static int worst_first(const void *a, const void *b)
{
    const VvProblem *x = *(VvProblem *const *) a, *y = *(VvProblem *const *) b;

    return (int) y->severity - (int) x->severity;
}

void vv_problems_sort(GPtrArray *problems)
{
    g_ptr_array_sort(problems, worst_first);
}

GPtrArray *vv_fixes_new(void)
{
    return g_ptr_array_new_with_free_func(g_free);
}

void vv_fixes_add(GPtrArray *fixes, char *command, char *effect)
{
    g_ptr_array_add(fixes, command);
    g_ptr_array_add(fixes, effect);
}

/* ---- space */

unsigned vv_space_used_percent(const VvSpaceSummary *space)
{
    /* What families hold unused is no other's: full is when nothing is free. */
    double taken = (double) space->total_bytes - (double) MIN(space->free_bytes, space->total_bytes);

    return space->total_bytes == 0 ? 0 : (unsigned) (taken * 100 / (double) space->total_bytes + 0.5);
}

bool vv_space_is_full(const VvSpaceSummary *space)
{
    return space->free_bytes < (UINT64_C(1) << VV_SEGMENT_SHIFT_MIN);
}

typedef struct {
    char *object;
    uint64_t id, bytes;
} Removable;

static void removable_clear(void *data)
{
    g_free(((Removable *) data)->object);
}

static int largest_first(const void *a, const void *b)
{
    const Removable *x = a, *y = b;

    return x->bytes < y->bytes ? 1 : x->bytes > y->bytes ? -1 : strcmp(x->object, y->object);
}

/* Points that restores left behind: what people forget. What each would free is told as far as it is counted. */
void vv_suggest_removals(VvPool *pool, const VvDiskSet *disks, GPtrArray *fixes)
{
    g_autoptr(GArray) list = g_array_new(FALSE, TRUE, sizeof(Removable));
    uint64_t now_ns = vv_now_ns();

    g_array_set_clear_func(list, removable_clear);
    {
        VV_META_READ(pool->meta);
        GPtrArray *luns = vv_meta_luns(pool->meta);

        for (unsigned i = 0; i < luns->len; i++) {
            const VvLun *lun = g_ptr_array_index(luns, i);

            if (disks && !vv_disk_set_equal(disks, vv_meta_lun_disks(pool->meta, lun)))
                continue;
            for (unsigned k = 0; k < lun->snapshots->len; k++) {
                const VvSnapshot *snapshot = g_ptr_array_index(lun->snapshots, k);
                Removable one = { .id = snapshot->id };

                if (snapshot->kind != VV_SNAPSHOT_RESTORE || vv_keep_holds(snapshot->keep_until_ns, now_ns))
                    continue;
                one.object = g_strdup_printf("%s@%s", lun->name, snapshot->name);
                g_array_append_val(list, one);
            }
        }
    }
    for (unsigned i = 0; i < list->len; i++) {
        Removable *one = &g_array_index(list, Removable, i);

        if (!vv_pool_exclusive(pool, one->id, false, &one->bytes))
            one->bytes = 0;
    }
    g_array_sort(list, largest_first);
    for (unsigned i = 0; i < list->len && i < REMOVABLE_TOLD; i++) {
        const Removable *one = &g_array_index(list, Removable, i);
        g_autofree char *bytes = vv_size_format(one->bytes);

        vv_fixes_add(fixes, g_strdup_printf("vvfs-admin snapshot remove %s", one->object),
            one->bytes > 0 ? g_strdup_printf("frees %s", bytes) : NULL);
    }
}

static void suggest_disks(GPtrArray *fixes)
{
    g_autoptr(GPtrArray) spares = vv_spare_disks("/sys");

    for (unsigned i = 0; i < spares->len; i++) {
        const VvSpareDisk *spare = g_ptr_array_index(spares, i);
        g_autofree char *bytes = vv_size_format(spare->size_bytes);

        vv_fixes_add(fixes, g_strdup_printf("vvfs-admin disk add %s", spare->device),
            g_strdup_printf("adds %s (empty, unused)", bytes));
    }
    if (spares->len == 0)
        vv_fixes_add(fixes, g_strdup("vvfs-admin disk add PATH"), NULL);
}

/* True: the pool is full. */
static bool look_at_space(VvPool *pool, const char *name, GPtrArray *problems)
{
    g_autoptr(GPtrArray) fixes = vv_fixes_new();
    VvSpaceSummary space;
    uint64_t warn;
    unsigned used;
    bool full;

    if (pool->options.guest) /* it knows of no space */
        return false;
    vv_pool_space(pool, &space);
    {
        VV_META_READ(pool->meta);

        warn = vv_setting_number(pool, "warn-used");
    }
    used = vv_space_used_percent(&space);
    full = vv_space_is_full(&space);
    if (!full && used < warn)
        return false;
    vv_suggest_removals(pool, NULL, fixes);
    suggest_disks(fixes);
    if (full)
        vv_problems_add(problems, VV_SEVERITY_CRITICAL, "full", name,
            g_strdup_printf("pool %s is full: no LUN can get more space", name), fixes);
    else
        vv_problems_add(
            problems, VV_SEVERITY_WARNING, "space", name, g_strdup_printf("pool %s is %u %% used", name, used), fixes);
    return full;
}

/* ---- disks, jobs, failure */

static void look_at_failure(VvPool *pool, const char *name, GPtrArray *problems)
{
    g_autoptr(GPtrArray) fixes = vv_fixes_new();
    const char *why = vv_pool_failure(pool);

    if (!why)
        return;
    if (vv_pool_mount(pool)) {
        vv_fixes_add(fixes, g_strdup_printf("umount %s", vv_pool_mount(pool)), g_strdup("ends the daemon"));
        vv_fixes_add(fixes, g_strdup_printf("vvfs %s %s", pool->directory, vv_pool_mount(pool)),
            g_strdup("goes on with what was flushed, once it can be written"));
    }
    vv_fixes_add(fixes, g_strdup_printf("vvfs-admin -p %s pool check", pool->directory), NULL);
    vv_problems_add(problems, VV_SEVERITY_CRITICAL, "failed", name,
        g_strdup_printf("pool %s has failed and takes no writes: %s", name, why), fixes);
}

static void look_at_disks(VvPool *pool, GPtrArray *problems)
{
    VV_META_READ(pool->meta);
    GPtrArray *disks = vv_meta_disks(pool->meta);

    for (unsigned i = 0; i < disks->len; i++) {
        const VvDiskInfo *info = g_ptr_array_index(disks, i);
        VvDisk *disk = NULL;
        void *slot;

        if (info->state != VV_STATE_OK)
            vv_problems_add(problems, VV_SEVERITY_CRITICAL, "disk", info->name,
                g_strdup_printf("disk %s is %s", info->name, vv_state_name(info->state)), NULL);
        {
            VV_LOCKED(&pool->disks_lock);
            if (g_hash_table_lookup_extended(pool->disk_slots, &info->id, NULL, &slot))
                disk = g_ptr_array_index(pool->disks, GPOINTER_TO_UINT(slot)); /* stays while the catalog has it */
        }
        if (disk)
            vv_trouble_look(pool, disk, info->name, problems);
        else if (!pool->without_disks) /* else it is another node's, and that node tells of it */
            vv_problems_add(problems, VV_SEVERITY_CRITICAL, "disk", info->name,
                g_strdup_printf("disk %s is not there", info->name), NULL);
    }
}

static void look_at_jobs(VvPool *pool, GPtrArray *problems)
{
    bool room = vv_repack_has_room(pool);
    VV_META_READ(pool->meta);
    GPtrArray *jobs = vv_meta_jobs(pool->meta);

    for (unsigned i = 0; i < jobs->len; i++) {
        const VvJob *job = g_ptr_array_index(jobs, i);
        g_autoptr(GPtrArray) fixes = vv_fixes_new();
        g_autofree char *number = g_strdup_printf("%" G_GUINT64_FORMAT, job->id);

        if (job->kind == VV_JOB_REPACK && job->state != VV_JOB_PAUSED && !room) {
            vv_fixes_add(fixes, g_strdup_printf("vvfs-admin job cancel %s", number), NULL);
            vv_problems_add(problems, VV_SEVERITY_INFO, "job", number,
                g_strdup_printf("job %s (repack) waits until %u %% of the pool is free", number, VV_REPACK_ROOM_PERCENT), fixes);
            continue;
        }
        if (job->state != VV_JOB_PAUSED)
            continue;
        vv_fixes_add(fixes, g_strdup_printf("vvfs-admin job resume %s", number), NULL);
        vv_problems_add(problems, VV_SEVERITY_INFO, "job", number, g_strdup_printf("job %s is paused", number), fixes);
    }
}

GPtrArray *vv_pool_problems(VvPool *pool)
{
    GPtrArray *problems = vv_problems_new();
    const char *name;

    vv_meta_read_lock(pool->meta);
    name = vv_meta_pool(pool->meta)->name; /* never changes */
    vv_meta_read_unlock(pool->meta);
    look_at_failure(pool, name, problems);
    look_at_disks(pool, problems);
    vv_look_at_damages(pool, problems);
    if (!look_at_space(pool, name, problems))
        vv_look_at_chosen_disks(pool, problems);
    vv_look_at_room(pool, name, problems);
    look_at_jobs(pool, problems);
    vv_problems_sort(problems);
    return problems;
}

static bool disks_are_well(VvPool *pool)
{
    g_autoptr(GPtrArray) problems = vv_problems_new();

    look_at_disks(pool, problems);
    return problems->len == 0;
}

const char *vv_pool_state(VvPool *pool)
{
    VvSpaceSummary space;

    if (vv_pool_failure(pool))
        return "failed";
    if (pool->options.guest) /* it knows of neither space nor disks */
        return "ok";
    vv_pool_space(pool, &space);
    if (vv_space_is_full(&space) || vv_meta_is_cramped(pool->meta))
        return "full";
    return disks_are_well(pool) ? "ok" : "degraded";
}
