#!/usr/bin/env bash
# kafka.sh fetch             get the broker's jars with Maven, once
# kafka.sh format|start DIR  of the node that gen-node.sh wrote to DIR
# kafka.sh stop|kill DIR     SIGTERM or SIGKILL, and wait until it is gone: its ports can be used again
# kafka.sh ready HOST:PORT   wait until it answers a client
# Jars live in build/kafka of this repository, or where TAPLINE_KAFKA_JARS says.
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
jars=${TAPLINE_KAFKA_JARS:-$here/../../../build/kafka}
heap=${TAPLINE_KAFKA_HEAP:-256m}
cluster=dGFwbGluZS10ZXN0cy0wMQ
ready_tries=600 # of 0.1 s

fetch() {
    mkdir -p "$jars"
    exec 9>"$jars/.lock"
    flock 9
    local want
    want=$(cksum <"$here/pom.xml")
    [ "$(cat "$jars/.done" 2>/dev/null)" = "$want" ] && return
    echo "fetching the Kafka broker's jars into $jars" >&2
    rm -f "$jars"/*.jar
    mvn -B -q -ntp -f "$here/pom.xml" org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
        -DincludeScope=runtime -DoutputDirectory="$jars" >&2
    printf '%s\n' "$want" >"$jars/.done"
}

wait_gone() { # pid
    while kill -0 "$1" 2>/dev/null; do
        sleep 0.05
    done
}

case $1 in
fetch)
    fetch
    ;;
format)
    fetch
    java -cp "$jars/*" kafka.tools.StorageTool format --ignore-formatted -t "$cluster" -c "$2/server.properties" \
        >"$2/format.log" 2>&1 9>&- || {
        cat "$2/format.log" >&2
        exit 1
    }
    ;;
start)
    fetch
    setsid java -Xms"$heap" -Xmx"$heap" -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:-UsePerfData \
        -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -Dorg.slf4j.simpleLogger.showDateTime=true \
        -cp "$jars/*" kafka.Kafka "$2/server.properties" >>"$2/broker.log" 2>&1 </dev/null 9>&- &
    echo $! >"$2/pid"
    ;;
stop)
    pid=$(cat "$2/pid")
    kill "$pid"
    wait_gone "$pid"
    ;;
kill)
    pid=$(cat "$2/pid")
    kill -9 "$pid"
    wait_gone "$pid"
    ;;
ready)
    for _ in $(seq "$ready_tries"); do
        kcat -b "$2" -L -m 2 >/dev/null 2>&1 && exit 0
        sleep 0.1
    done
    echo "no broker answers at $2" >&2
    exit 1
    ;;
*)
    sed -n '2,6p' "${BASH_SOURCE[0]}" >&2
    exit 100
    ;;
esac
