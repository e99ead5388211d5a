# SPDX-License-Identifier: GPL-2.0-or-later
"""Nodes of one pool in a rig, each with a real daemon: what nodes.py and its like share."""

import json
import os
import signal
import subprocess
import sys
import time

from daemon import DEADLINE, same, ok, wait_for

RIG = os.environ["RIG"]
LOOK_SECONDS = 2.0  # CLI.md: looking never takes longer
SLACK = 3.0  # for this machine, which has other things to do


def rig(*words, check=True, timeout=120, **more):
    result = subprocess.run([RIG, *words], capture_output=True, text=True, check=False, timeout=timeout, stdin=subprocess.DEVNULL, **more)
    assert not check or result.returncode == 0, (words, result.stderr)
    return result


def send(pid, what):
    """To a process, if it is still there."""
    try:
        if pid is not None:
            os.kill(pid, what)
    except ProcessLookupError:
        pass


HOLDER = """
import errno, mmap, os, sys
kept = {}
%s
for line in sys.stdin:
    try: answer = str(eval(line))
    except OSError as error: answer = errno.errorcode[error.errno]
    print(answer, flush=True)
"""


class Holder:
    """A process on NODE that keeps files of its mount open in `kept`, and does what it is told with FUNCTIONS."""

    def __init__(self, node, functions):
        self.process = subprocess.Popen([RIG, "run", node.name, "python3", "-c", HOLDER % functions], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def does(self, text):
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def end(self):
        self.process.stdin.close()
        self.process.wait()


class Node:
    """One node: its directory `pool`, its mount `mnt`, its daemon."""

    def __init__(self, name):
        self.name = name
        self.home = rig("path", name).stdout.strip()
        self.address = rig("address", name).stdout.strip()
        self.process = None
        self.log = os.path.join(self.home, "log")
        os.makedirs(os.path.join(self.home, "mnt"), exist_ok=True)

    # ---- the tool
    def call(self, *words, seconds=60):
        """vvfs-admin without the pool: (exit code, stdout, stderr)."""
        result = rig("run", self.name, "vvfs-admin", *words, check=False, timeout=seconds)
        return result.returncode, result.stdout, result.stderr

    def admin(self, *words, seconds=60):
        return self.call("-p", "./pool", *words, seconds=seconds)

    def must(self, *words):
        code, out, err = self.admin(*words)
        assert code == 0, (self.name, words, code, err)
        return out

    def look(self, *words):
        """What the command answers as JSON, or None."""
        code, out, _ = self.admin("--json", *words)
        return json.loads(out) if code == 0 else None

    def names(self):
        return sorted(item["name"] for item in self.look("lun", "list") or [])

    def nodes(self):
        return {item["name"]: item for item in self.look("node", "list") or []}

    def coordinator(self):
        return next((name for name, item in self.nodes().items() if item["role"] == "coordinator"), None)

    # ---- the daemon
    def launch(self, *options):
        """Begins; who waits for others does not answer yet."""
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([RIG, "run", self.name, "vvfs", "-f", *options, "./pool", "mnt"], stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log)
        return self

    def answers(self):
        """It serves: who waits for others says so."""
        code, out, _ = self.admin("--json", "pool", "status", seconds=30)
        return code in (0, 5) and not any(problem["code"] == "waiting" for problem in json.loads(out)["problems"]) and self.is_mounted()

    def is_mounted(self):
        return rig("run", self.name, "mountpoint", "-q", "mnt", check=False).returncode == 0

    def wait(self):
        served = wait_for(lambda: self.process.poll() is not None or self.answers(), f"{self.name} to serve")
        assert served and self.process.poll() is None, (self.process.poll(), self.tail())
        return self

    def start(self, *options):
        return self.launch(*options).wait()

    def tail(self):
        with open(self.log, encoding="utf-8", errors="replace") as log:
            return log.read()[-1500:]

    def says(self, text):
        """Since the last `forget`."""
        with open(self.log, encoding="utf-8", errors="replace") as log:
            return text in log.read()

    def forget(self):
        with open(self.log, "w", encoding="utf-8"):
            pass

    def holder(self):
        """As the machine numbers it; None: there is none."""
        pids = rig("pids", self.name, "^vvfs -f").stdout.split()
        return int(pids[0]) if pids else None

    def server(self):
        pids = [int(pid) for pid in rig("pids", self.name, "^vvfs --serve").stdout.split()]
        for pid in pids:
            try:
                with open(f"/proc/{pid}/comm", encoding="ascii") as comm:
                    if comm.read().strip() != "vvfs-looker":
                        return pid
            except OSError:  # it died just now
                pass
        return None

    def stop(self, seconds=DEADLINE):
        """The exit code; None: it does not end."""
        os.kill(self.holder(), signal.SIGTERM)
        return self.ended(seconds)

    def ended(self, seconds=DEADLINE):
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            print("# it does not end:\n# " + self.tail().replace("\n", "\n# "), flush=True)
            return None
        self.process = None
        return code

    def cont(self):
        """After `rig stop`. nsenter(1), which is no process of the node, stops with its child."""
        rig("cont", self.name)
        self.process.send_signal(signal.SIGCONT)

    def kill(self):
        """Everything there, and its mount with it."""
        rig("kill", self.name)
        self.ended()

    def kill_server(self):
        """Only who serves: another takes over, which is waited for."""
        before = self.server()
        os.kill(before, signal.SIGKILL)
        return wait_for(lambda: self.server() not in (None, before) and self.answers(), f"{self.name}: a successor")

    def listing(self):
        return sorted(rig("run", self.name, "ls", "mnt/luns").stdout.split())

    def events(self, code):
        return [item["message"] for item in self.look("events") or [] if item["code"] == code]


class FaultyNode(Node):
    """A node whose daemon is vvfs-faults: its processes die, stop or are late at the points that it is armed with (faults.c)."""

    def __init__(self, name, *of_rig):
        super().__init__(name)
        self.of_rig = of_rig
        self.rules, self.came = (os.path.join(self.home, file) for file in ("fault.rules", "fault.log"))

    def launch(self, *options):
        words = ["env", f"VVFS_FAULT_FILE={self.rules}", f"VVFS_FAULT_LOG={self.came}", "bash", "-c", 'exec -a vvfs vvfs-faults "$@"', "vvfs", "-f", *options, "./pool", "mnt"]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([RIG, "run", *self.of_rig, self.name, *words], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        return self

    def arm(self, rules):
        """Whoever serves, and whoever follows, has these fault points (faults.c)."""
        with open(self.rules + ".new", "w", encoding="ascii") as file:
            file.write(rules)
        os.rename(self.rules + ".new", self.rules)
        send(self.server(), signal.SIGUSR2)

    def faults(self):
        """(point, action, pid) that came."""
        try:
            with open(self.came, encoding="ascii") as file:
                return [tuple(line.split()[1:]) for line in file]
        except FileNotFoundError:
            return []


def everywhere(nodes, value, wanted, what):
    """VALUE(node) becomes WANTED on all."""
    def agree():
        return all(value(node) == wanted for node in nodes)
    if not wait_for(agree, what):
        for node in nodes:
            same((node.name, value(node)), (node.name, wanted), what)
        return False
    return ok(True, what)


def timed(function, *words):
    begin = time.monotonic()
    result = function(*words)
    return result, time.monotonic() - begin


# ---- parts of a script
def part(function, asked_for=()):
    """All run, or those that the script's arguments name; those of ASKED_FOR only then."""
    names, name = set(sys.argv[1:]), function.__name__
    if name in names or "all" in names or not names and name not in asked_for:
        begin = time.monotonic()
        function()
        print(f"# {name}: {time.monotonic() - begin:.1f} s", flush=True)


def sh(node, script, seconds=180):
    """(exit code, stdout and stderr) of a script in NODE's directory."""
    result = rig("run", node.name, "sh", "-c", script, check=False, timeout=seconds)
    return result.returncode, (result.stdout + result.stderr).strip()


def good(node, script, what):
    code, text = sh(node, script)
    return ok(code == 0, f"{what} ({node.name}: {code} {text[-300:]})" if code else what)


def begin_pool(first):
    """A pool that listens, on FIRST's disk d1, and is served."""
    code, _, err = first.call("pool", "create", "./pool", "--name", "prod", "--disk", "dev/d1", "--listen", first.address, "--node", first.name)
    same(code, 0, f"a pool that listens {err}")
    first.start()


def join_pool(first, *others, name=None):
    for node in others:
        called = name or node.name
        token = first.must("node", "invite", "--name", called).strip()
        code, _, err = node.call("node", "join", "./pool", "--token", token, "--listen", node.address, "--node", called)
        same((code, err), (0, ""), f"{called} joins")
        node.start()
