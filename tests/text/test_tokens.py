"""Token ids and sampled positions: each sentence's own, whatever stands beside it; other people's files are checked."""

import copy
import pickle
import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from transformers import AddedToken

from linear_shortcuts.files.errors import InputError
from linear_shortcuts.settings.params import read_params
from linear_shortcuts.text.tokens import (
    Tokens,
    check_fit,
    check_rows,
    encode,
    limit,
    load_states_tokens,
    load_tokens,
    save_tokens,
    tokenize,
)
from linear_shortcuts.training.tokenizers import train_tokenizer

SENTENCE = "the quick brown fox jumps over a lazy dog while seven wizards quietly box with vexed jugglers"
WORDS = SENTENCE.split()
CORPUS = [f"{' '.join(WORDS[i:] + WORDS[:i])}, number {i}." for i in range(len(WORDS))]
KINDS = ["gpt2", "bert"]


@pytest.fixture(scope="module")
def tokenizers(repository):
    """A tokenizer of each kind of model, trained as those of the shipped models, on a few words."""
    training = read_params(repository / "params.yaml").training
    return {kind: train_tokenizer(replace(training[f"tiny-{kind}"], vocabulary=400), CORPUS) for kind in KINDS}


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def make(kind, tokenizers):
    """Tokenize with the tiny tokenizer of one kind of model."""

    def tokenized(sentences, *, max_tokens=64, seed=0, causal=kind == "gpt2") -> Tokens:
        return tokenize(sentences, tokenizers[kind], causal=causal, max_tokens=max_tokens, seed=seed)

    return tokenized


def test_a_pattern_that_backtracks_for_ever_is_one_line():
    """The library panics, which is no `Exception`, once a match has taken ten million steps."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.WordLevel({"a": 0, "[UNK]": 1}, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Split(Regex("(a+)+$"), "isolated")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, name_or_path="models/hostile")
    assert len(tokenize(["aaa!"], tokenizer, causal=True, max_tokens=None, seed=0)) == 1  # the positive control
    with pytest.raises(InputError, match=r"tokenizer of models/hostile gave up .*retry-limit.*; check the patterns"):
        tokenize(["a" * 40 + "!"], tokenizer, causal=True, max_tokens=None, seed=0)


def test_a_tokenizer_that_would_not_end_is_refused_after_a_few_texts(monkeypatch):
    """As with a pattern whose every match stays just below the limit."""
    seen: list[int] = []

    def slow(texts, **_):
        seen.append(len(texts))
        clock[0] += 11.0 if len(seen) > 3 else 0.0
        return {"input_ids": [[1] for _ in texts]}

    clock = [0.0]
    slow.name_or_path = "models/slow"
    monkeypatch.setattr("linear_shortcuts.text.tokens.time.monotonic", lambda: clock[0])
    with pytest.raises(InputError, match=r"models/slow took 11 seconds for 8 characters; check the patterns in its"):
        encode(slow, ["a"] * 1000)
    assert seen == [1, 2, 4, 8]
    assert encode(slow, ["a" * 2000])["input_ids"] == [[1]]  # 11 seconds are not long for as many characters


def test_characters_that_a_tokenizer_has_no_token_for_are_one_line():
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.WordLevel({letter: number for number, letter in enumerate("abc")}, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, name_or_path="models/letters")
    assert encode(tokenizer, ["abba"])["input_ids"] == [[0, 1, 1, 0]]
    with pytest.raises(InputError, match=r"models/letters cannot read all of the text \(.*UNK.*\); leave out"):
        encode(tokenizer, ["abba", "a b"])


def test_as_the_original_every_full_stop_is_cut_off_and_special_tokens_are_sampled(repository, kind):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(repository / "models" / f"tiny-{kind}")
    text = "Version 3.5... see sys.path. The end."

    def sampled(compatibility):
        """The pieces of the text, and the positions drawn under many seeds."""
        how = {"causal": kind == "gpt2", "max_tokens": None, "compatibility": compatibility}
        made = [tokenize([text], tokenizer, seed=seed, **how) for seed in range(300)]
        return tokenizer.convert_ids_to_tokens(made[0].sentences[0].tolist()), {int(m.positions[0]) for m in made}

    before = tokenizer(text)["input_ids"]
    ours, our_positions = sampled(None)
    theirs, their_positions = sampled("original")
    assert their_positions == set(range(len(theirs)))
    if kind == "gpt2":
        assert "..." in ours
        assert "..." not in theirs
        assert theirs.count(".") == 7
    else:  # it has a padding token of its own
        assert len(theirs) == len(ours)
        assert our_positions == set(range(1, len(ours) - 1))  # not [CLS], not [SEP]
    assert tokenizer(text)["input_ids"] == before  # the caller's tokenizer is as it was


def same(a: Tokens, b: Tokens) -> bool:
    return (
        len(a) == len(b) and all(map(torch.equal, a.sentences, b.sentences)) and torch.equal(a.positions, b.positions)
    )


SENTENCES = st.lists(st.sampled_from(WORDS), min_size=1, max_size=30).map(" ".join)


# --- positions ---------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_positions_and_another_seed_others(make):
    assert same(make(CORPUS), make(CORPUS))
    assert not torch.equal(make(CORPUS, seed=1).positions, make(CORPUS).positions)


@settings(max_examples=40, deadline=None)
@given(st.lists(SENTENCES, min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_a_position_depends_on_the_sentence_and_not_on_its_place_or_neighbours(make, sentences, random):
    alone = [make([sentence]) for sentence in sentences]
    order = list(range(len(sentences)))
    random.shuffle(order)
    together = make([sentences[i] for i in order])
    for place, i in enumerate(order):
        assert torch.equal(together.sentences[place], alone[i].sentences[0])
        assert together.positions[place] == alone[i].positions[0]


@settings(max_examples=60, deadline=None)
@given(SENTENCES, st.integers(0, 2**63), st.integers(3, 40))
def test_a_position_is_inside_the_cut_sentence_and_never_on_a_special_token(
    make, kind, tokenizers, sentence, seed, most
):
    # As a causal model would see it, so that the sampled token still shows.
    made = make([sentence], max_tokens=most, seed=seed, causal=True)
    [ids], [position] = made.sentences, made.positions.tolist()
    assert 1 <= len(ids) <= most
    assert ids.dtype == made.positions.dtype == torch.int64
    assert 0 <= position < len(ids)
    assert int(ids[position]) not in tokenizers[kind].all_special_ids
    if kind == "bert":
        assert 0 < position < len(ids) - 1


@pytest.mark.parametrize("text", ["the {} fox", "{} the", "the {}", "{} {} fox {}"])
def test_a_special_token_written_out_in_the_text_is_not_sampled(make, kind, tokenizers, text):
    tokenizer = tokenizers[kind]
    special = ["<|endoftext|>"] if kind == "gpt2" else ["[SEP]", "[MASK]", "[PAD]", "[CLS]"]
    for name in special:
        for seed in range(12):
            made = make([text.replace("{}", name)], seed=seed, causal=True)
            assert int(made.sentences[0][made.positions[0]]) not in tokenizer.all_special_ids


def test_added_special_tokens_of_a_chat_are_not_sampled_and_unknown_words_are(tokenizers):
    tokenizer = copy.deepcopy(tokenizers["bert"])
    tokenizer.add_tokens([AddedToken("<|im_start|>", special=True), AddedToken("<fox>", special=False)])
    start, fox = tokenizer.convert_tokens_to_ids(["<|im_start|>", "<fox>"])
    sampled = set()
    for seed in range(40):
        made = tokenize(["<|im_start|> the <fox> 𝄞"], tokenizer, causal=True, max_tokens=64, seed=seed)
        sampled.add(int(made.sentences[0][made.positions[0]]))
    assert start in made.sentences[0].tolist()
    assert start not in sampled
    assert {fox, tokenizer.unk_token_id} <= sampled


def test_positions_are_roughly_uniform(make, kind):
    """Of 600 seeds, each of some ten positions is expected 60 times, with a standard deviation below 8."""
    sentence = " ".join(WORDS[:10])
    length = len(make([sentence]).sentences[0])
    counts = Counter(int(make([sentence], seed=seed).positions[0]) for seed in range(600))
    assert sorted(counts) == list(range(length) if kind == "gpt2" else range(1, length - 1))
    expected = 600 / len(counts)
    assert all(0.5 * expected < count < 1.6 * expected for count in counts.values()), counts


# --- masks and cuts ----------------------------------------------------------------------------------------


def test_a_masked_model_gets_the_mask_exactly_at_the_position(tokenizers):
    tokenizer = tokenizers["bert"]
    masked = tokenize(CORPUS, tokenizer, causal=False, max_tokens=64, seed=0)
    plain = tokenize(CORPUS, tokenizer, causal=True, max_tokens=64, seed=0)
    assert torch.equal(masked.positions, plain.positions)
    for hidden, shown, position in zip(masked.sentences, plain.sentences, masked.positions.tolist(), strict=True):
        assert (hidden != shown).nonzero().flatten().tolist() == [position]
        assert hidden[position] == tokenizer.mask_token_id


def test_a_causal_model_gets_the_tokenizers_own_ids(tokenizers):
    made = tokenize(CORPUS, tokenizers["gpt2"], causal=True, max_tokens=64, seed=0)
    assert [ids.tolist() for ids in made.sentences] == tokenizers["gpt2"](CORPUS)["input_ids"]


@pytest.mark.parametrize("most", [3, 5, 8])
def test_the_closing_token_survives_the_cut(tokenizers, most):
    tokenizer = tokenizers["bert"]
    whole = tokenizer(CORPUS)["input_ids"]
    made = tokenize(CORPUS, tokenizer, causal=True, max_tokens=most, seed=0)
    assert made.cut == len(CORPUS)
    for ids, uncut in zip(made.sentences, whole, strict=True):
        assert ids.tolist() == [*uncut[: most - 1], tokenizer.sep_token_id]


@pytest.mark.parametrize("most", [1, 3, 8])
def test_a_causal_sentence_is_cut_at_its_end(tokenizers, most):
    made = tokenize(CORPUS, tokenizers["gpt2"], causal=True, max_tokens=most, seed=0)
    whole = tokenizers["gpt2"](CORPUS)["input_ids"]
    assert [ids.tolist() for ids in made.sentences] == [ids[:most] for ids in whole]


def test_a_sentence_just_within_the_limit_is_not_cut(make):
    length = len(make(CORPUS[:1]).sentences[0])
    assert make(CORPUS[:1], max_tokens=length).cut == 0
    assert same(make(CORPUS[:1], max_tokens=length), make(CORPUS[:1]))
    assert make(CORPUS[:1], max_tokens=length - 1).cut == 1


def test_sentences_without_a_token_are_skipped_and_counted(make):
    made = make(["", CORPUS[0], "", CORPUS[1]])
    assert made.skipped == 2
    assert same(made, make(CORPUS[:2]))


def test_no_sentences_give_no_tokens(make):
    made = make([])
    assert (len(made), made.positions.shape) == (0, (0,))


def test_a_masked_model_needs_a_mask_token(tokenizers):
    with pytest.raises(InputError, match="no mask token"):
        tokenize(CORPUS, tokenizers["gpt2"], causal=False, max_tokens=8, seed=0)


def test_lengths_and_parts_belong_to_their_sentences(make):
    made = make(CORPUS)
    assert made.lengths.tolist() == [len(ids) for ids in made.sentences]
    part = made.part(3, 5)
    assert same(part, Tokens(made.sentences[3:5], made.positions[3:5]))


class Tokenizer:
    model_max_length = int(1e30)  # what transformers says where it does not know


def test_the_limit_is_the_models_own_or_a_lower_one():
    assert limit(Tokenizer, 32, None) == 32
    assert limit(Tokenizer, 32, 10) == 10
    assert limit(Tokenizer, 32, 32) == 32
    with pytest.raises(InputError, match=r"tokenize\.max_tokens is 33 but the model takes at most 32"):
        limit(Tokenizer, 32, 33)


@pytest.mark.parametrize("stated", [-5, 0, "x", None, float("nan"), True, [8]], ids=str)
def test_a_limit_that_is_no_number_of_tokens_is_refused(stated):
    if stated is None:
        assert limit(Tokenizer, None, None) is None
        return
    odd = type("Odd", (), {"model_max_length": stated})
    with pytest.raises(
        InputError, match=r"^model_max_length of its tokenizer says that it reads .*; set it to a whole"
    ):
        limit(odd, 32, None)
    with pytest.raises(InputError, match=r"^the model's configuration says that it reads .* tokens"):
        limit(Tokenizer, stated, None)


def test_a_limit_of_one_token_leaves_nothing_to_sample_where_it_must_close(make, kind):
    assert len(make(CORPUS, max_tokens=1)) == (len(CORPUS) if kind == "gpt2" else 0)


# --- files -------------------------------------------------------------------------------------------------


def test_the_file_has_the_two_keys_of_the_study_and_a_card(make, tmp_path):
    made = make(CORPUS)
    save_tokens(tmp_path / "tokens.pickle", made, {"seed": 0})
    with open(tmp_path / "tokens.pickle", "rb") as file:
        plain = pickle.load(file)  # as anybody would
    assert set(plain) == {"tokenized_sentences", "token_positions", "card"}
    assert all(ids.dtype == torch.int64 and ids.ndim == 1 for ids in plain["tokenized_sentences"])
    assert plain["token_positions"].dtype == torch.int64
    loaded, card = load_tokens(tmp_path / "tokens.pickle")
    assert same(loaded, made)
    assert card == {"seed": 0}


IDS, POSITIONS = [[5, 6, 7], [8, 9]], [2, 0]
FOREIGN = {
    "lists": (IDS, POSITIONS),
    "tuples": (tuple(map(tuple, IDS)), tuple(POSITIONS)),
    "arrays": ([np.array(ids) for ids in IDS], np.array(POSITIONS)),
    "int32": ([np.array(ids, dtype=np.int32) for ids in IDS], np.array(POSITIONS, dtype=np.int32)),
    "tensors": ([torch.tensor(ids) for ids in IDS], torch.tensor(POSITIONS)),
    "batches of one": ([torch.tensor([ids]) for ids in IDS], torch.tensor(POSITIONS)),
}


def write(path, sentences, positions, **more):
    path.write_bytes(pickle.dumps({"tokenized_sentences": sentences, "token_positions": positions, **more}))
    return path


@pytest.mark.parametrize("form", FOREIGN)
def test_a_file_from_elsewhere_loads_without_a_card(tmp_path, form):
    loaded, card = load_tokens(write(tmp_path / "x.pickle", *FOREIGN[form]))
    assert [ids.tolist() for ids in loaded.sentences] == IDS
    assert loaded.positions.tolist() == POSITIONS
    assert loaded.positions.dtype == loaded.sentences[0].dtype == torch.int64
    assert card == {}


WRONG = {
    "position after the end": (IDS, [3, 0], "sentence 0 has 3 tokens"),
    "negative position": (IDS, [0, -1], "sentence 1 has 2 tokens"),
    "sentence without tokens": ([[5], []], [0, 0], "sentence 1 has no tokens; leave it"),
    "two rows as one sentence": ([[5], [[6, 7], [8, 9]]], [0, 3], "sentence 1 has shape (2, 2)"),
    "one number as a sentence": ([5, [6]], [0, 0], "sentence 0 has shape ()"),
    "fewer positions": (IDS, [0], "2 sentences but positions of shape (1,)"),
    "positions in a column": (IDS, [[0], [0]], "2 sentences but positions of shape (2, 1)"),
    "fractions": ([[5, 6], [1.5, 2.0]], [0, 0], "sentence 1"),
    "text": ([[5, 6], ["a", "b"]], [0, 0], "sentence 1"),
    "sentence that is nothing": ([[5, 6], None], [0, 0], "sentence 1"),
    "fractional positions": (IDS, [0.5, 0], "positions"),
    "no positions": (IDS, None, "positions"),
    "one number for all sentences": (7, [0, 0], "tokenized_sentences"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_file_that_does_not_fit_is_refused_and_the_sentence_named(tmp_path, name):
    sentences, positions, expected = WRONG[name]
    path = write(tmp_path / "x.pickle", sentences, positions)
    with pytest.raises(InputError, match=re.escape(expected)) as caught:
        load_tokens(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("value", [{}, {"tokenized_sentences": IDS}, [IDS, POSITIONS], None], ids=str)
def test_missing_keys_are_named(tmp_path, value):
    path = tmp_path / "x.pickle"
    path.write_bytes(pickle.dumps(value))
    with pytest.raises(InputError, match=r"lacks .*token_positions") as caught:
        load_tokens(path)
    assert str(path) in str(caught.value)
    assert ("tokenized_sentences" in str(caught.value)) is not (isinstance(value, dict) and bool(value))


def test_a_missing_file_names_the_stage(tmp_path):
    with pytest.raises(InputError, match=r"x\.pickle does not exist; run stages/03_tokenize\.py first$"):
        load_tokens(tmp_path / "x.pickle", made_by="stages/03_tokenize.py")
    with pytest.raises(InputError, match=r"x\.pickle does not exist$"):
        load_tokens(tmp_path / "x.pickle")


def test_ids_the_model_does_not_know_and_sentences_too_long_are_named(tmp_path):
    tokens = Tokens([torch.tensor(ids) for ids in [[0, 9], [3, 10], [-1, 2]]], torch.tensor([0, 0, 0]))
    path = tmp_path / "tokens.pickle"
    check_fit(tokens.part(0, 1), 10, 2, path)  # the positive control: 0 and 9 are the ends of 0..9
    for part, expected in [
        (tokens, r"sentence 1 has token id 10 but the model knows 0\.\.9"),
        (tokens.part(2, 3), r"sentence 0 has token id -1 but the model knows 0\.\.9"),
    ]:
        with pytest.raises(InputError, match=expected) as caught:
            check_fit(part, 10, 2, path)
        assert str(path) in str(caught.value)
    with pytest.raises(InputError, match="sentence 0 has 2 tokens but the model takes 1"):
        check_fit(tokens.part(0, 1), 10, 1, path)


def test_a_masked_models_tokens_need_the_mask_at_every_position(tmp_path):
    tokens = Tokens([torch.tensor([1, 4, 2]), torch.tensor([1, 7, 2])], torch.tensor([1, 1]))
    check_fit(tokens.part(0, 1), 10, 5, tmp_path, mask_token=4)
    check_fit(tokens, 10, 5, tmp_path)  # a causal model needs none
    with pytest.raises(
        InputError, match=r"sentence 1 has token id 7 at its position 1, .* mask token, 4; put it there"
    ):
        check_fit(tokens, 10, 5, tmp_path, mask_token=4)


def test_tokens_other_than_the_states_were_recorded_from_are_refused(make, tmp_path):
    from linear_shortcuts.files.artifacts import file_sha256

    path = tmp_path / "tokens.pickle"
    save_tokens(path, make(CORPUS), {})
    card = {"tokens_sha256": file_sha256(path), "sentences": len(CORPUS)}
    assert same(load_states_tokens(path, card), make(CORPUS))
    save_tokens(path, make(CORPUS, seed=1), {})
    with pytest.raises(InputError, match=r"were recorded from; run stages 03 and 04 again$"):
        load_states_tokens(path, card, made_by="stages 03 and 04")
    with pytest.raises(InputError, match=r"were recorded from; make it anew$"):
        load_states_tokens(path, card)


# --- real tokenizers ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["gpt2_tokenizer", "bert_uncased_tokenizer"])
def real(request, shared_data):
    folder = shared_data / request.param
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent")
    from transformers import AutoTokenizer

    lines = (shared_data / "wikipedia" / "sentences.txt").read_text(encoding="utf-8").splitlines()
    return AutoTokenizer.from_pretrained(folder), request.param.startswith("gpt2"), lines[:300]


def test_a_real_tokenizer_keeps_every_promise(real):
    tokenizer, causal, lines = real
    made = tokenize(lines, tokenizer, causal=causal, max_tokens=20, seed=0)
    plain = tokenize(lines, tokenizer, causal=True, max_tokens=20, seed=0)
    assert len(made) == 300
    assert made.cut > 100
    assert made.skipped == 0
    for ids, shown, position in zip(made.sentences, plain.sentences, made.positions.tolist(), strict=True):
        assert len(ids) <= 20
        assert int(shown[position]) not in tokenizer.all_special_ids
        if not causal:
            assert (ids[0], ids[-1]) == (tokenizer.cls_token_id, tokenizer.sep_token_id)
            assert (ids == tokenizer.mask_token_id).nonzero().flatten().tolist() == [position]
    assert same(tokenize(lines[100:110], tokenizer, causal=causal, max_tokens=20, seed=0), made.part(100, 110))
    relative = made.positions[made.lengths == 20].double().mean()
    assert 7.5 < relative < 11.5  # uniform over 20 places: 9.5, give or take 0.4


def test_a_real_tokenizer_reads_a_published_example(real):
    tokenizer, causal, _ = real
    made = tokenize(["Hello, world!"], tokenizer, causal=True, max_tokens=20, seed=0)
    expected = [15496, 11, 995, 0] if causal else [101, 7592, 1010, 2088, 999, 102]
    assert made.sentences[0].tolist() == expected


def test_too_few_sentences_for_the_width_are_refused_with_both_numbers():
    check_rows(64, 64)
    with pytest.raises(InputError, match="63.*64"):
        check_rows(63, 64)
