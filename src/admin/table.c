/* SPDX-License-Identifier: GPL-2.0-or-later */
/* THE table: every command, what it takes, what it calls, and what is said about it. Parser, `--help`, hints,
 * completions and the manuals' synopses are made from it. Rows of one noun stand together, in the order of the help. */
#include "nouns.h"

#define NONE .arguments = { { 0 } }
#define ARGS .arguments =
#define OPTS .options =

#define CHANGES VV_COMMAND_CHANGES
#define DRY_RUN VV_COMMAND_DRY_RUN
#define CONFIRMS VV_COMMAND_CONFIRMS

/* ---- columns: in the order that they are shown */
static const VvColumn pool_columns[] = {
    { "name", VV_SHOW_TEXT, true },
    { "state", VV_SHOW_TEXT, true },
    { "directory", VV_SHOW_TEXT, true },
    { "mountpoint", VV_SHOW_TEXT, true },
    { "uuid", VV_SHOW_TEXT, false },
    { 0 },
};

static const VvColumn lun_columns[] = {
    { "name", VV_SHOW_TEXT, true },
    { "size", VV_SHOW_SIZE, true },
    { "used", VV_SHOW_SIZE, true },
    { "exclusive", VV_SHOW_SIZE, true },
    { "snapshots", VV_SHOW_COUNT, true },
    { "copies", VV_SHOW_COUNT, true },
    { "open", VV_SHOW_TEXT, true },
    { "state", VV_SHOW_TEXT, true },
    { "origin", VV_SHOW_TEXT, true },
    { "object", VV_SHOW_TEXT, false },
    { "uuid", VV_SHOW_TEXT, false },
    { "keep", VV_SHOW_KEEP, false },
    { "created", VV_SHOW_TIME, false },
    { "created_ns", VV_SHOW_COUNT, false },
    { 0 },
};

static const VvColumn snapshot_columns[] = {
    { "object", VV_SHOW_TEXT, true },
    { "created", VV_SHOW_TIME, true },
    { "size", VV_SHOW_SIZE, true },
    { "used", VV_SHOW_SIZE, true },
    { "exclusive", VV_SHOW_SIZE, true },
    { "kind", VV_SHOW_TEXT, true },
    { "form", VV_SHOW_TEXT, true },
    { "state", VV_SHOW_TEXT, true },
    { "keep", VV_SHOW_KEEP, true },
    { "lun", VV_SHOW_TEXT, false },
    { "name", VV_SHOW_TEXT, false },
    { "note", VV_SHOW_TEXT, false },
    { "created_ns", VV_SHOW_COUNT, false },
    { 0 },
};

static const VvColumn diff_columns[] = {
    { "offset", VV_SHOW_COUNT, true },
    { "length", VV_SHOW_COUNT, true },
    { "type", VV_SHOW_TEXT, true },
    { 0 },
};

static const VvColumn disk_columns[] = {
    { "name", VV_SHOW_TEXT, true },
    { "state", VV_SHOW_TEXT, true },
    { "size", VV_SHOW_SIZE, true },
    { "free", VV_SHOW_SIZE, true },
    { "node", VV_SHOW_TEXT, true },
    { "path", VV_SHOW_TEXT, true },
    { "uuid", VV_SHOW_TEXT, false },
    { "paths", VV_SHOW_TEXT, false },
    { "used", VV_SHOW_SIZE, false },
    { 0 },
};

static const VvColumn job_columns[] = {
    { "id", VV_SHOW_COUNT, true },
    { "kind", VV_SHOW_TEXT, true },
    { "object", VV_SHOW_TEXT, true },
    { "state", VV_SHOW_TEXT, true },
    { "done", VV_SHOW_SIZE, true },
    { "total", VV_SHOW_SIZE, true },
    { "rate", VV_SHOW_RATE, true },
    { "seconds_left", VV_SHOW_SECONDS, true },
    { "created", VV_SHOW_TIME, false },
    { 0 },
};

static const VvColumn event_columns[] = {
    { "time", VV_SHOW_TIME, true },
    { "severity", VV_SHOW_TEXT, true },
    { "object", VV_SHOW_TEXT, true },
    { "message", VV_SHOW_TEXT, true },
    { "code", VV_SHOW_TEXT, false },
    { "node", VV_SHOW_TEXT, false },
    { "time_ns", VV_SHOW_COUNT, false },
    { 0 },
};

/* ---- options that a kind of command takes */
const VvOption vv_global_options[] = {
    { "pool", 'p', "POOL", NULL, VV_VALUE_TEXT, 0, "the pool: its name, its directory or its mount point" },
    { "json", 0, NULL, NULL, VV_VALUE_FLAG, 0, "print one JSON document, also for an error" },
    { "quiet", 0, NULL, NULL, VV_VALUE_FLAG, 0, "no remarks and no bars" },
    { "yes", 0, NULL, NULL, VV_VALUE_FLAG, 0, "do it without asking" },
    { "dry-run", 0, NULL, NULL, VV_VALUE_FLAG, 0, "check everything, say what would happen, change nothing" },
    { "id", 0, "ID", NULL, VV_VALUE_TEXT, 0, "repeating a command with the same ID within 24 h does it once" },
    { "timeout", 0, "S", NULL, VV_VALUE_SECONDS, 0, "give up after S seconds (exit 4)" },
    { "color", 0, "WHEN", NULL, VV_VALUE_TEXT, 0, "auto, always or never" },
    { "help", 'h', NULL, NULL, VV_VALUE_FLAG, 0, "explain the command" },
    { 0 },
};

const VvOption vv_list_options[] = {
    { NULL, 'o', "COL,...", NULL, VV_VALUE_TEXT, 0, "these columns; +COL adds one" },
    { NULL, 'H', NULL, NULL, VV_VALUE_FLAG, 0, "for scripts: no header, TABs, bytes, Unix seconds" },
    { NULL, 'b', NULL, NULL, VV_VALUE_FLAG, 0, "sizes in bytes" },
    { "sort", 0, "[-]COL", NULL, VV_VALUE_TEXT, 0, "sort by a column, with - from the largest" },
    { "match", 0, "PATTERN", NULL, VV_VALUE_TEXT, 0, "only the objects that PATTERN (* ? [ ]) matches" },
    { 0 },
};

const VvOption vv_background_options[] = {
    { "background", 0, NULL, NULL, VV_VALUE_FLAG, 0, "do not wait for the job: print its number" },
    { 0 },
};

#define EXACT { "exact", 0, NULL, "exact", VV_VALUE_FLAG, 0, "wait until `exclusive` is counted" }
#define PREFIX(text) { "prefix", 0, "P", "prefix", VV_VALUE_TEXT, 0, text }
#define KEEP_OPTION(span) \
    { "keep-" span, 0, "N", "keep_" span, VV_VALUE_COUNT, 0, "keep the newest of each of the last N (" span ")" }
#define INTERVAL { "interval", 0, "S", NULL, VV_VALUE_SECONDS, 0, "again every S seconds, until Ctrl-C" }

const VvCommand vv_commands[] = {
    /* ---- pool */
    { "pool", "create", "pool.create", vv_run_pool_create, VV_COMMAND_LOCAL | DRY_RUN, NULL,
        "make a pool and print its directory",
        "DIR defaults to /var/lib/vvfs/NAME, NAME to the last part of DIR. Without --disk the pool gets one sparse disk file "
        "of --size (16G) in DIR. A disk that is mounted, open, or carries any signature is refused.",
        "vvfs-admin pool create --name tank --disk /dev/sdb\nvvfs-admin pool create /srv/pools/test --size 4G",
        ARGS { { "DIR", "dir", VV_VALUE_PATH, VV_OPTIONAL } },
        OPTS { { "name", 0, "N", "name", VV_VALUE_TEXT, 0, "name of the pool" },
            { "size", 0, "SIZE", "size", VV_VALUE_SIZE, 0, "size of the sparse disk file (16G)" },
            { "disk", 0, "PATH", "disks", VV_VALUE_PATH, VV_MANY, "a block device or file for data; may be repeated" },
            { "overwrite", 0, NULL, "overwrite", VV_VALUE_FLAG, 0, "erase what a disk carries (never a mounted or open one)" },
            { "listen", 0, "ADDR[:PORT]", NULL, VV_VALUE_TEXT, VV_UNSUPPORTED, NULL },
            { "node", 0, "NAME", NULL, VV_VALUE_TEXT, VV_UNSUPPORTED, NULL } } },
    { "pool", "list", NULL, vv_run_pool_list, VV_COMMAND_LOCAL | VV_COMMAND_LIST, pool_columns,
        "pools of this node, mounted or not", NULL, "vvfs-admin pool list -H -o name", NONE, OPTS { { 0 } } },
    { "pool", "status", "pool.status", vv_run_pool_status, 0, NULL, "one screen: state, space, disks, jobs", NULL,
        "vvfs-admin pool status\nvvfs-admin pool status --check --quiet || mail root", NONE,
        OPTS { { "check", 0, NULL, NULL, VV_VALUE_FLAG, 0, "exit with 5 if the state is not ok" } } },
    { "pool", "get", "pool.get", vv_run_pool_settings, 0, NULL, "print the pool's settings as KEY=VALUE", NULL, NULL,
        ARGS { { "KEY", NULL, VV_VALUE_TEXT, VV_OPTIONAL | VV_MANY } }, OPTS { { 0 } } },
    { "pool", "set", "pool.set", NULL, CHANGES, NULL, "change settings of the pool",
        "`vvfs-admin pool get` prints all of them.", NULL, ARGS { { "KEY=VALUE", "settings", VV_VALUE_SETTING, VV_MANY } },
        OPTS { { 0 } } },
    { "pool", "check", "pool.check", vv_run_pool_check, VV_COMMAND_LOCAL | VV_COMMAND_SLOW, NULL,
        "verify all metadata, mounted or not", "Exits with 5 if something is wrong (and was not repaired).",
        "vvfs-admin pool check", ARGS { { "DIR", NULL, VV_VALUE_PATH, VV_OPTIONAL } },
        OPTS { { "repair", 0, NULL, "repair", VV_VALUE_FLAG, 0, "repair what can be repaired without guessing" } } },
    { "pool", "destroy", "pool.destroy", vv_run_pool_destroy, VV_COMMAND_LOCAL | CONFIRMS | DRY_RUN, NULL,
        "end a pool, with all that is in it", "Refused while it is mounted. Clears the labels of its disks.",
        "vvfs-admin pool destroy /srv/pools/test --yes", ARGS { { "DIR", NULL, VV_VALUE_PATH, VV_OPTIONAL } }, OPTS { { 0 } } },

    /* ---- disk */
    { "disk", "list", "disk.list", NULL, VV_COMMAND_LIST, disk_columns, "disks of the pool", NULL, NULL, NONE, OPTS { { 0 } } },
    { "disk", "show", "disk.show", NULL, VV_COMMAND_SHOW, disk_columns, "all that is known of one disk", NULL, NULL,
        ARGS { { "DISK", "disk", VV_VALUE_DISK, 0 } }, OPTS { { 0 } } },
    { "disk", "add", "disk.add", NULL, CHANGES, NULL, "add a disk to the pool", "With --size, PATH is a sparse file that is made.",
        "vvfs-admin disk add /dev/sdc\nvvfs-admin disk add /srv/more.vvfs --size 100G",
        ARGS { { "PATH", "path", VV_VALUE_PATH, 0 } },
        OPTS { { "size", 0, "S", "size", VV_VALUE_SIZE, 0, "make a sparse file of this size" },
            { "name", 0, "N", "name", VV_VALUE_TEXT, 0, "name of the disk" },
            { "overwrite", 0, NULL, "overwrite", VV_VALUE_FLAG, 0, "erase what it carries (never a mounted or open one)" } } },
    { "disk", "grow", "disk.grow", NULL, CHANGES, NULL, "use a disk's new size",
        "Without SIZE: all that the device has now. A file is made larger.", "vvfs-admin disk grow disk0 32G",
        ARGS { { "DISK", "disk", VV_VALUE_DISK, 0 }, { "SIZE", "size", VV_VALUE_SIZE, VV_OPTIONAL } }, OPTS { { 0 } } },
    { "disk", "remove", "disk.remove", vv_run_disk_remove, CHANGES | DRY_RUN | CONFIRMS | VV_COMMAND_BACKGROUND, NULL,
        "take a disk out of the pool", "One that holds data is emptied first, or refused.", "vvfs-admin disk remove sdb",
        ARGS { { "DISK", "disk", VV_VALUE_DISK, 0 } },
        OPTS { { "lost", 0, NULL, "lost", VV_VALUE_FLAG, 0, "it is gone: give up what only it held (needs --yes)" } } },

    /* ---- lun */
    { "lun", "create", "lun.create", NULL, CHANGES, NULL, "make a thin LUN",
        "It takes no space until it is written. KEY=VALUE as in `lun set`.",
        "vvfs-admin lun create db 40G\nvvfs-admin lun create web 10G mode=0660 gid=kvm --if-not-exists",
        ARGS { { "NAME", "name", VV_VALUE_LUN, 0 }, { "SIZE", "size", VV_VALUE_LUN_SIZE, 0 },
            { "KEY=VALUE", "settings", VV_VALUE_SETTING, VV_OPTIONAL | VV_MANY } },
        OPTS { { "copies", 0, "N", "copies", VV_VALUE_COUNT, 0, "copies on different disks (1)" },
            { "stripes", 0, "N", "stripes", VV_VALUE_COUNT, 0, "spread over N disks (1)" },
            { "disks", 0, "D,...", "disks", VV_VALUE_DISK, VV_COMMAS, "only on these disks" },
            { "if-not-exists", 0, NULL, "if_not_exists", VV_VALUE_FLAG, 0, "no error if it is there with this size" } } },
    { "lun", "list", "lun.list", NULL, VV_COMMAND_LIST, lun_columns, "LUNs of the pool", NULL,
        "vvfs-admin lun list --sort -used\nvvfs-admin lun list -H -o size db",
        ARGS { { "NAME", "names", VV_VALUE_LUN, VV_OPTIONAL | VV_MANY } }, OPTS { EXACT } },
    { "lun", "show", "lun.show", NULL, VV_COMMAND_SHOW, lun_columns, "all that is known of one LUN", "Also who has it open.", NULL,
        ARGS { { "NAME", "name", VV_VALUE_LUN, 0 } }, OPTS { EXACT } },
    { "lun", "resize", "lun.resize", vv_run_lun_resize, CHANGES | DRY_RUN, NULL, "change the size of a LUN, also in use",
        "+SIZE adds. Open loop devices see the new size.", "vvfs-admin lun resize db +10G",
        ARGS { { "NAME", "name", VV_VALUE_LUN, 0 }, { "[+]SIZE", "size", VV_VALUE_RESIZE, 0 } },
        OPTS { { "shrink", 0, NULL, "shrink", VV_VALUE_FLAG, 0, "allow a smaller size: what is past it is lost" } } },
    { "lun", "rename", "lun.rename", vv_run_lun_rename, CHANGES, NULL, "give a LUN another name", NULL, NULL,
        ARGS { { "OLD", "name", VV_VALUE_LUN, 0 }, { "NEW", "new_name", VV_VALUE_LUN, 0 } }, OPTS { { 0 } } },
    { "lun", "remove", "lun.remove", vv_run_remove, CHANGES | DRY_RUN, NULL, "remove LUNs, all or none", NULL,
        "vvfs-admin lun remove dbtest\nvvfs-admin lun remove db web --with-snapshots --dry-run",
        ARGS { { "NAME", "names", VV_VALUE_LUN, VV_MANY } },
        OPTS { { "with-snapshots", 0, NULL, "with_snapshots", VV_VALUE_FLAG, 0, "and their snapshots" },
            { "if-exists", 0, NULL, "if_exists", VV_VALUE_FLAG, 0, "no error for those that are not there" } } },
    { "lun", "set", "lun.set", NULL, CHANGES, NULL, "change settings of a LUN",
        "Keys: mode, uid, gid, integrity (on, off), redirect (auto, always), on-full (error, wait), timeout (seconds a request may "
        "wait), copies, keep (on, off, a date: refuses removal, restore and shrinking).",
        "vvfs-admin lun set db keep=on on-full=wait",
        ARGS { { "NAME", "name", VV_VALUE_LUN, 0 }, { "KEY=VALUE", "settings", VV_VALUE_SETTING, VV_MANY } }, OPTS { { 0 } } },
    { "lun", "clone", "lun.clone", NULL, CHANGES, NULL, "make a LUN from a snapshot, at once", "Both share all that neither changes.",
        "vvfs-admin lun clone db@before-upgrade dbtest",
        ARGS { { "LUN@SNAP", "object", VV_VALUE_SNAPSHOT, 0 }, { "NAME", "name", VV_VALUE_LUN, 0 } }, OPTS { { 0 } } },
    { "lun", "attach", NULL, vv_run_attach, 0, NULL, "make a loop device of a LUN on this node and print it",
        "With direct I/O, and linked as /dev/vvfs/POOL/NAME. Refused while the LUN is open for writing.",
        "vvfs-admin lun attach db && mkfs.ext4 /dev/vvfs/tank/db",
        ARGS { { "NAME", "object", VV_VALUE_LUN, 0 } },
        OPTS { { "read-only", 0, NULL, "read_only", VV_VALUE_FLAG, 0, "a read-only device" },
            { "shared", 0, NULL, "shared", VV_VALUE_FLAG, 0, "also if it is open for writing (for cluster file systems)" },
            { "partscan", 0, NULL, NULL, VV_VALUE_FLAG, 0, "look for partitions" } } },
    { "lun", "detach", NULL, vv_run_detach, 0, NULL, "take the loop device of a LUN away", "Refused while it is mounted or held.", NULL,
        ARGS { { "NAME", "object", VV_VALUE_LUN, 0 } }, OPTS { { 0 } } },

    /* ---- snapshot */
    { "snapshot", "create", "snapshot.create", vv_run_snapshot_create, CHANGES, NULL, "take snapshots, all at one instant",
        "Name each as LUN@SNAP, or name LUNs and --prefix P, which makes P-YYYYMMDDTHHMMSSZ and prints the names.",
        "vvfs-admin snapshot create db@before-upgrade web@before-upgrade\nvvfs-admin snapshot create db web --prefix hourly --freeze",
        ARGS { { "LUN[@SNAP]", NULL, VV_VALUE_OBJECT, VV_MANY } },
        OPTS { PREFIX("make names with this prefix and the time"),
            { "freeze", 0, NULL, NULL, VV_VALUE_FLAG, 0, "freeze file systems that this node has mounted from them, at most 10 s" },
            { "form", 0, "FORM", "form", VV_VALUE_TEXT, VV_UNSUPPORTED, NULL },
            { "share", 0, "NODE=MODE", NULL, VV_VALUE_TEXT, VV_UNSUPPORTED, NULL } } },
    { "snapshot", "list", "snapshot.list", NULL, VV_COMMAND_LIST, snapshot_columns, "snapshots of the pool or of some LUNs", NULL,
        "vvfs-admin snapshot list db --sort -exclusive\nvvfs-admin snapshot list -H -o object --match 'db@test-*'",
        ARGS { { "LUN", "luns", VV_VALUE_LUN, VV_OPTIONAL | VV_MANY } }, OPTS { EXACT } },
    { "snapshot", "show", "snapshot.show", NULL, VV_COMMAND_SHOW, snapshot_columns, "all that is known of one snapshot", NULL, NULL,
        ARGS { { "LUN@SNAP", "object", VV_VALUE_SNAPSHOT, 0 } }, OPTS { EXACT } },
    { "snapshot", "remove", "snapshot.remove", vv_run_snapshot_remove, CHANGES | DRY_RUN | CONFIRMS, NULL,
        "remove snapshots, all or none",
        "SNAP may hold * ? [ ]; if that matches more than one, it asks on a terminal and needs --yes elsewhere.",
        "vvfs-admin snapshot remove 'db@auto-202610*' --dry-run",
        ARGS { { "LUN@SNAP", "objects", VV_VALUE_PATTERN, VV_MANY } },
        OPTS { { "if-exists", 0, NULL, "if_exists", VV_VALUE_FLAG, 0, "no error for those that are not there" } } },
    { "snapshot", "rename", "snapshot.rename", vv_run_snapshot_rename, CHANGES, NULL, "give a snapshot another name", NULL,
        "vvfs-admin snapshot rename db@before-restore-1 db@lost-tables",
        ARGS { { "LUN@OLD", "object", VV_VALUE_SNAPSHOT, 0 }, { "NEW", "new_object", VV_VALUE_TEXT, 0 } }, OPTS { { 0 } } },
    { "snapshot", "set", "snapshot.set", vv_run_snapshot_set, CHANGES | CONFIRMS, NULL, "change settings of a snapshot",
        "Keys: keep (on, off, a date: refuses removal), note (free text).", "vvfs-admin snapshot set db@year-end keep=on 'note=audit 2026'",
        ARGS { { "LUN@SNAP", "object", VV_VALUE_PATTERN, 0 }, { "KEY=VALUE", "settings", VV_VALUE_SETTING, VV_MANY } }, OPTS { { 0 } } },
    { "snapshot", "attach", NULL, vv_run_attach, 0, NULL, "make a read-only loop device of a snapshot and print it",
        "Linked as /dev/vvfs/POOL/LUN@SNAP. Mount ext4 with -o ro,noload, XFS with -o ro,norecovery,nouuid.",
        "dev=$(vvfs-admin snapshot attach db@before-upgrade) && mount -o ro,noload \"$dev\" /mnt",
        ARGS { { "LUN@SNAP", "object", VV_VALUE_SNAPSHOT, 0 } },
        OPTS { { "partscan", 0, NULL, NULL, VV_VALUE_FLAG, 0, "look for partitions" } } },
    { "snapshot", "detach", NULL, vv_run_detach, 0, NULL, "take the loop device of a snapshot away",
        "Refused while it is mounted or held.", NULL, ARGS { { "LUN@SNAP", "object", VV_VALUE_SNAPSHOT, 0 } }, OPTS { { 0 } } },
    { "snapshot", "restore", "snapshot.restore", vv_run_snapshot_restore, CHANGES | DRY_RUN, NULL, "bring a LUN back to a snapshot",
        "What the LUN holds now is first kept as LUN@before-restore-N, which is printed. Refused while the LUN is open for writing.",
        "umount /srv/db && vvfs-admin lun detach db && vvfs-admin snapshot restore db@before-upgrade",
        ARGS { { "LUN@SNAP", "object", VV_VALUE_SNAPSHOT, 0 } },
        OPTS { { "force", 0, NULL, "force", VV_VALUE_FLAG, 0, "also while it is open: damages what is mounted from it" },
            { "discard", 0, NULL, "discard", VV_VALUE_FLAG, 0, "do not keep what it holds now" } } },
    { "snapshot", "refresh", "snapshot.refresh", vv_run_snapshot_refresh, CHANGES | DRY_RUN, NULL,
        "take the snapshot anew under the same name", NULL, NULL,
        ARGS { { "LUN@SNAP", "object", VV_VALUE_SNAPSHOT, 0 } }, OPTS { { 0 } } },
    { "snapshot", "prune", "snapshot.prune", vv_run_snapshot_prune, CHANGES | DRY_RUN, NULL, "remove old snapshots by rule",
        "Touches only what was made with that --prefix, and never what has keep.",
        "vvfs-admin snapshot prune db web --prefix hourly --keep-hourly 24 --keep-daily 14",
        ARGS { { "LUN", "luns", VV_VALUE_LUN, VV_MANY } },
        OPTS { PREFIX("only those made with this prefix"),
            { "keep-last", 0, "N", "keep_last", VV_VALUE_COUNT, 0, "keep the newest N" }, KEEP_OPTION("hourly"),
            KEEP_OPTION("daily"), KEEP_OPTION("weekly"), KEEP_OPTION("monthly"), KEEP_OPTION("yearly") } },
    { "snapshot", "diff", "snapshot.diff", NULL, VV_COMMAND_LIST | VV_COMMAND_SLOW, diff_columns, "ranges that changed",
        "Between LUN@A and LUN@B, or the LUN now.", "vvfs-admin snapshot diff db@monday db@tuesday --json",
        ARGS { { "LUN@A", "object", VV_VALUE_SNAPSHOT, 0 }, { "LUN@B", "other", VV_VALUE_OBJECT, VV_OPTIONAL } }, OPTS { { 0 } } },

    /* ---- job */
    { "job", "list", "job.list", NULL, VV_COMMAND_LIST, job_columns, "what runs in the background", NULL, NULL, NONE,
        OPTS { { "all", 0, NULL, "all", VV_VALUE_FLAG, 0, "also those that have ended" } } },
    { "job", "show", "job.show", NULL, VV_COMMAND_SHOW, job_columns, "all that is known of one job", NULL, NULL,
        ARGS { { "N", "job", VV_VALUE_JOB, 0 } }, OPTS { { 0 } } },
    { "job", "wait", NULL, vv_run_job_wait, VV_COMMAND_SLOW, NULL, "wait until jobs have ended",
        "Without N: for all that run now. Exits with 5 if one of them failed or was cancelled.", "vvfs-admin job wait && vvfs-admin pool status --check",
        ARGS { { "N", NULL, VV_VALUE_JOB, VV_OPTIONAL | VV_MANY } }, OPTS { { 0 } } },
    { "job", "pause", "job.pause", NULL, CHANGES, NULL, "stop a job for now", NULL, NULL, ARGS { { "N", "job", VV_VALUE_JOB, 0 } }, OPTS { { 0 } } },
    { "job", "resume", "job.resume", NULL, CHANGES, NULL, "let a paused job go on", NULL, NULL,
        ARGS { { "N", "job", VV_VALUE_JOB, 0 } }, OPTS { { 0 } } },
    { "job", "cancel", "job.cancel", NULL, CHANGES, NULL, "end a job that can be ended", NULL, NULL,
        ARGS { { "N", "job", VV_VALUE_JOB, 0 } }, OPTS { { 0 } } },

    /* ---- looking */
    { "stats", NULL, "stats.get", vv_run_stats, 0, NULL, "counters of the pool and of its LUNs", NULL, "vvfs-admin stats db --interval 1",
        ARGS { { "OBJECT", "objects", VV_VALUE_LUN, VV_OPTIONAL | VV_MANY } }, OPTS { INTERVAL } },
    { "top", NULL, NULL, vv_run_top, 0, NULL, "the busiest LUNs, again and again", "Off a terminal: one screen.", NULL, NONE, OPTS { INTERVAL } },
    { "events", NULL, "events.list", vv_run_events, VV_COMMAND_LIST, event_columns, "what has happened",
        "TIME is a date, a time, or a span before now such as 10m, 2h or 3d.", "vvfs-admin events --since 2h",
        NONE, OPTS { { "follow", 0, NULL, NULL, VV_VALUE_FLAG, 0, "go on printing, until Ctrl-C" },
            { "since", 0, "TIME", NULL, VV_VALUE_TEXT, 0, "only newer ones" } } },
    { "doctor", NULL, "doctor.list", vv_run_doctor, 0, NULL, "what is wrong, and the command that mends it",
        "Exits with 5 if something is.", NULL, NONE, OPTS { { 0 } } },
    { "version", NULL, NULL, vv_run_version, VV_COMMAND_LOCAL, NULL, "versions of the tool and of the daemon", NULL, NULL, NONE, OPTS { { 0 } } },
    { "help", NULL, NULL, vv_run_help, VV_COMMAND_LOCAL, NULL, "explain a noun or a command", NULL, "vvfs-admin help snapshot restore",
        ARGS { { "NOUN", NULL, VV_VALUE_TEXT, VV_OPTIONAL }, { "VERB", NULL, VV_VALUE_TEXT, VV_OPTIONAL } },
        OPTS { { "completion", 0, "SHELL", NULL, VV_VALUE_TEXT, 0, "print the completion script for bash, zsh or fish" },
            { "mdoc-synopsis", 0, NULL, NULL, VV_VALUE_FLAG, 0, "print the synopses for a manual page" },
            { "mdoc-list", 0, NULL, NULL, VV_VALUE_FLAG, 0, "print the descriptions for a manual page" },
            { "udev-link", 0, "DEVICE", NULL, VV_VALUE_TEXT, 0, "print the link of a loop device (for 60-vvfs.rules)" } } },
    { 0 },
};

/* ---- words that are not commands of this version */
const VvReserved vv_reserved[] = {
    { "pool", "scrub" }, { "pool", "import" }, { "pool", "export" }, { "disk", "scan" }, { "disk", "offline" },
    { "disk", "online" }, { "disk", "evacuate" }, { "disk", "replace" }, { "lun", "move" }, { "snapshot", "send" },
    { "snapshot", "receive" }, { "job", "throttle" }, { "share", NULL }, { "node", NULL }, { "lease", NULL },
    { "schedule", NULL }, { "trash", NULL }, { "group", NULL }, { "mirror", NULL }, { "send", NULL },
    { "receive", NULL }, { 0 },
};

const VvWordPair vv_aliases[] = {
    { "ls", "list" }, { "rm", "remove" }, { "mv", "rename" }, { "snap", "snapshot" }, { 0 },
};

/* The first that the noun has is named. */
const VvWordPair vv_other_words[] = {
    { "rollback", "restore" }, { "revert", "restore" }, { "reset", "restore" }, { "delete", "remove" }, { "del", "remove" },
    { "destroy", "remove" }, { "drop", "remove" }, { "unlink", "remove" }, { "erase", "destroy" }, { "delete", "destroy" },
    { "remove", "destroy" }, { "add", "create" }, { "new", "create" }, { "make", "create" }, { "take", "create" },
    { "mk", "create" }, { "create", "add" }, { "info", "show" }, { "get", "show" }, { "status", "show" }, { "stat", "show" },
    { "cat", "show" }, { "describe", "show" }, { "show", "status" }, { "info", "status" }, { "map", "attach" },
    { "mount", "attach" }, { "open", "attach" }, { "unmap", "detach" }, { "umount", "detach" }, { "unmount", "detach" },
    { "close", "detach" }, { "grow", "resize" }, { "extend", "resize" }, { "expand", "resize" }, { "shrink", "resize" },
    { "resize", "grow" }, { "extend", "grow" }, { "expand", "grow" }, { "copy", "clone" }, { "cp", "clone" }, { "fork", "clone" },
    { "move", "rename" }, { "change", "set" }, { "modify", "set" }, { "edit", "set" }, { "config", "set" }, { "verify", "check" },
    { "fsck", "check" }, { "repair", "check" }, { "compare", "diff" }, { "expire", "prune" }, { "clean", "prune" },
    { "update", "refresh" }, { "stop", "pause" }, { "continue", "resume" }, { "start", "resume" }, { "kill", "cancel" },
    { "abort", "cancel" }, { "volume", "lun" }, { "vol", "lun" }, { "image", "lun" }, { "luns", "lun" }, { "snapshots", "snapshot" },
    { "snaps", "snapshot" }, { "disks", "disk" }, { "device", "disk" }, { "dev", "disk" }, { "pools", "pool" }, { "jobs", "job" },
    { "task", "job" }, { "event", "events" }, { "log", "events" }, { "health", "doctor" }, { "stat", "stats" },
    { "iostat", "stats" }, { 0 },
};

const VvWordPair vv_noun_help[] = {
    { "pool", "the pool as a whole" }, { "disk", "the disks that hold its data" }, { "lun", "virtual disks: files under luns/" },
    { "snapshot", "what LUNs held at an instant: files under snapshots/LUN/" }, { "job", "work in the background" }, { 0 },
};
