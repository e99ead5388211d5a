/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A server of objects and who asks it: a mesh each, over TLS on the loopback interface. What is asked is written by hand. */
#ifndef VV_OBJECTS_NET_H
#define VV_OBJECTS_NET_H

#include "object.h"
#include "object_server.h"

typedef struct ServeNet ServeNet;

/* One request; the test's, until it is over. */
typedef struct {
    VvObjectAsk ask;
    const void *data; /* of a write: ask.length_bytes */
    void *into;       /* of a read: as many */
    int wire;         /* when it is over: 0, -ECONNRESET, -ETIMEDOUT, or -ENOTCONN: it was not sent */
    VvObjectAnswer answer;
    /* the net's */
    ServeNet *net;
    bool replied, data_gone;
} ServeCall;

/* n1 listens, with @server (borrowed, freed after it), and nobody asks yet. */
ServeNet *serve_net_new(VvObjectServer *server);
void serve_net_free(ServeNet *net);
/* n2 is there from now on (each time another process), and its data connection is up; or it ends. */
void serve_net_client(ServeNet *net, bool on);
/* The same, and it has the certificate of a guest. */
void serve_net_guest(ServeNet *net);
/* Its connections end; it dials anew, and that is waited for. */
void serve_net_cut(ServeNet *net);
unsigned serve_net_ups(ServeNet *net); /* of its data connection, ever */
void serve_net_await_ups(ServeNet *net, unsigned count);

void serve_net_send(ServeNet *net, ServeCall *call);
/* Its body is these bytes. */
void serve_net_send_raw(ServeNet *net, ServeCall *call, const void *body, uint32_t body_bytes, uint32_t data_bytes);
bool serve_net_is_over(ServeCall *call);
void serve_net_await(ServeCall *call);

#endif
