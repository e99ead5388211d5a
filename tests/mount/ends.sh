#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The end and the next start, at once and again and again, with writes just before: `umount; vvfs`, `umount; pool check`; SIGTERM with a
# loop device attached. VV_STRESS_ROUNDS is how often (4).
# shellcheck disable=SC1091,SC2154
. "$(dirname "$0")/lib.sh"
needs fio

rounds=${VV_STRESS_ROUNDS:-4}
[[ $rounds =~ ^[1-9][0-9]*$ ]] || exit 2
new_pool "$shm/pool" --size 1G && mount_pool || exit 99
a lun create v 128M
back() { "$vvfs" "$pool" "$mnt" >>"$disk/.daemon" 2>&1 </dev/null {never}>&-; } # and returns when it serves
told=$pool/daemon.lock
served() { daemon=$(awk '$1 == "pid" { print $2 }' "$told"); }
load=(timeout 60 fio --name=load --output="$shm/report" --filename="$mnt/luns/v" --ioengine=libaio --iodepth=32 --size=128M)
unmount_pool

bad=0
for ((i = 0; i < rounds; i++)); do
    back || { bad=1 && break; }
    served
    start "${load[@]}" --rw=randwrite --bs=4k --io_size=32M --end_fsync=0
    writer=$!
    [[ $((i % 3)) -eq 0 ]] || ended "$writer" 60
    [[ $((i % 3)) -ne 0 ]] || a snapshot create "v@s$i"
    ended "$writer" 60
    timeout 60 umount "$mnt" || { bad=2 && break; }
    case $((i % 2)) in
    0) back || { bad=3 && break; } ;& # at once
    *) [[ $((i % 2)) -eq 1 ]] || timeout 60 umount "$mnt" || { bad=4 && break; } ;;
    esac
    check_pool || { bad=5 && break; } # it waits for the one that ends
done
is "umount, vvfs, umount, check: $rounds times" "$bad" 0

# ---- a loop device stays attached
mount_pool || exit 99
head -c 8M /dev/urandom >"$shm/data"
device=$(loop_of "$mnt/luns/v" on)
dd if="$shm/data" of="$device" bs=1M oflag=direct 2>/dev/null
kill "$daemon"
is_away() { ! findmnt -rn --mountpoint "$mnt" >/dev/null; }
wait_for 30 is_away
ok "SIGTERM with a loop device attached: the mount goes"
! gone "$daemon"
ok "  the daemon stays"
try "  and writes go on" dd if="$shm/data" of="$device" bs=1M seek=8 oflag=direct conv=fsync
try "  and reads" cmp -n 8M "$shm/data" "$device"
losetup -d "$device"
ended "$daemon" 60
is "  to the last close" "$code" 0
try "check, at once" check_pool
mount_pool
try "what was written before is there" cmp -n 8M "$shm/data" "$mnt/luns/v"
try "and what was written after" cmp -n 8M -i 0:8M "$shm/data" "$mnt/luns/v"
unmount_pool
ok "unmounts"
done_testing
