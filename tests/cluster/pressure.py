# SPDX-License-Identifier: GPL-2.0-or-later
"""Load on all nodes of a rig that goes on through whatever is done to them, and the oracles that say what it proves: for nemesis.py."""

import os
import signal
import struct
import subprocess
import threading
import time

from daemon import wait_for
from rigged import RIG, rig

RESTARTED = 40  # operations of a load after which it "goes on"
RING_LUNS = ("ra", "rb", "rc")
ROOM = 1 << 20  # operations of one vvpat
WORN = 200_000  # operations in a log, after which LUN and log are made anew: what is verified is read in a second


class Wrong(Exception):
    """What must not happen."""


def now():
    return time.monotonic_ns()  # CLOCK_MONOTONIC, as in vvpat's logs


def must(good, what):
    if not good:
        raise Wrong(what)


def pattern(node, *words):
    """vvpat on NODE: (exit code, what it says)."""
    result = rig("run", node.name, "vvpat", *words, check=False, timeout=300)
    return result.returncode, (result.stdout + result.stderr)[-1500:].strip()


class Load:
    """A vvpat on NODE that is started again when its node died. Logs outlive it."""

    def __init__(self, node, log, *words, luns):
        self.node, self.log, self.words, self.luns = node, log, words, luns
        self.path = os.path.join(node.home, log)
        self.process = self.output = None
        self.mark = 0
        self.idle = False  # its node is no member now

    def start(self, *more):
        self.output = open(self.path + ".out", "ab")
        self.process = subprocess.Popen([RIG, "run", self.node.name, "vvpat", *self.words, *more, "--log", self.log, *(f"mnt/luns/{lun}" for lun in self.luns)],
                                        stdin=subprocess.DEVNULL, stdout=self.output, stderr=self.output)
        self.mark = self.operations()

    def operations(self):
        try:
            with open(self.path, "rb") as log:
                return struct.unpack("<16xQ", log.read(24))[0]
        except (OSError, struct.error):
            return 0

    def goes_on(self):
        return self.operations() >= self.mark + RESTARTED

    def code(self):
        """Its exit code; None: it runs, or does not but was not asked to."""
        return self.process.poll() if self.process else None

    def said(self):
        with open(self.path + ".out", encoding="utf-8", errors="replace") as out:
            return out.read()[-600:]

    def kill(self, how=signal.SIGTERM):
        for pid in rig("pids", self.node.name, f"^vvpat.*--log {self.log} ", check=False).stdout.split():
            try:
                os.kill(int(pid), how)
            except ProcessLookupError:
                pass

    def reap(self, excused, seconds=60):
        """The end of it. Data that is wrong is never excused."""
        if not self.process:
            return
        end = time.monotonic() + seconds
        while (code := self.process.poll()) is None:
            must(time.monotonic() < end, f"{self.log} on {self.node.name} does not end")
            try:
                self.process.wait(0.5)
            except subprocess.TimeoutExpired:
                self.kill()  # it may have been no vvpat yet when it was killed
        self.process = None
        self.output.close()
        must(code in (0, 143, -15, 137, -9) or excused and code == 3, f"{self.log} on {self.node.name} ended with {code}: {self.said()}")

    def forget(self):
        for name in (self.path, self.path + ".out"):
            if os.path.exists(name):
                os.unlink(name)

    def last_acknowledged(self):
        """The largest sequence of a write that was acknowledged (oplog.h)."""
        last = 0
        with open(self.path, "rb") as log:
            count = self.operations()
            first = max(0, count - 512)
            log.seek(64 + 64 * first)
            data = log.read(64 * (count - first))
        for kind, result, _, _, _, _, value, _, end, _ in struct.iter_unpack("<IiIIQQQQQQ", data[: len(data) // 64 * 64]):
            if kind == 1 and end and not result:
                last = max(last, value & ((1 << 43) - 1))
        return last


class Ring:
    """Ping-pong over nodes. The ball goes by the switch's own network, so that ways that are cut do not hold it: who is told of a number
    by another way must see it."""

    def __init__(self, nodes):
        self.nodes, self.life = nodes, 0
        self.players = [Load(node, f"ring.{i}", luns=RING_LUNS) for i, node in enumerate(nodes)]

    def start(self):
        self.life += 1
        places = ",".join(f"127.0.0.1:{7400 + 10 * (self.life % 50) + i}" for i in range(len(self.nodes)))
        first = max((player.last_acknowledged() for player in self.players if player.operations()), default=0) + 1
        for i, player in enumerate(self.players):
            player.output = open(player.path + ".out", "ab")
            player.process = subprocess.Popen(
                [RIG, "run", "--switch", player.node.name, "vvpat", "pingpong", "--ring", places, "--index", str(i), "--lun", "100", "--slots", "16", "--pause", "1",
                 "--from", str(first), "--count", str(first + ROOM), "--log", player.log, *(f"mnt/luns/{lun}" for lun in RING_LUNS)],
                stdin=subprocess.DEVNULL, stdout=player.output, stderr=player.output)
            player.mark = player.operations()

    def logs(self):
        return [word for player in self.players if player.operations() for word in ("--log", player.path)]


class Pressure:
    """All loads on NODES, their LUNs, snapshots of them, and what must be found in them."""

    def __init__(self, nodes, guest):
        self.nodes = nodes  # all but GUEST, who comes and goes
        self.writers = [Load(node, f"writes.{i}", "write", "--lun", str(i), "--node", str(i), "--depth", "2", "--bs", "4096-32768", "--count", str(ROOM), "--flush", "8",
                             "--pause", "2", "--seed", str(i), luns=(f"w{i}",)) for i, node in enumerate([*nodes, guest], 1)]
        self.writers[-1].idle = True
        self.mixers = [Load(node, f"mix.{i}", "mix", "--lun", "50", "--node", str(i), "--depth", "2", "--size", "65536", "--count", str(ROOM), "--pause", "2",
                            "--seed", str(i), luns=("mixed",)) for i, node in enumerate(nodes, 1)]
        self.ring = Ring(nodes)
        self.hurt = set()  # names of nodes whose programs may have met errors since they were started
        self.lost_ns = None  # when what was not flushed may have been lost, for the first time
        self.snapshots = []  # (name, since, until) of all LUNs that are written or played with, together
        self.lock = threading.Lock()

    def loads(self):
        return self.writers + self.mixers + self.ring.players

    def luns(self):
        return [load.luns[0] for load in self.writers] + ["mixed", *RING_LUNS]

    # ---- life
    def begin(self, admin):
        """LUNs that are not there are made by ADMIN, a node."""
        there = admin.names()
        for name in self.luns():
            if name not in there:
                admin.must("lun", "create", name, "1M" if name == "mixed" else "8M")
        must(wait_for(lambda: all(set(self.luns()) <= set(node.listing()) for node in self.nodes), "the LUNs on all nodes"), "the LUNs are not seen on all nodes")
        self.start()

    def start(self):
        for load in self.writers + self.mixers:
            if not load.process and not load.idle:
                load.start()
        if not any(player.process for player in self.ring.players):
            self.ring.start()

    def crash_comes(self):
        """What is not flushed may be lost from now on: who would notice, and need not be told, ends."""
        self.end(self.mixers + self.ring.players)
        if self.lost_ns is None:
            self.lost_ns = now()
        self.hurt.update(load.node.name for load in self.loads())

    def end(self, loads):
        for load in loads:
            load.kill()
        for load in loads:
            load.reap(load.node.name in self.hurt or load in self.ring.players)

    def end_on(self, node):
        """All that runs there, and so the ring if it has a part there."""
        loads = [load for load in self.loads() if load.node is node]
        self.end(loads + ([] if all(load.node is not node for load in self.ring.players) else self.ring.players))

    def revive(self):
        """What ended with its node is started again; what ended otherwise is wrong."""
        for load in self.writers + self.mixers:
            if load.code() is not None:
                load.reap(load.node.name in self.hurt)
        if any(player.code() is not None for player in self.ring.players):
            must(self.hurt, "the ring broke: " + " / ".join(player.said()[-200:] for player in self.ring.players))
            self.end(self.ring.players)
        if self.lost_ns is None:
            self.start()

    def goes_on(self, seconds):
        """All do something new."""
        loads = [load for load in self.loads() if load.process]
        for load in loads:
            load.mark = load.operations()
        end = time.monotonic() + seconds
        late = loads
        while late and time.monotonic() < end:
            for load in late:
                if load.code() is not None:
                    load.reap(load.node.name in self.hurt)
                    must(load.node.name in self.hurt, f"{load.log} on {load.node.name} has ended: {load.said()}")
            late = [load for load in late if load.process and not load.goes_on()]
            time.sleep(0.02)
        must(not late, "these do not go on: " + ", ".join(f"{load.log} on {load.node.name} ({load.operations() - load.mark} operations)" for load in late))

    # ---- what is promised
    def snapshot(self, node, name):
        """Of all but the mixed one, at once, by NODE: the exit code, and what was said."""
        objects = [f"{lun}@{name}" for lun in self.luns() if lun != "mixed"]
        since = now()
        code, _, err = node.admin("--timeout", "10", "snapshot", "create", *objects)
        until = now()
        if code == 0:
            with self.lock:
                if self.lost_ns is None or until < self.lost_ns:
                    self.snapshots.append((name, since, until))
        return code, err

    def verify(self, choose):
        """All loads have ended. CHOOSE(nodes): where it is looked."""
        flushed = [] if self.lost_ns is None else ["--flushed", "--since", str(self.lost_ns)]
        for load in self.writers:
            if load.operations():
                self.holds(choose(self.nodes), load, f"mnt/luns/{load.luns[0]}", *flushed)
        for name, since, until in self.snapshots:
            where = choose(self.nodes)
            for load in self.writers:
                if load.operations():
                    self.holds(where, load, f"mnt/snapshots/{load.luns[0]}/{name}", "--since", str(since), "--until", str(until))
            code, text = pattern(where, "causal", "--lun", "100", *self.ring.logs(), "--since", str(since), "--until", str(until),
                                 *(f"mnt/snapshots/{lun}/{name}" for lun in RING_LUNS))
            must(code == 0, f"snapshot {name} is no causal prefix on {where.name} ({code}): {text}")
        if self.lost_ns is None:
            where = choose(self.nodes)
            code, text = pattern(where, "causal", "--lun", "100", *self.ring.logs(), *(f"mnt/luns/{lun}" for lun in RING_LUNS))
            must(code == 0, f"the ring's LUNs are no causal prefix on {where.name} ({code}): {text}")
        logs = [load.path for load in self.mixers if load.operations()]
        result = subprocess.run([os.environ["LINEAR"], *logs], capture_output=True, text=True, timeout=600, check=False)
        must(result.returncode == 0, f"mixed is not linearizable ({result.returncode}): {(result.stdout + result.stderr)[-1500:]}")

    @staticmethod
    def holds(where, load, path, *options):
        code, text = pattern(where, "verify", "--lun", load.words[load.words.index("--lun") + 1], *options, "--log", load.path, path)
        must(code == 0, f"{path} on {where.name} ({code}; {' '.join(options)}): {text}")

    def operations(self):
        return sum(load.operations() for load in self.loads())

    def renew(self, admin):
        """After `verify`: snapshots go; what is worn, or may have lost something, is made anew when it begins again."""
        for name, _, _ in self.snapshots:
            admin.must("snapshot", "remove", *(f"{lun}@{name}" for lun in self.luns() if lun != "mixed"))
        groups = [[load] for load in self.writers] + [self.mixers, self.ring.players]
        for group in groups:
            if self.lost_ns is not None or any(load.operations() > WORN for load in group):
                admin.must("lun", "remove", *dict.fromkeys(lun for load in group for lun in (load.luns or RING_LUNS)), "--with-snapshots", "--yes")
                for load in group:
                    load.forget()
        self.snapshots, self.lost_ns = [], None
        self.hurt.clear()
