"""Main knows how everything is, and says it in time: a frozen sensor, a dead `tapline run`, a Supervisor that is away, Zeek's packets;
in health.all, in /metrics, in /readyz and in the health log; and the next Main finds all of it again.
SPDX-License-Identifier: Apache-2.0
"""
import json
import os
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request

import pytest

import rig
from serving import program, serving, wait_until  # noqa: F401 (serving: the fixture)
from supervising import TAPLINE, is_running
from test_netstats import telemetry, zeek  # noqa: F401 (telemetry: a fixture)

SECONDS = 5.0  # the promise
PATIENCE_S = 60  # where it is not the time that is judged


class Http:
    """What Main has over HTTP."""

    def __init__(self):
        self.port = rig.free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.section = {"serve": f"127.0.0.1:{self.port}", "run": "off"}

    def get(self, path):
        """Status and text."""
        try:
            with urllib.request.urlopen(self.url + path, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refused:
            return refused.code, refused.read().decode()

    def metric(self, name):
        """Values of a metric: {labels as they stand: value}."""
        found = {}
        for line in self.get("/metrics")[1].splitlines():
            if line.startswith(name + "{"):
                labels, value = line.rsplit(" ", 1)
                found[labels[len(name):]] = float(value)
        return found


@pytest.fixture
def http():
    return Http()


def documents(main):
    return {document["process"]: document for document in main.call("health.all")["processes"]}


def problems(main, process="serve"):
    return {problem["code"]: problem for problem in documents(main).get(process, {"problems": []})["problems"]}


def rows(main, kind, process="serve"):
    return documents(main)[process]["rows"].get(kind, [])


def within(condition, seconds=PATIENCE_S):
    """How long it took, and the value."""
    began = time.monotonic()
    value = wait_until(condition, seconds)
    return time.monotonic() - began, value


def run_node(tmp_path, name="tapline-run"):
    """A node that is `tapline run`, with a log and a file for what it delivers."""
    log = tmp_path / "conn.log"
    log.write_text("#separator \\x09\n#fields\tts\tuid\n#types\ttime\tstring\n")
    config = tmp_path / "run.yml"
    config.write_text(json.dumps({
        "node": {"name": "test", "state": str(tmp_path / "main" / "state")},
        "inputs": [{"type": "zeek", "paths": [str(log)]}],
        "sinks": {"file": {"path": str(tmp_path / "out.ndjson")}},
    }))
    return program(name, TAPLINE, "run", "-c", config, restart_delay_min="3s", restart_delay_max="3s")  # that it is away is to be seen


def test_a_frozen_sensor_is_a_problem_within_five_seconds_and_everywhere(serving, http, tmp_path):
    log_dir = tmp_path / "logs"
    log_dir.mkdir()
    main = serving([program("sensor-1", "sleep", "600"), program("sensor-2", "sleep", "600")],
                   more={"health": http.section | {"log_dir": str(log_dir)}})
    main.wait_for_all()
    wait_until(lambda: http.metric("tapline_supervised_running") == {'{node="sensor-1",group=""}': 1,
                                                                     '{node="sensor-2",group=""}': 1})
    assert not problems(main)
    assert http.get("/healthz")[0] == 200
    pid = main.pids()["sensor-1"]
    os.kill(pid, signal.SIGSTOP)
    _, problem = within(lambda: problems(main).get("sensor_frozen"))
    assert "sensor-1" in problem["text"] and str(pid) in problem["text"] and problem["help"]
    assert problem["severity"] == "error" and problem["labels"]["node"] == "sensor-1"
    assert http.metric("tapline_supervised_running")['{node="sensor-1",group=""}'] == 0
    assert any('code="sensor_frozen"' in labels for labels in http.metric("tapline_problem_age_seconds"))
    assert "sensor_frozen" in http.get("/readyz")[1]

    def logged():
        text = (log_dir / "health-serve.ndjson").read_text() if (log_dir / "health-serve.ndjson").exists() else ""
        return [line for line in text.splitlines() if "sensor_frozen" in line]

    within(logged)
    assert json.loads(logged()[0])["event"]["dataset"] == "tapline.health"
    os.kill(pid, signal.SIGCONT)
    within(lambda: not problems(main))
    took = []
    while len(took) < 3 and min(took, default=SECONDS) >= SECONDS:  # one is enough: the machine may have stood still in another
        before = len(logged())
        os.kill(pid, signal.SIGSTOP)
        seen, _ = within(lambda: "sensor_frozen" in problems(main))
        told, _ = within(lambda: len(logged()) > before)
        took.append(seen + told)
        os.kill(pid, signal.SIGCONT)
        within(lambda: not problems(main))
    assert min(took) < SECONDS, took
    assert http.metric("tapline_supervised_running")['{node="sensor-1",group=""}'] == 1


def test_numbers_of_processes_are_the_kernels(serving, http):
    main = serving([program("busy", "sh", "-c", "while :; do :; done")], more={"health": http.section})
    main.wait_for_all()
    pid = main.pids()["busy"]

    def kernels():
        return open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()

    def used(fields):
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    wait_until(lambda: used(kernels()) > 1)
    before = used(kernels())
    row = wait_until(lambda: (one := rows(main, "supervised")[0])["cpu_seconds"] >= before and one)  # it is up to a second old
    fields = kernels()
    assert row["cpu_seconds"] <= used(fields) + 0.02
    assert row["resident_memory_bytes"] == int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
    started = [int(line.split()[1]) for line in open("/proc/stat") if line.startswith("btime")][0] + \
        int(fields[19]) / os.sysconf("SC_CLK_TCK")
    start = [value for key, value in row.items() if key.startswith("start_time")][0]
    assert start == pytest.approx(started, abs=1.5)
    assert (row["state"], row["wanted"], row["running"], row["restarts"]) == (3, 1, 1, 0)


def test_a_node_that_dies_and_one_that_has_died_too_often(serving, http):
    nodes = [program("once", "sleep", "600", restart_delay_min="8s", restart_delay_max="8s"),
             program("never", "sh", "-c", "sleep 1; exit 7", restart_deaths_max=2, settle="30s")]
    main = serving(nodes, more={"health": http.section})
    main.wait_for("once", ("ready", "up"))
    _, latched = within(lambda: problems(main).get("sensor_latched"))
    assert "never" in latched["text"] and "exit 7" in latched["text"]
    os.kill(main.pids()["once"], signal.SIGKILL)
    _, (problem,) = within(lambda: [one for one in documents(main)["serve"]["problems"]
                                    if one["code"] == "sensor_restarting" and one["labels"]["node"] == "once"])
    assert "once died" in problem["text"] and "KILL" in problem["text"]
    main.wait_for("once", ("ready", "up"))
    wait_until(lambda: "sensor_restarting" not in problems(main))
    wait_until(lambda: [row["restarts"] for row in rows(main, "supervised") if row["node"] == "once"] == [1])


def test_a_sensor_that_is_silent_though_no_restart_would_help(serving, http):
    node = program("w1", "sleep", "600", ready=["after 0s"], watchdog="2s", logs=["*.log"])
    nodes = [program("m", "sleep", "600", ready=["after 0s"]) | {"type": "manager"},
             node | {"type": "worker", "interface": "tlnone0"}]
    main = serving(nodes, more={"health": http.section})
    main.wait_for_all()
    _, problem = within(lambda: problems(main).get("sensor_silent"))
    assert "w1" in problem["text"] and "tlnone0 is gone" in problem["text"]
    main.kill()
    main.start()  # the next one learns it of the Supervisor, which does not say it again
    within(lambda: "sensor_silent" in problems(main))
    log = main.sensors / "w1" / "conn.log"
    end = time.monotonic() + PATIENCE_S
    while "sensor_silent" in problems(main):
        with open(log, "a") as more:
            more.write("a line\n")
        assert time.monotonic() < end
        time.sleep(0.3)
    assert not problems(main)


def test_a_run_is_heard_of_and_its_end_too(serving, http, tmp_path):
    main = serving([run_node(tmp_path)], more={"health": http.section})
    main.wait_for_all()
    wait_until(lambda: "run" in documents(main))
    document = documents(main)["run"]
    assert document["pid"] == main.pids()["tapline-run"] and document["node"] == "test"
    within(lambda: rows(main, "peer") == [{"process": "run", "up": 1, "silent_seconds": 0}])
    # Frozen: it is there and says nothing.
    os.kill(document["pid"], signal.SIGSTOP)
    took, problem = within(lambda: problems(main).get("process_gone"))
    assert took > 2 and "frozen" in problem["text"] and str(document["pid"]) in problem["text"]
    assert "sensor_frozen" in problems(main)
    assert http.metric("tapline_peer_up") == {'{process="run"}': 0}
    os.kill(document["pid"], signal.SIGCONT)
    within(lambda: http.metric("tapline_peer_up") == {'{process="run"}': 1})
    wait_until(lambda: not problems(main))
    # Killed: started again, and heard of again.
    os.kill(document["pid"], signal.SIGKILL)
    within(lambda: {"process_gone", "sensor_restarting"} & set(problems(main)))
    wait_until(lambda: documents(main).get("run", document)["pid"] != document["pid"])
    wait_until(lambda: not problems(main))
    # Stopped by wish: that is no problem, and it is forgotten.
    main.call("stop", nodes=["tapline-run"])
    wait_until(lambda: rows(main, "peer") == [] and "run" not in documents(main))
    for _ in range(8):
        assert not problems(main)
        time.sleep(0.25)


def test_a_run_that_somebody_else_started(serving, http, tmp_path):
    node = run_node(tmp_path)
    main = serving([program("a", "sleep", "600")], more={"health": http.section})
    main.wait_for_all()
    (tmp_path / "main" / "state").mkdir(exist_ok=True)
    child = subprocess.Popen(node["command"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: documents(main).get("run", {}).get("pid") == child.pid)
        child.kill()
        child.wait()
        within(lambda: problems(main).get("process_gone"))
        child = subprocess.Popen(node["command"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL)
        wait_until(lambda: documents(main).get("run", {}).get("pid") == child.pid and not problems(main))
        child.terminate()  # in order: nobody misses it
        child.wait(60)
        wait_until(lambda: rows(main, "peer") == [])
        assert not problems(main)
    finally:
        child.kill()
        child.wait()


class Peer:
    """Something at run.sock (or another) that answers every line with what a test wants."""

    def __init__(self, state, answer, name="run"):
        state.mkdir(exist_ok=True)
        self.path = state / f"{name}.sock"
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(str(self.path))
        self.socket.listen()
        self.answer, self.asked, self.is_ending, self.connections = answer, 0, False, []
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        while not self.is_ending:
            connection, _ = self.socket.accept()
            self.connections.append(connection)
            with connection, connection.makefile("rb") as lines:
                try:
                    for line in lines:
                        self.asked += 1
                        said = self.answer(json.loads(line)["id"])
                        if said is None:
                            break
                        connection.sendall(said)
                except OSError:
                    pass

    def close(self):
        self.is_ending = True
        with socket.socket(socket.AF_UNIX) as last:
            last.connect(str(self.path))
            for connection in self.connections:
                if connection.fileno() >= 0:
                    connection.shutdown(socket.SHUT_RDWR)
        self.thread.join(10)
        self.socket.close()
        self.path.unlink()


@pytest.fixture
def peer(tmp_path):
    made = []

    def make(answer, name="run"):
        made.append(Peer(tmp_path / "main" / "state", answer, name))
        return made[-1]

    yield make
    for one in made:
        one.close()


def result(number, value):
    return json.dumps({"jsonrpc": "2.0", "id": number, "result": value}).encode() + b"\n"


def test_a_document_of_thousands_of_files_is_cut_and_says_so(serving, http, peer):
    main = serving([program("a", "sleep", "600")], more={"health": http.section})
    files = [{"path": f"/logs/{i:05}/" + "x" * 200, "lag_bytes": i} for i in range(4000)]
    document = {"process": "run", "pid": 1, "problems": [], "left_out": 5, "rows": {"file": files, "sink": [{"sink": "kafka"}]}}
    made = peer(lambda number: result(number, document))
    wait_until(lambda: "run" in documents(main))
    said = documents(main)["run"]
    kept = said["rows"]["file"]
    assert 400 < len(kept) <= 1000 and kept == files[:len(kept)]
    assert said["left_out"] == 5 + 4000 - len(kept) and said["rows"]["sink"] == [{"sink": "kafka"}]
    assert json.loads(http.get("/api/health")[1])["processes"][1]["rows"]["file"] == kept
    asked, since = made.asked, time.monotonic()
    wait_until(lambda: made.asked >= asked + 3)
    time.sleep(2)
    assert made.asked - asked <= 2 + time.monotonic() - since, "it is asked each second, not again and again"


NONSENSE = {
    "no JSON": lambda number: b"no JSON\n",
    "endless": lambda number: b"x" * (3 << 20),
    "lines": lambda number: b"\n\n{}\n[]\n\xff\xfe\n",
    "array": lambda number: result(number, [1, 2]),
    "odd": lambda number: result(number, {"rows": [1], "pid": "x", "left_out": -1}),
    "odd rows": lambda number: result(number, {"process": "run", "rows": {"file": {"a": 1}}, "problems": 7}),
    "error": lambda number: json.dumps({"jsonrpc": "2.0", "id": number, "error": {"code": -1, "message": "?"}}).encode() + b"\n",
    "silent": lambda number: b"",
    "closes": lambda number: None,
}


def test_peers_that_talk_nonsense_do_no_harm(serving, http, peer):
    main = serving([program("a", "sleep", "600")], more={"health": http.section})
    made = [peer(answer, f"feed-{i}") for i, answer in enumerate(NONSENSE.values())]
    peer(lambda number: result(number, {"process": "run", "pid": 1, "problems": [], "rows": {}}))
    for name in ("other.sock", "feed-.sock", "feed-1x.sock", "run.sock.sock"):
        (tmp := main.folder / "state" / name).touch()
        assert tmp.exists()
    wait_until(lambda: all(one.asked for one in made) and "run" in documents(main))
    took = []
    for _ in range(10):
        began = time.monotonic()
        said = main.call("health.all")["processes"]
        took.append(time.monotonic() - began)
        assert [document["process"] for document in said] == ["serve", "run"]
        time.sleep(0.4)
    assert sorted(took)[7] < 1 and max(took) < 10, took  # the machine may have stood still in one
    assert json.loads(http.get("/api/health")[1])["processes"][0]["pid"] == main.pid

    def are_told_apart():
        up = {row["process"]: row["up"] for row in rows(main, "peer")}
        return (up["run"], up["feed-7"], up["feed-6"]) == (1, 0, 1)  # the silent one; the one that answers, whatever it says

    wait_until(are_told_apart)
    assert main.status()["a"]["state"] in ("ready", "up")


def test_the_next_main_finds_all_again(serving, http, tmp_path):
    main = serving([run_node(tmp_path), program("frozen", "sleep", "600")], more={"health": http.section})
    main.wait_for_all()
    wait_until(lambda: "run" in documents(main))
    pids = main.pids()
    os.kill(pids["frozen"], signal.SIGSTOP)
    within(lambda: "sensor_frozen" in problems(main))
    main.kill()
    main.start()
    within(lambda: "sensor_frozen" in problems(main) and documents(main).get("run", {}).get("pid") == pids["tapline-run"])
    assert {row["node"]: row["running"] for row in rows(main, "supervised")} == {"tapline-run": 1, "frozen": 0}
    assert http.metric("tapline_peer_up") == {'{process="run"}': 1}
    assert all(is_running(pid) for pid in pids.values())
    # One that is frozen already when Main begins: it takes the connection and says nothing.
    os.kill(pids["tapline-run"], signal.SIGSTOP)
    main.kill()
    main.start()
    _, problem = within(lambda: problems(main).get("process_gone"))
    assert "does not answer" in problem["text"] and "run" not in documents(main)
    os.kill(pids["tapline-run"], signal.SIGCONT)
    within(lambda: documents(main).get("run", {}).get("pid") == pids["tapline-run"])


def test_a_supervisor_that_is_away(serving, http):
    main = serving([program("a", "sleep", "600")], serve={"starts_supervisor": False}, start=False,
                   more={"health": http.section})
    main.start(wait=False)
    took, problem = within(lambda: problems(main).get("supervisor_away"))
    assert str(main.supervisor_socket) in problem["text"]
    status, text = http.get("/readyz")
    assert status == 503 and "supervisor_away" in text
    assert http.get("/healthz")[0] == 200


def test_zeeks_packets_stand_beside_ours(serving, telemetry, http):
    url = f"http://127.0.0.1:{telemetry.server_port}/metrics"
    nodes = [program("manager", "sleep", "600", ready=["after 0s"]) | {"type": "manager", "metrics_url": url},
             zeek("w1", url), zeek("w2"), program("other", "sleep", "600")]
    main = serving(nodes, more={"health": http.section})
    main.wait_for_all()
    wait_until(lambda: rows(main, "capture"))
    (row,) = rows(main, "capture")
    assert (row["sensor"], row["source"], row["packets_dropped"]) == ("w1", "telemetry", 10)
    # Zeek is asked again now and then: it has counted more by the time that the other side is looked at.
    wait_until(lambda: rows(main, "capture")[0]["packets_received"] == telemetry.received > 0)
    wait_until(lambda: http.metric("tapline_capture_packets_received_total") == {'{sensor="w1",source="telemetry"}': telemetry.received})


@pytest.mark.parametrize("more", [{"health": {"serve": "127.0.0.1:1"}}, {}], ids=["another port", "no section"])
def test_a_reload_keeps_it_going_and_some_keys_want_a_restart(serving, http, more):
    main = serving([program("a", "sleep", "600")], more={"health": http.section})
    main.wait_for_all()
    main.configure([program("a", "sleep", "600")], more={"health": http.section | {"interval": "1s"}})
    main.reload()
    main.wait_for_log("the configuration was read again")
    assert http.get("/healthz")[0] == 200
    main.configure([program("a", "sleep", "600")], more=more)
    main.reload()
    main.wait_for_log("key=health.serve")
    assert http.get("/api/health")[0] == 200 and not problems(main)


def test_without_the_section_nothing_listens_and_the_socket_tells_all_the_same(serving):
    main = serving([program("a", "sleep", "600")])
    main.wait_for_all()
    wait_until(lambda: rows(main, "supervised"))
    assert main.call("health.all")["control"] is False
    sockets = {os.readlink(f"/proc/{main.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{main.pid}/fd")
               if os.path.exists(f"/proc/{main.pid}/fd/{fd}")}
    inodes = {name[8:-1] for name in sockets if name.startswith("socket:")}
    listening = [line.split() for name in ("tcp", "tcp6") for line in open(f"/proc/net/{name}")]
    assert not [fields for fields in listening if len(fields) > 9 and fields[9] in inodes]
