#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# One node of a rig serves a pool, and the oracles look at it under load: blocks are linearizable, snapshots of several LUNs hold causal
# prefixes, and what was flushed outlives a node that is killed with all its processes.
# shellcheck disable=SC1091,SC2154
. "$(dirname "$0")/lib.sh"

home=
tool_in() { "$rig" run n1 vvfs-admin -p ./pool "$@"; }
answers() { tool_in pool status >/dev/null 2>&1 && "$rig" run n1 stat -f mnt >/dev/null 2>&1; }
serve() # serve: in n1, until it answers
{
    start "$rig" run n1 vvfs -f ./pool mnt
    wait_for 60 answers
}
in_node() { "$rig" run n1 "$@"; }

try "up" "$rig" up 1 --local-disks 1 --disk-size $((1 << 30))
home=$("$rig" path n1)
try "a pool in a node" in_node sh -c 'mkdir mnt && vvfs-admin pool create ./pool --disk dev/d1'
try "is mounted there" serve || exit 1
is "and nowhere else" "$(ls "$home/mnt")" ""
try "LUNs" tool_in lun create mixed 1M
for name in a b c kept; do tool_in lun create $name 4M; done >"$out" 2>"$err"

# ---- linearizable: two processes, blocks and sectors, while snapshots are taken and the server is exchanged
mix() # mix NODE OPTION...
{
    in_node vvpat mix --size 65536 --depth 2 --count 600 --seed "$1" --node "$1" --log "mix.$1" "${@:2}" mnt/luns/mixed
}
mix 1 >"$disk/mix.1" 2>&1 &
first=$!
mix 2 --reads 70 >"$disk/mix.2" 2>&1 &
second=$!
server_in() { "$rig" pids n1 'vvfs --serve' | head -n 1; } # as the machine counts
try "a snapshot meanwhile" tool_in snapshot create mixed@1
kill -9 "$(server_in)"
wait $first && wait $second
ok "two processes mix, though who serves is killed"
gives_code 0 ' 0 not linearizable' "the blocks are linearizable" "$linear" "$home/mix.1" "$home/mix.2"
in_node vvpat mix --size 4096 --offset 65536 --bs 512 --depth 2 --count 300 --node 1 --log mix.3 mnt/luns/mixed >"$out" 2>"$err" &
in_node vvpat mix --size 4096 --offset 65536 --bs 1024 --depth 2 --count 300 --node 2 --log mix.4 mnt/luns/mixed >"$disk/mix.4" 2>&1
wait $!
ok "parts of blocks"
gives_code 0 ' 0 not linearizable' "they are linearizable, too" "$linear" "$home/mix.3" "$home/mix.4"

# ---- causal: each snapshot of the three LUNs is one instant
in_node vvpat pingpong --local 3 --slots 16 --count 1000000 --seconds 2 --log balls mnt/luns/a mnt/luns/b mnt/luns/c >"$disk/play" 2>&1 &
player=$!
taken=0
while kill -0 $player 2>/dev/null && [[ $taken -lt 8 ]]; do
    taken=$((taken + 1))
    since=$("$vvpat" now)
    tool_in snapshot create "a@$taken" "b@$taken" "c@$taken" >"$out" 2>"$err" || break
    echo "$since $("$vvpat" now)" >"$disk/taken.$taken"
done
wait $player
ok "three processes play"
for ((i = 1; i <= taken; i++)); do
    read -r since until <"$disk/taken.$i"
    in_node vvpat causal --log balls --since "$since" --until "$until" mnt/snapshots/{a,b,c}/"$i" || break
done >"$out" 2>"$err"
[[ $i -gt $taken && $taken -gt 0 ]]
ok "each of the snapshots of three LUNs is a causal prefix"
note "$taken snapshots: $(sed 's/number \([0-9]*\).*/\1/' "$out" | tr '\n' ' ')"
gives_code 1 'is missing' "snapshots of different times are none" \
    in_node vvpat causal mnt/snapshots/a/1 "mnt/snapshots/b/$taken" "mnt/snapshots/c/$taken"

# ---- killed with all its processes, I/O in the kernel, and started again
in_node vvpat write --depth 8 --bs 4096-65536 --count 1000000 --flush 8 --log writes mnt/luns/kept >"$disk/write" 2>&1 &
writer=$!
some_writes() { [[ $(stat -c %b "$home/writes" 2>/dev/null || echo 0) -gt 40 ]]; } # of 512 bytes: some hundred operations
wait_for 30 some_writes
try "the node is killed" "$rig" kill n1
wait $writer
is "nothing runs there" "$("$rig" pids n1)" ""
try "the pool is whole" in_node vvfs-admin pool check ./pool
try "it is mounted again" serve
gives_code 0 '[1-9][0-9]* stamped sectors, 0 wrong' "what was flushed is there" in_node vvpat verify --flushed --log writes mnt/luns/kept
try "down, with all that it serves" "$rig" down
done_testing
