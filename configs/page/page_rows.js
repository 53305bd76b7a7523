// page_rows.js: which tables there are, and their columns. Heads are the words of core/counters.def.
// SPDX-License-Identifier: Apache-2.0

import {
    INTEL_STATES,
    LEVEL_WORDS,
    bytes,
    bytesPerSecond,
    clock,
    count,
    el,
    isKnown,
    percent,
    perSecond,
    rate,
    span,
    took,
    worse,
} from "./page_words.js";
import { number, showState, state, text } from "./page_tables.js";
import { pictureRows, supervisedWord } from "./page_pipeline.js";
import { historyRows } from "./page_charts.js";

const process = text("Process", (row) => row.of.name);

function ago(measure) {
    return [(row, store) => store.age(row[measure]), (value) => (isKnown(value) ? `${span(value)} ago` : "never")];
}

function upState(row, word) {
    if (!isKnown(row.up)) return { level: "idle", word: "not known" };
    return row.up ? { level: "ok", word: word ?? "up" } : { level: "error", word: "away" };
}

function fileState(row, store) {
    const level = store.levelOf(row, "file");
    if (row.failed) return { level: "error", word: "cannot be read" };
    if (store.isBehind(row)) return { level: worse(level, "info"), word: "behind" };
    return { level, word: level === "ok" ? "caught up" : LEVEL_WORDS[level] };
}

function sinkState(row, store) {
    const level = store.levelOf(row, "sink");
    if (row.up === 0) return { level: "error", word: "away" };
    if (row.stalled_seconds > 0 && level !== "ok") return { level, word: "stalled" };
    return { level, word: LEVEL_WORDS[level] };
}

function supervisedState(row, store) {
    const word = supervisedWord(row);
    if (!row.wanted) return { level: "idle", word };
    const level = store.levelOf(row, "supervised");
    if (level !== "ok") return { level, word };
    return { level: { up: "ok", ready: "ok", starting: "info", stopping: "info" }[word] ?? "error", word };
}

function ownState(doc) {
    if (doc.isOld) return { level: "error", word: "does not answer" };
    return { level: { ok: "ok", degraded: "warn", failing: "error" }[doc.state] ?? "idle", word: doc.state };
}

function retriesOf(row) {
    const rows = (row.of.rows.sink_retry ?? []).filter((one) => one.sink === row.sink && one.times > 0);
    return rows.map((one) => `${one.cause} ${count(one.times)}`).join(", ");
}

function histogramRows(store) {
    const named = [
        ["latency", (row) => row.step],
        ["sink", (row) => `${row.sink}: given to accepted`],
        ["intel", () => "store: round trip"],
    ];
    return named
        .flatMap(([kind, nameOf]) =>
            store.rows(kind).map((row) => ({
                row,
                of: row.of,
                key: `${kind} ${row.key}`,
                name: nameOf(row).replaceAll("_", " "),
                times: row.latency ?? row.store_round_trip,
            })),
        )
        .filter((one) => one.times?.count > 0);
}

function ownRows(store) {
    return store.documents.map((doc) => ({ ...(doc.rows.process?.[0] ?? {}), doc, of: doc, key: doc.name }));
}

/* The process's own page knows what it was last told of itself; `control` fills in the buttons. */
export function describe(control) {
    return {
        pipeline: {
            title: "The pipeline as a table",
            rows: pictureRows,
            columns: [
                text("Name", (row) => row.name),
                text("Part", (row) => row.part),
                state("State", (row) => ({ level: row.node.level, word: row.node.word ?? LEVEL_WORDS[row.node.level] })),
                text("Rate", (row) => row.rateText),
                text("And", (row) => row.detail),
                text("Goes to", (row) => row.to),
            ],
        },
        history: {
            title: "The last 15 minutes by the minute",
            rows: historyRows,
            none: "Nothing yet.",
            sort: { column: 0, isDown: true },
            columns: [
                number("Time", (row) => row.at, clock),
                number("Read", (row) => row.read, perSecond),
                number("Accepted", (row) => row.accepted, perSecond),
                number("Indexed", (row) => row.indexed, perSecond),
                number("Dead letters", (row) => row.dead, perSecond),
                number("Worst log", (row) => row.lag, span),
                number("Worst partition", (row) => row.consumerLag, span),
                number("Bytes waiting", (row) => row.waiting, bytes),
            ],
        },
        supervised: {
            title: "Supervised processes",
            rows: (store) => store.rows("supervised"),
            none: "The Supervisor runs no process.",
            sort: { column: 0, isDown: false },
            columns: [
                text("Name", (row) => row.node),
                text("Group", (row) => row.group),
                state("State", supervisedState),
                number("Restarts", (row) => row.restarts),
                number(
                    "Up for",
                    (row, store) =>
                        row.running === 0 && row.state !== 2 && row.state !== 3 ? null : store.age(row.start_timestamp_seconds),
                    span,
                ),
                number("CPU", (row) => row.cpu_seconds_rate, percent),
                number("Memory", (row) => row.resident_memory_bytes, bytes),
                text("Control", () => "", { show: (cell, row) => control.cell(cell, row) }),
            ],
        },
        own: {
            title: "tapline's processes",
            rows: ownRows,
            none: "No process has answered yet.",
            columns: [
                text("Name", (row) => row.doc.name),
                state("State", (row) => ownState(row.doc)),
                text("Ready", (row) => (row.doc.ready ? "yes" : "no")),
                number("PID", (row) => row.doc.pid, String),
                text("Version", (row) => row.doc.version),
                number("CPU", (row) => row.cpu_seconds_rate, percent),
                number("Memory", (row) => row.resident_memory_bytes, bytes),
                number("Open files", (row) => row.open_fds),
                number("Room for state", (row) => row.state_free_bytes, bytes),
                number(
                    "Numbers are",
                    (row, store) => Math.max(0, store.now - row.doc.at),
                    (value) => `${span(value)} old`,
                ),
            ],
        },
        files: {
            title: "Logs",
            rows: (store) => store.rows("file"),
            none: "No log is followed.",
            sort: { column: 3, isDown: true },
            columns: [
                text("Log", (row) => row.path, { title: (row) => row.path }),
                state("State", fileState),
                number("Rate", (row) => row.read_position_bytes_rate, bytesPerSecond),
                number("Lag", (row) => row.lag_seconds, span, { tip: "age of its oldest byte that is not accepted" }),
                number("Lag, bytes", (row) => row.lag_bytes, bytes),
                number("Size", (row) => row.size_bytes, bytes),
                number("Read", (row) => row.read_position_bytes, bytes),
                number("Accepted", (row) => row.accepted_position_bytes, bytes),
                number("Last event", ...ago("last_event_timestamp_seconds")),
                number("Rotations", (row) => row.rotations),
            ],
        },
        stages: {
            title: "Stages",
            rows: (store) => store.rows("stage"),
            columns: [
                text("Stage", (row) => `${row.stage}${row.worker ? ` ${row.worker}` : ""}`),
                process,
                state("State", (row, store) => ({ level: store.stageLevel(row), word: LEVEL_WORDS[store.stageLevel(row)] })),
                number("In", (row) => row.in_rate, perSecond),
                number("Out", (row) => row.out_rate, perSecond),
                number(
                    "Busy",
                    (row) =>
                        isKnown(row.busy_seconds_rate) ? Math.round(Math.min(1, row.busy_seconds_rate) * 1000) / 1000 : null,
                    percent,
                ),
                number(
                    "Queue",
                    (row) => row.queue_used,
                    (value, row) => (isKnown(value) ? `${count(value)} of ${count(row.queue_capacity)}` : "–"),
                    { tip: "batches that wait before it" },
                ),
                number("In hand", (row) => row.held),
                number("All in", (row) => row.in),
                number("All out", (row) => row.out),
            ],
        },
        latency: {
            title: "How long events take",
            rows: histogramRows,
            columns: [
                text("Step", (row) => row.name),
                process,
                number("Half within", (row) => row.times.p50, took),
                number("90 % within", (row) => row.times.p90, took),
                number("99 % within", (row) => row.times.p99, took),
                number("Times", (row) => row.times.count),
            ],
        },
        dead: {
            title: "Dead letters",
            rows: (store) => store.rows("dead"),
            none: "There is none.",
            sort: { column: 4, isDown: false },
            columns: [
                text("Reason", (row) => row.reason.replaceAll("_", " ")),
                text("Stage", (row) => row.stage),
                process,
                number("Records", (row) => row.records),
                number("Last", ...ago("last_timestamp_seconds")),
                number("Rate", (row) => row.records_rate, perSecond),
            ],
        },
        sinks: {
            title: "Sinks",
            rows: (store) => store.rows("sink"),
            none: "There is no sink.",
            columns: [
                text("Sink", (row) => row.sink),
                process,
                state("State", sinkState),
                number("Rate", (row) => row.documents_rate, perSecond),
                number("Documents", (row) => row.documents),
                number("In flight", (row) => row.in_flight),
                number("Accepts nothing for", (row) => row.stalled_seconds, span),
                number("p50", (row) => row.latency?.p50, took),
                number("p99", (row) => row.latency?.p99, took),
                text("Tried again", retriesOf),
            ],
        },
        brokers: {
            title: "Kafka brokers",
            rows: (store) => store.rows("broker"),
            columns: [
                text("Broker", (row) => row.broker),
                text("Client", (row) => row.client),
                process,
                state("State", (row) => upState(row)),
                number("Round trip", (row) => row.rtt_mean_seconds, took),
                number("p99", (row) => row.rtt_p99_seconds, took),
                number("In librdkafka", (row) => row.internal_latency_mean_seconds, took),
                number("To be sent", (row) => row.output_buffer_messages),
                number("Not answered", (row) => row.awaiting_response_messages),
                number("Errors", (row) => row.transmit_errors),
                number("Sent again", (row) => row.request_retries),
            ],
        },
        endpoints: {
            title: "Nodes of the search engine",
            rows: (store) => store.rows("endpoint"),
            columns: [
                text("Node", (row) => row.endpoint),
                text("Sink", (row) => row.sink),
                process,
                state("State", (row) => upState(row)),
                number("p50", (row) => row.latency?.p50, took),
                number("p99", (row) => row.latency?.p99, took),
                number("Requests", (row) => row.requests),
                number("Rate", (row) => row.requests_rate, perSecond),
            ],
        },
        consumed: {
            title: "Partitions read by the feeder",
            rows: (store) => store.rows("consumer_partition"),
            sort: { column: 3, isDown: true },
            columns: [
                text("Topic", (row) => row.topic),
                number("Partition", (row) => Number(row.partition), String),
                process,
                number("Lag", (row) => row.lag_seconds, span),
                number("Records behind", (row) => row.lag_records),
                number("Rate", (row) => row.position_rate, perSecond),
                number("Position", (row) => row.position),
                number("End", (row) => row.end),
                text("Group", (row) => row.group),
            ],
        },
        produced: {
            title: "Partitions written to",
            rows: (store) => store.rows("producer_partition"),
            columns: [
                text("Topic", (row) => row.topic),
                number("Partition", (row) => Number(row.partition), String),
                text("Client", (row) => row.client),
                number("Rate", (row) => row.messages_rate, perSecond),
                number("Queued", (row) => row.queued_messages),
                number("Sent", (row) => row.messages),
                number("Bytes", (row) => row.sent_bytes, bytes),
            ],
        },
        intel: {
            title: "Intelligence",
            rows: (store) => store.rows("intel"),
            columns: [
                process,
                state("State", (row) => ({
                    level: ["idle", "info", "ok", "warn", "error"][row.state] ?? "idle",
                    word: INTEL_STATES[row.state] ?? "not known",
                })),
                number("Indicators", (row) => row.indicators),
                number("Behind by", (row) => row.behind_seconds, span),
                number("Filter", (row) => row.filter_bytes, bytes),
                number("Hit rate", (row) => row.hit_rate_ratio, percent),
                state("Store", (row) => upState({ up: row.store_up })),
                number("Asked", (row) => row.of.rates["enrich.asked"], perSecond),
            ],
        },
        feeds: {
            title: "Feeds",
            rows: (store) => store.rows("intel_feed"),
            columns: [
                text("Feed", (row) => row.feed),
                state("State", (row) => (row.failed ? { level: "warn", word: "failed" } : { level: "ok", word: "ok" })),
                number("Indicators", (row) => row.indicators),
                number("Last success", ...ago("last_success_timestamp_seconds")),
            ],
        },
        capture: {
            title: "Packets",
            rows: (store) => store.rows("capture"),
            columns: [
                text("Sensor", (row) => row.sensor),
                text("Says", (row) => row.source.replaceAll("_", " ")),
                state("State", (row, store) => ({
                    level: store.levelOf(row, "capture"),
                    word: LEVEL_WORDS[store.levelOf(row, "capture")],
                })),
                number("Lost", (row) => row.loss_ratio, percent),
                number("Received", (row) => row.packets_received),
                number("Dropped", (row) => row.packets_dropped),
                number(
                    "Packets",
                    (row) => row.packets_received_rate,
                    (value) => (isKnown(value) ? `${rate(value)}/s` : "–"),
                ),
                number("Said", ...ago("last_report_timestamp_seconds")),
            ],
        },
    };
}

/* Kinds of rows that are shown somewhere, or said by other means. */
export const KNOWN = new Set([
    "process",
    "problem",
    "file",
    "stage",
    "dead",
    "sink",
    "sink_retry",
    "broker",
    "endpoint",
    "producer_partition",
    "consumer_partition",
    "intel",
    "intel_feed",
    "supervised",
    "peer",
    "capture",
    "latency",
]);

/* A text with `commands` in it. */
function withCommands(text) {
    return text.split("`").map((part, at) => (at % 2 ? el("code", {}, part) : part));
}

/* One problem, as the list has it. */
export function problemItem(problem) {
    const when = el("span", { class: "since" });
    const sign = el("span");
    showState(sign, { level: problem.severity, word: LEVEL_WORDS[problem.severity] });
    const what = el("p", { class: "what" });
    const item = el(
        "li",
        { class: problem.severity },
        el("div", { class: "line" }, sign, el("strong", {}, problem.component), el("code", {}, problem.code), when),
        what,
    );
    if (problem.help) item.append(el("p", { class: "help" }, el("span", {}, "What to do: "), ...withCommands(problem.help)));
    return { item, when, what };
}
