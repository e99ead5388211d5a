/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The insides of VvShipper, for shipper*.c alone. Everything is guarded by its lock, which is taken before a view's and a peer's. */
#ifndef VV_SHIPPER_PRIVATE_H
#define VV_SHIPPER_PRIVATE_H

#include "shipper.h"

#include "base.h"
#include "object.h"
#include "peer.h"

#include <pthread.h>

typedef struct VvsRequest VvsRequest;
typedef struct VvsObject VvsObject;
typedef struct { VvsRequest *first, *last; } VvsList;

typedef enum { VVS_QUEUED, VVS_SENT, VVS_LATE, VVS_OVER } VvsState;

/* A handle that is open here. */
typedef struct {
    uint64_t number;
    VvsObject *object;
    uint64_t pid;
    bool write;
    bool opening;     /* not answered yet for the first time: nobody has it */
    bool refused;     /* when it was told again */
    VvsRequest *tell; /* under way; borrowed */
} VvsHandle;

/* What has handles or requests. */
struct VvsObject {
    VvShipper *shipper;
    uint64_t id;
    unsigned references;      /* handles and requests */
    VvsObject *previous, *next; /* among those with a queue */
    bool active;              /* it is in there */
    VvsList queue;            /* by number; what tells a handle is before all others */
    VvsList sent;
    unsigned sent_count;
    unsigned telling;         /* handles that are being told again (Q2) ... */
    unsigned late_tells;      /* ... and of them those that are late */
    GQueue handles;           /* VvsHandle */
    unsigned refused_handles;
    uint64_t acknowledged, flushed; /* Q5: writes, and how many of them a flush covers */
    bool lost;                /* its next flush tells it */
};

struct VvsRequest {
    VvsRequest *previous, *next; /* in its object's queue or sent, or in the shipper's late */
    VvShipper *shipper;
    VvsObject *object;        /* NULL: it is over */
    VvsState state;
    uint64_t number;          /* ascends; 0: it tells a handle */
    VvObjectAsk ask;
    VvView *view;             /* learns; NULL: none. The submitter's handle keeps it */
    VvIo *io;                 /* NULL: somebody waits for it (@waiter), or nobody does */
    VvWorker *worker;         /* of @io, held */
    VvTask task;
    VvsHandle *handle;        /* that it opens, or tells; NULL: none, or closed meanwhile */
    bool waiter;
    bool posted;              /* its task is with the worker */
    bool waits, told;         /* without the server; what io->waits was told: the worker's */
    bool tells;
    bool fails;               /* FLUSH: Q5 */
    bool replied, data_gone;  /* sent: both, then it comes back */
    bool interrupted;         /* sent: if its connection ends, it is not sent again */
    int wire;                 /* of the reply: 0, -ETIMEDOUT, -ECONNRESET */
    int64_t result;
    unsigned tries;
    VvObjectAnswer answer;
    uint64_t covers;          /* FLUSH: acknowledged when it began */
    uint64_t applied;         /* OPEN: what this node's map holds */
    uint64_t started_ns;
    uint64_t begun_ms, since_ms, waited_ms, timeout_ms; /* Q4: it waits since; 0: it does not */
    uint64_t due_ms;          /* late */
};

struct VvShipper {
    VvShipperOptions options;
    VvElsewhere elsewhere;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;   /* for the thread */
    pthread_cond_t ended;     /* for waiters */
    bool stopping, aborted;
    VvPeer *peer;             /* reference; NULL: no connection, or one that is known to have gone */
    bool full;                /* it takes nothing before writable() */
    GHashTable *objects, *handles;
    VvsObject *active_first, *active_last;
    VvsList late;
    unsigned sent_count;      /* on the wire */
    unsigned waiting_count;   /* requests with since_ms: the thread looks at them */
    uint64_t next_look_ms;    /* when it does; UINT64_MAX: when kicked */
    uint64_t origin;          /* of numbers that no successor of this process asks again */
    uint64_t last_number, last_handle;
    uint64_t incarnation;     /* of the newest answer; 0: none yet */
    GArray *lost;             /* ids, for the thread to tell */
    uint64_t shipped;
};

/* ---- shipper.c */
void vvs_object_unref(VvsObject *object);
/* @view may be NULL. Not queued yet, without a timeout. */
VvsRequest *vvs_request_new(VvsObject *object, VvView *view, const VvObjectAsk *ask);
/* The end of it: told to who waits. It is in no list. */
void vvs_finish(VvsRequest *request, int64_t result);
/* All that waits ends with -EIO, but for what tells a handle. */
void vvs_end_waiting(VvShipper *shipper);
/* Out of whatever list it waits in: it is not sent. */
void vvs_take_out(VvsRequest *request);

/* ---- shipper_queue.c */
void vvs_list_remove(VvsList *list, VvsRequest *request);
void vvs_enqueue(VvsRequest *request);
/* Counting begins, goes on or ends for all that is queued on it (Q4). @since_ms: at the earliest. */
void vvs_look_at_waits(VvsObject *object, uint64_t since_ms);
void vvs_make_late(VvsRequest *request);
/* What has waited too long, and what is late no more. Returns when to look again, UINT64_MAX: when kicked. */
uint64_t vvs_look_at_time(VvShipper *shipper, uint64_t now_ms);
/* All that is queued on it ends so. */
void vvs_fail_queue(VvsObject *object, int result);

/* ---- shipper_wire.c */
void vvs_pump(VvShipper *shipper);
/* Tell the server of the handle again, before anything else. */
void vvs_tell(VvsHandle *handle);

/* ---- shipper_answer.c */
/* It was sent and is back, with request->wire and ->answer. Takes it out of `sent`. */
void vvs_take_answer(VvsRequest *request);

#endif
