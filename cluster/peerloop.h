/* SPDX-License-Identifier: GPL-2.0-or-later */
/* An event loop with a thread of its own. Whatever lives on a loop is touched by its thread alone; others post. */
#ifndef VV_PEERLOOP_H
#define VV_PEERLOOP_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

struct event_base;
typedef struct VvPeerLoop VvPeerLoop;
typedef struct VvPeerTimer VvPeerTimer;
typedef void (*VvPeerLoopFunc)(void *data);

/* @name: of the thread, 15 characters at most. */
VvPeerLoop *vv_peer_loop_new(const char *name, GError **error);
/* Runs what was posted until nothing is left, ends the thread, frees. Nothing may be posted by other threads any more, and what lives
 * on the loop must have been freed. Not from its own thread. */
void vv_peer_loop_free(VvPeerLoop *loop);
struct event_base *vv_peer_loop_base(VvPeerLoop *loop);
/* Run @func on the loop's thread, after everything posted before; never at once. Any thread. */
void vv_peer_loop_post(VvPeerLoop *loop, VvPeerLoopFunc func, void *data);
/* The same, and wait until it has run; at once on the loop's own thread. */
void vv_peer_loop_run(VvPeerLoop *loop, VvPeerLoopFunc func, void *data);
bool vv_peer_loop_is_mine(const VvPeerLoop *loop);

/* ---- timers: on the loop's thread alone */
VvPeerTimer *vv_peer_timer_new(VvPeerLoop *loop, VvPeerLoopFunc func, void *data);
void vv_peer_timer_free(VvPeerTimer *timer);
/* Once, in @delay_ms; replaces what was set. */
void vv_peer_timer_set(VvPeerTimer *timer, uint64_t delay_ms);
void vv_peer_timer_clear(VvPeerTimer *timer);
/* How late timers were, at worst, since this was last asked; any thread. */
uint64_t vv_peer_loop_take_late_ms(VvPeerLoop *loop);

#endif
