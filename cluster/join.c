/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The joiner's side: one address after the other, each with TLS, one message and one answer. It blocks, under one deadline. */
#include "joining.h"

#include "address.h"
#include "codec.h"
#include "error.h"
#include "frame.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

typedef struct {
    int fd;
    SSL *ssl;
    uint64_t deadline_ms;
    bool shaken; /* the handshake is over, as far as this end knows */
} VvJoinLine;

static bool closed(GError **error)
{
    vv_set_error(error, VV_ERROR_DENIED, NULL, NULL,
        "it closed the connection, as it does when no invitation is open, or when this one is not known there yet");
    return false;
}

static bool late(GError **error)
{
    vv_set_error(error, VV_ERROR_TIMEOUT, NULL, NULL, "it did not answer in time");
    return false;
}

static bool wait_for(const VvJoinLine *line, short events, GError **error)
{
    struct pollfd poll_fd = { .fd = line->fd, .events = events };

    for (;;) {
        uint64_t now_ms = vv_monotonic_ms();
        int ready;

        if (now_ms >= line->deadline_ms)
            return late(error);
        ready = poll(&poll_fd, 1, (int) MIN(line->deadline_ms - now_ms, 60000));
        if (ready > 0)
            return true;
        if (ready < 0 && errno != EINTR) {
            vv_set_error_errno(error, errno, NULL, "poll");
            return false;
        }
    }
}

/* After an operation of TLS that returned @result: wait until it can go on. False: it cannot. */
static bool go_on(const VvJoinLine *line, int result, GError **error)
{
    g_autofree char *text = NULL;

    switch (SSL_get_error(line->ssl, result)) {
    case SSL_ERROR_WANT_READ:
        return wait_for(line, POLLIN, error);
    case SSL_ERROR_WANT_WRITE:
        return wait_for(line, POLLOUT, error);
    case SSL_ERROR_SYSCALL:
    case SSL_ERROR_ZERO_RETURN:
        ERR_clear_error();
        return closed(error);
    default:
        if (line->shaken) { /* TLS 1.3: a server says afterwards that it wants a certificate */
            ERR_clear_error();
            return closed(error);
        }
        text = vv_openssl_text();
        vv_set_error(error, VV_ERROR_DENIED, NULL, NULL, "TLS: %s", text);
        return false;
    }
}

static bool line_connect(VvJoinLine *line, const VvAddress *address, GError **error)
{
    socklen_t length = sizeof(int);
    int err = 0;

    line->fd = socket(address->socket.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (line->fd < 0) {
        vv_set_error_errno(error, errno, NULL, "cannot make a socket");
        return false;
    }
    if (connect(line->fd, (const struct sockaddr *) &address->socket, address->socket_bytes) != 0) {
        err = errno;
        if (err == EINPROGRESS) {
            if (!wait_for(line, POLLOUT, error))
                return false;
            if (getsockopt(line->fd, SOL_SOCKET, SO_ERROR, &err, &length) != 0)
                err = errno;
        }
    }
    if (err != 0)
        vv_set_error_errno(error, err, NULL, "cannot connect");
    return err == 0;
}

static bool line_shake(VvJoinLine *line, VvTls *tls, GError **error)
{
    int result;

    line->ssl = vv_tls_connect(tls);
    if (!line->ssl || SSL_set_fd(line->ssl, line->fd) != 1) {
        vv_set_error(error, VV_ERROR_INTERNAL, NULL, NULL, "no memory for TLS");
        return false;
    }
    while ((result = SSL_connect(line->ssl)) != 1)
        if (!go_on(line, result, error))
            return false;
    line->shaken = true;
    return true;
}

static bool line_write(VvJoinLine *line, const uint8_t *bytes, size_t length_bytes, GError **error)
{
    while (length_bytes > 0) {
        int result = SSL_write(line->ssl, bytes, (int) MIN(length_bytes, 16384));

        if (result > 0) {
            bytes += result;
            length_bytes -= (size_t) result;
        } else if (!go_on(line, result, error)) {
            return false;
        }
    }
    return true;
}

static bool line_read(VvJoinLine *line, uint8_t *bytes, size_t length_bytes, GError **error)
{
    while (length_bytes > 0) {
        int result = SSL_read(line->ssl, bytes, (int) MIN(length_bytes, 16384));

        if (result > 0) {
            bytes += result;
            length_bytes -= (size_t) result;
        } else if (!go_on(line, result, error)) {
            return false;
        }
    }
    return true;
}

static void line_close(VvJoinLine *line)
{
    if (line->shaken)
        SSL_shutdown(line->ssl);
    ERR_clear_error();
    SSL_free(line->ssl);
    vv_close_fd(&line->fd);
}

/* The message: frame, body, proof over what is unique to this line and the body. */
static GByteArray *message(VvJoinLine *line, const VvToken *token, const VvJoinRequest *request)
{
    g_autoptr(GByteArray) body = g_byte_array_new(), proven = g_byte_array_new();
    GByteArray *out = g_byte_array_new();
    VvFrame frame = { .kind = VV_FRAME_JOIN };
    uint8_t raw[VV_FRAME_BYTES], binding[VV_TLS_BINDING_BYTES], proof[VV_PROOF_BYTES];

    vv_join_request_encode(request, body);
    g_assert(vv_tls_binding(line->ssl, binding));
    vv_write_bytes(proven, binding, sizeof binding);
    vv_write_bytes(proven, body->data, body->len);
    vv_token_prove(token, proven->data, proven->len, proof);
    frame.body_bytes = body->len + VV_PROOF_BYTES;
    vv_frame_encode(&frame, raw);
    vv_write_bytes(out, raw, sizeof raw);
    vv_write_bytes(out, body->data, body->len);
    vv_write_bytes(out, proof, sizeof proof);
    return out;
}

static bool read_answer(VvJoinLine *line, VvJoined *ret_joined, bool *ret_refused, GError **error)
{
    uint8_t raw[VV_FRAME_BYTES];
    uint8_t *body;
    VvFrame frame;
    bool good;

    if (!line_read(line, raw, sizeof raw, error) || !vv_frame_decode(raw, &frame, error))
        return false;
    if (frame.kind != VV_FRAME_JOINED || frame.data_bytes != 0 || frame.body_bytes > VV_JOINED_BYTES_MAX) {
        vv_set_error(error, VV_ERROR_DAMAGED, NULL, NULL, "it answered something else");
        return false;
    }
    body = g_malloc(frame.body_bytes + 1);
    good = line_read(line, body, frame.body_bytes, error);
    if (good) {
        *ret_refused = vv_joined_is_refusal(body, frame.body_bytes);
        good = vv_joined_decode(body, frame.body_bytes, ret_joined, error);
    }
    OPENSSL_cleanse(body, frame.body_bytes);
    g_free(body);
    return good;
}

/* Is what came a node of the token's pool, and usable with our key? */
static bool check_joined(const VvToken *token, VvJoined *joined, GBytes *key, GError **error)
{
    g_autoptr(VvAuthority) authority = NULL;
    g_autoptr(VvTls) tls = NULL;
    uint8_t fingerprint[VV_FINGERPRINT_BYTES];

    joined->credentials.node_key = g_bytes_ref(key);
    authority = vv_authority_open(joined->credentials.authority_certificate, joined->credentials.authority_key, error);
    tls = authority ? vv_tls_new(&joined->credentials, error) : NULL;
    if (!tls)
        return false;
    vv_authority_fingerprint(authority, fingerprint);
    if (memcmp(fingerprint, token->fingerprint, sizeof fingerprint) != 0 ||
        !vv_uuid_equal(&vv_tls_self(tls)->pool, &token->pool) || vv_tls_self(tls)->node != joined->node ||
        vv_tls_self(tls)->guest != (joined->role == VV_TOKEN_GUEST)) {
        vv_set_error(error, VV_ERROR_DENIED, NULL, NULL, "the certificate that came is not what the token promises");
        return false;
    }
    return true;
}

/* @error: not NULL. @ret_final: the pool has decided; another address would say the same, unless this node was busy or talks nonsense. */
static bool try_address(VvTls *tls, const VvToken *token, const VvJoinRequest *request, const char *text,
    uint64_t deadline_ms, VvJoined *ret_joined, bool *ret_final, GError **error)
{
    VvJoinLine line = { .fd = -1, .deadline_ms = deadline_ms };
    g_autoptr(GByteArray) out = NULL;
    VvAddress address;
    bool good, refused = false;

    good = vv_address_parse(text, false, &address, error) && line_connect(&line, &address, error) &&
           line_shake(&line, tls, error);
    if (good) {
        out = message(&line, token, request);
        good = line_write(&line, out->data, out->len, error) && read_answer(&line, ret_joined, &refused, error);
        *ret_final = good || (refused && !g_error_matches(*error, VV_ERROR, VV_ERROR_BUSY) &&
                                 !g_error_matches(*error, VV_ERROR, VV_ERROR_DAMAGED));
    }
    line_close(&line);
    return good;
}

static bool join(const VvToken *token, GBytes *key, const char *name, const char *const *addresses,
    const char *software, uint64_t timeout_ms, VvJoined *ret_joined, GError **error)
{
    g_autoptr(VvTls) tls = vv_tls_new_joiner(&token->pool, token->fingerprint, error);
    g_auto(VvJoinRequest) request = { .invite = token->invite };
    g_auto(VvJoined) joined = { 0 };
    g_autoptr(GString) tried = g_string_new(NULL);
    uint64_t end_ms = vv_monotonic_ms() + timeout_ms;
    bool good = false, final = false, denied = false;
    guint count = g_strv_length(token->addresses);

    request.name = g_strdup(name);
    request.software = g_strdup(software);
    request.addresses = g_strdupv((char **) addresses);
    request.request = tls ? vv_node_key_request(key, error) : NULL;
    if (!request.request)
        return false;
    for (guint i = 0; i < count && !final; i++) {
        g_autoptr(GError) why = NULL;
        uint64_t now_ms = vv_monotonic_ms(), left_ms = end_ms > now_ms ? end_ms - now_ms : 0;

        good = try_address(
            tls, token, &request, token->addresses[i], now_ms + left_ms / (count - i), &joined, &final, &why);
        if (final && !good) {
            g_propagate_error(error, g_steal_pointer(&why));
            return false;
        }
        denied |= g_error_matches(why, VV_ERROR, VV_ERROR_DENIED);
        if (!good)
            g_string_append_printf(tried, "%s%s: %s", tried->len ? "; " : "", token->addresses[i], why->message);
    }
    if (!good) {
        vv_set_error(error, denied ? VV_ERROR_DENIED : VV_ERROR_TIMEOUT, token->pool_name, NULL,
            "no node of the pool %s could be asked: %s", token->pool_name, tried->str);
        return false;
    }
    if (!check_joined(token, &joined, key, error))
        return false;
    *ret_joined = joined;
    memset(&joined, 0, sizeof joined);
    return true;
}

/* A connection that broke must not end the program by SIGPIPE, which TLS's writes raise. */
bool vv_join(const VvToken *token, GBytes *key, const char *name, const char *const *addresses, const char *software,
    uint64_t timeout_ms, VvJoined *ret_joined, GError **error)
{
    static const struct timespec none;
    sigset_t broken, saved, pending;
    bool was_pending, good;

    sigemptyset(&broken);
    sigaddset(&broken, SIGPIPE);
    sigpending(&pending);
    was_pending = sigismember(&pending, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &broken, &saved);
    good = join(token, key, name, addresses, software, timeout_ms, ret_joined, error);
    while (!was_pending && sigtimedwait(&broken, NULL, &none) == SIGPIPE)
        continue;
    pthread_sigmask(SIG_SETMASK, &saved, NULL);
    return good;
}
