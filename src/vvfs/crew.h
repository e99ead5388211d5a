/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A crew: a bounded number of threads that do what the control loop must not wait for. */
#ifndef VV_CREW_H
#define VV_CREW_H

#include <glib.h>

typedef struct VvCrew VvCrew;
typedef void (*VvCrewFunc)(void *data);

/* Threads are started as they are needed, at most @threads_max, and stay. @name: at most 15 bytes, for ps. */
VvCrew *vv_crew_new(const char *name, unsigned threads_max);
/* Does what is queued first, then waits for the threads to end. */
void vv_crew_free(VvCrew *crew);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VvCrew, vv_crew_free)
/* Any thread. The queue has no limit of its own: those who ask have (64 requests of each of 256 clients). */
void vv_crew_run(VvCrew *crew, VvCrewFunc func, void *data);

#endif
