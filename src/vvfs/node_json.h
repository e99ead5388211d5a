/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Nodes and invites as CLI.md shows them. */
#ifndef VV_NODE_JSON_H
#define VV_NODE_JSON_H

#include "daemon.h"
#include "json.h"
#include "members.h"

#include <json-glib/json-glib.h>

/* What is not known is NULL or 0. */
typedef struct {
    const char *name, *address, *role, *state, *version;
    uint64_t id, since_ns, session;
    bool have_disks;
    uint64_t disks;
} VvNodeShown;
/* An item of `node list`. */
JsonObject *vv_node_shown_json(const VvNodeShown *shown);

/* All nodes of the pool that are not gone, one at least; items of `node list`. */
JsonArray *vv_nodes_json(VvDaemon *daemon);
/* An item, and what `show` adds. NULL: not-found. */
JsonObject *vv_node_show_json(VvDaemon *daemon, const char *name, GError **error);
/* Of a disk of @of: "node", whose it is, and "paths", how each node reaches it. */
void vv_disk_nodes_json(VvDaemon *daemon, JsonObject *object, uint64_t of, bool is_there);
JsonObject *vv_invite_json(VvDaemon *daemon, const VvInviteRecord *invite);

#endif
