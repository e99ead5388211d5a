/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Credentials of clients: SO_PEERCRED and SO_PEERGROUPS, as they were when the client connected. */
#include "permit.h"

#include "error.h"

#include <grp.h>
#include <sys/socket.h>

#ifndef SO_PEERGROUPS
#define SO_PEERGROUPS 59
#endif

static bool in_groups(int fd, gid_t gid)
{
    socklen_t length = 0;
    g_autofree gid_t *groups = NULL;

    /* The kernel tells the length it needs with ERANGE. */
    getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, NULL, &length);
    if (length == 0)
        return false;
    groups = g_malloc(length);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &length) != 0)
        return false;
    for (size_t i = 0; i < length / sizeof(gid_t); i++)
        if (groups[i] == gid)
            return true;
    return false;
}

void vv_caller_read(int fd, const VvDaemon *daemon, VvCaller *ret_caller)
{
    struct ucred cred;
    socklen_t length = sizeof(cred);

    *ret_caller = (VvCaller){ .uid = (uid_t) -1 };
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &length) != 0)
        return;
    ret_caller->pid = cred.pid;
    ret_caller->uid = cred.uid;
    ret_caller->may_change =
        cred.uid == 0 || cred.uid == daemon->owner ||
        (daemon->admin_gid != (gid_t) -1 && (cred.gid == daemon->admin_gid || in_groups(fd, daemon->admin_gid)));
}

bool vv_group_lookup(const char *group, gid_t *ret_gid, GError **error)
{
    const struct group *entry = getgrnam(group);
    guint64 number;

    if (entry)
        *ret_gid = entry->gr_gid;
    else if (g_ascii_string_to_unsigned(group, 10, 0, G_MAXUINT32 - 1, &number, NULL))
        *ret_gid = (gid_t) number;
    else {
        vv_set_error(error, VV_ERROR_NOT_FOUND, group, NULL, "admin-group: there is no group %s", group);
        return false;
    }
    return true;
}
