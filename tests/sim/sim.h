/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A cluster on a virtual clock: real library, simulated network, disks, crashes and clocks.
 *
 * Everything that happens is an event in one queue, ordered by time and then by when it was put there; every choice comes from one generator
 * that the seed starts: a seed is a run. What is done *to* the cluster (requests, faults) is a script of steps made from the seed
 * beforehand, so that a failing one can be shortened by leaving steps out (script.h).
 *
 * Each node has a clock of its own: offset and rate. A node that crashes keeps what its disk had synced, and some of what was on its way
 * in the order it was written; a node that stops keeps all and does nothing until it goes on. */
#ifndef VV_SIM_H
#define VV_SIM_H

#include "raft.h"
#include "state.h"

#define SIM_NODES_MAX 8u
#define SIM_CONF_BYTES_MAX 512u

typedef struct Sim Sim;
typedef struct SimNode SimNode;
typedef void (*SimFunc)(Sim *sim, SimNode *node, uint64_t argument);

typedef struct {
    uint64_t index, term;
    VvRaftEntryType type;
    GBytes *data;
} SimEntry;

/* The layer above Raft on a node. NULL: not wanted. */
typedef struct {
    void (*born)(SimNode *node); /* the process starts; node->raft is not started yet */
    void (*died)(SimNode *node); /* crash: drop what was in memory */
    bool (*apply)(SimNode *node, const VvRaftEntry *entry);
    void (*changed)(SimNode *node);
    void (*message)(SimNode *node, uint64_t from, uint16_t kind, const uint8_t *body, size_t body_bytes);
    void (*tick)(SimNode *node);
    uint64_t (*deadline)(SimNode *node); /* local ms; UINT64_MAX: none */
    void (*save)(SimNode *node, GByteArray *out);
    bool (*may_load)(SimNode *node, const uint8_t *data, size_t data_bytes); /* of a state sync: now? */
    void (*load)(SimNode *node, const uint8_t *data, size_t data_bytes); /* NULL, 0: the empty state */
    void (*after)(SimNode *node);                                       /* at the end of every event of this node */
    void (*committed)(Sim *sim, const SimEntry *entry);                 /* in order, once */
    void (*check)(Sim *sim);                                            /* after every event */
} SimApp;

typedef struct {
    uint64_t ticket;
    GPtrArray *entries; /* SimEntry */
} SimWrite;

/* What survives a crash, and what is on its way to it. */
typedef struct {
    uint64_t term, vote;
    uint64_t first;   /* index of the first entry of both logs */
    GPtrArray *log;    /* SimEntry, as the process sees it */
    GPtrArray *synced; /* SimEntry, as it would be found after a crash now */
    GPtrArray *writes; /* SimWrite */
    uint64_t base_index, base_term, conf_index;
    GByteArray *conf;  /* as of the base */
    GByteArray *state; /* as of the base */
    uint64_t sync_us;  /* how long a sync takes */
    GByteArray *taken; /* of a state sync: lost in a crash */
    uint64_t taken_index;
    uint64_t last_us; /* when the newest write or switch will be durable: they end in order */
} SimDisk;

struct SimNode {
    Sim *sim;
    uint64_t id; /* 1.. */
    bool up;
    bool stopped;     /* SIGSTOP */
    uint64_t stalled_until_us; /* a vote is being written: what comes waits, what goes out goes then */
    uint64_t life;    /* counts starts: events of earlier ones are void */
    uint64_t timer;   /* counts timers: only the newest counts */
    int64_t offset_ms;
    uint64_t rate_ppm; /* of its clock */
    VvRaft *raft;
    SimDisk disk;
    uint64_t applied_index, applied_term;
    uint64_t conf_index; /* of the configuration applied last, and its bytes */
    GByteArray *conf;
    uint64_t committed;      /* checked up to here */
    uint64_t checked_leader; /* term */
    GPtrArray *held;         /* events that wait until it goes on */
    void *app;
    bool in_event;
};

typedef struct {
    unsigned nodes;
    unsigned loss_permille, twice_permille;
    uint64_t delay_us_min, delay_us_max; /* of a message */
    uint64_t sync_us_max;
    unsigned drift_permille; /* clocks differ by at most this */
    unsigned election_ms, heartbeat_ms;
    unsigned inflight_max;
    bool prompt;
    unsigned trailing;
    size_t chunk_bytes;
    bool votes_stall; /* a vote takes two syncs, and the node does nothing else meanwhile */
} SimConfig;

struct Sim {
    SimConfig config;
    uint64_t random;
    uint64_t now_us;
    uint64_t order;
    GPtrArray *queue; /* heap of SimEvent */
    SimNode *nodes[SIM_NODES_MAX + 1];
    bool blocked[SIM_NODES_MAX + 1][SIM_NODES_MAX + 1]; /* from, to */
    const SimApp *app;
    void *user;
    bool (*filter)(Sim *sim, uint64_t from, uint64_t to, uint16_t kind, const uint8_t *body, size_t body_bytes); /* false: lost */
    GHashTable *leaders;   /* term -> node */
    GHashTable *entries;   /* (index, term) -> hash of content and of what precedes it */
    GArray *committed;     /* {u64 term, hash, term of who first knew it} by index - 1 */
    uint64_t committed_last; /* handed to app->committed up to here */
    GHashTable *digests;   /* index -> digest of the state */
    uint64_t events;       /* so far */
    char *violation;       /* the first */
    bool verbose;
};

/* ---- sim.c */
Sim *sim_new(uint64_t seed, const SimConfig *config, const SimApp *app, void *user);
void sim_free(Sim *sim);
uint64_t sim_random(Sim *sim, uint64_t below); /* 0 if @below is 0 */
uint64_t sim_local_ms(const SimNode *node);
void sim_at(Sim *sim, uint64_t delay_us, SimNode *node, SimFunc func, uint64_t argument); /* void if the node crashes before */
void sim_anyhow(Sim *sim, uint64_t delay_us, SimFunc func, uint64_t argument);           /* whatever becomes of any node */
void sim_send(SimNode *from, uint64_t to, uint16_t kind, const uint8_t *body, size_t body_bytes);
/* One event. False: none is left, or a rule was broken. */
bool sim_step(Sim *sim);
void sim_run(Sim *sim, uint64_t duration_us);
/* Until @done or @limit_us later; what @done said. */
bool sim_run_until(Sim *sim, uint64_t limit_us, bool (*done)(Sim *sim, uint64_t argument), uint64_t argument);
void sim_fail(Sim *sim, const char *format, ...) G_GNUC_PRINTF(2, 3);
void sim_trace(Sim *sim, const char *format, ...) G_GNUC_PRINTF(2, 3);
SimNode *sim_leader(Sim *sim); /* of the highest term; NULL: none */
void sim_wake(SimNode *node);  /* run what its timers, raft and app want now */

/* ---- node.c */
void sim_node_create(Sim *sim, uint64_t id);
/* The first nodes of a cluster: their log begins with a configuration of these voters. */
void sim_bootstrap(Sim *sim, unsigned voters);
void sim_start(SimNode *node);
void sim_crash(SimNode *node);
void sim_stop(SimNode *node, bool stop);
void sim_checkpoint(SimNode *node); /* the state so far becomes the base, the log before it goes */
void sim_node_free(SimNode *node);
void sim_block(Sim *sim, uint64_t from, uint64_t to, bool blocked);
void sim_isolate(Sim *sim, uint64_t node, bool isolated);
void sim_heal(Sim *sim); /* links, loss, stops, crashes: all well again */

/* ---- disk.c */
extern const VvRaftOps sim_raft_ops;
void sim_disk_init(SimDisk *disk);
void sim_disk_clear(SimDisk *disk);
void sim_disk_crash(SimNode *node);
const SimEntry *sim_disk_entry(const SimNode *node, uint64_t index);
uint64_t sim_disk_last(const SimNode *node);
void sim_disk_bootstrap(SimNode *node, const uint8_t *conf, size_t conf_bytes);

/* ---- check.c */
void sim_check_append(SimNode *node, const SimEntry *entry, const SimEntry *before);
/* What is committed by now: before anything is applied. */
void sim_check_commit(Sim *sim, SimNode *node);
void sim_check(Sim *sim, SimNode *node);
void sim_check_digest(SimNode *node, uint64_t index, uint64_t digest);

#endif
