"""All real logs there are, through `tapline run`, Kafka, `tapline feed` and a search engine: for each dataset there are as many
documents in the index as there were records, less the dead letters; and the same way once more from nothing changes no count.

How many records a file has is counted by the corpus tests' own reader; what is in Kafka and in the engine by clients that are
not ours. Data: $TAPLINE_DATA, else ../shared/data beside the repository.
SPDX-License-Identifier: Apache-2.0
"""
import collections
import json
import os
import pathlib
import shutil
import sys
import time

import pytest

import rig
from feeding import Site
from fixtures import broker_made

sys.path.insert(0, str(rig.TOP / "tests" / "corpus"))
import check_accounting as corpus  # noqa: E402

DATA = pathlib.Path(os.environ.get("TAPLINE_DATA", rig.TOP.parent / "shared" / "data"))
DEAD = "tapline.deadletter"
DAMAGED = "zat__http.log.corrupt.gz"  # run says that it could not read all of it, and ends with that


@pytest.fixture(scope="module")
def files():
    if not (DATA / "ours" / "zeek").is_dir():
        assert os.environ.get("CI") != "true" and "TAPLINE_DATA" not in os.environ, f"no data at {DATA} (set TAPLINE_DATA)"
        pytest.skip(f"NO DATA at {DATA}: no real log went the whole way (set TAPLINE_DATA)")
    found = sorted(path for folder in corpus.FOLDERS for path in (DATA / folder).rglob("*")
                   if path.is_file() and not path.name.endswith((*corpus.NO_LOGS, DAMAGED)))
    assert len(found) > 900
    return found


# The sensor has not written their last record's end yet, and tapline waits for it.
UNFINISHED = {"go-unified2__short-read-on-body.log", "go-unified2__short-read-on-header.log", "sv__lua.fast.log",
              "derived__conn_truncated_last_line.log"}


def records_of(files):
    """How many they hold, as the corpus tests' reader counts. NAME.gz beside a NAME with the same text is that log, packed: its
    records are there already."""
    count = 0
    for path in files:
        facts = corpus.Facts(str(path))
        plain = path.with_suffix("")
        if path.suffix == ".gz" and plain.exists() and corpus.Facts(str(plain)).read() == facts.read():
            continue
        count += len(facts.records) - (path.name in UNFINISHED)
    return count


def inputs_of(files):
    """One for each folder; a CSV without names is told its own."""
    folders = sorted({path.parent for path in files})
    exclude = ["*" + end for end in (*corpus.NO_LOGS, DAMAGED)]
    made = [{"type": "auto", "paths": [f"{folder}/*" for folder in folders if "csv-all" not in str(folder)], "exclude": exclude}]
    for folder in folders:
        if "csv-all" in str(folder):
            made.append({"format": "snort_csv", "paths": [f"{folder}/*"], "csv_fields": corpus.CSV_ALL.split(",")})
    return made


class Way:
    """run's configuration beside feed's. The node has the same name each time: ids are made from it."""

    def __init__(self, folder, broker, engine, files):
        # Nobody is killed: nor is anybody missed because the machine stands still, and nothing delivered twice.
        self.site = Site(folder, broker, engine, feed={"rdkafka": {"session.timeout.ms": "30000"}})
        self.folder, self.files = folder, files

    def run(self):
        sink = {"topic": self.site.prefix + ".%{event.dataset}", "dead_letter_topic": self.site.dead_topic, "partitions": 1,
                "rdkafka": {"bootstrap.servers": self.site.broker.address}}
        config = rig.config_write(self.folder / "run.yml", inputs_of(self.files), {"kafka": sink},
                                  node={"name": f"sensor-{self.site.prefix}"})
        return rig.run_once(config, timeout=600)

    def in_kafka(self):
        """(id, dataset) of each record."""
        found = []
        for message in self.site.records():
            header = dict(message.headers())["tapline"]
            dataset = DEAD if message.topic() == self.site.dead_topic else message.topic()[len(self.site.prefix) + 1:]
            found.append((header[:16].hex(), dataset, message.value()))
        return found

    def in_index(self):
        """Dataset to how many; dataset as the index's name has it."""
        found = collections.Counter()
        for hit in self.site.engine.hits(self.site.pattern(), source=False):
            found[hit["_index"].split("-")[1]] += 1
        return found


def index_name_of(dataset):
    return dataset.lower()


# The other product's engine takes all documents in test_templates.py, and faults in test_feed_faults.py.
@pytest.mark.parametrize("product", ["elasticsearch", "opensearch"] if rig.IS_LONG else ["elasticsearch"])
def test_all_of_it_is_there_once(product, files, engines, broker, tmp_path):
    way = Way(tmp_path, broker, engines[product], files)
    site, began = way.site.prepare(), time.monotonic()
    summary = way.run()
    took_run = time.monotonic() - began
    records = records_of(files)
    in_kafka = way.in_kafka()
    began = time.monotonic()
    site.once(timeout=600)
    refused = len(site.records(site.dead_topic)) - sum(dataset == DEAD for _, dataset, _ in in_kafka)
    if refused:
        site.once(timeout=600)  # their dead letters were written while the first was at it
    print(f"{records} records, {len(in_kafka)} in Kafka in {took_run:.0f} s, in the index in {time.monotonic() - began:.0f} s, "
          f"{refused} refused; {summary}")

    assert len(in_kafka) == records
    ids = site.ids()
    assert not [name for name, times in ids.items() if times > 1]
    letters = {letter["tapline"]["id"]: letter for letter in site.dead_letters() if letter["tapline"].get("kind") == "refused"}
    assert len(letters) == refused
    wanted = collections.Counter(index_name_of(dataset) for name, dataset, _ in in_kafka if name not in letters)
    wanted[DEAD] += refused
    assert way.in_index() == +wanted
    assert {name for name, _, _ in in_kafka} - set(letters) <= set(ids)
    assert refused == 0, [letter["error"]["message"] for letter in letters.values()][:5]
    site.ledger().assert_whole()

    if product == "elasticsearch":
        again(way, tmp_path, ids)


def again(way, tmp_path, ids):
    """State directories gone and a new group over what is in Kafka; then a fresh Kafka, too."""
    site = way.site
    for state in tmp_path.glob("state*"):
        shutil.rmtree(state)
    site.group += "-again"
    site.config = site.write()
    before = len(way.in_kafka())
    way.run()
    assert len(way.in_kafka()) == before, "what Kafka has is not sent again"
    site.once(timeout=600)
    assert site.ids() == ids
    for state in tmp_path.glob("state*"):
        shutil.rmtree(state)
    fresh = broker_made(tmp_path / "fresh-broker").start()
    try:
        site.leave()
        site.broker = fresh
        site.config = site.write()
        way.run()
        site.once(timeout=600)
        assert site.ids() == ids
        assert site.ledger().assert_whole()["repeated"] == len(ids)
    finally:
        fresh.close()


def test_documents_are_those_of_normalize(files, engines, broker, tmp_path):
    """Of our own sensors' logs: what an analyst finds in the index is what `tapline normalize` makes of the file, byte by
    byte of each value."""
    folder = DATA / "ours" / "zeek" / "tsv"
    mine = [path for path in files if path.parent == folder]
    way = Way(tmp_path, broker, engines["elasticsearch"], mine)
    site = way.site.prepare()
    way.run()
    site.once(timeout=600)
    done = rig.tapline("normalize", "--", *mine) if "TAPLINE_MAPS" in os.environ else rig.subprocess.run(
        [str(rig.TAPLINE), "normalize", "--", *map(str, mine)], capture_output=True, text=True, check=True,
        env=dict(os.environ, TAPLINE_MAPS=str(rig.TOP / "configs")))
    wanted = sorted(done.stdout.splitlines())
    found = []
    for source in site.engine.documents(site.pattern()):
        assert source.pop("data_stream")["dataset"] == source["event"]["dataset"]
        found.append(source)
    key = lambda one: (one["log"]["file"]["path"], one["log"]["offset"])  # noqa: E731
    assert sorted(found, key=key) == sorted(map(json.loads, wanted), key=key)
