/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Subscriptions. What they tell is gathered on a crew's thread (it takes the catalog's lock) and sent on the loop's.
 *
 *   events   the engine says that there are new ones; each subscription remembers the number of the last it sent
 *   stats    a timer each; skipped while the last one is not sent yet, or the client does not keep up
 *   jobs     one timer for all, five times a second while there are any; sends what has changed */
#include "subscribe.h"

#include "jobs.h"
#include "objects.h"
#include "rpc.h"
#include "server.h"
#include "status.h"

#include <stdatomic.h>
#include <string.h>

#define JOBS_MS 200

typedef enum { TOPIC_EVENTS, TOPIC_STATS, TOPIC_JOBS } VvTopic;

typedef struct {
    VvDaemon *daemon;
    uint64_t number;
    uint64_t client;
    VvTopic topic;
    uint64_t last_event; /* events: sent up to here */
    uint64_t since_ns;   /* events: not older than this */
    struct event *timer; /* stats: owned */
    bool gathering;      /* stats: a chore is under way */
    char **objects;      /* stats: owned */
    GHashTable *jobs;    /* jobs: number (uint64_t *, owned) -> last text sent (owned, "" none) */
} VvSubscription;

struct VvSubscriptions {
    VvDaemon *daemon;
    GHashTable *by_number; /* number -> VvSubscription, owned */
    uint64_t next_number;
    struct event *jobs_timer;
    bool jobs_gathering;
    unsigned job_count; /* subscriptions to jobs */
    atomic_bool events_posted;
};

static void subscription_free(void *data)
{
    VvSubscription *s = data;

    if (s->topic == TOPIC_JOBS)
        s->daemon->subscriptions->job_count--;
    if (s->timer)
        event_free(s->timer);
    g_strfreev(s->objects);
    g_clear_pointer(&s->jobs, g_hash_table_unref);
    g_free(s);
}

/* Takes @params. The client may be dropped by this, and with it the subscription. */
static void notify(VvSubscription *s, const char *method, JsonObject *params)
{
    VvClient *client = vv_server_client(s->daemon->server, s->client);
    g_autofree char *text = NULL;

    vv_json_set_u64(params, "subscription", s->number);
    text = vv_rpc_notification_text(method, params);
    json_object_unref(params);
    if (client)
        vv_client_send(client, text);
}

/* Numbers of the subscriptions to @topic: sending may remove any of them. */
static GArray *numbers_of(VvSubscriptions *all, VvTopic topic)
{
    GArray *numbers = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    GHashTableIter iter;
    void *value;

    g_hash_table_iter_init(&iter, all->by_number);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        VvSubscription *s = value;

        if (s->topic == topic)
            g_array_append_val(numbers, s->number);
    }
    return numbers;
}

static bool keeps_up(VvSubscription *s)
{
    VvClient *client = vv_server_client(s->daemon->server, s->client);

    return client && vv_client_waiting(client) <= VV_CLIENT_OUTPUT_BYTES_EASY;
}

/* ---- events */
static void send_events(VvSubscriptions *all, uint64_t number)
{
    VvSubscription *s = g_hash_table_lookup(all->by_number, &number);
    g_autoptr(GPtrArray) events = s ? vv_pool_events(all->daemon->pool, s->last_event) : NULL;

    for (unsigned i = 0; events && i < events->len; i++) {
        const VvEvent *event = events->pdata[i];

        s = g_hash_table_lookup(all->by_number, &number);
        if (!s)
            return;
        s->last_event = event->number;
        if (event->time_ns >= s->since_ns)
            notify(s, "event", vv_event_json(all->daemon, event));
    }
}

static void events_have_come(void *data)
{
    VvSubscriptions *all = data;
    g_autoptr(GArray) numbers = numbers_of(all, TOPIC_EVENTS);

    atomic_store(&all->events_posted, false);
    for (unsigned i = 0; i < numbers->len; i++)
        send_events(all, g_array_index(numbers, uint64_t, i));
}

/* Any thread. */
static void event_notify(void *user)
{
    VvSubscriptions *all = user;

    if (!atomic_exchange(&all->events_posted, true))
        vv_control_post(all->daemon->loop, events_have_come, all);
}

/* ---- stats */
typedef struct {
    VvDaemon *daemon;
    uint64_t number;
    char **objects;
    JsonObject *result;
} VvStatsChore;

static void stats_gathered(void *data)
{
    VvStatsChore *chore = data;
    VvSubscription *s = g_hash_table_lookup(chore->daemon->subscriptions->by_number, &chore->number);

    if (s) {
        s->gathering = false;
        notify(s, "stats", json_object_ref(chore->result));
    }
    json_object_unref(chore->result);
    g_strfreev(chore->objects);
    g_free(chore);
}

static void stats_chore(void *data)
{
    VvStatsChore *chore = data;
    g_autofree char *next = NULL;

    /* What fits into one piece; the rest is not told. */
    chore->result = vv_stats_json(chore->daemon, (const char *const *) chore->objects, NULL, &next);
    vv_json_set_null(chore->result, "next");
    vv_control_post(chore->daemon->loop, stats_gathered, chore);
}

static void stats_cb(evutil_socket_t fd, short what, void *user)
{
    VvSubscription *s = user;
    VvStatsChore *chore;

    (void) fd;
    (void) what;
    if (s->gathering || !keeps_up(s) || s->daemon->ending)
        return;
    s->gathering = true;
    chore = g_new0(VvStatsChore, 1);
    chore->daemon = s->daemon;
    chore->number = s->number;
    chore->objects = g_strdupv(s->objects);
    vv_crew_run(s->daemon->lookers, stats_chore, chore);
}

/* ---- jobs */
typedef struct {
    VvDaemon *daemon;
    GPtrArray *items;
} VvJobsChore;

/* Tell of one job, if it looks otherwise than before. */
static void send_job(VvSubscriptions *all, uint64_t number, const VvJobItem *item)
{
    VvSubscription *s = g_hash_table_lookup(all->by_number, &number);
    g_autoptr(JsonObject) object = NULL;
    g_autofree char *text = NULL;
    const char *before = s ? g_hash_table_lookup(s->jobs, &item->number) : NULL;

    if (!before)
        return;
    object = vv_job_json_show(item);
    text = vv_json_object_text(object);
    if (strcmp(text, before) == 0 || (!item->ended && !keeps_up(s)))
        return;
    if (item->ended)
        g_hash_table_remove(s->jobs, &item->number);
    else
        g_hash_table_insert(s->jobs, g_memdup2(&item->number, sizeof(item->number)), g_steal_pointer(&text));
    notify(s, "job", g_steal_pointer(&object));
}

static void jobs_gathered(void *data)
{
    VvJobsChore *chore = data;
    VvSubscriptions *all = chore->daemon->subscriptions;
    g_autoptr(GArray) numbers = numbers_of(all, TOPIC_JOBS);

    all->jobs_gathering = false;
    for (unsigned i = 0; i < numbers->len; i++)
        for (unsigned j = 0; j < chore->items->len; j++)
            send_job(all, g_array_index(numbers, uint64_t, i), chore->items->pdata[j]);
    g_ptr_array_unref(chore->items);
    g_free(chore);
}

static void jobs_chore(void *data)
{
    VvJobsChore *chore = data;

    chore->items = vv_job_items(chore->daemon, true);
    vv_control_post(chore->daemon->loop, jobs_gathered, chore);
}

static void jobs_cb(evutil_socket_t fd, short what, void *user)
{
    static const struct timeval again = { .tv_usec = JOBS_MS * 1000 };
    VvSubscriptions *all = user;
    VvJobsChore *chore;

    (void) fd;
    (void) what;
    if (all->job_count == 0 || all->daemon->ending)
        return;
    event_add(all->jobs_timer, &again);
    if (all->jobs_gathering)
        return;
    all->jobs_gathering = true;
    chore = g_new0(VvJobsChore, 1);
    chore->daemon = all->daemon;
    vv_crew_run(all->daemon->lookers, jobs_chore, chore);
}

/* ---- subscribing: what may wait is done by the handler, the rest on the loop, before the answer goes out */
static VvSubscription *subscription_add(VvCall *call, VvTopic topic)
{
    VvSubscriptions *all = call->daemon->subscriptions;
    VvSubscription *s = g_new0(VvSubscription, 1);

    s->daemon = call->daemon;
    s->number = ++all->next_number;
    s->client = call->client;
    s->topic = topic;
    g_hash_table_insert(all->by_number, &s->number, s);
    vv_json_set_u64(call->result, "subscription", s->number);
    return s;
}

static unsigned count_of_client(VvSubscriptions *all, uint64_t client)
{
    GHashTableIter iter;
    void *value;
    unsigned count = 0;

    g_hash_table_iter_init(&iter, all->by_number);
    while (g_hash_table_iter_next(&iter, NULL, &value))
        count += ((VvSubscription *) value)->client == client;
    return count;
}

static void finish_events(VvCall *call)
{
    VvSubscriptions *all = call->daemon->subscriptions;
    VvSubscription *s = subscription_add(call, TOPIC_EVENTS);
    g_autoptr(GPtrArray) events = vv_pool_events(call->daemon->pool, 0);

    s->since_ns = vv_call_u64(call, "since_ns", 0);
    if (!vv_call_has(call, "since_ns") && events->len)
        s->last_event = ((VvEvent *) events->pdata[events->len - 1])->number;
    else if (!atomic_exchange(&all->events_posted, true))
        vv_control_post(call->daemon->loop, events_have_come, all); /* kept ones: behind the answer */
}

static void finish_stats(VvCall *call)
{
    VvSubscription *s = subscription_add(call, TOPIC_STATS);
    uint64_t interval_ms = vv_call_u64(call, "interval_ms", 1000);
    struct timeval interval = { .tv_sec = (time_t) (interval_ms / 1000),
        .tv_usec = (suseconds_t) (interval_ms % 1000 * 1000) };

    s->objects = vv_call_strings(call, "objects");
    s->timer = event_new(vv_control_base(call->daemon->loop), -1, EV_PERSIST, stats_cb, s);
    event_add(s->timer, &interval);
    event_active(s->timer, EV_TIMEOUT, 1);
}

static void finish_jobs(VvCall *call)
{
    VvSubscriptions *all = call->daemon->subscriptions;
    VvSubscription *s = subscription_add(call, TOPIC_JOBS);

    s->jobs = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, g_free);
    for (unsigned i = 0; i < json_array_get_length(call->watch); i++) {
        uint64_t number = (uint64_t) json_array_get_int_element(call->watch, i);

        g_hash_table_insert(s->jobs, g_memdup2(&number, sizeof(number)), g_strdup(""));
    }
    if (all->job_count++ == 0)
        event_active(all->jobs_timer, EV_TIMEOUT, 1);
}

static void finish(VvCall *call)
{
    VvSubscriptions *all = call->daemon->subscriptions;
    const char *topic = vv_call_string(call, "topic");

    if (!vv_server_client(call->daemon->server, call->client))
        return;
    if (count_of_client(all, call->client) >= VV_SUBSCRIPTIONS_PER_CLIENT_MAX)
        vv_set_error(&call->error, VV_ERROR_LIMIT, NULL, NULL, "a client may have %u subscriptions",
            VV_SUBSCRIPTIONS_PER_CLIENT_MAX);
    else if (strcmp(topic, "events") == 0)
        finish_events(call);
    else if (strcmp(topic, "stats") == 0)
        finish_stats(call);
    else
        finish_jobs(call);
}

/* The jobs to watch, and as they are now. */
static bool gather_jobs(VvCall *call, GError **error)
{
    JsonArray *wanted = vv_call_has(call, "jobs") ? json_object_get_array_member(call->params, "jobs") : NULL;
    g_autoptr(GPtrArray) items = vv_job_items(call->daemon, false);
    JsonArray *jobs = vv_json_set_array(call->result, "jobs");

    call->watch = json_array_new();
    if (wanted) {
        g_ptr_array_set_size(items, 0);
        for (unsigned i = 0; i < json_array_get_length(wanted); i++) {
            VvJobItem *item = vv_job_item(call->daemon, (uint64_t) json_array_get_int_element(wanted, i), error);

            if (!item)
                return false;
            g_ptr_array_add(items, item);
        }
    }
    for (unsigned i = 0; i < items->len; i++) {
        const VvJobItem *item = items->pdata[i];

        json_array_add_object_element(jobs, vv_job_json_show(item));
        if (!item->ended)
            json_array_add_int_element(call->watch, (gint64) item->number);
    }
    return true;
}

bool vv_rpc_subscribe(VvCall *call, GError **error)
{
    const char *topic = vv_call_string(call, "topic");
    uint64_t interval_ms = vv_call_u64(call, "interval_ms", 1000);

    call->finish = finish;
    call->result = json_object_new();
    if (strcmp(topic, "events") == 0)
        return true;
    if (strcmp(topic, "jobs") == 0)
        return gather_jobs(call, error);
    if (strcmp(topic, "stats") == 0) {
        g_auto(GStrv) objects = vv_call_strings(call, "objects");

        if (interval_ms >= 100 && interval_ms <= 3600000)
            return vv_lun_names_check(call->daemon, objects, error);
        vv_set_error(error, VV_ERROR_USAGE, "interval_ms", NULL, "interval_ms must be 100 to 3600000");
        return false;
    }
    vv_set_error(error, VV_ERROR_USAGE, topic, NULL, "no topic %s; there are events, stats and jobs", topic);
    return false;
}

static void finish_unsubscribe(VvCall *call)
{
    GHashTable *by_number = call->daemon->subscriptions->by_number;
    uint64_t number = vv_call_u64(call, "subscription", 0);
    VvSubscription *s = g_hash_table_lookup(by_number, &number);

    if (s && s->client == call->client)
        g_hash_table_remove(by_number, &number);
    else
        vv_set_error(&call->error, VV_ERROR_NOT_FOUND, NULL, NULL, "no subscription %" G_GUINT64_FORMAT, number);
}

bool vv_rpc_unsubscribe(VvCall *call, GError **error)
{
    (void) error;
    call->finish = finish_unsubscribe;
    return vv_call_done(call, json_object_new());
}

/* ---- life */
VvSubscriptions *vv_subscriptions_new(VvDaemon *daemon)
{
    VvSubscriptions *all = g_new0(VvSubscriptions, 1);

    all->daemon = daemon;
    all->by_number = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL, subscription_free);
    all->jobs_timer = event_new(vv_control_base(daemon->loop), -1, 0, jobs_cb, all);
    vv_pool_watch_events(daemon->pool, event_notify, all);
    return all;
}

void vv_subscriptions_free(VvSubscriptions *all)
{
    if (!all)
        return;
    g_hash_table_unref(all->by_number);
    event_free(all->jobs_timer);
    g_free(all);
}

static gboolean is_of_client(gpointer key, gpointer value, gpointer client)
{
    (void) key;
    return ((VvSubscription *) value)->client == *(uint64_t *) client;
}

void vv_subscriptions_drop_client(VvSubscriptions *all, uint64_t client)
{
    if (all) /* else it is a desk's client: desk.h */
        g_hash_table_foreach_remove(all->by_number, is_of_client, &client);
}
