/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who may reach the pool, and what the daemon may do. The design is on top of privilege.c. */
#ifndef VV_PRIVILEGE_H
#define VV_PRIVILEGE_H

#include "daemon.h"

#include <glib.h>
#include <stdbool.h>
#include <sys/types.h>

/* Close the pool directory to others, then give up what the daemon does not need. Before the first thread, because threads inherit what
 * is left; behind vv_memory_init and whatever binds to a low port. Not root: the directory alone. Error: io, denied. */
bool vv_privilege_confine(const VvDaemon *daemon, GError **error);
/* The holder's: keep what whoever it starts needs. Not root: nothing changes. */
void vv_privilege_hold(void);
/* Of the admin socket. */
mode_t vv_privilege_socket_mode(const VvDaemon *daemon);

#endif
