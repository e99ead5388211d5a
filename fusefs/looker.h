/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The looker: a process that looks at files of our own mount for us.
 *
 * The kernel's inode learns the size of an open file only from an answer, so somebody has to ask (notifier.c). A thread of the
 * process that serves must not: it waits inside the kernel for locks that others hold while they wait for our answers, and cannot
 * be killed there. If the process dies just then it can never end, its successor never begins, and the mount stands still for ever.
 * A process of its own, which has nothing of ours open, may wait for as long as it takes. */
#ifndef VV_LOOKER_H
#define VV_LOOKER_H

/* Before the first thread: a process that ends when the descriptor returned is closed. -1 with errno: none. */
int vv_fuse_fork_looker(void);

#endif
