#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Checksums and scrub on a real mount: a byte of the disk file is changed under the pool, and who reads it is told, by EIO, an event,
# doctor and scrub; who does not map it notices nothing; writing heals it; a scrub is paused, resumed, cancelled, and killed.
# shellcheck disable=SC1091,SC2154,SC2317
. "$(dirname "$0")/lib.sh"

new_pool "$shm/pool" --size 512M && mount_pool || exit 99
l=$mnt/luns s=$mnt/snapshots
marked() # marked WORD: 4 KiB that begin with it
{
    printf '%-4096s' "$1"
}
put() # put LUN BLOCK WORD
{
    marked "$3" | dd of="$l/$1" bs=4096 seek="$2" conv=notrunc,fsync status=none
}
flip() # flip WORD: another word where it is on the disk file, once
{
    local at
    at=$(grep -abo "$1" "$pool/disk0" | head -n 1 | cut -d: -f1) && [[ -n $at ]] || return 1
    printf X | dd of="$pool/disk0" bs=1 seek="$((at + 2000))" conv=notrunc status=none
    flipped=$at
}
cat_block() # cat_block FILE BLOCK
{
    dd if="$1" bs=4096 skip="$2" count=1 iflag=direct status=none
}
reads() { [[ $(cat_block "$1" "$2" | tr -d ' \0') == "$3" ]]; }
job_state() { get job list --all | awk -v j="$1" '$1 == j' | grep -q "$2"; }

try "a LUN" "$tool" -p "$pool" lun create db 16M
try "another" "$tool" -p "$pool" lun create plain 16M
try "integrity=on" "$tool" -p "$pool" lun set db integrity=on
a lun show db --json
[[ $(jq -r .settings.integrity "$out") == on ]]; ok "which show tells"
put db 5 MARKER-ONE && put db 6 MARKER-TWO && put plain 5 MARKER-PLAIN
ok "written"
a snapshot create db@one
put db 6 MARKER-NEW
try "a scrub finds nothing" "$tool" -p "$pool" pool scrub
flip MARKER-TWO
ok "a byte is changed that the snapshot sees"
refused "reading the snapshot is an error" cat_block "$s/db/one" 6
reads "$s/db/one" 5 MARKER-ONE && reads "$l/db" 6 MARKER-NEW && reads "$l/plain" 5 MARKER-PLAIN
ok "reading beside it is not"
flip MARKER-ONE
ok "one that both see"
refused "the LUN" cat_block "$l/db" 5
refused "the snapshot" cat_block "$s/db/one" 5
refused "a part of it cannot be written" dd if=/dev/zero of="$l/db" bs=1 seek=20500 count=1 conv=notrunc status=none
gives 5 "disk disk0 holds wrong bytes at $flipped: db, db@one at 20480" "doctor names disk, offset, LUN and snapshot" doctor
gives 0 'holds wrong bytes' "so do the events" events
unmount_pool && mount_pool
ok "mounted anew"
try "nothing is known of it" "$tool" -p "$pool" doctor
gives 5 "disk disk0 holds wrong bytes at $flipped: db, db@one at 20480" "a scrub finds it, exits with 5" pool scrub
a pool scrub --json
[[ $code -eq 5 && $(jq -r '.state, .error.code' "$out" | tr '\n' ' ') == "failed damaged " ]]; ok "also as JSON"
gives 5 '2 errors' "job wait of a new one too" job wait "$(get pool scrub --background)"
put db 5 MARKER-WELL
reads "$l/db" 5 MARKER-WELL; ok "writing it heals it"
try "the snapshot is removed" "$tool" -p "$pool" snapshot remove db@one
settled; ok "its space is back"
try "a scrub finds nothing any more" "$tool" -p "$pool" pool scrub
a doctor
! grep -q wrong "$out"; ok "nor does doctor"
flip MARKER-PLAIN
reads "$l/plain" 5 MARKER-PLAINX; ok "what has no checksum is read as it is"
gives 0 'no checksum' "scrub says how much that is" pool scrub

dd if=/dev/urandom of="$l/db" bs=1M count=16 conv=notrunc,fsync status=none
job=$(get pool scrub --background --rate 4M)
is "the same one while it runs" "$(get pool scrub --background)" "$job"
try "is paused" "$tool" -p "$pool" job pause "$job"
wait_for 20 job_state "$job" paused; ok "stays so"
kill_pool
umount "$mnt" 2>/dev/null || umount -l "$mnt"
try "killed: check" check_pool
mount_pool; ok "mounts again"
job_state "$job" paused; ok "is paused still"
try "is resumed" "$tool" -p "$pool" job resume "$job"
try "is cancelled" "$tool" -p "$pool" job cancel "$job"
wait_for 20 job_state "$job" cancelled; ok "and ends"
gives 2 'not a size' "a rate that is none" pool scrub --rate fast

printf '\377' | dd of="$pool/disk0" bs=1 seek=$((524288 + 100)) conv=notrunc status=none
gives 5 '1 error' "the second copy of a label is looked at" pool scrub
gives 0 'copy 2 of the label' "and named" events
unmount_pool; ok "unmounts"
try "check" check_pool
done_testing
