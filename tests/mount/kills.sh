#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# kill -9 at random moments under load on a raw LUN, and under ext4 and XFS on loop devices: writers that know what was flushed, and
# fio, whose blocks carry checksums. Then the pool is mounted again: its check, the file systems' checks, all data.
# VV_KILL_ROUNDS: how many (3); VV_KILL_SEED: when. `make kill-soak` is 500.
# shellcheck disable=SC1091,SC2154,SC2317
. "$(dirname "$0")/lib.sh"
needs fio mkfs.ext4 mkfs.xfs
writer=$build/tests/mount/crash-writer
rounds=${VV_KILL_ROUNDS:-3}
seed=${VV_KILL_SEED:-$((SECONDS + $$ % 32768))}
RANDOM=$seed
note "VV_KILL_SEED=$seed"
if ! [[ $rounds =~ ^[1-9][0-9]{0,5}$ ]]; then
    echo "kills.sh: VV_KILL_ROUNDS is a number from 1 to 999999, not $rounds" >&2
    exit 2
fi

declare -A file device # of raw, ext4 and xfs: what is written to; the loop device
run_fio() # run_fio NAME FILE ARGUMENT...: blocks of 4 KiB that carry their place and checksum
{
    fio --name="$1" --filename="$2" --size=16M --offset=32M --bs=4k --direct=1 --ioengine=psync --verify=crc32c --verify_fatal=1 --verify_state_save=0 \
        --allow_file_create=0 --randrepeat=0 --output-format=terse "${@:3}"
}
attach() # attach TYPE: mount what stands on the LUN of that name
{
    device[$1]=$(loop_of "$mnt/luns/$1" on) && mkdir -p "$disk/$1" && mount "${device[$1]}" "$disk/$1"
}
detach() # detach TYPE: whatever state it is in
{
    timeout -k 5 60 umount "$disk/$1" 2>/dev/null || umount -l "$disk/$1" 2>/dev/null
    losetup -d "${device[$1]}"
}
no_loops() { [[ -z $(loops_below) ]]; }
prepare() # prepare NAME: 32 MiB for the writer, 16 MiB of fio's blocks, all of it durable
{
    dd if=/dev/zero of="${file[$1]}" bs=1M count=32 conv=notrunc status=none &&
        dd if=/dev/zero of="${file[$1]}" bs=1M count=16 seek=32 conv=notrunc,fsync status=none &&
        run_fio "$1" "${file[$1]}" --rw=write --do_verify=0 --end_fsync=1
}
verify() # verify NAME
{
    "$writer" verify "${file[$1]}" "$shm/log-$1" && run_fio "$1" "${file[$1]}" --rw=read
}

new_pool "$shm/pool" --size 2G && mount_pool || exit 99
a lun create raw 64M
a lun create ext4 128M
a lun create xfs 384M
file=([raw]=$mnt/luns/raw [ext4]=$disk/ext4/w [xfs]=$disk/xfs/w)
for name in ext4 xfs; do
    device[$name]=$(loop_of "$mnt/luns/$name" on)
    if [[ $name == ext4 ]]; then
        mkfs.ext4 -q -F -b 4096 "${device[$name]}" # small ones get blocks of 1 KiB, and a block of the writer's is four of these
    else
        make_fs "$name" "${device[$name]}"
    fi
    losetup -d "${device[$name]}"
    attach "$name"
    : >"${file[$name]}"
done
for name in raw ext4 xfs; do
    try "$name is prepared" prepare "$name"
done

round() # round NUMBER
{
    local name pids=() pid bad=0
    for name in raw ext4 xfs; do
        start "$writer" write "${file[$name]}" "$shm/log-$name" "$RANDOM"
        pids+=("$!")
        start run_fio "$name" "${file[$name]}" --rw=randwrite --do_verify=0 --fsync=32 --time_based --runtime=60 --randseed="$RANDOM"
        pids+=("$!")
    done
    a snapshot create "raw@r$1" "ext4@r$1" "xfs@r$1"
    (($1 % 2)) || a snapshot remove 'raw@*' 'ext4@*' 'xfs@*'
    read -rt "0.$((RANDOM % 9))$((RANDOM % 10))" -u "$never"
    kill_pool
    for pid in "${pids[@]}"; do
        ended "$pid" 60 || bad=1
    done
    ((bad == 0))
    ok "round $1: killed, and who wrote has been told" || return
    detach ext4
    detach xfs
    wait_for 10 no_loops
    if (($1 % 3 == 0)); then
        timeout 60 umount "$mnt"
        try "round $1: check before the restart" check_pool
    fi
    mount_pool
    ok "round $1: mounts again" || return
    try "round $1: pool check" a pool check
    for name in ext4 xfs; do
        attach "$name"
        ok "round $1: $name mounts" || return
    done
    for name in raw ext4 xfs; do
        try "round $1: $name has what was flushed, and no broken block" verify "$name"
    done
    for name in ext4 xfs; do
        umount "$disk/$name"
        try "round $1: $name is clean" fsck_clean "$name" "${device[$name]}"
        mount "${device[$name]}" "$disk/$name"
    done
    ((failures == 0))
}
for ((number = 1; number <= rounds; number++)); do
    round "$number" || break
done
detach ext4
detach xfs
unmount_pool
ok "unmounts"
try "check" check_pool
done_testing
