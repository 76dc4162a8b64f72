"""examples/recommend.py: its users, its measures, its controls, and what a short training learns."""

import json
import math
import statistics
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
import recommend
from recommend import EACH, HISTORY, INTERESTS, Settings

RECORD = json.loads((Path(recommend.__file__).parent / "results/recommend.json").read_text(encoding="utf-8"))["rows"]


@pytest.fixture(scope="module")
def short_run(tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    arguments = ["--quick", "--steps", "5", "--seeds", "1", "--processes", "1", "--out", str(out)]
    results = recommend.main([*arguments, "--json", str(out / "figures.json")])
    return results, out


@pytest.fixture(scope="module")
def learned():
    return {weights.__name__: recommend.train(Settings(weights, steps=300), 0) for weights in (mg.softmax, mg.uniform)}


@pytest.mark.parametrize("k", INTERESTS)
def test_a_history_has_each_interest_equally_often(k):
    history, _, _ = recommend.make_users(np.full(200, k), 10, np.random.default_rng(0))
    for genres in history // EACH:
        np.testing.assert_array_equal(np.unique(genres, return_counts=True)[1], np.full(k, HISTORY // k))


def test_only_the_candidates_genre_and_how_well_liked_it_is_decide_on_the_click():
    history, candidates, p = recommend.make_users(np.repeat(INTERESTS, 200), 50, np.random.default_rng(1))
    mine = (history[:, None] // EACH == candidates[..., None] // EACH).any(-1)
    logit = np.log(p / (1 - p)) - recommend.LIKED[candidates]
    np.testing.assert_allclose(logit, np.where(mine, 1, -3))
    for k, of_k in zip(INTERESTS, np.split(mine, 4), strict=True):  # as many to find, however many interests
        assert abs(of_k.mean() - 0.2) < 0.02, k


def test_auc_of_known_orders():
    clicks = np.array([True, True, False, False])
    for scores, expected in (([4, 3, 2, 1], 1), ([1, 2, 3, 4], 0), ([4, 1, 3, 2], 0.5), ([4, 2, 3, 1], 0.75)):
        assert recommend.auc(np.array(scores), clicks) == expected
    assert recommend.auc(np.zeros(4), clicks) == 0.5  # ties count a half
    assert math.isnan(recommend.auc(np.arange(4), np.zeros(4, bool)))


def test_both_measures_are_scikit_learns():
    metrics = pytest.importorskip("sklearn.metrics", reason="compared with scikit-learn")
    rng = np.random.default_rng(2)
    scores, clicks = rng.integers(0, 10, 50), rng.random(50) < 0.3
    assert recommend.auc(scores, clicks) == pytest.approx(metrics.roc_auc_score(clicks, scores))
    scores = rng.random(50)
    assert recommend.ndcg(scores, clicks) == pytest.approx(metrics.ndcg_score([clicks], [scores], k=10))


def test_ndcg_of_known_orders():
    scores, click_at = -np.arange(20.0), np.eye(20, dtype=bool)
    assert recommend.ndcg(scores, click_at[0]) == 1
    assert recommend.ndcg(scores, click_at[2]) == pytest.approx(1 / 2)  # rank 3: 1 / log2(4)
    assert recommend.ndcg(scores, click_at[9]) == pytest.approx(1 / math.log2(11))
    assert recommend.ndcg(scores, click_at[10]) == 0  # rank 11 is beyond
    two = click_at[0] | click_at[2]
    assert recommend.ndcg(scores, two) == pytest.approx((1 + 1 / 2) / (1 + 1 / math.log2(3)))
    assert math.isnan(recommend.ndcg(scores, np.zeros(20, bool)))


def read(row, history, candidates):
    """What the head sees of the history: what is left of its input when the item and the product are cut off."""
    model, seen = recommend.Recommender(recommend.ROWS[row], np.random.default_rng(3)), []
    head = model.head
    model.head = lambda x: (seen.append(x.numpy()), head(x))[1]
    model(history, candidates)
    return seen[0][..., 8:16], model.item(history).numpy()


def test_the_controls_are_what_they_are_called():
    history, candidates, _ = recommend.make_users(np.array([4, 8]), 10, np.random.default_rng(4))
    pooled, past = read("mean pooling", history, candidates)
    np.testing.assert_allclose(pooled, np.broadcast_to(past.mean(1, keepdims=True), pooled.shape), rtol=1e-5, atol=1e-6)
    assert not read("no history", history, candidates)[0].any()
    for one in read("hardmax", history, candidates)[0].reshape(-1, 8):
        assert np.isclose(past.reshape(-1, 8), one).all(1).any()  # one item of the history, as it is
    summaries = read("attention", history, candidates)[0]
    assert np.std(summaries, axis=1).max() > 0.01  # each candidate reads its own


def test_softmax_is_attention_with_the_candidate_as_query():
    history, candidates, _ = recommend.make_users(np.array([4, 8]), 10, np.random.default_rng(5))
    model = recommend.Recommender(Settings(), np.random.default_rng(3))
    q, past = model.query(model.item(candidates)), model.item(history)
    weights = mg.attention_weights(q, model.key(past))
    np.testing.assert_allclose(
        read("attention", history, candidates)[0], (weights @ past).numpy(), rtol=1e-4, atol=1e-6
    )


def test_all_rows_of_one_width_start_from_the_same_parameters():
    first, *others = (
        recommend.Recommender(s, np.random.default_rng(0))
        for s in recommend.ROWS.values()
        if (s.d, s.scale) == (8, 0.3)
    )
    for other in others:
        for a, b in zip(first.parameters(), other.parameters(), strict=True):
            np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_attention_helps_with_eight_interests_and_hardly_with_one(learned):
    attention, mean = learned["softmax"], learned["uniform"]
    assert attention["auc8"] > mean["auc8"] + 8  # measured on four seeds: 12.1 to 14.1
    assert abs(attention["auc1"] - mean["auc1"]) < 3  # measured: 0.7 to 1.8
    assert attention["on_genre8"] > 60  # measured: 81 to 89; a mean has 12.5


def test_the_weights_shown_are_of_candidates_of_her_genres(learned):
    told = learned["softmax"]
    assert {item.split()[0] for item in told["candidates"]} <= {item.split()[0] for item in told["history"]}
    assert np.shape(told["weights"]) == (len(told["candidates"]), HISTORY)
    np.testing.assert_allclose(np.sum(told["weights"], axis=1), 1, atol=0.02)  # written with three digits
    assert "weights" not in learned["uniform"]


def test_nothing_beats_the_true_click_probability(learned):
    for run in learned.values():
        for k in INTERESTS:
            assert run[f"auc{k}"] < run[f"best_auc{k}"] and run[f"ndcg{k}"] < run[f"best_ndcg{k}"]
    assert learned["softmax"]["best_auc8"] == learned["uniform"]["best_auc8"]  # the same users for all rows


def test_its_words_follow_the_numbers(short_run):
    written = json.loads((short_run[1] / "figures.json").read_text())
    assert written["in_words"] == recommend.in_words(written)
    written["rows"]["attention"][0]["auc8"], written["rows"]["mean pooling"][0]["auc8"] = 81.0, 72.0
    assert "with 8 interests: attention 81.0, mean pooling 72.0." in recommend.in_words(written)[0]


def recorded(name, key):
    return statistics.median(run[key] for run in RECORD[name])


def test_in_the_record_attentions_gain_over_a_mean_grows_with_the_interests():
    for measure in ("auc", "ndcg"):
        gains = [recorded("attention", f"{measure}{k}") - recorded("mean pooling", f"{measure}{k}") for k in INTERESTS]
        assert gains == sorted(gains) and gains[-1] > gains[0] + 10


def test_in_the_record_a_mean_of_long_vectors_has_room_for_all_interests():
    assert abs(recorded("attention, d = 32", "auc8") - recorded("mean pooling, d = 32", "auc8")) < 1


def test_in_the_record_candidates_attend_to_their_own_genre():
    assert min(run["on_genre8"] for run in RECORD["attention"]) > 90  # of a mean: 12.5


def test_in_the_record_the_controls_rank_as_told():
    auc8 = {name: recorded(name, "auc8") for name in RECORD}
    assert auc8["no history"] < auc8["hardmax"] < auc8["mean pooling"] < auc8["attention, table at scale 1"]
    assert auc8["attention, table at scale 1"] < auc8["attention"] < recorded("attention", "best_auc8")


def test_its_picture_is_drawn(short_run):
    pytest.importorskip("matplotlib", reason="pictures need matplotlib")
    assert (short_run[1] / "recommend_quick.png").read_bytes().startswith(b"\x89PNG")


def test_items_begin_as_strangers_and_training_brings_those_of_a_genre_together():
    found = recommend.train(Settings(steps=150), seed=100)["vectors"]
    assert found["before"]["nearest"] < 15 < 50 < found["after"]["nearest"]
    assert found["after"]["cosine, same genre"] > 0.3 > 0.1 > found["after"]["cosine, other genres"]
    assert found["after"]["score, same genre"] > found["after"]["score, other genres"] + 0.5
