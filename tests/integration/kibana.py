"""What Kibana asks a search engine for a saved object, worked out of the object alone: the request of a visualization of the
aggregation kind, the query language of its search bar, links of a data view.

Written from Kibana's documentation and from requests that it shows under Inspect; it knows nothing of how our objects are made.
SPDX-License-Identifier: Apache-2.0
"""
import json
import re
import urllib.parse

BUCKETS = ("terms", "date_histogram")
WORDS = re.compile(r'\s*(?:(\()|(\))|(:|<=|>=|<|>)|"((?:[^"\\]|\\.)*)"|([^\s()":<>]+))')
RANGES = {"<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}


class Kql:
    """The part of the language that we use: and, or, not, brackets, `field: value`, `field: (a or b)`, `field: *`, ranges."""

    def __init__(self, text):
        self.words, self.at, self.fields = [], 0, set()
        end = 0
        while text[end:].strip():
            found = WORDS.match(text, end)
            assert found, f"no KQL at {end}: {text}"
            end = found.end()
            opening, closing, operator, quoted, bare = found.groups()
            self.words.append(("(", "") if opening else (")", "") if closing else ("op", operator) if operator else
                              ("quoted", quoted) if quoted is not None else (bare.lower() if bare.lower() in ("and", "or", "not")
                                                                             else "bare", bare))
        self.text = text

    def kind(self):
        return self.words[self.at][0] if self.at < len(self.words) else None

    def take(self, *kinds):
        assert self.kind() in kinds, f"{self.kind()} where {kinds} should be, word {self.at} of {self.text}"
        self.at += 1
        return self.words[self.at - 1][1]

    def query(self):
        if not self.words:
            return {"match_all": {}}
        made = self.joined("or", lambda: self.joined("and", self.negated))
        assert self.at == len(self.words), f"more than a query: {self.text}"
        return made

    def joined(self, word, part):
        parts = [part()]
        while self.kind() == word:
            self.at += 1
            parts.append(part())
        if len(parts) == 1:
            return parts[0]
        return {"bool": {"should": parts, "minimum_should_match": 1} if word == "or" else {"filter": parts}}

    def negated(self):
        if self.kind() == "not":
            self.at += 1
            return {"bool": {"must_not": self.negated()}}
        if self.kind() == "(":
            self.at += 1
            made = self.joined("or", lambda: self.joined("and", self.negated))
            self.take(")")
            return made
        field = self.take("bare")
        self.fields.add(field)
        operator = self.take("op")
        if operator != ":":
            return {"range": {field: {RANGES[operator]: self.take("bare", "quoted")}}}
        if self.kind() == "(":
            self.at += 1
            made = self.joined("or", lambda: self.value(field))
            self.take(")")
            return made
        return self.value(field)

    def value(self, field):
        kind, text = self.kind(), self.take("bare", "quoted")
        if kind == "quoted":
            return {"match_phrase": {field: text}}
        if text == "*":
            return {"exists": {"field": field}}
        assert "*" not in text, f"a pattern: {self.text}"
        return {"match": {field: text}}


def metric(agg):
    if agg["type"] == "count":
        return {}
    return {agg["id"]: {agg["type"]: {"field": agg["params"]["field"]}}}


def bucket(agg, metrics, interval):
    params = agg["params"]
    if agg["type"] == "date_histogram":
        return {"date_histogram": {"field": params["field"], "fixed_interval": interval, "min_doc_count": params["min_doc_count"]}}
    by = next((one for one in metrics if one["id"] == params["orderBy"]), None)
    assert by is not None, f"ordered by {params['orderBy']}, which is no value"
    order = {"_count" if by["type"] == "count" else by["id"]: params["order"]}
    return {"terms": {"field": params["field"], "order": order, "size": params["size"]}, "aggs": metric(by)}


def request(state, query, interval):
    """The body that a visualization's aggregations become; buckets within buckets, values in the innermost."""
    metrics = [agg for agg in state["aggs"] if agg["type"] not in BUCKETS]
    buckets = [agg for agg in state["aggs"] if agg["type"] in BUCKETS]
    body = {"size": 0, "track_total_hits": True,
            "query": {"bool": {"filter": [query, {"range": {"@timestamp": {"gte": "1970-01-01", "lte": "2100-01-01"}}}]}}}
    place = body
    for agg in buckets:
        made = bucket(agg, metrics, interval)
        place.setdefault("aggs", {})[agg["id"]] = made
        place = made
    for agg in metrics:
        place.setdefault("aggs", {}).update(metric(agg))
    return body


def rows(state, answer):
    """What it shows: one row for each innermost bucket, its keys and its values."""
    metrics = [agg for agg in state["aggs"] if agg["type"] not in BUCKETS]
    found = [((), dict(answer.get("aggregations", {}), doc_count=answer["hits"]["total"]["value"]))]
    for agg in state["aggs"]:
        if agg["type"] in BUCKETS:
            found = [(keys + (one["key"],), one) for keys, here in found for one in here[agg["id"]]["buckets"]]
    return [(keys, [here["doc_count"] if agg["type"] == "count" else here[agg["id"]]["value"] for agg in metrics])
            for keys, here in found]


def link_target(template, value):
    """Where a link of a data view leads for a value: the dashboard's id, and what it is asked."""
    url = template.replace("{{value}}", urllib.parse.quote(value, safe="!'()*"))
    found = re.fullmatch(r"\.\./app/dashboards#/view/([^?]+)\?_g=\(time:\(from:now-\w+,to:now\)\)"
                         r"&_a=\(query:\(language:kuery,query:'((?:[^'!]|!.)*)'\)\)", url)
    assert found, url
    assert " " not in url and '"' not in url, f"a browser would change {url}"
    return found[1], re.sub(r"!(.)", r"\1", urllib.parse.unquote(found[2]))


def fields_of(state):
    """Fields that are aggregated, each with what is done to it."""
    return [(agg["params"]["field"], agg["type"]) for agg in state["aggs"] if "field" in agg["params"]]


def loaded(path):
    return [json.loads(line) for line in path.read_text().splitlines()]
