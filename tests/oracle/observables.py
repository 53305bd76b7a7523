# SPDX-License-Identifier: Apache-2.0
"""Which texts of a document intelligence is asked about, by the document's own fields: what Zeek's intel framework looks at
(policy/frameworks/intel/seen), and what the other sensors have of the same kinds. Knows neither the maps nor the program.

  observables.py TAPLINE FOLDER   of golden cases: compares what `tapline map explain` lists with this, record by record
"""
import collections
import ipaddress
import json
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))

# Field of a document -> kinds. A field has the same kinds in every dataset, but for UNLOOKED.
FIELDS = {
    "source.ip": ["ip"], "destination.ip": ["ip"], "host.ip": ["ip"],
    "dns.question.name": ["domain"], "dns.resolved_ip": ["ip"], "zeek.dns.answers": ["domain"],
    "zeek.dns.auth": ["domain"], "zeek.dns.addl": ["domain", "ip"],
    "dns.answers.data": ["domain"],
    "url.domain": ["domain", "ip"], "url.full": ["url"], "http.request.referrer": ["url"],
    "user_agent.original": ["software"], "user.name": ["user"], "file.name": ["file_name"],
    "file.hash.md5": ["file_hash", "cert_hash"], "file.hash.sha1": ["file_hash", "cert_hash"],
    "file.hash.sha256": ["file_hash", "cert_hash"],
    "tls.client.server_name": ["domain"], "tls.client.ja3": ["ja3"], "tls.server.ja3s": ["ja3"],
    "tls.server.hash.sha1": ["cert_hash"], "tls.client.hash.sha1": ["cert_hash"],
    "tls.server.subject": ["email"], "tls.server.x509.subject.common_name": ["domain"],
    "email.sender.address": ["email"], "email.from.address": ["email"], "email.to.address": ["email"],
    "email.cc.address": ["email"], "email.reply_to.address": ["email"], "email.x_mailer": ["software"],
    "file.x509.subject.distinguished_name": ["email"],
    # Zeek's own fields
    "zeek.http.proxied": ["ip"], "zeek.http.orig_filenames": ["file_name"], "zeek.http.resp_filenames": ["file_name"],
    "zeek.http.filename": ["file_name"], "zeek.http.md5": ["file_hash"],
    "zeek.files.tx_hosts": ["ip"], "zeek.files.rx_hosts": ["ip"],
    "zeek.ssl.cert_chain_fps": ["cert_hash"], "zeek.ssl.client_cert_chain_fps": ["cert_hash"],
    "zeek.ssl.cert_hash": ["cert_hash"],
    "zeek.x509.fingerprint": ["cert_hash"], "file.x509.subject.common_name": ["domain"], "zeek.x509.san.dns": ["domain"],
    "zeek.x509.san.uri": ["url"], "zeek.x509.san.email": ["email"], "zeek.x509.san.ip": ["ip"],
    "zeek.smtp.helo": ["domain", "ip"], "zeek.smtp.x_originating_ip": ["ip"], "zeek.smtp.path": ["ip"],
    "zeek.ftp.arg": ["url", "file_name"], "zeek.ftp.data_channel.originating_host": ["ip"], "zeek.ftp.data_channel.response_host": ["ip"],
    "zeek.rdp.cookie": ["user"], "zeek.socks.request.host": ["domain", "ip"], "zeek.socks.bound.host": ["ip"],
    "zeek.socks.bound.name": ["domain"], "zeek.irc.nick": ["user"],
    "zeek.software.name": ["software"], "zeek.software.version.full": ["software"],
    "zeek.ssh.client": ["software"], "zeek.ssh.server": ["software"],
    "zeek.ssh.host_key": ["pubkey_hash"], "zeek.ssh.host_key_fingerprint": ["pubkey_hash"],
    "zeek.smb_files.prev_name": ["file_name"], "zeek.smb_cmd.file.host.tx": ["ip"], "zeek.smb_cmd.file.host.rx": ["ip"],
    "zeek.smb_cmd.file.name": ["file_name"], "zeek.smb_cmd.referenced_file.prev_name": ["file_name"],
    "zeek.radius.framed_addr": ["ip"], "zeek.radius.tunnel_client": ["ip"], "zeek.radius.remote_ip": ["ip"],
    "zeek.dhcp.address.assigned": ["ip"], "zeek.dhcp.address.requested": ["ip"], "zeek.dhcp.client_fqdn": ["domain"],
    "zeek.multicast_participants.participants": ["ip"],
    "zeek.openflow.flow_mod.actions.nw_src": ["ip"], "zeek.openflow.flow_mod.actions.nw_dst": ["ip"],
    # Snort's
    "snort.extra.client_ip": ["ip"], "snort.extra.smtp.filename": ["file_name"], "snort.extra.smtp.mail_from": ["email"],
    "snort.extra.smtp.rcpt_to": ["email"], "snort.extra.http.host": ["domain", "ip"], "snort.extra.ipv6_source": ["ip"],
    "snort.extra.ipv6_destination": ["ip"],
    # Suricata's
    "suricata.eve.tunnel.src_ip": ["ip"], "suricata.eve.tunnel.dest_ip": ["ip"], "suricata.eve.http.redirect": ["url"],
    "suricata.eve.http.xff": ["ip"],
    "suricata.eve.smtp.helo": ["domain", "ip"], "suricata.eve.email.attachment": ["file_name"],
    "suricata.eve.email.url": ["url"], "suricata.eve.ssh.client.software_version": ["software"],
    "suricata.eve.ssh.server.software_version": ["software"], "suricata.eve.ftp_data.filename": ["file_name"],
    "suricata.eve.tftp.file": ["file_name"], "suricata.eve.smb.filename": ["file_name"],
    "suricata.eve.smb.rename.from": ["file_name"], "suricata.eve.smb.rename.to": ["file_name"],
    "suricata.eve.snmp.trap_address": ["ip"], "suricata.eve.dhcp.client_ip": ["ip"],
    "suricata.eve.dhcp.next_server_ip": ["ip"], "suricata.eve.dhcp.requested_ip": ["ip"],
    "suricata.eve.dhcp.dns_servers": ["ip"], "suricata.eve.dhcp.routers": ["ip"],
}
# Of these only: elsewhere the same field is another's (an end of the connection again).
ONLY = {"client.ip": ("suricata.",), "file.path": ("suricata.",), "dns.answers.data": ("suricata.",)}
FIELDS.update({"client.ip": ["ip"], "file.path": ["file_name"]})
# What a new indicator named, told by looking back.
KINDS = "ip domain url email file_hash cert_hash pubkey_hash user file_name software ja3"
FIELDS.update({f"tapline.retro_match.{kind}": [kind] for kind in KINDS.split()})
# SIP's URIs name no host and path.
UNLOOKED = {("zeek.sip", "url.full")}
# Of Suricata's events about a file: it is looked up by its path alone, not by what else calls it the same.
FILE_AGAIN = {"file.name", "suricata.eve.ftp_data.filename", "suricata.eve.smb.filename", "suricata.eve.email.attachment"}
MAXIMUM = 256  # of one record


def values(document, path):
    """The texts at a dotted path, through lists, in their order."""
    if isinstance(document, list):
        return [text for item in document for text in values(item, path)]
    if not path:
        return [document] if isinstance(document, str) and document else []
    return values(document[path[0]], path[1:]) if isinstance(document, dict) and path[0] in document else []


def is_address(text):
    try:
        return "%" not in text and bool(ipaddress.ip_address(text))
    except ValueError:
        return False


def picked(kind, text):
    """The observables in a text."""
    words = [word for word in re.split(r"[ \t\r\n,;=\"'<>()\[\]]+", text) if word]
    if kind == "ip":
        heads = [word if is_address(word) else word.split(":", 1)[0] for word in words]
        return [head for head in heads if is_address(head)]
    if kind == "email":
        return [word for word in words if re.fullmatch(r"[^@]+@.+", word)]
    if kind == "domain":
        name = text.removeprefix("*.")
        return [name] if name and not re.search(r"[ :]|(^|\.)[0-9]+$", name) else []
    if kind == "file_name":
        base = re.split(r"[/\\]", text)[-1]
        return [text] + ([base] if base not in ("", text) else [])
    if kind == "url":
        return [] if text.startswith("/") else [text]
    return [text]


def expected(document):
    dataset = document["event"]["dataset"]
    is_file = document.get("suricata", {}).get("eve", {}).get("event_type") == "fileinfo"
    found = collections.Counter()
    for field, kinds in FIELDS.items():
        if (dataset, field) in UNLOOKED or is_file and field in FILE_AGAIN or not dataset.startswith(ONLY.get(field, ("",))):
            continue
        for text in values(document, field.split(".")):
            if field == "dns.answers.data" and re.search(r"[\x00-\x1f\"\\]", text):
                continue  # no host's name, and an object's text is not unescaped for it
            for kind in kinds:
                found.update((field, kind, part) for part in picked(kind, text))
    return found


def explained(tapline, paths):
    """[(document, observables)] of every record of the logs that makes a document."""
    env = dict(os.environ, TAPLINE_MAPS=os.path.normpath(os.path.join(HERE, "..", "..", "configs")))
    run = subprocess.run([tapline, "map", "explain", "--records", "1000000000", "--", *paths], stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, env=env, check=False)
    if run.returncode != 0:
        raise RuntimeError("%s: %s" % (paths, run.stderr.decode(errors="replace")))
    listed = collections.Counter()
    for line in run.stdout.decode(errors="replace").split("\n"):  # its first line has the record as it stood
        row = re.fullmatch(r"  observable (\S+) +(\S+) +(\".*\")", line)
        end = re.fullmatch(r"  => [a-z0-9_.]+: (\{.*)", line)
        if row:
            listed[(row[1], row[2], json.loads(row[3]))] += 1
        elif end:
            yield json.loads(end[1]), listed
            listed = collections.Counter()


def compare(tapline, paths):
    """(records, observables, problems)"""
    records, count, problems = 0, 0, []
    for document, listed in explained(tapline, paths):
        if document["event"]["dataset"] == "tapline.deadletter":
            continue
        want = expected(document)
        records += 1
        count += sum(listed.values())
        if sum(want.values()) <= MAXIMUM and want != listed:
            place = "%s:%s %s" % (document["log"]["file"]["path"], document["log"]["offset"], document["event"]["dataset"])
            problems.append("%s: not listed: %s; listed too much: %s" % (place, sorted(want - listed), sorted(listed - want)))
    return records, count, problems


def main():
    logs = sorted(os.path.join(place, name) for place, _, names in os.walk(sys.argv[2]) for name in names
                  if name not in ("out.ndjson", "case.json", "CMakeLists.txt"))
    records, count, problems = compare(sys.argv[1], logs)
    for problem in problems[:20]:
        print(problem)
    print("%d records, %d observables, %d records differ" % (records, count, len(problems)))
    return 1 if problems or count < 1000 else 0


if __name__ == "__main__":
    sys.exit(main())
