#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The benchmark itself, never how fast anything is: options it refuses, a tiny run that stores and compares data on each peer, what
# it writes, and that nothing of it is left, at its end and after SIGINT and SIGTERM.
# shellcheck disable=SC1091,SC2154,SC2317
. "$(dirname "$0")/lib.sh"
[[ -z ${VV_SANITIZERS-} ]] || skip_all "what is measured with sanitizers says nothing"
needs fio python3 setpriv
bench=${VV_SRCDIR:-$here/../..}/bench/bench
for program in floor extents growth; do
    [[ -x $build/bench/$program ]] || skip_all "bench/$program is not built"
done
peers=raw,floor1,floor2,vvfs,loop-vvfs
results=$disk/results
mkdir "$results"

runs() # runs ARGUMENT...: $code, $out, $err
{
    timeout 300 "$bench" --bin "$build" --out "$results" --tmpfs "$shm" --disk "$disk" "$@" >"$out" 2>"$err" </dev/null
    code=$?
    return "$code"
}
wrong() # wrong PATTERN ARGUMENT...: exit 2, one clear line, nothing begun
{
    local pattern=$1
    shift
    runs "$@"
    [[ $code -eq 2 && ! -s $out ]] && tail -n 1 "$err" | grep -qE -- "$pattern"
    ok "$*: $pattern"
}
processes() { # that name what the benchmark made
    grep -alE "($shm|$disk)/vvb\." /proc/[0-9]*/cmdline 2>/dev/null | grep -v "/$$/"
}
nothing_left() { [[ -z $(find "$shm" "$disk" -maxdepth 1 -name 'vvb.*')$(loops_below)$(mounts_below)$(processes) ]]; }
here_before=$(ls)
clean() # clean DESCRIPTION
{
    nothing_left && [[ $(ls) == "$here_before" ]]
    ok "$1 leaves no file, mount, loop device or process" || {
        find "$shm" "$disk" -maxdepth 2 -path '*vvb.*' | sed 's/^/# left: /'
        { loops_below && mounts_below && processes; } | sed 's/^/# left: /'
    }
}

# ---- options
try "--list" "$bench" --list
[[ $(grep -cE '^  (r16|w1|seqread|touch-snapshot|loop-r16|sync-own|group|instant|floor1|floor2|vvfs|qemu-qcow2|nbd|xfs) ' "$out") -eq 14 ]]
ok "names the workloads and the peers"
wrong "'0' is not a number from 1 to 1000" --rounds 0
wrong "'1.5' is not a number" --rounds 1.5
wrong "'1001' is not a number from 1 to 1000" --rounds 1001
wrong "'0' is not a number from 0.1 to 3600" --seconds 0
wrong "'nan' is not a number from 0.1 to 3600" --seconds nan
wrong "'15M' is not a size from 16M to 1T" --size 15M
wrong "'2T' is not a size from 16M to 1T" --size 2T
wrong "'17825793' is not a size .* in whole MiB" --size 17825793
wrong "'' is not a size" --size ''
wrong "'0' is not a number from 0.01 to 600" --minutes 0
wrong "'601' is not a number from 0.01 to 600" --minutes 601
wrong "'2T' is not a size from 16M to 1T" --meta-sequential 2T
wrong "'8M' is not a size from 16M to 1T" --meta-random 8M
wrong "not allowed with argument" --short --targets
wrong "no report of a run" --join "$disk/nowhere"
wrong "no 'r17': one or more of r1,r16" --workloads r16,r17
wrong "no 'zfs': one or more of raw,floor1" --peers zfs
wrong "no 'tape': one or more of tmpfs,disk" --media tape
wrong "--disk /nowhere: no such directory" --disk /nowhere
wrong "no vvfs in $disk" --bin "$disk"
wrong "unrecognized arguments" --round 5

# ---- a tiny run, on both media
tiny=(--size 16M --seconds 0.1 --peers "$peers")
try "a tiny run" runs "${tiny[@]}" --rounds 1 --workloads r16,w1,touch-snapshot,loop-r16,sync-own
clean "it"
for medium in tmpfs disk; do
    for peer in ${peers//,/ }; do
        grep -q "^$medium: $peer: 16 MiB written, part of it read back and compared$" "$err"
        ok "$peer on $medium stores what is written" || tell "$err" err
    done
done
json=$results/bench.json
is "each variant of each workload has one round that is not zero" "$(jq -r '[.results[] | select(.workload != "memory") |
    .workload as $w | .variants[] | select((.rounds | length) != 1 or (.rounds | min) <= 0) | $w] | join(" ")' "$json")" ""
is "what ran" "$(jq -r '[.results[] | "\(.medium):\(.workload):\(.variants | length)"] | join(" ")' "$json")" \
    "tmpfs:r16:4 tmpfs:w1:4 tmpfs:touch-snapshot:4 tmpfs:loop-r16:1 disk:r16:4 disk:w1:4 disk:touch-snapshot:4 disk:loop-r16:1 disk:sync-own:4 tmpfs:memory:4 disk:memory:5"
is "every median lies between its rounds" "$(jq '[.results[].variants[] | .median >= .min and .median <= .max] | all' "$json")" true
is "each row says how to repeat it" "$(jq -r '.results[0].repeat' "$json")" \
    "bench/bench --workloads r16 --media tmpfs --rounds 1 --seconds 0.1 --size 16M --peers $peers"
is "machine, kernel, versions, options, commands" \
    "$(jq '[.machine.kernel, .machine.cpus, .date, .versions.fio, .options.rounds, .commands.tmpfs.floor1] | all' "$json")" true
is "writes that are each flushed are" "$(jq '.results[] | select(.workload == "sync-own") | .variants.vvfs.more.syncs_per_write > 0.5' "$json")" true
is "and a target is judged" "$(jq '[.results[] | select(.workload == "w1") | .targets[0] | has("met") and .value > 0] | all' "$json")" true
grep -q '^| vvfs .*p99_us' "$results/tables.md" && grep -q '^## Targets' "$results/tables.md"
ok "and there are tables"
if command -v gnuplot >/dev/null; then
    grep -q '</svg>' "$results/tmpfs-4k.svg" && grep -q '</svg>' "$results/disk-4k.svg"
    ok "and charts"
else
    grep -q 'no charts: gnuplot is not installed' "$err"
    ok "and the reason why there are no charts"
fi

grep -qE 'r16: vvfs >= 1 x floor \| [0-9.]+ x \| (met|\*\*missed\*\*) \| `bench/bench --workloads r16 --media tmpfs ' "$results/tables.md"
ok "each target stands in one section, with what was measured and the command"
# shellcheck disable=SC2016 # Markdown
grep -qE '^\| metadata \| .* \| metadata \| \| not measured \| `bench/bench --targets --workloads metadata` \|' "$results/tables.md"
ok "so does what was not measured"

# ---- below the mount: a slow disk, extents, the map; and only what targets compare
try "a run of extents" runs --targets --media disk --size 16M --seconds 0.1 --rounds 1 --workloads overwritten,takeover
clean "it"
is "requests outlive processes that are killed and exchanged, and the longest is told" "$(jq '.results[] | select(.workload == "takeover") | .variants |
    .killed.skipped != null or (.killed.median > 1 and .upgraded.median > 1 and .killed.more.iops > 10)' "$json")" true
is "extents are read raw, in small parts, and one LUN is repacked" "$(jq '.results[] | select(.workload == "overwritten") | .variants |
    .["extents raw"].median > 0 and .["extents raw"].more.kib_a_read < 64 and .scattered.median > 0 and .repacked.more.repack_s > 0' "$json")" true
cp -r "$results" "$disk/part"
try "a run of the others" runs --targets --media tmpfs --size 16M --seconds 0.2 --rounds 2 --workloads slow-disk,metadata,r1,recovery \
    --meta-sequential 64M --meta-random 16M
clean "it"
is "a disk is slow, and b is written on it all the while" "$(jq '[.results[] | select(.workload == "slow-disk") | .variants |
    (.["own beside"].more.slow_iops, .["new beside"].more.slow_iops) | . > 0 and . < 400] | all' "$json")" true
is "each region has an extent, or one for each of its blocks" "$(jq -c '[.results[] | select(.workload == "metadata") | .variants |
    .sequential.more.extents_a_region, .["random 4 KiB"].more.extents_a_region]' "$json")" "[1,256]"
is "and the map takes more for these" "$(jq '.results[] | select(.workload == "metadata") | .variants |
    .sequential.median > 0 and .["random 4 KiB"].median > .sequential.median' "$json")" true
is "what is compared and nothing else" "$(jq -c '[.results[] | select(.workload == "r1") | .variants | keys[]]' "$json")" '["floor1","floor2","vvfs"]'
is "their targets are judged" "$(jq -c '[.results[] | select(.workload != "memory") | .targets | length]' "$json")" "[1,2,2,2]"
try "two runs are joined" runs --join "$disk/part" "$results"
is "to one report" "$(jq -r '[.results[] | "\(.medium):\(.workload)"] | join(" ")' "$json")" \
    "disk:takeover disk:overwritten disk:memory tmpfs:r1 tmpfs:recovery tmpfs:slow-disk tmpfs:metadata tmpfs:memory"
grep -qF 'r1: vvfs >= 0.95 x floor' "$results/tables.md" && grep -qF 'slow-disk: own beside' "$results/tables.md"
ok "with the targets of both"

# ---- extents: what is no list, no pool, no number
extents=$build/bench/extents
refused "no pool" "$extents" map "$disk/nowhere" lun
echo "0 4096 1048577 $disk/nowhere" >"$disk/list"
refused "an offset that is none" "$extents" read "$disk/list" 4 1
is "is told" "$(cat "$err")" "extents: not a line of extents map: 0 4096 1048577 $disk/nowhere"
refused "a depth out of range" "$extents" read "$disk/list" 65 1
is "is told" "$(cat "$err")" "extents: a depth from 1 to 64, and at most 3600 seconds"
for arguments in "-d 0" "-d 10001" "-w 65" "-d 5x"; do
    # shellcheck disable=SC2086 # two words
    refused "floor $arguments" "$build/bench/floor" $arguments "$disk/list" "$disk/list"
done
refused "a size that is none" "$build/bench/growth" 17825793 random "$disk/growth"

# ---- what cannot run
qemu=$(command -v qemu-storage-daemon)
if [[ -z $qemu ]] || { [[ ${VV_MOUNT_INSIDE-} == 1 ]] && mount --bind /dev/null "$qemu"; }; then
    try "a peer that is not installed is no failure" runs --media tmpfs --size 16M --seconds 0.1 --rounds 1 --workloads r1 --peers raw,qemu-raw
    is "and its reason is told" "$(jq -r '.results[0].variants["qemu-raw"].skipped' "$json")" \
        "qemu-storage-daemon is not installed (scripts/install-deps --bench)"
    [[ -z $qemu ]] || umount "$qemu"
else
    pass_over "a peer that is not installed" "it is, and no mount namespace hides it"
fi
mkdir "$disk/small"
if mount -t tmpfs -o size=64M none "$disk/small" 2>/dev/null; then
    try "a medium that is too small is no failure" runs --tmpfs "$disk/small" --media tmpfs --workloads r1 --peers raw --size 16M
    grep -qE 'skipped: [0-9]+ MiB are free and [0-9]+ needed' "$err"
    ok "and that is told"
    umount "$disk/small"
else
    pass_over "a medium that is too small" "no tmpfs can be mounted"
fi
mkdir "$disk/ram"
if mount -t ramfs none "$disk/ram" 2>/dev/null; then
    try "a disk without O_DIRECT is no failure" runs --disk "$disk/ram" --media disk --workloads r1 --peers raw --size 16M
    grep -qE '^disk: skipped: .*: no O_DIRECT there' "$err"
    ok "and that is told"
    umount "$disk/ram"
else
    pass_over "a disk without O_DIRECT" "no ramfs can be mounted"
fi

# ---- others' mounts
truncate -s 64M "$disk/theirs.img"
mkdir "$disk/theirs"
device=$(losetup -f --show "$disk/theirs.img") && make_fs ext4 "$device" && mount "$device" "$disk/theirs"
ok "somebody has a file system on a loop device"
: >"$disk/.started"
start "$bench" --bin "$build" --out "$results" --tmpfs "$shm" --media tmpfs --size 16M --seconds 3600 --peers raw --workloads r16
running=$!
wait_for 60 grep -q 'raw: 16 MiB written' "$disk/.started"
ok "a run is under way" || tell "$disk/.started" started
is_free() { [[ $(losetup -nO BACK-FILE "$device" 2>/dev/null) != "$disk"/* ]]; }
umount "$disk/theirs" && losetup -d "$device" && wait_for 10 is_free && ! gone "$running"
ok "it does not keep that busy"
kill -INT "$running"
ended "$running" 120
rmdir "$disk/theirs" && rm "$disk/theirs.img"

# ---- in the middle
for signal in INT TERM; do
    : >"$disk/.started"
    start "$bench" --bin "$build" --out "$results" --tmpfs "$shm" --media tmpfs --size 16M --seconds 3600 --peers vvfs,loop-vvfs --workloads loop-r16
    running=$!
    wait_for 60 grep -q 'loop-vvfs: 16 MiB written' "$disk/.started"
    ok "a run is under way" || tell "$disk/.started" started
    kill "-$signal" "$running"
    ended "$running" 120
    is "SIG$signal ends it with 130" "$code" 130
    clean "SIG$signal"
    is "what was measured before is written" "$(jq .interrupted "$json")" true
done
: >"$disk/.started"
start "$bench" --bin "$build" --out "$results" --tmpfs "$shm" --media tmpfs --size 16M --seconds 3600 --peers vvfs --workloads slow-disk
running=$!
slow_floor() { processes | grep -q . && pgrep -f "$shm/vvb.*slow-disk/slow" >/dev/null; }
wait_for 60 slow_floor
ok "a run has a slow disk" || tell "$disk/.started" started
kill -INT "$running"
ended "$running" 120
is "SIGINT ends it with 130" "$code" 130
clean "SIGINT beside a slow disk"
done_testing
