#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# See leases.py.
# shellcheck disable=SC1091,SC2154
. "$(dirname "$0")/lib.sh"
PYTHONPATH=$cluster/../daemon:$cluster RIG=$rig python3 "$cluster/leases.py" "$@"
