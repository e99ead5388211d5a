/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Bodies of JOIN and JOINED: layouts in joining.h. */
#include "joining.h"

#include "address.h"
#include "codec.h"
#include "error.h"

#include <openssl/crypto.h>

/* ---- known nodes */
void vv_known_node_clear(VvKnownNode *node)
{
    g_clear_pointer(&node->name, g_free);
    g_clear_pointer(&node->addresses, g_strfreev);
}

static void known_node_clear_cb(void *data)
{
    vv_known_node_clear(data);
}

GArray *vv_known_nodes_new(void)
{
    GArray *nodes = g_array_new(FALSE, TRUE, sizeof(VvKnownNode));

    g_array_set_clear_func(nodes, known_node_clear_cb);
    return nodes;
}

void vv_known_nodes_add(GArray *nodes, uint64_t id, bool guest, const char *name, const char *const *addresses)
{
    VvKnownNode node = {
        .id = id, .guest = guest, .name = g_strdup(name), .addresses = g_strdupv((char **) addresses)
    };

    if (!node.addresses)
        node.addresses = g_new0(char *, 1);
    g_array_append_val(nodes, node);
}

static bool twice(GError **error, const VvKnownNode *a, const VvKnownNode *b, const char *what, const char *object)
{
    vv_set_error(error, VV_ERROR_EXISTS, object, NULL,
        "two nodes have one %s: %s (id %" G_GUINT64_FORMAT ") and %s (id %" G_GUINT64_FORMAT "), %s", what, a->name,
        a->id, b->name, b->id, object);
    return false;
}

static bool check_node(const VvKnownNode *node, GError **error)
{
    VvAddress address;

    if (node->id == 0 || !vv_name_check(node->name, "node", error)) {
        if (error && !*error)
            vv_set_error(error, VV_ERROR_USAGE, node->name, NULL, "node %s has no id", node->name);
        return false;
    }
    if (g_strv_length(node->addresses) > VV_NODE_ADDRESSES_MAX) {
        vv_set_error(error, VV_ERROR_LIMIT, node->name, NULL, "node %s has more than %u addresses", node->name,
            VV_NODE_ADDRESSES_MAX);
        return false;
    }
    for (char **text = node->addresses; *text; text++)
        if (!vv_address_parse(*text, false, &address, error))
            return false;
    return true;
}

static const char *same_address(const VvKnownNode *a, const VvKnownNode *b)
{
    for (char **one = a->addresses; *one; one++) {
        VvAddress first, second;

        g_assert(vv_address_parse(*one, false, &first, NULL));
        for (char **other = b->addresses; *other; other++) {
            g_assert(vv_address_parse(*other, false, &second, NULL));
            if (strcmp(first.text, second.text) == 0)
                return *one;
        }
    }
    return NULL;
}

bool vv_known_nodes_check(const GArray *nodes, GError **error)
{
    if (nodes->len > VV_NODES_MAX) {
        vv_set_error(error, VV_ERROR_LIMIT, NULL, NULL, "a pool has at most %u nodes", VV_NODES_MAX);
        return false;
    }
    for (guint i = 0; i < nodes->len; i++) {
        const VvKnownNode *a = &g_array_index(nodes, VvKnownNode, i);

        if (!check_node(a, error))
            return false;
        for (guint j = 0; j < i; j++) {
            const VvKnownNode *b = &g_array_index(nodes, VvKnownNode, j);
            const char *address = same_address(a, b);

            if (a->id == b->id)
                return twice(error, b, a, "id", a->name);
            if (strcmp(a->name, b->name) == 0)
                return twice(error, b, a, "name", a->name);
            if (address)
                return twice(error, b, a, "address", address);
        }
    }
    return true;
}

/* ---- parts */
static void write_blob(GByteArray *out, GBytes *blob)
{
    gsize length = 0;
    const void *bytes = blob ? g_bytes_get_data(blob, &length) : NULL;

    g_assert(length <= VV_CREDENTIAL_BYTES_MAX);
    vv_write_u16(out, (uint16_t) length);
    vv_write_bytes(out, bytes, length);
}

/* NULL: it is empty, or bad. */
static GBytes *read_blob(VvReader *in)
{
    uint16_t length = vv_read_u16(in);
    const uint8_t *bytes = vv_read_bytes(in, length);

    return bytes && length > 0 ? vv_secret_bytes(bytes, length) : NULL;
}

static void write_addresses(GByteArray *out, char **addresses)
{
    guint count = g_strv_length(addresses);

    g_assert(count <= VV_NODE_ADDRESSES_MAX);
    vv_write_u8(out, (uint8_t) count);
    for (guint i = 0; i < count; i++)
        vv_write_string(out, addresses[i]);
}

/* NULL: bad. */
static char **read_addresses(VvReader *in)
{
    g_autoptr(GPtrArray) addresses = g_ptr_array_new_with_free_func(g_free);
    unsigned count = vv_read_u8(in);

    if (count > VV_NODE_ADDRESSES_MAX)
        in->bad = true;
    for (unsigned i = 0; !in->bad && i < count; i++) {
        char *text = vv_read_string(in, VV_ADDRESS_BYTES_MAX);
        VvAddress address;

        if (text)
            g_ptr_array_add(addresses, text);
        if (!text || !vv_address_parse(text, false, &address, NULL))
            in->bad = true;
    }
    if (in->bad)
        return NULL;
    g_ptr_array_add(addresses, NULL);
    return (char **) g_ptr_array_free(g_steal_pointer(&addresses), FALSE);
}

/* A name by the rule for names; NULL: bad. */
static char *read_name(VvReader *in)
{
    char *name = vv_read_string(in, VV_NAME_BYTES_MAX);

    if (name && !vv_name_check(name, "node", NULL))
        in->bad = true;
    return name;
}

/* ---- JOIN */
void vv_join_request_clear(VvJoinRequest *request)
{
    g_clear_pointer(&request->name, g_free);
    g_clear_pointer(&request->software, g_free);
    g_clear_pointer(&request->addresses, g_strfreev);
    g_clear_pointer(&request->request, g_bytes_unref);
}

void vv_join_request_encode(const VvJoinRequest *request, GByteArray *out)
{
    vv_write_u64(out, request->invite);
    vv_write_string(out, request->name);
    vv_write_string(out, request->software);
    write_addresses(out, request->addresses);
    write_blob(out, request->request);
}

static bool is_printable(const char *text)
{
    for (const char *c = text; *c; c++)
        if (!g_ascii_isprint(*c))
            return false;
    return true;
}

bool vv_join_request_decode(const uint8_t *bytes, size_t length_bytes, VvJoinRequest *ret_request, GError **error)
{
    VvReader in = vv_reader(bytes, length_bytes);
    g_auto(VvJoinRequest) request = { .invite = vv_read_u64(&in) };
    const uint8_t *proof;

    request.name = read_name(&in);
    request.software = vv_read_string(&in, VV_SOFTWARE_BYTES_MAX);
    request.addresses = read_addresses(&in);
    request.request = read_blob(&in);
    proof = vv_read_bytes(&in, VV_PROOF_BYTES);
    if (in.bad || vv_reader_left(&in) != 0 || !request.request || !is_printable(request.software)) {
        vv_set_error(error, VV_ERROR_DAMAGED, NULL, NULL, "the request to join is not one");
        return false;
    }
    memcpy(request.proof, proof, sizeof request.proof);
    *ret_request = request;
    memset(&request, 0, sizeof request);
    return true;
}

/* ---- JOINED */
void vv_joined_clear(VvJoined *joined)
{
    g_clear_pointer(&joined->pool_name, g_free);
    g_clear_pointer(&joined->node_name, g_free);
    vv_credentials_clear(&joined->credentials);
    g_clear_pointer(&joined->nodes, g_array_unref);
}

void vv_joined_encode(const VvJoined *joined, GByteArray *out)
{
    vv_write_u8(out, 0);
    vv_write_u64(out, joined->node);
    vv_write_u8(out, (uint8_t) joined->role);
    vv_write_string(out, joined->pool_name);
    vv_write_string(out, joined->node_name);
    write_blob(out, joined->credentials.node_certificate);
    write_blob(out, joined->credentials.authority_certificate);
    write_blob(out, joined->credentials.authority_key);
    vv_write_u16(out, (uint16_t) joined->nodes->len);
    for (guint i = 0; i < joined->nodes->len; i++) {
        const VvKnownNode *node = &g_array_index(joined->nodes, VvKnownNode, i);

        vv_write_u64(out, node->id);
        vv_write_u8(out, node->guest);
        vv_write_string(out, node->name);
        write_addresses(out, node->addresses);
    }
}

void vv_joined_encode_refusal(const GError *why, GByteArray *out)
{
    g_autofree char *cut = g_strndup(why->message, VV_REASON_BYTES_MAX);

    vv_write_u8(out, 1);
    vv_write_string(out, vv_error_code_name(why));
    vv_write_string(out, cut);
}

static bool read_refusal(VvReader *in, GError **error)
{
    g_autofree char *word = vv_read_string(in, VV_SOFTWARE_BYTES_MAX);
    g_autofree char *message = vv_read_string(in, VV_REASON_BYTES_MAX);
    int code = word ? vv_error_code_from_name(word) : -1;

    if (in->bad || vv_reader_left(in) != 0)
        return false;
    for (char *c = message; *c; c++)
        if (!g_ascii_isprint(*c))
            *c = '?';
    vv_set_error(error, code < 0 ? VV_ERROR_DENIED : (VvErrorCode) code, NULL, NULL, "the pool refused: %s", message);
    return true;
}

static void read_nodes(VvReader *in, GArray *nodes)
{
    unsigned count = vv_read_u16(in);

    if (count > VV_NODES_MAX)
        in->bad = true;
    for (unsigned i = 0; !in->bad && i < count; i++) {
        VvKnownNode node = { .id = vv_read_u64(in) };
        uint8_t guest = vv_read_u8(in);

        node.guest = guest == 1;
        node.name = read_name(in);
        node.addresses = read_addresses(in);
        if (guest > 1)
            in->bad = true;
        g_array_append_val(nodes, node);
    }
    if (!in->bad && !vv_known_nodes_check(nodes, NULL))
        in->bad = true;
}

bool vv_joined_is_refusal(const uint8_t *bytes, size_t length_bytes)
{
    return length_bytes > 0 && bytes[0] == 1;
}

bool vv_joined_decode(const uint8_t *bytes, size_t length_bytes, VvJoined *ret_joined, GError **error)
{
    VvReader in = vv_reader(bytes, length_bytes);
    g_auto(VvJoined) joined = { .nodes = vv_known_nodes_new() };
    uint8_t status = vv_read_u8(&in);

    if (status == 1 && read_refusal(&in, error))
        return false;
    joined.node = vv_read_u64(&in);
    joined.role = (VvTokenRole) vv_read_u8(&in);
    joined.pool_name = read_name(&in);
    joined.node_name = read_name(&in);
    joined.credentials.node_certificate = read_blob(&in);
    joined.credentials.authority_certificate = read_blob(&in);
    joined.credentials.authority_key = read_blob(&in);
    read_nodes(&in, joined.nodes);
    if (status != 0 || in.bad || vv_reader_left(&in) != 0 || joined.node == 0 || !vv_token_role_name(joined.role) ||
        !joined.credentials.node_certificate || !joined.credentials.authority_certificate) {
        vv_set_error(error, VV_ERROR_DAMAGED, NULL, NULL, "the answer to a request to join is not one");
        return false;
    }
    *ret_joined = joined;
    memset(&joined, 0, sizeof joined);
    return true;
}
