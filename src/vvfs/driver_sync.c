/* SPDX-License-Identifier: GPL-2.0-or-later */
/* States: given to who lags behind the log, and taken.
 *
 *   giving   no state --asked for--> counting (a thread reads the store once) --> given, chunk by chunk --2 T of silence--> no state
 *
 * While a state is given Raft hears of no newer base, or who takes it would have to begin anew; unless the journal is full. */
#include "driver_private.h"

#include "error.h"
#include "sync.h"
#include "util.h"

#include <errno.h>

#define GIVE_SESSIONS 2u /* times T: an ask that is lost is asked again with the next offer, some times in T */

typedef struct VvdGive VvdGive;
struct VvdGive {
    VvMeta *meta;
    pthread_t thread;
    _Atomic bool counted;
    VvSyncGive *give; /* NULL: the store could not be read */
    uint64_t asked_ms;
};

static void *count_main(void *user)
{
    VvdGive *g = user;

    pthread_setname_np(pthread_self(), "vv-giver");
    g->give = vv_sync_give_new(g->meta);
    atomic_store(&g->counted, true);
    return NULL;
}

static void stop_giving(VvDriver *d)
{
    if (!d->give)
        return;
    pthread_join(d->give->thread, NULL);
    vv_sync_give_free(d->give->give);
    g_free(g_steal_pointer(&d->give));
}

static void start_giving(VvDriver *d)
{
    VvdGive *g = g_new0(VvdGive, 1);

    g->meta = vv_pool_meta(d->pool);
    g->asked_ms = d->now_ms;
    if (pthread_create(&g->thread, NULL, count_main, g) != 0) {
        g_free(g);
        return;
    }
    d->give = g;
}

bool vvd_sync_gives(VvDriver *d)
{
    bool full;

    {
        VV_LOCKED(&d->lock);
        full = d->journal_full;
    }
    if (!d->give || (!full && d->now_ms < d->give->asked_ms + GIVE_SESSIONS * d->options.session_ms))
        return d->give != NULL;
    if (!atomic_load(&d->give->counted))
        return true; /* it ends soon */
    stop_giving(d);
    return false;
}

bool vvd_sync_source(void *user, VvSyncSource *ret_source)
{
    VvDriver *d = user;

    if (!d->pool)
        return false;
    if (d->give && atomic_load(&d->give->counted) && (!d->give->give || vv_sync_give_index(d->give->give) < d->compacted))
        stop_giving(d);
    if (!d->give)
        start_giving(d);
    if (!d->give)
        return false;
    d->give->asked_ms = d->now_ms;
    if (!atomic_load(&d->give->counted) || !d->give->give)
        return false; /* the next offer */
    *ret_source = (VvSyncSource){ .stream = d->client,
        .index = vv_sync_give_index(d->give->give),
        .size_bytes = vv_sync_give_bytes(d->give->give) };
    return true;
}

int vvd_sync_read(void *user, const VvSyncSource *source, uint64_t offset, GByteArray *out, size_t most)
{
    VvDriver *d = user;
    const VvdGive *g = d->give;

    if (!g || !atomic_load(&g->counted) || !g->give || source->stream != d->client ||
        source->index != vv_sync_give_index(g->give) || source->size_bytes != vv_sync_give_bytes(g->give))
        return -ESTALE;
    d->give->asked_ms = d->now_ms;
    return vv_sync_give_read(d->give->give, offset, out, most);
}

/* ---- taking */

int vvd_sync_begin(void *user, uint64_t index, uint64_t size_bytes)
{
    VvDriver *d = user;
    g_autoptr(GError) error = NULL;
    (void) index;
    (void) size_bytes;

    g_clear_pointer(&d->take, vv_sync_take_free);
    d->take = vv_sync_take_new(d->directory, &error);
    if (!d->take)
        vv_log(VV_LOG_ERROR, "%s", error->message);
    return d->take ? 0 : -EIO;
}

int vvd_sync_write(void *user, uint64_t offset, const uint8_t *data, size_t data_bytes)
{
    VvDriver *d = user;
    (void) offset; /* in order */

    return vv_sync_take_write(d->take, data, data_bytes);
}

/* What was taken becomes this node's at the next start: with what runs now it has nothing in common. */
int vvd_sync_install(
    void *user, uint64_t index, uint64_t term, uint64_t conf_index, const uint8_t *conf, size_t conf_bytes)
{
    VvDriver *d = user;
    int rc = vv_sync_take_complete(d->take, index);
    (void) term;
    (void) conf_index;
    (void) conf;
    (void) conf_bytes;

    if (rc != 0)
        return rc;
    d->took = true;
    if (d->pool)
        vv_pool_cluster_lost(d->pool, "this node lagged behind the others and has taken their state: the pool is to be opened anew");
    if (d->options.taken)
        d->options.taken(d->options.user);
    return 0;
}

void vvd_sync_end(VvDriver *d)
{
    stop_giving(d);
    g_clear_pointer(&d->take, vv_sync_take_free);
}
