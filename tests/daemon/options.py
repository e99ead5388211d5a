# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line of vvfs: options, exit codes, and what is refused before anything is mounted."""

import os

from daemon import VVFS, Pool, contains, done, is_mounted, need_mount, ok, offline, run, same

need_mount()

code, out, err = run("--version")
ok(code == 0 and out.startswith("vvfs "), "--version")
code, out, err = run("--help")
ok(code == 0 and out.startswith("Usage: vvfs "), "--help")
for arguments, part in [([], "POOL and MOUNTPOINT are missing"), (["tank"], "MOUNTPOINT is missing"), (["a", "b", "c"], "c:"),
                        (["-x", "a", "b"], "-x"), (["--nonsense", "a", "b"], "--nonsense"), (["--upgrade"], "needs a mount point"), (["--upgrade", "/mnt", "b"], "b:"),
                        (["--witness", "a", "b"], "has no mount"), (["--witness"], "POOL is missing"), (["--witness", "-o", "ro", "a"], "votes"),
                        (["-o", "colour=red", "a", "b"], "colour"), (["a", "b", "-o", "rw,nonsense"], "nonsense"),
                        (["-o"], "-o"), (["-o", "threads=0", "a", "b"], "threads"), (["-o", "threads", "a", "b"], "threads"),
                        (["-o", "uid=root", "a", "b"], "uid"), (["-o", "mode=9", "a", "b"], "mode"), (["-o", "log=loud", "a", "b"], "log"),
                        (["-o", "stop-timeout=-1", "a", "b"], "stop"), (["-o", "wait=x", "a", "b"], "wait")]:
    code, out, err = run(*arguments)
    same(code, 2, f"usage: {' '.join(arguments)}")
    contains(err, part, "  says so")
    same((out, err.count("\n")), ("", 1), "  in one line on stderr")

pool = Pool()
base, mnt = pool.base, pool.mountpoint


def refused(what, code, part, *arguments, cwd=None):
    got, out, err = run(*arguments, cwd=cwd)
    same(got, code, what)
    contains(err, part, "  says why")
    ok(not is_mounted(mnt), "  nothing is mounted")


refused("a name that is no pool", 1, "no pool nonesuch", "nonesuch", mnt)
refused("a path that is no pool", 1, "no pool directory", base + "/nope", mnt)
refused("a directory that is no pool", 1, base, base, mnt)
refused("a mount point that is not there", 32, "mount point", pool.directory, base + "/nope")
open(base + "/file", "w", encoding="utf-8").close()
refused("a mount point that is no directory", 32, "not a directory", pool.directory, base + "/file")
refused("a mount point that would hide the pool", 32, "would hide", pool.directory, pool.directory)
refused("an unknown group", 1, "no group", pool.directory, mnt, "-o", "admin-group=nonesuch")
refused("a metrics address without port", 2, "ADDR:PORT", pool.directory, mnt, "-o", "metrics=localhost")
refused("a metrics address of somebody else", 1, "cannot listen", pool.directory, mnt, "-o", "metrics=192.0.2.1:9999")

# ---- a path too long for the socket
deep = os.path.join(base, "d" * 100)
response = offline("pool.create", {"dir": deep, "name": "deep", "size": 1 << 26})
same(response["error"]["data"]["code"], "usage", "a pool directory whose socket path would be too long")
ok(not os.path.exists(deep), "  is not made")
os.rename(pool.directory, deep)
refused("one that was moved there", 2, "a socket may have", deep, mnt)
os.rename(deep, pool.directory)

# ---- every way to say where, and options before and after
for what, arguments, cwd in [
        ("an absolute path", [pool.directory, mnt], None), ("a relative one", ["./tank", mnt], base), ("a relative name", ["tank", "mnt"], base),
        ("options in front", ["-o", "allow_other,noatime", "-o", "stop_timeout=5", pool.directory, mnt], None),
        ("options behind", [pool.directory, mnt, "-o", "rw,dev,suid,nofail,_netdev,x-systemd.automount,defaults,stop-timeout=5"], None)]:
    code, out, err = run(*arguments, cwd=cwd)
    same((code, out, err), (0, "", ""), f"to the background: {what}")
    same(sorted(os.listdir(mnt)), [".vvfs", "luns", "snapshots"], "  the mount answers when it returns")
    os.system(f"umount {mnt}")
    ok(not is_mounted(mnt), "  umount")
code, out, err = run(pool.directory, mnt, "-o", "ro")
same(code, 0, "read-only (and it waited for the one that was ending)")
try:
    open(mnt + "/luns/new", "w", encoding="utf-8").close()
    ok(False, "  nothing can be made")
except OSError:
    ok(True, "  nothing can be made")
os.system(f"umount {mnt}")

# ---- mount(8)
helper = os.path.join(base, "bin")
os.mkdir(helper)
os.symlink(os.path.realpath(VVFS), os.path.join(helper, "vvfs"))
# What `mount -t fuse.vvfs` runs; called directly because mount(8) gives it a PATH of its own.
code = os.system(f"PATH={helper}:$PATH mount.fuse3 {pool.directory} {mnt} -t fuse.vvfs -o rw,allow_other,noatime 2>{base}/err")
if code:
    with open(base + "/err", encoding="utf-8") as text:
        print("#", text.read())
same(code, 0, "as mount -t fuse.vvfs")
ok(os.path.isdir(mnt + "/luns"), "  serves")
with open("/proc/self/mountinfo", encoding="utf-8") as lines:
    line = [line for line in lines if line.split()[4] == mnt]
contains(line[0] if line else "", f" - fuse.vvfs {pool.directory} ", "  with type and source that tell what it is")
os.system(f"umount {mnt}")
done()
