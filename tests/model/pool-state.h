/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The model that pool-model.c holds a pool against: flat byte arrays, what a crash may leave of them, comparing. */
#ifndef VV_POOL_STATE_H
#define VV_POOL_STATE_H

#include "meta.h"
#include "pool.h"

#define LUNS 5u
#define SNAPSHOTS 4u /* per LUN */
#define HELD 4u
#define SIZE_MAX_BYTES (2304u << 10) /* two regions and a piece */
#define BLOCKS_MAX (SIZE_MAX_BYTES / VV_BLOCK_BYTES)
#define VERSIONS 6u /* of a block since its LUN's last flush; then the LUN is flushed */
#define POOL_BYTES (UINT64_C(256) << 20)
#define SESSION_STEPS 300u
#define SETTLE_MS 20000u

typedef struct {
    bool used;
    char name[64];
    uint64_t size;
    uint8_t bytes[SIZE_MAX_BYTES];
} ModelSnapshot;

typedef struct {
    bool used;
    uint64_t id;
    char name[64];
    uint64_t size;
    uint8_t bytes[SIZE_MAX_BYTES];
    ModelSnapshot snapshots[SNAPSHOTS];
    uint8_t version_count[BLOCKS_MAX];
    uint64_t versions[BLOCKS_MAX][VERSIONS];
} ModelLun;

typedef struct {
    uint64_t random, next_name, step, crashes;
    bool crashed; /* the last session did not close the pool */
    ModelLun luns[LUNS];
} Model;

/* An open that outlives removals; of one session. */
typedef struct {
    VvHandle *handle;
    ModelLun *lun; /* NULL: it was removed, or this is a snapshot's: bytes are its own */
    ModelSnapshot *snapshot;
    bool write;
    uint64_t size;
    uint8_t *bytes;
} Held;

extern Model *model; /* shared with child processes */
extern VvPool *pool;
extern Held held[HELD];

/* Below @below, by the shared state. */
uint64_t m_chance(uint64_t below);
/* A random range of something of @size bytes, at most @most long: bytes, sectors or blocks. */
void m_range(uint64_t size, uint64_t most, uint64_t *ret_offset, uint64_t *ret_length);
void m_fill(uint8_t *bytes, uint64_t length);
void m_new_name(char *name, const char *prefix);
/* NULL: there is none. */
ModelLun *m_any_lun(void);
ModelLun *m_free_lun(void);
ModelSnapshot *m_any_snapshot(ModelLun *lun);
ModelSnapshot *m_free_snapshot(ModelLun *lun);
/* Does an open of this session hold the LUN for writing? */
bool m_held_for_writing(const ModelLun *lun);
/* All of the LUN is durable. */
void m_forget_versions(ModelLun *lun);
/* After a change of the bytes. */
void m_note_versions(ModelLun *lun, uint64_t offset, uint64_t length);
/* Before a change of the bytes: remembers what a crash may bring back, flushes if that is too much. */
void m_prepare_change(ModelLun *lun, uint64_t offset, uint64_t length);
/* Not told as an opener. */
VvHandle *m_open_object(uint64_t id, bool write);
uint64_t m_snapshot_id(const ModelLun *lun, const ModelSnapshot *snapshot);
/* "LUN@SNAP", newly allocated. */
char *m_object_of(const ModelLun *lun, const ModelSnapshot *snapshot);
void m_flush_lun(ModelLun *lun);
/* Fails the test with @what unless the view shows the bytes. */
void m_compare(VvView *view, const uint8_t *bytes, uint64_t offset, uint64_t length, const char *what);
void m_compare_all_of(uint64_t id, const uint8_t *bytes, uint64_t size, const char *what);
/* All LUNs and snapshots. After a crash what a LUN shows must be allowed, and becomes the model. */
void m_compare_everything(void);
void m_check_pool(void);

/* ---- steps: pool-flip.c */
void m_step_integrity(void);
void m_step_flip(void);

#endif
