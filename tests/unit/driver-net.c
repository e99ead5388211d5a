/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "driver-net.h"

#include "store.h"
#include "sync.h"

#define POOL_BYTES ((uint64_t) 64 << 20)
#define DELAY_US_MAX 2000u

typedef struct {
    uint64_t due_us, from, to;
    uint16_t kind;
    GBytes *body;
} Letter;

/* libraft writes the texts of its traces into buffers that all its instances share, whether or not anybody reads them. */
const char *__tsan_default_suppressions(void); /* the sanitizer asks for it */
const char *__tsan_default_suppressions(void)
{
    return "called_from_lib:libraft.so\nrace:^raft_step$\n";
}

/* ---- the network */

static uint64_t now_us(void)
{
    return vv_monotonic_ns() / 1000;
}

static gint compare_letters(gconstpointer a, gconstpointer b, gpointer user)
{
    (void) user;
    return ((const Letter *) a)->due_us < ((const Letter *) b)->due_us ? -1 : 1;
}

static void deliver_locked(Net *net, const Letter *letter)
{
    Node *to = &net->nodes[letter->to];
    gsize length;
    const uint8_t *data = g_bytes_get_data(letter->body, &length);

    if (to->driver && !to->cut && !net->nodes[letter->from].cut)
        vv_driver_receive(to->driver, letter->from, letter->kind, data, length);
}

static void *net_main(void *user)
{
    Net *net = user;

    pthread_mutex_lock(&net->lock);
    while (!net->stopping) {
        Letter *first = g_queue_peek_head(net->letters);

        if (first && first->due_us <= now_us()) {
            g_queue_pop_head(net->letters);
            deliver_locked(net, first);
            g_bytes_unref(first->body);
            g_free(first);
            continue;
        }
        pthread_mutex_unlock(&net->lock);
        g_usleep(200);
        pthread_mutex_lock(&net->lock);
    }
    pthread_mutex_unlock(&net->lock);
    return NULL;
}

static void send_cb(void *user, uint64_t node, uint16_t kind, const uint8_t *body, size_t body_bytes)
{
    Node *from = user;
    Net *net = from->net;
    Letter *letter = g_new(Letter, 1);
    VV_LOCKED(&net->lock);

    g_assert_cmpuint(node, <=, NET_NODES_MAX);
    net->seed = net->seed * 6364136223846793005u + 1442695040888963407u;
    *letter = (Letter){ .due_us = now_us() + (net->seed >> 33) % DELAY_US_MAX,
        .from = from->id,
        .to = node,
        .kind = kind,
        .body = g_bytes_new(body, body_bytes) };
    g_queue_insert_sorted(net->letters, letter, compare_letters, NULL);
}

static void taken_cb(void *user)
{
    Node *node = user;
    VV_LOCKED(&node->net->lock);

    node->taken = true;
}

static void failed_cb(void *user, const char *why)
{
    Node *node = user;

    g_test_message("node %" G_GUINT64_FORMAT " failed: %s", node->id, why);
}

/* ---- nodes */

Net *net_new(void)
{
    Net *net = g_new0(Net, 1);

    net->folder = test_folder_new(true);
    net->seed = (uint64_t) g_test_rand_int() << 32 | (uint32_t) g_test_rand_int();
    net->letters = g_queue_new();
    net->pending_fd = -1;
    net->trailing = 16;
    pthread_mutex_init(&net->lock, NULL);
    for (unsigned i = 1; i <= NET_NODES_MAX; i++) {
        Node *node = &net->nodes[i];

        *node = (Node){ .net = net, .id = i, .directory = g_strdup_printf("%s/n%u", net->folder, i) };
        g_assert_cmpint(g_mkdir(node->directory, 0700), ==, 0);
    }
    return net;
}

void net_begin(Net *net)
{
    g_assert_cmpint(pthread_create(&net->thread, NULL, net_main, net), ==, 0);
    net->begun = true;
}

static void remove_folder(const char *folder)
{
    const char *argv[] = { "rm", "-rf", "--", folder, NULL };
    g_autoptr(GError) error = NULL;

    g_spawn_sync(NULL, (char **) argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, NULL, &error);
    g_assert_no_error(error);
}

void net_free(Net *net)
{
    for (unsigned i = 1; i <= NET_NODES_MAX; i++)
        if (net->nodes[i].driver)
            vv_driver_give_up(net->nodes[i].driver, "the test ends"); /* the last one has no majority */
    for (unsigned i = NET_NODES_MAX; i > 0; i--) {
        net_stop(&net->nodes[i]);
        g_free(net->nodes[i].directory);
    }
    pthread_mutex_lock(&net->lock);
    net->stopping = true;
    pthread_mutex_unlock(&net->lock);
    if (net->begun)
        pthread_join(net->thread, NULL);
    for (Letter *letter; (letter = g_queue_pop_head(net->letters));) {
        g_bytes_unref(letter->body);
        g_free(letter);
    }
    g_queue_free(net->letters);
    pthread_mutex_destroy(&net->lock);
    vv_close_fd(&net->pending_fd);
    remove_folder(net->folder);
    g_free(net->folder);
    g_free(net);
}

void net_create(Net *net)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *name = NULL;
    VvPoolCreate create = { .directory = net->nodes[1].directory, .name = "tank", .size_bytes = POOL_BYTES };

    vv_pool_create(&create, &error);
    g_assert_no_error(error);
    vv_meta_identify(net->nodes[1].directory, &name, &net->uuid, &error);
    g_assert_no_error(error);
}

static void make_driver(Node *node)
{
    g_autoptr(GError) error = NULL;
    VvDriverOptions options = { .node = node->id,
        .witness = node->witness,
        .directory = node->directory,
        .pool = node->net->uuid,
        .session_ms = 1000,
        .election_ms = 200,
        .heartbeat_ms = 50,
        .trailing = node->net->trailing,
        .send = send_cb,
        .taken = taken_cb,
        .failed = failed_cb,
        .user = node };
    VvDriver *driver = vv_driver_new(&options, &error);

    g_assert_no_error(error);
    VV_LOCKED(&node->net->lock);
    node->taken = false;
    node->driver = driver;
}

static void drop_driver(Node *node)
{
    VvDriver *driver;

    {
        VV_LOCKED(&node->net->lock);
        driver = g_steal_pointer(&node->driver);
    }
    vv_driver_free(driver);
}

static void open_pool(Node *node)
{
    g_autoptr(GError) error = NULL;
    VvPoolOptions options = { .cluster = vv_driver_log(node->driver), .without_disks = node->id != 1,
        .have_pending = node->id == 1 && node->net->pending_fd >= 0, .pending_fd = node->net->pending_fd, .lock_wait_ms = 5000 };

    node->pool = vv_pool_open(node->directory, &options, &error);
    g_assert_no_error(error);
}

void net_start(Node *node)
{
    make_driver(node);
    open_pool(node);
}

bool net_was_taken(Node *node)
{
    VV_LOCKED(&node->net->lock);
    return node->taken;
}

void net_join(Node *node)
{
    g_autoptr(GError) error = NULL;

    make_driver(node);
    vv_driver_take(node->driver, &error);
    g_assert_no_error(error);
    net_wait_for(net_was_taken(node));
    drop_driver(node);
    net_start(node);
}

void net_stop(Node *node)
{
    g_clear_pointer(&node->pool, vv_pool_close);
    drop_driver(node);
}

void net_cut(Node *node, bool cut)
{
    VV_LOCKED(&node->net->lock);
    node->cut = cut;
}

void net_convert(Node *node, unsigned count, GError **error)
{
    VvDriverMember members[NET_NODES_MAX];

    for (unsigned i = 0; i < count; i++)
        members[i] = (VvDriverMember){ .id = i + 1, .voter = true };
    vv_driver_convert(node->driver, node->pool, members, count, error);
}

void net_members(Net *net, unsigned count)
{
    VvDriverMember members[NET_NODES_MAX];

    for (unsigned i = 0; i < count; i++)
        members[i] = (VvDriverMember){ .id = i + 1, .voter = true };
    for (unsigned i = 1; i <= NET_NODES_MAX; i++)
        if (net->nodes[i].driver)
            vv_driver_set_members(net->nodes[i].driver, members, count);
}

VvDriverStatus net_status(Node *node)
{
    VvDriverStatus status;

    vv_driver_status(node->driver, &status);
    return status;
}

uint64_t net_leader(Net *net)
{
    for (unsigned i = 1; i <= NET_NODES_MAX; i++)
        if (net->nodes[i].pool && !net->nodes[i].cut && net_status(&net->nodes[i]).leads)
            return i;
    return 0;
}

static bool hand_over(Net *net, uint64_t to)
{
    uint64_t from = net_leader(net);

    if (from != 0 && from != to)
        vv_driver_transfer(net->nodes[from].driver, to); /* refused while a change of the voters is under way */
    g_usleep(20000);
    return net_leader(net) == to;
}

void net_lead(Net *net, uint64_t id)
{
    net_wait_for(hand_over(net, id));
}

/* ---- what they hold */

static bool is_settled(Net *net)
{
    uint64_t index = 0;

    for (unsigned i = 1; i <= NET_NODES_MAX; i++) {
        Node *node = &net->nodes[i];
        uint64_t applied;

        if (!node->pool || node->cut)
            continue;
        applied = vv_meta_applied_index(vv_pool_meta(node->pool));
        if (index == 0)
            index = applied;
        if (applied != index || net_status(node).commit != applied || (net_status(node).session == 0) != node->witness)
            return false;
    }
    return net_leader(net) != 0;
}

void net_settle(Net *net)
{
    net_wait_for(is_settled(net));
}

/* All records of a map but those that are each node's own (of table "pool"). */
static GBytes *dump(Node *node, uint64_t *ret_index)
{
    g_autoptr(VvSyncGive) give = NULL;
    GByteArray *all = g_byte_array_new(), *out = g_byte_array_new();
    uint64_t index;
    guint at = 16;

    g_assert_cmpint(vv_pool_cluster_checkpoint(node->pool, &index), ==, 0);
    give = vv_sync_give_new(vv_pool_meta(node->pool));
    g_assert_nonnull(give);
    *ret_index = vv_sync_give_index(give);
    g_assert_cmpint(vv_sync_give_read(give, 0, all, vv_sync_give_bytes(give)), ==, 0);
    while (all->data[at] != 255) {
        guint length = 6u + all->data[at + 1] + (guint) (all->data[at + 2] | all->data[at + 3] << 8 | all->data[at + 4] << 16);

        if (all->data[at] != VV_TABLE_POOL)
            g_byte_array_append(out, all->data + at, length);
        at += length;
    }
    g_byte_array_unref(all);
    return g_byte_array_free_to_bytes(out);
}

/* False: something was applied meanwhile (jobs work in the background), so they are not of one index. */
static bool compare(Net *net)
{
    g_autoptr(GBytes) first = NULL;
    uint64_t first_index = 0;

    net_settle(net);
    for (unsigned i = 1; i <= NET_NODES_MAX; i++) {
        Node *node = &net->nodes[i];
        g_autoptr(GBytes) bytes = NULL;
        unsigned findings = 0;
        uint64_t index;

        if (!node->pool || node->cut)
            continue;
        bytes = dump(node, &index);
        if (first && index != first_index)
            return false;
        g_assert_cmpint(vv_meta_check(vv_pool_meta(node->pool), false, test_check_cb, &findings), ==, 0);
        g_assert_cmpuint(findings, ==, 0);
        if (!first)
            first = g_bytes_ref(bytes);
        first_index = index;
        g_assert_true(g_bytes_equal(first, bytes));
    }
    return true;
}

void net_compare(Net *net)
{
    net_wait_for(compare(net));
}

bool net_create_lun(Node *node, const char *name, GError **error)
{
    VvLunCreate create = { .name = name, .size_bytes = 1 << 20 };

    return vv_pool_lun_create(node->pool, &create, NULL, NULL, error);
}

unsigned net_count_luns(Node *node)
{
    VvMeta *meta = vv_pool_meta(node->pool);
    unsigned count;

    vv_meta_read_lock(meta);
    count = vv_meta_luns(meta)->len;
    vv_meta_read_unlock(meta);
    return count;
}
