/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The insides of VvObjectServer, for object_*.c alone. Everything is guarded by its lock, which is taken before a view's and a peer's, and under
 * which nothing waits and no lock of meta is taken.
 *
 * A request ends in two steps: what ends under the lock goes to server->over; vvo_unlock() answers it when the lock is free. */
#ifndef VV_OBJECT_SERVER_PRIVATE_H
#define VV_OBJECT_SERVER_PRIVATE_H

#include "object_server.h"

#include "crew.h"
#include "object.h"
#include "object_memory.h"
#include "util.h"

#include <pthread.h>

#define VV_SERVE_FIRST_WORKER (VV_WORKERS_MAX + 2u) /* index: behind the pool's and the mount's own */

typedef struct VvoRequest VvoRequest;
typedef struct VvoLine VvoLine;
typedef struct VvoNode VvoNode;
typedef struct { VvoRequest *first, *last; } VvoList; /* by next */

/* Who waits for memory, in his node's queue. */
typedef struct VvoWaiter VvoWaiter;
struct VvoWaiter {
    VvoWaiter *next;
    VvoLine *line; /* a write's data; NULL: */
    VvoRequest *request; /* ... of a read */
    uint32_t bytes;
};

/* What a node has open, or is about to. */
typedef struct {
    VvoNode *node;
    uint64_t id;
    GQueue handles;          /* VvoHandle in the table, those for writing first */
    unsigned users;          /* requests through its handles */
    VvoList operations;      /* waiting for those before them */
    bool operating;          /* one is on the crew, or is a close that waits for users of its handle */
} VvoObject;

typedef struct {
    uint64_t number;
    VvoObject *object;
    VvHandle *handle; /* owned */
    bool write;
    GList link;       /* in object->handles, while it is in the table */
    unsigned users;   /* requests through it */
    VvoRequest *closing; /* waits for them */
    VvoRequest *closer;  /* owned: for a close by the server */
} VvoHandle;

struct VvoRequest {
    VvoRequest *next;           /* in one list */
    VvoRequest *io_next, *io_last; /* server->ios */
    VvoWaiter waiter;
    VvObjectServer *server;
    VvoNode *node;
    VvoLine *line; /* NULL: the server's own close */
    uint64_t id;   /* the peer's */
    VvObjectAsk ask;
    VvoObject *object; /* of whose users it is, or on whose operations it waits */
    bool again;        /* it was done before */
    bool interrupted;  /* by who asked: it does not begin to wait */
    bool counted;      /* under way; else it is refused without having begun */
    VvoHandle *handle; /* through which it goes, one of whose users it is; NULL: none */
    bool in_ios;
    bool on_heap;      /* not of the slab */
    unsigned references; /* its own, and the data's that is lent */
    VvoHandle *closes; /* owned; what a CLOSE took out of the table */
    void *data;        /* memory of the server, or NULL */
    VvIo io;
    VvTask task;
    VvObjectAnswer answer;
};

struct VvoLine {
    VvoLine *next; /* of its node, by age */
    VvoNode *node;
    VvPeer *peer; /* reference */
    unsigned channel;
    uint64_t instance;
    bool up;
    bool guest;   /* of one, as the certificate says */
    bool refused; /* ... whose record does not say so */
    bool begun;
    bool over; /* a newer one has come */
    unsigned references; /* requests that came by it */
    unsigned under_way;  /* of them, those that were begun */
    VvoList waiting;     /* ... those that were not */
    VvoWaiter waiter; /* bytes 0: place() does not wait */
    bool starved;    /* the waiter is in the node's queue */
    void *placed;    /* memory for place() that asks again */
};

struct VvoNode {
    VvObjectServer *server;
    uint64_t id;
    bool gone;
    bool expired; /* away for too long */
    bool starving; /* in server->starving */
    VvoNode *next_starving;
    uint64_t instance, wanted; /* whose handles these are; who came last */
    GHashTable *handles;       /* number -> VvoHandle, owned */
    GHashTable *objects;       /* id -> VvoObject, owned */
    unsigned closes;           /* the server's own, under way */
    VvoLine *lines;            /* owned */
    uint64_t away_since_ms;    /* 0: it has a connection, or is told to be away already */
    size_t memory_bytes;
    VvoWaiter *first_waiter, *last_waiter;
};

typedef enum { VVO_NEW, VVO_OPEN, VVO_ENDING, VVO_ENDED } VvoState;

struct VvObjectServer {
    VvObjectServerOptions options;
    pthread_mutex_t lock;
    pthread_cond_t ended;   /* under_way has become 0 */
    pthread_cond_t away;    /* for the thread */
    VvoState state;
    VvPool *pool;           /* constant while anything is under way */
    GHashTable *nodes;      /* id -> VvoNode, owned; for good */
    GHashTable *lines;      /* VvPeer -> VvoLine, those that are up */
    VvObjectMemory *memory;
    VvoNode *starving;      /* nodes with waiters, in order */
    bool scarce;            /* the first of them that may have more finds no memory: nobody else takes any */
    unsigned under_way;
    VvoList over;           /* to be answered: vvo_unlock */
    VvoRequest *ios;        /* with the engine */
    VvWorker *workers[VV_SERVE_WORKERS_MAX];
    pthread_t threads[VV_SERVE_WORKERS_MAX];
    unsigned worker_count, next_worker;
    VvCrew *crew;
    pthread_t away_thread;
    uint64_t settle_ms;     /* when who had something open before is back, or does not come; 0: that was seen to */
};

/* _locked: the lock is held. */

/* ---- object_request.c */
void vvo_lock(VvObjectServer *server);
/* Answers what is over. */
void vvo_unlock(VvObjectServer *server);
void vvo_list_push(VvoList *list, VvoRequest *request);
VvoRequest *vvo_list_pop(VvoList *list);
/* Of no line yet. May wait for memory of the slab: without the lock. */
VvoRequest *vvo_request_new(VvObjectServer *server, const VvIncoming *in);
/* It was done before, and its answer was lost (engine/done.h): then that is set. */
bool vvo_was_done(VvoRequest *request);
/* Its line is begun. */
void vvo_begin_locked(VvoRequest *request);
/* It ends with @result, and is answered when the lock is free. */
void vvo_over_locked(VvoRequest *request, int result);
/* What all answers tell; @view NULL: but nothing of an object. Without the lock; under way. */
void vvo_tell(VvoRequest *request, VvView *view);
/* Its memory is there: to the engine. */
void vvo_start_locked(VvoRequest *request);

/* ---- object_wait.c: O3 */
/* NULL: the caller is to wait. */
void *vvo_memory_get_locked(VvoNode *node, uint32_t bytes);
/* Feeds who waits. NULL is allowed. */
void vvo_memory_put_locked(VvoNode *node, void *data);
void vvo_wait_locked(VvoNode *node, VvoWaiter *waiter);
void vvo_unwait_locked(VvoNode *node, VvoWaiter *waiter);
/* Reads of @line, or of all lines (NULL), that wait end with -ESHUTDOWN: they were not begun. */
void vvo_end_waits_locked(VvoNode *node, const VvoLine *line);

/* ---- object_lines.c: S1 */
/* What may begin now begins: lines, and closes of handles that are nobody's any more. */
void vvo_advance_locked(VvoNode *node);
VvoNode *vvo_node_get_locked(VvObjectServer *server, uint64_t id);
/* What came and was not begun is refused. */
void vvo_refuse_waiting_locked(VvoNode *node, int result);
void *vvo_away_main(void *server);

/* ---- object_handles.c: S2, S4 */
/* What blocks. */
void vvo_operate_locked(VvoRequest *request);
/* A handle through which a request of @object can go, of which it is a user from now on; NULL: none that may do that. */
VvoHandle *vvo_use_locked(VvoObject *object, bool write);
void vvo_unuse_locked(VvoHandle *handle);
/* The server's own close of @handle, whose requests are refused from now on. */
void vvo_close_locked(VvoHandle *handle);
void vvo_close_all_locked(VvoNode *node);
void vvo_refuse_operations_locked(VvoNode *node);
void vvo_handle_free(VvoHandle *handle);
void vvo_object_free(VvoObject *object);

#endif
