/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What makes vvfs into vvfs-faults: the daemon that tests run dies, stops or is late where the environment says. It is the daemon's objects
 * and this one; nothing of this is installed.
 *
 *     VVFS_FAULT=POINT[#COUNT]:ACTION[,...]
 *
 *   POINT    a name of faultpoint.h; `help` lists them
 *   COUNT    the fault comes when the point is passed for the Nth time (1); `*`: each time
 *   ACTION   kill       kill -9 of the process that serves: whoever holds the mount starts another
 *            crash      and of the holder before it: as if the node had lost power, but for what its kernel has
 *            stop       SIGSTOP of the process: all threads, until somebody sends SIGCONT
 *            sleep=MS   the thread that is there is late; others go on
 *            exit[=N]   exit code N (1), at once
 *
 * VVFS_FAULT_LOG names a file to which each fault adds a line before it comes: `NUMBER POINT ACTION PID`, the rule's number from 1. Rules
 * with a line there (but `*`) are over: so a successor, which has the same environment, does not die at the same place again.
 *
 * VVFS_FAULT_FILE names a file whose words are rules of each process that starts, and, after SIGUSR2, of one that runs: instead of those it had.
 * A word that is not understood ends the program at its start: exit code 2. */
#include "faultpoint.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define RULES_MAX 16u
#define TEXT_BYTES_MAX 1024u

typedef enum { ACTION_KILL, ACTION_CRASH, ACTION_STOP, ACTION_SLEEP, ACTION_EXIT } Action;

typedef struct {
    VvDiePoint point;
    Action action;
    unsigned long argument;
    bool each;
    _Atomic long left; /* passes until it comes; 0 or less: over */
} Rule;

static const char *const point_names[] = {
#define POINT_NAME(identifier, name) name,
    VV_DIE_POINTS(POINT_NAME)
#undef POINT_NAME
};
static const struct {
    const char *name;
    Action action;
    unsigned long argument; /* if none is given */
    bool needs_argument;
} actions[] = { { "kill", ACTION_KILL, 0, false }, { "crash", ACTION_CRASH, 0, false },
    { "stop", ACTION_STOP, 0, false }, { "sleep", ACTION_SLEEP, 0, true }, { "exit", ACTION_EXIT, 1, false } };

static Rule rules[RULES_MAX];
static _Atomic unsigned rule_count;
static int log_fd = -1;
static atomic_bool file_wanted;
static pthread_mutex_t file_lock = PTHREAD_MUTEX_INITIALIZER;

/* ---- coming */
static bool held(void)
{
    char words[256];
    int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? 0 : read(fd, words, sizeof words - 1);
    bool found = false;

    if (fd >= 0)
        close(fd);
    for (ssize_t i = 0; i < length && !found; i += (ssize_t) strnlen(words + i, (size_t) (length - i)) + 1)
        found = length - i > 8 && strncmp(words + i, "--serve=", 8) == 0;
    return found;
}

/* By a process of its own, so that neither sees the other's end: who serves flushes when the holder has gone, and the holder starts
 * another. The holder is stopped first. Like fork(), but without its handlers: whoever holds a lock of malloc is dead soon. */
static void crash(void)
{
    pid_t server = getpid(), holder = held() ? getppid() : 0;
    long pid = syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);

    if (pid == 0) {
        if (holder)
            kill(holder, SIGSTOP);
        kill(server, SIGKILL);
        if (holder)
            kill(holder, SIGKILL);
        _exit(0);
    }
    if (pid < 0)
        kill(server, SIGKILL);
    for (;;)
        pause();
}

static void tell(unsigned number)
{
    const Rule *rule = &rules[number];
    char line[128];
    int length = snprintf(line, sizeof line, "%u %s %s %d\n", number + 1, point_names[rule->point],
        actions[rule->action].name, (int) getpid());

    if (log_fd >= 0 && write(log_fd, line, (size_t) length) != length)
        _exit(2);
}

static void come(const Rule *rule)
{
    struct timespec late = { .tv_sec = (time_t) (rule->argument / 1000),
        .tv_nsec = (long) (rule->argument % 1000) * 1000000 };

    switch (rule->action) {
    case ACTION_CRASH:
        crash();
        break;
    case ACTION_KILL:
        kill(getpid(), SIGKILL);
        break;
    case ACTION_STOP:
        kill(getpid(), SIGSTOP);
        break;
    case ACTION_SLEEP:
        while (nanosleep(&late, &late) != 0)
            continue;
        break;
    case ACTION_EXIT:
        _exit((int) rule->argument);
    }
}

static void read_file(void);

static void pass(VvDiePoint point)
{
    if (atomic_load_explicit(&file_wanted, memory_order_relaxed))
        read_file();
    for (unsigned i = 0; i < rule_count; i++) {
        Rule *rule = &rules[i];
        if (rule->point != point || (!rule->each && atomic_fetch_sub(&rule->left, 1) != 1))
            continue;
        tell(i);
        come(rule);
    }
}

/* ---- reading */
static void refuse(const char *what, const char *word)
{
    fprintf(stderr, "vvfs: VVFS_FAULT: %s: %s\n", what, word);
    exit(2);
}

static unsigned long parse_number(const char *text, const char *word)
{
    char *end;
    unsigned long number = strtoul(text, &end, 10);

    if (*text < '0' || *text > '9' || *end != '\0' || number > 1000000000)
        refuse("a number is needed", word);
    return number;
}

static void parse_action(Rule *rule, char *text, const char *word)
{
    char *argument = strchr(text, '=');

    if (argument)
        *argument++ = '\0';
    for (unsigned i = 0; i < sizeof actions / sizeof actions[0]; i++) {
        if (strcmp(text, actions[i].name) != 0)
            continue;
        rule->action = actions[i].action;
        rule->argument = argument ? parse_number(argument, word) : actions[i].argument;
        if ((actions[i].needs_argument && !argument) || (argument && rule->action < ACTION_SLEEP))
            refuse("sleep=MS, exit=N, others without a number", word);
        return;
    }
    refuse("kill, crash, stop, sleep=MS or exit", word);
}

static void parse_rule(const char *word)
{
    char text[TEXT_BYTES_MAX], *action, *count;
    Rule *rule = &rules[rule_count];

    if (rule_count == RULES_MAX)
        refuse("too many", word);
    snprintf(text, sizeof text, "%s", word);
    action = strchr(text, ':');
    if (!action)
        refuse("POINT:ACTION is needed", word);
    *action++ = '\0';
    count = strchr(text, '#');
    if (count)
        *count++ = '\0';
    rule->point = VV_N_DIES;
    for (unsigned i = 0; i < VV_N_DIES; i++) {
        if (strcmp(text, point_names[i]) == 0)
            rule->point = (VvDiePoint) i;
    }
    if (rule->point == VV_N_DIES)
        refuse("no such point", word);
    rule->each = count && strcmp(count, "*") == 0;
    rule->left = count && !rule->each ? (long) parse_number(count, word) : 1;
    parse_action(rule, action, word);
    rule_count++;
}

static void open_log(const char *path)
{
    FILE *file;
    char line[256];
    unsigned number;

    log_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    file = log_fd < 0 ? NULL : fopen(path, "re");
    if (!file)
        refuse("cannot write the log", path);
    while (fgets(line, sizeof line, file)) {
        if (sscanf(line, "%u", &number) == 1 && number >= 1 && number <= rule_count)
            rules[number - 1].left = 0;
    }
    fclose(file);
}

static void parse_rules(char *words)
{
    for (char *word = strsep(&words, ","); word; word = strsep(&words, ","))
        parse_rule(word);
}

/* Whoever passes a point first: the others see the old rules, none, or the new ones. */
static void read_file(void)
{
    const char *path = getenv("VVFS_FAULT_FILE");
    char words[TEXT_BYTES_MAX] = "";
    FILE *file;

    pthread_mutex_lock(&file_lock);
    if (atomic_exchange(&file_wanted, false)) {
        atomic_store(&rule_count, 0);
        file = fopen(path, "re");
        if (!file || !fgets(words, sizeof words, file))
            words[0] = '\0';
        words[strcspn(words, "\n")] = '\0';
        if (file)
            fclose(file);
        if (words[0] != '\0')
            parse_rules(words);
    }
    pthread_mutex_unlock(&file_lock);
}

static void read_file_soon(int signal)
{
    (void) signal;
    atomic_store(&file_wanted, true);
}

static void watch_signal(void)
{
    struct sigaction action = { .sa_handler = read_file_soon, .sa_flags = SA_RESTART };

    sigaction(SIGUSR2, &action, NULL);
    atomic_store(&file_wanted, access(getenv("VVFS_FAULT_FILE"), R_OK) == 0);
}

__attribute__((constructor)) static void start(void)
{
    const char *text = getenv("VVFS_FAULT"), *log = getenv("VVFS_FAULT_LOG");
    bool watch = getenv("VVFS_FAULT_FILE") != NULL;
    char words[TEXT_BYTES_MAX];

    if (!watch && (!text || *text == '\0'))
        return;
    if (text && strcmp(text, "help") == 0) {
        for (unsigned i = 0; i < VV_N_DIES; i++)
            puts(point_names[i]);
        exit(0);
    }
    if (text && *text != '\0') {
        if (snprintf(words, sizeof words, "%s", text) >= (int) sizeof words)
            refuse("too long", text);
        parse_rules(words);
    }
    if (log)
        open_log(log);
    if (watch)
        watch_signal();
    vv_die_hook = pass;
}
