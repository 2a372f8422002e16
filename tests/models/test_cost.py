"""The operations we count are those torch counts."""

import pytest
import tiny
import torch
from torch.utils.flop_counter import FlopCounterMode

from linear_shortcuts.models.cost import Cost, count


def counted(call):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        call()
    return counter.get_total_flops()


@pytest.fixture(params=tiny.FAMILIES)
def model(request):
    made = tiny.model(request.param)
    made.network.set_attn_implementation("eager")  # whose products torch can count on a CPU
    return made


def test_the_head_costs_what_torch_counts(model):
    cost = count(model, torch.tensor([10]), torch.tensor([3]))
    assert cost.head == counted(lambda: model.decode(torch.randn(1, model.width)))


def test_a_head_of_few_tokens_costs_less_by_the_rows_it_lacks(model):
    cost = count(model, torch.tensor([10]), torch.tensor([3]), listed=30)
    states = torch.randn(1, model.width)
    whole, part = (counted(lambda n=n: torch.nn.functional.linear(states, torch.randn(n, model.width)))
                   for n in (model.vocabulary, 30))  # fmt: skip
    assert cost.listed * cost.head == pytest.approx(counted(lambda: model.decode(states)) - whole + part)
    assert count(model, torch.tensor([10]), torch.tensor([3]), listed=10**6).listed == 1


def test_exits_pay_the_whole_head_at_the_last_layer_alone():
    layers = torch.tensor([1, 2, 3])
    cost = Cost(torch.full((3, 3), 10.0, dtype=torch.float64), head=8.0, jump=1.0, listed=0.25)
    fixed, early = (cost.exits(layers, 3, "mat", checks=checks).tolist() for checks in (False, True))
    assert fixed == [10 + 2 + 1, 20 + 2 + 1, 30 + 8]
    assert early == [10 + 2 + 1, 20 + 4 + 2, 30 + 4 + 8 + 2]


def test_a_masked_models_block_costs_what_torch_counts_for_the_whole_sentence():
    model = tiny.model("bert")
    model.network.set_attn_implementation("eager")
    cost = count(model, torch.tensor([10, 20]), torch.tensor([3, 4]))
    for sample, length in enumerate((10, 20)):
        ids = torch.arange(5, 5 + length)[None]
        assert cost.blocks[:, sample].sum() == counted(lambda ids=ids: model.encode(ids, None))


def test_a_causal_models_block_costs_what_torch_counts_for_one_more_token_with_a_cache():
    model = tiny.model("gpt2")
    model.network.set_attn_implementation("eager")
    position = 9
    cost = count(model, torch.tensor([30]), torch.tensor([position]))
    ids = torch.arange(5, 6 + position)[None]
    with torch.no_grad():
        cache = model.network(input_ids=ids[:, :-1], use_cache=True).past_key_values
    step = counted(lambda: model.network.base_model(input_ids=ids[:, -1:], past_key_values=cache, use_cache=True))
    assert cost.blocks.sum() == step


def test_at_gpt2s_size_one_check_costs_five_and_a_half_blocks():
    from transformers import GPT2Config, GPT2LMHeadModel

    from linear_shortcuts.models.loading import wrap

    gpt2 = wrap(GPT2LMHeadModel(GPT2Config(n_layer=1)))
    cost = count(gpt2, torch.tensor([1]), torch.tensor([0]))
    assert cost.head / float(cost.blocks[0, 0]) == pytest.approx(5.45, abs=0.05)


def test_blocks_that_differ_cost_what_each_of_them_does():
    from linear_shortcuts.models.loading import wrap

    own = {"n_routed_experts": 4, "n_group": 1, "topk_group": 1, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
    own |= {"kv_lora_rank": 8, "q_lora_rank": 8, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8}
    network = tiny.random_network("deepseek_v3", first_k_dense_replace=1, num_key_value_heads=3, **own)
    model = wrap(network)  # its first block is dense, the others mix experts
    cost = count(model, torch.tensor([5, 5]), torch.tensor([2, 2]))
    dense, mixed, same = cost.blocks[:, 0].tolist()
    assert dense != mixed == same
    spent = cost.exits(torch.tensor([1, 2]), 3, "id", checks=False)
    assert spent.tolist() == [dense + cost.head, dense + mixed + cost.head]
    assert cost.full(3).tolist() == [dense + 2 * mixed + cost.head] * 2


def test_exits_pay_for_blocks_checks_and_jumps_once():
    cost = count(tiny.model("gpt2"), torch.tensor([5, 5]), torch.tensor([2, 2]))
    at = torch.tensor([1, 3])
    early = cost.exits(at, 3, "mat", checks=True)
    fixed = cost.exits(at, 3, "mat", checks=False)
    assert early[0] == fixed[0] == cost.blocks[0, 0] + cost.head + cost.jump
    assert early[1] == 3 * cost.blocks[0, 0] + 3 * cost.head + 2 * cost.jump
    assert fixed[1] == cost.full(3)[1]
