# SPDX-License-Identifier: GPL-2.0-or-later
"""What the daemon may do and who may reach it: capabilities of all its threads, no_new_privs, the I/O flusher's flag, modes of
directory and socket; and that everything that a pool needs later still works with what is left."""

import grp
import json
import os
import subprocess
import sys

from daemon import Pool, contains, done, is_mounted, need_mount, ok, same, wait_for

need_mount()
ADMIN = os.path.join(os.environ.get("VV_BUILDDIR", "."), "vvfs-admin")
# linux/capability.h: DAC_OVERRIDE 1, SYS_PTRACE 19, SYS_ADMIN 21, LEASE 28
KEPT = 1 << 1 | 1 << 19 | 1 << 21 | 1 << 28
PF_MEMALLOC_NOIO, PF_LOCAL_THROTTLE = 0x00080000, 0x00100000 # linux/sched.h: what PR_SET_IO_FLUSHER sets
loops = []


def admin(*arguments):
    result = subprocess.run([ADMIN, "-p", pool.directory, *arguments], capture_output=True, text=True, check=False, timeout=120)
    return result.returncode, result.stdout + result.stderr


def fine(what, *arguments):
    code, text = admin(*arguments)
    if not ok(code == 0, what):
        print(f"# {code}: {text!r}", flush=True)
    return text


def loop_device(name, size):
    path = os.path.join(pool.base, name)
    with open(path, "wb") as file:
        file.truncate(size)
    device = subprocess.run(["losetup", "-f", "--show", path], capture_output=True, text=True, check=True).stdout.strip()
    loops.append(device)
    return device


def threads(pid):
    """name, flags of the task, lines of status of each thread."""
    found = []
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/stat", encoding="utf-8") as text:
            flags = int(text.read().rsplit(")", 1)[1].split()[6])
        with open(f"/proc/{pid}/task/{task}/status", encoding="utf-8") as text:
            status = dict(line.rstrip("\n").split(":\t", 1) for line in text if ":\t" in line)
        found.append((status["Name"], flags, status))
    return found


pool = Pool()
os.chmod(pool.directory, 0o755) # as older ones were made
pool.start()
same(os.stat(pool.directory).st_mode & 0o7777, 0o700, "a start closes the pool directory to others")
pool.client().result("lun.create", name="db", size=64 << 20)
with open(pool.mountpoint + "/luns/db", "r+b") as lun:
    lun.write(os.urandom(1 << 20))
    os.fsync(lun.fileno())
tasks = threads(pool.server())
ok(len(tasks) > 8, f"the daemon has {len(tasks)} threads")
with open("/proc/self/status", encoding="utf-8") as text:
    mine = next(int(line.split()[1], 16) for line in text if line.startswith("CapBnd"))
for name in ("CapEff", "CapPrm", "CapBnd"):
    same({int(status[name], 16) for _, _, status in tasks}, {KEPT & mine}, f"{name} of each is what is needed")
HELD = KEPT | 1 << 0 | 1 << 3 | 1 << 4 | 1 << 8 | 1 << 10 | 1 << 14 | 1 << 24 # src/vvfs/privilege.c: CAP_CHOWN, FOWNER, FSETID, ...
for name in ("CapEff", "CapPrm", "CapBnd"):
    same({int(status[name], 16) for _, _, status in threads(pool.process.pid)}, {HELD & mine}, f"{name} of the holder is that of a start")
for name in ("CapInh", "CapAmb"):
    same({int(status[name], 16) for _, _, status in tasks}, {0}, f"{name} of each is empty")
same({status["NoNewPrivs"] for _, _, status in tasks}, {"1"}, "none can gain any")
with open("/proc/self/status", encoding="utf-8") as text:
    can_flush = any(line.startswith("CapEff") and int(line.split()[1], 16) >> 24 & 1 for line in text)
if can_flush:
    same([name for name, flags, _ in tasks if not flags & PF_MEMALLOC_NOIO or not flags & PF_LOCAL_THROTTLE], [],
         "each is an I/O flusher")
else:
    contains(pool.log_text(), "PR_SET_IO_FLUSHER", "no CAP_SYS_RESOURCE here: the log says that it is no I/O flusher")
if not os.environ.get("VV_SANITIZERS"):
    ok(int(tasks[0][2]["VmLck"].split()[0]) > 1024, f"code and stacks are locked: {tasks[0][2]['VmLck']}")
with open(f"/proc/{pool.server()}/mountinfo", encoding="utf-8") as text:
    line = next(line for line in text if line.split()[4] == pool.mountpoint)
contains(line, "default_permissions", "the kernel checks permissions")

# ---- everything that comes later
try:
    device = fine("attach", "lun", "attach", "db").split()[-1]
    fine("grow", "lun", "resize", "db", "96M")
    disk = loop_device("second", 64 << 20)
    fine("add a block device", "disk", "add", disk, "--name", "second")
    with open(os.path.join(pool.base, "second"), "r+b") as file:
        file.truncate(96 << 20)
    subprocess.run(["losetup", "-c", disk], check=True)
    fine("grow it", "disk", "grow", "second")
    os.mkdir(os.path.join(pool.base, "closed"), 0o700)
    os.chown(os.path.join(pool.base, "closed"), 65534, 65534)
    other = os.path.join(pool.base, "closed", "disk")
    with open(other, "wb") as file:
        file.truncate(32 << 20)
        os.fchown(file.fileno(), 65534, 65534)
        os.fchmod(file.fileno(), 0o600)
    with open(other, "rb"):
        code, text = admin("disk", "add", other)
        contains(text, "python3", "a file that is open is refused, and the process named")
    fine("add somebody else's file", "disk", "add", other, "--name", "third")
    fine("snapshot", "snapshot", "create", "db@one")
    fine("remove a disk", "disk", "remove", "third")
    fine("check", "pool", "check")
    fine("doctor", "doctor")
    contains(json.dumps(pool.client().result("lun.show", name="db")), device, "openers are told, and loop devices")
    fine("detach", "lun", "detach", "db")
    subprocess.run(["umount", pool.mountpoint], check=True)
    same(pool.process.wait(30), 0, "umount")
    pool.start()
    lun = open(pool.mountpoint + "/luns/db", "rb")
    pool.process.terminate()
    ok(wait_for(lambda: not is_mounted(pool.mountpoint), "the mount to go"), "SIGTERM takes the mount away")
    lun.close()
    same(pool.process.wait(30), 0, "  and it ends")
    pool.process = None

    # ---- a group
    group = next((entry for entry in grp.getgrall() if entry.gr_gid not in (0, 65534)), None)
    if group:
        pool.start("-o", f"admin-group={group.gr_name}")
        sock = os.path.join(pool.directory, "admin.sock")
        same((os.stat(pool.directory).st_mode & 0o7777, os.stat(pool.directory).st_gid), (0o2710, group.gr_gid),
             "with admin-group its members get into the directory")
        same((os.stat(sock).st_mode & 0o777, os.stat(sock).st_gid), (0o660, group.gr_gid), "  and to the socket")
        PROGRAM = """
import os, sys; sys.path.insert(0, %r)
from daemon import Client
os.setgroups([]); os.setgid(%d); os.setuid(65534)
print(Client(%r).result("lun.create", name="theirs", size=1 << 20))
""" % (sys.path[0], group.gr_gid, sock)
        shown = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False,
                               env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})
        ok(shown.returncode == 0, "  and may change things") or print("#", shown)
        pool.stop()
        pool.start()
        same(os.stat(pool.directory).st_mode & 0o7777, 0o700, "without it again: closed")
        pool.stop()
finally:
    pool.stop()
    for device in loops:
        subprocess.run(["losetup", "-d", device], check=False)
done()
