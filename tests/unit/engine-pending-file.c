/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The file of pending records by itself: what a process that dies leaves is read whole; what is damaged is refused. */
#include "pending_file.h"

#include "error.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

static const VvUuid pool_uuid = { .bytes = { 1, 2, 3 } };

static int new_memfd(uint64_t bytes, bool sealed)
{
    int fd = memfd_create("pending", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(ftruncate(fd, (off_t) bytes), ==, 0);
    if (sealed)
        g_assert_cmpint(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), ==, 0);
    return fd;
}

static VvPendingFile *open_file(int fd)
{
    g_autoptr(GError) error = NULL;
    VvPendingFile *file = vv_pending_file_open(fd, false, &error);
    g_assert_no_error(error);
    return file;
}

static bool collect_cb(void *user, uint32_t slot, VvSlotKind kind, const VvPendingSlot *content)
{
    GArray *found = user;
    VvPendingSlot copy;
    (void) slot;
    memcpy(&copy, content, sizeof copy);
    if (kind == VV_SLOT_LUN)
        memset(&copy.record.sequence, 0, sizeof copy.record - sizeof copy.record.lun); /* checked apart */
    g_array_append_val(found, copy);
    return true;
}

static VvSlotRecord some_record(uint64_t sequence)
{
    return (VvSlotRecord){ .lun = 0x4000000077,
        .sequence = sequence,
        .region = 3 * sequence,
        .place = 0x123400 + sequence,
        .size_bytes = UINT64_MAX,
        .family = 0x78,
        .more = VV_NO_SLOT,
        .count = 5,
        .first = 250 };
}

/* A file with a LUN, three records and a disk whose sync failed. */
static int filled(void)
{
    int fd = new_memfd(VV_PENDING_FILE_BYTES, true), result;
    g_autoptr(VvPendingFile) file = open_file(fd);
    uint32_t slots[5];
    g_assert_true(vv_pending_file_is_empty(file));
    g_assert_cmpint(vv_pending_file_reset(file, &pool_uuid, 77, 0x5a17), ==, 0);
    g_assert_true(vv_pending_file_take(file, slots, G_N_ELEMENTS(slots)));
    vv_pending_file_put_lun(file, slots[0], 0x4000000077);
    for (unsigned i = 1; i < 4; i++) {
        VvSlotRecord record = some_record(i);
        vv_pending_file_put_record(file, slots[i], &record);
    }
    vv_pending_file_set_sequence(file, slots[0], 3);
    vv_pending_file_set_mtime(file, slots[0], 1700000000123456789);
    VvSlotRecord gone = some_record(4); /* its entry was applied */
    vv_pending_file_put_record(file, slots[4], &gone);
    vv_pending_file_clear(file, slots[4]);
    vv_pending_file_set_error(file, vv_pending_file_disk(file, 0x4000000001, &result), -EIO);
    g_assert_cmpint(result, ==, 0);
    return fd;
}

static void test_kept(void)
{
    vv_autofd int fd = filled();
    g_autoptr(VvPendingFile) file = open_file(fd);
    g_autoptr(GArray) found = g_array_new(FALSE, FALSE, sizeof(VvPendingSlot));
    g_autoptr(GError) error = NULL;
    VvUuid other = pool_uuid;
    uint32_t slots[3];
    int result;
    other.bytes[15] = 1;
    g_assert_false(vv_pending_file_is_empty(file));
    g_assert_true(vv_pending_file_is_of(file, &pool_uuid) && !vv_pending_file_is_of(file, &other));
    g_assert_true(vv_pending_file_load(file, collect_cb, found, &error));
    g_assert_no_error(error);
    g_assert_cmpuint(found->len, ==, 4);
    for (unsigned i = 1; i < 4; i++) {
        VvSlotRecord record = some_record(i);
        g_assert_true(memcmp(&g_array_index(found, VvPendingSlot, i).record, &record, sizeof record) == 0);
    }
    g_assert_cmpuint(vv_pending_file_free_count(file), ==, VV_PENDING_SLOTS - 4);
    g_assert_true(vv_pending_file_take(file, slots, 3)); /* those that are free, and no other */
    for (unsigned i = 0; i < 3; i++)
        g_assert_cmpuint(slots[i], >=, 4);
    (void) vv_pending_file_disk(file, 0x4000000001, &result);
    g_assert_cmpint(result, ==, -EIO);
    (void) vv_pending_file_disk(file, 0x4000000002, &result);
    g_assert_cmpint(result, ==, 0);
    vv_pending_file_forget_disk(file, 0x4000000001);
    (void) vv_pending_file_disk(file, 0x4000000001, &result); /* another one in its place */
    g_assert_cmpint(result, ==, 0);
}

/* What nobody looks at: padding, the body of a free slot (the fifth), the checks of words that are none, the second owner. */
static bool is_harmless(uint32_t at)
{
    uint32_t lun = VV_PENDING_SLOTS_AT, free_slot = VV_PENDING_SLOTS_AT + 4 * VV_PENDING_SLOT_BYTES, disk = 4096 + 32;
    return (at >= 44 && at < 64) || (at >= 80 && at < 96) || (at >= disk && at < disk + 8) ||
           (at >= disk + 16 && at < disk + 24) || (at >= lun + 48 && at < lun + 64) || at >= free_slot + 8;
}

/* Every byte of what is in use, flipped in any way of a few: refused, or owned by nobody, or the same as ever. */
static void test_flipped(void)
{
    static const uint8_t flips[] = { 0x01, 0x80, 0xff };
    vv_autofd int fd = filled();
    uint8_t *map = mmap(NULL, VV_PENDING_FILE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    unsigned refused = 0, same = 0;
    g_assert_true(map != MAP_FAILED);
    for (uint32_t at = 0; at < VV_PENDING_SLOTS_AT + 5 * VV_PENDING_SLOT_BYTES; at++) {
        if (at == 96)
            at = 4096;
        if (at == 4096 + 64)
            at = VV_PENDING_SLOTS_AT;
        for (unsigned k = 0; k < G_N_ELEMENTS(flips); k++) {
            g_autoptr(GError) error = NULL;
            g_autoptr(GArray) found = g_array_new(FALSE, FALSE, sizeof(VvPendingSlot));
            map[at] ^= flips[k];
            g_autoptr(VvPendingFile) file = vv_pending_file_open(fd, true, &error);
            bool ok =
                file && vv_pending_file_load(file, collect_cb, found, &error) && vv_pending_file_is_owner(file, 77);
            const VvPendingSlot *lun = (const VvPendingSlot *) (const void *) (map + VV_PENDING_SLOTS_AT);
            uint64_t value;
            ok = ok && vv_pending_word_get(file, &lun->lun.sequence, &value) &&
                 vv_pending_word_get(file, &lun->lun.mtime, &value);
            refused += !ok;
            same += ok;
            if (ok) {
                VvSlotRecord record = some_record(2);
                g_assert_cmpuint(found->len, ==, 4);
                g_assert_true(memcmp(&g_array_index(found, VvPendingSlot, 2).record, &record, sizeof record) == 0);
                g_assert_true(is_harmless(at));
            }
            map[at] ^= flips[k];
        }
    }
    munmap(map, VV_PENDING_FILE_BYTES);
    g_test_message("%u refused, %u harmless", refused, same);
    g_assert_cmpuint(refused, >, 900);
}

/* Whoever dies amid a record leaves its slot free. */
static uint32_t torn_at;
static VvPendingFile *torn_file;
static int torn_fd;
static void look(VvDiePoint point)
{
    g_autoptr(GArray) found = g_array_new(FALSE, FALSE, sizeof(VvPendingSlot));
    if (point != VV_DIE_IN_RECORD)
        return;
    g_autoptr(VvPendingFile) file = open_file(torn_fd);
    g_assert_true(vv_pending_file_load(file, collect_cb, found, NULL));
    g_assert_cmpuint(found->len, ==, torn_at++);
}

static void test_torn(void)
{
    uint32_t slots[3];
    torn_fd = new_memfd(VV_PENDING_FILE_BYTES, true);
    torn_file = open_file(torn_fd);
    g_assert_cmpint(vv_pending_file_reset(torn_file, &pool_uuid, 1, 0x5a18), ==, 0);
    g_assert_true(vv_pending_file_take(torn_file, slots, 3));
    vv_die_hook = look;
    for (unsigned i = 0; i < 3; i++) {
        VvSlotRecord record = some_record(i);
        vv_pending_file_put_record(torn_file, slots[i], &record);
    }
    vv_die_hook = NULL;
    g_assert_cmpuint(torn_at, ==, 3);
    vv_pending_file_close(torn_file);
    vv_close_fd(&torn_fd);
}

/* Who announced itself, and died before or after it had the pool, is followed as well as who had it. */
static void test_owners(void)
{
    vv_autofd int fd = filled();
    g_autoptr(VvPendingFile) file = open_file(fd);
    g_assert_true(vv_pending_file_is_owner(file, 77) && !vv_pending_file_is_owner(file, 0));
    vv_pending_file_announce(file, 77, 78); /* dies before it has the pool */
    vv_pending_file_announce(file, 77, 79); /* dies after */
    g_assert_true(vv_pending_file_is_owner(file, 77) && vv_pending_file_is_owner(file, 79));
    g_assert_false(vv_pending_file_is_owner(file, 78));
    vv_pending_file_announce(file, 79, 80);
    g_assert_true(vv_pending_file_is_owner(file, 79) && vv_pending_file_is_owner(file, 80));
    vv_pending_file_own(file, 80);
    g_assert_true(vv_pending_file_is_owner(file, 80));
    g_assert_false(vv_pending_file_is_owner(file, 79) || vv_pending_file_is_owner(file, 0));
}

static void test_slots(void)
{
    vv_autofd int fd = new_memfd(VV_PENDING_FILE_BYTES, true);
    g_autoptr(VvPendingFile) file = open_file(fd);
    g_autofree uint32_t *slots = g_new(uint32_t, VV_PENDING_SLOTS);
    g_autofree uint8_t *seen = g_malloc0(VV_PENDING_SLOTS);
    g_assert_cmpint(vv_pending_file_reset(file, &pool_uuid, 1, 0x5a18), ==, 0);
    g_assert_true(vv_pending_file_take(file, slots, VV_PENDING_SLOTS - 2));
    g_assert_false(vv_pending_file_take(file, slots + VV_PENDING_SLOTS - 2, 3));
    g_assert_true(vv_pending_file_take(file, slots + VV_PENDING_SLOTS - 2, 2));
    for (unsigned i = 0; i < VV_PENDING_SLOTS; i++) {
        g_assert_cmpuint(slots[i], <, VV_PENDING_SLOTS);
        g_assert_cmpuint(seen[slots[i]]++, ==, 0);
    }
    g_assert_cmpuint(vv_pending_file_free_count(file), ==, 0);
    vv_pending_file_give(file, slots, 100);
    g_assert_true(vv_pending_file_take(file, slots, 100));
    g_assert_false(vv_pending_file_take(file, slots, 1));
    VvSlotRecord record = some_record(9); /* the last one lies in the file */
    vv_pending_file_put_record(file, VV_PENDING_SLOTS - 1, &record);
    g_autoptr(VvPendingFile) again = open_file(fd);
    g_autoptr(GArray) found = g_array_new(FALSE, FALSE, sizeof(VvPendingSlot));
    g_assert_true(vv_pending_file_load(again, collect_cb, found, NULL));
    g_assert_cmpuint(found->len, ==, 1);
    g_assert_cmpuint(vv_pending_file_free_count(again), ==, VV_PENDING_SLOTS - 1);
}

static void assert_refused(int fd, VvErrorCode code)
{
    g_autoptr(GError) error = NULL;
    g_assert_null(vv_pending_file_open(fd, false, &error));
    g_assert_error(error, VV_ERROR, (int) code);
}

static void test_refused(void)
{
    vv_autofd int small = new_memfd(VV_PENDING_FILE_BYTES / 2, true), open = new_memfd(VV_PENDING_FILE_BYTES, false);
    vv_autofd int newer = filled();
    uint32_t version = 2;
    assert_refused(small, VV_ERROR_USAGE);
    assert_refused(open, VV_ERROR_USAGE);
    assert_refused(-1, VV_ERROR_INTERNAL);
    g_assert_cmpint(pwrite(newer, &version, sizeof version, 8), ==, sizeof version);
    assert_refused(newer, VV_ERROR_DAMAGED); /* its checksum says so first */
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/pending-file/kept", test_kept);
    g_test_add_func("/pending-file/flipped", test_flipped);
    g_test_add_func("/pending-file/torn", test_torn);
    g_test_add_func("/pending-file/owners", test_owners);
    g_test_add_func("/pending-file/slots", test_slots);
    g_test_add_func("/pending-file/refused", test_refused);
    return g_test_run();
}
