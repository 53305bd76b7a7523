/* normalize/unified2_internal.h: what the readers of unified2 share: decode_unified2.c, packet.c, snort_names.c.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TAPLINE_NORMALIZE_UNIFIED2_INTERNAL_H
#define TAPLINE_NORMALIZE_UNIFIED2_INTERNAL_H

#include "normalize/snort_internal.h"

/* What unified2 has beyond the text formats. The columns stand behind theirs; ip_len … are alert_json's own names. */
#define U2_COLUMNS                                                                                                     \
    X(EVENT_TIME, event_time)                                                                                          \
    X(SENSOR_ID, sensor_id)                                                                                            \
    X(EVENT_ID, event_id)                                                                                              \
    X(CLASS_ID, class_id)                                                                                              \
    X(IMPACT, impact)                                                                                                  \
    X(IMPACT_FLAG, impact_flag)                                                                                        \
    X(POLICY_CONTEXT, policy_context)                                                                                  \
    X(POLICY_INSPECTION, policy_inspection)                                                                            \
    X(POLICY_DETECTION, policy_detection)                                                                              \
    X(VLAN, vlan)                                                                                                      \
    X(MPLS, mpls)                                                                                                      \
    X(PKT_LEN, pkt_len)                                                                                                \
    X(IP_LEN, ip_len)                                                                                                  \
    X(EVENT_TAIL, event_tail)                                                                                          \
    X(PACKET_DATA, packet_data)                                                                                        \
    X(PACKET_TIME, packet_time)                                                                                        \
    X(PACKET_LENGTH, packet_length)                                                                                    \
    X(PACKET_LINKTYPE, packet_linktype)                                                                                \
    X(BUFFER_DATA, buffer_data)                                                                                        \
    X(BUFFER_TIME, buffer_time)                                                                                        \
    X(CLIENT_IP, extra_client_ip)                                                                                      \
    X(REVIEWED_BY, extra_reviewed_by)                                                                                  \
    X(GZIP_DATA, extra_gzip_data)                                                                                      \
    X(SMTP_FILENAME, extra_smtp_filename)                                                                              \
    X(SMTP_MAIL_FROM, extra_smtp_mail_from)                                                                            \
    X(SMTP_RCPT_TO, extra_smtp_rcpt_to)                                                                                \
    X(SMTP_HEADERS, extra_smtp_headers)                                                                                \
    X(HTTP_URI, extra_http_uri)                                                                                        \
    X(HTTP_HOST, extra_http_host)                                                                                      \
    X(IPV6_SOURCE, extra_ipv6_source)                                                                                  \
    X(IPV6_DESTINATION, extra_ipv6_destination)                                                                        \
    X(JAVASCRIPT, extra_javascript)                                                                                    \
    X(OTHER_TYPE, extra_other_type)                                                                                    \
    X(OTHER_DATA, extra_other_data)

enum u2_column {
    U2__BEFORE = SNORT__MAX - 1,
#define X(id, name) U2_##id,
    U2_COLUMNS
#undef X
        U2__MAX
};

/* Helpers for columns; a column that has a value keeps it. */
void u2_put_number(struct normalize_worker *worker, unsigned column, uint64_t number);
void u2_put_text(struct normalize_worker *worker, unsigned column, struct core_span text); /* copied */
/* An address of 4 or 16 bytes. */
void u2_put_address(struct normalize_worker *worker, unsigned column, const char *bytes, size_t len);
/* TCP, UDP, ICMP, IP; what goes beyond these in ip_proto. 255: Snort's "not IP". */
void u2_put_proto(struct normalize_worker *worker, unsigned proto);

/* packet.c: what a packet's headers say, into the columns that are still empty. linktype: as in a pcap file. Packets of
 * other links, cut ones and strange ones give what can be read. */
void packet_put(struct normalize_worker *worker, struct core_span bytes, uint32_t linktype);

/* snort_names.c: what Snort's own files say of a rule or a class. */
struct snort_rule_name {
    uint32_t gid;
    uint32_t sid;
    uint32_t line; /* the last of a rule counts */
    struct core_span msg;
    struct core_span references; /* "cve,2003-0352 || url,…", or empty */
    struct core_span class_name; /* sid-msg.map v2; short, or empty */
};

struct snort_class {
    struct core_span name; /* short */
    struct core_span text;
    uint32_t priority;
};

/* The names for this origin's files, read when asked for the first time, and again when a file is another one by now.
 * NULL: the origin names no file. Errors: a file that cannot be read is told in the log, and has no names.
 * Owns: the worker, until snort_names_free(). Thread: the worker's. */
struct snort_names *snort_names_of(struct normalize_worker *worker, const struct core_origin *origin);
/* NULL: unknown. */
const struct snort_rule_name *snort_names_rule(const struct snort_names *names, uint32_t gid, uint32_t sid);
/* By its number, which counts the lines of classification.config from 1. */
const struct snort_class *snort_names_class(const struct snort_names *names, uint32_t number);
const struct snort_class *snort_names_class_of(const struct snort_names *names, struct core_span name);

#endif
