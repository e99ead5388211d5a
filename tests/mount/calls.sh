#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# LUNs and snapshots under single system calls: sizes and ends, holes, fallocate, copies, mmap, names, files that are open.
# shellcheck disable=SC1091,SC2154,SC2317
. "$(dirname "$0")/lib.sh"

new_pool "$disk/pool" --size 2G && mount_pool rw || exit 99
l=$mnt/luns s=$mnt/snapshots

# ---- a LUN is elastic until its first last close
says "writes extend a new LUN" "0 10 10 10:x 100 110 0" "open a rw,creat $l/n" "pwrite a 0 10 x" "size a" "pread a 0 100" \
    "pwrite a 10 100 y" "size a" "close a"
says "its last close rounds it up, with zeros" "0 4096 96:y 3986:0 0:" "open a rw $l/n" "size a" "pread a 14 96" "pread a 110 8000" \
    "pread a 4096 1"
says "a new one can be cut and grown" "0 8192 0 5 0 1048576 5:x 1048571:0 0 0" "open a rw,creat,excl $l/m" "pwrite a 0 8192 x" \
    "truncate a 5" "size a" "truncate a 1M" "size a" "pread a 0 5" "pread a 5 2M" "truncate a 0" "size a"
says "it is elastic for everyone while it is open" "0 0 4096 8192 0 12288 0 0" "open a rw,creat $l/o" "open b rw $l/o" \
    "pwrite a 0 4096 x" "pwrite b 4096 8192 y" "close a" "size b" "truncate b 0" "size b"
says "O_TRUNC while it is: it starts again" "0 4096 0 0 0" "open a rw,creat $l/p" "pwrite a 0 4096 x" "open b rw,trunc $l/p" \
    "size a" "size b"
says "O_CREAT|O_EXCL of one that is there" "EEXIST" "open a rw,creat,excl $l/n"
says "O_APPEND extends too" "0 10 20 30" "open a w,creat,append $l/q" "pwrite a 0 10 x" "pwrite a 0 20 x" "size a"

# ---- then it is a disk
a lun create d 1M
says "a write that ends at the end" "0 4096" "open a rw $l/d" "pwrite a 1044480 4096 x"
says "across the end it is short" "0 512 4096" "open a rw $l/d" "pwrite a 1048064 1024 x" "pwrite a 1044480 1M x"
says "at the end and past it: ENOSPC" "0 ENOSPC ENOSPC ENOSPC" "open a rw $l/d" "pwrite a 1M 512 x" "pwrite a 2M 1 x" "pwrite a 1000000G 1 x"
says "reads across the end are short, past it empty" "0 4096:x 0: 0:" "open a r $l/d" "pread a 1044480 8192" "pread a 1M 10" "pread a 5G 10"
says "O_TRUNC: EPERM" "EPERM" "open a rw,trunc $l/d"
says "cut: EPERM; to its own size: fine" "EPERM EPERM 0" "cut $l/d 0" "cut $l/d 1048575" "cut $l/d 1M"
says "grown: at once, rounded up" "0 0 2097152" "open a rw $l/d" "truncate a 2097152" "size a"
says "size and content stayed" "0 2097152 4096:x 1048576:0" "open a r $l/d" "size a" "pread a 1044480 4096" "pread a 1M 4M"
says "O_DIRECT, aligned to 512" "0 512 512:z 0" "open a rw,direct $l/d" "pwrite a 512 512 z" "pread a 512 512" "fsync a"

# ---- holes
a lun create h 64M
says "an empty LUN is one hole" "0 0 ENXIO ENXIO ENXIO" "open a rw $l/h" "seek a hole 0" "seek a data 0" "seek a data 64M" "seek a hole 64M"
says "data and holes, before and after the flush" "0 8192 1 1048576 1056768 10485760 10489856 ENXIO 0 1048576 10489856 1050000" \
    "open a rw $l/h" "pwrite a 1M 8192 x" "pwrite a 10M 1 y" "seek a data 0" "seek a hole 1M" "seek a data 1056768" \
    "seek a hole 10M" "seek a data 10489856" "fsync a" "seek a data 5" "seek a hole 10M" "seek a data 1050000"
says "a punched hole reads as zeros and is one" "0 0 4096:0 1048576 1052672 1052672" "open a rw $l/h" "fallocate a keep,punch 1M 4096" \
    "pread a 1M 4096" "seek a hole 1M" "seek a data 0" "seek a data 1M"
says "holes of a snapshot" "0 0 1052672 1056768 EROFS" "mknod $s/h/one" "open a r $s/h/one" "seek a data 0" "seek a hole 1052672" "open b rw $s/h/one"

# ---- fallocate
a lun create f 16M
says "allocate makes blocks that read as zeros" "0 0 1048576:0 2048" "open a rw $l/f" "fallocate a alloc 1M 1M" "pread a 1M 1M" "blocks a"
says "allocated space stays allocated" "0 1048576 2048 0 2048" "open a rw $l/f" "pwrite a 1M 1M x" "blocks a" "fsync a" "blocks a"
says "what holds data keeps it" "0 0 1048576:x" "open a rw $l/f" "fallocate a alloc 0 4M" "pread a 1M 1M"
says "zero" "0 0 4096:x 100:0 4096:x" "open a rw $l/f" "fallocate a zero 1500000 100" "pread a 1495904 4096" "pread a 1500000 100" "pread a 1500100 4096"
says "punch within blocks" "0 0 1000:x 700:0 1000:x" "open a rw $l/f" "fallocate a keep,punch 1600000 700" "pread a 1599000 1000" "pread a 1600000 700" "pread a 1600700 1000"
says "punch all" "0 0 0 16777216:0" "open a rw $l/f" "fallocate a keep,punch 0 16M" "blocks a" "pread a 0 16M"
says "past the end: ENOSPC, with keep size nothing" "0 ENOSPC 0 0 16777216" "open a rw $l/f" "fallocate a alloc 16M 4096" "fallocate a keep 16M 4096" \
    "fallocate a keep,punch 16M 4096" "size a"
says "other modes: EOPNOTSUPP" "0 EOPNOTSUPP" "open a rw $l/f" "fallocate a collapse 0 4096"
says "a new LUN is extended by it" "0 0 1048576 2048" "open a rw,creat $l/g" "fallocate a alloc 0 1M" "size a" "blocks a"
says "more than there is: ENOSPC, and nothing is kept" "0 0 ENOSPC" "open a rw,creat $l/big" "truncate a 1024G" "fallocate a keep 0 100G"
is "nothing of it" "$(get lun list -H -o used big)" 0
rm "$l/big"

# ---- copy_file_range
head -c 5000000 /dev/urandom >"$disk/file"
dd if="$disk/file" of="$l/src" bs=1M 2>/dev/null
sync "$l/src"
closed src
size=$(get --json lun show src | jq .size)
used=$(space used)
says "into an empty LUN, at once" "0 0 $size $size" "open a r $l/src" "open b w,creat $l/one" "copyall a b 1G" "size b"
says "in pieces" "0 0 $size $size" "open a r $l/src" "open b w,creat $l/two" "copyall a b 1M" "size b"
is "takes no space" "$(space used)" "$used"
cmp "$l/src" "$l/one" && cmp "$l/src" "$l/two"
ok "and is the same"
says "a snapshot too" "0 0 0 $size" "mknod $s/src/s" "open a r $s/src/s" "open b w,creat $l/three" "copyall a b 1M"
is "takes no space either" "$(space used)" "$used"
cmp "$l/src" "$l/three"
ok "is the same"
printf changed | dd of="$l/one" conv=notrunc 2>/dev/null
cmp "$l/src" "$l/two"
ok "a write to one is not seen in another"
a lun create four 8M
says "elsewhere it copies" "0 0 1000000 777 777" "open a r $l/src" "open b rw $l/four" "copy a 0 b 4096 1000000" "copy a 5 b 13 777" "copy a 4096 b 7M 777"
cmp -n 900000 "$l/src" "$l/four" 0 4096 2>/dev/null || cmp -n 900000 <(tail -c +1001 "$l/src") <(tail -c +5097 "$l/four")
ok "what was copied is the same"
cmp -n 777 <(tail -c +6 "$l/src") <(tail -c +14 "$l/four")
ok "also at odd offsets"
says "within a LUN" "0 4096" "open a rw $l/four" "copy a 4096 a 1M 4096"
says "overlapping: EINVAL" "0 EINVAL" "open a rw $l/four" "copy a 0 a 100 4096"
says "at and past the end" "0 0 0 ENOSPC" "open a r $l/src" "open b rw $l/four" "copy a $size b 0 4096" "copy a 0 b 8M 4096"
says "across the end of both" "0 0 4096 4096" "open a r $l/src" "open b rw $l/four" "copy a $((size - 4096)) b 0 1M" "copy a 0 b $((8 * 1048576 - 4096)) 1M"
says "into a snapshot: EROFS or EBADF" "0 0 EBADF" "open a r $l/src" "open b r $s/src/s" "copy a 0 b 0 4096"

# ---- mmap
says "a LUN cannot be mapped shared" "0 ENODEV ENODEV" "open a rw $l/src" "map a shared rw 4096" "map a shared r 4096"
head -c 1M /dev/zero | tr '\0' m | dd of="$l/map" 2>/dev/null
touch "$s/map/s"
says "a snapshot can" "0 m m EACCES" "open a r $s/map/s" "map a shared r 1M" "map a private rw 1M" "map a shared rw 4096"
read_bytes() { jq -r --arg l "$1" '.luns[$l].read.bytes // 0' < <(get --json stats); }
cat "$s/map/s" >/dev/null
before=$(grep -E '^vvfs_lun_read_bytes_total' "$mnt/.vvfs/metrics" | awk '{ s += $2 } END { print s + 0 }')
cat "$s/map/s" "$s/map/s" >/dev/null
after=$(grep -E '^vvfs_lun_read_bytes_total' "$mnt/.vvfs/metrics" | awk '{ s += $2 } END { print s + 0 }')
is "what was read of it is in the page cache" $((after - before)) 0
"$calls" "open a rw $l/map" "pwrite a 0 4096 n" >/dev/null
cat "$s/map/s" >/dev/null
inode=$(stat -c %i "$s/map/s")
try "refresh" a snapshot refresh map@s
is "makes a new inode" "$(stat -c %i "$s/map/s" | grep -cx "$inode")" 0
says "with the new content" "0 4096:n" "open a r $s/map/s" "pread a 0 4096"

# ---- names
long=$(printf '%0128d' 0)
says "128 characters" "0 0" "mknod $l/$long" "unlink $l/$long"
says "129: not" "EINVAL" "mknod $l/x$long"
for bad in -x 'a:b' 'a@b' 'a b' $'a\tb' 'ü' '~' '*' 'a,b' '%'; do
    touch -- "$l/$bad" 2>"$err"
    grep -q 'Invalid argument' "$err" && touch -- "$s/map/$bad" 2>"$err"
    grep -q 'Invalid argument' "$err"
    ok "EINVAL for $(printf %q "$bad")"
done
says "also as a new name" "EINVAL EINVAL" "rename plain $l/map $l/a:b" "rename plain $s/map/s $s/map/a:b"
for good in a.b .a a+b a_b A-Z 0 ...; do
    says "allowed: $good" "0 0" "mknod $l/$good" "unlink $l/$good"
done
a lun create r1 1M
a lun create r2 1M
says "rename: noreplace, exchange, whiteout, over another" "EEXIST EINVAL EINVAL EEXIST" "rename noreplace $l/r1 $l/r2" \
    "rename exchange $l/r1 $l/r2" "rename whiteout $l/r1 $l/r3" "rename plain $l/r1 $l/r2"
says "noreplace to a free name and back; to itself" "0 0 0" "rename noreplace $l/r1 $l/r3" "rename plain $l/r3 $l/r1" "rename plain $l/r1 $l/r1"
says "no links, no directories" "EPERM EPERM EPERM" "link $l/r1 $l/r3" "symlink x $l/r3" "mkdir $l/r3"
says "unlink of what is not there" "ENOENT" "unlink $l/r3"
says "EBUSY with snapshots" "0 EBUSY 0 0" "mknod $s/r1/s" "unlink $l/r1" "unlink $s/r1/s" "unlink $l/r1"

# ---- open and removed
sync "$l"/* # what is not journalled yet is not in use yet
settled
used=$(space used)
says "a removed LUN lives to its last close" "0 1048576 0 0 ENOENT 1048576:x 4096 4096:y 0 1048576 0" "open a rw,creat $l/gone" "pwrite a 0 1M x" \
    "unlink $l/gone" "nlink a" "open b r $l/gone" "pread a 0 1M" "pwrite a 4096 4096 y" "pread a 4096 4096" "fsync a" "size a" "close a"
space_falls "$used"
ok "then its space comes back"
head -c 1M /dev/zero | tr '\0' x | dd of="$l/keep" conv=fsync 2>/dev/null
settled
used=$(space used)
says "a removed snapshot too" "0 0 1048576 1048576:x 0 0 1048576:x 0" "mknod $s/keep/s" "open a r $s/keep/s" "size a" "pread a 0 1M" \
    "unlink $s/keep/s" "nlink a" "pread a 0 1M" "close a"
"$calls" "mknod $s/keep/s" "open a r $s/keep/s" "open b rw $l/keep" "pwrite b 0 1M z" "fsync b" "unlink $s/keep/s" "pread a 0 1M" "close a" >"$out"
is "also when the LUN was written since" "$(<"$out")" "0 0 0 1048576 0 0 1048576:x 0 "
space_falls "$used"
ok "and its space comes back"
says "a name that is free again is another LUN" "0 4096 0 0 0 4096:x 0" "open a rw,creat $l/same" "pwrite a 0 4096 x" "unlink $l/same" \
    "open b rw,creat $l/same" "size b" "pread a 0 4096" "close a"
touch "$l/orphan" && "$calls" "open a rw $l/keep" "fsync a" >/dev/null

# ---- a new size is seen
a lun create z 1M
exec 5<>"$l/z"
a lun resize z 2M
is "resize shows on an open file" "$(stat -Lc %s /dev/fd/5)" 2097152
exec 5>&-

unmount_pool
ok "unmounts"
try "check" check_pool
done_testing
