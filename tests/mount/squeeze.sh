#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Little memory: a file system on a loop device on a LUN, written through the page cache from a small cgroup that its dirty pages
# fill; the daemon outside, then in a cgroup of its own. Writing these pages back needs the daemon. (Both in one cgroup of version 1, and
# without CAP_SYS_RESOURCE for PR_SET_IO_FLUSHER, wait for each other: the kernel lets the daemon's own allocation wait for them.)
# shellcheck disable=SC1091,SC2154
. "$(dirname "$0")/lib.sh"
needs mkfs.ext4

sanitized=0
[[ -z ${VV_SANITIZERS-} ]] || sanitized=1
groups=() # cgroups that this made
make_group() # make_group BYTES: in $group
{
    local base
    if grep -qw memory /sys/fs/cgroup/cgroup.controllers 2>/dev/null; then
        base=/sys/fs/cgroup
        echo +memory >"$base/cgroup.subtree_control" 2>/dev/null
    else
        base=/sys/fs/cgroup/memory
    fi
    group=$base/${disk##*/}.${#groups[@]}
    mkdir "$group" 2>/dev/null || return 1
    groups+=("$group")
    if [[ -e $group/memory.max ]]; then
        echo "$1" >"$group/memory.max"
    else
        echo "$1" >"$group/memory.limit_in_bytes"
    fi
}
drop_groups()
{
    local each pid
    for each in "${groups[@]}"; do
        while read -r pid; do
            echo "$pid" >"${each%/*}/cgroup.procs"
        done <"$each/cgroup.procs"
        rmdir "$each"
    done 2>/dev/null
}
trap 'drop_groups; finish' EXIT
make_group $((64 << 20)) || skip_all "no memory cgroups can be made here"
small=$group

new_pool "$disk/pool" --size 2G && mount_pool || exit 99
a lun create v 1G
device=$(loop_of "$mnt/luns/v" on)
make_fs ext4 "$device"
mkdir "$disk/fs"
mount "$device" "$disk/fs"
ok "ext4 on a LUN"

inside() # inside GROUP COMMAND...
{
    # shellcheck disable=SC2016
    timeout 120 bash -c 'echo $$ >"$1/cgroup.procs" && shift && exec "$@"' - "$@"
}
seed=$(mktemp -p "$shm")
head -c 16M /dev/urandom >"$seed"
many=$((sanitized ? 8 : 12))
# shellcheck disable=SC2016
writer='for ((i = 0; i < $3; i++)); do cat "$1" >"$2/f$i" || exit 1; done; sync -f "$2"'
try "writes $((many * 16)) MiB with 64 MiB of memory" inside "$small" bash -c "$writer" - "$seed" "$disk/fs" "$many"
rm "$disk"/fs/f*

# The daemon in one of its own, with what it may have and some page cache of its store.
make_group $((sanitized ? 2 << 30 : 160 << 20)) && echo "$daemon" >"$group/cgroup.procs"
ok "the daemon in a cgroup of its own"
try "and again" inside "$small" bash -c "$writer" - "$seed" "$disk/fs" "$many"
umount "$disk/fs" && mount "$device" "$disk/fs"
try "what was written is there" cmp "$seed" "$disk/fs/f$((many - 1))"
umount "$disk/fs"
try "and the file system is whole" fsck_clean ext4 "$device"
losetup -d "$device"
unmount_pool
ok "unmounts"
try "check" check_pool
done_testing
