# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands on a node that has none of the disks: what needs them is done by the node that has them, once, and is seen here when the
command returns."""

import json
import os
import signal
import socket
import subprocess

from daemon import VVFS, Pool, contains, done, need_mount, offline, ok, same, wait_for

ADMIN = os.path.join(os.path.dirname(VVFS), "vvfs-admin")
ADDRESSES = ("127.0.0.1", "127.0.0.2")


def free_port(address):
    with socket.socket() as probe:
        probe.bind((address, 0))
        return probe.getsockname()[1]


def admin(pool, *arguments, text=None):
    """vvfs-admin on the node of @pool: (exit code, stdout, stderr)."""
    result = subprocess.run([ADMIN, "-p", pool.directory, *arguments], input=text, capture_output=True, text=True, check=False, timeout=60,
                            env={**os.environ, "VVFS_DAEMON": VVFS})
    return result.returncode, result.stdout, result.stderr


def works(pool, *arguments):
    code, out, err = admin(pool, *arguments)
    ok(code == 0, f"`{' '.join(arguments)}` works" + (f": {err}" if code else ""))
    return out


def listed(pool, *arguments):
    return json.loads(admin(pool, *arguments, "--json")[1])


need_mount()
one, two = Pool(name="tank"), Pool(name="two")
for pool in (one, two):
    offline("pool.destroy", {"dir": pool.directory, "yes": True})
made = offline("pool.create", {"dir": one.directory, "name": "tank", "size": 256 << 20, "listen": f"{ADDRESSES[0]}:{free_port(ADDRESSES[0])}",
                               "node": "n1"})
assert "result" in made, made
one.start()
token = works(one, "node", "invite", "--name", "n2")
joined = subprocess.run([ADMIN, "node", "join", two.directory, "--token", "-", "--listen", f"{ADDRESSES[1]}:{free_port(ADDRESSES[1])}"], input=token,
                        capture_output=True, text=True, check=False, timeout=60, env={**os.environ, "VVFS_DAEMON": VVFS})
same(joined.returncode, 0, "a second node joins")
two.start()

# ---- what needs no disk is done here
works(two, "lun", "create", "db", "64M")
same([lun["name"] for lun in listed(one, "lun", "list")], ["db"], "a LUN that is made on a node without disks is on the other when the command returns")

# ---- what needs them is done there, and seen here
with open(os.path.join(one.mountpoint, "luns", "db"), "r+b") as disk:
    disk.write(b"monday" * 1000)
    disk.flush()
    os.fsync(disk.fileno())
works(two, "snapshot", "create", "db@monday")
same([s["object"] for s in listed(two, "snapshot", "list")], ["db@monday"], "a snapshot that is taken by way of the other node is seen here at once")
snapshot = os.path.join(one.mountpoint, "snapshots", "db", "monday")
with open(snapshot, "rb") as image:
    same(image.read(6), b"monday", "... and holds what was written there")
works(two, "lun", "resize", "db", "96M")
same([lun["size"] for lun in listed(two, "lun", "list")], [96 << 20], "a size that is changed by way of the other node is seen here at once")
works(two, "lun", "clone", "db@monday", "copy")
same(sorted(lun["name"] for lun in listed(one, "lun", "list")), ["copy", "db"], "a clone is on both")
same([(disk["node"], disk["paths"]) for disk in listed(two, "disk", "list")], [("n1", {"n1": "direct", "n2": "shipped"})],
     "the list of disks says whose they are")
same([disk["path"] for disk in listed(two, "disk", "list")], ["disk0"], "... and where, as the node that has them knows it")
same([disk["path"] for disk in listed(one, "disk", "list")], [os.path.join(one.directory, "disk0")], "... which has them in its directory")
same(listed(two, "job", "list"), [], "jobs are those of the node with the disks")
same(listed(two, "pool", "status")["problems"], [], "a node without disks has no problem with that")
code, out, err = admin(two, "snapshot", "create", "db@monday")
ok(code == 1 and "exists" in err, "what the other node refuses is refused in its words")
code, out, err = admin(two, "snapshot", "remove", "nothing@monday")
same(code, 1, "... with its exit code")

for pool in (one, two):
    same(pool.client().error("mount.remove", lun=True, object="db")[0], "unsupported", f"methods of mounts are for other nodes alone: {pool.name}")

# ---- an id is answered once, wherever it is asked
first = admin(two, "snapshot", "create", "db@once", "--id", "night-7", "--json")
again = admin(one, "snapshot", "create", "db@once", "--id", "night-7", "--json")
here = admin(two, "snapshot", "create", "db@once", "--id", "night-7", "--json")
same((first[0], again[0], here[0]), (0, 0, 0), "an id that is repeated on either node is answered")
ok(first[1] == again[1] == here[1], "... alike")
same(sorted(s["object"] for s in listed(one, "snapshot", "list")), ["db@monday", "db@once"], "... and done once")

# ---- the other node cannot be asked
server = one.server()
one.process.send_signal(signal.SIGSTOP)
os.kill(server, signal.SIGSTOP)
refusal = two.client().error("snapshot.create", objects=["db@later"], timeout_ms=1500)
ok(refusal and refusal[0] in ("timeout", "no-coordinator"), f"a node that hangs is not waited for longer than was asked: {refusal}")
os.kill(server, signal.SIGCONT)
one.process.send_signal(signal.SIGCONT)
tries = []
ok(wait_for(lambda: tries.append(admin(two, "snapshot", "create", f"db@after-{len(tries)}")) or tries[-1][0] == 0, "it goes on"),
   f"it is asked again when it goes on: {tries[-1]}")
same(one.stop(), 0, "the node with the disks ends")
code, out, err = admin(two, "pool", "scrub")
ok(code in (3, 4) and "n1" in err, f"without it what needs the disks is refused, and the message names it: {err.strip()}")
same(sorted(lun["name"] for lun in listed(two, "lun", "list")), ["copy", "db"], "lists go on")
two.kill()
done()
