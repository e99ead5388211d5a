/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Nodes and invites: bodies come back as they went in and bad ones are refused; one invite makes one node, whatever is asked again,
 * restarted or raced; what is refused changes nothing. */
#include "engine-pool.h"
#include "error.h"
#include "member_table.h"
#include "members.h"

#include <string.h>

#define HOUR_S 3600u

static VvNodeRecord node_of(uint64_t id, const char *name, const char *address, uint8_t key)
{
    VvNodeRecord node = { .id = id, .role = VV_ROLE_VOTER, .name = g_strdup(name), .software = g_strdup("1.0"), .since_ns = 5 };

    node.addresses = g_strdupv((char *[]){ (char *) address, NULL });
    memset(node.key_id, key, sizeof node.key_id);
    return node;
}

static VvInviteRecord invite_of(uint64_t id, const char *name, uint64_t ttl_s)
{
    VvInviteRecord invite = { .id = id, .role = VV_ROLE_STANDBY, .name = g_strdup(name), .created_ns = vv_now_ns() };

    invite.expiry_seconds = invite.created_ns / 1000000000u + ttl_s;
    memset(invite.verifier, (int) id, sizeof invite.verifier);
    return invite;
}

/* ---- bodies */
static void test_round_trip(void)
{
    g_autoptr(GByteArray) body = g_byte_array_new(), again = g_byte_array_new();
    g_auto(VvNodeRecord) node = node_of(3, "n3", "10.0.0.3:7333", 9), back = { .id = 0 };
    g_auto(VvInviteRecord) invite = invite_of(77, "", HOUR_S), invite_back = { .id = 0 };

    vv_node_record_encode(&node, body);
    g_assert_true(vv_node_record_decode(3, body->data, body->len, &back));
    g_assert_cmpuint(back.id, ==, 3);
    g_assert_cmpstr(back.name, ==, "n3");
    g_assert_cmpstr(back.addresses[0], ==, "10.0.0.3:7333");
    g_assert_cmpmem(back.key_id, sizeof back.key_id, node.key_id, sizeof node.key_id);
    vv_node_record_encode(&back, again);
    g_assert_cmpmem(again->data, again->len, body->data, body->len);
    for (guint cut = 0; cut < body->len; cut++) {
        VvNodeRecord none;
        g_assert_false(vv_node_record_decode(3, body->data, cut, &none));
    }
    g_byte_array_set_size(body, 0);
    invite.node = 3;
    invite.used_ns = 8;
    vv_invite_record_encode(&invite, body);
    g_assert_true(vv_invite_record_decode(77, body->data, body->len, &invite_back));
    g_assert_cmpstr(invite_back.name, ==, "");
    g_assert_cmpuint(invite_back.node, ==, 3);
    g_assert_cmpuint(invite_back.expiry_seconds, ==, invite.expiry_seconds);
    for (guint cut = 0; cut < body->len; cut++) {
        VvInviteRecord none;
        g_assert_false(vv_invite_record_decode(77, body->data, cut, &none));
    }
}

/* A changed byte is refused, or gives a record that is in range: encoding it again asserts that. */
static void test_flips(void)
{
    g_auto(VvNodeRecord) node = node_of(3, "n3", "[fd00::3]:7333", 9);
    g_auto(VvInviteRecord) invite = invite_of(77, "n3", HOUR_S);
    g_autoptr(GByteArray) body = g_byte_array_new(), other = g_byte_array_new();

    vv_node_record_encode(&node, body);
    vv_invite_record_encode(&invite, other);
    for (guint at = 0; at < body->len * 8; at++) {
        g_auto(VvNodeRecord) got = { .id = 0 };
        g_autoptr(GByteArray) out = g_byte_array_new();

        body->data[at / 8] ^= (uint8_t) (1u << at % 8);
        if (vv_node_record_decode(3, body->data, body->len, &got))
            vv_node_record_encode(&got, out);
        body->data[at / 8] ^= (uint8_t) (1u << at % 8);
    }
    for (guint at = 0; at < other->len * 8; at++) {
        g_auto(VvInviteRecord) got = { .id = 0 };
        g_autoptr(GByteArray) out = g_byte_array_new();

        other->data[at / 8] ^= (uint8_t) (1u << at % 8);
        if (vv_invite_record_decode(77, other->data, other->len, &got))
            vv_invite_record_encode(&got, out);
        other->data[at / 8] ^= (uint8_t) (1u << at % 8);
    }
}

/* ---- a pool with a first node */
static bool nothing_to_store(void *user, const char *directory, GError **error)
{
    (void) directory;
    (void) error;
    *(bool *) user = true;
    return true;
}

static TestPool *listening_pool(void)
{
    g_autoptr(GError) error = NULL;
    g_auto(VvNodeRecord) node = node_of(1, "n1", "10.0.0.1:7333", 1);
    bool prepared = false;
    struct VvFirstNode first = { .node = &node, .prepare = nothing_to_store, .user = &prepared };
    TestPool *test = g_new0(TestPool, 1);

    test->folder = test_folder_new(true);
    test->directory = g_build_filename(test->folder, "pool", NULL);
    VvPoolCreate create = { .directory = test->directory, .name = "tank", .size_bytes = 64 << 20, .first = &first };
    vv_uuid_generate(&first.uuid);
    vv_pool_create(&create, &error);
    g_assert_no_error(error);
    g_assert_true(prepared);
    test_pool_open(test);
    return test;
}

/* Who has the secret of invite N says its number. */
static bool proves(void *user, const uint8_t verifier[VV_INVITE_VERIFIER_BYTES])
{
    return verifier[0] == *(const uint8_t *) user;
}

/* NULL, or the word of the error. */
static const char *try_join(TestPool *test, uint64_t invite, uint8_t secret, const char *name, const char *address, uint8_t key,
    uint64_t *ret_id, bool *ret_again)
{
    static char word[32];
    g_autoptr(GError) error = NULL;
    g_auto(VvNodeRecord) node = { .id = 0 };
    const char *addresses[] = { address, NULL };
    VvJoinAsk ask = { .invite = invite, .name = name, .software = "1.0", .addresses = addresses, .proves = proves, .user = &secret };
    bool again = false;

    memset(ask.key_id, key, sizeof ask.key_id);
    if (!vv_pool_join(test->pool, &ask, &node, &again, &error)) {
        g_strlcpy(word, vv_error_code_name(error), sizeof word);
        g_test_message("%s: %s", word, error->message);
        return word;
    }
    if (ret_id)
        *ret_id = node.id;
    if (ret_again)
        *ret_again = again;
    return NULL;
}

static void add_invite(TestPool *test, uint64_t id, const char *name, uint64_t ttl_s)
{
    g_autoptr(GError) error = NULL;
    g_auto(VvInviteRecord) invite = invite_of(id, name, ttl_s);

    vv_pool_invite_add(test->pool, &invite, NULL, &error);
    g_assert_no_error(error);
}

static uint64_t entries(TestPool *test)
{
    VvPoolStats stats;

    vv_pool_stats(test->pool, &stats);
    return stats.journal_entries;
}

static unsigned node_count(TestPool *test)
{
    g_autoptr(GPtrArray) nodes = vv_meta_nodes(test->pool->meta);

    return nodes->len;
}

static void assert_in_order(TestPool *test)
{
    unsigned wrong = 0;

    vv_members_check(test->pool->meta, test_check_cb, &wrong);
    g_assert_cmpuint(wrong, ==, 0);
}

static void test_join_once(void)
{
    TestPool *test = listening_pool();
    uint64_t id = 0, again_id = 0, before;
    bool again = true;

    add_invite(test, 7, "", HOUR_S);
    test_pool_reopen(test); /* nothing that was acknowledged is lost */
    g_assert_null(try_join(test, 7, 7, "n2", "10.0.0.2:7333", 2, &id, &again));
    g_assert_cmpuint(id, ==, 2);
    g_assert_false(again);
    before = entries(test);
    g_assert_null(try_join(test, 7, 7, "n2", "10.0.0.2:7333", 2, &again_id, &again)); /* the answer was lost */
    g_assert_cmpuint(again_id, ==, id);
    g_assert_true(again);
    g_assert_cmpstr(try_join(test, 7, 7, "n3", "10.0.0.3:7333", 3, NULL, NULL), ==, "conflict");      /* another key */
    g_assert_cmpstr(try_join(test, 7, 7, "other", "10.0.0.2:7333", 2, NULL, NULL), ==, "conflict");   /* another name */
    g_assert_cmpuint(entries(test), ==, before);
    test_pool_reopen(test);
    g_assert_null(try_join(test, 7, 7, "n2", "10.0.0.2:7333", 2, &again_id, &again));
    g_assert_cmpuint(again_id, ==, id);
    g_assert_cmpuint(node_count(test), ==, 2);
    assert_in_order(test);
    test_pool_free(test);
}

static void test_refused(void)
{
    TestPool *test = listening_pool();
    uint64_t before;

    add_invite(test, 7, "n2", HOUR_S);
    add_invite(test, 8, "", HOUR_S);
    before = entries(test);
    g_assert_cmpstr(try_join(test, 9, 9, "n2", "10.0.0.2:7333", 2, NULL, NULL), ==, "not-found");
    g_assert_cmpstr(try_join(test, 7, 8, "n2", "10.0.0.2:7333", 2, NULL, NULL), ==, "denied");
    g_assert_cmpstr(try_join(test, 7, 7, "n3", "10.0.0.2:7333", 2, NULL, NULL), ==, "conflict");
    g_assert_cmpstr(try_join(test, 8, 8, "n1", "10.0.0.2:7333", 2, NULL, NULL), ==, "exists");
    g_assert_cmpstr(try_join(test, 8, 8, "n3", "10.0.0.1:7333", 2, NULL, NULL), ==, "exists");
    g_assert_cmpstr(try_join(test, 8, 8, "n3", "10.0.0.2:7333", 1, NULL, NULL), ==, "conflict"); /* node 1's key */
    g_assert_cmpstr(try_join(test, 8, 8, "a/b", "10.0.0.2:7333", 2, NULL, NULL), ==, "invalid-name");
    g_assert_cmpstr(try_join(test, 8, 8, "default", "10.0.0.2:7333", 2, NULL, NULL), ==, "invalid-name");
    g_assert_cmpuint(entries(test), ==, before);
    g_assert_cmpuint(node_count(test), ==, 1);
    test_pool_free(test);
}

/* An invite with an expiry in the past, as after a wait: refused, and gone with the next transaction a day later. */
static void test_expiry(void)
{
    TestPool *test = listening_pool();
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) invites = NULL;
    g_auto(VvInviteRecord) old = invite_of(5, "", 0), ancient = invite_of(6, "", 0);

    old.expiry_seconds -= 10;
    ancient.expiry_seconds -= VV_INVITE_KEPT_SECONDS + 10;
    vv_pool_invite_add(test->pool, &old, NULL, &error);
    g_assert_no_error(error);
    vv_pool_invite_add(test->pool, &ancient, NULL, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(try_join(test, 5, 5, "n2", "10.0.0.2:7333", 2, NULL, NULL), ==, "stale");
    add_invite(test, 7, "", HOUR_S);
    invites = vv_meta_invites(test->pool->meta);
    g_assert_cmpuint(invites->len, ==, 2);
    g_assert_cmpstr(try_join(test, 6, 6, "n2", "10.0.0.2:7333", 2, NULL, NULL), ==, "not-found");
    test_pool_free(test);
}

static bool try_revoke(TestPool *test, uint64_t id, VvErrorCode wanted)
{
    g_autoptr(GError) error = NULL;
    bool good = vv_pool_invite_revoke(test->pool, id, NULL, &error);

    if (!good)
        g_assert_error(error, VV_ERROR, (gint) wanted);
    return good;
}

static void test_revoke(void)
{
    TestPool *test = listening_pool();

    add_invite(test, 7, "n2", HOUR_S);
    add_invite(test, 8, "n3", HOUR_S);
    g_assert_true(try_revoke(test, 7, 0));
    g_assert_false(try_revoke(test, 7, VV_ERROR_NOT_FOUND));
    g_assert_cmpstr(try_join(test, 7, 7, "n2", "10.0.0.2:7333", 2, NULL, NULL), ==, "not-found");
    g_assert_null(try_join(test, 8, 8, "n3", "10.0.0.3:7333", 3, NULL, NULL));
    g_assert_false(try_revoke(test, 8, VV_ERROR_CONFLICT));
    test_pool_reopen(test);
    g_assert_false(try_revoke(test, 7, VV_ERROR_NOT_FOUND));
    test_pool_free(test);
}

static void test_invites_are_refused(void)
{
    TestPool *test = listening_pool(), *plain = test_pool_new(64 << 20);
    g_auto(VvInviteRecord) named = invite_of(8, "n2", HOUR_S), taken = invite_of(9, "n1", HOUR_S), same = invite_of(7, "", HOUR_S);
    g_autoptr(GError) exists = NULL, node_exists = NULL, same_id = NULL, no_nodes = NULL;

    add_invite(test, 7, "n2", HOUR_S);
    g_assert_false(vv_pool_invite_add(test->pool, &named, NULL, &exists));
    g_assert_error(exists, VV_ERROR, VV_ERROR_EXISTS);
    g_assert_false(vv_pool_invite_add(test->pool, &taken, NULL, &node_exists));
    g_assert_error(node_exists, VV_ERROR, VV_ERROR_EXISTS);
    g_assert_false(vv_pool_invite_add(test->pool, &same, NULL, &same_id));
    g_assert_error(same_id, VV_ERROR, VV_ERROR_EXISTS);
    g_assert_false(vv_pool_invite_add(plain->pool, &same, NULL, &no_nodes));
    g_assert_error(no_nodes, VV_ERROR, VV_ERROR_UNSUPPORTED);
    test_pool_free(test);
    test_pool_free(plain);
}

/* A request id answers who asks twice. */
static void test_request_id(void)
{
    TestPool *test = listening_pool();
    g_autoptr(GError) error = NULL;
    g_auto(VvInviteRecord) first = invite_of(7, "", HOUR_S), second = invite_of(8, "", HOUR_S);
    VvRequest request = { .id = "once", .result_json = "{\"invite\": 7}" };
    g_autoptr(GPtrArray) invites = NULL;

    g_assert_true(vv_pool_invite_add(test->pool, &first, &request, &error));
    g_assert_null(request.ret_previous);
    g_assert_true(vv_pool_invite_add(test->pool, &second, &request, &error));
    g_assert_cmpstr(request.ret_previous, ==, "{\"invite\": 7}");
    g_free(request.ret_previous);
    invites = vv_meta_invites(test->pool->meta);
    g_assert_cmpuint(invites->len, ==, 1);
    test_pool_free(test);
}

/* ---- many ask at a time: one gets the invite, one gets the name */
typedef struct {
    TestPool *test;
    uint8_t number;
    const char *result;
} Racer;

static void *race(void *data)
{
    Racer *racer = data;
    g_autofree char *address = g_strdup_printf("10.0.1.%u:7333", racer->number);
    g_autoptr(GError) error = NULL;
    g_auto(VvNodeRecord) node = { .id = 0 };
    const char *addresses[] = { address, NULL };
    uint8_t secret = 7;
    VvJoinAsk ask = { .invite = 7, .name = "n2", .software = "1.0", .addresses = addresses, .proves = proves, .user = &secret };
    bool again = false;

    memset(ask.key_id, 100 + racer->number, sizeof ask.key_id);
    racer->result = vv_pool_join(racer->test->pool, &ask, &node, &again, &error) ? "joined" : "refused";
    return NULL;
}

static void test_race(void)
{
    TestPool *test = listening_pool();
    Racer racers[8];
    pthread_t threads[G_N_ELEMENTS(racers)];
    unsigned joined = 0;

    add_invite(test, 7, "", HOUR_S);
    for (unsigned i = 0; i < G_N_ELEMENTS(racers); i++) {
        racers[i] = (Racer){ .test = test, .number = (uint8_t) i };
        g_assert_cmpint(pthread_create(&threads[i], NULL, race, &racers[i]), ==, 0);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(racers); i++) {
        pthread_join(threads[i], NULL);
        joined += strcmp(racers[i].result, "joined") == 0;
    }
    g_assert_cmpuint(joined, ==, 1);
    g_assert_cmpuint(node_count(test), ==, 2);
    assert_in_order(test);
    test_pool_free(test);
}

/* ---- check: bodies that nothing could read, or that contradict each other */
static void put_raw(TestPool *test, VvMemberKind kind, uint64_t id, const GByteArray *body)
{
    VvOps *ops = vv_ops_new();
    VvOp *op = vv_ops_add(ops, VV_OP_MEMBER_SET);

    op->member_set.kind = (uint8_t) kind;
    op->member_set.id = id;
    op->member_set.body = g_memdup2(body->data, body->len);
    op->member_set.body_bytes = body->len;
    g_assert_cmpint(vv_commit_ops(test->pool->committer, NULL, 0, ops), ==, 0);
}

static void test_check(void)
{
    TestPool *test = listening_pool();
    g_auto(VvNodeRecord) twin = node_of(2, "n1", "10.0.0.1:7333", 2);
    g_auto(VvInviteRecord) invite = invite_of(7, "", HOUR_S);
    g_autoptr(GByteArray) node_body = g_byte_array_new(), invite_body = g_byte_array_new(), garbage = g_byte_array_new();
    g_autoptr(GError) error = NULL;
    unsigned wrong = 0;

    vv_node_record_encode(&twin, node_body);
    invite.node = 9;
    vv_invite_record_encode(&invite, invite_body);
    g_byte_array_append(garbage, (const uint8_t *) "garbage", 7);
    put_raw(test, VV_MEMBER_NODE, 2, node_body);
    put_raw(test, VV_MEMBER_INVITE, 7, invite_body);
    put_raw(test, VV_MEMBER_NODE, 3, garbage);
    g_assert_true(vv_pool_check(test->pool, test_check_cb, &wrong, &error));
    g_assert_cmpuint(wrong, ==, 4); /* one name, one address, a node that is not there, a record that cannot be read */
    test_pool_free(test);
}

/* ---- changes */
static const char *try_change(TestPool *test, uint64_t id, VvNodeRole role, const char *address)
{
    static char word[32];
    g_autoptr(GError) error = NULL;
    VvNodeChange change = { .id = id, .role = role, .address = address };

    if (vv_pool_node_change(test->pool, &change, NULL, &error))
        return NULL;
    g_strlcpy(word, vv_error_code_name(error), sizeof word);
    g_test_message("%s: %s", word, error->message);
    return word;
}

/* The first node stays, somebody votes, no two are at one place, and a number is never used again; what is so already is no entry. */
static void test_change(void)
{
    TestPool *test = listening_pool();
    g_autoptr(GError) error = NULL;
    uint64_t before, id = 0;

    for (uint8_t i = 2; i <= 3; i++) {
        g_autofree char *name = g_strdup_printf("n%u", i), *address = g_strdup_printf("10.0.0.%u:7333", i);

        add_invite(test, i, "", HOUR_S); /* for a standby */
        g_assert_null(try_join(test, i, i, name, address, i, NULL, NULL));
    }
    before = entries(test);
    g_assert_null(try_change(test, 2, VV_ROLE_STANDBY, "10.0.0.2:7333"));
    g_assert_cmpstr(try_change(test, 1, VV_ROLE_GONE, NULL), ==, "unsupported");
    g_assert_cmpstr(try_change(test, 1, VV_ROLE_STANDBY, NULL), ==, "conflict"); /* the last voter */
    g_assert_cmpstr(try_change(test, 2, 0, "10.0.0.3:7333"), ==, "exists");
    g_assert_cmpstr(try_change(test, 9, VV_ROLE_VOTER, NULL), ==, "not-found");
    g_assert_cmpuint(entries(test), ==, before);
    g_assert_null(try_change(test, 2, VV_ROLE_VOTER, "10.0.0.22:7333"));
    g_assert_null(try_change(test, 1, VV_ROLE_STANDBY, NULL));
    g_assert_cmpstr(try_change(test, 2, VV_ROLE_GONE, NULL), ==, "conflict");
    g_assert_null(try_change(test, 1, VV_ROLE_VOTER, NULL));
    g_assert_null(try_change(test, 2, VV_ROLE_GONE, NULL));
    test_pool_reopen(test);
    g_assert_cmpstr(try_change(test, 2, VV_ROLE_VOTER, NULL), ==, "not-found");
    g_assert_null(try_change(test, 3, 0, "10.0.0.22:7333")); /* it is free */
    g_assert_cmpstr(try_join(test, 2, 2, "n2", "10.0.0.2:7333", 2, NULL, NULL), ==, "stale");
    add_invite(test, 4, "", HOUR_S);
    g_assert_null(try_join(test, 4, 4, "n2", "10.0.0.2:7333", 4, &id, NULL));
    g_assert_cmpuint(id, ==, 4);
    g_assert_null(vv_pool_node(test->pool, "n9", &error));
    g_assert_cmpuint(node_count(test), ==, 4);
    assert_in_order(test);
    test_pool_free(test);
}

static void add_witness_invite(TestPool *test, uint64_t id)
{
    g_autoptr(GError) error = NULL;
    g_auto(VvInviteRecord) invite = invite_of(id, "", HOUR_S);

    invite.role = VV_ROLE_WITNESS;
    vv_pool_invite_add(test->pool, &invite, NULL, &error);
    g_assert_no_error(error);
}

/* It stays a witness, and nobody becomes one; it is not enough that one is left to vote. */
static void test_witness(void)
{
    TestPool *test = listening_pool();
    uint64_t before;

    add_witness_invite(test, 2);
    g_assert_null(try_join(test, 2, 2, "w", "10.0.0.2:7333", 2, NULL, NULL));
    add_invite(test, 3, "", HOUR_S);
    g_assert_null(try_join(test, 3, 3, "n3", "10.0.0.3:7333", 3, NULL, NULL));
    before = entries(test);
    g_assert_cmpstr(try_change(test, 2, VV_ROLE_VOTER, NULL), ==, "conflict");
    g_assert_cmpstr(try_change(test, 2, VV_ROLE_STANDBY, NULL), ==, "conflict");
    g_assert_cmpstr(try_change(test, 3, VV_ROLE_WITNESS, NULL), ==, "conflict");
    g_assert_cmpstr(try_change(test, 1, VV_ROLE_STANDBY, NULL), ==, "conflict"); /* only the witness would vote */
    g_assert_null(try_change(test, 2, VV_ROLE_WITNESS, NULL));
    g_assert_cmpuint(entries(test), ==, before);
    g_assert_null(try_change(test, 2, 0, "10.0.0.22:7333"));
    g_assert_null(try_change(test, 2, VV_ROLE_GONE, NULL));
    g_assert_true(vv_role_votes(VV_ROLE_WITNESS) && vv_role_votes(VV_ROLE_VOTER) && !vv_role_votes(VV_ROLE_STANDBY) &&
                  !vv_role_votes(VV_ROLE_GONE));
    assert_in_order(test);
    test_pool_free(test);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/members/round-trip", test_round_trip);
    g_test_add_func("/members/flips", test_flips);
    g_test_add_func("/members/join-once", test_join_once);
    g_test_add_func("/members/refused", test_refused);
    g_test_add_func("/members/expiry", test_expiry);
    g_test_add_func("/members/revoke", test_revoke);
    g_test_add_func("/members/invites-refused", test_invites_are_refused);
    g_test_add_func("/members/request-id", test_request_id);
    g_test_add_func("/members/race", test_race);
    g_test_add_func("/members/check", test_check);
    g_test_add_func("/members/change", test_change);
    g_test_add_func("/members/witness", test_witness);
    return g_test_run();
}
