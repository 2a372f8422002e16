"""One toy study and its finished runs, which the tests of this folder share and copy before they change them."""

import fcntl
import json
import os
import shutil
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from toy import ALL, OF_A_USER, make_study, run_stages


@pytest.fixture(scope="session")
def once(tmp_path_factory):
    """once(name, fill): a folder that `fill` has filled, in whichever worker of pytest-xdist asked for it first."""
    place = tmp_path_factory.getbasetemp()
    place = place.parent if "PYTEST_XDIST_WORKER" in os.environ else place

    def made(name, fill):
        with (place / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (place / name).exists():
                new = Path(tempfile.mkdtemp(dir=place))
                fill(new)
                new.rename(place / name)
        return place / name

    return made


@pytest.fixture(scope="session")
def toy_study(once):
    """Two tiny checkpoints, a text and settings; nothing has run yet."""
    return once("toy-study", make_study)


@pytest.fixture(scope="session")
def finished_run(toy_study, once):
    """finished_run(kind): the study after all stages for one model, as a user runs them, and what they said."""

    def finished(kind):
        def fill(folder):
            shutil.copytree(toy_study, folder / "run")
            result = run_stages(folder / "run", f"toy-{kind}", ALL, **OF_A_USER, PYTHONHASHSEED="1")
            (folder / "said.json").write_text(json.dumps({"stdout": result.stdout, "stderr": result.stderr}))

        folder = once(f"finished-{kind}", fill)
        return folder / "run", SimpleNamespace(**json.loads((folder / "said.json").read_text()))

    return finished
