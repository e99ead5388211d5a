#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Many objects and large ones: 1,000 LUNs with 10,000 snapshots, and a LUN of 1 TiB. Memory and what is taken on the disk are
# tested; times are told, and tested against generous limits only, because machines and builds differ.
# shellcheck disable=SC1091,SC2154,SC2317,SC2046,SC2017
. "$(dirname "$0")/lib.sh"
slow=10 # how many times what is asked a run may take

elapsed() # elapsed DESCRIPTION MILLISECONDS COMMAND...: took less than ten times that
{
    local description=$1 limit_ms=$2 begin=${EPOCHREALTIME/./} took_ms
    shift 2
    "$@" >"$out" 2>"$err"
    code=$?
    took_ms=$(((${EPOCHREALTIME/./} - begin) / 1000))
    note "$description: $took_ms ms (asked: $limit_ms)"
    [[ $code -eq 0 && $took_ms -lt $((limit_ms * slow)) ]]
    ok "$description"
}

# ---- large
new_pool "$disk/pool" && mount_pool || exit 99
l=$mnt/luns s=$mnt/snapshots
elapsed "a LUN of 1 TiB in a default pool" 1000 a lun create big 1T
"$calls" "open a rw $l/big" "pwrite a 1000G 4096 x" "pwrite a 0 4096 y" "fsync a" >/dev/null
elapsed "a snapshot of it" 1000 a snapshot create big@s
elapsed "a clone" 1000 a lun clone big@s clone
is "what is read of it" "$("$calls" "open a r $l/clone" "pread a 1000G 4096" "seek a data 1M" "seek a hole 1000G")" "0 4096:x 1073741824000 1073741828096 "
elapsed "a discard of all of it" 2000 fallocate -p -o 0 -l 1T "$l/clone"
elapsed "a restore" 1000 a snapshot restore big@s
elapsed "a diff" 1000 a snapshot diff big@s
elapsed "removing all" 1000 a lun remove big clone --with-snapshots
space_falls 0
is "space comes back" "$(space used)" 0
a lun create big 1T
unmount_pool
real=$(du -s --block-size=1 "$pool" | cut -f 1)
note "the default pool holding an empty LUN of 1 TiB takes $real bytes"
[[ $real -lt $((100 << 20)) ]]
ok "less than 100 MiB of real disk"
try "check" check_pool
rm -rf "$pool"

# ---- many
new_pool "$shm/pool" --size 4G && mount_pool || exit 99
(cd "$l" && eval truncate -s 1G 'n{000..999}')
is "1,000 LUNs" "$(find "$l" -type f | wc -l)" 1000
for i in 0 1 2 3 4 5 6 7 8 9; do
    printf "n%03d@s$i\n" $(seq 0 999) | xargs "$tool" -p "$pool" snapshot create >"$out" 2>"$err" || break
    for n in 000 111 222 333 444 555 666 777 888 999; do "$calls" "open a rw $l/n$n" "pwrite a ${i}M 8192 $i" "fsync a" >/dev/null; done
done
is "10,000 snapshots" "$(get snapshot list -H -o object | wc -l)" 10000
is "LUNs are as written" "$("$calls" "open a r $l/n555" "pread a 3M 8192" "open b r $s/n555/s3" "pread b 2M 8192" "pread b 3M 4096")" "0 8192:3 0 8192:2 4096:0 "
unmount_pool
elapsed "mounting it" 2000 mount_pool
elapsed "ls -l of the LUNs" 1000 ls -l "$l"
is "shows them all" "$(wc -l <"$out")" 1001
elapsed "ls -l of all snapshots" 2000 ls -lR "$s"
elapsed "lun list" 2000 get lun list
elapsed "snapshot list" 2000 get snapshot list
elapsed "pool status" 1000 get pool status
elapsed "a snapshot more" 1000 touch "$s/n500/more"
find "$s" -type f -print0 | xargs -0 -P 2 -n 500 head -qc 4096 >/dev/null
dd if=/dev/urandom of="$l/n001" bs=1M count=256 conv=notrunc,fsync 2>/dev/null
memory=$(rss_bytes "$(server)")
note "anonymous and locked memory: $memory bytes"
if [[ -n ${VV_SANITIZERS-} ]]; then
    pass_over "memory is less than 128 MiB" "sanitizers take their own"
else
    [[ $memory -lt $((128 << 20)) ]]
    ok "memory is less than 128 MiB" || grep -E '^(RssAnon|VmLck|VmRSS|Threads)' "/proc/$(server)/status" | sed 's/^/# /'
fi
elapsed "check of it, mounted" 5000 a pool check
elapsed "removing 1,000 snapshots" 2000 sh -c "printf 'n%03d@s5\n' \$(seq 0 999) | xargs '$tool' -p '$pool' snapshot remove --yes"
gives 1 '4096' "more than 4096 objects at once are refused" snapshot remove $(for i in 0 1 2 3 4; do printf "n%03d@s$i " $(seq 0 999); done) --yes
is "and nothing is removed" "$(get snapshot list -H -o object | wc -l)" 9001
elapsed "removing 999 LUNs with all of theirs" 5000 sh -c "printf 'n%03d\n' \$(seq 0 998) | xargs '$tool' -p '$pool' lun remove --with-snapshots"
is "leaves one" "$(get lun list -H -o name)" n999
unmount_pool
ok "unmounts"
try "check" check_pool
done_testing
