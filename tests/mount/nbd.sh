#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Disks that are exports of an NBD server (nbdkit): what is refused, a file system and snapshots on one, the server killed under load with
# all that it had not been told to flush, servers that stay silent or come back as something else, a second daemon, growing, leaving.
#
# nbdkit's cache filter keeps writes to itself until it is told to flush: killed, it loses them, as a machine that loses power does.
# shellcheck disable=SC1091,SC2154,SC2012,SC2119,SC2120 # of lib.sh; names without blanks; end_kit's own argument
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$here/lib.sh"
needs nbdkit mkfs.ext4 e2fsck python3

writer=$build/tests/mount/crash-writer
kits=0 kit=''
serve() # serve NAME ARGUMENT...: nbdkit on the socket NAME below $disk; $kit
{
    local name=$1
    shift
    rm -f "$disk/$name" "$disk/$name.pid"
    start nbdkit -f -U "$disk/$name" -P "$disk/$name.pid" "$@"
    kit=$!
    kits=$((kits + 1))
    wait_for 20 test -s "$disk/$name.pid"
}
uri() { echo "nbd+unix:///${2-}?socket=$disk/$1"; } # uri NAME [EXPORT]
end_kit() { kill "${1-$kit}" && ended "${1-$kit}" 20; }
kill_kit() { kill -9 "$kit" && ended "$kit" 20; }
image() { rm -f "$disk/$1" && truncate -s "$2" "$disk/$1"; } # image NAME SIZE: empty

refuses() # refuses MESSAGE DESCRIPTION ARGUMENT...: of vvfs-admin; the whole message, with exit code 1 or 2
{
    local message=$1 description=$2
    shift 2
    timeout 60 "$tool" "$@" >"$out" 2>"$err" </dev/null
    code=$?
    [[ $code -eq 1 || $code -eq 2 ]] && [[ $(grep '^vvfs-admin: ' "$err") == "vvfs-admin: $message" ]]
    ok "$description" || printf '# wanted: vvfs-admin: %s\n' "$message"
}

# ---- what is no disk
refuses "$(uri none) cannot be reached: connect: No such file or directory" "refused: no server" \
    pool create "$disk/p" --disk "$(uri none)"
refuses "nbd://127.0.0.1:1/x cannot be reached: connect: 127.0.0.1:1: could not connect to remote host: Connection refused" \
    "refused: nobody listens" pool create "$disk/p" --disk nbd://127.0.0.1:1/x
refuses "nbds://store/x is neither a path nor an address that begins with nbd:// or nbd+unix://" "refused: another kind of address" \
    pool create "$disk/p" --disk nbds://store/x
refuses "nbd://127.0.0.1:port/x is no address of an NBD export: unable to parse URI: nbd://127.0.0.1:port/x: Invalid argument" \
    "refused: no address" pool create "$disk/p" --disk nbd://127.0.0.1:port/x
image img 64M
serve s -r file "$disk/img"
refuses "$(uri s) is read-only" "refused: a read-only export" pool create "$disk/p" --disk "$(uri s)"
end_kit
serve s eval get_size='echo 64M' pread="head -c \$3 /dev/zero" pwrite='cat >/dev/null'
refuses "$(uri s) cannot be flushed: nothing would be safe there when its server ends" "refused: an export without flush" \
    pool create "$disk/p" --disk "$(uri s)"
end_kit
serve s memory 1M
refuses "$(uri s) is too small: a disk has at least 16M, not 1M" "refused: a tiny one" pool create "$disk/p" --disk "$(uri s)"
end_kit
serve s --filter=blocksize-policy memory 64M blocksize-minimum=16384 blocksize-preferred=16384
refuses "$(uri s) has blocks of 16384 bytes: more than 4096 are not supported" "refused: large blocks" \
    pool create "$disk/p" --disk "$(uri s)"
end_kit
mkdir "$disk/exports"
mkfs.ext4 -q -F -L old-data "$disk/img"
mv "$disk/img" "$disk/exports/a"
serve s file dir="$disk/exports"
timeout 60 "$tool" pool create "$disk/p" --disk "$(uri s nothing)" >"$out" 2>"$err" </dev/null
code=$?
[[ $code -eq 1 && $(grep '^vvfs-admin: ' "$err") == "vvfs-admin: $(uri s nothing) cannot be reached: "* ]]
ok "refused: no such export"
refuses "$(uri s a) holds an ext4 file system \"old-data\", never mounted: nothing was changed. \`--overwrite\` erases it." \
    "refused: an export that holds a file system" pool create "$disk/p" --disk "$(uri s a)"
refuses "$(uri s a) is named twice: nothing was changed" "refused: one export twice" \
    pool create "$disk/p" --overwrite --disk "$(uri s a)" --disk "$(uri s a)"
timeout 60 "$tool" pool create "$disk/p" --overwrite --disk "$(uri s a)" --disk "$(uri s /a)" >"$out" 2>"$err" </dev/null
code=$?
[[ $code -eq 1 && ! -e $disk/p ]]
ok "refused: one export under two addresses"
end_kit

# ---- one that stays silent, until requests fail: looked at further down
image silent.img 64M
serve silent file "$disk/silent.img"
silent_kit=$kit
new_pool "$disk/silent-pool" --disk "$(uri silent)"
ok "a pool on an export that will be silent"
mnt=$disk/silent-mnt
mount_pool
silent_pool=$pool silent_daemon=$daemon
a lun create x 16M
kill -STOP "$silent_kit"
start dd if=/dev/zero of="$mnt/luns/x" bs=64k count=1 oflag=direct conv=notrunc
silent_writer=$!

# ---- a file system, snapshots
image img 512M
serve s --filter=cache file "$disk/img"
mnt=''
new_pool "$disk/p" --disk "$(uri s)"
ok "a pool on an export"
refuses "$(uri s) is disk nbd of the pool p: nothing was changed. \`--overwrite\` erases it." "refused: a disk of another pool" \
    pool create "$disk/q" --disk "$(uri s)"
mount_pool
ok "mounted"
is "its path, kind and state are told" "$(get --json disk show nbd | jq -r '[.path, .kind, .state] | join(" ")')" "$(uri s) nbd ok"
refuses "$(uri s) is disk nbd of this pool already: nothing was changed" "refused: a second time" -p "$pool" disk add "$(uri s)"
a lun create fs 200M
device=$(loop_of "$mnt/luns/fs" on)
make_fs ext4 "$device" && mkdir "$disk/fs" && mount "$device" "$disk/fs"
ok "ext4 on a loop device over a LUN on it"
tree "$disk/fs"
sync -f "$disk/fs"
before=$(manifest "$disk/fs")
a snapshot create fs@one --freeze
ok "a snapshot"

# ---- the server is killed under load
kill_round() # kill_round: writers at work; the server dies and loses its cache, and comes back
{
    local from=$1 wanted
    wanted=$((from + 40))
    wait_for 60 written "$from" || return 1
    kill_kit
    serve s --filter=cache file "$disk/img"
    wait_for 90 written "$wanted"
}
written() { [[ $(wc -l < <(cat "$disk/acked" 2>/dev/null)) -ge $1 ]]; }
cat >"$disk/load" <<'LOAD'
# load DIRECTORY ACKED: files whose names are in ACKED were synced
for ((i = 1; ; i++)); do
    yes "$i" | head -c $((i % 7 * 40000 + 5000)) >"$1/f$i" && sync "$1/f$i" || exit 1
    echo "$i" >>"$2"
    [[ ! -e $2.enough ]] || exit 0
done
LOAD
mkdir "$disk/fs/load"
start bash "$disk/load" "$disk/fs/load" "$disk/acked"
load=$!
a lun create raw 64M
start "$writer" write "$mnt/luns/raw" "$disk/raw.log" 7
raw=$!
kill_round 20 && kill_round 100 && kill_round 200
ok "the server is killed three times under load, and loses what was not flushed: the writers go on"
kill_server
wait_for 60 other_serves && wait_for 90 written $(($(wc -l <"$disk/acked") + 20))
ok "the serving process is killed: its successor connects, and they go on"
: >"$disk/acked.enough"
ended "$load" 60 && [[ $code -eq 0 ]]
ok "nobody saw an error"
! gone "$raw" && kill "$raw" && { ended "$raw" 30 || true; }
ok "nor did random writes"
lost=0
while read -r i; do
    yes "$i" | head -c $((i % 7 * 40000 + 5000)) | cmp -s - "$disk/fs/load/f$i" || lost=$((lost + 1))
done <"$disk/acked"
is "all files that were synced are there" "$lost" 0
grep -q "the connection is lost" "$disk/.daemon" && grep -q "is back after" "$disk/.daemon"
ok "the log tells of it"

# Written, not synced, lost by the server, then synced: it is written again.
a lun create direct 64M
head -c 20M /dev/urandom >"$disk/random"
dd if="$disk/random" of="$mnt/luns/direct" bs=1M oflag=direct conv=notrunc 2>/dev/null
kill_kit
serve s --filter=cache file "$disk/img"
try "a sync of what the server has lost succeeds" timeout 60 sync "$mnt/luns/direct"
cmp -s -n 20971520 "$disk/random" "$mnt/luns/direct"
ok "and it is there"

# Away, and another disk in its place: what needs it waits, and the right one is found when it is there.
kill_kit
serve s memory 512M
start dd if="$disk/random" of="$mnt/luns/direct" bs=1M count=4 oflag=direct conv=notrunc,fsync
other=$!
is_missing() { [[ $(get --json disk list | jq -r '.[0].state') == missing ]]; }
is_other() { get --json doctor | grep -q "is not reached (the disk is not there any more)"; }
wait_for 20 is_missing && wait_for 20 is_other
ok "another disk in its place is not taken for it"
end_kit
serve s --filter=cache file "$disk/img"
ended "$other" 60 && [[ $code -eq 0 ]]
ok "who waited goes on when it is back"

# ---- all of it ends, and is looked at
umount "$disk/fs" && losetup -d "$device"
device=$(loop_of "$mnt/luns/fs" off) && fsck_clean ext4 "$device"
ok "e2fsck finds nothing"
losetup -d "$device"
device=$(loop_of "$mnt/snapshots/fs/one" off ro) && mount -o ro,noload "$device" "$disk/fs" &&
    [[ $(manifest "$disk/fs") == "$before" ]]
ok "the snapshot holds what it held"
umount "$disk/fs"
losetup -d "$device"
closed fs
unmount_pool
ok "unmounted"
check_pool
ok "pool check finds nothing wrong, without a daemon"
mount_pool && "$writer" verify "$mnt/luns/raw" "$disk/raw.log" >"$out" 2>&1
ok "random writes: all that was synced is there"

# ---- somebody else wants it
refuses "$(uri s) is disk nbd of the pool p, which is in use: nothing was changed" "refused: to overwrite one that is in use" \
    pool create "$disk/q" --overwrite --disk "$(uri s)"
# ---- more disks, over TCP too; growing, leaving
image img2 64M
start nbdkit -f -i 127.0.0.1 -p 0 -P "$disk/tcp.pid" file "$disk/img2"
tcp=$!
wait_for 20 test -s "$disk/tcp.pid"
port=$(ss -Hltnp 2>/dev/null | awk -v p="pid=$tcp," 'index($0, p) { sub(/.*:/, "", $4); print $4; exit }')
if [[ -n $port ]]; then
    try "a disk over TCP is added" "$tool" -p "$pool" disk add "nbd://127.0.0.1:$port/" --name two
    truncate -s 128M "$disk/img2"
    try "it grows with its export" "$tool" -p "$pool" disk grow two
    is "and has the new size" "$(get --json disk show two | jq .size)" 134217728
    a lun create there 40M --disks two && dd if="$disk/random" of="$mnt/luns/there" bs=1M oflag=direct conv=notrunc,fsync 2>/dev/null
    ok "a LUN lies on it"
    a lun remove there
    settled
    try "it is removed" "$tool" -p "$pool" disk remove two
    [[ -z $(head -c 4096 "$disk/img2" | tr -d '\0') ]]
    ok "without its label"
else
    pass_over "a disk over TCP" "its port cannot be told"
fi
unmount_pool
try "the pool is destroyed" "$tool" pool destroy "$pool" --yes
end_kit
[[ -z $(head -c 4096 "$disk/img" | tr -d '\0') ]]
ok "and the label is cleared"

# ---- more is written than is kept, as the server does not flush; then it dies
image img4 128M
held() # held: a server that flushes only while nobody has $disk/hold locked
{
    serve s eval thread_model='echo parallel' get_size="stat -c %s $disk/img4" can_flush='exit 0' \
        pread="dd if=$disk/img4 iflag=skip_bytes,count_bytes skip=\$4 count=\$3 2>/dev/null" \
        pwrite="dd of=$disk/img4 oflag=seek_bytes seek=\$4 conv=notrunc 2>/dev/null" \
        flush="flock $disk/hold true"
}
held
new_pool "$disk/more" --disk "$(uri s)"
mnt=''
mount_pool
ok "a pool on a server that flushes when it likes"
a lun create x 80M
exec 8>"$disk/hold"
flock 8
head -c 60M /dev/urandom >"$disk/random60"
try "60 MiB are written while it does not" timeout 60 dd if="$disk/random60" of="$mnt/luns/x" bs=1M oflag=direct conv=notrunc
kill_kit
exec 8>&-
held
refused "the next sync fails: the server may have lost what was not kept" timeout 60 sync "$mnt/luns/x"
grep -q "more was written since the last sync than is kept" "$disk/.daemon" && get --json doctor | grep -q "failed to sync"
ok "which is told"
refused "and so does each after it" timeout 60 dd if=/dev/zero of="$mnt/luns/x" bs=1M count=1 oflag=direct conv=notrunc,fsync
timeout 60 umount "$mnt" 2>/dev/null
ended "$daemon" 60
mount_pool
try "until it is mounted anew" timeout 60 dd if=/dev/zero of="$mnt/luns/x" bs=1M count=1 oflag=direct conv=notrunc,fsync
unmount_pool
end_kit

# ---- one whose label says that the pool was opened elsewhere since
image img3 64M
serve s file "$disk/img3"
new_pool "$disk/taken" --disk "$(uri s)"
mnt=''
mount_pool
a lun create x 16M
python3 - "$disk/img3" <<'RAISE' # both copies of the label, as another opening would
import sys
def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff
with open(sys.argv[1], "r+b") as disk:
    for at in 0, 512 << 10:
        disk.seek(at)
        label = bytearray(disk.read(4096))
        label[338:346] = (int.from_bytes(label[338:346], "little") + 5).to_bytes(8, "little")
        label[8:12] = crc32c(label[12:]).to_bytes(4, "little")
        disk.seek(at)
        disk.write(label)
RAISE
is_taken() { ! timeout 20 dd if=/dev/zero of="$mnt/luns/x" bs=4k count=1 oflag=direct conv=notrunc 2>/dev/null; }
wait_for 20 is_taken && grep -q "the pool was opened elsewhere, with another copy of its directory: nothing more is written here" "$disk/.daemon"
ok "a disk that was taken elsewhere is written no more"
timeout 60 umount "$mnt" 2>/dev/null
ended "$daemon" 60
end_kit

# ---- the silent one
ended "$silent_writer" 90 && [[ $code -ne 0 ]]
ok "what waits for a silent server fails in the end"
kill -9 "$silent_kit" && ended "$silent_kit" 20
serve silent file "$disk/silent.img"
pool=$silent_pool daemon=$silent_daemon mnt=$disk/silent-mnt
try "a request that comes when another has its place succeeds" \
    timeout 60 dd if=/dev/zero of="$mnt/luns/x" bs=64k count=1 oflag=direct conv=notrunc
unmount_pool
ok "unmounted"
done_testing
