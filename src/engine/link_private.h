/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What link.c (requests) and link_connect.c (the connection) share. */
#ifndef VV_LINK_PRIVATE_H
#define VV_LINK_PRIVATE_H

#include "link.h"
#include "unsynced.h"

#include <pthread.h>
#include <stdatomic.h>

typedef struct {
    VvRemoteRequest *first, *last;
    unsigned count;
} VvLinkQueue;

/* On top of link.c. */
typedef enum { VV_LINK_DOWN, VV_LINK_CONNECTING, VV_LINK_LOOKING, VV_LINK_REPLAYING, VV_LINK_UP } VvLinkState;

typedef struct {
    VvRemote remote; /* first */
    VvTransport *transport; /* owned */
    char *name;      /* owned; for messages */
    bool read_only;
    pthread_t thread;
    int event_fd; /* wakes the thread */
    atomic_uint_least64_t bytes;

    pthread_mutex_t lock; /* a leaf; guards to `expected` */
    pthread_cond_t changed;
    VvLinkQueue incoming;
    bool stopping;
    bool opened;      /* the first attempt to connect is over ... */
    GError *refusal;  /* ... and this is why it failed, or NULL */
    char *trouble;    /* why it is not up; NULL: it is */
    VvLabel expected; /* what must stand on it */

    atomic_bool expecting; /* set after `expected` */
    uint64_t open_deadline_ms; /* until then who opens it waits */

    /* The thread's own: */
    VvLinkState state;
    bool begun;      /* the transport; false while down */
    uint64_t incarnation; /* of the newest answer; 0: none yet, or none is told */
    uint64_t before;      /* that of the connection before */
    bool intact;          /* it is the same after the connection was lost: nothing is written again */
    VvLinkQueue waiting;  /* to be sent, the oldest first */
    VvLinkQueue in_flight;
    VvLinkQueue over; /* answered by the server: error is set */
    VvUnsynced *unsynced; /* NULL if read_only */
    bool lost;  /* K3: no sync succeeds any more */
    bool taken; /* K5: somebody else's: nothing succeeds any more */
    bool was_up;
    uint64_t next_try_ms, try_deadline_ms, pause_ms, down_since_ms;
    VvTransportFacts facts;

    VvRemoteRequest *resize; /* of kind SIZE, or NULL; no other is sent meanwhile */
    VvRemoteRequest flush;   /* our own, while too much is unsynced */
    bool flushing;
    VvRemoteRequest look; /* at the label */
    bool looking;
    bool look_second; /* at its second copy */
    uint64_t next_look_ms;
    uint8_t *label_bytes; /* VV_BLOCK_BYTES, owned */
    VvRemoteRequest beat; /* tells others that it is in use */
    bool beating;
    uint64_t beats;
    uint8_t *beat_bytes; /* VV_BLOCK_BYTES, owned */
    VvRemoteRequest *replays; /* VV_LINK_REPLAYS_MAX, owned */
    uint64_t replay_cursor;
    unsigned replaying;
    bool replay_failed;
} VvLink;

/* ---- queues: link.c */
void vv_link_push(VvLinkQueue *queue, VvRemoteRequest *request);
void vv_link_push_front(VvLinkQueue *queue, VvRemoteRequest *request);
void vv_link_take(VvLinkQueue *queue, VvRemoteRequest *request);
VvRemoteRequest *vv_link_pop(VvLinkQueue *queue);
/* Give it to the server: it is in flight, or over, or the connection is lost and it waits. */
void vv_link_send(VvLink *link, VvRemoteRequest *request);

/* ---- link_connect.c: the thread's */
/* Begin an attempt, if it is time. */
void vv_link_connect(VvLink *link, uint64_t now_ms);
/* The handshake is over, one way or the other: look. */
void vv_link_connected(VvLink *link, uint64_t now_ms);
/* Nothing more comes of this connection: what is in flight waits again. @why: a text. */
void vv_link_lose(VvLink *link, const char *why);
/* An orderly end: the server has done all that it was sent. Waits up to a second. */
void vv_link_disconnect(VvLink *link);
/* Read the label; its request's end is told by vv_link_looked. */
void vv_link_start_look(VvLink *link, bool second);
void vv_link_looked(VvLink *link, int result);
void vv_link_beat(VvLink *link);
/* Go on writing again what is unsynced, until all is; and one of these writes is over. */
void vv_link_replay(VvLink *link);
void vv_link_replayed(VvLink *link, VvRemoteRequest *request, int result);
bool vv_link_is_replay(const VvLink *link, const VvRemoteRequest *request);
void vv_link_set_trouble(VvLink *link, const char *why);

#endif
