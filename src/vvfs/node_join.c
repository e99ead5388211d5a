/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The door: a machine asks to join. The door's thread only hands it to a changer, which decides in one transaction
 * (engine/config_member.c), signs and answers. */
#include "address.h"
#include "config.h"
#include "error.h"
#include "node_private.h"

#include <string.h>

typedef struct {
    VvClusterNode *node;
    VvJoin *join;
} JoinChore;

static bool proves(void *user, const uint8_t verifier[VV_INVITE_VERIFIER_BYTES])
{
    return vv_join_proves(user, verifier);
}

/* As all nodes write them, so that two spellings of one address are one. */
static char **normal_addresses(const VvJoinRequest *request, GError **error)
{
    g_autoptr(GStrvBuilder) addresses = g_strv_builder_new();

    for (char **text = request->addresses; *text; text++) {
        VvAddress address;

        if (!vv_address_parse(*text, false, &address, error))
            return NULL;
        g_strv_builder_add(addresses, address.text);
    }
    return g_strv_builder_end(addresses);
}

static bool take_in(VvClusterNode *node, VvJoin *join, VvNodeRecord *ret_record, bool *ret_again, GError **error)
{
    const VvJoinRequest *request = vv_join_request(join);
    g_auto(GStrv) addresses = normal_addresses(request, error);
    VvJoinAsk ask = { .invite = request->invite,
        .name = request->name,
        .software = request->software,
        .addresses = (const char *const *) addresses,
        .proves = proves,
        .user = join };

    if (!addresses)
        return false;
    if (!vv_request_key_id(request->request, ask.key_id)) {
        vv_set_error(error, VV_ERROR_DENIED, request->name, NULL, "its request for a certificate is none");
        return false;
    }
    return vv_pool_join(node->daemon->pool, &ask, ret_record, ret_again, error);
}

/* A guest hears of no other guest. */
static GArray *known_to(VvClusterNode *node, const VvNodeRecord *record)
{
    GArray *known = vv_node_known(node);

    for (unsigned i = known->len; record->role == VV_ROLE_GUEST && i-- > 0;)
        if (g_array_index(known, VvKnownNode, i).guest && g_array_index(known, VvKnownNode, i).id != record->id)
            g_array_remove_index(known, i);
    return known;
}

static bool sign(VvClusterNode *node, VvJoin *join, const VvNodeRecord *record, VvJoined *joined, GError **error)
{
    VvIdentity identity = { .pool = node->daemon->uuid, .node = record->id, .guest = record->role == VV_ROLE_GUEST };
    g_autoptr(VvAuthority) authority = vv_node_authority(node, error);
    GBytes *certificate = authority ? vv_authority_sign(authority, vv_join_request(join)->request, &identity, 0, error) : NULL;

    if (!certificate)
        return false;
    joined->node = record->id;
    joined->role = (VvTokenRole) record->role;
    joined->pool_name = g_strdup(node->daemon->name);
    joined->node_name = g_strdup(record->name);
    joined->credentials.node_certificate = certificate;
    joined->credentials.authority_certificate = g_bytes_ref(node->credentials.authority_certificate);
    if (!identity.guest)
        joined->credentials.authority_key = g_bytes_ref(node->credentials.authority_key);
    joined->nodes = known_to(node, record);
    return true;
}

/* A changer's. */
static void join_chore(void *data)
{
    g_autofree JoinChore *chore = data;
    VvClusterNode *node = chore->node;
    g_autoptr(GError) error = NULL;
    g_auto(VvNodeRecord) record = { .id = 0 };
    g_auto(VvJoined) joined = { 0 };
    bool again = false;

    if (!take_in(node, chore->join, &record, &again, &error) || !sign(node, chore->join, &record, &joined, &error)) {
        vv_join_refuse(chore->join, error); /* the mesh tells of it */
        return;
    }
    vv_node_changed(node);
    if (!vvn_make_cluster(node, &error)) { /* it has its place, and gets in when it asks again */
        vv_join_refuse(chore->join, error);
        return;
    }
    if (!again)
        vv_pool_event(node->daemon->pool, VV_SEVERITY_INFO, "node-joined", record.name, "node %s (%" G_GUINT64_FORMAT
            ", %s, %s) has joined the pool", record.name, record.id, vv_role_name(record.role), record.addresses[0]);
    vv_join_accept(chore->join, &joined);
}

void vv_node_take_join(VvClusterNode *node, VvJoin *join)
{
    g_autoptr(GError) ending = NULL;
    JoinChore *chore;
    VV_LOCKED(&node->join_lock);

    if (node->ending) {
        vv_set_error(&ending, VV_ERROR_BUSY, node->name, "ask again", "node %s is ending", node->name);
        vv_join_refuse(join, ending);
        return;
    }
    chore = g_new(JoinChore, 1);
    *chore = (JoinChore){ node, join };
    vv_crew_run(node->daemon->changers, join_chore, chore);
}
