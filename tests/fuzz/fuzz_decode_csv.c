/* tests/fuzz/fuzz_decode_csv.c: Snort's alert_csv, with columns named by nobody, by a header, and by the config.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/fuzz_rig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct fuzz_rig rig;
    static const struct core_origin unnamed = {.type = CORE_ORIGIN_SNORT, .format = CORE_FORMAT_SNORT_CSV};
    static const struct core_origin named = {.type = CORE_ORIGIN_SNORT,
                                             .format = CORE_FORMAT_SNORT_CSV,
                                             .csv_fields = "timestamp,seconds,b64_data,msg,proto,src_ap,tcp_flags",
                                             .timezone = "Australia/Lord_Howe"};
    (void)fuzz_run_origin(&rig, &unnamed, data, size);
    return fuzz_run_origin(&rig, &named, data, size);
}
