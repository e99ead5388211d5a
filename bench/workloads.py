# SPDX-License-Identifier: GPL-2.0-or-later
"""What is measured on several peers. A workload has variants (a peer, or a peer and a number of writers), each measured once a
round, and targets. bench/own.py has those that only vvfs can do."""
import statistics

import fio
import peers
from bed import Skip

FLOORS, LOOP_FLOORS = ["floor1", "floor2"], ["loop-floor1", "loop-floor2"]
BEST_OF = {"floor": FLOORS, "loop-floor": LOOP_FLOORS}
PLAIN = ["raw", *FLOORS, "vvfs", "vvfs-ring", "qemu-raw", "qemu-qcow2", "qemu-qcow2-128k", "nbd", "xfs", "btrfs"]
LOOPS = ["loop-raw", *LOOP_FLOORS, "loop-vvfs"]
STEADY_BYTES = 256 * peers.GIB


class Target:
    """@subject must be at least (sense ">=") or at most ("<=") @factor times @base, medians of paired ratios; with @plus added, or
    without a base, medians of figures. @key: of the figure, if not the workload's own. @row: of bench/targets.py, if not the
    workload's name."""

    def __init__(self, subject, base, factor, sense=">=", plus=0, media=("tmpfs", "disk"), key=None, unit=None, row=None):
        self.subject, self.base, self.factor, self.sense, self.plus, self.media = subject, base, factor, sense, plus, media
        self.key, self.unit, self.row = key, unit, row

    def text(self, unit):
        unit = self.unit or unit
        base = f"{self.factor:g} x {self.base}" if self.base else f"{self.factor:g} {unit}"
        return f"{self.subject} {self.sense} {base}" + (f" + {self.plus:g} {unit}" if self.plus else "")

    def names(self):
        """The variants that it looks at."""
        return {self.subject, *BEST_OF.get(self.base, [self.base] if self.base else [])}

    def judge(self, figures, key):
        """@figures {variant: [Figure per round]}. @return {value: ratio or figure, limit, met, ratio: is it one}, or None where one of
        the two was not measured"""
        rows = {name: [figure[self.key or key] for figure in list_] for name, list_ in figures.items()
                if list_ and (self.key or key) in list_[0]}
        base = best(self.base, rows)
        if self.subject not in rows or (self.base and not base):
            return None
        value, limit = statistics.median(rows[self.subject]), self.factor
        if self.base and self.plus:
            limit = self.factor * statistics.median(rows[base]) + self.plus
        elif self.base:
            value = paired(rows[self.subject], rows[base])
        return {"value": value, "limit": limit, "met": value >= limit if self.sense == ">=" else value <= limit,
                "ratio": bool(self.base and not self.plus)}


def paired(ours, theirs):
    """The median of the ratios round by round: what disturbs a whole round disturbs both."""
    pairs = [a / b for a, b in zip(ours, theirs) if b]
    return statistics.median(pairs) if pairs else 0.0


def best(name, rows):
    """Of "floor": the one of its kinds with the best median, over all rounds."""
    names = [each for each in BEST_OF.get(name, [name]) if rows.get(each)]
    return max(names, key=lambda each: statistics.median(rows[each])) if names else None


class Workload:
    key, unit, lower = "iops", "IOPS", False
    media = ("tmpfs", "disk")
    base = None     # what the column "ratio" compares with
    long = False    # only when named
    rounds = None   # not more than these
    together = False  # all variants come of one measurement: round() instead of cell()
    once = False    # on the first medium alone: the medium does not matter

    def __init__(self, name, title, variants, targets=()):
        self.name, self.title, self.variants, self.targets = name, title, variants, targets

    def peer_of(self, variant):
        return variant.split()[0]

    def prepare(self, ground, settings):
        """Once a medium, before the first round."""
        self.ground, self.bed, self.size, self.seconds = ground, ground.bed, settings.size, settings.seconds

    def cell(self, variant):
        raise NotImplementedError

    def finish(self):
        """After the last round, whatever happened."""


class Steady(Workload):
    """The same work over and over on a file that was written once."""

    def __init__(self, name, title, rw, bs, depth, variants, targets, base="floor"):
        super().__init__(name, title, variants, targets)
        self.rw, self.bs, self.depth, self.base = rw, bs, depth, base
        if bs == "1m":
            self.key, self.unit = "mib_s", "MiB/s"

    def cell(self, variant):
        return fio.run(self.bed, self.ground.peer(variant).path, self.rw, self.bs, self.depth, self.size, self.seconds)


class FirstTouch(Workload):
    """Every 4 KiB of the size written once in random order: after a snapshot, or on a thin file. A new one each round."""
    base = "floor"

    def __init__(self, name, title, after_snapshot, variants, targets):
        super().__init__(name, title, variants, targets)
        self.after_snapshot = after_snapshot

    def cell(self, variant):
        with self.ground.fresh(variant, filled=self.after_snapshot) as peer:
            extra = {}
            if self.after_snapshot and peer.snapshots:
                extra["snapshot_ms"] = peers.timed_snapshot_ms(peer)
            figure = fio.run(self.bed, peer.path, "randwrite", "4k", 16, self.size)
            figure.update(extra)
            return figure


class ThinSteady(Workload):
    """A thin 256 GiB LUN, for so many minutes, or until half of what is free is written: `minutes` tells which."""
    base, long, rounds = "floor", True, 1

    def prepare(self, ground, settings):
        super().prepare(ground, settings)
        self.minutes = settings.minutes

    def cell(self, variant):
        ground = self.ground
        room = self.bed.free_bytes() // 2
        if room < 16 * peers.GIB:
            raise Skip(f"{room >> 30} GiB are half of what is free: 16 are needed")
        size, ground.size = ground.size, STEADY_BYTES
        try:
            with ground.fresh(variant, filled=False) as peer:
                figure = fio.run(self.bed, peer.path, "randwrite", "4k", 16, STEADY_BYTES, self.minutes * 60, more=(f"--io_size={room}",))
                figure.update(minutes=figure["ios"] / figure["iops"] / 60, written_gib=figure["ios"] * 4096 / peers.GIB)
                return figure
        finally:
            ground.size = size


class Writers(Workload):
    """One or more threads of synchronous direct writes, each followed by fdatasync or not."""

    def __init__(self, name, title, sync, variants, targets, base=None, new_blocks=False, media=("disk",)):
        super().__init__(name, title, variants, targets)
        self.sync, self.base, self.media, self.new_blocks = sync, base, media, new_blocks

    def cell(self, variant):
        name, _, writers = variant.partition(" x")
        if not self.new_blocks or not peers.ALL[name].snapshots:
            return self.measure(self.ground.peer(name), int(writers or 1))
        with self.ground.fresh(name, filled=False) as peer:
            return self.measure(peer, int(writers or 1))

    def measure(self, peer, writers):
        admin = peer.server.admin if isinstance(peer, peers.Vvfs) else None
        more = [f"--numjobs={writers}", *(["--fdatasync=1"] if self.sync else [])]
        seconds = self.seconds
        if self.new_blocks:  # each block once, and no longer than that
            more.append(f"--runtime={int(seconds * 1000)}ms")
            seconds = None
        before = admin and syncs(admin)
        figure = fio.run(self.bed, peer.path, "randwrite", "4k", 1, self.size, seconds, engine="psync", more=more)
        if admin:
            figure["syncs_per_write"] = (syncs(admin) - before) / figure["ios"]
        return figure


def syncs(admin):
    """Of the pool's disks and of its journal, so far."""
    pool = admin.call("stats.get")["pool"]
    return pool["disk_syncs"] + pool["journal_syncs"]


def syncs_at_most(count):
    """A little more is what the background does meanwhile."""
    return Target("vvfs", None, count + 0.05, "<=", key="syncs_per_write", unit="disk syncs a write")


def compared():
    """The workloads of this file, in the order they run."""
    tmpfs, disk = ("tmpfs",), ("disk",)
    touchers = ["raw", *FLOORS, "vvfs", "qemu-qcow2", "qemu-qcow2-128k", "xfs", "btrfs"]
    ring = Target("vvfs-ring", "floor", 1.3, media=tmpfs, row="ring")
    yield Steady("r1", "4 KiB random read, depth 1", "randread", "4k", 1, PLAIN, [Target("vvfs", "floor", 0.95)])
    yield Steady("r16", "4 KiB random read, depth 16", "randread", "4k", 16, PLAIN,
                 [Target("vvfs", "floor", 1.0), Target("vvfs", "floor", 1.5, media=disk, row="ring"), ring])
    yield Steady("w1", "4 KiB random write to own blocks, depth 1", "randwrite", "4k", 1, PLAIN, [Target("vvfs", "floor", 0.90)])
    yield Steady("w16", "4 KiB random write to own blocks, depth 16", "randwrite", "4k", 16, PLAIN,
                 [Target("vvfs", "floor", 0.95), Target("vvfs", "floor", 3.0, media=disk, row="ring"), ring])
    yield Steady("seqread", "1 MiB sequential read, depth 4", "read", "1m", 4, PLAIN, [Target("vvfs", "floor", 0.90)])
    yield Steady("seqwrite", "1 MiB sequential write, depth 4", "write", "1m", 4, PLAIN, [Target("vvfs", "floor", 0.90)])
    yield FirstTouch("touch-snapshot", "4 KiB random write, first touch after a snapshot, depth 16", True, touchers,
                     [Target("vvfs", "floor", 0.80, media=tmpfs), Target("vvfs", "xfs", 5.0, media=tmpfs),
                      Target("vvfs", "qemu-qcow2", 3.0, media=tmpfs), Target("vvfs", "qemu-qcow2-128k", 3.0, media=tmpfs)])
    yield FirstTouch("touch-thin", "4 KiB random write, first touch of a thin file, depth 16", False, touchers,
                     [Target("vvfs", "floor", 0.80)])
    yield ThinSteady("steady-256g", "4 KiB random write, thin 256 GiB, steady (--minutes), depth 16", [*FLOORS, "vvfs"],
                     [Target("vvfs", "floor", 0.40)])
    loop = [Target("loop-vvfs", "loop-floor", 1.0)]
    yield Steady("loop-r16", "4 KiB random read, depth 16, loop device with direct I/O", "randread", "4k", 16, LOOPS, loop, "loop-floor")
    yield Steady("loop-w16", "4 KiB random write, depth 16, loop device with direct I/O", "randwrite", "4k", 16, LOOPS, loop, "loop-floor")
    yield Steady("loop-seqread", "1 MiB sequential read, depth 4, loop device with direct I/O", "read", "1m", 4, LOOPS, loop, "loop-floor")
    yield Steady("loop-seqwrite", "1 MiB sequential write, depth 4, loop device with direct I/O", "write", "1m", 4, LOOPS, loop,
                 "loop-floor")
    syncers = ["raw", *FLOORS, "vvfs", "qemu-qcow2", "xfs", "btrfs"]
    yield Writers("sync-own", "4 KiB random write to own blocks, fdatasync each, depth 1", True, syncers,
                  [Target("vvfs", "raw", 0.80), syncs_at_most(1)], base="raw")
    yield Writers("sync-new", "4 KiB random write to new blocks, fdatasync each, depth 1 (raw and floor: own blocks)", True, syncers,
                  [Target("vvfs", "raw", 0.42), syncs_at_most(2)], base="raw", new_blocks=True)
    yield Writers("threads", "one and 4 threads of synchronous direct 4 KiB random writes", False,
                  ["vvfs x1", "vvfs x4", "raw x1", "raw x4", "floor1 x1", "floor1 x4", "floor2 x4"],
                  [Target("vvfs x4", "vvfs x1", 2.0, media=disk)], base="vvfs x1", media=("tmpfs", "disk"))

