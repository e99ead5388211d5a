/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "relay.h"

#include "base.h"
#include "driver.h"
#include "far_disks.h"
#include "node.h"
#include "peer.h"
#include "server.h"

#include <errno.h>
#include <string.h>

#define RELAY_MS 600000u  /* without a timeout of its own: a shrink or a removal may wait for space and for closes */
#define END_LOOK_MS 200u  /* while it waits, whether the daemon ends */
#define FOLLOW_MS 1000u   /* for this node's map to have what was done; then it is told all the same */
#define FOLLOW_LOOK_US 500u

/* ---- asking */

typedef struct {
    pthread_mutex_t lock;
    pthread_cond_t ended;
    unsigned refs; /* lock: who waits, and the peer */
    bool done;
    int result;
    char *text; /* owned */
} Question;

static Question *question_new(void)
{
    Question *question = g_new0(Question, 1);
    pthread_condattr_t attributes;

    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_mutex_init(&question->lock, NULL);
    pthread_cond_init(&question->ended, &attributes);
    pthread_condattr_destroy(&attributes);
    question->refs = 2;
    return question;
}

static void question_unref(Question *question)
{
    bool last;

    pthread_mutex_lock(&question->lock);
    last = --question->refs == 0;
    pthread_mutex_unlock(&question->lock);
    if (!last)
        return;
    pthread_mutex_destroy(&question->lock);
    pthread_cond_destroy(&question->ended);
    g_free(question->text);
    g_free(question);
}

/* The peer's loop. */
static void reply_cb(void *user, int result, const VvIncoming *reply)
{
    Question *question = user;

    pthread_mutex_lock(&question->lock);
    question->done = true;
    question->result = result;
    if (reply)
        question->text = g_strndup((const char *) reply->body, reply->body_bytes);
    pthread_cond_signal(&question->ended);
    pthread_mutex_unlock(&question->lock);
    question_unref(question);
}

/* False: the daemon ends. */
static bool wait_for_reply(VvClusterNode *node, Question *question)
{
    VV_LOCKED(&question->lock);

    while (!question->done && !vv_node_is_ending(node)) {
        uint64_t ns = vv_monotonic_ns() + END_LOOK_MS * 1000000u;
        struct timespec until = { .tv_sec = (time_t) (ns / 1000000000u), .tv_nsec = (long) (ns % 1000000000u) };

        pthread_cond_timedwait(&question->ended, &question->lock, &until);
    }
    return question->done;
}

static char *holder_name(VvDaemon *daemon)
{
    g_autoptr(GPtrArray) nodes = vv_meta_nodes(vv_pool_meta(daemon->pool));

    for (unsigned i = 0; i < nodes->len; i++) {
        const VvNodeRecord *record = g_ptr_array_index(nodes, i);

        if (vv_node_has_disks(daemon->cluster, record->id))
            return g_strdup(record->name);
    }
    return g_strdup("?");
}

static char *question_text(const char *method, JsonObject *params)
{
    g_autoptr(JsonObject) object = json_object_new();

    vv_json_set_string(object, "method", method);
    json_object_set_object_member(object, "params", json_object_ref(params));
    return vv_json_object_text(object);
}

static uint64_t timeout_of(JsonObject *params)
{
    JsonNode *node = json_object_get_member(params, "timeout_ms");

    return node && JSON_NODE_HOLDS_VALUE(node) ? (uint64_t) json_node_get_int(node) : RELAY_MS;
}

/* False: why not, as -errno. */
static bool send_to(VvDaemon *daemon, uint64_t node, const char *method, JsonObject *params, Question *question, int *ret_result)
{
    VvMesh *mesh = vv_node_mesh(daemon->cluster);
    g_autoptr(VvPeer) peer = mesh ? vv_mesh_peer(mesh, node, 0) : NULL;
    g_autofree char *text = question_text(method, params);
    VvOutgoing out = { .kind = VV_RELAY_CALL, .body = text, .body_bytes = (uint32_t) strlen(text) };
    uint64_t timeout_ms = timeout_of(params);
    VvPeerRequest request = { .timeout_ms = CLAMP(timeout_ms, 1, RELAY_MS), .done = reply_cb, .user = question };

    *ret_result = peer ? vv_peer_request(peer, &out, &request) : -ENOTCONN;
    if (*ret_result != 0)
        question_unref(question);
    return *ret_result == 0;
}

static bool send_question(VvDaemon *daemon, const char *method, JsonObject *params, Question *question, const char *holder, GError **error)
{
    int rc;

    if (send_to(daemon, VV_FIRST_NODE, method, params, question, &rc))
        return true;
    vv_set_error(error, VV_ERROR_NO_COORDINATOR, holder, "vvfs-admin node list", "node %s, which has the disks of pool %s, %s: nothing was changed",
        holder, daemon->name, rc == -ENOTCONN ? "cannot be reached" : "has too much to do");
    return false;
}

/* What the other node said; its result or @error. */
static bool take_answer(const char *text, const char *holder, JsonObject **ret_result, uint64_t *ret_applied, GError **error)
{
    const char *why = NULL;
    g_autoptr(JsonNode) root = text ? vv_json_parse(text, strlen(text), &why) : NULL;
    JsonObject *object = root && JSON_NODE_HOLDS_OBJECT(root) ? json_node_get_object(root) : NULL;
    JsonNode *result = object ? json_object_get_member(object, "result") : NULL;
    JsonNode *failure = object ? json_object_get_member(object, "error") : NULL;
    JsonNode *applied = object ? json_object_get_member(object, "applied") : NULL;

    if (applied && JSON_NODE_HOLDS_VALUE(applied) && json_node_get_value_type(applied) == G_TYPE_INT64)
        *ret_applied = (uint64_t) MAX(json_node_get_int(applied), 0);
    if (result && JSON_NODE_HOLDS_OBJECT(result)) {
        *ret_result = json_object_ref(json_node_get_object(result));
        return true;
    }
    if (failure && JSON_NODE_HOLDS_OBJECT(failure)) {
        JsonObject *told = json_node_get_object(failure);
        const char *message = vv_json_get_string(told, "message"), *word = vv_json_get_string(told, "code");
        int code = word ? vv_error_code_from_name(word) : -1;

        vv_set_error(error, code < 0 ? VV_ERROR_INTERNAL : (VvErrorCode) code, vv_json_get_string(told, "object"),
            vv_json_get_string(told, "hint"), "%s", message ? message : "no reason was given");
        return false;
    }
    vv_set_error(error, VV_ERROR_INTERNAL, holder, NULL, "node %s gave an answer that is none", holder);
    return false;
}

/* Who asks next, here, sees what was done. */
static void follow(VvClusterNode *node, uint64_t applied)
{
    uint64_t until_ms = vv_monotonic_ms() + FOLLOW_MS;

    while (vv_meta_applied_index(vv_pool_meta(vv_node_daemon(node)->pool)) < applied && vv_monotonic_ms() < until_ms)
        g_usleep(FOLLOW_LOOK_US);
}

bool vv_relay_is_elsewhere(const VvDaemon *daemon)
{
    return daemon->cluster && !vv_node_has_disks(daemon->cluster, vv_node_id(daemon->cluster));
}

bool vv_relay_is_wanted(const VvCall *call)
{
    return (call->method->flags & VV_METHOD_DISKS) && call->method->handler != vv_rpc_disk_add && vv_relay_is_elsewhere(call->daemon);
}

bool vv_relay_may_mend(const VvCall *call)
{
    return vv_relay_is_elsewhere(call->daemon) && g_error_matches(call->error, VV_ERROR, VV_ERROR_NO_COORDINATOR);
}

/* @question has ended, or this node does. */
static VvRelayEnd look_at_answer(Question *question, bool ended, const char *holder, JsonObject **ret_result, uint64_t *ret_applied,
    GError **error)
{
    if (!ended)
        vv_set_error(error, VV_ERROR_TIMEOUT, holder, NULL, "this node is ending while node %s does it: it may be done", holder);
    else if (question->result < 0)
        vv_set_error(error, VV_ERROR_TIMEOUT, holder, NULL, "node %s, which has the disks, %s: it may have been done. Repeat it with the same "
            "`--id`, or look first", holder, question->result == -ETIMEDOUT ? "did not answer in time" : "went away before it answered");
    else
        return take_answer(question->text, holder, ret_result, ret_applied, error) ? VV_RELAY_DONE : VV_RELAY_REFUSED;
    return VV_RELAY_UNHEARD;
}

VvRelayEnd vv_relay_ask(VvDaemon *daemon, const char *method, JsonObject *params, JsonObject **ret_result, GError **error)
{
    VvClusterNode *node = daemon->cluster;
    g_autofree char *holder = holder_name(daemon);
    Question *question = question_new();
    uint64_t applied = 0;
    VvRelayEnd end = VV_RELAY_NOT_SENT;

    if (send_question(daemon, method, params, question, holder, error))
        end = look_at_answer(question, wait_for_reply(node, question), holder, ret_result, &applied, error);
    question_unref(question);
    if (end == VV_RELAY_DONE)
        follow(node, applied);
    return end;
}

JsonObject *vv_relay_look(VvDaemon *daemon, uint64_t node, const char *method, JsonObject *params)
{
    Question *question = question_new();
    JsonObject *result = NULL;
    uint64_t applied;
    int rc;

    if (send_to(daemon, node, method, params, question, &rc) && wait_for_reply(daemon->cluster, question) && question->result >= 0)
        (void) take_answer(question->text, "?", &result, &applied, NULL);
    question_unref(question);
    return result;
}

bool vv_relay_call(VvCall *call, GError **error)
{
    JsonObject *result;

    if (vv_relay_ask(call->daemon, call->method->name, call->params, &result, error) != VV_RELAY_DONE)
        return false;
    return vv_call_done(call, result);
}

/* ---- answering */

struct VvRelayed {
    VvPeer *peer; /* owned */
    uint64_t request;
};

uint64_t vv_relayed_node(const VvRelayed *relayed)
{
    return vv_peer_node(relayed->peer);
}

void vv_relayed_free(VvRelayed *relayed)
{
    if (!relayed)
        return;
    vv_peer_unref(relayed->peer);
    g_free(relayed);
}

uint64_t vv_relayed_by(const VvRelayed *relayed)
{
    return vv_peer_node(relayed->peer);
}

static void reply(VvPeer *peer, uint64_t request, JsonObject *result, const GError *error, uint64_t applied)
{
    g_autoptr(JsonObject) object = json_object_new();
    g_autofree char *text = NULL;
    VvOutgoing out = { .kind = VV_RELAY_CALL };

    if (result)
        json_object_set_object_member(object, "result", json_object_ref(result));
    else
        vv_json_set_error(object, "error", error);
    vv_json_set_u64(object, "applied", applied);
    text = vv_json_object_text(object);
    out.body = text;
    out.body_bytes = (uint32_t) strlen(text);
    (void) vv_peer_reply(peer, request, &out); /* if the peer has gone, who asked knows */
}

void vv_relay_answer(VvCall *call)
{
    reply(call->relayed->peer, call->relayed->request, call->error ? NULL : call->result, call->error,
        vv_meta_applied_index(vv_pool_meta(call->daemon->pool)));
}

static void refuse(VvPeer *peer, uint64_t request, VvErrorCode code, const char *why)
{
    g_autoptr(GError) error = NULL;

    vv_set_error(&error, code, NULL, NULL, "%s", why);
    reply(peer, request, NULL, error, 0);
}

/* What clients may call, and what only nodes may. */
static const VvMethod *lookup(const char *name)
{
    const VvMethod *method = vv_method_lookup(name);

    method = method ? method : vv_relay_mount_method(name);
    method = method ? method : vv_far_disk_method(name);
    return method ? method : vv_lease_method(name);
}

/* NULL: it cannot be one; *error says why. */
static VvCall *make_call(VvDaemon *daemon, const char *body, size_t body_bytes, GError **error)
{
    const char *why = NULL;
    g_autoptr(JsonNode) root = vv_json_parse(body, body_bytes, &why);
    JsonObject *object = root && JSON_NODE_HOLDS_OBJECT(root) ? json_node_get_object(root) : NULL;
    const char *name = object ? vv_json_get_string(object, "method") : NULL;
    const VvMethod *method = name ? lookup(name) : NULL;
    JsonNode *params = object ? json_object_get_member(object, "params") : NULL;
    VvCall *call;

    if (!method || !params || !JSON_NODE_HOLDS_OBJECT(params)) {
        vv_set_error(error, VV_ERROR_UNSUPPORTED, NULL, NULL, "another node asked for what this vvfs does not know: %s", name ? name : "?");
        return NULL;
    }
    if (!vv_method_check(method, json_node_get_object(params), error))
        return NULL;
    call = g_new0(VvCall, 1);
    call->daemon = daemon;
    call->method = method;
    call->params = json_object_ref(json_node_get_object(params));
    return call;
}

/* The daemon's loop. */
static void begin_call(void *data)
{
    VvCall *call = data;

    if (call->daemon->ending || !vv_rpc_begin(call)) {
        refuse(call->relayed->peer, call->relayed->request, VV_ERROR_NO_COORDINATOR,
            "the node that has the disks is ending: nothing was changed");
        vv_call_free(call);
    }
}

void vv_relay_take(VvDaemon *daemon, VvPeer *peer, uint64_t request, const uint8_t *body, size_t body_bytes)
{
    g_autoptr(GError) error = NULL;
    VvCall *call;

    call = make_call(daemon, (const char *) body, body_bytes, &error);
    if (!call) {
        reply(peer, request, NULL, error, 0);
        return;
    }
    if (vv_relay_is_elsewhere(daemon) && !(call->method->flags & VV_METHOD_ANYWHERE)) { /* Y2 */
        refuse(peer, request, VV_ERROR_DENIED, "this is not for this node to answer");
        vv_call_free(call);
        return;
    }
    if (vv_peer_identity(peer)->guest && call->method->handler != vv_rpc_node_leave) { /* Y1 */
        refuse(peer, request, VV_ERROR_DENIED, "this is not for a guest to ask");
        vv_call_free(call);
        return;
    }
    call->relayed = g_new(VvRelayed, 1);
    *call->relayed = (VvRelayed){ vv_peer_ref(peer), request };
    vv_control_post(daemon->loop, begin_call, call);
}
