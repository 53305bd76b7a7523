// page_picture.js: the pipeline as a picture: sensors → logs → stages → sinks → Kafka → feeder → engine, a line as wide as its
// rate, each box with its sign and word. Side by side where there is room, else one below the other.
// SPDX-License-Identifier: Apache-2.0

import { LEVEL_WORDS, byId, cutMiddle, draw, el, isKnown, say, set, sign, worse } from "./page_words.js";
import { rateText, reckon } from "./page_pipeline.js";

const BOX_WIDTH_MIN = 118;
const BOX_WIDTH_MAX = 216;
const GAP_MIN = 26;
const BOX_HEIGHT = 58;
const BOX_SPACE = 10;
const HEAD_HEIGHT = 26;
const LINE_WIDTH_MIN = 1.5;
const LINE_WIDTH_MORE = 15;

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
        layer.nodes.forEach((node, y) =>
            places.set(node.key, { x: layer.x, y: top + y * (BOX_HEIGHT + BOX_SPACE), width: box, height: BOX_HEIGHT }),
        );
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
            places.set(node.key, {
                x: columns === 1 ? (width - box) / 2 : (at % columns) * (box + space),
                y: y + row * (BOX_HEIGHT + space),
                width: box,
                height: BOX_HEIGHT,
            });
        });
        y += Math.ceil(layer.nodes.length / columns) * (BOX_HEIGHT + space) + 16;
    }
    return { places, height: y - 16 };
}

function linkWidths(links) {
    const most = Math.max(0, ...links.map((one) => one.rate ?? 0));
    for (const one of links)
        one.width = one.rate > 0 && most > 0 ? LINE_WIDTH_MIN + (LINE_WIDTH_MORE * one.rate) / most : LINE_WIDTH_MIN;
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
    for (let letters = Array.from(text).length - 1; letters > 3 && pen.measureText(shown).width > width; letters -= 1)
        shown = cutMiddle(text, letters);
    return shown;
}

export class Picture {
    constructor() {
        this.place = byId("picture");
        this.shape = "";
        this.boxes = new Map();
        new ResizeObserver(() => this.store && this.update(this.store)).observe(this.place);
        byId("pipeline-key").append(
            ...["ok", "info", "warn", "error", "idle"].map((level) =>
                el("span", { class: `word ${level}` }, sign(level), LEVEL_WORDS[level]),
            ),
        );
    }

    update(store) {
        this.store = store;
        const width = Math.floor(this.place.clientWidth);
        if (width <= 0) return 0;
        const { layers, links } = reckon(store);
        say(
            byId("pipeline-said"),
            store.documents.some((doc) => ["run", "feed"].includes(doc.process))
                ? ""
                : "Neither tapline run nor tapline feed answers: nothing reads logs on this host, or it has another node.state.",
        );
        this.place.hidden = layers.length === 0;
        if (layers.length === 0) return 0;
        linkWidths(links);
        const wide = isWide(width, layers);
        const { places, height } = wide ? placeWide(layers, width) : placeNarrow(layers, width);
        const shape = JSON.stringify([
            width,
            wide,
            layers.map((layer) => layer.nodes.map((node) => node.key)),
            links.map((one) => [one.from.key, one.to.key]),
        ]);
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
        this.place.replaceChildren(
            draw(
                "svg",
                {
                    viewBox: `0 0 ${width} ${height}`,
                    width,
                    height,
                    role: "img",
                    "aria-labelledby": "picture-title picture-desc",
                },
                this.title,
                this.desc,
                ...parts,
            ),
        );
    }

    buildBox({ x, y, width, height }) {
        const box = {
            width,
            level: "",
            title: draw("title"),
            name: draw("text", { x: 29, y: 18, class: "name" }),
            rate: draw("text", { x: 11, y: 35, class: "rate" }),
            detail: draw("text", { x: 11, y: 50, class: "detail" }),
            sign: draw("g"),
            rect: draw("rect", { width, height, rx: 6, class: "box" }),
            bar: draw("rect", { width: 4, height: height - 12, y: 6, rx: 2 }),
        };
        box.g = draw(
            "g",
            { transform: `translate(${x.toFixed(1)} ${y.toFixed(1)})` },
            box.title,
            box.rect,
            box.bar,
            box.sign,
            box.name,
            box.rate,
            box.detail,
        );
        return box;
    }

    showBox(box, node) {
        say(box.name, fit(node.name, box.width - 34, "620 12.5px"));
        const word = node.word ?? (["ok", "idle"].includes(node.level) || node.detail ? "" : LEVEL_WORDS[node.level]); // the sign has said it
        const detail = fit([word, node.detail].filter(Boolean).join(", "), box.width - 17, "11.5px");
        say(box.rate, isKnown(node.rate) ? rateText(node) : detail);
        say(box.detail, isKnown(node.rate) ? detail : "");
        say(
            box.title,
            `${node.title}: ${LEVEL_WORDS[node.level]}${word ? ` (${word})` : ""}, ${rateText(node)}${node.detail ? `, ${node.detail}` : ""}`,
        );
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
            return {
                rate: ones.reduce((so, one) => so + (one.rate ?? 0), 0),
                level: ones.reduce((so, one) => worse(so, one.level), "idle"),
                bottom,
                top,
            };
        });
        linkWidths(sums);
        sums.forEach((one, at) => this.showLink(this.lines[at], one, `M${width / 2} ${one.bottom}V${one.top}`));
    }

    describe(layers) {
        const said = layers
            .filter((layer) => layer.name)
            .map((layer) => `${layer.name}: ${layer.nodes.map((node) => `${node.name} ${LEVEL_WORDS[node.level]}`).join(", ")}`);
        say(this.desc, `${said.join(". ")}. The table below says the same.`);
    }
}
