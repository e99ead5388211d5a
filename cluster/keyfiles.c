/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The folder tls/ of a pool directory. A key is there before the certificate that needs it, so whatever a crash leaves, a certificate
 * is never without its key; what is missing is made or asked for again. */
#include "authority.h"
#include "error.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define FOLDER "tls"
#define FILE_BYTES_MAX (16 << 10)
#define TEXT_OF_CERTIFICATE "CERTIFICATE"
#define TEXT_OF_KEY "EC PRIVATE KEY"

void vv_credentials_clear(VvCredentials *credentials)
{
    g_clear_pointer(&credentials->authority_certificate, g_bytes_unref);
    g_clear_pointer(&credentials->authority_key, g_bytes_unref);
    g_clear_pointer(&credentials->node_certificate, g_bytes_unref);
    g_clear_pointer(&credentials->node_key, g_bytes_unref);
}

/* Write, sync, rename over @path: all of it or nothing. */
static bool save(const char *folder, const char *name, const char *kind, GBytes *der, GError **error)
{
    g_autofree char *path = g_build_filename(folder, name, NULL);
    g_autofree char *fresh = g_strdup_printf("%s.new", path);
    gsize length = 0;
    const unsigned char *bytes;
    FILE *file;
    int fd;
    bool good;

    if (!der)
        return true;
    bytes = g_bytes_get_data(der, &length);
    unlink(fresh);
    fd = open(fresh, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    file = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (!file) {
        vv_set_error_errno(error, errno, path, "cannot make %s", fresh);
        if (fd >= 0)
            close(fd);
        return false;
    }
    setvbuf(file, NULL, _IONBF, 0); /* no copy of a key is left in a buffer */
    good = PEM_write(file, kind, "", bytes, (long) length) > 0 && fsync(fd) == 0;
    good = fclose(file) == 0 && good;
    if (!good || rename(fresh, path) != 0) {
        vv_set_error_errno(error, errno ? errno : EIO, path, "cannot write %s", path);
        unlink(fresh);
        return false;
    }
    return true;
}

bool vv_credentials_save(const VvCredentials *credentials, const char *directory, GError **error)
{
    g_autofree char *folder = g_build_filename(directory, FOLDER, NULL);
    int err;

    if (mkdir(folder, 0700) != 0 && errno != EEXIST) {
        vv_set_error_errno(error, errno, folder, "cannot make %s", folder);
        return false;
    }
    if (!save(folder, "node.key", TEXT_OF_KEY, credentials->node_key, error) ||
        !save(folder, "authority.key", TEXT_OF_KEY, credentials->authority_key, error) ||
        !save(folder, "authority.crt", TEXT_OF_CERTIFICATE, credentials->authority_certificate, error) ||
        !save(folder, "node.crt", TEXT_OF_CERTIFICATE, credentials->node_certificate, error))
        return false;
    err = vv_sync_directory(folder);
    if (err == 0)
        err = vv_sync_directory(directory);
    if (err != 0)
        vv_set_error_errno(error, err, folder, "cannot sync %s", folder);
    return err == 0;
}

/* @fd is a regular file that may be read as what it is. */
static bool check_file(int fd, const char *path, bool secret, GError **error)
{
    struct stat st;

    if (fstat(fd, &st) != 0) {
        vv_set_error_errno(error, errno, path, "cannot look at %s", path);
        return false;
    }
    if (!S_ISREG(st.st_mode) || st.st_size > FILE_BYTES_MAX) {
        vv_set_error(error, VV_ERROR_DAMAGED, path, NULL, "%s is not a certificate or key", path);
        return false;
    }
    if (secret && (st.st_mode & 077) != 0) {
        vv_set_error(error, VV_ERROR_DENIED, path, "chmod 600, if nobody can have read it.",
            "%s may be read by others than its owner: a key that others may have is not used", path);
        return false;
    }
    return true;
}

static bool load(const char *folder, const char *name, const char *kind, GBytes **ret_der, GError **error)
{
    g_autofree char *path = g_build_filename(folder, name, NULL);
    bool secret = strcmp(kind, TEXT_OF_KEY) == 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    FILE *file;
    char *found = NULL, *header = NULL;
    unsigned char *bytes = NULL;
    long length = 0;
    bool good;

    if (fd < 0 && errno == ENOENT)
        return true;
    file = fd >= 0 ? fdopen(fd, "r") : NULL;
    if (!file) {
        vv_set_error_errno(error, errno, path, "cannot open %s", path);
        if (fd >= 0)
            close(fd);
        return false;
    }
    if (!check_file(fd, path, secret, error)) {
        fclose(file);
        return false;
    }
    setvbuf(file, NULL, _IONBF, 0);
    good = PEM_read(file, &found, &header, &bytes, &length) == 1 && strcmp(found, kind) == 0 && header[0] == '\0';
    fclose(file);
    ERR_clear_error();
    if (good)
        *ret_der = vv_secret_bytes(bytes, (size_t) length);
    else
        vv_set_error(error, VV_ERROR_DAMAGED, path, NULL, "%s is not a certificate or key", path);
    OPENSSL_free(found);
    OPENSSL_free(header);
    OPENSSL_clear_free(bytes, (size_t) length);
    return good;
}

bool vv_credentials_load(const char *directory, VvCredentials *ret_credentials, GError **error)
{
    g_autofree char *folder = g_build_filename(directory, FOLDER, NULL);
    g_auto(VvCredentials) found = { 0 };

    if (!load(folder, "authority.crt", TEXT_OF_CERTIFICATE, &found.authority_certificate, error) ||
        !load(folder, "authority.key", TEXT_OF_KEY, &found.authority_key, error) ||
        !load(folder, "node.crt", TEXT_OF_CERTIFICATE, &found.node_certificate, error) ||
        !load(folder, "node.key", TEXT_OF_KEY, &found.node_key, error))
        return false;
    *ret_credentials = found;
    memset(&found, 0, sizeof found);
    return true;
}
