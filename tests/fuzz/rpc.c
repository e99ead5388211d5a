/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One line of a client of the admin socket, through the parser, the dispatcher and the checks of params that the daemon has. Crews run at
 * once; handlers look at every param that their method's row promises. Each request with an id has exactly one answer, which is
 * JSON; a notification has none. */
#include "error.h"
#include "fuzz.h"
#include "node.h"
#include "relay.h"
#include "reserve.h"
#include "server.h"
#include "settle.h"

#include <string.h>

static VvDaemon the_daemon = { .name = (char *) "fuzz" };
static unsigned count_answers;
static bool may_change;

/* ---- the socket's side, which is a fake */
static VvClient *const the_client = (VvClient *) &the_daemon;

VvClient *vv_server_client(VvServer *server, uint64_t number)
{
    (void) server;
    return number == 1 ? the_client : NULL;
}
uint64_t vv_client_number(const VvClient *client)
{
    g_assert_true(client == the_client);
    return 1;
}
bool vv_client_may_change(const VvClient *client)
{
    g_assert_true(client == the_client);
    return may_change;
}
void vv_client_send(VvClient *client, const char *text)
{
    const char *why = NULL;
    g_assert_true(client == the_client);
    g_assert_true(vv_json_check(text, strlen(text), &why));
    g_assert_null(strchr(text, '\n'));
    count_answers++;
}
void vv_client_add_call(VvClient *client, VvCall *call)
{
    g_assert_true(client == the_client && call->client == 1);
}
void vv_server_end_call(VvServer *server, VvCall *call)
{
    (void) server;
    g_assert_nonnull(call->method);
}
bool vv_server_begin_call(VvServer *server)
{
    (void) server;
    return true;
}

/* ---- a node that has the disks */
bool vv_node_may_change(VvClusterNode *node, bool here, uint64_t deadline_ms, GError **error)
{
    (void) node;
    (void) here;
    (void) deadline_ms;
    (void) error;
    return true;
}
bool vv_node_refuse_guest(VvDaemon *daemon, GError **error)
{
    (void) daemon;
    (void) error;
    return true;
}
bool vv_relay_is_wanted(const VvCall *call)
{
    (void) call;
    return false;
}
bool vv_relay_may_mend(const VvCall *call)
{
    (void) call;
    return false;
}
bool vv_relay_call(VvCall *call, GError **error)
{
    (void) call;
    (void) error;
    g_assert_not_reached();
}
void vv_relay_answer(VvCall *call)
{
    (void) call;
    g_assert_not_reached();
}
uint64_t vv_relayed_by(const VvRelayed *relayed)
{
    (void) relayed;
    g_assert_not_reached();
}
void vv_settle(VvDaemon *daemon, uint64_t but)
{
    (void) daemon;
    g_assert_cmpuint(but, ==, 0);
}
void vv_relayed_free(VvRelayed *relayed)
{
    g_assert_null(relayed);
}
void vv_reservations_release(VvReservations *reservations, uint64_t client)
{
    (void) reservations;
    (void) client;
}
void vv_daemon_may_leave(VvDaemon *daemon)
{
    g_assert_true(daemon == &the_daemon);
}
void vv_crew_run(VvCrew *crew, VvCrewFunc func, void *data)
{
    (void) crew;
    func(data);
}
void vv_control_post(VvControl *loop, VvControlFunc func, void *data)
{
    (void) loop;
    func(data);
}
bool vv_call_replay(VvCall *call)
{
    const char *id = vv_call_string(call, "request_id");
    if (!id || id[0] != 'r')
        return false;
    call->result = json_object_new();
    return true;
}
void vv_result_expand(VvDaemon *daemon, JsonObject *result)
{
    (void) daemon;
    (void) result;
}

/* ---- handlers */
static void look_at(VvCall *call, const char *name, char type)
{
    switch (type) {
    case 's':
        g_assert_true(!vv_call_has(call, name) || g_utf8_validate(vv_call_string(call, name), -1, NULL));
        break;
    case 'S': {
        g_auto(GStrv) list = vv_call_strings(call, name);
        for (unsigned i = 0; list[i]; i++)
            g_assert_true(g_utf8_validate(list[i], -1, NULL));
        break;
    }
    case 'u':
        g_assert_cmpuint(vv_call_u64(call, name, 0), <=, INT64_MAX);
        break;
    case 'b':
        (void) vv_call_bool(call, name);
        break;
    case 'm':
        g_assert_true(!vv_call_has(call, name) || vv_call_object(call, name) != NULL);
        break;
    default:
        break;
    }
}

static bool handle(VvCall *call, GError **error)
{
    g_auto(GStrv) params = g_strsplit(call->method->params, " ", -1);
    for (unsigned i = 0; params[i] && *params[i]; i++) {
        g_auto(GStrv) parts = g_strsplit(params[i], ":", 2);
        size_t length = strlen(parts[0]);
        bool optional = parts[0][length - 1] == '?';
        parts[0][length - optional] = '\0';
        g_assert_true(optional || vv_call_has(call, parts[0]));
        look_at(call, parts[0], parts[1][0]);
    }
    if (vv_call_has(call, "name") && vv_call_string(call, "name") && !vv_name_check(vv_call_string(call, "name"), "LUN", error))
        return false;
    return vv_call_done(call, vv_json_copy(call->params));
}

#define HANDLER(name) \
    bool vv_rpc_##name(VvCall *call, GError **error) { return handle(call, error); }
HANDLER(pool_status) HANDLER(pool_get) HANDLER(pool_set) HANDLER(pool_check) HANDLER(pool_scrub) HANDLER(lun_create) HANDLER(lun_list)
HANDLER(lun_show) HANDLER(lun_resize) HANDLER(lun_rename) HANDLER(lun_remove) HANDLER(lun_set) HANDLER(lun_repack) HANDLER(lun_clone)
HANDLER(lun_attach_check) HANDLER(snapshot_create) HANDLER(snapshot_list) HANDLER(snapshot_show) HANDLER(snapshot_remove)
HANDLER(snapshot_rename) HANDLER(snapshot_set) HANDLER(snapshot_restore) HANDLER(snapshot_refresh) HANDLER(snapshot_prune)
HANDLER(snapshot_diff) HANDLER(share_set) HANDLER(share_show) HANDLER(disk_list) HANDLER(disk_show) HANDLER(disk_add) HANDLER(disk_grow) HANDLER(disk_remove)
HANDLER(lease_list) HANDLER(job_list) HANDLER(job_show) HANDLER(job_pause) HANDLER(job_resume) HANDLER(job_cancel) HANDLER(stats_get)
HANDLER(node_list) HANDLER(node_show) HANDLER(node_invite) HANDLER(node_invites) HANDLER(node_revoke)
HANDLER(node_set) HANDLER(node_leave) HANDLER(node_evict) HANDLER(node_lead)
HANDLER(events_list) HANDLER(doctor_list) HANDLER(version_get) HANDLER(subscribe) HANDLER(unsubscribe)

/* The first byte: may the client change anything? */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length_bytes)
{
    if (length_bytes == 0 || length_bytes > VV_LOOKER_LINE_BYTES_MAX)
        return 0;
    if (!the_daemon.running_ids)
        the_daemon.running_ids = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, (GDestroyNotify) g_queue_free);
    may_change = (data[0] & 1) != 0;
    count_answers = 0;
    g_autofree char *line = g_strndup((const char *) data + 1, length_bytes - 1);
    memcpy(line, data + 1, length_bytes - 1); /* a NUL inside is part of the line */
    g_assert_true(vv_rpc_receive(&the_daemon, the_client, line, length_bytes - 1));
    g_assert_cmpuint(count_answers, <=, 1);
    g_assert_cmpuint(g_hash_table_size(the_daemon.running_ids), ==, 0);
    return 0;
}
