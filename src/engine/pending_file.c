/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The memfd of pending records: see pending_file.h for its layout and invariants. */
#include "pending_file.h"

#include "codec.h"
#include "error.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define MAGIC UINT64_C(0x474e444e45505656) /* "VVPENDNG" */
#define VERSION 1u
#define DISKS_AT 4096u
#define READY_BYTES (256u << 10) /* slots of the 4,000 records that the reserve of slab.h has room for */
#define ERROR_MARK (UINT64_C(0x53594e43) << 32) /* so that no flipped byte makes an error none */

typedef struct {
    _Atomic uint64_t magic;
    uint32_t version, slot_bytes;
    VvUuid pool;
    uint64_t salt;
    uint32_t crc;
    uint32_t zero[5];
    VvCheckedWord owners[2]; /* the present one, the next one */
} Header;
G_STATIC_ASSERT(G_STRUCT_OFFSET(Header, crc) == 40 && G_STRUCT_OFFSET(Header, owners) == 64);

typedef struct {
    VvCheckedWord id, error;
} DiskWords;

struct VvPendingFile {
    int fd; /* borrowed */
    bool read_only;
    uint8_t *map;
    Header *header;
    DiskWords *disks;
    VvPendingSlot *slots;
    pthread_mutex_t lock; /* a leaf */
    uint32_t fresh;       /* lock: slots from here on were not taken yet */
    uint32_t *freed;      /* lock: those below that are free, the last one is taken first */
    uint32_t freed_count, freed_capacity;
    _Atomic uint32_t used_count;
};


/* ---- checked words */

static void word_set(VvCheckedWord *word, uint64_t value, uint64_t salt)
{
    atomic_store_explicit(&word->value, 0, memory_order_release);
    atomic_store_explicit(&word->check, ~value ^ salt, memory_order_release);
    atomic_store_explicit(&word->value, value, memory_order_release);
}

/* False: there is something else than a value or none. */
static bool word_get(const VvCheckedWord *word, uint64_t salt, uint64_t *ret_value)
{
    uint64_t value = atomic_load(&word->value);
    *ret_value = value;
    return value == 0 || atomic_load(&word->check) == (~value ^ salt);
}

bool vv_pending_word_get(const VvPendingFile *file, const VvCheckedWord *word, uint64_t *ret_value)
{
    return word_get(word, file->header->salt, ret_value);
}

/* ---- life */

static bool check_fd(int fd, GError **error)
{
    struct stat st;
    int seals = fcntl(fd, F_GET_SEALS);
    if (fstat(fd, &st) < 0) {
        vv_set_error_errno(error, errno, NULL, "the memfd of pending records cannot be looked at");
        return false;
    }
    if (!S_ISREG(st.st_mode) || st.st_size != VV_PENDING_FILE_BYTES || seals < 0 || !(seals & F_SEAL_SHRINK)) {
        vv_set_error(error, VV_ERROR_USAGE, NULL, NULL,
            "what was given for pending records is not a memfd of %u MiB that is sealed against shrinking",
            VV_PENDING_FILE_BYTES >> 20);
        return false;
    }
    return true;
}

static bool check_header(const Header *header, GError **error)
{
    if (header->magic == 0)
        return true; /* who began to fill it died before the end: no record came after it */
    if (header->magic != MAGIC || header->crc != vv_crc32c(0, header, G_STRUCT_OFFSET(Header, crc))) {
        vv_set_error(error, VV_ERROR_DAMAGED, NULL, NULL, "the header of the pending records is damaged");
        return false;
    }
    if (header->version != VERSION || header->slot_bytes != VV_PENDING_SLOT_BYTES) {
        vv_set_error(error, VV_ERROR_UNSUPPORTED, NULL, NULL,
            "the pending records have version %u; this vvfs knows version %u", header->version, VERSION);
        return false;
    }
    return true;
}

VvPendingFile *vv_pending_file_open(int fd, bool read_only, GError **error)
{
    if (!check_fd(fd, error))
        return NULL;
    void *map = mmap(NULL, VV_PENDING_FILE_BYTES, read_only ? PROT_READ : PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED) {
        vv_set_error_errno(error, errno, NULL, "the pending records cannot be mapped");
        return NULL;
    }
    if (!check_header(map, error)) {
        munmap(map, VV_PENDING_FILE_BYTES);
        return NULL;
    }
    if (!read_only && mlock2(map, VV_PENDING_LOCKED_BYTES, MLOCK_ONFAULT) != 0)
        vv_log(VV_LOG_DEBUG, "pending records are not locked: %s", g_strerror(errno));
    VvPendingFile *file = g_new0(VvPendingFile, 1);
    file->fd = fd;
    file->read_only = read_only;
    file->map = map;
    file->header = map;
    file->disks = (DiskWords *) (void *) (file->map + DISKS_AT);
    file->slots = (VvPendingSlot *) (void *) (file->map + VV_PENDING_SLOTS_AT);
    pthread_mutex_init(&file->lock, NULL);
    return file;
}

size_t vv_pending_file_lock(VvPendingFile *file)
{
    return !file->read_only && mlock(file->map, READY_BYTES) == 0 ? READY_BYTES : 0;
}

void vv_pending_file_close(VvPendingFile *file)
{
    if (file == NULL)
        return;
    munmap(file->map, VV_PENDING_FILE_BYTES);
    pthread_mutex_destroy(&file->lock);
    g_free(file->freed);
    g_free(file);
}

bool vv_pending_file_is_empty(const VvPendingFile *file)
{
    return file->header->magic == 0;
}

bool vv_pending_file_is_of(const VvPendingFile *file, const VvUuid *pool)
{
    return vv_uuid_equal(&file->header->pool, pool);
}

bool vv_pending_file_is_owner(const VvPendingFile *file, uint64_t opening)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(file->header->owners); i++) {
        uint64_t owner;
        if (word_get(&file->header->owners[i], 0, &owner) && owner != 0 && owner == opening)
            return true;
    }
    return false;
}

void vv_pending_file_announce(VvPendingFile *file, uint64_t before, uint64_t opening)
{
    uint64_t owner;
    g_assert(!file->read_only && vv_pending_file_is_owner(file, before));
    if (!word_get(&file->header->owners[0], 0, &owner) ||
        owner != before) /* who had announced itself died before it owned it */
        word_set(&file->header->owners[0], before, 0);
    word_set(&file->header->owners[1], opening, 0);
    vv_may_die(VV_DIE_ANNOUNCED);
}

/* One of the words says so all the time. */
void vv_pending_file_own(VvPendingFile *file, uint64_t opening)
{
    g_assert(vv_pending_file_is_owner(file, opening));
    word_set(&file->header->owners[0], opening, 0);
    word_set(&file->header->owners[1], 0, 0);
}

uint64_t vv_pending_file_salt(const VvPendingFile *file)
{
    return file->header->salt;
}

int vv_pending_file_reset(VvPendingFile *file, const VvUuid *pool, uint64_t opening, uint64_t salt)
{
    Header *header = file->header;
    g_assert(!file->read_only);
    atomic_store(&header->magic, 0);
    if (fallocate(file->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, VV_PENDING_FILE_BYTES) != 0)
        return -errno;
    header->version = VERSION;
    header->slot_bytes = VV_PENDING_SLOT_BYTES;
    header->pool = *pool;
    header->salt = salt;
    word_set(&header->owners[0], opening, 0);
    Header whole = *header;
    whole.magic = MAGIC;
    header->crc = vv_crc32c(0, &whole, G_STRUCT_OFFSET(Header, crc));
    atomic_store_explicit(&header->magic, MAGIC, memory_order_release);
    VV_LOCKED(&file->lock);
    file->fresh = file->freed_count = 0;
    atomic_store(&file->used_count, 0);
    return 0;
}

/* ---- slots */

static uint64_t commit_word(const VvPendingFile *file, uint32_t slot, VvSlotKind kind)
{
    const VvPendingSlot *content = &file->slots[slot];
    uint32_t crc = (uint32_t) file->header->salt ^ slot;
    crc = vv_crc32c(crc, &content->record, kind == VV_SLOT_LUN ? sizeof content->lun.lun : sizeof content->record);
    return (uint64_t) crc << 32 | kind;
}

static void commit(VvPendingFile *file, uint32_t slot, VvSlotKind kind)
{
    uint64_t word = commit_word(file, slot, kind);
    vv_may_die(VV_DIE_IN_RECORD);
    atomic_store_explicit(&file->slots[slot].commit, word, memory_order_release); /* W1 */
}

/* W1: what was stored to the commit word stays before what is stored to the body. */
static VvPendingSlot *begin(VvPendingFile *file, uint32_t slot)
{
    VvPendingSlot *content = &file->slots[slot];
    g_assert(atomic_load_explicit(&content->commit, memory_order_relaxed) == 0);
    atomic_thread_fence(memory_order_release);
    return content;
}

void vv_pending_file_put_record(VvPendingFile *file, uint32_t slot, const VvSlotRecord *record)
{
    begin(file, slot)->record = *record;
    commit(file, slot, VV_SLOT_RECORD);
    vv_may_die(VV_DIE_RECORD_PUT);
}

void vv_pending_file_put_sums(VvPendingFile *file, uint32_t slot, const VvSlotSums *sums)
{
    begin(file, slot)->sums = *sums;
    commit(file, slot, VV_SLOT_SUMS);
}

void vv_pending_file_put_done(VvPendingFile *file, uint32_t slot, const VvSlotDone *done)
{
    begin(file, slot)->done = *done;
    commit(file, slot, VV_SLOT_DONE);
}

const VvSlotDone *vv_pending_file_done(const VvPendingFile *file, uint32_t slot)
{
    return &file->slots[slot].done;
}

void vv_pending_file_put_intent(VvPendingFile *file, uint32_t slot, const VvSlotIntent *intent)
{
    begin(file, slot)->intent = *intent;
    commit(file, slot, VV_SLOT_INTENT);
}

const VvSlotIntent *vv_pending_file_intent(const VvPendingFile *file, uint32_t slot)
{
    return &file->slots[slot].intent;
}

static VvSlotKind kind_of(const VvPendingFile *file, uint32_t slot)
{
    return (VvSlotKind) (uint32_t) atomic_load_explicit(&file->slots[slot].commit, memory_order_relaxed);
}

uint32_t vv_pending_file_more(const VvPendingFile *file, uint32_t slot)
{
    const VvPendingSlot *content = &file->slots[slot];
    VvSlotKind kind = kind_of(file, slot);
    return kind == VV_SLOT_RECORD ? content->record.more : kind == VV_SLOT_SUMS ? content->sums.more : VV_NO_SLOT;
}

const VvSlotSums *vv_pending_file_sums(const VvPendingFile *file, uint32_t slot, uint64_t lun, uint64_t sequence)
{
    if (slot >= VV_PENDING_SLOTS || kind_of(file, slot) != VV_SLOT_SUMS)
        return NULL;
    const VvSlotSums *sums = &file->slots[slot].sums;
    return sums->lun == lun && sums->sequence == sequence ? sums : NULL;
}

void vv_pending_file_put_lun(VvPendingFile *file, uint32_t slot, uint64_t lun)
{
    VvPendingSlot *content = begin(file, slot);
    memset(&content->record, 0, sizeof content->record);
    content->lun.lun = lun;
    commit(file, slot, VV_SLOT_LUN);
}

void vv_pending_file_set_sequence(VvPendingFile *file, uint32_t slot, uint64_t sequence)
{
    word_set(&file->slots[slot].lun.sequence, sequence, file->header->salt);
}

void vv_pending_file_set_mtime(VvPendingFile *file, uint32_t slot, uint64_t mtime_ns)
{
    word_set(&file->slots[slot].lun.mtime, mtime_ns, file->header->salt);
}

void vv_pending_file_clear(VvPendingFile *file, uint32_t slot)
{
    atomic_store_explicit(&file->slots[slot].commit, 0, memory_order_release);
}

/* lock held. */
static void push_freed(VvPendingFile *file, uint32_t slot)
{
    if (file->freed_count == file->freed_capacity) {
        file->freed_capacity = MAX(2 * file->freed_capacity, 1024);
        file->freed = g_renew(uint32_t, file->freed, file->freed_capacity);
    }
    file->freed[file->freed_count++] = slot;
}

bool vv_pending_file_take(VvPendingFile *file, uint32_t *ret_slots, unsigned count)
{
    VV_LOCKED(&file->lock);
    if (VV_PENDING_SLOTS - atomic_load_explicit(&file->used_count, memory_order_relaxed) < count)
        return false;
    for (unsigned i = 0; i < count; i++)
        ret_slots[i] = file->freed_count > 0 ? file->freed[--file->freed_count] : file->fresh++;
    atomic_fetch_add_explicit(&file->used_count, count, memory_order_relaxed);
    return true;
}

void vv_pending_file_give(VvPendingFile *file, const uint32_t *slots, unsigned count)
{
    VV_LOCKED(&file->lock);
    for (unsigned i = count; i-- > 0;)
        push_freed(file, slots[i]);
    atomic_fetch_sub_explicit(&file->used_count, count, memory_order_relaxed);
}

unsigned vv_pending_file_free_count(const VvPendingFile *file)
{
    return VV_PENDING_SLOTS - atomic_load_explicit(&file->used_count, memory_order_relaxed);
}

/* ---- loading */

static bool is_kind(uint32_t kind)
{
    return kind == VV_SLOT_RECORD || kind == VV_SLOT_LUN || kind == VV_SLOT_SUMS || kind == VV_SLOT_DONE ||
        kind == VV_SLOT_INTENT;
}

/* Slots [from, to). */
static bool load_some(VvPendingFile *file, uint32_t from, uint32_t to, VvSlotFunc each, void *user, GError **error)
{
    for (uint32_t slot = from; slot < to; slot++) {
        const VvPendingSlot *content = &file->slots[slot];
        uint64_t word = atomic_load(&content->commit);
        VvSlotKind kind = (VvSlotKind) (uint32_t) word;
        if (word == 0)
            continue;
        if (!is_kind((uint32_t) word) || word != commit_word(file, slot, kind)) {
            vv_set_error(error, VV_ERROR_DAMAGED, NULL, NULL, "pending record %u is damaged", slot);
            return false;
        }
        while (file->fresh < slot)
            push_freed(file, file->fresh++);
        file->fresh = slot + 1;
        atomic_fetch_add(&file->used_count, 1);
        if (!each(user, slot, kind, content))
            return false;
    }
    return true;
}

static bool check_disks(const VvPendingFile *file, GError **error)
{
    for (unsigned i = 0; i < VV_DISKS_MAX; i++) {
        uint64_t id, result;
        if (word_get(&file->disks[i].id, file->header->salt, &id) &&
            word_get(&file->disks[i].error, file->header->salt, &result) &&
            (result == 0 || (result & ~UINT64_C(0xffff)) == ERROR_MARK))
            continue;
        vv_set_error(error, VV_ERROR_DAMAGED, NULL, NULL, "what is kept of disk %u is damaged", i);
        return false;
    }
    return true;
}

/* What was never touched is a hole of the file, and looking at it through the map would fill it. */
bool vv_pending_file_load(VvPendingFile *file, VvSlotFunc each, void *user, GError **error)
{
    off_t at = VV_PENDING_SLOTS_AT;
    uint32_t done = 0;
    g_assert(file->fresh == 0 && file->freed_count == 0);
    if (!check_disks(file, error))
        return false;
    while (at < VV_PENDING_FILE_BYTES && (at = lseek(file->fd, at, SEEK_DATA)) >= 0) {
        off_t end = lseek(file->fd, at, SEEK_HOLE);
        if (end < 0)
            break;
        uint32_t from = (uint32_t) ((uint64_t) at - VV_PENDING_SLOTS_AT) / VV_PENDING_SLOT_BYTES;
        uint32_t to = (uint32_t) ((uint64_t) end - VV_PENDING_SLOTS_AT) / VV_PENDING_SLOT_BYTES;
        if (!load_some(file, MAX(from, done), MIN(to, VV_PENDING_SLOTS), each, user, error))
            return false;
        done = to;
        at = end;
    }
    if (at < 0 && errno != ENXIO) {
        vv_set_error_errno(error, errno, NULL, "the pending records cannot be read");
        return false;
    }
    for (uint32_t i = 0; i < file->freed_count / 2; i++) { /* the lowest first: few pages in use */
        uint32_t other = file->freed[file->freed_count - 1 - i];
        file->freed[file->freed_count - 1 - i] = file->freed[i];
        file->freed[i] = other;
    }
    return true;
}

/* ---- disks */

/* NULL: there is none. */
static DiskWords *find_disk(const VvPendingFile *file, uint64_t disk_id)
{
    for (unsigned i = 0; i < VV_DISKS_MAX; i++)
        if (atomic_load(&file->disks[i].id.value) == disk_id)
            return &file->disks[i];
    return NULL;
}

VvCheckedWord *vv_pending_file_disk(VvPendingFile *file, uint64_t disk_id, int *ret_error)
{
    DiskWords *found = find_disk(file, disk_id);
    *ret_error = 0;
    if (found) {
        *ret_error = -(int) (uint32_t) atomic_load(&found->error.value);
        return &found->error;
    }
    found = find_disk(file, 0);
    if (found == NULL)
        return NULL;
    word_set(&found->error, 0, file->header->salt);
    word_set(&found->id, disk_id, file->header->salt);
    return &found->error;
}

void vv_pending_file_forget_disk(VvPendingFile *file, uint64_t disk_id)
{
    DiskWords *found = find_disk(file, disk_id);
    if (found)
        word_set(&found->id, 0, file->header->salt);
}

void vv_pending_file_set_error(VvPendingFile *file, VvCheckedWord *word, int error)
{
    word_set(word, ERROR_MARK | (uint32_t) -error, file->header->salt);
}
