/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Checkpoints: what was applied since the last one goes into the store in one fully synchronous transaction, together with
 * the applied index; then the journal before it is released.
 *
 *   under the write lock   dirty records are encoded into a batch, the filling generation becomes the writing one
 *   without a lock         batch and writing generation are written and committed (readers look through both)
 *   under the write lock   the writing generation is dropped
 *
 * A commit that fails keeps batch and generation for the next try, so nothing is lost but time and memory. After an entry
 * that could not be applied to its end no batch is made: the next start applies it from its beginning. */
#include "base_private.h"
#include "codec.h"
#include "faultpoint.h"
#include "slab.h"
#include "sums_private.h"

#include <errno.h>
#include <string.h>

/* ---- the batch */
void vvm_batch_free(VvBatch *batch)
{
    if (batch == NULL)
        return;
    g_ptr_array_unref(batch->records);
    g_free(batch);
}

static void batch_add(VvBatch *batch, VvTable table, const uint8_t *key, size_t key_bytes, const uint8_t *value, size_t value_bytes)
{
    VvBatchRecord *record = vv_slab_try(sizeof *record + key_bytes + value_bytes);
    if (record == NULL)
        record = g_malloc(sizeof *record + key_bytes + value_bytes);
    record->table = table;
    record->remove = value == NULL;
    record->key_bytes = (uint16_t) key_bytes;
    record->value_bytes = (uint32_t) value_bytes;
    memcpy(record->data, key, key_bytes);
    if (value != NULL)
        memcpy(record->data + key_bytes, value, value_bytes);
    g_ptr_array_add(batch->records, record);
}

/* LUNs and snapshots live in one of two tables; the other must not have them. */
static void batch_add_object(VvMeta *meta, VvBatch *batch, const VvDirtyKey *key, const GByteArray *value)
{
    uint8_t id[8], orphan_key[9];
    bool is_lun = key->table == VV_TABLE_LUN, orphan = false;
    vv_put_be64(id, key->a);
    orphan_key[0] = is_lun ? 0 : 1;
    memcpy(orphan_key + 1, id, sizeof id);
    if (value != NULL)
        orphan = is_lun ? vv_meta_lun(meta, key->a)->orphan : vv_meta_snapshot(meta, key->a)->orphan;
    batch_add(batch, key->table, id, sizeof id, value != NULL && !orphan ? value->data : NULL, value != NULL && !orphan ? value->len : 0);
    batch_add(batch, VV_TABLE_ORPHAN, orphan_key, sizeof orphan_key, orphan ? value->data : NULL, orphan ? value->len : 0);
}

static const VvRequestRecord *request_of(const VvMeta *meta, uint64_t time_ns, uint64_t crc)
{
    const GQueue *queues[] = { &meta->request_queue, &meta->mount_requests };
    for (unsigned i = 0; i < G_N_ELEMENTS(queues); i++) {
        for (GList *l = queues[i]->tail; l != NULL; l = l->prev) {
            const VvRequestRecord *request = l->data;
            if (request->time_ns == time_ns && vv_crc32c(0, request->id, strlen(request->id)) == crc)
                return request;
        }
    }
    return NULL;
}

static void batch_add_dirty(VvMeta *meta, VvBatch *batch, const VvDirtyKey *key)
{
    g_autoptr(GByteArray) value = g_byte_array_new();
    uint8_t bytes[VV_KEY_BYTES] = { 0 };
    size_t key_bytes = 8;
    bool there;
    vv_put_be64(bytes, key->a);
    switch (key->table) {
    case VV_TABLE_POOL:
        there = vvm_record_encode(meta, key, value);
        bytes[0] = 0;
        key_bytes = 1;
        break;
    case VV_TABLE_FREE: {
        VvPiece want = { .family = key->a, .segment = (uint32_t) (key->b >> 32), .piece = (uint32_t) key->b };
        VvPiece *piece = vv_set_find(&meta->pieces, &want);
        there = false;
        for (unsigned i = 0; i < VV_PIECE_BYTES / 8 && !there; i++)
            there = piece->bits[i] != 0;
        if (there)
            vvm_piece_encode(piece, value);
        piece->dirty = false;
        vv_put_be64(bytes + 8, want.segment);
        vv_put_be64(bytes + 16, want.piece);
        key_bytes = VV_KEY_BYTES;
        break;
    }
    case VV_TABLE_REQUEST: {
        const VvRequestRecord *request = request_of(meta, key->a, key->b);
        there = request != NULL;
        if (there)
            vvm_request_encode(request, value);
        vv_put_be64(bytes + 8, key->b);
        key_bytes = 16;
        break;
    }
    case VV_TABLE_MEMBER:
        there = vvm_record_encode(meta, key, value);
        bytes[0] = (uint8_t) key->b;
        vv_put_be64(bytes + 1, key->a);
        key_bytes = 9;
        break;
    case VV_TABLE_LUN:
    case VV_TABLE_SNAPSHOT:
        there = vvm_record_encode(meta, key, value);
        batch_add_object(meta, batch, key, there ? value : NULL);
        return;
    default:
        there = vvm_record_encode(meta, key, value);
        if (key->table == VV_TABLE_SEGMENT) {
            vv_put_be64(bytes + 8, key->b);
            key_bytes = 16;
        }
        break;
    }
    batch_add(batch, key->table, bytes, key_bytes, there ? value->data : NULL, there ? value->len : 0);
}

/* Write lock. */
static void batch_make(VvMeta *meta)
{
    VvSetIter iter;
    const VvDirtyKey *key;
    VvBatch *batch = g_new0(VvBatch, 1);
    vvm_base_batch(meta);
    if (vvm_base_missing(meta))
        vvm_dirty(meta, VV_TABLE_POOL, 0, 0);
    batch->index = meta->pool.applied_index;
    batch->records = g_ptr_array_new_with_free_func(vv_slab_put);
    vv_set_begin(&meta->dirty, &iter);
    while ((key = vv_set_next(&meta->dirty, &iter)) != NULL)
        batch_add_dirty(meta, batch, key);
    vv_set_clear(&meta->dirty);
    VvOverlay empty = meta->writing;
    meta->writing = meta->filling;
    meta->filling = empty;
    meta->batch = batch;
}

/* ---- writing it */
typedef struct {
    VvStoreTxn *txn;
    int result;
} Writer;

static void write_page(void *user, const VvPageKey *key, const VvOverlayPage *page)
{
    Writer *w = user;
    uint8_t bytes[VV_KEY_BYTES];
    if (w->result != 0)
        return;
    vv_page_key_encode(key, bytes);
    w->result = page->bytes != NULL ? vv_store_put(w->txn, VV_TABLE_PAGE, bytes, sizeof bytes, page->bytes, page->length_bytes)
                                    : vv_store_delete(w->txn, VV_TABLE_PAGE, bytes, sizeof bytes);
}

static void write_index(void *user, const VvPageKey *key, bool added)
{
    Writer *w = user;
    uint8_t bytes[VV_KEY_BYTES];
    if (w->result != 0)
        return;
    vv_index_key_encode(key, bytes);
    w->result = added ? vv_store_put(w->txn, VV_TABLE_INDEX, bytes, sizeof bytes, "", 0)
                      : vv_store_delete(w->txn, VV_TABLE_INDEX, bytes, sizeof bytes);
}

static int batch_write(VvMeta *meta)
{
    Writer w = { 0 };
    w.result = vv_store_begin(meta->store, &w.txn);
    if (w.result != 0)
        return w.result;
    for (guint i = 0; i < meta->batch->records->len && w.result == 0; i++) {
        const VvBatchRecord *r = g_ptr_array_index(meta->batch->records, i);
        w.result = r->remove ? vv_store_delete(w.txn, r->table, r->data, r->key_bytes)
                             : vv_store_put(w.txn, r->table, r->data, r->key_bytes, r->data + r->key_bytes, r->value_bytes);
    }
    vvm_overlay_foreach(&meta->writing, write_page, &w);
    vvm_overlay_index_foreach(&meta->writing, write_index, &w);
    if (w.result == 0)
        w.result = vvm_sums_write(&meta->writing, w.txn);
    if (w.result == 0)
        w.result = vvm_base_write(meta, w.txn);
    if (w.result != 0) {
        vv_store_abort(w.txn);
        return w.result;
    }
    vv_may_die(VV_DIE_CHECKPOINT_WRITTEN);
    return vv_store_commit(w.txn);
}

bool vv_meta_checkpoint_due(VvMeta *meta)
{
    uint64_t used_bytes, max_bytes;
    vv_journal_usage(meta->journal, &used_bytes, &max_bytes);
    vv_meta_read_lock(meta);
    bool due = meta->filling.bytes >= VV_OVERLAY_BYTES_MAX || used_bytes >= max_bytes / 2 || vvm_room_is_short(meta);
    vv_meta_read_unlock(meta);
    return due;
}

bool vv_meta_overlay_is_full(VvMeta *meta)
{
    vv_meta_read_lock(meta);
    bool full = meta->filling.bytes >= VV_OVERLAY_BYTES_MAX && meta->batch != NULL;
    vv_meta_read_unlock(meta);
    return full;
}

uint64_t vv_meta_overlay_bytes(VvMeta *meta)
{
    vv_meta_read_lock(meta);
    uint64_t bytes = (uint64_t) meta->filling.bytes + meta->writing.bytes;
    vv_meta_read_unlock(meta);
    return bytes;
}

/* Read or write lock. Repair changes the index without an entry. */
static bool is_clean(const VvMeta *meta)
{
    return meta->pool.applied_index == meta->checkpoint_index && meta->dirty.count == 0 && meta->filling.bytes == 0 &&
           !vvm_base_missing(meta);
}

/* Of what is new; 0 also if there is nothing. */
static int batch_prepare(VvMeta *meta)
{
    vv_meta_read_lock(meta);
    bool clean = is_clean(meta);
    vv_meta_read_unlock(meta);
    if (clean)
        return 0;
    if (!vvm_base_hold(meta))
        return -EIO;
    vvm_write_lock(meta);
    bool failed = vv_meta_failure(meta) != NULL; /* half an entry may be applied: nothing new is stored */
    if (!failed)
        batch_make(meta);
    vvm_write_unlock(meta);
    vvm_base_resume(meta);
    return failed ? -EIO : 0;
}

/* Write the batch there is, else what is new. *ret_left: it was a batch left by an earlier try, so there is more. */
static int checkpoint_once(VvMeta *meta, bool *ret_left)
{
    *ret_left = meta->batch != NULL;
    int prepared = *ret_left ? 0 : batch_prepare(meta);
    if (prepared != 0 || meta->batch == NULL)
        return prepared;

    int result = batch_write(meta);
    if (result != 0)
        return result == -ENOSPC || result == -EUCLEAN || result == -ENOMEM || result == -ESHUTDOWN ? result : -EIO;

    vv_may_die(VV_DIE_CHECKPOINT_COMMITTED);
    VvOverlay written;
    vvm_write_lock(meta);
    uint64_t index = meta->batch->index;
    meta->checkpoint_index = index;
    written = meta->writing;
    vvm_overlay_init(&meta->writing);
    g_clear_pointer(&meta->batch, vvm_batch_free);
    vvm_pieces_trim(meta);
    bool of_cluster = vvm_base_written(meta);
    vvm_write_unlock(meta);
    vvm_overlay_clear(&written);
    if (of_cluster) {
        vvm_base_stored(meta, index);
        return 0;
    }
    pthread_mutex_lock(&meta->log_lock);
    vv_journal_release(meta->journal, index);
    pthread_mutex_unlock(&meta->log_lock);
    vv_may_die(VV_DIE_CHECKPOINT_RELEASED);
    return 0;
}

int vv_meta_checkpoint(VvMeta *meta)
{
    bool left;
    int result = checkpoint_once(meta, &left);
    if (result == 0 && left)
        result = checkpoint_once(meta, &left);
    (void) vvm_room_update(meta, result);
    return result;
}
