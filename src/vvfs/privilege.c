/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Least privilege. Who serves for root keeps these capabilities, permitted, effective and bounding alike:
 *
 *   CAP_SYS_ADMIN     umount(2) when it is told to end; re-reading a partition table that it has overwritten
 *   CAP_DAC_OVERRIDE  disks that are added later, wherever and whosever they are
 *   CAP_LEASE         asking whether such a file is open elsewhere
 *   CAP_SYS_PTRACE    naming the process that has one open (/proc/PID/fd)
 *
 * It loses the others, among them CAP_SYS_RESOURCE and CAP_IPC_LOCK, whose work is done by then: PR_SET_IO_FLUSHER is inherited by
 * threads, and the limit of locked memory is lifted here. Nothing is inheritable or ambient, and no program that it starts gains
 * anything (no_new_privs). Started by another user it needs fusermount3, which is setuid, so there nothing changes.
 *
 * The holder keeps those, and what a successor needs until it serves: CAP_IPC_LOCK, CAP_SYS_RESOURCE; CAP_CHOWN, CAP_FOWNER and
 * CAP_FSETID for the pool directory; CAP_NET_BIND_SERVICE for metrics; CAP_SETPCAP to give all this up.
 *
 *   the pool directory  0700; with admin-group 2710 and that group, which the socket takes from it
 *   the admin socket    0600; with admin-group 0660 */
#include "privilege.h"

#include "error.h"

#include <errno.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

static const unsigned kept[] = { CAP_SYS_ADMIN, CAP_DAC_OVERRIDE, CAP_LEASE, CAP_SYS_PTRACE };

static const unsigned kept_for_start[] = { CAP_IPC_LOCK, CAP_SYS_RESOURCE, CAP_CHOWN, CAP_FOWNER, CAP_FSETID, CAP_NET_BIND_SERVICE,
    CAP_SETPCAP };

typedef struct {
    uint32_t words[_LINUX_CAPABILITY_U32S_3];
} CapabilitySet;

static void set_add(CapabilitySet *set, const unsigned *capabilities, size_t count)
{
    for (size_t i = 0; i < count; i++)
        set->words[capabilities[i] / 32] |= 1u << capabilities[i] % 32;
}

static bool set_has(const CapabilitySet *set, unsigned capability)
{
    return capability / 32 < _LINUX_CAPABILITY_U32S_3 && (set->words[capability / 32] >> capability % 32 & 1) != 0;
}

mode_t vv_privilege_socket_mode(const VvDaemon *daemon)
{
    return daemon->admin_gid != (gid_t) -1 ? 0660 : 0600;
}

static bool close_directory(const VvDaemon *daemon, GError **error)
{
    bool group = daemon->admin_gid != (gid_t) -1;
    mode_t mode = group ? 02710 : 0700;
    struct stat st;

    if (stat(daemon->directory, &st) != 0) {
        vv_set_error_errno(error, errno, daemon->directory, "%s", daemon->directory);
        return false;
    }
    if ((st.st_mode & 07777) == mode && (!group || st.st_gid == daemon->admin_gid))
        return true;
    if ((group && st.st_gid != daemon->admin_gid && chown(daemon->directory, (uid_t) -1, daemon->admin_gid) != 0) ||
        chmod(daemon->directory, mode) != 0) {
        if (errno == EROFS)
            return true; /* it cannot be changed by those who get in either */
        vv_set_error_errno(error, errno, daemon->directory, "the permission bits of %s cannot be set", daemon->directory);
        return false;
    }
    return true;
}

static void lift_memory_limit(void)
{
    struct rlimit all = { .rlim_cur = RLIM_INFINITY, .rlim_max = RLIM_INFINITY };

    if (setrlimit(RLIMIT_MEMLOCK, &all) != 0)
        vv_log(VV_LOG_INFO, "RLIMIT_MEMLOCK: %s", g_strerror(errno));
}

/* What of these sets is kept. 0 or -errno. */
static int shrink_sets(const CapabilitySet *set)
{
    struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = { 0 };

    if (syscall(SYS_capget, &header, data) != 0)
        return -errno;
    for (unsigned i = 0; i < _LINUX_CAPABILITY_U32S_3; i++) {
        data[i].permitted &= set->words[i];
        data[i].effective = data[i].permitted;
        data[i].inheritable = 0;
    }
    return syscall(SYS_capset, &header, data) == 0 ? 0 : -errno;
}

/* All but @set, for this thread and what it starts. 0 or -errno. */
static int drop_all_but(const CapabilitySet *set)
{
    int rc = 0;

    /* The bounding set first: that needs CAP_SETPCAP. Without it (a container) it is small already. */
    for (unsigned i = 0; prctl(PR_CAPBSET_READ, i, 0, 0, 0) >= 0; i++)
        if (!set_has(set, i) && prctl(PR_CAPBSET_DROP, i, 0, 0, 0) != 0 && errno != EPERM)
            rc = -errno;
    (void) prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    return rc != 0 ? rc : shrink_sets(set);
}

static bool drop_capabilities(GError **error)
{
    CapabilitySet set = { { 0 } };
    int rc;

    set_add(&set, kept, G_N_ELEMENTS(kept));
    rc = drop_all_but(&set);
    if (rc == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        rc = -errno;
    if (rc != 0)
        vv_set_error_errno(error, rc, NULL, "capabilities cannot be given up");
    return rc == 0;
}

void vv_privilege_hold(void)
{
    CapabilitySet set = { { 0 } };
    int rc;

    if (geteuid() != 0)
        return;
    set_add(&set, kept, G_N_ELEMENTS(kept));
    set_add(&set, kept_for_start, G_N_ELEMENTS(kept_for_start));
    rc = drop_all_but(&set);
    if (rc != 0)
        vv_log(VV_LOG_WARNING, "the holder cannot give up capabilities: %s", g_strerror(-rc));
}

bool vv_privilege_confine(const VvDaemon *daemon, GError **error)
{
    if (!close_directory(daemon, error))
        return false;
    if (geteuid() != 0)
        return true;
    lift_memory_limit();
    return drop_capabilities(error);
}
