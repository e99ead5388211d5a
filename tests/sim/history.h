/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Histories: what happens to the toy cluster (data.h), told step by step, so that one rule of the protocol decides how it ends.
 *
 * The network loses and delays nothing by itself, clocks run alike unless the history says otherwise, writes go in place where they may.
 * Node 1 serves the disk unless it is shared. Each history is played with all rules on, where nothing may go wrong and all must come to
 * rest, and with its rule off, where a violation must be seen. VV_SIM_VERBOSE=1 prints every event. */
#ifndef VV_SIM_HISTORY_H
#define VV_SIM_HISTORY_H

#include "data.h"
#include "rules.h"

#define HISTORY_NO_RULE VV_RULE_COUNT
#define HISTORY_FILTERS 16u

typedef struct {
    uint64_t from, to; /* 0: any */
    unsigned first, last; /* kinds */
    bool keep;
    bool pass; /* beside being kept */
} HistoryFilter;

typedef struct {
    Data data; /* first: it is sim->user */
    Sim *sim;
    HistoryFilter filters[HISTORY_FILTERS];
    unsigned filters_count;
    GPtrArray *kept; /* messages that are on their way until history_let_go */
    bool letting_go;
    const char *stuck; /* what it waited for in vain */
} History;

typedef struct {
    VvRule rule; /* without which it goes wrong; HISTORY_NO_RULE: it once did */
    const char *name;
    bool shared;
    unsigned nodes;
    void (*play)(History *h);
    unsigned drift_permille;
    unsigned seeds; /* played with; what is left to chance is when elections time out. 0: 3 */
    bool unfinished; /* its end is not all well */
    unsigned election_ms; /* 0: 150 */
} Story;

void history_test(const Story *story);

/* ---- time */
void history_wait(History *h, uint64_t ms);
/* Until @done, for some seconds at most; @what: for people. False: in vain, or a rule was broken. */
bool history_until(History *h, const char *what, bool (*done)(Sim *sim, uint64_t argument), uint64_t argument);

/* ---- the network. Kinds as in message.h. */
void history_lose(History *h, uint64_t from, uint64_t to, unsigned first, unsigned last);
void history_keep(History *h, uint64_t from, uint64_t to, unsigned kind);
void history_twice(History *h, uint64_t from, uint64_t to, unsigned kind); /* it arrives, and a copy is kept */
void history_kept(History *h, unsigned count); /* wait until so many are */
void history_pass(History *h);   /* nothing is lost or kept any more; what was kept stays so */
void history_let_go(History *h); /* what was kept arrives */
#define HISTORY_RAFT 0x0100u, 0x01ffu /* all of Raft's */

/* ---- nodes */
void history_lead(History *h, uint64_t node);  /* make it the leader, and wait until all is at rest */
void history_leads(History *h, uint64_t node); /* wait until it is */
void history_hold(History *h, uint64_t node, bool hold); /* its requests are on their way to the disk's server until it is let go */
void history_reuse_ids(History *h);                      /* of snapshots, from the first on */
SimNode *history_node(History *h, uint64_t node);
void history_restart(History *h, uint64_t node); /* crash, start, session */
void history_alive(History *h, uint64_t node);   /* wait until it has a session */
void history_expired(History *h, uint64_t node, uint64_t session); /* wait until the log says so */
/* No renewals of @node and no recalls: its session ends when somebody needs what it holds. The filters stay. */
void history_silence(History *h, uint64_t node, uint64_t leader);
/* The leader @by hears nothing of @node from now on and wants to read all of @lun, so @node's session ends. */
void history_expire(History *h, uint64_t node, uint64_t by, unsigned lun);
uint64_t history_session(History *h, uint64_t node);               /* as the log has it */

/* ---- requests; `begin` does not wait for the end */
void history_begin_write(History *h, uint64_t node, unsigned lun, unsigned block);
void history_begin_read(History *h, uint64_t node, unsigned lun, unsigned block);
void history_begin_read_snapshot(History *h, uint64_t node, unsigned slot, unsigned lun, unsigned block);
void history_begin_flush(History *h, uint64_t node, unsigned lun);
void history_begin_snapshot(History *h, uint64_t node);
void history_begin_remove(History *h, uint64_t node, unsigned slot);
void history_fenced(History *h, uint64_t node, uint64_t of, uint64_t session); /* asked at @node: this session of @of's */
void history_want(History *h, uint64_t node, unsigned lun, uint64_t first, uint64_t end, VvLeaseMode mode);
void history_release(History *h, uint64_t node, unsigned lun, uint64_t first, uint64_t end);
void history_idle(History *h, uint64_t node);    /* no request of it is under way */
void history_applied(History *h, uint64_t node); /* what is committed by now */
void history_write(History *h, uint64_t node, unsigned lun, unsigned block);
void history_read(History *h, uint64_t node, unsigned lun, unsigned block);
void history_read_snapshot(History *h, uint64_t node, unsigned slot, unsigned lun, unsigned block);
void history_flush(History *h, uint64_t node, unsigned lun);
void history_snapshot(History *h, uint64_t node);
void history_remove(History *h, uint64_t node, unsigned slot); /* and wait until it is purged */

#endif
