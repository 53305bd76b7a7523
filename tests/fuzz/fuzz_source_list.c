/* tests/fuzz/fuzz_source_list.c: any bytes as a list or a table; the first byte says of which type and with which options.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/fuzz_source_rig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct core_conf_item items[] = {{.key = (char[]){"value"}, .value = (char[]){"1"}},
                                     {.key = (char[]){"type"}, .value = (char[]){"2"}},
                                     {.key = (char[]){"no_names"}, .value = (char[]){"true"}},
                                     {.key = (char[]){"confidence"}, .value = (char[]){"3"}},
                                     {.key = (char[]){"expires"}, .value = (char[]){"4"}}};
    struct enrich_feed_conf feed = {0};
    if (size == 0) {
        return 0;
    }
    unsigned type = data[0] % CORE_INDICATOR__MAX;
    if (type != CORE_INDICATOR_NONE) {
        feed.format = (char *)core_indicator_word((enum core_indicator)type); /* read only */
    }
    if ((data[0] & 0x80) == 0) {
        return fuzz_source(&source_list, &feed, data + 1, size - 1);
    }
    feed.options = (struct core_conf_list){items, (data[0] & 0x40) == 0 ? 0 : sizeof(items) / sizeof(items[0])};
    return fuzz_source(&source_csv, &feed, data + 1, size - 1);
}
