"""Records that a map's drop rows leave out: nothing else is lost or doubled by them, and files that hold nothing else are
done with. TAPLINE_STORM multiplies the number of kills.
SPDX-License-Identifier: Apache-2.0
"""
import json
import random
import shutil
import time

import pytest

import rig


def maps_with(folder, *rules):
    """Our maps, with these rules in the one of conn."""
    maps = folder / "configs"
    shutil.copytree(rig.TOP / "configs", maps)
    conn = maps / "maps/zeek.conn.map"
    conn.write_text(conn.read_text() + "".join(f"drop when {rule}\n" for rule in rules))
    return str(maps)


def config_of(folder, maps, interval="30ms"):
    return rig.config_write(
        folder / "tapline.yml", [{"type": "zeek", "paths": [str(folder / "logs/conn*.log")]}],
        {"file": {"path": str(folder / "out.ndjson"), "sync_interval": "20ms"}},
        ingest={"checkpoint_interval": interval}, normalize={"maps": maps})


def test_a_file_of_which_all_is_dropped_is_done_with(tmp_path, runs):
    log, count = rig.ConnLog(), 6000  # several batches
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs/conn.log").write_text(log.text(0, count))
    config = config_of(tmp_path, maps_with(tmp_path, "proto != nothing"))
    summary = rig.run_once(config)
    assert summary["accepted"] == 0
    assert summary["counters"]["ingest.lines"] == summary["counters"]["normalize.dropped"] == count
    [(rule, dropped)] = summary["dropped"].items()
    assert dropped == count and rule.endswith("drop when proto != nothing") and rule.startswith("zeek.conn.map:")
    again = rig.run_once(config)
    assert again["counters"]["ingest.lines"] == 0, "the checkpoint does not stand at the file's end"
    with open(tmp_path / "logs/conn.log", "a") as out:  # what comes behind it is no other file
        out.write(log.text(count, count + 10, header=False))
    assert rig.run_once(config)["counters"]["normalize.dropped"] == 10


@pytest.mark.parametrize("kills", [10])
def test_kill_nine_neither_loses_nor_doubles_with_drops(tmp_path, runs, kills):
    log, count = rig.ConnLog(), 0
    (tmp_path / "logs").mkdir()
    config = config_of(tmp_path, maps_with(tmp_path, "proto = udp", "conn_state = S0"))
    seed = random.randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)
    with open(tmp_path / "logs/conn.log", "w") as out:
        out.write(log.header)
        for _ in range(kills * rig.STORM):
            run = runs(config)
            run.wait_log('"started"')
            end = time.monotonic() + chance.uniform(0.0, 0.25)
            while time.monotonic() < end:
                out.write(log.text(count, count + 300, header=False))
                out.flush()
                count += 300
                time.sleep(0.005)
            run.kill()
    rig.run_once(config)
    documents = rig.Documents(tmp_path / "out.ndjson")
    rows = [log.rows[i % len(log.rows)] for i in range(count)]
    kept = {i for i, row in enumerate(rows) if row[log.at["proto"]] != "udp" and row[log.at["conn_state"]] != "S0"}
    assert 0 < len(kept) < count, "this test has shown nothing"
    assert set(documents.serials) == kept, (len(set(documents.serials)), len(kept), count)
    texts = {}
    for document in documents.all:  # a repeat is the same record: same place, same document
        texts.setdefault((rig.serial_of(document), document["log"]["offset"]), set()).add(json.dumps(document, sort_keys=True))
    assert len(texts) == len(kept) and all(len(many) == 1 for many in texts.values())
    assert rig.run_once(config)["counters"]["ingest.lines"] == 0
