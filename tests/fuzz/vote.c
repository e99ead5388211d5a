/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The file "vote" with any contents: {u8 how, 60 bytes of the first copy, 60 of the second}. how & 1, & 2: the checksum of that copy is made
 * right; & 4: it is this pool's. A file that is accepted gives what its newest good copy says, and keeps what is set. */
#include "codec.h"
#include "fuzz.h"
#include "vote.h"

#include <fcntl.h>

#define COPY_BYTES 60u
#define COPY_STRIDE 4096u

static const VvUuid pool = { { 1, 2, 3 } };

static size_t put_copies(uint8_t *file, VvReader *in, unsigned how)
{
    size_t length_bytes = 0;

    for (unsigned i = 0; i < 2; i++) {
        uint8_t *copy = file + i * COPY_STRIDE;
        size_t bytes = MIN(vv_reader_left(in), COPY_BYTES);

        if (bytes == 0)
            break;
        memcpy(copy, vv_read_bytes(in, bytes), bytes);
        if (how & 4 && bytes == COPY_BYTES)
            memcpy(copy + 16, pool.bytes, 16);
        if (how & 1u << i && bytes == COPY_BYTES)
            vv_put_u32(copy + 56, vv_crc32c(0, copy, 56));
        length_bytes = i * COPY_STRIDE + bytes;
    }
    return length_bytes;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length_bytes)
{
    static uint8_t file[2 * COPY_STRIDE];
    g_autofree char *path = g_build_filename(fuzz_folder(), VV_VOTE_FILE, NULL);
    g_autoptr(GError) error = NULL;
    VvReader in = vv_reader(data, length_bytes);
    unsigned how = vv_read_u8(&in);
    uint64_t term, who, term_again, who_again;
    VvVote *vote;

    if (in.bad)
        return 0;
    memset(file, 0, sizeof file);
    length_bytes = put_copies(file, &in, how);
    {
        vv_autofd int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

        g_assert_cmpint(vv_pwrite_full(fd, file, length_bytes, 0), ==, 0);
    }
    vote = vv_vote_open(fuzz_folder(), &pool, NULL, &error);
    g_assert_true((vote == NULL) == (error != NULL));
    if (!vote)
        return 0;
    vv_vote_get(vote, &term, &who);
    g_assert_true(vv_get_u64(file + 40) == term || vv_get_u64(file + COPY_STRIDE + 40) == term);
    g_assert_cmpint(vv_vote_set(vote, term + 1, who ^ 5), ==, 0);
    vv_vote_close(vote);
    vote = vv_vote_open(fuzz_folder(), &pool, NULL, &error);
    g_assert_no_error(error);
    vv_vote_get(vote, &term_again, &who_again);
    g_assert_true(term_again == term + 1 && who_again == (who ^ 5));
    vv_vote_close(vote);
    return 0;
}
