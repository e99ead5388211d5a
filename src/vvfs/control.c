/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The control loop: it polls its mailbox. */
#include "control.h"

#include "error.h"
#include "mailbox.h"

#include <errno.h>

struct VvControl {
    struct event_base *base;
    struct event *mail;
    VvMailbox *mailbox;
};

static void mail_cb(evutil_socket_t fd, short what, void *user)
{
    VvControl *loop = user;

    (void) fd;
    (void) what;
    vv_mailbox_run(loop->mailbox);
}

VvControl *vv_control_new(GError **error)
{
    VvControl *loop = g_new0(VvControl, 1);

    loop->mailbox = vv_mailbox_new("control loop");
    loop->base = event_base_new();
    if (loop->mailbox && loop->base)
        loop->mail = event_new(loop->base, vv_mailbox_fd(loop->mailbox), EV_READ | EV_PERSIST, mail_cb, loop);
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
    vv_mailbox_free(loop->mailbox);
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
    vv_mailbox_post(loop->mailbox, func, data);
}
