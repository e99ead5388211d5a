/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A remote medium over a transport: what waits, is sent again, is kept to be written again, and whose disk it is. The rules are on top of
 * link.c. A transport carries requests to a server and answers back, and may go at any time. */
#ifndef VV_LINK_H
#define VV_LINK_H

#include "remote.h"

typedef enum {
    VV_TRANSPORT_BUSY, /* connecting */
    VV_TRANSPORT_READY,
    VV_TRANSPORT_GONE, /* until it is ended, and begun again */
} VvTransportState;

/* What the server says of the medium. */
typedef struct {
    uint64_t bytes;           /* its size */
    uint64_t piece_bytes_max; /* of one request; a multiple of VV_BLOCK_BYTES */
    bool can_discard;
} VvTransportFacts;

/* The beginning of each transport. All is called by the link's thread, but free, when that has ended. */
typedef struct VvTransport VvTransport;
typedef struct {
    /* Begin to connect. False: gone already. Errors: io (it is tried again), others (who opens it is told at once). */
    bool (*begin)(VvTransport *transport, GError **error);
    VvTransportState (*state)(VvTransport *transport, char **ret_why); /* *ret_why: a new text, if gone */
    /* Ready: is it of use as a disk? Errors: denied, unsupported, io. */
    bool (*examine)(VvTransport *transport, bool read_only, VvTransportFacts *ret_facts, GError **error);
    /* Send a piece of @request; @data is borrowed until it is answered or the transport is ended. Answered by vv_link_answered, from within
     * any of these functions but free. Returns 0, or an errno as vv_link_answered has it: it is answered with that. */
    int (*give)(VvTransport *transport, VvRemoteRequest *request, void *data, uint64_t offset, uint64_t bytes);
    /* Wait until something came, @wake_fd is readable (which is read), or @timeout_ms have passed. */
    void (*drive)(VvTransport *transport, int wake_fd, int timeout_ms);
    /* Nothing is answered after it, no data is borrowed any more, and what was not sent never is. @orderly: the server has done all that it was
     * sent. */
    void (*end)(VvTransport *transport, bool orderly);
    void (*free)(VvTransport *transport);
} VvTransportOps;
struct VvTransport {
    const VvTransportOps *ops;
};

/* A piece of @request is over. @error: 0 or an errno; ENOTCONN and ESHUTDOWN: the server is not there, send it again. @incarnation: what was
 * not synced under another one is lost; 0: the server cannot tell, so each new connection is another one. */
void vv_link_answered(VvRemoteRequest *request, int error, uint64_t incarnation);

/* Connect. Takes @transport, also on failure. @name: what messages call it. Otherwise as vv_remote_open. */
VvRemote *vv_link_open(VvTransport *transport, const char *name, bool read_only, unsigned wait_ms, GError **error);
/* The same of a medium that is known to be @label's disk, and may be away: waits for nothing. Error: no thread. */
VvRemote *vv_link_open_known(VvTransport *transport, const char *name, const VvLabel *label, GError **error);

#endif
