#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The daemon's life: a second one, a stale socket, umount, SIGTERM with open LUNs, waiting requests that are killed, and kill -9
# at random moments, after which everything that was flushed is there.
# shellcheck disable=SC1091,SC2154,SC2317,SC2016
. "$(dirname "$0")/lib.sh"
needs fusermount3
writer=$build/tests/mount/crash-writer

new_pool "$disk/pool" --size 1G && mount_pool || exit 99
l=$mnt/luns
a lun create v 64M

# ---- a second daemon
mkdir "$disk/mnt2"
timeout 60 "$vvfs" "$pool" "$disk/mnt2" >"$out" 2>"$err"
code=$?
[[ $code -eq 1 ]] && grep -q "served already by vvfs (pid $daemon), mounted at $mnt" "$err"
ok "a second daemon is refused at once, and the first is named"
try "which serves on" stat "$l/v"
refused "check --repair and destroy of a mounted pool: destroy" "$tool" pool destroy "$pool" --yes
try "check of a mounted pool" a pool check

# ---- umount
head -c 1M /dev/urandom >"$disk/data"
dd if="$disk/data" of="$l/v" conv=notrunc 2>/dev/null
unmount_pool
ok "umount ends the daemon"
gives 3 'no daemon|not mounted' "then the tool says so" lun list
mount_pool
ok "mounted again"
try "what was written without fsync is there" cmp -n 1M "$disk/data" "$l/v"
fusermount3 -u "$mnt" && ended "$daemon" 30 && [[ $code -eq 0 ]]
ok "fusermount3 -u ends it too"
exec 5<"$pool"
mount_pool
exec 5<&-
exec 6<>"$l/v"
refused "umount of a mount in use" umount "$mnt"
is "nothing was changed: it serves on" "$(stat -c %s "$l/v")" $((64 << 20))
exec 6>&-
unmount_pool
python3 -c "import socket; socket.socket(socket.AF_UNIX).bind('$pool/admin.sock')" 2>"$err" || rm -f "$pool/admin.sock"
mount_pool
ok "a stale admin socket is no obstacle"
unmount_pool

# ---- in the background, and by mount(8)'s rules
timeout 60 "$vvfs" "$pool" "$mnt" -o rw,dev,suid,noatime,nofail,_netdev,x-systemd.automount >"$out" 2>"$err" </dev/null {never}>&-
code=$?
is "in the background: exit 0" "$code$(<"$out")$(<"$err")" 0
try "mounted when it returns" stat "$l/v"
daemon=$(fuser_pid() { get --json pool status >/dev/null; }; fuser_pid; "$vvfs" "$pool" "$disk/mnt2" 2>&1 | sed -n 's/.*(pid \([0-9]*\)).*/\1/p')
[[ -n $daemon && -d /proc/$daemon ]]
ok "its number is told"
umount "$mnt"
timeout 60 "$vvfs" "$pool" "$mnt" >"$out" 2>"$err" </dev/null {never}>&-
is "mounted right behind umount: waits for the one that ends" "$?$(<"$err")" 0
umount "$mnt" && wait_for 30 eval '! [[ -S $pool/admin.sock ]]'
ok "and unmounted"
for words in "" "$pool" "$pool $mnt x" "-o nope $pool $mnt" "--nope $pool $mnt" "-o threads=x $pool $mnt"; do
    # shellcheck disable=SC2086 # words
    timeout 60 "$vvfs" $words >"$out" 2>"$err" </dev/null
    code=$?
    [[ $code -eq 2 && -s $err ]]
    ok "usage: vvfs ${words//$disk/}"
done
timeout 60 "$vvfs" "$disk/nope" "$mnt" >"$out" 2>"$err"
is "a pool that is not there: exit 1" $? 1
timeout 60 "$vvfs" "$pool" "$disk/nope" >"$out" 2>"$err"
is "a mount point that is not there: exit 32" $? 32
timeout 60 "$vvfs" "$pool" "$disk" >"$out" 2>"$err"
is "a mount point that would hide the pool: refused" $? 32

# ---- SIGTERM
mount_pool stop-timeout=60
exec 6<>"$l/v"
kill -TERM "$daemon"
is_detached() { [[ -z $(findmnt -no FSTYPE --mountpoint "$mnt") ]]; }
wait_for 20 is_detached
ok "SIGTERM with an open LUN: the mount goes"
printf 'after SIGTERM' >&6 && sync /dev/fd/6
ok "the open file is served on"
! gone "$daemon"
ok "and the daemon is there"
exec 6>&-
ended "$daemon" 20
is "until the last close" "$code" 0
mount_pool
is "what was written then is there" "$(head -c 13 "$l/v")" "after SIGTERM"
exec 6<>"$l/v"
kill -TERM "$daemon"
wait_for 20 is_detached
kill -TERM "$daemon"
ended "$daemon" 20
ok "a second SIGTERM ends it with open files"
refused "which are dead then" sh -c 'printf x >&6'
exec 6>&-
mount_pool stop-timeout=1
exec 6<>"$l/v"
kill -TERM "$daemon"
ended "$daemon" 20
ok "so does stop-timeout"
exec 6>&-
try "check" check_pool

# ---- a process that waits can be killed
mount_pool
a lun create w 2G on-full=wait timeout=300
a lun create x 128M
dd if=/dev/urandom of="$l/x" bs=1M conv=notrunc,fsync 2>/dev/null
start dd if=/dev/urandom of="$l/w" bs=1M conv=notrunc
filler=$!
last=0 still=0
waits() { # the writer has written something, and nothing more for ten looks
    local now
    now=$(awk '/^wchar/ { print $2 }' "/proc/$filler/io")
    ((now > 0 && now == last)) && still=$((still + 1)) || still=0
    last=$now
    ((still >= 10))
}
wait_for 60 waits && ! gone "$filler"
ok "on-full=wait: the writer waits when the pool is full"
[[ $(space used) -gt $((900 << 20)) ]]
ok "which it is: hardly anything is held back" || note "$(get --json pool status | jq -c .space)"
try "while others read" dd if="$l/v" of=/dev/null bs=1M
try "and look" a pool status
kill "$filler"
ended "$filler" 10
is "it is killed by SIGTERM" "$code" 143
start dd if=/dev/urandom of="$l/w" bs=1M seek=1500 count=10 conv=notrunc
filler=$!
! wait_for 1 gone "$filler"
ok "another waits"
# Not of the same LUN: the kernel holds its lock while a write that is not asynchronous waits.
try "discarding works meanwhile" fallocate -p -o 0 -l 64M "$l/x"
ended "$filler" 30
is "and lets it go on" "$code" 0
start dd if=/dev/urandom of="$l/w" bs=1M seek=1600 count=100 conv=notrunc
filler=$!
! wait_for 1 gone "$filler"
ok "a third waits"
try "removing works" rm "$l/x"
ended "$filler" 30
is "and lets it go on" "$code" 0
unmount_pool
try "check" check_pool

# ---- kill -9
new_pool "$shm/pool" --size 1G
mount_pool
a lun create v 64M
for round in 1 2 3 4 5 6 7 8 9 10; do
    serves || mount_pool || break
    start "$writer" write "$l/v" "$shm/log" "$round"
    hand=$!
    # Snapshots and removals go on too, so that the kill meets all kinds of entries.
    for i in 1 2 3; do
        a snapshot create "v@r$round-$i"
        ((round % 2)) || a snapshot remove "v@r$round-$i"
        read -rt "0.0$((RANDOM % 10))" -u "$never"
    done
    read -rt "0.$((RANDOM % 4))" -u "$never"
    kill_pool
    ended "$hand" 30
    is "kill -9, round $round: the writer ends" "$code" 0
    if ((round % 3 == 0)); then
        umount "$mnt"
        try "check before the restart" check_pool
    fi
    mount_pool
    ok "mounts again"
    try "what was flushed is there" "$writer" verify "$l/v" "$shm/log"
    note "$(<"$out")"
    if ((round % 4 == 0)); then
        unmount_pool
        try "check" check_pool
    fi
done
serves || mount_pool
try "and once more" "$writer" verify "$l/v" "$shm/log"
unmount_pool
ok "unmounts"
try "check" check_pool
mount_pool
a lun remove v --with-snapshots
space_falls 0
is "all space comes back" "$(space used)" 0

# ---- sync(1) opens for reading what it syncs
a lun create s 16M
dd if="$disk/data" of="$l/s" conv=notrunc 2>/dev/null
sync "$l/s"
kill_pool
umount "$mnt"
mount_pool
try "what sync(1) made durable is there" cmp -n 1M "$disk/data" "$l/s"

# ---- with a file system on it
a lun create fs 300M
device=$(loop_of "$l/fs" on)
make_fs ext4 "$device" && mkdir "$disk/fs" && mount "$device" "$disk/fs"
for i in $(seq 100); do echo "number $i" >"$disk/fs/$i"; done
sync -f "$disk/fs"
dd if=/dev/zero of="$disk/fs/more" bs=1M count=50 2>/dev/null
kill_pool
umount "$disk/fs" 2>/dev/null || umount -l "$disk/fs"
losetup -d "$device"
mount_pool
ok "killed under a file system: mounts again"
device=$(loop_of "$l/fs" on)
try "the file system recovers" mount "$device" "$disk/fs"
is "and has what was synced" "$(cat "$disk"/fs/[0-9]* | sort | md5sum)" "$(for i in $(seq 100); do echo "number $i"; done | sort | md5sum)"
umount "$disk/fs"
try "fsck" fsck_clean ext4 "$device"
losetup -d "$device"
unmount_pool
ok "unmounts"
try "check" check_pool
done_testing
