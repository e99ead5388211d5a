#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Everything at once: writers whose data is checked, and beside them LUNs, snapshots, clones and copies that come, go, and change
# their names; then the same with the daemon killed in the middle of it. Nothing is lost, nothing is left over.
# shellcheck disable=SC1091,SC2154,SC2317
. "$(dirname "$0")/lib.sh"
writer=$build/tests/mount/crash-writer

new_pool "$shm/pool" --size 2G && mount_pool || exit 99
l=$mnt/luns s=$mnt/snapshots
head -c 3M /dev/urandom >"$shm/data"

# One of them: random changes until $shm/stop appears. What goes wrong because another was faster is no failure.
change_things() # change_things NUMBER
{
    local n=$1 i=0 name
    RANDOM=$((n + 17))
    while [[ ! -e $shm/stop ]]; do
        i=$((i + 1))
        name=$n-$((RANDOM % 5))
        case $((RANDOM % 16)) in
        0) truncate -s $((RANDOM % 64 + 1))M "$l/$name" ;;
        1) cp "$shm/data" "$l/$name" ;;
        2) cp "$l/v$((RANDOM % 2))" "$l/$name" ;;
        3) touch "$s/v$((RANDOM % 2))/$name" ;;
        4) rm -f "$s/v$((RANDOM % 2))/$name" ;;
        5) cp "$s/v$((RANDOM % 2))/$name" "$l/c-$name" ;;
        6) mv -n "$l/$name" "$l/m-$name" ;;
        7) rm -f "$l/$name" "$l/m-$name" "$l/c-$name" ;;
        8) dd if="$shm/data" of="$l/$name" bs=64K seek=$((RANDOM % 100)) conv=notrunc,fsync ;;
        9) fallocate -p -o $((RANDOM % 2048 * 1024)) -l $((RANDOM * 32)) "$l/$name" ;;
        10) timeout 60 "$tool" -p "$pool" lun clone "v0@$name" "k-$name" && timeout 60 "$tool" -p "$pool" lun remove "k-$name" ;;
        11) timeout 60 "$tool" -p "$pool" snapshot create "v0@x-$name" "v1@x-$name" && timeout 60 "$tool" -p "$pool" snapshot remove "v0@x-$name" "v1@x-$name" ;;
        12) ls -lR "$mnt" ;;
        14 | 15) timeout 60 "$tool" -p "$pool" lun repack "v$((RANDOM % 2))" --background ;;
        13) timeout 60 "$tool" -p "$pool" snapshot refresh "v1@$name" || timeout 60 "$tool" -p "$pool" lun list --exact ;;
        esac
    done >/dev/null 2>&1
    echo "$i" >>"$shm/count"
}

storm() # storm SECONDS [kill]: both writers and three that change things
{
    local i changers=() hands=()
    rm -f "$shm/stop" "$shm/count"
    for i in 0 1; do
        start "$writer" write "$l/v$i" "$shm/log$i" $((SEED + i))
        hands+=("$!")
    done
    for i in 1 2 3; do
        change_things "$i" {never}>&- &
        changers+=("$!")
        ours+=("$!")
    done
    wait_for "$1" false
    [[ ${2-} != kill ]] || kill_pool
    : >"$shm/stop"
    [[ ${2-} == kill ]] || kill "${hands[@]}" 2>/dev/null
    for i in "${hands[@]}" "${changers[@]}"; do
        ended "$i" 60 || return 1
    done
    SEED=$((SEED + 2))
}
SEED=1
a lun create v0 64M
a lun create v1 64M
for round in 1 2; do
    storm 4
    ok "a storm, $round: all of them end"
    note "$(awk '{ n += $1 } END { print n }' "$shm/count") changes"
    for i in 0 1; do
        try "what was written to v$i is there" "$writer" verify "$l/v$i" "$shm/log$i"
        note "$(<"$out")"
    done
done
unmount_pool
ok "unmounts"
try "check" check_pool
mount_pool
for round in 1 2 3 4; do
    storm 1 kill
    ok "killed in a storm, $round: all of them end"
    if ((round == 2)); then
        umount "$mnt"
        try "check before the restart" check_pool
    fi
    mount_pool
    ok "mounts again"
    for i in 0 1; do
        try "what was flushed to v$i is there" "$writer" verify "$l/v$i" "$shm/log$i"
    done
done
try "nothing is damaged: all of it is read" sh -c "find '$l' '$s' -type f -print0 | xargs -0 cat | tail -c 1"
try "all is removed" sh -c "ls '$l' | xargs '$tool' -p '$pool' lun remove --with-snapshots"
space_falls 0
is "and all space comes back" "$(space used)" 0
unmount_pool
ok "unmounts"
try "check" check_pool
done_testing
