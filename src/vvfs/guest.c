/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See guest.h. */
#include "guest.h"

#include "authority.h"
#include "base.h"
#include "error.h"
#include "guest_map.h"
#include "news.h"
#include "node_setup.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>

#define WHOLE_ITEMS_MAX (1u << 20) /* of a whole set: some hundred MiB of descriptions */
#define LOOK_MS 100u

struct VvGuest {
    VvGuestOptions options;
    VvClusterLog log;
    pthread_mutex_t lock; /* over the map's, for reading, and the committer's queue; all behind it */
    pthread_cond_t changed;
    VvPool *pool;         /* NULL: it takes nothing */
    GPtrArray *parts;     /* owned: VvDescribed of a whole set that is not complete; NULL: none is coming */
    bool parts_nodes;     /* nodes are among them */
    bool followed;        /* a whole set is in the map */
    bool busy;            /* U1: the committer has what follows */
    GPtrArray *items;     /* owned: what the change was made from */
    VvGuestChange change;
    VvPeer *peer;         /* owned: who is owed an answer to */
    uint64_t request;
    bool whole;
    VvPeer *teller;       /* owned: the connection on which the map was last told of; NULL: it is stale */
    uint64_t stale_ns;    /* since then; 0: never told */
};

/* ---- answers */
static void answer(VvPeer *peer, uint64_t request, uint8_t result)
{
    VvOutgoing out = { .kind = VV_DESCRIBE, .body = &result, .body_bytes = sizeof result };

    (void) vv_peer_reply(peer, request, &out); /* if it has gone, all is told anew on the next */
}

typedef struct {
    VvPeer *peer; /* owned */
    uint64_t request;
} Owed;

/* vv-news, or the committer. */
static void told_cb(void *user, bool told)
{
    Owed *owed = user;

    (void) told; /* the pool is closed: nothing is shown */
    answer(owed->peer, owed->request, VV_GUEST_SHOWN);
    vv_peer_unref(owed->peer);
    g_free(owed);
}

/* ---- the log */
static void clear_change_locked(VvGuest *guest)
{
    vv_guest_change_clear(&guest->change);
    g_clear_pointer(&guest->items, g_ptr_array_unref);
}

/* The committer's thread. */
static void applied(void *user, uint64_t index, int result)
{
    VvGuest *guest = user;
    Owed *owed = g_new(Owed, 1);
    VvPool *pool;

    pthread_mutex_lock(&guest->lock);
    *owed = (Owed){ g_steal_pointer(&guest->peer), guest->request };
    clear_change_locked(guest);
    pool = guest->pool;
    guest->followed |= guest->whole && result == 0;
    pthread_mutex_unlock(&guest->lock);
    if (result != 0)
        guest->options.failed(guest->options.user);
    if (result != 0 || !vv_pool_when_told(pool, index, told_cb, owed))
        told_cb(owed, false);
    pthread_mutex_lock(&guest->lock);
    guest->busy = false; /* now the pool may go */
    pthread_cond_broadcast(&guest->changed);
    pthread_mutex_unlock(&guest->lock);
}

static bool attach(void *user, VvPool *pool, GError **error)
{
    VvGuest *guest = user;

    {
        VV_LOCKED(&guest->lock);
        guest->pool = pool;
    }
    return guest->options.opened(guest->options.user, pool, error);
}

static void wait_a_little_locked(VvGuest *guest)
{
    uint64_t ns = vv_monotonic_ns() + LOOK_MS * 1000000u;
    struct timespec until = { .tv_sec = (time_t) (ns / 1000000000u), .tv_nsec = (long) (ns % 1000000000u) };

    pthread_cond_timedwait(&guest->changed, &guest->lock, &until);
}

static bool ready(void *user, GError **error)
{
    VvGuest *guest = user;
    g_autofree char *why = NULL;
    bool followed = false;

    while (!followed && !(why = guest->options.impatient(guest->options.user))) {
        VV_LOCKED(&guest->lock);
        if (!guest->followed)
            wait_a_little_locked(guest);
        followed = guest->followed;
    }
    guest->options.waited(guest->options.user);
    if (!followed)
        vv_set_error(error, VV_ERROR_NO_QUORUM, NULL, "vvfs-admin node list, on a member", "%s", why);
    return followed;
}

static void closing(void *user)
{
    (void) user;
}

static void detach(void *user)
{
    VvGuest *guest = user;

    {
        VV_LOCKED(&guest->lock);
        while (guest->busy)
            pthread_cond_wait(&guest->changed, &guest->lock);
        guest->pool = NULL;
    }
    guest->options.closed(guest->options.user);
}

static bool prepare(void *user, VvPool *pool, uint64_t index, GError **error)
{
    (void) user;
    (void) pool;
    (void) index;
    vv_set_error(error, VV_ERROR_INTERNAL, NULL, NULL, "a guest's map has no log");
    return false;
}

/* CL4. Nothing that a guest does is a change of its map. */
static int propose(void *user, uint64_t seen, const uint8_t *ops, size_t ops_bytes, uint64_t *ret_ticket)
{
    (void) user;
    (void) seen;
    (void) ops;
    (void) ops_bytes;
    (void) ret_ticket;
    return -EIO;
}

static bool hold(void *user, VvBase *ret_base)
{
    (void) user;
    (void) ret_base;
    return false;
}

static void resume(void *user)
{
    (void) user;
}

static void stored(void *user, uint64_t index)
{
    (void) user;
    (void) index;
}

/* ---- life */
VvGuest *vv_guest_new(const VvGuestOptions *options)
{
    VvGuest *guest = g_new0(VvGuest, 1);
    pthread_condattr_t attributes;

    guest->options = *options;
    guest->log = (VvClusterLog){ .attach = attach,
        .ready = ready,
        .closing = closing,
        .detach = detach,
        .prepare = prepare,
        .propose = propose,
        .applied = applied,
        .base = { .hold = hold, .resume = resume, .stored = stored, .user = guest },
        .user = guest };
    pthread_mutex_init(&guest->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&guest->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    return guest;
}

void vv_guest_free(VvGuest *guest)
{
    if (!guest)
        return;
    g_assert(!guest->busy);
    clear_change_locked(guest);
    g_clear_pointer(&guest->parts, g_ptr_array_unref);
    g_clear_pointer(&guest->teller, vv_peer_unref);
    pthread_mutex_destroy(&guest->lock);
    pthread_cond_destroy(&guest->changed);
    g_free(guest);
}

const VvClusterLog *vv_guest_log(VvGuest *guest)
{
    return &guest->log;
}

/* ---- what comes */
static void steal_items(GPtrArray *from, GPtrArray *to)
{
    for (unsigned i = 0; i < from->len; i++)
        g_ptr_array_add(to, from->pdata[i]);
    g_ptr_array_set_free_func(from, NULL);
}

/* Parts of a whole set are put together. The items to apply, owned; NULL: *ret_result is the answer. */
static GPtrArray *collect_locked(VvGuest *guest, VvDescription *description, bool *ret_whole, bool *ret_nodes, uint8_t *ret_result)
{
    if (description->flags & VV_DESCRIBE_FIRST) {
        g_clear_pointer(&guest->parts, g_ptr_array_unref);
        guest->parts = g_ptr_array_new_with_free_func((GDestroyNotify) vv_described_free);
        guest->parts_nodes = false;
    }
    *ret_whole = guest->parts != NULL;
    *ret_nodes = (description->flags & VV_DESCRIBE_NODES) || (guest->parts && guest->parts_nodes);
    *ret_result = VV_GUEST_WANTS_ALL;
    if (!guest->parts)
        return guest->followed && !(description->flags & VV_DESCRIBE_LAST) ? g_steal_pointer(&description->items) : NULL;
    steal_items(description->items, guest->parts);
    guest->parts_nodes = *ret_nodes;
    if (guest->parts->len > WHOLE_ITEMS_MAX) {
        g_clear_pointer(&guest->parts, g_ptr_array_unref);
        return NULL;
    }
    *ret_result = VV_GUEST_SHOWN;
    return description->flags & VV_DESCRIBE_LAST ? g_steal_pointer(&guest->parts) : NULL;
}

/* The change is made, and is the committer's. False: M2 of guest_map.h. */
static bool hand_over_locked(VvGuest *guest, VvPeer *peer, uint64_t request, uint64_t index, GPtrArray *items, bool whole, bool nodes)
{
    const char *why = NULL;
    VvClusterEntry entry = { .index = index };

    if (whole && !nodes)
        why = "a whole set without nodes";
    else if (!vv_guest_change_make(guest->pool, guest->options.self, items, whole, nodes, &guest->change, &why))
        why = why ? why : "?";
    if (why) {
        vv_log(VV_LOG_WARNING, "what node %" G_GUINT64_FORMAT " told of the pool cannot be: %s", vv_peer_node(peer), why);
        g_ptr_array_unref(items);
        return false;
    }
    entry.given = guest->change.ops;
    entry.described = (const VvMetaDescribed *) guest->change.described->data;
    entry.described_count = guest->change.described->len;
    guest->items = items;
    guest->peer = vv_peer_ref(peer);
    guest->request = request;
    guest->whole = whole;
    guest->busy = true;
    if (guest->teller != peer) {
        g_clear_pointer(&guest->teller, vv_peer_unref);
        guest->teller = vv_peer_ref(peer);
    }
    vv_pool_cluster_apply(guest->pool, &entry);
    return true;
}

/* U1, U2. What to answer; -1: later, or nothing. */
static int take_locked(VvGuest *guest, VvPeer *peer, uint64_t request, VvDescription *description)
{
    GPtrArray *items;
    bool whole, nodes;
    uint8_t result;

    if (!guest->pool || guest->busy)
        return VV_GUEST_NOT_NOW;
    items = collect_locked(guest, description, &whole, &nodes, &result);
    if (!items)
        return result;
    if (hand_over_locked(guest, peer, request, description->index, items, whole, nodes))
        return -1;
    if (whole) /* it would come again */
        vv_peer_close(peer, VV_GOODBYE_PROTOCOL, "a whole set that cannot be");
    return whole ? -1 : VV_GUEST_WANTS_ALL;
}

void vv_guest_take(VvGuest *guest, VvPeer *peer, uint64_t request, const uint8_t *body, size_t body_bytes)
{
    g_auto(VvDescription) description = { .items = NULL };
    int result;

    if (!vv_description_decode(body, body_bytes, &description)) {
        vv_peer_close(peer, VV_GOODBYE_PROTOCOL, "descriptions that cannot be read");
        return;
    }
    {
        VV_LOCKED(&guest->lock);
        result = take_locked(guest, peer, request, &description);
    }
    if (result >= 0)
        answer(peer, request, (uint8_t) result);
}

void vv_guest_down(VvGuest *guest, VvPeer *peer)
{
    VvPeerCounters counters;
    uint64_t silent_ms;
    VV_LOCKED(&guest->lock);

    g_clear_pointer(&guest->parts, g_ptr_array_unref);
    if (guest->teller != peer)
        return;
    vv_peer_counters(peer, &counters);
    silent_ms = vv_monotonic_ms() - MIN(vv_monotonic_ms(), counters.last_seen_ms);
    guest->stale_ns = vv_now_ns() - silent_ms * 1000000u;
    g_clear_pointer(&guest->teller, vv_peer_unref);
}

uint64_t vv_guest_stale_since_ns(VvGuest *guest)
{
    VV_LOCKED(&guest->lock);
    return guest->teller ? 0 : guest->stale_ns;
}

/* ---- the directory */
bool vv_guest_is_one(const char *directory)
{
    g_auto(VvJoined) joined = { 0 };

    return vv_nodes_exist(directory) && vv_nodes_load(directory, &joined, NULL) && joined.role == VV_TOKEN_GUEST;
}

/* A folder without folders; one that is not there is good. */
static bool remove_folder(const char *directory, const char *name, GError **error)
{
    g_autofree char *path = g_build_filename(directory, name, NULL);
    g_autoptr(GDir) folder = g_dir_open(path, 0, NULL);
    const char *file;

    while (folder && (file = g_dir_read_name(folder))) {
        g_autofree char *inside = g_build_filename(path, file, NULL);

        (void) unlink(inside);
    }
    if (rmdir(path) == 0 || errno == ENOENT)
        return true;
    vv_set_error_errno(error, errno, path, "cannot remove %s", path);
    return false;
}

bool vv_guest_reset(const char *directory, const char *name, const VvUuid *uuid, GError **error)
{
    const VvMetaCreate create = { .name = name, .uuid = *uuid, .created_ns = vv_now_ns() };

    return remove_folder(directory, "map", error) && remove_folder(directory, "journal", error) && vv_meta_create(directory, &create, error);
}
