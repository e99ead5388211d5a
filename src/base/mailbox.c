/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mailbox.h"

#include "util.h"

#include <errno.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

typedef struct {
    VvMailFunc func;
    void *data;
} VvPosted;

struct VvMailbox {
    const char *name;
    int fd;               /* owned */
    pthread_mutex_t lock; /* guards posted; a leaf */
    GArray *posted;       /* VvPosted */
};

VvMailbox *vv_mailbox_new(const char *name)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    VvMailbox *mailbox;

    if (fd < 0)
        return NULL;
    mailbox = g_new0(VvMailbox, 1);
    mailbox->name = name;
    mailbox->fd = fd;
    mailbox->posted = g_array_new(FALSE, FALSE, sizeof(VvPosted));
    pthread_mutex_init(&mailbox->lock, NULL);
    return mailbox;
}

void vv_mailbox_free(VvMailbox *mailbox)
{
    if (!mailbox)
        return;
    vv_close_fd(&mailbox->fd);
    g_array_unref(mailbox->posted);
    pthread_mutex_destroy(&mailbox->lock);
    g_free(mailbox);
}

int vv_mailbox_fd(const VvMailbox *mailbox)
{
    return mailbox->fd;
}

void vv_mailbox_post(VvMailbox *mailbox, VvMailFunc func, void *data)
{
    VvPosted posted = { func, data };
    uint64_t one = 1;
    bool first;

    {
        VV_LOCKED(&mailbox->lock);
        first = mailbox->posted->len == 0;
        g_array_append_val(mailbox->posted, posted);
    }
    /* An eventfd never fills up like this: one is written only when the box was empty. */
    if (first && write(mailbox->fd, &one, sizeof one) < 0)
        vv_log(VV_LOG_ERROR, "%s: mailbox: %s", mailbox->name, g_strerror(errno));
}

/* The count is taken before the box is emptied: who posts in between makes the descriptor readable again. */
bool vv_mailbox_run(VvMailbox *mailbox)
{
    GArray *posted;
    uint64_t count;
    bool any;

    if (read(mailbox->fd, &count, sizeof count) < 0 && errno != EAGAIN)
        vv_log(VV_LOG_ERROR, "%s: mailbox: %s", mailbox->name, g_strerror(errno));
    {
        VV_LOCKED(&mailbox->lock);
        posted = mailbox->posted;
        mailbox->posted = g_array_new(FALSE, FALSE, sizeof(VvPosted));
    }
    any = posted->len > 0;
    for (guint i = 0; i < posted->len; i++) {
        VvPosted *p = &g_array_index(posted, VvPosted, i);

        p->func(p->data);
    }
    g_array_unref(posted);
    return any;
}
