/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Random walks: what is done to a cluster, made from a seed beforehand; a walk that fails is shortened and printed.
 *
 * VV_MODEL_SEED=N repeats one walk, VV_MODEL_RUNS and VV_MODEL_STEPS say how many and how long, VV_SIM_VERBOSE=1 prints every event.
 * VV_SIM_EVENTS=N: as many walks as it takes to handle so many events, from seed VV_SIM_FIRST on. */
#ifndef VV_SIM_SCRIPT_H
#define VV_SIM_SCRIPT_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct {
    uint64_t time_ms;
    unsigned action;
    uint64_t a, b; /* as the action likes; a number in general, so that steps mean something in any surroundings */
} SimStep;

typedef struct {
    const char *name;
    unsigned actions;
    const unsigned *weights; /* per action */
    const char *const *names;
    uint64_t step_ms; /* mean time between steps */
    /* The whole walk. NULL: all well; else what was violated, the caller frees it. @ret_events: how many it took. */
    char *(*run)(uint64_t seed, const SimStep *steps, unsigned count, bool verbose, void *user, uint64_t *ret_events);
    void *user;
    uint64_t events; /* 0, or: so many, however many walks that takes */
} SimWalk;

typedef struct {
    uint64_t seed; /* of the walk that failed */
    uint64_t walks, events;
    char *violation; /* NULL: none */
    GArray *steps;   /* SimStep, shortened */
} SimFinding;

/* @runs walks of @steps steps from seed @first on, or until one fails. @shorten: look for the shortest script that fails. */
SimFinding *sim_walk(const SimWalk *walk, uint64_t first, unsigned runs, unsigned steps, bool shorten);
void sim_finding_free(SimFinding *finding);
/* What it prints; the caller frees it. */
char *sim_finding_text(const SimWalk *walk, const SimFinding *finding);
void sim_finding_print(const SimWalk *walk, const SimFinding *finding);
/* A test that wants none: asserts after printing. Environment as above, else @runs and @steps. */
void sim_walk_test(const SimWalk *walk, unsigned runs, unsigned steps);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(SimFinding, sim_finding_free)

#endif
