#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The rules of the tree that no compiler checks. One TAP line a rule; offenders follow it.
set -u
cd "${VV_SRCDIR:-$(dirname "$0")/../..}" || exit 99

number=0

# verdict RULE: ok if stdin is empty, otherwise stdin names the offenders.
verdict() {
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

skip() {
    number=$((number + 1))
    echo "ok $number $1 # SKIP $2"
}

folders=(src meta cluster fusefs tests bench)
mapfile -t c_files < <(find "${folders[@]}" -name '*.[ch]' | sort)
mapfile -t shell_files < <(
    {
        find "${folders[@]}" man scripts -type f \( -name '*.sh' -o ! -name '*.*' \)
        printf '%s\n' autogen.sh quickstart runtests .ci/run
    } | grep -v '/corpus/' | while read -r file; do
        [[ -f $file ]] && head -n 1 "$file" | grep -aqE '^#!.*(ba|/)sh' && echo "$file"
    done | sort
)
mapfile -t other_files < <(
    find "${folders[@]}" man scripts m4 \( -name 'Makefile.inc' -o -name '*.py' -o -name '*.m4' -o -name '*.[1-8]' \) | sort
    printf '%s\n' configure.ac Makefile.am .clang-format
)

# Copies of the C files, line for line: in code/ comments and strings are blank, in strings/ only comments.
blank=$(mktemp -d) || exit 99
trap 'rm -rf "$blank"' EXIT
for folder in "${folders[@]}"; do
    find "$folder" -type d -exec mkdir -p "$blank/code/{}" "$blank/strings/{}" \;
done
perl -e '
    my $blank = shift;
    for my $file (@ARGV) {
        for my $keep ("code", "strings") {
            open my $in, "<", $file or die "$file: $!";
            local $/;
            my $text = <$in>;
            $text =~ s{(/\*.*?\*/)|("(?:[^"\\\n]|\\.)*")|(\x27(?:[^\x27\\\n]|\\.)*\x27)}{
                my $all = $&;
                defined $1 ? $all =~ s/[^\n]+/ /gr : $keep eq "strings" ? $all : defined $2 ? "\"\"" : "0"
            }gse;
            open my $out, ">", "$blank/$keep/$file" or die "$file: $!";
            print $out $text;
            close $out or die "$file: $!";
        }
    }' "$blank" "${c_files[@]}" || exit 99

# in_code REGEX FILE...: file:line: text, of code that is neither comment nor string.
in_code() (
    regex=$1
    shift
    cd "$blank/code" && grep -nP -- "$regex" "$@" /dev/null
)

# includes REGEX ALLOWED: files that include a header that matches, outside the paths that match ALLOWED.
includes() (
    cd "$blank/strings" && grep -nE "^[[:space:]]*#[[:space:]]*include[[:space:]]*$1" "${c_files[@]}" /dev/null |
        awk -F: -v allowed="$2" '$1 !~ allowed'
)

spdx() {
    local file
    for file in "${c_files[@]}" "${shell_files[@]}" "${other_files[@]}"; do
        head -n 3 "$file" | grep -q 'SPDX-License-Identifier: GPL-2.0-or-later' || echo "$file"
    done
}

lengths() {
    local file lines limit
    for file in "${c_files[@]}"; do
        limit=800
        [[ $file == *.h ]] && limit=200
        lines=$(wc -l <"$file")
        ((lines <= limit)) || echo "$file: $lines lines, at most $limit"
    done
}

# Functions in house style: the brace that opens and the one that closes stand in the first column.
function_lengths() {
    local file
    for file in "${c_files[@]}"; do
        awk -v file="$file" '
            /^\{/ { start = NR; name = before }
            /^\}/ && start { if (NR - start + 1 > 70)
                                 printf "%s:%d: %d lines, at most 70: %s\n", file, start, NR - start + 1, name
                             start = 0 }
            !start && /^[a-zA-Z].*\(/ { before = $0 }' "$file"
    done
}

one_lmdb_file() {
    local found
    found=$(includes '<lmdb\.h>' '^$' | cut -d: -f1 | sort -u)
    if (($(grep -c . <<<"$found") > 1)); then
        echo "$found"
    else
        grep -v '^meta/' <<<"$found" | grep .
    fi
}

unlisted() {
    local file listed list
    for file in "${c_files[@]}"; do
        case $file in
        tests/* | bench/*) listed=${file%.c} ;;
        *) listed=$file ;;
        esac
        case $file in
        tests/crash/*) list=tests/crash ;;
        tests/sim/*) list=tests/sim ;;
        tests/cluster/*) list=tests/cluster ;;
        src/*/*) list=src/$(cut -d/ -f2 <<<"$file") ;;
        *) list=${file%%/*} ;;
        esac
        grep -qE "%reldir%/${listed#"$list"/}(\.c)?([[:space:]]|\$)" "$list/Makefile.inc" || echo "$file: not in $list/Makefile.inc"
    done
}

shell_sleeps() {
    local file
    for file in "${shell_files[@]}"; do
        [[ $file == tests/* && $file != tests/lib*.sh ]] || continue
        grep -nE '(^|[;&|]|do|then|else)[[:space:]]*sleep[[:space:]]' "$file" | sed "s|^|$file:|"
    done
}

urls() {
    grep -nE 'https?://' "${shell_files[@]}" /dev/null | grep -vE 'https?://(127\.|localhost|\[::1\]|\$)' |
        grep -v '^tests/tidy/tree.sh:'
}

# A copy of the mounts keeps those of others busy: the one that is made lets go of them at once.
namespaces() {
    local file
    for file in "${shell_files[@]}"; do
        [[ $file == tests/* && $file != tests/own-mounts.sh && $file != tests/tidy/tree.sh ]] || continue
        grep -nE '\bunshare\b' "$file" | grep -v '# on purpose' | sed "s|^|$file:|"
    done
}

# Rules of the cluster's protocol that neither a walk nor a history shows to be needed.
unshown_rules() {
    local rule
    grep -oP '^    X\(\K[A-Z_]+' cluster/rules.h | while read -r rule; do
        grep -qE "^    \\{ VV_RULE_$rule," tests/sim/cluster.c tests/sim/histories.c || echo "$rule"
    done
}

echo 1..17
verdict "every source and script begins with its SPDX line" < <(spdx)
verdict "a .c has at most 800 lines, a .h at most 200" < <(lengths)
verdict "a function has at most 70 lines" < <(function_lengths)
verdict "lmdb.h is included by one file, in meta/" < <(one_lmdb_file)
verdict "FUSE headers only in fusefs/ and bench/" < <(includes '<((fuse3/)?fuse[a-z_]*|linux/fuse)\.h' '^(fusefs|bench)/')
verdict "libevent only in cluster/ and src/vvfs/" < <(includes '[<"](event2/.*|event)\.h' '^(cluster|src/vvfs)/')
verdict "libnbd only in src/engine/nbd*" < <(includes '[<"]libnbd\.h' '^src/engine/nbd')
verdict "liburing only in src/engine/, and in what lets rings fail" < <(includes '[<"]liburing\.h' '^(src/engine/|tests/mount/faulty[.]c)')
verdict "own headers are included by plain name" < <(includes '("[^"]*/|[<"][^">]*\.c[>"])' '^$')
verdict "every C file is in its folder's Makefile.inc" < <(unlisted)
verdict "no call that is banned" < <(
    in_code '\b(strcpy|strcat|v?sprintf|gets|strtok|alloca|g_alloca|g_newa0?|assert)\s*\(' "${c_files[@]}"
)
verdict "nothing sleeps instead of waiting for a condition" < <(
    in_code '\bu?sleep\s*\(' "${c_files[@]}"
    shell_sleeps
)
verdict "mount namespaces of tests are own-mounts.sh's" < <(namespaces)
verdict "each rule of the protocol is shown to be needed" < <(unshown_rules)
verdict "no work is left as a remark" < <(
    grep -nwE 'TO[D]O|FIX[M]E|X[X]X' "${c_files[@]}" "${shell_files[@]}" "${other_files[@]}"
)
verdict "no script names a host" < <(urls)
if [[ -n ${VV_SHELLCHECK-} ]]; then
    verdict "shellcheck finds nothing" < <("$VV_SHELLCHECK" -f gcc "${shell_files[@]}")
else
    skip "shellcheck finds nothing" "no shellcheck"
fi
