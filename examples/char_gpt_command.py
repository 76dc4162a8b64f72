"""The command line of char_gpt.py: its flags, what it refuses before training, its checkpoints, Ctrl-C and --sample."""

from __future__ import annotations

import argparse
import contextlib
import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

import story
from minigrad import checkpoint, nn, text


def flags(doc: str | None, settings: Any, quick: dict[str, Any]) -> argparse.ArgumentParser:
    """The flags, one of them for each field of the dataclass `settings`."""
    parser = story.flags(doc, seeds=0)
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
    for f in fields(settings):
        default = f"{f.default}, {quick[f.name]} with --quick" if f.name in quick else f"{f.default}"
        group.add_argument(flag(f.name), type=type(f.default), metavar="N", help=default)
    return parser


def flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def check_settings(s: Any, characters: int, validation: int) -> None:
    """Raises ValueError for settings that are wrong, except those that minigrad itself refuses."""
    for name in ("batch", "steps", "evaluate_every", "evaluate_batches"):
        if getattr(s, name) < 1:
            raise ValueError(f"{name} must be at least 1, not {getattr(s, name)}")
    if not s.lr > 0:
        raise ValueError(f"lr must be above 0, not {s.lr}")
    if validation <= s.block_size:
        raise ValueError(
            f"a text of {characters} characters is too short: the tenth for validation, {validation}, must be longer "
            f"than a block, block_size = {s.block_size}. Take a longer text or a smaller block"
        )


# --- the run, new or resumed -----------------------------------------------------------------------------------------


def begin(args: Any, make_run: Callable[[Any, str | None], Any], settings: Any, quick: dict[str, Any]) -> Any:
    """A new run, or with --resume the one in the checkpoint. Raises ValueError or OSError for flags that are wrong."""
    path = checkpoint_path(args)
    given = {f.name: value for f in fields(settings) if (value := getattr(args, f.name)) is not None}
    if args.resume:
        run = resume(path, given, args.text, make_run, settings)
    else:
        run = make_run(settings(**((quick if args.quick else {}) | given)), args.text)
        if path.exists():
            story.say(f"{path} is there already and will be replaced; --resume would go on from it")
    write(
        run.model, run.vocabulary, args, min(args.length, 1), seed=0
    )  # a bad prompt is refused now, not after training
    return run


def checkpoint_path(args: Any) -> Path:
    quick, full = args.out / "char_gpt_quick.npz", args.out / "char_gpt.npz"
    path, other = (quick, full) if args.quick else (full, quick)
    if args.resume and other.exists() and not path.exists():
        way = "leave --quick out" if args.quick else "add --quick"
        raise ValueError(f"there is no checkpoint {path}, but there is {other}: {way} to go on from that one")
    return path


def save(run: Any, path: Path) -> None:
    checkpoint.save(
        path, run.model, step=run.done, optimizer=run.optimizer,
        generators={"model": run.model_rng, "data": run.data_rng},
        config=asdict(run.model.config), vocabulary=run.vocabulary.characters,
        notes={
            "settings": asdict(run.settings), "text": run.text_file, "sha256": run.sha256,
            "training_loss": run.training_loss, "validation_loss": run.validation_loss,
        },
    )  # fmt: skip


def resume(path: Path, given: dict[str, Any], text_file: str | None, make_run: Any, settings: Any) -> Any:
    """The run in a checkpoint. Raises ValueError if it had other settings or another text than those now given."""
    saved = checkpoint.load(path)
    try:
        before = settings(**saved.notes["settings"])
    except (KeyError, TypeError):
        raise ValueError(f"{path} is a checkpoint, but not one of this example") from None
    for name, value in given.items():
        if value != getattr(before, name):
            raise ValueError(
                f"{path} was trained with {name} = {getattr(before, name)}, not {value}: leave "
                f"{flag(name)} out to go on with it, or choose another --out and leave --resume out to begin anew"
            )
    run = make_run(before, text_file or saved.notes["text"])
    if run.sha256 != saved.notes["sha256"]:
        raise ValueError(
            f"{path} was trained on another text than {run.text_file or 'the help of this Python'} "
            f"(sha256 {saved.notes['sha256'][:12]}, not {run.sha256[:12]}): give that one with --text"
        )
    saved.restore(run.model, run.optimizer, {"model": run.model_rng, "data": run.data_rng})
    run.done = saved.step
    run.training_loss = list(saved.notes["training_loss"])
    run.validation_loss = [(step, loss) for step, loss in saved.notes["validation_loss"]]
    return run


@contextlib.contextmanager
def ctrl_c() -> Iterator[Callable[[], bool]]:
    """`with ctrl_c() as pressed:` inside, Ctrl-C only makes pressed() true, so that a step begun is finished.

    A second Ctrl-C stops at once.
    """
    times = 0

    def note(*signal_and_frame: Any) -> None:
        nonlocal times
        times += 1
        if times > 1:
            before(*signal_and_frame)

    before: Any = signal.signal(signal.SIGINT, note)
    try:
        yield lambda: times > 0
    finally:
        signal.signal(signal.SIGINT, before)


def stop(run: Any, args: Any) -> None:
    """Exit after Ctrl-C, with the command that goes on."""
    python, out = Path(sys.executable).name or "python", str(args.out.resolve())
    command = [python, sys.argv[0], "--resume", *(["--quick"] if args.quick else []), "--out", out]
    print(f"stopped after step {run.done} of {run.settings.steps}, and saved. Go on with: {shlex.join(command)}")
    raise SystemExit(130)


# --- writing ---------------------------------------------------------------------------------------------------------


def write(model: nn.GPT, vocabulary: text.Vocabulary, args: Any, n: int, seed: int | None) -> str:
    """The prompt and n characters that continue it; without a seed, other ones every time."""
    prompt = args.prompt
    if prompt is None:
        prompt = "\n" if "\n" in vocabulary.characters else vocabulary.characters[0]
    try:
        ids = vocabulary.encode(prompt)
    except ValueError as error:
        raise ValueError(f"--prompt: {error}") from error
    rng = np.random.default_rng(seed)
    return vocabulary.decode(model.generate(ids, n, temperature=args.temperature, top_k=args.top_k, rng=rng))


def sample(args: Any) -> dict[str, Any]:
    """--sample: write with the model of a checkpoint, as it is."""
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
