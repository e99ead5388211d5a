#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# LUN files under QEMU's tools, and LUNs, snapshots and clones as block devices: sizes that change in use, several at once.
# shellcheck disable=SC1091,SC2154,SC2317
. "$(dirname "$0")/lib.sh"
needs qemu-img qemu-io mkfs.ext4 e2fsck resize2fs fio

new_pool "$shm/pool" --size 3G && mount_pool || exit 99
l=$mnt/luns s=$mnt/snapshots

# ---- qemu-img
head -c 9000000 /dev/urandom >"$shm/raw"
truncate -s 64M "$shm/raw"
head -c 1M /dev/urandom >>"$shm/raw"
qemu-img convert -f raw -O qcow2 "$shm/raw" "$shm/qcow2"
try "qemu-img convert makes a LUN" qemu-img convert -f qcow2 -O raw "$shm/qcow2" "$l/q"
try "qemu-img compare: the same" qemu-img compare -f qcow2 -F raw "$shm/qcow2" "$l/q"
is "holes stay holes" "$(($(stat -c %b "$l/q") <= 11 * 2048))" 1
try "qemu-img convert of a LUN" qemu-img convert -f raw -O qcow2 "$l/q" "$shm/back"
try "the same" qemu-img compare -f qcow2 -F raw "$shm/back" "$l/q"
a lun create r 65M
try "qemu-img convert -n onto a LUN, without the cache" qemu-img convert -n -t none -T none -f raw -O raw "$l/q" "$l/r"
try "the same" cmp "$l/q" "$l/r"
try "qemu-img convert -W, many at once" qemu-img convert -n -W -m 16 -t none -f qcow2 -O raw "$shm/qcow2" "$l/r"
try "the same again" cmp "$l/q" "$l/r"
touch "$s/q/one"
try "qemu-img convert of a snapshot" qemu-img convert -f raw -O raw "$s/q/one" "$shm/back"
try "the same" cmp "$shm/back" "$l/q"
try "qemu-img info" qemu-img info -f raw "$l/q"
try "qemu-img map finds the holes" sh -c "qemu-img map -f raw --output=json '$l/q' | jq -e 'map(select(.data | not) | .length) | add > 50000000'"
a lun remove q r --with-snapshots
rm -f "$shm/qcow2" "$shm/back"

# ---- qemu-io
a lun create io 64M
io() # io DESCRIPTION COMMAND...: all succeed and every pattern is found
{
    local description=$1 arguments=() command
    shift
    for command; do arguments+=(-c "$command"); done
    qemu-io -f raw -t none -d unmap "${arguments[@]}" "$l/io" >"$out" 2>"$err" </dev/null
    code=$?
    [[ $code -eq 0 ]] && ! grep -qiE 'failed|error' "$out" "$err"
    ok "$description"
}
io "qemu-io: patterns" "write -P 1 0 64k" "write -P 2 64k 4k" "read -P 1 0 64k" "read -P 2 64k 4k" "read -P 0 68k 1M"
io "qemu-io: over the ends of blocks" "write -P 3 512 7168" "read -P 1 0 512" "read -P 3 512 7168" "read -P 1 7680 1024"
io "qemu-io: write zeroes, with and without unmap" "write -P 4 1M 1M" "write -z 1100k 3k" "write -z -u 1200k 300k" "read -P 0 1100k 3k" \
    "read -P 0 1200k 300k" "read -P 4 1103k 97k" "read -P 4 1500k 500k"
io "qemu-io: discard" "discard 1M 512k" "read -P 0 1M 512k" "flush" "read -P 0 1M 512k"
io "qemu-io: many at once" "aio_write -P 5 8M 1M" "aio_write -P 6 9M 1M" "aio_write -P 7 10M 512" "aio_write -z 11M 1M" "aio_flush" \
    "read -P 5 8M 1M" "read -P 6 9M 1M" "read -P 7 10M 512" "read -P 0 11M 1M"
touch "$s/io/then"
io "qemu-io: after a snapshot" "write -P 8 0 4M" "write -P 9 2M 512" "read -P 8 0 2M" "read -P 9 2M 512"
qemu-io -r -f raw -c "read -P 3 512 7168" -c "read -P 5 8M 1M" -c "read -P 0 1M 512k" "$s/io/then" >"$out" 2>"$err" && ! grep -qiE 'failed|error' "$out" "$err"
ok "qemu-io: which holds what it held"

# ---- a size that changes in use
a lun create grow 64M
device=$(loop_of "$l/grow" on)
make_fs ext4 "$device" && mkdir "$disk/fs" && mount "$device" "$disk/fs" && printf here >"$disk/fs/file"
ok "a file system on a loop device"
try "resize" a lun resize grow +64M
is "its loop device shows it at once" "$(blockdev --getsize64 "$device")" $((128 << 20))
# Growing a mounted one needs a capability that containers often lack.
if capsh --has-p=cap_sys_resource 2>/dev/null; then
    try "resize2fs, mounted" resize2fs "$device"
else
    umount "$disk/fs"
    try "resize2fs" sh -c "e2fsck -fp '$device'; resize2fs '$device'"
    mount "$device" "$disk/fs"
fi
try "the new part is written" dd if=/dev/zero of="$disk/fs/zero" bs=1M count=90
umount "$disk/fs"
try "fsck" fsck_clean ext4 "$device"
try "truncate makes it larger too" truncate -s 256M "$l/grow"
is "and losetup -c sees it" "$(losetup -c "$device" && blockdev --getsize64 "$device")" $((256 << 20))
gives 1 'open for writing' "not made smaller in use" lun resize grow 64M --shrink
losetup -d "$device"
is "its name shows its size" "$(stat -c %s "$l/grow")" $((256 << 20))

# ---- attach
try "attach" a lun attach grow
device=$(<"$out")
is "direct I/O" "$(losetup -nO DIO "$device" | tr -d ' ')" 1
gives 1 'open|attached' "attach again is refused" lun attach grow
is "lun show names the device" "$(get --json lun show grow | jq -r '.openers[0].device')" "$device"
mount "$device" "$disk/fs"
is "and where it is mounted" "$(get --json lun show grow | jq -r '.openers[0].mountpoint')" "$disk/fs"
gives 1 "mounted" "detach is refused while it is mounted" lun detach grow
a snapshot create grow@s
gives 1 "open for writing.*$device, mounted at $disk/fs" "restore of it names the opener" snapshot restore grow@s
umount "$disk/fs"
try "detach" a lun detach grow

# ---- two snapshots and a clone at once
a lun create base 128M
device=$(loop_of "$l/base" on)
run_fio() # run_fio NAME DEVICE SEED ARGUMENT...
{
    local name=$1 file=$2 seed=$3
    shift 3
    (cd "$shm" && fio --name="$name" --filename="$file" --randseed="$seed" --direct=1 --ioengine=libaio --iodepth=8 --bs=4k --size=32M \
        --verify=crc32c --verify_fatal=1 --output="$shm/fio.$name" "$@" >/dev/null 2>&1)
}
try "fio fills the LUN" run_fio base1 "$device" 1 --rw=randwrite --do_verify=0
sync "$l/base"
a snapshot create base@s1
try "fio fills it anew" run_fio base2 "$device" 2 --rw=randwrite --do_verify=0
a snapshot create base@s2
a lun clone base@s1 clone
s1=$(loop_of "$s/base/s1" off ro) s2=$(loop_of "$s/base/s2" on ro) c=$(loop_of "$l/clone" on)
start run_fio verify1 "$s1" 1 --rw=randwrite --verify_only
p1=$!
start run_fio verify2 "$s2" 2 --rw=randwrite --verify_only
p2=$!
start run_fio clone "$c" 3 --rw=randwrite --do_verify=1
p3=$!
start run_fio base3 "$device" 4 --rw=randwrite --do_verify=1
p4=$!
for n in "$p1 first snapshot" "$p2 second snapshot" "$p3 clone" "$p4 LUN itself"; do
    ended "${n%% *}" 60
    is "all at once: the ${n#* }" "$code" 0
done
try "and the first snapshot still" run_fio verify1 "$s1" 1 --rw=randwrite --verify_only
try "and the second" run_fio verify2 "$s2" 2 --rw=randwrite --verify_only
losetup -d "$s1" "$s2" "$c" "$device"

unmount_pool
ok "unmounts"
try "check" check_pool
done_testing
