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
    stories = {path.stem for path in EXAMPLES.glob("*.py")} - {"story", "record", "grammar"}
    assert sorted(record.NAMES) == sorted(stories)


def test_the_page_is_what_the_record_says():
    assert record.page() == PAGE, "run python examples/record.py --page"


@pytest.mark.parametrize("name", record.NAMES)
def test_the_recorded_words_are_those_of_the_recorded_figures(name):
    """The words were made from the numbers by the program as it stands: neither was changed by hand, or since."""
    figures = json.loads((EXAMPLES / "results" / f"{name}.json").read_text(encoding="utf-8"))
    assert importlib.import_module(name).in_words(figures) == figures["in_words"]
    shouted = re.findall(r"\b[A-Z']{2,}(?: [A-Z']{2,})+", " ".join(figures["in_words"]))
    assert not shouted, "the figures contradict the story"


@pytest.mark.parametrize("name", record.NAMES)
def test_a_full_run_takes_no_longer_than_the_help_says(name):
    figures = json.loads((EXAMPLES / "results" / f"{name}.json").read_text(encoding="utf-8"))
    told = re.search(
        r"[Tt]akes about (a|[\d.]+) (second|minute)s?", (EXAMPLES / f"{name}.py").read_text(encoding="utf-8")
    )
    limit = (1 if told[1] == "a" else float(told[1])) * (60 if told[2] == "minute" else 1)
    assert figures["seconds"] < 1.5 * limit + 5


@pytest.mark.parametrize("target", sorted(set(re.findall(r'(?:src|href)="([^"]+)"|\]\(([^)]+)\)', PAGE))))
def test_every_link_and_picture_is_there(target):
    assert (EXAMPLES / (target[0] or target[1])).exists()
