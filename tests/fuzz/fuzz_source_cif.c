/* tests/fuzz/fuzz_source_cif.c: any bytes as an answer of CIF.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/fuzz_source_rig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct core_conf_item items[] = {{.key = (char[]){"version"}, .value = (char[]){"5"}}};
    const struct enrich_feed_conf five = {.options = {items, 1}};
    static const struct enrich_feed_conf three = {0};
    return fuzz_source(&source_cif, size % 2 == 0 ? &five : &three, data, size);
}
