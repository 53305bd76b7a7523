#!/usr/bin/env bash
# opensearch.sh fetch                            get the engine's jars with Maven, once
# opensearch.sh start DIR PORT [SETTING=VALUE…]  a node in DIR on 127.0.0.1:PORT; returns when it answers
# opensearch.sh stop|kill DIR                    SIGTERM or SIGKILL, and wait until it is gone: its port can be used again
# Jars live in build/opensearch of this repository, or where TAPLINE_OPENSEARCH_JARS says.
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
jars=${TAPLINE_OPENSEARCH_JARS:-$here/../../../build/opensearch}
heap=${TAPLINE_OPENSEARCH_HEAP:-512m}
ready_tries=600 # of 0.1 s

fetch() {
    mkdir -p "$jars"
    exec 9>"$jars/.lock"
    flock 9
    local want
    want=$(cksum <"$here/pom.xml")
    [ "$(cat "$jars/.done" 2>/dev/null)" = "$want" ] && return
    echo "fetching the search engine's jars into $jars" >&2
    rm -f "$jars"/*.jar
    mvn -B -q -ntp -f "$here/pom.xml" org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
        -DincludeScope=runtime -DoutputDirectory="$jars" >&2
    printf '%s\n' "$want" >"$jars/.done"
}

start() { # dir port setting=value…
    fetch
    local folder=$1 port=$2
    mkdir -p "$folder"
    setsid java -Xms"$heap" -Xmx"$heap" -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:-UsePerfData \
        -Dlog4j.configurationFile="$here/log4j2.properties" -Dlog4j2.configurationFile="$here/log4j2.properties" \
        -Dopensearch.set.netty.runtime.available.processors=false \
        -cp "$jars/*" "$here/Engine.java" "$@" >>"$folder/engine.log" 2>&1 </dev/null 9>&- &
    echo $! >"$folder/pid"
    for _ in $(seq "$ready_tries"); do
        curl -sf -o /dev/null "http://127.0.0.1:$port/_cluster/health?wait_for_status=yellow" && return
        kill -0 "$(cat "$folder/pid")" 2>/dev/null || break
        sleep 0.1
    done
    tail -20 "$folder/engine.log" >&2
    exit 1
}

end() { # signal dir
    local pid
    pid=$(cat "$2/pid")
    kill "-$1" "$pid"
    while kill -0 "$pid" 2>/dev/null; do
        sleep 0.05
    done
}

case ${1:-} in
fetch)
    fetch
    ;;
start)
    shift
    start "$@"
    ;;
stop)
    end TERM "$2"
    ;;
kill)
    end KILL "$2"
    ;;
*)
    sed -n '2,5p' "${BASH_SOURCE[0]}" >&2
    exit 100
    ;;
esac
