/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The coordinator by itself: it is fed with messages, and what it proposes is applied when the test says so. */
#include "coordinator.h"
#include "limits.h"
#include "message.h"

#define TERM 3u
#define SESSION_MS 1000u

typedef struct {
    VvCoordinator *coordinator;
    VvClusterState *state;
    GPtrArray *log; /* GBytes: proposed and not applied */
    uint64_t last_index;
    uint64_t now_ms;
    unsigned sent[VV_MESSAGE_END];
    unsigned voters; /* 0: one */
    uint64_t committed, told, asked; /* told: index of the last LATEST_IS; asked: number of the last CONFIRM */
    uint64_t requests;
} Fixture;

static void send_fields(void *user, uint64_t node, uint16_t kind, const VvFields *fields)
{
    Fixture *f = user;
    (void) node;

    f->sent[kind]++;
    if (kind == VV_MESSAGE_LATEST_IS)
        f->told = fields->seq;
    else if (kind == VV_MESSAGE_CONFIRM)
        f->asked = fields->number;
}

static int propose(void *user, const VvEntry *entry, uint64_t *ret_index)
{
    Fixture *f = user;
    GByteArray *bytes = g_byte_array_new();

    vv_entry_encode(bytes, entry);
    g_ptr_array_add(f->log, g_byte_array_free_to_bytes(bytes));
    *ret_index = ++f->last_index;
    return 0;
}

static unsigned voters(void *user, uint64_t *ids, unsigned most)
{
    unsigned count = MAX(((Fixture *) user)->voters, 1);

    g_assert_cmpuint(most, >=, count);
    for (unsigned i = 0; i < count; i++)
        ids[i] = i + 1;
    return count;
}

static uint64_t committed(void *user)
{
    return ((Fixture *) user)->committed;
}

static const VvCoordinatorOps ops = { send_fields, propose, voters, committed };

/* The oldest entry that waits; false: there is none. */
static bool apply_one(Fixture *f, VvVerdict *ret_verdict)
{
    g_auto(VvEntry) entry = { 0 };
    VvApplied applied;
    gsize length;
    const uint8_t *data;

    if (f->log->len == 0)
        return false;
    data = g_bytes_get_data(f->log->pdata[0], &length);
    g_assert_true(vv_entry_decode(data, length, &entry));
    vv_state_apply(f->state, f->state->applied_index + 1, TERM, &entry, NULL, NULL, &applied);
    vv_coordinator_applied(f->coordinator, f->now_ms, &entry, &applied);
    if (ret_verdict)
        *ret_verdict = applied.verdict;
    g_ptr_array_remove_index(f->log, 0);
    return true;
}

static void enter(Fixture *f, VvEntry entry)
{
    uint64_t index;
    VvVerdict verdict;

    g_assert_cmpint(propose(f, &entry, &index), ==, 0);
    g_assert_true(apply_one(f, &verdict));
    g_assert_cmpint(verdict, ==, VV_VERDICT_OK);
}

/* Nodes with sessions; node 1 may write LUN 1. */
static void set_up(Fixture *f, unsigned nodes)
{
    VvCoordinatorConfig config = { .id = 1, .session_ms = SESSION_MS, .drift_permille = 10 };

    memset(f, 0, sizeof *f);
    f->now_ms = 100000;
    f->log = g_ptr_array_new_with_free_func((GDestroyNotify) g_bytes_unref);
    f->state = vv_state_new();
    f->coordinator = vv_coordinator_new(&config, &ops, f);
    for (uint64_t id = 1; id <= nodes; id++)
        enter(f, (VvEntry) { .kind = VV_ENTRY_NODE_ADD, .f.node = id, .f.body = (const uint8_t *) "n", .f.body_bytes = 1 });
    for (uint64_t id = 1; id <= nodes; id++)
        enter(f, (VvEntry) { .kind = VV_ENTRY_SESSION, .f.node = id, .f.nonce = 5 });
    enter(f, (VvEntry) { .kind = VV_ENTRY_GRANT, .f.node = 1, .f.session = vv_state_session(f->state, 1), .f.range = { 1, 0, 100 },
                 .f.mode = VV_LEASE_WRITE });
}

static void begin(Fixture *f)
{
    vv_coordinator_begin(f->coordinator, f->now_ms, TERM, f->state);
}

static void tear_down(Fixture *f)
{
    vv_coordinator_free(f->coordinator);
    vv_state_free(f->state);
    g_ptr_array_free(f->log, TRUE);
}

static void request(Fixture *f, uint64_t from, VvEntry entry)
{
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    VvFields fields = { 0 };

    entry.request = (VvRequestId) { 1, ++f->requests };
    vv_entry_encode(bytes, &entry);
    fields.body = bytes->data;
    fields.body_bytes = bytes->len;
    vv_coordinator_receive(f->coordinator, f->now_ms, from, VV_MESSAGE_REQUEST, &fields);
    vv_coordinator_work(f->coordinator, f->now_ms);
}

static void snapshot(Fixture *f, uint64_t lun)
{
    request(f, 1, (VvEntry) { .kind = VV_ENTRY_SNAPSHOT, .f.luns = &lun, .f.luns_count = 1 });
}

/* A quiesce whose holder takes its time, and many others meanwhile: as long as its entry would be taken, its gates stay closed. */
static void test_slow_quiesce(void)
{
    Fixture f;
    VvQuiesceId slow = { TERM, 1 };
    VvFields quiesced = { .quiesce = slow };
    VvVerdict verdict = VV_VERDICTS;
    unsigned others = 0;

    set_up(&f, 2);
    begin(&f);
    quiesced.session = vv_state_session(f.state, 1);
    snapshot(&f, 1);
    g_assert_cmpuint(f.sent[VV_MESSAGE_QUIESCE], ==, 1);
    for (unsigned i = 0; i < 4 * VV_QUIESCES_MAX; i++) {
        snapshot(&f, 2); /* nobody writes there */
        while (apply_one(&f, NULL))
            others++;
        g_assert_false(vv_state_quiesce_ended(f.state, slow));
    }
    g_assert_cmpuint(others, ==, VV_QUIESCES_MAX - 1);
    vv_coordinator_receive(f.coordinator, f.now_ms, 1, VV_MESSAGE_QUIESCED, &quiesced);
    vv_coordinator_work(f.coordinator, f.now_ms);
    while (!vv_state_quiesce_ended(f.state, slow))
        g_assert_true(apply_one(&f, &verdict));
    g_assert_cmpint(verdict, ==, VV_VERDICT_OK);
    /* The others go on. */
    vv_coordinator_work(f.coordinator, f.now_ms);
    others = 0;
    while (apply_one(&f, NULL))
        others++;
    g_assert_cmpuint(others, >, 0);
    tear_down(&f);
}

/* The largest entry that decodes still fits with the holders that the coordinator puts into it; a larger one is none. */
static void test_large_body(void)
{
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    g_autofree uint64_t *luns = g_new(uint64_t, VV_OBJECTS_PER_COMMAND);
    g_autofree uint8_t *body = g_malloc0(VV_ENTRY_BYTES_MAX);
    VvEntry entry = { .kind = VV_ENTRY_SNAPSHOT, .request = { 1, 1000 }, .f.luns = luns, .f.luns_count = VV_OBJECTS_PER_COMMAND, .f.body = body };
    VvFields fields = { 0 };
    Fixture f;

    for (unsigned i = 0; i < VV_OBJECTS_PER_COMMAND; i++)
        luns[i] = 2 + i; /* nobody writes there: its entry is made at once */
    set_up(&f, 2);
    begin(&f);
    vv_entry_encode(bytes, &entry);
    for (uint64_t more = 0; more < 2; more++) {
        guint head = bytes->len;

        vv_put_u32(bytes->data + head - 4, (uint32_t) (more ? VV_ENTRY_BYTES_MAX - head : VV_ENTRY_BODY_BYTES_MAX));
        g_byte_array_append(bytes, body, more ? (guint) (VV_ENTRY_BYTES_MAX - head) : VV_ENTRY_BODY_BYTES_MAX);
        vv_put_u64(bytes->data + 16, 1000 + more);
        fields.body = bytes->data;
        fields.body_bytes = bytes->len;
        vv_coordinator_receive(f.coordinator, f.now_ms, 1, VV_MESSAGE_REQUEST, &fields);
        vv_coordinator_work(f.coordinator, f.now_ms);
        g_assert_cmpint(apply_one(&f, NULL), ==, !more);
        g_byte_array_set_size(bytes, head);
    }
    tear_down(&f);
}

/* Applied as they are proposed, with work between, for @ms. */
static void run(Fixture *f, uint64_t ms)
{
    for (uint64_t end_ms = f->now_ms + ms; f->now_ms < end_ms; f->now_ms += SESSION_MS / 16) {
        vv_coordinator_work(f->coordinator, f->now_ms);
        while (apply_one(f, NULL))
            continue;
    }
}

static bool is_removed(const Fixture *f, uint64_t node)
{
    return vv_state_node(f->state, node)->removed;
}

/* One that came since the coordinator began and never opened a session goes too; one that went is not known again. */
static void test_evict(void)
{
    Fixture f;

    set_up(&f, 2);
    begin(&f);
    request(&f, 1, (VvEntry) { .kind = VV_ENTRY_NODE_ADD, .f.node = 3, .f.body = (const uint8_t *) "n", .f.body_bytes = 1 });
    run(&f, SESSION_MS);
    vv_coordinator_evict(f.coordinator, 3);
    g_assert_cmpuint(vv_coordinator_deadline(f.coordinator), <, UINT64_MAX);
    run(&f, SESSION_MS);
    g_assert_true(is_removed(&f, 3));
    vv_coordinator_evict(f.coordinator, 3);
    vv_coordinator_evict(f.coordinator, 4);
    g_assert_cmpuint(vv_coordinator_deadline(f.coordinator), ==, UINT64_MAX);
    run(&f, SESSION_MS);
    /* A session is waited for first. */
    vv_coordinator_evict(f.coordinator, 2);
    run(&f, 2 * SESSION_MS);
    g_assert_true(is_removed(&f, 2));
    g_assert_cmpuint(vv_coordinator_deadline(f.coordinator), ==, UINT64_MAX);
    tear_down(&f);
}

/* Ids are never reused: those that are used up do not count against the nodes that there may be. */
static void test_many_ids(void)
{
    VvFields open = { .nonce = 9 }, want = { .range = { 2, 0, 10 }, .mode = VV_LEASE_WRITE };
    const uint64_t last = VV_NODES_MAX + 8;
    Fixture f;

    set_up(&f, 2);
    for (uint64_t id = 3; id < last; id++) {
        enter(&f, (VvEntry) { .kind = VV_ENTRY_NODE_ADD, .f.node = id, .f.body = (const uint8_t *) "n", .f.body_bytes = 1 });
        enter(&f, (VvEntry) { .kind = VV_ENTRY_NODE_REMOVE, .f.node = id });
    }
    begin(&f);
    request(&f, 1, (VvEntry) { .kind = VV_ENTRY_NODE_ADD, .f.node = last, .f.body = (const uint8_t *) "n", .f.body_bytes = 1 });
    run(&f, 100);
    vv_coordinator_receive(f.coordinator, f.now_ms, last, VV_MESSAGE_OPEN, &open);
    run(&f, 100);
    want.session = vv_state_session(f.state, last);
    g_assert_cmpuint(want.session, !=, 0);
    vv_coordinator_receive(f.coordinator, f.now_ms, last, VV_MESSAGE_LEASE, &want);
    run(&f, 100);
    g_assert_cmpuint(f.state->leases->len, ==, 2);
    /* It is silent, and 1 wants what it has. */
    want.session = vv_state_session(f.state, 1);
    vv_coordinator_receive(f.coordinator, f.now_ms, 1, VV_MESSAGE_LEASE, &want);
    run(&f, 2 * SESSION_MS);
    g_assert_cmpuint(vv_state_session(f.state, last), ==, 0);
    tear_down(&f);
}

static void hear(Fixture *f, uint64_t from, uint16_t kind, VvFields fields)
{
    vv_coordinator_receive(f->coordinator, f->now_ms, from, kind, &fields);
    vv_coordinator_work(f->coordinator, f->now_ms);
}

/* Up to where the log is committed is told as it was when that was asked, and only when a majority has confirmed the term since. */
static void test_latest(void)
{
    Fixture f;
    uint64_t before;

    set_up(&f, 3);
    f.voters = 3;
    begin(&f);
    f.committed = 40;
    hear(&f, 2, VV_MESSAGE_LATEST, (VvFields){ .nonce = 9, .number = 1 });
    g_assert_cmpuint(f.sent[VV_MESSAGE_CONFIRM], ==, 2);
    g_assert_cmpuint(f.sent[VV_MESSAGE_LATEST_IS], ==, 0);
    before = f.asked;
    f.committed = 50;
    hear(&f, 3, VV_MESSAGE_LATEST, (VvFields){ .nonce = 8, .number = 4 }); /* waits for a round of its own */
    hear(&f, 2, VV_MESSAGE_LATEST, (VvFields){ .nonce = 9, .number = 1 }); /* again: nothing new */
    hear(&f, 3, VV_MESSAGE_CONFIRMED, (VvFields){ .term = TERM - 1, .number = before });
    g_assert_cmpuint(f.sent[VV_MESSAGE_LATEST_IS], ==, 0);
    hear(&f, 3, VV_MESSAGE_CONFIRMED, (VvFields){ .term = TERM, .number = before });
    g_assert_cmpuint(f.sent[VV_MESSAGE_LATEST_IS], ==, 1);
    g_assert_cmpuint(f.told, ==, 40);
    g_assert_cmpuint(f.asked, ==, before + 1);
    hear(&f, 2, VV_MESSAGE_CONFIRMED, (VvFields){ .term = TERM, .number = f.asked });
    g_assert_cmpuint(f.sent[VV_MESSAGE_LATEST_IS], ==, 2);
    g_assert_cmpuint(f.told, ==, 50);
    hear(&f, 77, VV_MESSAGE_LATEST, (VvFields){ .nonce = 7, .number = 1 }); /* no node */
    g_assert_cmpuint(f.asked, ==, before + 1);
    f.voters = 1; /* a sole voter need not ask */
    hear(&f, 2, VV_MESSAGE_LATEST, (VvFields){ .nonce = 9, .number = 2 });
    g_assert_cmpuint(f.sent[VV_MESSAGE_LATEST_IS], ==, 3);
    tear_down(&f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/cluster/coordinator/slow-quiesce", test_slow_quiesce);
    g_test_add_func("/cluster/coordinator/large-body", test_large_body);
    g_test_add_func("/cluster/coordinator/evict", test_evict);
    g_test_add_func("/cluster/coordinator/many-ids", test_many_ids);
    g_test_add_func("/cluster/coordinator/latest", test_latest);
    return g_test_run();
}
