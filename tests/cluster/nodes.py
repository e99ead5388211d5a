# SPDX-License-Identifier: GPL-2.0-or-later
"""Three nodes of one pool with real daemons: what people do on the second day, restarts and deaths, ways that are cut, copies of
directories. One node has the disks; all have the map."""

import json
import os
import shutil
import signal
import subprocess
import time

from daemon import done, ok, same, contains, wait_for
from rigged import LOOK_SECONDS, RIG, SLACK, Node, begin_pool, everywhere, join_pool, part, rig, timed

rig("up", "3", "--local-disks", "1", "--disk-size", str(1 << 30))
n1, n2, n3 = nodes = [Node(name) for name in ("n1", "n2", "n3")]
SOAK = {"restarts", "stopped", "lose_disks", "upgraded", "copied"}  # only when asked for


SESSION_SECONDS = 5  # T: VV_DRIVER_SESSION_MS


# ---- making the cluster
begin_pool(n1)
join_pool(n1, n2, n3)
everywhere(nodes, lambda node: {name: (item["role"] == "coordinator" or item["role"], item["state"]) for name, item in node.nodes().items()},
           {"n1": (True, "up"), "n2": ("voter", "up"), "n3": ("voter", "up")}, "node list is the same on all")


def day_two():
    n2.must("lun", "create", "db", "64M")
    everywhere(nodes, lambda node: (node.names(), node.listing()), (["db"], ["db"]), "a LUN that n2 makes is seen on all")
    first = n1.admin("--json", "--id", "a-1", "snapshot", "create", "db@one")
    same(first[0], 0, f"a snapshot on n1 {first[2]}")
    everywhere(nodes, lambda node: [item["object"] for item in node.look("snapshot", "list")], ["db@one"], "all see the snapshot")
    again = n3.admin("--json", "--id", "a-1", "snapshot", "create", "db@one")
    same(again, first, "the same --id on another node gives the same answer")
    for node in nodes:
        node.must("lun", "create", f"of-{node.name}", "8M")
        node.must("lun", "rename", f"of-{node.name}", f"by-{node.name}")
        node.must("lun", "set", f"by-{node.name}", "mode=0640")
        node.must("pool", "set", f"warn-used={70 + int(node.name[1])}")
    everywhere(nodes, lambda node: node.names(), ["by-n1", "by-n2", "by-n3", "db"], "all see what all made")
    for node in nodes:
        same(node.admin("lun", "create", "db", "1M")[0], 1, f"a name that is taken is refused on {node.name}")
    n2.must("snapshot", "create", "db@two")
    everywhere(nodes, lambda node: [item["object"] for item in json.loads(node.must("snapshot", "list", "--json"))], ["db@one", "db@two"],
               "a snapshot that a node without disks asks for is seen by all")
    same([rig("run", node.name, "stat", "-c", "%a", "mnt/luns/by-n3").stdout.strip() for node in nodes], ["640"] * 3, "the mode is the same on all")


def made(node, name):
    """A change that NODE makes is seen on all nodes."""
    node.must("lun", "create", name, "1M")
    return everywhere(nodes, lambda other: name in other.names(), True, f"{name} of {node.name} is seen on all")


def restarts():
    for node in nodes:
        same(node.stop(), 0, f"{node.name} ends")
        rest = [other for other in nodes if other is not node]
        code, out, err = rest[0].admin("--timeout", "30", "lun", "create", f"without-{node.name}", "1M")
        same((code, err), (0, ""), f"the other two go on without {node.name}")
        ok(wait_for(lambda: rest[0].nodes().get(node.name, {}).get("state") == "down", f"{node.name} is told as down"), "... and say so")
        node.start()
        everywhere(nodes, lambda other: f"without-{node.name}" in other.names(), True, f"{node.name} learns what it missed")
    for node in nodes:
        node.kill_server()
        ok(node.process.poll() is None, f"another process takes over on {node.name}")
    made(n2, "after-servers")


def all_down():
    for node in (n2, n3, n1):
        same(node.stop(), 0, f"{node.name} ends")
    n3.forget()
    n3.launch()
    ok(wait_for(lambda: n3.says("waits for a majority"), "a note"), "alone it says what it waits for")
    same(n3.stop(), 3, "asked to end it ends, as one without a quorum")
    contains(n3.tail(), "asked to end", "... and says why")
    same(n3.launch("-o", "wait=1").ended(), 3, "wait= bounds it")
    contains(n3.tail(), "within 1 s", "... in words")
    same(rig("run", "n3", "sh", "-c", "mount | grep fuse.vvfs", check=False).stdout, "", "no mount stays")
    for node in (n3, n1, n2):
        node.launch()
    for node in nodes:
        node.wait()
    made(n3, "after-all")
    for node in nodes:
        node.kill()
    for node in (n2, n3, n1):
        node.launch()
    for node in nodes:
        node.wait()
    made(n1, "after-all-died")


def wait_for_coordinator(among):
    """The name that all AMONG agree on."""
    def agreed():
        found = {node.coordinator() for node in among}
        return found.pop() if len(found) == 1 and found <= {node.name for node in among} else None
    return wait_for(agreed, "a coordinator that all agree on")


def under_load(what, during, flushed=False):
    """vvpat writes on n1 while DURING is called: no error, nothing lost."""
    n1.must("lun", "create", f"load-{what}", "64M")
    writer = subprocess.Popen([RIG, "run", "n1", "vvpat", "write", "--depth", "4", "--bs", "4096-65536", "--count", "10000000", "--flush", "8",
                               "--seconds", "600", "--log", f"writes.{what}", f"mnt/luns/load-{what}"], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    path = os.path.join(n1.home, f"writes.{what}")
    wait_for(lambda: os.path.exists(path) and os.stat(path).st_blocks > 40, "some writes")
    during()
    before = os.stat(path).st_blocks
    if not flushed:
        ok(wait_for(lambda: os.stat(path).st_blocks > before + 40, "writes go on"), f"{what}: writes go on")
        for pid in rig("pids", "n1", "^vvpat").stdout.split():
            os.kill(int(pid), signal.SIGTERM)
    out, _ = writer.communicate(timeout=60)
    if not flushed:
        ok(writer.returncode in (0, 143, -15), f"{what}: no error {writer.returncode} {out[-300:]}")
    result = rig("run", "n1", "vvpat", "verify", *(["--flushed"] if flushed else []), "--log", f"writes.{what}", f"mnt/luns/load-{what}", check=False)
    ok(result.returncode == 0 and " 0 wrong" in result.stdout, f"{what}: the data is there {result.stdout[-300:]} {result.stderr[-300:]}")


def lose_coordinator():
    """Killed with its holder; the others choose one, while n1 writes."""
    name = wait_for_coordinator(nodes)
    for _ in range(6):
        if name != "n1":
            break
        n1.stop()
        name = wait_for_coordinator([n2, n3])
        n1.start()
    lost = next(node for node in nodes if node.name == name)
    rest = [node for node in nodes if node is not lost]
    ok(lost is not n1, f"{name} decides")

    def lose():
        lost.kill()
        begin = time.monotonic()
        another = wait_for_coordinator(rest)
        print(f"# {another} decides after {time.monotonic() - begin:.1f} s", flush=True)

    under_load("coordinator", lose)
    lost.start()
    made(lost, "after-coordinator")


def lose_disks():
    """n1, which has the disks, dies with all its processes."""
    under_load("disks", lambda: (n1.kill(), made_by_rest(), n1.start()), flushed=True)
    made(n1, "after-disks")


def made_by_rest(name="while-n1-was-dead"):
    code, _, err = n2.admin("--timeout", "30", "lun", "create", name, "1M")
    same((code, err), (0, ""), "n2 and another make a change")


LOOKS = (("lun", "list"), ("lun", "show", "db"), ("pool", "status"), ("doctor",), ("node", "list"), ("events",), ("snapshot", "list"))


def looks(node, what, which=LOOKS):
    for words in which:
        (code, out, err), seconds = timed(node.admin, *words)
        ok(code in (0, 5) and seconds < LOOK_SECONDS + SLACK, f"{what}: {' '.join(words)} answers ({code}, {seconds:.1f} s) {err}")


def cut_off():
    name = wait_for_coordinator(nodes)
    lone = next(node for node in nodes if node.name == name)  # the harder one: it has to notice
    rest = [node for node in nodes if node is not lone]
    rig("cut", lone.name)
    code, _, err = lone.admin("--timeout", "2", "--id", "cut-1", "lun", "create", "of-the-cut", "1M")
    ok(code in (3, 4), f"who was cut off makes no change ({code}) {err}")
    looks(lone, "cut off")
    ok(wait_for(lambda: lone.coordinator() is None, "no coordinator"), "it does not know who decides")
    (code, _, err), seconds = timed(lone.admin, "--id", "cut-2", "lun", "create", "not-by-the-cut", "1M")
    ok(code == 3 and seconds < 15, f"without a coordinator a change is refused ({code}, {seconds:.1f} s) {err}")
    contains(err, "nothing was changed", "... and says so")
    same({name: item["state"] for name, item in lone.nodes().items()}, {node.name: "up" if node is lone else "down" for node in nodes},
         "it says whom it cannot reach")
    code, _, err = rest[0].admin("--timeout", "30", "lun", "create", "by-the-rest", "1M")
    same((code, err), (0, ""), "the majority goes on")
    rig("heal")
    everywhere(nodes, lambda node: "by-the-rest" in node.names(), True, "healed, it follows by itself")
    code, _, err = lone.admin("--timeout", "30", "--id", "cut-1", "lun", "create", "of-the-cut", "1M")
    same(code, 0, f"the same --id settles it {err}")
    everywhere(nodes, lambda node: ("of-the-cut" in node.names(), "not-by-the-cut" in node.names()), (True, False), "... once, everywhere")
    ok(wait_for(lambda: all(item["state"] == "up" for node in nodes for item in node.nodes().values()), "all up"), "all see all again")


def cut_off_and_dead():
    """Who serves dies on a node that is cut off: the mount stands still until it is back, and commands are answered."""
    for lone in (n3, n1):
        rig("cut", lone.name)
        before = lone.server()
        os.kill(before, signal.SIGKILL)
        died = time.time_ns()
        ok(wait_for(lambda: lone.look("pool", "status"), "an answer", 15), f"{lone.name} is cut off, who serves there dies, and its successor answers")
        looks(lone, "cut off and waiting", [words for words in LOOKS if words[1:2] != ("show",)])
        status = lone.look("pool", "status")
        same((status["state"], status["problems"][0]["code"], abs(status["stale_since_ns"] - died) < 5 * 10**9), ("no-quorum", "waiting", True), "it says that it waits, and since when")
        contains(lone.admin("doctor")[1], f"node {lone.name} reaches no majority of the nodes since", "... also to people")
        same({name: item["state"] for name, item in lone.nodes().items()}, {node.name: "up" if node is lone else "down" for node in nodes}, "it knows all nodes")
        same([lone.look("node", "show", node.name)["name"] for node in nodes], ["n1", "n2", "n3"], "... one by one")
        code, _, err = lone.admin("lun", "create", "not-now", "1M")
        same(code, 3, f"it makes no change {err}")
        rig("heal")
        ok(wait_for(lone.answers, "it to serve"), "healed, it serves")
        made(lone, f"after-{lone.name}-waited")


def stopped():
    """A node that stands still for longer than its session, and goes on."""
    name = wait_for_coordinator(nodes)
    still = next(node for node in nodes if node.name == name)
    rest = [node for node in nodes if node is not still]
    rig("stop", still.name)
    code, _, err = rest[0].admin("--timeout", "30", "lun", "create", "while-still", "1M")
    same((code, err), (0, ""), "the others choose another coordinator")
    time.sleep(7)  # what is tested is that time has passed: longer than a session
    still.cont()
    everywhere(nodes, lambda node: "while-still" in node.names(), True, "it follows when it goes on")
    made(still, "after-still")


def upgraded():
    for node in nodes:
        before = node.server()
        result = rig("run", node.name, "vvfs", "--upgrade", "mnt", check=False)
        same((result.returncode, result.stderr), (0, ""), f"{node.name} takes a new binary")
        ok(node.server() != before and node.answers(), "... which serves")
    made(n3, "after-upgrade")


def last_one():
    """Whoever is stopped last has no majority: what it has written and not flushed does not hold it for longer than 2 T, and it says so."""
    n1.must("lun", "create", "last", "8M")
    n2.stop()
    n3.stop()
    result = rig("run", "n1", "dd", "if=/dev/urandom", "of=mnt/luns/last", "bs=64K", "count=16", "oflag=direct", "conv=notrunc", "status=none", check=False)
    same((result.returncode, result.stderr), (0, ""), "n1 writes without a majority")
    n1.forget()
    code, seconds = timed(n1.stop)
    ok(code is not None and seconds < 2 * SESSION_SECONDS + SLACK, f"n1 ends after {seconds:.1f} s ({code})")
    contains(n1.tail(), "no majority of the nodes answers", "... and says what it waited for")
    same(rig("run", "n1", "sh", "-c", "mount | grep fuse.vvfs", check=False).stdout, "", "no mount stays")
    for node in nodes:
        node.launch()
    for node in nodes:
        node.wait()
    made(n1, "after-last")


def copied():
    """A copy of n3's directory on another machine has n3's address and cannot be served there; in n3's place, when n3 has gone on since,
    it is not brought up to date, and says so."""
    n3.stop()
    rig("run", "n3", "cp", "-a", "pool", "old")
    n3.start()
    made(n2, "after-copy")
    shutil.copytree(os.path.join(n3.home, "old"), os.path.join(n2.home, "twin"))
    rig("run", "n2", "mkdir", "mnt2")
    result = rig("run", "n2", "timeout", "20", "vvfs", "-f", "./twin", "mnt2", check=False)
    ok(result.returncode == 1 and "cannot be reached by others" in result.stderr, f"a twin on another machine is refused: {result.stderr}")
    made(n3, "after-twin")
    n3.stop()
    rig("run", "n3", "sh", "-c", "mv pool newer && mv old pool")
    code = n3.launch("-o", "wait=2").ended()
    same(code, 3, "an older copy of the directory is not brought up to date")
    contains(n3.tail(), "older copy", "... and says what it may be")
    rig("run", "n3", "sh", "-c", "rm -r pool && mv newer pool")
    n3.start()
    made(n3, "after-old")


for function in (day_two, restarts, all_down, lose_coordinator, lose_disks, cut_off, cut_off_and_dead, stopped, upgraded, copied, last_one):
    part(function, SOAK)
for node in nodes:
    same(node.stop(), 0, f"{node.name} ends")
for node in nodes:
    same(node.call("pool", "check", "./pool")[0], 0, f"the pool is whole on {node.name}")
done()
