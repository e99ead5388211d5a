/* SPDX-License-Identifier: GPL-2.0-or-later */
/* JSON as the administration protocol speaks it: strict reading, and short ways to build documents. Any thread. */
#ifndef VV_JSON_H
#define VV_JSON_H

#include <json-glib/json-glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Deeper documents are refused before anything recurses into them; the protocol needs 4. */
#define VV_JSON_DEPTH_MAX 32u

/* Is the text exactly one JSON document (RFC 8259, UTF-8, no NUL), at most VV_JSON_DEPTH_MAX deep? *ret_why is a
 * constant text on false. */
bool vv_json_check(const char *text, size_t length_bytes, const char **ret_why);
/* Parse what passes vv_json_check. NULL with *ret_why otherwise; the node is owned. */
JsonNode *vv_json_parse(const char *text, size_t length_bytes, const char **ret_why);
/* One line without LF; newly allocated. */
char *vv_json_text(JsonNode *node);
char *vv_json_object_text(JsonObject *object);

/* ---- members; an existing one is replaced. Text that is not UTF-8 (a path) is made valid. */
void vv_json_set_string(JsonObject *object, const char *key, const char *text); /* NULL: null */
void vv_json_set_u64(JsonObject *object, const char *key, uint64_t value);      /* above INT64_MAX: null */
void vv_json_set_bool(JsonObject *object, const char *key, bool value);
void vv_json_set_null(JsonObject *object, const char *key);
/* "KEY" in RFC 3339 and "KEY_ns"; both null if @ns is 0. */
void vv_json_set_time(JsonObject *object, const char *key, uint64_t ns);
void vv_json_set_strings(JsonObject *object, const char *key, const char *const *list); /* NULL: [] */
void vv_json_add_string(JsonArray *array, const char *text);
/* Borrowed; @array is taken by the object. */
JsonArray *vv_json_set_array(JsonObject *object, const char *key);
JsonObject *vv_json_set_object(JsonObject *object, const char *key);
JsonObject *vv_json_add_object(JsonArray *array);

/* ---- reading members that may be missing or null */
const char *vv_json_get_string(JsonObject *object, const char *key); /* borrowed or NULL */
bool vv_json_has(JsonObject *object, const char *key);               /* there, and not null */
/* A copy that shares no containers with @object. */
JsonObject *vv_json_copy(JsonObject *object);

/* Members in the order of their names, objects inside too, without those of the NULL-terminated list @except. For
 * comparing. Newly allocated. */
char *vv_json_canonical(JsonObject *object, const char *const *except);

#endif
