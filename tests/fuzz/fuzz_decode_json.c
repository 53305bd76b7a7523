/* tests/fuzz/fuzz_decode_json.c: JSON records of any sensor: any bytes make one valid event a line.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/fuzz_rig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct fuzz_rig rig;
    return fuzz_run(&rig, CORE_ORIGIN_AUTO, data, size);
}
