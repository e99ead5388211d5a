#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Disks, journal and map that fail under a daemon (faulty.c): each LUN is told the truth, the others go on, and what was flushed is
# there afterwards.
# shellcheck disable=SC1091,SC2154,SC2317,SC2034
. "$(dirname "$0")/lib.sh"
needs fio
faulty=$build/tests/mount/faulty.so
[[ -r $faulty ]] || skip_all "faulty.so is not built"
mount_with=(env "LD_PRELOAD=$faulty" "VV_FAULTS=$shm/faults" "ASAN_OPTIONS=${ASAN_OPTIONS-}:verify_asan_link_order=0")

l='' s=''
faults() # faults RULE...: from now on; none: all is well
{
    rm -f "$shm/faults.hits"
    printf '%s\n' "$@" >"$shm/faults.new"
    mv "$shm/faults.new" "$shm/faults"
}
hit() { grep -qs . "$shm/faults.hits"; } # a rule did something
events() { get --json events | jq -s "flatten | map(select(.code == \"$1\")) | length"; } # events CODE: how many
state() { get --json pool status | jq -r .state; }
put() # put LUN MEGABYTE LETTER [fsync]: one MiB of a letter
{
    "$calls" "open a rw $l/$1" "pwrite a ${2}M 1M $3" ${4:+"fsync a"}
}
holds() # holds FILE MEGABYTE LETTER
{
    [[ $(dd if="$1" bs=1M skip="$2" count=1 iflag=direct 2>/dev/null | tr -d "$3" | wc -c) -eq 0 && $(stat -c %s "$1") -gt $(($2 << 20)) ]]
}
faults

# ---- two disks, a LUN on each. On the machine's disk they are used through io_uring, in memory by plain calls
two_disks() # two_disks FOLDER
{
    truncate -s 256M "$1/d1" "$1/d2"
    new_pool "$1/pool" --disk "$1/d1" --disk "$1/d2" && mount_pool || exit 99
    l=$mnt/luns s=$mnt/snapshots
    a lun create a 64M --disks d1
    a lun create b 64M --disks d2
    for i in 0 1 2 3; do put a $i o fsync && put b $i o fsync; done >"$out"
}
other_goes_on() # other_goes_on WHEN
{
    says "$1: the other LUN is read and written" "0 1048576 0 1048576:q" "open a rw $l/b" "pwrite a 5M 1M q" "fsync a" "pread a 5M 1M"
}
for folder in "$disk" "$shm"; do
    two_disks "$folder"
    is "all is well" "$(state)" ok
    faults "$folder/d1 read EIO"
    says "a failing read is EIO" "0 EIO" "open a r,direct $l/a" "pread a 0 1M"
    hit
    ok "because of the rule"
    other_goes_on "reads fail"
    faults
    try "then it is read rightly" holds "$l/a" 0 o

    is "an event tells of it, once" "$(events disk-read)" 1
    is "the pool is degraded" "$(state)" degraded
    gives 5 "d1 failed to read [0-9]+ times.*Input/output error" "doctor says what failed" doctor
    is "and the disk" "$(get --json disk list | jq -r '.[] | select(.name == "d1") | .state')" degraded

    faults "$folder/d1 write EIO"
    says "a failing write is EIO, to a new place and in place" "0 EIO EIO" "open a rw $l/a" "pwrite a 8M 1M x" "pwrite a 0 1M x"
    other_goes_on "writes fail"
    faults
    try "what was there is there" holds "$l/a" 1 o
    says "then it is written" "0 1048576 1048576 0" "open a rw $l/a" "pwrite a 8M 1M x" "pwrite a 0 1M o" "fsync a"

    faults "$folder/d? read,write short"
    says "short transfers are gone on with" "0 1048576 0 1048576:y" "open a rw $l/a" "pwrite a 9M 1M y" "fsync a" "pread a 9M 1M"
    faults
    try "rightly" holds "$l/a" 9 y

    faults "$folder/d1 read,write,sync delay=2500 count=3"
    start "$calls" "open a rw $l/a" "pwrite a 10M 4K z" "fsync a"
    late=$!
    wait_for 10 hit
    ok "a disk that is late"
    [[ $folder == "$shm" ]] || other_goes_on "late"
    ! gone "$late"
    ok "still waits" || note "it is in memory: $folder"
    ended "$late" 30
    is "and is done in the end" "$code" 0

    faults "$folder/d1 all ENODEV"
    says "a disk that is gone" "0 EIO EIO" "open a rw $l/a" "pread a 0 1M" "pwrite a 12M 1M x"
    other_goes_on "gone"
    faults
    says "and returns: all goes on" "0 1048576:o 1048576 0" "open a rw $l/a" "pread a 0 1M" "pwrite a 12M 1M v" "fsync a"

    unmount_pool
    ok "unmounts"
    try "check" check_pool
    rm -rf "$pool" "$folder"/d[12]
done

# ---- a sync that fails: what it covered is never claimed
two_disks "$shm"
faults "$shm/d1 sync EIO count=1"
says "the flush fails" "0 1048576 1048576 EIO" "open a rw $l/a" "pwrite a 20M 1M n" "pwrite a 0 1M n" "fsync a"
hit
ok "because of the sync"
says "so does the next, though the disk is well again" "0 EIO" "open a rw $l/a" "fsync a"
says "and one after more was written" "0 1048576 EIO" "open a rw $l/a" "pwrite a 21M 1M n" "fsync a"
other_goes_on "sync failed"
try "it is read" holds "$l/a" 20 n
is "one event says so" "$(events disk-sync)" 1
is "the pool is degraded" "$(state)" degraded
gives 5 'd1 .*sync' "doctor names the disk" doctor
gives 1 'a .*(synced|flushed)' "no snapshot of it" snapshot create a@n
try "one of the other" a snapshot create b@s
faults
kill_pool
mount_pool
ok "mounts after a kill"
says "what was not flushed is not there, what was is" "0 1048576:0 1048576:0 1048576:o" "open a r $l/a" "pread a 20M 1M" "pread a 21M 1M" "pread a 1M 1M"
says "it is written and flushed again" "0 1048576 0" "open a rw $l/a" "pwrite a 20M 1M n" "fsync a"
is "all is well" "$(state)" ok
faults "$shm/d1 sync EIO count=1"
says "once more" "0 1048576 EIO" "open a rw $l/a" "pwrite a 22M 1M n" "fsync a"
unmount_pool
ok "unmounts with what cannot be flushed"
try "check" check_pool
mount_pool
ok "mounts"
says "what was flushed before is there" "0 1048576:n 1048576:o" "open a r $l/a" "pread a 20M 1M" "pread a 1M 1M"
unmount_pool
rm -rf "$pool" "$shm"/d[12]

# ---- the journal fails, the map fails: the pool turns read-only
scatter() # pages of the map to be written
{
    timeout 60 fio --name=scatter --filename="$l/wide" --rw=randwrite --bs=4k --iodepth=32 --ioengine=libaio --direct=1 --numjobs=2 \
        --norandommap --size=256G --time_based --runtime=20 --output="$shm/report" 2>/dev/null
}
failed() { [[ $(state) == failed ]]; }
turns_read_only() # turns_read_only HOW RULE: a write that needs it is told
{
    new_pool "$shm/pool" --size 2G && mount_pool || exit 99
    a lun create a 64M
    a lun create wide 256G
    put a 0 o fsync >"$out"
    a snapshot create a@s
    put a 1 o fsync >"$out"
    exec 7<>"$l/a"
    faults "$2"
    if [[ $1 == journal* ]]; then
        says "$1: the flush is told" "0 1048576 EIO" "open a rw $l/a" "pwrite a 2M 1M n" "fsync a"
    else
        scatter
        hit
        ok "$1: it failed under load"
    fi
    wait_for 20 failed
    is "$1: the pool has failed" "$(state)" failed
    faults # well again: that changes nothing
    says "writers are told" "EROFS" "open a rw $l/a"
    dd if=/dev/zero bs=4096 count=1 status=none 1>&7 2>"$err"
    grep -q 'Read-only file system' "$err"
    ok "those who had it open too"
    for op in "truncate -s 1M $l/new" "touch $s/a/t" "rm -f $l/wide" "mv $l/wide $l/w" "truncate -s 512G $l/wide"; do
        $op 2>"$err"
        grep -q 'Read-only file system' "$err"
        ok "${op%% *}: refused with EROFS"
    done
    gives 1 'takes no changes' "snapshot create is refused, with why" snapshot create a@t
    grep -q 'doctor' "$err"
    ok "and with what to do"
    gives 1 'takes no changes' "so is lun create" lun create c 1M
    is "one event says so" "$(events failed)" 1
    gives 5 'no writes.*' "doctor says it" doctor
    gives 5 "vvfs $pool" "and what to do" doctor
    gives 5 'failed' "pool status says it" pool status --check
    try "it is read" holds "$l/a" 1 o
    try "and listed" ls -lR "$mnt"
    try "snapshots too" holds "$s/a/s" 0 o
    a lun list && a snapshot list && a stats
    ok "the tool looks"
    exec 7>&-
    unmount_pool
    ok "unmounts"
    try "check" check_pool
    mount_pool
    ok "mounts"
    is "all is well" "$(state)" ok
    says "what was flushed is there" "0 1048576:o 1048576:o" "open a r $l/a" "pread a 0 1M" "pread a 1M 1M"
    says "and it is written again" "0 1048576 0" "open a rw $l/a" "pwrite a 3M 1M x" "fsync a"
    try "snapshots too" a snapshot create a@t
    unmount_pool
    try "check" check_pool
    rm -rf "$pool"
}
turns_read_only "journal sync" "*/journal/j-* sync EIO count=1"
turns_read_only "map write" "*/map/data.mdb write EIO"
if [[ -n ${VV_SOAK-} ]]; then # these two differ little from those
    turns_read_only "journal write" "*/journal/j-* write EIO"
    turns_read_only "map sync" "*/map/data.mdb sync EIO count=1"
fi
done_testing
