/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The disks that `node join --disk` named: they are looked at when the node joins, noted in its directory, and added when its daemon serves the pool
 * for the first time, as by `disk add`. The file "disks-to-add": absolute paths, a line each. Offline, and changers. */
#ifndef VV_FAR_JOIN_H
#define VV_FAR_JOIN_H

#include "daemon.h"

/* Could each of @paths (NULL-terminated) become a disk? Nothing is changed. Errors: as vv_disk_claim, usage. */
bool vv_far_join_check(const char *const *paths, const VvUuid *pool_uuid, const char *directory, GError **error);
/* Durably. None: nothing. Error: io. */
bool vv_far_join_note(const char *directory, const char *const *paths, GError **error);
bool vv_far_join_wanted(const char *directory);
/* Adds what can be added now. True: nothing is left; what was refused is told as an event, and not tried again. */
bool vv_far_join_add(VvDaemon *daemon);

#define VV_FAR_JOIN_FILE "disks-to-add"

#endif
