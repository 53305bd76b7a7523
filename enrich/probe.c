/* enrich/probe.c: what is asked of an observable: itself, the networks an address is in, the parents of a domain.
 *
 * Indicators and observables are compared in the form that enrich_canonical() gives. Most observables of a log are in it
 * already; a look at each byte tells, and then nothing is copied or parsed: an IPv4 address is digits and dots (what is not
 * an address then matches none), a domain is small letters between dots. The rest goes through enrich_canonical(), with
 * the same result (tests/unit/enrich_probe_test.c compares both).
 *
 * Only what there are indicators of is asked: types, prefix lengths of networks, numbers of labels of parent domains. An
 * address is parsed only if there is any network of its family, and asks for networks only if there are some near it. A network's hash is of its bits, not of its text: to write
 * the text of thirty networks would cost more than all else together; it is written for what may be a hit.
 *
 * Thread: any; nothing here has a state.
 * SPDX-License-Identifier: Apache-2.0 */
#include "enrich/match_internal.h"

#include <arpa/inet.h>
#include <stdio.h>

#define V4_BITS 32
#define V6_BITS 128
#define WORD_BITS 64
#define NAME_BYTES_MAX 253
#define LABEL_BYTES_MAX 63
#define PARENT_BIT_MAX 63
#define NEAR_BITS 16
#define V6_NEAR_PREFIX 32

_Static_assert(PROBES_MAX <= ENRICH_PROBES_MAX, "out has room");
_Static_assert(PROBE_NEAR_WORDS *WORD_BITS == 1 << NEAR_BITS, "a bit for each");

/* ---- networks --------------------------------------------------------------------------------------------------------------- */

static bool v4_read(struct core_span text, struct network *out) {
    uint32_t address = 0;
    bool is_address = core_ipv4_read(text, &address);
    *out = (struct network){.high = (uint64_t)address << V4_BITS, .bits = V4_BITS};
    return is_address;
}

static uint64_t be64(const unsigned char bytes[8]) {
    uint64_t value = 0;
    for (int i = 0; i < 8; i++) {
        value = value << 8 | bytes[i];
    }
    return value;
}

static bool v6_read(struct core_span text, struct network *out) {
    char room[INET6_ADDRSTRLEN];
    unsigned char bytes[16];
    if (text.len >= sizeof room) {
        return false;
    }
    memcpy(room, text.ptr, text.len);
    room[text.len] = '\0';
    if (inet_pton(AF_INET6, room, bytes) != 1) {
        return false;
    }
    *out = (struct network){.high = be64(bytes), .low = be64(bytes + 8), .bits = V6_BITS, .is_v6 = true};
    return true;
}

bool network_read(struct core_span text, struct network *out) {
    const char *slash = core_span_chr(text, '/');
    struct core_span address = {text.ptr, slash == NULL ? text.len : (size_t)(slash - text.ptr)};
    bool is_address = core_span_chr(address, ':') == NULL ? v4_read(address, out) : v6_read(address, out);
    if (!is_address || slash == NULL) {
        return is_address;
    }
    unsigned bits = 0;
    size_t at = address.len + 1;
    for (; at < text.len && text.ptr[at] >= '0' && text.ptr[at] <= '9' && bits <= V6_BITS; at++) {
        bits = bits * 10 + (unsigned)(text.ptr[at] - '0');
    }
    if (at != text.len || at == address.len + 1 || bits > out->bits) {
        return false;
    }
    *out = network_of(*out, bits);
    return true;
}

/* The bits that count in the upper and in the lower word. */
static inline uint64_t mask_high(unsigned bits) {
    return bits >= WORD_BITS ? UINT64_MAX : ~(UINT64_MAX >> bits);
}

static inline uint64_t mask_low(unsigned bits) {
    return bits >= V6_BITS ? UINT64_MAX : bits <= WORD_BITS ? 0 : ~(UINT64_MAX >> (bits - WORD_BITS));
}

struct network network_of(struct network address, unsigned bits) {
    MUST(bits <= address.bits);
    address.high &= mask_high(bits);
    address.low &= mask_low(bits);
    address.bits = (uint8_t)bits;
    return address;
}

struct core_span network_text(struct network network, char room[NETWORK_TEXT_BYTES]) {
    unsigned char bytes[16];
    core_put_be64(bytes, network.high);
    core_put_be64(bytes + 8, network.low);
    MUST(inet_ntop(network.is_v6 ? AF_INET6 : AF_INET, bytes, room, NETWORK_TEXT_BYTES) != NULL);
    struct core_span text = core_span_of(room);
    if (network.bits < (network.is_v6 ? V6_BITS : V4_BITS)) {
        text.len += (size_t)snprintf(room + text.len, NETWORK_TEXT_BYTES - text.len, "/%u", network.bits);
    }
    return text;
}

/* ---- hashes ----------------------------------------------------------------------------------------------------------------- */

static uint64_t text_hash(enum core_indicator type, enum probe_kind kind, struct core_span value) {
    return core_hash64(value.ptr, value.len, (uint64_t)type << 1 | (uint64_t)kind);
}

/* Each bit of x in each bit of the result, and no two x the same one: a multiply spreads upwards, a shift downwards. There
 * may be a hundred networks to ask for an address, so this is much cheaper than hashing bytes. */
static inline uint64_t bits_mix(uint64_t x) {
    static const uint64_t odd = UINT64_C(0xd6e8feb86659fd93);
    x = (x ^ x >> 32) * odd;
    x = (x ^ x >> 32) * odd;
    return x ^ x >> 32;
}

static inline uint64_t v4_hash(uint64_t high, unsigned bits) {
    return bits_mix(high | bits); /* the lower half of high is empty */
}

static inline uint64_t v6_hash(uint64_t high, uint64_t low, unsigned bits) {
    return bits_mix(high ^ bits_mix(low + bits));
}

static uint64_t network_hash(struct network network) {
    return network.is_v6 ? v6_hash(network.high, network.low, network.bits) : v4_hash(network.high, network.bits);
}

uint64_t probe_hash(enum core_indicator type, enum probe_kind kind, struct core_span value) {
    MUST(type > CORE_INDICATOR_NONE && type < CORE_INDICATOR__MAX);
    struct network network;
    if (type == CORE_INDICATOR_CIDR && network_read(value, &network)) {
        return network_hash(network);
    }
    return text_hash(type, kind, value);
}

/* ---- what is in use --------------------------------------------------------------------------------------------------------- */

static unsigned labels_of(struct core_span domain) {
    unsigned labels = 1;
    for (size_t i = 0; i < domain.len; i++) {
        labels += domain.ptr[i] == '.';
    }
    return labels;
}

static unsigned parent_bit(unsigned labels) {
    return labels < PARENT_BIT_MAX ? labels : PARENT_BIT_MAX;
}

struct probe_used probe_used_of(const struct probe_use *use) {
    return (struct probe_used){.types = atomic_load_explicit(&use->types, memory_order_acquire),
                               .parents = atomic_load_explicit(&use->parents, memory_order_acquire),
                               .v4 = atomic_load_explicit(&use->v4, memory_order_acquire),
                               .v6 = {atomic_load_explicit(&use->v6[0], memory_order_acquire),
                                      atomic_load_explicit(&use->v6[1], memory_order_acquire)},
                               .use = use};
}

static void bit_set64(_Atomic uint64_t *bits, unsigned bit) {
    if ((atomic_load_explicit(bits, memory_order_relaxed) >> bit & 1) == 0) {
        atomic_fetch_or_explicit(bits, UINT64_C(1) << bit, memory_order_release);
    }
}

/* Which bit stands for the first bits of an address. */
static inline unsigned v4_near_bit(uint64_t high) {
    return (unsigned)(high >> (WORD_BITS - NEAR_BITS));
}

static inline unsigned v6_near_bit(uint64_t high) {
    return (unsigned)(bits_mix(high >> (WORD_BITS - V6_NEAR_PREFIX)) >> (WORD_BITS - NEAR_BITS));
}

static void network_note(struct probe_use *use, struct network network) {
    unsigned bits = network.bits < V6_BITS ? network.bits : V6_BITS - 1; /* a /128 is an address: never a network */
    bit_set64(network.is_v6 ? &use->v6[bits / WORD_BITS] : &use->v4, bits % WORD_BITS);
    _Atomic uint64_t *near = network.is_v6 ? use->v6_near : use->v4_near;
    unsigned first = network.is_v6 ? v6_near_bit(network.high) : v4_near_bit(network.high);
    unsigned last = first;
    if (network.is_v6 && bits < V6_NEAR_PREFIX) { /* so wide that it is near everything */
        first = 0;
        last = (1U << NEAR_BITS) - 1;
    } else if (!network.is_v6 && bits < NEAR_BITS) {
        last = first + (1U << (NEAR_BITS - bits)) - 1;
    }
    for (unsigned bit = first; bit <= last; bit++) {
        bit_set64(&near[bit / WORD_BITS], bit % WORD_BITS);
    }
}

static inline bool is_near_a_network(const struct probe_use *use, const struct network *address) {
    if (use == NULL) {
        return true;
    }
    unsigned bit = address->is_v6 ? v6_near_bit(address->high) : v4_near_bit(address->high);
    const _Atomic uint64_t *near = address->is_v6 ? use->v6_near : use->v4_near;
    return (atomic_load_explicit(&near[bit / WORD_BITS], memory_order_relaxed) >> bit % WORD_BITS & 1) != 0;
}

bool probe_add(struct probe_use *use, struct filter *filter, enum core_indicator type, struct core_span value,
               bool subdomains) {
    struct network network;
    bool is_parent = type == CORE_INDICATOR_DOMAIN && subdomains;
    if (!filter_add(filter, probe_hash(type, is_parent ? PROBE_PARENT : PROBE_EXACT, value))) {
        return false;
    }
    if (is_parent) {
        bit_set64(&use->parents, parent_bit(labels_of(value)));
    } else if (type == CORE_INDICATOR_CIDR && network_read(value, &network)) {
        network_note(use, network);
    } else if ((atomic_load_explicit(&use->types, memory_order_relaxed) >> type & 1) == 0) {
        atomic_fetch_or_explicit(&use->types, UINT32_C(1) << type, memory_order_release);
    }
    return true;
}

/* ---- the canonical form, quickly -------------------------------------------------------------------------------------------- */

enum byte_class {
    BYTE_DIGIT = 1,
    BYTE_HEX = 2,    /* a to f */
    BYTE_LETTER = 4, /* g to z, - and _ */
    BYTE_DOT = 8,
    BYTE_COLON = 16,
    BYTE_OTHER = 32
};

static const unsigned char byte_classes[UINT8_MAX + 1] = {
    [0 ... '-' - 1] = BYTE_OTHER,
    ['-'] = BYTE_LETTER,
    ['.'] = BYTE_DOT,
    ['/'] = BYTE_OTHER,
    ['0' ... '9'] = BYTE_DIGIT,
    [':'] = BYTE_COLON,
    [':' + 1 ... '_' - 1] = BYTE_OTHER,
    ['_'] = BYTE_LETTER,
    ['_' + 1] = BYTE_OTHER,
    ['a' ... 'f'] = BYTE_HEX,
    ['g' ... 'z'] = BYTE_LETTER,
    ['z' + 1 ... UINT8_MAX] = BYTE_OTHER,
};
_Static_assert('.' == '-' + 1 && '/' == '.' + 1 && 'a' == '_' + 2, "ASCII");

static inline unsigned class_of(unsigned char c) {
    return byte_classes[c];
}

static inline unsigned classes_of(struct core_span text) {
    unsigned classes = 0;
    for (size_t i = 0; i < text.len; i++) {
        classes |= class_of((unsigned char)text.ptr[i]);
    }
    return classes;
}

/* Groups of small hex digits as inet_ntop writes them, not beginning with "::" (IPv4 in IPv6, and few others): none with a
 * zero in front, "::" for two or more, no other two zeros beside each other. What it refuses may still be canonical. */
static bool is_plain_v6(struct core_span text) {
    unsigned groups = 0;
    bool has_gap = false;
    bool was_zero = false;
    size_t at = 0;
    while (at < text.len) {
        size_t start = at;
        while (at < text.len && text.ptr[at] != ':') {
            at++;
        }
        size_t len = at - start;
        bool is_zero = len == 1 && text.ptr[start] == '0';
        if (len > 4 || (len > 1 && text.ptr[start] == '0') || (is_zero && was_zero)) {
            return false;
        }
        if (len == 0) { /* "::"; a second one, or a zero before it */
            if (has_gap || groups == 0 || was_zero) {
                return false;
            }
            has_gap = true;
            was_zero = true; /* so that no zero stands behind it */
        } else {
            groups++;
            was_zero = is_zero;
        }
        at += at < text.len;
    }
    if (text.len == 0 || text.ptr[text.len - 1] == ':') {
        return false; /* ends with "::": rare */
    }
    return has_gap ? groups <= 6 : groups == 8;
}

/* Small letters and digits in labels of 1 to 63, the last byte no digit (it may be an address). */
static bool is_plain_domain(struct core_span text) {
    size_t label = 0;
    if (text.len == 0 || text.len > NAME_BYTES_MAX) {
        return false;
    }
    for (size_t i = 0; i < text.len; i++) {
        unsigned class = class_of((unsigned char)text.ptr[i]);
        if ((class & (BYTE_COLON | BYTE_OTHER)) != 0 || (class == BYTE_DOT && label == 0)) {
            return false;
        }
        label = class == BYTE_DOT ? 0 : label + 1;
        if (label > LABEL_BYTES_MAX) {
            return false;
        }
    }
    return label > 0 && class_of((unsigned char)text.ptr[text.len - 1]) != BYTE_DIGIT;
}

/* host/path?query with a plain host; no port, no fragment, no blank at the end. */
static bool is_plain_url(struct core_span text) {
    const char *slash = core_span_chr(text, '/');
    return slash != NULL && is_plain_domain((struct core_span){text.ptr, (size_t)(slash - text.ptr)}) &&
           core_span_chr(text, '#') == NULL && (unsigned char)text.ptr[text.len - 1] > ' ';
}

/* Is it, but for a URL's scheme, as indicators are written? *value then is. */
static bool is_plain(enum core_indicator type, struct core_span text, struct core_span *value) {
    unsigned classes;
    *value = text;
    switch (type) {
    case CORE_INDICATOR_IP:
        classes = classes_of(text);
        return (classes & ~(unsigned)(BYTE_DIGIT | BYTE_DOT)) == 0 ||
               ((classes & ~(unsigned)(BYTE_DIGIT | BYTE_HEX | BYTE_COLON)) == 0 && is_plain_v6(text));
    case CORE_INDICATOR_DOMAIN:
        return is_plain_domain(text);
    case CORE_INDICATOR_URL:
        if (core_span_starts(text, CORE_SPAN("http://"))) { /* as url.full is written */
            *value = (struct core_span){text.ptr + strlen("http://"), text.len - strlen("http://")};
        }
        return is_plain_url(*value);
    case CORE_INDICATOR_FILE_HASH:
    case CORE_INDICATOR_CERT_HASH:
    case CORE_INDICATOR_JA3:
        return (classes_of(text) & ~(unsigned)(BYTE_DIGIT | BYTE_HEX)) == 0;
    default:
        return false;
    }
}

/* The observable as indicators are written; *type may be another then (an address where a name is expected). */
static bool canonical_of(const struct core_observable *observable, char room[ENRICH_VALUE_BYTES_MAX],
                         enum core_indicator *type, struct core_span *value) {
    const char *why;
    struct core_span text = {observable->ptr, observable->len};
    *type = (enum core_indicator)observable->type;
    if (text.len == 0 || text.len > ENRICH_VALUE_BYTES_MAX || *type == CORE_INDICATOR_CIDR) {
        return false;
    }
    if (is_plain(*type, text, value)) {
        return true;
    }
    return enrich_canonical(type, text, room, value, &why) && *type != CORE_INDICATOR_CIDR;
}

/* ---- probes ------------------------------------------------------------------------------------------------------------------ */

/* Networks of the address, longest prefix first, of those lengths that are in use. */
static size_t probe_networks(struct core_span value, const struct probe_used *used, struct probe *out, size_t room) {
    struct network address;
    size_t len = 0;
    bool is_v6 = core_span_chr(value, ':') != NULL;
    uint64_t words[2] = {is_v6 ? used->v6[0] : used->v4, is_v6 ? used->v6[1] : 0};
    if ((words[0] | words[1]) == 0 || !network_read(value, &address) || !is_near_a_network(used->use, &address)) {
        return 0;
    }
    for (int word = 1; word >= 0; word--) {
        for (uint64_t left = words[word]; left != 0 && len < room;) {
            unsigned bit = WORD_BITS - 1 - (unsigned)__builtin_clzll(left);
            left ^= UINT64_C(1) << bit;
            unsigned bits = (unsigned)word * WORD_BITS + bit;
            uint64_t high = address.high & mask_high(bits);
            out[len++] =
                (struct probe){.hash = is_v6 ? v6_hash(high, address.low & mask_low(bits), bits) : v4_hash(high, bits),
                               .as = PROBE_AS_NETWORK,
                               .at = (uint8_t)bits};
        }
    }
    return len;
}

/* The domain itself, as one whose subdomains are meant, and what stands behind each of its dots. */
static size_t probe_parents(struct core_span value, const struct probe_used *used, struct probe *out, size_t room) {
    size_t len = 0;
    size_t start = 0;
    for (unsigned labels = labels_of(value); labels > 0 && len < room; labels--) {
        if ((used->parents >> parent_bit(labels) & 1) != 0) {
            struct core_span parent = {value.ptr + start, value.len - start};
            out[len++] = (struct probe){.hash = text_hash(CORE_INDICATOR_DOMAIN, PROBE_PARENT, parent),
                                        .as = PROBE_AS_PARENT,
                                        .at = (uint8_t)start};
        }
        while (start < value.len && value.ptr[start] != '.') {
            start++;
        }
        start++;
    }
    return len;
}

static bool is_in_use(enum core_indicator type, const struct probe_used *used) {
    bool is_more = (type == CORE_INDICATOR_IP && (used->v4 | used->v6[0] | used->v6[1]) != 0) ||
                   /* a name's text may be an address */
                   (type == CORE_INDICATOR_DOMAIN && (used->parents | used->v4 | used->v6[0] | used->v6[1]) != 0) ||
                   (type == CORE_INDICATOR_DOMAIN && (used->types >> CORE_INDICATOR_IP & 1) != 0);
    return is_more || (used->types >> type & 1) != 0;
}

size_t probe_make(const struct core_observable *observable, const struct probe_used *used,
                  struct probe out[PROBES_MAX]) {
    char room[ENRICH_VALUE_BYTES_MAX];
    enum core_indicator type = (enum core_indicator)observable->type;
    struct core_span value;
    MUST(type > CORE_INDICATOR_NONE && type < CORE_INDICATOR__MAX);
    if (!is_in_use(type, used) || !canonical_of(observable, room, &type, &value)) {
        return 0;
    }
    size_t len = 0;
    if ((used->types >> type & 1) != 0) {
        out[len++] = (struct probe){.hash = text_hash(type, PROBE_EXACT, value), .as = PROBE_AS_IT_IS};
    }
    if (type == CORE_INDICATOR_IP) {
        len += probe_networks(value, used, out + len, PROBES_MAX - len);
    } else if (type == CORE_INDICATOR_DOMAIN && used->parents != 0) {
        len += probe_parents(value, used, out + len, PROBES_MAX - len);
    }
    return len;
}

bool probe_value(const struct core_observable *observable, const struct probe *probe, char room[ENRICH_VALUE_BYTES_MAX],
                 enum core_indicator *type, struct core_span *value) {
    struct network address;
    if (!canonical_of(observable, room, type, value)) {
        return false;
    }
    switch ((enum probe_as)probe->as) {
    case PROBE_AS_PARENT:
        *value = (struct core_span){value->ptr + probe->at, value->len - probe->at};
        return true;
    case PROBE_AS_NETWORK:
        if (!network_read(*value, &address)) {
            return false;
        }
        *value = network_text(network_of(address, probe->at), room);
        *type = CORE_INDICATOR_CIDR;
        return true;
    case PROBE_AS_IT_IS:
    default:
        return true;
    }
}

size_t enrich_probes(enum core_indicator type, struct core_span text, struct core_arena *arena,
                     struct enrich_probe *out) {
    static const struct probe_used all = {.types = UINT32_MAX,
                                          .parents = UINT64_MAX,
                                          .v4 = (UINT64_C(1) << V4_BITS) - 2, /* 1 to 31 */
                                          .v6 = {UINT64_MAX - 1, UINT64_MAX}};
    char room[ENRICH_VALUE_BYTES_MAX];
    struct probe probes[PROBES_MAX];
    if (text.len > ENRICH_VALUE_BYTES_MAX) {
        return 0;
    }
    const struct core_observable observable = {.ptr = text.ptr, .len = (uint32_t)text.len, .type = (uint8_t)type};
    size_t probes_len = probe_make(&observable, &all, probes);
    size_t len = 0;
    for (size_t i = 0; i < probes_len; i++) {
        struct enrich_probe *probe = &out[len];
        bool is_parent = probes[i].as == PROBE_AS_PARENT;
        if ((is_parent && probes[i].at == 0) ||
            !probe_value(&observable, &probes[i], room, &probe->type, &probe->value)) {
            continue;
        }
        const char *copy = core_arena_copy(arena, probe->value);
        if (copy == NULL) {
            return 0;
        }
        probe->value.ptr = copy;
        probe->is_parent = is_parent;
        len++;
    }
    return len;
}
