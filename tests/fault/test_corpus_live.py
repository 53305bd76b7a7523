"""What real sensors left, written once more as they wrote it, while tapline follows and dies: ours/zeek/rotated (Zeek with a
rotation each two minutes, here in time-lapse) and ours/zeek/cluster-archive (a zeekctl cluster, and what zeekctl made of its
logs). Each record of the set arrives once.

The judge knows a record by its dataset and uid, and a file by the places of its lines; both are taken from the set itself.
Data: $TAPLINE_DATA, else ../shared/data beside the repository.
SPDX-License-Identifier: Apache-2.0
"""
import collections
import gzip
import json
import os
import pathlib
import random
import re
import shutil
import time

import pytest

import judge
import rig

DATA = pathlib.Path(os.environ.get("TAPLINE_DATA", rig.TOP.parent / "shared" / "data")) / "ours" / "zeek"
NO_LOGS = ["stdout.*", "stderr.*", "conn-summary.*"]  # zeekctl's own texts
DATASETS = {"conn": "connection"}  # a log's name in event.dataset where it has another


@pytest.fixture(scope="module")
def data():
    if not DATA.is_dir():
        assert os.environ.get("CI") != "true" and "TAPLINE_DATA" not in os.environ, f"no data at {DATA} (set TAPLINE_DATA)"
        pytest.skip(f"NO DATA at {DATA}: nothing of real logs is tested here (set TAPLINE_DATA)")
    return DATA


class Log:
    """One file of the set: its name while it is written, the name it gets then, and what is in it."""

    def __init__(self, path):
        self.archived = path.name
        self.text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        self.name = path.name.split(".")[0]
        stamp = re.search(r"(\d\d)[-:](\d\d)[-:](\d\d)(?=\.log|-\d\d:)", path.name)
        self.began = tuple(map(int, stamp.groups())) if stamp else (24, 0, 0)
        self.uids, self.spans, uid_at, at, begin = collections.Counter(), [], None, 0, 0
        for line in self.text.splitlines(keepends=True):
            at += len(line)
            if line.startswith(b"#"):
                if line.startswith(b"#fields"):
                    fields = line.rstrip(b"\n").split(b"\t")[1:]
                    uid_at = fields.index(b"uid") if b"uid" in fields else None
                continue
            self.spans.append((begin, at))
            begin = at
            self.uids[self._uid(line, uid_at)] += 1

    @staticmethod
    def _uid(line, uid_at):
        if line.startswith(b"{"):
            return json.loads(line).get("uid")
        uid = line.rstrip(b"\n").split(b"\t")[uid_at].decode() if uid_at is not None else None
        return None if uid == "-" else uid

    @property
    def round(self):
        """Which rotation of two minutes took it."""
        hour, minute, _ = self.began
        return (hour, minute // 2)


def logs_of(folder):
    """Those that have records, and those that have none; without texts that are no logs."""
    return [Log(path) for path in sorted(folder.iterdir())
            if path.is_file() and not any(path.match(pattern) for pattern in NO_LOGS)]


def name_of(value):
    document = json.loads(value)
    uid = document.get("zeek", {}).get("session_id")
    return document["event"]["dataset"], uid if isinstance(uid, str) else None  # a list of them: dhcp's uids


def assert_the_set_is_there(seen, logs):
    seen.read()
    expected = collections.Counter()
    for log in logs:
        for uid, times in log.uids.items():
            expected[("zeek." + DATASETS.get(log.name, log.name), uid)] += times
    print(f"{len(logs)} files, {expected.total()} records, {seen.records} seen, {len(seen.generations)} generations")
    assert not seen.dead, seen.dead[:2]
    by_log = collections.Counter()
    for (dataset, _), times in seen.seen.items():
        by_log[dataset] += times
    wanted_by_log = collections.Counter()
    for (dataset, _), times in expected.items():
        wanted_by_log[dataset] += times
    assert by_log == wanted_by_log, (by_log - wanted_by_log, wanted_by_log - by_log)
    lost, doubled = expected - seen.seen, seen.seen - expected
    assert not lost and not doubled, (lost, doubled)
    assert not [file.disorder for file in seen.generations.values() if file.disorder]
    have = sorted(sorted(zip(file.froms, file.ends)) for file in seen.generations.values())
    assert have == sorted(log.spans for log in logs if log.spans), "the places are not those of the files' lines"


def write_in_pieces(folder, parts, chance):
    """Append to several logs at once, in pieces that end anywhere. parts: (name, bytes)."""
    rest = {name: text for name, text in parts if text}
    while rest:
        name = chance.choice(list(rest))
        size = chance.randint(1, 9000)
        with open(folder / f"{name}.log", "ab") as out:
            out.write(rest[name][:size])
        rest[name] = rest[name][size:]
        if not rest[name]:
            del rest[name]
        if chance.random() < 0.2:
            time.sleep(0.005)


def config_of(tmp_path, broker, prefix, **inputs):
    return rig.config_write(tmp_path / "tapline.yml", [{"type": "zeek", "exclude": NO_LOGS, **inputs}],
                            judge.kafka_sink(broker, prefix, partitions=2), ingest={"scan_interval": "200ms", "checkpoint_interval": "50ms"})


def follow(run, seen, records):
    """Until so many are there."""
    def arrived():
        seen.read(settle=0)
        return seen.records >= records

    run.wait_for(f"{records} records", arrived, 120)


@pytest.mark.parametrize("kills", [0, 2])
def test_two_minute_rotation_live(broker, data, tmp_path, runs, kills):
    """kills: in each round, at any moment. With 0 it runs through."""
    seed = random.randrange(2**32)
    print("seed", seed)
    chance, current, prefix = random.Random(seed), tmp_path / "current", f"rotated{kills}"
    current.mkdir()
    config = config_of(tmp_path, broker, prefix, paths=[str(current / "*.log")])
    logs = logs_of(data / "rotated")
    assert len(logs) > 100
    run = runs(config)
    for one in sorted({log.round for log in logs}):
        these = [log for log in logs if log.round == one]
        assert len({log.name for log in these}) == len(these), "two of a log in one round"
        for part in range(kills + 1):
            write_in_pieces(current, [(log.name, piece(log.text, part, kills + 1)) for log in these], chance)
            if part < kills:
                time.sleep(chance.uniform(0, 0.6))
                run.kill()
                run = runs(config)
        for log in these:  # the name that is live stays if it is the last
            if log.archived != f"{log.name}.log":
                (current / f"{log.name}.log").rename(current / log.archived)
    with judge.Judge(broker, prefix, name_of) as seen:
        follow(run, seen, sum(len(log.spans) for log in logs))
        run.stop()
        rig.run_once(config)
        assert_the_set_is_there(seen, logs)


def piece(text, part, parts):
    return text[len(text) * part // parts:len(text) * (part + 1) // parts]


def archive_away(current, folder, log):
    """zeekctl's archive-log: gzip to DATE/NAME.FROM-TO.log.gz, then the old name goes."""
    path = current / f"{log.name}.log"
    with open(path, "rb") as source, gzip.GzipFile(folder / log.archived, "wb", mtime=path.stat().st_mtime) as packed:
        shutil.copyfileobj(source, packed)
    shutil.copystat(path, folder / log.archived)
    path.unlink()


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_zeekctl_archives_while_tapline_is_away(broker, data, tmp_path, runs, how):
    """Half of each log is read, the rest is in DATE/NAME.FROM-TO.log.gz when tapline comes back. Then it runs on while the
    last logs of the cluster are written and archived."""
    seed = random.randrange(2**32)
    print("seed", seed)
    chance, current, folder = random.Random(seed), tmp_path / "current", tmp_path / "archive/2026-11-21"
    current.mkdir()
    folder.mkdir(parents=True)
    prefix = f"archive-{how}"
    config = config_of(tmp_path, broker, prefix, paths=[str(current / "*.log")], archive=[str(tmp_path / "archive/*/*.log.gz")])
    logs = logs_of(data / "cluster-archive")
    assert len(logs) > 50
    first, later = {}, []
    for log in logs:  # stats and telemetry have two; the second is written behind the first
        if log.name in first:
            later.append(log)
        else:
            first[log.name] = log
    assert later
    halves = {name: half_of(log) for name, log in first.items()}
    run = runs(config)
    write_in_pieces(current, [(name, text) for name, (text, _) in halves.items()], chance)
    begun = sum(1 for log in first.values() if log.spans)
    with judge.Judge(broker, prefix, name_of) as seen:
        def all_begun():
            seen.read(settle=0)
            return len(seen.generations) >= begun

        run.wait_for("a record of each log", all_begun, 120)
        getattr(run, how)()
        write_in_pieces(current, [(name, text) for name, (_, text) in halves.items()], chance)
        for name, log in first.items():
            (current / f"{name}.log").touch()
            archive_away(current, folder, log)
        run = runs(config)
        follow(run, seen, sum(len(log.spans) for log in first.values()))
        write_in_pieces(current, [(log.name, log.text) for log in later], chance)
        follow(run, seen, sum(len(log.spans) for log in logs))
        for log in later:
            archive_away(current, folder, log)
        time.sleep(1)
        run.stop()
        rig.run_once(config)
        assert_the_set_is_there(seen, logs)


def half_of(log):
    """Cut within a line behind the middle, and behind its first record."""
    at = max(len(log.text) // 2, log.spans[0][1] if log.spans else 0)
    return log.text[:at], log.text[at:]


def test_an_archive_is_read_from_scratch(broker, data, tmp_path, runs):
    """The directory as zeekctl left it, by its own glob; and again, when all is known."""
    folder = tmp_path / "archive/2026-11-21"
    shutil.copytree(data / "cluster-archive", folder)
    config = config_of(tmp_path, broker, "scratch", paths=[str(tmp_path / "archive/*/*.log.gz")])
    logs = logs_of(data / "cluster-archive")
    records = sum(len(log.spans) for log in logs)
    assert rig.run_once(config)["accepted"] == records
    assert rig.run_once(config)["accepted"] == 0
    with judge.Judge(broker, "scratch", name_of) as seen:
        assert_the_set_is_there(seen, logs)
