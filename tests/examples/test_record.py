"""examples/README.md and the records in examples/results/: complete, in step, and said by the figures themselves."""

import importlib
import json
import re
from pathlib import Path

import pytest

import record

EXAMPLES = Path(__file__).parents[2] / "examples"
PAGE = (EXAMPLES / "README.md").read_text(encoding="utf-8")


def test_every_example_is_in_the_list_once():
    programs = {path.stem: path.read_text(encoding="utf-8") for path in EXAMPLES.glob("*.py")}
    stories = [name for name, source in programs.items() if "def in_words(" in source]
    assert sorted(record.NAMES) == sorted(stories)


def test_the_page_is_what_the_record_says():
    assert record.page() == PAGE, "run python examples/record.py --words"


@pytest.mark.parametrize("name", record.NAMES)
def test_the_recorded_words_are_those_of_the_recorded_figures(name):
    """The words were made from the numbers by the program as it stands: neither was changed by hand, or since."""
    figures = json.loads((EXAMPLES / "results" / f"{name}.json").read_text(encoding="utf-8"))
    assert importlib.import_module(name).in_words(figures) == figures["in_words"]
    headline, details = figures["in_words"]
    assert len(headline) <= 80 and headline.endswith(".") and details.endswith(".")


@pytest.mark.parametrize("name", record.NAMES)
def test_a_full_run_takes_no_longer_than_the_help_says(name):
    figures = json.loads((EXAMPLES / "results" / f"{name}.json").read_text(encoding="utf-8"))
    told = re.search(
        r"[Tt]akes about (a|[\d.]+) (second|minute)s?", (EXAMPLES / f"{name}.py").read_text(encoding="utf-8")
    )
    limit = (1 if told[1] == "a" else float(told[1])) * (60 if told[2] == "minute" else 1)
    assert figures["seconds"] < 1.5 * limit + 5


def test_putting_the_record_into_words_again_changes_nothing_but_the_words(tmp_path, monkeypatch):
    before = json.loads((EXAMPLES / "results" / "softmax_tour.json").read_text(encoding="utf-8"))
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    (tmp_path / "softmax_tour.json").write_text(json.dumps(before | {"in_words": ["Something else."]}))
    record.put_into_words("softmax_tour")
    assert json.loads((tmp_path / "softmax_tour.json").read_text(encoding="utf-8")) == before


@pytest.mark.parametrize("target", sorted(set(re.findall(r'(?:src|href)="([^"]+)"|\]\(([^)]+)\)', PAGE))))
def test_every_link_and_picture_is_there(target):
    assert (EXAMPLES / (target[0] or target[1])).exists()
