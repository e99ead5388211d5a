/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Start and stop. See daemon.h for the order; each step of the start has its counterpart in stop_all, which copes with
 * whatever was reached. */
#include "daemon.h"

#include "config.h"
#include "desk.h"
#include "fusefs.h"
#include "held.h"
#include "http.h"
#include "jobs.h"
#include "lock.h"
#include "memory.h"
#include "mounts.h"
#include "node.h"
#include "permit.h"
#include "privilege.h"
#include "relay.h"
#include "reserve.h"
#include "rpc.h"
#include "sampler.h"
#include "server.h"
#include "status.h"
#include "subscribe.h"
#include "witness.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define LOOKERS 3u
#define SLOW 2u
#define CHANGERS 16u
#define LEAVE_ANSWERS_S 5 /* for calls under way to end before the mount pauses for a successor */
#define LAST_ANSWERS_MS 100 /* for clients to get what is queued */

/* What only start and stop know. */
typedef struct {
    VvDaemon daemon;
    int lock_fd;
    int signal_fd;
    int looker_fd; /* -1 */
    struct event *signals;      /* owned */
    struct event *stop_timer;   /* owned; armed by the first SIGTERM */
    struct event *last_answers; /* owned; armed when all calls are answered */
    VvFuse *fuse;
    pthread_t mount_thread;
    bool mount_running; /* mount_thread is to be joined */
    bool mount_ended; /* a witness: it is asked to end */
    bool serves;      /* the start has been done */
    unsigned terms_here, terms_held, terms; /* asked to end: directly, through the holder (both may tell of one), in effect */
    bool leaving, left;                     /* a successor is to follow; the mount has been let go for it */
    struct event *leave_timer;              /* owned */
} VvRun;

static void let_mount_go(VvRun *run);
static void mount_ended(void *data);

static void tell_lock(VvRun *run, const char *state, const char *mountpoint)
{
    VvHeld *held = run->daemon.held;

    vv_lock_tell(run->lock_fd, state, mountpoint, held ? vv_held_state(held)->holder_pid : getpid());
}

/* ---- ending; the loop's thread */
static void leave_cb(evutil_socket_t fd, short what, void *user)
{
    VvRun *run = user;

    (void) fd;
    (void) what;
    vv_control_stop(run->daemon.loop);
}

/* A process before this one served the mount, or was the witness. */
static bool takes_over(const VvDaemon *daemon)
{
    const VvHoldState *state = daemon->held ? vv_held_state(daemon->held) : NULL;

    return state && (state->mounted || (daemon->options->witness && state->restarts + state->upgrades > 0));
}

/* A crew's thread. */
static void leave_chore(void *data)
{
    VvRun *run = data;

    vv_fuse_leave(run->fuse);
}

static void let_mount_go(VvRun *run)
{
    if (run->left)
        return;
    run->left = true;
    if (!run->fuse)
        mount_ended(run);
    else
        vv_crew_run(run->daemon.changers, leave_chore, run);
}

static void leave_timer_cb(evutil_socket_t fd, short what, void *user)
{
    (void) fd;
    (void) what;
    let_mount_go(user);
}

/* The holder: a new binary is to follow. Calls under way end first, while the mount is served. */
static void leave(void *user)
{
    static const struct timeval limit = { .tv_sec = LEAVE_ANSWERS_S };
    VvRun *run = user;

    if (run->daemon.ending)
        return;
    vv_log(VV_LOG_NOTE, "pool %s: another vvfs takes over", run->daemon.name);
    run->daemon.ending = run->leaving = true;
    vv_server_stop(run->daemon.server);
    event_add(run->leave_timer, &limit);
    vv_daemon_may_leave(&run->daemon);
}

/* When the mount has gone and the last call is answered, there is nothing to stay for. */
void vv_daemon_may_leave(VvDaemon *daemon)
{
    static const struct timeval soon = { .tv_usec = LAST_ANSWERS_MS * 1000 };
    VvRun *run = (VvRun *) daemon; /* its first member */

    if (daemon->waiting_since_ns != 0) {
        vv_desk_may_leave(daemon);
        return;
    }
    if (run->mount_ended && (run->leaving || vv_server_busy(daemon->server) == 0))
        event_add(run->last_answers, &soon);
    else if (run->leaving && vv_server_busy(daemon->server) == 0)
        let_mount_go(run);
}

/* Any thread, before the loop runs. */
bool vv_daemon_is_asked_to_end(VvDaemon *daemon)
{
    VvRun *run = (VvRun *) daemon; /* its first member */
    struct pollfd signal = { .fd = run->signal_fd, .events = POLLIN };

    return poll(&signal, 1, 0) > 0 || (daemon->held && atomic_load(&vv_held_state(daemon->held)->terms) > 0);
}

static void mount_ended(void *data)
{
    VvRun *run = data;

    run->mount_ended = true;
    run->daemon.ending = true;
    vv_pool_is_ending(run->daemon.pool); /* what our threads still wait for has an end */
    tell_lock(run, "ending", NULL);
    vv_server_stop(run->daemon.server);
    vv_daemon_may_leave(&run->daemon);
}

static void *mount_main(void *user)
{
    VvRun *run = user;

    pthread_setname_np(pthread_self(), "mount");
    vv_fuse_run(run->fuse);
    vv_control_post(run->daemon.loop, mount_ended, run);
    return NULL;
}

/* A crew's thread. */
static void detach_chore(void *data)
{
    VvRun *run = data;
    unsigned open = vv_fuse_open_count(run->fuse);
    int err;

    if (!open) /* else a majority may come before the last close does */
        vv_pool_is_ending(run->daemon.pool);
    err = vv_pool_flush(run->daemon.pool);
    if (err)
        vv_log(VV_LOG_ERROR, "pool %s could not be flushed: %s", run->daemon.name, g_strerror(-err));
    vv_fuse_stop(run->fuse);
    open = vv_fuse_open_count(run->fuse);
    if (open)
        vv_log(VV_LOG_NOTE, "pool %s is unmounted; %u open LUNs and snapshots are served until they are closed",
            run->daemon.name, open);
}

/* Its own thread: the crews may be what is stuck. */
static void *force_main(void *data)
{
    VvRun *run = data;

    vv_fuse_force(run->fuse);
    return NULL;
}

static void force(VvRun *run, const char *why)
{
    pthread_t thread;

    vv_log(VV_LOG_WARNING, "pool %s ends now, with what has it open: %s", run->daemon.name, why);
    if (!run->fuse)
        vv_control_stop(run->daemon.loop);
    else if (!run->mount_ended && pthread_create(&thread, NULL, force_main, run) == 0)
        pthread_join(thread, NULL);
}

static void stop_timer_cb(evutil_socket_t fd, short what, void *user)
{
    (void) fd;
    (void) what;
    force(user, "stop-timeout");
}

static void begin_to_end(VvRun *run, const char *why)
{
    VvDaemon *daemon = &run->daemon;
    struct timeval timeout = { .tv_sec = (time_t) daemon->options->stop_timeout_s };

    if (daemon->ending) {
        force(run, why);
        return;
    }
    daemon->ending = true;
    vv_log(VV_LOG_NOTE, "pool %s ends: %s", daemon->name, why);
    tell_lock(run, "ending", NULL);
    if (timeout.tv_sec)
        event_add(run->stop_timer, &timeout);
    if (!run->fuse)
        mount_ended(run);
    else
        vv_crew_run(daemon->changers, detach_chore, run);
}

static void end_wanted(void *data)
{
    VvRun *run = data;

    if (!run->daemon.ending)
        begin_to_end(run, "it is no node of the pool any more");
}

void vv_daemon_end_gone(VvDaemon *daemon)
{
    vv_control_post(daemon->loop, end_wanted, daemon);
}

/* A second time forces. One kill of both processes is one time. */
static void end(VvRun *run, const char *why)
{
    unsigned terms = MAX(run->terms_here, run->terms_held);

    if (terms == run->terms)
        return;
    run->terms = terms;
    begin_to_end(run, why);
}

/* The holder was asked. */
static void term(void *user, unsigned times)
{
    VvRun *run = user;

    run->terms_held = times;
    end(run, "SIGTERM");
}

/* A crew's thread. */
static void alone_chore(void *data)
{
    VvRun *run = data;
    int err;

    vv_pool_is_ending(run->daemon.pool);
    err = vv_pool_flush(run->daemon.pool);
    if (err)
        vv_log(VV_LOG_ERROR, "pool %s could not be flushed: %s", run->daemon.name, g_strerror(-err));
    if (!vv_fuse_abandon(run->fuse))
        _exit(VV_EXIT_FAILED); /* its descriptors go with it, and so the mount */
}

static void alone(void *user)
{
    VvRun *run = user;

    if (!run->fuse) {
        vv_log(VV_LOG_ERROR, "the process that would start the witness of pool %s anew has died: it ends", run->daemon.name);
        mount_ended(run);
        return;
    }
    vv_log(VV_LOG_ERROR, "the process that holds the mount of pool %s has died: all is flushed, and the mount ends",
        run->daemon.name);
    run->daemon.ending = true;
    tell_lock(run, "ending", NULL);
    vv_server_stop(run->daemon.server);
    vv_crew_run(run->daemon.changers, alone_chore, run);
}

static void signals_cb(evutil_socket_t fd, short what, void *user)
{
    struct signalfd_siginfo info;
    VvRun *run = user;

    (void) what;
    if (read((int) fd, &info, sizeof(info)) != sizeof(info))
        return;
    run->terms_here++;
    vv_log_signal(run->daemon.name, (int) info.ssi_signo, info.ssi_pid);
    if (info.ssi_signo == SIGTERM || info.ssi_signo == SIGINT)
        end(run, info.ssi_signo == SIGTERM ? "SIGTERM" : "SIGINT");
}

/* ---- starting */
/* Signals come through a descriptor, and to no thread: all inherit this mask. */
static bool take_signals(VvRun *run, GError **error)
{
    sigset_t set;

    signal(SIGPIPE, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    run->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (run->signal_fd < 0) {
        vv_set_error_errno(error, errno, NULL, "cannot make a signalfd");
        return false;
    }
    return true;
}

static bool start_loop(VvRun *run, GError **error)
{
    VvDaemon *daemon = &run->daemon;

    daemon->loop = vv_control_new(error);
    if (!daemon->loop)
        return false;
    run->signals = event_new(vv_control_base(daemon->loop), run->signal_fd, EV_READ | EV_PERSIST, signals_cb, run);
    run->stop_timer = event_new(vv_control_base(daemon->loop), -1, 0, stop_timer_cb, run);
    run->leave_timer = event_new(vv_control_base(daemon->loop), -1, 0, leave_timer_cb, run);
    run->last_answers = event_new(vv_control_base(daemon->loop), -1, 0, leave_cb, run);
    event_add(run->signals, NULL);
    daemon->running_ids = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, (GDestroyNotify) g_queue_free);
    daemon->reservations = vv_reservations_new();
    daemon->jobs = vv_job_table_new();
    daemon->lookers = vv_crew_new("looker", LOOKERS);
    daemon->slow = vv_crew_new("slow", SLOW);
    daemon->changers = vv_crew_new("changer", CHANGERS);
    return true;
}

static char *text_status(void *user, size_t *ret_bytes)
{
    g_autoptr(JsonObject) status = vv_status_json(user);
    g_autofree char *text = vv_json_object_text(status);
    char *line = g_strconcat(text, "\n", NULL);

    *ret_bytes = strlen(line);
    return line;
}

static char *text_metrics(void *user, size_t *ret_bytes)
{
    char *text = vv_metrics_text(user);

    *ret_bytes = strlen(text);
    return text;
}

static char *text_version(void *user, size_t *ret_bytes)
{
    char *text = g_strdup(PACKAGE_VERSION "\n");

    (void) user;
    *ret_bytes = strlen(text);
    return text;
}

/* The holder keeps the mount, or has kept it. */
static void set_holding(const VvHoldState *state, VvFuseOptions *options)
{
    options->survives = true;
    options->opens_fd = state->opens_fd;
    options->connection_id = state->connection_id;
    options->adopt = state->mounted ? &state->connection : NULL;
}

static bool give_mount(VvRun *run, GError **error)
{
    VvHeld *held = run->daemon.held;
    VvFuseConnection connection;

    if (!held || vv_held_state(held)->mounted)
        return true;
    vv_fuse_connection(run->fuse, &connection);
    if (!connection.can_resend)
        vv_log(VV_LOG_NOTE, "this kernel (before Linux 6.9) does not send requests again: if vvfs dies, so does the mount");
    return vv_held_give(held, &connection, error);
}

static bool start_mount(VvRun *run, GError **error)
{
    const VvOptions *o = run->daemon.options;
    const char *extra[5] = { NULL };
    unsigned count = 0;
    VvFuseOptions options = { .mount_point = o->mountpoint,
        .threads = o->threads,
        .ring = o->ring,
        .looker_fd = run->looker_fd,
        .read_only = o->read_only,
        .allow_other = o->allow_other,
        .uid = o->have_uid ? o->uid : (uid_t) -1,
        .gid = o->have_gid ? o->gid : (gid_t) -1,
        .mode = o->have_mode ? o->mode : 0,
        .extra = extra };

    if (o->noatime)
        extra[count++] = "noatime";
    if (o->nodev)
        extra[count++] = "nodev";
    if (o->nosuid)
        extra[count++] = "nosuid";
    if (o->noexec)
        extra[count++] = "noexec";
    if (run->daemon.held)
        set_holding(vv_held_state(run->daemon.held), &options);
    vv_relay_mount(&run->daemon, &options.far);
    run->fuse = vv_fuse_new(run->daemon.pool, &options, error);
    if (!run->fuse)
        return false;
    run->daemon.fuse = run->fuse;
    vv_fuse_set_text(run->fuse, "status.json", text_status, &run->daemon);
    vv_fuse_set_text(run->fuse, "metrics", text_metrics, &run->daemon);
    vv_fuse_set_text(run->fuse, "version", text_version, &run->daemon);
    if (!vv_fuse_mount(run->fuse, error) || !give_mount(run, error))
        return false;
    if (pthread_create(&run->mount_thread, NULL, mount_main, run) != 0) {
        vv_set_error(error, VV_ERROR_INTERNAL, NULL, NULL, "cannot start a thread");
        return false;
    }
    run->mount_running = true;
    return true;
}

/* A predecessor that was killed leaves its mount behind, and every access to it fails. We hold the lock, so whatever mount of
 * this pool there is, nobody serves it. */
static void clear_dead_mounts(const VvRun *run)
{
    g_autoptr(GPtrArray) entries = vv_mounts_list();

    for (unsigned i = entries->len; i-- > 0;) {
        const VvMountEntry *entry = entries->pdata[i];
        const char *argv[] = { "fusermount3", "-u", "-z", entry->mountpoint, NULL };

        if (strcmp(entry->directory, run->daemon.directory) != 0)
            continue;
        vv_log(VV_LOG_NOTE, "%s is the mount of a vvfs that has died: it is taken away", entry->mountpoint);
        if (umount2(entry->mountpoint, MNT_DETACH | UMOUNT_NOFOLLOW) != 0)
            g_spawn_sync(NULL, (char **) argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, NULL, NULL);
    }
}

/* Refuse what would bury the pool directory or another pool. */
static bool check_mount_point(const VvRun *run, GError **error)
{
    const char *mountpoint = run->daemon.options->mountpoint, *directory = run->daemon.directory;
    size_t length = strlen(mountpoint);
    g_autofree char *there = vv_mounts_directory_at(mountpoint);
    struct stat st;

    if (there) {
        vv_set_error(
            error, VV_ERROR_BUSY, mountpoint, NULL, "%s: the pool %s is mounted there already", mountpoint, there);
        return false;
    }
    if (stat(mountpoint, &st) != 0) {
        vv_set_error_errno(error, errno, mountpoint, "mount point %s", mountpoint);
        return false;
    }
    if (!S_ISDIR(st.st_mode)) {
        vv_set_error(error, VV_ERROR_USAGE, mountpoint, NULL, "mount point %s is not a directory", mountpoint);
        return false;
    }
    if (strncmp(directory, mountpoint, length) == 0 &&
        (directory[length] == '/' || directory[length] == '\0' || length == 1)) {
        vv_set_error(error, VV_ERROR_USAGE, mountpoint, NULL, "mount point %s would hide the pool directory %s",
            mountpoint, directory);
        return false;
    }
    return true;
}

/* All that can be refused without opening the pool. */
static bool prepare(VvRun *run, GError **error)
{
    VvDaemon *daemon = &run->daemon;
    const VvOptions *options = daemon->options;

    daemon->owner = geteuid();
    daemon->node = vv_host_name();
    daemon->admin_gid = (gid_t) -1;
    if (options->admin_group && !vv_group_lookup(options->admin_group, &daemon->admin_gid, error))
        return false;
    return vv_meta_identify(daemon->directory, &daemon->name, &daemon->uuid, error) &&
           vv_witness_check(daemon->directory, daemon->name, options->witness, error) && vv_server_check_path(daemon->directory, error);
}

static bool open_pool(VvRun *run, GError **error)
{
    VvDaemon *daemon = &run->daemon;
    const VvHoldState *state = daemon->held ? vv_held_state(daemon->held) : NULL;
    VvPoolOptions options = { .read_only = daemon->options->read_only,
        .lock_wait_ms = VV_LOCK_WAIT_MS,
        .cluster = vv_node_log(daemon->cluster),
        .without_disks = daemon->cluster && !vv_node_has_disks(daemon->cluster, vv_node_id(daemon->cluster)),
        .node = daemon->cluster ? vv_node_id(daemon->cluster) : 0,
        .elsewhere = vv_node_elsewhere(daemon->cluster),
        .reach = vv_node_reach(daemon->cluster),
        .members_changed = vv_node_members_changed,
        .guest = vv_node_is_guest(daemon->cluster),
        .op_applied = vv_node_op_applied,
        .others_return = daemon->cluster && vv_node_has_disks(daemon->cluster, vv_node_id(daemon->cluster)),
        .shares_changed = vv_node_shares_changed,
        .members_user = daemon };
    g_autoptr(GArray) open_ids = NULL;

    if (state) {
        options.have_pending = !options.guest; /* it keeps nothing */
        options.pending_fd = state->pending_fd;
        options.have_events = true;
        options.events_fd = state->events_fd;
        options.takes_over = takes_over(daemon);
        options.open_ids = open_ids = vv_fuse_open_objects(state->opens_fd);
    }
    daemon->pool = vv_pool_open(daemon->directory, &options, error);
    return daemon->pool != NULL;
}

/* What a successor says of itself. */
static void tell_takeover(VvRun *run, const VvHoldState *state)
{
    VvDaemon *daemon = &run->daemon;
    unsigned pause_ms = (unsigned) ((vv_monotonic_ns() - state->ended_ns) / 1000000u);
    const char *what = daemon->options->witness ? "witness" : "mount", *served = daemon->options->witness ? "was" : "served";
    int status = state->last_status;

    if (status == 0)
        vv_pool_event(daemon->pool, VV_SEVERITY_INFO, "upgraded", NULL, "vvfs %s has taken over the %s; it paused for %u ms", PACKAGE_VERSION, what,
            pause_ms);
    else
        vv_pool_event(daemon->pool, VV_SEVERITY_WARNING, "restarted", NULL,
            "daemon restarted: the process that %s the %s %s %d; another took over, the %s paused for %u ms", served, what,
            WIFSIGNALED(status) ? "was killed by signal" : "ended with exit status",
            WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status), what, pause_ms);
    vv_log(VV_LOG_NOTE, "pool %s: the %s at %s is taken over; it paused for %u ms", daemon->name, what,
        run->fuse ? vv_fuse_mount_point(run->fuse) : daemon->directory, pause_ms);
}

/* The mount is served. */
static bool serve_others(VvRun *run, bool succeeds, GError **error)
{
    if (run->fuse && succeeds && run->daemon.cluster)
        vv_fuse_wait_for_resent(run->fuse);
    if (vv_node_serve(&run->daemon, error))
        return true;
    if (run->fuse)
        vv_fuse_force(run->fuse);
    return false;
}

/* Returns the exit code; VV_EXIT_OK: running. */
static int start(VvRun *run, GError **error)
{
    VvDaemon *daemon = &run->daemon;
    bool succeeds = takes_over(daemon);

    if (!prepare(run, error))
        return VV_EXIT_FAILED;
    run->lock_fd = vv_lock_take(daemon->directory, daemon->name, succeeds, error);
    if (run->lock_fd < 0)
        return VV_EXIT_FAILED;
    tell_lock(run, "starting", daemon->options->mountpoint);
    if (!succeeds) {
        clear_dead_mounts(run);
        if (!daemon->options->witness && !check_mount_point(run, error))
            return VV_EXIT_MOUNT;
    }
    vv_memory_init();
    run->looker_fd = daemon->options->witness ? -1 : vv_fuse_fork_looker();
    vv_memory_reserve();
    if (!take_signals(run, error) || !start_loop(run, error))
        return VV_EXIT_FAILED;
    if (daemon->options->metrics) {
        daemon->metrics = vv_metrics_server_new(daemon, daemon->options->metrics, error);
        if (!daemon->metrics)
            return VV_EXIT_FAILED;
    }
    if (!vv_privilege_confine(daemon, error) || !vv_node_open(daemon, succeeds, error) || !open_pool(run, error) ||
        !vv_node_start(daemon, error)) {
        vv_node_explain(daemon->cluster, error);
        return VV_EXIT_FAILED;
    }
    daemon->subscriptions = vv_subscriptions_new(daemon);
    daemon->sampler = vv_sampler_new(daemon);
    daemon->server = vv_server_new(daemon, error);
    if (!daemon->server)
        return VV_EXIT_FAILED;
    if (!daemon->options->witness && !start_mount(run, error))
        return VV_EXIT_MOUNT;
    if (!serve_others(run, succeeds, error))
        return VV_EXIT_FAILED;
    if (daemon->metrics)
        vv_metrics_server_start(daemon->metrics);
    if (run->fuse)
        vv_memory_lock(daemon->pool, run->fuse);
    tell_lock(run, run->fuse ? "serving" : VV_LOCK_WITNESS, run->fuse ? vv_fuse_mount_point(run->fuse) : NULL);
    run->serves = true;
    return VV_EXIT_OK;
}

/* It serves: the holder is told, and listened to. */
static void begin_to_be_held(VvRun *run)
{
    static const VvHeldFuncs funcs = { .term = term, .leave = leave, .alone = alone };
    VvHeld *held = run->daemon.held;
    const VvHoldState *state = vv_held_state(held);

    if (takes_over(&run->daemon) && state->ended_ns)
        tell_takeover(run, state);
    vv_held_ready(held);
    vv_held_watch(held, run->daemon.loop, &funcs, run);
    if (atomic_load(&state->terms) > 0) /* asked of a predecessor, or of nobody: it goes on ending */
        term(run, atomic_load(&state->terms));
}

/* ---- stopping */
/* While we have the pool's lock it is the holder's of this mount. */
static void remove_hold_socket(const VvDaemon *daemon)
{
    g_autofree char *path = g_build_filename(daemon->directory, VV_HOLD_SOCKET, NULL);

    unlink(path);
}

static void stop_all(VvRun *run)
{
    VvDaemon *daemon = &run->daemon;

    if (run->lock_fd >= 0)
        tell_lock(run, run->leaving ? "starting" : "ending", NULL);
    if (run->mount_running)
        pthread_join(run->mount_thread, NULL);
    vv_server_stop(daemon->server);
    vv_metrics_server_free(daemon->metrics);
    vv_node_end_joins(daemon->cluster);
    vv_crew_free(daemon->changers);
    vv_crew_free(daemon->slow);
    vv_crew_free(daemon->lookers);
    vv_node_leave_pool(daemon->cluster);
    vv_sampler_free(daemon->sampler);
    vv_fuse_free(run->fuse);
    vv_server_free(daemon->server);
    vv_pool_close(daemon->pool);
    vv_node_free(daemon->cluster);
    /* The pool's last events were still told to them. */
    vv_subscriptions_free(daemon->subscriptions);
    vv_job_table_free(daemon->jobs);
    vv_reservations_free(daemon->reservations);
    g_clear_pointer(&daemon->running_ids, g_hash_table_unref);
    if (run->signals)
        event_free(run->signals);
    if (run->stop_timer)
        event_free(run->stop_timer);
    if (run->leave_timer)
        event_free(run->leave_timer);
    if (run->last_answers)
        event_free(run->last_answers);
    vv_control_free(daemon->loop);
    vv_close_fd(&run->signal_fd);
    vv_close_fd(&run->looker_fd);
    g_free(daemon->name);
    g_free(daemon->node);
    if (run->serves && daemon->held && !run->left)
        remove_hold_socket(daemon);
    vv_close_fd(&run->lock_fd); /* last: the pool is free for the next */
}

/* The parent has gone to tell the caller: let go of the caller's terminal and directory. */
static void let_go(int ready_fd, const VvHeld *held)
{
    char code = VV_EXIT_OK;
    vv_autofd int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    if (held ? !vv_held_state(held)->background : ready_fd < 0)
        return;
    if (chdir("/") != 0)
        vv_log(VV_LOG_INFO, "cannot leave the directory: %s", g_strerror(errno));
    if (ready_fd >= 0 && write(ready_fd, &code, 1) != 1)
        vv_log(VV_LOG_INFO, "nobody waits for the start to be done");
    if (ready_fd >= 0)
        close(ready_fd);
    if (null >= 0) {
        dup2(null, STDIN_FILENO);
        dup2(null, STDOUT_FILENO);
        dup2(null, STDERR_FILENO);
    }
}

int vv_daemon_run(const VvOptions *options, const char *directory, int ready_fd, VvHeld *held)
{
    VvRun run = { .daemon = { .options = options, .directory = (char *) directory, .held = held },
        .lock_fd = -1,
        .signal_fd = -1,
        .looker_fd = -1 };
    g_autoptr(GError) error = NULL;
    bool succeeds = takes_over(&run.daemon); /* before the start, in which others set it */
    int code = start(&run, &error);

    if (code == VV_EXIT_OK) {
        if (!succeeds && options->witness)
            vv_log(VV_LOG_NOTE, "node %s is a witness of pool %s", run.daemon.node, run.daemon.name);
        else if (!succeeds)
            vv_log(VV_LOG_NOTE, "pool %s is mounted at %s", run.daemon.name, vv_fuse_mount_point(run.fuse));
        if (held)
            begin_to_be_held(&run);
        let_go(ready_fd, held);
        vv_control_run(run.daemon.loop);
        vv_log(VV_LOG_NOTE, "pool %s ends", run.daemon.name);
    } else {
        const char *hint = vv_error_get_hint(error);

        if (g_error_matches(error, VV_ERROR, VV_ERROR_USAGE) && code == VV_EXIT_FAILED)
            code = VV_EXIT_USAGE;
        else if (g_error_matches(error, VV_ERROR, VV_ERROR_NO_QUORUM))
            code = VV_EXIT_NO_QUORUM;
        fprintf(stderr, "vvfs: %s%s%s\n", error->message, hint ? g_str_has_suffix(hint, ".") ? ". " : ": " : "",
            hint ? hint : "");
    }
    stop_all(&run);
    if (held && code == VV_EXIT_OK)
        vv_held_end(held, run.left ? VV_PHASE_LEFT : VV_PHASE_ENDED);
    return code;
}
