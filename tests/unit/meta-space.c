/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where a segment goes: the first free aligned run whose buddy is used or past the end, else the first free one, on disks used at random. A disk that
 * grows. */
#include "meta_private.h"

#include <glib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static VvMeta *meta_new(const char *directory, uint32_t units)
{
    g_autoptr(GError) error = NULL;
    VvMetaCreate create = { .name = "space", .created_ns = 1 };
    uint64_t index;
    vv_uuid_generate(&create.uuid);
    g_assert_true(vv_meta_create(directory, &create, NULL));
    VvMeta *meta = vv_meta_open(directory, false, NULL, &error);
    g_assert_no_error(error);
    VvOps *ops = vv_ops_new();
    VvOp *op = vv_ops_add(ops, VV_OP_DISK_ADD);
    op->disk_add.id = vv_meta_new_id(meta);
    op->disk_add.name = g_strdup("d");
    op->disk_add.path = g_strdup("d");
    op->disk_add.size_bytes = ((uint64_t) units << VV_SEGMENT_SHIFT_MIN) + VV_LABEL_BYTES + VV_DISK_TAIL_BYTES;
    g_assert_cmpint(vv_meta_log(meta, ops, &index), ==, 0);
    g_assert_cmpint(vv_meta_apply(meta, index, ops), ==, 0);
    vv_ops_free(ops);
    return meta;
}

static bool is_free(const bool *used, uint32_t unit, uint32_t count)
{
    return memchr(used + unit, true, count) == NULL;
}

/* One unit after the other. -1: none. */
static int64_t search(const bool *used, uint32_t units, uint32_t count)
{
    int64_t first = -1;
    for (uint32_t unit = 0; unit + count <= units; unit += count) {
        uint32_t buddy = unit ^ count;
        if (!is_free(used, unit, count))
            continue;
        if (buddy + count > units || !is_free(used, buddy, count))
            return unit;
        first = first < 0 ? unit : first;
    }
    return first;
}

static void test_find(void)
{
    g_autoptr(GRand) random = g_rand_new();
    g_autofree char *directory = g_dir_make_tmp("vvfs-space-XXXXXX", NULL);
    const char *argv[] = { "rm", "-rf", directory, NULL };
    const uint32_t units = 5 * 128 + 37;
    VvMeta *meta = meta_new(directory, units);
    VvDiskInfo *disk = g_ptr_array_index(meta->disk_list, 0);
    g_assert_cmpuint(disk->unit_count, ==, units);
    for (unsigned round = 0; round < 3000; round++) {
        bool used[5 * 128 + 37 + 128] = { false };
        memset(disk->used_units, 0, (units / 64 + 1) * sizeof(uint64_t));
        disk->free_unit_count = units;
        for (uint32_t from = 0; from < units;) { /* runs of used, of free and of both, whole words among them */
            uint32_t run = (uint32_t) g_rand_int_range(random, 1, 200);
            int how = g_rand_int_range(random, 0, 3);
            for (; run > 0 && from < units; run--, from++) {
                used[from] = how == 2 ? g_rand_boolean(random) : how == 1;
                if (used[from])
                    g_assert_true(vvm_units_take(disk, from, 1));
            }
        }
        for (uint8_t shift = VV_SEGMENT_SHIFT_MIN; shift <= VV_SEGMENT_SHIFT_MIN + 7; shift++) {
            VvCopy copy = { 0 };
            int64_t wanted = search(used, units, 1u << (shift - VV_SEGMENT_SHIFT_MIN));
            g_assert_true(vv_space_find_run(meta, shift, NULL, NULL, &copy) == (wanted >= 0));
            if (wanted >= 0)
                g_assert_cmpuint(copy.unit, ==, (uint64_t) wanted);
        }
    }
    vv_meta_close(meta);
    g_spawn_sync(NULL, (char **) argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, NULL, NULL);
}

#ifdef __SANITIZE_THREAD__
#define COUNTS_PAGES false /* a sanitizer has its own malloc */
#else
#define COUNTS_PAGES true
#endif

/* A disk that claims 4 EiB has half a GiB of bits, and next to none of it is touched: whoever wrote that record costs no memory. */
static void test_grow(void)
{
    const size_t page_bytes = (size_t) sysconf(_SC_PAGESIZE);
    VvDiskInfo disk = { .id = 1 };
    size_t touched = 0;

    vvm_disk_resize(&disk, ((uint64_t) 70 << VV_SEGMENT_SHIFT_MIN) + VV_LABEL_BYTES + VV_DISK_TAIL_BYTES);
    g_assert_cmpuint(disk.unit_count, ==, 70);
    g_assert_true(vvm_units_take(&disk, 1, 1) && vvm_units_take(&disk, 69, 1));
    vvm_disk_resize(&disk, UINT64_MAX);
    g_assert_cmpuint(disk.free_unit_count, ==, disk.unit_count - 2);
    g_assert_false(vvm_units_take(&disk, 1, 1));
    g_assert_false(vvm_units_take(&disk, 69, 1));
    g_assert_true(vvm_units_take(&disk, 70, 1) && vvm_units_take(&disk, disk.unit_count - 1, 1));

    uintptr_t first = ((uintptr_t) disk.used_units + page_bytes - 1) / page_bytes * page_bytes;
    size_t pages = (disk.unit_count / 64 * sizeof(uint64_t) - page_bytes) / page_bytes;
    g_autofree unsigned char *resident = g_malloc(pages);
    g_assert_cmpint(mincore((void *) first, pages * page_bytes, resident), ==, 0);
    for (size_t i = 0; i < pages; i++)
        touched += resident[i] & 1;
    if (COUNTS_PAGES)
        g_assert_cmpuint(touched * page_bytes, <=, 8u << 20);
    g_free(disk.used_units);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/meta/space/find", test_find);
    g_test_add_func("/meta/space/grow", test_grow);
    return g_test_run();
}
