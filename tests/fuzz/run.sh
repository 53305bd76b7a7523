#!/usr/bin/env bash
# tests/fuzz/run.sh TARGET SEEDS: copy the seeds beside the target's own corpus and fuzz for TAPLINE_FUZZ_SECONDS.
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
target=$1
corpus=$target.corpus
found=$target.found/
mkdir -p "$corpus" "$found"
n=0
for file in $2; do
    cp "$file" "$corpus/seed-$n"
    n=$((n + 1))
done
[ "$n" -gt 0 ] || {
    echo "no seeds match $2" >&2
    exit 1
}
# libfyaml leaks a little when it refuses a text; tapline then ends, or keeps its old configuration.
export LSAN_OPTIONS=${LSAN_OPTIONS:-suppressions=$(dirname "$0")/lsan.supp}
exec "$target" -max_total_time="${TAPLINE_FUZZ_SECONDS:-20}" -rss_limit_mb=4096 -timeout=20 -max_len=16384 \
    -artifact_prefix="$found" -print_final_stats=1 "$corpus"
