"""Sphinx configuration. The reference is printed by the program itself (`tapline reference …`, named by $TAPLINE), so it
cannot differ from the code; our Markdown files are converted by md2rst.py. Both go to docs/_generated/.
SPDX-License-Identifier: Apache-2.0"""

import importlib.util
import os
import pathlib
import re
import subprocess
import sys

DOCS = pathlib.Path(__file__).resolve().parent
TOP = DOCS.parent
GENERATED = DOCS / "_generated"
sys.path.insert(0, str(DOCS))
import md2rst  # noqa: E402

TAPLINE = os.environ.get("TAPLINE", "build/release/cmd/tapline")


def tapline(*args):
    program = TOP / TAPLINE
    try:
        return subprocess.run([program, *args], check=True, cwd=TOP, stdout=subprocess.PIPE).stdout.decode()
    except OSError as error:
        sys.exit(f"docs/conf.py: {program}: {error.strerror}; build it first (`make build`), or name it with TAPLINE=")


def write(name, text):
    path = GENERATED / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def title_of(rst):
    return re.search(r"^(.+)\n=+$", rst, re.M).group(1)


for part in ("options", "feeds", "counters", "metrics", "problems", "fields", "coverage", "observables", "methods", "commands"):
    write(f"{part}.inc", tapline("reference", part))



def literal(text):
    """Our Markdown's `code` as reStructuredText has it."""
    return re.sub(r"`([^`]+)`", r"``\1``", text.replace("*", r"\*"))


def troubleshooting():
    """docs/troubleshooting.tsv as definition lists: problems first, then the log's messages by stage."""
    rows = [line.split("\t") for line in (DOCS / "troubleshooting.tsv").read_text().splitlines()[2:]]
    text, last = ["Problems", "-" * 8, ""], None
    for level, stage, message, cause, cure in rows:
        if stage != last and level != "problem":
            title = f"Messages of stage {stage}"
            text += [title, "-" * len(title), ""]
        last = stage
        text += [f".. _problem-{message}:", ""] if level == "problem" else []
        term = f"``{message}``" if level == "problem" else f"*{level}* ``{message}``"
        text += [term, f"   {literal(cause)}", "", f"   **What to do:** {literal(cure)}", ""]
    return "\n".join(text)


write("troubleshooting.inc", troubleshooting())

pages = [line.split("\t") for line in tapline("reference", "man").splitlines()]
for page, _ in pages:
    write(f"man/{page}.rst", tapline("reference", "man", page))

write("map-format.rst", md2rst.convert((TOP / "configs/maps/FORMAT.md").read_text()))
write("changelog.rst", md2rst.convert((TOP / "CHANGELOG.md").read_text()))
adrs = sorted((DOCS / "adr").glob("[0-9]*.md"))
for adr in adrs:
    write(f"adr/{adr.stem}.rst", md2rst.convert(adr.read_text()))
for kept in (GENERATED / "adr").glob("*.rst"):
    if kept.stem not in [adr.stem for adr in adrs]:
        kept.unlink()

project = "tapline"
author = "the tapline project"
copyright = "the tapline project, Apache-2.0"
release = tapline("version").split()[1]
version = release
exclude_patterns = ["_build", "adr/*.md"]
html_theme = "sphinx_rtd_theme" if importlib.util.find_spec("sphinx_rtd_theme") else "alabaster"
html_title = f"tapline {release}"
html_copy_source = False
highlight_language = "none"

man_pages = [("man/tapline", "tapline", "sensor logs in, searchable ECS documents out", author, 1)]
man_pages += [(f"_generated/man/{page}", f"tapline-{page}", summary.rstrip("."), author, 1) for page, summary in pages]
man_pages += [
    ("man/tapline.yml", "tapline.yml", "configuration of tapline", author, 5),
    ("_generated/map-format", "tapline-map", "what becomes of a sensor's fields", author, 5),
]
