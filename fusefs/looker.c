/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The looker: see looker.h. A message is a path, the answer one byte. */
#include "looker.h"

#include "limits.h"
#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define SOCKET_FD 3

G_GNUC_NORETURN static void look(int socket)
{
    static char path[VV_PATH_BYTES_MAX + VV_NAME_BYTES_MAX + 16];
    ssize_t length;
    struct stat st;

    prctl(PR_SET_NAME, "vvfs-looker");
    signal(SIGTERM, SIG_IGN); /* it ends with who asks */
    signal(SIGINT, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    if (dup2(socket, SOCKET_FD) < 0)
        _exit(1);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC); /* nobody's terminal or pipe is held */
    for (int fd = 0; fd < SOCKET_FD; fd++)
        if (null < 0 || dup2(null, fd) < 0)
            _exit(1);
    if (close_range(SOCKET_FD + 1, ~0u, 0) != 0 || chdir("/") != 0)
        _exit(1);
    while ((length = recv(SOCKET_FD, path, sizeof path - 1, 0)) > 0) {
        path[length] = '\0';
        char found = (char) (fstatat(AT_FDCWD, path, &st, AT_SYMLINK_NOFOLLOW) == 0);
        if (send(SOCKET_FD, &found, 1, MSG_NOSIGNAL) != 1)
            break;
    }
    _exit(0);
}

int vv_fuse_fork_looker(void)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
        return -1;
    pid_t pid = fork();
    if (pid == 0)
        look(pair[1]);
    close(pair[1]);
    if (pid > 0)
        return pair[0];
    close(pair[0]);
    return -1;
}
