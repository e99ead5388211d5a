/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The admin socket: clients, lines, limits. All on the loop's thread. */
#ifndef VV_SERVER_H
#define VV_SERVER_H

#include "daemon.h"
#include "rpc.h"

#include <glib.h>
#include <stdbool.h>

#define VV_ADMIN_SOCKET "admin.sock"
/* A client that may only look gets less, so that nobody can fill the daemon's memory or its places. */
#define VV_LOOKERS_MAX 128u
#define VV_LOOKER_LINE_BYTES_MAX (64u << 10)
#define VV_CLIENT_OUTPUT_BYTES_MAX (8u << 20)  /* waiting to be read: more, and the client is dropped */
#define VV_CLIENT_OUTPUT_BYTES_EASY (1u << 20) /* more, and no further request of its is begun */
#define VV_OUTPUT_BYTES_MAX (32u << 20)        /* of all clients: more, and large ones are dropped */
#define VV_CLIENT_STALL_SECONDS 60             /* reads nothing for so long though there is something: dropped */

typedef struct VvServer VvServer;

/* Would the socket of a pool in @directory have too long a path? Error: usage. Any thread. */
bool vv_server_check_path(const char *directory, GError **error);
/* Replaces a stale socket: the caller holds the pool's lock. Serves from the next turn of the loop. */
VvServer *vv_server_new(VvDaemon *daemon, GError **error);
/* No more clients and no more requests; the socket is removed. Calls under way go on and are answered. */
void vv_server_stop(VvServer *server);
/* Calls that are not answered yet. */
unsigned vv_server_busy(const VvServer *server);
void vv_server_free(VvServer *server);

/* NULL: it has gone. */
VvClient *vv_server_client(VvServer *server, uint64_t number);
uint64_t vv_client_number(const VvClient *client);
bool vv_client_may_change(const VvClient *client);
/* Bytes that wait to be read by it. */
size_t vv_client_waiting(const VvClient *client);
/* Queue one line; LF is added. The client may be gone afterwards (dropped): ask again before the next use. */
void vv_client_send(VvClient *client, const char *text);
/* A call begins and ends; its client may have gone when it ends. */
void vv_client_add_call(VvClient *client, VvCall *call);
/* A call of no client. False: the server has stopped. */
bool vv_server_begin_call(VvServer *server);
void vv_server_end_call(VvServer *server, VvCall *call);

#endif
