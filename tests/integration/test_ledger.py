"""`tapline ledger` from a node's state alone, and against the counters of a Zeek. No Zeek runs here: the endpoint is a small
server that answers in the form Zeek's telemetry has. What the topics hold is test_verify.py's.
SPDX-License-Identifier: Apache-2.0
"""
import http.server
import json
import os
import re
import shutil
import subprocess
import threading
import time

import pytest

import rig

RECORDS = 500


class Zeek:
    """The telemetry of a Zeek process that says it has written so much."""

    def __init__(self):
        self.started, self.writes, self.text = time.time() - 5, {}, None
        zeek = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                body = (zeek.text if zeek.text is not None else zeek.metrics()).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/metrics"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def metrics(self):
        rows = "".join(f'zeek_log_writer_writes_total{{filter_name="default",module="{log.title()}",path="{log}",'
                       f'stream="{log.title()}::LOG",writer="Log::WRITER_ASCII"}} {count}\n' for log, count in self.writes.items())
        return ("# HELP process_start_time_seconds Process start time\n# TYPE process_start_time_seconds gauge\n"
                f"process_start_time_seconds {self.started:.2f}\n# TYPE zeek_log_writer_writes_total counter\n{rows}"
                "# TYPE zeek_log_stream_writes_total counter\nzeek_log_stream_writes_total{module=\"Conn\",stream=\"Conn::LOG\"} 9\n")

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def zeek():
    made = Zeek()
    yield made
    made.close()


def config_of(folder, zeek=None, maps=None):
    inputs = [{"type": "zeek", "paths": [str(folder / "logs/*.log")]}]
    if zeek:
        inputs[0]["metrics_url"] = zeek.url
    (folder / "logs").mkdir(exist_ok=True)
    sections = {"normalize": {"maps": maps}} if maps else {}
    return rig.config_write(folder / "tapline.yml", inputs, {"file": {"path": str(folder / "out.ndjson")}}, **sections)


def write(folder, first, last, bad=()):
    lines = rig.ConnLog()
    with open(folder / "logs/conn.log", "a") as out:
        out.write(lines.header if out.tell() == 0 else "")
        for i in range(first, last):
            out.write("1.0\tbad\n" if i in bad else lines.line(i))


def ledger(config, *options, code=0):
    done = rig.tapline("ledger", "-c", config, "--json", *options)
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout)


# ---- rows ------------------------------------------------------------------------------------------------------------------


def test_every_record_is_accounted_for(tmp_path):
    maps = tmp_path / "configs"
    shutil.copytree(rig.TOP / "configs", maps)
    conn = maps / "maps/zeek.conn.map"
    conn.write_text(conn.read_text() + "drop when proto = udp\n")
    config = config_of(tmp_path, maps=str(maps))
    write(tmp_path, 0, RECORDS, bad=(3, 70, 71))
    shutil.copy(rig.SAMPLES / "zeek/dns.log", tmp_path / "logs")
    rig.run_once(config)
    answer = ledger(config)
    documents = [json.loads(line) for line in open(tmp_path / "out.ndjson")]
    conns = sum(d["event"]["dataset"] == "zeek.connection" for d in documents)
    dns = sum(d["event"]["dataset"] == "zeek.dns" for d in documents)
    assert conns > 0 and dns > 0
    log = answer["logs"]["conn"]
    assert (log["records"], log["accepted"], log["dead"], log["difference"], log["lost"]) == (RECORDS, conns, 3, 0, 0)
    assert log["dropped"] == RECORDS - 3 - conns > 0
    assert answer["logs"]["dns"]["accepted"] == dns and answer["all"]["records"] == RECORDS + answer["logs"]["dns"]["records"]
    rows = {row["path"]: row for row in answer["rows"]}
    row = rows[str(tmp_path / "logs/conn.log")]
    assert row["begin"] == 0 and row["position"] == (tmp_path / "logs/conn.log").stat().st_size and not row["is_over"]
    assert row["from"] <= row["position"]
    # the same for a person, and from the state directory alone
    text = rig.tapline("ledger", "--state", tmp_path / "state")
    assert text.returncode == 0
    cells = next(line for line in text.stdout.splitlines() if line.startswith("conn ")).split()
    assert cells[3:] == [str(RECORDS), str(conns), "3", str(log["dropped"]), "0", "0"]


def test_a_difference_is_said_and_is_exit_1(tmp_path):
    """Rows that cannot come about are put into the ledger by hand: the checkpoint has a checksum, the ledger's lines have none."""
    config = config_of(tmp_path)
    write(tmp_path, 0, RECORDS)
    rig.run_once(config)
    [line] = [line for line in open(tmp_path / "state/checkpoint") if line.startswith("file ")]
    over = re.sub(r"^file gen=\w{16}", "over gen=00000000000000ff", line.rstrip("\n")).replace("conn.log", "dns.log")
    at = time.time_ns() - 3600 * 10**9
    for change, difference, lost in ((f"records={RECORDS}", 0, 0), (f"records={RECORDS + 2}", 2, 0), (f"records={RECORDS - 1}", -1, 0)):
        (tmp_path / "state/ledger").write_text(re.sub(r"records=\d+", change, over) + f" at={at}\n")
        answer = ledger(config, code=1 if difference or lost else 0)
        assert answer["logs"]["dns"]["difference"] == answer["all"]["difference"] == difference
        [row] = [row for row in answer["rows"] if row["is_over"]]
        assert row["generation"] == "00000000000000ff" and row["over"].startswith(time.strftime("%Y-%m-%dT%H", time.gmtime(at / 1e9)))
    done = rig.tapline("ledger", "-c", config)
    assert "00000000000000ff" in done.stderr and "-1 of them are not accounted for" in done.stderr
    # files that were over before then are left out, and so is their difference
    for since, rows in (("2h", 2), ("10m", 1), ("2020-01-01", 2), (time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), 1)):
        assert len(ledger(config, "--since", since, code=rows - 1)["rows"]) == rows, since
    lost = re.sub(r"records=\d+", f"records={RECORDS + 1}", over).replace("lost=0", "lost=1")
    (tmp_path / "state/ledger").write_text(lost + f" at={at}\n")
    assert ledger(config, code=1)["all"]["lost"] == 1


def test_rotated_files_stay_in_the_ledger(tmp_path, runs):
    """A file that is rotated away and deleted keeps its row; the new one has its own."""
    config = config_of(tmp_path)
    write(tmp_path, 0, RECORDS)
    run = runs(config)
    run.wait_log('"started"')  # before that the node has no state, which is another answer
    run.wait_for("the first file", lambda: ledger(config)["all"]["accepted"] == RECORDS)
    (tmp_path / "logs/conn.log").rename(tmp_path / "gone.log")
    (tmp_path / "gone.log").unlink()
    write(tmp_path, RECORDS, RECORDS + 100)
    run.wait_for("the second file", lambda: ledger(config)["all"]["accepted"] == RECORDS + 100)
    run.stop()
    answer = ledger(config)
    assert answer["logs"]["conn"]["files"] == 2 and answer["all"]["difference"] == 0


@pytest.mark.parametrize("moved", ["from the checkpoint to the ledger", "from the ledger to ledger.old"])
def test_rows_that_move_while_they_are_read_are_not_missed(tmp_path, moved):
    """A running process writes a finished file's row into the ledger and then the checkpoint without it; and renames a full
    ledger. Here it does so while `ledger` stands in a FIFO, in place of the file that it reads before."""
    config = config_of(tmp_path)
    write(tmp_path, 0, RECORDS)
    rig.run_once(config)
    state = tmp_path / "state"
    [line] = [line for line in open(state / "checkpoint") if line.startswith("file ")]
    over = re.sub(r"^file ", "over ", line.rstrip("\n")) + f" at={time.time_ns()}\n"
    (state / "fresh").mkdir()
    rig.run_once(rig.config_write(state / "fresh/tapline.yml", [{"type": "zeek", "paths": [str(tmp_path / "none/*.log")]}],
                                  {"file": {"path": str(tmp_path / "none.ndjson")}}))
    without = state / "fresh/state/checkpoint"
    assert "file " not in without.read_text()
    if moved.startswith("from the checkpoint"):
        fifo = state / "ledger"
    else:
        fifo = state / "ledger.old"
        (state / "ledger").write_text(over)
        without.replace(state / "checkpoint")
    os.mkfifo(fifo)
    with subprocess.Popen([str(rig.TAPLINE), "ledger", "-c", str(config), "--json"], stdout=subprocess.PIPE, text=True) as reader:
        with open(fifo, "w"):  # opens when it is opened over there
            if fifo.name == "ledger":
                without.replace(state / "checkpoint")
            else:
                (state / "ledger").replace(state / "elsewhere")
        answer = json.loads(reader.communicate(timeout=60)[0])
    assert reader.returncode == 0 and answer["logs"]["conn"]["records"] == answer["all"]["accepted"] == RECORDS


# ---- Zeek ------------------------------------------------------------------------------------------------------------------


def test_zeeks_counters_agree(tmp_path, zeek):
    config = config_of(tmp_path, zeek)
    write(tmp_path, 0, RECORDS, bad=(7,))
    rig.run_once(config)
    zeek.writes = {"conn": RECORDS}
    begin = time.monotonic()
    answer = ledger(config)
    assert time.monotonic() - begin < 20, "waited for nothing"
    assert answer["zeek"] == [{"url": zeek.url, "logs": {"conn": {"written": RECORDS, "read": RECORDS, "state": "same"}}}]
    # files of the process before it do not count
    zeek.started, zeek.writes = time.time() + 60, {"conn": 0}
    assert ledger(config)["zeek"][0]["logs"]["conn"] == {"written": 0, "read": 0, "state": "same"}


def test_what_is_under_way_is_waited_for(tmp_path, zeek, runs):
    config = config_of(tmp_path, zeek)
    write(tmp_path, 0, RECORDS)
    rig.run_once(config)
    zeek.writes = {"conn": RECORDS + 10}

    def later():
        time.sleep(3)
        write(tmp_path, RECORDS, RECORDS + 20)
        runs(config)

    thread = threading.Thread(target=later)
    thread.start()
    answer = ledger(config)
    thread.join()
    assert answer["zeek"][0]["logs"]["conn"]["state"] == "same"
    assert answer["zeek"][0]["logs"]["conn"]["read"] == RECORDS + 20


def test_more_than_zeek_wrote_is_said_at_once(tmp_path, zeek):
    config = config_of(tmp_path, zeek)
    write(tmp_path, 0, RECORDS)
    rig.run_once(config)
    zeek.writes = {"conn": RECORDS - 1}
    begin = time.monotonic()
    answer = ledger(config, code=1)
    assert answer["zeek"][0]["logs"]["conn"]["state"] == "too_many" and time.monotonic() - begin < 20


def test_records_that_zeek_wrote_and_nobody_read_are_missing(tmp_path, zeek):
    """For one that asks once, who is answered after 30 s, and for the watch beside it, which says when they have come."""
    config = config_of(tmp_path, zeek)
    write(tmp_path, 0, RECORDS)
    rig.run_once(config)
    zeek.writes = {"conn": RECORDS, "dns": 0}
    watch = subprocess.Popen([str(rig.TAPLINE), "ledger", "-c", str(config), "--watch", "2s"], stdout=subprocess.PIPE,
                             stderr=subprocess.DEVNULL, text=True)
    try:
        time.sleep(3)
        zeek.writes = {"conn": RECORDS + 1, "dns": 0}
        begin = time.monotonic()
        done = rig.tapline("ledger", "-c", config)
        assert done.returncode == 1 and 30 <= time.monotonic() - begin < 90
        assert f"Zeek has written {RECORDS + 1} records of conn, {RECORDS} were read" in done.stderr
        assert re.search(rf"zeek conn +{RECORDS + 1} written +{RECORDS} read +missing", done.stdout)
        line = watch.stdout.readline()
        assert "ALARM kind=zeek_missing log=conn" in line and f"written={RECORDS + 1} read={RECORDS}" in line
        assert time.monotonic() - begin < 150
        write(tmp_path, RECORDS, RECORDS + 1)
        rig.run_once(config)
        assert " over kind=zeek_missing" in watch.stdout.readline()
    finally:
        watch.terminate()
        assert watch.wait(60) == 0


def test_the_watch_may_be_started_before_the_first_run(tmp_path, zeek):
    """As at the boot of a new sensor, where nothing says which of the two is first. Called wrongly is what it would be once."""
    config = config_of(tmp_path, zeek)
    assert rig.tapline("ledger", "-c", config).returncode == 100
    watch = subprocess.Popen([str(rig.TAPLINE), "ledger", "-c", str(config), "--watch", "1s"], stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True)
    try:
        said = watch.stderr.readline()
        assert '"the node has no state yet"' in said and str(tmp_path / "state") in said
        write(tmp_path, 0, RECORDS)
        rig.run_once(config)
        zeek.writes = {"conn": RECORDS - 1}
        assert f"written={RECORDS - 1} read={RECORDS}" in watch.stdout.readline()
    finally:
        watch.terminate()
        assert watch.wait(60) == 1, "the alarm stands"


def test_what_is_no_zeek_is_said(tmp_path, zeek):
    config = config_of(tmp_path, zeek)
    (tmp_path / "state").mkdir()
    zeek.text = "<html>hello</html>"
    done = rig.tapline("ledger", "-c", config)
    assert done.returncode == 100 and zeek.url in done.stderr and "zeek_log_writer_writes_total" in done.stderr
    zeek.text = 'zeek_log_writer_writes_total{path="conn",writer="Log::WRITER_ASCII"} 5\n'  # as Zeek 6, which names no start
    done = rig.tapline("ledger", "-c", config)
    assert done.returncode == 100 and "process_start_time_seconds" in done.stderr
    zeek.close()
    done = rig.tapline("ledger", "-c", config)
    assert done.returncode == 111 and zeek.url in done.stderr


# ---- called wrongly -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [[], ["--state", "/tmp", "--topics"], ["--state", "/tmp", "--watch", "31s"],
                                     ["--state", "/tmp", "--since", "yesterday"], ["--state", "/tmp", "--since", "2026-13-01"],
                                     ["--state", "/no/such/directory"], ["-c", "/no/such.yml"]])
def test_wrong_usage_is_100(options):
    done = rig.tapline("ledger", *options)
    assert done.returncode == 100 and done.stderr and not done.stdout
