/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The coordinator's sessions: opened, renewed after a confirmation, expired when somebody needs it. */
#include "limits.h"
#include "message.h"
#include "rules.h"
#include "coordinator_private.h"

VvCoordinator *vv_coordinator_new(const VvCoordinatorConfig *config, const VvCoordinatorOps *ops, void *user)
{
    VvCoordinator *c = g_new0(VvCoordinator, 1);

    c->config = *config;
    c->ops = *ops;
    c->user = user;
    c->nodes = g_array_new(FALSE, FALSE, sizeof(VvcNode));
    c->renewals = g_array_new(FALSE, FALSE, sizeof(VvcRenewal));
    c->latest = g_array_new(FALSE, FALSE, sizeof(VvcLatest));
    c->answers = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    c->wants = g_array_new(FALSE, FALSE, sizeof(VvcWant));
    c->requests = g_ptr_array_new_with_free_func(vvc_request_free);
    c->quiesces = g_ptr_array_new_with_free_func(vvc_quiesce_free);
    c->drops = g_ptr_array_new_with_free_func(vvc_drop_free);
    return c;
}

void vv_coordinator_free(VvCoordinator *c)
{
    if (!c)
        return;
    vv_coordinator_end(c);
    g_array_free(c->nodes, TRUE);
    g_array_free(c->renewals, TRUE);
    g_array_free(c->latest, TRUE);
    g_array_free(c->answers, TRUE);
    g_array_free(c->wants, TRUE);
    g_ptr_array_free(c->requests, TRUE);
    g_ptr_array_free(c->quiesces, TRUE);
    g_ptr_array_free(c->drops, TRUE);
    g_free(c);
}

void vv_coordinator_begin(VvCoordinator *c, uint64_t now_ms, uint64_t term, const VvClusterState *applied)
{
    vv_coordinator_end(c);
    c->active = true;
    /* Who leads the same term again (a sole voter may) must not use a number of it twice. */
    if (c->term != term)
        c->round = c->confirmed = c->last_quiesce = 0;
    c->term = term;
    c->applied = applied;
    c->tail = vv_state_copy(applied);
    c->worked_ms = now_ms;
    for (guint i = 0; i < applied->nodes->len; i++)
        vvc_node(c, g_array_index(applied->nodes, VvNodeState, i).id);
}

void vv_coordinator_end(VvCoordinator *c)
{
    c->active = false;
    c->applied = NULL;
    g_clear_pointer(&c->tail, vv_state_free);
    c->asked_ms = 0;
    g_array_set_size(c->nodes, 0);
    g_array_set_size(c->renewals, 0);
    g_array_set_size(c->latest, 0);
    g_array_set_size(c->answers, 0);
    g_array_set_size(c->wants, 0);
    g_ptr_array_set_size(c->requests, 0);
    g_ptr_array_set_size(c->quiesces, 0);
    g_ptr_array_set_size(c->drops, 0);
}

bool vv_coordinator_active(const VvCoordinator *c, uint64_t term)
{
    return c->active && c->term == term;
}

/* ---- helpers of all parts */

bool vvc_propose(VvCoordinator *c, const VvEntry *entry, uint64_t *ret_index)
{
    VvApplied applied;
    uint64_t index;

    if (c->ops.propose(c->user, entry, &index) != 0)
        return false;
    /* Raft's own entries (changes of members) stand between. */
    while (c->tail->applied_index + 1 < index)
        vv_state_apply(c->tail, c->tail->applied_index + 1, c->term, NULL, NULL, NULL, &applied);
    vv_state_apply(c->tail, index, c->term, entry, NULL, NULL, &applied);
    if (ret_index)
        *ret_index = index;
    return true;
}

/* One that is not known yet counts as heard now. Ids that are used up are not known again. */
VvcNode *vvc_node(VvCoordinator *c, uint64_t node)
{
    VvcNode added = { .node = node, .heard_ms = vv_rule(VV_RULE_NEW_WAIT) ? c->worked_ms : 0 };
    const VvNodeState *state = vv_state_node(c->tail, node);

    for (guint i = 0; i < c->nodes->len; i++)
        if (g_array_index(c->nodes, VvcNode, i).node == node)
            return &g_array_index(c->nodes, VvcNode, i);
    if (!state || state->removed)
        return NULL;
    g_array_append_val(c->nodes, added);
    return &g_array_index(c->nodes, VvcNode, c->nodes->len - 1);
}

void vvc_need(VvCoordinator *c, uint64_t node)
{
    VvcNode *found = vvc_node(c, node);

    if (found)
        found->needed = true;
}

bool vvc_listed(const GArray *holders, VvHolder holder)
{
    for (guint i = 0; i < holders->len; i++) {
        const VvHolder *other = &g_array_index(holders, VvHolder, i);

        if (other->node == holder.node && other->session == holder.session)
            return true;
    }
    return false;
}

/* Is it time to ask again? */
bool vvc_due(uint64_t now_ms, uint64_t *last_ms, uint64_t every_ms)
{
    if (*last_ms != 0 && now_ms < *last_ms + every_ms)
        return false;
    *last_ms = MAX(now_ms, 1);
    return true;
}

/* ---- sessions */

static void hear(VvCoordinator *c, uint64_t now_ms, uint64_t node)
{
    VvcNode *found = vvc_node(c, node);

    if (found)
        found->heard_ms = now_ms;
}

static void open_session(VvCoordinator *c, uint64_t now_ms, uint64_t from, const VvFields *fields)
{
    VvEntry entry = { .kind = VV_ENTRY_SESSION, .f.node = from, .f.nonce = fields->nonce, .f.number = fields->number };
    const VvNodeState *node = vv_state_node(c->tail, from);

    /* What its entry would find. Asked again while its entry is on the way: once is enough. */
    if (!node || node->removed || node->nonce == fields->nonce ||
        (vv_rule(VV_RULE_OPEN_PREVIOUS) && node->last_session != fields->number))
        return;
    if (vvc_propose(c, &entry, NULL))
        hear(c, now_ms, from);
}

static void renew(VvCoordinator *c, uint64_t now_ms, uint64_t from, const VvFields *fields)
{
    VvcRenewal renewal = { .node = from, .session = fields->session, .number = fields->number, .round = c->round + 1 };

    if (vv_state_session(vv_rule(VV_RULE_NO_ANSWER) ? c->tail : c->applied, from) != fields->session)
        return;
    hear(c, now_ms, from);
    for (guint i = 0; i < c->renewals->len; i++)
        if (g_array_index(c->renewals, VvcRenewal, i).node == from) {
            g_array_index(c->renewals, VvcRenewal, i) = renewal;
            return;
        }
    g_array_append_val(c->renewals, renewal);
}

static void answer_renewals(VvCoordinator *c)
{
    VvQuiesceId open[VV_QUIESCES_MAX];
    unsigned open_count = 0;

    for (guint i = 0; i < c->quiesces->len && open_count < VV_QUIESCES_MAX; i++) {
        const VvcQuiesce *quiesce = c->quiesces->pdata[i];

        if (quiesce->stage == VVC_ASKED)
            open[open_count++] = quiesce->id;
    }
    for (guint i = 0; i < c->renewals->len;) {
        const VvcRenewal *renewal = &g_array_index(c->renewals, VvcRenewal, i);
        VvFields fields = { .session = renewal->session, .number = renewal->number, .term = c->term, .quiesces = open,
            .quiesces_count = open_count };

        if (vv_rule(VV_RULE_CONFIRM) && renewal->round > c->confirmed) {
            i++;
            continue;
        }
        if (vv_state_session(vv_rule(VV_RULE_NO_ANSWER) ? c->tail : c->applied, renewal->node) == renewal->session)
            c->ops.send(c->user, renewal->node, VV_MESSAGE_RENEWED, &fields);
        g_array_remove_index(c->renewals, i);
    }
}

/* ---- what is committed */

static void ask_latest(VvCoordinator *c, uint64_t from, const VvFields *fields)
{
    VvcLatest latest = { from, fields->nonce, fields->number, c->ops.committed(c->user), c->round + 1 };

    if (!vvc_node(c, from))
        return;
    for (guint i = 0; i < c->latest->len; i++) {
        VvcLatest *other = &g_array_index(c->latest, VvcLatest, i);

        if (other->node != from)
            continue;
        if (other->nonce != latest.nonce || other->number != latest.number) /* else it was asked again */
            *other = latest;
        return;
    }
    g_array_append_val(c->latest, latest);
}

static void answer_latest(VvCoordinator *c)
{
    for (guint i = 0; i < c->latest->len;) {
        const VvcLatest *latest = &g_array_index(c->latest, VvcLatest, i);
        VvFields fields = { .nonce = latest->nonce, .number = latest->number, .seq = latest->index };

        if (vv_rule(VV_RULE_CONFIRM) && latest->round > c->confirmed) {
            i++;
            continue;
        }
        c->ops.send(c->user, latest->node, VV_MESSAGE_LATEST_IS, &fields);
        g_array_remove_index(c->latest, i);
    }
}

/* ---- confirmation: "is your term mine?" */

static void count_answers(VvCoordinator *c)
{
    uint64_t voters[VV_VOTERS_MAX];
    unsigned count = c->ops.voters(c->user, voters, VV_VOTERS_MAX), agree = 0;

    for (unsigned i = 0; i < count; i++) {
        bool answered = voters[i] == c->config.id;

        for (guint j = 0; j < c->answers->len; j++)
            answered |= g_array_index(c->answers, uint64_t, j) == voters[i];
        agree += answered;
    }
    if (count > 0 && agree > count / 2)
        c->confirmed = c->round;
}

/* One round at a time; what came after it began waits for the next. */
static void work_confirm(VvCoordinator *c, uint64_t now_ms)
{
    uint64_t voters[VV_VOTERS_MAX];
    unsigned count;
    VvFields fields;

    if (c->renewals->len == 0 && c->latest->len == 0)
        return;
    if (c->round > c->confirmed && now_ms < c->asked_ms + c->config.session_ms / 8)
        return;
    c->round++;
    c->asked_ms = now_ms;
    g_array_set_size(c->answers, 0);
    fields = (VvFields) { .term = c->term, .number = c->round };
    count = c->ops.voters(c->user, voters, VV_VOTERS_MAX);
    for (unsigned i = 0; i < count; i++)
        if (voters[i] != c->config.id)
            c->ops.send(c->user, voters[i], VV_MESSAGE_CONFIRM, &fields);
    count_answers(c);
}

static void confirmed(VvCoordinator *c, uint64_t from, const VvFields *fields)
{
    if (fields->term != c->term || fields->number != c->round)
        return;
    g_array_append_val(c->answers, from);
    count_answers(c);
}

/* ---- entries of sessions */

static void take_proposal(VvCoordinator *c, uint64_t from, const VvFields *fields)
{
    const VvNodeState *node = vv_state_node(c->tail, from);
    g_auto(VvEntry) entry = { 0 };

    if (!vv_entry_decode(fields->body, fields->body_bytes, &entry))
        return;
    if (!vv_entry_has_seq(entry.kind) || entry.f.node != from || entry.f.session != fields->session || entry.f.seq != fields->seq)
        return;
    /* Out of order or a second time: apply would refuse it. The node asks again for what is missing. */
    if (!node || (vv_rule(VV_RULE_APPLY_SESSION) && node->session != entry.f.session) ||
        (vv_rule(VV_RULE_SEQUENCE) && node->seq + 1 != entry.f.seq))
        return;
    vvc_propose(c, &entry, NULL);
}

/* C4 */
static uint64_t silence_of(const VvCoordinator *c)
{
    uint64_t drift = vv_rule(VV_RULE_DRIFT_WAIT) ? c->config.drift_permille : 0;

    return c->config.session_ms * (1000 + drift) / 1000 + 1;
}

bool vv_coordinator_heard(const VvCoordinator *c, uint64_t node, uint64_t *ret_heard_ms, uint64_t *ret_until_ms)
{
    for (guint i = 0; c->active && i < c->nodes->len; i++) {
        const VvcNode *found = &g_array_index(c->nodes, VvcNode, i);

        if (found->node != node)
            continue;
        *ret_heard_ms = found->heard_ms;
        *ret_until_ms = found->heard_ms + silence_of(c);
        return true;
    }
    return false;
}

static void work_expiry(VvCoordinator *c, uint64_t now_ms)
{
    uint64_t silence_ms = silence_of(c);

    for (guint i = 0; i < c->nodes->len;) {
        VvcNode *node = &g_array_index(c->nodes, VvcNode, i);
        VvEntry expire = { .kind = VV_ENTRY_EXPIRE, .f.node = node->node, .f.session = vv_state_session(c->tail, node->node) };
        VvEntry removal = { .kind = VV_ENTRY_NODE_REMOVE, .f.node = node->node };
        const VvNodeState *state = vv_state_node(c->tail, node->node);

        if (expire.f.session && (node->needed || node->evict) && now_ms >= node->heard_ms + silence_ms &&
            vvc_propose(c, &expire, NULL))
            expire.f.session = 0;
        node->needed = false; /* who still needs it says so again */
        if (!state || state->removed || (node->evict && expire.f.session == 0 && vvc_propose(c, &removal, NULL)))
            g_array_remove_index(c->nodes, i);
        else
            i++;
    }
}

void vv_coordinator_evict(VvCoordinator *c, uint64_t node)
{
    VvcNode *found = c->active ? vvc_node(c, node) : NULL;

    if (found)
        found->evict = true;
}

/* ---- events */

void vv_coordinator_receive(VvCoordinator *c, uint64_t now_ms, uint64_t from, uint16_t kind, const VvFields *fields)
{
    if (!c->active)
        return;
    switch (kind) {
    case VV_MESSAGE_OPEN:
        open_session(c, now_ms, from, fields);
        break;
    case VV_MESSAGE_RENEW:
        renew(c, now_ms, from, fields);
        break;
    case VV_MESSAGE_LATEST:
        ask_latest(c, from, fields);
        break;
    case VV_MESSAGE_CONFIRMED:
        confirmed(c, from, fields);
        break;
    case VV_MESSAGE_PROPOSE:
        take_proposal(c, from, fields);
        break;
    case VV_MESSAGE_REQUEST:
        vvc_request(c, now_ms, fields);
        break;
    case VV_MESSAGE_LEASE:
        vvc_want(c, from, fields);
        break;
    case VV_MESSAGE_QUIESCED:
        vvc_quiesced(c, from, fields);
        break;
    case VV_MESSAGE_RESUMED:
        vvc_resumed(c, from, fields);
        break;
    case VV_MESSAGE_DROPPED:
        vvc_dropped(c, from, fields);
        break;
    default:
        break;
    }
}

void vv_coordinator_applied(VvCoordinator *c, uint64_t now_ms, const VvEntry *entry, const VvApplied *applied)
{
    if (c->active && entry)
        vvc_quiesce_applied(c, now_ms, entry, applied);
}

void vv_coordinator_work(VvCoordinator *c, uint64_t now_ms)
{
    if (!c->active)
        return;
    c->worked_ms = now_ms;
    vvc_work_leases(c, now_ms);
    vvc_work_quiesces(c, now_ms);
    vvc_work_drops(c, now_ms);
    work_expiry(c, now_ms);
    answer_latest(c); /* by the round that has ended, before another begins */
    work_confirm(c, now_ms);
    answer_renewals(c);
    answer_latest(c);
}

/* Whoever waits is looked at sixteen times in T. */
uint64_t vv_coordinator_deadline(const VvCoordinator *c)
{
    bool waiting = c->active && (c->renewals->len > 0 || c->latest->len > 0 || c->wants->len > 0 || c->requests->len > 0 || c->quiesces->len > 0 ||
                                    c->applied->removals->len > 0);

    for (guint i = 0; c->active && i < c->nodes->len; i++)
        waiting |= g_array_index(c->nodes, VvcNode, i).evict;
    return waiting ? c->worked_ms + c->config.session_ms / 16 : UINT64_MAX;
}
