/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Keys and pages of the map: 24 bytes of key, then the page, whose checksum is put right. Each page has one stored form. */
#include "codec.h"
#include "fuzz.h"
#include "page.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length_bytes)
{
    uint8_t key_bytes[VV_KEY_BYTES], index_bytes[VV_KEY_BYTES], out[VV_PAGE_BYTES_MAX];
    VvPageKey key, back;
    VvPage page;
    if (length_bytes < VV_KEY_BYTES || length_bytes > 4096)
        return 0;
    vv_page_key_decode(data, &key);
    vv_page_key_encode(&key, key_bytes);
    fuzz_assert_same(key_bytes, sizeof key_bytes, data, VV_KEY_BYTES);
    vv_index_key_encode(&key, index_bytes);
    vv_index_key_decode(index_bytes, &back);
    fuzz_assert_same(&key, sizeof key, &back, sizeof back);

    size_t n = length_bytes - VV_KEY_BYTES;
    g_autofree uint8_t *bytes = g_memdup2(data + VV_KEY_BYTES, n);
    if (n >= VV_PAGE_HEADER_BYTES) {
        uint32_t crc = vv_crc32c(vv_crc32c(0, key_bytes, VV_KEY_BYTES), bytes, 4);
        vv_put_u32(bytes + 4, vv_crc32c(crc, bytes + VV_PAGE_HEADER_BYTES, n - VV_PAGE_HEADER_BYTES));
    }
    if (vv_page_decode(bytes, n, &key, &page) != 0)
        return 0;
    g_assert_cmpuint(vv_page_encode(&page, &key, out), ==, n);
    fuzz_assert_same(out, n, bytes, n);
    g_assert_cmpint(vv_page_bytes_empty(bytes, n), ==, vv_page_mapped_count(&page) == 0 && n == VV_PAGE_HEADER_BYTES);
    return 0;
}
