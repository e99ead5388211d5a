/* SPDX-License-Identifier: GPL-2.0-or-later */
/* copy_file_range into an empty LUN: it becomes a clone of the source, at once and in pieces.
 *
 * The first piece makes the whole map of the source the LUN's, and its size what was asked so far; what the source has behind
 * that is in the map but not to be seen. The next piece only raises the size. Anything else (a write that extends the LUN, a
 * truncation, another range, the last close, a crash) first drops what lies behind the end.
 *
 * A1  view->tail_behind is true from before such a map is applied until the tail is dropped or wholly shown; the adoption
 *     keeps the view until then.
 * A2  A piece is taken from the point only if the source was not written since: its view counts every record. */
#include "config_point.h"
#include "pool_private.h"

#include <errno.h>

struct VvAdoption {
    uint64_t from;
    uint64_t asked_bytes; /* so far: the LUN's size, unless somebody changed it */
    uint64_t source_bytes;
    VvView *target; /* referenced: tail_behind must outlive the last close */
    VvView *source; /* a LUN's view, referenced; NULL: a snapshot */
    uint64_t source_sequence;
};

void vv_adoption_free(void *data)
{
    struct VvAdoption *adoption = data;

    if (adoption->source)
        vv_view_unref(adoption->source);
    vv_view_unref(adoption->target);
    g_free(adoption);
}

static uint64_t view_sequence(VvView *view)
{
    VV_LOCKED(&view->lock);
    return view->next_sequence;
}

static void set_tail(VvView *view, bool behind)
{
    VV_LOCKED(&view->lock);
    view->tail_behind = behind;
}

static bool has_tail(VvView *view)
{
    VV_LOCKED(&view->lock);
    return view->tail_behind;
}

static bool unsupported(GError **error, const char *name, const char *why)
{
    vv_set_error(error, VV_ERROR_UNSUPPORTED, name, NULL, "%s cannot become a clone: %s", name, why);
    return false;
}

/* ---- the end of an adoption; configuration lock held */

bool vv_adoption_end(VvView *view, GError **error)
{
    g_autoptr(GPtrArray) views = NULL;
    bool ok;

    g_hash_table_remove(view->pool->threads->adoptions, &view->id);
    if (!has_tail(view)) {
        vv_view_wake(view); /* the last piece came before who waits to write behind it */
        return true;
    }
    views = g_ptr_array_new();
    g_ptr_array_add(views, view);
    if (!vv_views_flush(views, error) || !vv_views_close_gates(views, false, error))
        return false;
    ok = vv_lun_cut_tail(view, vv_view_size(view), error);
    if (ok)
        set_tail(view, false);
    vv_views_open_gates(views, false);
    vv_view_wake(view);
    return ok;
}

/* ---- one more piece */

/* Behind an end within a block there must be zeroes: it is not cut from the map. */
static bool ends_at_block(uint64_t size_bytes, uint64_t source_bytes)
{
    return size_bytes <= source_bytes && (size_bytes == source_bytes || size_bytes % VV_BLOCK_BYTES == 0);
}

/* 1: done, 0: it does not continue, -1: @error. */
static int continue_piece(VvTransaction *tx, VvView *view, struct VvAdoption *adoption, uint64_t from,
    uint64_t size_bytes, const char *name, GError **error)
{
    VvOp *op;

    if (adoption->from != from || vv_view_size(view) != adoption->asked_bytes || size_bytes < adoption->asked_bytes ||
        !ends_at_block(size_bytes, adoption->source_bytes) || !has_tail(view) ||
        (adoption->source && view_sequence(adoption->source) != adoption->source_sequence))
        return 0;
    if (size_bytes == adoption->asked_bytes)
        return 1;
    op = vv_transaction_add(tx, VV_OP_LUN_SIZE);
    op->lun_size.id = view->id;
    op->lun_size.size_bytes = size_bytes;
    op->lun_size.mtime_ns = tx->now_ns;
    /* Without the view: what is pending in it was not synced (I2), and its gate is open. */
    if (!vv_transaction_commit(tx, NULL, 0, name, error))
        return -1;
    adoption->asked_bytes = size_bytes;
    vv_view_reload(view);
    if (size_bytes == adoption->source_bytes) {
        set_tail(view, false);
        vv_view_wake(view);
        g_hash_table_remove(view->pool->threads->adoptions, &view->id);
    }
    return 1;
}

/* ---- the first piece */

typedef struct {
    uint64_t snapshot; /* 0: of the LUN's head, by a hidden point */
    uint64_t source_bytes;
    char *origin;
} Source;

static void source_clear(Source *source)
{
    g_free(source->origin);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Source, source_clear)

/* Read lock inside. Refuses whatever apply would refuse. */
static bool find_source(VvPool *pool, uint64_t to, uint64_t from, const char *name, Source *source, GError **error)
{
    VV_META_READ(pool->meta);
    const VvLun *target = vv_meta_lun(pool->meta, to), *base = vv_meta_lun(pool->meta, from);
    const VvSnapshot *snapshot = base ? NULL : vv_meta_snapshot(pool->meta, from);

    if (!target || target->orphan || to == from)
        return unsupported(error, name, "it is gone");
    if (!(base && !base->orphan) && !(snapshot && !snapshot->hidden))
        return unsupported(error, name, "its source is gone");
    if (target->snapshots->len > 0 || target->used_blocks > 0)
        return unsupported(error, name, "it is not empty");
    if (!vv_space_may_adopt(pool->meta, target, snapshot ? snapshot->branch : base->branch))
        return unsupported(error, name, "its data may lie on chosen disks alone");
    source->snapshot = snapshot ? snapshot->id : 0;
    source->source_bytes = snapshot ? snapshot->size_bytes : base->size_bytes;
    if (snapshot) {
        base = vv_meta_lun(pool->meta, snapshot->lun);
        source->origin = g_strdup_printf("%s@%s", base ? base->name : "", snapshot->name);
    } else {
        source->origin = g_strdup(base->name);
    }
    return true;
}

static bool is_empty(VvView *view)
{
    uint64_t found;

    return vv_view_seek(view, 0, true, &found) == -ENXIO && vv_view_size(view) == 0;
}

static void add_adopt(VvTransaction *tx, uint64_t to, uint64_t snapshot, const char *origin, uint64_t size_bytes)
{
    VvOp *op = vv_transaction_add(tx, VV_OP_ADOPT);

    op->adopt.lun = to;
    op->adopt.snapshot = snapshot;
    op->adopt.branch = vv_meta_new_id(tx->pool->meta);
    op->adopt.size_bytes = size_bytes;
    op->adopt.origin = g_strdup(origin);
    op->adopt.time_ns = tx->now_ns;
}

/* @target's gates are closed and it is empty: freeze the source if it is a LUN, and log. */
static bool log_adoption(
    VvTransaction *tx, VvView *target, VvView *from_view, const Source *source, uint64_t size_bytes, GError **error)
{
    g_auto(VvFreeze) freeze = VV_FREEZE_INIT;
    g_autoptr(GArray) lun_ids = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    VvView *views[] = { target };
    uint64_t snapshot = source->snapshot;

    if (snapshot) {
        add_adopt(tx, target->id, snapshot, source->origin, size_bytes);
        return vv_transaction_commit(tx, views, 1, source->origin, error);
    }
    snapshot = vv_add_snapshot(tx, from_view->id, "", NULL);
    add_adopt(tx, target->id, snapshot, source->origin, size_bytes);
    g_array_append_val(lun_ids, from_view->id);
    return vv_freeze_commit(&freeze, tx, lun_ids, source->origin, error);
}

static bool first_piece(
    VvTransaction *tx, VvView *target, uint64_t from, uint64_t size_bytes, const char *name, GError **error)
{
    VvPool *pool = tx->pool;
    g_auto(Source) source = { 0 };
    g_autoptr(GPtrArray) views = g_ptr_array_new();
    struct VvAdoption *adoption;
    VvView *from_view = NULL;
    uint64_t sequence = 0;
    bool ok;

    if (vv_view_get(pool, from, &from_view) < 0)
        return unsupported(error, name, "its source is gone");
    g_ptr_array_add(views, target);
    if (vv_view_is_lun(from_view))
        (void) vv_view_flush(from_view); /* its size in the catalog is what its writers were told */
    if (!find_source(pool, target->id, from, name, &source, error) || !vv_views_flush(views, error) ||
        !vv_views_close_gates(views, true, error)) {
        vv_view_unref(from_view);
        return false;
    }
    ok = is_empty(target) || unsupported(error, name, "it is not empty");
    ok = ok && (ends_at_block(size_bytes, source.source_bytes) ||
                   unsupported(error, name, "the piece does not end at a block of the source"));
    if (ok) {
        set_tail(target, size_bytes < source.source_bytes); /* A1 */
        sequence = view_sequence(from_view);
        ok = log_adoption(tx, target, from_view, &source, size_bytes, error);
        if (ok)
            vv_view_reload(target);
        else
            set_tail(target, false);
    }
    vv_views_open_gates(views, true);
    if (!ok || size_bytes == source.source_bytes) {
        vv_view_unref(from_view);
        return ok;
    }
    adoption = g_new0(struct VvAdoption, 1);
    *adoption = (struct VvAdoption){
        .from = from, .asked_bytes = size_bytes, .source_bytes = source.source_bytes, .source_sequence = sequence
    };
    adoption->target = target;
    g_atomic_int_inc(&target->refs);
    if (vv_view_is_lun(from_view))
        adoption->source = from_view;
    else
        vv_view_unref(from_view);
    g_hash_table_insert(pool->threads->adoptions, g_memdup2(&target->id, sizeof target->id), adoption);
    return true;
}

static bool lun_adopt_once(VvPool *pool, uint64_t to, uint64_t from, uint64_t size_bytes, GError **error)
{
    g_auto(VvTransaction) tx = VV_TRANSACTION_INIT;
    g_autofree char *name = NULL;
    struct VvAdoption *adoption;
    VvView *target;
    bool ok;

    if (!vv_transaction_begin(&tx, pool, NULL, false, error))
        return false;
    name = vv_object_name(pool, to);
    if (vv_view_get(pool, to, &target) < 0)
        return unsupported(error, name, "it is gone");
    adoption = g_hash_table_lookup(pool->threads->adoptions, &to);
    if (adoption) {
        int result = continue_piece(&tx, target, adoption, from, size_bytes, name, error);

        ok = result > 0;
        if (result == 0)
            ok = vv_adoption_end(target, error) && unsupported(error, name, "this piece does not continue the last");
    } else {
        ok = first_piece(&tx, target, from, size_bytes, name, error);
    }
    vv_view_unref(target);
    vv_transaction_clear(&tx);
    if (ok && pool->hooks.object_changed)
        pool->hooks.object_changed(pool->hooks_user, to);
    return ok;
}

/* ---- until they are decided: another node may have changed something while they looked */

bool vv_pool_lun_adopt(VvPool *pool, uint64_t to, uint64_t from, uint64_t size_bytes, GError **error)
{
    if (pool->without_disks) /* the data of both is elsewhere */
        return unsupported(error, "it", "its disks are another node's");
    VV_UNTIL_DECIDED(error, lun_adopt_once(pool, to, from, size_bytes, &failure));
}
