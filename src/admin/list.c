/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Items as tables (-o -H -b --sort --match), and one object as KEY VALUE lines. */
#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

#include "nouns.h"
#include "util.h"

#define COLUMNS_MAX 32

/* How cells are written: for people, or for scripts. */
typedef struct {
    bool script; /* -H */
    bool bytes;  /* -b, or -H */
} Style;

/* What was asked for with -o, --sort and --match. */
typedef struct {
    const VvColumn *columns[COLUMNS_MAX]; /* borrowed from the table */
    unsigned count;
    const VvColumn *sort; /* NULL: as they came */
    bool descending;
    const char *match; /* NULL: all */
    Style style;
} Layout;

/* ---- cells */

static void append_text(GString *out, JsonNode *node)
{
    JsonObjectIter iter;
    const char *key;
    JsonNode *member;
    JsonArray *array;
    bool first = true;

    if (JSON_NODE_HOLDS_NULL(node)) {
        g_string_append_c(out, '-');
    } else if (JSON_NODE_HOLDS_ARRAY(node)) {
        array = json_node_get_array(node);
        for (unsigned i = 0; i < json_array_get_length(array); i++) {
            g_string_append(out, i > 0 ? "," : "");
            append_text(out, json_array_get_element(array, i));
        }
        if (json_array_get_length(array) == 0)
            g_string_append_c(out, '-');
    } else if (JSON_NODE_HOLDS_OBJECT(node)) {
        json_object_iter_init_ordered(&iter, json_node_get_object(node));
        for (; json_object_iter_next_ordered(&iter, &key, &member); first = false) {
            g_string_append_printf(out, "%s%s=", first ? "" : ",", key);
            append_text(out, member);
        }
        if (first)
            g_string_append_c(out, '-');
    } else if (json_node_get_value_type(node) == G_TYPE_STRING) {
        g_autofree char *clean = vv_clean(json_node_get_string(node));

        g_string_append(out, *clean ? clean : "-");
    } else if (json_node_get_value_type(node) == G_TYPE_BOOLEAN) {
        g_string_append(out, json_node_get_boolean(node) ? "yes" : "no");
    } else {
        vv_json_append(out, node);
    }
}

static void append_number(GString *out, VvShowType type, double number, uint64_t whole, Style style)
{
    g_autofree char *text = NULL;

    if (type == VV_SHOW_SECONDS && !style.script)
        text = vv_span_text(number);
    else if ((type == VV_SHOW_SIZE || type == VV_SHOW_RATE) && !style.bytes)
        text = vv_size_format(whole);
    else
        text = g_strdup_printf("%" G_GUINT64_FORMAT, whole);
    g_string_append(out, text);
    if (type == VV_SHOW_RATE && !style.bytes)
        g_string_append(out, "/s");
}

/* The cell of @item in a column, newly allocated. */
static char *cell(JsonObject *item, const char *key, VvShowType type, Style style)
{
    GString *out = g_string_new(NULL);
    JsonNode *node = json_object_get_member(item, key);
    g_autofree char *key_ns = g_strdup_printf("%s_ns", key);
    bool is_size = type == VV_SHOW_SIZE;

    if (type == VV_SHOW_TIME && vv_json_is_number(item, key_ns)) {
        uint64_t ns = vv_json_u64(item, key_ns);
        g_autofree char *text =
            style.script ? g_strdup_printf("%" G_GUINT64_FORMAT, ns / 1000000000u) : vv_time_format_local(ns);

        g_string_append(out, text);
    } else if (!node) {
        g_string_append_c(out, '-');
    } else if (vv_json_is_number(item, key) && type != VV_SHOW_TEXT && type != VV_SHOW_TIME) {
        append_number(out, type, vv_json_double(item, key), vv_json_u64(item, key), style);
    } else if (type == VV_SHOW_KEEP && g_strcmp0(vv_json_text(item, key), "off") == 0 && !style.script) {
        g_string_append_c(out, '-');
    } else if (is_size && JSON_NODE_HOLDS_NULL(node) && !style.script) {
        g_string_append_c(out, '?'); /* being counted */
    } else {
        append_text(out, node);
    }
    return g_string_free(out, FALSE);
}

static bool to_the_right(VvShowType type)
{
    return type == VV_SHOW_SIZE || type == VV_SHOW_COUNT || type == VV_SHOW_RATE || type == VV_SHOW_SECONDS;
}

/* ---- options */

static const VvColumn *find_column(const VvCommand *command, const char *key, GError **error)
{
    g_autoptr(GString) all = g_string_new(NULL);

    for (const VvColumn *column = command->columns; column->key; column++) {
        if (strcmp(column->key, key) == 0)
            return column;
        g_string_append_printf(all, "%s%s", all->len > 0 ? " " : "", column->key);
    }
    vv_set_error(error, VV_ERROR_USAGE, key, all->str, "no column `%s`, there are", key);
    return NULL;
}

/* -o: "a,b" names the columns, "+a" adds to those that are shown without. */
static bool choose_columns(const VvCommand *command, const char *text, Layout *layout, GError **error)
{
    g_auto(GStrv) keys = g_strsplit(text ? text : "", ",", -1);
    bool adds = !text || text[0] == '+';

    for (const VvColumn *column = command->columns; adds && column->key; column++)
        if (column->shown)
            layout->columns[layout->count++] = column;
    if (text && !*text) {
        vv_set_error(error, VV_ERROR_USAGE, "-o", NULL, "option `-o` needs the name of a column");
        return false;
    }
    for (char **key = keys; text && *key; key++) {
        const VvColumn *column = find_column(command, **key == '+' ? *key + 1 : *key, error);

        if (!column)
            return false;
        if (layout->count == COLUMNS_MAX) {
            vv_set_error(error, VV_ERROR_USAGE, NULL, NULL, "at most %d columns", COLUMNS_MAX);
            return false;
        }
        layout->columns[layout->count++] = column;
    }
    return true;
}

static bool read_layout(const VvInvocation *inv, Layout *layout, GError **error)
{
    const char *sort = vv_option(inv, "sort");

    memset(layout, 0, sizeof *layout);
    layout->style.script = vv_option(inv, "H") != NULL;
    layout->style.bytes = layout->style.script || vv_option(inv, "b");
    layout->match = vv_option(inv, "match");
    if (!choose_columns(inv->command, vv_option(inv, "o"), layout, error))
        return false;
    if (!sort)
        return true;
    layout->descending = sort[0] == '-';
    layout->sort = find_column(inv->command, layout->descending ? sort + 1 : sort, error);
    return layout->sort;
}

bool vv_list_check(const VvInvocation *inv, GError **error)
{
    Layout layout;

    return read_layout(inv, &layout, error);
}

/* Sorting by what is not counted yet would put the wrong object first. */
void vv_list_need_exact(VvInvocation *inv)
{
    const char *sort = vv_option(inv, "sort");

    if (sort && strcmp(sort[0] == '-' ? sort + 1 : sort, "exclusive") == 0 && !vv_option(inv, "exact")) {
        g_hash_table_insert(inv->options, (gpointer) "exact", (gpointer) "");
        json_object_set_boolean_member(inv->params, "exact", TRUE);
    }
}

/* ---- sorting and choosing */

static int compare_keys(JsonObject *a, JsonObject *b, const char *key)
{
    if (vv_json_is_number(a, key) || vv_json_is_number(b, key)) {
        double x = vv_json_double(a, key);
        double y = vv_json_double(b, key);

        if (vv_json_is_number(a, key) != vv_json_is_number(b, key)) /* unknown is less than all */
            return vv_json_is_number(a, key) ? 1 : -1;
        if ((x < 0 || y < 0) || (x < 9e15 && y < 9e15))
            return (x > y) - (x < y);
        return (vv_json_u64(a, key) > vv_json_u64(b, key)) - (vv_json_u64(a, key) < vv_json_u64(b, key));
    }
    return g_strcmp0(vv_json_text(a, key), vv_json_text(b, key));
}

static int compare_items(const void *a, const void *b, void *data)
{
    const Layout *layout = data;
    int result = compare_keys(*(JsonObject *const *) a, *(JsonObject *const *) b, layout->sort->key);

    return layout->descending ? -result : result;
}

/* Does --match match what the item is called? */
static bool is_wanted(JsonObject *item, const Layout *layout, const VvCommand *command)
{
    const char *name = vv_json_text(item, "object");

    if (!layout->match)
        return true;
    if (!name)
        name = vv_json_text(item, command->columns[0].key);
    return name && fnmatch(layout->match, name, 0) == 0;
}

static GPtrArray *chosen_items(const VvInvocation *inv, JsonArray *items, Layout *layout)
{
    GPtrArray *chosen = g_ptr_array_new();

    for (unsigned i = 0; i < json_array_get_length(items); i++) {
        JsonObject *item = vv_json_element(items, i);

        if (item && is_wanted(item, layout, inv->command))
            g_ptr_array_add(chosen, item);
    }
    if (layout->sort) /* stable */
        g_ptr_array_sort_with_data(chosen, compare_items, layout);
    return chosen;
}

/* ---- printing */

static void print_json(GPtrArray *items)
{
    g_autoptr(JsonArray) array = json_array_new();

    for (unsigned i = 0; i < items->len; i++)
        json_array_add_object_element(array, json_object_ref(g_ptr_array_index(items, i)));
    vv_json_print_array(array);
}

static void print_for_scripts(GPtrArray *items, const Layout *layout)
{
    for (unsigned i = 0; i < items->len; i++) {
        for (unsigned c = 0; c < layout->count; c++) {
            g_autofree char *text =
                cell(g_ptr_array_index(items, i), layout->columns[c]->key, layout->columns[c]->type, layout->style);

            printf("%s%s", c > 0 ? "\t" : "", text);
        }
        putchar('\n');
    }
}

static void print_row(char **cells, const Layout *layout, const size_t *widths)
{
    g_autoptr(GString) line = g_string_new(NULL);

    for (unsigned c = 0; c < layout->count; c++) {
        size_t length = (size_t) g_utf8_strlen(cells[c], -1);

        if (c > 0)
            g_string_append(line, "  ");
        for (; to_the_right(layout->columns[c]->type) && length < widths[c]; length++)
            g_string_append_c(line, ' ');
        vv_pad_append(line, cells[c], to_the_right(layout->columns[c]->type) ? 0 : widths[c]);
    }
    while (line->len > 0 && line->str[line->len - 1] == ' ')
        g_string_truncate(line, line->len - 1);
    puts(line->str);
}

static void print_for_people(GPtrArray *items, const Layout *layout)
{
    g_autoptr(GPtrArray) rows = g_ptr_array_new_with_free_func((GDestroyNotify) g_strfreev);
    size_t widths[COLUMNS_MAX] = { 0 };

    for (unsigned i = 0; i <= items->len; i++) {
        char **cells = g_new0(char *, layout->count + 1);

        for (unsigned c = 0; c < layout->count; c++) {
            const VvColumn *column = layout->columns[c];

            cells[c] = i == 0 ? g_ascii_strup(column->key, -1)
                              : cell(g_ptr_array_index(items, i - 1), column->key, column->type, layout->style);
            widths[c] = MAX(widths[c], (size_t) g_utf8_strlen(cells[c], -1));
        }
        g_ptr_array_add(rows, cells);
    }
    for (unsigned i = 0; i < rows->len; i++)
        print_row(g_ptr_array_index(rows, i), layout, widths);
}

bool vv_list_print(const VvInvocation *inv, JsonArray *items, GError **error)
{
    g_autoptr(GPtrArray) chosen = NULL;
    Layout layout;

    if (!read_layout(inv, &layout, error))
        return false;
    chosen = chosen_items(inv, items, &layout);
    if (inv->json)
        print_json(chosen);
    else if (layout.style.script)
        print_for_scripts(chosen, &layout);
    else
        print_for_people(chosen, &layout);
    return true;
}

/* ---- one object */

static VvShowType type_of(const VvCommand *command, const char *key)
{
    for (const VvColumn *column = command->columns; column && column->key; column++)
        if (strcmp(column->key, key) == 0)
            return column->type;
    return VV_SHOW_TEXT;
}

/* A list of objects (openers): one line each, below the key. */
static bool print_objects(const char *key, JsonNode *node)
{
    JsonArray *array = JSON_NODE_HOLDS_ARRAY(node) ? json_node_get_array(node) : NULL;

    if (!array || json_array_get_length(array) == 0 || !vv_json_element(array, 0))
        return false;
    for (unsigned i = 0; i < json_array_get_length(array); i++) {
        g_autoptr(GString) text = g_string_new(NULL);

        append_text(text, json_array_get_element(array, i));
        printf("%-14s  %s\n", i == 0 ? key : "", text->str);
    }
    return true;
}

void vv_show_print(const VvInvocation *inv, JsonObject *object)
{
    JsonObjectIter iter;
    const char *key;
    JsonNode *node;

    json_object_iter_init_ordered(&iter, object);
    while (json_object_iter_next_ordered(&iter, &key, &node)) {
        VvShowType type = type_of(inv->command, key);
        g_autofree char *text = NULL;

        if (g_str_has_suffix(key, "_ns") || print_objects(key, node))
            continue;
        text = cell(object, key, type, (Style){ 0 });
        if (type == VV_SHOW_SIZE && vv_json_u64(object, key) >= 1024)
            printf("%-14s  %s (%" G_GUINT64_FORMAT ")\n", key, text, vv_json_u64(object, key));
        else
            printf("%-14s  %s\n", key, text);
    }
}
