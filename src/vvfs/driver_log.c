/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What Raft and VvCluster ask of the driver: the log, the transport, entries to the committer; and what this node proposes. */
#include "driver_private.h"

#include "codec.h"
#include "faultpoint.h"
#include "message.h"
#include "util.h"

#include <errno.h>

#define ASK_AGAIN_PARTS 4u /* of T: a request that is not answered is sent again */
#define NO_ROOM_MS 1000u   /* a checkpoint that fails lets an entry pass (the committer's C5) */

/* ---- the log */

static int store_vote(void *user, uint64_t term, uint64_t vote)
{
    VvDriver *d = user;

    return vv_vote_set(d->vote, term, vote);
}

static int append(void *user, const VvRaftEntry *entries, unsigned count, uint64_t ticket)
{
    VvDriver *d = user;

    return d->log ? vv_raft_log_append(d->log, entries, count, ticket) : -EIO;
}

static int read_entry(void *user, uint64_t index, VvRaftEntry *ret_entry)
{
    VvDriver *d = user;

    return d->log ? vv_raft_log_read(d->log, index, ret_entry) : -ENODATA;
}

static void compact(void *user, uint64_t index)
{
    VvDriver *d = user;

    if (d->log)
        vv_raft_log_compact(d->log, index);
}

void vvd_event_stored(VvDriver *d, uint64_t ticket, int result)
{
    if (result < 0)
        vvd_fail(d, "the journal in %s/journal cannot be written: %s", d->directory, g_strerror(-result));
    else
        vv_raft_stored(d->raft, d->now_ms, ticket);
}

/* ---- the transport */

static void send_message(void *user, uint64_t node, uint16_t kind, const uint8_t *body, size_t body_bytes)
{
    VvDriver *d = user;
    VvdEvent *event;

    if (node != d->options.node) {
        d->options.send(d->options.user, node, kind, body, body_bytes);
        if (kind == VV_MESSAGE_OPEN)
            vv_may_die(VV_DIE_SESSION_ASKED);
        return;
    }
    event = vvd_event(VVD_MESSAGE, node);
    event->kind = kind;
    event->body = g_bytes_new(body, body_bytes);
    g_queue_push_tail(d->own, event);
}

/* ---- entries */

/* D2 */
static bool may_apply(VvDriver *d)
{
    if (d->with_committer != 0 || d->hold)
        return false;
    if (!d->pool || vv_pool_cluster_may_apply(d->pool)) {
        d->no_room_ms = 0;
        return true;
    }
    if (d->no_room_ms == 0)
        d->no_room_ms = d->now_ms;
    if (d->now_ms < d->no_room_ms + NO_ROOM_MS)
        return false;
    d->no_room_ms = 0;
    return true;
}

static bool apply(void *user, const VvRaftEntry *entry)
{
    VvDriver *d = user;

    if (!may_apply(d) || !vv_cluster_apply(d->cluster, d->now_ms, entry))
        return false;
    if (entry->type == VV_RAFT_CHANGE) {
        g_clear_pointer(&d->conf, g_bytes_unref);
        d->conf = g_bytes_new(entry->data, entry->data_bytes);
        d->conf_index = entry->index;
    }
    return true;
}

static void changed(void *user)
{
    VvDriver *d = user;

    vv_cluster_changed(d->cluster);
}

/* D4 */
static bool admit(void *user, uint64_t index, const VvEntry *entry)
{
    VvDriver *d = user;
    (void) index;

    if (entry->kind != VV_ENTRY_CONFIG)
        return true;
    return entry->f.body_bytes >= sizeof(uint64_t) && vv_get_u64(entry->f.body) >= d->config_index;
}

void vvd_proposal_free(void *data)
{
    VvdProposal *proposal = data;

    g_bytes_unref(proposal->body);
    g_free(proposal);
}

/* The ticket of this node's proposal that the entry decides; 0: it decides none. */
static uint64_t take_ticket(VvDriver *d, const VvEntry *entry, const VvApplied *applied)
{
    uint64_t session = vv_member_session(vv_cluster_member(d->cluster));

    if (applied->verdict == VV_VERDICT_SEQ || applied->verdict == VV_VERDICT_SESSION || applied->verdict == VV_VERDICT_NODE)
        return 0;
    for (guint i = 0; i < d->proposals->len; i++) {
        const VvdProposal *p = d->proposals->pdata[i];
        uint64_t ticket = p->ticket;
        bool is = p->config ? entry->request.client == d->client && entry->request.number == p->ticket
                            : p->sent && entry->kind == VV_ENTRY_MAP && entry->f.node == d->options.node &&
                                  entry->f.session == session && entry->f.seq == p->seq;

        if (!is)
            continue;
        g_ptr_array_remove_index(d->proposals, i);
        if (d->closing_ms != 0)
            d->closing_ms = d->now_ms;
        return ticket;
    }
    return 0;
}

/* After the state has it: the map follows (D2). */
static void applied(void *user, uint64_t index, uint64_t term, const VvEntry *entry, const VvApplied *what)
{
    VvDriver *d = user;
    VvClusterEntry handed = { .index = index };
    size_t head = 0;
    (void) term;

    if (!d->pool)
        return;
    if (entry && (entry->kind == VV_ENTRY_MAP || entry->kind == VV_ENTRY_CONFIG)) {
        handed.ticket = take_ticket(d, entry, what);
        handed.config = entry->kind == VV_ENTRY_CONFIG;
        handed.refused = what->verdict != VV_VERDICT_OK;
        head = handed.config ? sizeof(uint64_t) : 0;
        if (!handed.refused) {
            handed.ops_bytes = entry->f.body_bytes - head;
            handed.ops = g_memdup2(entry->f.body + head, handed.ops_bytes);
        }
        if (handed.config && !handed.refused)
            d->config_index = index;
    }
    d->with_committer = index;
    vv_pool_cluster_apply(d->pool, &handed);
}

void vvd_base_fill(VvDriver *d, VvBase *base)
{
    const VvClusterState *state = vv_cluster_state(d->cluster);
    GByteArray *bytes = g_byte_array_new();

    vv_state_encode(state, bytes);
    *base = (VvBase){ .index = state->applied_index,
        .term = state->applied_term,
        .conf_index = d->conf_index,
        .conf = g_bytes_ref(d->conf),
        .state = g_byte_array_free_to_bytes(bytes) };
}

/* ---- proposals */

/* False: not now, and nothing behind it either. */
static bool propose_map(VvDriver *d, VvdProposal *p)
{
    VvEntry entry = { .kind = VV_ENTRY_MAP };
    gsize length;

    if (p->sent)
        return true;
    entry.f.body = g_bytes_get_data(p->body, &length);
    entry.f.body_bytes = length;
    if (vv_member_propose(vv_cluster_member(d->cluster), d->now_ms, &entry, &p->seq) != 0)
        return false;
    p->sent = true;
    return true;
}

static void propose_config(VvDriver *d, VvdProposal *p)
{
    VvEntry entry = { .kind = VV_ENTRY_CONFIG, .request = { d->client, p->ticket } };
    gsize length;

    if (p->asked_ms != 0 && d->now_ms < p->asked_ms + d->options.session_ms / ASK_AGAIN_PARTS)
        return;
    if (vv_raft_leader(d->raft) == 0)
        return;
    p->asked_ms = d->now_ms;
    entry.f.body = g_bytes_get_data(p->body, &length);
    entry.f.body_bytes = length;
    vv_cluster_request(d->cluster, &entry);
}

void vvd_work_proposals(VvDriver *d)
{
    for (guint i = 0; i < d->proposals->len; i++) {
        VvdProposal *p = d->proposals->pdata[i];

        if (p->config)
            propose_config(d, p);
        else if (!propose_map(d, p))
            return;
    }
}

uint64_t vvd_proposals_deadline(const VvDriver *d)
{
    return d->proposals->len > 0 ? d->now_ms + d->options.session_ms / (4 * ASK_AGAIN_PARTS) : UINT64_MAX;
}

/* ---- this node's session. Nothing asks for leases or for snapshots by quiesce yet, so there is nothing to drain. */

static void settle(void *user, uint64_t job, VvSettleStep step, const VvRange *ranges, unsigned count, bool reads)
{
    VvDriver *d = user;
    (void) step;
    (void) ranges;
    (void) count;
    (void) reads;

    g_queue_push_tail(d->own, vvd_event(VVD_SETTLED, job));
}

static bool old_io(void *user)
{
    (void) user; /* a session that ends takes its process along (D5) */
    return false;
}

static bool uses(void *user, uint64_t object)
{
    (void) user;
    (void) object;
    return false;
}

static uint64_t nonce(void *user)
{
    uint64_t drawn = 0;
    (void) user;

    while (drawn == 0)
        vv_random_bytes(&drawn, sizeof drawn);
    return drawn;
}

static void session_changed(void *user, uint64_t session)
{
    VvDriver *d = user;

    if (session == 0)
        vvd_fail(d, "this node's session in the cluster has ended");
}

static void ended(void *user, VvHolder session)
{
    VvDriver *d = user;

    if (d->options.ended)
        d->options.ended(d->options.user, session.node, session.session, vv_cluster_state(d->cluster)->last_end);
}

static void proposal_done(void *user, uint64_t seq, VvVerdict verdict)
{
    (void) user; /* `applied` has seen it */
    (void) seq;
    (void) verdict;
}

static void retry(void *user)
{
    (void) user;
}

const VvRaftOps vvd_raft_ops = {
    .store_vote = store_vote,
    .append = append,
    .read = read_entry,
    .compact = compact,
    .send = send_message,
    .apply = apply,
    .changed = changed,
    .sync_source = vvd_sync_source,
    .sync_read = vvd_sync_read,
    .sync_begin = vvd_sync_begin,
    .sync_write = vvd_sync_write,
    .sync_install = vvd_sync_install,
};

const VvClusterOps vvd_cluster_ops = {
    .send = send_message,
    .admit = admit,
    .applied = applied,
    .ended = ended,
    .latest = vvd_latest_is,
    .member = { .settle = settle,
        .old_io = old_io,
        .uses = uses,
        .nonce = nonce,
        .session_changed = session_changed,
        .proposal_done = proposal_done,
        .retry = retry },
};
