# SPDX-License-Identifier: GPL-2.0-or-later
"""What a run makes on one medium (directories, files, processes, mounts, loop devices), and how all of it is taken down.

Every thing made has its end pushed on an ExitStack at once, so it is taken down in the opposite order whatever happens. Nothing
here touches a path below a mount that may hang without a limit of time: what is mounted is read from /proc/self/mountinfo."""
import contextlib, os, re, shutil, signal, subprocess, sys, tempfile, time

READY_SECONDS = 60   # for a peer to answer
END_SECONDS = 60     # for its process to end after the unmount: vvfs writes a checkpoint then
REMOVE_SECONDS = 1800
POLL_SECONDS = 0.02


class Skip(Exception):
    """Why something cannot run on this machine."""


class Failed(Exception):
    """What went wrong with something that should run."""


def wait_for(what, seconds, condition):
    limit = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > limit:
            raise Failed(f"{what}: not within {seconds} s")
        time.sleep(POLL_SECONDS)


def needs(*programs):
    for program in programs:
        if not shutil.which(program):
            raise Skip(f"{program} is not installed (scripts/install-deps --bench)")


def mounts():
    """{mount point: minor number of its device}, of this mount namespace."""
    found = {}
    with open("/proc/self/mountinfo") as lines:
        for line in lines:
            words = line.split()
            found[words[4].replace("\\040", " ")] = int(words[2].split(":")[1])
    return found


def let_go(needed):
    """Unmount the copies that this mount namespace got of others' file systems on loop devices and of others' pools: they would keep
    them busy until the run ends. Those that a path of @needed lies in stay."""
    needed = [os.path.realpath(path) for path in needed]
    with open("/proc/self/mountinfo") as lines:
        found = [(line.split()[4], *line.split(" - ")[1].split()[:2]) for line in lines]
    for where, kind, source in reversed(found):
        where = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), where)
        if (source.startswith("/dev/loop") or kind == "fuse.vvfs") and not any(
                os.path.commonpath([where, path]) == where for path in needed):
            subprocess.run(["umount", "-l", where], capture_output=True)


def tail(path):
    with contextlib.suppress(OSError):
        with open(path, errors="replace") as text:
            return " / ".join(text.read().strip().splitlines()[-3:])
    return ""


class Bed:
    """The ground of all peers on one medium: `base`, a directory of its own, and what stands on it."""

    def __init__(self, medium, directory, bin_directory):
        self.medium, self.bin = medium, bin_directory
        self.stack = contextlib.ExitStack()
        self.connections = set()  # minors of FUSE mounts made here: what must be aborted if one hangs
        self.commands = {}        # {peer: how it was started}
        self.remarks = {}         # {peer: what a reader of its figures must know}
        self.troubles = []        # what did not end as it should
        self.peak_kib = 0         # the most memory of a vvfs daemon since this was last set to 0
        self.base = tempfile.mkdtemp(prefix="vvb.", dir=directory)
        self.stack.callback(self.remove_base)
        self.direct = self.knows_direct()

    def close(self):
        self.stack.close()

    def remove_base(self):
        """Last of all; takes down what an interruption at a bad moment left, too."""
        for name in os.listdir("/sys/block"):
            with contextlib.suppress(OSError):
                with open(f"/sys/block/{name}/loop/backing_file") as file:
                    if file.read().startswith(self.base + "/"):
                        self.detach(f"/dev/{name}")
        for path in [path for path in mounts() if path.startswith(self.base + "/")]:
            self.unmount(path)
        shutil.rmtree(self.base, ignore_errors=True)

    def knows_direct(self):
        path = os.path.join(self.base, "direct")
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_DIRECT, 0o600))
            return True
        except OSError:
            return False
        finally:
            with contextlib.suppress(OSError):
                os.unlink(path)

    def directory(self, name):
        path = os.path.join(self.base, name)
        os.makedirs(path, exist_ok=True)
        return path

    def free_bytes(self):
        stat = os.statvfs(self.base)
        return stat.f_bavail * stat.f_frsize

    # ---- processes
    def abort(self):
        """End every FUSE connection made here: whoever waits in one gets an error."""
        for minor in self.connections:
            with contextlib.suppress(OSError):
                with open(f"/sys/fs/fuse/connections/{minor}/abort", "w") as file:
                    file.write("1")

    def end(self, process, name, seconds=END_SECONDS):
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.troubles.append(f"{name} (pid {process.pid}) did not end within {seconds} s and was killed")
            process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)

    def spawn(self, argv, **popen):
        """In a session of its own: Ctrl-C is for this program, which then ends the others in order. If this program is killed,
        they are too."""
        return subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *argv], stdin=subprocess.DEVNULL, start_new_session=True,
                                cwd=self.base, **popen)

    def run(self, *argv, seconds=120):
        """Run to the end; its stdout. A process that hangs in a mount is freed by ending the mount."""
        process = self.spawn(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        return self.finish(process, argv[0], seconds)

    def finish(self, process, name, seconds):
        try:
            out, err = process.communicate(timeout=seconds)
        except BaseException as reason:
            process.kill()
            try:
                process.communicate(timeout=5)
            except subprocess.TimeoutExpired:
                self.abort()
                process.communicate(timeout=30)
            if isinstance(reason, subprocess.TimeoutExpired):
                raise Failed(f"{name}: still running after {seconds} s") from None
            raise
        if process.returncode != 0:
            text = (err.strip() or out.strip()).splitlines()[-2:]
            raise Failed(f"{os.path.basename(name)}: exit {process.returncode}: {' / '.join(text)}")
        return out

    def remove(self, directory):
        """A file of 256 GiB in many pieces takes its file system minutes."""
        self.run("rm", "-rf", "--one-file-system", directory, seconds=REMOVE_SECONDS)

    # ---- mounts and devices
    def serve(self, stack, name, argv, mountpoint, stays=False):
        """Start a process that mounts something at @mountpoint; back when it is there. @return the process
        @stays  it does not end with its mount, so it is told to"""
        log = os.path.join(self.base, f"{name}.log")
        self.commands[name] = " ".join(argv)
        with open(log, "w") as file:
            process = self.spawn(argv, stdout=file, stderr=file)
        stack.callback(self.end, process, name)
        if stays:
            stack.callback(process.terminate)
        stack.callback(self.unmount, mountpoint, process)

        def ready():
            if process.poll() is not None:
                raise Failed(f"{name}: exit {process.returncode}: {tail(log)}")
            return mountpoint in mounts()
        wait_for(f"{name} mounts", READY_SECONDS, ready)
        self.connections.add(mounts()[mountpoint])
        return process

    def unmount(self, mountpoint, process=None):
        """Patiently, because files close behind close(2); in the end by force. Its server ends by itself then, and one that has
        not mounted yet is told to."""
        was_mounted = mountpoint in mounts()
        limit = time.monotonic() + 10
        while mountpoint in mounts():
            with contextlib.suppress(subprocess.TimeoutExpired):
                subprocess.run(["umount", mountpoint], timeout=20, start_new_session=True, capture_output=True)
            if mountpoint in mounts() and time.monotonic() > limit:
                self.troubles.append(f"{mountpoint} was busy and was unmounted by force")
                self.abort()
                subprocess.run(["umount", "-l", mountpoint], start_new_session=True, capture_output=True)
                break
            time.sleep(POLL_SECONDS)
        if process and not was_mounted and process.poll() is None:
            process.terminate()

    def mount(self, stack, device, mountpoint, *options):
        os.makedirs(mountpoint, exist_ok=True)
        self.run("mount", *options, device, mountpoint)
        stack.callback(self.unmount, mountpoint)

    def loop(self, stack, path):
        """A loop device with direct I/O over @path."""
        device = self.run("losetup", "-f", "--show", "--direct-io=on", path).strip()
        stack.callback(self.detach, device)
        with open(f"/sys/block/{os.path.basename(device)}/loop/dio") as file:
            if file.read().strip() != "1":
                raise Skip(f"no loop device with direct I/O over a file on {self.medium}")
        return device

    def detach(self, device):
        backing = f"/sys/block/{os.path.basename(device)}/loop/backing_file"
        limit = time.monotonic() + 10
        while os.path.exists(backing):
            subprocess.run(["losetup", "-d", device], start_new_session=True, capture_output=True)
            if time.monotonic() > limit:
                self.troubles.append(f"{device} is still attached")
                break
            time.sleep(POLL_SECONDS)


def end_on_signals():
    """SIGINT, SIGTERM, SIGHUP: once, as KeyboardInterrupt; while things are taken down no more."""
    def handler(number, _frame):
        for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(each, signal.SIG_IGN)
        print(f"bench: {signal.Signals(number).name}: taking everything down", file=sys.stderr)
        raise KeyboardInterrupt
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, handler)
