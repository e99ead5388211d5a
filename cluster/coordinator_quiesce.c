/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Snapshots and their removal.
 *
 *   request --> ASKED --all W holders quiesced--> PROPOSED --its entry is applied--> over (or a new attempt, if it was refused)
 *                 |
 *                 +---T/2, or a holder's session ended--> ABORTED --all who were asked know--> over; the request tries again
 *
 * One quiesce at a time for LUNs that meet. Everything is asked again until it is answered. */
#include "limits.h"
#include "message.h"
#include "rules.h"
#include "coordinator_private.h"

void vvc_quiesce_free(void *data)
{
    VvcQuiesce *quiesce = data;

    vv_entry_clear(&quiesce->entry);
    g_bytes_unref(quiesce->bytes);
    g_array_free(quiesce->asked, TRUE);
    g_array_free(quiesce->acked, TRUE);
    g_free(quiesce);
}

void vvc_request_free(void *data)
{
    VvcRequest *request = data;

    vv_entry_clear(&request->entry);
    g_bytes_unref(request->bytes);
    g_free(request);
}

void vvc_drop_free(void *data)
{
    VvcDrop *drop = data;

    g_array_free(drop->dropped, TRUE);
    g_free(drop);
}

/* ---- requests: entries that nodes want and that belong to no session */

static bool same_request(VvRequestId a, VvRequestId b)
{
    return a.client == b.client && a.number == b.number;
}

static bool is_under_way(const VvCoordinator *c, VvRequestId id)
{
    for (guint i = 0; i < c->requests->len; i++)
        if (same_request(((VvcRequest *) c->requests->pdata[i])->entry.request, id))
            return true;
    for (guint i = 0; i < c->quiesces->len; i++) {
        const VvcQuiesce *quiesce = c->quiesces->pdata[i];

        if (quiesce->stage != VVC_ABORTED && same_request(quiesce->entry.request, id))
            return true;
    }
    return false;
}

static void wait_with(VvCoordinator *c, GBytes *bytes, uint64_t not_before_ms)
{
    VvcRequest *request = g_new0(VvcRequest, 1);
    gsize length;
    const uint8_t *data = g_bytes_get_data(bytes, &length);

    request->bytes = g_bytes_ref(bytes);
    request->not_before_ms = not_before_ms;
    g_assert(vv_entry_decode(data, length, &request->entry));
    g_ptr_array_add(c->requests, request);
}

/* Only kinds that a client may ask for; whoever asks again gets the result that the state remembers. */
void vvc_request(VvCoordinator *c, uint64_t now_ms, const VvFields *fields)
{
    g_autoptr(GBytes) bytes = NULL;
    g_auto(VvEntry) entry = { 0 };

    if (!vv_entry_decode(fields->body, fields->body_bytes, &entry) || entry.request.client == 0)
        return;
    if (vv_state_request(c->tail, entry.request) || is_under_way(c, entry.request))
        return;
    switch (entry.kind) {
    case VV_ENTRY_SNAPSHOT:
        bytes = g_bytes_new(fields->body, fields->body_bytes);
        if (c->requests->len < VV_QUIESCES_MAX)
            wait_with(c, bytes, now_ms);
        break;
    case VV_ENTRY_REMOVE:
    case VV_ENTRY_FENCED:
    case VV_ENTRY_NODE_ADD:
    case VV_ENTRY_NODE_SET:
    case VV_ENTRY_CONFIG:
        vvc_propose(c, &entry, NULL);
        break;
    default:
        break;
    }
}

/* ---- quiesces */

static VvcQuiesce *find(VvCoordinator *c, VvQuiesceId id, guint *ret_place)
{
    for (guint i = 0; i < c->quiesces->len; i++) {
        VvcQuiesce *quiesce = c->quiesces->pdata[i];

        if (quiesce->id.term == id.term && quiesce->id.number == id.number) {
            if (ret_place)
                *ret_place = i;
            return quiesce;
        }
    }
    return NULL;
}

void vvc_quiesced(VvCoordinator *c, uint64_t from, const VvFields *fields)
{
    VvcQuiesce *quiesce = find(c, fields->quiesce, NULL);
    VvHolder holder = { from, fields->session };

    if (quiesce && (quiesce->stage == VVC_ASKED || (quiesce->stage == VVC_ABORTED && !vv_rule(VV_RULE_QUIESCE_FINAL))) &&
        vvc_listed(quiesce->asked, holder) && !vvc_listed(quiesce->acked, holder))
        g_array_append_val(quiesce->acked, holder);
}

void vvc_resumed(VvCoordinator *c, uint64_t from, const VvFields *fields)
{
    VvcQuiesce *quiesce = find(c, fields->quiesce, NULL);

    for (guint i = 0; quiesce && quiesce->stage == VVC_ABORTED && i < quiesce->asked->len; i++)
        if (g_array_index(quiesce->asked, VvHolder, i).node == from) {
            g_array_remove_index(quiesce->asked, i);
            return;
        }
}

static bool meet(const VvEntry *a, const VvEntry *b)
{
    for (unsigned i = 0; i < a->f.luns_count; i++)
        for (unsigned j = 0; j < b->f.luns_count; j++)
            if (a->f.luns[i] == b->f.luns[j])
                return true;
    return false;
}

/* Sessions that may write these LUNs now, by the tail; rising by node, as entries list them. */
static GArray *writers(const VvCoordinator *c, const VvEntry *entry)
{
    GArray *holders = g_array_new(FALSE, FALSE, sizeof(VvHolder));

    for (guint n = 0; n < c->tail->nodes->len; n++) {
        const VvNodeState *node = &g_array_index(c->tail->nodes, VvNodeState, n);
        VvHolder holder = { node->id, node->session };
        bool writes = false;

        for (guint i = 0; node->session && i < c->tail->leases->len && !writes; i++) {
            const VvLease *lease = &g_array_index(c->tail->leases, VvLease, i);

            for (unsigned j = 0; j < entry->f.luns_count; j++)
                writes |= lease->mode == VV_LEASE_WRITE && lease->holder.node == holder.node && lease->range.lun == entry->f.luns[j];
        }
        if (writes)
            g_array_append_val(holders, holder);
    }
    return holders;
}

/* Apply remembers VV_QUIESCES_MAX of those that ended, and takes what is older for ended too: so none is begun whose end would push out one
 * whose entry may still come. */
static bool may_begin(const VvCoordinator *c)
{
    uint64_t lowest = c->last_quiesce + 1;

    for (guint i = 0; i < c->quiesces->len; i++) {
        const VvcQuiesce *quiesce = c->quiesces->pdata[i];

        if (quiesce->stage != VVC_ABORTED)
            lowest = MIN(lowest, quiesce->id.number);
    }
    return c->quiesces->len < VV_QUIESCES_MAX && c->last_quiesce + 1 - lowest < VV_QUIESCES_MAX;
}

static void begin_quiesces(VvCoordinator *c, uint64_t now_ms)
{
    for (guint i = 0; i < c->requests->len;) {
        VvcRequest *request = c->requests->pdata[i];
        VvcQuiesce *quiesce;
        bool free = now_ms >= request->not_before_ms && may_begin(c);

        for (guint j = 0; free && j < c->quiesces->len; j++) {
            const VvcQuiesce *other = c->quiesces->pdata[j];

            free = other->stage == VVC_ABORTED || !meet(&other->entry, &request->entry);
        }
        if (!free) {
            i++;
            continue;
        }
        quiesce = g_new0(VvcQuiesce, 1);
        quiesce->id = (VvQuiesceId) { c->term, ++c->last_quiesce };
        quiesce->bytes = g_bytes_ref(request->bytes);
        quiesce->entry = request->entry;
        request->entry = (VvEntry) { 0 };
        quiesce->asked = writers(c, &quiesce->entry);
        quiesce->acked = g_array_new(FALSE, FALSE, sizeof(VvHolder));
        quiesce->since_ms = now_ms;
        g_ptr_array_add(c->quiesces, quiesce);
        g_ptr_array_remove_index(c->requests, i);
    }
}

static void tell(VvCoordinator *c, uint64_t now_ms, VvcQuiesce *quiesce)
{
    if (!vvc_due(now_ms, &quiesce->sent_ms, c->config.session_ms / 8))
        return;
    for (guint i = 0; i < quiesce->asked->len; i++) {
        const VvHolder *holder = &g_array_index(quiesce->asked, VvHolder, i);
        VvFields fields = { .quiesce = quiesce->id, .session = holder->session, .luns = quiesce->entry.f.luns,
            .luns_count = quiesce->entry.f.luns_count };

        if (quiesce->stage == VVC_ABORTED)
            c->ops.send(c->user, holder->node, VV_MESSAGE_RESUME, &fields);
        else if (!vvc_listed(quiesce->acked, *holder))
            c->ops.send(c->user, holder->node, VV_MESSAGE_QUIESCE, &fields);
    }
}

static void abort_quiesce(VvCoordinator *c, uint64_t now_ms, VvcQuiesce *quiesce)
{
    for (guint i = 0; i < quiesce->asked->len; i++) {
        const VvHolder *holder = &g_array_index(quiesce->asked, VvHolder, i);

        if (!vvc_listed(quiesce->acked, *holder))
            vvc_need(c, holder->node);
    }
    quiesce->stage = VVC_ABORTED;
    quiesce->sent_ms = 0;
    wait_with(c, quiesce->bytes, now_ms + c->config.session_ms / 8);
}

static bool propose(VvCoordinator *c, VvcQuiesce *quiesce)
{
    VvEntry entry = quiesce->entry;

    entry.f.memory = NULL;
    entry.f.quiesce = quiesce->id;
    entry.f.holders = (const VvHolder *) (void *) quiesce->asked->data;
    entry.f.holders_count = quiesce->asked->len;
    return vvc_propose(c, &entry, NULL);
}

/* True: it is over. */
static bool work_quiesce(VvCoordinator *c, uint64_t now_ms, VvcQuiesce *quiesce)
{
    bool lost = false, all = true;

    for (guint i = 0; i < quiesce->asked->len;) {
        VvHolder holder = g_array_index(quiesce->asked, VvHolder, i);
        bool live = vv_state_session(c->tail, holder.node) == holder.session;

        lost |= !live;
        all &= vvc_listed(quiesce->acked, holder);
        /* A gate ends with its session: nobody is left to be told. */
        if (quiesce->stage == VVC_ABORTED && !live)
            g_array_remove_index(quiesce->asked, i);
        else
            i++;
    }
    switch (quiesce->stage) {
    case VVC_ASKED:
        if (all && !lost && propose(c, quiesce))
            quiesce->stage = VVC_PROPOSED;
        else if (lost || now_ms >= quiesce->since_ms + c->config.session_ms / 2)
            abort_quiesce(c, now_ms, quiesce);
        break;
    case VVC_ABORTED:
        if (!vv_rule(VV_RULE_QUIESCE_FINAL) && all && quiesce->asked->len > 0)
            propose(c, quiesce);
        break;
    case VVC_PROPOSED:
        return false;
    }
    tell(c, now_ms, quiesce);
    return quiesce->stage == VVC_ABORTED && quiesce->asked->len == 0;
}

void vvc_work_quiesces(VvCoordinator *c, uint64_t now_ms)
{
    begin_quiesces(c, now_ms);
    for (guint i = 0; i < c->quiesces->len;) {
        VvcQuiesce *quiesce = c->quiesces->pdata[i];

        /* What kept a former attempt is still needed. */
        for (guint j = 0; quiesce->stage == VVC_ASKED && j < quiesce->asked->len; j++)
            if (!vvc_listed(quiesce->acked, g_array_index(quiesce->asked, VvHolder, j)))
                vvc_need(c, g_array_index(quiesce->asked, VvHolder, j).node);
        if (work_quiesce(c, now_ms, quiesce))
            g_ptr_array_remove_index(c->quiesces, i);
        else
            i++;
    }
}

void vvc_quiesce_applied(VvCoordinator *c, uint64_t now_ms, const VvEntry *entry, const VvApplied *applied)
{
    VvcQuiesce *quiesce;
    guint place;

    if (entry->kind == VV_ENTRY_PURGE)
        for (guint i = 0; i < c->drops->len;) {
            if (((VvcDrop *) c->drops->pdata[i])->removal == entry->f.removal)
                g_ptr_array_remove_index(c->drops, i);
            else
                i++;
        }
    if (entry->kind != VV_ENTRY_SNAPSHOT || (quiesce = find(c, entry->f.quiesce, &place)) == NULL)
        return;
    /* A W lease was granted meanwhile to somebody who was not asked: again, with all. */
    if (applied->verdict == VV_VERDICT_HOLDERS && quiesce->stage == VVC_PROPOSED)
        wait_with(c, quiesce->bytes, now_ms);
    g_ptr_array_remove_index(c->quiesces, place);
}

/* ---- removal: everybody lets go, then the space comes back */

static VvcDrop *find_drop(VvCoordinator *c, const VvPendingRemoval *removal)
{
    VvcDrop *drop;

    for (guint i = 0; i < c->drops->len; i++) {
        drop = c->drops->pdata[i];
        if (drop->removal == removal->index)
            return drop;
    }
    drop = g_new0(VvcDrop, 1);
    drop->object = removal->object;
    drop->removal = removal->index;
    drop->dropped = g_array_new(FALSE, FALSE, sizeof(VvHolder));
    g_ptr_array_add(c->drops, drop);
    return drop;
}

void vvc_dropped(VvCoordinator *c, uint64_t from, const VvFields *fields)
{
    VvHolder holder = { from, fields->session };

    for (guint i = 0; i < c->drops->len; i++) {
        VvcDrop *drop = c->drops->pdata[i];

        if (drop->object == fields->object && (!vv_rule(VV_RULE_DROP_ID) || drop->removal == fields->removal) &&
            !vvc_listed(drop->dropped, holder) && drop->dropped->len < VV_NODES_MAX)
            g_array_append_val(drop->dropped, holder);
    }
}

static int compare_holders(const void *a, const void *b)
{
    const VvHolder *left = a, *right = b;

    return left->node < right->node ? -1 : left->node > right->node;
}

/* Answers of sessions that live; one a node, rising. */
static GArray *live_answers(const VvCoordinator *c, const VvcDrop *drop)
{
    GArray *live = g_array_new(FALSE, FALSE, sizeof(VvHolder));

    for (guint i = 0; i < drop->dropped->len; i++) {
        VvHolder holder = g_array_index(drop->dropped, VvHolder, i);

        if (vv_state_session(c->tail, holder.node) == holder.session)
            g_array_append_val(live, holder);
    }
    g_array_sort(live, compare_holders);
    return live;
}

/* At most this many at once: each asks every node. */
#define DROPS_AT_ONCE 64u

void vvc_work_drops(VvCoordinator *c, uint64_t now_ms)
{
    for (guint i = 0; i < MIN(c->applied->removals->len, DROPS_AT_ONCE); i++) {
        const VvPendingRemoval *removal = &g_array_index(c->applied->removals, VvPendingRemoval, i);
        VvcDrop *drop = find_drop(c, removal);
        bool due = !drop->proposed && vvc_due(now_ms, &drop->sent_ms, c->config.session_ms / 8), all = true;

        for (guint n = 0; !drop->proposed && n < c->tail->nodes->len; n++) {
            const VvNodeState *node = &g_array_index(c->tail->nodes, VvNodeState, n);
            VvHolder holder = { node->id, node->session };
            VvFields fields = { .term = c->term, .session = node->session, .object = removal->object, .removal = removal->index };

            if (!vv_rule(VV_RULE_DROP_ASK) || node->session == 0 || node->session > removal->index || vvc_listed(drop->dropped, holder))
                continue;
            all = false;
            vvc_need(c, node->id);
            if (due)
                c->ops.send(c->user, node->id, VV_MESSAGE_DROP, &fields);
        }
        if (all && !drop->proposed) {
            g_autoptr(GArray) live = live_answers(c, drop);
            VvEntry purge = { .kind = VV_ENTRY_PURGE, .f.object = removal->object, .f.removal = removal->index,
                .f.holders = (const VvHolder *) (void *) live->data, .f.holders_count = live->len };

            drop->proposed = vvc_propose(c, &purge, NULL);
        }
    }
}
