# SPDX-License-Identifier: GPL-2.0-or-later
"""What is compared: each peer offers one file or device of a size, `path`, with its own way to take a snapshot.

A peer that only passes a file through shares that file with the others of its kind (`shared`), unless it is made for one cell."""
import contextlib, os, signal, threading, time

import bed as beds
import fio
from admin import Admin, AdminError
from bed import Skip, needs

MIB, GIB = 1 << 20, 1 << 30
MEMORY_POLL_SECONDS = 0.2


class Server:
    """A vvfs pool, its daemon and its admin socket. The most memory it took goes to the bed's `peak_kib`."""

    def __init__(self, bed, name="vvfs", size=None, options=None):
        self.bed, self.name, self.options = bed, name, options
        self.directory = bed.directory(name)
        self.pool, self.mnt = os.path.join(self.directory, "pool"), os.path.join(self.directory, "mnt")
        os.makedirs(self.mnt, exist_ok=True)
        self.stack, self.admin = contextlib.ExitStack(), None
        bed.run(f"{bed.bin}/vvfs-admin", "pool", "create", self.pool, "--name", f"bench{os.getpid()}-{name}",
                *(["--size", str(size)] if size else []))

    def start(self):
        options = ["-o", self.options] if self.options else []
        self.process = self.bed.serve(self.stack, self.name, [f"{self.bed.bin}/vvfs", "-f", *options, self.pool, self.mnt], self.mnt)

        def answers():
            with contextlib.suppress(OSError):
                self.admin = Admin(os.path.join(self.pool, "admin.sock"))
            return self.admin
        beds.wait_for("admin.sock", beds.READY_SECONDS, answers)
        self.stack.callback(self.close_admin)
        ended = threading.Event()
        sampler = threading.Thread(target=self.sample, args=(ended,), daemon=True)
        sampler.start()
        self.stack.callback(sampler.join)
        self.stack.callback(ended.set)

    def close_admin(self):
        self.admin.close()
        self.admin = None

    def serving_pid(self):
        pid = self.process.pid
        with open(f"/proc/{pid}/task/{pid}/children") as children: # it holds the mount, its child serves
            for child in children.read().split():
                with open(f"/proc/{child}/comm") as comm:
                    pid = pid if comm.read().strip() == "vvfs-looker" else int(child)
        return pid

    def memory_kib(self):
        """Anonymous and locked memory of the daemon."""
        with open(f"/proc/{self.serving_pid()}/status") as status:
            return sum(int(line.split()[1]) for line in status if line.startswith(("RssAnon:", "VmLck:")))

    def sample(self, ended):
        while not ended.wait(MEMORY_POLL_SECONDS):
            with contextlib.suppress(OSError, ValueError):
                self.bed.peak_kib = max(self.bed.peak_kib, self.memory_kib())

    def stop(self):
        self.stack.close()

    def kill(self):
        """Who holds the mount and who serves it die at once, so that the next start has to recover. stop() then takes the rest down."""
        self.process.send_signal(signal.SIGSTOP)  # or it would start another
        os.kill(self.serving_pid(), signal.SIGKILL)
        self.process.kill()

    def lun(self, name):
        return os.path.join(self.mnt, "luns", name)

    def make(self, name, size):
        self.admin.call("lun.create", name=name, size=size)
        return self.lun(name)

    def remove(self, *names):
        self.admin.patiently("lun.remove", names=list(names), with_snapshots=True, if_exists=True)
        self.admin.settle()


class Peer:
    """One contestant. Between start() and stop() there is `path`. @tag: '' lives for the whole run, else for one cell."""
    name = about = ""
    shared = False     # its data is the file that all of its kind pass through
    copies = 1         # of the size, that it keeps on the medium
    file_name = "disk.img"
    snapshots = False  # snapshot() works

    def __init__(self, ground, size, tag=""):
        self.ground, self.bed, self.size, self.tag = ground, ground.bed, size, tag
        self.stack = contextlib.ExitStack()
        self.label = self.name + tag
        self.directory = self.bed.directory("shared" if self.shared and not tag else self.label)
        self.path = self.mountpoint = os.path.join(self.directory, f"{self.label}.mnt")
        self.file = os.path.join(self.directory, self.file_name)

    def prepare(self):
        """Ask for what this one stands on, so that it is taken down after it."""

    def start(self):
        """Offer self.path, of self.size, thin unless filled."""
        if self.shared and not os.path.exists(self.file):
            self.bed.run("truncate", "-s", str(self.size), self.file)
        try:
            self.open()
        except BaseException:
            self.stack.close()
            raise

    def open(self):
        raise NotImplementedError

    def fill(self):
        marks = self.ground.filled
        if not (self.shared and self.file in marks):
            fio.fill(self.bed, self.path, self.size)
        if self.shared:
            marks.add(self.file)

    def verify(self):
        """@return a remark, if what was read is what was written on some condition only"""
        fio.verify(self.bed, self.path, self.size)

    def stop(self):
        self.stack.close()
        if self.tag:
            self.bed.remove(self.directory)
            self.ground.filled.discard(self.file)

    def target(self):
        """An empty file to mount over."""
        open(self.mountpoint, "a").close()
        return self.mountpoint


class Raw(Peer):
    name, about, shared = "raw", "the file itself, no FUSE", True

    def open(self):
        self.path = self.file


class Floor1(Peer):
    name, about, shared, workers = "floor1", "bench/floor with 1 worker", True, 1

    def open(self):
        self.bed.serve(self.stack, self.label, [f"{self.bed.bin}/bench/floor", "-w", str(self.workers), self.file, self.target()],
                       self.mountpoint)


class Floor2(Floor1):
    name, about, workers = "floor2", "bench/floor with 2 workers", 2


class Vvfs(Peer):
    name, about, snapshots = "vvfs", "a LUN, through the mount", True

    def prepare(self):
        self.server = self.ground.server(self.server_name())

    def open(self):
        self.lun = f"peer{self.tag}"
        self.path = self.server.make(self.lun, self.size)

    def server_name(self):
        return "vvfs"

    def snapshot(self):
        self.server.admin.call("snapshot.create", objects=[f"{self.lun}@s"])

    def stop(self):
        if self.tag:
            self.server.remove(self.lun)
        super().stop()


class VvfsRing(Vvfs):
    name, about = "vvfs-ring", "the same with -o ring"

    def server_name(self):
        return "vvfs-ring"

    def prepare(self):
        try:
            super().prepare()
        except beds.Failed as reason:
            raise Skip(str(reason)) from None


class QemuRaw(Peer):
    name, about, shared = "qemu-raw", "qemu-storage-daemon --export fuse, raw", True
    form = ["driver=raw"]

    def make(self):
        pass

    def open(self):
        needs("qemu-storage-daemon", "qemu-img")
        self.make()
        # Without O_DIRECT on tmpfs: it is memory already.
        cache = ",cache.direct=on,aio=native" if self.bed.medium != "tmpfs" and self.bed.direct else ""
        form = ",".join([*self.form, "node-name=disk", "file=file"])
        self.bed.serve(self.stack, self.label, [
            "qemu-storage-daemon", "--blockdev", f"driver=file,node-name=file,filename={self.file}{cache}", "--blockdev", form,
            "--export", f"type=fuse,id=export,node-name=disk,mountpoint={self.target()},writable=on"], self.mountpoint, stays=True)

    def verify(self):
        """QEMU 7.2 mixes up the data of writes that come while another is under way; it is slow, not fast, by that."""
        try:
            return super().verify()
        except beds.Failed:
            fio.verify(self.bed, self.path, self.size, depth=1)
            return "what was written at depth 16 is read back WRONG; at depth 1 it is right"


class QemuQcow2(QemuRaw):
    name, about, shared, snapshots = "qemu-qcow2", "qemu-storage-daemon --export fuse, qcow2", False, True
    form, create, file_name = ["driver=qcow2"], [], "disk.qcow2"

    def make(self, *backing):
        if not os.path.exists(self.file):
            options = ["-o", ",".join(self.create)] if self.create else []
            self.bed.run("qemu-img", "create", "-q", "-f", "qcow2", *options, *backing, self.file, str(self.size))

    def snapshot(self):
        """A new file over this one, as a machine's external snapshot is: what was there is now read only."""
        self.stack.close()
        below, self.file = self.file, os.path.join(self.directory, "above.qcow2")
        self.make("-b", below, "-F", "qcow2")
        self.open()


class QemuQcow2Large(QemuQcow2):
    name, about = "qemu-qcow2-128k", "the same with 128k clusters and extended_l2"
    create = ["cluster_size=128k", "extended_l2=on"]


class Nbd(Peer):
    name, about, shared = "nbd", "nbdkit file behind nbdfuse", True

    def open(self):
        needs("nbdkit", "nbdfuse")
        os.makedirs(self.mountpoint, exist_ok=True)
        server = ["nbdkit", "--exit-with-parent", "file", self.file]
        self.bed.serve(self.stack, self.label, ["nbdfuse", f"{self.mountpoint}/disk", "[", *server, "]"], self.mountpoint)
        self.path = os.path.join(self.mountpoint, "disk")


class Xfs(Peer):
    name, about, snapshots = "xfs", "a file on XFS with reflink, on a loop device", True
    make_fs, module, small = ["mkfs.xfs", "-q", "-f", "-m", "reflink=1"], "xfs", 512 * MIB

    def open(self):
        needs(self.make_fs[0])
        with open("/proc/filesystems") as known:
            if self.module not in known.read().split():
                raise Skip(f"this kernel has no {self.module}")
        self.bed.run("truncate", "-s", str(3 * self.size + self.small), self.file)
        device = self.bed.loop(self.stack, self.file)
        self.bed.commands[self.label] = " ".join([*self.make_fs, device])
        self.bed.run(*self.make_fs, device)
        self.bed.mount(self.stack, device, self.mountpoint)
        self.path = os.path.join(self.mountpoint, "disk")
        self.bed.run("truncate", "-s", str(self.size), self.path)

    def snapshot(self):
        self.bed.run("cp", "--reflink=always", self.path, os.path.join(self.mountpoint, "snapshot"), seconds=600)


class Btrfs(Xfs):
    name, about = "btrfs", "a file on Btrfs with reflink, on a loop device"
    make_fs, module = ["mkfs.btrfs", "-q", "-f"], "btrfs"


class Loop(Peer):
    """A loop device with direct I/O over another peer."""
    inner = ""

    def prepare(self):
        self.below = self.ground.peer(self.inner)

    def open(self):
        self.path = self.bed.loop(self.stack, self.below.path)

    def fill(self):
        pass  # the inner one is filled


def loop_over(cls):
    return type(f"Loop{cls.__name__}", (Loop,), {"name": f"loop-{cls.name}", "about": f"loop device over {cls.name}", "inner": cls.name,
                                                 "copies": 0})


ALL = {cls.name: cls for cls in (Raw, Floor1, Floor2, Vvfs, VvfsRing, QemuRaw, QemuQcow2, QemuQcow2Large, Nbd, Xfs, Btrfs,
                                 *map(loop_over, (Raw, Floor1, Floor2, Vvfs)))}


class Ground:
    """The peers that live for the whole run on one bed, each made when it is first asked for, filled and verified once."""

    def __init__(self, bed, size, report):
        self.bed, self.size, self.report = bed, size, report
        self.peers, self.servers, self.filled, self.broken = {}, {}, set(), {}

    def server(self, name):
        if name not in self.servers:
            server = Server(self.bed, name, options="ring" if name == "vvfs-ring" else None, size=max(16 * GIB, 8 * self.size))
            self.bed.stack.callback(server.stop)
            server.start()
            self.servers[name] = server
        return self.servers[name]

    def peer(self, name):
        """@return the peer, started, filled, verified; raises Skip or Failed, the same each time."""
        if name in self.broken:
            raise self.broken[name]
        if name not in self.peers:
            peer = ALL[name](self, self.size)
            try:
                peer.prepare()
                self.bed.stack.callback(peer.stop)
                peer.start()
                peer.fill()
                remark = peer.verify()
                if remark:
                    self.bed.remarks[name] = remark
                self.report(f"{self.bed.medium}: {name}: {self.size >> 20} MiB written, part of it read back and compared"
                            + (f": {remark}" if remark else ""))
            except (beds.Skip, beds.Failed, OSError, ValueError) as reason:
                self.broken[name] = reason
                raise
            self.peers[name] = peer
        return self.peers[name]

    @contextlib.contextmanager
    def fresh(self, name, filled):
        """A peer for one cell, thin or filled."""
        peer = ALL[name](self, self.size, tag="-cell")
        peer.prepare()
        try:
            peer.start()
            if filled:
                peer.fill()
            yield peer
        finally:
            peer.stop()


def timed_snapshot_ms(peer):
    start = time.monotonic()
    peer.snapshot()
    return (time.monotonic() - start) * 1000
