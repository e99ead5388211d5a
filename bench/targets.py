# SPDX-License-Identifier: GPL-2.0-or-later
"""What vvfs is to reach, row by row, and the section of a report that says of each row whether it does."""

# (work, at least, rows of targets: a workload's name, or a target's own `row`; the workloads that measure them, if others)
ROWS = (
    ("4 KiB random read, depth 16 / depth 1", "1.0 / 0.95 x floor", ("r16", "r1"), None),
    ("4 KiB random write to own blocks, depth 16 / depth 1", "0.95 / 0.90 x floor", ("w16", "w1"), None),
    ("depth 16: with `-o ring` on tmpfs; default loop on the disk, read / write", "1.3 x floor; 1.5 / 3 x floor", ("ring",),
     ("r16", "w16")),
    ("4 KiB random write, first touch after a snapshot, 1 GiB, depth 16 (tmpfs)",
     "0.80 x floor; 5 x XFS after reflink; 3 x qcow2 over FUSE", ("touch-snapshot",), None),
    ("4 KiB random write, first touch of a thin LUN, 1 GiB / 256 GiB steady over 10 minutes", "0.80 / 0.40 x floor",
     ("touch-thin", "steady-256g"), None),
    ("1 MiB sequential read and write, depth 4", "0.90 x floor", ("seqread", "seqwrite"), None),
    ("these, and 4 KiB random at depth 16, through a loop device with direct I/O", "1.0 x loop over floor",
     ("loop-r16", "loop-w16", "loop-seqread", "loop-seqwrite"), None),
    ("4 KiB random write + fdatasync each, depth 1, own / new blocks (disk)", "0.80 / 0.42 x raw file, at most 1 / 2 disk syncs each",
     ("sync-own", "sync-new"), None),
    ("8 writers, each write + fdatasync (disk)", "3 x one writer", ("group", "group-new"), None),
    ("one LUN's flush while another LUN's disk is slow", "not slowed by it", ("slow-disk",), None),
    ("4 threads of synchronous direct writes to one LUN (disk)", "2 x one thread", ("threads",), None),
    ("snapshot, clone, restore: median latency",
     "disk: 3 x one fdatasync + 1 ms; tmpfs: 2 ms; random 1 GiB and empty 1 TiB within 1.5 x", ("instant",), None),
    ("reads and writes with 1,000 snapshots / through 64 clones of clones", "0.95 / 0.90 x with one", ("snapshots", "clones"), None),
    ("removing a snapshot with 1 GiB of its own blocks", "returns in 10 ms; foreground p99 during reclaim within 2 x", ("remove",), None),
    ("sequential read after 1 GiB of random overwrites across 10 snapshots",
     "tmpfs 0.5 x fresh, disk 0.8 x the same extents raw; repacked 0.85 x fresh", ("overwritten",), None),
    ("LUN a held (full pool, on-full=wait) at depth 256: LUN b", "p99 within 1.2 x", ("held",), None),
    ("metadata", "128 MiB per TiB sequential, 4 GiB per TiB in 4 KiB random order", ("metadata",), None),
    ("daemon memory (RssAnon plus locked) under all of these", "128 MiB", ("memory",), ()),
    ("recovery after kill -9 amid 1 GiB of random first writes, flushed and not", "2 s", ("recovery",), None),
    ("the process that serves is killed, or exchanged, under load: the longest request", "1 s", ("takeover",), None),
    ("start with 10,000 LUNs and 100,000 snapshots", "3 s", ("start",), None),
)


def number(value):
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def measured(target):
    """The ratio or figure; where the limit is no constant, with it."""
    if target["ratio"]:
        return f"{number(target['value'])} x"
    return f"{number(target['value'])} (limit {number(target['limit'])})"


def verdict(target):
    return "met" if target["met"] else "**missed**"


def why_not(row, results):
    """Why nothing of this row was judged: what was skipped or failed, else that it was not asked for."""
    for result in results:
        if result["workload"] in row:
            for variant in result["variants"].values():
                if "skipped" in variant:
                    return f"not measured: {variant['skipped'].replace('|', '/')[:100]}"
    return "not measured"


def command(row, results):
    names = [result for result in results if result["workload"] in row]
    return names[0]["repeat"] if names else f"bench/bench --targets --workloads {','.join(row)}" if row else "any of these"


def section(results):
    """"## Targets" of a report."""
    lines = ["## Targets", "", "| Work | At least | Medium | Target | Measured | | Command |", "|---|---|---|---|---:|---|---|"]
    for work, at_least, rows, works in ROWS:
        works = rows if works is None else works
        for name in rows:
            found = [(result, target) for result in results for target in result["targets"] if target["row"] == name]
            for result, target in found:
                lines.append(f"| {work} | {at_least} | {result['medium']} | {result['workload']}: {target['target']} | {measured(target)} | "
                             f"{verdict(target)} | `{result['repeat']}` |")
            if not found:
                measuring = (name,) if works == rows else works
                lines.append(f"| {work} | {at_least} | | {name} | | {why_not(measuring, results)} | "
                             f"`{command(measuring, results)}` |")
    judged = [target for result in results for target in result["targets"]]
    met = sum(target["met"] for target in judged)
    return "\n".join(lines) + f"\n\n{met} of {len(judged)} targets that were measured are met.\n"
