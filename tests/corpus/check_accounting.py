# SPDX-License-Identifier: Apache-2.0
"""Over every file of the corpus: no crash; each record line is a document or a dead letter, exactly once, in order; every
document is valid and has what every document has; every dead letter says something that is true of its line."""
import base64
import ipaddress
import json
import os
import re
import tempfile
import zlib

import compare
import sensors
import sensors_snort

LINE_BYTES_MAX = 1 << 20
DEAD_RAW_BYTES_MAX = 64 << 10

KINDS = {"event", "alert", "enrichment", "metric"}
CATEGORIES = {"authentication", "configuration", "database", "email", "file", "host", "intrusion_detection", "library", "network",
              "process", "session", "threat", "web"}
TYPES = {"access", "allowed", "change", "connection", "deletion", "denied", "end", "error", "indicator", "info", "protocol",
         "start"}
STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")


FOLDERS = ("zeek", "snort", "suricata", "ours/zeek", "ours/snort3", "ours/suricata")
NO_LOGS = (".md", ".map", ".config")
DEAD = os.path.join(os.path.dirname(os.path.abspath(__file__)), "dead_letters.txt")
# The list that ours/snort3/csv-all was written with.
CSV_ALL = ("timestamp,seconds,action,class,b64_data,client_bytes,client_pkts,dir,dst_addr,dst_ap,dst_port,eth_dst,eth_len,eth_src,"
           "eth_type,flowstart_time,geneve_vni,gid,icmp_code,icmp_id,icmp_seq,icmp_type,iface,ip_id,ip_len,msg,mpls,pkt_gen,"
           "pkt_len,pkt_num,priority,proto,rev,rule,server_bytes,server_pkts,service,sgt,sid,src_addr,src_ap,src_port,target,"
           "tcp_ack,tcp_flags,tcp_len,tcp_seq,tcp_win,tos,ttl,udp_len,vlan")


def check(tapline, data):
    problems = []
    records = dead = files = 0
    listed = dead_list()
    for folder in FOLDERS:
        for place, _, names in sorted(os.walk(os.path.join(data, folder))):
            for name in sorted(name for name in names if not name.endswith(NO_LOGS)):
                facts = Facts(os.path.join(place, name))
                shown = os.path.relpath(facts.path, data)
                wrong, letters = check_file(tapline, facts)
                if letters != listed.pop(shown, []):
                    wrong.append("its dead letters are %s" % letters[:5])
                problems += ["%s: %s" % (shown, line) for line in wrong[:5]]
                files, records, dead = files + 1, records + len(facts.records), dead + len(letters)
    problems += ["%s: listed in dead_letters.txt, not found" % shown for shown in listed]
    print("    %d files, %d records, %d dead letters" % (files, records, dead))
    if files < 930 or records < 94000:
        problems.append("only %d files with %d records were found" % (files, records))
    return problems


def dead_list():
    """dead_letters.txt: file -> [(number of the record, what is wrong with it)]."""
    out = {}
    with open(DEAD, encoding="utf-8") as file:
        for line in file:
            if line.startswith("#"):
                continue
            name, numbers, reason = line.rstrip("\n").split("\t")
            for part in numbers.split(","):
                first, _, last = part.partition("-")
                out.setdefault(name, []).extend((number, reason) for number in range(int(first), int(last or first) + 1))
    return {name: sorted(entries) for name, entries in out.items()}


# ---- what a file holds, found out without the program --------------------------------------------------------------------

class Line:
    """A record line: its text, number, start (with the `#` lines before it), and the header in force."""

    def __init__(self, text, number, start, header):
        self.text, self.number, self.start, self.header = text, number, start, header


class Facts:
    def __init__(self, path):
        self.path = path
        self.damaged = False
        self.records = []
        self.args = ["--csv-fields", CSV_ALL] if "csv-all" in path else []
        data = self.read()
        pieces = self.pieces(data)
        if pieces is not None:
            self.records = [Line(text, number, start, {"fields": None}) for number, (start, text) in enumerate(pieces, 1)]
            return
        header = {"sep": b"\t", "fields": None}
        position = start = 0
        for number, raw in enumerate(data.split(b"\n"), 1):
            position += len(raw) + 1
            text = raw.lstrip(b"\0").removesuffix(b"\r")
            if text.startswith(b"#"):
                header = header_after(header, text)
            elif text:
                self.records.append(Line(text, number, start, header))
                start = position

    def pieces(self, data):
        """Of a form whose records are no lines."""
        folder = os.path.basename(os.path.dirname(self.path))
        if folder.startswith("unified2"):
            return list(sensors_snort.unified2_pieces(data))
        if folder in ("full", "cmg"):
            begins = sensors_snort.is_full if folder == "full" else sensors_snort.is_cmg
            return [(start, "\n".join(lines).encode("utf-8", "surrogateescape"))
                    for start, lines in sensors_snort.pieces(data, begins)]
        return None

    def read(self):
        with open(self.path, "rb") as file:
            data = file.read()
        if not data.startswith(b"\x1f\x8b"):
            return data
        out = b""
        while data:
            stream = zlib.decompressobj(31)
            try:
                out += stream.decompress(data) + stream.flush()
            except zlib.error:
                stream = None
            if stream is None or not stream.eof:
                self.damaged = True
                return out
            data = stream.unused_data
        return out


def header_after(header, text):
    """#fields and #separator; a new #separator begins a new header."""
    if text.startswith(b"#separator"):
        words = text.split(b" ", 1)
        sep = re.sub(rb"\\x([0-9a-fA-F]{2})", lambda m: bytes([int(m[1], 16)]), words[1]) if len(words) > 1 else b""
        return {"sep": sep or b"\t", "fields": None}
    words = text.split(header["sep"])
    if words[0] == b"#close":
        return dict(header, fields=None)
    if words[0] == b"#fields":
        return dict(header, fields=len(words) - 1)
    return header


# ---- one file --------------------------------------------------------------------------------------------------------------

def check_file(tapline, facts):
    with tempfile.TemporaryDirectory() as scratch:
        run = compare.Run(tapline, facts.args + [facts.path], dead_letter=os.path.join(scratch, "dead"))
    if run.code != 0:
        return ["exit code %d: %s" % (run.code, run.err.strip()[-600:])], []
    problems = []
    if facts.damaged and os.path.basename(facts.path) not in run.err:
        problems.append("damaged, and stderr does not name it: " + run.err.strip())
    documents = read_lines(run.out, "document", problems)
    letters = read_lines(run.dead, "dead letter", problems)
    if problems:
        return problems, []
    for doc in documents:
        problems += document_problems(doc, facts.path)
    if facts.damaged:
        letters = without_damage(letters, problems)
    problems += accounts(facts, [doc["log"]["offset"] for doc in documents], letters)
    by_start = {line.start: line for line in facts.records}
    entries = [] if not facts.damaged else [(0, "damaged gzip data")]
    for letter in letters:
        line = by_start.get(letter.get("log", {}).get("offset"))
        if line is None:
            problems.append("a dead letter of no record line: %s" % letter)
        else:
            wrong, kind = letter_problems(letter, line)
            problems += wrong
            entries.append((line.number, kind))
    return problems, entries


def without_damage(letters, problems):
    """What could not be read of a damaged .gz is one dead letter more: the last, of no line."""
    if not letters or "line" in letters[-1]["log"]["file"] or "damaged gzip data" not in letters[-1]["error"]["message"]:
        problems.append("the file is damaged, and no dead letter says so: %s" % letters[-1:])
        return letters
    return letters[:-1]


def read_lines(data, what, problems):
    out = []
    if data and not data.endswith(b"\n"):
        problems.append("the last %s does not end" % what)
    for number, line in enumerate(data.split(b"\n")[:-1], 1):
        try:
            out.append(compare.load(line))
        except ValueError as error:
            problems.append("%s %d is no UTF-8 JSON: %s" % (what, number, error))
    return out


def accounts(facts, offsets, letters):
    """Records in = documents + dead letters, by where each begins."""
    problems = []
    dead = [letter["log"]["offset"] for letter in letters]
    starts = [line.start for line in facts.records]
    # In a damaged .gz the line that the damage cuts may or may not be given.
    if facts.damaged and len(offsets) + len(dead) == len(starts) - 1:
        starts.pop()
    if offsets != sorted(set(offsets)) or dead != sorted(set(dead)):
        problems.append("documents or dead letters are out of order or doubled")
    if sorted(offsets + dead) != starts:
        lost = sorted(set(starts) - set(offsets) - set(dead))[:3]
        more = sorted((set(offsets) | set(dead)) - set(starts))[:3]
        problems.append("%d records, %d documents and %d dead letters; lost at %s, not in the file at %s"
                        % (len(starts), len(offsets), len(dead), lost, more))
    return problems


# ---- documents -------------------------------------------------------------------------------------------------------------

def document_problems(doc, path):
    event, problems = doc.get("event", {}), []
    if not STAMP.match(str(doc.get("@timestamp"))):
        problems.append("@timestamp %s" % doc.get("@timestamp"))
    if event.get("kind") not in KINDS:
        problems.append("event.kind %s" % event.get("kind"))
    for name, allowed in (("category", CATEGORIES), ("type", TYPES)):
        values = event.get(name)
        if values is None and name == "category" and event.get("kind") == "metric":
            continue
        if not isinstance(values, list) or not values or not set(values) <= allowed or len(values) != len(set(values)):
            problems.append("event.%s %s" % (name, values))
    if not str(event.get("dataset")).startswith(str(event.get("module")) + "."):
        problems.append("event.dataset %s, event.module %s" % (event.get("dataset"), event.get("module")))
    if doc.get("ecs", {}).get("version") is None or doc.get("log", {}).get("file", {}).get("path") != path:
        problems.append("ecs.version or log.file.path: %s" % doc.get("log"))
    for name, values in doc.get("related", {}).items():
        if not isinstance(values, list) or not values or len(values) != len(set(values)):
            problems.append("related.%s %s" % (name, values))
    for ip in [doc.get(side, {}).get("ip") for side in ("source", "destination", "client", "server")] + doc.get(
            "related", {}).get("ip", []) + doc.get("dns", {}).get("resolved_ip", []):
        if ip is not None and not is_ip(ip):
            problems.append("%s is no IP address" % ip)
    return ["offset %s: %s" % (doc.get("log", {}).get("offset"), problem) for problem in problems]


def is_ip(text):
    try:
        ipaddress.ip_address(text)
        return True
    except ValueError:
        return False


# ---- dead letters ----------------------------------------------------------------------------------------------------------

def letter_problems(letter, line):
    problems = []
    ours = letter.get("tapline", {})
    if "original_base64" in ours:
        raw = base64.b64decode(ours["original_base64"])
    else:
        raw = letter["event"]["original"].encode("utf-8", "surrogateescape")
    if raw != line.text[:len(raw)] or (raw != line.text and len(line.text) <= DEAD_RAW_BYTES_MAX):
        problems.append("its raw bytes are not the line's: %r" % raw[:100])
    if letter["event"].get("kind") != "pipeline_error" or letter["event"].get("dataset") != "tapline.deadletter":
        problems.append("event of a dead letter: %s" % letter["event"])
    reason = letter["error"]["message"]
    kind = None
    for pattern, name, is_true in REASONS:
        match = re.search(pattern, reason, re.S)
        if match:
            kind = name
            if not is_true(line, match):
                problems.append("its reason is not true: %s" % reason)
            break
    else:
        problems.append("a reason that this test does not know how to check: %s" % reason)
    return ["record %d: %s: %r" % (line.number, problem, line.text[:150]) for problem in problems], kind


def json_value(line):
    """What Python makes of the line; None where it refuses."""
    try:
        return json.loads(line.text.decode("utf-8", "surrogateescape"), parse_constant=compare.refuse)
    except ValueError:
        return None


def no_header(line, _match):
    return line.header["fields"] is None and not isinstance(json_value(line), dict)


def no_sensor(line, match):
    text = line.text.decode("utf-8", "surrogateescape")
    return no_header(line, match) and not sensors.FAST.match(text)


def other_columns(line, match):
    came, header = int(match[1]), int(match[2])
    return came != header and header == line.header["fields"] and came == len(line.text.split(line.header["sep"]))


def no_json(line, _match):
    return line.text.startswith(b"{") and json_value(line) is None


def no_number(text):
    return not re.fullmatch(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?", text)


def out_of_range(text, low, high):
    return not re.fullmatch(r"[+-]?\d+", text) or not low <= int(text) <= high


NOT_OF_TYPE = {
    "bool": lambda text: text not in ("T", "F", "true", "false", "1", "0"),
    "count": lambda text: out_of_range(text, 0, 2 ** 64 - 1),
    "int": lambda text: out_of_range(text, -2 ** 63, 2 ** 63 - 1),
    "port": lambda text: out_of_range(re.sub(r"/\w+$", "", text), 0, 65535),
    "double": no_number,
    "interval": no_number,
    "time": lambda text: no_number(text) and not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:?\d\d)", text),
}


def not_of_type(line, match):
    """field NAME: "TEXT" is no TYPE. The text must stand in the line, and not be of the type."""
    name, text, kind = match[1], match[2], match[3]
    if kind not in NOT_OF_TYPE:
        return False
    if name.encode() not in line.text and line.header["fields"] is None:
        return False
    bare = text.removesuffix("…")
    stands = bare.encode() in line.text or bare.encode("unicode_escape") in line.text
    return stands and NOT_OF_TYPE[kind](text)


def too_long(line, match):
    return int(match[1]) == LINE_BYTES_MAX < len(line.text)


def no_fast_alert(line, _match):
    return not sensors.FAST.match(line.text.decode("utf-8", "surrogateescape"))


def cut_off(line, match):
    """So many bytes of its last record, or of that one's header, are missing."""
    *_, (start, kind, body) = sensors_snort.unified2_records(line.text)
    left = len(line.text) - start
    missing = 8 - left if left < 8 else int.from_bytes(line.text[start + 4:start + 8], "big") - len(body)
    return kind is None and missing == int(match[1])


REASONS = (
    (r"^neither Zeek TSV", "no log", no_sensor),
    (r"^no #fields header", "no log", no_header),
    (r"^(\d+) columns, and the header above has (\d+)", "columns", other_columns),
    (r"^no JSON", "no JSON", no_json),
    (r"^field (\S+): \"(.*)\" is no (\w+)", "type", not_of_type),
    (r"^the line is longer than the maximum of (\d+) bytes", "too long", too_long),
    (r"^an alert without ", "no alert", no_fast_alert),
    (r"^cut off: (\d+) bytes of a unified2 record", "cut off", cut_off),
)
