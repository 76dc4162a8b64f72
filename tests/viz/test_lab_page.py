"""The softmax lab as a page: one file, read by people, by screen readers and by hands that drag."""

import json
import os
import re
from pathlib import Path

import browser
import numpy as np
import pytest

from minigrad import viz
from minigrad.__main__ import main
from minigrad.viz.lab import lab_html

ROOT = Path(__file__).parents[2]
GALLERY = ROOT / "examples" / "gallery"
AXE = Path(os.environ.get("AXE_CORE", ROOT / "node_modules" / "axe-core" / "axe.min.js"))
HOSTILE = """<b>b</b> '&amp;' <img/src=x> <script>document.title='taken'</script> "><img src=x onerror=alert() {{js}}"""

# --- the file --------------------------------------------------------------------------------------------------------


def test_it_is_one_small_file_that_loads_nothing():
    text = lab_html()
    assert len(text.encode()) < 100_000
    assert not re.search(r"(src|href)=[\"']?http|url\(|@import|fetch\(|XMLHttp", text)
    assert set(re.findall(r"https?://[^\s\"']+", text)) == {"http://www.w3.org/2000/svg"}  # a name, not an address


def test_the_gallery_holds_the_lab_as_it_is_made_today():
    again = "run: python examples/draw_lab.py --out examples/gallery"
    assert (GALLERY / "lab.html").read_text(encoding="utf-8") == lab_html(), again


def test_the_command_writes_it_and_says_where(tmp_path, capsys):
    assert main(["lab", "--out", str(tmp_path / "lab.html")]) == 0
    assert (tmp_path / "lab.html").read_text(encoding="utf-8") == lab_html()
    assert str(tmp_path / "lab.html") in capsys.readouterr().out
    assert main(["lab", "--out", str(tmp_path / "lab.svg")]) == 1
    assert "saved as .html, not 'lab.svg'" in capsys.readouterr().out


def test_bad_input_gets_one_clear_sentence(tmp_path):
    with pytest.raises(ValueError, match="at least two words, not 'cookies'"):
        viz.lab(tmp_path / "lab.html", sentence="cookies")
    with pytest.raises(OSError, match="cannot write"):
        viz.lab(tmp_path / "nowhere" / "lab.html")


# --- in a browser ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chromium():
    program = browser.find()
    if program is None:
        pytest.skip("no Chromium here: apt install chromium")
    b = browser.Browser(program)
    yield b
    b.close()


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return viz.lab(tmp_path_factory.mktemp("lab") / "lab.html")


@pytest.fixture
def page(chromium, path):
    chromium.size(1280, 900)
    chromium.errors.clear()
    chromium.requests.clear()
    chromium.open(path)
    yield chromium
    assert chromium.errors == []
    assert {url.split("#")[0] for url in chromium.requests if url != "about:blank"} <= {path.resolve().as_uri()}


def column(b, op, nth):
    """A column of a card's table: 1 score, 2 weight, 3 gradient."""
    cells = f"document.querySelectorAll('#cards [data-op={op}] .rows tbody tr td:nth-child({nth + 1})')"
    return b(f"[...{cells}].map(td => td.textContent)")


def silent(b, view="cards"):
    return b(f"[...document.querySelectorAll('#{view} .silent')].map(c => c.dataset.op)")


def drag(b, selector, dx):
    x, y = b(
        f"(() => {{ const r = document.querySelector('{selector}').getBoundingClientRect();"
        "return [r.x + r.width / 2, r.y + r.height / 2] })()"
    )
    for kind, at in (
        ("mousePressed", x),
        ("mouseMoved", x + dx / 2),
        ("mouseMoved", x + dx),
        ("mouseReleased", x + dx),
    ):
        b.send("Input.dispatchMouseEvent", type=kind, x=at, y=y, button="left", buttons=1, clickCount=1)


def fill(b, field, text):
    b(f"(() => {{ const e = document.getElementById('{field}'); e.focus(); e.value = {json.dumps(text)};"
      "for (const kind of ['input', 'change']) e.dispatchEvent(new Event(kind, {bubbles: true})) })()")  # fmt: skip


def test_dragging_a_score_changes_the_weights_and_hardmax_sends_nothing_back(page):
    assert silent(page) == ["hardmax"]
    before = column(page, "softmax", 2), column(page, "softmax", 3)
    drag(page, "#dial-score-2", 20)
    assert page("state.scores[2]") > 0.9
    after = column(page, "softmax", 2), column(page, "softmax", 3)
    assert before[0] != after[0] and before[1] != after[1]
    assert column(page, "hardmax", 3) == ["0"] * 5
    assert "Exactly 0 at every score" in page("document.querySelector('[data-op=hardmax] .note').textContent")


def test_steps_move_the_scores_downhill_and_hardmaxs_stay(page):
    lowered = "[...document.querySelectorAll('#cards .card')].map(c => c.querySelectorAll('.moved').length)"
    assert page(lowered) == [0] * 8
    page.click("#one")
    assert page("document.getElementById('taken').textContent") == "1 step downhill"
    assert column(page, "softmax", 1)[2] > "0.80"  # the word that the loss wants
    page.click("#fifty")
    assert page("state.steps") == 51
    assert column(page, "hardmax", 1) == ["1.20", "0.40", "0.80", "−0.60", "0.10"]
    assert page(lowered)[3] == 0 and page(lowered)[0] == 5
    page.click("#back")
    assert page(lowered) == [0] * 8


def test_the_run_is_seen_step_by_step_where_motion_is_welcome(page):
    page.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-reduced-motion", "value": "no-preference"}])
    seen = page("run(10); state.steps")
    wait = "new Promise(done => { const wait = () => state.steps < 10 ? requestAnimationFrame(wait) : done(); wait() })"
    page.send("Runtime.evaluate", awaitPromise=True, expression=wait)
    assert seen == 1 and page("state.steps") == 10


def test_numbers_may_be_typed_and_nonsense_is_passed_over(page):
    field = "document.querySelector('#dial-score-0').nextElementSibling"
    for typed, kept in (("2.345", 2.345), ("", 2.345), ("-", 2.345), ("1e400", 2.345), ("500", 20)):
        page(f"(() => {{ const f = {field}; f.focus(); f.value = {typed!r}; f.dispatchEvent(new Event('input')) }})()")
        assert page("state.scores[0]") == kept, typed
    assert silent(page)[-1] == "hardmax"


def test_a_target_value_is_a_loss_too(page):
    page("(() => { const w = at('wants'); w.value = 'value'; w.dispatchEvent(new Event('change')) })()")
    assert page("at('word').hidden") and not page("at('target').hidden")
    page.click("#fifty")
    losses = page("cards.map(c => look(c.n, scoresNow(c.n), taskOf(state)).loss)")
    assert losses[0] < 0.01 < 1 < losses[3]  # softmax has found weights that give 4.5; hardmax has not moved


def test_the_query_can_be_dragged_and_hardmaxs_arrow_has_no_length(page):
    page.click("#to-plane")
    assert page("document.querySelector('#planes [data-op=hardmax] .arrow').getAttribute('d')") == ""
    before = page("state.query.join()")
    drag(page, "#planes [data-op=softmax] .query", -40)
    assert page("state.query[0]") < float(before.split(",")[0]) - 0.3
    assert "hardmax" in silent(page, "planes")
    assert page("document.querySelector('#planes [data-op=softmax] .arrow').getAttribute('d')")
    page.click("#fifty")
    assert page("document.querySelector('#planes [data-op=hardmax] .trail').getBBox().width") == 0
    assert page("document.querySelector('#planes [data-op=softmax] .trail').getBBox().width") > 10


def test_all_six_rounds_can_be_played_by_keyboard(page):
    page("at('to-guess').focus()")
    page.press("Enter")
    for number in range(1, 7):
        assert f"Question {number} of 6" in page("at('game').textContent")
        assert page("[...document.querySelectorAll('#game .bar span')].every(s => s.textContent === '?')")
        page("document.querySelector('.option').focus()")
        page.press("Enter")
        assert page("[...document.querySelectorAll('#game .bar span')].every(s => s.textContent !== '?')")
        assert page("document.activeElement.className").startswith("next")
        page.press("Enter")
    assert re.search(r"\d of 6 right", page("at('game').textContent"))
    page("document.querySelector('#game button').focus()")
    page.press("Enter")
    assert "Question 1 of 6" in page("at('game').textContent") and page("state.seed") == 2


# --- the address -----------------------------------------------------------------------------------------------------


def random_state(rng):
    n = int(rng.integers(2, 9))
    return {
        "view": rng.choice(["scores", "plane", "guess"]).item(), "words": [f"w{i}&=#%+ü" for i in range(n)],
        "scores": rng.normal(size=8).tolist(), "temperature": float(rng.uniform(0.1, 10)),
        "wants": rng.choice(["word", "value"]).item(), "word": int(rng.integers(n)), "along": int(rng.integers(n)),
        "values": rng.normal(size=8).tolist(), "target": float(rng.normal()), "rate": 0.3,
        "steps": int(rng.integers(99)), "query": rng.uniform(-2, 2, 2).tolist(), "walked": int(rng.integers(99)),
        "seed": int(rng.integers(1, 99)), "answers": rng.integers(0, 3, int(rng.integers(0, 7))).tolist(),
    }  # fmt: skip


def test_the_address_keeps_all_that_is_set(page):
    rng = np.random.default_rng(0)
    for state in [random_state(rng) for _ in range(50)]:
        assert page(f"fromAddress(toAddress({json.dumps(state)}))") == state


def test_a_page_opened_from_its_address_shows_the_same(page, path):
    drag(page, "#dial-score-1", 15)
    page.click("#fifty")
    page("save()")
    seen, address = page("at('cards').textContent"), page("location.hash")
    page.open(path, address)
    assert page("at('cards').textContent") == seen and page("location.hash") == address


@pytest.mark.parametrize(
    "address",
    ["#scores=nan,1e999,x&steps=-5", "#view=nowhere&words=&word=99", "#%E0%A4%A", "#temperature=0&answers=9,9"],
)
def test_an_address_that_makes_no_sense_opens_all_the_same(page, path, address):
    page.open(path, address)
    assert page("document.querySelectorAll('.card').length") == 8
    assert page("scoresOf(state).every(Number.isFinite) && state.temperature >= 0.1")


# --- for everyone ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["argument", "field", "address"])
def test_a_hostile_sentence_is_text(page, path, tmp_path, how):
    if how == "argument":
        page.open(viz.lab(tmp_path / "lab.html", sentence=HOSTILE))
        page.requests.clear()
    elif how == "field":
        fill(page, "sentence", HOSTILE)
    else:
        page.open(path, "#words=" + page(f"encodeURIComponent({json.dumps(HOSTILE)})"))
    words = [word[:16] for word in HOSTILE.split()][:8]
    names = "[...document.querySelectorAll('#cards [data-op=softmax] .rows tbody th')].map(th => th.textContent)"
    assert page(names) == words
    assert page("document.title") == "The softmax lab" and page("document.images.length") == 0
    page.click("#to-plane")
    assert page("document.querySelector('#planes text').textContent") == words[0]
    assert page("document.querySelectorAll('.cards :is(b, img, script)').length") == 0


def test_the_tab_key_reaches_every_control_in_reading_order(page):
    wanted = "[...document.querySelectorAll('button, select, input')].filter(e => e.offsetParent)"
    n, reached = page(f"{wanted}.length"), []
    for _ in range(n):
        page.press("Tab")
        reached.append(page(f"{wanted}.indexOf(document.activeElement)"))
    assert reached == list(range(n)) and n > 20
    page("at('dial-score-0').focus()")
    page.press("ArrowRight")
    assert page("state.scores[0]") == 1.3 and page("at('dial-score-0').getAttribute('aria-valuetext')") == "1.30"


@pytest.mark.parametrize("width", [480, 1280])  # in the first, a sentence takes one line or two
def test_dragging_moves_nothing_but_what_it_is_about(page, width):
    page.size(width, 900)
    places = "[...document.querySelectorAll('.card, h4, .matrix, .stairs')].map(e => e.getBoundingClientRect().y)"
    before = page(places)
    for score in (-4, -1, 0, 0.8, 3, 4):
        page(f"change(replaced('scores', 2, {score}))")
        assert page(places) == before, score


@pytest.mark.parametrize("width", [390, 640, 1280])  # a phone; 1280 at 200 % zoom; a desk
def test_nothing_runs_over_the_side(page, width):
    page.size(width, 844, phone=width == 390)
    page("change({ words: Array(8).fill('incomprehensibly'), answers: [0, 1, 2, 0, 1], wants: 'value' })")
    for view in ("scores", "plane", "guess"):
        page(f"change({{ view: '{view}' }})")
        assert page("document.documentElement.scrollWidth") <= width, view


@pytest.mark.skipif(not AXE.exists(), reason="no axe-core: npm install --no-save axe-core")
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("view", ["scores", "plane", "guess"])
def test_axe_finds_nothing_to_complain_of(page, path, view, dark):
    page.size(390 if view == "plane" else 1280, 900, dark=dark, phone=view == "plane")
    page.open(path, f"#view={view}&answers=1&wants=value")
    page(AXE.read_text(encoding="utf-8") + "; 0")
    found = page.send("Runtime.evaluate", expression="axe.run()", awaitPromise=True, returnByValue=True)
    violations = found["result"]["value"]["violations"]
    assert [(v["id"], v["nodes"][0]["html"]) for v in violations] == []
