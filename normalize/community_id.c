/* normalize/community_id.c: Community ID v1 (the same flow has the same id in every sensor's log) in base64 of a SHA-1.
 * Source: corelight/community-id-spec, README "Technical details"; the ICMP pairs are those of its reference code.
 * SPDX-License-Identifier: Apache-2.0 */
#include "normalize/normalize_internal.h"

/* What a flow is known by. */
struct flow {
    struct ip_addr source;
    struct ip_addr destination;
    uint8_t protocol;
    uint16_t source_port;
    uint16_t destination_port;
    bool has_ports;
    bool is_one_way;
};

struct protocol {
    struct core_span name;
    uint8_t number;
    bool has_ports;
};

static const struct protocol protocols[] = {
    {{"tcp", 3}, 6, true},        {{"udp", 3}, 17, true},   {{"icmp", 4}, 1, true},    {{"icmp6", 5}, 58, true},
    {{"ipv6-icmp", 9}, 58, true}, {{"sctp", 4}, 132, true}, {{"icmpv6", 6}, 58, true}, {{"igmp", 4}, 2, false},
    {{"gre", 3}, 47, false},      {{"esp", 3}, 50, false},  {{"ah", 2}, 51, false},    {{"ipip", 4}, 4, false},
    {{"ipv6", 4}, 41, false},     {{"rsvp", 4}, 46, false}, {{"ospf", 4}, 89, false},  {{"pim", 3}, 103, false},
};

/* A request's type has a reply's; the code stands for the other "port" only where there is none. */
struct icmp_pair {
    uint8_t type;
    uint8_t other;
};

static const struct icmp_pair icmp4_pairs[] = {{0, 8},   {8, 0},   {9, 10},  {10, 9},  {13, 14},
                                               {14, 13}, {15, 16}, {16, 15}, {17, 18}, {18, 17}};
static const struct icmp_pair icmp6_pairs[] = {{128, 129}, {129, 128}, {130, 131}, {131, 130}, {133, 134}, {134, 133},
                                               {135, 136}, {136, 135}, {139, 140}, {140, 139}, {144, 145}, {145, 144}};

static void icmp_ports(struct flow *flow, uint16_t type, uint16_t code) {
    const struct icmp_pair *pairs = flow->protocol == 1 ? icmp4_pairs : icmp6_pairs;
    size_t len = flow->protocol == 1 ? sizeof(icmp4_pairs) / sizeof(icmp4_pairs[0])
                                     : sizeof(icmp6_pairs) / sizeof(icmp6_pairs[0]);
    flow->source_port = type;
    flow->destination_port = code;
    flow->is_one_way = true;
    for (size_t i = 0; i < len; i++) {
        if (pairs[i].type == type) {
            flow->destination_port = pairs[i].other;
            flow->is_one_way = false;
        }
    }
}

/* The smaller end first, so that both directions are one flow. */
static bool is_ordered(const struct flow *flow) {
    int order = memcmp(flow->source.bytes, flow->destination.bytes, flow->source.len);
    return order < 0 || (order == 0 && flow->source_port < flow->destination_port);
}

static void put_be16(uint8_t *p, uint16_t v) {
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)(v & 0xff);
}

/* Shape: out gets "1:" and 28 characters of base64. */
static void flow_id(struct core_sha1 *sha1, const struct flow *flow, uint16_t seed, char out[30]) {
    uint8_t bytes[2 + 16 + 16 + 2 + 4];
    uint8_t digest[20];
    size_t len = 0;
    bool is_kept = flow->is_one_way || is_ordered(flow);
    const struct ip_addr *a = is_kept ? &flow->source : &flow->destination;
    const struct ip_addr *b = is_kept ? &flow->destination : &flow->source;
    put_be16(bytes, seed);
    len += 2;
    memcpy(bytes + len, a->bytes, a->len);
    len += a->len;
    memcpy(bytes + len, b->bytes, b->len);
    len += b->len;
    bytes[len++] = flow->protocol;
    bytes[len++] = 0;
    if (flow->has_ports) {
        put_be16(bytes + len, is_kept ? flow->source_port : flow->destination_port);
        put_be16(bytes + len + 2, is_kept ? flow->destination_port : flow->source_port);
        len += 4;
    }
    core_sha1_of(sha1, bytes, len, digest);
    struct core_buf buf = {.start = out, .pos = out + 2, .end = out + 30};
    out[0] = '1';
    out[1] = ':';
    core_buf_base64(&buf, (struct core_span){(const char *)digest, sizeof(digest)});
    MUST(!buf.is_full);
}

static bool port_of(struct value v, uint16_t *out) {
    uint64_t port;
    if (v.len > 5 || !decimal_value(v, &port)) {
        return false;
    }
    *out = (uint16_t)port;
    return port <= UINT16_MAX;
}

/* Fill what the record has. False: too little for an id. */
static bool flow_fill(const struct derive_context *ctx, struct flow *flow) {
    const struct normalize_worker *worker = ctx->worker;
    const struct plan *plan = ctx->plan;
    struct value transport = leaf_value(plan, plan->known[KNOWN_TRANSPORT]);
    if (worker->ip[1].len == 0 || worker->ip[1].len != worker->ip[2].len || !value_is_scalar(transport)) {
        return false;
    }
    const struct protocol *protocol = NULL;
    for (size_t i = 0; i < sizeof(protocols) / sizeof(protocols[0]) && protocol == NULL; i++) {
        protocol = text_is_same(value_span(transport), protocols[i].name) ? &protocols[i] : NULL;
    }
    if (protocol == NULL) {
        return false;
    }
    *flow = (struct flow){.source = worker->ip[1],
                          .destination = worker->ip[2],
                          .protocol = protocol->number,
                          .has_ports = protocol->has_ports};
    if (protocol->number == 1 || protocol->number == 58) {
        flow->protocol = worker->ip[1].len == 16 ? 58 : 1; /* Zeek says icmp for both */
        uint16_t type;
        uint16_t code;
        if (!port_of(derive_arg(ctx, 1), &type) || !port_of(derive_arg(ctx, 2), &code)) {
            return false; /* never as if they were 0 */
        }
        icmp_ports(flow, type, code);
        return true;
    }
    return !flow->has_ports ||
           (port_of(leaf_value(plan, plan->known[KNOWN_SOURCE_PORT]), &flow->source_port) &&
            port_of(leaf_value(plan, plan->known[KNOWN_DESTINATION_PORT]), &flow->destination_port));
}

bool derive_community_id(const struct derive_context *ctx) {
    struct normalize_worker *worker = ctx->worker;
    struct value own = derive_arg(ctx, 0);
    struct flow flow;
    if (!flow_fill(ctx, &flow)) {
        return derive_put(ctx, own);
    }
    char *text = scratch_alloc(worker, VALUE_ROOM);
    if (text == NULL) {
        return false;
    }
    flow_id(worker->sha1, &flow, worker->maps->community_id_seed, text);
    if (value_is_scalar(own) && own.len > 0) {
        worker->id_differs += !core_span_eq(value_span(own), (struct core_span){text, 30});
        return derive_put(ctx, own);
    }
    return derive_put(ctx, value_roomy(value_of(VALUE_PLAIN, text, 30), text + VALUE_ROOM));
}
