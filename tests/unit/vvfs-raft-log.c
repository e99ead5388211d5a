/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The journal behind Raft: what is read is what was appended, before and after it reached the disk; what was committed is there after
 * a crash at any operation. */
#include "raft_log.h"

#include "codec.h"
#include "entry.h"
#include "limits.h"
#include "meta-journal-sim.h"

#include <errno.h>

#define WAIT_SECONDS 30

/* Closed by a test: the log's thread waits there. */
typedef struct {
    pthread_mutex_t lock;
    pthread_cond_t opened;
    bool closed;
} Gate;

typedef struct {
    Fixture f;
    VvVote *vote;
    VvRaftLog *log;
    GQueue *stored; /* of Report; not a GAsyncQueue, whose lock ThreadSanitizer does not see */
    pthread_mutex_t stored_lock;
    pthread_cond_t stored_changed;
    VvRaft *raft;
    uint64_t now_ms;
    Gate sync_gate, stored_gate;
    VvRunOps ops;    /* what the journal's go on to */
    GArray *applied; /* crc32c of each entry that was applied, from index 1: a later life applies the same */
} Node;

typedef struct {
    uint64_t ticket;
    int result;
} Report;

static void gate_init(Gate *gate)
{
    pthread_mutex_init(&gate->lock, NULL);
    pthread_cond_init(&gate->opened, NULL);
    gate->closed = false;
}

static void gate_destroy(Gate *gate)
{
    pthread_mutex_destroy(&gate->lock);
    pthread_cond_destroy(&gate->opened);
}

static void gate_set(Gate *gate, bool closed)
{
    pthread_mutex_lock(&gate->lock);
    gate->closed = closed;
    pthread_cond_broadcast(&gate->opened);
    pthread_mutex_unlock(&gate->lock);
}

static void gate_pass(Gate *gate)
{
    pthread_mutex_lock(&gate->lock);
    while (gate->closed)
        pthread_cond_wait(&gate->opened, &gate->lock);
    pthread_mutex_unlock(&gate->lock);
}

static void stored_cb(void *user, uint64_t ticket, int result)
{
    Node *n = user;
    Report *report = g_new(Report, 1);

    gate_pass(&n->stored_gate);
    *report = (Report){ ticket, result };
    pthread_mutex_lock(&n->stored_lock);
    g_queue_push_tail(n->stored, report);
    pthread_cond_signal(&n->stored_changed);
    pthread_mutex_unlock(&n->stored_lock);
}

/* The next that was told, within @seconds; else NULL. */
static Report *pop_report(Node *n, unsigned seconds)
{
    struct timespec deadline;
    Report *report;

    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += seconds;
    pthread_mutex_lock(&n->stored_lock);
    while (n->stored->length == 0 && seconds > 0 &&
           pthread_cond_timedwait(&n->stored_changed, &n->stored_lock, &deadline) == 0)
        ;
    report = g_queue_pop_head(n->stored);
    pthread_mutex_unlock(&n->stored_lock);
    return report;
}

static int write_through(void *user, int fd, const void *data, size_t length_bytes, uint64_t offset)
{
    Node *n = user;

    return n->ops.write(n->ops.user, fd, data, length_bytes, offset);
}

static int sync_at_gate(void *user, int fd)
{
    Node *n = user;

    gate_pass(&n->sync_gate);
    return n->ops.sync(n->ops.user, fd);
}

static void open_node(Node *n)
{
    g_autoptr(GError) error = NULL;
    VvRaftLogOptions options = { .stored = stored_cb, .user = n };

    n->f.identity.incarnation++;
    n->f.journal = vv_journal_open_log(n->f.path, &n->f.identity, 0, false, &n->f.ops, &error);
    g_assert_no_error(error);
    n->vote = vv_vote_open(n->f.path, &n->f.identity.pool_uuid, NULL, &error);
    g_assert_no_error(error);
    options.journal = n->f.journal;
    options.vote = n->vote;
    n->log = vv_raft_log_new(&options);
}

static void close_node(Node *n)
{
    Report *report;

    g_clear_pointer(&n->raft, vv_raft_free);
    g_clear_pointer(&n->log, vv_raft_log_free);
    g_clear_pointer(&n->vote, vv_vote_close);
    g_clear_pointer(&n->f.journal, vv_journal_close);
    while ((report = pop_report(n, 0)))
        g_free(report);
}

static void node_set_up(Node *n, gconstpointer data)
{
    g_autoptr(GError) error = NULL;

    set_up(&n->f, data);
    g_clear_pointer(&n->f.journal, vv_journal_close);
    gate_init(&n->sync_gate);
    gate_init(&n->stored_gate);
    n->ops = n->f.ops;
    n->f.ops = (VvRunOps){ .write = write_through, .sync = sync_at_gate, .user = n };
    n->stored = g_queue_new();
    pthread_mutex_init(&n->stored_lock, NULL);
    pthread_cond_init(&n->stored_changed, NULL);
    n->applied = g_array_new(FALSE, FALSE, sizeof(uint32_t));
    g_assert_true(vv_vote_create(n->f.path, &n->f.identity.pool_uuid, 1, 0, &error));
    g_assert_no_error(error);
    open_node(n);
}

static void node_tear_down(Node *n, gconstpointer data)
{
    close_node(n);
    g_queue_free(n->stored);
    pthread_cond_destroy(&n->stored_changed);
    pthread_mutex_destroy(&n->stored_lock);
    g_array_unref(n->applied);
    gate_destroy(&n->sync_gate);
    gate_destroy(&n->stored_gate);
    tear_down(&n->f, data);
}

/* ---- alone: what is read */

static void put_one(Node *n, uint64_t index, uint64_t term, size_t bytes, uint64_t ticket)
{
    g_autofree uint8_t *data = g_malloc(bytes + 1);
    VvRaftEntry entry = { .index = index, .term = term, .type = VV_RAFT_COMMAND, .data = data, .data_bytes = bytes };

    memset(data, (int) (index * 7 + term * 31), bytes);
    g_assert_cmpint(vv_raft_log_append(n->log, &entry, 1, ticket), ==, 0);
}

static void expect(Node *n, uint64_t index, uint64_t term, size_t bytes)
{
    VvRaftEntry entry;

    g_assert_cmpint(vv_raft_log_read(n->log, index, &entry), ==, 0);
    g_assert_cmpuint(entry.index, ==, index);
    g_assert_cmpuint(entry.term, ==, term);
    g_assert_cmpuint(entry.data_bytes, ==, bytes);
    for (size_t i = 0; i < bytes; i += 1 + bytes / 3)
        g_assert_cmpuint(entry.data[i], ==, (uint8_t) (index * 7 + term * 31));
}

static void wait_ticket(Node *n, uint64_t ticket)
{
    for (;;) {
        g_autofree Report *report = pop_report(n, WAIT_SECONDS);

        g_assert_nonnull(report);
        g_assert_cmpint(report->result, ==, 0);
        if (report->ticket >= ticket)
            return;
    }
}

/* More than the tail holds, replaced at every depth while it is on its way. */
static void test_read(Node *n, gconstpointer data)
{
    static const uint64_t cuts[] = { 399, 300, 12, 2 };
    uint64_t ticket = 0, term = 1, last = 400;
    VvRaftEntry entry;

    (void) data;
    for (uint64_t i = 1; i <= last; i++) {
        put_one(n, i, 1, 20000, ++ticket);
        expect(n, i, 1, 20000);
        expect(n, 1 + i / 2, 1, 20000);
    }
    for (unsigned c = 0; c < G_N_ELEMENTS(cuts); c++) {
        uint64_t from = cuts[c];

        term++;
        for (last = from; last < from + 3; last++)
            put_one(n, last, term, 10, ++ticket);
        last--;
        expect(n, from - 1, 1, 20000);
        for (uint64_t i = from; i <= last; i++)
            expect(n, i, term, 10);
        g_assert_cmpint(vv_raft_log_read(n->log, last + 1, &entry), ==, -ENODATA);
        if (c % 2 == 0)
            wait_ticket(n, ticket);
    }
    wait_ticket(n, ticket);
    close_node(n);
    open_node(n);
    expect(n, 1, 1, 20000);
    for (uint64_t i = 2; i <= 4; i++)
        expect(n, i, term, 10);
    g_assert_cmpint(vv_raft_log_read(n->log, 5, &entry), ==, -ENODATA);
}

/* RL2: more than the tail may hold waits behind a sync; when that is over, none of it is in the journal, and all of it can be read. */
static void test_slow_sync(Node *n, gconstpointer data)
{
    const uint64_t last = 3 * VV_RAFT_TAIL_BYTES / 20000;

    (void) data;
    gate_set(&n->sync_gate, true);
    gate_set(&n->stored_gate, true);
    for (uint64_t i = 1; i <= last; i++)
        put_one(n, i, 1, 20000, i);
    gate_set(&n->sync_gate, false);
    g_usleep(50000); /* it is at the other gate by now; if not, this shows less and fails nowhere */
    for (uint64_t i = 1; i <= last; i++)
        expect(n, i, 1, 20000);
    gate_set(&n->stored_gate, false);
    wait_ticket(n, last);
    for (uint64_t i = 1; i <= last; i++)
        expect(n, i, 1, 20000);
}

/* Nothing goes before both Raft and the store let it. */
static void test_release(Node *n, gconstpointer data)
{
    VvRaftEntry entry;

    (void) data;
    for (uint64_t i = 1; i <= 40; i++)
        put_one(n, i, 1, VV_ENTRY_BYTES_MAX - 100, i);
    wait_ticket(n, 40);
    vv_raft_log_compact(n->log, 30);
    expect(n, 1, 1, VV_ENTRY_BYTES_MAX - 100);
    vv_raft_log_release(n->log, 20);
    expect(n, 21, 1, VV_ENTRY_BYTES_MAX - 100);
    g_assert_cmpint(vv_raft_log_read(n->log, 1, &entry), ==, -ENODATA);
}

static void make_room(void *user)
{
    Node *n = user;

    vv_raft_log_release(n->log, 60);
}

/* A full journal asks for a checkpoint and goes on; without one it has failed, once and for ever. */
static void test_full(Node *n, gconstpointer data)
{
    VvRaftLogOptions options = {
        .journal = n->f.journal, .vote = n->vote, .stored = stored_cb, .full = make_room, .user = n
    };
    VvRaftEntry more = { .term = 1, .type = VV_RAFT_COMMAND }, got;
    unsigned failed = 0;

    (void) data;
    vv_raft_log_free(n->log);
    n->log = vv_raft_log_new(&options);
    for (uint64_t i = 1; i <= 130; i++) { /* seven to a file, sixteen files */
        put_one(n, i, 1, VV_ENTRY_BYTES_MAX, i);
        wait_ticket(n, i);
        if (i == 100)
            vv_raft_log_compact(n->log, 100);
    }
    for (uint64_t i = 131; i <= 250 && failed == 0; i++) {
        g_autofree Report *report = NULL;

        put_one(n, i, 1, VV_ENTRY_BYTES_MAX, i);
        report = pop_report(n, WAIT_SECONDS);
        g_assert_nonnull(report);
        failed += report->result == -ENOSPC;
        more.index = i + 1;
    }
    g_assert_cmpuint(failed, ==, 1);
    g_assert_cmpint(vv_raft_log_append(n->log, &more, 1, more.index), ==, -EIO);
    g_assert_cmpint(vv_raft_log_read(n->log, more.index, &got), ==, -ENODATA); /* and nothing of it is kept */
}

/* ---- under Raft, as the sole voter */

static int op_store_vote(void *user, uint64_t term, uint64_t vote)
{
    return vv_raft_log_store_vote(((Node *) user)->log, term, vote);
}

static int op_append(void *user, const VvRaftEntry *entries, unsigned count, uint64_t ticket)
{
    (void) vv_raft_log_append(((Node *) user)->log, entries, count, ticket); /* stored() tells of failures */
    return 0;
}

static int op_read(void *user, uint64_t index, VvRaftEntry *ret_entry)
{
    return vv_raft_log_read(((Node *) user)->log, index, ret_entry);
}

static void op_compact(void *user, uint64_t index)
{
    vv_raft_log_compact(((Node *) user)->log, index);
}

static void op_send(void *user, uint64_t node, uint16_t kind, const uint8_t *body, size_t body_bytes)
{
    (void) user;
    (void) node;
    (void) kind;
    (void) body;
    (void) body_bytes;
    g_assert_not_reached();
}

static bool op_apply(void *user, const VvRaftEntry *entry)
{
    Node *n = user;
    uint32_t crc = vv_crc32c((uint32_t) entry->term, entry->data, entry->data_bytes);

    g_assert_cmpuint(entry->index, <=, n->applied->len + 1);
    if (entry->index <= n->applied->len)
        g_assert_cmpuint(crc, ==, g_array_index(n->applied, uint32_t, entry->index - 1));
    else
        g_array_append_val(n->applied, crc);
    return true;
}

static void op_changed(void *user)
{
    (void) user;
}

static const VvRaftOps raft_ops = { .store_vote = op_store_vote,
    .append = op_append,
    .read = op_read,
    .compact = op_compact,
    .send = op_send,
    .apply = op_apply,
    .changed = op_changed };

static void start_raft(Node *n)
{
    VvRaftConfig config = { .id = 1, .seed = 1, .election_ms = 1000, .heartbeat_ms = 100 };
    VvRaftStart start = { 0 };

    vv_raft_log_start(n->log, &start);
    if (start.last_index == 0) { /* as the first node of a cluster begins */
        g_autoptr(GByteArray) conf = g_byte_array_new();
        const uint64_t id = 1;
        VvRaftEntry first = { .index = 1, .term = 1, .type = VV_RAFT_CHANGE };

        vv_raft_encode_voters(&id, 1, conf);
        first.data = conf->data;
        first.data_bytes = conf->len;
        g_assert_cmpint(vv_raft_log_append(n->log, &first, 1, 1), ==, 0);
        wait_ticket(n, 1);
        vv_raft_log_start(n->log, &start);
    }
    n->raft = vv_raft_new(&config, &raft_ops, n);
    n->now_ms += 10;
    g_assert_cmpint(vv_raft_start(n->raft, n->now_ms, &start), ==, 0);
}

/* Everything that is on its way; false: the log has failed. */
static bool settle(Node *n)
{
    while (vv_raft_applied(n->raft) < vv_raft_last(n->raft)) {
        g_autofree Report *report = pop_report(n, WAIT_SECONDS);

        g_assert_nonnull(report);
        if (report->result != 0)
            return false;
        vv_raft_stored(n->raft, ++n->now_ms, report->ticket);
    }
    return true;
}

static void propose(Node *n, GRand *rand)
{
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    g_autofree uint8_t *body = g_malloc0(300000);
    size_t most = g_rand_int_range(rand, 0, 8) == 0 ? 300000 : 500;
    VvEntry entry = { .kind = VV_ENTRY_CONFIG };
    uint64_t index = 0;

    entry.f.body = body;
    entry.f.body_bytes = (size_t) g_rand_int_range(rand, 1, (gint32) most);
    body[0] = (uint8_t) g_rand_int(rand);
    vv_entry_encode(bytes, &entry);
    g_assert_cmpint(vv_raft_propose(n->raft, ++n->now_ms, bytes->data, bytes->len, &index), ==, 0);
}

/* Dies at any operation of the disk, and the medium keeps what it likes: what was applied is applied again, the same. */
static void test_crash(Node *n, gconstpointer data)
{
    uint32_t seed = (uint32_t) g_test_rand_int();
    GRand *rand = g_rand_new_with_seed(seed);

    (void) data;
    g_test_message("seed %u", seed);
    for (unsigned life = 0; life < 25; life++) {
        uint64_t applied = n->applied->len;
        bool alive;

        start_raft(n);
        alive = settle(n);
        g_assert_true(alive);
        g_assert_true(vv_raft_ready(n->raft));
        g_assert_cmpuint(n->applied->len, >, applied);
        n->f.sim.fault = FAULT_ALL;
        n->f.sim.fault_errno = -EIO;
        n->f.sim.fault_after = (unsigned) g_rand_int_range(rand, 0, 60);
        for (unsigned i = 0; i < 100 && alive; i++) {
            propose(n, rand);
            if (g_rand_boolean(rand))
                alive = settle(n);
        }
        g_clear_pointer(&n->raft, vv_raft_free);
        g_clear_pointer(&n->log, vv_raft_log_free);
        crash(&n->f, rand, g_rand_boolean(rand));
        close_node(n);
        open_node(n);
    }
    g_rand_free(rand);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name, function) g_test_add("/vvfs/raft-log/" name, Node, NULL, node_set_up, function, node_tear_down)
    ADD("read", test_read);
    ADD("slow-sync", test_slow_sync);
    ADD("release", test_release);
    ADD("full", test_full);
    ADD("crash", test_crash);
    return g_test_run();
}
