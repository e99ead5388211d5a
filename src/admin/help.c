/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the table says of itself: look-ups, synopses, help texts, hints for words that it does not have. */
#include <stdio.h>
#include <string.h>

#include "loop.h"
#include "nouns.h"

#define HELP_WIDTH 100

const char *vv_alias_resolve(const char *word)
{
    for (const VvWordPair *pair = vv_aliases; pair->from; pair++)
        if (strcmp(pair->from, word) == 0)
            return pair->to;
    return word;
}

const VvCommand *vv_command_lookup(const char *noun, const char *verb)
{
    for (const VvCommand *c = vv_commands; c->noun; c++)
        if (strcmp(c->noun, noun) == 0 && g_strcmp0(c->verb, verb) == 0)
            return c;
    return NULL;
}

bool vv_noun_exists(const char *noun)
{
    for (const VvCommand *c = vv_commands; c->noun; c++)
        if (strcmp(c->noun, noun) == 0)
            return true;
    return false;
}

char *vv_command_name(const VvCommand *command)
{
    return command->verb ? g_strdup_printf("%s %s", command->noun, command->verb) : g_strdup(command->noun);
}

const VvOption *vv_command_option(const VvCommand *command, unsigned index, bool all)
{
    const VvOption *groups[] = { command->options, command->flags & VV_COMMAND_LIST ? vv_list_options : NULL,
        command->flags & VV_COMMAND_BACKGROUND ? vv_background_options : NULL };
    unsigned at = 0;

    for (unsigned g = 0; g < G_N_ELEMENTS(groups); g++) {
        for (unsigned i = 0; groups[g] && (g > 0 || i < VV_OPTIONS_MAX); i++) {
            const VvOption *option = &groups[g][i];

            if (!option->name && !option->letter)
                break;
            if ((all || !(option->flags & VV_UNSUPPORTED)) && at++ == index)
                return option;
        }
    }
    return NULL;
}

static char *option_text(const VvOption *option)
{
    g_autofree char *word =
        option->name ? g_strdup_printf("--%s", option->name) : g_strdup_printf("-%c", option->letter);

    return option->metavar ? g_strdup_printf("%s %s", word, option->metavar) : g_steal_pointer(&word);
}

char *vv_command_synopsis(const VvCommand *command)
{
    GString *out = g_string_new(command->noun);
    const VvOption *option;

    if (command->verb)
        g_string_append_printf(out, " %s", command->verb);
    for (unsigned i = 0; i < VV_ARGUMENTS_MAX && command->arguments[i].name; i++) {
        const VvArgument *a = &command->arguments[i];
        bool optional = a->flags & VV_OPTIONAL;

        g_string_append_printf(
            out, " %s%s%s%s", optional ? "[" : "", a->name, a->flags & VV_MANY ? "..." : "", optional ? "]" : "");
    }
    for (unsigned i = 0; (option = vv_command_option(command, i, false)); i++) {
        g_autofree char *text = option_text(option);

        g_string_append_printf(out, " [%s]%s", text, option->flags & VV_MANY ? "..." : "");
    }
    return g_string_free(out, FALSE);
}

/* ---- unknown words */

/* Levenshtein's distance; words of the table are short. */
static unsigned distance(const char *a, const char *b)
{
    unsigned row[40];
    size_t width = strlen(b);

    if (width >= G_N_ELEMENTS(row))
        return G_MAXUINT;
    for (unsigned j = 0; j <= width; j++)
        row[j] = j;
    for (unsigned i = 0; a[i]; i++) {
        unsigned corner = row[0];

        row[0] = i + 1;
        for (unsigned j = 0; j < width; j++) {
            unsigned above = row[j + 1];
            unsigned change = corner + (a[i] != b[j]);

            row[j + 1] = MIN(MIN(above, row[j]) + 1, change);
            corner = above;
        }
    }
    return row[width];
}

/* Is @word, at distance @d from @known, likely a slip of the fingers? One letter in a short word, two in a long one. */
static bool is_slip(unsigned d, const char *known)
{
    return d <= (strlen(known) < 5 ? 1u : 2u);
}

/* The verb of @noun that somebody may have meant, or NULL. */
static const char *guess_verb(const char *noun, const char *word)
{
    const char *best = NULL;
    unsigned best_distance = G_MAXUINT;

    for (const VvWordPair *pair = vv_other_words; pair->from; pair++)
        if (strcmp(pair->from, word) == 0 && vv_command_lookup(noun, pair->to))
            return pair->to;
    for (const VvCommand *c = vv_commands; c->noun; c++) {
        unsigned d = c->verb && strcmp(c->noun, noun) == 0 ? distance(word, c->verb) : G_MAXUINT;

        if (d < best_distance && is_slip(d, c->verb)) {
            best = c->verb;
            best_distance = d;
        }
    }
    return best;
}

static const char *guess_noun(const char *word)
{
    const char *best = NULL;
    unsigned best_distance = G_MAXUINT;

    for (const VvWordPair *pair = vv_other_words; pair->from; pair++)
        if (strcmp(pair->from, word) == 0 && vv_noun_exists(pair->to))
            return pair->to;
    for (const VvCommand *c = vv_commands; c->noun; c++) {
        unsigned d = distance(word, c->noun);

        if (d < best_distance && is_slip(d, c->noun)) {
            best = c->noun;
            best_distance = d;
        }
    }
    return best;
}

static const VvReserved *find_reserved(const char *noun, const char *verb)
{
    for (const VvReserved *r = vv_reserved; r->noun; r++)
        if (strcmp(r->noun, noun) == 0 && (!r->verb || g_strcmp0(r->verb, verb) == 0))
            return r;
    return NULL;
}

static void set_error_noun(GError **error, const char *noun, const char *verb)
{
    const char *guess = guess_noun(noun);
    g_autofree char *hint = NULL;

    if (verb && vv_command_lookup(verb, noun)) /* "create lun" */
        hint = g_strdup_printf("`%s %s`", verb, noun);
    for (const VvCommand *c = vv_commands; c->noun && !hint; c++)
        if (g_strcmp0(c->verb, noun) == 0) /* "status" */
            hint = g_strdup_printf("`%s %s`", c->noun, c->verb);
    if (!hint && guess)
        hint = g_strdup_printf("`%s`", guess);
    vv_set_error(error, VV_ERROR_USAGE, noun, hint ? hint : "vvfs-admin help", "no noun `%s`", noun);
}

void vv_set_error_unknown(GError **error, const char *noun, const char *verb)
{
    const VvReserved *reserved = find_reserved(noun, verb);
    const char *guess;
    g_autofree char *hint = NULL;

    if (reserved) {
        g_autofree char *name = verb ? g_strdup_printf("%s %s", noun, verb) : g_strdup(noun);

        vv_set_error(error, VV_ERROR_UNSUPPORTED, name, NULL, "not in this version: %s", name);
        return;
    }
    if (!vv_noun_exists(noun)) {
        set_error_noun(error, noun, verb);
        return;
    }
    if (!verb) {
        hint = g_strdup_printf("vvfs-admin help %s", noun);
        vv_set_error(error, VV_ERROR_USAGE, noun, hint, "%s needs a verb", noun);
        return;
    }
    guess = guess_verb(noun, verb);
    if (guess) {
        hint = g_strdup_printf("`%s`", guess);
        vv_set_error(error, VV_ERROR_USAGE, verb, hint, "no verb `%s`", verb);
        return;
    }
    hint = g_strdup_printf("vvfs-admin help %s", noun);
    vv_set_error(error, VV_ERROR_USAGE, verb, hint, "no verb `%s` for %s", verb, noun);
}

/* ---- help */

/* @text in lines of at most HELP_WIDTH, each after @indent blanks. */
static void print_wrapped(const char *text, unsigned indent)
{
    g_auto(GStrv) words = g_strsplit(text, " ", -1);
    size_t column = 0;

    for (char **word = words; *word; word++) {
        if (column > 0 && column + 1 + strlen(*word) > HELP_WIDTH) {
            putchar('\n');
            column = 0;
        }
        column += (size_t) (column == 0 ? printf("%*s%s", (int) indent, "", *word) : printf(" %s", *word));
    }
    putchar('\n');
}

static void print_option(const VvOption *option)
{
    g_autofree char *text = option_text(option);
    g_autofree char *all =
        option->name && option->letter ? g_strdup_printf("-%c, %s", option->letter, text) : g_strdup(text);

    printf("  %-22s  %s\n", all, option->help);
}

static void print_command(const VvCommand *command)
{
    g_autofree char *name = vv_command_name(command);
    g_autofree char *synopsis = vv_command_synopsis(command);
    const VvOption *option;

    printf("vvfs-admin %s: %s\n\n", name, command->help);
    print_wrapped(synopsis, 2);
    if (command->text) {
        putchar('\n');
        print_wrapped(command->text, 0);
    }
    if (vv_command_option(command, 0, false))
        puts("\nOptions:");
    for (unsigned i = 0; (option = vv_command_option(command, i, false)); i++)
        print_option(option);
    if (command->columns && command->flags & VV_COMMAND_LIST) {
        fputs("\nColumns:", stdout);
        for (const VvColumn *column = command->columns; column->key; column++)
            printf(column->shown ? " %s" : " (%s)", column->key);
        putchar('\n');
    }
    if (command->examples) {
        g_auto(GStrv) lines = g_strsplit(command->examples, "\n", -1);

        puts("\nExamples:");
        for (char **line = lines; *line; line++)
            printf("  %s\n", *line);
    }
    puts("\nOptions of every command: vvfs-admin help");
}

static void print_noun(const char *noun)
{
    for (const VvWordPair *pair = vv_noun_help; pair->from; pair++)
        if (strcmp(pair->from, noun) == 0)
            printf("vvfs-admin %s: %s\n\n", noun, pair->to);
    for (const VvCommand *c = vv_commands; c->noun; c++) {
        g_autofree char *name = strcmp(c->noun, noun) == 0 ? vv_command_name(c) : NULL;

        if (name)
            printf("  %-18s  %s\n", name, c->help);
    }
    printf("\nMore: vvfs-admin help %s VERB\n", noun);
}

static void print_all(void)
{
    const char *noun = "";

    puts("vvfs-admin [OPTION...] NOUN VERB [ARGUMENT...]");
    for (const VvCommand *c = vv_commands; c->noun; c++) {
        g_autofree char *name = vv_command_name(c);

        if (strcmp(noun, c->noun) != 0 && (c->verb || strcmp(c->noun, "stats") == 0))
            putchar('\n');
        noun = c->noun;
        printf("  %-18s  %s\n", name, c->help);
    }
    puts("\nOptions, anywhere on the line; `--` ends them:");
    for (const VvOption *option = vv_global_options; option->name; option++)
        print_option(option);
    puts("\nExit: 0 done, 1 refused or failed, 2 usage, 3 no daemon or quorum, 4 timed out, 5 looked and found "
         "something wrong.\n"
         "Short words: ls = list, rm = remove, mv = rename, snap = snapshot. More: vvfs-admin help NOUN [VERB], "
         "vvfs-admin(8)");
}

bool vv_help_print(const VvInvocation *inv, const char *noun, const char *verb, GError **error)
{
    const VvCommand *command;

    noun = noun ? vv_alias_resolve(noun) : NULL;
    verb = verb ? vv_alias_resolve(verb) : NULL;
    command = noun ? vv_command_lookup(noun, verb) : NULL;
    if (noun && !command && (verb || !vv_noun_exists(noun))) {
        vv_set_error_unknown(error, noun, verb);
        return false;
    }
    if (inv->json)
        vv_help_print_json(noun, verb);
    else if (command)
        print_command(command);
    else if (noun)
        print_noun(noun);
    else
        print_all();
    return true;
}

/* What other programs read as it is is no document. */
static bool refuse_json(const VvInvocation *inv, GError **error)
{
    static const char *const texts[] = { "completion", "udev-link", "mdoc-synopsis", "mdoc-list" };

    for (unsigned i = 0; inv->json && i < G_N_ELEMENTS(texts); i++) {
        g_autofree char *option = vv_option(inv, texts[i]) ? g_strdup_printf("--%s", texts[i]) : NULL;

        if (!option)
            continue;
        vv_set_error(error, VV_ERROR_USAGE, option, NULL, "help %s prints text for another program: it has no --json", option);
        return true;
    }
    return false;
}

bool vv_run_help(VvInvocation *inv, G_GNUC_UNUSED int *ret_exit, GError **error)
{
    const char *noun = inv->words->len > 0 ? g_ptr_array_index(inv->words, 0) : NULL;
    const char *verb = inv->words->len > 1 ? g_ptr_array_index(inv->words, 1) : NULL;
    const char *shell = vv_option(inv, "completion");
    const char *device = vv_option(inv, "udev-link");

    if (refuse_json(inv, error))
        return false;
    if (shell)
        return vv_completion_print(shell, error);
    if (device)
        return vv_loop_print_link(device, error);
    if (vv_option(inv, "mdoc-synopsis") || vv_option(inv, "mdoc-list")) {
        vv_mdoc_print(noun, vv_option(inv, "mdoc-list"));
        return true;
    }
    return vv_help_print(inv, noun, verb, error);
}
