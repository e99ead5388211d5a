/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "explore.h"

#include "limits.h"
#include "recorder.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define LOOSE_MAX 4096u /* events that are not durable at one moment */
#define SUBSETS_MAX 4u  /* events of which all subsets are tried */
#define CANDIDATES_MAX (OUTCOMES_MAX + 1)
#define STATE_SECONDS_MAX 120u
#define OFFLINE_EVERY 8u /* states: pool check before the recovery */
#define AGAIN_EVERY 16u  /* states: once more what was recovered */
#define GARBAGE_EVERY 8u

static Explorer *watched;
static uint64_t current_state;
/* What ends the program by failing; SIGTERM is what the test's limit of time sends. */
static const int signals[] = { SIGSEGV, SIGBUS, SIGABRT, SIGTRAP, SIGFPE, SIGALRM, SIGTERM, SIGINT };

/* Where a walk through the log is. */
typedef struct {
    Explorer *explorer;
    const Event *loose[LOOSE_MAX];
    Choice choices[LOOSE_MAX];
    unsigned loose_count;
    Model candidates[CANDIDATES_MAX]; /* what may be there; the last was the newest */
    unsigned candidate_count;
    Op op;
    unsigned ops_begun;
    uint64_t random;
    uint64_t seen[256]; /* fingerprints at this boundary */
    unsigned seen_count, tried;
    /* reservoir of one state to go on from */
    uint64_t offered, pick;
    bool wanted;
    Model *ret_at;
    GByteArray *chosen; /* Choice of each loose event */
    uint64_t chosen_at;
} Walk;

/* ---- failing */

static void on_signal(int signal_number)
{
    signal(signal_number, SIG_DFL);
    explore_fail(signal_number == SIGALRM ? "a recovery does not end" : "the program was ended by a signal");
}

void explore_watch(Explorer *explorer)
{
    watched = explorer;

    for (unsigned i = 0; i < G_N_ELEMENTS(signals); i++)
        signal(signals[i], on_signal);
}

static void say(const char *text)
{
    if (write(STDERR_FILENO, text, strlen(text)) < 0)
        _exit(1);
}

void explore_remove_folder(const Explorer *explorer)
{
    pid_t child = fork();

    if (child == 0) {
        execl("/bin/rm", "rm", "-rf", explorer->folder, (char *) NULL);
        _exit(1);
    }
    (void) waitpid(child, NULL, 0);
}

void explore_fail(const char *why)
{
    static char name[] = "/tmp/vv-crash-XXXXXX", number[32];
    RecordingHeader header = { 0 };
    int fd;

    for (unsigned i = 0; i < G_N_ELEMENTS(signals); i++)
        signal(signals[i], SIG_DFL);
    recorder_stop();
    say("\nreplay: ");
    say(why);
    if (watched) {
        fd = mkstemp(name);
        g_snprintf(number, sizeof number, "%" G_GUINT64_FORMAT, current_state);
        header.per_boundary = watched->per_boundary;
        header.seed = watched->seed;
        header.skip_ops = watched->skip_ops;
        header.skip_bytes = watched->skip_bytes;
        log_clear(watched->scratch);
        image_store(watched->image, watched->scratch);
        model_store(watched->start, watched->scratch);
        say("\nreplay: recorded with ");
        say(watched->about);
        say("\nreplay: the same state again: tests/crash/replay --recording ");
        say(fd >= 0 && log_save(name, &header, watched->scratch, watched->log) ? name : "(not stored)");
        say(" --state ");
        say(number);
    }
    say("\n");
    if (watched)
        explore_remove_folder(watched);
    _exit(1);
}

static uint64_t below(Walk *walk, uint64_t limit)
{
    walk->random ^= walk->random << 13;
    walk->random ^= walk->random >> 7;
    walk->random ^= walk->random << 17;
    return limit == 0 ? 0 : (walk->random >> 11) % limit;
}

/* ---- one state */

static void fail_state(Walk *walk, const char *why)
{
    GString *text = g_string_new(NULL);

    g_string_printf(text, "state %" G_GUINT64_FORMAT ", %u ops begun (last %c %s@%s %s), %u events not synced: %s",
        current_state, walk->ops_begun, walk->op.kind ? (char) walk->op.kind : '-', walk->op.lun, walk->op.snapshot,
        walk->op.fresh, walk->loose_count, why);
    for (unsigned i = 0; i < walk->loose_count && i < 40; i++) {
        const Event *event = walk->loose[i];

        g_string_append_printf(text,
            "\n  kind %u file %u offset %" G_GUINT64_FORMAT " length %" G_GUINT64_FORMAT " reach %u %u", event->kind,
            event->file, event->offset, event->length, walk->choices[i].how, walk->choices[i].number);
    }
    explore_fail(text->str);
}

/* The number of the candidate that it is. */
static unsigned hold_against_model(Walk *walk, const Shown *shown)
{
    g_autofree char *newest = NULL;

    for (unsigned i = walk->candidate_count; i > 0; i--) {
        g_autofree char *why = NULL;

        if (model_allows(&walk->candidates[i - 1], shown, &why))
            return i - 1;
        if (!newest)
            newest = g_steal_pointer(&why);
    }
    fail_state(walk, newest);
    return 0;
}

static void recover(Walk *walk)
{
    Explorer *explorer = walk->explorer;
    const char *pool_folder = image_pool(explorer->image);
    g_autoptr(GError) error = NULL;
    g_autofree char *why = NULL;
    VvPool *pool;

    alarm(STATE_SECONDS_MAX);
    log_clear(explorer->scratch);
    recorder_start(explorer->scratch, false);
    if (current_state % OFFLINE_EVERY == 0 && !work_check_offline(pool_folder, &why))
        fail_state(walk, why);
    pool = vv_pool_open(pool_folder, NULL, &error);
    if (!pool)
        fail_state(walk, error->message);
    work_look(pool, &explorer->shown);
    unsigned which = hold_against_model(walk, &explorer->shown);

    if (!work_check(pool, &why))
        fail_state(walk, why);
    vv_pool_close(pool);
    if (current_state % AGAIN_EVERY == 0) {
        Model now = { 0 };

        pool = vv_pool_open(pool_folder, NULL, &error);
        if (!pool)
            fail_state(walk, error->message);
        model_copy(&now, &walk->candidates[which]);
        model_adopt(&now, &explorer->shown);
        work_look(pool, &explorer->shown);
        if (!model_allows(&now, &explorer->shown, &why))
            fail_state(walk, why);
        model_clear(&now);
        vv_pool_close(pool);
    }
    recorder_stop();
    image_note_written(explorer->image, explorer->scratch);
    alarm(0);
}

/* Choose one of all states with the same chance. */
static void offer(Walk *walk, uint64_t at)
{
    walk->offered++;
    walk->pick = walk->pick * UINT64_C(6364136223846793005) + 1442695040888963407;
    if (!walk->ret_at || (walk->pick >> 33) % walk->offered != 0)
        return;
    g_byte_array_set_size(walk->chosen, 0);
    g_byte_array_append(walk->chosen, (const guint8 *) walk->choices, (guint) (walk->loose_count * sizeof(Choice)));
    walk->chosen_at = at;
}

static void try_state(Walk *walk, uint64_t at)
{
    Explorer *explorer = walk->explorer;
    uint64_t fingerprint = image_fingerprint(explorer->image, walk->loose, walk->choices, walk->loose_count);

    if (walk->tried >= explorer->per_boundary)
        return;
    for (unsigned i = 0; i < walk->seen_count; i++)
        if (walk->seen[i] == fingerprint)
            return;
    if (walk->seen_count < G_N_ELEMENTS(walk->seen))
        walk->seen[walk->seen_count++] = fingerprint;
    walk->tried++;
    current_state = ++explorer->in_recording;
    if (explorer->only_state && explorer->only_state != current_state)
        return;
    explorer->states++;
    image_build(explorer->image, walk->loose, walk->choices, walk->loose_count, current_state % GARBAGE_EVERY == 0);
    recover(walk);
    offer(walk, at);
}

/* ---- the states of a boundary */

static void choose_all(Walk *walk, Reach how)
{
    for (unsigned i = 0; i < walk->loose_count; i++)
        walk->choices[i] = (Choice){ .how = how };
}

static Choice torn_choice(Walk *walk, const Event *event)
{
    uint64_t sectors = event->length / VV_SECTOR_BYTES;

    switch (below(walk, 6)) {
    case 0:
        return (Choice){ .how = REACH_NONE };
    case 1:
        return (Choice){ .how = REACH_ALL };
    case 2:
        return (Choice){ .how = REACH_HEAD, .number = (uint32_t) below(walk, sectors + 1) };
    case 3:
        return (Choice){ .how = REACH_TAIL, .number = (uint32_t) below(walk, sectors + 1) };
    default:
        return (Choice){ .how = REACH_SOME, .number = (uint32_t) below(walk, UINT32_MAX) };
    }
}

static void try_subsets(Walk *walk, uint64_t at)
{
    for (unsigned bits = 0; bits < 1u << walk->loose_count; bits++) {
        for (unsigned i = 0; i < walk->loose_count; i++)
            walk->choices[i] = (Choice){ .how = bits >> i & 1 ? REACH_ALL : REACH_NONE };
        try_state(walk, at);
    }
}

static void try_by_chance(Walk *walk, uint64_t at)
{
    unsigned one = (unsigned) below(walk, walk->loose_count);

    switch (below(walk, 5)) {
    case 0: /* one, torn or not */
        choose_all(walk, REACH_NONE);
        walk->choices[one] = below(walk, 2) ? (Choice){ .how = REACH_ALL } : torn_choice(walk, walk->loose[one]);
        break;
    case 1: /* all but one */
        choose_all(walk, REACH_ALL);
        walk->choices[one] = below(walk, 2) ? (Choice){ .how = REACH_NONE } : torn_choice(walk, walk->loose[one]);
        break;
    case 2: /* the first few */
        for (unsigned i = 0; i < walk->loose_count; i++)
            walk->choices[i] = (Choice){ .how = i < one ? REACH_ALL : REACH_NONE };
        walk->choices[one] = torn_choice(walk, walk->loose[one]);
        break;
    case 3: /* the last few */
        for (unsigned i = 0; i < walk->loose_count; i++)
            walk->choices[i] = (Choice){ .how = i > one ? REACH_ALL : REACH_NONE };
        break;
    default:
        for (unsigned i = 0; i < walk->loose_count; i++)
            walk->choices[i] = torn_choice(walk, walk->loose[i]);
    }
    try_state(walk, at);
}

static void try_boundary(Walk *walk, uint64_t at)
{
    Explorer *explorer = walk->explorer;

    walk->seen_count = walk->tried = 0;
    walk->random = (explorer->seed ^ at * UINT64_C(0x9e3779b97f4a7c15)) | 1;
    explorer->boundaries++;
    choose_all(walk, REACH_NONE);
    try_state(walk, at);
    choose_all(walk, REACH_ALL);
    try_state(walk, at);
    if (walk->loose_count == 0)
        return;
    if (walk->loose_count <= SUBSETS_MAX && explorer->per_boundary >= 1u << SUBSETS_MAX)
        try_subsets(walk, at);
    for (unsigned i = 0; i < 4 * explorer->per_boundary && walk->tried < explorer->per_boundary; i++)
        try_by_chance(walk, at);
}

/* ---- the walk */

static void settle_loose(Walk *walk, const Event *sync)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < walk->loose_count; i++) {
        if (image_sync_covers(sync, walk->loose[i]))
            image_settle(walk->explorer->image, walk->loose[i]);
        else
            walk->loose[kept++] = walk->loose[i];
    }
    walk->loose_count = kept;
}

static bool covers_any(const Walk *walk, const Event *sync)
{
    for (unsigned i = 0; i < walk->loose_count; i++)
        if (image_sync_covers(sync, walk->loose[i]))
            return true;
    return false;
}

static bool overlap(const Event *a, const Event *b)
{
    return a->file == b->file && a->length > 0 && b->length > 0 && a->offset < b->offset + b->length &&
           b->offset < a->offset + a->length;
}

/* A write through O_DSYNC is durable, and what it wrote over is gone; other writes to the file are as loose as before. */
static void settle_synced_write(Walk *walk, const Event *event)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < walk->loose_count; i++) {
        if (walk->loose[i] == event || overlap(walk->loose[i], event))
            image_settle(walk->explorer->image, walk->loose[i]);
        else
            walk->loose[kept++] = walk->loose[i];
    }
    walk->loose_count = kept;
}

static void set_candidates(Walk *walk, const Model *first)
{
    Model copy = { 0 };

    model_copy(&copy, first);
    for (unsigned i = 0; i < walk->candidate_count; i++)
        model_clear(&walk->candidates[i]);
    walk->candidates[0] = copy;
    walk->candidate_count = 1;
}

static void begin_op(Walk *walk, const Event *event)
{
    Model outcomes[OUTCOMES_MAX] = { 0 };
    unsigned count;

    memcpy(&walk->op, event->data, sizeof walk->op);
    walk->ops_begun++;
    count = model_apply(&walk->candidates[0], &walk->op, outcomes);
    for (unsigned i = 0; i < count; i++)
        walk->candidates[1 + i] = outcomes[i];
    walk->candidate_count = 1 + count;
}

static void take_event(Walk *walk, const Event *event)
{
    switch ((EventKind) event->kind) {
    case EV_WRITE:
    case EV_WRITE_SYNCED:
    case EV_PUNCH:
    case EV_SIZE:
    case EV_CREATE:
    case EV_RENAME:
    case EV_UNLINK:
        g_assert(walk->loose_count < LOOSE_MAX);
        walk->loose[walk->loose_count++] = event;
        break;
    case EV_BEGIN:
        begin_op(walk, event);
        break;
    case EV_END:
        set_candidates(walk, &walk->candidates[walk->candidate_count - 1]);
        break;
    case EV_ABORTED:
    case EV_HALF:
        set_candidates(walk, &walk->candidates[event->kind == EV_HALF ? 1 : 0]);
        break;
    case EV_SEEN:
        model_see(&walk->candidates[0].luns[event->file], event->offset, event->data_bytes, event->data);
        break;
    default:
        break;
    }
}

static bool is_sync(const Event *event)
{
    return event->kind == EV_SYNC || event->kind == EV_SYNC_FOLDER;
}

/* Up to @end. */
static void walk_log(Walk *walk, uint64_t end, bool try)
{
    Explorer *explorer = walk->explorer;
    const Event *event;
    bool changed = true;

    for (uint64_t at = 0; at < end && (event = log_at(explorer->log, at)); at = log_behind(at, event)) {
        bool covers = is_sync(event) && covers_any(walk, event),
             wanted = try && walk->ops_begun >= explorer->skip_ops && at >= explorer->skip_bytes;

        if (!is_sync(event)) {
            take_event(walk, event);
            changed = true;
        }
        if ((covers || event->kind == EV_WRITE_SYNCED) && wanted && changed) {
            try_boundary(walk, at);
            changed = false;
        }
        if (covers)
            settle_loose(walk, event);
        if (event->kind == EV_WRITE_SYNCED)
            settle_synced_write(walk, event);
        changed |= covers || event->kind == EV_WRITE_SYNCED;
    }
    if (try)
        try_boundary(walk, end);
}

static void walk_begin(Walk *walk, Explorer *explorer)
{
    memset(walk, 0, sizeof *walk);
    walk->explorer = explorer;
    image_rewind(explorer->image);
    set_candidates(walk, explorer->start);
}

static void walk_end(Walk *walk)
{
    for (unsigned i = 0; i < walk->candidate_count; i++)
        model_clear(&walk->candidates[i]);
}

/* Make the chosen state again, and what it shows. */
static void go_to_chosen(Walk *walk, Explorer *explorer, Walk *again)
{
    const Event *event = log_at(explorer->log, walk->chosen_at);
    uint64_t end = event ? walk->chosen_at : explorer->log->used;

    walk_begin(again, explorer);
    walk_log(again, end, false);
    if (event && event->kind == EV_WRITE_SYNCED)
        take_event(again, event);
    g_assert(walk->chosen->len == again->loose_count * sizeof(Choice));
    if (walk->chosen->len > 0)
        memcpy(again->choices, walk->chosen->data, walk->chosen->len);
    for (unsigned pass = 0; pass < 2; pass++) {
        image_build(explorer->image, again->loose, again->choices, again->loose_count, false);
        if (pass == 0) {
            recover(again);
            model_clear(walk->ret_at);
            model_copy(walk->ret_at, &again->candidates[hold_against_model(again, &explorer->shown)]);
            model_adopt(walk->ret_at, &explorer->shown);
        }
    }
    walk_end(again);
}

void explore(Explorer *explorer, Model *ret_at)
{
    static Walk walk, again;

    explorer->in_recording = 0;
    walk_begin(&walk, explorer);
    walk.ret_at = ret_at;
    walk.pick = explorer->seed;
    walk.chosen = g_byte_array_new();
    walk_log(&walk, explorer->log->used, true);
    if (ret_at && walk.offered > 0)
        go_to_chosen(&walk, explorer, &again);
    g_byte_array_unref(walk.chosen);
    walk_end(&walk);
}

void explore_go_to_end(Explorer *explorer)
{
    static Walk walk;
    uint32_t next = 0;
    const Event *event;

    walk_begin(&walk, explorer);
    walk_log(&walk, explorer->log->used, false);
    choose_all(&walk, REACH_ALL);
    image_build(explorer->image, walk.loose, walk.choices, walk.loose_count, false);
    walk_end(&walk);
    for (uint64_t at = 0; (event = log_at(explorer->log, at)); at = log_behind(at, event))
        if (event->kind == EV_CREATE)
            next = MAX(next, event->file + 1);
    if (next > 0)
        recorder_next_file(next);
}

void explore_prove_log(Explorer *explorer)
{
    g_autofree char *why = NULL;
    const Event *event;

    image_rewind(explorer->image);
    for (uint64_t at = 0; (event = log_at(explorer->log, at)); at = log_behind(at, event))
        switch ((EventKind) event->kind) {
        case EV_WRITE:
        case EV_WRITE_SYNCED:
        case EV_PUNCH:
        case EV_SIZE:
        case EV_CREATE:
        case EV_RENAME:
        case EV_UNLINK:
            image_settle(explorer->image, event);
            break;
        default:
            break;
        }
    if (!image_matches_folder(explorer->image, &why)) {
        g_autofree char *text = g_strdup_printf("the recording is not complete: %s", why);

        explore_fail(text);
    }
    image_rewind(explorer->image);
}
