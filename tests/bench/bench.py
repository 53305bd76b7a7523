#!/usr/bin/env python3
"""bench.py: how fast is tapline, in whole-process CPU seconds and peak memory; `make bench` runs it.

Measured, each RUNS times, medians in the table:
  normalize   a conn log of EVENTS lines to /dev/null, pinned to one core, TSV and JSON; and a TSV log four times as long
  run         the same logs through `tapline run --once` into a real Kafka broker on this machine
  bare        a bare librdkafka producer with exactly the records that `run` produced (key, header, document)
  peers       rsyslog and syslog-ng: JSON parse, ten renames, the same broker; fewer events, figures per million

The runs of one round follow each other (run TSV, bare, run JSON, bare, …), so that a machine whose speed drifts
drifts for all. Writes build/bench/bench.json and prints a table; ends with 1 if a target is missed.

SPDX-License-Identifier: Apache-2.0
"""
import argparse
import json
import os
import pathlib
import platform
import shlex
import shutil
import statistics
import subprocess
import sys

from measure import Broker, Failed, Process
from peers import PEERS

HERE = pathlib.Path(__file__).resolve().parent
TOP = HERE.parent.parent
MILLION = 1_000_000
RSS_MIB_MAX = 64
# The same for tapline's sink and the bare producer; what makes delivery safe is fixed in both.
RDKAFKA = {"compression.codec": "lz4", "partitioner": "murmur2"}


def say(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


class Bench:
    def __init__(self, args):
        self.args = args
        self.work = args.work
        self.work.mkdir(parents=True, exist_ok=True)
        self.rows = {}
        self.skipped = {}
        self.logs = {kind: self.work / f"conn.{args.events}.{kind}.log" for kind in ("tsv", "json")}
        self.logs["tsv x4"] = self.work / f"conn.{args.events}.tsv4.log"
        self.peer_log = self.work / f"conn.{args.peer_events}.json.log"

    def note(self, name, process, events):
        run = {
            "events": events, "cpu_s": round(process.cpu_s, 3), "wall_s": round(process.wall_s, 3),
            "rss_mib": round(process.rss_mib, 1),
        }
        self.rows.setdefault(name, []).append(run)
        say(f"{name}: {run}")

    # ---- what is needed ----

    def make_logs(self):
        if not all(p.exists() for p in self.logs.values()):
            say(f"writing a conn log of {self.args.events} lines as TSV and as JSON")
            self._generate(self.args.events, self.logs["tsv"], self.logs["json"])
            tsv4 = self.logs["tsv x4"].with_suffix(".part")
            with open(tsv4, "wb") as out:
                for _ in range(4):
                    with open(self.logs["tsv"], "rb") as log:
                        shutil.copyfileobj(log, out, 1 << 20)
            tsv4.rename(self.logs["tsv x4"])
        if not self.peer_log.exists():
            self._generate(self.args.peer_events, self.work / "peer.tsv.log", self.peer_log)

    def _generate(self, count, tsv, as_json):
        subprocess.run([sys.executable, HERE / "conn_log.py", str(count), f"{tsv}.part", f"{as_json}.part"], check=True)
        os.rename(f"{tsv}.part", tsv)
        os.rename(f"{as_json}.part", as_json)

    def compile_bare(self):
        flags = subprocess.run(["pkg-config", "--cflags", "--libs", "rdkafka"], check=True, capture_output=True, text=True)
        self.bare = self.work / "bare_producer"
        subprocess.run(
            ["cc", "-std=c17", "-D_GNU_SOURCE", "-O2", HERE / "bare_producer.c", "-o", self.bare, *shlex.split(flags.stdout)],
            check=True,
        )

    # ---- what is measured ----

    def normalize(self, kind, events):
        with open(os.devnull, "wb") as null:
            argv = [self.args.tapline, "normalize", self.logs[kind]]
            process = Process(argv, self.work / "normalize.log", stdout=null, cpu=self.args.cpu)
            process.wait().must_be_done()
        self.note(f"normalize {kind}", process, events)

    def run_config(self, kind, topic):
        state = self.work / "state"
        shutil.rmtree(state, ignore_errors=True)
        state.mkdir()
        config = self.work / "tapline.yml"
        properties = "".join(f"      {key}: {json.dumps(value)}\n" for key, value in self.rdkafka().items())
        config.write_text(
            f"node: {{name: bench, state: {json.dumps(str(state))}}}\n"
            f"inputs:\n  - {{type: zeek, paths: [{json.dumps(str(self.logs[kind]))}]}}\n"
            f"normalize: {{maps: {json.dumps(str(TOP / 'configs'))}}}\n"
            f"sinks:\n  kafka:\n    topic: {topic}\n    create_topics: no\n    rdkafka:\n{properties}"
        )
        return config

    def rdkafka(self):
        return {"bootstrap.servers": self.broker.address, **RDKAFKA}

    def run(self, kind, round_no):
        topic = f"bench-run-{kind}-{round_no}"
        self.broker.create(topic)
        argv = [self.args.tapline, "run", "--once", "-c", self.run_config(kind, topic)]
        process = Process(argv, self.work / "run.log").wait().must_be_done()
        there = self.broker.records(topic)
        if there != self.args.events:
            raise Failed(f"{there} records of {self.args.events} are in the topic: {process.said()}")
        self.note(f"run {kind}", process, self.args.events)
        frames = self.frames(kind)
        if not frames.exists():
            self._bare("capture", topic, frames).must_be_done()
        self.broker.delete(topic)

    def frames(self, kind):
        return self.work / f"{kind}.frames"

    def _bare(self, verb, topic, frames):
        properties = [f"{key}={value}" for key, value in RDKAFKA.items() if verb == "produce"]
        argv = [self.bare, verb, self.broker.address, topic, frames, *properties]
        return Process(argv, self.work / f"bare.{verb}.log").wait()

    def bare_run(self, kind, round_no):
        topic = f"bench-bare-{kind}-{round_no}"
        self.broker.create(topic)
        process = self._bare("produce", topic, self.frames(kind)).must_be_done()
        self.note(f"bare producer, {kind}'s records", process, self.args.events)
        self.broker.delete(topic)

    def peer(self, peer, round_no):
        topic = f"bench-{peer.name}-{round_no}"
        self.broker.create(topic)
        try:
            process = peer.run(self.work, self.peer_log, topic, self.broker, self.args.peer_events)
            self.note(peer.name, process, self.args.peer_events)
        except Failed as failed:
            self.skipped[peer.name] = str(failed)
            say(f"SKIPPED {peer.name}: {failed}")
        self.broker.delete(topic)

    def measure(self):
        for round_no in range(self.args.runs):
            if "normalize" in self.args.parts:
                self.normalize("tsv", self.args.events)
                self.normalize("json", self.args.events)
                self.normalize("tsv x4", 4 * self.args.events)
        if {"run", "peers"} & set(self.args.parts):
            self.measure_broker()

    def measure_broker(self):
        shutil.rmtree(self.work / "kafka", ignore_errors=True)
        for kind in ("tsv", "json"):
            self.frames(kind).unlink(missing_ok=True)
        self.broker = Broker(self.args.kafka, self.work / "kafka")
        try:
            for round_no in range(self.args.runs):
                for kind in ("tsv", "json") if "run" in self.args.parts else ():
                    self.run(kind, round_no)
                    self.bare_run(kind, round_no)
                for peer in PEERS if "peers" in self.args.parts else ():
                    if peer.name not in self.skipped:
                        self.peer(peer, round_no)
        finally:
            self.broker.close()

    # ---- what it comes to ----

    def summary(self):
        def median(name, key):
            return statistics.median(run[key] for run in self.rows[name])

        table = {}
        for name, runs in self.rows.items():
            events = runs[0]["events"]
            table[name] = {
                "events": events, "runs": len(runs),
                "cpu_s_per_million": round(median(name, "cpu_s") * MILLION / events, 2),
                "events_per_cpu_s": round(events / median(name, "cpu_s")),
                "events_per_s": round(events / median(name, "wall_s")),
                "rss_mib": round(max(run["rss_mib"] for run in runs), 1),
            }
        return table


def targets_of(table):
    """(what, figure, wanted, is it met) for everything the table can say."""
    found = []

    def want(text, figure, wanted, is_met):
        found.append({"what": text, "figure": figure, "wanted": wanted, "met": is_met})

    for kind, least in (("tsv", 1_500_000), ("json", 600_000)):
        if f"normalize {kind}" in table:
            figure = table[f"normalize {kind}"]["events_per_cpu_s"]
            want(f"normalize {kind}: events per CPU second", figure, f">= {least}", figure >= least)
    for name in [n for n in table if n.startswith("normalize")]:
        figure = table[name]["rss_mib"]
        want(f"{name}: peak memory, MiB", figure, f"< {RSS_MIB_MAX}", figure < RSS_MIB_MAX)
    for kind, least in (("tsv", 0.7), ("json", 0.5)):
        if f"run {kind}" in table:
            ours, bare = table[f"run {kind}"], table[f"bare producer, {kind}'s records"]
            want(f"run {kind}: CPU seconds per million", ours["cpu_s_per_million"], "<= 4", ours["cpu_s_per_million"] <= 4)
            share = round(ours["events_per_s"] / bare["events_per_s"], 2)
            want(f"run {kind}: throughput, of the bare producer's", share, f">= {least}", share >= least)
    return found


def show(table, targets, skipped):
    print(f"\n{'':34}{'events':>10}{'runs':>6}{'CPU s/million':>15}{'events/CPU s':>14}{'events/s':>12}{'peak MiB':>10}")
    for name, row in table.items():
        print(
            f"{name:34}{row['events']:>10}{row['runs']:>6}{row['cpu_s_per_million']:>15}{row['events_per_cpu_s']:>14}"
            f"{row['events_per_s']:>12}{row['rss_mib']:>10}"
        )
    for name, why in skipped.items():
        print(f"{name:34}SKIPPED: {why.splitlines()[0]}")
    print()
    for target in targets:
        print(f"{'met   ' if target['met'] else 'MISSED'}  {target['what']}: {target['figure']} (wanted {target['wanted']})")


def machine():
    model = next((l.split(":")[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), "unknown")
    return {"cpu": model, "cores": os.cpu_count(), "kernel": platform.release()}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tapline", type=pathlib.Path, default=TOP / "build/release/cmd/tapline")
    parser.add_argument("--kafka", type=pathlib.Path, default=TOP / "tests/integration/kafka", help="kafka.sh and its jars")
    parser.add_argument("--work", type=pathlib.Path, default=TOP / "build/bench")
    parser.add_argument("--events", type=int, default=MILLION)
    parser.add_argument("--peer-events", type=int, default=300_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--cpu", type=int, default=max(os.sched_getaffinity(0)), help="the core `normalize` is pinned to")
    parser.add_argument("--parts", type=lambda text: text.split(","), default=["normalize", "run", "peers"])
    return parser.parse_args()


def main():
    args = arguments()
    bench = Bench(args)
    bench.make_logs()
    bench.compile_bare()
    bench.measure()
    table = bench.summary()
    targets = targets_of(table)
    show(table, targets, bench.skipped)
    result = {"machine": machine(), "table": table, "targets": targets, "skipped": bench.skipped, "runs": bench.rows}
    (args.work / "bench.json").write_text(json.dumps(result, indent=2) + "\n")
    print(f"\nevery run: {args.work / 'bench.json'}")
    return 0 if all(target["met"] for target in targets) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as failed:
        say(failed)
        sys.exit(111)
