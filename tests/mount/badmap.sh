#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The map of a mounted pool goes bad: data.mdb gets shorter, which its mapping answers with SIGBUS, as it does an error of its medium; or its
# leaves are other ones when a successor takes over, which compares them when they are read. The daemon lives, tells, reads what it can
# and takes no writes.
# shellcheck disable=SC1091,SC2154,SC2317
. "$(dirname "$0")/lib.sh"
needs fio python3
[[ $(uname -r | awk -F. '{ print ($1 > 6 || ($1 == 6 && $2 >= 9)) }') == 1 ]] || skip_all "Linux before 6.9 does not send requests again"

new_pool "$shm/pool" --size 1G && mount_pool || exit 99
l=$mnt/luns map=$shm/pool/map
a lun create a 192M
fio --name=fill --filename="$l/a" --rw=randwrite --bs=4k --size=192m --ioengine=psync --end_fsync=1 >"$out" 2>&1
ok "a LUN is written at random" || exit 99
unmount_pool
ok "and unmounted" || exit 99
cp -a --sparse=always "$pool" "$disk/good"
put_back() { rm -rf "$pool" && cp -a --sparse=always "$disk/good" "$pool"; }

failed() { [[ $(get --json pool status | jq -r .state) == failed ]]; }
read_regions() # of LUN a, each by itself: $good and $bad count
{
    local i
    good=0 bad=0
    for ((i = 0; i < 192; i++)); do
        if dd if="$l/a" of=/dev/null bs=1M skip="$i" count=1 iflag=direct 2>"$err"; then
            good=$((good + 1))
        else
            grep -qE 'Input/output error|Structure needs cleaning' "$err" || return 1
            bad=$((bad + 1))
        fi
    done
}
told() # told PATTERN: as the first failure
{
    wait_for 20 failed
    ok "the pool has failed"
    is "nobody died" "$(server)" "$serving"
    gives 0 "$1" "an event names file and place" events
    gives 5 "$1" "so does doctor" doctor
    refused "nothing is written any more" dd if=/dev/zero of="$l/a" bs=4k count=1 conv=notrunc,fsync
}
ends()
{
    timeout -k 5 60 umount "$mnt" 2>"$err" && ended "$daemon" 60
}

# ---- shorter
try "mounted again" mount_pool
serving=$(server)
truncate -s 64K "$map/data.mdb"
read_regions
ok "what needs the map is not read: an error in $bad regions of 192"
((bad > 0))
ok "in some at least"
told 'map/data.mdb cannot be read at offset [0-9]+'
try "it is unmounted" ends
refused "and not mounted again" mount_pool
put_back

# ---- other leaves, for a successor
try "mounted once more, with all as it was" mount_pool
serving=$(server)
python3 - "$map/data.mdb" >"$disk/changed" <<'EOF'
import struct, sys
count = 0
with open(sys.argv[1], "r+b") as file:
    data = file.read()
    for at in range(8192, len(data), 4096):
        flags, lower = struct.unpack_from("<HH", data, at + 10)
        if flags != 2 or lower <= 16:
            continue
        node = at + struct.unpack_from("<H", data, at + 16)[0]
        length, _high, node_flags, key = struct.unpack_from("<HHHH", data, node)
        if node_flags == 0 and key == 24 and length >= 1200: # of the table of pages
            count += 1
            if count % 4 == 0:
                file.seek(node + 8 + 10)
                file.write(bytes([data[node + 8 + 10] ^ 1])) # its key: the record would not be found
print(count // 4)
EOF
(($(<"$disk/changed") > 2))
ok "$(<"$disk/changed") leaves are changed"
kill_server
wait_for 30 other_serves
ok "killed: another serves"
serving=$(server)
read_regions
ok "what needs such a leaf is not read: an error in $bad regions of 192"
((bad > 0 && good > 0))
ok "in some, and the others are"
told 'map/data.mdb is damaged at offset [0-9]+'
try "it is unmounted" ends
refused "and not mounted again" mount_pool
grep -q 'page [0-9]* of data.mdb' "$disk/.daemon"
ok "because of that"
put_back
try "with all as it was it is" mount_pool
read_regions
is "and all is there" "$good" 192
unmount_pool
ok "and it ends in order"
try "with nothing to be found" check_pool
done_testing
