/* normalize/derive.c: the table of derive functions, and the small ones. A function reads source fields (columns) or
 * leaves that are already there, and fills what is not there yet. Adding one is a row here and a line in
 * configs/maps/FORMAT.md.
 * SPDX-License-Identifier: Apache-2.0 */
#include "normalize/normalize_internal.h"

#include <stdio.h>
#include <stdlib.h>

static struct value word_value(struct core_span word) {
    if (word.len == 0 || core_span_is(word, "-")) {
        return value_none();
    }
    return value_of(VALUE_TEXT, word.ptr, word.len);
}

/* -1 absent, 0 false, 1 true */
static int bool_of(struct value v) {
    if (!value_is_scalar(v) || v.len == 0) {
        return -1;
    }
    char c = v.ptr[0];
    return c == 'T' || c == 't' || c == '1' ? 1 : 0;
}

static bool is_empty(struct value v) {
    return v.kind == VALUE_NONE || v.len == 0;
}

static bool derive_sum(const struct derive_context *ctx) {
    uint64_t a;
    uint64_t b;
    bool has_a = decimal_value(derive_arg(ctx, 0), &a);
    bool has_b = decimal_value(derive_arg(ctx, 1), &b);
    if (!has_a && !has_b) {
        return true;
    }
    return derive_put(ctx, value_u64(ctx->worker, a + b));
}

static bool derive_network_type(const struct derive_context *ctx) {
    uint8_t len = ctx->worker->ip[1].len > 0 ? ctx->worker->ip[1].len : ctx->worker->ip[2].len;
    if (len == 0) {
        return true;
    }
    static const char names[2][VALUE_ROOM] = {"ipv4", "ipv6"};
    const char *name = names[len == 4 ? 0 : 1];
    return derive_put(ctx, value_roomy(value_of(VALUE_PLAIN, name, 4), name + VALUE_ROOM));
}

static bool derive_first(const struct derive_context *ctx) {
    struct value v = derive_arg(ctx, 0);
    if (v.kind == VALUE_LIST) {
        v = v.len > 0 ? v.items[0] : value_none();
    }
    return derive_put(ctx, v);
}

static bool derive_each(const struct derive_context *ctx) {
    for (size_t i = 0; i < ctx->call->row->args_len; i++) {
        if (!derive_put(ctx, derive_arg(ctx, i))) {
            return false;
        }
    }
    return true;
}

static bool derive_either(const struct derive_context *ctx) {
    for (size_t i = 0; i < ctx->call->row->args_len; i++) {
        struct value v = derive_arg(ctx, i);
        if (!is_empty(v)) {
            return derive_put(ctx, v);
        }
    }
    return true;
}

static bool derive_present(const struct derive_context *ctx) {
    return derive_put(ctx, word_value(derive_word(ctx, is_empty(derive_arg(ctx, 0)) ? 2 : 1)));
}

static bool derive_when_true(const struct derive_context *ctx) {
    int v = bool_of(derive_arg(ctx, 0));
    return v < 0 || derive_put(ctx, word_value(derive_word(ctx, v == 1 ? 1 : 2)));
}

static bool derive_below(const struct derive_context *ctx) {
    uint64_t v;
    uint64_t bound;
    struct core_span word = derive_word(ctx, 1);
    if (!decimal_value(derive_arg(ctx, 0), &v) || !decimal_value(value_of(VALUE_PLAIN, word.ptr, word.len), &bound)) {
        return true;
    }
    return derive_put(ctx, word_value(derive_word(ctx, v < bound ? 2 : 3)));
}

static bool derive_is_text(const struct derive_context *ctx) {
    struct value v = derive_arg(ctx, 0);
    if (!value_is_scalar(v)) {
        return true;
    }
    return derive_put(ctx, word_value(derive_word(ctx, core_span_eq(value_span(v), derive_word(ctx, 1)) ? 2 : 3)));
}

#define MAC_STRIDE 16 /* bytes worked on at once */

/* Colons to dashes, letters to upper case. By way of two arrays, so that it can be done in a register. */
static inline void mac_write(char *out, const char *text, size_t len) {
    char from[MAC_STRIDE] = {0};
    char to[MAC_STRIDE];
    memcpy(from, text, len);
    for (size_t i = 0; i < MAC_STRIDE; i++) {
        char c = from[i];
        char up = (char)(c - (c >= 'a' && c <= 'f' ? 'a' - 'A' : 0));
        to[i] = c == ':' ? '-' : up;
    }
    memcpy(out, to, MAC_STRIDE);
}

/* 02:00:00:00:00:10 -> 02-00-00-00-00-10, as ECS (RFC 7042) has it. */
static bool derive_mac(const struct derive_context *ctx) {
    struct value v = derive_arg(ctx, 0);
    if (!value_is_string(v) || v.len == 0) {
        return true;
    }
    char *out = scratch_alloc(ctx->worker, (size_t)v.len + VALUE_ROOM);
    if (out == NULL) {
        return false;
    }
    uint32_t at = 0;
    for (; at + MAC_STRIDE <= v.len; at += MAC_STRIDE) {
        mac_write(out + at, v.ptr + at, MAC_STRIDE);
    }
    for (; at < v.len; at++) {
        mac_write(out + at, v.ptr + at, 1);
    }
    /* No byte was added that needs an escape. */
    return derive_put(ctx, value_roomy(value_of((enum value_kind)v.kind, out, v.len), out + VALUE_ROOM));
}

/* Snort's hexadecimal (0x4E) and decimal numbers. */
static bool derive_dec(const struct derive_context *ctx) {
    struct value v = derive_arg(ctx, 0);
    uint64_t number = 0;
    if (!value_is_scalar(v) || v.len == 0) {
        return true;
    }
    if (v.len < 3 || v.ptr[0] != '0' || (v.ptr[1] != 'x' && v.ptr[1] != 'X')) {
        return !decimal_value(v, &number) || derive_put(ctx, value_u64(ctx->worker, number));
    }
    for (uint32_t i = 2; i < v.len; i++) {
        char c = v.ptr[i];
        unsigned digit = c >= '0' && c <= '9'   ? (unsigned)(c - '0')
                         : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10
                         : c >= 'A' && c <= 'F' ? (unsigned)(c - 'A') + 10
                                                : 16;
        if (digit == 16 || i > 16) {
            return true;
        }
        number = number << 4 | digit;
    }
    return derive_put(ctx, value_u64(ctx->worker, number));
}

/* ***AP*** -> AP; a field of asterisks only has no flag set. */
static bool derive_tcp_flags(const struct derive_context *ctx) {
    struct value v = derive_arg(ctx, 0);
    if (!value_is_string(v)) {
        return true;
    }
    struct value out = value_copy(ctx->worker, value_span(v));
    if (out.kind == VALUE_NONE) {
        return false;
    }
    char *p = (char *)(uintptr_t)out.ptr;
    uint32_t len = 0;
    for (uint32_t i = 0; i < v.len; i++) {
        if (v.ptr[i] != '*') {
            p[len++] = v.ptr[i];
        }
    }
    out.len = len;
    return len == 0 || derive_put(ctx, out);
}

const struct derive_row derive_table[] = {
    {"direction",
     "(local_orig, local_resp)",
     0,
     2,
     DERIVE_WITH_NETWORKS,
     0,
     {0},
     "internal, outbound, inbound or external, from two bools, else by the networks that the config names",
     derive_direction,
     SCHEMA_KEYWORD},
    {"sum", "(a, b)", 2, 2, false, 0, {0}, "the sum of two counts; an absent one counts 0", derive_sum, SCHEMA_LONG},
    {"network_type",
     "()",
     0,
     0,
     true,
     0,
     {0},
     "ipv4 or ipv6, from source.ip or destination.ip",
     derive_network_type,
     SCHEMA_KEYWORD},
    {"community_id",
     "(own, type, code)",
     3,
     3,
     true,
     1,
     {0},
     "Community ID v1 from addresses, ports and transport; for ICMP from these two fields; a sensor's own is kept and "
     "compared",
     derive_community_id,
     SCHEMA_KEYWORD},
    {"first", "(a)", 1, 1, false, 0, {0}, "the first element of a set or vector", derive_first, SCHEMA_OWN},
    {"each",
     "(a, ...)",
     1,
     ROW_ARGS_MAX,
     false,
     0,
     {0},
     "all elements of all these fields, into a list",
     derive_each,
     SCHEMA_OWN},
    {"either",
     "(a, ...)",
     1,
     ROW_ARGS_MAX,
     false,
     0,
     {0},
     "the first of these fields that is there",
     derive_either,
     SCHEMA_OWN},
    {"present",
     "(field, VALUE, OTHER)",
     3,
     3,
     true,
     0,
     {0},
     "VALUE if the field is there and not empty, else OTHER",
     derive_present,
     SCHEMA_KEYWORD},
    {"when_true",
     "(field, VALUE, OTHER)",
     3,
     3,
     false,
     0,
     {0},
     "VALUE if true, OTHER if false; - is nothing",
     derive_when_true,
     SCHEMA_KEYWORD},
    {"below",
     "(field, N, VALUE, OTHER)",
     4,
     4,
     false,
     0,
     {0},
     "VALUE if the number is below N, else OTHER",
     derive_below,
     SCHEMA_KEYWORD},
    {"is_text",
     "(field, TEXT, VALUE, OTHER)",
     4,
     4,
     false,
     0,
     {0},
     "VALUE if the field is TEXT, else OTHER",
     derive_is_text,
     SCHEMA_KEYWORD},
    {"verb",
     "(field, MARK)",
     1,
     2,
     false,
     0,
     {0},
     "what was done: the field's first value in lower case, without what stands up to the last MARK",
     derive_verb,
     SCHEMA_KEYWORD},
    {"outcome",
     "(field, TEXT)",
     2,
     2,
     false,
     0,
     {0},
     "success if the field's first value is TEXT, else failure",
     derive_outcome,
     SCHEMA_KEYWORD},
    {"join",
     "(a)",
     1,
     1,
     false,
     0,
     {0},
     "the elements as one text, with \", \" between them",
     derive_join,
     SCHEMA_KEYWORD},
    {"bounds",
     "(a)",
     1,
     1,
     false,
     1,
     {0},
     "a histogram's upper bounds as text, the last one inf",
     derive_bounds,
     SCHEMA_KEYWORD},
    {"number", "(a)", 1, 1, false, 1, {0}, "a number without the % behind it", derive_number, SCHEMA_DOUBLE},
    {"dns_answers", "(answers, TTLs)", 2, 2, false, 0, {0}, "a list of {data, ttl}", derive_dns_answers, SCHEMA_OBJECT},
    {"dns_ips", "(answers)", 1, 1, false, 0, {0}, "the answers that are addresses", derive_dns_ips, SCHEMA_IP},
    {"dns_flags",
     "(AA, TC, RD, RA)",
     4,
     4,
     false,
     0,
     {0},
     "the header flags that are set",
     derive_dns_flags,
     SCHEMA_KEYWORD},
    {"geo",
     "(source|destination)",
     1,
     1,
     DERIVE_WITH_GEO,
     0,
     {".geo", ".as"},
     "place and autonomous system of that end, from the databases that the config names",
     derive_geo,
     SCHEMA_OBJECT},
    {"members",
     "(objects, KEY)",
     2,
     2,
     false,
     0,
     {0},
     "member KEY of each object of a list",
     derive_members,
     SCHEMA_OWN},
    {"member_ips",
     "(objects, KEY)",
     2,
     2,
     false,
     0,
     {0},
     "the same, of those that are addresses",
     derive_member_ips,
     SCHEMA_IP},
    {"eve_answers",
     "(answers, type, rrname, rrtype, ttl, rdata)",
     6,
     6,
     false,
     0,
     {0},
     "Suricata's DNS answers as {name, type, ttl, data}",
     derive_eve_answers,
     SCHEMA_OBJECT},
    {"eve_grouped",
     "(answers, A, AAAA, …)",
     2,
     ROW_ARGS_MAX,
     false,
     0,
     {0},
     "the same of lists by type, where there are no other answers, as {type, data}",
     derive_eve_grouped,
     SCHEMA_OBJECT},
    {"unbracket",
     "(a)",
     1,
     1,
     false,
     0,
     {0},
     "what stands in < and > at its end, else all",
     derive_unbracket,
     SCHEMA_KEYWORD},
    {"hex", "(a)", 1, 1, false, 0, {0}, "hexadecimal in upper case, without colons", derive_hex, SCHEMA_KEYWORD},
    {"hex_low", "(a)", 1, 1, false, 0, {0}, "the same in lower case", derive_hex_low, SCHEMA_KEYWORD},
    {"base_name",
     "(a)",
     1,
     1,
     false,
     0,
     {0},
     "what stands behind the last / or \\ of a path",
     derive_base_name,
     SCHEMA_KEYWORD},
    {"item", "(a, N)", 2, 2, false, 0, {0}, "element N of a list, as text", derive_item, SCHEMA_KEYWORD},
    {"elapsed", "(from, till)", 2, 2, false, 0, {0}, "nanoseconds between two times", derive_elapsed, SCHEMA_LONG},
    {"domain",
     "(name, ...)",
     1,
     3,
     false,
     0,
     {".registered_domain", ".subdomain", ".top_level_domain", ".name"},
     "the parts of a host name by the public suffix list",
     derive_domain,
     SCHEMA_OBJECT},
    {"url",
     "(host, uri, port)",
     3,
     3,
     false,
     3,
     {".original", ".path", ".query", ".fragment", ".extension", ".scheme", ".full", ".domain", ".port"},
     "the parts of an HTTP request's URL",
     derive_url,
     SCHEMA_OBJECT},
    {"host_ip", "(host)", 1, 1, false, 0, {0}, "the address in a Host header, if it is one", derive_host_ip, SCHEMA_IP},
    {"entity_ips",
     "(a)",
     1,
     1,
     false,
     0,
     {0},
     "the hosts that a NetControl rule is about",
     derive_entity_ips,
     SCHEMA_IP},
    {"host_name",
     "(host)",
     1,
     1,
     false,
     0,
     {0},
     "the name in a Host header, without its port; nothing from an address",
     derive_host_name,
     SCHEMA_KEYWORD},
    {"tls_version",
     "(version)",
     1,
     1,
     false,
     0,
     {"tls.version", "tls.version_protocol"},
     "1.2 and tls, from TLSv12",
     derive_tls_version,
     SCHEMA_KEYWORD},
    {"dn",
     "(name)",
     1,
     1,
     false,
     0,
     {".common_name", ".country", ".organization", ".organizational_unit", ".locality", ".state_or_province"},
     "a distinguished name, split",
     derive_dn,
     SCHEMA_OBJECT},
    {"mac", "(a)", 1, 1, false, 1, {0}, "a MAC address as 00-25-96-12-34-56", derive_mac, SCHEMA_KEYWORD},
    {"before_last",
     "(field, SEP)",
     2,
     2,
     false,
     0,
     {0},
     "what stands before the last SEP; all if there is none",
     derive_before_last,
     SCHEMA_KEYWORD},
    {"after_last",
     "(field, SEP)",
     2,
     2,
     false,
     0,
     {0},
     "what stands behind the last SEP",
     derive_after_last,
     SCHEMA_KEYWORD},
    {"word", "(field, N)", 2, 2, false, 0, {0}, "word N (from 0), between blanks", derive_word_of, SCHEMA_KEYWORD},
    {"ip_kind",
     "(field, V4, V6)",
     3,
     3,
     false,
     0,
     {0},
     "V4 for an IPv4 address or subnet, V6 for an IPv6 one",
     derive_ip_kind,
     SCHEMA_KEYWORD},
    {"path_join",
     "(dir, SEP, name)",
     3,
     3,
     false,
     0,
     {0},
     "both, with one SEP between them",
     derive_path_join,
     SCHEMA_KEYWORD},
    {"days", "(from, till)", 2, 2, false, 0, {0}, "whole days between two times", derive_days, SCHEMA_LONG},
    {"hash",
     "(field, when, TEXT)",
     3,
     3,
     false,
     0,
     {".md5", ".sha1", ".sha256", ".sha512", "related.hash"},
     "a hash to the field of its kind, where the field `when` is TEXT",
     derive_hash,
     SCHEMA_OBJECT},
    {"url_parts",
     "(field, when, TEXT)",
     3,
     3,
     false,
     0,
     {".original", ".path", ".query", ".fragment", ".extension", ".scheme", ".full", ".domain", ".port",
      "related.hosts", "related.ip"},
     "the parts of a URL that has no scheme, where the field `when` is TEXT",
     derive_url_parts,
     SCHEMA_OBJECT},
    {"dec", "(a)", 1, 1, false, 1, {0}, "a decimal number from 0x.. or decimal text", derive_dec, SCHEMA_LONG},
    {"hostport_ip", "(ap)", 1, 1, false, 0, {0}, "the address of Snort's src_ap", derive_hostport_ip, SCHEMA_IP},
    {"hostport_port",
     "(ap, proto)",
     2,
     2,
     false,
     0,
     {0},
     "the port of Snort's src_ap, if the protocol has ports",
     derive_hostport_port,
     SCHEMA_LONG},
    {"rule_part", "(rule, N)", 2, 2, false, 0, {0}, "part N of Snort's gid:sid:rev", derive_rule_part, SCHEMA_OWN},
    {"snort_time",
     "(timestamp, seconds)",
     2,
     2,
     false,
     3,
     {0},
     "the time of a Snort alert, in UTC",
     derive_snort_time,
     SCHEMA_DATE},
    {"tcp_flags", "(a)", 1, 1, false, 1, {0}, "Snort's ***AP*** without asterisks", derive_tcp_flags, SCHEMA_KEYWORD},
};
const size_t derive_table_len = sizeof(derive_table) / sizeof(derive_table[0]);

const struct derive_row *derive_find(struct core_span name) {
    for (size_t i = 0; i < derive_table_len; i++) {
        if (core_span_is(name, derive_table[i].name)) {
            return &derive_table[i];
        }
    }
    return NULL;
}

/* Functions that are not here run for each record. */
enum derive_settles derive_settles(const struct derive_row *row) {
    static const struct {
        bool (*run)(const struct derive_context *ctx);
        enum derive_settles how;
    } known[] = {
        {derive_present, DERIVE_BY_EMPTY},     {derive_is_text, DERIVE_BY_TEXT},    {derive_when_true, DERIVE_BY_BOOLS},
        {derive_dns_flags, DERIVE_BY_BOOLS},   {derive_direction, DERIVE_BY_BOOLS}, {derive_mac, DERIVE_BY_FIRST},
        {derive_dns_answers, DERIVE_BY_FIRST}, {derive_dns_ips, DERIVE_BY_FIRST},   {derive_first, DERIVE_BY_FIRST},
        {derive_below, DERIVE_BY_FIRST},       {derive_host_ip, DERIVE_BY_FIRST},   {derive_host_name, DERIVE_BY_FIRST},
        {derive_tls_version, DERIVE_BY_FIRST}, {derive_dn, DERIVE_BY_FIRST},
    };
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (known[i].run == row->run) {
            return known[i].how;
        }
    }
    return DERIVE_BY_VALUE;
}

bool derive_reads(const struct derive_row *row, size_t s) {
    return row->run == derive_domain && strcmp(row->subs[s], ".name") == 0;
}

bool derive_type_fits(const struct derive_row *row, enum schema_type type) {
    if (row->writes == SCHEMA_OWN || type == SCHEMA_OWN) {
        return true;
    }
    bool is_text = row->writes == SCHEMA_LONG || row->writes == SCHEMA_IP; /* a number or an address can be a keyword */
    return row->writes == type || (type == SCHEMA_KEYWORD && is_text) ||
           (type == SCHEMA_DOUBLE && row->writes == SCHEMA_LONG);
}

struct core_span derive_sub_name(const struct map_row *row, size_t s, char *out) {
    MUST(s < DERIVE_SUBS_MAX && row->derive->subs[s] != NULL);
    const char *sub = row->derive->subs[s];
    struct core_span name = row->targets[0].name;
    /* Elastic's name for it below zeek. is another than ECS's. */
    bool is_short = core_span_starts(name, CORE_SPAN("zeek.")) && strcmp(sub, ".state_or_province") == 0;
    int len = snprintf(out, SCHEMA_NAME_BYTES_MAX, "%.*s%s", sub[0] == '.' ? (int)name.len : 0, name.ptr,
                       is_short ? ".state" : sub);
    MUST(len > 0 && len < SCHEMA_NAME_BYTES_MAX); /* names of maps are in the schema, which has a maximum */
    return (struct core_span){out, (size_t)len};
}
