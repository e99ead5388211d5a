/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Work handed to a thread: all of it, in order, once; the descriptor says when there is some. */
#include "mailbox.h"
#include "util.h"

#include <poll.h>
#include <pthread.h>

#define POSTS 300000u /* so many that a wake-up that could be lost is */
#define POSTERS 3u

typedef struct {
    VvMailbox *mailbox;
    unsigned ran[POSTERS]; /* of each: the next number */
    unsigned again;
} Fixture;

typedef struct {
    Fixture *f;
    unsigned poster, number;
} Mail;

static bool is_readable(const VvMailbox *mailbox, int timeout_ms)
{
    struct pollfd poll_fd = { .fd = vv_mailbox_fd(mailbox), .events = POLLIN };

    return poll(&poll_fd, 1, timeout_ms) == 1;
}

static void count_cb(void *data)
{
    Mail *mail = data;

    g_assert_cmpuint(mail->number, ==, mail->f->ran[mail->poster]);
    mail->f->ran[mail->poster]++;
    g_free(mail);
}

static void post(Fixture *f, unsigned poster, unsigned number)
{
    Mail *mail = g_new(Mail, 1);

    *mail = (Mail){ f, poster, number };
    vv_mailbox_post(f->mailbox, count_cb, mail);
}

static void test_readable(void)
{
    Fixture f = { .mailbox = vv_mailbox_new("test") };

    g_assert_nonnull(f.mailbox);
    g_assert_false(is_readable(f.mailbox, 0));
    g_assert_false(vv_mailbox_run(f.mailbox));
    post(&f, 0, 0);
    post(&f, 0, 1);
    g_assert_true(is_readable(f.mailbox, 0));
    g_assert_cmpuint(f.ran[0], ==, 0);
    g_assert_true(vv_mailbox_run(f.mailbox));
    g_assert_cmpuint(f.ran[0], ==, 2);
    g_assert_false(is_readable(f.mailbox, 0));
    g_assert_false(vv_mailbox_run(f.mailbox));
    vv_mailbox_free(f.mailbox);
}

static void again_cb(void *data)
{
    Fixture *f = data;

    if (++f->again < 3)
        vv_mailbox_post(f->mailbox, again_cb, f);
}

/* What is posted by what runs waits for the next time, and is told by the descriptor. */
static void test_again(void)
{
    Fixture f = { .mailbox = vv_mailbox_new("test") };

    vv_mailbox_post(f.mailbox, again_cb, &f);
    for (unsigned i = 1; i <= 3; i++) {
        g_assert_true(is_readable(f.mailbox, 0));
        g_assert_true(vv_mailbox_run(f.mailbox));
        g_assert_cmpuint(f.again, ==, i);
    }
    g_assert_false(is_readable(f.mailbox, 0));
    vv_mailbox_free(f.mailbox);
}

typedef struct {
    Fixture *f;
    unsigned poster;
} Poster;

static void *poster_main(void *user)
{
    const Poster *poster = user;

    for (unsigned i = 0; i < POSTS; i++)
        post(poster->f, poster->poster, i);
    return NULL;
}

/* Several post while one polls and runs: nothing is left lying. */
static void test_threads(void)
{
    Fixture f = { .mailbox = vv_mailbox_new("test") };
    Poster posters[POSTERS];
    pthread_t threads[POSTERS];
    unsigned total = 0;

    for (unsigned i = 0; i < POSTERS; i++) {
        posters[i] = (Poster){ &f, i };
        g_assert_cmpint(pthread_create(&threads[i], NULL, poster_main, &posters[i]), ==, 0);
    }
    while (total < POSTERS * POSTS) {
        g_assert_true(is_readable(f.mailbox, 20000));
        vv_mailbox_run(f.mailbox);
        total = 0;
        for (unsigned i = 0; i < POSTERS; i++)
            total += f.ran[i];
    }
    for (unsigned i = 0; i < POSTERS; i++)
        pthread_join(threads[i], NULL);
    g_assert_false(vv_mailbox_run(f.mailbox));
    vv_mailbox_free(f.mailbox);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/base/mailbox/readable", test_readable);
    g_test_add_func("/base/mailbox/again", test_again);
    g_test_add_func("/base/mailbox/threads", test_threads);
    return g_test_run();
}
