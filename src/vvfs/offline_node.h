/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Offline methods of nodes (offline.c has the others). Each gives an owned result, or NULL and the error. */
#ifndef VV_OFFLINE_NODE_H
#define VV_OFFLINE_NODE_H

#include "json.h"

/* Its param "disks"; never NULL, owned. offline.c */
char **vv_offline_disks(JsonObject *params);
JsonObject *vv_offline_node_join(JsonObject *params, GError **error);
JsonObject *vv_offline_node_list(JsonObject *params, GError **error);

#endif
