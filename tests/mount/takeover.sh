#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The mount outlives the process that serves it: killed under load, exchanged for a new binary, and what is open stays open. As long
# as VV_TAKEOVER_SOAK is set: more kills, for longer (make takeover-soak).
#
#     VV_TAKEOVER_FSYNC=1    as where pending records are not kept: written before, so that all writes go in place, and what has
#                            to survive is flushed; empty: nothing is ever flushed (the default is in this file, below)
#     VV_TAKEOVER_KILLS=N    kills in a row under load
# shellcheck disable=SC1091,SC2154,SC2317,SC2016
. "$(dirname "$0")/lib.sh"
needs fio
[[ $(uname -r | awk -F. '{ print ($1 > 6 || ($1 == 6 && $2 >= 9)) }') == 1 ]] || skip_all "Linux before 6.9 does not send requests again"
kills=${VV_TAKEOVER_KILLS:-${VV_TAKEOVER_SOAK:+20}}
kills=${kills:-3}
in_place=${VV_TAKEOVER_FSYNC-}

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

flushed() { [[ -z $in_place ]] || sync "$1"; } # flushed FILE
filled() # filled LUN MIB: written, so that it is written in place from then on
{
    a lun create "$1" "$2M"
    [[ -z $in_place ]] || dd if=/dev/urandom of="$l/$1" bs=1M count="$2" conv=notrunc,fsync 2>/dev/null
}
operation_threads() # of the process that serves: those that make, remove and rename
{
    local task
    for task in "/proc/$(server)/task"/*; do
        [[ $(<"$task/comm") == vvfs-operation ]] && echo "${task##*/}"
    done
}
traced() # traced TID...
{
    local tid
    for tid; do
        grep -qE '^TracerPid:\s*[1-9]' "/proc/$tid/status" 2>/dev/null || return 1
    done
}
dies_before_it_answers() # the next that is made, removed or renamed is done, and the process killed before it can say so
{
    local tids options=()
    "$calls" "mknod $l/warm" "unlink $l/warm" >/dev/null # so that such a thread is there
    mapfile -t tids < <(operation_threads)
    ((${#tids[@]} > 0)) || return 1
    # shellcheck disable=SC2034 # other_serves looks at it
    killed=$(server)
    options=("${tids[@]/#/-p}")
    start strace -qq -o /dev/null -e trace=writev -e inject=writev:signal=SIGKILL:when=1 "${options[@]}"
    wait_for 10 traced "${tids[@]}"
}

new_pool "$shm/pool" --size 1G && mount_pool || exit 99
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

# ---- killed while idle: all kinds of open files
filled v 64
[[ -n $in_place ]] || dd if=/dev/urandom of="$l/v" bs=1M count=64 conv=notrunc 2>/dev/null
sum=$(md5sum <"$l/v")
for name in gone new; do printf 'first ' >"$l/$name.old"; done
exec 5<"$l/v" 6<>"$l/gone.old" 7>"$l/new"
rm "$l/gone.old"
printf 'first ' >&7
flushed /dev/fd/7
exec 8<"$mnt/.vvfs/status.json"
kill_server
is "killed: an open file is read on" "$(md5sum <&5)" "$sum"
wait_for 20 other_serves
ok "another serves"
gives 0 'daemon restarted: .* killed by signal 9' "the events tell" events
is "so does status.json, which was open before" "$(jq .restarts <&8)" 1
is "and the metrics" "$(grep -c '^vvfs_daemon_restarts_total{[^}]*} 1$' "$mnt/.vvfs/metrics")" 1
is "a removed file that is open is there still" "$(head -c 6 <&6)" "first "
printf 'more' >&6
ok "and can be written"
printf 'second' >&7
try "what was being made grows on" sync /dev/fd/7
exec 5<&- 6<&- 7>&- 8<&-
closed new
is "and is finished by its close: one block" "$(stat -c %s "$l/new")" 4096
is "with all of it" "$(head -c 12 "$l/new")" "first second"
refused "then it is a disk, and does not grow" dd if=/dev/zero of="$l/new" bs=4K seek=1 count=1 conv=notrunc
rm "$l"/new*
a snapshot create v@a v@b v@c
got=$(
    exec 9<"$mnt/snapshots/v"
    find /proc/self/fd/9/ -type f | wc -l
)
is "directories are listed" "$got" 3
a snapshot remove v@a v@b v@c
steady

# ---- done, and not answered
if command -v strace >/dev/null; then
    dies_before_it_answers
    says "made, killed before the answer: the answer comes" "0 4096 0 0" "open a rw,creat,excl $l/made" "pwrite a 0 4096 x" "fsync a" "close a"
    wait_for 20 other_serves
    ok "from another"
    closed made
    is "it was made once, and can be written" "$(stat -c %s "$l/made")" 4096
    dies_before_it_answers
    says "renamed" 0 "rename plain $l/made $l/renamed"
    [[ -e $l/renamed && ! -e $l/made ]] && wait_for 20 other_serves
    ok "once"
    dies_before_it_answers
    says "a snapshot taken" 0 "mknod $mnt/snapshots/v/taken"
    wait_for 20 other_serves
    is "once" "$(get snapshot list v -H -o name)" taken
    dies_before_it_answers
    says "removed" 0 "unlink $mnt/snapshots/v/taken"
    wait_for 20 other_serves
    is "once" "$(get snapshot list v -H -o name)" ""
    dies_before_it_answers
    says "a LUN removed" 0 "unlink $l/renamed"
    wait_for 20 other_serves && [[ ! -e $l/renamed ]]
    ok "once"
    steady
else
    pass_over "done, and not answered" "strace is not installed"
fi

# ---- killed while the kernel waits for its own stat (a size that is told): it must be possible to kill it
if command -v strace >/dev/null; then
    wait_for 20 other_serves
    options=()
    for task in "/proc/$(server)/task"/*; do
        [[ $(<"$task/comm") != vvfs-fuse/* ]] || options+=("-p${task##*/}")
    done
    exec 5<"$l/v"
    start strace -qq -o /dev/null -e trace=writev -e inject=writev:delay_enter=3000000 "${options[@]}"
    wait_for 10 traced "${options[@]#-p}"
    start "$tool" -p "$pool" lun resize v 68M
    is_waiting() { [[ $(<"/sys/fs/fuse/connections/$(findmnt -no MAJ:MIN --mountpoint "$mnt" | sed 's/.*://; s/ //g')/waiting") -gt 0 ]]; }
    wait_for 10 is_waiting
    kill_server
    wait_for 20 other_serves
    ok "killed while its mount is looked at for it: another serves"
    exec 5<&-
    steady
else
    pass_over "killed while its mount is looked at for it" "strace is not installed"
fi

# ---- under load: a raw LUN, and a file system on a loop device, at once
[[ -z $in_place ]] || note "in-place writes only: pending records are not kept"
filled fs 160
device=$(loop_of "$l/fs" on)
make_fs ext4 "$device" && mkdir "$disk/fs" && mount "$device" "$disk/fs" && mkdir "$disk/tree" && tree "$disk/tree"
wanted=$(manifest "$disk/tree")
load "$l/v" $((kills * 3 / 2 + 1))
start cp -a "$disk/tree" "$disk/fs/tree"
copier=$!
kill_some "$fio"
is "killed $kills times under load" "$killed_count" "$kills"
ended "$fio" 120
is "fio, which verifies, sees no error" "$code" 0 || tell "$disk/fio.out" fio
ended "$copier" 120
is "nor does who writes to ext4" "$code" 0
kill_server
is "which has what was written" "$(manifest "$disk/fs/tree")" "$wanted"
steady

# ---- killed at its start, and again
load "$l/v" 5
for i in 1 2 3; do
    kill_server
    wait_for 20 eval '[[ $(server) != "$killed" && $(server) != "$daemon" ]]'
done
kill_server
wait_for 30 other_serves
ok "killed while it takes over, four times in a row: another does"

# ---- upgrade, under the same load
steady
before=$(server)
try "vvfs --upgrade" timeout 100 "$vvfs" --upgrade "$mnt"
after=$(server)
[[ $after != "$before" && $(<"$out") == *"is served by vvfs "*"(pid $after)" ]]
ok "another process serves"
is "held by the same" "$daemon$(gone "$daemon" && echo gone)" "$holder"
gives 0 'has taken over the mount' "and the events tell" events
[[ $(get --json events | jq -s 'flatten | map(select(.code == "restarted")) | length') -ge 3 ]]
ok "also of what was before"
# A version that keeps other things: the same program, with another word for what it keeps.
sed 's/vvfs-hold-state-0002/vvfs-hold-state-9999/g' "$vvfs" >"$disk/other" && chmod +x "$disk/other"
refused "a vvfs that does not understand what is kept is refused" timeout 100 "$disk/other" --upgrade "$mnt"
grep -q 'is not upgraded: .*cannot take over: .*vvfs-hold-state-0002' "$err"
ok "and says why"
is "the old one never stopped" "$(server)" "$after"
cat >"$disk/ask.py" <<'END'
import array, os, socket, sys
with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as holder:
    holder.connect(sys.argv[1])
    program = array.array("i", [os.open(sys.argv[2], os.O_RDONLY)])
    holder.sendmsg([sys.argv[3].encode() + b"\0"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, program)])
    answer = holder.recv(1000)
    print(answer[1:].decode())
    sys.exit(answer[0])
END
refused "a program that ends instead of serving" timeout 100 python3 "$disk/ask.py" "$pool/hold.sock" /bin/true vvfs-upgrade-0001
grep -q 'before it served; the old one goes on' "$out"
ok "is told of"
wait_for 20 other_serves || true
refused "another kind of request" timeout 100 python3 "$disk/ask.py" "$pool/hold.sock" /bin/true vvfs-upgrade-9999
ended "$fio" 120
is "fio saw nothing of all this" "$code" 0 || tell "$disk/fio.out" fio
umount "$disk/fs"
try "the file system is sound" fsck_clean ext4 "$device"
losetup -d "$device"

# ---- commands wait for who takes over
steady
kill_server
try "a command while nobody serves" a lun list
steady

# ---- ending
exec 6<>"$l/v"
kill -TERM "$holder"
is_detached() { [[ -z $(findmnt -no FSTYPE --mountpoint "$mnt") ]]; }
wait_for 20 is_detached
ok "SIGTERM with an open LUN: the mount goes"
kill_server
printf 'after SIGTERM' >&6 && sync /dev/fd/6
ok "killed then: the open file is served on"
exec 6>&-
ended "$holder" 30
is "until the last close" "$code" 0
try "check" check_pool

# ---- a crash loop is given up
mount_pool
holder=$daemon
mv "$pool/vvfs-pool" "$shm/identity" # nobody can open the pool
kill_server
start dd if="$l/v" of=/dev/null bs=1M count=1
reader=$!
ended "$holder" 60
is "process after process dies: it is given up, with 1" "$code" 1
grep -q 'is given up: .* times in a row' "$disk/.daemon"
ok "and said so"
ended "$reader" 20
[[ $code -ne 0 && $code -ne 255 ]]
ok "who waited gets an error"
refused "the mount is dead" stat "$l/v"
mv "$shm/identity" "$pool/vvfs-pool"
mount_pool
is "when the cause is mended it serves again" "$(head -c 13 "$l/v")" "after SIGTERM"
unmount_pool
ok "umount ends both processes"
try "check" check_pool
done_testing
