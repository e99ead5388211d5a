# SPDX-License-Identifier: GPL-2.0-or-later
"""Data on three nodes of one pool, of which one has the disks: what is written on one is read on all, snapshots are one instant for all,
and what dies meanwhile costs nothing that was acknowledged."""

import json
import os
import signal
import subprocess
import time

from daemon import done, ok, same, wait_for
from rigged import RIG, FaultyNode, Node, begin_pool, everywhere, good, join_pool, part, rig, sh

SNAPSHOTS = int(os.environ.get("VV_DATA_SNAPSHOTS", "12"))
rig("up", "3", "--local-disks", "1", "--disk-size", str(2 << 30))
n1, n2, n3 = nodes = [FaultyNode("n1"), Node("n2"), Node("n3")]
balls = 0


def start(node, *words):
    """A program in NODE, which goes on."""
    return subprocess.Popen([RIG, "run", node.name, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def end(process, what, wanted=(0,), seconds=180):
    try:
        text, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        return ok(False, f"{what}: it does not end")
    return ok(process.returncode in wanted, f"{what} ({process.returncode}) {text[-300:] if process.returncode else ''}")


def log_of(node, name):
    return os.path.join(node.home, name)


def sums(node, *names):
    return sh(node, f"cd mnt && md5sum {' '.join(names)} | cut -c -32")[1].split()


def make(name, size="16M"):
    n1.must("lun", "create", name, size)
    wait_for(lambda: all(name in node.listing() for node in nodes), f"{name} on all")


# ---- making the cluster
begin_pool(n1)
join_pool(n1, n2, n3)
everywhere(nodes, lambda node: sorted(node.nodes()), ["n1", "n2", "n3"], "all know all")


def to_and_fro():
    make("db")
    good(n1, "echo of-n1 | dd of=mnt/luns/db bs=512 conv=sync,notrunc status=none", "n1 writes")
    for node in (n2, n3):
        same(sh(node, "head -c 5 mnt/luns/db"), (0, "of-n1"), f"{node.name} reads it")
    good(n2, "echo of-n2 | dd of=mnt/luns/db bs=4096 seek=7 conv=sync,notrunc oflag=direct status=none", "n2 writes")
    for node in (n1, n3):
        same(sh(node, "dd if=mnt/luns/db bs=4096 skip=7 count=1 status=none | head -c 5"), (0, "of-n2"), f"{node.name} reads it, though nothing was flushed")
    good(n3, "printf abc | dd of=mnt/luns/db bs=1 seek=100000 conv=notrunc,fsync status=none", "n3 writes three bytes and flushes them")
    same(sh(n2, "dd if=mnt/luns/db bs=1 skip=100000 count=3 status=none"), (0, "abc"), "n2 reads them")
    same(len(set(tuple(sums(node, "luns/db")) for node in nodes)), 1, "the whole is the same on all")
    shipped = [node.look("stats")["pool"]["shipped_requests"] for node in nodes]
    ok(shipped[0] == 0 and min(shipped[1:]) > 10, f"requests were shipped {shipped}")


def files():
    """cp into luns/ and out, holes, sizes, times."""
    good(n2, "head -c 5000001 /dev/urandom > src && cp src mnt/luns/img && sync mnt/luns/img", "cp into luns/ on n2")
    good(n2, "cp mnt/luns/img back && cmp -n 5000001 src back", "and out")
    everywhere(nodes, lambda node: sh(node, "stat -c %s mnt/luns/img")[1], "5001216", "its end is rounded up to a block when it is closed")
    good(n3, f"cmp -n 5000001 {n2.home}/src mnt/luns/img", "n3 reads the same")
    good(n2, "fallocate -p -o 65536 -l 131072 mnt/luns/img", "n2 punches a hole")
    look = "python3 -c 'import os; f = os.open(\"mnt/luns/img\", os.O_RDONLY); print(os.lseek(f, 0, os.SEEK_HOLE), os.lseek(f, 65536, os.SEEK_DATA))'"
    for node in nodes:
        same(sh(node, look), (0, "65536 196608"), f"SEEK_HOLE and SEEK_DATA on {node.name}")
    same(sh(n1, "dd if=mnt/luns/img bs=64K skip=1 count=2 status=none | tr -d '\\0' | wc -c"), (0, "0"), "n1 reads zeros there")
    good(n2, "touch -d 2020-02-02T02:02:02Z mnt/luns/img", "times can be set on n2")
    everywhere(nodes, lambda node: sh(node, "TZ=UTC stat -c %y mnt/luns/img")[1][:19], "2020-02-02 02:02:02", "... and are seen on all")
    good(n2, "exec 3<>mnt/luns/grow && truncate -s 1M mnt/luns/grow && stat -c %s mnt/luns/grow | grep -x 1048576 && truncate -s 8K mnt/luns/grow && "
         "stat -c %s mnt/luns/grow | grep -x 8192 && fallocate -l 40K mnt/luns/grow && stat -c %s mnt/luns/grow | grep -x 40960", "an elastic LUN is cut and grows on n2")
    ok(sh(n3, "truncate -s 4K mnt/luns/img")[0] != 0, "a finished LUN is not cut")
    good(n3, "dd if=/dev/zero of=mnt/luns/db bs=4096 count=16 seek=100 conv=notrunc status=none && cp --sparse=always mnt/luns/img mnt/luns/copy && cmp mnt/luns/img mnt/luns/copy",
         "a copy of a LUN into a new one on n3")


def loop_device():
    make("disk", "64M")
    good(n2, "vvfs-admin -p ./pool lun attach disk >dev.name && mkfs.ext4 -q -E nodiscard $(cat dev.name | tail -n 1) && mkdir -p fs && mount $(tail -n 1 dev.name) fs && "
         "cp -r /etc/ssl fs/ 2>/dev/null; head -c 3000000 /dev/urandom > fs/file && sync && md5sum < fs/file > sum && umount fs", "ext4 on a loop device on n2")
    good(n2, "vvfs-admin -p ./pool lun detach disk", "it is detached")
    good(n1, "e2fsck -fn mnt/luns/disk", "fsck on n1")
    good(n3, f"vvfs-admin -p ./pool lun attach disk >dev.name && mkdir -p fs && mount $(tail -n 1 dev.name) fs && md5sum < fs/file | cmp - {n2.home}/sum; r=$?; umount fs; "
         "vvfs-admin -p ./pool lun detach disk; exit $r", "n3 mounts it and finds what n2 wrote")


# ---- patterns
def pingpong_with_snapshots():
    """Numbers go round all nodes; snapshots are taken on any node, and each is a causal prefix, looked at on n3 at once."""
    for name in "abc":
        make(name, "4M")
    ring = ",".join(f"{node.name}:7400" for node in nodes)
    players = [start(node, "vvpat", "pingpong", "--ring", ring, "--index", str(i), "--slots", "16", "--count", "16000000", "--seconds", str(max(15, 2 * SNAPSHOTS)),
                     "mnt/luns/a", "mnt/luns/b", "mnt/luns/c") for i, node in enumerate(nodes)]
    taken = bad = 0
    while all(player.poll() is None for player in players) and taken < SNAPSHOTS:
        taken += 1
        node = nodes[taken % 3]
        code, _, err = node.admin("snapshot", "create", *[f"{name}@{taken}" for name in "abc"])
        paths = [f"mnt/snapshots/{name}/{taken}" for name in "abc"]
        ok(code == 0, f"snapshot {taken} on {node.name} {err}") if code else None
        wait_for(lambda: rig("run", "n3", "ls", *paths, check=False).returncode == 0, "the snapshot on n3")
        result = rig("run", "n3", "vvpat", "causal", *paths, check=False)
        if code or result.returncode:
            bad += 1
            ok(False, f"snapshot {taken} of {node.name} is a causal prefix on n3: {result.stdout} {result.stderr}")
    ok(taken >= 3 and bad == 0, f"each of {taken} snapshots was a causal prefix on n3 when it was taken")
    for node, player in zip(nodes, players):
        end(player, f"{node.name} plays to the end", seconds=180 + 2 * SNAPSHOTS)
    good(n3, "vvpat causal mnt/luns/a mnt/luns/b mnt/luns/c", "the LUNs, too, are")


class Load:
    """vvpat writes on NODE."""

    def __init__(self, node, name, *options):
        self.node, self.name, self.log = node, name, f"writes.{name}"
        make(name, "64M")
        self.process = start(node, "vvpat", "write", "--depth", "4", "--bs", "4096-65536", "--count", "10000000", "--flush", "8", "--seconds", "600",
                             "--log", self.log, *options, f"mnt/luns/{name}")
        self.goes_on("some writes")

    def blocks(self):
        return os.stat(log_of(self.node, self.log)).st_blocks if os.path.exists(log_of(self.node, self.log)) else 0

    def goes_on(self, what):
        before = self.blocks()
        return ok(wait_for(lambda: self.process.poll() is not None or self.blocks() > before + 40, what) and self.process.poll() is None, f"{self.name}: {what}")

    def end(self):
        for pid in rig("pids", self.node.name, f"^vvpat.*{self.log}").stdout.split():
            os.kill(int(pid), signal.SIGTERM)
        end(self.process, f"{self.name}: no error", (0, 143, -15, 241), 90)

    def verify(self, where, *options):
        result = rig("run", where.name, "vvpat", "verify", *options, "--log", log_of(self.node, self.log), f"mnt/luns/{self.name}", check=False)
        ok(result.returncode == 0 and " 0 wrong" in result.stdout, f"{self.name}: {where.name} finds all {(result.stdout + result.stderr)[-300:] if result.returncode else ''}")


def write_and_verify():
    loads = [Load(node, f"of-{node.name}") for node in nodes]
    for load in loads:
        load.end()
    for load in loads:
        for where in nodes:
            load.verify(where)


def server_killed():
    """Who serves on n1 dies, then who serves on n2."""
    load = Load(n2, "killed")
    for round in range(3):
        n1.kill_server()
        load.goes_on("writes go on without n1's process")
    for round in range(3):
        n2.kill_server()
        load.goes_on("writes go on without n2's process")
    load.end()
    load.verify(n3)


def upgraded():
    load = Load(n2, "upgraded")
    for node in (n2, n1):
        before = node.server()
        result = rig("run", node.name, "vvfs", "--upgrade", "mnt", check=False)
        ok(result.returncode == 0 and node.server() != before, f"{node.name} takes a new binary under load {result.stderr}")
        load.goes_on("writes go on")
    load.end()
    load.verify(n3)


def cut_off():
    load = Load(n2, "cut")
    rig("cut", "n1", "n2")
    ok(wait_for(lambda: n2.nodes().get("n1", {}).get("state") == "down", "n1 is seen as down"), "the way is cut")
    before = load.blocks()
    time.sleep(2)  # what is tested is that time passes
    rig("heal")
    load.goes_on("writes go on when it is back")
    ok(load.blocks() > before, "... all of them later")
    load.end()
    load.verify(n3)
    load.verify(n2)


WRITER = """
import os, sys, time
f = os.open("mnt/luns/%s", os.O_RDWR)
os.pwrite(f, b"F" * 4096, 0)
os.fsync(f)
os.pwrite(f, b"U" * 4096, 4096)
print("written", flush=True)
sys.stdin.readline()
for i in range(2):
    try:
        os.fsync(f)
        print("flushed", flush=True)
    except OSError as error:
        print(error.errno, flush=True)
print(os.pread(f, 1, 0).decode(), flush=True)
"""


def machine_lost():
    """n1 dies with all its processes: what n2 wrote and did not flush may be gone, and its next flush says so, once."""
    make("lost")
    process = subprocess.Popen([RIG, "run", "n2", "python3", "-c", WRITER % "lost"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    same(process.stdout.readline().strip(), "written", "n2 has written")
    n1.kill()
    n1.start()
    text, _ = process.communicate("\n", timeout=120)
    same(text.split(), ["5", "flushed", "F"], "the next flush says EIO, the one after that is good, and what was flushed is there")
    ok(wait_for(lambda: any("lost" in message for message in n2.events("writes-lost")), "an event"), "an event tells")
    load = Load(n2, "disks", "--depth", "1", "--flush", "256")  # who is told stops, and others would go on
    for round in range(4):  # right after a flush nothing is lost, and nothing is to be told
        n1.kill()
        n1.start()
        before = load.blocks()
        if not wait_for(lambda: load.process.poll() is not None or load.blocks() > before + 200, "told, or goes on") or load.process.poll() is not None:
            break
    end(load.process, "vvpat is told", (3,), 120)
    load.verify(n3, "--flushed")


def held():
    """Who writes on n2 to a LUN that waits for space can be killed."""
    n1.must("lun", "create", "held", "64M", "on-full=wait", "timeout=120")
    n1.must("lun", "create", "filler", "8G")
    wait_for(lambda: all("held" in node.listing() for node in nodes), "held on all")
    code, text = sh(n1, "dd if=/dev/zero of=mnt/luns/filler bs=1M oflag=direct conv=notrunc status=none")
    ok(code != 0 and "No space" in text, f"the pool is full {text}")
    writer = start(n2, "dd", "if=/dev/zero", "of=mnt/luns/held", "bs=1M", "oflag=direct", "conv=notrunc")
    ok(wait_for(lambda: any(item["object"] == "held" and item["waiting"] for item in n1.look("lease", "list")), "the write"), "a write of n2 waits for space")
    for pid in rig("pids", "n2", "^dd if=/dev/zero of=mnt/luns/held").stdout.split():
        os.kill(int(pid), signal.SIGKILL)
    end(writer, "it can be killed", (137, -9, 247), 20)
    n1.must("lun", "remove", "filler", "--yes")
    ok(wait_for(lambda: sh(n2, "dd if=/dev/zero of=mnt/luns/held bs=1M count=8 oflag=direct conv=notrunc status=none")[0] == 0, "space"), "with space it is written")


def begun_and_overwritten():
    """n1's process dies when a block that n2 writes is on the disk, but nobody was told; n2 is cut off and asks again when others have written there."""
    make("begun", "1M")
    good(n1, "dd if=/dev/zero of=mnt/luns/begun bs=64k count=1 conv=notrunc,fsync status=none", "n1 writes")
    n1.arm("published:stop")
    writer = start(n2, "sh", "-c", "printf %8192s | tr ' ' K | dd of=mnt/luns/begun bs=8k conv=notrunc status=none")
    ok(wait_for(lambda: n1.faults(), "the write"), "n1 stops when n2's write is on the disk")
    rig("cut", "n1", "n2")
    n1.arm("")
    n1.kill_server()
    same(sh(n3, "head -c 8193 mnt/luns/begun | tr -d '\\0' | tr -s K"), (0, "K"), "n3 sees it")
    good(n3, "printf %4096s | tr ' ' W | dd of=mnt/luns/begun bs=4k conv=notrunc status=none", "n3 overwrites half of it")
    same(sh(n1, "head -c 8193 mnt/luns/begun | tr -d '\\0' | tr -s KW"), (0, "WK"), "n1 sees that")
    rig("heal")
    end(writer, "n2's write ends well")
    for node in nodes:
        same(sh(node, "head -c 8193 mnt/luns/begun | tr -d '\\0' | tr -s KW"), (0, "WK"), f"what n3 has written is not undone ({node.name})")


KEEPER = """
import os, sys
gone = os.open('mnt/luns/keeper', os.O_RDWR)
os.pwrite(gone, b'G' * 4096, 0)
os.unlink('mnt/luns/keeper')
grows = os.open('mnt/luns/growing', os.O_RDWR | os.O_CREAT)
at = 0
def step():
    global at
    at += os.pwrite(grows, b'g' * 5000, at)
    os.fsync(grows)
    print(os.pread(gone, 4096, 0) == b'G' * 4096, os.fstat(grows).st_size == at, flush=True)
step()
for line in sys.stdin:
    step()
"""


def open_meanwhile():
    """What n2 has open is so still when n1 is killed, is upgraded, ends and comes back: also what was removed, and what grows."""
    make("keeper")
    process = subprocess.Popen([RIG, "run", "n2", "python3", "-c", KEEPER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    same(process.stdout.readline().split(), ["True", "True"], "n2 has a removed and a growing LUN open")

    def again(what):
        process.stdin.write("\n")
        process.stdin.flush()
        same(process.stdout.readline().split(), ["True", "True"], what)

    n1.kill_server()
    again("both go on when another process serves n1")
    same(n1.stop(), 0, "n1 ends")
    n1.start()
    again("both go on when n1 is back")
    process.communicate(timeout=120)
    ok(wait_for(lambda: "growing" in n1.listing() and int(json.loads(n1.must("lun", "show", "growing", "--json"))["size"]) == 16384, "finished"),
       "closed, the one is finished")
    n1.must("lun", "remove", "growing", "--yes")


def timeout():
    make("timed")
    n2.must("lun", "set", "timed", "timeout=4")
    process = subprocess.Popen([RIG, "run", "n2", "python3", "-c", "import os, sys, time\nf = os.open('mnt/luns/timed', os.O_RDWR)\nprint('open', flush=True)\n"
                                "sys.stdin.readline()\nbegin = time.monotonic()\ntry:\n    os.pwrite(f, b'x' * 4096, 0)\n    print('done')\nexcept OSError as e:\n    print(e.errno, time.monotonic() - begin)"],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    same(process.stdout.readline().strip(), "open", "n2 has it open")
    shown = json.loads(n1.must("lun", "show", "timed", "--json"))
    same([(one["node"], one["process"], one["mode"], one["device"]) for one in shown["openers"]], [("n2", None, "read-write", None)],
         "n1 shows who has it open")
    ok(shown["openers"][0]["pid"] > 0 and shown["open"] == ["n2"], "... with the pid there, and the node once")
    code, out, err = n1.call("lun", "resize", "timed", "8M", "--shrink", "--yes")
    ok(code == 1 and "timed is open for writing on n2: pid " in err, f"a refusal names it: {code} {err}")
    rig("cut", "n1", "n2")
    text, _ = process.communicate("\n", timeout=120)
    rig("heal")
    words = text.split()
    ok(words[0] == "5" and 3.5 < float(words[1]) < 12, f"a write ends with EIO when the LUN's timeout is over: {text}")
    ok(wait_for(lambda: sh(n2, "dd if=/dev/zero of=mnt/luns/timed bs=4096 count=1 conv=notrunc,fsync status=none")[0] == 0, "writes"), "it is written again when the way is back")


def linearizable():
    """All nodes read and write the same blocks, while ways are cut and processes die."""
    make("mixed", "1M")
    mixers = [start(node, "vvpat", "mix", "--size", "65536", "--depth", "2", "--count", "1000000", "--seconds", "45", "--seed", str(i + 1), "--node", str(i + 1),
                    "--log", f"mix.{node.name}", "mnt/luns/mixed") for i, node in enumerate(nodes)]
    for round in range(2):
        for lone in (n2, n3):
            rig("cut", "n1", lone.name)
            wait_for(lambda: lone.nodes().get("n1", {}).get("state") == "down", "n1 is down")
            rig("heal")
            wait_for(lambda: lone.nodes().get("n1", {}).get("state") == "up", "n1 is up")
        n1.kill_server()
        n2.kill_server()
    for node, mixer in zip(nodes, mixers):
        end(mixer, f"{node.name} mixes to the end")
    result = subprocess.run([os.environ["LINEAR"], *[log_of(node, f"mix.{node.name}") for node in nodes]], capture_output=True, text=True, timeout=600, check=False)
    ok(result.returncode == 0, f"the blocks are linearizable {result.stdout[-1500:]} {result.stderr[-300:]}")


for function in (to_and_fro, files, loop_device, pingpong_with_snapshots, write_and_verify, server_killed, upgraded, cut_off, open_meanwhile, timeout, held, machine_lost, begun_and_overwritten, linearizable):
    part(function)
for node in nodes:
    same(node.stop(), 0, f"{node.name} ends")
for node in nodes:
    same(node.call("pool", "check", "./pool")[0], 0, f"the pool is whole on {node.name}")
done()
