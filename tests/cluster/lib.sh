# SPDX-License-Identifier: GPL-2.0-or-later
# For the tests of tests/cluster, sourced first: tests/mount/lib.sh, and a rig whose files are below $disk, taken down at the end.
# shellcheck shell=bash
# shellcheck disable=SC1091,SC2034,SC2154 # for the tests, and from there
. "$(dirname "${BASH_SOURCE[0]}")/../mount/lib.sh"
needs python3 ip nsenter unshare # on purpose: the rig asks for them
cluster=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
rig=$cluster/rig
vvpat=$build/tests/cluster/vvpat
linear=$build/tests/cluster/linear
faulty_vvfs=$build/tests/cluster/vvfs-faults
export VV_RIG_BASE=$disk VV_RIG=test VV_BUILDDIR=$build PYTHONDONTWRITEBYTECODE=1

take_rigs_down()
{
    local name
    for name in "$VV_RIG_BASE"/vvrig.*; do
        [[ ! -d $name ]] || "$rig" -n "${name##*/vvrig.}" down
    done
} >/dev/null 2>&1
trap 'take_rigs_down; finish' EXIT
gives_code() # gives_code CODE PATTERN DESCRIPTION COMMAND...: exit code, and an extended regex that stdout and stderr together match
{
    local wanted=$1 pattern=$2 description=$3
    shift 3
    "$@" >"$out" 2>"$err" </dev/null
    code=$?
    [[ $code -eq $wanted ]] && cat "$out" "$err" | grep -qE -- "$pattern"
    ok "$description"
}
