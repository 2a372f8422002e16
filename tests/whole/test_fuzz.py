"""Files with whole seals and wrong insides: whatever they hold, a stage ends in one line or succeeds."""

import copy
import json
import random
import runpy
import shutil

import pytest
import tiny
import torch
from fitted import publish
from safetensors.torch import load_file, save_file
from toy import stage

from linear_shortcuts.commands.command_line import make_parser
from linear_shortcuts.decoding import Shortcuts, calibrate, generate
from linear_shortcuts.figures import plots
from linear_shortcuts.files import InputError, artifacts, cards
from linear_shortcuts.lenses import LensSet, interchange
from linear_shortcuts.maps import LayerMaps
from linear_shortcuts.states.extraction import extract

MODEL = "toy-gpt2"
DATA = f"data/{MODEL}/my-text"
# What each stage reads, and how many wrong ones of each it is given.
READS = {
    3: {"data/sentences/my-text.pickle": 15},
    4: {f"{DATA}/tokens_train.pickle": 15},
    5: {f"{DATA}/hidden_train/card.json": 20, f"{DATA}/hidden_train/00001.pickle": 5},
    6: {f"{DATA}/hidden_train/card.json": 5, f"{DATA}/hidden_train/00001.pickle": 5},
    7: {f"linreg/{MODEL}/my-text/layers/card.json": 30, f"{DATA}/hidden_validation/card.json": 10},
    8: {f"linreg/{MODEL}/my-text/submodules/card.json": 5, f"{DATA}/tokens_validation.pickle": 5},
    9: {f"{DATA}/fixed_exits.pickle": 40},
    10: {f"{DATA}/r2.pickle": 40, f"{DATA}/fixed_exits.pickle": 40, f"{DATA}/early_exits.pickle": 40},
}
DEEP: list = []
for _ in range(500):
    DEEP = [DEEP]
ODD = [
    None, True, -1, 0, 1, 7, 10**6, 2**63, -(2**63), 0.5, -0.0, float("nan"), float("inf"), "", "x", "\x1b[2J\n",
    "x" * 10**5, "../../x", b"bytes", [], [1], {}, {"x": 1}, {1: 2}, (1, 2), (2, 1), DEEP, torch.zeros(()),
    torch.zeros(2, 3), torch.tensor([1, 2]), torch.tensor([torch.nan]), torch.zeros(0), torch.tensor(True),
]  # fmt: skip


def places(value, path=()):
    """Every place inside a value of containers, as a path of keys."""
    yield path
    inside = value.items() if type(value) is dict else enumerate(value) if type(value) in (list, tuple) else ()
    for key, item in inside:
        yield from places(item, (*path, key))


def spoil(value, draw):
    """One place of a value lost, replaced by something odd or of another place, or changed in a tensor."""
    value = copy.deepcopy(value)
    by_depth = {}
    for path in places(value):
        by_depth.setdefault(len(path), []).append(path)
    *path, key = draw.choice(by_depth[draw.choice([depth for depth in by_depth if depth])])
    holder = value
    for step in path:
        holder = holder[step]
    if type(holder) is tuple:
        return spoil(value, draw)
    way = draw.choice(["lose", "odd", "odd", "odd", "another", "tensor", "tensor"])
    if way == "lose":
        del holder[key]
    elif way == "another":
        holder[key] = copy.deepcopy(draw.choice(list(holder.values() if type(holder) is dict else holder)))
    elif way == "tensor" and isinstance(holder[key], torch.Tensor) and holder[key].numel():
        tensor = holder[key]
        changes = [
            tensor[:0],
            tensor[:-1],
            tensor[None],
            tensor.double(),
            -tensor,
            tensor * 0,
            tensor * 10**9,
            tensor.int(),
        ]
        holder[key] = draw.choice(changes)
    else:
        holder[key] = draw.choice(ODD)
    return value


def run_inside(number):
    """Run a stage in this process, in the current folder."""
    main = runpy.run_path(str(stage(number)))["main"]
    main()


@pytest.fixture(scope="module")
def study(finished_run):
    return finished_run("gpt2")[0]


@pytest.mark.parametrize("number", READS)
def test_a_sealed_file_with_wrong_insides_is_read_or_refused_in_one_line(study, number, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "run"
    shutil.copytree(study, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("SHORTCUTS_DEVICE", "cpu")
    monkeypatch.setattr(plots, "draw_all", lambda *_: {})
    monkeypatch.setattr("sys.argv", [str(stage(number)), "--model", MODEL])
    refused = []
    for name, times in READS[number].items():
        path = folder / name
        whole = path.read_bytes()
        value = json.loads(whole) if path.suffix == ".json" else artifacts.load(path)
        for case in range(times):
            spoiled = spoil(value, random.Random(f"{number} {name} {case}"))
            try:
                if path.suffix == ".json":
                    spoiled.pop("card_sha256", None)
                    cards.write_card(path.parent, spoiled)
                else:
                    artifacts.save(path, spoiled)
            except (TypeError, ValueError, RecursionError):  # what no reader can ever meet
                continue
            shutil.rmtree(folder / "data" / ".work", ignore_errors=True)
            try:
                run_inside(number)
            except InputError as error:
                refused.append(str(error))
            except Exception as error:
                raise AssertionError(f"{name}, case {case}: {type(error).__name__}: {error}") from error
        path.write_bytes(whole)
    capsys.readouterr()
    assert len(refused) >= sum(READS[number].values()) // 4
    assert max(map(len, refused)) < 1000


def test_runs_with_wrong_insides_are_compared_or_refused_in_one_line(study, tmp_path, capsys):
    whole, file = f"{study}/{DATA}", tmp_path / "fixed_exits.pickle"
    refused = []
    for case in range(40):
        value = artifacts.load(f"{whole}/fixed_exits.pickle")
        try:
            artifacts.save(file, spoil(value, random.Random(f"compare {case}")))
        except (TypeError, ValueError, RecursionError):
            continue
        for runs in ([whole, str(file)], [str(file), whole]):
            args = make_parser().parse_args(["compare", *runs])
            try:
                args.run(args)
            except InputError as error:
                refused.append(str(error))
            except Exception as error:
                raise AssertionError(f"case {case}: {type(error).__name__}: {error}") from error
    capsys.readouterr()
    assert len(refused) >= 20


def change_card(file, **claims):
    value = artifacts.load(file)
    value["card"] |= claims
    artifacts.save(file, value)


TOKENS = f"{DATA}/tokens_train.pickle"
OTHER = {"id": "models/other", "revision": None, "class": "TokenizersBackend", "vocabulary_sha256": "0" * 64}
COMPANY = {
    "sentences of another corpus": (3, "data/sentences/my-text.pickle", {"corpus": "docstrings"},
        "my-text.pickle was made with corpus docstrings, but the settings say my-text; rerun stages/01"),
    "sentences of another seed": (3, "data/sentences/my-text.pickle", {"seed": 5}, "with seed 5, but the settings say"),
    "sentences of another file": (3, "data/sentences/my-text.pickle", {"path": "y.txt"}, "path y.txt, .* say text.txt"),
    "tokens of another corpus": (4, TOKENS, {"corpus": {"corpus": "docstrings"}}, "with corpus docstrings, but the"),
    "tokens of another seed": (4, TOKENS, {"seed": 5}, "was made with seed 5, but .* rerun stages/03"),
    "tokens of another split": (4, TOKENS, {"split": "validation"}, "split validation, but the settings say train"),
    "tokens cut elsewhere": (4, TOKENS, {"max_tokens": 3}, "with max_tokens 3, but the settings say"),
    "tokens as in the original": (4, TOKENS, {"compatibility": "original"}, "with compatibility original, but the"),
    "tokens of another model": (4, TOKENS, {"tokenizer": OTHER},
        r"tokenizer models/other \(vocabulary 0{12}…\), but the model's own is gpt2 \(vocabulary .*; rerun stages/03"),
}  # fmt: skip


@pytest.mark.parametrize("name", COMPANY)
def test_what_was_made_for_something_else_is_refused_with_both_sides(study, name, tmp_path, monkeypatch):
    number, path, claims, message = COMPANY[name]
    shutil.copytree(study, tmp_path / "run")
    monkeypatch.chdir(tmp_path / "run")
    monkeypatch.setenv("SHORTCUTS_DEVICE", "cpu")
    monkeypatch.setattr("sys.argv", [str(stage(number)), "--model", MODEL])
    change_card(path, **claims)
    with pytest.raises(InputError, match=message):
        run_inside(number)


def test_tokens_without_a_card_are_taken_and_the_states_say_so(study, tmp_path, monkeypatch):
    shutil.copytree(study, tmp_path / "run")
    monkeypatch.chdir(tmp_path / "run")
    monkeypatch.setenv("SHORTCUTS_DEVICE", "cpu")
    value = artifacts.load(TOKENS)
    artifacts.save(TOKENS, {key: value[key] for key in value if key != "card"})
    monkeypatch.setattr("sys.argv", [str(stage(4)), "--model", MODEL, "--split", "train"])
    run_inside(4)
    said = {name: cards.read_card(f"{folder}/{DATA}/hidden_train", made_by="")["tokens"] for name, folder in
            {"ours": study, "theirs": "."}.items()}  # fmt: skip
    assert said == {"ours": "tokenized here", "theirs": "tokens brought from elsewhere, without a card"}


@pytest.mark.parametrize("number", [5, 7, 9, 10])
def test_states_and_scores_of_another_model_are_refused_where_no_model_is_loaded(study, number, tmp_path, monkeypatch):
    shutil.copytree(study, tmp_path / "run")
    monkeypatch.chdir(tmp_path / "run")
    for room in ("data", "linreg"):
        (tmp_path / "run" / room / MODEL).rename(tmp_path / "run" / room / "toy-bert")
    monkeypatch.setattr("sys.argv", [str(stage(number)), "--model", "toy-bert"])
    with pytest.raises(InputError, match="was made with id gpt2, but the settings say bert; run stages 03 to 08 again"):
        run_inside(number)


# --- folders that are handed on ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def handed_on(tmp_path_factory):
    """A model, and a folder with everything fitted for it that a user may get from somebody else."""
    model, folder = tiny.model("gpt2"), tmp_path_factory.mktemp("handed_on")
    publish(model, extract(model, tiny.tokens(model, 120), 0, 120, 500), folder, 120)
    maps = LayerMaps.load(folder / "layers", model)
    maps.save_pretrained(folder / "maps")
    lenses = LensSet.of_maps(maps)
    lenses.save(folder / "lenses")
    interchange.write_tuned(lenses, folder / "tuned", model)
    (folder / "jacobian").mkdir()
    interchange.write_jacobian(lenses, folder / "jacobian" / "j.pt")
    rows = torch.randint(5, 90, (16, 20), generator=torch.Generator().manual_seed(3))
    calibrate(model, rows, exits=[1], draft_levels=1, short_list=30).save(folder / "shortcuts")
    return model, folder


def use_maps(model, folder):
    maps = LayerMaps.from_pretrained(folder, model)
    for key in maps:
        maps.jump(torch.zeros(2, model.width), *key)


def use_lenses(model, lenses):
    for i, lens in lenses.items():
        assert torch.isfinite(lens.transport(torch.ones(2, model.width))).all(), i


def use_shortcuts(model, folder):
    shortcuts = Shortcuts.load(folder, model)
    for method in ("early-exit", "self-speculative"):
        generate(model, [[5, 6]], new_tokens=3, method=method, shortcuts=shortcuts, confidence=0)


USES = {
    "maps": use_maps,
    "lenses": lambda model, folder: use_lenses(model, LensSet.load(folder, model)),
    "shortcuts": use_shortcuts,
    "tuned": lambda model, folder: use_lenses(model, interchange.read_tuned(folder, model)),
    "jacobian": lambda model, folder: use_lenses(model, interchange.read_jacobian(folder / "j.pt", model)),
}


def spoil_folder(folder, draw):
    """One file of a folder changed in a way that its card, where it has one, confirms; whether it could be written."""
    card = json.loads((folder / cards.FILE).read_text()) if (folder / cards.FILE).exists() else {}
    card.pop("card_sha256", None)
    [weights] = [path for path in folder.iterdir() if path.suffix in (".safetensors", ".pt")]
    json_file = folder / "config.json"
    try:
        if weights.suffix == ".safetensors" and draw.random() < 0.5:
            save_file(spoil(load_file(weights), draw), weights)
            card["files"] = {weights.name: artifacts.file_sha256(weights)}
        elif weights.suffix == ".safetensors":
            card = spoil(card, draw)
        elif json_file.exists() and draw.random() < 0.5:
            json_file.write_text(json.dumps(spoil(json.loads(json_file.read_text()), draw)))
        else:
            torch.save(spoil(torch.load(weights), draw), weights)
        if card:
            cards.write_card(folder, card)
    except (TypeError, ValueError, AttributeError, RecursionError):  # what no reader can ever meet
        return False
    return True


@pytest.mark.parametrize("kind", USES)
def test_what_somebody_hands_on_with_wrong_insides_is_used_or_refused_in_one_line(handed_on, kind, tmp_path):
    model, folder = handed_on
    USES[kind](model, folder / kind)
    refused = []
    for case in range(40):
        spoiled = tmp_path / str(case)
        shutil.copytree(folder / kind, spoiled)
        if not spoil_folder(spoiled, random.Random(f"{kind} {case}")):
            continue
        try:
            USES[kind](model, spoiled)
        except InputError as error:
            refused.append(str(error))
        except Exception as error:
            raise AssertionError(f"{kind}, case {case}: {type(error).__name__}: {error}") from error
    assert len(refused) >= 10
    assert max(map(len, refused)) < 1000
