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
ours=("$here/org/elasticsearch/node/Engine.java")
# shellcheck source=tests/integration/jvm.sh
. "$here/../jvm.sh"
[ -z "${TAPLINE_ELASTICSEARCH_JAVA:-}" ] || read -ra java_options <<<"$TAPLINE_ELASTICSEARCH_JAVA"

start_java() {
    exec setsid java -Xms"$heap" -Xmx"$heap" "${java_options[@]}" "${archive[@]}" \
        -Des.set.netty.runtime.available.processors=false -cp "$jars/*" org.elasticsearch.node.Engine "$@"
}

train() {
    engine_train
}

engine_main "$@"
