/* SPDX-License-Identifier: GPL-2.0-or-later */
/* LMDB's two headers, in pages 0 and 1 of data.mdb: transaction n writes page n modulo 2. */
#include "codec.h"
#include "store_sums_private.h"
#include "util.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

bool vvs_meta_is_sane(const uint8_t *page, unsigned slot, uint32_t page_bytes)
{
    const uint8_t *meta = page + PAGE_HEAD_BYTES;

    return vv_get_u64(page) == slot && (vv_get_u16(page + 10) & PAGE_META) != 0 && vv_get_u32(meta) == META_MAGIC &&
           vv_get_u32(meta + 4) == META_VERSION && vv_get_u32(meta + META_AT_TREES) == page_bytes;
}

int vvs_read_meta(int data_fd, uint32_t page_bytes, unsigned slot, uint8_t page[META_PAGE_BYTES])
{
    ssize_t got = pread(data_fd, page, META_PAGE_BYTES, (off_t) slot * page_bytes);

    if (got < 0)
        return -EIO;
    memset(page + got, 0, META_PAGE_BYTES - (size_t) got);
    return 0;
}

static void make_page(uint8_t page[META_PAGE_BYTES], unsigned slot, const uint8_t *meta, uint64_t txn)
{
    memset(page, 0, META_PAGE_BYTES);
    vv_put_u64(page, slot);
    vv_put_u16(page + 10, PAGE_META);
    memcpy(page + PAGE_HEAD_BYTES, meta, META_BYTES);
    vv_put_u64(page + PAGE_HEAD_BYTES + META_AT_TXN, txn);
}

static int write_page(int data_fd, uint32_t page_bytes, unsigned slot, const uint8_t page[META_PAGE_BYTES])
{
    return vv_pwrite_full(data_fd, page, META_PAGE_BYTES, (uint64_t) slot * page_bytes);
}

int vvs_restore_metas(const char *path, int data_fd, uint32_t page_bytes, const uint8_t *meta)
{
    uint64_t txn = vv_get_u64(meta + META_AT_TXN);
    unsigned slot = (unsigned) (txn & 1);
    uint8_t mine[META_PAGE_BYTES], other[META_PAGE_BYTES];
    bool changed = false;
    int err = vvs_read_meta(data_fd, page_bytes, slot, mine);

    if (err == 0)
        err = vvs_read_meta(data_fd, page_bytes, 1 - slot, other);
    if (err == 0 && (!vvs_meta_is_sane(mine, slot, page_bytes) || memcmp(mine + PAGE_HEAD_BYTES, meta, META_BYTES) != 0)) {
        vv_log(VV_LOG_WARNING, "metadata store %s: header %u of data.mdb is mended", path, slot);
        changed = true;
        make_page(mine, slot, meta, txn);
        err = write_page(data_fd, page_bytes, slot, mine);
    }
    if (err == 0 && (!vvs_meta_is_sane(other, 1 - slot, page_bytes) ||
                        vv_get_u64(other + PAGE_HEAD_BYTES + META_AT_TXN) >= txn)) {
        vv_log(VV_LOG_INFO, "metadata store %s: header %u of data.mdb is not certified and is put back", path, 1 - slot);
        changed = true;
        make_page(other, 1 - slot, meta, txn - 1);
        err = write_page(data_fd, page_bytes, 1 - slot, other);
    }
    return err == 0 && changed && fdatasync(data_fd) != 0 ? -EIO : err;
}
