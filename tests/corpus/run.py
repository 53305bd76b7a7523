#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Corpus tests: what `tapline normalize` makes of thousands of real records, checked by facts that do not come from it.

  run.py TAPLINE [CHECK…]

  oracle      every document is what ../oracle derives without the program
  kept        no value of any field is missing in the document
  accounting  over every file: no crash, records in = documents + dead letters, every dead letter's reason is true
  same        one log as TSV, JSON, ISO and millisecond times, rotated, with extra fields: the same documents
  community   Community IDs against the specification's tables and against what Zeek computed
  names       every name that the integrations of Elastic give is there
  order       a document depends on its record alone, not on the records around it
  schema      every document and dead letter is valid by the JSON Schema of its topic (needs jsonschema: .venv)
  observables what enrichment looks up is what ../oracle/observables.py finds in the documents, and what Zeek's intel hit
  intel       what indicators drawn from the corpus add to it is what ../oracle/intel.py adds
  snort       Snort in each of its formats, and Suricata's fast.log and eve.json, tell the same of each alert; none is lost

Data: $TAPLINE_DATA, else ../shared/data beside the repository. Exit 77: there is none (1 if CI=true).
"""
import importlib
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.normpath(os.path.join(HERE, "..", ".."))
sys.path.insert(0, os.path.join(ROOT, "tests", "oracle"))

CHECKS = ("oracle", "kept", "accounting", "same", "community", "snort", "names", "order", "observables", "intel", "schema")


def data_folder():
    given = os.environ.get("TAPLINE_DATA")
    folder = given or os.path.normpath(os.path.join(ROOT, "..", "shared", "data"))
    if os.path.isdir(os.path.join(folder, "ours", "zeek")):
        return folder
    message = "corpus: no data at %s (set TAPLINE_DATA)" % folder
    if os.environ.get("CI") == "true" or given:
        sys.exit("FAILED: " + message)
    print("SKIPPED, NOTHING WAS TESTED: " + message)
    sys.exit(77)


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    data = data_folder()
    tapline = os.path.abspath(sys.argv[1])
    failed = 0
    for name in sys.argv[2:] or CHECKS:
        if name not in CHECKS:
            sys.exit("no check %s; there are: %s" % (name, ", ".join(CHECKS)))
        problems = importlib.import_module("check_" + name).check(tapline, data)
        failed += bool(problems)
        print("%s corpus %s" % ("FAIL" if problems else "ok  ", name))
        for line in problems:
            print("    " + line)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
