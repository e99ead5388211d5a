#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# See disks.py.
# shellcheck disable=SC1091,SC2154
. "$(dirname "$0")/lib.sh"
# What is left out waits, or looks at what runs on one machine.
[[ -z ${VV_SANITIZERS-} || $# -gt 0 ]] || set -- shown to_and_fro killed machines joined removed
PYTHONPATH=$cluster/../daemon:$cluster RIG=$rig VVPAT=$vvpat python3 "$cluster/disks.py" "$@"
