/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What libfuse calls. Requests without an entry are answered ENOSYS by it, and the kernel then does without: flush (a close
 * makes nothing durable), extended attributes, locks (local ones), access (default_permissions), poll. READ, WRITE and FSYNC
 * never come here (take.c). */
#include "nodes.h"

static void init(void *user, struct fuse_conn_info *connection)
{
    (void) user;
    connection->max_write = VV_IO_BYTES_MAX;
    connection->max_background = VV_FUSE_BACKGROUND_MAX;
    connection->congestion_threshold = VV_FUSE_BACKGROUND_MAX / 4 * 3;
    /* Snapshots never change, so no read has to ask for attributes first (AUTO_INVAL). Splice costs more than it saves. With
     * READDIRPLUS_AUTO all but the first page of a large directory would come without attributes. */
    connection->want &= ~(unsigned) (FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE |
                                     FUSE_CAP_AUTO_INVAL_DATA | FUSE_CAP_READDIRPLUS_AUTO);
    connection->want |= connection->capable & (FUSE_CAP_ASYNC_DIO | FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_ASYNC_READ |
                                                  FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_READDIRPLUS);
}

/* Inodes are numbers: there is nothing to forget. */
static void forget(fuse_req_t request, fuse_ino_t node, uint64_t count)
{
    (void) node;
    (void) count;
    fuse_reply_none(request);
}

static void forget_multi(fuse_req_t request, size_t count, struct fuse_forget_data *forgets)
{
    (void) count;
    (void) forgets;
    fuse_reply_none(request);
}

/* Directories come with LUNs, and no file has a second name. */
static void refuse_mkdir(fuse_req_t request, fuse_ino_t parent, const char *name, mode_t mode)
{
    (void) parent;
    (void) name;
    (void) mode;
    fuse_reply_err(request, EPERM);
}

static void refuse_rmdir(fuse_req_t request, fuse_ino_t parent, const char *name)
{
    (void) parent;
    (void) name;
    fuse_reply_err(request, EPERM);
}

static void refuse_symlink(fuse_req_t request, const char *target, fuse_ino_t parent, const char *name)
{
    (void) target;
    (void) parent;
    (void) name;
    fuse_reply_err(request, EPERM);
}

static void refuse_link(fuse_req_t request, fuse_ino_t node, fuse_ino_t parent, const char *name)
{
    (void) node;
    (void) parent;
    (void) name;
    fuse_reply_err(request, EPERM);
}

static void refuse_ioctl(fuse_req_t request, fuse_ino_t node, unsigned command, void *arg, struct fuse_file_info *info,
    unsigned flags, const void *in, size_t in_bytes, size_t out_bytes)
{
    (void) node;
    (void) command;
    (void) arg;
    (void) info;
    (void) flags;
    (void) in;
    (void) in_bytes;
    (void) out_bytes;
    fuse_reply_err(request, ENOTTY);
}

const struct fuse_lowlevel_ops vv_fuse_operations = {
    .init = init,
    .lookup = vv_fuse_lookup,
    .forget = forget,
    .forget_multi = forget_multi,
    .getattr = vv_fuse_getattr,
    .setattr = vv_fuse_setattr,
    .mknod = vv_fuse_mknod,
    .mkdir = refuse_mkdir,
    .unlink = vv_fuse_unlink,
    .rmdir = refuse_rmdir,
    .symlink = refuse_symlink,
    .rename = vv_fuse_rename,
    .link = refuse_link,
    .open = vv_fuse_open,
    .release = vv_fuse_release,
    .opendir = vv_fuse_opendir,
    .readdir = vv_fuse_readdir,
    .readdirplus = vv_fuse_readdirplus,
    .releasedir = vv_fuse_releasedir,
    .statfs = vv_fuse_statfs,
    .create = vv_fuse_create,
    .ioctl = refuse_ioctl,
    .fallocate = vv_fuse_fallocate,
    .lseek = vv_fuse_lseek,
    .copy_file_range = vv_fuse_copy_file_range,
};
