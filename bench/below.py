# SPDX-License-Identifier: GPL-2.0-or-later
"""What is seen only below the mount: a disk of the pool that is slow, where blocks are on the disk, what the map takes."""
import contextlib, json, os, time

import fio
import peers
from bed import Skip
from fio import Figure
from own import Own, busy
from workloads import Target

MIB, GIB, TIB = 1 << 20, 1 << 30, 1 << 40
SLOW_MS, SLOW_WORKERS = 20, 4   # a write or a sync of the slow disk; as many at once
SLOW_BYTES = 512 * MIB          # of it
OVERWRITES = 10                 # snapshots, between which one size in all is overwritten
READ_DEPTH = 4
REPACK_SECONDS = 900
GROWTH_SECONDS = 3600


class SlowDisk(Own):
    """LUN a lies on disk 1, LUN b on disk 2, which is a file behind bench/floor that answers each write and sync late."""
    key, unit, lower = "us", "us per write and fdatasync", True

    def __init__(self):
        works = ("own", "new")
        super().__init__("slow-disk", "4 KiB random write and fdatasync each, own and new blocks, beside a LUN on a disk that takes "
                         f"{SLOW_MS} ms for each",
                         [f"{work} {state}" for work in works for state in ("alone", "beside")],
                         [Target(f"{work} beside", f"{work} alone", 1.1, "<=") for work in works])

    def prepare(self, ground, settings):
        super().prepare(ground, settings)
        self.size = min(self.size, 256 * MIB)
        self.stack = contextlib.ExitStack()
        self.bed.stack.callback(self.stack.close)
        self.own = peers.Server(self.bed, "slow-disk", size=6 * self.size + 256 * MIB)
        backing, mountpoint = (os.path.join(self.own.directory, name) for name in ("slow.img", "slow"))
        for path in (backing, mountpoint):
            self.bed.run("truncate", "-s", str(SLOW_BYTES if path == backing else 0), path)
        self.bed.serve(self.stack, "slow-floor", [f"{self.bed.bin}/bench/floor", "-w", str(SLOW_WORKERS), "-d", str(SLOW_MS), backing,
                                                  mountpoint], mountpoint)
        self.stack.callback(self.own.stop)  # before its disk
        self.own.start()
        admin = self.own.admin
        fast = admin.call("disk.list")["items"][0]["name"]
        slow = admin.call("disk.add", path=mountpoint)["name"]
        admin.call("pool.set", settings={"repack": "off"})
        for name, disk in (("a", fast), ("b", slow)):
            admin.call("lun.create", name=name, size=self.size, disks=[disk])
        self.fast, self.beside_first = fast, False
        fio.fill(self.bed, self.own.lun("a"), self.size)

    def measure(self, work):
        """@return the Figure: own blocks over and over, or each block of a new LUN at most once"""
        more = ["--fdatasync=1"]
        if work == "own":
            figure = fio.run(self.bed, self.own.lun("a"), "randwrite", "4k", 1, self.size, self.seconds, engine="psync", more=more)
        else:
            self.own.admin.call("lun.create", name="n", size=self.size, disks=[self.fast])
            try:
                figure = fio.run(self.bed, self.own.lun("n"), "randwrite", "4k", 1, self.size, engine="psync",
                                 more=[*more, f"--runtime={int(self.seconds * 1000)}ms"])
            finally:
                self.own.remove("n")
        figure["us"] = 1e6 / figure["iops"]
        return figure

    def beside(self):
        with fio.Background(self.bed, self.own.lun("b"), "randwrite", "4k", 4, self.size, more=("--fdatasync=4", "--numjobs=4")) as writer:
            busy(self.own.admin, "b")
            figures = {work: self.measure(work) for work in ("own", "new")}
            slow_iops = writer.stop()["iops"]
        for figure in figures.values():
            figure["slow_iops"] = slow_iops
        return figures

    def round(self):
        """Which of the two begins changes, as what is first may be slower."""
        figures = {}
        for state in ("beside", "alone") if self.beside_first else ("alone", "beside"):
            found = self.beside() if state == "beside" else {work: self.measure(work) for work in ("own", "new")}
            figures.update((f"{work} {state}", figure) for work, figure in found.items())
        self.beside_first = not self.beside_first
        return figures

    def finish(self):
        super().finish()
        if hasattr(self, "own"):
            self.stack.close()
            self.bed.remove(self.own.directory)


class Overwritten(Own):
    """Three LUNs of a pool of its own: one as it was written, two overwritten alike, of which one is repacked. The extents of the other
    are read from the disk's file too, without vvfs, as the daemon reads them."""
    key, unit, base = "mib_s", "MiB/s", "fresh"

    def __init__(self):
        super().__init__("overwritten",
                         f"1 MiB sequential read, depth {READ_DEPTH}, after one size of random overwrites across {OVERWRITES} snapshots",
                         ["fresh", "scattered", "extents raw", "repacked"],
                         [Target("scattered", "fresh", 0.5, media=("tmpfs",)), Target("scattered", "extents raw", 0.8, media=("disk",)),
                          Target("repacked", "fresh", 0.85)])

    def prepare(self, ground, settings):
        super().prepare(ground, settings)
        needed = 8 * self.size
        if self.bed.free_bytes() < needed:
            raise Skip(f"{self.bed.free_bytes() >> 20} MiB are free and {needed >> 20} needed")
        self.server = peers.Server(self.bed, "overwritten", size=16 * self.size + GIB)
        self.bed.stack.callback(self.server.stop)
        self.server.start()
        self.admin = self.server.admin
        self.admin.call("pool.set", settings={"repack": "off"})
        paths = {name: self.lun(name, self.size) for name in ("fresh", "scattered", "repacked")}
        for name in ("scattered", "repacked"):
            for i in range(OVERWRITES):
                self.snapshot(f"{name}@s{i}")
                self.touch(paths[name], self.size // 4096 // OVERWRITES)
            self.snapshot(f"{name}@last")
        before = time.monotonic()
        self.admin.call("lun.repack", name="repacked")
        self.admin.settle(REPACK_SECONDS)
        self.repack_s = time.monotonic() - before
        self.list = self.extents("scattered")
        self.paths = {name: self.server.lun(name) for name in paths}
        self.bed.run(f"{self.bed.bin}/bench/extents", "compare", self.list, self.paths["scattered"], seconds=600)

    def extents(self, lun):
        """A file with the extents, told while the pool is not mounted."""
        path = os.path.join(self.server.directory, f"{lun}.extents")
        self.server.stop()
        text = self.bed.run(f"{self.bed.bin}/bench/extents", "map", self.server.pool, lun)
        with open(path, "w") as file:
            file.write(text)
        self.bed.stack.callback(self.server.stop)
        self.server.start()
        self.admin = self.server.admin
        return path

    def round(self):
        figures = {name: fio.run(self.bed, self.paths[name], "read", "1m", READ_DEPTH, self.size, self.seconds)
                   for name in ("fresh", "scattered")}
        figures["extents raw"] = self.raw()
        figures["repacked"] = fio.run(self.bed, self.paths["repacked"], "read", "1m", READ_DEPTH, self.size, self.seconds)
        figures["repacked"]["repack_s"] = self.repack_s
        return figures

    def raw(self):
        argv = [f"{self.bed.bin}/bench/extents", "read", self.list, str(READ_DEPTH), str(self.seconds)]
        length, seconds, reads = self.bed.run(*argv, seconds=self.seconds + 60).split()
        return Figure(mib_s=int(length) / float(seconds) / MIB, kib_a_read=int(length) / int(reads) / 1024, ios=int(reads),
                      command=" ".join(argv))

    def finish(self):
        self.made = []  # they go with their pool
        if self.server.name != "vvfs":
            self.server.stop()
            self.bed.remove(self.server.directory)


class Metadata(Own):
    """bench/growth: pages of the store in use, with a disk that keeps no data."""
    key, unit, lower, rounds, once = "mib", "MiB per TiB", True, 1, True

    def __init__(self):
        super().__init__("metadata", "pages of the map in use per TiB written; the disk keeps no data",
                         ["sequential", "random 4 KiB"], [Target("sequential", None, 128, "<="), Target("random 4 KiB", None, 4096, "<=")])

    def prepare(self, ground, settings):
        super().prepare(ground, settings)
        self.sizes = {"sequential": settings.meta_sequential, "random 4 KiB": settings.meta_random}
        needed = sum(size // 1024 * (1 if name == "sequential" else 8) for name, size in self.sizes.items()) + 512 * MIB
        if self.bed.free_bytes() < needed:
            raise Skip(f"{self.bed.free_bytes() >> 20} MiB are free and {needed >> 20} needed")

    def round(self):
        return {name: self.growth(name.split()[0], size) for name, size in self.sizes.items()}

    def growth(self, order, size):
        directory = os.path.join(self.bed.base, "growth")
        argv = [f"{self.bed.bin}/bench/growth", str(size), order, directory]
        try:
            found = json.loads(self.bed.run(*argv, seconds=GROWTH_SECONDS))
        finally:
            self.bed.remove(directory)
        per_tib = TIB / size / MIB
        return Figure(mib=found["live_bytes"] * per_tib, file_mib_per_tib=found["file_bytes"] * per_tib,
                      journal_mib_per_tib=found["journal_bytes"] * per_tib, extents_a_region=found["extents_per_region"],
                      measured_gib=size / GIB, took_s=found["seconds"], command=" ".join(argv))


def below():
    """The workloads of this file, in the order they run."""
    yield SlowDisk()
    yield Overwritten()
    yield Metadata()
