# SPDX-License-Identifier: Apache-2.0
"""Every document and dead letter made of every file of the corpus, and every golden document, is valid by the JSON Schema
that `tapline map export json-schema` gives for its dataset. The validator is python's jsonschema, with formats on.

76,000 documents one by one would take minutes, and most differ in nothing that a schema looks at. So each is boiled down
to all that our schemas can see of it: its keys, the type of each value, which of the schemas' own patterns, formats and
constants each text fits, and of each list whether it is empty or repeats itself. Two documents of the same dataset that
boil down to the same are judged the same by these schemas, so one of each kind is given to the validator. That is only true
of the keywords in KEYWORDS: a schema with any other fails the check."""
import concurrent.futures
import json
import os
import re
import subprocess
import sys
import tempfile

import enriched
import observables

try:
    import jsonschema
except ImportError:
    sys.exit("FAILED: the schema check needs jsonschema: run it with .venv/bin/python (.ci/deps test makes that)")

GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "golden")
CONFIGS = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "configs"))
KEYWORDS = {"$schema", "$defs", "$ref", "title", "description", "type", "properties", "patternProperties", "required",
            "additionalProperties", "items", "uniqueItems", "minItems", "anyOf", "const", "enum", "pattern", "format"}
FILES_AT_ONCE = 100
SHOWN_MAX = 10


def check(tapline, data):
    problems = []
    with tempfile.TemporaryDirectory() as scratch:
        schemas = Schemas(tapline, scratch)
        problems += schemas.problems
        files = sorted(os.path.join(place, name) for part in ("zeek", "snort", "suricata", "ours")
                       for place, _, names in os.walk(os.path.join(data, part)) for name in names)
        jobs = [(tapline, scratch, files[i:i + FILES_AT_ONCE]) for i in range(0, len(files), FILES_AT_ONCE)]
        with concurrent.futures.ProcessPoolExecutor(max_workers=2) as pool:
            results = list(pool.map(judge_files, jobs))
        results.append(judge_golden(schemas))
        problems += judge_enriched(schemas) + judge_intel(tapline, scratch, data)
    documents = sum(result["documents"] for result in results)
    kinds = set().union(*(result["kinds"] for result in results))
    for result in results:
        problems += result["problems"]
    print("    %d files, %d documents of %d kinds, %d schemas" % (len(files), documents, len(kinds), len(schemas.by_name)))
    if len(files) < 500 or documents < 60000:
        problems.append("only %d files with %d documents were found" % (len(files), documents))
    return problems[:SHOWN_MAX] + (["… and %d more" % (len(problems) - SHOWN_MAX)] if len(problems) > SHOWN_MAX else [])


class Schemas:
    """The exported schemas, by dataset; made once a process."""

    def __init__(self, tapline, scratch):
        self.folder = os.path.join(scratch, "schemas")
        self.problems, self.by_name, self.any, self.kept = [], {}, [], {}
        if not os.path.exists(self.folder):
            subprocess.run([tapline, "map", "export", "--maps", CONFIGS, "--to", self.folder, "json-schema"], check=True,
                           stdout=subprocess.DEVNULL)
        self.patterns, self.formats, self.constants = set(), set(), set()
        for row in self.read("index.json"):
            schema = self.read(row["schema"])
            jsonschema.Draft202012Validator.check_schema(schema)
            self.look(schema, row["schema"])
            validator = jsonschema.Draft202012Validator(schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER)
            if "*" in row["dataset"]:
                self.any.append((re.compile(re.escape(row["dataset"]).replace(r"\*", "[a-z0-9_]*") + "$"), row["dataset"],
                                 validator))
            else:
                self.by_name[row["dataset"]] = validator
        self.any.sort(key=lambda row: -len(row[1]))
        self.tests = [re.compile(pattern).search for pattern in sorted(self.patterns)]
        self.tests += [self.format_test(name) for name in sorted(self.formats)]

    def read(self, name):
        with open(os.path.join(self.folder, name), encoding="utf-8") as file:
            return json.load(file)

    def look(self, schema, name):
        """Collect what a schema asks of texts; refuse what fingerprints do not show."""
        for key, value in schema.items():
            if key not in KEYWORDS:
                self.problems.append("%s: the keyword %s is not covered by this check" % (name, key))
            elif key in ("properties", "patternProperties", "$defs"):
                for member in value.values():
                    self.look(member, name)
            elif key in ("items", "additionalProperties") and isinstance(value, dict):
                self.look(value, name)
            elif key == "anyOf":
                for member in value:
                    self.look(member, name)
            elif key == "pattern":
                self.patterns.add(value)
            elif key == "format":
                self.formats.add(value)
            elif key == "const":
                self.constants.add(value)
            elif key == "enum":
                self.constants.update(value)

    @staticmethod
    def format_test(name):
        checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
        return lambda text: checker.conforms(text, name)

    def of(self, dataset):
        """The schema's name and its validator."""
        if dataset in self.by_name:
            return dataset, self.by_name[dataset]
        return next(((name, validator) for pattern, name, validator in self.any if pattern.match(dataset)), (None, None))

    def text_kind(self, text):
        kind = self.kept.get(text)
        if kind is None:
            kind = (text if text in self.constants else "",) + tuple(bool(test(text)) for test in self.tests)
            self.kept[text] = kind
        return kind

    def kind(self, value):
        """All that the schemas can see of a value."""
        if isinstance(value, dict):
            return tuple((key, self.kind(value[key])) for key in sorted(value))
        if isinstance(value, list):
            texts = [json.dumps(item, sort_keys=True) for item in value]
            return (len(value) == 0, len(set(texts)) == len(texts), frozenset(self.kind(item) for item in value))
        if isinstance(value, str):
            return self.text_kind(value)
        if isinstance(value, float):
            return "whole" if value.is_integer() else "float"
        return "int" if isinstance(value, int) and not isinstance(value, bool) else value


class Judge:
    def __init__(self, schemas):
        self.schemas = schemas
        self.documents, self.kinds, self.problems = 0, set(), []

    def look(self, document, where):
        self.documents += 1
        dataset = document.get("event", {}).get("dataset", "")
        name, validator = self.schemas.of(dataset)
        if validator is None:
            self.problems.append("%s: no schema for the dataset %r" % (where, dataset))
            return
        kind = (name, self.schemas.kind(document))
        if kind in self.kinds:
            return
        self.kinds.add(kind)
        for error in list(validator.iter_errors(document))[:3]:
            self.problems.append("%s: %s: %s: %s" % (where, dataset, ".".join(str(part) for part in error.absolute_path),
                                                     error.message[:300]))

    def result(self):
        return {"documents": self.documents, "kinds": self.kinds, "problems": self.problems}


def judge_intel(tapline, scratch, data):
    """The same of what intelligence says of our own capture."""
    folder = os.path.join(data, "ours", "zeek", "json")
    intel = ["--intel", os.path.join(data, "ours", "intel", "intel.dat")]
    result = judge_files((tapline, scratch, [os.path.join(folder, name) for name in sorted(os.listdir(folder))], intel))
    found = sum("enrichments" in str(kind) for kind in result["kinds"])
    return result["problems"] + (["only %d kinds of documents with enrichments" % found] if found < 50 else [])


def judge_files(job):
    tapline, scratch, files, *more = job
    judge = Judge(Schemas(tapline, scratch))
    dead = os.path.join(scratch, "dead-%d" % os.getpid())
    run = subprocess.run([tapline, "normalize", "--maps", CONFIGS, "--dead-letter", dead, *sum(more, []), "--"] + files,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    if run.returncode != 0:
        judge.problems.append("exit code %d: %s" % (run.returncode, run.stderr.decode("utf-8", "replace")[-300:]))
    with open(dead, "rb") as file:
        letters = file.read()
    for line in run.stdout.split(b"\n") + letters.split(b"\n"):
        if line:
            document = json.loads(line)
            judge.look(document, "%s at %s" % (document["log"]["file"]["path"], document["log"]["offset"]))
    return judge.result()


def golden_documents():
    for place, _, names in sorted(os.walk(GOLDEN)):
        if "out.ndjson" in names:
            with open(os.path.join(place, "out.ndjson"), "rb") as file:
                for number, line in enumerate(file, 1):
                    document = json.loads(line)
                    if "dead" not in document:
                        yield "%s:%d" % (os.path.relpath(file.name, GOLDEN), number), document


def judge_enriched(schemas):
    """What enrichment adds is valid in every document that has something to look up, and nothing else is."""
    problems, count = [], 0
    for where, document in golden_documents():
        _, validator = schemas.of(document["event"]["dataset"])
        if not observables.expected(document):
            continue
        count += 1
        full = enriched.enriched(document)
        problems += ["%s, enriched: %s" % (where, error.message[:300]) for error in list(validator.iter_errors(full))[:2]]
        full["threat"]["enrichments"][1]["indicator"]["url"]["anchor"] = "c"
        if validator.is_valid(full):
            problems.append("%s: threat.enrichments may have a member that ECS has not" % where)
    return problems + (["only %d enriched documents" % count] if count < 300 else [])


def judge_golden(schemas):
    judge = Judge(schemas)
    for where, document in golden_documents():
        judge.look(document, where)
    return judge.result()
