/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A store whose pages and root are of any bytes, with sums that fit: walking it ends. 4 KiB are a page; missing bytes are zeroes. The
 * first 136 bytes are LMDB's header. */
#include "codec.h"
#include "fuzz.h"
#include "store_sums.h"
#include "util.h"

#include <fcntl.h>
#include <string.h>

#define PAGE 4096u
#define PAGES_MAX 16u
#define META_BYTES 136u

/* The files stay open, so that their pages stay; an opening may have made one longer. */
static void write_file(int *fd, const char *name, const uint8_t *bytes, size_t length_bytes)
{
    if (*fd == 0) {
        g_autofree char *path = g_build_filename(fuzz_folder(), name, NULL);
        *fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    }
    g_assert_cmpint(vv_pwrite_full(*fd, bytes, length_bytes, 0), ==, 0);
    g_assert_cmpint(ftruncate(*fd, (off_t) length_bytes), ==, 0);
}

static uint32_t numbered_crc(uint64_t number, const uint8_t *bytes, size_t length_bytes)
{
    uint8_t n[8];
    vv_put_u64(n, number);
    return vv_crc32c(vv_crc32c(0, n, 8), bytes, length_bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length_bytes)
{
    static uint8_t pages[(2 + PAGES_MAX) * PAGE], sums[4096 + 512];
    static int data_fd, sums_fd;
    g_autoptr(GError) error = NULL;
    if (length_bytes < META_BYTES || length_bytes > META_BYTES + PAGES_MAX * PAGE)
        return 0;
    memset(pages, 0, sizeof pages);
    memset(sums, 0, sizeof sums);
    memcpy(pages + 2 * PAGE, data + META_BYTES, length_bytes - META_BYTES);
    for (unsigned i = 0; i < 2 + PAGES_MAX; i++)
        vv_put_u32(sums + 4096 + i * 4, numbered_crc(i, pages + i * PAGE, PAGE));
    vv_put_u32(sums + 4096 + 508, numbered_crc(0, sums + 4096, 508));
    memcpy(sums, "VVSUMS01", 8);
    vv_put_u32(sums + 8, 1);
    vv_put_u64(sums + 16, 2);
    vv_put_u32(sums + 24, PAGE);
    memcpy(sums + 32, data, META_BYTES);
    vv_put_u64(sums + 32 + 128, 2);
    vv_put_u64(sums + 32 + 120, vv_get_u64(sums + 32 + 120) % (2 + PAGES_MAX));
    vv_put_u32(sums + 12, vv_crc32c(vv_crc32c(0, sums, 12), sums + 16, 496));
    memcpy(sums + 512, sums, 512);
    write_file(&data_fd, "data.mdb", pages, sizeof pages);
    write_file(&sums_fd, "sums", sums, sizeof sums);
    for (VvMapCheck check = VV_MAP_LATE; check <= VV_MAP_WHOLE; check++) {
        VvSums *opened = vv_sums_open(fuzz_folder(), check, &error);
        VvFaultKind kind;
        uint64_t offset;
        g_assert_true((opened == NULL) == (error != NULL));
        if (opened != NULL && vv_sums_lazy(opened) != NULL)
            g_assert_cmpint(vv_lazy_finish(vv_sums_lazy(opened), &kind, &offset), ==, 0);
        vv_sums_close(opened);
        g_clear_error(&error);
    }
    return 0;
}
