// page_audit.js: what tools for accessibility look at, as far as our page has it: names of controls, labels, order of headings,
// ids, names of tables and pictures, contrast of all texts that are seen. Gives a list of complaints.
// SPDX-License-Identifier: Apache-2.0
() => {
    const bad = [];
    const isSeen = (one) => one.checkVisibility({ checkOpacity: true, checkVisibilityCSS: true }) && one.getClientRects().length > 0;
    const all = (selector) => [...document.querySelectorAll(selector)].filter(isSeen);
    const nameOf = (one) => one.getAttribute("aria-label") || (one.getAttribute("aria-labelledby") ?? "").split(" ").map((id) => document.getElementById(id)?.textContent ?? "").join("") ||
        [...(one.labels ?? [])].map((label) => label.textContent).join("") || (["BUTTON", "A", "SUMMARY"].includes(one.tagName) ? one.textContent : "");
    const what = (one) => `${one.tagName.toLowerCase()}#${one.id}.${one.getAttribute("class") ?? ""} ${one.textContent.trim().slice(0, 30)}`;

    if (!document.documentElement.lang) bad.push("no language");
    for (const one of all("button, a, input, select, table, svg[role=img], [role=region], section, nav")) if (!nameOf(one).trim()) bad.push(`no name: ${what(one)}`);
    for (const one of all("svg")) if (!one.closest("[aria-hidden=true]") && one.getAttribute("role") !== "img" && !one.querySelector("title")) bad.push(`a picture without words: ${what(one)}`);
    const ids = [...document.querySelectorAll("[id]")].map((one) => one.id);
    for (const id of new Set(ids)) if (ids.filter((one) => one === id).length > 1) bad.push(`twice: ${id}`);
    if (document.querySelectorAll("h1").length !== 1 || document.querySelectorAll("main").length !== 1) bad.push("one h1 and one main");
    let depth = 1;
    for (const one of document.querySelectorAll("h1, h2, h3")) {
        if (Number(one.tagName[1]) > depth + 1) bad.push(`a heading is left out before ${what(one)}`);
        depth = Number(one.tagName[1]);
    }
    for (const one of all("tbody tr")) if (!one.querySelector("th[scope=row]")) bad.push(`a row without a head: ${what(one)}`);
    for (const one of all("button, select, input, summary, nav a")) if (one.getBoundingClientRect().height < 24) bad.push(`too low to be hit: ${what(one)}`);

    const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const rgba = (color) => {
        canvas.clearRect(0, 0, 1, 1);
        canvas.fillStyle = color;
        canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data];
    };
    const groundOf = (one) => {
        for (let at = one; at; at = at.parentElement) {
            const box = at.tagName === "g" ? at.querySelector("rect.box") : null;
            const color = rgba(box ? getComputedStyle(box).fill : at instanceof SVGElement ? "transparent" : getComputedStyle(at).backgroundColor);
            if (color[3] === 255) return color;
        }
        return [255, 255, 255, 255];
    };
    const light = ([r, g, b]) => {
        const [x, y, z] = [r, g, b].map((part) => (part / 255 <= 0.04045 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4));
        return 0.2126 * x + 0.7152 * y + 0.0722 * z;
    };
    const contrast = (a, b) => (Math.max(light(a), light(b)) + 0.05) / (Math.min(light(a), light(b)) + 0.05);
    for (const one of all("body *")) {
        const isOwn = [...one.childNodes].some((child) => child.nodeType === Node.TEXT_NODE && child.textContent.trim());
        if (!isOwn || one.disabled || one.closest(".unseen, title, desc, option, .skip")) continue;
        const style = getComputedStyle(one);
        const found = contrast(rgba(one instanceof SVGElement ? style.fill : style.color), groundOf(one));
        if (found < 4.5) bad.push(`contrast ${found.toFixed(2)}: ${what(one)}`);
    }
    for (const one of all(".sign")) {
        const found = contrast(rgba(getComputedStyle(one).color), groundOf(one));
        if (found < 3) bad.push(`contrast ${found.toFixed(2)}: ${what(one)}`);
    }
    return bad;
}
