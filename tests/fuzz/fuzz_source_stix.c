/* tests/fuzz/fuzz_source_stix.c: any bytes as a bundle of STIX; with every option, so that nothing is refused early.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/fuzz_source_rig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct core_conf_item items[] = {{.key = (char[]){"split"}, .value = (char[]){"true"}},
                                     {.key = (char[]){"observables"}, .value = (char[]){"true"}}};
    const struct enrich_feed_conf all = {.options = {items, 2}};
    static const struct enrich_feed_conf none = {0};
    return fuzz_source(&source_stix, size % 2 == 0 ? &all : &none, data, size);
}
