/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The plainest fair FUSE file: one file passed through by libfuse's low-level API and its own loop, mounted over a file.
 *
 *     floor [-w WORKERS] [-d MILLISECONDS] FILE MOUNTPOINT        (stays in the foreground; ends when it is unmounted, or on SIGTERM)
 *
 * With -d it is a slow disk instead, for a pool: each write and each sync is answered so much later.
 *
 * It has what costs nothing: direct I/O, parallel direct writes, requests of 1 MiB, a clone of /dev/fuse per worker. FILE is
 * opened with O_DIRECT where that means something, so that no peer in bench/ gets the page cache for nothing; libfuse's
 * buffer is not aligned for that, so writes are copied once, as any user of that loop would have to. */
#define FUSE_USE_VERSION 314

#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <linux/fuse.h>
#include <linux/magic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <time.h>
#include <unistd.h>

#define MAX_WRITE_BYTES (1u << 20)
#define MAX_BACKGROUND 128
#define MAX_WORKERS 64
#define MAX_DELAY_MS 10000
#define ALIGNMENT 4096

static int backing = -1; /* FILE */
static bool direct;      /* it is open with O_DIRECT */
static unsigned long delay_ms;
static __thread char *own; /* MAX_WRITE_BYTES, aligned; a worker's, for as long as it lives */

static char *own_buffer(void)
{
    if (!own)
        own = aligned_alloc(ALIGNMENT, MAX_WRITE_BYTES);
    return own;
}

static void delay(void)
{
    struct timespec left = { .tv_sec = (time_t) (delay_ms / 1000), .tv_nsec = (long) (delay_ms % 1000) * 1000000 };
    while (delay_ms > 0 && clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left) == EINTR)
        ;
}

static void on_init(void *data, struct fuse_conn_info *connection)
{
    (void) data;
    connection->max_write = MAX_WRITE_BYTES;
    connection->max_background = MAX_BACKGROUND;
    connection->congestion_threshold = MAX_BACKGROUND;
}

static void on_getattr(fuse_req_t request, fuse_ino_t node, struct fuse_file_info *info)
{
    struct stat st;
    (void) info;
    if (fstat(backing, &st) < 0) {
        fuse_reply_err(request, errno);
        return;
    }
    st.st_ino = node;
    fuse_reply_attr(request, &st, 1.0);
}

/* libfuse before 3.15 has no field for parallel writes: the answer is made here. */
static void on_open(fuse_req_t request, fuse_ino_t node, struct fuse_file_info *info)
{
    struct fuse_open_out out = { .open_flags = FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES };
    struct iovec iov = { .iov_base = &out, .iov_len = sizeof out };
    (void) node;
    (void) info;
    fuse_reply_iov(request, &iov, 1);
}

static void on_read(fuse_req_t request, fuse_ino_t node, size_t length, off_t offset, struct fuse_file_info *info)
{
    (void) node;
    (void) info;
    char *buffer = own_buffer();
    if (!buffer || length > MAX_WRITE_BYTES) {
        fuse_reply_err(request, buffer ? EINVAL : ENOMEM);
        return;
    }
    ssize_t got = pread(backing, buffer, length, offset);
    if (got < 0)
        fuse_reply_err(request, errno);
    else
        fuse_reply_buf(request, buffer, (size_t) got);
}

static void on_write(
    fuse_req_t request, fuse_ino_t node, const char *bytes, size_t length, off_t offset, struct fuse_file_info *info)
{
    (void) node;
    (void) info;
    if (direct && (uintptr_t) bytes % ALIGNMENT != 0) {
        char *buffer = own_buffer();
        if (!buffer || length > MAX_WRITE_BYTES) {
            fuse_reply_err(request, buffer ? EINVAL : ENOMEM);
            return;
        }
        memcpy(buffer, bytes, length);
        bytes = buffer;
    }
    ssize_t put = pwrite(backing, bytes, length, offset);
    int error = errno;
    delay();
    if (put < 0)
        fuse_reply_err(request, error);
    else
        fuse_reply_write(request, (size_t) put);
}

static void on_fsync(fuse_req_t request, fuse_ino_t node, int data_only, struct fuse_file_info *info)
{
    (void) node;
    (void) data_only;
    (void) info;
    int result = fdatasync(backing) < 0 ? errno : 0;
    delay();
    fuse_reply_err(request, result);
}

static void on_flush(fuse_req_t request, fuse_ino_t node, struct fuse_file_info *info)
{
    (void) node;
    (void) info;
    fuse_reply_err(request, 0);
}

static const struct fuse_lowlevel_ops operations = {
    .init = on_init,
    .getattr = on_getattr,
    .open = on_open,
    .read = on_read,
    .write = on_write,
    .fsync = on_fsync,
    .flush = on_flush,
};

static int open_backing(const char *path)
{
    struct statfs fs;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0 || fstatfs(fd, &fs) < 0)
        return -1;
    if (fs.f_type == TMPFS_MAGIC || delay_ms > 0) /* a disk takes writes of any size, and this one need not be fast */
        return fd;
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_DIRECT) < 0)
        return -1;
    direct = true;
    return fd;
}

/* Serve until it is unmounted. @return 0, or what libfuse said */
static int serve(const char *mountpoint, unsigned workers)
{
    char *argv[] = { (char[]){ "floor" }, (char[]){ "-ofsname=floor,subtype=floor" }, NULL };
    struct fuse_args args = FUSE_ARGS_INIT(2, argv);
    int result = -1;
    struct fuse_session *session = fuse_session_new(&args, &operations, sizeof operations, NULL);
    struct fuse_loop_config *config = fuse_loop_cfg_create();
    if (!session || !config)
        return -1;
    fuse_loop_cfg_set_clone_fd(config, 1);
    fuse_loop_cfg_set_max_threads(config, workers);
    fuse_loop_cfg_set_idle_threads(config, workers);
    if (fuse_set_signal_handlers(session) == 0) {
        if (fuse_session_mount(session, mountpoint) == 0) {
            result = fuse_session_loop_mt(session, config);
            fuse_session_unmount(session);
        }
        fuse_remove_signal_handlers(session);
    }
    fuse_session_destroy(session);
    fuse_loop_cfg_destroy(config);
    fuse_opt_free_args(&args);
    return result > 0 ? 0 : result; /* a signal's number is an ordinary end */
}

/* @return the number, or 0 if it is none from 1 to @max */
static unsigned long number(const char *text, unsigned long max)
{
    char *end = NULL;
    unsigned long value = strtoul(text, &end, 10);
    return *end || value > max ? 0 : value;
}

int main(int argc, char **argv)
{
    unsigned long workers = 1;
    bool wrong = false;
    int option;
    while ((option = getopt(argc, argv, "w:d:")) != -1) {
        if (option == 'w')
            wrong |= (workers = number(optarg, MAX_WORKERS)) == 0;
        else if (option == 'd')
            wrong |= (delay_ms = number(optarg, MAX_DELAY_MS)) == 0;
        else
            wrong = true;
    }
    if (wrong || argc - optind != 2) {
        fprintf(stderr,
            "usage: floor [-w WORKERS] [-d MILLISECONDS] FILE MOUNTPOINT        (1 to %d workers, 1 to %d ms)\n",
            MAX_WORKERS, MAX_DELAY_MS);
        return 2;
    }
    backing = open_backing(argv[optind]);
    if (backing < 0) {
        fprintf(stderr, "floor: %s: %s\n", argv[optind], strerror(errno));
        return 1;
    }
    int result = serve(argv[optind + 1], (unsigned) workers);
    if (result != 0)
        fprintf(stderr, "floor: %s: libfuse's loop ended with %d\n", argv[optind + 1], result);
    return result == 0 ? 0 : 1;
}
