#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# No room for the map: its limit is reached, the file system of the pool directory is full to the last byte, the journal cannot be
# checkpointed; each under load. What removes, discards, reads and writes in place goes on, and all comes back by itself.
# shellcheck disable=SC1091,SC2154,SC2317,SC2034
. "$(dirname "$0")/lib.sh"
needs fio mkfs.ext4
faulty=$build/tests/mount/faulty.so
[[ -r $faulty ]] || skip_all "faulty.so is not built"
run_daemon=(env "LD_PRELOAD=$faulty" "VV_FAULTS=$shm/faults" "ASAN_OPTIONS=${ASAN_OPTIONS-}:verify_asan_link_order=0")
mount_with=("${run_daemon[@]}")

l='' s=''
faults() # faults RULE...: from now on; none: all is well
{
    printf '%s\n' "$@" >"$shm/faults.new"
    mv "$shm/faults.new" "$shm/faults"
}
faults
events() { get --json events | jq -s "flatten | map(select(.code == \"$1\")) | length"; } # events CODE: how many
state() { get --json pool status | jq -r .state; }
is_state() { [[ $(state) == "$1" ]]; }
is_cramped() { get --json doctor | jq -e '.[] | select(.code == "map-full")' >/dev/null; }
load=(timeout 120 fio --name=load --direct=1 --ioengine=libaio --norandommap --output="$shm/report")

prepare() # prepare: LUNs to be looked at later
{
    l=$mnt/luns s=$mnt/snapshots
    local name
    for name in inplace frees shrinks; do
        a lun create $name 8M
        "$calls" "open a rw $l/$name" "pwrite a 0 4M o" "fsync a" >"$out"
    done
    a snapshot create frees@s
    "$calls" "open a rw $l/frees" "pwrite a 0 1M p" "fsync a" >"$out"
    a lun create waits 64M on-full=wait timeout=300
    is "all is well" "$(state)" ok
}
only_frees() # only_frees WHEN
{
    is "$1: the state is full" "$(state)" full
    is "$1: one event says so" "$(events map-full)" 1
    gives 5 'there is no room for the map' "$1: doctor says so" doctor
    says "$1: new space is refused" "0 ENOSPC" "open a rw $l/inplace" "pwrite a 6M 4K x"
    says "$1: in place it is written and read" "0 1048576 0 1048576:q" "open a rw $l/inplace" "pwrite a 0 1M q" "fsync a" "pread a 0 1M"
    gives 1 'no room for a larger map' "$1: no snapshot" snapshot create inplace@t
    gives 1 'no room for a larger map' "$1: no LUN" lun create new 1M
    gives 1 'no room for a larger map' "$1: no clone" lun clone frees@s new
    start "$calls" "open a rw $l/waits" "pwrite a 0 4K w" "fsync a"
    local held=$!
    start "$calls" "open a rw $l/waits" "pwrite a 8K 4K w"
    local victim=$!
    is_held() { [[ $(get --json stats | jq .memory.parked_bytes) -ge 8192 ]]; }
    wait_for 20 is_held
    ok "$1: on-full=wait waits"
    kill -9 "$victim"
    ended "$victim" 20
    is "$1: who waits can be killed" "$code" 137
    try "$1: discarding" fallocate -p -o 0 -l 2M "$l/shrinks"
    try "$1: removing a snapshot" a snapshot remove frees@s
    try "$1: removing a LUN" rm "$l/frees"
    is "$1: nobody was let through" "$(gone "$held" || echo waits)" waits
    waiter=$held
}
checkpoints() { get --json stats | jq .pool.checkpoints; }
is_written() { [[ $(checkpoints) -gt $1 ]]; }
goes_on() # goes_on WHEN: what removes reaches the map, although nobody made room yet
{
    wait_for 20 is_written "$(checkpoints)"
    ok "$1: checkpoints go on"
}
comes_back() # comes_back WHEN
{
    wait_for 60 is_state ok
    ok "$1: then all is well by itself" || note "$(get doctor)"
    ended "$waiter" 30
    is "$1: who waited goes on" "$code" 0
    says "$1: and it is written" "0 4096 0" "open a rw $l/inplace" "pwrite a 6M 4K x" "fsync a"
    try "$1: snapshots are taken" a snapshot create inplace@t
    says "$1: what was written is there" "0 1048576:q 1048576:o" "open a r $l/inplace" "pread a 0 1M" "pread a 1M 1M"
    unmount_pool
    ok "$1: unmounts"
    try "$1: check" check_pool
    rm -rf "$pool"
}

# ---- the limit of the map, by snapshots of a LUN whose map is large
mount_with=("${run_daemon[@]}" "VV_MAP_BYTES=$((16 << 20))")
new_pool "$shm/pool" --size 1G && mount_pool || exit 99
prepare
a lun create wide 128M
try "a scattered LUN" "${load[@]}" --filename="$l/wide" --rw=randwrite --bs=4k --iodepth=32 --size=128M --io_size=128M
for ((i = 0; i < 400; i++)); do
    a snapshot create "wide@$i" || break
    "${load[@]}" --filename="$l/wide" --rw=write:1020k --bs=4k --iodepth=32 --size=128M --io_size=512k >/dev/null 2>&1 || break
done
note "$i snapshots"
wait_for 10 is_cramped
ok "the map's limit is near"
only_frees limit
goes_on limit
a snapshot remove --yes 'wide@*' || tell "$err" err
rm "$l/wide"
comes_back limit

# ---- the journal, and no checkpoint
mount_with=("${run_daemon[@]}")
new_pool "$shm/pool" --size 2G && mount_pool || exit 99
prepare
a lun create wide 64G
faults "*/map/data.mdb write ENOSPC" "*/journal/* allocate ENOSPC"
"${load[@]}" --filename="$l/wide" --rw=randwrite --bs=4k --iodepth=32 --numjobs=2 --size=64G --time_based --runtime=20 >"$out" 2>&1
wait_for 10 is_cramped
ok "no checkpoint is possible"
only_frees journal
faults
comes_back journal

# ---- the file system of the pool directory, to its last byte; the disk is elsewhere
truncate -s 160M "$disk/image"
mkdir "$disk/small"
mkfs.ext4 -q -m 0 "$disk/image" && mount -o loop "$disk/image" "$disk/small" || exit 99
truncate -s 2G "$shm/d1"
new_pool "$disk/small/pool" --disk "$shm/d1" && mount_pool || exit 99
prepare
a lun create wide 64G
dd if=/dev/zero of="$disk/small/ballast" bs=1M 2>/dev/null
dd if=/dev/zero of="$disk/small/ballast" bs=4K oflag=append conv=notrunc 2>/dev/null
note "$(df -B1 --output=avail "$disk/small" | tail -n 1) bytes are left"
gives 1 'not taken: the file system of .* has only' "a snapshot is refused before the map is in danger" snapshot create inplace@t
"${load[@]}" --filename="$l/wide" --rw=randwrite --bs=4k --iodepth=32 --numjobs=2 --size=64G --time_based --runtime=30 >"$out" 2>&1
wait_for 10 is_cramped
ok "the map cannot grow" || note "$(get --json stats | jq -c .pool)"
only_frees host
goes_on host
rm "$disk/small/ballast"
comes_back host
umount "$disk/small"
done_testing
