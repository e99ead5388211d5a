/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a pool shows after a crash, held against a model. */
#include "limits.h"
#include "model_private.h"

#include <string.h>

ShownObject *shown_add(Shown *shown, const char *lun, const char *snapshot, uint64_t size)
{
    ShownObject *object = &shown->objects[shown->count];

    g_assert(shown->count < G_N_ELEMENTS(shown->objects));
    shown->count++;
    g_strlcpy(object->lun, lun, sizeof object->lun);
    g_strlcpy(object->snapshot, snapshot, sizeof object->snapshot);
    object->size = size;
    if (!object->bytes)
        object->bytes = g_malloc(MODEL_BYTES_MAX);
    return object;
}

void shown_clear(Shown *shown)
{
    shown->count = 0;
}

void shown_free(Shown *shown)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(shown->objects); i++)
        g_clear_pointer(&shown->objects[i].bytes, g_free);
    shown->count = 0;
}

static bool sector_is_allowed(const ModelLun *lun, uint64_t offset, const uint8_t *sector, uint64_t length)
{
    for (const ModelPiece *piece = lun->pieces; piece; piece = piece->next)
        if (offset >= piece->offset && offset + length <= piece->offset + piece->length &&
            memcmp(piece->data + (offset - piece->offset), sector, length) == 0)
            return true;
    return false;
}

static char *describe(const ShownObject *object, uint64_t offset, const uint8_t *wanted)
{
    return g_strdup_printf("%s%s%s shows at byte %" G_GUINT64_FORMAT " (block %" G_GUINT64_FORMAT
                           ") what it may not: %02x %02x %02x %02x, newest is %02x %02x %02x %02x",
        object->lun, object->snapshot[0] ? "@" : "", object->snapshot, offset, offset / VV_BLOCK_BYTES,
        object->bytes[offset], object->bytes[offset + 1], object->bytes[offset + 2], object->bytes[offset + 3],
        wanted[offset], wanted[offset + 1], wanted[offset + 2], wanted[offset + 3]);
}

/* @lun NULL: exactly @wanted. */
static bool allows_bytes(const ModelLun *lun, const ShownObject *object, const uint8_t *wanted, char **ret_why)
{
    for (uint64_t at = 0; at < object->size; at += VV_BLOCK_BYTES) {
        uint64_t block_bytes = MIN(VV_BLOCK_BYTES, object->size - at);

        if (memcmp(object->bytes + at, wanted + at, block_bytes) == 0)
            continue;
        for (uint64_t sector = at; sector < at + block_bytes; sector += VV_SECTOR_BYTES) {
            uint64_t bytes = MIN(VV_SECTOR_BYTES, object->size - sector);

            if (memcmp(object->bytes + sector, wanted + sector, bytes) == 0 ||
                (lun && sector_is_allowed(lun, sector, object->bytes + sector, bytes)))
                continue;
            *ret_why = describe(object, sector, wanted);
            return false;
        }
    }
    return true;
}

static const ShownObject *find_shown(const Shown *shown, const char *lun, const char *snapshot)
{
    for (unsigned i = 0; i < shown->count; i++)
        if (strcmp(shown->objects[i].lun, lun) == 0 && strcmp(shown->objects[i].snapshot, snapshot) == 0)
            return &shown->objects[i];
    return NULL;
}

static bool allows_object(const Shown *shown, const ModelLun *lun, const ModelSnapshot *snapshot, char **ret_why)
{
    const ShownObject *object = find_shown(shown, lun->name, snapshot ? snapshot->name : "");
    uint64_t size = snapshot ? snapshot->size : lun->size;
    const char *at = snapshot ? "@" : "", *name = snapshot ? snapshot->name : "";

    if (!object) {
        *ret_why = g_strdup_printf("%s%s%s is not there", lun->name, at, name);
        return false;
    }
    if (object->size != size) {
        *ret_why = g_strdup_printf(
            "%s%s%s has %" G_GUINT64_FORMAT " bytes, not %" G_GUINT64_FORMAT, lun->name, at, name, object->size, size);
        return false;
    }
    return allows_bytes(snapshot ? NULL : lun, object, model_bytes(snapshot ? snapshot->bytes : lun->bytes), ret_why);
}

bool model_allows(const Model *model, const Shown *shown, char **ret_why)
{
    unsigned count = 0;

    for (unsigned i = 0; i < MODEL_LUNS; i++) {
        const ModelLun *lun = &model->luns[i];

        if (!lun->used)
            continue;
        count++;
        if (!allows_object(shown, lun, NULL, ret_why))
            return false;
        for (unsigned k = 0; k < MODEL_SNAPSHOTS; k++) {
            if (!lun->snapshots[k].used)
                continue;
            count++;
            if (!allows_object(shown, lun, &lun->snapshots[k], ret_why))
                return false;
        }
    }
    if (count != shown->count) {
        *ret_why = g_strdup_printf("there are %u objects, not %u", shown->count, count);
        return false;
    }
    return true;
}

void model_adopt(Model *model, const Shown *shown)
{
    for (unsigned i = 0; i < shown->count; i++) {
        const ShownObject *object = &shown->objects[i];
        ModelLun *lun = object->snapshot[0] ? NULL : model_lun(model, object->lun);

        if (lun) {
            model_see(lun, 0, object->size, object->bytes);
            model_forget_pieces(lun);
        }
    }
}
