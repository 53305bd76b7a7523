# SPDX-License-Identifier: Apache-2.0
"""Zeek's logs whose documents follow from what each field is: one Log a log, read from Zeek's record definitions, ECS and
the names of Elastic's integration. What takes more than a row is a function in expect_zeek_more.

A row is `field > targets`: the field has these names instead of its own; or `field = targets`: these besides its own. A
target that begins with a dot stands below the log's own prefix; the targets related.* are lists."""
import dataclasses
import typing

import expect_zeek_more as more
from document import flow, is_ip, what
from expect_zeek import zeek_common

FLOW = "connection protocol info"


@dataclasses.dataclass
class Log:
    category: str = "network"
    types: str = FLOW
    transport: typing.Optional[str] = None
    protocol: typing.Optional[str] = None
    kind: str = "event"
    rows: str = ""
    times: str = ""             # fields of type time
    intervals: str = ""         # of type interval
    ips: str = ""               # addresses, beside the endpoints
    hosts: str = ""             # names of hosts
    action: typing.Optional[str] = None     # the field that is event.action, as it stands
    success: typing.Optional[str] = None    # the bool that is event.outcome
    host: typing.Optional[str] = None       # the address of the host that the record is about
    ends: tuple = ("id.orig_h", "id.orig_p", "id.resp_h", "id.resp_p")
    clever: typing.Optional[typing.Callable] = None


def read_rows(text):
    for line in text.strip().splitlines():
        name, how, *targets = line.split()
        yield name, how, targets


def expected(log, doc):
    """Fills doc with all but what keep() adds."""
    zeek_common(doc, doc.prefix, log.transport, log.protocol, log.ends)
    if log.clever:
        log.clever(doc)
    what(doc, log.kind, log.category, *log.types.split())
    for name, how, targets in read_rows(log.rows):
        value = doc.shown(name)
        if how == ">":
            doc.taken.add(name)
        for target in targets:
            target = doc.prefix + target if target.startswith(".") else target
            (doc.add if target in LISTS else doc.put)(target, value)
    if log.action:
        doc.put("event.action", doc.get(log.action))
    if log.success:
        doc.put("event.outcome", {True: "success", False: "failure"}.get(doc.get(log.success)))
    if log.host:
        about_host(doc, doc.take(log.host))
    for name in log.ips.split():
        values = doc.get(name)
        doc.add("related.ip", *[value for value in (values if isinstance(values, list) else [values]) if is_ip(value)])
    for name in log.hosts.split():
        doc.add("related.hosts", doc.get(name))
    flow(doc)


LISTS = ("related.ip", "related.hosts", "related.user", "related.hash", "host.ip", "network.application")


def about_host(doc, address):
    doc.add("host.ip", address)
    doc.add("related.ip", address)
    doc.put("network.type", None if address is None else "ipv6" if ":" in address else "ipv4")


# ---- files, authentication --------------------------------------------------------------------------------------------------

ROWS = {}

ROWS["pe"] = Log("file", "info", times="compile_ts", rows="compile_ts > .compile_time")

ROWS["ocsp"] = Log("file", "info", "tcp", times="revoketime thisUpdate nextUpdate", rows="""
id > .file_id
hashAlgorithm > .hash.algorithm
issuerNameHash > .hash.issuer.name related.hash
issuerKeyHash > .hash.issuer.key related.hash
serialNumber > .serial_number
certStatus > .status
revoketime > .revoke.date
revokereason > .revoke.reason
thisUpdate > .update.this
nextUpdate > .update.next""")

ROWS["kerberos"] = Log("network authentication", "connection protocol access", None, "kerberos", times="from till",
                       action="request_type", success="success", clever=more.kerberos, rows="""
till > .valid.until
from > .valid.from
error_code > .error.code
error_msg > .error.msg
auth_ticket > .ticket.auth
new_ticket > .ticket.new""")

ROWS["ntlm"] = Log("network authentication", "connection info", "tcp", "ntlm", success="success", rows="""
domainname > .domain user.domain
server_dns_computer_name > .server.name.dns
server_nb_computer_name > .server.name.netbios
server_tree_name > .server.name.tree
username = user.name related.user""", hosts="hostname server_dns_computer_name server_nb_computer_name")

ROWS["radius"] = Log("network authentication", "connection info", "udp", "radius", intervals="ttl", clever=more.radius,
                     ips="framed_addr remote_ip", rows="username = user.name related.user")

# ---- sessions ---------------------------------------------------------------------------------------------------------------

ROWS["ftp"] = Log(transport="tcp", protocol="ftp", action="command", clever=more.ftp, rows="""
file_size > file.size
mime_type > file.mime_type
fuid > .file.uid
reply_code > .reply.code
reply_msg > .reply.msg
data_channel.orig_h > .data_channel.originating_host
data_channel.orig_p > .data_channel.originating_port
data_channel.resp_h > .data_channel.response_host
data_channel.resp_p > .data_channel.response_port""", ips="data_channel.orig_h data_channel.resp_h")

ROWS["irc"] = Log(transport="tcp", protocol="irc", action="command", rows="""
user > user.name related.user
nick = related.user
dcc_file_name > file.name
dcc_file_size > file.size
dcc_mime_type > file.mime_type""")

ROWS["socks"] = Log(types="connection protocol", transport="tcp", protocol="socks", clever=more.socks, rows="""
user = user.name related.user
request_p > .request.port
bound_p > .bound.port""", ips="request.host bound.host", hosts="request.name bound.name")

ROWS["tunnel"] = Log(types="connection", action="action", rows="tunnel_type > .type")

ROWS["rdp"] = Log(types="protocol info", transport="tcp", protocol="rdp", hosts="client_name", clever=more.rdp, rows="""
client_build > .client.build
client_name > .client.name
client_dig_product_id > .client.product_id
desktop_width > .desktop.width
desktop_height > .desktop.height
requested_color_depth > .desktop.color_depth
cert_type > .cert.type
cert_count > .cert.count
cert_permanent > .cert.permanent
encryption_level > .encryption.level
encryption_method > .encryption.method
ssl = tls.established""")

ROWS["rfb"] = Log(types="connection info", transport="tcp", protocol="rfb", success="auth", rows="""
client_major_version > .version.client.major
client_minor_version > .version.client.minor
server_major_version > .version.server.major
server_minor_version > .version.server.minor
auth > .auth.success
authentication_method > .auth.method""")

ROWS["sip"] = Log(types="connection protocol", transport="udp", protocol="sip", action="method", clever=more.sip, rows="""
trans_depth > .transaction_depth
method > .sequence.method
request_from > .request.from
request_to > .request.to
request_path > .request.path
request_body_len > .request.body_length
response_from > .response.from
response_to > .response.to
response_path > .response.path
response_body_len > .response.body_length
status_code > .status.code
status_msg > .status.msg
uri = url.full
user_agent = user_agent.original""")

ROWS["snmp"] = Log(types="connection protocol", transport="udp", protocol="snmp", times="up_since", intervals="duration",
                   clever=more.duration, rows="""
get_requests > .get.requests
get_bulk_requests > .get.bulk_requests
get_responses > .get.responses
set_requests > .set.requests""")

ROWS["ntp"] = Log(transport="udp", protocol="ntp", times="ref_time org_time rec_time xmt_time",
                  intervals="poll precision root_delay root_disp")

ROWS["quic"] = Log(transport="udp", protocol="quic", rows="""
server_name > tls.client.server_name destination.domain related.hosts
client_protocol > tls.next_protocol""")

ROWS["websocket"] = Log("network web", transport="tcp", protocol="websocket", clever=more.websocket,
                        rows="user_agent > user_agent.original")

ROWS["smtp_entities"] = Log("network email file", transport="tcp", protocol="smtp", rows="""
trans_depth > .transaction_depth
filename > file.name
content_len > file.size
mime_type > file.mime_type
md5 > file.hash.md5 related.hash""")

ROWS["syslog"] = Log(protocol="syslog", clever=more.syslog, rows="message > .msg message")

# ---- Windows ----------------------------------------------------------------------------------------------------------------

ROWS["dce_rpc"] = Log(transport="tcp", protocol="dce_rpc", action="operation", intervals="rtt",
                      clever=more.round_trip)

ROWS["smb_mapping"] = Log(types="connection protocol", transport="tcp", protocol="smb")

FILE_TIMES = "times.modified times.accessed times.created times.changed"

ROWS["smb_files"] = Log("network file", "connection protocol", "tcp", "smb", action="action", times=FILE_TIMES,
                        clever=more.smb_files, rows="""
name = file.name
size = file.size
times.accessed = file.accessed
times.changed = file.ctime
times.created = file.created
times.modified = file.mtime""")

ROWS["smb_cmd"] = Log(types="connection protocol", transport="tcp", protocol="smb", action="command", intervals="rtt",
                      times=" ".join("referenced_file." + name for name in ("ts " + FILE_TIMES).split()),
                      clever=more.smb_cmd, rows="""
username = user.name related.user
referenced_file.uid > .file.uid
referenced_file.id.orig_h > .file.host.tx
referenced_file.id.resp_h > .file.host.rx
referenced_file.name > .file.name
referenced_file.path > .file.path
referenced_file.action > .file.action""", ips="referenced_file.id.orig_h referenced_file.id.resp_h")

ROWS["ldap"] = Log(protocol="ldap", clever=more.ldap)
ROWS["ldap_search"] = Log(protocol="ldap", clever=more.ldap_search)

# ---- databases, queues, plants ----------------------------------------------------------------------------------------------

ROWS["mysql"] = Log("network database", "connection protocol", "tcp", "mysql", action="cmd", success="success",
                    clever=more.mysql)
ROWS["postgresql"] = Log("database network", "connection protocol", "tcp", "postgresql", success="success",
                         clever=more.postgresql, rows="user > user.name related.user")
ROWS["redis"] = Log("database network", "connection protocol", "tcp", "redis", success="success", clever=more.redis)

ROWS["mqtt_connect"] = Log(types="connection protocol start", transport="tcp", protocol="mqtt", clever=more.mqtt_connect)
ROWS["mqtt_publish"] = Log(transport="tcp", protocol="mqtt", clever=lambda doc: doc.put("event.action", "publish"))
ROWS["mqtt_subscribe"] = Log(transport="tcp", protocol="mqtt", success="ack", clever=more.mqtt_subscribe)

ROWS["modbus"] = Log(types="connection protocol", transport="tcp", protocol="modbus", action="func", clever=more.modbus,
                     rows="func > .function")
ROWS["modbus_register_change"] = Log(types="connection protocol change", transport="tcp", protocol="modbus",
                                     intervals="delta",
                                     clever=lambda doc: doc.put("event.action", "modbus_register_change"))
ROWS["dnp3"] = Log(transport="tcp", protocol="dnp3", clever=more.dnp3, rows="""
fc_request > .function.request
fc_reply > .function.reply
iin > .id""")

# ---- what is known ----------------------------------------------------------------------------------------------------------

ROWS["software"] = Log("network file", "info", host="host", rows="""
software_type > .type
unparsed_version > .version.full
version.addl > .version.additional""")
ROWS["known_hosts"] = Log("network host", "info", host="host")
ROWS["known_modbus"] = Log("network host", "info", host="host")
ROWS["known_devices"] = Log("network host", "info", host="host", clever=more.known_devices,
                            rows="dhcp_host_name > host.hostname related.hosts")
ROWS["known_services"] = Log("network", "info", host="host", clever=more.known_services,
                             rows="host > server.ip\nport_num > server.port")
ROWS["known_certs"] = Log("network file", "info", host="host", clever=more.known_certs, rows="""
host > server.ip
port_num > server.port
serial > tls.server.x509.serial_number""")
ROWS["known_users"] = Log("authentication", "info", host="host_ip", clever=more.known_users,
                          rows="user > user.name related.user")

# ---- judgements -------------------------------------------------------------------------------------------------------------

ROWS["intel"] = Log("threat", "indicator", kind="enrichment", clever=more.intel)
ROWS["signatures"] = Log("network", "info", kind="alert",
                         rows="sig_id > rule.id rule.name\nevent_msg > rule.description")
ROWS["dpd"] = ROWS["analyzer"] = ROWS["analyzer_debug"] = Log(types="connection info")
ROWS["unknown_protocols"] = Log(types="connection info")
ROWS["traceroute"] = Log(types="info")

# ---- what Zeek tells of itself ----------------------------------------------------------------------------------------------

METRIC = dict(category="", types="info", kind="metric")
for name in ("weird_stats", "capture_loss", "telemetry", "telemetry_histogram", "app_stats", "prof"):
    ROWS[name] = Log(intervals="ts_delta", **METRIC)
ROWS["stats"] = Log(intervals="pkt_lag", **METRIC, rows="""
mem > .memory
pkts_proc > .packets.processed
pkts_dropped > .packets.dropped
pkts_link > .packets.received
bytes_recv > .bytes.received
tcp_conns > .connections.tcp.count
active_tcp_conns > .connections.tcp.active
udp_conns > .connections.udp.count
active_udp_conns > .connections.udp.active
icmp_conns > .connections.icmp.count
active_icmp_conns > .connections.icmp.active
events_proc > .events.processed
events_queued > .events.queued
timers > .timers.count
active_timers > .timers.active
files > .files.count
active_files > .files.active
dns_requests > .dns_requests.count
active_dns_requests > .dns_requests.active
reassem_tcp_size > .reassembly_size.tcp
reassem_file_size > .reassembly_size.file
reassem_frag_size > .reassembly_size.frag
reassem_unknown_size > .reassembly_size.unknown
pkt_lag > .timestamp_lag""")

ROWS["reporter"] = Log("process", "", clever=more.reporter, rows="message > message")
ROWS["cluster"] = Log("process", "info", rows="message > message")
ROWS["broker"] = Log("process", "info", clever=more.broker, rows="message > message\npeer.bound_port > destination.port")
ROWS["communication"] = Log("process", "info", clever=more.communication, rows="message > message",
                            ips="connected_peer_addr")
ROWS["print"] = Log("process", "info", clever=more.printed)
ROWS["config"] = Log("configuration", "change")
ROWS["loaded_scripts"] = Log("library", "info")
ROWS["packet_filter"] = Log("configuration", "info", success="success")

# ---- what Zeek tells others to do -------------------------------------------------------------------------------------------

ROWS["netcontrol"] = Log("network configuration", "", intervals="expire", clever=more.netcontrol, rows="msg > message")
ROWS["netcontrol_drop"] = Log("network", "denied", intervals="expire", ends=("orig_h", "orig_p", "resp_h", "resp_p"),
                              clever=lambda doc: doc.put("event.action", "drop"))
ROWS["netcontrol_shunt"] = Log("network", "info", intervals="expire", ends=("f.src_h", "f.src_p", "f.dst_h", "f.dst_p"),
                               clever=lambda doc: doc.put("event.action", "shunt"))
ROWS["netcontrol_catch_release"] = Log("network", "denied", intervals="block_interval watch_interval",
                                       times="blocked_until watched_until", clever=more.catch_release,
                                       rows="message > message")
ROWS["openflow"] = Log("network", "change", clever=more.openflow, ips="flow_mod.actions.nw_src flow_mod.actions.nw_dst")


def types_of(log):
    """What JSON does not say of a log's fields."""
    return {name: kind for kind, names in (("time", log.times), ("interval", log.intervals)) for name in names.split()}
