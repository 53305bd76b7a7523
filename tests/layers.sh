#!/usr/bin/env bash
# tests/layers.sh: the rules of the house that a compiler does not know. Prints each breach as file:line: what; ends
# with 1 if there was one.
#
#   1. Dependencies point one way: cmd -> ingest, normalize, enrich, sinks, supervisor -> core. Stages never include
#      each other, and another folder's *_internal.h is nobody's business.
#   2. A third-party library has one wrapper; its headers appear nowhere else.
#   3. A function has at most 70 lines, a .c or an internal header at most 800, a public header at most 300. (Functions
#      need ctags.) Every file has its SPDX line.
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
cd "$(dirname "$0")/.."

readonly function_lines_max=70 source_lines_max=800 header_lines_max=300
stages='ingest normalize enrich sinks supervisor'
breaches=$(mktemp)
trap 'rm -f "$breaches"' EXIT

sources() { # the files of the program, without tests
    local folder
    for folder in core $stages cmd; do
        [ -d "$folder" ] && find "$folder" -name '*.[ch]' | sort
    done
}

# "file:line:header" for every #include "…" and <…> of a file.
includes() { # file
    grep -nE '^[[:space:]]*#[[:space:]]*include' "$1" |
        sed -E "s|^([0-9]+):[^<\"]*[<\"]([^>\"]+)[>\"].*|\1 \2|" || true
}

breach() { # file line what
    printf '%s:%s: %s\n' "$1" "$2" "$3" >>"$breaches"
}

# Which wrapper may include this header; "" if it is no library of ours to guard.
wrapper_of() { # header
    case $1 in
    yajl/*) echo 'core/json.c' ;;
    librdkafka/*) echo 'core/kafka_internal.h' ;;
    libfyaml.h) echo 'core/conf.c' ;;
    zlib.h) echo 'core/codec.c' ;;
    openssl/*) echo 'core/hash.c enrich/tls.c' ;;
    xxhash.h) echo 'core/hash64.c' ;;
    libpsl.h) echo 'core/psl.c' ;;
    idn2.h) echo 'core/idn.c' ;;
    maxminddb.h) echo 'core/mmdb.c' ;;
    glib.h) echo 'core/zone.c' ;;
    curl/*) echo 'core/http_internal.h' ;;
    microhttpd.h) echo 'core/httpd.c' ;;
    histedit.h) echo 'cmd/shell_edit.c' ;;
    ncurses.h | curses.h | term.h) echo 'cmd/top_screen.c' ;;
    hiredis/*) echo 'enrich/redis.c' ;;
    sys/capability.h) echo 'supervisor/caps.c' ;;
    esac
}

check_direction() { # file line header
    local from=${1%%/*} to=${3%%/*}
    case $3 in
    core/* | ingest/* | normalize/* | enrich/* | sinks/* | supervisor/* | cmd/*) ;;
    */*) return ;; # a system's or a library's folder
    *.def) return ;;
    *)
        [ ! -e "${1%/*}/$3" ] || breach "$1" "$2" "#include \"$3\": write it from the root, \"${1%/*}/$3\""
        return
        ;;
    esac
    if [ "$from" = core ] && [ "$to" != core ]; then
        breach "$1" "$2" "core includes $3, but core depends on no stage"
    elif [ "$from" != cmd ] && [ "$to" != core ] && [ "$to" != "$from" ]; then
        breach "$1" "$2" "$from includes $3; a stage sees only itself and core"
    fi
    case $3 in
    *_internal.h) [ "$to" = "$from" ] || breach "$1" "$2" "$3 is internal to $to/; use its public header" ;;
    esac
}

check_wrapper() { # file line header
    local allowed
    allowed=$(wrapper_of "$3")
    [ -n "$allowed" ] || return 0
    case " $allowed " in
    *" $1 "*) ;;
    *) breach "$1" "$2" "<$3> belongs into its wrapper (${allowed// /, }) only" ;;
    esac
}

check_includes() {
    local file line header
    while read -r file; do
        while read -r line header; do
            check_direction "$file" "$line" "$header"
            check_wrapper "$file" "$line" "$header"
        done < <(includes "$file")
    done < <(sources)
}

check_sizes() {
    local file lines max
    while read -r file; do
        lines=$(wc -l <"$file")
        case $file in
        *.c | *_internal.h) max=$source_lines_max ;;
        *) max=$header_lines_max ;;
        esac
        [ "$lines" -le "$max" ] || breach "$file" "$max" "the file has $lines lines; at most $max"
        grep -q 'SPDX-License-Identifier: Apache-2.0' "$file" || breach "$file" 1 'no SPDX line'
    done < <(sources)
}

check_functions() {
    if ! ctags --version 2>/dev/null | grep -q 'Universal Ctags'; then
        if [ "${CI:-}" = true ]; then
            breach tests/layers.sh 1 'Universal Ctags is missing, so function sizes are unknown; install universal-ctags'
        else
            echo 'layers: function sizes NOT checked: install universal-ctags' >&2
        fi
        return
    fi
    sources | grep '\.c$' | ctags -x --c-kinds=f --fields=+ne --_xformat='%F %n %e %N' -L - |
        awk -v max=$function_lines_max '$3 - $2 + 1 > max {
            printf "%s:%d: %s() has %d lines; at most %d\n", $1, $2, $4, $3 - $2 + 1, max }' >>"$breaches"
}

check_includes
check_sizes
check_functions
if [ -s "$breaches" ]; then
    sort -t: -k1,1 -k2,2n "$breaches"
    echo "layers: $(wc -l <"$breaches") breaches of the house's rules" >&2
    exit 1
fi
echo "layers: $(sources | wc -l) files keep the house's rules"
