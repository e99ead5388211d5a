/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base_private.h"
#include "codec.h"
#include "error.h"

#include <errno.h>
#include <string.h>

#define BASE_MAGIC "VVBASE01"
#define BASE_VERSION 1u
#define BASE_HEAD_BYTES 64u

struct VvMetaCluster {
    VvBaseSource source; /* hold NULL: none */
    uint64_t config_index; /* meta's lock */
    VvBase stored;         /* of the last checkpoint; meta's lock */
    VvBase batch;          /* of the batch that is being written; the checkpointer's thread */
};

static const uint8_t base_key[1] = { 1 };

void vv_base_clear(VvBase *base)
{
    g_clear_pointer(&base->conf, g_bytes_unref);
    g_clear_pointer(&base->state, g_bytes_unref);
}

static VvMetaCluster *cluster_of(VvMeta *meta)
{
    if (meta->cluster == NULL)
        meta->cluster = g_new0(VvMetaCluster, 1);
    return meta->cluster;
}

void vvm_cluster_free(VvMetaCluster *cluster)
{
    if (cluster == NULL)
        return;
    vv_base_clear(&cluster->stored);
    vv_base_clear(&cluster->batch);
    g_free(cluster);
}

/* ---- stored form */

static uint32_t base_crc(const uint8_t *bytes, size_t length_bytes)
{
    return vv_crc32c(vv_crc32c(0, bytes, 12), bytes + 16, length_bytes - 16);
}

static void base_encode(const VvBase *base, GByteArray *out)
{
    gsize conf_bytes, state_bytes;
    const uint8_t *conf = g_bytes_get_data(base->conf, &conf_bytes), *state = g_bytes_get_data(base->state, &state_bytes);
    const uint64_t numbers[] = { 0, base->index, base->term, base->conf_index, base->config_index };

    vv_write_bytes(out, BASE_MAGIC, 8);
    vv_write_u32(out, BASE_VERSION);
    vv_write_u32(out, 0);
    for (unsigned i = 0; i < G_N_ELEMENTS(numbers); i++)
        vv_write_u64(out, numbers[i]);
    vv_write_u32(out, (uint32_t) conf_bytes);
    vv_write_u32(out, (uint32_t) state_bytes);
    vv_write_bytes(out, conf, conf_bytes);
    vv_write_bytes(out, state, state_bytes);
    vv_put_u32(out->data + 12, base_crc(out->data, out->len));
}

static bool base_decode(const uint8_t *bytes, size_t length_bytes, VvBase *ret_base)
{
    uint64_t conf_bytes, state_bytes;

    if (length_bytes < BASE_HEAD_BYTES || memcmp(bytes, BASE_MAGIC, 8) != 0 || vv_get_u32(bytes + 8) != BASE_VERSION ||
        vv_get_u32(bytes + 12) != base_crc(bytes, length_bytes))
        return false;
    conf_bytes = vv_get_u32(bytes + 56);
    state_bytes = vv_get_u32(bytes + 60);
    if (conf_bytes + state_bytes != length_bytes - BASE_HEAD_BYTES)
        return false;
    *ret_base = (VvBase){ .index = vv_get_u64(bytes + 24),
        .term = vv_get_u64(bytes + 32),
        .conf_index = vv_get_u64(bytes + 40),
        .config_index = vv_get_u64(bytes + 48),
        .conf = g_bytes_new(bytes + BASE_HEAD_BYTES, conf_bytes),
        .state = g_bytes_new(bytes + BASE_HEAD_BYTES + conf_bytes, state_bytes) };
    return true;
}

bool vvm_base_index(VvStoreRead *read, uint64_t *ret_index)
{
    const uint8_t *value;
    size_t value_bytes;
    g_auto(VvBase) base = { .index = 0 };

    if (vv_store_get(read, VV_TABLE_POOL, base_key, sizeof base_key, &value, &value_bytes) != 0 || !base_decode(value, value_bytes, &base))
        return false;
    *ret_index = base.index;
    return true;
}

bool vvm_base_load(VvMeta *meta, VvStoreRead *read)
{
    const uint8_t *value;
    size_t value_bytes;
    VvMetaCluster *cluster;

    if (!meta->pool.is_cluster)
        return true;
    cluster = cluster_of(meta);
    if (vv_store_get(read, VV_TABLE_POOL, base_key, sizeof base_key, &value, &value_bytes) != 0 ||
        !base_decode(value, value_bytes, &cluster->stored) || cluster->stored.index != meta->pool.applied_index)
        return false;
    cluster->config_index = cluster->stored.config_index;
    return true;
}

/* ---- checkpoints */

bool vvm_base_hold(VvMeta *meta)
{
    VvMetaCluster *cluster = meta->cluster;

    if (cluster == NULL)
        return true;
    vv_base_clear(&cluster->batch);
    return cluster->source.hold != NULL && cluster->source.hold(cluster->source.user, &cluster->batch);
}

void vvm_base_resume(VvMeta *meta)
{
    if (meta->cluster != NULL)
        meta->cluster->source.resume(meta->cluster->source.user);
}

void vvm_base_batch(VvMeta *meta)
{
    VvMetaCluster *cluster = meta->cluster;

    if (cluster == NULL)
        return;
    g_assert(cluster->batch.conf != NULL && cluster->batch.index == meta->pool.applied_index); /* B2 */
    cluster->batch.config_index = cluster->config_index;
    meta->pool.is_cluster = true; /* also if it fails: then what is tried again holds it */
}

int vvm_base_write(VvMeta *meta, VvStoreTxn *txn)
{
    g_autoptr(GByteArray) bytes = NULL;

    if (meta->cluster == NULL)
        return 0;
    bytes = g_byte_array_new();
    base_encode(&meta->cluster->batch, bytes);
    return vv_store_put(txn, VV_TABLE_POOL, base_key, sizeof base_key, bytes->data, bytes->len);
}

bool vvm_base_written(VvMeta *meta)
{
    VvMetaCluster *cluster = meta->cluster;

    if (cluster == NULL)
        return false;
    vv_base_clear(&cluster->stored);
    cluster->stored = cluster->batch;
    cluster->batch = (VvBase){ .index = 0 };
    return true;
}

void vvm_base_stored(VvMeta *meta, uint64_t index)
{
    meta->cluster->source.stored(meta->cluster->source.user, index);
}

bool vvm_base_missing(const VvMeta *meta)
{
    return meta->cluster != NULL && meta->cluster->stored.conf == NULL;
}

/* ---- for who runs the log */

bool vv_meta_is_cluster(VvMeta *meta)
{
    bool is;

    vv_meta_read_lock(meta);
    is = meta->cluster != NULL && meta->cluster->stored.conf != NULL;
    vv_meta_read_unlock(meta);
    return is;
}

bool vv_meta_base(VvMeta *meta, VvBase *ret_base)
{
    bool is;

    vv_meta_read_lock(meta);
    is = meta->cluster != NULL && meta->cluster->stored.conf != NULL;
    if (is) {
        *ret_base = meta->cluster->stored;
        g_bytes_ref(ret_base->conf);
        g_bytes_ref(ret_base->state);
    }
    vv_meta_read_unlock(meta);
    return is;
}

void vv_meta_set_base_source(VvMeta *meta, const VvBaseSource *source)
{
    vvm_write_lock(meta);
    cluster_of(meta)->source = *source;
    vvm_write_unlock(meta);
}

uint64_t vv_meta_config_index(VvMeta *meta)
{
    uint64_t index;

    vv_meta_read_lock(meta);
    index = meta->cluster != NULL ? meta->cluster->config_index : 0;
    vv_meta_read_unlock(meta);
    return index;
}

uint64_t vv_meta_applied_index(VvMeta *meta)
{
    uint64_t index;

    vv_meta_read_lock(meta);
    index = meta->pool.applied_index;
    vv_meta_read_unlock(meta);
    return index;
}

VvJournal *vv_meta_journal(VvMeta *meta)
{
    return meta->journal;
}

/* Ids that other nodes took are not given out here. */
static void raise_ids(VvMeta *meta)
{
    VV_LOCKED(&meta->id_lock);
    meta->reserved_counter = MAX(meta->reserved_counter, meta->pool.next_counter);
}

int vv_meta_apply_entry(VvMeta *meta, uint64_t index, const VvOps *ops, bool config)
{
    static const VvOps none;
    int result = vv_meta_apply(meta, index, ops != NULL ? ops : &none);

    if (result != 0 || ops == NULL)
        return result;
    raise_ids(meta);
    if (config) {
        vvm_write_lock(meta);
        meta->cluster->config_index = index;
        vvm_write_unlock(meta);
    }
    return 0;
}
