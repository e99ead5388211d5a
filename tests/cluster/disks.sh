#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# See disks.py.
# shellcheck disable=SC1091,SC2154
. "$(dirname "$0")/lib.sh"
PYTHONPATH=$cluster/../daemon:$cluster RIG=$rig VVPAT=$vvpat python3 "$cluster/disks.py" "$@"
