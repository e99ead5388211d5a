/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The inside of a peer, for peer*.c alone. Invariants P1 to P4: peer.h. */
#ifndef VV_PEER_PRIVATE_H
#define VV_PEER_PRIVATE_H

#include "peer.h"
#include "util.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <stdatomic.h>

typedef enum { VV_PEER_NEW, VV_PEER_UP, VV_PEER_LEAVING, VV_PEER_ENDING, VV_PEER_DOWN } VvPeerState;

/* Why reading stands still. */
enum { VV_PAUSE_OWNER = 1, VV_PAUSE_PLACE = 2, VV_PAUSE_OUTPUT = 4 };

/* A request that waits for its answer. */
typedef struct {
    uint64_t id;
    uint64_t deadline_ms;
    VvPeerRequest request;
} VvAsked;

/* A message on its way to the bufferevent. */
typedef struct {
    uint16_t flags;
    uint64_t request;
    uint8_t *head; /* header and copied body, owned */
    size_t head_bytes;
    GBytes *shared; /* reference, or NULL */
    const void *data;
    size_t data_bytes;
    void (*data_done)(void *data_user);
    void *data_user;
    VvAsked *asked; /* owned until it is in the table; NULL: no request */
} VvSend;

struct VvPeer {
    /* ---- set by vv_peer_new */
    gint references;
    VvPeerLoop *loop;
    VvPeerOptions options;
    uint32_t body_in_max, data_in_max, body_out_max, data_out_max;
    size_t output_high, output_low, output_max;
    uint32_t asked_max, unanswered_max;
    bool control;

    /* ---- the loop's thread (P1) */
    VvPeerState state;
    struct bufferevent *bev;
    struct evbuffer *input; /* what came and was not taken yet */
    VvPeerTimer *timer;
    uint64_t timer_due_ms;
    uint64_t sent_ms, received_ms, drained_ms, frame_ms, paused_ms; /* vv_monotonic_ms(); frame_ms 0: between frames */
    uint64_t doubt_ms; /* 0: none; else what must not be reached in silence */
    unsigned pauses;
    bool in_frame; /* the header below is decoded */
    VvFrame frame;
    uint8_t *body; /* of the frame, owned */
    uint32_t body_got;
    uint8_t *data;    /* where the frame's data goes; NULL: not placed, or dropped */
    bool data_ours;   /* ... allocated here */
    bool data_placed; /* ... by place() */
    uint32_t data_got;
    bool data_dropped;
    VvAsked *answered;      /* request that the frame answers, out of the table, owned; NULL: too late, or none */
    GHashTable *asked;      /* id -> VvAsked, owned */
    GHashTable *late;       /* ids of requests that were sent, timed out and are not answered: the other end still counts them */
    GHashTable *unanswered; /* ids of requests that came */
    uint64_t last_request_in;
    GQueue waiting; /* VvSend, owned: out of the queue, not in the bufferevent yet */
    char *why;      /* it ends */

    /* ---- any thread */
    pthread_mutex_t lock; /* guards the next six; a leaf but for the loop's mailbox */
    GQueue queue;         /* VvSend, owned */
    size_t waiting_bytes; /* queue, waiting and the bufferevent's output */
    uint32_t asked_count; /* late ones too */
    uint64_t last_request_out;
    bool woken;   /* a pump is posted */
    bool is_down; /* nothing is taken any more */
    bool refused; /* -EAGAIN was said */
    _Atomic uint64_t bytes_in, bytes_out, messages_in, messages_out, last_seen_ms, round_trip_us;
};

/* ---- peer.c */
/* End it: nothing is read or written from here on, the rest follows when the loop comes by. */
void vvp_fail(VvPeer *peer, const char *format, ...) G_GNUC_PRINTF(2, 3);
/* Make the timer come at @due_ms at the latest. */
void vvp_due(VvPeer *peer, uint64_t due_ms);
void vvp_set_pause(VvPeer *peer, unsigned reason, bool on);
uint64_t vvp_limit(uint64_t chosen_ms, uint64_t usual_ms);

/* ---- peer_output.c */
void vvp_pump(VvPeer *peer);
/* A message of the transport's own, past the queue. */
void vvp_write(VvPeer *peer, uint16_t kind, const void *body, size_t body_bytes);
void vvp_write_cb(struct bufferevent *bev, void *user);
void vvp_output_cb(struct evbuffer *buffer, const struct evbuffer_cb_info *info, void *user);
void vvp_output_clear(VvPeer *peer);
void vvp_send_free(VvSend *send);
/* The answer is there, or is not waited for any more. Frees @asked; its slot only if @over: nothing of it can still come. */
void vvp_asked_done(VvPeer *peer, VvAsked *asked, int result, const VvIncoming *reply, bool over);
/* The answer of a late request has come. False: it is none. */
bool vvp_late_done(VvPeer *peer, uint64_t id);
/* Fail what has waited too long; returns when the next one will have, or UINT64_MAX. */
uint64_t vvp_expire(VvPeer *peer, uint64_t now_ms);

/* ---- peer_input.c */
void vvp_read_cb(struct bufferevent *bev, void *user);
/* Take what has come as far as it goes. */
void vvp_input(VvPeer *peer);
void vvp_input_clear(VvPeer *peer);

#endif
