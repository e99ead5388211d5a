/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A strict recogniser of JSON (RFC 8259), because the library's parser also takes comments, assignments and nesting
 * without end. It recurses at most VV_JSON_DEPTH_MAX deep and allocates nothing. */
#include "json.h"

#include <math.h>
#include <string.h>

#define NUMBER_BYTES_MAX 400u /* digits of the largest double, and some */

typedef struct {
    const char *at;
    const char *end;
    unsigned depth;
    const char *why; /* NULL: good so far */
} Scan;

static bool scan_value(Scan *s);

static bool fail(Scan *s, const char *why)
{
    if (!s->why)
        s->why = why;
    return false;
}

static void skip_blanks(Scan *s)
{
    while (s->at < s->end && (*s->at == ' ' || *s->at == '\t' || *s->at == '\r' || *s->at == '\n'))
        s->at++;
}

static bool take(Scan *s, char c)
{
    skip_blanks(s);
    if (s->at == s->end || *s->at != c)
        return false;
    s->at++;
    return true;
}

static bool scan_word(Scan *s, const char *word)
{
    size_t length = strlen(word);

    if ((size_t) (s->end - s->at) < length || memcmp(s->at, word, length) != 0)
        return fail(s, "a word that JSON does not have");
    s->at += length;
    return true;
}

static bool scan_digits(Scan *s)
{
    if (s->at == s->end || !g_ascii_isdigit(*s->at))
        return fail(s, "a number without digits");
    while (s->at < s->end && g_ascii_isdigit(*s->at))
        s->at++;
    return true;
}

/* One that no double can hold would become "inf", which is not JSON, wherever it is repeated. */
static bool number_fits(Scan *s, const char *from)
{
    char text[NUMBER_BYTES_MAX + 1];
    size_t length = (size_t) (s->at - from);

    if (length <= NUMBER_BYTES_MAX) {
        memcpy(text, from, length);
        text[length] = '\0';
        if (isfinite(g_ascii_strtod(text, NULL)))
            return true;
    }
    return fail(s, "a number too large");
}

static bool scan_number(Scan *s)
{
    const char *from = s->at;

    if (*s->at == '-')
        s->at++;
    if (s->at + 1 < s->end && s->at[0] == '0' && g_ascii_isdigit(s->at[1]))
        return fail(s, "a number that begins with 0");
    if (!scan_digits(s))
        return false;
    if (s->at < s->end && *s->at == '.') {
        s->at++;
        if (!scan_digits(s))
            return false;
    }
    if (s->at < s->end && (*s->at == 'e' || *s->at == 'E')) {
        s->at++;
        if (s->at < s->end && (*s->at == '+' || *s->at == '-'))
            s->at++;
        if (!scan_digits(s))
            return false;
    }
    return number_fits(s, from);
}

/* The four digits of a \\u escape. */
static bool scan_unit(Scan *s, unsigned *ret_unit)
{
    unsigned unit = 0;

    if (s->end - s->at < 4)
        return fail(s, "a string without end");
    for (unsigned i = 0; i < 4; i++) {
        if (!g_ascii_isxdigit(s->at[i]))
            return fail(s, "\\u without four hexadecimal digits");
        unit = unit * 16 + (unsigned) g_ascii_xdigit_value(s->at[i]);
    }
    s->at += 4;
    *ret_unit = unit;
    return true;
}

/* Behind the backslash. C strings hold no NUL, and half a surrogate pair is no character. */
static bool scan_escape(Scan *s)
{
    unsigned unit, low;

    if (s->at == s->end)
        return fail(s, "a string without end");
    if (*s->at != 'u')
        return strchr("\"\\/bfnrt", *s->at++) ? true : fail(s, "an unknown escape");
    s->at++;
    if (!scan_unit(s, &unit))
        return false;
    if (unit == 0 || (unit >= 0xdc00 && unit <= 0xdfff))
        return fail(s, "\\u of what is no character");
    if (unit < 0xd800 || unit > 0xdbff)
        return true;
    if (s->end - s->at < 2 || s->at[0] != '\\' || s->at[1] != 'u')
        return fail(s, "half a surrogate pair");
    s->at += 2;
    if (!scan_unit(s, &low))
        return false;
    return low >= 0xdc00 && low <= 0xdfff ? true : fail(s, "half a surrogate pair");
}

static bool scan_string(Scan *s)
{
    if (!take(s, '"'))
        return fail(s, "a string expected");
    while (s->at < s->end) {
        unsigned char c = (unsigned char) *s->at++;

        if (c == '"')
            return true;
        if (c < 0x20)
            return fail(s, "a control character in a string");
        if (c == '\\' && !scan_escape(s))
            return false;
    }
    return fail(s, "a string without end");
}

static bool scan_members(Scan *s)
{
    if (take(s, '}'))
        return true;
    do {
        if (!scan_string(s))
            return false;
        if (!take(s, ':'))
            return fail(s, "':' expected");
        if (!scan_value(s))
            return false;
    } while (take(s, ','));
    return take(s, '}') ? true : fail(s, "',' or '}' expected");
}

static bool scan_elements(Scan *s)
{
    if (take(s, ']'))
        return true;
    do {
        if (!scan_value(s))
            return false;
    } while (take(s, ','));
    return take(s, ']') ? true : fail(s, "',' or ']' expected");
}

static bool scan_value(Scan *s)
{
    bool good;

    skip_blanks(s);
    if (s->at == s->end)
        return fail(s, "the end came early");
    switch (*s->at) {
    case '{':
    case '[':
        if (++s->depth > VV_JSON_DEPTH_MAX)
            return fail(s, "nested too deeply");
        good = *s->at++ == '{' ? scan_members(s) : scan_elements(s);
        s->depth--;
        return good;
    case '"':
        return scan_string(s);
    case 't':
        return scan_word(s, "true");
    case 'f':
        return scan_word(s, "false");
    case 'n':
        return scan_word(s, "null");
    default:
        if (*s->at == '-' || g_ascii_isdigit(*s->at))
            return scan_number(s);
        return fail(s, "a value expected");
    }
}

bool vv_json_check(const char *text, size_t length_bytes, const char **ret_why)
{
    Scan scan = { .at = text, .end = text + length_bytes };

    if (!g_utf8_validate_len(text, length_bytes, NULL))
        scan.why = "not UTF-8";
    else if (scan_value(&scan)) {
        skip_blanks(&scan);
        if (scan.at != scan.end)
            scan.why = "more than one document on a line";
    }
    if (scan.why)
        *ret_why = scan.why;
    return !scan.why;
}
