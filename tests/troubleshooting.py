#!/usr/bin/env python3
"""docs/troubleshooting.tsv has each message of level error and warn and each code of a problem, with cause and cure, and no other.

Messages are taken from the sources: the calls of core_log() and core_log_fail(), and of the functions below that pass their
words on to these. A call whose level or words cannot be followed is a mistake, too: name its function below, or write the words
where they are logged. Prints each mistake; ends with 1 if there was one. With --missing: rows to fill in, for an editor.

Run by ctest as lint.troubleshooting.
SPDX-License-Identifier: Apache-2.0
"""
import collections
import pathlib
import re
import sys

TOP = pathlib.Path(__file__).resolve().parent.parent
TABLE = TOP / "docs/troubleshooting.tsv"
COLUMNS = ["level", "stage", "message", "cause", "cure"]
FOLDERS = "core ingest normalize enrich sinks supervisor cmd".split()
TOLD = {"CORE_LEVEL_ERROR": "error", "CORE_LEVEL_WARN": "warn"}
SILENT = {"CORE_LEVEL_INFO", "CORE_LEVEL_DEBUG"}
STAGES = {"pipeline->source->stage": "feed, run"}  # stages that are no words in the source
SHORT = 25  # characters: less is no cause and no cure

# Functions that log what they are given: in this file (all files of a folder), by this name: which argument is the level (or the
# level itself), the stage, which argument is the message, and what the message becomes.
Wrapper = collections.namedtuple("Wrapper", "path name level stage what form", defaults=["{}"])
WRAPPERS = [
    Wrapper("ingest/feed_commit.c", "say_waiting", "CORE_LEVEL_WARN", '"feed"', 1),
    Wrapper("ingest/", "feed_forget", "CORE_LEVEL_WARN", '"feed"', 1),
    Wrapper("sinks/kafka_txn.c", "say_waiting", "CORE_LEVEL_WARN", '"kafka"', 1),
    Wrapper("sinks/elastic_items.c", "say", 0, '"elastic"', 1),
    Wrapper("supervisor/", "supervisor_tell", 1, '"supervise"', 2),
    Wrapper("cmd/pipeline.c", "end_at_once", "CORE_LEVEL_WARN", "pipeline->source->stage", 1),
    Wrapper("cmd/pipeline_reload.c", "mistakes_log", "CORE_LEVEL_ERROR", "pipeline->source->stage", 2, "{}: …"),
]
# Messages whose words are not ours, by the place of the call: (levels, stage, message).
FOREIGN = {
    ("core/kafka_conf.c", "what"): ("error, warn", "kafka", "librdkafka: …"),  # its own log, by the name of its facility
}


def without_comments(text):
    """The same, with every comment blanked: lines stay where they are."""
    piece = re.compile(r'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\'|/\*.*?\*/|//[^\n]*', re.S)
    return piece.sub(lambda m: re.sub(r"[^\n]", " ", m[0]) if m[0].startswith("/") else m[0], text)


def pieces(text, at, stops, ends):
    """Text from `at` on, cut at each top-level character of `stops`, until a closing bracket or one of `ends`."""
    depth, begin, out = 0, at, []
    while at < len(text):
        c = text[at]
        if c in "\"'":
            at = re.compile(r'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\'').match(text, at).end()
            continue
        if c in "([{":
            depth += 1
        elif c in ")]}" or (depth == 0 and c in ends):
            if depth == 0:
                break
            depth -= 1
        elif depth == 0 and c in stops:
            out.append(" ".join(text[begin:at].split()))
            begin = at + 1
        at += 1
    return out + [" ".join(text[begin:at].split())]


def choices(expression):
    """[(condition, value)]: of `c ? a : b` both, with what decides; of all else the thing itself."""
    question = pieces(expression, 0, "?", "")
    if len(question) < 2:
        return [("", expression)]
    yes, no = pieces("?".join(question[1:]), 0, ":", "")[0], ":".join(pieces("?".join(question[1:]), 0, ":", "")[1:])
    return [(question[0], value) for _, value in choices(yes)] + [("not " + question[0], value) for _, value in choices(no)]


def literal(expression):
    """A string literal's words, each conversion of printf as …; None: it is none."""
    if not re.fullmatch(r'(?:"(?:\\.|[^"\\])*"\s*)+', expression):
        return None
    words = "".join(re.findall(r'"((?:\\.|[^"\\])*)"', expression)).replace('\\"', '"').replace("\\\\", "\\")
    return re.sub(r"%[-+ #0]*(?:\d+|\*)?(?:\.(?:\d+|\*))?(?:hh|h|ll|l|j|z|t)?[a-zA-Z]", "…", words)


class Source:
    """What one file logs."""

    def __init__(self, path):
        self.path = str(path.relative_to(TOP))
        self.text = without_comments(path.read_text())
        self.rows = {}  # (stage, message): {level}
        self.wrong = []

    def is_within(self, at, name):
        """Is this place in the body of the function?"""
        body = re.compile(rf"^[a-z][^;{{}}\n]*\b{name}\([^;{{}}]*\)\s*\{{", re.M)
        return any(m.end() <= at < self.text.index("\n}", m.end()) for m in body.finditer(self.text))

    def take(self, at, level, stage, what, form):
        levels, whats = choices(level), choices(what)
        is_one = len(levels) > 1 and len(whats) > 1 and levels[0][0] == whats[0][0]
        stage = STAGES.get(stage, literal(stage) or stage)
        for why, one in levels:
            if one in SILENT:
                continue
            for because, words in whats:
                if is_one and why != because:
                    continue
                text = literal(words)
                if one not in TOLD or text is None:
                    where = f"{self.path}:{self.text.count(chr(10), 0, at) + 1}"
                    self.wrong.append(f"{where}: cannot follow level {one} or words {words}: see tests/troubleshooting.py")
                    return
                self.rows.setdefault((stage, form.format(text)), set()).add(TOLD[one])

    def read(self):
        mine = [w for w in WRAPPERS if self.path == w.path or (w.path.endswith("/") and self.path.startswith(w.path))]
        for m in re.finditer(r"\bcore_log(?:_fail)?\(", self.text):
            args = pieces(self.text, m.end(), ",", "")
            if (self.path, args[2]) in FOREIGN:
                level, stage, words = FOREIGN[self.path, args[2]]
                self.rows[stage, words] = set(level.split(", "))
            elif not any(self.is_within(m.start(), w.name) for w in mine):
                self.take(m.start(), args[0], args[1], args[2], "{}")
        for w in mine:
            for m in re.finditer(rf"(?<=[\s(]){w.name}\(", self.text):
                args = pieces(self.text, m.end(), ",", "")
                if not re.match(r"(?:struct|const|enum)\b", args[0]):  # else it is declared here
                    self.take(m.start(), args[w.level] if isinstance(w.level, int) else w.level, w.stage, args[w.what], w.form)
        return self


def told():
    """{(stage, message): levels} of the sources, and what is wrong with them."""
    rows, wrong = {}, []
    for folder in FOLDERS:
        for path in sorted((TOP / folder).glob("*.c")):
            if (folder, path.name) == ("core", "log.c"):
                continue
            source = Source(path).read()
            wrong += source.wrong
            for key, levels in source.rows.items():
                rows.setdefault(key, set()).update(levels)
    codes = re.findall(r'^    \{"([a-z_]+)", CORE_HEALTH_(?:ERROR|WARN|INFO)', (TOP / "core/health_rules_table.c").read_text(), re.M)
    if not codes:
        wrong.append("core/health_rules_table.c: no codes are found in it")
    for code in codes:
        rows["health", code] = {"problem"}
    return {key: ", ".join(sorted(levels)) for key, levels in rows.items()}, wrong


def table():
    """The rows of the table, and what is wrong with it."""
    rows, wrong = {}, []
    lines = TABLE.read_text().splitlines()
    if lines[1].split("\t") != COLUMNS:
        wrong.append(f"{TABLE.name}:2: the columns are {' '.join(COLUMNS)}")
    for number, line in enumerate(lines[2:], 3):
        cells = line.split("\t")
        if len(cells) != len(COLUMNS) or any(cell != cell.strip() for cell in cells):
            wrong.append(f"{TABLE.name}:{number}: {len(cells)} cells instead of {len(COLUMNS)}, or spaces around one")
            continue
        level, stage, message, cause, cure = cells
        if (stage, message) in rows:
            wrong.append(f"{TABLE.name}:{number}: {stage} \"{message}\" stands there twice")
        if len(cause) < SHORT or len(cure) < SHORT or cause[-1] not in ".)?" or cure[-1] not in ".)":
            wrong.append(f"{TABLE.name}:{number}: {stage} \"{message}\" has no cause or no cure, in whole sentences")
        rows[stage, message] = level
    return rows, wrong


def main():
    there, wrong = told()
    rows, more = table()
    wrong += more
    missing = [(levels, *key) for key, levels in sorted(there.items()) if key not in rows]
    if "--missing" in sys.argv:
        for row in missing:
            print("\t".join(row))
        return 0
    wrong += [f"{TABLE.name}: there is no row for {levels} {stage} \"{words}\"" for levels, stage, words in missing]
    wrong += [f"{TABLE.name}: nothing in the sources says {key[0]} \"{key[1]}\"" for key in rows if key not in there]
    wrong += [
        f"{TABLE.name}: {key[0]} \"{key[1]}\" is {there[key]}, not {level}"
        for key, level in rows.items()
        if key in there and there[key] != level
    ]
    print("\n".join(wrong) if wrong else f"{len(rows)} rows, as many in the sources")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
