/* tests/fuzz/fuzz_decode_syslog.c: alerts behind syslog headers: any bytes make one valid event a line.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/fuzz_rig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct fuzz_rig rig;
    static const struct core_origin found = {.type = CORE_ORIGIN_AUTO, .timezone = "America/Chicago"};
    static const struct core_origin named = {.type = CORE_ORIGIN_SNORT, .format = CORE_FORMAT_SNORT_SYSLOG};
    (void)fuzz_run_origin(&rig, &found, data, size);
    return fuzz_run_origin(&rig, &named, data, size);
}
