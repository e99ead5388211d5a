/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The connection to an NBD server: made, examined, lost, made again. The thread of nbd.c. */
#include "nbd_private.h"

#include "disk_private.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#define GOODBYE_MS 1000u
#define SILENCE_MS 20000u /* of a peer's machine, not of a server that takes its time */

const char *vv_nbd_last_error(void)
{
    const char *text = nbd_get_error(), *colon;

    if (!text)
        return "unknown error";
    colon = strstr(text, ": ");
    return colon && g_str_has_prefix(text, "nbd_") ? colon + 2 : text;
}

void vv_nbd_set_trouble(VvNbd *nbd, const char *why)
{
    VV_LOCKED(&nbd->lock);

    g_free(nbd->trouble);
    nbd->trouble = g_strdup(why);
}

/* The first attempt is over: who opens it is told. Takes @refusal, if it is not tried again. */
static void tell_opener(VvNbd *nbd, GError *refusal)
{
    bool again = refusal && g_error_matches(refusal, VV_ERROR, VV_ERROR_IO) && vv_monotonic_ms() < nbd->open_deadline_ms;
    VV_LOCKED(&nbd->lock);

    if (nbd->opened || again) {
        g_clear_error(&refusal);
        return;
    }
    nbd->opened = true;
    nbd->refusal = refusal;
    pthread_cond_signal(&nbd->changed);
}

/* ---- losing it */

/* What is still in our socket shall not reach the server when its requests have been given up: NB4. */
static void reset_socket(VvNbd *nbd)
{
    struct linger none = { .l_onoff = 1, .l_linger = 0 };
    int fd = nbd_aio_get_fd(nbd->handle);

    if (fd >= 0)
        (void) setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
}

static void close_handle(VvNbd *nbd)
{
    VvRemoteRequest *request;

    nbd_close(nbd->handle);
    nbd->handle = NULL;
    while ((request = nbd->in_flight.last)) { /* the oldest is in front again */
        vv_nbd_take(&nbd->in_flight, request);
        if (request == &nbd->look)
            nbd->looking = false;
        else if (request == &nbd->beat)
            nbd->beating = false;
        else if (request == &nbd->flush)
            nbd->flushing = false;
        else if (vv_nbd_is_replay(nbd, request))
            vv_nbd_replayed(nbd, request, -ENOTCONN);
        else
            vv_nbd_push_front(&nbd->waiting, request);
    }
}

void vv_nbd_lose(VvNbd *nbd, const char *why)
{
    g_autofree char *text = g_strdup(why);
    uint64_t now_ms = vv_monotonic_ms();
    GError *refusal = NULL;

    if (!nbd->handle)
        return;
    reset_socket(nbd);
    close_handle(nbd);
    nbd->state = VV_NBD_DOWN;
    nbd->pause_ms = nbd->pause_ms ? MIN(2 * nbd->pause_ms, VV_NBD_PAUSE_MS_MAX) : VV_NBD_PAUSE_MS;
    nbd->next_try_ms = now_ms + nbd->pause_ms;
    if (nbd->was_up) {
        nbd->was_up = false;
        nbd->down_since_ms = now_ms;
        vv_log(VV_LOG_WARNING, "%s: the connection is lost (%s): its requests wait up to %u s", nbd->uri, text, VV_REMOTE_WAIT_MS / 1000);
    }
    if (nbd->unsynced && !vv_unsynced_is_whole(nbd->unsynced) && !nbd->lost) { /* NB3 */
        nbd->lost = true;
        vv_log(VV_LOG_ERROR, "%s: more was written since the last sync than is kept: the server may have lost it", nbd->uri);
    }
    vv_nbd_set_trouble(nbd, text);
    vv_set_error(&refusal, VV_ERROR_IO, nbd->uri, NULL, "%s cannot be reached: %s", nbd->uri, text);
    tell_opener(nbd, refusal);
}

void vv_nbd_disconnect(VvNbd *nbd)
{
    uint64_t deadline_ms = vv_monotonic_ms() + GOODBYE_MS;

    if (!nbd->handle)
        return;
    if (nbd_aio_is_ready(nbd->handle) > 0 && nbd_aio_disconnect(nbd->handle, 0) == 0)
        while (nbd_aio_is_closed(nbd->handle) <= 0 && nbd_aio_is_dead(nbd->handle) <= 0 && vv_monotonic_ms() < deadline_ms)
            if (nbd_poll(nbd->handle, (int) GOODBYE_MS) < 0)
                break;
    close_handle(nbd);
    nbd->state = VV_NBD_DOWN;
    nbd->next_try_ms = 0;
}

/* ---- making it */

void vv_nbd_connect(VvNbd *nbd, uint64_t now_ms)
{
    if (nbd->taken || now_ms < nbd->next_try_ms)
        return;
    nbd->handle = nbd_create();
    if (!nbd->handle) {
        nbd->next_try_ms = now_ms + VV_NBD_PAUSE_MS_MAX;
        return;
    }
    nbd->state = VV_NBD_CONNECTING;
    nbd->try_deadline_ms = now_ms + VV_NBD_TRY_MS;
    (void) nbd_set_pread_initialize(nbd->handle, false);
    if (nbd_aio_connect_uri(nbd->handle, nbd->uri) == 0)
        return;
    g_autofree char *why = g_strdup(vv_nbd_last_error());
    if (nbd_get_errno() == EINVAL) {
        GError *refusal = NULL;
        vv_set_error(&refusal, VV_ERROR_USAGE, nbd->uri, NULL, "%s is no address of an NBD export: %s", nbd->uri, why);
        tell_opener(nbd, refusal);
    }
    vv_nbd_lose(nbd, why);
}

static bool take_sizes(VvNbd *nbd, uint64_t bytes, uint64_t largest_bytes)
{
    nbd->piece_bytes_max = MIN(largest_bytes, VV_NBD_PIECE_BYTES_MAX);
    nbd->piece_bytes_max -= nbd->piece_bytes_max % VV_BLOCK_BYTES;
    atomic_store(&nbd->bytes, bytes);
    return true;
}

/* Is it of use as a disk? */
static bool examine(VvNbd *nbd, GError **error)
{
    const char *uri = nbd->uri;
    int64_t bytes = nbd_get_size(nbd->handle), smallest = nbd_get_block_size(nbd->handle, LIBNBD_SIZE_MINIMUM),
            largest = nbd_get_block_size(nbd->handle, LIBNBD_SIZE_MAXIMUM);
    uint64_t before = atomic_load(&nbd->bytes);

    if (bytes < 0)
        vv_set_error(error, VV_ERROR_IO, uri, NULL, "the size of %s cannot be told: %s", uri, vv_nbd_last_error());
    else if (!nbd->read_only && nbd_is_read_only(nbd->handle) != 0)
        vv_set_error(error, VV_ERROR_DENIED, uri, NULL, "%s is read-only", uri);
    else if (!nbd->read_only && nbd_can_flush(nbd->handle) <= 0)
        vv_set_error(error, VV_ERROR_UNSUPPORTED, uri, NULL,
            "%s cannot be flushed: nothing would be safe there when its server ends", uri);
    else if (smallest > (int64_t) VV_BLOCK_BYTES)
        vv_set_error(error, VV_ERROR_UNSUPPORTED, uri, NULL,
            "%s has blocks of %" G_GINT64_FORMAT " bytes: more than %u are not supported", uri, smallest, VV_BLOCK_BYTES);
    else if (largest > 0 && largest < (int64_t) VV_BLOCK_BYTES)
        vv_set_error(error, VV_ERROR_UNSUPPORTED, uri, NULL,
            "%s takes at most %" G_GINT64_FORMAT " bytes at once: less than %u are not supported", uri, largest, VV_BLOCK_BYTES);
    else if ((uint64_t) bytes < before)
        vv_set_error(error, VV_ERROR_DAMAGED, uri, NULL, "%s has become smaller", uri);
    else
        return take_sizes(nbd, (uint64_t) bytes, largest > 0 ? (uint64_t) largest : VV_NBD_PIECE_BYTES_MAX);
    return false;
}

/* A machine that has gone is noticed; a unix socket takes none of these. */
static void watch_peer(VvNbd *nbd)
{
    int fd = nbd_aio_get_fd(nbd->handle), on = 1, idle = 5, count = 3;
    unsigned silence = SILENCE_MS;

    (void) setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    (void) setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
    (void) setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &idle, sizeof idle);
    (void) setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
    (void) setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &silence, sizeof silence);
    (void) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

void vv_nbd_connected(VvNbd *nbd, uint64_t now_ms)
{
    GError *refusal = NULL;
    bool expecting;

    if (nbd_aio_is_ready(nbd->handle) <= 0) {
        if (nbd_aio_is_dead(nbd->handle) > 0 || nbd_aio_is_closed(nbd->handle) > 0)
            vv_nbd_lose(nbd, vv_nbd_last_error());
        else if (now_ms >= nbd->try_deadline_ms)
            vv_nbd_lose(nbd, "no answer in time");
        return;
    }
    if (!examine(nbd, &refusal)) {
        g_autofree char *text = g_strdup(refusal->message);
        tell_opener(nbd, refusal);
        vv_nbd_lose(nbd, text);
        return;
    }
    watch_peer(nbd);
    expecting = atomic_load(&nbd->expecting);
    nbd->replay_cursor = 0;
    nbd->state = expecting ? VV_NBD_LOOKING : VV_NBD_REPLAYING;
    if (expecting)
        vv_nbd_start_look(nbd, false);
}

/* ---- is it still ours? */

void vv_nbd_start_look(VvNbd *nbd, bool second)
{
    nbd->looking = true;
    nbd->look_second = second;
    nbd->look = (VvRemoteRequest){ .kind = VV_REMOTE_READ,
        .data = nbd->label_bytes,
        .offset = second ? VV_LABEL_SECOND_AT : 0,
        .length_bytes = VV_BLOCK_BYTES,
        .deadline_ms = vv_monotonic_ms() + VV_REMOTE_WAIT_MS };
    vv_nbd_send(nbd, &nbd->look);
}

/* NB5 */
static void judge(VvNbd *nbd, const VvLabel *found)
{
    VvLabel expected;
    {
        VV_LOCKED(&nbd->lock);
        expected = nbd->expected;
    }
    if (!vv_uuid_equal(&found->pool_uuid, &expected.pool_uuid) || !vv_uuid_equal(&found->disk_uuid, &expected.disk_uuid)) {
        vv_nbd_lose(nbd, "another disk is there now");
        return;
    }
    if (found->incarnation > expected.incarnation) {
        nbd->taken = true;
        vv_log(VV_LOG_ERROR, "%s: the pool was opened elsewhere, with another copy of its directory: nothing more is written here", nbd->uri);
        vv_nbd_lose(nbd, "the pool was opened elsewhere, with another copy of its directory");
        return;
    }
    nbd->next_look_ms = vv_monotonic_ms() + VV_NBD_LOOK_MS;
    if (nbd->state == VV_NBD_LOOKING)
        nbd->state = VV_NBD_REPLAYING;
    else
        vv_nbd_beat(nbd);
}

/* Never synced, and whether it arrives does not matter: the next one will. */
void vv_nbd_beat(VvNbd *nbd)
{
    if (nbd->read_only || nbd->beating)
        return;
    {
        VV_LOCKED(&nbd->lock);
        vv_beat_encode(&nbd->expected.disk_uuid, ++nbd->beats, nbd->beat_bytes);
    }
    nbd->beating = true;
    nbd->beat = (VvRemoteRequest){ .kind = VV_REMOTE_WRITE, .data = nbd->beat_bytes, .offset = VV_BEAT_AT, .length_bytes = VV_BLOCK_BYTES };
    vv_nbd_send(nbd, &nbd->beat);
}

void vv_nbd_looked(VvNbd *nbd, int result)
{
    VvLabel found;

    nbd->looking = false;
    if (result == -ENOTCONN || !nbd->handle)
        return; /* the connection is lost, and that is told */
    if (result == 0 && vv_label_decode(nbd->label_bytes, &found) == 0)
        judge(nbd, &found);
    else if (!nbd->look_second)
        vv_nbd_start_look(nbd, true);
    else
        vv_nbd_lose(nbd, result < 0 ? "its label cannot be read" : "the disk is not there any more");
}

/* ---- what may be lost is written again: NB2 */

bool vv_nbd_is_replay(const VvNbd *nbd, const VvRemoteRequest *request)
{
    return request >= nbd->replays && request < nbd->replays + VV_NBD_REPLAYS_MAX;
}

static bool overlaps(const VvNbd *nbd, uint64_t offset, uint64_t length_bytes)
{
    for (const VvRemoteRequest *request = nbd->in_flight.first; request; request = request->next)
        if (offset < request->offset + request->length_bytes && request->offset < offset + length_bytes)
            return true;
    return false;
}

static VvRemoteRequest *free_replay(VvNbd *nbd)
{
    for (unsigned i = 0; i < VV_NBD_REPLAYS_MAX; i++)
        if (nbd->replays[i].kind != VV_REMOTE_WRITE)
            return &nbd->replays[i];
    return NULL;
}

static void up(VvNbd *nbd)
{
    nbd->state = VV_NBD_UP;
    nbd->was_up = true;
    nbd->pause_ms = 0;
    if (nbd->down_since_ms)
        vv_log(VV_LOG_NOTE, "%s: is back after %" G_GUINT64_FORMAT " ms", nbd->uri, vv_monotonic_ms() - nbd->down_since_ms);
    nbd->down_since_ms = 0;
    vv_nbd_set_trouble(nbd, NULL);
    tell_opener(nbd, NULL);
}

void vv_nbd_replay(VvNbd *nbd)
{
    while (nbd->unsynced && nbd->replaying < VV_NBD_REPLAYS_MAX) {
        uint64_t cursor = nbd->replay_cursor, offset;
        uint32_t length_bytes;
        void *data;

        if (!vv_unsynced_next(nbd->unsynced, &cursor, &offset, &data, &length_bytes) || overlaps(nbd, offset, length_bytes))
            break;
        VvRemoteRequest *request = free_replay(nbd);
        *request = (VvRemoteRequest){ .kind = VV_REMOTE_WRITE,
            .data = data,
            .offset = offset,
            .length_bytes = length_bytes,
            .deadline_ms = vv_monotonic_ms() + VV_REMOTE_WAIT_MS };
        nbd->replay_cursor = cursor;
        nbd->replaying++;
        vv_nbd_send(nbd, request);
    }
    if (nbd->replaying == 0)
        up(nbd);
}

void vv_nbd_replayed(VvNbd *nbd, VvRemoteRequest *request, int result)
{
    if (result == 0 && nbd->handle && (request->progress_bytes += request->piece_bytes) < request->length_bytes) {
        vv_nbd_send(nbd, request);
        return;
    }
    request->kind = VV_REMOTE_SIZE; /* unused */
    nbd->replaying--;
    if (result != 0 && result != -ENOTCONN)
        nbd->lost = true; /* NB3 */
    else if (result == 0 && nbd->state == VV_NBD_REPLAYING)
        vv_nbd_replay(nbd);
}
