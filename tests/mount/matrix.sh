#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The main job, on every file system over every kind of loop device and pool: a real tree goes onto a LUN, a snapshot is taken,
# files change and go, and the snapshot and a clone still hold the old tree, byte for byte.
#
#     pool on                     ext4       XFS        Btrfs      (loop device)
#     a directory of the disk     direct     buffered   direct
#     tmpfs                       buffered   direct     buffered
#     a directory on XFS          direct     buffered   direct
#     a block device              buffered   direct     buffered
# shellcheck disable=SC1091,SC2154,SC2317
. "$(dirname "$0")/lib.sh"
needs mkfs.ext4 mkfs.xfs mkfs.btrfs xfs_repair e2fsck fstrim blkdiscard tar

mkdir "$shm/tree" "$disk/fs" "$disk/other"
tree "$shm/tree"
wanted=$(manifest "$shm/tree")
note "the tree: $(find "$shm/tree" | wc -l) names, $(du -sm "$shm/tree" | cut -f 1) MiB"

holds() # holds DESCRIPTION DEVICE OPTIONS MANIFEST: the file system on it, mounted for the look
{
    local got=''
    if mount -o "$3" "$2" "$disk/other" 2>"$err"; then
        got=$(manifest "$disk/other")
        umount "$disk/other"
    fi
    is "$1" "$got" "$4"
}
used_of() { get lun list -H -o used "$1"; }
used_below() { [[ $(used_of "$1") -lt $2 ]]; }
forget() # forget TYPE: Btrfs remembers devices by what they carry, and a snapshot carries the same
{
    [[ $1 != btrfs ]] || btrfs device scan --forget >/dev/null 2>&1
}
device_for() # device_for LUN on|off: $device
{
    if [[ $2 == on ]]; then
        a lun attach "$1" && device=$(<"$out")
    else
        device=$(loop_of "$mnt/luns/$1" off)
    fi
}

fill() # fill CELL TYPE LUN DIRECT: from nothing to changed and trimmed; $device stays mounted at $disk/fs; $changed, $latest
{
    local cell=$1 type=$2 lun=$3 direct=$4 full
    try "$cell: a LUN" a lun create "$lun" 600M || return
    device_for "$lun" "$direct"
    is "$cell: loop device with direct I/O $direct" "$(losetup -nO DIO "$device" | tr -d ' ')" "$([[ $direct == on ]] && echo 1 || echo 0)"
    try "$cell: mkfs" make_fs "$type" "$device" || return
    try "$cell: mount" mount "$device" "$disk/fs" || return
    cp -a "$shm/tree/." "$disk/fs/"
    sync -f "$disk/fs"
    is "$cell: the tree is there" "$(manifest "$disk/fs")" "$wanted"
    gives 0 "note:.*$disk/fs" "$cell: snapshot, not frozen, says so" snapshot create "$lun@plain"
    find "$disk/fs" -type f -name '*[a-f].h' -delete
    find "$disk/fs" -type f -name '*[g-m].h' -exec sh -c 'for f; do echo changed >>"$f"; done' sh {} +
    cp -a "$disk/fs/usr/include" "$disk/fs/more" && mv "$disk/fs/usr" "$disk/fs/moved"
    sync -f "$disk/fs"
    changed=$(manifest "$disk/fs")
    try "$cell: snapshot, frozen" a snapshot create "$lun@frozen" --freeze
    is "$cell: without a word" "$(cat "$out" "$err")" ""
    is "$cell: thawed, and unchanged by it" "$(manifest "$disk/fs")" "$changed"
    full=$(used_of "$lun")
    rm -rf "$disk/fs/more" "$disk/fs/hole"
    sync -f "$disk/fs"
    latest=$(manifest "$disk/fs")
    try "$cell: fstrim" fstrim "$disk/fs"
    wait_for 10 used_below "$lun" "$full"
    ok "$cell: which gives space back"
}

compare() # compare CELL TYPE LUN DIRECT: all three states, and a clone that is written
{
    local cell=$1 type=$2 lun=$3 direct=$4 old=$device frozen clone
    [[ $type != btrfs ]] || umount "$disk/fs"
    forget "$type"
    a snapshot attach "$lun@frozen"
    frozen=$(<"$out")
    holds "$cell: the frozen snapshot, read-only, without recovery" "$frozen" "$(read_only_options "$type")" "$changed"
    forget "$type"
    try "$cell: a clone of the other" a lun clone "$lun@plain" "$lun-clone"
    device_for "$lun-clone" "$direct"
    clone=$device device=$old
    holds "$cell: the clone" "$clone" "$([[ $type == xfs ]] && echo nouuid || echo rw)" "$wanted"
    forget "$type"
    mount ${type:+$([[ $type == xfs ]] && echo "-o nouuid")} "$clone" "$disk/other" && rm -rf "$disk/other/usr/include" &&
        cp -a "$shm/tree/usr/share" "$disk/other/copy" && sync -f "$disk/other"
    ok "$cell: is written"
    umount "$disk/other"
    try "$cell: fsck of the clone" fsck_clean "$type" "$clone"
    losetup -d "$clone"
    forget "$type"
    holds "$cell: the frozen snapshot again" "$frozen" "$(read_only_options "$type")" "$changed"
    try "$cell: detach the snapshot" a snapshot detach "$lun@frozen"
    forget "$type"
    [[ $type == btrfs ]] || umount "$disk/fs"
    try "$cell: fsck of the LUN" fsck_clean "$type" "$device"
    holds "$cell: the LUN itself" "$device" rw "$latest"
    losetup -d "$device"
    forget "$type"
}

pool_holds() # pool_holds NAME DIRECT...: the pool that was made, with the three file systems
{
    local name=$1 types=(ext4 xfs btrfs) base i
    shift
    mount_pool
    ok "$name: mounts" || return
    base=$(space used)
    for i in 0 1 2; do
        fill "$name, ${types[i]}" "${types[i]}" "${types[i]}" "$1" && compare "$name, ${types[i]}" "${types[i]}" "${types[i]}" "$1"
        umount "$disk/fs" 2>/dev/null
        shift
    done
    unmount_pool
    ok "$name: unmounts"
    try "$name: check" check_pool
    mount_pool
    ok "$name: mounts again"
    try "$name: everything is removed" a lun remove ext4 xfs btrfs ext4-clone xfs-clone btrfs-clone --with-snapshots
    space_falls "$base"
    is "$name: and all space comes back" "$(space used)" "$base"
    unmount_pool
    try "$name: check of the empty pool" check_pool
}

try "a pool in a directory" new_pool "$disk/pool" --size 4G && pool_holds directory on off on

try "a pool on tmpfs" new_pool "$shm/pool" --size 4G && pool_holds tmpfs off on off
rm -rf "$shm/pool"

truncate -s 5G "$shm/xfs" && mkfs.xfs -q "$shm/xfs" && mkdir "$shm/onxfs" && mount -o loop "$shm/xfs" "$shm/onxfs"
try "a pool in a directory on XFS" new_pool "$shm/onxfs/pool" --size 4G && pool_holds "on XFS" on off on
umount "$shm/onxfs"
rm "$shm/xfs"

truncate -s 4G "$shm/device"
under=$(losetup -f --show --direct-io=on "$shm/device" 2>/dev/null || losetup -f --show "$shm/device")
try "a pool on a block device" new_pool "$disk/pool2" --disk "$under" && pool_holds "block device" off on off
is "block device: it is used, not a file beside it" "$(find "$disk/pool2" -name 'disk*' -size +1M)" ""
losetup -d "$under"
done_testing
