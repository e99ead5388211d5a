/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What goes to stdout and stderr. */
#ifndef VV_ADMIN_OUTPUT_H
#define VV_ADMIN_OUTPUT_H

#include "command.h"

/* ---- JSON with blanks after ':' and ',' as CLI.md shows it */
void vv_json_append(GString *out, JsonNode *node);
void vv_json_print_object(JsonObject *object); /* and a newline */
void vv_json_print_array(JsonArray *array);
/* Members that may be missing or null. Text is borrowed. */
const char *vv_json_text(JsonObject *object, const char *key); /* NULL if it is no string */
bool vv_json_is_number(JsonObject *object, const char *key);
/* "freed" of a result as people read it, "an unknown amount" if it is not counted. Newly allocated. */
char *vv_freed_text(JsonObject *result);
uint64_t vv_json_u64(JsonObject *object, const char *key);     /* 0 */
double vv_json_double(JsonObject *object, const char *key);    /* 0 */
bool vv_json_bool(JsonObject *object, const char *key);        /* false */
JsonArray *vv_json_array(JsonObject *object, const char *key); /* borrowed or NULL */
JsonObject *vv_json_object(JsonObject *object, const char *key);
unsigned vv_json_length(JsonObject *object, const char *key);       /* of an array, 0 if it is none */
JsonObject *vv_json_element(JsonArray *array, unsigned index);      /* borrowed; NULL if it is no object */
const char *vv_json_element_text(JsonArray *array, unsigned index); /* "?" if it is no string */

/* ---- lines */
/* To stderr as "note: ...", unless --quiet. */
void vv_note(const VvInvocation *inv, const char *format, ...) G_GNUC_PRINTF(2, 3);
/* The one line, or the JSON document, of a failure; returns the exit code. */
int vv_report_error(const VvInvocation *inv, const GError *error);
/* Asks on a terminal; off it, or answered no: `denied`. @question without "? [y/N]". True at once with --yes. */
bool vv_confirm(const VvInvocation *inv, const char *question, GError **error);
bool vv_can_ask(void);
/* @text in colour if that is wanted for stdout. @color: an SGR number. Newly allocated. */
char *vv_paint(const VvInvocation *inv, const char *text, int color);
/* Control characters replaced, so that no stored text can steer a terminal. Newly allocated. */
char *vv_clean(const char *text);
/* "1 node", "2 nodes". Newly allocated. */
char *vv_count_text(uint64_t count, const char *one);
/* "2 days", "20 s", "2 min". Newly allocated. */
char *vv_span_text(double seconds);

/* ---- tables */
/* The items of a list as the options say (-o -H -b --sort --match --json). */
bool vv_list_print(const VvInvocation *inv, JsonArray *items, GError **error);
/* KEY VALUE lines; the types come from the command's columns. */
void vv_show_print(const VvInvocation *inv, JsonObject *object);
/* Are -o, --sort and --match right? Asked before anything is called. */
bool vv_list_check(const VvInvocation *inv, GError **error);
/* Sorted by `exclusive`: ask for it to be counted. */
void vv_list_need_exact(VvInvocation *inv);
/* Appends @text and blanks up to @width. */
void vv_pad_append(GString *out, const char *text, size_t width);

#endif
