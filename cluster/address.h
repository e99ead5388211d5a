/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where a node is reached: a numeric IPv4 or IPv6 address and a port. Names are refused: a pool must come up, and nodes find each
 * other again, while the name service is one of the things that wait for it. */
#ifndef VV_ADDRESS_H
#define VV_ADDRESS_H

#include "peer_limits.h"

#include <glib.h>
#include <stdbool.h>
#include <sys/socket.h>

typedef struct {
    struct sockaddr_storage socket;
    socklen_t socket_bytes;
    char text[VV_ADDRESS_BYTES_MAX + 16]; /* "10.0.0.1:7333", "[fd00::1]:7333": the same for every spelling */
} VvAddress;

/* @text: "A.B.C.D", "A.B.C.D:PORT", "IPV6", "[IPV6]", "[IPV6]:PORT", with "%INTERFACE" for link-local ones; without a port
 * VV_PEER_PORT. Port 0 only if @any_port (to listen where there is room). Error: VV_ERROR_USAGE. */
bool vv_address_parse(const char *text, bool any_port, VvAddress *ret_address, GError **error);
/* From what the kernel tells of a socket; NULL text ("?") for families other than the two. */
void vv_address_set(VvAddress *address, const struct sockaddr *socket, socklen_t socket_bytes);
/* The same host, whatever the port? */
bool vv_address_same_host(const VvAddress *a, const VvAddress *b);
unsigned vv_address_port(const VvAddress *address);

#endif
