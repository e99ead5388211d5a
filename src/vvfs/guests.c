/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See guests.h. */
#include "guests_private.h"

#include "base.h"
#include "error.h"
#include "guest.h"
#include "members.h"
#include "peer.h"

#include <errno.h>
#include <pthread.h>

#define AGAIN_MS 100u     /* after "not now", or a queue that is full */
#define REPLY_MS 20000u   /* longer than a connection is believed in */
#define IDLE_MS 3600000u

typedef struct {
    void (*done)(void *user);
    void *user;
    uint64_t until_ms; /* whatever is shown by then */
} Waiter;

struct VvGuests {
    pthread_mutex_t lock; /* a leaf, taken with the map locked */
    pthread_cond_t changed;
    GHashTable *nodes; /* u64 -> VvgGuest, owned: all that ever came; VV_NODE_RECORDS_MAX at most */
    GArray *waiters;   /* Waiter */
    unsigned connected;
    bool running, stopping;
    VvPool *pool; /* while it runs */
    pthread_t thread;
};

/* ---- guests */
static void guest_free(void *data)
{
    VvgGuest *guest = data;

    g_assert(!guest->peer && !guest->under_way);
    g_hash_table_unref(guest->noted);
    g_hash_table_unref(guest->told);
    g_queue_free_full(guest->outbox, (GDestroyNotify) g_byte_array_unref);
    g_free(guest);
}

static GHashTable *new_ids(void)
{
    return g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
}

static VvgGuest *get_locked(VvGuests *guests, uint64_t id)
{
    VvgGuest *guest = g_hash_table_lookup(guests->nodes, &id);

    if (guest)
        return guest;
    guest = g_new0(VvgGuest, 1);
    guest->id = id;
    guest->noted = new_ids();
    guest->told = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, g_free);
    guest->outbox = g_queue_new();
    g_hash_table_insert(guests->nodes, &guest->id, guest);
    return guest;
}

static bool has_news(const VvgGuest *guest)
{
    return guest->all || guest->nodes || g_hash_table_size(guest->noted) > 0;
}

/* ---- what changes */
static void note(VvgGuest *guest, uint64_t id, bool content, bool nodes)
{
    guest->nodes |= nodes;
    if (id == 0 || guest->all)
        return;
    if (g_hash_table_size(guest->noted) >= VV_GUESTS_NOTED_MAX) { /* T2 */
        guest->all = true;
        g_hash_table_remove_all(guest->noted);
        return;
    }
    if (content || !g_hash_table_contains(guest->noted, &id))
        g_hash_table_replace(guest->noted, g_memdup2(&id, sizeof id), GINT_TO_POINTER(content ? 2 : 1));
}

void vv_guests_note(VvGuests *guests, const VvOp *op)
{
    bool content, nodes = op->kind == VV_OP_MEMBER_SET && op->member_set.kind == VV_MEMBER_NODE;
    uint64_t id = vvg_object_of(op, &content);
    GHashTableIter iter;
    gpointer value;

    if (id == 0 && !nodes)
        return;
    VV_LOCKED(&guests->lock);
    if (guests->connected == 0)
        return;
    g_hash_table_iter_init(&iter, guests->nodes);
    while (g_hash_table_iter_next(&iter, NULL, &value))
        if (((VvgGuest *) value)->peer)
            note(value, id, content, nodes);
    pthread_cond_signal(&guests->changed);
}

/* ---- who waits */
static bool is_shown_locked(VvGuests *guests)
{
    GHashTableIter iter;
    gpointer value;

    g_hash_table_iter_init(&iter, guests->nodes);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        const VvgGuest *guest = value;

        if (guest->peer && !guest->is_late && (has_news(guest) || guest->under_way || guest->more))
            return false;
    }
    return true;
}

/* Lock held, and let go meanwhile. Returns when to look again. */
static uint64_t call_waiters(VvGuests *guests, uint64_t now_ms)
{
    uint64_t due_ms = UINT64_MAX;
    bool shown = guests->waiters->len > 0 && (guests->stopping || is_shown_locked(guests));

    for (guint i = 0; i < guests->waiters->len;) {
        Waiter waiter = g_array_index(guests->waiters, Waiter, i);

        if (!shown && now_ms < waiter.until_ms) {
            due_ms = MIN(due_ms, waiter.until_ms);
            i++;
            continue;
        }
        g_array_remove_index_fast(guests->waiters, i);
        pthread_mutex_unlock(&guests->lock);
        waiter.done(waiter.user);
        pthread_mutex_lock(&guests->lock);
        i = 0; /* others came meanwhile; what was shown then is */
        shown = guests->stopping || is_shown_locked(guests);
    }
    return due_ms;
}

void vv_guests_when_shown(VvGuests *guests, void (*done)(void *user), void *user)
{
    Waiter waiter = { done, user, vv_monotonic_ms() + VV_GUESTS_LATE_MS };
    bool now;

    {
        VV_LOCKED(&guests->lock);
        now = !guests->running || guests->stopping || guests->waiters->len >= VV_GUESTS_WAITERS_MAX || is_shown_locked(guests);
        if (!now) {
            g_array_append_val(guests->waiters, waiter);
            pthread_cond_signal(&guests->changed);
        }
    }
    if (now)
        done(user);
}

bool vv_guests_any(VvGuests *guests)
{
    VV_LOCKED(&guests->lock);
    return guests->connected > 0;
}

/* ---- messages */
typedef struct {
    VvGuests *guests;
    uint64_t node;
    unsigned connection;
} Sent;

static void want_all_locked(VvgGuest *guest, uint64_t again_ms)
{
    guest->all = true;
    guest->again_ms = again_ms;
}

/* The peer's loop. */
static void reply_cb(void *user, int result, const VvIncoming *reply)
{
    g_autofree Sent *sent = user;
    VvGuests *guests = sent->guests;
    VV_LOCKED(&guests->lock);
    VvgGuest *guest = get_locked(guests, sent->node);

    if (guest->connection != sent->connection)
        return; /* of a connection before this one */
    guest->under_way = guest->is_late = false;
    if (result != 0 || reply->body_bytes != 1 || reply->body[0] != VV_GUEST_SHOWN)
        want_all_locked(guest, vv_monotonic_ms() + AGAIN_MS);
    pthread_cond_signal(&guests->changed);
}

static bool take_cb(void *user, VvgGuest *guest, VvgNews *ret_news)
{
    VvGuests *guests = user;
    VV_LOCKED(&guests->lock);

    if (!guest->peer || !has_news(guest))
        return false;
    *ret_news = (VvgNews){ .noted = guest->all ? NULL : g_steal_pointer(&guest->noted), .nodes = guest->nodes };
    if (ret_news->noted)
        guest->noted = new_ids();
    else
        g_hash_table_remove_all(guest->noted);
    guest->all = guest->nodes = false;
    guest->under_way = true; /* so that nobody thinks that it was shown */
    guest->is_late = false;
    return true;
}

/* What was to follow is not sent: all is told anew. */
static void drop_outbox(VvgGuest *guest)
{
    g_queue_clear_full(guest->outbox, (GDestroyNotify) g_byte_array_unref);
}

/* Lock held, and let go meanwhile. */
static void send_next(VvGuests *guests, VvgGuest *guest)
{
    g_autoptr(VvPeer) peer = guest->peer ? vv_peer_ref(guest->peer) : NULL;
    g_autoptr(GByteArray) body = g_queue_pop_head(guest->outbox);
    Sent *sent = g_new(Sent, 1);
    VvOutgoing out = { .kind = VV_DESCRIBE, .body = body->data, .body_bytes = body->len };
    int rc;

    *sent = (Sent){ guests, guest->id, guest->connection };
    guest->under_way = true;
    guest->more = guest->outbox->length > 0;
    guest->sent_ms = vv_monotonic_ms();
    pthread_mutex_unlock(&guests->lock);
    rc = peer ? vv_peer_request(peer, &out, &(VvPeerRequest){ .timeout_ms = REPLY_MS, .done = reply_cb, .user = sent }) : -ENOTCONN;
    pthread_mutex_lock(&guests->lock);
    if (rc == 0)
        return;
    g_free(sent);
    guest->under_way = guest->is_late = guest->more = false;
    want_all_locked(guest, vv_monotonic_ms() + AGAIN_MS);
}

/* Lock held, and let go meanwhile. True: something was done. *ret_due_ms: when to look again. */
static bool work_on(VvGuests *guests, VvgGuest *guest, uint64_t now_ms, uint64_t *ret_due_ms)
{
    if (guest->under_way && guest->peer) {
        guest->is_late = now_ms >= guest->sent_ms + VV_GUESTS_LATE_MS;
        if (!guest->is_late)
            *ret_due_ms = MIN(*ret_due_ms, guest->sent_ms + VV_GUESTS_LATE_MS);
        return false;
    }
    if (!guest->peer || guest->all)
        drop_outbox(guest);
    if (!guest->peer || (guest->outbox->length == 0 && !has_news(guest)))
        return false;
    if (now_ms < guest->again_ms) {
        *ret_due_ms = MIN(*ret_due_ms, guest->again_ms);
        return false;
    }
    if (guest->outbox->length == 0) {
        pthread_mutex_unlock(&guests->lock);
        vvg_tell(guests->pool, guest, take_cb, guests);
        pthread_mutex_lock(&guests->lock);
    }
    if (guest->outbox->length > 0)
        send_next(guests, guest);
    return true;
}

static bool work(VvGuests *guests, uint64_t *ret_due_ms)
{
    g_autoptr(GList) nodes = g_hash_table_get_values(guests->nodes); /* none is ever taken out */
    bool some = false;

    for (GList *i = nodes; i && !guests->stopping; i = i->next)
        some |= work_on(guests, i->data, vv_monotonic_ms(), ret_due_ms);
    return some;
}

static void *guests_main(void *user)
{
    VvGuests *guests = user;

    pthread_setname_np(pthread_self(), "vv-guests");
    pthread_mutex_lock(&guests->lock);
    while (!guests->stopping) {
        uint64_t due_ms = vv_monotonic_ms() + IDLE_MS;
        struct timespec until;
        bool some = work(guests, &due_ms);

        due_ms = MIN(due_ms, call_waiters(guests, vv_monotonic_ms()));
        if (some || guests->stopping)
            continue;
        until = (struct timespec){ .tv_sec = (time_t) (due_ms / 1000), .tv_nsec = (long) (due_ms % 1000) * 1000000 };
        pthread_cond_timedwait(&guests->changed, &guests->lock, &until);
    }
    call_waiters(guests, UINT64_MAX);
    pthread_mutex_unlock(&guests->lock);
    return NULL;
}

/* ---- connections */
void vv_guests_up(VvGuests *guests, VvPeer *peer)
{
    VV_LOCKED(&guests->lock);
    VvgGuest *guest = get_locked(guests, vv_peer_node(peer));

    if (guest->peer)
        vv_peer_unref(guest->peer); /* the newer counts */
    else
        guests->connected++;
    guest->peer = vv_peer_ref(peer);
    guest->connection++;
    guest->under_way = guest->is_late = guest->more = false;
    guest->nodes = true;
    want_all_locked(guest, 0);
    pthread_cond_signal(&guests->changed);
}

void vv_guests_down(VvGuests *guests, VvPeer *peer)
{
    VV_LOCKED(&guests->lock);
    VvgGuest *guest = get_locked(guests, vv_peer_node(peer));

    if (guest->peer != peer)
        return;
    g_clear_pointer(&guest->peer, vv_peer_unref);
    guests->connected--;
    guest->connection++;
    guest->under_way = guest->is_late = guest->more = false;
    guest->all = guest->nodes = false;
    g_hash_table_remove_all(guest->noted);
    pthread_cond_signal(&guests->changed);
}

/* ---- life */
VvGuests *vv_guests_new(void)
{
    VvGuests *guests = g_new0(VvGuests, 1);
    pthread_condattr_t attributes;

    pthread_mutex_init(&guests->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&guests->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    guests->nodes = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL, guest_free);
    guests->waiters = g_array_new(FALSE, FALSE, sizeof(Waiter));
    return guests;
}

bool vv_guests_begin(VvGuests *guests, VvPool *pool, GError **error)
{
    int rc;
    VV_LOCKED(&guests->lock);

    guests->pool = pool;
    rc = pthread_create(&guests->thread, NULL, guests_main, guests);
    guests->running = rc == 0;
    if (rc != 0)
        vv_set_error_errno(error, rc, NULL, "a thread cannot be started");
    return rc == 0;
}

void vv_guests_end(VvGuests *guests)
{
    {
        VV_LOCKED(&guests->lock);
        if (!guests->running || guests->stopping)
            return;
        guests->stopping = true;
        pthread_cond_signal(&guests->changed);
    }
    pthread_join(guests->thread, NULL);
}

void vv_guests_free(VvGuests *guests)
{
    if (!guests)
        return;
    g_hash_table_unref(guests->nodes);
    g_array_unref(guests->waiters);
    pthread_cond_destroy(&guests->changed);
    pthread_mutex_destroy(&guests->lock);
    g_free(guests);
}
