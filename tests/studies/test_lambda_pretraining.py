"""LambdaBERT's pre-training: documents and pairs against brute force, Trainer against itself, the stages as run."""

import itertools
import json
import math
import os
import random
import re
import runpy
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow
import pytest
import torch
import torch.nn.functional as F
import yaml
from hypothesis import given, settings, strategies as st
from pyarrow import parquet
from tokenizers import Regex, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
from transformers import (
    AutoConfig,
    AutoTokenizer,
    BertConfig,
    BertForPreTraining,
    PreTrainedTokenizerFast,
    TrainerCallback,
    TrainingArguments,
)

from lambda_bert import (
    comparison,
    documents,
    lambdas,
    models,
    pairs,
    pretraining,
    study,
)
from lambda_bert.settings import Shape, WikitextText, read
from linear_shortcuts import InputError
from linear_shortcuts.models.loading import load_tokenizer
from linear_shortcuts.settings import devices

REPOSITORY = Path(__file__).resolve().parents[2]
STUDY = REPOSITORY / "studies" / "lambda_bert"
SETTINGS = read(STUDY / "params.yaml")
HYPOTHESIS = settings(deadline=None, max_examples=60)
seeds = st.integers(0, 2**32 - 1)
SPECIAL = pairs.SPECIAL_TOKENS


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    with devices.one_thread():
        yield


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(REPOSITORY / "models" / "tiny-bert")


# --- documents -------------------------------------------------------------------------------------------------

text_lines = st.lists(
    st.sampled_from(
        [" = One = ", " = = Two = = \r", " = \u2028 =", " =  =", " = =", "= no space before =", " = open", "x = y = ",
         "", " ", " a line . ", "another", "last \x0b one"]
    )
)  # fmt: skip


def by_hand(lines):
    """The documents of WikiText, line by line and character by character."""
    found, current = [], []
    for line in lines:
        bare = line.rstrip()
        if bare.startswith(" = ") and bare.endswith(" =") and len(bare) >= 5:
            found.append(current)
            current = []
        else:
            current.append(line)
    found.append(current)
    stripped = [[line.strip() for line in document if line.strip()] for document in found]
    return [document for document in stripped if document]


@HYPOTHESIS
@given(text_lines)
def test_wikitext_documents_end_at_headings_and_the_last_one_counts(lines):
    assert list(documents.wikitext_documents(lines)) == by_hand(lines)


def test_files_of_every_layout_are_read(tmp_path):
    wikitext = tmp_path / "wiki.train.raw"
    wikitext.write_text(" \n = A = \n \n one \u2028 line \n two \n = = B = = \n three \n")
    assert documents.read_documents([wikitext]) == [["one \u2028 line", "two"], ["three"]]
    articles = tmp_path / "articles.jsonl"
    articles.write_text("".join(json.dumps({"body": text}) + "\n" for text in ("a\n\nb", " \n", "c")))
    assert documents.read_documents([articles, wikitext], "body")[:2] == [["a", "b"], ["c"]]


def hub_folder(folder, config, shards, column="text"):
    """A copy of the hub's WikiText: for each split its shards, each a list of lines."""
    (folder / config).mkdir(parents=True)
    for split, parts in shards.items():
        for number, lines in enumerate(parts):
            name = f"{split}-{number:05}-of-{len(parts):05}.parquet"
            parquet.write_table(pyarrow.table({column: lines}), folder / config / name)
    return WikitextText(source="wikitext", dataset=str(folder), config=config, revision=None)


def test_a_local_copy_of_the_hubs_wikitext_is_read_line_by_line_over_its_shards(tmp_path):
    lines = [
        "",
        " = A = \n",
        "",
        " one \u2028 line \n",
        " two \n",
        " = = B = = \n",
        " three \n",
        " = C = \n",
        " four \n",
    ]
    # A document goes on from one shard to the next.
    shards = {"train": [lines[:4], lines[4:]], "validation": [[" = D = \n", " held out \n"]], "test": [lines]}
    source = hub_folder(tmp_path, "wikitext-103-raw-v1", shards)
    assert documents.read_source(source, 0.1, 0) == (
        [["one \u2028 line", "two"], ["three"], ["four"]],
        [["held out"]],
    )
    raw = tmp_path / "wiki.train.raw"
    raw.write_text("".join(line or "\n" for line in lines))
    assert documents.read_documents([raw]) == documents.read_source(source, 0.1, 0)[0]


@pytest.mark.parametrize(
    ("config", "shards", "column", "problem"),
    [
        ("missing", {"train": [["a"]], "validation": [["b"]]}, "text", "cannot read .*wikitext-2-raw-v1"),
        (
            "wikitext-2-raw-v1",
            {"train": [["a"]], "validation": [[" = B = \n"]]},
            "text",
            "no line of text in validation",
        ),
        ("wikitext-2-raw-v1", {"train": [["a"]], "validation": [["b"]]}, "line", "no column 'text'"),
    ],
)
def test_a_copy_of_wikitext_that_lacks_something_is_one_line(tmp_path, config, shards, column, problem):
    source = replace(hub_folder(tmp_path, config, shards, column), config="wikitext-2-raw-v1")
    with pytest.raises(InputError, match=problem):
        documents.read_source(source, 0.1, 0)


def test_wikipedia_articles_become_documents_of_sentences(shared_data):
    from linear_shortcuts.text.corpora import make_splitter

    found = documents.read_documents([shared_data / "wikipedia" / "articles.jsonl"])
    assert len(found) == 102
    assert sum(map(len, found)) == 5381  # paragraphs
    split, _ = make_splitter("sentencizer")
    [sentences] = documents.in_sentences(found[:1], split)
    assert len(sentences) > len(found[0])
    assert "".join("".join(sentences).split()) == "".join("".join(found[0]).split())  # nothing but spaces is lost


@pytest.mark.parametrize(
    ("content", "problem"), [(None, "does not exist"), (b"\xff\xfe\x00", "UTF-8"), (b" = A = \n \n", "no line of text")]
)
def test_a_file_without_documents_is_one_line(tmp_path, content, problem):
    path = tmp_path / "text.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=problem) as refused:
        documents.read_documents([path])
    assert str(path) in str(refused.value)


@HYPOTHESIS
@given(st.integers(2, 40), st.floats(0.01, 0.9), seeds)
def test_held_out_documents_are_a_share_and_none_of_their_lines_was_seen(number, share, seed):
    whole = [[f"line {index} {part}" for part in range(3)] + ["the same"] for index in range(number)]
    train, held_out = documents.hold_out(whole, share, seed)
    least = 2 if number >= 4 else 1
    assert len(held_out) == min(max(least, round(share * number)), number - least)
    assert len(train) + len(held_out) == number
    assert {line for document in train for line in document}.isdisjoint(line for d in held_out for line in d)
    assert documents.hold_out(whole, share, seed) == (train, held_out)


# --- pairs -----------------------------------------------------------------------------------------------------

sizes = st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=8), min_size=2, max_size=8)


def numbered(sizes):
    """Documents whose every token occurs once, so that where a segment comes from can be read off it."""
    tokens = itertools.count()
    return [[[next(tokens) for _ in range(size)] for size in lines] for lines in sizes]


def joined(lines):
    return [token for line in lines for token in line]


def place(document_tokens, segment):
    """Where a segment starts in a document, -1 if it is no stretch of it."""
    text, part = (" ".join(map(str, tokens)) for tokens in (document_tokens, segment))
    match = re.search(rf"(?<!\d){part}(?!\d)", text)
    return -1 if match is None else text[: match.start()].count(" ")


@HYPOTHESIS
@given(sizes, st.integers(5, 30), seeds)
def test_sop_label_0_is_the_original_order_and_every_document_is_used(lengths, block_size, seed):
    whole = numbered(lengths)
    if all(len(document) == 1 for document in whole):
        with pytest.raises(InputError, match="no order"):
            pairs.make_pairs(whole, "sop", block_size, 0.1, seed)
        return
    found, left_out = pairs.make_pairs(whole, "sop", block_size, 0.1, seed)
    used = set()
    for first, second, label in found:
        [home] = [n for n, document in enumerate(whole) if place(joined(document), first) >= 0]
        text = joined(whole[home])
        if label:
            # The cut takes the later segment's start and the earlier one's end, so that only a part may lie between.
            assert 0 <= place(text, second) <= place(text, first) - len(second)
            starts = {place(text, line) for line in whole[home]}
            assert place(text, second) in starts
        else:
            assert place(text, first + second) >= 0  # what follows, follows
        assert SPECIAL + len(first) + len(second) <= block_size
        used.add(home)
    assert used == {number for number, document in enumerate(whole) if len(document) > 1}
    assert left_out["documents of a single line"] == sum(len(document) == 1 for document in whole)


@HYPOTHESIS
@given(sizes, seeds)
def test_sop_pairs_of_a_large_block_hold_every_line_but_those_left_out(lengths, seed):
    whole = numbered([lines for lines in lengths if len(lines) > 1] or [[1, 1]])
    found, left_out = pairs.make_pairs(whole, "sop", 200, 0.0, seed)
    tokens = sum(len(first) + len(second) for first, second, _ in found)
    assert tokens == sum(map(sum, (map(len, document) for document in whole)))
    assert len(found) == len(whole)
    assert not left_out


def test_sop_swaps_half_of_the_pairs_at_the_size_of_the_program():
    whole = numbered([[random.Random(n).randint(20, 200) for _ in range(40)] for n in range(120)])
    found, _ = pairs.make_pairs(whole, "sop", 512, 0.1, seed=42)
    swapped = sum(label for _, _, label in found) / len(found)
    assert len(found) > 800
    assert abs(swapped - 0.5) < 3 * math.sqrt(0.25 / len(found))
    assert max(SPECIAL + len(first) + len(second) for first, second, _ in found) == 512


def test_the_cut_and_the_lengths_do_not_tell_the_order():
    draw = random.Random(0)
    whole = numbered([[draw.randint(1, 60) for _ in range(draw.randint(2, 60))] for _ in range(2000)])
    starts, ends = ({line[at] for document in whole for line in document} for at in (0, -1))
    found, _ = pairs.make_pairs(whole, "sop", 128, 0.1, seed=1)
    for seen in (
        lambda pair: pair.first[0] in starts,
        lambda pair: pair.first[-1] in ends,
        lambda pair: pair.second[0] in starts,
        lambda pair: pair.second[-1] in ends,
        lambda pair: len(pair.first) > len(pair.second),
    ):
        by_label = [[seen(pair) for pair in found if pair.label == label] for label in (0, 1)]
        share = np.mean(np.concatenate(by_label))
        error = math.sqrt(share * (1 - share) * sum(1 / len(of) for of in by_label))
        assert abs(np.mean(by_label[0]) - np.mean(by_label[1])) <= 3 * error


def test_what_nsp_draws_elsewhere_ends_with_a_document_only_if_it_must():
    whole = numbered([[3] * 10, [3] * 10, [2]])
    segments = [pairs._elsewhere(whole, 0, 12, random.Random(seed)) for seed in range(200)]
    assert {len(segment) for segment in segments} == {12, 2}
    assert {segment[0] for segment in segments if len(segment) == 12} == {30 + 3 * line for line in range(7)}


@HYPOTHESIS
@given(sizes, st.integers(5, 30), seeds)
def test_nsp_label_1_comes_from_another_document_and_label_0_follows(lengths, block_size, seed):
    whole = numbered(lengths)
    found, _ = pairs.make_pairs(whole, "nsp", block_size, 0.1, seed)
    firsts = set()
    for first, second, label in found:
        homes = [{n for n, d in enumerate(whole) if place(joined(d), part) >= 0} for part in (first, second)]
        assert [len(home) for home in homes] == [1, 1]
        assert (homes[0] != homes[1]) == bool(label)
        if not label:
            [home] = homes[0]
            assert place(joined(whole[home]), first + second) >= 0
        firsts |= homes[0]
        assert SPECIAL + len(first) + len(second) <= block_size
    assert firsts == set(range(len(whole)))


def test_nsp_gives_unused_lines_back_and_draws_from_every_other_document():
    whole = numbered([[1] * 2000] * 5)
    found, _ = pairs.make_pairs(whole, "nsp", 40, 0.1, seed=0)
    owner = {token: n for n, document in enumerate(whole) for line in document for token in line}
    seen = Counter((owner[pair.first[0]], owner[pair.second[0]]) for pair in found if pair.label)
    assert set(seen) == {(one, other) for one in range(5) for other in range(5) if one != other}  # the first one too
    continued = {token for first, second, label in found for token in first + (second if not label else [])}
    assert continued == set(owner)  # no line is lost where B came from elsewhere
    share = np.mean([pair.label for pair in found])
    assert abs(share - 0.5) < 3 * math.sqrt(0.25 / len(found))


def test_nsp_needs_another_document():
    with pytest.raises(InputError, match="2 documents"):
        pairs.make_pairs(numbered([[3, 3]]), "nsp", 20, 0.1, seed=0)


@HYPOTHESIS
@given(st.integers(1, 30), st.integers(1, 30), st.integers(2, 30))
def test_segments_are_shortened_from_the_longer_one_where_they_do_not_meet(first, second, room):
    a, b = list(range(first)), list(range(100, 100 + second))
    expected_a, expected_b = list(a), list(b)
    while len(expected_a) + len(expected_b) > room:
        longer = expected_a if len(expected_a) > len(expected_b) else expected_b
        longer.pop(0 if longer is expected_a else -1)
    assert pairs._fit(a, b, room) == (expected_a, expected_b)


def test_pairs_follow_from_the_seed_and_duplicates_differ(tokenizer):
    train = [[f"Sentence number {n} of {d} is here." for n in range(12)] for d in ("a list", "a tuple", "a tree")]
    sizes = {"block_size": 40, "short_probability": 0.1}
    one, held_out, _ = pairs.make_datasets(train, train, tokenizer, "sop", **sizes, duplicates=2, seed=1)
    again, _, _ = pairs.make_datasets(train, train, tokenizer, "sop", **sizes, duplicates=2, seed=1)
    other, _, _ = pairs.make_datasets(train, train, tokenizer, "sop", **sizes, duplicates=2, seed=2)
    assert one.sha256 == again.sha256 != other.sha256
    once, _, _ = pairs.make_datasets(train, train, tokenizer, "sop", **sizes, duplicates=1, seed=1)
    assert [item["ids"].tolist() for item in map(one.__getitem__, range(len(once)))] == [
        item["ids"].tolist() for item in map(once.__getitem__, range(len(once)))
    ]
    assert len(one) > len(once)
    assert held_out.epoch == "validation"


def test_special_tokens_written_out_in_the_text_are_text(tokenizer):
    [[line]] = pairs.tokenize([["a [SEP] of [MASK] and [CLS]"]], tokenizer)
    assert set(line).isdisjoint({tokenizer.sep_token_id, tokenizer.mask_token_id, tokenizer.cls_token_id})
    assert pairs.tokenize([["漢", "a list"], ["漢 漢"]], tokenizer) == pairs.tokenize([["a list"]], tokenizer)


@pytest.mark.parametrize(
    "read",
    [
        lambda letters: pairs.tokenize([["abba"], ["a b"]], letters),
        lambda letters: lambdas.export(SimpleNamespace(config=BertConfig()), letters, ["a b"]),
    ],
    ids=["pairs", "lambdas"],
)
def test_characters_that_a_tokenizer_has_no_token_for_are_one_line(read):
    inner = Tokenizer(WordLevel({letter: number for number, letter in enumerate("abc")}, unk_token="[UNK]"))
    inner.pre_tokenizer = Split(Regex("."), "isolated")
    letters = PreTrainedTokenizerFast(tokenizer_object=inner, name_or_path="models/letters")
    with pytest.raises(InputError, match=r"models/letters cannot read all of the text \(.*UNK.*\); leave out"):
        read(letters)


# --- batches and scores ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small(tokenizer):
    """50 short documents as pairs of each task: stretches of a circle of words, so that a neighbour tells a word."""
    words = sorted(token for token in tokenizer.get_vocab() if token.isalpha() and len(token) > 4)[:60]
    random.Random(0).shuffle(words)
    circle = words * 2
    texts = [[" ".join(circle[n + 4 * line : n + 4 * line + 4]) for line in range(4)] for n in range(50)]
    return {
        task: pairs.make_datasets(
            texts, texts, tokenizer, task, block_size=32, short_probability=0.0, duplicates=1, seed=0
        )[0]
        for task in ("nsp", "sop")
    }


def test_batches_mask_15_percent_80_10_10_and_no_special_token(tokenizer, small):
    collate = pretraining.PairCollator(tokenizer, seed=3)
    dataset = small["sop"]
    counts = Counter()
    for epoch in range(40):
        dataset.epoch = epoch
        batch = collate([dataset[index] for index in range(len(dataset))])
        for index in range(len(dataset)):
            item = dataset[index]
            ids, length = torch.from_numpy(item["ids"].astype(np.int64)), len(item["ids"])
            labels, inputs = batch["labels"][index], batch["input_ids"][index]
            chosen = labels != pretraining.IGNORED
            assert chosen.any()
            assert not chosen[length:].any()
            assert torch.equal(labels[:length][chosen[:length]], ids[chosen[:length]])
            assert torch.equal(inputs[:length][~chosen[:length]], ids[~chosen[:length]])
            assert not torch.isin(ids[chosen[:length]], torch.tensor(tokenizer.all_special_ids)).any()
            assert batch["token_type_ids"][index, :length].tolist() == [0] * item["first"] + [1] * (
                length - item["first"]
            )
            assert batch["attention_mask"][index].tolist() == [1] * length + [0] * (len(labels) - length)
            seen = inputs[:length][chosen[:length]]
            counts["ordinary"] += length - 3
            counts["chosen"] += int(chosen.sum())
            counts["mask"] += int((seen == tokenizer.mask_token_id).sum())
            counts["same"] += int((seen == ids[chosen[:length]]).sum())
    dataset.epoch = 0
    chosen = counts["chosen"]
    # One at least is masked in each pair, which raises the share in pairs this short.
    assert 0.15 - 0.005 < chosen / counts["ordinary"] < 0.17
    for kind, share in (("mask", 0.8), ("same", 0.1)):
        assert abs(counts[kind] / chosen - share) < 4 * math.sqrt(share * (1 - share) / chosen)


def test_masks_follow_from_seed_epoch_and_pair_not_from_the_batch(tokenizer, small):
    collate = pretraining.PairCollator(tokenizer, seed=3)
    dataset = small["nsp"]
    together = collate([dataset[index] for index in range(8)])
    torch.manual_seed(99)
    alone = collate([dataset[5]])
    length = alone["labels"].shape[1]
    assert torch.equal(together["labels"][5, :length], alone["labels"][0])
    assert torch.equal(together["input_ids"][5, :length], alone["input_ids"][0])
    dataset.epoch = 1
    assert not torch.equal(collate([dataset[5]])["labels"], alone["labels"])
    dataset.epoch = 0
    assert not torch.equal(pretraining.PairCollator(tokenizer, seed=4)([dataset[5]])["labels"], alone["labels"])


def test_scores_are_means_over_tokens_and_pairs_whatever_the_batches():
    generator = torch.Generator().manual_seed(0)
    logits, pair_logits = torch.randn(6, 5, 11, generator=generator), torch.randn(6, 2, generator=generator)
    labels = torch.randint(0, 11, (6, 5), generator=generator)
    labels[torch.rand(6, 5, generator=generator) < 0.6] = pretraining.IGNORED
    labels[2] = pretraining.IGNORED
    pair_labels = torch.randint(0, 2, (6,), generator=generator)
    masked = torch.rand(6, 5, generator=generator) < 0.7
    parts = [
        pretraining.reduce_logits(
            (logits[part], pair_logits[part], None), (labels[part], pair_labels[part]), masked[part]
        )
        for part in (slice(0, 1), slice(1, 6))
    ]
    found = pretraining.scores(
        SimpleNamespace(predictions=torch.cat(parts).numpy(), label_ids=(labels.numpy(), pair_labels.numpy()))
    )
    log_p = logits.double().log_softmax(-1)
    losses = {(i, j): -float(log_p[i, j, t]) for i in range(6) for j, t in enumerate(labels[i].tolist()) if t >= 0}
    for key, kept in (("mlm_loss", (True, False)), ("mask_loss", (True,)), ("visible_loss", (False,))):
        expected = np.mean([loss for place, loss in losses.items() if bool(masked[place]) in kept])
        assert found[key] == pytest.approx(expected, rel=1e-6), key
    assert found["perplexity"] == math.exp(found["mlm_loss"])
    assert found["pair_loss"] == pytest.approx(float(F.cross_entropy(pair_logits, pair_labels)), rel=1e-6)
    assert found["pair_accuracy"] == pytest.approx(float((pair_logits.argmax(1) == pair_labels).float().mean()))
    assert found["pair_majority"] >= 0.5


# --- training --------------------------------------------------------------------------------------------------

SHAPE = Shape(
    layers=2,
    width=32,
    intermediate=64,
    heads=2,
    initializer_range=0.05,
    key_depth=4,
    intra_depth=2,
    local_context=5,
    position_initializer_range=0.02,
    query_scale=0.1,
)


def trainer_of(kind, tokenizer, dataset, folder, task="nsp", seed=7, callbacks=(), **options):
    model = models.new_model(kind, SHAPE, tokenizer, 32, task, seed)
    given = {
        "output_dir": str(folder), "max_steps": 6, "per_device_train_batch_size": 8, "learning_rate": 0.01,
        "save_steps": 2, "logging_steps": 2, "seed": seed, "use_cpu": True, "disable_tqdm": True, "report_to": "none",
        "dataloader_pin_memory": False, **options,
    }  # fmt: skip
    return pretraining.PairTrainer(
        model, TrainingArguments(**given), tokenizer, task, dataset, dataset, callbacks=callbacks
    )


@pytest.mark.parametrize(("kind", "task"), [("lambdabert", "sop"), ("lambdabert", "nsp")])
def test_two_layers_learn_50_short_documents_by_heart(kind, task, tokenizer, small, tmp_path):
    steps = 200
    trainer = trainer_of(
        kind, tokenizer, small[task], tmp_path, task, max_steps=steps, per_device_train_batch_size=25,
        save_strategy="no", logging_steps=steps, learning_rate=0.01, warmup_steps=20,
    )  # fmt: skip
    before = pretraining.evaluate(trainer, task)
    trainer.train()
    after = pretraining.evaluate(trainer, task)
    assert after["mlm_loss"] < before["mlm_loss"] / 2
    assert after["pair_accuracy"] > 0.9
    assert after["perplexity"] == math.exp(after["mlm_loss"])


class Stop(TrainerCallback):
    """Ends a training as a kill would, after a step."""

    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            raise KeyboardInterrupt


def weights_of(trainer):
    return {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}


def differing(one, other):
    return [name for name in one if not torch.equal(one[name], other[name])]


@pytest.mark.parametrize("kind", ["bert", "lambdabert"])
def test_a_head_on_the_labels_alone_gives_the_same_loss_and_gradients(kind, tokenizer, small):
    model = models.new_model(kind, SHAPE, tokenizer, 32, "nsp", 0).train()
    dataset = small["nsp"]
    batch = pretraining.PairCollator(tokenizer)([dataset[index] for index in range(6)])
    found = {}
    for name in ("whole", "labels"):
        model.zero_grad()
        if name == "whole":
            outputs = model(**batch)
        else:
            with pretraining.head_on_labels(model, batch) as given:
                outputs = model(**given)
        outputs.loss.backward()
        found[name] = {key: parameter.grad.clone() for key, parameter in model.named_parameters()}
        found[name]["loss"] = outputs.loss.detach()
    assert outputs.prediction_logits.shape[:2] == (1, int((batch["labels"] != pretraining.IGNORED).sum()))
    assert not model.cls.predictions._forward_pre_hooks  # evaluation sees every token again
    torch.testing.assert_close(found["labels"], found["whole"], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("kind", ["bert", "lambdabert"])
def test_a_killed_training_continues_to_the_same_weights_and_log(kind, tokenizer, small, tmp_path):
    # 7 batches an epoch: the kill and the last step lie in different ones.
    options = {"max_steps": 12, "save_steps": 4, "logging_steps": 4}
    whole = trainer_of(kind, tokenizer, small["nsp"], tmp_path / "whole", **options)
    whole.train()
    killed = trainer_of(kind, tokenizer, small["nsp"], tmp_path / "killed", callbacks=[Stop(10)], **options)
    with pytest.raises(KeyboardInterrupt):
        killed.train()
    (tmp_path / "killed" / "checkpoint-9").mkdir()  # one that was being written
    checkpoint = pretraining.newest_checkpoint(tmp_path / "killed")
    assert checkpoint.name == "checkpoint-8"
    assert differing(weights_of(whole), weights_of(killed))  # the positive control
    torch.manual_seed(1234)
    again = trainer_of(kind, tokenizer, small["nsp"], tmp_path / "killed", **options)
    again.train(resume_from_checkpoint=str(checkpoint))
    assert differing(weights_of(whole), weights_of(again)) == []
    assert study.history(again) == study.history(whole)
    assert {"loss", "mlm_loss", "pair_loss"} <= study.history(whole)[0].keys()


def test_both_models_see_the_same_batches(tokenizer, small, tmp_path):
    seen = {}
    for kind in ("bert", "lambdabert"):
        trainer = trainer_of(kind, tokenizer, small["sop"], tmp_path / kind, "sop")
        seen[kind] = [batch["input_ids"] for batch in trainer.get_train_dataloader()]
    assert len(seen["bert"]) > 3
    assert all(torch.equal(one, other) for one, other in zip(*seen.values(), strict=True))


def test_the_logged_losses_add_up_when_batches_are_accumulated(tokenizer, small, tmp_path):
    logs = {}
    for size, parts in ((16, 1), (8, 2)):
        trainer = trainer_of(
            "bert", tokenizer, small["nsp"], tmp_path / str(size), max_steps=1, logging_steps=1, save_strategy="no",
            per_device_train_batch_size=size, gradient_accumulation_steps=parts,
        )  # fmt: skip
        trainer.train()
        logs[parts] = trainer.state.log_history[0]
        assert logs[parts]["loss"] == pytest.approx(logs[parts]["mlm_loss"] + logs[parts]["pair_loss"])
    assert logs[2]["pair_loss"] == pytest.approx(logs[1]["pair_loss"], rel=1e-5)
    assert logs[2]["loss"] == pytest.approx(logs[1]["loss"], rel=0.1)  # a mean over batches of unequal numbers of masks


def test_a_folder_is_held_by_one_and_continued_by_its_own_recipe_only(tmp_path, monkeypatch):
    monkeypatch.setattr(pretraining, "PATIENCE", 0.1)
    with (
        pretraining.locked(tmp_path),
        pytest.raises(InputError, match="another process is at work"),
        pretraining.locked(tmp_path),
    ):
        pass
    pretraining.check_recipe(tmp_path, {"seed": 1, "task": "nsp"})
    pretraining.check_recipe(tmp_path, {"seed": 2, "task": "nsp"})  # nothing was trained yet
    (tmp_path / "checkpoint-3").mkdir()
    (tmp_path / "checkpoint-3" / "trainer_state.json").write_text('{"global_step": 3}')
    pretraining.check_recipe(tmp_path, {"seed": 2, "task": "nsp"})
    with pytest.raises(InputError, match="other seed, task"):
        pretraining.check_recipe(tmp_path, {"seed": 3, "task": "sop"})


def test_a_model_without_a_head_for_pairs_is_refused():
    from transformers import BertForMaskedLM

    config = BertConfig(vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    with pytest.raises(InputError, match="no head for pairs"):
        pretraining.pair_label(BertForMaskedLM(config), "nsp")
    assert pretraining.pair_label(BertForPreTraining(config), "sop") == "next_sentence_label"


@pytest.mark.parametrize("task", ["nsp", "sop"])
def test_a_lambdabert_answers_the_question_it_was_made_for(task, tokenizer):
    model = models.new_model("lambdabert", SHAPE, tokenizer, 32, task, 0)
    assert pretraining.pair_label(model, task) == {"nsp": "next_sentence_label", "sop": "sentence_order_label"}[task]
    with pytest.raises(InputError, match="pair_objective"):
        pretraining.pair_label(model, "nsp" if task == "sop" else "sop")


# --- the comparison --------------------------------------------------------------------------------------------


def test_the_two_models_of_the_study_have_the_same_size(tokenizer):
    sizes = [
        models.new_model(kind, SETTINGS.shape, tokenizer, 128, "nsp", 0).num_parameters()
        for kind in ("bert", "lambdabert")
    ]
    assert abs(sizes[1] / sizes[0] - 1) < 0.01
    assert max(sizes) * 2 < 5e6  # bytes, in half precision


def mixing_share(kind, shape, tokenizer, dataset):
    """The share that attention's or the lambda layer's output has in its sum with the stream, in the first block."""
    model = models.new_model(kind, shape, tokenizer, 64, "nsp", 0).train()
    seen = {}
    block = model.base_model.encoder.layer[0]
    block.register_forward_pre_hook(lambda module, given: seen.update(stream=given[0]))
    block.attention.output.dense.register_forward_hook(lambda module, given, found: seen.update(added=found))
    batch = pretraining.PairCollator(tokenizer)([dataset[index] for index in range(8)])
    with torch.no_grad():
        model(**batch)
    real = batch["attention_mask"].bool()
    stream, added = seen["stream"][real], seen["added"][real]
    return float(added.var(0).sum() / (stream + added).var(0).sum())


def test_a_new_lambda_layer_leaves_the_stream_alone_as_new_attention_does(tokenizer, small):
    shares = {kind: mixing_share(kind, SETTINGS.shape, tokenizer, small["nsp"]) for kind in ("bert", "lambdabert")}
    assert max(shares.values()) < 0.1, shares
    original = replace(SETTINGS.shape, position_initializer_range=1.0, query_scale=1.0)
    assert mixing_share("lambdabert", original, tokenizer, small["nsp"]) > 0.9  # the positive control


def test_the_shipped_configuration_is_that_of_the_study(tokenizer):
    shipped = AutoConfig.from_pretrained(STUDY / "small.json").to_dict()
    own = models.configuration("lambdabert", SETTINGS.shape, tokenizer, SETTINGS.pairs.block_size, "nsp").to_dict()
    del shipped["_name_or_path"], own["_name_or_path"]
    assert shipped == own


def test_the_guess_without_context_is_judged_on_the_trainers_own_masks(tokenizer, small, tmp_path):
    settings = replace(SETTINGS, pretrain=replace(SETTINGS.pretrain, batch=8, masked=0.3, steps=1))
    trainer = study.new_trainer(settings, "bert", tokenizer, small["nsp"], small["nsp"], tmp_path)
    theirs = [batch["labels"] for batch in trainer.get_eval_dataloader()]
    collate = study.collator(settings, tokenizer)
    ours = [batch["labels"] for batch in comparison.batches(collate, small["nsp"], 64)]
    assert all(torch.equal(one, other) for one, other in zip(theirs, ours, strict=True))
    assert pretraining.evaluate(trainer, "nsp")["predicted_tokens"] == sum(
        int((labels != pretraining.IGNORED).sum()) for labels in ours
    )


def test_memory_kept_for_the_backward_pass_is_counted_once():
    class Twice(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.cls = SimpleNamespace(predictions=torch.nn.Identity())
            self.weight = torch.nn.Parameter(torch.ones(10, 10))

        def forward(self, x, labels):
            y = x @ self.weight  # keeps x (and the weight, which is not counted)
            return SimpleNamespace(loss=(y * y.view(-1, 10)).sum())  # keeps y, once

    batch = {"x": torch.ones(5, 10), "labels": torch.zeros(1, 1)}
    assert comparison.kept_for_backward(Twice(), batch) == (50 + 50) * 4


def test_the_best_guess_without_context_is_bayes_rule_on_how_tokens_are_masked():
    tokenizer = type("Five", (), {"all_special_ids": [0, 4], "mask_token_id": 4, "__len__": lambda self: 5})()
    train = SimpleNamespace(ids=np.array([0, 1, 1, 1, 2, 4, 4], dtype=np.int32))
    p = np.array([1, 4, 2, 1, 1]) / 9  # 4 words seen, and one added to each of 5
    labels = torch.tensor([[1, 1, -100, 2], [3, -100, 1, 2]])
    seen = torch.tensor([[4, 1, 3, 3], [4, 1, 2, 4]])
    joint = np.zeros((5, 5))  # of what was there and what is seen
    for there in range(5):
        joint[there, 4] += 0.8 * p[there]
        joint[there, there] += 0.1 * p[there]
        joint[there] += 0.1 * p[there] / 5
    joint[:, 4] = 0.8 * p  # what a mask drawn at random adds is left out
    losses = {}
    for label, token in zip(labels.flatten().tolist(), seen.flatten().tolist(), strict=True):
        if label >= 0:
            chance = joint[label, token] / joint[:, token].sum()
            losses.setdefault(token == 4, []).append(-math.log(chance))
    whole = {"labels": labels, "input_ids": seen}
    rows = [{"labels": label[None], "input_ids": ids[None]} for label, ids in zip(labels, seen, strict=True)]
    for batches in ([whole], rows):
        found = comparison.losses_without_context(train, batches, tokenizer)
        assert found["mask_loss"] == pytest.approx(np.mean(losses[True]))
        assert found["visible_loss"] == pytest.approx(np.mean(losses[False]))
        assert found["mlm_loss"] == pytest.approx(np.mean(losses[True] + losses[False]))
        assert found["perplexity"] == pytest.approx(math.exp(found["mlm_loss"]))


# --- the program -----------------------------------------------------------------------------------------------

WIKITEXT = "".join(
    f" = Title {n} = \n \n The number {n} is a value . \n A function returns the value {n} . \n Then the {n} ends . \n"
    for n in range(12)
)


@pytest.fixture(scope="module")
def toy(tmp_path_factory, tokenizer):
    """A folder with a text, a small tokenizer and a configuration of each kind."""
    folder = tmp_path_factory.mktemp("toy")
    (folder / "wiki.raw").write_text(WIKITEXT)
    tokenizer.save_pretrained(folder / "tokenizer")
    for kind in ("bert", "lambdabert"):
        models.configuration(kind, SHAPE, tokenizer, 64, "nsp").save_pretrained(folder / kind)
    return folder


def program(folder, monkeypatch, *arguments):
    """Run `run_language_modeling.py` in this process, with the tokenizer of a folder; the exit code."""
    import run_language_modeling

    from linear_shortcuts.settings.program import run

    tokenizer = ["--tokenizer_name", str(folder / "tokenizer")] if folder else []
    command = ["run_language_modeling.py", *tokenizer, "--use_cpu", "True"]
    monkeypatch.setattr(sys, "argv", [*command, *map(str, arguments)])
    try:
        run(run_language_modeling.main)
    except SystemExit as end:
        return end.code
    return 0


def common(folder, output, kind="lambdabert"):
    return (
        "--config_name", folder / kind, "--train_data_file", folder / "wiki.raw", "--block_size", 32,
        "--output_dir", output, "--per_device_train_batch_size", 4,
    )  # fmt: skip


def results_of(folder):
    lines = (folder / "eval_results_lm.txt").read_text().splitlines()
    return dict(line.split(" = ") for line in lines)


@pytest.mark.parametrize(("kind", "task"), [("lambdabert", "sop"), ("bert", "nsp")])
def test_the_program_trains_evaluates_and_saves(kind, task, toy, tmp_path, monkeypatch, capsys):
    given = (*common(toy, tmp_path, kind), *(["--sop"] if task == "sop" else []))
    assert program(toy, monkeypatch, "--do_train", "--do_eval", "--max_steps", 4, "--save_steps", 2, *given) == 0
    found = results_of(tmp_path)
    assert found["task"] == task
    assert float(found["perplexity"]) == math.exp(float(found["mlm_loss"]))
    assert {"pair_loss", "pair_accuracy"} <= found.keys()
    assert capsys.readouterr().out.count("perplexity = ") == 1
    # What was saved is a model like any other, and says the same when evaluated alone.
    alone = tmp_path / "alone"
    given = ("--model_name_or_path", tmp_path, "--train_data_file", toy / "wiki.raw", "--block_size", 32)
    sop = ["--sop"] if task == "sop" else []
    assert program(toy, monkeypatch, "--do_eval", "--output_dir", alone, *given, *sop) == 0
    assert results_of(alone) == found
    if kind == "lambdabert":  # BERT's configuration does not say for which question its head is
        capsys.readouterr()
        assert program(toy, monkeypatch, "--do_eval", "--output_dir", alone, *given) == 2
        assert "was trained for SOP, but the task is NSP; give --sop" in capsys.readouterr().err
        assert results_of(alone) == found


def test_the_program_trains_a_tokenizer_where_none_is_named(toy, tmp_path, monkeypatch, capsys):
    """The original's own command: no tokenizer is named, the text is WikiText."""
    lines = WIKITEXT.splitlines(keepends=True)
    hub_folder(tmp_path / "hub", "wikitext-2-raw-v1", {"train": [lines], "validation": [lines[:12]]})
    given = ("--config_name", toy / "lambdabert", "--dataset_name", tmp_path / "hub", "--block_size", 32, "--sop")
    train = ("--do_train", "--max_steps", 2, "--output_dir", tmp_path / "out", "--per_device_train_batch_size", 4)
    assert program(None, monkeypatch, *given, *train) == 0
    assert "tokenizer: " in capsys.readouterr().out
    own = AutoTokenizer.from_pretrained(tmp_path / "out")
    words = {word.lower() for line in lines for word in line.split()} - {"="}
    assert own(" ".join(sorted(words)))["input_ids"].count(own.unk_token_id) == 0
    assert own("The value")["input_ids"][0] == own.cls_token_id
    weights = (tmp_path / "out" / "model.safetensors").read_bytes()
    assert program(None, monkeypatch, *given, *train) == 0  # again: the same tokenizer, and nothing left to do
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == weights
    assert program(None, monkeypatch, *given, *train, "--train_data_file", toy / "wiki.raw") == 2
    assert "--dataset_name has its own files" in capsys.readouterr().err


def test_the_program_continues_with_the_same_command_and_from_a_named_checkpoint(toy, tmp_path, monkeypatch, capsys):
    def weights(folder):
        return (folder / "model.safetensors").read_bytes()

    given = ("--do_train", "--max_steps", 6, "--save_steps", 2, *common(toy, tmp_path / "whole"))
    assert program(toy, monkeypatch, *given) == 0
    half = tmp_path / "half"
    shutil.copytree(tmp_path / "whole", half)
    shutil.rmtree(half / "checkpoint-6")
    (half / "model.safetensors").unlink()
    capsys.readouterr()
    assert program(toy, monkeypatch, *given[:-4], "--output_dir", half, *given[-2:]) == 0
    assert "continues from" in capsys.readouterr().out
    assert weights(half) == weights(tmp_path / "whole")
    named = tmp_path / "named"
    start = ("--model_name_or_path", half / "checkpoint-4", *common(toy, named)[2:])
    assert program(toy, monkeypatch, "--do_train", "--max_steps", 6, "--save_steps", 2, *start) == 0
    assert "checkpoint-4" in capsys.readouterr().out
    assert weights(named) == weights(tmp_path / "whole")
    assert program(toy, monkeypatch, *given[:-4], "--output_dir", half, *given[-2:], "--sop") == 2
    assert "holds checkpoints of another run (other pairs, switches, task)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((), "nothing to do"),
        (("--do_train", "--do_eval", "--prediction_loss_only", "True"), "--prediction_loss_only"),
        (("--do_eval",), "--do_eval alone needs a trained model"),
        (("--do_train", "--per_device_train_batch_size", "0"), "--per_device_train_batch_size is 0"),
        (("--do_train", "--per_device_eval_batch_size", "0"), "--per_device_eval_batch_size is 0"),
        (("--do_train", "--gradient_accumulation_steps", "0"), "--gradient_accumulation_steps is 0"),
        (
            ("--do_train", "--dataloader_num_workers", "1", "--dataloader_persistent_workers", "True"),
            "mask the same tokens in every epoch",
        ),
        (
            ("--do_train", "--train_data_file", "missing.txt", "--resume_from_checkpoint", "nowhere"),
            "nowhere is no checkpoint",
        ),
        (("--do_train", "--train_data_file", "missing.txt"), "missing.txt does not exist"),
        (("--do_train", "--block_size", "65"), "--block_size is 65 but max_position_embeddings is 64"),
        (("--do_train", "--block_size", "4"), "block_size is 4"),
        (("--do_train", "--mlm_probability", "0"), "--mlm_probability is 0"),
        (("--do_train", "--duplicates", "0"), "--duplicates is 0"),
        (("--do_train", "--config_name", "nowhere"), "cannot load nowhere"),
        (("--do_train", "--tokenizer_name", "nowhere"), "cannot load nowhere"),
        (("--do_train", "--model_name_or_path", "nowhere"), "leave out --config_name"),
        (("--do_train", "--learning_rate", "fast"), "--learning_rate"),
        (("--do_train", "--optim", "fast"), "fast"),
        (("--do_train", "--resume_from_checkpoint", "nowhere"), "nowhere"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(arguments, problem, toy, tmp_path, monkeypatch, capsys):
    assert program(toy, monkeypatch, *common(toy, tmp_path), *arguments) == 2
    error = capsys.readouterr().err
    assert problem in error
    assert "Traceback" not in error
    assert error.strip().splitlines()[-1].startswith("run_language_modeling.py: error: ")


def test_an_impossible_configuration_is_one_line(toy, tmp_path, monkeypatch, capsys):
    config = json.loads((toy / "lambdabert" / "config.json").read_text())
    for field, value in (("position_initializer_range", -1.0), ("hidden_size", 0), ("key_depth", "a")):
        shutil.rmtree(tmp_path / "odd", ignore_errors=True)
        shutil.copytree(toy / "lambdabert", tmp_path / "odd")
        (tmp_path / "odd" / "config.json").write_text(json.dumps({**config, field: value}))
        given = ("--do_train", *common(toy, tmp_path / "out"), "--config_name", tmp_path / "odd")
        assert program(toy, monkeypatch, *given) == 2
        said = capsys.readouterr().err
        assert field in said
        assert "Traceback" not in said


def test_the_start_of_the_weights_is_part_of_the_recipe(toy, tmp_path, monkeypatch, capsys):
    config = json.loads((toy / "lambdabert" / "config.json").read_text())
    given = ("--do_train", "--max_steps", 2, "--save_steps", 1, *common(toy, tmp_path / "out"))
    assert program(toy, monkeypatch, *given) == 0
    shutil.copytree(toy / "lambdabert", tmp_path / "other")
    (tmp_path / "other" / "config.json").write_text(json.dumps({**config, "query_scale_init_value": 0.7}))
    assert program(toy, monkeypatch, *given, "--config_name", tmp_path / "other") == 2
    assert "other switches" in capsys.readouterr().err


def test_a_tokenizer_larger_than_the_model_is_refused(toy, tmp_path, monkeypatch, capsys):
    shutil.copytree(toy / "bert", tmp_path / "narrow")
    config = json.loads((tmp_path / "narrow" / "config.json").read_text())
    (tmp_path / "narrow" / "config.json").write_text(json.dumps({**config, "vocab_size": 50}))
    given = ("--do_train", *common(toy, tmp_path / "out"), "--config_name", tmp_path / "narrow")
    assert program(toy, monkeypatch, *given) == 2
    assert "the tokenizer has 4,096 tokens but vocab_size is 50" in capsys.readouterr().err


# --- the stages ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def short_params(tmp_path_factory, toy):
    """The study's settings for a run of seconds, on the text of `toy`."""
    params = yaml.safe_load((STUDY / "params.yaml").read_text())
    params["text"], params["tokenizer"] = "my-text", str(toy / "tokenizer")
    params["sources"]["my-text"] |= {"train": [str(toy / "wiki.raw")], "validation": None}
    params["pairs"] |= {"block_size": 32, "validation_share": 0.3, "duplicates": 2}
    params["shape"] |= {"layers": 1, "width": 16, "intermediate": 32, "heads": 2, "key_depth": 2, "local_context": 3}
    params["matching"]["steps_per_evaluation"] = 1
    params["pretrain"] |= {"steps": 6, "batch": 4, "warmup_steps": 1, "steps_per_checkpoint": 2}
    path = tmp_path_factory.mktemp("params") / "params.yaml"
    path.write_text(yaml.safe_dump(params))
    return path


def stage(folder, script, params, *arguments, **environment):
    """Run a stage in a process of its own."""
    command = [sys.executable, str(STUDY / script), "--params", str(params), *arguments]
    path = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, **environment}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, env=environment)


def files_of(folder):
    """Every file of the study but timings, by name."""
    root = folder / "studies" / "lambda_bert"
    found = {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}
    return {name: content for name, content in found.items() if not name.startswith("timings")}


def test_the_stages_run_and_a_killed_one_gives_the_same_bytes_in_another_process(
    tmp_path, short_params, monkeypatch, capsys
):
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    monkeypatch.chdir(one)
    for script, *arguments in (
        ("01_prepare_text.py",),
        ("02_pretrain.py", "--model", "bert"),
        ("02_pretrain.py", "--model", "lambdabert"),
        ("03_compare.py",),
        ("10_match_loss.py",),
    ):
        monkeypatch.setattr(sys, "argv", [script, "--params", str(short_params), *arguments])
        runpy.run_path(str(STUDY / script), run_name="__main__")
    printed = capsys.readouterr().out
    assert printed.count("6 steps (from the start)") == 2
    assert re.search(r"\| LambdaBERT \| [\d,]+ \|( [\d.]+ \|){5} [\d.]+ MiB \| [\d,]+ \|", printed)
    first = files_of(one)
    results = json.loads(first["data/my-text/nsp/bert/results.json"])
    rows = json.loads(first["tables/my-text/nsp/pretraining/comparison.json"])
    assert [row["model"] for row in rows] == [comparison.WITHOUT_CONTEXT, "bert", "lambdabert"]
    assert rows[1]["mlm_loss"] == results["mlm_loss"]
    assert json.loads(first["metrics/my-text/nsp/pretraining.json"])["models"] == rows
    early = json.loads(first["data/my-text/nsp/early-lambdabert/results.json"])
    log = json.loads(first["data/my-text/nsp/early-lambdabert/log.json"])
    losses = {line["step"]: line["eval_mask_loss"] for line in log}
    reached = [step for step, loss in losses.items() if loss <= results["mask_loss"]]
    assert early["step"] == (reached[0] if reached else 6)
    # Killed after its last checkpoint, before it was judged: there is nothing left to train.
    lambdabert = one / "studies" / "lambda_bert" / "data" / "my-text" / "nsp" / "lambdabert"
    shutil.rmtree(lambdabert)
    monkeypatch.setattr(sys, "argv", ["02_pretrain.py", "--params", str(short_params), "--model", "lambdabert"])
    runpy.run_path(str(STUDY / "02_pretrain.py"), run_name="__main__")
    assert "6 steps (continued from checkpoint-6)" in capsys.readouterr().out
    assert files_of(one) == first
    # As if it had been killed after its second checkpoint, before DVC's deletion of the out.
    shutil.copytree(one, two)
    shutil.rmtree(two / "studies" / "lambda_bert" / "data" / "my-text" / "nsp" / "lambdabert")
    [work] = (two / "data" / ".work" / "lambda_bert" / "02_pretrain" / "my-text-nsp-lambdabert").glob("*/")
    shutil.rmtree(work / "checkpoint-6")
    again = stage(two, "02_pretrain.py", short_params, "--model", "lambdabert", PYTHONHASHSEED="7", OMP_NUM_THREADS="2")
    assert "6 steps (continued from checkpoint-4)" in again.stdout, again.stderr
    assert [name for name, content in files_of(two).items() if content != first[name]] == []
    assert files_of(two).keys() == first.keys()


def test_a_stage_without_its_input_says_what_to_run(tmp_path, short_params):
    done = stage(tmp_path, "02_pretrain.py", short_params, "--model", "bert")
    assert done.returncode == 2
    assert done.stderr.strip().endswith("pairs.pickle does not exist; run studies/lambda_bert/01_prepare_text.py first")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("text", "wikitxt-2", "did you mean 'wikitext-2'"),
        ("task", "mlm", "task is 'mlm'"),
        ("models", ["bert", "bert"], "name each once"),
        ("models", ["gpt2"], "must be one of"),
        ("models", ["bert"], "lambdabert is missing"),
        ("pairs.block_size", 7, "pairs.block_size is 7"),
        ("shape.heads", 3, "3 heads must divide it"),
        ("shape.local_context", 4, "local_context is 4"),
        ("pretrain.masked", 0, "pretrain.masked is 0"),
        ("pretrain.masked", 1, "pretrain.masked is 1.0; it must be at most 0.9"),
        ("pretrain.learning_rate.lambdabert", 0, "pretrain.learning_rate.lambdabert is 0.0; it must be at least 1e-08"),
        ("shortcuts.beside", ["distilled-bert"], "own and beside have 'distilled-bert' twice; name each"),
        ("distil.learning_rate", 0, "distil.learning_rate is 0.0; it must be at least 1e-08"),
        ("pretrain.learning_rate.bert", "fast", "pretrain.learning_rate.bert is 'fast'"),
        ("pretrain.epochs", 3, "unknown key pretrain.epochs"),
    ],
)
def test_a_wrong_setting_names_key_value_and_mend(key, value, problem, short_params, tmp_path):
    raw = yaml.safe_load(short_params.read_text())
    *parents, last = key.split(".")
    inner = raw
    for parent in parents:
        inner = inner[parent]
    inner[last] = value
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(raw))
    with pytest.raises(InputError, match=re.escape(problem)) as refused:
        read(tmp_path / "params.yaml")
    assert "\n" not in str(refused.value)
