# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest of a pool: it has what is shared with it, to the byte, at once, for as long as it is shared, and nothing of anything else. Names of parts
as arguments run these alone."""

import json
import os
import re
import signal
import subprocess
import time

from daemon import contains, done, ok, same, wait_for
from rigged import LOOK_SECONDS, RIG, SLACK, Holder, Node, begin_pool, part, rig, sh, timed

HOLDER = """
def keep(name, flags=os.O_RDONLY): kept[name] = os.open(name, flags | getattr(os, 'O_DIRECT', 0)); return 'open'
def got(name):
    block = mmap.mmap(-1, 4096)
    return block[:1].hex() if os.preadv(kept[name], [block], 0) == 4096 else 'short'
def close(name): os.close(kept.pop(name)); return 'closed'
"""


def tree(node):
    """All that is in the mount, without .vvfs."""
    return sh(node, "cd mnt && find luns snapshots -mindepth 1 | sort")[1].split()


def md5(node, name):
    return sh(node, f"md5sum mnt/{name}")[1].split()[0]


def knows(node, word):
    """Is it in the directory of NODE's pool, or in the memory of who serves it?"""
    found = rig("run", node.name, "grep", "-rlaF", word, "pool", check=False).stdout.split()
    pid = node.server()
    with open(f"/proc/{pid}/maps", encoding="ascii") as maps, open(f"/proc/{pid}/mem", "rb") as memory:
        for line in maps:
            match = re.match(r"([0-9a-f]+)-([0-9a-f]+) rw", line)
            if not match or "[v" in line:
                continue
            begin, end = (int(number, 16) for number in match.groups())
            try:
                memory.seek(begin)
                if word.encode() in memory.read(min(end - begin, 64 << 20)):
                    found.append(line.strip())
            except OSError:
                continue
    return found


def nightly():
    """What `shared` made, where that did not run."""
    if "db@nightly" not in [item["object"] for item in n1.look("snapshot", "list")]:
        n1.must("snapshot", "create", "db@nightly", "--share", "bk=ro")


def join(node, *invite):
    token = n1.must("node", "invite", *invite).strip()
    return node.call("node", "join", "./pool", "--token", token, "--listen", node.address, "--node", invite[-1])


def fill(node, name, byte, count=16):
    code, text = sh(node, f"head -c {count * 65536} /dev/zero | tr '\\0' '\\{byte:o}' | dd of=mnt/luns/{name} bs=64k oflag=direct conv=notrunc,fsync status=none")
    assert code == 0, text


rig("up", "4", "--local-disks", "1", "--disk-size", str(1 << 30))
n1, n2, bk, other = nodes = [Node(name) for name in ("n1", "n2", "n3", "n4")]
begin_pool(n1)
n1.must("lun", "create", "topsecret", "8M")
n1.must("lun", "create", "db", "8M")
n1.must("snapshot", "create", "topsecret@hushhush")
fill(n1, "db", 1)
code, out, err = join(bk, "--guest", "--name", "bk")
same((code, err), (0, ""), "a machine joins as a guest")
same(json.loads(bk.admin("--json", "node", "list")[1])[1]["role"], "guest", "its directory says so")
same(sorted(os.listdir(os.path.join(bk.home, "pool", "tls"))), ["authority.crt", "node.crt", "node.key"], "it has no authority's key")
bk.start()


def nothing():
    n1.must("share", "set", "db", "default=rw")
    same(tree(bk), [], "a guest to whom nothing is shared sees nothing")
    same((bk.names(), bk.look("snapshot", "list")), ([], []), "... and lists nothing")
    same({name: (item["role"], item["state"]) for name, item in n1.nodes().items()}, {"n1": ("coordinator", "up"), "bk": ("guest", "up")}, "n1 lists it")
    same({name: (item["role"], item["state"], item["session"]) for name, item in bk.nodes().items()}, {"n1": ("voter", "up", None), "bk": ("guest", "up", None)},
         "it lists both, and has no session")
    status = bk.look("pool", "status")
    same((status["state"], status["stale_since"], status["luns"], status["disks"]), ("ok", None, 0, []), "its status")
    ok(knows(n1, "topsecret"), "what a node knows is found in its memory")
    same(knows(bk, "topsecret"), [], "the name of a LUN that is not shared is nowhere on it")


def shared():
    n1.must("snapshot", "create", "db@nightly", "--share", "bk=ro")
    same(tree(bk), ["snapshots/db", "snapshots/db/nightly"], "a snapshot that is shared with it is there when the command returns")
    same(md5(bk, "snapshots/db/nightly"), md5(n1, "snapshots/db/nightly"), "it is read")
    fill(n1, "db", 2)
    before = md5(n1, "snapshots/db/nightly")
    for byte in (3, 4, 5):
        writer = subprocess.Popen([RIG, "run", "n1", "sh", "-c",
                                   "for i in 1 2 3 4 5 6; do head -c 1M /dev/urandom | dd of=mnt/luns/db bs=64k oflag=direct conv=notrunc status=none; done"])
        same(md5(bk, "snapshots/db/nightly"), before, "... as it was, while its LUN is written")
        writer.wait()
    same([item["object"] for item in bk.look("snapshot", "list")], ["db@nightly"], "it is listed")
    same((bk.names(), bk.admin("lun", "show", "db")[0]), ([], 1), "its LUN is not, of which it knows the name")
    shown = bk.look("snapshot", "show", "db@nightly")
    same((shown["size"], shown["share"]["nodes"]), (8 << 20, {"bk": "ro"}), "show tells of it, and of nobody else's share")
    same((knows(bk, "topsecret"), knows(bk, "hushhush")), ([], []), "what is not shared is nowhere still")
    n1.must("snapshot", "create", "topsecret@two")
    n1.must("lun", "rename", "topsecret", "topsecret2")
    n1.must("lun", "clone", "topsecret2@two", "topsecret3")
    n1.must("share", "set", "topsecret3", "bk=rw")
    same(bk.look("lun", "show", "topsecret3")["origin"], None, "a clone's origin is not told if that is not shared")
    same(knows(bk, "topsecret2"), [], "... nor known")
    n1.must("lun", "remove", "topsecret3")
    same(tree(bk), ["snapshots/db", "snapshots/db/nightly"], "what is removed is gone when the command returns")


def written():
    nightly()
    n1.must("lun", "create", "scratch", "4M")
    n1.must("share", "set", "scratch", "bk=rw")
    same("luns/scratch" in tree(bk), True, "a LUN that is shared for writing")
    fill(bk, "scratch", 7)
    same(md5(bk, "luns/scratch"), md5(n1, "luns/scratch"), "what the guest writes is read elsewhere")
    n1.must("lun", "resize", "scratch", "8M")
    same(sh(bk, "stat -c %s mnt/luns/scratch"), (0, str(8 << 20)), "its new size is seen at once")
    n1.must("snapshot", "create", "scratch@s")
    fill(bk, "scratch", 9)
    before = md5(n1, "snapshots/scratch/s")
    n1.must("snapshot", "restore", "scratch@s", "--discard")
    same((md5(bk, "luns/scratch"), md5(n1, "luns/scratch")), (before, before), "what was restored is seen at once")
    for script, what in (("touch mnt/luns/new", "made"), ("rm -f mnt/luns/scratch", "removed"), ("mv mnt/luns/scratch mnt/luns/mine", "renamed"),
                         ("chmod 777 mnt/luns/scratch", "made another's"), ("mkdir mnt/snapshots/scratch/x", "kept"), ("ln -f mnt/luns/scratch mnt/snapshots/db/x", "kept"),
                         ("rm -f mnt/snapshots/db/nightly", "removed")):
        code, text = sh(bk, script)
        ok(code != 0 and re.search("not permitted|denied|Read-only", text), f"nothing is {what} by a guest: {text}")
    same(sh(bk, "sh -c 'dd if=/dev/zero of=mnt/snapshots/db/nightly bs=4k count=1 conv=notrunc'")[0] != 0, True, "no snapshot is written")
    n1.must("share", "set", "scratch", "bk=ro")
    same(sh(bk, "dd if=/dev/zero of=mnt/luns/scratch bs=4k count=1 conv=notrunc")[0] != 0, True, "what is read-only now is not written")


def renamed():
    """Names that change places, as fast as commands go; what a guest sees in the end is so."""
    for name in ("r1", "r2"):
        n1.must("lun", "create", name, "1M")
        n1.must("share", "set", name, "bk=rw")
    fill(n1, "r1", 1, 1)
    fill(n1, "r2", 2, 1)
    for _ in range(4):
        for old, new in (("r1", "rx"), ("r2", "r1"), ("rx", "r2")):
            n1.must("lun", "rename", old, new)
        same((md5(bk, "luns/r1"), md5(bk, "luns/r2")), (md5(n1, "luns/r1"), md5(n1, "luns/r2")), "names that were exchanged")
    n1.must("lun", "remove", "r1", "r2")
    same([name for name in tree(bk) if "/r" in name], [], "both are gone")


def taken_away():
    n1.must("snapshot", "create", "db@away", "--share", "bk=ro")
    holder = Holder(bk, HOLDER)
    same((holder.does("keep('mnt/snapshots/db/away')"), len(holder.does("got('mnt/snapshots/db/away')"))), ("open", 2), "it is open on the guest")
    code, out, err = n1.admin("share", "set", "db@away", "bk=none")
    same(code, 1, "what is open is not taken away")
    contains(err, "is open on bk", "... which is told")
    n1.must("share", "set", "db@away", "bk=none", "--force")
    ok(holder.does("got('mnt/snapshots/db/away')") in ("EIO", "ESTALE"), "... but by force: who reads gets an error")
    same("snapshots/db/away" in tree(bk), False, "... and its name is gone")
    holder.does("close('mnt/snapshots/db/away')")
    n1.must("share", "set", "db@away", "bk=ro")
    same(md5(bk, "snapshots/db/away"), md5(n1, "snapshots/db/away"), "shared again it is read again")
    same((holder.does("keep('mnt/snapshots/db/away')"), len(holder.does("got('mnt/snapshots/db/away')"))), ("open", 2), "open again")
    before = holder.does("got('mnt/snapshots/db/away')")
    n1.must("snapshot", "remove", "db@away")
    same(("snapshots/db/away" in tree(bk), holder.does("got('mnt/snapshots/db/away')")), (False, before), "what is removed is read until it is closed")
    same(holder.does("close('mnt/snapshots/db/away')"), "closed", "closed")
    holder.end()


def killed():
    nightly()
    holder = Holder(bk, HOLDER)
    same(holder.does("keep('mnt/snapshots/db/nightly')"), "open", "a snapshot is open")
    before = holder.does("got('mnt/snapshots/db/nightly')")
    for node in (bk, n1, bk):
        ok(node.kill_server(), f"who serves on {node.name} dies, and another takes over")
        same(holder.does("got('mnt/snapshots/db/nightly')"), before, "what was open is read")
        n1.must("snapshot", "create", "db@after", "--share", "bk=ro")
        ok(wait_for(lambda: "snapshots/db/after" in tree(bk), "db@after"), "the guest is told of what is new")
        n1.must("snapshot", "remove", "db@after")
        ok(wait_for(lambda: "snapshots/db/after" not in tree(bk), "db@after gone"), "... and of what is gone")
    n1.kill()
    ok(wait_for(lambda: bk.look("pool", "status")["stale_since"], "stale"), "without the node with the disks it says since when it knows nothing new")
    n1.start()
    same(holder.does("got('mnt/snapshots/db/nightly')"), before, "when that is back it is read")
    ok(wait_for(lambda: bk.look("pool", "status")["stale_since"] is None, "fresh"), "... and told of again")
    holder.end()
    bk.kill()
    ok(wait_for(lambda: n1.nodes()["bk"]["state"] == "down", "bk down"), "a guest that died is down")
    _, seconds = timed(n1.must, "snapshot", "create", "db@down", "--share", "bk=ro")
    ok(seconds < 1.0 + SLACK, f"nobody waits for it ({seconds:.2f} s)")
    bk.start()
    same("snapshots/db/down" in tree(bk), True, "it begins anew with all that is shared")
    same(knows(bk, "topsecret"), [], "... and that only")
    n1.must("snapshot", "remove", "db@down")


def cut():
    nightly()
    rig("cut", "n1", "n3")
    ok(wait_for(lambda: bk.look("pool", "status")["stale_since"], "stale", 60), "a guest that is cut off knows it")
    for words in (("pool", "status"), ("snapshot", "list"), ("node", "list")):
        (code, _, err), seconds = timed(bk.admin, *words)
        ok(code == 0 and seconds < LOOK_SECONDS + SLACK, f"it answers {' '.join(words)} ({seconds:.2f} s)")
        if words[0] == "pool":
            contains(err, "this is what this node knew at", "... and says since when it is old")
    same("snapshots/db/nightly" in tree(bk), True, "it lists what it knew")
    n1.must("snapshot", "create", "db@unheard", "--share", "bk=ro")
    rig("heal")
    ok(wait_for(lambda: "snapshots/db/unheard" in tree(bk), "db@unheard"), "when it is back it is told what it missed")
    n1.must("snapshot", "remove", "db@unheard")


def alone():
    """Who serves dies while the node with the disks cannot be reached: the successor waits, and answers what it knows."""
    nightly()
    rig("cut", "n1", "n3")
    before = bk.server()
    os.kill(before, signal.SIGKILL)
    died = time.time_ns()
    ok(wait_for(lambda: bk.server() not in (None, before), "a successor"), "who serves a guest that is cut off dies")
    ok(wait_for(lambda: bk.look("pool", "status"), "an answer", 10), "its successor, which waits, answers")
    for words, wanted in ((("pool", "status"), 0), (("lun", "list"), 0), (("snapshot", "list"), 0), (("node", "list"), 0), (("node", "show", "n1"), 0), (("doctor",), 5), (("events",), 0),
                          (("disk", "list"), 0), (("lease", "list"), 0), (("stats",), 0), (("pool", "get"), 0), (("snapshot", "show", "db@nightly"), 1), (("version",), 0)):
        (code, out, err), seconds = timed(bk.admin, *words)
        same(code, wanted, f"it answers {' '.join(words)} ({seconds:.2f} s) {err.strip()}")
        ok(seconds < LOOK_SECONDS + SLACK, "... at once")
    status = bk.look("pool", "status")
    same((status["state"], status["problems"][0]["code"], status["luns"]), ("no-quorum", "waiting", 0), "it says that it waits")
    ok(abs(status["stale_since_ns"] - died) < 5 * 10**9, "... since when")
    contains(bk.admin("pool", "status")[2], "this is what this node knew at", "... and to people")
    contains(bk.admin("doctor")[1], "reaches no node that says what is shared with it since", "the doctor too")
    same({name: (item["role"], item["state"]) for name, item in bk.nodes().items()}, {"n1": (None, "down"), "bk": ("guest", "up")}, "it knows nodes by its directory")
    same((bk.names(), bk.look("snapshot", "list")), ([], []), "it knows nothing of objects")
    for words in (("lun", "create", "mine", "1M"), ("lun", "attach", "db"), ("node", "leave")):
        code, _, err = bk.admin(*words)
        same((code, "bk waits until it reaches other nodes of pool prod: nothing was changed" in err), (3, True), f"it does not {' '.join(words)}: {err.strip()}")
    rig("heal")
    ok(wait_for(lambda: bk.answers(), "bk"), "when it reaches n1 it serves")
    same("snapshots/db/nightly" in tree(bk), True, "... what is shared with it")
    same(bk.admin("doctor")[0], 0, "nothing is wrong")


def refused():
    nightly()
    for words in (("lun", "create", "mine", "1M"), ("snapshot", "create", "db@mine"), ("snapshot", "remove", "db@nightly"), ("share", "set", "db@nightly", "bk=none"),
                  ("node", "invite"), ("node", "set", "bk", "role=voter"), ("node", "evict", "n1"), ("pool", "set", "warn-used=80"), ("job", "list"),
                  ("lun", "clone", "db@nightly", "mine"), ("snapshot", "set", "db@nightly", "keep=on"), ("pool", "scrub"), ("disk", "add", "x", "--size", "1G")):
        code, out, err = bk.admin(*words)
        ok(code == 1 and "this node is a guest of pool prod" in err, f"a guest does not {' '.join(words)}: {err.strip()}")
    for words, what in (((("node", "set", "bk", "role=voter")), "bk is a guest, and cannot become a voter"), (("node", "set", "n1", "role=guest"), "n1 is a voter, and cannot become a guest"),
                        (("node", "lead", "bk"), "bk is a guest")):
        code, out, err = n1.admin(*words)
        same(code, 1, f"{' '.join(words)}: {err.strip()}")
        contains(err, what, "... which says why")
    code, out, err = rig("run", "n3", "vvfs", "-f", "--witness", "./pool", check=False).returncode, "", ""
    ok(code != 0, "a guest's directory is not run as a witness")
    same(n1.admin("node", "invite", "--guest", "--role", "voter")[0], 2, "two roles")
    token = n1.must("node", "invite", "--guest", "--name", "late").strip()
    code, out, err = other.call("node", "join", "./pool", "--token", token, "--listen", other.address, "--node", "wrong")
    same(code, 1, f"an invitation of another name {err.strip()}")


def clustered():
    """A second member, and a second guest: changes on either member are seen, guests count for nothing."""
    code, out, err = join(n2, "--name", "n2")
    same((code, err), (0, ""), "a member joins")
    n2.start()
    ok(wait_for(lambda: "n2" in bk.nodes(), "n2"), "the guest hears of it")
    same((n2.look("node", "show", "bk")["role"], n2.look("node", "show", "bk")["state"]), ("guest", "up"), "and it of the guest")
    n2.must("snapshot", "create", "db@from-n2", "--share", "bk=ro")
    same("snapshots/db/from-n2" in tree(bk), True, "what is done on a member without the disks is seen when the command returns")
    code, out, err = join(other, "--guest", "--name", "other")
    same((code, err), (0, ""), "another guest joins")
    other.start()
    same((tree(other), sorted(other.nodes())), ([], ["n1", "n2", "other"]), "it sees nothing, and hears of no other guest")
    ok(wait_for(lambda: "n2" in bk.nodes() and "other" not in bk.nodes(), "nodes"), "... nor that of it")
    same(knows(bk, other.address), [], "... not where it is")
    n2.must("share", "set", "db@from-n2", "other=ro", "bk=none")
    same((tree(other), "snapshots/db/from-n2" in tree(bk)), (["snapshots/db", "snapshots/db/from-n2"], False), "what one loses the other gets")
    bk.kill()
    other.kill()
    n2.must("snapshot", "create", "db@alone")
    same(n1.admin("lun", "list")[0], 0, "without both guests the members decide")
    bk.start()
    for guest in ("bk", "other"):
        n2.must("share", "set", "db@alone", f"{guest}=ro")
    same("snapshots/db/alone" in tree(bk), True, "one is back")
    ok(n1.kill_server(), "who serves on n1 dies")
    n2.must("snapshot", "create", "db@later", "--share", "bk=ro")
    ok(wait_for(lambda: "snapshots/db/later" in tree(bk), "db@later"), "the guest follows")
    n1.must("node", "evict", "other")
    same("other" in n1.nodes(), False, "a guest is evicted while it is down")
    code = other.launch("-o", "wait=5").ended()
    ok(code not in (0, None), f"it does not start any more ({code})")
    contains(other.tail(), "no node of pool prod any more", "... and says why")


def left():
    bk.must("node", "leave")
    ok(wait_for(lambda: "bk" not in n1.nodes(), "bk gone"), "a guest leaves")
    same(bk.ended(), 0, "its daemon ends")
    code = bk.launch("-o", "wait=5").ended()
    ok(code not in (0, None), "... and does not start again")
    rig("run", "n3", "mv", "pool", "old")
    before = max(item["id"] for item in n1.nodes().values())
    code, out, err = join(bk, "--guest", "--name", "bk")
    same((code, err), (0, ""), "it joins anew")
    bk.start()
    ok(n1.nodes()["bk"]["id"] > before + 1, "under a number that nobody had")
    same(tree(bk), [], "what was shared with it before is not")
    same(bk.stop(), 0, "a guest ends")
    listed = {item["name"]: (item["role"], item["state"]) for item in json.loads(bk.admin("--json", "node", "list")[1])}
    same((listed["bk"], sorted(listed)), (("guest", "down"), sorted(n1.nodes())), "its directory tells whom it knew")
    print("# its directory has", sh(bk, "du -sh pool | cut -f 1")[1], flush=True)
    n1.kill()
    code = bk.launch("-o", "wait=3").ended()
    same(code, 3, "without the node with the disks it does not start, and says so by its exit code")
    n1.start()


for each in (nothing, shared, written, renamed, taken_away, killed, cut, alone, refused, clustered, left):
    part(each)
for node in (n2, n1):
    if node.process:
        node.kill()
done()
