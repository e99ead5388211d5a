/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A witness: a node that votes, without disks and without a mount (docs/cluster-daemon.md, "Witnesses"). Its role is known from the file
 * "nodes" of its directory before there is a map, and from its record when there is; it never changes. */
#ifndef VV_WITNESS_H
#define VV_WITNESS_H

#include <glib.h>
#include <stdbool.h>

/* Is @directory that of a witness? What cannot be read is none: who opens it tells. Any thread. */
bool vv_witness_is_one(const char *directory);
/* Is the pool @name in @directory to be started so: as a witness, or with a mount? Error: conflict, which says what to run instead. */
bool vv_witness_check(const char *directory, const char *name, bool as_witness, GError **error);
/* The same of what its record says. */
bool vv_witness_check_role(const char *directory, const char *name, bool is_one, bool as_witness, GError **error);

#endif
