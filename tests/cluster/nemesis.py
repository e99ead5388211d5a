# SPDX-License-Identifier: GPL-2.0-or-later
"""Three nodes of one pool under load, of which a fourth becomes a member and leaves, and rounds in which one or two things happen to them by
chance: processes and machines die or stand still, ways are cut, members come and go, somebody else coordinates, programs are exchanged, a
disk fails; the configuration is changed meanwhile. After each round all is healed and all loads go on; every few rounds
they end, and what was acknowledged is looked for.

A round is made from the seed and its number alone: SEED=S FIRST=N ROUNDS=1 does round N again. What is lost with n1's memory is what was
not flushed, so such a round is the last before all is looked at."""

import argparse
import collections
import functools
import os
import random
import shutil
import signal
import subprocess
import sys
import time

from daemon import wait_for
from meddler import KNOWN_CODES, Meddler
from pressure import Pressure, Wrong, must
from rigged import RIG, FaultyNode, rig, send

HEAL_SECONDS = 60
CHECK_EVERY = 8


def asked(node, *words):
    """(exit code, stdout, stderr). Who has just died, or has no majority for a moment, is asked again: 3 is that nothing was changed."""
    end = time.monotonic() + HEAL_SECONDS
    while (result := node.admin(*words))[0] == 3 and time.monotonic() < end:
        time.sleep(0.1)
    return result


class Member(FaultyNode):
    """A node whose ways to disks can be broken, and that is made anew when it has left."""

    def __init__(self, name):
        super().__init__(name, *(["--faults"] if name == "n1" else []))

    def go_on(self):
        """Who was stopped."""
        for pid in rig("pids", self.name, "^vvfs --serve").stdout.split():
            send(int(pid), signal.SIGCONT)

    def lives(self):
        return self.process is not None and self.process.poll() is None

    def join(self, by, role="voter"):
        rig("run", self.name, "rm", "-rf", "pool")
        token = asked(by, "node", "invite", "--name", self.name, "--role", role)[1].strip()
        code, _, err = self.call("node", "join", "./pool", "--token", token, "--listen", self.address, "--node", self.name)
        must(code == 0, f"{self.name} does not join: {err}")
        self.launch()

    def serves(self):
        must(wait_for(lambda: not self.lives() or self.answers(), f"{self.name} to serve", HEAL_SECONDS) and self.lives(), f"{self.name} does not serve: {self.tail()}")

    def goes(self):
        """It has left the pool: it ends by itself."""
        if self.process is not None:
            code = self.ended(HEAL_SECONDS)
            must(code is not None, f"{self.name} has left and does not end: {self.tail()}")


class Cluster:
    def __init__(self, seed):
        rig("up", "4", "--local-disks", "1", "--disk-size", str(4 << 30))
        self.seed = seed
        self.nodes = [Member(name) for name in ("n1", "n2", "n3")]
        self.guest = Member("n4")
        self.pressure = Pressure(self.nodes, self.guest)
        self.meddler = Meddler(self.pressure)
        self.dead = set()  # to be started by heal()
        self.after = []  # what can be done only when all is well
        self.points = collections.Counter()
        self.looked_at = 0  # operations
        self.begun = []  # (exit codes, process) of commands that may need a majority
        n1 = self.nodes[0]
        code, _, err = n1.call("pool", "create", "./pool", "--name", "prod", "--disk", "dev/d1", "--listen", n1.address, "--node", "n1")
        must(code == 0, err)
        n1.start()
        for node in self.nodes[1:]:
            node.join(n1)
            node.serves()
        self.pressure.begin(n1)

    def members(self):
        return self.nodes + ([] if self.pressure.writers[-1].idle else [self.guest])

    def leads(self):
        return next((found for found in (node.coordinator() for node in self.nodes if node not in self.dead) if found), None)

    def other(self, node):
        """One that is up, to command."""
        return next(one for one in self.nodes if one is not node and one not in self.dead)

    def wake(self):
        """Who waits for a program to end must not wait for a server that we have stopped."""
        for node in self.members():
            if node not in self.dead:
                node.go_on()

    def crash_comes(self):
        self.wake()
        self.pressure.crash_comes()

    def died(self, node):
        """Its mount is gone, with all that used it."""
        self.dead.add(node)
        self.pressure.hurt.add(node.name)
        node.process.send_signal(signal.SIGCONT)  # faults.c stops the holder before it dies, and nsenter with it
        node.ended()
        self.wake()
        self.pressure.end_on(node)
        rig("run", node.name, "umount", "-l", "mnt", check=False)

    def begin_to(self, codes, node, *words):
        self.begun.append((codes, subprocess.Popen([RIG, "run", node.name, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)))

    def heal(self):
        rig("heal")
        rig("mend", "n1")
        for codes, process in self.begun:
            text, _ = process.communicate(timeout=HEAL_SECONDS)
            must(process.returncode in codes or process.returncode in (137, -9), f"{process.args[3:]} ended with {process.returncode}: {text}")
        self.begun.clear()
        for node in sorted(self.dead, key=lambda node: node.name):
            node.launch()
        for node in self.dead:
            node.serves()
        self.dead.clear()
        for step in self.after:
            step()
            for node in self.nodes:
                node.serves()
        self.after.clear()
        for node in self.members():
            node.serves()
        self.pressure.revive()
        self.pressure.goes_on(HEAL_SECONDS)
        if self.pressure.lost_ns is None:
            self.pressure.hurt.clear()

    def pause(self):
        """Somebody else needs the machine."""
        if options.pause and os.path.exists(options.pause):
            self.pressure.end(self.pressure.loads())
            while os.path.exists(options.pause):
                time.sleep(1)
            self.pressure.start()
            self.pressure.goes_on(HEAL_SECONDS)

    def look_at_all(self, choose):
        self.pressure.end(self.pressure.loads())
        self.pressure.verify(choose)
        must(wait_for(lambda: all(node.coordinator() == self.nodes[0].coordinator() is not None for node in self.nodes), "one coordinator"), "no coordinator")
        self.meddler.look(self.nodes)
        for node in self.nodes:
            code, out, err = node.admin("--json", "pool", "check")
            must(code == 0, f"pool check on {node.name} ({code}): {out[-600:]} {err}")

    def again(self):
        admin = self.nodes[0]
        self.pressure.renew(admin)
        self.meddler.clear(admin)
        self.looked_at = self.pressure.operations()  # what stays
        self.pressure.begin(admin)


# ---- nemeses: each does something, yields for how long it holds (s), and undoes it
def stand_still(c, r):
    """SIGSTOP of who serves."""
    node, seconds = r.choice(c.members()), 0.1 * 100 ** r.random()
    pid = node.server()
    if pid is None:
        return
    yield f"{node.name}'s server stands still", seconds, lambda: send(pid, signal.SIGSTOP)
    send(pid, signal.SIGCONT)


def server_dies(c, r):
    node, times = r.choice(c.members()), r.choice((1, 1, 2))

    def die():
        pid = node.server()
        send(pid, signal.SIGKILL)
    for _ in range(times):
        yield f"{node.name}'s server dies", r.random(), die


def machine_dies(c, r):
    node, seconds, how = r.choice(c.nodes[1:] * 3 + c.nodes[:1]), r.choice((0, 0.5, 3)), r.choice(("all", "vvfs"))

    def die():
        if node in c.dead:
            return
        if node is c.nodes[0]:
            c.crash_comes()
        if how == "all":
            rig("kill", node.name)
        else:
            for pid in [node.holder(), node.server()]:
                send(pid, signal.SIGKILL)
        c.died(node)
    yield f"{node.name} dies ({how})", seconds, die


def cut_link(c, r):
    node = r.choice(c.members())
    yield f"{node.name}'s link is down", r.uniform(0.2, 4), lambda: rig("cut", node.name)
    rig("heal", node.name)


def cut_way(c, r):
    a, b = r.sample(c.members(), 2)
    yield f"nothing passes between {a.name} and {b.name}", r.uniform(0.2, 4), lambda: rig("cut", a.name, b.name)
    rig("heal", a.name, b.name)


def black_hole(c, r):
    a, b = r.sample(c.members(), 2)
    yield f"nothing passes from {a.name} to {b.name}", r.uniform(0.2, 4), lambda: rig("blackhole", a.name, b.name)
    rig("heal", a.name, b.name)


def lead(c, r):
    for node in r.sample(c.nodes, 2):
        yield f"{node.name} is to coordinate", r.uniform(0, 0.3), lambda node=node: c.begin_to(
            KNOWN_CODES, c.other(node), "vvfs-admin", "-p", "./pool", "--timeout", "10", "node", "lead", node.name)


def upgrade(c, r):
    node = r.choice(c.nodes)
    yield f"{node.name}'s program is exchanged", 0.1, lambda: c.begin_to((0, 1), node, "vvfs-faults", "--upgrade", "mnt")


def evict(c, r):
    node, seconds = r.choice(c.nodes[1:]), r.uniform(0, 0.5)
    words = ("--timeout", "20", "--id", f"evict-{r.getrandbits(64):x}", "node", "evict", node.name, "--yes")

    def begin():
        if node in c.dead:
            return
        c.wake()
        c.pressure.end_on(node)
        c.pressure.hurt.add(node.name)
        c.other(node).admin(*words)
        c.after.append(finish)

    def finish():
        code, _, err = asked(c.nodes[0], *words)
        must(code == 0, f"{node.name} is not evicted ({code}): {err}")
        node.goes()
        node.join(c.nodes[0])
        node.serves()
    yield f"{node.name} is evicted", seconds, begin


def guest(c, r):
    """n4 becomes a member, or leaves, or dies and is evicted."""
    node, load = c.guest, c.pressure.writers[-1]
    role, dies = r.choice(("voter", "standby")), r.random() < 0.3
    identity = f"guest-{r.getrandbits(64):x}"

    def come():
        node.join(c.other(node), role)
        node.serves()
        load.idle = False

    def go():
        c.pressure.hurt.add(node.name)
        c.pressure.end_on(node)
        if dies:
            rig("kill", "n4")
        words = ("--timeout", "20", "--id", identity, "node") + (("evict", "n4") if dies else ("leave",))
        by = c.nodes[0] if dies else node
        code, _, err = by.admin(*words, "--yes")
        must(code == 0 or not node.lives(), f"n4 does not leave ({code}): {err}")
        node.goes()
        load.idle = True
    if load.idle:
        yield "n4 comes", 0, lambda: c.after.append(come)
    else:
        yield "n4 goes", 0, lambda: c.after.append(go)


def disk_fails(c, r):
    what = r.choice(("read", "write", "sync", "all"))

    def fail():
        c.crash_comes()
        rig("break", "n1", "d1", what)

    def mount_again():  # as a sync that failed asks for
        c.pressure.end_on(n1)
        must(n1.stop(HEAL_SECONDS) is not None, f"n1 does not end after its disk has failed: {n1.tail()}")
        n1.launch()
    n1 = c.nodes[0]
    yield f"n1's disk fails ({what})", r.uniform(0.2, 2), fail
    rig("mend", "n1")
    if n1 not in c.dead:
        c.after.insert(0, mount_again)


LEADS, DISKS, ELSEWHERE, ANY = "coordinator", "n1", "n2 n3", "n1 n2 n3"
POINTS = {  # of faultpoint.h: where; what leads there, if load does not
    "data-written": (DISKS, None), "in-record": (DISKS, None), "record-put": (DISKS, None), "published": (DISKS, None),
    "snapshot-closed": (DISKS, "snapshot"), "snapshot-switched": (DISKS, "snapshot"), "snapshot-entered": (DISKS, "snapshot"),
    "journal-appended": (ANY, None), "journal-written": (ANY, None), "journal-synced": (ANY, None), "raft-put": (ANY, None), "raft-stored": (ANY, None),
    "committed": (ANY, None), "applied": (ANY, None), "dropped": (ANY, None), "vote-first": (ANY, "lead"), "vote-written": (ANY, "lead"),
    "announced": (ANY, "death"), "opened": (ANY, "death"), "adopted": (ANY, "death"), "session-asked": (ELSEWHERE, "death"),
    "renewal-heard": (LEADS, None), "proposal-heard": (LEADS, "change"), "object-taken": (DISKS, None), "object-done": (DISKS, None), "answer-heard": (ELSEWHERE, None)}
POINT_ACTIONS = ("kill", "sleep", "stop", "crash")
POINT_SECONDS = 3.0  # within which it comes, or not


def provoke(c, how, node, number):
    other = c.other(node)
    if how == "snapshot":
        c.begin_to(KNOWN_CODES, other, "vvfs-admin", "-p", "./pool", "--timeout", "10", "snapshot", "create", f"ra@p{number}", f"w1@p{number}")
    elif how == "lead":
        c.begin_to(KNOWN_CODES, other, "vvfs-admin", "-p", "./pool", "--timeout", "10", "node", "lead", next(one for one in c.nodes if one.name != c.leads()).name)
    elif how == "change":
        c.begin_to(KNOWN_CODES, other, "vvfs-admin", "-p", "./pool", "--timeout", "10", "lun", "create", f"p{number}", "1M")
    elif how == "death":
        send(node.server(), signal.SIGKILL)


def at_point(c, r, point=None, action=None):
    """A process dies, stops or is late at a fault point; crash: its holder dies as well, and with it all of the node."""
    point, action = point or r.choice(list(POINTS)), action or r.choice(POINT_ACTIONS)
    where, how = POINTS[point]
    name = c.leads() if where == LEADS else r.choice(where.split())
    node = next((one for one in c.nodes if one.name == name), c.nodes[0])
    late, number = round(100 * 20 ** r.random()), r.getrandbits(40)
    if action == "crash" and node is c.nodes[0]:
        action = "kill"
    rule = f"{point}#{1 if how else r.randrange(1, 40)}:{action}{f'={late}' if action == 'sleep' else ''}"
    before = len(node.faults())

    def begin():
        node.arm(rule)
        if how and node.server() is not None:
            provoke(c, how, node, number)

    yield f"{node.name}: {rule}", 0, begin
    end = time.monotonic() + POINT_SECONDS
    while time.monotonic() < end and len(node.faults()) == before:
        yield None, 0.02, lambda: None
    with open(node.rules, "w", encoding="ascii"):
        pass
    came = node.faults()[before:]
    c.points[point, action if came else "not passed"] += 1
    if came and action == "crash":
        yield None, r.choice((0, 1)), lambda: c.died(node)
    elif came and action == "stop":
        yield None, late / 500, lambda: None
        node.go_on()
    if not came and node not in c.dead:
        node.arm("")


NEMESES = ((4, at_point), (4, stand_still), (4, server_dies), (2, machine_dies), (2, cut_link), (3, cut_way), (3, black_hole), (2, lead), (1, upgrade), (1, evict), (2, guest), (1, disk_fails))


def play(c, number):
    """One round; what was done."""
    r = random.Random(f"{c.seed}.{number}")
    weights, choices = zip(*[item for item in NEMESES if not only or item[1].__name__ in only])
    chosen = r.choices(choices, weights, k=r.choice((1, 1, 2)))
    if options.points:
        point = list(POINTS)[number % len(POINTS)]
        chosen = [functools.partial(at_point, point=point, action=POINT_ACTIONS[number // len(POINTS) % len(POINT_ACTIONS)])]
    done = []
    running = [(nemesis(c, random.Random(r.getrandbits(64))), 0.0) for nemesis in chosen]
    c.meddler.begin(c.members(), random.Random(r.getrandbits(64)), r.randrange(1, 4))
    end = {}
    while running:
        running.sort(key=lambda item: item[1])
        one, at = running.pop(0)
        time.sleep(max(0.0, at - time.monotonic()))  # for so long it holds
        try:
            what, seconds, act = next(one)
        except StopIteration:
            continue
        if what:
            done.append(f"{what} ({seconds:.1f} s)")
            print(f"#   {time.strftime('%H:%M:%S')} round {number}: {done[-1]}", flush=True)
        act()
        running.append((one, time.monotonic() + seconds))
    c.meddler.end()
    c.heal()
    return done, r


def keep(where):
    """What tells why, after a failure."""
    base = os.path.dirname(rig("path", "n1").stdout.strip())
    shutil.copytree(base, where, symlinks=True, ignore=lambda folder, names: [name for name in names if name in ("disks", "mnt", "dev", "shared") or name.endswith(".sock")])


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=1, help="number of the first round")
    parser.add_argument("--seconds", type=float, default=0, help="no round begins after so long; 0: no limit")
    parser.add_argument("--points", action="store_true", help="each round one fault point, all in turn: kill, sleep, stop, crash")
    parser.add_argument("--keep", default="/var/tmp", help="where logs go after a failure")
    parser.add_argument("--pause", help="no round begins, and nothing is written, while this file is there")
    parser.add_argument("only", nargs="*", help="nemeses; all")
    return parser.parse_args()


def main():
    begin = time.monotonic()
    c = Cluster(options.seed)
    number, since, operations, longest, last = options.first, options.first, 0, 0.0, False
    try:
        while not last:
            c.pause()
            started = time.monotonic()
            done, r = play(c, number)
            longest = max(longest, time.monotonic() - started)
            last = number + 1 == options.first + options.rounds or bool(options.seconds and time.monotonic() - begin > options.seconds)
            if last or number % CHECK_EVERY == 0 or c.pressure.lost_ns is not None:
                c.look_at_all(r.choice)
                operations += c.pressure.operations() - c.looked_at
                print(f"# rounds {since} to {number} are good: {c.pressure.operations()} operations in the logs, {len(c.pressure.snapshots)} snapshots; "
                      f"{time.monotonic() - begin:.0f} s", flush=True)
                since = number + 1
                c.again()
            number += 1
        print(f"ok 1 - {number - options.first} rounds with seed {options.seed}, {operations} operations; the longest took {longest:.1f} s", flush=True)
        for counted in (c.meddler.codes, c.points):
            print("# " + ", ".join(f"{what} {code}: {count}" for (what, code), count in sorted(counted.items())), flush=True)
        for node in reversed(c.members()):
            c.pressure.end_on(node)
        for i, node in enumerate(reversed(c.members()), 2):
            code = node.stop()
            print(f"{'ok' if code == 0 else 'not ok'} {i} - {node.name} ends ({code})", flush=True)
        print(f"1..{1 + len(c.members())}", flush=True)
    except (Wrong, AssertionError, OSError, subprocess.TimeoutExpired) as wrong:
        where = os.path.join(options.keep, f"vvfs-nemesis.{options.seed}.{number}")
        print(f"not ok 1 - seed {options.seed}, round {number} (looked at all before {since})\n# " + (str(wrong) or repr(wrong)).replace("\n", "\n# "), flush=True)
        keep(where)
        print(f"# logs are in {where}; again: make nemesis-soak SEED={options.seed} FIRST={since} ROUNDS={number - since + 1}\n1..1", flush=True)
        return 1
    return 0


options = parse()
only = set(options.only)
if __name__ == "__main__":
    sys.exit(main())
