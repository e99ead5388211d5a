/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Openers: the handles on an object, each with its process and, where that is a loop device, the device and what is mounted
 * from it. */
#include "openers.h"

#include "pool_private.h"
#include "sharing.h"
#include "transaction.h"

#include <string.h>

#define RELEASE_WAIT_MS 1000u
#define RELEASE_POLL_US 2000
#define CLAIM_TRIES 8u /* somebody closes it each time, and somebody else opens it */

void vv_opener_free(VvOpener *opener)
{
    if (!opener)
        return;
    g_free(opener->process);
    g_free(opener->device);
    g_free(opener->mountpoint);
    g_free(opener);
}

struct VvMountInfo {
    pthread_mutex_t lock; /* a leaf */
    char *path;           /* lives until the pool is closed: borrowed by callers */
    GPtrArray *old_paths;
};

struct VvMountInfo *vv_mount_info_new(void)
{
    struct VvMountInfo *mount = g_new0(struct VvMountInfo, 1);

    pthread_mutex_init(&mount->lock, NULL);
    mount->old_paths = g_ptr_array_new_with_free_func(g_free);
    return mount;
}

void vv_mount_info_free(struct VvMountInfo *mount)
{
    if (!mount)
        return;
    g_ptr_array_unref(mount->old_paths);
    g_free(mount->path);
    pthread_mutex_destroy(&mount->lock);
    g_free(mount);
}

void vv_pool_set_mount(VvPool *pool, const char *mount_point)
{
    VV_LOCKED(&pool->mount->lock);
    if (pool->mount->path)
        g_ptr_array_add(pool->mount->old_paths, pool->mount->path);
    pool->mount->path = g_strdup(mount_point);
    if (pool->mount->path)
        while (strlen(pool->mount->path) > 1 && g_str_has_suffix(pool->mount->path, "/"))
            pool->mount->path[strlen(pool->mount->path) - 1] = '\0';
}

const char *vv_pool_mount(const VvPool *pool)
{
    VV_LOCKED(&pool->mount->lock);
    return pool->mount->path;
}

/* Where the object is in the mount, or NULL. */
static char *object_path(VvPool *pool, uint64_t id)
{
    const char *mount = vv_pool_mount(pool);
    VV_META_READ(pool->meta);
    const VvLun *lun = vv_meta_lun(pool->meta, id);
    const VvSnapshot *snapshot = lun ? NULL : vv_meta_snapshot(pool->meta, id);

    if (!mount)
        return NULL;
    if (lun)
        return *lun->name ? g_strdup_printf("%s/luns/%s", mount, lun->name) : NULL;
    lun = snapshot && *snapshot->name ? vv_meta_lun(pool->meta, snapshot->lun) : NULL;
    return lun ? g_strdup_printf("%s/snapshots/%s/%s", mount, lun->name, snapshot->name) : NULL;
}

bool vv_pool_is_open(VvPool *pool, uint64_t object_id, bool write_only, bool internal_too)
{
    VvView *view;
    bool open = false;

    VV_LOCKED(&pool->views_lock);
    view = g_hash_table_lookup(pool->views, &object_id);
    if (!view)
        return false;
    VV_LOCKED(&view->lock);
    for (GList *i = view->handles.head; i; i = i->next) {
        const VvHandle *handle = i->data;

        if (write_only && vv_handle_is_revoked(handle)) /* it writes nothing any more */
            continue;
        open |= (handle->write || !write_only) && (!handle->internal || internal_too);
    }
    return open;
}

/* Handles as openers without names, oldest first. */
static GPtrArray *copy_handles(VvPool *pool, uint64_t object_id)
{
    GPtrArray *openers = g_ptr_array_new_with_free_func((GDestroyNotify) vv_opener_free);
    VvView *view;

    VV_LOCKED(&pool->views_lock);
    view = g_hash_table_lookup(pool->views, &object_id);
    if (!view)
        return openers;
    VV_LOCKED(&view->lock);
    for (GList *i = view->handles.head; i; i = i->next) {
        const VvHandle *handle = i->data;
        VvOpener *opener;

        if (handle->internal || vv_handle_is_revoked(handle))
            continue;
        opener = g_new0(VvOpener, 1);
        opener->node = handle->node;
        opener->pid = handle->pid;
        opener->write = handle->write;
        g_ptr_array_add(openers, opener);
    }
    return openers;
}

/* The handle that a loop device most likely has: of the same mode, and whose process does not have the file itself. */
static VvOpener *handle_of_loop(GPtrArray *openers, const VvLoop *loop, const char *path)
{
    for (unsigned pass = 0; pass < 2; pass++)
        for (unsigned i = 0; i < openers->len; i++) {
            VvOpener *opener = g_ptr_array_index(openers, i);

            if (opener->node || opener->device || (pass == 0 && opener->write != loop->write) ||
                vv_process_has_open("/proc", opener->pid, path))
                continue;
            return opener;
        }
    return NULL;
}

GPtrArray *vv_pool_openers(VvPool *pool, uint64_t object_id)
{
    GPtrArray *openers = copy_handles(pool, object_id);
    g_autofree char *path = openers->len > 0 ? object_path(pool, object_id) : NULL;
    g_autoptr(GPtrArray) loops = path ? vv_loops_find("/sys", "/proc", path) : NULL;

    for (unsigned i = 0; loops && i < loops->len; i++) {
        VvLoop *loop = g_ptr_array_index(loops, i);
        VvOpener *opener = handle_of_loop(openers, loop, path);

        if (!opener)
            continue; /* its handle is closed already, or of another mount at the same place */
        opener->device = g_steal_pointer(&loop->device);
        opener->mountpoint = loop->mountpoint ? g_steal_pointer(&loop->mountpoint) : g_steal_pointer(&loop->holder);
    }
    for (unsigned i = 0; i < openers->len; i++) {
        VvOpener *opener = g_ptr_array_index(openers, i);

        if (opener->node) /* its processes are not known here */
            continue;
        opener->process = vv_process_name("/proc", opener->pid);
        if (!opener->process)
            opener->pid = 0; /* gone: the number may soon be another's */
    }
    return openers;
}

/* Has every writer (with @readers everybody) a process or a device that still has the file? */
static bool are_explained(const GPtrArray *openers, bool readers, const char *path)
{
    for (unsigned i = 0; i < openers->len; i++) {
        const VvOpener *opener = g_ptr_array_index(openers, i);

        if ((opener->write || readers) && !opener->node && !opener->device && !(opener->process && vv_process_has_open("/proc", opener->pid, path)))
            return false;
    }
    return true;
}

static GPtrArray *openers_left(VvPool *pool, uint64_t object_id, bool readers)
{
    uint64_t deadline_ms = vv_monotonic_ms() + RELEASE_WAIT_MS;
    g_autofree char *path = object_path(pool, object_id);
    GPtrArray *openers = vv_pool_openers(pool, object_id);

    while (path && !are_explained(openers, readers, path) && vv_monotonic_ms() < deadline_ms) {
        g_ptr_array_unref(openers);
        g_usleep(RELEASE_POLL_US);
        openers = vv_pool_openers(pool, object_id);
    }
    return openers;
}

GPtrArray *vv_pool_openers_left(VvPool *pool, uint64_t object_id)
{
    return openers_left(pool, object_id, false);
}

/* ---- the refusal */

static unsigned weight(const VvOpener *opener)
{
    return (opener->write ? 4u : 0u) + (opener->mountpoint ? 2u : 0u) + (opener->device ? 1u : 0u);
}

static char *describe(const VvOpener *opener)
{
    if (opener->device && g_strcmp0(opener->mountpoint, "[SWAP]") == 0)
        return g_strdup_printf("%s, used as swap", opener->device);
    if (opener->device && opener->mountpoint && *opener->mountpoint != '/')
        return g_strdup_printf("%s, held by %s", opener->device, opener->mountpoint);
    if (opener->device && opener->mountpoint)
        return g_strdup_printf("%s, mounted at %s", opener->device, opener->mountpoint);
    if (opener->device)
        return g_strdup(opener->device);
    if (opener->process)
        return g_strdup_printf("%s (pid %d)", opener->process, (int) opener->pid);
    if (opener->node && opener->pid > 0)
        return g_strdup_printf("pid %d", (int) opener->pid);
    return g_strdup(opener->node ? "a process of that node" : "a process that has ended, or another mount");
}

static char *make_hint(const VvOpener *opener, const char *name, bool restore)
{
    if (opener->device && opener->mountpoint)
        return restore ? g_strdup_printf("Unmount it and `vvfs-admin lun detach %s`; `--force` restores under the "
                                         "mounted file system and "
                                         "will damage it.",
                             name)
                       : g_strdup_printf("Unmount it and `vvfs-admin lun detach %s`.", name);
    if (opener->device)
        return restore
                   ? g_strdup_printf(
                         "`vvfs-admin lun detach %s`, or `--force` restores under the open device and will damage what "
                         "uses it.",
                         name)
                   : g_strdup_printf("vvfs-admin lun detach %s", name);
    return g_strdup(restore ? "Close it, or `--force` restores under it and will damage what it holds." : "Close it.");
}

/* False: nobody is left. */
static bool set_open_for_writing(VvPool *pool, uint64_t lun_id, const char *name, bool restore, GError **error)
{
    g_autoptr(GPtrArray) openers = NULL;
    g_autofree char *what = NULL, *hint = NULL, *node = NULL;
    const VvOpener *worst = NULL;

    openers = vv_pool_openers_left(pool, lun_id);
    for (unsigned i = 0; i < openers->len; i++) {
        const VvOpener *opener = g_ptr_array_index(openers, i);

        if (opener->write && (!worst || weight(opener) > weight(worst)))
            worst = opener;
    }
    if (!worst)
        return false;
    what = describe(worst);
    node = vv_pool_node_name(pool, worst->node);
    hint = make_hint(worst, name, restore);
    vv_set_error(error, VV_ERROR_BUSY, name, hint, "%s is open for writing on %s: %s", name, node, what);
    return true;
}

bool vv_transaction_claim_from_writers(
    VvTransaction *tx, uint64_t lun_id, VvClaim claim, const char *name, bool restore, GError **error)
{
    for (unsigned try = 0; try < CLAIM_TRIES; try++) {
        if (vv_transaction_claim(tx, lun_id, claim))
            return true;
        if (set_open_for_writing(tx->pool, lun_id, name, restore, error))
            return false;
    }
    vv_set_error(error, VV_ERROR_BUSY, name, "Try again.", "%s is opened for writing all the time", name);
    return false;
}

static const VvOpener *find_worst(const GPtrArray *openers, VvOpenerJudge may, void *user)
{
    const VvOpener *worst = NULL;

    for (unsigned i = 0; i < openers->len; i++) {
        const VvOpener *opener = g_ptr_array_index(openers, i);

        if (!may(user, opener) && (!worst || weight(opener) > weight(worst)))
            worst = opener;
    }
    return worst;
}

bool vv_refuse_openers(VvPool *pool, uint64_t object_id, VvOpenerJudge may, void *user, const char *hint, GError **error)
{
    g_autoptr(GPtrArray) openers = copy_handles(pool, object_id);
    g_autofree char *what = NULL, *node = NULL, *name = NULL;
    const VvOpener *worst = find_worst(openers, may, user);

    if (!worst)
        return true;
    g_ptr_array_unref(openers);
    openers = openers_left(pool, object_id, true);
    worst = find_worst(openers, may, user);
    if (!worst)
        return true;
    what = describe(worst);
    node = vv_pool_node_name(pool, worst->node);
    name = vv_object_name(pool, object_id);
    vv_set_error(error, VV_ERROR_BUSY, name, hint, "%s is open on %s: %s, %s", name, node, what, worst->write ? "read-write" : "read-only");
    return false;
}
