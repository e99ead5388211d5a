# SPDX-License-Identifier: GPL-2.0-or-later
"""The nodes of a pool change: who leads, who votes, where they are, who goes. Three real daemons on addresses of this machine."""

import json
import os
import socket
import subprocess

from daemon import DEADLINE, VVFS, Pool, contains, done, is_mounted, need_mount, offline, ok, same, wait_for

ADMIN = os.path.join(os.path.dirname(VVFS), "vvfs-admin")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


PORT = free_port()


def admin(directory, *arguments):
    """vvfs-admin: (exit code, stdout, stderr)."""
    result = subprocess.run([ADMIN, "-p", directory, *arguments], capture_output=True, text=True, check=False, timeout=60,
                            env={**os.environ, "VVFS_DAEMON": VVFS})
    return result.returncode, result.stdout, result.stderr


class First(Pool):
    """The node that makes the pool, and has its disks."""

    def __init__(self):
        super().__init__(name="tank")
        offline("pool.destroy", {"dir": self.directory, "yes": True})
        self.created = offline("pool.create", {"dir": self.directory, "name": "tank", "size": 64 << 20, "listen": f"127.0.0.1:{PORT}",
                                               "node": "n1"})


class Joined(Pool):
    """A machine that joins: what Pool does without making one."""

    def __init__(self, first, name, address):
        super().__init__(name=name)
        offline("pool.destroy", {"dir": self.directory, "yes": True})
        code, token, err = admin(first.directory, "node", "invite")
        assert code == 0, err
        result = subprocess.run([ADMIN, "node", "join", self.directory, "--token", "-", "--listen", f"{address}:{PORT}", "--node", name],
                                input=token, capture_output=True, text=True, check=False, timeout=60, env={**os.environ, "VVFS_DAEMON": VVFS})
        assert result.returncode == 0, result.stderr


def nodes(pool):
    code, out, _ = admin(pool.directory, "node", "list", "--json")
    return {node["name"]: node for node in json.loads(out)} if code == 0 else {}


def node(pool, *arguments):
    return admin(pool.directory, "node", *arguments)


def done_well(what, result):
    if not ok(result[0] == 0, what):
        print(f"# {result!r}")


def refused(pool, part, *arguments):
    before = {name: (n["id"], n["address"]) for name, n in nodes(pool).items()}
    code, out, err = node(pool, *arguments)
    if not ok(code in (1, 2, 3, 4) and part in err, f"node {' '.join(arguments)} is refused: {part}"):
        print(f"# {(code, out, err)!r}")
    same({name: (n["id"], n["address"]) for name, n in nodes(pool).items()}, before, "... and changes nothing")


def leads(pool, name):
    return nodes(pool).get(name, {}).get("role") == "coordinator"


def events(pool, code):
    return [event["message"] for event in pool.client().result("events.list")["items"] if event["code"] == code]


def makes_lun(pool, name):
    return admin(pool.directory, "lun", "create", name, "1M")[0] == 0


def ends(pool):
    """Its exit code, by itself."""
    try:
        code = pool.process.wait(DEADLINE)
    except subprocess.TimeoutExpired:
        return None
    pool.process = None
    return code


def refused_start(pool, why):
    result = subprocess.run([VVFS, "-f", pool.directory, pool.mountpoint], capture_output=True, text=True, check=False, timeout=60)
    ok(result.returncode == 1 and "is no node of pool tank any more" in result.stderr and not is_mounted(pool.mountpoint), why)
    if "is no node" not in result.stderr:
        print(f"# {result.returncode} {result.stderr!r}")


need_mount()
n1 = First().start()
refused(n1, "has one node", "lead", "n1")
refused(n1, "has the pool's disks", "leave")
n2 = Joined(n1, "n2", "127.0.0.2").start()
n3 = Joined(n1, "n3", "127.0.0.3").start()
ok(wait_for(lambda: all(n["state"] == "up" for n in nodes(n1).values()), "all nodes"), "three nodes are up")

# ---- who leads
ok(wait_for(lambda: node(n3, "lead", "n3")[0] == 0, "n3 to vote"), "a node is asked to lead, and does")
done_well("any node may be asked to let another lead", node(n1, "lead", "n2"))
same([leads(pool, "n2") for pool in (n2, n3)], [True, True], "... which all know")
refused(n1, "no node n9", "lead", "n9")

# ---- who votes, and where they are
for arguments, part in ((("n3", "role=witness"), "cannot become a witness"), (("n3", "role=guest"), "cannot become a guest"), (("n3", "role=king"), "cannot have the role"),
                        (("n3", "color=blue"), "no setting color"), (("n3", f"address=127.0.0.2:{PORT}"), "is the address of node n2"),
                        (("n3", "address=0.0.0.0"), "no address that others can use"), (("n1", "address=192.0.2.1"), "no address of this machine"),
                        (("n9", "role=voter"), "no node n9")):
    refused(n1, part, "set", *arguments)
done_well("a voter that leads becomes a standby", node(n3, "set", "n2", "role=standby"))
ok(nodes(n3)["n2"]["role"] == "standby", "... and another leads")
refused(n3, "is a standby", "lead", "n2")
done_well("... and votes again", node(n2, "set", "n2", "role=voter"))
done_well("a node gets another address", node(n2, "set", "n3", f"address=127.0.0.13:{PORT}"))
ok(wait_for(lambda: nodes(n1)["n3"]["address"] == f"127.0.0.13:{PORT}", "n1 to know"), "... which all know")
same(n3.stop(), 0, "it ends")
n3.start()
ok(wait_for(lambda: nodes(n1)["n3"]["state"] == "up", "n3"), "... and is there when it has started again")

# ---- who goes: one that is down
refused(n1, "nobody can vouch", "evict", "n3", "--fenced")
ok(wait_for(lambda: node(n1, "lead", "n2")[0] == 0, "n2 to vote"), "n2 votes and leads")
n3.kill()
ok(wait_for(lambda: nodes(n1)["n3"]["state"] == "down", "n3 to be missed"), "a node has died")
refused(n1, "is down", "lead", "n3")
refused(n1, "down: n3", "evict", "n2")
refused(n2, "down: n3", "leave")
refused(n2, "has the pool's disks", "evict", "n1")
refused(n2, "no node n9", "evict", "n9", "--fenced")
done_well("a node that is off is evicted by one that does not lead", node(n1, "evict", "n3", "--fenced"))
same([sorted(nodes(pool)) for pool in (n1, n2)], [["n1", "n2"]] * 2, "... and known to nobody any more")
done_well("... which may be vouched for again", node(n2, "evict", "n3", "--fenced"))
refused_start(n3, "a start in its directory is refused")
same(len(events(n1, "node-evicted")), 1, "the pool tells of it")

# ---- one that leads, of its own will
ok(leads(n1, "n2") and makes_lun(n2, "a"), "n2 leads")
done_well("it leaves", node(n2, "leave"))
same((ends(n2), is_mounted(n2.mountpoint)), (0, False), "its daemon ends in order, its mount is gone")
contains(n2.log_text(), "no node of the pool any more", "... and says why")
ok(leads(n1, "n1") and makes_lun(n1, "b"), "the other goes on")
refused_start(n2, "it cannot come back")

# ---- one that is up, by another
n4 = Joined(n1, "n2", "127.0.0.2").start()
same(nodes(n1)["n2"]["id"], 4, "a name is used again, a number never")
ok(wait_for(lambda: node(n1, "lead", "n2")[0] == 0, "it to vote"), "it leads")
done_well("it is evicted", node(n1, "evict", "n2"))
same(ends(n4), 0, "its daemon hears it and ends in order")
ok(wait_for(lambda: leads(n1, "n1"), "n1") and makes_lun(n1, "c"), "the other goes on")
refused_start(n4, "it cannot come back either")
same(n1.stop(), 0, "the pool ends")
same(offline("pool.check", {"dir": n1.directory})["result"]["ok"], True, "... and is in order")
done()
