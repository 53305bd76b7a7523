// page_picture.js: the pipeline as a picture: sensors → logs → stages → sinks → Kafka → feeder → engine, a line as wide as its
// rate, each box with its sign and word. Side by side where there is room, else one below the other. What is drawn is a list of
// layers and links (reckon()), from which also comes the table that says the same without a picture.
// SPDX-License-Identifier: Apache-2.0

import { LEVELS, LEVEL_WORDS, NODE_STATES, baseName, byId, bytesPerSecond, count, cutMiddle, draw, el, isKnown, percent, perSecond, plural, say, set,
    sign, span, worse } from "./page_words.js";

const SENSORS_MAX = 7;
const LOGS_MAX = 8;
const SINKS_MAX = 6;
const BOX_WIDTH_MIN = 118;
const BOX_WIDTH_MAX = 216;
const GAP_MIN = 26;
const BOX_HEIGHT = 58;
const BOX_SPACE = 10;
const HEAD_HEIGHT = 26;
const LINE_WIDTH_MIN = 1.5;
const LINE_WIDTH_MORE = 15;

// ---- what there is to draw ---------------------------------------------------------------------------------------------------

function worstFirst(nodes) {
    return nodes.sort((a, b) => LEVELS.indexOf(b.level) - LEVELS.indexOf(a.level) || (b.rate ?? 0) - (a.rate ?? 0) || a.name.localeCompare(b.name));
}

/* The worst and the busiest of too many are drawn, the others are one box. */
function limit(nodes, max, word) {
    if (nodes.length <= max) return nodes;
    const kept = nodes.slice(0, max - 1);
    const others = nodes.slice(max - 1);
    const rates = others.map((node) => node.rate).filter(isKnown);
    const level = others.reduce((so, node) => worse(so, node.level), "idle");
    kept.push({ key: `others ${word}`, isBytes: others[0].isBytes, name: `${count(others.length)} more ${word}`, level, rate: rates.length ? rates.reduce((a, b) => a + b, 0) : null,
        detail: "all in the table", title: `${count(others.length)} ${word} that are not drawn: the table below has them all`, others });
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

function sensorNodes(store, logs) {
    const own = new Set(store.documents.flatMap((doc) => [doc.name, `tapline-${doc.name}`, doc.process, `tapline-${doc.process}`]));
    const supervised = store.rows("supervised").filter((row) => !own.has(row.node)); // tapline's own stand further right
    const nodes = new Map();
    for (const row of supervised) {
        const loss = store.rows("capture").filter((one) => one.sensor === row.node && isKnown(one.loss_ratio)).map((one) => one.loss_ratio);
        const level = store.rows("capture").filter((one) => one.sensor === row.node)
            .reduce((so, one) => worse(so, store.levelOf(one, "capture")), supervisedLevel(row, store));
        nodes.set(row.node, { key: `sensor ${row.node}`, name: row.node, level, rate: null, isBytes: true, word: supervisedWord(row),
            detail: loss.length ? `${percent(Math.max(...loss))} lost` : "", title: `sensor ${row.node}` });
    }
    for (const log of logs) {
        const writer = writerOf(log.path, supervised);
        const folder = log.path.slice(0, Math.max(0, log.path.lastIndexOf("/"))) || (log.path.startsWith("/") ? "/" : log.path); // "(others)" has none
        const name = writer ? writer.node : folder;
        if (!nodes.has(name)) {
            nodes.set(name, { key: `folder ${name}`, name: folder, level: "idle", rate: null, isBytes: true, word: "folder", detail: "", title: `folder ${folder}: no sensor that tapline runs` });
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
        return { key: `log ${row.key}`, path: row.path, name: baseName(row.path), rate: row.read_position_bytes_rate ?? null, isBytes: true,
            level: failed ? "error" : level !== "ok" ? level : isBehind ? "info" : moves ? "ok" : "idle",
            word: failed ? "cannot be read" : null, detail: isBehind ? `${span(row.lag_seconds)} behind` : "", title: row.path };
    });
}

/* The stages of a process in their order, several workers as one; those that are a sink's thread are the sink's. */
function stageNodes(store, doc, sinks) {
    const stages = new Map();
    for (const row of doc.rows.stage ?? []) {
        if (sinks.has(row.stage)) continue;
        const node = stages.get(row.stage) ?? { key: `stage ${doc.name} ${row.stage}`, name: row.stage, level: "ok", rate: null, busy: 0, queued: 0, workers: 0, title: `${doc.name}: stage ${row.stage}` };
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
            for (const one of doc.rows[kind] ?? []) if ((one.sink ?? one.client) === row.sink) level = worse(level, store.levelOf(one, kind));
        }
        if (row.up === 0) level = worse(level, "error");
        const p99 = row.latency?.p99;
        return { key: `sink ${row.key}`, name: row.sink, level, rate: row.documents_rate ?? null, word: row.up === 0 ? "away" : row.stalled_seconds > 0 && level !== "ok" ? "stalled" : null,
            detail: row.up !== 0 && isKnown(p99) && p99 >= 0 ? `p99 ${p99 < 1 ? `${Math.round(p99 * 1000)} ms` : span(p99)}` : "", title: `${doc.name}: sink ${row.sink}`, sink: row.sink };
    });
    return limit(worstFirst(nodes), SINKS_MAX, "sinks");
}

function docLevel(doc) {
    return doc.problems.reduce((so, problem) => (["process", "consumer_partition", "broker"].includes(problem.kind) ? worse(so, problem.severity) : so), "ok");
}

function feederNodes(store, feeders) {
    return feeders.map((doc) => {
        const partitions = doc.rows.consumer_partition ?? [];
        const lag = partitions.reduce((so, row) => so + (row.lag_records ?? 0), 0);
        const rates = partitions.map((row) => row.position_rate).filter(isKnown);
        return { key: `feeder ${doc.name}`, name: doc.name, level: doc.isOld ? "error" : docLevel(doc), rate: rates.length ? rates.reduce((a, b) => a + b, 0) : null,
            word: doc.isOld ? "does not answer" : null, detail: partitions.length ? `${count(lag)} behind` : "", title: `${doc.name}: reads Kafka for the search engine` };
    });
}

function kafkaNode(store, feeders) {
    const brokers = new Map();
    for (const row of store.rows("broker")) if (isKnown(row.up)) brokers.set(row.broker, Math.max(brokers.get(row.broker) ?? 0, row.up));
    const up = [...brokers.values()].filter((one) => one > 0).length;
    const topics = new Set([...store.rows("producer_partition"), ...store.rows("consumer_partition")].map((row) => row.topic));
    let level = store.rows("broker").reduce((so, row) => worse(so, store.levelOf(row, "broker")), "ok");
    if (brokers.size > 0 && up === 0) level = "error";
    return { key: "kafka", name: "Kafka", level, rate: null, title: "the brokers, as librdkafka sees them",
        detail: brokers.size ? `${up} of ${plural(brokers.size, "broker")} up` : feeders.length ? plural(topics.size, "topic") : "" };
}

function link(from, to, value, links) {
    links.push({ from, to, rate: value ?? null, level: worse(from.level, to.level) });
}

/* Layers of nodes, and links between them; rates of links are events a second. */
export function reckon(store) {
    const layers = [];
    const links = [];
    const run = store.documents.find((doc) => doc.process === "run");
    const feeders = store.documents.filter((doc) => doc.process === "feed");
    const gone = store.rows("peer").filter((row) => row.up === 0 && !store.process(row.process));
    const allLogs = logNodes(store);
    const sensors = sensorNodes(store, allLogs);
    const logs = limit(worstFirst(allLogs), LOGS_MAX, "logs");
    const order = (log) => (log.others ? sensors.length : sensors.findIndex((node) => (node.others ?? [node]).includes(log.from)));
    logs.sort((a, b) => order(a) - order(b)); // fewer lines cross
    layers.push({ name: "Sensors", nodes: sensors }, { name: "Logs", nodes: logs });
    const sum = allLogs.reduce((so, node) => so + (node.rate ?? 0), 0);
    const lines = run?.rates["ingest.lines"] ?? null;
    const share = (value) => (isKnown(value) && isKnown(lines) && sum > 0 ? (lines * value) / sum : value === 0 ? 0 : null);
    for (const node of logs) {
        for (const from of sensors) {
            const own = (from.others ?? [from]);
            const written = (node.others ?? [node]).filter((log) => own.includes(log.from));
            if (written.length) link(from, node, share(written.reduce((so, log) => so + (log.rate ?? 0), 0)), links);
        }
    }
    let last = logs;
    if (run) {
        const sinks = sinkNodes(store, run);
        for (const stage of stageNodes(store, run, new Set((run.rows.sink ?? []).map((row) => row.sink)))) {
            if (run.isOld) Object.assign(stage, { level: "error", word: "does not answer" });
            for (const from of last) link(from, stage, from.isBytes ? share(from.rate) : from.rate, links);
            layers.push({ name: last === logs ? "Stages" : "", nodes: [stage] });
            last = [stage];
        }
        for (const sink of sinks) for (const from of last) link(from, sink, sink.rate, links);
        layers.push({ name: "Sinks", nodes: sinks });
        last = sinks.filter((node) => /kafka/.test(node.name));
    } else last = [];
    if (last.length || feeders.length) {
        const kafka = kafkaNode(store, feeders);
        for (const sink of last) link(sink, kafka, sink.rate, links);
        layers.push({ name: "Kafka", nodes: [kafka] });
        if (feeders.length) {
            const nodes = feederNodes(store, feeders);
            layers.push({ name: "Feeders", nodes }, { name: "Search engine", nodes: feeders.flatMap((doc, at) => {
                const engines = sinkNodes(store, doc);
                link(kafka, nodes[at], nodes[at].rate, links);
                for (const engine of engines) link(nodes[at], engine, engine.rate, links);
                return engines;
            }) });
        }
    }
    for (const row of gone) layers.push({ name: "Away", nodes: [{ key: `gone ${row.process}`, name: row.process, level: "error", rate: null, word: "does not answer", detail: span(row.silent_seconds), title: row.process }] });
    return { layers: layers.filter((layer) => layer.nodes.length > 0), links };
}

function rateText(node) {
    return node.isBytes ? bytesPerSecond(node.rate) : perSecond(node.rate);
}

/* The same as rows of a table. */
export function pictureRows(store) {
    const { layers, links } = reckon(store);
    let part = "";
    return layers.flatMap((layer) => {
        part = layer.name || part;
        return layer.nodes.map((node) => ({ key: node.key, part, name: node.title || node.name, node, rateText: rateText(node), detail: node.detail,
            to: links.filter((one) => one.from === node).map((one) => one.to.name).join(", ") }));
    });
}

// ---- drawing it ----------------------------------------------------------------------------------------------------------------

function isWide(width, layers) {
    return (width - (layers.length - 1) * GAP_MIN) / layers.length >= BOX_WIDTH_MIN;
}

/* Where each box is, side by side. */
function placeWide(layers, width) {
    const n = layers.length;
    const box = Math.min(BOX_WIDTH_MAX, (width - (n - 1) * GAP_MIN) / n);
    const gap = n > 1 ? (width - n * box) / (n - 1) : 0;
    const most = Math.max(...layers.map((layer) => layer.nodes.length));
    const height = HEAD_HEIGHT + most * (BOX_HEIGHT + BOX_SPACE);
    const places = new Map();
    layers.forEach((layer, x) => {
        layer.x = x * (box + gap);
        layer.y = 14;
        const top = HEAD_HEIGHT + (height - HEAD_HEIGHT - layer.nodes.length * (BOX_HEIGHT + BOX_SPACE)) / 2;
        layer.nodes.forEach((node, y) => places.set(node.key, { x: layer.x, y: top + y * (BOX_HEIGHT + BOX_SPACE), width: box, height: BOX_HEIGHT }));
    });
    return { places, height };
}

/* Where each box is, one layer below the other; two boxes beside each other if they fit. */
function placeNarrow(layers, width) {
    const space = 8;
    const places = new Map();
    let y = 0;
    for (const layer of layers) {
        const columns = layer.nodes.length > 1 && width >= 300 ? (width >= 620 ? Math.min(4, layer.nodes.length) : 2) : 1;
        const box = columns === 1 ? Math.min(width, 320) : (width - (columns - 1) * space) / columns;
        layer.x = 0;
        layer.y = layer.name ? y + 14 : -1;
        y += layer.name ? 22 : 0;
        layer.nodes.forEach((node, at) => {
            const row = Math.floor(at / columns);
            places.set(node.key, { x: columns === 1 ? (width - box) / 2 : (at % columns) * (box + space), y: y + row * (BOX_HEIGHT + space), width: box, height: BOX_HEIGHT });
        });
        y += Math.ceil(layer.nodes.length / columns) * (BOX_HEIGHT + space) + 16;
    }
    return { places, height: y - 16 };
}

function linkWidths(links) {
    const most = Math.max(0, ...links.map((one) => one.rate ?? 0));
    for (const one of links) one.width = one.rate > 0 && most > 0 ? LINE_WIDTH_MIN + (LINE_WIDTH_MORE * one.rate) / most : LINE_WIDTH_MIN;
}

/* Lines that end at one box lie beside each other there. */
function spread(links, end, places) {
    const byNode = new Map();
    for (const one of links) byNode.set(one[end].key, [...(byNode.get(one[end].key) ?? []), one]);
    const other = end === "from" ? "to" : "from";
    for (const [key, ones] of byNode) {
        const { height } = places.get(key);
        ones.sort((a, b) => places.get(a[other].key).y - places.get(b[other].key).y);
        const total = ones.reduce((so, one) => so + one.width, 0);
        const space = Math.min(4, Math.max(0, height - 8 - total) / Math.max(1, ones.length - 1));
        let y = height / 2 - (total + space * (ones.length - 1)) / 2;
        for (const one of ones) {
            one[`${end}Y`] = places.get(key).y + y + one.width / 2;
            y += one.width + space;
        }
    }
}

function wideCurve(one, places) {
    const a = places.get(one.from.key);
    const b = places.get(one.to.key);
    const x0 = a.x + a.width;
    const middle = (x0 + b.x) / 2;
    return `M${x0.toFixed(1)} ${one.fromY.toFixed(1)}C${middle.toFixed(1)} ${one.fromY.toFixed(1)} ${middle.toFixed(1)} ${one.toY.toFixed(1)} ${b.x.toFixed(1)} ${one.toY.toFixed(1)}`;
}

const pen = document.createElement("canvas").getContext("2d");

/* A text as long as there is room for it: its middle goes first. */
function fit(text, width, font) {
    pen.font = `${font} ${getComputedStyle(document.body).fontFamily}`;
    let shown = text;
    for (let letters = Array.from(text).length - 1; letters > 3 && pen.measureText(shown).width > width; letters -= 1) shown = cutMiddle(text, letters);
    return shown;
}

export class Picture {
    constructor() {
        this.place = byId("picture");
        this.shape = "";
        this.boxes = new Map();
        new ResizeObserver(() => this.store && this.update(this.store)).observe(this.place);
        byId("pipeline-key").append(...["ok", "info", "warn", "error", "idle"].map((level) => el("span", { class: `word ${level}` }, sign(level), LEVEL_WORDS[level])));
    }

    update(store) {
        this.store = store;
        const width = Math.floor(this.place.clientWidth);
        if (width <= 0) return 0;
        const { layers, links } = reckon(store);
        say(byId("pipeline-said"), store.documents.some((doc) => ["run", "feed"].includes(doc.process)) ? "" : "Neither tapline run nor tapline feed answers: nothing reads logs on this host, or it has another node.state.");
        this.place.hidden = layers.length === 0;
        if (layers.length === 0) return 0;
        linkWidths(links);
        const wide = isWide(width, layers);
        const { places, height } = wide ? placeWide(layers, width) : placeNarrow(layers, width);
        const shape = JSON.stringify([width, wide, layers.map((layer) => layer.nodes.map((node) => node.key)), links.map((one) => [one.from.key, one.to.key])]);
        if (shape !== this.shape) this.build(layers, links, places, { width, height, wide });
        this.shape = shape;
        if (wide) {
            spread(links, "from", places);
            spread(links, "to", places);
            links.forEach((one, at) => this.showLink(this.lines[at], one, wideCurve(one, places)));
        } else this.showBetween(layers, links, places, width);
        for (const layer of layers) for (const node of layer.nodes) this.showBox(this.boxes.get(node.key), node);
        this.describe(layers);
        return layers.length;
    }

    build(layers, links, places, { width, height, wide }) {
        this.boxes.clear();
        this.lines = (wide ? links : layers.slice(1)).map(() => draw("path", { class: "link" }));
        this.title = draw("title", { id: "picture-title" }, "The pipeline: sensors, logs, stages, sinks");
        this.desc = draw("desc", { id: "picture-desc" });
        const parts = [...this.lines];
        for (const layer of layers) {
            if (layer.name && layer.y >= 0) parts.push(draw("text", { x: layer.x, y: layer.y, class: "layer" }, layer.name));
            for (const node of layer.nodes) {
                const box = this.buildBox(places.get(node.key));
                this.boxes.set(node.key, box);
                parts.push(box.g);
            }
        }
        this.place.replaceChildren(draw("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-labelledby": "picture-title picture-desc" },
            this.title, this.desc, ...parts));
    }

    buildBox({ x, y, width, height }) {
        const box = { width, level: "", title: draw("title"), name: draw("text", { x: 29, y: 18, class: "name" }), rate: draw("text", { x: 11, y: 35, class: "rate" }),
            detail: draw("text", { x: 11, y: 50, class: "detail" }), sign: draw("g"), rect: draw("rect", { width, height, rx: 6, class: "box" }), bar: draw("rect", { width: 4, height: height - 12, y: 6, rx: 2 }) };
        box.g = draw("g", { transform: `translate(${x.toFixed(1)} ${y.toFixed(1)})` }, box.title, box.rect, box.bar, box.sign, box.name, box.rate, box.detail);
        return box;
    }

    showBox(box, node) {
        say(box.name, fit(node.name, box.width - 34, "620 12.5px"));
        const word = node.word ?? (["ok", "idle"].includes(node.level) || node.detail ? "" : LEVEL_WORDS[node.level]); // the sign has said it
        const detail = fit([word, node.detail].filter(Boolean).join(", "), box.width - 17, "11.5px");
        say(box.rate, isKnown(node.rate) ? rateText(node) : detail);
        say(box.detail, isKnown(node.rate) ? detail : "");
        say(box.title, `${node.title}: ${LEVEL_WORDS[node.level]}${word ? ` (${word})` : ""}, ${rateText(node)}${node.detail ? `, ${node.detail}` : ""}`);
        if (box.level !== node.level) {
            box.level = node.level;
            set(box.rect, "class", `box ${node.level}`);
            set(box.bar, "class", `bar ${node.level}`);
            box.sign.replaceChildren(sign(node.level, { x: 10, y: 6, width: 14, height: 14 }));
        }
    }

    showLink(line, one, d) {
        set(line, "d", d);
        set(line, "stroke-width", one.width.toFixed(1));
        set(line, "class", `link ${one.level}${one.rate > 0 ? "" : " still"}`);
    }

    /* One below the other: one line from layer to layer, for all that passes there. */
    showBetween(layers, links, places, width) {
        const sums = layers.slice(1).map((layer, at) => {
            const keys = new Set(layer.nodes.map((node) => node.key));
            const ones = links.filter((one) => keys.has(one.to.key));
            const bottom = Math.max(...layers[at].nodes.map((node) => places.get(node.key).y + BOX_HEIGHT));
            const top = Math.min(...layer.nodes.map((node) => places.get(node.key).y));
            return { rate: ones.reduce((so, one) => so + (one.rate ?? 0), 0), level: ones.reduce((so, one) => worse(so, one.level), "idle"), bottom, top };
        });
        linkWidths(sums);
        sums.forEach((one, at) => this.showLink(this.lines[at], one, `M${width / 2} ${one.bottom}V${one.top}`));
    }

    describe(layers) {
        const said = layers.filter((layer) => layer.name).map((layer) => `${layer.name}: ${layer.nodes.map((node) => `${node.name} ${LEVEL_WORDS[node.level]}`).join(", ")}`);
        say(this.desc, `${said.join(". ")}. The table below says the same.`);
    }
}
