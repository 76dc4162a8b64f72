"""Train a small GPT on a text, one character at a time; stop it, go on, let it write.

    python examples/char_gpt.py                              on the help texts that come with Python
    python examples/char_gpt.py --text FILE --out DIR        on a text of yours
    python examples/char_gpt.py --resume                     go on where it was stopped, or killed
    python examples/char_gpt.py --sample out/char_gpt.npz --prompt "The "

It learns from nothing but the text. The piece "llo wo" asks five questions at once:

    seen     l   ll   llo   llo_   llo_w
    answer   l   o    _     w      o               (_ is a space)

You will see the loss fall below the text's bigram entropy, the best one can do from the last character alone, and at
the end a sample that has the text's words and layout, if not its sense. In out/ are then char_gpt.npz, the checkpoint,
and char_gpt.png, the curve. Ctrl-C saves before it stops; a run that is resumed ends, bit for bit, where an unbroken
one ends.

The setting is nanoGPT's for a CPU. Takes about 2 minutes; --quick less than 20 seconds. On a computer busy with other
things set OPENBLAS_NUM_THREADS=1 first: threads that wait for each other made --quick take 66 seconds instead of 7.
"""

from __future__ import annotations

import story  # isort: skip (first: it hears Ctrl-C while the others load)

import hashlib
import itertools
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import char_gpt_command as command
import minigrad as mg
import pictures
from minigrad import nn, optim, text


@dataclass(frozen=True)
class Settings:
    """One training run. Each of these is a flag, too: --n-layers."""

    n_layers: int = 4
    n_heads: int = 4
    d_model: int = 128
    block_size: int = 64  # how many characters it sees
    dropout: float = 0.0
    batch: int = 12
    steps: int = 2000
    lr: float = 1e-3
    lr_min: float = 1e-4
    warmup: int = 100
    beta2: float = 0.99
    weight_decay: float = 0.1
    clip: float = 1.0
    evaluate_every: int = 250  # steps from one validation, and checkpoint, to the next
    evaluate_batches: int = 50
    seed: int = 0


QUICK = {"n_layers": 2, "d_model": 64, "block_size": 32, "steps": 800, "warmup": 50, "evaluate_every": 200}


class Run:
    """A model in training, with all that changes from step to step."""

    def __init__(self, settings: Settings, text_file: str | None) -> None:
        s = self.settings = settings
        self.source = text.load(text_file)
        self.text_file = str(Path(text_file).resolve()) if text_file else None  # to resume it from another folder, too
        self.sha256 = hashlib.sha256(self.source.encode()).hexdigest()
        self.vocabulary = text.Vocabulary.from_text(self.source)
        train, self.validation = text.split(self.vocabulary.encode(self.source), 0.9)
        command.check_settings(s, len(self.source), len(self.validation))
        self.model_rng, self.data_rng = np.random.default_rng([s.seed, 0]), np.random.default_rng([s.seed, 1])
        config = nn.GPTConfig(len(self.vocabulary), s.block_size, s.n_layers, s.n_heads, s.d_model, s.dropout)
        self.model = nn.GPT(config, rng=self.model_rng)  # its dropout draws from the same generator
        self.batches = text.batches(train, s.block_size, s.batch, self.data_rng)
        self.optimizer = optim.AdamW(
            self.model.parameters(), self.learning_rate(0), betas=(0.9, s.beta2), weight_decay=s.weight_decay
        )
        self.done = 0  # steps
        self.training_loss: list[float] = []
        self.validation_loss: list[tuple[int, float]] = []

    def learning_rate(self, step: int) -> float:
        s = self.settings
        return optim.cosine_schedule(step, lr=s.lr, lr_min=s.lr_min, warmup=s.warmup, steps=s.steps)

    def step(self) -> None:
        ids, targets = next(self.batches)
        loss = mg.cross_entropy(self.model(ids), targets)
        self.optimizer.zero_grad()
        loss.backward()
        optim.clip_grad_norm(self.optimizer, self.settings.clip)
        self.optimizer.lr = self.learning_rate(self.done)
        self.optimizer.step()
        self.training_loss.append(loss.item())
        self.done += 1

    def due(self) -> bool:
        """Is it time for a validation that has not been made?"""
        time_has_come = self.done % self.settings.evaluate_every == 0 or self.done == self.settings.steps
        return time_has_come and self.done not in dict(self.validation_loss)

    def finished(self) -> bool:
        return self.done == self.settings.steps and not self.due()

    @mg.no_grad()
    def validate(self, stopped: Callable[[], bool]) -> None:
        """Note the loss on blocks of the validation text. Their generator is always new, so they are the same ones."""
        s = self.settings
        batches = text.batches(self.validation, s.block_size, s.batch, np.random.default_rng(0))
        self.model.eval()
        losses = []
        for x, y in itertools.islice(batches, s.evaluate_batches):
            if stopped():
                break
            losses.append(mg.cross_entropy(self.model(x), y).item())
        self.model.train()
        if len(losses) == s.evaluate_batches:
            self.validation_loss.append((self.done, statistics.fmean(losses)))


def train(run: Run, path: Path) -> float:
    """Make the steps that are left, or those until Ctrl-C. Returns the tokens per second, validation not counted."""
    s, first, seconds, rate = run.settings, run.done, 0.0, 0.0
    progress = story.Progress("training", s.steps, run.done)
    with command.ctrl_c() as pressed:
        while not pressed() and not run.finished():
            if run.due():
                run.validate(pressed)
                if run.done and not pressed():
                    command.save(run, path)
                    training = statistics.fmean(run.training_loss[-s.evaluate_every :])
                    validation = run.validation_loss[-1][1]
                    progress.print(
                        f"step {run.done:5}   loss in training {training:.3f}, in validation {validation:.3f}"
                    )
                continue
            started = time.perf_counter()
            run.step()
            seconds += time.perf_counter() - started
            rate = s.batch * s.block_size * (run.done - first) / seconds
            progress.step(f"loss {statistics.fmean(run.training_loss[-20:]):.3f}", f"{rate:,.0f} tokens/s")
        if pressed():
            command.save(run, path)
    return rate


def main(argv: list[str] | None = None) -> dict[str, Any]:
    parser = command.flags(__doc__, Settings, QUICK)
    args = parser.parse_args(argv)
    try:
        if args.sample:
            return command.sample(args)
        story.check_writable(parser, args)
        run, path = command.begin(args, Run, Settings, QUICK), command.checkpoint_path(args)
    except (OSError, ValueError) as error:
        parser.error(str(error))

    s, n = run.settings, sum(p.size for p in run.model.parameters())
    story.say(
        f"{run.text_file or 'the help of this Python'}: {len(run.source):,} characters, {len(run.vocabulary)} "
        f"different. {n:,} parameters, steps {run.done} to {s.steps}"
    )
    try:
        rate = train(run, path)
    except FloatingPointError as error:
        parser.exit(1, f"\ntraining diverged at step {run.done + 1}: {error}. Try a smaller --lr\n")
    if not run.finished():
        command.stop(run, args)
    written = command.write(run.model, run.vocabulary, args, args.length, s.seed)
    entropies = {"unigram": text.unigram_entropy(run.source), "bigram": text.bigram_entropy(run.source)}
    results = {
        "settings": asdict(s), "text": run.text_file, "characters": len(run.source), "sha256": run.sha256,
        "parameters": n, "entropies": entropies, "training_loss": run.training_loss,
        "validation_loss": run.validation_loss, "tokens_per_second": rate, "sample": written,
    }  # fmt: skip

    def report(results: dict[str, Any]) -> None:
        print(f"\n{'-' * 20} a sample, temperature {args.temperature} {'-' * 20}\n{written}\n{'-' * 62}")
        print(f"checkpoint: {path}")

    return story.finish("char_gpt", args, results, in_words, report, draw)


def in_words(results: dict[str, Any]) -> list[str]:
    loss = results["validation_loss"][-1][1]
    return [
        f"Validation loss {loss:.3f} nats, {loss / math.log(2):.2f} bits per character.",
        f"The best guess from the last character alone costs {results['entropies']['bigram']:.2f} bits (the bigram "
        f"entropy).",
    ]


@pictures.picture()
def draw(results: dict[str, Any], axis: Any) -> None:
    losses, validation = results["training_loss"], results["validation_loss"]
    steps = range(1, len(losses) + 1)
    axis.plot(steps, losses, color="#1f6fb4", alpha=0.35, linewidth=0.8, label="training, each batch")
    axis.plot(*zip(*validation, strict=True), color="#c0392b", marker="o", markersize=4, label="validation")
    for (name, bits), dashes in zip(results["entropies"].items(), (":", "--"), strict=True):
        pictures.level(axis, bits * math.log(2), dashes, f"{name} entropy of the text")
    axis.set(title="A GPT on characters", xlabel="training step", ylabel="loss, nats per character", ylim=(0, None))
    axis.legend(fontsize=8)


if __name__ == "__main__":
    story.tell(main)
