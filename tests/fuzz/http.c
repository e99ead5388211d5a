/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A connection to the metrics server sends any bytes and closes; then a proper request is still answered. */
#include "error.h"
#include "fuzz.h"
#include "http.h"
#include "status.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>

static VvDaemon the_daemon;
static struct sockaddr_in where = { .sin_family = AF_INET };

char *vv_metrics_text(VvDaemon *daemon)
{
    g_assert_true(daemon == &the_daemon);
    return g_strdup("vvfs_up 1\n");
}

static void start(void)
{
    g_autoptr(GError) error = NULL;
    VvMetricsServer *server = NULL;
    signal(SIGPIPE, SIG_IGN); /* as the daemon does: a client that has gone is answered none the less */
    where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (unsigned port = 20000 + (unsigned) getpid() % 20000; !server; port++) {
        g_autofree char *address = g_strdup_printf("127.0.0.1:%u", port);
        g_clear_error(&error);
        server = vv_metrics_server_new(&the_daemon, address, &error);
        where.sin_port = htons((uint16_t) port);
    }
    vv_metrics_server_start(server);
}

/* 0 or an errno. A signal may interrupt it (libFuzzer's clock does), and others of the machine may have all ports for a moment. */
static int reach(int fd)
{
    gint64 deadline = g_get_monotonic_time() + 60 * G_USEC_PER_SEC;
    struct pollfd poll_fd = { .fd = fd, .events = POLLOUT };
    socklen_t bytes = sizeof(int);
    int err;

    do
        err = connect(fd, (struct sockaddr *) &where, sizeof where) == 0 ? 0 : errno;
    while (err == EADDRNOTAVAIL && g_get_monotonic_time() < deadline);
    if (err != EINTR)
        return err;
    while (poll(&poll_fd, 1, -1) < 0 && errno == EINTR)
        continue;
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &bytes) == 0 ? err : errno;
}

/* What came back; a connection that was refused or reset has nothing. */
static size_t talk(const void *bytes, size_t length_bytes, char *answer, size_t answer_bytes)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    size_t got = 0;
    ssize_t n;
    struct linger now = { .l_onoff = 1 }; /* or the ports would be used up */
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(reach(fd), ==, 0);
    (void) !send(fd, bytes, length_bytes, MSG_NOSIGNAL);
    shutdown(fd, SHUT_WR);
    while (got < answer_bytes - 1 && ((n = recv(fd, answer + got, answer_bytes - 1 - got, 0)) > 0 || (n < 0 && errno == EINTR)))
        got += n > 0 ? (size_t) n : 0;
    answer[got] = '\0';
    close(fd);
    return got;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length_bytes)
{
    static const char proper[] = "GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    static char answer[65536];
    static unsigned count;
    if (length_bytes > 32768)
        return 0;
    if (where.sin_port == 0)
        start();
    (void) talk(data, length_bytes, answer, sizeof answer);
    if (count++ % 64 != 0)
        return 0;
    talk(proper, sizeof proper - 1, answer, sizeof answer);
    g_assert_nonnull(strstr(answer, "vvfs_up 1"));
    return 0;
}
