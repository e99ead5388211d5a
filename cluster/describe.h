/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Descriptions: what the node with the disks tells a guest of the LUNs and snapshots that are shared with it (docs/cluster-daemon.md, "Guests").
 * A request on the control connection, kind VV_DESCRIBE; its reply, without a body, says that the guest's map has it and its kernel was told.
 *
 * Body, little-endian; text is u16 length and bytes:
 *   0   1  version, 1
 *   1   1  flags: 1 the first of a whole set, 2 the last of one, 4 nodes are named, and all of them
 *   2   2  count of items
 *   4   8  index of the newest entry in the sender's map
 *  12   .  items, each begins with u8 kind, u64 id:
 *          1 LUN       u8 mode (1 none: there is a snapshot of it that is shared; 2 ro, 3 rw), u8 flags (1 elastic, 2 its content is
 *                      another than before), text name; u32 mode bits, uid, gid, timeout (s); without mode none also 16 bytes UUID, u64 size, blocks
 *                      in use, created, mtime, atime, ctime, kept until; text origin, or "" if that is not shared
 *          2 snapshot  u64 its LUN, u8 kind, 16 bytes UUID, u64 size, blocks in use, created, mtime of the LUN at that instant, kept until, text
 *                      name, text note
 *          3 gone      u8 0: it was removed, 1: it is not shared any more
 *          4 node      u16 length, its record as the pool keeps it
 *
 * G1  Nothing of an object is said that is not shared with who is told, but what the snapshots of a LUN of which one is shared have from it: its
 *     name, whose it is, how long requests wait.
 * G2  In a whole set everything is named; what a guest knows and is not named in it is not shared with it.
 * G3  A snapshot is named behind its LUN, in the same set or in an earlier message. */
#ifndef VV_DESCRIBE_H
#define VV_DESCRIBE_H

#include "util.h"

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define VV_DESCRIBE 0x0302u
#define VV_DESCRIBE_BYTES_MAX (1u << 20)  /* of a body: what any node takes on a control connection */
#define VV_DESCRIBE_ITEMS_MAX 4096u       /* of a message: some hundred bytes each */
#define VV_DESCRIBE_HEAD_BYTES 12u

enum { VV_DESCRIBE_FIRST = 1, VV_DESCRIBE_LAST = 2, VV_DESCRIBE_NODES = 4 };
typedef enum { VV_DESCRIBED_LUN = 1, VV_DESCRIBED_SNAPSHOT, VV_DESCRIBED_GONE, VV_DESCRIBED_NODE } VvDescribedKind;

typedef struct {
    VvDescribedKind kind;
    uint64_t id;
    /* LUN */
    uint8_t mode; /* as VvShareMode: 1 none, 2 ro, 3 rw */
    bool elastic, content;
    uint64_t atime_ns, ctime_ns;
    uint32_t mode_bits, uid, gid, timeout_s;
    char *origin; /* owned; as all texts */
    /* snapshot */
    uint64_t lun;
    uint8_t snapshot_kind;
    char *note;
    /* both */
    VvUuid uuid;
    char *name;
    uint64_t size_bytes, used_blocks, created_ns, mtime_ns, keep_until_ns;
    /* gone */
    bool hidden; /* it is there, but not shared any more */
    /* node */
    GBytes *record; /* owned */
} VvDescribed;
void vv_described_clear(VvDescribed *described);
void vv_described_free(VvDescribed *described);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(VvDescribed, vv_described_clear)

typedef struct {
    unsigned flags;
    uint64_t index;
    GPtrArray *items; /* owned, of VvDescribed */
} VvDescription;
void vv_description_clear(VvDescription *description);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(VvDescription, vv_description_clear)

/* A body without items, and one more of them; false, and nothing is added: it is full. What is encoded must be in range (asserted). */
void vv_description_begin(GByteArray *out, unsigned flags, uint64_t index);
bool vv_description_add(GByteArray *out, const VvDescribed *described);
/* Into one that is begun. */
void vv_description_set_flags(GByteArray *out, unsigned flags);
/* Total. False: bad bytes, or not in range; nothing is set. */
bool vv_description_decode(const uint8_t *body, size_t length_bytes, VvDescription *ret_description);

#endif
