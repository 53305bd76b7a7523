"""The part `feeder` of bench.py: what `tapline feed` costs a document, how busy it keeps an engine, and how soon a line is
searchable.

The conn log, run into a real broker once, is read from there by `feed --once`, each time by another group:

  into nothing    null_engine.c answers as an engine that takes everything, so that what is measured is the feeder: CPU and memory,
                  without and with gzip. It also keeps the bulks.
  into an engine  a real Elasticsearch, and beside it bare_bulk.c: a libcurl loop that posts the very same bulks from memory over
                  as many connections and does nothing else. How long an engine takes is read off the engine's own count of
                  documents, from the first to the last. To and fro in each round (A B B A), for it is a matter of shares.
  latency         `run` and `feed` side by side while a log grows by 5,000 lines a second; the index is refreshed once a second.
                  Asked of the engine alone: how many documents a search finds, again and again; and at the end which ones they
                  were, in the order in which the index took them.

SPDX-License-Identifier: Apache-2.0
"""
import bisect
import http.client
import json
import os
import shutil
import socket
import statistics
import subprocess
import threading
import time

from measure import SETTLE_S, Broker, Failed, Process, settle

CPU_US_MAX, RSS_MIB_MAX, SHARE_MIN = 5.0, 128, 0.9
LATENCY_PER_S, LATENCY_S, P50_S_MAX, P99_S_MAX = 5000, 30, 2.0, 4.0
CHUNKS_PER_S = 100  # a sensor writes some lines at a time
BIN_S, BINS_MAX = 0.25, 20  # of the histogram; the last has all that took longer
CONNECTIONS = 2
TOPIC = "bench-feed"
PATTERN = "/logs-*"
PAGE = 10_000
LAST_LOOK_S = 10
JAVA = {"TAPLINE_ELASTICSEARCH_JAVA": "-XX:+UseParallelGC", "TAPLINE_ELASTICSEARCH_HEAP": "2g"}  # as one that serves, not one that is tested
NULL, NULL_GZIP, REAL, BARE = "feed into nothing", "feed into nothing, gzip", "feed into Elasticsearch", "bare libcurl loop, feed's bulks"


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Engine:
    """One real Elasticsearch node, from the integration tests' own script."""

    def __init__(self, script, folder):
        self.script, self.folder, self.port = script, folder, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        shutil.rmtree(folder, ignore_errors=True)
        # ParallelGC lets garbage fill the heap, which the engine's measure of real memory takes for need, and refuses bulks.
        self._run("start", folder, self.port, "indices.breaker.total.use_real_memory=false")
        self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def _run(self, *args):
        done = subprocess.run(["bash", str(self.script), *map(str, args)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, text=True, env={**os.environ, **JAVA})
        if done.returncode != 0:
            raise Failed(f"{self.script.name} {args[0]} failed: {done.stderr[-2000:]}")

    def ask(self, method, path, body=None):
        """Over one kept connection: what an answer says; None for 404, and for 503: an index that was made just now."""
        self.connection.request(method, path, json.dumps(body) if body is not None else None, {"Content-Type": "application/json"})
        answer = self.connection.getresponse()
        text = answer.read()
        if answer.status in (404, 503):
            return None
        if answer.status >= 300:
            raise Failed(f"{method} {path}: {answer.status}: {text[:500]}")
        return json.loads(text)

    def clear(self):
        for index in self.ask("GET", f"{PATTERN}/_settings?filter_path=*.settings.index.uuid&expand_wildcards=all") or {}:
            self.ask("DELETE", f"/{index}")

    def taken(self):
        """How many documents it has put into its indices, searchable or not."""
        found = self.ask("GET", f"{PATTERN}/_stats/indexing?filter_path=_all.primaries.indexing.index_total")
        return found["_all"]["primaries"]["indexing"]["index_total"] if found and "primaries" in found["_all"] else 0

    def found(self):
        """How many a search finds."""
        return (self.ask("GET", f"{PATTERN}/_count?filter_path=count") or {"count": 0})["count"]

    def order(self, field):
        """The field of each document, in the order in which its (one) shard took them."""
        values, after = [], None
        while True:
            query = {"size": PAGE, "sort": [{"_seq_no": "asc"}], "_source": False, "docvalue_fields": [field]}
            query |= {"search_after": after} if after else {}
            hits = self.ask("POST", f"{PATTERN}/_search", query)["hits"]["hits"]
            values += [hit["fields"][field][0] for hit in hits]
            if len(hits) < PAGE:
                return values
            after = hits[-1]["sort"]

    def close(self):
        self.connection.close()
        self._run("stop", self.folder)


class Taking(threading.Thread):
    """Looks at an engine while somebody sends to it: seconds from when it has the first documents to when it has all."""

    def __init__(self, engine, documents):
        super().__init__()
        self.engine, self.documents, self.deadline, self.first, self.took_s = engine, documents, float("inf"), None, None

    def run(self):
        while self.took_s is None and time.monotonic() < self.deadline:
            taken, now = self.engine.taken(), time.monotonic()
            if taken > 0 and self.first is None:
                self.first = (now, taken)
            if taken >= self.documents and self.first is not None:
                self.took_s = (now - self.first[0]) * self.documents / max(1, self.documents - self.first[1])
            time.sleep(0.05)

    def end(self):
        """The sender is done; one more look may be needed."""
        self.deadline = time.monotonic() + LAST_LOOK_S
        self.join()
        return self.took_s


class Growing:
    """A log that grows by so many lines a second; when each line was written, by its uid."""

    def __init__(self, source, path, lines):
        with open(source, "rb") as log:
            self.lines = [line for line, _ in zip(log, range(lines))]
        self.uids = [json.loads(line)["uid"] for line in self.lines]
        self.path, self.written = path, {}
        self.file = open(path, "wb", buffering=0)

    def write(self, first, last):
        self.written |= dict.fromkeys(self.uids[first:last], time.monotonic())
        self.file.write(b"".join(self.lines[first:last]))

    def write_all(self, first, per_s):
        chunk, began = per_s // CHUNKS_PER_S, time.monotonic()
        for i, at in enumerate(range(first, len(self.lines), chunk)):
            wait = began + i / CHUNKS_PER_S - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            self.write(at, at + chunk)


class Feeder:
    """bench: bench.Bench, for its logs, its options and its rows."""

    def __init__(self, bench, say):
        self.bench, self.say, self.args = bench, say, bench.args
        self.work = bench.work / "feed"
        self.work.mkdir(parents=True, exist_ok=True)
        self.events = self.args.feed_events
        self.bodies = self.work / "bodies"
        self.runs, self.figures = 0, {}

    # ---- what is needed ----

    def log(self):
        path = self.work / f"conn.{self.events}.json.log"
        if not path.exists():
            self.bench.generate("conn", self.events, self.work / "conn.tsv.log", path)
        return path

    def config(self, url, topic, compression="none"):
        """A group of its own for each: it reads all of the topic."""
        self.runs += 1
        state = self.work / "state"
        shutil.rmtree(state, ignore_errors=True)
        state.mkdir()
        config = {
            "node": {"name": "bench-feed", "state": str(state)},
            "feed": {"group": f"bench-{self.runs}", "topics": [topic], "rdkafka": {"bootstrap.servers": self.broker.address}},
            "sinks": {"elasticsearch": {"hosts": [url], "compression": compression, "connections": CONNECTIONS,
                                        "past": "36500d", "future": "36500d"}},
            "normalize": {"maps": str(self.bench.top / "configs")},
            "setup": {"replicas": 0, "topics": False},
        }
        path = self.work / "feed.yml"
        path.write_text(json.dumps(config))
        return path

    def setup(self, engine):
        """Templates, as a user would put them there."""
        argv = [self.args.tapline, "setup", "-c", self.config(engine.url, TOPIC)]
        Process(argv, self.work / "setup.log").wait().must_be_done()

    def produce(self):
        self.broker.create(TOPIC)
        config = self.bench.run_config(self.log(), TOPIC, "exactly_once")
        Process([self.args.tapline, "run", "--once", "-c", config], self.work / "run.log").wait().must_be_done()

    def feed(self, name, config):
        """name None: nobody's figures."""
        argv = [self.args.tapline, "feed", "--once", "-c", config]
        process = Process(argv, self.work / "feed.log").wait().must_be_done()
        if name is not None:
            self.bench.note(name, process, self.events)

    # ---- into nothing ----

    def null(self, name, compression="none", bodies=None):
        argv = [str(self.bench.work / "null_engine"), *([str(bodies)] if bodies else [])]
        engine = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        try:
            port = int(engine.stdout.readline())
            self.feed(name, self.config(f"http://127.0.0.1:{port}", TOPIC, compression))
        finally:
            engine.terminate()
            said = engine.communicate()[0].split()
        if said[:1] != [str(self.events)]:
            raise Failed(f"{said} documents and requests came, not {self.events}: {(self.work / 'feed.log').read_text()[-2000:]}")

    def measure_null(self):
        for _ in range(self.args.runs):
            self.null(NULL)
            self.null(NULL_GZIP, "gzip")

    # ---- into an engine ----

    def take(self, engine, name, config=None):
        """All documents into empty indices, by the feeder (config) or by the bare loop: how long the engine took. name None:
        nobody's figures."""
        engine.clear()
        settle(self.bodies)
        taking = Taking(engine, self.events)
        taking.start()
        try:
            if config is not None:
                self.feed(name, config)
            else:
                argv = [self.bench.work / "bare_bulk", engine.url, self.bodies, CONNECTIONS]
                process = Process(argv, self.work / "bare.log").wait().must_be_done()
                if name is not None:
                    self.bench.note(name, process, self.events)
        finally:
            took_s = taking.end()
        engine.ask("POST", f"{PATTERN}/_refresh")
        found = engine.found()
        if found != self.events or took_s is None:
            raise Failed(f"{name}: {found} documents are found, not {self.events}")
        self.say(f"{name}: the engine took {took_s:.1f} s")
        return took_s

    def measure_engine(self, engine):
        for _ in range(self.args.runs):
            took = {BARE: 0.0, REAL: 0.0}
            for name in (BARE, REAL, REAL, BARE):
                took[name] += self.take(engine, name, self.config(engine.url, TOPIC) if name == REAL else None)
            self.figures.setdefault("shares", []).append(round(took[BARE] / took[REAL], 3))

    # ---- latency ----

    def measure_latency(self, engine):
        topic, path = "bench-feed-latency", self.fresh("growing") / "conn.log"
        path.parent.mkdir()
        engine.clear()
        self.broker.create(topic)
        growing = Growing(self.log(), path, LATENCY_PER_S * LATENCY_S + 1)
        programs, curve = [], []
        try:
            run, feed = self.bench.run_config(path, topic, "exactly_once"), self.config(engine.url, topic)
            for verb, config in (("run", run), ("feed", feed)):
                programs.append(Process([self.args.tapline, verb, "-c", config], self.work / f"latency.{verb}.log"))
            growing.write(0, 1)
            self.until(engine, 1, 60)  # everything has started
            engine.ask("PUT", f"{PATTERN}/_settings", {"index": {"refresh_interval": "1s"}})
            time.sleep(SETTLE_S)
            writer = threading.Thread(target=growing.write_all, args=(1, LATENCY_PER_S))
            writer.start()
            curve = self.until(engine, len(growing.lines), LATENCY_S + 60)
            writer.join()
        finally:
            for program in programs:
                program.stop()
        self.figures["latency"] = self.latency(self.waits_of(engine, growing, curve))

    def until(self, engine, documents, timeout_s):
        """(when, how many were found by then), until all of them are."""
        curve, deadline = [], time.monotonic() + timeout_s
        while not curve or curve[-1][1] < documents:
            found = engine.found()
            curve.append((time.monotonic(), found))
            if time.monotonic() > deadline:
                logs = "".join((self.work / f"latency.{verb}.log").read_text()[-1000:] for verb in ("run", "feed"))
                raise Failed(f"{found} of {documents} lines are found after {timeout_s} s: {logs}")
            time.sleep(0.02)
        return curve

    @staticmethod
    def waits_of(engine, growing, curve):
        """A search finds the first so many documents of the order in which the shard took them."""
        order = engine.order("zeek.session_id")
        if len(order) != len(growing.lines) or set(order) != set(growing.written):
            raise Failed(f"{len(order)} documents, {len(set(order))} different, of {len(growing.lines)} lines are in the index")
        counts = [found for _, found in curve]
        return sorted(curve[bisect.bisect_right(counts, i)][0] - growing.written[uid] for i, uid in enumerate(order) if i > 0)

    # ---- all of it ----

    def measure(self):
        wanted = set(self.args.feeder)
        self.broker = self.bench.broker = Broker(self.args.kafka, self.fresh("kafka"))
        try:
            self.produce()
            self.null(None, bodies=self.bodies)
            if "null" in wanted:
                self.measure_null()
            if wanted & {"engine", "latency"}:
                engine = Engine(self.args.elasticsearch, self.fresh("elasticsearch"))
                try:
                    self.setup(engine)
                    self.take(engine, None)  # its code is slow until it has been used
                    if "engine" in wanted:
                        self.measure_engine(engine)
                    if "latency" in wanted:
                        self.measure_latency(engine)
                finally:
                    engine.close()
        finally:
            self.broker.close()
            self.bodies.unlink(missing_ok=True)

    def fresh(self, name):
        shutil.rmtree(self.work / name, ignore_errors=True)
        return self.work / name

    # ---- what it comes to ----

    def latency(self, waits):
        percents = statistics.quantiles(waits, n=100)
        bins = [0] * min(int(waits[-1] / BIN_S) + 1, BINS_MAX)
        for wait in waits:
            bins[min(int(wait / BIN_S), BINS_MAX - 1)] += 1
        return {"documents": len(waits), "p50_s": round(percents[49], 2), "p99_s": round(percents[98], 2), "max_s": round(waits[-1], 2),
                "bins": bins}

    def targets(self, want, table):
        for name in (NULL, NULL_GZIP, REAL):
            if name in table:
                cpu, rss = table[name]["cpu_s_per_million"], table[name]["rss_mib"]
                if name != NULL_GZIP:
                    want(f"{name}: CPU us per document", cpu, f"<= {CPU_US_MAX}", cpu <= CPU_US_MAX)
                want(f"{name}: peak memory, MiB", rss, f"< {RSS_MIB_MAX}", rss < RSS_MIB_MAX)
        if self.figures.get("shares"):
            share = round(statistics.median(self.figures["shares"]), 2)
            want(f"{REAL}: throughput, of the bare loop's", share, f">= {SHARE_MIN}", share >= SHARE_MIN)
        if "latency" in self.figures:
            for which, most in (("p50_s", P50_S_MAX), ("p99_s", P99_S_MAX)):
                figure = self.figures["latency"][which]
                want(f"a line's write to when a search finds it, {which}", figure, f"< {most}", figure < most)

    def lines(self):
        """For people: (what, figure)."""
        if self.figures.get("shares"):
            shares = ", ".join(f"{share:.2f}" for share in sorted(self.figures["shares"]))
            yield f"{REAL}: throughput, of the bare loop's, each round", shares
        latency = self.figures.get("latency")
        if latency:
            yield (f"A line's write to when a search finds it, {LATENCY_PER_S} lines a second for {LATENCY_S} s: s, p50 / p99 / most",
                   f"{latency['p50_s']} / {latency['p99_s']} / {latency['max_s']}")
            for i, count in enumerate(latency["bins"]):
                share = count / latency["documents"]
                until = "more" if i == BINS_MAX - 1 else f"{(i + 1) * BIN_S:.2f} s"
                yield f"{i * BIN_S:.2f} to {until}", f"{share:.1%} {'#' * round(share * 50)}".rstrip()
