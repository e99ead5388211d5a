/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "stamp.h"

#include "codec.h"

#include <string.h>

#define MAGIC "vvpat\0\0\1"
#define HEAD_BYTES 48u
#define CRC_OFFSET 508u

static uint64_t next_word(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* A sector is what its head says, and nothing else: two that mix are no stamp. */
static void encode(const Stamp *stamp, uint8_t *out)
{
    uint64_t state;

    memcpy(out, MAGIC, 8);
    vv_put_u32(out + 8, stamp->lun);
    vv_put_u32(out + 12, stamp->node);
    vv_put_u64(out + 16, stamp->sector);
    vv_put_u64(out + 24, stamp->sequence);
    vv_put_u32(out + 32, stamp->write_bytes);
    vv_put_u32(out + 36, stamp->participants);
    vv_put_u32(out + 40, stamp->luns);
    vv_put_u32(out + 44, stamp->slots);
    state = vv_crc32c(0, out, HEAD_BYTES) ^ (stamp->sequence << 20) ^ (stamp->sector << 44);
    for (size_t i = HEAD_BYTES; i + 8 <= CRC_OFFSET; i += 8)
        vv_put_u64(out + i, next_word(&state));
    vv_put_u32(out + CRC_OFFSET - 4, (uint32_t) next_word(&state));
    vv_put_u32(out + CRC_OFFSET, vv_crc32c(0, out, CRC_OFFSET));
}

void stamp_fill(uint8_t *data, size_t bytes, uint64_t offset, Stamp *stamp)
{
    stamp->write_bytes = (uint32_t) bytes;
    for (size_t i = 0; i < bytes; i += STAMP_BYTES) {
        stamp->sector = (offset + i) / STAMP_BYTES;
        encode(stamp, data + i);
    }
}

static bool is_empty(const uint8_t *data)
{
    return data[0] == 0 && memcmp(data, data + 1, STAMP_BYTES - 1) == 0;
}

StampState stamp_look(const uint8_t *data, uint32_t lun, uint64_t sector, Stamp *ret_stamp)
{
    uint8_t wanted[STAMP_BYTES];
    Stamp stamp;

    if (is_empty(data))
        return STAMP_EMPTY;
    if (memcmp(data, MAGIC, 8) != 0)
        return STAMP_STRANGE;
    stamp = (Stamp){ .lun = vv_get_u32(data + 8),
        .node = vv_get_u32(data + 12),
        .sector = vv_get_u64(data + 16),
        .sequence = vv_get_u64(data + 24),
        .write_bytes = vv_get_u32(data + 32),
        .participants = vv_get_u32(data + 36),
        .luns = vv_get_u32(data + 40),
        .slots = vv_get_u32(data + 44) };
    *ret_stamp = stamp;
    encode(&stamp, wanted);
    if (memcmp(data, wanted, STAMP_BYTES) != 0 || stamp.sequence == 0 || stamp.sequence > STAMP_SEQUENCE_MAX ||
        stamp.node >= STAMP_NODES_MAX)
        return STAMP_DAMAGED;
    if (stamp.lun != lun)
        return STAMP_OTHER_LUN;
    return stamp.sector == sector ? STAMP_GOOD : STAMP_OTHER_ADDRESS;
}

const char *stamp_state_name(StampState state)
{
    static const char *const names[] = { "good", "never written", "neither zeros nor a stamp", "a damaged stamp",
        "another LUN's data", "data of another address" };

    return names[state];
}

uint64_t stamp_value(const Stamp *stamp)
{
    return ((uint64_t) stamp->node << 43) | stamp->sequence;
}
