# SPDX-License-Identifier: GPL-2.0-or-later
# For the tests of the mount: a pool, its daemon, loop devices and file systems, all below directories of the test's own, all
# taken down at the end whatever happens; and TAP. Nothing here sleeps for a fixed time: wait_for has a condition and a limit.
#
#     $disk, $shm      empty directories on the machine's disk and in memory, short enough for a socket's path
#     $pool $mnt       the pool in use and where it is mounted; $daemon its process
#     $out $err        what `a` and `try` caught; $code its exit code
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2261,SC2015 # for the tests; <>; only ever done when the first part failed
set -u
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
build=${VV_BUILDDIR:-$here/../..}
vvfs=$build/vvfs
tool=$build/vvfs-admin
calls=$build/tests/mount/calls
unset VVFS_POOL NO_COLOR VVFS_MOUNTINFO VVFS_POOLS_DIRECTORY VVFS_DAEMON
export TZ=UTC LC_ALL=C
PATH=$PATH:/usr/sbin:/sbin

# shellcheck disable=SC1091
. "$here/../own-mounts.sh"
[[ -n $(ls /sys/fs/fuse/connections 2>/dev/null) ]] || mount -t fusectl fusectl /sys/fs/fuse/connections 2>/dev/null

skip_all() # skip_all REASON
{
    echo "1..0 # SKIP $1"
    exit 0
}
needs() # needs PROGRAM...
{
    local program
    for program; do
        command -v "$program" >/dev/null || skip_all "$program is not installed"
    done
}
[[ -x $vvfs && -x $tool ]] || skip_all "vvfs is not built"
[[ $(id -u) -eq 0 ]] || skip_all "not root"
[[ -c /dev/fuse ]] || skip_all "no /dev/fuse"
needs jq losetup findmnt timeout
disk=$(mktemp -d /var/tmp/vvt.XXXXXX)
shm=$(mktemp -d /dev/shm/vvt.XXXXXX)
out=$disk/.out err=$disk/.err
: >"$out" >"$err"
pool='' mnt='' daemon='' code=0
ours=() # processes that `start` began

# ---- waiting
exec {never}<> <(:)
wait_for() # wait_for SECONDS COMMAND...: until it is true
{
    local limit=$((SECONDS + $1 + 1))
    shift
    until "$@"; do
        ((SECONDS < limit)) || return 1
        read -rt 0.05 -u "$never"
    done
    return 0
}
gone() { ! kill -0 "$1" 2>/dev/null; }
ended() # ended PID SECONDS: a child of ours; its exit code in $code, 255 if it is still there
{
    code=255
    wait_for "$2" gone "$1" || return 1
    wait "$1" 2>/dev/null
    code=$?
    return 0
}

# ---- TAP
tests=0 failures=0
tell() # tell FILE WORD: as diagnostics, not all of it
{
    [[ ! -s $1 ]] || tail -n 30 "$1" | cut -c 1-300 | sed "s/^/# $2: /"
}
ok() # ok DESCRIPTION: the result of the command before
{
    local result=$?
    tests=$((tests + 1))
    if [[ $result -eq 0 ]]; then
        echo "ok $tests - $1"
        return 0
    fi
    failures=$((failures + 1))
    echo "not ok $tests - $1"
    tell "$out" out
    tell "$err" err
    echo "# exit: $code; line ${BASH_LINENO[0]}"
    [[ ! -e $disk/.daemon ]] || tail -n 5 "$disk/.daemon" | sed 's/^/# daemon: /'
    return 1
}
is() # is DESCRIPTION GOT WANTED
{
    [[ $2 == "$3" ]]
    ok "$1" || printf '# got:    %s\n# wanted: %s\n' "$2" "$3"
}
try() # try DESCRIPTION COMMAND...: it succeeds
{
    local description=$1
    shift
    "$@" >"$out" 2>"$err" </dev/null
    code=$?
    [[ $code -eq 0 ]]
    ok "$description"
}
refused() # refused DESCRIPTION COMMAND...: it fails
{
    local description=$1
    shift
    "$@" >"$out" 2>"$err" </dev/null
    code=$?
    [[ $code -ne 0 ]]
    ok "$description"
}
says() # says DESCRIPTION RESULTS OPERATION...: of calls(1), which sees the words
{
    local description=$1 wanted=$2 got
    shift 2
    got=$("$calls" "$@" 2>&1)
    is "$description" "${got% }" "$wanted"
}
pass_over() # pass_over DESCRIPTION REASON
{
    tests=$((tests + 1))
    echo "ok $tests - $1 # SKIP $2"
}
note() { printf '# %s\n' "$*"; }
done_testing()
{
    echo "1..$tests"
    exit $((failures > 0))
}

# ---- the tool, off a terminal
a() # a ARGUMENT...: $code, $out, $err
{
    timeout 120 "$tool" -p "$pool" "$@" >"$out" 2>"$err" </dev/null
    code=$?
    return "$code"
}
get() { timeout 120 "$tool" -p "$pool" "$@" 2>/dev/null </dev/null; } # get ARGUMENT...: its stdout
gives() # gives CODE PATTERN DESCRIPTION ARGUMENT...: exit code, and an extended regex that stdout and stderr together match
{
    local wanted=$1 pattern=$2 description=$3
    shift 3
    a "$@"
    [[ $code -eq $wanted ]] && cat "$out" "$err" | grep -qE -- "$pattern"
    ok "$description"
}
space() { get --json pool status | jq -r ".space.$1"; } # space used|free|held|freeing|total
is_space() { [[ $(space used) -le $1 ]]; }
is_settled() { [[ $(space freeing) -eq 0 && $(get --json job list) == "[]" ]]; }
settled() { wait_for 60 is_settled; } # what was removed before is reclaimed
is_closed() { get --json lun show "$1" | jq -e '.openers == [] and .size % 4096 == 0' >/dev/null; }
# closed LUN: the kernel tells of the last close behind close(2), and the size of a new LUN is rounded up behind that
closed() { wait_for 10 is_closed "$1"; }
space_falls() # space_falls BYTES: what is removed comes back by itself, until no more than that is used
{
    wait_for 60 is_space "$1" && return
    echo "# more than $1 stays used: $(get --json pool status | jq -c .space), jobs $(get --json job list | jq -c .), $(get --json lun list | jq -c 'map([.name, .used])')"
    return 1
}

# ---- pools and daemons
new_pool() # new_pool DIRECTORY ARGUMENT...: made, not mounted
{
    pool=$1
    shift
    timeout 60 "$tool" pool create "$pool" "$@" >"$out" 2>"$err" </dev/null
    code=$?
    return "$code"
}
# A dead mount still answers what the kernel remembers; this is asked anew.
serves() { timeout 5 "$tool" -p "$pool" pool status >/dev/null 2>&1 && timeout 5 stat -f "$mnt" >/dev/null 2>&1; }
serves_or_ended() { gone "$daemon" || { [[ $(findmnt -no FSTYPE --mountpoint "$mnt") == fuse.vvfs ]] && serves; }; }
mount_options=${VV_MOUNT_OPTIONS-} # of every mount: a test may run others with some
mount_with=() # what the daemon is run by
mount_pool() # mount_pool [OPTIONS]: $pool at $mnt, which is made
{
    [[ -n $mnt ]] || mnt=$disk/mnt
    mkdir -p "$mnt" 2>/dev/null
    local options=${1-}${1:+${mount_options:+,}}${mount_options-}
    "${mount_with[@]}" "$vvfs" -f ${options:+-o "$options"} "$pool" "$mnt" >>"$disk/.daemon" 2>&1 </dev/null {never}>&- &
    daemon=$!
    ours+=("$daemon")
    wait_for 60 serves_or_ended && ! gone "$daemon" && return 0
    tell "$disk/.daemon" daemon
    return 1
}
unmount_pool() # and its daemon ends by itself, without an error
{
    timeout -k 5 60 umount "$mnt" 2>"$err" && ended "$daemon" 60 && [[ $code -eq 0 ]] && return 0
    tell "$disk/.daemon" daemon
    return 1
}
server() # who serves: the child of the holder, or the daemon itself where there is none
{
    local children=() child
    read -ra children 2>/dev/null <"/proc/$daemon/task/$daemon/children" # no line end
    for child in "${children[@]}"; do
        [[ $(cat "/proc/$child/comm" 2>/dev/null) == vvfs-looker ]] || { echo "$child" && return; }
    done
    echo "$daemon"
}
kill_pool() # as if power had gone: who serves and who holds the mount are killed, and the mount stays behind, dead
{
    local child
    child=$(server)
    kill -STOP "$daemon" # so that nobody takes over in between
    kill -9 "$child" 2>/dev/null
    kill -9 "$daemon" 2>/dev/null
    ended "$daemon" 30 && wait_for 30 gone "$child"
}
kill_server() # the process that serves, and nothing else; $killed is its number
{
    killed=$(server)
    [[ $killed != "$daemon" ]] && kill -9 "$killed"
}
other_serves() # somebody else than $killed serves, and says so
{
    local now
    now=$(server)
    [[ $now != "$killed" && $now != "$daemon" ]] && grep -qx "serving $now" "$pool/daemon.lock" && grep -qx 'state serving' "$pool/daemon.lock"
}
check_pool() { timeout 300 "$tool" pool check "$pool" >"$out" 2>"$err" </dev/null; } # not mounted
rss_bytes() # rss_bytes PID: anonymous and locked memory
{
    awk '/^(RssAnon|VmLck):/ { sum += $2 } END { print sum * 1024 }' "/proc/$1/status"
}
start() # start COMMAND...: in the background; $! and $ours
{
    "$@" >>"$disk/.started" 2>&1 </dev/null {never}>&- &
    ours+=("$!")
}

# ---- what stands on LUNs
loop_of() # loop_of FILE on|off [ro]: a loop device, printed; on: with direct I/O
{
    losetup -f --show --direct-io="$2" ${3:+-r} "$1"
}
make_fs() # make_fs ext4|xfs|btrfs DEVICE
{
    case $1 in
    ext4) mkfs.ext4 -q -F "$2" ;;
    xfs) mkfs.xfs -q -f "$2" ;;
    btrfs) mkfs.btrfs -q -f "$2" ;;
    esac >"$out" 2>"$err"
}
read_only_options() # read_only_options TYPE: to mount what cannot be written
{
    case $1 in
    ext4) echo ro,noload ;;
    xfs) echo ro,norecovery,nouuid ;;
    btrfs) echo ro ;;
    esac
}
fsck_clean() # fsck_clean TYPE DEVICE: unmounted; nothing is changed
{
    case $1 in
    ext4) e2fsck -fn "$2" ;;
    xfs) xfs_repair -n "$2" ;;
    btrfs) btrfs check --force "$2" ;;
    esac >"$out" 2>"$err"
}
manifest() # manifest DIRECTORY: every name, attribute and content of a tree, as one number
{
    (
        cd "$1" || exit 1
        # Size and time of a directory are the file system's own affair.
        find . ! -name lost+found -type d -printf '%P d %m %U %G\n' -o ! -name lost+found -printf '%P %y %m %U %G %s %T@ %l\n' | sort
        find . -type f -print0 | sort -z | xargs -0 -r cat | sha256sum
    ) | sha256sum
}
tree() # tree DIRECTORY: a few thousand real files of this machine, links and empty ones among them
{
    (cd / && find usr/include/[a-l]* usr/share/perl* usr/share/misc usr/share/zoneinfo -xdev \( -type f -o -type l -o -type d \) -size -1024k \
        -print 2>/dev/null | sort | awk 'NR % 4 == 0' | head -n 2500 | tar -cf - --no-recursion -T -) | tar -xf - -C "$1"
    : >"$1/empty"
    truncate -s 3M "$1/hole"
    printf 'the end' >>"$1/hole"
}

# ---- the end
mounts_below() { findmnt -rno TARGET | grep -E "^($disk|$shm)(/|\$)" | tac; }
loops_below() { losetup -nlO NAME,BACK-FILE 2>/dev/null | awk -v a="$disk/" -v b="$shm/" 'index($2, a) == 1 || index($2, b) == 1 { print $1 }'; }
abort_fuse() # whoever waits for a dead or stuck mount gets an error
{
    local minor
    while read -r minor; do
        echo 1 >"/sys/fs/fuse/connections/${minor#*:}/abort" 2>/dev/null
    done < <(findmnt -rnt fuse.vvfs -o TARGET,MAJ:MIN | awk -v a="$disk/" -v b="$shm/" 'index($1, a) == 1 || index($1, b) == 1 { print $2 }')
}
take_down() # unmount everything, twice: the second time by force
{
    local target device pid round
    for round in gently "by force"; do
        [[ $round == gently ]] || abort_fuse
        while read -r target; do
            timeout -k 5 20 umount "$target" 2>/dev/null || [[ $round == gently ]] || umount -l "$target" 2>/dev/null
        done < <(mounts_below)
        while read -r device; do
            losetup -d "$device" 2>/dev/null
        done < <(loops_below)
        [[ -n $(mounts_below) ]] || break
    done
    for pid in "${ours[@]}"; do
        wait_for 20 gone "$pid" && continue
        kill -9 "$pid" 2>/dev/null
        wait_for 10 gone "$pid" || echo "# process $pid does not end"
    done
    while read -r device; do
        losetup -d "$device" 2>/dev/null
    done < <(loops_below)
}
finish()
{
    local status=$?
    trap - EXIT
    trap '' INT TERM
    [[ ! -d $disk ]] || {
        ((failures == 0)) && [[ $status -eq 0 ]] || tell "$disk/.daemon" daemon
        local pid
        for pid in "${ours[@]}"; do
            [[ $pid == "$daemon" ]] || kill "$pid" 2>/dev/null
        done
        take_down
        rm -rf --one-file-system "$disk" "$shm"
    } 2>/dev/null
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
