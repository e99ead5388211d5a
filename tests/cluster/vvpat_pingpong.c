/* SPDX-License-Identifier: GPL-2.0-or-later */
/* pingpong: a token goes round a ring of processes, on one machine or on many. It is the number that was acknowledged last: who gets it
 * looks whether that number is there (a stale read would say no), writes the next one, and passes that on when it is acknowledged.
 * So whoever sees number n sees all before it, and every image of all files must (`causal`).
 *
 * The token is a big-endian number on a stream to the next in the ring; END says that the last number has been written. */
#include "pingpong.h"
#include "vvpat.h"

#include <errno.h>
#include <inttypes.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define END UINT64_MAX
#define MEET_SECONDS 30u /* until all of a ring are there */

typedef struct {
    const Options *options;
    uint32_t index, participants;
    int from_fd, to_fd; /* -1: alone */
    int fds[FILES_MAX];
    OpLog *log;
    uint8_t *data;
    uint64_t deadline_ns;
} Player;

/* ---- the ring */
static bool send_token(int fd, uint64_t token)
{
    uint64_t wire = __builtin_bswap64(token);

    return send(fd, &wire, sizeof wire, MSG_NOSIGNAL) == (ssize_t) sizeof wire;
}

static bool receive_token(int fd, uint64_t *ret_token)
{
    uint64_t wire;

    if (recv(fd, &wire, sizeof wire, MSG_WAITALL) != (ssize_t) sizeof wire)
        return false;
    *ret_token = __builtin_bswap64(wire);
    return true;
}

static struct addrinfo *resolve(const char *place, bool passive)
{
    struct addrinfo hints = { .ai_family = AF_INET, .ai_socktype = SOCK_STREAM, .ai_flags = passive ? AI_PASSIVE : 0 },
                    *found = NULL;
    char host[256];
    const char *colon = strrchr(place, ':');

    if (colon && (size_t) (colon - place) < sizeof host) {
        snprintf(host, sizeof host, "%.*s", (int) (colon - place), place);
        if (getaddrinfo(host, colon + 1, &hints, &found) != 0)
            found = NULL;
    }
    if (!found)
        fprintf(stderr, "vvpat: %s: no such place\n", place);
    return found;
}

static int listen_at(const char *place)
{
    struct addrinfo *where = resolve(place, true);
    int fd = where ? socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0) : -1, on = 1;

    if (fd >= 0) {
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        if (bind(fd, where->ai_addr, where->ai_addrlen) != 0 || listen(fd, 1) != 0) {
            fprintf(stderr, "vvpat: %s: %s\n", place, strerror(errno));
            close(fd);
            fd = -1;
        }
    }
    if (where)
        freeaddrinfo(where);
    return fd;
}

/* The next may not be there yet. */
static int connect_to(const char *place)
{
    uint64_t deadline_ns = oplog_now_ns() + MEET_SECONDS * 1000000000ull;
    struct addrinfo *where = resolve(place, false);
    int fd = -1;

    while (where && fd < 0) {
        fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0 || connect(fd, where->ai_addr, where->ai_addrlen) == 0)
            break;
        int why = errno;
        close(fd);
        fd = -1;
        if (oplog_now_ns() > deadline_ns) {
            fprintf(stderr, "vvpat: %s: %s\n", place, strerror(why));
            break;
        }
        poll(NULL, 0, 20);
    }
    if (where)
        freeaddrinfo(where);
    return fd;
}

static int accept_one(int listener)
{
    struct pollfd ready = { .fd = listener, .events = POLLIN };
    int fd = poll(&ready, 1, MEET_SECONDS * 1000) == 1 ? accept4(listener, NULL, NULL, SOCK_CLOEXEC) : -1;

    if (fd < 0)
        fprintf(stderr, "vvpat: the one before in the ring did not come\n");
    return fd;
}

/* Listen, connect to the next, accept the one before. */
static bool join_ring(Player *p)
{
    const char *places[RING_MAX];
    char *words = strdup(p->options->ring), *rest = words;
    int listener = -1;

    p->participants = 0;
    for (char *word = strsep(&rest, ","); word && p->participants < RING_MAX; word = strsep(&rest, ","))
        places[p->participants++] = word;
    if (p->index >= p->participants)
        fprintf(stderr, "vvpat: --index: the ring has %u\n", p->participants);
    else
        listener = listen_at(places[p->index]);
    p->to_fd = listener < 0 ? -1 : connect_to(places[(p->index + 1) % p->participants]);
    p->from_fd = p->to_fd < 0 ? -1 : accept_one(listener);
    if (listener >= 0)
        close(listener);
    free(words);
    return p->from_fd >= 0;
}

/* ---- numbers */
static Stamp stamp_of(const Player *p, uint64_t number)
{
    const Options *o = p->options;

    return (Stamp){ .lun = o->lun + pingpong_file(number, o->file_count),
        .node = (uint32_t) (number % p->participants),
        .sequence = number,
        .participants = p->participants,
        .luns = o->file_count,
        .slots = o->slots };
}

static uint64_t offset_of(const Player *p, uint64_t number)
{
    const Options *o = p->options;

    return o->offset_bytes + (uint64_t) pingpong_slot(number, o->file_count, o->slots) * o->least_bytes;
}

static int fail(const Player *p, const char *what, uint64_t number, int result)
{
    fprintf(stderr, "vvpat: %s: %s of number %" PRIu64 ": %s\n",
        p->options->files[pingpong_file(number, p->options->file_count)], what, number, strerror(-result));
    return EXIT_FAILED_IO;
}

/* Is number @number there, as who wrote it was told? */
static int look_for(Player *p, uint64_t number)
{
    const Options *o = p->options;
    uint32_t file = pingpong_file(number, o->file_count);
    uint64_t offset = offset_of(p, number);
    int result = vvpat_pread(p->fds[file], p->data, o->least_bytes, offset);

    if (result != 0)
        return fail(p, "read", number, result);
    for (uint32_t i = 0; i < o->least_bytes; i += STAMP_BYTES) {
        Stamp stamp = { 0 };
        StampState state = stamp_look(p->data + i, o->lun + file, (offset + i) / STAMP_BYTES, &stamp);
        if (state != STAMP_GOOD || stamp.sequence != number) {
            printf("%s: stale: number %" PRIu64 " was acknowledged, and there is %s, number %" PRIu64 "\n",
                o->files[file], number, stamp_state_name(state), stamp.sequence);
            return EXIT_WRONG;
        }
    }
    return EXIT_GOOD;
}

static int write_number(Player *p, uint64_t number)
{
    const Options *o = p->options;
    uint32_t file = pingpong_file(number, o->file_count);
    Stamp stamp = stamp_of(p, number);
    OpRecord what = { .kind = OP_WRITE,
        .lun = stamp.lun,
        .node = stamp.node,
        .offset_bytes = offset_of(p, number),
        .length_bytes = o->least_bytes,
        .value = stamp_value(&stamp) };
    OpRecord *record;
    int result;

    stamp_fill(p->data, o->least_bytes, what.offset_bytes, &stamp);
    record = p->log ? oplog_begin(p->log, &what) : NULL;
    result = vvpat_pwrite(p->fds[file], p->data, o->least_bytes, what.offset_bytes);
    if (result == 0 && o->flush_every != 0 && fdatasync(p->fds[file]) != 0)
        result = -errno;
    if (record)
        oplog_end(record, result);
    return result == 0 ? EXIT_GOOD : fail(p, "write", number, result);
}

/* Until the last number is written, or somebody fails: then the others find the ring broken. */
static int play(Player *p)
{
    const Options *o = p->options;
    uint64_t token = o->from - 1;
    bool mine = o->from % p->participants == p->index;
    int code = EXIT_GOOD;

    while (code == EXIT_GOOD) {
        if (!mine && p->from_fd >= 0 && !receive_token(p->from_fd, &token)) {
            fprintf(stderr, "vvpat: participant %u: the one before has gone\n", p->index);
            return EXIT_FAILED_IO;
        }
        mine = false;
        if (token == END)
            return EXIT_GOOD; /* it has gone round, or comes from who wrote the last */
        if (!o->no_look && token >= o->from)
            code = look_for(p, token);
        bool last = token >= o->count || oplog_now_ns() > p->deadline_ns;
        if (code == EXIT_GOOD && !last)
            code = write_number(p, ++token);
        if (code == EXIT_GOOD && p->to_fd >= 0 && !last && !send_token(p->to_fd, token)) {
            fprintf(stderr, "vvpat: participant %u: the next has gone\n", p->index);
            return EXIT_FAILED_IO;
        }
        if (last)
            break;
        vvpat_pause(o);
    }
    return code;
}

static int take_part(Player *p)
{
    const Options *o = p->options;
    unsigned opened = 0;
    int code = EXIT_FAILED_IO;

    p->data = vvpat_buffer(o->least_bytes);
    for (; opened < o->file_count; opened++) {
        p->fds[opened] = vvpat_open(o, opened, true);
        if (p->fds[opened] < 0)
            break;
        if (vvpat_size(o, opened, p->fds[opened], o->least_bytes) < (uint64_t) o->slots * o->least_bytes) {
            fprintf(
                stderr, "vvpat: %s: %u slots of %u bytes do not fit\n", o->files[opened++], o->slots, o->least_bytes);
            break;
        }
    }
    if (opened == o->file_count &&
        (o->log_count == 0 || (p->log = oplog_open(o->logs[p->index % o->log_count], o->count)) != NULL) &&
        (!o->ring || join_ring(p))) {
        code = play(p);
        if (code == EXIT_GOOD && p->to_fd >= 0)
            send_token(p->to_fd, END);
    }
    while (opened-- > 0)
        close(p->fds[opened]);
    oplog_close(p->log);
    free(p->data);
    return code;
}

/* ---- on one machine: processes with a socket pair between each and the next */
static int play_locally(const Options *o, Player *p)
{
    int pairs[RING_MAX][2], worst = EXIT_GOOD, status;

    for (uint32_t i = 0; i < o->local; i++) {
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pairs[i]) != 0)
            return EXIT_FAILED_IO;
    }
    p->participants = o->local;
    fflush(NULL);
    for (uint32_t i = 0; i < o->local; i++) {
        if (fork() != 0)
            continue;
        p->index = i;
        p->to_fd = pairs[i][0];
        p->from_fd = pairs[(i + o->local - 1) % o->local][1];
        for (uint32_t k = 0; k < o->local; k++) {
            for (unsigned end = 0; end < 2; end++) {
                if (pairs[k][end] != p->to_fd && pairs[k][end] != p->from_fd)
                    close(pairs[k][end]);
            }
        }
        exit(take_part(p));
    }
    for (uint32_t i = 0; i < o->local; i++) {
        close(pairs[i][0]);
        close(pairs[i][1]);
    }
    while (wait(&status) > 0) {
        int code = WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_FAILED_IO;
        if (code == EXIT_WRONG || (code != EXIT_GOOD && worst == EXIT_GOOD))
            worst = code;
    }
    return worst;
}

int vvpat_pingpong(const Options *options)
{
    Player player = { .options = options,
        .index = options->index,
        .participants = 1,
        .from_fd = -1,
        .to_fd = -1,
        .deadline_ns = UINT64_MAX };

    if (options->least_bytes != options->most_bytes || options->from > options->count ||
        (options->local && options->ring)) {
        fprintf(stderr, "vvpat: pingpong: one --bs, --from not above --count, --ring or --local\n");
        return EXIT_USAGE;
    }
    if (options->seconds)
        player.deadline_ns = oplog_now_ns() + options->seconds * 1000000000u;
    return options->local > 1 ? play_locally(options, &player) : take_part(&player);
}
