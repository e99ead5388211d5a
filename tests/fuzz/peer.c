/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Every decoder of the peer protocol, of any bytes; the first one chooses. Checksums are made right, else nothing would get past them.
 * What is accepted keeps the promises of the headers and, where there is an encoder, is the same once more. */
#include "address.h"
#include "codec.h"
#include "frame.h"
#include "fuzz.h"
#include "hello.h"
#include "joining.h"
#include "shipped.h"
#include "token.h"

static void try_frame(const uint8_t *data, size_t length_bytes)
{
    uint8_t raw[VV_FRAME_BYTES], again[VV_FRAME_BYTES];
    VvFrame frame;

    if (length_bytes < 28)
        return;
    memcpy(raw, data, 28);
    vv_put_u32(raw + 28, vv_crc32c(0, raw, 28));
    if (!vv_frame_decode(raw, &frame, NULL))
        return;
    g_assert_true(frame.body_bytes <= VV_PEER_BODY_BYTES_MAX && frame.data_bytes <= VV_PEER_DATA_BYTES_MAX);
    vv_frame_encode(&frame, again);
    fuzz_assert_same(raw, VV_FRAME_BYTES, again, VV_FRAME_BYTES);
}

static void try_hello(const uint8_t *data, size_t length_bytes)
{
    g_autoptr(GByteArray) out = g_byte_array_new();
    VvHello hello, back, ours = { .version_min = 1, .version_max = 1, .name = "us" };
    uint16_t version;
    uint64_t features;

    if (!vv_hello_decode(data, length_bytes, &hello, NULL))
        return;
    vv_hello_encode(&hello, out);
    g_assert_cmpuint(out->len, <=, length_bytes);
    fuzz_assert_same(out->data, out->len, data, out->len); /* what follows was skipped */
    g_assert_true(vv_hello_decode(out->data, out->len, &back, NULL));
    if (vv_hello_agree(&ours, &hello, &version, &features, NULL))
        g_assert_true(version == 1 && features == 0 && hello.features_required == 0);
}

static void try_goodbye(const uint8_t *data, size_t length_bytes)
{
    VvGoodbye goodbye;

    if (!vv_goodbye_decode(data, length_bytes, &goodbye, NULL))
        return;
    for (const char *c = goodbye.text; *c; c++)
        g_assert_true(g_ascii_isprint(*c));
}

static void check_token(const char *line)
{
    g_auto(VvToken) token = { 0 };
    g_auto(VvToken) back = { 0 };
    g_autofree char *again = NULL;

    if (!vv_token_parse(line, &token, NULL))
        return;
    g_assert_true(g_strv_length(token.addresses) >= 1 && g_strv_length(token.addresses) <= VV_NODE_ADDRESSES_MAX);
    again = vv_token_format(&token);
    g_assert_true(vv_token_parse(again, &back, NULL));
    g_assert_true(memcmp(back.secret, token.secret, sizeof back.secret) == 0);
}

static void try_token(const uint8_t *data, size_t length_bytes)
{
    g_autofree char *text = g_strndup((const char *) data, length_bytes);
    g_autofree char *encoded = NULL, *line = NULL;
    g_autoptr(GByteArray) raw = g_byte_array_new();

    check_token(text);
    if (length_bytes < 4 || length_bytes > VV_TOKEN_BYTES_MAX - 4)
        return;
    vv_write_bytes(raw, data, length_bytes);
    raw->data[0] = 1;
    vv_put_u16(raw->data + 2, (uint16_t) (length_bytes + 4));
    vv_write_u32(raw, vv_crc32c(0, raw->data, raw->len));
    encoded = g_base64_encode(raw->data, raw->len);
    g_strdelimit(encoded, "+", '-');
    g_strdelimit(encoded, "/", '_');
    encoded[strcspn(encoded, "=")] = '\0';
    line = g_strconcat("vvfs-", encoded, NULL);
    check_token(line);
}

static void try_address(const uint8_t *data, size_t length_bytes)
{
    g_autofree char *text = g_strndup((const char *) data, length_bytes);
    VvAddress address, back;

    if (!vv_address_parse(text, true, &address, NULL))
        return;
    g_assert_true(vv_address_parse(address.text, true, &back, NULL));
    g_assert_cmpstr(address.text, ==, back.text);
}

static void try_join_request(const uint8_t *data, size_t length_bytes)
{
    g_auto(VvJoinRequest) request = { 0 };
    g_autoptr(GByteArray) again = g_byte_array_new();

    if (!vv_join_request_decode(data, length_bytes, &request, NULL))
        return;
    vv_join_request_encode(&request, again);
    vv_write_bytes(again, request.proof, sizeof request.proof);
    fuzz_assert_same(data, length_bytes, again->data, again->len);
}

static void try_joined(const uint8_t *data, size_t length_bytes)
{
    g_auto(VvJoined) joined = { 0 };
    g_autoptr(GByteArray) again = g_byte_array_new();
    g_autoptr(GError) error = NULL;

    if (!vv_joined_decode(data, length_bytes, &joined, &error)) {
        g_assert_nonnull(error);
        return;
    }
    vv_joined_encode(&joined, again);
    fuzz_assert_same(data, length_bytes, again->data, again->len);
}

static void try_identity(const uint8_t *data, size_t length_bytes)
{
    g_autofree char *text = g_strndup((const char *) data, length_bytes), *again = NULL;
    VvIdentity identity;

    if (!vv_identity_parse(text, &identity))
        return;
    again = vv_identity_format(&identity);
    g_assert_cmpstr(text, ==, again);
}

static void try_shipped(const uint8_t *data, size_t length_bytes)
{
    uint8_t again[VV_SHIPPED_BYTES];
    VvShippedDone done;
    VvShipped shipped;
    uint32_t data_bytes;

    if (length_bytes < 4)
        return;
    data_bytes = vv_get_u32(data);
    data += 4;
    length_bytes -= 4;
    if (vv_shipped_decode(data, (uint32_t) length_bytes, data_bytes, &shipped, NULL)) {
        vv_shipped_encode(&shipped, again);
        fuzz_assert_same(data, length_bytes, again, VV_SHIPPED_BYTES);
        g_assert_cmpuint(shipped.offset_bytes + shipped.length_bytes, <=, INT64_MAX);
    }
    if (vv_shipped_done_decode(data, (uint32_t) length_bytes, data_bytes, 4096, &done, NULL))
        g_assert_true(done.result <= 0 && data_bytes == (done.result == 0 ? 4096 : 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length_bytes)
{
    static void (*const targets[])(const uint8_t *, size_t) = {
        try_frame,
        try_hello,
        try_goodbye,
        try_token,
        try_address,
        try_join_request,
        try_joined,
        try_identity,
        try_shipped,
    };

    if (length_bytes > 0)
        targets[data[0] % G_N_ELEMENTS(targets)](data + 1, length_bytes - 1);
    return 0;
}
