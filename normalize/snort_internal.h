/* normalize/snort_internal.h: what the decoders of Snort's and Suricata's text formats share (decode_snort*.c).
 *
 * Every format fills the columns of one record model, named as Snort 3's alert_json names its fields, so that one map
 * serves them all. What alert_json has no name for (IP flags, TCP options, the syslog header) has one of its own here.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_NORMALIZE_SNORT_INTERNAL_H
#define TAPLINE_NORMALIZE_SNORT_INTERNAL_H

#include "normalize/normalize_internal.h"

#define SNORT_COLUMNS                                                                                                  \
    X(TIMESTAMP, timestamp)                                                                                            \
    X(GID, gid)                                                                                                        \
    X(SID, sid)                                                                                                        \
    X(REV, rev)                                                                                                        \
    X(MSG, msg)                                                                                                        \
    X(CLASS, class)                                                                                                    \
    X(PRIORITY, priority)                                                                                              \
    X(ACTION, action)                                                                                                  \
    X(APPID, appid)                                                                                                    \
    X(IFACE, iface)                                                                                                    \
    X(PROTO, proto)                                                                                                    \
    X(IP_PROTO, ip_proto)                                                                                              \
    X(SRC_ADDR, src_addr)                                                                                              \
    X(SRC_PORT, src_port)                                                                                              \
    X(DST_ADDR, dst_addr)                                                                                              \
    X(DST_PORT, dst_port)                                                                                              \
    X(ETH_SRC, eth_src)                                                                                                \
    X(ETH_DST, eth_dst)                                                                                                \
    X(ETH_TYPE, eth_type)                                                                                              \
    X(ETH_LEN, eth_len)                                                                                                \
    X(TTL, ttl)                                                                                                        \
    X(TOS, tos)                                                                                                        \
    X(IP_ID, ip_id)                                                                                                    \
    X(IPLEN, iplen)                                                                                                    \
    X(DGMLEN, dgmlen)                                                                                                  \
    X(IP_FLAGS, ip_flags)                                                                                              \
    X(IP_OPTIONS, ip_options)                                                                                          \
    X(FRAG_OFFSET, frag_offset)                                                                                        \
    X(FRAG_SIZE, frag_size)                                                                                            \
    X(TCP_FLAGS, tcp_flags)                                                                                            \
    X(TCP_SEQ, tcp_seq)                                                                                                \
    X(TCP_ACK, tcp_ack)                                                                                                \
    X(TCP_WIN, tcp_win)                                                                                                \
    X(TCP_LEN, tcp_len)                                                                                                \
    X(TCP_URGENT, tcp_urgent)                                                                                          \
    X(TCP_OPTIONS, tcp_options)                                                                                        \
    X(UDP_LEN, udp_len)                                                                                                \
    X(ICMP_TYPE, icmp_type)                                                                                            \
    X(ICMP_CODE, icmp_code)                                                                                            \
    X(ICMP_ID, icmp_id)                                                                                                \
    X(ICMP_SEQ, icmp_seq)                                                                                              \
    X(ICMP_TEXT, icmp_text)                                                                                            \
    X(ICMP_ORIGINAL, icmp_original)                                                                                    \
    X(REFERENCES, references)                                                                                          \
    X(RAW_PKT, raw_pkt)                                                                                                \
    X(PCAP_CNT, pcap_cnt)                                                                                              \
    X(PACKET_TEXT, packet_text)                                                                                        \
    X(DUMP, dump)                                                                                                      \
    X(SYSLOG_PRIORITY, syslog_priority)                                                                                \
    X(SYSLOG_HOST, syslog_host)                                                                                        \
    X(SYSLOG_PROGRAM, syslog_program)                                                                                  \
    X(SYSLOG_PID, syslog_pid)

enum snort_column {
#define X(id, name) SNORT_##id,
    SNORT_COLUMNS
#undef X
        SNORT__MAX
};

extern const struct column snort_columns[SNORT__MAX];

/* A year of two digits stands first (Snort 3) or last (Snort 2, pfSense); what the format tells of it. */
enum snort_year { SNORT_YEAR_UNKNOWN, SNORT_YEAR_FIRST, SNORT_YEAR_LAST };

static inline struct core_span snort_cut(struct core_span text, size_t from, size_t to) {
    return (struct core_span){text.ptr + from, to - from};
}

/* What stands from `at` on; at points into text. */
static inline struct core_span snort_from(struct core_span text, const char *at) {
    return (struct core_span){at, (size_t)(text.ptr + text.len - at)};
}

static inline struct core_span snort_trim(struct core_span text) {
    while (text.len > 0 && (text.ptr[0] == ' ' || text.ptr[0] == '\t' || text.ptr[0] == '\n')) {
        text = snort_cut(text, 1, text.len);
    }
    while (text.len > 0 && (text.ptr[text.len - 1] == ' ' || text.ptr[text.len - 1] == '\t' ||
                            text.ptr[text.len - 1] == '\n' || text.ptr[text.len - 1] == '\r')) {
        text.len--;
    }
    return text;
}

static inline const char *snort_find(struct core_span text, const char *what) {
    return text.len == 0 ? NULL : memmem(text.ptr, text.len, what, strlen(what));
}

const char *snort_find_last(struct core_span text, const char *what);
/* The word up to the next blank; *text goes on behind it and the blanks after it. */
struct core_span snort_word(struct core_span *text);
bool snort_is_digits(struct core_span text);
/* Bytes of the stamp `MM/DD…-hh:mm:ss.ffffff` at the text's start; 0: there is none. */
size_t snort_stamp_len(struct core_span text);

/* Empty text is no value. */
void snort_put(struct normalize_worker *worker, enum snort_column column, struct core_span text);
bool snort_has(const struct normalize_worker *worker, enum snort_column column);
/* The plan of the record model, with no column filled. */
bool snort_begin(struct normalize_worker *worker, struct stream_state *state, bool is_suricata, struct plan **plan);

/* "1:1000001:7" */
bool snort_put_rule(struct normalize_worker *worker, struct core_span text);
/* A message, without the quotes round it. */
void snort_put_message(struct normalize_worker *worker, struct core_span text);
void snort_put_proto(struct normalize_worker *worker, bool is_suricata, struct core_span name);
/* "a:p -> b:q", the ports only where the protocol has them. False: it is not that. */
bool snort_put_flow(struct normalize_worker *worker, bool is_suricata, struct core_span text);
/* [Classification: ...] [Priority: N] [AppID: ...] [Xref => ...] <iface>, in any number; *rest is what follows. */
void snort_put_groups(struct normalize_worker *worker, struct core_span *rest);

/* What follows the message of a fast or syslog alert: groups, then "{PROTO} source -> destination". */
bool snort_put_tail(struct normalize_worker *worker, bool is_suricata, struct core_span rest);

bool snort_fast_is_it(struct core_span text);
bool snort_fast_decode(struct normalize_worker *worker, struct stream_state *state, struct core_span text,
                       struct plan **plan);
bool snort_full_is_it(struct core_span text);
bool snort_full_decode(struct normalize_worker *worker, struct stream_state *state, struct core_span text,
                       struct plan **plan);
/* The lines of a packet's headers, as alert_full and cmg print them, into columns that are still empty. */
void snort_put_packet(struct normalize_worker *worker, struct core_span text);
bool snort_csv_is_it(struct core_span text);
bool snort_csv_decode(struct normalize_worker *worker, struct stream_state *state, struct core_span text,
                      struct plan **plan);
bool snort_json_has_field(struct core_span name);
bool snort_syslog_is_it(struct core_span text);
bool snort_syslog_decode(struct normalize_worker *worker, struct stream_state *state, struct core_span text,
                         struct plan **plan);

#endif
