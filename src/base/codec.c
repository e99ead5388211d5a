/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Writers onto a growing array, readers off a borrowed span, and crc32c.
 *
 * Invariants of a VvReader, which hold for any bytes:
 *   1. position_bytes <= length_bytes;
 *   2. once bad, always bad: position no longer moves and every read gives zero or NULL. */
#include "codec.h"

#include <isa-l/crc.h>

/* ISA-L takes the length as an int. */
#define CRC_CHUNK_BYTES ((size_t) 1 << 30)

void vv_write_u8(GByteArray *out, uint8_t value)
{
    vv_write_bytes(out, &value, 1);
}

void vv_write_u16(GByteArray *out, uint16_t value)
{
    uint8_t raw[2];

    vv_put_u16(raw, value);
    vv_write_bytes(out, raw, sizeof raw);
}

void vv_write_u32(GByteArray *out, uint32_t value)
{
    uint8_t raw[4];

    vv_put_u32(raw, value);
    vv_write_bytes(out, raw, sizeof raw);
}

void vv_write_u64(GByteArray *out, uint64_t value)
{
    uint8_t raw[8];

    vv_put_u64(raw, value);
    vv_write_bytes(out, raw, sizeof raw);
}

void vv_write_bytes(GByteArray *out, const void *data, size_t length_bytes)
{
    /* GByteArray counts in guint. */
    g_assert(length_bytes <= G_MAXUINT - out->len);
    if (length_bytes > 0)
        g_byte_array_append(out, data, (guint) length_bytes);
}

void vv_write_string(GByteArray *out, const char *text)
{
    size_t length_bytes = text ? strlen(text) : 0;

    g_assert(length_bytes <= UINT16_MAX);
    vv_write_u16(out, (uint16_t) length_bytes);
    vv_write_bytes(out, text, length_bytes);
}

const uint8_t *vv_read_bytes(VvReader *in, size_t length_bytes)
{
    const uint8_t *found;

    if (in->bad || length_bytes > in->length_bytes - in->position_bytes) {
        in->bad = true;
        return NULL;
    }
    /* An empty span may have no data; nothing read from it is still not "past the end". */
    found = in->data ? in->data + in->position_bytes : (const uint8_t *) "";
    in->position_bytes += length_bytes;
    return found;
}

uint8_t vv_read_u8(VvReader *in)
{
    const uint8_t *raw = vv_read_bytes(in, 1);

    return raw ? *raw : 0;
}

uint16_t vv_read_u16(VvReader *in)
{
    const uint8_t *raw = vv_read_bytes(in, 2);

    return raw ? vv_get_u16(raw) : 0;
}

uint32_t vv_read_u32(VvReader *in)
{
    const uint8_t *raw = vv_read_bytes(in, 4);

    return raw ? vv_get_u32(raw) : 0;
}

uint64_t vv_read_u64(VvReader *in)
{
    const uint8_t *raw = vv_read_bytes(in, 8);

    return raw ? vv_get_u64(raw) : 0;
}

char *vv_read_string(VvReader *in, size_t max_bytes)
{
    size_t length_bytes = vv_read_u16(in);
    const uint8_t *raw = NULL;

    if (!in->bad && length_bytes <= max_bytes)
        raw = vv_read_bytes(in, length_bytes);
    if (!raw || memchr(raw, '\0', length_bytes)) {
        in->bad = true;
        return NULL;
    }
    return g_strndup((const char *) raw, length_bytes);
}

uint32_t vv_crc32c(uint32_t crc, const void *data, size_t length_bytes)
{
    /* ISA-L's prototype lacks the const; it only reads. Its register is the complement of the usual result. */
    uint8_t *next = (uint8_t *) data;
    uint32_t state = ~crc;

    while (length_bytes > 0) {
        size_t chunk_bytes = MIN(length_bytes, CRC_CHUNK_BYTES);

        state = crc32_iscsi(next, (int) chunk_bytes, state);
        next += chunk_bytes;
        length_bytes -= chunk_bytes;
    }
    return ~state;
}
