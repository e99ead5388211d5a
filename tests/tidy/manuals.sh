#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The manuals and the tools agree: synopses and lists of commands, options of every command, columns, options of the daemon;
# and mandoc finds nothing in them.
set -u
cd "${VV_SRCDIR:-$(dirname "$0")/../..}" || exit 99
build=${VV_BUILDDIR:-.}
admin=$build/vvfs-admin
number=0

verdict() # verdict RULE: ok if stdin is empty, otherwise stdin names the offenders
{
    local offenders
    offenders=$(cat)
    number=$((number + 1))
    if [[ -z $offenders ]]; then
        echo "ok $number $1"
    else
        echo "not ok $number $1"
        # shellcheck disable=SC2001 # every line, not the first
        sed 's/^/#   /' <<<"$offenders"
    fi
}
skip() # skip RULE REASON
{
    number=$((number + 1))
    echo "ok $number $1 # SKIP $2"
}

# Text of a page as a person reads it, in one line.
plain() { "$VV_MANDOC" -Tascii "$1" | sed 's/.\x08//g' | tr -s '\n\t ' ' '; }

global_options()
{
    local word page
    page=$(plain man/vvfs-admin.8)
    "$admin" help | grep -oE '(^| )--?[a-zA-Z][a-z-]*' | tr -d ' ' | sort -u | while read -r word; do
        grep -qE -- "(^|[^a-z-])$word([^a-z-]|\$)" <<<"$page" || echo "vvfs-admin.8: $word"
    done
}
columns()
{
    local command noun page word
    "$admin" help | awk '$2 == "list" || $2 == "diff" { print $1, $2 }' | while read -r command; do
        noun=${command% *}
        page=$(plain "man/vvfs-admin-$noun.8")
        # shellcheck disable=SC2086 # two words
        for word in $("$admin" help $command | sed -n 's/^Columns://p' | tr -d '()'); do
            grep -qwF -- "$word" <<<"$page" || echo "vvfs-admin-$noun.8: column $word of $command"
        done
    done
}
nouns()
{
    "$admin" help | awk '/^  [a-z]+ [a-z]+ / { print $1 }' | sort -u | while read -r noun; do
        [[ -e man/vvfs-admin-$noun.8 ]] || echo "man/vvfs-admin-$noun.8 is missing"
    done
}
daemon_options()
{
    local word page
    page=$(plain man/vvfs.8)
    "$build/vvfs" --help | sed -n '/^Options:/,$p' | grep -oE '^  [a-zA-Z_-]+[= ].*' | sed -E 's/  +.*//; s/^ *//' |
        grep -oE '[a-zA-Z_-]+' | grep -vxE 'N|M|S|ADDR|PORT|GROUP|LEVEL|x-' | sort -u | while read -r word; do
        grep -qwF -- "$word" <<<"$page" || echo "vvfs.8: $word"
    done
}

echo 1..7
if [[ -x $admin ]]; then
    verdict "synopses and lists of commands are those of vvfs-admin" < <(scripts/manuals --check "$admin" man/*.8)
    verdict "every noun has its page" < <(nouns)
else
    skip "synopses and lists of commands are those of vvfs-admin" "vvfs-admin is not built"
    skip "every noun has its page" "vvfs-admin is not built"
fi
if [[ -x $admin && -n ${VV_MANDOC-} ]]; then
    verdict "options of every command are in vvfs-admin(8)" < <(global_options)
    verdict "columns of lists are in the pages of their nouns" < <(columns)
else
    skip "options of every command are in vvfs-admin(8)" "no mandoc or no vvfs-admin"
    skip "columns of lists are in the pages of their nouns" "no mandoc or no vvfs-admin"
fi
if [[ -x $build/vvfs && -n ${VV_MANDOC-} ]]; then
    verdict "options of vvfs are in vvfs(8)" < <(daemon_options)
else
    skip "options of vvfs are in vvfs(8)" "no mandoc or no vvfs"
fi
if [[ -n ${VV_MANDOC-} ]]; then
    verdict "mandoc finds nothing" < <("$VV_MANDOC" -Tlint -Wwarning man/*.[1-8] 2>&1)
else
    skip "mandoc finds nothing" "no mandoc"
fi
verdict "every manual is installed" < <(
    for page in man/*.[1-8]; do
        grep -qF "%reldir%/${page#man/}" man/Makefile.inc || echo "$page"
    done
)
