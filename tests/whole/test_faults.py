"""Faults of disks, files and users: each is detected and named, and mended by itself where that is safe."""

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
import yaml
from refusal import refusal as refused_here
from toy import artifacts_of, run_here, stage

from linear_shortcuts.files import artifacts, atomic, cards
from linear_shortcuts.files.errors import InputError
from linear_shortcuts.maps.linear_maps import LayerMaps
from linear_shortcuts.models import verification
from linear_shortcuts.scores.exits import NO_TOKEN

MODEL = "toy-gpt2"
TRAIN = f"data/{MODEL}/my-text/hidden_train"
WORK = f"data/.work/04_extract_hidden_states/{MODEL}.my-text.train"


@pytest.fixture(scope="module")
def tokenized(finished_run, tmp_path_factory):
    """The toy study with sentences and tokens; extraction is next."""
    folder, later = tmp_path_factory.mktemp("tokenized") / "run", ("hidden_*", "r2.*", "*_exits.*", ".work")
    shutil.copytree(
        finished_run("gpt2")[0], folder, ignore=shutil.ignore_patterns(*later, "linreg", "plots", "metrics")
    )
    return folder


@pytest.fixture(scope="module")
def extracted(finished_run):
    """The toy study after all stages."""
    return finished_run("gpt2")[0]


@pytest.fixture
def run(tokenized, tmp_path):
    shutil.copytree(tokenized, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def done(extracted, tmp_path):
    shutil.copytree(extracted, tmp_path / "run")
    return tmp_path / "run"


def extract(folder, **options):
    return subprocess.run(
        [sys.executable, str(stage(4)), "--model", MODEL, "--split", "train", "--device", "cpu"],
        cwd=folder, capture_output=True, text=True, timeout=300, **options,
    )  # fmt: skip


def refusal(result) -> str:
    """The one line with which a stage has ended."""
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    [line] = [line for line in result.stderr.splitlines() if "error:" in line]
    return line


def resumed(result) -> int:
    assert result.returncode == 0, result.stderr
    return int(re.search(r"\((\d+) shards resumed\)", result.stdout)[1])


def of_train(folder):
    return {name: data for name, data in artifacts_of(folder).items() if name.startswith(TRAIN)}


def flip(path, place=-200):
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


# --- the disk ----------------------------------------------------------------------------------------------


def test_a_write_that_fails_midway_ends_in_one_line_and_running_again_continues(run, extracted):
    def limit():  # a shard is some 18 kB, a token file is there already
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))

    line = refusal(extract(run, preexec_fn=limit))
    assert "00000.pickle cannot be written (File too large)" in line
    assert "finished work is kept" in line
    assert not list(run.rglob("*.tmp"))
    assert resumed(extract(run)) == 0
    assert of_train(run) == of_train(extracted)


def mount(folder, options):
    """A file system of its own at `folder`, where the tests may make one."""
    folder.mkdir(exist_ok=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True)
    if done.returncode:
        pytest.skip("mounting a small file system needs root")


@pytest.mark.skipif(not shutil.which("mount"), reason="no mount command")
def test_a_full_disk_ends_in_one_line_and_what_was_finished_is_kept(run, extracted):
    data, disk = run / "data", run / "disk"
    mount(disk, "size=4m")
    try:
        shutil.copytree(data, disk, dirs_exist_ok=True)
        shutil.rmtree(data)
        data.symlink_to(disk)
        free = shutil.disk_usage(disk).free
        (disk / "filler").write_bytes(bytes(free - 65_536))
        line = refusal(extract(run))
        assert "cannot be written (No space left on device)" in line
        kept = len(list((run / WORK).glob("*/0*.pickle")))
        assert 1 <= kept < 7
        (disk / "filler").unlink()
        assert resumed(extract(run)) == kept
        assert of_train(run) == of_train(extracted)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.skipif(not shutil.which("mount"), reason="no mount command")
def test_a_read_only_folder_is_named(run):
    data = run / "data"
    shutil.move(data, run / "aside")
    mount(data, "size=4m")
    try:
        shutil.copytree(run / "aside", data, dirs_exist_ok=True)
        subprocess.run(["mount", "-o", "remount,ro", str(data)], check=True)
        line = refusal(extract(run))
        assert re.search(r"data/\.work/04_extract_hidden_states/\S+ cannot be written \(Read-only file system\)", line)
        assert not (run / TRAIN).exists()
    finally:
        subprocess.run(["umount", str(data)], check=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_named(run):
    (run / "data").chmod(0o500)
    try:
        assert "cannot be written (Permission denied)" in refusal(extract(run))
    finally:
        (run / "data").chmod(0o700)


def test_what_a_killed_writer_left_beside_a_file_is_removed_and_a_living_ones_is_not(tmp_path):
    (tmp_path / ".x.pickle.dead.tmp").write_bytes(b"half a fi")
    (tmp_path / ".y.pickle.dead.tmp").write_bytes(b"of another file")
    with atomic.atomic_file(tmp_path / "x.pickle") as living:
        living.write(b"first")
        artifacts.save(tmp_path / "x.pickle", "second")
        [left] = tmp_path.glob(".x.*")
        assert left.name != ".x.pickle.dead.tmp"
    assert (tmp_path / "x.pickle").read_bytes() == b"first"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".y.pickle.dead.tmp", "x.pickle"]


# --- damaged files -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["flipped", "truncated", "lost"])
def test_a_damaged_shard_is_refused_by_the_next_stage_and_only_that_shard_is_recorded_again(done, extracted, damage):
    shard = done / TRAIN / "00003.pickle"
    if damage == "flipped":
        flip(shard)
    elif damage == "truncated":
        os.truncate(shard, shard.stat().st_size // 2)
    else:
        shard.unlink()
    shutil.rmtree(done / "data" / ".work" / "05_fit_layer_maps")  # finished fits need no shard
    line = in_process(done, 5)
    assert "00003.pickle " + ("does not exist" if damage == "lost" else "is damaged") in line
    # The work folder is a second witness; damage there costs its own unit.
    [unit] = (done / WORK).glob("*/00003.pickle")
    flip(unit)
    assert resumed(extract(done)) == 6
    assert of_train(done) == of_train(extracted)


@pytest.mark.parametrize("number", [7, 8])
def test_a_damaged_map_is_refused_by_whoever_reads_it(done, number):
    flip(done / "linreg" / MODEL / "my-text" / "layers" / "0_2.pickle")
    shutil.rmtree(done / "data" / ".work")  # finished work needs no map
    assert "layers/0_2.pickle is damaged" in in_process(done, number)


@pytest.mark.parametrize(("name", "number"), [("data/sentences/my-text", 3), (f"data/{MODEL}/my-text/tokens_train", 4)])
def test_a_damaged_file_without_a_card_says_so_itself(run, name, number):
    flip(run / f"{name}.pickle", 400)
    assert f"{name}.pickle is damaged" in in_process(run, number)


BROKEN_CARDS = {
    "cut": lambda text: text[:-40],
    "empty": lambda text: "{}",
    "null": lambda text: "null",
    "list": lambda text: "[1, 2]",
    "key": lambda text: text.replace('"layers"', '"layerz"'),
    "number": lambda text: re.sub(r'"width": \d+', '"width": 17', text),
    "no checksum": lambda text: re.sub(r'("\d+(?:_\d+)?\.pickle": )"\w+"', r"\1null", text),
}


@pytest.mark.parametrize("kind", BROKEN_CARDS)
@pytest.mark.parametrize(("folder", "number"), [(TRAIN, 5), (f"linreg/{MODEL}/my-text/layers", 7)])
def test_a_damaged_card_is_named(done, folder, number, kind):
    card = done / folder / "card.json"
    text = card.read_text()
    card.write_text(BROKEN_CARDS[kind](text))
    assert card.read_text() != text
    assert re.search(r"card\.json is (damaged|not valid JSON)", in_process(done, number))


def in_process(folder, number) -> str:
    """What a stage ends with, run in this process: it is quicker than to start one."""
    said = refused_here(stage(number), "--model", MODEL, folder=folder)
    assert "\n" not in said
    return said


def test_maps_without_their_card_are_not_taken_for_those_of_this_model(done):
    (done / f"linreg/{MODEL}/my-text/layers/card.json").unlink()
    assert "layers has no card.json, so what it was fitted on is not known" in in_process(done, 7)


# --- other settings, other processes -----------------------------------------------------------------------


def test_partial_work_of_other_settings_is_not_continued(run, tmp_path):
    def settings(folder, shard):
        params = yaml.safe_load((folder / "params.yaml").read_text())
        params["extract"]["sentences_per_shard"] = shard
        (folder / "params.yaml").write_text(yaml.safe_dump(params))

    shutil.copytree(run, tmp_path / "other")
    for folder, first in ((run, 30), (tmp_path / "other", 50)):
        settings(folder, first)
        if folder == run:
            extract(folder)
            shutil.rmtree(folder / TRAIN)
        settings(folder, 50)
        assert resumed(extract(folder)) == 0
    assert of_train(run) == of_train(tmp_path / "other")
    [work] = [path for path in (run / WORK).iterdir() if path.is_dir()]  # the other recipe's is gone
    assert len(list(work.glob("*.pickle"))) == 4


def test_of_two_runs_at_once_the_second_is_refused_and_the_first_goes_on(run, extracted):
    slow = "import os, sys, time, runpy; import linear_shortcuts.states.extraction as h\n"
    slow += "from linear_shortcuts.files import partial\n"
    slow += "def extract(*args, extract=h.extract):\n    while not os.path.exists('go'):\n        time.sleep(0.05)\n"
    slow += "    return extract(*args)\nh.extract = extract; partial.PATIENCE = 0.5\n"
    slow += f"sys.argv = {[str(stage(4)), '--model', MODEL, '--split', 'train', '--device', 'cpu']!r}\n"
    slow += "runpy.run_path(sys.argv[0], run_name='__main__')"
    first = subprocess.Popen([sys.executable, "-c", slow], cwd=run, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while not (run / WORK / "lock").exists():
        assert first.poll() is None
        time.sleep(0.05)
    second = subprocess.run([sys.executable, "-c", slow], cwd=run, capture_output=True, text=True)
    assert re.search(r"another process is at work in data/\.work/04_extract_hidden_states/\S+; wait", refusal(second))
    (run / "go").touch()
    assert first.wait() == 0
    assert of_train(run) == of_train(extracted)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stage_that_is_told_to_end_says_that_what_was_finished_is_kept(run, number):
    code = "import os, signal, threading, time; from linear_shortcuts.settings.program import run\n"
    code += "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a shell may have had it ignored
    code += f"threading.Timer(0.5, os.kill, (os.getpid(), {int(number)})).start()\nrun(lambda: time.sleep(60))"
    result = subprocess.run([sys.executable, "-c", code], cwd=run, capture_output=True, text=True, timeout=50)
    assert result.returncode == 128 + number
    assert result.stderr.endswith("interrupted; what was finished is kept\n")


STARTED = "import os, signal, sys, threading, time; from linear_shortcuts.settings.program import run\n"


def started(code, **options):
    """What a program ends with that runs `code` as a stage does; it imports no more than that."""
    return subprocess.run(
        [sys.executable, "-c", STARTED + code], stderr=subprocess.PIPE, text=True, timeout=50, **options
    )


def test_told_twice_to_end_a_stage_still_ends_in_order():
    code = "def main():\n    try:\n        os.kill(os.getpid(), signal.SIGTERM); time.sleep(9)\n"
    code += "    finally:\n        [os.kill(os.getpid(), signal.SIGTERM) for _ in range(9)]\n"
    code += "        print('swept', file=sys.stderr)\n"
    result = started(code + "run(main)")
    assert result.returncode == 143
    assert result.stderr == "swept\n-c: interrupted; what was finished is kept\n"


def test_what_the_reader_of_the_output_may_do():
    code = "run(lambda: print('mat \\u2212 id ' * {}))"
    reader, writer = os.pipe()
    os.close(reader)
    for number in (1, 10_000):
        gone = started(code.format(number), stdout=writer)
        assert (gone.returncode, gone.stderr) == (141, "")
        if os.path.exists("/dev/full"):
            with open("/dev/full", "w") as full:
                assert "its standard output cannot be written (No space left" in refusal(
                    started(code.format(number), stdout=full)
                )
    plain = {**os.environ, "PYTHONIOENCODING": "", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}
    said = started(code.format(1), stdout=subprocess.PIPE, env=plain)
    assert (said.returncode, said.stdout) == (0, "mat \\u2212 id \n")
    os.close(writer)


@pytest.mark.parametrize("closed", [(1,), (2,), (1, 2)])
def test_a_stage_whose_output_was_closed_does_its_work_and_writes_into_no_file_of_its_own(tmp_path, closed):
    code = "from tqdm import tqdm\ndef main():\n    with open('kept', 'w') as file:\n"
    code += "        for number in tqdm((1, 2)):\n            print('said')\n            os.write(number, b'raw')\n"
    code += "        file.write('done')\nrun(main)"
    result = subprocess.run(
        [sys.executable, "-c", STARTED + code], cwd=tmp_path, timeout=50, capture_output=True,
        preexec_fn=lambda: [os.close(number) for number in closed],
    )  # fmt: skip
    assert result.returncode == 0
    assert (tmp_path / "kept").read_text() == "done"


def test_a_stage_refuses_in_one_printable_line_whatever_it_is_told():
    code = "from linear_shortcuts.files import InputError\n"
    code += "def main(): raise InputError('a\\n\\x1b[2Jb' + 'c' * 99_999)\nrun(main)"
    line = refusal(started(code, env={**os.environ, "WORLD_SIZE": ""}))
    assert line.startswith("-c, rank ? of : error: a ?[2Jbcc")
    assert len(line) < 2100


def test_a_stage_ends_when_the_dvc_that_started_it_is_gone_and_another_ones_parent_does_not_matter(tmp_path):
    stage_code = "import time; from linear_shortcuts.settings import run\n"
    stage_code += "run(lambda: (time.sleep(3), open('end', 'w').close()))"
    parent = "import os, subprocess, sys; subprocess.Popen([sys.executable, '-c', sys.argv[1]], env={**os.environ, "
    parent += "**({'DVC_STAGE': 'x'} if sys.argv[2] == 'dvc' else {})}, cwd=sys.argv[3]); import time; time.sleep(1.5)"
    for kind in ("dvc", "shell"):
        (tmp_path / kind).mkdir()
        subprocess.run([sys.executable, "-c", parent, stage_code, kind, str(tmp_path / kind)], check=True)
    time.sleep(5)
    assert not (tmp_path / "dvc" / "end").exists()
    assert (tmp_path / "shell" / "end").exists()


# --- the wrong company -------------------------------------------------------------------------------------


def test_states_of_a_checkpoint_that_has_changed_since_are_refused(done):
    from safetensors.torch import load_file, save_file

    weights = done / "gpt2" / "model.safetensors"
    tensors = load_file(weights)
    next(iter(tensors.values())).add_(0.5)
    save_file(tensors, weights, metadata={"format": "pt"})
    line = in_process(done, 6)
    assert len(set(re.findall(r"weights ([0-9a-f]{12})", line))) == 2, "both sides are named"


def change_map(folder, name, change):
    """Change a fitted matrix in a way that its card confirms."""
    matrix = artifacts.load(folder / name)
    change(matrix)
    card = cards.read_card(folder, made_by="this test")
    cards.write_card(folder, {**card, "files": {**card["files"], name: artifacts.save(folder / name, matrix)}})


def test_states_of_the_same_weights_under_another_config_are_refused(done):
    config = json.loads((done / "gpt2/config.json").read_text())
    (done / "gpt2/config.json").write_text(json.dumps(config | {"layer_norm_epsilon": 0.1}))
    said = in_process(done, 6)
    assert "config has layer_norm_epsilon 1e-05" in said
    assert "one with 0.1" in said


@pytest.mark.parametrize("values", [torch.ones(16, 16, dtype=torch.complex64), torch.empty(0, 0)])
def test_a_map_that_is_not_of_real_numbers_is_refused(tmp_path, values):
    artifacts.save(tmp_path / "0_1.pickle", values)
    with pytest.raises(InputError, match="a map has real numbers"):
        LayerMaps.load(tmp_path)[0, 1]


def test_a_map_with_a_value_that_is_not_finite_is_refused_though_its_checksum_is_right(done):
    change_map(
        done / "linreg" / MODEL / "my-text" / "layers", "0_1.pickle", lambda matrix: matrix[3, 4].fill_(torch.inf)
    )
    assert "0_1.pickle has entries that are not finite" in in_process(done, 7)


def test_maps_that_overflow_on_the_states_are_a_result_without_tokens(done):
    submodules = done / "linreg" / MODEL / "my-text" / "submodules"
    change_map(submodules, "p0_1_2.pickle", lambda matrix: matrix.fill_(1e30))  # in the place of attention
    run_here(done, MODEL, [stage(8)])
    records = artifacts.load(done / "data" / MODEL / "my-text" / "fixed_exits.pickle")["records"]
    lost = {(record["mapping"], record["layer"]) for record in records if (record["top_ids"] == NO_TOKEN).all()}
    held = {(record["mapping"], record["layer"]) for record in records if (record["top_ids"] >= 0).all()}
    assert lost == {("mat_attn", 0)}  # from layer 1 on block 1 is not run with it
    assert len(held) == len(records) - 1


def test_states_that_overflow_stop_with_layer_and_sentence(run):
    """At positions that no look at a few tokens reaches; a model that gives no numbers at all does not load."""
    from safetensors.torch import load_file, save_file

    weights = run / "gpt2" / "model.safetensors"
    tensors = load_file(weights)
    tensors["transformer.wpe.weight"][verification.TOKENS :] = torch.finfo(torch.float32).max
    save_file(tensors, weights, metadata={"format": "pt"})
    assert re.search(r"layer 1 of sentence \d+ has a value that is not finite", refusal(extract(run)))
    assert not (run / TRAIN).exists()


def test_an_unreadable_file_is_named(tmp_path, monkeypatch):
    artifacts.save(tmp_path / "x.pickle", 1)

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(artifacts, "_digest", refuse)
    with pytest.raises(InputError, match=r"x\.pickle cannot be read \(Permission denied\)"):
        artifacts.load(tmp_path / "x.pickle")
