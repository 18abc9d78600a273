#!/usr/bin/env python3
"""table.py FILE: the tables of a run, in markdown, from its JSON lines."""
import json
import sys
from statistics import median

from measures import HISTORY, MEASURES, yardstick


def show(value):
    """Three digits that count, or all before the point."""
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}" if value < 1 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def row(cells):
    return "| " + " | ".join(cells) + " |"


def medians(lines):
    """(tool, key) → the median of its values, and how many rounds it has one of. Of peaks the highest counts."""
    found = {}
    for line in lines:
        if line["what"] == "value":
            found.setdefault((line["tool"], line["key"]), []).append((line["round"], line["value"]))
    result = {}
    for which, values in found.items():
        pick = max if which[1] == "server_memory" else median
        result[which] = pick(value for _, value in values), len({number for number, _ in values})
    return result


def compared(corpus, lines, versions):
    """The table of a corpus: a row for each measure, a column for each tool, and how dbakfs stands to the yardstick of the row."""
    values = medians(lines)
    seen = {line["tool"] for line in lines if "tool" in line}
    tools = ["dbakfs", *(tool for tool in versions if tool in seen and tool != "dbakfs")]
    rounds = max(line["round"] for line in lines)
    inexact = {(line["tool"], line["key"]) for line in lines if line["what"] == "differs"}
    print(f"\n### {corpus}, {'one round' if rounds == 1 else f'medians of {rounds} rounds'}\n")
    print(row(["", "", *tools, "yardstick", "dbakfs to it"]))
    print(row(["---"] * (len(tools) + 4)))
    for measure in MEASURES:
        cells = []
        for tool in tools:
            value, count = values.get((tool, measure.key), (None, rounds))
            cells.append(show(value) + (f" (n={count})" if count < rounds else "") + (" ≠" if (tool, measure.key) in inexact else ""))
        if not any(cells):
            continue
        held, (ours, _) = yardstick(measure, corpus), values.get(("dbakfs", measure.key), (None, 0))
        theirs, _ = values.get((held, measure.key), (None, 0))
        ratio = f"{ours / theirs:.2f} ×" if ours is not None and theirs else ""
        title = measure.title + (" (more is better)" if measure.more_is_better else "")
        print(row([title, measure.unit, *cells, held if ratio else "", ratio]))
    print()
    for line in lines:
        if line["what"] == "differs":
            print(f"* ≠ {line['tool']}, {line['key']}, round {line['round']}: {line['entries']} differences, the first `{line['some'][0]}`")
        if line["what"] == "failed":
            print(f"* {line['tool']}, {line['key']}, round {line['round']}: {line['why'].splitlines()[0]}")


def history(lines):
    """A row for each point that was looked at."""
    print("\n### history\n")
    print(row(["point", *(f"{title}, {unit}" if unit else title for _, title, unit in HISTORY)]))
    print(row(["---"] * (len(HISTORY) + 1)))
    for point in dict.fromkeys(line["point"] for line in lines):
        values = {line["key"]: line["value"] for line in lines if line["point"] == point and line["what"] == "value"}
        print(row([str(point), *(show(values.get(key)) for key, _, _ in HISTORY)]))


def main(path):
    """Prints the tables."""
    with open(path, encoding="utf-8") as results:
        lines = [json.loads(line) for line in results]
    versions = {}
    for line in lines:
        if line["what"] == "machine":
            versions = line["versions"]
            print(f"{line['cpus']} processors, {line['memory_gib']} GiB, {line['system']}, {line['file_system']}; {line['begun']}.\n")
            print("\n".join(f"* {tool}: {version}" for tool, version in versions.items()))
    for corpus in dict.fromkeys(line["corpus"] for line in lines if "corpus" in line):
        of_it = [line for line in lines if line.get("corpus") == corpus]
        if corpus == "history":
            history(of_it)
        else:
            compared(corpus, of_it, versions)


if __name__ == "__main__":
    main(sys.argv[1])
