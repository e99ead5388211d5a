/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The engine's side of the driver: VvClusterLog, and how a driver begins and ends. */
#include "driver_private.h"

#include "codec.h"
#include "error.h"
#include "util.h"

#include <errno.h>

#define READY_LOOK_MS 1000u /* between looks whether it has failed; the driver itself asks more often */

/* ---- begin and end */

static bool start_raft(VvDriver *d, const VvBase *base, GError **error)
{
    VvRaftStart start = { .first_index = 1 };
    gsize length;
    int rv;

    if (base) {
        start.base_index = base->index;
        start.base_term = base->term;
        start.conf_index = base->conf_index;
        start.conf = g_bytes_get_data(base->conf, &length);
        start.conf_bytes = length;
        vv_raft_log_start(d->log, &start);
    } else {
        vv_vote_get(d->vote, &start.term, &start.vote);
    }
    rv = vv_raft_start(d->raft, d->now_ms, &start);
    if (rv != 0)
        vv_set_error(error, rv == -EUCLEAN ? VV_ERROR_DAMAGED : VV_ERROR_IO, d->directory, NULL,
            "the log of the cluster in %s does not fit its map: %s", d->directory, g_strerror(-rv));
    return rv == 0;
}

static void stored_cb(void *user, uint64_t ticket, int result)
{
    VvdEvent *event = vvd_event(VVD_STORED, ticket);

    event->result = result;
    vvd_post(user, event);
}

/* The log's thread: a checkpoint, and until Raft has let go of what it holds. */
static void full_cb(void *user)
{
    VvDriver *d = user;
    uint64_t index;

    if (vv_pool_cluster_checkpoint(d->pool, &index) < 0)
        return;
    VV_LOCKED(&d->lock);
    d->journal_full = true;
    pthread_cond_signal(&d->changed);
    while (d->running && !d->status.failed && d->compacted < index)
        pthread_cond_wait(&d->told, &d->lock);
}

static void make_parts(VvDriver *d)
{
    VvRaftConfig of_raft = { .id = d->options.node,
        .election_ms = d->options.election_ms,
        .heartbeat_ms = d->options.heartbeat_ms,
        .prompt = true,
        .trailing = d->options.trailing };
    VvClusterConfig of_cluster = { d->options.node, d->options.session_ms, VV_DRIVER_DRIFT_PERMILLE, d->options.witness };

    vv_random_bytes(&of_raft.seed, sizeof of_raft.seed);
    d->raft = vv_raft_new(&of_raft, &vvd_raft_ops, d);
    d->cluster = vv_cluster_new(&of_cluster, d->raft, &vvd_cluster_ops, d);
}

bool vvd_begin(VvDriver *d, const VvBase *base, GError **error)
{
    d->now_ms = d->led_ms = vvd_now_ms();
    d->vote = vv_vote_open(d->directory, &d->options.pool, NULL, error);
    if (!d->vote)
        return false;
    if (base) {
        VvRaftLogOptions of_log = {
            .journal = vv_meta_journal(vv_pool_meta(d->pool)), .vote = d->vote, .stored = stored_cb, .full = full_cb, .user = d
        };

        d->log = vv_raft_log_new(&of_log);
        d->conf = g_bytes_ref(base->conf);
        d->conf_index = base->conf_index;
        d->config_index = base->config_index;
        d->compacted = base->index;
    }
    make_parts(d);
    if (base) {
        gsize length;
        const uint8_t *state = g_bytes_get_data(base->state, &length);

        if (!vv_cluster_load(d->cluster, d->now_ms, base->index, state, length)) {
            vv_set_error(error, VV_ERROR_DAMAGED, d->directory, NULL, "the state of the cluster in %s is damaged", d->directory);
            return false;
        }
    }
    vvd_set_running(d, true); /* what the start brings waits for the thread */
    if (start_raft(d, base, error) && vvd_start_thread(d, error))
        return true;
    vvd_set_running(d, false);
    return false;
}

void vvd_end(VvDriver *d)
{
    if (d->thread_began)
        vvd_stop_thread(d);
    d->thread_began = false;
    vvd_set_running(d, false);
    g_clear_pointer(&d->log, vv_raft_log_free);
    g_clear_pointer(&d->cluster, vv_cluster_free);
    g_clear_pointer(&d->raft, vv_raft_free);
    g_clear_pointer(&d->vote, vv_vote_close);
    vvd_sync_end(d);
    d->pool = NULL;
}

/* ---- VvClusterLog */

static bool attach(void *user, VvPool *pool, GError **error)
{
    VvDriver *d = user;
    g_auto(VvBase) base = { .index = 0 };
    bool is = vv_meta_base(vv_pool_meta(pool), &base);

    g_assert(is && !d->pool);
    d->pool = pool;
    return vvd_begin(d, &base, error) && (d->converted || !d->options.opened || d->options.opened(d->options.user, pool, error));
}

/* Lock held. */
static bool serves(const VvDriver *d, bool caught_up)
{
    return d->options.witness ? caught_up : d->status.session != 0;
}

static bool has_failed(VvDriver *d)
{
    VV_LOCKED(&d->lock);
    return d->status.failed;
}

/* With a session; without one when a majority has told up to where the log goes, and the map has that. */
static bool ready(void *user, GError **error)
{
    VvDriver *d = user;
    bool caught_up = false;

    while (d->options.witness && !caught_up && !has_failed(d))
        caught_up = vv_driver_catch_up(d, READY_LOOK_MS);
    pthread_mutex_lock(&d->lock);
    while (!serves(d, caught_up) && !d->status.failed)
        pthread_cond_wait(&d->told, &d->lock);
    pthread_mutex_unlock(&d->lock);
    if (d->options.waited)
        d->options.waited(d->options.user);
    VV_LOCKED(&d->lock);
    if (serves(d, caught_up))
        return true;
    vv_set_error(error, VV_ERROR_NO_QUORUM, d->directory, "vvfs-admin node list", "this node cannot serve the pool in %s: %s", d->directory, d->why);
    return false;
}

static void closing(void *user)
{
    vvd_post(user, vvd_event(VVD_CLOSING, 0));
}

static void detach(void *user)
{
    VvDriver *d = user;

    vvd_end(d);
    if (d->options.closed)
        d->options.closed(d->options.user);
}

static int propose(void *user, uint64_t seen, const uint8_t *ops, size_t ops_bytes, uint64_t *ret_ticket)
{
    VvDriver *d = user;
    bool config = seen != VV_NOT_CONFIG;
    size_t head = config ? sizeof seen : 0;
    uint8_t *body = g_malloc(head + ops_bytes);
    VvdEvent *event = vvd_event(VVD_PROPOSE, 0);

    if (config)
        vv_put_u64(body, seen);
    memcpy(body + head, ops, ops_bytes);
    event->config = config;
    event->body = g_bytes_new_take(body, head + ops_bytes);
    {
        VV_LOCKED(&d->lock);
        event->number = *ret_ticket = d->next_ticket++;
    }
    vvd_post(d, event); /* if the thread has ended, vv_pool_cluster_lost has told */
    return 0;
}

static void applied(void *user, uint64_t index, int result)
{
    VvdEvent *event = vvd_event(VVD_APPLIED, index);

    event->result = result;
    vvd_post(user, event);
}

/* ---- bases */

/* Lock held. */
static bool give_base(const VvDriver *d, VvBase *ret_base)
{
    if (!d->base.conf)
        return false;
    *ret_base = d->base;
    g_bytes_ref(ret_base->conf);
    g_bytes_ref(ret_base->state);
    return true;
}

static bool hold(void *user, VvBase *ret_base)
{
    VvDriver *d = user;
    VV_LOCKED(&d->lock);

    if (d->running) {
        d->hold_wanted = true;
        pthread_cond_signal(&d->changed);
        while (!d->held && d->running && !d->status.failed)
            pthread_cond_wait(&d->told, &d->lock);
    }
    if (d->status.failed || !give_base(d, ret_base)) {
        d->hold_wanted = d->held = false;
        return false;
    }
    return true;
}

static void resume(void *user)
{
    VvDriver *d = user;
    VV_LOCKED(&d->lock);

    d->hold_wanted = d->held = false;
    pthread_cond_signal(&d->changed);
}

static void stored(void *user, uint64_t index)
{
    vvd_post(user, vvd_event(VVD_COMPACT, index));
}

/* ---- from one node to a cluster */

static bool prepare(void *user, VvPool *pool, uint64_t index, GError **error)
{
    VvDriver *d = user;
    g_autofree uint64_t *ids = g_new(uint64_t, d->members->len);
    g_autoptr(VvClusterState) state = NULL;
    GByteArray *conf = g_byte_array_new(), *bytes = g_byte_array_new();
    (void) pool;

    for (guint i = 0; i < d->members->len; i++)
        ids[i] = g_array_index(d->members, VvDriverMember, i).id;
    state = vv_state_first(index, 1, ids, d->members->len);
    vv_state_encode(state, bytes);
    vv_raft_encode_voters(&d->options.node, 1, conf);
    vv_base_clear(&d->base);
    d->base = (VvBase){ .index = index,
        .term = 1,
        .conf_index = index,
        .conf = g_byte_array_free_to_bytes(conf),
        .state = g_byte_array_free_to_bytes(bytes) };
    d->converted = true;
    return vv_vote_create(d->directory, &d->options.pool, 1, 0, error);
}

bool vv_driver_convert(VvDriver *d, VvPool *pool, const VvDriverMember *members, unsigned count, GError **error)
{
    g_array_set_size(d->members, 0);
    g_array_append_vals(d->members, members, count);
    return vv_pool_make_cluster(pool, &d->link, error) && ready(d, error);
}

bool vv_driver_take(VvDriver *d, GError **error)
{
    g_autofree char *vote = g_build_filename(d->directory, VV_VOTE_FILE, NULL);

    if (!g_file_test(vote, G_FILE_TEST_EXISTS) && !vv_vote_create(d->directory, &d->options.pool, 0, 0, error))
        return false;
    return vvd_begin(d, NULL, error);
}

void vvd_link_init(VvDriver *d)
{
    d->link = (VvClusterLog){ .attach = attach,
        .ready = ready,
        .closing = closing,
        .detach = detach,
        .prepare = prepare,
        .propose = propose,
        .applied = applied,
        .base = { .hold = hold, .resume = resume, .stored = stored, .user = d },
        .user = d };
}
