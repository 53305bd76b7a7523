#!/bin/bash
# tests/jobs_same.sh TAPLINE: `normalize --jobs N` writes what one thread writes, byte for byte, dead letters too: headers
# that change in the middle of a file, lines that cannot be read, stamps without a year behind thousands of other records,
# gzipped and small files, records dropped by rule; and a pipe that stays open gives all it has had. Under the thread
# sanitizer it is also the test of those threads.
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
tapline=$1
top=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# repeat TIMES FILE: its record lines, so often
repeat() {
    for ((i = 0; i < $1; i++)); do grep -v '^#' "$2"; done
}
header() {
    grep '^#' "$1" | grep -v '^#close'
}

zeek=$top/configs/samples/zeek
json=$top/tests/golden/zeek.conn-json/conn.log
{
    header "$zeek/conn.log"
    repeat 5 "$zeek/conn.log"
    printf 'one\ttwo\tthree\n'
    repeat 3 "$zeek/conn.log" | sed '77s/\ttcp\t/\ttcp\t\t/; 99s/^[0-9.]*/never/'
    echo '#close 2026-11-21-03-16-06'
    echo 'no header is in force here'
    header "$zeek/dns.log"
    repeat 6 "$zeek/dns.log"
    header "$zeek/http.log"
    repeat 20 "$zeek/http.log"
} >"$work/mixed.log"
{
    repeat 400 "$json"
    echo '{"ts":1,"uid":'
    repeat 400 "$json"
} >"$work/conn.log"
# A year's end in stamps that do not say it, behind records whose meaning needs nothing before them.
{
    repeat 900 "$json"
    for month in 10 11 12 01 02; do
        repeat 300 "$top/tests/golden/snort.alert/in.log" | sed -E "s#^[0-9]{2}/#$month/#"
        repeat 100 "$json"
    done
} >"$work/late.log"
for month in 11 12 01; do
    repeat 700 "$top/tests/golden/snort.alert/in.log" | sed -E "s#^[0-9]{2}/#$month/#"
done >"$work/alert_fast.txt"
touch -d 2025-01-20T00:00:00Z "$work"/*.log "$work"/*.txt
gzip -kn "$work/mixed.log"
mkdir "$work/site" "$work/site/maps"
sed '/^include/a drop when id.resp_p = 53' "$top/configs/maps/zeek.conn.map" >"$work/site/maps/zeek.conn.map"

# run JOBS NAME FILE...: documents, dead letters without the time they were made, and what it says at its end
run() {
    local jobs=$1 name=$2
    shift 2
    "$tapline" normalize --jobs "$jobs" --maps "$top/configs" --dead-letter "$work/dead" "$@" \
        >"$work/$name.$jobs" 2>"$work/said"
    sed -E 's/"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z"/"then"/g' "$work/dead" >>"$work/$name.$jobs"
    sed -E 's/, in [0-9.]+ s$//' "$work/said" >>"$work/$name.$jobs"
}

check() {
    local name=$1
    shift
    run 1 "$name" "$@"
    for jobs in 2 5; do
        run "$jobs" "$name" "$@"
        cmp "$work/$name.1" "$work/$name.$jobs" || { echo "FAILED: $name: --jobs $jobs writes something else"; exit 1; }
    done
    lines=$(wc -l <"$work/$name.1")
    [ "$lines" -gt 4000 ] || { echo "FAILED: $name: only $lines lines: too few to be shared"; exit 1; }
    echo "$name: $lines lines are the same with 1, 2 and 5 jobs"
}

check mixed "$work/mixed.log"
check gzipped "$work/mixed.log.gz" "$zeek/ssl.log" "$work/mixed.log"
check json "$work/conn.log"
check late "$work/late.log"
check alerts "$work/alert_fast.txt"
check drops --site-maps "$work/site" "$work/mixed.log"
# The most threads there may be, and more batches than these can have under way: 2 * 64 + 1 of 2,048 lines.
{
    printf '#separator \\x09\n#path\tconn\n#fields\tts\tuid\n#types\ttime\tstring\n'
    seq -f '1795229910.5	C%.0f' 280000
} >"$work/long.log"
for jobs in 1 64; do
    "$tapline" normalize --jobs "$jobs" --maps "$top/configs" "$work/long.log" 2>"$work/said" |
        sha256sum >"$work/long.$jobs" || { cat "$work/said"; exit 1; }
done
cmp "$work/long.1" "$work/long.64" || { echo "FAILED: long: --jobs 64 writes something else"; exit 1; }

# A pipe that stays open: what it has had comes out, not only what fills batches, or all threads' hands.
mkfifo "$work/pipe"
for jobs in 1 3; do
    "$tapline" normalize --jobs "$jobs" --maps "$top/configs" <"$work/pipe" >"$work/live" 2>"$work/said" &
    reader=$!
    exec 9>"$work/pipe"
    head -n 6004 "$work/long.log" >&9
    for ((i = 0; i < 600; i++)); do
        [ "$(wc -l <"$work/live")" -lt 6000 ] || break
        sleep 0.1
    done
    lines=$(wc -l <"$work/live")
    exec 9>&-
    wait "$reader"
    [ "$lines" -eq 6000 ] || { echo "FAILED: live: $lines of 6000 documents with $jobs jobs"; exit 1; }
done

grep -q 'dropped by site/zeek.conn.map' "$work/drops.5" || { echo "FAILED: nothing was dropped"; exit 1; }
