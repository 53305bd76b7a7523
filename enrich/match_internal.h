/* enrich/match_internal.h: from an observable to what the store is asked, and from its answer into the document.
 *
 *   probe.c     an observable's hashes, one for each indicator that would name it
 *   allow.c     what is never a hit
 *   view.c      filter, what is in use, allow-list: published by the follower, used by the enrich thread
 *   follower.c  the thread that builds the filter and follows the stream of changes
 *   match.c     a batch's observables -> possible hits -> the store's answers -> hits
 *   document.c  members merged into a document that is written already
 *   threat.c    which members: threat.enrichments and its flat copies
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_ENRICH_MATCH_INTERNAL_H
#define TAPLINE_ENRICH_MATCH_INTERNAL_H

#include "enrich/enrich_internal.h"

#include <pthread.h>

/* ---- networks -------------------------------------------------------------------------------------------------------------- */

/* An address and how many of its bits count; the others are zero. IPv4 stands in the upper 32 bits of high. */
struct network {
    uint64_t high;
    uint64_t low;
    uint8_t bits; /* of an address 32 or 128 */
    bool is_v6;
};
/* Read canonical text, with or without prefix. Shape: false: it is none (then *out is undefined). Thread: any. */
CORE_CHECKED bool network_read(struct core_span text, struct network *out);
/* The network of so many bits that it is in. */
struct network network_of(struct network address, unsigned bits);
#define NETWORK_TEXT_BYTES 64
/* As enrich_canonical() writes it. Shape: returns what is written in room. */
struct core_span network_text(struct network network, char room[NETWORK_TEXT_BYTES]);

/* ---- probes ---------------------------------------------------------------------------------------------------------------- */

/* What kinds of indicators there are, so that nobody asks for the others. Bits are only ever set. Written by the follower,
 * read by the enrich thread. */
struct probe_use {
    _Atomic uint32_t types;   /* bit n: enum core_indicator n, looked for as it stands */
    _Atomic uint64_t parents; /* bit n: domains of n labels whose subdomains are meant; bit 63: of 63 or more */
    _Atomic uint64_t v4;      /* bit n: IPv4 networks of n bits */
    _Atomic uint64_t v6[2];   /* bit n % 64 of v6[n / 64]: IPv6 networks */
};
/* The same, read once a batch. */
struct probe_used {
    uint32_t types;
    uint64_t parents;
    uint64_t v4;
    uint64_t v6[2];
};
struct probe_used probe_used_of(const struct probe_use *use);

enum probe_as { PROBE_AS_IT_IS, PROBE_AS_PARENT, PROBE_AS_NETWORK };
/* One question to the filter. */
struct probe {
    uint64_t hash;
    uint32_t event;      /* index in the batch */
    uint16_t observable; /* index in the event */
    uint8_t as;          /* enum probe_as */
    uint8_t at;          /* the parent's first byte in the domain, or the network's bits */
};
#define PROBE_DOMAIN_LABELS_MAX 127 /* in 253 bytes */
#define PROBES_MAX 130              /* of one observable: itself and 127 networks, or itself and each parent */

/* Put an indicator into the filter, under the one hash that finds it. Shape: false: the filter is full. Thread: follower. */
CORE_CHECKED bool probe_add(struct probe_use *use, struct filter *filter, enum core_indicator type,
                            struct core_span value, bool subdomains);
/* The questions an observable makes: itself, then networks, longest prefix first, or parents, longest first. event and
 * observable are left to the caller. Shape: returns how many; 0: nothing that there is an indicator of. Thread: any. */
size_t probe_make(const struct core_observable *observable, const struct probe_used *used,
                  struct probe out[PROBES_MAX]);
/* What a probe asks for: the key in the store. Shape: false: nothing (not a probe of this observable). The value points
 * into the observable or into room. */
CORE_CHECKED bool probe_value(const struct core_observable *observable, const struct probe *probe,
                              char room[ENRICH_VALUE_BYTES_MAX], enum core_indicator *type, struct core_span *value);

/* ---- the allow-list -------------------------------------------------------------------------------------------------------- */

/* Addresses, networks and domains (with all below them) that are never a hit. Exact: no hash decides. */
struct allow;
#define ALLOW_MAX 4000000                            /* more are refused, and said */
struct allow *allow_new(void);                       /* never NULL (MUST) */
void allow_free(struct allow *allow);                /* takes NULL */
struct allow *allow_copy(const struct allow *allow); /* never NULL (MUST) */
CORE_CHECKED bool allow_set(struct allow *allow, enum core_indicator type, struct core_span value, bool is_allowed);
size_t allow_len(const struct allow *allow);
/* Is a canonical address or domain on it, or in or below what is on it? false for every other type. */
bool allow_has(const struct allow *allow, enum core_indicator type, struct core_span value);

#endif
