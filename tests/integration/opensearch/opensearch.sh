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
ours=("$here/Engine.java")
# shellcheck source=tests/integration/jvm.sh
. "$here/../jvm.sh"

start_java() {
    exec setsid java -Xms"$heap" -Xmx"$heap" "${java_options[@]}" "${archive[@]}" \
        -Dlog4j.configurationFile="$here/log4j2.properties" -Dlog4j2.configurationFile="$here/log4j2.properties" \
        -Dopensearch.set.netty.runtime.available.processors=false -cp "$jars/*" Engine "$@"
}

train() {
    engine_train
}

engine_main "$@"
