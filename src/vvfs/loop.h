/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The control loop: one libevent base on one thread, and a way for the others to run something on it. */
#ifndef VV_LOOP_H
#define VV_LOOP_H

#include <event2/event.h>
#include <glib.h>
#include <stdbool.h>

typedef struct VvLoop VvLoop;
typedef void (*VvLoopFunc)(void *data);

VvLoop *vv_loop_new(GError **error);
/* Nothing may post any more. What was posted and did not run never will. */
void vv_loop_free(VvLoop *loop);
struct event_base *vv_loop_base(VvLoop *loop);
/* Until vv_loop_stop. */
void vv_loop_run(VvLoop *loop);
/* The loop's thread only. */
void vv_loop_stop(VvLoop *loop);
/* Any thread; runs on the loop's thread, in the order of posting. */
void vv_loop_post(VvLoop *loop, VvLoopFunc func, void *data);

#endif
