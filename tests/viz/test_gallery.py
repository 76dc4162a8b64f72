"""The pictures in examples/gallery are those that examples/draw_graph.py draws today."""

import json
import re
import sys
from html import unescape
from pathlib import Path

import pytest

from minigrad.viz.op_page import op_page

EXAMPLES = Path(__file__).parents[2] / "examples"
GALLERY = EXAMPLES / "gallery"
AGAIN = "run: python examples/draw_graph.py --out examples/gallery"

sys.path.insert(0, str(EXAMPLES))
import draw_graph  # noqa: E402
import screenshots  # noqa: E402


@pytest.fixture(scope="module")
def pictures():
    return draw_graph.pictures()


def test_no_picture_is_stale(pictures):
    for name, picture in pictures.items():
        stored = (GALLERY / f"{name}.dot").read_text(encoding="utf-8")
        assert picture.source == stored, f"{name} has changed; {AGAIN}"


def test_each_svg_shows_what_its_dot_file_says(pictures):
    for name in pictures:
        svg = (GALLERY / f"{name}.svg").read_text(encoding="utf-8")
        dot = (GALLERY / f"{name}.dot").read_text(encoding="utf-8")
        drawn = [unescape(text) for text in re.findall(r"<text [^>]*>(.*?)</text>", svg)]
        said = [line for label in re.findall(r'label="(.*?)" ', dot) for line in label.split("\\n")]
        assert sorted(drawn) == sorted(said), f"{name}.svg is not {name}.dot; {AGAIN}"


def test_soft_and_hard_attention_differ_in_one_thing_only():
    """Up to the normalizer, both heads have the same boxes with the same numbers; only the gradients differ."""
    dot = (GALLERY / "soft_and_hard.dot").read_text(encoding="utf-8")
    heads = {}
    for name in ("softmax", "hardmax"):
        (frame,) = re.findall(rf"label=\"{name}\" labeljust.*?\n(.*?)\n  }}", dot, re.DOTALL)
        labels = [label.split("\\n∇")[0] for label in re.findall(r' label="([^"]*)" width', frame)]
        heads[name] = labels[: next(i for i, label in enumerate(labels) if label.startswith(name))]
    assert heads["softmax"] == heads["hardmax"] and len(heads["softmax"]) >= 6


def test_the_step_page_shows_formulas_and_code_as_they_are_now():
    text = (GALLERY / "walk.html").read_text(encoding="utf-8")
    data = json.loads(re.search(r'type="application/json">(.*?)</script>', text, re.DOTALL)[1])
    for name, page in data["ops"].items():
        assert page == op_page(name), f"walk.html shows an older {name}; {AGAIN}"


def test_the_gallery_is_small_and_names_no_machine(pictures):
    stray = {path.name for path in GALLERY.iterdir() if path.suffix in (".dot", ".svg")}
    assert stray == {f"{name}{ending}" for name in pictures for ending in (".dot", ".svg")}
    for path in GALLERY.iterdir():
        assert path.stat().st_size < (
            500_000 if path.suffix == ".html" else 200_000 if path.suffix == ".png" else 100_000
        )
        if path.suffix != ".png":
            assert str(EXAMPLES.parent) not in path.read_text(encoding="utf-8")


def test_each_page_has_its_picture_light_and_dark():
    made = {f"{name}{kind}.png" for name in screenshots.SHOTS for kind in ("", "_dark")}
    assert made <= {path.name for path in GALLERY.iterdir()}, "run: python examples/screenshots.py examples/gallery"


def test_the_example_writes_all_files(tmp_path, capsys):
    results = draw_graph.main(["--out", str(tmp_path), "--json", str(tmp_path / "figures.json")])
    assert {"soft_and_hard.svg", "gpt.svg"} <= set(results["files"]) or "instead of" in capsys.readouterr().err
    assert (tmp_path / "figures.json").exists()
