/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See settle.h. */
#include "settle.h"

#include "base.h"
#include "codec.h"
#include "guests.h"
#include "news.h"
#include "node_private.h"
#include "peer.h"
#include "util.h"

#include <errno.h>

#define REPLY_MS 20000u /* then the question is over, whoever waited: longer than a connection is believed in */

/* ---- asking */

struct VvSettled {
    pthread_mutex_t lock; /* a leaf */
    GHashTable *late;     /* u64: nodes with a question that nobody waits for any more */
};

/* One change; of who waits and of each question. */
typedef struct {
    pthread_mutex_t lock; /* over settled->lock */
    pthread_cond_t answered;
    unsigned refs;
    GArray *open; /* u64: who has not answered */
    bool over;    /* nobody waits */
} Round;

typedef struct {
    Round *round;
    VvSettled *settled;
    uint64_t node;
} Question;

VvSettled *vv_settled_new(void)
{
    VvSettled *settled = g_new(VvSettled, 1);

    pthread_mutex_init(&settled->lock, NULL);
    settled->late = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
    return settled;
}

void vv_settled_free(VvSettled *settled)
{
    if (!settled)
        return;
    g_hash_table_unref(settled->late);
    pthread_mutex_destroy(&settled->lock);
    g_free(settled);
}

static bool is_late(VvSettled *settled, uint64_t node)
{
    VV_LOCKED(&settled->lock);
    return g_hash_table_contains(settled->late, &node);
}

static void set_late(VvSettled *settled, uint64_t node, bool late)
{
    VV_LOCKED(&settled->lock);
    if (late)
        g_hash_table_add(settled->late, g_memdup2(&node, sizeof node));
    else
        g_hash_table_remove(settled->late, &node);
}

static Round *round_new(void)
{
    Round *round = g_new0(Round, 1);
    pthread_condattr_t attributes;

    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_mutex_init(&round->lock, NULL);
    pthread_cond_init(&round->answered, &attributes);
    pthread_condattr_destroy(&attributes);
    round->open = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    round->refs = 1;
    return round;
}

/* Lock held, and let go. */
static void round_unref_locked(Round *round)
{
    bool last = --round->refs == 0;

    pthread_mutex_unlock(&round->lock);
    if (!last)
        return;
    pthread_mutex_destroy(&round->lock);
    pthread_cond_destroy(&round->answered);
    g_array_unref(round->open);
    g_free(round);
}

/* Lock held. */
static void close_question(Round *round, uint64_t node)
{
    for (guint i = 0; i < round->open->len; i++) {
        if (g_array_index(round->open, uint64_t, i) != node)
            continue;
        g_array_remove_index_fast(round->open, i);
        return;
    }
}

/* The peer's loop. */
static void answered_cb(void *user, int result, const VvIncoming *reply)
{
    Question *question = user;
    Round *round = question->round;

    (void) result; /* if the connection has gone, so has what that node's kernel was told, or it is told anew */
    (void) reply;
    pthread_mutex_lock(&round->lock);
    if (round->over)
        set_late(question->settled, question->node, false);
    close_question(round, question->node);
    pthread_cond_signal(&round->answered);
    round_unref_locked(round);
    g_free(question);
}

static void ask(VvClusterNode *node, Round *round, uint64_t id, uint64_t index)
{
    VvMesh *mesh = vv_node_mesh(node);
    g_autoptr(VvPeer) peer = mesh ? vv_mesh_peer(mesh, id, 0) : NULL;
    uint8_t body[sizeof index];
    VvOutgoing out = { .kind = VV_SETTLE, .body = body, .body_bytes = sizeof body };
    Question *question;

    if (!peer || is_late(node->settled, id))
        return;
    vv_put_u64(body, index);
    question = g_new(Question, 1);
    *question = (Question){ round, node->settled, id };
    {
        VV_LOCKED(&round->lock);
        round->refs++;
        g_array_append_val(round->open, id);
    }
    if (vv_peer_request(peer, &out, &(VvPeerRequest){ .timeout_ms = REPLY_MS, .done = answered_cb, .user = question }) == 0)
        return;
    pthread_mutex_lock(&round->lock);
    close_question(round, id);
    round_unref_locked(round);
    g_free(question);
}

/* vv-guests, or this thread. */
static void guests_shown_cb(void *user)
{
    answered_cb(user, 0, NULL);
}

/* Q2. As if this node had asked itself. */
static void ask_guests(VvClusterNode *node, Round *round)
{
    Question *question;

    if (!node->guests || !vv_guests_any(node->guests) || is_late(node->settled, node->id))
        return;
    question = g_new(Question, 1);
    *question = (Question){ round, node->settled, node->id };
    {
        VV_LOCKED(&round->lock);
        round->refs++;
        g_array_append_val(round->open, node->id);
    }
    vv_guests_when_shown(node->guests, guests_shown_cb, question);
}

/* A guest is told by the node with the disks, and that node waits for it. */
static bool shows_itself(VvNodeRole role)
{
    return role != VV_ROLE_GONE && role != VV_ROLE_WITNESS && role != VV_ROLE_GUEST;
}

static void await(VvClusterNode *node, Round *round)
{
    uint64_t ns = vv_monotonic_ns() + VV_SETTLE_MS * UINT64_C(1000000);
    struct timespec until = { .tv_sec = (time_t) (ns / 1000000000u), .tv_nsec = (long) (ns % 1000000000u) };

    pthread_mutex_lock(&round->lock);
    while (round->open->len > 0 && pthread_cond_timedwait(&round->answered, &round->lock, &until) == 0)
        continue;
    round->over = true;
    for (guint i = 0; i < round->open->len; i++)
        set_late(node->settled, g_array_index(round->open, uint64_t, i), true);
    round_unref_locked(round);
}

void vv_settle(VvDaemon *daemon, uint64_t but)
{
    VvClusterNode *node = daemon->cluster;
    VvMeta *meta = vv_pool_meta(daemon->pool);
    g_autoptr(GPtrArray) nodes = NULL;
    Round *round;

    if (!node || vv_node_is_guest(node) || (!vv_meta_is_cluster(meta) && !(node->guests && vv_guests_any(node->guests))))
        return;
    nodes = vv_meta_nodes(meta);
    round = round_new();
    for (unsigned i = 0; i < nodes->len; i++) {
        const VvNodeRecord *record = g_ptr_array_index(nodes, i);

        if (record->id != node->id && record->id != but && shows_itself(record->role))
            ask(node, round, record->id, vv_meta_config_index(meta));
    }
    ask_guests(node, round);
    await(node, round);
}

/* ---- answering */

typedef struct {
    VvPeer *peer; /* owned */
    uint64_t request;
    VvGuests *guests; /* NULL: they are another node's affair */
} Asked;

/* vv-news, vv-guests, or vv-control. */
static void all_shown_cb(void *user)
{
    Asked *asked = user;
    VvOutgoing out = { .kind = VV_SETTLE };

    (void) vv_peer_reply(asked->peer, asked->request, &out);
    vv_peer_unref(asked->peer);
    g_free(asked);
}

/* vv-news, or vv-control. */
static void shown_cb(void *user, bool told)
{
    Asked *asked = user;

    if (told && asked->guests)
        vv_guests_when_shown(asked->guests, all_shown_cb, asked);
    else /* the pool is closed: nothing is shown at all */
        all_shown_cb(asked);
}

void vv_settle_take(VvDaemon *daemon, VvPeer *peer, uint64_t request, const uint8_t *body, size_t body_bytes)
{
    VvClusterNode *node = daemon->cluster;
    Asked *asked = g_new(Asked, 1);

    *asked = (Asked){ vv_peer_ref(peer), request, node->guests };
    {
        VV_LOCKED(&node->event_lock); /* the pool does not go meanwhile */
        if (node->pool && !vv_peer_identity(peer)->guest && body_bytes == sizeof(uint64_t) &&
            vv_pool_when_told(node->pool, vv_get_u64(body), shown_cb, asked))
            return;
    }
    shown_cb(asked, false);
}
