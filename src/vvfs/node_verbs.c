/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `node set`, `node leave`, `node evict`, `node lead`. A change of a node is one transaction on its record; what follows from it, whoever leads
 * brings about (driver_members.c), also if this daemon dies. Before it is looked at what the records do not know: who is up, who leads.
 *
 *   refused                                     because
 *   half or more of the voters are down         nothing can be decided; a transaction would wait for them
 *   half or more of those that would be left    the next thing could not be
 *   its leader does not hand over               a leader cannot be taken out of Raft */
#include "base.h"
#include "error.h"
#include "node_private.h"
#include "node_setup.h"

#include <string.h>

#define LEAD_MS 10000u      /* ten elections */
#define LEAD_AGAIN_MS 300u  /* it is refused while the voters change */
#define FENCED_MS (4 * VV_DRIVER_SESSION_MS) /* T' of silence, and two entries */
#define LOOK_US 20000u

static void pause_a_little(void)
{
    g_usleep(LOOK_US);
}

/* ---- who is up */
typedef struct {
    unsigned voters, up;
    GString *down; /* names; owned */
} Quorum;

static void quorum_clear(Quorum *quorum)
{
    g_string_free(quorum->down, TRUE);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Quorum, quorum_clear)

static bool is_up(VvClusterNode *node, const VvNodeRecord *record)
{
    return strcmp(vv_node_state(node, record), "up") == 0;
}

static void look_at_voters(VvClusterNode *node, uint64_t but, Quorum *quorum)
{
    g_autoptr(GPtrArray) nodes = vv_meta_nodes(vv_pool_meta(node->pool));

    *quorum = (Quorum){ .down = g_string_new(NULL) };
    for (unsigned i = 0; i < nodes->len; i++) {
        const VvNodeRecord *record = g_ptr_array_index(nodes, i);

        if (!vv_role_votes(record->role) || record->id == but)
            continue;
        quorum->voters++;
        if (is_up(node, record))
            quorum->up++;
        else
            g_string_append_printf(quorum->down, "%s%s", quorum->down->len ? ", " : "", record->name);
    }
}

static bool has_majority(const Quorum *quorum)
{
    return quorum->up > quorum->voters / 2;
}

/* @loses: this voter is not to vote any more. One that is the last is the transaction's to refuse. */
static bool need_quorum(VvClusterNode *node, const VvNodeRecord *loses, GError **error)
{
    g_auto(Quorum) now = { 0 }, then = { 0 };
    g_autofree char *hint = NULL;

    look_at_voters(node, 0, &now);
    look_at_voters(node, loses && vv_role_votes(loses->role) ? loses->id : 0, &then);
    if (!vv_meta_is_cluster(vv_pool_meta(node->pool)))
        return true;
    if (!has_majority(&now)) {
        hint = g_strdup_printf("start vvfs on %s", now.down->str);
        vv_set_error(error, VV_ERROR_NO_QUORUM, now.down->str, hint,
            "nothing can be decided: of %u nodes that vote %u are up; down: %s", now.voters, now.up, now.down->str);
        return false;
    }
    if (then.voters > 0 && !has_majority(&then)) {
        hint = g_strdup_printf("start vvfs on %s, or evict it first", then.down->str);
        vv_set_error(error, VV_ERROR_NO_QUORUM, loses->name, hint,
            "without node %s nothing could be decided: of %u nodes that vote then %u would be up; down: %s", loses->name, then.voters, then.up,
            then.down->str);
        return false;
    }
    return true;
}

/* ---- who leads */
static bool leads(VvClusterNode *node, uint64_t id)
{
    VvDriverStatus status;

    vv_driver_status(node->driver, &status);
    return status.leader == id && (id != node->id || status.leads);
}

static bool make_lead(VvClusterNode *node, uint64_t id, uint64_t until_ms)
{
    uint64_t asked_ms = 0;

    while (!leads(node, id)) {
        if (vv_monotonic_ms() >= until_ms)
            return false;
        if (asked_ms == 0 || vv_monotonic_ms() >= asked_ms + LEAD_AGAIN_MS) {
            asked_ms = vv_monotonic_ms();
            vv_driver_transfer(node->driver, id);
        }
        pause_a_little();
    }
    return true;
}

/* It leads and is not to: another does. */
static bool hand_over(VvClusterNode *node, const VvNodeRecord *from, GError **error)
{
    g_autoptr(GPtrArray) nodes = vv_meta_nodes(vv_pool_meta(node->pool));
    uint64_t until_ms = vv_monotonic_ms() + LEAD_MS;
    unsigned tried = 0;

    if (!vv_meta_is_cluster(vv_pool_meta(node->pool)) || !leads(node, from->id))
        return true;
    while (vv_monotonic_ms() < until_ms) {
        for (unsigned i = 0; i < nodes->len; i++) {
            const VvNodeRecord *to = g_ptr_array_index(nodes, i);

            if (to->role != VV_ROLE_VOTER || to->id == from->id || !is_up(node, to))
                continue;
            tried++;
            if (make_lead(node, to->id, vv_monotonic_ms() + 2 * VV_DRIVER_ELECTION_MS) || !leads(node, from->id))
                return true;
        }
        if (tried == 0)
            return true; /* it is the only one: the transaction tells */
    }
    vv_set_error(error, VV_ERROR_TIMEOUT, from->name, "vvfs-admin node list", "node %s leads, and nobody took over in %u s", from->name,
        LEAD_MS / 1000);
    return false;
}

static bool refuse_to_lead(VvClusterNode *node, const VvNodeRecord *record, GError **error)
{
    VvDriverNode known = { .id = 0 };

    if (record->role == VV_ROLE_GUEST)
        vv_set_error(error, VV_ERROR_CONFLICT, record->name, NULL, "node %s is a guest: it has no vote, and never leads", record->name);
    else if (!vv_meta_is_cluster(vv_pool_meta(node->pool)))
        vv_set_error(error, VV_ERROR_CONFLICT, record->name, NULL, "pool %s has one node, which leads", node->daemon->name);
    else if (record->role == VV_ROLE_WITNESS)
        vv_set_error(error, VV_ERROR_CONFLICT, record->name, NULL, "node %s is a witness: it votes, and never leads while another voter is up",
            record->name);
    else if (record->role != VV_ROLE_VOTER)
        vv_set_error(error, VV_ERROR_CONFLICT, record->name, "vvfs-admin node set NODE role=voter", "node %s is a %s: only a node that votes leads",
            record->name, vv_role_name(record->role));
    else if (!is_up(node, record))
        vv_set_error(error, VV_ERROR_BUSY, record->name, "vvfs-admin node list", "node %s is down", record->name);
    else if (!vv_driver_node(node->driver, record->id, &known) || !known.voter)
        vv_set_error(error, VV_ERROR_BUSY, record->name, "do it again", "node %s does not vote yet: it follows first", record->name);
    else
        return true;
    return false;
}

bool vv_node_lead(VvClusterNode *node, const char *name, GError **error)
{
    g_autoptr(VvNodeRecord) record = vv_pool_node(node->pool, name, error);

    if (!record || !refuse_to_lead(node, record, error) || !need_quorum(node, NULL, error))
        return false;
    if (leads(node, record->id))
        return true;
    if (!make_lead(node, record->id, vv_monotonic_ms() + LEAD_MS)) {
        vv_set_error(error, VV_ERROR_TIMEOUT, name, "vvfs-admin node list", "node %s did not take over in %u s: it may lag behind", name,
            LEAD_MS / 1000);
        return false;
    }
    vv_pool_event(node->pool, VV_SEVERITY_INFO, "node-leads", name, "node %s leads now, as was asked for", name);
    return true;
}

/* ---- leaving */
static VvNodeRecord *find_gone(VvClusterNode *node, const char *name)
{
    g_autoptr(GPtrArray) nodes = vv_meta_nodes(vv_pool_meta(node->pool));

    for (unsigned i = nodes->len; i-- > 0;) {
        const VvNodeRecord *record = g_ptr_array_index(nodes, i);
        VvNodeRecord *found;

        if (record->role != VV_ROLE_GONE || strcmp(record->name, name) != 0)
            continue;
        found = g_new(VvNodeRecord, 1);
        vv_node_record_copy(record, found);
        return found;
    }
    return NULL;
}

/* Its last session has ended, and nothing of that can land any more: somebody said so. */
static bool fence(VvClusterNode *node, const VvNodeRecord *record, GError **error)
{
    uint64_t until_ms = vv_monotonic_ms() + FENCED_MS;
    VvDriverNode known;

    if (record->role == VV_ROLE_GUEST) /* it has no session */
        return true;
    vv_driver_vouch(node->driver, record->id);
    while (vv_monotonic_ms() < until_ms) {
        if (vv_driver_node(node->driver, record->id, &known) && known.removed && !known.unfenced)
            return true;
        pause_a_little();
    }
    vv_set_error(error, VV_ERROR_TIMEOUT, record->name, "do it again", "node %s is evicted, but its last session has not ended yet", record->name);
    return false;
}

static bool take_out(VvClusterNode *node, const VvNodeRecord *record, VvRequest *request, GError **error)
{
    VvNodeChange change = { .id = record->id, .role = VV_ROLE_GONE };
    g_autoptr(GError) failure = NULL;

    if (record->id != VV_FIRST_NODE && (!need_quorum(node, record, error) || !hand_over(node, record, error)))
        return false;
    if (!vv_pool_node_change(node->pool, &change, request, &failure)) {
        if (record->id == node->id && node->gone)
            return true; /* it was decided, and the others told before the log did */
        g_propagate_error(error, g_steal_pointer(&failure));
        return false;
    }
    vv_pool_event(node->pool, VV_SEVERITY_INFO, record->id == node->id ? "node-left" : "node-evicted", record->name, "node %s (%" G_GUINT64_FORMAT
        ") %s the pool", record->name, record->id, record->id == node->id ? "has left" : "was evicted from");
    vv_node_changed(node);
    return true;
}

bool vv_node_evict(VvClusterNode *node, const char *name, bool fenced, VvRequest *request, GError **error)
{
    g_autoptr(GError) unknown = NULL;
    g_autoptr(VvNodeRecord) record = vv_pool_node(node->pool, name, &unknown), gone = NULL;

    if (!record && fenced)
        gone = find_gone(node, name);
    if (!record && !gone) {
        g_propagate_error(error, g_steal_pointer(&unknown));
        return false;
    }
    if (fenced && record && (record->id == node->id || is_up(node, record))) {
        vv_set_error(error, VV_ERROR_CONFLICT, name, "vvfs-admin node evict NODE, without --fenced", "node %s is up: nobody can vouch that it is off",
            name);
        return false;
    }
    if (record && !take_out(node, record, request, error))
        return false;
    return !fenced || fence(node, record ? record : gone, error);
}

/* ---- set */
static bool need_role(VvClusterNode *node, const VvNodeRecord *record, VvNodeRole role, GError **error)
{
    if (role == 0 || role == record->role)
        return need_quorum(node, NULL, error);
    return need_quorum(node, role == VV_ROLE_VOTER ? NULL : record, error) && (role == VV_ROLE_VOTER || hand_over(node, record, error));
}

bool vv_node_set(VvClusterNode *node, const char *name, const char *role, const char *address, VvRequest *request, GError **error)
{
    g_autoptr(VvNodeRecord) record = vv_pool_node(node->pool, name, error);
    g_autofree char *normal = NULL;
    VvNodeChange change = { .id = record ? record->id : 0 };

    if (!record || (role && (!vv_invite_role_parse(role, &change.role, error) || !vv_node_refuse_role(record, change.role, error))))
        return false; /* before anybody hands over */
    if (address) {
        change.address = normal = record->id == node->id ? vv_listen_address(address, error) : vv_other_address(address, error);
        if (!normal)
            return false;
    }
    if (!need_role(node, record, change.role, error) || !vv_pool_node_change(node->pool, &change, request, error))
        return false;
    vv_pool_event(node->pool, VV_SEVERITY_INFO, "node-set", name, "node %s was changed:%s%s%s%s", name, role ? " role " : "", role ? role : "",
        address ? " address " : "", address ? normal : "");
    vv_node_changed(node);
    return true;
}
