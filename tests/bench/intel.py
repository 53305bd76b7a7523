"""The part `intel` of bench.py: what enrichment costs a run, with many indicators and few hits, and with a hit in every event.

For each number of indicators a Redis of its own (Unix socket, no persistence: memory is measured, not disks) is loaded by
`tapline intel load`. Then, in turn, the same log through `tapline run --once` into /dev/null, without intelligence and with:

  0.1 %       one line in a thousand goes to an address that is an indicator, the others to sixteen million addresses, a few
              of them often; and the same without looking back
  100 %       every line goes to an indicator's (a sixteenth as many lines)

Everything is as it is by default, and what is seen is kept for looking back (`run --once` has to be told so); but the first
events may wait longer for the filter. That wait is no part of the throughput; it stands in the table by itself. What a run costs is
the median of what each round says: the runs of one round follow each other, and change places from one round to the next.
Beside it, tests/bench/intel_batch.c on the same logs: how long a batch's look-up takes, and the same look-ups one by one.

SPDX-License-Identifier: Apache-2.0
"""
import json
import os
import pathlib
import random
import shutil
import statistics
import subprocess
import time

from measure import Failed, Process, settle

MILLION = 1_000_000
HIT_EACH = 1000  # of the log with few hits
EVERY_PART = 16  # the log in which every line is one has so many times fewer: its runs take long
ONE_EVENTS = 20_000  # looked up one by one: enough for a rate
COST_MAX, HITS_PER_S_MIN, FILTER_MIB_MAX = 0.10, 100_000, 64
REDIS_BYTES_EACH = 400  # room that must be free for one indicator, what other processes need included
LINES_PER_WRITE = 20_000


def address(i):
    """Of indicator i, if it is an address."""
    return f"{45 + (i >> 24)}.{i >> 16 & 255}.{i >> 8 & 255}.{i & 255}"


def indicators(count):
    """Lines of a list: of twenty, eight addresses, seven names, two URLs, three hashes."""
    draw = random.Random(6)
    for i in range(count):
        kind = i % 20
        if kind < 8:
            yield address(i // 20 * 8 + kind)
        elif kind < 15:
            yield f"c{i:x}.evil{i % 977}.example"
        elif kind < 17:
            yield f"http://h{i:x}.example/a/{i}"
        else:
            yield f"{draw.getrandbits(256):064x}"


def bystander(draw):
    """An address that is no indicator: few often, many once (ranks are log-uniform); of a million, 360,000 are different."""
    i = int(2 ** (24 * draw.random())) * 2654435761 & 0xFFFFFF
    return f"120.{i >> 16}.{i >> 8 & 255}.{i & 255}"


def addresses_in(count):
    return count // 20 * 8


def write_lines(path, lines):
    part = path.with_suffix(".part")
    with open(part, "w") as out:
        held = []
        for line in lines:
            held.append(line)
            if len(held) == LINES_PER_WRITE:
                out.write("\n".join(held) + "\n")
                held.clear()
        out.write("".join(line + "\n" for line in held))
    part.rename(path)


class Redis:
    """A server of our own, ended by its process."""

    def __init__(self, folder):
        if shutil.which("redis-server") is None:
            raise Failed("redis-server is not installed")
        import redis

        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self.socket = f"/tmp/tapline-bench-{os.getpid()}.sock"  # short: a socket's path has 107 bytes
        argv = ["redis-server", "--port", "0", "--unixsocket", self.socket, "--save", "", "--appendonly", "no", "--dir", folder]
        self.process = subprocess.Popen([str(a) for a in argv], stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        self.client = redis.Redis(unix_socket_path=self.socket)
        for _ in range(500):
            try:
                self.client.ping()
                return
            except redis.ConnectionError:
                time.sleep(0.01)
        self.close()
        raise Failed("redis-server does not answer")

    def bytes(self):
        return self.client.info("memory")["used_memory"]

    def close(self):
        self.process.terminate()
        self.process.wait()
        pathlib.Path(self.socket).unlink(missing_ok=True)


class Intel:
    """bench: bench.Bench, for its logs, its options and its rows."""

    def __init__(self, bench, say):
        self.bench, self.say, self.args = bench, say, bench.args
        self.work = bench.work / "intel"
        self.work.mkdir(parents=True, exist_ok=True)
        self.figures = {}  # label of a number of indicators to what was measured

    # ---- what is needed ----

    def log(self, count, events, is_all):
        """The conn log, over and over, with other servers; some or all of them are indicators, of which there are so many."""
        path = self.work / f"conn.{events}.{count}.{'all' if is_all else 'few'}.log"
        if path.exists():
            return path
        self.say(f"writing {path.name}")
        lines = self.bench.logs["conn tsv"].read_text().splitlines()
        header = [line for line in lines if line.startswith("#")]
        rows = [line.split("\t") for line in lines if not line.startswith("#")]
        at = next(line for line in header if line.startswith("#fields")).split("\t").index("id.resp_h") - 1
        draw, hits = random.Random(7), addresses_in(count)

        def made():
            yield from header
            for i in range(events):
                row = rows[i % len(rows)]
                if is_all or i % HIT_EACH == 0:
                    row[at] = address(draw.randrange(hits))
                else:
                    row[at] = bystander(draw)
                yield "\t".join(row)

        write_lines(path, made())
        return path

    def list_of(self, count):
        path = self.work / f"indicators.{count}.txt"
        if not path.exists():
            self.say(f"writing {path.name}")
            write_lines(path, indicators(count))
        return path

    def config(self, log, redis, looks_back=True):
        state = self.work / "state"
        shutil.rmtree(state, ignore_errors=True)
        state.mkdir()
        config = {
            "node": {"name": "bench", "state": str(state)}, "inputs": [{"type": "zeek", "paths": [str(log)]}],
            "normalize": {"maps": str(self.bench.top / "configs")}, "sinks": {"stdout": {}},
        }
        if redis is not None:
            # on_unavailable is pass: a store that is too slow shows in the count of documents that were not looked at
            days = 30 if looks_back else 0
            config["intel"] = {"redis": {"urls": [f"unix://{redis.socket}"]}, "start_wait": "10m", "lookback": {"days": days}}
        path = self.work / "tapline.yml"
        path.write_text(json.dumps(config))
        return path

    # ---- what is measured ----

    def run(self, how, log, events, redis=None, hits=0, looks_back=True):
        """Throughput, without the wait for the filter. Only a stdout that is /dev/null: no sink hides what enrichment costs."""
        name = f"intel: run, {how}"
        argv = [self.args.tapline, "run", "--once", "-c", self.config(log, redis, looks_back)]
        settle(log)
        with open(os.devnull, "wb") as null:
            process = Process(argv, self.work / "run.log", stdout=null).wait().must_be_done()
        found = self.counters()
        if redis is not None and found["unavailable"] == 0 and found["events"] != hits:
            raise Failed(f"{name}: {found} is not what was to be found: {process.said()}")
        process.wall_s -= found["waited_s"]
        self.bench.note(name, process, events)
        self.left_out += found["left_out"]
        self.unavailable += found["unavailable"]
        return process.wall_s

    def counters(self):
        """What the run said at its end."""
        text = (self.work / "run.log").read_text()
        found = {"events": 0, "unavailable": 0, "left_out": 0, "waited_s": 0.0}
        for line in text.splitlines():
            words = line.split()
            if line.startswith("intelligence:"):
                found["events"] = int(words[words.index("on") + 1])
                found["waited_s"] = float(words[words.index("waited") + 1])
            elif "could not be looked at" in line:
                found["unavailable"] = int(words[0])
            elif "are not kept for looking back" in line:
                found["left_out"] = int(words[0])
        return found

    def batches(self, name, log, redis, how, events):
        argv = [self.args.intel_batch, self.config(log, redis), log, how, str(events)]
        done = subprocess.run([str(a) for a in argv], capture_output=True, text=True)
        if done.returncode != 0:
            raise Failed(f"{name}: {done.stderr[-2000:]}")
        found = json.loads(done.stdout)
        self.say(f"{name}: {found}")
        return found

    def measure(self):
        for count in self.args.indicators:
            label = f"{count // MILLION} M" if count % MILLION == 0 else f"{count:,}"
            free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
            if free < count * REDIS_BYTES_EACH:
                self.bench.skipped[f"intel, {label} indicators"] = f"{count * REDIS_BYTES_EACH >> 20} MiB of free memory are needed"
                continue
            try:
                redis = Redis(self.work / "redis")
            except Failed as failed:
                self.bench.skipped["intel"] = str(failed)
                return
            try:
                self.measure_with(label, count, redis)
            finally:
                redis.close()

    def measure_with(self, label, count, redis):
        events, every_events = self.args.intel_events, self.args.intel_events // EVERY_PART
        few = self.log(min(self.args.indicators), events, False)
        every = self.log(count, every_events, True)
        before = redis.bytes()
        argv = [self.args.tapline, "intel", "load", "-c", self.config(few, redis), "--feed", "bench", self.list_of(count)]
        loaded = Process(argv, self.work / "load.log").wait(3600).must_be_done()
        figures = {"indicators": count, "load_s": round(loaded.wall_s, 1), "redis_bytes_each": round((redis.bytes() - before) / count)}
        few_hits = -(-events // HIT_EACH)
        runs = {
            "off": lambda: self.run(f"{label} indicators, off", few, events),
            "on": lambda: self.run(f"{label} indicators, 0.1 % hits", few, events, redis, few_hits),
            "forgetful": lambda: self.run(f"{label} indicators, 0.1 % hits, not looking back", few, events, redis, few_hits, looks_back=False),
        }
        self.left_out = self.unavailable = 0
        costs = {"on": [], "forgetful": []}
        for round_no in range(self.args.runs):
            has_all = round_no == 0 or count == min(self.args.indicators)  # building a filter of many takes long
            order = [which for which in runs if has_all or which != "forgetful"]
            took = {which: runs[which]() for which in (order if round_no % 2 == 0 else reversed(order))}
            for which in order[1:]:
                costs[which].append(round(1 - took["off"] / took[which], 3))
            if has_all:
                self.run(f"{label} indicators, 100 % hits", every, every_events, redis, every_events)
        figures.update(costs=costs, left_out=self.left_out, unavailable=self.unavailable)
        for key, log in (("few", few), ("all", every)):
            figures[key] = self.batches(f"a batch's look-up, {label}, {key}", log, redis, "batch", every_events)
        figures["filter_bytes_each"] = round(figures["few"]["filter_bytes"] / count, 2)
        figures["filter_mib"] = round(figures["few"]["filter_bytes"] / (1 << 20), 1)
        figures["build_s"] = round(figures["few"]["build_ns"] / 1e9, 2)
        one = self.batches(f"one by one, {label}", every, redis, "one", ONE_EVENTS)
        figures["one"] = one
        figures["one_events_per_s"] = round(one["events"] / (one["took_ns"] / 1e9))
        figures["batch_events_per_s"] = round(figures["all"]["events"] / (figures["all"]["took_ns"] / 1e9))
        self.figures[label] = figures

    # ---- what it comes to ----

    def targets(self, want, table):
        for label, figures in self.figures.items():
            cost, every = statistics.median(figures["costs"]["on"]), table[f"intel: run, {label} indicators, 100 % hits"]["events_per_s"]
            want(f"intel, {label}: 0.1 % hits, looking back: throughput lost", cost, f"<= {COST_MAX}", cost <= COST_MAX)
            want(f"intel, {label}: observables not kept for looking back", figures["left_out"], "0", figures["left_out"] == 0)
            want(f"intel, {label}: documents not looked at", figures["unavailable"], "0", figures["unavailable"] == 0)
            want(f"intel, {label}: 100 % hits: events per s", every, f">= {HITS_PER_S_MIN}", every >= HITS_PER_S_MIN)
            if figures["indicators"] >= 10 * MILLION:
                want(f"intel, {label}: filter, MiB", figures["filter_mib"], f"< {FILTER_MIB_MAX}", figures["filter_mib"] < FILTER_MIB_MAX)

    def lines(self):
        """For people: (what, figure)."""
        for label, figures in self.figures.items():
            for which, how in (("on", "as by default"), ("forgetful", "not looking back")):
                costs = ", ".join(f"{cost:.1%}" for cost in sorted(figures["costs"][which]))
                yield f"{label} indicators, 0.1 % hits, {how}: throughput lost, each round", costs
            yield f"{label} indicators: bytes each in Redis", f"{figures['redis_bytes_each']}"
            yield f"{label} indicators: bytes each in the filter", f"{figures['filter_bytes_each']} ({figures['filter_mib']} MiB)"
            yield f"{label} indicators: loading them into Redis", f"{figures['load_s']} s"
            yield f"{label} indicators: building the filter", f"{figures['build_s']} s"
            for key, how in (("few", "0.1 % hits"), ("all", "100 % hits")):
                yield f"{label} indicators, {how}: a batch's look-up, p50 / p99", f"{figures[key]['p50_us'] / 1000:.2f} / {figures[key]['p99_us'] / 1000:.2f} ms"
            yield f"{label} indicators, 100 % hits: events looked up per s, batch by batch", f"{figures['batch_events_per_s']:,}"
            yield f"{label} indicators, 100 % hits: events looked up per s, one by one", f"{figures['one_events_per_s']:,}"
