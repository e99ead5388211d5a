/* SPDX-License-Identifier: GPL-2.0-or-later */
/* main() of a fuzz target in an ordinary build: each file of tests/fuzz/corpus/NAME/ goes through the target once.
 * TAP, one line a file. Any failure is a crash of the target. */
#include <glib.h>
#include <stdint.h>
#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length_bytes);

static int by_name(gconstpointer a, gconstpointer b)
{
    return g_strcmp0(*(const char *const *) a, *(const char *const *) b);
}

int main(int argc, char **argv)
{
    const char *source = g_getenv("VV_SRCDIR");
    g_autofree char *target = g_path_get_basename(argc > 0 ? argv[0] : "?");
    g_autofree char *path = g_build_filename(source ? source : ".", "tests", "fuzz", "corpus", target, NULL);
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GDir) corpus = g_dir_open(path, 0, NULL);
    const char *found;

    if (!corpus) {
        printf("1..0 # SKIP no corpus at %s\n", path);
        return 0;
    }
    while ((found = g_dir_read_name(corpus)))
        g_ptr_array_add(names, g_strdup(found));
    g_ptr_array_sort(names, by_name);
    printf("1..%u\n", names->len);
    for (guint i = 0; i < names->len; i++) {
        g_autofree char *file = g_build_filename(path, g_ptr_array_index(names, i), NULL);
        g_autofree char *data = NULL;
        gsize length_bytes;

        g_assert_true(g_file_get_contents(file, &data, &length_bytes, NULL));
        LLVMFuzzerTestOneInput((const uint8_t *) data, length_bytes);
        printf("ok %u %s\n", i + 1, (const char *) g_ptr_array_index(names, i));
        fflush(stdout);
    }
    return 0;
}
