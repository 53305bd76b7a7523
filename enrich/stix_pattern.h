/* enrich/stix_pattern.h: what a STIX pattern names.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_ENRICH_STIX_PATTERN_H
#define TAPLINE_ENRICH_STIX_PATTERN_H

#include "enrich/enrich_internal.h"

#define STIX_TERMS_MAX 1024

/* A comparison of a pattern. */
struct stix_term {
    enum core_indicator type; /* NONE: an address or a name, told by value */
    struct core_span object;  /* "ipv4-addr" */
    struct core_span value;   /* without quotes and escapes */
    const char *why;          /* it is no indicator by itself; NULL: it is one */
    bool is_file;             /* it is about a file or its hash */
    bool is_type;             /* *_ref.type: no condition of its own */
};

struct stix_terms {
    struct stix_term terms[STIX_TERMS_MAX];
    size_t len;
};

/* Read a pattern. Owns: texts point into pattern, or lie in the arena. Errors: false: it is none; *why is static text. */
CORE_CHECKED bool stix_pattern_read(struct core_arena *arena, struct core_span pattern, bool is_split,
                                    struct stix_terms *out, const char **why);
/* Is an object's property one that is looked for, and as which type (NONE: the value tells)? Shape: path without quotes and
 * indexes. */
bool stix_property(struct core_span object, struct core_span path, enum core_indicator *type);

#endif
