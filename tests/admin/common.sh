# SPDX-License-Identifier: GPL-2.0-or-later
# For the tests of vvfs-admin: pools that are only directories, a daemon that follows a script, and TAP.
# shellcheck shell=bash
set -u
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tool=${VVFS_ADMIN:-${VV_BUILDDIR:-$here/../..}/vvfs-admin}
[[ -x $tool ]] || { echo "1..0 # SKIP vvfs-admin is not built"; exit 0; }
python=$(command -v /usr/bin/python3 || command -v python3) || { echo "1..0 # SKIP python3 is not installed"; exit 0; }
work=$(mktemp -d "${TMPDIR:-/tmp}/vvfs-admin-test.XXXXXX")
daemons=()
finish()
{
    [[ ${#daemons[@]} -eq 0 ]] || kill "${daemons[@]}" 2>/dev/null
    rm -rf "$work"
}
trap finish EXIT
unset VVFS_POOL NO_COLOR
export VVFS_MOUNTINFO=$work/mountinfo VVFS_POOLS_DIRECTORY=$work/pools TZ=UTC LC_ALL=C
: >"$VVFS_MOUNTINFO"
mkdir "$VVFS_POOLS_DIRECTORY"

tests=0 failures=0
ok() # ok DESCRIPTION: the result of the command before
{
    local result=$?
    tests=$((tests + 1))
    if [[ $result -eq 0 ]]; then
        echo "ok $tests - $1"
    else
        failures=$((failures + 1))
        echo "not ok $tests - $1"
        sed 's/^/# out: /' "$work/out"
        sed 's/^/# err: /' "$work/err"
        echo "# exit: ${code-}"
    fi
}
done_testing()
{
    echo "1..$tests"
    exit $((failures > 0))
}

a() # a ARGUMENT...: runs the tool off a terminal; $code, $work/out, $work/err
{
    "$tool" "$@" >"$work/out" 2>"$work/err" </dev/null
    code=$?
}
out_is() { [[ $(<"$work/out") == "$1" ]]; }
err_is() { [[ $(<"$work/err") == "$1" ]]; }
gives() # gives CODE OUT ERR DESCRIPTION
{
    [[ $code -eq $1 ]] && out_is "$2" && err_is "$3"
    ok "$4"
}
json() # json EXPRESSION: of $work/out as d; true or not
{
    "$python" -c 'import json,sys; d=json.load(open(sys.argv[1])); sys.exit(not eval(sys.argv[2]))' "$work/out" "$1"
}
last_request() { tail -n1 "$work/log"; }

wait_for() # wait_for TENTHS COMMAND...: until it is true
{
    local tenths=$1
    shift
    until "$@"; do
        ((tenths-- > 0)) || return 1
        sleep 0.1
    done
}
requests() { [[ $(wc -l <"$work/log") -ge $1 ]]; } # requests N: that many have come

pool() # pool NAME: a pool directory below pools/
{
    mkdir -p "$VVFS_POOLS_DIRECTORY/$1"
    printf 'vvfs-pool 1\nname %s\nuuid 00000000-0000-4000-8000-00000000000%s\n' "$1" "${#1}" >"$VVFS_POOLS_DIRECTORY/$1/vvfs-pool"
}
mounted() # mounted NAME MOUNTPOINT
{
    echo "50 1 0:99 / $2 rw - fuse.vvfs $VVFS_POOLS_DIRECTORY/$1 rw" >>"$VVFS_MOUNTINFO"
}
daemon() # daemon NAME SCRIPT: starts it; the log of requests is $work/log
{
    local socket=$VVFS_POOLS_DIRECTORY/$1/admin.sock
    printf '%s' "$2" >"$work/script"
    rm -f "$socket"
    : >"$work/log"
    "$python" "$here/fake_daemon.py" "$socket" "$work/script" "$work/log" &
    daemons+=($!)
    wait_for 100 test -S "$socket"
}
