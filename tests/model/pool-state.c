/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "pool-state.h"

#include "error.h"
#include "util.h"

#include <string.h>

Model *model;
VvPool *pool;
Held held[HELD];

/* ---- chance */

uint64_t m_chance(uint64_t below)
{
    model->random ^= model->random << 13;
    model->random ^= model->random >> 7;
    model->random ^= model->random << 17;
    return below == 0 ? 0 : (model->random >> 11) % below;
}

void m_range(uint64_t size, uint64_t most, uint64_t *ret_offset, uint64_t *ret_length)
{
    uint64_t unit = m_chance(3) == 0 ? 1 : m_chance(2) ? 512 : 4096;
    uint64_t offset = m_chance(size) / unit * unit, length = (1 + m_chance(most) / unit) * unit;

    *ret_offset = offset;
    *ret_length = MIN(length, size - offset);
}

void m_fill(uint8_t *bytes, uint64_t length)
{
    uint64_t value = model->random | 1;

    for (uint64_t i = 0; i < length; i++) {
        value = value * UINT64_C(6364136223846793005) + 1442695040888963407;
        bytes[i] = (uint8_t) (value >> 56);
    }
}

void m_new_name(char *name, const char *prefix)
{
    g_snprintf(name, 64, "%s%" G_GUINT64_FORMAT, prefix, ++model->next_name);
}

/* ---- choosing */

ModelLun *m_any_lun(void)
{
    unsigned first = (unsigned) m_chance(LUNS);

    for (unsigned i = 0; i < LUNS; i++)
        if (model->luns[(first + i) % LUNS].used)
            return &model->luns[(first + i) % LUNS];
    return NULL;
}

ModelLun *m_free_lun(void)
{
    for (unsigned i = 0; i < LUNS; i++)
        if (!model->luns[i].used)
            return &model->luns[i];
    return NULL;
}

ModelSnapshot *m_any_snapshot(ModelLun *lun)
{
    unsigned first = (unsigned) m_chance(SNAPSHOTS);

    for (unsigned i = 0; lun && i < SNAPSHOTS; i++)
        if (lun->snapshots[(first + i) % SNAPSHOTS].used)
            return &lun->snapshots[(first + i) % SNAPSHOTS];
    return NULL;
}

ModelSnapshot *m_free_snapshot(ModelLun *lun)
{
    for (unsigned i = 0; lun && i < SNAPSHOTS; i++)
        if (!lun->snapshots[i].used)
            return &lun->snapshots[i];
    return NULL;
}

bool m_held_for_writing(const ModelLun *lun)
{
    for (unsigned i = 0; i < HELD; i++)
        if (held[i].handle && held[i].lun == lun && held[i].write)
            return true;
    return false;
}

/* ---- versions: what a crash may leave */

static uint64_t hash_block(const uint8_t *bytes)
{
    uint64_t hash = UINT64_C(14695981039346656037), word;

    for (unsigned i = 0; i < VV_BLOCK_BYTES; i += 8) {
        memcpy(&word, bytes + i, 8);
        hash = (hash ^ word) * UINT64_C(1099511628211);
        hash ^= hash >> 29;
    }
    return hash;
}

void m_forget_versions(ModelLun *lun)
{
    memset(lun->version_count, 0, sizeof lun->version_count);
}

void m_note_versions(ModelLun *lun, uint64_t offset, uint64_t length)
{
    for (uint64_t block = offset / VV_BLOCK_BYTES; length > 0 && block <= (offset + length - 1) / VV_BLOCK_BYTES;
         block++) {
        uint64_t hash = hash_block(lun->bytes + block * VV_BLOCK_BYTES);

        if (lun->version_count[block] < VERSIONS)
            lun->versions[block][lun->version_count[block]++] = hash;
    }
}

/* Before a change: room for two more versions of each block. */
void m_prepare_change(ModelLun *lun, uint64_t offset, uint64_t length)
{
    bool fits = true;

    for (uint64_t block = offset / VV_BLOCK_BYTES; length > 0 && block <= (offset + length - 1) / VV_BLOCK_BYTES;
         block++)
        fits &= lun->version_count[block] + 2u <= VERSIONS;
    if (!fits)
        m_flush_lun(lun);
    for (uint64_t block = offset / VV_BLOCK_BYTES; length > 0 && block <= (offset + length - 1) / VV_BLOCK_BYTES;
         block++)
        if (lun->version_count[block] == 0)
            lun->versions[block][lun->version_count[block]++] = hash_block(lun->bytes + block * VV_BLOCK_BYTES);
}

/* ---- opens */

VvHandle *m_open_object(uint64_t id, bool write)
{
    VvOpen how = { .write = write, .internal = true };
    VvHandle *handle = NULL;
    int result = vv_handle_open(pool, id, &how, &handle);

    g_assert_cmpint(result, ==, 0);
    return handle;
}

uint64_t m_snapshot_id(const ModelLun *lun, const ModelSnapshot *snapshot)
{
    VvMeta *meta = vv_pool_meta(pool);
    uint64_t id = 0;

    vv_meta_read_lock(meta);
    const VvLun *found = vv_meta_lun(meta, lun->id);
    g_assert_nonnull(found);
    const VvSnapshot *point = vv_meta_snapshot_by_name(meta, found, snapshot->name);
    if (!point)
        g_error("step %" G_GUINT64_FORMAT ", crash %" G_GUINT64_FORMAT ": %s@%s is gone", model->step, model->crashes,
            lun->name, snapshot->name);
    id = point->id;
    vv_meta_read_unlock(meta);
    return id;
}

char *m_object_of(const ModelLun *lun, const ModelSnapshot *snapshot)
{
    return g_strdup_printf("%s@%s", lun->name, snapshot->name);
}

void m_flush_lun(ModelLun *lun)
{
    g_autoptr(VvHandle) handle = m_open_object(lun->id, true);

    g_assert_cmpint(vv_view_flush(vv_handle_view(handle)), ==, 0);
    m_forget_versions(lun);
}

/* ---- comparing */

void m_compare(VvView *view, const uint8_t *bytes, uint64_t offset, uint64_t length, const char *what)
{
    g_autofree uint8_t *got = g_malloc(length + 1);
    int64_t result = vv_view_read(view, got, offset, length);

    g_assert_cmpint(result, ==, (int64_t) length);
    for (uint64_t i = 0; i < length; i++)
        if (got[i] != bytes[offset + i])
            g_error("step %" G_GUINT64_FORMAT ": %s differs at byte %" G_GUINT64_FORMAT ": %02x, not %02x", model->step,
                what, offset + i, got[i], bytes[offset + i]);
}

void m_compare_all_of(uint64_t id, const uint8_t *bytes, uint64_t size, const char *what)
{
    g_autoptr(VvHandle) handle = m_open_object(id, false);

    g_assert_cmpuint(vv_view_size(vv_handle_view(handle)), ==, size);
    m_compare(vv_handle_view(handle), bytes, 0, size, what);
}

/* After a crash the pool tells what survived; the model says whether it may. */
static void adopt_survivors(ModelLun *lun)
{
    g_autoptr(VvHandle) handle = m_open_object(lun->id, false);
    g_autofree uint8_t *got = g_malloc0(SIZE_MAX_BYTES);

    g_assert_cmpuint(vv_view_size(vv_handle_view(handle)), ==, lun->size);
    g_assert_cmpint(vv_view_read(vv_handle_view(handle), got, 0, lun->size), ==, (int64_t) lun->size);
    for (uint64_t block = 0; block * VV_BLOCK_BYTES < lun->size; block++) {
        const uint8_t *now = got + block * VV_BLOCK_BYTES;
        uint64_t hash = hash_block(now);
        bool allowed = memcmp(now, lun->bytes + block * VV_BLOCK_BYTES, VV_BLOCK_BYTES) == 0;

        for (unsigned i = 0; i < lun->version_count[block]; i++)
            allowed |= lun->versions[block][i] == hash;
        if (!allowed)
            g_error("crash %" G_GUINT64_FORMAT ": %s shows in block %" G_GUINT64_FORMAT
                    " what it never held (%u versions)",
                model->crashes, lun->name, block, lun->version_count[block]);
    }
    memcpy(lun->bytes, got, SIZE_MAX_BYTES);
    m_forget_versions(lun);
}

void m_compare_everything(void)
{
    for (unsigned i = 0; i < LUNS; i++) {
        ModelLun *lun = &model->luns[i];

        if (!lun->used)
            continue;
        if (model->crashed)
            adopt_survivors(lun);
        else
            m_compare_all_of(lun->id, lun->bytes, lun->size, lun->name);
        for (unsigned k = 0; k < SNAPSHOTS; k++)
            if (lun->snapshots[k].used)
                m_compare_all_of(m_snapshot_id(lun, &lun->snapshots[k]), lun->snapshots[k].bytes,
                    lun->snapshots[k].size, lun->snapshots[k].name);
    }
}

static void report_cb(void *user, const VvCheckError *error)
{
    ++*(unsigned *) user;
    g_test_message("check: %s %s: %s", error->code, error->object, error->message);
    g_printerr("check: %s %s: %s\n", error->code, error->object, error->message);
}

void m_check_pool(void)
{
    g_autoptr(GError) error = NULL;
    unsigned errors = 0;

    vv_pool_check(pool, report_cb, &errors, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(errors, ==, 0);
}
