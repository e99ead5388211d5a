/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who is at the other end of the admin socket, and may it change anything? */
#ifndef VV_PERMIT_H
#define VV_PERMIT_H

#include "daemon.h"

#include <stdbool.h>
#include <sys/types.h>

typedef struct {
    pid_t pid;
    uid_t uid;
    bool may_change; /* root, the daemon's owner, a member of admin-group */
} VvCaller;

/* From the kernel's credentials of the connected socket @fd; what cannot be told may not change anything. */
void vv_caller_read(int fd, const VvDaemon *daemon, VvCaller *ret_caller);
/* The id of @group (a name or a number). Error: not-found. */
bool vv_group_lookup(const char *group, gid_t *ret_gid, GError **error);

#endif
