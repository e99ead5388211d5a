/* SPDX-License-Identifier: GPL-2.0-or-later */
/* State sync, who gives: records are put behind each other as they are asked for. */
#include "base_private.h"
#include "codec.h"
#include "sync_private.h"

#include <errno.h>

struct VvSyncGive {
    VvStoreRead *read;
    uint64_t index, size_bytes;
    /* what is made next */
    VvTable table;
    bool begun;   /* the table has a cursor */
    bool finished;
    uint64_t count;
    uint32_t crc;
    /* what is made and not forgotten */
    GByteArray *bytes;
    uint64_t offset; /* of its first in the stream */
};

static void put(VvSyncGive *give, const void *data, size_t data_bytes)
{
    give->crc = vv_crc32c(give->crc, data, data_bytes);
    vv_write_bytes(give->bytes, data, data_bytes);
}

static void begin(VvSyncGive *give)
{
    uint8_t head[VVY_HEAD_BYTES];

    g_byte_array_set_size(give->bytes, 0);
    give->offset = give->count = 0;
    give->crc = 0;
    give->table = 0;
    give->begun = give->finished = false;
    memcpy(head, VVY_MAGIC, 8);
    vv_put_u64(head + 8, give->index);
    put(give, head, sizeof head);
}

static void end(VvSyncGive *give)
{
    uint8_t tail[VVY_TAIL_BYTES] = { VVY_END, 0 };

    vv_put_u32(tail + 2, 12);
    vv_put_u64(tail + 6, give->count);
    put(give, tail, 14);
    vv_put_u32(tail + 14, give->crc);
    vv_write_bytes(give->bytes, tail + 14, 4);
    give->finished = true;
}

/* One more record, or the end. */
static int step(VvSyncGive *give)
{
    const uint8_t *key, *value;
    size_t key_bytes, value_bytes;
    uint8_t head[VVY_RECORD_BYTES];
    int rc = give->begun ? vv_store_next(give->read, give->table, &key, &key_bytes, &value, &value_bytes)
                         : vv_store_seek(give->read, give->table, VV_SEEK_GE, "", 1, &key, &key_bytes, &value, &value_bytes);

    if (rc == -ENODATA) {
        give->begun = false;
        if (++give->table == VV_N_TABLES)
            end(give);
        return 0;
    }
    if (rc != 0)
        return rc;
    give->begun = true;
    give->count++;
    head[0] = (uint8_t) give->table;
    head[1] = (uint8_t) key_bytes;
    vv_put_u32(head + 2, (uint32_t) value_bytes);
    put(give, head, sizeof head);
    put(give, key, key_bytes);
    put(give, value, value_bytes);
    return 0;
}

static uint64_t made_end(const VvSyncGive *give)
{
    return give->offset + give->bytes->len;
}

static void forget_before(VvSyncGive *give, uint64_t offset)
{
    uint64_t count = MIN(offset, made_end(give)) - give->offset;

    if (count > 0)
        g_byte_array_remove_range(give->bytes, 0, (guint) count);
    give->offset += count;
}

static int count_all(VvSyncGive *give)
{
    int rc = 0;

    begin(give);
    while (rc == 0 && !give->finished) {
        rc = step(give);
        forget_before(give, made_end(give));
    }
    give->size_bytes = made_end(give);
    begin(give);
    return rc;
}

VvSyncGive *vv_sync_give_new(VvMeta *meta)
{
    g_autoptr(VvSyncGive) give = g_new0(VvSyncGive, 1);

    give->bytes = g_byte_array_new();
    if (vv_store_read_begin(meta->store, &give->read) != 0)
        return NULL;
    if (!vvm_base_index(give->read, &give->index) || count_all(give) != 0)
        return NULL;
    return g_steal_pointer(&give);
}

void vv_sync_give_free(VvSyncGive *give)
{
    if (give == NULL)
        return;
    if (give->read != NULL)
        vv_store_read_end(give->read);
    g_byte_array_unref(give->bytes);
    g_free(give);
}

uint64_t vv_sync_give_index(const VvSyncGive *give)
{
    return give->index;
}

uint64_t vv_sync_give_bytes(const VvSyncGive *give)
{
    return give->size_bytes;
}

int vv_sync_give_read(VvSyncGive *give, uint64_t offset, GByteArray *out, size_t most)
{
    uint64_t until = MIN(offset + most, give->size_bytes);
    int rc = 0;

    g_assert(offset < give->size_bytes);
    if (offset < give->offset)
        begin(give);
    while (rc == 0 && made_end(give) < until) {
        forget_before(give, offset);
        rc = give->finished ? -EIO : step(give);
    }
    if (rc != 0)
        return rc;
    forget_before(give, offset);
    vv_write_bytes(out, give->bytes->data, (size_t) (until - offset));
    return 0;
}
