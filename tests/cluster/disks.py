# SPDX-License-Identifier: GPL-2.0-or-later
"""A disk of n2 in the pool of three nodes whose map is on n1: made there, used by all, and what happens when somebody dies or is cut off."""

import json
import os
import signal
import subprocess
import sys
import time

from daemon import done, ok, same, wait_for
from rigged import RIG, Node, everywhere, rig

only = set(sys.argv[1:])
rig("up", "3", "--local-disks", "2", "--disk-size", str(2 << 30))
n1, n2, n3 = nodes = [Node(name) for name in ("n1", "n2", "n3")]


def part(function):
    if not only or function.__name__ in only or "all" in only:
        begin = time.monotonic()
        function()
        print(f"# {function.__name__}: {time.monotonic() - begin:.1f} s", flush=True)


def sh(node, script, seconds=180):
    """(exit code, stdout and stderr) of a script in NODE's directory."""
    result = rig("run", node.name, "sh", "-c", script, check=False, timeout=seconds)
    return result.returncode, (result.stdout + result.stderr).strip()


def good(node, script, what):
    code, text = sh(node, script)
    return ok(code == 0, f"{what} ({node.name}: {code} {text[-300:]})" if code else what)


def refused(node, words, wanted, what):
    code, out, err = node.admin(*words)
    return ok(code != 0 and all(text in err for text in wanted), f"{what} ({code} {out} {err})")


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

    def verify(self, where):
        result = rig("run", where.name, "vvpat", "verify", "--log", os.path.join(self.node.home, self.log), f"mnt/luns/{self.name}", check=False)
        ok(result.returncode == 0 and " 0 wrong" in result.stdout, f"{self.name}: {where.name} finds all {(result.stdout + result.stderr)[-300:] if result.returncode else ''}")


# ---- making the cluster
code, out, err = n1.call("pool", "create", "./pool", "--name", "prod", "--disk", "dev/d1", "--listen", n1.address, "--node", "n1")
same(code, 0, f"a pool that listens {err}")
n1.start()
for node in (n2, n3):
    token = n1.must("node", "invite", "--name", node.name).strip()
    code, out, err = node.call("node", "join", "./pool", "--token", token, "--listen", node.address, "--node", node.name)
    same((code, err), (0, ""), f"{node.name} joins")
    node.start()
everywhere(nodes, lambda node: sorted(node.nodes()), ["n1", "n2", "n3"], "all know all")
code, out, err = n2.admin("disk", "add", f"{n2.home}/far", "--size", "1G")
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


for function in (shown, to_and_fro, killed):
    part(function)
for node in nodes:
    same(node.stop(), 0, f"{node.name} ends")
for node in nodes:
    same(node.call("pool", "check", "./pool")[0], 0, f"the pool is whole on {node.name}")
done()
