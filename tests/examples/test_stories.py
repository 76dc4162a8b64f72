"""Every example's main() runs at a tiny setting, and what it says comes from its numbers."""

import importlib.util
import json
import statistics
import sys
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def example(name):
    sys.path.insert(0, str(EXAMPLES))
    try:
        spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # dataclasses look their module up
        spec.loader.exec_module(module)
        return module
    finally:
        sys.path.remove(str(EXAMPLES))


@pytest.fixture(scope="module")
def short_run(tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    arguments = ["--quick", "--steps", "100", "--seeds", "2", "--processes", "1"]
    results = example("soft_vs_hard").main([*arguments, "--out", str(out), "--json", str(out / "figures.json")])
    return results, out


def test_hard_attention_never_moves_its_router_and_softmax_does(short_run):
    results, _ = short_run
    rows = results["retrieval"]["8"]
    assert [run["drift"] for run in rows["hardmax (argmax)"]] == [0.0, 0.0]
    assert [run["drift"] for run in results["text"]["hardmax (argmax)"]] == [0.0, 0.0]
    assert min(run["drift"] for run in rows["softmax"]) > 0.1
    assert min(run["drift"] for run in results["text"]["softmax"]) > 0.01


def test_freezing_hard_attentions_tables_changes_nothing(short_run):
    rows = short_run[0]["retrieval"]["8"]
    assert rows["hardmax (argmax)"] == rows["control: hardmax, frozen tables"]


def test_a_hundred_steps_of_softmax_already_beat_every_control(short_run):
    rows = short_run[0]["retrieval"]["8"]
    worst = min(run["curve"][-1] for run in rows["softmax"])
    controls = [name for name in rows if "control" in name or "hardmax" in name]
    assert len(controls) == 4
    assert worst > 20 + max(run["curve"][-1] for name in controls for run in rows[name])


def test_the_figures_are_written_whole(short_run):
    results, out = short_run
    assert json.loads((out / "figures.json").read_text()) == json.loads(json.dumps(results))
    assert [path.name for path in out.iterdir() if path.name.startswith(".")] == []


def test_the_picture_is_drawn(short_run):
    pytest.importorskip("matplotlib", reason="pictures need matplotlib")
    assert (short_run[1] / "soft_vs_hard_quick.png").read_bytes().startswith(b"\x89PNG")


def test_the_words_follow_the_numbers(short_run):
    module, results = example("soft_vs_hard"), json.loads(json.dumps(short_run[0]))
    words = module.in_words(results)
    assert words == short_run[0]["in_words"] and words[1].endswith("tables by exactly 0.")
    results["retrieval"]["8"]["hardmax (argmax)"][0]["drift"] = 0.1
    assert module.in_words(results)[1].endswith("tables by exactly 0.1.")


def test_questions_can_be_answered_from_their_keys_and_only_from_them():
    query, keys, values, answer = example("retrieval").questions(8, 500, np.random.default_rng(0))
    assert keys.shape == values.shape == (500, 8)
    assert all(len(set(row)) == 8 for row in keys.tolist())
    found = keys == query[:, None]
    assert (found.sum(1) == 1).all()
    np.testing.assert_array_equal(values[found], answer)
    assert keys.max() == 15 and values.max() == 7


def test_a_random_route_is_right_as_often_as_computed():
    module, rng = example("retrieval"), np.random.default_rng(0)
    _, _, values, answer = module.questions(8, 200_000, rng)
    picked = values[np.arange(200_000), rng.integers(0, 8, 200_000)]
    assert 100 * np.mean(picked == answer) == pytest.approx(module.random_route(8), abs=0.4)  # 4 standard errors


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "there is no file"), (b"", "is empty"), (b"\x00\x01\xff\xfe" * 10, "not"), (b"short", "too short")],
)
def test_a_text_that_cannot_be_used_is_refused_before_training(tmp_path, capsys, content, message):
    path = tmp_path / "text.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SystemExit) as stopped:
        example("soft_vs_hard").main(["--text", str(path), "--out", str(tmp_path / "out")])
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert message in said and str(path) in said


def test_a_folder_that_cannot_be_written_is_found_before_training(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit):
        example("softmax_tour").main(["--out", str(tmp_path / "file" / "out")])
    assert "cannot write to" in capsys.readouterr().err


def test_the_tour_prints_the_articles_figures(tmp_path, capsys):
    results = example("softmax_tour").main(["--out", str(tmp_path)])
    said = capsys.readouterr().out
    assert "0.84  0.11  0.04" in said and "0.57  0.29  0.14" in said
    assert max(results["votes"], key=results["votes"].get) == "A"
    assert results["gradient hardmax"] == [0, 0, 0] and all(results["gradient softmax"])
    assert results["temperature"]["0.1"][0] > 0.9 > 0.4 > results["temperature"]["10.0"][0]


def test_a_picture_leaves_out_axes_without_data_and_is_written_whole(tmp_path):
    pytest.importorskip("matplotlib", reason="pictures need matplotlib")
    drawn = []

    @example("pictures").picture(1, 2, size=(4, 2))
    def draw(results, left, right):
        left.plot(results)
        drawn.append((left.figure, right))

    draw([1, 2], tmp_path / "picture.png")
    (figure, right) = drawn[0]
    assert len(figure.axes) == 1 and right not in figure.axes
    assert [path.name for path in tmp_path.iterdir()] == ["picture.png"]


@pytest.mark.parametrize(("numbers", "shown"), [([1.0], "1.0"), ([1.0, 3.0, 2.0], "2.0 (1.0 – 3.0)")])
def test_a_spread_is_the_median_and_the_range(numbers, shown):
    assert example("story").spread(numbers) == shown


# --- the recorded runs -----------------------------------------------------------------------------------------------


def recorded(name):
    return json.loads((EXAMPLES / "results" / f"{name}.json").read_text(encoding="utf-8"))


def medians(rows):
    return {name: statistics.median(run["accuracy"] for run in runs) for name, runs in rows.items()}


@pytest.mark.parametrize("n", ["8", "32"])
def test_recorded_argmax_never_moves_its_tables_and_freezing_them_gives_the_very_same_runs(n):
    rows = recorded("soft_vs_hard")["retrieval"][n]
    assert all(run["drift"] == 0 for run in rows["hardmax (argmax)"])
    assert rows["hardmax (argmax)"] == rows["control: hardmax, frozen tables"]


@pytest.mark.parametrize("n", ["8", "32"])
def test_recorded_softmax_and_estimators_learn_what_argmax_does_not(n):
    accuracy = medians(recorded("soft_vs_hard")["retrieval"][n])
    assert accuracy["softmax"] > 99.9
    for name in ("straight-through", "Gumbel straight-through", "REINFORCE, 4 draws"):
        assert accuracy[name] > 90
    assert accuracy["hardmax (argmax)"] < accuracy["control: uniform"] < 33


def test_recorded_on_text_hardmax_learns_around_its_attention_and_least_of_all():
    results = recorded("soft_vs_hard")
    bits = {name: statistics.median(run["bits"] for run in runs) for name, runs in results["text"].items()}
    assert all(run["drift"] == 0 for run in results["text"]["hardmax (argmax)"])
    assert max(bits, key=bits.get) == "hardmax (argmax)" and bits["softmax"] < min(bits.values()) + 0.03
    assert bits["straight-through"] < bits["control: softmax, frozen queries and keys"] < bits["hardmax (argmax)"]
    assert bits["hardmax (argmax)"] < results["source"]["count table"]


def test_recorded_the_tours_gradient_is_exactly_zero_through_three_normalizers():
    results = recorded("softmax_tour")
    zero = [name for name in example("softmax_tour").NORMALIZERS if not any(results[f"gradient {name}"])]
    assert zero == ["hardmax", "sparsemax", "entmax15"]
