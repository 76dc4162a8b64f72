"""Reads and writes folders of the Hugging Face kind: config.json, model.safetensors, a tokenizer's files.

Nothing is ever downloaded. This package knows files, names and layouts; the models are `nn.BERT` and `nn.GPT`, which
ask it. What it needs is the extra `pretrained`: safetensors and tokenizers.
"""

from minigrad.pretrained.folder import NoDraws, load, save
from minigrad.pretrained.tokenizer import Tokenizer

__all__ = ["NoDraws", "Tokenizer", "load", "save"]
