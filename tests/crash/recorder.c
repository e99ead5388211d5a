/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "recorder.h"

#include "limits.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <linux/limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* The reserve is for full file systems; 32 MiB of it for each state would cost more than all else. */
#define RESERVE_NAME "reserve"
#define VOLATILE_NAME "map/lock.mdb" /* LMDB's readers: made anew by who is alone */

typedef struct {
    ino_t inode;
    uint32_t file;
} KnownFile;

typedef struct {
    char root[PATH_MAX];
    dev_t device;
    KnownFile files[FILES_MAX * 2];
    unsigned file_count;
    uint32_t next_file;
    Log *log; /* NULL: not recording */
    bool with_data;
} Recorder;

static Recorder *recorder;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

void recorder_init(const char *root)
{
    struct stat st;

    recorder = mmap(NULL, sizeof *recorder, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    g_assert(recorder != MAP_FAILED);
    g_strlcpy(recorder->root, root, sizeof recorder->root);
    g_assert(stat(root, &st) == 0);
    recorder->device = st.st_dev;
}

void recorder_start(Log *log, bool with_data)
{
    pthread_mutex_lock(&lock);
    recorder->log = log;
    recorder->with_data = with_data;
    pthread_mutex_unlock(&lock);
}

void recorder_stop(void)
{
    recorder_start(NULL, false);
}

void recorder_die(void)
{
    pthread_mutex_lock(&lock); /* nobody is between doing and logging */
    log_add(recorder->log, EV_KILLED, NO_FILE, NULL, 0);
    recorder->log = NULL;
    _exit(0);
}

Event *recorder_note(EventKind kind, uint32_t file, const void *data, size_t data_bytes)
{
    Event *event;

    pthread_mutex_lock(&lock);
    event = log_add(recorder->log, kind, file, data, data_bytes);
    pthread_mutex_unlock(&lock);
    return event;
}

/* ---- files */

void recorder_forget_files(void)
{
    recorder->file_count = 0;
}

void recorder_know_file(ino_t inode, uint32_t file)
{
    g_assert(recorder->file_count < G_N_ELEMENTS(recorder->files));
    recorder->files[recorder->file_count++] = (KnownFile){ .inode = inode, .file = file };
}

void recorder_next_file(uint32_t next)
{
    recorder->next_file = next;
}

/* Behind the root and its slash, or NULL. */
static const char *below_root(const char *path)
{
    size_t length = strlen(recorder->root);

    return strncmp(path, recorder->root, length) == 0 && path[length] == '/' ? path + length + 1 : NULL;
}

static uint32_t find_file(ino_t inode)
{
    for (unsigned i = recorder->file_count; i > 0; i--)
        if (recorder->files[i - 1].inode == inode)
            return recorder->files[i - 1].file;
    return NO_FILE;
}

/* The regular file that is open as @fd, or NO_FILE. */
static uint32_t file_of(int fd, struct stat *st)
{
    if (recorder == NULL || recorder->log == NULL || syscall(SYS_fstat, fd, st) != 0 ||
        st->st_dev != recorder->device || !S_ISREG(st->st_mode))
        return NO_FILE;
    return find_file(st->st_ino);
}

/* ---- what changes files: called with the lock held, after the call */

static void log_write(int fd, uint64_t offset, uint64_t length)
{
    struct stat st;
    uint32_t file = file_of(fd, &st);
    uint64_t from = offset / VV_SECTOR_BYTES * VV_SECTOR_BYTES, bytes, done = 0;
    bool synced = file != NO_FILE && (fcntl(fd, F_GETFL) & O_DSYNC) != 0;
    Event *event;

    if (file == NO_FILE || length == 0)
        return;
    bytes = (offset + length - from + VV_SECTOR_BYTES - 1) / VV_SECTOR_BYTES * VV_SECTOR_BYTES;
    event = log_add(recorder->log, synced ? EV_WRITE_SYNCED : EV_WRITE, file, NULL, recorder->with_data ? bytes : 0);
    event->offset = from;
    event->length = bytes;
    event->size = (uint64_t) st.st_size;
    if (!recorder->with_data)
        return;
    memset(event->data, 0, bytes);
    /* Through a descriptor of its own: @fd may be for writing only. */
    g_autofree char *name = g_strdup_printf("/proc/self/fd/%d", fd);
    int own = (int) syscall(SYS_openat, AT_FDCWD, name, O_RDONLY | O_CLOEXEC, 0);

    g_assert(own >= 0);
    while (done < bytes && from + done < event->size) {
        ssize_t got = pread(own, event->data + done, bytes - done, (off_t) (from + done));

        g_assert(got > 0);
        done += (uint64_t) got;
    }
    close(own);
}

static void log_size(int fd, uint64_t before)
{
    struct stat st;
    uint32_t file = file_of(fd, &st);

    if (file != NO_FILE && (uint64_t) st.st_size != before)
        log_add(recorder->log, EV_SIZE, file, NULL, 0)->size = (uint64_t) st.st_size;
}

static int result_of(long result, long *ret)
{
    *ret = result;
    return errno;
}

#define LOCKED_CALL(call, after)               \
    long result;                               \
    int saved;                                 \
    pthread_mutex_lock(&lock);                 \
    saved = result_of((long) (call), &result); \
    if (result >= 0) {                         \
        after;                                 \
    }                                          \
    pthread_mutex_unlock(&lock);               \
    errno = saved;                             \
    return (__typeof__(call)) result

/* ---- the C library's names. Calls go to the kernel directly, so nothing here calls itself. */

#define NAMED(name) __asm__(name) __attribute__((used, visibility("default")))

ssize_t vvc_pwrite(int fd, const void *data, size_t length, off_t offset) NAMED("pwrite");
ssize_t vvc_pwrite64(int fd, const void *data, size_t length, off_t offset) NAMED("pwrite64");
ssize_t vvc_pwritev(int fd, const struct iovec *parts, int count, off_t offset) NAMED("pwritev");
ssize_t vvc_pwritev64(int fd, const struct iovec *parts, int count, off_t offset) NAMED("pwritev64");
ssize_t vvc_write(int fd, const void *data, size_t length) NAMED("write");
ssize_t vvc_writev(int fd, const struct iovec *parts, int count) NAMED("writev");
int vvc_fsync(int fd) NAMED("fsync");
int vvc_fdatasync(int fd) NAMED("fdatasync");
int vvc_ftruncate(int fd, off_t size) NAMED("ftruncate");
int vvc_ftruncate64(int fd, off_t size) NAMED("ftruncate64");
int vvc_truncate(const char *path, off_t size) NAMED("truncate");
int vvc_truncate64(const char *path, off_t size) NAMED("truncate64");
int vvc_fallocate(int fd, int mode, off_t offset, off_t length) NAMED("fallocate");
int vvc_fallocate64(int fd, int mode, off_t offset, off_t length) NAMED("fallocate64");
int vvc_open(const char *path, int flags, ...) NAMED("open");
int vvc_open64(const char *path, int flags, ...) NAMED("open64");
int vvc_rename(const char *from, const char *to) NAMED("rename");
int vvc_unlink(const char *path) NAMED("unlink");

ssize_t vvc_pwrite(int fd, const void *data, size_t length, off_t offset)
{
    LOCKED_CALL(syscall(SYS_pwrite64, fd, data, length, offset), log_write(fd, (uint64_t) offset, (uint64_t) result));
}

ssize_t vvc_pwrite64(int fd, const void *data, size_t length, off_t offset)
{
    return vvc_pwrite(fd, data, length, offset);
}

ssize_t vvc_pwritev(int fd, const struct iovec *parts, int count, off_t offset)
{
    LOCKED_CALL(syscall(SYS_pwritev, fd, parts, count, offset, 0), log_write(fd, (uint64_t) offset, (uint64_t) result));
}

ssize_t vvc_pwritev64(int fd, const struct iovec *parts, int count, off_t offset)
{
    return vvc_pwritev(fd, parts, count, offset);
}

/* At the file's position, which LMDB moves itself. */
static void log_write_behind(int fd, uint64_t length)
{
    struct stat st;

    if (file_of(fd, &st) != NO_FILE)
        log_write(fd, (uint64_t) lseek(fd, 0, SEEK_CUR) - length, length);
}

ssize_t vvc_write(int fd, const void *data, size_t length)
{
    LOCKED_CALL(syscall(SYS_write, fd, data, length), log_write_behind(fd, (uint64_t) result));
}

ssize_t vvc_writev(int fd, const struct iovec *parts, int count)
{
    LOCKED_CALL(syscall(SYS_writev, fd, parts, count), log_write_behind(fd, (uint64_t) result));
}

static void log_sync(int fd)
{
    g_autofree char *name = NULL;
    char path[PATH_MAX];
    struct stat st;
    uint32_t file = file_of(fd, &st);
    ssize_t got;

    if (file != NO_FILE) {
        log_add(recorder->log, EV_SYNC, file, NULL, 0);
        return;
    }
    if (recorder == NULL || recorder->log == NULL || st.st_dev != recorder->device || !S_ISDIR(st.st_mode))
        return;
    name = g_strdup_printf("/proc/self/fd/%d", fd);
    got = readlink(name, path, sizeof path - 1);
    g_assert(got > 0);
    path[got] = '\0';
    if (strcmp(path, recorder->root) == 0)
        log_add(recorder->log, EV_SYNC_FOLDER, NO_FILE, "", 1);
    else if (below_root(path) != NULL)
        log_add(recorder->log, EV_SYNC_FOLDER, NO_FILE, below_root(path), strlen(below_root(path)) + 1);
}

/* Nothing here survives anything, so the real sync is left out. */
static int do_sync(int fd)
{
    LOCKED_CALL((int) syscall(SYS_fcntl, fd, F_GETFD, 0) < 0 ? -1 : 0, log_sync(fd));
}

int vvc_fsync(int fd)
{
    return do_sync(fd);
}

int vvc_fdatasync(int fd)
{
    return do_sync(fd);
}

static uint64_t size_of(int fd)
{
    struct stat st;

    return syscall(SYS_fstat, fd, &st) == 0 ? (uint64_t) st.st_size : 0;
}

int vvc_ftruncate(int fd, off_t size)
{
    uint64_t before = size_of(fd);

    LOCKED_CALL((int) syscall(SYS_ftruncate, fd, size), log_size(fd, before));
}

int vvc_ftruncate64(int fd, off_t size)
{
    return vvc_ftruncate(fd, size);
}

int vvc_truncate(const char *path, off_t size)
{
    int fd = vvc_open(path, O_RDWR | O_CLOEXEC), result, saved;

    if (fd < 0)
        return -1;
    result = vvc_ftruncate(fd, size);
    saved = errno;
    close(fd);
    errno = saved;
    return result;
}

int vvc_truncate64(const char *path, off_t size)
{
    return vvc_truncate(path, size);
}

static bool is_reserve(int fd)
{
    g_autofree char *name = g_strdup_printf("/proc/self/fd/%d", fd);
    char path[PATH_MAX];
    ssize_t got = readlink(name, path, sizeof path - 1);

    path[MAX(got, 0)] = '\0';
    return below_root(path) != NULL && strcmp(below_root(path), RESERVE_NAME) == 0;
}

static void log_allocation(int fd, int mode, off_t offset, off_t length, uint64_t before)
{
    struct stat st;
    uint32_t file = file_of(fd, &st);

    if (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) {
        if (file != NO_FILE) {
            Event *event = log_add(recorder->log, EV_PUNCH, file, NULL, 0);

            event->offset = (uint64_t) offset;
            event->length = (uint64_t) length;
        }
        return;
    }
    log_size(fd, before);
}

int vvc_fallocate(int fd, int mode, off_t offset, off_t length)
{
    uint64_t before = size_of(fd);

    if (recorder != NULL && mode == 0 && is_reserve(fd)) {
        errno = EOPNOTSUPP;
        return -1;
    }
    if (recorder != NULL && mode == FALLOC_FL_KEEP_SIZE) /* room set aside shows nothing: it would take two thirds of the time of a state */
        return 0;
    LOCKED_CALL(
        (int) syscall(SYS_fallocate, fd, mode, offset, length), log_allocation(fd, mode, offset, length, before));
}

int vvc_fallocate64(int fd, int mode, off_t offset, off_t length)
{
    return vvc_fallocate(fd, mode, offset, length);
}

/* ---- names */

static void log_create(int fd, const char *name)
{
    struct stat st;
    uint32_t file;

    if (strcmp(name, VOLATILE_NAME) == 0 || syscall(SYS_fstat, fd, &st) != 0)
        return;
    file = recorder->next_file++;
    g_assert(!recorder->with_data || file < FILES_MAX);
    if (recorder->with_data)
        recorder_know_file(st.st_ino, file);
    log_add(recorder->log, EV_CREATE, file, name, strlen(name) + 1);
}

static int do_open(const char *path, int flags, mode_t mode)
{
    const char *name =
        recorder != NULL && recorder->log != NULL && (flags & (O_CREAT | O_TRUNC)) ? below_root(path) : NULL;
    bool fresh = name != NULL && syscall(SYS_faccessat, AT_FDCWD, path, F_OK) != 0;
    struct stat st = { .st_size = 0 };

    if (name != NULL && !fresh)
        (void) syscall(SYS_newfstatat, AT_FDCWD, path, &st, 0);
    LOCKED_CALL((int) syscall(SYS_openat, AT_FDCWD, path, flags, mode), {
        if (fresh)
            log_create((int) result, name);
        else if (name != NULL)
            log_size((int) result, (uint64_t) st.st_size);
    });
}

int vvc_open(const char *path, int flags, ...)
{
    va_list args;
    mode_t mode;

    va_start(args, flags);
    mode = flags & O_CREAT ? va_arg(args, mode_t) : 0;
    va_end(args);
    return do_open(path, flags, mode);
}

int vvc_open64(const char *path, int flags, ...)
{
    va_list args;
    mode_t mode;

    va_start(args, flags);
    mode = flags & O_CREAT ? va_arg(args, mode_t) : 0;
    va_end(args);
    return do_open(path, flags, mode);
}

static void log_rename(const char *from, const char *to)
{
    const char *old = recorder != NULL && recorder->log != NULL ? below_root(from) : NULL,
               *new = old ? below_root(to) : NULL;
    char both[2 * NAME_BYTES_MAX];
    int length;

    if (old == NULL || new == NULL)
        return;
    length = g_snprintf(both, sizeof both, "%s%c%s", old, '\0', new);
    log_add(recorder->log, EV_RENAME, NO_FILE, both, (size_t) length + 1);
}

int vvc_rename(const char *from, const char *to)
{
    LOCKED_CALL((int) syscall(SYS_renameat, AT_FDCWD, from, AT_FDCWD, to), log_rename(from, to));
}

static void log_unlink(const char *path)
{
    const char *name = recorder != NULL && recorder->log != NULL ? below_root(path) : NULL;

    if (name != NULL && strcmp(name, VOLATILE_NAME) != 0)
        log_add(recorder->log, EV_UNLINK, NO_FILE, name, strlen(name) + 1);
}

int vvc_unlink(const char *path)
{
    LOCKED_CALL((int) syscall(SYS_unlinkat, AT_FDCWD, path, 0), log_unlink(path));
}
