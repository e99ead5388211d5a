/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Disks of this node, for the node with the engine: G1 to G5 are in disk_server.h. One lock; nothing blocks under it. */
#include "disk_server.h"

#include "crew.h"
#include "error.h"
#include "limits.h"
#include "object_memory.h"
#include "shipped.h"
#include "util.h"

#include <errno.h>

typedef struct Request Request;
typedef struct {
    Request *first, *last;
} List;

/* A disk, and who uses it. */
typedef struct {
    VvDisk *disk; /* owned */
    uint64_t id, bytes;
    unsigned users;
    bool leaving;
} Served;

struct Request {
    Request *next;
    VvDiskServer *server;
    VvPeer *peer; /* reference */
    uint64_t id;  /* the peer's */
    VvShipped ask;
    void *data;     /* of the memory, or NULL */
    Served *served; /* once it is under way */
    int result;
};

/* A node that has sent something. */
typedef struct {
    uint64_t id;
    VvPeer *current; /* reference; the newest connection, or NULL */
    uint64_t ended;  /* its sessions up to this one */
} Node;

struct VvDiskServer {
    uint64_t incarnation;
    VvCrew *crew;
    pthread_mutex_t lock; /* guards the rest; before a peer's */
    pthread_cond_t changed;
    GPtrArray *disks;  /* Served, owned */
    GHashTable *nodes; /* id -> Node, owned */
    VvObjectMemory *memory;
    GPtrArray *starving; /* peers (references) that wait for memory to place data in */
    List waiting;        /* came, and are not under way: G2, G3, G5; in order */
    List under_way;      /* in no order */
    uint64_t fence;
};

static void push(List *list, Request *request)
{
    request->next = NULL;
    if (list->last)
        list->last->next = request;
    else
        list->first = request;
    list->last = request;
}

static void take_out(List *list, Request *request)
{
    Request *previous = NULL;

    for (Request *at = list->first; at != request; at = at->next)
        previous = at;
    if (previous)
        previous->next = request->next;
    else
        list->first = request->next;
    if (list->last == request)
        list->last = previous;
}

/* ---- answers */

static void put_memory_locked(VvDiskServer *server, void *data)
{
    if (!data)
        return;
    vv_object_memory_put(server->memory, data);
    for (unsigned i = 0; i < server->starving->len; i++)
        vv_peer_resume(g_ptr_array_index(server->starving, i));
    g_ptr_array_set_size(server->starving, 0);
}

static void start_waiting_locked(VvDiskServer *server);

/* The peer needs its data no more, on its loop; or never did. */
static void request_free(void *user)
{
    Request *request = user;
    VvDiskServer *server = request->server;
    {
        VV_LOCKED(&server->lock);
        put_memory_locked(server, request->data);
        start_waiting_locked(server);
    }
    vv_peer_unref(request->peer);
    g_free(request);
}

/* Without the lock. */
static void answer(Request *request)
{
    VvDiskServer *server = request->server;
    bool gives = request->ask.op == VV_SHIPPED_READ && request->result == 0;
    uint8_t body[VV_SHIPPED_DONE_BYTES];
    VvShippedDone done = { .result = request->result, .incarnation = server->incarnation };
    VvOutgoing out = { .kind = VV_FRAME_DISK, .body = body, .body_bytes = sizeof body };
    {
        VV_LOCKED(&server->lock);
        done.fence = server->fence;
        for (unsigned i = 0; i < server->disks->len; i++) {
            const Served *served = g_ptr_array_index(server->disks, i);
            if (served->id == request->ask.disk)
                done.bytes = served->bytes;
        }
    }
    vv_shipped_done_encode(&done, body);
    if (gives) {
        out.data = request->data;
        out.data_bytes = (uint32_t) request->ask.length_bytes;
        out.data_done = request_free;
        out.data_user = request;
    }
    if (vv_peer_reply(request->peer, request->id, &out) != 0 || !gives)
        request_free(request);
}

/* ---- on the crew */

static int perform(const Request *request)
{
    VvDisk *disk = request->served->disk;
    const VvShipped *ask = &request->ask;

    switch (ask->op) {
    case VV_SHIPPED_READ:
        return vv_disk_read(disk, request->data, ask->length_bytes, ask->offset_bytes);
    case VV_SHIPPED_WRITE:
        return vv_disk_write(disk, request->data, ask->length_bytes, ask->offset_bytes);
    case VV_SHIPPED_SYNC:
        return vv_disk_sync(disk);
    case VV_SHIPPED_DISCARD:
        return vv_disk_discard(disk, ask->offset_bytes, ask->length_bytes);
    case VV_SHIPPED_LOOK:
        break;
    }
    uint64_t bytes = vv_disk_current_bytes(disk);
    VV_LOCKED(&request->server->lock);
    request->served->bytes = bytes;
    return bytes > 0 ? 0 : -EIO;
}

static void perform_cb(void *user)
{
    Request *request = user;
    VvDiskServer *server = request->server;

    request->result = perform(request);
    {
        VV_LOCKED(&server->lock);
        take_out(&server->under_way, request);
        request->served->users--;
        request->served = NULL;
        start_waiting_locked(server);
        pthread_cond_broadcast(&server->changed);
    }
    answer(request);
}

/* A refusal must not be sent under the lock, nor on the thread of who found out. */
static void refuse_cb(void *user)
{
    answer(user);
}

/* ---- may it begin? */

static Node *node_of(VvDiskServer *server, uint64_t id)
{
    Node *node = g_hash_table_lookup(server->nodes, &id);

    if (!node) {
        node = g_new0(Node, 1);
        node->id = id;
        g_hash_table_insert(server->nodes, &node->id, node);
    }
    return node;
}

static Served *find_disk(VvDiskServer *server, uint64_t id)
{
    for (unsigned i = 0; i < server->disks->len; i++) {
        Served *served = g_ptr_array_index(server->disks, i);
        if (served->id == id && !served->leaving)
            return served;
    }
    return NULL;
}

static bool has_older_under_way(const VvDiskServer *server, const VvPeer *peer)
{
    for (const Request *request = server->under_way.first; request; request = request->next)
        if (request->peer != peer && vv_peer_node(request->peer) == vv_peer_node(peer))
            return true;
    return false;
}

/* 1: it begins; 0: it waits; or it is refused with -errno. */
static int may_begin(VvDiskServer *server, Request *request)
{
    const VvShipped *ask = &request->ask;
    const Node *node = node_of(server, vv_peer_node(request->peer));
    const Served *served = find_disk(server, ask->disk);

    if (request->peer != node->current) /* G2 */
        return -ESHUTDOWN;
    if (ask->session <= node->ended) /* G3 */
        return -ESTALE;
    if (!served)
        return -ENODATA;
    if (ask->op != VV_SHIPPED_LOOK && ask->op != VV_SHIPPED_SYNC &&
        ((ask->offset_bytes | ask->length_bytes) % VV_BLOCK_BYTES != 0 || ask->offset_bytes + ask->length_bytes > served->bytes))
        return -EINVAL;
    if (has_older_under_way(server, request->peer) || ask->fence > server->fence)
        return 0;
    if (ask->op == VV_SHIPPED_READ && !request->data) { /* G5 */
        request->data = vv_object_memory_get(server->memory, ask->length_bytes);
        return request->data ? 1 : 0;
    }
    return 1;
}

static bool begin_locked(VvDiskServer *server, Request *request)
{
    int rc = may_begin(server, request);

    if (rc == 0)
        return false;
    if (rc < 0) {
        request->result = rc;
        vv_crew_run(server->crew, refuse_cb, request);
        return true;
    }
    request->served = find_disk(server, request->ask.disk);
    request->served->users++;
    push(&server->under_way, request);
    vv_crew_run(server->crew, perform_cb, request);
    return true;
}

static void start_waiting_locked(VvDiskServer *server)
{
    Request *request = server->waiting.first;

    server->waiting = (List){ 0 };
    while (request) {
        Request *next = request->next;
        if (!begin_locked(server, request))
            push(&server->waiting, request);
        request = next;
    }
}

/* ---- the mesh's */

void vv_disk_server_up(VvDiskServer *server, VvPeer *peer)
{
    VV_LOCKED(&server->lock);
    Node *node = node_of(server, vv_peer_node(peer));

    g_clear_pointer(&node->current, vv_peer_unref);
    node->current = vv_peer_ref(peer);
    start_waiting_locked(server); /* what came by an older one is refused */
}

void vv_disk_server_down(VvDiskServer *server, VvPeer *peer)
{
    VV_LOCKED(&server->lock);
    Node *node = node_of(server, vv_peer_node(peer));

    g_ptr_array_remove(server->starving, peer);
    if (node->current == peer)
        g_clear_pointer(&node->current, vv_peer_unref);
    start_waiting_locked(server);
}

void *vv_disk_server_place(VvDiskServer *server, VvPeer *peer, const VvIncoming *in)
{
    VV_LOCKED(&server->lock);
    void *data = vv_object_memory_get(server->memory, in->data_bytes);

    if (!data)
        g_ptr_array_add(server->starving, vv_peer_ref(peer));
    return data;
}

void vv_disk_server_unplace(VvDiskServer *server, VvPeer *peer, void *data)
{
    (void) peer;
    VV_LOCKED(&server->lock);

    put_memory_locked(server, data);
    start_waiting_locked(server);
}

void vv_disk_server_take(VvDiskServer *server, VvPeer *peer, const VvIncoming *in)
{
    g_autoptr(GError) error = NULL;
    Request *request = g_new0(Request, 1);

    request->server = server;
    request->peer = vv_peer_ref(peer);
    request->id = in->request;
    request->data = in->data_bytes > 0 ? in->data : NULL;
    if (!vv_shipped_decode(in->body, in->body_bytes, in->data_bytes, &request->ask, &error)) {
        vv_peer_close(peer, VV_GOODBYE_PROTOCOL, error->message);
        request_free(request);
        return;
    }
    VV_LOCKED(&server->lock);
    if (!begin_locked(server, request))
        push(&server->waiting, request);
}

/* ---- any thread */

VvDiskServer *vv_disk_server_new(uint64_t incarnation)
{
    VvDiskServer *server = g_new0(VvDiskServer, 1);

    g_assert(incarnation != 0);
    server->incarnation = incarnation;
    server->crew = vv_crew_new("vv-disks", VV_DISK_SERVER_THREADS);
    pthread_mutex_init(&server->lock, NULL);
    pthread_cond_init(&server->changed, NULL);
    server->disks = g_ptr_array_new();
    server->nodes = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL, g_free);
    server->memory = vv_object_memory_new(VV_DISK_SERVER_BYTES);
    server->starving = g_ptr_array_new_with_free_func((GDestroyNotify) vv_peer_unref);
    return server;
}

static void served_free(Served *served)
{
    g_assert(served->users == 0);
    vv_disk_close(served->disk);
    g_free(served);
}

void vv_disk_server_free(VvDiskServer *server)
{
    if (!server)
        return;
    vv_crew_free(server->crew);
    g_assert(!server->waiting.first && !server->under_way.first);
    for (unsigned i = 0; i < server->disks->len; i++)
        served_free(g_ptr_array_index(server->disks, i));
    g_ptr_array_unref(server->disks);
    g_hash_table_unref(server->nodes);
    g_ptr_array_unref(server->starving);
    vv_object_memory_free(server->memory);
    pthread_cond_destroy(&server->changed);
    pthread_mutex_destroy(&server->lock);
    g_free(server);
}

void vv_disk_server_add(VvDiskServer *server, VvDisk *disk)
{
    Served *served = g_new0(Served, 1);

    served->disk = disk;
    served->id = vv_disk_label(disk)->disk_id;
    served->bytes = vv_disk_current_bytes(disk);
    VV_LOCKED(&server->lock);
    g_ptr_array_add(server->disks, served);
}

bool vv_disk_server_remove(VvDiskServer *server, uint64_t disk_id)
{
    Served *served;
    {
        VV_LOCKED(&server->lock);
        served = find_disk(server, disk_id);
        if (!served)
            return false;
        served->leaving = true;
        while (served->users > 0)
            pthread_cond_wait(&server->changed, &server->lock);
        g_ptr_array_remove(server->disks, served);
    }
    served_free(served);
    return true;
}

static bool is_under_way(const VvDiskServer *server, uint64_t node, uint64_t session)
{
    for (const Request *request = server->under_way.first; request; request = request->next)
        if (vv_peer_node(request->peer) == node && request->ask.session <= session)
            return true;
    return false;
}

/* Those that were there, one after the other; they stay while they are used. */
static int sync_disks(VvDiskServer *server)
{
    int result = 0;

    for (unsigned i = 0;; i++) {
        Served *served = NULL;
        {
            VV_LOCKED(&server->lock);
            if (i >= server->disks->len)
                return result;
            served = g_ptr_array_index(server->disks, i);
            served->users++;
        }
        int rc = vv_disk_sync(served->disk);
        result = result == 0 ? rc : result;
        VV_LOCKED(&server->lock);
        served->users--;
        pthread_cond_broadcast(&server->changed);
    }
}

int vv_disk_server_end_session(VvDiskServer *server, uint64_t node, uint64_t session, uint64_t index)
{
    int result;
    {
        VV_LOCKED(&server->lock);
        Node *ended = node_of(server, node);

        ended->ended = MAX(ended->ended, session);
        start_waiting_locked(server); /* what of it waits is refused */
        while (is_under_way(server, node, session))
            pthread_cond_wait(&server->changed, &server->lock);
    }
    result = sync_disks(server);
    VV_LOCKED(&server->lock);
    server->fence = MAX(server->fence, index);
    start_waiting_locked(server);
    return result;
}
