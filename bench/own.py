# SPDX-License-Identifier: GPL-2.0-or-later
"""What only vvfs can do: the price of snapshots, clones and removals, and of holding a writer back. Each workload compares vvfs with
itself, on LUNs of its own."""
import os, signal, statistics, time

import fio
import peers
from bed import Skip, wait_for
from fio import Figure
from workloads import Target, Workload, syncs

MIB, GIB, TIB = 1 << 20, 1 << 30, 1 << 40
INSTANTS = 21          # of each kind, a round
START_LUNS, START_SNAPSHOTS, START_BATCH = 10_000, 10, 4000
WARM_MS = 500          # before the foreground of a removal is measured
TAKEOVERS = 3          # of each kind, a round
STEADY_SECONDS = 1.2   # longer than VV_RESTART_STEADY_MS: deaths sooner than that count as a crash loop


class Own(Workload):
    together = True
    peer = "vvfs"

    def peer_of(self, variant):
        return self.peer

    def prepare(self, ground, settings):
        super().prepare(ground, settings)
        self.server = ground.server("vvfs")
        self.admin = self.server.admin
        self.made = []

    def lun(self, name, size, filled="write"):
        """A LUN of this workload, removed at its end."""
        self.made.append(name)
        path = self.server.make(name, size)
        if filled:
            fio.fill(self.bed, path, size, "4k" if filled == "randwrite" else "1m", filled)
        return path

    def finish(self):
        if self.made:
            self.server.remove(*self.made)
            self.made = []

    def touch(self, path, count):
        """@count random blocks written."""
        fio.run(self.bed, path, "randwrite", "4k", 16, self.size, more=(f"--io_size={count * 4096}",))

    def snapshot(self, *names):
        self.admin.call("snapshot.create", objects=list(names))


class Instant(Own):
    key, unit, lower, base = "ms", "ms", True, "write and fdatasync"

    def __init__(self):
        kinds = ("snapshot", "clone", "restore")
        targets = [Target(f"{kind} {lun}", self.base, 3, "<=", plus=1, media=("disk",)) for kind in kinds for lun in ("empty", "random")]
        targets += [Target(f"{kind} {lun}", None, 2, "<=", media=("tmpfs",)) for kind in kinds for lun in ("empty", "random")]
        targets += [Target(f"{kind} random", f"{kind} empty", 1.5, "<=") for kind in kinds]
        super().__init__("instant", "snapshot, clone and restore of an empty 1 TiB LUN, and of one written in random 4 KiB order",
                         [self.base, *(f"{kind} {lun}" for kind in kinds for lun in ("empty", "random"))], targets)

    def prepare(self, ground, settings):
        super().prepare(ground, settings)
        self.lun("empty", TIB, filled=None)
        self.lun("random", self.size, filled="randwrite")

    def round(self):
        figures = {self.base: Figure(ms=self.fdatasync_ms())}
        times = {variant: [] for variant in self.variants[1:]}
        entries = {variant: [] for variant in times}
        for _ in range(INSTANTS):
            for lun in ("empty", "random"):
                at = {"object": f"{lun}@s"}
                for kind, method, params in (("snapshot", "snapshot.create", {"objects": [f"{lun}@s"]}),
                                             ("clone", "lun.clone", {"name": f"{lun}-c", **at}),
                                             ("restore", "snapshot.restore", {"discard": True, **at})):
                    before = self.entries()
                    times[f"{kind} {lun}"].append(self.admin.timed_ms(method, **params))
                    entries[f"{kind} {lun}"].append(self.entries() - before)
                self.admin.call("lun.remove", names=[f"{lun}-c"])
                self.admin.call("snapshot.remove", objects=[f"{lun}@s"])
        for variant, each in times.items():
            figures[variant] = Figure(ms=statistics.median(each), worst_ms=max(each), journal_entries=statistics.median(entries[variant]))
        return figures

    def entries(self):
        return self.admin.call("stats.get", objects=[])["pool"]["journal_entries"]

    def fdatasync_ms(self):
        """One write and fdatasync of a file that is there: what a journal entry costs at least."""
        times = []
        fd = os.open(os.path.join(self.bed.base, "probe"), os.O_RDWR | os.O_CREAT)
        try:
            os.write(fd, bytes(MIB))
            os.fsync(fd)
            for i in range(INSTANTS):
                start = time.monotonic()
                os.pwrite(fd, os.urandom(4096), 4096 * i)
                os.fdatasync(fd)
                times.append((time.monotonic() - start) * 1000)
        finally:
            os.close(fd)
        return statistics.median(times)


class Group(Own):
    """Writers that each wait for their own fdatasync. The kernel lets one fsync of a FUSE file run at a time (it holds the inode), so what
    the daemon can do together is seen with a LUN for each; all on one LUN stands beside it."""
    media = ("disk",)
    base, count = "1 writer", 8

    def __init__(self, name, title, new_blocks):
        self.new_blocks = new_blocks
        self.each, self.one = f"{self.count} writers, a LUN each", f"{self.count} writers, one LUN"
        super().__init__(name, title, [self.base, self.each, *([] if new_blocks else [self.one])], [Target(self.each, self.base, 3.0)])

    def prepare(self, ground, settings):
        super().prepare(ground, settings)
        self.size = min(self.size, 256 * MIB)
        if not self.new_blocks:
            self.paths = [self.lun(f"g{i}", self.size) for i in range(self.count)]

    def measure(self, paths, more=()):
        before = syncs(self.admin)
        figure = fio.run_each(self.bed, paths, "randwrite", "4k", self.size, None if self.new_blocks else self.seconds,
                              more=("--fdatasync=1", *more))
        figure["syncs_per_write"] = (syncs(self.admin) - before) / figure["ios"]
        return figure

    def measure_new(self, count):
        """Each block once, and no longer than that."""
        names = [f"new{i}" for i in range(count)]
        try:
            return self.measure([self.server.make(name, self.size) for name in names], (f"--runtime={int(self.seconds * 1000)}ms",))
        finally:
            self.server.remove(*names)

    def round(self):
        if self.new_blocks:
            return {self.base: self.measure_new(1), self.each: self.measure_new(self.count)}
        return {self.base: self.measure(self.paths[:1]), self.each: self.measure(self.paths),
                self.one: self.measure(self.paths[:1] * self.count)}


class Many(Own):
    """The same reads and writes where there is one snapshot (or clone) and where there are many."""
    noun, count, factor = "", 0, 1.0

    def __init__(self, name, title):
        self.counts = (1, self.count)
        super().__init__(name, title, [f"{work} {n} {self.noun}" for work in ("read", "write") for n in self.counts],
                         [Target(f"{work} {self.count} {self.noun}", f"{work} 1 {self.noun}", self.factor) for work in ("read", "write")])

    def prepare(self, ground, settings):
        super().prepare(ground, settings)
        self.size = min(self.size, 256 * MIB)
        for n in self.counts:
            self.build(n)

    def round(self):
        figures = {}
        for n in self.counts:
            path = self.reader(n)
            figures[f"read {n} {self.noun}"] = fio.run(self.bed, path, "randread", "4k", 16, self.size, self.seconds)
        for n in self.counts:
            figures[f"write {n} {self.noun}"] = self.write(n)
        return figures


class Snapshots(Many):
    """Reads of a LUN of which a few blocks were written after each snapshot; writes to own blocks of another such LUN."""
    noun, count, factor = "snapshots", 1000, 0.95

    def __init__(self):
        super().__init__("snapshots", f"4 KiB random at depth 16 with {self.count:,} snapshots against one")

    def build(self, n):
        for tag in (f"r{n}", f"w{n}"):
            path = self.lun(tag, self.size)
            for i in range(n):
                self.snapshot(f"{tag}@s{i}")
                with open(path, "r+b", buffering=0) as file:
                    for _ in range(16):
                        file.seek(int.from_bytes(os.urandom(4), "big") % (self.size // 4096) * 4096)
                        file.write(os.urandom(4096))
        fio.fill(self.bed, path, self.size, "4k", "randwrite")

    def reader(self, n):
        return self.server.lun(f"r{n}")

    def write(self, n):
        return fio.run(self.bed, self.server.lun(f"w{n}"), "randwrite", "4k", 16, self.size, self.seconds)


class Clones(Many):
    """Reads through clones of clones, 1 MiB written in each; first writes in a new clone of the last, every block once."""
    noun, count, factor = "clones", 64, 0.90

    def __init__(self):
        super().__init__("clones", f"4 KiB random at depth 16 through {self.count} clones of clones against one")

    def build(self, n):
        name = f"c{n}"
        self.lun(name, self.size)
        for i in range(n):
            name = self.clone(name, f"c{n}-{i}")
            self.touch(self.server.lun(name), 256)
        self.snapshot(f"{name}@s")

    def clone(self, name, clone):
        self.snapshot(f"{name}@s")
        self.admin.call("lun.clone", object=f"{name}@s", name=clone)
        self.made.append(clone)
        return clone

    def reader(self, n):
        return self.server.lun(f"c{n}-{n - 1}")

    def write(self, n):
        self.admin.call("lun.clone", object=f"c{n}-{n - 1}@s", name="new")
        try:
            return fio.run(self.bed, self.server.lun("new"), "randwrite", "4k", 16, self.size)
        finally:
            self.server.remove("new")

    def finish(self):
        for name in reversed(self.made):  # a snapshot with clones stays until they go
            self.server.admin.patiently("lun.remove", names=[name], with_snapshots=True, if_exists=True)
        self.made = []
        super().finish()


class Removal(Own):
    key, unit, lower = "p99_us", "us (p99)", True

    def __init__(self):
        super().__init__("remove", "removing a snapshot that has one size of blocks to itself: another LUN's writes meanwhile, depth 4",
                         ["before", "during"], [Target("during", "before", 2, "<="),
                                                Target("during", None, 10, "<=", key="return_ms", unit="ms to return")])

    def prepare(self, ground, settings):
        super().prepare(ground, settings)
        self.full, self.other = self.lun("full", self.size), self.lun("other", self.size)

    def round(self):
        used = self.used()
        self.snapshot("full@s")
        fio.fill(self.bed, self.full, self.size)
        warm = (f"--ramp_time={WARM_MS}ms",)  # what is first and slow is in neither
        before = fio.run(self.bed, self.other, "randwrite", "4k", 4, self.size, self.seconds, more=warm)
        with fio.Background(self.bed, self.other, "randwrite", "4k", 4, self.size, more=warm) as foreground:
            busy(self.admin, "other")
            time.sleep(WARM_MS / 1000 + 0.1)
            start = time.monotonic()
            self.admin.call("snapshot.remove", objects=["full@s"])
            back = time.monotonic()
            wait_for("space comes back", 120, lambda: self.used() <= used)
            settled = time.monotonic()
            during = foreground.stop()
        self.admin.settle()
        during.update(return_ms=(back - start) * 1000, reclaim_ms=(settled - back) * 1000)
        return {"before": before, "during": during}

    def used(self):
        return self.admin.call("pool.status")["space"]["used"]


def writes(admin, lun):
    """How many were answered."""
    return admin.call("stats.get", objects=[lun])["luns"][lun]["write"]["count"]


def busy(admin, lun):
    first = writes(admin, lun)
    wait_for(f"{lun} is written", 30, lambda: writes(admin, lun) != first)


class Held(Own):
    """LUN a waits for space with 256 writes under way; LUN b has all it needs. A small pool of its own."""
    key, unit, lower = "p99_us", "us (p99)", True

    def __init__(self):
        super().__init__("held", "LUN b, 4 KiB random reads and writes at depth 16, while LUN a waits for space at depth 256",
                         ["alone", "beside a held LUN"], [Target("beside a held LUN", "alone", 1.2, "<=")])

    def prepare(self, ground, settings):
        super().prepare(ground, settings)
        self.size = min(self.size, 256 * MIB)
        self.own = peers.Server(self.bed, "held", size=4 * self.size + 256 * MIB)
        self.bed.stack.callback(self.own.stop)
        self.own.start()
        self.b = self.own.make("b", self.size)
        fio.fill(self.bed, self.b, self.size)

    def measure(self):
        return fio.run(self.bed, self.b, "randrw", "4k", 16, self.size, self.seconds)

    def round(self):
        admin = self.own.admin
        alone = self.measure()
        filler = self.own.make("filler", self.size)
        fio.fill(self.bed, filler, self.size)
        a = self.own.make("a", TIB)
        admin.call("lun.set", name="a", settings={"on-full": "wait", "timeout": "3600"})
        try:
            with fio.Background(self.bed, a, "write", "4k", 256, TIB) as writer:
                self.wait_until_held(admin)
                beside = self.measure()
                writer.signal()
                admin.patiently("lun.remove", names=["filler"])  # what waits goes on, and fio ends
                writer.stop()
        finally:
            self.own.remove("a", "filler")
        return {"alone": alone, "beside a held LUN": beside}

    @staticmethod
    def wait_until_held(admin, seconds=120):
        """No space, and no write of LUN a answered for a while. (What is used falls behind: pending writes are not in it.)"""
        limit, last, since = time.monotonic() + seconds, -1, time.monotonic()
        while time.monotonic() - since < 1 or admin.call("pool.status")["space"]["free"]:
            if time.monotonic() > limit:
                raise TimeoutError(f"the pool is not full after {seconds} s")
            now = writes(admin, "a")
            if now != last:
                last, since = now, time.monotonic()
            time.sleep(0.05)

    def finish(self):
        super().finish()
        if hasattr(self, "own"):
            self.own.stop()
            self.bed.remove(self.own.directory)


class Start(Own):
    key, unit, lower = "ms", "ms", True

    def __init__(self):
        count = START_LUNS * START_SNAPSHOTS
        super().__init__("start", f"from the start of vvfs to the first answer: {START_LUNS:,} LUNs, {count:,} snapshots",
                         ["empty", "many"], [Target("many", None, 3000, "<=")])

    def prepare(self, ground, settings):
        super().prepare(ground, settings)
        self.servers = {name: peers.Server(self.bed, f"start-{name}") for name in ("empty", "many")}
        server = self.servers["many"]
        self.bed.stack.callback(server.stop)
        server.start()
        names = [f"n{i:05d}" for i in range(START_LUNS)]
        for name in names:
            server.admin.call("lun.create", name=name, size=GIB)
        objects = [f"{name}@s{i}" for i in range(START_SNAPSHOTS) for name in names]
        for at in range(0, len(objects), START_BATCH):
            server.admin.call("snapshot.create", objects=objects[at:at + START_BATCH])
        server.stop()

    def round(self):
        figures = {}
        for name, server in self.servers.items():
            self.bed.stack.callback(server.stop)
            begin = time.monotonic()
            server.start()
            server.admin.call("version.get")
            figures[name] = Figure(ms=(time.monotonic() - begin) * 1000, memory_mib=server.memory_kib() / 1024)
            server.stop()
        return figures


class Recovery(Own):
    """Every block of a new LUN written once in random order, then kill -9. What was flushed must be there."""
    key, unit, lower = "ms", "ms", True
    reads = 256

    def __init__(self):
        super().__init__("recovery", "from the start of vvfs to the first read, after random writes of 4 KiB to a new LUN and kill -9",
                         ["flushed", "not flushed"], [Target(variant, None, 2000, "<=") for variant in ("flushed", "not flushed")])

    def prepare(self, ground, settings):
        super().prepare(ground, settings)
        self.killed = peers.Server(self.bed, "recovery")
        self.bed.stack.callback(self.killed.stop)

    def round(self):
        return {variant: self.recover(variant == "flushed") for variant in self.variants}

    def recover(self, flushed):
        server = self.killed
        server.start()
        path = server.make("new", self.size)
        fio.run(self.bed, path, "randwrite", "4k", 16, self.size, more=("--end_fsync=1",) if flushed else ())
        server.kill()
        server.stop()
        if not os.path.exists(os.path.join(server.pool, "in-use")):
            raise ValueError("the pool was closed in order: nothing is to be recovered")
        begin = time.monotonic()
        server.start()
        with open(path, "rb", buffering=0) as file:
            file.read(4096)
            figure = Figure(ms=(time.monotonic() - begin) * 1000)
            if flushed and self.lost(file):
                raise ValueError("blocks that were flushed are not there")
        server.remove("new")
        server.stop()
        return figure

    def lost(self, file):
        """Of some blocks, how many are zeroes: none is as fio wrote it."""
        return sum(os.pread(file.fileno(), 4096, int.from_bytes(os.urandom(4), "big") % (self.size // 4096) * 4096) == bytes(4096)
                   for _ in range(self.reads))

    def finish(self):
        super().finish()
        if hasattr(self, "killed"):
            self.killed.stop()
            self.bed.remove(self.killed.directory)


class Takeover(Own):
    """Requests that are under way when the process that serves is killed, or exchanged for another: the longest of them. fio ends with
    an error if one fails."""
    key, unit, lower = "ms", "ms (longest)", True

    def __init__(self):
        super().__init__("takeover", f"4 KiB random reads and writes at depth 16: the longest, while {TAKEOVERS} processes in a row serve it",
                         ["killed", "upgraded"], [Target(variant, None, 1000, "<=") for variant in ("killed", "upgraded")])

    def prepare(self, ground, settings):
        super().prepare(ground, settings)
        if [int(part) for part in os.uname().release.split("-")[0].split(".")[:2]] < [6, 9]:
            raise Skip("Linux before 6.9 does not send requests again")
        self.size = min(self.size, 256 * MIB)
        self.own = peers.Server(self.bed, "takeover")
        self.bed.stack.callback(self.own.stop)
        self.own.start()
        self.path = self.own.make("v", self.size)
        fio.fill(self.bed, self.path, self.size)

    def round(self):
        return {variant: self.exchange(getattr(self, variant)) for variant in self.variants}

    def exchange(self, change):
        with fio.Background(self.bed, self.path, "randrw", "4k", 16, self.size) as load:
            for _ in range(TAKEOVERS):
                time.sleep(STEADY_SECONDS)
                old = self.own.serving_pid()
                change(old)
                wait_for("another process serves", 30, lambda: self.own.serving_pid() not in (old, self.own.process.pid))
            time.sleep(STEADY_SECONDS)
            figure = load.stop()
        figure.update(ms=figure.longest_ms)
        return figure

    @staticmethod
    def killed(pid):
        os.kill(pid, signal.SIGKILL)

    def upgraded(self, _pid):
        self.bed.run(f"{self.bed.bin}/vvfs", "--upgrade", self.own.mnt)

    def finish(self):
        super().finish()
        if hasattr(self, "own"):
            self.own.stop()
            self.bed.remove(self.own.directory)


def own():
    """The workloads of this file, in the order they run."""
    yield Group("group", "one and 8 writers, 4 KiB random write to own blocks and fdatasync each", new_blocks=False)
    yield Group("group-new", "one and 8 writers, 4 KiB random write to new blocks and fdatasync each", new_blocks=True)
    yield Instant()
    yield Snapshots()
    yield Clones()
    yield Removal()
    yield Held()
    yield Start()
    yield Recovery()
    yield Takeover()
