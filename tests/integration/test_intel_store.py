"""The store of indicators against a real redis-server that is killed, stopped, flushed, failed over, locked and cut.
intel_driver is the program's own store, one command a line. What it wrote is looked at with a foreign client, too.
SPDX-License-Identifier: Apache-2.0
"""
import json
import os
import pathlib
import re
import socket
import subprocess
import threading
import time

import pytest
import redis

import redis_server as rs
import rig

HERE = pathlib.Path(__file__).resolve().parent
DRIVER = os.environ.get("INTEL_DRIVER", HERE.parent.parent / "build/dev/tests/integration/intel_driver")
PATIENCE_MS = 10000  # for what comes in a moment
REFERENCE = HERE.parent.parent / "docs/reference/intel-keys.inc"


class Store:
    """One intel_driver with an open store."""

    def __init__(self, how, *words):
        self.process = subprocess.Popen([str(DRIVER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        text=True)
        self.log = []
        self.reader = threading.Thread(target=lambda: self.log.extend(self.process.stderr), daemon=True)
        self.reader.start()
        self.opened = self.do("open", how, *words)

    def do(self, *words):
        """Lines of the answer; the last is OK … or an error."""
        self.send(*words)
        return self.answer()

    def send(self, *words):
        self.process.stdin.write(" ".join(str(word) for word in words) + "\n")
        self.process.stdin.flush()

    def answer(self):
        lines = []
        while True:
            line = self.process.stdout.readline()
            assert line, "intel_driver died: " + "".join(self.log)
            lines.append(line.rstrip("\n"))
            if re.match(r"(OK|AGAIN|GONE|IO|BAD|LIMIT|LOCKED|NET) ", line):
                return lines

    def ok(self, *words):
        lines = self.do(*words)
        assert lines[-1].startswith("OK "), lines[-1]
        return lines[:-1]

    def counts(self):
        return dict((name, int(value)) for name, value in re.findall(r"(\w+)=(\d+)", self.do("flush")[-1]))

    def get(self, kind, value, ms=20000):
        """What is found, as the driver's words; [] for nothing."""
        lines = self.ok("get", ms, kind, value)
        return lines[-1].split(" ")[3:]

    def wait_log(self, text):
        """What it says may come behind the answer."""
        rig.wait_for(f"{text!r} in the log", lambda: text in "".join(self.log))

    def follows(self, ms=200):
        """What follow() says at last: while there is no connection it is called again."""
        return rig.wait_for("a server to follow", lambda: not (last := self.do("follow", ms)[-1]).startswith("NET ") and last)

    def has_nothing_new(self):
        return self.follows(50).startswith("AGAIN ")

    def finds(self, value="192.0.2.1"):
        """Until somebody answers."""
        rig.wait_for("an answer", lambda: self.do("get", 200, "ip", value)[-1].startswith("OK "))

    def close(self):
        self.process.stdin.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.reader.join(5)
        assert self.process.returncode in (0, -9), "".join(self.log)  # a sanitizer's word is one, too; -9: kill()

    def kill(self):
        self.process.kill()
        self.process.wait()


class Gate:
    """A way to a server where a piece that contains `word` is held back until the test lets it go, and a word of its answers
    is another one of the same length, or where each piece takes its time."""

    def __init__(self, port, word=None, answer=(b"", b""), late_s=0):
        self.port, self.word, self.other, self.late_s = port, word, answer, late_s
        self.held, self.go = threading.Event(), threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                near = self.listener.accept()[0]
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self.port))
            for source, target in ((near, far), (far, near)):
                threading.Thread(target=self.pass_on, args=(source, target, near), daemon=True).start()

    def pass_on(self, source, target, near):
        word = self.word if source is near else None
        try:
            while piece := source.recv(1 << 20):
                time.sleep(self.late_s)
                if word is not None and word in piece:
                    self.held.set()
                    assert self.go.wait(60)
                target.sendall(piece if source is near else piece.replace(*self.other))
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def close(self):
        self.go.set()
        self.listener.close()


@pytest.fixture
def gate(redis_server):
    made = Gate(redis_server.port, b"EXEC")
    yield made
    made.close()


def number(lines, name):
    return next(int(float(line.split()[1])) for line in lines if line.startswith(name + " "))


def changes(lines):
    return [line for line in lines if line.split()[0] in ("add", "remove", "allow", "unallow")]


@pytest.fixture
def stores():
    made = []

    def make(how, *words):
        made.append(Store(how, *words))
        assert made[-1].opened[-1].startswith("OK "), made[-1].opened[-1]
        return made[-1]

    yield make
    for store in made:
        store.close()


# ---- the layout -----------------------------------------------------------------------------------------------------


def test_put_get_remove_and_what_a_foreign_client_sees(redis_server, stores):
    writer, reader, client = stores("writer", redis_server.unix_url), stores("reader", redis_server.url), redis_server.client()
    writer.ok("put", "ip", "192.0.2.1", "mine", "soc", "confidence=85", "description=bad")
    writer.ok("put", "ip", "192.0.2.1", "mine", "other/team", "confidence=100")
    writer.ok("put", "domain", "evil.example", "cif", "everyone", "subdomains")
    writer.ok("flush")
    assert client.hgetall("intel:ip:192.0.2.1") == {b"mine/soc": b'{"confidence":8.5,"description":"bad"}',
                                                    b"mine/other/team": b'{"confidence":10}'}
    assert json.loads(client.hget("intel:domain:evil.example", "cif/everyone")) == {"subdomains": True}
    assert client.ttl("intel:ip:192.0.2.1") == -1
    assert len(client.get("intel:epoch")) == 32
    [(_, entry)] = client.xrange("intel:changes")
    assert client.xlen("intel:changes") == 1
    assert reader.get("ip", "192.0.2.1") == ["mine/other/team:100:-", "mine/soc:85:bad"]  # sorted
    assert reader.get("domain", "evil.example") == ["cif/everyone:-1:-:subdomains"]
    assert reader.get("domain", "www.evil.example") == []
    writer.ok("remove", "ip", "192.0.2.1", "mine", "soc")
    writer.ok("flush")
    assert reader.get("ip", "192.0.2.1") == ["mine/other/team:100:-"]
    writer.ok("remove", "ip", "192.0.2.1", "mine")
    writer.ok("flush")
    assert reader.get("ip", "192.0.2.1") == [] and client.exists("intel:ip:192.0.2.1") == 0
    assert {b"remove": b"ip:192.0.2.1"} in [entry for _, entry in client.xrange("intel:changes")]


def test_the_same_again_changes_nothing_and_is_not_streamed(redis_server, stores):
    writer, client = stores("writer", redis_server.unix_url), redis_server.client()
    writer.ok("load", 3000, 1)
    entries = client.xlen("intel:changes")
    assert writer.counts() == {"put": 3000, "same": 0, "removed": 0, "refused": 0}
    writer.ok("load", 3000, 1)
    assert writer.counts() == {"put": 3000, "same": 3000, "removed": 0, "refused": 0}
    assert client.xlen("intel:changes") == entries == 6
    assert client.dbsize() == 3002  # epoch, changes


def test_expiry_is_that_of_the_last_word(redis_server, stores):
    writer, client = stores("writer", redis_server.unix_url), redis_server.client()
    soon, late = int(time.time()) + 5, int(time.time()) + 1000
    writer.ok("put", "ip", "192.0.2.1", "a", "a", f"expires={late}")
    writer.ok("flush")
    assert client.expiretime("intel:ip:192.0.2.1") == late
    writer.ok("put", "ip", "192.0.2.1", "b", "b", f"expires={soon}")
    writer.ok("put", "ip", "192.0.2.9", "a", "a", f"expires={soon}")
    writer.ok("put", "ip", "192.0.2.8", "a", "a", f"expires={int(time.time()) - 5}")  # over before it came
    writer.ok("flush")
    assert client.expiretime("intel:ip:192.0.2.1") == late
    assert len(writer.get("ip", "192.0.2.1")) == 2
    assert client.exists("intel:ip:192.0.2.8") == 0 and client.exists("intel:ip:192.0.2.9") == 1
    time.sleep(max(0.0, soon + 0.2 - time.time()))
    assert client.exists("intel:ip:192.0.2.9") == 0
    assert writer.get("ip", "192.0.2.1") == ["a/a:-1:-"]  # b's word is over
    writer.ok("put", "ip", "192.0.2.1", "c", "c")
    writer.ok("flush")
    assert client.expiretime("intel:ip:192.0.2.1") == -1  # c's is for ever
    assert client.hkeys("intel:ip:192.0.2.1") == [b"a/a", b"c/c"]  # and what was over went with it
    writer.ok("remove", "ip", "192.0.2.1", "c")
    writer.ok("flush")
    assert client.expiretime("intel:ip:192.0.2.1") == late


def test_a_word_for_another_in_one_chunk_keeps_the_expiry(redis_server, stores):
    writer, client = stores("writer", redis_server.unix_url), redis_server.client()
    late = int(time.time()) + 1000
    writer.ok("put", "ip", "192.0.2.7", "f", "p1", f"expires={late}")
    writer.ok("flush")
    writer.ok("remove", "ip", "192.0.2.7", "f", "p1")
    writer.ok("put", "ip", "192.0.2.7", "f", "p2", f"expires={late}")
    writer.ok("flush")
    assert client.hkeys("intel:ip:192.0.2.7") == [b"f/p2"] and client.expiretime("intel:ip:192.0.2.7") == late


def test_a_change_sets_right_the_expiry_that_others_forgot(redis_server, stores):
    writer, client = stores("writer", redis_server.unix_url), redis_server.client()
    late = int(time.time()) + 1000
    client.hset("intel:ip:192.0.2.7", "mine/soc", json.dumps({"expires": late}))
    client.hset("intel:ip:192.0.2.8", "mine/soc", "{}")
    client.expire("intel:ip:192.0.2.8", 100)
    writer.ok("put", "ip", "192.0.2.7", "f", "p", f"expires={late - 500}")
    writer.ok("put", "ip", "192.0.2.8", "f", "p")
    writer.ok("flush")
    assert client.expiretime("intel:ip:192.0.2.7") == late and client.ttl("intel:ip:192.0.2.8") == -1


def test_too_many_providers_are_refused_and_counted(redis_server, stores):
    writer, client = stores("writer", redis_server.unix_url), redis_server.client()
    for i in range(40):
        writer.ok("put", "ip", "192.0.2.1", "feed", f"p{i:02}")
    writer.ok("flush")
    assert writer.counts()["refused"] == 8 and client.hlen("intel:ip:192.0.2.1") == 32


def test_the_allow_list(redis_server, stores):
    writer, reader = stores("writer", redis_server.unix_url), stores("reader", redis_server.url)
    reader.ok("build")
    for kind, value in (("ip", "10.0.0.1"), ("cidr", "10.0.0.0/8"), ("domain", "good.example")):
        writer.ok("allow", kind, value)
        writer.ok("allow", kind, value)
    assert sorted(changes(reader.ok("follow", PATIENCE_MS))) == ["allow cidr 10.0.0.0/8", "allow domain good.example",
                                                          "allow ip 10.0.0.1"]
    assert sorted(reader.ok("allowed")) == sorted(changes(reader.ok("build")))
    writer.ok("unallow", "ip", "10.0.0.1")
    assert changes(reader.ok("follow", PATIENCE_MS)) == ["unallow ip 10.0.0.1"]
    writer.ok("allow", "url", "a.example/")
    assert changes(reader.ok("follow", PATIENCE_MS)) == ["allow url a.example/"]


def test_state_leases_sightings(redis_server, stores):
    one, two, client = stores("writer", redis_server.unix_url), stores("writer", redis_server.url), redis_server.client()
    one.ok("state_put", "cif", "etag", "abc")
    one.ok("state_put", "cif", "cursor", "9")
    two.ok("state_put", "cif", "etag")
    assert two.ok("state_get", "cif") == ["state cursor=9"] and two.ok("state_get", "other") == []
    one.ok("lease_take", "cif", 30000)
    locked = two.do("lease_take", "cif", 30000)[-1]
    assert locked.startswith("LOCKED ") and str(one.process.pid) in locked
    one.ok("lease_renew", 60000)
    assert 30000 < client.pttl("intel:lease:cif") <= 60000
    one.ok("lease_give")
    two.ok("lease_take", "cif", 30000)
    one.do("lease_give")  # not ours any more: nobody's mistake, and theirs stays
    assert client.exists("intel:lease:cif") == 1
    two.ok("lease_renew", 300)
    rig.wait_for("the end of the lease", lambda: client.exists("intel:lease:cif") == 0)
    assert two.do("lease_renew", 300)[-1].startswith("GONE ")
    day = 20000
    one.ok("seen", "ip", "192.0.2.1", day, 5, "token-1")
    two.ok("seen", "ip", "192.0.2.1", day, 5, "token-1")  # the same counts again
    two.ok("seen", "ip", "192.0.2.1", day, 2, "token-2")
    assert one.ok("seen_day", day) == ["seen ip 192.0.2.1 7"] or client.ttl("intel:seen:2024-10-04") == -2
    today = int(time.time()) // 86400
    one.ok("seen", "domain", "a.example", today, 1)
    assert client.ttl("intel:seen:" + time.strftime("%Y-%m-%d", time.gmtime(today * 86400))) > 390 * 86400


def test_what_others_write_with_redis_cli(redis_server, stores):
    """The commands that the reference gives, as they stand there."""
    reader, client = stores("reader", redis_server.url), redis_server.client()
    reader.ok("build")
    block = re.search(r"\.\. cli-example-begin\n(.*?)\.\. cli-example-end", REFERENCE.read_text(), re.S).group(1)
    for line in re.findall(r"^ +\$ redis-cli (.*)$", block, re.M):
        run = subprocess.run(f"redis-cli -p {redis_server.port} {line}", shell=True, capture_output=True, text=True)
        assert run.returncode == 0 and "ERR" not in run.stdout, run.stdout + run.stderr
    told = changes(reader.ok("follow", PATIENCE_MS))
    assert "add domain evil.example subdomains" in told and "add ip 192.0.2.7" in told
    assert reader.get("ip", "192.0.2.7") == ["mine/soc:85:seen_in_case_42"]
    assert 0 < client.ttl("intel:ip:192.0.2.7")
    client.hset("intel:ip:192.0.2.99", mapping={"bad/one": "no json", "good/one": '{"confidence":3,"unknown":[1]}'})
    assert reader.get("ip", "192.0.2.99") == ["good/one:30:-"]
    client.set("intel:ip:192.0.2.100", "a string")
    assert reader.get("ip", "192.0.2.100") == []
    reader.wait_log("192.0.2.100")  # said, and the others go on
    writer = stores("writer", redis_server.url)
    for value in ("192.0.2.100", "192.0.2.101"):
        writer.ok("put", "ip", value, "f", "p")
    assert writer.counts() == {"put": 1, "same": 0, "removed": 0, "refused": 1}
    assert client.get("intel:ip:192.0.2.100") == b"a string" and reader.get("ip", "192.0.2.101")


def test_a_word_by_hand_between_our_look_and_our_change_is_seen(redis_server, stores, gate):
    """By hand, the entry in the stream comes last: what is written before it is to be seen all the same."""
    writer, client = stores("writer", gate.url), redis_server.client()
    soon = int(time.time()) + 100
    writer.ok("put", "ip", "192.0.2.7", "f", "p", f"expires={soon}")
    writer.send("flush")
    assert gate.held.wait(60)
    client.hset("intel:ip:192.0.2.7", "mine/soc", "{}")  # for ever
    gate.go.set()
    assert writer.answer()[-1].startswith("OK ")
    client.xadd("intel:changes", {"add": "ip:192.0.2.7"}, maxlen=10000)
    assert sorted(client.hkeys("intel:ip:192.0.2.7")) == [b"f/p", b"mine/soc"]
    assert client.ttl("intel:ip:192.0.2.7") == -1


def test_a_writer_beside_us_loses_nothing(redis_server, stores):
    """Two programs load different feeds for the same indicators at the same time."""
    one, two, client = stores("writer", redis_server.unix_url), stores("writer", redis_server.unix_url), redis_server.client()
    for i in range(3000):
        one.send("put", "ip", f"10.1.{i // 250}.{i % 250}", "one", "one")
        two.send("put", "ip", f"10.1.{i // 250}.{i % 250}", "two", "two")
        one.answer(), two.answer()
    one.send("flush")
    two.ok("flush")
    assert one.answer()[-1].startswith("OK ")
    assert all(client.hlen(key) == 2 for key in client.scan_iter("intel:ip:*", count=1000))
    assert client.dbsize() == 3002


# ---- following ------------------------------------------------------------------------------------------------------------


def test_build_then_follow_while_it_is_loaded(redis_server, stores):
    writer, reader = stores("writer", redis_server.unix_url), stores("reader", redis_server.url)
    writer.ok("load", 20000, 1)
    assert number(reader.ok("build", "quiet"), "adds") == 20000
    assert reader.has_nothing_new()
    reader.send("follow", 40000)
    time.sleep(0.2)
    start = time.monotonic()
    writer.ok("put", "domain", "late.example", "f", "p", "subdomains")
    writer.ok("flush")
    assert changes(reader.answer()) == ["add domain late.example subdomains"]
    assert time.monotonic() - start < 20, "it came when the time for waiting was over"
    writer.ok("load", 30000, 2)
    assert number(reader.ok("follow", PATIENCE_MS, "quiet"), "adds") == 30000
    writer.ok("put", "domain", "late.example", "f", "p", "description=other", "subdomains")  # another word: no news
    writer.ok("remove", "domain", "late.example", "f")
    writer.ok("flush")
    assert changes(reader.ok("follow", PATIENCE_MS)) == ["remove domain late.example"]
    assert number(reader.ok("count"), "count") == 50002


def test_one_thread_asks_while_another_follows(redis_server, stores):
    writer, reader = stores("writer", redis_server.unix_url), stores("reader", redis_server.unix_url)
    writer.ok("put", "ip", "192.0.2.1", "f", "p")
    writer.ok("load", 2000, 1)
    reader.send("both", 4000, "ip", "192.0.2.1")
    writer.ok("load", 2000, 2)
    lines = reader.answer()
    assert lines[-1].startswith("OK ") and number(lines, "times") > 100 and number(lines, "adds") >= 4001, lines


@pytest.mark.parametrize("what", ["flushall", "trimmed", "stream removed", "history of its own"])
def test_what_makes_a_rebuild(redis_server, stores, what):
    writer, reader, client = stores("writer", redis_server.unix_url), stores("reader", redis_server.url), redis_server.client()
    writer.ok("load", 2000, 1)
    reader.ok("build", "quiet")
    if what == "flushall":
        client.flushall()
        said = "the database was emptied"
    elif what == "trimmed":
        writer.ok("load", 2000, 2)
        client.xtrim("intel:changes", maxlen=1, approximate=False)
        said = "trimmed further"
    elif what == "stream removed":
        client.delete("intel:changes")
        said = "stream of changes was removed"
    else:
        client.delete("intel:changes")
        client.xadd("intel:changes", {"add": "ip:192.0.2.5"}, id="1-1")
        said = "went back"
    gone = reader.follows()
    assert gone.startswith("GONE ") and said in gone and "read again" in gone
    adds = number(reader.ok("build", "quiet"), "adds")
    assert adds == {"flushall": 0, "trimmed": 4000}.get(what, 2000)
    assert reader.has_nothing_new()
    writer.ok("put", "ip", "192.0.2.6", "f", "p")
    writer.ok("flush")
    assert changes(reader.ok("follow", PATIENCE_MS)) == ["add ip 192.0.2.6"]


@pytest.mark.parametrize("what", ["trimmed", "flushed"])
def test_what_makes_a_rebuild_while_we_catch_up(redis_server, stores, what):
    """100 entries, of which 64 are read at a time; what happens to the others meanwhile is not to be missed."""
    writer, reader, client = stores("writer", redis_server.unix_url), stores("reader", redis_server.url), redis_server.client()
    writer.ok("put", "ip", "192.0.2.200", "f", "p")
    writer.ok("flush")
    reader.ok("build", "quiet")
    for i in range(100):
        client.hset(f"intel:ip:10.0.0.{i}", "mine/soc", "{}")
        client.xadd("intel:changes", {"add": f"ip:10.0.0.{i}"})
    reader.send("follow", PATIENCE_MS, "quiet", "pause_at=10")
    assert reader.process.stdout.readline() == "paused\n"
    if what == "trimmed":
        client.xtrim("intel:changes", maxlen=10, approximate=False)
    else:
        client.flushall()
        for i in range(100, 200):
            client.xadd("intel:changes", {"add": f"ip:10.0.0.{i}"})
    reader.send("go on")
    lines = reader.answer()
    assert lines[-1].startswith("GONE ") and "read again" in lines[-1], lines
    assert number(lines, "adds") == 64
    assert number(reader.ok("build", "quiet"), "adds") == (101 if what == "trimmed" else 0)


@pytest.mark.parametrize("version", ["7", "6.2"])
def test_a_stream_that_was_trimmed_from_its_beginning_on(redis_server, stores, version):
    """A sensor that began when there was no stream yet. Redis 6.2 does not say how many entries there ever were."""
    gate = Gate(redis_server.port, answer=(b"entries-added", b"entries-other") if version == "6.2" else (b"", b""))
    reader, client = stores("reader", gate.url), redis_server.client()

    def load(count):
        with client.pipeline(transaction=False) as pipe:
            for i in range(count):
                pipe.xadd("intel:changes", {"add": f"ip:10.0.{i >> 8}.{i & 255}"}, maxlen=10000, approximate=False)
            pipe.execute()

    reader.ok("build")
    load(9000)
    assert number(reader.ok("follow", PATIENCE_MS, "quiet"), "adds") == 9000
    client.flushall()
    reader.ok("build")
    load(10100)
    assert "trimmed further" in reader.do("follow", PATIENCE_MS, "quiet")[-1]
    gate.close()


def test_a_word_that_is_refused_while_we_follow_is_asked_again(redis_servers, stores):
    """A domain is not taken as one without subdomains because its words could not be had."""
    server = redis_servers(acl=True)
    store = stores("writer", server.url, "username=writer", f"password={rs.WRITER}")
    store.ok("build")
    store.ok("put", "domain", "fine.example", "f", "p")
    store.ok("put", "domain", "bad.example", "f", "p", "subdomains")
    store.ok("flush")
    server.client().execute_command("ACL", "SETUSER", "writer", "-hvals")
    refused = store.do("follow", 200)
    assert "ACL user may not do this" in refused[-1] and changes(refused) == []
    server.client().execute_command("ACL", "SETUSER", "writer", "+hvals")
    assert changes(store.ok("follow", 200)) == ["add domain fine.example", "add domain bad.example subdomains"]


class Narrow(Gate):
    """A way that takes 200 KB of answers a second."""

    def pass_on(self, source, target, near):
        try:
            while piece := source.recv(4096 if target is near else 1 << 20):
                time.sleep(len(piece) / 200e3 if target is near else 0)
                target.sendall(piece)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass


def test_entries_that_are_too_long_for_the_way_come_by_fewer(redis_server, stores):
    narrow = Narrow(redis_server.port)
    store = stores("reader", narrow.url)
    store.ok("build")
    pipe = redis_server.client().pipeline()
    for i in range(40):
        pairs = [f"add ip:10.{i}.{j >> 8}.{j & 255}".split() for j in range(512)]
        pipe.execute_command("XADD", "intel:changes", "*", *sum(pairs, []))
    pipe.execute()
    tries = [store.do("follow", 100, "quiet") for _ in range(2)]
    assert all(lines[-1].startswith("NET ") for lines in tries), "64 of them take more time than there is"
    while not tries[-1][-1].startswith("OK ") and len(tries) < 10:
        tries.append(store.do("follow", 100, "quiet"))
    assert sum(number(lines, "adds") for lines in tries) == 40 * 512, tries
    narrow.close()


def test_now_is_a_place_in_the_stream(redis_server, stores):
    writer, reader, late = stores("writer", redis_server.unix_url), stores("reader", redis_server.url), \
        stores("reader", redis_server.url)
    reader.ok("now")  # of a database that has nothing
    writer.ok("load", 3000, 1)
    assert number(reader.ok("follow", PATIENCE_MS, "quiet"), "adds") == 3000
    late.ok("now")
    assert late.has_nothing_new()
    writer.ok("put", "ip", "192.0.2.6", "f", "p")
    writer.ok("flush")
    assert changes(late.ok("follow", PATIENCE_MS)) == changes(reader.ok("follow", PATIENCE_MS)) == ["add ip 192.0.2.6"]
    redis_server.client().flushall()
    assert late.follows().startswith("GONE ")


# ---- Redis fails --------------------------------------------------------------------------------------------------------------


def test_a_stopped_server_holds_nobody_longer_than_the_timeout(redis_server, stores):
    writer, reader = stores("writer", redis_server.unix_url), stores("reader", redis_server.url, "connect_ms=30000")
    writer.ok("put", "ip", "192.0.2.1", "f", "p")
    writer.ok("flush")
    assert reader.get("ip", "192.0.2.1")
    reader.ok("build")
    redis_server.stop_answering()
    stopped, took_ms = time.monotonic(), []
    while time.monotonic() - stopped < float(os.environ.get("TAPLINE_STOPPED_S", "12")):
        lines = reader.do("get", 200, "ip", "192.0.2.1")
        assert re.match("(AGAIN|NET) ", lines[-1]), lines
        took_ms.append(number(lines, "took_ms"))
        time.sleep(0.3)
    # A machine that stands still holds one or another; none waits for connect_timeout.
    assert sorted(took_ms)[len(took_ms) // 2] < 400 and max(took_ms) < 10000, took_ms
    lines = reader.do("follow", 300)
    assert lines[-1].startswith("NET ") and number(lines, "took_ms") < 10000, lines
    redis_server.go_on()
    reader.finds()
    assert reader.get("ip", "192.0.2.1") == ["f/p:-1:-"]
    reader.follows()


def test_kill_and_restart_with_aof(redis_servers, stores):
    """appendfsync always: what flush() said OK to is there. everysec: the end may be missing after a power cut, but not after
    a kill -9 of the process, because the system has what was written."""
    for fsync in ("always", "everysec"):
        server = redis_servers(appendfsync=fsync)
        writer, reader = stores("writer", server.unix_url), stores("reader", server.url)
        writer.ok("load", 10000, 1)
        reader.ok("build", "quiet")
        server.kill()
        assert reader.do("get", 200, "ip", "192.0.2.1")[-1].startswith("NET ")
        assert reader.do("follow", 200)[-1].startswith("NET ")
        server.start()
        assert reader.has_nothing_new()  # nothing was lost, so no build is needed
        reader.finds()
        assert number(reader.ok("gets", PATIENCE_MS, 10000, 1), "there") == 10000
        writer.ok("load", 10000, 2)
        assert number(reader.ok("follow", PATIENCE_MS, "quiet"), "adds") == 10000


def test_a_writer_killed_in_the_middle_leaves_whole_chunks(redis_server, stores):
    writer, client = Store("writer", redis_server.unix_url), redis_server.client()
    writer.send("load", 2000000, 1)
    rig.wait_for("some indicators", lambda: client.dbsize() >= 20000, timeout=60)
    writer.kill()
    rig.wait_for("what lies in the socket still to be carried out", lambda: len(client.client_list()) == 1)
    keys = {key[len(b"intel:"):] for key in client.scan_iter("intel:*", count=5000)} - {b"changes", b"epoch"}
    client.set_response_callback("XRANGE", lambda answer, **_: answer)  # a field may stand in an entry many times
    entries = [pairs for _, pairs in client.execute_command("XRANGE", "intel:changes", "-", "+")]
    assert entries and all(len(pairs) == 2 * 512 for pairs in entries)
    assert {key for pairs in entries for key in pairs[1::2]} == keys  # every key is streamed, nothing else is


def test_failover_to_a_replica(redis_servers, stores):
    primary = redis_servers()
    replica = redis_servers(replica_of=primary).wait_for_replica()
    writer = stores("writer", primary.url, replica.url)
    reader = stores("reader", primary.url, replica.url)
    writer.ok("load", 5000, 1)
    reader.ok("build", "quiet")
    replica.wait_for_replica()
    primary.kill()
    lines = rig.wait_for("an answer", lambda: (said := reader.do("gets", 5000, 5000, 1))[-1].startswith("OK ") and said)
    assert number(lines, "there") == 5000  # the replica answers
    assert reader.has_nothing_new()  # the replica had all of it
    writer.send("put", "ip", "192.0.2.1", "f", "p")
    writer.answer()
    refused = writer.do("flush")[-1]
    assert refused.startswith("NET "), refused
    replica.client().execute_command("REPLICAOF", "NO", "ONE")
    rig.wait_for("the chunk, which was kept", lambda: writer.do("flush")[-1].startswith("OK "), pause=0.2)
    assert changes(reader.ok("follow", PATIENCE_MS)) == ["add ip 192.0.2.1"]
    assert reader.get("ip", "192.0.2.1") == ["f/p:-1:-"]


def test_a_replica_is_followed_as_well(redis_servers, stores):
    primary = redis_servers()
    replica = redis_servers(replica_of=primary).wait_for_replica()
    writer, reader = stores("writer", primary.url), stores("reader", replica.url)
    reader.ok("build")
    reader.send("follow", 40000)
    time.sleep(0.2)
    writer.ok("put", "domain", "late.example", "f", "p", "subdomains")
    writer.ok("flush")
    assert changes(reader.answer()) == ["add domain late.example subdomains"]
    assert reader.get("domain", "late.example") == ["f/p:-1:-:subdomains"]
    on_replica = stores("writer", replica.url)
    on_replica.ok("put", "ip", "192.0.2.1", "f", "p")
    assert "changes need the primary" in on_replica.do("flush")[-1]


def test_a_replica_that_was_behind_makes_a_rebuild(redis_servers, stores):
    primary = redis_servers()
    replica = redis_servers(replica_of=primary).wait_for_replica()
    writer = stores("writer", primary.url)
    reader = stores("reader", primary.url, replica.url)
    writer.ok("load", 1000, 1)
    replica.wait_for_replica()
    replica.client().execute_command("REPLICAOF", "NO", "ONE")  # from now on it gets nothing
    writer.ok("load", 1000, 2)
    reader.ok("build", "quiet")
    primary.kill()
    last = reader.follows()
    assert last.startswith("GONE ") and "went back" in last
    assert number(reader.ok("build", "quiet"), "adds") == 1000


def test_a_reader_goes_back_to_the_primary(redis_servers, stores):
    primary = redis_servers()
    replica = redis_servers(replica_of=primary).wait_for_replica()
    reader = stores("reader", primary.url, replica.url)
    primary.kill()
    reader.finds()
    primary.start()
    primary.client().hset("intel:ip:192.0.2.1", "f/p", "{}")
    replica.client().execute_command("REPLICAOF", "NO", "ONE")
    replica.client().flushall()
    rig.wait_for("it to leave the replica", lambda: reader.get("ip", "192.0.2.1") == ["f/p:-1:-"], timeout=60, pause=0.2)


def test_who_never_waits_and_seldom_looks_is_connected_all_the_same(redis_servers, stores, tmp_path):
    """A name, an address, TLS, a login: a step a look, and two looks take longer than connect_timeout."""
    tls = rs.make_certificates(tmp_path / "tls")
    gate = Gate(redis_servers(tls=tls).tls_port, late_s=0.05)
    url = gate.url.replace("redis:", "rediss:").replace("127.0.0.1", "localhost")
    reader = stores("reader", url, f"ca_file={tls}/ca.crt", "connect_ms=1000")
    looks = 1
    while (last := reader.do("connect", 0)[-1]).startswith("AGAIN "):
        looks += 1
        assert looks < 15, "it begins again and again"
        time.sleep(1.1)
    assert last.startswith("OK ") and looks > 2, (looks, last)
    took_ms = [number(reader.ok("get", 20000, "ip", "192.0.2.1"), "took_ms") for _ in range(5)]
    assert min(took_ms) < 200, took_ms
    gate.close()


def test_who_never_waits_leaves_a_server_that_is_silent(redis_server, stores):
    """Its connection is taken, and nothing comes: after connect_timeout, counted in part, the next one is tried."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        reader = stores("reader", f"redis://127.0.0.1:{silent.getsockname()[1]}", redis_server.url, "connect_ms=600")
        began = time.monotonic()
        while (last := reader.do("connect", 0)[-1]).startswith("AGAIN "):
            assert time.monotonic() - began < 60
            time.sleep(0.5)
        assert last.startswith("OK ")
        reader.wait_log("the next url is tried")


# ---- who is let in ----------------------------------------------------------------------------------------------------------------


def test_tls_and_what_it_refuses(redis_servers, stores, tmp_path):
    tls = rs.make_certificates(tmp_path / "tls")
    server = redis_servers(tls=tls, tls_clients=True)
    mine = (f"ca_file={tls}/ca.crt", f"cert_file={tls}/client.crt", f"key_file={tls}/client.key")
    writer = stores("writer", server.tls_url, *mine)
    writer.ok("load", 3000, 1)
    reader = stores("reader", server.tls_url.replace("localhost", "127.0.0.1"), *mine)
    assert number(reader.ok("gets", PATIENCE_MS, 3000, 1), "there") == 3000
    assert number(reader.ok("build", "quiet"), "adds") == 3000

    def refused(url, *words):
        return stores("reader", url, *words).do("get", 20000, "ip", "192.0.2.1")[-1]

    assert "not trusted" in refused(server.tls_url, f"ca_file={tls}/other-ca.crt", *mine[1:])
    assert "ended" in refused(server.tls_url, mine[0])  # without a client's certificate
    assert "TLS" in refused(server.url.replace("redis:", "rediss:"), *mine)  # the port without TLS
    assert "TLS" in refused(server.tls_url.replace("rediss:", "redis:"))  # the other way round
    wrong = rs.make_certificates(tmp_path / "wrong", names=("DNS:other.example",))
    elsewhere = redis_servers(tls=wrong)
    assert "another name" in refused(elsewhere.tls_url, f"ca_file={wrong}/ca.crt")
    assert "another name" in refused(elsewhere.tls_url.replace("localhost", "127.0.0.1"), f"ca_file={wrong}/ca.crt")
    missing = Store("reader", server.tls_url, f"ca_file={tmp_path}/none.crt")
    assert missing.opened[-1].startswith("BAD ") and "ca_file" in missing.opened[-1]
    missing.close()


def test_acl_users_of_the_reference_are_enough_and_others_are_told(redis_servers, stores):
    server = redis_servers(acl=True)
    as_writer = ("username=writer", f"password={rs.WRITER}")
    as_sensor = ("username=sensor", f"password={rs.SENSOR}")
    writer, reader = stores("writer", server.url, *as_writer), stores("reader", server.url, *as_sensor)
    writer.ok("load", 2000, 1)
    writer.ok("put", "ip", "192.0.2.1", "f", "p", f"expires={int(time.time()) + 100}")
    writer.ok("flush")
    writer.ok("put", "ip", "192.0.2.1", "f", "q")
    writer.ok("flush")
    writer.ok("remove", "ip", "192.0.2.1", "f", "q")
    writer.ok("flush")
    writer.ok("allow", "ip", "10.0.0.1")
    writer.ok("state_put", "f", "etag", "1")
    writer.ok("state_get", "f")
    writer.ok("lease_take", "f", 30000)
    writer.ok("lease_renew", 30000)
    writer.ok("lease_give")
    writer.ok("seen", "ip", "192.0.2.1", int(time.time()) // 86400, 1, "once")
    writer.ok("seen_day", int(time.time()) // 86400)
    assert number(reader.ok("build", "quiet"), "adds") == 2001
    assert reader.get("ip", "192.0.2.1") and reader.ok("allowed") and reader.ok("walk", "quiet") and reader.ok("count")
    assert reader.has_nothing_new()

    def said(how, command, *words):
        return stores(how, server.url, *words).do(*command)[-1]

    get = ("get", PATIENCE_MS, "ip", "192.0.2.1")
    assert "intel.redis.username and password" in said("reader", get, "username=sensor", "password=wrong")
    assert "wants a password" in said("reader", get)
    assert "ACL user may not do this" in said("writer", ("allow", "ip", "10.0.0.2"), *as_sensor)
    sensor_writes = stores("writer", server.url, *as_sensor)
    sensor_writes.ok("put", "ip", "192.0.2.77", "f", "p")
    assert "ACL user may not do this" in sensor_writes.do("flush")[-1]
    assert server.client().exists("intel:ip:192.0.2.77") == 0
    assert server.client().acl_log(), "Redis itself has it in its log"


def test_rules_of_the_reference_are_those_tested():
    text = " ".join(REFERENCE.read_text().split())
    assert rs.SENSOR_RULES in text and rs.WRITER_RULES.removeprefix(rs.SENSOR_RULES).strip() in text
    assert f"``{rs.DEFAULT_RULES}``" in text


def test_a_server_without_a_password_and_other_mistakes(redis_server, stores):
    get = ("get", PATIENCE_MS, "ip", "192.0.2.1")
    said = stores("reader", redis_server.url, "password=x").do(*get)[-1]
    assert "no password is set there" in said
    assert "there is no such database" in stores("reader", redis_server.url.replace("/0", "/99")).do(*get)[-1]
    assert "no such socket" in stores("reader", "unix:///nonexistent.sock").do(*get)[-1]
    assert "cannot connect" in stores("reader", f"redis://127.0.0.1:{rig.free_port()}").do(*get)[-1]
    assert "cannot be resolved" in stores("reader", "redis://no-such-host.invalid").do("get", 20000, "ip", "192.0.2.1")[-1]
    for url, why in (("http://localhost", "begins with none"), ("redis://u:p@localhost", "password in it"),
                     ("redis://localhost:0", "port"), ("unix://relative", "absolute"), ("redis://h/x", "database")):
        store = Store("reader", url) if "://" in url else None
        assert store.opened[-1].startswith("BAD ") and why in store.opened[-1], store.opened
        store.close()


def test_no_memory_is_said_and_nothing_is_half_done(redis_servers, stores):
    server = redis_servers(more=("maxmemory 3mb", "maxmemory-policy noeviction"))
    writer = stores("writer", server.unix_url)
    said = writer.do("load", 100000, 1)[-1]
    assert said.startswith("NET ") and "maxmemory" in said
    client = redis.Redis(unix_socket_path=server.socket)
    client.set_response_callback("XRANGE", lambda answer, **_: answer)
    entries = [pairs for _, pairs in client.execute_command("XRANGE", "intel:changes", "-", "+")]
    assert client.dbsize() == 2 + sum(len(pairs) // 2 for pairs in entries)


def test_load_of_100k_and_its_speed(redis_server, stores):
    """The rates are shown, not judged: machines differ (ADR 0030 has them)."""
    writer, reader = stores("writer", redis_server.unix_url), stores("reader", redis_server.unix_url)
    rate = number(writer.ok("load", 100000, 1), "rate")
    again = number(writer.ok("load", 100000, 1), "rate")
    lines = reader.ok("gets", 10000, 100000, 1)
    build = number(reader.ok("build", "quiet"), "took_ms")
    assert number(lines, "there") == 100000
    print(f"load {rate}/s, again {again}/s, get {number(lines, 'rate')}/s, build {build} ms")
