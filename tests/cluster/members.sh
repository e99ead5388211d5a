#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# See members.py.
set -u
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
command -v python3 >/dev/null || { echo "1..0 # SKIP python3 is not installed"; exit 0; }
PYTHONPATH=$here/../daemon PYTHONDONTWRITEBYTECODE=1 exec python3 "$here/members.py"
