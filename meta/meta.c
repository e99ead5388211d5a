/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The metadata's life: create, open and replay, log, apply, close. Checkpoints: checkpoint.c. */
#include "base_private.h"
#include "error.h"
#include "journal_log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define FORMAT_VERSION 1u
#define IDENTITY_BYTES_MAX 4096u
#define LOCKED_ENTRY_BYTES (192u << 10) /* what the engine puts into one entry while memory is short: commit_batch.c */

static char *path_in(const char *directory, const char *name) { return g_build_filename(directory, name, NULL); }

/* ---- the identity file: what makes a directory a pool's */
bool vv_meta_write_identity(const char *directory, const VvMetaCreate *create, GError **error)
{
    g_autofree char *uuid = vv_uuid_format(&create->uuid), *path = path_in(directory, "vvfs-pool"),
                    *fresh = path_in(directory, "vvfs-pool.new");
    g_autofree char *text = g_strdup_printf("vvfs-pool %u\nname %s\nuuid %s\n", FORMAT_VERSION, create->name, uuid);
    vv_autofd int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    int result = fd < 0 ? -errno : vv_pwrite_full(fd, text, strlen(text), 0);
    if (result == 0 && (fsync(fd) != 0 || rename(fresh, path) != 0))
        result = -errno;
    if (result == 0)
        result = vv_sync_directory(directory);
    if (result != 0)
        vv_set_error_errno(error, result, directory, "cannot write %s", path);
    return result == 0;
}

bool vv_meta_identify(const char *directory, char **ret_name, VvUuid *ret_uuid, GError **error)
{
    g_autofree char *path = path_in(directory, "vvfs-pool");
    char text[IDENTITY_BYTES_MAX + 1];
    vv_autofd int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, IDENTITY_BYTES_MAX);
    if (n < 0 && (errno == ENOENT || errno == ENOTDIR)) {
        vv_set_error(error, VV_ERROR_NOT_FOUND, directory, "vvfs-admin pool list", "no pool in %s", directory);
        return false;
    }
    if (n < 0) {
        vv_set_error_errno(error, errno, directory, "cannot read %s", path);
        return false;
    }
    text[n] = 0;
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    char *end = NULL;
    if (!g_str_has_prefix(text, "vvfs-pool ") || (unsigned long long) n != strlen(text))
        goto damaged;
    unsigned long version = strtoul(lines[0] + strlen("vvfs-pool "), &end, 10);
    if (*end == 0 && version > FORMAT_VERSION) {
        vv_set_error(error, VV_ERROR_UNSUPPORTED, directory, "use the newer vvfs that made it",
                     "the pool in %s has format %lu; this vvfs knows formats up to %u", directory, version, FORMAT_VERSION);
        return false;
    }
    if (*end != 0 || version != FORMAT_VERSION || g_strv_length(lines) < 3 || !g_str_has_prefix(lines[1], "name ") ||
        !vv_name_check(lines[1] + 5, "pool", NULL) || !g_str_has_prefix(lines[2], "uuid ") ||
        !vv_uuid_parse(lines[2] + 5, ret_uuid))
        goto damaged;
    *ret_name = g_strdup(lines[1] + 5);
    return true;
damaged:
    vv_set_error(error, VV_ERROR_DAMAGED, directory, NULL, "%s is damaged: it must say \"vvfs-pool %u\", name and uuid", path,
                 FORMAT_VERSION);
    return false;
}

/* ---- create */
VvMeta *vvm_new(const char *directory, bool read_only)
{
    VvMeta *meta = g_new0(VvMeta, 1);
    meta->directory = g_strdup(directory);
    meta->read_only = read_only;
    meta->next_job = 1;
    pthread_rwlock_init(&meta->lock, NULL);
    pthread_mutex_init(&meta->turnstile, NULL);
    pthread_mutex_init(&meta->id_lock, NULL);
    pthread_mutex_init(&meta->log_lock, NULL);
    meta->log_body = g_byte_array_sized_new(VV_ENTRY_BYTES_MAX + VV_BLOCK_BYTES); /* memory as far as it is used */
    vvm_catalog_init(meta);
    vvm_overlay_init(&meta->filling);
    vvm_overlay_init(&meta->writing);
    return meta;
}

static int pool_record_write(VvMeta *meta)
{
    static const uint8_t key[1];
    g_autoptr(GByteArray) record = g_byte_array_new();
    VvStoreTxn *txn;
    vvm_pool_encode(meta, record);
    int result = vv_store_begin_early(meta->store, &txn);
    if (result != 0)
        return result;
    result = vv_store_put(txn, VV_TABLE_POOL, key, sizeof key, record->data, record->len);
    if (result != 0) {
        vv_store_abort(txn);
        return result;
    }
    return vv_store_commit(txn);
}

static VvJournalIdentity journal_identity(const VvMeta *meta)
{
    return (VvJournalIdentity){ .pool_uuid = meta->pool.uuid, .lineage = meta->pool.lineage, .incarnation = meta->pool.incarnation };
}

static bool make_folder(const char *path, GError **error)
{
    if (mkdir(path, 0700) == 0)
        return true;
    vv_set_error_errno(error, errno, path, "cannot make the folder %s", path);
    return false;
}

bool vv_meta_create(const char *directory, const VvMetaCreate *create, GError **error)
{
    g_autofree char *map = path_in(directory, "map"), *journal = path_in(directory, "journal");
    if (!make_folder(map, error) || !make_folder(journal, error) || !vv_store_create(map, error))
        return false;
    g_autoptr(VvMeta) meta = vvm_new(directory, false);
    meta->pool.uuid = create->uuid;
    meta->pool.name = g_strdup(create->name);
    meta->pool.created_ns = create->created_ns;
    uint32_t tag;
    do {
        vv_random_bytes(&tag, sizeof tag);
        tag &= (1u << VV_ID_TAG_BITS) - 1;
    } while (tag == 0);
    meta->pool.id_tag = (uint64_t) tag << VV_ID_TAG_SHIFT;
    meta->pool.next_counter = 1;
    vv_random_bytes(&meta->pool.lineage, sizeof meta->pool.lineage);
    meta->store = vv_store_open(map, false, error);
    if (meta->store == NULL)
        return false;
    int result = pool_record_write(meta);
    if (result != 0) {
        vv_set_error_errno(error, result, directory, "cannot write the map of the new pool in %s", directory);
        return false;
    }
    VvJournalIdentity identity = journal_identity(meta);
    if (!vv_journal_create(journal, &identity, error))
        return false;
    result = vvm_room_update(meta, 0);
    if (result != 0) {
        vv_set_error_errno(error, result, directory, "cannot reserve %u MiB in %s", VV_RESERVE_FILE_BYTES >> 20, directory);
        return false;
    }
    return vv_meta_write_identity(directory, create, error);
}

/* ---- open */
static bool replay_entry(void *user, uint64_t index, const uint8_t *body, size_t length_bytes, GError **error)
{
    VvMeta *meta = user;
    VvOps *ops = NULL;
    int result = vv_ops_decode(body, length_bytes, &ops);
    if (result == -EOPNOTSUPP) {
        vv_set_error(error, VV_ERROR_UNSUPPORTED, meta->directory, "use the newer vvfs that wrote it",
                     "the journal of pool %s has entries of a newer format (entry %" G_GUINT64_FORMAT ")", meta->pool.name, index);
        return false;
    }
    if (result == 0) {
        result = vv_meta_apply(meta, index, ops);
        vv_ops_free(ops);
    }
    if (result == 0)
        return true;
    const char *why = vv_meta_failure(meta);
    vv_set_error(error, VV_ERROR_DAMAGED, meta->directory, "vvfs-admin pool check",
                 "entry %" G_GUINT64_FORMAT " of the journal of pool %s cannot be applied: %s", index, meta->pool.name,
                 why != NULL ? why : g_strerror(-result));
    return false;
}

static bool open_parts(VvMeta *meta, const VvRunOps *run_ops, const VvOpening *opening, GError **error)
{
    g_autofree char *map = path_in(meta->directory, "map"), *journal = path_in(meta->directory, "journal"), *name = NULL;
    VvUuid uuid;
    if (!vv_meta_identify(meta->directory, &name, &uuid, error))
        return false;
    meta->store = vv_store_open_as(map, meta->read_only, opening->map_check, error);
    if (meta->store == NULL || !vvm_catalog_load(meta, error))
        return false;
    if (!vv_uuid_equal(&uuid, &meta->pool.uuid)) {
        vv_set_error(error, VV_ERROR_CONFLICT, meta->directory, NULL, "the map in %s belongs to another pool than its file vvfs-pool says",
                     meta->directory);
        return false;
    }
    meta->reserved_counter = meta->pool.next_counter;
    meta->checkpoint_index = meta->pool.applied_index;
    meta->pool.opening_before = meta->pool.opening;
    if (opening->check != NULL && !opening->check(opening->user, meta->pool.opening_before, error))
        return false;
    if (!meta->read_only) {
        meta->pool.incarnation++;
        meta->pool.opening = opening->number;
        int result = pool_record_write(meta);
        if (result != 0) {
            vv_set_error_errno(error, result, meta->directory, "cannot write the map of pool %s in %s", meta->pool.name, meta->directory);
            return false;
        }
    }
    VvJournalIdentity identity = journal_identity(meta);
    if (meta->cluster != NULL) /* what follows the base is applied when the cluster says that it is committed */
        meta->journal = vv_journal_open_log(journal, &identity, meta->pool.applied_index, meta->read_only, run_ops, error);
    else
        meta->journal = vv_journal_open(journal, &identity, meta->pool.applied_index, meta->read_only, run_ops, replay_entry, meta, error);
    if (meta->journal == NULL)
        return false;
    meta->reserved_counter = MAX(meta->reserved_counter, meta->pool.next_counter);
    if (!meta->read_only)
        (void) vvm_room_update(meta, 0); /* not now: at a later checkpoint */
    return true;
}

VvMeta *vv_meta_open_as(const char *directory, bool read_only, const VvRunOps *run_ops, const VvOpening *opening, GError **error)
{
    VvMeta *meta = vvm_new(directory, read_only);
    VvOpening drawn = *opening;
    while (drawn.number == 0)
        vv_random_bytes(&drawn.number, sizeof drawn.number);
    if (!open_parts(meta, run_ops, &drawn, error)) {
        g_autofree char *trouble = meta->store != NULL ? vv_store_trouble(meta->store) : NULL;
        if (trouble != NULL)
            g_prefix_error(error, "%s: ", trouble);
        g_clear_pointer(&meta, vv_meta_close);
    }
    return meta;
}

VvMeta *vv_meta_open(const char *directory, bool read_only, const VvRunOps *run_ops, GError **error)
{
    VvOpening opening = { .number = 0 };
    return vv_meta_open_as(directory, read_only, run_ops, &opening, error);
}

void vv_meta_set_hooks(VvMeta *meta, const VvMetaHooks *hooks, void *user)
{
    meta->hooks = hooks;
    meta->hooks_user = user;
}

bool vv_meta_watch(VvMeta *meta, void (*trouble)(void *user, const char *why), void *user, GError **error)
{
    return vv_store_watch(meta->store, trouble, user, error);
}

void vv_meta_unwatch(VvMeta *meta) { vv_store_unwatch(meta->store); }
void vv_meta_give_up_check(VvMeta *meta) { vv_store_give_up_check(meta->store); }

void vv_meta_close(VvMeta *meta)
{
    g_clear_pointer(&meta->journal, vv_journal_close);
    vvm_catalog_clear(meta);
    vvm_overlay_clear(&meta->filling);
    vvm_overlay_clear(&meta->writing);
    vvm_batch_free(meta->batch);
    g_clear_pointer(&meta->store, vv_store_close);
    vvm_cluster_free(meta->cluster);
    pthread_rwlock_destroy(&meta->lock);
    pthread_mutex_destroy(&meta->turnstile);
    pthread_mutex_destroy(&meta->id_lock);
    g_byte_array_unref(meta->log_body);
    pthread_mutex_destroy(&meta->log_lock);
    g_free(meta->failure);
    g_free(meta->directory);
    g_free(meta);
}

void vv_meta_read_lock(VvMeta *meta) { pthread_rwlock_rdlock(&meta->lock); }
void vv_meta_read_unlock(VvMeta *meta) { pthread_rwlock_unlock(&meta->lock); }

void vvm_write_lock(VvMeta *meta)
{
    pthread_mutex_lock(&meta->turnstile);
    pthread_rwlock_wrlock(&meta->lock);
}

void vvm_write_unlock(VvMeta *meta)
{
    pthread_rwlock_unlock(&meta->lock);
    pthread_mutex_unlock(&meta->turnstile);
}

void vvm_slice_lock(VvMeta *meta)
{
    pthread_mutex_lock(&meta->turnstile);
    pthread_rwlock_rdlock(&meta->lock);
    pthread_mutex_unlock(&meta->turnstile);
}

uint64_t vv_meta_new_id(VvMeta *meta)
{
    VV_LOCKED(&meta->id_lock);
    return meta->pool.id_tag | meta->reserved_counter++;
}

/* ---- failure */
void vvm_fail(VvMeta *meta, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *text = g_strdup_vprintf(format, args), *none = NULL;
    va_end(args);
    if (!atomic_compare_exchange_strong(&meta->failure, &none, text))
        g_free(text);
}

int vvm_damaged(VvMeta *meta, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    vvm_fail(meta, "%s", text);
    return -EUCLEAN;
}

const char *vv_meta_failure(VvMeta *meta) { return atomic_load(&meta->failure); }

/* ---- log and apply */
int vv_meta_log(VvMeta *meta, const VvOps *ops, uint64_t *ret_index)
{
    VV_LOCKED(&meta->log_lock);
    GByteArray *body = g_byte_array_set_size(meta->log_body, 0);
    vv_ops_encode(ops, body);
    g_assert(body->len <= VV_ENTRY_BYTES_MAX);
    int result = vv_ops_only_free(ops) ? 0 : vv_journal_keep_room(meta->journal, body->len);
    return result != 0 ? result : vv_journal_append(meta->journal, body->data, body->len, ret_index);
}

size_t vv_meta_lock_memory(VvMeta *meta)
{
    VV_LOCKED(&meta->log_lock);
    guint length = meta->log_body->len;
    g_byte_array_set_size(meta->log_body, LOCKED_ENTRY_BYTES); /* its memory is there; where it is does not change */
    bool good = mlock(meta->log_body->data, LOCKED_ENTRY_BYTES) == 0;
    g_byte_array_set_size(meta->log_body, length);
    return (good ? LOCKED_ENTRY_BYTES : 0) + (meta->journal != NULL ? vv_journal_lock_memory(meta->journal, LOCKED_ENTRY_BYTES) : 0);
}

int vv_meta_sync(VvMeta *meta)
{
    VV_LOCKED(&meta->log_lock);
    return vv_journal_sync(meta->journal);
}

int vv_meta_journal_error(VvMeta *meta)
{
    VV_LOCKED(&meta->log_lock);
    return vv_journal_error(meta->journal);
}

uint64_t vv_meta_journal_syncs(VvMeta *meta) { return vv_journal_sync_count(meta->journal); }

int vv_meta_apply(VvMeta *meta, uint64_t index, const VvOps *ops)
{
    if (vv_meta_failure(meta) != NULL)
        return -EIO;
    vvm_write_lock(meta);
    g_assert(index == meta->pool.applied_index + 1);
    int result = vv_store_read_begin(meta->store, &meta->apply_read);
    if (result == 0) {
        for (guint i = 0; i < ops->len && result == 0; i++) {
            result = vvm_apply_op(meta, vv_ops_get(ops, i));
            if (result == 0 && meta->hooks != NULL && meta->hooks->op_applied != NULL)
                meta->hooks->op_applied(meta->hooks_user, vv_ops_get(ops, i));
        }
        vvm_space_tell_freed(meta);
        vv_store_read_end(meta->apply_read);
        meta->apply_read = NULL;
    }
    if (result == 0) {
        meta->pool.applied_index = index;
        vvm_dirty(meta, VV_TABLE_POOL, 0, 0);
    } else {
        vvm_fail(meta, "entry %" G_GUINT64_FORMAT " cannot be applied: %s", index, g_strerror(-result));
    }
    vvm_write_unlock(meta);
    return result == 0 ? 0 : result == -EUCLEAN ? -EUCLEAN : -EIO;
}

char *vv_meta_request_result(VvMeta *meta, const char *id)
{
    vv_meta_read_lock(meta);
    const VvRequestRecord *request = g_hash_table_lookup(meta->requests, id);
    char *result = request != NULL ? g_strdup(request->result) : NULL;
    vv_meta_read_unlock(meta);
    return result;
}
