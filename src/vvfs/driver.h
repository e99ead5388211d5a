/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The driver: what makes an open pool one node's part of a cluster. It runs Raft and VvCluster over the pool's own journal, hands
 * entries to the committer, and proposes what the committer asks for.
 *
 *   committer --propose--> driver --> leader --> the log of each node --> driver --entry--> committer --applied--> driver, next entry
 *
 *   alone      vv_driver_new, vv_pool_open with vv_driver_log: nothing runs   --vv_driver_convert-->  cluster
 *   cluster    vv_driver_new, vv_pool_open with vv_driver_log: its attach starts the driver, and it returns when this node may propose
 *   joining    vv_driver_new, vv_driver_take: no pool; a state is taken, then `taken`: free the driver, and go on as a cluster
 *
 * D1 Everything of Raft and VvCluster is on the driver's thread, vv-control. It takes no lock but its own, those of the log and of the
 *    committer's queue, and meta's read lock; it waits for nobody.
 * D2 One entry is with the committer at a time; while a base is held or the map has no room, none is.
 * D3 What is proposed is proposed again until it is decided: MAP by VvMember with its number, CONFIG with its request id.
 * D4 CONFIG names the newest change of the configuration that its node's map held when it was looked up; it is refused if there is a newer.
 * D5 A session of this node that ends, a log that fails, a state that was taken under an open pool: the pool fails, and is to be opened anew.
 * D6 A witness that leads hands over to a voter that was heard of within an election's time and has all that is committed. Until there is one it
 *    coordinates as any leader does: that brings the others up to date, and takes nothing that it does not have.
 *
 * Threads: any, unless it is said otherwise. */
#ifndef VV_DRIVER_H
#define VV_DRIVER_H

#include "cluster_log.h"
#include "raft.h"

#define VV_DRIVER_SESSION_MS 5000u   /* T: what a node may do without the coordinator's answer */
#define VV_DRIVER_DRIFT_PERMILLE 10u /* between two clocks: a hundred times what is allowed to a cheap crystal */
#define VV_DRIVER_ELECTION_MS 1000u  /* of silence before an election: ten heartbeats */
#define VV_DRIVER_HEARTBEAT_MS 100u
#define VV_DRIVER_TRAILING 4096u     /* entries kept for who lags a little */

typedef struct VvDriver VvDriver;

/* A node that the pool's records name. */
typedef struct {
    uint64_t id;
    bool voter;
    bool witness; /* a voter that does not lead while another follows */
    bool gone; /* its id is used up: it is taken out of everything */
} VvDriverMember;

typedef struct {
    uint64_t node;         /* of this node */
    bool witness;          /* it has no session, and hands over when it leads (D6) */
    const char *directory; /* of the pool */
    VvUuid pool;
    unsigned session_ms, election_ms, heartbeat_ms, trailing; /* 0: as above */
    /* The driver's thread: to another node, or to nowhere; must not block, nor call back. */
    void (*send)(void *user, uint64_t node, uint16_t kind, const uint8_t *body, size_t body_bytes);
    /* The opener's thread: the driver runs over @pool, and is about to wait for the others. False: it cannot be. NULL: not wanted. */
    bool (*opened)(void *user, VvPool *pool, GError **error);
    /* The opener's thread, after @opened: it waits no more, whatever became of it. NULL: not wanted. */
    void (*waited)(void *user);
    /* The closer's thread: the pool that was told by @opened goes, also one that could not be opened. NULL: not wanted. */
    void (*closed)(void *user);
    /* The driver's thread, once: a state was taken and is complete. The driver does nothing any more. NULL: not wanted. */
    void (*taken)(void *user);
    /* The driver's thread: the session of @node, and all before it, ended by the entry @index (or by a state up to that). NULL: not wanted. */
    void (*ended)(void *user, uint64_t node, uint64_t session, uint64_t index);
    /* The driver's thread, once: it has failed, and so has the pool if there is one. NULL: not wanted. */
    void (*failed)(void *user, const char *why);
    void *user;
} VvDriverOptions;

/* What a state sync left in the directory is finished, or removed. Errors: io, damaged. */
VvDriver *vv_driver_new(const VvDriverOptions *options, GError **error);
/* No pool is open over it: its thread ends, nothing is sent any more, and messages are dropped. It may be done twice. */
void vv_driver_stop(VvDriver *driver);
/* The pool is closed, and no message comes any more. Stops what runs. */
void vv_driver_free(VvDriver *driver);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VvDriver, vv_driver_free)
/* For VvPoolOptions.cluster. Borrowed from the driver, which outlives the pool. */
const VvClusterLog *vv_driver_log(VvDriver *driver);

/* The open pool of this one node becomes a cluster's, of which this node is the sole voter and @members (rising ids, this node among
 * them) are known; flushes wait meanwhile. False: nothing has happened, unless the pool has failed. */
bool vv_driver_convert(VvDriver *driver, VvPool *pool, const VvDriverMember *members, unsigned count, GError **error);
/* Take the state of the cluster into the directory, which has no map. */
bool vv_driver_take(VvDriver *driver, GError **error);
/* Whom the pool's records name by now, rising ids: whoever leads brings Raft and the cluster's state to that, one after the other.
 * Only who is said to be gone is removed: his session is ended when he was silent for long enough, as nobody talks to him any more. */
void vv_driver_set_members(VvDriver *driver, const VvDriverMember *members, unsigned count);
/* A message that came from another node, as the transport knows it. Copied. */
void vv_driver_receive(VvDriver *driver, uint64_t from, uint16_t kind, const uint8_t *body, size_t body_bytes);
/* Who waits for an answer of the cluster gets an error now, which says @why, and the pool fails. A pool that is being closed does so by itself when
 * nothing of its node was decided for 2 T. */
void vv_driver_give_up(VvDriver *driver, const char *why);
/* Who leads is to hand leadership to this voter. Ask again until it leads: it is refused while the voters change. */
void vv_driver_transfer(VvDriver *driver, uint64_t node);
/* Somebody vouches that @node, which is gone, is off: as soon as its session has ended nothing of that can land any more. */
void vv_driver_vouch(VvDriver *driver, uint64_t node);

/* Until this node's map has all that was committed on any node before the call, at most @ms. False: that is not known. It costs a message to the
 * coordinator and one from there to a majority; not for the driver's thread, nor the committer's. */
bool vv_driver_catch_up(VvDriver *driver, uint64_t ms);

typedef struct {
    uint64_t leader; /* 0: unknown */
    uint64_t term;
    uint64_t commit, applied;
    uint64_t session; /* of this node; 0: none */
    uint64_t last_end; /* index of the last entry that ended a session; it may not be in the map yet */
    uint64_t base;    /* what the store holds, as Raft knows it: entries before may be gone from the log */
    unsigned voters, standbys; /* of Raft's newest configuration */
    bool leads;                /* and is ready */
    bool failed;
    uint64_t led_ns; /* when who leads was heard last, or, if nobody is known to, who led before */
} VvDriverStatus;
void vv_driver_status(VvDriver *driver, VvDriverStatus *ret_status);

/* Of one node, as this one's log tells; some 100 ms old. */
typedef struct {
    uint64_t id;
    uint64_t session;     /* 0: none is live */
    bool member, voter;   /* of Raft's newest configuration */
    bool removed;         /* from the cluster's state: its session has ended for good */
    bool unfenced;        /* what it wrote in a session that ended could still land */
    uint64_t since_ns;    /* of that session, by the wall clock as the two below; 0: before this process knew */
    uint64_t renewed_ns, until_ns; /* heard last, and counted as its own until then; 0: not known here, where another coordinates */
} VvDriverNode;
/* False: the cluster's state does not know it, or there is no cluster. */
bool vv_driver_node(VvDriver *driver, uint64_t id, VvDriverNode *ret_node);

#endif
