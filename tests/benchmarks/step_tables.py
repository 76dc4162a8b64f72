"""The tables of train_step.py: those it prints, and the README's, which is written from the record of a run."""

from __future__ import annotations

import statistics

from step_compare import PEERS, Setting, figures, ratios
from step_models import Size, gflop

BEGIN, END = "<!-- train_step: begin -->", "<!-- train_step: end -->"


def print_row(number, size, found):
    parameters = found[0].rounds[0]["parameters"]
    print(f"\nRow {number}: {size}; {parameters:,} parameters, {gflop(size):.2g} GFLOP in matrix products")
    head = [
        "",
        "step ms",
        "fastest",
        "products ms",
        "step / products",
        "peak MB",
        "PyTorch's best in one process / this, per round",
    ]
    lines = []
    for setting in found:
        if setting.failed:
            continue
        from_limit = statistics.median(r["step_ms"] / r["products_ms"] for r in setting.rounds)
        per_round = ratios([r["step_ms"] for r in setting.rounds], found)
        listed = " ".join(f"{ratio:.2f}" for ratio in per_round)
        lines.append(
            [
                setting.name,
                f"{setting.median('step_ms'):.2f}",
                f"{min(r['fastest_step_ms'] for r in setting.rounds):.2f}",
                f"{setting.median('products_ms'):.2f}",
                f"{from_limit:.2f}",
                f"{setting.median('memory_mb'):.0f}",
                f"{statistics.median(per_round):.2f}  ({listed})" if per_round else "",
            ]
        )
    print_table(head, lines)
    for setting in found:
        if setting.failed:
            print(f"{setting.name} does not run here: {setting.failed.strip().splitlines()[-1]}")


def print_summary(rows):
    """The figures of every row, a line each. `rows`: (number, size, settings)."""
    by_row = [figures(found) for _, _, found in rows]
    lines = [[name, *(cell(row[name]) for row in by_row)] for name in by_row[0]]
    print()
    print_table(["each library at its best", *(f"row {number}" for number, _, _ in rows)], lines)


def cell(number):
    """Three digits; a dash for what was not measured."""
    return "–" if number is None else f"{number:.0f}" if number >= 100 else f"{number:.3g}"


def print_table(head, lines):
    """The first column to the left, the others to the right."""
    widths = [max(len(line[i]) for line in [head, *lines]) for i in range(len(head))]
    for line in [head, ["-" * width for width in widths], *lines]:
        cells = [line[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(line[1:], widths[1:], strict=True))]
        print("  ".join(cells).rstrip())


# --- the README's table -----------------------------------------------------------------------------------------------


def readme_table(record):
    """The table between the README's two comments, and where and how it was measured. `record`: what --json wrote."""
    head = [
        "batch × tokens, d_model, heads, layers",
        "one process: PyTorch's time / minigrad's",
        "its AdamW fused",
        "two processes, against PyTorch's best",
        "minigrad, ms: one process, two",
        "PyTorch, ms: eager, fused, DDP",
        "step / products",
        "PyTorch's peak memory / minigrad's",
    ]
    lines = []
    for row in record["rows"]:
        size, found = Size(**row["size"]), [Setting(**setting) for setting in row["settings"]]
        f = figures(found)
        name = f"{size.batch} × {size.seq_len}, {size.d_model}, {size.n_heads}, {size.n_layers}"
        ratio = (f["PyTorch / minigrad"], f["PyTorch fused / minigrad"], f["best of PyTorch / two processes"])
        lines.append(
            [
                name + (" (nanoGPT's CPU setting)" if row["row"] == 4 else ""),
                *("–" if r is None else f"**{r:.2g}**" if r > 1.05 else f"{r:.2g}" for r in ratio),
                f"{cell(f['ms'])}, {cell(f['two processes, ms'])}",
                ", ".join(cell(f[key]) for key in ("PyTorch, ms", "PyTorch fused, ms", "PyTorch DDP, ms")),
                cell(f["step / products"]),
                cell(f["PyTorch's memory / minigrad's"]),
            ]
        )
    rows = ["| " + " | ".join(line) + " |" for line in [head, *lines]]
    rows.insert(1, "|---" * len(head) + "|")
    about, rounds = record["machine"], max(len(s["rounds"]) for s in record["rows"][0]["settings"])
    rounds = f"median of {rounds} rounds" if rounds > 1 else "one round"
    where = (
        f"In bold, minigrad is ahead by more than 5 %. Each library has its better number of threads; a ratio is one "
        f"within a round. Measured on {about['date']}, {rounds}, on {about['cores']} cores of {about['cpu']}, with "
        f"NumPy {about['NumPy']} ({about['BLAS']}, its {about['BLAS kernels']} kernels)"
        + (f" and PyTorch {about['torch']}." if "torch" in about else ".")
    )
    return "\n".join([*rows, "", where, *peers(record)])


def peers(record):
    """A line for each peer that --peers measured: its milliseconds in every row."""
    lines = []
    for library, (name, _) in PEERS.items():
        found = [Setting(**s) for row in record["rows"] for s in row["settings"] if s["library"] == library]
        if any(setting.rounds for setting in found):
            times = [cell(setting.median("step_ms") if setting.rounds else None) for setting in found]
            lines.append(f"{name}, from the first row to the last: {', '.join(times)} ms.")
    return lines


def with_table(readme, record):
    """The README's text with the table of this record. Raises ValueError where its two comments are missing."""
    if readme.count(BEGIN) != 1 or readme.count(END) != 1:
        raise ValueError(f"the README needs the lines {BEGIN} and {END}, once each: the table goes between them")
    before, rest = readme.split(BEGIN)
    return f"{before}{BEGIN}\n{readme_table(record)}\n{END}{rest.split(END)[1]}"
