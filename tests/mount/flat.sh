#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Snapshot, write, remove, rewrite 1,000 times; snapshot, restore, remove, rewrite 100 times; clones of clones: what the pool
# uses, and what it takes on its disk and in its directory, stays flat.
# shellcheck disable=SC1091,SC2154,SC2317
. "$(dirname "$0")/lib.sh"

new_pool "$shm/pool" --size 1G && mount_pool || exit 99
l=$mnt/luns s=$mnt/snapshots
head -c 8M /dev/urandom >"$shm/data"
truncate -s 8M "$l/v"
dd if="$shm/data" of="$l/v" bs=1M conv=notrunc,fsync 2>/dev/null
base=$(space used)
is "8 MiB are used" "$base" $((8 << 20))

letters=(a b c d e f g h i j)
round() # round NUMBER: a snapshot, a write into it in two places, its removal, a rewrite of one of them
{
    local at=$((RANDOM % 2000 * 4096)) c=${letters[$1 % 10]}
    "$calls" "mknod $s/v/s" "open a rw $l/v" "pwrite a $at 20000 $c" "pwrite a 4M 64K $c" "fsync a" "unlink $s/v/s" "pwrite a 4M 64K z"
}
rounds() # rounds FROM TO: how many went wrong
{
    local i bad=0
    for ((i = $1; i < $2; i++)); do
        [[ $(round "$i") == "0 0 20000 65536 0 0 65536 " ]] || bad=$((bad + 1))
    done
    return "$bad"
}
directory() { du -s --block-size=1 --exclude='disk*' "$pool" | cut -f 1; }
backed() { du -s --block-size=1 "$pool"/disk* | cut -f 1; }
flush() { sync "$l/v"; }

rounds 0 100
ok "snapshot, write, remove, rewrite: 100 times"
flush
space_falls "$base"
is "used is what it was" "$(space used)" "$base"
directory=$(directory) backed=$(backed) held=$(space held)
rounds 100 1000
ok "1,000 times"
flush
space_falls "$base"
is "used is what it was" "$(space used)" "$base"
note "directory $directory, then $(directory); on the disk $backed, then $(backed); held $(space held)"
[[ $(directory) -le $((directory + (16 << 20))) ]]
ok "the pool directory does not grow"
# What is granted ahead is a second of what is written, so it is more where that is fast.
[[ $(($(backed) - $(space held))) -le $((backed - held + (8 << 20))) && $(backed) -lt $((80 << 20)) ]]
ok "nor does what is really taken on the disk, but for what is held for who writes"
is "no job is left" "$(get --json job list)" "[]"

# ---- restore
dd if="$shm/data" of="$l/v" bs=1M conv=notrunc,fsync 2>/dev/null
bad=0
for i in $(seq 50); do
    a snapshot create v@s && "$calls" "open a rw $l/v" "pwrite a 1M 1M ${letters[i % 10]}" "fsync a" >/dev/null && closed v &&
        a snapshot restore v@s && a snapshot remove "$(<"$out")" v@s && cmp "$shm/data" "$l/v" || bad=$((bad + 1))
    dd if="$shm/data" of="$l/v" bs=1M count=2 conv=notrunc,fsync 2>/dev/null
    closed v
done
is "snapshot, write, restore, remove both, rewrite: 50 times" "$bad" 0
for i in $(seq 50); do
    a snapshot create v@s && "$calls" "open a rw $l/v" "pwrite a 1M 1M ${letters[i % 10]}" "fsync a" >/dev/null && closed v &&
        a snapshot restore v@s --discard && cmp "$shm/data" "$l/v" && a snapshot remove v@s || bad=$((bad + 1))
    dd if="$shm/data" of="$l/v" bs=1M count=2 conv=notrunc,fsync 2>/dev/null
    closed v
done
is "and with --discard: 50 times" "$bad" 0
space_falls "$base"
is "used is what it was" "$(space used)" "$base"

# ---- refresh, clones of clones
a snapshot create v@r
for i in $(seq 50); do
    "$calls" "open a rw $l/v" "pwrite a 2M 1M ${letters[i % 10]}" >/dev/null
    a snapshot refresh v@r || bad=$((bad + 1))
done
is "refresh: 50 times" "$bad" 0
flush
space_falls "$base"
is "used is what it was" "$(space used)" "$base"
last=v
for i in $(seq 20); do
    a snapshot create "$last@c" && a lun clone "$last@c" "c$i" && "$calls" "open a rw $l/c$i" "pwrite a 3M 4K x" "fsync a" >/dev/null || bad=$((bad + 1))
    last=c$i
done
is "clones of clones: 20 deep" "$bad" 0
space_falls $((base + 20 * 4096))
is "each takes only its block" "$(space used)" $((base + 20 * 4096))
cmp -n 1M "$l/c20" "$l/v"
ok "the last reads what the first holds"
try "removed, the oldest first" a lun remove v --with-snapshots
for i in $(seq 20); do a lun remove "c$i" --with-snapshots || bad=$((bad + 1)); done
is "all of them" "$bad" 0
space_falls 0
is "nothing is used" "$(space used)" 0
held_is() { [[ $(space held) -le $1 ]]; }
wait_for 30 held_is 0
is "nothing is held" "$(space held)" 0
note "on the disk: $(backed)"
[[ $(backed) -lt $((24 << 20)) ]]
ok "and the disk has its space back"
unmount_pool
ok "unmounts"
try "check" check_pool
done_testing
