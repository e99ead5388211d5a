/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The Raft driver by itself, fed with bytes that no honest peer sends. What it does among honest ones is shown in tests/sim. */
#include "cluster.h"
#include "codec.h"
#include "message.h"

#define TERM 3u
#define ENTRIES 5u /* of the log at its start */

typedef struct {
    VvRaft *raft;
    GByteArray *conf;
    VvRaftEntry last; /* what was appended, without its bytes */
    unsigned appended, votes, sent;
    uint64_t ticket;
} Fixture;

static int store_vote(void *user, uint64_t term, uint64_t vote)
{
    Fixture *f = user;

    (void) term, (void) vote;
    f->votes++;
    return 0;
}

static int append(void *user, const VvRaftEntry *entries, unsigned count, uint64_t ticket)
{
    Fixture *f = user;

    (void) count;
    f->appended++;
    f->ticket = ticket;
    f->last = entries[0];
    f->last.data = NULL, f->last.data_bytes = 0;
    return 0;
}

static int read_entry(void *user, uint64_t index, VvRaftEntry *ret_entry)
{
    const Fixture *f = user;

    if (index != 0 && index == f->last.index) {
        *ret_entry = f->last;
        ret_entry->type = VV_RAFT_BARRIER;
        return 0;
    }
    if (index == 0 || index > ENTRIES)
        return -ENODATA;
    *ret_entry = (VvRaftEntry) { .index = index, .term = index < ENTRIES ? 1 : TERM, .type = index == 1 ? VV_RAFT_CHANGE : VV_RAFT_BARRIER };
    if (index == 1)
        ret_entry->data = f->conf->data, ret_entry->data_bytes = f->conf->len;
    return 0;
}

static void compact(void *user, uint64_t index)
{
    (void) user, (void) index;
}

static void send_message(void *user, uint64_t node, uint16_t kind, const uint8_t *body, size_t body_bytes)
{
    (void) node, (void) kind, (void) body, (void) body_bytes;
    ((Fixture *) user)->sent++;
}

static bool apply(void *user, const VvRaftEntry *entry)
{
    (void) user, (void) entry;
    return true;
}

static void changed(void *user)
{
    (void) user;
}

static bool sync_source(void *user, VvSyncSource *ret_source)
{
    (void) user;
    *ret_source = (VvSyncSource) { .stream = 1, .index = 3, .size_bytes = 100 };
    return true;
}

static int sync_read(void *user, const VvSyncSource *source, uint64_t offset, GByteArray *out, size_t most)
{
    static const uint8_t bytes[100];

    (void) user, (void) source;
    g_byte_array_append(out, bytes, (guint) MIN(most, 100 - offset));
    return 0;
}

static int sync_begin(void *user, uint64_t index, uint64_t size_bytes)
{
    (void) user, (void) index, (void) size_bytes;
    return 0;
}

static const VvRaftOps ops = { .store_vote = store_vote, .append = append, .read = read_entry, .compact = compact, .send = send_message,
    .apply = apply, .changed = changed, .sync_source = sync_source, .sync_read = sync_read, .sync_begin = sync_begin };

/* Node 1, with a log of ENTRIES, the last of TERM. */
static void set_up_with(Fixture *f, const uint64_t *voters, unsigned count)
{
    VvRaftConfig config = { .id = 1, .seed = 1, .election_ms = 1000, .heartbeat_ms = 100 };
    VvRaftStart start = { .term = TERM, .first_index = 1, .last_index = ENTRIES };

    memset(f, 0, sizeof *f);
    f->conf = g_byte_array_new();
    vv_raft_encode_voters(voters, count, f->conf);
    f->raft = vv_raft_new(&config, &ops, f);
    g_assert_cmpint(vv_raft_start(f->raft, 1000, &start), ==, 0);
    f->appended = f->votes = f->sent = 0;
}

/* Of 1, 2, 3. */
static void set_up(Fixture *f)
{
    static const uint64_t voters[] = { 1, 2, 3 };

    set_up_with(f, voters, 3);
}

static void tear_down(Fixture *f)
{
    vv_raft_free(f->raft);
    g_byte_array_unref(f->conf);
}

static GByteArray *begin(uint8_t bits, uint64_t term)
{
    GByteArray *out = g_byte_array_new();

    vv_write_u8(out, 1);
    vv_write_u8(out, 0);
    vv_write_u8(out, 0);
    vv_write_u8(out, bits);
    vv_write_u64(out, term);
    return out;
}

static void receive(Fixture *f, uint64_t from, uint16_t kind, GByteArray *body, bool decodes)
{
    g_assert_cmpint(vv_raft_receive(f->raft, 1010, from, kind, body->data, body->len), ==, decodes);
    g_assert_cmpint(vv_raft_error(f->raft), ==, 0);
    g_byte_array_unref(body);
}

static void add_entry(GByteArray *out, VvRaftEntryType type, const uint8_t *data, size_t data_bytes)
{
    vv_write_u64(out, TERM);
    vv_write_u8(out, (uint8_t) type);
    vv_write_u32(out, (uint32_t) data_bytes);
    vv_write_bytes(out, data, data_bytes);
}

/* An append next to the end of all numbers: its second piece would begin at index 0, and replace what is there. */
static void test_index_wraps(void)
{
    Fixture f;
    GByteArray *body;

    set_up(&f);
    for (uint64_t back = 0; back < 3; back++) {
        body = begin(0, TERM);
        vv_write_u64(body, UINT64_MAX - back);
        vv_write_u64(body, TERM);
        vv_write_u64(body, 0);
        vv_write_u32(body, 2 + (uint32_t) back);
        for (uint64_t i = 0; i <= back; i++)
            add_entry(body, VV_RAFT_BARRIER, NULL, 0);
        add_entry(body, VV_RAFT_CHANGE, f.conf->data, f.conf->len);
        receive(&f, 2, VV_MESSAGE_RAFT_APPEND, body, true);
        g_assert_cmpuint(f.appended, ==, 0);
        g_assert_cmpuint(vv_raft_last(f.raft), ==, ENTRIES);
    }
    tear_down(&f);
}

/* A term that has no successor is not taken over. */
static void test_term_wraps(void)
{
    static const uint16_t kinds[] = { VV_MESSAGE_RAFT_VOTE, VV_MESSAGE_RAFT_VOTE_RESULT, VV_MESSAGE_RAFT_APPEND,
        VV_MESSAGE_RAFT_APPEND_RESULT, VV_MESSAGE_RAFT_TIMEOUT_NOW };
    Fixture f;

    set_up(&f);
    for (unsigned i = 0; i < G_N_ELEMENTS(kinds); i++) {
        GByteArray *body = begin(0, UINT64_MAX);

        switch (kinds[i]) {
        case VV_MESSAGE_RAFT_APPEND:
            vv_write_u64(body, ENTRIES);
            vv_write_u64(body, TERM);
            vv_write_u64(body, 0);
            vv_write_u32(body, 0);
            break;
        case VV_MESSAGE_RAFT_VOTE_RESULT:
            vv_write_u32(body, 0);
            break;
        default:
            vv_write_u64(body, ENTRIES);
            vv_write_u64(body, TERM);
            if (kinds[i] == VV_MESSAGE_RAFT_APPEND_RESULT)
                vv_write_u32(body, 0);
            break;
        }
        receive(&f, 2, kinds[i], body, true);
        g_assert_cmpuint(vv_raft_term(f.raft), ==, TERM);
        g_assert_cmpuint(f.votes, ==, 0);
    }
    tear_down(&f);
}

/* States at an index, or of a term, that wraps. */
static void test_offer_wraps(void)
{
    Fixture f;

    set_up(&f);
    for (unsigned i = 0; i < 2; i++) {
        GByteArray *body = g_byte_array_new();

        vv_write_u8(body, 1);
        vv_write_u8(body, 0);
        vv_write_u64(body, i == 0 ? UINT64_MAX : TERM);
        vv_write_u64(body, i == 0 ? 10 : UINT64_MAX);
        vv_write_u64(body, TERM);
        vv_write_u64(body, 1);
        vv_write_u64(body, 1);
        vv_write_u64(body, 100);
        vv_write_u32(body, f.conf->len);
        vv_write_bytes(body, f.conf->data, f.conf->len);
        receive(&f, 2, VV_MESSAGE_SYNC_OFFER, body, false);
        g_assert_cmpuint(f.sent, ==, 0);
    }
    tear_down(&f);
}

/* A state is given to members alone. */
static void test_ask(void)
{
    Fixture f;

    set_up(&f);
    for (uint64_t from = 2; from <= 9; from += 7) {
        GByteArray *body = g_byte_array_new();

        vv_write_u8(body, 1);
        vv_write_u8(body, 0);
        vv_write_u64(body, 1);
        vv_write_u64(body, 3);
        vv_write_u64(body, 100);
        vv_write_u64(body, 0);
        receive(&f, from, VV_MESSAGE_SYNC_ASK, body, true);
        g_assert_cmpuint(f.sent, ==, 1); /* node 2's; 9 is none */
    }
    tear_down(&f);
}

/* ---- roles: messages above Raft, at a node that votes and follows */

static bool old_io(void *user)
{
    (void) user;
    return false;
}

static bool uses(void *user, uint64_t object)
{
    (void) user, (void) object;
    return false;
}

static uint64_t nonce(void *user)
{
    (void) user;
    return 7;
}

static void applied(void *user, uint64_t index, uint64_t term, const VvEntry *entry, const VvApplied *what)
{
    (void) user, (void) index, (void) term, (void) entry, (void) what;
}

static void settle(void *user, uint64_t job, VvSettleStep step, const VvRange *ranges, unsigned count, bool reads)
{
    (void) user, (void) job, (void) step, (void) ranges, (void) count, (void) reads;
}

static void session_changed(void *user, uint64_t session)
{
    (void) user, (void) session;
}

static void proposal_done(void *user, uint64_t seq, VvVerdict verdict)
{
    (void) user, (void) seq, (void) verdict;
}

static const VvClusterOps cluster_ops = { .send = send_message, .applied = applied, .member = { .settle = settle, .old_io = old_io,
    .uses = uses, .nonce = nonce, .session_changed = session_changed, .proposal_done = proposal_done, .retry = changed } };

/* How many messages it sends for one of @kind from @from. */
static unsigned answers(Fixture *f, VvCluster *cluster, uint64_t from, uint16_t kind, const VvFields *fields)
{
    g_autoptr(GByteArray) body = g_byte_array_new();

    f->sent = 0;
    vv_message_encode(body, kind, fields);
    g_assert_true(vv_cluster_receive(cluster, 1010, from, kind, body->data, body->len));
    vv_cluster_work(cluster, 1010);
    return f->sent;
}

/* A state of another index than the one that was offered is none: the entries that follow would not fit it. */
static void test_state_of_another_index(void)
{
    VvClusterConfig config = { .id = 1, .session_ms = 1000 };
    g_autoptr(VvClusterState) state = vv_state_new();
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    VvCluster *cluster;
    Fixture f;

    set_up(&f);
    cluster = vv_cluster_new(&config, f.raft, &cluster_ops, &f);
    state->applied_index = 7;
    vv_state_encode(state, bytes);
    g_assert_false(vv_cluster_may_load(cluster, 8, bytes->data, bytes->len));
    g_assert_false(vv_cluster_load(cluster, 1010, 8, bytes->data, bytes->len));
    g_assert_cmpuint(vv_cluster_state(cluster)->applied_index, ==, 0);
    g_assert_true(vv_cluster_may_load(cluster, 7, bytes->data, bytes->len));
    g_assert_true(vv_cluster_load(cluster, 1010, 7, bytes->data, bytes->len));
    g_assert_cmpuint(vv_cluster_state(cluster)->applied_index, ==, 7);
    vv_cluster_free(cluster);
    tear_down(&f);
}

/* Who does not vote cannot lead: it is not told our term, and its word opens no gate. */
static void test_followers_roles(void)
{
    VvClusterConfig config = { .id = 1, .session_ms = 1000 };
    VvFields confirm = { .term = TERM, .number = 1 }, resume = { .quiesce = { TERM, 1 } };
    VvCluster *cluster;
    Fixture f;

    set_up(&f);
    cluster = vv_cluster_new(&config, f.raft, &cluster_ops, &f);
    g_assert_cmpuint(answers(&f, cluster, 9, VV_MESSAGE_CONFIRM, &confirm), ==, 0);
    g_assert_cmpuint(answers(&f, cluster, 2, VV_MESSAGE_CONFIRM, &confirm), ==, 1);
    g_assert_cmpuint(answers(&f, cluster, 9, VV_MESSAGE_RESUME, &resume), ==, 0);
    g_assert_cmpuint(answers(&f, cluster, 2, VV_MESSAGE_RESUME, &resume), ==, 1);
    vv_cluster_free(cluster);
    tear_down(&f);
}

/* Only members ask the leader, which votes alone, for changes. */
static void test_leaders_roles(void)
{
    static const uint64_t voters[] = { 1 };
    VvClusterConfig config = { .id = 1, .session_ms = 1000 };
    VvEntry entry = { .kind = VV_ENTRY_NODE_ADD, .request = { 1, 1 }, .f.node = 1, .f.body = (const uint8_t *) "n", .f.body_bytes = 1 };
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    VvFields request = { 0 };
    VvCluster *cluster;
    Fixture f;

    set_up_with(&f, voters, 1);
    cluster = vv_cluster_new(&config, f.raft, &cluster_ops, &f);
    vv_raft_stored(f.raft, 1010, f.ticket);
    vv_cluster_changed(cluster);
    g_assert_true(vv_raft_ready(f.raft));
    vv_entry_encode(bytes, &entry);
    request.body = bytes->data, request.body_bytes = bytes->len;
    f.appended = 0;
    answers(&f, cluster, 9, VV_MESSAGE_REQUEST, &request);
    g_assert_cmpuint(f.appended, ==, 0);
    answers(&f, cluster, 1, VV_MESSAGE_REQUEST, &request);
    g_assert_cmpuint(f.appended, ==, 1);
    vv_cluster_free(cluster);
    tear_down(&f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/cluster/raft/index-wraps", test_index_wraps);
    g_test_add_func("/cluster/raft/term-wraps", test_term_wraps);
    g_test_add_func("/cluster/raft/offer-wraps", test_offer_wraps);
    g_test_add_func("/cluster/raft/ask", test_ask);
    g_test_add_func("/cluster/state-of-another-index", test_state_of_another_index);
    g_test_add_func("/cluster/roles/follower", test_followers_roles);
    g_test_add_func("/cluster/roles/leader", test_leaders_roles);
    return g_test_run();
}
