/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A shipper and the other end of its connection: a server that does what the test says, over TLS on the loopback interface. */
#ifndef VV_SHIPPER_NET_H
#define VV_SHIPPER_NET_H

#include "object.h"
#include "peer_limits.h"
#include "shipper.h"

#include <pthread.h>

#define SHIP_ASKED_MAX 512u

typedef struct {
    VvObjectAsk ask;
    unsigned connection;    /* it came on: 1, 2 ... */
    unsigned opens_waiting; /* when it came: opens before it on the same connection that were not answered */
    uint8_t first;          /* byte of a write's data */
    struct VvPeer *peer;           /* reference; NULL: answered */
    uint64_t request;
} ShipAsked;

typedef struct ShipNet ShipNet;

/* Nobody serves yet. @shipper: borrowed, freed after it. */
ShipNet *ship_net_new(VvShipper *shipper);
void ship_net_free(ShipNet *net);
void ship_net_serve(ShipNet *net, bool on); /* each time another instance */
void ship_net_cut(ShipNet *net);            /* its connections end; it stays */

/* What is answered only by hand: of operations whose bit (1 << op) is in @ops, on @object or (0) on any. */
void ship_net_hold(ShipNet *net, unsigned ops, uint64_t object);
/* How opens are answered from now on, @times; then 0. */
void ship_net_refuse_opens(ShipNet *net, int result, unsigned times);
/* What all answers say. */
void ship_net_set(ShipNet *net, uint64_t incarnation, uint64_t applied, uint64_t size_bytes);
/* Wait until so many requests have come, ever. A copy of one; -> how many there were. */
void ship_net_await(ShipNet *net, unsigned count);
ShipAsked ship_net_asked(ShipNet *net, unsigned index);
unsigned ship_net_count(ShipNet *net);
/* One that was held, or all. */
void ship_net_answer(ShipNet *net, unsigned index, int result);
void ship_net_answer_all(ShipNet *net);

#endif
