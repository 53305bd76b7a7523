/* normalize/packet.c: the headers of a packet that unified2 keeps, as alert_json names them: Ethernet with VLAN tags, Linux
 * "cooked", bare IP; ARP by name; IPv4, IPv6 with its extension headers; TCP, UDP, ICMP. Every length is checked: the bytes
 * come from the net. What an event says itself stands already, and stays.
 * Source: RFC 791, 8200, 9293, 768, 792, 4443; IEEE 802.1Q; the tcpdump group's list of link types.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/unified2.h"
#include "normalize/unified2_internal.h"

#include <stdio.h>

#define ETHERTYPE_IPV4 0x0800
#define ETHERTYPE_ARP 0x0806
#define ETHERTYPE_VLAN 0x8100
#define ETHERTYPE_IPV6 0x86dd
#define ETHERTYPE_QINQ 0x88a8
#define VLAN_TAGS_MAX 2
#define IPV6_HEADERS_MAX 8
#define MAC_BYTES 6

enum link_type {
    LINK_ETHERNET = 1,
    LINK_RAW_BSD = 12,
    LINK_RAW = 101,
    LINK_COOKED = 113,
    LINK_IPV4 = 228,
    LINK_IPV6 = 229
};
enum ip_proto {
    IP_HOPOPTS = 0,
    IP_ICMP = 1,
    IP_TCP = 6,
    IP_UDP = 17,
    IP_ROUTING = 43,
    IP_FRAGMENT = 44,
    IP_ICMPV6 = 58,
    IP_DSTOPTS = 60
};

static unsigned byte_at(struct core_span bytes, size_t at) {
    return (unsigned char)bytes.ptr[at];
}

static struct core_span rest_of(struct core_span bytes, size_t from) {
    from = from < bytes.len ? from : bytes.len;
    return (struct core_span){bytes.ptr + from, bytes.len - from};
}

static void put_mac(struct normalize_worker *worker, enum snort_column column, const char *mac) {
    char text[3 * MAC_BYTES + 1];
    for (size_t i = 0; i < MAC_BYTES; i++) {
        snprintf(text + 3 * i, 4, "%02x:", (unsigned)(unsigned char)mac[i]);
    }
    u2_put_text(worker, column, (struct core_span){text, 3 * MAC_BYTES - 1});
}

/* ---- above IP ---------------------------------------------------------------------------------------------------------------- */

static void put_ports(struct normalize_worker *worker, struct core_span bytes) {
    u2_put_number(worker, SNORT_SRC_PORT, core_be16(bytes.ptr));
    u2_put_number(worker, SNORT_DST_PORT, core_be16(bytes.ptr + 2));
}

static void tcp_put(struct normalize_worker *worker, struct core_span bytes) {
    static const char letters[] = "12UAPRSF";
    if (bytes.len < 20) {
        return;
    }
    char flags[sizeof(letters) - 1];
    for (size_t i = 0; i < sizeof(flags); i++) {
        flags[i] = (byte_at(bytes, 13) & (0x80u >> i)) != 0 ? letters[i] : '*';
    }
    put_ports(worker, bytes);
    u2_put_number(worker, SNORT_TCP_SEQ, core_be32(bytes.ptr + 4));
    u2_put_number(worker, SNORT_TCP_ACK, core_be32(bytes.ptr + 8));
    u2_put_number(worker, SNORT_TCP_LEN, (byte_at(bytes, 12) >> 4) * 4u);
    u2_put_text(worker, SNORT_TCP_FLAGS, (struct core_span){flags, sizeof(flags)});
    u2_put_number(worker, SNORT_TCP_WIN, core_be16(bytes.ptr + 14));
}

static void udp_put(struct normalize_worker *worker, struct core_span bytes) {
    if (bytes.len >= 8) {
        put_ports(worker, bytes);
        u2_put_number(worker, SNORT_UDP_LEN, core_be16(bytes.ptr + 4));
    }
}

static void icmp_put(struct normalize_worker *worker, struct core_span bytes, bool is_v6) {
    if (bytes.len < 4) {
        return;
    }
    const unsigned type = byte_at(bytes, 0);
    const bool is_echo = is_v6 ? type == 128 || type == 129 : type == 8 || type == 0;
    u2_put_number(worker, SNORT_ICMP_TYPE, type);
    u2_put_number(worker, SNORT_ICMP_CODE, byte_at(bytes, 1));
    if (is_echo && bytes.len >= 8) {
        u2_put_number(worker, SNORT_ICMP_ID, core_be16(bytes.ptr + 4));
        u2_put_number(worker, SNORT_ICMP_SEQ, core_be16(bytes.ptr + 6));
    }
}

static void transport_put(struct normalize_worker *worker, struct core_span bytes, unsigned proto) {
    u2_put_proto(worker, proto);
    switch (proto) {
    case IP_TCP:
        tcp_put(worker, bytes);
        break;
    case IP_UDP:
        udp_put(worker, bytes);
        break;
    case IP_ICMP:
    case IP_ICMPV6:
        icmp_put(worker, bytes, proto == IP_ICMPV6);
        break;
    default:
        break;
    }
}

/* ---- IP ---------------------------------------------------------------------------------------------------------------------- */

static void ipv4_put(struct normalize_worker *worker, struct core_span bytes) {
    if (bytes.len < 20) {
        return;
    }
    const size_t header = (byte_at(bytes, 0) & 0x0fu) * 4u;
    const unsigned total = core_be16(bytes.ptr + 2);
    const unsigned offset = core_be16(bytes.ptr + 6) & 0x1fffu;
    u2_put_address(worker, SNORT_SRC_ADDR, bytes.ptr + 12, 4);
    u2_put_address(worker, SNORT_DST_ADDR, bytes.ptr + 16, 4);
    u2_put_number(worker, SNORT_TOS, byte_at(bytes, 1));
    u2_put_number(worker, U2_PKT_LEN, total);
    u2_put_number(worker, SNORT_IP_ID, core_be16(bytes.ptr + 4));
    u2_put_number(worker, SNORT_TTL, byte_at(bytes, 8));
    if (header >= 20 && total >= header) {
        u2_put_number(worker, U2_IP_LEN, total - header);
    }
    if (header >= 20 && offset == 0) {
        transport_put(worker, rest_of(bytes, header), byte_at(bytes, 9));
    } else {
        u2_put_proto(worker, byte_at(bytes, 9));
    }
}

static void ipv6_put(struct normalize_worker *worker, struct core_span bytes) {
    if (bytes.len < 40) {
        return;
    }
    const unsigned payload = core_be16(bytes.ptr + 4);
    u2_put_address(worker, SNORT_SRC_ADDR, bytes.ptr + 8, 16);
    u2_put_address(worker, SNORT_DST_ADDR, bytes.ptr + 24, 16);
    u2_put_number(worker, SNORT_TOS, (core_be16(bytes.ptr) >> 4) & 0xffu);
    u2_put_number(worker, U2_PKT_LEN, payload + 40);
    u2_put_number(worker, U2_IP_LEN, payload);
    u2_put_number(worker, SNORT_TTL, byte_at(bytes, 7));
    unsigned proto = byte_at(bytes, 6);
    struct core_span rest = rest_of(bytes, 40);
    for (int i = 0; i < IPV6_HEADERS_MAX && rest.len >= 8; i++) {
        const bool is_option = proto == IP_HOPOPTS || proto == IP_ROUTING || proto == IP_DSTOPTS;
        if (!is_option && proto != IP_FRAGMENT) {
            break;
        }
        const bool is_first = !(proto == IP_FRAGMENT && (core_be16(rest.ptr + 2) & 0xfff8u) != 0);
        if (proto == IP_FRAGMENT) {
            u2_put_number(worker, SNORT_IP_ID, core_be32(rest.ptr + 4));
        }
        const size_t len = proto == IP_FRAGMENT ? 8 : 8 + byte_at(rest, 1) * 8u;
        proto = byte_at(rest, 0);
        rest = rest_of(rest, len);
        if (!is_first) {
            rest.len = 0; /* the middle of a datagram */
        }
    }
    u2_put_number(worker, SNORT_IP_ID, 0); /* as Snort has it where there is none */
    transport_put(worker, rest, proto);
}

static void network_put(struct normalize_worker *worker, struct core_span bytes, unsigned ethertype) {
    switch (ethertype) {
    case ETHERTYPE_IPV4:
        ipv4_put(worker, bytes);
        break;
    case ETHERTYPE_IPV6:
        ipv6_put(worker, bytes);
        break;
    case ETHERTYPE_ARP:
        if (!snort_has(worker, SNORT_PROTO)) {
            snort_put(worker, SNORT_PROTO, CORE_SPAN("ARP"));
        }
        break;
    default:
        break;
    }
}

/* ---- links -------------------------------------------------------------------------------------------------------------------- */

static void ethernet_put(struct normalize_worker *worker, struct core_span bytes) {
    if (bytes.len < 14) {
        return;
    }
    if ((byte_at(bytes, MAC_BYTES) & 1) != 0) {
        return; /* nobody sends from a group's address: Snort rebuilt this packet, and its headers are made up */
    }
    char text[16];
    size_t at = 12;
    snprintf(text, sizeof(text), "0x%X", (unsigned)core_be16(bytes.ptr + at));
    put_mac(worker, SNORT_ETH_DST, bytes.ptr);
    put_mac(worker, SNORT_ETH_SRC, bytes.ptr + MAC_BYTES);
    u2_put_text(worker, SNORT_ETH_TYPE, core_span_of(text));
    unsigned ethertype = core_be16(bytes.ptr + at);
    for (int i = 0; i < VLAN_TAGS_MAX && (ethertype == ETHERTYPE_VLAN || ethertype == ETHERTYPE_QINQ); i++) {
        if (bytes.len < at + 6) {
            return;
        }
        u2_put_number(worker, U2_VLAN, core_be16(bytes.ptr + at + 2) & 0x0fffu);
        at += 4;
        ethertype = core_be16(bytes.ptr + at);
    }
    network_put(worker, rest_of(bytes, at + 2), ethertype);
}

void packet_put(struct normalize_worker *worker, struct core_span bytes, uint32_t linktype) {
    if (bytes.len == 0) {
        return;
    }
    switch (linktype) {
    case LINK_ETHERNET:
        ethernet_put(worker, bytes);
        break;
    case LINK_COOKED:
        if (bytes.len >= 16) {
            network_put(worker, rest_of(bytes, 16), core_be16(bytes.ptr + 14));
        }
        break;
    case LINK_RAW_BSD:
    case LINK_RAW:
    case LINK_IPV4:
    case LINK_IPV6:
        network_put(worker, bytes, byte_at(bytes, 0) >> 4 == 6 ? ETHERTYPE_IPV6 : ETHERTYPE_IPV4);
        break;
    default:
        break;
    }
}
