/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Crashes of one recording: states of the medium at every boundary, the real recovery on each, and what it shows held against the
 * model.
 *
 * A boundary is where something that was not durable becomes so (a sync, a write through O_DSYNC), and the end. Between two of them
 * more is acknowledged and more may reach the medium, so the last moment before a boundary asks most and has all the others'
 * states. At each: nothing of what was not synced, all of it (a kill), one event, all but one, the first few, and sectors by
 * chance; torn at a sector; all 2^n subsets where these are few. */
#ifndef VV_CRASH_EXPLORE_H
#define VV_CRASH_EXPLORE_H

#include "image.h"
#include "work.h"

typedef struct {
    Image *image;
    Log *log;     /* of the recording */
    Log *scratch; /* of recoveries */
    Shown shown;
    uint64_t seed;
    unsigned per_boundary; /* states, at most */
    uint64_t only_state;   /* this one alone; 0: all */
    uint64_t states;       /* tried so far, in all recordings */
    uint64_t in_recording; /* numbers of the present one's */
    uint64_t boundaries;
    uint64_t skip_ops;    /* states are tried when so many ops have begun, */
    uint64_t skip_bytes;  /* and behind so many bytes of the log */
    char *about;          /* how to make this recording again; for messages */
    Model *start;         /* what the recording began with */
    uint64_t deadline_ms; /* no recording begins after it; 0: none */
    const char *folder;   /* of all files */
} Explorer;

/* All boundaries that are not to be skipped. The folder is left as the last state. @ret_at: NULL, or a model that becomes
 * what a state that was chosen by chance shows; the folder is that state then, not recovered. */
void explore(Explorer *explorer, Model *ret_at);
/* The folder becomes what the kernel shows after all of the log, as after a kill; nothing of it is forgotten. */
void explore_go_to_end(Explorer *explorer);
/* Does the log account for everything in the folder, as the recorded processes left it? Fails the program if not. */
void explore_prove_log(Explorer *explorer);
/* Say what failed, store the recording, and end. From signal handlers too. */
void explore_fail(const char *why) __attribute__((noreturn));
/* With all that is in it, at the end. */
void explore_remove_folder(const Explorer *explorer);
/* Failures from now on, also crashes of the program, are this one's. */
void explore_watch(Explorer *explorer);

#endif
