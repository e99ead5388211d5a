/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How threads hand work to one that polls: functions in order, under a lock, and an eventfd that says that there are some. Who owns the
 * thread polls the descriptor with whatever loop it has. */
#ifndef VV_MAILBOX_H
#define VV_MAILBOX_H

#include <glib.h>
#include <stdbool.h>

typedef struct VvMailbox VvMailbox;
typedef void (*VvMailFunc)(void *data);

/* @name: borrowed, for the log. NULL: there is no descriptor to be had, errno says why. */
VvMailbox *vv_mailbox_new(const char *name);
/* Nothing may post any more. What was posted and did not run never will. */
void vv_mailbox_free(VvMailbox *mailbox);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VvMailbox, vv_mailbox_free)
/* Readable while something waits. */
int vv_mailbox_fd(const VvMailbox *mailbox);
/* Any thread; also from a function that runs out of it, which then runs with the next vv_mailbox_run. */
void vv_mailbox_post(VvMailbox *mailbox, VvMailFunc func, void *data);
/* The owner's thread: runs what was posted before, in order. False: there was nothing. */
bool vv_mailbox_run(VvMailbox *mailbox);

#endif
