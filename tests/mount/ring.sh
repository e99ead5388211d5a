#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Option ring: FUSE over io_uring. Where the kernel does not let it, the mount serves through /dev/fuse and says so; where it does,
# everything is as without, and a killed daemon loses nothing that was flushed.
# shellcheck disable=SC1091,SC2154,SC2317
. "$(dirname "$0")/lib.sh"
switch=/sys/module/fuse/parameters/enable_uring
[[ -w $switch ]] || skip_all "no FUSE over io_uring in this kernel (Linux 6.14)"
before=$(<"$switch")
put_back() # whatever happens, and with the exit code there was
{
    local status=$?
    echo "$before" >"$switch"
    return "$status"
}
trap 'put_back; finish' EXIT
writer=$build/tests/mount/crash-writer
in_log() { grep -q "$1" "$disk/.daemon"; }

new_pool "$disk/pool" --size 1G || exit 99
echo N >"$switch"
mount_pool ring
ok "mounted although the kernel does not let it"
in_log "option ring: it is switched off in the kernel.*through /dev/fuse instead"
ok "which is said, with the way to allow it"
a lun create v 64M
try "and it serves" dd if=/dev/urandom of="$mnt/luns/v" bs=1M count=8 conv=notrunc,fsync
unmount_pool
ok "unmounts"

echo Y >"$switch"
: >"$disk/.daemon"
mount_pool ring
ok "mounted where the kernel lets it"
in_log "option ring: requests travel in"
ok "and it does"
for threads in 1 2; do
    unmount_pool && mount_pool ring,threads=$threads
    ok "threads=$threads"
    try "random reads and writes of many sizes, verified" fio --name=verify --filename="$mnt/luns/v" --size=64M --rw=randrw \
        --bsrange=512-256k --iodepth=64 --ioengine=io_uring --direct=1 --verify=crc32c --verify_fatal=1 --verify_state_save=0 --allow_file_create=0
    try "large ones, more than the queues have places" fio --name=large --filename="$mnt/luns/v" --size=64M --rw=write \
        --bs=1M --iodepth=64 --numjobs=4 --ioengine=io_uring --direct=1 --allow_file_create=0
done
head -c 8M /dev/urandom >"$shm/data"
dd if="$shm/data" of="$mnt/luns/v" bs=1M conv=notrunc,fsync 2>/dev/null
touch "$mnt/snapshots/v/s"
dd if=/dev/zero of="$mnt/luns/v" bs=1M count=8 conv=notrunc,fsync 2>/dev/null
try "a snapshot keeps its bytes" cmp -n 8M "$shm/data" "$mnt/snapshots/v/s"

a lun create w 64M
start "$writer" write "$mnt/luns/w" "$shm/log" 1
wait_for 20 test -s "$shm/log"
kill_pool
ok "killed"
umount -l "$mnt"
ended "$!" 60
mount_pool ring
ok "mounted again"
try "what was flushed is there" "$writer" verify "$mnt/luns/w" "$shm/log"

unmount_pool
ok "unmounts"
try "check" check_pool

for script in calls files orders life; do
    VV_MOUNT_OPTIONS=ring timeout 600 bash "$here/$script.sh" >"$shm/$script" 2>&1
    status=$?
    grep -A8 '^not ok' "$shm/$script" | sed 's/^/# /'
    [[ $status -eq 0 && $(grep -c '^ok' "$shm/$script") -gt 5 ]] && ! grep -q '^not ok' "$shm/$script"
    ok "$script.sh with rings: $(grep -c '^ok' "$shm/$script") checks"
done
done_testing
