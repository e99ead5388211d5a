# SPDX-License-Identifier: GPL-2.0-or-later
"""Names and attributes of one pool through the mounts of three nodes, of which one has the disks: what a command or a system call on one node has
changed is what the next look on any other finds, however warm its kernel's caches are."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time

from daemon import done, ok, same, wait_for
from rigged import RIG, Node, begin_pool, everywhere, join_pool, rig

HERE = os.path.dirname(os.path.realpath(__file__))
WATCHED = ("mnt/luns", "mnt/luns/a", "mnt/luns/b", "mnt/snapshots", "mnt/snapshots/base", "mnt/snapshots/base/s")
ROUNDS = int(os.environ.get("VV_NAMES_ROUNDS", "8"))


class Eyes:
    """A process in the node that looks and changes without delay."""

    def __init__(self, node):
        self.process = subprocess.Popen([RIG, "run", node.name, "python3", os.path.join(HERE, "eyes.py")], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)

    def send(self, *words):
        self.process.stdin.write(json.dumps(words) + "\n")
        self.process.stdin.flush()

    def take(self):
        answer = json.loads(self.process.stdout.readline())
        return answer[0] if isinstance(answer, list) else answer and f"E:{errno.errorcode[answer['errno']]}"

    def do(self, *words):
        self.send(*words)
        return self.take()

    def end(self):
        self.process.stdin.close()
        self.process.wait()


rig("up", "3", "--local-disks", "1", "--disk-size", str(1 << 30))
n1, n2, n3 = nodes = [Node(name) for name in ("n1", "n2", "n3")]
begin_pool(n1)
join_pool(n1, n2, n3)
for node in nodes:
    node.eyes = Eyes(node)
everywhere(nodes, lambda node: sorted(item["role"] for item in node.nodes().values()), ["coordinator", "voter", "voter"], "all vote")
faults = []


def expect(found, wanted, what):
    if found != wanted:
        faults.append(f"{what}: {found!r}, not {wanted!r}")


def report(what):
    ok(not faults, what + "".join("\n# " + fault for fault in faults[:5]))
    faults.clear()


def see(*words, wanted, what):
    for node in nodes:
        expect(node.eyes.do(*words), wanted, f"{what}, on {node.name}")


def mount_calls():
    """Each node makes, changes, renames, removes; all see it at once."""
    for turn in range(ROUNDS):
        for node in nodes:
            what = f"round {turn}, by {node.name}"
            expect(node.eyes.do("create", "mnt/luns/a"), None, f"{what}: a LUN is made")
            see("ls", "mnt/luns", wanted=["a", "base"], what=f"{what}: made")
            expect(node.eyes.do("create", "mnt/luns/a"), "E:EEXIST", f"{what}: a second one")
            mode = 0o600 + turn % 8
            expect(node.eyes.do("chmod", "mnt/luns/a", mode), None, f"{what}: chmod")
            for other in nodes:
                expect(other.eyes.do("stat", "mnt/luns/a")[1], mode, f"{what}: mode on {other.name}")
            when = (1000000000 + turn) * 10**9
            expect(node.eyes.do("touch", "mnt/luns/a", when), None, f"{what}: times are set")
            see("mtime", "mnt/luns/a", wanted=when, what=f"{what}: mtime")
            expect(node.eyes.do("rename", "mnt/luns/a", "mnt/luns/b"), None, f"{what}: renamed")
            see("stat", "mnt/luns/a", wanted="E:ENOENT", what=f"{what}: the old name")
            see("ls", "mnt/luns", wanted=["b", "base"], what=f"{what}: renamed")
            expect(node.eyes.do("mknod", "mnt/snapshots/base/s"), None, f"{what}: a snapshot")
            see("ls", "mnt/snapshots/base", wanted=["s"], what=f"{what}: the snapshot")
            expect(node.eyes.do("rename", "mnt/snapshots/base/s", "mnt/snapshots/base/t"), None, f"{what}: it is renamed")
            see("stat", "mnt/snapshots/base/s", wanted="E:ENOENT", what=f"{what}: its old name")
            expect(node.eyes.do("unlink", "mnt/snapshots/base/t"), None, f"{what}: it is removed")
            see("stat", "mnt/snapshots/base/t", wanted="E:ENOENT", what=f"{what}: the snapshot that is gone")
            expect(node.eyes.do("unlink", "mnt/luns/b"), None, f"{what}: removed")
            see("stat", "mnt/luns/b", wanted="E:ENOENT", what=f"{what}: the LUN that is gone")
            see("ls", "mnt/luns", wanted=["base"], what=f"{what}: removed")
    report("what a system call on one node changes, the next look on each finds")


def commands():
    """The same of commands, of which each needs the disks."""
    before = [node.eyes.do("mtime", "mnt/luns") for node in nodes]
    for turn in range(ROUNDS):
        node, size = nodes[turn % 3], (64 + turn) << 20
        node.must("lun", "resize", "base", str(size))
        for other in nodes:
            expect(other.eyes.do("stat", "mnt/luns/base")[0], size, f"{turn}: size by {node.name} on {other.name}")
        node.must("lun", "set", "base", f"mode=06{turn % 8}0")
        for other in nodes:
            expect(other.eyes.do("stat", "mnt/snapshots/base")[1] & 0o200, 0o200, f"{turn}: the folder on {other.name}")
            expect(other.eyes.do("stat", "mnt/luns/base")[1], 0o600 + 8 * (turn % 8), f"{turn}: mode by {node.name} on {other.name}")
        node.must("snapshot", "create", "base@s")
        inodes = {other.eyes.do("stat", "mnt/snapshots/base/s")[2] for other in nodes}
        expect(len(inodes), 1, f"{turn}: the snapshot's number is one")
        node.must("snapshot", "refresh", "base@s")
        fresh = {other.eyes.do("stat", "mnt/snapshots/base/s")[2] for other in nodes}
        expect((len(fresh), fresh & inodes), (1, set()), f"{turn}: refreshed, it is another everywhere")
        node.must("snapshot", "remove", "base@s", "--yes")
        see("stat", "mnt/snapshots/base/s", wanted="E:ENOENT", what=f"{turn}: removed by {node.name}")
    for node, old in zip(nodes, before):
        expect(node.eyes.do("mtime", "mnt/luns") > old, True, f"mtime of luns/ on {node.name}")
    report("what a command on one node changes, the next look on each finds")


def lag(node=n3):
    """A node that stands still is waited for once, and for a second."""
    rig("stop", node.name)
    begin = time.monotonic()
    n1.must("lun", "set", "base", "mode=0640")
    first = time.monotonic() - begin
    begin = time.monotonic()
    n1.must("lun", "set", "base", "mode=0600")
    second = time.monotonic() - begin
    node.cont()
    node.eyes.process.send_signal(signal.SIGCONT)
    ok(first < 5 and second < 1, f"who stands still is waited for at most once: {first:.2f} s, then {second:.2f} s")
    ok(wait_for(lambda: node.eyes.do("stat", "mnt/luns/base")[1] == 0o600, "it goes on"), "it learns what it missed")


def behind(node=n3):
    """A command on a node whose map is old looks at the newest first."""
    for turn in range(ROUNDS):
        for other in nodes:
            name = f"x{turn}-{other.name}"
            other.must("lun", "create", name, "1M")
            code, _, text = node.admin("lun", "rename", name, f"y{turn}-{other.name}")
            expect((code, text), (0, ""), f"rename on {node.name} of what {other.name} has just made")
            code, _, text = other.admin("lun", "remove", f"y{turn}-{other.name}", "--yes")
            expect((code, text), (0, ""), f"removal on {other.name} of what {node.name} has just renamed")
    report(f"commands of {node.name} see all that was done before they began")


def deaths():
    """Who serves on n2 dies again and again amid creations and removals: each is done once, and none fails."""
    wrong, stop = [], threading.Event()

    def work():
        eyes, turn = Eyes(n2), 0
        while not stop.is_set():
            turn += 1
            for words, wanted in ((("mknod", "mnt/luns/k"), None), (("rename", "mnt/luns/k", "mnt/luns/l"), None), (("unlink", "mnt/luns/l"), None),
                                  (("mknod", "mnt/snapshots/base/k"), None), (("unlink", "mnt/snapshots/base/k"), None)):
                found = eyes.do(*words)
                if found != wanted:
                    wrong.append(f"turn {turn}: {words}: {found}")
        eyes.end()
        print(f"# {turn} turns", flush=True)

    worker = threading.Thread(target=work)
    worker.start()
    killed = 0
    for _ in range(int(os.environ.get("VV_NAMES_KILLS", "3"))):
        killed += n2.kill_server()
    stop.set()
    worker.join()
    ok(killed > 0 and not wrong, "a successor answers what was done once" + "".join("\n# " + fault for fault in wrong[:5]))
    everywhere(nodes, lambda node: [node.eyes.do("ls", "mnt/luns"), node.eyes.do("ls", "mnt/snapshots/base")], [["base"], []], "... and nothing is left")


def disks_away():
    """Who has the disks dies amid such calls: they wait for its successor."""
    answers = []

    def work():
        for turn in range(20):
            answers.append(n3.eyes.do("mknod", f"mnt/luns/d{turn}"))
            answers.append(n3.eyes.do("unlink", f"mnt/luns/d{turn}"))

    worker = threading.Thread(target=work)
    worker.start()
    killed = n1.kill_server()
    worker.join()
    same((killed, set(answers)), (True, {None}), "calls wait for the node with the disks, and are done once")


only = set(sys.argv[1:])
n1.must("lun", "create", "base", "64M")
for part, watched in ((mount_calls, True), (commands, True), (behind, False), (lag, False), (deaths, False), (disks_away, False)):
    if only and part.__name__ not in only:
        continue
    for node in nodes:
        node.eyes.do("watch", *(WATCHED if watched else ()))
    begin = time.monotonic()
    part()
    print(f"# {part.__name__}: {time.monotonic() - begin:.1f} s", flush=True)
for node in nodes:
    node.eyes.end()
for node in (n3, n2, n1):
    node.kill()
done()
