/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "sequences.h"

#include "recorder.h"
#include "util.h"

#include <glib/gstdio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct {
    Explorer *explorer;
    const char *letters;
    Chance chance;
    Model model;         /* of this process */
    bool after_kill;     /* what LUNs show is looked at first */
    const Op *under_way; /* when it was killed; NULL: none */
} Session;

/* ---- in the recorded process */

static void note_op(EventKind kind, const Op *op)
{
    recorder_note(kind, NO_FILE, op, sizeof *op);
}

static void apply_to(Model *model, const Op *op)
{
    Model outcomes[OUTCOMES_MAX] = { 0 };
    unsigned count = model_apply(model, op, outcomes);

    model_clear(model);
    *model = outcomes[count - 1];
    if (count > 1)
        model_clear(&outcomes[0]);
}

/* The first of several outcomes. */
static void apply_half(Model *model, const Op *op)
{
    Model outcomes[OUTCOMES_MAX] = { 0 };
    unsigned count = model_apply(model, op, outcomes);

    model_clear(model);
    *model = outcomes[0];
    if (count > 1)
        model_clear(&outcomes[1]);
}

/* After a kill the kernel's cache decides what LUNs show, after two writes at once who was last; only what differs from what was expected is noted. */
static void note_seen(Session *session, const Shown *shown)
{
    for (unsigned i = 0; i < shown->count; i++) {
        const ShownObject *object = &shown->objects[i];
        ModelLun *lun = object->snapshot[0] ? NULL : model_lun(&session->model, object->lun);

        for (uint64_t at = 0; lun && at < object->size; at += 4096) {
            uint64_t bytes = MIN(4096, object->size - at);

            if (memcmp(model_bytes(lun->bytes) + at, object->bytes + at, bytes) == 0)
                continue;
            recorder_note(EV_SEEN, (uint32_t) (lun - session->model.luns), object->bytes + at, bytes)->offset = at;
            model_see(lun, at, bytes, object->bytes + at);
        }
    }
}

/* What was under way has happened if the pool shows it. */
static void settle_under_way(Session *session, const Shown *shown)
{
    Model outcomes[OUTCOMES_MAX] = { 0 };
    unsigned count = model_apply(&session->model, session->under_way, outcomes), which = count;
    g_autofree char *why = NULL;

    while (which > 0 && !model_allows(&outcomes[which - 1], shown, &why)) {
        g_clear_pointer(&why, g_free);
        which--;
    }
    if (which == count) {
        model_clear(&session->model);
        model_copy(&session->model, &outcomes[count - 1]);
        note_op(EV_END, session->under_way);
    } else {
        if (which > 0) { /* half: its sizes and names are the old ones, and bytes are noted like those of any kill */
            model_clear(&session->model);
            model_copy(&session->model, &outcomes[0]);
        }
        note_op(which > 0 ? EV_HALF : EV_ABORTED, session->under_way);
    }
    for (unsigned i = 0; i < count; i++)
        model_clear(&outcomes[i]);
}

static void look_after_kill(Session *session, VvPool *pool)
{
    g_autofree char *why = NULL;

    work_look(pool, &session->explorer->shown);
    if (session->under_way)
        settle_under_way(session, &session->explorer->shown);
    if (!model_allows(&session->model, &session->explorer->shown, &why)) {
        g_autofree char *text = g_strdup_printf("after a kill: %s", why);

        explore_fail(text);
    }
    note_seen(session, &session->explorer->shown);
}

/* Which of two writes a sector shows is what both were acknowledged with. */
static void look_after_pair(Session *session, VvPool *pool)
{
    g_autofree char *why = NULL;

    work_look(pool, &session->explorer->shown);
    if (!model_allows(&session->model, &session->explorer->shown, &why)) {
        g_autofree char *text = g_strdup_printf("after two writes at once: %s", why);

        explore_fail(text);
    }
    note_seen(session, &session->explorer->shown);
}

/* Ops up to the next reopening, kill or the end; @close: what then. */
static void run_session(Session *session, bool close)
{
    g_autoptr(GError) error = NULL;
    VvPool *pool;
    Op op;

    recorder_start(session->explorer->log, true);
    pool = vv_pool_open(image_pool(session->explorer->image), NULL, &error);
    if (!pool)
        explore_fail(error->message);
    if (session->after_kill)
        look_after_kill(session, pool);
    for (const char *letter = session->letters; *letter && *letter != OP_REOPEN && *letter != OP_KILL; letter++) {
        if (!work_choose(&session->model, *letter, &session->chance, &op))
            continue;
        note_op(EV_BEGIN, &op);
        work_do(pool, &op);
        note_op(EV_END, &op);
        apply_to(&session->model, &op);
        if (op.kind == OP_PAIR)
            look_after_pair(session, pool);
    }
    if (!close)
        recorder_die();
    vv_pool_close(pool);
    recorder_note(EV_CLOSED, NO_FILE, NULL, 0);
    _exit(0);
}

/* ---- in this one */

/* What the log says of the model, since @from. */
static void follow(Session *session, uint64_t from)
{
    const Log *log = session->explorer->log;
    const Event *event;
    Op op;

    for (uint64_t at = from; (event = log_at(log, at)); at = log_behind(at, event)) {
        if (event->kind == EV_SEEN)
            model_see(&session->model.luns[event->file], event->offset, event->data_bytes, event->data);
        if (event->kind != EV_END && event->kind != EV_HALF)
            continue;
        memcpy(&op, event->data, sizeof op);
        if (event->kind == EV_END)
            apply_to(&session->model, &op);
        else
            apply_half(&session->model, &op);
    }
}

/* The same choices as the session made: ops are chosen again. */
static void skip_choices(Session *session, const Model *before)
{
    Model model = { 0 };
    Op op;

    model_copy(&model, before);
    for (; *session->letters && *session->letters != OP_REOPEN && *session->letters != OP_KILL; session->letters++)
        if (work_choose(&model, *session->letters, &session->chance, &op))
            apply_to(&model, &op);
    model_clear(&model);
}

static void fork_session(Session *session, bool close)
{
    uint64_t from = session->explorer->log->used;
    Model before = { 0 };
    pid_t child;
    int status;

    fflush(NULL);
    child = fork();
    g_assert(child >= 0);
    if (child == 0)
        run_session(session, close);
    g_assert(waitpid(child, &status, 0) == child);
    recorder_stop();
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        explore_fail("a recorded process failed");
    model_copy(&before, &session->model);
    follow(session, from);
    skip_choices(session, &before);
    model_clear(&before);
}

static void run_sessions(Session *session, bool close)
{
    char end;

    do {
        end = session->letters[strcspn(session->letters, "OK")];
        fork_session(session, end ? end == OP_REOPEN : close);
        session->after_kill = end == OP_KILL;
        session->under_way = NULL;
        session->letters += end != '\0';
    } while (end);
}

static void record(Explorer *explorer, const char *letters, Chance chance, bool close)
{
    Session session = { .explorer = explorer, .letters = letters, .chance = chance };

    log_clear(explorer->log);
    explorer->skip_ops = explorer->skip_bytes = 0;
    image_rewind(explorer->image);
    image_build(explorer->image, NULL, NULL, 0, false);
    model_copy(&session.model, explorer->start);
    run_sessions(&session, close);
    model_clear(&session.model);
}

/* The process of the recording was killed at some moment, and what the kernel had of it is there, durable or not; others go on. */
static void record_from_kill(Explorer *explorer, const char *letters, Chance chance)
{
    Session session = { .explorer = explorer, .letters = letters, .chance = chance, .after_kill = true };
    const Event *event;
    Op under_way;

    log_cut(explorer->log, chance_below(&session.chance, explorer->log->count));
    log_add(explorer->log, EV_KILLED, NO_FILE, NULL, 0);
    explorer->skip_bytes = explorer->log->used;
    explore_go_to_end(explorer);
    model_copy(&session.model, explorer->start);
    follow(&session, 0);
    for (uint64_t at = 0; (event = log_at(explorer->log, at)); at = log_behind(at, event)) {
        if (event->kind == EV_BEGIN) {
            memcpy(&under_way, event->data, sizeof under_way);
            session.under_way = &under_way;
        } else if (event->kind == EV_END || event->kind == EV_ABORTED || event->kind == EV_HALF) {
            session.under_way = NULL;
        }
    }
    run_sessions(&session, chance_below(&session.chance, 2) == 0);
    model_clear(&session.model);
}

/* ---- bases */

void sequences_begin_base(Explorer *explorer, unsigned base)
{
    const char *pool = image_pool(explorer->image);
    pid_t child;
    int status;

    g_autofree char *remove = g_strdup_printf("rm -rf %s", pool);

    g_assert(g_spawn_command_line_sync(remove, NULL, NULL, NULL, NULL));
    log_clear(explorer->scratch);
    fflush(NULL);
    child = fork();
    g_assert(child >= 0);
    if (child == 0)
        work_make_base(base, pool, explorer->scratch);
    g_assert(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    image_take(explorer->image);
    g_assert(model_load(explorer->start, explorer->scratch));
}

/* ---- one */

static void set_about(Explorer *explorer, char *about)
{
    g_free(explorer->about);
    explorer->about = about;
    explore_watch(explorer);
}

static Chance chance_of(const Explorer *explorer, const char *letters)
{
    Chance chance = { .random = explorer->seed };

    for (; *letters; letters++)
        chance.random = (chance.random ^ (uint8_t) *letters) * UINT64_C(1099511628211);
    chance.random |= 1;
    chance_below(&chance, 1);
    return chance;
}

static unsigned count_ops(const Log *log)
{
    const Event *event;
    unsigned count = 0;

    for (uint64_t at = 0; (event = log_at(log, at)); at = log_behind(at, event))
        count += event->kind == EV_BEGIN;
    return count;
}

/* The ops of a sequence are those of its beginning, and one more: so they are chosen by what all share. */
void sequence_explore(Explorer *explorer, unsigned base, const char *letters, bool only_last, bool close)
{
    set_about(
        explorer, g_strdup_printf("VV_MODEL_SEED=%" G_GUINT64_FORMAT " tests/crash/replay --base %u --sequence %s",
                      explorer->seed, base, letters));

    record(explorer, letters, chance_of(explorer, ""), close);
    explore_prove_log(explorer);
    explorer->skip_ops = only_last ? count_ops(explorer->log) : 0;
    explore(explorer, NULL);
}

static bool is_late(const Explorer *explorer)
{
    return explorer->deadline_ms > 0 && vv_monotonic_ms() >= explorer->deadline_ms;
}

void sequences_explore_all(Explorer *explorer, unsigned base, unsigned length, uint64_t part, uint64_t of)
{
    uint64_t count = 1, letters = strlen(OPS_EXHAUSTIVE);
    char text[16] = "";

    for (unsigned i = 0; i < length; i++)
        count *= letters;
    for (uint64_t number = part; number < count && !is_late(explorer); number += of) {
        uint64_t rest = number;

        for (unsigned i = 0; i < length; i++, rest /= letters)
            text[i] = OPS_EXHAUSTIVE[rest % letters];
        sequence_explore(explorer, base, text, length > 0, number / of % 4 == 0);
    }
}

/* ---- long ones */

static void choose_letters(char *letters, unsigned steps, Chance *chance)
{
    for (unsigned i = 0; i < steps; i++)
        letters[i] = OPS_RANDOM[chance_below(chance, strlen(OPS_RANDOM))];
    letters[steps] = '\0';
    chance->serial += 1000; /* more than a recording uses */
}

void sequences_explore_random(Explorer *explorer, unsigned base, unsigned legs, unsigned steps)
{
    g_autofree char *letters = g_malloc0(steps + 1);
    Chance chance = chance_of(explorer, "random");

    for (unsigned leg = 0; leg < legs && !is_late(explorer); leg++) {
        choose_letters(letters, steps, &chance);
        set_about(explorer, g_strdup_printf("VV_MODEL_SEED=%" G_GUINT64_FORMAT
                                            " tests/crash/replay --base %u --random %u --steps %u (leg %u: %s)",
                                explorer->seed, base, legs, steps, leg + 1, letters));
        record(explorer, letters, chance, chance_below(&chance, 2) == 0);
        explore_prove_log(explorer);
        explore(explorer, NULL);
        choose_letters(letters, steps / 2, &chance);
        record_from_kill(explorer, letters, chance);
        explore_prove_log(explorer);
        explore(explorer, explorer->start);
        image_take(explorer->image);
    }
}
