/* SPDX-License-Identifier: GPL-2.0-or-later */
/* LUNs, snapshots and disks as the documents of the protocol. */
#include "node.h"
#include "node_json.h"
#include "objects.h"
#include "pool_jobs.h"
#include "relay.h"
#include "settings.h"
#include "sharing.h"

#include <string.h>
#include <sys/stat.h>

char *vv_object_path(VvDaemon *daemon, const char *lun, const char *snapshot)
{
    const char *mount = vv_pool_mount(daemon->pool);

    if (!mount)
        return NULL;
    return snapshot ? g_build_filename(mount, "snapshots", lun, snapshot, NULL)
                    : g_build_filename(mount, "luns", lun, NULL);
}

/* PREFIX-20261102T030700Z, perhaps with -2 behind. */
char *vv_snapshot_prefix(const char *name)
{
    static GRegex *pattern; /* compiled once: two at once would do no harm but leak one */
    g_autoptr(GMatchInfo) match = NULL;

    if (g_once_init_enter(&pattern)) {
        GRegex *made = g_regex_new("^(.+)-[0-9]{8}T[0-9]{6}Z(-[0-9]+)?$", 0, 0, NULL);

        g_once_init_leave(&pattern, made);
    }
    return g_regex_match(pattern, name, 0, &match) ? g_match_info_fetch(match, 1) : NULL;
}

static void set_exclusive(VvDaemon *daemon, JsonObject *object, uint64_t id, VvExclusiveWish wish)
{
    uint64_t bytes;

    if (wish != VV_EXCLUSIVE_NONE && vv_pool_exclusive(daemon->pool, id, wish == VV_EXCLUSIVE_COUNT_NOW, &bytes))
        vv_json_set_u64(object, "exclusive", bytes);
    else
        vv_json_set_null(object, "exclusive");
}

#define AWAIT_ITEMS_MAX 64u
#define AWAIT_MS 300u
#define AWAIT_POLL_MS 2u

unsigned vv_exclusive_await(VvDaemon *daemon, const uint64_t *ids, unsigned count)
{
    uint64_t deadline_ms = vv_monotonic_ms() + AWAIT_MS, bytes;
    unsigned asked = MIN(count, AWAIT_ITEMS_MAX);

    for (unsigned i = 0; i < asked; i++)
        (void) vv_pool_exclusive(daemon->pool, ids[i], false, &bytes);
    for (unsigned i = 0; i < asked; i++)
        while (!vv_pool_exclusive(daemon->pool, ids[i], false, &bytes) && vv_monotonic_ms() < deadline_ms)
            g_usleep(AWAIT_POLL_MS * 1000);
    return asked;
}

static void set_uuid(JsonObject *object, const VvUuid *uuid)
{
    g_autofree char *text = vv_uuid_format(uuid);

    vv_json_set_string(object, "uuid", text);
}

static void set_keep(JsonObject *object, uint64_t keep_until_ns)
{
    g_autofree char *text = vv_keep_format(keep_until_ns);

    vv_json_set_string(object, "keep", text);
}

/* A pool that has failed cannot promise anything of what it holds. */
static const char *object_state(VvDaemon *daemon)
{
    return strcmp(vv_pool_state(daemon->pool), "failed") == 0 ? "failed" : "ok";
}

/* The nodes that have it open, each once, in the order in which they opened it. */
static void set_open(VvDaemon *daemon, JsonArray *open, const GPtrArray *openers)
{
    uint64_t told[VV_NODES_MAX];
    unsigned count = 0;

    for (unsigned i = 0; i < openers->len; i++) {
        const VvOpener *opener = openers->pdata[i];
        g_autofree char *name = NULL;
        unsigned before = 0;

        while (before < count && told[before] != opener->node)
            before++;
        if (before < count || count == VV_NODES_MAX)
            continue;
        told[count++] = opener->node;
        name = opener->node ? vv_pool_node_name(daemon->pool, opener->node) : g_strdup(daemon->node);
        vv_json_add_string(open, name);
    }
}

JsonObject *vv_lun_json(VvDaemon *daemon, const VvLunItem *item, VvExclusiveWish wish)
{
    JsonObject *object = json_object_new();
    g_autoptr(GPtrArray) openers = vv_pool_openers(daemon->pool, item->id);
    VvViewStat now;
    bool have_now = vv_pool_stat(daemon->pool, item->id, &now) == 0;

    vv_json_set_string(object, "object", item->name);
    vv_json_set_string(object, "name", item->name);
    set_uuid(object, &item->uuid);
    vv_json_set_u64(object, "size", have_now ? now.size_bytes : item->size_bytes);
    vv_json_set_u64(object, "used", have_now ? now.used_bytes : item->used_bytes);
    set_exclusive(daemon, object, item->id, wish);
    vv_json_set_u64(object, "snapshots", item->snapshot_count);
    vv_json_set_u64(object, "copies", item->props.copies);
    vv_json_set_strings(object, "disks", (const char *const *) item->disks);
    vv_json_set_string(object, "origin", *item->origin ? item->origin : NULL);
    set_open(daemon, vv_json_set_array(object, "open"), openers);
    set_keep(object, item->props.keep_until_ns);
    vv_json_set_string(object, "state", object_state(daemon));
    vv_json_set_time(object, "created", item->created_ns);
    return object;
}

JsonObject *vv_snapshot_json(VvDaemon *daemon, const VvSnapshotItem *item, VvExclusiveWish wish)
{
    static const char *const kinds[] = { "manual", "auto", "restore" };
    JsonObject *object = json_object_new();

    vv_json_set_string(object, "object", item->object);
    vv_json_set_string(object, "lun", item->lun);
    vv_json_set_string(object, "name", item->name);
    vv_json_set_u64(object, "size", item->size_bytes);
    vv_json_set_u64(object, "used", item->used_bytes);
    set_exclusive(daemon, object, item->id, wish);
    vv_json_set_string(object, "form", "row");
    vv_json_set_string(object, "kind", item->kind < G_N_ELEMENTS(kinds) ? kinds[item->kind] : NULL);
    set_keep(object, item->keep_until_ns);
    vv_json_set_string(object, "note", item->note);
    vv_json_set_string(object, "state", object_state(daemon));
    vv_json_set_time(object, "created", item->created_ns);
    return object;
}

JsonObject *vv_disk_json(VvDaemon *daemon, const VvDiskItem *item)
{
    JsonObject *object = json_object_new();

    vv_json_set_string(object, "name", item->name);
    set_uuid(object, &item->uuid);
    vv_json_set_string(object, "path", item->path);
    vv_json_set_u64(object, "size", item->size_bytes);
    vv_json_set_u64(object, "used", item->used_bytes);
    vv_json_set_u64(object, "free", item->free_bytes);
    vv_json_set_string(object, "state", vv_state_name(item->state));
    vv_disk_nodes_json(daemon, object, item->node, item->state != VV_STATE_MISSING);
    return object;
}

/* ---- what `show` adds */
static void set_openers(VvDaemon *daemon, uint64_t id, JsonObject *object)
{
    g_autoptr(GPtrArray) openers = vv_pool_openers(daemon->pool, id);
    JsonArray *array = vv_json_set_array(object, "openers");

    for (unsigned i = 0; i < openers->len; i++) {
        const VvOpener *opener = openers->pdata[i];
        JsonObject *element = vv_json_add_object(array);

        g_autofree char *node = opener->node ? vv_pool_node_name(daemon->pool, opener->node) : g_strdup(daemon->node);

        vv_json_set_string(element, "node", node);
        if (opener->pid > 0)
            vv_json_set_u64(element, "pid", (uint64_t) opener->pid);
        else
            vv_json_set_null(element, "pid");
        vv_json_set_string(element, "process", opener->process);
        vv_json_set_string(element, "mode", opener->write ? "read-write" : "read-only");
        vv_json_set_string(element, "device", opener->device);
        vv_json_set_string(element, "mountpoint", opener->mountpoint);
    }
}

static void fill_share(const VvShareView *view, JsonObject *share)
{
    JsonObject *nodes;

    vv_json_set_string(share, "default", vv_share_mode_name(view->standard));
    nodes = vv_json_set_object(share, "nodes");
    for (unsigned i = 0; view->nodes[i]; i++)
        vv_json_set_string(nodes, view->nodes[i], vv_share_mode_name(view->modes[i]));
}

JsonObject *vv_share_json(VvDaemon *daemon, const char *object, GError **error)
{
    g_auto(VvShareView) view = { 0 };
    JsonObject *share;

    if (!vv_pool_share_get(daemon->pool, object, &view, error))
        return NULL;
    share = json_object_new();
    fill_share(&view, share);
    return share;
}

static void set_share(VvDaemon *daemon, uint64_t id, JsonObject *object)
{
    g_auto(VvShareView) view = { 0 };

    vv_pool_share_get_id(daemon->pool, id, &view);
    fill_share(&view, vv_json_set_object(object, "share"));
}

static void set_clones(JsonObject *object, GPtrArray *clones)
{
    JsonArray *array = vv_json_set_array(object, "clones");

    for (unsigned i = 0; clones && i < clones->len; i++)
        vv_json_add_string(array, clones->pdata[i]);
}

void vv_lun_json_more(VvDaemon *daemon, const VvLunItem *item, JsonObject *object)
{
    g_autofree char *path = vv_object_path(daemon, item->name, NULL);
    uint64_t used, checksummed;

    set_openers(daemon, item->id, object);
    set_share(daemon, item->id, object);
    set_clones(object, item->clones);
    vv_lun_settings_format(&item->props, vv_json_set_object(object, "settings"));
    vv_json_set_string(object, "path", path);
    vv_pool_checksummed(daemon->pool, item->id, &used, &checksummed);
    vv_json_set_u64(object, "shared_used", used);
    vv_json_set_u64(object, "checksummed", checksummed);
}

void vv_snapshot_json_more(VvDaemon *daemon, const VvSnapshotItem *item, JsonObject *object)
{
    g_autofree char *path = vv_object_path(daemon, item->lun, item->name);
    g_autofree char *prefix = item->kind == VV_SNAPSHOT_AUTO ? vv_snapshot_prefix(item->name) : NULL;

    set_uuid(object, &item->uuid);
    set_openers(daemon, item->id, object);
    set_share(daemon, item->id, object);
    set_clones(object, item->clones);
    vv_json_set_string(object, "prefix", prefix);
    vv_json_set_string(object, "path", path);
}

void vv_disk_json_more(VvDaemon *daemon, const VvDiskItem *item, JsonObject *object)
{
    struct stat st;
    bool there = (!daemon->cluster || item->node == vv_node_id(daemon->cluster)) && stat(item->path, &st) == 0;

    vv_json_set_string(object, "kind", vv_is_address(item->path) ? "nbd" : there ? S_ISBLK(st.st_mode) ? "device" : "file" : NULL);
    vv_json_set_u64(object, "label_version", 1);
}
