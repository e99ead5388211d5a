/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The domain VV_ERROR. Object and hint live in the GError's private part, so they survive copying, propagating and
 * prefixing. One table holds what is known of each code; another maps errno to codes. */
#include "error.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

typedef struct {
    char *object; /* owned, or NULL */
    char *hint;   /* owned, or NULL */
} VvErrorPrivate;

static void vv_error_private_init(VvErrorPrivate *priv)
{
    priv->object = NULL;
    priv->hint = NULL;
}

static void vv_error_private_copy(const VvErrorPrivate *from, VvErrorPrivate *to)
{
    to->object = g_strdup(from->object);
    to->hint = g_strdup(from->hint);
}

static void vv_error_private_clear(VvErrorPrivate *priv)
{
    g_free(priv->object);
    g_free(priv->hint);
}

G_DEFINE_EXTENDED_ERROR(VvError, vv_error)

/* By VvErrorCode: the word of CLI.md section 4, and what the mount answers. */
static const struct {
    const char *name;
    int err;
} codes[] = {
    [VV_ERROR_USAGE] = { "usage", EINVAL },
    [VV_ERROR_INVALID_NAME] = { "invalid-name", EINVAL },
    [VV_ERROR_NOT_FOUND] = { "not-found", ENOENT },
    [VV_ERROR_EXISTS] = { "exists", EEXIST },
    [VV_ERROR_BUSY] = { "busy", EBUSY },
    [VV_ERROR_HAS_SNAPSHOTS] = { "has-snapshots", EBUSY },
    [VV_ERROR_KEEP] = { "keep", EPERM },
    [VV_ERROR_IN_USE_DEVICE] = { "in-use-device", EBUSY },
    [VV_ERROR_NO_SPACE] = { "no-space", ENOSPC },
    [VV_ERROR_LIMIT] = { "limit", ENOSPC },
    [VV_ERROR_DENIED] = { "denied", EPERM },
    [VV_ERROR_NOT_EMPTY] = { "not-empty", ENOTEMPTY },
    [VV_ERROR_STALE] = { "stale", ESTALE },
    [VV_ERROR_CONFLICT] = { "conflict", EIO },
    [VV_ERROR_DAMAGED] = { "damaged", EUCLEAN },
    [VV_ERROR_IO] = { "io", EIO },
    [VV_ERROR_UNSUPPORTED] = { "unsupported", EOPNOTSUPP },
    [VV_ERROR_NO_DAEMON] = { "no-daemon", EIO },
    [VV_ERROR_NO_COORDINATOR] = { "no-coordinator", EIO },
    [VV_ERROR_NO_QUORUM] = { "no-quorum", EIO },
    [VV_ERROR_TIMEOUT] = { "timeout", ETIMEDOUT },
    [VV_ERROR_INTERNAL] = { "internal", EIO },
};
G_STATIC_ASSERT(G_N_ELEMENTS(codes) == VV_ERROR_INTERNAL + 1);

/* errno to code; what is not here is VV_ERROR_IO. */
static const struct {
    int err;
    VvErrorCode code;
} errnos[] = {
    { ENOENT, VV_ERROR_NOT_FOUND },
    { EREMOTE, VV_ERROR_NO_COORDINATOR },
    { ENODATA, VV_ERROR_NOT_FOUND },
    { ENOTDIR, VV_ERROR_NOT_FOUND },
    { ENXIO, VV_ERROR_NOT_FOUND },
    { ENODEV, VV_ERROR_NOT_FOUND },
    { EEXIST, VV_ERROR_EXISTS },
    { EBUSY, VV_ERROR_BUSY },
    { ETXTBSY, VV_ERROR_BUSY },
    { EAGAIN, VV_ERROR_BUSY },
    { ENOSPC, VV_ERROR_NO_SPACE },
    { EDQUOT, VV_ERROR_NO_SPACE },
    { ENOMEM, VV_ERROR_LIMIT },
    { EMFILE, VV_ERROR_LIMIT },
    { ENFILE, VV_ERROR_LIMIT },
    { EFBIG, VV_ERROR_LIMIT },
    { EACCES, VV_ERROR_DENIED },
    { EPERM, VV_ERROR_DENIED },
    { EROFS, VV_ERROR_DENIED },
    { ENOTEMPTY, VV_ERROR_NOT_EMPTY },
    { ESTALE, VV_ERROR_STALE },
    { EUCLEAN, VV_ERROR_DAMAGED },
    { EOPNOTSUPP, VV_ERROR_UNSUPPORTED },
    { ENOSYS, VV_ERROR_UNSUPPORTED },
    { ENOTTY, VV_ERROR_UNSUPPORTED },
    { ETIMEDOUT, VV_ERROR_TIMEOUT },
    { ENAMETOOLONG, VV_ERROR_INVALID_NAME },
    { ECONNREFUSED, VV_ERROR_NO_DAEMON },
    { ESHUTDOWN, VV_ERROR_NO_DAEMON },
    { EINVAL, VV_ERROR_INTERNAL },
    { EBADF, VV_ERROR_INTERNAL },
    { EFAULT, VV_ERROR_INTERNAL },
};

static bool code_is_known(const GError *error)
{
    return error->domain == VV_ERROR && error->code >= 0 && (size_t) error->code < G_N_ELEMENTS(codes);
}

static void throw_error(GError **error, VvErrorCode code, const char *object, const char *hint, const char *message)
{
    GError *thrown = g_error_new_literal(VV_ERROR, (int) code, message);
    VvErrorPrivate *priv = vv_error_get_private(thrown);

    priv->object = g_strdup(object);
    priv->hint = g_strdup(hint);
    g_propagate_error(error, thrown);
}

void vv_set_error(GError **error, VvErrorCode code, const char *object, const char *hint, const char *format, ...)
{
    g_autofree char *message = NULL;
    va_list args;

    if (!error)
        return;
    va_start(args, format);
    message = g_strdup_vprintf(format, args);
    va_end(args);
    throw_error(error, code, object, hint, message);
}

void vv_set_error_errno(GError **error, int err, const char *object, const char *format, ...)
{
    g_autofree char *text = NULL;
    g_autofree char *message = NULL;
    VvErrorCode code = VV_ERROR_IO;
    va_list args;

    if (!error)
        return;
    if (err < 0)
        err = -err;
    for (size_t i = 0; i < G_N_ELEMENTS(errnos); i++)
        if (errnos[i].err == err)
            code = errnos[i].code;
    va_start(args, format);
    text = g_strdup_vprintf(format, args);
    va_end(args);
    message = g_strdup_printf("%s: %s", text, g_strerror(err));
    throw_error(error, code, object, NULL, message);
}

const char *vv_error_get_object(const GError *error)
{
    return error->domain == VV_ERROR ? vv_error_get_private(error)->object : NULL;
}

const char *vv_error_get_hint(const GError *error)
{
    return error->domain == VV_ERROR ? vv_error_get_private(error)->hint : NULL;
}

const char *vv_error_code_name(const GError *error)
{
    return codes[code_is_known(error) ? error->code : VV_ERROR_INTERNAL].name;
}

int vv_error_code_from_name(const char *name)
{
    for (size_t i = 0; i < G_N_ELEMENTS(codes); i++)
        if (strcmp(codes[i].name, name) == 0)
            return (int) i;
    return -1;
}

int vv_error_to_errno(const GError *error)
{
    return code_is_known(error) ? codes[error->code].err : EIO;
}
