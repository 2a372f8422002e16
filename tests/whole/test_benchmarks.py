"""The benchmark of a GPU runs to its end where there is none: its code path, not its times; accounts of speed."""

import os
import runpy
import subprocess
import sys

import pytest


def test_the_gpu_benchmark_runs_on_a_cpu_and_precision_hardly_changes_the_scores(repository, tmp_path):
    command = [sys.executable, str(repository / "benchmarks" / "gpu.py"), "toy", "--device", "cpu"]
    command += ["--train", "100", "--validation", "40", "--parts", "8"]
    run = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    rows = [line.strip("| ").split(" | ") for line in run.stdout.splitlines() if line.startswith("| ")]
    scores = {row[0]: row for row in rows[-2:]}
    assert set(scores) == {"float32", "bf16"}
    assert abs(float(scores["float32"][4]) - float(scores["bf16"][4])) < 0.01  # r2
    assert float(scores["float32"][6]) == 1.0
    assert float(scores["bf16"][6]) > 0.8  # random weights: top tokens are close together


def text(confidence, layers, seconds):
    return {
        "number": 0, "tokens": 10, "way": "copy", "confidence": confidence, "same": [10], "base": 10.0,
        "seconds": seconds, "layers": layers, "through": 0.5, "checks": 2.0, "repeats": 0.0,
    }  # fmt: skip


def test_a_ceiling_is_the_time_of_the_layers_that_the_sweep_takes_where_as_many_tokens_are_the_same(repository):
    made = runpy.run_path(str(repository / "benchmarks" / "early_exit_page.py"))
    along = {"along": [{"number": 0, "tokens": 10, "by": {"0.2": [8, 5.0]}}]}
    sweep = [{"precision": 0.6, "mean_layers": 2.0}, {"precision": 1.0, "mean_layers": 10.0}]
    costs = {"block": 0.1, "head": 0.2, "check": 0.01, "rest": 0.05}
    point = made["at_threshold"]([text(0.2, 4.0, 5.0), *made["alongside"](along)], costs, sweep)
    besides = 0.05 + 2 * 0.01 + 0.5 * 0.2
    assert (point["same"], point["ratio"]) == (0.8, 2.0)
    assert point["sweep"] == pytest.approx(6)  # half way from 0.6 to 1
    assert point["ceiling"] == pytest.approx(1.0 / (besides + 6 * 0.1))
    assert point["own"] == pytest.approx(1.0 / (besides + 4 * 0.1))
    assert point["part"] == pytest.approx(2.0 / point["ceiling"])


def test_the_account_of_self_speculation_predicts_what_was_made_by_it(repository):
    """Invented prompts whose seconds are those of the account: what is predicted is what is measured."""
    made = runpy.run_path(str(repository / "benchmarks" / "decoding.py"))
    apart = {"checks": [1.0, 1.1, 1.2, 1.3], "guess": 0.2, "read": 2.0}
    passes, tokens = 21, 41  # two tokens a pass, after the one that reads the prompt; three tokens in a check
    seconds = {"full": 2.0 + 40 * 1.0, "self-speculative": 2.0 + 20 * (1.2 + 0.2)}
    record = {
        "kind": "prose", "tokens": tokens, "seconds": seconds,
        "passes": {"self-speculative": passes}, "drafted": {"self-speculative": 2 * (passes - 1)},
    }  # fmt: skip
    pairs = made["predicted"]([record, dict(record)], apart, "self-speculative")
    assert [foretold for foretold, _ in pairs] == pytest.approx([42 / 30, 42 / 30])
    assert [measured for _, measured in pairs] == pytest.approx([42 / 30, 42 / 30])
