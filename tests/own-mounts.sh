# SPDX-License-Identifier: GPL-2.0-or-later
# For tests that mount, sourced first: a mount namespace of its own. Whoever else makes one meanwhile would hold what is mounted here, and
# what is mounted there is let go here.
# shellcheck shell=bash
if [[ ${VV_MOUNT_INSIDE-} != 1 ]] && unshare -m --propagation private true 2>/dev/null; then
    VV_MOUNT_INSIDE=1 exec unshare -m --propagation private bash "$0" "$@"
fi
[[ ${VV_MOUNT_INSIDE-} != 1 ]] || while read -r target; do
    umount -l "$(printf %b "$target")" # \x20 for a blank
done < <(findmnt -rno TARGET,SOURCE,FSTYPE | awk '$2 ~ "^/dev/loop" || $3 == "fuse.vvfs" { print $1 }' | tac) 2>/dev/null
# Links to devices have the pools' names, which others may use too.
[[ ${VV_MOUNT_INSIDE-} != 1 ]] || { mkdir -p /dev/vvfs && mount -t tmpfs -o mode=0755,size=1M tmpfs /dev/vvfs; }
