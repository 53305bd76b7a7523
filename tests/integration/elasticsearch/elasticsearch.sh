#!/usr/bin/env bash
# elasticsearch.sh fetch                            get the engine's jars with Maven, once
# elasticsearch.sh start DIR PORT [SETTING=VALUE…]  a node in DIR on 127.0.0.1:PORT; returns when it answers
# elasticsearch.sh stop|kill DIR                    SIGTERM or SIGKILL, and wait until it is gone: its port can be used again
# Jars live in build/elasticsearch of this repository, or where TAPLINE_ELASTICSEARCH_JARS says.
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
jars=${TAPLINE_ELASTICSEARCH_JARS:-$here/../../../build/elasticsearch}
heap=${TAPLINE_ELASTICSEARCH_HEAP:-512m}
read -ra java_options <<<"${TAPLINE_ELASTICSEARCH_JAVA:--XX:+UseSerialGC -XX:TieredStopAtLevel=1}" # a short life
source=org/elasticsearch/node/Engine.java
ready_tries=600 # of 0.1 s

fetch() {
    mkdir -p "$jars"
    exec 9>"$jars/.lock"
    flock 9
    local want
    want=$(cat "$here/pom.xml" "$here/$source" | cksum)
    [ "$(cat "$jars/.done" 2>/dev/null)" = "$want" ] && return
    echo "fetching Elasticsearch's jars into $jars" >&2
    rm -rf "$jars"/*.jar "$jars/classes"
    mvn -B -q -ntp -f "$here/pom.xml" org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
        -DincludeScope=runtime -DoutputDirectory="$jars" >&2
    # Beside the jars and not from its source: only classes of one loader share a package.
    java -m jdk.compiler/com.sun.tools.javac.Main -nowarn -cp "$(printf '%s:' "$jars"/*.jar)" -d "$jars/classes" \
        "$here/$source" >&2
    printf '%s\n' "$want" >"$jars/.done"
}

start() { # dir port setting=value…
    fetch
    local folder=$1 port=$2
    mkdir -p "$folder"
    setsid java -Xms"$heap" -Xmx"$heap" "${java_options[@]}" -XX:-UsePerfData \
        -Des.set.netty.runtime.available.processors=false \
        -cp "$jars/classes:$jars/*" org.elasticsearch.node.Engine "$@" >>"$folder/engine.log" 2>&1 </dev/null 9>&- &
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
