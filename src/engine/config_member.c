/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Transactions on nodes and invites (members.h, N1 to N3). Everything that a join is refused for is decided here, under the
 * configuration lock, so that two that ask at a time never both get what only one may have. */
#include "codec.h"
#include "members.h"
#include "transaction.h"

#include <string.h>

static void add_member(VvTransaction *tx, VvMemberKind kind, uint64_t id, const GByteArray *body)
{
    VvOp *op = vv_transaction_add(tx, VV_OP_MEMBER_SET);

    op->member_set.kind = (uint8_t) kind;
    op->member_set.id = id;
    if (!body)
        return;
    g_assert(body->len <= VV_MEMBER_BYTES_MAX);
    op->member_set.body = g_memdup2(body->data, body->len);
    op->member_set.body_bytes = body->len;
}

static void put_node(VvTransaction *tx, const VvNodeRecord *node)
{
    g_autoptr(GByteArray) body = g_byte_array_new();

    vv_node_record_encode(node, body);
    add_member(tx, VV_MEMBER_NODE, node->id, body);
}

static void put_invite(VvTransaction *tx, const VvInviteRecord *invite)
{
    g_autoptr(GByteArray) body = g_byte_array_new();

    vv_invite_record_encode(invite, body);
    add_member(tx, VV_MEMBER_INVITE, invite->id, body);
}

static bool has_expired(const VvInviteRecord *invite, uint64_t now_ns)
{
    return now_ns / 1000000000u > invite->expiry_seconds;
}

/* Of those that nobody can use any more, kept for a day so that who comes late is told why; not @but. */
static unsigned drop_expired(VvTransaction *tx, const GPtrArray *invites, uint64_t but)
{
    unsigned left = 0;

    for (unsigned i = 0; i < invites->len; i++) {
        const VvInviteRecord *invite = g_ptr_array_index(invites, i);

        if (invite->id != but && tx->now_ns / 1000000000u > invite->expiry_seconds + VV_INVITE_KEPT_SECONDS)
            add_member(tx, VV_MEMBER_INVITE, invite->id, NULL);
        else
            left++;
    }
    return left;
}

static const VvInviteRecord *find_invite(const GPtrArray *invites, uint64_t id)
{
    for (unsigned i = 0; i < invites->len; i++) {
        const VvInviteRecord *invite = g_ptr_array_index(invites, i);

        if (invite->id == id)
            return invite;
    }
    return NULL;
}

static const VvNodeRecord *find_node(const GPtrArray *nodes, uint64_t id)
{
    for (unsigned i = 0; i < nodes->len; i++) {
        const VvNodeRecord *node = g_ptr_array_index(nodes, i);

        if (node->id == id)
            return node;
    }
    return NULL;
}

static unsigned count_nodes(const GPtrArray *nodes)
{
    unsigned count = 0;

    for (unsigned i = 0; i < nodes->len; i++)
        count += ((const VvNodeRecord *) g_ptr_array_index(nodes, i))->role != VV_ROLE_GONE;
    return count;
}

static bool refuse_name(const GPtrArray *nodes, const char *name, GError **error)
{
    for (unsigned i = 0; i < nodes->len; i++) {
        const VvNodeRecord *node = g_ptr_array_index(nodes, i);

        if (node->role == VV_ROLE_GONE || strcmp(node->name, name) != 0)
            continue;
        vv_set_error(error, VV_ERROR_EXISTS, name, "choose another with --node", "there is a node %s, at %s", name,
            node->addresses[0]);
        return false;
    }
    return true;
}

static bool refuse_count(const GPtrArray *nodes, const char *object, GError **error)
{
    if (count_nodes(nodes) < VV_NODES_MAX && nodes->len < VV_NODE_RECORDS_MAX)
        return true;
    vv_set_error(error, VV_ERROR_LIMIT, object, NULL, "a pool has at most %u nodes", VV_NODES_MAX);
    return false;
}

/* ---- invites */
static bool refuse_invite(const VvTransaction *tx, const GPtrArray *nodes, const GPtrArray *invites, const VvInviteRecord *wanted,
    GError **error)
{
    if (count_nodes(nodes) == 0) {
        vv_set_error(error, VV_ERROR_UNSUPPORTED, NULL, NULL,
            "the pool was made without --listen: no node can join it in this version");
        return false;
    }
    if (*wanted->name && !refuse_name(nodes, wanted->name, error))
        return false;
    for (unsigned i = 0; i < invites->len; i++) {
        const VvInviteRecord *invite = g_ptr_array_index(invites, i);
        g_autofree char *hint = g_strdup_printf("vvfs-admin node invite --revoke %" G_GUINT64_FORMAT, invite->id);
        bool same_name = *wanted->name && strcmp(invite->name, wanted->name) == 0;

        if (invite->id != wanted->id && !(same_name && invite->node == 0 && !has_expired(invite, tx->now_ns)))
            continue;
        vv_set_error(error, VV_ERROR_EXISTS, wanted->name, hint, "invitation %" G_GUINT64_FORMAT " for %s is open", invite->id,
            *invite->name ? invite->name : "any name");
        return false;
    }
    return refuse_count(nodes, wanted->name, error);
}

bool vv_pool_invite_add(VvPool *pool, const VvInviteRecord *invite, VvRequest *request, GError **error)
{
    g_auto(VvTransaction) tx = VV_TRANSACTION_INIT;
    g_autoptr(GPtrArray) nodes = NULL, invites = NULL;

    if (!vv_transaction_begin(&tx, pool, request, false, error))
        return tx.repeated;
    nodes = vv_meta_nodes(vv_pool_meta(pool));
    invites = vv_meta_invites(vv_pool_meta(pool));
    if (!refuse_invite(&tx, nodes, invites, invite, error))
        return false;
    if (drop_expired(&tx, invites, 0) >= VV_INVITES_MAX) {
        vv_set_error(error, VV_ERROR_LIMIT, NULL, "vvfs-admin node invite --list", "there are %u invitations already", VV_INVITES_MAX);
        return false;
    }
    put_invite(&tx, invite);
    return vv_transaction_commit(&tx, NULL, 0, "the invitation", error);
}

bool vv_pool_invite_revoke(VvPool *pool, uint64_t id, VvRequest *request, GError **error)
{
    g_auto(VvTransaction) tx = VV_TRANSACTION_INIT;
    g_autoptr(GPtrArray) nodes = NULL, invites = NULL;
    const VvInviteRecord *invite;

    if (!vv_transaction_begin(&tx, pool, request, false, error))
        return tx.repeated;
    nodes = vv_meta_nodes(vv_pool_meta(pool));
    invites = vv_meta_invites(vv_pool_meta(pool));
    invite = find_invite(invites, id);
    if (!invite) {
        vv_set_error(error, VV_ERROR_NOT_FOUND, NULL, "vvfs-admin node invite --list", "no invitation %" G_GUINT64_FORMAT, id);
        return false;
    }
    if (invite->node != 0) {
        const VvNodeRecord *node = find_node(nodes, invite->node);

        vv_set_error(error, VV_ERROR_CONFLICT, NULL, NULL, "invitation %" G_GUINT64_FORMAT " was used by node %s: it cannot be taken back",
            id, node ? node->name : "?");
        return false;
    }
    drop_expired(&tx, invites, id);
    add_member(&tx, VV_MEMBER_INVITE, id, NULL);
    return vv_transaction_commit(&tx, NULL, 0, "the invitation", error);
}

/* ---- joining */
static bool check_ask(const VvJoinAsk *ask, GError **error)
{
    unsigned count = g_strv_length((char **) ask->addresses);

    if (!vv_member_name_check(ask->name, error))
        return false;
    if (count > 0 && count <= VV_MEMBER_ADDRESSES_MAX)
        return true;
    vv_set_error(error, VV_ERROR_USAGE, ask->name, NULL, "a node has 1 to %u addresses", VV_MEMBER_ADDRESSES_MAX);
    return false;
}

/* By the same key: the same node. */
static bool answer_again(const VvInviteRecord *invite, const VvJoinAsk *ask, const GPtrArray *nodes, VvNodeRecord *ret_node, GError **error)
{
    const VvNodeRecord *node = find_node(nodes, invite->node);
    g_autofree char *when = vv_time_format_local(invite->used_ns);

    if (memcmp(invite->key_id, ask->key_id, sizeof ask->key_id) != 0) {
        vv_set_error(error, VV_ERROR_CONFLICT, ask->name, "vvfs-admin node invite",
            "the invitation was used already, at %s, by node %s", when, node ? node->name : "?");
        return false;
    }
    if (!node || node->role == VV_ROLE_GONE) {
        vv_set_error(error, VV_ERROR_STALE, ask->name, "vvfs-admin node invite", "node %s has left the pool",
            node ? node->name : ask->name);
        return false;
    }
    if (strcmp(node->name, ask->name) != 0 ||
        !g_strv_equal((const char *const *) node->addresses, ask->addresses)) {
        vv_set_error(error, VV_ERROR_CONFLICT, ask->name, NULL, "this machine has joined already, as %s at %s", node->name,
            node->addresses[0]);
        return false;
    }
    vv_node_record_copy(node, ret_node);
    return true;
}

static bool check_invite(const VvTransaction *tx, const VvInviteRecord *invite, const VvJoinAsk *ask, GError **error)
{
    g_autofree char *until = vv_time_format_utc(invite->expiry_seconds * 1000000000u);

    if (has_expired(invite, tx->now_ns)) {
        vv_set_error(error, VV_ERROR_STALE, ask->name, "vvfs-admin node invite", "the invitation was good until %s", until);
        return false;
    }
    if (*invite->name && strcmp(invite->name, ask->name) != 0) {
        vv_set_error(error, VV_ERROR_CONFLICT, ask->name, NULL, "the invitation is for a node %s, not for %s", invite->name, ask->name);
        return false;
    }
    return true;
}

static bool check_free(const VvJoinAsk *ask, const GPtrArray *nodes, GError **error)
{
    if (!refuse_count(nodes, ask->name, error) || !refuse_name(nodes, ask->name, error))
        return false;
    for (unsigned i = 0; i < nodes->len; i++) {
        const VvNodeRecord *node = g_ptr_array_index(nodes, i);

        if (memcmp(node->key_id, ask->key_id, sizeof ask->key_id) == 0) {
            vv_set_error(error, VV_ERROR_CONFLICT, ask->name, "join with a new directory", "this key is that of node %s", node->name);
            return false;
        }
        for (const char *const *address = ask->addresses; *address; address++) {
            if (node->role == VV_ROLE_GONE || !g_strv_contains((const char *const *) node->addresses, *address))
                continue;
            vv_set_error(error, VV_ERROR_EXISTS, ask->name, NULL, "%s is the address of node %s", *address, node->name);
            return false;
        }
    }
    return true;
}

static void fill_node(const VvTransaction *tx, const VvInviteRecord *invite, const VvJoinAsk *ask, const GPtrArray *nodes, VvNodeRecord *node)
{
    const VvNodeRecord *last = g_ptr_array_index(nodes, nodes->len - 1);

    node->id = last->id + 1; /* N1 */
    node->role = invite->role;
    node->name = g_strdup(ask->name);
    node->software = g_strdup(ask->software);
    node->addresses = g_strdupv((char **) ask->addresses);
    node->since_ns = tx->now_ns;
    memcpy(node->key_id, ask->key_id, sizeof node->key_id);
}

bool vv_pool_join(VvPool *pool, const VvJoinAsk *ask, VvNodeRecord *ret_node, bool *ret_again, GError **error)
{
    g_auto(VvTransaction) tx = VV_TRANSACTION_INIT;
    g_autoptr(GPtrArray) nodes = NULL, invites = NULL;
    g_auto(VvNodeRecord) node = { .id = 0 };
    const VvInviteRecord *invite;
    VvInviteRecord used;

    if (!check_ask(ask, error) || !vv_transaction_begin(&tx, pool, NULL, false, error))
        return false;
    nodes = vv_meta_nodes(vv_pool_meta(pool));
    invites = vv_meta_invites(vv_pool_meta(pool));
    invite = find_invite(invites, ask->invite);
    if (!invite || nodes->len == 0) {
        vv_set_error(error, VV_ERROR_NOT_FOUND, ask->name, "vvfs-admin node invite",
            "the invitation is not known: it was revoked, or has expired long ago");
        return false;
    }
    if (!ask->proves(ask->user, invite->verifier)) {
        vv_set_error(error, VV_ERROR_DENIED, ask->name, NULL, "the token does not belong to invitation %" G_GUINT64_FORMAT, invite->id);
        return false;
    }
    *ret_again = invite->node != 0;
    if (invite->node != 0)
        return answer_again(invite, ask, nodes, ret_node, error);
    if (!check_invite(&tx, invite, ask, error) || !check_free(ask, nodes, error))
        return false;
    fill_node(&tx, invite, ask, nodes, &node);
    used = *invite;
    used.node = node.id;
    used.used_ns = tx.now_ns;
    memcpy(used.key_id, ask->key_id, sizeof used.key_id);
    put_node(&tx, &node);
    put_invite(&tx, &used);
    drop_expired(&tx, invites, used.id);
    if (!vv_transaction_commit(&tx, NULL, 0, ask->name, error))
        return false;
    *ret_node = node;
    memset(&node, 0, sizeof node);
    return true;
}

/* ---- changing a node */
/* *ret_leaders: those that may lead, so no witnesses. */
static unsigned count_voters(const GPtrArray *nodes, uint64_t but, unsigned *ret_leaders)
{
    unsigned count = 0;

    *ret_leaders = 0;
    for (unsigned i = 0; i < nodes->len; i++) {
        const VvNodeRecord *node = g_ptr_array_index(nodes, i);

        count += vv_role_votes(node->role) && node->id != but;
        *ret_leaders += node->role == VV_ROLE_VOTER && node->id != but;
    }
    return count;
}

bool vv_node_refuse_role(const VvNodeRecord *node, VvNodeRole role, GError **error)
{
    g_autofree char *hint = NULL;
    bool guest = role == VV_ROLE_GUEST || node->role == VV_ROLE_GUEST;

    if (role == VV_ROLE_GONE || role == node->role || (!guest && role != VV_ROLE_WITNESS && node->role != VV_ROLE_WITNESS))
        return true;
    hint = g_strdup_printf("vvfs-admin node evict %s, then vvfs-admin node invite --role %s", node->name, vv_role_name(role));
    vv_set_error(error, VV_ERROR_CONFLICT, node->name, hint, "node %s is a %s, and cannot become a %s: %s", node->name, vv_role_name(node->role),
        vv_role_name(role), guest ? "a guest has a certificate of its own kind, and no map" : "a witness has no mount, and runs as `vvfs --witness`");
    return false;
}

/* Its disks go first. */
static bool refuse_disks(VvPool *pool, const VvNodeRecord *node, GError **error)
{
    VV_META_READ(vv_pool_meta(pool));
    const GPtrArray *disks = vv_meta_disks(vv_pool_meta(pool));

    for (unsigned i = 0; i < disks->len; i++) {
        const VvDiskInfo *disk = g_ptr_array_index(disks, i);
        g_autofree char *hint = NULL;
        const char *path;
        uint64_t of;

        if (!vv_node_address_parse(disk->path, &of, &path) || of != node->id)
            continue;
        hint = g_strdup_printf("vvfs-admin disk remove %s", disk->name);
        vv_set_error(error, VV_ERROR_BUSY, node->name, hint,
            "node %s has disk %s of the pool (%s): remove the LUNs that have data on it, then the disk. Nothing was changed", node->name, disk->name, path);
        return false;
    }
    return true;
}

static bool refuse_role(VvPool *pool, const GPtrArray *nodes, const VvNodeRecord *node, VvNodeRole role, GError **error)
{
    unsigned leaders, others = count_voters(nodes, node->id, &leaders);

    if (!vv_node_refuse_role(node, role, error))
        return false;
    if (role == VV_ROLE_GONE && node->id == VV_FIRST_NODE) {
        vv_set_error(error, VV_ERROR_UNSUPPORTED, node->name, NULL,
            "not in this version: node %s has the pool's disks, and cannot leave it", node->name);
        return false;
    }
    if (role == VV_ROLE_GONE && !refuse_disks(pool, node, error))
        return false;
    if (role != VV_ROLE_VOTER && leaders == 0) {
        vv_set_error(error, VV_ERROR_CONFLICT, node->name, "vvfs-admin node set NODE role=voter, for another node first",
            others == 0 ? "node %s is the last that votes: nobody could decide anything without it"
                        : "node %s is the last that votes beside witnesses, which do not lead", node->name);
        return false;
    }
    if (role == VV_ROLE_VOTER && others >= VV_VOTERS_MAX) {
        vv_set_error(error, VV_ERROR_LIMIT, node->name, NULL, "a pool has at most %u nodes that vote", VV_VOTERS_MAX);
        return false;
    }
    return true;
}

static bool refuse_address(const GPtrArray *nodes, const VvNodeRecord *changed, const char *address, GError **error)
{
    for (unsigned i = 0; i < nodes->len; i++) {
        const VvNodeRecord *node = g_ptr_array_index(nodes, i);

        if (node->id == changed->id || node->role == VV_ROLE_GONE || !g_strv_contains((const char *const *) node->addresses, address))
            continue;
        vv_set_error(error, VV_ERROR_EXISTS, changed->name, NULL, "%s is the address of node %s", address, node->name);
        return false;
    }
    return true;
}

/* False: nothing of it is new. */
static bool apply_change(const VvNodeChange *change, VvNodeRecord *node)
{
    bool role = change->role != 0 && change->role != node->role;
    bool address = change->address && (strcmp(node->addresses[0], change->address) != 0 || node->addresses[1]);

    if (role)
        node->role = change->role;
    if (address) {
        g_strfreev(node->addresses);
        node->addresses = g_strdupv((char *[]){ (char *) change->address, NULL });
    }
    return role || address;
}

static bool change_node(VvPool *pool, const VvNodeChange *change, VvRequest *request, GError **error)
{
    g_auto(VvTransaction) tx = VV_TRANSACTION_INIT;
    g_autoptr(GPtrArray) nodes = NULL, invites = NULL;
    g_auto(VvNodeRecord) changed = { .id = 0 };
    const VvNodeRecord *node;

    if (!vv_transaction_begin(&tx, pool, request, false, error))
        return tx.repeated;
    nodes = vv_meta_nodes(vv_pool_meta(pool));
    invites = vv_meta_invites(vv_pool_meta(pool));
    node = find_node(nodes, change->id);
    if (!node || node->role == VV_ROLE_GONE) {
        vv_set_error(error, VV_ERROR_NOT_FOUND, node ? node->name : NULL, "vvfs-admin node list", "node %s has left the pool",
            node ? node->name : "?");
        return false;
    }
    if (change->role != 0 && change->role != node->role && !refuse_role(pool, nodes, node, change->role, error))
        return false;
    if (change->address && !refuse_address(nodes, node, change->address, error))
        return false;
    vv_node_record_copy(node, &changed);
    if (apply_change(change, &changed)) {
        put_node(&tx, &changed);
        drop_expired(&tx, invites, 0);
    }
    return vv_transaction_commit(&tx, NULL, 0, changed.name, error);
}

bool vv_pool_node_change(VvPool *pool, const VvNodeChange *change, VvRequest *request, GError **error)
{
    VV_UNTIL_DECIDED(error, change_node(pool, change, request, &failure));
}
