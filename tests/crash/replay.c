/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Crash replay: records workloads on a real pool, and tries the real recovery on what a power failure could have left at every
 * moment. Without options: what `make check` runs. TAP on stdout. explore.h says which states, model.h what they may show. */
#include "limits.h"
#include "recorder.h"
#include "sequences.h"
#include "share.h"
#include "util.h"

#include <errno.h>
#include <getopt.h>
#include <glib/gstdio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define LENGTH_MAX 4u
#define LEGS_MAX 100000u
#define STEPS_MAX 200u /* files of a recording are numbered */
#define SECONDS_MAX 864000u
#define STATES_MAX 1000u /* at a boundary */

/* ThreadSanitizer takes a tenth of a second for a state: one pool, few states. */
#define BASES_CHECKED (TEST_SHARE > 4 ? 1u : BASES)

typedef struct {
    uint64_t seed, base, length, part, of, legs, steps, state, per_boundary, seconds;
    const char *sequence, *recording;
    bool length_given;
} Options;

static const char usage_text[] =
    "usage: replay [OPTION]...\n"
    "  --sequence LETTERS      explore this one: w write, f flush, s snapshot, c clone, d discard, r restore, x "
    "remove,\n"
    "                          z resize, m move, k checkpoint, j journal wrap, n new LUN, e rename, g group snapshot,\n"
    "                          h refresh, p two writes at once, b a write beside a flush,\n"
    "                          O reopen, K kill\n"
    "  --length N              all sequences of N letters, 0 to 4, that wfscdrxzmkj make\n"
    "  --part K/N              of them each N-th, from the K-th (0-based) on\n"
    "  --random LEGS           long ones by chance: so many recordings, each from a crash of the one before\n"
    "  --steps N               ops of each, 1 to 200 (40)\n"
    "  --base N                begin with pool 0, 1 or 2, see work.h (0)\n"
    "  --states N              at most so many states at a boundary, 1 to 1000 (8)\n"
    "  --seconds N             begin no recording later than that\n"
    "  --recording FILE        what a failure stored\n"
    "  --state N               this state of it alone\n"
    "Environment: VV_MODEL_SEED (1): what is chosen by chance.\n";

static void refuse(const char *what, const char *value)
{
    fprintf(stderr, "replay: %s: %s\n%s", what, value, usage_text);
    exit(2);
}

static uint64_t number_of(const char *option, const char *text, uint64_t least, uint64_t most)
{
    guint64 value;

    if (!g_ascii_string_to_unsigned(text, 10, least, most, &value, NULL)) {
        g_autofree char *what =
            g_strdup_printf("%s takes a number from %" G_GUINT64_FORMAT " to %" G_GUINT64_FORMAT, option, least, most);

        refuse(what, text);
    }
    return value;
}

static void parse_part(const char *text, Options *options)
{
    g_auto(GStrv) halves = g_strsplit(text, "/", 3);

    if (g_strv_length(halves) != 2)
        refuse("--part takes K/N", text);
    options->of = number_of("--part", halves[1], 1, 1u << 20);
    options->part = number_of("--part", halves[0], 0, options->of - 1);
}

static void check_letters(const char *text)
{
    static const char known[] = OPS_RANDOM;

    if (!*text || strlen(text) > STEPS_MAX || strspn(text, known) != strlen(text))
        refuse("--sequence takes 1 to 200 letters of the list", text);
}

static void parse_options(int argc, char **argv, Options *options)
{
    static const struct option known[] = {
        { "sequence", required_argument, NULL, 'q' },
        { "length", required_argument, NULL, 'l' },
        { "part", required_argument, NULL, 'p' },
        { "random", required_argument, NULL, 'r' },
        { "steps", required_argument, NULL, 's' },
        { "base", required_argument, NULL, 'b' },
        { "states", required_argument, NULL, 'n' },
        { "recording", required_argument, NULL, 'f' },
        { "state", required_argument, NULL, 'i' },
        { "tap", no_argument, NULL, 't' },
        { "seconds", required_argument, NULL, 'd' },
        { "help", no_argument, NULL, 'h' },
        { NULL, 0, NULL, 0 },
    };
    const char *seed = g_getenv("VV_MODEL_SEED");
    int option;

    while ((option = getopt_long(argc, argv, "", known, NULL)) != -1)
        switch (option) {
        case 'q':
            check_letters(optarg);
            options->sequence = optarg;
            break;
        case 'l':
            options->length = number_of("--length", optarg, 0, LENGTH_MAX);
            options->length_given = true;
            break;
        case 'p':
            parse_part(optarg, options);
            break;
        case 'r':
            options->legs = number_of("--random", optarg, 1, LEGS_MAX);
            break;
        case 's':
            options->steps = number_of("--steps", optarg, 1, STEPS_MAX);
            break;
        case 'b':
            options->base = number_of("--base", optarg, 0, BASES - 1);
            break;
        case 'n':
            options->per_boundary = number_of("--states", optarg, 1, STATES_MAX);
            break;
        case 'f':
            options->recording = optarg;
            break;
        case 'i':
            options->state = number_of("--state", optarg, 1, UINT64_MAX);
            break;
        case 'd':
            options->seconds = number_of("--seconds", optarg, 1, SECONDS_MAX);
            break;
        case 't':
            break;
        case 'h':
            fputs(usage_text, stdout);
            exit(0);
        default:
            fputs(usage_text, stderr);
            exit(2);
        }
    if (optind < argc)
        refuse("takes no such argument", argv[optind]);
    options->seed = seed ? number_of("VV_MODEL_SEED", seed, 1, UINT64_MAX) : 1;
}

/* ---- running */

static unsigned test_number;

static void passed(Explorer *explorer, const char *what, uint64_t *states, uint64_t *boundaries, uint64_t began_ms)
{
    printf("ok %u - %s: %" G_GUINT64_FORMAT " states at %" G_GUINT64_FORMAT " boundaries, %" G_GUINT64_FORMAT " ms\n",
        ++test_number, what, explorer->states - *states, explorer->boundaries - *boundaries,
        vv_monotonic_ms() - began_ms);
    fflush(stdout);
    *states = explorer->states;
    *boundaries = explorer->boundaries;
}

/* What was found once: the base, the letters.
 *   1 wKfw  in-place writes of a process that died were read by the next, and not covered by its flushes */
static const struct {
    unsigned base;
    const char *letters;
} found[] = { { 1, "wKfw" } };

/* Two at once, each on one of the pools: what both were acknowledged with is kept by a flush, a snapshot, a kill. The seed chooses ranges, of which
 * half meet. */
static const char *const pairs[] = { "ppfpbf", "pfpbpf", "pspbf", "ppKppf", "bpkpbf", "fpppO", "pdpfb", "spppf", "pppfjpf" };

static void run_found(Explorer *explorer, unsigned base)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(found); i++)
        if (found[i].base == base)
            sequence_explore(explorer, base, found[i].letters, false, true);
}

/* Of the sequences of two ops a sixth on each pool, which the seed chooses; crash-soak does all, and longer ones. */
static void run_check(Explorer *explorer)
{
    uint64_t states = 0, boundaries = 0, began_ms;

    explorer->per_boundary = TEST_SHARE > 1 ? 2 : 4;
    printf("1..%u\n", 3 * BASES_CHECKED);
    for (unsigned number = 1; number <= BASES_CHECKED; number++) {
        unsigned base = number % BASES;
        g_autofree char *what = g_strdup_printf("sequences of up to 2 ops on pool %u", base);

        began_ms = vv_monotonic_ms();
        sequences_begin_base(explorer, base);
        run_found(explorer, base);
        sequences_explore_all(explorer, base, 0, 0, 1);
        sequences_explore_all(explorer, base, 1, 0, 1);
        sequences_explore_all(explorer, base, 2, (explorer->seed + base) % 8, 8 * TEST_SHARE);
        passed(explorer, what, &states, &boundaries, began_ms);
    }
    for (unsigned number = 1; number <= BASES_CHECKED; number++) {
        unsigned base = number % BASES;
        g_autofree char *what = g_strdup_printf("two writers on pool %u", base);

        began_ms = vv_monotonic_ms();
        sequences_begin_base(explorer, base);
        for (unsigned i = base; i < MAX(G_N_ELEMENTS(pairs) / TEST_SHARE, BASES); i += BASES)
            sequence_explore(explorer, base, pairs[i], false, i % 2 == 0);
        passed(explorer, what, &states, &boundaries, began_ms);
    }
    for (unsigned number = 1; number <= BASES_CHECKED; number++) {
        unsigned base = number % BASES;
        g_autofree char *what = g_strdup_printf("a long one on pool %u", base);

        began_ms = vv_monotonic_ms();
        sequences_begin_base(explorer, base);
        sequences_explore_random(explorer, base, 1, TEST_SHARE > 1 ? 8 : 25);
        passed(explorer, what, &states, &boundaries, began_ms);
    }
}

static void run_recording(Explorer *explorer, const Options *options)
{
    RecordingHeader header;

    if (!log_load(options->recording, &header, explorer->scratch, explorer->log)) {
        explore_remove_folder(explorer);
        exit(2);
    }
    explorer->seed = header.seed;
    explorer->per_boundary = header.per_boundary;
    explorer->skip_ops = header.skip_ops;
    explorer->skip_bytes = header.skip_bytes;
    explorer->only_state = options->state;
    g_free(explorer->about);
    explorer->about = g_strdup("a recording");
    if (!image_load(explorer->image, explorer->scratch) || !model_load(explorer->start, explorer->scratch)) {
        fprintf(stderr, "replay: %s: is damaged\n", options->recording);
        explore_remove_folder(explorer);
        exit(2);
    }
    explore_watch(explorer);
    explore(explorer, NULL);
    printf("1..1\nok 1 - %" G_GUINT64_FORMAT " states\n", explorer->states);
}

static void run_options(Explorer *explorer, const Options *options)
{
    uint64_t states = 0, boundaries = 0, began_ms = vv_monotonic_ms();
    const char *what = "what was asked for";

    explorer->deadline_ms = options->seconds ? began_ms + options->seconds * 1000 : 0;
    printf("1..1\n");
    sequences_begin_base(explorer, (unsigned) options->base);
    if (options->sequence) {
        sequence_explore(explorer, (unsigned) options->base, options->sequence, false, true);
    } else if (options->legs) {
        sequences_explore_random(
            explorer, (unsigned) options->base, (unsigned) options->legs, (unsigned) options->steps);
    } else {
        sequences_explore_all(
            explorer, (unsigned) options->base, (unsigned) options->length, options->part, options->of);
    }
    passed(explorer, what, &states, &boundaries, began_ms);
}

int main(int argc, char **argv)
{
    Options options = { .of = 1, .steps = 40, .per_boundary = 8 };
    static Model start;
    static Explorer explorer = { .start = &start };
    char folder[] = "/dev/shm/vv-crash-XXXXXX";

    parse_options(argc, argv, &options);
    if (!g_file_test("/dev/shm", G_FILE_TEST_IS_DIR) || !g_mkdtemp(folder)) {
        printf("1..0 # SKIP no /dev/shm\n");
        return 0;
    }
    g_autofree char *pool = g_strdup_printf("%s/pool", folder);

    g_assert(g_mkdir(pool, 0700) == 0);
    recorder_init(pool);
    explorer.folder = folder;
    explorer.image = image_new(folder);
    explorer.log = log_new();
    explorer.scratch = log_new();
    explorer.seed = options.seed;
    explorer.per_boundary = (unsigned) options.per_boundary;
    explorer.about = g_strdup("nothing yet");
    explore_watch(&explorer);
    printf("# VV_MODEL_SEED=%" G_GUINT64_FORMAT "\n", options.seed);
    if (options.recording)
        run_recording(&explorer, &options);
    else if (options.sequence || options.legs || options.length_given)
        run_options(&explorer, &options);
    else
        run_check(&explorer);
    model_clear(&start);
    shown_free(&explorer.shown);
    g_free(explorer.about);
    image_free(explorer.image);
    explore_remove_folder(&explorer);
    return 0;
}
