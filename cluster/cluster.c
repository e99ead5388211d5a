/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The parts of a node, held together. */
#include "cluster.h"
#include "limits.h"
#include "message.h"

struct VvCluster {
    VvClusterConfig config;
    VvClusterOps ops;
    void *user;
    VvRaft *raft;
    VvClusterState *state;
    VvMember *member;
    VvCoordinator *coordinator;
    bool changed; /* Raft's role is another */
    bool working; /* entries wait until the coordinator is through */
    bool waiting; /* one did */
    uint64_t now_ms; /* of the event under way */
    int error;
};

/* ---- operations of the parts */

static void send_fields(void *user, uint64_t node, uint16_t kind, const VvFields *fields)
{
    VvCluster *cluster = user;
    g_autoptr(GByteArray) body = g_byte_array_new();

    vv_message_encode(body, kind, fields);
    cluster->ops.send(cluster->user, node, kind, body->data, body->len);
}

static int propose(void *user, const VvEntry *entry, uint64_t *ret_index)
{
    VvCluster *cluster = user;
    g_autoptr(GByteArray) bytes = g_byte_array_new();

    vv_entry_encode(bytes, entry);
    return vv_raft_propose(cluster->raft, cluster->now_ms, bytes->data, bytes->len, ret_index);
}

static unsigned voters(void *user, uint64_t *ids, unsigned most)
{
    const VvCluster *cluster = user;
    unsigned count = 0;
    VvRaftRole role;
    uint64_t id;

    for (unsigned i = 0; count < most && vv_raft_member(cluster->raft, i, &id, &role); i++)
        if (role == VV_RAFT_VOTER)
            ids[count++] = id;
    return count;
}

static uint64_t committed(void *user)
{
    const VvCluster *cluster = user;

    return vv_raft_commit(cluster->raft);
}

#define FORWARD(name, arguments, values) \
    static void name arguments \
    { \
        VvCluster *cluster = user; \
        cluster->ops.member.name values; \
    }
FORWARD(settle, (void *user, uint64_t job, VvSettleStep step, const VvRange *ranges, unsigned count, bool reads),
    (cluster->user, job, step, ranges, count, reads))
FORWARD(session_changed, (void *user, uint64_t session), (cluster->user, session))
FORWARD(proposal_done, (void *user, uint64_t seq, VvVerdict verdict), (cluster->user, seq, verdict))
FORWARD(retry, (void *user), (cluster->user))

static bool old_io(void *user)
{
    VvCluster *cluster = user;

    return cluster->ops.member.old_io(cluster->user);
}

static bool uses(void *user, uint64_t object)
{
    VvCluster *cluster = user;

    return cluster->ops.member.uses(cluster->user, object);
}

static uint64_t nonce(void *user)
{
    VvCluster *cluster = user;

    return cluster->ops.member.nonce(cluster->user);
}

static const VvMemberOps member_ops = { send_fields, settle, old_io, uses, nonce, session_changed, proposal_done, retry };
static const VvCoordinatorOps coordinator_ops = { send_fields, propose, voters, committed };

/* ---- */

VvCluster *vv_cluster_new(const VvClusterConfig *config, VvRaft *raft, const VvClusterOps *ops, void *user)
{
    VvCluster *cluster = g_new0(VvCluster, 1);
    VvMemberConfig of_member = { config->id, config->session_ms, config->no_session };
    VvCoordinatorConfig of_coordinator = { config->id, config->session_ms, config->drift_permille };

    cluster->config = *config;
    cluster->ops = *ops;
    cluster->user = user;
    cluster->raft = raft;
    cluster->state = vv_state_new();
    cluster->member = vv_member_new(&of_member, &member_ops, cluster, cluster->state);
    cluster->coordinator = vv_coordinator_new(&of_coordinator, &coordinator_ops, cluster);
    return cluster;
}

void vv_cluster_free(VvCluster *cluster)
{
    if (!cluster)
        return;
    vv_coordinator_free(cluster->coordinator);
    vv_member_free(cluster->member);
    vv_state_free(cluster->state);
    g_free(cluster);
}

/* Sessions that live in our state and not in @state, as the entries that would have ended them. */
static GArray *ends_with(const VvCluster *cluster, const VvClusterState *state)
{
    GArray *ends = g_array_new(FALSE, FALSE, sizeof(VvEntry));

    for (guint i = 0; i < cluster->state->nodes->len; i++) {
        const VvNodeState *node = &g_array_index(cluster->state->nodes, VvNodeState, i);
        VvEntry expire = { .kind = VV_ENTRY_EXPIRE, .f.node = node->id, .f.session = node->session };

        if (node->session && vv_state_session(state, node->id) != node->session)
            g_array_append_val(ends, expire);
    }
    return ends;
}

/* What comes from a peer may be any state: entries go on where Raft says. */
static VvClusterState *decode_at(uint64_t index, const uint8_t *data, size_t data_bytes)
{
    g_autoptr(VvClusterState) state = vv_state_decode(data, data_bytes);

    return state && state->applied_index == index ? g_steal_pointer(&state) : NULL;
}

bool vv_cluster_may_load(VvCluster *cluster, uint64_t index, const uint8_t *data, size_t data_bytes)
{
    g_autoptr(VvClusterState) state = decode_at(index, data, data_bytes);
    g_autoptr(GArray) ends = state ? ends_with(cluster, state) : NULL;

    if (!state)
        return false;
    for (guint i = 0; cluster->ops.may_apply && i < ends->len; i++)
        if (!cluster->ops.may_apply(cluster->user, &g_array_index(ends, VvEntry, i)))
            return false;
    return true;
}

static void session_ended(VvCluster *cluster, uint64_t node, uint64_t session)
{
    if (session && cluster->ops.ended)
        cluster->ops.ended(cluster->user, (VvHolder) { node, session });
}

bool vv_cluster_load(VvCluster *cluster, uint64_t now_ms, uint64_t index, const uint8_t *data, size_t data_bytes)
{
    VvClusterState *state = decode_at(index, data, data_bytes);
    g_autoptr(GArray) ends = state ? ends_with(cluster, state) : NULL;

    if (!state)
        return false;
    vv_coordinator_end(cluster->coordinator);
    vv_member_state_replaced(cluster->member, now_ms, state);
    vv_state_free(cluster->state);
    cluster->state = state;
    for (guint i = 0; i < ends->len; i++)
        session_ended(cluster, g_array_index(ends, VvEntry, i).f.node, g_array_index(ends, VvEntry, i).f.session);
    return true;
}

bool vv_cluster_apply(VvCluster *cluster, uint64_t now_ms, const VvRaftEntry *raw)
{
    g_auto(VvEntry) entry = { 0 };
    const VvEntry *ours = NULL;
    VvApplied applied;

    if (cluster->error != 0)
        return false;
    if (cluster->working) {
        cluster->waiting = true;
        return false;
    }
    if (raw->type == VV_RAFT_COMMAND) {
        if (!vv_entry_decode(raw->data, raw->data_bytes, &entry)) {
            cluster->error = -EUCLEAN;
            return false;
        }
        ours = &entry;
        if (cluster->ops.may_apply && !cluster->ops.may_apply(cluster->user, ours))
            return false;
    }
    vv_state_apply(cluster->state, raw->index, raw->term, ours, cluster->ops.admit, cluster->user, &applied);
    session_ended(cluster, applied.ended.node, applied.ended.session);
    cluster->ops.applied(cluster->user, raw->index, raw->term, ours, &applied);
    vv_member_applied(cluster->member, now_ms, raw->index, ours, &applied);
    vv_coordinator_applied(cluster->coordinator, now_ms, ours, &applied);
    return true;
}

void vv_cluster_changed(VvCluster *cluster)
{
    cluster->changed = true;
}

static void follow_raft(VvCluster *cluster, uint64_t now_ms)
{
    bool ready = vv_raft_ready(cluster->raft);
    uint64_t term = vv_raft_term(cluster->raft);

    cluster->changed = false;
    if (!ready)
        vv_coordinator_end(cluster->coordinator);
    else if (!vv_coordinator_active(cluster->coordinator, term))
        vv_coordinator_begin(cluster->coordinator, now_ms, term, cluster->state);
    vv_member_coordinator(cluster->member, now_ms, vv_raft_leader(cluster->raft), term);
}

static void confirm(VvCluster *cluster, uint64_t from, const VvFields *fields)
{
    if (vv_raft_term(cluster->raft) == fields->term)
        send_fields(cluster, from, VV_MESSAGE_CONFIRMED, fields);
}

/* Voters alone can lead and confirm, members alone ask for changes. Whom Raft follows is heard even if our configuration is too old to know it.
 * Members' own messages name their session, and the coordinator compares it. */
static bool may_come_from(VvCluster *cluster, uint64_t from, uint16_t kind)
{
    bool member = from == cluster->config.id, voter = member;
    VvRaftRole role;
    uint64_t id;

    for (unsigned i = 0; !member && vv_raft_member(cluster->raft, i, &id, &role); i++) {
        member = id == from;
        voter = member && role == VV_RAFT_VOTER;
    }
    if (vv_message_is_coordinators(kind))
        return voter || from == vv_raft_leader(cluster->raft);
    return kind == VV_MESSAGE_CONFIRMED ? voter : kind != VV_MESSAGE_REQUEST || member;
}

bool vv_cluster_receive(VvCluster *cluster, uint64_t now_ms, uint64_t from, uint16_t kind, const uint8_t *body, size_t body_bytes)
{
    VvFields fields;

    if (!vv_message_decode(kind, body, body_bytes, &fields))
        return false;
    if (!may_come_from(cluster, from, kind)) {
        vv_fields_clear(&fields);
        return true;
    }
    cluster->now_ms = now_ms;
    if (cluster->changed)
        follow_raft(cluster, now_ms);
    if (kind == VV_MESSAGE_CONFIRM)
        confirm(cluster, from, &fields);
    if (kind == VV_MESSAGE_LATEST_IS && cluster->ops.latest)
        cluster->ops.latest(cluster->user, fields.nonce, fields.number, fields.seq);
    cluster->working = true;
    vv_coordinator_receive(cluster->coordinator, now_ms, from, kind, &fields);
    cluster->working = false;
    vv_member_receive(cluster->member, now_ms, from, kind, &fields);
    vv_fields_clear(&fields);
    return true;
}

void vv_cluster_work(VvCluster *cluster, uint64_t now_ms)
{
    cluster->now_ms = now_ms;
    if (cluster->changed)
        follow_raft(cluster, now_ms);
    vv_member_work(cluster->member, now_ms);
    cluster->working = true;
    vv_coordinator_work(cluster->coordinator, now_ms);
    cluster->working = false;
    if (cluster->waiting) {
        cluster->waiting = false;
        vv_raft_poll(cluster->raft, now_ms);
    }
}

uint64_t vv_cluster_deadline(const VvCluster *cluster)
{
    return MIN(vv_member_deadline(cluster->member), vv_coordinator_deadline(cluster->coordinator));
}

void vv_cluster_request(VvCluster *cluster, const VvEntry *entry)
{
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    uint64_t leader = vv_raft_leader(cluster->raft);
    VvFields fields = { 0 };

    vv_entry_encode(bytes, entry);
    fields.body = bytes->data;
    fields.body_bytes = bytes->len;
    if (leader)
        send_fields(cluster, leader, VV_MESSAGE_REQUEST, &fields);
}

void vv_cluster_ask_latest(VvCluster *cluster, uint64_t nonce, uint64_t number)
{
    uint64_t leader = vv_raft_leader(cluster->raft);
    VvFields fields = { .nonce = nonce, .number = number };

    if (leader)
        send_fields(cluster, leader, VV_MESSAGE_LATEST, &fields);
}

const VvClusterState *vv_cluster_state(const VvCluster *cluster)
{
    return cluster->state;
}

VvMember *vv_cluster_member(VvCluster *cluster)
{
    return cluster->member;
}

VvCoordinator *vv_cluster_coordinator(VvCluster *cluster)
{
    return cluster->coordinator;
}

int vv_cluster_error(const VvCluster *cluster)
{
    return cluster->error;
}
