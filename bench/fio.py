# SPDX-License-Identifier: GPL-2.0-or-later
"""One run of fio and what is read of it."""
import contextlib, json, signal, subprocess, time

BASE = ("--name=bench", "--thread", "--randrepeat=0", "--group_reporting", "--output-format=json")
SLACK_SECONDS = 120  # over its time until it counts as hung


class Figure(dict):
    """iops, mib_s, p99_us and what a workload adds; `command` repeats it while the peer is up. The longest of all requests is no
    column of every table: it is an attribute."""
    longest_ms = 0.0


def arguments(bed, path, rw, bs, depth, size, seconds=None, engine="io_uring", more=()):
    """fio's arguments. @seconds None: once over all of @size, every block once; else over and over for that long."""
    timed = () if seconds is None else ("--time_based", f"--runtime={int(seconds * 1000)}ms", "--norandommap")
    return ["fio", *BASE, f"--filename={path}", f"--rw={rw}", f"--bs={bs}", f"--iodepth={depth}", f"--ioengine={engine}", f"--size={size}",
            f"--direct={int(bed.direct)}", *timed, *more]


def read(text, argv):
    job = json.loads(text[text.index("{"):])["jobs"][0]
    sides = [job[side] for side in ("read", "write") if job[side]["total_ios"]]
    if job["error"] or not sides:
        raise ValueError(f"fio reports error {job['error']}" if job["error"] else "fio did no I/O")
    worst = max(sides, key=lambda side: side["clat_ns"]["mean"])
    figure = Figure(iops=sum(side["iops"] for side in sides), mib_s=sum(side["bw_bytes"] for side in sides) / 2**20,
                    ios=sum(side["total_ios"] for side in sides), p99_us=worst["clat_ns"]["percentile"]["99.000000"] / 1000,
                    command=" ".join(argv))
    figure.longest_ms = max(side["clat_ns"]["max"] for side in sides) / 1e6
    if job.get("sync", {}).get("lat_ns", {}).get("percentile"):
        figure["sync_p99_us"] = job["sync"]["lat_ns"]["percentile"]["99.000000"] / 1000
    return figure


def run(bed, path, rw, bs, depth, size, seconds=None, engine="io_uring", more=()):
    argv = arguments(bed, path, rw, bs, depth, size, seconds, engine, more)
    return read(bed.run(*argv, seconds=(seconds or 600) + SLACK_SECONDS), argv)


def run_each(bed, paths, rw, bs, size, seconds, engine="psync", more=()):
    """One job for each of @paths, side by side; the figure is of them together. Depth 1."""
    timed = ("--time_based", f"--runtime={int(seconds * 1000)}ms", "--norandommap") if seconds else ()
    argv = ["fio", "--name=global", *BASE[1:], f"--rw={rw}", f"--bs={bs}", f"--ioengine={engine}", f"--size={size}",
            f"--direct={int(bed.direct)}", *timed, *more]
    for i, path in enumerate(paths):
        argv += [f"--name=job{i}", f"--filename={path}"]
    return read(bed.run(*argv, seconds=(seconds or 600) + SLACK_SECONDS), argv)


def fill(bed, path, size, bs="1m", rw="write"):
    return run(bed, path, rw, bs, 32 if bs == "4k" else 4, size, more=("--end_fsync=1",))


def verify(bed, path, size, depth=16):
    """Write the first MiBs in random order, with checksums, then read and compare: it really is stored."""
    bed.run(*arguments(bed, path, "randwrite", "4k", depth, min(size, 16 << 20)), "--verify=crc32c", "--do_verify=1", "--verify_fatal=1",
            "--verify_state_save=0", "--end_fsync=1", seconds=SLACK_SECONDS)


class Background:
    """fio while something else happens: stop() ends it and reads what it measured."""

    def __init__(self, bed, path, rw, bs, depth, size, more=()):
        self.bed = bed
        self.argv = arguments(bed, path, rw, bs, depth, size, seconds=3600, more=more)
        self.process = bed.spawn(self.argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def signal(self):
        """fio and its jobs end after the I/O that is under way."""
        self.process.send_signal(signal.SIGINT)

    def stop(self, seconds=SLACK_SECONDS):
        self.signal()
        try:
            out, err = self.process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        if "{" not in out:
            raise ValueError(f"fio: {err.strip()[-200:]}")
        return read(out, self.argv)

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            limit = time.monotonic() + 5
            while self.process.poll() is None and time.monotonic() < limit:
                time.sleep(0.02)
            if self.process.poll() is None:
                self.bed.abort()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.communicate(timeout=30)

    def __enter__(self):
        return self

    def __exit__(self, *_exception):
        self.kill()
