"""`tapline intel …` against a real redis-server: what is put, found, taken back, allowed, counted, exported; a Redis that goes
away. Looked at with a foreign client, too.
SPDX-License-Identifier: Apache-2.0
"""
import json
import os
import re
import subprocess
import time

import pytest

import rig

HEADER = "#fields\tindicator\tindicator_type\tmeta.source\tmeta.desc\tmeta.cif_confidence\n"


@pytest.fixture
def intel(redis_server, tmp_path):
    """tapline intel WORDS… with a store; returns the finished process."""
    config = tmp_path / "intel.yml"
    config.write_text(json.dumps({"intel": {
        "redis": {"urls": [redis_server.url]},
        "feeds": [{"name": "corp", "type": "zeek", "path": "/x", "tlp": "amber", "expire_after": "10d", "limit": 3}]}}))

    def run(*words, code=0, stdin=None):
        done = rig.tapline("intel", words[0], "-c", config, *words[1:], stdin=stdin)
        assert done.returncode == code, done.stdout + done.stderr
        return done
    return run


def keys(server):
    return sorted(key.decode() if isinstance(key, bytes) else key for key in server.client().keys("intel:*"))


def indicator_keys(server):
    kept = {"changes", "epoch", "allow"}
    return [key for key in keys(server) if key.split(":")[1] not in kept]


def test_load_get_rm(redis_server, intel, tmp_path):
    (tmp_path / "a.dat").write_text(HEADER + "192.0.2.7\tIntel::ADDR\tone\tdrop\t85\n192.0.2.7\tIntel::ADDR\ttwo\t-\t-\n"
                                    "EVIL.example\tIntel::DOMAIN\tone\t-\t-\nnone\tIntel::ADDR\tone\t-\t-\n")
    done = intel("load", tmp_path / "a.dat", "--json")
    summary = json.loads(done.stdout)
    assert summary["indicators"] == 3 and summary["types"] == {"ip": 2, "domain": 1}
    assert summary["reasons"] == {"it is no IP address": 1}
    assert indicator_keys(redis_server) == ["intel:domain:evil.example", "intel:ip:192.0.2.7"]
    found = json.loads(intel("get", "192.0.2.7", "--json").stdout)
    assert found == {"type": "ip", "value": "192.0.2.7", "providers": [
        {"feed": "local", "provider": "one", "confidence": 8.5, "description": "drop"}, {"feed": "local", "provider": "two"}]}
    # What another provider says stays.
    taken = intel("rm", "192.0.2.7", "--provider", "one", "--json").stdout
    assert json.loads(taken)["providers"][0]["provider"] == "one"
    assert [said["provider"] for said in json.loads(intel("get", "192.0.2.7", "--json").stdout)["providers"]] == ["two"]
    intel("rm", "192.0.2.7", "--feed", "another", code=1)
    intel("rm", "192.0.2.7")
    intel("rm", "192.0.2.7", code=1)
    assert indicator_keys(redis_server) == ["intel:domain:evil.example"]


def test_load_again_changes_nothing(redis_server, intel, tmp_path):
    (tmp_path / "a.txt").write_text("".join(f"10.0.{n >> 8}.{n & 255}\n" for n in range(5000)))
    intel("load", tmp_path / "a.txt")
    before = redis_server.client().xlen("intel:changes")
    assert len(indicator_keys(redis_server)) == 5000
    intel("load", tmp_path / "a.txt")
    assert redis_server.client().xlen("intel:changes") == before


def test_a_feed_of_the_configuration(intel, tmp_path):
    """What it says of its indicators, its limit, its expiry."""
    (tmp_path / "a.txt").write_text("a.example\nb.example\nc.example\nd.example\n")
    done = intel("load", "--feed", "corp", tmp_path / "a.txt", "--json")
    summary = json.loads(done.stdout)
    assert summary["indicators"] == 3
    assert summary["reasons"] == {"the feed has more than its limit allows (limit)": 1}
    said = json.loads(intel("get", "a.example", "--json").stdout)["providers"][0]
    assert said["feed"] == "corp" and said["tlp"] == "AMBER" and "expires" in said
    days = (time.mktime(time.strptime(said["expires"], "%Y-%m-%dT%H:%M:%SZ")) - time.timezone - time.time()) / 86400
    assert 9 < days < 12.5


def test_add(redis_server, intel):
    done = intel("add", "*.Evil.Example.", "--confidence", "7.5", "--tlp", "tlp:white", "-d", "C2", "--tags", "a,b", "--reference",
                 "https://x/1", "--provider", "me", "--feed", "case-42", "--json")
    expected = {"type": "domain", "value": "evil.example", "providers": [
        {"feed": "case-42", "provider": "me", "confidence": 7.5, "tlp": "CLEAR", "description": "C2", "reference": "https://x/1",
         "tags": "a,b", "subdomains": True}]}
    assert json.loads(done.stdout) == expected
    assert json.loads(intel("get", "evil.example", "--json").stdout) == expected
    intel("add", "192.0.2.7", "--expire-after", "5s")  # long enough to be found before, on a machine that stands still
    intel("get", "192.0.2.7")
    rig.wait_for("the end of an indicator", lambda: rig_code(intel, "192.0.2.7") == 1)
    intel("add", "bob", code=100)
    intel("add", "bob", "--type", "user")
    intel("add", "x", "--type", "ip", code=100)
    intel("add", "a.example", "--confidence", "11", code=100)
    intel("add", "a.example", "--tlp", "blue", code=100)
    intel("add", "a.example", "--feed", "No Name", code=100)
    intel("add", "a.example", "--expire-after", "5", code=100)
    intel("add", "a.example", "b.example", code=100)


def rig_code(intel, value):
    try:
        intel("get", value)
        return 0
    except AssertionError:
        return 1


def test_match_and_allow(intel):
    intel("add", "*.evil.example")
    intel("add", "198.51.100.0/24")
    intel("match", "www.evil.example", "198.51.100.7")
    done = intel("allow", "198.51.100.0/25", "evil.example", "192.0.2.1/32")
    assert done.stdout == "cidr\t198.51.100.0/25\ndomain\tevil.example\nip\t192.0.2.1\n"
    assert sorted(intel("allow").stdout.splitlines()) == ["cidr\t198.51.100.0/25", "domain\tevil.example", "ip\t192.0.2.1"]
    answer = intel("match", "www.evil.example", "198.51.100.7", code=1).stdout
    assert "www.evil.example: no match: domain evil.example is allowed" in answer
    assert "198.51.100.7: no match: cidr 198.51.100.0/25 is allowed" in answer
    assert "www.evil.example: silenced: domain evil.example (parent domain), feed local" in answer
    # A URL is no address and no name: as in documents it is not silenced, but its host is.
    intel("add", "http://www.evil.example/a")
    found = json.loads(intel("match", "http://www.evil.example/a", "--json").stdout)
    assert found["is_match"] and [(hit["type"], hit["allowed"]) for hit in found["hits"]] == [
        ("url", None), ("domain", {"type": "domain", "value": "evil.example"})]
    intel("match", "198.51.100.200")
    intel("allow", "--rm", "evil.example")
    found = json.loads(intel("match", "a.b.evil.example", "--json").stdout)
    assert found["is_match"] and [hit["how"] for hit in found["hits"]] == ["parent domain"]
    intel("match", "evil.example.org", code=1)


def test_allow_takes_every_type(intel):
    """A false hash of a feed, one URL, one address of e-mail: just that value is silenced; what has no type of its own is said."""
    sha1, md5 = "395FB1BA6CEB1B8C6DBF4E8FB0EA7C3D1C8B4C2A", "0123456789abcdef0123456789abcdef"
    for value in (sha1, md5, "http://www.evil.example/a", "bad@evil.example"):
        intel("add", value)
    done = intel("allow", sha1, "http://www.evil.example/a", "Bad@evil.example")
    assert done.stdout == f"file_hash\t{sha1.lower()}\nurl\twww.evil.example/a\nemail\tbad@evil.example\n"
    assert f"silenced: file_hash {sha1.lower()}" in intel("match", "--type", "file_hash", sha1, code=1).stdout
    intel("match", "http://www.evil.example/a", "bad@evil.example", code=1)
    intel("match", md5)
    intel("add", "--type", "user", "bob")
    assert intel("allow", "--type", "user", "bob").stdout == "user\tbob\n"
    intel("match", "--type", "user", "bob", code=1)
    assert intel("allow", "--rm", "--type", "user", "bob").stdout == "user\tbob\n"
    intel("match", "--type", "user", "bob")
    assert intel("allow", "10.0.0.0/33", code=100).stderr.endswith("it has more bits than an address\n")
    intel("allow", "--type", "ip", "evil.example", code=100)
    intel("allow", "a b", code=100)


def test_stats_and_export(intel, tmp_path):
    (tmp_path / "a.dat").write_text(HEADER + "192.0.2.7\tIntel::ADDR\tone\tdrop\t85\n198.51.100.0/24\tIntel::SUBNET\tone\t-\t-\n")
    intel("load", tmp_path / "a.dat")
    listed = [json.loads(line) for line in intel("list", "--json").stdout.splitlines()]
    exported = [json.loads(line) for line in intel("export", "--json").stdout.splitlines()]
    assert len(exported) == 2 and sorted(map(str, exported)) == sorted(map(str, listed))
    intel("export", code=100)
    intel("export", "--zeek", "--json", code=100)
    intel("add", "a.example", "--feed", "other", "--expire-after", "1d")
    stats = json.loads(intel("stats", "--json").stdout)
    assert stats["indicators"] == 3 and stats["types"] == {"ip": 1, "cidr": 1, "domain": 1}
    assert stats["feeds"] == {"local": {"said": 2, "expiring": 0}, "other": {"said": 1, "expiring": 1}}
    lines = intel("export", "--zeek").stdout.splitlines()
    assert lines[0].startswith("#fields\tindicator\tindicator_type\tmeta.source\tmeta.desc\tmeta.url\tmeta.do_notice\t")
    assert sorted(line.split("\t")[:3] for line in lines[1:]) == [
        ["192.0.2.7", "Intel::ADDR", "one"], ["198.51.100.0/24", "Intel::SUBNET", "one"], ["a.example", "Intel::DOMAIN", "other"]]


def test_redis_is_away(redis_server, intel, tmp_path):
    (tmp_path / "a.txt").write_text("192.0.2.7\n")
    redis_server.kill()
    for words in (("load", tmp_path / "a.txt"), ("list",), ("get", "192.0.2.7"), ("add", "192.0.2.7"), ("rm", "192.0.2.7"),
                  ("allow",), ("stats",), ("match", "192.0.2.7"), ("export", "--zeek")):
        done = intel(*words, code=111)
        assert "127.0.0.1" in done.stderr, words


def test_what_is_left_out_of_json_is_an_item(intel, tmp_path):
    """file:3 is a line to an editor; a list of MISP's or STIX's is counted in items."""
    (tmp_path / "misp.json").write_text(json.dumps({"Event": {"info": "x", "Attribute": [
        {"type": "ip-dst", "value": value, "to_ids": True} for value in ("192.0.2.7", "none")]}}, indent=1))
    (tmp_path / "a.dat").write_text(HEADER + "192.0.2.7\tIntel::ADDR\tone\tdrop\t85\nnone\tIntel::ADDR\tone\t-\t-\n")
    assert f'{tmp_path}/misp.json: item 2: left out "none"' in intel("load", "--dry-run", tmp_path / "misp.json").stderr
    assert f'{tmp_path}/a.dat:3: left out "none"' in intel("load", "--dry-run", tmp_path / "a.dat").stderr
    (tmp_path / "b.txt").write_text("a.example\nb.example\nc.example\nd.example\n")
    assert f'{tmp_path}/b.txt: left out "d.example"' in intel("load", "--dry-run", "--feed", "corp", tmp_path / "b.txt").stderr


def on_a_terminal(*argv, stdout=subprocess.DEVNULL):
    """What a command writes to a stderr that is a terminal. stdout None: the terminal, too."""
    ours, theirs = os.openpty()
    process = subprocess.Popen([str(rig.TAPLINE), *map(str, argv)], stdin=subprocess.DEVNULL, stderr=theirs,
                               stdout=theirs if stdout is None else stdout)
    os.close(theirs)
    said = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # the other side is closed
            break
        if not piece:
            break
        said += piece
    os.close(ours)
    assert process.wait(60) == 0, said
    return said.decode()


def test_one_that_is_too_long_stops_no_other(intel, tmp_path):
    """A control character is six bytes in the store: what is said of the second does not fit there."""
    long = "\x01" * 900
    (tmp_path / "a.csv").write_text("ioc_value,ioc_type,comment,tags\n" + "".join(
        f"192.0.2.{n},ip,{long if n == 2 else 'c'},{long if n == 2 else 't'}\n" for n in (1, 2, 3, 4)))
    for dry in ("--dry-run",), ():
        done = intel("load", "--json", *dry, tmp_path / "a.csv")
        summary = json.loads(done.stdout)
        assert summary["indicators"] == 3 and summary["types"] == {"ip": 3} and summary["refused"] == 1
        assert list(summary["reasons"].values()) == [1]
        assert 'left out "192.0.2.2"' in done.stderr and "longer than" in done.stderr
    for n, code in (1, 0), (2, 1), (3, 0), (4, 0):
        intel("get", f"192.0.2.{n}", code=code)


def test_a_bar_on_long_work(redis_server, tmp_path):
    config = tmp_path / "intel.yml"
    config.write_text(json.dumps({"intel": {"redis": {"urls": [redis_server.url]}, "feeds": [
        {"name": "corp", "type": "list", "path": str(tmp_path / "a.txt")}]}}))
    (tmp_path / "a.txt").write_text("".join(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}\n" for n in range(100000)))
    said = on_a_terminal("intel", "load", "-c", config, tmp_path / "a.txt")
    assert re.search(r"\rloading \[#+-*\] +\d+ % \d+ indicators", said), said
    assert said.endswith("\r\033[K"), "it leaves no trace"
    for word, bar in (("list", "listing"), ("stats", "counting"), ("export", "exporting")):
        words = ("intel", word, "-c", config, *(["--json"] if word == "export" else []))
        assert re.search(rf"\r{bar} \[#*-*\] +\d+ % \d+ indicators", on_a_terminal(*words)), word
    assert "listing" not in on_a_terminal("intel", "list", "-c", config, stdout=None), "it would stand among the lines"
    said = on_a_terminal("intel", "sync", "-c", config)
    assert re.search(r"\rcorp: (reading|writing) \[#*-*\] +\d+ % \d+ indicators", said), said
    assert "looking for what is gone" in said
    assert rig.tapline("intel", "load", "-c", config, tmp_path / "a.txt").stderr == "", "no terminal, no bar"
