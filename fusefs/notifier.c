/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Telling the kernel what changed behind its back. The pool's hooks queue notices; one thread delivers them, because a
 * notification may wait for the kernel's own locks, which requests that we serve may hold.
 *
 *     notice     what the kernel is told                                        who waits for it
 *     changed    attributes of the object (a LUN: of its folder and snapshots     the command that changed it, at most
 *                too) are old; of an open LUN: its size, by a stat through the    VV_NOTICE_WAIT_MS
 *                mount, since loop devices look at the inode
 *     content    pages of the object are old                                     the same
 *     removed    attributes of the object, of its folder and of luns/ and         the same
 *                snapshots/ are old
 *     all        all of it, for every LUN: what changed is not known any more     nobody
 *
 * What entries of other nodes of a cluster changed comes as news (news.h): a thread of the engine queues it and waits until the kernel knows, for the
 * node that made the change waits for that. Sizes of open LUNs are told later then (N4).
 *
 * Names need no notice: the kernel looks every name of an object up again (entry_timeout 0), save those of snapshots and
 * their folders that were listed in the last VV_LISTED_TIMEOUT_MS. A removed one's attributes are old, asking for them gives ESTALE, and that makes the
 * kernel look the name up; a changed one (it may have been renamed) is delivered when all listings before it have expired.
 *
 * N1  Nobody who answers a request of the mount waits here: the request may hold what the delivery needs.
 * N2  The stat goes by path and takes no lasting reference on the mount: umount never finds it busy for long.
 * N3  Another process makes it (looker.h): a thread of ours that waited for the mount could not be killed.
 * N4  Who tells news waits for no stat: that may wait for locks that an operation of this mount holds, which may wait for another node. */
#include "base.h"
#include "news.h"
#include "nodes.h"

#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#define LOOKER_POLL_MS 50

typedef struct {
    VvNoticeKind kind;
    uint64_t id;
    bool news; /* N4 */
} VvNotice;

/* ---- delivery: the notifier's thread */

static void attributes_are_old(VvFuse *fuse, uint64_t node)
{
    (void) fuse_lowlevel_notify_inval_inode(fuse->session, node, -1, 0); /* ENOENT: the kernel does not know it */
}

/* Until the looker has looked, at most VV_NOTICE_WAIT_MS: then it waits for somebody who waits for us, and its answer is thrown
 * away before the next question. */
static void await_looker(VvFuse *fuse)
{
    char answer;
    for (uint64_t until_ms = vv_monotonic_ms() + VV_NOTICE_WAIT_MS; vv_monotonic_ms() < until_ms;) {
        struct pollfd poll_fd = { .fd = fuse->looker_fd, .events = POLLIN };
        if (poll(&poll_fd, 1, LOOKER_POLL_MS) > 0) {
            (void) !recv(fuse->looker_fd, &answer, 1, MSG_DONTWAIT);
            return;
        }
        if (atomic_load(&fuse->detached) || atomic_load(&fuse->takeover.leaving))
            return;
    }
}

/* The kernel's inode learns size and times of an open file only from an answer. N2, N3 */
static void teach_size(VvFuse *fuse, const char *lun)
{
    g_autofree char *path = g_strconcat(fuse->mount_point, "/luns/", lun, NULL);
    char late;
    if (atomic_load(&fuse->detached) || fuse->looker_fd < 0)
        return;
    while (recv(fuse->looker_fd, &late, 1, MSG_DONTWAIT) == 1)
        continue;
    if (send(fuse->looker_fd, path, strlen(path), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
        vv_log(VV_LOG_DEBUG, "the size of %s could not be told to the kernel: %s", lun, g_strerror(errno));
    else
        await_looker(fuse);
}

static GArray *family_of_nodes(VvFuse *fuse, uint64_t id)
{
    GArray *nodes = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    g_array_append_val(nodes, id);
    vv_meta_read_lock(fuse->meta);
    const VvLun *lun = vv_meta_lun(fuse->meta, id);
    if (lun) {
        uint64_t folder = id | VV_NODE_FOLDER;
        g_array_append_val(nodes, folder);
        for (unsigned i = 0; i < lun->snapshots->len; i++) {
            const VvSnapshot *snapshot = g_ptr_array_index(lun->snapshots, i);
            g_array_append_val(nodes, snapshot->id);
        }
    }
    vv_meta_read_unlock(fuse->meta);
    return nodes;
}

/* Until no name that was listed before now is believed any more. */
static void outlive_listings(VvFuse *fuse)
{
    VvNotifier *notifier = &fuse->notifier;
    uint64_t now_ms = vv_coarse_ms(),
             until_ms = atomic_load(&fuse->listed_ms) + VV_LISTED_TIMEOUT_MS + 20; /* the clocks' grain */
    if (until_ms <= now_ms)
        return;
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    uint64_t ns = (uint64_t) until.tv_nsec + (until_ms - now_ms) * 1000000u;
    until.tv_sec += (time_t) (ns / 1000000000u);
    until.tv_nsec = (long) (ns % 1000000000u);
    VV_LOCKED(&notifier->lock);
    while (!notifier->stopping && pthread_cond_timedwait(&notifier->changed, &notifier->lock, &until) != ETIMEDOUT)
        ;
}

/* The folder that the snapshot is in: its times are those of its names. */
static void folder_is_old(VvFuse *fuse, const VvObjectName *name)
{
    if (name->snapshot)
        attributes_are_old(fuse, name->lun_id | VV_NODE_FOLDER);
}

static void directories_are_old(VvFuse *fuse)
{
    attributes_are_old(fuse, VV_NODE_LUNS);
    attributes_are_old(fuse, VV_NODE_SNAPSHOTS);
}

/* What is believed of snapshots is outlived. */
static void all_is_old(VvFuse *fuse)
{
    vv_meta_read_lock(fuse->meta);
    GPtrArray *luns = vv_meta_luns(fuse->meta);
    g_autofree uint64_t *ids = g_new(uint64_t, luns->len + 1);
    unsigned count = luns->len;
    for (unsigned i = 0; i < count; i++)
        ids[i] = ((const VvLun *) g_ptr_array_index(luns, i))->id;
    vv_meta_read_unlock(fuse->meta);
    for (unsigned i = 0; i < count; i++) {
        (void) fuse_lowlevel_notify_inval_inode(fuse->session, ids[i], 0, 0);
        attributes_are_old(fuse, ids[i] | VV_NODE_FOLDER);
    }
    directories_are_old(fuse);
    outlive_listings(fuse);
}

static void family_is_old(VvFuse *fuse, uint64_t id)
{
    g_auto(VvObjectName) name = { 0 };
    GArray *nodes = family_of_nodes(fuse, id);
    for (unsigned i = 0; i < nodes->len; i++)
        attributes_are_old(fuse, g_array_index(nodes, uint64_t, i));
    g_array_unref(nodes);
    directories_are_old(fuse);
    if (!vv_node_object_name(fuse, id, &name))
        return;
    folder_is_old(fuse, &name);
    outlive_listings(fuse);
}

static void deliver(VvFuse *fuse, const VvNotice *notice)
{
    switch (notice->kind) {
    case VV_NOTICE_CONTENT:
        (void) fuse_lowlevel_notify_inval_inode(fuse->session, notice->id, 0, 0);
        return;
    case VV_NOTICE_REMOVED:
        attributes_are_old(fuse, notice->id);
        attributes_are_old(fuse, notice->id | VV_NODE_FOLDER); /* a LUN's: its successor has one of that name */
        directories_are_old(fuse);
        return;
    case VV_NOTICE_ALL:
        all_is_old(fuse);
        return;
    case VV_NOTICE_CHANGED:
        family_is_old(fuse, notice->id);
        return;
    }
}

static void teach(VvFuse *fuse, const VvNotice *notice)
{
    g_auto(VvObjectName) name = { 0 };
    if (notice->kind == VV_NOTICE_CHANGED && vv_node_object_name(fuse, notice->id, &name) && !name.snapshot && !name.orphan &&
        vv_handles_is_open(&fuse->handles, notice->id))
        teach_size(fuse, name.name);
}

/* Lock held, and let go meanwhile. False: there was nothing to do. */
static bool work(VvFuse *fuse)
{
    VvNotifier *notifier = &fuse->notifier;
    VvNotice *notice = g_queue_pop_head(&notifier->queue), *late = notice ? NULL : g_queue_pop_head(&notifier->late);
    bool waits = notice && notice->news && notice->kind == VV_NOTICE_CHANGED && g_queue_get_length(&notifier->late) < VV_NOTICES_MAX;
    if (notice == NULL && late == NULL)
        return false;
    pthread_mutex_unlock(&notifier->lock);
    if (notice)
        deliver(fuse, notice);
    if (!waits)
        teach(fuse, notice ? notice : late);
    pthread_mutex_lock(&notifier->lock);
    if (waits)
        g_queue_push_tail(&notifier->late, notice);
    else
        g_free(notice ? notice : late);
    if (notice) {
        notifier->done++;
        pthread_cond_broadcast(&notifier->changed);
    }
    return true;
}

static void *notify(void *user)
{
    VvFuse *fuse = user;
    VvNotifier *notifier = &fuse->notifier;
    pthread_setname_np(pthread_self(), "vvfs-notifier");
    pthread_mutex_lock(&notifier->lock);
    while (!notifier->stopping)
        if (!work(fuse))
            pthread_cond_wait(&notifier->changed, &notifier->lock);
    pthread_mutex_unlock(&notifier->lock);
    return NULL;
}

/* ---- notices: any thread */

/* Lock held. The notice's number; 0: it was not taken. */
static uint64_t push(VvNotifier *notifier, VvNoticeKind kind, uint64_t id, bool news)
{
    if (!notifier->running || notifier->stopping || g_queue_get_length(&notifier->queue) >= VV_NOTICES_MAX)
        return 0;
    VvNotice *notice = g_new(VvNotice, 1);
    *notice = (VvNotice){ kind, id, news };
    g_queue_push_tail(&notifier->queue, notice);
    pthread_cond_broadcast(&notifier->changed);
    return ++notifier->queued;
}

/* Lock held. Until notice @number is delivered. */
static void await_done(VvNotifier *notifier, uint64_t number)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += VV_NOTICE_WAIT_MS / 1000;
    while (notifier->done < number && !notifier->stopping) {
        if (pthread_cond_timedwait(&notifier->changed, &notifier->lock, &until) == ETIMEDOUT) {
            vv_log(VV_LOG_WARNING, "the kernel was not told of a change within %u ms", VV_NOTICE_WAIT_MS);
            return;
        }
    }
}

static void queue_notice(VvFuse *fuse, VvNoticeKind kind, uint64_t id, bool wait)
{
    VvNotifier *notifier = &fuse->notifier;
    VV_LOCKED(&notifier->lock);
    uint64_t number = push(notifier, kind, id, false);
    if (number != 0 && wait && !vv_in_request) /* N1 */
        await_done(notifier, number);
}

/* The engine's thread of news. */
static void news_told(void *user, const VvNewsItem *items, unsigned count, bool all)
{
    static const VvNoticeKind kinds[] = {
        [VV_NEWS_CHANGED] = VV_NOTICE_CHANGED, [VV_NEWS_CONTENT] = VV_NOTICE_CONTENT, [VV_NEWS_REMOVED] = VV_NOTICE_REMOVED
    };
    VvFuse *fuse = user;
    VvNotifier *notifier = &fuse->notifier;
    uint64_t number = 0;
    atomic_store(&fuse->changed_ns, vv_now_ns());
    VV_LOCKED(&notifier->lock);
    for (unsigned i = 0; i < count; i++)
        number = MAX(number, push(notifier, kinds[items[i].kind], items[i].object, true));
    if (all)
        number = MAX(number, push(notifier, VV_NOTICE_ALL, 0, true));
    await_done(notifier, number);
}

void vv_notify(VvFuse *fuse, VvNoticeKind kind, uint64_t object_id)
{
    queue_notice(fuse, kind, object_id, false);
}

static void object_changed(void *user, uint64_t object_id)
{
    VvFuse *fuse = user;
    atomic_store(&fuse->changed_ns, vv_now_ns());
    queue_notice(fuse, VV_NOTICE_CHANGED, object_id, true);
}

static void object_removed(void *user, uint64_t object_id)
{
    VvFuse *fuse = user;
    atomic_store(&fuse->changed_ns, vv_now_ns());
    queue_notice(fuse, VV_NOTICE_REMOVED, object_id, true);
}

static void content_changed(void *user, uint64_t lun_id)
{
    queue_notice(user, VV_NOTICE_CONTENT, lun_id, true);
}

/* ---- life */

void vv_notifier_start(VvFuse *fuse)
{
    static const VvPoolHooks hooks = {
        .object_changed = object_changed,
        .object_removed = object_removed,
        .content_changed = content_changed,
    };
    VvNotifier *notifier = &fuse->notifier;
    vv_pool_set_hooks(fuse->pool, &hooks, fuse);
    vv_pool_set_news(fuse->pool, news_told, fuse);
    int rc = pthread_create(&notifier->thread, NULL, notify, fuse);
    pthread_mutex_lock(&notifier->lock);
    notifier->running = rc == 0;
    if (fuse->takeover.adopts && vv_meta_is_cluster(fuse->meta)) /* the map went on while nobody told this kernel */
        (void) push(notifier, VV_NOTICE_ALL, 0, true);
    pthread_mutex_unlock(&notifier->lock);
    if (rc != 0)
        vv_log(VV_LOG_WARNING, "no thread to tell the kernel of changes: %s", g_strerror(rc));
}

void vv_notifier_stop(VvFuse *fuse)
{
    static const VvPoolHooks none = { 0 };
    VvNotifier *notifier = &fuse->notifier;
    vv_pool_set_hooks(fuse->pool, &none, NULL);
    pthread_mutex_lock(&notifier->lock);
    bool running = notifier->running;
    notifier->stopping = true;
    pthread_cond_broadcast(&notifier->changed);
    pthread_mutex_unlock(&notifier->lock);
    vv_pool_set_news(fuse->pool, NULL, NULL);
    if (running)
        pthread_join(notifier->thread, NULL);
    pthread_mutex_lock(&notifier->lock);
    notifier->running = notifier->stopping = false;
    g_queue_clear_full(&notifier->queue, g_free);
    g_queue_clear_full(&notifier->late, g_free);
    pthread_mutex_unlock(&notifier->lock);
}
