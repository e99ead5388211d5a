/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Scripts from seeds, and shorter ones that fail too. */
#include "script.h"

#include <stdio.h>
#include <stdlib.h>

#define REPLAYS_MAX 400u /* when shortening: each is a whole walk */

static uint64_t next(uint64_t *random)
{
    *random += 0x9E3779B97F4A7C15ull;
    uint64_t z = *random;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ z >> 27) * 0x94D049BB133111EBull;
    return z ^ z >> 31;
}

static GArray *make_script(const SimWalk *walk, uint64_t seed, unsigned count)
{
    GArray *steps = g_array_new(FALSE, FALSE, sizeof(SimStep));
    g_autofree uint64_t *weights = g_new(uint64_t, walk->actions);
    uint64_t random = seed * 7919 + 17, total = 0, time_ms = 0;

    /* Each walk likes some actions more than others: corners that an even mix hardly reaches. */
    for (unsigned i = 0; i < walk->actions; i++) {
        static const uint64_t likings[] = { 1, 4, 4, 4, 4, 16 };

        weights[i] = walk->weights[i] * likings[next(&random) % G_N_ELEMENTS(likings)];
        total += weights[i];
    }
    for (unsigned i = 0; i < count; i++) {
        SimStep step = { 0 };
        uint64_t pick = next(&random) % total;

        time_ms += next(&random) % (2 * walk->step_ms + 1);
        step.time_ms = time_ms;
        while (pick >= weights[step.action])
            pick -= weights[step.action++];
        step.a = next(&random) >> 16;
        step.b = next(&random) >> 16;
        g_array_append_val(steps, step);
    }
    return steps;
}

/* Leave out runs of steps, shorter and shorter ones, as long as the walk still fails, however. */
static void shorten(const SimWalk *walk, SimFinding *finding)
{
    unsigned replays = 0;

    for (guint width = MAX(finding->steps->len / 2, 1); replays < REPLAYS_MAX; width /= 2) {
        for (guint at = 0; at + width <= finding->steps->len && replays < REPLAYS_MAX;) {
            g_autoptr(GArray) rest = g_array_new(FALSE, FALSE, sizeof(SimStep));
            uint64_t events;
            char *violation;

            g_array_append_vals(rest, finding->steps->data, at);
            g_array_append_vals(rest, &g_array_index(finding->steps, SimStep, at + width), finding->steps->len - at - width);
            violation = walk->run(finding->seed, (const SimStep *) (void *) rest->data, rest->len, false, walk->user, &events);
            replays++;
            if (violation) {
                g_free(finding->violation);
                finding->violation = violation;
                g_array_set_size(finding->steps, 0);
                g_array_append_vals(finding->steps, rest->data, rest->len);
            } else {
                at += width;
            }
        }
        if (width <= 1)
            break;
    }
}

SimFinding *sim_walk(const SimWalk *walk, uint64_t first, unsigned runs, unsigned steps, bool shortened)
{
    SimFinding *finding = g_new0(SimFinding, 1);

    for (unsigned i = 0; (walk->events ? finding->events < walk->events : i < runs) && !finding->violation; i++) {
        g_autoptr(GArray) script = make_script(walk, first + i, steps);
        uint64_t events = 0;

        finding->seed = first + i;
        finding->violation = walk->run(finding->seed, (const SimStep *) (void *) script->data, script->len, false, walk->user, &events);
        finding->walks++;
        finding->events += events;
        if (finding->violation) {
            finding->steps = g_steal_pointer(&script);
            if (shortened)
                shorten(walk, finding);
        }
    }
    return finding;
}

void sim_finding_free(SimFinding *finding)
{
    if (!finding)
        return;
    g_free(finding->violation);
    if (finding->steps)
        g_array_free(finding->steps, TRUE);
    g_free(finding);
}

char *sim_finding_text(const SimWalk *walk, const SimFinding *finding)
{
    GString *text = g_string_new(NULL);

    g_string_append_printf(text, "# %s: seed %" G_GUINT64_FORMAT ": %s; %u steps do it:\n", walk->name, finding->seed, finding->violation,
        finding->steps->len);
    for (guint i = 0; i < finding->steps->len; i++) {
        const SimStep *step = &g_array_index(finding->steps, SimStep, i);

        g_string_append_printf(text, "#   %6" G_GUINT64_FORMAT " ms %s %" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT "\n", step->time_ms,
            walk->names[step->action], step->a % 1000, step->b % 1000);
    }
    return g_string_free(text, FALSE);
}

void sim_finding_print(const SimWalk *walk, const SimFinding *finding)
{
    g_autofree char *text = sim_finding_text(walk, finding);
    uint64_t events;

    fputs(text, stdout);
    if (getenv("VV_SIM_VERBOSE")) {
        g_autofree char *again =
            walk->run(finding->seed, (const SimStep *) (void *) finding->steps->data, finding->steps->len, true, walk->user, &events);

        g_assert_nonnull(again);
    }
}

static uint64_t setting(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);

    return text && *text ? strtoull(text, NULL, 10) : otherwise;
}

void sim_walk_test(const SimWalk *given, unsigned runs, unsigned steps)
{
    SimWalk copy = *given, *walk = &copy;
    bool one = getenv("VV_MODEL_SEED") != NULL;
    g_autoptr(SimFinding) finding = NULL;

    copy.events = one ? 0 : setting("VV_SIM_EVENTS", 0);
    finding = sim_walk(walk, setting("VV_MODEL_SEED", setting("VV_SIM_FIRST", 1)), one ? 1 : (unsigned) setting("VV_MODEL_RUNS", runs),
        (unsigned) setting("VV_MODEL_STEPS", steps), true);

    g_test_message("%s: %" G_GUINT64_FORMAT " walks, %" G_GUINT64_FORMAT " events", walk->name, finding->walks, finding->events);
    if (finding->violation) {
        sim_finding_print(walk, finding);
        g_test_fail_printf("%s: seed %" G_GUINT64_FORMAT ": %s", walk->name, finding->seed, finding->violation);
    }
}
