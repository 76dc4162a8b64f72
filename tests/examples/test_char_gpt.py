"""examples/char_gpt.py: trained, stopped, killed, gone on with, used; and what it says to bad input."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import char_gpt
import char_gpt_command
import story
from minigrad import checkpoint

EXAMPLES = Path(__file__).parents[2] / "examples"

LINES = "".join(f"the cat number {i} sat on the mat; the dog did not.\n" for i in range(40))
TINY = shlex.split(
    "--n-layers 1 --n-heads 2 --d-model 16 --block-size 8 --batch 4 --dropout 0.2 "
    "--steps 30 --warmup 3 --evaluate-every 10 --evaluate-batches 2 --length 20"
)


@pytest.fixture
def lines(tmp_path):
    path = tmp_path / "lines.txt"
    path.write_text(LINES)
    return str(path)


@pytest.fixture
def tiny(lines, tmp_path):
    """The arguments of a run of 30 steps, with dropout, in a folder of its own."""

    def arguments(folder):
        return ["--text", lines, "--out", str(tmp_path / folder), *TINY]

    return arguments


def assert_same_run(a, b):
    """The two checkpoints hold the same model, optimizer, generators and losses, bit for bit."""
    a, b = checkpoint.load(a), checkpoint.load(b)
    assert a.step == b.step
    assert a.generators == b.generators
    assert a.notes["training_loss"] == b.notes["training_loss"]
    assert a.notes["validation_loss"] == b.notes["validation_loss"]
    for mine, others in ((a.parameters, b.parameters), *((a.optimizer[mean], b.optimizer[mean]) for mean in "mv")):
        assert mine.keys() == others.keys()
        for name in mine:
            np.testing.assert_array_equal(mine[name], others[name], err_msg=name)


# --- training --------------------------------------------------------------------------------------------------------


def test_a_run_learns_and_leaves_checkpoint_picture_and_figures(tiny, tmp_path, capsys):
    results = char_gpt.main([*tiny("out"), "--lr", "1e-2", "--json", str(tmp_path / "out" / "figures.json")])
    picture = ["char_gpt.png"] if find_spec("matplotlib") else []
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["char_gpt.npz", *picture, "figures.json"]
    losses = dict(results["validation_loss"])
    assert list(losses) == [0, 10, 20, 30]
    assert losses[30] < losses[0] - 0.3
    assert len(results["training_loss"]) == 30
    assert len(results["sample"]) == 21  # the prompt, a new line, and 20 more
    assert results["tokens_per_second"] > 0
    written = json.loads((tmp_path / "out" / "figures.json").read_text())
    assert written["validation_loss"] == [list(pair) for pair in results["validation_loss"]]
    out = capsys.readouterr().out
    assert re.search(rf"{len(LINES):,}\s+characters", out)
    assert f"Validation loss {losses[30]:.3f} nats, {losses[30] / np.log(2):.2f} bits per character" in out
    assert results["sample"] in out


def test_how_often_it_is_evaluated_changes_no_bit_of_the_training(tiny, tmp_path):
    """Evaluation, saving and sampling draw nothing from the generators of training, though there is dropout."""
    char_gpt.main(tiny("seldom"))
    char_gpt.main([*tiny("often"), "--evaluate-every", "1", "--evaluate-batches", "3"])
    seldom, often = (checkpoint.load(tmp_path / name / "char_gpt.npz") for name in ("seldom", "often"))
    assert len(seldom.notes["validation_loss"]) < len(often.notes["validation_loss"])
    assert seldom.generators == often.generators
    for name, array in seldom.parameters.items():
        np.testing.assert_array_equal(array, often.parameters[name], err_msg=name)


def test_without_matplotlib_there_is_a_sentence_instead_of_a_picture(tiny, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    char_gpt.main(tiny("out"))
    assert "matplotlib is not installed" in capsys.readouterr().out
    assert not (tmp_path / "out" / "char_gpt.png").exists()


def test_the_quick_setting_is_a_setting():
    assert char_gpt.Settings(**char_gpt.QUICK).steps < char_gpt.Settings().steps


def test_a_run_that_diverges_says_so(tiny, capsys):
    with pytest.raises(SystemExit) as stopped, np.errstate(all="ignore"):
        char_gpt.main([*tiny("out"), "--lr", "1e30", "--warmup", "0"])
    assert stopped.value.code == 1
    said = capsys.readouterr().err
    assert re.search(r"training diverged at step \d+: the gradient of .* has nan or inf.* smaller --lr", said)


# --- stopping and going on -------------------------------------------------------------------------------------------


@pytest.fixture
def stopped_after(monkeypatch):
    """Ctrl-C arrives in the middle of the step with this number."""

    def stop(number):
        step = char_gpt.Run.step

        def interrupted(run):
            if run.done + 1 == number:
                signal.raise_signal(signal.SIGINT)
            step(run)

        monkeypatch.setattr(char_gpt.Run, "step", interrupted)

    yield stop
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler  # Ctrl-C is again what it was


@pytest.mark.parametrize("number", [1, 7, 10, 29])
def test_ctrl_c_saves_and_the_run_that_goes_on_is_the_unbroken_one(number, tiny, tmp_path, stopped_after, capsys):
    char_gpt.main(tiny("unbroken"))
    stopped_after(number)
    with pytest.raises(SystemExit) as stopped:
        char_gpt.main(tiny("broken"))
    assert stopped.value.code == 130
    path = tmp_path / "broken" / "char_gpt.npz"
    assert checkpoint.load(path).step == number

    out = capsys.readouterr().out
    said, command = out.splitlines()[-1].split(". Go on with: ")
    assert said == f"stopped after step {number} of 30, and saved"
    command = shlex.split(command)
    assert command[0] == Path(sys.executable).name
    char_gpt.main(command[2:])  # all that is to be known is in the checkpoint
    assert_same_run(tmp_path / "unbroken" / "char_gpt.npz", path)


def test_a_run_can_be_resumed_from_another_folder(tmp_path, monkeypatch, stopped_after, capsys):
    (tmp_path / "lines.txt").write_text(LINES)
    monkeypatch.chdir(tmp_path)
    stopped_after(7)
    with pytest.raises(SystemExit):
        char_gpt.main(["--text", "lines.txt", "--out", "here", *TINY])
    command = shlex.split(capsys.readouterr().out.split("Go on with: ")[1])
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    char_gpt.main(command[2:])
    assert checkpoint.load(tmp_path / "here" / "char_gpt.npz").step == 30


def test_a_quick_checkpoint_beside_is_named(tiny, tmp_path, refused):
    char_gpt.main([*tiny("out"), "--quick"])
    said = refused(["--resume", "--out", tmp_path / "out"])
    assert "char_gpt.npz, but there is" in said and "char_gpt_quick.npz: add --quick to go on from that one" in said


def test_a_second_ctrl_c_stops_at_once():
    with pytest.raises(KeyboardInterrupt), char_gpt_command.ctrl_c() as pressed:
        assert not pressed()
        signal.raise_signal(signal.SIGINT)
        assert pressed()
        signal.raise_signal(signal.SIGINT)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no kill -9")
def test_killed_again_and_again_it_arrives_where_the_unbroken_run_does(lines, tmp_path):
    rng = np.random.default_rng()
    settings = [*TINY, "--steps", "400", "--evaluate-every", "10"]
    command = [sys.executable, str(EXAMPLES / "char_gpt.py"), "--text", lines]
    subprocess.run([*command, "--out", str(tmp_path / "unbroken"), *settings], check=True, capture_output=True)

    path = tmp_path / "killed" / "char_gpt.npz"
    kills = []
    for _ in range(3):
        more = ["--resume"] if path.exists() else settings
        before = path.stat().st_mtime_ns if path.exists() else 0
        process = subprocess.Popen(
            [*command, "--out", str(path.parent), *more], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            _wait_until(lambda: process.poll() is not None or (path.exists() and path.stat().st_mtime_ns > before))  # noqa: B023
            time.sleep(rng.uniform(0, 0.05))
        finally:
            process.kill()
            process.wait()
        kills.append(checkpoint.load(path).step)
    assert 0 < kills[0] < kills[-1]
    subprocess.run([*command, "--out", str(path.parent), "--resume"], check=True, capture_output=True)
    assert_same_run(tmp_path / "unbroken" / "char_gpt.npz", path)


def _wait_until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"nothing happened within {seconds} s"
        time.sleep(0.002)


def test_a_finished_run_only_shows_what_it_has(tiny, tmp_path, monkeypatch):
    first = char_gpt.main(tiny("out"))
    monkeypatch.setattr(char_gpt.Run, "step", lambda run: pytest.fail("there is nothing left to train"))
    again = char_gpt.main(["--resume", "--out", str(tmp_path / "out")])
    assert again["validation_loss"] == first["validation_loss"]
    assert (tmp_path / "out" / "char_gpt.png").exists() == bool(find_spec("matplotlib"))


# --- using it --------------------------------------------------------------------------------------------------------


@pytest.fixture
def trained(tiny, tmp_path):
    char_gpt.main(tiny("trained"))
    return str(tmp_path / "trained" / "char_gpt.npz")


def test_a_sample_continues_the_prompt_without_training(trained, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(char_gpt.Run, "step", lambda run: pytest.fail("it trains"))
    monkeypatch.chdir(tmp_path)
    arguments = ["--sample", trained, "--prompt", "the cat", "--length", "30", "--temperature", "0.5", "--top-k", "3"]
    capsys.readouterr()
    first = char_gpt.main([*arguments, "--seed", "1"])["sample"]
    assert first.startswith("the cat")
    assert len(first) == 37
    assert capsys.readouterr().out == first + "\n"
    assert char_gpt.main([*arguments, "--seed", "1"])["sample"] == first
    assert char_gpt.main([*arguments, "--seed", "2"])["sample"] != first
    assert not (tmp_path / "out").exists()  # sampling writes nothing


def test_a_text_without_new_lines_has_a_prompt_too(tmp_path):
    path = tmp_path / "line.txt"
    path.write_text("abcabc" * 50)
    sample = char_gpt.main(["--text", str(path), "--out", str(tmp_path), *TINY])["sample"]
    assert sample[0] == "a"


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.fixture
def refused(capsys, monkeypatch):
    """Runs it and returns what it said; it must neither train nor end well."""

    def refuse(arguments):
        capsys.readouterr()
        with monkeypatch.context() as patch, pytest.raises(SystemExit) as stopped:
            patch.setattr(char_gpt.Run, "step", lambda run: pytest.fail("it began to train"))
            char_gpt.main([str(argument) for argument in arguments])
        assert stopped.value.code == 2
        return capsys.readouterr().err

    return refuse


BAD_SETTINGS = {
    "--prompt mats☃": "--prompt: the vocabulary of .* characters lacks '☃', which this text has at position 4",
    "--prompt=": "a prompt of at least one id",
    "--temperature -1": "a temperature of at least 0",
    "--top-k 0": "a top_k of at least 1",
    "--length -1": "cannot append -1 ids",
    "--block-size 500": "is too short: the tenth for validation, .* must be longer than a block, block_size = 500",
    "--n-heads 3": "d_model = 16 cannot be split evenly among n_heads = 3",
    "--steps 3": "the warm-up of 3 steps must end before the schedule's 3 steps do",
    "--batch 0": "batch must be at least 1, not 0",
    "--lr 0": "lr must be above 0",
    "--dropout 1": "GPTConfig: dropout must be a number from 0 to below 1, not 1",
    "--text nothing.txt": "there is no file nothing.txt",
}


@pytest.mark.parametrize("bad", BAD_SETTINGS)
def test_bad_settings_are_refused_before_training(bad, tiny, refused):
    assert re.search(BAD_SETTINGS[bad], refused([*tiny("out"), *bad.split(" ")]))


def test_a_folder_that_cannot_be_written_is_found_before_training(tiny, refused, lines):
    assert re.search(f"cannot write to {lines}/out: Not a directory; choose another", refused(tiny("lines.txt/out")))


def test_a_run_with_other_settings_is_not_resumed(tiny, trained, refused, tmp_path):
    folder = str(tmp_path / "trained")
    said = refused(["--resume", "--out", folder, "--n-layers", "4"])
    assert f"{trained} was trained with n_layers = 1, not 4: leave --n-layers out" in said
    other = tmp_path / "other.txt"
    other.write_text(LINES + "And the bird?\n")
    said = refused(["--resume", "--out", folder, "--text", other])
    assert f"was trained on another text than {other}" in said
    char_gpt.main(["--resume", "--out", folder, "--n-layers", "1"])  # said again, but not changed


def test_a_file_that_is_no_checkpoint_of_a_gpt_is_refused(tiny, lines, trained, refused, tmp_path):
    assert "there is no checkpoint" in refused(["--resume", "--out", tmp_path / "empty"])
    assert "lines.txt is not a minigrad checkpoint" in refused(["--sample", lines])
    path = tmp_path / "empty" / "char_gpt.npz"
    path.write_bytes(Path(trained).read_bytes()[:5000])
    assert "char_gpt.npz is cut short or damaged: its 5,000 bytes" in refused(["--sample", path])
    checkpoint.save(path, char_gpt.nn.Linear(2, 2))
    assert "is a checkpoint, but not one of a GPT on characters" in refused(["--sample", path])
    assert "is a checkpoint, but not one of this example" in refused(["--resume", "--out", path.parent])


def test_a_checkpoint_of_another_model_names_parameter_and_shapes(trained, refused, tmp_path):
    held = checkpoint.load(trained)
    path = tmp_path / "wider.npz"
    model = char_gpt.nn.GPT(char_gpt.nn.GPTConfig(**held.config))
    checkpoint.save(path, model, config=held.config | {"d_model": 32}, vocabulary=held.vocabulary)
    vocabulary = len(held.vocabulary)
    assert rf"token_embedding.weight has shape ({vocabulary}, 32) here, ({vocabulary}, 16) in the state" in refused(
        ["--sample", path]
    )


# --- progress --------------------------------------------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch):
    """Two seconds pass between one look at the clock and the next."""
    seconds = iter(range(0, 1000, 2))
    monkeypatch.setattr(story.time, "monotonic", lambda: next(seconds))


def test_progress_without_a_terminal_is_a_line_now_and_then(clock, capsys):
    progress = story.Progress("training", total=40, done=10)
    for i in range(5):
        progress.step(f"loss {i}")
    progress.print("validated")
    progress.clear()
    captured = capsys.readouterr()
    assert captured.err.splitlines() == ["training: 13 of 40, loss 2, 0:54 left"]
    assert captured.out == "validated\n"


def test_progress_in_a_terminal_is_one_line_that_changes_and_makes_room_for_others(clock, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    progress = story.Progress("training", total=40, done=10)
    for i in range(5):
        progress.step(f"loss {i}")
    progress.print("validated")
    captured = capsys.readouterr()
    shown = captured.err.split("\r")
    assert [line.strip() for line in shown if "loss" in line][-1] == "training: 15 of 40, loss 4, 0:50 left"
    assert len({len(line) for line in shown if line}) == 1 and not shown[-2].strip()  # each covers the one before
    assert "\n" not in captured.err and captured.out == "validated\n"


# --- the recorded run ------------------------------------------------------------------------------------------------


def test_recorded_the_loss_falls_below_the_bigram_entropy_at_the_first_validation_and_keeps_falling():
    record = json.loads((EXAMPLES / "results" / "char_gpt.json").read_text(encoding="utf-8"))
    losses = [loss / np.log(2) for _, loss in record["validation_loss"]]
    assert losses[0] > record["entropies"]["unigram"] > record["entropies"]["bigram"] > losses[1]
    assert losses == sorted(losses, reverse=True)
