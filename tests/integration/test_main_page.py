"""Main over HTTP: its page lies in the program, its numbers come as events, and its buttons work for who has the token and comes from
our own page, and for nobody else.
SPDX-License-Identifier: Apache-2.0
"""
import http.client
import json
import pathlib
import socket
import time

import pytest

import rig

from serving import program, serving, wait_until  # noqa: F401 (serving: the fixture)

TOKEN = "b7e0-a token of many words"
PAGE = pathlib.Path(__file__).resolve().parents[2] / "configs/page"


class Page:
    """A Main with the nodes a and b, and what asks it over HTTP: headers as they are given, and no others."""

    def __init__(self, serving, token=TOKEN, port=None):
        self.port = port or rig.free_port()
        self.host = f"127.0.0.1:{self.port}"
        self.main = serving([program("a", "sleep", "600"), program("b", "sleep", "600")],
                            serve={"token": token} if token else {}, more={"health": {"serve": self.host}})
        self.main.wait_for_all("up")

    def ask(self, method, path, body=None, headers=None):
        """Status, headers, text."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read().decode()
        finally:
            connection.close()

    def control(self, body=None, drop=(), **headers):
        """POST /api/control as our page does it; with other headers."""
        given = {"Content-Type": "application/json", "Authorization": f"Bearer {TOKEN}",
                 "Origin": f"http://{self.host}", "Sec-Fetch-Site": "same-origin"}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        given = {name: value for name, value in given.items() if name not in drop}
        body = {"action": "check"} if body is None else body
        status, sent, text = self.ask("POST", "/api/control", body if isinstance(body, str) else json.dumps(body), given)
        return status, json.loads(text) if sent.get("Content-Type") == "application/json" else text

    def states(self):
        return {name: row["state"] for name, row in self.main.status().items()}


@pytest.fixture
def page(serving):
    return Page(serving)


# ---- the page ------------------------------------------------------------------------------------------------------------


def test_the_page_lies_in_the_program_and_may_load_nothing_from_elsewhere(page):
    files = [file for file in PAGE.iterdir() if file.suffix in (".html", ".js", ".css", ".svg")]
    types = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
    assert len(files) >= 3
    for file in files:
        status, headers, text = page.ask("GET", "/" if file.name == "index.html" else f"/{file.name}")
        assert status == 200 and text == file.read_text(), file.name
        assert headers["Content-Type"].split(";")[0] == types[file.suffix]
        assert headers["X-Content-Type-Options"] == "nosniff" and headers["X-Frame-Options"] == "DENY"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    policy = page.ask("GET", "/")[1]["Content-Security-Policy"]
    directives = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert directives["default-src"] == "'none'" and directives["frame-ancestors"] == "'none'"
    assert {directives[name] for name in ("script-src", "style-src", "connect-src", "img-src")} == {"'self'"}
    assert page.ask("HEAD", "/")[0] == 200 and page.ask("GET", "/nothing")[0] == 404
    assert page.ask("GET", "/../tapline.yml")[0] == 404


def test_numbers_are_those_of_the_control_channel(page):
    wait_until(lambda: '"node":"b"' in page.ask("GET", "/api/health")[2])
    status, headers, text = page.ask("GET", "/api/health")
    said = json.loads(text)
    assert status == 200 and headers["Content-Type"] == "application/json" and said["control"] is True
    own = said["processes"][0]
    assert own["process"] == "serve" and own["pid"] == page.main.pid
    assert {row["node"] for row in own["rows"]["supervised"]} == {"a", "b"}
    assert TOKEN not in text and TOKEN not in page.ask("GET", "/metrics")[2]


def events_of(port, seconds):
    """(arrived, name, document) of each event that comes within that time; and the retry hint."""
    found, retry, buffer = [], None, b""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as stream:
        stream.sendall(f"GET /api/events HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: text/event-stream\r\n\r\n".encode())
        reader = stream.makefile("rb")
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += reader.readline()
        assert b"text/event-stream" in head
        is_chunked = b"chunked" in head.lower()
        end = time.monotonic() + seconds
        stream.settimeout(seconds + 5)
        while time.monotonic() < end:
            if is_chunked:
                size = int(reader.readline(), 16)
                buffer += reader.read(size)
                reader.readline()
            else:
                buffer += reader.readline()
            while b"\n\n" in buffer:
                text, buffer = buffer.split(b"\n\n", 1)
                fields = dict(line.split(": ", 1) for line in text.decode().splitlines())
                retry = fields.get("retry", retry)
                if "data" in fields:
                    found.append((time.monotonic(), fields.get("event"), json.loads(fields["data"])))
    return found, retry


def test_events_come_at_once_and_each_second(page):
    seen = []
    for _ in range(3):  # a machine may stand still in one or another
        began = time.monotonic()
        found, retry = events_of(page.port, 4)
        assert retry == "2000" and {name for _, name, _ in found} == {"health"}
        assert [document["processes"][0]["process"] for _, _, document in found] == ["serve"] * len(found)
        times = [document["processes"][0]["time"] for _, _, document in found]
        assert times == sorted(times)
        seen.append((found[0][0] - began, len(set(times))))
        if seen[-1][0] < 0.5 and 4 <= seen[-1][1] <= len(found) <= 7:
            return
    raise AssertionError(f"(seconds to the first, different ones in four seconds): {seen}")


def test_many_who_watch_hold_up_nobody(page):
    streams = []
    try:
        for _ in range(20):
            stream = socket.create_connection(("127.0.0.1", page.port), timeout=10)
            stream.sendall(f"GET /api/events HTTP/1.1\r\nHost: {page.host}\r\n\r\n".encode())
            streams.append(stream)
        firsts = [stream.recv(15) for stream in streams]
        assert sum(b"200" in first for first in firsts) == 12 and sum(b"503" in first for first in firsts) == 8
        began = time.monotonic()
        assert page.control({"action": "restart", "node": "a"})[0] == 200  # buttons have places of their own
        assert page.ask("GET", "/metrics")[0] == 200 and time.monotonic() - began < 30
    finally:
        for stream in streams:
            stream.close()
    wait_until(lambda: b"200" in events_head(page.port))  # places are free again


def events_head(port):
    with socket.create_connection(("127.0.0.1", port), timeout=10) as stream:
        stream.sendall(f"GET /api/events HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
        return stream.recv(15)


# ---- control ------------------------------------------------------------------------------------------------------------------


def test_with_the_token_nodes_are_started_and_stopped(page):
    assert page.control() == (200, {"ok": True})
    pid = page.main.pids()["a"]
    status, said = page.control({"action": "stop", "node": "a"})
    assert status == 200 and [(node["name"], node["ok"], node["state"]) for node in said["nodes"]] == [("a", True, "down")]
    assert page.states() == {"a": "down", "b": "up"}
    status, said = page.control({"action": "start", "node": "a"})
    assert status == 200 and said["nodes"][0]["ok"] and page.main.pids()["a"] != pid
    pid = page.main.pids()["b"]
    assert page.control({"action": "restart", "node": "b"}, drop=("Origin", "Sec-Fetch-Site"))[0] == 200  # no browser
    assert page.main.pids()["b"] != pid
    log = page.main.log_text()
    assert "the page was used to control" in log and "action=stop node=a" in log and TOKEN not in log


def test_a_node_whose_name_is_a_word_for_several_is_meant_alone(serving):
    """On the command line `program` is all nodes of that type; a button stands beside one of them."""
    page = Page(serving)
    names = ["program", "all", *(f"n{i}" for i in range(40))]
    page.main.configure([program(name, "sleep", "600") for name in names],
                        serve={"token": TOKEN}, more={"health": {"serve": page.host}})
    page.main.call("deploy")
    page.main.wait_for_all("up")
    for name in ("program", "all"):
        status, said = page.control({"action": "stop", "node": name})
        assert status == 200 and [node["name"] for node in said["nodes"]] == [name]
    assert {name for name, state in page.states().items() if state != "up"} == {"program", "all"}
    said = page.control({"action": "start", "node": "all"})[1]
    assert [(node["name"], node["ok"]) for node in said["nodes"]] == [("all", True)] and page.states()["program"] == "down"


def test_a_reader_that_goes_takes_nothing_with_it(serving):
    page = Page(serving)
    page.main.configure([program("a", "sleep", "600"), program("b", "sh", "-c", "trap 'sleep 1; exit 0' TERM; sleep 600 & wait")],
                        serve={"token": TOKEN}, more={"health": {"serve": page.host}})
    page.main.call("deploy")
    page.main.wait_for_all()
    body = json.dumps({"action": "stop", "node": "b"})
    with socket.create_connection(("127.0.0.1", page.port)) as stream:
        stream.sendall(f"POST /api/control HTTP/1.1\r\nHost: {page.host}\r\nContent-Type: application/json\r\n"
                       f"Authorization: Bearer {TOKEN}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        time.sleep(0.3)
    page.main.wait_for("b", "down")
    page.main.wait_for_log("the page's wish is answered")
    assert page.ask("GET", "/healthz")[0] == 200


def test_main_ends_though_others_wait(serving):
    page = Page(serving)
    page.main.configure([program("a", "sleep", "600"), program("b", "sh", "-c", "trap '' TERM; while :; do sleep 1; done", stop_timeout="10s")],
                        serve={"token": TOKEN}, more={"health": {"serve": page.host}})
    page.main.call("deploy")
    page.main.wait_for_all()
    watched = socket.create_connection(("127.0.0.1", page.port))
    watched.sendall(f"GET /api/events HTTP/1.1\r\nHost: {page.host}\r\n\r\n".encode())
    asked = socket.create_connection(("127.0.0.1", page.port))
    body = json.dumps({"action": "stop", "node": "b"})
    asked.sendall(f"POST /api/control HTTP/1.1\r\nHost: {page.host}\r\nContent-Type: application/json\r\n"
                  f"Authorization: Bearer {TOKEN}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
    page.main.wait_for("b", "stopping")
    assert page.main.stop() == 0
    said = b"".join(iter(lambda: asked.recv(4096), b""))
    assert b'{"error":"tapline serve ends' in said
    assert b"event: health" in b"".join(iter(lambda: watched.recv(65536), b""))
    page.main.start()
    page.main.wait_for("b", "down")  # the Supervisor goes on with what it was told


@pytest.mark.parametrize("body, status", [
    ("", 400), ("no JSON", 400), ("[]", 400), ("{}", 400), ({"action": "shutdown"}, 400), ({"action": "stop"}, 404),
    ({"action": "stop", "node": "c"}, 404), ({"action": "stop", "node": "all"}, 404), ({"action": "stop", "node": ["a"]}, 404),
    ({"action": "stop", "node": "a\u0000b"}, 404), ({"action": "stop", "node": "x" * 5000}, 404), ({"action": "kill", "node": "a"}, 400),
])
def test_what_makes_no_sense_is_refused_in_words(shared_page, body, status):
    got, said = shared_page.control(body)
    assert got == status and said["error"]
    assert shared_page.states() == {"a": "up", "b": "up"}


@pytest.fixture(scope="module")
def shared_page(tmp_path_factory):
    """One Main for all that changes nothing."""
    from serving import Main
    made = []

    def make(nodes=(), **more):
        made.append(Main(tmp_path_factory.mktemp("page"), nodes, **more))
        return made[-1].start()

    yield Page(make)
    for one in made:
        one.close()


STOP = {"action": "stop", "node": "a"}


@pytest.mark.parametrize("status, drop, headers", [
    (401, ("Authorization",), {}),
    (401, (), {"Authorization": f"Basic {TOKEN}"}),
    (401, (), {"Authorization": TOKEN}),
    (403, (), {"Origin": "http://evil.example"}),
    (403, (), {"Origin": "null"}),
    (403, (), {"Origin": "https://127.0.0.1"}),
    (403, ("Origin",), {"Sec-Fetch-Site": "cross-site"}),
    (403, (), {"Sec-Fetch-Site": "same-site"}),
    (403, (), {"Host": "evil.example"}),
    (403, (), {"Host": "evil.example", "Origin": "http://evil.example"}),
    (415, ("Content-Type",), {}),
    (415, (), {"Content-Type": "text/plain"}),
    (415, (), {"Content-Type": "application/x-www-form-urlencoded"}),
    (415, (), {"Content-Type": "application/jsonp"}),
])
def test_who_may_not_is_refused_and_nothing_happens(shared_page, status, drop, headers):
    got, said = shared_page.control(STOP, drop, **headers)
    assert got == status and said
    assert shared_page.states() == {"a": "up", "b": "up"}


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS"])
def test_only_post_controls(shared_page, method):
    status, headers, _ = shared_page.ask(method, "/api/control", json.dumps(STOP), {"Authorization": f"Bearer {TOKEN}"})
    assert status == 405 and "POST" in headers["Allow"]
    assert "Access-Control-Allow-Origin" not in headers
    assert shared_page.states() == {"a": "up", "b": "up"}


@pytest.mark.parametrize("path", ["/", "/api/health", "/api/events", "/metrics"])
def test_a_name_that_points_here_is_not_served(shared_page, path):
    for host in ("evil.example", f"evil.example:{shared_page.port}", "127.0.0.1.evil.example", ""):
        assert shared_page.ask("GET", path, headers={"Host": host})[0] in (400, 403), host
    if path != "/api/events":
        assert shared_page.ask("GET", path, headers={"Host": f"localhost:{shared_page.port}"})[0] == 200


def test_numbers_are_not_for_pages_of_others(shared_page):
    ours = {"Sec-Fetch-Site": "same-origin", "Origin": f"http://{shared_page.host}"}
    for path in ("/api/health", "/api/events"):
        for foreign in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "http://evil.example"}, {"Origin": "null"}):
            status, headers, text = shared_page.ask("GET", path, headers=foreign)
            assert status == 403 and "supervised" not in text and "Access-Control-Allow-Origin" not in headers
    for own in (ours, {"Sec-Fetch-Site": "none"}, {}):
        assert shared_page.ask("GET", "/api/health", headers=own)[0] == 200


def test_wrong_tokens_are_slowed_down(page):
    assert page.control(STOP, Authorization="Bearer wrong")[0] == 403
    for _ in range(10):  # within a second, which a busy machine may let pass
        status, said = page.control()  # the right one, too soon
        if status == 429:
            break
        page.control(STOP, Authorization="Bearer wrong")
    assert status == 429 and said["error"]
    time.sleep(1.1)
    for wrong in (TOKEN + "x", TOKEN[:-1], ""):
        status, _ = page.control(STOP, Authorization=f"Bearer {wrong}")
        assert status in (403, 429) or (wrong == "" and status == 401)
    assert page.states() == {"a": "up", "b": "up"}
    wait_until(lambda: page.control()[0] == 200, every=0.3)
    log = page.main.log_text()
    assert "wrong control token" in log and "Bearer" not in log


def test_without_a_token_there_is_no_control(serving):
    page = Page(serving, token=None)
    assert json.loads(page.ask("GET", "/api/health")[2])["control"] is False
    status, said = page.control(STOP)
    assert status == 403 and "serve.token" in said["error"]
    assert page.control(STOP, Authorization="Bearer ")[0] == 403
    assert page.states() == {"a": "up", "b": "up"}


def test_without_a_supervisor_control_says_so(serving):
    port = rig.free_port()
    main = serving([program("a", "sleep", "600")], serve={"token": TOKEN, "starts_supervisor": False}, start=False,
                   more={"health": {"serve": f"127.0.0.1:{port}"}})
    main.start(wait=False)
    main.client()
    page = Page.__new__(Page)
    page.port, page.host, page.main = port, f"127.0.0.1:{port}", main
    status, said = page.control(STOP)
    assert status == 503 and "Supervisor" in said["error"]


def test_a_port_that_is_taken_is_had_later_with_all_routes(serving):
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", rig.free_port()))
        taken.listen()
        page = Page(serving, port=taken.getsockname()[1])
        time.sleep(1)

    def has_page():
        try:
            return page.ask("GET", "/")[0] == 200
        except OSError:
            return False

    wait_until(has_page)
    assert page.control() == (200, {"ok": True})
