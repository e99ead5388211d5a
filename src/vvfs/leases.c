/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Items, and those of objects: what is open, and what changes hold. */
#include "leases.h"

#include "holds.h"
#include "node.h"
#include "relay.h"
#include "sharing.h"

#include <string.h>

/* ---- one item */
static void set_count(JsonObject *item, const char *key, uint64_t value, bool known)
{
    if (known)
        vv_json_set_u64(item, key, value);
    else
        vv_json_set_null(item, key);
}

JsonObject *vv_lease_json(const VvLeaseShown *shown)
{
    JsonObject *item = json_object_new();
    bool open = strcmp(shown->kind, "open") == 0;

    vv_json_set_string(item, "node", shown->node);
    vv_json_set_string(item, "object", shown->object);
    vv_json_set_string(item, "kind", shown->kind);
    vv_json_set_string(item, "mode", shown->mode);
    vv_json_set_string(item, "state", shown->state);
    vv_json_set_string(item, "what", shown->what);
    set_count(item, "session", shown->session, shown->session != 0);
    set_count(item, "handles", shown->handles, open);
    set_count(item, "waiting", shown->waiting, open);
    if (shown->unflushed_known)
        vv_json_set_bool(item, "unflushed", shown->unflushed);
    else
        vv_json_set_null(item, "unflushed");
    vv_json_set_time(item, "since", shown->since_ns);
    vv_json_set_time(item, "renewed", shown->renewed_ns);
    vv_json_set_time(item, "until", shown->until_ns);
    vv_json_set_array(item, "waits");
    vv_json_set_time(item, "stale_since", shown->stale_ns);
    return item;
}

void vv_lease_add_waits(JsonObject *item, const char *what, const char *node, uint64_t count, uint64_t since_ns)
{
    JsonObject *waits = vv_json_add_object(json_object_get_array_member(item, "waits"));

    vv_json_set_string(waits, "what", what);
    vv_json_set_string(waits, "node", node);
    vv_json_set_u64(waits, "count", count);
    vv_json_set_time(waits, "since", since_ns);
}

/* ---- objects */
typedef struct {
    VvDaemon *daemon;
    uint64_t stale_ns;
    const VvHeldObject *object;
    char *name; /* owned */
} Look;

static char *name_of(VvDaemon *daemon, uint64_t node)
{
    return node ? vv_pool_node_name(daemon->pool, node) : g_strdup(daemon->node);
}

/* "share.set" is known to people as "share set". Owned. */
static char *words_of(const char *method)
{
    return method ? g_strdelimit(g_strdup(method), "._", ' ') : NULL;
}

static bool is_gate(const VvHold *hold)
{
    return hold->kind == VV_HOLD_WRITES || hold->kind == VV_HOLD_REQUESTS;
}

/* Changes whose gate is closed, and that wait for requests which were begun before. */
static void add_drains(const Look *look, JsonObject *item)
{
    const GArray *holds = look->object->holds;

    for (guint i = 0; look->object->under_way > 0 && i < holds->len; i++) {
        const VvHold *hold = &g_array_index(holds, VvHold, i);
        g_autofree char *node = hold->what ? name_of(look->daemon, hold->node) : NULL, *words = words_of(hold->what);

        if (is_gate(hold))
            vv_lease_add_waits(item, words ? words : "change", node, 1, hold->since_ns);
    }
}

static JsonObject *use_item(const Look *look, const VvUse *use)
{
    VvDaemon *daemon = look->daemon;
    g_autofree char *node = name_of(daemon, use->node);
    uint64_t until_ns = vv_leases_away_until(daemon, use->node);
    VvLeaseShown shown = { .node = node,
        .object = look->name,
        .kind = "open",
        .mode = use->write ? "read-write" : "read-only",
        .state = use->revoked ? "revoked" : until_ns != 0 ? "away" : "held",
        .handles = use->handles,
        .waiting = use->waiting,
        .unflushed = use->unflushed,
        .unflushed_known = !vv_relay_is_elsewhere(daemon),
        .since_ns = use->since_ns,
        .until_ns = until_ns,
        .stale_ns = look->stale_ns };
    JsonObject *item = vv_lease_json(&shown);

    add_drains(look, item);
    return item;
}

/* Who waits for a change: opens by their nodes, requests as a number. */
static void add_waiters(const Look *look, const VvHold *change, JsonObject *item)
{
    const GArray *holds = look->object->holds;

    if (is_gate(change) && look->object->waiting > 0)
        vv_lease_add_waits(item, "requests", NULL, look->object->waiting, 0);
    for (guint i = 0; !is_gate(change) && i < holds->len; i++) {
        const VvHold *hold = &g_array_index(holds, VvHold, i);
        g_autofree char *node = hold->kind == VV_HOLD_OPENING ? name_of(look->daemon, hold->node) : NULL;

        if (node)
            vv_lease_add_waits(item, "open", node, 1, hold->since_ns);
    }
}

/* NULL: nothing is held by it. */
static JsonObject *hold_item(const Look *look, const VvHold *hold)
{
    static const char *const modes[] = { [VV_HOLD_OPENS] = "no-opens", [VV_HOLD_WRITERS] = "no-writers", [VV_HOLD_WRITES] = "no-writes",
        [VV_HOLD_REQUESTS] = "no-requests" };
    g_autofree char *node = hold->what ? name_of(look->daemon, hold->node) : NULL, *words = words_of(hold->what);
    VvLeaseShown shown = { .node = node,
        .object = look->name,
        .kind = "change",
        .mode = hold->kind == VV_HOLD_OPENING ? NULL : modes[hold->kind],
        .state = is_gate(hold) && look->object->under_way > 0 ? "draining" : "held",
        .what = words,
        .since_ns = hold->since_ns,
        .stale_ns = look->stale_ns };
    JsonObject *item;

    if (!shown.mode)
        return NULL;
    item = vv_lease_json(&shown);
    add_waiters(look, hold, item);
    return item;
}

/* False: there is no room. */
static bool add_object(const Look *look, unsigned row, VvLeaseAdd add, void *user)
{
    const VvHeldObject *object = look->object;

    for (; row < object->uses->len + object->holds->len; row++) {
        JsonObject *item = row < object->uses->len ? use_item(look, &g_array_index(object->uses, VvUse, row))
                                                   : hold_item(look, &g_array_index(object->holds, VvHold, row - object->uses->len));

        if (item && !add(user, item, object->id, row))
            return false;
    }
    return true;
}

void vv_leases_of_objects(VvDaemon *daemon, uint64_t from, unsigned row, uint64_t stale_ns, VvLeaseAdd add, void *user)
{
    g_autoptr(GPtrArray) objects = vv_pool_held(daemon->pool, from);
    bool room = true;

    for (unsigned i = 0; room && i < objects->len; i++) {
        Look look = { .daemon = daemon, .stale_ns = stale_ns, .object = objects->pdata[i] };

        look.name = vv_pool_object_name(daemon->pool, look.object->id);
        room = add_object(&look, look.object->id == from ? row : 0, add, user);
        g_free(look.name);
    }
}
