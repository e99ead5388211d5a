# SPDX-License-Identifier: GPL-2.0-or-later
"""The door of a pool that listens: a real daemon on one address, machines that ask from others. What is promised is kept over
restarts and deaths, and whoever may not come in is told why and changes nothing."""

import json
import os
import signal
import socket
import ssl
import stat
import subprocess
import time

from daemon import (DEADLINE, VVFS, Pool, contains, done, need_mount, offline, ok, run, same, wait_for)

ADMIN = os.path.join(os.path.dirname(VVFS), "vvfs-admin")
HERE = "127.0.0.1"


def free_port():
    with socket.socket() as probe:
        probe.bind((HERE, 0))
        return probe.getsockname()[1]


PORT = free_port()


class Listening(Pool):
    """A pool that listens at HERE."""

    def __init__(self, name="tank", node="n1"):
        super().__init__(name=name)
        offline("pool.destroy", {"dir": self.directory, "yes": True})
        self.created = offline("pool.create", {"dir": self.directory, "name": name, "size": 64 << 20,
                                               "listen": f"{HERE}:{PORT}", "node": node})


def admin(*arguments, text=None):
    """vvfs-admin: (exit code, stdout, stderr)."""
    result = subprocess.run([ADMIN, *arguments], input=text, capture_output=True, text=True, check=False, timeout=60,
                            env={**os.environ, "VVFS_DAEMON": VVFS})
    return result.returncode, result.stdout, result.stderr


def invite(pool, *options):
    code, out, err = admin("-p", pool.directory, "node", "invite", *options)
    assert code == 0, err
    return out.strip()


def join(pool, token, name, address, *options, how="-"):
    """Asks from the directory NAME beside the pool."""
    directory = os.path.join(pool.base, name)
    return admin("node", "join", directory, "--token", how if how != "token" else token, "--listen", address, "--node", name, *options,
                 text=token if how == "-" else None)


def nodes(pool):
    code, out, err = admin("-p", pool.directory, "node", "list", "--json")
    assert code == 0, err
    return json.loads(out)


def names(pool):
    return [node["name"] for node in nodes(pool)]


def events(pool, code):
    with_code = [event for event in pool.client().result("events.list")["items"] if event["code"] == code]
    return [event["message"] for event in with_code]


def greets():
    """Is there a daemon that says so itself, and does not wait for others (desk.h)? A socket whose owner dies may take a connection that nobody serves."""
    try:
        return all(problem["code"] != "waiting" for problem in pool.client().result("pool.status")["problems"])
    except (OSError, AssertionError):
        return False


# ---- making one
need_mount()
pool = Listening()
tls = os.path.join(pool.directory, "tls")
same(sorted(os.listdir(tls)), ["authority.crt", "authority.key", "node.crt", "node.key"], "a pool that listens has credentials")
same([oct(stat.S_IMODE(os.stat(os.path.join(tls, name)).st_mode)) for name in sorted(os.listdir(tls))], ["0o600"] * 4,
     "... that only their owner reads")
same(oct(stat.S_IMODE(os.stat(tls).st_mode)), "0o700", "... in a folder that only he enters")
same([(node["name"], node["state"], node["address"]) for node in nodes(pool)], [("n1", "down", f"{HERE}:{PORT}")],
     "without a daemon the list tells what is stored")
for listen, node, part in (("192.0.2.1", "a", "no address of this machine"), ("0.0.0.0", "a", "no address that others can use"),
                           ("localhost", "a", "not numeric"), ("127.0.0.1:80", "a", "1024 or above"), ("127.0.0.1", "a b", "cannot name")):
    made = os.path.join(pool.base, "refused")
    code, out, err = admin("pool", "create", made, "--size", "64M", "--listen", listen, "--node", node)
    ok(code in (1, 2) and part in err and not os.path.exists(made), f"--listen {listen} --node {node!r} is refused and makes nothing")

plain = Pool(name="plain").start()
same([(n["name"] != "", n["id"], n["role"], n["state"]) for n in nodes(plain)], [(True, None, "coordinator", "up")],
     "a pool that does not listen has one node")
code, out, err = admin("-p", plain.directory, "node", "invite")
ok(code == 1 and out == "" and "--listen" in err, "... and invites nobody")
plain.stop()

# ---- the pool serves, and who comes to its door
pool.start()
same([(n["name"], n["id"], n["role"], n["state"], n["disks"], n["session"]) for n in nodes(pool)],
     [("n1", 1, "coordinator", "up", 1, None)], "served, it is up and decides")
code, out, err = admin("-p", pool.directory, "node", "show", "n1")
contains(out, f"{HERE}:{PORT}", "show tells its address")
same(admin("-p", pool.directory, "node", "show", "n9")[0], 1, "a node that is not there is not shown")


def shake():
    """A stranger's TLS: what he reads in the end, or the kind of failure."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with socket.create_connection((HERE, PORT), DEADLINE) as line, context.wrap_socket(line) as tls_line:
            tls_line.sendall(b"\x01" * 64)
            return tls_line.recv(100)
    except (ssl.SSLError, OSError) as failure:
        return type(failure).__name__


ok(shake() in (b"", "SSLError", "ConnectionResetError", "BrokenPipeError", "SSLEOFError"), "a stranger is shown out while nobody is invited")
with socket.create_connection((HERE, PORT), DEADLINE) as line:
    line.sendall(b"GET / HTTP/1.0\r\n\r\n")
    line.settimeout(DEADLINE)
    try:
        while line.recv(1000):
            pass
        ended = True
    except OSError as failure:
        ended = isinstance(failure, ConnectionResetError)
ok(ended, "who does not speak TLS is shown out")
ok(wait_for(lambda: events(pool, "stranger"), "an event"), "... and the pool tells of it")

# ---- keys that are spoiled while it serves: this pool runs on one node still


def serve_anew(meanwhile):
    """The process that serves dies, and another takes over."""
    server = pool.server()
    os.kill(server, signal.SIGKILL)
    meanwhile()
    wait_for(lambda: not os.path.exists(f"/proc/{server}") and greets(), "the next one")


key = os.path.join(tls, "node.key")
os.chmod(key, 0o644)
serve_anew(lambda: None)
ok(pool.answers() and any("may be read by others" in text for text in events(pool, "node-deaf")),
   "a key that others can read is not used; the mount goes on, and an event tells")
code, out, err = admin("-p", pool.directory, "node", "invite")
ok(code == 1 and "could not be used" in err, "... and nobody is invited")
os.chmod(key, 0o600)
serve_anew(lambda: None)
same(nodes(pool)[0]["state"], "up", "a key that is mended is used by the next")

# ---- inviting
code, out, err = admin("-p", pool.directory, "node", "invite", "--name", "n2")
ok(code == 0 and out.count("\n") == 1 and out.startswith("vvfs-") and err.startswith("note: good once"),
   "stdout is the token alone, the remark goes to stderr")
token = out.strip()
for options, part in ((("--role", "king"), "cannot have the role"),
                      (("--ttl", "soon"), "no time to live"), (("--ttl", "90d"), "good for"), (("--name", "n2"), "is open"),
                      (("--name", "n1"), "there is a node n1"), (("--list", "--name", "x"), "do not go together")):
    code, out, err = admin("-p", pool.directory, "node", "invite", *options)
    ok(code in (1, 2) and out == "" and part in err, f"invite {' '.join(options)} is refused")
again = [admin("-p", pool.directory, "--id", "once", "node", "invite", "--name", "n7")[1] for _ in range(2)]
ok(again[0].startswith("vvfs-") and again[0] == again[1], "the same --id gives the same token")
ok(token not in json.dumps(pool.client().result("node.invites")), "no list has a token in it")

# ---- what was promised outlives the daemon: ended, then killed
same(pool.stop(), 0, "the daemon ends")
pool.start()
pool.kill()
pool.start()
code, out, err = join(pool, token, "n2", f"127.0.0.2:{PORT}")
same((code, out.strip(), err), (0, os.path.join(pool.base, "n2"), ""), "the token is good after a restart and a death")
joined = os.path.join(pool.base, "n2")
same(sorted(os.listdir(os.path.join(joined, "tls"))), ["authority.crt", "authority.key", "node.crt", "node.key"], "it has credentials now")
same([(n["name"], n["id"], n["role"], n["address"]) for n in nodes(pool)],
     [("n1", 1, "coordinator", f"{HERE}:{PORT}"), ("n2", 2, "voter", f"127.0.0.2:{PORT}")], "the pool knows it")
same(len(events(pool, "node-joined")), 1, "... and tells of it")
pool.kill()
pool.start()
same(names(pool), ["n1", "n2"], "... also after its daemon has died")

# ---- asking again, and asking wrongly
code, out, err = join(pool, token, "n2", f"127.0.0.2:{PORT}")
ok(code == 0 and "joined already" in err, "asked again where it has joined it says so")
os.unlink(os.path.join(joined, "vvfs-pool"))
os.unlink(os.path.join(joined, "nodes"))
os.unlink(os.path.join(joined, "tls", "node.crt"))
code, out, err = join(pool, token, "n2", f"127.0.0.2:{PORT}", how="token")
same((code, len(nodes(pool))), (0, 2), "cut short after its answer it goes on, and is the same node")
contains(json.dumps(json.loads(admin("-p", joined, "node", "list", "--json")[1])), '"joining"', "it knows the nodes")


def refused(what, part, *call, **more):
    before = names(pool)
    code, out, err = join(pool, *call, **more)
    ok(code in (1, 2, 4) and out == "" and part in err and names(pool) == before, what)
    if part not in err:
        print(f"# {err!r}")
    ok(not os.path.exists(os.path.join(pool.base, call[1])), "... and leaves no directory")


other = invite(pool)
refused("a token is for the node that it names", "is for a node n2", token, "n3", f"127.0.0.3:{PORT}")
code, out, err = admin("node", "join", os.path.join(pool.base, "n2c"), "--token", other, "--listen", f"127.0.0.3:{PORT}", "--node", "n2")
ok(code == 1 and "there is a node n2" in err and len(nodes(pool)) == 2, "two nodes cannot have one name")
refused("two nodes cannot have one address", "is the address of node n2", other, "n4", f"127.0.0.2:{PORT}")
refused("garbage is no token", "token", "vvfs-garbage", "n4", f"127.0.0.3:{PORT}")
refused("a token that was altered", "token", other[:20] + ("A" if other[20] != "A" else "B") + other[21:], "n4", f"127.0.0.3:{PORT}")
refused("half a token", "token", other[:60], "n4", f"127.0.0.3:{PORT}")
refused("nothing is no token", "no token", "", "n4", f"127.0.0.3:{PORT}")
refused("an address of another machine", "no address of this machine", other, "n4", "192.0.2.9")
refused("what is no disk with it", "is a character device", other, "n4", f"127.0.0.3:{PORT}", "--disk", "/dev/null")
ok(any("n4 may not join: 127.0.0.2" in text for text in events(pool, "join-refused")), "who was refused is told as an event")
same(join(pool, other, "n3", f"127.0.0.3:{PORT}")[0], 0, "after all that the invitation is still good")
refused("the same token from another machine", "used already", other, "n4", f"127.0.0.4:{PORT}")
brief = invite(pool, "--ttl", "1")
time.sleep(2.1)  # what is tested is that time has passed: expiry is in whole seconds
refused("a token that has expired", "good until", brief, "n4", f"127.0.0.4:{PORT}")
gone = invite(pool, "--name", "n5")
number = [item["id"] for item in pool.client().result("node.invites")["items"] if item["name"] == "n5"][0]
same(admin("-p", pool.directory, "node", "invite", "--revoke", str(number))[0], 0, "an invitation is taken back")
refused("a token that was taken back", "not known", gone, "n5", f"127.0.0.4:{PORT}")
same(admin("-p", pool.directory, "node", "invite", "--revoke", str(number))[0], 1, "it cannot be taken back twice")
states = {item["name"]: item["state"] for item in json.loads(admin("-p", pool.directory, "node", "invite", "--list", "--json")[1])}
same((states["n2"], states["n7"]), ("used", "open"), "the list tells which were used")

# ---- another daemon of the machine has the address: refused in words; and a new binary under the mount listens again
twin = Pool(name="twin")
offline("pool.destroy", {"dir": twin.directory, "yes": True})
offline("pool.create", {"dir": twin.directory, "name": "twin", "size": 64 << 20, "listen": f"{HERE}:{PORT}", "node": "t1"})
code, out, err = run("-f", twin.directory, twin.mountpoint)
ok(code == 1 and f"{HERE}:{PORT}" in err, "an address that is taken is refused")
code, out, err = run("--upgrade", pool.mountpoint)
same(code, 0, "a new binary takes over")
late = wait_for(greets, "the successor") and invite(pool, "--name", "n6")
same(join(pool, late, "n6", f"127.0.0.6:{PORT}")[0], 0, "... and listens")

serve_anew(lambda: None)
later = invite(pool, "--name", "n8")
same(join(pool, later, "n8", f"127.0.0.8:{PORT}")[0], 0, "so does who follows one that died")
same(names(pool), ["n1", "n2", "n3", "n6", "n8"], "all are there")


def take_address():
    """Before the one that takes over has it. May be too late."""
    end = time.monotonic() + 1
    while time.monotonic() < end:
        try:
            thief.bind((HERE, PORT))
            thief.listen()
            return
        except OSError:
            pass


with socket.socket() as thief:
    thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    serve_anew(take_address)
    deaf = wait_for(lambda: events(pool, "node-deaf"), "an event", 2)
    if deaf:
        same([(n["name"], n["state"]) for n in nodes(pool)][0], ("n1", "down"), "an address that was taken meanwhile: the pool is served, and says so")
if deaf:
    ok(wait_for(lambda: events(pool, "node-listens"), "an event"), "... and the node listens again when it can")
    same(nodes(pool)[0]["state"], "up", "... and is up")
else:
    print("# the successor was faster than who wanted its address")
same(pool.stop(), 0, "the daemon ends")
os.chmod(key, 0o644)
code, out, err = run("-f", pool.directory, pool.mountpoint)
ok(code == 1 and "may be read by others" in err, "a start that takes over nothing is refused")
os.chmod(key, 0o600)
same(offline("pool.check", {"dir": pool.directory})["result"]["ok"], True, "the pool is in order")
same(offline("pool.destroy", {"dir": pool.directory, "yes": True})["result"]["removed"][0], pool.directory, "it is destroyed")
ok(not os.path.exists(pool.directory), "... with its keys")
done()
