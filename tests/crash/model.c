/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "model_private.h"

#include "limits.h"

#include <string.h>

#define SECOND_SERIAL 0x40000000u /* of the second write of a pair: no op has it */

struct ModelBytes {
    int refs;
    uint8_t data[MODEL_BYTES_MAX];
};

/* ---- values */

static ModelBytes *bytes_ref(ModelBytes *bytes)
{
    if (bytes)
        bytes->refs++;
    return bytes;
}

static void bytes_unref(ModelBytes *bytes)
{
    if (bytes && --bytes->refs == 0)
        g_free(bytes);
}

static ModelBytes *bytes_new(void)
{
    ModelBytes *bytes = g_new0(ModelBytes, 1);

    bytes->refs = 1;
    return bytes;
}

static ModelBytes *bytes_own(ModelBytes *bytes)
{
    ModelBytes *own;

    if (bytes->refs == 1)
        return bytes;
    own = g_memdup2(bytes, sizeof *bytes);
    own->refs = 1;
    bytes_unref(bytes);
    return own;
}

const uint8_t *model_bytes(const ModelBytes *bytes)
{
    return bytes->data;
}

static ModelPiece *pieces_ref(ModelPiece *piece)
{
    if (piece)
        piece->refs++;
    return piece;
}

static void pieces_unref(ModelPiece *piece)
{
    while (piece && --piece->refs == 0) {
        ModelPiece *next = piece->next;

        g_free(piece);
        piece = next;
    }
}

static void set_bytes(ModelBytes **to, ModelBytes *from)
{
    bytes_ref(from);
    bytes_unref(*to);
    *to = from;
}

void model_copy(Model *to, const Model *from)
{
    *to = *from;
    for (unsigned i = 0; i < MODEL_LUNS; i++) {
        bytes_ref(to->luns[i].bytes);
        pieces_ref(to->luns[i].pieces);
        for (unsigned k = 0; k < MODEL_SNAPSHOTS; k++)
            bytes_ref(to->luns[i].snapshots[k].bytes);
    }
}

static void snapshot_clear(ModelSnapshot *snapshot)
{
    bytes_unref(snapshot->bytes);
    memset(snapshot, 0, sizeof *snapshot);
}

static void lun_clear(ModelLun *lun)
{
    bytes_unref(lun->bytes);
    pieces_unref(lun->pieces);
    for (unsigned k = 0; k < MODEL_SNAPSHOTS; k++)
        snapshot_clear(&lun->snapshots[k]);
    memset(lun, 0, sizeof *lun);
}

void model_clear(Model *model)
{
    for (unsigned i = 0; i < MODEL_LUNS; i++)
        lun_clear(&model->luns[i]);
}

ModelLun *model_lun(Model *model, const char *name)
{
    for (unsigned i = 0; i < MODEL_LUNS; i++)
        if (model->luns[i].used && strcmp(model->luns[i].name, name) == 0)
            return &model->luns[i];
    return NULL;
}

ModelSnapshot *model_snapshot(ModelLun *lun, const char *name)
{
    for (unsigned k = 0; k < MODEL_SNAPSHOTS; k++)
        if (lun->snapshots[k].used && strcmp(lun->snapshots[k].name, name) == 0)
            return &lun->snapshots[k];
    return NULL;
}

/* ---- changes */

static void piece_add(ModelLun *lun, uint64_t offset, uint64_t length, const uint8_t *data)
{
    ModelPiece *piece = g_malloc(sizeof *piece + length);

    piece->refs = 1;
    piece->next = lun->pieces;
    piece->offset = offset;
    piece->length = length;
    memcpy(piece->data, data, length);
    lun->pieces = piece;
}

/* Remember what the sectors of [@offset, +@length) hold. */
static void note_sectors(ModelLun *lun, uint64_t offset, uint64_t length)
{
    uint64_t from = offset / VV_SECTOR_BYTES * VV_SECTOR_BYTES;
    uint64_t end = (offset + length + VV_SECTOR_BYTES - 1) / VV_SECTOR_BYTES * VV_SECTOR_BYTES;

    if (length > 0)
        piece_add(lun, from, MIN(end, MODEL_BYTES_MAX) - from, lun->bytes->data + from);
}

void model_forget_pieces(ModelLun *lun)
{
    pieces_unref(lun->pieces);
    lun->pieces = NULL;
}

/* Only what lies before @size. */
static void cut_pieces(ModelLun *lun, uint64_t size)
{
    ModelPiece *all = lun->pieces;

    lun->pieces = NULL;
    for (const ModelPiece *piece = all; piece; piece = piece->next)
        if (piece->offset < size)
            piece_add(lun, piece->offset, MIN(piece->length, size - piece->offset), piece->data);
    pieces_unref(all);
}

void model_see(ModelLun *lun, uint64_t offset, uint64_t length, const uint8_t *bytes)
{
    note_sectors(lun, offset, length);
    lun->bytes = bytes_own(lun->bytes);
    memcpy(lun->bytes->data + offset, bytes, length);
}

static uint64_t mix(uint64_t value)
{
    value ^= value >> 33;
    value *= UINT64_C(0xff51afd7ed558ccd);
    value ^= value >> 33;
    return value * UINT64_C(0xc4ceb9fe1a85ec53);
}

void model_fill(const Op *op, uint8_t *bytes)
{
    for (uint64_t i = 0; i < op->length; i++)
        bytes[i] = (uint8_t) (mix((uint64_t) op->serial << 32 | (op->offset + i) / 8) >> (i % 8 * 8)) | 1;
}

static void apply_data(ModelLun *lun, const Op *op)
{
    uint64_t length = MIN(op->length, lun->size - MIN(op->offset, lun->size));
    g_autofree uint8_t *bytes = g_malloc0(op->length + 1);

    if (op->kind == OP_WRITE)
        model_fill(op, bytes);
    note_sectors(lun, op->offset, length);
    lun->bytes = bytes_own(lun->bytes);
    memcpy(lun->bytes->data + op->offset, bytes, length);
}

Op model_half(const Op *op, unsigned which)
{
    Op half = *op;

    half.kind = OP_WRITE;
    if (which == 0)
        return half;
    half.serial = op->serial | SECOND_SERIAL;
    half.offset = op->size;
    half.length = op->keep;
    memcpy(half.lun, op->second, sizeof half.lun);
    return half;
}

/* All that sectors may hold: what was there, either write's, and both in either order, of which the last is taken for the newest. */
static void apply_pair(Model *after, const Op *op)
{
    Op first = model_half(op, 0), second = model_half(op, 1);
    ModelLun *lun = model_lun(after, first.lun), *other = model_lun(after, second.lun);
    ModelBytes *before = bytes_ref(lun->bytes);

    if (lun == other) {
        apply_data(lun, &second);
        apply_data(lun, &first);
        note_sectors(lun, first.offset, first.length);
        note_sectors(lun, second.offset, second.length);
        set_bytes(&lun->bytes, before);
    }
    apply_data(lun, &first);
    apply_data(other, &second);
    bytes_unref(before);
}

/* The write may have come before what the flush covers, and need not have. */
static unsigned apply_beside(const Op *op, Model outcomes[OUTCOMES_MAX])
{
    Op write = model_half(op, 0);
    ModelLun *lun;

    model_copy(&outcomes[1], &outcomes[0]);
    apply_data(model_lun(&outcomes[0], op->lun), &write);
    lun = model_lun(&outcomes[1], op->lun);
    model_forget_pieces(lun);
    apply_data(lun, &write);
    return 2;
}

static void take_snapshot(ModelLun *lun, const char *name)
{
    for (unsigned k = 0; k < MODEL_SNAPSHOTS; k++) {
        ModelSnapshot *snapshot = &lun->snapshots[k];

        if (snapshot->used)
            continue;
        snapshot->used = true;
        snapshot->size = lun->size;
        g_strlcpy(snapshot->name, name, sizeof snapshot->name);
        set_bytes(&snapshot->bytes, lun->bytes);
        model_forget_pieces(lun);
        return;
    }
    g_assert_not_reached();
}

static ModelLun *add_lun(Model *model, const char *name, uint64_t size, ModelBytes *bytes)
{
    for (unsigned i = 0; i < MODEL_LUNS; i++) {
        ModelLun *lun = &model->luns[i];

        if (lun->used)
            continue;
        memset(lun, 0, sizeof *lun);
        lun->used = true;
        lun->size = size;
        lun->bytes = bytes;
        g_strlcpy(lun->name, name, sizeof lun->name);
        return lun;
    }
    g_assert_not_reached();
}

static void restore(ModelLun *lun, const Op *op)
{
    const ModelSnapshot *snapshot = model_snapshot(lun, op->snapshot);

    lun->restores += op->keep != 0;
    if (op->keep)
        take_snapshot(lun, op->fresh);
    set_bytes(&lun->bytes, snapshot->bytes);
    lun->size = snapshot->size;
    model_forget_pieces(lun);
}

static void remove_object(ModelLun *lun, const Op *op)
{
    if (op->snapshot[0])
        snapshot_clear(model_snapshot(lun, op->snapshot));
    else
        lun_clear(lun);
}

/* All sectors behind the new end are zero: before the size changes, and after. */
static unsigned resize(const Model *before, const Op *op, Model outcomes[OUTCOMES_MAX])
{
    ModelLun *lun = model_lun(&outcomes[0], op->lun);

    if (op->size >= lun->size) {
        lun->size = op->size;
        return 1;
    }
    note_sectors(lun, op->size, lun->size - op->size);
    lun->bytes = bytes_own(lun->bytes);
    memset(lun->bytes->data + op->size, 0, MODEL_BYTES_MAX - op->size);
    model_copy(&outcomes[1], &outcomes[0]);
    lun = model_lun(&outcomes[1], op->lun);
    cut_pieces(lun, op->size);
    lun->size = op->size;
    (void) before;
    return 2;
}

unsigned model_apply(const Model *before, const Op *op, Model outcomes[OUTCOMES_MAX])
{
    Model *after = &outcomes[0];
    ModelLun *lun, *second;

    model_copy(after, before);
    lun = model_lun(after, op->lun);
    switch ((OpKind) op->kind) {
    case OP_WRITE:
    case OP_DISCARD:
        apply_data(lun, op);
        break;
    case OP_PAIR:
        apply_pair(after, op);
        break;
    case OP_BESIDE:
        return apply_beside(op, outcomes);
    case OP_FLUSH:
        model_forget_pieces(lun);
        break;
    case OP_GROUP:
        second = model_lun(after, op->second);
        take_snapshot(second, op->fresh);
        take_snapshot(lun, op->fresh);
        break;
    case OP_SNAPSHOT:
        take_snapshot(lun, op->fresh);
        break;
    case OP_REFRESH:
        snapshot_clear(model_snapshot(lun, op->snapshot));
        take_snapshot(lun, op->snapshot);
        break;
    case OP_CLONE: {
        const ModelSnapshot *snapshot = model_snapshot(lun, op->snapshot);

        add_lun(after, op->fresh, snapshot->size, bytes_ref(snapshot->bytes));
        break;
    }
    case OP_CREATE:
        add_lun(after, op->fresh, op->size, bytes_new());
        break;
    case OP_RESTORE:
        restore(lun, op);
        break;
    case OP_REMOVE:
        remove_object(lun, op);
        break;
    case OP_RESIZE:
        return resize(before, op, outcomes);
    case OP_RENAME:
        g_strlcpy(op->snapshot[0] ? model_snapshot(lun, op->snapshot)->name : lun->name, op->fresh, MODEL_NAME_MAX);
        break;
    case OP_MOVE:
    case OP_CHECKPOINT:
    case OP_WRAP:
    case OP_REOPEN:
    case OP_KILL:
        break;
    }
    return 1;
}

/* ---- as events */

static void store_object(
    Log *base, EventKind kind, unsigned lun, uint64_t place, const char *name, uint64_t size, const ModelBytes *bytes)
{
    Event *event = log_add(base, kind, lun, NULL, MODEL_NAME_MAX + size);

    event->offset = place;
    event->length = size;
    memset(event->data, 0, MODEL_NAME_MAX);
    g_strlcpy((char *) event->data, name, MODEL_NAME_MAX);
    memcpy(event->data + MODEL_NAME_MAX, bytes->data, size);
}

void model_store(const Model *model, Log *base)
{
    for (unsigned i = 0; i < MODEL_LUNS; i++) {
        const ModelLun *lun = &model->luns[i];

        if (!lun->used)
            continue;
        store_object(base, EV_LUN, i, lun->restores, lun->name, lun->size, lun->bytes);
        for (unsigned k = 0; k < MODEL_SNAPSHOTS; k++)
            if (lun->snapshots[k].used)
                store_object(
                    base, EV_SNAPSHOT, i, k, lun->snapshots[k].name, lun->snapshots[k].size, lun->snapshots[k].bytes);
    }
}

bool model_load(Model *model, const Log *base)
{
    const Event *event;

    model_clear(model);
    for (uint64_t at = 0; (event = log_at(base, at)); at = log_behind(at, event)) {
        ModelLun *lun = &model->luns[event->file % MODEL_LUNS];
        ModelBytes *bytes;

        if (event->kind != EV_LUN && event->kind != EV_SNAPSHOT)
            continue;
        if (event->file >= MODEL_LUNS || event->length > MODEL_BYTES_MAX ||
            event->data_bytes != MODEL_NAME_MAX + event->length || event->data[MODEL_NAME_MAX - 1] != 0 ||
            (event->kind == EV_SNAPSHOT && event->offset >= MODEL_SNAPSHOTS))
            return false;
        bytes = bytes_new();
        memcpy(bytes->data, event->data + MODEL_NAME_MAX, event->length);
        if (event->kind == EV_LUN) {
            *lun =
                (ModelLun){ .used = true, .size = event->length, .restores = (unsigned) event->offset, .bytes = bytes };
            memcpy(lun->name, event->data, MODEL_NAME_MAX);
        } else {
            ModelSnapshot *snapshot = &lun->snapshots[event->offset];

            *snapshot = (ModelSnapshot){ .used = true, .size = event->length, .bytes = bytes };
            memcpy(snapshot->name, event->data, MODEL_NAME_MAX);
        }
    }
    return true;
}
