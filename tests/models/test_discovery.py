"""Models unlike the study's own pass through every stage: of no family, and without a longest sentence."""

import json

import pytest
import tiny
import yaml
from toy import ALL, REPOSITORY, WORDS, run_stages

from linear_shortcuts.settings.params import read_params
from linear_shortcuts.training.tokenizers import train_tokenizer

TRAIN, VALIDATION = 60, 30


@pytest.fixture
def study(tmp_path):
    """Run every stage for one tiny model; gives the folder and the two numbers of sub-module matrices and figures."""

    def run(kind, **own):
        sentences = [" ".join(WORDS[number % 7 :: 1 + number % 3]) + f" {number}." for number in range(200)]
        (tmp_path / "text.txt").write_text("\n".join(sentences))
        settings = read_params(REPOSITORY / "params.yaml").training["tiny-gpt2"]
        tokenizer = train_tokenizer(settings, sentences)
        tokenizer.save_pretrained(tmp_path / "model")
        # What the training settings say of the context is not true of this model.
        config = json.loads((tmp_path / "model" / "tokenizer_config.json").read_text())
        config.pop("model_max_length", None)
        (tmp_path / "model" / "tokenizer_config.json").write_text(json.dumps(config))
        network = tiny.random_network(kind, vocab_size=len(tokenizer), **own)
        network.save_pretrained(tmp_path / "model")
        params = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
        params |= {"models": ["toy"], "corpus": "my-text", "sentences": {"train": TRAIN, "validation": VALIDATION}}
        params["corpora"]["my-text"]["path"] = "text.txt"
        params["registry"] = {"toy": {"path": "model", "revision": None, "dtype": "bfloat16"}}
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
        return tmp_path, run_stages(tmp_path, "toy", ALL).stdout

    return run


def test_a_model_of_no_family_passes_through_every_stage_without_stand_ins(study):
    folder, said = study("falcon")
    assert "the parts of its blocks are not known" in said
    submodules = folder / "linreg" / "toy" / "my-text" / "submodules"
    assert [path.name for path in submodules.iterdir()] == ["card.json"]
    assert len(list((folder / "linreg" / "toy" / "my-text" / "layers").glob("*.pickle"))) == 6
    plots = folder / "plots" / "toy" / "my-text"
    names = {path.name for path in (plots / "figures").iterdir()}
    assert "pre_3.svg" in names
    assert not any(name.startswith("parts") for name in names)
    mappings = {record["mapping"] for record in json.loads((plots / "parts" / "parts.json").read_text())}
    assert mappings == {"mat"}


def test_a_model_without_a_longest_sentence_passes_through_every_stage(study):
    folder, said = study("bloom", max_position_embeddings=None)
    assert "0 cut at no limit" in said
    linreg = folder / "linreg" / "toy" / "my-text"
    assert len(list((linreg / "submodules").glob("*.pickle"))) == 18
    card = json.loads((linreg / "layers" / "card.json").read_text())
    assert (card["model"]["dtype"], card["dtype"], card["max_tokens"]) == ("bfloat16", "float32", None)
