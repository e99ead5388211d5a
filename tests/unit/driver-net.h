/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Several engines in one process, each with its driver, over a network in memory that takes its time. */
#ifndef VV_DRIVER_NET_H
#define VV_DRIVER_NET_H

#include "driver.h"
#include "engine-pool.h"

#define NET_NODES_MAX 3u

typedef struct Net Net;

typedef struct {
    Net *net;
    uint64_t id;
    char *directory; /* owned */
    VvDriver *driver; /* net->lock, for who delivers */
    VvPool *pool;
    bool taken;
    bool witness; /* before it joins */
    bool cut; /* net->lock: nothing comes or goes */
} Node;

struct Net {
    char *folder;
    VvUuid uuid;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    GQueue *letters; /* by the time when they arrive */
    uint64_t seed;
    unsigned trailing;
    int pending_fd; /* of node 1; -1: none */
    bool begun, stopping;
    Node nodes[NET_NODES_MAX + 1]; /* by id */
};

Net *net_new(void);
void net_begin(Net *net); /* its thread: not before a fork */
/* Everything in its folder goes; pools that are open are closed, the highest id first. */
void net_free(Net *net);
/* A pool of one node in node 1's directory; not opened. */
void net_create(Net *net);
/* The driver, and the pool if there is a map; as the daemon does it. */
void net_start(Node *node);
/* The same of a node without a map: takes the state, then opens. */
void net_join(Node *node);
bool net_was_taken(Node *node); /* a state: the driver is over */
void net_stop(Node *node);
void net_cut(Node *node, bool cut);
void net_convert(Node *node, unsigned count, GError **error);
void net_members(Net *net, unsigned count);
VvDriverStatus net_status(Node *node);
uint64_t net_leader(Net *net); /* 0: none is ready */
void net_lead(Net *net, uint64_t id); /* it leads */
/* Waits, with a deadline, until all open nodes have applied the same, and that is all there is. */
void net_settle(Net *net);
/* All nodes that are open hold the same map to the byte, and it is in order. */
void net_compare(Net *net);
bool net_create_lun(Node *node, const char *name, GError **error);
unsigned net_count_luns(Node *node);
#define NET_WAIT_SECONDS 30u
#define net_wait_for(condition)                                                   \
    G_STMT_START                                                                  \
    {                                                                             \
        uint64_t net_until = vv_monotonic_ms() + NET_WAIT_SECONDS * 1000;         \
        while (!(condition)) {                                                    \
            if (vv_monotonic_ms() > net_until)                                    \
                g_error("%s:%d: waited in vain for %s", __FILE__, __LINE__, #condition); \
            g_usleep(2000);                                                       \
        }                                                                         \
    }                                                                             \
    G_STMT_END

#endif
