/* SPDX-License-Identifier: GPL-2.0-or-later */
/* libnbd, loaded when the first export is opened. It brings 20 libraries along, for TLS and for addresses, whose private pages would be those of
 * every vvfs: more than the process that holds a mount may take in all. */
#ifndef VV_NBD_LIBRARY_H
#define VV_NBD_LIBRARY_H

#include <glib.h>
#include <libnbd.h>

#define VV_NBD_FUNCTIONS(X) \
    X(aio_connect_uri) \
    X(aio_disconnect) \
    X(aio_flush) \
    X(aio_get_direction) \
    X(aio_get_fd) \
    X(aio_is_closed) \
    X(aio_is_dead) \
    X(aio_is_ready) \
    X(aio_notify_read) \
    X(aio_notify_write) \
    X(aio_pread) \
    X(aio_pwrite) \
    X(aio_trim) \
    X(can_flush) \
    X(can_trim) \
    X(close) \
    X(create) \
    X(get_block_size) \
    X(get_errno) \
    X(get_error) \
    X(get_size) \
    X(is_read_only) \
    X(poll) \
    X(set_pread_initialize)

#define VV_NBD_FUNCTION(name) __typeof__(&nbd_##name) name;
typedef struct {
    VV_NBD_FUNCTIONS(VV_NBD_FUNCTION)
} VvNbdLibrary;
#undef VV_NBD_FUNCTION

/* Fill @library, which is zeroed at first, if it is not yet; it stays loaded. Any thread, always with the same one. Errors: unsupported, for @uri. */
bool vv_nbd_library_load(VvNbdLibrary *library, const char *uri, GError **error);

#endif
