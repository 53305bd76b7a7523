#!/usr/bin/env bash
# tests/lint.sh [format|shell|layers|tidy …]: what a reviewer should not have to say. All four without an argument.
#
# clang-tidy reads build/dev/compile_commands.json (`make dev` writes it). Ends with 1 if anything was found.
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
cd "$(dirname "$0")/.."

build=${TAPLINE_BUILD:-build/dev}
# How far the analyzer follows a function's paths. Its own 225,000 take three times as long as this for the whole program.
nodes=${TAPLINE_TIDY_NODES:-50000}

lint_format() {
    git ls-files -z -- '*.c' '*.h' | xargs -0 clang-format --dry-run -Werror
}

lint_shell() {
    git ls-files -- .ci tests configs docs | while read -r file; do
        [ -f "$file" ] || continue
        case $(LC_ALL=C head -c 64 "$file" | head -1 | tr -d '\0') in
        '#!'*bash* | '#!'*/sh*) printf '%s\0' "$file" ;;
        esac
    done | xargs -0 shellcheck -x
}

lint_layers() {
    tests/layers.sh
}

lint_tidy() {
    local json=$build/compile_commands.json
    [ -f "$json" ] || { echo "lint: $json is missing; run make dev first" >&2; return 1; }
    # Tests are built with cmocka, whose macros the analyzer cannot see through: the program is what is looked at. One
    # file a call: the analyzer's va_list check takes what it saw in the file before for its own.
    jq -r '.[].file' "$json" | grep -v '/tests/' | sort -u |
        xargs -P "$(nproc)" -n 1 clang-tidy --quiet -p "$build" --extra-arg=-Xclang \
            --extra-arg=-analyzer-config --extra-arg=-Xclang --extra-arg="max-nodes=$nodes" 2>&1 |
        grep -v -E '^[0-9]+ warnings? (generated|treated)|^Suppressed|^Use -header'
    return "${PIPESTATUS[3]}" # xargs: whether clang-tidy found anything
}

failed=''
for part in "${@:-format shell layers tidy}"; do
    for one in $part; do
        if "lint_$one"; then
            echo "lint: $one is clean"
        else
            failed="$failed $one"
        fi
    done
done
[ -z "$failed" ] || { echo "lint: FAILED:$failed" >&2; exit 1; }
