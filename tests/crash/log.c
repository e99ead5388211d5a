/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

_Static_assert(sizeof(RecordingHeader) == 56, "the table in log.h");

Log *log_new(void)
{
    Log *log = mmap(NULL, LOG_BYTES_MAX, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    g_assert(log != MAP_FAILED);
    return log;
}

void log_clear(Log *log)
{
    log->used = 0;
    log->count = 0;
}

void log_cut(Log *log, uint64_t number)
{
    const Event *event;
    uint64_t at = 0, count = 0;

    for (; count <= number && (event = log_at(log, at)); at = log_behind(at, event))
        count++;
    log->used = at;
    log->count = count;
}

Event *log_add(Log *log, EventKind kind, uint32_t file, const void *data, size_t data_bytes)
{
    Event *event = (Event *) (void *) (log->bytes + log->used);

    g_assert(sizeof *log + log->used + sizeof *event + data_bytes + 8 <= LOG_BYTES_MAX);
    *event = (Event){ .kind = kind, .file = file, .data_bytes = data_bytes };
    if (data != NULL)
        memcpy(event->data, data, data_bytes);
    log->used = log_behind(log->used, event);
    log->count++;
    return event;
}

/* ---- on disk */

static bool write_all(int fd, const void *data, uint64_t bytes)
{
    const uint8_t *at = data;

    while (bytes > 0) {
        ssize_t done = write(fd, at, bytes);

        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return false;
        at += done;
        bytes -= (uint64_t) done;
    }
    return true;
}

bool log_save(const char *path, const RecordingHeader *header, const Log *base, const Log *log)
{
    RecordingHeader full = *header;
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    bool ok;

    memcpy(full.magic, LOG_MAGIC, sizeof full.magic);
    full.version = LOG_VERSION;
    full.base_bytes = base->used;
    full.log_bytes = log->used;
    if (fd < 0)
        return false;
    ok = write_all(fd, &full, sizeof full) && write_all(fd, base->bytes, base->used) &&
         write_all(fd, log->bytes, log->used);
    close(fd);
    return ok;
}

static bool read_all(int fd, void *data, uint64_t bytes)
{
    uint8_t *at = data;

    while (bytes > 0) {
        ssize_t done = read(fd, at, bytes);

        if (done <= 0)
            return false;
        at += done;
        bytes -= (uint64_t) done;
    }
    return true;
}

/* Whole events that end where the log ends. */
static bool count_events(Log *log, uint64_t bytes)
{
    uint64_t at = 0;

    log->used = bytes;
    log->count = 0;
    while (at < bytes) {
        const Event *event = log_at(log, at);

        if (bytes - at < sizeof *event || event->data_bytes > bytes - at - sizeof *event || event->kind >= EV_N_KINDS)
            return false;
        at = log_behind(at, event);
        log->count++;
    }
    return at == bytes;
}

static bool complain(const char *path, const char *why)
{
    fprintf(stderr, "replay: %s: %s\n", path, why);
    return false;
}

bool log_load(const char *path, RecordingHeader *ret_header, Log *base, Log *log)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    bool ok;

    if (fd < 0 || fstat(fd, &st) != 0)
        return complain(path, strerror(errno));
    ok = read_all(fd, ret_header, sizeof *ret_header) && memcmp(ret_header->magic, LOG_MAGIC, 8) == 0;
    if (!ok) {
        close(fd);
        return complain(path, "is no recording");
    }
    if (ret_header->version != LOG_VERSION) {
        g_autofree char *why = g_strdup_printf(
            "is a recording of version %u; this program reads version %u", ret_header->version, LOG_VERSION);

        close(fd);
        return complain(path, why);
    }
    ok = ret_header->base_bytes < LOG_BYTES_MAX / 2 && ret_header->log_bytes < LOG_BYTES_MAX / 2 &&
         sizeof *ret_header + ret_header->base_bytes + ret_header->log_bytes == (uint64_t) st.st_size &&
         read_all(fd, base->bytes, ret_header->base_bytes) && read_all(fd, log->bytes, ret_header->log_bytes) &&
         count_events(base, ret_header->base_bytes) && count_events(log, ret_header->log_bytes);
    close(fd);
    return ok || complain(path, "is cut short or damaged");
}
