/* SPDX-License-Identifier: GPL-2.0-or-later */
/* System calls that no shell command makes exactly as wanted: calls OP... does each and prints its result, all on one line.
 * A result is the number that the call returned (or what is said below), or the name of its errno. Files are held in the
 * variables a to z; one process does all, so what is open stays open in between.
 *
 *     open V FLAGS PATH        FLAGS: r w rw, creat excl trunc direct append, joined by commas
 *     close V                  fsync V        size V        blocks V (of 512)        nlink V        inode V
 *     pwrite V OFFSET LENGTH CHAR        pread V OFFSET LENGTH     LENGTH-GOT:CHAR, or :mixed; a zero byte is 0
 *     truncate V SIZE          cut PATH SIZE (truncate(2))
 *     seek V data|hole OFFSET  the offset
 *     fallocate V MODE OFFSET LENGTH     MODE: alloc, or of keep punch zero collapse, joined by commas
 *     copy V OFFSET W OFFSET LENGTH      copy_file_range, once
 *     copyall V W PIECE        copy_file_range from 0 until all is copied, PIECE at a time: the sum
 *     map V shared|private r|rw LENGTH   mmap; reads the first byte: CHAR
 *     rename FLAGS OLD NEW     FLAGS: plain noreplace exchange whiteout
 *     unlink PATH    mkdir PATH    mknod PATH    link OLD NEW    symlink OLD NEW */
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <linux/falloc.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define WORDS_MAX 8u
#define ALIGN_BYTES 4096u

static void *aligned(size_t length)
{
    void *memory = aligned_alloc(ALIGN_BYTES, (length + ALIGN_BYTES - 1) / ALIGN_BYTES * ALIGN_BYTES);
    g_assert(memory != NULL);
    return memory;
}

static int files[26];

typedef struct {
    const char *word;
    int value;
} Word;

static int *file(const char *name)
{
    return &files[name[0] >= 'a' && name[0] <= 'z' ? name[0] - 'a' : 0];
}

static int64_t number(const char *text)
{
    char *end = NULL;
    int64_t value = strtoll(text, &end, 0);

    switch (*end) {
    case 'K':
        return value << 10;
    case 'M':
        return value << 20;
    case 'G':
        return value << 30;
    default:
        return value;
    }
}

/* The sum of the words of @list in @table, which ends with NULL. */
static int values(const char *list, const Word *table)
{
    g_auto(GStrv) words = g_strsplit(list, ",", -1);
    int sum = 0;

    for (unsigned i = 0; words[i]; i++) {
        const Word *row = table;
        while (row->word && strcmp(row->word, words[i]) != 0)
            row++;
        if (!row->word) {
            fprintf(stderr, "calls: unknown word: %s\n", words[i]);
            exit(2);
        }
        sum |= row->value;
    }
    return sum;
}

static void say(int64_t result)
{
    if (result >= 0)
        printf("%lld ", (long long) result);
    else
        printf("%s ", strerrorname_np(errno));
}

static void do_open(char **w)
{
    static const Word flags[] = { { "r", O_RDONLY }, { "w", O_WRONLY }, { "rw", O_RDWR }, { "creat", O_CREAT },
        { "excl", O_EXCL }, { "trunc", O_TRUNC }, { "direct", O_DIRECT }, { "append", O_APPEND }, { NULL, 0 } };
    int fd = open(w[3], values(w[2], flags) | O_CLOEXEC, 0644);

    *file(w[1]) = fd;
    say(fd < 0 ? -1 : 0);
}

static void do_stat(char **w)
{
    struct stat st;

    if (fstat(*file(w[1]), &st) != 0)
        say(-1);
    else if (strcmp(w[0], "size") == 0)
        say(st.st_size);
    else if (strcmp(w[0], "blocks") == 0)
        say(st.st_blocks);
    else if (strcmp(w[0], "nlink") == 0)
        say((int64_t) st.st_nlink);
    else
        say((int64_t) st.st_ino);
}

static char *buffer_of(size_t length)
{
    return aligned(MAX(length, 1));
}

static void do_pwrite(char **w)
{
    size_t length = (size_t) number(w[3]);
    char *buffer = buffer_of(length);

    memset(buffer, w[4][0] == '0' ? 0 : w[4][0], length);
    say(pwrite(*file(w[1]), buffer, length, number(w[2])));
    free(buffer);
}

static void do_pread(char **w)
{
    size_t length = (size_t) number(w[3]);
    char *buffer = buffer_of(length);
    ssize_t got = pread(*file(w[1]), buffer, length, number(w[2]));

    if (got < 0) {
        say(-1);
    } else if (got == 0) {
        printf("0: ");
    } else {
        bool same = memcmp(buffer, buffer + 1, (size_t) got - 1) == 0;
        char text[2] = { buffer[0] ? buffer[0] : '0', '\0' };
        printf("%zd:%s ", got, same ? text : "mixed");
    }
    free(buffer);
}

static void do_fallocate(char **w)
{
    static const Word modes[] = { { "alloc", 0 }, { "keep", FALLOC_FL_KEEP_SIZE }, { "punch", FALLOC_FL_PUNCH_HOLE },
        { "zero", FALLOC_FL_ZERO_RANGE }, { "collapse", FALLOC_FL_COLLAPSE_RANGE }, { NULL, 0 } };

    say(fallocate(*file(w[1]), values(w[2], modes), number(w[3]), number(w[4])));
}

static void do_copy(char **w)
{
    off_t from = number(w[2]), to = number(w[4]);

    say(copy_file_range(*file(w[1]), &from, *file(w[3]), &to, (size_t) number(w[5]), 0));
}

static void do_copy_all(char **w)
{
    off_t from = 0, to = 0;
    ssize_t done;

    do
        done = copy_file_range(*file(w[1]), &from, *file(w[2]), &to, (size_t) number(w[3]), 0);
    while (done > 0);
    say(done < 0 ? -1 : to);
}

static void do_map(char **w)
{
    bool write = strcmp(w[3], "rw") == 0;
    size_t length = (size_t) number(w[4]);
    int kind = strcmp(w[2], "shared") == 0 ? MAP_SHARED : MAP_PRIVATE;
    char *at = mmap(NULL, length, write ? PROT_READ | PROT_WRITE : PROT_READ, kind, *file(w[1]), 0);

    if (at == MAP_FAILED) {
        say(-1);
        return;
    }
    printf("%c ", at[0] ? at[0] : '0');
    munmap(at, length);
}

static void do_rename(char **w)
{
    static const Word flags[] = { { "plain", 0 }, { "noreplace", RENAME_NOREPLACE }, { "exchange", RENAME_EXCHANGE },
        { "whiteout", RENAME_WHITEOUT }, { NULL, 0 } };

    say(renameat2(AT_FDCWD, w[2], AT_FDCWD, w[3], (unsigned) values(w[1], flags)));
}

static void do_simple(char **w)
{
    if (strcmp(w[0], "close") == 0)
        say(close(*file(w[1])));
    else if (strcmp(w[0], "fsync") == 0)
        say(fsync(*file(w[1])));
    else if (strcmp(w[0], "truncate") == 0)
        say(ftruncate(*file(w[1]), number(w[2])));
    else if (strcmp(w[0], "cut") == 0)
        say(truncate(w[1], number(w[2])));
    else if (strcmp(w[0], "seek") == 0)
        say(lseek(*file(w[1]), number(w[3]), strcmp(w[2], "data") == 0 ? SEEK_DATA : SEEK_HOLE));
    else if (strcmp(w[0], "unlink") == 0)
        say(unlink(w[1]));
    else if (strcmp(w[0], "mkdir") == 0)
        say(mkdir(w[1], 0755));
    else if (strcmp(w[0], "mknod") == 0)
        say(mknod(w[1], S_IFREG | 0644, 0));
    else if (strcmp(w[0], "link") == 0)
        say(link(w[1], w[2]));
    else
        say(symlink(w[1], w[2]));
}

static const struct {
    const char *name;
    unsigned arguments;
    void (*run)(char **words);
} operations[] = {
    { "open", 3, do_open },
    { "close", 1, do_simple },
    { "fsync", 1, do_simple },
    { "size", 1, do_stat },
    { "blocks", 1, do_stat },
    { "nlink", 1, do_stat },
    { "inode", 1, do_stat },
    { "pwrite", 4, do_pwrite },
    { "pread", 3, do_pread },
    { "truncate", 2, do_simple },
    { "cut", 2, do_simple },
    { "seek", 3, do_simple },
    { "fallocate", 4, do_fallocate },
    { "copy", 5, do_copy },
    { "copyall", 3, do_copy_all },
    { "map", 4, do_map },
    { "rename", 3, do_rename },
    { "unlink", 1, do_simple },
    { "mkdir", 1, do_simple },
    { "mknod", 1, do_simple },
    { "link", 2, do_simple },
    { "symlink", 2, do_simple },
};

static bool run(const char *operation)
{
    g_auto(GStrv) words = g_strsplit(operation, " ", WORDS_MAX);

    for (unsigned i = 0; i < G_N_ELEMENTS(operations); i++) {
        if (g_strcmp0(words[0], operations[i].name) != 0 || g_strv_length(words) != operations[i].arguments + 1)
            continue;
        operations[i].run(words);
        fflush(stdout);
        return true;
    }
    fprintf(stderr, "calls: what is this: %s\n", operation);
    return false;
}

int main(int argc, char **argv)
{
    memset(files, -1, sizeof files);
    for (int i = 1; i < argc; i++) {
        if (!run(argv[i]))
            return 2;
    }
    printf("\n");
    return 0;
}
