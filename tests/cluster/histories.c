/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The search of register.c: histories whose answer is known, and thousands by chance against another way to tell.
 *
 * The other way (Gibbons and Korach) is for registers to which each value is written once: an operation's cluster are the write of a value
 * and its reads. Let f be the earliest return of a cluster and s its latest call. If f < s the value was there from f to s: no two such
 * zones overlap. Otherwise it was there at some instant of [s, f]: that is not all inside another's zone. */
#include "register.h"

#include "share.h"

#include <glib.h>

#define OPEN REGISTER_OPEN
#define W(value, start, end)    \
    {                           \
        true, value, start, end \
    }
#define R(value, start, end)     \
    {                            \
        false, value, start, end \
    }

/* clang-format off: tables */
static RegisterVerdict check(const RegisterOp *ops, size_t count, uint64_t *ret_bad_ns)
{
    g_autofree RegisterOp *copy = g_memdup2(ops, count * sizeof *ops);

    return register_check(copy, count, ret_bad_ns);
}
#define GOOD(...)                                                               \
    do {                                                                        \
        const RegisterOp ops[] = { __VA_ARGS__ };                               \
        uint64_t at = 0;                                                        \
        g_assert_cmpint(check(ops, G_N_ELEMENTS(ops), &at), ==, REGISTER_GOOD); \
    } while (0)
#define BAD(bad_at, ...)                                                       \
    do {                                                                       \
        const RegisterOp ops[] = { __VA_ARGS__ };                              \
        uint64_t at = 0;                                                       \
        g_assert_cmpint(check(ops, G_N_ELEMENTS(ops), &at), ==, REGISTER_BAD); \
        g_assert_cmpuint(at, ==, bad_at);                                      \
    } while (0)

static void test_good(void)
{
    GOOD(R(0, 1, 2), W(1, 3, 4), R(1, 5, 6));
    GOOD(W(1, 1, 10), R(0, 2, 3), R(1, 4, 5));   /* under way: old, then new */
    GOOD(W(1, 1, 10), W(2, 2, 9), R(2, 11, 12)); /* either order */
    GOOD(W(1, 1, 10), W(2, 2, 9), R(1, 11, 12));
    GOOD(W(1, 1, 20), W(2, 2, 20), R(1, 3, 4), R(2, 5, 6), R(2, 21, 22));
    GOOD(W(1, 1, 2), W(1, 5, 6), W(2, 3, 4), R(1, 7, 8)); /* the same value again */
    GOOD(W(1, 1, 2), W(0, 3, 4), R(0, 5, 6));             /* a hole */
    GOOD(W(1, 1, 2), R(1, 2, 3));                         /* what touches overlaps */
}

static void test_stale_read(void)
{
    BAD(4, W(1, 1, 2), R(0, 3, 4));
    BAD(8, W(1, 1, 2), W(2, 3, 4), R(2, 5, 6), R(1, 7, 8));
    BAD(6, W(1, 1, 10), R(1, 2, 3), R(0, 5, 6)); /* new, then old, while it is under way */
    BAD(12, W(1, 1, 2), W(2, 3, 4), W(3, 5, 6), R(3, 7, 8), R(2, 9, 12), R(3, 13, 14));
}

static void test_lost_write(void)
{
    BAD(6, W(1, 1, 2), W(2, 3, 4), R(1, 5, 6)); /* 2 was acknowledged and is not there */
    BAD(8, W(1, 1, 4), W(2, 2, 3), W(3, 5, 6), R(1, 7, 8));
}

static void test_resurrected(void)
{
    BAD(10, W(1, 1, 2), W(2, 3, 4), R(2, 5, 6), W(3, 7, 8), R(2, 9, 10));
    BAD(8, W(1, 1, OPEN), W(2, 3, 4), R(1, 5, 6), R(2, 7, 8));             /* 1 came after 2, so 2 is over */
    BAD(9, W(1, 1, OPEN), R(1, 2, 3), W(2, 4, 5), R(2, 6, 7), R(1, 8, 9)); /* it happened once */
}

static void test_open_writes(void)
{
    GOOD(W(1, 1, OPEN), R(0, 2, 3), R(0, 4, 5));
    GOOD(W(1, 1, OPEN), R(0, 2, 3), R(1, 40, 50), R(1, 60, 70));
    GOOD(W(1, 1, OPEN), W(2, 3, 4), R(2, 5, 6), R(1, 7, 8)); /* it came late */
    GOOD(W(0, 1, OPEN), W(2, 3, 4), R(2, 5, 6), R(0, 7, 8)); /* an open hole is no value of its own */
    BAD(6, W(1, 1, OPEN), R(1, 2, 3), R(0, 5, 6));
    BAD(3, R(7, 2, 3));             /* nobody wrote it */
    BAD(3, R(7, 2, 3), W(7, 4, 5)); /* not yet */
}

/* clang-format on */

/* ---- by chance */
static bool zones_say_good(const RegisterOp *ops, size_t count, uint64_t values)
{
    g_autofree int64_t *f = g_new(int64_t, values), *s = g_new(int64_t, values);
    g_autofree bool *known = g_new0(bool, values);

    for (uint64_t v = 0; v < values; v++) {
        const RegisterOp *write = NULL;
        f[v] = v == 0 ? -1 : INT64_MAX;
        s[v] = v == 0 ? -1 : INT64_MIN;
        known[v] = v == 0;
        for (size_t i = 0; i < count; i++) {
            if (ops[i].value != v)
                continue;
            if (ops[i].write)
                write = &ops[i];
            else
                known[v] = true;
            f[v] = MIN(f[v], ops[i].end_ns == OPEN ? INT64_MAX : (int64_t) ops[i].end_ns);
            s[v] = MAX(s[v], (int64_t) ops[i].start_ns);
        }
        known[v] = known[v] || (write && write->end_ns != OPEN);
        if (known[v] && v != 0 && (!write || f[v] < (int64_t) write->start_ns))
            return false;
    }
    for (uint64_t a = 0; a < values; a++) {
        for (uint64_t b = 0; b < values; b++) {
            if (a != b && known[a] && known[b] && f[a] < s[a] && f[a] < s[b] &&
                f[b] < s[a]) /* both rules are this one */
                return false;
        }
    }
    return true;
}

/* Operations of some threads on a register that answers at an instant of each, sometimes falsely. */
static size_t make_history(
    GRand *rand, RegisterOp *ops, size_t most, unsigned threads, double lies, uint64_t *ret_values)
{
    g_autofree uint64_t *free_ns = g_new0(uint64_t, threads);
    uint64_t value = 0, last = 0, now = 0, old = 0;
    size_t count = 0;

    /* Instants rise; calls and returns lie around them, all times differ. */
    while (count < most) {
        unsigned thread = (unsigned) g_rand_int_range(rand, 0, (gint32) threads);
        RegisterOp *op = &ops[count];
        now += 1000;
        uint64_t before = (uint64_t) g_rand_int_range(rand, 0, (gint32) threads * 1500),
                 start = now > before ? now - before : 1;
        start = MAX(start, free_ns[thread]);
        *op = (RegisterOp){ .write = g_rand_boolean(rand),
            .start_ns = MIN(start, now) / 1000 * 1000 + count % 500 * 2,
            .end_ns = (now + (uint64_t) g_rand_int_range(rand, 1, (gint32) threads * 1500)) / 1000 * 1000 + 1000 +
                      count % 500 * 2 + 1 };
        free_ns[thread] = op->end_ns + 1000;
        if (op->write) {
            old = value;
            value = ++last;
            op->value = value;
            if (g_rand_double(rand) < 0.05) {
                op->end_ns = OPEN;
                free_ns[thread] = now + 2000;
            }
        } else {
            op->value = g_rand_double(rand) < lies ? old : value;
        }
        count++;
    }
    *ret_values = last + 1;
    return count;
}

static void test_by_chance(void)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(1);
    unsigned good = 0, bad = 0;

    for (unsigned i = 0; i < TEST_SHARE_OF(20000); i++) {
        RegisterOp ops[24];
        uint64_t values, at = 0;
        size_t count = make_history(rand, ops, (size_t) g_rand_int_range(rand, 1, 24), 1 + i % 5, 0.15, &values);
        bool expected = zones_say_good(ops, count, values);
        RegisterVerdict verdict = register_check(ops, count, &at);
        if ((verdict == REGISTER_GOOD) != expected) {
            for (size_t k = 0; k < count; k++)
                g_test_message("%s %" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT,
                    ops[k].write ? "w" : "r", ops[k].value, ops[k].start_ns, ops[k].end_ns);
            g_error("history %u: the search says %s", i, expected ? "bad" : "good");
        }
        *(expected ? &good : &bad) += 1;
    }
    g_test_message("%u good, %u bad", good, bad);
    g_assert_cmpuint(good, >, 100);
    g_assert_cmpuint(bad, >, 100);
}

/* One register, 100,000 operations of eight threads: the search keeps to what overlaps. */
static void test_long(void)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(7);
    size_t most = TEST_SHARE_OF(100000);
    g_autofree RegisterOp *ops = g_new(RegisterOp, most);
    uint64_t values, at = 0;
    size_t count = make_history(rand, ops, most, 8, 0, &values);

    g_assert_cmpint(register_check(ops, count, &at), ==, REGISTER_GOOD);
    /* A read near the end of what was overwritten long before. */
    for (size_t i = count - 1;; i--) {
        if (!ops[i].write) {
            ops[i].value = 5;
            break;
        }
    }
    g_assert_cmpint(register_check(ops, count, &at), ==, REGISTER_BAD);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/cluster/histories/good", test_good);
    g_test_add_func("/cluster/histories/stale-read", test_stale_read);
    g_test_add_func("/cluster/histories/lost-write", test_lost_write);
    g_test_add_func("/cluster/histories/resurrected", test_resurrected);
    g_test_add_func("/cluster/histories/open-writes", test_open_writes);
    g_test_add_func("/cluster/histories/by-chance", test_by_chance);
    g_test_add_func("/cluster/histories/long", test_long);
    return g_test_run();
}
