"""Learning rates: chosen on other seeds, recorded, and read by the runs; and the rows that are given them."""

import json
from dataclasses import replace

import pytest

import learning_rates
import soft_vs_hard
import too_sure
from retrieval import Retrieve


@pytest.fixture
def record(tmp_path, monkeypatch):
    monkeypatch.setattr(learning_rates, "RECORD", tmp_path / "rates.json")
    return tmp_path / "rates.json"


def trained(row, seed):
    assert seed in learning_rates.SEEDS
    return {"accuracy": 100 - abs(row.lr - 0.05) * 100 - (seed == 1001), "curve": [50.0]}


def test_the_best_rate_is_recorded_with_what_the_others_reached(record, capsys):
    learning_rates.tune("task", {"row": Retrieve()}, trained, processes=1)
    found = json.loads(record.read_text())["task"]["row"]
    assert found["lr"] == 0.05
    assert [len(found["tried"][f"{lr:g}"]) for lr in learning_rates.RATES] == [1, 1, 2, 2, 1]
    assert learning_rates.tuned("task", {"row": Retrieve(), "other": Retrieve()})["row"].lr == 0.05


def test_a_row_that_has_a_rate_is_not_tuned_again_and_one_without_keeps_its_own(record, capsys):
    record.write_text(json.dumps({"task": {"row": {"lr": 0.1, "tried": {}}}}))
    learning_rates.tune("task", {"row": Retrieve()}, None, processes=1)
    rows = learning_rates.tuned("task", {"row": Retrieve(), "other": Retrieve(lr=0.3)})
    assert [row.lr for row in rows.values()] == [0.1, 0.3]


def test_hardmax_and_its_frozen_control_share_a_rate(record):
    record.write_text(json.dumps({"task": {"hardmax (argmax)": {"lr": 0.005, "tried": {}}}}))
    rows = learning_rates.tuned("task", {name: soft_vs_hard.RETRIEVAL[name] for name in soft_vs_hard.RETRIEVAL})
    assert rows["control: hardmax, frozen tables"].lr == rows["hardmax (argmax)"].lr == 0.005


def test_of_rates_equally_good_at_the_end_the_sooner_wins():
    runs = [{"accuracy": 100.0, "curve": curve} for curve in ([20, 100], [60, 100])]
    assert learning_rates.merit(runs[0]) < learning_rates.merit(runs[1])
    assert learning_rates.merit({"bits": 2.4}) > learning_rates.merit({"bits": 2.5})


def test_no_tuning_seed_is_ever_reported():
    assert min(learning_rates.SEEDS) >= 100 > soft_vs_hard.FULL_SEEDS


def test_every_row_that_was_tuned_belongs_to_a_program():
    known = {*soft_vs_hard.RETRIEVAL, *soft_vs_hard.ONLY_FULL, *too_sure.ROWS}
    assert known >= {name for name in learning_rates.recorded()["retrieval among 32"] if "scale" in name or "τ" in name}


def test_the_exact_sum_at_equal_compute_judges_as_many_answers_as_softmax():
    row = soft_vs_hard.ONLY_FULL["exact sum, equal compute"]
    for n in soft_vs_hard.SIZES:
        steps = row.steps // n
        assert steps * soft_vs_hard.losses(replace(row, n=n)) == pytest.approx(row.steps, rel=0.03)


def test_rescues_start_from_the_tables_of_the_row_they_rescue():
    hard_start = too_sure.ROWS["softmax, tables at scale 3"]
    for name, row in too_sure.ROWS.items():
        if name.startswith("scale 3"):
            assert replace(row, scores=hard_start.scores) == hard_start
