// page_charts.js: the last 15 minutes: rates, lag in time, lag in bytes. Each series has a pattern of its own beside its colour,
// and its value now in the legend, which a pointer over the chart turns into the values of that moment. A gap in the line is a
// time without numbers. SPDX-License-Identifier: Apache-2.0

import { NONE, byId, bytes, clock, draw, el, isKnown, perSecond, say, set, span } from "./page_words.js";
import { HISTORY_S } from "./page_store.js";

const HEIGHT = 190;
const LEFT = 66;
const RIGHT = 10;
const TOP = 10;
const BOTTOM = 24;
const GAP_S = 5;
const RANGES_S = [120, 300, HISTORY_S]; // a page just opened shows less, so that there is something to see
const STEPS = [1, 2, 5, 10];
const SECONDS_STEPS = [1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 43200, 86400];

export const CHARTS = [
    {
        id: "rate",
        title: "Events a second",
        f: perSecond,
        series: [
            { name: "read", label: "read", look: "a" },
            { name: "accepted", label: "accepted by all sinks", look: "b" },
            { name: "indexed", label: "indexed", look: "c" },
            { name: "dead", label: "dead letters", look: "bad" },
        ],
    },
    {
        id: "lag",
        title: "Lag in time",
        f: span,
        isTime: true,
        series: [
            { name: "lag", label: "worst log", look: "a" },
            { name: "consumerLag", label: "worst partition", look: "c" },
        ],
    },
    {
        id: "waiting",
        title: "Lag in bytes",
        f: bytes,
        isBytes: true,
        series: [{ name: "waiting", label: "not accepted yet, all logs", look: "a" }],
    },
];

/* The next round number: the top of the scale. */
function roundUp(value, chart) {
    if (chart.isTime) return SECONDS_STEPS.find((step) => step >= value) ?? Math.ceil(value / 86400) * 86400;
    const base = chart.isBytes ? 1024 : 10;
    const unit = base ** Math.floor(Math.log(Math.max(value, 1)) / Math.log(base));
    const steps = chart.isBytes ? [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024] : STEPS;
    return unit * (steps.find((step) => step * unit >= value) ?? base);
}

class Chart {
    constructor(place, chart) {
        this.chart = chart;
        this.lines = new Map();
        this.title = draw("title", { id: `${chart.id}-title` }, chart.title);
        this.desc = draw("desc", { id: `${chart.id}-desc` });
        this.svg = draw(
            "svg",
            { role: "img", "aria-labelledby": `${chart.id}-title ${chart.id}-desc`, height: HEIGHT, width: "100%" },
            this.title,
            this.desc,
        );
        this.grid = draw("g", { class: "grid", "aria-hidden": "true" });
        this.hair = draw("path", { class: "hair" });
        this.svg.append(this.grid, ...chart.series.map((one) => this.lineOf(one)), this.hair);
        this.when = el("span", { class: "when" });
        this.legend = el("ul", { class: "legend" }, ...chart.series.map((one) => this.legendOf(one)));
        this.figure = el("figure", {}, el("figcaption", {}, el("h3", {}, chart.title), this.when), this.svg, this.legend);
        place.append(this.figure);
        this.svg.addEventListener("pointermove", (event) => this.point(event.clientX - this.svg.getBoundingClientRect().left));
        this.svg.addEventListener("pointerleave", () => this.point(null));
    }

    lineOf(one) {
        const line = draw("path", { class: `line ${one.look}` });
        this.lines.set(one.name, line);
        return line;
    }

    legendOf(one) {
        one.value = el("output", { class: "value" });
        one.item = el(
            "li",
            {},
            draw(
                "svg",
                { viewBox: "0 0 26 8", width: 26, height: 8, "aria-hidden": "true" },
                draw("path", { d: "M1 4H25", class: `line ${one.look}` }),
            ),
            el("span", {}, one.label),
            one.value,
        );
        one.value.setAttribute("aria-live", "off");
        return one.item;
    }

    point(x) {
        this.at = x === null ? null : this.now - this.range + ((x - LEFT) / Math.max(1, this.width - LEFT - RIGHT)) * this.range;
        if (this.history) this.update(this.history, this.now);
    }

    update(history, now) {
        const kept = history.length ? now - history[0].at : 0;
        this.range = RANGES_S.find((range) => range >= kept) ?? HISTORY_S;
        Object.assign(this, { history, now, width: Math.floor(this.svg.clientWidth) || 300 });
        const { chart, width } = this;
        const known = chart.series.filter((one) => history.some((point) => isKnown(point[one.name])));
        const most = Math.max(0, ...known.flatMap((one) => history.map((point) => point[one.name] ?? 0)));
        const top = roundUp(Math.max(most, chart.isBytes ? 1024 : 1), chart);
        const x = (at) => LEFT + ((at - now + this.range) / this.range) * (width - LEFT - RIGHT);
        const y = (value) => TOP + (1 - value / top) * (HEIGHT - TOP - BOTTOM);
        this.scale(top, x, y);
        const shown = this.at ? history.findLast((point) => point.at <= this.at) : history[history.length - 1];
        for (const one of chart.series) {
            one.item.hidden = !known.includes(one);
            set(this.lines.get(one.name), "d", known.includes(one) ? pathOf(history, one.name, x, y) : "");
            say(one.value, shown ? chart.f(shown[one.name]) : NONE);
        }
        const isPointed = Boolean(this.at && shown);
        say(this.when, isPointed ? `at ${clock(shown.at)}` : "now");
        set(this.hair, "d", isPointed ? `M${x(shown.at).toFixed(1)} ${TOP}V${HEIGHT - BOTTOM}` : "");
        const last = history[history.length - 1];
        say(
            this.desc,
            known
                .map(
                    (one) =>
                        `${one.label}: now ${chart.f(last?.[one.name])}, highest ${chart.f(Math.max(...history.map((point) => point[one.name] ?? 0)))}`,
                )
                .join("; ") || "no numbers yet",
        );
    }

    scale(top, x, y) {
        const { chart, now, width } = this;
        const key = `${top} ${width} ${this.range}`;
        if (this.scaled === key) return;
        this.scaled = key;
        const parts = [];
        for (const share of [0, 0.5, 1]) {
            parts.push(draw("path", { d: `M${LEFT} ${y(top * share).toFixed(1)}H${width - RIGHT}` }));
            parts.push(draw("text", { x: LEFT - 8, y: y(top * share) + 4, "text-anchor": "end" }, chart.f(top * share)));
        }
        for (const part of [1, 0.5, 0]) {
            const age = part * this.range;
            const anchor = part === 1 ? "start" : part ? "middle" : "end";
            parts.push(
                draw(
                    "text",
                    { x: x(now - age), y: HEIGHT - 6, "text-anchor": anchor },
                    age ? `−${age < 120 ? `${age} s` : `${age / 60} min`}` : "now",
                ),
            );
        }
        this.grid.replaceChildren(...parts);
    }
}

function pathOf(history, name, x, y) {
    let d = "";
    let last = null;
    for (const point of history) {
        const value = point[name];
        if (!isKnown(value)) {
            last = null;
            continue;
        }
        d += `${last !== null && point.at - last < GAP_S ? "L" : "M"}${x(point.at).toFixed(1)} ${y(value).toFixed(1)}`;
        if (last === null) d += "h.01"; // one point alone is seen, too
        last = point.at;
    }
    return d;
}

export class Charts {
    constructor() {
        this.charts = CHARTS.map((chart) => new Chart(byId("chart-list"), chart));
        this.since = null;
        new ResizeObserver(() => this.store && this.update(this.store)).observe(byId("chart-list"));
    }

    update(store) {
        this.store = store;
        if (this.since === null && store.history.length) {
            this.since = store.history[0].at;
            say(
                byId("charts-note"),
                `Kept by this page since it was opened, at ${clock(Date.now() / 1000)}. For longer times: Prometheus.`,
            );
        }
        for (const chart of this.charts) chart.update(store.history, store.now);
        return 1;
    }
}

/* One row a minute, newest first. */
export function historyRows(store) {
    const minutes = new Map();
    for (const point of store.history) minutes.set(Math.floor(point.at / 60), point);
    return [...minutes.entries()].map(([minute, point]) => ({ key: String(minute), ...point }));
}
