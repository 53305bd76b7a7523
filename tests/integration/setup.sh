#!/usr/bin/env bash
# setup.sh: what the integration and fault tests need and cmake does not make: the Python environment with the foreign
# client (.venv, tests/requirements.txt) and the jars of the broker and the search engines (build/kafka, build/opensearch,
# build/elasticsearch).
# Does nothing when all of it is there.
# Without Java the jars are left out; the tests then say what they skip, or fail under CI=true.
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
if [ ! -f .venv/requirements.done ] || [ "$(cat .venv/requirements.done)" != "$(cksum <tests/requirements.txt)" ]; then
    .ci/deps test
fi
if command -v java >/dev/null && command -v mvn >/dev/null; then
    tests/integration/kafka/kafka.sh fetch
    tests/integration/opensearch/opensearch.sh fetch
    tests/integration/elasticsearch/elasticsearch.sh fetch
elif [ "${CI:-}" = true ]; then
    echo "no java or no mvn: under CI=true the tests of the broker and the engines must run; install default-jre-headless and maven" >&2
    exit 1
fi
