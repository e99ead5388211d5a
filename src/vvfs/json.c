/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Short ways to build and read JSON documents. */
#include "json.h"

#include "util.h"

#include <string.h>

JsonNode *vv_json_parse(const char *text, size_t length_bytes, const char **ret_why)
{
    g_autoptr(JsonParser) parser = NULL;

    if (!vv_json_check(text, length_bytes, ret_why))
        return NULL;
    parser = json_parser_new();
    if (!json_parser_load_from_data(parser, text, (gssize) length_bytes, NULL)) {
        *ret_why = "the parser refused it";
        return NULL;
    }
    return json_parser_steal_root(parser);
}

char *vv_json_text(JsonNode *node)
{
    return json_to_string(node, FALSE);
}

char *vv_json_object_text(JsonObject *object)
{
    g_autoptr(JsonNode) node = json_node_new(JSON_NODE_OBJECT);

    json_node_set_object(node, object);
    return vv_json_text(node);
}

/* @text if it is UTF-8, else a valid copy in *ret_owned. */
static const char *valid_utf8(const char *text, char **ret_owned)
{
    if (g_utf8_validate(text, -1, NULL))
        return text;
    return *ret_owned = g_utf8_make_valid(text, -1);
}

void vv_json_set_string(JsonObject *object, const char *key, const char *text)
{
    g_autofree char *owned = NULL;

    if (text)
        json_object_set_string_member(object, key, valid_utf8(text, &owned));
    else
        json_object_set_null_member(object, key);
}

void vv_json_set_u64(JsonObject *object, const char *key, uint64_t value)
{
    if (value <= INT64_MAX)
        json_object_set_int_member(object, key, (gint64) value);
    else
        json_object_set_null_member(object, key);
}

void vv_json_set_bool(JsonObject *object, const char *key, bool value)
{
    json_object_set_boolean_member(object, key, value);
}

void vv_json_set_null(JsonObject *object, const char *key)
{
    json_object_set_null_member(object, key);
}

void vv_json_set_time(JsonObject *object, const char *key, uint64_t ns)
{
    g_autofree char *text = ns ? vv_time_format_utc(ns) : NULL;
    g_autofree char *ns_key = g_strconcat(key, "_ns", NULL);

    vv_json_set_string(object, key, text);
    if (ns)
        vv_json_set_u64(object, ns_key, ns);
    else
        vv_json_set_null(object, ns_key);
}

void vv_json_add_string(JsonArray *array, const char *text)
{
    g_autofree char *owned = NULL;

    json_array_add_string_element(array, valid_utf8(text, &owned));
}

void vv_json_set_strings(JsonObject *object, const char *key, const char *const *list)
{
    JsonArray *array = vv_json_set_array(object, key);

    for (; list && *list; list++)
        vv_json_add_string(array, *list);
}

JsonArray *vv_json_set_array(JsonObject *object, const char *key)
{
    JsonArray *array = json_array_new();

    json_object_set_array_member(object, key, array);
    return array;
}

JsonObject *vv_json_set_object(JsonObject *object, const char *key)
{
    JsonObject *member = json_object_new();

    json_object_set_object_member(object, key, member);
    return member;
}

JsonObject *vv_json_add_object(JsonArray *array)
{
    JsonObject *element = json_object_new();

    json_array_add_object_element(array, element);
    return element;
}

bool vv_json_has(JsonObject *object, const char *key)
{
    return json_object_has_member(object, key) && !json_object_get_null_member(object, key);
}

const char *vv_json_get_string(JsonObject *object, const char *key)
{
    JsonNode *node = json_object_get_member(object, key);

    if (!node || !JSON_NODE_HOLDS_VALUE(node) || json_node_get_value_type(node) != G_TYPE_STRING)
        return NULL;
    return json_node_get_string(node);
}

JsonObject *vv_json_copy(JsonObject *object)
{
    g_autofree char *text = vv_json_object_text(object);
    const char *why;
    g_autoptr(JsonNode) node = vv_json_parse(text, strlen(text), &why);

    g_assert(node);
    return json_object_ref(json_node_get_object(node));
}

static void canonical_append(GString *out, JsonNode *node, const char *const *except)
{
    g_autofree char *text = NULL;

    if (JSON_NODE_HOLDS_OBJECT(node)) {
        JsonObject *object = json_node_get_object(node);
        g_autoptr(GList) names = g_list_sort(json_object_get_members(object), (GCompareFunc) strcmp);

        g_string_append_c(out, '{');
        for (GList *l = names; l; l = l->next) {
            if (except && g_strv_contains(except, l->data))
                continue;
            g_string_append_printf(out, "%s:", (const char *) l->data);
            canonical_append(out, json_object_get_member(object, l->data), NULL);
            g_string_append_c(out, ';');
        }
        g_string_append_c(out, '}');
        return;
    }
    text = vv_json_text(node);
    g_string_append(out, text);
}

char *vv_json_canonical(JsonObject *object, const char *const *except)
{
    g_autoptr(JsonNode) node = json_node_new(JSON_NODE_OBJECT);
    GString *out = g_string_new(NULL);

    json_node_set_object(node, object);
    canonical_append(out, node, except);
    return g_string_free(out, FALSE);
}
