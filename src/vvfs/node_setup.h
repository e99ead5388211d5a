/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What makes a directory a node's, without a daemon: the first node of a pool that is made, and joining one that is there. */
#ifndef VV_NODE_SETUP_H
#define VV_NODE_SETUP_H

#include "authority.h"
#include "joining.h"
#include "members.h"

/* @text as other nodes will use it: an address that this machine has, with a port (7333 unless said). Newly allocated. Errors: usage,
 * not-found (no address of this machine). */
char *vv_listen_address(const char *text, GError **error);

/* The same of an address that another machine may have: not that it is this one's. */
char *vv_other_address(const char *text, GError **error);

/* ---- the first node */
typedef struct {
    VvCredentials credentials;
    VvNodeRecord node;
    struct VvFirstNode first; /* for VvPoolCreate */
} VvNodeSetup;
/* @listen: as typed; @name: NULL: this machine's. The authority and the node's key are made in memory; they are stored by
 * first.prepare. Errors: vv_listen_address, invalid-name. */
bool vv_node_setup_init(VvNodeSetup *setup, const char *listen, const char *name, GError **error);
void vv_node_setup_clear(VvNodeSetup *setup);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(VvNodeSetup, vv_node_setup_clear)

/* ---- joining */
typedef struct {
    const char *directory; /* absolute; NULL: PARENT/NAME of the pool */
    const char *parent;    /* absolute; used without directory */
    const char *token;     /* the line */
    const char *listen;    /* as typed */
    const char *name;      /* NULL: the token's, else this machine's */
    const char *const *disks; /* NULL-terminated paths: to be added when its daemon serves the pool first (far_join.h) */
    uint64_t timeout_ms;
} VvNodeJoin;
/* Makes the directory, then durably: the key; what the pool answered; the nodes; the identity. Repeatable with the same token until it
 * has succeeded, and then: *ret_again. @ret_directory is owned by the caller. Errors: of the token (usage, stale, unsupported), of the
 * directory (exists, not-empty, denied, io, busy), of the pool (vv_join). */
bool vv_node_join(const VvNodeJoin *join, char **ret_directory, VvJoined *ret_joined, bool *ret_again, GError **error);

/* ---- the file "nodes" of a pool directory: who there was when it joined, and then whenever that changed (node_known.c). A line "vvfs-nodes 1", "self ID ROLE", for each node "node ID
 * member|guest NAME ADDRESS...", and "crc HEX" of the lines before. */
bool vv_nodes_exist(const char *directory);
/* Of @joined: node, role, nodes. The same again writes nothing. */
bool vv_nodes_save(const char *directory, const VvJoined *joined, GError **error);
/* Of @ret_joined: node, role, node_name, nodes. Errors: not-found, damaged, io. */
bool vv_nodes_load(const char *directory, VvJoined *ret_joined, GError **error);

#endif
