/* normalize/derive_snort.c: derive functions for what only Snort writes: address:port pairs, gid:sid:rev.
 * SPDX-License-Identifier: Apache-2.0 */
#include "normalize/normalize_internal.h"

#include <strings.h>

/* "1.2.3.4:80", "fd20::2:47678", ":0": the port is what stands behind the last colon. */
static bool hostport_cut(struct value v, struct core_span *host, struct core_span *port) {
    if (!value_is_string(v)) {
        return false;
    }
    size_t at = v.len;
    while (at > 0 && v.ptr[at - 1] != ':') {
        at--;
    }
    if (at == 0) {
        return false;
    }
    *host = (struct core_span){v.ptr, at - 1};
    *port = (struct core_span){v.ptr + at, v.len - at};
    return true;
}

bool derive_hostport_ip(const struct derive_context *ctx) {
    struct core_span host;
    struct core_span port;
    struct ip_addr ip;
    if (!hostport_cut(derive_arg(ctx, 0), &host, &port) || host.len == 0 || !ip_parse(host, &ip)) {
        return true;
    }
    const struct plan *plan = ctx->plan;
    unsigned slot = ctx->call->leaf == plan->known[KNOWN_SOURCE_IP]        ? 1
                    : ctx->call->leaf == plan->known[KNOWN_DESTINATION_IP] ? 2
                                                                           : 0;
    if (slot > 0 && !leaf_is_set(plan, ctx->call->leaf)) {
        ctx->worker->ip[slot] = ip;
    }
    return derive_put(ctx, value_ip_short(ctx->worker, value_of(VALUE_TEXT, host.ptr, host.len)));
}

static bool proto_is(struct value proto, const char *upper) {
    return value_is_string(proto) && proto.len == strlen(upper) && strncasecmp(proto.ptr, upper, proto.len) == 0;
}

/* Snort prints :0 where there is no port (ICMP, ARP); for TCP and UDP a port 0 is one. */
bool derive_hostport_port(const struct derive_context *ctx) {
    struct core_span host;
    struct core_span port;
    struct value proto = derive_arg(ctx, 1);
    bool has_ports = proto_is(proto, "TCP") || proto_is(proto, "UDP") || proto_is(proto, "SCTP");
    if (!has_ports || !hostport_cut(derive_arg(ctx, 0), &host, &port) || port.len == 0 || port.len > 5 ||
        !core_json_is_number(port)) {
        return true;
    }
    return derive_put(ctx, value_number(port.ptr, port.len));
}

bool derive_rule_part(const struct derive_context *ctx) {
    struct value rule = derive_arg(ctx, 0);
    struct core_span word = derive_word(ctx, 1);
    MUST(word.len == 1);
    if (!value_is_string(rule)) {
        return true;
    }
    struct core_span rest = value_span(rule);
    for (int part = word.ptr[0] - '0';; part--) {
        const char *colon = core_span_chr(rest, ':');
        size_t len = colon == NULL ? rest.len : (size_t)(colon - rest.ptr);
        if (part == 0) {
            struct core_span text = {rest.ptr, len};
            if (!core_json_is_number(text)) {
                return true;
            }
            /* The gid is a number, sid and rev are strings: the map's target says which by the part. */
            return derive_put(ctx,
                              word.ptr[0] == '0' ? value_number(text.ptr, len) : value_of(VALUE_PLAIN, text.ptr, len));
        }
        if (colon == NULL) {
            return true;
        }
        rest = (struct core_span){colon + 1, rest.len - len - 1};
    }
}
