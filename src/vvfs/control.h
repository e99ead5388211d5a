/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The control loop: one libevent base on one thread, and a way for the others to run something on it. */
#ifndef VV_CONTROL_H
#define VV_CONTROL_H

#include <event2/event.h>
#include <glib.h>
#include <stdbool.h>

typedef struct VvControl VvControl;
typedef void (*VvControlFunc)(void *data);

VvControl *vv_control_new(GError **error);
/* Nothing may post any more. What was posted and did not run never will. */
void vv_control_free(VvControl *loop);
struct event_base *vv_control_base(VvControl *loop);
/* Until vv_control_stop. */
void vv_control_run(VvControl *loop);
/* The loop's thread only. */
void vv_control_stop(VvControl *loop);
/* Any thread; runs on the loop's thread, in the order of posting. */
void vv_control_post(VvControl *loop, VvControlFunc func, void *data);

#endif
