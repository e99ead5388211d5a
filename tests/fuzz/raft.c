/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Messages of Raft and of state sync to a node that has a log and two fellows: {u8 what, u16 length, bytes}. what & 7: the kind; & 8: from
 * the other one; & 16: time passes before it; & 32: what was appended is durable after it; & 64: bytes are a configuration alone.
 * Whatever comes, the node goes on or fails by itself, and what it knows as committed stays in its log. */
#include "codec.h"
#include "fuzz.h"
#include "message.h"
#include "raft.h"
#include "raft_private.h"

#define TERM 3u
#define LOG_START 5u

typedef struct {
    VvRaft *raft;
    GPtrArray *log; /* Entry, from index 1 */
    uint64_t now_ms, ticket, applied, promised_term;
} Node;

typedef struct {
    uint64_t term;
    VvRaftEntryType type;
    GBytes *data;
} Entry;

static void entry_free(void *data)
{
    Entry *entry = data;

    g_bytes_unref(entry->data);
    g_free(entry);
}

static void add(Node *node, uint64_t term, VvRaftEntryType type, const void *data, size_t data_bytes)
{
    Entry *entry = g_new(Entry, 1);

    *entry = (Entry){ term, type, g_bytes_new(data, data_bytes) };
    g_ptr_array_add(node->log, entry);
}

static int store_vote(void *user, uint64_t term, uint64_t vote)
{
    Node *node = user;

    (void) vote;
    g_assert_cmpuint(term, >=, node->promised_term);
    node->promised_term = term;
    return 0;
}

static int append(void *user, const VvRaftEntry *entries, unsigned count, uint64_t ticket)
{
    Node *node = user;

    g_assert_cmpuint(count, >, 0);
    g_assert_cmpuint(entries[0].index, >, node->applied);
    g_assert_cmpuint(entries[0].index, <=, node->log->len + 1);
    g_ptr_array_set_size(node->log, (int) entries[0].index - 1);
    for (unsigned i = 0; i < count; i++) {
        g_assert_cmpuint(entries[i].index, ==, node->log->len + 1);
        add(node, entries[i].term, entries[i].type, entries[i].data, entries[i].data_bytes);
    }
    node->ticket = ticket;
    return 0;
}

static int read_entry(void *user, uint64_t index, VvRaftEntry *ret_entry)
{
    const Node *node = user;
    const Entry *entry;
    gsize length;

    if (index == 0 || index > node->log->len)
        return -ENODATA;
    entry = node->log->pdata[index - 1];
    *ret_entry = (VvRaftEntry){ .index = index, .term = entry->term, .type = entry->type };
    ret_entry->data = g_bytes_get_data(entry->data, &length);
    ret_entry->data_bytes = length;
    return 0;
}

static void compact(void *user, uint64_t index)
{
    (void) user, (void) index;
}

static void send_message(void *user, uint64_t to, uint16_t kind, const uint8_t *body, size_t body_bytes)
{
    g_free(g_memdup2(body, body_bytes)); /* is all of it there? */

    (void) user;
    g_assert_true(vv_message_is_rafts(kind) && to != 0);
}

static bool apply(void *user, const VvRaftEntry *entry)
{
    Node *node = user;

    g_assert_cmpuint(entry->index, ==, node->applied + 1);
    node->applied++;
    return true;
}

static void changed(void *user)
{
    (void) user;
}

static int sync_begin(void *user, uint64_t index, uint64_t size_bytes)
{
    (void) user, (void) index, (void) size_bytes;
    return 0;
}

static int sync_write(void *user, uint64_t offset, const uint8_t *data, size_t data_bytes)
{
    g_free(g_memdup2(data, data_bytes));

    (void) user, (void) offset;
    return 0;
}

static bool sync_ready(void *user)
{
    (void) user;
    return false; /* a state of any bytes is refused above Raft */
}

static const VvRaftOps ops = { .store_vote = store_vote, .append = append, .read = read_entry, .compact = compact, .send = send_message,
    .apply = apply, .changed = changed, .sync_begin = sync_begin, .sync_write = sync_write, .sync_ready = sync_ready };

static void start(Node *node)
{
    static const uint64_t voters[] = { 1, 2, 3 };
    VvRaftConfig config = { .id = 1, .seed = 1, .election_ms = 1000, .heartbeat_ms = 100 };
    VvRaftStart begin = { .term = TERM, .first_index = 1, .last_index = LOG_START };
    g_autoptr(GByteArray) conf = g_byte_array_new();

    node->log = g_ptr_array_new_with_free_func(entry_free);
    node->now_ms = 1000;
    node->promised_term = TERM;
    vv_raft_encode_voters(voters, 3, conf);
    add(node, 1, VV_RAFT_CHANGE, conf->data, conf->len);
    while (node->log->len < LOG_START)
        add(node, node->log->len < 3 ? 1 : TERM, VV_RAFT_COMMAND, "entry", 5);
    node->raft = vv_raft_new(&config, &ops, node);
    g_assert_cmpint(vv_raft_start(node->raft, node->now_ms, &begin), ==, 0);
}

static void try_conf(const uint8_t *data, size_t length_bytes)
{
    struct raft_configuration conf;
    g_autoptr(GBytes) bytes = g_bytes_new(data, length_bytes);

    if (vvr_conf_decode(bytes, &conf) != 0)
        return;
    g_assert_cmpuint(conf.n, >, 0);
    g_assert_cmpuint(conf.n, <=, VV_RAFT_MEMBERS_MAX);
    raft_configuration_close(&conf);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length_bytes)
{
    VvReader in = vv_reader(data, length_bytes);
    Node node = { 0 };

    start(&node);
    while (vv_reader_left(&in) > 3) {
        unsigned what = vv_read_u8(&in);
        size_t said_bytes = vv_read_u16(&in), body_bytes = MIN(said_bytes, vv_reader_left(&in));
        const uint8_t *body = vv_read_bytes(&in, body_bytes);

        if (what & 64) {
            try_conf(body, body_bytes);
            continue;
        }
        if (what & 16) {
            node.now_ms += 1500;
            vv_raft_tick(node.raft, node.now_ms);
        }
        vv_raft_receive(node.raft, node.now_ms, what & 8 ? 3 : 2, (uint16_t) (VV_MESSAGE_RAFT_VOTE + (what & 7)), body, body_bytes);
        if (what & 32)
            vv_raft_stored(node.raft, node.now_ms, node.ticket);
        g_assert_cmpuint(vv_raft_applied(node.raft), ==, node.applied);
    }
    vv_raft_free(node.raft);
    g_ptr_array_unref(node.log);
    return 0;
}
