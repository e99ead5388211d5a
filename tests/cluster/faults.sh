#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# VVFS_FAULT: at each point that one node passes, the daemon and who holds its mount are killed under load; the pool is whole
# afterwards, and what was flushed is there. Killed alone at several points, it is followed by another process, and nothing is lost.
# VV_FAULT_ROUNDS: how often each point (0: a sample of SAMPLE once); VV_FAULT_SEED: which, and at which of their passes;
# VV_FAULT_POINTS: these instead of all.
# shellcheck disable=SC1091,SC2034,SC2086,SC2154 # for lib.sh, from there; lists of words
. "$(dirname "$0")/lib.sh"
RANDOM=${VV_FAULT_SEED:-$((SECONDS + $$ % 32768))}
seed=$RANDOM
RANDOM=$seed
note "VV_FAULT_SEED=$seed"
vvfs=$faulty_vvfs
SAMPLE=7
faults=$disk/faults
new_faults() # new_faults RULES: of the next daemon
{
    rm -f "$faults"
    mount_with=(env "VVFS_FAULT=$1" "VVFS_FAULT_LOG=$faults")
}
come() { grep -q " $1 " "$faults" 2>/dev/null; } # come POINT: has it been?

# ---- words
for word in nowhere:kill synced synced:burn synced:sleep synced:kill=3 'synced#x:kill' synced:sleep=x; do
    gives_code 2 'VVFS_FAULT: ' "$word is refused" env VVFS_FAULT="$word" "$vvfs" --version
done
gives_code 0 '^vvfs' "all that can be said" \
    env VVFS_FAULT='synced#3:kill,logged:crash,opened:stop,adopted#*:sleep=3,dropped:exit=7' "$vvfs" --version
gives_code 0 '^vvfs' "the daemon that is installed does not look" env VVFS_FAULT=nowhere:kill "$build/vvfs" --version

# ---- points
in_write='data-written in-record record-put published logged synced applied dropped journal-appended journal-written journal-synced'
at_end='checkpoint-written checkpoint-committed checkpoint-released'
in_snapshot='snapshot-closed snapshot-switched snapshot-entered'
in_label='label-first label-written'
in_takeover='announced opened adopted'
# one node alone does not come by: nemesis.py, at_point
of_cluster='vote-first vote-written raft-put raft-stored renewal-heard session-asked proposal-heard committed object-taken object-done answer-heard'
is "each point that there is has its test, or is the cluster's" \
    "$(VVFS_FAULT=help "$vvfs" | sort | tr '\n' ' ')" \
    "$(printf '%s\n' $in_write $at_end $in_snapshot $in_label $in_takeover $of_cluster | sort | tr '\n' ' ')"

new_pool "$shm/pool" --size 1G || exit 99
number=0
writer=''
load() # load COUNT: writes and flushes to a new LUN, in the background
{
    number=$((number + 1))
    a lun create "l$number" 8M
    start "$vvpat" write --lun "$number" --depth 4 --bs 4096-32768 --count "$1" --flush 8 --seed "$((RANDOM + 1))" \
        --log "$disk/log.$number" "$mnt/luns/l$number"
    writer=$!
}
verified() # verified NUMBER [OPTION]
{
    "$vvpat" verify --lun "$1" "${@:2}" --log "$disk/log.$1" "$mnt/luns/l$1"
}
some_flushes_or_dead() # a hundred operations or two are in the log
{
    gone "$daemon" || [[ $(stat -c %b "$disk/log.$number" 2>/dev/null || echo 0) -gt 24 ]]
}
provoke() # provoke POINT: beside the load, what leads there
{
    case " $1 " in
    *" snapshot-"*) a snapshot create "l$number@s" ;;
    *" label-"*)
        truncate -s 32M "$shm/disk.$number"
        a disk add "$shm/disk.$number"
        ;;
    *" checkpoint-"*)
        ended "$writer" 60 # there is enough in the journal
        timeout 60 umount "$mnt"
        ;;
    esac
    return 0
}
verified_all() # what was flushed in all rounds is there
{
    local i
    for ((i = 1; i <= number; i++)); do
        [[ ! -e $disk/log.$i ]] || verified $i --flushed || return
    done
}
round() # round POINT: the next mount shows what it left behind
{
    local rule="$1#1:crash" count=100000
    case " $in_write " in *" $1 "*) rule="$1#$((RANDOM % 40 + 20)):crash" ;; esac
    case " $in_takeover " in *" $1 "*) rule="published#$((RANDOM % 40 + 20)):kill,$1#1:crash" ;; esac
    case " $at_end " in *" $1 "*) count=300 ;; esac
    case " $in_label " in *" $1 "*) rule="$1#2:crash" ;; esac
    new_faults "$rule"
    if mount_pool; then # a label is written at the start, too
        load $count
        wait_for 30 some_flushes_or_dead
        provoke "$1"
        ended "$writer" 60
    fi
    ended "$daemon" 60
    wait_for 60 gone "$(awk '{ pid = $4 } END { print pid }' "$faults")" # who served is not our child
    umount -l "$mnt" 2>/dev/null
    come "$1"
    ok "$1: killed there" || return
    try "$1: the pool is whole" check_pool
}
points=${VV_FAULT_POINTS:-$in_write $at_end $in_snapshot $in_label $in_takeover}
if [[ ${VV_FAULT_ROUNDS:-0} -eq 0 && -z ${VV_FAULT_POINTS-} ]]; then
    points=$(for point in $points; do echo "$RANDOM $point"; done | sort -n | head -n $SAMPLE | cut -d' ' -f2)
fi
for ((i = 0; i < ${VV_FAULT_ROUNDS:-0} || i == 0; i++)); do
    for point in $points; do
        round "$point" || break 2
    done
done

# ---- killed alone: another process takes over, and nobody notices
alone() # alone RULES: of that many deaths
{
    local i deaths
    deaths=$(tr , '\n' <<<"$1" | wc -l)
    new_faults "$1"
    mount_pool && load 2000
    for ((i = 0; i < 3 || (i < 30 && $(wc -l <"$faults") < deaths); i++)); do
        wait_for 60 serves
        a snapshot create "l$number@$i" # who asks while somebody dies is told so
    done
    ended "$writer" 120
    is "$1: who writes does not notice" "$code" 0
    is "$1: it came" "$(wc -l <"$faults")" "$deaths"
    try "$1: all that was acknowledged is there" verified "$number"
    ((failures == 0)) || {
        tell "$faults" fault
        tell "$disk/.started" writer
        get events >"$out"
        tell "$out" event
    }
}
alone "published#$((RANDOM % 20 + 40)):kill"
unmount_pool
ok "unmounts"
alone snapshot-switched#1:kill
if [[ ${VV_FAULT_ROUNDS:-0} -gt 0 ]]; then
    unmount_pool
    alone "published#50:kill,synced#50:kill,journal-written#50:kill,applied#20:kill,snapshot-switched#2:kill"
fi
try "all that was flushed in all those rounds is there" verified_all
unmount_pool
ok "unmounts"
try "check" check_pool
done_testing
