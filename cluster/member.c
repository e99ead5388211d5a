/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A node's session, its entries on their way, and what the data path asks. */
#include "limits.h"
#include "member_private.h"
#include "message.h"
#include "rules.h"

VvMember *vv_member_new(const VvMemberConfig *config, const VvMemberOps *ops, void *user, const VvClusterState *state)
{
    VvMember *m = g_new0(VvMember, 1);

    m->config = *config;
    m->ops = *ops;
    m->user = user;
    m->state = state;
    m->next_job = 1;
    m->proposals = g_ptr_array_new_with_free_func(vvm_proposal_free);
    m->gates = g_ptr_array_new_with_free_func(vvm_gate_free);
    m->releases = g_ptr_array_new_with_free_func(g_free);
    m->wants = g_array_new(FALSE, FALSE, sizeof(VvmWant));
    m->resumed = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    return m;
}

void vv_member_free(VvMember *m)
{
    if (!m)
        return;
    g_ptr_array_free(m->proposals, TRUE);
    g_ptr_array_free(m->gates, TRUE);
    g_ptr_array_free(m->releases, TRUE);
    g_array_free(m->wants, TRUE);
    g_array_free(m->resumed, TRUE);
    g_free(m);
}

void vvm_proposal_free(void *data)
{
    VvmProposal *proposal = data;

    g_bytes_unref(proposal->bytes);
    g_free(proposal);
}

void vvm_send(VvMember *m, uint16_t kind, const VvFields *fields)
{
    if (m->coordinator)
        m->ops.send(m->user, m->coordinator, kind, fields);
}

/* ---- session */

/* Gates end with the session, and all that was on its way: its entries would be refused. */
static void end_session(VvMember *m)
{
    if (m->session == 0)
        return;
    m->session = 0;
    m->deadline_ms = 0;
    vvm_end_all(m);
    m->ops.session_changed(m->user, 0);
    m->ops.retry(m->user);
}

static void begin_session(VvMember *m, uint64_t session)
{
    m->session = session;
    m->deadline_ms = m->open_ms + m->config.session_ms;
    m->nonce = 0;
    m->seq = 0;
    m->renewed_ms = 0;
    memset(m->sent_ms, 0, sizeof m->sent_ms);
    m->ops.session_changed(m->user, session);
}

/* Does the state let us have a session? Only an entry changes that. */
static bool may_open(const VvMember *m)
{
    const VvNodeState *node = vv_state_node(m->state, m->config.id);

    return !m->config.no_session && !m->session && m->coordinator && node && !node->removed;
}

static void open_session(VvMember *m, uint64_t now_ms)
{
    VvFields fields = { 0 };

    if (!may_open(m))
        return;
    if (m->asked_open_ms && now_ms < m->asked_open_ms + m->config.session_ms / 4)
        return;
    m->looked_open_ms = now_ms;
    if (vv_rule(VV_RULE_OLD_IO) && m->ops.old_io(m->user))
        return;
    /* The same nonce while this process waits: the session of an earlier ask of it counts from that ask. Its deadline may be past then,
     * and the first renewal mends that. */
    if (m->nonce == 0) {
        m->nonce = m->ops.nonce(m->user);
        m->open_ms = now_ms;
    }
    m->asked_open_ms = now_ms;
    fields.nonce = m->nonce;
    fields.number = vv_state_node(m->state, m->config.id)->last_session;
    vvm_send(m, VV_MESSAGE_OPEN, &fields);
}

static void renew(VvMember *m, uint64_t now_ms)
{
    VvFields fields = { .session = m->session, .time_ms = now_ms };

    if (!m->session || !m->coordinator || (m->renewed_ms && now_ms < m->renewed_ms + m->config.session_ms / 4))
        return;
    m->renewed_ms = now_ms;
    fields.number = ++m->renewal;
    m->sent_ms[m->renewal % VVM_RENEWALS_KEPT] = now_ms;
    vvm_send(m, VV_MESSAGE_RENEW, &fields);
}

static void renewed(VvMember *m, uint64_t now_ms, const VvFields *fields)
{
    uint64_t sent_ms;

    if (fields->session != m->session || fields->number > m->renewal || fields->number + VVM_RENEWALS_KEPT <= m->renewal ||
        fields->number == 0)
        return;
    sent_ms = m->sent_ms[fields->number % VVM_RENEWALS_KEPT];
    if (sent_ms == 0)
        return; /* of the session before */
    if (!vv_rule(VV_RULE_SEND_TIME))
        sent_ms = now_ms;
    m->deadline_ms = MAX(m->deadline_ms, sent_ms + m->config.session_ms);
}

/* ---- entries on their way */

bool vvm_propose(VvMember *m, uint64_t now_ms, VvEntry *entry, uint64_t *ret_seq)
{
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    VvmProposal *proposal;
    VvFields fields;

    if (m->proposals->len >= VV_PROPOSALS_MAX)
        return false;
    entry->f.node = m->config.id;
    entry->f.session = m->session;
    entry->f.seq = ++m->seq;
    vv_entry_encode(bytes, entry);
    proposal = g_new(VvmProposal, 1);
    proposal->seq = m->seq;
    proposal->bytes = g_bytes_new(bytes->data, bytes->len);
    if (m->proposals->len == 0)
        m->proposed_ms = now_ms;
    g_ptr_array_add(m->proposals, proposal);
    fields = (VvFields) { .session = m->session, .seq = m->seq, .body = bytes->data, .body_bytes = bytes->len };
    vvm_send(m, VV_MESSAGE_PROPOSE, &fields);
    *ret_seq = m->seq;
    return true;
}

int vv_member_propose(VvMember *m, uint64_t now_ms, const VvEntry *entry, uint64_t *ret_seq)
{
    VvEntry copy = *entry;

    if (m->session == 0)
        return -ESTALE;
    return vvm_propose(m, now_ms, &copy, ret_seq) ? 0 : -EAGAIN;
}

static void propose_again(VvMember *m, uint64_t now_ms, bool at_once)
{
    if (m->proposals->len == 0 || (!at_once && now_ms < m->proposed_ms + m->config.session_ms / 4))
        return;
    m->proposed_ms = now_ms;
    for (guint i = 0; i < m->proposals->len; i++) {
        const VvmProposal *proposal = m->proposals->pdata[i];
        VvFields fields = { .session = m->session, .seq = proposal->seq };
        gsize length;

        fields.body = g_bytes_get_data(proposal->bytes, &length);
        fields.body_bytes = length;
        vvm_send(m, VV_MESSAGE_PROPOSE, &fields);
    }
}

/* The number is used up whatever the verdict, unless the entry came out of order or for another session. */
static void own_applied(VvMember *m, const VvEntry *entry, const VvApplied *applied)
{
    if (applied->verdict == VV_VERDICT_SEQ || applied->verdict == VV_VERDICT_SESSION || applied->verdict == VV_VERDICT_NODE)
        return;
    while (m->proposals->len > 0 && ((VvmProposal *) m->proposals->pdata[0])->seq <= entry->f.seq)
        g_ptr_array_remove_index(m->proposals, 0);
    if (entry->kind == VV_ENTRY_RELEASE)
        vvm_released(m, entry->f.seq);
    else
        m->ops.proposal_done(m->user, entry->f.seq, applied->verdict);
}

/* ---- events */

void vv_member_applied(VvMember *m, uint64_t now_ms, uint64_t index, const VvEntry *entry, const VvApplied *applied)
{
    (void) now_ms;
    if (m->session && vv_state_session(m->state, m->config.id) != m->session)
        end_session(m);
    if (entry && entry->kind == VV_ENTRY_SESSION && entry->f.node == m->config.id && applied->verdict == VV_VERDICT_OK && m->nonce &&
        (entry->f.nonce == m->nonce || !vv_rule(VV_RULE_OPEN_NONCE)))
        begin_session(m, index);
    if (entry && vv_entry_has_seq(entry->kind) && entry->f.node == m->config.id && m->session && entry->f.session == m->session)
        own_applied(m, entry, applied);
    vvm_open_gates(m);
    m->ops.retry(m->user);
}

void vv_member_state_replaced(VvMember *m, uint64_t now_ms, const VvClusterState *state)
{
    (void) now_ms;
    m->state = state;
    end_session(m);
    m->nonce = 0;
    m->asked_open_ms = m->looked_open_ms = 0;
}

void vv_member_coordinator(VvMember *m, uint64_t now_ms, uint64_t node, uint64_t term)
{
    if (m->coordinator == node && m->term == term)
        return;
    m->coordinator = node;
    m->term = term;
    /* It knows nothing of what was asked before. */
    m->asked_open_ms = m->looked_open_ms = m->renewed_ms = 0;
    for (guint i = 0; i < m->wants->len; i++)
        g_array_index(m->wants, VvmWant, i).sent_ms = 0;
    propose_again(m, now_ms, true);
}

void vv_member_receive(VvMember *m, uint64_t now_ms, uint64_t from, uint16_t kind, const VvFields *fields)
{
    switch (kind) {
    case VV_MESSAGE_RENEWED:
        renewed(m, now_ms, fields);
        break;
    case VV_MESSAGE_RECALL:
        vvm_recall(m, now_ms, fields);
        break;
    case VV_MESSAGE_QUIESCE:
        vvm_quiesce(m, now_ms, fields);
        break;
    case VV_MESSAGE_RESUME:
        vvm_resume(m, from, fields);
        break;
    case VV_MESSAGE_DROP:
        vvm_drop(m, fields);
        break;
    default:
        break;
    }
}

void vv_member_work(VvMember *m, uint64_t now_ms)
{
    open_session(m, now_ms);
    renew(m, now_ms);
    propose_again(m, now_ms, false);
    vvm_work_wants(m, now_ms);
    vvm_work_gates(m, now_ms);
}

/* What cannot be done now is never due: who drives us would call without end. */
uint64_t vv_member_deadline(const VvMember *m)
{
    uint64_t every_ms = m->config.session_ms / 4, next = UINT64_MAX;

    if (!m->coordinator)
        return UINT64_MAX;
    if (m->session)
        next = m->renewed_ms + every_ms;
    else if (may_open(m))
        next = MAX(m->asked_open_ms, m->looked_open_ms) + every_ms;
    if (m->proposals->len > 0)
        next = MIN(next, m->proposed_ms + every_ms);
    return next;
}

/* ---- the data path */

VvIoToken vv_member_token(const VvMember *m)
{
    return (VvIoToken) { .session = m->session, .fence = m->state->last_end };
}

bool vv_member_alive(const VvMember *m, uint64_t now_ms)
{
    return m->session != 0 && now_ms < m->deadline_ms;
}

bool vv_member_may(const VvMember *m, uint64_t now_ms, const VvRange *range, VvLeaseMode mode, VvIoToken *ret_token)
{
    VvHolder holder = { m->config.id, m->session };

    if (!vv_member_alive(m, now_ms) || (mode == VV_LEASE_WRITE && vv_member_gated(m, range->lun)) ||
        (vv_rule(VV_RULE_RELEASE_STOP) && vvm_releasing(m, range)) || !vv_state_holds(m->state, holder, range, mode))
        return false;
    *ret_token = vv_member_token(m);
    return true;
}

bool vv_member_check(const VvMember *m, uint64_t now_ms, const VvIoToken *token)
{
    return m->session != 0 && m->session == token->session && now_ms < m->deadline_ms;
}

uint64_t vv_member_good_until(const VvMember *m)
{
    return m->session != 0 ? m->deadline_ms : 0;
}

uint64_t vv_member_session(const VvMember *m)
{
    return m->session;
}

unsigned vv_member_gates(const VvMember *m)
{
    return m->gates->len;
}
