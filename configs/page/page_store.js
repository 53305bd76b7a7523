// page_store.js: what is known: the last health documents (core/health.h says what is in them), rates from what grew between
// them, and 15 minutes of history for the charts. Nothing outlives the page. SPDX-License-Identifier: Apache-2.0

import { isKnown, worse } from "./page_words.js";

export const HISTORY_S = 15 * 60;
const WINDOW_S = 5; // a rate is what grew within so long: rows are written twice a second, so one second alone would flicker
const AWAY_S = 5; // numbers of a process that are older than Main's by this are old
const BEHIND_S = 5;
const GROWING = {
    file: ["read_position_bytes", "accepted_position_bytes"],
    stage: ["in", "out", "busy_seconds"],
    dead: ["records"],
    sink: ["documents"],
    sink_retry: ["times"],
    endpoint: ["requests"],
    consumer_partition: ["position"],
    producer_partition: ["messages"],
    supervised: ["cpu_seconds"],
    process: ["cpu_seconds"],
    capture: ["packets_received", "packets_dropped"],
};
export const LABELS = {
    file: ["path"],
    stage: ["stage", "worker"],
    dead: ["stage", "reason"],
    sink: ["sink"],
    sink_retry: ["sink", "cause"],
    broker: ["client", "broker"],
    endpoint: ["sink", "endpoint"],
    producer_partition: ["client", "topic", "partition"],
    consumer_partition: ["group", "topic", "partition"],
    intel: [],
    intel_feed: ["feed"],
    supervised: ["node", "group"],
    peer: ["process"],
    capture: ["sensor", "source"],
    latency: ["step"],
    process: [],
    problem: ["code", "severity", "component"],
};

/* Rates of what only grows. One that shrank began anew (its process, or the file) and has no rate until it is seen twice. */
class Rates {
    constructor() {
        this.series = new Map();
        this.turn = 0;
    }

    add(key, at, value) {
        let points = this.series.get(key);
        if (!points) this.series.set(key, (points = []));
        points.turn = this.turn;
        const last = points[points.length - 1];
        if (last && value < last[1]) points.length = 0;
        if (!last || at > last[0]) points.push([at, value]);
        while (points.length > 2 && at - points[1][0] >= WINDOW_S) points.shift();
        const first = points[0];
        return points.length > 1 && at > first[0] ? (value - first[1]) / (at - first[0]) : null;
    }

    /* Forget what the last documents did not have. */
    sweep() {
        for (const [key, points] of this.series) if (points.turn !== this.turn) this.series.delete(key);
        this.turn += 1;
    }
}

export function processName(doc) {
    return doc.process === "feed" ? `feed-${doc.instance}` : doc.process;
}

export class Store {
    constructor() {
        this.rates = new Rates();
        this.documents = [];
        this.history = [];
        this.now = 0; // Main's clock, seconds: ages are told by it, as the browser's may be another
        this.gotAt = 0; // the browser's, for how old all of it is
        this.hasControl = false;
    }

    take(data) {
        const documents = (data.processes ?? []).filter((doc) => doc && doc.process);
        this.hasControl = data.control !== false;
        this.documents = documents;
        this.gotAt = performance.now() / 1000;
        this.now = Math.max(
            ...documents.filter((doc) => doc.process === "serve").map((doc) => Date.parse(doc.time) / 1000),
            documents.some((doc) => doc.process === "serve") ? 0 : Date.now() / 1000,
        );
        for (const doc of documents) this.reckon(doc);
        this.rates.sweep();
        this.remember();
    }

    /* Give each row its process, its key, and the rates of what grows in it. */
    reckon(doc) {
        doc.name = processName(doc);
        doc.at = Date.parse(doc.time) / 1000;
        doc.isOld = this.now - doc.at > AWAY_S;
        doc.rows ??= {};
        doc.counters ??= {};
        doc.problems ??= [];
        const life = `${doc.name} ${doc.started}`;
        for (const [kind, rows] of Object.entries(doc.rows)) {
            for (const row of rows) {
                row.of = doc;
                row.key = [doc.name, kind, ...(LABELS[kind] ?? []).map((label) => row[label])].join("\u0000");
                for (const name of GROWING[kind] ?? []) {
                    if (isKnown(row[name])) row[`${name}_rate`] = this.rates.add(`${life} ${row.key} ${name}`, doc.at, row[name]);
                }
            }
        }
        doc.rates = {};
        for (const [name, value] of Object.entries(doc.counters))
            doc.rates[name] = this.rates.add(`${life} ${name}`, doc.at, value);
    }

    /* All rows of a kind, of all processes. */
    rows(kind) {
        return this.documents.flatMap((doc) => doc.rows[kind] ?? []);
    }

    process(name) {
        return this.documents.find((doc) => doc.name === name);
    }

    age(timestamp) {
        return timestamp ? Math.max(0, this.now - timestamp) : null; // null: never
    }

    /* Worst first, then oldest; the same one told by two processes is one. */
    problems() {
        const rank = { error: 0, warn: 1, info: 2 };
        const seen = new Map();
        for (const doc of this.documents) {
            for (const problem of doc.problems) {
                const key = [problem.code, problem.component, ...Object.values(problem.labels ?? {})].join("\u0000");
                if (!seen.has(key)) seen.set(key, { ...problem, key, of: doc, sinceSeconds: Date.parse(problem.since) / 1000 });
            }
        }
        return [...seen.values()].sort((a, b) => rank[a.severity] - rank[b.severity] || a.sinceSeconds - b.sinceSeconds);
    }

    /* How bad the problems are that a row has. */
    levelOf(row, kind) {
        let level = "ok";
        for (const problem of row.of.problems) {
            if (problem.kind !== kind) continue;
            if (Object.entries(problem.labels ?? {}).every(([name, value]) => row[name] === value))
                level = worse(level, problem.severity);
        }
        return level;
    }

    /* A log that is not caught up for longer than the pipeline takes anyhow. */
    isBehind(row) {
        return row.lag_bytes > 0 && row.lag_seconds >= BEHIND_S;
    }

    /* A stage has the problems of its dead letters, too. */
    stageLevel(row) {
        const dead = (row.of.rows.dead ?? []).filter((one) => one.stage === row.stage);
        return dead.reduce((so, one) => worse(so, this.levelOf(one, "dead")), this.levelOf(row, "stage"));
    }

    total(process, counter) {
        const values = this.documents
            .filter((doc) => doc.process === process)
            .map((doc) => doc.counters[counter])
            .filter(isKnown);
        return values.length ? values.reduce((a, b) => a + b, 0) : null;
    }

    rateOf(process, counter) {
        const values = this.documents
            .filter((doc) => doc.process === process)
            .map((doc) => doc.rates[counter])
            .filter(isKnown);
        return values.length ? values.reduce((a, b) => a + b, 0) : null;
    }

    /* What every sink of run takes: the slowest counts. */
    acceptedRate() {
        const rates = this.rows("sink")
            .filter((row) => row.of.process === "run" && isKnown(row.documents_rate))
            .map((row) => row.documents_rate);
        return rates.length ? Math.min(...rates) : null;
    }

    worst(kind, measure, rows = this.rows(kind)) {
        let worst = null;
        for (const row of rows) if (isKnown(row[measure]) && (!worst || row[measure] > worst[measure])) worst = row;
        return worst;
    }

    sum(kind, measure) {
        const values = this.rows(kind)
            .map((row) => row[measure])
            .filter(isKnown);
        return values.length ? values.reduce((a, b) => a + b, 0) : null;
    }

    remember() {
        const values = {
            read: this.rateOf("run", "ingest.lines"),
            accepted: this.acceptedRate(),
            indexed: this.rateOf("feed", "feed.indexed"),
            dead: this.deadRate(),
            lag: this.worst("file", "lag_seconds")?.lag_seconds ?? null,
            consumerLag: this.worst("consumer_partition", "lag_seconds")?.lag_seconds ?? null,
            waiting: this.sum("file", "lag_bytes"),
        };
        this.history.push({ at: this.now, ...values });
        while (this.history.length && this.now - this.history[0].at > HISTORY_S) this.history.shift();
    }

    deadRate() {
        const rates = this.rows("dead")
            .map((row) => row.records_rate)
            .filter(isKnown);
        if (rates.length) return rates.reduce((a, b) => a + b, 0);
        return this.rateOf("run", "sink.dead");
    }
}
