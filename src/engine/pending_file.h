/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The memfd that outlives the process: slots of 64 bytes, one for each record that is acknowledged and not applied, one for each
 * LUN with pending, and what the disks' syncs said. Words have the machine's byte order: a memfd never
 * leaves it.
 *
 *   offset    bytes
 *        0        8  magic "VVPENDNG"; 0: nothing was put here yet
 *        8        4  version, 1
 *       12        4  bytes of a slot, 64
 *       16       16  pool UUID
 *       32        8  salt: where checksums of slots begin
 *       40        4  crc32c of bytes 0 to 39
 *       64       32  owners: two checked words. The opening (meta/catalog.h) of who has it, of who is about to take it over
 *     4096    32768  disks: 1,024 times {checked word id, checked word: mark << 32 | errno of the sync that failed}
 *    36864           slots
 *
 * A checked word is {check, value}, check = ~value ^ salt (the owners': without salt). Value 0 is none, whatever the check is. A
 * checksum or a check that does not fit is damage or, in words that change while they are in use, perhaps the death of who wrote.
 *
 *   slot: 8 bytes commit word, 56 bytes body
 *   commit     0: free; else kind in the low half, crc32c of salt, slot number and body in the high half
 *   record     LUN, sequence, region, place (0: discarded), size of an elastic LUN (all ones: not), u32 slot with more checksums
 *              (all ones: none), u32 checksum of the first block, u16 blocks, u8 first block, u8 flags (1: has checksums),
 *              u32 low half of the family
 *   checksums  LUN, sequence, u32 slot with more, u16 the first of these blocks in the record, u16 blocks, 8 times u32; complete before
 *              the record is
 *   done       node, origin, number, value, order (done.h), 16 bytes of zero
 *   intent     node, origin, number, object, the range that is left: from, to (intent.h), u64 flags (1: that is not known)
 *   LUN        LUN; and not in the checksum: checked word newest sequence, checked word mtime
 *
 * W1  The body is complete before the commit word is stored, and the commit word is 0 before the body changes: the death of the
 *     process leaves a slot free or whole. So whatever else is found is damage.
 * W2  The free list is in memory and made anew from the slots: nothing in the file says where the next record goes. */
#ifndef VV_PENDING_FILE_H
#define VV_PENDING_FILE_H

#include "faultpoint.h"
#include "limits.h"
#include "util.h"

#include <glib.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define VV_PENDING_SLOT_BYTES 64u
#define VV_PENDING_SLOTS_AT (4096u + 32u * VV_DISKS_MAX)
#define VV_PENDING_SLOTS ((VV_PENDING_FILE_BYTES - VV_PENDING_SLOTS_AT) / VV_PENDING_SLOT_BYTES)
#define VV_NO_SLOT UINT32_MAX
/* Fewer are free: writes that change the map wait for the journal. More than all requests under way can take. */
#define VV_PENDING_SLOTS_SPARE (64u << 10)
/* Locked when it is touched, so that no write waits for a swap that may lie on one of our own LUNs: more than what
 * VV_PENDING_MEMORY_MAX and VV_LUNS_MAX admit. */
#define VV_PENDING_LOCKED_BYTES (8u << 20)

typedef enum {
    VV_SLOT_RECORD = 0x44524352, /* "RCRD" */
    VV_SLOT_LUN = 0x204e554c,    /* "LUN " */
    VV_SLOT_SUMS = 0x534d5553,   /* "SUMS" */
    VV_SLOT_DONE = 0x454e4f44,   /* "DONE" */
    VV_SLOT_INTENT = 0x544e544e, /* "NTNT" */
} VvSlotKind;

typedef struct {
    _Atomic uint64_t check, value;
} VvCheckedWord;

#define VV_SLOT_HAS_SUMS 1u
typedef struct {
    uint64_t lun, sequence, region, place, size_bytes;
    uint32_t more, sum;
    uint16_t count;
    uint8_t first, flags;
    uint32_t family;
} VvSlotRecord;

#define VV_SLOT_SUMS_MAX 8u
typedef struct {
    uint64_t lun, sequence;
    uint32_t more;
    uint16_t from, count;
    uint32_t sums[VV_SLOT_SUMS_MAX];
} VvSlotSums;

typedef struct {
    uint64_t lun;
    VvCheckedWord sequence, mtime;
    uint64_t zero[2];
} VvSlotLun;

typedef struct {
    uint64_t node, origin, number, value, order, zero[2];
} VvSlotDone;

#define VV_SLOT_INTENT_LOST 1u
typedef struct {
    uint64_t node, origin, number, object, from, to, flags;
} VvSlotIntent;

typedef struct {
    _Atomic uint64_t commit;
    union {
        VvSlotRecord record;
        VvSlotLun lun;
        VvSlotSums sums;
        VvSlotDone done;
        VvSlotIntent intent;
    };
} VvPendingSlot;
G_STATIC_ASSERT(sizeof(VvPendingSlot) == VV_PENDING_SLOT_BYTES && sizeof(VvSlotRecord) == 56 && sizeof(VvSlotSums) == 56 && sizeof(VvSlotDone) == 56 &&
    sizeof(VvSlotIntent) == 56);

typedef struct VvPendingFile VvPendingFile;

/* ---- life */
/* Map @fd, which stays the caller's. @read_only: nothing is written to it. Errors: usage (not a memfd of VV_PENDING_FILE_BYTES that
 * cannot shrink), unsupported (another version), damaged, io. */
VvPendingFile *vv_pending_file_open(int fd, bool read_only, GError **error);
/* The slots that are taken first stay in memory. Bytes. */
size_t vv_pending_file_lock(VvPendingFile *file);
void vv_pending_file_close(VvPendingFile *file);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VvPendingFile, vv_pending_file_close)
uint64_t vv_pending_file_salt(const VvPendingFile *file); /* as the last reset was given it */
bool vv_pending_file_is_empty(const VvPendingFile *file); /* nothing was ever put in */
bool vv_pending_file_is_of(const VvPendingFile *file, const VvUuid *pool);
/* Did @opening own it, or was about to? */
bool vv_pending_file_is_owner(const VvPendingFile *file, uint64_t opening);
/* @opening is about to be the pool's, in the place of @before, an owner: before it is. It is: after. */
void vv_pending_file_announce(VvPendingFile *file, uint64_t before, uint64_t opening);
void vv_pending_file_own(VvPendingFile *file, uint64_t opening);
/* Forget everything, and begin for @pool, owned by @opening. 0 or -errno. */
int vv_pending_file_reset(VvPendingFile *file, const VvUuid *pool, uint64_t opening, uint64_t salt);

/* ---- reading what the last one left; before anything is taken. A false return of @each stops. */
typedef bool (*VvSlotFunc)(void *user, uint32_t slot, VvSlotKind kind, const VvPendingSlot *content);
/* All slots that are not free, in order. Errors: damaged (naming the slot), io. Afterwards the others can be taken. */
bool vv_pending_file_load(VvPendingFile *file, VvSlotFunc each, void *user, GError **error);
/* False: damaged, or its writer died amid it; or (@ret_value 0) there is none. */
bool vv_pending_word_get(const VvPendingFile *file, const VvCheckedWord *word, uint64_t *ret_value);

/* ---- slots. Any thread; what is in a slot belongs to who took it. */
/* Take @count; false: there are not so many, and none was taken. A leaf lock. */
bool vv_pending_file_take(VvPendingFile *file, uint32_t *ret_slots, unsigned count);
void vv_pending_file_give(VvPendingFile *file, const uint32_t *slots, unsigned count); /* they are clear */
unsigned vv_pending_file_free_count(const VvPendingFile *file);
void vv_pending_file_put_record(VvPendingFile *file, uint32_t slot, const VvSlotRecord *record);
void vv_pending_file_put_sums(VvPendingFile *file, uint32_t slot, const VvSlotSums *sums);
/* The slot that goes on with the checksums of what is in @slot, a record or checksums; VV_NO_SLOT: none. */
uint32_t vv_pending_file_more(const VvPendingFile *file, uint32_t slot);
/* The checksums in @slot, borrowed; NULL: it has others, or none. */
const VvSlotSums *vv_pending_file_sums(const VvPendingFile *file, uint32_t slot, uint64_t lun, uint64_t sequence);
void vv_pending_file_put_lun(VvPendingFile *file, uint32_t slot, uint64_t lun);
void vv_pending_file_set_sequence(VvPendingFile *file, uint32_t slot, uint64_t sequence);
void vv_pending_file_set_mtime(VvPendingFile *file, uint32_t slot, uint64_t mtime_ns); /* 0: clean */
/* What was done for another node: done.h. */
void vv_pending_file_put_done(VvPendingFile *file, uint32_t slot, const VvSlotDone *done);
const VvSlotDone *vv_pending_file_done(const VvPendingFile *file, uint32_t slot);
/* What is begun for another node: intent.h. */
void vv_pending_file_put_intent(VvPendingFile *file, uint32_t slot, const VvSlotIntent *intent);
const VvSlotIntent *vv_pending_file_intent(const VvPendingFile *file, uint32_t slot);
void vv_pending_file_clear(VvPendingFile *file, uint32_t slot);

/* ---- disks: control threads, save the word */
/* The word for the disk's failed sync, made if there is none; NULL: VV_DISKS_MAX are there. *ret_error: what it says already. */
VvCheckedWord *vv_pending_file_disk(VvPendingFile *file, uint64_t disk_id, int *ret_error);
void vv_pending_file_forget_disk(VvPendingFile *file, uint64_t disk_id);
void vv_pending_file_set_error(VvPendingFile *file, VvCheckedWord *word, int error); /* any thread */

#endif
