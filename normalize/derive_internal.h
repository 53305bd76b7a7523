/* normalize/derive_internal.h: what derive functions are, and all of them. A part of normalize_internal.h, which includes it.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_NORMALIZE_DERIVE_INTERNAL_H
#define TAPLINE_NORMALIZE_DERIVE_INTERNAL_H

#include "normalize/normalize_internal.h"

#define DERIVE_SUBS_MAX 12

struct derive_context {
    struct normalize_worker *worker;
    struct plan *plan;
    const struct derive_call *call;
};

enum derive_always {
    DERIVE_WITH_FIELDS,   /* no */
    DERIVE_ALWAYS,        /* yes */
    DERIVE_WITH_NETWORKS, /* yes, where the config names networks */
    DERIVE_WITH_GEO       /* yes, where the config names databases of addresses */
};

/* What a function's result depends on, for the records of a form (form.h). */
enum derive_settles {
    DERIVE_BY_VALUE, /* on what its arguments say: it runs for each record */
    DERIVE_BY_FIRST, /* the same, but it writes nothing where its first argument is absent */
    DERIVE_BY_TEXT,  /* on whether the first argument is the text of the second */
    DERIVE_BY_EMPTY, /* on whether the first argument is there and not empty */
    DERIVE_BY_BOOLS  /* on its arguments, if all are bools */
};

struct derive_row {
    const char *name;
    const char *args; /* for the reference: "(orig, resp)" */
    int args_min;
    int args_max;
    uint8_t is_always;                 /* enum derive_always: runs even if the record has none of its arguments */
    unsigned takes;                    /* bit i: argument i is used up by it, so that `keep` does not repeat it */
    const char *subs[DERIVE_SUBS_MAX]; /* further targets: ".path" is below the main target, "tls.version" absolute */
    const char *help;
    /* Returns false only when the record is refused. */
    bool (*run)(const struct derive_context *ctx);
    enum schema_type writes; /* what its main target gets; SCHEMA_OWN: its arguments' own type */
};
extern const struct derive_row derive_table[];
extern const size_t derive_table_len;
const struct derive_row *derive_find(struct core_span name);
enum derive_settles derive_settles(const struct derive_row *row);
/* Is further target s one that the function reads and never writes? */
bool derive_reads(const struct derive_row *row, size_t s);
/* Can what the function writes stand in a field of this type? */
bool derive_type_fits(const struct derive_row *row, enum schema_type type);
/* The name of the function's further target s in this row. Shape: out has SCHEMA_NAME_BYTES_MAX. */
struct core_span derive_sub_name(const struct map_row *row, size_t s, char *out);

/* Helpers for derive*.c. */
struct value derive_arg(const struct derive_context *ctx, size_t i);      /* the column's value, or none */
struct core_span derive_word(const struct derive_context *ctx, size_t i); /* the argument's own text */
bool derive_put(const struct derive_context *ctx, struct value value);    /* to the main target */
bool derive_put_sub(const struct derive_context *ctx, size_t sub, struct value value);

/* derive_*.c */
bool derive_community_id(const struct derive_context *ctx);
bool derive_direction(const struct derive_context *ctx);
bool derive_geo(const struct derive_context *ctx);
bool derive_members(const struct derive_context *ctx);
bool derive_member_ips(const struct derive_context *ctx);
bool derive_eve_answers(const struct derive_context *ctx);
bool derive_eve_grouped(const struct derive_context *ctx);
bool derive_unbracket(const struct derive_context *ctx);
bool derive_hex(const struct derive_context *ctx);
bool derive_hex_low(const struct derive_context *ctx);
bool derive_base_name(const struct derive_context *ctx);
bool derive_item(const struct derive_context *ctx);
bool derive_elapsed(const struct derive_context *ctx);
bool derive_domain(const struct derive_context *ctx);
bool derive_dns_answers(const struct derive_context *ctx);
bool derive_dns_ips(const struct derive_context *ctx);
bool derive_dns_flags(const struct derive_context *ctx);
bool derive_host_name(const struct derive_context *ctx);
bool derive_host_ip(const struct derive_context *ctx);
bool derive_entity_ips(const struct derive_context *ctx);
bool derive_url(const struct derive_context *ctx);
bool derive_url_parts(const struct derive_context *ctx);
bool derive_tls_version(const struct derive_context *ctx);
bool derive_dn(const struct derive_context *ctx);
bool derive_verb(const struct derive_context *ctx);
bool derive_outcome(const struct derive_context *ctx);
bool derive_join(const struct derive_context *ctx);
bool derive_number(const struct derive_context *ctx);
bool derive_bounds(const struct derive_context *ctx);
bool derive_before_last(const struct derive_context *ctx);
bool derive_after_last(const struct derive_context *ctx);
bool derive_word_of(const struct derive_context *ctx);
bool derive_ip_kind(const struct derive_context *ctx);
bool derive_path_join(const struct derive_context *ctx);
bool derive_days(const struct derive_context *ctx);
bool derive_hash(const struct derive_context *ctx);
bool derive_snort_time(const struct derive_context *ctx);
bool derive_hostport_ip(const struct derive_context *ctx);
bool derive_hostport_port(const struct derive_context *ctx);
bool derive_rule_part(const struct derive_context *ctx);

#endif
