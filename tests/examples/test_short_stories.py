"""too_sure.py, amplification.py and since.py from end to end, with a handful of steps: words, pictures and figures."""

import importlib
import json
from dataclasses import replace

import pytest

NAMES = ["too_sure", "amplification", "since"]


@pytest.fixture(scope="module", params=NAMES)
def story(request, tmp_path_factory):
    out, module = tmp_path_factory.mktemp(request.param), importlib.import_module(request.param)
    arguments = ["--quick", "--steps", "4", "--seeds", "1", "--seed-base", "7", "--processes", "1"]
    results = module.main([*arguments, "--out", str(out), "--json", str(out / "figures.json")])
    return request.param, module, results, out


def test_its_words_follow_the_numbers(story):
    _, module, results, out = story
    written = json.loads((out / "figures.json").read_text(encoding="utf-8"))
    headline, details = module.in_words(written)
    assert [headline, details] == results["in_words"] and len(headline) <= 80 and "nan" not in headline + details


def test_it_is_drawn_for_light_and_for_dark_pages(story):
    pytest.importorskip("matplotlib", reason="pictures need matplotlib")
    name, _, _, out = story
    for path in (out / f"{name}_quick.png", out / f"{name}_quick_dark.png"):
        assert path.read_bytes().startswith(b"\x89PNG")


def test_another_first_seed_is_another_run(tmp_path):
    too_sure, retrieval = importlib.import_module("too_sure"), importlib.import_module("retrieval")
    story = importlib.import_module("story")
    row = {"softmax": replace(too_sure.ROWS["softmax"], steps=3)}
    curves = []
    for first in ("0", "1"):
        args = story.parse(
            story.flags(None), ["--seeds", "2", "--seed-base", first, "--processes", "1", "--out", str(tmp_path)]
        )
        curves.append([run["drift"] for run in story.compare(retrieval.train_retrieval, row, args)["softmax"]])
    assert curves[0][1] == curves[1][0] and curves[0][0] != curves[1][1]
