/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One memfd of pending records through many deaths: what was acknowledged is there, whether it was flushed or not.
 *
 * The model lies in memory shared with child processes. Each round is a child that opens the pool with the memfd, compares everything,
 * and lets one thread per LUN write, discard, flush, snapshot, restore and remove, until it is killed: by the parent at a random
 * moment, by itself at the n-th time that it comes to a point of a record's life, or amid its own opening; some close the pool. Each
 * thread says what it is about to do before it does it, so what was under way may be there or not, and all else must be exact.
 * In the end everything is removed, and all space must come back.
 *
 * Replay: VV_MODEL_SEED=N (threads and kills stay random); longer: VV_STRESS_ROUNDS=N. */
#include "meta.h"
#include "pending_file.h"
#include "pool.h"
#include "pool_jobs.h"

#include "error.h"
#include "share.h"
#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define LUNS 4u /* the last one is a file that grows: made and removed again and again */
#define FILE_LUN (LUNS - 1)
#define POINTS 2u
#define SIZE (1536u << 10)
#define POOL_BYTES (UINT64_C(192) << 20)
#define SETTLE_MS 20000u

typedef enum { NOTHING, WRITE, ZERO, RESTORE, CREATE, REMOVE } Kind;
typedef enum { ABSENT, TAKING, THERE, LEAVING } State;

typedef struct {
    _Atomic int state;
    char name[32];
    uint8_t bytes[SIZE];
} Point;

typedef struct {
    _Atomic int kind; /* what is under way */
    uint64_t offset, length, seed;
    unsigned point;
    bool there;    /* LUN 3 only */
    uint64_t size; /* acknowledged */
    char name[32];
    uint8_t bytes[SIZE];
    Point points[POINTS];
} Lun;

typedef struct {
    uint64_t random, next_name, steps;
    _Atomic bool running;
    _Atomic int die_countdown;
    int die_point; /* -1: none */
    unsigned deaths, adoptions;
    Lun luns[LUNS];
} Model;

static Model *model;
static VvPool *pool;
static _Atomic bool stop;

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state >> 11;
}

static void fill(uint8_t *bytes, uint64_t length, uint64_t seed)
{
    uint64_t value = seed | 1;
    for (uint64_t i = 0; i < length; i++) {
        value = value * UINT64_C(6364136223846793005) + 1442695040888963407;
        bytes[i] = (uint8_t) (value >> 56);
    }
}

static void die(VvDiePoint point)
{
    if ((int) point == model->die_point && atomic_fetch_sub(&model->die_countdown, 1) == 1) {
        kill(getpid(), SIGKILL);
        for (;;)
            pause();
    }
}

/* ---- comparing, at the beginning of a round */

static uint64_t lun_id(const char *name)
{
    VvMeta *meta = vv_pool_meta(pool);
    vv_meta_read_lock(meta);
    const VvLun *lun = vv_meta_lun_by_name(meta, name);
    uint64_t id = lun ? lun->id : 0;
    vv_meta_read_unlock(meta);
    return id;
}

static uint64_t point_id(const char *lun_name, const char *name)
{
    VvMeta *meta = vv_pool_meta(pool);
    vv_meta_read_lock(meta);
    const VvLun *lun = vv_meta_lun_by_name(meta, lun_name);
    const VvSnapshot *point = lun ? vv_meta_snapshot_by_name(meta, lun, name) : NULL;
    uint64_t id = point ? point->id : 0;
    vv_meta_read_unlock(meta);
    return id;
}

static VvHandle *open_object(uint64_t id, bool write)
{
    VvOpen how = { .write = write, .internal = true };
    VvHandle *handle = NULL;
    g_assert_cmpint(vv_handle_open(pool, id, &how, &handle), ==, 0);
    return handle;
}

static uint8_t *read_all(uint64_t id, uint64_t *ret_size)
{
    g_autoptr(VvHandle) handle = open_object(id, false);
    uint8_t *got = g_malloc0(SIZE);
    *ret_size = vv_view_size(vv_handle_view(handle));
    g_assert_cmpuint(*ret_size, <=, SIZE);
    g_assert_cmpint(vv_view_read(vv_handle_view(handle), got, 0, *ret_size), ==, (int64_t) *ret_size);
    return got;
}

static void compare_point(Lun *lun, Point *point)
{
    uint64_t id = point->state == ABSENT ? 0 : point_id(lun->name, point->name), size;
    if (point->state == ABSENT)
        return;
    if (id == 0) {
        g_assert_cmpint(point->state, !=, THERE);
        point->state = ABSENT;
        return;
    }
    g_autofree uint8_t *got = read_all(id, &size);
    g_assert_true(memcmp(got, point->bytes, SIZE) == 0);
    point->state = THERE;
}

/* What the operation under way would have made of the LUN. */
static uint8_t *bytes_after(const Lun *lun, uint64_t *ret_size)
{
    uint8_t *bytes = g_memdup2(lun->bytes, SIZE);
    *ret_size = lun->size;
    if (lun->kind == WRITE)
        fill(bytes + lun->offset, lun->length, lun->seed);
    if (lun->kind == ZERO)
        memset(bytes + lun->offset, 0, lun->length);
    if (lun->kind == RESTORE)
        memcpy(bytes, lun->points[lun->point].bytes, SIZE);
    if (lun->kind == WRITE)
        *ret_size = MAX(lun->size, lun->offset + lun->length);
    return bytes;
}

static uint64_t round_up(uint64_t size)
{
    return (size + VV_BLOCK_BYTES - 1) / VV_BLOCK_BYTES * VV_BLOCK_BYTES;
}

static void compare_lun(Lun *lun)
{
    uint64_t id = lun_id(lun->name), size, size_after;
    if (id == 0) {
        g_assert_true(lun == &model->luns[FILE_LUN] && (!lun->there || lun->kind == REMOVE));
        lun->there = false;
        lun->kind = NOTHING;
        return;
    }
    if (!lun->there) {
        g_assert_cmpint(lun->kind, ==, CREATE);
        lun->there = true;
    }
    g_autofree uint8_t *got = read_all(id, &size), *after = bytes_after(lun, &size_after);
    for (uint64_t i = 0; i < SIZE; i++)
        if (got[i] != lun->bytes[i] && got[i] != after[i])
            g_error("death %u, step %" G_GUINT64_FORMAT ": %s differs at byte %" G_GUINT64_FORMAT
                    " (doing %d at %" G_GUINT64_FORMAT " + %" G_GUINT64_FORMAT ")",
                model->deaths, model->steps, lun->name, i, lun->kind, lun->offset, lun->length);
    if (lun == &model->luns[FILE_LUN]) { /* finished: nobody has it open */
        g_assert_cmpuint(size, >=, round_up(lun->size));
        g_assert_cmpuint(size, <=, round_up(size_after));
    } else {
        g_assert_cmpuint(size, ==, SIZE);
    }
    memcpy(lun->bytes, got, SIZE);
    lun->size = size;
    lun->kind = NOTHING;
}

static void report_cb(void *user, const VvCheckError *error)
{
    ++*(unsigned *) user;
    g_printerr("check: %s %s: %s\n", error->code, error->object, error->message);
}

static void compare_everything(void)
{
    g_autoptr(GError) error = NULL;
    unsigned errors = 0;
    for (unsigned i = 0; i < LUNS; i++) {
        for (unsigned k = 0; k < POINTS; k++)
            compare_point(&model->luns[i], &model->luns[i].points[k]);
        compare_lun(&model->luns[i]);
    }
    vv_pool_check(pool, report_cb, &errors, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(errors, ==, 0);
}

/* ---- what a thread does to its LUN */

typedef struct {
    Lun *lun;
    VvHandle *handle; /* NULL: LUN 3 is not there */
    uint64_t random;
} Actor;

static void choose_range(Actor *actor, uint64_t size)
{
    Lun *lun = actor->lun;
    uint64_t unit = next_random(&actor->random) % 3 == 0 ? 1 : VV_BLOCK_BYTES;
    uint64_t most = next_random(&actor->random) % 8 == 0 ? 300000 : 12000;
    lun->offset = next_random(&actor->random) % size / unit * unit;
    lun->length = (1 + next_random(&actor->random) % most / unit) * unit;
    lun->length = MIN(lun->length, SIZE - lun->offset);
    lun->seed = next_random(&actor->random);
}

static void do_write(Actor *actor)
{
    Lun *lun = actor->lun;
    g_autofree uint8_t *data = NULL;
    choose_range(actor, SIZE);
    data = g_malloc(lun->length);
    fill(data, lun->length, lun->seed);
    lun->kind = WRITE;
    int64_t rc = vv_view_write(vv_handle_view(actor->handle), data, lun->offset, lun->length);
    g_assert_cmpint(rc, ==, (int64_t) lun->length);
    memcpy(lun->bytes + lun->offset, data, lun->length);
    lun->size = MAX(lun->size, lun->offset + lun->length);
    lun->kind = NOTHING;
}

static void do_zero(Actor *actor)
{
    Lun *lun = actor->lun;
    if (lun->size == 0)
        return;
    choose_range(actor, lun->size);
    lun->length = MIN(lun->length, lun->size - lun->offset);
    lun->kind = ZERO;
    g_assert_cmpint(vv_view_zero(vv_handle_view(actor->handle), lun->offset, lun->length), ==, 0);
    memset(lun->bytes + lun->offset, 0, lun->length);
    lun->kind = NOTHING;
}

static void do_snapshot(Actor *actor, Point *point)
{
    g_autoptr(GError) error = NULL;
    Lun *lun = actor->lun;
    if (point->state == ABSENT) {
        g_snprintf(point->name, sizeof point->name, "s%" G_GUINT64_FORMAT, next_random(&actor->random));
        memcpy(point->bytes, lun->bytes, SIZE);
    }
    g_autofree char *object = g_strdup_printf("%s@%s", lun->name, point->name);
    const char *objects[] = { object, NULL };
    if (point->state == ABSENT) {
        point->state = TAKING;
        vv_pool_snapshot_create(pool, objects, NULL, NULL, &error);
        point->state = THERE;
    } else if (next_random(&actor->random) % 3 == 0) {
        lun->point = (unsigned) (point - lun->points);
        lun->kind = RESTORE;
        vv_pool_snapshot_restore(pool, object, true, true, false, NULL, NULL, &error);
        memcpy(lun->bytes, point->bytes, SIZE);
        lun->kind = NOTHING;
    } else {
        point->state = LEAVING;
        vv_pool_snapshot_remove(pool, objects, false, false, NULL, NULL, &error);
        point->state = ABSENT;
    }
    g_assert_no_error(error);
}

static void do_file(Actor *actor)
{
    g_autoptr(GError) error = NULL;
    Lun *lun = actor->lun;
    const char *names[] = { lun->name, NULL };
    VvLunCreate create = { .name = lun->name, .elastic = true };
    uint64_t id;
    if (lun->there) {
        g_clear_pointer(&actor->handle, vv_handle_close);
        lun->kind = REMOVE;
        vv_pool_lun_remove(pool, names, true, false, false, NULL, NULL, &error);
        g_assert_no_error(error);
        lun->there = false;
    }
    memset(lun->bytes, 0, SIZE);
    lun->size = 0;
    lun->kind = CREATE;
    vv_pool_lun_create(pool, &create, NULL, &id, &error);
    g_assert_no_error(error);
    lun->there = true;
    lun->kind = NOTHING;
    actor->handle = open_object(id, true);
}

static void *actor_main(void *user)
{
    Actor *actor = user;
    Lun *lun = actor->lun;
    bool file = lun == &model->luns[FILE_LUN];
    if (!file)
        actor->handle = open_object(lun_id(lun->name), true);
    while (!stop) {
        uint64_t pick = next_random(&actor->random) % 64;
        __atomic_fetch_add(&model->steps, 1, __ATOMIC_RELAXED);
        if (file && (actor->handle == NULL || pick == 0))
            do_file(actor);
        else if (pick < 6)
            do_zero(actor);
        else if (pick < 9)
            g_assert_cmpint(vv_view_flush(vv_handle_view(actor->handle)), ==, 0);
        else if (pick < 12 && !file)
            do_snapshot(actor, &lun->points[pick % POINTS]);
        else
            do_write(actor);
    }
    g_clear_pointer(&actor->handle, vv_handle_close);
    return NULL;
}

/* ---- rounds */

static int pending_fd;

static void open_pool(const char *directory)
{
    g_autoptr(GError) error = NULL;
    VvPoolOptions options = { .lock_wait_ms = 10000, .have_pending = true, .pending_fd = pending_fd };
    pool = vv_pool_open(directory, &options, &error);
    g_assert_no_error(error);
    g_autoptr(GPtrArray) events = vv_pool_events(pool, 0);
    for (unsigned i = 0; i < events->len; i++)
        model->adoptions += strcmp(((const VvEvent *) g_ptr_array_index(events, i))->code, "adopted") == 0;
}

/* Runs until it is killed, or @steps are done: then it closes the pool. */
static void child(const char *directory, uint64_t steps)
{
    pthread_t threads[LUNS];
    Actor actors[LUNS] = { { .lun = NULL } };
    vv_die_hook = model->die_point >= 0 ? die : NULL;
    open_pool(directory);
    compare_everything();
    model->running = true;
    for (unsigned i = 0; i < LUNS; i++) {
        actors[i] = (Actor){ .lun = &model->luns[i], .random = next_random(&model->random) | 1 };
        g_assert_cmpint(pthread_create(&threads[i], NULL, actor_main, &actors[i]), ==, 0);
    }
    for (uint64_t end = __atomic_load_n(&model->steps, __ATOMIC_RELAXED) + steps; __atomic_load_n(&model->steps, __ATOMIC_RELAXED) < end;)
        g_usleep(500);
    stop = true;
    for (unsigned i = 0; i < LUNS; i++)
        pthread_join(threads[i], NULL);
    vv_pool_close(pool);
    _exit(0);
}

static void run_round(const char *directory)
{
    unsigned how = (unsigned) (next_random(&model->random) % 8);
    uint64_t delay_us = next_random(&model->random) % 40000;
    bool over = false;
    int status;
    model->running = false;
    model->die_point = how < 5 ? (int) (next_random(&model->random) % (VV_DIE_ADOPTED + 1)) : -1;
    model->die_countdown = model->die_point >= VV_DIE_ANNOUNCED ? 1 : 1 + (int) (next_random(&model->random) % 60);
    pid_t pid = fork();
    if (pid == 0)
        child(directory, how == 7 ? 200 : 4000);
    g_assert_cmpint(pid, >, 0);
    if (how == 5 || how == 6) {
        while (how == 5 && !model->running && !(over = waitpid(pid, &status, WNOHANG) == pid))
            g_usleep(200);
        g_usleep(delay_us);
        if (!over)
            kill(pid, SIGKILL);
    }
    if (!over)
        g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
        model->deaths++;
    else if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        g_error("round after death %u failed (status %x); the pool is left in %s", model->deaths, (unsigned) status,
            directory);
}

static void make_luns(const char *directory)
{
    g_autoptr(GError) error = NULL;
    open_pool(directory);
    for (unsigned i = 0; i < LUNS; i++) {
        Lun *lun = &model->luns[i];
        VvLunCreate create = { .name = lun->name, .size_bytes = SIZE };
        const char *objects[] = { "lun0@base", NULL };
        g_snprintf(lun->name, sizeof lun->name, "lun%u", i);
        if (i == FILE_LUN)
            break;
        lun->there = true;
        lun->size = SIZE;
        if (i == 1) { /* of one family with the first */
            vv_pool_snapshot_create(pool, objects, NULL, NULL, &error);
            g_assert_no_error(error);
            vv_pool_clone(pool, objects[0], lun->name, 0, NULL, NULL, NULL, &error);
        } else {
            create.props_mask = VV_LUN_INTEGRITY;
            create.props.integrity = i == 2;
            vv_pool_lun_create(pool, &create, NULL, NULL, &error);
        }
        g_assert_no_error(error);
    }
    vv_pool_close(pool);
}

static void remove_all(const char *directory)
{
    uint64_t deadline_ms = vv_monotonic_ms() + SETTLE_MS;
    g_autoptr(GError) error = NULL;
    VvSpaceSummary space;
    open_pool(directory);
    compare_everything();
    for (unsigned i = LUNS; i-- > 0;) {
        const char *names[] = { model->luns[i].name, NULL };
        vv_pool_lun_remove(pool, names, true, true, false, NULL, NULL, &error);
        g_assert_no_error(error);
    }
    vv_pool_job_wait(pool, NULL, 0, SETTLE_MS, NULL, &error);
    g_assert_no_error(error);
    do {
        vv_meta_space(vv_pool_meta(pool), &space);
        g_usleep(1000);
    } while ((space.used_bytes > 0 || space.held_bytes > 0) && vv_monotonic_ms() < deadline_ms);
    g_assert_cmpuint(space.used_bytes, ==, 0);
    g_assert_cmpuint(space.held_bytes, ==, 0);
    vv_pool_close(pool);
}

static void new_memfd(void)
{
    pending_fd = memfd_create("pending", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    g_assert_cmpint(ftruncate(pending_fd, VV_PENDING_FILE_BYTES), ==, 0);
    g_assert_cmpint(fcntl(pending_fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), ==, 0);
}

static void test_deaths(void)
{
    const char *base = g_file_test("/dev/shm", G_FILE_TEST_IS_DIR) ? "/dev/shm" : g_get_tmp_dir();
    g_autofree char *folder = g_build_filename(base, "vvfs-death-XXXXXX", NULL), *directory = NULL;
    const char *seed = g_getenv("VV_MODEL_SEED"), *longer = g_getenv("VV_STRESS_ROUNDS");
    uint64_t rounds = longer ? g_ascii_strtoull(longer, NULL, 10) : TEST_SHARE > 4 ? 12 : 60; /* some adopt, so not fewer */
    g_autoptr(GError) error = NULL;
    VvPoolCreate create = { .name = "death", .size_bytes = POOL_BYTES };
    model->random = (seed ? g_ascii_strtoull(seed, NULL, 10) : (uint64_t) (uint32_t) g_test_rand_int() << 8) | 1;
    g_test_message("VV_MODEL_SEED=%" G_GUINT64_FORMAT, model->random);
    g_assert_nonnull(g_mkdtemp(folder));
    directory = g_build_filename(folder, "pool", NULL);
    create.directory = directory;
    vv_pool_create(&create, &error);
    g_assert_no_error(error);
    new_memfd();
    make_luns(directory);
    for (uint64_t i = 0; i < rounds; i++)
        run_round(directory);
    model->die_point = -1;
    remove_all(directory);
    vv_close_fd(&pending_fd);
    vv_pool_destroy(directory, false, NULL, &error);
    g_assert_no_error(error);
    g_assert_cmpint(rmdir(folder), ==, 0);
    g_test_message(
        "%" G_GUINT64_FORMAT " steps, %u deaths, %u adoptions", model->steps, model->deaths, model->adoptions);
    g_assert_cmpuint(model->deaths, >, 0);
    g_assert_cmpuint(model->adoptions, >, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    vv_log_init(VV_LOG_ERROR, false, "death");
    model = mmap(NULL, sizeof *model, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    g_assert_true(model != MAP_FAILED);
    g_test_add_func("/death/pending", test_deaths);
    return g_test_run();
}
