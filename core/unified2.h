/* core/unified2.h: the records of Snort's unified2 files, as far as both who cuts them and who reads them must know.
 *
 * A record is a header of two big-endian numbers, type and length, and so many bytes. Events come first; packets, buffers
 * and extra data follow the event they name by its number.
 * Source: Snort 2 Unified2_common.h, Snort 3 log/unified2.h; files of Snort 3.12.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_CORE_UNIFIED2_H
#define TAPLINE_CORE_UNIFIED2_H

#include "core/core.h"

#define CORE_U2_HEADER_BYTES 8
#define CORE_U2_RECORD_BYTES_MAX (256 * CORE_KIB) /* a longer one is no record: a packet has 64 KiB at most */
#define CORE_U2_TYPE_MAX 1023                     /* types in use end at 114 */

enum core_u2_kind { CORE_U2_EVENT, CORE_U2_PACKET, CORE_U2_BUFFER, CORE_U2_EXTRA };

struct core_u2_type {
    uint32_t type;
    enum core_u2_kind kind;
    uint32_t bytes_min; /* behind the header */
    uint32_t id_at;     /* where the event's number stands behind the header */
    bool is_ipv6;       /* of an event with addresses of one family */
};

static inline uint32_t core_be32(const char *p) {
    const unsigned char *b = (const unsigned char *)p;
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

static inline uint16_t core_be16(const char *p) {
    const unsigned char *b = (const unsigned char *)p;
    return (uint16_t)(b[0] << 8 | b[1]);
}

/* NULL: no type that we know. */
const struct core_u2_type *core_u2_find(uint32_t type);

/* The record whose header stands at p (CORE_U2_HEADER_BYTES of it). *len: with its header. NULL: the type is not known, or
 * no record of it has this length. Thread: any. */
const struct core_u2_type *core_u2_header(const char *p, size_t *len);

/* Could this be the header of a record of a type that came after us? */
bool core_u2_is_possible(const char *p);

#endif
