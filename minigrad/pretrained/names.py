"""What BERT and GPT-2 call their tensors and settings in files, what they are called here, and how the two lie.

A layout is named for every tensor and never guessed from a shape: query, key, value and output are square, and a
forgotten transpose would load without an error.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple


class Pair(NamedTuple):
    """One tensor in the file, and the parameters here that it holds: one, or q, k and v side by side."""

    theirs: str
    ours: tuple[str, ...]
    transposed: bool  # PyTorch's Linear keeps (d_out, d_in); here and in GPT-2's Conv1D it is (d_in, d_out)


class Architecture(NamedTuple):
    model_type: str
    prefix: str  # what stands before the names where the file holds a model with a head
    head_of: str  # the class that Hugging Face reads it with
    modules: tuple[tuple[str, str, str], ...]  # theirs, ours, kind
    blocks: tuple[tuple[str, str, str], ...]  # the same for each block, its number for {i}
    settings: dict[str, str]  # theirs to ours
    heads: tuple[str, ...]  # how the names of known heads begin that are not used here

    def full_name(self, theirs: str) -> str:
        """The name in a file that `head_of` reads: GPT-2's class has a head, so what is below it has the prefix."""
        return f"{self.prefix}{theirs}" if self.model_type == "gpt2" and theirs != "lm_head.weight" else theirs


BERT = Architecture(
    model_type="bert",
    prefix="bert.",
    head_of="BertModel",
    modules=(
        ("embeddings.word_embeddings", "token_embedding", "table"),
        ("embeddings.position_embeddings", "position_embedding", "table"),
        ("embeddings.token_type_embeddings", "type_embedding", "table"),
        ("embeddings.LayerNorm", "norm", "norm"),
        ("pooler.dense", "pooler", "linear"),
    ),
    blocks=(
        ("encoder.layer.{i}.attention.self.query", "blocks.{i}.attn.query", "linear"),
        ("encoder.layer.{i}.attention.self.key", "blocks.{i}.attn.key", "linear"),
        ("encoder.layer.{i}.attention.self.value", "blocks.{i}.attn.value", "linear"),
        ("encoder.layer.{i}.attention.output.dense", "blocks.{i}.attn.out", "linear"),
        ("encoder.layer.{i}.attention.output.LayerNorm", "blocks.{i}.norm1", "norm"),
        ("encoder.layer.{i}.intermediate.dense", "blocks.{i}.mlp.up", "linear"),
        ("encoder.layer.{i}.output.dense", "blocks.{i}.mlp.down", "linear"),
        ("encoder.layer.{i}.output.LayerNorm", "blocks.{i}.norm2", "norm"),
    ),
    settings={
        "vocab_size": "vocab_size",
        "max_position_embeddings": "block_size",
        "num_hidden_layers": "n_layers",
        "num_attention_heads": "n_heads",
        "hidden_size": "d_model",
        "intermediate_size": "d_hidden",
        "type_vocab_size": "n_types",
        "layer_norm_eps": "eps",
        "hidden_dropout_prob": "dropout",
        "hidden_act": "approximate",
    },
    heads=("cls.", "classifier.", "qa_outputs."),
)

GPT2 = Architecture(
    model_type="gpt2",
    prefix="transformer.",
    head_of="GPT2LMHeadModel",
    modules=(
        ("wte", "token_embedding", "table"),
        ("wpe", "position_embedding", "table"),
        ("ln_f", "norm", "norm"),
        ("lm_head", "head", "head"),
    ),
    blocks=(
        ("h.{i}.ln_1", "blocks.{i}.norm1", "norm"),
        ("h.{i}.attn.c_attn", "blocks.{i}.attn.query blocks.{i}.attn.key blocks.{i}.attn.value", "conv1d"),
        ("h.{i}.attn.c_proj", "blocks.{i}.attn.out", "conv1d"),
        ("h.{i}.ln_2", "blocks.{i}.norm2", "norm"),
        ("h.{i}.mlp.c_fc", "blocks.{i}.mlp.up", "conv1d"),
        ("h.{i}.mlp.c_proj", "blocks.{i}.mlp.down", "conv1d"),
    ),
    settings={
        "vocab_size": "vocab_size",
        "n_positions": "block_size",
        "n_layer": "n_layers",
        "n_head": "n_heads",
        "n_embd": "d_model",
        "n_inner": "d_hidden",
        "layer_norm_epsilon": "eps",
        "resid_pdrop": "dropout",
        "activation_function": "approximate",
        "tie_word_embeddings": "tied_head",
    },
    heads=("score.", "multiple_choice_head."),
)

BUFFERS = ("position_ids", ".attn.bias", ".attn.masked_bias")  # saved by old versions: numbers, nothing learned
ARCHITECTURES = {"bert": BERT, "gpt2": GPT2}
GELUS = {"gelu": "none", "gelu_new": "tanh", "gelu_pytorch_tanh": "tanh"}  # what they call gelu's two forms
REQUIRED = {  # settings that change what is computed, and the only value supported
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "add_cross_attention": False,
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
}


def pairs(architecture: Architecture, n_layers: int) -> Iterator[Pair]:
    """Every tensor of a model of this kind."""
    rows = [*architecture.modules]
    for i in range(n_layers):
        rows += [(theirs.format(i=i), ours.format(i=i), kind) for theirs, ours, kind in architecture.blocks]
    for theirs, ours, kind in rows:
        for part in ("weight", "bias") if kind in ("linear", "conv1d", "norm") else ("weight",):
            transposed = part == "weight" and kind in ("linear", "head")
            yield Pair(f"{theirs}.{part}", tuple(f"{name}.{part}" for name in ours.split()), transposed)


def settings_from(architecture: Architecture, config: dict[str, Any]) -> dict[str, Any]:
    """config.json in our words. Raises ValueError for what is not supported, and for a setting that is missing."""
    for name, value in REQUIRED.items():
        if config.get(name, value) != value:
            raise ValueError(f"config.json has {name}={config[name]!r}; only {value!r} is supported")
    optional = {"n_inner": None, "tie_word_embeddings": True, "resid_pdrop": 0.0, "hidden_dropout_prob": 0.0}
    missing = [name for name in architecture.settings if name not in config and name not in optional]
    if missing:
        raise ValueError(f"config.json lacks {', '.join(missing)}")
    settings = {ours: config.get(name, optional.get(name)) for name, ours in architecture.settings.items()}
    if settings["approximate"] not in GELUS:
        raise ValueError(f"config.json asks for {settings['approximate']!r}; there are {', '.join(GELUS)}")
    settings["approximate"] = GELUS[settings["approximate"]]
    return settings


def config_from(architecture: Architecture, settings: Any) -> dict[str, Any]:
    """Our settings (a GPTConfig or BERTConfig) as config.json has them."""
    config = {theirs: getattr(settings, ours) for theirs, ours in architecture.settings.items()}
    if config.get("intermediate_size", 0) is None:
        config["intermediate_size"] = 4 * settings.d_model
    act = next(name for name in config if "act" in name)
    config[act] = "gelu" if config[act] == "none" else "gelu_new"
    return {"model_type": architecture.model_type, "architectures": [architecture.head_of], **config}
