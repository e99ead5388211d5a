/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A real pool against flat byte arrays: random writes, discards, snapshots, clones, restores, removals, sizes, copies, remounts
 * and crashes; and of flips of bits on the disk, for those LUNs whose blocks have checksums (pool-flip.c).
 *
 * The model lies in memory that is shared with child processes. Each session is a child that opens the pool, takes some
 * hundred steps, and ends by closing the pool or by _exit() amid everything (a crash: what is pending dies with it, what the
 * kernel was given survives, as with a kill). The next session compares everything: blocks written since their LUN's last
 * flush must show what they held at that flush or after one of the writes since; all else must be exact. In the test "pending" a memfd
 * outlives the sessions: then everything must be exact after a crash too, unless the memfd was lost with it, as in a power cut.
 *
 * Replay: pool-model --seed=SEED, or VV_MODEL_SEED=N; longer: VV_MODEL_STEPS=N (per test). */
#include "pool-state.h"

#include "error.h"
#include "pool_jobs.h"
#include "share.h"
#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

static void orphan(ModelLun *lun, ModelSnapshot *snapshot);

/* ---- steps: data */

static void step_write(void)
{
    ModelLun *lun = m_any_lun();
    uint64_t offset, length;

    if (!lun)
        return;
    g_autoptr(VvHandle) handle = m_open_object(lun->id, true);
    m_range(lun->size, m_chance(8) == 0 ? 300000 : 20000, &offset, &length);
    m_prepare_change(lun, offset, length);
    m_fill(lun->bytes + offset, length);
    g_assert_cmpint(vv_view_write(vv_handle_view(handle), lun->bytes + offset, offset, length), ==, (int64_t) length);
    m_note_versions(lun, offset, length);
}

static void step_zero(void)
{
    ModelLun *lun = m_any_lun();
    uint64_t offset, length;

    if (!lun)
        return;
    g_autoptr(VvHandle) handle = m_open_object(lun->id, true);
    m_range(lun->size, m_chance(4) == 0 ? SIZE_MAX_BYTES : 60000, &offset, &length);
    m_prepare_change(lun, offset, length);
    memset(lun->bytes + offset, 0, length);
    g_assert_cmpint(vv_view_zero(vv_handle_view(handle), offset, length), ==, 0);
    m_note_versions(lun, offset, length);
}

static void step_allocate(void)
{
    ModelLun *lun = m_any_lun();
    uint64_t offset, length;

    if (!lun)
        return;
    g_autoptr(VvHandle) handle = m_open_object(lun->id, true);
    m_range(lun->size, 60000, &offset, &length);
    g_assert_cmpint(vv_view_allocate(vv_handle_view(handle), offset, length), ==, 0);
}

static void step_read(void)
{
    ModelLun *lun = m_any_lun();
    ModelSnapshot *snapshot = m_chance(2) ? m_any_snapshot(lun) : NULL;
    uint64_t offset, length;

    if (!lun)
        return;
    g_autoptr(VvHandle) handle = m_open_object(snapshot ? m_snapshot_id(lun, snapshot) : lun->id, false);
    m_range(snapshot ? snapshot->size : lun->size, 100000, &offset, &length);
    m_compare(vv_handle_view(handle), snapshot ? snapshot->bytes : lun->bytes, offset, length,
        snapshot ? snapshot->name : lun->name);
}

static void step_flush(void)
{
    ModelLun *lun = m_any_lun();

    if (lun)
        m_flush_lun(lun);
}

static void step_copy(void)
{
    ModelLun *to = m_any_lun(), *from = m_any_lun();
    ModelSnapshot *snapshot = m_chance(2) ? m_any_snapshot(from) : NULL;
    uint64_t from_offset, to_offset, length;

    if (!to || (from == to && !snapshot))
        return;
    m_range(snapshot ? snapshot->size : from->size, 200000, &from_offset, &length);
    to_offset = m_chance(to->size) / 512 * 512;
    length = MIN(length, to->size - to_offset);
    g_autoptr(VvHandle) source = m_open_object(snapshot ? m_snapshot_id(from, snapshot) : from->id, false);
    g_autoptr(VvHandle) target = m_open_object(to->id, true);
    m_prepare_change(to, to_offset, length);
    memcpy(to->bytes + to_offset, (snapshot ? snapshot->bytes : from->bytes) + from_offset, length);
    g_assert_cmpint(vv_view_copy(vv_handle_view(source), from_offset, vv_handle_view(target), to_offset, length), ==,
        (int64_t) length);
    m_note_versions(to, to_offset, length);
}

/* ---- steps: objects */

static uint64_t random_size(void)
{
    return (1 + m_chance(SIZE_MAX_BYTES / 512)) * 512;
}

static void add_lun(ModelLun *lun, uint64_t id, const char *name, uint64_t size)
{
    lun->used = true;
    lun->id = id;
    lun->size = size;
    g_strlcpy(lun->name, name, sizeof lun->name);
    memset(lun->bytes, 0, sizeof lun->bytes);
    memset(lun->snapshots, 0, sizeof lun->snapshots);
    m_forget_versions(lun);
}

static void step_create(void)
{
    g_autoptr(GError) error = NULL;
    static const char *const chosen[] = { "disk1", NULL };
    ModelLun *lun = m_free_lun();
    char name[64];
    VvLunCreate create = { .name = name, .size_bytes = random_size(), .disks = m_chance(2) ? chosen : NULL };
    uint64_t id;

    if (!lun)
        return;
    m_new_name(name, "lun");
    vv_pool_lun_create(pool, &create, NULL, &id, &error);
    g_assert_no_error(error);
    add_lun(lun, id, name, create.size_bytes);
}

static void wait_finished(uint64_t id)
{
    uint64_t deadline_ms = vv_monotonic_ms() + SETTLE_MS;
    VvViewStat stat;

    do {
        g_assert_cmpint(vv_pool_stat(pool, id, &stat), ==, 0);
        g_assert_cmpuint(vv_monotonic_ms(), <, deadline_ms);
    } while (stat.elastic && (g_usleep(200), true));
}

static uint64_t make_elastic(char *name)
{
    g_autoptr(GError) error = NULL;
    VvLunCreate create = { .name = name, .elastic = true };
    uint64_t id;

    m_new_name(name, "file");
    vv_pool_lun_create(pool, &create, NULL, &id, &error);
    g_assert_no_error(error);
    return id;
}

/* A write behind or across the end of an elastic LUN. */
static void extend(ModelLun *lun, VvView *view)
{
    uint64_t offset = m_chance(SIZE_MAX_BYTES - 1), length = 1 + m_chance(50000);

    length = MIN(length, SIZE_MAX_BYTES - offset);
    m_fill(lun->bytes + offset, length);
    g_assert_cmpint(vv_view_write(view, lun->bytes + offset, offset, length), ==, (int64_t) length);
    lun->size = MAX(lun->size, offset + length);
    g_assert_cmpuint(vv_view_size(view), ==, lun->size);
}

static void truncate_lun(ModelLun *lun, uint64_t size)
{
    g_autoptr(GError) error = NULL;

    vv_pool_lun_truncate(pool, lun->id, size, &error);
    g_assert_no_error(error);
    if (size < lun->size)
        memset(lun->bytes + size, 0, lun->size - size);
    lun->size = size;
}

static void finish_elastic(ModelLun *lun, VvHandle *handle)
{
    m_compare(vv_handle_view(handle), lun->bytes, 0, lun->size, lun->name);
    vv_handle_close(handle);
    wait_finished(lun->id);
    lun->size = (lun->size + VV_BLOCK_BYTES - 1) / VV_BLOCK_BYTES * VV_BLOCK_BYTES;
    if (lun->size == 0)
        truncate_lun(lun, 512);
    m_compare_all_of(lun->id, lun->bytes, lun->size, lun->name);
    m_forget_versions(lun);
}

/* What cp and dd do. */
static void step_elastic(void)
{
    ModelLun *lun = m_free_lun();
    VvHandle *handle;
    char name[64];

    if (!lun)
        return;
    add_lun(lun, make_elastic(name), name, 0);
    handle = m_open_object(lun->id, true);
    for (uint64_t i = m_chance(6); i > 0; i--) {
        if (m_chance(3) == 0)
            truncate_lun(lun, m_chance(SIZE_MAX_BYTES));
        else
            extend(lun, vv_handle_view(handle));
    }
    finish_elastic(lun, handle);
}

static void adopt_piece(
    ModelLun *lun, ModelLun *from, uint64_t from_id, const uint8_t *bytes, uint64_t end, VvHandle *handle)
{
    g_autoptr(GError) error = NULL;

    if (vv_pool_lun_adopt(pool, lun->id, from_id, end, &error)) {
        memcpy(lun->bytes + lun->size, bytes + lun->size,
            end - lun->size); /* what was written over the earlier pieces stays */
        lun->size = end;
        if (from)
            m_forget_versions(from); /* the hidden point was taken behind a flush */
        return;
    }
    g_assert_error(error, VV_ERROR, VV_ERROR_UNSUPPORTED);
    g_assert_cmpuint(vv_view_size(vv_handle_view(handle)), ==, lun->size);
}

/* copy_file_range into an empty LUN, in pieces, sometimes disturbed. */
static void step_adopt(void)
{
    ModelLun *from = m_any_lun(), *lun = m_free_lun();
    ModelSnapshot *snapshot = m_chance(2) ? m_any_snapshot(from) : NULL;
    g_autofree uint8_t *bytes = g_malloc(SIZE_MAX_BYTES);
    uint64_t size, from_id, end = 0;
    VvHandle *handle;
    char name[64];

    if (!lun || !from)
        return;
    memcpy(bytes, snapshot ? snapshot->bytes : from->bytes, SIZE_MAX_BYTES);
    size = snapshot ? snapshot->size : from->size;
    from_id = snapshot ? m_snapshot_id(from, snapshot) : from->id;
    add_lun(lun, make_elastic(name), name, 0);
    handle = m_open_object(lun->id, true);
    while (end < size && m_chance(8) != 0) {
        end += (1 + m_chance(200)) * VV_BLOCK_BYTES;
        end = MIN(size, end);
        adopt_piece(lun, snapshot ? NULL : from, from_id, bytes, end, handle);
        if (lun->size != end)
            break;
        if (m_chance(6) == 0)
            extend(lun, vv_handle_view(handle));
        else if (m_chance(10) == 0)
            truncate_lun(lun, m_chance(SIZE_MAX_BYTES));
        if (lun->size != end)
            break;
    }
    finish_elastic(lun, handle);
}

static void step_rename(void)
{
    g_autoptr(GError) error = NULL;
    ModelLun *lun = m_any_lun();
    ModelSnapshot *snapshot = m_any_snapshot(lun);
    char name[64];

    if (!lun)
        return;
    if (snapshot && m_chance(2)) {
        g_autofree char *object = m_object_of(lun, snapshot);

        m_new_name(name, "renamed");
        vv_pool_snapshot_rename(pool, object, name, NULL, &error);
        g_assert_no_error(error);
        g_strlcpy(snapshot->name, name, sizeof snapshot->name);
        return;
    }
    m_new_name(name, "other");
    vv_pool_lun_rename(pool, lun->name, name, NULL, &error);
    g_assert_no_error(error);
    g_strlcpy(lun->name, name, sizeof lun->name);
}

static void step_resize(void)
{
    g_autoptr(GError) error = NULL;
    ModelLun *lun = m_any_lun();
    uint64_t size = random_size();

    if (!lun)
        return;
    if (size < lun->size && !vv_pool_lun_resize(pool, lun->name, size, false, false, NULL, &error)) {
        g_assert_error(error, VV_ERROR, VV_ERROR_DENIED);
        g_clear_error(&error);
    }
    vv_pool_lun_resize(pool, lun->name, size, true, false, NULL, &error);
    if (size < lun->size && m_held_for_writing(lun)) {
        g_assert_error(error, VV_ERROR, VV_ERROR_BUSY);
        return;
    }
    g_assert_no_error(error);
    if (size < lun->size)
        memset(lun->bytes + size, 0, SIZE_MAX_BYTES - size);
    lun->size = size;
    m_forget_versions(lun);
}

/* ---- steps: points */

static void copy_point(ModelSnapshot *snapshot, ModelLun *lun, const char *name)
{
    snapshot->used = true;
    snapshot->size = lun->size;
    g_strlcpy(snapshot->name, name, sizeof snapshot->name);
    memcpy(snapshot->bytes, lun->bytes, SIZE_MAX_BYTES);
    m_forget_versions(lun);
}

static void step_snapshot(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) objects = g_ptr_array_new_with_free_func(g_free);
    ModelLun *luns[LUNS];
    unsigned count = 0;
    char name[64];

    m_new_name(name, "snap");
    for (unsigned i = 0; i < LUNS; i++)
        if (model->luns[i].used && m_free_snapshot(&model->luns[i]) && m_chance(2)) {
            luns[count++] = &model->luns[i];
            g_ptr_array_add(objects, g_strdup_printf("%s@%s", model->luns[i].name, name));
            if (m_chance(2))
                break;
        }
    if (count == 0)
        return;
    g_ptr_array_add(objects, NULL);
    vv_pool_snapshot_create(pool, (const char *const *) objects->pdata, NULL, NULL, &error);
    g_assert_no_error(error);
    for (unsigned i = 0; i < count; i++)
        copy_point(m_free_snapshot(luns[i]), luns[i], name);
}

static void step_refresh(void)
{
    g_autoptr(GError) error = NULL;
    ModelLun *lun = m_any_lun();
    ModelSnapshot *snapshot = m_any_snapshot(lun);
    g_autofree char *object = snapshot ? m_object_of(lun, snapshot) : NULL;
    g_autofree char *name = snapshot ? g_strdup(snapshot->name) : NULL;

    if (!snapshot)
        return;
    vv_pool_snapshot_refresh(pool, object, NULL, &error);
    g_assert_no_error(error);
    orphan(lun, snapshot);
    copy_point(snapshot, lun, name);
}

static void step_clone(void)
{
    g_autoptr(GError) error = NULL;
    ModelLun *base = m_any_lun(), *lun = m_free_lun();
    ModelSnapshot *snapshot = m_any_snapshot(base);
    char name[64];
    uint64_t id;

    if (!snapshot || !lun)
        return;
    g_autofree char *object = m_object_of(base, snapshot);
    m_new_name(name, "clone");
    vv_pool_clone(pool, object, name, 0, NULL, NULL, &id, &error);
    g_assert_no_error(error);
    add_lun(lun, id, name, snapshot->size);
    memcpy(lun->bytes, snapshot->bytes, SIZE_MAX_BYTES);
}

static void step_restore(void)
{
    g_autoptr(GError) error = NULL;
    ModelLun *lun = m_any_lun();
    ModelSnapshot *snapshot = m_any_snapshot(lun), *kept = m_free_snapshot(lun);
    bool discard = !kept || m_chance(2), force = m_chance(4) != 0;
    g_autofree char *name = NULL;

    if (!snapshot)
        return;
    g_autofree char *object = m_object_of(lun, snapshot);
    vv_pool_snapshot_restore(pool, object, force, discard, false, NULL, &name, &error);
    if (!force && m_held_for_writing(lun)) {
        g_assert_error(error, VV_ERROR, VV_ERROR_BUSY);
        return;
    }
    g_assert_no_error(error);
    g_assert_true(discard == (name == NULL));
    if (name)
        copy_point(kept, lun, strchr(name, '@') + 1);
    lun->size = snapshot->size;
    memcpy(lun->bytes, snapshot->bytes, SIZE_MAX_BYTES);
    m_forget_versions(lun);
}

/* ---- steps: removal, with opens that go on */

/* @lun, or one of its snapshots, goes: opens of it keep a copy. */
static void orphan(ModelLun *lun, ModelSnapshot *snapshot)
{
    for (unsigned i = 0; i < HELD; i++) {
        if (!held[i].handle || (snapshot ? held[i].snapshot != snapshot : held[i].lun != lun))
            continue;
        held[i].bytes = g_memdup2(snapshot ? snapshot->bytes : lun->bytes, SIZE_MAX_BYTES);
        held[i].size = snapshot ? snapshot->size : lun->size;
        held[i].lun = NULL;
        held[i].snapshot = NULL;
    }
    if (snapshot)
        snapshot->used = false;
    else
        lun->used = false;
}

static void step_remove_snapshot(void)
{
    g_autoptr(GError) error = NULL;
    ModelLun *lun = m_any_lun();
    ModelSnapshot *snapshot = m_any_snapshot(lun);
    VvRemoval removal = { .removed = NULL };

    if (!snapshot)
        return;
    g_autofree char *object = m_object_of(lun, snapshot);
    const char *objects[] = { object, NULL };
    vv_pool_snapshot_remove(pool, objects, false, false, NULL, m_chance(2) ? &removal : NULL, &error);
    g_assert_no_error(error);
    vv_removal_clear(&removal);
    orphan(lun, snapshot);
}

static void step_remove_lun(void)
{
    g_autoptr(GError) error = NULL;
    ModelLun *lun = m_any_lun();
    bool with_snapshots = m_chance(2);

    if (!lun)
        return;
    const char *names[] = { lun->name, NULL };
    vv_pool_lun_remove(pool, names, with_snapshots, false, false, NULL, NULL, &error);
    if (m_any_snapshot(lun) && !with_snapshots) {
        g_assert_error(error, VV_ERROR, VV_ERROR_HAS_SNAPSHOTS);
        return;
    }
    g_assert_no_error(error);
    for (unsigned i = 0; i < SNAPSHOTS; i++)
        if (lun->snapshots[i].used)
            orphan(lun, &lun->snapshots[i]);
    orphan(lun, NULL);
}

static void check_held(Held *one)
{
    VvView *view = vv_handle_view(one->handle);
    const uint8_t *bytes = one->bytes ? one->bytes : one->snapshot ? one->snapshot->bytes : one->lun->bytes;
    uint64_t size = one->bytes ? one->size : one->snapshot ? one->snapshot->size : one->lun->size;

    g_assert_cmpuint(vv_view_size(view), ==, size);
    m_compare(view, bytes, 0, size, one->bytes ? "a held orphan" : one->snapshot ? "a held snapshot" : "a held LUN");
}

static void drop_held(Held *one)
{
    vv_handle_close(one->handle);
    g_free(one->bytes);
    memset(one, 0, sizeof *one);
}

static void step_hold(void)
{
    Held *one = &held[m_chance(HELD)];
    ModelLun *lun = m_any_lun();
    ModelSnapshot *snapshot = m_chance(2) ? m_any_snapshot(lun) : NULL;
    VvOpen how = { .write = !snapshot && m_chance(2) };

    if (one->handle) {
        check_held(one);
        if (one->bytes && one->write && m_chance(2)) { /* an orphan can still be written */
            uint64_t offset, length;

            m_range(one->size, 20000, &offset, &length);
            m_fill(one->bytes + offset, length);
            g_assert_cmpint(
                vv_view_write(vv_handle_view(one->handle), one->bytes + offset, offset, length), ==, (int64_t) length);
            for (unsigned i = 0; i < HELD; i++)
                if (&held[i] != one && held[i].handle && held[i].bytes &&
                    vv_handle_view(held[i].handle) == vv_handle_view(one->handle))
                    memcpy(held[i].bytes + offset, one->bytes + offset, length);
        } else if (m_chance(2)) {
            drop_held(one);
        }
        return;
    }
    if (!lun)
        return;
    how.pid = getpid();
    g_assert_cmpint(vv_handle_open(pool, snapshot ? m_snapshot_id(lun, snapshot) : lun->id, &how, &one->handle), ==, 0);
    one->write = how.write;
    one->snapshot = snapshot;
    one->lun = snapshot ? NULL : lun;
}

/* ---- sessions */

static const struct {
    void (*run)(void);
    unsigned weight;
} steps[] = {
    { step_write, 40 },
    { step_zero, 8 },
    { step_allocate, 2 },
    { step_read, 16 },
    { step_flush, 6 },
    { step_copy, 3 },
    { step_create, 2 },
    { step_elastic, 1 },
    { step_adopt, 2 },
    { step_rename, 1 },
    { step_resize, 2 },
    { step_snapshot, 6 },
    { step_refresh, 2 },
    { step_clone, 3 },
    { step_restore, 3 },
    { step_remove_snapshot, 4 },
    { step_remove_lun, 2 },
    { step_hold, 4 },
    { m_step_integrity, 2 },
    { m_step_flip, 1 },
};

static void take_step(void)
{
    unsigned total = 0, i = 0;
    uint64_t pick;

    for (unsigned k = 0; k < G_N_ELEMENTS(steps); k++)
        total += steps[k].weight;
    pick = m_chance(total);
    while (pick >= steps[i].weight)
        pick -= steps[i++].weight;
    model->step++;
    steps[i].run();
}

static int pending_fd = -1;

static void renew_pending(void)
{
    vv_close_fd(&pending_fd);
    pending_fd = memfd_create("pending", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    g_assert_cmpint(pending_fd, >=, 0);
    g_assert_cmpint(ftruncate(pending_fd, VV_PENDING_FILE_BYTES), ==, 0);
    g_assert_cmpint(fcntl(pending_fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL), ==, 0);
}

static void open_pool(const char *directory)
{
    g_autoptr(GError) error = NULL;
    VvPoolOptions options = { .lock_wait_ms = 5000, .have_pending = pending_fd >= 0, .pending_fd = pending_fd };

    pool = vv_pool_open(directory, &options, &error);
    g_assert_no_error(error);
    m_compare_everything();
    m_check_pool();
    model->crashed = false;
}

static void session(const char *directory, unsigned count, bool crash)
{
    open_pool(directory);
    for (unsigned i = 0; i < count; i++) {
        take_step();
        if (m_chance(150) == 0)
            m_check_pool();
    }
    if (crash) {
        model->crashed = true;
        model->crashes++;
        _exit(0);
    }
    for (unsigned i = 0; i < HELD; i++)
        if (held[i].handle)
            drop_held(&held[i]);
    vv_pool_close(pool);
    for (unsigned i = 0; i < LUNS; i++)
        m_forget_versions(&model->luns[i]);
    _exit(0);
}

/* In this process, so that leaks are found: all goes, all space comes back. */
static void last_session(const char *directory)
{
    uint64_t deadline_ms = vv_monotonic_ms() + SETTLE_MS;
    g_autoptr(GError) error = NULL;
    VvSpaceSummary space;

    open_pool(directory);
    for (unsigned i = 0; i < LUNS; i++) {
        const char *names[] = { model->luns[i].name, NULL };

        if (model->luns[i].used)
            vv_pool_lun_remove(pool, names, true, false, false, NULL, NULL, &error);
        g_assert_no_error(error);
        model->luns[i].used = false;
    }
    vv_pool_job_wait(pool, NULL, 0, SETTLE_MS, NULL, &error);
    g_assert_no_error(error);
    do {
        vv_meta_space(vv_pool_meta(pool), &space);
        g_usleep(1000);
    } while ((space.used_bytes > 0 || space.held_bytes > 0) && vv_monotonic_ms() < deadline_ms);
    g_assert_cmpuint(space.used_bytes, ==, 0);
    g_assert_cmpuint(space.held_bytes, ==, 0);
    g_assert_cmpuint(space.free_bytes, ==, space.total_bytes);
    m_check_pool();
    vv_pool_close(pool);
    pool = NULL;
}

/* A second one, for the LUNs that are on chosen disks; m_check_pool() tells whether they stay there. */
static void add_disk(const char *directory)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *path = g_build_filename(directory, "disk1", NULL);

    open_pool(directory);
    vv_pool_disk_add(pool, path, POOL_BYTES, NULL, false, NULL, NULL, &error);
    g_assert_no_error(error);
    vv_pool_close(pool);
    pool = NULL;
}

static void run_model(const char *base, uint64_t step_count)
{
    g_autofree char *folder = g_build_filename(base, "vvfs-model-XXXXXX", NULL), *directory = NULL;
    g_autoptr(GError) error = NULL;
    VvPoolCreate create = { .name = "model", .size_bytes = POOL_BYTES };
    const char *seed = g_getenv("VV_MODEL_SEED"), *longer = g_getenv("VV_MODEL_STEPS");

    if (longer)
        step_count = g_ascii_strtoull(longer, NULL, 10);
    model->random = seed ? g_ascii_strtoull(seed, NULL, 10) : (uint64_t) (uint32_t) g_test_rand_int() << 8;
    model->random |= 1;
    g_test_message("VV_MODEL_SEED=%" G_GUINT64_FORMAT, model->random);
    g_assert_nonnull(g_mkdtemp(folder));
    directory = g_build_filename(folder, "pool", NULL);
    create.directory = directory;
    vv_pool_create(&create, &error);
    g_assert_no_error(error);
    add_disk(directory);
    while (model->step < step_count) {
        bool crash = m_chance(2);
        pid_t child = fork();
        int status;

        if (child == 0)
            session(directory, 1 + (unsigned) m_chance(2 * SESSION_STEPS), crash);
        g_assert_cmpint(child, >, 0);
        g_assert_cmpint(waitpid(child, &status, 0), ==, child);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
            g_error("a session failed at step %" G_GUINT64_FORMAT " (status %x); the pool is left in %s", model->step,
                (unsigned) status, directory);
        if (pending_fd >= 0 && m_chance(6) == 0)
            renew_pending();
        else if (pending_fd >= 0)
            model->crashed = false; /* nothing is lost */
    }
    last_session(directory);
    vv_pool_destroy(directory, false, NULL, &error);
    g_assert_no_error(error);
    g_assert_cmpint(rmdir(folder), ==, 0);
    g_test_message("%" G_GUINT64_FORMAT " steps, %" G_GUINT64_FORMAT " crashes", model->step, model->crashes);
}

static void test_memory(void)
{
    if (!g_file_test("/dev/shm", G_FILE_TEST_IS_DIR)) {
        g_test_skip("no /dev/shm");
        return;
    }
    memset(model, 0, sizeof *model);
    run_model("/dev/shm", TEST_SHARE_OF(40000u));
}

static void test_disk(void)
{
    memset(model, 0, sizeof *model);
    run_model(g_get_tmp_dir(), TEST_SHARE_OF(4000u));
}

static void test_pending(void)
{
    memset(model, 0, sizeof *model);
    renew_pending();
    run_model(g_file_test("/dev/shm", G_FILE_TEST_IS_DIR) ? "/dev/shm" : g_get_tmp_dir(), TEST_SHARE_OF(8000u));
    vv_close_fd(&pending_fd);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    vv_log_init(VV_LOG_ERROR, false, "pool-model");
    model = mmap(NULL, sizeof *model, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    g_assert_true(model != MAP_FAILED);
    g_test_add_func("/pool-model/memory", test_memory);
    g_test_add_func("/pool-model/disk", test_disk);
    g_test_add_func("/pool-model/pending", test_pending);
    return g_test_run();
}
