/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a guest is told of a pool, and what it makes of it: a pool that changes at random, a guest to whom some of it is shared, and after each
 * message the guest's map is what is shared, and nothing else. Then what must not be. */
#include "describe.h"
#include "described.h"
#include "guest_map.h"
#include "guests_private.h"
#include "io_state.h"
#include "members.h"
#include "pool_private.h"
#include "sharing.h"

#include <string.h>

#define GUEST 3u
#define OTHER 4u
#define STEPS 400u
#define LUNS 6u

typedef struct {
    char *directory;
    VvPool pool; /* of which there is the map, and what is open */
} Side;

typedef struct {
    Side server, guest;
    VvgGuest told;
    bool all, nodes;
    GRand *rand;
    uint64_t index, next;
} Fixture;

/* ---- two maps in memory */
static void side_open(Side *side, uint64_t node, bool guest)
{
    g_autoptr(GError) error = NULL;
    VvMetaCreate create = { .name = "tank", .created_ns = 1 };

    side->directory = g_dir_make_tmp("vvfs-test-XXXXXX", NULL);
    vv_uuid_generate(&create.uuid);
    vv_meta_create(side->directory, &create, &error);
    g_assert_no_error(error);
    side->pool.meta = vv_meta_open(side->directory, true, NULL, &error);
    g_assert_no_error(error);
    side->pool.options.node = node;
    side->pool.options.guest = guest;
    atomic_store(&side->pool.shares_any, true);
    pthread_mutex_init(&side->pool.views_lock, NULL);
    side->pool.views = g_hash_table_new(g_int64_hash, g_int64_equal);
}

static void side_close(Side *side)
{
    const char *argv[] = { "rm", "-rf", side->directory, NULL };

    vv_meta_close(side->pool.meta);
    g_hash_table_unref(side->pool.views);
    pthread_mutex_destroy(&side->pool.views_lock);
    g_spawn_sync(NULL, (char **) argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, NULL, NULL);
    g_free(side->directory);
}

static void note(Fixture *f, uint64_t id, bool content)
{
    if (id != 0)
        g_hash_table_replace(f->told.noted, g_memdup2(&id, sizeof id), GINT_TO_POINTER(content ? 2 : 1));
}

static void op_applied(void *user, const VvOp *op)
{
    Fixture *f = user;
    bool content;
    uint64_t id = vvg_object_of(op, &content);

    note(f, id, content);
    f->nodes |= op->kind == VV_OP_MEMBER_SET && op->member_set.kind == VV_MEMBER_NODE;
}

static void apply(Fixture *f, VvOps *ops)
{
    g_assert_cmpint(vv_meta_apply_described(f->server.pool.meta, ++f->index, ops, NULL, 0), ==, 0);
    vv_ops_free(ops);
}

/* ---- what the pool does */
static void put_member(VvOps *ops, uint8_t kind, uint64_t id, const GByteArray *body)
{
    VvOp *op = vv_ops_add(ops, VV_OP_MEMBER_SET);

    op->member_set.kind = kind;
    op->member_set.id = id;
    if (body->len == 0)
        return;
    op->member_set.body = g_memdup2(body->data, body->len);
    op->member_set.body_bytes = body->len;
}

static void put_node(Fixture *f, uint64_t id, VvNodeRole role, const char *name)
{
    g_autofree char *address = g_strdup_printf("10.0.0.%u:7333", (unsigned) id);
    char *addresses[] = { address, NULL };
    VvNodeRecord record = { .id = id, .role = role, .name = (char *) name, .software = (char *) "1", .addresses = addresses, .since_ns = 1 };
    g_autoptr(GByteArray) body = g_byte_array_new();
    VvOps *ops = vv_ops_new();

    vv_node_record_encode(&record, body);
    put_member(ops, VV_MEMBER_NODE, id, body);
    apply(f, ops);
}

static void share(Fixture *f, uint64_t id, VvShareMode mode)
{
    VvShareTable table = { .standard = VV_SHARE_RW };
    g_autoptr(GByteArray) body = g_byte_array_new();
    VvOps *ops = vv_ops_new();

    g_assert_true(vv_share_table_set(&table, GUEST, mode) && vv_share_table_set(&table, OTHER, VV_SHARE_RW));
    vv_share_encode(&table, body);
    put_member(ops, VV_MEMBER_SHARE, id, body);
    apply(f, ops);
}

static uint64_t make_lun(Fixture *f, const char *name)
{
    VvOps *ops = vv_ops_new();
    VvOp *op = vv_ops_add(ops, VV_OP_LUN_CREATE);
    uint64_t id = f->next++;

    op->lun_create.id = id;
    op->lun_create.branch = op->lun_create.family = f->next++;
    op->lun_create.name = g_strdup(name);
    op->lun_create.size_bytes = id * VV_BLOCK_BYTES;
    op->lun_create.props = (VvLunProps){ .mode = 0640, .uid = 1, .gid = 2, .copies = 1, .timeout_s = 60 };
    op->lun_create.created_ns = id;
    vv_uuid_generate(&op->lun_create.uuid);
    apply(f, ops);
    return id;
}

static uint64_t make_snapshot(Fixture *f, uint64_t lun, const char *name)
{
    VvOps *ops = vv_ops_new();
    VvOp *op = vv_ops_add(ops, VV_OP_SNAPSHOT_CREATE);

    op->snapshot_create.id = f->next++;
    op->snapshot_create.lun = lun;
    op->snapshot_create.name = g_strdup(name);
    op->snapshot_create.note = g_strdup("a note");
    op->snapshot_create.created_ns = 5;
    apply(f, ops);
    return f->next - 1;
}

static void remove_snapshot(Fixture *f, uint64_t id)
{
    VvOps *ops = vv_ops_new();
    VvOp *op = vv_ops_add(ops, VV_OP_SNAPSHOT_REMOVE);

    op->snapshot_remove.id = id;
    op->snapshot_remove.time_ns = 1;
    apply(f, ops);
}

static void remove_lun(Fixture *f, const VvLun *lun)
{
    uint64_t id = lun->id;
    VvOps *ops;
    VvOp *op;

    while (lun->snapshots->len > 0)
        remove_snapshot(f, ((const VvSnapshot *) g_ptr_array_index(lun->snapshots, 0))->id);
    ops = vv_ops_new();
    op = vv_ops_add(ops, VV_OP_LUN_REMOVE);
    op->lun_remove.id = id;
    op->lun_remove.time_ns = 1;
    apply(f, ops);
}

static void rename_lun(Fixture *f, uint64_t id, const char *name)
{
    VvOps *ops = vv_ops_new();
    VvOp *op = vv_ops_add(ops, VV_OP_LUN_RENAME);

    op->lun_rename.id = id;
    op->lun_rename.name = g_strdup(name);
    op->lun_rename.ctime_ns = f->next;
    apply(f, ops);
}

static void rename_snapshot(Fixture *f, uint64_t id, const char *name)
{
    VvOps *ops = vv_ops_new();
    VvOp *op = vv_ops_add(ops, VV_OP_SNAPSHOT_RENAME);

    op->snapshot_rename.id = id;
    op->snapshot_rename.name = g_strdup(name);
    apply(f, ops);
}

static void resize(Fixture *f, uint64_t id)
{
    VvOps *ops = vv_ops_new();
    VvOp *op = vv_ops_add(ops, VV_OP_LUN_SIZE);

    op->lun_size.id = id;
    op->lun_size.size_bytes = (uint64_t) g_rand_int_range(f->rand, 1, 1000) * VV_BLOCK_BYTES;
    op->lun_size.mtime_ns = f->next++;
    apply(f, ops);
}

static const VvLun *any_lun(Fixture *f)
{
    GPtrArray *luns = vv_meta_luns(f->server.pool.meta);

    return luns->len > 0 ? g_ptr_array_index(luns, g_rand_int_range(f->rand, 0, (gint) luns->len)) : NULL;
}

static const VvSnapshot *any_snapshot(Fixture *f, const VvLun *lun)
{
    return lun->snapshots->len > 0 ? g_ptr_array_index(lun->snapshots, g_rand_int_range(f->rand, 0, (gint) lun->snapshots->len)) : NULL;
}

/* Two LUNs, or two snapshots of one, change names with each other. */
static void exchange(Fixture *f, const VvLun *a, const VvLun *b, const VvSnapshot *x, const VvSnapshot *y)
{
    g_autofree char *first = g_strdup(x ? x->name : a->name), *second = g_strdup(y ? y->name : b->name);
    uint64_t one = x ? x->id : a->id, two = y ? y->id : b->id;
    void (*to)(Fixture *, uint64_t, const char *) = x && y ? rename_snapshot : rename_lun;

    if (one == two)
        return;
    to(f, one, "aside");
    to(f, two, first);
    to(f, one, second);
}

static void step(Fixture *f)
{
    const VvLun *lun = any_lun(f), *second = any_lun(f);
    const VvSnapshot *snapshot = lun ? any_snapshot(f, lun) : NULL;
    g_autofree char *name = g_strdup_printf("name%d", g_rand_int_range(f->rand, 0, 12));
    VvShareMode mode = (VvShareMode) g_rand_int_range(f->rand, VV_SHARE_UNSET, VV_SHARE_RW + 1);
    int what = g_rand_int_range(f->rand, 0, 10);

    if (what == 0 && vv_meta_luns(f->server.pool.meta)->len < LUNS && !vv_meta_lun_by_name(f->server.pool.meta, name))
        make_lun(f, name);
    else if (!lun)
        return;
    else if (what == 1 && lun->snapshots->len < 4 && !vv_meta_snapshot_by_name(f->server.pool.meta, lun, name))
        share(f, make_snapshot(f, lun->id, name), mode == VV_SHARE_UNSET ? mode : MIN(mode, VV_SHARE_RO));
    else if (what == 2)
        share(f, lun->id, mode);
    else if (what == 3 && snapshot)
        share(f, snapshot->id, MIN(mode, VV_SHARE_RO));
    else if (what == 4 && snapshot)
        remove_snapshot(f, snapshot->id);
    else if (what == 5 && g_rand_int_range(f->rand, 0, 3) == 0)
        remove_lun(f, lun);
    else if (what == 6)
        exchange(f, lun, second, NULL, NULL);
    else if (what == 7 && snapshot)
        exchange(f, lun, lun, snapshot, any_snapshot(f, lun));
    else if (what == 8)
        resize(f, lun->id);
    else if (what == 9 && !vv_meta_lun_by_name(f->server.pool.meta, name))
        rename_lun(f, lun->id, name);
}

/* ---- telling */
static bool take_cb(void *user, VvgGuest *guest, VvgNews *ret_news)
{
    Fixture *f = user;

    *ret_news = (VvgNews){ .noted = f->all ? NULL : guest->noted, .nodes = f->nodes };
    if (f->all)
        g_hash_table_remove_all(guest->noted);
    else
        guest->noted = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
    f->all = f->nodes = false;
    return true;
}

static bool take(Fixture *f, const GPtrArray *items, bool whole, bool nodes)
{
    VvGuestChange change = { .ops = NULL };
    const char *why = NULL;

    if (!vv_guest_change_make(&f->guest.pool, GUEST, items, whole, nodes, &change, &why)) {
        g_assert_nonnull(why);
        return false;
    }
    g_assert_cmpint(vv_meta_apply_described(f->guest.pool.meta, f->index, change.ops, (const VvMetaDescribed *) change.described->data,
                        change.described->len), ==, 0);
    vv_guest_change_clear(&change);
    return true;
}

/* All messages that there are, put together. */
static void tell(Fixture *f)
{
    g_autoptr(GPtrArray) items = g_ptr_array_new_with_free_func((GDestroyNotify) vv_described_free);
    GByteArray *body;
    unsigned flags = 0;

    vvg_tell(&f->server.pool, &f->told, take_cb, f);
    while ((body = g_queue_pop_head(f->told.outbox))) {
        g_auto(VvDescription) description = { .items = NULL };

        g_assert_true(vv_description_decode(body->data, body->len, &description));
        g_assert_cmpuint(description.index, ==, f->index);
        flags |= description.flags;
        for (unsigned i = 0; i < description.items->len; i++)
            g_ptr_array_add(items, description.items->pdata[i]);
        g_ptr_array_set_free_func(description.items, NULL);
        g_byte_array_unref(body);
    }
    g_assert_true(take(f, items, (flags & VV_DESCRIBE_FIRST) != 0, (flags & VV_DESCRIBE_NODES) != 0));
}

/* ---- what must be */
static VvShareMode mode_of(const Fixture *f, uint64_t id)
{
    return vv_pool_share_mode_locked((VvPool *) &f->server.pool, id, GUEST);
}

static void check_snapshot(const Fixture *f, const VvSnapshot *snapshot, unsigned *count)
{
    const VvSnapshot *there = vv_meta_snapshot(f->guest.pool.meta, snapshot->id);

    if (mode_of(f, snapshot->id) == VV_SHARE_NONE) {
        g_assert_true(!there || there->hidden);
        return;
    }
    ++*count;
    g_assert_nonnull(there);
    g_assert_cmpstr(there->name, ==, snapshot->name);
    g_assert_cmpstr(there->note, ==, snapshot->note);
    g_assert_true(there->size_bytes == snapshot->size_bytes && there->lun == snapshot->lun && there->created_ns == snapshot->created_ns);
    g_assert_cmpint(vv_pool_share_mode_locked((VvPool *) &f->guest.pool, there->id, 0), ==, VV_SHARE_RO);
}

/* True: the guest knows of it. */
static bool check_lun(const Fixture *f, const VvLun *lun)
{
    const VvLun *there = vv_meta_lun(f->guest.pool.meta, lun->id);
    VvShareMode mode = mode_of(f, lun->id);
    unsigned snapshots = 0;

    for (unsigned i = 0; i < lun->snapshots->len; i++)
        check_snapshot(f, g_ptr_array_index(lun->snapshots, i), &snapshots);
    if (mode == VV_SHARE_NONE && snapshots == 0) {
        g_assert_true(!there || there->orphan);
        return false;
    }
    g_assert_nonnull(there);
    g_assert_cmpstr(there->name, ==, lun->name);
    g_assert_cmpuint(there->snapshots->len, ==, snapshots);
    g_assert_cmpint(vv_pool_share_mode_locked((VvPool *) &f->guest.pool, there->id, 0), ==, mode);
    g_assert_cmpuint(there->size_bytes, ==, mode == VV_SHARE_NONE ? 0 : lun->size_bytes); /* M4 */
    g_assert_true(vv_uuid_equal(&there->uuid, &lun->uuid) == (mode != VV_SHARE_NONE));
    g_assert_true(there->props.mode == lun->props.mode && there->props.timeout_s == lun->props.timeout_s);
    return true;
}

static void check(const Fixture *f)
{
    GPtrArray *luns = vv_meta_luns(f->server.pool.meta);
    unsigned known = 0;

    for (unsigned i = 0; i < luns->len; i++)
        known += check_lun(f, g_ptr_array_index(luns, i));
    g_assert_cmpuint(vv_meta_luns(f->guest.pool.meta)->len, ==, known);
}

static void set_up(Fixture *f, gconstpointer seed)
{
    static const VvMetaHooks hooks = { .op_applied = op_applied };

    memset(f, 0, sizeof *f);
    f->rand = g_rand_new_with_seed(GPOINTER_TO_UINT(seed));
    f->next = 100;
    side_open(&f->server, 1, false);
    side_open(&f->guest, GUEST, true);
    vv_meta_set_hooks(f->server.pool.meta, &hooks, f);
    f->told = (VvgGuest){ .id = GUEST, .outbox = g_queue_new() };
    f->told.noted = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
    f->told.told = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, g_free);
    put_node(f, 1, VV_ROLE_VOTER, "n1");
    put_node(f, GUEST, VV_ROLE_GUEST, "bk");
    put_node(f, OTHER, VV_ROLE_GUEST, "other");
    f->all = true;
    tell(f);
}

static void tear_down(Fixture *f, gconstpointer seed)
{
    (void) seed;
    g_hash_table_unref(f->told.noted);
    g_hash_table_unref(f->told.told);
    g_queue_free(f->told.outbox);
    g_rand_free(f->rand);
    side_close(&f->server);
    side_close(&f->guest);
}

/* ---- tests */
static void test_random(Fixture *f, gconstpointer seed)
{
    (void) seed;
    for (unsigned i = 0; i < STEPS; i++) {
        unsigned steps = (unsigned) g_rand_int_range(f->rand, 1, 12);

        while (steps-- > 0)
            step(f);
        f->all = g_rand_int_range(f->rand, 0, 8) == 0;
        tell(f);
        check(f);
    }
}

static void test_nodes(Fixture *f, gconstpointer seed)
{
    g_autoptr(GPtrArray) nodes = vv_meta_nodes(f->guest.pool.meta);

    (void) seed;
    g_assert_cmpuint(nodes->len, ==, 2); /* not the other guest */
    put_node(f, 5, VV_ROLE_STANDBY, "n5");
    put_node(f, 1, VV_ROLE_GONE, "n1");
    tell(f);
    g_ptr_array_unref(nodes);
    nodes = vv_meta_nodes(f->guest.pool.meta);
    g_assert_cmpuint(nodes->len, ==, 2);
    g_assert_cmpstr(((const VvNodeRecord *) nodes->pdata[0])->name, ==, "bk");
    g_assert_cmpstr(((const VvNodeRecord *) nodes->pdata[1])->name, ==, "n5");
}

/* M3: what is open stays until it is closed, and its share goes only if it was taken away. */
static void open_as_if(Fixture *f, VvView *view, VvHandle *handle, uint64_t id)
{
    *view = (VvView){ .id = id, .pool = &f->guest.pool };
    *handle = (VvHandle){ .view = view };
    pthread_mutex_init(&view->lock, NULL);
    g_queue_init(&view->handles);
    g_queue_push_tail(&view->handles, handle);
    g_hash_table_insert(f->guest.pool.views, &view->id, view);
}

static void test_orphans(Fixture *f, gconstpointer seed)
{
    VvView *view = g_new0(VvView, 2);
    VvHandle *handle = g_new0(VvHandle, 2);
    uint64_t lun = make_lun(f, "db"), removed = make_snapshot(f, lun, "removed"), hidden = make_snapshot(f, lun, "hidden");
    VvMeta *meta = f->guest.pool.meta;

    (void) seed;
    share(f, removed, VV_SHARE_RO);
    share(f, hidden, VV_SHARE_RO);
    tell(f);
    open_as_if(f, &view[0], &handle[0], removed);
    open_as_if(f, &view[1], &handle[1], hidden);
    remove_snapshot(f, removed);
    share(f, hidden, VV_SHARE_NONE);
    tell(f);
    g_assert_true(vv_meta_snapshot(meta, removed)->orphan && vv_meta_snapshot(meta, hidden)->orphan);
    g_assert_cmpint(vv_pool_share_mode_locked(&f->guest.pool, removed, 0), ==, VV_SHARE_RO);
    g_assert_cmpint(vv_pool_share_mode_locked(&f->guest.pool, hidden, 0), ==, VV_SHARE_NONE);
    g_assert_cmpuint(vv_meta_luns(meta)->len, ==, 0);
    share(f, hidden, VV_SHARE_RO); /* again, while it is open still */
    tell(f);
    check(f);
    g_hash_table_remove_all(f->guest.pool.views);
    put_node(f, 6, VV_ROLE_STANDBY, "n6"); /* any message */
    tell(f);
    g_assert_null(vv_meta_snapshot(meta, removed));
    check(f);
    for (unsigned i = 0; i < 2; i++)
        g_queue_clear(&view[i].handles);
    g_free(view);
    g_free(handle);
}

/* What a clone came from is told if that is shared. */
static void test_origin(Fixture *f, gconstpointer seed)
{
    uint64_t lun = make_lun(f, "base"), snapshot = make_snapshot(f, lun, "s"), id = f->next++;
    VvOps *ops = vv_ops_new();
    VvOp *op = vv_ops_add(ops, VV_OP_CLONE);

    (void) seed;
    op->clone.snapshot = snapshot;
    op->clone.id = id;
    op->clone.branch = f->next++;
    op->clone.name = g_strdup("copy");
    op->clone.origin = g_strdup("base@s");
    op->clone.props = (VvLunProps){ .mode = 0600, .copies = 1 };
    apply(f, ops);
    share(f, id, VV_SHARE_RW);
    tell(f);
    g_assert_cmpstr(vv_meta_lun(f->guest.pool.meta, id)->origin, ==, "");
    share(f, snapshot, VV_SHARE_RO);
    note(f, id, false);
    tell(f);
    g_assert_cmpstr(vv_meta_lun(f->guest.pool.meta, id)->origin, ==, "base@s");
}

/* T2: more than a message holds, and then one change that is more. */
static void test_many(Fixture *f, gconstpointer seed)
{
    uint64_t lun = make_lun(f, "db");
    GPtrArray *bodies;

    (void) seed;
    for (unsigned i = 0; i < VV_DESCRIBE_ITEMS_MAX + 10; i++) {
        g_autofree char *name = g_strdup_printf("s%u", i);

        share(f, make_snapshot(f, lun, name), VV_SHARE_RO);
    }
    vvg_tell(&f->server.pool, &f->told, take_cb, f);
    g_assert_cmpuint(f->told.outbox->length, ==, 2); /* a whole set, though changes were asked for */
    bodies = g_ptr_array_new_with_free_func((GDestroyNotify) g_byte_array_unref);
    while (f->told.outbox->length > 0)
        g_ptr_array_add(bodies, g_queue_pop_head(f->told.outbox));
    g_assert_cmpuint(((const GByteArray *) bodies->pdata[0])->data[1], ==, VV_DESCRIBE_NODES | VV_DESCRIBE_FIRST);
    g_assert_cmpuint(((const GByteArray *) bodies->pdata[1])->data[1], ==, VV_DESCRIBE_NODES | VV_DESCRIBE_LAST);
    g_ptr_array_unref(bodies);
    f->all = true;
    tell(f);
    check(f);
    g_assert_cmpuint(vv_meta_lun(f->guest.pool.meta, lun)->snapshots->len, ==, VV_DESCRIBE_ITEMS_MAX + 10);
}

/* M2 */
static VvDescribed *item_of(VvDescribedKind kind, uint64_t id, const char *name, uint64_t lun)
{
    VvDescribed *item = g_new0(VvDescribed, 1);

    *item = (VvDescribed){ .kind = kind, .id = id, .mode = 2, .lun = lun, .name = g_strdup(name), .note = g_strdup(""), .origin = g_strdup("") };
    return item;
}

static void refused(Fixture *f, VvDescribed *first, VvDescribed *second)
{
    g_autoptr(GPtrArray) items = g_ptr_array_new_with_free_func((GDestroyNotify) vv_described_free);
    unsigned before = vv_meta_luns(f->guest.pool.meta)->len;

    g_ptr_array_add(items, first);
    if (second)
        g_ptr_array_add(items, second);
    g_assert_false(take(f, items, false, false));
    g_assert_cmpuint(vv_meta_luns(f->guest.pool.meta)->len, ==, before);
}

static void test_refused(Fixture *f, gconstpointer seed)
{
    uint64_t lun = make_lun(f, "db"), snapshot = make_snapshot(f, lun, "s");

    (void) seed;
    share(f, lun, VV_SHARE_RO);
    share(f, snapshot, VV_SHARE_RO);
    tell(f);
    refused(f, item_of(VV_DESCRIBED_LUN, 900, "db", 0), NULL);
    refused(f, item_of(VV_DESCRIBED_LUN, 900, "x", 0), item_of(VV_DESCRIBED_LUN, 901, "x", 0));
    refused(f, item_of(VV_DESCRIBED_SNAPSHOT, 900, "x", 901), NULL);
    refused(f, item_of(VV_DESCRIBED_SNAPSHOT, 900, "s", lun), NULL);
    refused(f, item_of(VV_DESCRIBED_SNAPSHOT, lun, "x", lun), NULL);
    refused(f, item_of(VV_DESCRIBED_LUN, snapshot, "x", 0), NULL);
    refused(f, item_of(VV_DESCRIBED_GONE, lun, NULL, 0), NULL); /* its snapshot stays */
    refused(f, item_of(VV_DESCRIBED_GONE, lun, NULL, 0), item_of(VV_DESCRIBED_SNAPSHOT, snapshot, "s", lun));
    check(f);
}

static void add(const char *name, unsigned seed, void (*test)(Fixture *f, gconstpointer seed))
{
    g_test_add(name, Fixture, GUINT_TO_POINTER(seed), set_up, test, tear_down);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    add("/vvfs/guest/random/1", 1, test_random);
    add("/vvfs/guest/random/2", 2, test_random);
    add("/vvfs/guest/random/any", (unsigned) g_test_rand_int() | 4, test_random);
    add("/vvfs/guest/nodes", 0, test_nodes);
    add("/vvfs/guest/orphans", 0, test_orphans);
    add("/vvfs/guest/origin", 0, test_origin);
    add("/vvfs/guest/many", 0, test_many);
    add("/vvfs/guest/refused", 0, test_refused);
    return g_test_run();
}
