import base64
import re
import xml.etree.ElementTree as ET
import zlib

import numpy as np
import pytest

import minigrad as mg
from minigrad import viz

WORDS = ["my", "grandmother", "bakes"]
CAUSAL = np.array([[1.0, 0.0, 0.0], [0.25, 0.75, 0.0], [0.2, 0.3, 0.5]])


def parse(heatmap):
    ET.fromstring(heatmap.svg)  # it is well-formed
    return heatmap.svg


def test_each_weight_above_0_is_a_square_that_tells_its_value():
    svg = parse(viz.heatmap(CAUSAL, WORDS))
    assert re.findall(r"<title>(.*?)</title>", svg) == [
        "my → my: 1",
        "grandmother → my: 0.25",
        "grandmother → grandmother: 0.75",
        "bakes → my: 0.2",
        "bakes → grandmother: 0.3",
        "bakes → bakes: 0.5",
    ]
    assert re.findall(r'<rect x.*?fill-opacity="(.*?)"', svg) == ["1", "0.25", "0.75", "0.2", "0.3", "0.5"]


def test_each_head_has_its_map_and_all_share_one_scale():
    svg = parse(viz.heatmap(np.stack([CAUSAL / 2, CAUSAL]), WORDS))
    assert svg.count('class="map"') == 2 and "head 1" in svg
    assert "strongest: 1" in svg
    assert re.findall(r'<rect x.*?fill-opacity="(.*?)"', svg)[0] == "0.5"


def test_a_tensor_of_one_batch_entry_is_fine():
    assert "strongest" in parse(viz.heatmap(mg.softmax(mg.Tensor(np.zeros((2, 3, 3)), requires_grad=True)), WORDS))


def test_strings_are_characters_and_markup_is_escaped():
    svg = parse(viz.heatmap(CAUSAL, "<& "))
    assert "&lt;</text>" in svg and "␣</text>" in svg


def test_tokens_may_be_ids():
    assert "7 → 7: 1" in parse(viz.heatmap(CAUSAL, np.array([7, 11, 13])))


def test_cross_attention_has_its_own_keys():
    svg = parse(viz.heatmap(np.ones((2, 3)) / 3, ["mi", "abuela"], WORDS))
    assert "abuela → grandmother: 0.333" in svg


def test_long_inputs_stay_small_and_name_every_few():
    rng = np.random.default_rng(0)
    svg = parse(viz.heatmap(mg.softmax(rng.normal(size=(1, 512, 512))), "x" * 512))
    assert len(svg) < 600_000
    assert 20 < svg.count(">x</text>") < 200
    assert float(re.search(r'width="([\d.]+)"', svg)[1]) < 1000


def test_the_image_of_a_long_input_holds_the_weights():
    w = np.zeros((64, 64))
    w[3, 5], w[4, 6], w[5, 7] = 1.0, 0.25, np.nan
    png = base64.b64decode(re.search(r"base64,(.*?)\"", viz.heatmap(w).svg)[1])
    data = zlib.decompress(png[png.index(b"IDAT") + 4 : png.index(b"IEND") - 8])
    pixels = np.frombuffer(data, np.uint8).reshape(64, 1 + 64 * 4)[:, 1:].reshape(64, 64, 4)
    assert pixels[3, 5, 3] == 255 and pixels[0, 0, 3] == 0
    assert pixels[4, 6, 3] == 127  # the square root of 1/4
    assert tuple(pixels[5, 7]) == (214, 0, 160, 255)


def test_nan_and_negative_weights_have_their_own_colors():
    svg = parse(viz.heatmap(np.array([[np.nan, -0.5], [0.5, 1.0]])))
    assert "rgb(214,0,160)" in svg and "rgb(200,90,0)" in svg


def test_a_weight_has_the_same_color_in_every_picture():
    pale, hard = (viz.heatmap(w).svg for w in (np.full((6, 6), 1 / 6), np.eye(6)))
    squares = r'<rect x.*?fill-opacity="(.*?)"'
    assert set(re.findall(squares, pale)) == {"0.167"} and set(re.findall(squares, hard)) == {"1"}
    assert set(re.findall(squares, viz.heatmap(np.full((6, 6), 1 / 6), vmax=None).svg)) == {"1"}
    assert set(re.findall(squares, viz.heatmap(np.full((6, 6), 0.6), vmax=0.5).svg)) == {"1"}  # all above is full


def test_a_bar_tells_the_scale():
    assert [">0<" in svg and ">0.5<" in svg for svg in [parse(viz.heatmap(CAUSAL, vmax=0.5))]] == [True]
    assert parse(viz.heatmap(CAUSAL)).count('h4v10h-4z"') == 20


def test_maps_may_have_titles_of_their_own():
    svg = parse(viz.heatmap(np.stack([CAUSAL, CAUSAL]), WORDS, titles=["soft<max", "hardmax"]))
    assert "soft&lt;max</text>" in svg and "head 0" not in svg
    assert "one</text>" in viz.heatmap(CAUSAL, titles=["one"]).svg


def test_many_heads_wrap_into_rows_of_equal_length():
    svg = parse(viz.heatmap(np.tile(np.eye(6), (8, 1, 1)), list("abcdef")))
    places = re.findall(r'<g transform="translate\(([\d.]+) ([\d.]+)\)"', svg)
    assert len(places) == 8 and len({x for x, _ in places}) == 4 and len({y for _, y in places}) == 2
    assert float(re.search(r'width="([\d.]+)"', svg)[1]) <= 900
    narrow = parse(viz.heatmap(np.tile(np.eye(6), (8, 1, 1)), list("abcdef"), width=400))
    assert float(re.search(r'width="([\d.]+)"', narrow)[1]) <= 400


def test_special_tokens_may_be_grey():
    svg = parse(viz.heatmap(CAUSAL, ["[CLS]", "a", "b"], quiet=["[CLS]"]))
    assert re.findall(r'fill="rgb\((\d+)[^>]*><title>(.*?):', svg) == [
        ("104", "[CLS] → [CLS]"), ("104", "a → [CLS]"), ("20", "a → a"), ("104", "b → [CLS]"), ("20", "b → a"),
        ("20", "b → b"),
    ]  # fmt: skip


def test_a_row_tells_its_weights_to_keyboard_touch_and_screen_reader():
    svg = parse(viz.heatmap(CAUSAL, WORDS))
    rows = re.findall(r'<g class="row" tabindex="0" role="img" aria-label="(.*?)">', svg)
    assert rows[2] == "bakes attends to bakes 0.5, grandmother 0.3, my 0.2" and len(rows) == 3
    assert ">bakes → bakes 0.5, grandmother 0.3, my 0.2</text>" in svg


@pytest.mark.parametrize("token", ["a\nb", "\x00", "\ud800", "<&>", "寿司寿司寿司寿司寿司"])
def test_any_token_makes_a_picture(token):
    parse(viz.heatmap(CAUSAL, [token, "b", "c"], title=token, titles=[token]))


def test_save_writes_an_svg(tmp_path):
    assert viz.heatmap(CAUSAL, WORDS).save(tmp_path / "map.SVG").read_text().startswith("<svg")


def test_bad_input_gets_one_clear_sentence(tmp_path):
    with pytest.raises(ValueError, match=r"2 tokens for 3 queries: weights have shape \(3, 3\)"):
        viz.heatmap(CAUSAL, WORDS[:2])
    with pytest.raises(ValueError, match="4 tokens for 3 keys"):
        viz.heatmap(CAUSAL, WORDS, [*WORDS, "cookies"])
    with pytest.raises(ValueError, match=r"not shape \(2, 2, 3, 3\): of a batch take one"):
        viz.heatmap(np.zeros((2, 2, 3, 3)))
    with pytest.raises(ValueError, match="2 titles for 1 map"):
        viz.heatmap(CAUSAL, titles=["a", "b"])
    for vmax in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="vmax is the weight that gets the full color, above 0, not"):
            viz.heatmap(CAUSAL, vmax=vmax)
    with pytest.raises(ValueError, match=r"saved as .svg, not 'map.png'"):
        viz.heatmap(CAUSAL).save(tmp_path / "map.png")
    with pytest.raises(OSError, match="cannot write"):
        viz.heatmap(CAUSAL).save(tmp_path / "nowhere" / "map.svg")
