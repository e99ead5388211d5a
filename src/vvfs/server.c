/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The admin socket. Each client has a line buffer with a limit, a set of calls under way with a limit, and an output
 * buffer with a limit:
 *
 *   reads            while fewer than VV_CALLS_PER_CLIENT_MAX calls are unanswered and little output waits
 *   does not read    otherwise; goes on when an answer has gone out
 *   closing          what is queued is still sent (at most VV_CLIENT_STALL_SECONDS); nothing is read
 *   dropped          output limit, stalled, or it closed: calls that have not begun are cancelled */
#include "server.h"

#include "config.h"
#include "permit.h"
#include "privilege.h"
#include "reserve.h"
#include "subscribe.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/listener.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

struct VvServer {
    VvDaemon *daemon;
    char *path;
    struct evconnlistener *listener; /* NULL: stopped */
    GHashTable *clients;             /* number -> VvClient, owned */
    uint64_t next_number;
    unsigned lookers;
    unsigned busy;
};

struct VvClient {
    VvServer *server;
    uint64_t number;
    struct bufferevent *bev;
    VvCaller caller;
    GHashTable *calls;    /* VvCall, borrowed */
    size_t scanned_bytes; /* of the input, known to hold no LF */
    bool closing;
};

static void client_pump(VvClient *client);

/* ---- clients */
static void client_free(void *data)
{
    VvClient *client = data;
    GHashTableIter iter;
    void *call;

    g_hash_table_iter_init(&iter, client->calls);
    while (g_hash_table_iter_next(&iter, &call, NULL))
        atomic_store(&((VvCall *) call)->cancelled, true);
    g_hash_table_unref(client->calls);
    bufferevent_free(client->bev);
    if (!client->caller.may_change)
        client->server->lookers--;
    g_free(client);
}

static void client_drop(VvClient *client, const char *why)
{
    VvServer *server = client->server;
    VvDaemon *daemon = server->daemon;
    uint64_t number = client->number;

    if (why)
        vv_log(VV_LOG_NOTE, "admin socket: a client of user %u, pid %d, was dropped: %s", client->caller.uid,
            (int) client->caller.pid, why);
    g_hash_table_remove(server->clients, &number);
    vv_subscriptions_drop_client(daemon->subscriptions, number);
    vv_reservations_release(daemon->reservations, number);
}

VvClient *vv_server_client(VvServer *server, uint64_t number)
{
    VvClient *client = server ? g_hash_table_lookup(server->clients, &number) : NULL;

    return client && !client->closing ? client : NULL;
}

uint64_t vv_client_number(const VvClient *client)
{
    return client->number;
}

bool vv_client_may_change(const VvClient *client)
{
    return client->caller.may_change;
}

size_t vv_client_waiting(const VvClient *client)
{
    return evbuffer_get_length(bufferevent_get_output(client->bev));
}

static size_t server_waiting(VvServer *server)
{
    GHashTableIter iter;
    void *client;
    size_t bytes = 0;

    g_hash_table_iter_init(&iter, server->clients);
    while (g_hash_table_iter_next(&iter, NULL, &client))
        bytes += vv_client_waiting(client);
    return bytes;
}

void vv_client_send(VvClient *client, const char *text)
{
    struct evbuffer *output = bufferevent_get_output(client->bev);
    size_t waiting;

    if (client->closing)
        return;
    evbuffer_add(output, text, strlen(text));
    evbuffer_add(output, "\n", 1);
    waiting = evbuffer_get_length(output);
    if (waiting > VV_CLIENT_OUTPUT_BYTES_MAX)
        client_drop(client, "it does not read its answers");
    else if (waiting > VV_CLIENT_OUTPUT_BYTES_EASY && server_waiting(client->server) > VV_OUTPUT_BYTES_MAX)
        client_drop(client, "too many answers wait to be read");
}

/* Send what is queued, then close. */
static void client_close(VvClient *client)
{
    client->closing = true;
    bufferevent_disable(client->bev, EV_READ);
    vv_subscriptions_drop_client(client->server->daemon->subscriptions, client->number);
    vv_reservations_release(client->server->daemon->reservations, client->number);
    if (vv_client_waiting(client) == 0)
        client_drop(client, NULL);
}

void vv_client_add_call(VvClient *client, VvCall *call)
{
    g_hash_table_add(client->calls, call);
    client->server->busy++;
}

bool vv_server_begin_call(VvServer *server)
{
    if (!server || !server->listener)
        return false;
    server->busy++;
    return true;
}

void vv_server_end_call(VvServer *server, VvCall *call)
{
    VvClient *client = g_hash_table_lookup(server->clients, &call->client);

    server->busy--;
    if (!client)
        return;
    g_hash_table_remove(client->calls, call);
    client_pump(client);
}

/* ---- input */
static bool client_is_easy(VvClient *client)
{
    return !client->closing && g_hash_table_size(client->calls) < VV_CALLS_PER_CLIENT_MAX &&
           vv_client_waiting(client) <= VV_CLIENT_OUTPUT_BYTES_EASY;
}

static size_t client_line_max(const VvClient *client)
{
    return client->caller.may_change ? VV_RPC_LINE_BYTES_MAX : VV_LOOKER_LINE_BYTES_MAX;
}

static void refuse(VvClient *client, VvErrorCode code, int rpc_code, const char *message)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *text = NULL;

    vv_set_error(&error, code, NULL, NULL, "%s", message);
    text = vv_rpc_error_text(NULL, rpc_code, error);
    vv_client_send(client, text);
    client_close(client);
}

/* Length of the first line in @input without its LF, or -1: none yet. */
static ssize_t find_line(VvClient *client, struct evbuffer *input)
{
    struct evbuffer_ptr from, at;

    if (evbuffer_get_length(input) == client->scanned_bytes)
        return -1;
    evbuffer_ptr_set(input, &from, client->scanned_bytes, EVBUFFER_PTR_SET);
    at = evbuffer_search(input, "\n", 1, &from);
    client->scanned_bytes = at.pos < 0 ? evbuffer_get_length(input) : 0;
    return at.pos;
}

/* Take one line and act on it. False: there was none, or the client has gone or goes. */
static bool client_take_line(VvClient *client)
{
    struct evbuffer *input = bufferevent_get_input(client->bev);
    ssize_t length = find_line(client, input);
    g_autofree char *line = NULL;

    if (length > (ssize_t) client_line_max(client) || (length < 0 && client->scanned_bytes > client_line_max(client))) {
        refuse(client, VV_ERROR_LIMIT, -32600,
            client->caller.may_change ? "a line may have 4 MiB" : "a line may have 64 KiB");
        return false;
    }
    if (length < 0)
        return false;
    line = g_malloc((size_t) length + 1);
    evbuffer_remove(input, line, (size_t) length + 1);
    line[length] = '\0';
    vv_rpc_receive(client->server->daemon, client, line, (size_t) length);
    return true;
}

/* Act on what has come, as far as the limits let it. */
static void client_pump(VvClient *client)
{
    VvServer *server = client->server;
    uint64_t number = client->number;

    while (client_is_easy(client) && server->listener) {
        if (!client_take_line(client))
            break;
        client = vv_server_client(server, number);
        if (!client)
            return;
    }
    /* A refusal may have dropped it. */
    client = vv_server_client(server, number);
    if (!client)
        return;
    if (client_is_easy(client) && server->listener)
        bufferevent_enable(client->bev, EV_READ);
    else
        bufferevent_disable(client->bev, EV_READ);
}

static void read_cb(struct bufferevent *bev, void *user)
{
    (void) bev;
    client_pump(user);
}

static void write_cb(struct bufferevent *bev, void *user)
{
    VvClient *client = user;

    (void) bev;
    if (client->closing)
        client_drop(client, NULL);
    else
        client_pump(client);
}

static void event_cb(struct bufferevent *bev, short what, void *user)
{
    (void) bev;
    client_drop(user, (what & BEV_EVENT_TIMEOUT) ? "it does not read its answers" : NULL);
}

/* ---- coming in */
static char *greeting_text(VvDaemon *daemon)
{
    g_autoptr(JsonObject) object = json_object_new();
    JsonObject *vvfs = vv_json_set_object(object, "vvfs");
    g_autofree char *uuid = vv_uuid_format(&daemon->uuid);

    vv_json_set_string(vvfs, "version", PACKAGE_VERSION);
    vv_json_set_string(vvfs, "pool", daemon->name);
    vv_json_set_string(vvfs, "uuid", uuid);
    vv_json_set_u64(vvfs, "protocol", VV_PROTOCOL_VERSION);
    vv_json_set_array(vvfs, "capabilities");
    return vv_json_object_text(object);
}

static void accept_cb(
    struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *address, int length, void *user)
{
    static const struct timeval stall = { .tv_sec = VV_CLIENT_STALL_SECONDS };
    VvServer *server = user;
    VvClient *client = g_new0(VvClient, 1);
    g_autofree char *greeting = NULL;

    (void) listener;
    (void) address;
    (void) length;
    client->server = server;
    client->number = ++server->next_number;
    client->calls = g_hash_table_new(NULL, NULL);
    client->bev = bufferevent_socket_new(vv_control_base(server->daemon->loop), fd, BEV_OPT_CLOSE_ON_FREE);
    if (!client->bev) {
        close((int) fd);
        g_hash_table_unref(client->calls);
        g_free(client);
        return;
    }
    vv_caller_read((int) fd, server->daemon, &client->caller);
    if (!client->caller.may_change)
        server->lookers++;
    g_hash_table_insert(server->clients, &client->number, client);
    bufferevent_setcb(client->bev, read_cb, write_cb, event_cb, client);
    bufferevent_set_timeouts(client->bev, NULL, &stall);
    bufferevent_setwatermark(client->bev, EV_READ, 0, client_line_max(client) + 1);
    bufferevent_enable(client->bev, EV_READ | EV_WRITE);
    if (g_hash_table_size(server->clients) > VV_RPC_CLIENTS_MAX || server->lookers > VV_LOOKERS_MAX) {
        refuse(client, VV_ERROR_LIMIT, -32000, "too many clients");
        return;
    }
    greeting = greeting_text(server->daemon);
    vv_client_send(client, greeting);
}

/* Out of descriptors, mostly: accepting again at once would spin. */
static void accept_again_cb(evutil_socket_t fd, short what, void *user)
{
    VvServer *server = user;

    (void) fd;
    (void) what;
    if (server->listener)
        evconnlistener_enable(server->listener);
}

static void accept_error_cb(struct evconnlistener *listener, void *user)
{
    static const struct timeval later = { .tv_usec = 100000 };
    VvServer *server = user;

    vv_log(VV_LOG_WARNING, "admin socket: accept: %s", g_strerror(errno));
    evconnlistener_disable(listener);
    event_base_once(vv_control_base(server->daemon->loop), -1, EV_TIMEOUT, accept_again_cb, server, &later);
}

/* ---- the socket */
bool vv_server_check_path(const char *directory, GError **error)
{
    size_t room = sizeof(((struct sockaddr_un *) NULL)->sun_path) - 1;
    size_t length = strlen(directory) + 1 + strlen(VV_ADMIN_SOCKET);

    if (length <= room)
        return true;
    vv_set_error(error, VV_ERROR_USAGE, directory, "A shorter path to the pool directory is needed.",
        "the path of the admin socket, %s/%s, would have %zu bytes; a socket may have %zu", directory, VV_ADMIN_SOCKET,
        length, room);
    return false;
}

static int socket_listen(const char *path, mode_t mode, GError **error)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    vv_autofd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int ret;

    g_assert(g_strlcpy(address.sun_path, path, sizeof(address.sun_path)) < sizeof(address.sun_path));
    if (unlink(path) != 0 && errno != ENOENT) {
        vv_set_error_errno(error, errno, path, "cannot remove the old %s", path);
        return -1;
    }
    if (fd < 0 || bind(fd, (struct sockaddr *) &address, sizeof(address)) != 0 || chmod(path, mode) != 0 ||
        listen(fd, 128) != 0) {
        vv_set_error_errno(error, errno, path, "cannot listen on %s", path);
        return -1;
    }
    ret = fd;
    fd = -1;
    return ret;
}

VvServer *vv_server_new(VvDaemon *daemon, GError **error)
{
    VvServer *server;
    int fd;

    if (!vv_server_check_path(daemon->directory, error))
        return NULL;
    server = g_new0(VvServer, 1);
    server->daemon = daemon;
    server->path = g_build_filename(daemon->directory, VV_ADMIN_SOCKET, NULL);
    server->clients = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL, client_free);
    fd = socket_listen(server->path, vv_privilege_socket_mode(daemon), error);
    if (fd >= 0)
        server->listener = evconnlistener_new(
            vv_control_base(daemon->loop), accept_cb, server, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, fd);
    if (!server->listener) {
        g_hash_table_unref(server->clients);
        g_free(server->path);
        g_free(server);
        return NULL;
    }
    evconnlistener_set_error_cb(server->listener, accept_error_cb);
    return server;
}

void vv_server_stop(VvServer *server)
{
    if (!server || !server->listener)
        return;
    g_clear_pointer(&server->listener, evconnlistener_free);
    unlink(server->path);
}

unsigned vv_server_busy(const VvServer *server)
{
    return server->busy;
}

void vv_server_free(VvServer *server)
{
    if (!server)
        return;
    vv_server_stop(server);
    g_hash_table_unref(server->clients);
    g_free(server->path);
    g_free(server);
}
