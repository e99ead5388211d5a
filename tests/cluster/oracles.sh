#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The oracles on plain files: what is good passes, and each kind of damage is found.
# shellcheck disable=SC1091,SC2154
. "$(dirname "$0")/lib.sh"
cd "$disk" || exit 99
from_sector() # from_sector FROM TO ITS-SECTOR SECTOR
{
    dd if="$1" of="$2" bs=512 skip="$3" seek="$4" count=1 conv=notrunc status=none
}
now() { "$vvpat" now; }
made() # made NAME...: files of 1 MiB
{
    local name
    for name; do
        rm -f "$name"
        truncate -s 1M "$name"
    done
}

# ---- write and verify
made a b
write=("$vvpat" write --depth 4 --bs 4096-16384 --seed 3)
try "writes" "${write[@]}" --count 200 --log log a b
try "what was written verifies" "$vvpat" verify --log log a b
first=$(now)
cp a a.old
gives_code 3 'is no log' "a file that is no log" "$vvpat" verify --log a a
gives_code 2 'usage' "no such mode" "$vvpat" play a
gives_code 2 'number from' "nonsense is no number" "$vvpat" write --count 1k a
try "more writes, flushed now and then" "${write[@]}" --count 400 --flush 16 --log log a b
try "verifies" "$vvpat" verify --log log a b
last=$(now)
gives_code 1 'an older write .*must be there' "an older image is found" "$vvpat" verify --log log a.old
try "an older image is as good as it was at its time" "$vvpat" verify --since "$first" --log log a.old
gives_code 1 'what was written later' "a newer image than can be is found" "$vvpat" verify --until "$first" --log log a
try "and this one can be" "$vvpat" verify --until "$last" --log log a

damaged() # damaged PATTERN DESCRIPTION COMMAND...: a copy of `a` is given to the command, which changes sector 0
{
    cp a x
    "${@:3}"
    gives_code 1 "$1" "$2" "$vvpat" verify --log log x
}
written_in() # written_in FILE SECTOR: is there anything?
{
    ! dd if="$1" bs=512 skip="$2" count=1 status=none | cmp -s -n 512 - /dev/zero
}
at=0
while ! { written_in a $at && written_in b $at && written_in a $((at + 800)); }; do at=$((at + 1)); done
zero() { dd if=/dev/zero of=x bs=512 seek=$at count=1 conv=notrunc status=none; }
damaged "sector $at: zeros" "a lost write" zero
damaged "sector $at: data of another address" "a sector that is elsewhere" from_sector a x $((at + 800)) $at
damaged "sector $at: another LUN's data" "another LUN's sector" from_sector b x $at $at
flip() { printf '\377' | dd of=x bs=1 seek=$((at * 512 + 300)) conv=notrunc status=none; }
damaged "sector $at: a damaged stamp" "a flipped byte" flip
noise() { printf 'not a stamp at all' | dd of=x bs=1 seek=$((at * 512)) conv=notrunc status=none; }
damaged "sector $at: neither zeros nor a stamp" "something else" noise
cp a c
"${write[@]}" --node 2 --count 2000 --log other c
damaged 'what no log tells of' "a write that no log tells of" from_sector c x $at $at

# Only what was flushed need be there after a crash; what was is not forgotten.
made d
try "writes and flushes" "$vvpat" write --count 64 --flush 64 --log flushed d
cp d d.flushed
try "writes and does not" "$vvpat" write --count 500 --seed 9 --log flushed d
try "without what was not flushed" "$vvpat" verify --flushed --log flushed d.flushed
try "with it" "$vvpat" verify --flushed --log flushed d
gives_code 1 'an older write|zeros' "nothing is flushed without being asked" "$vvpat" verify --log flushed d.flushed
made d.empty
gives_code 1 'zeros.*flushed' "what was flushed is missing" "$vvpat" verify --flushed --log flushed d.empty

# ---- ping-pong and causal prefixes
made p q r
ball=("$vvpat" pingpong --slots 8 --log balls)
try "three processes play" "${ball[@]}" --local 3 --count 100 p q r
gives_code 0 'number 100 is the last, 0 wrong' "all is there" "$vvpat" causal --whole --log balls p q r
for name in p q r; do cp $name $name.1; done
middle=$(now)
try "they go on" "${ball[@]}" --local 3 --from 101 --count 111 p q r
gives_code 0 'number 111 is the last' "all is there again" "$vvpat" causal --log balls p q r
try "an earlier image, at its time" "$vvpat" causal --log balls --since "$middle" p.1 q.1 r.1
gives_code 1 'was acknowledged before' "an image that lacks what was acknowledged" "$vvpat" causal --log balls p.1 q.1 r.1
gives_code 1 'begun later' "an image with what began later" "$vvpat" causal --log balls --until "$middle" p q r
gives_code 1 'number [0-9]+ is missing, [0-9]+ is there, though number 11. ' "images of different times" "$vvpat" causal p.1 q r
gives_code 1 'another LUN' "files in another order" "$vvpat" causal q p r
# 110 is number 110 / 3 % 8 = 4 of file 110 % 3 = 2: a sector of its slot as it was before.
cp r r.torn && from_sector r.1 r.torn 35 35
gives_code 1 'number 110 is missing, 86 in part' "what is there in part is not there" "$vvpat" causal p q r.torn
# 111 is the last: 111 / 3 % 8 = 5 of file 0.
cp p p.torn && from_sector p.1 p.torn 43 43
try "the last may be there in part" "$vvpat" causal p.torn q r
gives_code 1 'number 111 is missing' "unless it must be whole" "$vvpat" causal --whole p.torn q r
made s t u
try "nothing is a prefix" "$vvpat" causal s t u
port=$((20000 + $$ % 20000))
two() # two FILE FILE: two processes over TCP, each with its own file; the worse exit code
{
    local ring=127.0.0.1:$port,127.0.0.1:$((port + 1)) first
    "$vvpat" pingpong --ring "$ring" --index 0 --count 50 "$1" &
    first=$!
    "$vvpat" pingpong --ring "$ring" --index 1 --count 50 "$2"
    code=$?
    wait $first || code=$?
    return $code
}
made v w w.other
try "two processes over TCP" two v v
gives_code 1 'stale: number [0-9]+ was acknowledged, and there is never written' "what was acknowledged is not seen" two w w.other

# ---- linear
try "a history of nothing" "$linear" --text -
history() # history CODE PATTERN DESCRIPTION LINE...
{
    printf '%s\n' "${@:4}" >text
    gives_code "$1" "$2" "$3" "$linear" --text text
}
history 0 '3 operations on 2 registers, 0 not' "a good history" 'w 1 7 1 2' 'r 1 7 3 4 # seen' '' 'r 2 0 1 9'
history 1 'read +0 .* cannot be' "a stale read" 'w 1 7 1 2' 'r 1 0 3 4'
history 1 '1 not linearizable' "a lost write" 'w 1 1 1 2' 'w 1 2 3 4' 'r 1 1 5 6'
history 1 '1 not linearizable' "a write that comes again" 'w 1 1 1 ?' 'r 1 1 2 3' 'w 1 2 4 5' 'r 1 2 6 7' 'r 1 1 8 9'
history 0 '0 not' "a write that nobody answered comes late" 'w 1 1 1 ?' 'w 1 2 3 4' 'r 1 2 5 6' 'r 1 1 7 8'
history 3 'line 1 is no operation' "no history" 'x 1 2 3 4'
made m n o
mix=("$vvpat" mix --size 32768 --count 1500 --depth 3)
"${mix[@]}" --node 1 --log mix.1 m &
try "two processes mix" "${mix[@]}" --node 2 --log mix.2 m
wait $! && gives_code 0 'operations on [0-9]+ registers, 0 not linearizable' "a file is linearizable" "$linear" mix.1 mix.2
try "one alone" "${mix[@]}" --node 1 --log apart.1 n
try "another with a file of its own" "${mix[@]}" --node 2 --log apart.2 o
gives_code 1 'not linearizable' "two files that pretend to be one are not" "$linear" apart.1 apart.2
done_testing
