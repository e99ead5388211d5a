/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Directories of nodes. Joining, step by step; whatever a crash leaves is gone on from by the same command:
 *
 *   directory made          empty
 *   tls/node.key durable    a key: asked with, so that the answer is for it alone and asking again gives the same node
 *   asked, answered         (the pool knows the node from here on)
 *   tls/ complete, nodes    durable
 *   vvfs-pool               the directory is a node's */
#include "node_setup.h"

#include "address.h"
#include "config.h"
#include "error.h"
#include "far_join.h"
#include "lock.h"
#include "node.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define PORT_MIN 1024u /* a daemon has given up what lower ones need before it listens */

/* ---- addresses */
static bool is_wildcard(const VvAddress *address)
{
    static const struct in6_addr any = IN6ADDR_ANY_INIT;

    if (address->socket.ss_family == AF_INET)
        return ((const struct sockaddr_in *) &address->socket)->sin_addr.s_addr == htonl(INADDR_ANY);
    return memcmp(&((const struct sockaddr_in6 *) &address->socket)->sin6_addr, &any, sizeof any) == 0;
}

/* Has this machine the address? Whether the port is free is another day's affair. */
static bool check_is_ours(const VvAddress *address, GError **error)
{
    VvAddress any_port = *address;
    vv_autofd int fd = socket(address->socket.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (any_port.socket.ss_family == AF_INET)
        ((struct sockaddr_in *) &any_port.socket)->sin_port = 0;
    else
        ((struct sockaddr_in6 *) &any_port.socket)->sin6_port = 0;
    if (fd >= 0 && bind(fd, (const struct sockaddr *) &any_port.socket, any_port.socket_bytes) == 0)
        return true;
    if (errno == EADDRNOTAVAIL)
        vv_set_error(error, VV_ERROR_NOT_FOUND, address->text, "`ip address` shows those there are.",
            "%s is no address of this machine", address->text);
    else
        vv_set_error_errno(error, errno, address->text, "cannot listen on %s", address->text);
    return false;
}

static bool parse_address(const char *text, VvAddress *address, GError **error)
{
    if (!vv_address_parse(text, false, address, error))
        return false;
    if (is_wildcard(address)) {
        vv_set_error(error, VV_ERROR_USAGE, text, "name the address at which other nodes reach this one",
            "%s is no address that others can use", address->text);
        return false;
    }
    if (vv_address_port(address) < PORT_MIN) {
        vv_set_error(error, VV_ERROR_USAGE, text, NULL, "%s: the port must be %u or above", address->text, PORT_MIN);
        return false;
    }
    return true;
}

char *vv_listen_address(const char *text, GError **error)
{
    VvAddress address;

    return parse_address(text, &address, error) && check_is_ours(&address, error) ? g_strdup(address.text) : NULL;
}

char *vv_other_address(const char *text, GError **error)
{
    VvAddress address;

    return parse_address(text, &address, error) ? g_strdup(address.text) : NULL;
}

/* ---- the first node */
static bool prepare(void *user, const char *directory, GError **error)
{
    VvNodeSetup *setup = user;

    return vv_credentials_save(&setup->credentials, directory, error);
}

static bool make_credentials(VvNodeSetup *setup, GError **error)
{
    VvCredentials *credentials = &setup->credentials;
    VvIdentity identity = { .pool = setup->first.uuid, .node = setup->node.id };
    g_autoptr(VvAuthority) authority = vv_authority_create(&setup->first.uuid, error);
    g_autoptr(GBytes) request = NULL;

    if (!authority)
        return false;
    credentials->authority_certificate = vv_authority_certificate(authority);
    credentials->authority_key = vv_authority_key(authority);
    credentials->node_key = vv_node_key_create(error);
    request = credentials->node_key ? vv_node_key_request(credentials->node_key, error) : NULL;
    if (!request)
        return false;
    if (!vv_request_key_id(request, setup->node.key_id)) {
        vv_set_error(error, VV_ERROR_INTERNAL, NULL, NULL, "the key that was made cannot be used");
        return false;
    }
    credentials->node_certificate = vv_authority_sign(authority, request, &identity, 0, error);
    return credentials->node_certificate != NULL;
}

bool vv_node_setup_init(VvNodeSetup *setup, const char *listen, const char *name, GError **error)
{
    g_autofree char *address = NULL;

    memset(setup, 0, sizeof *setup);
    setup->node = (VvNodeRecord){ .id = VV_FIRST_NODE, .role = VV_ROLE_VOTER, .since_ns = vv_now_ns() };
    setup->node.name = name ? g_strdup(name) : vv_host_name();
    setup->node.software = g_strdup(PACKAGE_VERSION);
    if (!vv_member_name_check(setup->node.name, error) || !(address = vv_listen_address(listen, error)))
        return false;
    setup->node.addresses = g_strdupv((char *[]){ address, NULL });
    vv_uuid_generate(&setup->first.uuid);
    setup->first.node = &setup->node;
    setup->first.prepare = prepare;
    setup->first.user = setup;
    return make_credentials(setup, error);
}

void vv_node_setup_clear(VvNodeSetup *setup)
{
    vv_credentials_clear(&setup->credentials);
    vv_node_record_clear(&setup->node);
}

/* ---- the directory of who joins */
static bool refuse_other_pool(const char *directory, const VvToken *token, bool *ret_again, GError **error)
{
    g_autofree char *name = NULL;
    g_autoptr(GError) none = NULL;
    VvUuid uuid;

    *ret_again = false;
    if (!vv_meta_identify(directory, &name, &uuid, &none)) {
        if (g_error_matches(none, VV_ERROR, VV_ERROR_NOT_FOUND))
            return true;
        g_propagate_error(error, g_steal_pointer(&none));
        return false;
    }
    if (vv_uuid_equal(&uuid, &token->pool) && vv_node_listens(directory) && vv_nodes_exist(directory)) {
        *ret_again = true;
        return true;
    }
    vv_set_error(error, VV_ERROR_EXISTS, directory, NULL, "%s is the directory of pool %s", directory, name);
    return false;
}

/* Nothing but what a join that was cut short has left. */
static bool refuse_foreign(const char *directory, GError **error)
{
    static const char *const ours[] = { "tls", "nodes", "nodes.new", "vvfs-pool.new", VV_LOCK_FILE, VV_FAR_JOIN_FILE, VV_FAR_JOIN_FILE ".new", NULL };
    g_autoptr(GDir) dir = g_dir_open(directory, 0, NULL);
    const char *name;

    while (dir && (name = g_dir_read_name(dir)))
        if (!g_strv_contains(ours, name)) {
            vv_set_error(error, VV_ERROR_NOT_EMPTY, directory, NULL, "%s is not empty: nothing was changed", directory);
            return false;
        }
    return true;
}

static bool make_directory(const char *directory, bool *ret_made, GError **error)
{
    g_autofree char *above = g_path_get_dirname(directory);
    struct stat st;

    *ret_made = false;
    if (g_mkdir_with_parents(above, 0755) == 0 && ((*ret_made = mkdir(directory, 0700) == 0) || errno == EEXIST) &&
        stat(directory, &st) == 0) {
        if (S_ISDIR(st.st_mode) && chmod(directory, 0700) == 0 && vv_sync_directory(above) == 0)
            return true;
        errno = S_ISDIR(st.st_mode) ? errno : ENOTDIR;
    }
    vv_set_error_errno(error, errno, directory, "cannot make %s", directory);
    return false;
}

/* The pool has refused, so nobody knows the key that was made for this. */
static void remove_directory(const char *directory)
{
    static const char *const names[] = { "tls/node.key", "tls", VV_LOCK_FILE, "" };

    for (unsigned i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *path = g_build_filename(directory, names[i], NULL);

        (void) remove(path); /* what is not empty stays */
    }
}

/* The key, durable before it is used. */
static GBytes *take_key(const char *directory, GError **error)
{
    g_auto(VvCredentials) stored = { 0 };

    if (!vv_credentials_load(directory, &stored, error))
        return NULL;
    if (!stored.node_key) {
        g_auto(VvCredentials) fresh = { .node_key = vv_node_key_create(error) };

        if (!fresh.node_key || !vv_credentials_save(&fresh, directory, error))
            return NULL;
        return g_bytes_ref(fresh.node_key);
    }
    return g_bytes_ref(stored.node_key);
}

/* ---- joining */
static char *choose_name(const VvNodeJoin *join, const VvToken *token, GError **error)
{
    g_autofree char *name = join->name ? g_strdup(join->name) : *token->node_name ? g_strdup(token->node_name) : vv_host_name();

    if (!vv_member_name_check(name, error))
        return NULL;
    if (*token->node_name && strcmp(name, token->node_name) != 0) {
        vv_set_error(error, VV_ERROR_CONFLICT, name, NULL, "the token is for a node %s, not for %s", token->node_name, name);
        return NULL;
    }
    return g_steal_pointer(&name);
}

static bool ask(const VvNodeJoin *join, const VvToken *token, const char *directory, const char *name, const char *address,
    VvJoined *ret_joined, GError **error)
{
    const char *const addresses[] = { address, NULL };
    VvMetaCreate identity = { .name = token->pool_name, .uuid = token->pool };
    g_autoptr(GBytes) key = take_key(directory, error);

    if (!key || !vv_join(token, key, name, addresses, PACKAGE_VERSION, join->timeout_ms, ret_joined, error))
        return false;
    return vv_credentials_save(&ret_joined->credentials, directory, error) && vv_nodes_save(directory, ret_joined, error) &&
           vv_far_join_note(directory, join->disks, error) && vv_meta_write_identity(directory, &identity, error);
}

static bool check_disks(const VvNodeJoin *join, const VvToken *token, const char *directory, GError **error)
{
    if (*join->disks && (token->role == VV_TOKEN_WITNESS || token->role == VV_TOKEN_GUEST)) {
        vv_set_error(error, VV_ERROR_UNSUPPORTED, *join->disks, "join without --disk", "a %s has no disks", vv_token_role_name(token->role));
        return false;
    }
    return vv_far_join_check(join->disks, &token->pool, directory, error);
}

static bool join_in(const VvNodeJoin *join, const VvToken *token, const char *directory, VvJoined *ret_joined, bool *ret_again,
    GError **error)
{
    g_autoptr(GError) why = NULL;
    bool made;
    g_autofree char *name = choose_name(join, token, error), *address = name ? vv_listen_address(join->listen, error) : NULL;
    vv_autofd int lock_fd = -1;

    if (!address || !refuse_other_pool(directory, token, ret_again, error))
        return false;
    if (*ret_again && *join->disks) {
        vv_set_error(error, VV_ERROR_EXISTS, directory, "vvfs-admin disk add PATH, when it is mounted", "this machine has joined already");
        return false;
    }
    if (*ret_again)
        return vv_nodes_load(directory, ret_joined, error);
    if (!refuse_foreign(directory, error) || !check_disks(join, token, directory, error) || !vv_token_check_time(token, vv_now_ns() / 1000000000u, error) ||
        !make_directory(directory, &made, error))
        return false;
    lock_fd = vv_lock_take(directory, token->pool_name, false, error);
    if (lock_fd < 0)
        return false;
    vv_lock_tell(lock_fd, "offline", NULL, getpid());
    if (ask(join, token, directory, name, address, ret_joined, &why))
        return true;
    if (made && g_str_has_prefix(why->message, "the pool refused")) /* anything else: it may have answered */
        remove_directory(directory);
    g_propagate_error(error, g_steal_pointer(&why));
    return false;
}

bool vv_node_join(const VvNodeJoin *join, char **ret_directory, VvJoined *ret_joined, bool *ret_again, GError **error)
{
    g_auto(VvToken) token = { .role = VV_TOKEN_VOTER };
    g_autofree char *directory = NULL;

    if (!vv_token_parse(join->token, &token, error))
        return false;
    directory = join->directory ? g_strdup(join->directory) : g_build_filename(join->parent, token.pool_name, NULL);
    if (!join_in(join, &token, directory, ret_joined, ret_again, error))
        return false;
    *ret_directory = g_steal_pointer(&directory);
    return true;
}
