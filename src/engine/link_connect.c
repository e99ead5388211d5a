/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The connection of a link: made, examined, lost, made again. The link's thread. */
#include "link_private.h"

#include "disk_private.h"

#include <errno.h>

void vv_link_set_trouble(VvLink *link, const char *why)
{
    VV_LOCKED(&link->lock);

    g_free(link->trouble);
    link->trouble = g_strdup(why);
}

/* The first attempt is over: who opens it is told. Takes @refusal, if it is not tried again. */
static void tell_opener(VvLink *link, GError *refusal)
{
    bool again = refusal && g_error_matches(refusal, VV_ERROR, VV_ERROR_IO) && vv_monotonic_ms() < link->open_deadline_ms;
    VV_LOCKED(&link->lock);

    if (link->opened || again) {
        g_clear_error(&refusal);
        return;
    }
    link->opened = true;
    link->refusal = refusal;
    pthread_cond_signal(&link->changed);
}

/* ---- losing it */

static void end_transport(VvLink *link, bool orderly)
{
    VvRemoteRequest *request;

    link->transport->ops->end(link->transport, orderly);
    link->begun = false;
    while ((request = link->in_flight.last)) { /* the oldest is in front again */
        vv_link_take(&link->in_flight, request);
        if (request == &link->look)
            link->looking = false;
        else if (request == &link->beat)
            link->beating = false;
        else if (request == &link->flush)
            link->flushing = false;
        else if (vv_link_is_replay(link, request))
            vv_link_replayed(link, request, -ENOTCONN);
        else
            vv_link_push_front(&link->waiting, request);
    }
}

void vv_link_lose(VvLink *link, const char *why)
{
    g_autofree char *text = g_strdup(why);
    uint64_t now_ms = vv_monotonic_ms();
    GError *refusal = NULL;

    if (!link->begun)
        return;
    end_transport(link, false);
    link->state = VV_LINK_DOWN;
    link->pause_ms = link->pause_ms ? MIN(2 * link->pause_ms, VV_LINK_PAUSE_MS_MAX) : VV_LINK_PAUSE_MS;
    link->next_try_ms = now_ms + link->pause_ms;
    if (link->was_up) {
        link->was_up = false;
        link->down_since_ms = now_ms;
        vv_log(VV_LOG_WARNING, "%s: the connection is lost (%s): its requests wait up to %u s", link->name, text, VV_REMOTE_WAIT_MS / 1000);
    }
    vv_link_set_trouble(link, text);
    vv_set_error(&refusal, VV_ERROR_IO, link->name, NULL, "%s cannot be reached: %s", link->name, text);
    tell_opener(link, refusal);
}

void vv_link_disconnect(VvLink *link)
{
    if (!link->begun)
        return;
    end_transport(link, true);
    link->state = VV_LINK_DOWN;
    link->next_try_ms = 0;
}

/* ---- making it */

void vv_link_connect(VvLink *link, uint64_t now_ms)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *why = NULL;

    if (link->taken || now_ms < link->next_try_ms)
        return;
    link->state = VV_LINK_CONNECTING;
    link->begun = true;
    link->try_deadline_ms = now_ms + VV_LINK_TRY_MS;
    if (link->transport->ops->begin(link->transport, &error))
        return;
    why = g_strdup(error->message);
    if (!g_error_matches(error, VV_ERROR, VV_ERROR_IO))
        tell_opener(link, g_steal_pointer(&error));
    vv_link_lose(link, why);
}

static bool examine(VvLink *link, GError **error)
{
    VvTransportFacts facts;

    if (!link->transport->ops->examine(link->transport, link->read_only, &facts, error))
        return false;
    if (facts.bytes < atomic_load(&link->bytes)) {
        vv_set_error(error, VV_ERROR_DAMAGED, link->name, NULL, "%s has become smaller", link->name);
        return false;
    }
    link->facts = facts;
    atomic_store(&link->bytes, facts.bytes);
    return true;
}

void vv_link_connected(VvLink *link, uint64_t now_ms)
{
    GError *refusal = NULL;
    g_autofree char *why = NULL;
    bool expecting;

    if (link->transport->ops->state(link->transport, &why) != VV_TRANSPORT_READY) {
        if (now_ms >= link->try_deadline_ms)
            vv_link_lose(link, "no answer in time");
        return;
    }
    if (!examine(link, &refusal)) {
        g_autofree char *text = g_strdup(refusal->message);
        tell_opener(link, refusal);
        vv_link_lose(link, text);
        return;
    }
    expecting = atomic_load(&link->expecting);
    link->replay_cursor = 0;
    link->intact = false;
    link->before = link->incarnation;
    link->state = expecting ? VV_LINK_LOOKING : VV_LINK_REPLAYING;
    if (expecting)
        vv_link_start_look(link, false);
}

/* ---- is it still ours? */

void vv_link_start_look(VvLink *link, bool second)
{
    link->looking = true;
    link->look_second = second;
    link->look = (VvRemoteRequest){ .kind = VV_REMOTE_READ,
        .data = link->label_bytes,
        .offset = second ? VV_LABEL_SECOND_AT : 0,
        .length_bytes = VV_BLOCK_BYTES,
        .deadline_ms = vv_monotonic_ms() + VV_REMOTE_WAIT_MS };
    vv_link_send(link, &link->look);
}

/* K5 */
static void judge(VvLink *link, const VvLabel *found)
{
    VvLabel expected;
    {
        VV_LOCKED(&link->lock);
        expected = link->expected;
    }
    if (!vv_uuid_equal(&found->pool_uuid, &expected.pool_uuid) || !vv_uuid_equal(&found->disk_uuid, &expected.disk_uuid)) {
        vv_link_lose(link, "another disk is there now");
        return;
    }
    if (found->incarnation > expected.incarnation) {
        link->taken = true;
        vv_log(VV_LOG_ERROR, "%s: the pool was opened elsewhere, with another copy of its directory: nothing more is written here", link->name);
        vv_link_lose(link, "the pool was opened elsewhere, with another copy of its directory");
        return;
    }
    link->next_look_ms = vv_monotonic_ms() + VV_LINK_LOOK_MS;
    if (link->state == VV_LINK_LOOKING)
        link->state = VV_LINK_REPLAYING;
    else
        vv_link_beat(link);
}

/* Never synced, and whether it arrives does not matter: the next one will. */
void vv_link_beat(VvLink *link)
{
    if (link->read_only || link->beating)
        return;
    {
        VV_LOCKED(&link->lock);
        vv_beat_encode(&link->expected.disk_uuid, ++link->beats, link->beat_bytes);
    }
    link->beating = true;
    link->beat = (VvRemoteRequest){ .kind = VV_REMOTE_WRITE, .data = link->beat_bytes, .offset = VV_BEAT_AT, .length_bytes = VV_BLOCK_BYTES };
    vv_link_send(link, &link->beat);
}

void vv_link_looked(VvLink *link, int result)
{
    VvLabel found;

    link->looking = false;
    if (result == -ENOTCONN || !link->begun)
        return; /* the connection is lost, and that is told */
    if (link->look.incarnation != 0) { /* K2 */
        if (link->state != VV_LINK_LOOKING && link->incarnation != 0 && link->look.incarnation != link->incarnation) {
            vv_link_lose(link, "the server has lost what was not synced");
            return;
        }
        link->intact = link->look.incarnation == link->before;
        link->incarnation = link->look.incarnation;
    }
    if (result == 0 && vv_label_decode(link->label_bytes, &found) == 0)
        judge(link, &found);
    else if (!link->look_second)
        vv_link_start_look(link, true);
    else
        vv_link_lose(link, result < 0 ? "its label cannot be read" : "the disk is not there any more");
}

/* ---- what may be lost is written again: K2 */

bool vv_link_is_replay(const VvLink *link, const VvRemoteRequest *request)
{
    return request >= link->replays && request < link->replays + VV_LINK_REPLAYS_MAX;
}

static bool overlaps(const VvLink *link, uint64_t offset, uint64_t length_bytes)
{
    for (const VvRemoteRequest *request = link->in_flight.first; request; request = request->next)
        if (offset < request->offset + request->length_bytes && request->offset < offset + length_bytes)
            return true;
    return false;
}

static VvRemoteRequest *free_replay(VvLink *link)
{
    for (unsigned i = 0; i < VV_LINK_REPLAYS_MAX; i++)
        if (link->replays[i].kind != VV_REMOTE_WRITE)
            return &link->replays[i];
    return NULL;
}

static void up(VvLink *link)
{
    link->state = VV_LINK_UP;
    link->was_up = true;
    link->pause_ms = 0;
    if (link->down_since_ms)
        vv_log(VV_LOG_NOTE, "%s: is back after %" G_GUINT64_FORMAT " ms", link->name, vv_monotonic_ms() - link->down_since_ms);
    link->down_since_ms = 0;
    vv_link_set_trouble(link, NULL);
    tell_opener(link, NULL);
}

void vv_link_replay(VvLink *link)
{
    if (link->unsynced && !link->intact && !vv_unsynced_is_whole(link->unsynced) && !link->lost) { /* K3 */
        link->lost = true;
        vv_log(VV_LOG_ERROR, "%s: more was written since the last sync than is kept: the server may have lost it", link->name);
    }
    while (link->unsynced && !link->intact && link->replaying < VV_LINK_REPLAYS_MAX) {
        uint64_t cursor = link->replay_cursor, offset;
        uint32_t length_bytes;
        void *data;

        if (!vv_unsynced_next(link->unsynced, &cursor, &offset, &data, &length_bytes) || overlaps(link, offset, length_bytes))
            break;
        VvRemoteRequest *request = free_replay(link);
        *request = (VvRemoteRequest){ .kind = VV_REMOTE_WRITE,
            .data = data,
            .offset = offset,
            .length_bytes = length_bytes,
            .deadline_ms = vv_monotonic_ms() + VV_REMOTE_WAIT_MS };
        link->replay_cursor = cursor;
        link->replaying++;
        vv_link_send(link, request);
    }
    if (link->replaying == 0)
        up(link);
}

void vv_link_replayed(VvLink *link, VvRemoteRequest *request, int result)
{
    if (result == 0 && link->begun && (request->progress_bytes += request->piece_bytes) < request->length_bytes) {
        vv_link_send(link, request);
        return;
    }
    request->kind = VV_REMOTE_SIZE; /* unused */
    link->replaying--;
    if (result != 0 && result != -ENOTCONN)
        link->lost = true; /* K3 */
    else if (result == 0 && link->state == VV_LINK_REPLAYING)
        vv_link_replay(link);
}
