/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "work.h"

#include "engine.h"
#include "limits.h"
#include "pair.h"
#include "pool_jobs.h"
#include "pool_private.h"
#include "transaction.h"

#include <string.h>

#define POOL_BYTES ((uint64_t) 48 << 20)
#define SECOND_BYTES ((uint64_t) 16 << 20)
#define WAIT_MS 60000u
#define FILLER_BYTES 60000u
#define FILLERS 11u /* two entries of these do not fit a file of VV_JOURNAL_FILE_BYTES, as the Makefile sets it */

_Static_assert(2 * FILLERS * FILLER_BYTES > VV_JOURNAL_FILE_BYTES, "two entries wrap the journal");

uint64_t chance_below(Chance *chance, uint64_t below)
{
    chance->random ^= chance->random << 13;
    chance->random ^= chance->random >> 7;
    chance->random ^= chance->random << 17;
    return below == 0 ? 0 : (chance->random >> 11) % below;
}

/* ---- choosing */

static const ModelLun *any_lun(const Model *model, Chance *chance)
{
    unsigned first = (unsigned) chance_below(chance, MODEL_LUNS);

    for (unsigned i = 0; i < MODEL_LUNS; i++)
        if (model->luns[(first + i) % MODEL_LUNS].used)
            return &model->luns[(first + i) % MODEL_LUNS];
    return NULL;
}

static unsigned count_luns(const Model *model)
{
    unsigned count = 0;

    for (unsigned i = 0; i < MODEL_LUNS; i++)
        count += model->luns[i].used;
    return count;
}

static const ModelSnapshot *any_snapshot(const ModelLun *lun, Chance *chance)
{
    unsigned first = (unsigned) chance_below(chance, MODEL_SNAPSHOTS);

    for (unsigned i = 0; i < MODEL_SNAPSHOTS; i++)
        if (lun->snapshots[(first + i) % MODEL_SNAPSHOTS].used)
            return &lun->snapshots[(first + i) % MODEL_SNAPSHOTS];
    return NULL;
}

static unsigned count_snapshots(const ModelLun *lun)
{
    unsigned count = 0;

    for (unsigned i = 0; i < MODEL_SNAPSHOTS; i++)
        count += lun->snapshots[i].used;
    return count;
}

/* A LUN that has a snapshot, and that. */
static bool choose_snapshot(const Model *model, Chance *chance, Op *op)
{
    for (unsigned i = 0; i < 2 * MODEL_LUNS; i++) {
        const ModelLun *lun = any_lun(model, chance);
        const ModelSnapshot *snapshot = lun ? any_snapshot(lun, chance) : NULL;

        if (!snapshot)
            continue;
        g_strlcpy(op->lun, lun->name, sizeof op->lun);
        g_strlcpy(op->snapshot, snapshot->name, sizeof op->snapshot);
        return true;
    }
    return false;
}

/* Near the beginning or around the region's end, so that writes meet: whole blocks, sectors or bytes. */
static void choose_range(const ModelLun *lun, Chance *chance, Op *op)
{
    static const uint64_t units[] = { 1, 512, 4096, 4096 };
    uint64_t unit = units[chance_below(chance, 4)], center = chance_below(chance, 3) ? 0 : VV_REGION_BYTES - 32768;

    op->offset = (center + chance_below(chance, 65536)) / unit * unit;
    op->offset %= lun->size;
    op->offset -= op->offset % unit;
    op->length = (1 + chance_below(chance, 24576) / unit) * unit;
    op->length = MIN(op->length, lun->size - op->offset);
}

/* The second write: elsewhere, on another LUN, or (as often as both together) where the first one is. */
static bool choose_pair(const Model *model, const ModelLun *lun, Chance *chance, Op *op)
{
    const ModelLun *second = chance_below(chance, 4) ? lun : any_lun(model, chance);
    Op other = { 0 };

    choose_range(lun, chance, op);
    choose_range(second, chance, &other);
    if (second == lun && chance_below(chance, 3) && op->length > 0) {
        other.offset = op->offset + chance_below(chance, op->length);
        if (chance_below(chance, 2))
            other.offset -= other.offset % VV_BLOCK_BYTES;
        other.length = MIN(other.length, lun->size - other.offset);
    }
    g_strlcpy(op->second, second->name, sizeof op->second);
    op->size = other.offset;
    op->keep = other.length;
    return op->length > 0 && op->keep > 0;
}

static bool choose_group(const Model *model, const ModelLun *lun, Op *op)
{
    for (unsigned i = 0; i < MODEL_LUNS; i++) {
        const ModelLun *second = &model->luns[i];

        if (!second->used || second == lun || count_snapshots(second) == MODEL_SNAPSHOTS)
            continue;
        g_strlcpy(op->second, second->name, sizeof op->second);
        return count_snapshots(lun) < MODEL_SNAPSHOTS;
    }
    return false;
}

static bool choose_restore(const Model *model, Chance *chance, Op *op)
{
    const ModelLun *lun;

    if (!choose_snapshot(model, chance, op))
        return false;
    lun = model_lun((Model *) model, op->lun);
    op->keep = chance_below(chance, 2) && count_snapshots(lun) < MODEL_SNAPSHOTS;
    g_snprintf(op->fresh, sizeof op->fresh, "before-restore-%u", lun->restores + 1);
    return true;
}

static bool choose_removal(const Model *model, Chance *chance, Op *op)
{
    if (count_luns(model) > 1 && chance_below(chance, 3) == 0) {
        g_strlcpy(op->lun, any_lun(model, chance)->name, sizeof op->lun);
        return true;
    }
    return choose_snapshot(model, chance, op);
}

static void choose_size(const ModelLun *lun, Chance *chance, Op *op)
{
    uint64_t change = (1 + chance_below(chance, 160)) * VV_SECTOR_BYTES;

    op->size = lun->size;
    if (chance_below(chance, 2) && lun->size + change <= MODEL_BYTES_MAX)
        op->size += change;
    else if (lun->size > change + 65536)
        op->size -= change;
    else
        op->size = MIN(lun->size + change, MODEL_BYTES_MAX);
}

bool work_choose(const Model *model, char letter, Chance *chance, Op *op)
{
    const ModelLun *lun = any_lun(model, chance);

    *op = (Op){ .kind = (uint32_t) letter, .serial = ++chance->serial };
    if (!lun)
        return letter == OP_CHECKPOINT || letter == OP_WRAP || letter == OP_REOPEN || letter == OP_KILL;
    g_strlcpy(op->lun, lun->name, sizeof op->lun);
    g_snprintf(op->fresh, sizeof op->fresh, "%c%u", letter, chance->serial);
    switch ((OpKind) letter) {
    case OP_WRITE:
    case OP_DISCARD:
        choose_range(lun, chance, op);
        return op->length > 0;
    case OP_BESIDE:
        choose_range(lun, chance, op);
        return op->length > 0;
    case OP_PAIR:
        return choose_pair(model, lun, chance, op);
    case OP_SNAPSHOT:
        return count_snapshots(lun) < MODEL_SNAPSHOTS;
    case OP_GROUP:
        return choose_group(model, lun, op);
    case OP_CLONE:
        return count_luns(model) < MODEL_LUNS && choose_snapshot(model, chance, op);
    case OP_CREATE:
        op->size = (1 + chance_below(chance, MODEL_BYTES_MAX / 512)) * 512;
        return count_luns(model) < MODEL_LUNS;
    case OP_REFRESH:
        return choose_snapshot(model, chance, op);
    case OP_RESTORE:
        return choose_restore(model, chance, op);
    case OP_REMOVE:
        return choose_removal(model, chance, op);
    case OP_RENAME:
        return chance_below(chance, 2) == 0 || choose_snapshot(model, chance, op);
    case OP_RESIZE:
        choose_size(lun, chance, op);
        return op->size != lun->size;
    default:
        return true;
    }
}

/* ---- doing */

static uint64_t lun_id(VvPool *pool, const char *name)
{
    VV_META_READ(pool->meta);
    const VvLun *lun = vv_meta_lun_by_name(pool->meta, name);

    g_assert(lun != NULL);
    return lun->id;
}

static VvHandle *open_id(VvPool *pool, uint64_t id, bool write)
{
    VvOpen how = { .write = write, .internal = true };
    VvHandle *handle = NULL;

    g_assert_cmpint(vv_handle_open(pool, id, &how, &handle), ==, 0);
    return handle;
}

static void do_data(VvPool *pool, const Op *op)
{
    g_autoptr(VvHandle) handle = open_id(pool, lun_id(pool, op->lun), true);
    VvView *view = vv_handle_view(handle);
    g_autofree uint8_t *bytes = g_malloc(op->length + 1);

    if (op->kind == OP_FLUSH) {
        g_assert_cmpint(vv_view_flush(view), ==, 0);
    } else if (op->kind == OP_DISCARD) {
        g_assert_cmpint(vv_view_zero(view, op->offset, op->length), ==, 0);
    } else {
        model_fill(op, bytes);
        g_assert_cmpint(vv_view_write(view, bytes, op->offset, op->length), ==, (int64_t) op->length);
    }
}

static void do_pair(VvPool *pool, const Op *op)
{
    const char *second_name = op->kind == OP_PAIR ? op->second : op->lun;
    g_autoptr(VvHandle) first = open_id(pool, lun_id(pool, op->lun), true), second = open_id(pool, lun_id(pool, second_name), true);

    pair_do(vv_handle_view(first), vv_handle_view(second), op);
}

static void do_snapshot(VvPool *pool, const Op *op, GError **error)
{
    g_autofree char *first = g_strdup_printf("%s@%s", op->lun, op->fresh),
                    *second = g_strdup_printf("%s@%s", op->second, op->fresh);
    const char *objects[] = { first, op->kind == OP_GROUP ? second : NULL, NULL };

    vv_pool_snapshot_create(pool, objects, NULL, NULL, error);
}

static void do_remove(VvPool *pool, const Op *op, const char *object, GError **error)
{
    const char *objects[] = { object, NULL }, *names[] = { op->lun, NULL };

    if (op->snapshot[0])
        vv_pool_snapshot_remove(pool, objects, false, false, NULL, NULL, error);
    else
        vv_pool_lun_remove(pool, names, true, false, false, NULL, NULL, error);
}

static void do_restore(VvPool *pool, const Op *op, const char *object, GError **error)
{
    g_autofree char *kept = NULL;

    vv_pool_snapshot_restore(pool, object, true, !op->keep, false, NULL, &kept, error);
    if (!*error && op->keep)
        g_assert_cmpstr(strchr(kept, '@') + 1, ==, op->fresh);
}

static void do_move(VvPool *pool, const Op *op, GError **error)
{
    uint64_t job;
    bool failed;

    if (vv_pool_lun_repack(pool, op->lun, &job, error))
        vv_pool_job_wait(pool, &job, 1, WAIT_MS, &failed, error);
}

/* Entries that change nothing, until the journal is in another file; what the LUN has pending comes first, in the same batch. */
static void do_wrap(VvPool *pool, const Op *op_of)
{
    g_autofree char *filler = g_strnfill(FILLER_BYTES, 'x');
    g_autoptr(VvHandle) handle = op_of->lun[0] ? open_id(pool, lun_id(pool, op_of->lun), true) : NULL;
    VvView *view = handle ? vv_handle_view(handle) : NULL;

    for (unsigned i = 0; i < 2; i++) {
        VvOps *ops = vv_ops_new();

        for (unsigned k = 0; k <= FILLERS; k++) {
            VvOp *op = vv_ops_add(ops, VV_OP_POOL_SET);

            op->pool_set.key = g_strdup("test-filler");
            op->pool_set.value = g_strdup(k < FILLERS ? filler : "");
        }
        g_assert_cmpint(view ? vv_view_sync_disks(view) : 0, ==, 0); /* I2 */
        g_assert_cmpint(vv_commit_ops(pool->committer, &view, view ? 1 : 0, ops), ==, 0);
    }
}

void work_do(VvPool *pool, const Op *op)
{
    g_autofree char *object = g_strdup_printf("%s@%s", op->lun, op->snapshot);
    g_autoptr(GError) error = NULL;
    uint64_t id;

    switch ((OpKind) op->kind) {
    case OP_WRITE:
    case OP_DISCARD:
    case OP_FLUSH:
        do_data(pool, op);
        break;
    case OP_PAIR:
    case OP_BESIDE:
        do_pair(pool, op);
        break;
    case OP_SNAPSHOT:
    case OP_GROUP:
        do_snapshot(pool, op, &error);
        break;
    case OP_REFRESH:
        vv_pool_snapshot_refresh(pool, object, NULL, &error);
        break;
    case OP_CLONE:
        vv_pool_clone(pool, object, op->fresh, 0, NULL, NULL, &id, &error);
        break;
    case OP_CREATE: {
        VvLunCreate create = { .name = op->fresh, .size_bytes = op->size };

        vv_pool_lun_create(pool, &create, NULL, &id, &error);
        break;
    }
    case OP_RESTORE:
        do_restore(pool, op, object, &error);
        break;
    case OP_REMOVE:
        do_remove(pool, op, object, &error);
        break;
    case OP_RESIZE:
        vv_pool_lun_resize(pool, op->lun, op->size, true, false, NULL, &error);
        break;
    case OP_RENAME:
        if (op->snapshot[0])
            vv_pool_snapshot_rename(pool, object, op->fresh, NULL, &error);
        else
            vv_pool_lun_rename(pool, op->lun, op->fresh, NULL, &error);
        break;
    case OP_MOVE:
        do_move(pool, op, &error);
        break;
    case OP_CHECKPOINT:
        g_assert_cmpint(vv_pool_checkpoint_now(pool), ==, 0);
        break;
    case OP_WRAP:
        do_wrap(pool, op);
        break;
    case OP_REOPEN:
    case OP_KILL:
        g_assert_not_reached();
    }
    g_assert_no_error(error);
}

/* ---- looking */

void work_look(VvPool *pool, Shown *shown)
{
    uint64_t ids[MODEL_LUNS * (MODEL_SNAPSHOTS + 1)];

    shown_clear(shown);
    {
        VV_META_READ(pool->meta);
        const GPtrArray *luns = vv_meta_luns(pool->meta);

        for (unsigned i = 0; i < luns->len; i++) {
            const VvLun *lun = g_ptr_array_index(luns, i);

            ids[shown->count] = lun->id;
            shown_add(shown, lun->name, "", lun->size_bytes);
            for (unsigned k = 0; k < lun->snapshots->len; k++) {
                const VvSnapshot *snapshot = g_ptr_array_index(lun->snapshots, k);

                ids[shown->count] = snapshot->id;
                shown_add(shown, lun->name, snapshot->name, snapshot->size_bytes);
            }
        }
    }
    for (unsigned i = 0; i < shown->count; i++) {
        ShownObject *object = &shown->objects[i];
        g_autoptr(VvHandle) handle = open_id(pool, ids[i], false);

        if (object->size > MODEL_BYTES_MAX)
            g_error("%s@%s has %" G_GUINT64_FORMAT " bytes", object->lun, object->snapshot, object->size);
        g_assert_cmpint(
            vv_view_read(vv_handle_view(handle), object->bytes, 0, object->size), ==, (int64_t) object->size);
    }
}

static void report_cb(void *user, const VvCheckError *error)
{
    char **why = user;

    if (!*why)
        *why = g_strdup_printf("pool check: %s %s: %s", error->code, error->object, error->message);
}

static bool tell(bool ok, char **ret_why, const GError *error)
{
    if (!ok && !*ret_why)
        *ret_why = g_strdup_printf("pool check: %s", error->message);
    return *ret_why == NULL;
}

bool work_check(VvPool *pool, char **ret_why)
{
    g_autoptr(GError) error = NULL;

    *ret_why = NULL;
    return tell(vv_pool_check(pool, report_cb, ret_why, &error), ret_why, error);
}

bool work_check_offline(const char *directory, char **ret_why)
{
    g_autoptr(GError) error = NULL;

    *ret_why = NULL;
    return tell(vv_pool_check_offline(directory, false, report_cb, ret_why, &error), ret_why, error);
}

/* ---- bases */

static void step(VvPool *pool, Model *model, const Op *op)
{
    Model outcomes[OUTCOMES_MAX] = { 0 };
    unsigned count = model_apply(model, op, outcomes);

    work_do(pool, op);
    model_clear(model);
    *model = outcomes[count - 1];
    if (count > 1)
        model_clear(&outcomes[0]);
}

static void letters(VvPool *pool, Model *model, const char *text, Chance *chance)
{
    Op op;

    for (; *text; text++)
        if (work_choose(model, *text, chance, &op))
            step(pool, model, &op);
}

/* A LUN whose first region is scattered, with two snapshots. */
static void make_first(VvPool *pool, Model *model)
{
    Op create = { .kind = OP_CREATE, .size = (1 << 20) + (64 << 10), .fresh = "a" };
    Op write = { .kind = OP_WRITE, .serial = 3000000000u, .length = 65536, .lun = "a" };
    Op first = { .kind = OP_SNAPSHOT, .lun = "a", .fresh = "one" },
       second = { .kind = OP_SNAPSHOT, .lun = "a", .fresh = "two" };
    Op flush = { .kind = OP_FLUSH, .lun = "a" };

    step(pool, model, &create);
    step(pool, model, &write);
    step(pool, model, &first);
    write.length = VV_BLOCK_BYTES;
    for (unsigned block = 0; block < 16; block += 2) {
        write.serial++;
        write.offset = (uint64_t) block * VV_BLOCK_BYTES;
        step(pool, model, &write);
    }
    step(pool, model, &second);
    write.offset = 3 * VV_BLOCK_BYTES;
    write.serial++;
    step(pool, model, &write);
    step(pool, model, &flush);
}

void work_make_base(unsigned number, const char *directory, Log *ret_model)
{
    VvPoolCreate create = { .directory = directory, .name = "tank", .size_bytes = POOL_BYTES };
    g_autofree char *second = g_strdup_printf("%s/disk1", directory);
    Chance chance = { .random = UINT64_C(88172645463325252) + number, .serial = 4000000000u };
    g_autoptr(GError) error = NULL;
    Model model = { 0 };
    VvPool *pool;

    vv_pool_create(&create, &error);
    g_assert_no_error(error);
    pool = vv_pool_open(directory, NULL, &error);
    g_assert_no_error(error);
    make_first(pool, &model);
    if (number >= 1) {
        vv_pool_disk_add(pool, second, SECOND_BYTES, NULL, false, NULL, NULL, &error);
        g_assert_no_error(error);
        letters(pool, &model, number == 1 ? "jkcwf" : "jkcwjdfs", &chance);
        g_assert_cmpint(vv_pool_flush(pool), ==, 0);
        model_store(&model, ret_model);
        _exit(0);
    }
    vv_pool_close(pool);
    model_store(&model, ret_model);
    _exit(0);
}
