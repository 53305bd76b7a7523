# SPDX-License-Identifier: Apache-2.0
"""Reads what Zeek and Snort write, from their documentation and from what they were seen to write; knows nothing of
our schema. A record is a dict of the sensor's own field names; an unset field is not in it.

Values: text is str, numbers are int or Decimal (never float), bools are bool, containers are lists, times and intervals
are Decimal seconds rounded to six digits.
"""
import datetime
import gzip
import json
import re
from decimal import ROUND_HALF_EVEN, Decimal

MICRO = Decimal("0.000001")


class Bad(Exception):
    """A record that cannot be read; the text says why."""


class Record(dict):
    """Fields of one record, with where it stood: log (its name), types and opened (if a header
    said so), start, line."""
    log = None
    opened = None    # by #open, in seconds: when a record without a time cannot be older
    start = 0
    line = 0
    types = None


def file_bytes(path):
    with open(path, "rb") as file:
        head = file.read(2)
    with (gzip.open if head == b"\x1f\x8b" else open)(path, "rb") as file:
        return file.read()


def seconds(text):
    return Decimal(text).quantize(MICRO, rounding=ROUND_HALF_EVEN)


# ---- Zeek's TSV ---------------------------------------------------------------------------------------------------------

ESCAPE = re.compile(rb"\\x([0-9a-fA-F]{2})|\\\\")


def zeek_text(raw):
    r"""A TSV field as the text that Zeek's JSON writer shows for it: escapes undone; in a string that is not UTF-8 every
    byte beyond ASCII stays \xNN; control bytes too, but for the five that JSON has letters for."""
    data = ESCAPE.sub(lambda m: bytes([int(m[1], 16)]) if m[1] else b"\\", raw)
    try:
        text = data.decode("utf-8")
        is_utf8 = True
    except UnicodeDecodeError:
        text = data.decode("latin-1")
        is_utf8 = False
    out = []
    for char in text:
        code = ord(char)
        hidden = (code < 0x20 and char not in "\b\t\n\f\r") or code == 0x7F or (code >= 0x80 and not is_utf8)
        out.append("\\x%02x" % code if hidden else char)
    return "".join(out)


def zeek_scalar(raw, kind):
    text = zeek_text(raw)
    if kind == "bool":
        return {"T": True, "F": False, "1": True, "0": False}[text]
    if kind in ("count", "int", "port"):
        return int(text.split("/")[0])
    if kind in ("time", "interval"):
        return seconds(text)
    if kind == "double":
        return Decimal(text) if Decimal(text).is_finite() else text  # JSON has no number for inf and nan
    return text


def zeek_field(raw, kind, header):
    """None: unset."""
    if raw == header["unset"]:
        return None
    container = re.match(r"(set|vector|table)\[(.*)\]$", kind)
    if not container:
        return "" if raw == header["empty"] else zeek_scalar(raw, kind)
    if raw == header["empty"]:
        return []
    return [None if item == header["unset"] else "" if item == header["empty"] else zeek_scalar(item, container[2])
            for item in raw.split(header["set"])]


def zeek_tsv(data):
    """Yields Record or Bad, one for each line that is no `#` line and not blank."""
    header = {"sep": b"\t", "set": b",", "unset": b"-", "empty": b"(empty)", "path": None, "fields": None, "types": None,
              "open": None}
    position = record_start = 0
    for number, line in enumerate(data.split(b"\n"), 1):
        end = min(position + len(line) + 1, len(data))
        position, text = end, line.rstrip(b"\r")
        if not text:
            continue
        if text.startswith(b"#"):
            zeek_header(text, header)
            continue
        record = Record()
        record.start, record.line, record.log = record_start, number, header["path"]
        record_start = end
        fields = text.split(header["sep"])
        if header["fields"] is None or len(fields) != len(header["fields"]):
            yield Bad("columns differ from #fields")
            continue
        record.opened = header["open"]
        record.types = dict(zip(header["fields"], header["types"]))
        try:
            for raw, name, kind in zip(fields, header["fields"], header["types"]):
                value = zeek_field(raw, kind, header)
                if value is not None:
                    record[name] = value
        except (ArithmeticError, LookupError, ValueError) as error:
            yield Bad("not of its type: %s" % error)
            continue
        renamed = dict(zeek_names(record.items(), ("src", "dst") if record.log in ("notice", "notice_alarm") else ()))
        record.clear()
        record.update(renamed)
        yield record


def zeek_header(line, header):
    if line.startswith(b"#separator"):
        # A new header: what the old one said of markers holds no more.
        header.update(sep=ESCAPE.sub(lambda m: bytes([int(m[1], 16)]), line.split(None, 1)[1]), set=b",", unset=b"-",
                      empty=b"(empty)", path=None, fields=None, types=None, open=None)
        return
    words = line[1:].split(header["sep"])
    key = words[0].decode()
    if key in ("set_separator", "empty_field", "unset_field", "path"):
        value = words[1]
        header[{"set_separator": "set", "empty_field": "empty", "unset_field": "unset", "path": "path"}[key]] = (
            value.decode() if key == "path" else value)
    elif key == "open":
        when = datetime.datetime.strptime(words[1].decode(), "%Y-%m-%d-%H-%M-%S")
        # 1970 is what a Zeek that reads no packets says: nothing.
        header["open"] = int(when.replace(tzinfo=datetime.timezone.utc).timestamp()) or None
    elif key == "close":
        header["fields"] = None
    elif key in ("fields", "types"):
        header[key] = [word.decode() for word in words[1:]]


# ---- Zeek's JSON --------------------------------------------------------------------------------------------------------

def zeek_json(data, log, types_of):
    """types_of(log): what each field is, by Zeek's documentation, as JSON does not say it. Times may be ISO or milliseconds."""
    record_start = position = 0
    for number, line in enumerate(data.split(b"\n"), 1):
        end = min(position + len(line) + 1, len(data))
        position = end
        if not line.strip():
            continue
        record = Record()
        record.start, record.line, record.log = record_start, number, log
        record_start = end
        try:
            fields = json.loads(line.decode("utf-8", "surrogateescape"), parse_float=Decimal, parse_constant=refuse)
        except ValueError as error:
            yield Bad("no JSON: %s" % error)
            continue
        inner = next(iter(fields.values()), None)
        wrapped = next(iter(fields)) if len(fields) == 1 and isinstance(inner, dict) else None
        fields = dict(flat(inner if wrapped else fields))
        record.log = fields.get("_path", fields.get("_stream", wrapped or log))
        record.types = types = types_of(record.log)
        for name, value in zeek_names(fields, types):
            kind = types.get(name)
            if value is None:
                continue
            if value == [""]:
                value = []      # in TSV both are `(empty)`
            if kind == "time":
                value = json_time(value)
            elif kind == "interval":
                value = seconds(value)
            elif kind == "vector[interval]":
                value = [None if item is None else seconds(item) for item in value]
            record[name] = value
        yield record


def refuse(text):
    raise ValueError("%s is no JSON number" % text)


def flat(value, prefix=""):
    """{"id": {"orig_h": …}} is the same as {"id.orig_h": …}."""
    for name, item in value.items():
        if isinstance(item, dict):
            yield from flat(item, prefix + name + ".")
        else:
            yield prefix + name, item


# Other names that endpoints are seen under (Log::default_field_name_map, Log::default_scope_sep).
ENDPOINTS = {"orig_h": ("id_orig_h", "src", "src_ip", "src_addr"), "orig_p": ("id_orig_p", "src_port"),
             "resp_h": ("id_resp_h", "dst", "dst_ip", "dst_addr"), "resp_p": ("id_resp_p", "dst_port")}


def zeek_names(pairs, own=()):
    """own: names that this log has for other things (notice's src and dst)."""
    fields = dict(pairs)
    for end, others in ENDPOINTS.items():
        for other in others:
            if other in fields and "id." + end not in fields and other not in own:
                fields = {"id." + end if name == other else name: value for name, value in fields.items()}
    return fields.items()


def json_time(value):
    if isinstance(value, str):
        if re.match(r"-?\d+(\.\d+)?$", value):
            return seconds(value)
        match = re.match(r"(\d+)-(\d+)-(\d+)T(\d+):(\d+):(\d+)(\.\d+)?Z$", value)
        stamp = datetime.datetime(*map(int, match.groups()[:6]), tzinfo=datetime.timezone.utc)
        return (Decimal(int(stamp.timestamp())) + Decimal(match[7] or 0)).quantize(MICRO)
    if isinstance(value, int) and value >= 2 ** 63:
        value -= 2 ** 64    # Zeek's milliseconds are unsigned: before 1970 they wrap
    if isinstance(value, int) and abs(value) >= 10 ** 11:
        return (Decimal(value) / 1000).quantize(MICRO)
    return seconds(value)


# ---- Snort --------------------------------------------------------------------------------------------------------------

FAST = re.compile(
    r"(?P<timestamp>(?:\d\d/)?\d\d/\d\d-\d\d:\d\d:\d\d\.\d{6}) +\[\*\*\] \[(?P<gid>\d+):(?P<sid>\d+):(?P<rev>\d+)\] "
    r"\"?(?P<msg>.*?)\"? \[\*\*\] (?:\[Classification: (?P<class>[^]]*)\] )?(?:\[Priority: (?P<priority>\d+)\] )?"
    r"(?:\[AppID: (?P<appid>[^]]*)\] )?\{(?P<proto>[^}]*)\} (?P<src>\S*) -> (?P<dst>\S*)$")


def snort_fast(data):
    record_start = position = 0
    for number, line in enumerate(data.split(b"\n"), 1):
        end = min(position + len(line) + 1, len(data))
        position = end
        if not line.strip():
            continue
        start, record_start = record_start, end
        match = FAST.match(line.decode("utf-8", "surrogateescape"))
        if not match:
            yield Bad("not an alert_fast line")
            continue
        record = Record({key: value for key, value in match.groupdict().items() if value and key not in ("src", "dst")})
        record.start, record.line = start, number
        for name in ("gid", "sid", "rev", "priority"):
            if name in record:
                record[name] = int(record[name])
        for side in ("src", "dst"):
            address, port = endpoint(match[side], match["proto"])
            if address:
                record[side + "_addr"] = address
            if port is not None:
                record[side + "_port"] = port
        yield record


def endpoint(text, protocol):
    """10.20.0.2:53, fd20::2:47678, 10.20.0.2 (ICMP has no port), nothing (ARP)."""
    if not text or text == ":0":
        return None, None
    if protocol.upper() in ("TCP", "UDP"):
        address, port = text.rsplit(":", 1)
        return address, int(port)
    return re.sub(r"^(\d+\.\d+\.\d+\.\d+):0$", r"\1", text), None


MSG = re.compile(r'("msg" ?: ?)"(.*?)"(, "[a-z0-9_]+" ?: ?|\s*\})')


def snort_json(data):
    """msg is not escaped by Snort: what stands between its quotes, up to the next key, is the message."""
    record_start = position = 0
    for number, line in enumerate(data.split(b"\n"), 1):
        end = min(position + len(line) + 1, len(data))
        position = end
        if not line.strip():
            continue
        text = line.decode("utf-8", "surrogateescape")
        text = MSG.sub(lambda m: m[1] + json.dumps(m[2]) + m[3], text)
        try:
            record = Record(json.loads(text, parse_float=Decimal))
        except ValueError as error:
            record_start = end
            yield Bad("no JSON: %s" % error)
            continue
        record.start, record.line = record_start, number
        record_start = end
        yield record


# ---- Suricata -----------------------------------------------------------------------------------------------------------

def suricata_eve(data):
    record_start = position = 0
    for number, line in enumerate(data.split(b"\n"), 1):
        end = min(position + len(line) + 1, len(data))
        position = end
        if not line.strip():
            continue
        record = Record(flat(json.loads(line, parse_float=Decimal)))
        record.start, record.line = record_start, number
        record_start = end
        yield record
