/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Nodes that go, that vote and do not, and who leads: what the records say is brought about by whoever leads. */
#include "driver-net.h"

/* A letter for each node: v votes, s standby, w witness, x gone. */
static void tell(Net *net, const char *roles)
{
    VvDriverMember members[NET_NODES_MAX];
    unsigned count = 0;

    for (; roles[count]; count++)
        members[count] = (VvDriverMember){ .id = count + 1,
            .voter = roles[count] == 'v' || roles[count] == 'w',
            .witness = roles[count] == 'w',
            .gone = roles[count] == 'x' };
    for (unsigned i = 1; i <= NET_NODES_MAX; i++)
        if (net->nodes[i].driver)
            vv_driver_set_members(net->nodes[i].driver, members, count);
}

static Net *start(const char *roles, unsigned voters)
{
    Net *net = net_new();
    g_autoptr(GError) error = NULL;

    net_begin(net);
    net_create(net);
    net_start(&net->nodes[1]);
    net_convert(&net->nodes[1], 3, &error);
    g_assert_no_error(error);
    tell(net, roles);
    for (unsigned i = 2; i <= 3; i++) {
        net->nodes[i].witness = roles[i - 1] == 'w';
        net_join(&net->nodes[i]);
        tell(net, roles);
    }
    net_wait_for(net_status(&net->nodes[1]).voters == voters && net_status(&net->nodes[1]).standbys == 3 - voters);
    return net;
}

static void create(Node *node, const char *name)
{
    g_autoptr(GError) error = NULL;

    net_create_lun(node, name, &error);
    g_assert_no_error(error);
}

static VvDriverNode look(Node *node, uint64_t id)
{
    VvDriverNode found = { .id = 0 };

    (void) vv_driver_node(node->driver, id, &found);
    return found;
}

/* Everything else goes on while its session is waited for; what it left is vouched for from a node that does not lead. */
static void test_evict(void)
{
    Net *net = start("vvv", 3);
    Node *one = &net->nodes[1], *two = &net->nodes[2];

    net_lead(net, 1);
    net_wait_for(look(two, 3).session != 0);
    net_cut(&net->nodes[3], true); /* as the mesh does */
    tell(net, "vvx");
    net_wait_for(net_status(one).voters == 2);
    net_wait_for(!look(one, 3).member);
    create(two, "meanwhile");
    net_wait_for(look(one, 3).removed);
    net_wait_for(look(two, 3).removed && look(two, 3).unfenced);
    vv_driver_vouch(two->driver, 3);
    net_wait_for(!look(two, 3).unfenced && !look(one, 3).unfenced);
    net_lead(net, 2); /* it finds nothing to do */
    create(one, "after");
    net_compare(net);
    net_free(net);
}

/* Who leads and is gone hands over first. */
static void test_leader(void)
{
    Net *net = start("vvv", 3);
    Node *one = &net->nodes[1];
    uint64_t term;

    net_lead(net, 2);
    term = net_status(one).term;
    tell(net, "vxv");
    net_wait_for(net_status(one).voters == 2 && net_leader(net) != 2);
    g_assert_cmpuint(net_status(one).term, ==, term + 1); /* no election that came to nothing */
    net_cut(&net->nodes[2], true);
    net_wait_for(look(one, 2).removed);
    create(one, "after");
    create(&net->nodes[3], "too");
    net_compare(net);
    net_free(net);
}

/* A node that is dead while it should begin to vote is given up when it is gone. */
static void test_dead_promotion(void)
{
    Net *net = start("vvs", 2);
    Node *one = &net->nodes[1];

    net_lead(net, 1);
    net_cut(&net->nodes[3], true);
    create(one, "ahead");
    tell(net, "vvv");
    g_usleep(500000); /* the promotion has begun; nothing tells */
    g_assert_cmpuint(net_status(one).voters, ==, 2);
    tell(net, "vvx");
    net_wait_for(net_status(one).standbys == 0 && net_status(one).voters == 2);
    net_wait_for(look(one, 3).removed);
    net_compare(net);
    net_free(net);
}

static void test_roles(void)
{
    Net *net = start("vvv", 3);
    Node *one = &net->nodes[1];

    net_lead(net, 3);
    tell(net, "vvs");
    net_wait_for(net_status(one).voters == 2 && net_status(one).standbys == 1 && net_leader(net) != 3 && net_leader(net) != 0);
    create(&net->nodes[3], "standby");
    tell(net, "vvv");
    net_wait_for(net_status(one).voters == 3);
    net_compare(net);
    net_free(net);
}

static bool leads_by(Net *net, uint64_t id, Node *asked)
{
    vv_driver_transfer(asked->driver, id);
    g_usleep(20000);
    return net_leader(net) == id;
}

/* Any node may be asked who is to lead. */
static void test_lead(void)
{
    Net *net = start("vvs", 2);

    net_lead(net, 1);
    net_wait_for(leads_by(net, 2, &net->nodes[3]));
    net_wait_for(leads_by(net, 1, &net->nodes[1]));
    for (unsigned i = 0; i < 10; i++) /* a standby never does */
        g_assert_false(leads_by(net, 3, &net->nodes[2]));
    net_compare(net);
    net_free(net);
}

/* ---- a witness: node 3 */

/* It votes and has no session; when it is made to lead it hands over without being asked, so that it leads for no longer than that takes. */
static void test_witness(void)
{
    Net *net = start("vvw", 3);
    Node *one = &net->nodes[1], *three = &net->nodes[3];
    uint64_t term;

    net_lead(net, 1);
    term = net_status(one).term;
    net_wait_for(look(three, 2).session != 0);
    net_wait_for(look(one, 3).voter); /* what is looked at is told every now and then */
    g_assert_cmpuint(look(one, 3).session, ==, 0);
    vv_driver_transfer(one->driver, 3);
    net_wait_for(net_status(one).term >= term + 2 && net_leader(net) != 0 && net_leader(net) != 3);
    create(three, "from-witness"); /* a change of the configuration needs no session */
    net_compare(net);
    net_free(net);
}

/* With one of the two others dead the witness is the majority's other half, whoever led. */
static void test_witness_votes(void)
{
    Net *net = start("vvw", 3);

    for (unsigned dead = 1; dead <= 2; dead++) {
        net_lead(net, dead);
        net_cut(&net->nodes[dead], true);
        net_wait_for(net_leader(net) == 3 - dead);
        create(&net->nodes[3 - dead], dead == 1 ? "without-one" : "without-two");
        g_usleep(300000); /* longer than an election: it stays */
        g_assert_cmpuint(net_leader(net), ==, 3 - dead);
        net_cut(&net->nodes[dead], false);
        net_wait_for(net_status(&net->nodes[dead]).leader == 3 - dead);
    }
    net_free(net);
}

/* The other voter lags: who leads then is the witness, which has the log, until that has all of it. */
static void test_witness_brings_up(void)
{
    Net *net = start("vvw", 3);
    Node *one = &net->nodes[1], *two = &net->nodes[2];

    net_lead(net, 1);
    net_cut(two, true);
    for (unsigned i = 0; i < 5; i++) {
        g_autofree char *name = g_strdup_printf("missed-%u", i);

        create(one, name);
    }
    net_cut(one, true); /* only the witness has them, and it alone may be chosen */
    net_cut(two, false);
    net_wait_for(net_leader(net) == 2);
    g_assert_cmpuint(net_count_luns(two), ==, 5);
    create(two, "after");
    net_free(net);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/driver/leave/evict", test_evict);
    g_test_add_func("/driver/leave/leader", test_leader);
    g_test_add_func("/driver/leave/dead-promotion", test_dead_promotion);
    g_test_add_func("/driver/leave/roles", test_roles);
    g_test_add_func("/driver/leave/lead", test_lead);
    g_test_add_func("/driver/leave/witness", test_witness);
    g_test_add_func("/driver/leave/witness-votes", test_witness_votes);
    g_test_add_func("/driver/leave/witness-brings-up", test_witness_brings_up);
    return g_test_run();
}
