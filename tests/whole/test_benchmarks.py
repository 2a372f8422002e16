"""The benchmark of a GPU runs to its end where there is none: its code path, not its times."""

import os
import subprocess
import sys


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
