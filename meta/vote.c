/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vote.h"

#include "codec.h"
#include "error.h"
#include "faultpoint.h"
#include "limits.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#define VOTE_MAGIC "VVVOTE\0"
#define VOTE_FORMAT 1u
#define VOTE_BYTES 60u
#define VOTE_COPIES 2u
#define VOTE_STRIDE 4096u

typedef struct {
    uint32_t format;
    VvUuid pool;
    uint64_t sequence, term, vote;
} Copy;

struct VvVote {
    int fd; /* owned */
    VvRunOps ops;
    bool failed;
    Copy now;
};

static int write_copies(int fd, const VvRunOps *ops, const Copy *copy)
{
    uint8_t sector[VV_SECTOR_BYTES] = { 0 };
    int err = 0;

    memcpy(sector, VOTE_MAGIC, 8);
    vv_put_u32(sector + 8, VOTE_FORMAT);
    memcpy(sector + 16, copy->pool.bytes, 16);
    vv_put_u64(sector + 32, copy->sequence);
    vv_put_u64(sector + 40, copy->term);
    vv_put_u64(sector + 48, copy->vote);
    vv_put_u32(sector + 56, vv_crc32c(0, sector, 56));
    for (unsigned i = 0; i < VOTE_COPIES && err == 0; i++) {
        err = ops->write(ops->user, fd, sector, sizeof sector, (uint64_t) i * VOTE_STRIDE);
        if (err == 0)
            err = ops->sync(ops->user, fd);
        if (err == 0)
            vv_may_die(i == 0 ? VV_DIE_VOTE_FIRST : VV_DIE_VOTE_WRITTEN);
    }
    return err;
}

static bool decode(const uint8_t in[VOTE_BYTES], Copy *ret_copy)
{
    if (memcmp(in, VOTE_MAGIC, 8) != 0 || vv_get_u32(in + 56) != vv_crc32c(0, in, 56))
        return false;
    ret_copy->format = vv_get_u32(in + 8);
    memcpy(ret_copy->pool.bytes, in + 16, 16);
    ret_copy->sequence = vv_get_u64(in + 32);
    ret_copy->term = vv_get_u64(in + 40);
    ret_copy->vote = vv_get_u64(in + 48);
    return true;
}

bool vv_vote_create(const char *directory, const VvUuid *pool, uint64_t term, uint64_t vote, GError **error)
{
    g_autofree char *path = g_build_filename(directory, VV_VOTE_FILE, NULL), *fresh = g_strconcat(path, ".new", NULL);
    vv_autofd int fd = open(fresh, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    Copy copy = { .pool = *pool, .sequence = 1, .term = term, .vote = vote };
    int err = fd < 0 ? -errno : write_copies(fd, &vv_run_ops_plain, &copy);

    if (err == 0 && (fsync(fd) != 0 || rename(fresh, path) != 0))
        err = -errno;
    if (err == 0)
        err = vv_sync_directory(directory);
    if (err == 0)
        return true;
    unlink(fresh);
    vv_set_error_errno(error, err, directory, "cannot write %s", path);
    return false;
}

static bool check(const Copy *copy, const VvUuid *pool, const char *path, GError **error)
{
    if (copy->format != VOTE_FORMAT) {
        vv_set_error(error, VV_ERROR_UNSUPPORTED, path, "use the newer vvfs that wrote it", "%s: format %u; this vvfs knows format %u",
            path, copy->format, VOTE_FORMAT);
        return false;
    }
    if (!vv_uuid_equal(&copy->pool, pool)) {
        vv_set_error(error, VV_ERROR_CONFLICT, path, NULL, "%s belongs to another pool", path);
        return false;
    }
    return true;
}

/* The good copy with the higher sequence. 0, -EUCLEAN: there is none, -errno. */
static int read_newest(int fd, Copy *ret_copy)
{
    bool found = false;
    Copy copy;

    for (unsigned i = 0; i < VOTE_COPIES; i++) {
        uint8_t bytes[VOTE_BYTES];
        int err = vv_pread_full(fd, bytes, sizeof bytes, (uint64_t) i * VOTE_STRIDE);

        if (err == 0 && decode(bytes, &copy) && (!found || copy.sequence > ret_copy->sequence)) {
            *ret_copy = copy;
            found = true;
        }
    }
    return found ? 0 : -EUCLEAN;
}

VvVote *vv_vote_open(const char *directory, const VvUuid *pool, const VvRunOps *ops, GError **error)
{
    g_autofree char *path = g_build_filename(directory, VV_VOTE_FILE, NULL);
    vv_autofd int fd = open(path, O_RDWR | O_CLOEXEC);
    Copy copy = { 0 };
    VvVote *vote;
    int err;

    if (fd < 0 && errno == ENOENT) {
        vv_set_error(error, VV_ERROR_NOT_FOUND, path, "Evict this node and let it join anew.",
            "%s is missing: without it this node could vote twice", path);
        return NULL;
    }
    err = fd < 0 ? -errno : read_newest(fd, &copy);
    if (err == -EUCLEAN) {
        vv_set_error(error, VV_ERROR_DAMAGED, path, "Evict this node and let it join anew.",
            "%s is damaged: without it this node could vote twice", path);
        return NULL;
    }
    if (err != 0) {
        vv_set_error_errno(error, err, path, "%s", path);
        return NULL;
    }
    if (!check(&copy, pool, path, error))
        return NULL;
    vote = g_new0(VvVote, 1);
    vote->fd = fd;
    fd = -1;
    vote->ops = ops != NULL ? *ops : vv_run_ops_plain;
    vote->now = copy;
    /* What is read may be in the page cache only, and one copy may be lost. */
    err = vv_vote_set(vote, copy.term, copy.vote);
    if (err == 0)
        return vote;
    vv_set_error_errno(error, err, path, "%s: writing it again", path);
    vv_vote_close(vote);
    return NULL;
}

void vv_vote_close(VvVote *vote)
{
    if (vote == NULL)
        return;
    vv_close_fd(&vote->fd);
    g_free(vote);
}

void vv_vote_get(const VvVote *vote, uint64_t *ret_term, uint64_t *ret_vote)
{
    *ret_term = vote->now.term;
    *ret_vote = vote->now.vote;
}

int vv_vote_set(VvVote *vote, uint64_t term, uint64_t who)
{
    if (vote->failed)
        return -EIO;
    vote->now.sequence++;
    vote->now.term = term;
    vote->now.vote = who;
    if (write_copies(vote->fd, &vote->ops, &vote->now) != 0) {
        vote->failed = true;
        return -EIO;
    }
    return 0;
}
