/* SPDX-License-Identifier: GPL-2.0-or-later */
/* argv -> VvInvocation, going by the table.
 *
 * Options may stand anywhere, so a first pass sorts words from options before it is known which command it is: whether
 * an option takes a value is therefore the same in every command (a test checks it). The second pass checks them
 * against the command, and turns options and words into the params of the protocol. */
#include <math.h>
#include <string.h>

#include "call.h"
#include "command.h"
#include "limits.h"
#include "util.h"

/* An option as it was typed. */
typedef struct {
    const char *name;  /* without dashes; of a letter: that letter */
    char letter;       /* 0: a long one */
    const char *value; /* NULL: none */
    char *owned_name;
} Given;

static void given_free(Given *given)
{
    g_free(given->owned_name);
    g_free(given);
}

static bool matches(const VvOption *option, const char *name, char letter)
{
    return letter ? option->letter == letter : option->name && strcmp(option->name, name) == 0;
}

static const VvOption *find_in(const VvOption *options, const char *name, char letter)
{
    for (; options->name || options->letter; options++)
        if (matches(options, name, letter))
            return options;
    return NULL;
}

/* Any option of any command. */
static const VvOption *find_anywhere(const char *name, char letter)
{
    const VvOption *option = find_in(vv_global_options, name, letter);

    for (const VvCommand *c = vv_commands; c->noun && !option; c++)
        for (unsigned i = 0; (option = vv_command_option(c, i, true)); i++)
            if (matches(option, name, letter))
                break;
    return option;
}

static const VvOption *find_for(const VvCommand *command, const char *name, char letter)
{
    const VvOption *option;

    for (unsigned i = 0; (option = vv_command_option(command, i, true)); i++)
        if (matches(option, name, letter))
            return option;
    return find_in(vv_global_options, name, letter);
}

static const char *option_key(const VvOption *option)
{
    static const char letters[][2] = { "o", "H", "b" };

    if (option->name)
        return option->name;
    for (unsigned i = 0; i < G_N_ELEMENTS(letters); i++)
        if (letters[i][0] == option->letter)
            return letters[i];
    g_assert_not_reached();
}

/* One long option, "--name" or "--name=value"; takes the next word as its value if it has one. */
static bool sort_long(const char *text, int argc, char **argv, int *at, GPtrArray *given, GError **error)
{
    const char *equals = strchr(text, '=');
    Given *g = g_new0(Given, 1);
    const VvOption *option;

    g->owned_name = equals ? g_strndup(text, (gsize) (equals - text)) : g_strdup(text);
    g->name = g->owned_name;
    g_ptr_array_add(given, g);
    option = find_anywhere(g->name, 0);
    if (equals)
        g->value = equals + 1;
    else if (option && option->metavar && *at + 1 < argc)
        g->value = argv[++*at];
    if (option && option->metavar && !g->value) {
        vv_set_error(
            error, VV_ERROR_USAGE, text, NULL, "option `--%s` needs a value: %s", option->name, option->metavar);
        return false;
    }
    if (option && !option->metavar && g->value) {
        vv_set_error(error, VV_ERROR_USAGE, text, NULL, "option `--%s` takes no value", option->name);
        return false;
    }
    return true;
}

/* A cluster of letters, "-Hb", "-oname" or "-o name". */
static bool sort_letters(const char *text, int argc, char **argv, int *at, GPtrArray *given, GError **error)
{
    for (; *text; text++) {
        Given *g = g_new0(Given, 1);
        const VvOption *option = find_anywhere(NULL, *text);

        g->letter = *text;
        g->owned_name = g_strndup(text, 1);
        g->name = g->owned_name;
        g_ptr_array_add(given, g);
        if (!option || !option->metavar)
            continue;
        g->value = text[1] ? text + 1 : *at + 1 < argc ? argv[++*at] : NULL;
        if (!g->value) {
            vv_set_error(
                error, VV_ERROR_USAGE, g->name, NULL, "option `-%c` needs a value: %s", *text, option->metavar);
            return false;
        }
        return true;
    }
    return true;
}

/* First pass: words to @inv->words, options to @given. */
static bool sort_words(VvInvocation *inv, int argc, char **argv, GPtrArray *given, GError **error)
{
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i];
        bool ok = true;

        if (strcmp(word, "--") == 0) {
            while (++i < argc)
                g_ptr_array_add(inv->words, argv[i]);
        } else if (g_str_has_prefix(word, "--")) {
            ok = sort_long(word + 2, argc, argv, &i, given, error);
        } else if (word[0] == '-' && word[1]) {
            ok = sort_letters(word + 1, argc, argv, &i, given, error);
        } else {
            g_ptr_array_add(inv->words, (gpointer) word);
        }
        if (!ok)
            return false;
    }
    return true;
}

bool vv_seconds_parse(const char *text, uint64_t *ret_ms, GError **error)
{
    char *end = NULL;
    double seconds = g_ascii_strtod(text, &end);

    if (end == text || *end || !isfinite(seconds) || seconds <= 0 || seconds > 1e9) {
        vv_set_error(
            error, VV_ERROR_USAGE, text, NULL, "`%s` is no number of seconds: more than 0, such as 10 or 0.5", text);
        return false;
    }
    *ret_ms = MAX((uint64_t) (seconds * 1000), 1);
    return true;
}

static bool count_parse(const char *text, const char *what, int64_t *ret_count, GError **error)
{
    guint64 count;

    if (!g_ascii_string_to_unsigned(text, 10, 1, G_MAXINT64, &count, NULL)) {
        vv_set_error(error, VV_ERROR_USAGE, text, NULL, "%s is a whole number from 1: `%s` is not", what, text);
        return false;
    }
    *ret_count = (int64_t) count;
    return true;
}

/* A name, UUID or path of a disk; a path is made absolute. */
static char *absolute_path(const char *text)
{
    return vv_is_address(text) ? g_strdup(text) : g_canonicalize_filename(text, NULL);
}

/* Not an address of a kind that is unknown: "./a://b" is a path. */
static bool path_check(const char *text, GError **error)
{
    const char *scheme_end = strstr(text, "://");

    if (vv_is_address(text) || !scheme_end || strcspn(text, "/") < (size_t) (scheme_end - text))
        return true;
    vv_set_error(error, VV_ERROR_USAGE, text, NULL, "%s is neither a path nor an address that begins with nbd:// or nbd+unix://", text);
    return false;
}

static bool snapshot_check(const char *text, bool pattern, GError **error)
{
    g_autofree char *lun = NULL;
    g_autofree char *snapshot = NULL;

    if (!strchr(text, '@')) {
        vv_set_error(error, VV_ERROR_USAGE, text, NULL, "`%s` names no snapshot: write %s@SNAP", text, text);
        return false;
    }
    return vv_name_split(text, pattern, &lun, &snapshot, error);
}

/* @text checked as @type says, to a JSON node; NULL and @error. */
static JsonNode *value_node(VvValueType type, const char *text, const char *what, GError **error)
{
    JsonNode *node = json_node_new(JSON_NODE_VALUE);
    g_autofree char *path = NULL;
    uint64_t bytes;
    int64_t count;
    bool ok = true;

    switch (type) {
    case VV_VALUE_FLAG:
        json_node_set_boolean(node, TRUE);
        return node;
    case VV_VALUE_SIZE:
    case VV_VALUE_LUN_SIZE:
    case VV_VALUE_RESIZE:
        ok = vv_size_parse(text, type == VV_VALUE_SIZE ? 0 : VV_SECTOR_BYTES, &bytes, error);
        if (ok)
            json_node_set_int(node, (gint64) bytes);
        break;
    case VV_VALUE_COUNT:
    case VV_VALUE_JOB:
        ok = count_parse(text, what, &count, error);
        if (ok)
            json_node_set_int(node, count);
        break;
    case VV_VALUE_LUN:
        ok = vv_name_check(text, "LUN", error);
        break;
    case VV_VALUE_SNAPSHOT:
    case VV_VALUE_PATTERN:
        ok = snapshot_check(text, type == VV_VALUE_PATTERN, error);
        break;
    case VV_VALUE_OBJECT:
        ok = strchr(text, '@') ? snapshot_check(text, false, error) : vv_name_check(text, "LUN", error);
        break;
    case VV_VALUE_PATH:
        ok = path_check(text, error);
        path = absolute_path(text);
        break;
    case VV_VALUE_DISK:
        path = strchr(text, '/') ? absolute_path(text) : NULL;
        break;
    case VV_VALUE_TEXT:
    case VV_VALUE_SECONDS:
    case VV_VALUE_SETTING:
        break;
    }
    if (ok && !g_utf8_validate(text, -1, NULL)) {
        vv_set_error(error, VV_ERROR_USAGE, NULL, NULL, "%s is not UTF-8", what);
        ok = false;
    }
    if (!ok) {
        json_node_free(node);
        return NULL;
    }
    if (JSON_NODE_HOLDS_VALUE(node) && json_node_get_value_type(node) == G_TYPE_INVALID)
        json_node_set_string(node, path ? path : text);
    return node;
}

static bool add_setting(JsonObject *params, const char *param, const char *text, GError **error)
{
    const char *equals = strchr(text, '=');
    g_autofree char *key = NULL;
    JsonObject *settings;

    if (!equals || equals == text) {
        vv_set_error(error, VV_ERROR_USAGE, text, NULL, "`%s` is no setting: write KEY=VALUE", text);
        return false;
    }
    if (!g_utf8_validate(text, -1, NULL)) {
        vv_set_error(error, VV_ERROR_USAGE, NULL, NULL, "KEY=VALUE is not UTF-8");
        return false;
    }
    if (!json_object_has_member(params, param))
        json_object_set_object_member(params, param, json_object_new());
    settings = json_object_get_object_member(params, param);
    key = g_strndup(text, (gsize) (equals - text));
    if (json_object_has_member(settings, key)) {
        vv_set_error(error, VV_ERROR_USAGE, key, NULL, "setting `%s` is given twice", key);
        return false;
    }
    json_object_set_string_member(settings, key, equals + 1);
    return true;
}

/* Set or append @text as member @param. */
static bool add_param(JsonObject *params, const char *param, VvValueType type, bool many, const char *text,
    const char *what, GError **error)
{
    JsonNode *node;

    if (type == VV_VALUE_SETTING)
        return add_setting(params, param, text, error);
    if (type == VV_VALUE_RESIZE && text[0] == '+') {
        param = "grow_by";
        text++;
    }
    node = value_node(type, text, what, error);
    if (!node)
        return false;
    if (!many) {
        json_object_set_member(params, param, node);
        return true;
    }
    if (!json_object_has_member(params, param))
        json_object_set_array_member(params, param, json_array_new());
    json_array_add_element(json_object_get_array_member(params, param), node);
    return true;
}

static bool take_global(VvInvocation *inv, const char *name, const char *value, GError **error)
{
    if (strcmp(name, "pool") == 0)
        inv->pool = value;
    else if (strcmp(name, "id") == 0)
        inv->id = value;
    else if (strcmp(name, "yes") == 0)
        inv->yes = true;
    else if (strcmp(name, "dry-run") == 0)
        inv->dry_run = true;
    else if (strcmp(name, "help") == 0)
        inv->help = true;
    else if (strcmp(name, "background") == 0)
        inv->background = true;
    else if (strcmp(name, "timeout") == 0)
        return vv_seconds_parse(value, &inv->timeout_ms, error);
    if (strcmp(name, "color") != 0)
        return true;
    if (strcmp(value, "always") == 0)
        inv->color = VV_COLOR_ALWAYS;
    else if (strcmp(value, "never") == 0)
        inv->color = VV_COLOR_NEVER;
    else if (strcmp(value, "auto") != 0) {
        vv_set_error(error, VV_ERROR_USAGE, value, NULL, "--color is auto, always or never, not `%s`", value);
        return false;
    }
    return true;
}

/* A,B,...: an empty value is a variable that was not set, and must not stand for "all". */
static bool take_list(VvInvocation *inv, const VvOption *option, const char *value, const char *what, GError **error)
{
    g_auto(GStrv) parts = g_strsplit(value, ",", -1);

    for (unsigned i = 0; i == 0 || parts[i]; i++) {
        if (!parts[i] || !*parts[i]) {
            vv_set_error(
                error, VV_ERROR_USAGE, what, NULL, "option `%s` takes %s, not \"%s\"", what, option->metavar, value);
            return false;
        }
        if (!add_param(inv->params, option->param, option->type, true, parts[i], what, error))
            return false;
    }
    return true;
}

static bool take_option(VvInvocation *inv, const Given *given, GError **error)
{
    const VvCommand *command = inv->command;
    const VvOption *option = find_for(command, given->name, given->letter);
    g_autofree char *name = vv_command_name(command);
    g_autofree char *hint = g_strdup_printf("vvfs-admin help %s", name);
    g_autofree char *what = g_strdup_printf(given->letter ? "-%s" : "--%s", given->name);
    const char *key;

    if (!option) {
        vv_set_error(error, VV_ERROR_USAGE, what, hint, "no option `%s` for %s", what, name);
        return false;
    }
    if (option->flags & VV_UNSUPPORTED) {
        if (strcmp(what, "--form") == 0 && given->value && strcmp(given->value, "row") == 0)
            return true;
        vv_set_error(error, VV_ERROR_UNSUPPORTED, what, NULL, "not in this version: %s %s", name, what);
        return false;
    }
    key = option_key(option);
    if (g_hash_table_contains(inv->options, key) && option->metavar && !(option->flags & VV_MANY)) {
        vv_set_error(error, VV_ERROR_USAGE, what, NULL, "option `%s` is given twice", what);
        return false;
    }
    g_hash_table_insert(inv->options, (gpointer) key, (gpointer) (given->value ? given->value : ""));
    if (!option->param)
        return take_global(inv, key, given->value, error);
    if (option->flags & VV_COMMAS)
        return take_list(inv, option, given->value, what, error);
    return add_param(inv->params, option->param, option->type, option->flags & VV_MANY,
        given->value ? given->value : "", what, error);
}

/* The daemon takes no more names in one request. */
static bool check_many(const char *command, const char *what, guint count, GError **error)
{
    g_autofree char *hint = NULL;

    if (count <= VV_OBJECTS_PER_COMMAND)
        return true;
    hint = g_strdup_printf("Split them: `xargs -r -n %u vvfs-admin %s`.", VV_OBJECTS_PER_COMMAND, command);
    vv_set_error(error, VV_ERROR_LIMIT, command, hint, "%s takes at most %u %s in one command, not %u", command,
        VV_OBJECTS_PER_COMMAND, what, count);
    return false;
}

/* Second pass over the words that follow noun and verb. */
static bool take_words(VvInvocation *inv, GError **error)
{
    const VvArgument *arguments = inv->command->arguments;
    g_autofree char *name = vv_command_name(inv->command);
    g_autofree char *synopsis = vv_command_synopsis(inv->command);
    g_autofree char *usage = g_strdup_printf("vvfs-admin %s", synopsis);
    unsigned at = 0;

    for (unsigned i = 0; i < VV_ARGUMENTS_MAX && arguments[i].name; i++) {
        const VvArgument *argument = &arguments[i];
        bool many = argument->flags & VV_MANY;

        if (at == inv->words->len && !(argument->flags & VV_OPTIONAL)) {
            vv_set_error(error, VV_ERROR_USAGE, NULL, usage, "%s needs %s", name, argument->name);
            return false;
        }
        if (many && !check_many(name, argument->name, inv->words->len - at, error))
            return false;
        for (bool first = true; at < inv->words->len && (first || many); first = false, at++)
            if (argument->param && !add_param(inv->params, argument->param, argument->type, many,
                                       g_ptr_array_index(inv->words, at), argument->name, error))
                return false;
    }
    if (at < inv->words->len) {
        const char *extra = g_ptr_array_index(inv->words, at);

        vv_set_error(error, VV_ERROR_USAGE, extra, usage, "`%s` is one argument too many for %s", extra, name);
        return false;
    }
    return true;
}

/* What @noun does when its verb is left out, or NULL. */
static const VvCommand *short_form(const char *noun)
{
    for (const VvWordPair *pair = vv_short_forms; pair->from; pair++)
        if (strcmp(pair->from, noun) == 0)
            return vv_command_lookup(noun, pair->to);
    return NULL;
}

/* Noun and verb are the first one or two words; they are taken from @inv->words. */
static bool take_command(VvInvocation *inv, bool wants_version, GError **error)
{
    const char *noun = inv->words->len > 0 ? vv_alias_resolve(g_ptr_array_index(inv->words, 0)) : NULL;
    const char *verb = inv->words->len > 1 ? vv_alias_resolve(g_ptr_array_index(inv->words, 1)) : NULL;

    if (!noun) {
        if (inv->help)
            return true;
        if (wants_version)
            vv_set_error(error, VV_ERROR_USAGE, NULL, "vvfs-admin version", "--version is a command here");
        else
            vv_set_error(error, VV_ERROR_USAGE, NULL, "vvfs-admin help",
                "what shall be done? vvfs-admin NOUN VERB [ARGUMENT...]");
        return false;
    }
    inv->command = vv_command_lookup(noun, NULL);
    if (inv->command) {
        g_ptr_array_remove_index(inv->words, 0);
        return true;
    }
    if (vv_noun_exists(noun) && !verb && inv->help)
        return true;
    inv->command = verb ? vv_command_lookup(noun, verb) : NULL;
    if (!inv->command && inv->words->len > 2 && strchr(g_ptr_array_index(inv->words, 2), '=') && (inv->command = short_form(noun))) {
        g_ptr_array_remove_index(inv->words, 0);
        return true;
    }
    if (!inv->command) {
        vv_set_error_unknown(error, vv_noun_exists(noun) ? noun : g_ptr_array_index(inv->words, 0), verb);
        return false;
    }
    g_ptr_array_remove_range(inv->words, 0, 2);
    return true;
}

static bool check_common(VvInvocation *inv, GError **error)
{
    const VvCommand *command = inv->command;
    g_autofree char *name = vv_command_name(command);

    if (inv->dry_run && !(command->flags & VV_COMMAND_DRY_RUN)) {
        vv_set_error(error, VV_ERROR_USAGE, "--dry-run", NULL, "%s has no dry run: nothing was changed", name);
        return false;
    }
    if (inv->id && (!*inv->id || strlen(inv->id) > VV_NAME_BYTES_MAX || !g_utf8_validate(inv->id, -1, NULL))) {
        vv_set_error(error, VV_ERROR_USAGE, inv->id, NULL, "--id has 1 to %u bytes of text", VV_NAME_BYTES_MAX);
        return false;
    }
    return true;
}

bool vv_parse(VvInvocation *inv, int argc, char **argv, GError **error)
{
    g_autoptr(GPtrArray) given = g_ptr_array_new_with_free_func((GDestroyNotify) given_free);
    const char *pool = g_getenv("VVFS_POOL");
    bool sorted, wants_version = false;

    inv->params = json_object_new();
    inv->options = g_hash_table_new(g_str_hash, g_str_equal);
    inv->words = g_ptr_array_new();
    inv->started_ms = vv_monotonic_ms();
    inv->pool = pool && *pool ? pool : NULL;
    sorted = sort_words(inv, argc, argv, given, error);
    for (unsigned i = 0; i < given->len; i++) { /* first, so that every later failure is told as was asked */
        const Given *g = g_ptr_array_index(given, i);

        inv->json |= strcmp(g->name, "json") == 0;
        inv->quiet |= strcmp(g->name, "quiet") == 0;
        inv->help |= strcmp(g->name, "help") == 0 || g->letter == 'h';
        wants_version |= strcmp(g->name, "version") == 0 || g->letter == 'V';
    }
    if (!sorted || !take_command(inv, wants_version, error))
        return false;
    if (inv->help)
        return true;
    for (unsigned i = 0; i < given->len; i++)
        if (!take_option(inv, g_ptr_array_index(given, i), error))
            return false;
    return take_words(inv, error) && check_common(inv, error);
}

void vv_invocation_clear(VvInvocation *inv)
{
    g_clear_pointer(&inv->params, json_object_unref);
    g_clear_pointer(&inv->options, g_hash_table_unref);
    g_clear_pointer(&inv->words, g_ptr_array_unref);
    g_clear_pointer(&inv->client, vv_client_free);
    g_clear_pointer(&inv->place, vv_place_free);
}

const char *vv_option(const VvInvocation *inv, const char *name)
{
    return g_hash_table_lookup(inv->options, name);
}
