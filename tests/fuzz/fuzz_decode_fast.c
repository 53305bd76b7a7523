/* tests/fuzz/fuzz_decode_fast.c: Snort's alert_fast lines: any bytes make one valid event a line.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/fuzz_rig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct fuzz_rig rig;
    return fuzz_run(&rig, CORE_ORIGIN_SNORT, data, size);
}
