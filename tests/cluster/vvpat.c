/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vvpat: patterns on LUNs that prove what a cluster of them promises. See usage(), stamp.h, oplog.h. */
#include "vvpat.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

static void usage(FILE *out)
{
    fprintf(out,
        "usage: vvpat write    [OPTION]... FILE...   stamped writes; each thread has a part of the range to itself\n"
        "       vvpat mix      [OPTION]... FILE...   reads and writes of the same blocks by all: a history for "
        "`linear`\n"
        "       vvpat verify   [OPTION]... FILE...   is there what the logs say, and nothing else?\n"
        "       vvpat pingpong [OPTION]... FILE...   number n+1 is written when n was acknowledged and seen\n"
        "       vvpat causal   [OPTION]... FILE...   do images of pingpong's files hold a causal prefix, all "
        "together?\n"
        "       vvpat now                            CLOCK_MONOTONIC in ns, for --since and --until\n"
        "Every sector of 512 bytes says its LUN, address, sequence, node, and has a checksum. FILEs are LUNs, or "
        "images of them.\n"
        "\n"
        "  --lun N            number of the first file's LUN (1); the next has N + 1, and so on\n"
        "  --node N           who writes (1); several processes must differ\n"
        "  --offset BYTES --size BYTES   the range that is used (all)\n"
        "  --bs BYTES[-BYTES] size of one operation, a multiple of 512; mix, pingpong: one size (4096)\n"
        "  --depth N          operations under way at once, each by a thread (1)\n"
        "  --count N          operations, of each file (1000); pingpong: the last number\n"
        "  --seconds S        end after S seconds, if not before\n"
        "  --flush N          fdatasync after every N writes of a thread (0: never)\n"
        "  --pause MS         of a thread, or a player, after each operation (0): a load that leaves time to others\n"
        "  --reads PERCENT    of mix (50)\n"
        "  --buffered         without O_DIRECT\n"
        "  --seed N           of sizes and places (1)\n"
        "  --log LOG          where operations are told; verify and causal read it, and take several\n"
        "verify, causal:\n"
        "  --flushed          only what a flush covered must be there: after a crash, with a log of one life\n"
        "  --since NS         what was acknowledged later need not be there: the image may be so old\n"
        "  --until NS         what began later must not be there: it cannot be newer\n"
        "  --whole            causal: not even the last number may be there in part\n"
        "pingpong:\n"
        "  --ring HOST:PORT,...  all who take part; --index N (0): which of them this is\n"
        "  --local N          N processes of this machine instead\n"
        "  --slots N          blocks of each file that the numbers go round in (64)\n"
        "  --from N           the first number (1)\n"
        "  --no-look          do not read number n before n+1 is written\n"
        "Exit status: 0 good, 1 data is wrong, 2 usage, 3 an operation failed.\n");
}

/* ---- shared */
uint64_t vvpat_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state >> 11;
}

uint32_t vvpat_value_node(uint64_t value)
{
    return (uint32_t) (value >> 43);
}

uint64_t vvpat_value_sequence(uint64_t value)
{
    return value & STAMP_SEQUENCE_MAX;
}

int vvpat_open(const Options *options, unsigned i, bool write)
{
    int fd = open(options->files[i], (write ? O_RDWR : O_RDONLY) | O_CLOEXEC | (options->buffered ? 0 : O_DIRECT));

    if (fd < 0 && errno == EINVAL && !write)
        fd = open(options->files[i], O_RDONLY | O_CLOEXEC); /* an image somewhere without direct I/O */
    if (fd < 0)
        fprintf(stderr, "vvpat: %s: %s\n", options->files[i], strerror(errno));
    return fd;
}

uint64_t vvpat_size(const Options *options, unsigned i, int fd, uint64_t unit)
{
    struct stat st;
    uint64_t bytes = 0;

    if (fstat(fd, &st) == 0)
        bytes = (uint64_t) st.st_size;
    if (S_ISBLK(st.st_mode) && ioctl(fd, BLKGETSIZE64, &bytes) != 0)
        bytes = 0;
    bytes = bytes > options->offset_bytes ? bytes - options->offset_bytes : 0;
    if (options->size_bytes > bytes) {
        fprintf(stderr, "vvpat: %s: there are %" PRIu64 " bytes behind the offset, not %" PRIu64 "\n",
            options->files[i], bytes, options->size_bytes);
        return 0;
    }
    if (options->size_bytes != 0)
        bytes = options->size_bytes;
    bytes -= bytes % unit;
    if (bytes == 0)
        fprintf(stderr, "vvpat: %s: too small\n", options->files[i]);
    return bytes;
}

/* A LUN does whole operations or none. */
static int outcome(ssize_t done, size_t bytes, const char *what, uint64_t offset)
{
    if (done == (ssize_t) bytes)
        return 0;
    if (done >= 0)
        fprintf(stderr, "vvpat: short %s at %" PRIu64 ": %zd of %zu bytes\n", what, offset, done, bytes);
    return done < 0 ? -errno : -EIO;
}

int vvpat_pread(int fd, void *data, size_t bytes, uint64_t offset)
{
    return outcome(pread(fd, data, bytes, (off_t) offset), bytes, "read", offset);
}

int vvpat_pwrite(int fd, const void *data, size_t bytes, uint64_t offset)
{
    return outcome(pwrite(fd, data, bytes, (off_t) offset), bytes, "write", offset);
}

void vvpat_pause(const Options *options)
{
    if (options->pause_ms != 0)
        poll(NULL, 0, (int) options->pause_ms);
}

void *vvpat_buffer(size_t bytes)
{
    void *data;

    if (posix_memalign(&data, 4096, bytes) != 0) {
        fprintf(stderr, "vvpat: no memory\n");
        exit(EXIT_FAILED_IO);
    }
    return data;
}

/* ---- options */
static uint64_t parse(const char *name, const char *text, uint64_t low, uint64_t high)
{
    char *end;
    uint64_t number;

    errno = 0;
    number = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != '\0' || errno != 0 || number < low || number > high) {
        fprintf(stderr, "vvpat: --%s is a number from %" PRIu64 " to %" PRIu64 ", not %s\n", name, low, high, text);
        exit(EXIT_USAGE);
    }
    return number;
}

static void parse_sizes(Options *o, const char *text)
{
    char low[24];
    const char *dash = strchr(text, '-');
    size_t length = dash ? (size_t) (dash - text) : strlen(text);

    snprintf(low, sizeof low, "%.*s", (int) (length < sizeof low ? length : sizeof low - 1), text);
    o->least_bytes = (uint32_t) parse("bs", low, STAMP_BYTES, IO_BYTES_MAX);
    o->most_bytes = dash ? (uint32_t) parse("bs", dash + 1, o->least_bytes, IO_BYTES_MAX) : o->least_bytes;
    if (o->least_bytes % STAMP_BYTES != 0 || o->most_bytes % o->least_bytes != 0) {
        fprintf(stderr, "vvpat: --bs: multiples of 512, and the larger one of the smaller\n");
        exit(EXIT_USAGE);
    }
}

/* clang-format off: tables of one-liners */
enum {
    O_LUN = 1,
    O_NODE,
    O_OFFSET,
    O_SIZE,
    O_BS,
    O_DEPTH,
    O_COUNT,
    O_SECONDS,
    O_FLUSH,
    O_PAUSE,
    O_READS,
    O_BUFFERED,
    O_SEED,
    O_LOG,
    O_FLUSHED,
    O_SINCE,
    O_UNTIL,
    O_WHOLE,
    O_RING,
    O_INDEX,
    O_LOCAL,
    O_SLOTS,
    O_FROM,
    O_NO_LOOK,
    O_HELP
};

static const struct option words[] = { { "lun", 1, NULL, O_LUN }, { "node", 1, NULL, O_NODE },
    { "offset", 1, NULL, O_OFFSET }, { "size", 1, NULL, O_SIZE }, { "bs", 1, NULL, O_BS },
    { "depth", 1, NULL, O_DEPTH }, { "count", 1, NULL, O_COUNT }, { "seconds", 1, NULL, O_SECONDS },
    { "flush", 1, NULL, O_FLUSH }, { "pause", 1, NULL, O_PAUSE }, { "reads", 1, NULL, O_READS },
    { "buffered", 0, NULL, O_BUFFERED }, { "seed", 1, NULL, O_SEED }, { "log", 1, NULL, O_LOG },
    { "flushed", 0, NULL, O_FLUSHED }, { "since", 1, NULL, O_SINCE }, { "until", 1, NULL, O_UNTIL },
    { "whole", 0, NULL, O_WHOLE }, { "ring", 1, NULL, O_RING }, { "index", 1, NULL, O_INDEX },
    { "local", 1, NULL, O_LOCAL }, { "slots", 1, NULL, O_SLOTS }, { "from", 1, NULL, O_FROM },
    { "no-look", 0, NULL, O_NO_LOOK }, { "help", 0, NULL, O_HELP }, { NULL, 0, NULL, 0 } };

/* clang-format on */

static void add_log(Options *o, const char *path)
{
    if (o->log_count == LOGS_MAX) {
        fprintf(stderr, "vvpat: at most %u logs\n", LOGS_MAX);
        exit(EXIT_USAGE);
    }
    o->logs[o->log_count++] = path;
}

/* clang-format off */
static void set_flag(Options *o, int option)
{
    switch (option) {
    case O_BUFFERED: o->buffered = true; break;
    case O_FLUSHED: o->flushed = true; break;
    case O_WHOLE: o->whole = true; break;
    case O_NO_LOOK: o->no_look = true; break;
    case O_HELP: usage(stdout); exit(EXIT_GOOD);
    default: usage(stderr); exit(EXIT_USAGE);
    }
}

static void set_option(Options *o, int option, const char *text)
{
    const uint64_t range = (uint64_t) 1 << 62;

    switch (option) {
    case O_LUN: o->lun = (uint32_t) parse("lun", text, 0, 1u << 30); break;
    case O_NODE: o->node = (uint32_t) parse("node", text, 0, STAMP_NODES_MAX - 1); break;
    case O_OFFSET: o->offset_bytes = parse("offset", text, 0, range) / 4096 * 4096; break;
    case O_SIZE: o->size_bytes = parse("size", text, STAMP_BYTES, range); break;
    case O_BS: parse_sizes(o, text); break;
    case O_DEPTH: o->depth = (uint32_t) parse("depth", text, 1, DEPTH_MAX); break;
    case O_COUNT: o->count = parse("count", text, 1, OPLOG_OPS_MAX); break;
    case O_SECONDS: o->seconds = parse("seconds", text, 1, 1u << 20); break;
    case O_FLUSH: o->flush_every = parse("flush", text, 0, 1u << 30); break;
    case O_PAUSE: o->pause_ms = (uint32_t) parse("pause", text, 0, 60000); break;
    case O_READS: o->reads_percent = (uint32_t) parse("reads", text, 0, 100); break;
    case O_SEED: o->seed = parse("seed", text, 1, range); break;
    case O_LOG: add_log(o, text); break;
    case O_SINCE: o->since_ns = parse("since", text, 0, range); break;
    case O_UNTIL: o->until_ns = parse("until", text, 0, range); break;
    case O_RING: o->ring = text; break;
    case O_INDEX: o->index = (uint32_t) parse("index", text, 0, RING_MAX - 1); break;
    case O_LOCAL: o->local = (uint32_t) parse("local", text, 1, RING_MAX); break;
    case O_SLOTS: o->slots = (uint32_t) parse("slots", text, 1, 1u << 20); break;
    case O_FROM: o->from = parse("from", text, 1, OPLOG_OPS_MAX); break;
    default: set_flag(o, option);
    }
}
/* clang-format on */

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(const Options *options);
    } modes[] = { { "write", vvpat_write }, { "mix", vvpat_mix }, { "verify", vvpat_verify },
        { "pingpong", vvpat_pingpong }, { "causal", vvpat_causal } };
    Options o = { .lun = 1,
        .node = 1,
        .least_bytes = 4096,
        .most_bytes = 4096,
        .depth = 1,
        .count = 1000,
        .seed = 1,
        .reads_percent = 50,
        .since_ns = UINT64_MAX,
        .until_ns = UINT64_MAX,
        .slots = 64,
        .from = 1 };
    int option;

    signal(SIGPIPE, SIG_IGN);
    if (argc == 2 && strcmp(argv[1], "now") == 0)
        return printf("%" PRIu64 "\n", oplog_now_ns()) > 0 ? EXIT_GOOD : EXIT_FAILED_IO;
    while ((option = getopt_long(argc, argv, "h", words, NULL)) != -1)
        set_option(&o, option == 'h' ? O_HELP : option, optarg);
    for (int i = optind + 1; i < argc && o.file_count < FILES_MAX; i++)
        o.files[o.file_count++] = argv[i];
    for (unsigned i = 0; i < sizeof modes / sizeof modes[0] && optind < argc && o.file_count > 0; i++) {
        if (strcmp(argv[optind], modes[i].name) == 0)
            return modes[i].run(&o);
    }
    usage(stderr);
    return EXIT_USAGE;
}
