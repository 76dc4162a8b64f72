"""examples/digits.py: its patches, its controls, its words, its picture, and what the record says."""

import importlib.util
import json
import statistics
from pathlib import Path

import numpy as np
import pytest

import digits
import minigrad as mg

pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
RECORD = json.loads((Path(digits.__file__).parent / "results/digits.json").read_text(encoding="utf-8"))["rows"]


def reader(row=digits.ROWS["softmax"], seed=0):
    return digits.reader(row, np.random.default_rng(seed))


def images(n=5):
    return np.random.default_rng(1).random((n, 8, 8), dtype=np.float32)


@pytest.fixture(scope="module")
def short_run(tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    arguments = ["--quick", "--steps", "30", "--seeds", "1", "--processes", "1", "--out", str(out)]
    return digits.main([*arguments, "--json", str(out / "figures.json")]), out


def test_a_patch_is_two_by_two_neighbouring_pixels():
    model, x = reader(), images()
    seen = []
    model.block.forward = lambda patches: seen.append(patches.numpy()) or patches
    model.patches(x)
    for patch in range(16):
        row, column = 2 * (patch // 4), 2 * (patch % 4)
        pixels = x[:, row : row + 2, column : column + 2].reshape(-1, 4)
        expected = model.embed(mg.Tensor(pixels)).numpy() + model.positions.numpy()[patch]
        np.testing.assert_allclose(seen[0][:, patch], expected, atol=1e-6)


def shuffled(x):
    """The same patches of every image in another order."""
    patches = (
        x.reshape(-1, 4, 2, 4, 2).swapaxes(2, 3).reshape(-1, 16, 2, 2)[:, np.random.default_rng(2).permutation(16)]
    )
    return patches.reshape(-1, 4, 4, 2, 2).swapaxes(2, 3).reshape(-1, 8, 8)


def test_without_positions_the_order_of_the_patches_is_lost():
    x = images()
    bag, with_positions = reader(digits.ROWS["softmax, no positions"]), reader()
    np.testing.assert_allclose(bag(x).numpy(), bag(shuffled(x)).numpy(), atol=1e-5)
    assert np.abs(with_positions(x).numpy() - with_positions(shuffled(x)).numpy()).max() > 0.01


def test_the_rows_look_as_their_names_say():
    x = images()
    for name, largest in (("same weight for all", 1 / 16), ("argmax", 1.0), ("argmax, straight-through", 1.0)):
        model = reader(digits.ROWS[name])
        weights = model.attn.weights(model.class_token, model.patches(x))
        np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-6)
        np.testing.assert_allclose(weights.max(-1), largest, atol=1e-6)


def test_softmax_learns_to_read_and_only_argmax_and_uniform_keep_their_queries_and_keys(short_run):
    rows = {name: runs[0] for name, runs in short_run[0]["rows"].items()}
    assert rows["softmax"]["accuracy"] > 20  # guessing: 10
    assert rows["argmax"]["drift"] == rows["same weight for all"]["drift"] == 0.0
    assert rows["softmax"]["drift"] > 0.01 and rows["argmax, straight-through"]["drift"] > 0.01
    assert "drift" not in rows["MLP on pixels"]


def test_what_is_shown_are_test_images_with_what_was_read_and_where_it_looked(short_run):
    from sklearn.datasets import load_digits

    shown = short_run[0]["rows"]["softmax"][0]["shown"]
    test = np.random.default_rng([0, 1]).permutation(1797)[1297:]
    data = load_digits()
    known = {data.images[i].astype(int).tobytes(): data.target[i] for i in test}
    assert [known[np.array(image).tobytes()] for image in shown["images"]] == shown["digits"]
    np.testing.assert_allclose(np.sum(shown["looks_at"], axis=(1, 2)), 1, atol=0.01)
    wrong = np.array(shown["answers"]) != shown["digits"]
    assert wrong.sum() == 2 and wrong[-2:].all()


def test_its_words_follow_the_numbers(short_run):
    text = (short_run[1] / "figures.json").read_text()
    written = json.loads(text)
    assert len(text) < 150_000
    assert written["in_words"] == digits.in_words(written)
    written["rows"]["softmax"][0]["accuracy"] = 98.0
    assert "reads 98.0 % of 500 unseen digits right" in digits.in_words(written)[0]


def test_in_the_record_softmax_reads_nearly_all_and_so_does_the_same_weight_for_all():
    read = {name: statistics.median(run["accuracy"] for run in runs) for name, runs in RECORD.items()}
    assert read["softmax"] > 95
    assert abs(read["softmax"] - read["same weight for all"]) < 2  # to choose where to look does not help here
    assert abs(read["softmax"] - read["MLP on pixels"]) < 2  # images this small do not need attention
    assert read["argmax"] < read["argmax, straight-through"] - 5
    assert read["softmax, no positions"] < 80


def test_in_the_record_argmax_never_moves_its_queries_and_keys():
    assert {run["drift"] for run in RECORD["argmax"]} == {0.0}
    assert min(run["drift"] for run in RECORD["softmax"]) > 0.1


def test_its_picture_is_drawn(short_run):
    pytest.importorskip("matplotlib", reason="pictures need matplotlib")
    assert (short_run[1] / "digits_quick.png").read_bytes().startswith(b"\x89PNG")


def test_without_scikit_learn_it_says_what_to_install(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit):
        digits.main(["--quick", "--out", str(tmp_path)])
    assert "pip install scikit-learn" in capsys.readouterr().err
