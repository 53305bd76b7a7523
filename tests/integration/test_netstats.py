"""netstats and capstats: from Zeek's telemetry, from Suricata's stats, or from the interface, and said which.

SPDX-License-Identifier: Apache-2.0
"""
import http.server
import resource
import socket
import threading
import time

import pytest

from serving import program, serving  # noqa: F401 (serving: the fixture)
from supervising import Refused


class Telemetry(http.server.BaseHTTPRequestHandler):
    """As Zeek 7 answers, a thousand packets more each time."""

    def do_GET(self):
        if self.server.delay_s:
            time.sleep(self.server.delay_s)
        self.server.received += 1000
        body = (f"# TYPE zeek_net_received_packets_total counter\nzeek_net_received_packets_total {self.server.received}\n"
                f"zeek_net_dropped_packets_total 10\nzeek_net_link_packets_total {self.server.received + 10}\n").encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def telemetry():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Telemetry)
    server.received, server.delay_s = 0, 0
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def zeek(name, url=None):
    """A node of Zeek's type whose program is a stand-in: only its counters are of interest."""
    node = program(name, "sleep", "600", ready=["after 0s"]) | {"type": "worker", "interface": "lo"}
    return node | ({"metrics_url": url} if url else {})


def cluster(*nodes):
    """With the manager that workers need; it sees no packets."""
    return [program("manager", "sleep", "600", ready=["after 0s"]) | {"type": "manager"}, *nodes]


def test_zeek_tells_by_telemetry(serving, telemetry):
    main = serving(cluster(zeek("w1", f"http://127.0.0.1:{telemetry.server_port}/metrics")))
    main.wait_for_all()
    (main.sensors / "w1" / "capture_loss.log").write_text("#fields\tts\tts_delta\tpeer\tgaps\tacks\tpercent_lost\n"
                                             "1.0\t900.0\tw1\t3\t100\t1.25\n")
    row = main.call("netstats")["nodes"][0]
    assert row["source"] == "telemetry" and row["name"] == "w1"
    assert 2000 <= row["received"] <= telemetry.received and row["received"] % 1000 == 0  # Main asks by itself now and then, too
    assert (row["dropped"], row["link"]) == (10, row["received"] + 10)
    assert 50 < row["received_per_s"] <= 3000  # a thousand in a second; fewer where the second is longer
    assert row["dropped_percent"] == pytest.approx(100 * 10 / row["link"], abs=0.01)
    assert row["capture_loss_percent"] == 1.25


def test_a_zeek_that_does_not_answer_holds_up_nobody(serving, telemetry):
    telemetry.delay_s = 20
    main = serving(cluster(zeek("w1", f"http://127.0.0.1:{telemetry.server_port}/metrics")))
    main.wait_for_all()
    client, took = main.client(), []
    while len(took) < 3 and min(took, default=2) >= 2:  # one is enough: the machine may have stood still in another
        asked = client.send("netstats")
        began = time.monotonic()
        main.connect().call("status")
        took.append(time.monotonic() - began)
        row = client.answer(asked)["nodes"][0]
    assert min(took) < 2, took
    telemetry.delay_s = 0
    assert row["source"] == "interface" and "127.0.0.1" in row["reason"]
    assert row["received"] >= 0


def test_without_a_descriptor_left_main_refuses_and_lives(serving, telemetry, tmp_path):
    main = serving(cluster(zeek("w1", f"http://127.0.0.1:{telemetry.server_port}/metrics")),
                   serve={"archive_keep": "365d"}, sensors={"archive": str(tmp_path / "archive")})
    main.wait_for_all()
    assert main.call("df")["filesystems"]
    limits = resource.prlimit(main.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(main.pid, resource.RLIMIT_NOFILE, (3, limits[1]))  # what it has it keeps
    for method in ("df", "netstats", "capstats"):
        with pytest.raises(Refused, match="no thread or descriptor is left"):
            main.call(method)
    main.wait_for_log("no thread or descriptor is left for a piece of work")
    time.sleep(2)  # the look after the archive has its turn, too
    resource.prlimit(main.pid, resource.RLIMIT_NOFILE, limits)
    assert main.call("df")["filesystems"] and main.call("netstats")["nodes"]
    assert main.child.poll() is None


def test_without_telemetry_the_interface_is_counted_and_said_so(serving):
    main = serving(cluster(zeek("w1"), program("other", "sleep", "600")))
    main.wait_for_all()
    rows = main.call("netstats")["nodes"]
    assert [row["name"] for row in rows] == ["w1"]  # what sees no packets has none
    assert rows[0]["source"] == "interface" and "not the sensor's" in rows[0]["reason"]


def test_capstats_counts_at_the_interface(serving):
    main = serving(cluster(zeek("w1"), zeek("w2")))
    main.wait_for_all()
    stop = threading.Event()

    def send():
        out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        while not stop.is_set():
            out.sendto(b"x" * 1000, ("127.0.0.1", 9))
            time.sleep(0.002)
        out.close()

    thread = threading.Thread(target=send)
    thread.start()
    try:
        rows = main.call("capstats")["interfaces"]
    finally:
        stop.set()
        thread.join()
    assert len(rows) == 1 and rows[0]["interface"] == "lo" and rows[0]["nodes"] == ["w1", "w2"]
    assert rows[0]["packets_per_s"] >= 20 and rows[0]["bits_per_s"] >= 20 * 8000
    assert rows[0]["is_up"] and "not libpcap's" in rows[0]["reason"]
