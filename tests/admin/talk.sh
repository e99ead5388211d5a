#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# vvfs-admin against a daemon that follows a script: requests, lists, exit codes, prompts, jobs.
# shellcheck disable=SC1091,SC2154,SC2016,SC2028,SC2317
. "$(dirname "$0")/common.sh"

lun() # lun NAME USED EXCLUSIVE SNAPSHOTS ORIGIN
{
    printf '{"object":"%s","name":"%s","uuid":"u","size":42949672960,"used":%s,"exclusive":%s,"snapshots":%s,"copies":1,"origin":%s,"open":[],"keep":"off","state":"ok","created":"2026-11-02T03:07:00.000000000Z","created_ns":1793588820000000000}' \
        "$1" "$1" "$2" "$3" "$4" "$5"
}
luns="[$(lun db 22978075034 1288490189 34 '"db@before-upgrade"'),$(lun dbtest 22978075034 0 0 null)]"
pool tank
mounted tank /vv

daemon tank "{
  \"lun.list\": [{\"result\": {\"items\": $luns, \"next\": null}}],
  \"lun.show\": {\"error\": [\"not-found\", \"no LUN nope in pool tank\", \"nope\", \"vvfs-admin lun list\"]},
  \"lun.create\": {\"result\": $(lun db 0 0 0 null)},
  \"lun.remove\": {\"result\": {\"removed\": [\"a\", \"a@x\"], \"freed\": 1536}},
  \"lun.resize\": {\"result\": {\"size\": 1073741824, \"freed\": null, \"dry_run\": true}},
  \"lun.rename\": {\"error\": [\"no-quorum\", \"m\", null, null]},
  \"lun.clone\": {\"close\": true},
  \"lun.set\": {\"hang\": true},
  \"snapshot.list\": [
    {\"result\": {\"items\": [{\"object\": \"db@a\", \"exclusive\": 5, \"created_ns\": 2000000000, \"keep\": \"off\", \"note\": \"a\\u001b[31mb\"}], \"next\": \"c1\"}},
    {\"result\": {\"items\": [{\"object\": \"db@b\", \"exclusive\": 700, \"created_ns\": 3000000000}, {\"object\": \"web@c\", \"exclusive\": null, \"created_ns\": 1000000000}], \"next\": null}}],
  \"snapshot.restore\": [
    {\"error\": [\"busy\", \"db is open for writing on web1: /dev/loop0, mounted at /srv/db\", \"db\", \"Unmount it and \`vvfs-admin lun detach db\`; \`--force\` restores under the mounted file system and will damage it.\"]},
    {\"result\": {\"restored\": \"db\", \"kept\": \"db@before-restore-1\", \"freed\": 0}},
    {\"result\": {\"restored\": \"db\", \"kept\": \"db@before-restore-1\", \"freed\": 0}},
    {\"result\": {\"restored\": \"db\", \"kept\": null, \"freed\": null}},
    {\"result\": {\"restored\": \"db\", \"kept\": null, \"freed\": 1536}}],
  \"snapshot.create\": {\"result\": {\"created\": [{\"object\": \"db@h-1\", \"lun\": \"db\"}, {\"object\": \"web@h-1\", \"lun\": \"web\"}]}},
  \"snapshot.remove\": {\"result\": {\"removed\": [\"db@a1\", \"db@a2\"], \"freed\": 13314398618, \"freed_alone\": 3328599654, \"confirm\": true, \"dry_run\": true}},
  \"snapshot.prune\": [{\"result\": {\"removed\": [\"db@h-1\", \"db@h-2\"], \"freed\": 1503238553, \"considered\": 27}},
    {\"result\": {\"removed\": [\"db@h-1\"], \"freed\": null, \"considered\": 27}}],
  \"disk.remove\": {\"result\": {\"removed\": [\"d\"], \"damaged\": [], \"job\": 7}},
  \"subscribe\": [
    {\"result\": {\"subscription\": 1, \"jobs\": [{\"id\": 7, \"state\": \"running\"}]}, \"after\": [[\"job\", {\"id\": 7, \"state\": \"running\"}], [\"job\", {\"id\": 7, \"state\": \"done\"}]]},
    {\"result\": {\"subscription\": 1, \"jobs\": [{\"id\": 7, \"state\": \"running\"}]}, \"after\": [[\"job\", {\"id\": 7, \"state\": \"failed\", \"error\": {\"code\": \"no-space\", \"message\": \"disk d is full\", \"object\": \"d\", \"hint\": null}}]]},
    {\"result\": {\"subscription\": 1, \"jobs\": [{\"id\": 7, \"state\": \"cancelled\"}]}},
    {\"result\": {\"subscription\": 1, \"jobs\": [{\"id\": 7, \"state\": \"running\"}]}}],
  \"doctor.list\": {\"result\": {\"next\": null, \"items\": [{\"severity\": \"warning\", \"code\": \"no-space\", \"object\": \"tank\", \"message\": \"pool tank is 91 % used\",
     \"fix\": [\"vvfs-admin snapshot remove db@before-restore-1\", \"vvfs-admin disk add /dev/sdc\"], \"effect\": [\"frees 8.1G\", \"adds 200G (empty, unused)\"]}]}},
  \"pool.status\": {\"result\": {\"name\": \"tank\", \"uuid\": \"u\", \"state\": \"full\", \"problems\": [{\"severity\": \"warning\", \"code\": \"full\", \"message\": \"m\"}],
     \"nodes\": [{\"name\": \"web1\"}], \"disks\": [{\"name\": \"sdb\", \"state\": \"ok\", \"size\": 107374182400, \"free\": 9771050598}], \"luns\": 2, \"snapshots\": 3,
     \"promised\": 85899345920, \"backed\": 24266565222, \"full_in_seconds\": 172800, \"stale_since\": null,
     \"space\": {\"total\": 107374182400, \"used\": 95133525606, \"free\": 9771050598, \"held\": 2469606195, \"freeing\": 13314398618, \"missing\": 0},
     \"jobs\": [{\"id\": 7, \"kind\": \"reclaim\", \"object\": \"db\", \"done\": 38, \"total\": 100, \"state\": \"running\", \"rate\": 429916160, \"seconds_left\": 20}]}},
  \"events.list\": {\"result\": {\"items\": [], \"next\": null}},
  \"job.list\": {\"result\": {\"items\": [], \"next\": null}},
  \"pool.get\": {\"result\": {\"settings\": {\"a\": \"1\", \"b\": \"x y\"}}}
}"

# ---- lists
a lun list
gives 0 "NAME    SIZE   USED  EXCLUSIVE  SNAPSHOTS  COPIES  OPEN  STATE  ORIGIN
db       40G  21.4G       1.2G         34       1  -     ok     db@before-upgrade
dbtest   40G  21.4G          0          0       1  -     ok     -" "" "lun list, as the manual shows it"
a lun list -H -o name,size,created
gives 0 $'db\t42949672960\t1793588820\ndbtest\t42949672960\t1793588820' "" "-H: TABs, bytes, Unix seconds"
a lun list --sort -name -Ho name
gives 0 $'dbtest\ndb' "" "--sort -COL, and letters in one word"
a lun list -b -o name,used --match 'db'
gives 0 $'NAME         USED\ndb    22978075034' "" "-b and --match"
a lun list -o +keep -H
[[ $code -eq 0 && $(head -n1 "$work/out") == *$'\toff' ]]; ok "-o +COL adds"
a lun list --json
[[ $code -eq 0 ]] && json 'len(d) == 2 and d[0]["origin"] == "db@before-upgrade" and d[1]["origin"] is None'; ok "--json"
a snapshot list --sort -exclusive -H -o object,exclusive
gives 0 $'db@b\t700\ndb@a\t5\nweb@c\t-' "" "a list in two pieces; unknown is last from the largest"
[[ $(last_request) == '["snapshot.list", {"exact": true, "cursor": "c1"}]' ]]; ok "the cursor is sent"
a job list --json
gives 0 "[]" "" "an empty list is []"
a pool get b
gives 0 "b=x y" "" "pool get"

# ---- errors and exit codes
a lun show nope --json
gives 1 '{"error": {"code": "not-found", "message": "no LUN nope in pool tank", "object": "nope", "hint": "vvfs-admin lun list"}}' "" "an error in JSON"
a lun show nope
gives 1 "" "vvfs-admin: no LUN nope in pool tank: vvfs-admin lun list" "an error in one line"
a lun rename a b
gives 3 "" "vvfs-admin: m" "no quorum: 3"
a lun clone db@a b
[[ $code -eq 4 ]] && grep -q 'may have been done' "$work/err"; ok "the daemon dies under a change: 4"
a lun set db keep=on --timeout 0.3 --id x1
[[ $code -eq 4 ]] && grep -q 'may have been done' "$work/err"; ok "timeout: 4"
"$python" -c 'import json,sys; m,p=json.loads(sys.argv[1]); assert m=="lun.set" and p["request_id"]=="x1" and 0<p["timeout_ms"]<=300 and p["settings"]=={"keep":"on"}' "$(last_request)"; ok "id, timeout and settings are sent"
a snapshot restore db@before-upgrade
gives 1 "" 'vvfs-admin: db is open for writing on web1: /dev/loop0, mounted at /srv/db. Unmount it and `vvfs-admin lun detach db`; `--force` restores under the mounted file system and will damage it.' "the refusal of a restore, as the manual shows it"
a snapshot restore db@before-upgrade
gives 0 "db@before-restore-1" "note: what db held until now is kept as db@before-restore-1." "restore prints what is kept"
a snapshot restore db@before-upgrade --quiet
gives 0 "db@before-restore-1" "" "--quiet drops the note"

# ---- commands
a lun create db 40G mode=0640 --if-not-exists
gives 0 "" "" "lun create says nothing"
[[ $(last_request) == '["lun.create", {"if_not_exists": true, "name": "db", "size": 42949672960, "settings": {"mode": "0640"}}]' ]]; ok "and sends what was asked"
a --disks=d1,d2 lun create --copies 2 db 40G
[[ $(last_request) == *'"disks": ["d1", "d2"]'*'"copies": 2'* ]]; ok "options anywhere, lists"
(cd / && a lun create --disks d1,./dev/sdb db 40G)
[[ $(last_request) == *'"disks": ["d1", "/dev/sdb"]'* ]]; ok "a disk's path is made absolute"
a lun rm a --with-snapshots --dry-run
gives 0 "would remove 1 LUN and 1 snapshot and free 1.5K: a a@x" "" "a dry run of lun remove"
[[ $(last_request) == *'"dry_run": true'* ]]; ok "is one"
a snapshot create db web --prefix h
gives 0 $'db@h-1\nweb@h-1' "" "--prefix prints the names"
[[ $(last_request) == '["snapshot.create", {"prefix": "h", "luns": ["db", "web"]}]' ]]; ok "of the LUNs given"
a snapshot create db@h-1 web@h-1
gives 0 "" "" "names that are known are not printed"
a snapshot create db@h-1 --freeze
[[ $code -eq 0 ]] && grep -q '^note: nothing was frozen' "$work/err"; ok "--freeze without a mount says so"
a snapshot remove 'db@a*' --dry-run
gives 0 "would remove 2 snapshots of db and free 12.4G (each alone 3.1G in all: the rest is shared among them)" "" "a dry run of snapshot remove"
a snapshot remove 'db@a*' --yes
[[ $code -eq 0 && $(last_request) == '["snapshot.remove", {"objects": ["db@a*"], "yes": true}]' ]]; ok "--yes is sent"
a snapshot prune db --prefix h --keep-hourly 24 --dry-run
gives 0 "would remove 2 of 27 snapshots and free 1.4G: db@h-1 db@h-2" "" "a dry run of prune"
a snapshot prune db --prefix h --keep-hourly 24 --dry-run
gives 0 "would remove 1 of 27 snapshots and free an unknown amount: db@h-1" "" "one that cannot be counted"
a snapshot rename db@x y
[[ $(last_request) == '["snapshot.rename", {"object": "db@x", "new_object": "db@y"}]' ]]; ok "rename fills in the LUN"

a lun resize db 1G --shrink --dry-run
gives 0 "would make db 1G (what that frees is not counted)" "" "a dry run does not call unknown bytes 0"
a snapshot restore db@x --discard --dry-run
gives 0 "would restore db to db@x and discard what it holds now (what that frees is not counted)" "" "nor that of restore --discard"
a snapshot restore db@x --discard --dry-run
gives 0 "would restore db to db@x, discard what it holds now and free 1.5K" "" "and tells what is counted"

# ---- a terminal that says yes, and one that says no
on_terminal() # on_terminal ANSWER ARGUMENT...
{
    "$python" - "$tool" "$@" <<'END' >"$work/out" 2>&1
import os, pty, sys
tool, answer, args = sys.argv[1], sys.argv[2], sys.argv[3:]
pid, fd = pty.fork()
if pid == 0:
    os.execv(tool, [tool] + args)
text = b""
asked = False
while True:
    try:
        piece = os.read(fd, 4096)
    except OSError:
        break
    if not piece:
        break
    text += piece
    if not asked and b"[y/N] " in text:
        asked = True
        os.write(fd, answer.encode() + b"\n")
sys.stdout.write(text.decode())
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
END
    code=$?
}
on_terminal y snapshot remove 'db@a*'
[[ $code -eq 0 ]] && grep -q 'Remove 2 snapshots of db in pool tank, freeing 12.4G? \[y/N\]' "$work/out"; ok "a pattern asks on a terminal"
[[ $(last_request) == '["snapshot.remove", {"objects": ["db@a1", "db@a2"], "yes": true}]' ]]; ok "what was shown is what goes"
on_terminal n snapshot remove 'db@a*'
[[ $code -eq 1 && $(last_request) == *dry_run* ]]; ok "no is no"
on_terminal "" snapshot list -o object,note --sort object
! grep -q $'\033\\[31mb' "$work/out"; ok "a note cannot steer the terminal"

# ---- jobs
a disk remove d --background
gives 0 7 "" "--background prints the number"
a disk remove d
gives 0 "" "" "a command waits for its job"
a disk remove d
gives 1 "" "vvfs-admin: disk d is full" "and exits with its result"
a job wait 7
gives 5 "" "note: job 7 cancelled" "job wait: 5"
a job wait 7 --timeout 0.3
[[ $code -eq 4 ]]; ok "job wait: 4"
"$tool" job wait 7 >"$work/out" 2>"$work/err" &
waiter=$!
subscribed() { [[ $(grep -c subscribe "$work/log") -ge 5 ]]; }
wait_for 50 subscribed
interrupted() { kill -INT "$waiter" 2>/dev/null; [[ -s $work/err ]]; } # until it listens: then it says so
wait_for 50 interrupted
wait "$waiter"
code=$?
[[ $code -eq 130 ]] && grep -q '^note: job 7 goes on' "$work/err"; ok "Ctrl-C leaves the job and says so"

# ---- status and doctor
a pool status
gives 0 "tank   full   1 node, 1 disk, 2 LUNs, 3 snapshots                      WARNING: 91 % used, full in about 2 days at the last day's rate
space  100G = used 88.6G (freeing 12.4G) + held 2.3G + free 9.1G       LUNs promise 80G, of that backed 22.6G
disk   sdb  ok  100G  free 9.1G                                        job 7  reclaim db  38 %  410M/s  20 s left" "" "pool status, as the manual shows it"
cp "$work/out" "$work/status"
a pool status --quiet
[[ $code -eq 0 ]] && cmp -s "$work/status" "$work/out"; ok "--quiet drops remarks, not what was asked for"
a pool status --check
[[ $code -eq 5 ]] && cmp -s "$work/status" "$work/out"; ok "pool status --check: 5"
a pool status --check --quiet
gives 5 "" "" "with --quiet the exit code alone"
a doctor
gives 5 "warning  pool tank is 91 % used
           vvfs-admin snapshot remove db@before-restore-1       frees 8.1G
           vvfs-admin disk add /dev/sdc                         adds 200G (empty, unused)" "" "doctor, as the manual shows it"
a doctor --color always
[[ $code -eq 5 && $(head -n1 "$work/out") == $'\033[33mwarning\033[0m  pool'* ]]; ok "colour when asked for"

# ---- events
for words in "00:00 0" "10:00 36000" "23:59:30 86370"; do
    a events --since "${words% *}"
    [[ $code -eq 0 ]] && "$python" -c 'import json,sys,time
since = json.loads(sys.argv[1])[1]["since_ns"] / 1e9
assert 0 <= time.time() - since < 86400 + 60 and since % 86400 == int(sys.argv[2]), since' "$(last_request)" "${words#* }"
    ok "since ${words% *}: the last time it was that"
done
for text in 25:00 10:0 10-00 ab:cd 10:00:99 "" 10:00: :; do
    a events --since "$text"
    [[ $code -eq 2 ]] && grep -q 'is no time: write 04:07' "$work/err"; ok "\"$text\" is no time"
done

# ---- strangers
pool other
daemon other '{"greeting": {"vvfs": {"version": "77", "pool": "other", "uuid": "u", "protocol": 2}}}'
a -p other lun list
[[ $code -eq 1 ]] && grep -q 'speaks protocol 2, this vvfs-admin speaks 1' "$work/err"; ok "another protocol"
pool strange
daemon strange '{"greeting": [1]}'
a -p strange lun list
[[ $code -eq 1 ]] && grep -q 'does not speak the protocol' "$work/err"; ok "something else listens"
done_testing
