/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Lines to other nodes' disks, and the disks of this one that are served: FD1 and FD2 are in far_disks.h. One lock, a leaf but for a line's. */
#include "far_disks.h"

#include "base.h"
#include "disk_line.h"
#include "disk_server.h"
#include "error.h"
#include "far_join.h"
#include "node_private.h"

#include <errno.h>
#include <string.h>

#define LOCK_WAIT_MS 5000u /* for a process that is ending */
#define BEGIN_LOOK_MS 20u  /* until the driver tells of sessions */

/* A disk of this node. */
typedef struct {
    uint64_t id;
    VvUuid uuid;
    char *name, *path;
    char *why;   /* it could not be opened the last time; NULL: it could */
    bool served; /* far->lock, to be changed */
    bool wanted;
} Own;

typedef struct {
    uint64_t node, session, index;
} End;

struct VvFarDisks {
    VvClusterNode *node; /* borrowed */
    bool has_map;        /* constant: the lines are ours, else the server is */
    VvDiskWays reach;
    VvDiskServer *server; /* owned; NULL: has_map */

    pthread_mutex_t lock; /* guards the rest but what is the thread's */
    pthread_cond_t changed;
    GHashTable *lines; /* node id -> VvDiskLine, owned; they stay */
    GPtrArray *own;    /* Own, owned; changed by the thread alone */
    GQueue *ends;      /* End, owned */
    bool look, stopping, runs;
    bool joining; /* disks of `node join` are to be added ... */
    bool adding;  /* ... and a changer is at it */
    pthread_t thread;
    /* the thread's */
    VvPool *pool;
    bool began;
    uint64_t again_ms; /* 0: nothing is to be tried again */
};

static void own_free(void *data)
{
    Own *own = data;

    g_free(own->name);
    g_free(own->path);
    g_free(own->why);
    g_free(own);
}

/* ---- lines: the node with the map */

/* Of this node. */
static void stamp_cb(void *user, uint64_t *ret_session, uint64_t *ret_fence)
{
    VvFarDisks *far = user;
    VvDriverStatus status;

    vv_driver_status(far->node->driver, &status);
    *ret_session = status.session;
    *ret_fence = status.last_end;
}

static VvDiskLine *line_to(VvFarDisks *far, uint64_t id)
{
    VV_LOCKED(&far->lock);
    VvDiskLine *line = g_hash_table_lookup(far->lines, &id);

    if (!line) {
        g_autofree char *name = g_strdup_printf("%" G_GUINT64_FORMAT, id);

        line = vv_disk_line_new(name, stamp_cb, far);
        g_hash_table_insert(far->lines, g_memdup2(&id, sizeof id), line);
    }
    return line;
}

static VvTransport *way_cb(void *user, uint64_t node, uint64_t disk_id)
{
    return vv_disk_transport_new(line_to(user, node), disk_id);
}

const VvDiskWays *vv_far_disks_reach(VvFarDisks *far)
{
    return far && far->has_map ? &far->reach : NULL;
}

/* ---- the mesh's */

/* Of the connections to a node, the one by which its disks are asked. */
static bool is_line(const VvFarDisks *far, VvPeer *peer)
{
    const VvHello *ours = vv_peer_ours(peer);

    return far && far->has_map && vv_peer_dialled(peer) && ours->purpose == VV_PURPOSE_DATA && ours->channel == 1;
}

bool vv_far_disks_is_server(const VvFarDisks *far, VvPeer *peer)
{
    return far && far->server && !vv_peer_dialled(peer) && vv_peer_ours(peer)->purpose == VV_PURPOSE_DATA && vv_peer_node(peer) == VV_FIRST_NODE;
}

void vv_far_disks_up(VvFarDisks *far, VvPeer *peer)
{
    if (is_line(far, peer))
        vv_disk_line_up(line_to(far, vv_peer_node(peer)), peer);
    else if (vv_far_disks_is_server(far, peer))
        vv_disk_server_up(far->server, peer);
}

void vv_far_disks_down(VvFarDisks *far, VvPeer *peer)
{
    if (is_line(far, peer))
        vv_disk_line_down(line_to(far, vv_peer_node(peer)), peer);
    else if (vv_far_disks_is_server(far, peer))
        vv_disk_server_down(far->server, peer);
}

void vv_far_disks_writable(VvFarDisks *far, VvPeer *peer)
{
    if (is_line(far, peer))
        vv_disk_line_writable(line_to(far, vv_peer_node(peer)), peer);
}

void *vv_far_disks_place(VvFarDisks *far, VvPeer *peer, const VvIncoming *in)
{
    return vv_disk_server_place(far->server, peer, in);
}

void vv_far_disks_unplace(VvFarDisks *far, VvPeer *peer, void *data)
{
    vv_disk_server_unplace(far->server, peer, data);
}

void vv_far_disks_take(VvFarDisks *far, VvPeer *peer, const VvIncoming *in)
{
    vv_disk_server_take(far->server, peer, in);
}

/* ---- what is served: vv-far */

static Own *find_own(VvFarDisks *far, const VvUuid *uuid)
{
    for (unsigned i = 0; i < far->own->len; i++) {
        Own *own = g_ptr_array_index(far->own, i);

        if (vv_uuid_equal(&own->uuid, uuid))
            return own;
    }
    return NULL;
}

static void add_own(VvFarDisks *far, const VvDiskInfo *info, const char *path)
{
    Own *own = g_new0(Own, 1);

    own->id = info->id;
    own->uuid = info->uuid;
    own->name = g_strdup(info->name);
    own->path = g_strdup(path);
    own->wanted = true;
    VV_LOCKED(&far->lock);
    g_ptr_array_add(far->own, own);
}

/* What the records say. */
static void look_at_records(VvFarDisks *far)
{
    VvMeta *meta = vv_pool_meta(far->pool);
    const GPtrArray *disks;

    vv_meta_read_lock(meta);
    disks = vv_meta_disks(meta);
    for (unsigned i = 0; i < far->own->len; i++)
        ((Own *) g_ptr_array_index(far->own, i))->wanted = false;
    for (unsigned i = 0; i < disks->len; i++) {
        const VvDiskInfo *info = g_ptr_array_index(disks, i);
        Own *own = find_own(far, &info->uuid);
        const char *path;
        uint64_t node;

        if (!vv_node_address_parse(info->path, &node, &path) || node != far->node->id)
            continue;
        if (own)
            own->wanted = true;
        else
            add_own(far, info, path);
    }
    vv_meta_read_unlock(meta);
}

static bool open_own(VvFarDisks *far, Own *own, GError **error)
{
    g_autoptr(VvDisk) disk = NULL;

    disk = vv_disk_open(own->path, &far->node->daemon->uuid, &own->uuid, false, LOCK_WAIT_MS, error);
    if (!disk || !vv_disk_adopt_label(disk, own->id, own->name, error))
        return false;
    vv_disk_server_add(far->server, g_steal_pointer(&disk));
    return true;
}

static void serve(VvFarDisks *far, Own *own)
{
    g_autoptr(GError) error = NULL;
    bool good = open_own(far, own, &error);

    if (good && own->why)
        vvn_event(far->node, VV_SEVERITY_INFO, "disk", own->name, "disk %s is there again", own->name);
    else if (!good && g_strcmp0(own->why, error->message) != 0)
        vvn_event(far->node, VV_SEVERITY_ERROR, "disk", own->name, "disk %s of this node cannot be served, and is tried again: %s", own->name, error->message);
    g_free(own->why);
    own->why = good ? NULL : g_strdup(error->message);
    VV_LOCKED(&far->lock);
    own->served = good;
}

/* It is none of the pool's any more: FD1. */
static void let_go(VvFarDisks *far, Own *own)
{
    g_autoptr(GError) error = NULL;

    if (own->served)
        (void) vv_disk_server_remove(far->server, own->id);
    if (!vv_disk_erase_label(own->path, &own->uuid, &error))
        vv_log(VV_LOG_WARNING, "the label of %s, which was disk %s, is still there: %s", own->path, own->name, error->message);
    VV_LOCKED(&far->lock);
    g_ptr_array_remove(far->own, own);
}

static void follow(VvFarDisks *far)
{
    look_at_records(far);
    far->again_ms = 0;
    for (unsigned i = far->own->len; i-- > 0;) {
        Own *own = g_ptr_array_index(far->own, i);

        if (!own->wanted) {
            let_go(far, own);
            continue;
        }
        if (!own->served)
            serve(far, own);
        if (!own->served)
            far->again_ms = vv_monotonic_ms() + VV_FAR_AGAIN_MS;
    }
}

/* ---- what `node join` named: a changer's, as it asks the other node */

static void add_chore(void *data)
{
    VvFarDisks *far = data;
    bool over = vv_far_join_add(far->node->daemon);
    VV_LOCKED(&far->lock);

    far->adding = false;
    far->joining = !over;
}

/* Again and again, until each was added or refused. */
static void add_joined(VvFarDisks *far)
{
    {
        VV_LOCKED(&far->lock);
        if (!far->joining)
            return;
        far->again_ms = MIN(far->again_ms ? far->again_ms : UINT64_MAX, vv_monotonic_ms() + VV_FAR_AGAIN_MS);
        if (far->adding)
            return;
        far->adding = true;
    }
    VV_LOCKED(&far->node->join_lock);
    if (!far->node->ending)
        vv_crew_run(far->node->daemon->changers, add_chore, far);
}

void vv_far_disks_serve(VvFarDisks *far)
{
    if (!far || !far->server)
        return;
    VV_LOCKED(&far->lock);
    far->joining = vv_far_join_wanted(far->node->daemon->directory);
    far->look |= far->joining;
    pthread_cond_signal(&far->changed);
}

/* ---- fences: FD2 */

static void tell_ends(VvFarDisks *far)
{
    for (;;) {
        g_autofree End *end = NULL;
        int rc;
        {
            VV_LOCKED(&far->lock);
            end = g_queue_pop_head(far->ends);
        }
        if (!end)
            return;
        rc = vv_disk_server_end_session(far->server, end->node, end->session, end->index);
        if (rc < 0)
            vv_log(VV_LOG_ERROR, "what node %" G_GUINT64_FORMAT " wrote to disks of this node cannot be synced: %s", end->node, g_strerror(-rc));
    }
}

/* What had ended before this process began. */
static void begin_fence(VvFarDisks *far)
{
    VvDriverStatus status;
    VvDriverNode first = { .id = 0 };

    vv_driver_status(far->node->driver, &status);
    if (status.term == 0 || !vv_driver_node(far->node->driver, VV_FIRST_NODE, &first))
        return;
    tell_ends(far); /* what was told before this status was */
    (void) vv_disk_server_end_session(far->server, VV_FIRST_NODE, first.session > 0 ? first.session - 1 : 0, status.last_end);
    far->began = true;
}

/* Until there is something to do. False: it is over. */
static bool wait_for_work(VvFarDisks *far)
{
    VV_LOCKED(&far->lock);

    while (!far->stopping && !far->look && g_queue_is_empty(far->ends)) {
        uint64_t now_ms = vv_monotonic_ms(), until_ms = far->again_ms ? far->again_ms : UINT64_MAX;

        if (!far->began)
            until_ms = MIN(until_ms, now_ms + BEGIN_LOOK_MS);
        if (until_ms == UINT64_MAX) {
            pthread_cond_wait(&far->changed, &far->lock);
            continue;
        }
        struct timespec until = { .tv_sec = (time_t) (until_ms / 1000), .tv_nsec = (long) (until_ms % 1000) * 1000000 };
        if (now_ms >= until_ms || pthread_cond_timedwait(&far->changed, &far->lock, &until) == ETIMEDOUT)
            break;
    }
    return !far->stopping;
}

static void *far_main(void *user)
{
    VvFarDisks *far = user;

    pthread_setname_np(pthread_self(), "vv-far");
    while (wait_for_work(far)) {
        bool look;
        {
            VV_LOCKED(&far->lock);
            look = far->look;
            far->look = false;
        }
        if (!far->began)
            begin_fence(far);
        tell_ends(far);
        if (look || (far->again_ms != 0 && vv_monotonic_ms() >= far->again_ms))
            follow(far);
        add_joined(far);
    }
    return NULL;
}

/* ---- any thread */

void vv_far_disks_changed(VvFarDisks *far)
{
    if (!far || !far->server)
        return;
    VV_LOCKED(&far->lock);
    far->look = true;
    pthread_cond_signal(&far->changed);
}

void vv_far_disks_session_ended(VvFarDisks *far, uint64_t node, uint64_t session, uint64_t index)
{
    const End end = { node, session, index };

    if (!far || !far->server)
        return;
    VV_LOCKED(&far->lock);
    g_queue_push_tail(far->ends, g_memdup2(&end, sizeof end));
    pthread_cond_signal(&far->changed);
}

bool vv_far_disks_serves(VvFarDisks *far, uint64_t disk_id)
{
    bool serves = false;

    if (!far)
        return false;
    VV_LOCKED(&far->lock);
    for (unsigned i = 0; i < far->own->len; i++) {
        const Own *own = g_ptr_array_index(far->own, i);

        serves |= own->id == disk_id && own->served;
    }
    return serves;
}

/* ---- life */

/* The same as long as the machine is up: what a process wrote survives it, in the kernel. */
static uint64_t machine_incarnation(void)
{
    g_autofree char *text = NULL;
    uint64_t number = 0;
    VvUuid boot;

    if (g_file_get_contents("/proc/sys/kernel/random/boot_id", &text, NULL, NULL) && vv_uuid_parse(g_strstrip(text), &boot))
        memcpy(&number, boot.bytes, sizeof number);
    while (number == 0)
        vv_random_bytes(&number, sizeof number);
    return number;
}

VvFarDisks *vv_far_disks_new(VvClusterNode *node)
{
    VvFarDisks *far = g_new0(VvFarDisks, 1);
    pthread_condattr_t attributes;

    far->node = node;
    far->has_map = vv_node_has_disks(node, node->id);
    far->reach = (VvDiskWays){ .way = way_cb, .user = far };
    far->server = far->has_map ? NULL : vv_disk_server_new(machine_incarnation());
    pthread_mutex_init(&far->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&far->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    far->lines = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, (GDestroyNotify) vv_disk_line_free);
    far->own = g_ptr_array_new_with_free_func(own_free);
    far->ends = g_queue_new();
    return far;
}

void vv_far_disks_begin(VvFarDisks *far, VvPool *pool)
{
    if (!far || !far->server || far->runs)
        return;
    far->pool = pool;
    far->look = true;
    far->stopping = false;
    far->runs = pthread_create(&far->thread, NULL, far_main, far) == 0;
    if (!far->runs)
        vvn_event(far->node, VV_SEVERITY_ERROR, "disk", NULL, "a thread cannot be started: the pool's disks on this node are not served");
}

void vv_far_disks_end(VvFarDisks *far)
{
    if (!far || !far->runs)
        return;
    {
        VV_LOCKED(&far->lock);
        far->stopping = true;
        pthread_cond_signal(&far->changed);
    }
    pthread_join(far->thread, NULL);
    far->runs = false;
    far->pool = NULL;
}

void vv_far_disks_free(VvFarDisks *far)
{
    if (!far)
        return;
    vv_far_disks_end(far);
    vv_disk_server_free(far->server);
    g_hash_table_unref(far->lines);
    g_ptr_array_unref(far->own);
    g_queue_free_full(far->ends, g_free);
    pthread_cond_destroy(&far->changed);
    pthread_mutex_destroy(&far->lock);
    g_free(far);
}
