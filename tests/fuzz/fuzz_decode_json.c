/* tests/fuzz/fuzz_decode_json.c: JSON records of any sensor: any bytes make one valid event a line, and the same ones
 * whether the quick reader is asked or the general one alone.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/fuzz_rig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct fuzz_rig quick;
    static struct fuzz_rig general;
    MUST(unsetenv("TAPLINE_JSON") == 0);
    fuzz_open(&quick);
    MUST(setenv("TAPLINE_JSON", "yajl", 1) == 0);
    fuzz_open(&general);
    int end = fuzz_run(&quick, CORE_ORIGIN_AUTO, data, size);
    MUST(fuzz_run(&general, CORE_ORIGIN_AUTO, data, size) == end);
    MUST(quick.said == general.said);
    return end;
}
