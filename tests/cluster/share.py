# SPDX-License-Identifier: GPL-2.0-or-later
"""Three nodes of one pool: who may use what, as CLI.md tells it; what is seen in each mount; what happens to who has it open when it is taken
away. One node has the disks, so only there files are opened."""

import json

from daemon import contains, done, ok, same
from rigged import Holder, Node, begin_pool, everywhere, join_pool, rig

HOLDER = """
def keep(name, flags): kept[name] = os.open(name, flags); return 'open'
def got(name): return len(os.pread(kept[name], 4096, 0))
def put(name): return os.pwrite(kept[name], b'x' * 4096, 0)
def again(name, flags): os.close(os.open('/proc/self/fd/%d' % kept[name], flags)); return 'open'
"""


def ls(node, *names):
    return rig("run", node.name, "ls", *("mnt/" + name for name in names), check=False).stdout.split()


def table(node, name):
    return [line.split() for line in node.must("share", "show", name).splitlines()]


rig("up", "3", "--local-disks", "1", "--disk-size", str(1 << 30))
n1, n2, bk = nodes = [Node(name) for name in ("n1", "n2", "n3")]
begin_pool(n1)
join_pool(n1, n2)
join_pool(n1, bk, name="bk")

# ---- the three nodes of CLI.md
n1.must("lun", "create", "db", "40M")
n1.must("lun", "create", "web", "8M")
everywhere(nodes, lambda node: node.listing(), ["db", "web"], "who was told nothing sees all")
same(table(bk, "db"), [["NODE", "MODE"], ["default", "rw"]], "... as share show says")
n1.must("share", "set", "db", "default=none", "n1=rw", "n2=rw")
n1.must("snapshot", "create", "db@nightly", "--share", "bk=ro")
everywhere([bk], lambda node: (ls(node, "luns"), ls(node, "snapshots/db")), (["web"], ["nightly"]), "bk sees the snapshot, and not its LUN")
everywhere([n1, n2], lambda node: (ls(node, "luns"), ls(node, "snapshots/db")), (["db", "web"], ["nightly"]), "the others see both")
everywhere(nodes, lambda node: table(node, "db@nightly"), [["NODE", "MODE"], ["default", "none"], ["bk", "ro"], ["n1", "ro"], ["n2", "ro"]],
           "share show is the same on all")
same(bk.look("share", "show", "db"), {"default": "none", "nodes": {"n1": "rw", "n2": "rw"}}, "its JSON")
same(bk.look("lun", "show", "db")["share"], {"default": "none", "nodes": {"n1": "rw", "n2": "rw"}}, "lun show has it")
same(n1.must("share", "show", "db", "-H"), "default\tnone\nn1\trw\nn2\trw\n", "for scripts")
same(sorted(bk.names()), ["db", "web"], "commands list all on all nodes")
n1.must("snapshot", "create", "db@sunday")
everywhere([bk], lambda node: "db@sunday" in [item["object"] for item in node.look("snapshot", "list")], True, "a snapshot that is not shared")
code, out, err = bk.admin("snapshot", "diff", "db@sunday")
same((code, err), (1, "vvfs-admin: no db@sunday that bk may read (`share show` on a node that may says more)\n"), "bk may not read it")
code, out, err = bk.admin("snapshot", "diff", "db@nightly")
same((code, err), (1, "vvfs-admin: no db that bk may read (`share show` on a node that may says more)\n"), "... nor what the LUN holds now")
same(bk.admin("snapshot", "diff", "db@sunday", "db@nightly")[0], 1, "... nor the difference to what it may read")
same(bk.admin("lun", "clone", "db@sunday", "stolen")[0], 1, "... nor clone it")
same(n2.admin("snapshot", "diff", "db@sunday")[0], 0, "n2, which may, gets its answer from the node with the disks")
same((ls(bk, "snapshots"), ls(bk, "luns")), (["db", "web"], ["web"]), "a folder of which one snapshot is shared is seen")
n1.must("share", "db@nightly", "bk=none")
everywhere([bk], lambda node: ls(node, "snapshots"), ["web"], "... and none, is not")
same(rig("run", "n3", "ls", "mnt/snapshots/db", check=False).returncode, 2, "... nor by its name")
bk.must("share", "set", "db@nightly", "bk=ro")  # by the node that is let in: administration
everywhere([bk], lambda node: ls(node, "snapshots/db"), ["nightly"], "what is shared again is seen again")

# ---- refused
for words, what in (
    (("db", "n9=rw"), "no node n9"),
    (("nope", "n2=rw"), "no LUN nope"),
    (("db@nope", "n2=ro"), "no snapshot db@nope"),
):
    for node in (n1, bk):
        code, out, err = node.admin("share", "set", *words)
        same(code, 1, f"share set {' '.join(words)} on {node.name}")
        contains(err, what, "... says why")
code, out, err = n1.admin("share", "set", "db@nightly", "bk=rw")
same((code, err), (2, "vvfs-admin: db@nightly is a snapshot: nobody can write it: ro, none\n"), "a snapshot is not shared for writing")
code, out, err = n1.admin("share", "set", "db", "bk=maybe")
same(code, 2, "no such mode")
before = n1.look("snapshot", "list")
same(n1.admin("snapshot", "create", "db@x", "web@x", "--share", "n9=ro")[0], 1, "a snapshot for a node that there is not")
same(n1.look("snapshot", "list"), before, "... is not made, nor any other of that command")

# ---- open here
holder = Holder(n1, HOLDER)
same(holder.does("keep('mnt/luns/db', os.O_RDWR)"), "open", "n1 opens the LUN")
same(holder.does("keep('mnt/snapshots/db/nightly', os.O_RDONLY)"), "open", "... and the snapshot")
same((holder.does("put('mnt/luns/db')"), holder.does("got('mnt/snapshots/db/nightly')")), ("4096", "4096"), "... and uses both")
for node in (n1, n2):
    code, out, err = node.admin("share", "set", "db", "n1=none")
    same((code, err.startswith("vvfs-admin: db is open on n1: python3 (pid "),
          err.endswith("), read-write. Close it, or `--force` ends it with EIO there.\n")), (1, True, True), f"it is not taken away from {node.name}: {err.strip()}")
same(n1.admin("share", "set", "db", "n1=ro")[0], 1, "... nor made read-only")
n1.must("share", "set", "db", "n2=none")
everywhere([n2], lambda node: ls(node, "luns"), ["web"], "others lose it meanwhile")
n2.must("share", "set", "db", "n1=ro", "n2=rw", "--force")
same((holder.does("put('mnt/luns/db')"), holder.does("got('mnt/luns/db')"), holder.does("os.fsync(kept['mnt/luns/db'])")), ("EIO", "EIO", "EIO"),
     "--force ends it with EIO, when the command returns")
same(holder.does("os.posix_fallocate(kept['mnt/luns/db'], 0, 4096)"), "EIO", "... also what allocates")
same(rig("run", "n1", "stat", "-c", "%a", "mnt/luns/db").stdout.strip(), "400", "its mode has no w")
same((holder.does("keep('mnt/luns/db', os.O_RDWR)"), holder.does("keep('mnt/luns/db', os.O_RDONLY)"), holder.does("got('mnt/luns/db')")),
     ("EACCES", "open", "4096"), "it is opened for reading alone")
same(holder.does("os.truncate('mnt/luns/db', 1 << 26)"), "EACCES", "it is not made larger")
same(holder.does("os.unlink('mnt/luns/db')"), "EACCES", "... nor removed")
code, out, err = n1.admin("lun", "attach", "db")
same(code, 1, "... nor attached for writing")
contains(err, "db is shared with n1 read-only", "... which says why")

# ---- gone here
same(holder.does("keep('mnt/luns', os.O_RDONLY)"), "open", "a directory that is open")
same(n1.admin("share", "set", "db@nightly", "n1=none")[0], 1, "a snapshot that is open is not taken away")
n1.must("share", "set", "db@nightly", "n1=none", "--force")
same(holder.does("got('mnt/snapshots/db/nightly')"), "EIO", "what the kernel had read of it is gone too")
same(holder.does("again('mnt/snapshots/db/nightly', os.O_RDONLY)") in ("ESTALE", "EACCES", "ENOENT"), True, "it is not opened by way of its old number")
same((ls(n1, "snapshots/db"), rig("run", "n1", "stat", "mnt/snapshots/db/nightly", check=False).returncode), (["sunday"], 1), "its name is gone")
n1.must("share", "set", "db", "n1=none", "--force")
same((holder.does("got('mnt/luns/db')"), holder.does("os.listdir(kept['mnt/luns'])")), ("EIO", "['web']"), "the LUN is gone for all that was open")
same(holder.does("keep('mnt/luns/db', os.O_RDONLY)"), "ENOENT", "... and for its name")
code, out, err = n1.admin("lun", "attach", "db")
contains(err, "no db that n1 may read", "it is not attached")
holder.end()
n1.must("share", "set", "db", "n1=rw", "--with-snapshots")
same(table(n1, "db@nightly")[3:], [["n1", "ro"], ["n2", "ro"]], "with its snapshots, which are read-only")
everywhere([n1, n2], lambda node: ls(node, "luns"), ["db", "web"], "n1 and n2 see it again")

# ---- open on a node without the disks
before = n2.server()
holder = Holder(n2, HOLDER)
same([holder.does(text) for text in ("keep('mnt/luns/db', os.O_RDWR)", "put('mnt/luns/db')", "keep('mnt/snapshots/db/sunday', os.O_RDONLY)",
                                     "got('mnt/snapshots/db/sunday')")], ["open", "4096"] * 2, "n2 uses both")
code, out, err = n1.admin("share", "set", "db", "n2=none")
same((code, err.startswith("vvfs-admin: db is open on n2: pid ")), (1, True), f"it is not taken away from n2: {err.strip()}")
n1.must("share", "set", "db", "n2=none", "--with-snapshots", "--force")
same([holder.does(text) for text in ("put('mnt/luns/db')", "got('mnt/luns/db')", "got('mnt/snapshots/db/sunday')")], ["EIO"] * 3, "--force ends it with EIO there, when the command returns")
same(n2.server(), before, "... and nothing else")
holder.end()
n1.must("share", "set", "db", "n2=rw", "--with-snapshots")
everywhere([n2], lambda node: (ls(node, "luns"), len(ls(node, "snapshots/db"))), (["db", "web"], 2), "n2 sees it again")

# ---- a clone, the default
code, out, err = n1.admin("lun", "clone", "db@nightly", "copy")
contains(err, "note: copy is shared as db@nightly is: nobody may write it", "a clone that nobody may write is told")
everywhere(nodes, lambda node: table(node, "copy"), table(n1, "db@nightly"), "a clone has its snapshot's table")
n2.must("pool", "set", "share-default=none")
everywhere(nodes, lambda node: "web" in ls(node, "luns"), False, "what has no table has the pool's default")
contains(bk.must("pool", "get"), "share-default=none", "... which is told")
same(rig("run", "n1", "sh", "-c", "echo data > mnt/luns/mine", check=False).returncode, 0, "who makes a file can write it")
everywhere([n2, bk], lambda node: "mine" in node.names() and "mine" not in ls(node, "luns"), True, "... and the others do not see it")
n2.must("pool", "set", "share-default=rw")
everywhere(nodes, lambda node: "web" in ls(node, "luns"), True, "back to the beginning")

# ---- it stays
n1.must("share", "set", "web", "n1=none")
ok(n1.kill_server(), "another process takes over")
same(ls(n1, "luns"), ["copy", "db", "mine"], "... and knows who may what")
same(bk.stop(), 0, "bk ends")
n1.must("share", "set", "db", "bk=ro")
bk.start()
everywhere([bk], lambda node: "db" in ls(node, "luns"), True, "bk learns what it missed")
n1.must("lun", "remove", "db", "--with-snapshots")
everywhere(nodes, lambda node: "db" in node.names(), False, "a LUN goes, with its table")
for node in nodes:
    code, out, err = node.admin("--json", "pool", "check")
    same((code, json.loads(out)["errors"]), (0, []), f"pool check on {node.name}")
for node in reversed(nodes):
    same(node.stop(), 0, f"{node.name} ends")
done()
