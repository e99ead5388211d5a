/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sizes as text.
 *
 *   size = digits [ "." digits ] [ unit ]      unit = one of K M G T P E (any case), or that and "iB"
 *
 * Units are powers of 1024. "GB" is refused, because half of its readers take it for 10^9. A fraction of K must come
 * out as the multiple that is asked for. A fraction of a larger unit is a person's rounding ("21.4G", as the lists
 * print it) and is rounded up to the multiple: what vv_size_format() writes is always valid input. */
#include "error.h"
#include "limits.h"
#include "util.h"

#include <string.h>

#define HINT "sizes are bytes, or numbers with K, M, G, T, P or E (powers of 1024): 512, 1.5G, 40GiB"
#define UNITS "KMGTPE"
#define FRACTION_DIGITS_MAX 18 /* so that a fraction times 2^60 fits 128 bits */

typedef unsigned __int128 Wide;

typedef struct {
    uint64_t whole;       /* UINT64_MAX: at least that */
    uint64_t fraction;    /* of fraction_of */
    uint64_t fraction_of; /* a power of ten */
    unsigned power;       /* 0 bytes, 1 K, 2 M, ... */
    bool decimal;         /* the unit was "GB" or the like */
} Number;

/* False: @text is no size at all. */
static bool scan(const char *text, Number *ret_number)
{
    Number number = { .fraction_of = 1 };
    unsigned digits = 0;
    const char *unit;

    if (!g_ascii_isdigit(*text))
        return false;
    for (; g_ascii_isdigit(*text); text++) {
        Wide whole = (Wide) number.whole * 10 + (unsigned) (*text - '0');

        number.whole = whole < UINT64_MAX ? (uint64_t) whole : UINT64_MAX;
    }
    if (*text == '.') {
        if (!g_ascii_isdigit(*++text))
            return false;
        for (; g_ascii_isdigit(*text); text++) {
            if (++digits > FRACTION_DIGITS_MAX)
                return false;
            number.fraction = number.fraction * 10 + (unsigned) (*text - '0');
            number.fraction_of *= 10;
        }
    }
    if (*text) {
        unit = strchr(UNITS, g_ascii_toupper(*text));
        if (!unit)
            return false;
        number.power = (unsigned) (unit - UNITS) + 1;
        text++;
        number.decimal = g_ascii_strcasecmp(text, "b") == 0;
        if (*text && !number.decimal && strcmp(text, "iB") != 0)
            return false;
    }
    *ret_number = number;
    return true;
}

/* @number in bytes with units of @base, in two parts: the sum of whole bytes (UINT64_MAX: at least that), and whether
 * something less than a byte is left over (in tenths, 0 to 9, 1 if less than one). */
static uint64_t to_bytes(const Number *number, unsigned base, unsigned *ret_tenths)
{
    Wide unit = 1;
    Wide part;
    Wide left;
    Wide bytes;

    for (unsigned i = 0; i < number->power; i++)
        unit *= base;
    part = number->fraction * unit;
    left = part % number->fraction_of;
    bytes = number->whole * unit + part / number->fraction_of;
    *ret_tenths = left == 0 ? 0 : MAX(1u, (unsigned) (left * 10 / number->fraction_of));
    return bytes < UINT64_MAX ? (uint64_t) bytes : UINT64_MAX;
}

static void refuse_too_large(const char *text, GError **error)
{
    vv_set_error(error, VV_ERROR_USAGE, text, NULL,
        "size \"%s\" is too large: at most %" G_GUINT64_FORMAT " bytes (8E less 4K)", text, VV_LUN_BYTES_MAX);
}

/* Says both readings of "10GB"; each is valid input. */
static void refuse_decimal(const char *text, const Number *number, GError **error)
{
    int digits = (int) strspn(text, "0123456789.");
    char unit = UNITS[number->power - 1];
    unsigned tenths;
    uint64_t binary_bytes = to_bytes(number, 1024, &tenths);
    uint64_t decimal_bytes = to_bytes(number, 1000, &tenths);

    if (binary_bytes > VV_LUN_BYTES_MAX) {
        refuse_too_large(text, error);
        return;
    }
    vv_set_error(error, VV_ERROR_USAGE, text, NULL,
        "size \"%s\" can be read in two ways: write \"%.*s%c\" for %.*s %ciB = %" G_GUINT64_FORMAT
        " bytes, or \"%" G_GUINT64_FORMAT "\" for %.*s %cB = %" G_GUINT64_FORMAT " bytes",
        text, digits, text, unit, digits, text, unit, binary_bytes, decimal_bytes, digits, text, unit, decimal_bytes);
}

static void refuse_multiple(const char *text, uint64_t bytes, unsigned tenths, uint64_t multiple_bytes, GError **error)
{
    uint64_t below = bytes - bytes % multiple_bytes;
    g_autofree char *part = tenths > 0 ? g_strdup_printf(".%u", tenths) : g_strdup("");
    g_autofree char *lower = below > 0 ? g_strdup_printf("%" G_GUINT64_FORMAT " or ", below) : g_strdup("");

    vv_set_error(error, VV_ERROR_USAGE, text, NULL,
        "size \"%s\" is %" G_GUINT64_FORMAT "%s bytes, not a multiple of %" G_GUINT64_FORMAT ": %s%" G_GUINT64_FORMAT
        " would do",
        text, bytes, part, multiple_bytes, lower, below + multiple_bytes);
}

bool vv_size_parse(const char *text, uint64_t multiple_bytes, uint64_t *ret_bytes, GError **error)
{
    Number number;
    unsigned tenths;
    uint64_t bytes;
    uint64_t rest;

    if (text[0] == '-' && g_ascii_isdigit(text[1])) {
        vv_set_error(error, VV_ERROR_USAGE, text, HINT, "size \"%s\" is negative", text);
        return false;
    }
    if (!scan(text, &number)) {
        vv_set_error(error, VV_ERROR_USAGE, text, HINT, "\"%s\" is not a size", text);
        return false;
    }
    if (number.decimal && (number.whole > 0 || number.fraction > 0)) {
        refuse_decimal(text, &number, error);
        return false;
    }
    bytes = to_bytes(&number, 1024, &tenths);
    if (bytes > VV_LUN_BYTES_MAX) {
        refuse_too_large(text, error);
        return false;
    }
    rest = multiple_bytes > 0 ? bytes % multiple_bytes : 0;
    if (multiple_bytes == 0) {
        bytes += tenths >= 5 ? 1 : 0;
    } else if ((rest > 0 || tenths > 0) && number.fraction > 0 && number.power >= 2) {
        bytes += multiple_bytes - rest;
    } else if (rest > 0 || tenths > 0) {
        refuse_multiple(text, bytes, tenths, multiple_bytes, error);
        return false;
    }
    if (bytes == 0) {
        vv_set_error(error, VV_ERROR_USAGE, text, HINT, "size \"%s\" is zero", text);
        return false;
    }
    *ret_bytes = bytes;
    return true;
}

char *vv_size_format(uint64_t bytes)
{
    unsigned power = 0;
    uint64_t scale = 1; /* the digits are @scaled / @scale of the unit */
    uint64_t unit_bytes = 1;
    uint64_t scaled;
    char text[32];
    size_t length;

    if (bytes < 1024)
        return g_strdup_printf("%" G_GUINT64_FORMAT, bytes);
    /* The largest unit that leaves at least 1, counting what rounds up to 1. */
    while (power < strlen(UNITS) && bytes / unit_bytes >= 1024) {
        unit_bytes *= 1024;
        power++;
    }
    if (power < strlen(UNITS) && ((Wide) bytes * 2 + unit_bytes) / ((Wide) unit_bytes * 2) >= 1024) {
        unit_bytes *= 1024;
        power++;
    }
    if ((Wide) bytes * 1000 < (Wide) unit_bytes * 9995)
        scale = 100;
    else if ((Wide) bytes * 100 < (Wide) unit_bytes * 9995)
        scale = 10;
    scaled = (uint64_t) (((Wide) bytes * scale * 2 + unit_bytes) / ((Wide) unit_bytes * 2));
    if (scale == 1)
        return g_strdup_printf("%" G_GUINT64_FORMAT "%c", scaled, UNITS[power - 1]);
    g_snprintf(text, sizeof text, "%" G_GUINT64_FORMAT ".%0*" G_GUINT64_FORMAT, scaled / scale, scale == 100 ? 2 : 1,
        scaled % scale);
    length = strlen(text);
    while (text[length - 1] == '0')
        length--;
    if (text[length - 1] == '.')
        length--;
    return g_strdup_printf("%.*s%c", (int) length, text, UNITS[power - 1]);
}
