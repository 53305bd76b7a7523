"""Who is right about indicators: Zeek's own intelligence framework, and a matcher that knows nothing of the program
(tests/oracle/intel.py), against `tapline run` with a real Redis and with files of its own.
SPDX-License-Identifier: Apache-2.0
"""
import collections
import csv
import datetime
import gzip
import json
import math
import os
import pathlib
import re
import sys
import time

import pytest

import rig

sys.path.insert(0, str(rig.TOP / "tests" / "oracle"))
import intel  # noqa: E402
import intel_sample  # noqa: E402
import observables  # noqa: E402

DATA = pathlib.Path(os.environ.get("TAPLINE_DATA", rig.TOP.parent / "shared" / "data"))
OURS = DATA / "ours"
KINDS = {"ADDR": "ip", "SUBNET": "cidr", "DOMAIN": "domain", "URL": "url", "EMAIL": "email", "FILE_HASH": "file_hash",
         "CERT_HASH": "cert_hash", "PUBKEY_HASH": "pubkey_hash", "SOFTWARE": "software", "FILE_NAME": "file_name",
         "USER_NAME": "user"}


@pytest.fixture(scope="module", autouse=True)
def data():
    if not OURS.is_dir():
        assert os.environ.get("CI") != "true", f"no data at {DATA} (set TAPLINE_DATA)"
        pytest.skip(f"NO DATA at {DATA}: nothing of intelligence's truth is tested here")


def zeek_rows(path):
    """The lines of a file of Zeek's intelligence framework, as it documents them, each a dict."""
    names = []
    with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8", errors="replace") as lines:
        for line in lines:
            cells = line.rstrip("\n").split("\t")
            if cells[0] == "#fields":
                names = cells[1:]
            elif cells[0][:1] not in ("#", ""):
                yield {name: cell for name, cell in zip(names, cells) if cell not in ("-", "(empty)", "")}


def seconds(text):
    """ISO date or time."""
    when = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    return int((when if when.tzinfo else when.replace(tzinfo=datetime.timezone.utc)).timestamp())


def rows_of(path):
    """The same as rows of intel.Store: what CIF's columns say becomes ours, its confidence is of 100."""
    for row in zeek_rows(path):
        if row.get("meta.remove") == "T" or row.get("meta.whitelist") == "T":
            continue  # it says that this is no indicator
        texts = [row[name] for name in ("meta.desc", "meta.cif_description") if name in row]
        yield {"type": KINDS[row["indicator_type"].removeprefix("Intel::")], "value": row["indicator"],
               "provider": row.get("meta.source", "").strip() or None, "description": "; ".join(texts) or None, "reference": row.get("meta.url"),
               "tags": row.get("meta.cif_tags", ""),
               "confidence": math.floor(float(row["meta.cif_confidence"]) + 0.5) / 10 if "meta.cif_confidence" in row else None,
               "first_seen": seconds(row["meta.cif_firstseen"]) if "meta.cif_firstseen" in row else None,
               "last_seen": seconds(row["meta.cif_lastseen"]) if "meta.cif_lastseen" in row else None}


# ---- runs ------------------------------------------------------------------------------------------------------------


def config(folder, name, inputs, **sections):
    sinks = {"file": {"path": str(folder / f"{name}.ndjson"), "sync_interval": "1s"}}
    return rig.config_write(folder / f"{name}.yml", inputs, sinks, **sections)


def run(folder, name, inputs, **sections):
    """The documents of one run over all of the inputs, by file and offset."""
    if "intel" in sections:  # looking back makes documents of its own; Redis may be late on a busy machine
        sections["intel"] = dict(sections["intel"], lookback={"days": 0}, timeout="10s")
    path = config(folder / name, name, inputs, **sections)
    summary = rig.run_once(path, timeout=600)
    with open(folder / name / f"{name}.ndjson", "rb") as lines:
        documents = [json.loads(line) for line in lines]
    found = {(one["log"]["file"]["path"], one["log"]["offset"], one["event"].get("id")): one for one in documents}
    return documents, found, summary


def load(path, *args):
    done = rig.tapline("intel", args[0], "-c", path, *args[1:], timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout


# ---- Zeek ------------------------------------------------------------------------------------------------------------

# What Zeek's framework hit in what no log of its shows:
HIDDEN = {
    ("SMTP::IN_MESSAGE", "Intel::URL"): (3, "a URL in the body of a mail, which Zeek writes to no log"),
    ("X509::IN_CERT", "Intel::CERT_HASH"): (2, "the SHA-1 of a certificate: since Zeek 5 files.log has no certificates, and "
                                               "x509.log's fingerprint is the SHA-256"),
}
# Logs in which a hit at that place must show, by the connection's uid; by nothing but the value where the log names none.
LOGS = {
    "Conn::IN_ORIG": ["zeek.connection"], "Conn::IN_RESP": ["zeek.connection"], "DNS::IN_REQUEST": ["zeek.dns"],
    "DNS::IN_RESPONSE": ["zeek.dns"], "HTTP::IN_HOST_HEADER": ["zeek.http"], "HTTP::IN_USER_AGENT_HEADER": ["zeek.http"],
    "HTTP::IN_URL": ["zeek.http"], "HTTP::IN_REFERRER_HEADER": ["zeek.http"], "Files::IN_HASH": ["zeek.files"],
    "Files::IN_NAME": ["zeek.files"], "SSL::IN_SERVER_NAME": ["zeek.ssl"], "X509::IN_CERT": ["zeek.x509"],
    "SSH::IN_SERVER_HOST_KEY": ["zeek.ssh"], "Corpus_IN_FTP_USER": ["zeek.ftp"], "Corpus_IN_NTLM_USER": ["zeek.ntlm"],
    "SMB::IN_FILE_NAME": ["zeek.smb_files"],
}


def logs_of(where):
    return LOGS.get(where) or (["zeek.smtp"] if where.startswith("SMTP::") else None)


def uids(document):
    found = set()
    for path in ("zeek.session_id", "event.id", "zeek.files.session_ids"):
        found.update(one for one in intel.listed(intel.member(document, path)) if isinstance(one, str))
    return found


def hidden_text(rows):
    """No log has these texts, or, of a URL, none of the connection that Zeek saw it in."""
    everything = [(path.name, path.read_text(errors="replace").splitlines()) for path in sorted((OURS / "zeek" / "tsv").glob("*.log"))
                  if not path.name.startswith(("intel.", "notice"))]  # they tell of the hit
    for row in rows:
        of_hit = [(name, line) for name, lines in everything for line in lines if row["indicator"] in line
                  and (row["uid"] in line or row["seen_type"] == "Intel::CERT_HASH")]
        assert not of_hit, f"{row['where']} {row['indicator']} is in {of_hit[:2]}, and should be matched"


@pytest.mark.parametrize("form", ["tsv", "json"])
def test_zeeks_own_hits_are_covered(tmp_path, form):
    """Every hit of Zeek's framework that a log can show is an enrichment of that record, of the same indicator and kind."""
    (tmp_path / "zeek").mkdir()
    documents, _, summary = run(tmp_path, "zeek", [{"type": "zeek", "paths": [str(OURS / "zeek" / form / "*.log")]}],
                                intel={"files": [str(OURS / "intel" / "intel.dat")]})
    assert len(documents) == summary["accepted"] > 3900 and summary["intel"]["state"] == "ready"
    by_uid, by_log = collections.Counter(), collections.Counter()
    enriched = [one for one in documents if intel.member(one, "threat.enrichments")]
    for document in enriched:
        if document["event"]["dataset"] == "zeek.intel":
            continue
        for one in document["threat"]["enrichments"]:
            key = (document["event"]["dataset"], one["matched"]["type"], one["matched"]["atomic"].split("://", 1)[-1].lower())
            by_log[key] += 1
            by_uid.update((*key, uid) for uid in uids(document))
    with open(OURS / "ground-truth" / "intel.tsv", encoding="utf-8") as lines:
        hits = list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
    assert len(hits) == 229
    missing, hidden = [], []
    for hit in hits:
        if (hit["where"], hit["seen_type"]) in HIDDEN:
            hidden.append(hit)
            continue
        kinds = [KINDS[one.removeprefix("Intel::")] for one in hit["matched"].split(",")]
        assert logs_of(hit["where"]), f"{hit['where']} is in no table of this test"
        keys = [(log, kind, hit["indicator"].lower()) for log in logs_of(hit["where"]) for kind in kinds]
        has_uid = any((*key, hit["uid"]) in by_uid for key in keys)
        nameless = hit["where"] == "X509::IN_CERT"  # x509.log names no connection
        if not has_uid and not (nameless and any(key in by_log for key in keys)):
            missing.append((hit["where"], hit["matched"], hit["indicator"], hit["uid"]))
    assert not missing, f"{len(missing)} hits are not covered: {missing[:10]}"
    assert collections.Counter((hit["where"], hit["seen_type"]) for hit in hidden) == {key: n for key, (n, _) in HIDDEN.items()}
    if form == "tsv":
        hidden_text(hidden)


def test_zeeks_indicators_add_what_the_judge_adds(tmp_path):
    """The same records, each document compared as a whole."""
    inputs = [{"type": "zeek", "paths": [str(OURS / "zeek" / "json" / "*.log")]}]
    (tmp_path / "plain").mkdir()
    (tmp_path / "got").mkdir()
    _, plain, _ = run(tmp_path, "plain", inputs)
    _, got, _ = run(tmp_path, "got", inputs, intel={"files": [str(OURS / "intel" / "intel.dat")]})
    store = intel.Store(rows_of(OURS / "intel" / "intel.dat"), now=time.time())
    assert plain.keys() == got.keys() and len(plain) > 3000
    wrong = [(key, problem) for key, document in plain.items() for problem in intel.compare(store, document, got[key])]
    assert not wrong, f"{len(wrong)}: {wrong[:5]}"


# ---- Redis -----------------------------------------------------------------------------------------------------------

INPUTS = [{"type": "zeek", "paths": [str(OURS / "zeek" / "tsv" / "*.log")]},
          {"type": "suricata", "paths": [str(OURS / "suricata" / "eve.json")]},
          {"type": "snort", "paths": [str(OURS / "snort3" / "json-all" / "alert_json.txt")]}]
ALLOWED = ["10.20.0.64/26", "fd20::66", "corp.example", "198.51.100.10/32"]


def allowed(rows):
    """And a URL, an address of e-mail, a hash: just these values."""
    first = {kind: next(intel.canonical(kind, row["value"])[1] for row in rows if row["type"] == kind) for kind in ("url", "email", "file_hash")}
    return [*ALLOWED, "http://" + first["url"], first["email"], first["file_hash"].upper()]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Documents without intelligence, indicators drawn from them, and what the matcher says of both."""
    folder = tmp_path_factory.mktemp("drawn")
    (folder / "plain").mkdir()
    _, plain, _ = run(folder, "plain", INPUTS)
    now = int(time.time())
    rows = intel_sample.drawn([observables.expected(one) for one in plain.values()], now)
    return plain, rows, now, folder


def judged(plain, got, store):
    assert plain.keys() == got.keys() and len(plain) > 9000
    hits = sum(len(intel.member(one, "threat.enrichments") or []) for one in got.values())
    wrong = [(key, problem) for key, document in plain.items() for problem in intel.compare(store, document, got[key])]
    assert not wrong, f"{len(wrong)}: {str(wrong[:5])[:3000]}"
    return hits


def test_redis_gives_what_the_judge_gives(drawn, redis_server):
    """Two feeds, one of them with what has expired in Redis meanwhile, an allow-list."""
    plain, rows, now, folder = drawn
    (folder / "redis").mkdir()
    first, second = rows[::2], rows[1::2]
    soon = [dict(row, expires=int(time.time()) + 8) for row in first[::7]]
    path = config(folder / "redis", "load", INPUTS, intel={"redis": {"urls": [redis_server.unix_url]}})
    load(path, "load", "--feed", "one", intel_sample.write_csv(folder / "first.csv", first))
    load(path, "load", "--feed", "two", intel_sample.write_csv(folder / "second.csv", second))
    load(path, "load", "--feed", "passing", intel_sample.write_csv(folder / "soon.csv", soon))
    load(path, "allow", *allowed(rows))
    time.sleep(max(0.0, soon[0]["expires"] + 1.5 - time.time()))
    _, got, summary = run(folder, "redis", INPUTS, intel={"redis": {"urls": [redis_server.unix_url]}})
    assert summary["intel"]["state"] == "ready" and summary["counters"]["enrich.unavailable"] == 0
    both = [dict(row, feed="one") for row in first] + [dict(row, feed="two") for row in second]
    store = intel.Store(both, allowed(rows), now)
    hits = judged(plain, got, store)
    unsilenced = judged_count(plain, intel.Store(both, (), now))
    named = judged_count(plain, intel.Store(both, ALLOWED, now))
    assert hits > 5000 and unsilenced > named > hits, "the allow-list silenced nothing, or no single value"


def judged_count(plain, store):
    return sum(len(store.enrichments(one, observables.expected(one))) for one in plain.values())


def test_files_with_an_allow_list_give_what_the_judge_gives(drawn):
    plain, rows, now, folder = drawn
    (folder / "files").mkdir()
    path = intel_sample.write_csv(folder / "all.csv", rows)
    _, got, summary = run(folder, "files", INPUTS, intel={"files": [path], "allow": allowed(rows)})
    assert summary["intel"]["state"] == "ready"
    assert judged(plain, got, intel.Store(rows, allowed(rows), now)) > 5000


# ---- all intelligence there is ---------------------------------------------------------------------------------------

MEMBERS = {"confidence": (int, float), "tlp": str, "description": str, "reference": str, "tags": str, "first_seen": int,
           "last_seen": int, "expires": int, "subdomains": bool, "id": str}


def test_all_of_real_intelligence_in_redis(redis_server, tmp_path):
    """What a foreign client sees in Redis after everything was loaded: each key is in its one form, each word is of its type, and
    what Zeek's files say is there, word by word, as this test reads them."""
    files = [path for path in sorted((DATA / "intel").rglob("*")) if path.is_file() and path.name != "SOURCES.md"]
    path = rig.config_write(tmp_path / "tapline.yml", [{"type": "zeek", "paths": ["/nowhere"]}], {"stdout": {}},
                            intel={"redis": {"urls": [redis_server.unix_url]}})
    done = rig.tapline("intel", "load", "-c", path, "--feed", "all", *files, OURS / "intel" / "intel.dat", timeout=600)
    assert done.returncode == 1, done.stderr[-2000:]  # some files are no intelligence
    client, words, problems = redis_server.client(), {}, []
    keys = list(client.scan_iter("intel:*", 5000))
    for at in range(0, len(keys), 2000):
        pipe = client.pipeline(transaction=False)
        some = [key.decode() for key in keys[at:at + 2000] if key.decode().split(":")[1] in intel.KINDS]
        for key in some:
            pipe.hgetall(key)
        for key, word in zip(some, pipe.execute()):
            _, kind, value = key.split(":", 2)
            words[(kind, value)] = {field.decode(): json.loads(text) for field, text in word.items()}
    now = time.time()
    for key, word in words.items():
        if intel.canonical(*key) != key:
            problems.append(f"{key} is not in the one form, which is {intel.canonical(*key)}")
        for field, said in word.items():
            wrong = [name for name, one in said.items() if not isinstance(one, MEMBERS[name])]
            wrong += ["field"] if not field.startswith("all/") else []
            wrong += ["confidence"] if not 0 <= said.get("confidence", 0) <= 10 else []
            wrong += ["tlp"] if said.get("tlp", "RED") not in ("CLEAR", "GREEN", "AMBER", "AMBER+STRICT", "RED") else []
            wrong += [name for name in ("first_seen", "last_seen") if not 10 ** 8 < said.get(name, 10 ** 9) < now + 86400]
            problems += [f"{key} {field}: {wrong}: {said}"] if wrong else []
    assert not problems, f"{len(problems)} of {len(words)}: {problems[:20]}"
    assert len(words) > 190000 and {kind for kind, _ in words} >= set(intel.KINDS) - {"ja3"}
    missing = zeek_words(files + [OURS / "intel" / "intel.dat"], words)
    assert not missing, f"{len(missing)}: {missing[:20]}"


def zeek_words(files, words):
    """What Zeek's files say, and Redis does not."""
    expected, count = {}, 0
    for path in files:
        if path.parent.name == "zeek" and not path.name.endswith("LICENSE") or path.name == "intel.dat":
            for row in rows_of(path):
                if row["type"] == "pubkey_hash" and re.fullmatch("[0-9a-f]{32}", row["value"]):  # Zeek writes colons
                    row["value"] = ":".join(re.findall("..", row["value"]))
                key = intel.canonical(row["type"], row["value"].removeprefix("*."))
                if key is not None:
                    expected[(key, "all/" + (row["provider"] or "all"))] = row
                    count += 1
    problems = []
    for (key, field), row in expected.items():
        have = words.get(key, {}).get(field)
        want = {name: row[name] for name in ("confidence", "first_seen", "last_seen") if row[name] is not None}
        got = {name: have.get(name) for name in want} if have is not None else None
        if got != want or (have.get("description") or "") != (row["description"] or "")[:1024]:
            problems.append((key, field, row, have))
    assert count > 150000
    return problems
