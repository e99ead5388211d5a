/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Disks that are block devices, and who may be using one: on loop devices. Root only. Mounts are made in a name space of
 * the program's own and loop devices clear themselves when it closes them, so that a test that fails leaves neither. */
#include "disk_private.h"
#include "engine-test.h"

#include <linux/blkpg.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/swap.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

#define IMAGE_BYTES ((uint64_t) 320 << 20) /* XFS wants 300 MiB */

typedef struct {
    char *folder;
    char *image;
    char *device;  /* NULL: no loop devices here, and the test has been skipped */
    int device_fd; /* keeps it */
    VvLabel label;
    GError *error;
} Fixture;

/* ---- loop devices */

/* @ret_fd keeps the device: it is gone when that is closed and nothing else uses it. */
static char *loop_attach(const char *path, uint32_t flags, int *ret_fd)
{
    vv_autofd int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    vv_autofd int file = open(path, O_RDWR | O_CLOEXEC);
    for (unsigned tries = 0; control >= 0 && file >= 0 && tries < 100; tries++) {
        int number = ioctl(control, LOOP_CTL_GET_FREE);
        if (number < 0)
            return NULL;
        g_autofree char *device = g_strdup_printf("/dev/loop%d", number);
        vv_autofd int fd = open(device, O_RDWR | O_CLOEXEC);
        struct loop_config config = { .fd = (uint32_t) file, .info.lo_flags = flags | LO_FLAGS_AUTOCLEAR };
        if (fd >= 0 && ioctl(fd, LOOP_CONFIGURE, &config) == 0) {
            *ret_fd = g_steal_fd(&fd);
            return g_steal_pointer(&device);
        }
        if (fd < 0 || errno != EBUSY)
            return NULL;
    }
    return NULL;
}

static void make_image(const char *path)
{
    vv_autofd int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(ftruncate(fd, (off_t) IMAGE_BYTES), ==, 0);
}

static void set_up(Fixture *f, const void *data G_GNUC_UNUSED)
{
    f->folder = test_folder_new(false);
    f->image = g_build_filename(f->folder, "image", NULL);
    f->label = test_label();
    make_image(f->image);
    f->device = loop_attach(f->image, LO_FLAGS_PARTSCAN, &f->device_fd);
    if (f->device == NULL)
        g_test_skip("no loop devices can be made here");
}

static void tear_down(Fixture *f, const void *data G_GNUC_UNUSED)
{
    g_assert_no_error(f->error);
    if (f->device)
        close(f->device_fd);
    g_free(f->device);
    g_free(f->image);
    test_folder_free(f->folder);
}

/* ---- programs */

static bool run(const char *program, const char *a, const char *b, const char *c, const char *d)
{
    static const char *const folders[] = { "/usr/sbin", "/sbin", "/usr/bin", "/bin" };
    for (size_t i = 0; i < G_N_ELEMENTS(folders); i++) {
        g_autofree char *path = g_build_filename(folders[i], program, NULL);
        const char *argv[] = { path, a, b, c, d, NULL };
        int status = -1;
        if (access(path, X_OK) == 0 &&
            g_spawn_sync(NULL, (char **) argv, NULL, G_SPAWN_STDOUT_TO_DEV_NULL | G_SPAWN_STDERR_TO_DEV_NULL, NULL,
                NULL, NULL, NULL, &status, NULL))
            return status == 0;
    }
    return false;
}

static bool format(Fixture *f, const char *path, bool overwrite)
{
    VvDiskFormat how = { .overwrite = overwrite };
    return vv_disk_format(path, &how, &f->label, &f->error);
}

static void assert_refused(Fixture *f, const char *path, bool overwrite, VvErrorCode code, const char *text)
{
    g_assert_false(format(f, path, overwrite));
    test_assert_refused(f->error, code, text);
}

#define NEED(f, what, reason)             \
    if ((f)->device == NULL || !(what)) { \
        if ((f)->device)                  \
            g_test_skip(reason);          \
        return;                           \
    }

/* ---- a disk */

static void test_device_is_a_disk(Fixture *f, const void *data G_GNUC_UNUSED)
{
    VvLabel read;
    NEED(f, true, "");
    g_assert_true(format(f, f->device, false));
    g_assert_cmpuint(f->label.size_bytes, ==, IMAGE_BYTES);
    VvDisk *disk = vv_disk_open(f->device, &f->label.pool_uuid, &f->label.disk_uuid, false, 0, &f->error);
    g_assert_no_error(f->error);
    g_assert_false(vv_disk_is_inline(disk));
    g_assert_true(vv_disk_is_direct(disk));
    g_assert_cmpuint(vv_disk_current_bytes(disk), ==, IMAGE_BYTES);

    uint8_t *block = test_blocks_new(16, 0x77), *back = test_blocks_new(16, 0);
    g_assert_cmpint(vv_disk_write(disk, block, 16 * VV_BLOCK_BYTES, VV_LABEL_BYTES), ==, 0);
    g_assert_cmpint(vv_disk_sync(disk), ==, 0);
    g_assert_cmpint(vv_disk_read(disk, back, 16 * VV_BLOCK_BYTES, VV_LABEL_BYTES), ==, 0);
    g_assert_cmpmem(back, 16 * VV_BLOCK_BYTES, block, 16 * VV_BLOCK_BYTES);
    g_assert_cmpint(vv_disk_discard(disk, VV_LABEL_BYTES, 16 * VV_BLOCK_BYTES), ==, 0);
    g_assert_cmpint(vv_disk_read(disk, back, VV_BLOCK_BYTES, IMAGE_BYTES), ==, -EIO);
    free(block);
    free(back);

    g_assert_false(vv_disk_relabel(disk, 2 * IMAGE_BYTES, NULL, &f->error));
    test_assert_refused(f->error, VV_ERROR_NO_SPACE, "has only 320M");
    g_assert_null(vv_disk_open(f->device, NULL, NULL, false, 0, &f->error)); /* claimed, and locked */
    test_assert_refused(f->error, VV_ERROR_BUSY, "is locked by process");
    vv_disk_close(disk);

    g_assert_true(vv_disk_read_label(f->device, &read, NULL, &f->error));
    assert_refused(f, f->device, true, VV_ERROR_EXISTS, "is disk d1 of this pool already");
    assert_refused(f, f->image, true, VV_ERROR_IN_USE_DEVICE, "in use by the loop device /dev/loop");
    g_assert_true(vv_disk_erase_label(f->device, &f->label.disk_uuid, &f->error));
    g_assert_false(vv_disk_read_label(f->device, &read, NULL, &f->error));
    test_assert_refused(f->error, VV_ERROR_NOT_FOUND, "has no vvfs label");
}

/* The same device under a node of another name: the lock does not see it, the claim does. */
static void test_other_node_of_a_device(Fixture *f, const void *data G_GNUC_UNUSED)
{
    struct stat st;
    NEED(f, true, "");
    g_assert_true(format(f, f->device, false));
    g_autofree char *node = g_build_filename(f->folder, "node", NULL);
    g_assert_cmpint(stat(f->device, &st), ==, 0);
    g_assert_cmpint(mknod(node, S_IFBLK | 0600, st.st_rdev), ==, 0);
    vv_autofd int probe = open(node, O_RDONLY | O_CLOEXEC);
    if (probe < 0) {
        g_test_skip("device nodes do not work in the temporary folder");
        return;
    }
    VvDisk *disk = vv_disk_open(f->device, NULL, NULL, false, 0, &f->error);
    g_assert_null(vv_disk_open(node, NULL, NULL, false, 0, &f->error));
    test_assert_refused(f->error, VV_ERROR_BUSY, "locked by another process");
    memset(f->label.pool_uuid.bytes, 0x44, 16);
    assert_refused(f, node, true, VV_ERROR_IN_USE_DEVICE, "exclusive open failed");
    vv_disk_close(disk);
}

static void test_read_only_device(Fixture *f, const void *data G_GNUC_UNUSED)
{
    int on = 1;
    NEED(f, true, "");
    vv_autofd int fd = open(f->device, O_RDONLY | O_CLOEXEC);
    g_assert_cmpint(ioctl(fd, BLKROSET, &on), ==, 0);
    assert_refused(f, f->device, true, VV_ERROR_DENIED, "is read-only");
    on = 0;
    g_assert_cmpint(ioctl(fd, BLKROSET, &on), ==, 0);
}

static void test_device_without_medium(Fixture *f, const void *data G_GNUC_UNUSED)
{
    NEED(f, true, "");
    vv_autofd int fd = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    int number = ioctl(fd, LOOP_CTL_GET_FREE);
    g_autofree char *empty = g_strdup_printf("/dev/loop%d", number);
    g_assert_false(format(f, empty, true));
    g_assert_nonnull(f->error);
    g_clear_error(&f->error);
}

/* ---- signatures */

static void assert_signature(Fixture *f, const char *text)
{
    assert_refused(f, f->device, false, VV_ERROR_IN_USE_DEVICE, text);
    g_assert_true(format(f, f->device, true));
    g_assert_no_error(f->error);
    VvDisk *disk = vv_disk_open(f->device, NULL, NULL, false, 0, &f->error);
    g_assert_no_error(f->error);
    g_autofree char *left = vv_disk_find_signature(vv_disk_fd(disk), IMAGE_BYTES);
    g_assert_null(left);
    vv_disk_close(disk);
}

static void test_ext4(Fixture *f, const void *data G_GNUC_UNUSED)
{
    NEED(f, run("mkfs.ext4", "-q", "-L", "old-data", f->device), "no mkfs.ext4");
    assert_signature(f, "holds an ext4 file system \"old-data\", never mounted: nothing was changed");
}

static void test_xfs(Fixture *f, const void *data G_GNUC_UNUSED)
{
    NEED(f, run("mkfs.xfs", "-q", "-L", "store", f->device), "no mkfs.xfs");
    assert_signature(f, "holds an xfs file system \"store\": nothing was changed");
}

static void test_btrfs(Fixture *f, const void *data G_GNUC_UNUSED)
{
    NEED(f, run("mkfs.btrfs", "-q", f->device, NULL, NULL), "no mkfs.btrfs");
    assert_signature(f, "holds a btrfs file system: nothing was changed");
}

static void test_swap(Fixture *f, const void *data G_GNUC_UNUSED)
{
    NEED(f, run("mkswap", f->device, NULL, NULL, NULL), "no mkswap");
    if (swapon(f->device, 0) == 0) {
        assert_refused(f, f->device, true, VV_ERROR_IN_USE_DEVICE, "is in use as swap space: nothing was changed");
        g_assert_cmpint(swapoff(f->device), ==, 0);
    } else {
        g_test_message("swapon: %s", g_strerror(errno));
    }
    assert_signature(f, "holds swap space: nothing was changed");
}

/* Some things stand at the end of a disk, where no label covers them. */
static void test_signature_at_the_end(Fixture *f, const void *data G_GNUC_UNUSED)
{
    static const uint8_t md[] = { 0xfc, 0x4e, 0x2b, 0xa9, 0, 0, 0, 0, 90, 0, 0, 0 }; /* md 0.90: 64 KiB before it */
    NEED(f, true, "");
    g_assert_cmpint(vv_pwrite_full(f->device_fd, md, sizeof md, IMAGE_BYTES - (64 << 10)), ==, 0);
    g_assert_cmpint(fsync(f->device_fd), ==, 0);
    assert_signature(f, "holds a linux_raid_member signature: nothing was changed");
}

static bool add_partition(Fixture *f)
{
    uint8_t table[512] = { 0 };
    memcpy(table + 446, "\0\x20\x21\0\x83\xff\xff\xff\0\x08\0\0\0\0\x08\0", 16); /* from 1 MiB, 256 MiB, Linux */
    memcpy(table + 510, "\x55\xaa", 2);
    vv_autofd int fd = open(f->device, O_RDWR | O_CLOEXEC);
    g_assert_cmpint(vv_pwrite_full(fd, table, sizeof table, 0), ==, 0);
    g_assert_cmpint(fsync(fd), ==, 0);
    struct blkpg_partition part = { .start = 1 << 20, .length = 256 << 20, .pno = 1 };
    struct blkpg_ioctl_arg add = { .op = BLKPG_ADD_PARTITION, .datalen = sizeof part, .data = &part };
    bool added = ioctl(fd, BLKPG, &add) == 0; /* the kernel may not know this kind of table by itself */
    return added || errno == EBUSY;
}

static void test_partition_table(Fixture *f, const void *data G_GNUC_UNUSED)
{
    NEED(f, add_partition(f), "no partitions");
    g_autofree char *part = g_strdup_printf("%sp1", f->device);
    assert_signature(f, "holds a dos partition table: nothing was changed");
    g_autofree char *sys = g_strdup_printf("/sys/block/%s/%s", f->device + strlen("/dev/"), part + strlen("/dev/"));
    g_assert_cmpint(access(sys, F_OK), <, 0); /* the kernel forgot them too */
}

/* ---- in use */

typedef void (*WhileMounted)(Fixture *f, const char *point);

static bool with_mount(Fixture *f, const char *device, const char *type, WhileMounted act)
{
    g_autofree char *point = g_strdup(g_get_tmp_dir());
    g_autofree char *under = g_build_filename(point, "vvfs-mount-XXXXXX", NULL);
    g_assert_nonnull(g_mkdtemp(under));
    bool mounted = mount(device, under, type, 0, NULL) == 0;
    if (mounted) {
        act(f, under);
        g_assert_cmpint(umount(under), ==, 0);
    }
    g_assert_cmpint(g_rmdir(under), ==, 0);
    return mounted;
}

static void while_mounted(Fixture *f, const char *point)
{
    g_autofree char *text = g_strdup_printf("is mounted at %s: nothing was changed", point);
    assert_refused(f, f->device, true, VV_ERROR_IN_USE_DEVICE, text);
    g_autofree char *under =
        g_strdup_printf("is in use by the loop device %s, mounted at %s: nothing", f->device, point);
    assert_refused(f, f->image, true, VV_ERROR_IN_USE_DEVICE, under);
}

static void test_mounted(Fixture *f, const void *type)
{
    g_autofree char *program = g_strdup_printf("mkfs.%s", (const char *) type);
    NEED(f, run(program, "-q", f->device, NULL, NULL), "no mkfs for it");
    if (!with_mount(f, f->device, type, while_mounted))
        g_test_skip("cannot be mounted here");
}

static void while_partition_is_mounted(Fixture *f, const char *point)
{
    g_autofree char *text = g_strdup_printf(
        "is in use: its partition %sp1 is mounted at %s: nothing was changed", f->device + strlen("/dev/"), point);
    assert_refused(f, f->device, true, VV_ERROR_IN_USE_DEVICE, text);
}

static void test_partition_is_mounted(Fixture *f, const void *data G_GNUC_UNUSED)
{
    NEED(f, add_partition(f), "no partitions");
    g_autofree char *part = g_strdup_printf("%sp1", f->device);
    if (!run("mkfs.ext4", "-q", part, NULL, NULL) || !with_mount(f, part, "ext4", while_partition_is_mounted))
        g_test_skip("no partitions, or no mkfs.ext4");
}

static void test_holder(Fixture *f, const void *data G_GNUC_UNUSED)
{
    g_autofree char *name = g_strdup_printf("vvfs-test-%d", (int) getpid());
    g_autofree char *table = g_strdup_printf("0 131072 linear %s 0", f->device);
    NEED(f, run("dmsetup", "create", name, "--table", table), "no device mapper");
    g_autofree char *text = g_strdup_printf("is in use by the mapped device %s (dm-", name);
    assert_refused(f, f->device, true, VV_ERROR_IN_USE_DEVICE, text);
    g_assert_true(run("dmsetup", "remove", "--retry", name, NULL));
}

static void test_claimed_by_a_process(Fixture *f, const void *data G_GNUC_UNUSED)
{
    int told[2], tell[2];
    char byte;
    NEED(f, true, "");
    g_assert_cmpint(pipe(told), ==, 0);
    g_assert_cmpint(pipe(tell), ==, 0);
    pid_t pid = fork();
    if (pid == 0) {
        close(tell[1]);
        int fd = open(f->device, O_RDWR | O_EXCL);
        _exit(fd < 0 || write(told[1], "x", 1) != 1 || read(tell[0], &byte, 1) < 0);
    }
    close(tell[0]);
    g_assert_cmpint(read(told[0], &byte, 1), ==, 1);
    g_autofree char *text = g_strdup_printf("is open in process %d (", (int) pid);
    assert_refused(f, f->device, true, VV_ERROR_IN_USE_DEVICE, text);
    close(tell[1]);
    g_assert_cmpint(waitpid(pid, NULL, 0), ==, pid);
    close(told[0]);
    close(told[1]);
    g_assert_true(format(f, f->device, true));
}

/* ---- what stands on what: file, loop, ext4, file, loop */

static void while_stacked(Fixture *f, const char *point)
{
    struct stat lowest, upper;
    g_assert_cmpint(stat(f->folder, &lowest), ==, 0);
    g_assert_cmpint(stat(point, &upper), ==, 0);
    g_autofree char *file = g_build_filename(point, "upper", NULL);
    make_image(file);
    int loop_fd;
    g_autofree char *loop = loop_attach(file, 0, &loop_fd);
    g_assert_nonnull(loop);
    const char *paths[] = { file, loop };
    for (unsigned i = 0; i < 2; i++) {
        vv_autofd int fd = open(paths[i], O_RDONLY | O_CLOEXEC);
        g_assert_true(vv_disk_stands_on_device(fd, upper.st_dev));
        g_assert_true(vv_disk_stands_on_device(fd, lowest.st_dev));
        g_assert_false(vv_disk_stands_on_device(fd, makedev(250, 77)));
        g_assert_false(vv_disk_stands_on(fd, point)); /* it is no FUSE mount */
    }
    vv_autofd int fd = open(f->device, O_RDONLY | O_CLOEXEC);
    g_assert_false(vv_disk_stands_on_device(fd, upper.st_dev));
    close(loop_fd);
    g_assert_cmpint(g_unlink(file), ==, 0);
}

static void test_stands_on(Fixture *f, const void *data G_GNUC_UNUSED)
{
    NEED(f, run("mkfs.ext4", "-q", f->device, NULL, NULL), "no mkfs.ext4");
    if (!with_mount(f, f->device, "ext4", while_stacked))
        g_test_skip("cannot be mounted here");
}

/* ---- a file system that is full */

static void while_full(Fixture *f, const char *point)
{
    g_autofree char *path = g_build_filename(point, "disk", NULL), *filler = g_build_filename(point, "filler", NULL);
    g_autofree char *zeroes = g_malloc0(1 << 20);
    int fd = open(filler, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    while (write(fd, zeroes, 1 << 20) > 0)
        ;
    while (write(fd, zeroes, 512) > 0)
        ;
    close(fd);
    VvDiskFormat how = { .create_bytes = TEST_DISK_BYTES };
    g_assert_false(vv_disk_format(path, &how, &f->label, &f->error));
    test_assert_refused(f->error, VV_ERROR_NO_SPACE, "No space left on device");
    g_assert_cmpint(access(path, F_OK), <, 0);
}

static void test_full_file_system(Fixture *f, const void *data G_GNUC_UNUSED)
{
    NEED(f, run("mkfs.ext4", "-q", "-m0", f->device, NULL), "no mkfs.ext4");
    if (!with_mount(f, f->device, "ext4", while_full))
        g_test_skip("cannot be mounted here");
}

int main(int argc, char **argv)
{
    g_setenv("TZ", "UTC", TRUE);
    if (unshare(CLONE_NEWNS) == 0)
        (void) !mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL);
    g_test_init(&argc, &argv, NULL);
#define ADD(name, data, function) g_test_add("/disk-devices/" name, Fixture, data, set_up, function, tear_down)
    ADD("device-is-a-disk", NULL, test_device_is_a_disk);
    ADD("other-node-of-a-device", NULL, test_other_node_of_a_device);
    ADD("read-only-device", NULL, test_read_only_device);
    ADD("device-without-medium", NULL, test_device_without_medium);
    ADD("ext4", NULL, test_ext4);
    ADD("xfs", NULL, test_xfs);
    ADD("btrfs", NULL, test_btrfs);
    ADD("swap", NULL, test_swap);
    ADD("signature-at-the-end", NULL, test_signature_at_the_end);
    ADD("partition-table", NULL, test_partition_table);
    ADD("mounted-ext4", "ext4", test_mounted);
    ADD("mounted-xfs", "xfs", test_mounted);
    ADD("mounted-btrfs", "btrfs", test_mounted);
    ADD("partition-is-mounted", NULL, test_partition_is_mounted);
    ADD("holder", NULL, test_holder);
    ADD("claimed-by-a-process", NULL, test_claimed_by_a_process);
    ADD("stands-on", NULL, test_stands_on);
    ADD("full-file-system", NULL, test_full_file_system);
    return g_test_run();
}
