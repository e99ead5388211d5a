/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vv_size_parse() on any text: no crash, and what it accepts keeps the promises of the header. */
#include "error.h"
#include "limits.h"
#include "util.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length_bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length_bytes)
{
    static const uint64_t multiples[] = { 0, 1, VV_SECTOR_BYTES, VV_BLOCK_BYTES };
    g_autofree char *text = g_strndup((const char *) data, length_bytes);

    for (size_t i = 0; i < G_N_ELEMENTS(multiples); i++) {
        g_autoptr(GError) error = NULL;
        uint64_t bytes = 0;

        if (vv_size_parse(text, multiples[i], &bytes, &error)) {
            g_assert_no_error(error);
            g_assert_cmpuint(bytes, >, 0);
            g_assert_cmpuint(bytes, <=, VV_LUN_BYTES_MAX);
            g_assert_true(multiples[i] == 0 || bytes % multiples[i] == 0);
        } else {
            g_assert_error(error, VV_ERROR, VV_ERROR_USAGE);
            g_assert_cmpuint(bytes, ==, 0);
        }
    }
    return 0;
}
