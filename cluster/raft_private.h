/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Between raft*.c. Memory: libraft 0.22.1 takes over configurations that it is given, and leaves update.entries.batch in our hands as the
 * array that we passed; what came after it copies both (VV_RAFT_COPIES). */
#ifndef VV_RAFT_PRIVATE_H
#define VV_RAFT_PRIVATE_H

#include "raft_step.h"

#define VV_RAFT_COPIES (RAFT_VERSION_NUMBER > 2201)
#define VV_RAFT_MEMBERS_MAX 64u /* = VV_NODES_MAX, checked in raft.c */

typedef struct {
    uint64_t ticket;
    uint64_t last; /* index that this write makes durable; lower if it was replaced from there on */
} VvRaftWrite;

/* A configuration that has been applied. */
typedef struct {
    uint64_t index;
    GBytes *bytes;
} VvRaftConf;

/* A state that is being taken. */
typedef struct {
    bool active;
    bool complete;
    bool installing;
    uint64_t from;
    uint64_t offer_term;
    uint64_t index, index_term;
    VvSyncSource source;
    uint64_t offset;
    uint64_t conf_index;
    GBytes *conf;
} VvRaftFetch;

struct VvRaft {
    struct raft raft;
    VvRaftConfig config;
    VvRaftOps ops;
    void *user;
    bool started;
    bool busy; /* in an operation or a step: no call from outside */
    int error;
    uint64_t now_ms;

    GArray *writes; /* VvRaftWrite that are not durable yet */
    uint64_t next_ticket;
    uint64_t commit;  /* the highest that libraft ever said: its own may go back (raft_filter.c, 6) */
    uint64_t applied;
    GArray *confs; /* VvRaftConf, oldest first; one at least is at or before the base */
    uint64_t base_index, base_term;

    struct {
        uint64_t id, commit;
    } told_commits[VV_RAFT_MEMBERS_MAX]; /* who, at the same place in the configuration, has been told of which commit */
    unsigned char append_version;  /* of libraft's struct, as it sends it */
    uint64_t noop_term, noop_index; /* the entry of our term as leader */
    uint64_t promoting;
    VvRaftFetch fetch;

    struct {
        uint64_t term, leader;
        int state;
        bool ready;
    } told; /* what `changed` was last called for */
};

/* raft.c */
int vvr_step(VvRaft *raft, struct raft_event *event);
void vvr_step_or_fail(VvRaft *raft, struct raft_event *event);
/* Around every call from outside: false if there is nothing to do any more. leave() carries out what follows. */
bool vvr_enter(VvRaft *raft, uint64_t now_ms);
void vvr_leave(VvRaft *raft);
int vvr_submit(VvRaft *raft, VvRaftEntryType type, const uint8_t *data, size_t data_bytes);
void vvr_remember_conf(VvRaft *raft, uint64_t index, const uint8_t *data, size_t length);
/* raft_member.c: the node that catches up has; true if something was submitted. */
bool vvr_finish_promotion(VvRaft *raft);
/* raft.c */
void vvr_fail(VvRaft *raft, int error);
GBytes *vvr_conf_at(const VvRaft *raft, uint64_t index, uint64_t *ret_index);

/* raft_codec.c. Only messages; entries are read from the log while an append is encoded. */
void vvr_send(VvRaft *raft, const struct raft_message *message);
/* An append's entries are in one raft_malloc'ed batch and a g_malloc'ed array; false: nothing to free. */
bool vvr_decode(uint16_t kind, const uint8_t *body, size_t body_bytes, struct raft_message *ret_message);
#define VVR_ADDRESS_BYTES 24
int vvr_address(uint64_t id, char *address); /* its length */
bool vvr_conf_valid(const uint8_t *data, size_t data_bytes);
int vvr_conf_decode(GBytes *bytes, struct raft_configuration *ret_conf);

/* raft_filter.c */
typedef enum { VVR_PASS, VVR_DROP, VVR_ANSWER_TERM } VvRaftVerdict;
VvRaftVerdict vvr_filter(VvRaft *raft, uint64_t from, const struct raft_message *message);
/* How many entries of @append may be handed to libraft at once, from @first on. */
unsigned vvr_piece(const struct raft_append_entries *append, unsigned first);

/* Leave out what our base holds. */
void vvr_cut_base(const VvRaft *raft, struct raft_append_entries *append);

/* raft_sync.c */
void vvr_sync_offer(VvRaft *raft, const struct raft_message *message);
bool vvr_sync_receive(VvRaft *raft, uint64_t from, uint16_t kind, const uint8_t *body, size_t body_bytes);

#endif
