"""The tables of README.md, written between two marks by `python examples/record.py --readme`, from the records."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from article import Records
from retrieval import N_VALUES, random_route
from soft_vs_hard import FULL_SEEDS
from story import spread_of

README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- figures, from python examples/record.py --readme -->", "<!-- end of figures -->"
STORY = {  # six rows of retrieval, each with its row on text
    "softmax": "softmax",
    "straight-through": "straight-through",
    "REINFORCE, 4 draws": None,
    "sparsemax": "sparsemax",
    "hardmax (argmax)": "hardmax (argmax)",
    "control: uniform": "control: uniform",
}


def block(records: Records | None = None) -> str:
    """Everything between the marks."""
    r = (records or Records())["soft_vs_hard"]
    seeds, source = r["settings"]["seeds"], r["source"]
    command = "--full" if seeds == FULL_SEEDS else f"--full --seeds {seeds}"
    return "\n".join(
        [
            f"Median (range) of {seeds} seeds; each row has its own best learning rate, chosen on other seeds. From "
            f"`python examples/soft_vs_hard.py {command}`.",
            "",
            *story(r),
            "",
            f"A random route would be right in {random_route(32):.1f} %, guessing one of {N_VALUES} values in "
            f"{100 / N_VALUES:.1f} %; a table of pairs, counted in the training part, costs "
            f"{source['count table']:.2f} bits. The text is {source['name']} ({source['characters']:,} characters).",
            "",
            "<details>",
            "<summary>Every row: more estimators and normalizers, controls, among 8 and among 32, on text</summary>",
            "",
            *every_row(r),
            "",
            *on_text(r),
            "",
            "</details>",
        ]
    )


def story(r: Any) -> list[str]:
    rows, text = r["retrieval"]["32"], r["text"]
    heads = ["weights", "one key among 32: accuracy %", "read with argmax %", "drift of the router", "text: bits"]
    lines = [f"| {' | '.join(heads)} |", "|---|---|---|---|---|"]
    for name, twin in STORY.items():
        bits = spread_of(text[twin], "bits", "{:.2f}") if twin else ""
        hard = "" if name == "control: uniform" else spread_of(rows[name], "read_hard")
        cells = [spread_of(rows[name], "accuracy"), hard, spread_of(rows[name], "drift", "{:.3g}"), bits]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def every_row(r: Any) -> list[str]:
    lines = [
        "| weights | among 8: accuracy % | drift | among 32: accuracy % | drift | learning rates |",
        "|---|---|---|---|---|---|",
    ]
    for name in r["retrieval"]["32"]:
        cells = [
            spread_of(r["retrieval"][n][name], key, form)
            for n in ("8", "32")
            for key, form in (("accuracy", "{:.1f}"), ("drift", "{:.3g}"))
        ]
        rates = ", ".join(f"{r['settings']['rates'][n][name]:g}" for n in ("8", "32"))
        lines.append(f"| {name} | {' | '.join(cells)} | {rates} |")
    return lines


def on_text(r: Any) -> list[str]:
    lines = ["| weights | bits per character | read with argmax | drift | learning rate |", "|---|---|---|---|---|"]
    for name, runs in r["text"].items():
        forms = {"bits": "{:.2f}", "read_hard": "{:.2f}", "drift": "{:.3g}"}
        cells = [spread_of(runs, key, form) for key, form in forms.items()]
        lines.append(f"| {name} | {' | '.join(cells)} | {r['settings']['text rates'][name]:g} |")
    return lines


def updated(readme: str, records: Records | None = None) -> str:
    """README.md with the block as the records have it; ValueError where the marks are missing."""
    found = re.search(f"{re.escape(BEGIN)}\n.*{re.escape(END)}", readme, re.DOTALL)
    if not found:
        raise ValueError(f"README.md has no lines {BEGIN} and {END} for the tables to stand between")
    return readme.replace(found[0], f"{BEGIN}\n\n{block(records)}\n\n{END}")
