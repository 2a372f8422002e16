"""What the pages of Tied embeddings say in numbers is what is kept of its trainings."""

import re

import pytest
from pages import metrics, missing, page, percent, rows
from scipy.stats import ttest_rel

KEPT = "tied_embeddings/full_length"
MAIN = "transformer-small"
TEXT = metrics("tied_embeddings/metrics/text.json")
UNREPEATED = metrics(f"{KEPT}/text_kept.json")  # of trainings on text that were done once, by hand
SIDES = {"tied": "tied", "untied_input": "untied, input", "untied_output": "untied, output"}


def left(experiment, variant, side, pair, file="distances"):
    """What is left of a distance: the mean over seeds of the last one over that of the first."""
    key = (experiment, variant, side, pair)
    own = [row for row in rows(f"{KEPT}/{file}.csv") if tuple(list(row.values())[:4]) == key]
    assert own
    return sum(float(row["end"]) for row in own) / sum(float(row["start"]) for row in own)


def verdict(experiment, question):
    """Estimate, ends of its interval, and p, of a kept verdict."""
    [row] = [
        row for row in rows(f"{KEPT}/verdicts.csv") if row["experiment"] == experiment and question in row["question"]
    ]
    return [float(row[key]) if row[key] else None for key in ("estimate", "low", "high", "p")]


def learnt(experiment, variant):
    key = (experiment, variant, "train-fresh")
    own = [row for row in rows(f"{KEPT}/scores.csv") if (row["experiment"], row["variant"], row["set"]) == key]
    return sum(row["solved"] == "True" for row in own)


def masked_parity():
    """Of the README."""
    outputs = [left(MAIN, "untied", "output", pair) for pair in ("2–3", "0–1")]
    inputs = [left(MAIN, "untied", "input", pair) for pair in ("0–1", "2–3")]
    free = [left(f"{MAIN}-no-decay", "untied", "input", pair) for pair in ("0–1", "2–3")]
    yield f"the output vectors of 2 and 3 become equal ({percent(outputs[0], 1)} of their start is left) and those"
    yield f"of 0 and 1 stay apart ({percent(outputs[1])})"
    yield f"become equal, 0 and 1 stay at {percent(left(MAIN, 'tied', 'tied', '0–1'))}."
    yield f"as published ({percent(inputs[0], 1)} and {percent(inputs[1], 1)} left)"
    yield f"Without decay {percent(free[0])} and {percent(free[1])} are left on average"
    yield f"p = {verdict(MAIN, 'untied inputs left')[3]:.1g})"
    experiments = (MAIN, f"{MAIN}-no-decay", f"{MAIN}-ndh", f"{MAIN}-ydh")
    runs = [sum(learnt(name, variant) for name in experiments) for variant in ("untied", "tied")]
    yield f"untied models learn parity in {runs[0]} of 80 runs and tied ones in {runs[1]}"
    yield f"(permutation within 20 seeds, p = {verdict('all', 'parity learnt')[3]:.2g})"
    yield f"in the main one in {learnt(MAIN, 'untied')} and {learnt(MAIN, 'tied')} of 20"
    yield f"is not so ({detail(MAIN, '2–3 halves first')[0]} seeds against {detail(MAIN, '2–3 halves first')[1]})"
    medium = left("transformer-medium", "untied", "output", "0–1", "medium/distances")
    yield f"with its outputs of different contexts at {percent(medium)} of their start"


def detail(experiment, question):
    """The two counts that a verdict tells."""
    [row] = [
        row for row in rows(f"{KEPT}/verdicts.csv") if row["experiment"] == experiment and question in row["question"]
    ]
    return [int(count) for count in re.findall(r"in (\d+)", row["detail"])]


def claims():
    """Of RESULTS.md, claim by claim."""
    inputs = [left(MAIN, "untied", "input", pair) for pair in ("0–1", "2–3")]
    others = {left(f"{MAIN}-{kind}", "untied", "input", "2–3") for kind in ("ndh", "ydh")}
    assert len({percent(share, 1) for share in others}) == 1
    yield f"in *main* to {percent(inputs[0], 1)} and {percent(inputs[1], 1)}, all 20 seeds; NDH and YDH"
    yield f"NDH and YDH {percent(others.pop(), 1)}."
    yield f"to {percent(left(MAIN, 'untied', 'output', '2–3'), 1)}, all seeds"
    first, second = detail(MAIN, "2–3 halves first")
    yield f"in *main* it halves first in {first} of 20 seeds, the untied output in {second} (sign test, p = 1)"
    first, second = detail(f"{MAIN}-ydh", "2–3 halves first")
    yield f"in YDH {first} and {second} (p = {verdict(f'{MAIN}-ydh', '2–3 halves first')[3]:.2g})"
    for name, kind in (("NDH", "ndh"), ("YDH", "ydh")):
        both = [learnt(f"{MAIN}-{kind}", variant) for variant in ("untied", "tied")]
        p = verdict(f"{MAIN}-{kind}", "parity learnt")[3]
        yield f"{name} {both[0]} and {both[1]} (p = {p:.2g})"
    free = [left(f"{MAIN}-no-decay", "untied", "input", pair) for pair in ("0–1", "2–3")]
    yield f"{percent(free[0])} and {percent(free[1])} of the first distances are left"
    free = [left(f"{MAIN}-no-decay", "untied", "output", pair) for pair in ("2–3", "0–1")]
    yield f"the pair of equal contexts falls to {percent(free[0])} only"
    yield f"from the pair of different contexts ({percent(free[1])})"
    apart = left(MAIN, "untied", "output", "0–1"), left(MAIN, "tied", "tied", "0–1")
    yield f"the pair of different contexts stays at {percent(apart[0])}"
    yield f"({percent(apart[1])} left against {percent(inputs[0], 1)})"
    earlier = [left(name, "untied", "output", "0–1", "earlier_split/distances") for name in ("mlp-small", "lstm-small")]
    yield f"outputs of different contexts stay at {percent(earlier[0])} and {percent(earlier[1])}"
    medium = [
        left("transformer-medium", "untied", side, pair, "medium/distances")
        for side, pair in (("output", "0–1"), ("output", "2–3"), ("input", "0–1"), ("input", "2–3"))
    ]
    yield f"the outputs of the pair that contexts tell apart are at {percent(medium[0])}"
    yield f"of the pair that they do not at {percent(medium[1])}"
    yield f"lie at {percent(medium[2])} and {percent(medium[3])}"


def cloned_words():
    """Of the README."""
    found, first = TEXT["clones"], UNREPEATED["clones_first_distances"]
    odds, log = [found[f"{kind}_log_odds"] for kind in ("tied", "untied")], found["log"]
    for key, called in (("clones", "word and clone, first → last"), ("random", "two different words")):
        cells = [f"{first[side][key]:.2f} → {found[side][key]:.2f}" for side in SIDES]
        yield f"| distance of {called} | {' | '.join(cells)} |"
    shares = " | ".join(f"{found[side]['nearest_is_clone']:.0%}" for side in SIDES)
    yield f"| nearest of all 199 others is the clone (by chance 0.5 %) | {shares} |"
    said = [", ".join(f"{of[key]:.2f}" for key in ("clones", "random")) for of in odds]
    yield f"| log odds between word and clone, two words (nats) | {said[0]} | | {said[1]} |"
    said = [f"{of['nearest_is_clone']:.0%}" for of in odds]
    yield f"| … the least log odds are with the clone | {said[0]} | | {said[1]} |"
    said = [
        ", ".join(f"{log[kind][f'exchange_{of}']:.3f}" for of in ("clones", "words")) for kind in ("tied", "untied")
    ]
    yield f"with another word's (KL, nats) | {said[0]} | {said[1]} | |"
    yield f"are {percent(odds[1]['ratio'])} of those between two words (untied; {percent(odds[0]['ratio'])} tied)"
    early = UNREPEATED["clones_after_200_steps"]
    yield (
        f"loss of {log['tied']['loss']:.3f} nats tied and {log['untied']['loss']:.3f} untied (after 200 steps "
        f"{early['tied']:.3f} and {early['untied']:.3f})"
    )
    yield f"without the {found['coin']:.3f} nats that the coin"


def language_models():
    """Of the README."""
    models = TEXT["language_models"]
    kinds = ("tied", "untied")
    abouts = {
        "tiny-bert": "masked: the two roles are the same",
        "tiny-gpt2": f"causal: the roles agree to {models['tiny-gpt2_tied']['text_agreement']:.2f}",
    }
    for name, about in abouts.items():
        losses = [f"{models[f'{name}_{kind}']['held_out_loss']:.3f}" for kind in kinds]
        losses += [f"{UNREPEATED['seed_1_held_out_loss'][f'{name}_{kind}']:.3f}" for kind in kinds]
        yield f"| `{name}`, {about} | {' | '.join(losses)} |"
    own, masked, both = (models[name] for name in ("tiny-gpt2_untied", "tiny-bert_untied", "tiny-gpt2_tied"))
    yield f"the input role ({own['input_follows_input']:.2f}, the output role {own['input_follows_output']:.2f})"
    yield f"the output role ({own['output_follows_output']:.2f}, the input role {own['output_follows_input']:.2f})"
    yield f"agree to {own['rank_correlation']:.2f} and share {percent(own['shared_neighbors'])} of"
    yield f"Its two matrices agree to {masked['rank_correlation']:.2f}"
    yield f"vectors follow the role to {masked['input_follows_input']:.2f}"
    yield f"the output vectors hardly ({masked['output_follows_output']:.2f})"
    yield f"and the tied ones to {models['tiny-bert_tied']['input_follows_input']:.2f}"
    yield f"the one matrix of the causal model follows it to {both['output_follows_output']:.2f}"
    yield f"and the input role to {both['input_follows_input']:.2f}."
    last, short, pairs = (UNREPEATED[name] for name in ("training_loss", "rows_of_128", "pairs"))
    yield f"by {last['difference']:.2f} nats of training loss ({last['untied']:.2f} against {last['tied']:.2f}"
    yield f"held-out text, {short['untied']:.3f} against {short['tied']:.3f}"
    only, other = pairs["alike as outputs"], pairs["alike as inputs"]
    yield f"at {only['output']:.2f} of the distance of random pairs and input vectors at {only['input']:.2f}"
    yield f"alike as inputs only, {other['output']:.2f} and {other['input']:.2f}"
    yield f"close in both ({pairs['alike in both']['output']:.2f} and {pairs['alike in both']['input']:.2f})"
    sizes = [[models[f"{name}_{kind}"]["parameters"] for kind in kinds] for name in abouts]
    more = " and ".join(percent(untied / tied - 1) for tied, untied in sizes)
    yield f"{more} more parameters than the {' and '.join(f'{tied / 1e6:.2f}' for tied, _ in sizes)} million"


def role(model, one, other):
    """A rank correlation of a model that others trained."""
    [row] = [r for r in rows(f"{KEPT}/trained_models.csv") if (r["model"], r["one"], r["other"]) == (model, one, other)]
    return f"{float(row['correlation']):.2f}"


def text_claims():
    """Of RESULTS.md, claim by claim: experiments on text."""
    found, first, models = TEXT["clones"], UNREPEATED["clones_first_distances"], TEXT["language_models"]
    ends = {
        side: ", two words ".join(f"{first[side][key]:.2f} → {found[side][key]:.2f}" for key in ("clones", "random"))
        for side in SIDES
    }
    odds = {
        kind: f"{found[f'{kind}_log_odds']['clones']:.2f} against {found[f'{kind}_log_odds']['random']:.2f} nats"
        for kind in ("tied", "untied")
    }
    log = found["log"]
    yield f"distance {ends['untied_output']}; log odds {odds['untied']}"
    yield f"{ends['untied_input']}; exchanging moves guesses by {log['untied']['exchange_clones']:.3f}"
    yield f"another word's by {log['untied']['exchange_words']:.3f} nats"
    yield f"{ends['tied']}; log odds {odds['tied']}"
    fewer = (4096 + 100) * 32  # tokens and clones, the width
    yield f"loss {log['tied']['loss']:.3f} tied, {log['untied']['loss']:.3f} untied, with {fewer:,} parameters fewer"
    own, masked, both = (models[name] for name in ("tiny-gpt2_untied", "tiny-bert_untied", "tiny-gpt2_tied"))
    roles = "input role", "output role"
    yield (
        f"roles agree to {own['text_agreement']:.2f} (tokens of `tiny-gpt2`); names, by letter: "
        f"{role('names-gpt2', *roles)}; stories, 512 tokens: {role('stories260k', *roles)}"
    )
    yield f"`tiny-gpt2`: {own['input_follows_input']:.2f}, and the output role {own['input_follows_output']:.2f}"
    outputs = [role("names-gpt2", "output vectors", one) for one in reversed(roles)]
    yield (
        f"`tiny-gpt2`: {own['output_follows_output']:.2f}, and the input role {own['output_follows_input']:.2f}; "
        f"`names-gpt2`: {outputs[0]} and {outputs[1]}"
    )
    inputs = [role("names-gpt2", "input vectors", one) for one in roles]
    yield f"its input vectors follow neither role ({inputs[0]} and {inputs[1]})"
    shipped, stories = models["tiny-gpt2"], [role("stories260k", "vectors", one) for one in reversed(roles)]
    yield (
        f"`tiny-gpt2`: output role {both['output_follows_output']:.2f}, input role {both['input_follows_input']:.2f}; "
        f"the shipped one {shipped['output_follows_output']:.2f} and {shipped['input_follows_input']:.2f}; "
        f"`stories260k` {stories[0]} and {stories[1]}"
    )
    last, short = UNREPEATED["training_loss"], UNREPEATED["rows_of_128"]
    yield f"by {last['difference']:.2f} nats of training loss after 1,500 steps"
    yield f"After 400 steps (rows of 128) held out {short['untied']:.3f} against {short['tied']:.3f}"
    losses = {name: of["held_out_loss"] for name, of in models.items() if isinstance(of, dict)}
    second = UNREPEATED["seed_1_held_out_loss"]
    yield f"held out, {losses['tiny-gpt2_untied']:.3f} against {losses['tiny-gpt2_tied']:.3f} nats tied"
    yield f"(seed 1: {second['tiny-gpt2_untied']:.3f} and {second['tiny-gpt2_tied']:.3f})"
    yield f"held out: {losses['tiny-bert_tied']:.3f} nats tied and {losses['tiny-bert_untied']:.3f} untied with seed 0"
    yield f"{second['tiny-bert_tied']:.3f}, the unigram level, and {second['tiny-bert_untied']:.3f} with seed 1"
    yield (
        f"`tiny-bert`: {masked['rank_correlation']:.2f}; its input vectors follow the role to "
        f"{masked['input_follows_input']:.2f}, its output vectors to {masked['output_follows_output']:.2f}, tied "
        f"{models['tiny-bert_tied']['input_follows_input']:.2f}"
    )
    yield f"follows the counted roles to {models['tiny-bert']['input_follows_input']:.2f}"


PHRASES = [
    ("README.md", masked_parity),
    ("README.md", cloned_words),
    ("README.md", language_models),
    ("RESULTS.md", claims),
    ("RESULTS.md", text_claims),
]


@pytest.mark.parametrize(("name", "phrases"), PHRASES, ids=lambda value: getattr(value, "__name__", None))
def test_the_page_says_what_is_kept(name, phrases):
    assert missing(phrases(), f"tied_embeddings/{name}") == []


def repeated(experiment, what):
    """Untied minus tied over seeds: the mean and its interval."""
    untied, tied = (
        [
            float(row["value"])
            for row in rows(f"{KEPT}/text_seeds.csv")
            if list(row.values())[:2] == [experiment, variant] and row["what"] == what
        ]
        for variant in ("untied", "tied")
    )
    low, high = ttest_rel(untied, tied).confidence_interval()
    return [sum(untied) / len(untied) - sum(tied) / len(tied), low, high]


@pytest.mark.parametrize("name", ["README.md", "RESULTS.md"])
def test_every_interval_is_that_of_a_kept_verdict(name):
    kept = [
        [float(row[key]) for key in ("estimate", "low", "high")] for row in rows(f"{KEPT}/verdicts.csv") if row["low"]
    ]
    kept += [[float(row[key]) for key in ("correlation", "low", "high")] for row in rows(f"{KEPT}/trained_models.csv")]
    asked = {(row["experiment"], row["what"]) for row in rows(f"{KEPT}/text_seeds.csv")}
    kept += [repeated(experiment, what) for experiment, what in asked]
    text = re.sub(r"<!-- made: .*?<!-- end -->", "", page(f"tied_embeddings/{name}"))
    claimed = re.findall(r"([−-]?\d+\.\d+) \[([−-]?\d+\.\d+), ([−-]?\d+\.\d+)\]", text)
    assert len(claimed) >= 3
    for claim in claimed:
        digits = len(claim[0].partition(".")[2])
        said = [float(number.replace("−", "-")) for number in claim]
        assert any([round(value, digits) for value in values] == said for values in kept), claim
