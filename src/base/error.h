/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Errors: `int` 0 or -errno on the data path, GError in domain VV_ERROR on the control path. */
#ifndef VV_ERROR_H
#define VV_ERROR_H

#include <glib.h>

/* The data path returns only these (negative):
 *   EIO        the medium failed, or the pool did while the request was under way; a flush whose data is not safe
 *   ENOSPC     no space for the data, or a write at or past the end of a LUN
 *   EROFS      write to a snapshot, a read-only mount, or a pool that turned read-only after a failure
 *   EUCLEAN    stored metadata does not decode or contradicts itself
 *   ENODATA    a look-up found nothing (internal; never reaches a user)
 *   E2BIG      more to look at than was allowed (internal)
 *   ENOMEM     a bounded pool of memory is exhausted
 *   ETIMEDOUT  a request waited longer than its LUN's timeout
 *   EINTR      a request was interrupted before it reached a disk
 *   EINVAL     offset or length that the caller should have refused
 *   ESTALE     the object is gone
 *   EREMOTE    the data is on disks of another node, which this one does not reach
 *   ESHUTDOWN  the pool is being closed */

/* The codes of CLI.md section 4, in its order. */
typedef enum {
    VV_ERROR_USAGE,
    VV_ERROR_INVALID_NAME,
    VV_ERROR_NOT_FOUND,
    VV_ERROR_EXISTS,
    VV_ERROR_BUSY,
    VV_ERROR_HAS_SNAPSHOTS,
    VV_ERROR_KEEP,
    VV_ERROR_IN_USE_DEVICE,
    VV_ERROR_NO_SPACE,
    VV_ERROR_LIMIT,
    VV_ERROR_DENIED,
    VV_ERROR_NOT_EMPTY,
    VV_ERROR_STALE,
    VV_ERROR_CONFLICT,
    VV_ERROR_DAMAGED,
    VV_ERROR_IO,
    VV_ERROR_UNSUPPORTED,
    VV_ERROR_NO_DAEMON,
    VV_ERROR_NO_COORDINATOR,
    VV_ERROR_NO_QUORUM,
    VV_ERROR_TIMEOUT,
    VV_ERROR_INTERNAL,
} VvErrorCode;

#define VV_ERROR (vv_error_quark())
GQuark vv_error_quark(void);

/* Throw: @object names what the message is about and @hint is a command or advice that mends it; both may be
 * NULL, both are copied. Does nothing if @error is NULL. */
void vv_set_error(GError **error, VvErrorCode code, const char *object, const char *hint, const char *format, ...)
    G_GNUC_PRINTF(5, 6);

/* Borrowed from @error; NULL if it has none or is of another domain. */
const char *vv_error_get_object(const GError *error);
const char *vv_error_get_hint(const GError *error);

/* The word of CLI.md for @error: "internal" for other domains. */
const char *vv_error_code_name(const GError *error);
/* -1 for an unknown word. */
int vv_error_code_from_name(const char *name);

/* The one crossing between the idioms. From an errno (positive or negative): chooses the code, and the message is
 * the formatted text followed by ": " and the system's text. */
void vv_set_error_errno(GError **error, int err, const char *object, const char *format, ...) G_GNUC_PRINTF(4, 5);
/* To an errno (positive), for the mount: invalid-name EINVAL, not-found ENOENT, exists EEXIST, busy, has-snapshots,
 * in-use-device EBUSY, keep and denied EPERM, no-space ENOSPC, limit ENOSPC, not-empty ENOTEMPTY, stale ESTALE,
 * damaged EUCLEAN, io EIO, unsupported EOPNOTSUPP, timeout ETIMEDOUT, usage EINVAL, others EIO. */
int vv_error_to_errno(const GError *error);

#endif
