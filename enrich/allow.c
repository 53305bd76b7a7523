/* enrich/allow.c: what is never a hit: networks with all their addresses, domains with all below them, of every other kind
 * just this value.
 *
 * The follower keeps one and changes it; the enrich thread uses a copy that nobody changes (enrich/view.c). It is asked only
 * about what the filter did not rule out, so it is exact rather than small: an open hash table of places in a pool of texts,
 * every answer compared in full. What is taken off the list keeps its place, marked; an entry of the pool is only made once.
 * A network is kept as its bits.
 * SPDX-License-Identifier: Apache-2.0 */
#include "enrich/match_internal.h"

#include <stdlib.h>

#define ALLOW_SLOTS_MIN 64
#define NETWORK_KEY_BYTES 18
#define WORD_BITS 64

struct allow_slot {
    uint64_t hash;
    uint32_t text; /* where in texts */
    uint16_t len;  /* 0: an empty slot */
    uint8_t type;
    bool is_live;
};

struct allow {
    struct allow_slot *slots; /* a power of two, at most half full */
    size_t slots_len;
    size_t used; /* slots that are not empty */
    size_t live;
    char *texts;
    size_t texts_len;
    size_t texts_cap;
    uint64_t v4; /* bit n: there are, or were, networks of n bits */
    uint64_t v6[2];
};

/* The bytes under which a thing is kept. */
struct allow_key {
    enum core_indicator type;
    struct core_span bytes;
    uint64_t hash;
};

struct allow *allow_new(void) {
    struct allow *allow = calloc(1, sizeof *allow);
    MUST(allow != NULL);
    allow->slots_len = ALLOW_SLOTS_MIN;
    allow->slots = calloc(allow->slots_len, sizeof *allow->slots);
    MUST(allow->slots != NULL);
    return allow;
}

void allow_free(struct allow *allow) {
    if (allow != NULL) {
        free(allow->slots);
        free(allow->texts);
        free(allow);
    }
}

struct allow *allow_copy(const struct allow *allow) {
    struct allow *copy = malloc(sizeof *copy);
    MUST(copy != NULL);
    *copy = *allow;
    copy->slots = malloc(allow->slots_len * sizeof *allow->slots);
    copy->texts = malloc(allow->texts_len + 1);
    MUST(copy->slots != NULL);
    MUST(copy->texts != NULL);
    memcpy(copy->slots, allow->slots, allow->slots_len * sizeof *allow->slots);
    if (allow->texts_len > 0) {
        memcpy(copy->texts, allow->texts, allow->texts_len);
    }
    copy->texts_cap = allow->texts_len + 1;
    return copy;
}

size_t allow_len(const struct allow *allow) {
    return allow->live;
}

static struct allow_key key_of(enum core_indicator type, struct core_span bytes) {
    return (struct allow_key){type, bytes, core_hash64(bytes.ptr, bytes.len, (uint64_t)type)};
}

static struct allow_key network_key(struct network network, unsigned char room[NETWORK_KEY_BYTES]) {
    core_put_be64(room, network.high);
    core_put_be64(room + 8, network.low);
    room[16] = network.bits;
    room[17] = network.is_v6;
    return key_of(CORE_INDICATOR_CIDR, (struct core_span){(const char *)room, NETWORK_KEY_BYTES});
}

/* The slot it is in, or the empty one where it belongs. */
static struct allow_slot *slot_of(const struct allow *allow, const struct allow_key *key) {
    size_t at = (size_t)key->hash & (allow->slots_len - 1);
    for (;; at = (at + 1) & (allow->slots_len - 1)) {
        struct allow_slot *slot = &allow->slots[at];
        bool is_it = slot->hash == key->hash && slot->type == key->type && slot->len == key->bytes.len;
        if (slot->len == 0 || (is_it && memcmp(allow->texts + slot->text, key->bytes.ptr, slot->len) == 0)) {
            return slot;
        }
    }
}

static bool key_has(const struct allow *allow, const struct allow_key *key) {
    const struct allow_slot *slot = slot_of(allow, key);
    return slot->len > 0 && slot->is_live;
}

static void slots_double(struct allow *allow) {
    struct allow_slot *old = allow->slots;
    size_t old_len = allow->slots_len;
    allow->slots_len = 2 * old_len;
    allow->slots = calloc(allow->slots_len, sizeof *allow->slots);
    MUST(allow->slots != NULL);
    for (size_t i = 0; i < old_len; i++) {
        size_t at = (size_t)old[i].hash & (allow->slots_len - 1);
        while (old[i].len > 0 && allow->slots[at].len > 0) {
            at = (at + 1) & (allow->slots_len - 1);
        }
        if (old[i].len > 0) {
            allow->slots[at] = old[i];
        }
    }
    free(old);
}

static uint32_t text_keep(struct allow *allow, struct core_span text) {
    if (allow->texts_cap - allow->texts_len < text.len) {
        allow->texts_cap = 2 * allow->texts_cap + text.len + CORE_KIB;
        allow->texts = realloc(allow->texts, allow->texts_cap);
        MUST(allow->texts != NULL);
    }
    memcpy(allow->texts + allow->texts_len, text.ptr, text.len);
    allow->texts_len += text.len;
    return (uint32_t)(allow->texts_len - text.len);
}

static void network_seen(struct allow *allow, struct network network) {
    uint64_t bit = UINT64_C(1) << network.bits % WORD_BITS;
    if (network.is_v6 && network.bits < 2 * WORD_BITS) {
        allow->v6[network.bits / WORD_BITS] |= bit;
    } else if (!network.is_v6) {
        allow->v4 |= bit;
    }
}

bool allow_set(struct allow *allow, enum core_indicator type, struct core_span value, bool is_allowed) {
    unsigned char room[NETWORK_KEY_BYTES];
    struct network network;
    struct allow_key key = {0};
    if (type == CORE_INDICATOR_CIDR && network_read(value, &network)) {
        key = network_key(network, room);
        network_seen(allow, network);
    } else if (type != CORE_INDICATOR_CIDR && value.len > 0 && value.len <= ENRICH_VALUE_BYTES_MAX) {
        key = key_of(type, value);
    } else {
        return true; /* nothing that is ever looked for */
    }
    struct allow_slot *slot = slot_of(allow, &key);
    if (slot->len == 0) {
        if (!is_allowed) {
            return true;
        }
        if (allow->used >= ALLOW_MAX || allow->texts_len > UINT32_MAX - key.bytes.len) {
            return false;
        }
        uint32_t text = text_keep(allow, key.bytes);
        *slot = (struct allow_slot){key.hash, text, (uint16_t)key.bytes.len, (uint8_t)type, false};
        allow->used++;
    }
    allow->live += is_allowed && !slot->is_live;
    allow->live -= !is_allowed && slot->is_live;
    slot->is_live = is_allowed;
    if (allow->used > allow->slots_len / 2) {
        slots_double(allow);
    }
    return true;
}

static bool address_is_in(const struct allow *allow, struct core_span value) {
    struct network address;
    unsigned char room[NETWORK_KEY_BYTES];
    if ((allow->v4 | allow->v6[0] | allow->v6[1]) == 0 || !network_read(value, &address)) {
        return false;
    }
    const uint64_t words[2] = {address.is_v6 ? allow->v6[0] : allow->v4, address.is_v6 ? allow->v6[1] : 0};
    for (unsigned word = 0; word < 2; word++) {
        for (uint64_t left = words[word]; left != 0; left &= left - 1) {
            unsigned bits = word * WORD_BITS + (unsigned)__builtin_ctzll(left);
            const struct allow_key key = network_key(network_of(address, bits), room);
            if (key_has(allow, &key)) {
                return true;
            }
        }
    }
    return false;
}

bool allow_has(const struct allow *allow, enum core_indicator type, struct core_span value) {
    if (allow->live == 0 || value.len == 0 || type == CORE_INDICATOR_CIDR) {
        return false;
    }
    const struct allow_key whole = key_of(type, value);
    if (key_has(allow, &whole)) {
        return true;
    }
    if (type == CORE_INDICATOR_IP) {
        return address_is_in(allow, value);
    }
    for (size_t i = 0; i + 1 < value.len && type == CORE_INDICATOR_DOMAIN; i++) {
        if (value.ptr[i] == '.') {
            const struct allow_key parent = key_of(type, (struct core_span){value.ptr + i + 1, value.len - i - 1});
            if (key_has(allow, &parent)) {
                return true;
            }
        }
    }
    return false;
}
