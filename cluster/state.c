/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Apply: what each entry does to the replicated state. */
#include "limits.h"
#include "rules.h"
#include "state_private.h"

void vvs_clear_node(void *node)
{
    g_clear_pointer(&((VvNodeState *) node)->body, g_free);
}

VvClusterState *vv_state_new(void)
{
    VvClusterState *state = g_new0(VvClusterState, 1);

    state->next_node = 1;
    state->nodes = g_array_new(FALSE, FALSE, sizeof(VvNodeState));
    g_array_set_clear_func(state->nodes, vvs_clear_node);
    state->leases = g_array_new(FALSE, FALSE, sizeof(VvLease));
    state->segments = g_array_new(FALSE, FALSE, sizeof(VvSegmentOwner));
    state->unfenced = g_array_new(FALSE, FALSE, sizeof(VvUnfenced));
    state->removals = g_array_new(FALSE, FALSE, sizeof(VvPendingRemoval));
    state->requests = g_array_new(FALSE, FALSE, sizeof(VvRequestResult));
    state->done = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    return state;
}

void vv_state_free(VvClusterState *state)
{
    if (!state)
        return;
    g_array_free(state->nodes, TRUE);
    g_array_free(state->leases, TRUE);
    g_array_free(state->segments, TRUE);
    g_array_free(state->unfenced, TRUE);
    g_array_free(state->removals, TRUE);
    g_array_free(state->requests, TRUE);
    g_array_free(state->done, TRUE);
    g_free(state);
}

static VvNodeState *find_node(const VvClusterState *state, uint64_t id)
{
    guint low = 0, high = state->nodes->len;

    while (low < high) {
        guint middle = (low + high) / 2;

        if (VV_STATE_AT(state->nodes, VvNodeState, middle)->id < id)
            low = middle + 1;
        else
            high = middle;
    }
    if (low < state->nodes->len && VV_STATE_AT(state->nodes, VvNodeState, low)->id == id)
        return VV_STATE_AT(state->nodes, VvNodeState, low);
    return NULL;
}

const VvNodeState *vv_state_node(const VvClusterState *state, uint64_t node)
{
    return find_node(state, node);
}

uint64_t vv_state_session(const VvClusterState *state, uint64_t node)
{
    const VvNodeState *found = find_node(state, node);

    return found ? found->session : 0;
}

/* ---- ends of sessions */

/* Sessions of @node up to @last. */
static void forget_unfenced(VvClusterState *state, uint64_t node, uint64_t last)
{
    for (guint i = 0; i < state->unfenced->len;) {
        const VvHolder *holder = &VV_STATE_AT(state->unfenced, VvUnfenced, i)->holder;

        if (holder->node == node && holder->session <= last)
            g_array_remove_index(state->unfenced, i);
        else
            i++;
    }
}

static void end_session(VvClusterState *state, uint64_t index, VvNodeState *node, VvApplied *applied)
{
    VvUnfenced unfenced = { .holder = { node->id, node->session }, .end_index = index };

    vvs_release_all(state, unfenced.holder);
    g_array_append_val(state->unfenced, unfenced);
    applied->ended = unfenced.holder;
    state->last_end = index;
    node->session = 0;
    node->seq = 0;
}

/* The open entry names the session that its node knew as its last: of two asks that cross only one becomes a session, and one that was
 * asked before a restart cannot end the session of after it, whose I/O may be under way. */
static VvVerdict open_session(VvClusterState *state, uint64_t index, const VvEntry *entry, VvApplied *applied)
{
    VvNodeState *node = find_node(state, entry->f.node);

    if (!node || node->removed)
        return VV_VERDICT_NODE;
    if (node->nonce == entry->f.nonce || (vv_rule(VV_RULE_OPEN_PREVIOUS) && entry->f.number != node->last_session))
        return VV_VERDICT_SESSION;
    if (state->unfenced->len >= VV_UNFENCED_MAX)
        return VV_VERDICT_LIMIT;
    if (node->session)
        end_session(state, index, node, applied);
    /* It asks only when all I/O of its earlier sessions has ended. */
    forget_unfenced(state, node->id, UINT64_MAX);
    node->session = node->last_session = index;
    node->nonce = entry->f.nonce;
    node->seq = 0;
    return VV_VERDICT_OK;
}

static VvVerdict expire(VvClusterState *state, uint64_t index, const VvEntry *entry, VvApplied *applied)
{
    VvNodeState *node = find_node(state, entry->f.node);

    if (!node || node->session != entry->f.session)
        return VV_VERDICT_SESSION;
    end_session(state, index, node, applied);
    return VV_VERDICT_OK;
}

/* ---- nodes */

static VvVerdict set_body(VvNodeState *node, const VvEntry *entry)
{
    if (entry->f.body_bytes > VV_NODE_BODY_BYTES_MAX)
        return VV_VERDICT_LIMIT;
    g_free(node->body);
    node->body = g_memdup2(entry->f.body, entry->f.body_bytes);
    node->body_bytes = (uint32_t) entry->f.body_bytes;
    return VV_VERDICT_OK;
}

static VvVerdict add_node(VvClusterState *state, const VvEntry *entry)
{
    VvNodeState node = { .id = entry->f.node };
    guint present = 0;

    if (entry->f.node != state->next_node)
        return VV_VERDICT_NODE;
    for (guint i = 0; i < state->nodes->len; i++)
        present += !VV_STATE_AT(state->nodes, VvNodeState, i)->removed;
    if (present >= VV_NODES_MAX || set_body(&node, entry) != VV_VERDICT_OK)
        return VV_VERDICT_LIMIT;
    g_array_append_val(state->nodes, node);
    state->next_node++;
    return VV_VERDICT_OK;
}

/* A node that is removed stays in the list while a session of it is not fenced: it must not be forgotten that it may still write. */
static VvVerdict remove_node(VvClusterState *state, uint64_t index, const VvEntry *entry, VvApplied *applied)
{
    VvNodeState *node = find_node(state, entry->f.node);

    if (!node || node->removed)
        return VV_VERDICT_NODE;
    if (node->session)
        end_session(state, index, node, applied);
    node->removed = true;
    return VV_VERDICT_OK;
}

/* ---- segments */

static VvSegmentOwner *find_segment(const VvClusterState *state, uint64_t segment, guint *ret_place)
{
    guint low = 0, high = state->segments->len;

    while (low < high) {
        guint middle = (low + high) / 2;

        if (VV_STATE_AT(state->segments, VvSegmentOwner, middle)->segment < segment)
            low = middle + 1;
        else
            high = middle;
    }
    if (ret_place)
        *ret_place = low;
    if (low < state->segments->len && VV_STATE_AT(state->segments, VvSegmentOwner, low)->segment == segment)
        return VV_STATE_AT(state->segments, VvSegmentOwner, low);
    return NULL;
}

bool vv_state_segment_owned(const VvClusterState *state, uint64_t segment, VvHolder holder)
{
    const VvSegmentOwner *owner = find_segment(state, segment, NULL);

    return owner && owner->owner.node == holder.node && owner->owner.session == holder.session;
}

bool vv_state_segment_free(const VvClusterState *state, uint64_t segment, VvHolder holder)
{
    const VvSegmentOwner *owner = find_segment(state, segment, NULL);

    if (!owner || (owner->owner.node == holder.node && owner->owner.session == holder.session))
        return true;
    if (vv_state_session(state, owner->owner.node) == owner->owner.session)
        return false;
    for (guint i = 0; vv_rule(VV_RULE_NO_SEGMENT) && i < state->unfenced->len; i++) {
        const VvHolder *unfenced = &VV_STATE_AT(state->unfenced, VvUnfenced, i)->holder;

        if (unfenced->node == owner->owner.node && unfenced->session == owner->owner.session)
            return false;
    }
    return true;
}

static VvVerdict claim_segment(VvClusterState *state, const VvEntry *entry)
{
    VvSegmentOwner claim = { .segment = entry->f.object, .owner = { entry->f.node, entry->f.session } };
    VvSegmentOwner *owner;
    guint place;

    if (!vv_state_segment_free(state, claim.segment, claim.owner))
        return VV_VERDICT_UNFENCED;
    owner = find_segment(state, claim.segment, &place);
    if (owner)
        *owner = claim;
    else if (state->segments->len >= VV_SEGMENTS_OWNED_MAX)
        return VV_VERDICT_LIMIT;
    else
        g_array_insert_val(state->segments, place, claim);
    return VV_VERDICT_OK;
}

/* ---- snapshots */

static bool listed(const VvEntry *entry, VvHolder holder)
{
    for (unsigned i = 0; i < entry->f.holders_count; i++)
        if (entry->f.holders[i].node == holder.node && entry->f.holders[i].session == holder.session)
            return true;
    return false;
}

/* Every session that may write one of these LUNs now must have been quiesced. */
static VvVerdict check_snapshot(const VvClusterState *state, const VvEntry *entry)
{
    for (guint i = 0; vv_rule(VV_RULE_QUIESCE_CHECK) && i < state->leases->len; i++) {
        const VvLease *lease = VV_STATE_AT(state->leases, VvLease, i);

        if (lease->mode != VV_LEASE_WRITE)
            continue;
        for (unsigned j = 0; j < entry->f.luns_count; j++)
            if (entry->f.luns[j] == lease->range.lun && !listed(entry, lease->holder))
                return VV_VERDICT_HOLDERS;
    }
    return VV_VERDICT_OK;
}

static int find_removal(const VvClusterState *state, uint64_t object)
{
    for (guint i = 0; i < state->removals->len; i++)
        if (VV_STATE_AT(state->removals, VvPendingRemoval, i)->object == object)
            return (int) i;
    return -1;
}

static VvVerdict check_purge(const VvClusterState *state, const VvEntry *entry)
{
    int place = find_removal(state, entry->f.object);
    uint64_t removal;

    if (place < 0)
        return VV_VERDICT_GONE;
    removal = VV_STATE_AT(state->removals, VvPendingRemoval, (guint) place)->index;
    if (vv_rule(VV_RULE_DROP_ID) && removal != entry->f.removal)
        return VV_VERDICT_GONE;
    for (guint i = 0; vv_rule(VV_RULE_DROP_ASK) && i < state->nodes->len; i++) {
        const VvNodeState *node = VV_STATE_AT(state->nodes, VvNodeState, i);

        if (node->session && node->session < removal && !listed(entry, (VvHolder) { node->id, node->session }))
            return VV_VERDICT_HOLDERS;
    }
    return VV_VERDICT_OK;
}

/* Whatever becomes of its entry, a quiesce is over with it. One of an earlier term ended before. */
static void end_quiesce(VvClusterState *state, uint64_t term, const VvEntry *entry)
{
    if (term > state->applied_term)
        g_array_set_size(state->done, 0);
    if (!entry || entry->kind != VV_ENTRY_SNAPSHOT || entry->f.quiesce.term != term)
        return;
    if (state->done->len >= VV_QUIESCES_MAX)
        g_array_remove_index(state->done, 0);
    g_array_append_val(state->done, entry->f.quiesce.number);
}

bool vv_state_quiesce_ended(const VvClusterState *state, VvQuiesceId quiesce)
{
    if (quiesce.term != state->applied_term)
        return vv_rule(VV_RULE_QUIESCE_TERM) && quiesce.term < state->applied_term;
    for (guint i = 0; i < state->done->len; i++)
        if (*VV_STATE_AT(state->done, uint64_t, i) == quiesce.number)
            return true;
    /* None is begun while one whose entry may come is older by VV_QUIESCES_MAX (coordinator_quiesce.c): what is older still has ended. */
    return state->done->len >= VV_QUIESCES_MAX && quiesce.number + VV_QUIESCES_MAX < *VV_STATE_AT(state->done, uint64_t, 0);
}

/* ---- requests */

const VvRequestResult *vv_state_request(const VvClusterState *state, VvRequestId id)
{
    for (guint i = state->requests->len; id.client && i-- > 0;) {
        const VvRequestResult *result = VV_STATE_AT(state->requests, VvRequestResult, i);

        if (result->id.client == id.client && result->id.number == id.number)
            return result;
    }
    return NULL;
}

static void remember(VvClusterState *state, uint64_t index, VvRequestId id, VvVerdict verdict)
{
    VvRequestResult result = { .id = id, .index = index, .verdict = verdict };
    guint of_client = 0;
    int oldest = -1;

    for (guint i = 0; i < state->requests->len; i++)
        if (VV_STATE_AT(state->requests, VvRequestResult, i)->id.client == id.client) {
            if (oldest < 0)
                oldest = (int) i;
            of_client++;
        }
    if (of_client >= VV_CLUSTER_REQUESTS_PER_CLIENT)
        g_array_remove_index(state->requests, (guint) oldest);
    else if (state->requests->len >= VV_CLUSTER_REQUESTS_KEPT)
        g_array_remove_index(state->requests, 0);
    g_array_append_val(state->requests, result);
}

/* ---- apply */

/* Entries of a session: it must live, and this must be its next. The seq is used up whatever becomes of the rest. */
static VvVerdict take_seq(VvClusterState *state, const VvEntry *entry)
{
    VvNodeState *node = find_node(state, entry->f.node);

    if (!node || node->removed)
        return VV_VERDICT_NODE;
    if (vv_rule(VV_RULE_APPLY_SESSION) && node->session != entry->f.session)
        return VV_VERDICT_SESSION;
    if (vv_rule(VV_RULE_SEQUENCE) && entry->f.seq != node->seq + 1)
        return VV_VERDICT_SEQ;
    node->seq = entry->f.seq;
    return VV_VERDICT_OK;
}

/* It names the session that somebody vouches for: one that ended since, which nobody had seen then, is not meant. */
static VvVerdict check_fenced(const VvClusterState *state, const VvEntry *entry)
{
    for (guint i = 0; i < state->unfenced->len; i++) {
        const VvHolder *holder = &VV_STATE_AT(state->unfenced, VvUnfenced, i)->holder;

        if (holder->node == entry->f.node && holder->session == entry->f.session)
            return VV_VERDICT_OK;
    }
    return vv_state_node(state, entry->f.node) ? VV_VERDICT_SESSION : VV_VERDICT_NODE;
}

static VvVerdict check(VvClusterState *state, const VvEntry *entry)
{
    if (vv_entry_has_seq(entry->kind))
        return take_seq(state, entry);
    switch (entry->kind) {
    case VV_ENTRY_GRANT:
        return vv_state_session(state, entry->f.node) == entry->f.session ? VV_VERDICT_OK : VV_VERDICT_SESSION;
    case VV_ENTRY_SNAPSHOT:
        return check_snapshot(state, entry);
    case VV_ENTRY_REMOVE:
        if (find_removal(state, entry->f.object) >= 0)
            return VV_VERDICT_GONE;
        return state->removals->len < VV_REMOVALS_WAITING_MAX ? VV_VERDICT_OK : VV_VERDICT_LIMIT;
    case VV_ENTRY_PURGE:
        return check_purge(state, entry);
    case VV_ENTRY_FENCED:
        return check_fenced(state, entry);
    case VV_ENTRY_NODE_SET:
        return vv_state_node(state, entry->f.node) ? VV_VERDICT_OK : VV_VERDICT_NODE;
    default:
        return VV_VERDICT_OK;
    }
}

static bool has_body(VvEntryKind kind)
{
    return kind == VV_ENTRY_MAP || kind == VV_ENTRY_SNAPSHOT || kind == VV_ENTRY_REMOVE || kind == VV_ENTRY_PURGE ||
           kind == VV_ENTRY_CONFIG;
}

static VvVerdict change(VvClusterState *state, uint64_t index, const VvEntry *entry, VvApplied *applied)
{
    VvPendingRemoval removal = { .object = entry->f.object, .index = index };

    switch (entry->kind) {
    case VV_ENTRY_SESSION:
        return open_session(state, index, entry, applied);
    case VV_ENTRY_EXPIRE:
        return expire(state, index, entry, applied);
    case VV_ENTRY_GRANT:
        return vvs_grant(state, index, entry);
    case VV_ENTRY_RELEASE:
        return vvs_release(state, (VvHolder) { entry->f.node, entry->f.session }, &entry->f.range) ? VV_VERDICT_OK : VV_VERDICT_LIMIT;
    case VV_ENTRY_SEGMENT:
        return claim_segment(state, entry);
    case VV_ENTRY_REMOVE:
        g_array_append_val(state->removals, removal);
        return VV_VERDICT_OK;
    case VV_ENTRY_PURGE:
        g_array_remove_index(state->removals, (guint) find_removal(state, entry->f.object));
        return VV_VERDICT_OK;
    case VV_ENTRY_FENCED:
        forget_unfenced(state, entry->f.node, entry->f.session);
        return VV_VERDICT_OK;
    case VV_ENTRY_NODE_ADD:
        return add_node(state, entry);
    case VV_ENTRY_NODE_SET:
        return set_body(find_node(state, entry->f.node), entry);
    case VV_ENTRY_NODE_REMOVE:
        return remove_node(state, index, entry, applied);
    default:
        return VV_VERDICT_OK;
    }
}

VvVerdict vv_state_apply(VvClusterState *state, uint64_t index, uint64_t term, const VvEntry *entry, VvAdmitFunc admit, void *user,
    VvApplied *ret_applied)
{
    VvApplied applied = { .verdict = VV_VERDICT_OK };
    const VvRequestResult *before;

    g_assert(index == state->applied_index + 1 && term >= state->applied_term);
    end_quiesce(state, term, entry);
    if (entry && (before = vv_state_request(state, entry->request)) != NULL) {
        applied.verdict = VV_VERDICT_DUPLICATE;
        applied.original = *before;
    } else if (entry) {
        applied.verdict = check(state, entry);
        if (applied.verdict == VV_VERDICT_OK && has_body(entry->kind) && admit && !admit(user, index, entry))
            applied.verdict = VV_VERDICT_REFUSED;
        if (applied.verdict == VV_VERDICT_OK)
            applied.verdict = change(state, index, entry, &applied);
        /* A list that misses somebody is made anew by the coordinator: no answer yet to who asked. */
        if (entry->request.client && applied.verdict != VV_VERDICT_HOLDERS)
            remember(state, index, entry->request, applied.verdict);
    }
    state->applied_index = index;
    state->applied_term = term;
    *ret_applied = applied;
    return applied.verdict;
}

const char *vv_verdict_name(VvVerdict verdict)
{
    static const char *const names[VV_VERDICTS] = { "ok", "node", "session", "seq", "conflict", "holders", "gone", "unfenced", "limit",
        "refused", "duplicate" };

    return verdict < VV_VERDICTS ? names[verdict] : "?";
}
