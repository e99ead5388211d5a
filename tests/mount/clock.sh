#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The time of day jumps by years, forwards and backwards, under the daemon: nothing that waits is early or late, nothing is lost,
# and the order of snapshots stays what it was. clock.c stands between the daemon and the clock.
# shellcheck disable=SC1091,SC2154
. "$(dirname "$0")/lib.sh"
needs fio
[[ -z ${VV_SANITIZERS-} ]] || skip_all "sanitizers want to be loaded first"
cc=$(command -v "${CC:-cc}" gcc clang | head -n 1)
[[ -n $cc ]] || skip_all "no C compiler"
"$cc" -shared -fPIC -O1 -o "$shm/clock.so" "$here/clock.c" || skip_all "$cc makes no shared objects"

jump() { echo "$1" >"$shm/jump"; } # jump SECONDS: from the true time
export VV_CLOCK_JUMP=$shm/jump
year=$((365 * 86400))
jump 0
new_pool "$shm/pool" --size 512M || exit 99
LD_PRELOAD=$shm/clock.so mount_pool || exit 99
l=$mnt/luns
a lun create v 64M
load=(timeout 60 fio --name=load --output="$shm/report" --filename="$l/v" --ioengine=libaio --iodepth=16 --size=64M)
start "${load[@]}" --rw=randwrite --bs=4k --time_based --runtime=3 --fsync=64
writer=$!
made=0
for seconds in $((20 * year)) 0 $((-20 * year)) $((3 * year)) $((-3 * year)) 0; do
    jump "$seconds"
    a snapshot create --prefix jump v && made=$((made + 1))
    a snapshot create "v@s$made" || made=-99
    get --json lun show v >/dev/null || made=-99
done
is "snapshots, whatever the time is" "$made" 6
a lun show v
ended "$writer" 60
is "no write fails" "$code" 0
grep -q . <<<"$(get --json snapshot list v | jq -r '.[] | select(.created | startswith("204") or startswith("200"))')"
ok "(the daemon saw the jumps)"

# The same request again, years later by the clock, is the same request.
jump 0
a lun create once 1M --id the-one
jump $((2 * year))
a lun create other 1M --id the-other
try "a repeat is known after a jump" timeout 60 "$tool" -p "$pool" lun create once 1M --id the-one
jump $((-5 * year))
try "and after one back" timeout 60 "$tool" -p "$pool" lun create once 1M --id the-one

# What waits for space waits as long as was said, by the clock that does not jump.
a lun create full 2G on-full=wait timeout=3
start dd if=/dev/urandom of="$l/full" bs=1M count=1024 conv=notrunc
filler=$!
waits() { [[ $(get --json pool status | jq -r .state) == full ]] || gone "$filler"; }
wait_for 60 waits
jump $((9 * year))
jump $((-9 * year))
ended "$filler" 60
[[ $code -ne 0 && $code -ne 255 ]]
ok "who waits for space is told in the end"
a lun remove full --yes
a snapshot remove "v@s1"
wait_for 60 is_settled
ok "jobs end"
unmount_pool
ok "unmounts"
try "check" check_pool
jump $((-30 * year))
LD_PRELOAD=$shm/clock.so mount_pool
ok "mounts thirty years earlier"
is "with all it had" "$(get --json snapshot list v | jq length)" 11
unmount_pool
ok "unmounts"
done_testing
