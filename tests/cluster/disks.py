# SPDX-License-Identifier: GPL-2.0-or-later
"""A disk of n2 in the pool of three nodes whose map is on n1: made there, used by all, and what happens when somebody dies or is cut off."""

import os
import signal
import subprocess
import time

from daemon import done, ok, same, wait_for
from rigged import RIG, Node, begin_pool, everywhere, good, join_pool, part, rig, sh

rig("up", "3", "--local-disks", "2", "--disk-size", str(2 << 30))
n1, n2, n3 = nodes = [Node(name) for name in ("n1", "n2", "n3")]


def refused(node, words, wanted, what):
    code, out, err = node.admin(*words)
    right = code != 0 and all(text in err for text in wanted)
    return ok(right, what if right else f"{what} ({code} {out} {err})")


def disks(node):
    return {item["name"]: item for item in node.look("disk", "list") or []}


def make(name, on="far", size="16M"):
    n1.must("lun", "create", name, size, "--disks", on)
    wait_for(lambda: all(name in node.listing() for node in nodes), f"{name} on all")


class Load:
    """vvpat writes on NODE."""

    def __init__(self, node, name):
        self.node, self.name, self.log = node, name, f"writes.{name}"
        make(name, size="64M")
        self.process = subprocess.Popen([RIG, "run", node.name, "vvpat", "write", "--depth", "4", "--bs", "4096-65536", "--count", "10000000", "--flush", "8",
                                         "--seconds", "600", "--log", self.log, f"mnt/luns/{name}"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, text=True)
        self.goes_on("some writes")

    def blocks(self):
        path = os.path.join(self.node.home, self.log)
        return os.stat(path).st_blocks if os.path.exists(path) else 0

    def goes_on(self, what):
        before = self.blocks()
        return ok(wait_for(lambda: self.process.poll() is not None or self.blocks() > before + 40, what) and self.process.poll() is None, f"{self.name}: {what}")

    def end(self):
        for pid in rig("pids", self.node.name, f"^vvpat.*{self.log}").stdout.split():
            os.kill(int(pid), signal.SIGTERM)
        text, _ = self.process.communicate(timeout=90)
        ok(self.process.returncode in (0, 143, -15, 241), f"{self.name}: no error {text[-300:]}")

    def verify(self, where, *options):
        result = rig("run", where.name, "vvpat", "verify", *options, "--log", os.path.join(self.node.home, self.log), f"mnt/luns/{self.name}", check=False)
        ok(result.returncode == 0 and " 0 wrong" in result.stdout, f"{self.name}: {where.name} finds all {(result.stdout + result.stderr)[-300:] if result.returncode else ''}")


# ---- making the cluster
begin_pool(n1)
join_pool(n1, n2, n3)
everywhere(nodes, lambda node: sorted(node.nodes()), ["n1", "n2", "n3"], "all know all")
code, out, err = n2.admin("disk", "add", f"{n2.home}/far", "--size", "8G")
same(code, 0, f"n2 adds a disk of its own {out} {err}")


def shown():
    everywhere(nodes, lambda node: sorted(disks(node)), ["d1", "far"], "all know it")
    for node in nodes:
        item = disks(node)["far"]
        same((item["node"], item["path"], item["state"]), ("n2", f"{n2.home}/far", "ok"), f"disk list of {node.name}")
        same(item["paths"], {"n1": "shipped", "n2": "direct", "n3": "shipped"}, f"ways to it, on {node.name}")
        same(disks(node)["d1"]["paths"], {"n1": "direct", "n2": "shipped", "n3": "shipped"}, f"ways to n1's, on {node.name}")
    same({name: item["disks"] for name, item in n3.nodes().items()}, {"n1": 1, "n2": 1, "n3": 0}, "node list counts them")


def to_and_fro():
    make("db")
    for i, node in enumerate(nodes):
        good(node, f"echo of-{node.name} | dd of=mnt/luns/db bs=4096 seek={i} conv=sync,notrunc,fsync status=none", f"{node.name} writes")
    for node in nodes:
        same(sh(node, "for i in 0 1 2; do dd if=mnt/luns/db bs=4096 skip=$i count=1 status=none | head -c 5; done"), (0, "of-n1of-n2of-n3"), f"{node.name} reads all")
    ok(int(sh(n2, "stat -c %b far")[1]) * 512 >= 3 * 4096, "it lies on n2")


def killed():
    """Who serves on n2 dies, then who serves on n1, while all three write."""
    loads = [Load(node, f"of-{node.name}") for node in nodes]
    for round in range(2):
        for node in (n2, n1):
            node.kill_server()
            for load in loads:
                load.goes_on(f"writes go on without {node.name}'s process")
    for load in loads:
        load.end()
        for where in nodes:
            load.verify(where)


def own_disk():
    """A disk of n1 that was added since the last checkpoint is there when another process serves, and one that was removed is not missed."""
    n1.must("disk", "add", f"{n1.home}/near", "--size", "64M")
    n1.must("disk", "add", f"{n1.home}/gone", "--size", "64M")
    n1.must("disk", "remove", "gone", "--yes")
    make("near", on="near")
    good(n3, "echo near | dd of=mnt/luns/near bs=4096 conv=sync,notrunc,fsync status=none", "n3 writes to a new disk of n1")
    ok(n1.kill_server(), "another process serves n1")
    same(sh(n2, "head -c 4 mnt/luns/near"), (0, "near"), "n2 reads it")
    n1.must("lun", "remove", "near", "--yes")
    ok(wait_for(lambda: n1.admin("disk", "remove", "near", "--yes")[0] == 0, "it is empty"), "it is removed when it is empty")


def ids():
    """A request id answers on n2 as elsewhere."""
    words = ("disk", "add", f"{n2.home}/again", "--size", "64M", "--name", "again", "--id", "disk-1")
    same([n2.admin(*words)[0] for _ in range(2)], [0, 0], "the same again is done once")
    refused(n2, ("disk", "add", f"{n2.home}/other", "--size", "64M", "--id", "disk-1"), ["disk-1"], "another with its id is not")
    ok(not os.path.exists(f"{n2.home}/other"), "... and leaves no file")
    n3.must("disk", "remove", "again", "--yes")
    everywhere(nodes, lambda node: "again" in disks(node), False, "it is removed by n3")
    ok(wait_for(lambda: sh(n2, "dd if=again bs=4096 count=1 status=none | tr -d '\\0' | wc -c") == (0, "0"), "the label goes"), "n2 has erased its label")
    same(n2.admin("disk", "add", f"{n2.home}/again")[0], 0, "so it can be added again")
    for _ in range(2):
        n2.must("disk", "remove", f"{n2.home}/again", "--yes", "--id", "disk-2")
    everywhere(nodes, lambda node: "again" in disks(node), False, "by its path it is removed there")


def refusals():
    good(n2, "truncate -s 64M fs.img && mkfs.ext4 -q fs.img && truncate -s 64M empty && mkdir -p at && mount -o loop fs.img at", "things that are in use on n2")
    refused(n2, ("disk", "add", f"{n2.home}/fs.img"), ["fs.img is ", "/at"], "a mounted one is refused, and where it is mounted is said")
    good(n2, "umount at", "no more mounted")
    refused(n2, ("disk", "add", f"{n2.home}/fs.img"), ["ext4", "--overwrite"], "one with a signature is refused")
    refused(n2, ("disk", "add", f"{n2.home}/far"), ["far is "], "one that is served is refused")
    refused(n2, ("disk", "add", f"{n2.home}/far", "--size", "64M"), ["exists already"], "a file that is there is not made")
    refused(n2, ("disk", "add", f"{n2.home}/none"), ["does not exist"], "one that is not there is refused")
    refused(n2, ("disk", "add", f"{n2.home}/empty", "--name", "d1"), ["has a disk d1 already"], "a name that is taken is refused")
    same(sh(n2, "tr -d '\\0' < empty | wc -c"), (0, "0"), "... before anything is written")
    refused(n3, ("disk", "add", "node://2/x"), ["added there"], "a disk of n2 is not added on n3")
    rig("cut", "n2", "n1,n3")
    ok(wait_for(lambda: n2.nodes().get("n1", {}).get("state") == "down", "n1 is seen as down"), "n2 is cut off")
    refused(n2, ("disk", "add", f"{n2.home}/empty", "--timeout", "5"), [""], "n2 alone adds none")
    same(sh(n2, "tr -d '\\0' < empty | wc -c"), (0, "0"), "... and has written nothing")
    rig("heal")
    ok(wait_for(lambda: n2.nodes().get("n1", {}).get("state") == "up", "n1 is seen"), "n2 is back")
    good(n2, "vvfs-admin pool create ./alien --name alien --disk ./empty", "a disk of another pool")
    refused(n2, ("disk", "add", f"{n2.home}/empty"), ["alien"], "one of another pool is refused, and which is said")
    same(n2.admin("disk", "add", f"{n2.home}/fs.img", "--overwrite", "--name", "over")[0], 0, "with --overwrite a signature is erased")
    refused(n2, ("node", "leave"), ["n2 has disk", "disk remove"], "n2 does not leave while its disks are the pool's")
    refused(n1, ("node", "evict", "n2"), ["n2 has disk", "disk remove"], "nor is it evicted")
    n1.must("disk", "remove", "over", "--yes")


def uses():
    """Snapshots, clones, a file system; the disk grows."""
    make("fs", size="64M")
    good(n3, "mkfs.ext4 -q -E nodiscard mnt/luns/fs && vvfs-admin -p ./pool lun attach fs >dev.name && mkdir -p m && mount $(tail -n 1 dev.name) m && head -c 3000000 /dev/urandom > m/file && sync && "
         "md5sum < m/file > sum && vvfs-admin -p ./pool snapshot create fs@one && rm m/file && umount m && vvfs-admin -p ./pool lun detach fs", "ext4 on n3, and a snapshot")
    good(n1, f"vvfs-admin -p ./pool lun clone fs@one back && vvfs-admin -p ./pool lun attach back > dev.name && mkdir -p m && mount $(tail -n 1 dev.name) m && md5sum < m/file | cmp - {n3.home}/sum; "
         "r=$?; umount m; vvfs-admin -p ./pool lun detach back; exit $r", "n1 finds the file in a clone")
    refused(n1, ("disk", "remove", "far", "--yes"), ["far"], "a disk with data is not removed")
    refused(n3, ("disk", "grow", "far", "9G"), ["on its node first"], "it is grown on its node first")
    good(n2, "truncate -s 9G far", "it grows there")
    same(n3.admin("disk", "grow", "far")[0], 0, "n3 says so")
    everywhere(nodes, lambda node: disks(node)["far"]["size"], 9 << 30, "all see it")


TIMED = """
import os, time
f = os.open("mnt/luns/cut", os.O_RDWR)
for call in (lambda: os.pwrite(f, b"x" * 4096, 4096), lambda: os.fsync(f)):
    begin = time.monotonic()
    try:
        call()
        print("done", end=" ")
    except OSError as error:
        print(error.errno, end=" ")
    print(time.monotonic() - begin, end=" ", flush=True)
"""


def cut_off():
    """n2 is cut from n1: what needs its disk waits, then ends with EIO, and goes on when it is back."""
    n1.must("node", "lead", "n1")  # else it is n1 that is cut off, from who leads
    make("cut")
    n1.must("lun", "create", "here", "16M", "--disks", "d1")
    good(n1, "echo before | dd of=mnt/luns/cut bs=4096 conv=sync,notrunc status=none", "n1 has written, and not flushed")
    rig("cut", "n1", "n2")
    ok(wait_for(lambda: disks(n1)["far"]["state"] == "missing", "it is missing"), "n1 shows that it is missing")
    same(disks(n1)["far"]["paths"], {"n1": "none", "n2": "none", "n3": "none"}, "and no way to it")
    code, out, _ = n1.admin("doctor")
    ok(code == 5 and "disk far is not reached (node n2" in out, f"doctor names it {out}")
    good(n3, "dd if=/dev/zero of=mnt/luns/here bs=64K count=4 conv=notrunc,fsync status=none", "n3 writes to n1's disk")
    good(n3, "timeout 40 dd if=/dev/zero of=mnt/luns/new bs=64K count=4 conv=fsync status=none", "a new LUN gets its space on a disk that is there, though the other has more")
    code, text = sh(n1, f"python3 -c '{TIMED}'")
    words = text.split()
    ok(words[0] == words[2] == "5" and 50 < float(words[1]) < 75 and float(words[3]) < 75, f"a write and a flush end with EIO after the bound, or before {text}")
    rig("heal")
    everywhere(nodes, lambda node: disks(node)["far"]["paths"]["n3"], "shipped", "all show that it is back")
    same(disks(n1)["far"]["state"], "degraded", "n1 shows that something failed of late")
    good(n1, "sync mnt/luns/cut", "the next flush succeeds")
    for node in nodes:
        same(sh(node, "head -c 6 mnt/luns/cut"), (0, "before"), f"{node.name} reads what was written before")
    load = Load(n3, "short")
    rig("cut", "n1", "n2")
    ok(wait_for(lambda: disks(n1)["far"]["state"] == "missing", "it is missing"), "it is cut for a moment")
    rig("heal")
    load.goes_on("writes go on when it is back")
    load.end()
    load.verify(n1)


def machines():
    """All that runs on a node dies."""
    load = Load(n3, "machine")
    n2.kill()
    n2.start()
    load.goes_on("writes go on when n2 is back")
    load.end()
    load.verify(n1)
    n2.kill()
    n1.kill()
    n1.start()
    same(disks(n1)["far"]["state"], "missing", "n1 starts without n2")
    good(n1, "mv ../n2/far ../n2/elsewhere", "the file is somewhere else")
    n2.start()
    ok(wait_for(lambda: any("cannot be served" in message for message in n2.events("disk")), "n2 says so"), "n2 says that it cannot serve it")
    same((disks(n1)["far"]["state"], disks(n2)["far"]["state"]), ("missing", "missing"), "it is missing")
    good(n1, "mv ../n2/elsewhere ../n2/far", "it is there again")
    ok(wait_for(lambda: disks(n1)["far"]["state"] == "ok", "it is served"), "it is served")
    load.verify(n3, "--flushed")  # what was not went with n1's memory


def joined():
    """A node that joins with a disk."""
    n4 = Node(rig("add").stdout.strip())
    token = n1.must("node", "invite", "--name", n4.name).strip()
    words = ("node", "join", "./pool", "--token", token, "--listen", n4.address, "--node", n4.name)
    good(n4, "mkfs.ext4 -q dev/d1", "something is on a disk there")
    code, out, err = n4.call(*words, "--disk", "dev/d1", "--disk", "dev/d2")
    ok(code != 0 and "ext4" in err, f"it is refused {err.strip()}")
    ok(n4.name not in n1.nodes() and not os.path.exists(f"{n4.home}/pool"), "... and the node has not joined")
    good(n4, "s=$(stat -L -c %s dev/d1) && truncate -s 0 dev/d1 && truncate -s $s dev/d1", "nothing is on it any more")
    code, out, err = n4.call(*words, "--disk", "dev/d1", "--disk", "dev/d2")
    same((code, err), (0, ""), "it joins")
    good(n4, "mkfs.ext4 -q dev/d2", "meanwhile something is on the other disk")
    n4.start()
    nodes.append(n4)
    ok(wait_for(lambda: any(item["node"] == n4.name and item["state"] == "ok" for item in disks(n1).values()), "it is a disk of the pool"), "when it serves the pool its disk is added")
    ok(wait_for(lambda: any("is no disk of the pool" in message and "ext4" in message for message in n4.events("disk")), "an event"), "an event tells of the other")
    ok(wait_for(lambda: not os.path.exists(f"{n4.home}/pool/disks-to-add"), "the note"), "nothing is left to be added")
    name = next(item["name"] for item in disks(n1).values() if item["node"] == n4.name)
    make("four", on=name)
    good(n2, "echo four | dd of=mnt/luns/four bs=4096 conv=sync,notrunc,fsync status=none", "n2 writes there")
    same(sh(n3, "head -c 4 mnt/luns/four"), (0, "four"), "n3 reads it")
    n1.must("lun", "remove", "four", "--yes")
    ok(wait_for(lambda: n4.admin("disk", "remove", name, "--yes")[0] == 0, "it is empty"), "it is removed")
    same(n4.admin("node", "leave")[0], 0, "the node leaves")
    nodes.remove(n4)
    ok(n4.ended() is not None, "its daemon ends")


def removed():
    for name in n1.names():
        n1.must("lun", "remove", name, "--with-snapshots", "--yes")
    ok(wait_for(lambda: n3.admin("disk", "remove", "far", "--yes")[0] == 0, "it is empty"), "the empty disk is removed")
    same(n1.admin("node", "evict", "n2")[0], 0, "now n2 can be evicted")
    nodes.remove(n2)
    ok(n2.ended() is not None, "its daemon ends")


for function in (shown, to_and_fro, killed, own_disk, ids, refusals, uses, cut_off, machines, joined, removed):
    part(function)
for node in nodes:
    same(node.stop(), 0, f"{node.name} ends")
for node in nodes:
    same(node.call("pool", "check", "./pool")[0], 0, f"the pool is whole on {node.name}")
done()
