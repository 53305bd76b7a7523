#!/usr/bin/env python3
"""What Kibana is given, made of the descriptions beside this file: a data view and a saved search for each dataset, the
dashboards with their panels, and the page that leads to them. FORMAT.md tells the words.

The result is tapline.ndjson: one saved object a line, in the format of Kibana 8.0, which newer ones migrate when they take it.
It has no attribute that OpenSearch Dashboards, which forked from Kibana 7.10, would refuse: `tapline setup` gives it the same
objects without Kibana's versions. Nothing in it depends on time or place: the same descriptions give the same bytes, and names of
objects never change while their titles do not, so that taking a new version replaces the old one.

Panels are visualizations of the aggregation kind, not Lens: their state says the request field by field, so a test can ask the
engine exactly what Kibana will ask, and every Kibana since 7 reads them.

Usage: generate.py [--check]     --check changes nothing: exit 1 if the file is not what the descriptions make.
SPDX-License-Identifier: Apache-2.0
"""
import json
import pathlib
import re
import sys
import tomllib

HERE = pathlib.Path(__file__).parent
RESULT = HERE / "tapline.ndjson"
FORMAT = "8.0.0"
COLUMNS_OF_A_ROW = 48  # the width of a dashboard in Kibana's units
LOGS = "tapline-logs"
LANDING = "start"  # `tapline setup` writes its version and a hash behind this page's description
TIME = "@timestamp"
HEAD_HEIGHT = 6
# A link goes to another time than the page it stands on: a connection is found as long as its indices live (setup: retention).
LINK_TIME = "(time:(from:now-90d,to:now))"
METRICS = {"count": "count", "sum": "sum", "avg": "avg", "min": "min", "max": "max", "unique": "cardinality"}
PANEL_WORDS = {"title", "kind", "size", "query", "value", "by", "over", "order", "note", "per_second"}


class Wrong(Exception):
    pass


def text_of(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def saved(kind, name, attributes, references=()):
    return {"attributes": attributes, "coreMigrationVersion": FORMAT, "id": name, "migrationVersion": {kind: FORMAT},
            "references": list(references), "type": kind}


def reference(name, kind, target):
    return {"id": target, "name": name, "type": kind}


def search_source(query, **more):
    source = {"filter": [], "query": {"language": "kuery", "query": query}}
    return {"searchSourceJSON": text_of(dict(source, **more))}


INDEX_REFERENCE = "kibanaSavedObjectMeta.searchSourceJSON.index"


def slug(title):
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


# Data views and saved searches

def link(target, query):
    """Where a value leads to: a dashboard, asked for that value. Relative, so that it stays in its space."""
    asked = query.replace('"', "%22").replace(" ", "%20").replace("'", "!'")
    return f"../app/dashboards#/view/tapline-{target}?_g={LINK_TIME}&_a=(query:(language:kuery,query:'{asked}'))"


def formats_of(views, fields):
    """How values of these fields are shown, None: of all fields that have a way."""
    made = {}
    for field, one in views["links"].items():
        made[field] = {"id": "url", "params": {"labelTemplate": "{{value}}", "urlTemplate": link(one["to"], one["query"])}}
    for field in views["formats"]["bytes"]:
        made[field] = {"id": "bytes"}
    for field in views["formats"]["plain"]:
        made[field] = {"id": "number", "params": {"pattern": "0"}}
    for field in views["formats"]["nanoseconds"]:
        made[field] = {"id": "duration", "params": {"inputFormat": "nanoseconds", "outputFormat": "asSeconds",
                                                    "outputPrecision": 3, "showSuffix": True}}
    return {field: made[field] for field in sorted(made) if fields is None or field in fields}


def data_view(name, title, formats):
    return saved("index-pattern", name, {
        "allowNoIndex": True, "fieldAttrs": "{}", "fieldFormatMap": text_of(formats), "fields": "[]", "runtimeFieldMap": "{}",
        "timeFieldName": TIME, "title": title, "typeMeta": "{}"})


def saved_search(name, title, about, view, columns, query=""):
    return saved("search", name, {
        "columns": columns, "description": about, "hits": 0, "sort": [[TIME, "desc"]],
        "kibanaSavedObjectMeta": search_source(query, highlightAll=True, indexRefName=INDEX_REFERENCE, version=True),
        "title": title, "version": 1}, [reference(INDEX_REFERENCE, "index-pattern", view)])


def views_made(views):
    yield data_view(LOGS, "logs-*", formats_of(views, None))
    for dataset, columns in views["datasets"].items():
        view = f"{LOGS}-{dataset}"
        yield data_view(view, f"logs-{dataset}-*", formats_of(views, columns))
        yield saved_search(f"tapline-search-{dataset}", f"Tapline: {dataset}", f"Documents of {dataset}", view, columns)
    for name, one in views["searches"].items():
        yield saved_search(f"tapline-search-{name}", f"Tapline: {one['title']}", one["title"], LOGS, one["columns"], one["query"])


# Panels

def value_of(word, number):
    """One value: `count`, or a function and a field, and what it is called."""
    what, _, label = word.partition(" as ")
    function, _, field = what.strip().partition(" ")
    if function not in METRICS or (function == "count") != (field == ""):
        raise Wrong(f"{word!r} is no value: count, or one of {', '.join(METRICS)} and a field")
    params = {"field": field} if field else {}
    if label:
        params["customLabel"] = label
    return {"enabled": True, "id": str(number), "params": params, "schema": "metric", "type": METRICS[function]}


def bucket_of(word, number, schema, order):
    """The values of a field, those with the largest numbers first."""
    what, _, label = word.partition(" as ")
    field, _, size = what.strip().partition(" ")
    params = {"field": field, "missingBucket": False, "missingBucketLabel": "Missing", "order": "desc", "orderBy": str(order),
              "otherBucket": False, "otherBucketLabel": "Other", "size": int(size or 10)}
    if label:
        params["customLabel"] = label
    return {"enabled": True, "id": str(number), "params": params, "schema": schema, "type": "terms"}


def time_bucket(number, is_per_second):
    """Per second: Kibana widens an interval of a second to what fits on the screen and divides the values by as much."""
    return {"enabled": True, "id": str(number), "schema": "segment", "type": "date_histogram", "params": {
        "drop_partials": False, "extended_bounds": {}, "field": TIME, "interval": "s" if is_per_second else "auto",
        "min_doc_count": 1, "scaleMetricValues": is_per_second, "useNormalizedEsInterval": True}}


def axes(values, kind, mode, is_sideways):
    label = values[0]["params"].get("customLabel") or "Documents"
    category = {"id": "CategoryAxis-1", "labels": {"filter": not is_sideways, "show": True, "truncate": 200}, "position":
                "left" if is_sideways else "bottom", "scale": {"type": "linear"}, "show": True, "style": {}, "title": {},
                "type": "category"}
    scale = {"id": "ValueAxis-1", "labels": {"filter": is_sideways, "rotate": 0, "show": True, "truncate": 100}, "name":
             "LeftAxis-1", "position": "bottom" if is_sideways else "left", "scale": {"mode": "normal", "type": "linear"},
             "show": True, "style": {}, "title": {"text": label if len(values) == 1 else ""}, "type": "value"}
    series = [{"data": {"id": one["id"], "label": one["params"].get("customLabel") or "Documents"}, "drawLinesBetweenPoints":
               True, "interpolate": "linear", "lineWidth": 2, "mode": mode, "show": True, "showCircles": True, "type": kind,
               "valueAxis": "ValueAxis-1"} for one in values]
    return {"addLegend": True, "addTimeMarker": False, "addTooltip": True, "categoryAxes": [category], "detailedTooltip": True,
            "fittingFunction": "linear", "grid": {"categoryLines": False}, "isVislibVis": False, "labels": {"show": False},
            "legendPosition": "right", "maxLegendLines": 1, "palette": {"name": "default", "type": "palette"}, "radiusRatio": 0,
            "seriesParams": series, "thresholdLine": {"color": "#E7664C", "show": False, "style": "full", "value": 10, "width": 1},
            "times": [], "truncateLegend": True, "type": kind, "valueAxes": [scale]}


def chart(kind, series_kind, mode):
    """Values over time, one series for each value of `by`."""
    def made(panel, values, order):
        if panel.get("over") != "time":
            raise Wrong(f'a panel of kind {panel["kind"]} needs over = "time"')
        aggs = values + [time_bucket(len(values) + 1, panel.get("per_second", False))]
        aggs += [bucket_of(word, len(aggs) + 1 + i, "group", order) for i, word in enumerate(panel.get("by", []))]
        return kind, aggs, axes(values, series_kind, mode, False)
    return made


def ranking(panel, values, order):
    aggs = values + [bucket_of(word, len(values) + 1 + i, ("segment", "group")[i], order)
                     for i, word in enumerate(panel["by"])]
    return "horizontal_bar", aggs, axes(values, "histogram", "stacked" if len(panel["by"]) > 1 else "normal", True)


def pie(panel, values, order):
    aggs = values + [bucket_of(word, len(values) + 1 + i, "segment", order) for i, word in enumerate(panel["by"])]
    return "pie", aggs, {
        "addLegend": True, "addTooltip": True, "distinctColors": True, "isDonut": True, "labels":
        {"last_level": True, "percentDecimals": 1, "position": "default", "show": True, "truncate": 100, "values": True,
         "valuesFormat": "percent"}, "legendPosition": "right", "maxLegendLines": 1, "nestedLegend": False,
        "palette": {"name": "default", "type": "palette"}, "truncateLegend": True, "type": "pie"}


def table(panel, values, order):
    aggs = values + [bucket_of(word, len(values) + 1 + i, "bucket", order) for i, word in enumerate(panel["by"])]
    return "table", aggs, {"autoFitRowToContent": False, "percentageCol": "", "perPage": 10, "showMetricsAtAllLevels": False,
                           "showPartialRows": False, "showToolbar": True, "showTotal": False, "totalFunc": "sum"}


def number(panel, values, order):
    return "metric", values, {"addLegend": False, "addTooltip": True, "type": "metric", "metric": {
        "colorSchema": "Green to Red", "colorsRange": [{"from": 0, "to": 10000}], "invertColors": False, "labels": {"show": True},
        "metricColorMode": "None", "percentageMode": False, "style": {"bgColor": False, "bgFill": "#000", "fontSize": 36,
                                                                      "labelColor": False, "subText": ""}, "useRanges": False}}


KINDS = {"area": chart("area", "area", "stacked"), "bars": chart("histogram", "histogram", "stacked"),
         "line": chart("line", "line", "normal"), "ranking": ranking, "pie": pie, "table": table, "number": number}


def visualization(name, title, about, state, query=None, references=()):
    """`query` is None where nothing is asked of the engine."""
    more = {} if query is None else {"indexRefName": INDEX_REFERENCE}
    refs = list(references) if query is None else [reference(INDEX_REFERENCE, "index-pattern", LOGS)]
    return saved("visualization", name, {
        "description": about, "kibanaSavedObjectMeta": search_source(query or "", **more), "title": title, "uiStateJSON": "{}",
        "version": 1, "visState": text_of(dict(state, title=title))}, refs)


def markdown(name, title, text):
    return visualization(name, title, "", {"aggs": [], "type": "markdown", "params": {
        "fontSize": 12, "markdown": text, "openLinksInNewTab": False}})


def controls(boxes):
    """What every dashboard can be narrowed by."""
    lists = [{"fieldName": one["field"], "id": slug(one["label"]), "indexPatternRefName": f"control_{i}_index_pattern", "label":
              one["label"], "options": {"dynamicOptions": False, "multiselect": True, "order": "desc", "size": 200, "type": "terms"},
              "parent": "", "type": "list"} for i, one in enumerate(boxes)]
    state = {"aggs": [], "type": "input_control_vis", "params": {
        "controls": lists, "pinFilters": False, "updateFiltersOnChange": True, "useTimeFilter": True}}
    return visualization("tapline-controls", "Tapline: sensor and dataset", "Narrows the dashboard", state,
                         references=[reference(f"control_{i}_index_pattern", "index-pattern", LOGS) for i in range(len(boxes))])


def panel_made(board, panel):
    """The object of one panel and its kind of embedding."""
    unknown = set(panel) - PANEL_WORDS | ({panel["kind"]} - set(KINDS))
    if unknown:
        raise Wrong(f"dashboards/{board['id']}.toml: {panel['title']}: no such word: {', '.join(sorted(unknown))}")
    name, title = f"tapline-{board['id']}-{slug(panel['title'])}", f"{panel['title']} [Tapline {board['title']}]"
    values = [value_of(word, i + 1) for i, word in enumerate(panel.get("value", ["count as Documents"]))]
    kind, aggs, params = KINDS[panel["kind"]](panel, values, panel.get("order", 1))
    query = panel.get("query", board.get("query", ""))
    return visualization(name, title, panel.get("note", ""), {"aggs": aggs, "params": params, "type": kind}, query)


# Dashboards

def placed(panels):
    """Panels side by side, left to right; a row is as high as its highest panel."""
    x = y = height = 0
    for kind, name, (w, h), title in panels:
        if x + w > COLUMNS_OF_A_ROW:
            x, y, height = 0, y + height, 0
        yield kind, name, {"h": h, "w": w, "x": x, "y": y}, title
        x, height = x + w, max(height, h)


def dashboard(board, panels):
    shown, references = [], []
    for i, (kind, name, place, title) in enumerate(placed(panels)):
        hidden = {"hidePanelTitles": True} if title is None else {}
        shown.append({"embeddableConfig": dict({"enhancements": {}}, **hidden), "gridData": dict(place, i=str(i)), "panelIndex":
                      str(i), "panelRefName": f"panel_{i}", "type": kind, "version": FORMAT, **({"title": title} if title else {})})
        references.append(reference(f"panel_{i}", kind, name))
    return saved("dashboard", f"tapline-{board['id']}", {
        "description": board["description"], "hits": 0, "kibanaSavedObjectMeta": search_source(""), "optionsJSON":
        text_of({"hidePanelTitles": False, "syncColors": False, "useMargins": True}), "panelsJSON": text_of(shown),
        "timeRestore": False, "title": f"Tapline: {board['title']}", "version": 1}, references)


def menu(boards, here):
    """One line of links; the page one is on is bold."""
    return " · ".join(f"**{one['title']}**" if one is here else f"[{one['title']}](#/view/tapline-{one['id']})" for one in boards)


def board_made(boards, board):
    """A dashboard: where else one can go and the controls on top, then its panels."""
    head = f"tapline-{board['id']}-menu"
    yield markdown(head, f"Menu [Tapline {board['title']}]", f"{menu(boards, board)}\n\n{board['description']}")
    panels = [("visualization", head, (32, HEAD_HEIGHT), None),
              ("visualization", "tapline-controls", (16, HEAD_HEIGHT), None)]
    if board["id"] == LANDING:
        yield markdown("tapline-start-pages", "Pages [Tapline Start]", "\n".join(
            f"- [**{one['title']}**](#/view/tapline-{one['id']}): {one['description']}" for one in boards if one is not board))
        panels.append(("visualization", "tapline-start-pages", (24, 22), "Where to look"))
    for panel in board["panel"]:
        if panel["kind"] == "search":
            panels.append(("search", f"tapline-search-{panel['of']}", panel["size"], panel["title"]))
            continue
        made = panel_made(board, panel)
        yield made
        panels.append(("visualization", made["id"], panel["size"], panel["title"]))
    yield dashboard(board, panels)


def described(name):
    path = HERE / "dashboards" / f"{name}.toml"
    try:
        return dict(tomllib.loads(path.read_text()), id=name)
    except tomllib.TOMLDecodeError as error:
        raise Wrong(f"dashboards/{path.name}: {error}") from None


def objects():
    views = tomllib.loads((HERE / "views.toml").read_text())
    boards = [described(name) for name in views["dashboards"]]
    made = list(views_made(views)) + [controls(views["controls"])]
    for board in boards:
        made += board_made(boards, board)
    names = [one["id"] for one in made]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise Wrong(f"two objects have one name: {', '.join(sorted(twice))}")
    return made


def main():
    try:
        result = "".join(text_of(one) + "\n" for one in objects())
    except (Wrong, tomllib.TOMLDecodeError, OSError) as error:
        print(f"{HERE}: {error}", file=sys.stderr)
        return 1
    if sys.argv[1:] == ["--check"]:
        is_same = RESULT.exists() and RESULT.read_text() == result
        if not is_same:
            print(f"{RESULT} is not what the descriptions make: run {sys.argv[0]}", file=sys.stderr)
        return 0 if is_same else 1
    if sys.argv[1:]:
        print(__doc__, file=sys.stderr)
        return 100
    RESULT.write_text(result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
