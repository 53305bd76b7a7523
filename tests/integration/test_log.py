"""Our own log: levels change while processes run, one process or one stage alone; ECS lines are JSON of the schema; folded lines are
told when their ten seconds are over, though nothing else happens.
SPDX-License-Identifier: Apache-2.0
"""
import json
import re
import signal
import subprocess
import time

import pytest

from serving import program, serving  # noqa: F401 (a fixture)
from supervising import PATIENCE_S, TAPLINE, Client, wait_until

FOLD_S = 10


def lines(text):
    return text.splitlines()


@pytest.fixture
def host(serving, tmp_path):  # noqa: F811
    """Main, its Supervisor and a `tapline run` of one configuration, all with ECS logs."""
    logs = tmp_path / "logs"
    logs.mkdir()
    more = {
        "inputs": [{"type": "zeek", "paths": [str(logs / "*.log")]}],
        "sinks": {"file": {"path": str(tmp_path / "out.ndjson")}},
        "log": {"format": "ecs", "level": "info"},
    }
    main = serving([program("a", "sleep", "600")], more=more)
    with open(tmp_path / "run.log", "ab") as log:
        run = subprocess.Popen([TAPLINE, "run", "-c", main.config], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        socket = main.folder / "state" / "run.sock"
        wait_until(lambda: socket.exists() or run.poll() is not None)
        assert run.poll() is None, (tmp_path / "run.log").read_text()
        yield {"main": main, "run": run, "run_log": tmp_path / "run.log", "run_socket": socket}
    finally:
        run.terminate()
        assert run.wait(PATIENCE_S) == 0


def level(host, *words, code=0):
    done = subprocess.run(
        [TAPLINE, "log-level", *words, "-c", host["main"].config], capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert done.returncode == code, done.stderr + done.stdout
    return done


def levels(host):
    return json.loads(level(host, "--json").stdout)


def test_levels_of_all_of_one_and_of_a_stage(host):
    assert levels(host) == {"run": "info", "serve": "info", "supervise": "info"}
    assert level(host, "warn").stdout.split() == ["run", "warn", "serve", "warn", "supervise", "warn"]
    assert levels(host) == {"run": "warn", "serve": "warn", "supervise": "warn"}
    level(host, "debug", "serve", "supervise")
    level(host, "error", "run", "--stage", "ingest")
    assert levels(host) == {"run": "warn, ingest=error", "serve": "debug", "supervise": "debug"}
    host["run"].send_signal(signal.SIGHUP)  # reads the file again: the rest is as it was told
    wait_until(lambda: levels(host)["run"] == "info")
    assert levels(host) == {"run": "info", "serve": "debug", "supervise": "debug"}
    host["main"].call("check")  # reads the file, too, and is no order to say less
    assert levels(host)["serve"] == "debug"
    host["main"].reload()
    wait_until(lambda: levels(host)["serve"] == "info")
    assert levels(host)["supervise"] == "debug"
    level(host, "file")
    assert levels(host) == {"run": "info", "serve": "info", "supervise": "info"}


def test_a_level_does_what_it_says(host):
    def count():
        return host["run_log"].read_text().count("config reloaded")

    host["run"].send_signal(signal.SIGHUP)
    wait_until(lambda: count() == 1)
    level(host, "error", "run", "--stage", "run")  # SIGHUP sets it back, and says so: by then the level is the file's
    host["run"].send_signal(signal.SIGHUP)
    wait_until(lambda: levels(host)["run"] == "info")
    level(host, "error", "run")
    before = host["run_log"].read_text()
    level(host, "error", "run")  # is no news at level error
    time.sleep(0.5)
    assert host["run_log"].read_text() == before


def test_what_is_wrong_is_said(host):
    done = level(host, "loud", code=100)
    assert '"loud" is no level, and there is no such process here; there is: run serve supervise' in done.stderr
    assert "needs a level" in level(host, "--stage", "ingest", code=100).stderr
    assert "stage is the third word" in level(host, "debug", "run", "--stage", "no such", code=1).stderr
    done = subprocess.run([TAPLINE, "log-level", "-c", "/no/such.yml"], capture_output=True, text=True)
    assert done.returncode == 100 and "/no/such.yml" in done.stderr
    host["main"].stop()
    assert "serve" not in levels(host)  # its socket is gone, or nobody answers on it
    assert set(levels(host)) == {"run", "supervise"}


def test_ecs_lines_of_every_process(host):
    main = host["main"]
    level(host, "debug")
    main.kill_supervisor()
    wait_until(main.is_linked)
    texts = {
        "tapline-run": host["run_log"].read_text(),
        "tapline-serve": main.log_text(),
        "tapline-supervise": (main.state / "supervisor.log").read_text(),
    }
    for service, text in texts.items():
        rows = [json.loads(line) for line in lines(text)]
        assert rows, service
        for row in rows:
            assert row["service.name"] == service and row["event.dataset"] == "tapline.log"
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", row["@timestamp"])
            assert row["log.level"] in ("error", "warn", "info", "debug") and row["message"] and row["log.logger"]
            assert row["ecs.version"].startswith("8.") and isinstance(row["process.pid"], int)
            assert all(isinstance(value, str) for value in row.get("labels", {}).values())
    changed = [row for row in map(json.loads, lines(texts["tapline-run"])) if row["message"] == "what is told changes"]
    assert changed[-1]["labels"]["level"] == "debug" and "uid" in changed[-1]["labels"]["by"]


def test_what_is_folded_is_told_in_time(host):
    """The same words three times from one connection: one line now, one with the count when the window is over."""
    main = host["main"]
    clients = {
        "run": (Client(host["run_socket"]), lambda: host["run_log"].read_text()),
        "serve": (main.client(), main.log_text),
        "supervise": (main.supervisor(), lambda: (main.state / "supervisor.log").read_text()),
    }
    began = time.monotonic()
    for client, _ in clients.values():
        for _ in range(3):
            client.call("log.level", level="debug")

    def told(text):
        rows = [json.loads(line) for line in lines(text)]
        return [row.get("tapline", {}).get("folded", 0) for row in rows if row["message"] == "what is told changes"]

    for name, (_, text) in clients.items():
        assert told(text()) == [0], name
    for name, (_, text) in clients.items():
        wait_until(lambda: len(told(text())) == 2)  # without anything else that happens it would be never
        assert told(text()) == [0, 2], name
        assert time.monotonic() - began >= FOLD_S - 1, name
