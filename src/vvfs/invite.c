/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Invites and their tokens. */
#include "codec.h"
#include "error.h"
#include "node_private.h"
#include "token.h"

#include <string.h>

#define INVITE_IDS 999999999u /* short enough to be typed, and drawn, so that none is soon used again */
#define SECRET_LABEL "vvfs invite 1"

_Static_assert((int) VV_ROLE_VOTER == (int) VV_TOKEN_VOTER && (int) VV_ROLE_STANDBY == (int) VV_TOKEN_STANDBY &&
                   (int) VV_ROLE_WITNESS == (int) VV_TOKEN_WITNESS && (int) VV_ROLE_GUEST == (int) VV_TOKEN_GUEST,
    "a role is one number everywhere");

bool vv_invite_role_parse(const char *text, VvNodeRole *ret_role, GError **error)
{
    VvTokenRole role;

    if (!vv_token_role_parse(text, &role)) {
        vv_set_error(error, VV_ERROR_USAGE, text, "voter, standby, witness or guest", "a node cannot have the role \"%s\"", text);
        return false;
    }
    *ret_role = (VvNodeRole) role;
    return true;
}

/* HMAC-SHA256 with the authority's key over {label, pool, id, created}. */
static bool make_secret(VvClusterNode *node, uint64_t id, uint64_t created_ns, uint8_t ret_secret[VV_TOKEN_SECRET_BYTES], GError **error)
{
    g_autoptr(VvAuthority) authority = vv_node_authority(node, error);
    g_autoptr(GBytes) key = authority ? vv_authority_key(authority) : NULL;
    uint8_t message[sizeof SECRET_LABEL + sizeof(VvUuid) + 16];
    gsize key_bytes = 0, secret_bytes = VV_TOKEN_SECRET_BYTES;
    const void *bytes;
    GHmac *hmac;

    if (!key)
        return false;
    bytes = g_bytes_get_data(key, &key_bytes);
    memcpy(message, SECRET_LABEL, sizeof SECRET_LABEL);
    memcpy(message + sizeof SECRET_LABEL, node->daemon->uuid.bytes, sizeof(VvUuid));
    vv_put_be64(message + sizeof SECRET_LABEL + sizeof(VvUuid), id);
    vv_put_be64(message + sizeof SECRET_LABEL + sizeof(VvUuid) + 8, created_ns);
    hmac = g_hmac_new(G_CHECKSUM_SHA256, bytes, key_bytes);
    g_hmac_update(hmac, message, sizeof message);
    g_hmac_get_digest(hmac, ret_secret, &secret_bytes);
    g_hmac_unref(hmac);
    return true;
}

static bool id_is_taken(VvClusterNode *node, uint64_t id)
{
    g_autoptr(GPtrArray) invites = vv_meta_invites(vv_pool_meta(node->daemon->pool));

    for (unsigned i = 0; i < invites->len; i++)
        if (((const VvInviteRecord *) g_ptr_array_index(invites, i))->id == id)
            return true;
    return false;
}

bool vv_invite_prepare(VvClusterNode *node, const VvInviteAsk *ask, VvInviteRecord *ret_invite, GError **error)
{
    VvInviteRecord invite = { .role = ask->role, .created_ns = vv_now_ns() };
    g_auto(VvToken) token = { .role = VV_TOKEN_VOTER };

    if (ask->ttl_seconds == 0 || ask->ttl_seconds > VV_INVITE_SECONDS_MAX) {
        vv_set_error(error, VV_ERROR_USAGE, "ttl", NULL, "an invitation is good for 1 s to %u days", VV_INVITE_SECONDS_MAX / 86400u);
        return false;
    }
    invite.expiry_seconds = invite.created_ns / 1000000000u + ask->ttl_seconds;
    do {
        vv_random_bytes(&invite.id, sizeof invite.id);
        invite.id = invite.id % INVITE_IDS + 1;
    } while (id_is_taken(node, invite.id));
    if (!make_secret(node, invite.id, invite.created_ns, token.secret, error))
        return false;
    vv_token_verifier(&token, invite.verifier);
    invite.name = g_strdup(ask->name);
    *ret_invite = invite;
    return true;
}

/* This node's addresses, then those of other members, as many as a token holds: guests let nobody in. */
static char **token_addresses(VvClusterNode *node)
{
    g_autoptr(GArray) known = vv_node_known(node);
    g_autoptr(GPtrArray) addresses = g_ptr_array_new();

    for (unsigned i = 0; i < known->len; i++) {
        const VvKnownNode *one = &g_array_index(known, VvKnownNode, i);

        for (char **text = one->addresses; !one->guest && *text && addresses->len < VV_NODE_ADDRESSES_MAX; text++)
            g_ptr_array_add(addresses, g_strdup(*text));
    }
    g_ptr_array_add(addresses, NULL);
    return (char **) g_ptr_array_free(g_steal_pointer(&addresses), FALSE);
}

char *vv_invite_token(VvClusterNode *node, const VvInviteRecord *invite, GError **error)
{
    g_autoptr(VvAuthority) authority = vv_node_authority(node, error);
    g_auto(VvToken) token = { .pool = node->daemon->uuid,
        .role = (VvTokenRole) invite->role,
        .invite = invite->id,
        .expiry_seconds = invite->expiry_seconds };

    if (!authority || !make_secret(node, invite->id, invite->created_ns, token.secret, error))
        return NULL;
    vv_authority_fingerprint(authority, token.fingerprint);
    token.pool_name = g_strdup(node->daemon->name);
    token.node_name = g_strdup(invite->name);
    token.addresses = token_addresses(node);
    return vv_token_format(&token);
}
