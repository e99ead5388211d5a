/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who leads brings the cluster's state and Raft to what the pool's records name: first the state knows a node, then it is a standby,
 * then, if it votes, it is promoted when it follows. One step at a time; what is lost is done again. All are standbys before one is
 * promoted, because nobody is added while that waits for a node that does not answer.
 *
 * Before all that goes who is gone: out of Raft, which gives up a promotion for it, so that no dead node is waited for; the coordinator
 * ends its session when it was silent for long enough, beside everything else. A leader that is gone, or is not to vote any more, hands leadership
 * over first, to one voter after the other. Only a record says that a node is gone, and a record that says so stays: a leader whose
 * map lags behind removes nobody by mistake.
 *
 * libraft judges a round of catching up when the node has acknowledged more than before. Where nobody changes anything a round that took
 * too long (its node took the state) would be the last: so an entry that does nothing is proposed now and then. */
#include "driver_private.h"

#include "message.h"

#define EVERY_MS 200u
#define NUDGE_MS_MAX 60000u
#define TELL_MS 100u
#define VOUCH_AGAIN_MS 500u

static bool find_role(const VvDriver *d, uint64_t id, VvRaftRole *ret_role)
{
    uint64_t found;

    for (unsigned i = 0; vv_raft_member(d->raft, i, &found, ret_role); i++)
        if (found == id)
            return true;
    return false;
}

/* False: it is not in Raft's configuration yet. Who is gone before the state knew him has used up his id there too. */
static bool bring_in(VvDriver *d, const VvDriverMember *member)
{
    const VvClusterState *state = vv_cluster_state(d->cluster);
    const VvNodeState *node = vv_state_node(state, member->id);
    VvEntry add = { .kind = VV_ENTRY_NODE_ADD, .f.node = member->id };
    VvRaftRole role;

    if (node && (node->removed || member->gone))
        return true;
    if (!node) { /* ids between that nobody has are not made up: the records know them all */
        add.request = (VvRequestId){ d->client, UINT64_MAX - member->id };
        if (member->id == state->next_node)
            vv_cluster_request(d->cluster, &add);
        return false;
    }
    if (find_role(d, member->id, &role))
        return true;
    (void) vv_raft_add(d->raft, d->now_ms, member->id);
    return false;
}

/* True: something was begun. */
static bool promote(VvDriver *d, const VvDriverMember *member)
{
    VvRaftRole role;

    if (member->gone || !member->voter || !find_role(d, member->id, &role) || role == VV_RAFT_VOTER)
        return false;
    d->nudge_pause_ms = EVERY_MS;
    d->nudged_ms = d->now_ms;
    return vv_raft_promote(d->raft, d->now_ms, member->id) == 0;
}

void vvd_heard(VvDriver *d, uint64_t node)
{
    VvdHeard heard = { .node = node, .ms = d->now_ms };
    bool named = false;

    for (guint i = 0; i < d->heard->len; i++)
        if (g_array_index(d->heard, VvdHeard, i).node == node) {
            g_array_index(d->heard, VvdHeard, i).ms = d->now_ms;
            return;
        }
    for (guint i = 0; i < d->members->len; i++)
        named |= g_array_index(d->members, VvDriverMember, i).id == node;
    if (named)
        g_array_append_val(d->heard, heard);
}

static bool is_up(const VvDriver *d, uint64_t node)
{
    for (guint i = 0; i < d->heard->len; i++)
        if (g_array_index(d->heard, VvdHeard, i).node == node)
            return d->now_ms < g_array_index(d->heard, VvdHeard, i).ms + d->options.election_ms;
    return false;
}

/* This node leads and is not to: the next voter is asked, until one has it. */
static void hand_over(VvDriver *d)
{
    if (d->handed_ms != 0 && d->now_ms < d->handed_ms + d->options.election_ms)
        return;
    d->handed_ms = d->now_ms;
    for (guint i = 0; i < d->members->len; i++) {
        const VvDriverMember *to = &g_array_index(d->members, VvDriverMember, d->handed_to++ % d->members->len);

        if (!to->gone && to->voter && !to->witness && vv_raft_transfer(d->raft, d->now_ms, to->id) == 0)
            return;
    }
}

/* D6. One that is down, or lags, is not asked: while leadership is handed over nothing is decided. */
bool vvd_work_witness(VvDriver *d)
{
    if (!d->options.witness || !vv_raft_ready(d->raft) || (d->handed_ms != 0 && d->now_ms < d->handed_ms + d->options.election_ms))
        return false;
    for (guint i = 0; i < d->members->len; i++) {
        const VvDriverMember *to = &g_array_index(d->members, VvDriverMember, d->handed_to++ % d->members->len);

        if (to->gone || !to->voter || to->witness || !is_up(d, to->id) || !vv_raft_follows(d->raft, to->id) ||
            vv_raft_transfer(d->raft, d->now_ms, to->id) != 0)
            continue;
        d->handed_ms = d->now_ms;
        return true;
    }
    return false;
}

/* Who is gone goes, and who is not to vote any more is a standby. True: something was begun. */
static bool take_out(VvDriver *d, const VvDriverMember *member)
{
    const VvNodeState *node = vv_state_node(vv_cluster_state(d->cluster), member->id);
    VvRaftRole role;
    bool is = find_role(d, member->id, &role);

    if (member->gone && member->id != d->options.node && node && !node->removed)
        vv_coordinator_evict(vv_cluster_coordinator(d->cluster), member->id);
    if (!is || (!member->gone && (member->voter || role != VV_RAFT_VOTER)))
        return false;
    if (member->id == d->options.node) {
        hand_over(d);
        return true;
    }
    return (member->gone ? vv_raft_remove(d->raft, d->now_ms, member->id) : vv_raft_demote(d->raft, d->now_ms, member->id)) == 0;
}

static void nudge(VvDriver *d)
{
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    VvEntry noop = { .kind = VV_ENTRY_NOOP };
    uint64_t index;

    if (d->now_ms < d->nudged_ms + d->nudge_pause_ms)
        return;
    d->nudged_ms = d->now_ms;
    d->nudge_pause_ms = MIN(2 * d->nudge_pause_ms, NUDGE_MS_MAX);
    vv_entry_encode(bytes, &noop);
    (void) vv_raft_propose(d->raft, d->now_ms, bytes->data, bytes->len, &index);
}

void vvd_work_members(VvDriver *d)
{
    if (d->members->len == 0 || !vv_raft_ready(d->raft) || vv_raft_change_pending(d->raft) ||
        (d->members_ms != 0 && d->now_ms < d->members_ms + EVERY_MS))
        return;
    d->members_ms = d->now_ms;
    for (guint i = 0; i < d->members->len; i++)
        if (take_out(d, &g_array_index(d->members, VvDriverMember, i)))
            return;
    if (vv_raft_promoting(d->raft) != 0) {
        nudge(d);
        return;
    }
    for (guint i = 0; i < d->members->len; i++)
        if (!bring_in(d, &g_array_index(d->members, VvDriverMember, i)))
            return;
    for (guint i = 0; i < d->members->len; i++)
        if (promote(d, &g_array_index(d->members, VvDriverMember, i)))
            return;
}

/* ---- leadership, on wish */
void vvd_transfer(VvDriver *d, uint64_t node)
{
    uint64_t leader = vv_raft_leader(d->raft);
    g_autoptr(GByteArray) body = g_byte_array_new();
    VvFields fields = { .node = node };

    if (vv_raft_is_leader(d->raft)) {
        (void) vv_raft_transfer(d->raft, d->now_ms, node);
    } else if (leader != 0) {
        vv_message_encode(body, VV_MESSAGE_LEAD, &fields);
        d->options.send(d->options.user, leader, VV_MESSAGE_LEAD, body->data, body->len);
    }
}

void vvd_receive_lead(VvDriver *d, uint64_t from, const uint8_t *body, size_t body_bytes)
{
    VvRaftRole role;
    VvFields fields;

    if (!find_role(d, from, &role) || !vv_message_decode(VV_MESSAGE_LEAD, body, body_bytes, &fields))
        return;
    (void) vv_raft_transfer(d->raft, d->now_ms, fields.node); /* refused if it does not lead */
    vv_fields_clear(&fields);
}

/* ---- who is vouched for */
static bool is_unfenced(const VvDriver *d, uint64_t node, uint64_t session)
{
    const GArray *unfenced = vv_cluster_state(d->cluster)->unfenced;

    for (guint i = 0; i < unfenced->len; i++) {
        const VvHolder *holder = &g_array_index(unfenced, VvUnfenced, i).holder;

        if (holder->node == node && (session == 0 || holder->session == session))
            return true;
    }
    return false;
}

/* What is meant is the newest session that this node knows: one that is opened later is none that anybody has vouched for. */
void vvd_vouch(VvDriver *d, uint64_t id)
{
    const VvNodeState *node = vv_state_node(vv_cluster_state(d->cluster), id);
    VvdVouch vouch = { .node = id, .session = node ? node->last_session : 0 };

    if (vouch.session == 0)
        return;
    for (guint i = 0; i < d->vouched->len; i++)
        if (g_array_index(d->vouched, VvdVouch, i).node == id && g_array_index(d->vouched, VvdVouch, i).session == vouch.session)
            return;
    g_array_append_val(d->vouched, vouch);
}

void vvd_work_vouched(VvDriver *d)
{
    for (guint i = 0; i < d->vouched->len;) {
        VvdVouch *vouch = &g_array_index(d->vouched, VvdVouch, i);
        VvEntry fenced = { .kind = VV_ENTRY_FENCED, .f.node = vouch->node, .f.session = vouch->session };

        if (is_unfenced(d, vouch->node, vouch->session)) {
            if (vv_raft_leader(d->raft) != 0 && (vouch->asked_ms == 0 || d->now_ms >= vouch->asked_ms + VOUCH_AGAIN_MS)) {
                if (vouch->number == 0) {
                    VV_LOCKED(&d->lock);
                    vouch->number = d->next_ticket++; /* a request's number, as those of the committer are */
                }
                vouch->asked_ms = d->now_ms;
                fenced.request = (VvRequestId){ d->client, vouch->number };
                vv_cluster_request(d->cluster, &fenced);
            }
        } else if (vv_state_session(vv_cluster_state(d->cluster), vouch->node) != vouch->session) {
            g_array_remove_index(d->vouched, i); /* done, or it came back */
            continue;
        }
        i++;
    }
}

/* ---- looking */
static uint64_t wall_ns(uint64_t wall_now_ns, const VvDriver *d, uint64_t ms)
{
    return ms > d->now_ms ? wall_now_ns + (ms - d->now_ms) * 1000000u : wall_now_ns - (d->now_ms - ms) * 1000000u;
}

/* Since when the session is there. Those that this process found when it came are older than its own. */
static uint64_t since_of(const VvDriver *d, const VvNodeState *state, uint64_t now_ns)
{
    uint64_t own = vv_member_session(vv_cluster_member(d->cluster));

    for (guint i = 0; i < d->nodes->len; i++) {
        const VvDriverNode *node = &g_array_index(d->nodes, VvDriverNode, i);

        if (node->id == state->id && node->session == state->session)
            return node->since_ns;
    }
    return own != 0 && state->session >= own ? now_ns : 0;
}

static void set_times(const VvDriver *d, const VvNodeState *state, uint64_t now_ns, VvDriverNode *node)
{
    uint64_t own_ms = state->id == d->options.node ? vv_member_good_until(vv_cluster_member(d->cluster)) : 0, heard_ms, until_ms;

    if (state->session == 0)
        return;
    node->since_ns = since_of(d, state, now_ns);
    if (own_ms != 0) { /* it knows best */
        node->renewed_ns = wall_ns(now_ns, d, own_ms - MIN(own_ms, d->options.session_ms));
        node->until_ns = wall_ns(now_ns, d, own_ms);
    } else if (vv_coordinator_heard(vv_cluster_coordinator(d->cluster), state->id, &heard_ms, &until_ms)) {
        node->renewed_ns = wall_ns(now_ns, d, heard_ms);
        node->until_ns = wall_ns(now_ns, d, until_ms);
    }
}

static void fill_node(VvDriver *d, const VvNodeState *state, uint64_t now_ns, VvDriverNode *ret_node)
{
    VvRaftRole role = VV_RAFT_STANDBY;
    bool member = find_role(d, state->id, &role);

    *ret_node = (VvDriverNode){ .id = state->id,
        .session = state->session,
        .member = member,
        .voter = member && role == VV_RAFT_VOTER,
        .removed = state->removed,
        .unfenced = is_unfenced(d, state->id, 0) };
    set_times(d, state, now_ns, ret_node);
}

void vvd_tell_nodes(VvDriver *d)
{
    const GArray *known = vv_cluster_state(d->cluster)->nodes;
    g_autoptr(GArray) nodes = NULL;
    uint64_t now_ns;

    if (d->nodes_ms != 0 && d->now_ms < d->nodes_ms + TELL_MS)
        return;
    d->nodes_ms = d->now_ms;
    now_ns = vv_now_ns();
    nodes = g_array_sized_new(FALSE, FALSE, sizeof(VvDriverNode), known->len);
    for (guint i = 0; i < known->len; i++) {
        VvDriverNode node;

        fill_node(d, &g_array_index(known, VvNodeState, i), now_ns, &node);
        g_array_append_val(nodes, node);
    }
    VV_LOCKED(&d->lock);
    g_array_set_size(d->nodes, 0);
    g_array_append_vals(d->nodes, nodes->data, nodes->len);
}

uint64_t vvd_led_ns(VvDriver *d)
{
    uint64_t leader = vv_raft_leader(d->raft), now_ns = vv_now_ns();

    if (leader == d->options.node)
        d->led_ms = d->now_ms;
    for (guint i = 0; leader != 0 && i < d->heard->len; i++)
        if (g_array_index(d->heard, VvdHeard, i).node == leader)
            d->led_ms = MAX(d->led_ms, g_array_index(d->heard, VvdHeard, i).ms);
    return wall_ns(now_ns, d, d->led_ms);
}
