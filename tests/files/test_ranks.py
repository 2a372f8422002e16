"""Several ranks make the bytes of one process; a rank that dies ends the run in words, and the rerun resumes."""

import os
import re
import socket
import subprocess
import sys
from contextlib import ExitStack

import pytest
from hypothesis import given, strategies as st
from toy import artifacts_of, make_study, run_stages, stage

from linear_shortcuts.files.errors import InputError
from linear_shortcuts.files.partial import Partial
from linear_shortcuts.files.ranks import ALONE, Ranks, join

# Runs stages one after the other as one of several ranks. With DIE=5, rank 1 is killed when it has fitted a layer.
DRIVER = """
import os, runpy, signal, sys
from linear_shortcuts.files import partial
save = partial.Partial.save
def save_and_die(self, *args, **kwargs):
    save(self, *args, **kwargs)
    if os.environ.get("DIE") and os.environ["RANK"] == "1":
        os.kill(os.getpid(), signal.SIGKILL)
partial.Partial.save = save_and_die
for stage in sys.argv[1:]:
    sys.argv = [stage, "--model", "toy-gpt2"]
    runpy.run_path(stage, run_name="__main__")
"""
SHARED_OUT = [stage(number) for number in (4, 5, 6, 8)]


def torchrun(folder, stages, ranks=2, **environment):
    driver = folder / "driver.py"
    driver.write_text(DRIVER)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(ranks)]
    command += ["--master-addr", "127.0.0.1", "--master-port", str(port), str(driver), *map(str, stages)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path), **environment}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=180)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The study of one process with one thread, and a folder in which only the tokens are made."""
    folder, fresh = (tmp_path_factory.mktemp(name) for name in ("alone", "fresh"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        make_study(folder)
        run_stages(folder, "toy-gpt2", [stage(1), stage(3)])
        subprocess.run(["cp", "-r", f"{folder}/.", str(fresh)], check=True)
        run_stages(folder, "toy-gpt2", SHARED_OUT)
    return folder, fresh


def test_two_ranks_make_the_bytes_of_one_even_after_one_of_them_was_killed(alone):
    folder, fresh = alone
    dead = torchrun(fresh, SHARED_OUT, DIE="yes")
    assert dead.returncode != 0
    assert "finished work is kept" in dead.stderr or "what was finished is kept" in dead.stderr
    assert 'Traceback (most recent call last):\n  File "' + str(fresh) not in dead.stderr  # of ours, that is
    assert not (fresh / "data" / "toy-gpt2" / "my-text" / "hidden_train").exists()  # nothing half is published

    done = torchrun(fresh, SHARED_OUT)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = done.stdout.splitlines()
    assert len(lines) == 5  # 04 speaks of either split; one rank speaks
    assert int(re.search(r"\((\d+) shards resumed\)", lines[0])[1]) >= 1
    assert artifacts_of(fresh) == artifacts_of(folder)


@given(units=st.lists(st.integers(), max_size=30), size=st.integers(1, 8))
def test_every_unit_is_the_share_of_exactly_one_rank(units, size):
    shares = [Ranks(rank, size).share(units) for rank in range(size)]
    assert sorted(unit for share in shares for unit in share) == sorted(units)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


class _Neighbours(Ranks):
    """Ranks of one process, which come one after the other and so have nobody to wait for."""

    def wait(self) -> None:
        pass


def test_the_journals_of_all_ranks_are_read_by_any_number_of_them(tmp_path):
    with ExitStack() as stack:
        ranks = [
            Partial("05", "item", {}, root=tmp_path, ranks=_Neighbours(rank, 3), code=__file__) for rank in range(3)
        ]
        for rank, partial in enumerate(map(stack.enter_context, ranks)):
            partial.save(rank, {f"{rank}.pickle": rank})
        assert [partial.gather() for partial in ranks] == [True, False, False]
    with Partial("05", "item", {}, root=tmp_path, code=__file__) as partial:
        assert partial.resumed == 3
        assert sorted(partial.checksums()) == ["0.pickle", "1.pickle", "2.pickle"]
    (partial.folder / "1.pickle").write_bytes(b"damaged")
    with Partial("05", "item", {}, root=tmp_path, code=__file__) as partial:
        assert partial.resumed == 2
    assert len(list(partial.item_folder.glob("*.jsonl"))) == 1


def test_a_rank_at_work_under_other_settings_is_named_though_its_share_was_empty(tmp_path):
    with ExitStack() as stack:
        ranks = [
            Partial("05", "item", {"x": rank}, root=tmp_path, ranks=_Neighbours(rank, 2), code=__file__)
            for rank in range(2)
        ]
        for partial in ranks:
            stack.enter_context(partial)
        ranks[0].save(0, {"0.pickle": 0})
        assert not ranks[1].gather()
        with pytest.raises(InputError, match="rank 1 was at work on something else than rank 0: its settings"):
            ranks[0].gather()


ODD = [
    ({"WORLD_SIZE": ""}, "WORLD_SIZE is ''; start the ranks with torchrun, or unset WORLD_SIZE to run alone"),
    ({"WORLD_SIZE": "two"}, "WORLD_SIZE is 'two'"),
    ({"WORLD_SIZE": "0"}, "WORLD_SIZE is '0'"),
    ({"WORLD_SIZE": "-1"}, "WORLD_SIZE is '-1'"),
    ({"WORLD_SIZE": "2"}, "RANK is not set beside WORLD_SIZE"),
    ({"WORLD_SIZE": "2", "RANK": "x\x1b"}, "RANK is 'x?'"),
    ({"WORLD_SIZE": "2", "RANK": "2"}, "RANK is 2 but WORLD_SIZE is 2"),
]


@pytest.mark.parametrize(("variables", "message"), ODD, ids=str)
def test_ranks_that_torchrun_did_not_set_end_in_one_line(monkeypatch, variables, message):
    for name in ("WORLD_SIZE", "RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=re.escape(message)):
        join("cpu")


def test_without_torchrun_there_is_one_rank(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert join("auto") is ALONE
    assert ALONE.first
    ALONE.wait()


def test_ranks_that_cannot_meet_say_so_in_one_line(monkeypatch):
    for name, value in {"WORLD_SIZE": "2", "RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with pytest.raises(InputError, match=r"^the ranks cannot meet \(.*MASTER_ADDR"):
        join("cpu")
