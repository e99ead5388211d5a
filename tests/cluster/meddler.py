# SPDX-License-Identifier: GPL-2.0-or-later
"""Who changes a pool's configuration on random nodes while other things happen to them, and remembers what was answered: for nemesis.py."""

import collections
import threading

from pressure import must

KNOWN_CODES = (0, 1, 3, 4, -9, 137)  # done; refused; not now; not known; killed with its node


class Meddler:
    """What was answered with "done" is so on all nodes; what was not known may be either; no name is used twice."""

    def __init__(self, pressure):
        self.pressure = pressure
        self.there, self.gone, self.unknown = set(), set(), set()  # LUNs; what is of them
        self.codes = collections.Counter()
        self.thread = self.failure = None
        self.count = 0

    # ---- a round
    def begin(self, nodes, random, steps):
        self.thread = threading.Thread(target=self.run, args=(nodes, random, steps))
        self.thread.start()

    def run(self, nodes, random, steps):
        try:
            for _ in range(steps):
                self.step(random.choice(nodes), random)
        except Exception as failure:  # of whatever kind: it is told where the round ends
            self.failure = failure

    def end(self):
        """What it does ends by its own timeouts."""
        if self.thread:
            self.thread.join(120)
            must(not self.thread.is_alive(), "a command does not end")
        failure, self.thread, self.failure = self.failure, None, None
        if failure:
            raise failure

    # ---- steps
    def ask(self, node, *words):
        code, _, err = node.admin("--timeout", "10", *words)
        self.codes[(words[0] + " " + words[1], code)] += 1
        must(code in KNOWN_CODES, f"{' '.join(words)} on {node.name} ends with {code}: {err}")
        return code

    def step(self, node, random):
        self.count += 1
        kind = random.choice(("make", "make", "snapshots", "snapshots", "remove", "rename", "clone", "share"))
        luns = sorted(name for name in self.there if "@" not in name)
        if kind == "snapshots":
            code, err = self.pressure.snapshot(node, f"s{self.count}")
            self.codes[("snapshot create", code)] += 1
            must(code in KNOWN_CODES, f"snapshot create on {node.name} ends with {code}: {err}")
        elif kind == "make" or not luns:
            name = f"m{self.count}"
            self.became(self.ask(node, "lun", "create", name, "4M"), name, None)
        else:
            getattr(self, kind)(node, random, random.choice(luns))

    def remove(self, node, _, lun):
        self.became(self.ask(node, "lun", "remove", lun, "--with-snapshots", "--yes"), None, lun)

    def rename(self, node, _, lun):
        self.became(self.ask(node, "lun", "rename", lun, f"r{self.count}"), f"r{self.count}", lun)

    def clone(self, node, _, lun):
        if self.ask(node, "snapshot", "create", f"{lun}@c{self.count}") == 0:
            self.became(self.ask(node, "lun", "clone", f"{lun}@c{self.count}", f"k{self.count}"), f"k{self.count}", None)

    def share(self, node, random, lun):
        self.ask(node, "share", "set", lun, f"default={random.choice(('none', 'ro', 'rw'))}")

    def became(self, code, new, old):
        """NEW is there and OLD is not, if CODE says so."""
        for name, group in ((new, self.there), (old, self.gone)):
            if name is None or code == 1:
                continue
            for other in (self.there, self.gone, self.unknown):
                other.discard(name)
            (group if code == 0 else self.unknown).add(name)

    # ---- what is promised
    def look(self, nodes):
        """All nodes show the same, which is what was answered."""
        shown = {node.name: (node.names(), sorted(item["object"] for item in node.look("snapshot", "list") or [])) for node in nodes}
        first = shown[nodes[0].name]
        must(all(other == first for other in shown.values()), f"nodes do not show the same: {shown}")
        names = set(first[0])
        must(self.there <= names, f"{sorted(self.there - names)}: made, and not there: {sorted(names)}")
        must(not self.gone & names, f"{sorted(self.gone & names)}: removed, and there")

    def clear(self, admin):
        """Nothing stays but what is written and read."""
        kept = set(self.pressure.luns())
        rest = [name for name in admin.names() if name not in kept]
        if rest:
            admin.must("lun", "remove", *rest, "--with-snapshots", "--yes")
        listed = [item["object"] for item in admin.look("snapshot", "list") or []]
        if listed:
            admin.must("snapshot", "remove", *listed)
        self.there, self.gone, self.unknown = set(), set(), set()
