/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The holder, for its own files: holder.c (the loop), holder_start.c (processes and what they say), holder_upgrade.c. */
#ifndef VV_HOLDER_PRIVATE_H
#define VV_HOLDER_PRIVATE_H

#include "hold.h"
#include "holder.h"

#include <signal.h>

typedef struct {
    const VvOptions *options;
    const char *directory;
    int ready_fd; /* -1: told, or nobody waits */
    sigset_t signals_before;
    char oom_score[16]; /* that this process was given: who serves gets it too */
    int signal_fd;
    VvHoldState *state;
    int state_fd;
    int program_fd; /* what is started */

    pid_t child; /* 0: none */
    int socket;  /* to it; -1 */
    bool ready, was_ready; /* this one; one of them */
    uint64_t ready_ms;
    unsigned deaths; /* in a row, each before VV_RESTART_STEADY_MS */
    uint64_t start_at_ms;
    bool over;
    int code;

    /* upgrade */
    int listener, client; /* -1 */
    ino_t listener_inode;
    int old_program_fd;   /* until the new one serves; -1 */
    int probe_fd;         /* what the probe says; valid while probe */
    pid_t probe;          /* looks whether it understands the state; 0: none */
    bool leaving;         /* the old one was told */
    uint64_t leave_by_ms;
    bool upgrading;       /* until the new one serves, or the old one again */
    char failure[512];    /* why the new one could not; "" */
} VvHolding;

/* ---- holder_start.c */
const char *vv_holder_what(const VvHolding *h); /* for messages: the mount point; of a witness the directory */
/* The kernel is not to choose the holder when memory runs out: it would lose all, for less than a megabyte. */
void vv_holder_set_oom_score(const char *text);
int vv_holder_memfd(const char *name, uint64_t bytes); /* -1 with errno */
bool vv_holder_start(VvHolding *h);                    /* false: it was said why */
/* Run @program_fd with --serve in a process of its own, which inherits what the state names. Its number, or -1. */
pid_t vv_holder_spawn(VvHolding *h, int program_fd, int socket, int error_fd);
void vv_holder_read_messages(VvHolding *h);
void vv_holder_tell(VvHolding *h, char message);

/* ---- holder_upgrade.c */
void vv_holder_listen(VvHolding *h);
void vv_holder_accept(VvHolding *h);
void vv_holder_read_client(VvHolding *h);
void vv_holder_probe_ended(VvHolding *h, pid_t pid, int status);
void vv_holder_revert(VvHolding *h, const char *why);
void vv_holder_serves_again(VvHolding *h); /* whoever was started is ready */
/* To who asked for an upgrade, if anybody. */
void vv_holder_answer(VvHolding *h, int code, const char *text);
void vv_holder_close_socket(VvHolding *h);

#endif
