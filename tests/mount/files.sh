#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# LUNs and snapshots under the ordinary commands: cp, dd, truncate, rm, mv, touch, ls, stat, chmod, chown.
# shellcheck disable=SC1091,SC2154,SC2317,SC2012
. "$(dirname "$0")/lib.sh"
needs setpriv

new_pool "$disk/pool" --size 2G && mount_pool || exit 99
luns=$mnt/luns snapshots=$mnt/snapshots

chmod 711 "$disk"

# A file with data, holes and an odd end.
image=$disk/image
head -c 3000000 /dev/urandom >"$image"
truncate -s 9M "$image"
head -c 100001 /dev/urandom >>"$image"
size=$(stat -c %s "$image")
rounded=$(((size + 4095) / 4096 * 4096))
same() { cmp -n "$size" "$1" "$2"; }

# ---- cp
for how in --sparse=never --sparse=always --sparse=auto --reflink=auto; do
    name=cp${how#--*=}$how
    name=${name//[=]/-}
    try "cp $how into luns/" cp "$how" "$image" "$luns/$name"
    try "what was copied is there" same "$image" "$luns/$name"
    closed "$name"
    is "its size is rounded up to 4 KiB" "$(stat -c %s "$luns/$name")" "$rounded"
    try "cp $how out again" cp "$how" "$luns/$name" "$disk/back"
    try "what was copied out is the same" same "$image" "$disk/back"
    rm "$disk/back"
done
try "cp --sparse=always leaves holes" test "$(stat -c %b "$luns/cpalways--sparse-always")" -le $(((3000000 + 100001) / 512 + 32))
is "cp --sparse=never leaves none" "$(stat -c %b "$luns/cpnever--sparse-never")" $((rounded / 512))
rm "$luns"/cp*
cp "$image" "$luns/x"
closed x
refused "cp onto a LUN that is a disk already is refused" cp "$image" "$luns/x"
grep -q 'Operation not permitted' "$err"
ok "with EPERM"
try "and nothing was changed" same "$image" "$luns/x"
try "dd conv=notrunc does it" dd if="$image" of="$luns/x" bs=1M conv=notrunc
sync "$luns/x"
closed x
settled # or what was removed above comes back in between
before=$(space used)
try "cp from LUN to LUN" cp "$luns/x" "$luns/y"
try "is the same" cmp "$luns/x" "$luns/y"
is "and takes no space: it is a clone" "$(space used)" "$before"
is "of the same used bytes" "$(stat -c %b "$luns/y")" "$(stat -c %b "$luns/x")"
is "a LUN that cp made is as the umask says" "$(stat -c %a "$luns/y")" "$(printf %o $((0666 & ~$(umask))))"
rm "$luns/x" "$luns/y"

# ---- dd
a lun create d 8M
try "dd conv=notrunc, 512-byte blocks" dd if="$image" of="$luns/d" bs=512 count=2000 conv=notrunc
try "dd oflag=direct, 512" dd if="$image" of="$luns/d" bs=512 count=1000 skip=3 seek=3 oflag=direct conv=notrunc
try "dd oflag=direct, 4096" dd if="$image" of="$luns/d" bs=4096 count=200 skip=100 seek=100 oflag=direct conv=notrunc
try "dd oflag=direct, 1M, fsync" dd if="$image" of="$luns/d" bs=1M count=2 skip=1 seek=1 oflag=direct conv=notrunc,fsync
try "dd with an odd block size" dd if="$image" of="$luns/d" bs=7777 count=300 conv=notrunc
try "together they are the file" cmp -n 2333100 "$image" "$luns/d"
try "dd iflag=direct reads it" sh -c "dd if='$luns/d' bs=512 count=4000 iflag=direct | cmp -n 2048000 - '$image'"
refused "dd past the end" dd if=/dev/zero of="$luns/d" bs=1M conv=notrunc
grep -q 'No space left' "$err"
ok "says ENOSPC"
is "and wrote exactly the LUN" "$(awk '/bytes/ { print $1 }' "$err")" 8388608
is "whose size stays" "$(stat -c %s "$luns/d")" 8388608
refused "dd without notrunc" dd if="$image" of="$luns/d" bs=1M count=1
try "dd makes a LUN" dd if="$image" of="$luns/made" bs=1M
try "the same as the file" same "$image" "$luns/made"
try "dd seek= makes a LUN with a hole" dd if="$image" of="$luns/hole" bs=1M count=1 seek=100
is "of that size" "$(stat -c %s "$luns/hole")" $((101 << 20))
is "that takes 1 MiB" "$(stat -c %b "$luns/hole")" 2048
rm "$luns/made" "$luns/hole"

# ---- truncate
try "truncate makes a LUN" truncate -s 10000 "$luns/t"
closed t
is "rounded up at its last close" "$(stat -c %s "$luns/t")" 12288
is "thin" "$(stat -c %b "$luns/t")" 0
try "it can be made larger" truncate -s 1G "$luns/t"
is "at once" "$(stat -c %s "$luns/t")" $((1 << 30))
refused "but not smaller" truncate -s 512M "$luns/t"
is "and stays" "$(stat -c %s "$luns/t")" $((1 << 30))
refused "nor emptied by the shell" sh -c ": >'$luns/t'"
try "shrunk with the word" a lun resize t 1M --shrink
is "which shows at once" "$(stat -c %s "$luns/t")" 1048576
printf kept | dd of="$luns/t" bs=1 seek=1000000 conv=notrunc 2>/dev/null
try "shrunk right after it was closed" a lun resize t 512K --shrink
a lun resize t 1M
is "what was cut does not come back" "$(dd if="$luns/t" bs=1 skip=1000000 count=4 2>/dev/null | od -An -tx1)" " 00 00 00 00"
try "8 EiB less 4 KiB" truncate -s $((0x7ffffffffffff000)) "$luns/t"
rm "$luns/t"

# ---- snapshots
dd if="$image" of="$luns/d" bs=1M count=8 conv=notrunc 2>/dev/null
try "touch takes a snapshot" touch "$snapshots/d/s1"
try "of what is there" cmp "$luns/d" "$snapshots/d/s1"
is "with the LUN's permissions, but for writing" "$(stat -c %a "$snapshots/d/s1")" "$(printf %o $((0$(stat -c %a "$luns/d") & 0444)))"
printf changed | dd of="$luns/d" conv=notrunc 2>/dev/null
refused "it stays when the LUN changes" cmp -s "$luns/d" "$snapshots/d/s1"
try "as it was" cmp -n 3000000 "$image" "$snapshots/d/s1"
refused "writing it" dd if="$image" of="$snapshots/d/s1" bs=4096 count=1 conv=notrunc
refused "truncating it" truncate -s 0 "$snapshots/d/s1"
refused "chmod of it" chmod 600 "$snapshots/d/s1"
try "mv renames a snapshot" mv "$snapshots/d/s1" "$snapshots/d/s2"
is "and that is what the tool sees" "$(get snapshot list -H -o object)" d@s2
try "touch of one that is there is fine" touch "$snapshots/d/s2"
try "cp of a snapshot into luns/" cp "$snapshots/d/s2" "$luns/c"
try "is the same" cmp "$snapshots/d/s2" "$luns/c"
refused "rm of a LUN that has snapshots" rm "$luns/d"
grep -q 'Device or resource busy' "$err"
ok "says EBUSY"
try "mv renames a LUN" mv "$luns/d" "$luns/e"
is "and its folder of snapshots" "$(ls "$snapshots")" $'c\ne'
try "rm removes a snapshot" rm "$snapshots/e/s2"
try "rm removes a LUN" rm "$luns/e"
try "the clone is whole" cmp -n 3000000 "$image" "$luns/c"
refused "mv does not replace a LUN" sh -c "truncate -s 1M '$luns/f' && mv '$luns/f' '$luns/c'"
grep -q 'File exists' "$err"
ok "says EEXIST"
refused "mkdir in luns/" mkdir "$luns/dir"
refused "rmdir of snapshots/LUN" rmdir "$snapshots/c"
refused "a file at the top" touch "$mnt/x"
refused "a LUN below snapshots/" touch "$snapshots/x"
refused "mv of a snapshot to another LUN" sh -c "touch '$snapshots/c/s' && mv '$snapshots/c/s' '$snapshots/f/s'"
says "nor into luns/: EXDEV, so that mv copies" EXDEV "rename plain $snapshots/c/s $luns/s"
try "removed with its snapshots" a lun remove c f --with-snapshots

# ---- ls, stat
a lun create g 64M
is "ls -s: nothing is used" "$(ls -s --block-size=4096 "$luns" | tail -n 1)" "0 g"
dd if="$image" of="$luns/g" bs=4096 count=100 conv=notrunc,fsync 2>/dev/null
is "stat: 100 blocks are" "$(stat -c '%b %B' "$luns/g")" "800 512"
dd if="$image" of="$luns/g" bs=4096 count=100 conv=notrunc,fsync 2>/dev/null
is "also when written again" "$(stat -c %b "$luns/g")" 800
is "lun list says the same" "$(get lun list -H -o used g)" 409600
fallocate -p -o 0 -l 40960 "$luns/g"
is "and 90 after a hole of 10" "$(stat -c %b "$luns/g")" 720
is "du agrees" "$(du -B1 "$luns/g" | cut -f 1)" $((90 * 4096))
is "statfs: 4096-byte blocks" "$(stat -f -c %S "$mnt")" 4096
try "df works" df "$mnt"
inode=$(stat -c %i "$luns/g")
touch "$snapshots/g/s"
snapshot_inode=$(stat -c %i "$snapshots/g/s")
mtime=$(stat -c %.9Y "$luns/g")
is "reading does not move mtime" "$(cat "$luns/g" >/dev/null && stat -c %.9Y "$luns/g")" "$mtime"
printf x | dd of="$luns/g" conv=notrunc 2>/dev/null
[[ $(stat -c %.9Y "$luns/g") > $mtime ]]
ok "writing moves mtime"
[[ $(stat -c %.9Y "$snapshots/g/s") == "$mtime" ]]
ok "that of a snapshot is that of the instant"
mtime=$(stat -c %.9Y "$luns/g")
try "chmod, chown, touch -d" sh -c "chmod 640 '$luns/g' && chown 12:34 '$luns/g' && touch -d '2020-02-02 02:02:02.5' '$luns/g'"
is "are seen" "$(stat -c '%a %u %g %.1Y' "$luns/g")" "640 12 34 1580608922.5"
is "also by the tool" "$(get --json lun show g | jq -r '.settings | [.mode, .uid, .gid] | join(" ")')" "0640 12 34"
sync
unmount_pool && mount_pool
ok "remounted"
is "all of that is kept" "$(stat -c '%a %u %g %.1Y' "$luns/g")" "640 12 34 1580608922.5"
is "st_ino is kept" "$(stat -c %i "$luns/g")" "$inode"
is "also of the snapshot" "$(stat -c %i "$snapshots/g/s")" "$snapshot_inode"
is "st_blocks too" "$(stat -c %b "$luns/g")" 728
refused "another user" setpriv --reuid 65534 --clear-groups cat "$luns/g"
is ".vvfs has its texts" "$(ls "$mnt/.vvfs" | tr '\n' ' ')" "metrics status.json version "
try "status.json is JSON" jq -e '.space.total > 0 and .state == "ok"' "$mnt/.vvfs/status.json"
try "metrics are there" grep -q '^vvfs_pool_free_bytes{pool="pool"} ' "$mnt/.vvfs/metrics"
refused "and cannot be written" sh -c "echo 1 >'$mnt/.vvfs/version'"

# ---- other mounts
unmount_pool && mount_pool ro
ok "mounted read-only"
refused "no LUN is made" touch "$luns/n"
refused "none is written" dd if="$image" of="$luns/g" bs=4096 count=1 conv=notrunc
refused "none is removed" rm "$snapshots/g/s"
try "all is read" cat "$luns/g" "$snapshots/g/s"
unmount_pool && mount_pool allow_other,mode=0711,uid=5,gid=6
ok "mounted for others"
is "directories as the options say" "$(stat -c '%a %u %g' "$luns")" "711 5 6"
chmod 644 "$luns/g"
try "another user reads" setpriv --reuid 65534 --clear-groups cat "$luns/g"
refused "and cannot write" setpriv --reuid 65534 --clear-groups dd if="$image" of="$luns/g" bs=4096 count=1 conv=notrunc
unmount_pool
ok "unmounts"
try "check" check_pool
done_testing
