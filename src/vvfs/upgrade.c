/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `vvfs --upgrade`: hand our program to the holder, and wait for its word (holder_upgrade.c). */
#include "upgrade.h"

#include "config.h"
#include "error.h"
#include "hold.h"
#include "options.h"
#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

static int refuse(const char *directory, const char *why)
{
    fprintf(stderr, "vvfs: the mount of %s is not upgraded: %s\n", directory, why);
    return VV_EXIT_FAILED;
}

/* -1 with errno */
static int connect_to_holder(const char *directory)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    vv_autofd int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    int result;

    if ((size_t) g_snprintf(address.sun_path, sizeof(address.sun_path), "%s/%s", directory, VV_HOLD_SOCKET) >=
        sizeof(address.sun_path)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    if (fd < 0 || connect(fd, (struct sockaddr *) &address, sizeof(address)) != 0)
        return -1;
    result = fd;
    fd = -1;
    return result;
}

static bool send_program(int socket, int program)
{
    char control[CMSG_SPACE(sizeof(int))] = "";
    struct iovec iov = { (void *) VV_UPGRADE_MAGIC, sizeof(VV_UPGRADE_MAGIC) };
    struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);

    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(program));
    memcpy(CMSG_DATA(header), &program, sizeof(program));
    return sendmsg(socket, &message, MSG_NOSIGNAL) > 0;
}

int vv_upgrade_run(const char *pool)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *directory = vv_pool_locate(pool, &error);
    vv_autofd int program = open("/proc/self/exe", O_RDONLY | O_CLOEXEC), socket = -1;
    char answer[600];
    ssize_t length;

    if (!directory) {
        fprintf(stderr, "vvfs: %s\n", error->message);
        return VV_EXIT_FAILED;
    }
    socket = connect_to_holder(directory);
    if (socket < 0)
        return refuse(directory, errno == ENOENT || errno == ECONNREFUSED
                                     ? "no vvfs holds it (it is not mounted, or with `ring` or `norestart`)"
                                     : g_strerror(errno));
    if (program < 0 || !send_program(socket, program))
        return refuse(directory, g_strerror(errno));
    do
        length = recv(socket, answer, sizeof(answer) - 1, 0);
    while (length < 0 && errno == EINTR);
    if (length < 1)
        return refuse(directory, "the process that holds it has gone");
    answer[length] = '\0';
    if (answer[0] != VV_EXIT_OK)
        return refuse(directory, answer + 1);
    printf("the mount of %s is served by vvfs %s (pid %s)\n", directory, PACKAGE_VERSION, answer + 1);
    return VV_EXIT_OK;
}
