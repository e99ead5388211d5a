/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Table "member": nodes and invites of a pool, and who may use its objects, by kind and id, changed by MEMBER_SET ops. The bodies are their
 * owner's (src/engine/members.h, sharing.h); here they are bytes that are kept, in memory as the rest of the catalog. */
#ifndef VV_MEMBER_TABLE_H
#define VV_MEMBER_TABLE_H

#include "catalog.h"

/* Records of this kind belong to the LUN or snapshot of their id (0: to none), and go when it goes: apply.c. */
#define VV_MEMBER_OF_OBJECT 3u

typedef struct {
    uint8_t kind; /* not 0 */
    uint64_t id;
    uint32_t body_bytes; /* 1 to VV_MEMBER_BYTES_MAX */
    uint8_t body[];
} VvMemberRecord;

/* ---- looking: with the read lock, as all of the catalog. By kind, then by id. */
const GPtrArray *vv_meta_members(const VvMeta *meta); /* VvMemberRecord, borrowed */
const VvMemberRecord *vv_meta_member(const VvMeta *meta, uint8_t kind, uint64_t id); /* NULL: there is none */

/* ---- for the files of meta/ */
VvMemberRecord *vvm_member_new(uint8_t kind, uint64_t id, const uint8_t *body, uint32_t body_bytes);
/* Put, replace or, without body, remove. Write lock. */
void vvm_member_set(VvMeta *meta, uint8_t kind, uint64_t id, const uint8_t *body, uint32_t body_bytes);
/* records.c */
void vvm_member_encode(const VvMemberRecord *member, GByteArray *out);
VvMemberRecord *vvm_member_decode(uint8_t kind, uint64_t id, const uint8_t *bytes, size_t length_bytes);

#endif
