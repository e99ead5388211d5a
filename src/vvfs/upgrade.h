/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `vvfs --upgrade`: this very program under a mount that lives. */
#ifndef VV_UPGRADE_H
#define VV_UPGRADE_H

/* @pool: a mount point, a pool directory or a name. Returns the program's exit code, after saying what was done or why not. */
int vv_upgrade_run(const char *pool);

#endif
