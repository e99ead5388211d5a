/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Faults below a real daemon: a library for LD_PRELOAD that lets I/O on files fail by rule. The daemon is what is installed: it
 * knows nothing of this, and nothing of this is installed.
 *
 * VV_FAULTS names a file of rules, read again whenever it is replaced; a line is
 *
 *     PATTERN OPERATIONS ACTION [skip=N] [count=N]
 *
 *   PATTERN      of the whole path, as fnmatch(3) takes it: `*` matches slashes too
 *   OPERATIONS   some of read,write,sync,allocate,punch, or all. fallocate and ftruncate are allocate, unless they punch
 *   ACTION       EIO ENOSPC ENODEV EROFS    it fails so and nothing is transferred
 *                short                      half of it is transferred, as far as that is whole blocks
 *                delay=MS                   it is done so much later; others are not held up
 *                pass                       nothing
 *   skip, count  it holds after so many, and for so many (for ever)
 *
 * The first rule that matches counts. What a rule did is told in VV_FAULTS.hits: number of the rule, path, operation.
 *
 * It sees the calls that LMDB, the journal, and disks in memory make, and requests in an io_uring before they are submitted: one
 * that shall fail is made a no-op with that result (Linux 6.11; before, and for others than those, any error), or a write to
 * /dev/full; one that is late is linked behind a timeout. Requests of the kernel's FUSE are not touched. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <liburing.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define RULES_MAX 32u
#define TEXT_BYTES_MAX 8192
#define BLOCK_BYTES 4096u
#define NOP_INJECT_RESULT 1u /* IORING_NOP_INJECT_RESULT */

typedef enum { OP_READ = 1, OP_WRITE = 2, OP_SYNC = 4, OP_ALLOCATE = 8, OP_PUNCH = 16, OP_ALL = 31 } Operation;
typedef enum { PASS, FAIL, SHORT, DELAY } Kind;
typedef struct {
    Kind kind;
    int err;           /* FAIL */
    unsigned delay_ms; /* DELAY */
} Action;
typedef struct {
    char pattern[PATH_MAX];
    unsigned operations;
    Action action;
    unsigned long skip, count;
} Rule;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* all below */
static Rule rules[RULES_MAX];
static unsigned rule_count;
static struct stat read_from;
static const char *rules_path;

/* ---- rules */

static const struct {
    const char *name;
    Operation operation;
} operations[] = { { "read", OP_READ }, { "write", OP_WRITE }, { "sync", OP_SYNC }, { "allocate", OP_ALLOCATE }, { "punch", OP_PUNCH },
    { "all", OP_ALL } };
static const struct {
    const char *name;
    int err;
} errors[] = { { "EIO", EIO }, { "ENOSPC", ENOSPC }, { "ENODEV", ENODEV }, { "EROFS", EROFS } };

static void bad_rule(const char *line)
{
    fprintf(stderr, "faulty: no such rule: %s\n", line);
    abort();
}

static unsigned parse_operations(char *text)
{
    unsigned found = 0;
    char *save = NULL;
    for (char *word = strtok_r(text, ",", &save); word; word = strtok_r(NULL, ",", &save)) {
        size_t i = 0;
        while (i < sizeof operations / sizeof *operations && strcmp(word, operations[i].name) != 0)
            i++;
        if (i == sizeof operations / sizeof *operations)
            bad_rule(word);
        found |= operations[i].operation;
    }
    return found;
}

static Action parse_action(const char *text)
{
    if (strcmp(text, "pass") == 0)
        return (Action){ .kind = PASS };
    if (strcmp(text, "short") == 0)
        return (Action){ .kind = SHORT };
    if (strncmp(text, "delay=", 6) == 0)
        return (Action){ .kind = DELAY, .delay_ms = (unsigned) strtoul(text + 6, NULL, 10) };
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        if (strcmp(text, errors[i].name) == 0)
            return (Action){ .kind = FAIL, .err = errors[i].err };
    bad_rule(text);
    return (Action){ .kind = PASS };
}

static void parse_rule(char *line)
{
    char *save = NULL, *pattern = strtok_r(line, " ", &save), *what = strtok_r(NULL, " ", &save), *action = strtok_r(NULL, " ", &save);
    Rule *rule = &rules[rule_count];
    if (pattern == NULL)
        return;
    if (what == NULL || action == NULL || strlen(pattern) >= sizeof rule->pattern || rule_count == RULES_MAX)
        bad_rule(line);
    *rule = (Rule){ .operations = parse_operations(what), .action = parse_action(action), .count = ULONG_MAX };
    memcpy(rule->pattern, pattern, strlen(pattern) + 1);
    for (char *word = strtok_r(NULL, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
        if (strncmp(word, "skip=", 5) == 0)
            rule->skip = strtoul(word + 5, NULL, 10);
        else if (strncmp(word, "count=", 6) == 0)
            rule->count = strtoul(word + 6, NULL, 10);
        else
            bad_rule(word);
    }
    rule_count++;
}

/* Read them again if the file is another one. */
static void read_rules(void)
{
    static char text[TEXT_BYTES_MAX + 1];
    struct stat st;
    if (stat(rules_path, &st) != 0) {
        rule_count = 0;
        return;
    }
    if (st.st_ino == read_from.st_ino && st.st_mtim.tv_sec == read_from.st_mtim.tv_sec && st.st_mtim.tv_nsec == read_from.st_mtim.tv_nsec)
        return;
    read_from = st;
    rule_count = 0;
    int fd = open(rules_path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, text, TEXT_BYTES_MAX);
    if (fd >= 0)
        close(fd);
    text[n > 0 ? n : 0] = 0;
    char *save = NULL;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
        parse_rule(line);
}

static void tell_hit(unsigned number, const char *path, Operation operation)
{
    char name[PATH_MAX + 8], line[PATH_MAX + 32];
    size_t i = 0;
    while (operations[i].operation != operation)
        i++;
    snprintf(name, sizeof name, "%s.hits", rules_path);
    int length = snprintf(line, sizeof line, "%u %s %s\n", number, path, operations[i].name);
    int fd = open(name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd >= 0) {
        (void) !syscall(SYS_write, fd, line, (size_t) length);
        close(fd);
    }
}

/* What is to become of it. */
static Action decide(int fd, Operation operation)
{
    Action action = { .kind = PASS };
    char link[32], path[PATH_MAX];
    pthread_mutex_lock(&lock);
    if (rules_path == NULL)
        rules_path = getenv("VV_FAULTS");
    if (rules_path != NULL)
        read_rules();
    if (rule_count > 0) {
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t n = readlink(link, path, sizeof path - 1);
        path[n > 0 ? n : 0] = 0;
        for (unsigned i = 0; i < rule_count; i++) {
            Rule *rule = &rules[i];
            if (!(rule->operations & operation) || rule->count == 0 || fnmatch(rule->pattern, path, 0) != 0)
                continue;
            if (rule->skip > 0) {
                rule->skip--;
                break;
            }
            if (rule->count != ULONG_MAX)
                rule->count--;
            action = rule->action;
            tell_hit(i + 1, path, operation);
            break;
        }
    }
    pthread_mutex_unlock(&lock);
    return action;
}

/* ---- calls */

static void sleep_ms(unsigned ms)
{
    struct timespec left = { .tv_sec = ms / 1000, .tv_nsec = (long) (ms % 1000) * 1000000 };
    while (nanosleep(&left, &left) != 0 && errno == EINTR)
        ;
}

/* False: it fails, and errno says how. *length: as much as shall be transferred. */
static bool may_go_on(int fd, Operation operation, size_t *length)
{
    Action action = decide(fd, operation);
    if (action.kind == DELAY)
        sleep_ms(action.delay_ms);
    if (action.kind == SHORT && length != NULL && *length >= 2 * BLOCK_BYTES)
        *length = *length / 2 / BLOCK_BYTES * BLOCK_BYTES;
    if (action.kind == FAIL)
        errno = action.err;
    return action.kind != FAIL;
}

ssize_t pread(int fd, void *data, size_t length, off_t offset)
{
    return may_go_on(fd, OP_READ, &length) ? syscall(SYS_pread64, fd, data, length, offset) : -1;
}

ssize_t pread64(int fd, void *data, size_t length, off64_t offset)
{
    return pread(fd, data, length, offset);
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t offset)
{
    return may_go_on(fd, OP_WRITE, &length) ? syscall(SYS_pwrite64, fd, data, length, offset) : -1;
}

ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset)
{
    return pwrite(fd, data, length, offset);
}

ssize_t writev(int fd, const struct iovec *vector, int count)
{
    size_t whole = 0, length;
    for (int i = 0; i < count; i++)
        whole += vector[i].iov_len;
    length = whole;
    if (!may_go_on(fd, OP_WRITE, &length))
        return -1;
    while (length < whole && count > 1) /* short: as many parts as fit */
        whole -= vector[--count].iov_len;
    return syscall(SYS_writev, fd, vector, count);
}

int fdatasync(int fd)
{
    return may_go_on(fd, OP_SYNC, NULL) ? (int) syscall(SYS_fdatasync, fd) : -1;
}

int fsync(int fd)
{
    return may_go_on(fd, OP_SYNC, NULL) ? (int) syscall(SYS_fsync, fd) : -1;
}

int ftruncate(int fd, off_t length)
{
    return may_go_on(fd, OP_ALLOCATE, NULL) ? (int) syscall(SYS_ftruncate, fd, length) : -1;
}

int fallocate(int fd, int mode, off_t offset, off_t length)
{
    Operation operation = mode & FALLOC_FL_PUNCH_HOLE ? OP_PUNCH : OP_ALLOCATE;
    return may_go_on(fd, operation, NULL) ? (int) syscall(SYS_fallocate, fd, mode, offset, length) : -1;
}

int fallocate64(int fd, int mode, off64_t offset, off64_t length)
{
    return fallocate(fd, mode, offset, length);
}

/* ---- LMDB: VV_MAP_BYTES is the size of its map, which nobody could fill otherwise */

typedef struct MDB_env MDB_env;
int mdb_env_set_mapsize(MDB_env *env, size_t bytes);
int mdb_env_set_mapsize(MDB_env *env, size_t bytes)
{
    static int (*real)(MDB_env *env, size_t bytes);
    const char *wanted = getenv("VV_MAP_BYTES");
    if (real == NULL)
        *(void **) &real = dlsym(RTLD_NEXT, __func__);
    return real(env, wanted ? strtoul(wanted, NULL, 10) : bytes);
}

/* ---- rings */

static void fail_request(struct io_uring_sqe *sqe, int err)
{
    static atomic_int full = -1;
    __u64 user_data = sqe->user_data;
    if (err == ENOSPC && sqe->opcode == IORING_OP_WRITE) {
        if (atomic_load(&full) < 0)
            atomic_store(&full, open("/dev/full", O_WRONLY | O_CLOEXEC));
        sqe->fd = atomic_load(&full);
        return;
    }
    io_uring_prep_nop(sqe);
    sqe->user_data = user_data;
    sqe->rw_flags = NOP_INJECT_RESULT;
    sqe->len = (unsigned) -err;
}

/* Its place is taken by nothing; it goes to the end, behind a timeout. Where there is no room it is not late. */
static void delay_request(struct io_uring *ring, struct io_uring_sqe *sqe, unsigned ms)
{
    static __thread struct __kernel_timespec times[64]; /* read when they are submitted */
    static __thread unsigned next;
    struct __kernel_timespec *time = &times[next++ % 64];
    struct io_uring_sqe *timeout = io_uring_sq_space_left(ring) >= 2 ? io_uring_get_sqe(ring) : NULL;
    struct io_uring_sqe *copy = timeout ? io_uring_get_sqe(ring) : NULL;
    if (copy == NULL)
        return;
    *time = (struct __kernel_timespec){ .tv_sec = ms / 1000, .tv_nsec = (long long) (ms % 1000) * 1000000 };
    *copy = *sqe;
    io_uring_prep_timeout(timeout, time, 0, IORING_TIMEOUT_ETIME_SUCCESS);
    timeout->flags |= IOSQE_IO_LINK;
    timeout->user_data = 0; /* the worker's TAG_NONE */
    io_uring_prep_nop(sqe);
    sqe->user_data = 0;
}

static void look_at_ring(struct io_uring *ring)
{
    unsigned end = ring->sq.sqe_tail;
    if (ring->flags & IORING_SETUP_SQE128)
        return;
    for (unsigned i = ring->sq.sqe_head; i != end; i++) {
        struct io_uring_sqe *sqe = &ring->sq.sqes[i & *ring->sq.kring_mask];
        if (sqe->opcode != IORING_OP_READ && sqe->opcode != IORING_OP_WRITE)
            continue;
        Action action = decide(sqe->fd, sqe->opcode == IORING_OP_READ ? OP_READ : OP_WRITE);
        if (action.kind == FAIL)
            fail_request(sqe, action.err);
        else if (action.kind == DELAY)
            delay_request(ring, sqe, action.delay_ms);
        else if (action.kind == SHORT && sqe->len >= 2 * BLOCK_BYTES)
            sqe->len = sqe->len / 2 / BLOCK_BYTES * BLOCK_BYTES;
    }
}

int io_uring_submit(struct io_uring *ring)
{
    static int (*real)(struct io_uring *ring);
    if (real == NULL)
        *(void **) &real = dlsym(RTLD_NEXT, __func__);
    look_at_ring(ring);
    return real(ring);
}

int io_uring_submit_and_wait(struct io_uring *ring, unsigned count)
{
    static int (*real)(struct io_uring *ring, unsigned count);
    if (real == NULL)
        *(void **) &real = dlsym(RTLD_NEXT, __func__);
    look_at_ring(ring);
    return real(ring, count);
}

int io_uring_submit_and_get_events(struct io_uring *ring)
{
    static int (*real)(struct io_uring *ring);
    if (real == NULL)
        *(void **) &real = dlsym(RTLD_NEXT, __func__);
    look_at_ring(ring);
    return real(ring);
}
