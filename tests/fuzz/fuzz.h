/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What fuzz targets share. Inputs carry no checksums: the targets put them right, else nothing would get past them. */
#ifndef VV_FUZZ_H
#define VV_FUZZ_H

#include <glib.h>
#include <glib/gstdio.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length_bytes);

#define fuzz_assert_same(a, a_bytes, b, b_bytes) g_assert_true((a_bytes) == (b_bytes) && memcmp(a, b, a_bytes) == 0)

/* What AddressSanitizer begins with; the environment has the last word. One run's memory is watched as ever, but 256 MiB of what runs before
 * freed are not kept from being used again, nor given back to the kernel: each run would touch new pages. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "quarantine_size_mb=8:allocator_release_to_os_interval_ms=-1";
}

static char *fuzz_folder_path;

static inline void fuzz_folder_remove(void)
{
    const char *argv[] = { "rm", "-rf", fuzz_folder_path, NULL };
    g_spawn_sync(NULL, (char **) argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, NULL, NULL);
}

/* A folder of this process, in memory, gone when it ends. */
static inline const char *fuzz_folder(void)
{
    if (fuzz_folder_path == NULL) {
        fuzz_folder_path = g_strdup("/dev/shm/vvfs-fuzz-XXXXXX");
        if (g_mkdtemp(fuzz_folder_path) == NULL)
            fuzz_folder_path = g_dir_make_tmp("vvfs-fuzz-XXXXXX", NULL);
        g_assert_nonnull(fuzz_folder_path);
        atexit(fuzz_folder_remove);
    }
    return fuzz_folder_path;
}

#endif
