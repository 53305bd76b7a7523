/* enrich/seen_key.c: an observable as bytes that sort so that whatever an indicator can name is one range.
 *
 *     address  type 4 a b c d | type 6 and 16 bytes: a network is a range
 *     domain   type, labels from the last to the first with a byte 1 between: what is below a name comes right behind it,
 *              because 1 sorts before all that labels are made of
 *     else     type, text
 *
 * Thread: any; nothing here has a state.
 * SPDX-License-Identifier: Apache-2.0 */
#include "enrich/match_internal.h"
#include "enrich/seen_internal.h"

#include <arpa/inet.h>

#define BELOW '\x01'
#define V4_BYTES 4
#define V6_BYTES 16
#define V4_SHIFT 32
#define V4_MAPPED 0xffffu
#define BYTE_BITS 8

void seen_record_add(struct seen_record *record, const struct seen_record *other) {
    MUST(core_span_eq(record->key, other->key));
    record->count += other->count;
    record->first_us = other->first_us < record->first_us ? other->first_us : record->first_us;
    record->last_us = other->last_us > record->last_us ? other->last_us : record->last_us;
    for (unsigned i = 0; i < other->samples_len && record->samples_len < SEEN_SAMPLES_MAX; i++) {
        record->samples[record->samples_len++] = other->samples[i];
    }
}

int seen_key_compare(struct core_span a, struct core_span b) {
    size_t len = a.len < b.len ? a.len : b.len;
    int order = len == 0 ? 0 : memcmp(a.ptr, b.ptr, len);
    return order != 0 ? order : a.len < b.len ? -1 : a.len > b.len;
}

/* ---- addresses -------------------------------------------------------------------------------------------------------------- */

static struct core_span address_key(const struct network *address, char *room) {
    unsigned char bytes[V6_BYTES];
    core_put_be64(bytes, address->high);
    core_put_be64(bytes + V6_BYTES / 2, address->low);
    size_t len = address->is_v6 ? V6_BYTES : V4_BYTES;
    room[0] = CORE_INDICATOR_IP;
    room[1] = address->is_v6 ? V6_BYTES : V4_BYTES;
    memcpy(room + 2, bytes, len);
    return (struct core_span){room, 2 + len};
}

/* An address in IPv6 that stands for one of IPv4. */
static bool is_mapped(const struct network *address) {
    return address->is_v6 && address->high == 0 && address->low >> V4_SHIFT == V4_MAPPED;
}

bool seen_key_plain(struct core_span text, char room[SEEN_KEY_BYTES_MAX], struct core_span *key) {
    struct network address;
    if (core_span_chr(text, '\0') != NULL || !network_read(text, &address) || is_mapped(&address) ||
        address.bits != BYTE_BITS * (address.is_v6 ? V6_BYTES : V4_BYTES)) {
        return false;
    }
    *key = address_key(&address, room);
    return true;
}

/* The last address of a network. */
static struct network network_end(struct network network) {
    unsigned bits = network.bits;
    uint64_t all = UINT64_MAX;
    if (!network.is_v6) {
        network.high |= bits >= V4_SHIFT ? 0 : (all >> V4_SHIFT >> bits) << V4_SHIFT;
        return network;
    }
    const unsigned half = BYTE_BITS * V6_BYTES / 2;
    if (bits < half) {
        network.high |= all >> bits;
        network.low = all;
    } else if (bits < 2 * half) {
        network.low |= all >> (bits - half);
    }
    return network;
}

static bool address_read(struct core_span key, char *room, struct core_span *value) {
    if (key.len < 2 || key.len != 2 + (size_t)(unsigned char)key.ptr[1]) {
        return false;
    }
    int family = key.ptr[1] == V4_BYTES ? AF_INET : AF_INET6;
    if ((family == AF_INET6 && key.ptr[1] != V6_BYTES) ||
        inet_ntop(family, key.ptr + 2, room, ENRICH_VALUE_BYTES_MAX) == NULL) {
        return false;
    }
    *value = core_span_of(room);
    return true;
}

/* ---- domains ---------------------------------------------------------------------------------------------------------------- */

/* Labels the other way round, from one mark between them to another. */
static void labels_turn(struct core_span in, char from, char to, char *out) {
    const char *end = in.ptr + in.len;
    while (true) {
        const char *start = end;
        while (start > in.ptr && start[-1] != from) {
            start--;
        }
        memcpy(out, start, (size_t)(end - start));
        out += end - start;
        if (start == in.ptr) {
            return;
        }
        *out++ = to;
        end = start - 1;
    }
}

/* ---- keys ------------------------------------------------------------------------------------------------------------------- */

bool seen_key_write(enum core_indicator type, struct core_span canonical, char room[SEEN_KEY_BYTES_MAX],
                    struct core_span *key) {
    struct network address;
    if (canonical.len == 0 || canonical.len > ENRICH_VALUE_BYTES_MAX || type == CORE_INDICATOR_NONE ||
        type == CORE_INDICATOR_CIDR) {
        return false;
    }
    if (type == CORE_INDICATOR_IP) {
        if (!network_read(canonical, &address)) {
            return false;
        }
        *key = address_key(&address, room);
        return true;
    }
    room[0] = (char)type;
    if (type == CORE_INDICATOR_DOMAIN) {
        labels_turn(canonical, '.', BELOW, room + 1);
    } else {
        memcpy(room + 1, canonical.ptr, canonical.len);
    }
    *key = (struct core_span){room, 1 + canonical.len};
    return true;
}

bool seen_key_read(struct core_span key, char room[ENRICH_VALUE_BYTES_MAX], enum core_indicator *type,
                   struct core_span *value) {
    if (key.len < 2 || key.len > ENRICH_VALUE_BYTES_MAX + 1 || key.ptr[0] <= CORE_INDICATOR_NONE ||
        key.ptr[0] >= CORE_INDICATOR__MAX) {
        return false;
    }
    *type = (enum core_indicator)key.ptr[0];
    if (*type == CORE_INDICATOR_IP) {
        return address_read(key, room, value);
    }
    struct core_span text = {key.ptr + 1, key.len - 1};
    if (*type == CORE_INDICATOR_DOMAIN) {
        labels_turn(text, BELOW, '.', room);
    } else {
        memcpy(room, text.ptr, text.len);
    }
    *value = (struct core_span){room, text.len};
    return true;
}

/* ---- ranges ----------------------------------------------------------------------------------------------------------------- */

bool seen_range_of(enum core_indicator type, struct core_span value, bool subdomains, char room[SEEN_KEY_BYTES_MAX * 2],
                   struct seen_range *range) {
    struct network network;
    *range = (struct seen_range){.is_below = type == CORE_INDICATOR_DOMAIN && subdomains};
    if (type != CORE_INDICATOR_CIDR) {
        return seen_key_write(type, value, room, &range->from);
    }
    if (!network_read(value, &network)) {
        return false;
    }
    range->from = address_key(&network, room);
    network = network_end(network);
    range->to = address_key(&network, room + SEEN_KEY_BYTES_MAX);
    return true;
}

int seen_range_has(const struct seen_range *range, struct core_span key) {
    int order = seen_key_compare(key, range->from);
    if (order <= 0) {
        return order;
    }
    if (range->to.len > 0) {
        return seen_key_compare(key, range->to) > 0;
    }
    bool is_below = range->is_below && core_span_starts(key, range->from) && key.ptr[range->from.len] == BELOW;
    return is_below ? 0 : 1;
}

int seen_range_compare(const struct seen_range *a, const struct seen_range *b) {
    int order = seen_key_compare(a->from, b->from);
    if (order != 0) {
        return order;
    }
    if (a->to.len > 0 || b->to.len > 0) { /* the wider one first; what has no end is one address */
        return seen_key_compare(b->to, a->to);
    }
    return (int)b->is_below - (int)a->is_below;
}
