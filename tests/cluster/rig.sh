#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The rig: its nodes are apart, what it cuts is cut and what it heals is healed, and nothing of it stays.
# shellcheck disable=SC1091,SC2154
. "$(dirname "$0")/lib.sh"

python=$(PATH=/usr/bin:$PATH command -v python3) # not somebody's own, which may take long to start
listen() # listen NODE: what comes first, "hello" or "control", is told in $disk/heard
{
    : >"$disk/heard"
    "$rig" run "$1" "$python" -c '
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("", 4000)); s.settimeout(60)
print("ready", flush=True)
print(s.recv(9).decode())' >"$disk/heard" 2>&1 &
    listener=$!
    wait_for 30 grep -q ready "$disk/heard"
}
send_to() # send_to FROM TO WORD COUNT: datagrams until one arrived; FROM that has no way sends some
{
    # shellcheck disable=SC2016 # for the other bash
    "$rig" run "$1" bash -c 'for ((i = 0; i < $3; i++)); do
        printf %s "$2" >"/dev/udp/$1/4000"
        read -rt 0.02 <> <(:)
        ! grep -q o "$4" || break
    done 2>/dev/null' send "$("$rig" address "$2")" "$3" "$4" "$disk/heard"
}
hears() # hears A B: a datagram of A reaches B
{
    listen "$2"
    send_to "$1" "$2" hello 1000
    [[ $(tail -n 1 "$disk/heard") == hello ]] && wait "$listener"
}
deaf() # deaf A B: none does: what B sends to itself afterwards is what comes
{
    listen "$2"
    send_to "$1" "$2" hello 5
    send_to "$2" "$2" control 1000
    [[ $(tail -n 1 "$disk/heard") == control ]] && wait "$listener"
}
token() { jq -r .token "$disk/vvrig.$1/rig.json" 2>/dev/null; }
nobody_has() { ! pgrep -f -- "$1" >/dev/null; } # nobody_has WORD in a command line
no_rig_loops() { ! losetup -nlO BACK-FILE | grep -qF "$disk/vvrig"; }
states() { "$rig" pids "$1" | while read -r pid; do awk '{ print $3 }' "/proc/$pid/stat"; done | sort -u | tr -d '\n'; }

gives_code 2 'which command' "no command" "$rig"
gives_code 0 'usage: rig' "help" "$rig" help
gives_code 1 'there is no rig' "no rig" "$rig" status
gives_code 2 'is a number from 1' "no such number of nodes" "$rig" up 0
try "down without anything" "$rig" down
try "up" "$rig" up 3 --shared-disks 1 --local-disks 1 --disk-size $((16 << 20)) --loops
gives_code 1 'is there already' "up twice" "$rig" up 3
first=$(token test)
is "the rigs are listed" "$("$rig" list)" test
is "each node has its name" "$(for n in n1 n2 n3; do "$rig" run $n hostname; done | tr '\n' ' ')" "n1 n2 n3 "
is "exit codes come through" "$("$rig" run n1 sh -c 'exit 7'; echo $?)" 7
gives_code 2 'no node n9' "no such node" "$rig" run n9 true

# ---- apart
home=$("$rig" path n1)
"$rig" run n1 sh -c 'mkdir m && mount -t tmpfs tmpfs m && echo mine >m/file && echo n1 >/var/lib/vvfs/pools'
seen=$("$rig" run n1 cat m/file; "$rig" run n2 cat "$home/m/file" 2>/dev/null; cat "$home/m/file" 2>/dev/null)
is "mounts are the node's own" "$seen" mine
is "so is what stands in /var/lib/vvfs" "$("$rig" run n2 ls /var/lib/vvfs; ls "$home/lib")" pools
seen=$("$rig" run n2 sh -c 'tail -f /dev/null >/dev/null 2>&1 & ls -d /proc/[0-9]* | wc -l')
is "processes are, too" "$((seen < 8))" 1
"$rig" run n1 sh -c 'echo shared | dd of=dev/s1 oflag=direct conv=sync bs=4096 status=none'
is "a shared disk is one disk" "$("$rig" run n2 dd if=dev/s1 iflag=direct bs=4096 count=1 status=none | head -c 6)" shared
[[ $(readlink "$home/dev/s1") != "$(readlink "$("$rig" path n2)/dev/s1")" ]]
ok "each node has its own way there"
gives_code 1 'unreachable' "there is no way out" "$rig" run n1 "$python" -c 'import socket; socket.create_connection(("192.0.2.1", 9), 9)'

# ---- cut and healed
try "n1 is heard by name" "$rig" run n2 "$python" -c 'import socket; assert socket.gethostbyname("n1") == "'"$("$rig" address n1)"'"'
try "n1 reaches n2" hears n1 n2
"$rig" blackhole n1 n2
try "a black hole: n1 does not reach n2" deaf n1 n2
try "but n2 reaches n1" hears n2 n1
"$rig" heal n1 n2
try "healed" hears n1 n2
"$rig" cut n1,n2 n3
try "a cut: n1 does not reach n3" deaf n1 n3
gives_code 0 'nothing passes to n3' "status says so" "$rig" status
"$rig" heal && "$rig" cut n3
try "a link that is down: n3 reaches nobody" deaf n3 n1
gives_code 0 'link down' "status says so" "$rig" status
"$rig" heal n3
try "and is up again" hears n3 n1

# ---- processes
"$rig" run n1 sh -c 'exec >/dev/null 2>&1; tail -f /dev/null & setsid tail -f /dev/null & (trap "" TERM INT HUP; exec tail -f /dev/null) &'
is "processes run" "$("$rig" pids n1 'tail -f' | wc -l)" 3
"$rig" stop n1
is "all are stopped" "$(states n1)" T
is "those of n2 are not" "$(states n2)" S
"$rig" cont n1
is "all go on" "$(states n1)" S
"$rig" kill n1
is "all are killed" "$("$rig" pids n1)" ""
is "those of n2 are not" "$("$rig" pids n2 'tail -f' | wc -l)" 1
is "n1 can start others" "$("$rig" run n1 echo back)" back

# ---- disks
write_to() { "$rig" run --faults "$1" vvpat write --count 1 "$2"; } # write_to NODE DISK
"$rig" break n1 s1 write
gives_code 3 'Input/output error' "n1's way to the shared disk fails" write_to n1 dev/s1
try "n2's does not" write_to n2 dev/s1
try "nor n1's to its own" write_to n1 dev/d1
"$rig" mend n1
try "mended" write_to n1 dev/s1

# ---- coming and going
is "a node is added" "$("$rig" add)" n4
try "and heard" hears n4 n1
try "a node is removed" "$rig" remove n2
gives_code 2 'no node n2' "and gone" "$rig" run n2 true
is "its number is not used again" "$("$rig" add)" n5
try "another rig beside" "$rig" -n other up 1
[[ $("$rig" address n1) != "$("$rig" -n other address n1)" ]]
ok "has another network"

# ---- nothing stays
second=$(token other)
try "down" "$rig" down
try "down again" "$rig" down
try "the other is still there" "$rig" -n other run n1 true
try "and goes" "$rig" -n other down
try "no process" nobody_has "$first"
try "no process of the other" nobody_has "$second"
try "no loop device" no_rig_loops
is "no file" "$(ls -d "$disk"/vvrig.* 2>/dev/null)" ""
so_far() { [[ $(pgrep -cf -- "$(token test)" 2>/dev/null) -ge $1 ]]; } # so_far COUNT: anchors, or what becomes one
for count in 1 4; do
    start "$rig" up 3 --local-disks 1 --loops --disk-size 4096
    wait_for 60 test -e "$disk/vvrig.test/rig.json" && wait_for 60 so_far $count
    kill -9 $! 2>/dev/null
    wait $! 2>/dev/null
    token=$(token test)
    try "down after a crash of up, $(pgrep -cf -- "$token") processes far" "$rig" down
    try "no process stays" nobody_has "$token"
    no_rig_loops && [[ ! -e $disk/vvrig.test ]]
    ok "no loop device, no file"
done
done_testing
