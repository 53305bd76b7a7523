/* core/unified2.c: which records there are in a unified2 file. See core/unified2.h.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/unified2.h"

static const struct core_u2_type types[] = {
    {.type = 2, .kind = CORE_U2_PACKET, .bytes_min = 28, .id_at = 4},
    {.type = 3, .kind = CORE_U2_BUFFER, .bytes_min = 28, .id_at = 4},
    {.type = 7, .kind = CORE_U2_EVENT, .bytes_min = 52, .id_at = 4},
    {.type = 72, .kind = CORE_U2_EVENT, .bytes_min = 76, .id_at = 4, .is_ipv6 = true},
    {.type = 99, .kind = CORE_U2_EVENT, .bytes_min = 56, .id_at = 4},
    {.type = 100, .kind = CORE_U2_EVENT, .bytes_min = 80, .id_at = 4, .is_ipv6 = true},
    {.type = 104, .kind = CORE_U2_EVENT, .bytes_min = 60, .id_at = 4},
    {.type = 105, .kind = CORE_U2_EVENT, .bytes_min = 84, .id_at = 4, .is_ipv6 = true},
    {.type = 110, .kind = CORE_U2_EXTRA, .bytes_min = 32, .id_at = 12},
    {.type = 114, .kind = CORE_U2_EVENT, .bytes_min = 96, .id_at = 4},
};

const struct core_u2_type *core_u2_find(uint32_t type) {
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        if (types[i].type == type) {
            return &types[i];
        }
    }
    return NULL;
}

const struct core_u2_type *core_u2_header(const char *p, size_t *len) {
    const struct core_u2_type *type = core_u2_find(core_be32(p));
    const uint32_t bytes = core_be32(p + 4);
    *len = CORE_U2_HEADER_BYTES + (size_t)bytes;
    return type != NULL && bytes >= type->bytes_min && bytes <= CORE_U2_RECORD_BYTES_MAX ? type : NULL;
}

bool core_u2_is_possible(const char *p) {
    const uint32_t type = core_be32(p);
    return type > 0 && type <= CORE_U2_TYPE_MAX && core_be32(p + 4) <= CORE_U2_RECORD_BYTES_MAX &&
           core_u2_find(type) == NULL;
}
