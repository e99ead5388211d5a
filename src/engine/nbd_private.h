/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What nbd.c (requests) and nbd_connect.c (the connection) share. */
#ifndef VV_NBD_PRIVATE_H
#define VV_NBD_PRIVATE_H

#include "nbd.h"
#include "unsynced.h"

#include <libnbd.h>
#include <pthread.h>
#include <stdatomic.h>

typedef struct nbd_handle VvNbdHandle;

typedef struct {
    VvRemoteRequest *first, *last;
    unsigned count;
} VvNbdQueue;

/* On top of nbd.c. */
typedef enum { VV_NBD_DOWN, VV_NBD_CONNECTING, VV_NBD_LOOKING, VV_NBD_REPLAYING, VV_NBD_UP } VvNbdState;

typedef struct {
    VvRemote remote; /* first */
    char *uri;       /* owned */
    bool read_only;
    pthread_t thread;
    int event_fd; /* wakes the thread */
    atomic_uint_least64_t bytes;

    pthread_mutex_t lock; /* a leaf; guards to `expected` */
    pthread_cond_t changed;
    VvNbdQueue incoming;
    bool stopping;
    bool opened;      /* the first attempt to connect is over ... */
    GError *refusal;  /* ... and this is why it failed, or NULL */
    char *trouble;    /* why it is not up; NULL: it is */
    VvLabel expected; /* what must stand on it */

    atomic_bool expecting; /* set after `expected` */
    uint64_t open_deadline_ms; /* until then who opens it waits */

    /* The thread's own: */
    VvNbdState state;
    VvNbdHandle *handle; /* NULL while down */
    VvNbdQueue waiting;  /* to be sent, the oldest first */
    VvNbdQueue in_flight;
    VvNbdQueue over; /* answered by the server: error is set */
    VvUnsynced *unsynced; /* NULL if read_only */
    bool lost;  /* NB3: no sync succeeds any more */
    bool taken; /* NB5: somebody else's: nothing succeeds any more */
    bool was_up;
    uint64_t next_try_ms, try_deadline_ms, pause_ms, down_since_ms;
    uint64_t piece_bytes_max;

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
    VvRemoteRequest *replays; /* VV_NBD_REPLAYS_MAX, owned */
    uint64_t replay_cursor;
    unsigned replaying;
    bool replay_failed;
} VvNbd;

/* ---- queues: nbd.c */
void vv_nbd_push(VvNbdQueue *queue, VvRemoteRequest *request);
void vv_nbd_push_front(VvNbdQueue *queue, VvRemoteRequest *request);
void vv_nbd_take(VvNbdQueue *queue, VvRemoteRequest *request);
VvRemoteRequest *vv_nbd_pop(VvNbdQueue *queue);
/* Give it to the server: it is in flight, or over, or the connection is lost and it waits. */
void vv_nbd_send(VvNbd *nbd, VvRemoteRequest *request);

/* ---- nbd_connect.c: the thread's */
/* Begin an attempt, if it is time. */
void vv_nbd_connect(VvNbd *nbd, uint64_t now_ms);
/* The handshake is over, one way or the other: look. */
void vv_nbd_connected(VvNbd *nbd, uint64_t now_ms);
/* Nothing more comes of this connection: what is in flight waits again. @why: a text. */
void vv_nbd_lose(VvNbd *nbd, const char *why);
/* The last error of libnbd on this thread, without the name of the function. */
const char *vv_nbd_last_error(void);
/* An orderly end: the server has done all that it was sent. Waits up to a second. */
void vv_nbd_disconnect(VvNbd *nbd);
/* Read the label; its request's end is told by vv_nbd_looked. */
void vv_nbd_start_look(VvNbd *nbd, bool second);
void vv_nbd_looked(VvNbd *nbd, int result);
void vv_nbd_beat(VvNbd *nbd);
/* Go on writing again what is unsynced, until all is; and one of these writes is over. */
void vv_nbd_replay(VvNbd *nbd);
void vv_nbd_replayed(VvNbd *nbd, VvRemoteRequest *request, int result);
bool vv_nbd_is_replay(const VvNbd *nbd, const VvRemoteRequest *request);
void vv_nbd_set_trouble(VvNbd *nbd, const char *why);

#endif
