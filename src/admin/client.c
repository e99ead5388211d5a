/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The client's side of docs/admin-protocol.md: one socket, one document per line. One request is under way at a time;
 * notifications that arrive meanwhile are queued, except `progress`, which draws the bar. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include "limits.h"
#include "nouns.h"
#include "util.h"

#define READ_BYTES 65536
#define TAKEN_OVER_MS 1500u /* a takeover is to take less than a second */
#define TAKEN_OVER_LOOK_US 20000u

struct VvClient {
    int fd;
    int64_t next_id;
    GString *input;          /* bytes that are not a whole line yet */
    GQueue notifications;    /* JsonObject *, owned */
    const VvInvocation *inv; /* for the bar; borrowed, may be NULL */
    char *pool;              /* name, for messages */
    char *directory;
};

volatile int vv_interrupted;

void vv_client_free(VvClient *client)
{
    vv_close_fd(&client->fd);
    g_string_free(client->input, TRUE);
    g_queue_clear_full(&client->notifications, (GDestroyNotify) json_object_unref);
    g_free(client->pool);
    g_free(client->directory);
    g_free(client);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VvClient, vv_client_free)

static void set_error_gone(const VvClient *client, bool changes, GError **error)
{
    if (changes)
        vv_set_error(error, VV_ERROR_TIMEOUT, client->pool, "Repeat it with the same `--id`, or look first.",
            "the daemon of pool %s ended before it answered: it may have been done", client->pool);
    else
        vv_set_error(error, VV_ERROR_NO_DAEMON, client->pool, NULL, "the daemon of pool %s ended before it answered",
            client->pool);
}

static void set_error_late(const VvClient *client, bool changes, GError **error)
{
    if (changes)
        vv_set_error(error, VV_ERROR_TIMEOUT, client->pool, "Repeat it with the same `--id`, or look first.",
            "pool %s did not answer in time: it may have been done", client->pool);
    else
        vv_set_error(error, VV_ERROR_TIMEOUT, client->pool, NULL, "pool %s did not answer in time", client->pool);
}

/* Wait until @events; 0, -ETIMEDOUT, -EINTR (Ctrl-C) or -errno. */
static int wait_for(const VvClient *client, short events, uint64_t deadline_ms)
{
    struct pollfd pfd = { .fd = client->fd, .events = events };

    for (;;) {
        uint64_t now_ms = vv_monotonic_ms();
        int left_ms = -1;
        int n;

        if (vv_interrupted)
            return -EINTR;
        if (deadline_ms > 0)
            left_ms = deadline_ms > now_ms ? (int) MIN(deadline_ms - now_ms, G_MAXINT) : 0;
        n = poll(&pfd, 1, left_ms);
        if (n > 0)
            return 0;
        if (n == 0 && (left_ms == 0 || vv_monotonic_ms() >= deadline_ms))
            return -ETIMEDOUT;
        if (n < 0 && errno != EINTR)
            return -errno;
    }
}

/* The next line without its LF, newly allocated; NULL and @ret_err: -ETIMEDOUT, -EINTR, -EPIPE (ended), -EMSGSIZE. */
static char *read_line(VvClient *client, uint64_t deadline_ms, int *ret_err)
{
    size_t searched = 0;

    for (;;) {
        char *end = memchr(client->input->str + searched, '\n', client->input->len - searched);
        char buffer[READ_BYTES];
        ssize_t n;
        int err;

        if (end) {
            size_t length = (size_t) (end - client->input->str);
            char *line = g_strndup(client->input->str, length);

            g_string_erase(client->input, 0, (gssize) length + 1);
            return line;
        }
        searched = client->input->len;
        if (searched > VV_RPC_LINE_BYTES_MAX) {
            *ret_err = -EMSGSIZE;
            return NULL;
        }
        err = wait_for(client, POLLIN, deadline_ms);
        if (err) {
            *ret_err = err;
            return NULL;
        }
        n = read(client->fd, buffer, sizeof buffer);
        if (n <= 0 && !(n < 0 && (errno == EINTR || errno == EAGAIN))) {
            *ret_err = -EPIPE;
            return NULL;
        }
        if (n > 0)
            g_string_append_len(client->input, buffer, n);
    }
}

static void set_error_line(const VvClient *client, int err, bool changes, GError **error)
{
    if (err == -ETIMEDOUT)
        set_error_late(client, changes, error);
    else if (err == -EINTR)
        vv_set_error(error, VV_ERROR_INTERNAL, NULL, NULL, "interrupted");
    else if (err == -EMSGSIZE)
        vv_set_error(error, VV_ERROR_INTERNAL, client->pool, NULL,
            "the daemon of pool %s sent a line of more than %u bytes", client->pool, VV_RPC_LINE_BYTES_MAX);
    else
        set_error_gone(client, changes, error);
}

/* One document, or NULL. */
static JsonObject *read_object(VvClient *client, bool changes, uint64_t deadline_ms, GError **error)
{
    g_autofree char *line = NULL;
    g_autoptr(JsonNode) node = NULL;
    int err = 0;

    line = read_line(client, deadline_ms, &err);
    if (!line) {
        set_error_line(client, err, changes, error);
        return NULL;
    }
    node = json_from_string(line, NULL);
    if (!node || !JSON_NODE_HOLDS_OBJECT(node)) {
        vv_set_error(error, VV_ERROR_INTERNAL, client->pool, NULL,
            "what listens in %s does not speak the protocol of vvfs", client->directory);
        return NULL;
    }
    return json_node_dup_object(node);
}

/* ---- errors of the protocol */

void vv_set_error_rpc(GError **error, JsonObject *rpc_error)
{
    JsonObject *data = vv_json_object(rpc_error, "data");
    const char *word = vv_json_text(data, "code");
    const char *message = vv_json_text(rpc_error, "message");
    int code = word ? vv_error_code_from_name(word) : -1;

    vv_set_error(error, code >= 0 ? (VvErrorCode) code : VV_ERROR_INTERNAL, vv_json_text(data, "object"),
        vv_json_text(data, "hint"), "%s", message ? message : "the daemon gave an error without a message");
}

JsonNode *vv_response_result(JsonObject *response, GError **error)
{
    JsonObject *rpc_error = vv_json_object(response, "error");
    JsonNode *result = json_object_get_member(response, "result");

    if (result)
        return json_node_copy(result);
    if (rpc_error)
        vv_set_error_rpc(error, rpc_error);
    else
        vv_set_error(error, VV_ERROR_INTERNAL, NULL, NULL, "the daemon sent neither a result nor an error");
    return NULL;
}

/* ---- connection */

static bool check_greeting(VvClient *client, uint64_t deadline_ms, GError **error)
{
    g_autoptr(JsonObject) line = read_object(client, false, deadline_ms, error);
    JsonObject *greeting = vv_json_object(line, "vvfs");
    uint64_t protocol = vv_json_u64(greeting, "protocol");

    if (!line)
        return false;
    if (vv_json_object(line, "error")) { /* too many clients */
        vv_set_error_rpc(error, vv_json_object(line, "error"));
        return false;
    }
    if (!greeting) {
        vv_set_error(error, VV_ERROR_INTERNAL, client->pool, NULL,
            "what listens in %s does not speak the protocol of vvfs", client->directory);
        return false;
    }
    if (protocol != VV_PROTOCOL_VERSION) {
        vv_set_error(error, VV_ERROR_UNSUPPORTED, client->pool, "Use the vvfs-admin that came with the daemon.",
            "the daemon of pool %s (%s) speaks protocol %" G_GUINT64_FORMAT ", this vvfs-admin speaks %u", client->pool,
            vv_json_text(greeting, "version") ? vv_json_text(greeting, "version") : "?", protocol, VV_PROTOCOL_VERSION);
        return false;
    }
    if (vv_json_text(greeting, "pool")) { /* the directory may not be readable */
        g_free(client->pool);
        client->pool = g_strdup(vv_json_text(greeting, "pool"));
    }
    return true;
}

static void set_error_connect(const VvPlace *place, int err, GError **error)
{
    g_autofree char *hint = vv_place_mount_command(place);

    if (err == EACCES || err == EPERM)
        vv_set_error(error, VV_ERROR_DENIED, place->name, "Root, the daemon's owner and members of `admin-group` may.",
            "pool %s: no access to %s/admin.sock", place->name, place->directory);
    else if (err == EAGAIN)
        vv_set_error(error, VV_ERROR_TIMEOUT, place->name, NULL, "the daemon of pool %s does not answer", place->name);
    else if (place->mountpoint)
        vv_set_error(error, VV_ERROR_NO_DAEMON, place->name, hint, "pool %s has a mount at %s but no daemon",
            place->name, place->mountpoint);
    else
        vv_set_error(error, VV_ERROR_NO_DAEMON, place->name, hint, "pool %s is not %s", place->name,
            vv_place_is_witness(place) ? "served by this witness" : "mounted");
}

static VvClient *open_once(const VvPlace *place, const VvInvocation *inv, uint64_t timeout_ms, GError **error)
{
    g_autoptr(VvClient) client = g_new0(VvClient, 1);
    g_autofree char *path = g_build_filename(place->directory, "admin.sock", NULL);
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    struct timeval patience = { .tv_sec = (time_t) (timeout_ms / 1000),
        .tv_usec = (suseconds_t) (timeout_ms % 1000 * 1000) };

    client->fd = -1;
    client->inv = inv;
    client->input = g_string_new(NULL);
    client->pool = g_strdup(place->name);
    client->directory = g_strdup(place->directory);
    g_queue_init(&client->notifications);
    if (strlen(path) >= sizeof address.sun_path) {
        vv_set_error(error, VV_ERROR_LIMIT, path, NULL, "%s: a socket's path has at most %zu bytes", path,
            sizeof address.sun_path - 1);
        return NULL;
    }
    memcpy(address.sun_path, path, strlen(path));
    client->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (client->fd < 0) {
        vv_set_error_errno(error, errno, path, "socket");
        return NULL;
    }
    /* A daemon that hangs with a full backlog would make connect() wait for ever. */
    setsockopt(client->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (connect(client->fd, (const struct sockaddr *) &address, sizeof address) < 0) {
        set_error_connect(place, errno, error);
        return NULL;
    }
    if (!check_greeting(client, vv_monotonic_ms() + timeout_ms, error))
        return NULL;
    return g_steal_pointer(&client);
}

/* A mount whose serving process has died, or is just dying, is taken over in a moment: there is nobody to ask until then. */
VvClient *vv_client_open(const VvPlace *place, const VvInvocation *inv, uint64_t timeout_ms, GError **error)
{
    uint64_t until_ms = vv_monotonic_ms() + (place->mountpoint ? TAKEN_OVER_MS : 0);

    for (;;) {
        g_autoptr(GError) why = NULL;
        VvClient *client = open_once(place, inv, timeout_ms, &why);

        if (client)
            return client;
        if (!g_error_matches(why, VV_ERROR, VV_ERROR_NO_DAEMON) || vv_monotonic_ms() >= until_ms) {
            g_propagate_error(error, g_steal_pointer(&why));
            return NULL;
        }
        g_usleep(TAKEN_OVER_LOOK_US);
    }
}

static bool send_request(VvClient *client, const char *method, JsonObject *params, int64_t id, bool changes,
    uint64_t deadline_ms, GError **error)
{
    g_autoptr(JsonObject) request = json_object_new();
    g_autoptr(JsonNode) node = json_node_new(JSON_NODE_OBJECT);
    g_autoptr(GString) line = g_string_new(NULL);
    size_t sent = 0;

    json_object_set_string_member(request, "jsonrpc", "2.0");
    json_object_set_int_member(request, "id", id);
    json_object_set_string_member(request, "method", method);
    json_object_set_object_member(request, "params", params ? params : json_object_new());
    json_node_set_object(node, request);
    vv_json_append(line, node);
    g_string_append_c(line, '\n');
    if (line->len > VV_RPC_LINE_BYTES_MAX) {
        vv_set_error(error, VV_ERROR_LIMIT, NULL, NULL,
            "the request is longer than %u bytes: name fewer objects at once", VV_RPC_LINE_BYTES_MAX);
        return false;
    }
    while (sent < line->len) {
        ssize_t n = send(client->fd, line->str + sent, line->len - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        int err = 0;

        if (n >= 0)
            sent += (size_t) n;
        else if (errno == EAGAIN)
            err = wait_for(client, POLLOUT, deadline_ms);
        else if (errno != EINTR)
            err = -EPIPE;
        if (err) { /* without its LF it is never executed */
            set_error_line(client, err, changes && sent == line->len, error);
            return false;
        }
    }
    return true;
}

/* Is it a notification? Then it is taken. */
static bool take_notification(VvClient *client, JsonObject *message)
{
    const char *method = vv_json_text(message, "method");

    if (!method)
        return false;
    g_queue_push_tail(&client->notifications, json_object_ref(message));
    return true;
}

void vv_draw_progress(const VvInvocation *inv, JsonObject *message)
{
    JsonObject *params = vv_json_object(message, "params");
    const char *what = vv_json_text(params, "what");

    if (inv)
        vv_bar_draw(inv, what ? what : "", vv_json_u64(params, "done"), vv_json_u64(params, "total"), 0, -1);
}

bool vv_client_call(VvClient *client, const char *method, JsonObject *params, bool changes, uint64_t deadline_ms,
    JsonNode **ret_result, GError **error)
{
    int64_t id = ++client->next_id;
    JsonNode *result;

    if (!send_request(client, method, params, id, changes, deadline_ms, error))
        return false;
    for (;;) {
        g_autoptr(JsonObject) message = read_object(client, changes, deadline_ms, error);

        if (!message)
            return false;
        if (g_strcmp0(vv_json_text(message, "method"), "progress") == 0) {
            vv_draw_progress(client->inv, message);
            continue;
        }
        if (take_notification(client, message))
            continue;
        if (vv_json_is_number(message, "id") && (int64_t) vv_json_u64(message, "id") != id)
            continue; /* the answer to a request that was given up */
        result = vv_response_result(message, error);
        if (!result)
            return false;
        if (ret_result)
            *ret_result = result;
        else
            json_node_free(result);
        return true;
    }
}

bool vv_client_next(VvClient *client, uint64_t deadline_ms, char **ret_method, JsonObject **ret_params, GError **error)
{
    while (g_queue_is_empty(&client->notifications)) {
        g_autoptr(JsonObject) message = read_object(client, false, deadline_ms, error);

        if (!message)
            return false;
        take_notification(client, message);
    }
    {
        g_autoptr(JsonObject) message = g_queue_pop_head(&client->notifications);
        JsonObject *params = vv_json_object(message, "params");

        *ret_method = g_strdup(vv_json_text(message, "method"));
        *ret_params = params ? json_object_ref(params) : json_object_new();
    }
    return true;
}
