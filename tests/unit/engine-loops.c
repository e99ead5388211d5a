/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Loop devices and what stands on them, read from a copy of /sys and /proc. */
#include "openers.h"

#include <glib/gstdio.h>
#include <unistd.h>

typedef struct {
    char *root, *sys, *proc;
} Tree;

static void put(const char *root, const char *path, const char *text)
{
    g_autofree char *file = g_build_filename(root, path, NULL), *folder = g_path_get_dirname(file);

    g_assert_cmpint(g_mkdir_with_parents(folder, 0755), ==, 0);
    g_assert_true(g_file_set_contents(file, text, -1, NULL));
}

static void tree_open(Tree *tree, gconstpointer data)
{
    (void) data;
    tree->root = g_dir_make_tmp("vvfs-loops-XXXXXX", NULL);
    g_assert_nonnull(tree->root);
    tree->sys = g_build_filename(tree->root, "sys", NULL);
    tree->proc = g_build_filename(tree->root, "proc", NULL);
    put(tree->root, "sys/block/loop0/loop/backing_file", "/vv/luns/db\n");
    put(tree->root, "sys/block/loop0/dev", "7:0\n");
    put(tree->root, "sys/block/loop0/ro", "0\n");
    put(tree->root, "sys/block/loop1/loop/backing_file", "/vv/luns/other\n");
    put(tree->root, "sys/block/loop2/dev", "7:2\n");
    put(tree->root, "sys/block/sda/dev", "8:0\n");
    put(tree->root, "proc/swaps", "Filename Type Size Used Priority\n");
    put(tree->root, "proc/self/mountinfo", "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n");
}

static void remove_tree(const char *path)
{
    g_autoptr(GDir) dir = g_file_test(path, G_FILE_TEST_IS_SYMLINK) ? NULL : g_dir_open(path, 0, NULL);
    const char *name;

    while (dir && (name = g_dir_read_name(dir))) {
        g_autofree char *child = g_build_filename(path, name, NULL);

        remove_tree(child);
    }
    g_remove(path);
}

static void tree_close(Tree *tree, gconstpointer data)
{
    (void) data;
    remove_tree(tree->root);
    g_free(tree->root);
    g_free(tree->sys);
    g_free(tree->proc);
}

static void test_plain(Tree *tree, gconstpointer data)
{
    g_autoptr(GPtrArray) loops = vv_loops_find(tree->sys, tree->proc, "/vv/luns/db");
    const VvLoop *loop;

    (void) data;
    g_assert_cmpuint(loops->len, ==, 1);
    loop = g_ptr_array_index(loops, 0);
    g_assert_cmpstr(loop->device, ==, "/dev/loop0");
    g_assert_true(loop->write);
    g_assert_null(loop->mountpoint);
    g_assert_null(loop->holder);
}

static void test_mounted(Tree *tree, gconstpointer data)
{
    g_autoptr(GPtrArray) loops = NULL;

    (void) data;
    put(tree->root, "proc/self/mountinfo",
        "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
        "40 22 7:0 / /srv/my\\040db rw,relatime shared:3 - ext4 /dev/loop0 rw\n");
    loops = vv_loops_find(tree->sys, tree->proc, "/vv/luns/db");
    g_assert_cmpstr(((const VvLoop *) g_ptr_array_index(loops, 0))->mountpoint, ==, "/srv/my db");
}

/* Btrfs tells a device number of its own. */
static void test_by_source(Tree *tree, gconstpointer data)
{
    g_autoptr(GPtrArray) loops = NULL;

    (void) data;
    put(tree->root, "proc/self/mountinfo", "40 22 0:44 / /srv/db rw - btrfs /dev/loop0 rw\n");
    loops = vv_loops_find(tree->sys, tree->proc, "/vv/luns/db");
    g_assert_cmpstr(((const VvLoop *) g_ptr_array_index(loops, 0))->mountpoint, ==, "/srv/db");
}

static void test_partition(Tree *tree, gconstpointer data)
{
    g_autoptr(GPtrArray) loops = NULL;

    (void) data;
    put(tree->root, "sys/block/loop0/loop0p1/dev", "259:3\n");
    put(tree->root, "proc/self/mountinfo", "40 22 259:3 / /mnt/part rw - xfs /dev/loop0p1 rw\n");
    loops = vv_loops_find(tree->sys, tree->proc, "/vv/luns/db");
    g_assert_cmpstr(((const VvLoop *) g_ptr_array_index(loops, 0))->mountpoint, ==, "/mnt/part");
}

static void test_mapped_and_swap(Tree *tree, gconstpointer data)
{
    g_autoptr(GPtrArray) loops = NULL;
    const VvLoop *loop;

    (void) data;
    put(tree->root, "sys/block/loop0/holders/dm-3/x", "");
    put(tree->root, "sys/class/block/dm-3/dev", "253:3\n");
    put(tree->root, "sys/class/block/dm-3/dm/name", "vg0-root\n");
    put(tree->root, "proc/swaps", "Filename Type Size Used Priority\n/dev/dm-3 partition 100 0 -2\n");
    loops = vv_loops_find(tree->sys, tree->proc, "/vv/luns/db");
    loop = g_ptr_array_index(loops, 0);
    g_assert_cmpstr(loop->mountpoint, ==, "[SWAP]");
    g_assert_cmpstr(loop->holder, ==, "vg0-root");
}

static void test_deleted_and_read_only(Tree *tree, gconstpointer data)
{
    g_autoptr(GPtrArray) loops = NULL;

    (void) data;
    put(tree->root, "sys/block/loop0/loop/backing_file", "/vv/luns/db (deleted)\n");
    put(tree->root, "sys/block/loop0/ro", "1\n");
    loops = vv_loops_find(tree->sys, tree->proc, "/vv/luns/db");
    g_assert_cmpuint(loops->len, ==, 1);
    g_assert_false(((const VvLoop *) g_ptr_array_index(loops, 0))->write);
}

static void test_process(Tree *tree, gconstpointer data)
{
    g_autofree char *name = NULL, *none = NULL, *link = g_build_filename(tree->proc, "4711", "fd", "3", NULL);

    (void) data;
    put(tree->root, "proc/4711/comm", "qemu-system-x86\n");
    put(tree->root, "proc/4711/fd/x", "");
    g_assert_cmpint(symlink("/vv/luns/db", link), ==, 0);
    name = vv_process_name(tree->proc, 4711);
    g_assert_cmpstr(name, ==, "qemu-system-x86");
    none = vv_process_name(tree->proc, 4712);
    g_assert_null(none);
    g_assert_true(vv_process_has_open(tree->proc, 4711, "/vv/luns/db"));
    g_assert_false(vv_process_has_open(tree->proc, 4711, "/vv/luns/other"));
    g_assert_false(vv_process_has_open(tree->proc, 0, "/vv/luns/db"));
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(Tree *tree, gconstpointer data);
    } tests[] = { { "/loops/plain", test_plain }, { "/loops/mounted", test_mounted },
        { "/loops/by-source", test_by_source }, { "/loops/partition", test_partition },
        { "/loops/mapped-and-swap", test_mapped_and_swap },
        { "/loops/deleted-and-read-only", test_deleted_and_read_only }, { "/loops/process", test_process } };

    g_test_init(&argc, &argv, NULL);
    for (unsigned i = 0; i < G_N_ELEMENTS(tests); i++)
        g_test_add(tests[i].name, Tree, NULL, tree_open, tests[i].run, tree_close);
    return g_test_run();
}
