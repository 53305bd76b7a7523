/* tests/fuzz/fuzz_source_misp.c: any bytes as an event of MISP.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/fuzz_source_rig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const struct enrich_feed_conf feed = {0};
    return fuzz_source(&source_misp, &feed, data, size);
}
