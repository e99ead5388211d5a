/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "holds.h"

#include "base.h"
#include "io_state.h"
#include "transaction.h"

struct VvHolds {
    pthread_mutex_t lock; /* a leaf */
    GArray *list;         /* VvHold, in the order in which they began */
};

static _Thread_local const char *author_what;
static _Thread_local uint64_t author_node;

struct VvHolds *vv_holds_new(void)
{
    struct VvHolds *holds = g_new0(struct VvHolds, 1);

    pthread_mutex_init(&holds->lock, NULL);
    holds->list = g_array_new(FALSE, FALSE, sizeof(VvHold));
    return holds;
}

void vv_holds_free(struct VvHolds *holds)
{
    if (!holds)
        return;
    g_assert(holds->list->len == 0);
    g_array_unref(holds->list);
    pthread_mutex_destroy(&holds->lock);
    g_free(holds);
}

void vv_holds_author(const char *what, uint64_t node)
{
    author_what = what;
    author_node = node;
}

static void begin(VvPool *pool, uint64_t object, VvHoldKind kind, const char *what, uint64_t node)
{
    VvHold hold = { .object = object, .kind = kind, .what = what, .node = node, .since_ns = vv_now_ns(), .thread = pthread_self() };

    VV_LOCKED(&pool->holds->lock);
    g_array_append_val(pool->holds->list, hold);
}

void vv_hold_begin(VvPool *pool, uint64_t object, VvHoldKind kind)
{
    begin(pool, object, kind, author_what, author_node);
}

void vv_hold_begin_for(VvPool *pool, uint64_t object, VvHoldKind kind, uint64_t node)
{
    begin(pool, object, kind, NULL, node);
}

void vv_hold_end(VvPool *pool, uint64_t object, VvHoldKind kind)
{
    GArray *list = pool->holds->list;
    guint found = G_MAXUINT;

    VV_LOCKED(&pool->holds->lock);
    for (guint i = 0; i < list->len; i++) {
        const VvHold *hold = &g_array_index(list, VvHold, i);

        if (hold->object != object || hold->kind != kind)
            continue;
        if (found == G_MAXUINT)
            found = i;
        if (!pthread_equal(hold->thread, pthread_self()))
            continue;
        found = i;
        break;
    }
    g_assert(found < list->len);
    g_array_remove_index(list, found);
}

/* ---- looking */
void vv_held_object_free(void *data)
{
    VvHeldObject *object = data;

    g_array_unref(object->uses);
    g_array_unref(object->holds);
    g_free(object);
}

static VvHeldObject *object_of(GHashTable *objects, uint64_t id)
{
    VvHeldObject *object = g_hash_table_lookup(objects, &id);

    if (object)
        return object;
    object = g_new0(VvHeldObject, 1);
    object->id = id;
    object->uses = g_array_new(FALSE, TRUE, sizeof(VvUse));
    object->holds = g_array_new(FALSE, FALSE, sizeof(VvHold));
    g_hash_table_insert(objects, &object->id, object);
    return object;
}

/* Borrowed until the next call. */
static VvUse *use_of(GArray *uses, const VvHandle *handle)
{
    bool revoked = vv_handle_is_revoked(handle);
    VvUse fresh = { .node = handle->node, .write = handle->write, .revoked = revoked, .since_ns = handle->opened_ns };

    for (guint i = 0; i < uses->len; i++) {
        VvUse *use = &g_array_index(uses, VvUse, i);

        if (use->node == handle->node && use->write == handle->write && use->revoked == revoked)
            return use;
    }
    g_array_append_val(uses, fresh);
    return &g_array_index(uses, VvUse, uses->len - 1);
}

static int compare_uses(const void *a, const void *b)
{
    const VvUse *x = a, *y = b;

    if (x->node != y->node)
        return x->node < y->node ? -1 : 1;
    return (int) y->write - (int) x->write;
}

static void add_uses_locked(const VvView *view, VvHeldObject *object)
{
    for (GList *link = view->handles.head; link; link = link->next) {
        const VvHandle *handle = link->data;
        VvUse *use;

        if (handle->internal || (vv_handle_is_revoked(handle) && object->under_way == 0)) /* which has nothing any more */
            continue;
        use = use_of(object->uses, handle);
        use->handles++;
        use->since_ns = MIN(use->since_ns, handle->opened_ns);
        use->unflushed = use->write && view->pending_since_ms != 0;
    }
    for (const VvIoState *state = view->parked.first; state; state = state->next) {
        const VvHandle *handle = state->io->handle;

        object->waiting += state->parked == VV_PARK_GATE;
        if (handle && !handle->internal && (!vv_handle_is_revoked(handle) || object->under_way > 0))
            use_of(object->uses, handle)->waiting += state->parked != VV_PARK_LOCK;
    }
    g_array_sort(object->uses, compare_uses);
}

static void add_view(VvView *view, GHashTable *objects)
{
    VvHeldObject *object;
    VV_LOCKED(&view->lock);

    if (view->handles.length == 0)
        return;
    object = object_of(objects, view->id);
    object->under_way = (view->write_gates > 0 ? view->writes_in_flight : 0) + (view->read_gates > 0 ? view->reads_in_flight : 0);
    add_uses_locked(view, object);
}

static void add_holds(struct VvHolds *holds, uint64_t from, GHashTable *objects)
{
    VV_LOCKED(&holds->lock);

    for (guint i = 0; i < holds->list->len; i++) {
        const VvHold *hold = &g_array_index(holds->list, VvHold, i);

        if (hold->object >= from)
            g_array_append_val(object_of(objects, hold->object)->holds, *hold);
    }
}

static int compare_objects(const void *a, const void *b)
{
    uint64_t x = (*(VvHeldObject *const *) a)->id, y = (*(VvHeldObject *const *) b)->id;

    return x < y ? -1 : x > y;
}

GPtrArray *vv_pool_held(VvPool *pool, uint64_t from)
{
    g_autoptr(GHashTable) objects = g_hash_table_new(g_int64_hash, g_int64_equal);
    g_autoptr(VvViewList) views = vv_views_all(pool);
    GPtrArray *list = g_ptr_array_new_with_free_func(vv_held_object_free);
    GHashTableIter iter;
    void *value;

    for (unsigned i = 0; i < views->len; i++)
        if (views->at[i]->id >= from)
            add_view(views->at[i], objects);
    add_holds(pool->holds, from, objects);
    g_hash_table_iter_init(&iter, objects);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        const VvHeldObject *object = value;

        if (object->uses->len > 0 || object->holds->len > 0)
            g_ptr_array_add(list, value);
        else
            vv_held_object_free(value);
    }
    g_ptr_array_sort(list, compare_objects);
    return list;
}

char *vv_pool_object_name(VvPool *pool, uint64_t id)
{
    return vv_object_name(pool, id);
}
