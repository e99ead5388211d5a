/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Lines for people: remarks, the one line of a failure, questions. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "nouns.h"

char *vv_clean(const char *text)
{
    char *clean = g_utf8_make_valid(text, -1);

    for (char *p = clean; *p; p++)
        if ((unsigned char) *p < 0x20 || *p == 0x7f)
            *p = ' ';
        else if ((unsigned char) *p == 0xc2 && (unsigned char) p[1] < 0xa0) /* C1 controls */
            p[1] = (char) 0xbf;
    return clean;
}

void vv_note(const VvInvocation *inv, const char *format, ...)
{
    g_autofree char *text = NULL;
    g_autofree char *clean = NULL;
    va_list args;

    if (inv->quiet)
        return;
    va_start(args, format);
    text = g_strdup_vprintf(format, args);
    va_end(args);
    clean = vv_clean(text);
    vv_bar_clear();
    fflush(stdout);
    fprintf(stderr, "note: %s\n", clean);
}

static int exit_code(const GError *error)
{
    const char *code = vv_error_code_name(error);

    if (strcmp(code, "usage") == 0)
        return 2;
    if (strcmp(code, "no-daemon") == 0 || strcmp(code, "no-coordinator") == 0 || strcmp(code, "no-quorum") == 0)
        return 3;
    return strcmp(code, "timeout") == 0 ? 4 : 1;
}

static void set_text_or_null(JsonObject *object, const char *key, const char *text)
{
    g_autofree char *valid = text ? g_utf8_make_valid(text, -1) : NULL;

    if (valid)
        json_object_set_string_member(object, key, valid);
    else
        json_object_set_null_member(object, key);
}

int vv_report_error(const VvInvocation *inv, const GError *error)
{
    const char *hint = vv_error_get_hint(error);

    vv_bar_clear();
    if (inv->json) {
        g_autoptr(JsonObject) document = json_object_new();
        JsonObject *body = json_object_new();

        json_object_set_string_member(body, "code", vv_error_code_name(error));
        set_text_or_null(body, "message", error->message);
        set_text_or_null(body, "object", vv_error_get_object(error));
        set_text_or_null(body, "hint", hint);
        json_object_set_object_member(document, "error", body);
        vv_json_print_object(document);
    } else {
        /* A hint is a command or a word (a synopsis may end in ...), or whole sentences. */
        const char *glue = !hint ? "" : g_str_has_suffix(hint, ".") && !g_str_has_suffix(hint, "..") ? ". " : ": ";
        g_autofree char *line = g_strdup_printf("%s%s%s", error->message, glue, hint ? hint : "");
        g_autofree char *clean = vv_clean(line);

        fflush(stdout);
        fprintf(stderr, "vvfs-admin: %s\n", clean);
    }
    return exit_code(error);
}

bool vv_can_ask(void)
{
    return isatty(STDIN_FILENO) && isatty(STDERR_FILENO);
}

bool vv_confirm(const VvInvocation *inv, const char *question, GError **error)
{
    g_autofree char *clean = vv_clean(question);
    char answer[16] = "";

    if (inv->yes)
        return true;
    if (!vv_can_ask()) {
        vv_set_error(error, VV_ERROR_DENIED, NULL, "`--yes` does it without asking.",
            "%s: not asked, as this is no terminal", clean);
        return false;
    }
    fflush(stdout);
    fprintf(stderr, "%s? [y/N] ", clean);
    fflush(stderr);
    if (fgets(answer, sizeof answer, stdin) && (answer[0] == 'y' || answer[0] == 'Y'))
        return true;
    vv_set_error(error, VV_ERROR_DENIED, NULL, NULL, "nothing was changed");
    return false;
}

char *vv_paint(const VvInvocation *inv, const char *text, int color)
{
    const char *no_color = g_getenv("NO_COLOR");
    bool paint = inv->color == VV_COLOR_ALWAYS ||
                 (inv->color == VV_COLOR_AUTO && isatty(STDOUT_FILENO) && !(no_color && *no_color));

    return paint && color ? g_strdup_printf("\033[%dm%s\033[0m", color, text) : g_strdup(text);
}

char *vv_count_text(uint64_t count, const char *one)
{
    return g_strdup_printf("%" G_GUINT64_FORMAT " %s%s", count, one, count == 1 ? "" : "s");
}

char *vv_span_text(double seconds)
{
    uint64_t s = seconds > 0 ? (uint64_t) (seconds + 0.5) : 0;

    if (s < 120)
        return g_strdup_printf("%u s", (unsigned) s);
    if (s < 2 * 3600)
        return g_strdup_printf("%u min", (unsigned) ((s + 30) / 60));
    if (s < 48 * 3600)
        return g_strdup_printf("%u h", (unsigned) ((s + 1800) / 3600));
    return g_strdup_printf("%" G_GUINT64_FORMAT " days", (s + 43200) / 86400);
}

void vv_pad_append(GString *out, const char *text, size_t width)
{
    size_t length = (size_t) g_utf8_strlen(text, -1);

    g_string_append(out, text);
    for (; length < width; length++)
        g_string_append_c(out, ' ');
}
