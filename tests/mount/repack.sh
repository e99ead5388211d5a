#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Repacking through the tool: a LUN that was overwritten at random under snapshots and a clone; all read as before, no space is lost,
# writers go on, and the daemon may be killed in the middle of it. That blocks come together: tests/unit/engine-repack.
# shellcheck disable=SC1091,SC2154,SC2317
. "$(dirname "$0")/lib.sh"
writer=$build/tests/mount/crash-writer

new_pool "$shm/pool" --size 1G && mount_pool || exit 99
l=$mnt/luns
sums() { (cd "$mnt" && find snapshots luns/copy -type f -print0 | sort -z | xargs -0 sha256sum) | sha256sum; }
scatter() # scatter SNAPSHOT...: random writes, a snapshot in the midst of them
{
    local name hand
    for name; do
        start "$writer" write "$l/db" "$shm/log" "$((RANDOM + 1))"
        hand=$!
        wait_for 0 false
        a snapshot create "db@$name"
        kill "$hand" 2>/dev/null
        ended "$hand" 20
    done
}
job_gone() { ! get job list | grep -q repack; }

try "a LUN" "$tool" -p "$pool" lun create db 40M
scatter one two three
try "a clone" "$tool" -p "$pool" lun clone db@two copy
settled
ok "is settled"
sync "$l/db"
before=$(sums) used=$(space used) lun=$(sha256sum <"$l/db")
try "is repacked" "$tool" -p "$pool" lun repack db
is "snapshots and clone read as before" "$(sums)" "$before"
is "so does the LUN" "$(sha256sum <"$l/db")" "$lun"
is "and nothing more is used" "$(space used)" "$used"
gives 0 '^[0-9]+$' "in the background it prints the job" lun repack db --background
wait_for 30 job_gone
ok "which ends"
gives 1 'no LUN nope' "one that is not there" lun repack nope
gives 0 'repack' "ended jobs are told" job list --all

for round in 1 2 3 4; do
    start "$writer" write "$l/db" "$shm/log" "$((round + 100))"
    hand=$!
    wait_for 0 false
    a lun repack db --background
    ok "repacks under a writer, $round"
    read -rt "0.$((round * 7))" -u "$never"
    kill_pool
    ok "killed, $round"
    ended "$hand" 20
    umount "$mnt" 2>/dev/null || umount -l "$mnt"
    try "check, $round" check_pool
    mount_pool
    ok "mounts again, $round"
    try "what was flushed is there, $round" "$writer" verify "$l/db" "$shm/log"
    is "snapshots and clone read as before, $round" "$(sums)" "$before"
done
wait_for 60 job_gone
ok "the job goes on after the start, to its end"
is "snapshots and clone read as before" "$(sums)" "$before"
a pool set repack=off
ok "it can be turned off"
gives 2 "auto or off" "and takes nothing else" pool set repack=never
try "all is removed" "$tool" -p "$pool" lun remove db copy --with-snapshots
space_falls 0
is "and all space comes back" "$(space used)" 0
unmount_pool
ok "unmounts"
try "check" check_pool
done_testing
