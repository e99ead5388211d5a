/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Random bytes, and UUIDs in their usual form of 8-4-4-4-12 hexadecimal digits. */
#include "util.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#define UUID_TEXT_BYTES 36

void vv_random_bytes(void *data, size_t length_bytes)
{
    uint8_t *next = data;

    while (length_bytes > 0) {
        ssize_t done = getrandom(next, length_bytes, 0);

        /* With these arguments getrandom() fails only when a signal comes. */
        g_assert(done > 0 || (done < 0 && errno == EINTR));
        if (done > 0) {
            next += done;
            length_bytes -= (size_t) done;
        }
    }
}

void vv_uuid_generate(VvUuid *ret_uuid)
{
    VvUuid uuid;

    vv_random_bytes(uuid.bytes, sizeof uuid.bytes);
    uuid.bytes[6] = (uint8_t) ((uuid.bytes[6] & 0x0f) | 0x40); /* version 4 */
    uuid.bytes[8] = (uint8_t) ((uuid.bytes[8] & 0x3f) | 0x80); /* variant of RFC 4122 */
    *ret_uuid = uuid;
}

/* Is there a dash before byte @index? */
static bool dash_before(size_t index)
{
    return index == 4 || index == 6 || index == 8 || index == 10;
}

char *vv_uuid_format(const VvUuid *uuid)
{
    GString *text = g_string_sized_new(UUID_TEXT_BYTES + 1);

    for (size_t i = 0; i < sizeof uuid->bytes; i++) {
        if (dash_before(i))
            g_string_append_c(text, '-');
        g_string_append_printf(text, "%02x", uuid->bytes[i]);
    }
    return g_string_free(text, FALSE);
}

bool vv_uuid_parse(const char *text, VvUuid *ret_uuid)
{
    VvUuid uuid;

    if (strnlen(text, UUID_TEXT_BYTES + 1) != UUID_TEXT_BYTES)
        return false;
    for (size_t i = 0; i < sizeof uuid.bytes; i++) {
        if (dash_before(i) && *text++ != '-')
            return false;
        if (!g_ascii_isxdigit(text[0]) || !g_ascii_isxdigit(text[1]))
            return false;
        uuid.bytes[i] = (uint8_t) (g_ascii_xdigit_value(text[0]) << 4 | g_ascii_xdigit_value(text[1]));
        text += 2;
    }
    *ret_uuid = uuid;
    return true;
}
