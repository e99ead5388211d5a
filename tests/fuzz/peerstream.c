/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a node with a valid certificate may send: any frames in any order to a peer that has asked three things, on each kind of
 * connection, cut into any pieces. The peer ends or goes on; each request is answered or failed once, what was placed is given to
 * the owner once, and nothing more is taken than was said.
 *
 * The first byte: 1 data connection, 2 dialled by it, 4 bytes follow without form. Then {u16 kind, u8 flags, u8 request, u8 body, u16 data}:
 * data is 10 bits in units of 64 bytes, 6 bits if one of its two top bits is set, 10 in units of 4096 if its six top bits are: megabytes, which take
 * long, come now and then. The top bit of flags leaves the checksum wrong, the next one pauses, the next stops half-way. */
#include "fuzz.h"
#include "peer_private.h"

#include "codec.h"

#include <errno.h>

#define ASKED 3u
#define INTO_BYTES 4096u
#define INPUT_BYTES_MAX 1024u /* 146 frames; what is behind them is left out */

typedef struct {
    const uint8_t *data;
    size_t length_bytes;
    VvPeer *peer;
    unsigned done[ASKED], downs;
    unsigned places, unplaces, placed;
    uint8_t into[ASKED][INTO_BYTES];
    uint8_t place[VV_PEER_DATA_BYTES_MAX];
} Run;

static uint8_t filler[VV_PEER_BODY_BYTES_MAX + VV_PEER_DATA_BYTES_MAX];
static VvPeerLoop *loop;

static void message_cb(VvPeer *peer, const VvIncoming *in, void *user)
{
    Run *run = user;

    g_assert_true(in->kind >= VV_FRAME_DISK);
    g_assert_true(in->body_bytes <= VV_DATA_BODY_BYTES_MAX);
    if (in->data_bytes > 0 && !peer->control) {
        g_assert_true(in->data == run->place);
        run->placed++;
    }
    if (in->request % 2 == 1)
        vv_peer_reply(peer, in->request, &(VvOutgoing){ .kind = in->kind });
}

static void *place_cb(VvPeer *peer, const VvIncoming *in, void *user)
{
    Run *run = user;

    (void) peer;
    g_assert_true(in->data_bytes > 0 && in->data_bytes <= VV_PEER_DATA_BYTES_MAX);
    if (++run->places % 5 == 0) {
        run->places--;
        return NULL;
    }
    return run->place;
}

static void unplace_cb(VvPeer *peer, void *data, void *user)
{
    Run *run = user;

    (void) peer;
    g_assert_true(data == run->place);
    run->unplaces++;
}

static void down_cb(VvPeer *peer, const char *why, void *user)
{
    (void) peer;
    g_assert_nonnull(why);
    ((Run *) user)->downs++;
}

static void done_cb(void *user, int result, const VvIncoming *reply)
{
    g_assert_true((result == 0) == (reply != NULL));
    g_assert_true(!reply || reply->data_bytes <= INTO_BYTES);
    (*(unsigned *) user)++;
}

static void timer_cb(void *data)
{
    (void) data;
}

static uint32_t data_bytes_of(uint16_t said)
{
    if (said >> 10 == 0x3f)
        return (said & 0x3ffu) * 4096u;
    return (said & (said >> 14 == 0 ? 0x3ffu : 0x3fu)) * 64u;
}

static void feed(Run *run)
{
    static uint8_t heads[INPUT_BYTES_MAX / 7][VV_FRAME_BYTES]; /* lent: behind what was lent libevent takes as much again for a few bytes */
    const uint8_t *at = run->data + 1, *end = run->data + run->length_bytes;
    VvPeer *peer = run->peer;

    if (run->data[0] & 4) {
        evbuffer_add(peer->input, at, (size_t) (end - at));
        vvp_input(peer);
        return;
    }
    for (uint8_t(*head)[VV_FRAME_BYTES] = heads; end - at >= 7 && peer->state == VV_PEER_UP; at += 7, head++) {
        VvFrame frame = { .kind = vv_get_u16(at),
            .flags = at[2] & 3,
            .request = at[3],
            .body_bytes = at[4] * 17u,
            .data_bytes = data_bytes_of(vv_get_u16(at + 5)) };
        size_t bytes = frame.body_bytes + frame.data_bytes;
        uint8_t *raw = *head;

        vv_frame_encode(&frame, raw);
        if (at[2] & 0x80)
            raw[28] ^= 1;
        vvp_set_pause(peer, VV_PAUSE_OWNER, (at[2] & 0x40) != 0);
        evbuffer_add_reference(peer->input, raw, 9, NULL, NULL);
        vvp_input(peer);
        evbuffer_add_reference(peer->input, raw + 9, VV_FRAME_BYTES - 9, NULL, NULL);
        bytes = MIN(bytes, sizeof filler);
        evbuffer_add_reference(peer->input, filler, (at[2] & 0x20) ? bytes / 2 : bytes, NULL, NULL);
        vvp_input(peer);
        vvp_set_pause(peer, VV_PAUSE_OWNER | VV_PAUSE_PLACE, false);
        vvp_input(peer);
    }
}

static void run_cb(void *data)
{
    static const VvPeerEvents events = { message_cb, place_cb, unplace_cb, NULL, down_cb };
    Run *run = data;
    VvHello hello = { .purpose = (run->data[0] & 1) ? VV_PURPOSE_DATA : VV_PURPOSE_CONTROL,
        .requests_max = 4,
        .body_max = VV_DATA_BODY_BYTES_MAX,
        .data_max = VV_PEER_DATA_BYTES_MAX };
    VvPeerOptions options = {
        .loop = loop, .ours = hello, .theirs = hello, .dialled = !(run->data[0] & 2), .events = &events, .user = run
    };
    VvPeer *peer = run->peer = vv_peer_new(&options);

    vv_peer_ref(peer); /* as vv_peer_start would, but for TLS */
    peer->state = VV_PEER_UP;
    peer->timer = vv_peer_timer_new(loop, timer_cb, NULL);
    peer->bev = bufferevent_socket_new(vv_peer_loop_base(loop), -1, 0);
    evbuffer_add_cb(bufferevent_get_output(peer->bev), vvp_output_cb, peer);
    for (unsigned i = 0; i < ASKED && (peer->control || options.dialled); i++) {
        VvPeerRequest request = { .timeout_ms = 1000000,
            .into = run->into[i],
            .into_bytes = INTO_BYTES,
            .done = done_cb,
            .user = &run->done[i] };

        g_assert_cmpint(vv_peer_request(peer, &(VvOutgoing){ .kind = VV_FRAME_DISK }, &request), ==, 0);
    }
    vvp_pump(peer);
    feed(run);
    vv_peer_close(peer, 0, "over");
}

static void nothing_cb(void *data)
{
    (void) data;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length_bytes)
{
    static Run run;

    if (length_bytes == 0)
        return 0;
    length_bytes = MIN(length_bytes, INPUT_BYTES_MAX);
    if (!loop)
        loop = vv_peer_loop_new("vv-fuzz", NULL);
    memset(&run, 0, sizeof run - sizeof run.place);
    run.data = data;
    run.length_bytes = length_bytes;
    vv_peer_loop_run(loop, run_cb, &run);
    vv_peer_loop_run(loop, nothing_cb, NULL); /* behind the end */
    g_assert_cmpuint(run.downs, ==, 1);
    for (unsigned i = 0; i < ASKED; i++)
        g_assert_cmpuint(run.done[i], ==, (data[0] & 1) && (data[0] & 2) ? 0 : 1);
    g_assert_cmpuint(run.places, ==, run.placed + run.unplaces);
    vv_peer_unref(run.peer);
    return 0;
}
