/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The member by itself: what it is due for, and when it asks. */
#include "member.h"
#include "message.h"

#define SESSION_MS 1000u
#define START_MS 100000u

typedef struct {
    VvMember *member;
    VvClusterState *state;
    uint64_t now_ms;
    bool old_io;
    unsigned sent[VV_MESSAGE_END];
} Fixture;

static void send_fields(void *user, uint64_t node, uint16_t kind, const VvFields *fields)
{
    (void) node;
    (void) fields;
    ((Fixture *) user)->sent[kind]++;
}

static void settle(void *user, uint64_t job, VvSettleStep step, const VvRange *ranges, unsigned count, bool reads)
{
    (void) user, (void) job, (void) step, (void) ranges, (void) count, (void) reads;
}

static bool old_io(void *user)
{
    return ((Fixture *) user)->old_io;
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

static void session_changed(void *user, uint64_t session)
{
    (void) user, (void) session;
}

static void proposal_done(void *user, uint64_t seq, VvVerdict verdict)
{
    (void) user, (void) seq, (void) verdict;
}

static void retry(void *user)
{
    (void) user;
}

static const VvMemberOps ops = { send_fields, settle, old_io, uses, nonce, session_changed, proposal_done, retry };

static void enter(Fixture *f, VvEntry entry)
{
    VvApplied applied;
    uint64_t index = f->state->applied_index + 1;

    vv_state_apply(f->state, index, 1, &entry, NULL, NULL, &applied);
    g_assert_cmpint(applied.verdict, ==, VV_VERDICT_OK);
    vv_member_applied(f->member, f->now_ms, index, &entry, &applied);
}

static void set_up(Fixture *f)
{
    VvMemberConfig config = { .id = 1, .session_ms = SESSION_MS };

    memset(f, 0, sizeof *f);
    f->now_ms = START_MS;
    f->state = vv_state_new();
    f->member = vv_member_new(&config, &ops, f, f->state);
}

static void tear_down(Fixture *f)
{
    vv_member_free(f->member);
    vv_state_free(f->state);
}

static void add_node(Fixture *f)
{
    enter(f, (VvEntry) { .kind = VV_ENTRY_NODE_ADD, .f.node = 1, .f.body = (const uint8_t *) "n", .f.body_bytes = 1 });
}

/* Who drives it: work whenever it is due, for @ms. How often that was. */
static unsigned drive(Fixture *f, uint64_t ms)
{
    uint64_t end_ms = f->now_ms + ms;
    unsigned calls = 0;

    vv_member_work(f->member, f->now_ms);
    while (vv_member_deadline(f->member) <= end_ms && calls < 1000) {
        f->now_ms = MAX(f->now_ms, vv_member_deadline(f->member));
        vv_member_work(f->member, f->now_ms);
        calls++;
    }
    f->now_ms = end_ms;
    return calls;
}

/* I/O of the session before keeps the next one from being asked for: it is looked at again now and then, not without end. */
static void test_waits_for_old_io(void)
{
    Fixture f;

    set_up(&f);
    add_node(&f);
    f.old_io = true;
    vv_member_coordinator(f.member, f.now_ms, 2, 1);
    g_assert_cmpuint(drive(&f, 10 * SESSION_MS), <=, 41);
    g_assert_cmpuint(f.sent[VV_MESSAGE_OPEN], ==, 0);
    f.old_io = false;
    vv_member_work(f.member, f.now_ms); /* the event that ended it */
    g_assert_cmpuint(f.sent[VV_MESSAGE_OPEN], ==, 1);
    tear_down(&f);
}

/* A node that is not in the state (yet), or is removed, waits for an entry. */
static void test_no_node(void)
{
    Fixture f;

    set_up(&f);
    vv_member_coordinator(f.member, f.now_ms, 2, 1);
    g_assert_cmpuint(drive(&f, 10 * SESSION_MS), ==, 0);
    add_node(&f);
    drive(&f, 0);
    g_assert_cmpuint(f.sent[VV_MESSAGE_OPEN], ==, 1);
    g_assert_cmpuint(drive(&f, 10 * SESSION_MS), <=, 41);
    g_assert_cmpuint(f.sent[VV_MESSAGE_OPEN], >, 30);
    enter(&f, (VvEntry) { .kind = VV_ENTRY_NODE_REMOVE, .f.node = 1 });
    g_assert_cmpuint(drive(&f, 10 * SESSION_MS), ==, 0);
    tear_down(&f);
}

/* With a session it renews, four times in T. */
static void test_renews(void)
{
    Fixture f;

    set_up(&f);
    add_node(&f);
    vv_member_coordinator(f.member, f.now_ms, 2, 1);
    drive(&f, 10);
    enter(&f, (VvEntry) { .kind = VV_ENTRY_SESSION, .f.node = 1, .f.nonce = 7 });
    g_assert_cmpuint(vv_member_session(f.member), !=, 0);
    g_assert_cmpuint(drive(&f, 10 * SESSION_MS), <=, 41);
    g_assert_cmpuint(f.sent[VV_MESSAGE_RENEW], >, 30);
    tear_down(&f);
}

/* A witness asks for no session, and is not due for one. */
static void test_no_session(void)
{
    VvMemberConfig config = { .id = 1, .session_ms = SESSION_MS, .no_session = true };
    Fixture f;

    set_up(&f);
    vv_member_free(f.member);
    f.member = vv_member_new(&config, &ops, &f, f.state);
    vv_member_coordinator(f.member, f.now_ms, 2, 1);
    add_node(&f);
    g_assert_cmpuint(drive(&f, 10 * SESSION_MS), ==, 0);
    g_assert_cmpuint(f.sent[VV_MESSAGE_OPEN], ==, 0);
    tear_down(&f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/cluster/member/waits-for-old-io", test_waits_for_old_io);
    g_test_add_func("/cluster/member/no-node", test_no_node);
    g_test_add_func("/cluster/member/renews", test_renews);
    g_test_add_func("/cluster/member/no-session", test_no_session);
    return g_test_run();
}
