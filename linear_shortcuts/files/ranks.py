"""Several processes, one result: which share of the work is this one's, and when the others are done.

`torchrun` starts a stage several times, on one machine or on many that share a file system. Every process, called a
rank, computes its share of the units (shards, source layers, blocks, chunks) and writes them to files; the first rank
publishes them together. Nothing but the fact that a rank is done travels between them, so the bytes are those of one
process.
"""

from __future__ import annotations

import atexit
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from linear_shortcuts.files.errors import InputError, shown

Unit = TypeVar("Unit")
PATIENCE = timedelta(days=7)  # one rank may have a long unit; that another has died is noticed without a timeout


@dataclass(frozen=True)
class Ranks:
    """This process among those at work on a stage: number `rank` of `size`, counted from 0."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that takes the lock, shows the bar, publishes, and says so."""
        return self.rank == 0

    @property
    def hide(self) -> bool | None:
        """What hides a bar, tqdm's `disable`: None (unless a terminal looks on) of the first rank, else True."""
        return None if self.first else True

    def share(self, units: Sequence[Unit]) -> list[Unit]:
        """This rank's part of the units: every size-th, because neighbours cost about the same."""
        return list(units[self.rank :: self.size])

    def wait(self) -> None:
        """Return when every rank has come here; `InputError` if one has died."""
        if self.size == 1:
            return
        import torch.distributed as dist

        try:
            dist.barrier()
        except RuntimeError as error:
            raise InputError(
                "the other ranks are gone: one has died, and its own message says why; finished work is kept, so run "
                "the same command again"
            ) from error


ALONE = Ranks()


def join(device: str) -> Ranks:
    """Find out whether `torchrun` started this process, and if so meet the other ranks.

    device: as for `models.choose_device`. On CUDA the ranks of a machine take a GPU each and meet through NCCL,
    elsewhere through gloo.
    """
    size = _number("WORLD_SIZE", least=1) if "WORLD_SIZE" in os.environ else 1
    if size == 1:
        return ALONE
    if _number("RANK") >= size:
        raise InputError(f"RANK is {os.environ['RANK']} but WORLD_SIZE is {size}; start the ranks with torchrun")
    import torch.distributed as dist

    if not dist.is_initialized():
        _meet(device)
    return Ranks(dist.get_rank(), size)


def _number(variable: str, least: int = 0) -> int:
    """A variable that `torchrun` sets for each rank."""
    value = os.environ.get(variable, "")
    if not re.fullmatch("[0-9]{1,9}", value) or int(value) < least:
        what = f"is {shown(value)!r}" if variable in os.environ else "is not set beside WORLD_SIZE"
        raise InputError(f"{variable} {what}; start the ranks with torchrun, or unset WORLD_SIZE to run alone")
    return int(value)


def _meet(device: str) -> None:
    import torch
    import torch.distributed as dist

    cuda = torch.cuda.is_available() and device.split(":")[0] in ("auto", "cuda")
    if cuda:
        if device.startswith("cuda:"):
            raise InputError(f"--device {device} would put all ranks on one GPU; use cuda, and each takes its own")
        local, gpus = _number("LOCAL_RANK"), torch.cuda.device_count()
        if local >= gpus:
            raise InputError(f"rank {local} of this machine has no GPU of its own, for there are {gpus}; start {gpus}")
        torch.cuda.set_device(local)
    try:
        dist.init_process_group("nccl" if cuda else "gloo", timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"the ranks cannot meet ({reason}); see docs/PERFORMANCE.md") from error
    atexit.register(dist.destroy_process_group)
