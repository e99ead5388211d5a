# SPDX-License-Identifier: GPL-2.0-or-later
"""In a node of a rig: does what lines on stdin say, at once, as one process that stays; [result] or {"errno": n} for each. Between lines, if it was told
to, it looks at paths again and again, so that the kernel's caches are warm."""

import json
import os
import stat
import sys
import threading

CALLS = {
    "stat": lambda path: [os.stat(path).st_size, stat.S_IMODE(os.stat(path).st_mode), os.stat(path).st_ino],
    "mtime": lambda path: os.stat(path).st_mtime_ns,
    "ls": lambda path: sorted(entry.name for entry in os.scandir(path) if entry.stat()),
    "create": lambda path: os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)),
    "mknod": lambda path: os.mknod(path, stat.S_IFREG | 0o644),
    "touch": lambda path, ns: os.utime(path, ns=(ns, ns)),
    "unlink": os.unlink,
    "rename": os.rename,
    "chmod": os.chmod,
    "chown": os.chown,
}
watched = []


def look(path):
    try:
        if os.path.isdir(path):
            list(os.stat(entry.path) for entry in os.scandir(path))
        else:
            os.stat(path)
    except OSError:
        pass


def loop():
    while True:
        for path in list(watched):
            look(path)


threading.Thread(target=loop, daemon=True).start()
sys.setswitchinterval(0.0005)
for line in sys.stdin:
    name, *arguments = json.loads(line)
    if name == "watch":
        watched[:] = arguments
        answer = None
    else:
        try:
            answer = [CALLS[name](*arguments)]
        except OSError as error:
            answer = {"errno": error.errno}
    print(json.dumps(answer), flush=True)
