#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A log is the same log in every form that Zeek can give it. For each row of logs.table a record is made that has every field
its map names, with the types of the map's rows, and written as TSV, as TSV with renamed separators (id_orig_h), as JSON, as
JSON with renamed separators, as nested JSON, and as JSON with ISO times. All six must give the same document, and each value
must stand in it. What a document should be is not known here: that is golden's and the corpus's.

  forms.py TAPLINE CONFIGS
"""
import datetime
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile

TIME = 1600000000
# A field `id` of its own: no record can have that and a connection's, nested.
CONNECTION = "id."
# Fields of every Zeek log that this one cannot have: it says the same in a field of its own.
HAS_NOT = {"broker": ["id.resp_p"], "dhcp": ["id.orig_p", "id.resp_p"], "known_certs": ["proto"],
           "known_services": ["proto"], "x509": ["uid"], "x509_red": ["uid"]}
# A record that names its VLAN twice names the same one.
VLANS = {"vlan": 7, "inner_vlan": 8}


def words(path):
    with open(path, encoding="utf-8") as file:
        for line in file:
            code = re.sub(r"(^|\s)#.*", "", line.rstrip("\n"))
            if code.strip():
                yield code, code.split()


def fields(configs, name):
    """{field: type} of a map and of those it includes; its own rows come first."""
    own, included = {}, {}
    for code, word in words(os.path.join(configs, "maps", name + ".map")):
        if word[0] == "include":
            included.update(fields(configs, word[1]))
        elif not (code.startswith(" ") or word[0] in ("log", "alias", "table", "drop", "-", "*")):
            own.setdefault(word[0], word[1])
    return {**own, **{field: kind for field, kind in included.items() if field not in own}}


def value(kind, number):
    """One value as TSV has it and as JSON has it, its like nowhere else in the record."""
    if kind == "bool":
        return "T", True
    if kind == "addr":
        return ("192.0.2.%d" % (number % 250),) * 2
    if kind == "subnet":
        return ("10.%d.0.0/16" % (number % 250),) * 2
    if kind in ("count", "int", "port"):
        return str(number), number
    if kind == "double":
        return "%d.25" % number, number + 0.25
    if kind == "interval":
        return "%d.500000" % number, number + 0.5
    if kind == "time":
        return "%d.500000" % (TIME + number), TIME + number + 0.5
    return ("Some::Text_%d" % number,) * 2


class Record:
    def __init__(self, log, kinds):
        self.log, self.kinds, self.tsv, self.json = log, kinds, {}, {}
        numbers = itertools.count(1000)
        for field, kind in kinds.items():
            container = re.match(r"(set|vector)\[(\w+)\]", kind)
            if field == "proto":
                pairs = [("tcp", "tcp")]
            elif field.endswith("vlan"):
                pairs = [value(kind, VLANS["inner_vlan" if field.endswith("inner_vlan") else "vlan"])]
            else:
                pairs = [value(container[2] if container else kind, next(numbers)) for _ in range(2 if container else 1)]
            self.tsv[field] = ",".join(tsv for tsv, _ in pairs)
            self.json[field] = [plain for _, plain in pairs] if container else pairs[0][1]

    def as_tsv(self, rename=lambda name: name):
        head = ["#separator \\x09", "#set_separator\t,", "#empty_field\t(empty)", "#unset_field\t-", "#path\t" + self.log,
                "#fields\t" + "\t".join(map(rename, self.tsv)), "#types\t" + "\t".join(self.kinds.values())]
        return "\n".join(head + ["\t".join(self.tsv.values()), ""])

    def as_json(self, rename=lambda name: name):
        return json.dumps({rename(field): plain for field, plain in self.json.items()}) + "\n"

    def as_nested(self):
        whole = {}
        for field, plain in self.json.items():
            *above, last = field.split(".")
            inner = whole
            for part in above:
                inner = inner.setdefault(part, {})
            inner[last] = plain
        return json.dumps(whole) + "\n"

    def as_iso(self):
        return json.dumps({field: iso(plain) if self.kinds[field] == "time" else plain
                           for field, plain in self.json.items()}) + "\n"


def iso(seconds):
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def underscores(name):
    return name.replace(".", "_")


FORMS = {
    "TSV": Record.as_tsv,
    "TSV with underscores": lambda record: record.as_tsv(underscores),
    "JSON": Record.as_json,
    "JSON with underscores": lambda record: record.as_json(underscores),
    "nested JSON": Record.as_nested,
    "JSON with ISO times": Record.as_iso,
}


def records(configs):
    for _, word in words(os.path.join(configs, "logs.table")):
        product, log, name = word[:3]
        if product != "zeek" or "*" in log:
            continue
        without = ["_path", "_stream"] + HAS_NOT.get(log, [])
        kinds = {field: kind for field, kind in fields(configs, name).items() if field not in without}
        if "id" in kinds:
            kinds = {field: kind for field, kind in kinds.items() if not field.startswith(CONNECTION)}
        yield Record(log, kinds)


def documents(tapline, configs, folder, form, all_records):
    """{log: document}; the file's name, where it stands and what is only in JSON's own words left out."""
    paths = []
    for record in all_records:
        paths.append(os.path.join(folder, record.log + ".log"))
        with open(paths[-1], "w", encoding="utf-8") as file:
            file.write(FORMS[form](record))
    run = subprocess.run([tapline, "normalize", "--maps", configs, "--input", "zeek", *paths], capture_output=True, check=True)
    result = {}
    for line in run.stdout.splitlines():
        document = json.loads(line)
        log = os.path.basename(document["log"].pop("file")["path"])[:-len(".log")]
        del document["log"]["offset"]
        result[log] = document
    return result


def leaves(item, path=""):
    if isinstance(item, dict):
        for key in item:
            yield from leaves(item[key], path + "." + key if path else key)
    else:
        yield path, item


def forms_of(plain):
    """What a value may have become on its way."""
    if isinstance(plain, str):
        return {plain, plain.lower(), plain.upper(), plain.split("::")[-1], plain.split("::")[-1].lower()}
    return {plain, str(plain), int(plain * 10 ** 9), iso(plain) if plain > TIME else plain}


def lost(record, document):
    have = set()
    for _, item in leaves(document):
        have.update(item if isinstance(item, list) and not any(isinstance(part, dict) for part in item) else
                    [part for whole in item for part in whole.values()] if isinstance(item, list) else [item])
    for field, plain in record.json.items():
        for part in plain if isinstance(plain, list) else [plain]:
            if not isinstance(part, bool) and not forms_of(part) & have:
                yield "%s: %s = %r is nowhere in the document" % (record.log, field, part)


def differences(log, form, want, have):
    if have is None:
        return ["%s as %s: no document" % (log, form)]
    want, have = dict(leaves(want)), dict(leaves(have))
    return ["%s as %s: %s is %r, and %r as TSV" % (log, form, name, have.get(name), want.get(name))
            for name in sorted(want.keys() | have.keys()) if want.get(name) != have.get(name)]


def main():
    tapline, configs = sys.argv[1:3]
    all_records = list(records(configs))
    problems = [] if len(all_records) > 70 else ["logs.table has only %d Zeek logs" % len(all_records)]
    with tempfile.TemporaryDirectory() as folder:
        made = {form: documents(tapline, configs, folder, form, all_records) for form in FORMS}
    for record in all_records:
        want = made["TSV"].get(record.log)
        if want is None:
            problems.append("%s: no document" % record.log)
            continue
        problems += lost(record, want)
        for form in FORMS:
            problems += differences(record.log, form, want, made[form].get(record.log))
    print("\n".join(problems) or "ok   %d logs, %d fields, in %d forms" % (
        len(all_records), sum(len(record.kinds) for record in all_records), len(FORMS)))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
