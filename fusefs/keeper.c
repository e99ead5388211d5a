/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The keeper: looks after LUNs that hold much while they wait, so that they never make others wait (I9); and interrupts.
 *
 * A LUN is *held* if it has parked requests and none of them has ended well for VV_HELD_GRACE_MS, or one of them waits for space of
 * which the engine knows that there is none in sight. Then:
 *
 *     K1  one LUN that is held has at most VV_HELD_BYTES_PER_LUN and VV_HELD_COUNT_PER_LUN parked: the newest above that end with
 *         EIO, and so does what parks after that (quota.c), until one of them ends well.
 *     K2  all that are held have together at most VV_HELD_BYTES_MAX and VV_HELD_COUNT_MAX parked: the largest gives. That is less
 *         than what stops the workers (quota.c Q2), so LUNs that are held never stop them.
 *     K3  an event names the LUN; at most one a minute, whichever LUN it is.
 *
 * With rings places are few (uring.h), and so are those that what is held may have: vv_quota_init.
 *
 * Nothing is timed while nobody holds much: the keeper sleeps until a quota is passed, then looks every KEEPER_TICK_MS. */
#include "nodes.h"

#define KEEPER_TICK_MS 100u
#define EVENT_EVERY_MS 60000u

void vv_keeper_wake(VvFuse *fuse)
{
    VvKeeper *keeper = &fuse->keeper;
    if (atomic_exchange(&keeper->awake, true))
        return;
    VV_LOCKED(&keeper->lock);
    pthread_cond_signal(&keeper->wake);
}

/* ---- interrupts */

typedef struct {
    uint64_t unique;
    bool found;
} Search;

static bool interrupt_slot(void *user, VvSlot *slot)
{
    Search *search = user;
    if (atomic_load_explicit(&slot->unique, memory_order_relaxed) != search->unique)
        return true;
    VV_LOCKED(&slot->lock);
    if (atomic_load_explicit(&slot->unique, memory_order_relaxed) != search->unique)
        return true;
    search->found = true;
    if (slot->state == VV_SLOT_SETTLED)
        vv_io_interrupt(&slot->io);
    else
        slot->interrupted = true;
    return false;
}

bool vv_interrupt(VvFuse *fuse, uint64_t unique)
{
    Search search = { .unique = unique };
    for (unsigned i = 0; i < fuse->server_count && !search.found; i++)
        vv_slots_each(&fuse->servers[i].slots, interrupt_slot, &search);
    return search.found ||
           vv_operations_has(&fuse->operations, unique); /* operation threads are left alone: they end in time */
}

/* ---- shedding: the keeper's thread */

typedef struct {
    VvAccount *account;
    uint64_t id;
    uint64_t bytes, count;               /* held */
    uint64_t excess_bytes, excess_count; /* to give up */
} Holder;

typedef struct {
    const VvFuse *fuse;
    uint64_t now_ms;
    bool over;            /* somebody has more than a quota parked, held or not */
    GArray *holders;      /* Holder: those that are held */
    GHashTable *hopeless; /* ids of objects that wait for space of which none is in sight */
} Survey;

/* An account does not know its requests; a request keeps its account. */
static bool find_hopeless(void *user, VvSlot *slot)
{
    Survey *survey = user;
    VV_LOCKED(&slot->lock);
    if (slot->state != VV_SLOT_SETTLED || !atomic_load(&slot->parked))
        return true;
    void *id = GSIZE_TO_POINTER(slot->account->id);
    if (!g_hash_table_contains(survey->hopeless, id) && vv_io_is_hopeless(&slot->io))
        g_hash_table_add(survey->hopeless, id);
    return true;
}

static bool is_held(const Survey *survey, VvAccount *account)
{
    uint64_t progress_ms = atomic_load_explicit(&account->progress_ms, memory_order_relaxed);
    return atomic_load(&account->waiting) > 0 &&
           (survey->now_ms > progress_ms + VV_HELD_GRACE_MS ||
               g_hash_table_contains(survey->hopeless, GSIZE_TO_POINTER(account->id)));
}

static void survey_account(void *user, VvAccount *account)
{
    Survey *survey = user;
    Holder holder = {
        .account = account,
        .id = account->id,
        .bytes = atomic_load_explicit(&account->bytes, memory_order_relaxed),
        .count = atomic_load_explicit(&account->count, memory_order_relaxed),
    };
    bool over = vv_quota_is_over(survey->fuse, holder.bytes, holder.count), held = is_held(survey, account);
    survey->over |= over;
    atomic_store_explicit(&account->held, held, memory_order_relaxed);
    if (!held)
        return;
    if (over) { /* K1 */
        uint64_t limit = survey->fuse->held_count_per_lun;
        holder.excess_bytes = holder.bytes > VV_HELD_BYTES_PER_LUN ? holder.bytes - VV_HELD_BYTES_PER_LUN : 0;
        holder.excess_count = holder.count > limit ? holder.count - limit : 0;
    }
    g_array_append_val(survey->holders, holder);
}

/* K2 */
static void share_out(GArray *holders, uint64_t count_max)
{
    uint64_t bytes = 0, count = 0;
    Holder *largest = NULL;
    for (unsigned i = 0; i < holders->len; i++) {
        Holder *holder = &g_array_index(holders, Holder, i);
        bytes += holder->bytes - holder->excess_bytes;
        count += holder->count - holder->excess_count;
        if (largest == NULL ||
            holder->bytes + holder->count * VV_BLOCK_BYTES > largest->bytes + largest->count * VV_BLOCK_BYTES)
            largest = holder;
    }
    if (largest && bytes > VV_HELD_BYTES_MAX)
        largest->excess_bytes += bytes - VV_HELD_BYTES_MAX;
    if (largest && count > count_max)
        largest->excess_count += count - count_max;
}

typedef struct {
    VvSlot *slot;
    uint64_t unique;
    uint32_t bytes;
} Victim;

typedef struct {
    const VvAccount *account;
    GArray *victims;
    uint64_t shed_bytes, shed_count; /* of those that give up already, and are counted still */
} Hunt;

static bool find_victim(void *user, VvSlot *slot)
{
    Hunt *hunt = user;
    VV_LOCKED(&slot->lock);
    if (slot->state != VV_SLOT_SETTLED || !atomic_load(&slot->parked) || slot->account != hunt->account)
        return true;
    Victim victim = { slot, atomic_load_explicit(&slot->unique, memory_order_relaxed),
        atomic_load_explicit(&slot->charged_bytes, memory_order_relaxed) };
    hunt->shed_bytes += slot->shed ? victim.bytes : 0;
    hunt->shed_count += slot->shed;
    if (!slot->shed)
        g_array_append_val(hunt->victims, victim);
    return true;
}

static int newest_first(gconstpointer a, gconstpointer b)
{
    uint64_t one = ((const Victim *) a)->unique, other = ((const Victim *) b)->unique;
    return one > other ? -1 : one < other;
}

static void shed(VvFuse *fuse, const Holder *holder)
{
    Hunt hunt = { .account = holder->account, .victims = g_array_new(FALSE, FALSE, sizeof(Victim)) };
    for (unsigned i = 0; i < fuse->server_count; i++)
        vv_slots_each(&fuse->servers[i].slots, find_victim, &hunt);
    g_array_sort(hunt.victims, newest_first);
    uint64_t bytes = hunt.shed_bytes, count = hunt.shed_count;
    for (unsigned i = 0; i < hunt.victims->len && (bytes < holder->excess_bytes || count < holder->excess_count); i++) {
        const Victim *victim = &g_array_index(hunt.victims, Victim, i);
        VV_LOCKED(&victim->slot->lock);
        if (victim->slot->state != VV_SLOT_SETTLED || atomic_load(&victim->slot->unique) != victim->unique)
            continue;
        victim->slot->shed = true;
        atomic_fetch_add_explicit(&fuse->refused, 1, memory_order_relaxed);
        vv_io_interrupt(&victim->slot->io);
        bytes += victim->bytes;
        count++;
    }
    g_array_unref(hunt.victims);
}

/* K3 */
static void tell(VvFuse *fuse, const Holder *holder, uint64_t now_ms)
{
    VvKeeper *keeper = &fuse->keeper;
    if (keeper->told_ms && now_ms < keeper->told_ms + EVENT_EVERY_MS)
        return;
    keeper->told_ms = now_ms;
    g_auto(VvObjectName) name = { 0 };
    if (!vv_node_object_name(fuse, holder->id, &name))
        return;
    g_autofree char *object = name.snapshot ? g_strconcat(name.lun, "@", name.name, NULL) : g_strdup(name.name);
    g_autofree char *bytes = vv_size_format(holder->bytes);
    vv_pool_event(fuse->pool, VV_SEVERITY_WARNING, "held", object,
        "%s waits and holds %" G_GUINT64_FORMAT " requests (%s): further ones fail until it goes on", object,
        holder->count, bytes);
}

/* True: look again soon. */
static bool look(VvFuse *fuse)
{
    Survey survey = { .fuse = fuse,
        .now_ms = vv_coarse_ms(),
        .holders = g_array_new(FALSE, FALSE, sizeof(Holder)),
        .hopeless = g_hash_table_new(NULL, NULL),
        .over = atomic_load(&fuse->parked_bytes) > VV_HELD_BYTES_MAX ||
                atomic_load(&fuse->parked_count) > fuse->held_count_max };
    for (unsigned i = 0; i < fuse->server_count; i++)
        vv_slots_each(&fuse->servers[i].slots, find_hopeless, &survey);
    vv_handles_each_account(&fuse->handles, survey_account, &survey);
    share_out(survey.holders, fuse->held_count_max);
    for (unsigned i = 0; i < survey.holders->len; i++) {
        const Holder *holder = &g_array_index(survey.holders, Holder, i);
        if (holder->excess_bytes || holder->excess_count) {
            shed(fuse, holder);
            tell(fuse, holder, survey.now_ms);
        }
    }
    g_array_unref(survey.holders);
    g_hash_table_unref(survey.hopeless);
    return survey.over;
}

static void *keep(void *user)
{
    VvFuse *fuse = user;
    VvKeeper *keeper = &fuse->keeper;
    pthread_setname_np(pthread_self(), "vvfs-keeper");
    pthread_mutex_lock(&keeper->lock);
    while (!keeper->stopping) {
        if (!atomic_exchange(
                &keeper->awake, false)) { /* before the look: who passes a quota during it wakes us again */
            pthread_cond_wait(&keeper->wake, &keeper->lock);
            continue;
        }
        pthread_mutex_unlock(&keeper->lock);
        bool again = look(fuse);
        pthread_mutex_lock(&keeper->lock);
        if (again && !keeper->stopping) {
            struct timespec until;
            clock_gettime(CLOCK_MONOTONIC, &until);
            until.tv_nsec += KEEPER_TICK_MS * 1000000;
            until.tv_sec += until.tv_nsec / 1000000000;
            until.tv_nsec %= 1000000000;
            pthread_cond_timedwait(&keeper->wake, &keeper->lock, &until);
            atomic_store(&keeper->awake, true);
        }
    }
    pthread_mutex_unlock(&keeper->lock);
    return NULL;
}

void vv_keeper_start(VvFuse *fuse)
{
    VvKeeper *keeper = &fuse->keeper;
    int rc = pthread_create(&keeper->thread, NULL, keep, fuse);
    keeper->running = rc == 0;
    if (rc != 0)
        vv_log(VV_LOG_WARNING, "no thread to look after requests that wait: %s", g_strerror(rc));
}

void vv_keeper_stop(VvFuse *fuse)
{
    VvKeeper *keeper = &fuse->keeper;
    if (!keeper->running)
        return;
    pthread_mutex_lock(&keeper->lock);
    keeper->stopping = true;
    pthread_cond_signal(&keeper->wake);
    pthread_mutex_unlock(&keeper->lock);
    pthread_join(keeper->thread, NULL);
    keeper->running = keeper->stopping = false;
}
