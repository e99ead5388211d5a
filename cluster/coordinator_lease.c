/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who gets a range: first come, first served among those that want the same; the whole LUN for one who is alone with it, exactly what is
 * wanted for others. Who holds what somebody wants is asked to release it, and expired if it is silent. */
#include "limits.h"
#include "message.h"
#include "rules.h"
#include "coordinator_private.h"

void vvc_want(VvCoordinator *c, uint64_t from, const VvFields *fields)
{
    VvcWant want = { .holder = { from, fields->session }, .range = fields->range, .mode = fields->mode };

    if (vv_state_session(c->tail, from) != fields->session)
        return;
    for (guint i = 0; i < c->wants->len; i++) {
        const VvcWant *other = &g_array_index(c->wants, VvcWant, i);

        if (other->holder.node == from && other->holder.session == want.holder.session && other->mode == want.mode &&
            memcmp(&other->range, &want.range, sizeof want.range) == 0)
            return;
    }
    if (c->wants->len < VV_LEASE_WANTS_MAX)
        g_array_append_val(c->wants, want);
}

/* Does one that came earlier and still waits want it too, in a way that excludes this? */
static bool is_behind(const VvCoordinator *c, guint position)
{
    const VvcWant *want = &g_array_index(c->wants, VvcWant, position);

    for (guint i = 0; i < position; i++) {
        const VvcWant *other = &g_array_index(c->wants, VvcWant, i);

        if (other->holder.node != want->holder.node && vv_ranges_overlap(&other->range, &want->range) &&
            (other->mode == VV_LEASE_WRITE || want->mode == VV_LEASE_WRITE))
            return true;
    }
    return false;
}

static bool is_alone(const VvCoordinator *c, const VvcWant *want)
{
    for (guint i = 0; i < c->tail->leases->len; i++) {
        const VvLease *lease = &g_array_index(c->tail->leases, VvLease, i);

        if (lease->range.lun == want->range.lun && (lease->holder.node != want->holder.node || lease->mode != want->mode))
            return false;
    }
    for (guint i = 0; i < c->wants->len; i++) {
        const VvcWant *other = &g_array_index(c->wants, VvcWant, i);

        if (other->range.lun == want->range.lun && (other->holder.node != want->holder.node || other->mode != want->mode))
            return false;
    }
    return true;
}

static bool grant(VvCoordinator *c, const VvcWant *want)
{
    VvEntry entry = { .kind = VV_ENTRY_GRANT, .f.node = want->holder.node, .f.session = want->holder.session, .f.mode = want->mode,
        .f.range = want->range };

    if (is_alone(c, want)) {
        entry.f.range.first = 0;
        entry.f.range.end = UINT64_MAX;
    }
    return vvc_propose(c, &entry, NULL);
}

/* Ask every holder that stands in the way; note that its session is needed. */
static void recall(VvCoordinator *c, uint64_t now_ms, VvcWant *want)
{
    bool due = vvc_due(now_ms, &want->recalled_ms, c->config.session_ms / 8);
    int at = -1;

    while ((at = vv_state_conflict(c->tail, want->holder, &want->range, want->mode, (unsigned) (at + 1))) >= 0) {
        const VvLease *lease = &g_array_index(c->tail->leases, VvLease, at);
        VvFields fields = { .term = c->term, .session = lease->holder.session, .range = want->range, .mode = want->mode };

        if (lease->holder.node != want->holder.node)
            vvc_need(c, lease->holder.node);
        if (due)
            c->ops.send(c->user, lease->holder.node, VV_MESSAGE_RECALL, &fields);
    }
}

void vvc_work_leases(VvCoordinator *c, uint64_t now_ms)
{
    for (guint i = 0; i < c->wants->len;) {
        VvcWant *want = &g_array_index(c->wants, VvcWant, i);

        if (vv_state_session(c->tail, want->holder.node) != want->holder.session ||
            vv_state_holds(c->tail, want->holder, &want->range, want->mode)) {
            g_array_remove_index(c->wants, i);
            continue;
        }
        if (is_behind(c, i)) {
            i++;
        } else if (vv_state_conflict(c->tail, want->holder, &want->range, want->mode, 0) >= 0) {
            recall(c, now_ms, want);
            i++;
        } else if (grant(c, want)) {
            g_array_remove_index(c->wants, i);
        } else {
            break; /* not the leader any more, or it hands over */
        }
    }
}
