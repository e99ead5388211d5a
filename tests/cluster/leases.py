# SPDX-License-Identifier: GPL-2.0-or-later
"""Three nodes of one pool: `lease list` tells on each of them the same of sessions, of what is open, of what a change keeps from others and of who
waits; a node that dies, or is cut off, is seen to be gone."""

import subprocess
import time

from daemon import contains, done, ok, same, wait_for
from rigged import LOOK_SECONDS, RIG, SLACK, FaultyNode, Holder, Node, begin_pool, everywhere, join_pool, rig, timed

HOLDER = """
def keep(name, flags): kept[name, len(kept)] = os.open(name, flags); return 'open'
def end(name):
    for key in [key for key in kept if key[0] == name]: os.close(kept.pop(key))
    return 'closed'
def put(name): return os.pwrite([fd for key, fd in kept.items() if key[0] == name][0], b'x' * 4096, 0)
def sync(name): return os.fsync([fd for key, fd in kept.items() if key[0] == name][0])
"""
KEYS = ["node", "object", "kind", "mode", "state", "what", "session", "handles", "waiting", "unflushed", "since", "since_ns", "renewed", "renewed_ns", "until", "until_ns",
        "waits", "stale_since", "stale_since_ns"]
DB, COPY = "mnt/luns/db", "mnt/snapshots/db/first"


def leases(node):
    return node.look("lease", "list") or []


def sessions(node):
    return {item["node"]: item for item in leases(node) if item["kind"] == "session"}


def opens(node):
    """(node, object): (mode, handles)"""
    return {(item["node"], item["object"]): (item["mode"], item["handles"]) for item in leases(node) if item["kind"] == "open"}


def changes(node):
    return [item for item in leases(node) if item["kind"] == "change"]


def begun(node, *words):
    """A command that is not waited for."""
    return subprocess.Popen([RIG, "run", node.name, "vvfs-admin", "-p", "./pool", *words], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def tell(holder, text):
    holder.process.stdin.write(text + "\n")
    holder.process.stdin.flush()


def hear(holder):
    return holder.process.stdout.readline().strip()


rig("up", "3", "--local-disks", "1", "--disk-size", str(1 << 30))
n1, n2, n3 = nodes = [FaultyNode("n1"), Node("n2"), Node("n3")]
n1.arm("")
begin_pool(n1)
same(leases(n1), [], "nothing is held in a pool of one node that nobody uses")
join_pool(n1, n2, n3)

# ---- sessions
everywhere(nodes, lambda node: sorted(sessions(node)), ["n1", "n2", "n3"], "each node tells of three sessions")
by_node = {node.name: sessions(node) for node in nodes}
same({name: [item["session"] for item in by_node[name].values()] for name in by_node},
     {name: [item["session"] for item in by_node["n1"].values()] for name in by_node}, "... the same")
same([list(item) for item in by_node["n2"].values()], [KEYS] * 3, "an item has all keys, in their order")
now = time.time_ns()
same([(name, who) for name, items in by_node.items() for who, item in items.items()
      if not (item["until_ns"] or 0) > item["renewed_ns"] >= now - 60 * 10**9], [], "all know until when each is good, and when it was renewed")
same([who for who, item in sessions(n3).items() if item["stale_since"] is not None], [], "nothing of it is old")
ok(sessions(n3)["n3"]["since_ns"] <= now, "a node knows since when it has its own")

# ---- what is open
n1.must("lun", "create", "db", "40M")
n1.must("snapshot", "create", "db@first")
writer, reader = Holder(n2, HOLDER), Holder(n3, HOLDER)
before = time.time_ns()
same([writer.does(f"keep('{DB}', os.O_RDWR)"), writer.does(f"keep('{DB}', os.O_RDWR)"), reader.does(f"keep('{DB}', os.O_RDONLY)"),
      reader.does(f"keep('{COPY}', os.O_RDONLY)")], ["open"] * 4, "n2 and n3 open a LUN and its snapshot")
everywhere(nodes, opens, {("n2", "db"): ("read-write", 2), ("n3", "db"): ("read-only", 1), ("n3", "db@first"): ("read-only", 1)}, "each node tells who has what open")
item = next(item for item in leases(n3) if (item["node"], item["object"]) == ("n2", "db"))
same((before <= item["since_ns"] <= time.time_ns(), item["state"], item["waits"], item["until"], item["unflushed"]), (True, "held", [], None, False), "... since when")
same(writer.does(f"put('{DB}')"), "4096", "n2 writes")
same(writer.does(f"sync('{DB}')"), "None", "... and flushes")
lines = [line.split() for line in n2.must("lease", "list", "--match", "db*").splitlines()]
same([lines[0], *(line[:3] for line in lines[1:])], [["NODE", "OBJECT", "MODE", "SINCE", "UNTIL", "WAITS"], ["n2", "db", "read-write"], ["n3", "db", "read-only"],
                                                     ["n3", "db@first", "read-only"]], "for people")
contains(n2.must("lease", "list"), "session %d" % sessions(n2)["n3"]["session"], "... with sessions")
same(n3.must("lease", "list", "-H", "-o", "node,object,handles", "--match", "db@*"), "n3\tdb@first\t1\n", "for scripts")
same(reader.does(f"end('{DB}')"), "closed", "n3 closes the LUN")
everywhere(nodes, lambda node: sorted(opens(node)), [("n2", "db"), ("n3", "db@first")], "... which is seen everywhere")

# ---- who waits: a share is taken away while a request is at the disk
n1.arm("data-written:sleep=6000")
tell(writer, f"put('{DB}')")
ok(wait_for(lambda: [fault[0] for fault in n1.faults()] == ["data-written"], "the write"), "a write of n2 is under way")
command = begun(n3, "share", "set", "db", "n2=none", "--force")
ok(wait_for(lambda: any(item["state"] == "draining" for item in changes(n2)), "the change", 5), "a change waits for it")
held = leases(n2)
change = [item for item in held if item["state"] == "draining"]
user = [item for item in held if (item["node"], item["object"]) == ("n2", "db")]
same([(item["object"], item["mode"], item["what"] in ("share set", "revoke")) for item in change], [("db", "no-requests", True)], "... which is told")
same([(item["state"], [waits["what"] for waits in item["waits"]]) for item in user], [("revoked", [change[0]["what"]])] if user and change else None, "n2 is told to have it, and who waits")
same((command.wait(), hear(writer)), (0, "4096"), "both end")
everywhere(nodes, lambda node: (sorted(opens(node)), changes(node)), ([("n3", "db@first")], []), "nothing of it is held any more")
writer.end()

# ---- who waits for a change
n1.must("share", "set", "db", "n2=rw")
writer = Holder(n2, HOLDER)
ok(wait_for(lambda: writer.does(f"keep('{DB}', os.O_RDWR | os.O_DIRECT | os.O_SYNC)") == "open", "n2"), "n2 opens it again")
n1.arm("snapshot-closed:sleep=6000")
command = begun(n3, "snapshot", "create", "db@second")
ok(wait_for(lambda: len(n1.faults()) == 2, "the gate"), "a gate is closed")
tell(writer, "(lambda data: (data.write(b'x' * 4096), os.writev(list(kept.values())[0], [data]))[1])(mmap.mmap(-1, 4096))")
ok(wait_for(lambda: any(item["waits"] for item in changes(n3)), "a request", 5), "a request waits for it")
same([(item["node"], item["object"], item["mode"], item["what"], item["state"], [(waits["what"], waits["node"], waits["count"]) for waits in item["waits"]])
      for item in changes(n3)], [("n3", "db", "no-writes", "snapshot create", "held", [("requests", None, 1)])], "n3's snapshot is waited for, by one request")
same([item["waiting"] for item in leases(n1) if (item["node"], item["object"]) == ("n2", "db")], [1], "... of n2")
contains(n1.must("lease", "list"), "no-writes (snapshot create)", "for people")
same((command.wait(), hear(writer)), (0, "4096"), "both end")
n1.arm("")
everywhere(nodes, changes, [], "nothing waits any more")

# ---- cut off: within two seconds, what it knows, and since when
rig("cut", "n2", "n1,n3")
ok(wait_for(lambda: any(item["stale_since"] for item in leases(n2) if item["kind"] == "open"), "n2 to notice"), "n2, cut off, says so")
(code, out, err), seconds = timed(n2.admin, "lease", "list")
ok(code == 0 and seconds < LOOK_SECONDS + SLACK, f"... at once ({seconds:.1f} s)")
contains(err, "note: this node does not reach all who know: some of it is what it knew itself, since ", "... and to people")
same(opens(n2), {("n2", "db"): ("read-write", 1)}, "it knows what it has open")
ok(wait_for(lambda: "n2" not in sessions(n1), "the session of n2"), "its session is over for the others")
ok(wait_for(lambda: "n2" not in sessions(n2), "its session"), "... and for itself")
item = next((item for item in leases(n1) if (item["node"], item["object"]) == ("n2", "db")), None)
ok(item and item["state"] == "away" and item["until_ns"] > time.time_ns(), f"what it has open is kept for a while {item}")
rig("heal")
everywhere(nodes, lambda node: (sorted(sessions(node)), ("n2", "db") in opens(node), [item for item in leases(node) if item["stale_since"]]), (["n1", "n2", "n3"], True, []),
           "healed: all is known again")
writer.end()

# ---- dead
old = sessions(n1)["n3"]["session"]
n3.kill()
everywhere([n1, n2], lambda node: "n3" in sessions(node), False, "the session of a node that died is over")
same([item["state"] for item in leases(n2) if item["node"] == "n3"], ["away"], "what it had open is kept for a while")
reader.end()
n3.start()
everywhere(nodes, lambda node: sessions(node).get("n3", {"session": old})["session"] > old, True, "it comes back with another")
everywhere(nodes, opens, {}, "... and has nothing open")
for node in reversed(nodes):
    same(node.stop(), 0, f"{node.name} ends")
done()
