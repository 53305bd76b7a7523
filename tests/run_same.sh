#!/usr/bin/env bash
# tests/run_same.sh TAPLINE: the pipeline with three normalize threads writes exactly what the filter writes; a second
# run adds nothing; a line that is appended later comes out alone. Runs under every sanitizer: it is the test in which all
# threads of `run` work at once without a server.
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
tapline=$1
top=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export TAPLINE_MAPS=$top/configs

fail() {
    echo "run_same: $*" >&2
    cat "$work/log" >&2
    exit 1
}

run_once() {
    "$tapline" run --once -c "$work/tapline.yml" >>"$work/log" 2>&1 || fail "run ended with $?"
}

mkdir "$work/logs" "$work/state"
for folder in zeek zeek-json snort; do
    cp -r "$top/configs/samples/$folder" "$work/logs/$folder"
done
cat >"$work/tapline.yml" <<YML
node: {name: same, state: $work/state}
inputs:
  - {type: auto, paths: ["$work/logs/*/*.log", "$work/logs/*/*.txt"]}
normalize: {maps: $top/configs, workers: 3}
sinks:
  file: {path: $work/run.ndjson}
YML

run_once
"$tapline" normalize "$work"/logs/*/*.log "$work"/logs/*/*.txt >"$work/filter.ndjson" 2>>"$work/log" ||
    fail "normalize ended with $?"
[ -s "$work/filter.ndjson" ] || fail 'normalize wrote nothing'
diff <(LC_ALL=C sort "$work/run.ndjson") <(LC_ALL=C sort "$work/filter.ndjson") >"$work/diff" || {
    head -c 4000 "$work/diff" >&2
    fail 'run and normalize wrote different documents'
}

documents=$(wc -l <"$work/run.ndjson")
run_once
[ "$(wc -l <"$work/run.ndjson")" = "$documents" ] || fail 'a second run wrote documents again'

tail -n 1 "$work/logs/zeek-json/http.log" >"$work/line"
cat "$work/line" >>"$work/logs/zeek-json/http.log"
run_once
[ "$(wc -l <"$work/run.ndjson")" = $((documents + 1)) ] || fail 'one line was appended, but not one document'
echo "run_same: $documents documents, and one more"
