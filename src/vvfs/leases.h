/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is held, as `lease list` shows it (docs/cluster-daemon.md, "What is held"). Crews' threads.
 *
 *   kind      of      says                                            who knows
 *   session   node    the coordinator counts it as up until then      the coordinator; each node of its own; all nodes who has one
 *   open      object  what a node has open                            the node with the disks; each node of its own
 *   change    object  what a command keeps from others meanwhile      the node with the disks */
#ifndef VV_LEASES_H
#define VV_LEASES_H

#include "daemon.h"
#include "json.h"

/* What does not belong to its kind, or is not known, is NULL or 0. */
typedef struct {
    const char *node, *object, *kind, *mode, *state, *what;
    uint64_t session;
    uint64_t handles, waiting;
    bool unflushed, unflushed_known;
    uint64_t since_ns, renewed_ns, until_ns, stale_ns;
} VvLeaseShown;
/* An item; its array `waits` is empty. */
JsonObject *vv_lease_json(const VvLeaseShown *shown);
/* Adds to `waits` of an item: @count times @what, of @node (NULL: several, or unknown). */
void vv_lease_add_waits(JsonObject *item, const char *what, const char *node, uint64_t count, uint64_t since_ns);

/* All are items; @stale_ns: since when what this node knows of it may be old; 0: it is not. */

/* Opens and changes, rising by object, from that of number @from and its row @row on. @add takes the item, and says whether there is room: if not
 * it took nothing, and the list ends. */
typedef bool (*VvLeaseAdd)(void *user, JsonObject *item, uint64_t object, unsigned row);
void vv_leases_of_objects(VvDaemon *daemon, uint64_t from, unsigned row, uint64_t stale_ns, VvLeaseAdd add, void *user);

/* ---- node_leases.c */
/* Sessions, by node. None on a guest, or in a pool of one node. */
JsonArray *vv_leases_of_sessions(VvDaemon *daemon, uint64_t stale_ns);
/* Who knows more about sessions: the coordinator, if it is another node; else 0. *ret_stale_ns: since when that was not heard, whatever it is. */
uint64_t vv_leases_ask_about_sessions(VvDaemon *daemon, uint64_t *ret_stale_ns);
/* Since when the node with the disks was not heard; @asked_ns: now, if it is connected. */
uint64_t vv_leases_silent_since(VvDaemon *daemon, uint64_t asked_ns);
/* Of what @node has open: until when it is kept without its node, by the wall clock; 0: it is there. */
uint64_t vv_leases_away_until(VvDaemon *daemon, uint64_t node);

#endif
