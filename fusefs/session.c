/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The session: mounting, the threads that serve, ending.
 *
 * One libfuse session serves any number of cloned descriptors: what libfuse sends goes through a hook that picks the
 * descriptor of the request that the thread is answering. Each worker has two clones, one that it may sleep in and one that
 * it polls (worker.h). INIT is answered before there are clones.
 *
 * The connection lives as long as one descriptor of it is open, and ends when the kernel has no use for the mount left
 * (umount and last close) or aborts it: every reader gets ENODEV then. */
#include "nodes.h"
#include "uring.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/vfs.h>

#define FUSE_CTL_SUPER_MAGIC 0x65735543

__thread VvSlot *vv_reply_slot;
__thread int vv_reply_fd = -1;
static __thread bool answering_init, replaying_init;
__thread bool vv_in_request;
__thread uint64_t vv_request_unique;
__thread bool vv_request_again;

static ssize_t send_iov(int fd, struct iovec *iov, int count, void *user)
{
    (void) fd;
    const VvFuse *fuse = user;
    const struct fuse_out_header *out = iov[0].iov_base;
    if (replaying_init || (out->unique != 0 && vv_takeover_swallows(fuse, out->error)))
        return (ssize_t) out->len;
    if (vv_reply_slot && out->unique != 0) { /* 0: a notification */
        vv_uring_reply(g_steal_pointer(&vv_reply_slot), out->unique, out->error, iov + 1, count - 1);
        return (ssize_t) out->len;
    }
    if (answering_init && fuse->uring && count == 2 && iov[1].iov_len == sizeof(struct fuse_init_out))
        vv_uring_accept(iov[1].iov_base);
    return writev(vv_reply_fd >= 0 ? vv_reply_fd : fuse->root_fd, iov, count);
}

/* libfuse wants one; we read by ourselves. */
static ssize_t receive(int fd, void *buffer, size_t length_bytes, void *user)
{
    (void) user;
    return read(fd, buffer, length_bytes);
}

void vv_process(VvFuse *fuse, VvSlot *slot, int fd, const void *request, size_t length_bytes)
{
    const struct fuse_in_header *header = request;
    uint64_t unique = header->unique;
    vv_request_unique = unique & ~VV_RESENT_BIT;
    vv_request_again = unique & VV_RESENT_BIT;
    struct fuse_buf buffer = { .mem = (void *) request, .size = length_bytes };
    vv_reply_slot = slot;
    vv_reply_fd = fd;
    vv_in_request = true;
    fuse_session_process_buf(fuse->session, &buffer);
    vv_in_request = false;
    vv_reply_fd = -1;
    if (vv_reply_slot) /* nothing was said, and the entry would be lost */
        vv_uring_reply(g_steal_pointer(&vv_reply_slot), unique, -EIO, NULL, 0);
}

/* ---- what libfuse says: its last words become the GError's */

static __thread char last_words[512];

static void log_libfuse(enum fuse_log_level level, const char *format, va_list args) G_GNUC_PRINTF(2, 0);
static void log_libfuse(enum fuse_log_level level, const char *format, va_list args)
{
    char text[sizeof last_words];
    vsnprintf(text, sizeof text, format, args);
    g_strchomp(text);
    if (text[0] == '\0')
        return;
    g_strlcpy(last_words, text, sizeof last_words);
    vv_log(level <= FUSE_LOG_ERR ? VV_LOG_INFO : VV_LOG_DEBUG, "%s", text);
}

static void set_libfuse_error(GError **error, VvErrorCode code, const char *object, const char *what)
{
    vv_set_error(error, code, object, NULL, "%s%s%s", what, last_words[0] ? ": " : "", last_words);
}

/* ---- making */

/* fsname and other values stand in a list: its separator and its escape are escaped. */
static void append_option(GString *options, const char *name, const char *value)
{
    if (options->len)
        g_string_append_c(options, ',');
    g_string_append(options, name);
    for (const char *p = value; p && *p; p++) {
        if (*p == ',' || *p == '\\')
            g_string_append_c(options, '\\');
        g_string_append_c(options, *p);
    }
}

static bool make_session(VvFuse *fuse, const VvFuseOptions *options, GError **error)
{
    g_autoptr(GString) words = g_string_new(NULL);
    append_option(words, "default_permissions", NULL);
    append_option(words, "subtype=vvfs", NULL);
    append_option(words, "fsname=", vv_pool_directory(fuse->pool));
    if (options->allow_other)
        append_option(words, "allow_other", NULL);
    if (fuse->read_only)
        append_option(words, "ro", NULL);
    for (const char *const *word = options->extra; word && *word; word++)
        append_option(words, *word, NULL);
    struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
    if (fuse_opt_add_arg(&args, "vvfs") < 0 || fuse_opt_add_arg(&args, "-o") < 0 ||
        fuse_opt_add_arg(&args, words->str) < 0)
        g_error("no memory for mount options");
    last_words[0] = '\0';
    fuse_set_log_func(log_libfuse);
    fuse->session = fuse_session_new(&args, &vv_fuse_operations, sizeof vv_fuse_operations, fuse);
    fuse_opt_free_args(&args);
    if (fuse->session == NULL)
        set_libfuse_error(error, VV_ERROR_USAGE, NULL, "mount options");
    return fuse->session != NULL;
}

static bool make_server(VvFuse *fuse, bool wide, uint64_t share_bytes, GError **error)
{
    VvServer *server = &fuse->servers[fuse->server_count];
    server->fuse = fuse;
    server->index = fuse->server_count;
    server->blocking_fd = server->nonblocking_fd = -1;
    /* The number of the pool's own worker is not ours. */
    server->worker = vv_worker_new(server->index < VV_WORKERS_MAX ? server->index : VV_WORKERS_MAX + 1, wide, error);
    if (server->worker == NULL)
        return false;
    fuse->server_count++;
    if (!vv_slots_init(&server->slots, fuse, share_bytes)) {
        vv_set_error_errno(error, ENOMEM, NULL, "no memory for worker %u", server->index);
        return false;
    }
    return true;
}

size_t vv_fuse_lock_memory(VvFuse *fuse)
{
    size_t bytes = 0;
    for (unsigned i = 0; i < fuse->server_count; i++)
        bytes += vv_slots_lock(&fuse->servers[i].slots);
    return bytes;
}

static void say_no_ring(const char *why)
{
    vv_log(VV_LOG_WARNING, "option ring: %s. Requests go through /dev/fuse instead", why);
}

static bool make_servers(VvFuse *fuse, unsigned threads, bool ring, GError **error)
{
    const char *why;
    vv_quota_init(fuse, 0);
    unsigned wanted = threads ? threads : g_get_num_processors();
    wanted = CLAMP(wanted, 1, VV_WORKERS_MAX);
    fuse->uring = ring && vv_uring_is_possible(&why);
    if (ring && !fuse->uring)
        say_no_ring(why);
    if (fuse->uring) {
        fuse->queue_count = vv_uring_queue_count();
        wanted = MIN(wanted, fuse->queue_count);
        fuse->ring_count = wanted;
        vv_quota_init(fuse, vv_uring_entries_per_queue(fuse->queue_count));
    }
    uint64_t share_bytes = VV_RUNNING_BYTES_MAX / (fuse->uring ? wanted + 1 : wanted);
    for (unsigned i = 0; i < wanted; i++)
        if (!make_server(fuse, fuse->uring, share_bytes, error))
            return false;
    return !fuse->uring || make_server(fuse, false, share_bytes, error);
}

static void clear_server(VvServer *server)
{
    vv_close_fd(&server->blocking_fd);
    vv_close_fd(&server->nonblocking_fd);
    vv_worker_free(server->worker);
    vv_slots_clear(&server->slots);
}

/* The kernel does not offer rings: their servers read /dev/fuse, and nobody else has to. */
static void do_without_rings(VvFuse *fuse)
{
    say_no_ring("the kernel does not offer it");
    clear_server(&fuse->servers[--fuse->server_count]);
    fuse->uring = false;
    fuse->ring_count = fuse->queue_count = 0;
    vv_quota_init(fuse, 0);
}

static void run_operation(void *user, VvOperation *operation)
{
    const VvFuse *fuse = user;
    if (vv_takeover_swallows(fuse, -EIO)) /* not begun: the successor's */
        return;
    vv_process(user, operation->slot, operation->fd, operation->request, operation->length_bytes);
}

static void init_waiting(pthread_mutex_t *lock, pthread_cond_t *condition)
{
    pthread_condattr_t attributes;
    pthread_mutex_init(lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(condition, &attributes);
    pthread_condattr_destroy(&attributes);
}

VvFuse *vv_fuse_new(VvPool *pool, const VvFuseOptions *options, GError **error)
{
    /* Of a mount that stands, looking at its directory would ask ourselves. */
    g_autofree char *mount_point = options->adopt ? NULL : realpath(options->mount_point, NULL);
    if (options->adopt == NULL && (mount_point == NULL || !g_file_test(mount_point, G_FILE_TEST_IS_DIR))) {
        vv_set_error_errno(
            error, mount_point ? ENOTDIR : errno, options->mount_point, "mount point %s", options->mount_point);
        return NULL;
    }
    VvFuse *fuse = g_new0(VvFuse, 1);
    fuse->pool = pool;
    fuse->meta = vv_pool_meta(pool);
    fuse->mount_point = g_strdup(mount_point ? mount_point : options->mount_point);
    fuse->read_only = options->read_only || vv_pool_is_read_only(pool);
    fuse->uid = options->uid == (uid_t) -1 ? geteuid() : options->uid;
    fuse->gid = options->gid == (gid_t) -1 ? getegid() : options->gid;
    fuse->mode = options->mode ? options->mode & 0777 : 0755;
    fuse->started_ns = vv_now_ns();
    atomic_store(&fuse->changed_ns, fuse->started_ns);
    fuse->far = options->far;
    fuse->root_fd = -1;
    fuse->looker_fd = options->looker_fd;
    pthread_mutex_init(&fuse->takeover.lock, NULL);
    fuse->takeover.keeps_opens = options->survives;
    fuse->takeover.opens_fd = options->opens_fd;
    atomic_store(&fuse->takeover.resent_read, options->adopt == NULL);
    fuse->takeover.connection_id = options->survives ? options->connection_id : 0;
    if (options->adopt) {
        fuse->takeover.adopts = true;
        fuse->takeover.connection = *options->adopt;
    }
    vv_handles_init(&fuse->handles);
    vv_operations_init(&fuse->operations, run_operation, fuse);
    init_waiting(&fuse->notifier.lock, &fuse->notifier.changed);
    init_waiting(&fuse->keeper.lock, &fuse->keeper.wake);
    g_queue_init(&fuse->notifier.queue);
    g_queue_init(&fuse->notifier.late);
    if (!make_session(fuse, options, error) || !make_servers(fuse, options->adopt ? options->adopt->clone_count / 2 : options->threads, options->ring, error)) {
        vv_fuse_free(fuse);
        return NULL;
    }
    return fuse;
}

void vv_fuse_set_text(VvFuse *fuse, const char *name, VvFuseText producer, void *user)
{
    g_assert(fuse->text_count < VV_FUSE_TEXTS_MAX && strlen(name) <= VV_NAME_BYTES_MAX);
    fuse->texts[fuse->text_count++] = (VvLiveText){ g_strdup(name), producer, user };
}

/* ---- mounting */

/* The minor number of the mount, from the last line that names our mount point (asking the file system would wait for us). */
static unsigned find_device(const char *mount_point)
{
    g_autofree char *table = NULL;
    unsigned minor_number = 0;
    if (!g_file_get_contents("/proc/self/mountinfo", &table, NULL, NULL))
        return 0;
    g_auto(GStrv) lines = g_strsplit(table, "\n", -1);
    for (char **line = lines; *line; line++) {
        g_auto(GStrv) fields = g_strsplit(*line, " ", 6);
        if (g_strv_length(fields) < 6)
            continue;
        g_autofree char *path = g_strcompress(fields[4]);
        const char *colon = strchr(fields[2], ':');
        if (colon && strcmp(path, mount_point) == 0)
            minor_number = (unsigned) g_ascii_strtoull(colon + 1, NULL, 10);
    }
    return minor_number;
}

static bool give_init(VvFuse *fuse, const void *request, size_t length_bytes, GError **error)
{
    struct fuse_buf buffer = { .mem = (void *) request, .size = length_bytes };
    fuse_session_process_buf(fuse->session, &buffer);
    if (!fuse_session_exited(fuse->session))
        return true;
    set_libfuse_error(error, VV_ERROR_UNSUPPORTED, fuse->mount_point, "the kernel's FUSE is not ours");
    return false;
}

bool vv_session_replay_init(VvFuse *fuse, const void *request, size_t length_bytes, GError **error)
{
    replaying_init = true;
    bool ok = give_init(fuse, request, length_bytes, error);
    replaying_init = false;
    return ok;
}

bool vv_session_set_io(VvFuse *fuse, int session_fd)
{
    const struct fuse_custom_io io = { .writev = send_iov, .read = receive };
    return fuse_session_custom_io(fuse->session, &io, session_fd) == 0;
}

static bool answer_init(VvFuse *fuse, GError **error)
{
    g_autofree char *buffer = g_malloc(VV_SLOT_READ_BYTES);
    ssize_t n;
    do
        n = read(fuse->root_fd, buffer, VV_SLOT_READ_BYTES);
    while (n < 0 && errno == EINTR);
    const struct fuse_in_header *header = (const void *) buffer;
    if (n < (ssize_t) sizeof *header || header->opcode != FUSE_INIT) {
        vv_set_error_errno(error, n < 0 ? errno : EPROTO, fuse->mount_point, "no greeting from the kernel");
        return false;
    }
    if (fuse->uring && !vv_uring_is_offered(buffer, (size_t) n))
        do_without_rings(fuse);
    vv_takeover_save_init(fuse, buffer, (size_t) n);
    answering_init = true;
    bool ok = give_init(fuse, buffer, (size_t) n, error);
    answering_init = false;
    return ok;
}

static int clone_device(VvFuse *fuse, int flags, GError **error)
{
    uint32_t root = (uint32_t) fuse->root_fd;
    vv_autofd int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC | flags);
    if (fd < 0 || ioctl(fd, FUSE_DEV_IOC_CLONE, &root) < 0) {
        vv_set_error_errno(error, errno, "/dev/fuse", "no further descriptor for %s", fuse->mount_point);
        return -1;
    }
    int result = fd;
    fd = -1;
    return result;
}

static bool clone_devices(VvFuse *fuse, GError **error)
{
    for (unsigned i = 0; i < fuse->server_count; i++) {
        VvServer *server = &fuse->servers[i];
        bool ring = i < fuse->ring_count;
        if (!ring)
            server->blocking_fd = clone_device(fuse, 0, error);
        if (ring || server->blocking_fd >= 0)
            server->nonblocking_fd = clone_device(fuse, O_NONBLOCK, error);
        if (server->nonblocking_fd < 0)
            return false;
        if (ring)
            continue;
        vv_worker_set_source(server->worker, server->blocking_fd, server->nonblocking_fd, vv_take, server);
        vv_worker_share_source(server->worker, &fuse->roster);
    }
    return true;
}

bool vv_fuse_mount(VvFuse *fuse, GError **error)
{
    g_assert(!fuse->mounted);
    last_words[0] = '\0';
    if (fuse->takeover.adopts) {
        if (!vv_takeover_adopt(fuse, error))
            return false;
        vv_pool_set_mount(fuse->pool, fuse->mount_point);
        return true;
    }
    if (!vv_takeover_restore_files(fuse, error))
        return false;
    if (fuse_session_mount(fuse->session, fuse->mount_point) != 0) {
        set_libfuse_error(error, VV_ERROR_IO, fuse->mount_point, "mount failed");
        return false;
    }
    fuse->mounted = true;
    fuse->device_minor = find_device(fuse->mount_point);
    fuse->root_fd = fcntl(fuse_session_fd(fuse->session), F_DUPFD_CLOEXEC, 3);
    bool ok = true;
    if (fuse->root_fd < 0 || !vv_session_set_io(fuse, fuse_session_fd(fuse->session))) {
        set_libfuse_error(error, VV_ERROR_INTERNAL, fuse->mount_point, "libfuse does not take our writer");
        ok = false;
    }
    ok = ok && answer_init(fuse, error) && clone_devices(fuse, error);
    if (!ok) {
        vv_fuse_stop(fuse);
        return false;
    }
    if (fuse->uring)
        vv_log(VV_LOG_NOTE, "option ring: requests travel in %u queues of %u", fuse->queue_count,
            vv_uring_entries_per_queue(fuse->queue_count));
    vv_pool_set_mount(fuse->pool, fuse->mount_point);
    return true;
}

/* ---- serving */

static void *serve(void *user)
{
    VvServer *server = user;
    char name[16];
    g_snprintf(name, sizeof name, "vvfs-fuse/%u", server->index);
    pthread_setname_np(pthread_self(), name);
    VvFuse *fuse = server->fuse;
    bool ring = server->index < fuse->ring_count;
    vv_takeover_worker_begins();
    vv_slots_own(&server->slots);
    if (ring) {
        vv_uring_place(server, fuse->queue_count, fuse->ring_count);
        vv_uring_start(server, fuse->queue_count, fuse->ring_count);
    } else {
        server->spare = vv_slot_get(&server->slots);
    }
    vv_worker_run(server->worker);
    if (ring)
        vv_uring_clear(server);
    else
        vv_slot_put(g_steal_pointer(&server->spare));
    vv_takeover_worker_ended(server);
    return NULL;
}

/* False: the thread could not be made. */
static bool start_servers(VvFuse *fuse, unsigned *ret_started)
{
    unsigned started = 0;
    for (; started < fuse->server_count; started++) {
        VvServer *server = &fuse->servers[started];
        pthread_mutex_lock(&fuse->takeover.lock);
        int rc = pthread_create(&server->thread, NULL, serve, server);
        server->running = rc == 0;
        pthread_mutex_unlock(&fuse->takeover.lock);
        if (rc != 0) {
            vv_log(VV_LOG_ERROR, "no thread for worker %u: %s", started, g_strerror(rc));
            break;
        }
    }
    *ret_started = started;
    return started > 0;
}

void vv_fuse_run(VvFuse *fuse)
{
    g_assert(fuse->mounted);
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* threads inherit it: signals are the caller's affair */
    unsigned started;
    bool serving = start_servers(fuse, &started);
    vv_notifier_start(fuse);
    vv_keeper_start(fuse);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!serving || (fuse->uring && started < fuse->server_count)) /* a queue without a server stops its CPU's requests */
        vv_fuse_force(fuse);
    for (unsigned i = 0; i < started; i++)
        pthread_join(fuse->servers[i].thread, NULL);
    for (unsigned i = 0; i < started; i++)
        vv_slots_drain(&fuse->servers[i].slots);
    vv_operations_stop(&fuse->operations);
    vv_notifier_stop(fuse);
    vv_keeper_stop(fuse);
    vv_handles_close_all(&fuse->handles, atomic_load(&fuse->takeover.leaving)); /* an aborted mount sends no RELEASE */
    vv_pool_set_mount(fuse->pool, NULL);
    vv_fuse_stop(fuse);
}

/* ---- ending */

void vv_fuse_stop(VvFuse *fuse)
{
    if (!fuse->mounted || atomic_load(&fuse->takeover.leaving) || atomic_exchange(&fuse->detached, true))
        return;
    if (fuse->takeover.adopts) {
        vv_takeover_detach(fuse);
        return;
    }
    /* Closes libfuse's descriptor (ours and the clones stay) and unmounts lazily, unless the mount has ended already. */
    fuse_session_unmount(fuse->session);
}

/* Where the kernel shows its FUSE connections: usually mounted; else (root) a mount of our own that nobody else sees. */
static int open_connections(void)
{
    int fd = open("/sys/fs/fuse/connections", O_PATH | O_DIRECTORY | O_CLOEXEC);
    struct statfs st;
    if (fd >= 0 && fstatfs(fd, &st) == 0 && st.f_type == FUSE_CTL_SUPER_MAGIC)
        return fd;
    vv_close_fd(&fd);
    vv_autofd int context = fsopen("fusectl", FSOPEN_CLOEXEC);
    if (context < 0 || fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
        return -1;
    return fsmount(context, FSMOUNT_CLOEXEC, 0);
}

static bool abort_connection(unsigned device_minor)
{
    vv_autofd int connections = device_minor ? open_connections() : -1;
    if (connections < 0)
        return false;
    g_autofree char *path = g_strdup_printf("%u/abort", device_minor);
    vv_autofd int fd = openat(connections, path, O_WRONLY | O_CLOEXEC);
    return fd >= 0 && write(fd, "1", 1) == 1;
}

void vv_fuse_force(VvFuse *fuse)
{
    if (!fuse->mounted || atomic_exchange(&fuse->forced, true))
        return;
    vv_pool_abort_waiting(fuse->pool);
    if (!abort_connection(fuse->device_minor) &&
        (atomic_load(&fuse->detached) || (umount2(fuse->mount_point, MNT_FORCE) < 0 && errno != EBUSY)))
        vv_log(VV_LOG_WARNING, "the mount at %s cannot be ended while its files are open", fuse->mount_point);
    vv_fuse_stop(fuse);
}

bool vv_fuse_abandon(VvFuse *fuse)
{
    vv_pool_abort_waiting(fuse->pool);
    atomic_store(&fuse->detached, true);
    return abort_connection(fuse->device_minor);
}

unsigned vv_fuse_open_count(const VvFuse *fuse)
{
    return atomic_load(&fuse->handles.open_count);
}

const char *vv_fuse_mount_point(const VvFuse *fuse)
{
    return fuse->mount_point;
}

void vv_fuse_free(VvFuse *fuse)
{
    if (fuse == NULL)
        return;
    vv_fuse_stop(fuse);
    for (unsigned i = 0; i < fuse->server_count; i++) {
        clear_server(&fuse->servers[i]);
    }
    if (fuse->session)
        fuse_session_destroy(fuse->session);
    vv_close_fd(&fuse->root_fd);
    for (unsigned i = 0; i < fuse->text_count; i++)
        g_free(fuse->texts[i].name);
    vv_operations_clear(&fuse->operations);
    vv_handles_clear(&fuse->handles);
    pthread_cond_destroy(&fuse->notifier.changed);
    pthread_mutex_destroy(&fuse->notifier.lock);
    pthread_cond_destroy(&fuse->keeper.wake);
    pthread_mutex_destroy(&fuse->keeper.lock);
    pthread_mutex_destroy(&fuse->takeover.lock);
    g_free(fuse->mount_point);
    g_free(fuse);
}
