#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Full pools: who writes gets ENOSPC, everything is read, removing and discarding work, and space comes back by itself. Also
# when it is not the pool that is full but what it stands on.
# shellcheck disable=SC1091,SC2154,SC2317,SC2046,SC2017
. "$(dirname "$0")/lib.sh"

l='' s=''
head -c 16M /dev/urandom >"$shm/chunk"
fill() # fill LUN: with chunks until that fails; $chunks fit whole
{
    chunks=0
    while dd if="$shm/chunk" of="$l/$1" bs=1M seek=$((chunks * 16)) conv=notrunc,fsync 2>"$err"; do
        chunks=$((chunks + 1))
        ((chunks < 200)) || break
    done
    grep -q 'No space left on device' "$err"
}
all_there() # all_there FILE CHUNKS
{
    local i
    for ((i = 0; i < $2; i++)); do
        cmp -n 16M "$shm/chunk" "$1" 0 $((i << 24)) || return 1
    done
}
free_above() { [[ $(space free) -ge $1 ]]; }

# ---- a full pool
new_pool "$shm/pool" --size 512M && mount_pool || exit 99
l=$mnt/luns s=$mnt/snapshots
a lun create v 2G
a lun create other 64M
a lun create spare 32M
dd if="$shm/chunk" of="$l/other" bs=1M conv=notrunc,fsync 2>/dev/null
dd if="$shm/chunk" of="$l/spare" bs=1M conv=notrunc,fsync 2>/dev/null
fill v
ok "filled until ENOSPC"
total=$(space total) used=$(space used)
note "$(get --json pool status | jq -c .space)"
[[ $used -gt $((total / 100 * 95)) ]]
ok "95 % of the pool and more are used"
is "the state is full" "$(get --json pool status | jq -r .state)" full
gives 5 'full|used' "pool status --check says so" pool status --check
gives 5 'vvfs-admin' "doctor says what mends it" doctor
all_there "$l/v" "$chunks"
ok "all that was written is read"
try "also of the other" cmp "$shm/chunk" <(head -c 16M "$l/other")
try "in place it is written on" dd if="$shm/chunk" of="$l/v" bs=1M count=16 skip=0 seek=16 conv=notrunc,fsync
refused "fresh blocks are not" dd if="$shm/chunk" of="$l/other" bs=1M seek=16 count=16 conv=notrunc,fsync
gives 1 'not taken: only .* are left for v, and after a snapshot every write to it needs new space' "no snapshot is taken" snapshot create v@s
refused "nor by touch" touch "$s/v/s"
grep -q 'No space left on device' "$err"
ok "with ENOSPC"
rm "$l/spare"
wait_for 30 a snapshot create v@s
ok "it is as soon as there is room" || tell "$err" err
of_v=$chunks
a lun create more 2G
fill more
ok "which others take"
chunks=$of_v
refused "then the LUN cannot be changed" dd if=/dev/zero of="$l/v" bs=1M count=16 conv=notrunc,fsync
grep -q 'No space left on device' "$err"
ok "with ENOSPC"
all_there "$s/v/s" "$chunks"
ok "the snapshot is whole"
try "a clone is made" a lun clone v@s c
try "and removed" a lun remove c
try "the snapshot is removed" a snapshot remove v@s
wait_for 30 "$calls" "open a rw $l/v" "pwrite a 0 4096 x" >/dev/null
written() { [[ $("$calls" "open a rw $l/v" "pwrite a 1M 1M y" "fsync a") == "0 1048576 0 " ]]; }
wait_for 30 written
ok "and in place it is written again"
try "discard" fallocate -p -o $((16 << 20)) -l $((64 << 20)) "$l/v"
is_unused() { [[ $(($(space free) + $(space held))) -ge $1 ]]; }
wait_for 30 is_unused $((60 << 20))
ok "its space comes back" || note "$(get --json pool status | jq -c .space)"
wait_for 30 dd if="$shm/chunk" of="$l/other" bs=1M seek=16 conv=notrunc,fsync 2>"$err"
ok "others may use it" || note "$(get --json pool status | jq -c .space)"
rm "$l/more"
fill v
unmount_pool
ok "unmounts when full"
try "check of the full pool" check_pool
mount_pool
ok "mounts when full"
try "removing the LUN" rm "$l/v"
space_falls $((48 << 20))
is "all of it comes back" "$(space used)" $((32 << 20))
wait_for 30 free_above $((total - (96 << 20)))
ok "to be had by others" || note "$(get --json pool status | jq -c .space)"
is "the state is ok" "$(get --json pool status | jq -r .state)" ok

# ---- through a loop device that waits
a lun create w 2G on-full=wait timeout=60
device=$(loop_of "$l/w" on)
start dd if=/dev/urandom of="$device" bs=1M oflag=direct
filler=$!
last=0 still=0
waits() {
    local now
    now=$(awk '/^wchar/ { print $2 }' "/proc/$filler/io" 2>/dev/null)
    [[ -n $now && $now != 0 && $now == "$last" ]] && still=$((still + 1)) || still=0
    last=$now
    ((still >= 10))
}
wait_for 60 waits
ok "on-full=wait, loop device: the writer waits"
try "blkdiscard of the same device works meanwhile" timeout 20 blkdiscard -o 0 -l $((64 << 20)) "$device"
goes_on() { [[ $(awk '/^wchar/ { print $2 }' "/proc/$filler/io" 2>/dev/null) != "$last" ]]; }
wait_for 20 goes_on
ok "and the writer goes on"
kill "$filler"
rm "$l/other"
wait_for 20 gone "$filler"
losetup -d "$device"
rm "$l/w"
unmount_pool
ok "unmounts"
try "check" check_pool
rm -rf "$pool"

# ---- many small LUNs
new_pool "$shm/pool" --size 2G && mount_pool || exit 99
total=$(space total)
(cd "$l" && for i in $(seq 200); do truncate -s 64M "n$i"; done)
open=$(seq 200)
size=0
while [[ -n $open ]]; do
    still=''
    for i in $open; do
        [[ $("$calls" "open a rw $l/n$i" "pwrite a ${size}M 1M x" "fsync a") == "0 1048576 0 " ]] && still+=" $i"
    done
    open=$still
    size=$((size + 1))
done
note "$(get --json pool status | jq -c .space), $size rounds"
stranded=$((total - $(space used)))
[[ $stranded -lt $((total / 20)) ]]
ok "200 LUNs, filled in turn: less than 5 % is stranded ($((stranded * 1000 / total)) per mille)"
a lun remove $(printf 'n%d ' $(seq 1 2 200))
space_falls $((total / 2 + (16 << 20)))
ok "half of them removed: their space comes back"
fill n2 || fill n4
wait_for 30 free_above $((total / 3))
ok "for others" || note "$(get --json pool status | jq -c .space)"
a lun create big 2G
fill big
used=$(space used)
[[ $used -gt $((total / 100 * 94)) ]]
ok "which can use it" || note "$(get --json pool status | jq -c .space)"
a lun remove big $(printf 'n%d ' $(seq 2 2 200))
space_falls 0
is "all removed: nothing is used" "$(space used)" 0
wait_for 30 free_above "$total"
is "all is free" "$(space free)" "$total"
unmount_pool
ok "unmounts"
try "check" check_pool
rm -rf "$pool"

# ---- the file system below is full
mkdir "$disk/small" && mount -t tmpfs -o size=256M tmpfs "$disk/small" || exit 99
new_pool "$disk/small/pool" --size 1G && mount_pool
ok "a pool that is larger than what it stands on"
a lun create v 2G
a lun create w 16M
head -c 4M "$shm/chunk" | dd of="$l/w" bs=1M conv=notrunc,fsync 2>/dev/null
fill v
ok "writing it full gives ENOSPC" || tell "$err" err
all_there "$l/v" "$chunks" && cmp -n 4M "$shm/chunk" "$l/w"
ok "all that was written is read"
try "looking works" a pool status
get doctor >"$out"
grep -q 'the file system of .* has only' "$out"
ok "doctor knows"
try "in place it is written on" dd if="$shm/chunk" of="$l/w" bs=1M count=4 conv=notrunc,fsync
gives 1 'not taken: the file system of .* has only' "no snapshot is taken" snapshot create w@s
a lun create waits 64M on-full=wait
start dd if="$shm/chunk" of="$l/waits" bs=1M conv=notrunc,fsync
held=$!
is_parked() { [[ $(get --json stats | jq .memory.parked_bytes) -gt 0 ]]; }
wait_for 20 is_parked
ok "on-full=wait: it waits for what is below, too"
start dd if="$shm/chunk" of="$l/waits" bs=1M seek=32 conv=notrunc,fsync
victim=$!
wait_for 1 false || kill -9 "$victim"
ended "$victim" 20
is "who waits can be killed" "$code" 137
try "removing works" a lun remove v
ended "$held" 60
is "then who waits goes on" "$code" 0
cmp "$shm/chunk" <(head -c 16M "$l/waits")
ok "rightly"
a lun remove waits
space_falls $((4 << 20))
is "space comes back" "$(space used)" $((4 << 20))
below() { [[ $(df --output=used -B1 "$disk/small" | tail -n 1) -lt $1 ]]; }
wait_for 30 below $((160 << 20))
ok "below too" || note "$(df -B1 "$disk/small" | tail -n 1)"
a lun create again 64M
dd if="$shm/chunk" of="$l/again" bs=1M conv=notrunc,fsync 2>"$err"
ok "and it is written again" || tell "$err" err
cmp "$shm/chunk" <(head -c 16M "$l/again") && cmp -n 4M "$shm/chunk" "$l/w"
ok "rightly"
unmount_pool
ok "unmounts"
try "check" check_pool
umount "$disk/small"
done_testing
