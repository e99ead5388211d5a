/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Addresses of nodes: parse and show. */
#include "address.h"

#include "error.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <string.h>

#define HINT "An address is 10.0.0.1, 10.0.0.1:7333, fd00::1 or [fd00::1]:7333; names are not resolved."

static bool refuse(GError **error, const char *text, const char *why)
{
    vv_set_error(error, VV_ERROR_USAGE, text, HINT, "\"%s\" is not the address of a node: %s", text, why);
    return false;
}

/* Decimal, no sign, no leading zero, at most 65535; -1: not so. */
static int parse_port(const char *text)
{
    unsigned value = 0;

    if (text[0] == '\0' || (text[0] == '0' && text[1] != '\0'))
        return -1;
    for (const char *c = text; *c; c++) {
        if (!g_ascii_isdigit(*c))
            return -1;
        value = value * 10 + (unsigned) (*c - '0');
        if (value > 65535)
            return -1;
    }
    return (int) value;
}

/* Cut @text into host and port (NULL: none is said). False: the brackets do not match. */
static bool split(const char *text, char **ret_host, char **ret_port)
{
    const char *colon = strchr(text, ':');

    if (text[0] == '[') {
        const char *end = strchr(text, ']');

        if (!end || (end[1] != '\0' && end[1] != ':'))
            return false;
        *ret_host = g_strndup(text + 1, (gsize) (end - text - 1));
        *ret_port = end[1] == ':' ? g_strdup(end + 2) : NULL;
    } else if (colon && strchr(colon + 1, ':') == NULL) {
        *ret_host = g_strndup(text, (gsize) (colon - text));
        *ret_port = g_strdup(colon + 1);
    } else {
        *ret_host = g_strdup(text);
        *ret_port = NULL;
    }
    return true;
}

static void show(VvAddress *address)
{
    char host[INET6_ADDRSTRLEN + 32];
    unsigned port = vv_address_port(address);

    g_strlcpy(address->text, "?", sizeof address->text);
    if (getnameinfo((const struct sockaddr *) &address->socket, address->socket_bytes, host, sizeof host, NULL, 0,
            NI_NUMERICHOST) != 0)
        return;
    g_snprintf(
        address->text, sizeof address->text, address->socket.ss_family == AF_INET6 ? "[%s]:%u" : "%s:%u", host, port);
}

unsigned vv_address_port(const VvAddress *address)
{
    if (address->socket.ss_family == AF_INET)
        return ntohs(((const struct sockaddr_in *) &address->socket)->sin_port);
    if (address->socket.ss_family == AF_INET6)
        return ntohs(((const struct sockaddr_in6 *) &address->socket)->sin6_port);
    return 0;
}

void vv_address_set(VvAddress *address, const struct sockaddr *socket, socklen_t socket_bytes)
{
    memset(address, 0, sizeof *address);
    address->socket_bytes = MIN(socket_bytes, (socklen_t) sizeof address->socket);
    memcpy(&address->socket, socket, address->socket_bytes);
    show(address);
}

bool vv_address_parse(const char *text, bool any_port, VvAddress *ret_address, GError **error)
{
    struct addrinfo want = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV
    };
    struct addrinfo *found = NULL;
    g_autofree char *host = NULL, *port_text = NULL;
    char service[8];
    int port = VV_PEER_PORT;

    if (strlen(text) > VV_ADDRESS_BYTES_MAX)
        return refuse(error, text, "it is too long");
    if (!split(text, &host, &port_text))
        return refuse(error, text, "its brackets do not match");
    if (port_text)
        port = parse_port(port_text);
    if (port < 0 || (port == 0 && !any_port))
        return refuse(error, text, "a port is a number from 1 to 65535");
    /* getaddrinfo takes "10.1", "0x7f.1" and the like: only what it would show is an address */
    if (host[0] == '\0' || (strchr(host, ':') == NULL && inet_pton(AF_INET, host, &(struct in_addr){ 0 }) != 1))
        return refuse(error, text, "it is not numeric");
    g_snprintf(service, sizeof service, "%d", port);
    if (getaddrinfo(host, service, &want, &found) != 0)
        return refuse(error, text, "it is not numeric");
    vv_address_set(ret_address, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    return true;
}

bool vv_address_same_host(const VvAddress *a, const VvAddress *b)
{
    if (a->socket.ss_family != b->socket.ss_family)
        return false;
    if (a->socket.ss_family == AF_INET)
        return ((const struct sockaddr_in *) &a->socket)->sin_addr.s_addr ==
               ((const struct sockaddr_in *) &b->socket)->sin_addr.s_addr;
    return memcmp(&((const struct sockaddr_in6 *) &a->socket)->sin6_addr,
               &((const struct sockaddr_in6 *) &b->socket)->sin6_addr, sizeof(struct in6_addr)) == 0;
}
