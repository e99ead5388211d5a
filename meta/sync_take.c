/* SPDX-License-Identifier: GPL-2.0-or-later */
/* State sync, who takes: records into a store of their own, then all of it into the pool's places. */
#include "base_private.h"
#include "codec.h"
#include "error.h"
#include "sync_private.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#define COMMIT_BYTES (16u << 20) /* of records in one transaction of the store */

struct VvSyncTake {
    char *directory, *sync, *map;
    VvStore *store;
    VvStoreTxn *txn;
    uint64_t txn_bytes;
    GByteArray *rest; /* not yet a whole record */
    bool begun, ended;
    uint64_t index, count;
    uint32_t crc;
};

static char *path_in(const char *directory, const char *name)
{
    return g_build_filename(directory, name, NULL);
}

static int remove_tree(const char *path)
{
    struct dirent *item;
    DIR *dir = opendir(path);

    if (dir == NULL)
        return errno == ENOENT || unlink(path) == 0 ? 0 : -errno;
    while ((item = readdir(dir)) != NULL) {
        g_autofree char *inside = path_in(path, item->d_name);

        if (strcmp(item->d_name, ".") != 0 && strcmp(item->d_name, "..") != 0 && unlink(inside) != 0 && errno != ENOENT)
            (void) remove_tree(inside);
    }
    closedir(dir);
    return rmdir(path) == 0 ? 0 : -errno;
}

/* ---- taking */

VvSyncTake *vv_sync_take_new(const char *directory, GError **error)
{
    g_autoptr(VvSyncTake) take = g_new0(VvSyncTake, 1);
    int rc;

    take->directory = g_strdup(directory);
    take->sync = path_in(directory, "sync");
    take->map = path_in(take->sync, "map");
    take->rest = g_byte_array_new();
    rc = remove_tree(take->sync);
    if (rc == 0 && (mkdir(take->sync, 0700) != 0 || mkdir(take->map, 0700) != 0))
        rc = -errno;
    if (rc != 0) {
        vv_set_error_errno(error, rc, directory, "cannot make the folder %s", take->map);
        return NULL;
    }
    if (!vv_store_create(take->map, error) || (take->store = vv_store_open(take->map, false, error)) == NULL)
        return NULL;
    return g_steal_pointer(&take);
}

void vv_sync_take_free(VvSyncTake *take)
{
    if (take == NULL)
        return;
    if (take->txn != NULL)
        vv_store_abort(take->txn);
    g_clear_pointer(&take->store, vv_store_close);
    g_byte_array_unref(take->rest);
    g_free(take->directory);
    g_free(take->sync);
    g_free(take->map);
    g_free(take);
}

static int commit(VvSyncTake *take)
{
    VvStoreTxn *txn = g_steal_pointer(&take->txn);

    take->txn_bytes = 0;
    return txn != NULL ? vv_store_commit(txn) : 0;
}

static int take_record(VvSyncTake *take, VvTable table, const uint8_t *key, size_t key_bytes, const uint8_t *value, size_t value_bytes)
{
    int rc = take->txn != NULL ? 0 : vv_store_begin(take->store, &take->txn);

    if (rc == 0)
        rc = vv_store_put(take->txn, table, key, key_bytes, value, value_bytes);
    take->count++;
    take->txn_bytes += key_bytes + value_bytes;
    return rc == 0 && take->txn_bytes >= COMMIT_BYTES ? commit(take) : rc;
}

/* What stands at @p, of which @left bytes are there. *ret_used 0: not all of it is. */
static int take_item(VvSyncTake *take, const uint8_t *p, size_t left, size_t *ret_used)
{
    size_t length;
    uint32_t value_bytes;

    *ret_used = 0;
    if (!take->begun) {
        if (left < VVY_HEAD_BYTES)
            return 0;
        take->begun = true;
        take->index = vv_get_u64(p + 8);
        take->crc = vv_crc32c(0, p, VVY_HEAD_BYTES);
        *ret_used = VVY_HEAD_BYTES;
        return memcmp(p, VVY_MAGIC, 8) == 0 ? 0 : -EUCLEAN;
    }
    if (left < VVY_RECORD_BYTES)
        return 0;
    value_bytes = vv_get_u32(p + 2);
    length = VVY_RECORD_BYTES + p[1] + (size_t) value_bytes;
    if (take->ended || value_bytes > VVY_VALUE_BYTES_MAX || (p[0] == VVY_END ? length != VVY_TAIL_BYTES : p[0] >= VV_N_TABLES || p[1] == 0))
        return -EUCLEAN;
    if (left < length)
        return 0;
    *ret_used = length;
    if (p[0] == VVY_END) {
        take->ended = true;
        return vv_get_u64(p + 6) == take->count && vv_get_u32(p + 14) == vv_crc32c(take->crc, p, 14) ? 0 : -EUCLEAN;
    }
    take->crc = vv_crc32c(take->crc, p, length);
    return take_record(take, (VvTable) p[0], p + VVY_RECORD_BYTES, p[1], p + VVY_RECORD_BYTES + p[1], value_bytes);
}

int vv_sync_take_write(VvSyncTake *take, const uint8_t *data, size_t data_bytes)
{
    size_t done = 0, used = 1;
    int rc = 0;

    vv_write_bytes(take->rest, data, data_bytes);
    while (rc == 0 && used > 0 && done < take->rest->len) {
        rc = take_item(take, take->rest->data + done, take->rest->len - done, &used);
        done += used;
    }
    if (done > 0)
        g_byte_array_remove_range(take->rest, 0, (guint) MIN(done, take->rest->len));
    return rc;
}

/* ---- complete */

/* Y2. The map as a catalog; its pool's records. */
static VvMeta *load(const char *directory, const char *map, GError **error)
{
    VvMeta *meta = vvm_new(directory, true);

    meta->store = vv_store_open_as(map, true, VV_MAP_WHOLE, error);
    if (meta->store == NULL || !vvm_catalog_load(meta, error))
        g_clear_pointer(&meta, vv_meta_close);
    return meta;
}

static int write_mark(const VvSyncTake *take)
{
    g_autofree char *path = path_in(take->sync, "complete"), *fresh = path_in(take->sync, "complete.new");
    g_autofree char *text = g_strdup_printf("vvfs-sync 1\nindex %" G_GUINT64_FORMAT "\n", take->index);
    vv_autofd int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    int rc = fd < 0 ? -errno : vv_pwrite_full(fd, text, strlen(text), 0);

    if (rc == 0 && fsync(fd) != 0)
        rc = -errno;
    if (rc == 0)
        rc = vv_sync_directory(take->map);
    if (rc == 0)
        rc = vv_sync_directory(take->sync);
    if (rc == 0 && rename(fresh, path) != 0)
        rc = -errno;
    if (rc == 0)
        rc = vv_sync_directory(take->sync);
    return rc == 0 ? vv_sync_directory(take->directory) : rc;
}

int vv_sync_take_complete(VvSyncTake *take, uint64_t index)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VvMeta) meta = NULL;
    g_autofree char *journal = path_in(take->sync, "journal");
    VvJournalIdentity identity;
    int rc;

    if (!take->ended || take->rest->len > 0 || take->index != index)
        return -EUCLEAN;
    rc = commit(take);
    g_clear_pointer(&take->store, vv_store_close);
    if (rc != 0)
        return rc;
    meta = load(take->sync, take->map, &error);
    if (meta == NULL || meta->cluster == NULL || meta->pool.applied_index != index) {
        if (error)
            vv_log(VV_LOG_ERROR, "a state that was taken: %s", error->message);
        return -EUCLEAN;
    }
    identity = (VvJournalIdentity){ .pool_uuid = meta->pool.uuid, .lineage = meta->pool.lineage, .incarnation = meta->pool.incarnation };
    if (mkdir(journal, 0700) != 0)
        return -errno;
    if (!vv_journal_create_at(journal, &identity, index + 1, &error)) {
        vv_log(VV_LOG_ERROR, "%s", error->message);
        return -EIO;
    }
    return write_mark(take);
}

/* ---- into the pool's places */

static int put_in_place(const char *directory, const char *sync, const char *name)
{
    g_autofree char *from = path_in(sync, name), *to = path_in(directory, name), *old_name = g_strdup_printf("old-%s", name);
    g_autofree char *old = path_in(sync, old_name);
    int rc;

    if (access(from, F_OK) != 0)
        return errno == ENOENT ? 0 : -errno; /* it is there already */
    rc = remove_tree(old);
    if (rc == 0 && rename(to, old) != 0 && errno != ENOENT)
        rc = -errno;
    if (rc == 0 && rename(from, to) != 0)
        rc = -errno;
    if (rc == 0)
        rc = vv_sync_directory(directory);
    return rc == 0 ? vv_sync_directory(sync) : rc;
}

/* Of a directory that never was a pool's. */
static bool write_identity(const char *directory, GError **error)
{
    g_autofree char *map = path_in(directory, "map"), *identity = path_in(directory, "vvfs-pool");
    g_autoptr(VvMeta) meta = NULL;

    if (access(identity, F_OK) == 0)
        return true;
    meta = load(directory, map, error);
    if (meta == NULL)
        return false;
    return vv_meta_write_identity(directory, &(VvMetaCreate){ .name = meta->pool.name, .uuid = meta->pool.uuid }, error);
}

bool vv_sync_finish(const char *directory, GError **error)
{
    g_autofree char *sync = path_in(directory, "sync"), *mark = path_in(sync, "complete");
    int rc = 0;

    if (access(mark, F_OK) == 0) { /* Y1 */
        rc = put_in_place(directory, sync, "map");
        if (rc == 0)
            rc = put_in_place(directory, sync, "journal");
        if (rc == 0 && !write_identity(directory, error))
            return false;
        if (rc == 0 && unlink(mark) != 0)
            rc = -errno;
        if (rc == 0)
            rc = vv_sync_directory(sync);
    } else if (errno != ENOENT) {
        rc = -errno;
    }
    if (rc == 0)
        rc = remove_tree(sync);
    if (rc != 0)
        vv_set_error_errno(error, rc, directory, "what was taken from another node cannot be put into its place in %s", directory);
    return rc == 0;
}
