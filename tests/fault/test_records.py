"""Records that are more than a line, written in pieces while tapline is killed: none is lost, none is split, and what comes
twice is the same record with the same place.
SPDX-License-Identifier: Apache-2.0
"""
import base64
import random
import struct
import threading
import time

import pytest

import rig


def full_record(number):
    """Two of three as they are on packets from the wire; the third as on rebuilt ones, which no blank line ends."""
    head = f'[**] [1:{number}:1] "alert {number}" [**]\n'
    if number % 3 == 2:
        return (head + "11/21-02:58:44.340179 \n").encode()
    return (head + "[Classification: Misc activity] [Priority: 3] \n"
            "11/21-02:58:39.101903 10.20.0.2:4000 -> 10.20.0.10:80\n"
            f"TCP TTL:64 TOS:0x0 ID:{number % 65536} IpLen:20 DgmLen:52 DF\n"
            "***A**** Seq: 0x1  Ack: 0x2  Win: 0x3  TcpLen: 32\n\n").encode()


def unified2_record(number):
    """An event, one to three packets that hold its number, and now and then extra data."""
    def record(kind, body):
        return struct.pack(">II", kind, len(body)) + body
    event = struct.pack(">9I2I2H4BIHH", 0, number, 1795229919, 5, number, 1, 1, 29, 3, 0x0a140002, 0x0a14000a, 4000, 80,
                        6, 0, 0, 0, 0, 0, 0)
    out = record(104, event)
    for _ in range(1 + number % 3):
        payload = b"%d\n\x00\x00\x00\x68" % number      # with a line end and what looks like a header in it
        out += record(2, struct.pack(">7I", 0, number, 1795229919, 1795229919, 6, 147, len(payload)) + payload)
    if number % 5 == 0:
        host = b"host-%d.example" % number
        out += record(110, struct.pack(">8I", 4, 32 + len(host), 0, number, 1795229919, 10, 1, 8 + len(host)) + host)
    return out


def check_full(number, document):
    assert document["rule"]["description"] == f"alert {number}"
    if number % 3 != 2:
        assert document["snort"]["tcp"]["window"] == 3      # its last line came with it


def check_unified2(number, document):
    packets = document["snort"]["packet"]["data"]
    assert len(packets) == 1 + number % 3
    assert all(base64.b64decode(packet).split(b"\n")[0] == b"%d" % number for packet in packets)
    if number % 5 == 0:
        assert document["snort"]["extra"]["http"]["host"] == [f"host-{number}.example"]


FORMATS = {"full": ("alert_full.txt", full_record, check_full), "unified2": ("unified2.log", unified2_record, check_unified2)}


class Sensor(threading.Thread):
    """Writes records in pieces that end anywhere, until told to finish; the last record is whole then."""

    def __init__(self, path, record, seed):
        super().__init__(daemon=True)
        self.path, self.record, self.random = path, record, random.Random(seed)
        self.count, self.is_finished, self.torn = 0, False, 0

    def run(self):
        with open(self.path, "wb", buffering=0) as out:
            rest = b""
            while rest or not self.is_finished:
                while not self.is_finished and len(rest) < 4000:
                    rest += self.record(self.count)
                    self.count += 1
                size = self.random.randint(1, 900)
                out.write(rest[:size])
                rest = rest[size:]
                self.torn += 1
                time.sleep(0.001)

    def finish(self):
        self.is_finished = True
        self.join()
        return self.count


@pytest.mark.parametrize("name", FORMATS)
def test_killed_in_the_middle_of_records(tmp_path, runs, name):
    file, record, check = FORMATS[name]
    seed = random.randrange(2**32)
    print("seed", seed)
    pause = random.Random(seed).uniform
    # A busy machine may stop the sensor in the middle of a record for longer than the second that is the default.
    config = rig.config_write(tmp_path / "tapline.yml", [{"type": "snort", "paths": [str(tmp_path / file)]}],
                              {"file": {"path": str(tmp_path / "out.ndjson"), "sync_interval": "20ms"}},
                              ingest={"checkpoint_interval": "30ms", "record_wait": "10s"})
    sensor = Sensor(tmp_path / file, record, seed)
    sensor.start()
    for _ in range(12 * rig.STORM):
        run = runs(config)
        run.wait_log('"started"')
        time.sleep(pause(0.0, 0.3))
        run.kill()
    count = sensor.finish()
    assert count > 500 and sensor.torn > 200
    run = runs(config)      # the file stands still: its last record comes without another behind it

    last = b'"description":"alert %d"' % (count - 1) if name == "full" else b'"rule":{"id":"%d"' % (count - 1)
    run.wait_for("the last record", lambda: last in (tmp_path / "out.ndjson").read_bytes(), timeout=60)
    run.stop()
    seen = {}
    for document in rig.Documents(tmp_path / "out.ndjson").all:
        assert document["event"]["kind"] == "alert", document
        number = int(document["rule"]["id"])
        check(number, document)
        document["event"].pop("ingested", None)
        seen.setdefault(number, []).append(document)
    assert sorted(seen) == list(range(count))
    assert all(one == many[0] for many in seen.values() for one in many), "a repeat differs"
    offsets = [many[0]["log"]["offset"] for _, many in sorted(seen.items())]
    assert offsets == sorted(set(offsets)), "two records have one place"
    want = [0]
    for number in range(count - 1):
        want.append(want[-1] + len(record(number)))
    assert offsets == want, "a record begins elsewhere than it was written"
    assert rig.run_once(config)["accepted"] == 0


@pytest.mark.parametrize("name", FORMATS)
def test_each_comes_once_across_clean_stops(tmp_path, runs, name):
    file, record, check = FORMATS[name]
    config = rig.config_write(tmp_path / "tapline.yml", [{"type": "snort", "paths": [str(tmp_path / file)]}],
                              {"file": {"path": str(tmp_path / "out.ndjson")}}, ingest={"record_wait": "10s"})
    sensor = Sensor(tmp_path / file, record, 7)
    sensor.start()
    for _ in range(6):
        run = runs(config)
        run.wait_log('"started"')
        time.sleep(0.2)
        run.stop()
    count = sensor.finish()
    rig.run_once(config)
    documents = rig.Documents(tmp_path / "out.ndjson").all
    assert [int(document["rule"]["id"]) for document in documents] == list(range(count))
    for number, document in enumerate(documents):
        check(number, document)
