/* normalize/decode_snort_full.c: alert_full of Snort 2 and 3, and the packet headers that it and cmg print: one line a
 * layer. A line that is none of those known is kept as text; of alerts on rebuilt packets there are only two lines.
 * Source: Snort 3 src/loggers/{alert_full,log_text}.cc; Snort 2 src/{log,log_text}.c; our corpus.
 * SPDX-License-Identifier: Apache-2.0 */
#include "normalize/snort_internal.h"

#define UDP_HEADER_BYTES 8

bool snort_full_is_it(struct core_span text) {
    return core_span_starts(text, CORE_SPAN("[**] ["));
}

static struct core_span line_next(struct core_span *text) {
    const char *end = core_span_chr(*text, '\n');
    struct core_span line = {text->ptr, end == NULL ? text->len : (size_t)(end - text->ptr)};
    *text = snort_cut(*text, end == NULL ? text->len : line.len + 1, text->len);
    return line;
}

static void put_first(struct normalize_worker *worker, enum snort_column column, struct core_span text) {
    if (!snort_has(worker, column)) {
        snort_put(worker, column, text);
    }
}

/* The word behind a label: "TTL:64 TOS:0x0" or "Seq: 0x0  Ack: 0x1". */
static bool labelled(struct core_span line, const char *label, struct core_span *out) {
    const char *at = snort_find(line, label);
    if (at == NULL || (at > line.ptr && at[-1] != ' ')) {
        return false;
    }
    struct core_span rest = snort_trim(snort_from(line, at + strlen(label)));
    *out = snort_word(&rest);
    return out->len > 0;
}

struct label {
    const char *text;
    enum snort_column column;
};

static void labels_put(struct normalize_worker *worker, struct core_span line, const struct label *labels, size_t len) {
    for (size_t i = 0; i < len; i++) {
        struct core_span word;
        if (labelled(line, labels[i].text, &word)) {
            put_first(worker, labels[i].column, word);
        }
    }
}

/* ---- one line a layer: each says whether the line is its ------------------------------------------------------------------ */

static bool is_mac(struct core_span word) {
    return word.len == 17 && word.ptr[2] == ':' && word.ptr[5] == ':' && word.ptr[8] == ':' && word.ptr[14] == ':';
}

/* 02:00:00:00:00:02 -> 02:00:00:00:00:10 type:0x800 len:0x62 */
static bool ethernet_line(struct normalize_worker *worker, struct core_span line) {
    static const struct label labels[] = {{"type:", SNORT_ETH_TYPE}, {"len:", SNORT_ETH_LEN}};
    struct core_span rest = line;
    struct core_span source = snort_word(&rest);
    struct core_span arrow = snort_word(&rest);
    struct core_span destination = snort_word(&rest);
    if (!is_mac(source) || !core_span_is(arrow, "->") || !is_mac(destination)) {
        return false;
    }
    put_first(worker, SNORT_ETH_SRC, source);
    put_first(worker, SNORT_ETH_DST, destination);
    labels_put(worker, rest, labels, sizeof(labels) / sizeof(labels[0]));
    return true;
}

/* TCP TTL:64 TOS:0x0 ID:0 IpLen:40 DgmLen:72 DF */
static bool ip_line(struct normalize_worker *worker, struct core_span line) {
    static const struct label labels[] = {{"TTL:", SNORT_TTL},
                                          {"TOS:", SNORT_TOS},
                                          {"ID:", SNORT_IP_ID},
                                          {"IpLen:", SNORT_IPLEN},
                                          {"DgmLen:", SNORT_DGMLEN}};
    struct core_span rest = line;
    struct core_span proto = snort_word(&rest);
    if (proto.len == 0 || !core_span_starts(rest, CORE_SPAN("TTL:"))) {
        return false;
    }
    if (!snort_has(worker, SNORT_PROTO)) {
        snort_put_proto(worker, false, proto);
    } else if (core_span_is(value_span(worker->columns[SNORT_PROTO]), "IP")) {
        put_first(worker, SNORT_IP_PROTO, proto);
    }
    labels_put(worker, rest, labels, sizeof(labels) / sizeof(labels[0]));
    const char *length = snort_find(rest, "DgmLen:");
    if (length != NULL) {
        struct core_span flags = snort_from(rest, length);
        (void)snort_word(&flags); /* behind the last label: RB DF MF, those that are set */
        put_first(worker, SNORT_IP_FLAGS, snort_trim(flags));
    }
    return true;
}

/* ***AP*** Seq: 0x6BF6627C  Ack: 0x99287C90  Win: 0x40  TcpLen: 32  UrgPtr: 0x0 */
static bool tcp_line(struct normalize_worker *worker, struct core_span line) {
    static const struct label labels[] = {{"Seq:", SNORT_TCP_SEQ},
                                          {"Ack:", SNORT_TCP_ACK},
                                          {"Win:", SNORT_TCP_WIN},
                                          {"TcpLen:", SNORT_TCP_LEN},
                                          {"UrgPtr:", SNORT_TCP_URGENT}};
    struct core_span rest = line;
    struct core_span flags = snort_word(&rest);
    if (flags.len != 8 || !core_span_starts(rest, CORE_SPAN("Seq:"))) {
        return false;
    }
    put_first(worker, SNORT_TCP_FLAGS, flags);
    labels_put(worker, rest, labels, sizeof(labels) / sizeof(labels[0]));
    return true;
}

/* Len: 53: of what the datagram carries; alert_json's udp_len counts the header, too. */
static bool udp_line(struct normalize_worker *worker, struct core_span line) {
    struct core_span rest = line;
    struct core_span label = snort_word(&rest);
    struct core_span word = snort_word(&rest);
    if (!core_span_is(label, "Len:") || !snort_is_digits(word) || word.len > 5) {
        return false;
    }
    uint64_t len = 0;
    for (size_t i = 0; i < word.len; i++) {
        len = len * 10 + (uint64_t)(word.ptr[i] - '0');
    }
    if (!snort_has(worker, SNORT_UDP_LEN)) {
        worker->columns[SNORT_UDP_LEN] = value_u64(worker, len + UDP_HEADER_BYTES);
    }
    return true;
}

/* Type:8  Code:0  ID:16434   Seq:1  ECHO */
static bool icmp_line(struct normalize_worker *worker, struct core_span line) {
    static const struct label labels[] = {
        {"Type:", SNORT_ICMP_TYPE}, {"Code:", SNORT_ICMP_CODE}, {"ID:", SNORT_ICMP_ID}, {"Seq:", SNORT_ICMP_SEQ}};
    if (!core_span_starts(line, CORE_SPAN("Type:"))) {
        return false;
    }
    labels_put(worker, line, labels, sizeof(labels) / sizeof(labels[0]));
    struct core_span rest = line;
    while (rest.len > 0) { /* behind the labels: what it is, in words */
        struct core_span left = rest;
        struct core_span word = snort_word(&left);
        const char *colon = core_span_chr(word, ':');
        if (colon == NULL || !snort_is_digits(snort_from(word, colon + 1))) {
            break;
        }
        rest = left;
    }
    put_first(worker, SNORT_ICMP_TEXT, snort_trim(rest));
    return true;
}

/* Frag Offset: 0x00B9   Frag Size: 0x0014 */
static bool fragment_line(struct normalize_worker *worker, struct core_span line) {
    static const struct label labels[] = {{"Frag Offset:", SNORT_FRAG_OFFSET}, {"Frag Size:", SNORT_FRAG_SIZE}};
    if (!core_span_starts(line, CORE_SPAN("Frag Offset:"))) {
        return false;
    }
    labels_put(worker, line, labels, sizeof(labels) / sizeof(labels[0]));
    return true;
}

/* TCP Options (3) => NOP NOP TS: 313550410 2238129835 */
static bool options_line(struct normalize_worker *worker, struct core_span line) {
    bool is_tcp = core_span_starts(line, CORE_SPAN("TCP Options ("));
    const char *arrow = snort_find(line, "=> ");
    if (arrow == NULL || (!is_tcp && !core_span_starts(line, CORE_SPAN("IP Options (")))) {
        return false;
    }
    put_first(worker, is_tcp ? SNORT_TCP_OPTIONS : SNORT_IP_OPTIONS, snort_trim(snort_from(line, arrow + 3)));
    return true;
}

/* [Classification: ...] [Priority: 3], and [Xref => ...] of Snort 2 */
static bool groups_line(struct normalize_worker *worker, struct core_span line) {
    bool is_it = core_span_starts(line, CORE_SPAN("[Classification:")) ||
                 core_span_starts(line, CORE_SPAN("[Priority:")) || core_span_starts(line, CORE_SPAN("[Xref =>")) ||
                 core_span_starts(line, CORE_SPAN("[AppID:"));
    if (is_it) {
        snort_put_groups(worker, &line);
    }
    return is_it;
}

/* "10.0.0.5:51514 -> 10.0.0.10:80", in cmg with the IP header behind it. The ports are known by the protocol, which
 * alert_full names on the next line: *flow waits for it. */
static bool flow_line(struct normalize_worker *worker, struct core_span line, struct core_span *flow) {
    struct core_span rest = line;
    struct core_span source = snort_word(&rest);
    struct core_span arrow = snort_word(&rest);
    struct core_span destination = snort_word(&rest);
    if (source.len == 0 || !core_span_is(arrow, "->") || destination.len == 0) {
        return false;
    }
    if (flow->len == 0) {
        *flow = (struct core_span){source.ptr, (size_t)(destination.ptr + destination.len - source.ptr)};
    }
    return rest.len == 0 || ip_line(worker, rest);
}

/* "snort.raw[56]:": what follows are bytes. */
static bool is_dump(struct core_span line) {
    const char *open = core_span_chr(line, '[');
    const char *dot = core_span_chr(line, '.');
    return open != NULL && dot != NULL && dot < open && line.len > 3 && line.ptr[line.len - 1] == ':' &&
           line.ptr[line.len - 2] == ']' && core_span_chr(line, ' ') == NULL;
}

/* The datagram that an ICMP error came for; its lines look like the packet's own. */
static void original_take(struct normalize_worker *worker, struct core_span *text) {
    const char *end = snort_find(*text, "** END OF DUMP");
    size_t len = end == NULL ? text->len : (size_t)(end - text->ptr);
    put_first(worker, SNORT_ICMP_ORIGINAL, snort_trim(snort_cut(*text, 0, len)));
    *text = snort_cut(*text, len, text->len);
    (void)line_next(text);
}

static bool line_read(struct normalize_worker *worker, struct core_span line, struct core_span *flow) {
    return ethernet_line(worker, line) || flow_line(worker, line, flow) || ip_line(worker, line) ||
           tcp_line(worker, line) || udp_line(worker, line) || icmp_line(worker, line) || options_line(worker, line) ||
           fragment_line(worker, line) || groups_line(worker, line);
}

/* A line of a dump: "DF 08 01 6B ...", "- - - ...", or a name. */
static bool is_dumped(struct core_span line) {
    unsigned byte;
    return is_dump(line) || core_span_starts(line, CORE_SPAN("- - -")) ||
           (line.len >= 2 && hex_pair(line.ptr, &byte) && (line.len == 2 || line.ptr[2] == ' '));
}

void snort_put_packet(struct normalize_worker *worker, struct core_span text) {
    struct core_span flow = {NULL, 0};
    struct core_span other = {NULL, 0}; /* from the first line nobody knew to the last */
    while (text.len > 0) {
        struct core_span at = text;
        struct core_span line = snort_trim(line_next(&text));
        bool has_dump = snort_has(worker, SNORT_DUMP);
        if (is_dump(line) && !has_dump) {
            snort_put(worker, SNORT_DUMP, snort_trim(at)); /* with all that follows, headers too */
        } else if (core_span_starts(line, CORE_SPAN("** ORIGINAL DATAGRAM DUMP"))) {
            original_take(worker, &text);
        } else if (line.len > 0 && !(has_dump && is_dumped(line)) && !line_read(worker, line, &flow) && !has_dump) {
            other.ptr = other.ptr == NULL ? line.ptr : other.ptr;
            other.len = (size_t)(line.ptr + line.len - other.ptr);
        }
    }
    if (flow.len > 0 && !snort_has(worker, SNORT_SRC_ADDR) && !snort_has(worker, SNORT_DST_ADDR)) {
        (void)snort_put_flow(worker, false, flow);
    }
    snort_put(worker, SNORT_PACKET_TEXT, other);
}

/* ---- alert_full ------------------------------------------------------------------------------------------------------------ */

/* [**] [1:1000001:1] "LOCAL ICMP echo request" [**] */
static bool head_read(struct normalize_worker *worker, struct core_span line) {
    struct core_span rest = snort_cut(line, 5, line.len);
    const char *close = core_span_chr(rest, ']');
    const char *stars = snort_find_last(rest, "[**]");
    if (close == NULL || stars == NULL || stars < close ||
        !snort_put_rule(worker, snort_cut(rest, 1, (size_t)(close - rest.ptr)))) {
        return record_refuse(worker, "a full alert does not begin \"[**] [gid:sid:rev] message [**]\"");
    }
    snort_put_message(worker, snort_cut(rest, (size_t)(close - rest.ptr) + 1, (size_t)(stars - rest.ptr)));
    return true;
}

bool snort_full_decode(struct normalize_worker *worker, struct stream_state *state, struct core_span text,
                       struct plan **plan) {
    if (!snort_begin(worker, state, false, plan)) {
        return false;
    }
    struct core_span line = line_next(&text);
    if (!snort_full_is_it(line)) {
        return record_refuse(worker, "no full alert: one begins \"[**] [gid:sid:rev]\"");
    }
    if (!head_read(worker, line)) {
        return false;
    }
    struct core_span at = text;
    while (text.len > 0 && snort_stamp_len(text) == 0) {
        struct core_span skipped = line_next(&text);
        if (!groups_line(worker, snort_trim(skipped)) && snort_trim(skipped).len > 0) {
            return record_refuse(worker, "a full alert goes on with \"%.*s\"",
                                 (int)(skipped.len < 60 ? skipped.len : 60), skipped.ptr);
        }
    }
    if (text.len == 0) {
        return record_refuse(worker, "a full alert ends before its time: cut off, or its lines came one by one "
                                     "(input's format: snort_full)");
    }
    MUST(text.ptr >= at.ptr);
    size_t len = snort_stamp_len(text);
    snort_put(worker, SNORT_TIMESTAMP, snort_cut(text, 0, len));
    snort_put_packet(worker, snort_cut(text, len, text.len)); /* the rest of the stamp's line is a flow or a frame */
    return worker->reason[0] == '\0';
}
