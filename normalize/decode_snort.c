/* normalize/decode_snort.c: which of Snort's text formats a record is, alert_fast of Snort 2 and 3 and Suricata, and
 * the parts that several of these formats have.
 * Source: Snort 3 src/loggers/alert_fast.cc; Suricata src/alert-fastlog.c; what real ones print is in our corpus's facts.
 * SPDX-License-Identifier: Apache-2.0 */
#include "normalize/snort_internal.h"

#include <strings.h>

const struct column snort_columns[SNORT__MAX] = {
#define X(id, text) [SNORT_##id] = {.name = {#text, sizeof(#text) - 1}},
    SNORT_COLUMNS
#undef X
};

/* ---- text ------------------------------------------------------------------------------------------------------------------ */

const char *snort_find_last(struct core_span text, const char *what) {
    size_t len = strlen(what);
    for (size_t i = text.len; i >= len; i--) {
        if (memcmp(text.ptr + i - len, what, len) == 0) {
            return text.ptr + i - len;
        }
    }
    return NULL;
}

struct core_span snort_word(struct core_span *text) {
    size_t len = 0;
    while (len < text->len && text->ptr[len] != ' ') {
        len++;
    }
    struct core_span word = {text->ptr, len};
    while (len < text->len && text->ptr[len] == ' ') {
        len++;
    }
    *text = snort_cut(*text, len, text->len);
    return word;
}

bool snort_is_digits(struct core_span text) {
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9') {
            return false;
        }
    }
    return text.len > 0;
}

size_t snort_stamp_len(struct core_span text) {
    static const char parts[] = "/-::.";
    size_t at = 0;
    for (const char *part = parts;;) {
        size_t start = at;
        while (at < text.len && at - start < 9 && text.ptr[at] >= '0' && text.ptr[at] <= '9') {
            at++;
        }
        if (at == start) {
            return 0;
        }
        if (*part == '\0') {
            return at;
        }
        char next = at < text.len ? text.ptr[at] : '\0';
        if (next == *part) {
            part++;
        } else if (next != '/' || *part != '-') { /* a second slash: there is a year */
            return 0;
        }
        at++;
    }
}

/* ---- the record ------------------------------------------------------------------------------------------------------------ */

void snort_put(struct normalize_worker *worker, enum snort_column column, struct core_span text) {
    worker->columns[column] = text.len == 0 ? value_none() : value_of(VALUE_TEXT, text.ptr, text.len);
}

bool snort_has(const struct normalize_worker *worker, enum snort_column column) {
    return worker->columns[column].kind != VALUE_NONE;
}

bool snort_begin(struct normalize_worker *worker, struct stream_state *state, bool is_suricata, struct plan **plan) {
    struct plan_want want = {.product = is_suricata ? CORE_SPAN("suricata") : CORE_SPAN("snort"),
                             .log = is_suricata ? CORE_SPAN("fast") : CORE_SPAN("alert"),
                             .columns = snort_columns,
                             .columns_len = SNORT__MAX};
    *plan = stream_plan(worker, state, &want);
    if (*plan == NULL) {
        return false;
    }
    memset(worker->columns, 0, SNORT__MAX * sizeof(*worker->columns));
    return true;
}

bool snort_put_rule(struct normalize_worker *worker, struct core_span text) {
    static const enum snort_column columns[] = {SNORT_GID, SNORT_SID, SNORT_REV};
    for (size_t i = 0; i < 3; i++) {
        const char *colon = i < 2 ? core_span_chr(text, ':') : text.ptr + text.len;
        if (colon == NULL) {
            return false;
        }
        struct core_span part = snort_cut(text, 0, (size_t)(colon - text.ptr));
        if (!snort_is_digits(part)) {
            return false;
        }
        snort_put(worker, columns[i], part);
        text = i < 2 ? snort_cut(text, part.len + 1, text.len) : text;
    }
    return true;
}

/* Only Snort 3 puts the message in quotes, and Snort 3 puts the year first. */
void snort_put_message(struct normalize_worker *worker, struct core_span text) {
    text = snort_trim(text);
    if (text.len >= 2 && text.ptr[0] == '"' && text.ptr[text.len - 1] == '"') {
        text = snort_cut(text, 1, text.len - 1);
        worker->snort_year = SNORT_YEAR_FIRST;
    }
    snort_put(worker, SNORT_MSG, text);
}

/* Snort's formats do not agree on a protocol's name: for ICMPv6 json and fast say ICMP, full and syslog IPV6-ICMP; for GRE
 * json and fast say IP, full says GRE. One alert must be one thing: the name that all of them know is the protocol, what
 * some know better stands beside it. */
void snort_put_proto(struct normalize_worker *worker, bool is_suricata, struct core_span name) {
    static const char *const known[] = {"TCP", "UDP", "ICMP", "IP", "ARP"};
    static const struct {
        struct core_span number;
        struct core_span name;
    } numbers[] = {{{"1", 1}, {"ICMP", 4}},
                   {{"6", 1}, {"TCP", 3}},
                   {{"17", 2}, {"UDP", 3}},
                   {{"58", 2}, {"IPv6-ICMP", 9}},
                   {{"132", 3}, {"SCTP", 4}}};
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        name = core_span_eq(name, numbers[i].number) ? numbers[i].name : name;
    }
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        is_suricata = is_suricata || core_span_is(name, known[i]);
    }
    if (is_suricata) {
        snort_put(worker, SNORT_PROTO, name);
    } else if (name.len == 9 && strncasecmp(name.ptr, "IPV6-ICMP", name.len) == 0) {
        snort_put(worker, SNORT_PROTO, CORE_SPAN("ICMP"));
    } else if (name.len > 0) {
        snort_put(worker, SNORT_PROTO, CORE_SPAN("IP"));
        snort_put(worker, SNORT_IP_PROTO, name);
    }
}

/* What stands behind an address's last colon. */
enum tail { TAIL_NONE, TAIL_PORT, TAIL_ICMP };

static enum tail tail_of(const struct normalize_worker *worker, bool is_suricata) {
    struct core_span proto = value_span(worker->columns[SNORT_PROTO]);
    if (core_span_is(proto, "TCP") || core_span_is(proto, "UDP") || core_span_is(proto, "SCTP")) {
        return TAIL_PORT;
    }
    if (is_suricata && (core_span_is(proto, "ICMP") || core_span_is(proto, "IPv6-ICMP"))) {
        return TAIL_ICMP; /* its type on the left, its code on the right */
    }
    return TAIL_NONE;
}

/* "10.0.0.5:51514", "10.0.0.5", "fd20::2:47678" (no brackets): with a port the last colon cuts. */
static void endpoint_read(struct normalize_worker *worker, enum tail tail, struct core_span text, bool is_source) {
    enum snort_column addr = is_source ? SNORT_SRC_ADDR : SNORT_DST_ADDR;
    enum snort_column port = is_source ? SNORT_SRC_PORT : SNORT_DST_PORT;
    const char *colon = snort_find_last(text, ":");
    struct ip_addr ip;
    if (tail == TAIL_ICMP) {
        port = is_source ? SNORT_ICMP_TYPE : SNORT_ICMP_CODE;
    }
    if (colon != NULL) {
        struct core_span head = snort_cut(text, 0, (size_t)(colon - text.ptr));
        struct core_span number = snort_from(text, colon + 1);
        bool is_four = core_span_chr(head, ':') == NULL;
        if ((is_four || tail != TAIL_NONE) && ip_parse(head, &ip) && snort_is_digits(number)) {
            snort_put(worker, addr, head);
            if (tail != TAIL_NONE) { /* :0 of Snort's ICMP alerts is none */
                snort_put(worker, port, number);
            }
            return;
        }
    }
    snort_put(worker, addr, text);
}

bool snort_put_flow(struct normalize_worker *worker, bool is_suricata, struct core_span text) {
    const char *arrow = snort_find(text, "->");
    if (arrow == NULL) {
        return false;
    }
    enum tail tail = tail_of(worker, is_suricata);
    endpoint_read(worker, tail, snort_trim(snort_cut(text, 0, (size_t)(arrow - text.ptr))), true);
    endpoint_read(worker, tail, snort_trim(snort_from(text, arrow + 2)), false);
    return true;
}

/* [Xref => A][Xref => B] becomes a list. */
static void reference_add(struct normalize_worker *worker, struct core_span text) {
    struct value *list = &worker->columns[SNORT_REFERENCES];
    uint32_t len = list->kind == VALUE_LIST ? list->len : 0;
    struct value *items = scratch_items(worker, len + 1);
    if (items == NULL || text.len == 0) {
        return;
    }
    if (len > 0) {
        memcpy(items, list->items, len * sizeof(*items));
    }
    items[len] = value_of(VALUE_TEXT, text.ptr, text.len);
    *list = (struct value){.items = items, .len = len + 1, .kind = VALUE_LIST};
}

#define REFERENCES_MAX 64 /* of one alert; a rule has a handful */

void snort_put_groups(struct normalize_worker *worker, struct core_span *rest) {
    static const struct {
        struct core_span head;
        enum snort_column column;
    } groups[] = {
        {{"[Classification:", 16}, SNORT_CLASS},
        {{"[Priority:", 10}, SNORT_PRIORITY},
        {{"[AppID:", 7}, SNORT_APPID},
        {{"[Xref =>", 8}, SNORT_REFERENCES},
    };
    for (;;) {
        *rest = snort_trim(*rest);
        char close = rest->len == 0 ? '\0' : rest->ptr[0] == '[' ? ']' : rest->ptr[0] == '<' ? '>' : '\0';
        if (rest->len > 0 && rest->ptr[0] == ':') { /* Snort 2's syslog has one behind the priority */
            *rest = snort_cut(*rest, 1, rest->len);
            continue;
        }
        const char *end = close == '\0' ? NULL : core_span_chr(*rest, close);
        if (end == NULL) {
            return;
        }
        size_t len = (size_t)(end - rest->ptr);
        if (close == '>') {
            snort_put(worker, SNORT_IFACE, snort_cut(*rest, 1, len));
        }
        for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++) {
            struct core_span head = groups[i].head;
            if (!core_span_starts(*rest, head)) {
                continue;
            }
            struct core_span text = snort_trim(snort_cut(*rest, head.len, len));
            if (groups[i].column != SNORT_REFERENCES) {
                snort_put(worker, groups[i].column, text);
            } else if (worker->columns[SNORT_REFERENCES].len < REFERENCES_MAX) {
                reference_add(worker, text);
            }
        }
        *rest = snort_from(*rest, end + 1);
    }
}

bool snort_put_tail(struct normalize_worker *worker, bool is_suricata, struct core_span rest) {
    snort_put_groups(worker, &rest);
    const char *end = core_span_chr(rest, '}');
    if (rest.len > 0 && rest.ptr[0] != '{') {
        return record_refuse(worker, "an alert goes on with \"%.*s\"", (int)(rest.len < 60 ? rest.len : 60), rest.ptr);
    }
    if (end == NULL) {
        return record_refuse(worker, "an alert without \"{PROTO} source -> destination\"");
    }
    snort_put_proto(worker, is_suricata, snort_cut(rest, 1, (size_t)(end - rest.ptr)));
    if (!snort_put_flow(worker, is_suricata, snort_from(rest, end + 1))) {
        return record_refuse(worker, "an alert without \"{PROTO} source -> destination\"");
    }
    return true;
}

/* ---- alert_fast ------------------------------------------------------------------------------------------------------------ */

static size_t line_len(struct core_span text) {
    const char *end = core_span_chr(text, '\n');
    return end == NULL ? text.len : (size_t)(end - text.ptr);
}

bool snort_fast_is_it(struct core_span text) {
    size_t len = snort_stamp_len(text);
    const char *stars = len == 0 ? NULL : snort_find(snort_cut(text, 0, line_len(text)), "[**] [");
    return stars != NULL && stars - text.ptr < (ptrdiff_t)len + 24; /* between them at most a mark such as [wDrop] */
}

/* Only Suricata writes all four digits of the year. */
static bool has_long_year(struct core_span stamp) {
    const char *last = memrchr(stamp.ptr, '/', stamp.len);
    return last != NULL && stamp.ptr + stamp.len - last > 5 && last[5] == '-';
}

/* [Drop], [wDrop], [drop] …: what became of the packet, in alert_json's words. */
static void mark_read(struct normalize_worker *worker, struct core_span text) {
    text = snort_trim(text);
    if (text.len < 3 || text.ptr[0] != '[' || text.ptr[text.len - 1] != ']') {
        return;
    }
    text = snort_cut(text, 1, text.len - 1);
    bool is_would = text.len == 5 && strncasecmp(text.ptr, "wdrop", text.len) == 0;
    snort_put(worker, SNORT_ACTION, is_would ? CORE_SPAN("would_drop") : text);
}

/* Snort 2 with an interface: [1:2:3] <eth0> message. */
static void iface_read(struct normalize_worker *worker, struct core_span *rest) {
    *rest = snort_trim(*rest);
    const char *end = rest->len > 0 && rest->ptr[0] == '<' ? core_span_chr(*rest, '>') : NULL;
    if (end == NULL || end - rest->ptr > 16 || end + 1 == rest->ptr + rest->len || end[1] != ' ' ||
        memchr(rest->ptr, ' ', (size_t)(end - rest->ptr)) != NULL) {
        return;
    }
    snort_put(worker, SNORT_IFACE, snort_cut(*rest, 1, (size_t)(end - rest->ptr)));
    *rest = snort_from(*rest, end + 1);
}

/* Suricata's events of packets that it could not decode: no flow, but "[**] [Raw pkt: 45 00 ...] [pcap file packet: 7]". */
static void raw_take(struct normalize_worker *worker, struct core_span *rest) {
    static const struct {
        const char *head;
        enum snort_column column;
    } parts[] = {{"[Raw pkt: ", SNORT_RAW_PKT}, {"[pcap file packet: ", SNORT_PCAP_CNT}};
    const char *at = snort_find_last(*rest, " [**] [Raw pkt: ");
    if (at == NULL) {
        return;
    }
    struct core_span raw = snort_from(*rest, at);
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        const char *part = snort_find(raw, parts[i].head);
        const char *end = part == NULL ? NULL : core_span_chr(snort_from(raw, part), ']');
        if (end != NULL) {
            struct core_span text = {part + strlen(parts[i].head), 0};
            text.len = (size_t)(end - text.ptr);
            snort_put(worker, parts[i].column, snort_trim(text));
        }
    }
    *rest = snort_cut(*rest, 0, (size_t)(at - rest->ptr));
}

/* [1:1000001:7] "message" [**] and whatever follows. */
static bool fast_read(struct normalize_worker *worker, bool is_suricata, struct core_span rest) {
    if (is_suricata) {
        raw_take(worker, &rest);
    }
    const char *close = core_span_chr(rest, ']');
    const char *stars = snort_find_last(rest, "[**]");
    if (close == NULL || stars == NULL || stars < close ||
        !snort_put_rule(worker, snort_cut(rest, 1, (size_t)(close - rest.ptr)))) {
        return record_refuse(worker, "an alert without \"[gid:sid:rev] message [**]\"");
    }
    struct core_span msg = snort_cut(rest, (size_t)(close - rest.ptr) + 1, (size_t)(stars - rest.ptr));
    iface_read(worker, &msg);
    snort_put_message(worker, msg);
    rest = snort_from(rest, stars + 4);
    if (snort_has(worker, SNORT_RAW_PKT)) {
        snort_put_groups(worker, &rest);
        return true;
    }
    return snort_put_tail(worker, is_suricata, rest);
}

bool snort_fast_decode(struct normalize_worker *worker, struct stream_state *state, struct core_span text,
                       struct plan **plan) {
    const struct core_origin *origin = state->stream->origin;
    size_t stamp_len = snort_stamp_len(text);
    struct core_span stamp = snort_cut(text, 0, stamp_len);
    bool is_suricata = origin != NULL && origin->type != CORE_ORIGIN_AUTO ? origin->type == CORE_ORIGIN_SURICATA
                                                                          : has_long_year(stamp);
    if (!snort_begin(worker, state, is_suricata, plan)) {
        return false;
    }
    struct core_span line = snort_cut(text, 0, line_len(text));
    const char *stars = snort_find(line, "[**] [");
    if (stamp_len == 0 || stars == NULL) {
        return record_refuse(worker, "no fast alert: one begins \"MM/DD-hh:mm:ss.ffffff [**] [gid:sid:rev]\"");
    }
    snort_put(worker, SNORT_TIMESTAMP, stamp);
    mark_read(worker, snort_cut(line, stamp_len, (size_t)(stars - line.ptr)));
    if (!fast_read(worker, is_suricata, snort_trim(snort_from(line, stars + 4)))) {
        return false;
    }
    snort_put_packet(worker, snort_cut(text, line.len, text.len)); /* cmg: the packet's headers and bytes follow */
    return worker->reason[0] == '\0';
}

/* ---- which format ------------------------------------------------------------------------------------------------------------ */

struct format_row {
    enum core_format format;
    bool (*is_it)(struct core_span text);
    bool (*decode)(struct normalize_worker *worker, struct stream_state *state, struct core_span text,
                   struct plan **plan);
};

static const struct format_row formats[] = {
    {CORE_FORMAT_SNORT_FAST, snort_fast_is_it, snort_fast_decode},
    {CORE_FORMAT_SNORT_CMG, snort_fast_is_it, snort_fast_decode},
    {CORE_FORMAT_SURICATA_FAST, snort_fast_is_it, snort_fast_decode},
    {CORE_FORMAT_SNORT_FULL, snort_full_is_it, snort_full_decode},
    {CORE_FORMAT_SNORT_CSV, snort_csv_is_it, snort_csv_decode},
    {CORE_FORMAT_SNORT_SYSLOG, snort_syslog_is_it, snort_syslog_decode},
};

/* The row of a named format; by content if none is named; NULL: none of these. */
static const struct format_row *format_find(const struct stream_state *state, struct core_span text) {
    const struct core_origin *origin = state->stream->origin;
    enum core_format named = origin == NULL ? CORE_FORMAT_AUTO : origin->format;
    bool is_csv = state->csv != NULL || (origin != NULL && origin->csv_fields != NULL);
    for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
        const struct format_row *row = &formats[i];
        bool fits = named == CORE_FORMAT_AUTO
                        ? row->is_it(text) || (row->format == CORE_FORMAT_SNORT_CSV && is_csv && text.ptr[0] != '{')
                        : row->format == named;
        if (fits) {
            return row;
        }
    }
    return NULL;
}

bool snort_text_is_named(const struct stream_state *state) {
    const struct core_origin *origin = state->stream->origin;
    bool is_named = false;
    for (size_t i = 0; origin != NULL && i < sizeof(formats) / sizeof(formats[0]); i++) {
        is_named = is_named || formats[i].format == origin->format;
    }
    return is_named;
}

bool snort_text_is_it(const struct stream_state *state, struct core_span text) {
    return format_find(state, text) != NULL;
}

bool snort_text_decode(struct normalize_worker *worker, struct stream_state *state, struct core_span text,
                       struct plan **plan) {
    const struct format_row *row = format_find(state, text);
    MUST(row != NULL); /* snort_text_is_it() */
    worker->snort_year = SNORT_YEAR_UNKNOWN;
    return row->decode(worker, state, text, plan);
}
