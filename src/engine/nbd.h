/* SPDX-License-Identifier: GPL-2.0-or-later */
/* An export of an NBD server as a remote medium, through libnbd.  */
#ifndef VV_NBD_H
#define VV_NBD_H

#include "remote.h"

/* See vv_remote_open. Refused: no export there, read-only (unless @read_only), one that cannot flush, one with larger blocks than ours. */
VvRemote *vv_nbd_open(const char *uri, bool read_only, unsigned wait_ms, GError **error);

#endif
