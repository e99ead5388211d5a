#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Bad input: each gives a clear error and the right exit code, and changes nothing.
# shellcheck disable=SC1091,SC2154,SC2317
. "$(dirname "$0")/lib.sh"
needs mkfs.ext4 mkfs.xfs mkswap blkid python3

new_pool "$disk/pool" --size 1G && mount_pool || exit 99
l=$mnt/luns
head -c 1M /dev/urandom >"$shm/data"

# All that commands may change.
state()
{
    {
        get --json lun list
        get --json snapshot list
        get --json disk list
    } | jq -c 'map(del(.exclusive, .open, .free))'
    find "$disk" "$shm" -name .out -prune -o -name .err -prune -o -name .daemon -prune -o -path '*/mnt' -prune -o \
        ! -path '*/pool/*' -type f -printf '%P %s\n' | sort
    sha256sum "$l"/* 2>/dev/null
}
before=''
bad() # bad CODE PATTERN ARGUMENT...: the tool refuses, on one line of stderr, and nothing is changed
{
    local wanted=$1 pattern=$2 after
    shift 2
    a "$@"
    after=$(state)
    [[ $code -eq $wanted && ! -s $out && $(wc -l <"$err") -eq 1 ]] && grep -qE -- "$pattern" "$err" && [[ $after == "$before" ]]
    ok "$(sed "s|$disk|DIR|g; s|$shm|SHM|g" <<<"$*" | cut -c 1-100)" || diff <(echo "$before") <(echo "$after") | head -n 5 | sed 's/^/# /'
}
json_bad() # json_bad CODE ERROR-CODE ARGUMENT...: as JSON, on stdout
{
    local wanted=$1 word=$2
    shift 2
    a --json "$@"
    [[ $code -eq $wanted ]] && jq -e --arg c "$word" '.error | .code == $c and (.message | length > 0) and has("object") and has("hint")' "$out" >/dev/null &&
        [[ $(state) == "$before" ]]
    ok "--json $*: $word"
}

a lun create db 8M
dd if="$shm/data" of="$l/db" conv=notrunc,fsync 2>/dev/null
a snapshot create db@s
before=$(state)

# ---- names
bad 1 'contains|name' lun create 'a b' 1M
bad 1 'cannot name a LUN' lun create 'a@b' 1M
bad 1 'cannot name a LUN' lun create a:b 1M
bad 1 'cannot name a LUN' lun create ü 1M
bad 1 "begins with '-'" lun create -- -x 1M
bad 1 '129 characters' lun create "$(printf '%0129d' 0)" 1M
bad 1 'cannot name' lun create '' 1M
bad 1 'cannot name' lun create .. 1M
bad 1 'cannot name' lun rename db 'x y'
bad 1 'cannot name' snapshot create 'db@a b'
bad 1 'cannot name' snapshot create 'db@'
bad 1 'cannot name' snapshot rename db@s 'a/b'
bad 1 'db exists|exists.*made|exists.*created' lun create db 1M
bad 1 '20[0-9][0-9]-[01][0-9]-[0-3][0-9]' lun create db 1M
bad 1 '20[0-9][0-9]-[01][0-9]-[0-3][0-9]' snapshot create db@s
bad 1 'exists' lun clone db@s db
json_bad 1 exists lun create db 1M
json_bad 1 invalid-name lun create 'a b' 1M

# ---- sizes
bad 2 '10G.*10000000000|9\.3.*10G|GB' lun create x 10GB
bad 2 'zero|0' lun create x 0
bad 2 '' lun create x -- -5
bad 2 '' lun create x many
bad 2 '' lun create x 1e9
bad 2 '' lun create x 8E
bad 2 '' lun create x 9223372036854775807
bad 2 '512' lun create x 1000
bad 2 '512' lun resize db 1000
bad 1 '--shrink' lun resize db 4M
bad 1 'no LUN' lun resize nope 4M
bad 2 '' lun resize db +8E
bad 2 '' lun create x
bad 2 '' lun create
json_bad 2 usage lun create x 10GB

# ---- what is not there, and what must stay
bad 1 'no LUN nope' lun show nope
bad 1 'nope' snapshot show db@nope
bad 1 'nope' snapshot create nope@x
bad 1 'nope' snapshot create db@t nope@t
bad 1 'nope' lun remove nope
bad 1 'nope' lun remove db nope --with-snapshots
bad 1 'nope' lun clone db@nope x
bad 1 'nope' snapshot restore db@nope
bad 1 'nope' snapshot remove db@nope
bad 1 'nope' snapshot remove db@s db@nope
bad 1 'matches|no snapshot' snapshot remove 'db@x*'
bad 1 'nope' snapshot diff db@nope
bad 1 'nope' snapshot diff db@s db@nope
bad 1 'nope' snapshot prune nope --prefix p --keep-last 1
bad 1 'nope' lun attach nope
bad 1 'not attached' lun detach db
bad 1 'nope' lun rename nope x
bad 1 'with-snapshots' lun remove db
json_bad 1 not-found lun show nope
json_bad 1 has-snapshots lun remove db
a snapshot create db@t db@u
before=$(state)
bad 1 '--yes' snapshot remove 'db@[tu]'
exec 6<>"$l/db"
bad 1 "open for writing on .*: bash \(pid $BASHPID\)" snapshot restore db@s
json_bad 1 busy snapshot restore db@s
exec 6>&-
closed db
a lun set db keep=on
before=$(state)
bad 1 'keep' lun remove db --with-snapshots
bad 1 'keep' snapshot restore db@s
bad 1 'keep' lun resize db 4M --shrink
a lun set db keep=off
a snapshot set db@s keep=on
before=$(state)
bad 1 'keep' snapshot remove db@s
bad 1 'keep' lun remove db --with-snapshots
a snapshot set db@s keep=off
before=$(state)
bad 2 '' lun set db nope=1
bad 2 '' lun set db mode=999
bad 2 '' lun set db on-full=maybe
bad 2 '' lun set db timeout=x
bad 1 'copies|disk' lun create x 1M --copies 2
bad 2 '' pool set nope=1
bad 2 'restore' snapshot rollback db@s
bad 2 '' lun frobnicate
bad 2 '' lun list --nope
bad 2 '' lun list -o nope
bad 2 '' snapshot create db
bad 2 '' snapshot prune db

# ---- disks. Files, and loop devices over files, of 64 MiB.
backing() { truncate -s "${2:-64M}" "$shm/$1" && echo "$shm/$1"; }
device() { losetup -f --show ${2:+-r} "$(backing "$1")"; }
signed=$(backing ext4) && mkfs.ext4 -q -L old-data "$signed" 2>/dev/null
before=$(state)
bad 1 'ext4.*old-data|old-data.*ext4' disk add "$signed"
bad 1 'overwrite' disk add "$signed"
xfs=$(backing xfs 320M) && mkfs.xfs -q "$xfs" && swap=$(backing swap) && mkswap -q "$swap" 2>/dev/null
table=$(backing table) && printf '\x80\0\1\0\x83\0\1\0\0\x08\0\0\0\x10\0\0' | dd of="$table" bs=1 seek=446 conv=notrunc 2>/dev/null &&
    printf '\x55\xaa' | dd of="$table" bs=1 seek=510 conv=notrunc 2>/dev/null
small=$(backing small 1M)
d=$(device mounted) && mkfs.ext4 -q "$d" && mkdir "$disk/fs" && mount "$d" "$disk/fs"
ro=$(device ro ro)
before=$(state)
bad 1 'xfs' disk add "$xfs"
bad 1 'swap' disk add "$swap"
bad 1 'dos|partition' disk add "$table"
bad 1 'small|at least' disk add "$small"
bad 1 "mounted.*$disk/fs|$disk/fs" disk add "$d"
bad 1 "mounted|use" disk add "$d" --overwrite
bad 1 'read-only|Read-only' disk add "$ro"
bad 1 'No such file' disk add "$disk/nope"
bad 1 'part of|of this pool|of pool' disk add "$pool/disk0"
ln -s "$pool/disk0" "$disk/alias"
before=$(state)
bad 1 'part of|of this pool|of pool' disk add "$disk/alias"
umount "$disk/fs"
losetup -d "$d" "$ro"
loop0=$(losetup -f --show "$pool/disk0" 2>/dev/null) && {
    before=$(state)
    bad 1 'part of|of this pool|of pool|use' disk add "$loop0"
    losetup -d "$loop0"
}
a lun create self 64M
own=$(loop_of "$l/self" on)
before=$(state)
bad 1 'LUN' disk add "$own"
bad 1 'LUN' disk add "$l/self"
losetup -d "$own"
closed self
# A LUN and its snapshot are removed while they are attached and made again: their names mean the new ones at once. The kernel
# does not say of the loop device that its file is gone.
again() # again ROUNDS
{
    local i
    for ((i = 0; i < $1; i++)); do
        a lun create old 1M && a snapshot create old@s && a snapshot attach old@s || return 1
        stale=$(<"$out")
        a lun remove old --with-snapshots && a lun create old 2M && a snapshot create old@s && a snapshot attach old@s || return 1
        [[ $(blockdev --getsize64 "$(<"$out")") -eq $((2 << 20)) ]] || return 1
        ((i + 1 == $1)) || { losetup -d "$stale" "$(<"$out")" && a lun remove old --with-snapshots; } || return 1
    done
}
again 5
ok "what is made under the name of what was removed while attached is attached"
before=$(state)
bad 1 'attached already as' snapshot attach old@s
gives 0 "$stale is left" "detach leaves, and names, the device of the one that was removed" snapshot detach old@s
is "only that is left" "$(loops_below)" "$stale"
losetup -d "$stale"
a lun remove old --with-snapshots
before=$(state)
bad 1 'exists' disk add "$shm/data" --size 64M
bad 1 'not a|directory' disk add "$disk"
bad 1 'not a|device' disk add /dev/null
bad 1 'nope' disk show nope
bad 1 'nope' disk remove nope
bad 1 'nope' disk grow nope
bad 1 'only|last|holds' disk remove disk0
bad 1 'smaller|shrink' disk grow disk0 512M
json_bad 1 in-use-device disk add "$signed"
truncate -s 64M "$shm/second"
try "a disk is added" a disk add "$shm/second"
name=$(<"$out")
name=${name:-second}
is "and listed" "$(get disk list -H -o name | tail -n 1)" "$name"
before=$(state)
try "and removed again, empty" a disk remove "$name"
try "with --overwrite one that carries something is taken" a disk add "$signed" --overwrite
a disk remove ext4

# ---- pools
p() # p CODE PATTERN ARGUMENT...: pool create
{
    local wanted=$1 pattern=$2
    shift 2
    timeout 60 "$tool" pool create "$@" >"$out" 2>"$err" </dev/null
    code=$?
    [[ $code -eq $wanted && ! -s $out ]] && grep -qE -- "$pattern" "$err"
    ok "pool create $(sed "s|$disk|DIR|g; s|$shm|SHM|g" <<<"$*" | cut -c 1-100)"
}
fa=$(backing fa) && mkfs.ext4 -q -L keep-me "$fa" 2>/dev/null
fb=$(backing fb) && mkswap -q "$fb" 2>/dev/null
d=$(device mounted2) && mkfs.ext4 -q "$d" && mkdir -p "$disk/fs" && mount "$d" "$disk/fs"
sums() { sha256sum "$fa" "$fb"; }
was=$(sums)
p 1 "mounted at $disk/fs" "$disk/many" --disk "$fa" --disk "$fb" --disk "$d" --overwrite
p 1 "mounted at $disk/fs" "$disk/many" --disk "$fa" --disk "$fb" --disk "$d" --overwrite --dry-run
p 2 'named twice' "$disk/many" --disk "$fa" --disk "$fb" --disk "$fa" --overwrite
is "of disks the last of which is refused the first are as they were" "$(sums)" "$was"
[[ ! -e $disk/many ]]
ok "and no directory is left"
umount "$disk/fs"
losetup -d "$d"
mkdir "$disk/notempty" "$disk/empty" && : >"$disk/notempty/file"
p 1 'not empty' "$disk/notempty"
is "which stays" "$(find "$disk/notempty" -type f -printf '%f %s')" "file 0"
long=$disk/$(printf '%0100d' 0)
p 1 'too long|longer' "$long"
[[ ! -e $long ]]
ok "and is not made"
p 1 'not empty|pool' "$pool"
p 1 'xfs' "$disk/new" --disk "$xfs"
[[ ! -e $disk/new ]]
ok "no directory is left behind"
p 1 'of pool|part of|in use|open' "$disk/new" --disk "$pool/disk0"
p 2 '' "$disk/new" --size 10GB
p 1 'small|at least' "$disk/new" --size 1M
p 1 'name' "$disk/new" --name 'a b'
p 1 'No such' "$disk/new" --disk "$disk/nope"
is "the file systems on them are as they were" "$(blkid -o value -s TYPE "$xfs" "$swap" | tr '\n' ' ')" "xfs swap "
p 1 'twice|same|already' "$disk/new" --disk "$(backing twice)" --disk "$shm/twice"
timeout 60 "$tool" -p "$pool" pool destroy --yes >"$out" 2>"$err"
is "destroy of a mounted pool is refused" $? 1
refused "and without --yes" timeout 60 "$tool" pool destroy "$pool"
timeout 60 "$tool" -p nope lun list >"$out" 2>"$err" </dev/null
code=$?
[[ $code -eq 1 || $code -eq 3 ]] && grep -q nope "$err"
ok "a pool that is not there"

# ---- through the mount
refused "a write at the end" dd if=/dev/zero of="$l/db" bs=4096 seek=2048 count=1 conv=notrunc
is "nothing was changed by all this" "$("$tool" -p "$pool" pool check >/dev/null 2>&1; cmp -n 1M "$shm/data" "$l/db" && stat -c %s "$l/db")" $((8 << 20))
unmount_pool
ok "unmounts"
try "check" check_pool

# ---- damage: named and refused, never guessed
flip() # flip FILE OFFSET: one bit
{
    python3 -c "
import sys
f = open(sys.argv[1], 'r+b')
f.seek(int(sys.argv[2]))
b = f.read(1)
f.seek(-1, 1)
f.write(bytes([b[0] ^ 1]))" "$1" "$2"
}
damaged() # damaged DESCRIPTION PATTERN: mounting is refused, check says so, and both name it
{
    timeout 60 "$vvfs" "$pool" "$mnt" >"$out" 2>"$err" </dev/null {never}>&-
    code=$?
    [[ $code -eq 1 ]] && grep -qE -- "$2" "$err" && [[ -z $(findmnt -no FSTYPE --mountpoint "$mnt") ]]
    ok "$1: mounting is refused"
    check_pool
    code=$?
    [[ $code -eq ${3-5} ]] && cat "$out" "$err" | grep -qE -- "$2"
    ok "$1: check sees it"
    anew
}
anew() { rm -rf "$pool" && cp -a --sparse=always "$disk/good" "$pool"; }
mended() # mended DESCRIPTION PATTERN: mounting works, and says what was done
{
    : >"$disk/.daemon"
    mount_pool && wait_for 10 grep -qE -- "$2" "$disk/.daemon" # it may say so behind the first answer
    ok "$1" || tell "$disk/.daemon" daemon
    cmp -n 1M "$shm/data" "$l/db"
    ok "$1: and nothing is lost"
    unmount_pool
    try "$1: check" check_pool
    anew
}
second=$((512 << 10)) # where the second copy of the label is
mount_pool
a lun create another 64M
a lun create last 64M
"$calls" "open a rw $l/another" "pwrite a 0 64K x" "fsync a" >/dev/null
kill_pool # so that the journal holds what the map does not
umount "$mnt"
cp -a --sparse=always "$pool" "$disk/good"
rm "$disk/good/in-use" # nothing served it when it was copied
flip "$pool/disk0" 20
mended "a bit of one label" 'one copy of the label was bad'
flip "$pool/disk0" $((second + 20))
mended "a bit of the other" 'one copy of the label was bad'
flip "$pool/disk0" 20
flip "$pool/disk0" $((second + 20))
damaged "a bit of both labels" 'disk0.*damaged'
sed -i '1s/.*/vvfs-pool 99/' "$pool/vvfs-pool"
damaged "a pool of a newer format" 'newer' 1
mv "$pool/disk0" "$disk/elsewhere"
damaged "a disk that is gone" 'disk0 does not exist'
rm "$disk/elsewhere"
truncate -s 1G "$pool/disk0.new" && mv "$pool/disk0.new" "$pool/disk0"
damaged "another file in its place" 'disk0.*label'
journal=$(grep -laboUz another "$pool"/journal/* | head -n 1)
at() { grep -aboUF "$2" "$1" | "$3" -n 1 | cut -d : -f 1; } # at FILE WORD head|tail
flip "$journal" "$(at "$journal" another head)"
damaged "a bit of an entry in the journal" 'entry [0-9]+ at offset [0-9]+ is damaged'
flip "$journal" $(($(at "$journal" VVJE tail) + 60))
mended "a bit of the last entry, which may be torn" 'mounted'
rm "$pool"/journal/*
damaged "an empty journal" 'the folder .*/journal has no journal files'
rm -r "$pool"/journal
damaged "no journal" 'the folder .*/journal is missing: .*Put it back as it was'
: >"$pool"/spare && rm -r "$pool"/journal && mv "$pool"/spare "$pool"/journal
damaged "a file in place of the journal" '/journal is '
rm -r "$pool"/map
damaged "no map" 'map/data.mdb is missing: .*Put it back as it was'
mount_pool && unmount_pool # into the map
rm -rf "$disk/good" && cp -a --sparse=always "$pool" "$disk/good"
while read -r offset; do
    flip "$pool/map/data.mdb" "$offset"
done < <(grep -aboUF another "$pool/map/data.mdb" | cut -d : -f 1)
damaged "a bit of a record" 'metadata store .* is damaged: page [0-9]+ of data.mdb'
rm "$pool/map/sums"
damaged "no checksums of the map" 'map/sums is missing: .*Put it back as it was'
truncate -s 16K "$pool/map/data.mdb"
damaged "a map that was cut" 'map'
# ---- checksums of the map that are lost, and made anew
rm "$pool/map/sums"
refused "without checksums of the map it is damaged" check_pool
grep -q 'map/sums is missing' "$out"
ok "and why"
try "repair makes them anew" "$tool" pool check --repair "$pool"
grep -qE 'checksums of the map were lost.*\(repaired\)' "$out"
ok "and says so"
try "then nothing is wrong" check_pool
flip "$pool/map/sums" 4100
flip "$pool/map/sums" 100
flip "$pool/map/sums" 612
try "the same where they are damaged" "$tool" pool check --repair "$pool"
try "then nothing is wrong" check_pool
rm "$pool/map/sums"
while read -r offset; do
    flip "$pool/map/data.mdb" "$offset"
done < <(grep -aboUF another "$pool/map/data.mdb" | cut -d : -f 1)
refused "not where a record is damaged" "$tool" pool check --repair "$pool"
[[ ! -e $pool/map/sums && ! -e $pool/map/sums.new ]]
ok "and nothing is left of the try"
anew
mount_pool
ok "the good one mounts"
try "and holds what it held" cmp -n 1M "$shm/data" "$l/db"
unmount_pool
done_testing
