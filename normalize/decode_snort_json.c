/* normalize/decode_snort_json.c: the repair of Snort 3's alert_json, which does not escape `msg`.
 * Source: Snort 3 src/loggers/alert_json.cc; what real ones print is in our corpus's facts.
 * SPDX-License-Identifier: Apache-2.0 */
#include "normalize/snort_internal.h"

/* Every field alert_json can have: one of them follows msg. Source: snort --help-module alert_json. */
static const char *const json_fields[] = {
    "action",     "class",     "b64_data",  "client_bytes", "client_pkts", "dir",          "dst_addr",
    "dst_ap",     "dst_port",  "eth_dst",   "eth_len",      "eth_src",     "eth_type",     "flowstart_time",
    "geneve_vni", "gid",       "icmp_code", "icmp_id",      "icmp_seq",    "icmp_type",    "iface",
    "ip_id",      "ip_len",    "msg",       "mpls",         "pkt_gen",     "pkt_len",      "pkt_num",
    "priority",   "proto",     "rev",       "rule",         "seconds",     "server_bytes", "server_pkts",
    "service",    "sgt",       "sid",       "src_addr",     "src_ap",      "src_port",     "target",
    "tcp_ack",    "tcp_flags", "tcp_len",   "tcp_seq",      "tcp_win",     "timestamp",    "tos",
    "ttl",        "udp_len",   "vlan",
};

bool snort_json_has_field(struct core_span name) {
    for (size_t i = 0; i < sizeof(json_fields) / sizeof(json_fields[0]); i++) {
        if (core_span_is(name, json_fields[i])) {
            return true;
        }
    }
    return false;
}

/* Where msg ends: `", "FIELD" : ` or `" }` at the line's end. */
static size_t msg_end(struct core_span text) {
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] != '"') {
            continue;
        }
        struct core_span tail = snort_cut(text, i + 1, text.len);
        if (core_span_starts(tail, CORE_SPAN(", \""))) {
            const char *quote = core_span_chr(snort_cut(tail, 3, tail.len), '"');
            bool is_key = quote != NULL && snort_json_has_field(snort_cut(tail, 3, (size_t)(quote - tail.ptr))) &&
                          core_span_starts(snort_cut(tail, (size_t)(quote - tail.ptr) + 1, tail.len), CORE_SPAN(" : "));
            if (is_key) {
                return i;
            }
        } else if (core_span_is(snort_trim(tail), "}")) {
            return i;
        }
    }
    return text.len;
}

bool json_repair_snort(struct normalize_worker *worker, struct core_span line, struct core_span *out) {
    static const char head[] = "\"msg\" : \"";
    const char *at = snort_find(line, head);
    if (at == NULL || !core_span_starts(line, CORE_SPAN("{ \""))) {
        return false;
    }
    size_t start = (size_t)(at - line.ptr) + sizeof(head) - 1;
    struct core_span rest = snort_cut(line, start, line.len);
    size_t len = msg_end(rest);
    if (len == rest.len) {
        return false;
    }
    size_t room = line.len + len * 5 + 2;
    char *text = scratch_alloc(worker, room);
    if (text == NULL) {
        return false;
    }
    struct core_buf buf = {.start = text, .pos = text, .end = text + room};
    core_buf_span(&buf, snort_cut(line, 0, start - 1));
    core_buf_string(&buf, snort_cut(rest, 0, len));
    core_buf_span(&buf, snort_cut(rest, len + 1, rest.len));
    MUST(!buf.is_full);
    *out = core_buf_written(&buf);
    return true;
}
