/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The command line of vvfs. */
#ifndef VV_OPTIONS_H
#define VV_OPTIONS_H

#include "util.h"

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define VV_EXIT_OK 0
#define VV_EXIT_FAILED 1 /* refused, or something went wrong */
#define VV_EXIT_USAGE 2
#define VV_EXIT_NO_QUORUM 3
#define VV_EXIT_MOUNT 32 /* mount(8)'s word for "mount failed" */

typedef struct {
    char *pool;       /* as given */
    char *mountpoint; /* as given; absolute after vv_options_resolve; NULL: a witness */
    bool foreground;
    bool witness; /* no mount, and @mountpoint is NULL */
    bool help, version;
    char *offline; /* method of --offline, or NULL */
    bool read_only;
    bool allow_other;
    bool ring;
    bool norestart;
    char *serve;   /* words of --serve, or NULL: started by a holder */
    char *upgrade; /* mount or pool of --upgrade, or NULL */
    char **words;  /* the options as given, for who is started to serve; NULL-terminated */
    bool noatime, nodev, nosuid, noexec; /* for the mount */
    bool have_uid, have_gid, have_mode;
    uid_t uid;
    gid_t gid;
    uint32_t mode;           /* permission bits of what has none of its own */
    unsigned threads;        /* 0: one per processor, at most VV_WORKERS_MAX */
    unsigned stop_timeout_s; /* 0: none */
    unsigned wait_s;
    char *metrics;     /* ADDR:PORT or NULL */
    char *admin_group; /* or NULL */
    VvLogLevel log_level;
} VvOptions;

/* Error: usage. What was understood is in @ret_options in any case (help, version). */
bool vv_options_parse(int argc, char **argv, VvOptions *ret_options, GError **error);
void vv_options_clear(VvOptions *options);
/* What --help prints. */
void vv_options_help(void);

/* CLI.md section 2: with '/' a path, a pool directory or a mount point; else the pool mounted under that name, else
 * /var/lib/vvfs/NAME, else a directory here. Absolute and newly allocated. Error: not-found. */
char *vv_pool_locate(const char *pool, GError **error);

#endif
