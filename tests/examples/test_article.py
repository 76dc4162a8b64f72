"""article.md: written from the records, every figure and every verdict."""

import json
import re
import statistics
from pathlib import Path

import pytest

import article

EXAMPLES = Path(__file__).parents[2] / "examples"
PAGE = (EXAMPLES / "article.md").read_text(encoding="utf-8")


def test_the_page_is_what_the_records_say():
    assert article.page() == PAGE, "run python examples/record.py --article"


def test_it_has_34_claims_each_with_a_verdict():
    rows = re.findall(r"^\| (\d+) \|.*\*\*(.+?)\*\* \|$", PAGE, re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, 35))
    assert {verdict for _, verdict in rows} <= {article.HOLDS, article.HALF, article.NOT_HERE, article.NOT_TRUE}


def test_a_changed_record_changes_the_page(tmp_path):
    for path in (EXAMPLES / "results").glob("*.json"):
        (tmp_path / path.name).write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    for run in (changed := json.loads((tmp_path / "digits.json").read_text()))["rows"]["softmax"]:
        run["accuracy"] = 12.3
    (tmp_path / "digits.json").write_text(json.dumps(changed))
    assert "12.3 %" in article.page(article.Records(tmp_path)) and "12.3 %" not in PAGE


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)]+)\)", PAGE))))
def test_every_program_it_names_is_there(target):
    assert (EXAMPLES / target).exists()


def median(runs, key="accuracy"):
    return statistics.median(run[key] for run in runs)


def test_the_verdicts_are_those_of_the_figures():
    r = article.Records()
    amplification, hard, sure = (
        r["amplification"]["trained"],
        r["soft_vs_hard"]["retrieval"]["32"],
        r["too_sure"]["rows"],
    )
    among_32, few = amplification["retrieval among 32"], amplification["majority of three"]
    # 7 and 17, half true: an exponential is not needed
    assert median(among_32["x² + 0.001"]) > 90 > median(among_32["simple normalization"]) + 40
    # 15 holds: a blend answers what a choice cannot
    assert median(few["softmax"]) > median(few["straight-through"]) + 15
    # 18, half true: argmax does not learn, hard choices can
    assert median(hard["softmax"]) > 99 and median(hard["straight-through"]) > 90 > 30 > median(
        hard["hardmax (argmax)"]
    )
    assert all(run["drift"] == 0 for run in hard["hardmax (argmax)"])
    # 19, half true: no sum of 1 is needed
    assert median(among_32["sigmoid, no sum of 1"]) > 90
    # 20, half true: sparse weights may keep enough
    assert (
        max(median(few[name]) for name in ("1.5-entmax", "sparsemax", "top-4")) > median(few["straight-through"]) + 15
    )
    # 22, half true: smooth is not enough; 31 holds: a learned temperature helps
    assert median(sure["softmax"]) > median(sure["softmax, tables at scale 3"]) + 20
    assert median(sure["scale 3, learned τ"]) > median(sure["softmax, tables at scale 3"]) + 20
    # 24, half true: here weights matter, there they do not
    permuted, digits = amplification["permuted"], r["digits"]["rows"]
    assert median(permuted, "right") > median(permuted, "permuted") + 30
    assert abs(median(digits["softmax"]) - median(digits["same weight for all"])) < 3
    # 33 holds, and linear attention pays for it
    among_64 = r["since"]["retrieval"]["retrieval among 64"]
    assert median(among_64["softmax"]) > median(among_64["linear attention"]) + 10
