"""A death that nobody asked for becomes a crash report within 10 s: what is in it, that there is one of each death and not more
than configured, and that it is mailed and posted.

SPDX-License-Identifier: Apache-2.0
"""
import http.server
import json
import os
import pathlib
import shutil
import signal
import subprocess
import threading
import time

import pytest

from serving import program, serving, wait_until  # noqa: F401 (serving: the fixture)

REPORT_S = 10  # the promise
SH = "/bin/sh"


def reports(main):
    return main.call("diag.list")["reports"]


def report(main, node, count=1, seconds=60):
    """The newest report of a node, once it has that many."""
    rows = wait_until(lambda: [r for r in reports(main) if r["node"] == node][:count] if
                      len([r for r in reports(main) if r["node"] == node]) >= count else None, seconds)
    return main.call("diag.show", report=rows[0]["name"])


def test_a_crash_is_reported_with_all_that_is_known(serving):
    script = "echo out-line; echo err-line >&2; echo reported >reporter.log; sleep 0.3; exit 3"
    node = program("bad", SH, "-c", script, restart="never", env={"API_TOKEN": "hunter2", "PLAIN": "visible"})
    main = serving([node])
    client = main.client()
    client.subscribe(since=0)
    event = client.wait_for_event(lambda e: e["kind"] == "crash" and e["node"] == "bad")
    assert event_time(event["time"]) - event_time(event["happened"]) < REPORT_S
    shown = main.call("diag.show", report=event["report"])
    details = shown["details"]
    assert details["exit"] == 3 and details["end"] == "exit 3"
    assert "out-line" in details["output"]["stdout.log"]["text"]
    assert "err-line" in details["output"]["stderr.log"]["text"]
    assert "reported" in details["output"]["reporter.log"]["text"]
    assert details["versions"]["tapline"] and details["pid"] > 1
    assert 0.3e9 <= details["uptime_ns"] < 60e9
    assert details["spec"]["env"]["API_TOKEN"] == "***"
    assert "visible" in json.dumps(details) and "hunter2" not in json.dumps(shown)
    assert details["resources"]["memory_total_bytes"] > 0
    assert all(disk["free_bytes"] > 0 for disk in details["resources"]["disks"] if "free_bytes" in disk)
    assert "err-line" in shown["text"] and "exit 3" in shown["text"]
    folder = pathlib.Path(shown["directory"])
    assert sorted(f.name for f in folder.iterdir()) == ["report.json", "report.txt", "summary.json"]
    assert main.call("diag.show", report="bad")["name"] == event["report"]


def event_time(text):
    import datetime
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def test_a_stop_that_was_asked_for_is_no_crash(serving):
    main = serving([program("good", "sleep", "600")])
    main.wait_for("good", ("ready", "up"))
    main.call("restart", nodes=["good"])
    main.call("stop", nodes=["good"])
    assert reports(main) == []


def test_each_death_has_one_report_though_main_is_killed(serving):
    main = serving([program("a", "sleep", "600")])
    for deaths in range(1, 4):
        wait_until(lambda: main.status()["a"]["pid"])
        os.kill(main.status()["a"]["pid"], signal.SIGKILL)
        main.kill()
        main.start()
        wait_until(lambda: len(reports(main)) >= deaths)
    time.sleep(0.5)
    names = [r["name"] for r in reports(main)]
    assert len(names) == 3 and len(set(names)) == 3, main.log_text()
    assert all(r["end"] == "signal 9 (KILL)" for r in reports(main))


def test_reports_are_bounded(serving):
    flood = "head -c 3000000 /dev/zero | tr '\\0' 'x' | fold -w 500; exit 1"
    # It must not count as settled, however long a busy machine takes for its flood.
    main = serving([program("loud", SH, "-c", flood, restart_deaths_max=12, settle="60s")],
                   serve={"reports": 3, "report_bytes": "64KiB"})
    main.wait_for("loud", "latched", 180)
    folder = main.state / "reports"
    wait_until(lambda: any(r["is_latched"] for r in reports(main)))  # the last one
    wait_until(lambda: len(reports(main)) == len(list(folder.iterdir())) == 3)
    rows = reports(main)
    assert [r["name"] for r in rows] == sorted((r["name"] for r in rows), reverse=True)
    for one in folder.iterdir():
        assert sum(f.stat().st_size for f in one.iterdir()) < 66 * 1024
        json.loads((one / "report.json").read_text())
    assert "error" in main.log_text()


@pytest.mark.skipif(shutil.which("gdb") is None, reason="no gdb here")
@pytest.mark.skipif(not pathlib.Path("/proc/sys/kernel/core_pattern").read_text()[:1].isalpha(),
                    reason="the kernel does not leave core files in the working directory")
def test_a_core_file_becomes_a_backtrace(serving, tmp_path):
    source, crasher = tmp_path / "crasher.c", tmp_path / "crasher"
    source.write_text("int *nowhere; int here_it_breaks(void) { return *nowhere; }\n"
                      "int main(void) { return here_it_breaks(); }\n")
    if subprocess.run(["cc", "-g", "-O0", "-o", crasher, source], check=False).returncode != 0:
        pytest.skip("no C compiler here")
    main = serving([program("segv", crasher, restart="never", limits={"core": "unlimited"})])
    client = main.client()
    client.subscribe(since=0)
    event = client.wait_for_event(lambda e: e["kind"] == "crash")
    assert event_time(event["time"]) - event_time(event["happened"]) < 3 * REPORT_S  # gdb needs much of it on a busy machine
    shown = main.call("diag.show", report="segv")
    assert shown["details"]["end"] == "signal 11 (SEGV)"
    assert "here_it_breaks" in shown["details"]["backtrace"], shown["text"]
    assert event["has_backtrace"]


class Taker(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.taken.append((self.headers["Content-Type"], json.loads(body)))
        self.send_response(self.server.answers.pop(0) if self.server.answers else 204)
        self.end_headers()

    def log_message(self, *args):
        pass


@pytest.fixture
def taker():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Taker)
    server.taken, server.answers = [], [503]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_reports_are_mailed_and_posted_again_if_it_fails(serving, tmp_path, taker):
    sendmail, mail = tmp_path / "sendmail", tmp_path / "mail"
    sendmail.write_text(f"#!/bin/sh\n[ -e {mail}.once ] || {{ touch {mail}.once; echo later >&2; exit 75; }}\n"
                        f"echo \"$@\" >{mail}.args; cat >{mail}.new; mv {mail}.new {mail}\n")
    sendmail.chmod(0o755)
    main = serving([program("bad", SH, "-c", "sleep 0.2; exit 4", restart="never")],
                   serve={"report_mail": "soc@example.org", "sendmail": str(sendmail),
                          "report_url": f"http://127.0.0.1:{taker.server_port}/reports"})
    wait_until(lambda: mail.exists() and len(taker.taken) >= 2)
    text = mail.read_text()
    assert "-t" in (tmp_path / "mail.args").read_text()
    assert text.startswith("To: soc@example.org\nSubject: [tapline] bad (program) ended: exit 4 on ")
    assert "what it was to be" in text
    kind, body = taker.taken[1]
    assert kind == "application/json" and body["node"] == "bad" and body["exit"] == 4
    assert taker.taken[0][1] == body
    folder = main.state / "reports" / body["report"]
    wait_until(lambda: not list(folder.glob("unsent.*")))
    time.sleep(0.5)
    assert len(taker.taken) == 2  # not once more


def test_what_a_killed_main_had_not_sent_the_next_one_sends(serving, taker):
    taker.answers = [503, 503]
    url = f"http://127.0.0.1:{taker.server_port}/"
    main = serving([program("bad", SH, "-c", "sleep 0.2; exit 4", restart="never")], serve={"report_url": url})
    wait_until(lambda: len(taker.taken) >= 1)
    main.kill()
    main.start()
    wait_until(lambda: len(taker.taken) >= 3)
    assert len({body["report"] for _, body in taker.taken}) == 1
