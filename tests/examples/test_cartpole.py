"""examples/cartpole.py: its games are Gymnasium's, its baseline is one, and argmax gets no gradient."""

import importlib.util
import json
import statistics
from pathlib import Path

import numpy as np
import pytest

import cartpole
import minigrad as mg

RECORD = json.loads((Path(cartpole.__file__).parent / "results/cartpole.json").read_text(encoding="utf-8"))["rows"]
gymnasium = pytest.importorskip("gymnasium", reason="the cart and its pole are Gymnasium's")


@pytest.fixture(scope="module")
def short_run(tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    arguments = ["--quick", "--steps", "12", "--seeds", "1", "--processes", "1", "--out", str(out)]
    return cartpole.main([*arguments, "--json", str(out / "figures.json")]), out


def under_the_pole(state):
    """Scores that push to where the pole falls: some games last, others end early."""
    return state @ np.array([[0, -0.5], [0, 1.5], [0, 9.0], [0, 5.0]], dtype=np.float32)


@pytest.fixture(scope="module")
def games():
    return cartpole.play(under_the_pole, mg.softmax, 40, np.random.default_rng(0))


def test_games_end_where_gymnasiums_single_game_ends(games):
    states, pushes, on = games
    lengths = on.sum(0)
    assert lengths.max() == 500 and lengths.min() < 250  # both ways of ending are among them
    for g in (lengths.argmax(), lengths.argmin(), *range(3)):
        env = gymnasium.make("CartPole-v1")
        env.reset()
        for t in range(lengths[g]):
            env.unwrapped.state = states[t, g].astype(np.float64)  # else rounding grows as the pole falls
            state, reward, fallen, too_long, _ = env.step(pushes[t, g])
            assert reward == 1 and (fallen or too_long) == (t == lengths[g] - 1)
            if t < lengths[g] - 1:
                np.testing.assert_allclose(state, states[t + 1, g], atol=1e-5)


def test_a_game_that_has_ended_stays_off(games):
    on = games[2].astype(int)
    assert on[0].all() and (np.diff(on, axis=0) <= 0).all()


def test_pushes_are_drawn_by_their_weights_and_greedy_takes_the_larger():
    def always_the_same(state):
        return mg.Tensor(np.tile([0.0, 1.0], (len(state), 1)))

    right = 1 / (1 + np.exp(-1))
    _, pushes, _ = cartpole.play(always_the_same, mg.softmax, 300, np.random.default_rng(0))
    assert pushes.size > 3000
    np.testing.assert_allclose(pushes.mean(), right, atol=0.03)
    assert cartpole.play(always_the_same, mg.softmax, 10, np.random.default_rng(0), greedy=True)[1].all()


def test_the_return_counts_the_pushes_to_come_and_the_baseline_only_games_still_on():
    on = np.array([[1, 1, 1], [1, 1, 0], [1, 0, 0]], dtype=bool)
    returns = cartpole.returns_to_come(on)
    np.testing.assert_array_equal(returns, [[3, 2, 1], [2, 1, 0], [1, 0, 0]])
    np.testing.assert_array_equal(cartpole.mean_of_those_on(returns, on)[:, 0], [2, 1.5, 1])


def test_argmax_gets_no_gradient_and_stays_the_policy_it_was(short_run):
    run = short_run[0]["rows"]["argmax"][0]
    assert run["gradient"] == run["drift"] == 0.0
    assert run["greedy"] == run["untrained"] == run["sampled"]


def test_softmax_learns_and_straight_through_moves_without_learning(short_run):
    rows = {name: runs[0] for name, runs in short_run[0]["rows"].items()}
    assert rows["softmax"]["sampled"] > 1.5 * rows["uniform"]["sampled"]
    assert rows["argmax, straight-through"]["drift"] > 0.01
    assert rows["argmax, straight-through"]["sampled"] < 0.5 * rows["softmax"]["sampled"]


def test_its_words_follow_the_numbers(short_run):
    written = json.loads((short_run[1] / "figures.json").read_text())
    assert written["in_words"] == cartpole.in_words(written)
    written["rows"]["softmax"][0]["sampled"], written["rows"]["argmax"][0]["gradient"] = 499.0, 0.5
    assert "in 1 of 1 seeds; argmax's largest gradient is 0.5." in cartpole.in_words(written)[0]
    assert "softmax 499.0, argmax" in cartpole.in_words(written)[1]


def test_in_the_record_softmax_solves_the_game_in_every_seed():
    for name in ("softmax", "softmax, no baseline"):
        assert min(run["sampled"] for run in RECORD[name]) >= cartpole.SOLVED


def test_in_the_record_argmax_is_bit_for_bit_the_policy_it_was_and_plays_as_before():
    for run in RECORD["argmax"]:
        assert run["gradient"] == run["drift"] == 0.0 and run["greedy"] == run["untrained"]
    assert RECORD["argmax"] and statistics.median(run["sampled"] for run in RECORD["argmax"]) < 50


def test_in_the_record_straight_through_moves_and_seldom_learns():
    runs = RECORD["argmax, straight-through"]
    assert sum(run["drift"] > 0 for run in runs) > len(runs) / 2
    assert sum(run["sampled"] >= cartpole.SOLVED for run in runs) < len(runs) / 2


def test_its_picture_is_drawn(short_run):
    pytest.importorskip("matplotlib", reason="pictures need matplotlib")
    assert (short_run[1] / "cartpole_quick.png").read_bytes().startswith(b"\x89PNG")


def test_without_gymnasium_it_says_what_to_install(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit):
        cartpole.main(["--quick", "--out", str(tmp_path)])
    assert "pip install gymnasium" in capsys.readouterr().err
