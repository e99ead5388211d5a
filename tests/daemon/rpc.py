# SPDX-License-Identifier: GPL-2.0-or-later
"""The admin socket: framing, bad input, limits, permission, idempotence, subscriptions."""

import os
import socket
import subprocess
import sys

from daemon import Client, Pool, contains, done, need_mount, ok, same, wait_for

need_mount()
pool = Pool().start("-o", "log=warning")
path = os.path.join(pool.directory, "admin.sock")
client = pool.client()

# ---- greeting
greeting = client.greeting["vvfs"]
same((greeting["pool"], greeting["protocol"], greeting["capabilities"]), ("tank", 1, []), "the greeting names pool and protocol")
same(os.stat(path).st_mode & 0o777, 0o600, "the socket's mode is 0600")
same(os.stat(pool.directory).st_mode & 0o7777, 0o700, "the directory's is 0700")


# ---- bad input
def raw(line):
    client.write(line + b"\n" if isinstance(line, bytes) else line + "\n")
    return client.read()


def code_of(line):
    return raw(line)["error"]["code"]


for line in ["nonsense", "{", '{"a":1,}', "{'a':1}", "[1,]", '{"a":1} {"b":2}', "// x", 'var x = {"a":1}', '"\\ud800"', "01",
             '{"jsonrpc":"2.0","id":1e999,"method":"pool.status"}', b"\xff\xfe{}", "[" * 100000, '{"a":"\x01"}', ""]:
    text = line if isinstance(line, str) else repr(line)
    same(code_of(line), -32700, f"not JSON: {text[:20]!r}")
for line in ["[]", "1", "null", "{}", '{"jsonrpc":"2.0","id":1}', '{"jsonrpc":"1.0","id":1,"method":"pool.status"}',
             '{"jsonrpc":"2.0","id":{},"method":"pool.status"}', '{"jsonrpc":"2.0","id":1E92,"method":"pool.status"}', '{"jsonrpc":"2.0","id":1,"method":"pool.status","params":[]}',
             '[{"jsonrpc":"2.0","id":1,"method":"pool.status"}]', '{"jsonrpc":"2.0","id":1,"method":7}']:
    same(code_of(line), -32600, f"not a request: {line[:40]!r}")
response = client.call("pool.nothing")
same((response["error"]["code"], response["error"]["data"]["code"]), (-32601, "unsupported"), "an unknown method")
for params, part in [({"nme": "x"}, "nme"), ({}, "name"), ({"name": 1}, "name"), ({"name": "x", "exact": "yes"}, "exact"),
                     ({"name": "x", "request_id": "a"}, "request_id"), ({"name": "x", "timeout_ms": -1}, "timeout_ms")]:
    response = client.call("lun.show", **params)
    same(response["error"]["code"], -32602, f"wrong params {params}")
    contains(response["error"]["message"], part, f"  and {part} is named")
same(client.error("lun.list", names="db")[0], "usage", "a string where a list must be")
same(client.error("lun.show", name="a/b")[0], "invalid-name", "a name that breaks the rule")
same(client.error("lun.show", name="nope"), ("not-found", "no LUN nope in pool tank"), "a LUN that is not there")
response = client.call("lun.show", name="nope")
same(response["error"]["data"]["hint"], "vvfs-admin lun list", "the hint for it")
same(client.error("snapshot.show", object="nope")[0], "invalid-name", "a snapshot without @")
same(client.error("lun.create", name="x", size=1000)[0], "usage", "a size that is no multiple of 512")
same(client.error("lun.create", name="x", size=0)[0], "usage", "a size of 0")
same(client.error("lun.create", name="x", size=1 << 63)[0], "usage", "a size that is too large")
same(client.error("lun.create", name="x", size=1 << 20, copies=2)[0], "unsupported", "copies are for later")
same(client.error("lun.create", name="x", size=1 << 20, settings={"colour": "red"})[0], "usage", "an unknown setting")
same(client.error("lun.create", name="x", size=1 << 20, settings={"mode": "9"})[0], "usage", "a setting that takes something else")
same(client.result("lun.list")["items"], [], "nothing was made by all that")

# ---- framing
client.write('{"jsonrpc":"2.0","id":"half","method":"pool.st')
other = pool.client()
ok("result" in other.call("pool.status"), "half a line of one client does not hold up another")
client.write('atus"}\n')
same(client.read()["id"], "half", "the other half makes it whole")
client.write('{"jsonrpc":"2.0","method":"lun.create","params":{"name":"quiet","size":1048576}}\n')
ok(wait_for(lambda: [l for l in other.result("lun.list")["items"] if l["name"] == "quiet"], "the LUN"),
   "a notification is executed")
same(client.call("lun.show", name="quiet")["result"]["name"], "quiet", "  and not answered")
numbers = [client.send("pool.status") for _ in range(200)]
answers = {client.read()["id"] for _ in numbers}
same(answers, set(numbers), "200 requests at once are all answered")
long = pool.client()
long.write('{"jsonrpc":"2.0","id":1,"method":"lun.show","params":{"name":"' + "x" * (4 << 20))
same(long.read()["error"]["code"], -32600, "a line of more than 4 MiB is refused")
same(long.read(), None, "  and the connection closed")
big = pool.client()
same(big.error("lun.show", name="x" * (3 << 20))[0], "invalid-name", "one of 3 MiB is not")

# ---- many clients
clients = [pool.client() for _ in range(100)]
for number, one in enumerate(clients):
    one.send("lun.create", name=f"many{number}", size=1 << 20)
good = [one.read() for one in clients]
same(sum("result" in answer for answer in good), 100, "100 clients at once change something each")
same(len(client.result("lun.list")["items"]), 101, "  and all of it is there")
for one in clients:
    one.close()
crowd = []
refused = None
for _ in range(300):
    one = Client(path)
    crowd.append(one)
    if "vvfs" not in one.greeting:
        refused = one.greeting
        break
same(refused and refused["error"]["data"]["code"], "limit", "the 257th client is refused")
ok(250 <= len(crowd) <= 257, f"  not before ({len(crowd)})")
for one in crowd:
    one.close()
ok(wait_for(lambda: "vvfs" in (Client(path).greeting or {}), "room"), "when they have gone there is room again")

# ---- a slow client
slow = Client(path)
slow.socket.settimeout(0.2)
sent = 0
try:
    for _ in range(2000):
        slow.send("lun.list")
        sent += 1
except (socket.timeout, BrokenPipeError, ConnectionResetError):
    pass
ok(sent < 2000, "the daemon stops reading from a client that does not read")
ok("result" in client.call("pool.status"), "  and serves the others")
slow.close()

# ---- permission
PROGRAM = """
import os, sys; sys.path.insert(0, %r)
from daemon import Client
os.setgroups([]); os.setgid(65534); os.setuid(65534) # not before: the checkout may be in a home that is closed to others
client = Client(%r)
print("result" in client.call("pool.status"), client.error("lun.create", name="nobodys", size=1048576))
client.write("x" * 70000)
print(client.read()["error"]["data"]["code"])
""" % (sys.path[0], path)
shown = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False,
                       env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})
contains(shown.stderr, "PermissionError", "another user does not reach the socket")
os.chmod(pool.directory, 0o711) # as an administrator may, who wants to be looked at
os.chmod(path, 0o666)
shown = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False,
                       env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})
ok(shown.stdout.startswith("True ('denied'"), "another user may look and not change") or print("#", shown)
contains(shown.stdout, "\nlimit", "  and has shorter lines")

# ---- idempotence
same(client.result("lun.create", name="once", size=1 << 20, request_id="a1")["made"], True, "a request with an id")
again = client.result("lun.create", name="once", size=1 << 20, request_id="a1")
same((again["name"], again["made"]), ("once", True), "its repeat gives the first result")
same(client.error("lun.create", name="once", size=1 << 21, request_id="a1")[0], "conflict", "the same id with other params")
same(client.error("lun.create", name="once", size=1 << 20)[0], "exists", "without an id it is refused")
same(client.result("lun.create", name="once", size=1 << 20, if_not_exists=True)["made"], False, "if_not_exists: made is false")
error = client.error("lun.create", name="once", size=1 << 21, if_not_exists=True)
same(error, ("exists", "LUN once exists in pool tank with another size (1M, 1048576 bytes, not 2M)"), "  another size is told")
numbers = [client.send("snapshot.create", luns=["once", "quiet"], prefix="hourly", request_id="b1") for _ in range(20)]
answers = [client.read()["result"]["created"] for _ in numbers]
same(len({tuple(item["object"] for item in answer) for answer in answers}), 1, "20 at once with one id: done once, answered alike")
names = [item["object"] for item in answers[0]]
same(len(client.result("snapshot.list")["items"]), 2, "  two snapshots are there")
ok(names[0].startswith("once@hourly-") and names[0].endswith("Z") and names[0].split("@")[1] == names[1].split("@")[1],
   "  named by prefix and UTC, the same for both")
same(client.result("snapshot.show", object=names[0])["prefix"], "hourly", "  the prefix is remembered")
client.result("snapshot.create", luns=["once"], prefix="hourly")
client.result("snapshot.create", luns=["once"], prefix="hourly")
same(len(client.result("snapshot.list", luns=["once"])["items"]), 3, "more within the same second get names of their own")

# ---- chosen disks
for number in (1, 2):
    client.result("disk.add", path=os.path.join(pool.directory, f"d{number}"), size=32 << 20)
small = {"name": "placed", "size": 1 << 40}
for disks, code in [([], "usage"), (["nope"], "not-found"), ([""], "not-found"), (["d1", "nope"], "not-found"), (["d1", "d1"], "usage"),
                    (["d1", os.path.join(pool.directory, "d1")], "usage"), (["d1"] * 65, "limit"), ("d1", "usage"), ([1], "usage")]:
    same(client.error("lun.create", disks=disks, **small)[0], code, f"disks {str(disks)[:40]}")
same(client.error("lun.show", name="placed")[0], "not-found", "  and nothing was made")
made = client.result("lun.create", disks=["d2", client.result("disk.show", disk="d1")["uuid"]], request_id="p1", **small)
same((made["made"], made["disks"]), (True, ["d1", "d2"]), "a LUN on two disks, by name and UUID, larger than both")
same(client.result("lun.create", disks=["d2", client.result("disk.show", disk="d1")["uuid"]], request_id="p1", **small)["disks"],
     ["d1", "d2"], "  its repeat gives the first result")
same(client.result("lun.show", name="placed")["disks"], ["d1", "d2"], "  lun.show tells them")
same(client.result("lun.show", name="quiet")["disks"], [], "  and [] for a LUN on any disk")
same(client.result("lun.create", disks=["d2", "d1"], if_not_exists=True, **small)["made"], False, "if_not_exists with the same disks")
same(client.result("lun.create", if_not_exists=True, **small)["made"], False, "  and without any")
for disks in (["d1"], ["d1", "d1"], ["d1", "disk0"], ["d1", "d2", "disk0"]):
    same(client.error("lun.create", disks=disks, if_not_exists=True, **small)[0], "exists", f"  but not with {disks}")
same(client.error("lun.create", name="quiet", size=1 << 20, disks=["d1"], if_not_exists=True)[0], "exists", "  nor where none were chosen")
client.result("snapshot.create", objects=["placed@s"])
same(client.call("lun.clone", object="placed@s", name="c", disks=["d1"])["error"]["code"], -32602, "a clone cannot have disks of its own")
same(client.result("lun.clone", object="placed@s", name="c")["disks"], ["d1", "d2"], "  it has those of its base")
same(client.error("disk.remove", disk="d1"), ("busy", "disk d1 was chosen for c, placed (`lun create --disks`)"), "a chosen disk is not removed")
same(client.error("disk.remove", disk="d1", dry_run=True)[0], "busy", "  nor in a dry run")
client.result("lun.remove", names=["placed", "c"], with_snapshots=True)
ok(wait_for(lambda: "result" in client.call("disk.remove", disk="d1"), "the disk is free"), "without them it is")
client.result("disk.remove", disk="d2")

# ---- the words of docs/admin-protocol.md, section 5
DOCUMENT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "docs", "admin-protocol.md")
with open(DOCUMENT, encoding="utf-8") as lines:
    refusals = [line.rstrip("\n") for line in lines if line.startswith("|") and "`denied`" in line]
same([line for line in refusals if "no `yes`" in line and not line.endswith("| `` `--yes` does it.`` |")], [], "what lacks a yes has one hint")
client.result("snapshot.create", objects=["once@kept1", "once@kept2"])
client.result("snapshot.set", object="once@kept*", settings={"keep": "on"}, yes=True)
same(client.error("snapshot.remove", objects=[names[0], "once@kept2", "once@kept1"]), ("keep", "once@kept2 is kept (keep=on)"),
     "several refused objects: the first is named")
same(client.error("snapshot.remove", objects=["once@kept*"], yes=True), ("keep", "once@kept1 is kept (keep=on)"), "  of a pattern too")
same(client.error("lun.remove", names=["nope1", "once", "nope2"]), ("not-found", "no LUN nope1 in pool tank"), "  and of LUNs")
same(client.error("disk.remove", disk="disk0", lost=True), ("unsupported", "not in this version: giving up a lost disk"), "a lost disk")
client.result("snapshot.set", object="once@kept*", settings={"keep": "off"}, yes=True)
client.result("snapshot.remove", objects=["once@kept*"], yes=True)

# ---- patterns and yes
error = client.error("snapshot.remove", objects=["once@hourly-*"])
same(error[0], "denied", "a pattern that matches several needs yes")
contains(error[1], "would remove 3 snapshots of once in pool tank and free", "  and the message says what it would do")
dry = client.result("snapshot.remove", objects=["once@hourly-*"], dry_run=True)
same((len(dry["removed"]), dry["confirm"], dry["dry_run"]), (3, True, True), "the dry run names them")
same(client.error("snapshot.remove", objects=["once@no*"])[0], "not-found", "a pattern that matches nothing")
same(client.result("snapshot.remove", objects=["once@no*"], if_exists=True)["removed"], [], "  unless if_exists")
same(client.result("snapshot.remove", objects=dry["removed"], request_id="c1")["removed"], dry["removed"], "by name they go")
same(client.result("snapshot.remove", objects=dry["removed"], request_id="c1")["removed"], dry["removed"], "  and the repeat says so again")

client.result("snapshot.create", objects=[f"once@s{number}" for number in range(20)])
same(client.error("snapshot.set", object="once@s*", settings={"keep": "on"})[0], "denied", "to set what a pattern matches needs yes")
entries = client.result("stats.get")["pool"]["journal_entries"]
same(len(client.result("snapshot.set", object="once@s*", settings={"keep": "on"}, yes=True)["changed"]), 20, "  with it all are set")
same(client.result("stats.get")["pool"]["journal_entries"] - entries, 1, "  in one entry")
same({item["keep"] for item in client.result("snapshot.list", luns=["once"])["items"]}, {"on"}, "  every one")
for _ in range(2):
    same(len(client.result("snapshot.set", object="once@s*", settings={"keep": "off"}, yes=True, request_id="d1")["changed"]), 20,
         "  an id is recorded with it")
client.result("snapshot.remove", objects=["once@s*"], yes=True)

# ---- what a dry run would free is what the real one frees
client.result("lun.create", name="cut", size=8 << 20)
with open(os.path.join(pool.mountpoint, "luns", "cut"), "r+b") as lun:
    lun.write(os.urandom(6 << 20))
    os.fsync(lun.fileno())
    client.result("snapshot.create", objects=["cut@s"])
    lun.seek(3 << 20)
    lun.write(os.urandom(4 << 20))
    os.fsync(lun.fileno())


def used():
    """Of the pool, when all that was removed has come back."""
    wait_for(lambda: client.result("pool.status")["space"]["freeing"] == 0 and not client.result("job.list")["items"], "jobs to end")
    return client.result("pool.status")["space"]["used"]


def frees(method, bytes_, what, **params):
    wait_for(lambda: client.result("lun.show", name="cut")["openers"] == [], "the last close")
    before = used()
    would = client.result(method, dry_run=True, **params)
    same((would["freed"], would["dry_run"]), (bytes_, True), f"{what}: told")
    same(used(), before, "  and not done")
    client.result(method, **params)
    ok(wait_for(lambda: before - used() == bytes_, "it to come back"), "  then it is done, and they come back")


same(client.result("lun.resize", name="cut", size=16 << 20, dry_run=True)["freed"], 0, "growing frees nothing")
frees("lun.resize", 2 << 20, "a shrink: what the snapshot has not", name="cut", size=5 << 20, shrink=True)
frees("snapshot.restore", 2 << 20, "a restore with discard", object="cut@s", discard=True)
same(client.result("snapshot.restore", object="cut@s", dry_run=True)["freed"], 0, "one without keeps what was there")
client.result("lun.remove", names=["cut"], with_snapshots=True)

# ---- lists in pieces
seen, cursor, pieces = [], None, 0
while True:
    part = client.result("lun.list", **({"cursor": cursor} if cursor else {}))
    seen += [item["name"] for item in part["items"]]
    pieces += 1
    cursor = part["next"]
    if cursor is None:
        break
same(seen, sorted(seen), "LUNs are sorted by name")
same(len(seen), len(set(seen)), "  each once")
same(client.error("lun.list", names=["quiet", "nope"])[0], "not-found", "an unknown name in a list")

# ---- keys
same(set(client.result("lun.list", names=["once"])["items"][0]),
     set("object name uuid size used exclusive snapshots copies disks origin open keep state created created_ns".split()), "keys of lun.list")
client.result("snapshot.create", objects=["once@k"])
same(set(client.result("snapshot.list", luns=["once"])["items"][0]),
     set("object lun name size used exclusive form kind keep note state created created_ns".split()), "keys of snapshot.list")
status = client.result("pool.status")
same(set(status) >= set("name uuid state problems nodes disks space jobs stale_since".split()), True, "keys of pool.status")
same(set(status["space"]), set("total used free held freeing missing".split()), "keys of its space")
stats = client.result("stats.get", objects=["once"])
same(set(stats) >= set("time time_ns pool luns disks nodes next".split()), True, "keys of stats.get")
same(set(stats["luns"]["once"]), set("read write flush discard".split()), "operations of a LUN")

# ---- subscriptions
watcher = pool.client()
subscription = watcher.result("subscribe", topic="events")["subscription"]
watcher.result("subscribe", topic="stats", interval_ms=100, objects=["once"])
first = watcher.notification()
same((first["method"], "once" in first["params"]["luns"]), ("stats", True), "stats come at once")
same(watcher.notification()["method"], "stats", "  and again")
same(watcher.result("subscribe", topic="jobs")["jobs"], [], "jobs: none")
same(watcher.error("subscribe", topic="jobs", jobs=[4711])[0], "not-found", "an unknown job")
same(watcher.error("subscribe", topic="weather")[0], "usage", "an unknown topic")
same(watcher.result("unsubscribe", subscription=subscription), {}, "unsubscribe")
same(watcher.error("unsubscribe", subscription=subscription)[0], "not-found", "  once only")

# ---- attach: one at a time
same(client.result("lun.attach_check", object="once")["path"], os.path.join(pool.mountpoint, "luns", "once"), "attach_check tells the path")
same(other.error("lun.attach_check", object="once"), ("busy", "once is being attached"), "  and reserves the LUN")
client.close()
ok(wait_for(lambda: "result" in other.call("lun.attach_check", object="once"), "the reservation's end"),
   "  until the connection closes")
same(other.error("job.show", job=4711)[0], "not-found", "a job that is not there")
same(other.call("pool.status", timeout_ms=1000).get("error"), None, "timeout_ms is taken")
same(pool.stop(), 0, "SIGTERM ends the daemon with 0")
ok(not os.path.exists(path), "the socket is gone")
done()
