/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Between driver.c (thread, events), driver_log.c (Raft's operations, entries), driver_link.c (the engine's side), driver_members.c and
 * driver_sync.c (states). */
#ifndef VV_DRIVER_PRIVATE_H
#define VV_DRIVER_PRIVATE_H

#include "cluster.h"
#include "driver.h"
#include "raft_log.h"

typedef enum {
    VVD_MESSAGE,  /* number: from; kind, body */
    VVD_STORED,   /* number: ticket; result */
    VVD_APPLIED,  /* number: index; result */
    VVD_PROPOSE,  /* number: ticket; config; body */
    VVD_COMPACT,  /* number: index */
    VVD_MEMBERS,  /* body: VvDriverMember */
    VVD_TRANSFER, /* number: node */
    VVD_VOUCH,    /* number: node */
    VVD_GIVE_UP,  /* body: why, a text */
    VVD_CLOSING,
    VVD_SETTLED, /* number: job */
    VVD_WAKE, /* look again */
} VvdEventKind;

typedef struct {
    VvdEventKind what;
    uint64_t number;
    int result;
    bool config;
    uint16_t kind;
    GBytes *body; /* owned, or NULL */
} VvdEvent;

/* Of the committer, not decided yet. */
typedef struct {
    uint64_t ticket;
    bool config;
    bool sent;        /* MAP: VvMember has it */
    uint64_t seq;     /* MAP */
    uint64_t asked_ms; /* CONFIG */
    GBytes *body;     /* of the entry */
} VvdProposal;

typedef struct {
    uint64_t node, ms;
} VvdHeard;

/* Somebody vouches that this session's node is off. */
typedef struct {
    uint64_t node, session;
    uint64_t number;   /* of the request */
    uint64_t asked_ms; /* 0: not yet */
} VvdVouch;

struct VvDriver {
    VvDriverOptions options;
    char *directory;
    VvClusterLog link;
    uint64_t client; /* of this life's requests: drawn */

    pthread_mutex_t lock; /* a leaf; all to the blank line */
    pthread_cond_t changed; /* for the thread */
    pthread_cond_t told;    /* for who waits for the thread */
    GQueue *events;         /* of VvdEvent */
    bool running, stopping; /* the thread */
    bool hold_wanted, held;
    VvBase base;            /* what is held, or what there was when the thread ended, or what a conversion made */
    uint64_t next_ticket;
    uint64_t compacted; /* Raft has been told; changed by the thread alone */
    bool journal_full;  /* and its thread waits */
    VvDriverStatus status;
    GArray *nodes; /* VvDriverNode, as of nodes_ms */
    char *why; /* owned: why it failed */
    uint64_t latest_wanted, latest_done; /* driver_latest.c: numbers of who waits; the latter is changed by the thread alone */
    bool latest_news;                    /* the former has grown */

    pthread_t thread;
    bool thread_began;
    /* the thread's own, or before it begins and after it has ended anybody's */
    VvPool *pool; /* NULL: joining */
    VvVote *vote;
    VvRaftLog *log;
    VvRaft *raft;
    VvCluster *cluster;
    uint64_t now_ms;
    uint64_t with_committer; /* index; 0: none */
    bool hold;               /* entries wait for the base to be taken */
    uint64_t no_room_ms;     /* since when the map has had none; 0: it has */
    uint64_t conf_index;     /* as of what is applied */
    GBytes *conf;
    uint64_t config_index;
    uint64_t compact_wanted;
    GPtrArray *proposals; /* of VvdProposal */
    GQueue *own;          /* of VvdEvent: messages to this node */
    GArray *members;      /* VvDriverMember: wanted */
    uint64_t members_ms;  /* looked at */
    uint64_t nodes_ms;    /* told */
    uint64_t led_ms;      /* who leads, or led, was heard then; at first: when the thread began */
    GArray *heard;        /* VvdHeard: who has sent something, and when; as many as the records name */
    uint64_t handed_ms;   /* leadership was offered to somebody, because this node is not to lead */
    unsigned handed_to;   /* the place in members of who is asked next */
    GArray *vouched;      /* VvdVouch */
    uint64_t latest_asked, latest_index, latest_ms; /* the question under way; 0: none, no answer, not sent */
    uint64_t nudged_ms, nudge_pause_ms; /* while a promotion waits */
    uint64_t closing_ms;  /* since when nothing of this node was decided while the pool is being closed; 0: it is not */
    bool failed, took;
    bool converted; /* it began with an open pool */
    struct VvdGive *give;
    struct VvSyncTake *take;
};

/* ---- driver.c */
void vvd_post(VvDriver *d, VvdEvent *event); /* takes it over */
VvdEvent *vvd_event(VvdEventKind what, uint64_t number);
void vvd_fail(VvDriver *d, const char *format, ...) G_GNUC_PRINTF(2, 3);
void vvd_set_running(VvDriver *d, bool running);
bool vvd_start_thread(VvDriver *d, GError **error);
void vvd_stop_thread(VvDriver *d);
uint64_t vvd_now_ms(void);

/* ---- driver_log.c */
extern const VvRaftOps vvd_raft_ops;
extern const VvClusterOps vvd_cluster_ops;
void vvd_event_stored(VvDriver *d, uint64_t ticket, int result);
void vvd_work_proposals(VvDriver *d);
void vvd_proposal_free(void *proposal);
uint64_t vvd_proposals_deadline(const VvDriver *d);
void vvd_base_fill(VvDriver *d, VvBase *base); /* as of what is applied */

/* ---- driver_latest.c */
void vvd_work_latest(VvDriver *d);
uint64_t vvd_latest_deadline(const VvDriver *d);
void vvd_latest_is(void *user, uint64_t nonce, uint64_t number, uint64_t index);

/* ---- driver_link.c */
void vvd_link_init(VvDriver *d);
bool vvd_begin(VvDriver *d, const VvBase *base, GError **error); /* @base NULL: joining */
void vvd_end(VvDriver *d);

/* ---- driver_members.c */
void vvd_heard(VvDriver *d, uint64_t node);
bool vvd_work_witness(VvDriver *d); /* true: leadership is being handed over */
void vvd_work_members(VvDriver *d);
void vvd_transfer(VvDriver *d, uint64_t node);
void vvd_receive_lead(VvDriver *d, uint64_t from, const uint8_t *body, size_t body_bytes);
void vvd_vouch(VvDriver *d, uint64_t node);
void vvd_work_vouched(VvDriver *d);
void vvd_tell_nodes(VvDriver *d);
uint64_t vvd_led_ns(VvDriver *d);

/* ---- driver_sync.c */
bool vvd_sync_source(void *user, VvSyncSource *ret_source);
int vvd_sync_read(void *user, const VvSyncSource *source, uint64_t offset, GByteArray *out, size_t most);
int vvd_sync_begin(void *user, uint64_t index, uint64_t size_bytes);
int vvd_sync_write(void *user, uint64_t offset, const uint8_t *data, size_t data_bytes);
int vvd_sync_install(
    void *user, uint64_t index, uint64_t term, uint64_t conf_index, const uint8_t *conf, size_t conf_bytes);
bool vvd_sync_gives(VvDriver *d); /* somebody takes a state: it is not replaced by a newer one */
void vvd_sync_end(VvDriver *d);

#endif
