/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vvfs: the mount daemon. This file: the command line, and going to the background.
 *
 *   parent                          child
 *   finds the pool, forks           holds the mount, and starts who serves it (holder.h); or serves itself
 *   waits at a pipe                 writes one byte, the exit code, when the mount is there; or says on stderr (the
 *                                   caller's) why not, and ends
 *   looks whether the mount answers
 *   exits */
#include "config.h"
#include "daemon.h"
#include "error.h"
#include "held.h"
#include "holder.h"
#include "offline.h"
#include "options.h"
#include "upgrade.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

static int say_error(const GError *error, int code)
{
    const char *hint = vv_error_get_hint(error);

    fprintf(stderr, "vvfs: %s%s%s\n", error->message, hint ? g_str_has_suffix(hint, ".") ? ". " : ": " : "",
        hint ? hint : "");
    return code;
}

/* Absolute and without symbolic links; the mount of a daemon that died cannot be resolved itself, but its parent can. */
static char *resolve_mountpoint(const char *mountpoint)
{
    g_autofree char *absolute = g_canonicalize_filename(mountpoint, NULL);
    char *real = realpath(absolute, NULL);
    char *copy;

    if (!real) {
        g_autofree char *parent = g_path_get_dirname(absolute), *base = g_path_get_basename(absolute);
        char *real_parent = realpath(parent, NULL);

        copy = real_parent ? g_build_filename(real_parent, base, NULL) : g_strdup(absolute);
        free(real_parent);
        return copy;
    }
    copy = g_strdup(real);
    free(real);
    return copy;
}

/* The exit code for the caller. */
static int wait_until_ready(int fd, pid_t child, const VvOptions *options)
{
    struct stat st;
    char code;
    ssize_t got;
    int status;

    do
        got = read(fd, &code, 1);
    while (got < 0 && errno == EINTR);
    if (got == 1 && code == VV_EXIT_OK) {
        /* Waits until it is served; what it answers (EACCES for other users) does not matter. */
        if (options->mountpoint && stat(options->mountpoint, &st) != 0 && errno == ENOTCONN) {
            fprintf(stderr, "vvfs: the mount at %s has gone already; see the log\n", options->mountpoint);
            return VV_EXIT_MOUNT;
        }
        return VV_EXIT_OK;
    }
    /* It has said why. */
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        continue;
    if (WIFEXITED(status) && WEXITSTATUS(status) != 0)
        return WEXITSTATUS(status);
    fprintf(stderr, "vvfs: the daemon ended before %s; see the log\n", options->witness ? "it voted" : "the mount was there");
    return VV_EXIT_FAILED;
}

/* Rings cannot be taken over (docs/fuse.md); a witness has none. */
static int hold_or_serve(const VvOptions *options, const char *directory, int ready_fd)
{
    return options->norestart || (options->ring && !options->witness) ? vv_daemon_run(options, directory, ready_fd, NULL)
                                               : vv_holder_run(options, directory, ready_fd);
}

/* Started by a holder: directory and mount point are absolute, and the mount may be one that only we could answer for. */
static int serve_for_holder(const VvOptions *options)
{
    g_autoptr(GError) error = NULL;
    VvHeld *held = vv_held_open(options->serve, &error);
    int code;

    if (!held)
        return say_error(error, VV_EXIT_FAILED);
    prctl(PR_SET_NAME, "vvfs");
    vv_log_init(options->log_level, vv_held_state(held)->background, "vvfs");
    code = vv_held_is_probe(held) ? VV_EXIT_OK : vv_daemon_run(options, options->pool, -1, held);
    vv_held_free(held);
    return code;
}

static int run_in_background(const VvOptions *options, const char *directory)
{
    int pipe_fds[2];
    pid_t child;

    if (pipe2(pipe_fds, O_CLOEXEC) != 0 || (child = fork()) < 0) {
        fprintf(stderr, "vvfs: cannot go to the background: %s\n", g_strerror(errno));
        return VV_EXIT_FAILED;
    }
    if (child > 0) {
        close(pipe_fds[1]);
        return wait_until_ready(pipe_fds[0], child, options);
    }
    close(pipe_fds[0]);
    setsid();
    vv_log_init(options->log_level, true, "vvfs");
    return hold_or_serve(options, directory, pipe_fds[1]);
}

static int serve(VvOptions *options)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *directory = vv_pool_locate(options->pool, &error);
    g_autofree char *mountpoint = NULL;

    if (!directory)
        return say_error(error, VV_EXIT_FAILED);
    mountpoint = options->mountpoint;
    options->mountpoint = mountpoint ? resolve_mountpoint(mountpoint) : NULL;
    if (!options->foreground)
        return run_in_background(options, directory);
    vv_log_init(options->log_level, false, "vvfs");
    return hold_or_serve(options, directory, -1);
}

int main(int argc, char **argv)
{
    g_autoptr(GError) error = NULL;
    VvOptions options;
    int code = VV_EXIT_OK;

    umask(022);
    if (!vv_options_parse(argc, argv, &options, &error))
        code = say_error(error, VV_EXIT_USAGE);
    else if (options.help)
        vv_options_help();
    else if (options.version)
        printf("vvfs %s\n", PACKAGE_VERSION);
    else if (options.offline)
        code = vv_offline_run(options.offline);
    else if (options.upgrade)
        code = vv_upgrade_run(options.upgrade);
    else if (options.serve)
        code = serve_for_holder(&options);
    else
        code = serve(&options);
    vv_options_clear(&options);
    return code;
}
