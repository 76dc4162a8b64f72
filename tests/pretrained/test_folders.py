"""Folders: what is saved loads again, in Hugging Face's own loader too; what is wrong with one is said."""

import json
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest

from agreement import assert_close
from minigrad import nn

pytest.importorskip("safetensors", reason="pip install 'minigrad[pretrained]'")
pytest.importorskip("tokenizers", reason="pip install 'minigrad[pretrained]'")
from safetensors.numpy import load_file, save_file

from minigrad import pretrained

HERE = Path(__file__).parent
IDS = np.array([[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]])


@pytest.fixture(params=["bert", "gpt2"])
def kind(request):
    return request.param


@pytest.fixture
def folder(kind, tmp_path):
    """A copy to damage."""
    return Path(shutil.copytree(HERE / kind, tmp_path / kind))


def load(folder):
    model = nn.BERT if "bert" in Path(folder).name else nn.GPT
    return model.from_pretrained(folder)


def change(folder, **settings):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def rewrite(folder, edit):
    path = folder / "model.safetensors"
    tensors = dict(load_file(path))
    edit(tensors)
    save_file(tensors, path)


# --- there and back ----------------------------------------------------------------


def test_what_is_saved_loads_again_with_the_same_numbers(kind, tmp_path):
    model = load(HERE / kind)
    model.save_pretrained(tmp_path / kind)
    again = load(tmp_path / kind)
    assert again.config == model.config
    for (name, a), (other, b) in zip(model.named_parameters(), again.named_parameters(), strict=True):
        assert name == other
        np.testing.assert_array_equal(a.data, b.data)
    before, after = (load_file(f / "model.safetensors") for f in (HERE / kind, tmp_path / kind))
    assert before.keys() == after.keys()
    for name in before:
        np.testing.assert_array_equal(before[name], after[name])


def test_a_model_made_here_loads_in_transformers(kind, tmp_path):
    transformers = pytest.importorskip("transformers", reason="pip install transformers torch")
    torch = pytest.importorskip("torch", reason="pip install torch")
    rng = np.random.default_rng(0)
    if kind == "bert":
        model = nn.BERT(nn.BERTConfig(30, 12, n_layers=2, n_heads=2, d_model=8), rng)
    else:
        model = nn.GPT(nn.GPTConfig(30, 12, n_layers=2, n_heads=2, d_model=8, tied_head=False), rng)
    for p in model.parameters():
        p.data = rng.normal(0, 0.5, p.shape)
    model.save_pretrained(tmp_path)
    theirs = (transformers.BertModel if kind == "bert" else transformers.GPT2LMHeadModel).from_pretrained(tmp_path)
    out = theirs.eval()(torch.tensor(IDS))[0].detach().numpy()
    assert_close(model.eval()(IDS).data, out, 1e-5)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_other_floating_formats_become_float32(folder, dtype):
    full = load(folder)
    path = folder / "model.safetensors"
    if dtype == "bfloat16":  # the library writes none from NumPy: the upper halves of the float32s, by hand
        write_bfloat16(path, dict(load_file(path)))
    else:
        rewrite(folder, lambda tensors: tensors.update({n: a.astype(dtype) for n, a in tensors.items()}))
    rounded = load(folder)
    for a, b in zip(full.parameters(), rounded.parameters(), strict=True):
        assert b.dtype == np.float32
        assert_close(b.data, a.data, {"float16": 1e-3, "bfloat16": 1e-2, "float64": 0}[dtype])


def write_bfloat16(path, tensors):
    header, parts, at = {}, [], 0
    for name, a in tensors.items():
        part = (np.ascontiguousarray(a).view(np.uint32) >> 16).astype("<u2").tobytes()
        header[name] = {"dtype": "BF16", "shape": list(a.shape), "data_offsets": [at, at + len(part)]}
        parts.append(part)
        at += len(part)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(parts))


def test_shards_are_read_as_one(folder):
    full = load(folder)
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    places = {name: f"model-{i % 2 + 1}-of-2.safetensors" for i, name in enumerate(names)}
    for file in set(places.values()):
        save_file({name: tensors[name] for name in names if places[name] == file}, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    for a, b in zip(full.parameters(), load(folder).parameters(), strict=True):
        np.testing.assert_array_equal(a.data, b.data)
    (folder / "model-2-of-2.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"lacks model-2-of-2\.safetensors"):
        load(folder)


def test_old_names_of_norms_and_known_heads(tmp_path):
    folder = Path(shutil.copytree(HERE / "bert", tmp_path / "bert"))

    def edit(tensors):
        for name in list(tensors):
            old = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
            tensors[f"bert.{old}"] = tensors.pop(name)
        tensors["cls.predictions.bias"] = np.zeros(3, np.float32)
        tensors["bert.embeddings.position_ids"] = np.arange(12)[None]
        del tensors["bert.pooler.dense.weight"], tensors["bert.pooler.dense.bias"]

    rewrite(folder, edit)
    with pytest.warns(UserWarning, match=r"not used: cls\.predictions\.bias$"):
        model = load(folder)
    assert model.pooler is None
    with pytest.raises(ValueError, match="this BERT has no pooler"):
        model.pooled(model(IDS))
    np.testing.assert_array_equal(model(IDS).data, load(HERE / "bert")(IDS).data)


def test_a_model_that_hugging_face_cannot_have_is_not_saved(tmp_path):
    model = nn.GPT(nn.GPTConfig(30, 12, n_layers=1, n_heads=2, d_model=8, normalize="uniform"))
    with pytest.raises(ValueError, match="knows softmax alone, not normalize='uniform'"):
        model.save_pretrained(tmp_path / "new")
    assert not (tmp_path / "new").exists()


# --- what is wrong is said ----------------------------------------------------------------


def test_what_a_folder_lacks(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        load(tmp_path / "bert-of-nobody")
    (folder / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"has no model\.safetensors"):
        load(folder)
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04")
    with pytest.raises(ValueError, match=r"pickle.* never opened.*safe_serialization=True"):
        load(folder)
    (folder / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"has no config\.json"):
        load(folder)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"model_type": "llama"}, "holds a model of type 'llama'.*nn.BERT .*nn.GPT"),
        ({"hidden_act": "relu", "activation_function": "relu"}, "asks for 'relu'; there are gelu, gelu_new"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type='relative_key'; only 'absolute'"),
        ({"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx=True; only False"),
        ({"vocab_size": "many"}, "vocab_size must be an integer"),
    ],
)
def test_settings_that_are_not_supported(folder, settings, says):
    change(folder, **settings)
    with pytest.raises(ValueError, match=says):
        load(folder)


def test_missing_and_unexpected_tensors_are_all_listed_with_shapes(tmp_path):
    folder = Path(shutil.copytree(HERE / "gpt2", tmp_path / "gpt2"))

    def edit(tensors):
        del tensors["transformer.wpe.weight"], tensors["transformer.h.1.ln_1.bias"]
        tensors["transformer.h.0.attn.extra"] = np.zeros((2, 3), np.float32)

    rewrite(folder, edit)
    with pytest.raises(
        ValueError, match=r"missing: wpe\.weight, h\.1\.ln_1\.bias; unexpected: h\.0\.attn\.extra \(2, 3\)"
    ):
        load(folder)


def test_a_tensor_of_another_shape(folder):
    name = "embeddings.word_embeddings.weight" if folder.name == "bert" else "transformer.wte.weight"
    rewrite(folder, lambda tensors: tensors.update({name: tensors[name][:, 1:].copy()}))
    with pytest.raises(ValueError, match=r"token_embedding\.weight has shape .* here, .* in the state"):
        load(folder)


@pytest.mark.parametrize("damage", ["cut short", "a lying length", "a lying place", "not a header"])
def test_a_damaged_file(folder, damage):
    path = folder / "model.safetensors"
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    if damage == "cut short":
        data = data[:-100]
    elif damage == "a lying length":
        data = struct.pack("<Q", 2**60) + data[8:]
    elif damage == "a lying place":
        header = json.loads(data[8 : 8 + length])
        name = next(name for name in header if name != "__metadata__")
        header[name]["data_offsets"][1] += 10**12
        text = json.dumps(header).encode()
        data = struct.pack("<Q", len(text)) + text + data[8 + length :]
    else:
        data = data[:8] + b"\0" * (len(data) - 8)
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"model\.safetensors is cut short or damaged"):
        load(folder)


def test_a_damaged_config(folder):
    (folder / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config\.json is damaged"):
        load(folder)


def test_ids_and_positions_beyond_the_model():
    model = load(HERE / "bert")
    with pytest.raises(ValueError, match="BERT takes 1 to 12 ids in a sequence, not 13"):
        model(np.zeros(13, int))
    with pytest.raises(IndexError, match="token_embedding"):
        model(np.array([10**6]))
    tokenizer = pretrained.Tokenizer(HERE / "bert")
    with pytest.raises(TypeError, match=r"BERT takes ids alone: ids, key_mask = tokenizer"):
        model(tokenizer("the king"))
    with pytest.raises(TypeError, match=r"integers .*, not bool"):
        model(np.ones(3, bool))
    for bad in ([1, 99999], [-1], [1.5]):
        with pytest.raises(ValueError, match=r"decode takes ids, integers from 0 to \d+"):
            tokenizer.decode(bad)


# --- tokenizers ----------------------------------------------------------------


def test_a_text_that_is_too_long_is_cut_and_keeps_its_ends():
    tokenizer = pretrained.Tokenizer(HERE / "bert")
    with pytest.warns(UserWarning, match="'the king the king.*' has 42 tokens, the model 12 positions"):
        ids, key_mask = tokenizer("the king " * 20)
    assert len(ids) == 12 and key_mask.all()
    assert tokenizer.tokens(ids[[0, 1, -1]]) == ["[CLS]", "the", "[SEP]"]


def test_a_saved_tokenizer_is_the_same(kind, tmp_path):
    tokenizer = pretrained.Tokenizer(HERE / kind)
    tokenizer.save(tmp_path)
    again = pretrained.Tokenizer(tmp_path)
    text = "the queen bakes, naïve 🙂"
    np.testing.assert_array_equal(tokenizer(text)[0], again(text)[0])


def test_a_tokenizer_says_what_it_cannot_take(folder, tmp_path):
    tokenizer = pretrained.Tokenizer(folder)
    for bad in (3, [], ["a", 3]):
        with pytest.raises(TypeError, match="a tokenizer takes a string, or a list"):
            tokenizer(bad)
    with pytest.raises(FileNotFoundError, match=r"has no tokenizer\.json, no vocab\.txt"):
        pretrained.Tokenizer(tmp_path)
    for file in (*folder.glob("vocab.*"), *folder.glob("tokenizer.json")):
        file.write_bytes(b"\xff\xfe{")
    with pytest.raises(ValueError, match="is damaged"):
        pretrained.Tokenizer(folder)


def test_an_empty_text_without_marks_at_its_ends_is_refused():
    with pytest.raises(ValueError, match="no token in an empty text"):
        pretrained.Tokenizer(HERE / "gpt2")("")
