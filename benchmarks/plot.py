"""Draws `compare.json` as a picture; runs in the environment `polars`, which has matplotlib."""

import json
import statistics
import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

OURS, OTHER = "#c2410c", "#64748b"
SHADES = {"client": "#334155", "postgres": "#64748b", "s3": "#cbd5e1"}


def main() -> None:
    """Wall, CPU by process, and memory, a bar a program."""
    found = json.loads(Path(sys.argv[1]).read_text())
    names = list(reversed(found))
    medians = {
        name: {key: statistics.median(run[key] for run in found[name]) for key in found[name][0]} for name in names
    }
    figure, (wall, cpu, memory) = plt.subplots(1, 3, figsize=(12, 0.42 * len(names) + 1.4), sharey=True)
    colours = [OURS if name == "export-pipeline" else OTHER for name in names]
    wall.barh(names, [medians[name]["wall"] for name in names], color=colours)
    for place, name in enumerate(names):
        wall.plot([run["wall"] for run in found[name]], [place] * len(found[name]), "|", color="black", markersize=7)
    wall.set_title("wall after imports, s (marks: rounds)")
    left = [0.0] * len(names)
    for part, shade in SHADES.items():
        widths = [medians[name][part] for name in names]
        cpu.barh(
            names, widths, left=left, color=shade, label={"postgres": "PostgreSQL", "s3": "S3 server"}.get(part, part)
        )
        left = [before + width for before, width in zip(left, widths, strict=True)]
    cpu.set_title("CPU of all processes, s")
    cpu.legend(fontsize=8)
    memory.barh(names, [medians[name]["peak_mb"] for name in names], color=colours)
    memory.set_title("peak RSS of the client, MB")
    for axes in (wall, cpu, memory):
        axes.spines[["top", "right"]].set_visible(False)
        axes.title.set_fontsize(10)
    figure.tight_layout()
    figure.savefig(sys.argv[2], dpi=110)


main()
