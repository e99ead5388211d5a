/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The driver's thread: events in, Raft and VvCluster told, timers. */
#include "driver_private.h"

#include "error.h"
#include "faultpoint.h"
#include "limits.h"
#include "message.h"
#include "sync.h"
#include "util.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>

#define PAUSE_MS_MIN 5u    /* between looks at timers: one that is late is not spun for */
#define PAUSE_MS_MAX 1000u
#define CLOSING_SESSIONS 2u /* times T */

uint64_t vvd_now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_BOOTTIME, &now);
    return (uint64_t) now.tv_sec * 1000 + (uint64_t) now.tv_nsec / 1000000;
}

/* ---- events */

VvdEvent *vvd_event(VvdEventKind what, uint64_t number)
{
    VvdEvent *event = g_new0(VvdEvent, 1);

    event->what = what;
    event->number = number;
    return event;
}

static void event_free(void *data)
{
    VvdEvent *event = data;

    g_clear_pointer(&event->body, g_bytes_unref);
    g_free(event);
}

void vvd_post(VvDriver *d, VvdEvent *event)
{
    VV_LOCKED(&d->lock);
    if (!d->running) {
        event_free(event);
        return;
    }
    g_queue_push_tail(d->events, event);
    pthread_cond_signal(&d->changed);
}

void vvd_fail(VvDriver *d, const char *format, ...)
{
    g_autofree char *why = NULL;
    va_list args;

    if (d->failed)
        return;
    d->failed = true;
    va_start(args, format);
    why = g_strdup_vprintf(format, args);
    va_end(args);
    {
        VV_LOCKED(&d->lock);
        d->status.failed = true;
        d->why = g_strdup(why);
        pthread_cond_broadcast(&d->told);
    }
    if (d->pool)
        vv_pool_cluster_lost(d->pool, why);
    if (d->options.failed)
        d->options.failed(d->options.user, why);
}

static void receive(VvDriver *d, uint64_t from, uint16_t kind, GBytes *body)
{
    gsize length;
    const uint8_t *data = g_bytes_get_data(body, &length);

    vvd_heard(d, from);
    if (kind == VV_MESSAGE_RENEW)
        vv_may_die(VV_DIE_RENEWAL_HEARD);
    else if ((kind == VV_MESSAGE_PROPOSE || kind == VV_MESSAGE_REQUEST) && from != d->options.node)
        vv_may_die(VV_DIE_PROPOSAL_HEARD);
    if (kind == VV_MESSAGE_LEAD)
        vvd_receive_lead(d, from, data, length);
    else if (vv_message_is_rafts(kind))
        (void) vv_raft_receive(d->raft, d->now_ms, from, kind, data, length);
    else
        (void) vv_cluster_receive(d->cluster, d->now_ms, from, kind, data, length);
}

static void event_applied(VvDriver *d, const VvdEvent *event)
{
    g_assert(d->with_committer == event->number);
    d->with_committer = 0;
    if (event->result < 0)
        vvd_fail(d, "an entry of the cluster's log could not be applied");
    else
        vv_raft_poll(d->raft, d->now_ms);
}

static void event_propose(VvDriver *d, const VvdEvent *event)
{
    VvdProposal *proposal = g_new0(VvdProposal, 1);

    proposal->ticket = event->number;
    proposal->config = event->config;
    proposal->body = g_bytes_ref(event->body);
    g_ptr_array_add(d->proposals, proposal);
}

/* How many entries are kept behind the store, for who lags a little: not more than a quarter of the journal, whatever their size. */
static unsigned trailing(VvDriver *d)
{
    uint64_t recent = vv_raft_log_recent(d->log, (uint64_t) VV_JOURNAL_FILES_MAX * VV_JOURNAL_FILE_BYTES / 4);
    uint64_t index = d->compact_wanted;

    return (unsigned) MIN(d->options.trailing, recent > index ? 0 : index - recent + 1);
}

/* The store holds all up to compact_wanted. What who lags behind is being given stays the newest; but not for longer than the journal
 * has room. */
static void work_compact(VvDriver *d)
{
    if (d->compact_wanted <= d->compacted || vvd_sync_gives(d))
        return;
    vv_raft_log_release(d->log, d->compact_wanted);
    vv_raft_set_trailing(d->raft, trailing(d));
    vv_raft_compact(d->raft, d->now_ms, d->compact_wanted);
    VV_LOCKED(&d->lock);
    d->compacted = d->compact_wanted;
    d->journal_full = false;
    pthread_cond_broadcast(&d->told);
}

static void handle(VvDriver *d, VvdEvent *event)
{
    gsize length = 0;

    switch (event->what) {
    case VVD_MESSAGE:
        receive(d, event->number, event->kind, event->body);
        break;
    case VVD_STORED:
        vvd_event_stored(d, event->number, event->result);
        break;
    case VVD_APPLIED:
        event_applied(d, event);
        break;
    case VVD_PROPOSE:
        event_propose(d, event);
        break;
    case VVD_COMPACT:
        d->compact_wanted = MAX(d->compact_wanted, event->number);
        break;
    case VVD_MEMBERS:
        g_array_set_size(d->heard, 0); /* those that are named speak again within a heartbeat */
        g_array_set_size(d->members, 0);
        g_array_append_vals(d->members, g_bytes_get_data(event->body, &length),
            (guint) (g_bytes_get_size(event->body) / sizeof(VvDriverMember)));
        d->members_ms = 0;
        break;
    case VVD_TRANSFER:
        vvd_transfer(d, event->number);
        break;
    case VVD_VOUCH:
        vvd_vouch(d, event->number);
        break;
    case VVD_GIVE_UP:
        vvd_fail(d, "%s", (const char *) g_bytes_get_data(event->body, NULL));
        break;
    case VVD_CLOSING:
        d->closing_ms = d->now_ms;
        break;
    case VVD_SETTLED: /* goes the way of messages to itself */
        break;
    case VVD_WAKE:
        vv_raft_poll(d->raft, d->now_ms);
        break;
    }
}

/* ---- between events */

/* A pool that is being closed waits for a majority as long as it takes to choose another leader, and some more. */
static void work_closing(VvDriver *d)
{
    if (d->closing_ms == 0)
        return;
    if (d->proposals->len == 0)
        d->closing_ms = d->now_ms;
    else if (d->now_ms > d->closing_ms + CLOSING_SESSIONS * d->options.session_ms)
        vvd_fail(d, "no majority of the nodes answers, and the pool is being closed");
}

static void tell_status(VvDriver *d)
{
    VvDriverStatus status = { .leader = vv_raft_leader(d->raft), .term = vv_raft_term(d->raft), .commit = vv_raft_commit(d->raft),
        .applied = vv_raft_applied(d->raft), .session = vv_member_session(vv_cluster_member(d->cluster)), .failed = d->failed, .base = d->compacted,
        .last_end = vv_cluster_state(d->cluster)->last_end, .leads = vv_raft_ready(d->raft), .led_ns = vvd_led_ns(d) };
    VvRaftRole role;
    uint64_t id;

    if (d->with_committer != 0 && status.applied >= d->with_committer)
        status.applied = d->with_committer - 1;
    for (unsigned i = 0; vv_raft_member(d->raft, i, &id, &role); i++)
        *(role == VV_RAFT_VOTER ? &status.voters : &status.standbys) += 1;
    VV_LOCKED(&d->lock);
    d->status = status;
    pthread_cond_broadcast(&d->told);
}

/* Give the base to who waits for it, when nothing is with the committer. */
static void work_hold(VvDriver *d)
{
    bool was = d->hold;
    VV_LOCKED(&d->lock);
    d->hold = d->hold_wanted;
    if (d->hold && !d->held && d->with_committer == 0 && !d->failed) {
        vv_base_clear(&d->base);
        vvd_base_fill(d, &d->base);
        d->held = true;
        pthread_cond_broadcast(&d->told);
    }
    if (was && !d->hold)
        g_queue_push_tail(d->events, vvd_event(VVD_WAKE, 0));
}

static void work(VvDriver *d)
{
    VvdEvent *event;

    if (d->took)
        return;
    work_hold(d);
    if (d->failed)
        return;
    vv_raft_tick(d->raft, d->now_ms);
    if (d->no_room_ms != 0)
        vv_raft_poll(d->raft, d->now_ms);
    work_compact(d);
    if (!vvd_work_witness(d))
        vvd_work_members(d);
    vvd_work_vouched(d);
    vvd_work_proposals(d);
    vvd_work_latest(d);
    vv_cluster_work(d->cluster, d->now_ms);
    while ((event = g_queue_pop_head(d->own))) { /* who coordinates talks to itself */
        if (event->what == VVD_SETTLED)
            vv_member_settled(vv_cluster_member(d->cluster), d->now_ms, event->number);
        else
            receive(d, d->options.node, event->kind, event->body);
        vv_cluster_work(d->cluster, d->now_ms);
        event_free(event);
    }
    vvd_work_latest(d);
    work_closing(d);
    if (vv_raft_error(d->raft) != 0)
        vvd_fail(d, "the cluster's log has failed: %s", g_strerror(-vv_raft_error(d->raft)));
    else if (vv_cluster_error(d->cluster) != 0)
        vvd_fail(d, "the cluster's log holds an entry that this vvfs does not know");
    tell_status(d);
    vvd_tell_nodes(d);
}

static uint64_t pause_ms(VvDriver *d)
{
    uint64_t next = d->now_ms + PAUSE_MS_MAX, now = vvd_now_ms();

    if (d->failed || d->took)
        return PAUSE_MS_MAX;
    next = MIN(next, vv_raft_deadline(d->raft));
    next = MIN(next, vv_cluster_deadline(d->cluster));
    next = MIN(next, vvd_proposals_deadline(d));
    next = MIN(next, vvd_latest_deadline(d));
    if (d->no_room_ms != 0)
        next = MIN(next, d->now_ms + 10 * PAUSE_MS_MIN);
    return MAX(next, now + PAUSE_MS_MIN) - now;
}

/* Lock held. An entry that is with the committer comes back: state and map end at one index. */
static bool is_over(const VvDriver *d)
{
    return d->stopping && d->with_committer == 0;
}

static void wait_for_events(VvDriver *d, uint64_t ms)
{
    uint64_t ns = vv_monotonic_ns() + ms * 1000000;
    struct timespec until = { .tv_sec = (time_t) (ns / 1000000000), .tv_nsec = (long) (ns % 1000000000) };

    while (d->events->length == 0 && !is_over(d) && d->hold == d->hold_wanted && !d->latest_news)
        if (pthread_cond_timedwait(&d->changed, &d->lock, &until) != 0)
            return;
}

static void *driver_main(void *user)
{
    VvDriver *d = user;
    bool over = false;

    pthread_setname_np(pthread_self(), "vv-control");
    while (!over) {
        GQueue *events;
        VvdEvent *event;

        d->now_ms = vvd_now_ms();
        work(d);
        pthread_mutex_lock(&d->lock);
        wait_for_events(d, pause_ms(d));
        events = d->events;
        d->events = g_queue_new();
        d->latest_news = false;
        over = is_over(d) && events->length == 0;
        pthread_mutex_unlock(&d->lock);
        d->now_ms = vvd_now_ms();
        while ((event = g_queue_pop_head(events))) {
            if (event->what == VVD_APPLIED || (!d->failed && !d->took))
                handle(d, event);
            event_free(event);
        }
        g_queue_free(events);
    }
    pthread_mutex_lock(&d->lock);
    vv_base_clear(&d->base); /* what the last checkpoint asks for */
    if (d->pool && !d->failed && !d->took)
        vvd_base_fill(d, &d->base);
    d->running = false;
    pthread_cond_broadcast(&d->told);
    pthread_mutex_unlock(&d->lock);
    return NULL;
}

void vvd_set_running(VvDriver *d, bool running)
{
    VV_LOCKED(&d->lock);
    d->running = running;
    d->stopping = d->hold_wanted = d->held = false;
}

bool vvd_start_thread(VvDriver *d, GError **error)
{
    int err;

    d->hold = false;
    err = pthread_create(&d->thread, NULL, driver_main, d);
    d->thread_began = err == 0;
    if (err != 0)
        vv_set_error_errno(error, err, d->directory, "a thread cannot be started");
    return err == 0;
}

void vvd_stop_thread(VvDriver *d)
{
    pthread_mutex_lock(&d->lock);
    d->stopping = true;
    pthread_cond_signal(&d->changed);
    pthread_mutex_unlock(&d->lock);
    pthread_join(d->thread, NULL);
}

/* ---- from outside */

VvDriver *vv_driver_new(const VvDriverOptions *options, GError **error)
{
    VvDriver *d;
    pthread_condattr_t attributes;

    g_assert(options->node != 0 && options->send);
    if (!vv_sync_finish(options->directory, error))
        return NULL;
    d = g_new0(VvDriver, 1);
    d->options = *options;
    d->options.session_ms = options->session_ms ? options->session_ms : VV_DRIVER_SESSION_MS;
    d->options.election_ms = options->election_ms ? options->election_ms : VV_DRIVER_ELECTION_MS;
    d->options.heartbeat_ms = options->heartbeat_ms ? options->heartbeat_ms : VV_DRIVER_HEARTBEAT_MS;
    d->options.trailing = options->trailing ? options->trailing : VV_DRIVER_TRAILING;
    d->directory = g_strdup(options->directory);
    d->options.directory = d->directory;
    while (d->client == 0)
        vv_random_bytes(&d->client, sizeof d->client);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_mutex_init(&d->lock, NULL);
    pthread_cond_init(&d->changed, &attributes);
    pthread_cond_init(&d->told, &attributes);
    pthread_condattr_destroy(&attributes);
    d->events = g_queue_new();
    d->own = g_queue_new();
    d->next_ticket = 1;
    d->proposals = g_ptr_array_new_with_free_func(vvd_proposal_free);
    d->members = g_array_new(FALSE, FALSE, sizeof(VvDriverMember));
    d->nodes = g_array_new(FALSE, FALSE, sizeof(VvDriverNode));
    d->heard = g_array_new(FALSE, FALSE, sizeof(VvdHeard));
    d->vouched = g_array_new(FALSE, FALSE, sizeof(VvdVouch));
    vvd_link_init(d);
    return d;
}

void vv_driver_stop(VvDriver *d)
{
    vvd_end(d);
}

void vv_driver_free(VvDriver *d)
{
    if (!d)
        return;
    vvd_end(d);
    g_queue_free_full(d->events, event_free);
    g_queue_free_full(d->own, event_free);
    g_ptr_array_unref(d->proposals);
    g_array_unref(d->members);
    g_array_unref(d->nodes);
    g_array_unref(d->heard);
    g_array_unref(d->vouched);
    vv_base_clear(&d->base);
    g_clear_pointer(&d->conf, g_bytes_unref);
    pthread_cond_destroy(&d->changed);
    pthread_cond_destroy(&d->told);
    pthread_mutex_destroy(&d->lock);
    g_free(d->why);
    g_free(d->directory);
    g_free(d);
}

const VvClusterLog *vv_driver_log(VvDriver *d)
{
    return &d->link;
}

void vv_driver_receive(VvDriver *d, uint64_t from, uint16_t kind, const uint8_t *body, size_t body_bytes)
{
    VvdEvent *event = vvd_event(VVD_MESSAGE, from);

    event->kind = kind;
    event->body = g_bytes_new(body, body_bytes);
    vvd_post(d, event);
}

void vv_driver_set_members(VvDriver *d, const VvDriverMember *members, unsigned count)
{
    VvdEvent *event = vvd_event(VVD_MEMBERS, 0);

    event->body = g_bytes_new(members, count * sizeof *members);
    vvd_post(d, event);
}

void vv_driver_give_up(VvDriver *d, const char *why)
{
    VvdEvent *event = vvd_event(VVD_GIVE_UP, 0);

    event->body = g_bytes_new(why, strlen(why) + 1);
    vvd_post(d, event);
}

void vv_driver_transfer(VvDriver *d, uint64_t node)
{
    vvd_post(d, vvd_event(VVD_TRANSFER, node));
}

void vv_driver_vouch(VvDriver *d, uint64_t node)
{
    vvd_post(d, vvd_event(VVD_VOUCH, node));
}

void vv_driver_status(VvDriver *d, VvDriverStatus *ret_status)
{
    VV_LOCKED(&d->lock);
    *ret_status = d->status;
}

bool vv_driver_node(VvDriver *d, uint64_t id, VvDriverNode *ret_node)
{
    VV_LOCKED(&d->lock);

    for (guint i = 0; i < d->nodes->len; i++) {
        const VvDriverNode *node = &g_array_index(d->nodes, VvDriverNode, i);

        if (node->id != id)
            continue;
        *ret_node = *node;
        return true;
    }
    return false;
}
