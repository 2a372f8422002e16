"""LambdaBERT's layer and models, against loops and closed forms, as a Hugging Face model and as a family."""

import itertools
import os
import subprocess
import sys
from functools import partial

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM, AutoModelForPreTraining, BertConfig, BertModel

from lambda_bert import LambdaBertConfig, LambdaBertForMaskedLM, LambdaBertForPreTraining, LambdaBertModel
from lambda_bert.modeling_lambdabert import LambdaLayer, RelativePositions, TokenBatchNorm

SMALL = {
    "vocab_size": 40,
    "hidden_size": 12,
    "num_hidden_layers": 2,
    "intermediate_size": 20,
    "num_lambda_queries": 3,
    "key_depth": 2,
    "intra_depth": 2,
    "max_position_embeddings": 16,
    "initializer_range": 0.3,
}
CONTEXTS = {
    "local": {"local_context_size": 5},
    "global": {},
    "relative": {"relative_global": True},
    "strict": {"strict_original": True},
}
PADDED = {"mask_padding": True, "token_only_batchnorm": True}


def config(**own):
    return LambdaBertConfig(**{**SMALL, **own})


def lambda_layer(*, seed=0, **own):
    """A layer of float64 in evaluation mode, whose norms have statistics and weights of their own."""
    torch.manual_seed(seed)
    layer = LambdaLayer(config(**own)).double().eval()
    with torch.no_grad():
        for parameter in layer.parameters():
            torch.nn.init.normal_(parameter)
        for norm in (layer.query_norm, layer.value_norm):
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)
    return layer


def made(kind=LambdaBertModel, *, seed=0, **own):
    torch.manual_seed(seed)
    return kind(config(**own)).eval()


def ids(batch=2, tokens=7, seed=0):
    return torch.randint(1, SMALL["vocab_size"], (batch, tokens), generator=torch.Generator().manual_seed(seed))


def states(batch=2, tokens=7, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, tokens, SMALL["hidden_size"], dtype=torch.float64, generator=generator)


# --- sizes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("context", CONTEXTS)
def test_shapes_of_a_small_model(context):
    found = made(**CONTEXTS[context])(ids(), output_hidden_states=True)
    assert found.last_hidden_state.shape == (2, 7, 12)
    assert found.pooler_output.shape == (2, 12)
    assert [tuple(layer.shape) for layer in found.hidden_states] == 3 * [(2, 7, 12)]
    assert [tuple(lambdas.shape) for lambdas in found.lambda_params] == 2 * [(2, 2, 4)]


def test_shapes_of_the_default_model():
    with torch.device("meta"):
        found = LambdaBertModel(LambdaBertConfig(local_context_size=25))(torch.zeros(3, 10, dtype=torch.int64))
    assert found.last_hidden_state.shape == (3, 10, 768)
    assert found.pooler_output.shape == (3, 768)
    assert [tuple(lambdas.shape) for lambdas in found.lambda_params] == 12 * [(3, 8, 96)]


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_parameter_counts():
    with torch.device("meta"):
        local, everywhere = [LambdaBertModel(LambdaBertConfig(local_context_size=size)) for size in (25, None)]
        relative = LambdaLayer(LambdaBertConfig(relative_global=True)).positions
        bert = BertModel(BertConfig())
    layers = [model.encoder.layer[0].attention.self for model in (local, everywhere)]
    positions = [count(layer.positions) for layer in layers]
    assert [count(layer) - own for layer, own in zip(layers, positions, strict=True)] == [369_536, 369_536]
    attention = bert.encoder.layer[0].attention.self
    assert count(attention) == 1_771_776
    assert [*positions, count(relative)] == [800, 8_388_608, 32_736]
    assert [count(local), count(everywhere), count(bert)] == [92_664_960, 193_318_656, 109_482_240]


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"hidden_size": 770, "num_lambda_queries": 8}, "hidden_size = 770 .* num_lambda_queries = 8"),
        ({"local_context_size": 24}, "local_context_size = 24"),
        ({"local_context_size": -1}, "local_context_size = -1"),
        ({"key_depth": 0}, "key_depth = 0"),
        ({"intra_depth": 0}, "intra_depth = 0"),
        ({"num_lambda_queries": 0}, "num_lambda_queries = 0"),
        ({"hidden_size": 0}, "hidden_size = 0"),
        ({"num_hidden_layers": 0}, "num_hidden_layers = 0"),
        ({"max_position_embeddings": 0}, "max_position_embeddings = 0"),
        ({"vocab_size": 0}, "vocab_size = 0"),
        ({"position_initializer_range": -1}, "position_initializer_range = -1"),
        ({"query_scale_init_value": float("nan")}, "query_scale_init_value = nan"),
        ({"output_attentions": True}, "output_attentions = True"),
        ({"relative_global": True, "strict_original": True}, "relative_global = True and strict_original = True"),
        ({"relative_global": True, "local_context_size": 5}, "relative_global = True needs local_context_size = None"),
        ({"strict_original": True, "local_context_size": 5}, "strict_original = True needs .* but it is 5"),
        ({"local_context_size": "5"}, "local_context_size"),
        ({"pair_objective": "nps"}, "pair_objective"),
        ({"lambdas": "contents"}, "lambdas"),
        ({"lambdas": "position"}, "lambdas = 'position' makes no content lambda"),
    ],
)
def test_an_impossible_configuration_names_field_and_value(own, message):
    with pytest.raises(Exception, match=message):
        config(**own)


def test_impossible_input_is_refused():
    model = made(local_context_size=5)
    embedded = model.embeddings.word_embeddings(ids())
    with pytest.raises(ValueError, match="17 tokens, more than max_position_embeddings = 16"):
        model(ids(1, 17))
    with pytest.raises(ValueError, match="both"):
        model(ids(), inputs_embeds=embedded)
    with pytest.raises(ValueError, match="neither"):
        model()
    with pytest.raises(ValueError, match=r"attention_mask has shape \(2, 6\)"):
        model(ids(), attention_mask=torch.ones(2, 6))
    with pytest.raises(ValueError, match="attention_mask has the value -1; it must be 1 at tokens"):
        model(ids(), attention_mask=torch.full((2, 7), -1.0))
    with pytest.raises(ValueError, match="0 tokens"):
        model(ids(1, 0))
    with pytest.raises(ValueError, match="output_lambda_params"):
        model(ids(), output_attentions=True)
    torch.testing.assert_close(model(inputs_embeds=embedded).last_hidden_state, model(ids()).last_hidden_state)


# --- the layer -------------------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(batch=st.integers(1, 3), tokens=st.integers(1, 12), seed=st.integers(0, 99))
def test_keys_are_positive_and_sum_to_one_over_the_tokens(batch, tokens, seed):
    _, keys, _ = lambda_layer(seed=seed).project(states(batch, tokens, seed))
    assert keys.shape == (batch, tokens, 2, 2)
    assert keys.min() > 0
    torch.testing.assert_close(keys.sum(1), torch.ones(batch, 2, 2, dtype=torch.float64))


@settings(max_examples=20, deadline=None)
@given(order=st.permutations(range(7)), seed=st.integers(0, 99))
def test_the_content_lambda_knows_no_order_and_the_position_lambdas_do(order, seed):
    layer, x = lambda_layer(seed=seed, local_context_size=3), states(seed=seed)
    output, content = layer(x)
    permuted, same = layer(x[:, order])
    torch.testing.assert_close(same, content, atol=1e-10, rtol=0)
    if order != list(range(7)):
        assert (permuted - output[:, order]).abs().max() > 1e-3


@settings(max_examples=25, deadline=None)
@given(tokens=st.integers(1, 9), reach=st.integers(0, 7), seed=st.integers(0, 99))
def test_local_positions_are_the_windowed_sum(tokens, reach, seed):
    layer = lambda_layer(seed=seed, local_context_size=2 * reach + 1)
    _, _, values = layer.project(states(2, tokens, seed))  # (B, N, v, u)
    expected = torch.zeros(2, tokens, 2, 4, dtype=torch.float64)
    for n in range(tokens):
        for j in range(2 * reach + 1):
            m = n + j - reach
            if 0 <= m < tokens:
                expected[:, n] += torch.einsum("ku,bvu->bkv", layer.positions.weight[:, :, 0, j], values[:, m])
    torch.testing.assert_close(layer.positions(values), expected, atol=1e-10, rtol=0)


def test_a_window_of_one_token_mixes_no_positions():
    for size, mixed in ((1, False), (3, True)):
        layer = lambda_layer(local_context_size=size)
        values = torch.randn(1, 7, 4, 2, dtype=torch.float64)
        other = values.clone()
        other[:, 3] += 1
        changed = (layer.positions(values) - layer.positions(other)).abs().amax((0, 2, 3)) > 1e-9
        assert changed.tolist() == [abs(n - 3) <= mixed for n in range(7)]


@pytest.mark.parametrize("context", ["local", "relative"])
def test_shifted_values_give_shifted_position_lambdas(context):
    layer = lambda_layer(**CONTEXTS[context])
    values = torch.zeros(1, 15, 4, 2, dtype=torch.float64)
    values[:, 5:8] = torch.randn(3, 4, 2, dtype=torch.float64)
    here, there = layer.positions(values), layer.positions(values.roll(1, dims=1))
    torch.testing.assert_close(there[:, 1:], here[:, :-1], atol=1e-10, rtol=0)
    assert here.abs().max() > 0.1


@settings(max_examples=10, deadline=None)
@given(tokens=st.integers(1, 9), seed=st.integers(0, 99))
def test_global_positions_are_the_double_sum_and_the_original_has_its_diagonal(tokens, seed):
    layer, strict = lambda_layer(seed=seed), lambda_layer(seed=seed, strict_original=True)
    _, _, values = layer.project(states(2, tokens, seed))
    table = layer.positions.weight  # (n, m, u, k)
    expected = torch.zeros(2, tokens, 2, 4, dtype=torch.float64)
    for n in range(tokens):
        for m in range(tokens):
            expected[:, n] += torch.einsum("uk,bvu->bkv", table[n, m], values[:, m])
    torch.testing.assert_close(layer.positions(values), expected, atol=1e-10, rtol=0)
    with torch.no_grad():
        strict.positions.weight.copy_(table)
        diagonal = torch.eye(len(table), dtype=torch.float64)[:, :, None, None]
        table.mul_(diagonal)
    torch.testing.assert_close(layer.positions(values), strict.positions(values), atol=1e-10, rtol=0)
    assert tokens == 1 or (strict.positions(values) - expected).abs().max() > 1e-3


@settings(max_examples=10, deadline=None)
@given(tokens=st.integers(1, 16), seed=st.integers(0, 99))
def test_relative_positions_are_global_ones_that_follow_the_distance(tokens, seed):
    relative, everywhere = lambda_layer(seed=seed, relative_global=True), lambda_layer(seed=seed)
    weight, longest = relative.positions.weight, SMALL["max_position_embeddings"]
    assert weight.shape == (2, 2, 1, 2 * longest - 1)
    with torch.no_grad():
        for n in range(longest):
            for m in range(longest):
                everywhere.positions.weight[n, m] = weight[:, :, 0, m - n + longest - 1].T
    values = torch.randn(2, tokens, 4, 2, dtype=torch.float64)
    torch.testing.assert_close(relative.positions(values), everywhere.positions(values), atol=1e-10, rtol=0)


@pytest.mark.parametrize("context", CONTEXTS)
def test_every_head_multiplies_its_query_by_the_same_lambdas(context):
    layer, x = lambda_layer(**CONTEXTS[context]), states()
    output, content = layer(x)
    queries, keys, values = layer.project(x)
    positions = layer.positions(values)
    expected = torch.zeros(2, 7, 12, dtype=torch.float64)
    for b in range(2):
        for n in range(7):
            for head in range(3):
                both = content[b] + positions[b, n]  # (k, v)
                expected[b, n, 4 * head : 4 * head + 4] = queries[b, n, head] @ both
    torch.testing.assert_close(output, expected, atol=1e-10, rtol=0)
    loops = sum(keys[:, n, :, u, None] * values[:, n, None, :, u] for n in range(7) for u in range(2))
    torch.testing.assert_close(content, loops, atol=1e-10, rtol=0)


def test_without_position_weights_the_content_part_is_left():
    layer, x = lambda_layer(local_context_size=5), states()
    whole, content = layer(x)
    with torch.no_grad():
        layer.positions.weight.zero_()
    output, same = layer(x)
    queries, _, _ = layer.project(x)
    torch.testing.assert_close(same, content)
    torch.testing.assert_close(output, torch.einsum("bnhk,bkv->bnhv", queries, content).flatten(2))
    assert (whole - output).abs().max() > 1e-3


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("context", CONTEXTS)
def test_gradients_of_every_parameter(context, training):
    layer, x = lambda_layer(**CONTEXTS[context], **PADDED).train(training), states(2, 4).requires_grad_()
    mask = torch.tensor([[True] * 4, [True, True, True, False]])
    names, values = zip(*layer.named_parameters(), strict=True)
    assert len(names) == 8

    def run(hidden, *parameters):
        return torch.func.functional_call(layer, dict(zip(names, parameters, strict=True)), (hidden, mask))

    assert torch.autograd.gradcheck(run, (x, *values), fast_mode=training)


# --- padding ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("context", CONTEXTS)
def test_padding_changes_nothing_if_it_is_masked_and_something_if_not(context):
    tokens = ids(2, 6)
    padded = torch.cat([tokens, torch.zeros(2, 5, dtype=torch.int64)], dim=1)
    mask = torch.cat([torch.ones(2, 6), torch.zeros(2, 5)], dim=1)
    for masked in (True, False):
        model = made(mask_padding=masked, **CONTEXTS[context])
        alone, together = model(tokens), model(padded, mask)
        differences = [(together.last_hidden_state[:, :6] - alone.last_hidden_state).abs().max()]
        differences += [
            (one - other).abs().max() for one, other in zip(together.lambda_params, alone.lambda_params, strict=True)
        ]
        assert all(difference < 1e-5 for difference in differences) == masked
        assert masked or max(differences) > 1e-3


@pytest.mark.parametrize("context", CONTEXTS)
def test_padding_changes_nothing_while_training_if_norms_count_real_tokens(context):
    tokens = ids(2, 6)
    padded, mask = torch.cat([tokens, tokens], dim=1), torch.cat([torch.ones(2, 6), torch.zeros(2, 6)], dim=1)
    off = {"hidden_dropout_prob": 0.0}
    for counted in (True, False):
        model, other = [
            made(mask_padding=True, token_only_batchnorm=counted, **off, **CONTEXTS[context]).train() for _ in range(2)
        ]
        difference = (model(tokens)[0] - other(padded, mask)[0][:, :6]).abs().max()
        assert (difference < 1e-5) == counted
        assert counted or difference > 1e-3
        if counted:
            for one, two in zip(model.buffers(), other.buffers(), strict=True):
                torch.testing.assert_close(one, two)


def test_batch_norm_of_tokens_is_torchs_own_on_the_tokens_alone():
    torch.manual_seed(0)
    own, torchs = TokenBatchNorm(4), torch.nn.BatchNorm1d(4)
    x, mask = torch.randn(3, 5, 4) * 2 + 1, torch.rand(3, 5) < 0.6
    for tokens in (mask, torch.ones(3, 5, dtype=torch.bool), None):
        kept = x[mask] if tokens is mask else x.flatten(0, 1)
        expected, found = torchs(kept), own(x, tokens)
        torch.testing.assert_close(found[mask] if tokens is mask else found.flatten(0, 1), expected)
    torch.testing.assert_close(own.running_mean, torchs.running_mean)
    torch.testing.assert_close(own.running_var, torchs.running_var)
    assert own.num_batches_tracked == torchs.num_batches_tracked == 3
    torch.testing.assert_close(own.eval()(x), torchs.eval()(x.flatten(0, 1)).view_as(x))
    with pytest.raises(ValueError, match="2 tokens or more"):
        own.train()(torch.zeros(1, 1, 4))


@pytest.mark.parametrize("context", CONTEXTS)
def test_a_layer_of_one_lambda_is_the_layer_of_both_without_the_other(context):
    own = CONTEXTS[context] | PADDED
    both, x, mask = lambda_layer(**own), states(), padded().bool()
    queries, keys, values = both.project(x, mask)
    content = torch.einsum("bnhk,bkv->bnhv", queries, both.content_lambda(keys, values)).flatten(2)
    position = torch.einsum("bnhk,bnkv->bnhv", queries, both.positions(values)).flatten(2)
    torch.testing.assert_close(both(x, mask)[0], content + position)
    for lambdas, expected, missing in (("content", content, "positions."), ("position", position, "key.")):
        alone = lambda_layer(**own, lambdas=lambdas, output_lambda_params=False)
        left_out = alone.load_state_dict(both.state_dict(), strict=False).unexpected_keys
        assert [name.startswith(missing) for name in left_out] == [True]
        found, made_content = alone(x, mask)
        torch.testing.assert_close(found, expected)
        assert (made_content is None) == (lambdas == "position")


def test_a_model_without_content_lambdas_returns_none_and_refuses_to():
    model = made(local_context_size=5, lambdas="position", output_lambda_params=False)
    assert model(ids()).lambda_params is None
    with pytest.raises(ValueError, match="makes no content lambda"):
        model(ids(), output_lambda_params=True)


def test_a_sentence_of_padding_alone_is_no_nan():
    mask = torch.tensor([[1] * 7, [0] * 7])
    assert made(local_context_size=5, **PADDED)(ids(), mask).last_hidden_state.isfinite().all()


def padded(batch=2, tokens=7, dtype=torch.int64):
    """The mask of a batch whose last sentence has padding."""
    mask = torch.ones(batch, tokens, dtype=dtype)
    mask[-1, (tokens + 1) // 2 :] = 0
    return mask


LENGTHS = (2, 7, 16)  # of a program exported at 7, the longest among them


def of_any_length(*names):
    axes = {0: torch.export.Dim.AUTO, 1: torch.export.Dim("tokens", min=2, max=16)}
    return dict.fromkeys(names, axes)


@pytest.mark.parametrize(
    ("context", "dtype"), [*((context, torch.int64) for context in CONTEXTS), ("local", torch.float32)]
)
def test_an_exported_model_serves_every_batch_and_length_from_2(context, dtype):
    model = made(**CONTEXTS[context], **PADDED, num_hidden_layers=1)
    given = {"input_ids": ids(), "attention_mask": padded(dtype=dtype)}
    exported = torch.export.export(model, (), given, dynamic_shapes=of_any_length(*given)).module()
    for tokens in LENGTHS:
        given = {"input_ids": ids(3, tokens), "attention_mask": padded(3, tokens, dtype)}
        found, expected = exported(**given), model(**given)
        torch.testing.assert_close(found.last_hidden_state, expected.last_hidden_state)


def test_an_exported_model_is_an_onnx_program_of_every_length():
    pytest.importorskip("onnxscript", reason="ONNX programs are made with onnxscript")
    from onnx.reference import ReferenceEvaluator

    model = made(LambdaBertForMaskedLM, local_context_size=5, num_hidden_layers=1, output_lambda_params=False, **PADDED)
    given = {"input_ids": ids(), "attention_mask": padded()}
    program = torch.onnx.export(
        model, (), kwargs=given, dynamic_shapes=of_any_length(*given), dynamo=True, verbose=False
    )
    evaluator = ReferenceEvaluator(program.model_proto)
    for tokens in LENGTHS:
        given = {"input_ids": ids(3, tokens), "attention_mask": padded(3, tokens)}
        [found] = evaluator.run(None, {name: tensor.numpy() for name, tensor in given.items()})
        torch.testing.assert_close(torch.from_numpy(found), model(**given).logits)


def test_unmasked_padding_is_warned_of_once(monkeypatch):
    from lambda_bert import modeling_lambdabert

    said = []
    monkeypatch.setattr(modeling_lambdabert.logger, "warning_once", said.append)
    padding, none = torch.tensor([[1] * 7, [1] * 6 + [0]]), torch.ones(2, 7)
    made(local_context_size=5)(ids(), none)
    made(local_context_size=5, mask_padding=True)(ids(), padding)
    assert not said
    made(local_context_size=5)(ids(), padding)
    assert "mask_padding = False" in said[0]


# --- memory ----------------------------------------------------------------------------------------------------


class _Peak(TorchDispatchMode):
    """The largest number of bytes of tensors that were alive at once, of all that operations made."""

    def __init__(self):
        super().__init__()
        self.alive, self.bytes = {}, 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        made = operation(*args, **(kwargs or {}))
        for value in tree_leaves(made):
            if isinstance(value, torch.Tensor):
                storage = StorageWeakRef(value.untyped_storage())
                self.alive[storage.cdata] = (storage, value.untyped_storage().nbytes())
        self.alive = {key: held for key, held in self.alive.items() if not held[0].expired()}
        self.bytes = max(self.bytes, sum(size for _, size in self.alive.values()))
        return made


def peak(tokens, **own):
    """Bytes of one forward and backward pass through a block."""
    sizes = {"num_hidden_layers": 1, "hidden_size": 24, "key_depth": 8, "intra_depth": 4}
    model = made(max_position_embeddings=tokens, **sizes, **own).train()
    x = ids(1, tokens)
    with _Peak() as found:
        model(x).last_hidden_state.sum().backward()
    return found.bytes


def test_memory_grows_with_the_tokens_in_a_window_and_with_their_pairs_in_a_table_of_pairs():
    for own in ({"local_context_size": 25}, {"relative_global": True}):
        bytes_at = [peak(tokens, **own) for tokens in (128, 256, 512)]
        assert all(1.7 < after / before < 2.3 for before, after in itertools.pairwise(bytes_at))
    assert peak(256) / peak(128) > 3


# --- a model of the library ------------------------------------------------------------------------------------


def test_lambdas_can_be_left_out_and_tuples_agree():
    model = made(local_context_size=5)
    whole = model(ids(), output_hidden_states=True)
    assert list(whole) == ["last_hidden_state", "pooler_output", "hidden_states", "lambda_params"]
    without = model(ids(), output_hidden_states=True, output_lambda_params=False)
    assert list(without) == list(whole)[:-1]
    assert torch.equal(without.last_hidden_state, whole.last_hidden_state)
    assert torch.equal(without.pooler_output, whole.pooler_output)
    listed = model(ids(), output_hidden_states=True, return_dict=False)
    assert isinstance(listed, tuple)
    assert torch.equal(listed[0], whole[0])
    for one, other in zip((*listed[2], *listed[3]), (*whole.hidden_states, *whole.lambda_params), strict=True):
        assert torch.equal(one, other)
    model.config.output_lambda_params = False
    assert model(ids()).lambda_params is None
    assert LambdaBertModel(config(), add_pooling_layer=False)(ids()).pooler_output is None


@pytest.mark.parametrize("context", CONTEXTS)
def test_every_parameter_is_initialised(context):
    own = {"hidden_size": 64, "num_lambda_queries": 4, "initializer_range": 0.02, **CONTEXTS[context]}
    model = made(LambdaBertForPreTraining, **own)
    layer = model.lambdabert.encoder.layer[0]
    bound = 64**-0.5  # of the framework's convolutions
    for projection in (layer.attention.self.query, layer.attention.self.key, layer.attention.self.value):
        assert 0.8 * bound < projection.weight.abs().max() <= bound
    assert float(layer.attention.self.positions.weight.detach().std()) == pytest.approx(1, abs=0.3)
    torch.manual_seed(0)
    gentle = made(LambdaBertForPreTraining, **own, position_initializer_range=0.1, query_scale_init_value=0.3)
    gentle = gentle.lambdabert.encoder.layer[0].attention.self
    assert float(gentle.positions.weight.detach().std()) == pytest.approx(0.1, abs=0.03)
    assert torch.allclose(gentle.query_norm.weight, torch.tensor(0.3))
    assert float(layer.intermediate.dense.weight.detach().std()) == pytest.approx(0.02, rel=0.1)
    assert float(model.lambdabert.embeddings.word_embeddings.weight.detach().std()) == pytest.approx(0.02, rel=0.1)
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1:  # norms begin with weights of 1, biases are 0
            norm = "norm" in name.lower() and name.endswith("weight")
            assert parameter.detach().unique().tolist() == [float(norm)], name


@pytest.mark.parametrize("kind", [LambdaBertModel, LambdaBertForMaskedLM, LambdaBertForPreTraining])
def test_a_saved_model_is_the_same_bit_for_bit(tmp_path, kind):
    model = made(kind, local_context_size=5).train()
    for seed in range(3):
        model(ids(seed=seed))  # the running statistics are no longer what they begin with
    assert any(buffer.abs().max() > 0 for name, buffer in model.named_buffers() if "running_mean" in name)
    model.eval().save_pretrained(tmp_path)
    auto = {LambdaBertModel: AutoModel, LambdaBertForMaskedLM: AutoModelForMaskedLM}.get(kind, AutoModelForPreTraining)
    for loaded in (kind.from_pretrained(tmp_path), auto.from_pretrained(tmp_path)):
        assert type(loaded) is kind
        for one, other in zip(model(ids()).to_tuple(), loaded.eval()(ids()).to_tuple(), strict=True):
            assert all(torch.equal(*pair) for pair in zip(one, other, strict=True))
    assert AutoConfig.from_pretrained(tmp_path).to_diff_dict() == model.config.to_diff_dict()


def test_a_checkpoint_of_pretraining_is_a_masked_model_where_the_study_is_not_installed(tmp_path):
    model = made(LambdaBertForPreTraining, local_context_size=5)
    model.save_pretrained(tmp_path / "saved")
    torch.save(model(ids()).prediction_logits, tmp_path / "logits.pt")
    script = f"""
import sys, torch
from transformers import AutoModelForMaskedLM
try:
    AutoModelForMaskedLM.from_pretrained("saved", trust_remote_code=False)
except ValueError as error:
    assert "trust_remote_code" in str(error), error
model = AutoModelForMaskedLM.from_pretrained("saved", trust_remote_code=True).eval()
assert type(model).__name__ == "LambdaBertForMaskedLM" and "lambda_bert" not in sys.modules
assert torch.equal(model(torch.tensor({ids().tolist()})).logits, torch.load("logits.pt"))
"""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment |= {"HF_MODULES_CACHE": str(tmp_path / "modules"), "OMP_NUM_THREADS": str(torch.get_num_threads())}
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr[-2000:]


def test_the_decoder_is_the_word_embeddings_even_after_resizing():
    model = made(LambdaBertForMaskedLM)
    model.resize_token_embeddings(50, mean_resizing=False)
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert model(ids()).logits.shape == (2, 7, 50)


@pytest.mark.parametrize("objective", ["nsp", "sop"])
def test_the_loss_of_pretraining_is_the_sum_and_needs_both_labels(objective):
    right, wrong = ["next_sentence_label", "sentence_order_label"][:: 1 if objective == "nsp" else -1]
    model = made(LambdaBertForPreTraining, pair_objective=objective, classifier_dropout_prob=0.5)
    labels, pairs = ids(seed=1).masked_fill(torch.rand(2, 7) < 0.5, -100), torch.tensor([0, 1])
    found = model(ids(), labels=labels, **{right: pairs})
    logits = found.prediction_logits.log_softmax(-1)
    places = (labels != -100).nonzero().tolist()
    by_hand = -sum(logits[b, n, labels[b, n]] for b, n in places) / len(places)
    pair = -found.seq_relationship_logits.log_softmax(-1)[[0, 1], [0, 1]].mean()
    torch.testing.assert_close(found.mlm_loss, by_hand)
    torch.testing.assert_close(found.pair_loss, pair)
    torch.testing.assert_close(found.loss, by_hand + pair)
    assert model(ids(), labels=labels).loss is None
    assert model(ids(), **{right: pairs}).loss is None
    with pytest.raises(ValueError, match=right):
        model(ids(), **{wrong: pairs})
    model.lambdabert.eval()
    model.dropout.train()  # before the head of the sentence order only
    once, again = [model(ids()).seq_relationship_logits for _ in range(2)]
    assert torch.equal(once, again) == (objective == "nsp")


def test_gradient_checkpointing_changes_neither_gradients_nor_statistics():
    found = []
    for reentrant in (None, False, True):
        model = made(local_context_size=5, hidden_dropout_prob=0.0).train()
        if reentrant is not None:
            model._set_gradient_checkpointing(
                gradient_checkpointing_func=partial(torch.utils.checkpoint.checkpoint, use_reentrant=reentrant)
            )
        for _ in range(2):  # each pass counts
            model(ids()).last_hidden_state.square().sum().backward()
        assert model.encoder.layer[0].attention.self.query_norm.num_batches_tracked == 2
        found.append([*(p.grad for p in model.parameters() if p.grad is not None), *model.buffers()])
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            torch.testing.assert_close(one, two)
    assert made(gradient_checkpointing=True).encoder.layer[0].gradient_checkpointing


def test_one_set_of_weights_serves_every_length():
    assert isinstance(made(relative_global=True).encoder.layer[0].attention.self.positions, RelativePositions)
    for context in CONTEXTS.values():
        model = made(**context)
        assert [model(ids(1, tokens)).last_hidden_state.shape[1] for tokens in (1, 2, 16)] == [1, 2, 16]
