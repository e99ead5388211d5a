#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Memory under load: deep queues of large writes, a LUN that is held beside one that works, small writes at random places. Never
# more than 128 MiB, no error where none belongs, and no LUN waits for another. VV_HELD_SECONDS (3): how long a LUN is held beside another.
# shellcheck disable=SC1091,SC2154,SC2317
. "$(dirname "$0")/lib.sh"
needs fio

held_seconds=${VV_HELD_SECONDS:-3}
[[ $held_seconds =~ ^[1-9][0-9]{0,3}$ ]] || exit 2
limit=$((128 << 20))
seconds=12
[[ -z ${VV_SANITIZERS-} ]] || seconds=4
watch_memory() # watch_memory PID FILE: the most that it had, until $FILE.stop appears
{
    local now most=0
    while [[ ! -e $2.stop ]] && ! gone "$1"; do
        now=$(rss_bytes "$1" 2>/dev/null)
        [[ -n $now ]] && ((now > most)) && most=$now && echo "$most" >"$2"
        read -rt 0.02 -u "$never"
    done
}
begin_watch()
{
    rm -f "$shm/peak.stop"
    echo 0 >"$shm/peak"
    watch_memory "$(server)" "$shm/peak" &
    watcher=$!
    ours+=("$watcher")
}
peak_is_small() # peak_is_small DESCRIPTION: since begin_watch
{
    : >"$shm/peak.stop"
    ended "$watcher" 10
    note "$1: $(($(<"$shm/peak") >> 20)) MiB"
    if [[ -n ${VV_SANITIZERS-} ]]; then
        pass_over "$1: at most $((limit >> 20)) MiB" "sanitizers take their own"
        return
    fi
    [[ $(<"$shm/peak") -gt 0 && $(<"$shm/peak") -le $limit ]]
    ok "$1: at most $((limit >> 20)) MiB"
}
load=(timeout $((held_seconds + 120)) fio --name=load --direct=1 --ioengine=libaio --group_reporting --output="$shm/report")
counter() { get --json stats | jq -r ".pool.$1"; }
now_held() { get --json stats | jq -r ".memory.$1"; }

# ---- deep queues of large requests, on a disk: 2 GiB of requests under way if nobody stops them
new_pool "$disk/pool" --size 2G && mount_pool || exit 99
l=$mnt/luns
a lun create v 1G
begin_watch
try "8 x 256 writes of 1 MiB" "${load[@]}" --filename="$l/v" --rw=write --bs=1M --iodepth=256 --numjobs=8 --size=128M --offset_increment=128M --loops=2
try "8 x 256 reads of 1 MiB" "${load[@]}" --filename="$l/v" --rw=read --bs=1M --iodepth=256 --numjobs=8 --size=128M --offset_increment=128M
try "large and small ones" "${load[@]}" --filename="$l/v" --rw=randrw --bsrange=4k-1M --iodepth=256 --numjobs=4 --size=1G --io_size=128M
try "odd ones" "${load[@]}" --filename="$l/v" --rw=randwrite --bsrange=512-1M --bs_unaligned --direct=0 --iodepth=64 --numjobs=4 --size=1G --io_size=64M
peak_is_small "running"
a lun remove v
unmount_pool
ok "unmounts"
rm -rf "$pool"

# ---- a snapshot in the middle: what waits for its gate does not fail
new_pool "$shm/pool" --size 1G && mount_pool || exit 99
a lun create v 512M
begin_watch
start "${load[@]}" --filename="$l/v" --rw=write --bs=1M --iodepth=256 --numjobs=4 --size=128M --offset_increment=128M --time_based --runtime=4
hand=$!
for i in 1 2 3 4 5; do
    a snapshot create "v@s$i" || break
    a snapshot remove "v@s$i" || break
done
is "snapshots under a deep queue" "$code" 0
ended "$hand" 60
is "and no write fails" "$code" 0
peak_is_small "gates"
is "nothing was refused" "$(counter refused_requests)" 0
a lun remove v
space_falls 0

# ---- one LUN is held, another works
a lun create held 2G on-full=wait timeout=$((held_seconds + 60))
a lun create busy 64M
try "space that just came back can be written" dd if=/dev/urandom of="$l/busy" bs=1M count=64 conv=notrunc,fsync
begin_watch
start "${load[@]}" --filename="$l/held" --rw=write --bs=1M --iodepth=256 --numjobs=8 --size=2G --continue_on_error=all
filler=$!
is_held() { [[ $(counter refused_requests) -gt 0 ]]; }
wait_for 60 is_held
ok "it waits, and gives up what is above its quota"
try "reads and writes of another go on for $held_seconds s" "${load[@]}" --filename="$l/busy" --rw=randrw --bs=4k --iodepth=16 --size=64M \
    --time_based --runtime="$held_seconds"
try "so do reads of the same" "$calls" "open a r $l/held" "pread a 0 4096"
note "$(get --json stats | jq -c .memory)"
[[ $(now_held parked_bytes) -le $((24 << 20)) ]]
ok "what is parked has its bound"
[[ $(now_held parked_bytes) -gt 0 ]] && ! gone "$filler"
ok "and waits still"
get --json events | grep -q 'further ones fail until it goes on'
ok "an event says so"
peak_is_small "held beside busy"
kill "$filler"
a lun remove --yes held
ended "$filler" 60
try "its removal ends the waiting" true
a lun remove busy
unmount_pool
ok "unmounts"
try "check" check_pool
rm -rf "$pool"

# ---- small writes at random places: each changes another page of the map
new_pool "$shm/pool" --size 4G && mount_pool || exit 99
a lun create v 64G
begin_watch
try "random 4 KiB" "${load[@]}" --filename="$l/v" --rw=randwrite --bs=4k --iodepth=64 --numjobs=4 --norandommap --size=64G --time_based --runtime="$seconds"
peak_is_small "random"
note "$(get --json stats | jq -c '[.memory, .pool.journal_waits, .pool.checkpoint_waits, .pool.checkpoints]')"
try "a snapshot goes through" a snapshot create v@s
unmount_pool
ok "unmounts"
try "check" check_pool
done_testing
