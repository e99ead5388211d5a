/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One call of the administration protocol (docs/admin-protocol.md) and the methods that answer it.
 *
 * How a call travels: server.c reads a line -> rpc.c checks it against the method's row (loop's thread) -> a crew runs the
 * handler, which fills call->result or the error -> rpc.c answers and lets go (loop's thread).
 *
 * Results of changes are recipes: members whose names begin with '@' are replaced, after the handler, by what they name as it is then (result.c). A recipe is
 * known before the change, so it can go into the same journal entry when the call has a request id, and a repeat expands it again. */
#ifndef VV_RPC_H
#define VV_RPC_H

#include "daemon.h"
#include "error.h"
#include "json.h"
#include "pool.h"

#include <glib.h>
#include <stdatomic.h>
#include <stdbool.h>

#define VV_PROTOCOL_VERSION 1
#define VV_LIST_BYTES_MAX (1u << 20) /* of one piece of a list */
#define VV_CALLS_PER_CLIENT_MAX 64u  /* unanswered; then nothing more is read */
#define VV_REQUEST_ID_BYTES_MAX 128u

typedef struct VvCall VvCall;
/* On a crew's thread; may block as the method's flags say. */
typedef bool (*VvHandler)(VvCall *call, GError **error);

enum {
    VV_METHOD_CHANGES = 1 << 0, /* needs permission; takes request_id */
    VV_METHOD_DRY_RUN = 1 << 1,
    VV_METHOD_YES = 1 << 2,
    VV_METHOD_LIST = 1 << 3,  /* takes cursor */
    VV_METHOD_SLOW = 1 << 4,  /* a look that may take long */
    VV_METHOD_EXACT = 1 << 5, /* slow if the param exact is true */
    VV_METHOD_DISKS = 1 << 6, /* is about the disks, or what works on them: relay.h */
    VV_METHOD_HERE = 1 << 7,  /* of CHANGES: nothing that the other nodes have to agree to */
    VV_METHOD_MOUNT = 1 << 8, /* of another node's mount: relay_mount.c */
    VV_METHOD_ANYWHERE = 1 << 9, /* of another node, to any that is a member */
};

typedef struct {
    const char *name;
    VvHandler handler;
    unsigned flags;
    /* Its own params, separated by blanks: NAME:TYPE, an optional one NAME?:TYPE. Types: s text, S list of texts, u integer
     * from 0, U list of such, b true or false, m object of texts. */
    const char *params;
} VvMethod;

struct VvCall {
    VvDaemon *daemon;
    const VvMethod *method;
    uint64_t client;       /* number of the connection */
    JsonNode *id;          /* owned; NULL: a notification, which is never answered */
    JsonObject *params;    /* owned, checked against the method */
    uint64_t deadline_ms;  /* monotonic; do not begin later; 0: none */
    atomic_bool cancelled; /* the connection closed: do not begin */
    JsonObject *result;    /* owned; the handler's */
    GError *error;         /* owned */
    VvRequest request;     /* for the engine, see vv_call_request */
    char *record;          /* owned: what request.result_json points at */
    /* The loop's: run before the answer goes out, if the handler set it and did not fail. */
    void (*finish)(VvCall *call);
    JsonArray *watch; /* jobs to watch; for finish of subscribe */
    bool reserved;    /* holds a reservation for its client */
    struct VvRelayed *relayed; /* owned; who asked, if it was another node: relay.h */
};

/* ---- params, as the method's row promises them */
const char *vv_call_string(VvCall *call, const char *name); /* NULL: not given; borrowed */
bool vv_call_bool(VvCall *call, const char *name);          /* false if not given */
bool vv_call_has(VvCall *call, const char *name);
uint64_t vv_call_u64(VvCall *call, const char *name, uint64_t otherwise);
char **vv_call_strings(VvCall *call, const char *name);     /* never NULL; owned by the caller */
JsonObject *vv_call_object(VvCall *call, const char *name); /* NULL: not given; borrowed */

/* ---- what a handler does (rpc.c, result.c) */
/* The request to hand to the engine, with @recipe as what to record; NULL if the call has no request id. */
VvRequest *vv_call_request(VvCall *call, JsonObject *recipe);
/* The same for who asks another node in a call's stead: the checksum of its params, and what is recorded. Newly allocated. */
char *vv_call_checksum(VvCall *call);
char *vv_request_record(const char *method, const char *checksum, JsonObject *recipe);
static inline bool vv_call_dry(VvCall *call)
{
    return vv_call_bool(call, "dry_run");
}
/* With a request id the result must be known before: then a dry run comes first. */
static inline bool vv_call_records(VvCall *call)
{
    return vv_call_string(call, "request_id") != NULL;
}
/* Ends a handler: the call's result is @recipe (taken). Always true. */
bool vv_call_done(VvCall *call, JsonObject *recipe);
/* A piece of a list. */
typedef struct {
    JsonArray *items;
    size_t bytes;
    char *next; /* owned; set when the piece is full */
} VvPiece;
VvPiece vv_piece_begin(void);
/* Takes @item; false, and takes nothing, if the piece is full: then it ends with @cursor, which must find @item again. */
bool vv_piece_add(VvPiece *piece, JsonObject *item, const char *cursor);
bool vv_piece_end(VvCall *call, VvPiece *piece); /* sets {items, next}; always true */

/* rpc_share.c: may the node for which it is called, this one or who relayed it, read @object? Error: not-found. */
bool vv_call_may_read(VvCall *call, const char *object, GError **error);
/* Members of an object of texts, as what they are to be shared; NULL: usage. Owned. */
typedef struct VvSharing VvSharing;
VvSharing *vv_sharing_read(JsonObject *share, GError **error);
const struct VvShareChanges *vv_sharing_changes(const VvSharing *sharing); /* of NULL: NULL */
void vv_sharing_free(VvSharing *sharing);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VvSharing, vv_sharing_free)
/* rpc_node.c: member "token" of @result, null if nobody may use it any more. */
void vv_result_set_token(VvDaemon *daemon, JsonObject *result, const char *id);
/* Replace the '@' members. */
void vv_result_expand(VvDaemon *daemon, JsonObject *result);

/* Is @id recorded? Then true, and the call's result or error is set. result.c */
bool vv_call_replay(VvCall *call);

void vv_call_free(VvCall *call);

/* ---- rpc.c: the loop's thread */
typedef struct VvClient VvClient;
/* One line of a client. False: the connection must be closed. */
bool vv_rpc_receive(VvDaemon *daemon, VvClient *client, const char *line, size_t length_bytes);
/* A call that no client made. False: no calls are taken any more. */
bool vv_rpc_begin(VvCall *call);
/* An answer to @id (NULL: null). Newly allocated, without LF. */
char *vv_rpc_error_text(JsonNode *id, int code, const GError *error);
char *vv_rpc_result_text(JsonNode *id, JsonObject *result);
char *vv_rpc_notification_text(const char *method, JsonObject *params);
/* The JSON-RPC number of an error of vvfs. */
int vv_rpc_error_code(const GError *error);
/* {code, message, object, hint}; NULL: null member. */
void vv_json_set_error(JsonObject *object, const char *key, const GError *error);

/* ---- methods.c */
const VvMethod *vv_method_lookup(const char *name);
/* Are @params what @method takes? Common params included. Error: usage, the message names the member. */
bool vv_method_check(const VvMethod *method, JsonObject *params, GError **error);

/* ---- handlers, one file per noun */
bool vv_rpc_pool_status(VvCall *call, GError **error);
bool vv_rpc_pool_get(VvCall *call, GError **error);
bool vv_rpc_pool_set(VvCall *call, GError **error);
bool vv_rpc_pool_check(VvCall *call, GError **error);
bool vv_rpc_pool_scrub(VvCall *call, GError **error);
bool vv_rpc_lun_create(VvCall *call, GError **error);
bool vv_rpc_lun_list(VvCall *call, GError **error);
bool vv_rpc_lun_show(VvCall *call, GError **error);
bool vv_rpc_lun_resize(VvCall *call, GError **error);
bool vv_rpc_lun_rename(VvCall *call, GError **error);
bool vv_rpc_lun_remove(VvCall *call, GError **error);
bool vv_rpc_lun_set(VvCall *call, GError **error);
bool vv_rpc_lun_repack(VvCall *call, GError **error);
bool vv_rpc_lun_clone(VvCall *call, GError **error);
bool vv_rpc_lun_attach_check(VvCall *call, GError **error);
bool vv_rpc_snapshot_create(VvCall *call, GError **error);
bool vv_rpc_snapshot_list(VvCall *call, GError **error);
bool vv_rpc_snapshot_show(VvCall *call, GError **error);
bool vv_rpc_snapshot_remove(VvCall *call, GError **error);
bool vv_rpc_snapshot_rename(VvCall *call, GError **error);
bool vv_rpc_snapshot_set(VvCall *call, GError **error);
bool vv_rpc_snapshot_restore(VvCall *call, GError **error);
bool vv_rpc_snapshot_refresh(VvCall *call, GError **error);
bool vv_rpc_snapshot_prune(VvCall *call, GError **error);
bool vv_rpc_snapshot_diff(VvCall *call, GError **error);
bool vv_rpc_share_set(VvCall *call, GError **error);
bool vv_rpc_share_show(VvCall *call, GError **error);
bool vv_rpc_disk_list(VvCall *call, GError **error);
bool vv_rpc_disk_show(VvCall *call, GError **error);
bool vv_rpc_disk_add(VvCall *call, GError **error);
bool vv_rpc_disk_grow(VvCall *call, GError **error);
bool vv_rpc_disk_remove(VvCall *call, GError **error);
bool vv_rpc_lease_list(VvCall *call, GError **error);
bool vv_rpc_job_list(VvCall *call, GError **error);
bool vv_rpc_job_show(VvCall *call, GError **error);
bool vv_rpc_job_pause(VvCall *call, GError **error);
bool vv_rpc_job_resume(VvCall *call, GError **error);
bool vv_rpc_job_cancel(VvCall *call, GError **error);
bool vv_rpc_node_list(VvCall *call, GError **error);
bool vv_rpc_node_show(VvCall *call, GError **error);
bool vv_rpc_node_invite(VvCall *call, GError **error);
bool vv_rpc_node_invites(VvCall *call, GError **error);
bool vv_rpc_node_revoke(VvCall *call, GError **error);
bool vv_rpc_node_set(VvCall *call, GError **error);
bool vv_rpc_node_leave(VvCall *call, GError **error);
bool vv_rpc_node_evict(VvCall *call, GError **error);
bool vv_rpc_node_lead(VvCall *call, GError **error);
bool vv_rpc_stats_get(VvCall *call, GError **error);
bool vv_rpc_events_list(VvCall *call, GError **error);
bool vv_rpc_doctor_list(VvCall *call, GError **error);
bool vv_rpc_version_get(VvCall *call, GError **error);
bool vv_rpc_subscribe(VvCall *call, GError **error);
bool vv_rpc_unsubscribe(VvCall *call, GError **error);

#endif
