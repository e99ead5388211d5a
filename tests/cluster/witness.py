# SPDX-License-Identifier: GPL-2.0-or-later
"""Two nodes and a witness: either node may be lost, the witness too, it never leads for longer than a hand-over takes, and it mounts nothing.
Names of parts as arguments run these alone."""

import os
import signal
import subprocess
import sys
import threading
import time

from daemon import contains, done, ok, same, wait_for
from rigged import RIG, SLACK, Node, everywhere, rig

CHOICE_SECONDS = 3.0  # until somebody else leads
HAND_OVER_SECONDS = 1.0 + SLACK  # an election's time, after which it is tried with another


class Witness(Node):
    def launch(self, *options):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([RIG, "run", self.name, "vvfs", "-f", *options, "--witness", "./pool"], stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log)
        return self

    def answers(self):
        return self.admin("pool", "status", seconds=30)[0] in (0, 5)


class Watch(threading.Thread):
    """How long the witness was shown as coordinator, by nobody interrupted, while this runs."""

    def __init__(self, *nodes):
        super().__init__(daemon=True)
        self.nodes, self.longest, self.looks, self.over = nodes, 0.0, 0, threading.Event()

    def run(self):
        since = None
        while not self.over.is_set():
            for node in self.nodes:
                listed = node.nodes()
                now = time.monotonic()
                if not listed:
                    continue
                self.looks += 1
                if listed.get("w", {}).get("role") != "coordinator":
                    since = None
                    continue
                since = since or now
                self.longest = max(self.longest, now - since)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.join()
        ok(self.looks > 3 and self.longest < HAND_OVER_SECONDS,
           f"the witness leads for no longer than a hand-over ({self.longest:.2f} s, {self.looks} looks)")


def part(function):
    if not only or function.__name__ in only:
        begin = time.monotonic()
        function()
        print(f"# {function.__name__}: {time.monotonic() - begin:.1f} s", flush=True)


def run(node, *words, seconds=60):
    """(exit code, stdout and stderr)."""
    result = rig("run", node.name, *words, check=False, timeout=seconds)
    return result.returncode, result.stdout + result.stderr


def refused(result, code, text, what):
    if not ok(result[0] == code and text in "".join(result[1:]), what):
        print(f"# {result!r}")


def up(node, count):
    return sum(item["state"] == "up" for item in node.nodes().values()) == count


only = set(sys.argv[1:])
rig("up", "3", "--local-disks", "1", "--disk-size", str(1 << 30))
n1, n2, w = Node("n1"), Node("n2"), Witness("n3")
nodes = (n1, n2, w)

# ---- making the cluster
code, out, err = n1.call("pool", "create", "./pool", "--name", "prod", "--disk", "dev/d1", "--listen", n1.address, "--node", "n1")
same(code, 0, f"a pool that listens {err}")
n1.start()
for node, role, name in ((n2, "voter", "n2"), (w, "witness", "w")):
    code, token, err = n1.admin("node", "invite", "--role", role, "--name", name)
    contains(err, "then: vvfs --witness prod" if role == "witness" else "then: vvfs prod MOUNTPOINT", "the invitation says what to run")
    token = token.strip()
    code, out, err = node.call("node", "join", "./pool", "--token", token, "--listen", node.address)
    same((code, err), (0, ""), f"{name} joins as a {role}")
refused(run(w, "vvfs", "-f", "./pool", "mnt"), 1, "vvfs --witness", "a witness is not mounted: it is said what to run")
for node in (n2, w):
    node.start()
everywhere(nodes, lambda node: {name: (item["role"].replace("coordinator", "voter"), item["state"]) for name, item in node.nodes().items()},
           {"n1": ("voter", "up"), "n2": ("voter", "up"), "w": ("witness", "up")}, "node list is the same on all")
ok(wait_for(lambda: n1.admin("node", "lead", "n2")[0] == 0, "n2 to vote"), "n2 leads")
n1.must("lun", "create", "db", "64M")


def looks():
    same((n1.nodes()["w"]["disks"], w.nodes()["w"]["session"]), (0, None), "a witness has no disks, and no session")
    refused(run(w, "vvfs", "-f", "./pool", "mnt"), 1, "vvfs --witness", "while it votes it is not mounted either")
    refused(run(w, "vvfs", "-f", "--witness", "./pool"), 1, "witnessed already", "... and is not started twice")
    refused(run(n2, "vvfs", "-f", "--witness", "./pool"), 1, "is no witness", "another node is not started as one")
    refused(run(w, "vvfs", "--witness", "./pool", "mnt"), 2, "has no mount", "it takes no mount point")
    refused(run(w, "vvfs", "--witness", "-o", "ro", "./pool"), 2, "votes", "... and is not read-only")
    ok(w.admin("doctor")[0] in (0, 5) and wait_for(lambda: w.names() == ["db"], "the map"), "it answers who looks, by its own map")
    for words, text in ((("set", "w", "role=voter"), "cannot become a voter"), (("set", "n2", "role=witness"), "cannot become a witness"),
                        (("lead", "w"), "never leads")):
        refused(n1.admin("node", *words), 1, text, f"node {' '.join(words)} is refused")
    refused(w.admin("lun", "attach", "db"), 1, "it has no mount", "it attaches nothing")
    refused(n1.admin("share", "set", "db", "w=rw"), 1, "has no mount", "nothing is shared with it")
    same(n1.coordinator(), "n2", "n2 still leads")
    same(n2.admin("node", "set", "n2", "role=standby")[0], 0, "n2 becomes a standby: n1 and the witness vote")
    ok(wait_for(lambda: n1.coordinator() == "n1" and n1.nodes()["n2"]["role"] == "standby", "n1 to lead"), "... and n1 leads, not the witness")
    refused(n1.admin("node", "set", "n1", "role=standby"), 1, "beside witnesses", "the last that may lead stays a voter")
    same(n1.admin("node", "set", "n2", "role=voter")[0], 0, "n2 votes again")
    ok(wait_for(lambda: n1.admin("node", "lead", "n2")[0] == 0, "n2 to vote"), "n2 leads again")


def writes(what):
    """What goes on meanwhile on n1's mount; its end is ok if nothing of it failed."""
    script = "i=0; while [ ! -e stop ]; do i=$((i+1)); echo $i | dd of=mnt/luns/db bs=4k conv=sync,notrunc,fsync status=none || exit 9; " \
             "dd if=mnt/luns/db bs=4k count=1 status=none | grep -qax $i || exit 8; done; echo $i"
    process = subprocess.Popen([RIG, "run", "n1", "sh", "-c", script], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True)

    def end():
        with open(os.path.join(n1.home, "stop"), "w", encoding="ascii"):
            pass
        text, _ = process.communicate(timeout=60)
        os.unlink(os.path.join(n1.home, "stop"))
        count = text.split()[-1] if text.split() else "0"
        ok(process.returncode == 0 and count.isdigit() and int(count) > 0, f"{what}: {count} writes, none failed ({process.returncode} {text[-200:]})")
    return end


def comes_to_lead(names, among):
    begin = time.monotonic()
    found = wait_for(lambda: among.coordinator() in names, f"{names} to lead")
    return ok(found and time.monotonic() - begin < CHOICE_SECONDS + SLACK, f"{names} leads after {time.monotonic() - begin:.1f} s")


def leader_is_cut():
    ok(n1.admin("node", "lead", "n2")[0] == 0, "n2 leads")
    end = writes("n1 goes on while its coordinator is cut off")
    with Watch(n1, w):
        rig("cut", "n2")
        comes_to_lead(["n1"], n1)
        n1.must("lun", "create", "without-n2", "1M")
        rig("heal")
        ok(wait_for(lambda: up(n1, 3) and "without-n2" in n2.names(), "n2"), "n2 comes back")
    end()


def leader_is_lost():
    ok(wait_for(lambda: n1.admin("node", "lead", "n2")[0] == 0, "n2 to lead"), "n2 leads")
    end = writes("n1 goes on while n2's machine is lost")
    with Watch(n1, w):
        n2.kill()
        comes_to_lead(["n1"], n1)
        n1.must("lun", "create", "n2-is-lost", "1M")
        ok(wait_for(lambda: "n2-is-lost" in w.names(), "the witness"), "the witness has it")
    end()
    refused(n1.admin("node", "evict", "w"), 3, "without node w", "the witness is needed now: it is not evicted")
    n2.start()
    ok(wait_for(lambda: "n2-is-lost" in n2.names(), "n2"), "n2 learns it")


def disks_are_lost():
    """n1 has them: n2 and the witness still decide."""
    ok(wait_for(lambda: n2.admin("node", "lead", "n1")[0] == 0, "n1 to lead"), "n1 leads")
    with Watch(n2, w):
        n1.kill()
        comes_to_lead(["n2"], n2)
        same(n2.admin("pool", "set", "warn-used=71")[0], 0, "n2 changes the pool with the witness")
    n1.start()
    ok(wait_for(lambda: up(n2, 3), "n1"), "n1 comes back")


def lagging():
    """n2 lags, n1 is lost: only the witness has all, and leads until n2 has it too."""
    ok(wait_for(lambda: n2.admin("node", "lead", "n1")[0] == 0, "n1 to lead"), "n1 leads")
    rig("cut", "n2")
    for number in range(5):
        n1.must("lun", "create", f"missed-{number}", "1M")
    ok(wait_for(lambda: "missed-4" in w.names(), "the witness"), "the witness has what n2 misses")
    n1.kill()
    with Watch(w, n2):
        rig("heal")
        comes_to_lead(["n2"], w)
    ok(wait_for(lambda: "missed-4" in n2.names(), "n2"), "n2 leads, and lacks nothing")
    n1.start()
    ok(wait_for(lambda: up(n2, 3), "n1"), "n1 comes back")


def witness_dies():
    holder = w.holder()
    os.kill(w.server(), signal.SIGKILL)
    ok(wait_for(lambda: w.answers() and w.events("restarted"), "a successor") and w.holder() == holder, "a witness that dies is started anew")
    contains(w.events("restarted")[-1], "was the witness", "... and says so")
    code, out = run(w, "vvfs", "--upgrade", "./pool")
    same(code, 0, f"its program is exchanged {out}")
    w.kill()
    n1.must("lun", "create", "without-witness", "1M")
    w.start()
    ok(wait_for(lambda: "without-witness" in w.names(), "the witness"), "after its machine was lost it learns what it missed")
    same(w.stop(), 0, "SIGTERM ends it")
    code, out = run(w, "vvfs", "-o", "wait=30", "--witness", "./pool")
    same(code, 0, f"in the background it returns when it votes {out}")
    same(w.answers(), True, "... and answers")
    (pid,) = (int(pid) for pid in rig("pids", "n3", "^vvfs .*--witness").stdout.split()[:1])
    os.kill(pid, signal.SIGTERM)
    ok(wait_for(lambda: not rig("pids", "n3", "^vvfs").stdout.split(), "its end"), "... and ends")
    w.start()


def no_majority():
    n2.kill()
    same(w.stop(), 0, "the witness ends")
    refused(n1.admin("--timeout", "3", "lun", "create", "alone", "1M"), 3, "majority", "n1 alone decides nothing")
    same(w.launch("-o", "wait=60").process.poll(), None, "the witness begins")
    ok(wait_for(lambda: n1.admin("lun", "create", "two", "1M")[0] == 0, "a majority"), "with it n1 goes on")
    w.wait()
    n1.kill()
    same(w.stop(), 0, "alone it ends when it is asked to")
    same(w.launch("-o", "wait=1").ended(), 3, "without the others it does not begin: no quorum")
    refused(w.admin("node", "list"), 0, "w ", "without a daemon it tells whom it knew")
    refused(w.admin("pool", "status"), 3, "vvfs --witness", "... and what to run")
    for node in (n1, n2, w):
        node.launch()
    for node in (n1, n2, w):
        node.wait()


def leaves():
    refused(n1.admin("node", "set", "w", "role=standby"), 1, "cannot become a standby", "a witness stays one")
    same(n1.admin("node", "evict", "w")[0], 0, "the witness is evicted")
    same(w.ended(), 0, "... and ends")
    refused(run(w, "vvfs", "-f", "--witness", "./pool"), 1, "no node of pool prod any more", "... for good")
    ok(wait_for(lambda: sorted(n1.nodes()) == ["n1", "n2"], "two nodes"), "two nodes are left")


for function in (looks, leader_is_cut, leader_is_lost, disks_are_lost, lagging, witness_dies, no_majority, leaves):
    part(function)
done()
