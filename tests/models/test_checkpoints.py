"""A checkpoint that is not what its user means is named in one line, with what to do."""

import json
import shutil

import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file

from linear_shortcuts.files.errors import InputError
from linear_shortcuts.models.loading import load_config, load_model, wrap


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "model"
    tiny.architecture("llama (SmolLM: tied)").network.save_pretrained(folder)
    return folder


@pytest.fixture
def checkpoint(saved, tmp_path):
    """A fresh copy of a sound checkpoint, to be spoilt."""
    return shutil.copytree(saved, tmp_path / "model")


def refusal(path, load=load_model):
    with pytest.raises(InputError) as error:
        load(path)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(str(path))
    return str(error.value)


def set_config(folder, **values):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def rename(folder, new_name):
    path = folder / "model.safetensors"
    save_file({new_name(name): value for name, value in load_file(path).items()}, path, {"format": "pt"})


def test_a_sound_checkpoint_loads(checkpoint):
    assert load_model(checkpoint, device="cpu").unused == ()


@pytest.mark.parametrize("load", [load_model, load_config])
def test_what_is_no_checkpoint_folder_is_named_with_what_to_do(checkpoint, load):
    parent = checkpoint.parent
    assert refusal(checkpoint / "model.safetensors", load).endswith(
        "is a file; name the folder that holds it together with its config.json and its tokenizer"
    )
    assert "the name of the model is empty" in refusal("", load)
    assert f"name one of them: {checkpoint}" in refusal(parent, load)
    shutil.copytree(checkpoint, parent / "checkpoint-500")
    assert f"{checkpoint} or 1 others" in refusal(parent, load)
    (parent / "empty").mkdir()
    assert "is an empty folder" in refusal(parent / "empty", load)
    (checkpoint / "config.json").unlink()
    assert "has weights (model.safetensors) but no config.json" in refusal(checkpoint, load)
    (checkpoint / "model.safetensors").unlink()
    (checkpoint / "notes.txt").touch()
    assert "it holds generation_config.json, notes.txt" in refusal(checkpoint, load)
    (checkpoint / "model.Q4_1.gguf").touch()
    assert f"holds a GGUF file; name that: {checkpoint / 'model.Q4_1.gguf'}" in refusal(checkpoint, load)


@pytest.mark.parametrize("whole", [True, False])
def test_an_adapter_is_never_left_out(checkpoint, whole):
    (checkpoint / "adapter_config.json").write_text('{"base_model_name_or_path": "owner/base", "peft_type": "LORA"}')
    if not whole:
        (checkpoint / "config.json").unlink()
    assert "holds an adapter (adapter_config.json, for owner/base), which would be left out; merge it" in refusal(
        checkpoint
    )
    (checkpoint / "adapter_config.json").write_text("[" * 100_000)
    assert "holds an adapter (adapter_config.json), which" in refusal(checkpoint)


def test_the_weights_of_an_adapter_are_never_left_out(checkpoint):
    path = checkpoint / "model.safetensors"
    lora = {"model.layers.0.self_attn.q_proj.lora_A.default.weight": torch.ones(2, tiny.WIDTH)}
    save_file(load_file(path) | lora, path, {"format": "pt"})
    assert "such as model.layers.0.self_attn.q_proj.lora_A.default.weight" in refusal(checkpoint)


@pytest.mark.parametrize("prefix", ["_orig_mod.", "_orig_mod.module.", "_fsdp_wrapped_module."])
def test_the_names_of_a_wrapper_are_told(checkpoint, prefix):
    rename(checkpoint, lambda name: prefix + name)
    assert f"names begin with {prefix}, as a wrapper such as torch.compile gives them" in refusal(checkpoint)


@pytest.mark.parametrize("kind", ["SequenceClassification", "TokenClassification", "QuestionAnswering"])
def test_a_classifier_is_no_language_model_though_its_embeddings_are_tied(kind, tmp_path):
    import transformers

    config = tiny.architecture("llama (SmolLM: tied)").network.config
    getattr(transformers, f"LlamaFor{kind}")(config).save_pretrained(tmp_path)
    assert f"was saved as LlamaFor{kind}, whose head gives no tokens" in refusal(tmp_path)
    set_config(tmp_path, architectures=None)  # its weights say so too
    assert "has the weights of another head, " in refusal(tmp_path)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"num_hidden_layers": 10_000}, r"num_hidden_layers = 10000, more than the 1,000 that are read"),
        ({"num_attention_heads": -4, "head_dim": 8}, r"has num_attention_heads = -4; check its config.json"),
        ({"num_labels": 10**9}, r"num_labels = 1,000,000,000 in its config.json"),
        ({"architectures": 5}, r"architectures = 5 in its config.json; it must be a list"),
        ({"is_causal": "x"}, r"does not give logits for token ids alone \(.*is_causal"),
        ({"is_causal": False}, r"loads as a causal model but its tokens see those behind them"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused_at_once(checkpoint, values, said):
    set_config(checkpoint, **values)
    with pytest.raises(InputError, match=said) as error:
        load_model(checkpoint, device="cpu")
    assert "\n" not in str(error.value)


CAUSAL = ["gpt2", "gpt_neox (Pythia)", "llama", "qwen3", "gemma2", "olmo2", "phi3"]


def test_a_width_that_no_weight_has_is_refused_before_a_network_of_it_is_made(checkpoint, monkeypatch):
    monkeypatch.setattr("transformers.AutoModelForCausalLM.from_pretrained", None)  # is not asked
    set_config(checkpoint, hidden_size=9996)
    assert "has hidden_size = 9996 in its config.json, but no weight of that size; set it to" in refusal(checkpoint)


@pytest.mark.parametrize("name", CAUSAL)
def test_a_declared_family_is_not_believed_of_a_checkpoint_whose_switch_lets_it_look_ahead(name):
    network = tiny.architecture(name).network
    network.config.is_causal = False
    for module in network.modules():
        if hasattr(module, "is_causal"):
            module.is_causal = False
    with pytest.raises(InputError, match="its tokens see those behind them"):
        wrap(network)


def test_a_declared_family_is_not_believed_of_a_head_or_a_cap_that_it_does_not_have():
    scaled = tiny.architecture("llama").network
    scaled.lm_head.register_forward_hook(lambda module, args, output: torch.tanh(output / 30) * 30)
    scaled.register_forward_hook(lambda module, args, output: setattr(output, "logits", output.logits * 2))
    with pytest.raises(InputError, match="gives other logits, by 0.5 of the largest, than its head reads off"):
        wrap(scaled)

    capped = tiny.architecture("llama").network

    def cap(module, args, output):
        output.logits = torch.tanh(output.logits / 500) * 500  # of small logits it is all but nothing

    capped.register_forward_hook(cap)
    with pytest.raises(InputError, match="what in memory does to the logits after lm_head is neither"):
        wrap(capped)

    nowhere = tiny.architecture("llama").network
    nowhere.lm_head.weight.data[:] = float("nan")
    with pytest.raises(InputError, match="gives logits that are not finite"):
        wrap(nowhere)


@pytest.mark.parametrize("name", ["gpt2", "llama", "bert", "distilbert", "bloom", "opt", "electra"])
def test_the_form_of_output_that_a_configuration_asks_for_changes_nothing(name):
    asked = {"return_dict": False, "output_hidden_states": True, "output_attentions": True, "use_cache": True}
    made = tiny.architecture(name)
    network = tiny.architecture(name).network
    network.set_attn_implementation("eager")
    for key, value in asked.items():
        setattr(network.config, key, value)
    for module in network.modules():
        if hasattr(module, "chunk_size_feed_forward"):
            module.chunk_size_feed_forward = 5  # of sentences of any other length it would complain
    model = wrap(network)
    assert model.identity == made.identity
    ids = torch.arange(5, 12)[None]
    with torch.inference_mode():
        torch.testing.assert_close(
            model.network(input_ids=ids).logits, made.network(input_ids=ids).logits, atol=1e-5, rtol=1e-5
        )
