/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The log of a program: one line a message, to stderr or to syslog. Until vv_log_init() it is stderr, level note.
 * vv_log_init() belongs before the first thread; vv_log() may be called from any. */
#include "util.h"

#include <stdio.h>
#include <string.h>
#include <syslog.h>

/* By VvLogLevel. */
static const struct {
    const char *name;
    int priority;
} levels[] = {
    [VV_LOG_ERROR] = { "error", LOG_ERR },
    [VV_LOG_WARNING] = { "warning", LOG_WARNING },
    [VV_LOG_NOTE] = { "note", LOG_NOTICE },
    [VV_LOG_INFO] = { "info", LOG_INFO },
    [VV_LOG_DEBUG] = { "debug", LOG_DEBUG },
};

static VvLogLevel log_level = VV_LOG_NOTE;
static bool log_to_syslog;
static char *log_ident; /* openlog() keeps the pointer, so it lives as long as the program */

void vv_log_init(VvLogLevel level, bool to_syslog, const char *ident)
{
    char *old = log_ident;

    log_level = level;
    log_to_syslog = to_syslog;
    log_ident = g_strdup(ident);
    if (to_syslog)
        openlog(log_ident, LOG_PID, LOG_DAEMON);
    else
        closelog();
    g_free(old);
}

bool vv_log_level_parse(const char *text, VvLogLevel *ret_level)
{
    for (size_t i = 0; i < G_N_ELEMENTS(levels); i++)
        if (strcmp(text, levels[i].name) == 0) {
            *ret_level = (VvLogLevel) i;
            return true;
        }
    return false;
}

void vv_log(VvLogLevel level, const char *format, ...)
{
    g_autofree char *message = NULL;
    va_list args;

    if (level > log_level)
        return;
    va_start(args, format);
    message = g_strdup_vprintf(format, args);
    va_end(args);
    /* What came from outside may hold anything; a message stays one line. */
    for (char *c = message; *c; c++)
        if (g_ascii_iscntrl(*c))
            *c = ' ';
    if (log_to_syslog)
        syslog(levels[level].priority, "%s", message);
    else /* one call, so that lines of several threads do not mix: stdio locks the stream */
        fprintf(stderr, "%s: %s: %s\n", log_ident ? log_ident : "vvfs", levels[level].name, message);
}

void vv_log_signal(const char *what, int signal, unsigned pid)
{
    g_autofree char *path = g_strdup_printf("/proc/%u/comm", pid), *comm = NULL;

    if (pid == 0 || !g_file_get_contents(path, &comm, NULL, NULL))
        comm = g_strdup(pid == 0 ? "outside of this container" : "ended");
    vv_log(VV_LOG_NOTE, "%s: signal %d (%s) from process %u (%s)", what, signal, strsignal(signal), pid, g_strchomp(comm));
}
