/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Disks of an open pool: add, grow, remove.
 *
 * D1  A disk is labelled, open and in its slot before the entry that adds it is logged, so that a grant on it can be used at
 *     once; on failure the label is erased again.
 * D2  A disk leaves its slot after the entry that removes it is applied, and is closed when nobody is left who found a place
 *     on it (I4). */
#include "disk_private.h"
#include "pending_slots.h"
#include "pool_private.h"
#include "reach.h"
#include "transaction.h"

#include <string.h>
#include <sys/stat.h>

#define DRAIN_MS_MAX 10000u

/* ---- slots */

void vv_pool_attach_disk(VvPool *pool, uint64_t id, VvDisk *disk)
{
    unsigned slot = 0;

    if (pool->options.disk_ops)
        vv_disk_set_ops(disk, pool->options.disk_ops, pool->options.ops_user);
    vv_trouble_watch(pool, disk);
    VV_LOCKED(&pool->disks_lock);
    while (slot < pool->disks->len && g_ptr_array_index(pool->disks, slot))
        slot++;
    if (slot == pool->disks->len)
        g_ptr_array_add(pool->disks, NULL);
    g_ptr_array_index(pool->disks, slot) = disk;
    g_hash_table_insert(pool->disk_slots, g_memdup2(&id, sizeof id), GUINT_TO_POINTER(slot));
    vv_pending_attach_disk(pool, id, slot, disk);
}

VvDisk *vv_pool_detach_disk(VvPool *pool, uint64_t id)
{
    void *slot;
    VvDisk *disk;

    VV_LOCKED(&pool->disks_lock);
    if (!g_hash_table_lookup_extended(pool->disk_slots, &id, NULL, &slot))
        return NULL;
    disk = g_ptr_array_index(pool->disks, GPOINTER_TO_UINT(slot));
    g_ptr_array_index(pool->disks, GPOINTER_TO_UINT(slot)) = NULL;
    g_hash_table_remove(pool->disk_slots, &id);
    vv_pending_detach_disk(pool, id, GPOINTER_TO_UINT(slot));
    return disk;
}

static VvDisk *find_handle(VvPool *pool, uint64_t id)
{
    void *slot;

    VV_LOCKED(&pool->disks_lock);
    if (!g_hash_table_lookup_extended(pool->disk_slots, &id, NULL, &slot))
        return NULL;
    return g_ptr_array_index(pool->disks, GPOINTER_TO_UINT(slot));
}

/* Absolute paths below the pool directory are stored relative to it, so that it can be moved. */
static char *stored_path(const VvPool *pool, const char *path)
{
    size_t length = strlen(pool->directory);

    if (strncmp(path, pool->directory, length) == 0 && path[length] == '/')
        return g_strdup(path + length + 1);
    return g_strdup(path);
}

const VvDiskInfo *vv_find_disk(VvPool *pool, const char *text, GError **error)
{
    const GPtrArray *disks = vv_meta_disks(pool->meta);
    g_autofree char *wanted = *text == '/' ? g_canonicalize_filename(text, "/") : g_strdup(text);
    VvUuid uuid;
    bool is_uuid = vv_uuid_parse(text, &uuid);

    for (unsigned i = 0; i < disks->len; i++) {
        const VvDiskInfo *disk = g_ptr_array_index(disks, i);
        g_autofree char *path = vv_pool_disk_path(pool->directory, disk->path);
        const char *there;
        uint64_t node;
        bool own = vv_node_address_parse(disk->path, &node, &there) && node == pool->options.node && strcmp(there, wanted) == 0;

        if (strcmp(disk->name, text) == 0 || strcmp(path, wanted) == 0 || own || (is_uuid && vv_uuid_equal(&uuid, &disk->uuid)))
            return disk;
    }
    vv_set_error(error, VV_ERROR_NOT_FOUND, text, "vvfs-admin disk list", "no disk %s in pool %s", text,
        vv_meta_pool(pool->meta)->name);
    return NULL;
}

/* ---- add */

/* From the last part of the path, with what a name may not have replaced; made unique by a number. Read lock held. */
static char *choose_name(VvPool *pool, const char *path)
{
    g_autofree char *base = vv_disk_base_name(path);
    const GPtrArray *disks = vv_meta_disks(pool->meta);

    for (char *c = base; *c; c++)
        if (!g_ascii_isalnum(*c) && !strchr("._+-", *c))
            *c = '_';
    if (*base == '-' || strcmp(base, ".") == 0 || strcmp(base, "..") == 0)
        *base = '_';
    base[MIN(strlen(base), VV_NAME_BYTES_MAX - 8)] = '\0';
    for (unsigned n = 1;; n++) {
        g_autofree char *name = n == 1 ? g_strdup(base) : g_strdup_printf("%s-%u", base, n);
        bool taken = false;

        for (unsigned i = 0; i < disks->len; i++)
            taken |= strcmp(((const VvDiskInfo *) g_ptr_array_index(disks, i))->name, name) == 0;
        if (!taken)
            return g_steal_pointer(&name);
    }
}

static bool fill_label(
    VvPool *pool, const char *path, const char *name, uint64_t now_ns, VvLabel *label, GError **error)
{
    VV_META_READ(pool->meta);
    const VvPoolInfo *info = vv_meta_pool(pool->meta);
    const GPtrArray *disks = vv_meta_disks(pool->meta);
    g_autofree char *chosen = name ? g_strdup(name) : choose_name(pool, path);

    for (unsigned i = 0; i < disks->len; i++)
        if (strcmp(((const VvDiskInfo *) g_ptr_array_index(disks, i))->name, chosen) == 0) {
            vv_set_error(error, VV_ERROR_EXISTS, chosen, "`--name N` calls it something else.",
                "pool %s has a disk %s already", info->name, chosen);
            return false;
        }
    if (disks->len >= VV_DISKS_MAX) {
        vv_set_error(error, VV_ERROR_LIMIT, path, NULL, "a pool has at most %u disks", VV_DISKS_MAX);
        return false;
    }
    *label = (VvLabel){ .pool_uuid = info->uuid, .created_ns = now_ns };
    vv_uuid_generate(&label->disk_uuid);
    g_strlcpy(label->pool_name, info->name, sizeof label->pool_name);
    g_strlcpy(label->disk_name, chosen, sizeof label->disk_name);
    return true;
}

/* Is it a disk of this pool, under whatever name? */
static bool refuse_own(VvPool *pool, const char *path, GError **error)
{
    struct stat wanted, own;

    if (vv_is_address(path)) /* its label tells */
        return true;
    if (stat(path, &wanted) < 0)
        return true;
    VV_LOCKED(&pool->disks_lock);
    for (unsigned i = 0; i < pool->disks->len; i++) {
        const VvDisk *disk = g_ptr_array_index(pool->disks, i);

        if (!disk || fstat(vv_disk_fd(disk), &own) < 0)
            continue;
        if (S_ISBLK(own.st_mode) ? !S_ISBLK(wanted.st_mode) || own.st_rdev != wanted.st_rdev
                                 : own.st_dev != wanted.st_dev || own.st_ino != wanted.st_ino)
            continue;
        vv_set_error(error, VV_ERROR_EXISTS, path, NULL, "%s is disk %s of this pool already", path,
            vv_disk_label(disk)->disk_name);
        return false;
    }
    return true;
}

static void add_disk_op(VvTransaction *tx, const VvLabel *label, const char *path)
{
    VvOp *op = vv_transaction_add(tx, VV_OP_DISK_ADD);

    op->disk_add.id = label->disk_id;
    op->disk_add.uuid = label->disk_uuid;
    op->disk_add.name = g_strdup(label->disk_name);
    op->disk_add.path = stored_path(tx->pool, path);
    op->disk_add.size_bytes = label->size_bytes;
    op->disk_add.created_ns = label->created_ns;
}

static bool disk_add_once(VvPool *pool, const char *path, uint64_t create_bytes, const char *name, bool overwrite,
    VvRequest *request, char **ret_name, GError **error)
{
    g_auto(VvTransaction) tx = VV_TRANSACTION_INIT;
    VvDiskFormat format = { .pool_directory = pool->directory,
        .mount_point = vv_pool_mount(pool),
        .overwrite = overwrite,
        .create_bytes = create_bytes };
    VvLabel label;
    VvDisk *disk;

    if (vv_is_node_address(path)) {
        vv_set_error(error, VV_ERROR_USAGE, path, "vvfs-admin disk add PATH, on that node", "%s is made by its node", path);
        return false;
    }
    if (!g_path_is_absolute(path) && !vv_is_address(path)) {
        vv_set_error(error, VV_ERROR_USAGE, path, NULL, "%s is not an absolute path", path);
        return false;
    }
    if (name && !vv_name_check(name, "disk", error))
        return false;
    if (!vv_transaction_begin(&tx, pool, request, false, error))
        return tx.repeated;
    if (!refuse_own(pool, path, error) || !fill_label(pool, path, name, tx.now_ns, &label, error))
        return false;
    label.disk_id = vv_meta_new_id(pool->meta);
    if (!vv_disk_format(path, &format, &label, error))
        return false;
    disk = vv_disk_open(path, &label.pool_uuid, &label.disk_uuid, false, 0, error);
    if (!disk) {
        vv_disk_erase_label(path, &label.disk_uuid, NULL);
        return false;
    }
    vv_pool_attach_disk(pool, label.disk_id, disk); /* D1 */
    add_disk_op(&tx, &label, path);
    if (!vv_transaction_commit(&tx, NULL, 0, path, error)) {
        vv_disk_close(vv_pool_detach_disk(pool, label.disk_id));
        vv_disk_erase_label(path, &label.disk_uuid, NULL);
        return false;
    }
    vv_alloc_space_changed(pool->alloc);
    if (ret_name)
        *ret_name = g_strdup(label.disk_name);
    return true;
}

/* ---- add what another node has made: reach.h */

static bool refuse_known(VvPool *pool, const VvFarDisk *far, GError **error)
{
    VV_META_READ(pool->meta);
    const GPtrArray *disks = vv_meta_disks(pool->meta);

    for (unsigned i = 0; i < disks->len; i++) {
        const VvDiskInfo *disk = g_ptr_array_index(disks, i);

        if (!vv_uuid_equal(&disk->uuid, &far->uuid) && strcmp(disk->path, far->path) != 0)
            continue;
        vv_set_error(error, VV_ERROR_EXISTS, far->path, NULL, "%s is disk %s of this pool already", far->path, disk->name);
        return false;
    }
    return true;
}

static bool check_far(const VvFarDisk *far, GError **error)
{
    const char *path;
    uint64_t node;

    if (far->name && !vv_name_check(far->name, "disk", error))
        return false;
    if (vv_node_address_parse(far->path, &node, &path) && far->size_bytes >= VV_DISK_BYTES_MIN && far->size_bytes <= INT64_MAX &&
        far->size_bytes % VV_BLOCK_BYTES == 0)
        return true;
    vv_set_error(error, VV_ERROR_USAGE, far->path, NULL, "%s is no disk of another node", far->path);
    return false;
}

static bool disk_adopt_once(VvPool *pool, const VvFarDisk *far, bool dry_run, VvRequest *request, char **ret_name, GError **error)
{
    g_auto(VvTransaction) tx = VV_TRANSACTION_INIT;
    VvLabel label;
    VvDisk *disk;

    if (!check_far(far, error))
        return false;
    if (!vv_transaction_begin(&tx, pool, request, dry_run, error))
        return tx.repeated;
    if ((!dry_run && !refuse_known(pool, far, error)) || !fill_label(pool, far->path, far->name, tx.now_ns, &label, error))
        return false;
    if (dry_run)
        return true;
    label.disk_id = vv_meta_new_id(pool->meta);
    label.disk_uuid = far->uuid;
    label.size_bytes = far->size_bytes;
    label.created_ns = far->created_ns;
    disk = vv_disk_open_far(pool->options.reach, far->path, &label, error);
    if (!disk)
        return false;
    vv_pool_attach_disk(pool, label.disk_id, disk); /* D1 */
    add_disk_op(&tx, &label, far->path);
    if (!vv_transaction_commit(&tx, NULL, 0, far->path, error)) {
        vv_disk_close(vv_pool_detach_disk(pool, label.disk_id));
        return false;
    }
    vv_alloc_space_changed(pool->alloc);
    *ret_name = g_strdup(label.disk_name);
    return true;
}

/* ---- grow */

static bool disk_grow_once(VvPool *pool, const char *text, uint64_t size_bytes, VvRequest *request, GError **error)
{
    g_auto(VvTransaction) tx = VV_TRANSACTION_INIT;
    VvOp *op;
    VvDisk *disk;
    uint64_t old_bytes;

    if (!vv_transaction_begin(&tx, pool, request, false, error))
        return tx.repeated;
    op = vv_transaction_add(&tx, VV_OP_DISK_SET);
    {
        VV_META_READ(pool->meta);
        const VvDiskInfo *info = vv_find_disk(pool, text, error);

        if (!info)
            return false;
        op->disk_set.id = info->id;
        op->disk_set.incarnation = info->incarnation;
        op->disk_set.state = (uint8_t) info->state;
        op->disk_set.name = g_strdup(info->name);
        op->disk_set.path = g_strdup(info->path);
        old_bytes = info->size_bytes;
    }
    disk = find_handle(pool, op->disk_set.id);
    if (!disk) {
        vv_set_error(error, VV_ERROR_IO, text, NULL, "disk %s is not there", text);
        return false;
    }
    if (size_bytes == 0)
        size_bytes = vv_disk_current_bytes(disk);
    size_bytes &= ~(uint64_t) (VV_BLOCK_BYTES - 1);
    if (size_bytes < old_bytes) {
        g_autofree char *has = vv_size_format(old_bytes);

        vv_set_error(error, VV_ERROR_UNSUPPORTED, text, NULL, "disk %s has %s and cannot be made smaller", text, has);
        return false;
    }
    if (size_bytes > old_bytes && !vv_disk_relabel(disk, size_bytes, NULL, error))
        return false;
    op->disk_set.size_bytes = size_bytes;
    if (!vv_transaction_commit(&tx, NULL, 0, text, error))
        return false;
    vv_alloc_space_changed(pool->alloc);
    return true;
}

/* ---- remove */

typedef struct {
    uint64_t id, used_bytes;
    VvUuid uuid;
    char *path; /* absolute */
    bool made_here;
    bool ended; /* chosen for a family that has ended, but is still there */
} Leaving;

static void leaving_clear(Leaving *leaving)
{
    g_free(leaving->path);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Leaving, leaving_clear)

static bool look_at(VvPool *pool, const char *text, Leaving *leaving, GError **error)
{
    VV_META_READ(pool->meta);
    const VvDiskInfo *info = vv_find_disk(pool, text, error);

    if (!info)
        return false;
    if (vv_meta_disks(pool->meta)->len == 1) {
        vv_set_error(error, VV_ERROR_BUSY, info->name, "Add another one first.", "%s is the only disk of pool %s",
            info->name, vv_meta_pool(pool->meta)->name);
        return false;
    }
    g_free(leaving->path);
    *leaving = (Leaving){ .id = info->id,
        .uuid = info->uuid,
        .path = vv_pool_disk_path(pool->directory, info->path),
        .made_here = *info->path != '/' && !vv_is_address(info->path),
        .ended = vv_is_chosen_for_ended(pool, info),
        .used_bytes = (uint64_t) (info->unit_count - info->free_unit_count) << VV_SEGMENT_SHIFT_MIN };
    return true;
}

static bool refuse_chosen(VvPool *pool, const Leaving *leaving, GError **error)
{
    VV_META_READ(pool->meta);

    return vv_refuse_chosen(pool, vv_meta_disk(pool->meta, leaving->id), error);
}

static bool refuse_used(const char *text, const Leaving *leaving, GError **error)
{
    g_autofree char *used = NULL;

    if (leaving->used_bytes == 0)
        return true;
    used = vv_size_format(leaving->used_bytes);
    vv_set_error(error, VV_ERROR_NOT_EMPTY, text, "Only an empty disk can be removed.", "disk %s holds %s of the pool",
        text, used);
    return false;
}

static bool wait_for_era(VvPool *pool)
{
    uint64_t tag = vv_era_tag(pool), deadline_ms = vv_monotonic_ms() + DRAIN_MS_MAX;

    while (!vv_era_passed(pool, tag)) {
        if (vv_monotonic_ms() >= deadline_ms)
            return false;
        g_usleep(1000);
    }
    return true;
}

static void let_go(VvPool *pool, const Leaving *leaving)
{
    VvDisk *disk = vv_pool_detach_disk(pool, leaving->id);
    g_autoptr(GError) error = NULL;

    if (!wait_for_era(pool)) {
        vv_log(VV_LOG_WARNING, "%s is removed from the pool, but I/O on it does not end: it stays open", leaving->path);
        return;
    }
    vv_disk_close(disk); /* NULL: it was not there */
    if (vv_is_node_address(leaving->path))
        return; /* its node erases it: R2 of reach.h */
    if (!vv_disk_erase_label(leaving->path, &leaving->uuid, &error))
        vv_log(VV_LOG_WARNING, "the label of %s is still there: %s", leaving->path, error->message);
    else if (leaving->made_here && unlink(leaving->path) < 0)
        vv_log(VV_LOG_WARNING, "%s could not be removed", leaving->path);
}

static bool disk_remove_once(VvPool *pool, const char *text, bool dry_run, VvRequest *request, GError **error)
{
    g_auto(VvTransaction) tx = VV_TRANSACTION_INIT;
    g_auto(Leaving) leaving = { 0 };
    VvOp *op;
    bool ok;

    if (!vv_transaction_begin(&tx, pool, request, dry_run, error))
        return tx.repeated;
    if (!look_at(pool, text, &leaving, error) || (!leaving.ended && !refuse_chosen(pool, &leaving, error)))
        return false;
    while (!dry_run && (leaving.used_bytes > 0 || leaving.ended) && vv_give_back_all(pool))
        ;
    pthread_mutex_lock(&pool->grant_lock); /* from here on nobody takes space on it */
    ok = look_at(pool, text, &leaving, error) && refuse_chosen(pool, &leaving, error) &&
         refuse_used(text, &leaving, error);
    if (ok && !dry_run) {
        op = vv_transaction_add(&tx, VV_OP_DISK_REMOVE);
        op->disk_remove.id = leaving.id;
        ok = vv_transaction_commit(&tx, NULL, 0, text, error);
    }
    pthread_mutex_unlock(&pool->grant_lock);
    if (ok && !dry_run)
        let_go(pool, &leaving);
    return ok;
}

/* ---- until they are decided: another node may have changed something while they looked */

bool vv_pool_disk_add(VvPool *pool, const char *path, uint64_t create_bytes, const char *name, bool overwrite,
    VvRequest *request, char **ret_name, GError **error)
{
    VV_UNTIL_DECIDED(
        error, disk_add_once(pool, path, create_bytes, name, overwrite, request, ret_name, &failure));
}

bool vv_pool_disk_adopt(VvPool *pool, const VvFarDisk *disk, bool dry_run, VvRequest *request, char **ret_name, GError **error)
{
    VV_UNTIL_DECIDED(error, disk_adopt_once(pool, disk, dry_run, request, ret_name, &failure));
}

bool vv_pool_disk_grow(VvPool *pool, const char *text, uint64_t size_bytes, VvRequest *request, GError **error)
{
    VV_UNTIL_DECIDED(error, disk_grow_once(pool, text, size_bytes, request, &failure));
}

bool vv_pool_disk_remove(VvPool *pool, const char *text, bool dry_run, VvRequest *request, GError **error)
{
    VV_UNTIL_DECIDED(error, disk_remove_once(pool, text, dry_run, request, &failure));
}
