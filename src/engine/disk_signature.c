/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a file or device holds already: file systems, partition tables, RAID, LVM, encryption, swap, as libblkid knows
 * them. */
#include "codec.h"
#include "disk_private.h"

#include <blkid.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#define EXT_SUPERBLOCK_AT 1024u
#define EXT_MTIME_AT (EXT_SUPERBLOCK_AT + 0x2c)       /* s_mtime: last mounted, seconds, 32 bits */
#define EXT_MTIME_HIGH_AT (EXT_SUPERBLOCK_AT + 0x275) /* s_mtime_hi: 8 more */
#define WIPES_MAX 256u                                /* signatures on one disk; more would be a loop */

typedef struct blkid_struct_probe Probe;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Probe, blkid_free_probe)

static Probe *new_probe(int fd, uint64_t size_bytes)
{
    g_autoptr(Probe) probe = blkid_new_probe();
    if (probe == NULL || blkid_probe_set_device(probe, fd, 0, (blkid_loff_t) size_bytes) != 0)
        return NULL;
    blkid_probe_enable_superblocks(probe, 1);
    blkid_probe_set_superblocks_flags(
        probe, BLKID_SUBLKS_TYPE | BLKID_SUBLKS_USAGE | BLKID_SUBLKS_LABEL | BLKID_SUBLKS_MAGIC | BLKID_SUBLKS_BADCSUM);
    blkid_probe_enable_partitions(probe, 1);
    blkid_probe_set_partitions_flags(probe, BLKID_PARTS_MAGIC);
    return g_steal_pointer(&probe);
}

static const char *lookup(Probe *probe, const char *name)
{
    const char *value;
    return blkid_probe_lookup_value(probe, name, &value, NULL) == 0 && value[0] ? value : NULL;
}

/* A label is bytes of a stranger: only what a terminal can show. */
static char *quote_label(const char *label)
{
    g_autofree char *valid = g_utf8_make_valid(label, -1);
    for (char *p = g_strchomp(valid); *p; p++)
        if (g_ascii_iscntrl(*p) || *p == '"')
            *p = '?';
    return valid[0] ? g_strdup_printf(" \"%s\"", valid) : g_strdup("");
}

static const char *article(const char *word)
{
    static const char *const spelled[] = { "xfs", "LVM", "f2fs", "ntfs", "nilfs", "hfs" };
    if (strchr("aeioAEIO", word[0]))
        return "an";
    for (size_t i = 0; i < G_N_ELEMENTS(spelled); i++)
        if (g_str_has_prefix(word, spelled[i]))
            return "an";
    return "a";
}

/* ", last mounted 2026-11-02" of an ext file system. */
static char *last_mounted(int fd, const char *type)
{
    uint8_t low[4], high = 0;
    if (!g_str_has_prefix(type, "ext") || pread(fd, low, sizeof low, EXT_MTIME_AT) != sizeof low)
        return g_strdup("");
    if (pread(fd, &high, 1, EXT_MTIME_HIGH_AT) != 1)
        high = 0;
    uint64_t seconds = vv_get_u32(low) | (uint64_t) high << 32;
    if (seconds == 0)
        return g_strdup(", never mounted");
    g_autofree char *time = vv_time_format_local(seconds * 1000000000u);
    time[strcspn(time, " ")] = '\0';
    return g_strdup_printf(", last mounted %s", time);
}

static char *describe(Probe *probe, int fd)
{
    const char *type = lookup(probe, "TYPE"), *table = lookup(probe, "PTTYPE"), *usage = lookup(probe, "USAGE");
    if (type == NULL)
        return table ? g_strdup_printf("%s %s partition table", article(table), table)
                     : g_strdup("a signature of unknown kind");
    const char *label_text = lookup(probe, "LABEL");
    g_autofree char *label = label_text ? quote_label(label_text) : g_strdup("");
    if (strcmp(type, "swap") == 0)
        return g_strdup_printf("swap space%s", label);
    if (g_strcmp0(usage, "filesystem") == 0) {
        g_autofree char *when = last_mounted(fd, type);
        return g_strdup_printf("%s %s file system%s%s", article(type), type, label, when);
    }
    return g_strdup_printf("%s %s signature%s", article(type), type, label);
}

char *vv_disk_find_signature(int fd, uint64_t size_bytes)
{
    /* libblkid reads where it likes: not through a descriptor that may be O_DIRECT. */
    g_autofree char *same = g_strdup_printf("/proc/self/fd/%d", fd);
    vv_autofd int buffered = open(same, O_RDONLY | O_CLOEXEC);
    if (buffered < 0)
        return NULL;
    g_autoptr(Probe) probe = new_probe(buffered, size_bytes);
    if (probe == NULL || blkid_do_probe(probe) != 0)
        return NULL;
    return describe(probe, buffered);
}

int vv_disk_wipe_signatures(int fd, uint64_t size_bytes)
{
    g_autoptr(Probe) probe = new_probe(fd, size_bytes);
    if (probe == NULL)
        return -ENOMEM;
    for (unsigned i = 0; i < WIPES_MAX; i++) {
        errno = 0;
        int rc = blkid_do_probe(probe);
        if (rc == 1)
            return fdatasync(fd) < 0 ? -errno : 0;
        if (rc != 0 || blkid_do_wipe(probe, 0) != 0)
            return errno ? -errno : -EIO;
    }
    return -EIO;
}
