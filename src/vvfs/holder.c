/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The holder's loop: see holder.h. One thread, one poll(2). */
#include "holder_private.h"

#include "error.h"
#include "events_file.h"
#include "memory.h"
#include "privilege.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* ---- beginning and end */

static bool take_signals(VvHolding *h)
{
    sigset_t set;

    signal(SIGPIPE, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, &h->signals_before);
    h->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return h->signal_fd >= 0;
}

static bool begin(VvHolding *h)
{
    g_autofree char *score = NULL;
    int state_fd = vv_holder_memfd("vvfs-state", sizeof(VvHoldState));

    h->state = state_fd < 0 ? MAP_FAILED : mmap(NULL, sizeof(VvHoldState), PROT_READ | PROT_WRITE, MAP_SHARED, state_fd, 0);
    h->state_fd = state_fd;
    h->program_fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    if (h->state == MAP_FAILED || h->program_fd < 0 || !take_signals(h)) {
        fprintf(stderr, "vvfs: cannot prepare to hold the mount: %s\n", g_strerror(errno));
        return false;
    }
    if (g_file_get_contents("/proc/self/oom_score_adj", &score, NULL, NULL))
        g_strlcpy(h->oom_score, g_strchomp(score), sizeof(h->oom_score));
    g_strlcpy(h->state->magic, VV_HOLD_MAGIC, sizeof(h->state->magic));
    h->state->state_bytes = sizeof(VvHoldState);
    h->state->holder_pid = getpid();
    h->state->background = h->ready_fd >= 0;
    vv_random_bytes(&h->state->connection_id, sizeof(h->state->connection_id));
    h->state->opens_fd = vv_holder_memfd("vvfs-opens", VV_OPENS_FILE_BYTES);
    h->state->pending_fd = vv_holder_memfd("vvfs-pending", VV_PENDING_FILE_BYTES);
    h->state->events_fd = vv_holder_memfd("vvfs-events", VV_EVENTS_FILE_BYTES);
    if (h->state->opens_fd >= 0 && h->state->pending_fd >= 0 && h->state->events_fd >= 0)
        return true;
    fprintf(stderr, "vvfs: no memory to hold the mount: %s\n", g_strerror(errno));
    return false;
}

static void drop_connection(VvHolding *h)
{
    VvFuseConnection *c = &h->state->connection;

    if (!h->state->mounted)
        return;
    h->state->mounted = false;
    close(c->root_fd);
    for (unsigned i = 0; i < c->clone_count; i++)
        close(c->clone_fds[i]);
}

/* A witness has no requests that would have to be sent again. */
static bool may_restart(const VvHolding *h)
{
    return h->options->witness || h->state->connection.can_resend;
}

/* Nobody serves, and nobody will. */
static int give_up(VvHolding *h, const char *why)
{
    if (h->options->witness)
        vv_log(VV_LOG_ERROR, "the witness of %s is given up: %s. Look at the log for why it died, then: vvfs --witness %s", h->directory, why,
            h->directory);
    else
        vv_log(VV_LOG_ERROR,
            "the mount at %s is given up: %s. What was flushed is safe, and what has it open gets errors. Look at the log for why it "
            "died, then: umount -l %s; vvfs %s %s",
            h->options->mountpoint, why, h->options->mountpoint, h->directory, h->options->mountpoint);
    vv_holder_answer(h, VV_EXIT_FAILED, why);
    vv_holder_close_socket(h);
    drop_connection(h);
    h->over = true;
    return h->code = VV_EXIT_FAILED;
}

/* ---- the serving process ends */

static const char *how_it_ended(int status, char text[64])
{
    if (WIFSIGNALED(status))
        g_snprintf(text, 64, "was killed by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
    else
        g_snprintf(text, 64, "ended with exit status %d", WEXITSTATUS(status));
    return text;
}

/* How long to wait before the next. */
static unsigned pause_ms(unsigned deaths)
{
    uint64_t ms = deaths > 1 ? (uint64_t) VV_RESTART_PAUSE_MS << (deaths - 2) : 0;

    return (unsigned) MIN(ms, VV_RESTART_PAUSE_MS_MAX);
}

static void it_died(VvHolding *h, int status)
{
    uint64_t now_ms = vv_monotonic_ms();
    char how[64], why[160];
    bool steady = h->ready && now_ms - h->ready_ms >= VV_RESTART_STEADY_MS;

    how_it_ended(status, how);
    h->deaths = steady ? 1 : h->deaths + 1;
    h->state->last_status = status;
    h->state->restarts++;
    if (h->upgrading && !h->ready && h->old_program_fd >= 0) { /* the new binary cannot: the old one could */
        g_snprintf(why, sizeof(why), "the new vvfs %s before it served; the old one goes on", how);
        vv_holder_revert(h, why);
    }
    if (!may_restart(h)) {
        give_up(h, "this kernel (before Linux 6.9) does not send requests again that nobody answered");
        return;
    }
    if (h->deaths > VV_RESTART_TRIES_MAX) {
        g_snprintf(why, sizeof(why), "the process that serves it died %u times in a row, the last time it %s", h->deaths, how);
        give_up(h, why);
        return;
    }
    if (atomic_load(&h->state->terms) > 0 && WIFEXITED(status) && WEXITSTATUS(status) == VV_EXIT_NO_QUORUM) {
        give_up(h, "it was asked to end, and the process that took over found no majority of the nodes");
        return;
    }
    h->start_at_ms = now_ms + pause_ms(h->deaths);
    vv_log(VV_LOG_WARNING, "the process that served %s (pid %d) %s: another takes over%s", vv_holder_what(h),
        (int) h->child, how, h->deaths > 1 ? ", after a pause" : "");
}

static void it_ended(VvHolding *h, int status)
{
    VvHoldPhase phase = atomic_load(&h->state->phase);

    vv_holder_read_messages(h); /* what it still said */
    h->state->ended_ns = vv_monotonic_ns();
    vv_close_fd(&h->socket);
    if (phase == VV_PHASE_LEFT || (h->leaving && phase == VV_PHASE_SERVING && may_restart(h))) {
        h->leaving = false;
        h->state->upgrades++;
        h->state->last_status = 0;
        h->start_at_ms = vv_monotonic_ms();
    } else if (phase == VV_PHASE_ENDED || !h->was_ready) { /* H2; a first one that never served has said why */
        h->code = WIFEXITED(status) ? WEXITSTATUS(status) : VV_EXIT_FAILED;
        if (phase != VV_PHASE_ENDED && h->state->mounted)
            umount2(h->options->mountpoint, MNT_DETACH | UMOUNT_NOFOLLOW);
        vv_holder_answer(h, VV_EXIT_FAILED, "the mount has ended");
        h->over = true;
    } else {
        it_died(h, status);
    }
    h->child = 0;
}

static void reap(VvHolding *h)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid == h->child)
            it_ended(h, status);
        else
            vv_holder_probe_ended(h, pid, status);
    }
}

/* ---- the loop */

static void take_signal(VvHolding *h)
{
    struct signalfd_siginfo info;

    while (read(h->signal_fd, &info, sizeof(info)) == sizeof(info)) {
        if (info.ssi_signo == SIGCHLD)
            continue;
        atomic_fetch_add(&h->state->terms, 1);
        vv_log_signal(vv_holder_what(h), (int) info.ssi_signo, info.ssi_pid);
        if (h->child > 0)
            vv_holder_tell(h, VV_HOLD_TERM);
        else if (atomic_load(&h->state->terms) > 1)
            give_up(h, "asked to end, twice, while nobody serves it");
    }
    reap(h);
}

/* -1: whatever comes. */
static int timeout_ms(const VvHolding *h)
{
    uint64_t now_ms = vv_monotonic_ms();

    if (h->child > 0)
        return !h->leaving ? -1 : h->leave_by_ms > now_ms ? (int) MIN(h->leave_by_ms - now_ms, 60000u) : 0;
    return h->start_at_ms > now_ms ? (int) (h->start_at_ms - now_ms) : 0;
}

static void turn(VvHolding *h)
{
    struct pollfd fds[] = { { .fd = h->signal_fd, .events = POLLIN }, { .fd = h->socket, .events = POLLIN },
        { .fd = h->listener, .events = POLLIN }, { .fd = h->client, .events = POLLIN } };

    if (poll(fds, G_N_ELEMENTS(fds), timeout_ms(h)) < 0)
        return;
    if (fds[1].revents)
        vv_holder_read_messages(h);
    if (fds[0].revents)
        take_signal(h);
    if (fds[3].revents && h->client == fds[3].fd)
        vv_holder_read_client(h);
    if (fds[2].revents && h->listener == fds[2].fd)
        vv_holder_accept(h);
    if (h->child > 0 && timeout_ms(h) == 0) {
        vv_log(VV_LOG_WARNING, "the old vvfs does not leave within %u s: it is killed", VV_LEAVE_SECONDS_MAX);
        h->leave_by_ms = UINT64_MAX >> 1;
        kill(h->child, SIGKILL);
    }
    if (!h->over && h->child == 0 && timeout_ms(h) == 0 && !vv_holder_start(h))
        it_died(h, W_EXITCODE(VV_EXIT_FAILED, 0));
}

int vv_holder_run(const VvOptions *options, const char *directory, int ready_fd)
{
    VvHolding h = { .options = options, .directory = directory, .ready_fd = ready_fd, .signal_fd = -1, .socket = -1,
        .listener = -1, .client = -1, .program_fd = -1, .old_program_fd = -1, .code = VV_EXIT_FAILED };

    prctl(PR_SET_NAME, "vvfs-holder");
    vv_privilege_hold();
    if (!begin(&h) || !vv_holder_start(&h))
        return VV_EXIT_FAILED;
    vv_memory_hold();
    vv_holder_set_oom_score("-1000");
    while (!h.over)
        turn(&h);
    return h.code;
}
