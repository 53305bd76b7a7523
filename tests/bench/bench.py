#!/usr/bin/env python3
"""bench.py: how fast is tapline, in whole-process CPU seconds and peak memory; `make bench` runs it.

Measured, each RUNS times, medians in the table:
  normalize   conn, dns and http logs of EVENTS lines to /dev/null, pinned to one core, TSV and JSON; the JSON log also with
              yajl alone; a TSV log four times as long; and --jobs 2 on two cores
  beside it   on the same files: a bare memchr split, yajl alone, jq doing ten renames, rsyslog and syslog-ng doing parse and
              ten renames into a file (the last three: fewer events, figures per million)
  run         the conn logs through `tapline run --once` into a real Kafka broker on this machine, exactly once (as
              it is by default) and at least once; and a log four times as long, which tells what the transactions cost:
              a node's start (it asks Kafka who it was) takes some tenths of a second, once, whatever comes after it
  bare        a bare librdkafka producer with exactly the records that `run` produced (key, header, document)
  peers       rsyslog and syslog-ng: JSON parse, ten renames, the same broker
  intel       the conn log with other servers through `tapline run --once` without and with intelligence (intel.py)
  health      what counting, metrics, tap and traces cost that run, in instructions (health.py)
  feeder      those records from the broker into a search engine, and the bare libcurl loop beside it (feeder.py)
  latency     a hundred lines a second written to a log: from a line's write to when a consumer that waits for commits has
              its document

The runs of one round follow each other (TSV, JSON, …, run TSV, bare, …), so that a machine whose speed drifts drifts for
all. Writes build/bench/bench.json and prints a table; ends with 1 if a target is missed. --docs FILE writes the table for
the documentation, too. --parts measures some of it; --beside FILE takes what is not measured from an earlier bench.json.

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

from feeder import Feeder
from health import Health
from intel import Intel
from measure import Broker, Failed, Process, Trickle, settle
from peers import PEERS

HERE = pathlib.Path(__file__).resolve().parent
TOP = HERE.parent.parent
MILLION = 1_000_000
RSS_MIB_MAX = 64
ONCE_SHARE_MIN = 0.85
LOGS = ("conn", "dns", "http")
TIMES = 4  # so much longer is the long log
DELIVERIES = {"": "exactly_once", ", at_least_once": "at_least_once"}  # what is behind a row's name; as it is by default first
TRICKLE_PER_S = 100
TRICKLE_S = 30
HERE_PROGRAMS = {"split_memchr": [], "parse_yajl": ["yajl"], "bare_producer": ["rdkafka"], "bare_bulk": ["libcurl"], "null_engine": ["zlib"]}
MALLOC = ["-Wl,--no-as-needed", "-lmimalloc"]  # the bare ones have the program's
# The same for tapline's sink and the bare producer; what makes delivery safe is fixed in both.
RDKAFKA = {"compression.codec": "lz4", "partitioner": "murmur2"}


def say(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


class Bench:
    def __init__(self, args):
        self.args = args
        self.top = TOP
        self.work = args.work
        self.work.mkdir(parents=True, exist_ok=True)
        self.rows = {}
        self.latencies = {}
        self.skipped = {}
        self.shares = {}  # of at_least_once's throughput, what exactly once has: kind to each round's
        self.intel = Intel(self, say)
        self.feeder = Feeder(self, say)
        self.health = Health(self, say)
        self.logs = {
            f"{log} {kind}": self.work / f"{log}.{args.events}.{kind}.log" for log in LOGS for kind in ("tsv", "json")
        }
        self.long_logs = {kind: self.work / f"conn.{args.events}.{kind}{TIMES}.log" for kind in ("tsv", "json")}
        self.peer_log = self.work / f"conn.{args.peer_events}.json.log"

    def note(self, name, process, events):
        run = {
            "events": events, "cpu_s": round(process.cpu_s, 3), "wall_s": round(process.wall_s, 3),
            "rss_mib": round(process.rss_mib, 1),
        }
        self.rows.setdefault(name, []).append(run)
        say(f"{name}: {run}")
        return run

    # ---- what is needed ----

    def make_logs(self):
        """Those that are read by what is measured."""
        if set(self.args.parts) == {"feeder"}:
            return  # it has its own
        only_intel = set(self.args.parts) <= {"intel", "feeder", "health"}
        for log in ("conn",) if only_intel else LOGS:
            if not (self.logs[f"{log} tsv"].exists() and self.logs[f"{log} json"].exists()):
                say(f"writing a {log} log of {self.args.events} lines as TSV and as JSON")
                self.generate(log, self.args.events, self.logs[f"{log} tsv"], self.logs[f"{log} json"])
        if only_intel:
            return
        for kind, long_log in self.long_logs.items():
            if not long_log.exists():
                part = long_log.with_suffix(".part")
                with open(part, "wb") as out:
                    for _ in range(TIMES):
                        with open(self.logs[f"conn {kind}"], "rb") as log:
                            shutil.copyfileobj(log, out, 1 << 20)
                part.rename(long_log)
        if not self.peer_log.exists():
            self.generate("conn", self.args.peer_events, self.work / "peer.tsv.log", self.peer_log)

    def generate(self, log, count, tsv, as_json):
        argv = [sys.executable, HERE / "zeek_log.py", log, str(count), f"{tsv}.part", f"{as_json}.part"]
        subprocess.run(argv, check=True)
        os.rename(f"{tsv}.part", tsv)
        os.rename(f"{as_json}.part", as_json)

    def compile_programs(self):
        for name, libraries in HERE_PROGRAMS.items():
            flags = ["pkg-config", "--cflags", "--libs", *libraries]
            flags = subprocess.run(flags, check=True, capture_output=True, text=True).stdout if libraries else ""
            argv = ["cc", "-std=c17", "-D_GNU_SOURCE", "-O2", HERE / f"{name}.c", "-o", self.work / name, *shlex.split(flags)]
            argv += MALLOC if name.startswith("bare_") else []
            subprocess.run(argv, check=True)
        self.bare = self.work / "bare_producer"

    # ---- what is measured ----

    def normalize(self, name, log, events, *options, cpu=None, env=None):
        settle(log)
        with open(os.devnull, "wb") as null:
            argv = [self.args.tapline, "normalize", "--maps", TOP / "configs", *options, log]
            env = {**os.environ, **env} if env else None
            process = Process(argv, self.work / "normalize.log", stdout=null, cpu=cpu, env=env)
            process.wait().must_be_done()
        self.note(f"normalize {name}", process, events)

    def measure_normalize(self):
        events, cpu = self.args.events, self.args.cpu
        for log in LOGS:
            for kind in ("tsv", "json"):
                self.normalize(f"{log} {kind}", self.logs[f"{log} {kind}"], events, cpu=cpu)
        for log in LOGS:
            self.normalize(f"{log} json, yajl alone", self.logs[f"{log} json"], events, cpu=cpu, env={"TAPLINE_JSON": "yajl"})
        long_log = self.long_logs["tsv"]
        self.normalize("conn tsv x4", long_log, TIMES * events, cpu=cpu)
        if os.cpu_count() >= 2:
            self.normalize("conn tsv x4, --jobs 1", long_log, TIMES * events, "--jobs", "1")
            self.normalize("conn tsv x4, --jobs 2", long_log, TIMES * events, "--jobs", "2")

    def other(self, name, argv, events):
        """Something else that reads the same file, to /dev/null."""
        with open(os.devnull, "wb") as null:
            Process(argv, self.work / "other.log", stdout=null, cpu=self.args.cpu).wait().must_be_done()
            process = Process(argv, self.work / "other.log", stdout=null, cpu=self.args.cpu).wait().must_be_done()
        self.note(name, process, events)

    def measure_others(self):
        events, few = self.args.events, self.args.peer_events
        self.other("memchr split, conn tsv", [self.work / "split_memchr", self.logs["conn tsv"]], events)
        self.other("yajl parse, conn json", [self.work / "parse_yajl", self.logs["conn json"]], events)
        if shutil.which("jq"):
            self.other("jq, ten renames, conn json", ["jq", "-c", "-f", HERE / "renames.jq", self.peer_log], few)
        else:
            self.skipped["jq"] = "it is not installed"
        for peer in PEERS:
            name = f"{peer.name}, ten renames into a file"
            if name in self.skipped:
                continue
            try:
                self.note(name, peer.run_to_file(self.work, self.peer_log, few), few)
            except Failed as failed:
                self.skipped[name] = str(failed)
                say(f"SKIPPED {name}: {failed}")

    def run_config(self, log, topic, delivery):
        """A node of its own for each run: Kafka remembers how far a node has read which file."""
        state = self.work / "state"
        shutil.rmtree(state, ignore_errors=True)
        state.mkdir()
        config = self.work / "tapline.yml"
        properties = "".join(f"      {key}: {json.dumps(value)}\n" for key, value in self.rdkafka().items())
        config.write_text(
            f"node: {{name: {topic}, state: {json.dumps(str(state))}}}\n"
            f"inputs:\n  - {{type: zeek, paths: [{json.dumps(str(log))}]}}\n"
            f"normalize: {{maps: {json.dumps(str(TOP / 'configs'))}}}\n"
            f"sinks:\n  kafka:\n    topic: {topic}\n    delivery: {delivery}\n    rdkafka:\n{properties}"
        )
        return config

    def rdkafka(self):
        return {"bootstrap.servers": self.broker.address, **RDKAFKA}

    def run(self, kind, how, round_no, is_long=False):
        topic = f"bench-run-{kind}-{DELIVERIES[how]}-{'long-' if is_long else ''}{round_no}"
        self.broker.create(topic)
        log = self.long_logs[kind] if is_long else self.logs[f"conn {kind}"]
        settle(log)
        events = self.args.events * (TIMES if is_long else 1)
        config = self.run_config(log, topic, DELIVERIES[how])
        argv = [self.args.tapline, "run", "--once", "-c", config]
        process = Process(argv, self.work / "run.log").wait().must_be_done()
        there = self._bare("count", topic).must_be_done().said().split()
        if there != [str(events)] * 2:
            raise Failed(f"{there[0]} records, {there[1]} different, of {events} are in the topic: {process.said()}")
        noted = self.note(f"run {kind}{' x4' if is_long else ''}{how}", process, events)
        if not is_long and not self.frames(kind).exists():
            self._bare("capture", topic, self.frames(kind)).must_be_done()
        self.broker.delete(topic)
        return noted["wall_s"]

    def warm_up(self):
        """A broker makes its own topics at the first transaction, the first run makes the topic of positions, and the broker's
        code is slow until it has been used for some tens of seconds, that for transactions as well."""
        for how in DELIVERIES:
            topic = f"bench-warm-{DELIVERIES[how]}"
            self.broker.create(topic)
            config = self.run_config(self.long_logs["tsv"], topic, DELIVERIES[how])
            Process([self.args.tapline, "run", "--once", "-c", config], self.work / "run.log").wait().must_be_done()
            self.broker.delete(topic)

    def latency(self, how):
        topic = f"bench-latency-{DELIVERIES[how]}"
        log = self.work / "trickle.log"
        self.broker.create(topic)
        with Trickle(self.logs["conn tsv"], log) as trickle:
            argv = [self.args.tapline, "run", "-c", self.run_config(log, topic, DELIVERIES[how])]
            process = Process(argv, self.work / "run.log")
            try:
                waits = trickle.measure(self.broker, topic, TRICKLE_PER_S, TRICKLE_S)
            finally:
                process.stop()
        percents = statistics.quantiles(waits, n=100)
        found = {"records": len(waits), "p50_ms": round(percents[49], 1), "p99_ms": round(percents[98], 1), "max_ms": round(max(waits), 1)}
        self.latencies[f"run tsv{how}"] = found
        say(f"latency{how}: {found}")
        self.broker.delete(topic)

    def frames(self, kind):
        return self.work / f"{kind}.frames"

    def _bare(self, verb, topic, *frames):
        properties = [f"{key}={value}" for key, value in RDKAFKA.items() if verb == "produce"]
        argv = [self.bare, verb, self.broker.address, topic, *frames, *properties]
        return Process(argv, self.work / f"bare.{verb}.log").wait()

    def bare_run(self, kind, round_no):
        topic = f"bench-bare-{kind}-{round_no}"
        self.broker.create(topic)
        settle(self.frames(kind))
        process = self._bare("produce", topic, self.frames(kind)).must_be_done()
        self.note(f"bare producer, {kind}'s records", process, self.args.events)
        self.broker.delete(topic)

    def peer(self, peer, round_no):
        topic = f"bench-{peer.name}-{round_no}"
        self.broker.create(topic)
        settle(self.peer_log)
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
                self.measure_normalize()
            if "others" in self.args.parts:
                self.measure_others()
        if "intel" in self.args.parts:
            self.intel.measure()
        if "feeder" in self.args.parts:
            self.feeder.measure()
        if "health" in self.args.parts:
            self.health.measure()
        if {"run", "peers", "latency"} & set(self.args.parts):
            self.measure_broker()

    def measure_broker(self):
        shutil.rmtree(self.work / "kafka", ignore_errors=True)
        for kind in ("tsv", "json"):
            self.frames(kind).unlink(missing_ok=True)
        self.broker = Broker(self.args.kafka, self.work / "kafka")
        try:
            if {"run", "latency"} & set(self.args.parts):
                self.warm_up()
            for round_no in range(self.args.runs):
                for kind in ("tsv", "json") if "run" in self.args.parts else ():
                    # first the one, then the other: neither always has the broker that rested
                    hows = list(DELIVERIES) if round_no % 2 == 0 else list(reversed(DELIVERIES))
                    for how in hows:
                        self.run(kind, how, round_no)
                    self.bare_run(kind, round_no)
                    took = dict.fromkeys(hows, 0)
                    for turn, how in enumerate([*hows, *reversed(hows)]):  # to and fro: a drift meets both alike
                        took[how] += self.run(kind, how, f"{round_no}{turn}", is_long=True)
                    once, ours = (took[how] for how in DELIVERIES)
                    self.shares.setdefault(kind, []).append(round(ours / once, 3))
                for peer in PEERS if "peers" in self.args.parts else ():
                    if peer.name not in self.skipped:
                        self.peer(peer, round_no)
            if "latency" in self.args.parts:
                for how in DELIVERIES:
                    self.latency(how)
        finally:
            self.broker.close()

    # ---- what it comes to ----

    def take_over(self, path):
        """What an earlier run of this file measured, where this one did not."""
        earlier = json.loads(path.read_text())
        self.rows = {**earlier["runs"], **self.rows}
        self.latencies = {**earlier["latencies"], **self.latencies}
        self.shares = {**earlier["shares"], **self.shares}
        self.intel.figures = {**earlier["intel"], **self.intel.figures}
        self.feeder.figures = {**earlier.get("feeder", {}), **self.feeder.figures}
        self.health.figures = {**earlier.get("health", {}), **self.health.figures}
        self.skipped = {**{name: why for name, why in earlier["skipped"].items() if name not in self.rows}, **self.skipped}

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


def targets_of(table, shares, intel, feeder, health):
    """(what, figure, wanted, is it met) for everything the table can say."""
    found = []

    def want(text, figure, wanted, is_met):
        found.append({"what": text, "figure": figure, "wanted": wanted, "met": is_met})

    def rate(name):
        return table[f"normalize {name}"]["events_per_cpu_s"]

    if "normalize conn tsv" in table:
        for log, least in (("conn", 2_000_000), ("dns", 1_200_000), ("http", 800_000)):
            want(f"normalize {log} tsv: events per CPU second", rate(f"{log} tsv"), f">= {least}", rate(f"{log} tsv") >= least)
            for how, part in (("", 0.6), (", yajl alone", 0.4)):
                share = round(rate(f"{log} json{how}") / rate(f"{log} tsv"), 2)
                want(f"normalize {log} json{how}: of TSV's", share, f">= {part}", share >= part)
    if "normalize conn tsv x4, --jobs 2" in table:
        one, two = (table[f"normalize conn tsv x4, --jobs {n}"]["events_per_s"] for n in (1, 2))
        want("normalize --jobs 2: throughput, of one job's", round(two / one, 2), ">= 1.7", two / one >= 1.7)
    for name in [n for n in table if n.startswith("normalize") and "--jobs" not in n]:
        figure = table[name]["rss_mib"]
        want(f"{name}: peak memory, MiB", figure, f"< {RSS_MIB_MAX}", figure < RSS_MIB_MAX)
    for kind, least in (("tsv", 0.7), ("json", 0.5)):
        if f"run {kind}" in table:
            once, ours, bare = (table[name] for name in (f"run {kind}", f"run {kind}, at_least_once", f"bare producer, {kind}'s records"))
            want(f"run {kind}: CPU seconds per million", once["cpu_s_per_million"], "<= 4", once["cpu_s_per_million"] <= 4)
            share = round(statistics.median(shares[kind]), 2)
            want(f"run {kind} x4: throughput, of at_least_once's", share, f">= {ONCE_SHARE_MIN}", share >= ONCE_SHARE_MIN)
            share = round(ours["events_per_s"] / bare["events_per_s"], 2)
            want(f"run {kind}, at_least_once: throughput, of the bare producer's", share, f">= {least}", share >= least)
    intel.targets(want, table)
    feeder.targets(want, table)
    health.targets(want)
    return found


def shares_lines(shares):
    """For people: (what, figure)."""
    for kind, each in shares.items():
        yield f"run {kind} x4: throughput, of at_least_once's, each round", ", ".join(f"{share:.2f}" for share in sorted(each))


def show(bench, table, targets):
    latencies, skipped = bench.latencies, bench.skipped
    print(f"\n{'':40}{'events':>10}{'runs':>6}{'CPU s/million':>15}{'events/CPU s':>14}{'events/s':>12}{'peak MiB':>10}")
    for name, row in table.items():
        print(
            f"{name:40}{row['events']:>10}{row['runs']:>6}{row['cpu_s_per_million']:>15}{row['events_per_cpu_s']:>14}"
            f"{row['events_per_s']:>12}{row['rss_mib']:>10}"
        )
    for name, row in latencies.items():
        print(f"{name}: from a line's write to its document, ms: {row['p50_ms']} (p50), {row['p99_ms']} (p99), {row['max_ms']} (most)")
    for what, figure in [*shares_lines(bench.shares), *bench.intel.lines(), *bench.feeder.lines(), *bench.health.lines()]:
        print(f"{what}: {figure}")
    for name, why in skipped.items():
        print(f"{name:40}SKIPPED: {why.splitlines()[0]}")
    print()
    for target in targets:
        print(f"{'met   ' if target['met'] else 'MISSED'}  {target['what']}: {target['figure']} (wanted {target['wanted']})")


def write_docs(path, bench, table):
    """Neutral words for the machine: what matters is how many cores and of which family."""
    about, latencies, skipped = machine(), bench.latencies, bench.skipped
    lines = [
        f"Measured on {about['cores']} cores of a {about['family']}, Linux {about['kernel'].split('-')[0]}; medians of "
        f"{bench.args.runs} rounds.", "",
        ".. list-table::", "   :header-rows: 1", "   :widths: 46 14 14 14 12", "",
        "   * - What", "     - CPU s per million", "     - Events per CPU s", "     - Events per s", "     - Peak MiB",
    ]
    for name, row in table.items():
        cells = [name, row["cpu_s_per_million"], f"{row['events_per_cpu_s']:,}", f"{row['events_per_s']:,}", row["rss_mib"]]
        lines += [("   * - " if i == 0 else "     - ") + str(cell) for i, cell in enumerate(cells)]
    for what, figure in shares_lines(bench.shares):
        lines += ["", f"{what}: {figure}."]
    lines += [f"\n{name}: not measured here ({why.splitlines()[0]})." for name, why in skipped.items()]
    if latencies:
        lines += [
            "", f"From a line's write to a consumer that waits for commits, {TRICKLE_PER_S} lines a second for {TRICKLE_S} s:", "",
            ".. list-table::", "   :header-rows: 1", "   :widths: 46 18 18 18", "",
            "   * - What", "     - ms, p50", "     - ms, p99", "     - ms, most",
        ]
        for name, row in latencies.items():
            cells = [name, row["p50_ms"], row["p99_ms"], row["max_ms"]]
            lines += [("   * - " if i == 0 else "     - ") + str(cell) for i, cell in enumerate(cells)]
    for title, rows in (("Intelligence:", list(bench.intel.lines())), ("The feeder:", list(bench.feeder.lines())), ("Being watched:", list(bench.health.lines()))):
        if rows:
            lines += ["", title, "", ".. list-table::", "   :widths: 76 24", ""]
            lines += [("   * - " if i == 0 else "     - ") + cell for row in rows for i, cell in enumerate(row)]
    path.write_text("\n".join(lines) + "\n")


def machine():
    model = next((l.split(":")[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), "unknown")
    family = " ".join(model.split()[:2])
    return {"cpu": model, "family": family, "cores": os.cpu_count(), "kernel": platform.release()}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tapline", type=pathlib.Path, default=TOP / "build/release/cmd/tapline")
    parser.add_argument("--kafka", type=pathlib.Path, default=TOP / "tests/integration/kafka", help="kafka.sh and its jars")
    parser.add_argument("--work", type=pathlib.Path, default=TOP / "build/bench")
    parser.add_argument("--events", type=int, default=MILLION)
    parser.add_argument("--peer-events", type=int, default=200_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--cpu", type=int, default=max(os.sched_getaffinity(0)), help="the core `normalize` is pinned to")
    parser.add_argument("--parts", type=lambda text: text.split(","), default=["normalize", "others", "run", "intel", "feeder", "health", "peers", "latency"])
    parser.add_argument("--intel-batch", type=pathlib.Path, help="its program; default: beside tapline's build")
    parser.add_argument("--intel-events", type=int, default=16 * MILLION)
    parser.add_argument("--indicators", type=lambda text: [int(n) for n in text.split(",")], default=[MILLION, 10 * MILLION])
    parser.add_argument("--elasticsearch", type=pathlib.Path, default=TOP / "tests/integration/elasticsearch/elasticsearch.sh")
    parser.add_argument("--feed-events", type=int, default=400_000)
    parser.add_argument("--feeder", type=lambda text: text.split(","), default=["null", "engine", "latency"], help="which parts of the feeder's")
    parser.add_argument("--beside", type=pathlib.Path, help="an earlier bench.json: what is not measured now stands there")
    parser.add_argument("--docs", type=pathlib.Path, help="write the table there, as docs/bench.rst includes it")
    args = parser.parse_args()
    args.intel_batch = args.intel_batch or args.tapline.parent.parent / "tests/bench/intel_batch"
    return args


def main():
    args = arguments()
    bench = Bench(args)
    bench.make_logs()
    if set(args.parts) != {"intel"}:
        bench.compile_programs()
    bench.measure()
    if args.beside:
        bench.take_over(args.beside)
    table = bench.summary()
    targets = targets_of(table, bench.shares, bench.intel, bench.feeder, bench.health)
    show(bench, table, targets)
    if args.docs:
        write_docs(args.docs, bench, table)
    result = {"machine": machine(), "table": table, "latencies": bench.latencies, "shares": bench.shares, "intel": bench.intel.figures, "feeder": bench.feeder.figures, "health": bench.health.figures, "targets": targets, "skipped": bench.skipped, "runs": bench.rows}
    (args.work / "bench.json").write_text(json.dumps(result, indent=2) + "\n")
    print(f"\nevery run: {args.work / 'bench.json'}")
    return 0 if all(target["met"] for target in targets) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as failed:
        say(failed)
        sys.exit(111)
