#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Writes that overlap, of 512 bytes, 4 KiB and 1 MiB, at once: they end as if one had come after the other; in place, into
# fresh blocks, and while snapshots keep turning the one into the other.
# shellcheck disable=SC1091,SC2154,SC2317
. "$(dirname "$0")/lib.sh"
race=$build/tests/mount/two-orders

new_pool "$shm/pool" --size 1G && mount_pool || exit 99
a lun create w 8M

try "into holes, then in place: 3000 rounds" "$race" "$mnt/luns/w" 3000
again() { # a snapshot every now and then, until the writers have ended
    local i=0
    while ! gone "$1"; do
        touch "$mnt/snapshots/w/s$i"
        ((i == 0)) || rm "$mnt/snapshots/w/s$((i - 1))"
        i=$((i + 1))
    done
    [[ $i -gt 5 ]]
}
"$race" "$mnt/luns/w" 3000 >"$out" 2>"$err" &
racer=$!
ours+=("$racer")
again "$racer"
ok "snapshots are taken and removed meanwhile"
ended "$racer" 60
is "and the writes are in order: 3000 rounds" "$code$(<"$out")" 0
a lun set w redirect=always
try "with redirect=always: 1000 rounds" "$race" "$mnt/luns/w" 1000
device=$(loop_of "$mnt/luns/w" on)
try "through a loop device: 1000 rounds" "$race" "$device" 1000
losetup -d "$device"
unmount_pool
ok "unmounts"
try "check" check_pool

new_pool "$disk/pool" --size 1G && mount_pool || exit 99
a lun create w 8M
try "on the machine's disk: 200 rounds" "$race" "$mnt/luns/w" 200
unmount_pool
try "check" check_pool
done_testing
