# SPDX-License-Identifier: Apache-2.0
"""Community ID v1, written from its specification (github.com/corelight/community-id-spec), for checking ours."""
import base64
import hashlib
import ipaddress
import struct

PROTOCOLS = {"icmp": 1, "igmp": 2, "tcp": 6, "udp": 17, "ipv6": 41, "rsvp": 46, "gre": 47, "ipv6-icmp": 58, "icmp6": 58,
             "icmpv6": 58, "ospf": 89, "pim": 103, "sctp": 132}
WITH_PORTS = {1, 6, 17, 58, 132}

# Types whose answer has another type: both ends of the conversation stand where ports would.
ICMP4_TWO_WAY = {0: 8, 8: 0, 9: 10, 10: 9, 13: 14, 14: 13, 15: 16, 16: 15, 17: 18, 18: 17}
ICMP6_TWO_WAY = {128: 129, 129: 128, 130: 131, 131: 130, 133: 134, 134: 133, 135: 136, 136: 135, 139: 140, 140: 139,
                 144: 145, 145: 144}


def community_id(source, destination, transport, source_port=None, destination_port=None, icmp=None, seed=0):
    """The id, or None where what is known does not suffice. icmp is (type, code); transport a name or a number."""
    try:
        source = ipaddress.ip_address(source).packed
        destination = ipaddress.ip_address(destination).packed
    except ValueError:
        return None
    if len(source) != len(destination):
        return None
    protocol = PROTOCOLS.get(transport) if isinstance(transport, str) else transport
    if protocol is None:
        return None
    if protocol == 1 and len(source) == 16:
        protocol = 58
    one_way = False
    if protocol in (1, 58):
        if icmp is None or icmp[0] is None:
            return None
        two_way = ICMP4_TWO_WAY if protocol == 1 else ICMP6_TWO_WAY
        source_port = icmp[0]
        if icmp[0] in two_way:
            destination_port = two_way[icmp[0]]
        else:
            if icmp[1] is None:
                return None
            destination_port, one_way = icmp[1], True
    elif protocol in WITH_PORTS and (source_port is None or destination_port is None):
        return None
    if not one_way and (source, source_port or 0) > (destination, destination_port or 0):
        source, destination = destination, source
        source_port, destination_port = destination_port, source_port
    data = struct.pack("!H", seed) + source + destination + struct.pack("!BB", protocol, 0)
    if protocol in WITH_PORTS:
        data += struct.pack("!HH", source_port, destination_port)
    return "1:" + base64.b64encode(hashlib.sha1(data).digest()).decode()
