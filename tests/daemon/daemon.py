# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tests of the daemon share: TAP, pools that clean up after themselves, and a client of the admin socket."""

import atexit
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

VVFS = os.environ.get("VV_VVFS") or os.path.join(os.environ.get("VV_BUILDDIR", "."), "vvfs")
DEADLINE = 30.0  # for anything that must happen

_count = 0
_failed = 0
_pools = []


def ok(good, what):
    """One line of TAP."""
    global _count, _failed
    _count += 1
    _failed += not good
    print(f"{'ok' if good else 'not ok'} {_count} - {what}", flush=True)
    return good


def same(got, wanted, what):
    if not ok(got == wanted, what):
        print(f"# got    {got!r}\n# wanted {wanted!r}", flush=True)


def contains(text, part, what):
    if not ok(part in text, what):
        print(f"# {part!r} is not in {text!r}", flush=True)


def done():
    print(f"1..{_count}", flush=True)
    sys.exit(1 if _failed else 0)


def skip_all(why):
    print(f"1..0 # SKIP {why}", flush=True)
    sys.exit(0)


def need_mount():
    """These tests mount: root, /dev/fuse and the program."""
    if os.environ.get("VV_SKIP_MOUNT") == "1":
        skip_all("mounts are not wanted here")
    if os.geteuid() != 0 or not os.path.exists("/dev/fuse"):
        skip_all("needs root and /dev/fuse")
    if not os.path.exists(VVFS):
        skip_all(f"{VVFS} is not built")


def wait_for(condition, what, seconds=DEADLINE):
    """Until @condition() is true; returns what it gave, or None after the deadline (and says so)."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    print(f"# waited {seconds} s in vain for: {what}", flush=True)
    return None


def run(*arguments, text=None, cwd=None, timeout=60):
    """vvfs with @arguments: (exit code, stdout, stderr)."""
    result = subprocess.run([VVFS, *arguments], input=text, capture_output=True, text=True, cwd=cwd, timeout=timeout,
                            check=False)
    return result.returncode, result.stdout, result.stderr


def offline(method, params):
    """The response of an offline method."""
    code, out, err = run("--offline", method, text=json.dumps(params))
    assert code == 0, err
    return json.loads(out.splitlines()[-1])


def is_mounted(path):
    with open("/proc/self/mountinfo", encoding="utf-8") as lines:
        return any(line.split()[4] == path for line in lines)


class Pool:
    """A pool in a temporary directory, with a daemon in the foreground while it is started."""

    def __init__(self, name="tank", size=1 << 30, directory=None):
        self.base = os.path.realpath(tempfile.mkdtemp(prefix="vvfs-daemon-"))
        self.name = name
        self.directory = directory or os.path.join(self.base, name)
        self.mountpoint = os.path.join(self.base, "mnt")
        self.process = None
        self.log = os.path.join(self.base, "log")
        os.mkdir(self.mountpoint)
        os.chmod(self.base, 0o755)
        _pools.append(self)
        self.created = offline("pool.create", {"dir": self.directory, "name": name, "size": size})

    def start(self, *options):
        log = open(self.log, "ab")
        self.process = subprocess.Popen([VVFS, "-f", *options, self.directory, self.mountpoint], stderr=log)
        log.close()
        started = wait_for(lambda: self.process.poll() is not None or self.answers(), "the daemon to serve")
        assert started and self.process.poll() is None, self.log_text()
        return self

    def answers(self):
        try:
            self.client().close()
            return True
        except OSError:
            return False

    def log_text(self):
        with open(self.log, encoding="utf-8", errors="replace") as log:
            return log.read()

    def client(self):
        return Client(os.path.join(self.directory, "admin.sock"))

    def stop(self, how=signal.SIGTERM):
        """Returns the exit code, None if it does not end."""
        if self.process is None:
            return None
        self.process.send_signal(how)
        try:
            code = self.process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            return None
        self.process = None
        return code

    def server(self):
        """The process that serves: the child of the one that holds the mount, or that itself if there is none."""
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children", encoding="ascii") as text:
            children = text.read().split()
        for child in children:
            with open(f"/proc/{child}/comm", encoding="ascii") as comm:
                if comm.read().strip() != "vvfs-looker":
                    return int(child)
        return self.process.pid

    def kill(self):
        """As if power had gone: who holds the mount and who serves it."""
        server = self.server()
        self.process.send_signal(signal.SIGSTOP)
        os.kill(server, signal.SIGKILL)
        self.process.kill()
        self.process.wait()
        wait_for(lambda: not os.path.exists(f"/proc/{server}"), "the one that serves to end")

    def clean(self):
        if self.process is not None and self.process.poll() is None:
            self.kill()
        while is_mounted(self.mountpoint):
            if subprocess.run(["umount", "-l", self.mountpoint], stderr=subprocess.DEVNULL, check=False).returncode:
                break
        shutil.rmtree(self.base, ignore_errors=True)


@atexit.register
def _clean():
    for pool in _pools:
        pool.clean()


class Client:
    """A connection to the admin socket."""

    def __init__(self, path, greet=True):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(DEADLINE)
        self.socket.connect(path)
        self.buffer = b""
        self.last = 0
        self.notifications = []
        self.greeting = self.read() if greet else None

    def close(self):
        self.socket.close()

    def write(self, text):
        self.socket.sendall(text if isinstance(text, bytes) else text.encode())

    def read(self):
        """The next document, None at the end."""
        while b"\n" not in self.buffer:
            try:
                piece = self.socket.recv(1 << 16)
            except ConnectionResetError:
                piece = b""
            if not piece:
                return None
            self.buffer += piece
        line, _, self.buffer = self.buffer.partition(b"\n")
        return json.loads(line)

    def send(self, method, **params):
        """Returns the id."""
        self.last += 1
        self.write(json.dumps({"jsonrpc": "2.0", "id": self.last, "method": method, "params": params}) + "\n")
        return self.last

    def answer(self, number):
        """The response to @number; notifications before it are kept."""
        while True:
            document = self.read()
            if document is None or document.get("id") == number:
                return document
            if "method" in document:
                self.notifications.append(document)

    def notification(self):
        if self.notifications:
            return self.notifications.pop(0)
        return self.read()

    def call(self, method, **params):
        return self.answer(self.send(method, **params))

    def result(self, method, **params):
        response = self.call(method, **params)
        assert response is not None and "result" in response, response
        return response["result"]

    def error(self, method, **params):
        """(word, message), None if it did not fail."""
        response = self.call(method, **params)
        error = response.get("error") if response else None
        return (error["data"]["code"], error["message"]) if error else None
