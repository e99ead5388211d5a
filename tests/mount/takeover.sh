#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The mount outlives the process that serves it: killed under load, exchanged for a new binary, and what is open stays open. As long
# as VV_TAKEOVER_SOAK is set: more kills, for longer (make takeover-soak).
#
#     VV_TAKEOVER_FSYNC=1    flush what was just written before each kill (where pending records are not kept, only that survives)
#     VV_TAKEOVER_KILLS=N    kills in a row under load
# shellcheck disable=SC1091,SC2154,SC2317,SC2016
. "$(dirname "$0")/lib.sh"
needs fio
[[ $(uname -r | awk -F. '{ print ($1 > 6 || ($1 == 6 && $2 >= 9)) }') == 1 ]] || skip_all "Linux before 6.9 does not send requests again"
kills=${VV_TAKEOVER_KILLS:-${VV_TAKEOVER_SOAK:+20}}
kills=${kills:-4}
in_place=${VV_TAKEOVER_FSYNC-1}

# Each kill finds a process that has served for so long that it is no crash loop.
steady()
{
    wait_for 30 other_serves || return 1
    read -rt 1.1 -u "$never"
    return 0
}
kill_some() # kill_some PID: as often as told, while that process lives; $killed_count
{
    local i
    killed_count=0
    for ((i = 0; i < kills; i++)); do
        gone "$1" && return 0
        kill_server || return 1
        killed_count=$((killed_count + 1))
        steady || return 1
    done
}
load() # load FILE SECONDS [OPTION...]: fio that verifies each block that it wrote, in the background
{
    local file=$1 seconds=$2
    shift 2
    start fio --name=load --filename="$file" --rw=randrw --bs=4k --iodepth=16 --ioengine=io_uring --direct=1 --size=48m \
        --verify=crc32c --verify_fatal=1 --verify_backlog=512 --verify_state_save=0 --time_based --runtime="$seconds" --norandommap=0 \
        --output="$disk/fio.out" "$@"
    fio=$!
}

new_pool "$shm/pool" --size 512M && mount_pool || exit 99
l=$mnt/luns
holder=$daemon
first=$(server)
[[ $first != "$holder" ]]
ok "one process holds the mount, and another serves it"
is "the lock names both" "$(grep -cE "^(pid $holder|serving $first)$" "$pool/daemon.lock")" 2
anon=$(awk '/^RssAnon/ { print $2 }' "/proc/$holder/status")
[[ -n ${VV_SANITIZERS-} || $anon -lt 1024 ]]
ok "the holder takes less than 1 MiB ($anon KiB)"
is "and has no file of the pool open" "$(find "/proc/$holder/fd" -lname "$pool/*" ! -lname "*hold.sock" | wc -l)" 0

# ---- killed while idle
a lun create v 64M
dd if=/dev/urandom of="$l/v" bs=1M count=64 conv=notrunc,fsync 2>/dev/null
sum=$(md5sum <"$l/v")
exec 5<"$l/v"
kill_server
is "killed: an open file is read on" "$(md5sum <&5)" "$sum"
exec 5<&-
wait_for 20 other_serves
ok "another serves"
gives 0 'daemon restarted: .* killed by signal 9' "the events tell" events

# ---- under load
steady
[[ -z $in_place ]] || note "in-place writes only: pending records are not kept"
load "$l/v" $((kills * 2 + 3))
kill_some "$fio"
is "killed $kills times under fio" "$killed_count" "$kills"
ended "$fio" 120
is "which sees no error" "$code" 0 || tell "$disk/fio.out" fio
note "$(sed -n 's/.*lat .*max=/longest /p' "$disk/fio.out" | head -n 2 | tr '\n' ';')"
steady

unmount_pool
ok "umount ends both processes"
try "check" check_pool
done_testing
