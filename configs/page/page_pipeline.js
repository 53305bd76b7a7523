// page_pipeline.js: what there is to draw of the pipeline: layers of nodes and links between them, as the store knows them, for the
// picture and for the table that says the same in words. SPDX-License-Identifier: Apache-2.0

import {
    LEVELS,
    NODE_STATES,
    baseName,
    bytesPerSecond,
    count,
    isKnown,
    percent,
    perSecond,
    plural,
    span,
    worse,
} from "./page_words.js";

const SENSORS_MAX = 7;
const LOGS_MAX = 8;
const SINKS_MAX = 6;

function worstFirst(nodes) {
    return nodes.sort(
        (a, b) =>
            LEVELS.indexOf(b.level) - LEVELS.indexOf(a.level) || (b.rate ?? 0) - (a.rate ?? 0) || a.name.localeCompare(b.name),
    );
}

/* The worst and the busiest of too many are drawn, the others are one box. */
function limit(nodes, max, word) {
    if (nodes.length <= max) return nodes;
    const kept = nodes.slice(0, max - 1);
    const others = nodes.slice(max - 1);
    const rates = others.map((node) => node.rate).filter(isKnown);
    const level = others.reduce((so, node) => worse(so, node.level), "idle");
    kept.push({
        key: `others ${word}`,
        isBytes: others[0].isBytes,
        name: `${count(others.length)} more ${word}`,
        level,
        rate: rates.length ? rates.reduce((a, b) => a + b, 0) : null,
        detail: "all in the table",
        title: `${count(others.length)} ${word} that are not drawn: the table below has them all`,
        others,
    });
    return kept;
}

/* Which supervised node writes a log: the one whose name, or whose group's, is a folder on its path. */
function writerOf(path, supervised) {
    const folders = path.split("/").slice(0, -1);
    const byName = supervised.find((row) => folders.includes(row.node));
    return byName ?? supervised.find((row) => row.group && folders.includes(row.group));
}

function supervisedLevel(row, store) {
    if (!row.wanted) return "idle";
    const level = store.levelOf(row, "supervised");
    return level === "ok" && (row.running === 0 || row.state >= 5) ? "error" : level;
}

export function supervisedWord(row) {
    const word = NODE_STATES[row.state] ?? "unknown";
    if (row.wanted && row.running === 0 && row.state >= 2 && row.state <= 3) return "frozen";
    return !row.wanted && row.state === 0 ? "stopped" : word;
}

/* What a sensor says of its packets: by its name, or by the path of its log. */
function captureOf(store, node, supervised) {
    return store
        .rows("capture")
        .filter((one) => one.sensor === node || (one.sensor.startsWith("/") && writerOf(one.sensor, supervised)?.node === node));
}

function sensorNodes(store, logs) {
    const own = new Set(
        store.documents.flatMap((doc) => [doc.name, `tapline-${doc.name}`, doc.process, `tapline-${doc.process}`]),
    );
    const supervised = store.rows("supervised").filter((row) => !own.has(row.node)); // tapline's own stand further right
    const nodes = new Map();
    for (const row of supervised) {
        const captured = captureOf(store, row.node, supervised);
        const loss = captured.map((one) => one.loss_ratio).filter(isKnown);
        const level = captured.reduce((so, one) => worse(so, store.levelOf(one, "capture")), supervisedLevel(row, store));
        nodes.set(row.node, {
            key: `sensor ${row.node}`,
            name: row.node,
            level,
            rate: null,
            isBytes: true,
            word: supervisedWord(row),
            detail: loss.length ? `${percent(Math.max(...loss))} lost` : "",
            title: `sensor ${row.node}`,
        });
    }
    for (const log of logs) {
        const writer = writerOf(log.path, supervised);
        const folder = log.path.slice(0, Math.max(0, log.path.lastIndexOf("/"))) || (log.path.startsWith("/") ? "/" : log.path); // "(others)" has none
        const name = writer ? writer.node : folder;
        if (!nodes.has(name)) {
            nodes.set(name, {
                key: `folder ${name}`,
                name: folder,
                level: "idle",
                rate: null,
                isBytes: true,
                word: "folder",
                detail: "",
                title: `folder ${folder}: no sensor that tapline runs`,
            });
        }
        const node = nodes.get(name);
        log.from = node;
        if (writer) log.detail ||= writer.node;
        if (isKnown(log.rate)) node.rate = (node.rate ?? 0) + log.rate;
        if (node.key.startsWith("folder") && log.rate > 0) node.level = worse(node.level, "ok");
    }
    return limit(worstFirst([...nodes.values()]), SENSORS_MAX, "sensors");
}

function logNodes(store) {
    return store.rows("file").map((row) => {
        const level = store.levelOf(row, "file");
        const failed = row.failed === 1;
        const moves = row.read_position_bytes_rate > 0;
        const isBehind = store.isBehind(row);
        return {
            key: `log ${row.key}`,
            path: row.path,
            name: baseName(row.path),
            rate: row.read_position_bytes_rate ?? null,
            isBytes: true,
            level: failed ? "error" : level !== "ok" ? level : isBehind ? "info" : moves ? "ok" : "idle",
            word: failed ? "cannot be read" : null,
            detail: isBehind ? `${span(row.lag_seconds)} behind` : "",
            title: row.path,
        };
    });
}

/* The stages of a process in their order, several workers as one; those that are a sink's thread are the sink's. */
function stageNodes(store, doc, sinks) {
    const stages = new Map();
    for (const row of doc.rows.stage ?? []) {
        if (sinks.has(row.stage)) continue;
        const node = stages.get(row.stage) ?? {
            key: `stage ${doc.name} ${row.stage}`,
            name: row.stage,
            level: "ok",
            rate: null,
            busy: 0,
            queued: 0,
            workers: 0,
            title: `${doc.name}: stage ${row.stage}`,
        };
        node.level = worse(node.level, store.stageLevel(row));
        if (isKnown(row.out_rate)) node.rate = (node.rate ?? 0) + row.out_rate;
        node.busy = Math.max(node.busy, row.busy_seconds_rate ?? 0);
        node.queued += row.queue_used ?? 0;
        node.workers += 1;
        stages.set(row.stage, node);
    }
    for (const kind of ["intel", "intel_feed"]) {
        for (const row of doc.rows[kind] ?? []) {
            const node = stages.get("enrich");
            if (node) node.level = worse(node.level, store.levelOf(row, kind));
        }
    }
    for (const node of stages.values()) {
        node.detail = `busy ${percent(Math.round(Math.min(1, node.busy) * 100) / 100)}${node.queued > 0 ? `, ${count(node.queued)} wait` : ""}`;
        if (node.workers > 1) node.title += `, ${node.workers} threads, the busiest of them`;
    }
    return [...stages.values()];
}

function sinkNodes(store, doc) {
    const nodes = (doc.rows.sink ?? []).map((row) => {
        let level = store.levelOf(row, "sink");
        for (const kind of ["sink_retry", "broker", "producer_partition", "endpoint"]) {
            for (const one of doc.rows[kind] ?? [])
                if ((one.sink ?? one.client) === row.sink) level = worse(level, store.levelOf(one, kind));
        }
        if (row.up === 0) level = worse(level, "error");
        const p99 = row.latency?.p99;
        return {
            key: `sink ${row.key}`,
            name: row.sink,
            level,
            rate: row.documents_rate ?? null,
            word: row.up === 0 ? "away" : row.stalled_seconds > 0 && level !== "ok" ? "stalled" : null,
            detail: row.up !== 0 && isKnown(p99) && p99 >= 0 ? `p99 ${p99 < 1 ? `${Math.round(p99 * 1000)} ms` : span(p99)}` : "",
            title: `${doc.name}: sink ${row.sink}`,
            sink: row.sink,
        };
    });
    return limit(worstFirst(nodes), SINKS_MAX, "sinks");
}

function docLevel(doc) {
    return doc.problems.reduce(
        (so, problem) => (["process", "consumer_partition", "broker"].includes(problem.kind) ? worse(so, problem.severity) : so),
        "ok",
    );
}

function feederNodes(store, feeders) {
    return feeders.map((doc) => {
        const partitions = doc.rows.consumer_partition ?? [];
        const lag = partitions.reduce((so, row) => so + (row.lag_records ?? 0), 0);
        const rates = partitions.map((row) => row.position_rate).filter(isKnown);
        return {
            key: `feeder ${doc.name}`,
            name: doc.name,
            level: doc.isOld ? "error" : docLevel(doc),
            rate: rates.length ? rates.reduce((a, b) => a + b, 0) : null,
            word: doc.isOld ? "does not answer" : null,
            detail: partitions.length ? `${count(lag)} behind` : "",
            title: `${doc.name}: reads Kafka for the search engine`,
        };
    });
}

function kafkaNode(store, feeders) {
    const brokers = new Map();
    for (const row of store.rows("broker"))
        if (isKnown(row.up)) brokers.set(row.broker, Math.max(brokers.get(row.broker) ?? 0, row.up));
    const up = [...brokers.values()].filter((one) => one > 0).length;
    const topics = new Set([...store.rows("producer_partition"), ...store.rows("consumer_partition")].map((row) => row.topic));
    let level = store.rows("broker").reduce((so, row) => worse(so, store.levelOf(row, "broker")), "ok");
    if (brokers.size > 0 && up === 0) level = "error";
    return {
        key: "kafka",
        name: "Kafka",
        level,
        rate: null,
        title: "the brokers, as librdkafka sees them",
        detail: brokers.size
            ? `${up} of ${plural(brokers.size, "broker")} up`
            : feeders.length
              ? plural(topics.size, "topic")
              : "",
    };
}

function link(from, to, value, links) {
    links.push({ from, to, rate: value ?? null, level: worse(from.level, to.level) });
}

/* Sensors and logs, and who writes what. Gives the logs that are drawn, and what of run's lines a rate in bytes is. */
function addLogs(store, run, picture) {
    const allLogs = logNodes(store);
    const sensors = sensorNodes(store, allLogs);
    const logs = limit(worstFirst(allLogs), LOGS_MAX, "logs");
    const order = (log) =>
        log.others ? sensors.length : sensors.findIndex((node) => (node.others ?? [node]).includes(log.from));
    logs.sort((a, b) => order(a) - order(b)); // fewer lines cross
    picture.layers.push({ name: "Sensors", nodes: sensors }, { name: "Logs", nodes: logs });
    const all = allLogs.reduce((so, node) => so + (node.rate ?? 0), 0);
    const lines = run?.rates["ingest.lines"] ?? null;
    const share = (value) => (isKnown(value) && isKnown(lines) && all > 0 ? (lines * value) / all : value === 0 ? 0 : null);
    for (const node of logs) {
        for (const from of sensors) {
            const own = from.others ?? [from];
            const written = (node.others ?? [node]).filter((log) => own.includes(log.from));
            const rate = written.reduce((so, log) => so + (log.rate ?? 0), 0);
            if (written.length) link(from, node, share(rate), picture.links);
        }
    }
    return { logs, share };
}

/* run's stages one after the other, and its sinks. Gives those that Kafka gets its records from. */
function addRun(store, run, { logs, share }, { layers, links }) {
    const sinks = sinkNodes(store, run);
    let last = logs;
    for (const stage of stageNodes(store, run, new Set((run.rows.sink ?? []).map((row) => row.sink)))) {
        if (run.isOld) Object.assign(stage, { level: "error", word: "does not answer" });
        for (const from of last) link(from, stage, from.isBytes ? share(from.rate) : from.rate, links);
        layers.push({ name: last === logs ? "Stages" : "", nodes: [stage] });
        last = [stage];
    }
    for (const sink of sinks) for (const from of last) link(from, sink, sink.rate, links);
    layers.push({ name: "Sinks", nodes: sinks });
    return sinks.filter((node) => /kafka/.test(node.name));
}

/* Kafka, who reads it, and where that goes. */
function addFeeders(store, feeders, sinks, { layers, links }) {
    if (sinks.length === 0 && feeders.length === 0) return;
    const kafka = kafkaNode(store, feeders);
    for (const sink of sinks) link(sink, kafka, sink.rate, links);
    layers.push({ name: "Kafka", nodes: [kafka] });
    const nodes = feederNodes(store, feeders);
    const engines = feeders.map((doc) => sinkNodes(store, doc));
    nodes.forEach((node, at) => {
        link(kafka, node, node.rate, links);
        for (const engine of engines[at]) link(node, engine, engine.rate, links);
    });
    layers.push({ name: "Feeders", nodes }, { name: "Search engine", nodes: engines.flat() });
}

function goneNode(row) {
    const away = { level: "error", rate: null, word: "does not answer", detail: span(row.silent_seconds) };
    return { key: `gone ${row.process}`, name: row.process, title: row.process, ...away };
}

/* Layers of nodes, and links between them; rates of links are events a second. */
export function reckon(store) {
    const picture = { layers: [], links: [] };
    const run = store.documents.find((doc) => doc.process === "run");
    const feeders = store.documents.filter((doc) => doc.process === "feed");
    const gone = store.rows("peer").filter((row) => row.up === 0 && !store.process(row.process));
    const read = addLogs(store, run, picture);
    addFeeders(store, feeders, run ? addRun(store, run, read, picture) : [], picture);
    picture.layers.push({ name: "Away", nodes: gone.map(goneNode) });
    picture.layers = picture.layers.filter((layer) => layer.nodes.length > 0);
    return picture;
}

export function rateText(node) {
    return node.isBytes ? bytesPerSecond(node.rate) : perSecond(node.rate);
}

/* The same as rows of a table. */
export function pictureRows(store) {
    const { layers, links } = reckon(store);
    let part = "";
    return layers.flatMap((layer) => {
        part = layer.name || part;
        return layer.nodes.map((node) => ({
            key: node.key,
            part,
            name: node.title || node.name,
            node,
            rateText: rateText(node),
            detail: node.detail,
            to: links
                .filter((one) => one.from === node)
                .map((one) => one.to.name)
                .join(", "),
        }));
    });
}
