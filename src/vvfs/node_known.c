/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Whom a node knows: the map's records, and where the map is older than what this node knew before, the file "nodes".
 *
 * A pool that opens has the map of its last checkpoint, or of the state that was sent to it; what the log says since is applied when
 * a majority answers, and for that the others must be known. So who there is, is kept beside the map whenever it has changed. Ids are
 * never used again and a node that has left keeps its record: an id that the map has no record of is newer than the map. */
#include "node_private.h"

#include "error.h"
#include "node_setup.h"
#include "witness.h"

static const VvNodeRecord *find_record(GPtrArray *records, uint64_t id)
{
    for (unsigned i = 0; i < records->len; i++) {
        const VvNodeRecord *record = g_ptr_array_index(records, i);

        if (record->id == id)
            return record;
    }
    return NULL;
}

static bool is_newer(const GArray *kept, GPtrArray *records)
{
    for (unsigned i = 0; kept && i < kept->len; i++)
        if (!find_record(records, g_array_index(kept, VvKnownNode, i).id))
            return true;
    return false;
}

static void add_records(GArray *known, GPtrArray *records, uint64_t first)
{
    for (unsigned pass = 0; pass < 2; pass++)
        for (unsigned i = 0; i < records->len; i++) {
            const VvNodeRecord *record = g_ptr_array_index(records, i);

            if (record->role != VV_ROLE_GONE && (record->id == first) == (pass == 0))
                vv_known_nodes_add(known, record->id, record->role == VV_ROLE_GUEST, record->name,
                    (const char *const *) record->addresses);
        }
}

static void add_kept(GArray *known, const GArray *kept)
{
    for (unsigned i = 0; i < kept->len; i++) {
        const VvKnownNode *node = &g_array_index(kept, VvKnownNode, i);

        vv_known_nodes_add(known, node->id, node->guest, node->name, (const char *const *) node->addresses);
    }
}

/* A guest is told of all nodes at once, without those that are gone. */
static bool is_older_than_kept(const VvClusterNode *node, GPtrArray *records)
{
    return node->guest ? records->len == 0 && node->kept.nodes : is_newer(node->kept.nodes, records);
}

GArray *vv_node_known(VvClusterNode *node)
{
    g_autoptr(GPtrArray) records = vv_meta_nodes(vv_pool_meta(node->pool));
    GArray *known = vv_known_nodes_new();

    if (is_older_than_kept(node, records))
        add_kept(known, node->kept.nodes);
    else
        add_records(known, records, node->id);
    return known;
}

void vvn_load_kept(VvClusterNode *node)
{
    g_autoptr(GError) why = NULL;

    vv_joined_clear(&node->kept);
    node->kept = (VvJoined) { .node = 0 };
    if (!vv_nodes_exist(node->daemon->directory))
        return;
    if (!vv_nodes_load(node->daemon->directory, &node->kept, &why))
        vv_log(VV_LOG_WARNING, "%s; the nodes are taken from the map", why->message);
    else if (node->kept.node != node->id)
        vv_joined_clear(&node->kept);
}

void vvn_keep_known(VvClusterNode *node, GArray *known)
{
    VvDaemon *daemon = node->daemon;
    g_autoptr(GPtrArray) records = vv_meta_nodes(vv_pool_meta(node->pool));
    const VvNodeRecord *self = find_record(records, node->id);
    VvJoined now = { .node = node->id, .nodes = known };
    g_autoptr(GError) why = NULL;

    if (!self || self->role == VV_ROLE_GONE || known->len < 2 || is_older_than_kept(node, records) || daemon->options->read_only)
        return;
    now.role = (VvTokenRole) self->role;
    if (!vv_nodes_save(daemon->directory, &now, &why))
        vvn_event(node, VV_SEVERITY_WARNING, "nodes-file", NULL, "%s: should all nodes start anew, this one may not find those that have joined",
            why->message);
}

static void be(VvClusterNode *node, const char *name, const char *address)
{
    g_free(node->name);
    g_free(node->address);
    node->name = g_strdup(name);
    node->address = g_strdup(address);
    g_free(node->daemon->node);
    node->daemon->node = g_strdup(name);
}

bool vvn_find_self(VvClusterNode *node, GError **error)
{
    VvDaemon *daemon = node->daemon;
    g_autoptr(GPtrArray) records = vv_meta_nodes(vv_pool_meta(node->pool));
    const VvNodeRecord *self = find_record(records, node->id);

    if (self && self->role == VV_ROLE_GONE) {
        vvn_set_gone_error(node, error);
        return false;
    }
    if (self && !vv_witness_check_role(daemon->directory, daemon->name, self->role == VV_ROLE_WITNESS, daemon->options->witness, error))
        return false;
    if (self) {
        be(node, self->name, self->addresses[0]);
    } else if (node->kept.nodes) {
        for (unsigned i = 0; i < node->kept.nodes->len; i++) {
            const VvKnownNode *known = &g_array_index(node->kept.nodes, VvKnownNode, i);

            if (known->id != node->id)
                continue;
            be(node, known->name, known->addresses[0]);
        }
    }
    if (!node->name) {
        vv_set_error(error, VV_ERROR_DENIED, daemon->name, NULL, "%s/tls: the certificate is of node %" G_GUINT64_FORMAT
            ", which is not a node of pool %s", daemon->directory, node->id, daemon->name);
        return false;
    }
    return true;
}
