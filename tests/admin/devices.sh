#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# vvfs-admin attach, detach and freeze with real loop devices, over plain files that stand where a mount would be.
# shellcheck disable=SC1091,SC2154,SC2016,SC2028,SC2317
. "$(dirname "$0")/../own-mounts.sh"
. "$(dirname "$0")/common.sh"
skip() { echo "1..0 # SKIP $1"; exit 0; }
[[ $(id -u) -eq 0 ]] || skip "not root"
[[ -e /dev/loop-control ]] || skip "no loop devices"
for program in mkfs.ext4 losetup fsfreeze; do command -v $program >/dev/null || skip "no $program"; done
: >"$work/try"
truncate -s 1M "$work/try"
try=$(losetup -f --show "$work/try" 2>/dev/null) || skip "loop devices cannot be made"
losetup -d "$try"

mnt=$work/mnt name=vvt$$
cleanup()
{
    umount "$work/fs" "$mnt/snapshots/db" 2>/dev/null
    for device in $(losetup -nO NAME,BACK-FILE | awk -v work="$work" 'index($2, work) {print $1}'); do losetup -d "$device"; done
    rm -rf "/dev/vvfs/$name"
    finish
}
trap cleanup EXIT
mkdir -p "$mnt/luns" "$mnt/snapshots/db" "$work/fs"
truncate -s 64M "$mnt/luns/db" "$mnt/snapshots/db/s"
pool "$name"
mounted "$name" "$mnt"
daemon "$name" "{
  \"lun.attach_check\": {\"result\": {\"path\": \"$mnt/luns/db\", \"read_only\": false}},
  \"lun.rename\": {\"result\": {}},
  \"snapshot.create\": [{\"result\": {\"created\": [{\"object\": \"db@s\", \"lun\": \"db\"}]}}, {\"result\": {\"created\": [{\"object\": \"db@s\", \"lun\": \"db\"}]}}, {\"hang\": true}]
}"
mounts() { { echo "50 1 0:99 / $mnt rw - fuse.vvfs $VVFS_POOLS_DIRECTORY/$name rw"; grep -v " fuse.vvfs " /proc/self/mountinfo; } >"$VVFS_MOUNTINFO"; }

# ---- attach
a lun attach db
device=$(<"$work/out")
[[ $code -eq 0 && -b $device && $(blockdev --getsize64 "$device") -eq 67108864 ]]; ok "attach prints a device of the right size"
[[ $(readlink -f "/dev/vvfs/$name/db") == "$device" ]]; ok "and links it"
a lun attach db
gives 1 "" "vvfs-admin: db is attached already as $device: vvfs-admin lun detach db" "twice is refused"
mkfs.ext4 -q "/dev/vvfs/$name/db" && mount "/dev/vvfs/$name/db" "$work/fs"; ok "a file system goes on it"
mounts
a lun detach db
gives 1 "" "vvfs-admin: db is in use: $device is mounted at $work/fs: umount $work/fs" "a mounted one is not detached"

# ---- freeze
a snapshot create db@s
gives 0 "" "note: $work/fs (ext4) is mounted from db and was not frozen: db@s is as after a power cut. \`--freeze\` takes it clean." "without --freeze a note"
a snapshot create db@s --freeze
gives 0 "" "" "with it none"
writable() # writable TENTHS: does a write end within this time? One that waits for a frozen file system cannot be killed
{
    touch "$work/fs/a" &
    toucher=$!
    wait_for "$1" has_ended
}
has_ended() { ! kill -0 "$toucher" 2>/dev/null; }
writable 20; ok "and it is thawed"
a snapshot create db@s --freeze --timeout 0.5
[[ $code -eq 4 ]] && writable 20; ok "thawed after a timeout"
"$tool" snapshot create db@s --freeze >"$work/out" 2>"$work/err" </dev/null &
frozen=$!
wait_for 50 requests 5
! writable 3; ok "it is frozen while the daemon works"
kill -9 "$frozen"
wait "$frozen" 2>/dev/null
writable 20; ok "thawed when the tool is killed"
fsfreeze -f "$work/fs"
a snapshot create db@s --freeze
fsfreeze -u "$work/fs"
[[ $code -eq 1 ]] && grep -q 'is frozen already' "$work/err"; ok "somebody else's freeze is left alone"

# ---- detach
unshare -m sleep 60 & # on purpose, and for a moment
keeper=$!
still_mounted() { grep -q " $work/fs " "/proc/$keeper/mountinfo" && [[ $(<"/proc/$keeper/comm") == sleep ]]; }
wait_for 50 still_mounted
umount "$work/fs"
mounts
a lun detach db
gives 1 "" "vvfs-admin: db: $device is still mounted in another mount namespace, at $work/fs for process $keeper (sleep): end that process, or umount it there" \
    "a mount of another's"
kill "$keeper"
wait "$keeper" 2>/dev/null
a lun rename db web
[[ $code -eq 0 && $(readlink -f "/dev/vvfs/$name/web") == "$device" && ! -e /dev/vvfs/$name/db ]]; ok "renaming moves the link"
mv "$mnt/luns/db" "$mnt/luns/web"
# the kernel may let go of the device only after umount has returned
coproc holds { python3 -c 'import os, sys, time; fd = os.open(sys.argv[1], os.O_RDONLY | os.O_EXCL); print(flush=True); time.sleep(0.5)' "$device"; }
read -r <&"${holds[0]}"
a lun detach web
gives 0 "" "" "detach"
[[ ! -e /dev/vvfs/$name && $(losetup -nO BACK-FILE "$device" 2>/dev/null) != "$mnt"/* ]]; ok "device and link are gone"
a lun detach web
gives 1 "" "vvfs-admin: web is not attached on this node" "twice is refused"

# ---- an older snapshot of that name: its device still says the same path, as the kernel does not know that it went
old=$(losetup -r -f --show "$mnt/snapshots/db/s")
mount -t tmpfs -o size=4M tmpfs "$mnt/snapshots/db" && truncate -s 1M "$mnt/snapshots/db/s"; ok "another file takes its place"
new=$(losetup -r -f --show "$mnt/snapshots/db/s")
far=$(losetup -r -f --show "$work/try")
[[ $(losetup -nO BACK-FILE "$old") == "$(losetup -nO BACK-FILE "$new")" ]]; ok "two devices, one path"
a snapshot detach db@s --json
[[ $code -eq 0 ]] && json "d == {'detached': ['$new'], 'left': ['$old']}"; ok "the present one is detached"
err_is "note: $old is left: it is over an older db@s, which was removed: losetup -d $old"; ok "and the older one named"
[[ -n $(losetup -nO BACK-FILE "$old") && $(losetup -nO BACK-FILE "$new" 2>/dev/null) != "$mnt"/* ]]; ok "it is still there"
a snapshot detach db@s
gives 0 "" "note: $old is over an older db@s, which was removed." "then it goes too, and is named"
a snapshot detach db@s
gives 1 "" "vvfs-admin: db@s is not attached on this node" "then there is none"
old=$(losetup -r -f --show "$mnt/snapshots/db/s")
rm "$mnt/snapshots/db/s" && truncate -s 1M "$mnt/snapshots/db/other"
a snapshot detach db@s
gives 1 "" "vvfs-admin: db@s is not attached on this node" "a deleted file that the kernel knows of is another's affair"
losetup -d "$old"
[[ -n $(losetup -nO BACK-FILE "$far") ]]; ok "what is not below the mount point stays"
losetup -d "$far"
kill "${daemons[0]}"
wait "${daemons[0]}" 2>/dev/null
daemons=()
old=$(losetup -r -f --show "$mnt/snapshots/db/other")
a snapshot detach db@other
gives 0 "" "" "without the daemon it works too"
[[ $(losetup -nO BACK-FILE "$old" 2>/dev/null) != "$mnt"/* ]]; ok "and is done"
umount "$mnt/snapshots/db"
done_testing
