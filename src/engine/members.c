/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Records of nodes and invites: their bodies, looking at them, and what `pool check` says of them. Changing them: config_member.c. */
#include "members.h"

#include "codec.h"
#include "error.h"
#include "member_table.h"
#include "sharing.h"
#include "transaction.h"

#include <string.h>

#define RECORD_VERSION 1u

const char *vv_role_name(VvNodeRole role)
{
    static const char *const names[] = { NULL, "voter", "standby", "witness", "guest", "gone" };

    return (unsigned) role < G_N_ELEMENTS(names) ? names[role] : NULL;
}

bool vv_member_name_check(const char *name, GError **error)
{
    if (!vv_name_check(name, "node", error))
        return false;
    if (strcmp(name, "default") != 0)
        return true;
    vv_set_error(error, VV_ERROR_INVALID_NAME, name, NULL, "no node can be named default: in `share` that stands for all who are not named");
    return false;
}

bool vv_role_votes(VvNodeRole role)
{
    return role == VV_ROLE_VOTER || role == VV_ROLE_WITNESS;
}

/* ---- structs */
void vv_node_record_clear(VvNodeRecord *node)
{
    g_clear_pointer(&node->name, g_free);
    g_clear_pointer(&node->software, g_free);
    g_clear_pointer(&node->addresses, g_strfreev);
}

void vv_node_record_free(VvNodeRecord *node)
{
    if (node)
        vv_node_record_clear(node);
    g_free(node);
}

void vv_node_record_copy(const VvNodeRecord *node, VvNodeRecord *ret_node)
{
    *ret_node = *node;
    ret_node->name = g_strdup(node->name);
    ret_node->software = g_strdup(node->software);
    ret_node->addresses = g_strdupv(node->addresses);
}

void vv_invite_record_clear(VvInviteRecord *invite)
{
    g_clear_pointer(&invite->name, g_free);
}

void vv_invite_record_free(VvInviteRecord *invite)
{
    if (invite)
        vv_invite_record_clear(invite);
    g_free(invite);
}

/* ---- bodies */
static bool address_is_plausible(const char *text)
{
    for (const char *c = text; *c; c++)
        if (!g_ascii_isgraph(*c))
            return false;
    return *text && strlen(text) <= VV_MEMBER_ADDRESS_BYTES_MAX;
}

static bool node_is_in_range(const VvNodeRecord *node)
{
    unsigned count = node->addresses ? g_strv_length(node->addresses) : 0;

    if (node->id == 0 || !vv_role_name(node->role) || !vv_name_check(node->name, "node", NULL) || count == 0 ||
        count > VV_MEMBER_ADDRESSES_MAX || !node->software || strlen(node->software) > VV_MEMBER_SOFTWARE_BYTES_MAX)
        return false;
    for (unsigned i = 0; i < count; i++)
        if (!address_is_plausible(node->addresses[i]))
            return false;
    return true;
}

static bool invite_is_in_range(const VvInviteRecord *invite)
{
    return invite->id != 0 && vv_role_name(invite->role) && invite->role != VV_ROLE_GONE && invite->name &&
           (!*invite->name || vv_name_check(invite->name, "node", NULL));
}

void vv_node_record_encode(const VvNodeRecord *node, GByteArray *out)
{
    g_assert(node_is_in_range(node));
    vv_write_u8(out, RECORD_VERSION);
    vv_write_u8(out, (uint8_t) node->role);
    vv_write_string(out, node->name);
    vv_write_string(out, node->software);
    vv_write_u8(out, (uint8_t) g_strv_length(node->addresses));
    for (char **address = node->addresses; *address; address++)
        vv_write_string(out, *address);
    vv_write_u64(out, node->since_ns);
    vv_write_bytes(out, node->key_id, sizeof node->key_id);
}

static void read_fixed(VvReader *in, uint8_t *to, size_t length_bytes)
{
    const uint8_t *bytes = vv_read_bytes(in, length_bytes);

    if (bytes)
        memcpy(to, bytes, length_bytes);
}

bool vv_node_record_decode(uint64_t id, const uint8_t *body, size_t length_bytes, VvNodeRecord *ret_node)
{
    VvReader in = vv_reader(body, length_bytes);
    g_auto(VvNodeRecord) node = { .id = id };
    g_autoptr(GStrvBuilder) addresses = g_strv_builder_new();
    uint8_t count;

    if (vv_read_u8(&in) != RECORD_VERSION)
        return false;
    node.role = vv_read_u8(&in);
    node.name = vv_read_string(&in, VV_NAME_BYTES_MAX);
    node.software = vv_read_string(&in, VV_MEMBER_SOFTWARE_BYTES_MAX);
    count = vv_read_u8(&in);
    for (unsigned i = 0; i < count && !in.bad; i++) {
        g_autofree char *address = vv_read_string(&in, VV_MEMBER_ADDRESS_BYTES_MAX);

        if (address)
            g_strv_builder_add(addresses, address);
    }
    node.addresses = g_strv_builder_end(addresses);
    node.since_ns = vv_read_u64(&in);
    read_fixed(&in, node.key_id, sizeof node.key_id);
    if (in.bad || vv_reader_left(&in) != 0 || !node_is_in_range(&node))
        return false;
    *ret_node = node;
    memset(&node, 0, sizeof node);
    return true;
}

void vv_invite_record_encode(const VvInviteRecord *invite, GByteArray *out)
{
    g_assert(invite_is_in_range(invite));
    vv_write_u8(out, RECORD_VERSION);
    vv_write_u8(out, (uint8_t) invite->role);
    vv_write_string(out, invite->name);
    vv_write_u64(out, invite->created_ns);
    vv_write_u64(out, invite->expiry_seconds);
    vv_write_bytes(out, invite->verifier, sizeof invite->verifier);
    vv_write_u64(out, invite->node);
    vv_write_u64(out, invite->used_ns);
    vv_write_bytes(out, invite->key_id, sizeof invite->key_id);
}

bool vv_invite_record_decode(uint64_t id, const uint8_t *body, size_t length_bytes, VvInviteRecord *ret_invite)
{
    VvReader in = vv_reader(body, length_bytes);
    g_auto(VvInviteRecord) invite = { .id = id };

    if (vv_read_u8(&in) != RECORD_VERSION)
        return false;
    invite.role = vv_read_u8(&in);
    invite.name = vv_read_string(&in, VV_NAME_BYTES_MAX);
    invite.created_ns = vv_read_u64(&in);
    invite.expiry_seconds = vv_read_u64(&in);
    read_fixed(&in, invite.verifier, sizeof invite.verifier);
    invite.node = vv_read_u64(&in);
    invite.used_ns = vv_read_u64(&in);
    read_fixed(&in, invite.key_id, sizeof invite.key_id);
    if (in.bad || vv_reader_left(&in) != 0 || !invite_is_in_range(&invite))
        return false;
    *ret_invite = invite;
    memset(&invite, 0, sizeof invite);
    return true;
}

/* ---- looking */
static void free_node(void *node)
{
    vv_node_record_free(node);
}

static void free_invite(void *invite)
{
    vv_invite_record_free(invite);
}

GPtrArray *vv_meta_nodes(VvMeta *meta)
{
    GPtrArray *nodes = g_ptr_array_new_with_free_func(free_node);
    VV_META_READ(meta);
    const GPtrArray *members = vv_meta_members(meta);

    for (unsigned i = 0; i < members->len; i++) {
        const VvMemberRecord *member = g_ptr_array_index(members, i);
        VvNodeRecord node;

        if (member->kind > VV_MEMBER_NODE) /* they are by kind, and of the last there may be as many as there are snapshots */
            break;
        if (vv_node_record_decode(member->id, member->body, member->body_bytes, &node))
            g_ptr_array_add(nodes, g_memdup2(&node, sizeof node));
    }
    return nodes;
}

GPtrArray *vv_meta_invites(VvMeta *meta)
{
    GPtrArray *invites = g_ptr_array_new_with_free_func(free_invite);
    VV_META_READ(meta);
    const GPtrArray *members = vv_meta_members(meta);

    for (unsigned i = 0; i < members->len; i++) {
        const VvMemberRecord *member = g_ptr_array_index(members, i);
        VvInviteRecord invite;

        if (member->kind > VV_MEMBER_INVITE)
            break;
        if (member->kind == VV_MEMBER_INVITE && vv_invite_record_decode(member->id, member->body, member->body_bytes, &invite))
            g_ptr_array_add(invites, g_memdup2(&invite, sizeof invite));
    }
    return invites;
}

VvNodeRecord *vv_pool_node(VvPool *pool, const char *name, GError **error)
{
    VvMeta *meta = vv_pool_meta(pool);
    g_autoptr(GPtrArray) nodes = vv_meta_nodes(meta);
    g_autofree char *pool_name = NULL;

    for (unsigned i = nodes->len; i-- > 0;) { /* the newest of a name: others are gone */
        const VvNodeRecord *node = g_ptr_array_index(nodes, i);
        VvNodeRecord *found;

        if (strcmp(node->name, name) != 0 || node->role == VV_ROLE_GONE)
            continue;
        found = g_new(VvNodeRecord, 1);
        vv_node_record_copy(node, found);
        return found;
    }
    {
        VV_META_READ(meta);
        pool_name = g_strdup(vv_meta_pool(meta)->name);
    }
    vv_set_error(error, VV_ERROR_NOT_FOUND, name, "vvfs-admin node list", "no node %s in pool %s", name, pool_name);
    return NULL;
}

/* ---- check */
static void report_member(VvCheckFunc report, void *user, const char *object, const char *format, ...) G_GNUC_PRINTF(4, 5);
static void report_member(VvCheckFunc report, void *user, const char *object, const char *format, ...)
{
    g_autofree char *name = g_strdup(object), *message = NULL;
    VvCheckError found;
    va_list arguments;

    va_start(arguments, format);
    message = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    found = (VvCheckError){ .code = "member", .object = name, .message = message };
    report(user, &found);
}

static void check_pair(const VvNodeRecord *a, const VvNodeRecord *b, VvCheckFunc report, void *user)
{
    if (a->role == VV_ROLE_GONE || b->role == VV_ROLE_GONE)
        return;
    if (strcmp(a->name, b->name) == 0)
        report_member(report, user, b->name, "nodes %" G_GUINT64_FORMAT " and %" G_GUINT64_FORMAT " have one name", a->id, b->id);
    for (char **address = a->addresses; *address; address++)
        if (g_strv_contains((const char *const *) b->addresses, *address))
            report_member(report, user, b->name, "nodes %s and %s have one address, %s", a->name, b->name, *address);
}

void vv_members_check(VvMeta *meta, VvCheckFunc report, void *user)
{
    g_autoptr(GPtrArray) nodes = vv_meta_nodes(meta), invites = vv_meta_invites(meta);
    unsigned count = 0;

    {
        VV_META_READ(meta);
        const GPtrArray *members = vv_meta_members(meta);

        for (unsigned i = 0; i < members->len && ((const VvMemberRecord *) g_ptr_array_index(members, i))->kind != VV_MEMBER_SHARE; i++)
            count++;
    }
    vv_shares_check(meta, report, user);
    if (count != nodes->len + invites->len)
        report_member(report, user, "members", "%u of %u records of nodes and invites cannot be read", count - nodes->len - invites->len,
            count);
    for (unsigned i = 0; i < nodes->len; i++)
        for (unsigned k = 0; k < i; k++)
            check_pair(g_ptr_array_index(nodes, k), g_ptr_array_index(nodes, i), report, user);
    for (unsigned i = 0; i < invites->len; i++) {
        const VvInviteRecord *invite = g_ptr_array_index(invites, i);
        bool found = invite->node == 0;

        for (unsigned k = 0; k < nodes->len; k++)
            found |= ((const VvNodeRecord *) g_ptr_array_index(nodes, k))->id == invite->node;
        if (!found)
            report_member(report, user, "members", "invite %" G_GUINT64_FORMAT " was used by node %" G_GUINT64_FORMAT ", which is not there",
                invite->id, invite->node);
    }
}
