/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Term and vote: what was set is there, whatever becomes of one write; what is not whole is refused. */
#include "vote.h"

#include "error.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <sys/stat.h>

typedef struct {
    char *directory, *path;
    VvUuid pool;
    VvRunOps ops;
    unsigned fail_after; /* operations that still succeed */
    unsigned tear_bytes; /* of the write that fails */
} Votes;

static int faulty_write(void *user, int fd, const void *data, size_t length_bytes, uint64_t offset)
{
    Votes *v = user;

    if (v->fail_after-- > 0)
        return vv_pwrite_full(fd, data, length_bytes, offset);
    g_assert_cmpint(vv_pwrite_full(fd, data, v->tear_bytes, offset), ==, 0);
    v->fail_after = 0;
    return -EIO;
}

static int faulty_sync(void *user, int fd)
{
    Votes *v = user;

    (void) fd;
    if (v->fail_after-- > 0)
        return 0;
    v->fail_after = 0;
    return -EIO;
}

static void set_up(Votes *v, gconstpointer data)
{
    g_autoptr(GError) error = NULL;

    (void) data;
    v->directory = g_dir_make_tmp("vv-vote-XXXXXX", &error);
    g_assert_no_error(error);
    v->path = g_build_filename(v->directory, VV_VOTE_FILE, NULL);
    vv_uuid_generate(&v->pool);
    v->ops = (VvRunOps){ .write = faulty_write, .sync = faulty_sync, .user = v };
    g_assert_true(vv_vote_create(v->directory, &v->pool, 3, 2, &error));
    g_assert_no_error(error);
}

static void tear_down(Votes *v, gconstpointer data)
{
    (void) data;
    g_unlink(v->path);
    g_assert_cmpint(g_rmdir(v->directory), ==, 0);
    g_free(v->directory);
    g_free(v->path);
}

static void expect(Votes *v, uint64_t term, uint64_t who)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VvVote) vote = vv_vote_open(v->directory, &v->pool, NULL, &error);
    uint64_t term_now = 0, who_now = 0;

    g_assert_no_error(error);
    vv_vote_get(vote, &term_now, &who_now);
    g_assert_cmpuint(term_now, ==, term);
    g_assert_cmpuint(who_now, ==, who);
}

static void set(Votes *v, uint64_t term, uint64_t who)
{
    g_autoptr(VvVote) vote = vv_vote_open(v->directory, &v->pool, NULL, NULL);

    g_assert_cmpint(vv_vote_set(vote, term, who), ==, 0);
}

static void test_kept(Votes *v, gconstpointer data)
{
    (void) data;
    expect(v, 3, 2);
    for (uint64_t term = 4; term < 10; term++) {
        set(v, term, term % 3);
        expect(v, term, term % 3);
    }
}

/* At each operation and each byte: the old one or the new one, never neither. */
static void test_torn(Votes *v, gconstpointer data)
{
    (void) data;
    for (unsigned after = 0; after < 4; after++) {
        for (unsigned bytes = 0; bytes <= 512; bytes += 16) {
            g_autoptr(GError) error = NULL;
            VvVote *vote;
            uint64_t term = 0, who = 0;

            set(v, 7, 1);
            v->fail_after = 100;
            vote = vv_vote_open(v->directory, &v->pool, &v->ops, &error);
            g_assert_no_error(error);
            v->fail_after = after;
            v->tear_bytes = bytes;
            g_assert_cmpint(vv_vote_set(vote, 8, 2), ==, -EIO);
            v->fail_after = 100;
            g_assert_cmpint(vv_vote_set(vote, 8, 2), ==, -EIO); /* for ever */
            vv_vote_close(vote);
            vote = vv_vote_open(v->directory, &v->pool, NULL, &error);
            g_assert_no_error(error);
            vv_vote_get(vote, &term, &who);
            g_assert_true((term == 7 && who == 1) || (term == 8 && who == 2));
            g_assert_true(after < 2 || term == 8); /* its first copy was synced */
            vv_vote_close(vote);
        }
    }
}

static void spoil(Votes *v, uint64_t offset)
{
    vv_autofd int fd = open(v->path, O_RDWR | O_CLOEXEC);

    g_assert_cmpint(vv_pwrite_full(fd, "\x55", 1, offset), ==, 0);
}

/* A sector that rots leaves the other, with what was set last. */
static void test_rot(Votes *v, gconstpointer data)
{
    static const uint64_t places[] = { 0, 41, 48, 4096, 4096 + 41, 4096 + 57 };

    (void) data;
    for (unsigned i = 0; i < G_N_ELEMENTS(places); i++) {
        set(v, 20 + i, 3);
        spoil(v, places[i]);
        expect(v, 20 + i, 3);
    }
}

static void refuse(Votes *v, const VvUuid *pool, int code)
{
    g_autoptr(GError) error = NULL;

    g_assert_null(vv_vote_open(v->directory, pool, NULL, &error));
    g_assert_error(error, VV_ERROR, code);
}

static void test_refused(Votes *v, gconstpointer data)
{
    VvUuid other;

    (void) data;
    vv_uuid_generate(&other);
    refuse(v, &other, VV_ERROR_CONFLICT);
    spoil(v, 40);
    spoil(v, 4096 + 40);
    refuse(v, &v->pool, VV_ERROR_DAMAGED);
    g_assert_cmpint(truncate(v->path, 0), ==, 0);
    refuse(v, &v->pool, VV_ERROR_DAMAGED);
    g_unlink(v->path);
    refuse(v, &v->pool, VV_ERROR_NOT_FOUND);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name, function) g_test_add("/meta/vote/" name, Votes, NULL, set_up, function, tear_down)
    ADD("kept", test_kept);
    ADD("torn", test_torn);
    ADD("rot", test_rot);
    ADD("refused", test_refused);
    return g_test_run();
}
