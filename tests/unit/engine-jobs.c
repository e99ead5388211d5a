/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The jobs' thread rests between batches. Who kicks it wakes it amid its rest: it goes on all the same, also if the rest ends just between the look
 * that leaves out a batch and the one that says for how long to sleep. Its clock goes so fast that this is not rare. */
#include "engine-pool.h"
#include "pool_jobs.h"
#include "transaction.h"

#include <dlfcn.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define POOL_BYTES ((uint64_t) 256 << 20)
#define REGIONS 500u
#define ROUNDS 3u
#define REST_US 6000 /* what most are, by that clock */
#define STEP_NS 1100000u /* each time that the jobs' thread asks, or the committer: a batch takes long, so that all are small */
#define WAIT_MS 20000u

static _Atomic uint64_t skipped_ns;

static bool is_thread(const char *wanted)
{
    char name[16] = "";

    return prctl(PR_GET_NAME, name, 0, 0, 0) == 0 && strcmp(name, wanted) == 0;
}

/* Instead of the one in libc. Time never goes backwards for anybody. */
int clock_gettime(clockid_t clock, struct timespec *ret_now)
{
    int result = (int) syscall(SYS_clock_gettime, clock, ret_now);

    if (result == 0 && clock == CLOCK_MONOTONIC && (is_thread("vv-jobs") || is_thread("committer"))) {
        uint64_t ns = (uint64_t) ret_now->tv_sec * 1000000000 + (uint64_t) ret_now->tv_nsec +
                      atomic_fetch_add(&skipped_ns, STEP_NS);

        ret_now->tv_sec = (time_t) (ns / 1000000000);
        ret_now->tv_nsec = (long) (ns % 1000000000);
    }
    return result;
}

/* The same: its deadlines are by its clock. */
int pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *mutex, const struct timespec *deadline)
{
    int (*next)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *) = dlsym(RTLD_NEXT, "pthread_cond_timedwait");
    uint64_t ns = (uint64_t) deadline->tv_sec * 1000000000 + (uint64_t) deadline->tv_nsec;
    struct timespec at = *deadline;

    if (is_thread("vv-jobs")) {
        ns -= atomic_load(&skipped_ns);
        at = (struct timespec){ .tv_sec = (time_t) (ns / 1000000000), .tv_nsec = (long) (ns % 1000000000) };
    }
    return next(condition, mutex, &at);
}

/* A block of each region that was not written before: so jobs free nothing, and nothing that cools wakes the thread. */
static void write_regions(TestPool *test, uint64_t id, unsigned block)
{
    VvHandle *handle = test_open(test, id, true);
    uint8_t byte = 1;

    for (uint64_t region = 0; region < REGIONS; region++)
        g_assert_cmpint(vv_view_write(vv_handle_view(handle), &byte, region * VV_REGION_BYTES + block * VV_BLOCK_BYTES, 1), ==, 1);
    g_assert_cmpint(vv_view_flush(vv_handle_view(handle)), ==, 0);
    vv_handle_close(handle);
}

/* Pages that jobs have done; 0: there is none. */
static uint64_t done_pages(VvPool *pool)
{
    VV_META_READ(pool->meta);
    GPtrArray *list = vv_meta_jobs(pool->meta);
    uint64_t done = 0;

    for (unsigned i = 0; i < list->len; i++)
        done += 1 + ((const VvJob *) g_ptr_array_index(list, i))->done_pages;
    return done;
}

/* A kick some time after each batch, and no other until it went on. */
static void kick_through(VvPool *pool)
{
    for (uint64_t seen = done_pages(pool); seen > 0;) {
        uint64_t limit_ms = vv_monotonic_ms() + WAIT_MS, now;

        g_usleep((gulong) g_test_rand_int_range(0, REST_US));
        seen = done_pages(pool);
        vv_jobs_kick(pool);
        while ((now = done_pages(pool)) == seen && seen > 0) {
            g_assert_cmpuint(vv_monotonic_ms(), <, limit_ms);
            g_usleep(200);
        }
        seen = now;
    }
}

static void test_rest_ends(void)
{
    TestPool *test = test_pool_new(POOL_BYTES);
    g_autoptr(GError) error = NULL;
    const char *all[] = { "a@*", NULL };
    uint64_t id = test_lun_new(test, "a", REGIONS * VV_REGION_BYTES);

    for (unsigned round = 0; round < ROUNDS; round++) {
        g_autofree char *object = g_strdup_printf("a@s%u", round);

        write_regions(test, id, 2 * round);
        test_snapshot(test, object);
        write_regions(test, id, 2 * round + 1);
        vv_pool_snapshot_remove(test->pool, all, false, false, NULL, NULL, &error);
        g_assert_no_error(error);
        kick_through(test->pool);
    }
    test_pool_check(test);
    test_pool_free(test);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/engine/jobs/rest-ends", test_rest_ends);
    return g_test_run();
}
