/* normalize/decode_unified2.c: Snort's binary events, with the packets, buffers and extra data that follow them.
 *
 * Design: an event fills the columns of the text formats, under alert_json's names, so that one map serves all; what its
 * packet's headers say goes where the event says nothing; packets and buffers stay whole, as base64. Names come from the
 * input's sid-msg.map, gen-msg.map and classification.config. A packet or extra data alone is a record of the log
 * `packet`. Numbers are big-endian; every length was or is checked.
 *
 * Types 7 and 72 (Snort 2.8), 99 and 100 (with MPLS), 104 and 105 (with VLAN; Snort 3's legacy_events with a name of the
 * application), 114 (Snort 3). What Snort 3.12 writes behind 114's documented end is kept as event_tail.
 * Source: Snort 2 Unified2_common.h and README.unified2, Snort 3 log/unified2.h, packet_io/active.h; files of Snort 3.12.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/unified2.h"
#include "normalize/unified2_internal.h"

#include <arpa/inet.h>
#include <stdio.h>

#define APP_NAME_BYTES 64
#define EVENT3_BYTES (96 + APP_NAME_BYTES)
#define PACKET_HEADER_BYTES 28
#define EXTRA_HEADER_BYTES 32
#define EXTRA_LENGTH_BYTES 8 /* of what blob_length counts beside the data */
#define EXTRA_IPV6_SOURCE 11
#define EXTRA_IPV6_DESTINATION 12
#define REFERENCES_MAX 64
#define PROTO_NONE 255 /* what Snort writes where there is no IP */

static const struct column u2_columns[U2__MAX] = {
#define X(id, word) [SNORT_##id] = {.name = {#word, sizeof(#word) - 1}},
    SNORT_COLUMNS
#undef X
#define X(id, word) [U2_##id] = {.name = {#word, sizeof(#word) - 1}},
        U2_COLUMNS
#undef X
};

/* ---- columns ----------------------------------------------------------------------------------------------------------------- */

static bool has(const struct normalize_worker *worker, unsigned column) {
    return worker->columns[column].kind != VALUE_NONE;
}

void u2_put_number(struct normalize_worker *worker, unsigned column, uint64_t number) {
    if (!has(worker, column)) {
        worker->columns[column] = value_u64(worker, number);
    }
}

void u2_put_text(struct normalize_worker *worker, unsigned column, struct core_span text) {
    if (!has(worker, column) && text.len > 0) {
        worker->columns[column] = value_copy(worker, text);
    }
}

void u2_put_address(struct normalize_worker *worker, unsigned column, const char *bytes, size_t len) {
    char text[INET6_ADDRSTRLEN];
    MUST(len == 4 || len == 16);
    MUST(inet_ntop(len == 4 ? AF_INET : AF_INET6, bytes, text, sizeof(text)) != NULL);
    u2_put_text(worker, column, core_span_of(text));
}

void u2_put_proto(struct normalize_worker *worker, unsigned proto) {
    static const struct {
        unsigned proto;
        const char *name; /* as Snort's alerts have it */
        const char *ip_name;
    } names[] = {{1, "ICMP", NULL},  {6, "TCP", NULL},  {17, "UDP", NULL},
                 {58, "ICMP", NULL}, {47, "IP", "GRE"}, {132, "IP", "SCTP"}};
    if (has(worker, SNORT_PROTO) || proto == PROTO_NONE) {
        return;
    }
    char other[16];
    snprintf(other, sizeof(other), "PROTO:%03u", proto);
    const char *name = "IP";
    const char *ip_name = other;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (names[i].proto == proto) {
            name = names[i].name;
            ip_name = names[i].ip_name;
        }
    }
    u2_put_text(worker, SNORT_PROTO, core_span_of(name));
    if (ip_name != NULL) {
        u2_put_text(worker, SNORT_IP_PROTO, core_span_of(ip_name));
    }
}

/* One more item of a list. */
static void add_item(struct normalize_worker *worker, unsigned column, struct value item) {
    struct value *list = &worker->columns[column];
    const uint32_t len = list->kind == VALUE_LIST ? list->len : 0;
    if (item.kind == VALUE_NONE) {
        return;
    }
    /* Room for twice as many whenever the number is a power of two: an event has many packets. */
    if ((len & (len - 1)) == 0) {
        struct value *items = scratch_items(worker, len == 0 ? 1 : 2 * (size_t)len);
        if (items == NULL) {
            return;
        }
        if (len > 0) {
            memcpy(items, list->items, len * sizeof(*items));
        }
        *list = (struct value){.items = items, .len = len, .kind = VALUE_LIST};
    }
    list->items[len] = item;
    list->len = len + 1;
}

static struct value base64(struct normalize_worker *worker, struct core_span bytes) {
    const size_t room = (bytes.len + 2) / 3 * 4 + 1;
    char *text = scratch_alloc(worker, room);
    if (text == NULL) {
        return value_none();
    }
    struct core_buf buf = {.start = text, .pos = text, .end = text + room};
    core_buf_base64(&buf, bytes);
    MUST(!buf.is_full);
    return value_of(VALUE_PLAIN, text, core_buf_written(&buf).len);
}

static struct value seconds(struct normalize_worker *worker, uint32_t s, uint32_t us) {
    char text[32];
    const int len = snprintf(text, sizeof(text), "%u.%06u", s, us);
    MUST(len > 0);
    struct value v = value_copy(worker, (struct core_span){text, (size_t)len});
    v.kind = v.kind == VALUE_TEXT ? VALUE_PLAIN : v.kind;
    return v;
}

static void put_time(struct normalize_worker *worker, unsigned column, uint32_t s, uint32_t us) {
    if (!has(worker, column) && us < 1000000) {
        worker->columns[column] = seconds(worker, s, us);
    }
}

/* ---- events ------------------------------------------------------------------------------------------------------------------- */

/* A text in a field of fixed length. */
static struct core_span fixed_text(const char *p, size_t len) {
    return (struct core_span){p, strnlen(p, len)};
}

/* Ports, or an ICMP message's type and code. The latter only once the packet has not told them: of ICMPv6 Snort 2 has zeros
 * here. */
static void put_endpoints(struct normalize_worker *worker, unsigned proto, const char *p, bool is_icmp_due) {
    if (proto == 6 || proto == 17 || proto == 132) {
        u2_put_number(worker, SNORT_SRC_PORT, core_be16(p));
        u2_put_number(worker, SNORT_DST_PORT, core_be16(p + 2));
    } else if (is_icmp_due && (proto == 1 || proto == 58) && !has(worker, SNORT_ICMP_TYPE)) {
        u2_put_number(worker, SNORT_ICMP_TYPE, core_be16(p));
        u2_put_number(worker, SNORT_ICMP_CODE, core_be16(p + 2));
    }
}

/* Where an event has its ports; *proto: behind them. */
static const char *endpoints_of(const struct core_u2_type *type, const char *p, unsigned *proto) {
    const bool is_event3 = type->type == 114;
    const char *at = is_event3 ? p + 84 : p + 36 + (type->is_ipv6 ? 32 : 8);
    *proto = (unsigned char)(is_event3 ? p[93] : at[4]);
    return at;
}

static void put_tag(struct normalize_worker *worker, unsigned column, uint32_t number) {
    if (number != 0) {
        u2_put_number(worker, column, number);
    }
}

/* An event, and the records that follow it. */
struct event {
    const struct core_u2_type *type;
    const char *p; /* behind its header */
    size_t len;
    struct core_span rest;
};

/* Snort 3's legacy events on packets it rebuilt have the last four bytes of an IPv6 address where IPv4 ones stand; other
 * programs give the addresses as extra data. What belongs there, or NULL. */
static void ipv6_find(const struct event *event, const char **source, const char **destination) {
    size_t len = 0;
    const char *from = event->p + 36;
    for (struct core_span rest = event->rest; rest.len > 0; rest = snort_cut(rest, len, rest.len)) {
        const struct core_u2_type *type = rest.len < CORE_U2_HEADER_BYTES ? NULL : core_u2_header(rest.ptr, &len);
        if (type == NULL || len > rest.len) {
            return;
        }
        const char *p = rest.ptr + CORE_U2_HEADER_BYTES;
        const size_t p_len = len - CORE_U2_HEADER_BYTES;
        if (type->kind == CORE_U2_EXTRA && p_len >= EXTRA_HEADER_BYTES + 16) {
            *source = core_be32(p + 20) == EXTRA_IPV6_SOURCE ? p + EXTRA_HEADER_BYTES : *source;
            *destination = core_be32(p + 20) == EXTRA_IPV6_DESTINATION ? p + EXTRA_HEADER_BYTES : *destination;
        }
        const char *ip = p + PACKET_HEADER_BYTES + 14;
        if (type->kind == CORE_U2_PACKET && core_be32(p + 20) == 1 && p_len >= PACKET_HEADER_BYTES + 14 + 40 &&
            core_be16(ip - 2) == 0x86dd && memcmp(ip + 8 + 12, from, 4) == 0 &&
            memcmp(ip + 24 + 12, from + 4, 4) == 0) {
            *source = ip + 8;
            *destination = ip + 24;
            return;
        }
    }
}

static void event2_addresses(struct normalize_worker *worker, const struct event *event) {
    const char *source = NULL;
    const char *destination = NULL;
    const size_t ip_len = event->type->is_ipv6 ? 16 : 4;
    if (!event->type->is_ipv6) {
        ipv6_find(event, &source, &destination);
    }
    if (source != NULL && destination != NULL) {
        u2_put_address(worker, SNORT_SRC_ADDR, source, 16);
        u2_put_address(worker, SNORT_DST_ADDR, destination, 16);
    } else {
        u2_put_address(worker, SNORT_SRC_ADDR, event->p + 36, ip_len);
        u2_put_address(worker, SNORT_DST_ADDR, event->p + 36 + ip_len, ip_len);
    }
}

/* Types 7 to 105, from the addresses on: they differ in the addresses' length and in what follows the flags. */
static void event2_put(struct normalize_worker *worker, const struct event *event) {
    const struct core_u2_type *type = event->type;
    const char *p = event->p;
    /* By the byte `blocked`. */
    static const char *const actions[] = {"allow", "drop", "would_drop", "cant_drop"};
    unsigned proto = 0;
    const char *flags = endpoints_of(type, p, &proto) + 4;
    const unsigned blocked = (unsigned char)flags[3];
    if (proto != PROTO_NONE) {
        event2_addresses(worker, event);
    }
    u2_put_proto(worker, proto);
    put_tag(worker, U2_IMPACT_FLAG, (unsigned char)flags[1]);
    put_tag(worker, U2_IMPACT, (unsigned char)flags[2]);
    if (blocked < sizeof(actions) / sizeof(actions[0])) {
        u2_put_text(worker, SNORT_ACTION, core_span_of(actions[blocked]));
    }
    if (type->type >= 99) {
        put_tag(worker, U2_MPLS, core_be32(flags + 4));
    }
    if (type->type >= 104) {
        put_tag(worker, U2_VLAN, core_be16(flags + 8));
        put_tag(worker, U2_POLICY_DETECTION, core_be16(flags + 10));
    }
    if (type->type >= 104 && event->len >= type->bytes_min + APP_NAME_BYTES) {
        u2_put_text(worker, SNORT_APPID, fixed_text(p + type->bytes_min, APP_NAME_BYTES));
    }
}

/* An address of 114: 16 bytes of which an IPv4 address takes the first four or, mapped, the last. */
static void event3_address(struct normalize_worker *worker, unsigned column, const char *p, unsigned version) {
    static const char mapped[12] = {[10] = '\xff', [11] = '\xff'};
    if (version == 6) {
        u2_put_address(worker, column, p, 16);
    } else if (version == 4) {
        u2_put_address(worker, column, memcmp(p, mapped, sizeof(mapped)) == 0 ? p + 12 : p, 4);
    }
}

/* What was done to the packet, and whether it could be. Source: Snort 3's Active: its action and its status. */
static void event3_action(struct normalize_worker *worker, unsigned status, unsigned action) {
    static const char *const actions[] = {"trust", "allow", "hold", "retry", "rewrite", "drop", "block", "reset"};
    static const char *const prefixes[] = {"", "cant_", "would_", "force_"};
    char text[32];
    if (action < sizeof(actions) / sizeof(actions[0]) && status < sizeof(prefixes) / sizeof(prefixes[0])) {
        snprintf(text, sizeof(text), "%s%s", prefixes[status], actions[action]);
        u2_put_text(worker, SNORT_ACTION, core_span_of(text));
    }
}

static void event3_put(struct normalize_worker *worker, const char *p, size_t len) {
    const unsigned version = (unsigned char)p[92];
    const unsigned proto = (unsigned char)p[93];
    put_tag(worker, U2_POLICY_CONTEXT, core_be32(p + 36));
    put_tag(worker, U2_POLICY_INSPECTION, core_be32(p + 40));
    put_tag(worker, U2_POLICY_DETECTION, core_be32(p + 44));
    event3_address(worker, SNORT_SRC_ADDR, p + 48, version >> 4);
    event3_address(worker, SNORT_DST_ADDR, p + 64, version & 0x0fu);
    put_tag(worker, U2_MPLS, core_be32(p + 80));
    if (version != 0) {
        u2_put_proto(worker, proto);
    }
    put_tag(worker, U2_VLAN, core_be16(p + 88));
    event3_action(worker, (unsigned char)p[94], (unsigned char)p[95]);
    if (len >= EVENT3_BYTES) {
        u2_put_text(worker, SNORT_APPID, fixed_text(p + 96, APP_NAME_BYTES));
        struct core_span tail = {p + EVENT3_BYTES, len - EVENT3_BYTES};
        while (tail.len > 0 && tail.ptr[tail.len - 1] == '\0') {
            tail.len--;
        }
        if (tail.len > 0) {
            worker->columns[U2_EVENT_TAIL] = base64(worker, tail);
        }
    }
}

/* "cve,2003-0352 || url,…" */
static void references_put(struct normalize_worker *worker, struct core_span text) {
    for (int i = 0; i < REFERENCES_MAX && text.len > 0; i++) {
        const char *bars = snort_find(text, "||");
        const size_t len = bars == NULL ? text.len : (size_t)(bars - text.ptr);
        const struct core_span part = snort_trim(snort_cut(text, 0, len));
        text = snort_cut(text, bars == NULL ? len : len + 2, text.len);
        if (part.len > 0) {
            add_item(worker, SNORT_REFERENCES, value_copy(worker, part));
        }
    }
}

static void names_put(struct normalize_worker *worker, const struct snort_names *names, const char *p, bool is_event3) {
    const uint32_t gid = core_be32(p + (is_event3 ? 16 : 20));
    const uint32_t sid = core_be32(p + (is_event3 ? 20 : 16));
    const uint32_t class_id = core_be32(p + 28);
    const struct snort_rule_name *rule = names == NULL ? NULL : snort_names_rule(names, gid, sid);
    const struct snort_class *class = names == NULL ? NULL : snort_names_class(names, class_id);
    if (rule != NULL) {
        u2_put_text(worker, SNORT_MSG, rule->msg);
        references_put(worker, rule->references);
        class = class != NULL || class_id != 0 ? class : snort_names_class_of(names, rule->class_name);
    }
    if (class != NULL) {
        u2_put_text(worker, SNORT_CLASS, class->text);
    }
    const uint32_t priority = core_be32(p + 32);
    u2_put_number(worker, SNORT_PRIORITY, priority == 0 && class != NULL ? class->priority : priority);
    put_tag(worker, U2_CLASS_ID, class_id);
}

static void event_put(struct normalize_worker *worker, const struct stream_state *state, const struct event *event) {
    const struct core_u2_type *type = event->type;
    const char *p = event->p;
    const bool is_event3 = type->type == 114;
    put_tag(worker, U2_SENSOR_ID, core_be32(p));
    u2_put_number(worker, U2_EVENT_ID, core_be32(p + 4));
    put_time(worker, U2_EVENT_TIME, core_be32(p + 8), core_be32(p + 12));
    u2_put_number(worker, SNORT_GID, core_be32(p + (is_event3 ? 16 : 20)));
    u2_put_number(worker, SNORT_SID, core_be32(p + (is_event3 ? 20 : 16)));
    u2_put_number(worker, SNORT_REV, core_be32(p + 24));
    names_put(worker, state->names, p, is_event3);
    if (is_event3) {
        event3_put(worker, p, event->len);
    } else {
        event2_put(worker, event);
    }
    unsigned proto = 0;
    const char *ports = endpoints_of(type, p, &proto);
    put_endpoints(worker, proto, ports, false);
}

/* ---- what follows an event ---------------------------------------------------------------------------------------------------- */

static void packet_record_put(struct normalize_worker *worker, const char *p, size_t len, bool is_buffer) {
    const uint32_t said = core_be32(p + 24);
    const struct core_span bytes = {p + PACKET_HEADER_BYTES,
                                    said < len - PACKET_HEADER_BYTES ? said : len - PACKET_HEADER_BYTES};
    const uint32_t linktype = core_be32(p + 20);
    const struct value time = seconds(worker, core_be32(p + 12), core_be32(p + 16) % 1000000);
    put_tag(worker, U2_SENSOR_ID, core_be32(p));
    u2_put_number(worker, U2_EVENT_ID, core_be32(p + 4));
    put_time(worker, U2_EVENT_TIME, core_be32(p + 12), core_be32(p + 16)); /* where there is no event */
    if (is_buffer) {
        add_item(worker, U2_BUFFER_TIME, time);
        add_item(worker, U2_BUFFER_DATA, base64(worker, bytes));
        return;
    }
    if (!has(worker, U2_PACKET_DATA)) {
        packet_put(worker, bytes, linktype);
        if (has(worker, SNORT_ETH_TYPE)) {
            u2_put_number(worker, SNORT_ETH_LEN, said);
        }
    }
    add_item(worker, U2_PACKET_TIME, time);
    add_item(worker, U2_PACKET_LENGTH, value_u64(worker, said));
    add_item(worker, U2_PACKET_LINKTYPE, value_u64(worker, linktype));
    add_item(worker, U2_PACKET_DATA, base64(worker, bytes));
}

/* Kinds of extra data, by their number. */
static const struct extra {
    unsigned column; /* 0: nobody knows it */
    size_t ip_len;   /* 0: text */
} extras[] = {
    [1] = {U2_CLIENT_IP, 4},    [2] = {U2_CLIENT_IP, 16},    [3] = {U2_REVIEWED_BY, 0},
    [4] = {U2_GZIP_DATA, 0},    [5] = {U2_SMTP_FILENAME, 0}, [6] = {U2_SMTP_MAIL_FROM, 0},
    [7] = {U2_SMTP_RCPT_TO, 0}, [8] = {U2_SMTP_HEADERS, 0},  [9] = {U2_HTTP_URI, 0},
    [10] = {U2_HTTP_HOST, 0},   [11] = {U2_IPV6_SOURCE, 16}, [12] = {U2_IPV6_DESTINATION, 16},
    [13] = {U2_JAVASCRIPT, 0},
};

static void extra_put(struct normalize_worker *worker, const char *p, size_t len) {
    const uint32_t number = core_be32(p + 20);
    const uint32_t said = core_be32(p + 28);
    const size_t there = len - EXTRA_HEADER_BYTES;
    const size_t data_len = said < EXTRA_LENGTH_BYTES ? 0 : said - EXTRA_LENGTH_BYTES;
    const struct core_span data = {p + EXTRA_HEADER_BYTES, data_len < there ? data_len : there};
    const struct extra *extra = number < sizeof(extras) / sizeof(extras[0]) ? &extras[number] : &extras[0];
    put_tag(worker, U2_SENSOR_ID, core_be32(p + 8));
    u2_put_number(worker, U2_EVENT_ID, core_be32(p + 12));
    put_time(worker, U2_EVENT_TIME, core_be32(p + 16), 0);
    if (extra->column == 0 || (extra->ip_len > 0 && data.len < extra->ip_len)) {
        add_item(worker, U2_OTHER_TYPE, value_u64(worker, number));
        add_item(worker, U2_OTHER_DATA, base64(worker, data));
    } else if (extra->ip_len > 0) {
        char text[INET6_ADDRSTRLEN];
        MUST(inet_ntop(extra->ip_len == 4 ? AF_INET : AF_INET6, data.ptr, text, sizeof(text)) != NULL);
        add_item(worker, extra->column, value_copy(worker, core_span_of(text)));
    } else {
        add_item(worker, extra->column, value_of(VALUE_TEXT, data.ptr, data.len));
    }
}

struct value unified2_original(struct normalize_worker *worker, struct core_span bytes) {
    return base64(worker, bytes);
}

/* ---- records --------------------------------------------------------------------------------------------------------------------- */

/* Why these bytes are no whole record. Always false. */
static bool refuse(struct normalize_worker *worker, struct core_span bytes) {
    if (bytes.len < CORE_U2_HEADER_BYTES) {
        return record_refuse(worker, "cut off: %zu bytes of a unified2 record's header are missing, %zu are there",
                             CORE_U2_HEADER_BYTES - bytes.len, bytes.len);
    }
    size_t len = 0;
    const uint32_t type = core_be32(bytes.ptr);
    const bool is_known = core_u2_header(bytes.ptr, &len) != NULL;
    if ((is_known || core_u2_is_possible(bytes.ptr)) && len > bytes.len) {
        return record_refuse(worker, "cut off: %zu bytes of a unified2 record (type %u, %zu bytes) are missing",
                             len - bytes.len, type, len);
    }
    if (core_u2_is_possible(bytes.ptr)) {
        return record_refuse(worker, "a unified2 record of type %u%s", type,
                             type == 113 ? ", which counts applications and is no event" : ", which nobody knows");
    }
    return record_refuse(worker,
                         "%zu bytes that are no unified2 record (type %u, length %u); it goes on where two records "
                         "follow each other",
                         bytes.len, type, core_be32(bytes.ptr + 4));
}

static struct plan *begin(struct normalize_worker *worker, struct stream_state *state, bool is_event) {
    const struct plan_want want = {.product = CORE_SPAN("snort"),
                                   .log = is_event ? CORE_SPAN("alert") : CORE_SPAN("packet"),
                                   .columns = u2_columns,
                                   .columns_len = U2__MAX};
    struct plan *plan = stream_plan(worker, state, &want);
    if (plan != NULL) {
        memset(worker->columns, 0, U2__MAX * sizeof(*worker->columns));
    }
    if (!state->has_unified2) {
        state->has_unified2 = true;
        state->names = snort_names_of(worker, state->stream->origin);
    }
    return plan;
}

bool unified2_decode(struct normalize_worker *worker, struct stream_state *state, struct core_span bytes,
                     struct plan **plan) {
    const char *ports = NULL;
    unsigned proto = 0;
    *plan = NULL;
    while (bytes.len > 0) {
        size_t len = 0;
        const struct core_u2_type *type = bytes.len < CORE_U2_HEADER_BYTES ? NULL : core_u2_header(bytes.ptr, &len);
        if (type == NULL || len > bytes.len) {
            return refuse(worker, bytes);
        }
        if (*plan == NULL && (*plan = begin(worker, state, type->kind == CORE_U2_EVENT)) == NULL) {
            return false;
        }
        const char *p = bytes.ptr + CORE_U2_HEADER_BYTES;
        len -= CORE_U2_HEADER_BYTES;
        switch (type->kind) {
        case CORE_U2_EVENT:
            event_put(
                worker, state,
                &(struct event){
                    .type = type, .p = p, .len = len, .rest = snort_cut(bytes, len + CORE_U2_HEADER_BYTES, bytes.len)});
            ports = endpoints_of(type, p, &proto);
            break;
        case CORE_U2_PACKET:
        case CORE_U2_BUFFER:
            packet_record_put(worker, p, len, type->kind == CORE_U2_BUFFER);
            break;
        case CORE_U2_EXTRA:
            extra_put(worker, p, len);
            break;
        }
        bytes = snort_cut(bytes, len + CORE_U2_HEADER_BYTES, bytes.len);
    }
    MUST(*plan != NULL);
    if (ports != NULL) {
        put_endpoints(worker, proto, ports, true);
    }
    return worker->reason[0] == '\0';
}
