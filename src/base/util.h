/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Small things every layer needs: names, sizes, times, UUIDs, logging, cleanup. */
#ifndef VV_UTIL_H
#define VV_UTIL_H

#include <glib.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <unistd.h>

/* ---- names: CLI.md section 2 */
/* @kind ("LUN", "snapshot", "pool", "disk") goes into the message. Error: VV_ERROR_INVALID_NAME with the rule. */
bool vv_name_check(const char *name, const char *kind, GError **error);
/* Does "A@B" hold one '@'? Copies the parts; error: VV_ERROR_INVALID_NAME. The parts are checked, unless @pattern:
 * then the second may hold * ? [ ]. */
bool vv_name_split(const char *object, bool pattern, char **ret_lun, char **ret_snapshot, GError **error);

/* "node://ID/PATH": a disk of another node. */
static inline bool vv_is_node_address(const char *text)
{
    return g_str_has_prefix(text, "node://");
}
/* Is it the address of a disk on a server, "nbd://..." or "nbd+unix://...", or on another node, and no path? */
static inline bool vv_is_address(const char *text)
{
    return g_str_has_prefix(text, "nbd://") || g_str_has_prefix(text, "nbd+unix://") || vv_is_node_address(text);
}
/* The node, and its absolute path, borrowed from @text. False: it is no such address. */
bool vv_node_address_parse(const char *text, uint64_t *ret_node, const char **ret_path);
char *vv_node_address(uint64_t node, const char *path); /* newly allocated */
/* The last part of a disk's path or of an address' export; "nbd" if that has no name. Newly allocated. */
char *vv_disk_base_name(const char *path);

/* ---- sizes */
/* Parse bytes, K M G T P E (also KiB ...), fractions; "10GB" is refused with both readings; zero, negative, nonsense,
 * above VV_LUN_BYTES_MAX and (if @multiple_bytes) non-multiples are refused with what would be accepted.
 * Error: VV_ERROR_USAGE. */
bool vv_size_parse(const char *text, uint64_t multiple_bytes, uint64_t *ret_bytes, GError **error);
/* Three significant digits, powers of 1024, valid as input: "0", "512", "1.5K", "40G". Newly allocated. */
char *vv_size_format(uint64_t bytes);

/* ---- time */
uint64_t vv_now_ns(void);       /* CLOCK_REALTIME, Unix nanoseconds */
uint64_t vv_monotonic_ns(void); /* CLOCK_MONOTONIC */
uint64_t vv_monotonic_ms(void);
char *vv_time_format_utc(uint64_t ns);     /* RFC 3339, UTC, nine digits, "Z" */
char *vv_time_format_local(uint64_t ns);   /* "2026-11-02 04:07:00" */
char *vv_time_format_compact(uint64_t ns); /* "20261102T030700Z", for generated names */

/* ---- UUIDs */
typedef struct {
    uint8_t bytes[16];
} VvUuid;
void vv_uuid_generate(VvUuid *ret_uuid); /* random, version 4 */
char *vv_uuid_format(const VvUuid *uuid);
bool vv_uuid_parse(const char *text, VvUuid *ret_uuid);
static inline bool vv_uuid_equal(const VvUuid *a, const VvUuid *b)
{
    return __builtin_memcmp(a, b, 16) == 0;
}
/* Fill @data from the kernel's random source. */
void vv_random_bytes(void *data, size_t length_bytes);

/* ---- logging: libraries return errors, programs log them; background threads have nobody to return to and log */
typedef enum { VV_LOG_ERROR, VV_LOG_WARNING, VV_LOG_NOTE, VV_LOG_INFO, VV_LOG_DEBUG } VvLogLevel;
void vv_log_init(VvLogLevel level, bool to_syslog, const char *ident);
bool vv_log_level_parse(const char *text, VvLogLevel *ret_level);
void vv_log(VvLogLevel level, const char *format, ...) G_GNUC_PRINTF(2, 3);
/* A note of who asks @what to end; @pid as signalfd(2) says it, 0: somebody outside of this PID namespace. Any thread. */
void vv_log_signal(const char *what, int signal, unsigned pid);

/* ---- whole-buffer file I/O: 0 or -errno; a short read is -EIO */
int vv_pread_full(int fd, void *data, size_t length_bytes, uint64_t offset);
int vv_pwrite_full(int fd, const void *data, size_t length_bytes, uint64_t offset);
/* fsync the directory @path. */
int vv_sync_directory(const char *path);
/* @directory/@name holds @text, durably, or what it held before (mode 0600; by way of NAME.new). 0 or -errno. */
int vv_replace_file(const char *directory, const char *name, const char *text);

/* ---- scoped cleanup */
typedef pthread_mutex_t VvMutexHolder;
static inline void vv_mutex_holder_free(VvMutexHolder *m)
{
    pthread_mutex_unlock(m);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VvMutexHolder, vv_mutex_holder_free)
static inline VvMutexHolder *vv_mutex_hold(pthread_mutex_t *m)
{
    pthread_mutex_lock(m);
    return m;
}
/* A lock that is held for less time than a sleep and a wake-up take: who finds it held spins a little before it sleeps. */
static inline void vv_mutex_init_short(pthread_mutex_t *m)
{
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ADAPTIVE_NP);
    pthread_mutex_init(m, &attributes);
    pthread_mutexattr_destroy(&attributes);
}
/* VV_LOCKED(&lock): hold until the end of the enclosing block. */
#define VV_LOCKED_NAME2(line) vv_locked_##line
#define VV_LOCKED_NAME(line) VV_LOCKED_NAME2(line)
#define VV_LOCKED(m) G_GNUC_UNUSED g_autoptr(VvMutexHolder) VV_LOCKED_NAME(__LINE__) = vv_mutex_hold(m)

static inline void vv_close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}
#define vv_autofd __attribute__((cleanup(vv_close_fd)))

#endif
