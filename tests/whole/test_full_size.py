"""Models of true width and vocabulary pass through every stage: random weights, real tokenizers, fewer sentences.

Of their twelve blocks three do: whatever depends on depth is a loop that the toy studies go round, too.
"""

import json
import pickle
import shutil

import pytest
import torch
import yaml
from toy import ALL, REPOSITORY, run_here

TRAIN, VALIDATION, WIDTH, LAYERS = 800, 16, 768, 3


@pytest.mark.parametrize("kind", ["gpt2", "bert"])
def test_a_full_size_model_passes_through_every_stage(kind, shared_data, tmp_path):
    from transformers import BertConfig, BertForMaskedLM, GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    network = (
        GPT2LMHeadModel(GPT2Config(n_layer=LAYERS))
        if kind == "gpt2"
        else BertForMaskedLM(BertConfig(num_hidden_layers=LAYERS))
    )
    network.save_pretrained(tmp_path / "model")
    tokenizer = {"gpt2": "gpt2_tokenizer", "bert": "bert_uncased_tokenizer"}[kind]
    shutil.copytree(shared_data / tokenizer, tmp_path / "model", dirs_exist_ok=True)
    params = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    params |= {
        "models": ["full"],
        "corpus": "my-text",
        "sentences": {"train": TRAIN, "validation": VALIDATION},
        "tokenize": {"max_tokens": 16},
    }
    params["corpora"]["my-text"]["path"] = str(shared_data / "wikipedia" / "sentences.txt")
    params["registry"]["full"] = {"path": "model", "revision": None}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))

    run_here(tmp_path, "full", ALL)

    linreg = tmp_path / "linreg" / "full" / "my-text"
    assert len(list((linreg / "layers").glob("*.pickle"))) == LAYERS * (LAYERS + 1) // 2
    assert len(list((linreg / "submodules").glob("*.pickle"))) == 6 * LAYERS
    card = json.loads((linreg / "layers" / "card.json").read_text())
    assert (card["width"], card["layers"], card["sentences"]) == (WIDTH, LAYERS, TRAIN)
    assert (tmp_path / "plots" / "full" / "my-text" / "figures" / f"pre_{LAYERS}.svg").exists()
    with (tmp_path / "data" / "full" / "my-text" / "r2.pickle").open("rb") as file:
        train = pickle.load(file)["train"]
    # So few sentences determine the maps without making them good; on those very sentences they must be.
    assert min(train["score_mat"].values()) > 0.5
    assert all(train["score_mat"][pair] > train["score_id"][pair] for pair in train["score_mat"])
