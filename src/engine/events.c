/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Events: the last VV_EVENTS_KEPT things worth telling, numbered, in a ring; also in a file for a successor, if there is one. */
#include "events_file.h"
#include "pool_private.h"

#include <string.h>

struct VvEventLog {
    pthread_mutex_t lock;          /* a leaf, never held while somebody is told */
    VvEvent *ring[VV_EVENTS_KEPT]; /* by number modulo its size; owned */
    uint64_t last_number;
    VvEventsFile *file; /* owned, or NULL */
    struct {
        void (*notify)(void *user);
        void *user;
    } watchers[8];
    unsigned watcher_count;
};

static void event_free(void *data)
{
    VvEvent *event = data;

    if (!event)
        return;
    g_free(event->code);
    g_free(event->object);
    g_free(event->message);
    g_free(event);
}

static VvEvent *event_copy(const VvEvent *event)
{
    VvEvent *copy = g_new0(VvEvent, 1);

    *copy = *event;
    copy->code = g_strdup(event->code);
    copy->object = g_strdup(event->object);
    copy->message = g_strdup(event->message);
    return copy;
}

struct VvEventLog *vv_event_log_new(void)
{
    struct VvEventLog *log = g_new0(struct VvEventLog, 1);

    pthread_mutex_init(&log->lock, NULL);
    return log;
}

void vv_event_log_keep(struct VvEventLog *log, int fd)
{
    log->file = vv_events_file_open(fd);
    if (!log->file) {
        vv_log(VV_LOG_WARNING, "events are not kept for a successor: what was given for them is no such file");
        return;
    }
    log->last_number = vv_events_file_last(log->file);
    for (uint64_t number = log->last_number; number > 0 && number + VV_EVENTS_KEPT > log->last_number; number--)
        log->ring[number % VV_EVENTS_KEPT] = vv_events_file_get(log->file, number);
}

void vv_event_log_free(struct VvEventLog *log)
{
    if (!log)
        return;
    vv_events_file_close(log->file);
    for (unsigned i = 0; i < VV_EVENTS_KEPT; i++)
        event_free(log->ring[i]);
    pthread_mutex_destroy(&log->lock);
    g_free(log);
}

const char *vv_severity_name(VvSeverity severity)
{
    static const char *const names[] = { "info", "warning", "error", "critical" };

    return (unsigned) severity < G_N_ELEMENTS(names) ? names[severity] : "critical";
}

static VvLogLevel log_level(VvSeverity severity)
{
    return severity == VV_SEVERITY_INFO ? VV_LOG_INFO : severity == VV_SEVERITY_WARNING ? VV_LOG_WARNING : VV_LOG_ERROR;
}

void vv_pool_event(VvPool *pool, VvSeverity severity, const char *code, const char *object, const char *format, ...)
{
    struct VvEventLog *log = pool->events;
    VvEvent *event = g_new0(VvEvent, 1), *old;
    void (*notify[G_N_ELEMENTS(log->watchers)])(void *user);
    void *users[G_N_ELEMENTS(log->watchers)];
    unsigned count;
    va_list args;

    va_start(args, format);
    event->message = g_strdup_vprintf(format, args);
    va_end(args);
    event->time_ns = vv_now_ns();
    event->severity = severity;
    event->code = g_strdup(code);
    event->object = g_strdup(object ? object : "");
    vv_log(log_level(severity), "%s", event->message);

    pthread_mutex_lock(&log->lock);
    event->number = ++log->last_number;
    old = log->ring[event->number % VV_EVENTS_KEPT];
    log->ring[event->number % VV_EVENTS_KEPT] = event;
    if (log->file)
        vv_events_file_put(log->file, event);
    count = log->watcher_count;
    for (unsigned i = 0; i < count; i++) {
        notify[i] = log->watchers[i].notify;
        users[i] = log->watchers[i].user;
    }
    pthread_mutex_unlock(&log->lock);
    event_free(old);
    for (unsigned i = 0; i < count; i++)
        notify[i](users[i]);
}

GPtrArray *vv_pool_events(VvPool *pool, uint64_t after)
{
    struct VvEventLog *log = pool->events;
    GPtrArray *events = g_ptr_array_new_with_free_func(event_free);
    uint64_t first;

    VV_LOCKED(&log->lock);
    first = log->last_number > VV_EVENTS_KEPT ? log->last_number - VV_EVENTS_KEPT + 1 : 1;
    for (uint64_t number = MAX(first, after == UINT64_MAX ? UINT64_MAX : after + 1); number <= log->last_number;
         number++)
        if (log->ring[number % VV_EVENTS_KEPT]) /* a predecessor may have died amid it */
            g_ptr_array_add(events, event_copy(log->ring[number % VV_EVENTS_KEPT]));
    return events;
}

void vv_pool_watch_events(VvPool *pool, void (*notify)(void *user), void *user)
{
    struct VvEventLog *log = pool->events;

    VV_LOCKED(&log->lock);
    g_assert(log->watcher_count < G_N_ELEMENTS(log->watchers));
    log->watchers[log->watcher_count].notify = notify;
    log->watchers[log->watcher_count].user = user;
    log->watcher_count++;
}
