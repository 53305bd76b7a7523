#!/usr/bin/env bash
# tests/supervise_small.sh PROGRAM: which shared objects the Supervisor's program loads. Ends with 1 if there is one that it
# should not need, or none at all that it must (then this test looks at the wrong thing).
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
needed=$(readelf -d "$1" | sed -nE 's/.*\(NEEDED\).*\[(.*)\]/\1/p')
grep -q '^libyajl' <<<"$needed"
if extra=$(grep -vE '^(libyajl|libcap|libc|libm|libpthread|ld-linux[^.]*|libasan|libubsan|libtsan|libgcc_s)\.so' <<<"$needed"); then
    echo "$1 needs what it should not: ${extra//$'\n'/, }" >&2
    exit 1
fi
echo "needs ${needed//$'\n'/, }"
