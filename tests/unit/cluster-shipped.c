/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Requests to disks of other nodes, bodies of joining: what is accepted, and what is not. */
#include "codec.h"
#include "error.h"
#include "joining.h"
#include "shipped.h"

#include <errno.h>

static bool decodes(const VvShipped *shipped, uint32_t data_bytes)
{
    uint8_t raw[VV_SHIPPED_BYTES], again[VV_SHIPPED_BYTES];
    g_autoptr(GError) error = NULL;
    VvShipped back;
    bool good;

    vv_shipped_encode(shipped, raw);
    good = vv_shipped_decode(raw, sizeof raw, data_bytes, &back, &error);
    if (!good) {
        g_assert_error(error, VV_ERROR, VV_ERROR_DAMAGED);
        return false;
    }
    vv_shipped_encode(&back, again);
    g_assert_cmpmem(raw, sizeof raw, again, sizeof again);
    return true;
}

static void test_request(void)
{
    static const struct {
        VvShipped shipped;
        uint32_t data_bytes;
        bool good;
    } cases[] = {
        { { VV_SHIPPED_READ, 1, 2, 3, 4096, 4096 }, 0, true },
        { { VV_SHIPPED_WRITE, 1, 2, 3, 4096, 4096 }, 4096, true },
        { { VV_SHIPPED_SYNC, 1, 2, 3, 0, 0 }, 0, true },
        { { VV_SHIPPED_DISCARD, 1, 2, 3, 0, INT64_MAX }, 0, true },
        { { VV_SHIPPED_LOOK, 1, 2, 3, 0, 0 }, 0, true },
        { { VV_SHIPPED_LOOK, 1, 2, 3, 0, 1 }, 0, false },
        { { VV_SHIPPED_READ, 1, 2, 3, 4096, 4096 }, 4096, false },
        { { VV_SHIPPED_WRITE, 1, 2, 3, 4096, 4096 }, 4095, false },
        { { VV_SHIPPED_WRITE, 1, 2, 3, 4096, 0 }, 0, false },
        { { VV_SHIPPED_READ, 1, 2, 3, 0, 0 }, 0, false },
        { { VV_SHIPPED_READ, 1, 2, 3, 0, VV_PEER_DATA_BYTES_MAX + 1 }, 0, false },
        { { VV_SHIPPED_READ, 1, 2, 3, INT64_MAX, 1 }, 0, false },
        { { VV_SHIPPED_READ, 1, 2, 3, UINT64_MAX, 4096 }, 0, false },
        { { VV_SHIPPED_DISCARD, 1, 2, 3, 1, INT64_MAX }, 0, false },
        { { VV_SHIPPED_SYNC, 1, 2, 3, 0, 1 }, 0, false },
        { { (VvShippedOp) 0, 1, 2, 3, 0, 1 }, 0, false },
        { { (VvShippedOp) 6, 1, 2, 3, 0, 1 }, 0, false },
    };
    uint8_t raw[VV_SHIPPED_BYTES + 1] = { VV_SHIPPED_SYNC };
    VvShipped back;

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++)
        if (decodes(&cases[i].shipped, cases[i].data_bytes) != cases[i].good)
            g_error("case %zu", i);
    g_assert_true(vv_shipped_decode(raw, VV_SHIPPED_BYTES, 0, &back, NULL));
    g_assert_false(vv_shipped_decode(raw, VV_SHIPPED_BYTES + 1, 0, &back, NULL));
    g_assert_false(vv_shipped_decode(raw, 1, 0, &back, NULL));
    g_assert_false(vv_shipped_decode(NULL, 0, 0, &back, NULL));
    raw[7] = 1;
    g_assert_false(vv_shipped_decode(raw, VV_SHIPPED_BYTES, 0, &back, NULL));
}

static void test_done(void)
{
    static const int results[] = { 0, -EIO, -ENOSPC, -EROFS, -EUCLEAN, -ENODATA, -ENOMEM, -ETIMEDOUT, -EINVAL, -ESTALE,
        -ESHUTDOWN };
    uint8_t raw[VV_SHIPPED_DONE_BYTES];
    VvShippedDone done, back;

    for (size_t i = 0; i < G_N_ELEMENTS(results); i++) {
        done = (VvShippedDone){ results[i], 77, 88, 99 };
        vv_shipped_done_encode(&done, raw);
        g_assert_cmpuint(raw[0], ==, i);
        g_assert_true(vv_shipped_done_decode(raw, sizeof raw, results[i] ? 0 : 512, 512, &back, NULL));
        g_assert_cmpint(back.result, ==, results[i]);
        g_assert_cmpuint(back.incarnation, ==, 77);
        g_assert_cmpuint(back.fence, ==, 88);
        g_assert_cmpuint(back.bytes, ==, 99);
        g_assert_false(vv_shipped_done_decode(raw, sizeof raw, 511, 512, &back, NULL));
        g_assert_false(vv_shipped_done_decode(raw, sizeof raw - 1, results[i] ? 0 : 512, 512, &back, NULL));
    }
    done.result = -EXDEV; /* outside the set */
    vv_shipped_done_encode(&done, raw);
    g_assert_true(vv_shipped_done_decode(raw, sizeof raw, 0, 512, &back, NULL));
    g_assert_cmpint(back.result, ==, -EIO);
    raw[31] = 0x80; /* too large */
    g_assert_false(vv_shipped_done_decode(raw, sizeof raw, 0, 512, &back, NULL));
    raw[31] = 0;
    raw[0] = 200; /* of a later release */
    g_assert_true(vv_shipped_done_decode(raw, sizeof raw, 0, 512, &back, NULL));
    g_assert_cmpint(back.result, ==, -EIO);
}

/* ---- joining */
static void test_join_request(void)
{
    g_auto(VvJoinRequest) request = { .invite = 7 };
    g_auto(VvJoinRequest) back = { 0 };
    g_autoptr(GByteArray) out = g_byte_array_new();

    request.name = g_strdup("n2");
    request.software = g_strdup("1.0");
    request.addresses = g_strsplit("10.0.0.2:7333 10.1.0.2:7333", " ", -1);
    request.request = g_bytes_new_static("csr", 3);
    vv_join_request_encode(&request, out);
    for (unsigned i = 0; i < VV_PROOF_BYTES; i++)
        vv_write_u8(out, (uint8_t) i);
    for (guint n = 0; n < out->len; n++)
        g_assert_false(vv_join_request_decode(out->data, n, &back, NULL));
    g_assert_true(vv_join_request_decode(out->data, out->len, &back, NULL));
    g_assert_cmpuint(back.invite, ==, 7);
    g_assert_cmpstr(back.addresses[1], ==, "10.1.0.2:7333");
    g_assert_cmpuint(back.proof[63], ==, 63);
    g_assert_true(g_bytes_equal(back.request, request.request));
    vv_join_request_clear(&back);
    vv_write_u8(out, 0);
    g_assert_false(vv_join_request_decode(out->data, out->len, &back, NULL));
    out->data[10] = '/'; /* the name */
    g_assert_false(vv_join_request_decode(out->data, out->len - 1, &back, NULL));
}

static void test_joined(void)
{
    g_auto(VvJoined) joined = { .node = 9, .role = VV_TOKEN_GUEST, .nodes = vv_known_nodes_new() };
    g_auto(VvJoined) back = { 0 };
    g_autoptr(GByteArray) out = g_byte_array_new(), no = g_byte_array_new();
    g_autoptr(GError) why = NULL, error = NULL;

    joined.pool_name = g_strdup("prod");
    joined.node_name = g_strdup("n9");
    joined.credentials.node_certificate = g_bytes_new_static("cert", 4);
    joined.credentials.authority_certificate = g_bytes_new_static("authority", 9);
    vv_known_nodes_add(joined.nodes, 1, false, "n1", (const char *const[]){ "10.0.0.1:7333", NULL });
    vv_known_nodes_add(joined.nodes, 2, true, "n2", (const char *const[]){ NULL });
    vv_joined_encode(&joined, out);
    for (guint n = 0; n < out->len; n++)
        g_assert_false(vv_joined_decode(out->data, n, &back, NULL));
    g_assert_true(vv_joined_decode(out->data, out->len, &back, NULL));
    g_assert_cmpuint(back.node, ==, 9);
    g_assert_null(back.credentials.authority_key);
    g_assert_cmpuint(back.nodes->len, ==, 2);
    g_assert_true(g_array_index(back.nodes, VvKnownNode, 1).guest);
    g_assert_cmpstr(g_array_index(back.nodes, VvKnownNode, 0).addresses[0], ==, "10.0.0.1:7333");
    vv_joined_clear(&back);
    vv_set_error(&why, VV_ERROR_STALE, NULL, NULL, "used\nalready");
    vv_joined_encode_refusal(why, no);
    g_assert_false(vv_joined_decode(no->data, no->len, &back, &error));
    g_assert_error(error, VV_ERROR, VV_ERROR_STALE);
    g_assert_cmpstr(error->message, ==, "the pool refused: used?already");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/cluster/shipped/request", test_request);
    g_test_add_func("/cluster/shipped/done", test_done);
    g_test_add_func("/cluster/joining/request", test_join_request);
    g_test_add_func("/cluster/joining/joined", test_joined);
    return g_test_run();
}
