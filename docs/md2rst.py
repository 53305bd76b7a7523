"""Just enough Markdown for our own .md files (ADRs, the map format, the changelog), as reStructuredText.

Sphinx reads reStructuredText only, and a Markdown parser would be one more dependency. What is known: headings, paragraphs,
lists (a nested one is indented), code in backticks, fenced and indented blocks, tables, **bold**, links. Anything else
comes out as plain text, and `sphinx-build -W` says so where that is wrong.
SPDX-License-Identifier: Apache-2.0"""

import re

HEADINGS = "=-^~"


def inline(text):
    """One run of text: `code` to ``code``, [text](link), everything else literally (but **bold** stays)."""
    out = ""
    for i, part in enumerate(re.split(r"(?<!`)`([^`]+)`", text)):
        if i % 2 == 1:
            before = "\\ " if out and not re.search(r"[\s(\[\"'/-]$", out) else ""
            out += f"{before}``{part}``"
            continue
        if i > 0 and part and re.match(r"[^\s.,:;!?)\]\"'/-]", part):
            part = "\\ " + part
            out += part[:2]
            part = part[2:]
        part = part.replace("\\", "\\\\").replace("|", "\\|")
        part = re.sub(r"_(?=\W|$)", r"\\_", part)
        part = re.sub(r"(?<!\*)\*(?!\*)", r"\\*", part)
        part = re.sub(r"\[([^\]]+)\]\(([^)]+)\)", r"`\1 <\2>`__", part)
        out += part
    return out


def cells(row):
    return [c.strip() for c in re.split(r"(?<!\\)\|", row.strip().strip("|"))]


def table(rows):
    out = [".. list-table::", "   :header-rows: 1", ""]
    for row in [rows[0]] + rows[2:]:
        for i, cell in enumerate(cells(row)):
            out.append(f"   {'*' if i == 0 else ' '} - {inline(cell)}")
    return out + [""]


def take(lines, at, test):
    end = at
    while end < len(lines) and test(lines[end]):
        end += 1
    return lines[at:end], end


def convert(markdown):
    lines = markdown.expandtabs(4).split("\n")
    out = []
    at = 0
    in_list = False
    while at < len(lines):
        line = lines[at]
        heading = re.match(r"(#{1,4}) (.*)", line)
        item = re.match(r"( *)- (.*)", line)
        blank_before = at == 0 or lines[at - 1].strip() == ""
        if line.startswith("```"):
            block, at = take(lines, at + 1, lambda l: not l.startswith("```"))
            out += ["", "::", ""] + ["   " + l for l in block] + [""]
            at += 1
            continue
        if heading:
            text = inline(heading.group(2))
            out += ["", text, HEADINGS[len(heading.group(1)) - 1] * len(text), ""]
            in_list = False
        elif line.startswith("|") and at + 1 < len(lines) and set(lines[at + 1]) <= set("|-: "):
            rows, at = take(lines, at, lambda l: l.startswith("|"))
            out += [""] + table(rows)
            continue
        elif line.startswith("    ") and blank_before and not in_list:
            block, at = take(lines, at, lambda l: l.startswith("    ") or not l.strip())
            out += ["::", ""] + ["   " + l[4:] for l in block] + [""]
            continue
        elif item:
            if not in_list or len(item.group(1)) != in_list - 1:
                out.append("")
            in_list = len(item.group(1)) + 1
            out.append(f"{item.group(1)}- {inline(item.group(2))}")
        else:
            if line.strip() and not line.startswith(" "):
                if in_list and not blank_before:
                    out.append("")
                in_list = False
            # Inline code may be broken over two lines: a paragraph is converted as a whole.
            indent = re.match(r" *", line).group(0)
            block, at = take(lines, at, lambda l: l.strip() and not re.match(r"(#{1,4} | *- |```|\|)", l))
            if block:
                out += [indent + l.strip() if i else indent + l.strip() for i, l in enumerate(inline("\n".join(block)).split("\n"))]
                continue
            out.append("")
        at += 1
    return "\n".join(out) + "\n"
