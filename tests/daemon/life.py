# SPDX-License-Identifier: GPL-2.0-or-later
"""A daemon's life: who may serve a pool, how it ends, what a killed one leaves behind, and what it tells of itself."""

import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

from daemon import Client, Pool, contains, done, is_mounted, need_mount, ok, offline, run, same, wait_for

need_mount()
pool = Pool()
mnt, sock = pool.mountpoint, os.path.join(pool.directory, "admin.sock")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def close(file):
    """Of a file whose mount was cut off."""
    try:
        file.close()
    except OSError:
        pass


# ---- one daemon per pool
pool.start()
second = os.path.join(pool.base, "second")
os.mkdir(second)
begin = time.monotonic()
code, out, err = run(pool.directory, second)
same(code, 1, "a second daemon on the same pool is refused")
contains(err, f"pid {pool.process.pid}", "  and told which process serves it")
contains(err, mnt, "  and where")
ok(time.monotonic() - begin < 5, "  at once: the first one serves")
response = offline("pool.destroy", {"dir": pool.directory, "yes": True})
same(response["error"]["data"]["code"], "busy", "a mounted pool cannot be destroyed")
response = offline("pool.check", {"dir": pool.directory, "repair": True})
same(response["error"]["data"]["code"], "busy", "nor repaired")
same(pool.client().result("pool.check")["ok"], True, "but checked, by its daemon")
same(pool.client().error("pool.check", repair=True)[0], "busy", "which does not repair")

# ---- live texts
with open(mnt + "/.vvfs/status.json", encoding="utf-8") as text:
    status = json.load(text)
same((status["name"], status["state"], status["mountpoint"]), ("tank", "ok", mnt), ".vvfs/status.json is the status")
with open(mnt + "/.vvfs/metrics", encoding="utf-8") as text:
    metrics = text.read()
contains(metrics, 'vvfs_pool_state{pool="tank",state="ok"} 1\n', ".vvfs/metrics: the state")
contains(metrics, 'vvfs_snapshot_stall_seconds_bucket{pool="tank",le="0.01"} ', "  the stalls")
client = pool.client()
client.result("lun.create", name="db", size=64 << 20)
client.result("snapshot.create", objects=["db@one", "db@two"])
with open(mnt + "/.vvfs/metrics", encoding="utf-8") as text:
    metrics = text.read()
contains(metrics, 'vvfs_lun_size_bytes{pool="tank",lun="db"} 67108864\n', "  a LUN")
ok("one" not in metrics.replace("none", ""), "  no series per snapshot")
lines = [line for line in metrics.splitlines() if not line.startswith("#")]
same(len({line.rsplit(" ", 1)[0] for line in lines}), len(lines), "  no series twice")

# ---- umount ends it
with open(mnt + "/luns/db", "r+b") as lun:
    lun.write(b"written")
    lun.flush()
os.system(f"umount {mnt}")
same(pool.process.wait(30), 0, "umount ends the daemon with 0")
ok(not os.path.exists(sock), "  and takes its socket away")
pool.start()
with open(mnt + "/luns/db", "rb") as lun:
    same(lun.read(7), b"written", "what was written is there")

# ---- SIGTERM with an open LUN
lun = open(mnt + "/luns/db", "r+b", buffering=0)
pool.process.send_signal(signal.SIGTERM)
ok(wait_for(lambda: not is_mounted(mnt), "the mount to go"), "SIGTERM with an open LUN: the mount goes")
ok(f"signal 15 (Terminated) from process {os.getpid()} (" in pool.log_text(), "  and the log says who sent it")
ok(pool.process.poll() is None, "  the daemon stays")
lun.seek(4096)
lun.write(b"still")
os.fsync(lun.fileno())
lun.seek(4096)
same(lun.read(5), b"still", "  and serves what is open")
ok("result" in pool.client().call("pool.status"), "  and answers on its socket")
lun.close()
same(pool.process.wait(30), 0, "  to the last close")
pool.start()
lun = open(mnt + "/luns/db", "r+b", buffering=0)
pool.process.send_signal(signal.SIGTERM)
ok(wait_for(lambda: not is_mounted(mnt), "the mount to go"), "SIGTERM again")
pool.process.send_signal(signal.SIGTERM)
same(pool.process.wait(30), 0, "  a second one forces")
close(lun)
pool.start("-o", "stop-timeout=1")
lun = open(mnt + "/luns/db", "r+b", buffering=0)
pool.process.send_signal(signal.SIGINT)
same(pool.process.wait(30), 0, "  and so does stop-timeout")
close(lun)
pool.start()
pool.process.send_signal(signal.SIGHUP)
ok("result" in pool.client().call("pool.status"), "SIGHUP harms nothing")

# ---- kill -9
lun = open(mnt + "/luns/db", "r+b", buffering=0)
lun.write(b"durable")
os.fsync(lun.fileno())
pool.kill()
close(lun)
ok(os.path.exists(sock), "a killed daemon leaves its socket")
ok(is_mounted(mnt), "  and its mount")
pool.start()
ok(os.path.isdir(mnt + "/luns"), "starting it again is the whole recovery")
with open(mnt + "/luns/db", "rb") as lun:
    same(lun.read(7), b"durable", "  what was flushed is there")
same(pool.stop(), 0, "  and it ends")
same(offline("pool.check", {"dir": pool.directory})["result"]["ok"], True, "  the check finds nothing")

# ---- kill -9 of the process that holds the mount alone: who serves ends by itself
pool.start()
lun = open(mnt + "/luns/db", "r+b", buffering=0)
lun.write(b"acknowledged")
server = pool.server()
ok(server != pool.process.pid, "one process holds the mount, another serves it")
pool.process.kill()
pool.process.wait()
ok(wait_for(lambda: not os.path.exists(f"/proc/{server}"), "the one that serves to end"), "without the one, the other ends by itself")
close(lun)
ok(is_mounted(mnt), "  and leaves the mount, dead")
pool.start()
with open(mnt + "/luns/db", "rb") as lun:
    same(lun.read(12), b"acknowledged", "  and what it had acknowledged is there, flushed or not")
same(pool.stop(), 0, "  and it ends")

# ---- without a process that holds it
pool.start("-o", "norestart")
same(pool.server(), pool.process.pid, "-o norestart: one process does it all")
pool.kill()
ok(is_mounted(mnt), "  and killed, it leaves the mount, dead")
pool.start()
same(pool.stop(), 0, "  until it is started again")
# A socket that somebody left, a directory's worth of stale.
with socket.socket(socket.AF_UNIX) as stale:
    stale.bind(sock)
pool.start()
ok("vvfs" in Client(sock).greeting, "a stale socket is replaced")
pool.stop()

# ---- metrics over HTTP
port = free_port()
pool.start("-o", f"metrics=127.0.0.1:{port}")


def fetch(path, method="GET"):
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, None, ""


code, kind, text = fetch("/metrics")
same(code, 200, "GET /metrics")
ok(kind.startswith("text/plain; version=0.0.4"), "  is Prometheus text")
contains(text, "vvfs_pool_free_bytes{pool=\"tank\"} ", "  with the free bytes")
same(fetch("/")[0], 404, "nothing else is there")
same(fetch("/metrics", "POST")[0] >= 400, True, "POST is refused")
pool.stop()

# ---- memory
pool.start()
with open(f"/proc/{pool.server()}/status", encoding="utf-8") as text:
    values = {line.split(":")[0]: line.split()[1] for line in text if line.startswith(("RssAnon", "VmLck"))}
if not os.environ.get("VV_SANITIZERS"):
    total = int(values["RssAnon"]) + int(values["VmLck"])
    ok(total < 128 << 10, f"RssAnon and locked are under 128 MiB ({total} KiB)")
far, gone = os.path.join(pool.base, "far"), os.path.join(pool.base, "gone")
pool.client().result("lun.create", name="held", size=4 << 20)
with open(os.path.join(mnt, "luns", "held"), "r+b") as held:
    held.write(os.urandom(3 << 20))
    os.fsync(held.fileno())
for path in (far, gone):
    pool.client().result("disk.add", path=path, size=32 << 20)
status = pool.client().result("pool.status")
same(pool.stop(), 0, "the end")
os.unlink(gone)

# ---- offline: ending a pool
response = offline("pool.destroy", {"dir": pool.directory})
same(response["error"]["data"]["code"], "denied", "destroy needs yes")
meant = status["space"]["used"]
would = offline("pool.destroy", {"dir": pool.directory, "dry_run": True})["result"]
same((would["name"], would["dry_run"]), ("tank", True), "its dry run")
ok(os.path.exists(pool.directory + "/vvfs-pool"), "  changes nothing")
same(would["removed"], [pool.directory, pool.directory + "/disk0", far], "  and names the directory and the disks")
same(would["left"], [gone], "  and what it cannot let go")
same((would["freed"], would["freed"] >= 3 << 20), (meant, True), "  and what would be freed")
ended = offline("pool.destroy", {"dir": pool.directory, "yes": True})["result"]
same({key: ended[key] for key in ("name", "removed", "left", "freed")}, {key: would[key] for key in ("name", "removed", "left", "freed")}, "destroy does that")
ok(not os.path.exists(pool.directory), "  leaves nothing")
same(offline("pool.check", {"dir": pool.directory})["error"]["data"]["code"], "not-found", "then there is no pool")
same(offline("pool.create", {"dir": pool.directory, "name": "a b"})["error"]["data"]["code"], "invalid-name", "create: a bad name")
same(offline("pool.create", {"dir": "tank", "name": "t"})["error"]["data"]["code"], "usage", "create: a relative directory")
same(offline("pool.create", {"dir": pool.directory, "name": "t", "size": 1})["error"]["data"]["code"], "usage", "create: too small")
same(offline("pool.create", {"dir": pool.base, "name": "t"})["error"]["data"]["code"], "not-empty", "create: not empty")
same(offline("pool.create", {"dir": pool.directory, "nmae": "t"})["error"]["data"]["code"], "usage", "create: unknown params")
same(offline("nonsense", {})["error"]["data"]["code"], "unsupported", "an unknown method")
code, out, err = run("--offline", "pool.check", text="nonsense")
same((code, json.loads(out)["error"]["data"]["code"]), (0, "usage"), "params that are not JSON")
done()
