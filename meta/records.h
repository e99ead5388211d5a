/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Catalog records in stored form, for the files of meta/ alone: included by meta_private.h behind its structs. */
#ifndef VV_RECORDS_H
#define VV_RECORDS_H

/* ---- records.c: stored forms. encode appends to @out; decode: a new object, or NULL (bad bytes). */
void vvm_pool_encode(const VvMeta *meta, GByteArray *out);
bool vvm_pool_decode(VvMeta *meta, const uint8_t *bytes, size_t length_bytes);
void vvm_disk_encode(const VvDiskInfo *disk, GByteArray *out);
VvDiskInfo *vvm_disk_decode(uint64_t id, const uint8_t *bytes, size_t length_bytes);
void vvm_family_encode(const VvFamily *family, GByteArray *out);
VvFamily *vvm_family_decode(uint64_t id, const uint8_t *bytes, size_t length_bytes);
void vvm_segment_encode(const VvSegment *segment, GByteArray *out);
VvSegment *vvm_segment_decode(uint64_t family, uint64_t number, const uint8_t *bytes, size_t length_bytes);
void vvm_lun_encode(const VvLun *lun, GByteArray *out);
VvLun *vvm_lun_decode(uint64_t id, const uint8_t *bytes, size_t length_bytes);
void vvm_branch_encode(const VvBranch *branch, GByteArray *out);
VvBranch *vvm_branch_decode(uint64_t id, const uint8_t *bytes, size_t length_bytes);
void vvm_snapshot_encode(const VvSnapshot *snapshot, GByteArray *out);
VvSnapshot *vvm_snapshot_decode(uint64_t id, const uint8_t *bytes, size_t length_bytes);
void vvm_job_encode(const VvJob *job, GByteArray *out);
VvJob *vvm_job_decode(uint64_t id, const uint8_t *bytes, size_t length_bytes);
void vvm_request_encode(const VvRequestRecord *request, GByteArray *out);
VvRequestRecord *vvm_request_decode(const uint8_t *bytes, size_t length_bytes);
/* A piece's value, with a checksum: VV_PIECE_BYTES + 8. */
void vvm_piece_encode(const VvPiece *piece, GByteArray *out);
bool vvm_piece_decode(VvPiece *piece, const uint8_t *bytes, size_t length_bytes);

#endif
