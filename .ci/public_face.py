#!/usr/bin/env python3
"""The public face of framewire, as rustdoc shows it: every item, its methods, and what it implements.

usage: .ci/public_face.py [--write]

Compares the face with docs/public_face.txt, which a change of the face has to change as well; --write writes it.
Needs `cargo doc` only. What rustdoc says of other crates' blanket implementations is left out.
"""

import difflib
import html.parser
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
RECORD = ROOT / "docs" / "public_face.txt"
VOID = {"area", "base", "br", "col", "hr", "img", "input", "link", "meta", "wbr"}
# Sections of a page, and which headers in them belong to the face.
SECTIONS = {
    "implementations-list": {"h3", "h4"},
    "trait-implementations-list": {"h3"},
    "synthetic-implementations-list": {"h3"},
}
# Traits of the compiler's own that no program can name.
UNSTABLE = re.compile(r"^impl(<[^>]*>)? !?(Freeze|StructuralPartialEq|UnsafeUnpin) for ")


class Page(html.parser.HTMLParser):
    """Gathers the declaration of an item and the headers of its implementations."""

    def __init__(self):
        super().__init__()
        self.open = []
        self.text = None
        self.depth = 0
        self.lines = []

    def handle_starttag(self, tag, attributes):
        if tag in VOID:
            return
        attributes = dict(attributes)
        self.open.append((tag, attributes.get("id", "")))
        if self.text is None and self.is_wanted(tag, (attributes.get("class") or "").split()):
            self.text, self.depth = [], len(self.open)

    def is_wanted(self, tag, classes):
        if "item-decl" in classes:
            return True
        if "code-header" not in classes:
            return False
        sections = [SECTIONS[name] for _, name in self.open if name in SECTIONS]
        return bool(sections) and tag in sections[-1]

    def handle_endtag(self, tag):
        if tag in VOID:
            return
        if self.text is not None and len(self.open) == self.depth:
            self.lines.append(" ".join("".join(self.text).replace("ⓘ", "").split()))
            self.text = None
        self.open.pop()

    def handle_data(self, data):
        if self.text is not None:
            self.text.append(data)


def face():
    subprocess.run(["cargo", "doc", "--quiet", "--locked", "--no-deps", "--all-features"], cwd=ROOT, check=True)
    metadata = subprocess.run(
        ["cargo", "metadata", "--format-version", "1", "--no-deps", "--offline"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout
    target = re.search(r'"target_directory":"([^"]+)"', metadata).group(1)
    folder = pathlib.Path(target) / "doc" / "framewire"
    # Without what an earlier state of the sources has left behind.
    index = (folder / "all.html").read_text()
    pages = sorted(set(re.findall(r'href="((?:\w+/)*(?:struct|enum|trait|fn|constant|type|macro|union|attr|derive|static)\.\w+\.html)"', index)))
    lines = []
    for path in pages:
        page = Page()
        page.feed((folder / path).read_text())
        name = re.sub(r"\w+\.(\w+)\.html$", r"\1", path).replace("/", "::")
        lines += [f"{name}: {line}" for line in page.lines if not UNSTABLE.search(line)]
    return lines


def main():
    if sys.argv[1:] not in ([], ["--write"]):
        sys.exit(__doc__)
    lines = face()
    if len(lines) < 1000:
        sys.exit(f"only {len(lines)} lines: the pages of this rustdoc are not understood")
    if sys.argv[1:]:
        RECORD.write_text("\n".join(lines) + "\n")
        return
    recorded = RECORD.read_text().splitlines()
    changes = list(difflib.unified_diff(recorded, lines, "docs/public_face.txt", "the public face", lineterm="", n=0))
    if changes:
        print("\n".join(changes))
        sys.exit("the public face has changed: if that is meant, run .ci/public_face.py --write")
    print(f"{len(lines)} lines, as recorded")


main()
