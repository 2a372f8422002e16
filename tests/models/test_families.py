"""Every architecture passes the shared invariants; a wrong declaration fails them; what is not declared is found."""

import dataclasses
import json
import shutil
from unittest import mock

import family_checks
import models_table
import pytest
import tiny
import torch
from hypothesis import given, settings, strategies as st

from linear_shortcuts.commands.invariants import check, sample_tokens
from linear_shortcuts.files.errors import InputError
from linear_shortcuts.maps.fitting import layer_moments
from linear_shortcuts.maps.linear_maps import submodule_files
from linear_shortcuts.models import discovery
from linear_shortcuts.models.families import FAMILIES, PARTS, find, longest, stand_in_steps
from linear_shortcuts.models.loading import family_of, load_model, wrap
from linear_shortcuts.states.extraction import extract

NAMES = list(tiny.ARCHITECTURES)


# --- declared --------------------------------------------------------------------------------------------------


def test_every_family_every_variant_and_every_model_type_is_tested():
    found = {name: find(tiny.architecture(name).network.config) for name in NAMES}
    ours = {name: family for name, family in FAMILIES.items() if name != "lambdabert"}  # which its study tests
    assert {id(family) for family in found.values()} == {id(family) for family in ours.values()}
    types = {kind for family in ours.values() for kind in family.model_types}
    assert types == {kind for kind, _ in tiny.ARCHITECTURES.values()}


@pytest.mark.parametrize("name", NAMES)
def test_every_invariant_holds(name):
    family_checks.every_invariant_holds(name)


@pytest.mark.parametrize("name", NAMES)
def test_a_model_of_linear_blocks_is_left_anywhere_without_loss(name):
    family_checks.left_anywhere_without_loss(name)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_step_that_reads_another_site_is_caught(data):
    family_checks.another_site_is_caught(data.draw(st.sampled_from(NAMES)), data)


@pytest.mark.parametrize("name", [name for name in NAMES if tiny.architecture(name).family.final_norm])
def test_a_forgotten_final_norm_and_a_forgotten_cap_are_caught(name):
    model = tiny.architecture(name)
    assert family_checks.failures(
        dataclasses.replace(model, family=dataclasses.replace(model.family, final_norm=None))
    ) >= {"decoding"}
    cap = model.family.soft_cap and getattr(model.network.config, model.family.soft_cap)
    if cap:
        spoilt = dataclasses.replace(model.family, soft_cap=None)
        assert "decoding" in family_checks.failures(dataclasses.replace(model, family=spoilt))


def test_parts_name_sub_steps_of_every_family():
    for family in FAMILIES.values():
        attention, feed_forward, norms = [stand_in_steps(family, part) for part in PARTS.values()]
        assert len(attention) == len(feed_forward) == 1
        assert 1 <= len(norms) <= 4
        assert all(0 <= source <= a for a, source in enumerate(family.sources))
    assert len(stand_in_steps(FAMILIES["gemma2"], "norm")) == 4
    for name in ("gpt2", "bert"):  # the study's two, and the names of its files
        assert len(stand_in_steps(FAMILIES[name], "norm")) == 2
        files = submodule_files(3, FAMILIES[name].sources, [torch.eye(2)] * 6)
        assert list(files) == [f"p3_{a}_{a + 1}.pickle" for a in range(6)]


def test_a_file_is_named_after_the_sites_it_leads_between():
    files = submodule_files(0, FAMILIES["gpt_neox"].sources, [torch.eye(2)] * 5)
    assert list(files) == ["p0_0_1.pickle", "p0_1_2.pickle", "p0_0_3.pickle", "p0_3_4.pickle", "p0_4_5.pickle"]


# --- costs and limits ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_block_and_the_head_cost_what_torch_counts(name):
    family_checks.costs_what_torch_counts(name)


@pytest.mark.parametrize("name", NAMES)
def test_the_longest_sentence_fits_and_where_positions_are_a_table_no_longer_one_does(name):
    family_checks.longest_sentence_fits(name)


# --- not declared ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_structure_alone_shows_what_is_declared(name):
    family_checks.structure_alone_shows(name)


@pytest.mark.parametrize(
    ("kind", "own"),
    [
        ("cohere", {"logit_scale": 0.3}),  # logits multiplied
        ("granite", {"logits_scaling": 3.0}),  # logits divided
        ("recurrent_gemma", {"num_key_value_heads": 1, "lru_width": 24, "head_dim": 8}),  # a cap by another name
        ("xlstm", {"num_heads": 3, "num_blocks": 3}),  # and by a third
        ("openai-gpt", {}),  # blocks that return a list
        ("falcon", {}),
        ("mixtral", {"num_local_experts": 2, "num_key_value_heads": 1}),
        ("mamba", {"state_size": 4}),  # no attention at all
        ("deberta-v2", {}),
        ("esm", {}),
    ],
)
def test_a_model_of_no_family_has_layer_maps_and_no_stand_ins(kind, own):
    model = wrap(tiny.random_network(kind, **own))
    findings = {finding.invariant.name: finding for finding in check(model, sample_tokens(model))}
    assert all(finding.passed for finding in findings.values())
    assert findings["decoding"].difference is not None
    assert findings["blocks"].difference is findings["stand-ins"].difference is None
    assert not family_checks.failures(wrap(tiny.random_network(kind, **own).to(torch.bfloat16)))
    shard = extract(model, sample_tokens(model), 0, 8, 200)
    assert shard.hidden_states.shape == (model.layers + 1, 8, model.width)
    assert shard.attention_outputs.shape == (0, 8, model.width)
    moments = layer_moments([0], [shard], model.layers, "all", torch.device("cpu"))
    assert moments[0].solve().matrices.shape == (model.layers, model.width, model.width)


def test_what_could_not_be_found_is_said():
    with pytest.raises(InputError, match=r"its blocks: of 0 lists of num_hidden_layers = 3"):
        wrap(tiny.random_network("albert", embedding_size=16))  # one layer, run three times

    def square(module, args, output):
        output.logits = output.logits**2

    capped = tiny.random_network("recurrent_gemma", num_key_value_heads=1, lru_width=24, head_dim=8)
    with (  # whose logits are so small that the cap is all but a factor
        mock.patch.object(discovery, "SOFT_CAPS", ("another_name",)),
        pytest.raises(InputError, match="after lm_head is neither a constant factor nor a cap"),
    ):
        wrap(capped)

    network = tiny.random_network("falcon")
    network.register_forward_hook(square)  # outside of every module, and no constant factor
    with pytest.raises(InputError, match="after lm_head no module leads on") as error:
        wrap(network)
    assert "\n" not in str(error.value)

    broken = tiny.random_network("falcon")
    with (
        mock.patch.object(broken, "forward", side_effect=TypeError("pixel_values is missing")),
        pytest.raises(InputError, match="pixel_values is missing"),
    ):
        wrap(broken)


@pytest.mark.parametrize(
    ("kind", "own"),
    [
        ("mpnet", {}),
        ("data2vec-text", {}),
        ("ibert", {}),
        ("xmod", {"languages": ["en_XX"], "default_language": "en_XX"}),
        ("roberta-prelayernorm", {}),
        ("xlm-roberta-xl", {}),
        ("esm", {}),
    ],
)
def test_the_longest_sentence_fits_where_positions_follow_padding(kind, own):
    network = tiny.random_network(kind, **own, pad_token_id=1, bos_token_id=0)
    model = wrap(network, mask_token=tiny.MASK)
    assert model.max_tokens == tiny.CONTEXT - 2
    assert longest(network.config, family_of(network.config, kind)) == model.max_tokens  # and before weights are loaded
    ids = torch.arange(tiny.CONTEXT)[None] + 5
    model.encode(ids[:, : model.max_tokens], None)
    with pytest.raises((IndexError, RuntimeError)):
        model.encode(ids[:, : model.max_tokens + 1], None)


def test_a_decoder_of_a_masked_type_is_read_by_structure():
    from transformers import BertConfig, BertLMHeadModel

    keys = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 3, "intermediate_size": 48}
    network = BertLMHeadModel(BertConfig(vocab_size=97, is_decoder=True, max_position_embeddings=32, **keys))
    model = wrap(network)
    assert model.family.causal
    assert not family_checks.failures(model)
    assert not family_checks.failures(wrap(tiny.random_network("bert", is_decoder=True), mask_token=tiny.MASK))


@pytest.mark.parametrize("layers", [0, -3])
def test_a_model_without_blocks_is_refused(layers):
    with pytest.raises(InputError, match=f"num_hidden_layers = {layers}, so no blocks"):
        wrap(tiny.random_network("gpt2", num_hidden_layers=layers))


# --- loading ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    tiny.architecture("llama").network.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "auto"])
def test_half_precision_is_a_recorded_choice_and_states_stay_float32(checkpoint, dtype):
    model = load_model(checkpoint, device="cpu", dtype=dtype)
    taken = "float32" if dtype == "auto" else dtype
    assert model.identity["dtype"] == taken
    assert model.network.dtype == getattr(torch, taken)
    shard = extract(model, sample_tokens(model), 0, 8, 200)
    assert shard.hidden_states.dtype == shard.attention_outputs.dtype == torch.float32
    assert not family_checks.failures(model)


@pytest.mark.parametrize(
    "name", ["gpt2", "gpt_neox (Pythia)", "bloom", "gemma2", "opt, post-norm (350m)", "modernbert"]
)
def test_invariants_hold_in_half_precision(name):
    model = tiny.architecture(name)
    model.network.to(torch.bfloat16)
    assert not family_checks.failures(model)


def test_a_device_map_is_recorded_and_changes_nothing(checkpoint):
    placed, plain = load_model(checkpoint, device_map="auto"), load_model(checkpoint, device="cpu")
    assert placed.identity["device_map"] == "auto"
    assert plain.identity["device_map"] is None
    assert placed.identity["weights_sha256"] == plain.identity["weights_sha256"]
    assert not family_checks.failures(placed)


def test_weights_that_are_nowhere_are_refused(checkpoint):
    network = tiny.architecture("llama").network.to("meta")
    with pytest.raises(InputError, match="without disk or cpu offload"):
        wrap(network, device_map="auto")


def test_a_quantised_checkpoint_is_refused_in_one_line(checkpoint, tmp_path):
    config = json.loads((checkpoint / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "gptq", "bits": 4}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"quantised \(gptq\)") as error:
        load_model(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("quantization_config", "x", "cannot load .*to_dict"),
        ("num_hidden_layers", 2, r"num_hidden_layers = 2 but weights of more blocks, such as model\.layers\.2\."),
    ],
)
def test_a_configuration_that_is_not_the_checkpoints_is_refused(checkpoint, tmp_path, key, value, said):
    shutil.copytree(checkpoint, tmp_path, dirs_exist_ok=True)
    config = json.loads((checkpoint / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {key: value}))
    with pytest.raises(InputError, match=said) as error:
        load_model(tmp_path, device="cpu")
    assert "\n" not in str(error.value)


def test_blocks_of_a_checkpoint_without_its_head_are_known_too(tmp_path):
    tiny.architecture("gpt2").network.transformer.save_pretrained(tmp_path)  # h.2, not transformer.h.2
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"n_layer": 2}))
    with pytest.raises(InputError, match=r"weights of more blocks, such as (transformer\.)?h\.2\."):
        load_model(tmp_path, device="cpu")


def test_a_precision_that_is_not_known_is_refused(checkpoint):
    with pytest.raises(InputError, match="dtype 'bogus' is not known; use float32, bfloat16, float16 or auto"):
        load_model(checkpoint, dtype="bogus")


def test_a_tokenizer_that_the_library_made_up_is_refused(tmp_path):
    tiny.model("bert").network.save_pretrained(tmp_path)  # without the tokenizer's files
    with pytest.raises(InputError, match="tokenizer of 5 special tokens and no others"):
        load_model(tmp_path, device="cpu")


def test_a_causal_checkpoint_without_a_head_and_a_masked_one_without_a_part_of_it_are_refused(tmp_path):
    tiny.architecture("gpt_neox (Pythia)").network.gpt_neox.save_pretrained(tmp_path / "causal")
    with pytest.raises(InputError, match=r"lacks 1 weights, such as (embed_out|lm_head).weight"):
        load_model(tmp_path / "causal")
    masked = tiny.architecture("electra").network
    state = {name: value for name, value in masked.state_dict().items() if "generator_predictions.dense" not in name}
    masked.save_pretrained(tmp_path / "masked", state_dict=state)
    with pytest.raises(InputError, match=r"lacks 2 weights, such as generator_predictions.dense.*ElectraForMaskedLM"):
        load_model(tmp_path / "masked")


def test_a_discriminator_is_an_encoder(tmp_path):
    """Of ELECTRA's: its head tells real from replaced tokens, and no random one is made up in its place."""
    tiny.architecture("electra").network.electra.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"architectures": ["ElectraForPreTraining"]}))
    assert not load_model(tmp_path, device="cpu").family.head


@pytest.mark.parametrize("name", ["bert", "roberta", "distilbert", "electra", "modernbert", "opt", "bloom", "gemma2"])
def test_weights_that_are_tied_and_not_stored_twice_are_not_missed(name, tmp_path):
    made = tiny.architecture(name)
    made.network.save_pretrained(tmp_path)
    with mock.patch(
        "linear_shortcuts.models.loading.load_tokenizer", return_value=mock.Mock(mask_token_id=made.mask_token)
    ):
        loaded = load_model(tmp_path, device="cpu")
    assert loaded.identity["weights_sha256"] == made.identity["weights_sha256"]


@pytest.mark.parametrize("trusted", [False, True])
def test_code_that_comes_with_a_model_runs_only_if_trusted(checkpoint, trusted):
    from transformers import AutoConfig, AutoModelForCausalLM

    asked = []
    for auto in (AutoConfig, AutoModelForCausalLM):
        genuine = auto.from_pretrained

        def spy(path, genuine=genuine, **options):
            asked.append(options["trust_remote_code"])
            return genuine(path, **options)

        mock.patch.object(auto, "from_pretrained", spy).start()
    try:
        load_model(checkpoint, device="cpu", trust_remote_code=trusted)
    finally:
        mock.patch.stopall()
    assert asked == [trusted, trusted]


# --- the document ----------------------------------------------------------------------------------------------


def test_the_table_of_models_has_every_architecture_and_every_invariant_passed():
    header, *rows = models_table.written()
    assert header == models_table.HEADER
    assert [row[0] for row in rows] == NAMES
    for row in rows:
        model = tiny.architecture(row[0])
        assert row[:3] == models_table.named(row[0], model)
        assert all(cell == "—" or float(cell) <= 1e-4 for cell in row[3:])
