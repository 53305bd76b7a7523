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
# shellcheck source=tests/integration/jvm.sh
. "$here/../jvm.sh"

format() { # dir
    java "${java_options[@]}" "${archive[@]}" -Xmx"$heap" -cp "$jars/*" kafka.tools.StorageTool format --ignore-formatted \
        -t "$cluster" -c "$1/server.properties" >"$1/format.log" 2>&1 9>&- || {
        cat "$1/format.log" >&2
        return 1
    }
}

start() { # dir
    setsid java -Xms"$heap" -Xmx"$heap" "${java_options[@]}" "${archive[@]}" \
        -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -Dorg.slf4j.simpleLogger.showDateTime=true \
        -cp "$jars/*" kafka.Kafka "$1/server.properties" >>"$1/broker.log" 2>&1 </dev/null 9>&- &
    echo $! >"$1/pid"
}

ready() { # host:port
    for _ in $(seq "$ready_tries"); do
        kcat -b "$1" -L -m 2 >/dev/null 2>&1 && return
        sleep 0.1
    done
    echo "no broker answers at $1" >&2
    return 1
}

train() {
    local folder port
    local written=("${archive[@]}")
    folder=$(mktemp -d)
    port=$(jvm_port)
    "$here/gen-node.sh" "$folder" 1 $((port - 10)) 1
    archive=()
    format "$folder"
    archive=("${written[@]}")
    start "$folder"
    if ready "127.0.0.1:$port"; then
        jvm_end TERM "$folder"
    else
        jvm_end KILL "$folder"
    fi
    rm -rf "$folder"
}

case ${1:-} in
fetch)
    jvm_fetch
    ;;
format | start)
    jvm_fetch
    "$1" "$2"
    ;;
stop)
    jvm_end TERM "$2"
    ;;
kill)
    jvm_end KILL "$2"
    ;;
ready)
    ready "$2"
    ;;
*)
    sed -n '2,6p' "${BASH_SOURCE[0]}" >&2
    exit 100
    ;;
esac
