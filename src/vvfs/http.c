/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The metrics server. Answers one request after the other: a scrape takes milliseconds. */
#include "http.h"

#include "control.h"
#include "error.h"
#include "status.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/http.h>
#include <stdlib.h>
#include <string.h>

#define HEADER_BYTES_MAX 16384
#define BODY_BYTES_MAX 4096
#define CLIENT_SECONDS 10

struct VvMetricsServer {
    VvDaemon *daemon;
    VvControl *loop;
    struct evhttp *http;
    pthread_t thread;
    bool started;
};

static void metrics_cb(struct evhttp_request *request, void *user)
{
    VvMetricsServer *server = user;
    g_autofree char *text = vv_metrics_text(server->daemon);
    struct evbuffer *body = evbuffer_new();

    evhttp_add_header(
        evhttp_request_get_output_headers(request), "Content-Type", "text/plain; version=0.0.4; charset=utf-8");
    evbuffer_add(body, text, strlen(text));
    evhttp_send_reply(request, HTTP_OK, "OK", body);
    evbuffer_free(body);
}

static void other_cb(struct evhttp_request *request, void *user)
{
    (void) user;
    evhttp_send_error(request, HTTP_NOTFOUND, "Only /metrics is here");
}

static void *http_main(void *user)
{
    VvMetricsServer *server = user;

    pthread_setname_np(pthread_self(), "metrics");
    vv_control_run(server->loop);
    return NULL;
}

static bool split_address(const char *address, char **ret_host, uint16_t *ret_port, GError **error)
{
    const char *colon = strrchr(address, ':');
    size_t length = colon ? (size_t) (colon - address) : 0;
    guint64 port;

    if (!colon || !g_ascii_string_to_unsigned(colon + 1, 10, 1, 65535, &port, NULL)) {
        vv_set_error(
            error, VV_ERROR_USAGE, address, NULL, "metrics=%s: ADDR:PORT is needed, such as 127.0.0.1:9733", address);
        return false;
    }
    if (length >= 2 && address[0] == '[' && address[length - 1] == ']')
        *ret_host = g_strndup(address + 1, length - 2);
    else
        *ret_host = length ? g_strndup(address, length) : g_strdup("0.0.0.0");
    *ret_port = (uint16_t) port;
    return true;
}

VvMetricsServer *vv_metrics_server_new(VvDaemon *daemon, const char *address, GError **error)
{
    g_autofree char *host = NULL;
    VvMetricsServer *server;
    uint16_t port;

    if (!split_address(address, &host, &port, error))
        return NULL;
    server = g_new0(VvMetricsServer, 1);
    server->daemon = daemon;
    server->loop = vv_control_new(error);
    server->http = server->loop ? evhttp_new(vv_control_base(server->loop)) : NULL;
    errno = 0;
    if (server->http && evhttp_bind_socket(server->http, host, port) != 0) {
        vv_set_error_errno(error, errno ? errno : EADDRNOTAVAIL, address, "metrics=%s: cannot listen there", address);
        g_clear_pointer(&server->http, evhttp_free);
    }
    if (!server->http) {
        vv_metrics_server_free(server);
        return NULL;
    }
    evhttp_set_allowed_methods(server->http, EVHTTP_REQ_GET | EVHTTP_REQ_HEAD);
    evhttp_set_max_headers_size(server->http, HEADER_BYTES_MAX);
    evhttp_set_max_body_size(server->http, BODY_BYTES_MAX);
    evhttp_set_timeout(server->http, CLIENT_SECONDS);
    evhttp_set_cb(server->http, "/metrics", metrics_cb, server);
    evhttp_set_gencb(server->http, other_cb, server);
    return server;
}

void vv_metrics_server_start(VvMetricsServer *server)
{
    int err = pthread_create(&server->thread, NULL, http_main, server);

    if (err)
        g_error("cannot start a thread: %s", g_strerror(err));
    server->started = true;
}

static void stop_cb(void *user)
{
    VvMetricsServer *server = user;

    vv_control_stop(server->loop);
}

void vv_metrics_server_free(VvMetricsServer *server)
{
    if (!server)
        return;
    if (server->started) {
        vv_control_post(server->loop, stop_cb, server);
        pthread_join(server->thread, NULL);
    }
    if (server->http)
        evhttp_free(server->http);
    vv_control_free(server->loop);
    g_free(server);
}
