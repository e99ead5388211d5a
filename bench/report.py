# SPDX-License-Identifier: GPL-2.0-or-later
"""What a run found: a table for people (Markdown), bench.json for programs, SVG charts for docs/performance.md."""
import json, os, shutil, statistics, subprocess

import targets
from targets import number
from workloads import best, paired

CHARTS = (("4k", "4 KiB random", "thousand I/Os per second", 1000, ("r1", "r16", "w1", "w16", "touch-snapshot", "touch-thin")),
          ("seq", "1 MiB sequential, depth 4", "MiB/s", 1, ("seqread", "seqwrite")),
          ("loop", "4 KiB random through a loop device, depth 16", "thousand I/Os per second", 1000, ("loop-r16", "loop-w16")))

REASON_CHARACTERS = 120  # of why something was skipped; all of it is in bench.json


def summary(workload, medium, figures, skipped, repeat, remarks=None):
    """One workload on one medium, as it stands in bench.json."""
    rows = {name: [figure[workload.key] for figure in list_] for name, list_ in figures.items() if list_}
    base = best(workload.base, rows) if workload.base else None
    variants = {}
    for name in workload.variants:
        if rows.get(name):
            extra = {key: statistics.median(figure[key] for figure in figures[name]) for key in figures[name][0]
                     if key not in ("command", "ios", workload.key)}
            variants[name] = {"median": statistics.median(rows[name]), "min": min(rows[name]), "max": max(rows[name]), "rounds": rows[name],
                              "ratio": paired(rows[name], rows[base]) if base else None, "more": extra,
                              "remark": (remarks or {}).get(workload.peer_of(name)), "command": figures[name][0].get("command")}
        elif name in skipped:
            variants[name] = {"skipped": skipped[name]}
    judgements = []
    for target in workload.targets:
        judged = target.judge(figures, workload.key) if medium in target.media else None
        if judged:
            judgements.append({"row": target.row or workload.name, "target": target.text(workload.unit), **judged})
    return {"medium": medium, "workload": workload.name, "title": workload.title, "unit": workload.unit, "lower_is_better": workload.lower,
            "base": base, "repeat": repeat, "variants": variants, "targets": judgements}


def reason(text):
    return (text if text.startswith("failed: ") else f"skipped: {text}")[:REASON_CHARACTERS]


def table(result):
    """One workload as Markdown that is a table in plain text too."""
    lines = [f"### {result['title']} ({result['medium']})", "", f"`{result['repeat']}`", ""]
    cells = [["", result["unit"], "min", "max", f"x {result['base']}" if result["base"] else "", "also"]]
    for name, row in result["variants"].items():
        if "skipped" in row:
            cells.append([name, "-", "", "", "", reason(row["skipped"])])
            continue
        also = [f"{key} {number(value)}" for key, value in row["more"].items() if key not in ("iops", "mib_s")]
        also = ", ".join(also + ([row["remark"]] if row["remark"] else []))
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
        cells.append([name, number(row["median"]), number(row["min"]), number(row["max"]), ratio, also])
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    rule = ["-" * max(3, widths[0]), *("-" * max(2, width - 1) + ":" for width in widths[1:5]), "-" * max(3, widths[5])]
    for row in (cells[0], rule, *cells[1:]):
        first, *middle, last = row
        lines.append("| " + " | ".join([first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(middle, widths[1:5])),
                                        last.ljust(widths[5])]) + " |")
    if result["targets"]:
        lines.append("")
    for target in result["targets"]:
        lines.append(f"- {'met' if target['met'] else 'MISSED'}: {target['target']}: {targets.measured(target)}")
    return "\n".join(lines) + "\n"


def charts(results, out):
    """SVG files. @return (their paths, why there are none)"""
    if not shutil.which("gnuplot"):
        return [], "gnuplot is not installed (scripts/install-deps --bench)"
    made = []
    for medium in dict.fromkeys(result["medium"] for result in results):
        for name, title, unit, scale, wanted in CHARTS:
            chosen = [result for work in wanted for result in results if (result["workload"], result["medium"]) == (work, medium)]
            columns = list(dict.fromkeys(peer for result in chosen for peer, row in result["variants"].items() if "median" in row))
            if chosen and columns:
                path = os.path.join(out, f"{medium}-{name}.svg")
                chart(path, f"{title} ({medium})", unit, scale, chosen, columns)
                made.append(path)
    return made, None


def chart(path, title, unit, scale, chosen, columns):
    rows = ["\t".join(["work", *columns])]
    for result in chosen:
        medians = [result["variants"].get(column, {}).get("median") for column in columns]
        rows.append("\t".join([result["workload"], *("?" if median is None else f"{median / scale:.4g}" for median in medians)]))
    data = "\n".join(rows)
    width = 200 + 14 * len(columns) * len(chosen)
    script = f"""set terminal svg size {max(width, 640)},420 font "sans,11" background "white"
set output "{path}"
set datafile separator tab
set datafile missing "?"
$data << EOD
{data}
EOD
set title "{title}"
set ylabel "{unit}"
set yrange [0:*]
set grid ytics
set key outside right
set style data histograms
set style histogram clustered gap 1
set style fill solid 0.85 noborder
set linetype 9 lc rgb "#8c6d31"
set linetype 10 lc rgb "#7f7f7f"
set linetype 11 lc rgb "#17becf"
set linetype 12 lc rgb "#b5cf6b"
plot for [i=2:{len(columns) + 1}] $data using i:xtic(1) title columnheader(i)
"""
    subprocess.run(["gnuplot"], input=script, text=True, check=True, capture_output=True, timeout=60)


def write(out, facts, results):
    """bench.json and tables.md. @return their paths"""
    os.makedirs(out, exist_ok=True)
    paths = os.path.join(out, "bench.json"), os.path.join(out, "tables.md")
    with open(paths[0], "w") as file:
        json.dump({**facts, "results": results}, file, indent=1)
        file.write("\n")
    with open(paths[1], "w") as file:
        file.write(targets.section(results) + "\n" + "\n".join(map(table, results)))
    return list(paths)
