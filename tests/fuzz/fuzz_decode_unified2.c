/* tests/fuzz/fuzz_decode_unified2.c: any bytes as one unified2 record: one valid event, or a dead letter that says why.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/fuzz_rig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct fuzz_rig rig;
    static const struct core_origin origin = {.type = CORE_ORIGIN_SNORT, .format = CORE_FORMAT_UNIFIED2};
    return fuzz_run_origin(&rig, &origin, data, size);
}
