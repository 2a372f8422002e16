"""Partial work: what a killed stage had finished is kept, checked, and not computed again."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from filelock import FileLock, Timeout

from linear_shortcuts.files import artifacts, atomic, cards
from linear_shortcuts.files.errors import InputError
from linear_shortcuts.files.ranks import ALONE, Ranks
from linear_shortcuts.files.sources import code_sha256

WORK = Path("data/.work")
PATIENCE = 10.0  # seconds for the orphan of a killed `dvc` to notice and end, before the lock counts as taken


class Partial:
    """The finished units of one stage run, in `data/.work/<stage>/<item>/<fingerprint>/`.

    A unit is a name and one or more files. A unit counts as finished only if it was journalled under the same
    recipe (parameters, input hashes), by the same code, and its files still have the recorded checksums; anything else
    is computed again. `code` is the file that the work begins in, as a rule `__file__`: an edit of what it imports
    starts anew, an edit elsewhere does not (see `sources`). The folder lies outside DVC's outs, because DVC deletes
    outs before a stage runs. It outlives the stage, its files shared with what was published, because `dvc` can be
    killed before it has taken them in.

    An exclusive lock, which dies with its process, keeps a second run (or an orphan of a killed `dvc`) away.

    Of several ranks the first takes the lock and publishes. Each has a journal of its own, and all journals are read
    whatever the number of ranks that wrote them.

        with Partial("fit", "tiny-gpt2", recipe, code=__file__) as partial:
            for source in layers:
                if source not in partial:
                    partial.save(source, {f"{source}_{j}.pickle": matrix for j, matrix in fit(source)})
            if partial.gather():
                partial.publish(folder, card)
    """

    def __init__(
        self,
        stage: str,
        item: str,
        recipe: Mapping[str, Any],
        root: Path = WORK,
        ranks: Ranks = ALONE,
        *,
        code: str | Path,
    ) -> None:
        self.ranks = ranks
        self.item_folder = root / stage / item
        self.folder = self.item_folder / artifacts.fingerprint([recipe, code_sha256(code)])[:16]
        self._journal = self.folder.with_suffix(".jsonl" if ranks.first else f".{ranks.rank}.jsonl")
        self.resumed = 0  # units found finished when the run began
        self._units: dict[str, dict[str, Any]] = {}  # name -> {"files": {name: sha256}, "note": anything}
        self._lock = FileLock(self.item_folder / "lock")

    def __enter__(self) -> Partial:
        if self.ranks.first:
            self._lock_out_others()
        try:
            if self.ranks.first:
                self._take_in_journals()
                self._sweep()
            self.ranks.wait()  # the journal is settled, and what is no part of it has been swept away
            if not self.ranks.first:
                self._units = self._read(self.folder.with_suffix(".jsonl"))
                with atomic.writing(self._journal):
                    self._journal.touch()  # the first looks for it
        except BaseException:
            self._lock.release()
            raise
        self.resumed = len(self._units)
        return self

    def _lock_out_others(self) -> None:
        with atomic.writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                self._lock.acquire(timeout=PATIENCE)
            except Timeout:
                raise InputError(
                    f"another process is at work in {self.item_folder}; wait for it to end, or end it, and run again"
                ) from None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._lock.release()

    def __contains__(self, unit: object) -> bool:
        return str(unit) in self._units

    def save(self, unit: object, files: Mapping[str, Any], note: Any = None) -> None:
        """Write the files (name -> value) of one unit, then record it as finished, with a JSON-able note."""
        checksums = {name: artifacts.save(self.folder / name, value) for name, value in files.items()}
        line = json.dumps({"unit": str(unit), "files": checksums, "note": note})
        with atomic.writing(self._journal), open(self._journal, "ab") as journal:
            journal.write(line.encode() + b"\n")
            journal.flush()
            os.fsync(journal.fileno())
        self._units[str(unit)] = json.loads(line)  # so that a note reads the same now and after a resume

    def gather(self) -> bool:
        """Wait until every rank has finished its share; whether this is the one that publishes."""
        self.ranks.wait()
        if self.ranks.first and self.ranks.size > 1:
            for rank in range(1, self.ranks.size):
                if not self.folder.with_suffix(f".{rank}.jsonl").exists():
                    raise InputError(
                        f"rank {rank} was at work on something else than rank 0: its settings, inputs, code or library "
                        "versions differ; start all ranks with the same, on one file system"
                    )
            self._take_in_journals()
        return self.ranks.first

    def load(self, name: str) -> Any:
        """Load a file that a finished unit saved."""
        return artifacts.load(self.folder / name)

    def checksums(self) -> dict[str, str]:
        """SHA-256 of every finished file, by name, sorted."""
        return dict(sorted(pair for entry in self._units.values() for pair in entry["files"].items()))

    def note(self, unit: object) -> Any:
        """What was noted when the unit was saved."""
        return self._units[str(unit)]["note"]

    def publish(self, folder: Path, card: Mapping[str, Any]) -> None:
        """Make the finished files the content of `folder`, replacing what was there, with its `card.json`.

        The card gains `files`, the checksum of each. Killed at any point, either the old folder or the new one is
        there, or neither and running again publishes without computing.
        """
        checksums = self.checksums()
        with atomic.atomic_folder(folder) as coming:
            for name in checksums:
                _link_or_copy(self.folder / name, coming / name)
            cards.write_card(coming, {**card, "files": checksums})
        self.forget_others()

    def forget_others(self) -> None:
        """Remove what other recipes of this item left behind: its result has just been replaced."""
        for path in self.item_folder.iterdir():
            if path.is_dir() and path != self.folder:
                shutil.rmtree(path)
            elif path.suffix == ".jsonl" and path != self._journal:
                path.unlink()

    def _sweep(self) -> None:
        """Remove files of no finished unit: a unit that was being written when the process died."""
        keep = self.checksums()
        for path in self.folder.iterdir():
            if path.name not in keep:
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def _take_in_journals(self) -> None:
        """Make one journal of those of all ranks, of the units whose files are intact."""
        others = sorted(self.item_folder.glob(f"{self.folder.name}.*.jsonl"))
        found = {unit: entry for path in (self._journal, *others) for unit, entry in self._read(path).items()}
        known = self._units
        self._units = {unit: e for unit, e in found.items() if known.get(unit) == e or self._intact(e["files"])}
        # Written anew so that a torn last line can never run into the next one.
        with atomic.atomic_file(self._journal) as file:
            file.writelines(json.dumps(entry).encode() + b"\n" for entry in self._units.values())
        for path in others:
            path.unlink()

    @staticmethod
    def _read(journal: Path) -> dict[str, dict[str, Any]]:
        units: dict[str, dict[str, Any]] = {}
        for line in journal.read_bytes().splitlines() if journal.exists() else ():
            try:
                entry = json.loads(line)
                units[entry["unit"]] = {key: entry[key] for key in ("unit", "files", "note")}
            except (ValueError, TypeError, KeyError):  # the line being written when the process died
                continue
        return units

    def _intact(self, files: Mapping[str, str]) -> bool:
        return isinstance(files, dict) and all(
            (path := self.folder / name).is_file() and artifacts.file_sha256(path) == sha256
            for name, sha256 in files.items()
        )


def _link_or_copy(source: Path, target: Path) -> None:
    """A second name for the same bytes on disk; a copy where the file system has no such thing."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
