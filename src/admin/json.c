/* SPDX-License-Identifier: GPL-2.0-or-later */
/* JSON as the tool prints it, and members read from documents that others wrote: every one may be missing, null or of
 * another type. */
#include <stdio.h>
#include <string.h>

#include "output.h"

#include "util.h"

static void append_string(GString *out, const char *text)
{
    g_string_append_c(out, '"');
    for (; *text; text++) {
        unsigned char c = (unsigned char) *text;

        if (c == '"' || c == '\\')
            g_string_append_printf(out, "\\%c", c);
        else if (c == '\n')
            g_string_append(out, "\\n");
        else if (c == '\t')
            g_string_append(out, "\\t");
        else if (c < 0x20 || c == 0x7f)
            g_string_append_printf(out, "\\u%04x", c);
        else
            g_string_append_c(out, (char) c);
    }
    g_string_append_c(out, '"');
}

static void append_value(GString *out, JsonNode *node)
{
    char number[G_ASCII_DTOSTR_BUF_SIZE];

    switch (json_node_get_value_type(node)) {
    case G_TYPE_STRING:
        append_string(out, json_node_get_string(node));
        break;
    case G_TYPE_BOOLEAN:
        g_string_append(out, json_node_get_boolean(node) ? "true" : "false");
        break;
    case G_TYPE_DOUBLE:
        g_string_append(out, g_ascii_dtostr(number, sizeof number, json_node_get_double(node)));
        break;
    default:
        g_string_append_printf(out, "%" G_GINT64_FORMAT, json_node_get_int(node));
    }
}

static void append_object(GString *out, JsonObject *object)
{
    JsonObjectIter iter;
    const char *key;
    JsonNode *member;
    const char *comma = "";

    g_string_append_c(out, '{');
    json_object_iter_init_ordered(&iter, object);
    while (json_object_iter_next_ordered(&iter, &key, &member)) {
        g_string_append(out, comma);
        append_string(out, key);
        g_string_append(out, ": ");
        vv_json_append(out, member);
        comma = ", ";
    }
    g_string_append_c(out, '}');
}

void vv_json_append(GString *out, JsonNode *node)
{
    JsonArray *array;

    switch (json_node_get_node_type(node)) {
    case JSON_NODE_OBJECT:
        append_object(out, json_node_get_object(node));
        break;
    case JSON_NODE_ARRAY:
        array = json_node_get_array(node);
        g_string_append_c(out, '[');
        for (unsigned i = 0; i < json_array_get_length(array); i++) {
            g_string_append(out, i > 0 ? ", " : "");
            vv_json_append(out, json_array_get_element(array, i));
        }
        g_string_append_c(out, ']');
        break;
    case JSON_NODE_VALUE:
        append_value(out, node);
        break;
    case JSON_NODE_NULL:
        g_string_append(out, "null");
        break;
    }
}

static void print_node(JsonNode *node)
{
    g_autoptr(GString) out = g_string_new(NULL);

    vv_json_append(out, node);
    puts(out->str);
}

void vv_json_print_object(JsonObject *object)
{
    g_autoptr(JsonNode) node = json_node_new(JSON_NODE_OBJECT);

    json_node_set_object(node, object);
    print_node(node);
}

void vv_json_print_array(JsonArray *array)
{
    g_autoptr(JsonNode) node = json_node_new(JSON_NODE_ARRAY);

    json_node_set_array(node, array);
    print_node(node);
}

/* ---- members */

static JsonNode *member_value(JsonObject *object, const char *key)
{
    JsonNode *node = object ? json_object_get_member(object, key) : NULL;

    return node && JSON_NODE_HOLDS_VALUE(node) ? node : NULL;
}

const char *vv_json_text(JsonObject *object, const char *key)
{
    JsonNode *node = member_value(object, key);

    return node && json_node_get_value_type(node) == G_TYPE_STRING ? json_node_get_string(node) : NULL;
}

bool vv_json_is_number(JsonObject *object, const char *key)
{
    JsonNode *node = member_value(object, key);
    GType type = node ? json_node_get_value_type(node) : G_TYPE_INVALID;

    return type == G_TYPE_INT64 || type == G_TYPE_DOUBLE;
}

double vv_json_double(JsonObject *object, const char *key)
{
    return vv_json_is_number(object, key) ? json_node_get_double(member_value(object, key)) : 0;
}

uint64_t vv_json_u64(JsonObject *object, const char *key)
{
    JsonNode *node = member_value(object, key);

    if (!vv_json_is_number(object, key))
        return 0;
    if (json_node_get_value_type(node) == G_TYPE_DOUBLE) {
        double value = json_node_get_double(node);

        return value > 0 && value < 1.8e19 ? (uint64_t) value : 0;
    }
    return (uint64_t) MAX(json_node_get_int(node), 0);
}

char *vv_freed_text(JsonObject *result)
{
    return vv_json_is_number(result, "freed") ? vv_size_format(vv_json_u64(result, "freed"))
                                              : g_strdup("an unknown amount");
}

bool vv_json_bool(JsonObject *object, const char *key)
{
    JsonNode *node = member_value(object, key);

    return node && json_node_get_value_type(node) == G_TYPE_BOOLEAN && json_node_get_boolean(node);
}

JsonArray *vv_json_array(JsonObject *object, const char *key)
{
    JsonNode *node = object ? json_object_get_member(object, key) : NULL;

    return node && JSON_NODE_HOLDS_ARRAY(node) ? json_node_get_array(node) : NULL;
}

JsonObject *vv_json_object(JsonObject *object, const char *key)
{
    JsonNode *node = object ? json_object_get_member(object, key) : NULL;

    return node && JSON_NODE_HOLDS_OBJECT(node) ? json_node_get_object(node) : NULL;
}

unsigned vv_json_length(JsonObject *object, const char *key)
{
    JsonArray *array = vv_json_array(object, key);

    return array ? json_array_get_length(array) : 0;
}

JsonObject *vv_json_element(JsonArray *array, unsigned index)
{
    JsonNode *node = json_array_get_element(array, index);

    return node && JSON_NODE_HOLDS_OBJECT(node) ? json_node_get_object(node) : NULL;
}

const char *vv_json_element_text(JsonArray *array, unsigned index)
{
    JsonNode *node = json_array_get_element(array, index);

    return node && JSON_NODE_HOLDS_VALUE(node) && json_node_get_value_type(node) == G_TYPE_STRING
               ? json_node_get_string(node)
               : "?";
}
