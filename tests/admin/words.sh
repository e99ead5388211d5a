#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# vvfs-admin without a daemon: parsing, help, hints, refusals, choosing the pool, completions.
# shellcheck disable=SC1091,SC2154,SC2016,SC2028,SC2317
. "$(dirname "$0")/common.sh"

# ---- usage and hints
a; [[ $code -eq 2 ]]; ok "no command is a usage error"
a snapshot rollback db@x
gives 2 "" 'vvfs-admin: no verb `rollback`: `restore`' "a word of other tools gets a hint"
a lun delete db
gives 2 "" 'vvfs-admin: no verb `delete`: `remove`' "delete is not an alias"
a snapshot restor db@x
gives 2 "" 'vvfs-admin: no verb `restor`: `restore`' "verbs are never abbreviated"
a volume list
gives 2 "" 'vvfs-admin: no noun `volume`: `lun`' "an unknown noun gets a hint"
a status
gives 2 "" 'vvfs-admin: no noun `status`: `pool status`' "a verb without its noun"
a create lun db
gives 2 "" 'vvfs-admin: no noun `create`: `lun create`' "verb before noun"
a lun create db 40G --copie 2
gives 2 "" 'vvfs-admin: no option `--copie` for lun create: vvfs-admin help lun create' "options are never abbreviated"
a lun create db
[[ $code -eq 2 ]] && grep -q "lun create needs SIZE: vvfs-admin lun create NAME SIZE" "$work/err"; ok "a missing argument is named"
a lun show db web
[[ $code -eq 2 ]] && grep -q '`web` is one argument too many' "$work/err"; ok "an argument too many is named"
a lun show db --timeout 0
[[ $code -eq 2 ]]; ok "a timeout of nothing is refused"
a lun list --sort
[[ $code -eq 2 ]] && grep -q 'option `--sort` needs a value' "$work/err"; ok "a missing value is named"
a lun list --json=yes
[[ $code -eq 2 ]]; ok "a flag takes no value"
a lun create db 10GB
[[ $code -eq 2 ]] && grep -q 10737418240 "$work/err" && grep -q 10000000000 "$work/err"; ok "10GB: both readings"
for size in 0 -5 x 9E 1000; do
    a lun create db "$size"; [[ $code -eq 2 ]]; ok "lun create with size $size is refused"
done
a lun create -- -db 1G
[[ $code -eq 1 ]] && grep -q . "$work/err"; ok "-- ends options, and -db is no name"
a --json lun create a/b 1G
[[ $code -eq 1 ]] && json 'd["error"]["code"] == "invalid-name"'; ok "a bad name: invalid-name, in JSON on stdout"
[[ ! -s $work/err ]]; ok "and nothing on stderr"
a snapshot create db
[[ $code -eq 2 ]] && grep -q 'write db@SNAP, or add --prefix P' "$work/err"; ok "snapshot create db: how to write it"
a snapshot prune db --prefix h
[[ $code -eq 2 ]] && grep -q 'a rule of what to keep' "$work/err"; ok "prune without a rule"
a lun rename db web --dry-run
[[ $code -eq 2 ]]; ok "no dry run where there is none"
a lun set db keep
[[ $code -eq 2 ]] && grep -q KEY=VALUE "$work/err"; ok "a setting needs ="
a lun list -o name,nope
[[ $code -eq 2 ]] && grep -q 'no column `nope`, there are: name size used' "$work/err"; ok "an unknown column, before anything is asked"

# ---- what a stranger reads
a lun create a@b 1G
[[ $code -eq 1 ]] && grep -qF "it contains '@'. Names are 1 to 128 of" "$work/err"; ok "a hint that is a sentence begins like one"
a lun set db
gives 2 "" "vvfs-admin: lun set needs KEY=VALUE: vvfs-admin lun set NAME KEY=VALUE..." "a synopsis is no sentence"
a ls
[[ $code -eq 2 ]] && grep -q 'no noun `ls`' "$work/err"; ok "what was typed is what is named"
a lun list -o ''
[[ $code -eq 2 ]] && grep -q 'option `-o` needs the name of a column' "$work/err"; ok "-o of nothing"
for words in --version -V; do a $words; gives 2 "" "vvfs-admin: --version is a command here: vvfs-admin version" "$words"; done
mkdir "$work/elsewhere" && printf 'vvfs-pool 1\nname else\nuuid 00000000-0000-4000-8000-000000000009\n' >"$work/elsewhere/vvfs-pool"
a -p "$work/elsewhere" lun list
gives 3 "" "vvfs-admin: pool else is not mounted: vvfs $work/elsewhere MOUNTPOINT" "a pool that has no standard place is mounted by its path"

# ---- a verb that may be left out
a share set db
gives 2 "" "vvfs-admin: share set needs NODE=MODE: vvfs-admin share set OBJECT NODE=MODE... [--with-snapshots] [--force]" "share set needs a node"
a share db@x n2=ro --dry-run
gives 2 "" "vvfs-admin: share set has no dry run: nothing was changed" "share OBJECT NODE=MODE is share set"
a share db n2=ro n2=rw
[[ $code -eq 2 ]] && grep -q 'given twice' "$work/err"; ok "a node twice"
a share db
[[ $code -eq 2 ]] && grep -q 'no verb `db` for share' "$work/err"; ok "without NODE=MODE it is a verb that there is not"

# ---- not in this version
for words in "pool import x" "lun move db" "snapshot send db@x" "disk scan" "schedule list"; do
    # shellcheck disable=SC2086
    a --json $words
    [[ $code -eq 1 ]] && json 'd["error"]["code"] == "unsupported"'; ok "$words: not in this version"
done

# More names than a request may have are told before anybody is connected to (no pool is there).
many() { seq -f "$1" "$2"; }
for words in "snapshot remove:db@s%g" "lun remove:l%g" "lun list:l%g" "snapshot create:db@s%g" "job wait:%g"; do
    # shellcheck disable=SC2046,SC2086
    a ${words%:*} $(many "${words#*:}" 4097)
    [[ $code -eq 1 ]] && grep -qE "^vvfs-admin: ${words%:*} takes at most 4096 [A-Z@]+(\[@SNAP\])? in one command, not 4097. Split them: .xargs -r -n 4096 vvfs-admin ${words%:*}.\.$" "$work/err"
    ok "${words%:*} of 4097 names: how to split them"
done
# shellcheck disable=SC2046
a snapshot remove $(many "db@s%g" 4096)
[[ $code -eq 3 ]]; ok "4096 are not too many"
# shellcheck disable=SC2046
a snapshot remove --json $(many "db@s%g" 5000)
[[ $code -eq 1 ]] && json 'd["error"]["code"] == "limit" and "xargs" in d["error"]["hint"]'; ok "in JSON: limit"

# ---- help
a help; [[ $code -eq 0 && ! -s $work/err ]]; ok "help"
sed -n 's/^  \([a-z]* [a-z]*\|[a-z]*\)  .*/\1/p' "$work/out" | sed 's/ *$//' | grep -v '^$' >"$work/commands"
[[ $(wc -l <"$work/commands") -ge 40 ]]; ok "it lists every command"
bad=
while read -r words; do
    # shellcheck disable=SC2086
    a $words --help
    [[ $code -eq 0 && -s $work/out && ! -s $work/err ]] || bad+=" ${words// /-}"
    cp "$work/out" "$work/first"
    sed -nE 's/^  (-., )?(--?[A-Za-z-]+)( [^ ]+)?  .*/\2 \3/p' "$work/out" | sed -E 's/ +[^ ].*/ VALUE/' >>"$work/options"
    # shellcheck disable=SC2086
    a help $words
    cmp -s "$work/first" "$work/out" || bad+=" help-${words// /-}"
done <"$work/commands"
[[ -z $bad ]]; ok "--help and help of every command agree$bad"
[[ $(sort -u "$work/options" | wc -l) -eq $(cut -d' ' -f1 "$work/options" | sort -u | wc -l) && $(grep -c VALUE "$work/options") -gt 20 ]]
ok "an option takes a value in every command or in none"
a snap rm --help
[[ $code -eq 0 ]] && grep -q '^vvfs-admin snapshot remove:' "$work/out"; ok "aliases: snap rm"
a lun --help
[[ $code -eq 0 ]] && grep -q 'lun create' "$work/out"; ok "help of a noun"
a help --json
[[ $code -eq 0 && ! -s $work/err ]] && json "sorted(c['command'] for c in d['commands']) == sorted(open('$work/commands').read().splitlines())"; ok "in JSON too"
json 'all(o["help"] and (o["name"] or o["letter"]) for o in d["options"] + [o for c in d["commands"] for o in c["options"]])'; ok "with every option"
json 'all(set(c) == set("command noun verb synopsis help text examples columns arguments options".split()) for c in d["commands"])'; ok "and every key"
a help disk --json
json '{c["noun"] for c in d["commands"]} == {"disk"} and len(d["commands"]) > 3'; ok "of a noun"
for words in "help snap rm" "snap rm --help"; do
    # shellcheck disable=SC2086
    a --json $words
    json '[c["command"] for c in d["commands"]] == ["snapshot remove"] and d["commands"][0]["arguments"] == [{"name": "LUN@SNAP", "optional": False, "many": True}]'
    ok "of a command: $words"
done
a help lun rollback --json
[[ $code -eq 2 ]] && json 'd["error"]["code"] == "usage"'; ok "of what is not there: an error in JSON"
for option in --completion=bash --udev-link=/dev/loop0 --mdoc-list --mdoc-synopsis; do
    a help $option --json
    [[ $code -eq 2 ]] && json 'd["error"]["object"] == "'"${option%=*}"'"'; ok "help $option is no document"
done
a help --mdoc-list
[[ $code -eq 0 && $(grep -c '^\.It Xo' "$work/out") -eq $(wc -l <"$work/commands") ]]; ok "mdoc has every command"
if [[ -n ${VV_MANDOC-} ]]; then
    { printf '.Dd 2026-01-01\n.Dt T 8\n.Os\n.Sh NAME\n.Nm vvfs-admin\n.Nd x\n.Sh SYNOPSIS\n'; "$tool" help --mdoc-synopsis; echo .Sh COMMANDS; cat "$work/out"; } >"$work/t.8"
    ! "$VV_MANDOC" -T lint -W warning "$work/t.8" >"$work/lint"; ! grep -E 'ERROR|WARNING' "$work/lint"; ok "mdoc is clean"
fi

# ---- completions
"$tool" help --completion bash >"$work/bash" && bash -n "$work/bash"; ok "the bash script parses"
complete_line() # complete_line LINE: what bash would offer
{
    PATH="$(dirname "$tool"):$PATH" bash -c '. "$1"; COMP_LINE=$2 COMP_POINT=${#2} COMP_WORDBREAKS=" @="; _vvfs_admin; printf "%s\n" "${COMPREPLY[@]}"' \
        _ "$work/bash" "$1" | sort | tr '\n' ' '
}
[[ $(complete_line "vvfs-admin sn") == "snapshot " ]]; ok "completes nouns"
[[ $(complete_line "vvfs-admin lun re") == "remove rename repack resize " ]]; ok "completes verbs"
[[ $(complete_line "vvfs-admin -p tank snap rest") == "restore " ]]; ok "after options and aliases"
[[ $(complete_line "vvfs-admin lun create db 1G --cop") == "--copies " ]]; ok "completes options"
mkdir "$work/asked" && printf '#!/bin/sh\n[ "$1 $2" = "disk list" ] && printf "sda\\nsdb\\n"\n' >"$work/asked/vvfs-admin" && chmod +x "$work/asked/vvfs-admin"
complete_disks() { local tool=$work/asked/vvfs-admin && complete_line "$1"; }
[[ $(complete_disks "vvfs-admin lun create db 1G --disks ") == "sda sdb " ]]; ok "completes names of disks"
[[ $(complete_disks "vvfs-admin lun create db 1G --disks sda,s") == "sda,sda sda,sdb " ]]; ok "behind a comma too"
for list in "" "sda," ",sda" "sda,,sdb"; do
    a lun create db 1G --disks "$list"
    [[ $code -eq 2 ]] && grep -q "takes D,..., not \"$list\"" "$work/err"; ok "--disks \"$list\": usage"
done
"$tool" help --completion zsh >"$work/zsh" && "$tool" help --completion fish >"$work/fish"; ok "zsh and fish scripts are made"
if command -v zsh >/dev/null; then zsh -n "$work/zsh"; ok "zsh parses its script"; fi
if command -v fish >/dev/null; then fish -n "$work/fish"; ok "fish parses its script"; fi
a help --completion tcsh; [[ $code -eq 2 ]]; ok "no script for other shells"

# ---- choosing the pool
a lun list
gives 3 "" "vvfs-admin: no pool is mounted here: vvfs POOL MOUNTPOINT" "nothing is mounted: 3"
pool tank
a lun list
gives 3 "" "vvfs-admin: no pool is mounted here: vvfs tank MOUNTPOINT" "the only pool is named in the hint"
a -p tank lun list
gives 3 "" "vvfs-admin: pool tank is not mounted: vvfs tank MOUNTPOINT" "no daemon: 3"
VVFS_POOL=tank a lun list
[[ $code -eq 3 ]] && grep -q "pool tank is not mounted" "$work/err"; ok "\$VVFS_POOL chooses"
a -p nope lun list
[[ $code -eq 1 ]] && grep -q "no pool nope" "$work/err"; ok "an unknown pool"
a -p ./nope lun list
[[ $code -eq 1 ]] && grep -q "neither a pool directory" "$work/err"; ok "a path that is no pool"
pool two
mounted tank /vv
mounted two /vv2
a lun list
gives 1 "" "vvfs-admin: 2 pools are mounted here, tank (/vv) and two (/vv2). \`-p POOL\` chooses one." "two and none chosen: both are named"
a -p /vv2 lun list
[[ $code -eq 3 ]] && grep -q "pool two has a mount at /vv2 but no daemon" "$work/err"; ok "a mount point chooses"
a -p two/ lun list --json
[[ $code -eq 1 ]]; ok "with a slash it is a path"
mkdir "$work/sub dir"
echo "51 1 0:98 / ${work}/sub\\040dir rw - fuse.vvfs $VVFS_POOLS_DIRECTORY/two rw" >>"$VVFS_MOUNTINFO"
(cd "$work/sub dir" && a lun list; [[ $code -eq 3 ]] && grep -q "pool two" "$work/err"); ok "the mount of the current directory"
a pool list -H -o name,state,mountpoint
gives 0 $'tank\tno-daemon\t/vv\ntwo\tno-daemon\t/vv2' "" "pool list knows mounts without daemon"
: >"$VVFS_MOUNTINFO"
a pool list --json
[[ $code -eq 0 ]] && json '[p["state"] for p in d] == ["not-mounted"] * 2 and d[0]["mountpoint"] is None'; ok "pool list in JSON"

# ---- the daemon's program
cat >"$work/vvfs" <<'END'
#!/bin/bash
[[ $1 == --offline ]] || exit 9
read -r params
echo "$2 $params" >>"$0.log"
echo '{"jsonrpc":"2.0","method":"progress","params":{"id":null,"done":1,"total":2,"what":"x"}}'
case $2 in
pool.create) echo '{"jsonrpc":"2.0","id":null,"result":{"name":"n","uuid":"u","directory":"/d/n","disks":[]}}' ;;
pool.check) echo '{"jsonrpc":"2.0","id":null,"result":{"ok":false,"errors":[{"code":"leak","object":"db","message":"3 blocks","repaired":false}]}}' ;;
pool.destroy) [[ $params == *'"dry_run": true'* ]] && echo '{"jsonrpc":"2.0","id":null,"result":{"name":"tank","removed":["/p/tank","/dev/sdx"],"left":["/dev/sdy"],"freed":1536,"dry_run":true}}' && exit
    echo '{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"m","data":{"code":"busy","object":null,"hint":null}}}' ;;
esac
END
chmod +x "$work/vvfs"
export VVFS_DAEMON=$work/vvfs
a pool create --name n --disk rel --overwrite
gives 0 /d/n "" "pool create prints the directory"
[[ $(tail -n1 "$work/vvfs.log") == 'pool.create {"name": "n", "disks": ["'"$PWD"'/rel"], "overwrite": true, "dir": "/var/lib/vvfs/n"}' ]]; ok "with absolute paths"
a pool create "$work/some" --size 1G
[[ $(tail -n1 "$work/vvfs.log") == 'pool.create {"size": 1073741824, "dir": "'"$work"'/some", "name": "some"}' ]]; ok "the name is the directory's"
a -p tank pool check
[[ $code -eq 5 ]] && out_is "leak  db: 3 blocks"; ok "pool check without a daemon: 5"
a -p tank pool destroy
[[ $code -eq 1 ]] && grep -q -- '--yes' "$work/err"; ok "pool destroy off a terminal needs --yes"
a pool destroy "$VVFS_POOLS_DIRECTORY/tank" --yes
gives 1 "" "vvfs-admin: m" "an error of the program"
[[ $(tail -n1 "$work/vvfs.log") == *'"yes": true}' ]]; ok "yes is sent"
a pool destroy "$VVFS_POOLS_DIRECTORY/tank" --dry-run
gives 0 "would destroy pool tank, free 1.5K and let go: /p/tank /dev/sdx" \
    "note: /dev/sdy would be left as it is: not there, not writable, or no disk of tank any more." "its dry run names the disks"
VVFS_DAEMON=$work/none a pool create --name n
[[ $code -eq 1 ]] && grep -q "vvfs is not installed" "$work/err"; ok "no program"
VVFS_DAEMON=/bin/true a pool create --name n
[[ $code -eq 1 ]] && grep -q "without an answer" "$work/err"; ok "a program that says nothing"
a version --json
[[ $code -eq 0 ]] && json 'd["daemon"] is None and d["protocol"] == 1'; ok "version needs no daemon"
done_testing
