#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The days of vvfs(7), from the manual itself: what it shows is typed, and what that prints is compared word by word. Numbers,
# dates and blanks may differ; so may what a test cannot have (a day's history, an unused disk). Loop devices stand for /dev/sdb.
# shellcheck disable=SC1091,SC2154,SC2016
. "$(dirname "$0")/lib.sh"
needs mkfs.ext4 script uuidgen perl
[[ ${VV_MOUNT_INSIDE-} == 1 ]] || skip_all "no mount namespaces"
[[ ! -e /dev/vvfs/tank ]] || skip_all "there is a pool tank already"
page=${VV_SRCDIR:-$here/../..}/man/vvfs.7

# ---- the stage: /var/lib/vvfs and the rest are the test's own, in lib.sh's mount namespace; that has let go of what others
# have mounted, and so tank is the only pool
made=()
stage() # stage DIRECTORY: an empty one of ours in its place
{
    [[ -d $1 ]] || { mkdir -p "$1" && made+=("$1"); }
    mkdir -p "$disk/stage$1"
    mount --bind "$disk/stage$1" "$1"
}
sdb=
leave()
{
    local status=$? pid
    pid=$(sed -n 's/^pid //p' /var/lib/vvfs/tank/daemon.lock 2>/dev/null)
    [[ -z $pid ]] || ours+=("$pid")
    umount /srv/db /mnt 2>/dev/null
    "$tool" -p tank lun detach db >/dev/null 2>&1
    "$tool" -p tank snapshot detach db@before-restore-1 >/dev/null 2>&1
    umount /vv 2>/dev/null || umount -l /vv 2>/dev/null
    [[ -z $pid ]] || wait_for 20 gone "$pid"
    umount /var/lib/vvfs /srv /mnt /vv 2>/dev/null
    [[ -z $sdb ]] || losetup -d "$sdb"
    ((${#made[@]} == 0)) || rmdir "${made[@]}" 2>/dev/null
    rmdir /dev/vvfs/tank /dev/vvfs 2>/dev/null
    (exit "$status")
    finish
}
trap leave EXIT
for directory in /var/lib/vvfs /srv /mnt /vv; do stage "$directory"; done
mkdir /srv/db
PATH=$build:$PATH
truncate -s 2G "$disk/sdb.img"
sdb=$(losetup -f --show "$disk/sdb.img") || skip_all "no loop device"
name=${sdb##*/}
cd / || exit 99

# ---- what the manual does not show
setup()
{
    mkfs.ext4 -q -L old-data "$sdb" && mount "$sdb" /mnt && umount /mnt
}
autos() # 32 snapshots that share a file which was removed later
{
    local i
    dd if=/dev/urandom of=/vv/luns/db bs=1M count=30 seek=2000 conv=notrunc,fsync status=none
    for ((i = 0; i < 32; i++)); do
        vvfs-admin snapshot create db --prefix auto >/dev/null || return 1
        dd if=/dev/urandom of=/vv/luns/db bs=64K count=1 seek=40000 conv=notrunc,fsync status=none
    done
    # The last one is not the others': it has nothing of that file.
    last=$(vvfs-admin snapshot list db -H -o object --match 'db@auto-*' | tail -n 1)
    vvfs-admin snapshot rename "$last" kept
    dd if=/dev/urandom of=/vv/luns/db bs=1M count=30 seek=2000 conv=notrunc,fsync status=none
    vvfs-admin snapshot remove db@kept
    vvfs-admin snapshot list --exact >/dev/null
}
fill() # to 91 %
{
    vvfs-admin job wait
    local total free
    total=$(vvfs-admin pool status --json | jq .space.total)
    free=$(vvfs-admin pool status --json | jq .space.free)
    dd if=/dev/urandom of=/vv/luns/dbtest bs=1M count=$(((free - total * 9 / 100) >> 20)) seek=5000 conv=notrunc,fsync status=none
    vvfs-admin snapshot list --exact >/dev/null
    vvfs-admin lun list --exact >/dev/null
}

# ---- comparing
plain() # stdin: a text without what may differ
{
    sed -E 's#/dev/loop[0-9]+#/dev/loop0#g
            s/[0-9]{8}T[0-9]{6}Z(-[0-9]+)?/STAMP/g
            s/[0-9]{4}-[0-9]{2}-[0-9]{2}( [0-9]{2}:[0-9]{2}:[0-9]{2})?/DATE/g
            s/, full in about .* at the last day.s rate//
            s/ +job [0-9]+ +reclaim .*//
            s/( [0-9.]+[KMGTP]? +)\?( +[0-9]+ +[0-9]+ )/\1 0\2/
            s/ \(freeing [^)]*\)//
            s#disk add (/dev/[a-z0-9]+ +adds [0-9.]+[KMGTP]? \(empty, unused\)|PATH)#disk add PATH#' |
        sed -E 's/(^|[^A-Za-z0-9_-])[0-9]+(\.[0-9]+)?[KMGTP]?\b/\1N/g' |
        tr -s '\n\t ' ' ' | sed -E 's/ ?([{}:,]) ?/\1/g; s/^ //; s/ $//'
}
# As in the manual: its disk, its machine.
there() { sed -E "s#$sdb\\b#/dev/sdb#g; s#\\b$name\\b#sdb#g; s#on $(hostname -s)\\b#on web1#g"; }
# The manual shows dates of its own in patterns.
here_and_now() { sed -E "s#/dev/sdb#$sdb#g; s/'db@auto-202610\*'/'db@auto-*'/g"; }

type_in() # type_in COMMAND WANTED
{
    local command=$1 wanted=$2 typed got
    typed=$(here_and_now <<<"$command")
    if [[ $wanted == *'[y/N] y'* ]]; then
        printf '%s' "$typed" >"$disk/typed"
        script -qec "bash $disk/typed" /dev/null <<<y 2>&1 | tr -d '\r' | sed -E 's/^y$//; s/(\[y\/N\]) *y?$/\1 y/' >"$out"
        code=${PIPESTATUS[0]}
    else
        eval "$typed" >"$out" 2>&1 </dev/null
        code=$?
    fi
    [[ $code -eq 0 ]] || echo "→ $code" >>"$out"
    : >"$err"
    got=$(there <"$out" | plain)
    [[ $got == "$(plain <<<"$wanted")" ]]
    ok "${command:0:90}" || printf '# wanted: %s\n# got:    %s\n' "$(plain <<<"$wanted")" "$got"
}

# ---- the manual: .Bd -literal blocks, as mandoc would show them
mapfile -t lines <"$page"
inside=0 skip=0 command='' wanted=''
flush()
{
    [[ -z $command ]] || type_in "$command" "$wanted"
    command='' wanted=''
}
for line in "${lines[@]}"; do
    if [[ $line == '.\" test: '* ]]; then
        flush
        if [[ $line == *': skip' ]]; then
            skip=1
        else
            eval "$(here_and_now <<<"${line#*test: }")" >"$out" 2>"$err" </dev/null
            code=$?
            [[ $code -eq 0 ]]
            ok "(${line#*test: })"
        fi
    elif [[ $line == '.Bd -literal'* ]]; then
        inside=1
    elif [[ $line == '.Ed' ]]; then
        flush
        inside=0 skip=0
    elif ((inside && !skip)); then
        line=${line//'\(->'/→}
        line=${line//'\e'/\\}
        if [[ $line =~ ^[#$]' ' ]]; then
            flush
            command=${line:2}
        else
            wanted+=$line$'\n'
        fi
    fi
done
[[ $tests -gt 20 ]]
ok "the manual has days"
done_testing
