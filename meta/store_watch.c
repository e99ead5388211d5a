/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "store_watch.h"

#include "error.h"
#include "limits.h"
#include "store_sums.h"
#include "util.h"

#include <errno.h>
#include <stdatomic.h>

#define PAUSE_MS 20u /* the rate is kept over so long */
#define IDLE_MS 3600000u

uint64_t vv_map_check_bytes = VV_MAP_CHECK_BYTES;

struct VvMapWatch {
    char *path; /* owned */
    VvLazy *lazy;
    VvFault *fault;
    pthread_t thread;
    bool runs;
    _Atomic bool stopping;
    VvStoreTroubleFunc trouble;
    void *user;
};

static char *trouble_text(const char *path, VvFaultKind kind, uint64_t offset)
{
    switch (kind) {
    case VV_FAULT_UNREADABLE:
        return g_strdup_printf("%s/data.mdb cannot be read at offset %" G_GUINT64_FORMAT, path, offset);
    case VV_FAULT_SUMS_UNREADABLE:
        return g_strdup_printf("%s/" VV_SUMS_FILE " cannot be read at offset %" G_GUINT64_FORMAT, path, offset);
    case VV_FAULT_SUMS_DAMAGED:
        return g_strdup_printf("%s/" VV_SUMS_FILE " is damaged at offset %" G_GUINT64_FORMAT, path, offset);
    case VV_FAULT_NO_MEMORY:
        return g_strdup_printf("%s/data.mdb cannot be mapped at offset %" G_GUINT64_FORMAT, path, offset);
    default:
        return g_strdup_printf("%s/data.mdb is damaged at offset %" G_GUINT64_FORMAT, path, offset);
    }
}

char *vv_map_watch_trouble(VvMapWatch *watch)
{
    uint64_t offset = 0;
    VvFaultKind kind = vv_fault_get(watch->fault, &offset);

    return kind == VV_FAULT_NONE ? NULL : trouble_text(watch->path, kind, offset);
}

VvMapWatch *vv_map_watch_new(const char *path, uint8_t *base, size_t bytes, VvLazy *lazy, GError **error)
{
    VvMapWatch *watch = g_new0(VvMapWatch, 1);
    VvFaultKind kind = VV_FAULT_NONE;
    uint64_t offset = 0;
    int err = 0;

    watch->path = g_strdup(path);
    watch->lazy = lazy;
    watch->fault = vv_fault_new(base, bytes, lazy != NULL ? vv_lazy_admit : NULL, lazy);
    if (lazy != NULL && (watch->fault == NULL || !vv_lazy_close(lazy, base, watch->fault)))
        err = vv_lazy_finish(lazy, &kind, &offset);
    if (err == 0 && watch->fault != NULL)
        return watch;
    if (err != 0) {
        g_autofree char *text = trouble_text(path, kind, offset);

        vv_set_error(error, err == -EIO ? VV_ERROR_IO : err == -ENOMEM ? VV_ERROR_LIMIT : VV_ERROR_DAMAGED, path,
            "Nothing was changed. Look at the medium of this directory; the disks are not concerned.", "metadata store: %s", text);
    } else {
        vv_set_error(error, VV_ERROR_INTERNAL, path, NULL, "metadata store %s: this process has too many open", path);
    }
    vv_map_watch_free(watch);
    return NULL;
}

void vv_map_watch_free(VvMapWatch *watch)
{
    if (watch == NULL)
        return;
    vv_map_watch_stop(watch);
    vv_fault_free(watch->fault);
    g_free(watch->path);
    g_free(watch);
}

int vv_map_watch_finish(VvMapWatch *watch)
{
    uint64_t offset;
    VvFaultKind kind = vv_fault_get(watch->fault, &offset);

    if (kind != VV_FAULT_NONE && watch->lazy != NULL && vv_lazy_left(watch->lazy) > 0)
        return vv_fault_errno(kind); /* the rest does not make it better, and takes its time */
    return watch->lazy == NULL || vv_lazy_left(watch->lazy) == 0 ? 0 : vv_lazy_finish(watch->lazy, &kind, &offset);
}

void vv_map_watch_give_up(VvMapWatch *watch)
{
    if (watch->lazy != NULL)
        vv_lazy_stop(watch->lazy);
}

/* ---- the thread */

static bool is_over(VvMapWatch *watch)
{
    uint64_t offset;

    return atomic_load(&watch->stopping) || vv_fault_get(watch->fault, &offset) != VV_FAULT_NONE;
}

/* Compare what was put off, at its rate; until all is begun, something is wrong, whoever has met it, or it is to stop. */
static void compare_slowly(VvMapWatch *watch)
{
    uint64_t began_ns = vv_monotonic_ns(), done_bytes = 0, bytes;

    while (!is_over(watch) && vv_lazy_left(watch->lazy) > 0 && vv_lazy_next(watch->lazy, &bytes)) {
        uint64_t due_ms, spent_ms = (vv_monotonic_ns() - began_ns) / 1000000;

        done_bytes += bytes;
        due_ms = done_bytes * 1000 / vv_map_check_bytes;
        if (due_ms > spent_ms + PAUSE_MS && !is_over(watch))
            vv_fault_wait(watch->fault, (unsigned) (due_ms - spent_ms));
    }
    vv_log(VV_LOG_DEBUG, "metadata store %s: %" G_GUINT64_FORMAT " pages left to be checked after %" G_GUINT64_FORMAT " ms", watch->path,
        vv_lazy_left(watch->lazy), (vv_monotonic_ns() - began_ns) / 1000000);
}

static void *watch_main(void *user)
{
    VvMapWatch *watch = user;
    char *trouble = NULL;

    pthread_setname_np(pthread_self(), "vv-map-watch");
    if (watch->lazy != NULL)
        compare_slowly(watch);
    while (!is_over(watch))
        vv_fault_wait(watch->fault, IDLE_MS);
    trouble = vv_map_watch_trouble(watch);
    if (trouble != NULL) /* also if it is to stop: who closes the pool is the last to hear of it */
        watch->trouble(watch->user, trouble);
    g_free(trouble);
    return NULL;
}

bool vv_map_watch_start(VvMapWatch *watch, VvStoreTroubleFunc trouble, void *user, GError **error)
{
    int err;

    g_assert(!watch->runs);
    watch->trouble = trouble;
    watch->user = user;
    atomic_store(&watch->stopping, false);
    err = pthread_create(&watch->thread, NULL, watch_main, watch);
    if (err != 0)
        vv_set_error_errno(error, -err, watch->path, "metadata store %s: starting a thread", watch->path);
    return watch->runs = err == 0;
}

void vv_map_watch_stop(VvMapWatch *watch)
{
    if (!watch->runs)
        return;
    atomic_store(&watch->stopping, true);
    vv_fault_wake(watch->fault);
    pthread_join(watch->thread, NULL);
    watch->runs = false;
}
