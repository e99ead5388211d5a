#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# See nemesis.py. Without arguments some rounds: no more begins after 25 s.
# shellcheck disable=SC1091,SC2154
. "$(dirname "$0")/lib.sh"
[[ $# -gt 0 ]] || set -- --rounds 6 --seconds 25
PYTHONPATH=$cluster/../daemon:$cluster RIG=$rig LINEAR=$linear python3 "$cluster/nemesis.py" "$@"
