/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The control loop. Its mailbox is a queue under a mutex and an eventfd that the loop polls. */
#include "control.h"

#include "error.h"
#include "util.h"

#include <errno.h>
#include <sys/eventfd.h>

typedef struct {
    VvControlFunc func;
    void *data;
} VvPosted;

struct VvControl {
    struct event_base *base;
    struct event *mail;
    int fd;
    pthread_mutex_t lock; /* guards posted */
    GArray *posted;       /* VvPosted */
};

static void mail_cb(evutil_socket_t fd, short what, void *user)
{
    VvControl *loop = user;
    GArray *posted;
    uint64_t count;

    (void) what;
    if (read((int) fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
        vv_log(VV_LOG_ERROR, "control loop: mailbox: %s", g_strerror(errno));
    {
        VV_LOCKED(&loop->lock);
        posted = loop->posted;
        loop->posted = g_array_new(FALSE, FALSE, sizeof(VvPosted));
    }
    for (unsigned i = 0; i < posted->len; i++) {
        VvPosted *p = &g_array_index(posted, VvPosted, i);

        p->func(p->data);
    }
    g_array_unref(posted);
}

VvControl *vv_control_new(GError **error)
{
    VvControl *loop = g_new0(VvControl, 1);

    pthread_mutex_init(&loop->lock, NULL);
    loop->posted = g_array_new(FALSE, FALSE, sizeof(VvPosted));
    loop->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    loop->base = event_base_new();
    if (loop->fd >= 0 && loop->base)
        loop->mail = event_new(loop->base, loop->fd, EV_READ | EV_PERSIST, mail_cb, loop);
    if (!loop->mail || event_add(loop->mail, NULL) != 0) {
        vv_set_error_errno(error, errno ? errno : ENOMEM, NULL, "cannot make the control loop");
        vv_control_free(loop);
        return NULL;
    }
    return loop;
}

void vv_control_free(VvControl *loop)
{
    if (!loop)
        return;
    if (loop->mail)
        event_free(loop->mail);
    if (loop->base)
        event_base_free(loop->base);
    vv_close_fd(&loop->fd);
    g_array_unref(loop->posted);
    pthread_mutex_destroy(&loop->lock);
    g_free(loop);
}

struct event_base *vv_control_base(VvControl *loop)
{
    return loop->base;
}

void vv_control_run(VvControl *loop)
{
    event_base_loop(loop->base, EVLOOP_NO_EXIT_ON_EMPTY);
}

void vv_control_stop(VvControl *loop)
{
    event_base_loopbreak(loop->base);
}

void vv_control_post(VvControl *loop, VvControlFunc func, void *data)
{
    VvPosted posted = { func, data };
    uint64_t one = 1;
    bool first;

    {
        VV_LOCKED(&loop->lock);
        first = loop->posted->len == 0;
        g_array_append_val(loop->posted, posted);
    }
    /* An eventfd of this size never fills up: one is written only when the queue was empty. */
    if (first && write(loop->fd, &one, sizeof(one)) < 0)
        vv_log(VV_LOG_ERROR, "control loop: mailbox: %s", g_strerror(errno));
}
