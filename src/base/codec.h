/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Bytes in and out, with bounds. Values are little-endian in records, big-endian in keys. */
#ifndef VV_CODEC_H
#define VV_CODEC_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* clang-format off: a table of one-liners */
static inline void vv_put_u16(uint8_t *p, uint16_t v)
{
    v = GUINT16_TO_LE(v);
    memcpy(p, &v, 2);
}
static inline void vv_put_u32(uint8_t *p, uint32_t v)
{
    v = GUINT32_TO_LE(v);
    memcpy(p, &v, 4);
}
static inline void vv_put_u64(uint8_t *p, uint64_t v)
{
    v = GUINT64_TO_LE(v);
    memcpy(p, &v, 8);
}
static inline uint16_t vv_get_u16(const uint8_t *p)
{
    uint16_t v;
    memcpy(&v, p, 2);
    return GUINT16_FROM_LE(v);
}
static inline uint32_t vv_get_u32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, 4);
    return GUINT32_FROM_LE(v);
}
static inline uint64_t vv_get_u64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
    return GUINT64_FROM_LE(v);
}
static inline void vv_put_be64(uint8_t *p, uint64_t v)
{
    v = GUINT64_TO_BE(v);
    memcpy(p, &v, 8);
}
static inline uint64_t vv_get_be64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
    return GUINT64_FROM_BE(v);
}
/* clang-format on */

/* Writes to a growing byte array (GByteArray, owned by the caller). */
void vv_write_u8(GByteArray *out, uint8_t value);
void vv_write_u16(GByteArray *out, uint16_t value);
void vv_write_u32(GByteArray *out, uint32_t value);
void vv_write_u64(GByteArray *out, uint64_t value);
void vv_write_bytes(GByteArray *out, const void *data, size_t length_bytes);
/* u16 length, then the bytes; NULL is written as "". Longer than 65,535 bytes is a programmer's error. */
void vv_write_string(GByteArray *out, const char *text);

/* Reads from a borrowed span. The first read past the end sets @bad and returns zeroes from then on, so a decoder
 * reads everything and asks once. */
typedef struct {
    const uint8_t *data; /* borrowed */
    size_t length_bytes;
    size_t position_bytes;
    bool bad;
} VvReader;

static inline VvReader vv_reader(const void *data, size_t length_bytes)
{
    return (VvReader){ .data = data, .length_bytes = length_bytes };
}
uint8_t vv_read_u8(VvReader *in);
uint16_t vv_read_u16(VvReader *in);
uint32_t vv_read_u32(VvReader *in);
uint64_t vv_read_u64(VvReader *in);
/* Borrowed from the span; NULL (and bad) past the end. */
const uint8_t *vv_read_bytes(VvReader *in, size_t length_bytes);
/* A new string; NULL (and bad) if it is longer than @max_bytes, past the end, or holds a NUL. */
char *vv_read_string(VvReader *in, size_t max_bytes);
static inline size_t vv_reader_left(const VvReader *in)
{
    return in->bad ? 0 : in->length_bytes - in->position_bytes;
}

/* crc32c (Castagnoli) as iSCSI uses it, through ISA-L: start with @crc 0, feed the result to go on. */
uint32_t vv_crc32c(uint32_t crc, const void *data, size_t length_bytes);

#endif
