#!/usr/bin/env python3
"""Prints how much of each layer runs in the tests, and fails below what is asked of it.

    coverage.py LCOV JSON EXCLUSIONS [LAYER=PERCENT...]

Takes what `cargo llvm-cov report` writes with `--lcov` and with `--json`. Comments are not counted, nor lines of unit
tests and of files that only tests compile. A line of EXCLUSIONS is `FILE | TEXT | REASON`: lines of the file that contain
the text are not counted, and one that is covered or gone is an error.
"""

import collections
import json
import re
import sys
from pathlib import Path

SOURCES = Path(__file__).resolve().parents[2] / "src"
# Files that are compiled for tests only.
FAULTS = ("client/dial/faults.rs", "client/faults.rs", "client/proxy/faults.rs", "io/faults.rs")
ONLY_TESTS = re.compile(r"^#\[cfg\((?:all\()?test\b.*\]$")
CODE = 0


def read_lines(lcov):
    """The count of each line, of each file."""
    counts, lines = collections.defaultdict(dict), {}
    for entry in Path(lcov).read_text().splitlines():
        kind, _, value = entry.partition(":")
        if kind == "SF":
            lines = counts[value]
        elif kind == "DA":
            number, count = value.split(",")[:2]
            lines[int(number)] = max(lines.get(int(number), 0), int(count))
    return counts


def read_regions(report):
    """The count of each region, of each file; of a generic function, the largest of its instances."""
    counts = collections.defaultdict(dict)
    for data in json.loads(Path(report).read_text())["data"]:
        for function in data["functions"]:
            for *place, count, file, _, kind in function["regions"]:
                if kind == CODE:
                    regions = counts[function["filenames"][file]]
                    regions[tuple(place)] = max(regions.get(tuple(place), 0), count)
    return counts


def read_exclusions(path):
    """The texts that are left out, of each file."""
    texts = collections.defaultdict(list)
    for line in Path(path).read_text().splitlines():
        if line and not line.startswith("#"):
            file, text, reason = (part.strip() for part in line.split(" | "))
            if not reason:
                sys.exit(f"{path}: no reason for {text}")
            texts[file].append(text)
    return texts


def first_of_tests(source):
    """Where the unit tests of a file begin: they stand at its end."""
    for number, line in enumerate(source, 1):
        if ONLY_TESTS.match(line) and source[number].startswith("mod tests"):
            return number
    return len(source) + 1


def percent(total, missed):
    return 100 * (total - missed) / total if total else 100


def main():
    lcov, report, exclusions, *thresholds = sys.argv[1:]
    thresholds = {name: float(least) for name, least in (item.split("=") for item in thresholds)}
    regions, excluded = read_regions(report), read_exclusions(exclusions)
    layers = collections.defaultdict(lambda: [0, 0, 0, 0, 0])
    missing, faults = [], []
    for name, lines in sorted(read_lines(lcov).items()):
        path = Path(name)
        if SOURCES not in path.parents:
            continue
        file = path.relative_to(SOURCES).as_posix()
        layer = file.split("/")[0]
        if "simulation" in file or "strict_inflate" in file or file in FAULTS:
            continue
        source = path.read_text().splitlines()
        end = first_of_tests(source)
        left_out = set()
        for text in excluded.pop(file, []):
            numbered = enumerate(source[: end - 1], 1)
            found = {number for number, line in numbered if text in line and lines.get(number) == 0}
            if not found:
                faults.append(f"{file}: `{text}` is covered or gone: take it off the list")
            left_out |= found
        comments = {n for n, line in enumerate(source, 1) if line.lstrip().startswith("//")}
        counted = {n: count for n, count in lines.items() if n < end and n not in left_out | comments}
        areas = {
            place: count
            for place, count in regions[name].items()
            if place[0] < end and place[0] not in left_out
        }
        bad = sorted(n for n, count in counted.items() if count == 0)
        bad_areas = sorted(place for place, count in areas.items() if count == 0)
        sums = layers[layer]
        figures = (len(counted), len(bad), len(areas), len(bad_areas), len(left_out))
        for index, figure in enumerate(figures):
            sums[index] += figure
        if layer in thresholds:
            missing.extend(f"{file}:{n}: {source[n - 1].strip()}" for n in bad)
            missing.extend(
                f"{file}:{line}:{column}: a part of: {source[line - 1].strip()}"
                for line, column, *_ in bad_areas
                if line not in bad
            )
    faults.extend(f"{file} is in the list and not in the report" for file in excluded)

    print("\n".join(missing))
    print(f"\n{'layer':<12}{'lines':>8}{'missed':>8}{'':>9}{'regions':>10}{'missed':>8}{'':>9}{'left out':>10}")
    for layer, (lines, bad, areas, bad_areas, left_out) in sorted(layers.items()):
        of_lines, of_areas = percent(lines, bad), percent(areas, bad_areas)
        print(
            f"{layer:<12}{lines:>8}{bad:>8}{of_lines:>7.2f} %{areas:>10}{bad_areas:>8}{of_areas:>7.2f} %"
            f"{left_out:>10}"
        )
        if of_lines < thresholds.get(layer, 0):
            faults.append(f"{layer}: {of_lines:.2f} % of its lines, less than {thresholds[layer]} %")
    for layer in thresholds.keys() - layers.keys():
        faults.append(f"nothing is known of {layer}")
    if faults:
        sys.exit("\n".join(faults))


if __name__ == "__main__":
    main()
