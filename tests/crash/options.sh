#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# What the crash replay refuses: options out of range, recordings that are none, of another version, or cut.
set -u

replay=$VV_BUILDDIR/tests/crash/replay
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
number=0

# refused WHAT TEXT OPTION...: exit status 2, nothing on stdout but comments, TEXT on stderr.
refused() {
    local what=$1 text=$2
    shift 2
    "$replay" "$@" >"$work/out" 2>"$work/err"
    local status=$?
    number=$((number + 1))
    if ((status == 2)) && grep -qF -- "$text" "$work/err" && ! grep -q '^ok' "$work/out"; then
        echo "ok $number - $what"
    else
        echo "not ok $number - $what"
        sed 's/^/# /' "$work/out" "$work/err"
        echo "# exit status $status"
    fi
}

echo "1..14"
refused "length 5" "from 0 to 4" --length 5
refused "length -1" "from 0 to 4" --length -1
refused "no steps" "from 1 to 200" --steps 0
refused "too many states" "from 1 to 1000" --states 1001
refused "no such pool" "from 0 to 2" --base 3
refused "part behind the last" "from 0 to 2" --part 3/3
refused "part of nothing" "K/N" --part 3
refused "unknown op" "letters" --sequence wq
refused "no number" "takes a number" --random many
refused "more words" "no such argument" wf
refused "unknown option" "usage" --fast
head -c 4096 /dev/urandom >"$work/noise"
refused "no recording" "is no recording" --recording "$work/noise"
# magic, version 2, states, seed, lengths
printf 'VVCRASH\n\002\0\0\0\010\0\0\0\001\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0' >"$work/newer"
refused "another version" "version 2; this program reads version 1" --recording "$work/newer"
printf 'VVCRASH\n\001\0\0\0\010\0\0\0\001\0\0\0\0\0\0\0\0\001\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0' >"$work/cut"
refused "a recording that is cut" "cut short" --recording "$work/cut"
