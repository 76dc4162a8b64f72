"""Train a small GPT on a text, one character at a time; stop it, go on, let it write.

    python examples/char_gpt.py                              on the help texts that come with Python
    python examples/char_gpt.py --text FILE --out DIR        on a text of yours
    python examples/char_gpt.py --resume                     go on where it was stopped, or killed
    python examples/char_gpt.py --sample out/char_gpt.npz --prompt "The "

It learns from nothing but the text. The piece "llo wo" asks five questions at once:

    seen     l   ll   llo   llo_   llo_w
    answer   l   o    _     w      o               (_ is a space)

and the loss is the mean of −ln p(answer), in nats (divided by ln 2: bits per character). The last tenth of the text
is kept for validation: nothing is learned from it.

You will see the loss fall below the text's bigram entropy, the best one can do from the last character alone, and at
the end a sample that has the text's words and layout, if not its sense. In out/ are then char_gpt.npz, the checkpoint,
and char_gpt.png, the curve. Ctrl-C saves before it stops; the run that goes on is, bit for bit, the one that never
stopped.

The setting is nanoGPT's for a CPU. Takes about 2 minutes; --quick less than 20 seconds. On a computer busy with other
things set OPENBLAS_NUM_THREADS=1 first: threads that wait for each other made --quick take 66 seconds instead of 7.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import itertools
import math
import platform
import shlex
import statistics
import sys
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

import minigrad as mg
import story
from minigrad import checkpoint, nn, optim, text


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

    def __post_init__(self) -> None:
        for name in ("batch", "steps", "evaluate_every", "evaluate_batches"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if not self.lr > 0:
            raise ValueError(f"lr must be above 0, not {self.lr}")


QUICK = {"n_layers": 2, "d_model": 64, "block_size": 32, "steps": 800, "warmup": 50, "evaluate_every": 200}


class Run:
    """A model in training, with all that changes from step to step.

    Raises ValueError for settings that cannot be, and what `text.load` raises.
    """

    def __init__(self, settings: Settings, text_file: str | None) -> None:
        s = self.settings = settings
        source = self.source = text.load(text_file)
        self.text_file = str(Path(text_file).resolve()) if text_file else None  # to go on from another folder
        self.sha256 = hashlib.sha256(source.encode()).hexdigest()
        self.vocabulary = text.Vocabulary.from_text(source)
        train, self.validation = text.split(self.vocabulary.encode(source), 0.9)
        if len(self.validation) <= s.block_size:
            raise ValueError(
                f"a text of {len(source)} characters is too short: the tenth for validation, {len(self.validation)}, "
                f"must be longer than a block, block_size = {s.block_size}. Take a longer text or a smaller block"
            )
        self.model_rng, self.data_rng = np.random.default_rng([s.seed, 0]), np.random.default_rng([s.seed, 1])
        self.config = nn.GPTConfig(len(self.vocabulary), s.block_size, s.n_layers, s.n_heads, s.d_model, s.dropout)
        self.model = nn.GPT(self.config, rng=self.model_rng)  # the generator of its dropout, from now on
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

    @mg.no_grad()
    def validate(self) -> None:
        """Note the loss on pieces of the validation text. A generator of its own draws them: the same every time."""
        s = self.settings
        batches = text.batches(self.validation, s.block_size, s.batch, np.random.default_rng(0))
        self.model.eval()
        losses = [mg.cross_entropy(self.model(x), y).item() for x, y in itertools.islice(batches, s.evaluate_batches)]
        self.model.train()
        self.validation_loss.append((self.done, statistics.fmean(losses)))

    def save(self, path: Path) -> None:
        checkpoint.save(
            path, self.model, step=self.done, optimizer=self.optimizer,
            generators={"model": self.model_rng, "data": self.data_rng},
            config=asdict(self.config), vocabulary=self.vocabulary.characters,
            notes={
                "settings": asdict(self.settings), "text": self.text_file, "sha256": self.sha256,
                "training_loss": self.training_loss, "validation_loss": self.validation_loss,
            },
        )  # fmt: skip

    def go_on_from(self, saved: checkpoint.Checkpoint) -> None:
        saved.restore(self.model, self.optimizer, {"model": self.model_rng, "data": self.data_rng})
        self.done = saved.step
        self.training_loss = list(saved.notes["training_loss"])
        self.validation_loss = [(step, loss) for step, loss in saved.notes["validation_loss"]]


def train(run: Run, path: Path) -> float:
    """Make the steps that are left, or those until Ctrl-C. Returns the tokens per second, validation not counted."""
    s = run.settings
    first, seconds, rate = run.done, 0.0, 0.0
    if run.done == 0:
        run.validate()
    with story.ctrl_c() as stop, contextlib.closing(story.Meter("training", s.steps, run.done)) as meter:
        while run.done < s.steps and not stop():
            started = time.perf_counter()
            run.step()
            seconds += time.perf_counter() - started
            rate = s.batch * s.block_size * (run.done - first) / seconds
            meter.step(f"loss {statistics.fmean(run.training_loss[-20:]):.3f}, {rate:,.0f} tokens/s")
            if run.done % s.evaluate_every == 0 or run.done == s.steps:
                run.validate()
                run.save(path)
                training = statistics.fmean(run.training_loss[-s.evaluate_every :])
                validation = run.validation_loss[-1][1]
                meter.print(f"step {run.done:5}   loss in training {training:.3f}, in validation {validation:.3f}")
        if run.done < s.steps:
            run.save(path)
    return rate


def resumed(path: Path, given: dict[str, Any], text_file: str | None) -> Run:
    """The run in a checkpoint. Raises ValueError where the settings or the text that were given are others."""
    saved = checkpoint.load(path)
    try:
        settings = Settings(**saved.notes["settings"])
    except (KeyError, TypeError):
        raise ValueError(f"{path} is a checkpoint, but not one of this example") from None
    for name, value in given.items():
        if value != getattr(settings, name):
            raise ValueError(
                f"{path} was trained with {name} = {getattr(settings, name)}, not {value}: leave "
                f"{flag(name)} out to go on with it, or choose another --out and leave --resume out to begin anew"
            )
    run = Run(settings, text_file or saved.notes["text"])
    if run.sha256 != saved.notes["sha256"]:
        raise ValueError(
            f"{path} was trained on another text than {run.text_file or 'the help of this Python'} "
            f"(sha256 {saved.notes['sha256'][:12]}, not {run.sha256[:12]}): give that one with --text"
        )
    run.go_on_from(saved)
    return run


def sample(args: argparse.Namespace) -> dict[str, Any]:
    """Write with the model of a checkpoint, as it is."""
    saved = checkpoint.load(args.sample)
    try:
        model = nn.GPT(nn.GPTConfig(**saved.config or {}))
        vocabulary = text.Vocabulary(saved.vocabulary or "")
    except TypeError:
        raise ValueError(f"{args.sample} is a checkpoint, but not one of a GPT on characters") from None
    saved.restore(model)
    written = write(model, vocabulary, args, args.length, args.seed)
    print(written)
    return {"sample": written}


def write(model: nn.GPT, vocabulary: text.Vocabulary, args: argparse.Namespace, n: int, seed: int | None) -> str:
    """The prompt and n characters that continue it; without a seed others every time."""
    prompt = args.prompt
    if prompt is None:
        prompt = "\n" if "\n" in vocabulary.characters else vocabulary.characters[0]
    try:
        ids = vocabulary.encode(prompt)
    except ValueError as error:
        raise ValueError(f"--prompt: {error}") from error
    rng = np.random.default_rng(seed)
    return vocabulary.decode(model.generate(ids, n, temperature=args.temperature, top_k=args.top_k, rng=rng))


def flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def main(argv: list[str] | None = None) -> dict[str, Any]:
    parser = story.flags(__doc__, seeds=0)
    parser.add_argument("--text", metavar="FILE", help="train on this text, UTF-8 (default: Python's own help)")
    doing = parser.add_mutually_exclusive_group()
    doing.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out")
    doing.add_argument("--sample", metavar="CHECKPOINT", help="do not train, write with this model")
    parser.add_argument("--prompt", metavar="TEXT", help="what to continue (default: a new line)")
    parser.add_argument("--length", type=int, default=500, metavar="N", help="how many characters to write (500)")
    parser.add_argument(
        "--temperature", type=float, default=0.8, metavar="T", help="below 1 surer, above 1 wilder (0.8)"
    )
    parser.add_argument("--top-k", type=int, metavar="K", help="draw among the K likeliest only (default: among all)")
    group = parser.add_argument_group("the run (with --sample, --seed makes it repeat itself)")
    for f in fields(Settings):
        quick = f", {QUICK[f.name]} with --quick" if f.name in QUICK else ""
        group.add_argument(flag(f.name), type=type(f.default), metavar="N", help=f"{f.default}{quick}")
    args = parser.parse_args(argv)
    try:
        if args.sample:
            return sample(args)
        story.check_writable(parser, args)
        run, path = prepare(args)
    except (OSError, ValueError) as error:
        parser.error(str(error))

    s, n = run.settings, sum(p.size for p in run.model.parameters())
    print(
        f"{run.text_file or f'the help of Python {platform.python_version()}'}: {len(run.source):,} characters, "
        f"{len(run.vocabulary)} different. {n:,} parameters, steps {run.done} to {s.steps}"
    )
    try:
        rate = train(run, path)
    except FloatingPointError as error:
        parser.exit(1, f"training diverged at step {run.done + 1}: {error}. Try a smaller --lr\n")
    if run.done < s.steps:
        python, out = Path(sys.executable).name or "python", str(args.out.resolve())
        command = [python, sys.argv[0], "--resume", *(["--quick"] if args.quick else []), "--out", out]
        print(f"\nstopped after step {run.done} of {s.steps}; saved. To go on:\n    {shlex.join(command)}")
        raise SystemExit(130)

    written = write(run.model, run.vocabulary, args, args.length, s.seed)
    print(f"\n{'-' * 20} a sample, temperature {args.temperature} {'-' * 20}\n{written}\n{'-' * 62}\n")
    entropies = {"unigram": text.unigram_entropy(run.source), "bigram": text.bigram_entropy(run.source)}
    print(f"checkpoint: {path}")
    draw(run, entropies, path.with_suffix(".png"))
    results = {
        "settings": asdict(s), "text": run.text_file, "characters": len(run.source), "sha256": run.sha256,
        "parameters": n, "entropies": entropies, "training_loss": run.training_loss,
        "validation_loss": run.validation_loss, "tokens_per_second": rate, "sample": written,
    }  # fmt: skip
    return story.finish(args, results, in_words(results))


def in_words(results: dict[str, Any]) -> list[str]:
    """What was seen, from the numbers."""
    loss, rate = results["validation_loss"][-1][1], results["tokens_per_second"]
    return [
        f"Validation loss {loss:.3f} nats, {loss / math.log(2):.2f} bits per character. From the last character alone "
        f"one needs {results['entropies']['bigram']:.2f} (bigram entropy), from none "
        f"{results['entropies']['unigram']:.2f}.",
        *([f"{rate:,.0f} tokens/s while training."] if rate else []),
    ]


def prepare(args: argparse.Namespace) -> tuple[Run, Path]:
    """The run, begun or gone on with, and its checkpoint's path. What is wrong with the flags shows here."""
    path = args.out / ("char_gpt_quick.npz" if args.quick else "char_gpt.npz")
    given = {f.name: value for f in fields(Settings) if (value := getattr(args, f.name)) is not None}
    if args.resume:
        other = args.out / ("char_gpt.npz" if args.quick else "char_gpt_quick.npz")
        if other.exists() and not path.exists():
            way = "leave --quick out" if args.quick else "add --quick"
            raise ValueError(f"there is no checkpoint {path}, but there is {other}: {way} to go on from that one")
        run = resumed(path, given, args.text)
    else:
        run = Run(Settings(**{**(QUICK if args.quick else {}), **given}), args.text)
    write(run.model, run.vocabulary, args, min(args.length, 1), seed=0)  # a bad prompt must not wait for training's end
    if path.exists() and not args.resume:
        print(f"{path} is there already and will be replaced; --resume would go on from it")
    return run, path


def draw(run: Run, entropies: dict[str, float], path: Path) -> None:
    plt = story.pyplot()
    if plt is None:
        return
    figure, axis = plt.subplots(figsize=(7, 4.4))
    steps = np.arange(1, run.done + 1)
    axis.plot(steps, run.training_loss, color="#1f6fb4", alpha=0.35, linewidth=0.8, label="training, each batch")
    axis.plot(*zip(*run.validation_loss, strict=True), color="#c0392b", marker="o", markersize=4, label="validation")
    for (name, bits), dashes in zip(entropies.items(), (":", "--"), strict=True):
        level = bits * math.log(2)
        axis.axhline(level, color="#3b4652", linestyle=dashes, linewidth=1, label=f"{name} entropy of the text")
    axis.set(title="A GPT on characters", xlabel="training step", ylabel="loss, nats per character", ylim=(0, None))
    axis.legend(fontsize=8)
    story.save_picture(figure, path)
    plt.close(figure)


if __name__ == "__main__":
    main()
