/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Talking with a pool: which one, the daemon's socket, its program without a daemon, jobs. docs/admin-protocol.md. */
#ifndef VV_ADMIN_CALL_H
#define VV_ADMIN_CALL_H

#include "command.h"

#define VV_PROTOCOL_VERSION 1
#define VV_POOLS_DIRECTORY "/var/lib/vvfs"
#define VV_LOOK_TIMEOUT_MS 10000u    /* CLI.md promises 2 s; past this the daemon hangs */
#define VV_CHANGE_TIMEOUT_MS 300000u /* longest wait of a LUN's request, five times over */

/* ---- place.c: pools and mounts of this node */
struct VvPlace {
    char *directory; /* absolute */
    char *name;
    char *uuid;       /* NULL: the identity file cannot be read */
    char *mountpoint; /* NULL: not mounted */
};
void vv_place_free(VvPlace *place);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VvPlace, vv_place_free)

/* One line of /proc/self/mountinfo. */
typedef struct {
    uint64_t device; /* makedev(major, minor) */
    char *mountpoint;
    char *type;
    char *source;
} VvMount;
/* Our own (@path NULL), or those in another process's mountinfo. Elements VvMount *, owned; those that are mounted over are there too.
 * Empty if it cannot be read. */
GPtrArray *vv_mounts_read(const char *path);

/* The pool in @directory, going by its identity file. NULL if it is none. */
VvPlace *vv_place_read(const char *directory);
/* A witness of the pool has no mount. By what the node keeps beside its map: only for messages. */
bool vv_place_is_witness(const VvPlace *place);
/* "vvfs tank MOUNTPOINT", "vvfs --witness tank": what serves it, newly allocated. */
char *vv_place_mount_command(const VvPlace *place);
/* The pools mounted here, and with @all those below VV_POOLS_DIRECTORY too. Elements VvPlace *. */
GPtrArray *vv_places_list(bool all);
/* CLI.md section 2. @chosen may be NULL. Errors: not-found, conflict (several), no-daemon (none). */
VvPlace *vv_place_choose(const char *chosen, GError **error);
/* Chooses @inv->place unless done. */
bool vv_place_need(VvInvocation *inv, GError **error);

/* ---- client.c: the socket */
/* @inv (borrowed, or NULL) for the bar; @timeout_ms for the connection and the greeting. Errors: no-daemon, denied, unsupported (another protocol), limit. */
VvClient *vv_client_open(const VvPlace *place, const VvInvocation *inv, uint64_t timeout_ms, GError **error);
void vv_client_free(VvClient *client);
/* One request. Takes @params (NULL: {}). @ret_result owned, may be NULL. The deadline is monotonic, 0: none.
 * @changes: a connection that breaks off may mean "done", so it is timeout, else no-daemon.
 * Errors: those of the daemon; timeout. */
bool vv_client_call(VvClient *client, const char *method, JsonObject *params, bool changes, uint64_t deadline_ms,
    JsonNode **ret_result, GError **error);
/* The next notification; its params are owned. Errors: timeout, no-daemon. */
bool vv_client_next(VvClient *client, uint64_t deadline_ms, char **ret_method, JsonObject **ret_params, GError **error);
/* Set by SIGINT while a call waits; the functions above then fail with VV_ERROR_INTERNAL "interrupted". */
extern volatile int vv_interrupted;

/* An error object of JSON-RPC to a GError; always sets it. */
void vv_set_error_rpc(GError **error, JsonObject *rpc_error);
/* The bar of a `progress` notification. */
void vv_draw_progress(const VvInvocation *inv, JsonObject *message);
/* The result of a response, owned, or NULL and its error. */
JsonNode *vv_response_result(JsonObject *response, GError **error);

/* ---- call.c: with the common params of the command line */
/* Takes @params. Result: owned, an object. */
JsonObject *vv_call(VvInvocation *inv, const char *method, JsonObject *params, GError **error);
/* The same for a dry run, whatever the command line says. */
JsonObject *vv_call_dry(VvInvocation *inv, const char *method, JsonObject *params, GError **error);
/* All pieces of a list, or NULL. Takes @params. */
JsonArray *vv_call_list(VvInvocation *inv, const char *method, JsonObject *params, GError **error);
/* Opens @inv->client unless done. */
bool vv_connect(VvInvocation *inv, GError **error);
/* The monotonic deadline of this command, 0: none. */
uint64_t vv_deadline_ms(const VvInvocation *inv);
/* A copy of @inv->params, owned. */
JsonObject *vv_params(const VvInvocation *inv);
/* What a command without a run function does. */
bool vv_run_generic(VvInvocation *inv, GError **error);

/* ---- offline.c: the daemon's program. Takes @params. Result: owned. */
JsonObject *vv_offline(VvInvocation *inv, const char *method, JsonObject *params, GError **error);

/* ---- wait.c */
/* From here on Ctrl-C sets vv_interrupted; and dying of it after all, so that the shell knows. */
void vv_interrupt_catch(void);
void vv_interrupt_die(void);
/* Waits for jobs (@jobs NULL or empty: all that run). @ret_failed: one ended otherwise than done; @ret_jobs: as
 * job.show, owned, may be NULL. */
bool vv_jobs_wait(VvInvocation *inv, JsonArray *jobs, bool *ret_failed, JsonArray **ret_jobs, GError **error);
/* What a command does with the job its result names: waits, or prints the number with --background. Fails with the
 * error of the job. */
bool vv_job_follow(VvInvocation *inv, JsonObject *result, GError **error);
/* A bar on stderr if it is a terminal and not --quiet. @total 0: only @what. */
void vv_bar_draw(
    const VvInvocation *inv, const char *what, uint64_t done, uint64_t total, double rate, double seconds_left);
void vv_bar_clear(void);

#endif
