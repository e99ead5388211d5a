/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Nodes and invites of a pool: what their records in table "member" say, and the transactions that change them. The engine keeps
 * them as it keeps LUNs; what addresses, keys and proofs mean is for who calls. Little-endian; text is u16 length and bytes.
 *
 *   node (kind 1)    u8 version 1, u8 role, text name, text software, u8 count of addresses, a text each, u64 since (ns),
 *                    32 bytes SHA-256 of the public key that its certificate was made for
 *   invite (kind 2)  u8 version 1, u8 role, text name or "", u64 created (ns), u64 good until (Unix seconds), 32 bytes verifier,
 *                    u64 node (0: not used), u64 used at (ns), 32 bytes SHA-256 of the key that used it
 *
 * N1  A node's id is never used again: one that leaves keeps its record, with the role `gone`; the next id is one more than the last.
 * N2  An invite makes one node: {node, invite with node and key} is one entry. The same key gets the same node again, and no entry.
 * N3  Of nodes that are not gone no two have a name or an address in common. */
#ifndef VV_MEMBERS_H
#define VV_MEMBERS_H

#include "member_table.h"
#include "pool.h"

#define VV_KEY_ID_BYTES 32u
#define VV_INVITE_VERIFIER_BYTES 32u

typedef enum { VV_MEMBER_NODE = 1, VV_MEMBER_INVITE = 2, VV_MEMBER_SHARE = VV_MEMBER_OF_OBJECT /* sharing.h */ } VvMemberKind;
typedef enum { VV_ROLE_VOTER = 1, VV_ROLE_STANDBY, VV_ROLE_WITNESS, VV_ROLE_GUEST, VV_ROLE_GONE } VvNodeRole;
const char *vv_role_name(VvNodeRole role);
bool vv_role_votes(VvNodeRole role); /* a voter or a witness */

typedef struct {
    uint64_t id; /* from 1 */
    VvNodeRole role;
    char *name, *software; /* owned */
    char **addresses;      /* owned; numeric, as cluster/address.h writes them */
    uint64_t since_ns;
    uint8_t key_id[VV_KEY_ID_BYTES];
} VvNodeRecord;
void vv_node_record_clear(VvNodeRecord *node);
void vv_node_record_free(VvNodeRecord *node);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(VvNodeRecord, vv_node_record_clear)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VvNodeRecord, vv_node_record_free)
void vv_node_record_copy(const VvNodeRecord *node, VvNodeRecord *ret_node);

typedef struct {
    uint64_t id;
    VvNodeRole role;
    char *name; /* owned; "": who joins chooses */
    uint64_t created_ns, expiry_seconds;
    uint8_t verifier[VV_INVITE_VERIFIER_BYTES];
    uint64_t node, used_ns; /* 0: not used */
    uint8_t key_id[VV_KEY_ID_BYTES];
} VvInviteRecord;
void vv_invite_record_clear(VvInviteRecord *invite);
void vv_invite_record_free(VvInviteRecord *invite);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(VvInviteRecord, vv_invite_record_clear)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VvInviteRecord, vv_invite_record_free)

/* Bodies. decode is total; false: bad bytes, or not in range. What is encoded must be in range (asserted). */
void vv_node_record_encode(const VvNodeRecord *node, GByteArray *out);
bool vv_node_record_decode(uint64_t id, const uint8_t *body, size_t length_bytes, VvNodeRecord *ret_node);
void vv_invite_record_encode(const VvInviteRecord *invite, GByteArray *out);
bool vv_invite_record_decode(uint64_t id, const uint8_t *body, size_t length_bytes, VvInviteRecord *ret_invite);

/* May a node have that name? As all names; and not `default`, which stands for all others in who may use what (sharing.h). Error: invalid-name. */
bool vv_member_name_check(const char *name, GError **error);

#define VV_FIRST_NODE 1u /* who made the pool */

/* ---- looking [any]. By id; records that do not decode are left out (vv_members_check tells them). Free with g_ptr_array_unref. */
GPtrArray *vv_meta_nodes(VvMeta *meta);   /* VvNodeRecord, those that are gone too. Takes the read lock */
GPtrArray *vv_meta_invites(VvMeta *meta); /* VvInviteRecord. Takes the read lock */
/* By name; without it, by its number. Error: not-found. */
VvNodeRecord *vv_pool_node(VvPool *pool, const char *name, GError **error);
/* For `pool check`: bodies, and N1 to N3. Takes the read lock. */
void vv_members_check(VvMeta *meta, VvCheckFunc report, void *user);

/* ---- transactions. Each takes out invites that have expired. */
/* @invite: id, role, name, created, expiry and verifier; the caller chose an id that is free. Errors: exists (the name, of a node or of an
 * invite that is open; the id), limit, unsupported (the pool does not listen). */
bool vv_pool_invite_add(VvPool *pool, const VvInviteRecord *invite, VvRequest *request, GError **error);
/* Errors: not-found, conflict (it was used). */
bool vv_pool_invite_revoke(VvPool *pool, uint64_t id, VvRequest *request, GError **error);

/* Somebody asks to become a node. */
typedef struct {
    uint64_t invite;
    const char *name, *software;
    const char *const *addresses;
    uint8_t key_id[VV_KEY_ID_BYTES];
    bool (*proves)(void *user, const uint8_t verifier[VV_INVITE_VERIFIER_BYTES]);
    void *user;
} VvJoinAsk;
/* N2. *ret_again: it was one before. Errors: not-found (no such invite), denied (no proof), stale (expired; the node has left),
 * conflict (used by another key; for another name; the key is another node's), exists (name or address in use), limit, usage. */
bool vv_pool_join(VvPool *pool, const VvJoinAsk *ask, VvNodeRecord *ret_node, bool *ret_again, GError **error);

/* What is to change of a node that is not gone. */
typedef struct {
    uint64_t id;
    VvNodeRole role;     /* 0: as it is; VV_ROLE_GONE: it leaves, and nothing else is given */
    const char *address; /* NULL: as it is; as cluster/address.h writes it */
} VvNodeChange;
/* A witness stays one, and nobody becomes one: it runs as another program, without a mount. So it is with guests, whose certificates say it. Error:
 * conflict. */
bool vv_node_refuse_role(const VvNodeRecord *node, VvNodeRole role, GError **error);
/* N1, N3. What is so already makes no entry. Errors: not-found (no such node, or it is gone), exists (the address is another node's), limit (of
 * voters), conflict (no voter but witnesses would be left; vv_node_refuse_role), unsupported (VV_FIRST_NODE cannot go: it has the disks). */
bool vv_pool_node_change(VvPool *pool, const VvNodeChange *change, VvRequest *request, GError **error);

/* ---- a pool that is made with a first node: VvPoolCreate */
struct VvFirstNode {
    VvUuid uuid; /* the pool's, which its certificates name */
    const VvNodeRecord *node;
    /* The directory is there, and empty: store what must be durable before it is a pool. False: it comes to nothing. */
    bool (*prepare)(void *user, const char *directory, GError **error);
    void *user;
};

#endif
