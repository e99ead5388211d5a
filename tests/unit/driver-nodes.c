/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Two and three engines that are one pool: joined by state sync, changed through any, led by one after the other, restarted. */
#include "driver-net.h"

static Net *start_nodes(unsigned count)
{
    Net *net = net_new();
    g_autoptr(GError) error = NULL;

    net_begin(net);
    net_create(net);
    net_start(&net->nodes[1]);
    for (unsigned i = 0; i < 5; i++) {
        g_autofree char *name = g_strdup_printf("early-%u", i);

        g_assert_true(net_create_lun(&net->nodes[1], name, &error));
    }
    net_convert(&net->nodes[1], count, &error);
    g_assert_no_error(error);
    net_members(net, count);
    for (unsigned i = 2; i <= count; i++) {
        net_join(&net->nodes[i]);
        net_members(net, count);
    }
    net_wait_for(net_status(&net->nodes[1]).voters == count);
    return net;
}

static void create(Node *node, const char *name)
{
    g_autoptr(GError) error = NULL;

    net_create_lun(node, name, &error);
    g_assert_no_error(error);
}

static uint64_t lun_id(Node *node, const char *name)
{
    VvMeta *meta = vv_pool_meta(node->pool);
    const VvLun *lun;
    uint64_t id;

    vv_meta_read_lock(meta);
    lun = vv_meta_lun_by_name(meta, name);
    id = lun ? lun->id : 0;
    vv_meta_read_unlock(meta);
    return id;
}

static void write_block(Node *node, const char *name, int value)
{
    VvHandle *handle = NULL;
    VvOpen how = { .write = true };
    uint8_t bytes[VV_BLOCK_BYTES];

    net_wait_for(lun_id(node, name) != 0); /* who was told that it is made is another node */
    memset(bytes, value, sizeof bytes);
    g_assert_cmpint(vv_handle_open(node->pool, lun_id(node, name), &how, &handle), ==, 0);
    g_assert_cmpint(vv_view_write(vv_handle_view(handle), bytes, 0, sizeof bytes), ==, sizeof bytes);
    g_assert_cmpint(vv_view_flush(vv_handle_view(handle)), ==, 0);
    vv_handle_close(handle);
}

static void check_offline(Node *node)
{
    g_autoptr(GError) error = NULL;
    unsigned findings = 0;

    vv_pool_check_offline(node->directory, true, test_check_cb, &findings, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(findings, ==, 0);
}

static void test_two(void)
{
    Net *net = start_nodes(2);
    Node *one = &net->nodes[1], *two = &net->nodes[2];
    g_autoptr(GError) error = NULL;
    const char *names[] = { "from-two", NULL };
    VvHandle *handle = NULL;
    VvOpen how = { .write = false };
    g_autoptr(GPtrArray) problems = NULL;

    g_assert_cmpuint(net_count_luns(two), ==, 5);
    create(one, "from-one");
    create(two, "from-two");
    net_compare(net);
    g_assert_cmpuint(net_count_luns(one), ==, 7);
    g_assert_cmpuint(net_count_luns(two), ==, 7);

    /* data is where the disks are */
    problems = vv_pool_problems(two->pool);
    g_assert_cmpuint(problems->len, ==, 0);
    write_block(one, "from-two", 3);
    net_compare(net);
    g_assert_cmpint(vv_handle_open(two->pool, lun_id(two, "from-two"), &how, &handle), ==, -EREMOTE);
    g_assert_false(vv_pool_lun_remove(two->pool, names, true, false, false, NULL, NULL, &error));
    test_assert_refused(error, VV_ERROR_NO_COORDINATOR, "has none of the disks");
    vv_pool_lun_rename(two->pool, "from-one", "renamed", NULL, &error);
    g_assert_no_error(error);
    net_settle(net);
    g_assert_cmpuint(lun_id(one, "renamed"), !=, 0);
    g_assert_false(net_create_lun(two, "renamed", &error));
    test_assert_refused(error, VV_ERROR_EXISTS, "exists");
    vv_pool_lun_remove(one->pool, names, true, false, false, NULL, NULL, &error);
    g_assert_no_error(error);
    net_compare(net);
    net_free(net);
}

static void test_leaders(void)
{
    Net *net = start_nodes(2);
    Node *one = &net->nodes[1], *two = &net->nodes[2];

    net_lead(net, 2);
    create(one, "a");
    create(two, "b");
    write_block(one, "b", 9);
    net_lead(net, 1);
    create(two, "c");
    create(one, "d");
    net_compare(net);
    g_assert_cmpuint(net_count_luns(two), ==, 9);
    net_free(net);
}

static void test_restarts(void)
{
    Net *net = start_nodes(2);
    Node *one = &net->nodes[1], *two = &net->nodes[2];
    uint64_t index;

    create(two, "a");
    net_stop(two);
    check_offline(two);
    net_start(two);
    create(two, "b");
    net_settle(net);
    net_stop(one);
    net_start(one);
    create(one, "c");
    write_block(one, "c", 4);
    g_assert_cmpint(vv_pool_cluster_checkpoint(two->pool, &index), ==, 0);
    create(two, "d");
    net_compare(net);
    g_assert_cmpuint(net_count_luns(one), ==, 9);
    net_free(net);
}

/* A node that was away for longer than the log is kept takes the state while its pool is open, and is opened anew. */
static void test_lagging(void)
{
    Net *net = start_nodes(3);
    Node *one = &net->nodes[1], *three = &net->nodes[3];
    uint64_t index;

    net_lead(net, 1);
    net_cut(three, true);
    for (unsigned i = 0; i < 60; i++) {
        g_autofree char *name = g_strdup_printf("late-%u", i);

        create(one, name);
    }
    g_assert_cmpint(vv_pool_cluster_checkpoint(one->pool, &index), ==, 0);
    net_wait_for(net_status(one).base >= index);
    net_cut(three, false);
    net_wait_for(net_was_taken(three));
    net_stop(three);
    net_start(three);
    create(three, "after");
    net_compare(net);
    g_assert_cmpuint(net_count_luns(three), ==, 66);
    net_free(net);
}

/* Of three one may be away, also who led. */
static void test_three(void)
{
    Net *net = start_nodes(3);
    Node *one = &net->nodes[1];
    uint64_t leader = net_leader(net);

    for (unsigned i = 0; i < 3; i++) {
        g_autofree char *name = g_strdup_printf("round-%u", i);

        net_wait_for((leader = net_leader(net)) != 0);
        create(&net->nodes[1 + (i + leader) % 3], name);
        if (leader == 1) { /* the node with the disks stays */
            net_lead(net, 2);
            leader = 2;
        }
        net_stop(&net->nodes[leader]);
        write_block(one, name, (int) i);
        net_start(&net->nodes[leader]);
    }
    net_compare(net);
    g_assert_cmpuint(net_count_luns(one), ==, 8);
    net_free(net);
}

/* ---- both at once */

#define RACES 12u

typedef struct {
    Node *node;
    unsigned made, existed;
} Racer;

static void *race(void *user)
{
    Racer *racer = user;

    for (unsigned i = 0; i < RACES; i++) {
        g_autoptr(GError) error = NULL;
        g_autofree char *name = g_strdup_printf("raced-%u", i);

        if (net_create_lun(racer->node, name, &error))
            racer->made++;
        else if (g_error_matches(error, VV_ERROR, VV_ERROR_EXISTS))
            racer->existed++;
        else
            g_error("%s", error->message);
    }
    return NULL;
}

static void test_race(void)
{
    Net *net = start_nodes(2);
    Racer racers[2] = { { .node = &net->nodes[1] }, { .node = &net->nodes[2] } };
    pthread_t threads[2];

    for (unsigned i = 0; i < 2; i++)
        g_assert_cmpint(pthread_create(&threads[i], NULL, race, &racers[i]), ==, 0);
    for (unsigned i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    g_assert_cmpuint(racers[0].made + racers[1].made, ==, RACES);
    g_assert_cmpuint(racers[0].existed + racers[1].existed, ==, RACES);
    net_compare(net);
    g_assert_cmpuint(net_count_luns(&net->nodes[2]), ==, 5 + RACES);
    net_free(net);
}

/* Who catches up has what others made before; who is cut off, and led, does not take its map for the newest. */
static void test_catch_up(void)
{
    Net *net = start_nodes(3);
    Node *one = &net->nodes[1], *three = &net->nodes[3];
    unsigned before;

    net_lead(net, 1);
    for (unsigned i = 0; i < 10; i++) {
        g_autofree char *name = g_strdup_printf("new-%u", i);

        net_cut(three, true);
        create(one, name);
        before = net_count_luns(one);
        g_assert_cmpuint(net_count_luns(three), <, before);
        g_assert_false(vv_driver_catch_up(three->driver, 20));
        net_cut(three, false);
        g_assert_true(vv_driver_catch_up(three->driver, NET_WAIT_SECONDS * 1000));
        g_assert_cmpuint(net_count_luns(three), ==, before);
    }
    g_assert_true(vv_driver_catch_up(one->driver, NET_WAIT_SECONDS * 1000)); /* who leads asks, too */
    net_lead(net, 1);
    net_cut(one, true);
    g_assert_false(vv_driver_catch_up(one->driver, 50));
    net_wait_for(net_status(&net->nodes[2]).leads || net_status(three).leads);
    g_assert_true(vv_driver_catch_up(three->driver, NET_WAIT_SECONDS * 1000));
    net_cut(one, false);
    g_assert_true(vv_driver_catch_up(one->driver, NET_WAIT_SECONDS * 1000));
    net_compare(net);
    net_free(net);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/driver/nodes/two", test_two);
    g_test_add_func("/driver/nodes/leaders", test_leaders);
    g_test_add_func("/driver/nodes/restarts", test_restarts);
    g_test_add_func("/driver/nodes/three", test_three);
    g_test_add_func("/driver/nodes/lagging", test_lagging);
    g_test_add_func("/driver/nodes/race", test_race);
    g_test_add_func("/driver/nodes/catch-up", test_catch_up);
    return g_test_run();
}
