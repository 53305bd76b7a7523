/* core/counters.c: the table of all counters, made from counters.def.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/core.h"

const struct core_counter_info core_counter_table[CORE_COUNT__MAX] = {
#define X(id, name_, unit_, meaning_) [CORE_COUNT_##id] = {.name = (name_), .unit = (unit_), .meaning = (meaning_)},
#include "core/counters.def"
#undef X
};
