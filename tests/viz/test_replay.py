"""The training replay: what it shows is what was recorded, for eyes, hands and screen readers."""

import json
import os
import re
import sys
from pathlib import Path

import browser
import numpy as np
import pytest

from minigrad import viz
from minigrad.viz.replay import recording_of, replay_html

ROOT = Path(__file__).parents[2]
GALLERY = ROOT / "examples" / "gallery"
AXE = Path(os.environ.get("AXE_CORE", ROOT / "node_modules" / "axe-core" / "axe.min.js"))
HOSTILE = """<b>b</b></script><!-- {{js}} "'&amp; \x1b \ud800"""
STEPS = [0, 1, 2, 5, 30]

sys.path.insert(0, str(ROOT / "examples"))
import replay as example  # noqa: E402
import retrieval  # noqa: E402


def recorded(name, rng, still=False, shape=(4, 4)):
    run, w = viz.Run(name), rng.random(shape)
    for step in STEPS:
        run.add(step, w, rng.random(), 0.0 if still else rng.random())
        w = w if still else rng.random(shape)
    return run


@pytest.fixture(scope="module")
def runs():
    rng = np.random.default_rng(0)
    return [recorded("softmax", rng), recorded("hardmax", rng, still=True)]


@pytest.fixture(scope="module")
def path(runs, tmp_path_factory):
    return viz.replay(runs, tmp_path_factory.mktemp("replay") / "replay.html", queries="abcd", note="A note.")


# --- the file --------------------------------------------------------------------------------------------------------


def test_it_loads_nothing(path):
    text = path.read_text(encoding="utf-8")
    assert len(text) < 20_000 and not re.search(r"(src|href)=[\"']?http|url\(|@import|fetch\(|https?://", text)


def test_weights_that_stand_still_take_no_room(path):
    data = data_of(path)
    assert [bool(frame) for frame in data["runs"][1]["frames"]] == [True, False, False, False, False]
    assert all(data["runs"][0]["frames"])


def test_a_gradient_is_0_on_the_page_only_where_it_is_0():
    run = viz.Run("small")
    run.add(0, [[1.0]], 0.5, 1e-300)
    run.add(1, [[1.0]], 0.5, 0.0)
    data = json.loads(
        re.search(r"json\">(.*?)</script>", replay_html(recording_of([run], None, None), "", ""), re.DOTALL)[1]
    )
    assert data["runs"][0]["gradient"] == [1e-300, 0.0]


def test_bad_input_gets_one_clear_sentence(runs, tmp_path):
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"saved as .html, not 'replay.svg'"):
        viz.replay(runs, tmp_path / "replay.svg")
    with pytest.raises(ValueError, match="nothing to replay"):
        viz.replay([], tmp_path / "replay.html")
    with pytest.raises(ValueError, match="other and softmax cannot stand side by side"):
        viz.replay([runs[0], recorded("other", rng, shape=(4, 5))], tmp_path / "replay.html")
    with pytest.raises(ValueError, match="3 names for 4 queries"):
        viz.replay(runs, tmp_path / "replay.html", queries="abc")
    with pytest.raises(OSError, match="cannot write"):
        viz.replay(runs, tmp_path / "nowhere" / "replay.html")
    run = recorded("softmax", rng)
    for step, weights, gradient, sentence in (
        (30, run.weights[0], 1.0, "step 30 comes after step 30"),
        (31, np.full((4, 4), np.nan), 1.0, "weights lie from 0 to 1, not nan"),
        (31, -run.weights[0], 1.0, "weights lie from 0 to 1, not -"),
        (31, run.weights[0][0], 1.0, r"weights have shape \(4, 4\), not \(4,\)"),
        (31, run.weights[0], np.nan, "must be finite"),
    ):
        with pytest.raises(ValueError, match=sentence):
            run.add(step, weights, 0.5, gradient)
    assert run.steps == STEPS


def data_of(path):
    return json.loads(re.search(r"json\">(.*?)</script>", path.read_text(encoding="utf-8"), re.DOTALL)[1])


# --- the example -----------------------------------------------------------------------------------------------------


def test_the_gallery_holds_the_page_as_it_is_made_today():
    stored = GALLERY / "replay.html"
    data = data_of(stored)
    again = replay_html(data, "Which key does each query look at?", example.note(data["steps"][-1]))
    assert stored.read_text(encoding="utf-8") == again, "run: python examples/replay.py --out examples/gallery"


def test_the_gallery_tells_the_story():
    data = data_of(GALLERY / "replay.html")
    runs = {run["name"]: run for run in data["runs"]}
    assert list(runs) == list(example.ROWS)
    hard = runs.pop("hardmax (argmax)")
    assert set(hard["gradient"]) == {0} and not any(hard["frames"][1:]) and hard["accuracy"][-1] < 0.5
    assert all(run["accuracy"][-1] > 0.9 and min(run["gradient"]) > 0 for run in runs.values())


def test_what_is_recorded_is_the_training_of_soft_vs_hard():
    row = example.replace(example.RETRIEVAL["straight-through"], steps=60)
    ours = example.record("straight-through", row, 59, seed=3)
    curve = retrieval.train_retrieval(row, 3)["curve"]  # its last point: steps 11 to 60
    np.testing.assert_allclose(curve[-1], 100 * ours.accuracy[-1], atol=0.01)


# --- in a browser ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chromium():
    program = browser.find()
    if program is None:
        pytest.skip("no Chromium here: apt install chromium")
    b = browser.Browser(program)
    yield b
    b.close()


@pytest.fixture
def page(chromium, path):
    chromium.size(1280, 900)
    chromium.errors.clear()
    chromium.requests.clear()
    chromium.open(path)
    yield chromium
    assert chromium.errors == []
    assert {url.split("#")[0] for url in chromium.requests if url != "about:blank"} <= {path.resolve().as_uri()}


def texts(b, selector):
    return b(f"[...document.querySelectorAll('{selector}')].map(e => e.textContent)")


def test_every_frame_is_the_recording(page, runs):
    """Twice: the numbers that the page looks up, and the pixels that it paints."""
    for frame, step in enumerate(STEPS):
        page(f"move({frame})")
        assert page("at('step').textContent") == f"step {step}"
        for i, run in enumerate(runs):
            shown = page(f"queries.map((_, q) => keys.map((_, k) => weight(runs[{i}], now, q, k)))")
            np.testing.assert_allclose(shown, run.weights[frame], atol=1 / 510 + 1e-9)
            painted = (
                f"[...runs[{i}].canvas.getContext('2d').getImageData(0, 0, 4, 4).data].filter((_, i) => i % 4 == 3)"
            )
            np.testing.assert_allclose(page(painted), 255 * run.weights[frame].ravel(), atol=0.51)
        assert texts(page, ".accuracy") == [f"{100 * round(run.accuracy[frame], 4):.0f} %" for run in runs]
        gradients = texts(page, ".gradient")
        assert gradients[1] == "exactly 0"
        np.testing.assert_allclose(float(gradients[0]), runs[0].gradient[frame], rtol=0.06)
    assert texts(page, ".silent h2") == ["hardmax"]


def test_the_whole_page_works_by_keyboard(page):
    page.press("ArrowRight", "ArrowRight")
    assert page("now") == 2
    page.press("ArrowLeft")
    assert page("now") == 1
    page.press("End")
    assert page("now") == 4
    page.press("Home")
    assert page("now") == 0
    page.press(" ")
    assert "pause" in page("at('play').textContent")
    page.press("ArrowRight")
    assert "play" in page("at('play').textContent") and page("timer") is None
    reached = []
    for _ in range(6):
        page.press("Tab")
        reached.append(page("document.activeElement.id"))
    assert reached == ["play", "previous", "next", "slider", "query", "key"]
    page("at('slider').focus()")
    page("move(0)")
    page.press("ArrowRight")
    assert page("now") == 1 and page("at('slider').getAttribute('aria-valuetext')") == "step 1"


def test_a_weight_can_be_looked_up_by_choice_and_by_pointing(page, runs):
    page("(() => { const s = at('key'); s.value = 2; s.dispatchEvent(new Event('change')) })()")
    assert texts(page, "dd.weight") == [f"{round(255 * run.weights[0][0, 2]) / 255:.2f}" for run in runs]
    page.click("canvas")  # its middle
    assert page("[picked.query, picked.key].join()") == "2,2"
    assert texts(page, "dt")[2] == "c → c"


def test_the_address_keeps_what_is_set(page, path):
    page("picked.query = 3, picked.key = 1, move(3), save()")
    assert page("location.hash") == "#step=5&query=3&key=1"
    page.open(path, "#step=5&query=3&key=1")
    assert page("[now, picked.query, picked.key].join()") == "3,3,1"
    for address in ("#step=nan&query=-1&key=99", "#%E0%A4%A", "#step=1e999"):
        page.open(path, address)
        assert page("[now, picked.query, picked.key].join()") == "0,0,0", address


def test_it_plays_to_the_end_and_stops(page):
    page("setInterval = (f) => { window.tick = f; return 1 }; 0")
    page.click("#play")
    for _ in range(len(STEPS)):
        page("tick()")
    assert page("now") == 4 and "play" in page("at('play').textContent")


def test_hostile_names_are_text(page, tmp_path):
    rng = np.random.default_rng(0)
    names = [HOSTILE, "\u202eb", "<i>", "寿司"]
    hostile = viz.replay([recorded(HOSTILE, rng)], tmp_path / "h.html", queries=names, title=HOSTILE, note=HOSTILE)
    page.open(hostile)
    page.requests.clear()
    shown = "<b>b</b></script><!-- {{js}} \"'&amp; ␛ �"
    assert page("document.title") == shown and texts(page, "h2") == texts(page, "h1") == [shown]
    assert texts(page, "#key option") == [shown, *names[1:]]
    assert page("document.querySelectorAll('b, main script, #runs b').length") == 0


@pytest.mark.parametrize("width", [390, 640, 1280])  # a phone; 1280 at 200 % zoom; a desk
def test_nothing_runs_over_the_side_and_targets_are_large(page, width):
    page.size(width, 844, phone=width == 390)
    page.open(GALLERY / "replay.html")
    page.requests.clear()
    assert page("document.documentElement.scrollWidth") <= width
    small = "[...document.querySelectorAll('button, select, input')].filter(e => e.getBoundingClientRect().height < 44)"
    assert page(f"{small}.length") == 0


def test_moving_through_the_steps_moves_nothing_else(page):
    places = "[...document.querySelectorAll('.run, canvas, #one')].map(e => e.getBoundingClientRect().y).join()"
    assert len({page(f"move({i}), {places}") for i in range(len(STEPS))}) == 1


@pytest.mark.skipif(not AXE.exists(), reason="no axe-core: npm install --no-save axe-core")
@pytest.mark.parametrize("dark", [False, True])
def test_axe_finds_nothing_to_complain_of(page, path, dark):
    page.size(390 if dark else 1280, 900, dark=dark, phone=dark)
    page.open(path, "#step=5")
    page(AXE.read_text(encoding="utf-8") + "; 0")
    found = page.send("Runtime.evaluate", expression="axe.run()", awaitPromise=True, returnByValue=True)
    violations = found["result"]["value"]["violations"]
    assert [(v["id"], v["nodes"][0]["html"]) for v in violations] == []
