"""`tapline intel sync` with real servers (feeds.py) and a real redis-server: what feeds say comes into the store, once, and
goes when they no longer say it; servers that fail, lie, stop or are slow change nothing.
SPDX-License-Identifier: Apache-2.0
"""
import base64
import gzip
import json
import os
import pathlib
import signal
import subprocess
import time

import pytest

import rig
from feeds import (Answer, Cif3, Cif4, Cif5, Fault, FeedServer, Files, Misp, MispFeed, Taxii, elastic, misp_attribute,
                   misp_event, packed)
from redis_server import WRITER, make_certificates

TOKEN = "sesame-7f3a-open"
DRIVER = os.environ.get("INTEL_DRIVER", pathlib.Path(__file__).resolve().parent.parent.parent / "build/dev/tests/integration/intel_driver")
HOUR = 3600


class Sync:
    """A configuration with feeds, and what its syncs say."""

    def __init__(self, folder, redis_server):
        self.folder, self.redis_server, self.redis = folder, redis_server, redis_server.client(decode_responses=True)
        self.config = folder / "tapline.yml"
        self.said = ""

    def feeds(self, *feeds):
        text = {"intel": {"redis": {"urls": [self.redis_server.url], "connect_timeout": "20s"}, "feeds": [{"patience": "3s", **f} for f in feeds]}}
        self.config.write_text(json.dumps(text))
        return self

    def command(self, *args):
        return [str(rig.TAPLINE), "intel", "sync", "-c", str(self.config), "--json", *args]

    def run(self, *args, code=0):
        done = subprocess.run(self.command(*args), capture_output=True, text=True, timeout=300)
        self.said = done.stdout + done.stderr
        assert done.returncode == code, self.said
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        assert all(line["feed"] for line in lines)
        return lines[0] if len(lines) == 1 else lines

    def start(self, *args):
        return subprocess.Popen(self.command(*args), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def store(self):
        """{"ip:192.0.2.1": {"feed/provider": {…}}}"""
        kinds = ("ip:", "cidr:", "domain:", "url:", "email:", "file_hash:")
        keys = [key for key in self.redis.scan_iter("intel:*", 1000) if key[len("intel:"):].startswith(kinds)]
        pipe = self.redis.pipeline()
        for key in keys:
            pipe.hgetall(key)
        return {key[len("intel:"):]: {field: json.loads(said) for field, said in words.items()}
                for key, words in zip(keys, pipe.execute())}

    def names(self):
        return set(self.store())

    def state(self, feed):
        return self.redis.hgetall(f"intel:feed:{feed}")


@pytest.fixture
def sync(tmp_path, redis_server):
    return Sync(tmp_path, redis_server)


@pytest.fixture
def server():
    made = FeedServer().start()
    yield made
    made.close()


def ips(*numbers):
    return "".join(f"198.51.{n // 256}.{n % 256}\n" for n in numbers).encode()


def ip_names(*numbers):
    return {f"ip:198.51.{n // 256}.{n % 256}" for n in numbers}


# ---- files behind a URL -----------------------------------------------------------------------------------------------------------

def test_a_list_comes_changes_and_goes(sync, server):
    server.site = Files({"/list.txt": ips(*range(100))})
    sync.feeds({"name": "list", "type": "list", "url": server.url + "/list.txt", "confidence": "7", "tlp": "GREEN"})
    first = sync.run()
    assert (first["result"], first["items"], first["put"], first["removed"]) == ("done", 100, 100, 0)
    said = sync.store()["ip:198.51.0.7"]["list/list"]
    assert said["confidence"] == 7 and said["tlp"] == "GREEN"

    stream = sync.redis.xlen("intel:changes")
    assert sync.run()["result"] == "unchanged"
    assert server.requests[-1].headers["If-None-Match"] and server.requests[-1].headers["If-Modified-Since"]
    again = sync.run("--full")
    assert (again["result"], again["put"], again["removed"]) == ("done", 0, 0)
    assert sync.redis.xlen("intel:changes") == stream, "what is said again is no change"

    sync.redis.hset("intel:ip:198.51.0.5", "other/other", '{"description":"theirs"}')
    server.site.files["/list.txt"] = ips(*range(10, 110))
    later = sync.run()
    assert (later["put"], later["removed"]) == (10, 10)
    assert sync.names() == ip_names(*range(10, 110)) | {"ip:198.51.0.5"}
    assert set(sync.store()["ip:198.51.0.5"]) == {"other/other"}, "another feed's word stays"


def test_what_is_taken_back_by_a_full_sync_only(sync, server):
    """A server without marks is read each time; what somebody else removed comes back, what somebody else put goes."""
    server.site = Files({"/list.txt": ips(1, 2, 3)}, has_marks=False)
    sync.feeds({"name": "list", "type": "list", "url": server.url + "/list.txt"}).run()
    sync.redis.delete("intel:ip:198.51.0.1")
    sync.redis.hset("intel:ip:203.0.113.9", "list/list", "{}")
    assert sync.run()["put"] == 1
    assert sync.run("--full")["removed"] == 1
    assert sync.names() == ip_names(1, 2, 3)


def test_gzip_and_zeek(sync, server):
    zeek = ("#fields\tindicator\tindicator_type\tmeta.source\tmeta.desc\n"
            "192.0.2.7\tIntel::ADDR\tcorp\tbad\nevil.example\tIntel::DOMAIN\tcorp\tworse\n").encode()
    server.site = Files({"/intel.dat.gz": gzip.compress(zeek)})
    sync.feeds({"name": "zeek", "type": "zeek", "url": server.url + "/intel.dat.gz"}).run()
    assert {(key, field) for key, words in sync.store().items() for field in words} == {
        ("ip:192.0.2.7", "zeek/corp"), ("domain:evil.example", "zeek/corp")}


def test_the_first_of_two_counts(sync, server):
    server.site = Files({"/a.csv": b"ip,description\n192.0.2.7,first\n192.0.2.7,second\n"}, has_marks=False)
    sync.feeds({"name": "csv", "type": "csv", "url": server.url + "/a.csv"})
    assert sync.run()["put"] == 1
    assert sync.store()["ip:192.0.2.7"]["csv/csv"]["description"] == "first"
    assert sync.run("--full")["put"] == 0, "a feed that names one twice changes it once"


def test_files_of_a_folder(sync, tmp_path):
    for name, numbers in (("a", (1, 2)), ("b", (3,))):
        (tmp_path / f"{name}.txt").write_bytes(ips(*numbers))
    sync.feeds({"name": "folder", "type": "list", "path": str(tmp_path / "*.txt")})
    assert sync.run()["put"] == 3
    assert sync.run()["result"] == "unchanged"
    (tmp_path / "a.txt").write_bytes(ips(2, 4))
    done = sync.run()
    assert (done["put"], done["removed"]) == (1, 1)
    assert sync.names() == ip_names(2, 3, 4)
    for path in tmp_path.glob("*.txt"):
        path.unlink()
    assert "no such file" in sync.run(code=111)["error"]
    assert sync.names() == ip_names(2, 3, 4)


# ---- servers that fail --------------------------------------------------------------------------------------------------------------

def good(sync, server, **more):
    """A feed that was taken once; then its server has another body."""
    server.site = Files({"/list.txt": ips(*range(100))}, has_marks=False)
    sync.feeds({"name": "list", "type": "list", "url": server.url + "/list.txt", **more}).run()
    server.site.files["/list.txt"] = ips(*range(50, 150))
    del server.requests[:]
    return ip_names(*range(100))


def test_retry_after_is_obeyed(sync, server):
    good(sync, server, patience="20s")
    server.fault(Fault(429, {"Retry-After": "2"}), times=2)
    assert sync.run()["result"] == "done"
    first, second, third = server.requests
    assert second.at - first.at >= 2 and third.at - second.at >= 2
    assert sync.names() == ip_names(*range(50, 150))


@pytest.mark.parametrize("fault", [Fault(500), Fault(503), Fault(drop=True), Fault(cut=100)], ids=["500", "503", "drop", "cut"])
def test_what_passes_is_tried_again(sync, server, fault):
    good(sync, server)
    server.fault(fault, times=2)
    assert sync.run()["result"] == "done"
    assert len(server.requests) == 3
    gaps = [b.at - a.at for a, b in zip(server.requests, server.requests[1:])]
    assert all(gap >= 0.24 for gap in gaps), f"half a second, and between half and all of it: {gaps}"
    assert sync.names() == ip_names(*range(50, 150))


PAGE = b"<!DOCTYPE html><html><body>Please log in 198.51.0.1</body></html>"


@pytest.mark.parametrize("fault, word", [
    (Fault(500, body=b"it hurts"), "500"),
    (Fault(404), "404"),
    (Fault(cut=100), ""),
    (Fault(drop=True), ""),
    (Fault(slow=30), ""),
    (Fault(change=lambda a: Answer(b"")), "empty"),
    (Fault(change=lambda a: Answer(PAGE, headers={"Content-Type": "text/html"})), "web page"),
    (Fault(change=lambda a: Answer(gzip.compress(a.body)[:-20])), ""),
    (Fault(change=lambda a: Answer(b"PK\x03\x04 and so on")), ".zip"),
    (Fault(change=lambda a: Answer(b"{} what\n[] is\n~~ this\n")), "none of its"),
    (Fault(change=lambda a: Answer(ips(1, 2, 3))), "fewer"),
    (Fault(302, {"Location": "file:///etc/passwd"}), ""),
    (Fault(302, {"Location": "/list.txt"}), "redirect"),
    (Fault(503, {"Retry-After": "86400"}), "86400 s"),
], ids=["500", "404", "cut", "drop", "slow", "empty", "page", "cut-gzip", "zip", "nonsense", "few", "file", "loop", "later"])
def test_what_fails_leaves_the_last_good_state(sync, server, fault, word):
    before = good(sync, server, patience="1s", timeout="3s")
    store = sync.store()
    server.fault(fault, times=50)
    failed = sync.run(code=111)
    assert failed["result"] == "failed" and word in failed["error"]
    assert sync.store() == store and sync.names() == before
    assert "sync.failed" in sync.state("list")
    server.faults.clear()
    assert sync.run()["result"] == "done"
    assert sync.names() == ip_names(*range(50, 150))
    assert "sync.failed" not in sync.state("list")


def test_a_server_that_wants_peace_gets_it(sync, server):
    good(sync, server, patience="1s")
    server.fault(Fault(429, {"Retry-After": "3000"}), times=5)
    failed = sync.run(code=111)
    assert len(server.requests) == 1, "what it wants is longer than our patience"
    at = float(sync.state("list")["sync.not_before"])
    assert 2900 < at - time.time() < 3100
    assert failed["next"] == time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


def test_a_feed_that_shrinks_is_taken_when_a_person_says_so(sync, server):
    before = good(sync, server)
    server.site.files["/list.txt"] = ips(1, 2, 3)
    assert "--takes-fewer list" in sync.run(code=111)["error"]
    assert sync.names() == before
    assert sync.run("--takes-fewer")["removed"] == 97
    assert sync.names() == ip_names(1, 2, 3)
    server.site.files["/list.txt"] = ips(1)
    assert sync.run()["result"] == "done", "of a few, any number may go"


def test_the_limit(sync, server):
    server.site = Files({"/list.txt": ips(*range(100))})
    sync.feeds({"name": "list", "type": "list", "url": server.url + "/list.txt", "limit": 40})
    done = sync.run()
    assert (done["items"], done["put"], done["refused"]) == (40, 40, 60)
    assert "limit" in sync.said
    assert len(sync.names()) == 40


def test_redis_away(sync, server):
    good(sync, server)
    sync.redis_server.kill()
    assert sync.run(code=111)["result"] == "failed"
    sync.redis_server.start()
    assert sync.run()["result"] == "done"


# ---- TLS, credentials -----------------------------------------------------------------------------------------------------------------

def test_tls_and_certificates(sync, tmp_path):
    tls = make_certificates(tmp_path / "tls")
    server = FeedServer(tls=tls, tls_clients=True, site=Files({"/list.txt": ips(1)})).start()
    feed = {"name": "list", "type": "list", "url": server.url + "/list.txt"}
    ours = {"cert_file": f"{tls}/client.crt", "key_file": f"{tls}/client.key"}
    try:
        assert "certificate" in sync.feeds(feed).run(code=111)["error"], "nobody we know has signed it"
        assert sync.feeds({**feed, **ours, "ca_file": f"{tls}/other-ca.crt"}).run(code=111)
        assert sync.feeds({**feed, "ca_file": f"{tls}/ca.crt"}).run(code=111), "it wants a certificate of ours"
        assert not server.requests
        assert sync.feeds({**feed, **ours, "ca_file": f"{tls}/ca.crt"}).run()["put"] == 1
        other = FeedServer(site=Files({"/list.txt": ips(1, 2)})).start()
        server.fault(Fault(302, {"Location": other.url + "/list.txt"}), times=9)
        assert sync.run("--full", code=111), "nothing goes on without TLS"
        assert not other.requests
        other.close()
    finally:
        server.close()


@pytest.mark.parametrize("more, sent", [
    ({"token": TOKEN}, f"Bearer {TOKEN}"),
    ({"token": TOKEN, "username": "me"}, "Basic " + base64.b64encode(f"me:{TOKEN}".encode()).decode()),
], ids=["bearer", "basic"])
def test_credentials(sync, server, more, sent):
    server.site = Files({"/list.txt": ips(1)}, authorization=sent)
    assert sync.feeds({"name": "list", "type": "list", "url": server.url + "/list.txt", **more}).run()["put"] == 1


def test_a_secret_is_told_to_nobody(sync, server):
    """Neither to a server that another redirects to, nor in messages, though the server repeats it, nor in Redis."""
    other = FeedServer(site=Files({"/list.txt": ips(1)})).start()
    server.site = Files({"/list.txt": ips(1)})
    server.fault(Fault(302, {"Location": other.url.replace("127.0.0.1", "localhost") + "/list.txt"}))
    feed = {"name": "list", "type": "list", "url": server.url.replace("//", "//user:hidden@") + "/list.txt?key=covert", "token": TOKEN}
    assert sync.feeds(feed).run()["put"] == 1
    assert server.requests[0].headers["Authorization"] and other.requests[0].headers["Authorization"] is None
    other.close()
    server.fault(Fault(403, body=f"I do not know Bearer {TOKEN}".encode()), times=9)
    failed = sync.run("--full", code=111)
    assert "403" in failed["error"] and "I do not know" in failed["error"]
    everything = sync.said + json.dumps(sync.state("list"))
    for secret in (TOKEN, "hidden", "covert"):
        assert secret not in everything


# ---- killed, at once, again and again -----------------------------------------------------------------------------------------------------

def test_kill_in_the_middle(sync, server):
    """What the killed sync had put stays or goes as the feed says then; the next one ends where it would have."""
    server.site = Files({"/list.txt": ips(*range(20000))})
    sync.feeds({"name": "list", "type": "list", "url": server.url + "/list.txt"}).run()
    for _ in range(5):
        server.site.files["/list.txt"] = ips(*range(10000, 60000))
        process = sync.start()
        while sync.redis.dbsize() < 24000 and process.poll() is None:
            time.sleep(0.002)  # or it would take the core from both of them
        process.kill()
        process.communicate()
        if "sync.begun" in sync.state("list"):
            break
        server.site.files["/list.txt"] = ips(*range(20000))  # it was over before it could be killed: once more
        sync.redis.delete("intel:lease:sync.list")
        sync.run("--takes-fewer")
    assert "sync.begun" in sync.state("list")
    server.site.files["/list.txt"] = ips(*range(20000))  # as at the last good sync: that is no proof that the store is
    assert sync.run()["result"] == "elsewhere", "its lease runs out by itself"
    assert 0 < sync.redis.pttl("intel:lease:sync.list") <= 60000
    there = len(sync.names())  # to read them all takes a part of the lease
    assert 20000 < there <= 60000
    sync.redis.delete("intel:lease:sync.list")
    done = sync.run()
    assert done["removed"] == there - 20000
    assert sync.names() == ip_names(*range(20000))
    assert "sync.begun" not in sync.state("list")


def into_the_sweep(sync, server, number):
    """A sync that has begun to take back 30,000 of 60,000, among 40,000 words of others; it is sent the signal there, and in
    good time: a test that stands still at the wrong moment does it once more."""
    pipe = sync.redis.pipeline(transaction=False)
    for n in range(40000):
        pipe.hset(f"intel:ip:10.{n >> 16}.{n >> 8 & 255}.{n & 255}", "other/other", "{}")
    pipe.execute()
    server.site = Files({})
    sync.feeds({"name": "list", "type": "list", "url": server.url + "/list.txt"})
    for _ in range(5):
        server.site.files["/list.txt"] = ips(*range(60000))
        sync.run()
        server.site.files["/list.txt"] = ips(*range(30000))
        sync.redis.config_resetstat()
        full = sync.redis.dbsize()
        process = sync.start()
        while sync.redis.dbsize() >= full and process.poll() is None:
            time.sleep(0.002)  # or it would take the core from both of them
        process.send_signal(number)
        time.sleep(0.5)  # for what lies in the socket still
        if "sync.begun" in sync.state("list"):
            return process
        process.communicate()
    raise AssertionError("it was over each time before the signal came")


def test_kill_in_the_sweep(sync, server):
    """The lease is as short there as anywhere: it was fifteen minutes once, in which nobody could sync that feed."""
    process = into_the_sweep(sync, server, signal.SIGKILL)
    process.communicate()
    assert 0 < sync.redis.pttl("intel:lease:sync.list") <= 60000
    sync.redis.delete("intel:lease:sync.list")
    done = sync.run()
    assert done["result"] == "done" and done["removed"] > 0
    assert {name for name in sync.names() if name.startswith("ip:198.51.")} == ip_names(*range(30000))
    assert len(sync.names()) == 70000, "what others say stays"


def test_a_sweep_keeps_its_lease(sync, server):
    process = into_the_sweep(sync, server, signal.SIGSTOP)
    time.sleep(16)  # a lease is renewed every 15 s
    process.send_signal(signal.SIGCONT)
    out, _ = process.communicate(timeout=180)
    assert json.loads(out)["result"] == "done"
    assert sync.redis.info("commandstats")["cmdstat_pexpire"]["calls"] >= 1
    assert len(sync.names()) == 70000


def test_stopped_in_the_middle(sync, server):
    server.site = Files({"/list.txt": ips(*range(65000))})
    sync.feeds({"name": "list", "type": "list", "url": server.url + "/list.txt"})
    for _ in range(5):
        sync.redis.flushall()
        process = sync.start()
        while sync.redis.dbsize() < 2000 and process.poll() is None:
            time.sleep(0.002)  # or it would take the core from both of them
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=180)
        if json.loads(out)["result"] == "stopped":
            break
    assert json.loads(out)["result"] == "stopped" and process.returncode == 111
    assert not sync.redis.exists("intel:lease:sync.list"), "the lease was given back"
    assert sync.run()["result"] == "done"
    assert len(sync.names()) == 65000


def test_two_at_once(sync, server):
    server.site = Files({"/list.txt": ips(1)})
    server.fault(Fault(slow=6))
    sync.feeds({"name": "list", "type": "list", "url": server.url + "/list.txt"})
    first = sync.start()
    while not server.requests:
        time.sleep(0.01)
    assert sync.run()["result"] == "elsewhere"
    out, _ = first.communicate(timeout=180)
    assert json.loads(out)["result"] == "done"
    assert len(server.requests) == 1


def test_watch_shares_the_feeds(sync, server):
    server.site = Files({"/a.txt": ips(1), "/b.txt": ips(2)})
    sync.feeds(*({"name": name, "type": "list", "url": f"{server.url}/{name}.txt", "interval": "10s"} for name in "ab"))
    began = time.monotonic()

    def looked_as_often_as_one():
        """At once and each ten seconds, of which the store keeps whole ones, however long this test takes."""
        asked = [len(server.asked(path)) for path in ("/a.txt", "/b.txt")]
        return max(asked) <= 1 + (time.monotonic() - began + 1) // 10

    watchers = [sync.start("--watch") for _ in range(3)]
    rig.wait_for("the first look", lambda: {r.path for r in server.requests} == {"/a.txt", "/b.txt"}, timeout=60)
    time.sleep(5)
    assert looked_as_often_as_one(), "three look as often as one"
    server.site.files["/a.txt"] = ips(1, 3)
    end = time.monotonic() + 60
    while sync.names() != ip_names(1, 2, 3):
        assert time.monotonic() < end
        time.sleep(0.1)
    for watcher in watchers:
        watcher.send_signal(signal.SIGTERM)
    assert [watcher.wait(60) for watcher in watchers] == [0, 0, 0]
    assert len(server.asked("/a.txt")) >= 2 and looked_as_often_as_one()


def test_expiry_is_moved_on(sync, server):
    """What expires a while after it was last read is read again in time, though its server says that nothing changed."""
    server.site = Files({"/list.txt": ips(1)})
    feed = {"name": "list", "type": "list", "url": server.url + "/list.txt", "expire_after": "16s"}
    sync.feeds(feed).run()
    first = sync.store()["ip:198.51.0.1"]["list/list"]["expires"]
    assert 0 < sync.redis.ttl("intel:ip:198.51.0.1") <= 18
    assert sync.run()["result"] in ("unchanged", "done")
    time.sleep(3)
    assert sync.run()["result"] == "done"
    assert sync.store()["ip:198.51.0.1"]["list/list"]["expires"] > first


# ---- CIF ----------------------------------------------------------------------------------------------------------------------------------

def iso(seconds_ago):
    at = time.time() - seconds_ago
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at)) + f".{int(at % 1 * 1e6):06d}Z"


def row(version, indicator, itype, ago=HOUR, **more):
    times = ("firsttime", "lasttime", "reporttime") if version == 3 else ("first_at", "last_at", "reported_at")
    return {"indicator": indicator, "itype": itype, "provider": "csirtg.io", "tlp": "green", "tags": ["malware", "botnet"],
            "group": "everyone", "description": "seen", "confidence": 3,
            times[0]: "2026-11-01T00:00:00.000000Z", times[1]: "2026-11-20T00:00:00.000000Z", times[2]: iso(ago), **more}


SITES = {3: Cif3, 4: Cif4, 5: Cif5}


def cif_feed(server, version, **options):
    return {"name": "cif", "type": "cif", "url": server.url, "token": TOKEN, "options": {"version": str(version), **options}}


@pytest.mark.parametrize("version", [3, 4, 5])
def test_cif(sync, server, version):
    sha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
    rows = [row(version, "192.0.2.7", "ipv4", rdata="evil.example", reference="https://ref.example/1", uuid="u-1"),
            row(version, "203.0.113.0/24", "ipv4", tlp="amber", confidence=4, group="partners"),
            row(version, "2001:db8::7", "ipv6"), row(version, "EVIL.example", "fqdn"),
            row(version, "http://evil.example/a?b", "url"), row(version, "bad@evil.example", "email"),
            row(version, sha256, "sha256"), row(version, "192.0.2.8", "ipv4", tags=["whitelist"]),
            row(version, "192.0.2.9", "ipv4", tags="search,x"), row(version, "192.0.2.10", "ipv4", tags=["search"]),
            row(version, "192.0.2.11", "ipv4", confidence=0)]
    server.site = SITES[version](rows, TOKEN)
    done = sync.feeds(cif_feed(server, version)).run()
    assert done["refused"] >= 2
    assert sync.names() >= {"ip:192.0.2.7", "cidr:203.0.113.0/24", "ip:2001:db8::7", "domain:evil.example",
                            "url:evil.example/a?b", "email:bad@evil.example", f"file_hash:{sha256}", "ip:192.0.2.11"}
    assert not sync.names() & {"ip:192.0.2.8", "ip:192.0.2.10"}
    said = sync.store()["ip:192.0.2.7"]["cif/csirtg.io"]
    scale = 4 if version == 5 else 10
    assert said["confidence"] == 3 / scale * 10
    assert said["tlp"] == "GREEN" and said["tags"] == "malware,botnet" and said["reference"] == "https://ref.example/1"
    assert said["description"] == "seen; rdata evil.example"
    assert "group:partners" in sync.store()["cidr:203.0.113.0/24"]["cif/csirtg.io"]["tags"]
    asked = [r for r in server.requests if "itype" in r.query]
    assert all(r.query["nolog"] == "1" for r in asked), "looking leaves no trace"
    assert {r.query["itype"] for r in asked} == set(server.site.itypes)
    assert f"cif.v{version}+json" in asked[0].headers["Accept"]


def test_cif_is_paged_by_time(sync, server):
    rows = [row(3, f"198.51.{n // 256}.{n % 256}", "ipv4", ago=100 + 7 * n) for n in range(2300)]
    rows += [row(3, "198.51.0.1", "ipv4", ago=200 + n, provider=f"p{n}", confidence=2) for n in range(300)]  # put into one
    server.site = Cif3(rows, TOKEN, limit=250)
    done = sync.feeds(cif_feed(server, 3, itypes="ipv4")).run()
    assert done["result"] == "done"
    assert sync.names() == ip_names(*range(2300))
    assert len(server.requests) > 10


def test_cif_cut_off_is_an_alarm(sync, server):
    """More rows in one second than a server gives at once: nothing is taken back, and it is said."""
    at = iso(HOUR)
    rows = [row(3, f"198.51.{n // 256}.{n % 256}", "ipv4", reporttime=at) for n in range(700)]
    server.site = Cif3(rows, TOKEN, limit=500)
    sync.redis.hset("intel:ip:203.0.113.1", "cif/other", "{}")
    done = sync.feeds(cif_feed(server, 3, itypes="ipv4")).run(code=1)
    assert (done["result"], done["items"], done["removed"]) == ("cut", 500, 0)
    assert "cut off" in sync.said
    assert sync.run("--full", code=1)["result"] == "cut"
    sync.feeds(cif_feed(server, 3, itypes="ipv4", pages="false")).run("--full", code=1)


def test_cif_asks_for_what_is_new_then(sync, server):
    rows = [row(3, f"198.51.0.{n}", "ipv4", ago=2 * HOUR + n) for n in range(50)]
    server.site = Cif3(rows, TOKEN)
    sync.feeds(cif_feed(server, 3, itypes="ipv4,fqdn")).run()
    del server.requests[:], rows[:20]  # aged out of the server
    rows.append(row(3, "203.0.113.1", "ipv4", ago=5))
    done = sync.run()
    assert done["delta"] and done["put"] == 1 and done["removed"] == 0
    start = server.requests[0].query["reporttime"].split(",")[0]
    assert start > iso(2 * HOUR + 700)
    full = sync.run("--full")
    assert not full["delta"] and full["removed"] == 20


@pytest.mark.parametrize("pack", [packed, elastic, lambda rows: "{}" if not rows else rows], ids=["gzip", "elastic", "empty"])
def test_cif_other_shapes_of_data(sync, server, pack):
    server.site = Cif3([row(3, "192.0.2.7", "ipv4")], TOKEN, pack=pack)
    sync.feeds(cif_feed(server, 3)).run()
    assert sync.names() == {"ip:192.0.2.7"}


def test_cif_confidences(sync, server):
    rows = [row(3, f"192.0.2.{n}", "ipv4", confidence=n) for n in (2, 5, 8, 85)]
    server.site = Cif3(rows, TOKEN)
    sync.feeds(cif_feed(server, 3, itypes="ipv4", confidence="5")).run()
    assert {key: words["cif/csirtg.io"]["confidence"] for key, words in sync.store().items()} == {
        "ip:192.0.2.5": 5, "ip:192.0.2.8": 8, "ip:192.0.2.85": 8.5}


@pytest.mark.parametrize("fault, word", [
    (Fault(change=lambda a: Answer(a.body[:-10])), "JSON"), (Fault(401), "token"), (Fault(429), "429"),
    (Fault(change=lambda a: Answer({"status": "failure", "message": "no way"})), "no way"),
    (Fault(change=lambda a: Answer({"answer": 42})), "data"),
    (Fault(change=lambda a: Answer({"data": "!!"})), "base64")], ids=["cut", "401", "429", "failure", "other", "text"])
@pytest.mark.parametrize("after", [0, 3])
def test_cif_fails(sync, server, fault, word, after):
    server.site = Cif3([row(3, f"198.51.0.{n}", "ipv4") for n in range(50)], TOKEN)
    sync.feeds({**cif_feed(server, 3), "patience": "1s"}).run()
    store = sync.store()
    server.site.rows = [row(3, f"198.51.1.{n}", "ipv4") for n in range(50)]
    server.fault(fault, times=50, after=after)
    assert word in sync.run("--full", code=111)["error"]
    assert sync.store() == store


def test_cif_what_only_a_delta_brought_goes(sync, server):
    """Its server never says that something is gone: the next complete reading finds it, though it names the same as the last."""
    rows = [row(3, f"198.51.0.{n}", "ipv4", ago=2 * HOUR + n) for n in range(20)]
    server.site = Cif3(rows, TOKEN)
    sync.feeds({**cif_feed(server, 3, itypes="ipv4"), "full_interval": "30s"}).run()
    mark = sync.state("cif")["sync.print"]
    assert sync.run()["put"] == 0
    assert sync.state("cif")["sync.print"] == mark, "a delta that brings nothing makes no sweep necessary"
    rows.append(row(3, "203.0.113.1", "ipv4", ago=5))
    done = sync.run()
    assert done["delta"] and done["put"] == 1
    assert "sync.print" not in sync.state("cif")
    rows.pop()
    time.sleep(31)
    full = sync.run()
    assert not full["delta"] and full["removed"] == 1
    assert sync.names() == ip_names(*range(20))


# ---- TAXII ---------------------------------------------------------------------------------------------------------------------------------

def stix(number, value, **more):
    return {"type": "indicator", "spec_version": "2.1", "id": f"indicator--{number:08d}-0000-4000-8000-000000000000",
            "created": "2026-11-01T00:00:00.000Z", "modified": "2026-11-01T00:00:00.000Z", "name": "bad",
            "pattern": f"[ipv4-addr:value = '{value}']", "pattern_type": "stix", "valid_from": "2026-11-01T00:00:00Z",
            "confidence": 85, **more}


ONE, TWO = "91a7b528-80eb-42ed-a74d-c6fbd5a26116", "52892447-4d7e-4f70-b94d-d7f22742ff63"


def taxii_site(count=25, **more):
    objects = [(f"2026-11-01T00:00:{n % 60:02d}.{n:06d}Z", stix(n, f"198.51.0.{n}")) for n in range(count)]
    return Taxii({ONE: {"title": "One", "objects": objects}, TWO: {"title": "Two", "objects": []},
                  "secret": {"title": "Not ours", "can_read": False, "objects": []}},
                 "Basic " + base64.b64encode(f"me:{TOKEN}".encode()).decode(), **more)


def taxii_feed(server, path="/taxii2/", **options):
    return {"name": "taxii", "type": "taxii", "url": server.url + path, "username": "me", "token": TOKEN, "options": options}


@pytest.mark.parametrize("path", ["/taxii2/", "/taxii2/api1/", f"/taxii2/api1/collections/{ONE}/",
                                  f"/taxii2/api1/collections/{ONE}/objects/"])
@pytest.mark.parametrize("paging", ["next", "date"])
def test_taxii(sync, server, path, paging):
    server.site = taxii_site(page_max=10, paging=paging)
    done = sync.feeds(taxii_feed(server, path, limit="10")).run()
    assert (done["result"], done["put"]) == ("done", 25)
    assert sync.names() == ip_names(*range(25))
    assert sync.store()["ip:198.51.0.3"]["taxii/taxii"]["confidence"] == 8.5
    assert len(server.asked(f"/taxii2/api1/collections/{ONE}/objects/")) == 3


def test_taxii_asks_for_what_was_added_then(sync, server):
    server.site = taxii_site()
    sync.feeds(taxii_feed(server)).run()
    objects = server.site.collections[ONE]["objects"]
    objects.append(("2026-11-02T00:00:00.000000Z", stix(100, "203.0.113.1")))
    objects.append(("2026-11-02T00:00:01.000000Z", stix(3, "198.51.0.3", revoked=True)))
    objects.append(("2026-11-02T00:00:02.000000Z", stix(101, "198.51.0.5", revoked=True)))  # object 5 says it still
    del server.requests[:]
    done = sync.run()
    assert done["delta"] and (done["put"], done["removed"]) == (1, 1)
    assert sync.names() == ip_names(*range(3), *range(4, 25)) | {"ip:203.0.113.1"}
    assert server.asked(f"/taxii2/api1/collections/{ONE}/objects/")[0].query["added_after"] == "2026-11-01T00:00:24.000024Z"
    del objects[:5]
    assert sync.run("--full")["removed"] == 4, "what the collection no longer has"


@pytest.mark.parametrize("site, options, word", [
    (taxii_site(page_max=10, paging="none"), {}, "more"),
    (taxii_site(roots=["https://taxii.elsewhere.example/api1/"]), {}, "another server"),
    (taxii_site(), {"collections": "nothing"}, "no collection"),
    (Files({"/taxii2/": b'{"title": "no TAXII"}'}), {}, "neither"),
    (Files({"/taxii2/": b"[1, 2"}), {}, "JSON"),
], ids=["nowhere", "elsewhere", "none", "other", "cut"])
def test_taxii_fails(sync, server, site, options, word):
    server.site = taxii_site()
    sync.feeds(taxii_feed(server)).run()
    store = sync.store()
    server.site = site
    assert word in sync.feeds(taxii_feed(server, limit="10", **options)).run("--full", code=111)["error"]
    assert sync.store() == store


# ---- MISP ----------------------------------------------------------------------------------------------------------------------------------

def uuid(number):
    return f"{number:08d}-0000-4000-8000-000000000000"


def events(*numbers, at=1_700_000_000):
    return [misp_event(uuid(n), at + n, [misp_attribute(uuid(1000 + n), "ip-dst", f"198.51.0.{n}", at + n)]) for n in numbers]


def test_misp_feed(sync, server):
    server.site = MispFeed(events(*range(10)))
    feed = {"name": "misp", "type": "misp", "url": server.url + "/feed/"}
    assert sync.feeds(feed).run()["put"] == 10
    assert sync.names() == ip_names(*range(10))
    assert set(sync.store()["ip:198.51.0.1"]) == {"misp/ORG"}
    assert len({r.connection for r in server.requests}) == 1, "one connection for a thousand events"
    assert sync.run()["result"] == "unchanged"
    server.site.set(events(*range(2, 11)))
    del server.requests[:]
    done = sync.run()
    assert done["delta"] and done["put"] == 1
    assert len(server.requests) == 3, "the manifest, the newest again, and the new one"
    assert sync.run("--full")["removed"] == 2
    assert sync.names() == ip_names(*range(2, 11))


def test_misp_feed_with_a_hole(sync, server):
    server.site = MispFeed(events(*range(10)))
    sync.feeds({"name": "misp", "type": "misp", "url": server.url + "/feed/manifest.json"}).run()
    server.site = MispFeed(events(*range(10)), missing=(uuid(4),))
    done = sync.run("--full")
    assert done["refused"] == 1 and done["removed"] == 0
    assert sync.names() == ip_names(*range(10)), "an event that cannot be read is not taken back"


def test_misp_server(sync, server):
    now = int(time.time())
    attributes = [misp_attribute(uuid(n), "ip-dst", f"198.51.0.{n}", now - 9000 + 100 * n) for n in range(25)]
    attributes += [misp_attribute(uuid(50), "comment", "just words", now - 5000, to_ids=False)]
    server.site = Misp(attributes, TOKEN)
    feed = {"name": "misp", "type": "misp", "url": server.url, "token": TOKEN, "options": {"limit": "10"}}
    assert sync.feeds(feed).run()["put"] == 25
    assert [json.loads(r.body)["page"] for r in server.requests] == [1, 2, 3]
    attributes[3] = misp_attribute(uuid(3), "ip-dst", "198.51.0.3", now, deleted=True)
    attributes[4] = misp_attribute(uuid(4), "ip-dst", "198.51.0.4", now, to_ids=False)
    attributes += [misp_attribute(uuid(60), "domain", "evil.example", now),
                   misp_attribute(uuid(61), "ip-dst", "198.51.0.5", now, to_ids=False),  # others that say it, too
                   misp_attribute(uuid(62), "ip-dst|port", "198.51.0.6|443", now, deleted=True)]
    done = sync.run()
    assert done["delta"] and (done["put"], done["removed"]) == (1, 2)
    assert sync.names() == ip_names(*range(3), *range(5, 25)) | {"domain:evil.example"}
    server.site.key = "another"
    assert "403" in sync.run(code=111)["error"] and TOKEN not in sync.said


# ---- the command --------------------------------------------------------------------------------------------------------------------------

def test_called_wrongly(sync, server):
    sync.feeds({"name": "a", "type": "list", "url": server.url})
    for args, word in ((["b"], 'no feed "b"'), (["--watch", "--full"], "--watch is for all")):
        done = subprocess.run(sync.command(*args), capture_output=True, text=True)
        assert done.returncode == 100 and word in done.stderr
    assert not server.requests


def test_one_of_two_fails(sync, server):
    server.site = Files({"/b.txt": ips(1)})
    sync.feeds(*({"name": name, "type": "list", "url": f"{server.url}/{name}.txt"} for name in "ab"))
    a, b = sync.run(code=111)
    assert (a["result"], b["result"]) == ("failed", "done")
    assert sync.names() == ip_names(1)
    plain = subprocess.run([w for w in sync.command("b") if w != "--json"], capture_output=True, text=True)
    assert plain.stdout.startswith("b: unchanged") and plain.stderr == "" and plain.returncode == 0


def as_writer(sync):
    user = f'"username": "writer", "password": "{WRITER}", "urls"'
    sync.config.write_text(sync.config.read_text().replace('"urls"', user))


def test_what_a_feed_could_not_write_is_not_written_with_the_next(tmp_path, redis_servers, server):
    sync = Sync(tmp_path, redis_servers(acl=True))
    server.site = Files({"/a.txt": b"".join(b"10.0.%d.%d\n" % divmod(n, 256) for n in range(3000)), "/b.txt": b"203.0.113.9\n"})
    sync.feeds(*({"name": name, "type": "list", "url": f"{server.url}/{name}.txt"} for name in "ab"))
    as_writer(sync)
    written = (f"%W~intel:{name}" for name in ("feed:*", "lease:*", "changes", "epoch", "ip:203.*"))
    sync.redis.execute_command("ACL", "SETUSER", "writer", "resetkeys", "%R~intel:*", *written)
    a, b = sync.run(code=111)
    assert (a["result"], a["refused"], b["result"], b["put"]) == ("failed", 0, "done", 1), sync.said


def test_a_user_who_may_do_just_that(tmp_path, redis_servers, server):
    """With the rules that the reference gives a writer: puts, sweeps, leases, state."""
    sync = Sync(tmp_path, redis_servers(acl=True))
    server.site = Files({"/list.txt": ips(*range(100))})
    sync.feeds({"name": "list", "type": "list", "url": server.url + "/list.txt"})
    as_writer(sync)
    assert sync.run()["put"] == 100
    server.site.files["/list.txt"] = ips(*range(10, 100))
    assert sync.run()["removed"] == 10


# ---- what was seen, told to servers -----------------------------------------------------------------------------------------------------

def post(*words):
    done = subprocess.run([str(DRIVER)], input="post " + " ".join(map(str, words)) + "\n", capture_output=True, text=True, timeout=60)
    return done.stdout.splitlines()


@pytest.mark.parametrize("version", [3, 4, 5])
def test_sightings_to_cif(sync, server, version):
    server.site = SITES[version]([], TOKEN)
    lines = post("cif", server.url, TOKEN, version, "ip", "192.0.2.7", "-", 5, "url", "evil.example/a", "-", 1, "user", "root", "-", 1,
                 "cidr", "2001:db8::/32", "-", 2)
    assert lines[0] == "posted 4", lines
    at = "lasttime" if version == 3 else "last_at"
    assert [(r["indicator"], r["itype"], r["count"], r["tags"], r[at]) for r in server.site.reports] == [
        ("192.0.2.7", "ipv4", 5, ["sighting"], "2023-11-14T22:13:20Z"),
        ("http://evil.example/a", "url", 1, ["sighting"], "2023-11-14T22:13:20Z"),
        ("2001:db8::/32", "ipv6", 2, ["sighting"], "2023-11-14T22:13:20Z")]
    time_key = server.site.time_key
    server.site.rows = [{**report, time_key: iso(60)} for report in server.site.reports]
    assert sync.feeds(cif_feed(server, version)).run()["put"] == 0, "what we told does not come back as an indicator"


def test_sightings_to_misp(server):
    server.site = Misp([misp_attribute(uuid(1), "ip-dst", "192.0.2.7"), misp_attribute(uuid(2), "url", "http://evil.example/a")], TOKEN)
    started = time.monotonic()
    lines = post("misp", server.url, TOKEN, "-", "ip", "192.0.2.7", "-", 5, "url", "evil.example/a", uuid(2), 1, "ip", "192.0.2.99", "-", 1)
    assert lines[0] == "posted 3", lines
    assert server.site.sightings == [("192.0.2.7", 1700000000, "tapline"), ("http://evil.example/a", 1700000000, "tapline")]
    assert time.monotonic() - started >= 0.6, "five a second at most"
    server.fault(Fault(500), after=1, times=50)
    lines = post("misp", server.url, TOKEN, "-", "ip", "192.0.2.7", "-", 5, "ip", "192.0.2.7", "-", 5)
    assert lines[0] == "posted 1" and lines[1].startswith("NET"), "the others can be told again"
    server.faults.clear()
    lines = post("misp", server.url, "wrong", "-", "ip", "192.0.2.7", "-", 5)
    assert lines[0] == "posted 0" and lines[1].startswith("BAD") and "403" in lines[1]
    lines = post("list", server.url, TOKEN, "-", "ip", "192.0.2.7", "-", 5)
    assert lines[1].startswith("BAD")
