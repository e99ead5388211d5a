#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# 64 clones of clones, written here and there at each level: every one reads what it should, from memory and after a restart, while
# clones in the middle and the first of all go away below the last, and while others write and take snapshots.
# shellcheck disable=SC1091,SC2154,SC2317
. "$(dirname "$0")/lib.sh"

new_pool "$shm/pool" --size 2G && mount_pool || exit 99
l=$mnt/luns
size=128 # MiB, so regions
head -c "${size}M" /dev/urandom >"$shm/now"
truncate -s "${size}M" "$l/c0"
dd if="$shm/now" of="$l/c0" bs=1M conv=notrunc,fsync 2>/dev/null

letters=(a b c d e f g h i j k l m)
write() # write LUN NUMBER: in three regions, and the same in what it should read
{
    local c=${letters[$2 % 13]} at bad=0
    for at in $(($2 * 7 % size)) $(($2 * 13 % size)) $(($2 * $2 % size)); do
        at=$((at * 256 + $2 * 5 % 256))
        "$calls" "open a rw $l/$1" "open b rw $shm/now" "pwrite a $((at * 4096)) 4096 $c" "pwrite b $((at * 4096)) 4096 $c" "fsync a" \
            >/dev/null || bad=1
    done
    return "$bad"
}
wrong=0
cp "$shm/now" "$shm/at0"
for i in $(seq 64); do
    a snapshot create "c$((i - 1))@s" && a lun clone "c$((i - 1))@s" "c$i" && write "c$i" "$i" || wrong=$((wrong + 1))
    case $i in 1 | 20 | 40 | 63) cp "$shm/now" "$shm/at$i" ;; esac
done
cp "$shm/now" "$shm/at64"
is "64 clones of clones" "$wrong" 0
is "65 LUNs" "$(get lun list -H -o name | wc -l)" 65

reads_right() # reads_right DESCRIPTION LEVEL...: from the last to the first, by all its blocks
{
    local description=$1 i bad=''
    shift
    for i; do
        cmp "$shm/at$i" "$l/c$i" >"$out" 2>"$err" || bad+=" c$i"
        [[ ! -e $mnt/snapshots/c$i/s ]] || cmp "$shm/at$i" "$mnt/snapshots/c$i/s" >"$out" 2>"$err" || bad+=" c$i@s"
    done
    is "$description" "$bad" ""
}
reads_right "each reads what was written before it was cloned, and its own" 64 63 40 20 1 0
unmount_pool && mount_pool
ok "a restart"
reads_right "after it too" 64 63 40 20 1 0

# ---- what goes below
a lun remove c10 c11 c12 c30 c0 --with-snapshots && settled
ok "clones in the middle and the first go, and their pages move"
reads_right "the others read as before" 64 63 40 20 1

# ---- beside others
busy() # others write, clone and go, above and below the middle
{
    local i
    for i in $(seq 30); do
        a snapshot create "c40@t$i" && a lun clone "c40@t$i" d && "$calls" "open a rw $l/d" "pwrite a $((i % size))M 4096 z" "fsync a" >/dev/null &&
            closed d && a lun remove d && a snapshot remove "c40@t$i" || return 1
    done
}
busy &
worker=$!
bad=0
while ! gone "$worker"; do
    cmp "$shm/at64" "$l/c64" >/dev/null 2>&1 && cmp "$shm/at40" "$l/c40" >/dev/null 2>&1 || bad=$((bad + 1))
done
wait "$worker"
ok "another writes clones of the middle, and removes them"
is "nobody else sees it" "$bad" 0
settled
reads_right "nor afterwards" 64 63 40 20 1
write c64 99 && cp "$shm/now" "$shm/at64"
reads_right "the last is written again" 64 63
unmount_pool
ok "unmounts"
try "check" check_pool
done_testing
