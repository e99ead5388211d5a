/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Letting go: of a range for good (release), of writing for a moment (gate), of a snapshot (drop). And asking for ranges. */
#include "limits.h"
#include "member_private.h"
#include "message.h"
#include "rules.h"

void vvm_gate_free(void *data)
{
    VvmGate *gate = data;

    g_array_free(gate->ranges, TRUE);
    g_free(gate);
}

/* With the session: gates open, releases and wants are void. */
void vvm_end_all(VvMember *m)
{
    g_ptr_array_set_size(m->gates, 0);
    g_ptr_array_set_size(m->releases, 0);
    g_ptr_array_set_size(m->proposals, 0);
    g_array_set_size(m->wants, 0);
}

/* The next step that a rule asks for. */
static VvSettleStep next_step(VvSettleStep step, bool release)
{
    static const VvRule of_release[] = { VV_RULE_RELEASE_DRAIN, VV_RULE_RELEASE_SYNC, VV_RULE_RELEASE_JOURNAL };
    static const VvRule of_gate[] = { VV_RULE_QUIESCE_DRAIN, VV_RULE_QUIESCE_SYNC, VV_RULE_QUIESCE_JOURNAL };

    while (step < VV_SETTLE_DONE && !vv_rule(release ? of_release[step] : of_gate[step]))
        step = (VvSettleStep) (step + 1);
    return step;
}

/* ---- releases */

static void advance_release(VvMember *m, uint64_t now_ms, VvmRelease *release)
{
    VvEntry entry = { .kind = VV_ENTRY_RELEASE, .f.range = release->range };

    if (release->step != VV_SETTLE_DONE)
        m->ops.settle(m->user, release->job, release->step, &release->range, 1, true);
    else if (!vvm_propose(m, now_ms, &entry, &release->seq))
        release->seq = 0; /* vv_member_work tries again */
}

static bool holds_some(const VvMember *m, const VvRange *range)
{
    for (guint i = 0; i < m->state->leases->len; i++) {
        const VvLease *lease = &g_array_index(m->state->leases, VvLease, i);

        if (lease->holder.node == m->config.id && lease->holder.session == m->session && vv_ranges_overlap(&lease->range, range))
            return true;
    }
    return false;
}

bool vvm_releasing(const VvMember *m, const VvRange *range)
{
    for (guint i = 0; i < m->releases->len; i++)
        if (vv_ranges_overlap(&((VvmRelease *) m->releases->pdata[i])->range, range))
            return true;
    return false;
}

void vv_member_release(VvMember *m, uint64_t now_ms, const VvRange *range)
{
    VvmRelease *release;

    /* One that meets a release under way waits: it is recalled again. */
    if (m->session == 0 || !holds_some(m, range) || vvm_releasing(m, range))
        return;
    release = g_new0(VvmRelease, 1);
    release->range = *range;
    release->job = m->next_job++;
    release->step = next_step(VV_SETTLE_DRAIN, true);
    g_ptr_array_add(m->releases, release);
    advance_release(m, now_ms, release);
}

void vvm_released(VvMember *m, uint64_t seq)
{
    for (guint i = 0; i < m->releases->len; i++)
        if (((VvmRelease *) m->releases->pdata[i])->seq == seq) {
            g_ptr_array_remove_index(m->releases, i);
            return;
        }
}

/* Messages of a term before the applied one come from a coordinator that is none any more. */
void vvm_recall(VvMember *m, uint64_t now_ms, const VvFields *fields)
{
    if (fields->term >= m->state->applied_term && fields->session == m->session)
        vv_member_release(m, now_ms, &fields->range);
}

/* ---- gates */

static bool was_resumed(const VvMember *m, VvQuiesceId id)
{
    if (id.term != m->resumed_term)
        return id.term < m->resumed_term;
    for (guint i = 0; i < m->resumed->len; i++)
        if (g_array_index(m->resumed, uint64_t, i) == id.number)
            return true;
    /* More than are ever open were aborted since. */
    return m->resumed->len >= 2 * VV_QUIESCES_MAX && id.number < g_array_index(m->resumed, uint64_t, 0);
}

static VvmGate *find_gate(const VvMember *m, VvQuiesceId id)
{
    for (guint i = 0; i < m->gates->len; i++) {
        VvmGate *gate = m->gates->pdata[i];

        if (gate->id.term == id.term && gate->id.number == id.number)
            return gate;
    }
    return NULL;
}

static void advance_gate(VvMember *m, VvmGate *gate)
{
    VvFields fields = { .quiesce = gate->id, .session = m->session };

    if (gate->step == VV_SETTLE_DONE)
        vvm_send(m, VV_MESSAGE_QUIESCED, &fields);
    else
        m->ops.settle(m->user, gate->job, gate->step, (const VvRange *) (void *) gate->ranges->data, gate->ranges->len, false);
}

void vvm_quiesce(VvMember *m, uint64_t now_ms, const VvFields *fields)
{
    VvmGate *gate = find_gate(m, fields->quiesce);

    if (fields->session != m->session || m->session == 0 || fields->quiesce.term < m->state->applied_term)
        return;
    if (gate) {
        if (gate->step == VV_SETTLE_DONE)
            advance_gate(m, gate); /* the answer was lost */
        return;
    }
    if (was_resumed(m, fields->quiesce) || vv_state_quiesce_ended(m->state, fields->quiesce) || m->gates->len >= VV_QUIESCES_MAX)
        return;
    if (!vv_rule(VV_RULE_QUIESCE_SET))
        g_ptr_array_set_size(m->gates, 0);
    gate = g_new0(VvmGate, 1);
    gate->id = fields->quiesce;
    gate->ranges = g_array_new(FALSE, FALSE, sizeof(VvRange));
    for (unsigned i = 0; i < fields->luns_count; i++) {
        VvRange range = { fields->luns[i], 0, UINT64_MAX };

        g_array_append_val(gate->ranges, range);
    }
    gate->job = m->next_job++;
    gate->since_ms = now_ms;
    gate->step = next_step(VV_SETTLE_DRAIN, false);
    g_ptr_array_add(m->gates, gate);
    advance_gate(m, gate);
}

void vvm_resume(VvMember *m, uint64_t from, const VvFields *fields)
{
    VvFields answer = { .quiesce = fields->quiesce };
    VvmGate *gate = find_gate(m, fields->quiesce);

    if (fields->quiesce.term > m->resumed_term) {
        m->resumed_term = fields->quiesce.term;
        g_array_set_size(m->resumed, 0);
    }
    if (!was_resumed(m, fields->quiesce)) {
        if (m->resumed->len >= 2 * VV_QUIESCES_MAX)
            g_array_remove_index(m->resumed, 0);
        g_array_append_val(m->resumed, fields->quiesce.number);
    }
    m->ops.send(m->user, from, VV_MESSAGE_RESUMED, &answer);
    if (gate) {
        g_ptr_array_remove(m->gates, gate);
        m->ops.retry(m->user);
    }
}

/* What the applied state says has ended. */
void vvm_open_gates(VvMember *m)
{
    for (guint i = 0; i < m->gates->len;) {
        if (vv_state_quiesce_ended(m->state, ((VvmGate *) m->gates->pdata[i])->id))
            g_ptr_array_remove_index(m->gates, i);
        else
            i++;
    }
}

void vvm_work_gates(VvMember *m, uint64_t now_ms)
{
    for (guint i = 0; !vv_rule(VV_RULE_QUIESCE_HOLD) && i < m->gates->len;) {
        if (now_ms >= ((VvmGate *) m->gates->pdata[i])->since_ms + m->config.session_ms / 4)
            g_ptr_array_remove_index(m->gates, i);
        else
            i++;
    }
    for (guint i = 0; i < m->releases->len; i++) {
        VvmRelease *release = m->releases->pdata[i];

        if (release->step == VV_SETTLE_DONE && release->seq == 0)
            advance_release(m, now_ms, release);
    }
}

bool vv_member_gated(const VvMember *m, uint64_t lun)
{
    for (guint i = 0; i < m->gates->len; i++) {
        const VvmGate *gate = m->gates->pdata[i];

        for (guint j = 0; j < gate->ranges->len; j++)
            if (g_array_index(gate->ranges, VvRange, j).lun == lun)
                return true;
    }
    return false;
}

void vv_member_settled(VvMember *m, uint64_t now_ms, uint64_t job)
{
    for (guint i = 0; i < m->gates->len; i++) {
        VvmGate *gate = m->gates->pdata[i];

        if (gate->job == job && gate->step != VV_SETTLE_DONE) {
            gate->step = next_step((VvSettleStep) (gate->step + 1), false);
            advance_gate(m, gate);
            return;
        }
    }
    for (guint i = 0; i < m->releases->len; i++) {
        VvmRelease *release = m->releases->pdata[i];

        if (release->job == job && release->step != VV_SETTLE_DONE) {
            release->step = next_step((VvSettleStep) (release->step + 1), true);
            advance_release(m, now_ms, release);
            return;
        }
    }
}

/* ---- drops and wants */

/* Only what is removed here too: then no new handle can come. */
void vvm_drop(VvMember *m, const VvFields *fields)
{
    VvFields answer = { .session = m->session, .object = fields->object, .removal = fields->removal };

    if (fields->session != m->session || m->session == 0 || fields->term < m->state->applied_term)
        return;
    for (guint i = 0; i < m->state->removals->len; i++) {
        const VvPendingRemoval *removal = &g_array_index(m->state->removals, VvPendingRemoval, i);

        if (removal->object == fields->object && (removal->index == fields->removal || !vv_rule(VV_RULE_DROP_ID)) &&
            !m->ops.uses(m->user, fields->object)) {
            vvm_send(m, VV_MESSAGE_DROPPED, &answer);
            return;
        }
    }
}

void vv_member_want(VvMember *m, uint64_t now_ms, const VvRange *range, VvLeaseMode mode)
{
    VvmWant want = { .range = *range, .mode = mode };

    if (m->session == 0)
        return;
    for (guint i = 0; i < m->wants->len; i++) {
        const VvmWant *other = &g_array_index(m->wants, VvmWant, i);

        if (other->mode == mode && memcmp(&other->range, range, sizeof *range) == 0)
            return;
    }
    if (m->wants->len < VV_PROPOSALS_MAX)
        g_array_append_val(m->wants, want);
    vvm_work_wants(m, now_ms);
}

void vvm_work_wants(VvMember *m, uint64_t now_ms)
{
    VvHolder holder = { m->config.id, m->session };

    for (guint i = 0; m->session && i < m->wants->len;) {
        VvmWant *want = &g_array_index(m->wants, VvmWant, i);
        VvFields fields = { .session = m->session, .range = want->range, .mode = want->mode };

        if (vv_state_holds(m->state, holder, &want->range, want->mode)) {
            g_array_remove_index(m->wants, i);
            continue;
        }
        if (want->sent_ms == 0 || now_ms >= want->sent_ms + m->config.session_ms / 4) {
            want->sent_ms = MAX(now_ms, 1);
            vvm_send(m, VV_MESSAGE_LEASE, &fields);
        }
        i++;
    }
}
