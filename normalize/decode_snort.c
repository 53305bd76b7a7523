/* normalize/decode_snort.c: alert_fast of Snort 2 and 3, and the repair of alert_json, which does not escape `msg`.
 * A fast alert gets the field names of alert_json, so that one map serves both.
 * Source: Snort 3 src/loggers/alert_fast.cc, alert_json.cc; what real ones print is in our corpus's facts.
 * SPDX-License-Identifier: Apache-2.0 */
#include "normalize/normalize_internal.h"

enum fast_column {
    FAST_TIMESTAMP,
    FAST_GID,
    FAST_SID,
    FAST_REV,
    FAST_MSG,
    FAST_CLASS,
    FAST_PRIORITY,
    FAST_APPID,
    FAST_IFACE,
    FAST_PROTO,
    FAST_SRC_ADDR,
    FAST_SRC_PORT,
    FAST_DST_ADDR,
    FAST_DST_PORT,
    FAST__MAX
};

static const struct column fast_columns[FAST__MAX] = {
    [FAST_TIMESTAMP] = {.name = {"timestamp", 9}},
    [FAST_GID] = {.name = {"gid", 3}},
    [FAST_SID] = {.name = {"sid", 3}},
    [FAST_REV] = {.name = {"rev", 3}},
    [FAST_MSG] = {.name = {"msg", 3}},
    [FAST_CLASS] = {.name = {"class", 5}},
    [FAST_PRIORITY] = {.name = {"priority", 8}},
    [FAST_APPID] = {.name = {"appid", 5}},
    [FAST_IFACE] = {.name = {"iface", 5}},
    [FAST_PROTO] = {.name = {"proto", 5}},
    [FAST_SRC_ADDR] = {.name = {"src_addr", 8}},
    [FAST_SRC_PORT] = {.name = {"src_port", 8}},
    [FAST_DST_ADDR] = {.name = {"dst_addr", 8}},
    [FAST_DST_PORT] = {.name = {"dst_port", 8}},
};

static struct core_span cut(struct core_span text, size_t from, size_t to) {
    return (struct core_span){text.ptr + from, to - from};
}

static struct core_span trim(struct core_span text) {
    while (text.len > 0 && text.ptr[0] == ' ') {
        text = cut(text, 1, text.len);
    }
    while (text.len > 0 && text.ptr[text.len - 1] == ' ') {
        text.len--;
    }
    return text;
}

static const char *find(struct core_span text, const char *what) {
    return text.len == 0 ? NULL : memmem(text.ptr, text.len, what, strlen(what));
}

static const char *find_last(struct core_span text, const char *what) {
    size_t len = strlen(what);
    for (size_t i = text.len; i >= len; i--) {
        if (memcmp(text.ptr + i - len, what, len) == 0) {
            return text.ptr + i - len;
        }
    }
    return NULL;
}

bool fast_is_it(struct core_span line) {
    struct core_span head = cut(line, 0, line.len < 48 ? line.len : 48);
    return line.len > 0 && line.ptr[0] >= '0' && line.ptr[0] <= '9' && find(head, "[**] [") != NULL;
}

static void put(struct normalize_worker *worker, enum fast_column column, struct core_span text) {
    worker->columns[column] = text.len == 0 ? value_none() : value_of(VALUE_TEXT, text.ptr, text.len);
}

/* "1:1000001:7": three numbers. */
static bool rule_read(struct normalize_worker *worker, struct core_span text) {
    static const enum fast_column columns[] = {FAST_GID, FAST_SID, FAST_REV};
    for (size_t i = 0; i < 3; i++) {
        const char *colon = i < 2 ? core_span_chr(text, ':') : text.ptr + text.len;
        if (colon == NULL) {
            return false;
        }
        struct core_span part = cut(text, 0, (size_t)(colon - text.ptr));
        if (!core_json_is_number(part)) {
            return false;
        }
        put(worker, columns[i], part);
        text = i < 2 ? cut(text, part.len + 1, text.len) : text;
    }
    return true;
}

static bool proto_has_ports(struct core_span proto) {
    return core_span_is(proto, "TCP") || core_span_is(proto, "UDP") || core_span_is(proto, "SCTP");
}

/* "10.0.0.5:51514", "10.0.0.5", "fd20::2:47678" (no brackets): with a port the last colon cuts. */
static void endpoint_read(struct normalize_worker *worker, struct core_span text, bool may_have_port,
                          enum fast_column addr, enum fast_column port) {
    const char *colon = find_last(text, ":");
    struct ip_addr ip;
    if (colon != NULL) {
        struct core_span head = cut(text, 0, (size_t)(colon - text.ptr));
        struct core_span tail = cut(text, head.len + 1, text.len);
        bool is_four = core_span_chr(head, ':') == NULL;
        if ((is_four || may_have_port) && ip_parse(head, &ip) && core_json_is_number(tail)) {
            put(worker, addr, head);
            if (may_have_port) { /* :0 of an ICMP alert is none */
                put(worker, port, tail);
            }
            return;
        }
    }
    put(worker, addr, text);
}

/* [Classification: …] [Priority: N] [AppID: …] <iface>, in any number, up to `{`. */
static bool groups_read(struct normalize_worker *worker, struct core_span *rest) {
    static const struct {
        struct core_span head;
        enum fast_column column;
    } groups[] = {
        {{"[Classification:", 16}, FAST_CLASS},
        {{"[Priority:", 10}, FAST_PRIORITY},
        {{"[AppID:", 7}, FAST_APPID},
    };
    for (;;) {
        *rest = trim(*rest);
        if (rest->len == 0 || rest->ptr[0] == '{') {
            return true;
        }
        char close = rest->ptr[0] == '[' ? ']' : rest->ptr[0] == '<' ? '>' : '\0';
        const char *end = close == '\0' ? NULL : core_span_chr(*rest, close);
        if (end == NULL) {
            return record_refuse(worker, "a fast alert goes on with \"%.*s\"", (int)(rest->len < 60 ? rest->len : 60),
                                 rest->ptr);
        }
        size_t len = (size_t)(end - rest->ptr);
        if (close == '>') {
            put(worker, FAST_IFACE, cut(*rest, 1, len));
        }
        for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++) {
            if (core_span_starts(*rest, groups[i].head)) {
                put(worker, groups[i].column, trim(cut(*rest, groups[i].head.len, len)));
            }
        }
        *rest = cut(*rest, len + 1, rest->len);
    }
}

/* {TCP} a -> b */
static bool flow_read(struct normalize_worker *worker, struct core_span rest) {
    const char *end = core_span_chr(rest, '}');
    const char *arrow = find(rest, " ->");
    if (end == NULL || arrow == NULL || arrow < end) {
        return record_refuse(worker, "a fast alert without \"{PROTO} source -> destination\"");
    }
    struct core_span proto = cut(rest, 1, (size_t)(end - rest.ptr));
    bool may_have_port = proto_has_ports(proto);
    put(worker, FAST_PROTO, proto);
    struct core_span source = trim(cut(rest, (size_t)(end - rest.ptr) + 1, (size_t)(arrow - rest.ptr)));
    struct core_span destination = trim(cut(rest, (size_t)(arrow - rest.ptr) + 3, rest.len));
    endpoint_read(worker, source, may_have_port, FAST_SRC_ADDR, FAST_SRC_PORT);
    endpoint_read(worker, destination, may_have_port, FAST_DST_ADDR, FAST_DST_PORT);
    return true;
}

/* [1:1000001:7] "message" [**] and whatever follows. */
static bool body_read(struct normalize_worker *worker, struct core_span rest) {
    const char *close = core_span_chr(rest, ']');
    const char *stars = find_last(rest, "[**]");
    if (rest.len == 0 || rest.ptr[0] != '[' || close == NULL || stars == NULL || stars < close ||
        !rule_read(worker, cut(rest, 1, (size_t)(close - rest.ptr)))) {
        return record_refuse(worker, "a fast alert without \"[gid:sid:rev] message [**]\"");
    }
    struct core_span msg = trim(cut(rest, (size_t)(close - rest.ptr) + 1, (size_t)(stars - rest.ptr)));
    if (msg.len >= 2 && msg.ptr[0] == '"' && msg.ptr[msg.len - 1] == '"') {
        msg = cut(msg, 1, msg.len - 1);
    }
    put(worker, FAST_MSG, msg);
    rest = cut(rest, (size_t)(stars - rest.ptr) + 4, rest.len);
    return groups_read(worker, &rest) && flow_read(worker, rest);
}

bool fast_decode(struct normalize_worker *worker, struct stream_state *state, struct core_span line,
                 struct plan **plan) {
    struct plan_want want = {
        .product = CORE_SPAN("snort"), .log = CORE_SPAN("alert"), .columns = fast_columns, .columns_len = FAST__MAX};
    *plan = stream_plan(worker, state, &want);
    if (*plan == NULL) {
        return false;
    }
    memset(worker->columns, 0, FAST__MAX * sizeof(*worker->columns));
    const char *stars = find(line, "[**]");
    MUST(stars != NULL); /* fast_is_it() */
    put(worker, FAST_TIMESTAMP, trim(cut(line, 0, (size_t)(stars - line.ptr))));
    return body_read(worker, trim(cut(line, (size_t)(stars - line.ptr) + 4, line.len)));
}

/* ---- alert_json ------------------------------------------------------------------------------------------------------------ */

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

static bool is_json_field(struct core_span name) {
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
        struct core_span tail = cut(text, i + 1, text.len);
        if (core_span_starts(tail, CORE_SPAN(", \""))) {
            const char *quote = core_span_chr(cut(tail, 3, tail.len), '"');
            bool is_key = quote != NULL && is_json_field(cut(tail, 3, (size_t)(quote - tail.ptr))) &&
                          core_span_starts(cut(tail, (size_t)(quote - tail.ptr) + 1, tail.len), CORE_SPAN(" : "));
            if (is_key) {
                return i;
            }
        } else if (core_span_is(trim(tail), "}")) {
            return i;
        }
    }
    return text.len;
}

bool json_repair_snort(struct normalize_worker *worker, struct core_span line, struct core_span *out) {
    static const char head[] = "\"msg\" : \"";
    const char *at = find(line, head);
    if (at == NULL || !core_span_starts(line, CORE_SPAN("{ \""))) {
        return false;
    }
    size_t start = (size_t)(at - line.ptr) + sizeof(head) - 1;
    struct core_span rest = cut(line, start, line.len);
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
    core_buf_span(&buf, cut(line, 0, start - 1));
    core_buf_string(&buf, cut(rest, 0, len));
    core_buf_span(&buf, cut(rest, len + 1, rest.len));
    MUST(!buf.is_full);
    *out = core_buf_written(&buf);
    return true;
}
