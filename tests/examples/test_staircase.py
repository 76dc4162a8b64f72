"""The staircase: argmax's loss is piecewise constant, its gradient 0; softmax's gradient is the slope of its loss."""

import json
from pathlib import Path

import numpy as np
import pytest

import staircase

RECORD = Path(__file__).parents[2] / "examples" / "results" / "staircase.json"


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    return staircase.main(["--out", str(out)]), out


def test_argmax_has_three_stairs_and_a_gradient_of_exactly_zero(results):
    loss, slope = staircase.loss_and_slope(staircase.ROWS["argmax"], staircase.T)
    assert len(np.unique(loss)) == 3
    np.testing.assert_array_equal(slope, 0)


@pytest.mark.parametrize("name", ["softmax, τ = 0.1", "softmax, τ = 1"])
def test_the_slope_drawn_is_that_of_the_loss_drawn(name):
    h = 1e-5
    ahead, behind = (staircase.loss_and_slope(staircase.ROWS[name], staircase.T + d)[0] for d in (h, -h))
    slope = staircase.loss_and_slope(staircase.ROWS[name], staircase.T)[1]
    np.testing.assert_allclose(slope, (ahead - behind) / (2 * h), atol=1e-6 * np.abs(slope).max())


def test_only_the_slope_at_temperature_one_leads_home_from_everywhere(results):
    ends = {name: row["descent ends at"] for name, row in results[0]["rows"].items()}
    assert ends["argmax"] == staircase.STARTS
    assert min(ends["softmax, τ = 1"]) > 2 > ends["softmax, τ = 0.1"][0]


def test_both_pictures_are_drawn(results):
    pytest.importorskip("matplotlib", reason="pictures need matplotlib")
    for name in ("staircase.png", "staircase_dark.png"):
        assert (results[1] / name).read_bytes().startswith(b"\x89PNG")


def test_the_record_is_what_the_program_finds_now(results):
    recorded = json.loads(RECORD.read_text(encoding="utf-8"))
    for name, row in recorded["rows"].items():
        np.testing.assert_allclose(results[0]["rows"][name]["loss"], row["loss"], atol=1e-4)
