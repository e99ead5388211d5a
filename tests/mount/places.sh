#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# LUNs on chosen disks: what is refused, what is shown, that data stays there over snapshots, clones, copies and mounts, and that
# a full disk stops those alone that may use no other.
# shellcheck disable=SC1091,SC2154,SC2317
. "$(dirname "$0")/lib.sh"

truncate -s 64M "$shm/fast"
truncate -s 512M "$shm/slow"
new_pool "$disk/pool" --disk "$shm/fast" --disk "$shm/slow" && mount_pool || exit 99
l=$mnt/luns
head -c 16M /dev/urandom >"$shm/chunk"
free() { get disk list -H -o name,free | awk -v n="$1" '$1 == n { print $2 }'; } # free DISK
all=$(free slow) # of which the LUN web will hold 1 MiB
disks() { get lun show "$1" --json | jq -c .disks; }
put() { dd if="$shm/chunk" of="$l/$1" bs=1M seek="$2" conv=notrunc,fsync 2>"$err"; } # put LUN MIB: the chunk there

# ---- a job that is over before anybody looks is remembered
is_told() { get --json job list --all | jq -e '[.[] | select(.kind == "reclaim" and .state == "done" and .done == .total)] | length == 1' >/dev/null; }
try "a LUN" a lun create short 1G
try "with a block" dd if=/dev/zero of="$l/short" bs=4k count=1 conv=notrunc,fsync
try "removed" a lun remove short --yes
wait_for 60 is_told
ok "job list --all tells of its job"

# ---- refused, in clear words, with nothing made
gives 1 'no disk nope in pool.*disk list' "an unknown disk" lun create db 1G --disks fast,nope
gives 1 "no disk $shm/chunk in pool" "a path that is none" lun create db 1G --disks "$shm/chunk"
gives 2 'disk fast is named twice for db' "a disk twice" lun create db 1G --disks fast,slow,fast
gives 2 'disk fast is named twice for db' "under two names" lun create db 1G --disks "fast,$shm/fast"
gives 2 'takes D,\.\.\., not ""' "an empty list" lun create db 1G --disks ""
gives 2 'takes D,\.\.\., not "fast,"' "an empty name" lun create db 1G --disks fast,
gives 1 'not in this version' "with copies" lun create db 1G --disks fast,slow --copies 2
is "as JSON" "$(get --json lun create db 1G --disks nope | jq -c '.error | [.code, .object, .hint]')" '["not-found","nope","vvfs-admin disk list"]'
is "nothing was made" "$(get lun list -H)" ""

# ---- shown
try "made, larger than its disk" a lun create db 1G --disks fast
try "by path and in any order" a lun create both 1G --disks "slow,$shm/fast"
try "on any disk" a lun create web 1G
is "lun show tells it" "$(disks db) $(disks both) $(disks web)" '["fast"] ["fast","slow"] []'
is "for people" "$(get lun show db | awk '$1 == "disks" { print $2 }')" fast
is "disk list tells what is used, as disk show" "$(get disk list -H -o used | tr '\n' ' ')" \
    "$(for name in $(get disk list -H -o name); do get --json disk show "$name" | jq .used; done | tr '\n' ' ')"
is "lun list has a column" "$(get lun list -H -o name,disks --sort name | tr '\t\n' ': ')" "both:fast,slow db:fast web:- "
try "there already, on that disk" a lun create db 1G --disks fast --if-not-exists
gives 1 'LUN db exists' "there already, elsewhere" lun create db 1G --disks slow --if-not-exists
gives 1 'disk fast was chosen for both, db .*Copy what is needed' "its disk is not removed" disk remove fast
gives 1 'disk slow was chosen for both' "nor one of several" disk remove slow
a lun remove both

# ---- data stays
put db 0
ok "written" || tell "$err" err
a snapshot create db@s
put db 0
a lun clone db@s clone
gives 2 'no option .--disks. for lun clone' "a clone cannot choose" lun clone db@s other --disks slow
is "a clone lies where its base lies" "$(disks clone)" '["fast"]'
"$calls" "open a rw $l/clone" "pwrite a 0 1M x" "fsync a" >/dev/null
cp --sparse=always "$l/db" "$l/copy"
cmp "$l/db" "$l/copy"
ok "a copy through the mount is whole"
a snapshot restore db@s
a snapshot refresh db@s
unmount_pool && mount_pool
ok "mounted again"
is "it is remembered" "$(disks db) $(disks clone) $(disks web)" '["fast"] ["fast"] []'
try "what was written is there" cmp -n 16M "$shm/chunk" "$l/db"
rm "$l/copy"
a lun remove clone
a snapshot remove 'db@*' --yes
settled

# ---- full
chunks=0
while put db $((chunks * 16)) && ((chunks < 8)); do
    chunks=$((chunks + 1))
done
grep -q 'No space left on device' "$err"
ok "filled until ENOSPC"
is "which is when its disk is full" "$(free fast)" 0
is "and nothing of it is elsewhere" "$(free slow)" $((all - (1 << 20)))
try "it is written on in place" dd if="$shm/chunk" of="$l/db" bs=1M count=16 conv=notrunc,fsync
put web 0 && put web 16
ok "others go on" || tell "$err" err
is "the pool is well" "$(get --json pool status | jq -r .state)" ok
try "says its status too" a pool status --check
gives 5 'disk fast is full: no more space for db, which may lie nowhere else' "doctor knows" doctor
gives 5 'vvfs-admin disk grow fast' "and what mends it" doctor

# ---- waiting
a lun set db on-full=wait timeout=60
start dd if="$shm/chunk" of="$l/db" bs=1M seek=512 conv=notrunc,fsync
writer=$!
is_open() { [[ $(get --json lun show db | jq '.openers | length') -gt 0 ]]; }
wait_for 20 is_open
put web 32
ok "on-full=wait: others go on meanwhile"
! gone "$writer"
ok "it waits"
try "its disk grows" a disk grow fast 128M
ended "$writer" 60
is "and it goes on" "$code" 0
cmp -n 16M "$shm/chunk" "$l/db" 0 $((512 << 20))
ok "with what was written"
unmount_pool
ok "unmounts"
try "check" check_pool
mount_pool
is "remembered again" "$(disks db)" '["fast"]'
a lun remove db
removed() { a disk remove fast; }
wait_for 60 removed
ok "without the LUN the disk can be removed"
try "the others are whole" cmp -n 16M "$shm/chunk" "$l/web"
unmount_pool
ok "unmounts"
try "check" check_pool
done_testing
