#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# See data.py.
# shellcheck disable=SC1091,SC2154
. "$(dirname "$0")/lib.sh"
# What is left out looks at data, not at code.
[[ -z ${VV_SANITIZERS-} || $# -gt 0 ]] || set -- to_and_fro files loop_device server_killed cut_off machine_lost
PYTHONPATH=$cluster/../daemon:$cluster RIG=$rig LINEAR=$linear VVPAT=$vvpat python3 "$cluster/data.py" "$@"
