"""Kill `dvc repro` at random moments, run it again, and compare with a run that nobody killed.

Works in a copy of the repository with a small model and small settings; every long stage (training, extraction, both
fits, exits) is killed in turn, by SIGKILL and SIGTERM, sent to the whole process group, to `dvc` alone and to the stage
alone, up to three times before it may finish. The tests run a handful of these; docs/kills.json is the report of
a longer run.

Example: python tests/kill_and_resume.py --kills 90 --report docs/kills.json
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import hashlib
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml

REPOSITORY = Path(__file__).parents[1]
MODES = ("group", "dvc", "stage")
SIGNALS = (signal.SIGKILL, signal.SIGTERM)


@dataclass(frozen=True)
class Target:
    """A long stage: its name in dvc.yaml, its script, its work folder and what it makes."""

    stage: str
    script: str
    item: str
    out: str

    @property
    def trains(self) -> bool:
        """Its checkpoints replace each other, and are numbered by their step."""
        return self.script == "02_train_models"

    @property
    def work(self) -> Path:
        return Path("data/.work") / self.script / self.item


TARGETS = (
    Target("train_models@small", "02_train_models", "small", "models/small"),
    Target("extract_hidden_states@random-train", "04_extract_hidden_states", "random.words.train",
           "data/random/words/hidden_train"),
    Target("fit_layer_maps@random", "05_fit_layer_maps", "random.words", "linreg/random/words/layers"),
    Target("fit_submodule_maps@random", "06_fit_submodule_maps", "random.words", "linreg/random/words/submodules"),
    Target("score_exits@random", "08_score_exits", "random.words", "data/random/words/fixed_exits.pickle"),
)  # fmt: skip


@dataclass
class Report:
    """What happened; every list of faults should be empty."""

    kills: collections.Counter[tuple[str, str, str]] = field(default_factory=collections.Counter)
    moments: collections.Counter[str] = field(default_factory=collections.Counter)
    rounds: int = 0
    units_finished_before_kills: int = 0
    faults: list[str] = field(default_factory=list)

    def as_json(self, seconds: float) -> dict[str, Any]:
        by = {"stage": 0, "sent to": 1, "signal": 2}
        counts = {name: collections.Counter[str]() for name in by}
        for key, number in self.kills.items():
            for name, place in by.items():
                counts[name][key[place]] += number
        return {
            "kills": self.kills.total(),
            **{f"kills by {name}": dict(sorted(count.items())) for name, count in counts.items()},
            "kills by moment": dict(sorted(self.moments.items())),
            "runs brought to their end and compared": self.rounds,
            "units finished before kills": self.units_finished_before_kills,
            "faults": self.faults,
            "seconds": round(seconds),
        }


class Copy:
    """A copy of the repository in which `dvc repro` runs in half a minute."""

    def __init__(self, folder: Path, sentences: int, asked: Sequence[str] = ()) -> None:
        self.folder, self.asked = folder, asked
        ignored = shutil.ignore_patterns("cache", "tmp", "__pycache__")
        for name in ("dvc.yaml", ".dvc", ".dvcignore", "stages", "linear_shortcuts", "models"):
            source = REPOSITORY / name
            (shutil.copytree if source.is_dir() else shutil.copy)(
                source, folder / name, **({"ignore": ignored} if source.is_dir() else {})
            )
        self.environment = {**os.environ, "PATH": f"{self._python()}{os.pathsep}{os.environ['PATH']}"}
        self.environment |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(folder)}
        self._write_settings(sentences)
        self._write_model()
        subprocess.run([*DVC, "config", "core.no_scm", "true"], cwd=folder, env=self.environment, check=True)

    def _python(self) -> Path:
        """An interpreter that imports what this one does but counts few packages as installed: training reads them."""
        venv.create(self.folder / "python", with_pip=False)
        site, own = (
            Path(subprocess.check_output([python, "-c", PRINT_SITE], text=True).strip())
            for python in (self.folder / "python/bin/python", sys.executable)
        )
        (site / "all.pth").write_text(f"{own}\n")
        for package in ("numpy", "filelock", "jinja2", "sklearn"):
            with contextlib.suppress(FileNotFoundError):
                (site / package).symlink_to((own / package).resolve(strict=True))
        return self.folder / "python/bin"

    def _write_settings(self, sentences: int) -> None:
        params = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
        params |= {"models": ["random"], "corpus": "words"}
        params["sentences"] = {"train": sentences, "validation": sentences // 2}
        params["extract"]["sentences_per_shard"] = sentences // 30
        params["fit"]["memory_gib"] = 0.1
        params["exits"]["sentences_per_chunk"] = sentences // 40
        params["corpora"]["words"] = {"source": "file", "path": "words.txt", "unit": "sentences"}
        params["registry"]["random"] = {"path": "models/random", "revision": None}
        small = {"layers": 2, "width": 64, "heads": 2, "context": 32, "vocabulary": 500, "steps": 300, "batch": 16}
        params["training"]["small"] = params["training"]["tiny-gpt2"] | small | {"steps_per_checkpoint": 10}
        (self.folder / "params.yaml").write_text(yaml.safe_dump(params))
        pipeline = yaml.safe_load((self.folder / "dvc.yaml").read_text())
        pipeline["stages"]["train_models"] |= {"frozen": False, "matrix": {"model": ["small"]}}
        (self.folder / "dvc.yaml").write_text(yaml.safe_dump(pipeline))
        choose = random.Random(0)
        words = ["the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "and", "runs", "home", "to",
                 "sleep", "in", "warm", "hay", "until", "morning"]  # fmt: skip
        lines = {" ".join(choose.choices(words, k=choose.randrange(6, 30))) for _ in range(2 * sentences)}
        (self.folder / "words.txt").write_text("\n".join(sorted(lines)))

    def _write_model(self) -> None:
        """A GPT-2 with random weights, large enough that every stage takes a while."""
        import torch
        from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

        torch.manual_seed(0)
        tokenizer = AutoTokenizer.from_pretrained(REPOSITORY / "models/tiny-gpt2")
        ends = {"bos_token_id": tokenizer.eos_token_id, "eos_token_id": tokenizer.eos_token_id}
        config = GPT2Config(vocab_size=len(tokenizer), n_positions=64, n_embd=192, n_layer=8, n_head=4, **ends)
        GPT2LMHeadModel(config).save_pretrained(self.folder / "models/random")
        tokenizer.save_pretrained(self.folder / "models/random")

    def repro(self) -> subprocess.Popen[bytes]:
        log = open(self.folder / "dvc.log", "wb")  # noqa: SIM115 - the child holds it
        # A cached result would make the run that is to be killed unneeded.
        command = [*DVC, "repro", "--no-run-cache", *self.asked]
        return subprocess.Popen(
            command, cwd=self.folder, env=self.environment, start_new_session=True, stdout=log, stderr=log
        )

    def log(self) -> str:
        return (self.folder / "dvc.log").read_text(errors="replace")

    def stage_processes(self, script: str) -> list[psutil.Process]:
        """The processes of a stage script that work in this copy, whoever their parent is."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                words = process.cmdline()
                if f"stages/{script}.py" in words and words[0].endswith("python") and process.cwd() == str(self.folder):
                    found.append(process)
        return found

    def forget(self, target: Target) -> None:
        """Make a stage look as if it had never run."""
        lock = yaml.safe_load((self.folder / "dvc.lock").read_text())
        del lock["stages"][target.stage]
        (self.folder / "dvc.lock").write_text(yaml.safe_dump(lock))
        for path in (self.folder / target.out, self.folder / target.work):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)

    def contents(self) -> dict[str, str]:
        """SHA-256 of every result."""
        roots = [self.folder / name for name in ("data", "linreg", "models/small", "plots", "metrics")]
        files = [path for root in roots for path in root.rglob("*") if path.is_file() and ".work" not in path.parts]
        return {str(path.relative_to(self.folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    def units(self, target: Target) -> dict[str, tuple[float, tuple[int, ...]]]:
        """The finished units of a stage: name -> (note if it is a number, when each of its files was written)."""
        units = {}
        for journal in (self.folder / target.work).glob("*.jsonl"):
            for line in journal.read_bytes().splitlines():
                with contextlib.suppress(ValueError, FileNotFoundError):
                    entry = json.loads(line)
                    files = [journal.with_suffix("") / name for name in entry["files"]]
                    note = entry["note"] if isinstance(entry["note"], int) else 0
                    units[entry["unit"]] = (note, tuple(path.stat().st_mtime_ns for path in files))
        return units

    def progress(self, target: Target) -> int:
        """How far a stage has come: the number of finished units, or the steps of training."""
        units = self.units(target)
        return max([note for note, _ in units.values()], default=0) if target.trains else len(units)


DVC = [sys.executable, "-m", "dvc"]
PRINT_SITE = "import sysconfig; print(sysconfig.get_path('purelib'))"


def harass(copy: Copy, target: Target, kills: list[tuple[str, signal.Signals]], report: Report,
           choose: random.Random, expected: dict[str, str]) -> None:  # fmt: skip
    """Forget one stage, run `dvc repro` and kill it as often as `kills` says, then let it finish and compare."""
    whole = copy.progress(target)
    copy.forget(target)
    seen: dict[str, tuple[float, tuple[int, ...]]] = {}
    for mode, number in kills:
        process = copy.repro()
        stage = _wait_for_stage(copy, process, target.script)
        if stage is None:
            if process.wait() or not seen:  # else the signal before came after the stage's end, and dvc took it as done
                report.faults.append(f"{target.stage}: dvc ended before the stage began: {copy.log()[-300:]}")
            break
        # Anywhere in the work that is left, the time before its first unit and after its last one included.
        here = copy.progress(target)
        far = choose.choice([here, choose.randint(here, whole)])
        while process.poll() is None and stage.is_running() and copy.progress(target) < far:
            time.sleep(0.005)
        time.sleep(choose.uniform(0, 0.2 if far > here else 3))
        ended = not stage.is_running()
        if not _kill(process, stage, mode, number):
            break  # it was faster than we; the round ends as a finished one
        seen = _check_kept(copy, target, seen, report)
        report.kills[target.stage, mode, number.name] += 1
        report.moments["after the stage's end" if ended else "between units" if seen else "before a unit"] += 1
        report.units_finished_before_kills += len(seen)
        process.wait()
        if mode != "dvc" or choose.random() < 0.5:  # else dvc runs again beside its orphan
            _wait_for_end(copy, target.script, report)
    process = copy.repro()
    if process.wait() != 0:
        report.faults.append(f"{target.stage}: dvc repro failed after {kills}: {copy.log()[-300:]}")
        copy.repro().wait()
    _check_kept(copy, target, seen, report)
    _wait_for_end(copy, target.script, report)
    if copy.contents() != expected:
        report.faults.append(f"{target.stage}: other bytes after {kills}")
    report.faults += [f"{target.stage}: left behind {path.relative_to(copy.folder)}" for path in _leftovers(copy)]
    report.rounds += 1


def _wait_for_stage(copy: Copy, process: subprocess.Popen[bytes], script: str) -> psutil.Process | None:
    while process.poll() is None:
        children: list[psutil.Process] = []
        with contextlib.suppress(psutil.Error):
            children = psutil.Process(process.pid).children(recursive=True)
        for child in children:
            with contextlib.suppress(psutil.Error):
                if f"stages/{script}.py" in child.cmdline():
                    return child
        time.sleep(0.01)
    return None


def _kill(process: subprocess.Popen[bytes], stage: psutil.Process, mode: str, number: signal.Signals) -> bool:
    """Send the signal; False if there was nobody left to receive it."""
    if process.poll() is not None:
        return False
    with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
        if mode == "group":
            os.killpg(process.pid, number)
        elif mode == "dvc":
            process.send_signal(number)
        else:
            stage.send_signal(number)
        return True
    return False


def _wait_for_end(copy: Copy, script: str, report: Report) -> None:
    deadline = time.monotonic() + 15
    while copy.stage_processes(script):
        if time.monotonic() > deadline:
            report.faults.append(f"{script}: still at work 15 seconds after its dvc was gone")
            for process in copy.stage_processes(script):
                process.kill()
            return
        time.sleep(0.05)


def _check_kept(copy: Copy, target: Target, before: dict[str, Any], report: Report) -> dict[str, Any]:
    """The units finished by now; a fault for each that was finished before and has been computed again."""
    now = copy.units(target)
    if target.trains:  # the newest checkpoint must never be an older one
        if max(now.values(), default=(0,))[0] < max(before.values(), default=(0,))[0]:
            report.faults.append(f"{target.stage}: trained again from step {now} after {before}")
        return now
    for unit, written in before.items():
        if now.get(unit) != written:
            report.faults.append(f"{target.stage}: unit {unit} was computed again")
    return now


def _leftovers(copy: Copy) -> Iterator[Path]:
    roots = [copy.folder / name for name in ("data", "linreg", "models", "plots", "metrics")]
    for path in itertools.chain.from_iterable(root.rglob(".*") for root in roots):
        if path.suffix in (".tmp", ".new", ".old"):
            yield path


def run(kills: int, targets: tuple[Target, ...], sentences: int, seed: int, folder: Path,
        asked: Sequence[str] = (), show: Any = print) -> Report:  # fmt: skip
    """Kill `kills` times in all, turn by turn; `show` is told how it goes.

    asked: the stages that dvc is asked for, and runs with what they need; none: the whole pipeline.
    """
    copy = Copy(folder, sentences, asked)
    process = copy.repro()
    if process.wait():
        raise RuntimeError(copy.log())
    expected = copy.contents()

    report, choose = Report(), random.Random(seed)
    ways = itertools.cycle(choose.sample(list(itertools.product(MODES, SIGNALS)), len(MODES) * len(SIGNALS)))
    for target in itertools.cycle(targets):
        if (left := kills - report.kills.total()) <= 0:
            return report
        todo = list(itertools.islice(ways, min(left, choose.randint(1, 3))))
        harass(copy, target, todo, report, choose, expected)
        show(f"{report.kills.total()} of {kills} kills, {report.rounds} runs compared, {len(report.faults)} faults")
    raise AssertionError("unreachable")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=60, help="how many in all (default: %(default)s)")
    parser.add_argument("--sentences", type=int, default=3000, help="to record and fit (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default: %(default)s)")
    parser.add_argument("--report", type=Path, help="write the counts to this JSON file")
    args = parser.parse_args()
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        report = run(args.kills, TARGETS, args.sentences, args.seed, Path(folder).resolve())
    result = report.as_json(time.monotonic() - start)
    print(json.dumps(result, indent=2))
    if args.report:
        args.report.write_text(json.dumps(result, indent=2) + "\n")
    sys.exit(bool(report.faults))


if __name__ == "__main__":
    main()
