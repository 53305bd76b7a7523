/* tests/fuzz/fuzz_decode_full.c: Snort's alert_full and cmg, all bytes as one record: one valid event.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/fuzz_rig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct fuzz_rig rig;
    static const struct core_origin full = {.type = CORE_ORIGIN_SNORT, .format = CORE_FORMAT_SNORT_FULL};
    static const struct core_origin cmg = {
        .type = CORE_ORIGIN_SNORT, .format = CORE_FORMAT_SNORT_CMG, .timezone = "America/Chicago"};
    return fuzz_run_origin(&rig, size > 0 && data[0] == '[' ? &full : &cmg, data, size);
}
