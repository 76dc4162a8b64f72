"""Writing on: with a cache as without, the likeliest, among the likeliest, and where to stop."""

import numpy as np
import pytest

from agreement import assert_close
from minigrad import no_grad
from minigrad.nn import GPT, GPTConfig


def model(**settings):
    config = {"vocab_size": 11, "block_size": 8, "n_layers": 2, "n_heads": 2, "d_model": 12} | settings
    gpt = GPT(GPTConfig(**config), np.random.default_rng(0)).astype(np.float64)
    for p in gpt.parameters():  # larger than they start, so that the logits differ
        p.data = 10 * p.data
    return gpt.eval()


@pytest.mark.parametrize("normalize", ["softmax", "entmax15"])
@pytest.mark.parametrize("lead", [(), (3,), (2, 1)])
def test_at_every_length_the_cache_gives_the_logits_of_the_whole(lead, normalize):
    gpt = model(normalize=normalize)
    ids = np.random.default_rng(1).integers(0, 11, (*lead, 8))
    whole = gpt(ids).data
    for first in range(1, 8):  # so many at once, then one by one
        caches = gpt.new_caches()
        with no_grad():
            parts = [gpt(ids[..., :first], caches=caches).data]
            parts += [gpt(ids[..., i : i + 1], caches=caches).data for i in range(first, 8)]
        assert_close(np.concatenate(parts, axis=-2), whole, 1e-13)
        assert all(cache.seen == 8 for cache in caches)


def test_a_full_cache_refuses_more():
    gpt = model()
    caches = gpt.new_caches()
    with no_grad():
        gpt(np.arange(8), caches=caches)
        with pytest.raises(ValueError, match="at most block_size = 8 ids at once, not 9"):
            gpt(np.array([1]), caches=caches)


def test_a_cache_loses_no_gradient_and_mixes_no_batches():
    gpt = model()
    with pytest.raises(RuntimeError, match=r"get no gradient: call the model under no_grad\(\)"):
        gpt(np.arange(3), caches=gpt.new_caches())
    caches = gpt.new_caches()
    with no_grad():
        gpt(np.ones((3, 2), int), caches=caches)
        with pytest.raises(ValueError, match=r"a batch of shape \(3,\), and cannot go on with \(1,\)"):
            gpt(np.ones((1, 1), int), caches=caches)


def test_a_gpt_without_blocks_writes_the_same_with_a_cache_and_without():
    gpt = model(n_layers=0)
    ids = [gpt.generate([1, 2, 3], 5, temperature=0, cache=cache) for cache in (True, False)]
    np.testing.assert_array_equal(*ids)
    assert gpt.generate(np.array([1, 2], np.uint64), 2).dtype == np.int64


@pytest.mark.parametrize("settings", [{}, {"temperature": 0}, {"temperature": 0.7, "top_k": 3}, {"top_p": 0.6}])
@pytest.mark.parametrize("prompt", [[1], [[1, 2, 3], [4, 5, 6]], [1] * 12])
def test_generate_writes_the_same_with_a_cache_and_without(settings, prompt):
    gpt = model()
    ids = [  # 12 more: beyond block_size, too
        gpt.generate(prompt, 12, cache=cache, rng=np.random.default_rng(3), **settings) for cache in (True, False)
    ]
    np.testing.assert_array_equal(*ids)
    assert ids[0].shape[-1] == np.shape(prompt)[-1] + 12


def test_the_cache_asks_for_one_position_at_a_time(monkeypatch):
    gpt, asked = model(), []
    forward = gpt.forward
    monkeypatch.setattr(gpt, "forward", lambda ids, **kw: asked.append(ids.shape[-1]) or forward(ids, **kw))
    gpt.generate([1, 2, 3], 7, rng=np.random.default_rng(0))
    assert asked == [3, 1, 1, 1, 1, 1, 8]  # the ninth id no longer fits: every position shifts


def test_temperature_0_takes_the_likeliest():
    gpt = model()
    ids = gpt.generate([1, 2], 5, temperature=0)
    for i in range(2, 7):
        assert ids[i] == gpt(ids[:i]).data[-1].argmax()


def test_top_p_draws_among_the_fewest_that_reach_p():
    gpt = model()
    logits = gpt(np.array([1, 2])).data[-1] / 20  # flat enough that several count
    p = np.exp(logits - logits.max())
    p /= p.sum()
    order = np.argsort(-p)
    rng = np.random.default_rng(4)
    for top_p in (1e-9, 0.5, 0.9, 1.0):
        allowed = set(order[: np.searchsorted(p[order].cumsum(), top_p * (1 - 1e-12)) + 1].tolist())
        drawn = {int(gpt.generate([1, 2], 1, temperature=20, top_p=top_p, rng=rng)[-1]) for _ in range(60)}
        assert drawn <= allowed
        assert top_p < 0.5 or len(drawn) > 1


def test_generation_stops_after_a_stop_id():
    gpt = model()
    free = gpt.generate([1, 2], 20, rng=np.random.default_rng(5))
    stop = int(free[6])
    first = 2 + free[2:].tolist().index(stop)
    np.testing.assert_array_equal(gpt.generate([1, 2], 20, stop=stop, rng=np.random.default_rng(5)), free[: first + 1])
    for bad in (99, -1, "a", [[1, 2]], 3.0):
        with pytest.raises(ValueError, match="generate stops at ids, integers below 11"):
            gpt.generate([1, 2], 3, stop=bad)
    with pytest.raises(TypeError, match=r"rng=np\.random\.default_rng\(1\), not 1"):
        gpt.generate([1, 2], 3, rng=1)


def test_a_sequence_that_ended_is_filled_up_until_the_others_end():
    gpt = model()
    free = gpt.generate([[1], [2], [3]], 30, rng=np.random.default_rng(7))
    stops = [int(free[0, 3]), int(free[1, 8])]
    ids = gpt.generate([[1], [2], [3]], 30, stop=stops, rng=np.random.default_rng(7))
    for row, whole in zip(ids, free, strict=True):
        hits = np.flatnonzero(np.isin(whole[1:], stops)) + 1
        end = hits[0] if len(hits) else len(whole)
        np.testing.assert_array_equal(row[: end + 1], whole[: end + 1][: len(row)])
        np.testing.assert_array_equal(row[end:], np.full(max(0, len(row) - end), whole[min(end, len(whole) - 1)]))
    assert ids.shape[1] < 31 and np.isin(ids[:, -1], stops).all()


def test_a_tied_head_is_one_table_with_both_gradients():
    gpt = model(tied_head=True)
    assert gpt.head is None and "head.weight" not in gpt.state_dict()
    ids = np.array([[1, 2, 3]])
    table = gpt.token_embedding.weight
    gpt(ids)[0, -1, 5].backward()
    assert np.abs(table.grad[5]).max() > 0  # as a head: the score of 5, an id that is not among the inputs
    assert np.abs(table.grad[2]).max() > 0  # as an embedding
    np.testing.assert_array_equal(table.grad[7], 0)
