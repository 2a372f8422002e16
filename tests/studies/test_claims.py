"""What the studies' pages say in numbers is what their tracked metrics say.

Phrases are built from the metrics and looked for in the page, so that a rerun that changes a number fails here until
the sentence is mended.
"""

from pathlib import Path

import pytest
from pages import metrics, missing

from character_embeddings import results as character_results
from linear_shortcuts.files.documents import filled

STUDIES = Path(__file__).resolve().parents[2] / "studies"


TRAVELING = metrics("traveling_words/metrics/tiny-gpt2/metrics.json")
SURNAMES = metrics("character_embeddings/metrics/surnames/metrics.json")
MAPS = {"linear": "linear", "affine": "with a constant"}
TARGETS = {"preactivation": "before the ReLU", "hidden": "hidden layer", "logits": "logits"}


def traveling():
    embeddings, nouns, path = (TRAVELING[name] for name in ("embeddings", "nouns", "trajectory"))
    l2, cosine, blocks = embeddings["l2"], embeddings["cosine"], [nouns[f"block_{block}"] for block in (0, 2, 5)]
    shares = [share for found in TRAVELING["share_for_99_percent"].values() for share in found.values()]
    yield f"(mean cosine distance {cosine['original']:.4f}); taking the mean word off does ({cosine['centered']:.2f})"
    yield f"scaled by √d/m = {embeddings['scale']:.1f} words are {l2['scaled']:.1f} from their normalised selves"
    yield f"untouched {l2['original']:.1f}."
    for name in l2:
        yield f"| {name} | {l2[name]:.4g} |"
    yield f"Of our [100 nouns](nouns.txt) {nouns['used']} are one token"
    yield f"the noun in {blocks[0]['value_is_noun']:.0%} of cases, {blocks[0]['sum_is_noun']:.0%} after".replace(
        "%", " %"
    )
    yield f"in block 2 in {blocks[1]['value_is_noun']:.0%} and never after the sum".replace("%", " %")
    yield f"in block 5 in {blocks[2]['value_is_noun']:.0%} and never.".replace("%", " %")
    assert [block["sum_is_noun"] for block in blocks[1:]] == [0, 0]
    assert all(block["key_is_noun"] == 0 for block in blocks)
    yield "No head's nearest key is the noun itself, in any block."
    first, last = (blocks[place]["mean_update_norm"] for place in (0, 2))
    yield f"from a norm of {first:.2f} in block 0 to {last:.1f} in block 5"
    yield f"where words have {embeddings['mean_norm']:.2f}."
    yield f"takes {100 * min(shares):.0f} to {100 * max(shares):.0f} % of them on average"
    yield f"| {path['rank_first']:,} → {path['rank_last']} | −0.11 → 0.03 | {path['cosine_gain_over_mean']:.3f} |"
    yield f"words are {path['word_spacing']:.2f} from their nearest neighbours"


def characters():
    yield f"{SURNAMES['names']:,} names, {SURNAMES['characters']:,} characters"
    yield f"a vocabulary of {SURNAMES['vocabulary']}, {SURNAMES['pairs_train']:,} pairs of context and next character"
    yield f"to train on and {SURNAMES['pairs_validation']:,} for validation"
    for key in ("bigram", "trigram", "four_gram"):  # as published, to the last digit
        yield f"| {SURNAMES[key]:.4f} | {SURNAMES[key]:.4f} |"
    yield f"| network, 3 characters, 3 numbers each | {SURNAMES['parameters']:,} |"
    yield f"| **{SURNAMES['mlp']:.4f}** |"
    for source, called in MAPS.items():
        for target, to in TARGETS.items():
            found = SURNAMES["maps"][f"{source}_{target}"]
            r2 = f"{found['r2']:.3f}".replace("-", "−")
            yield f"| {called} | {to} | {r2} | {found['precision_at_1']:.3f} | {found['loss']:.3f} |"
    between = SURNAMES["mean_distance"]
    yield (
        f"Vowels are {between['vowel_vowel']:.2f} from each other on average and consonants "
        f"{between['consonant_consonant']:.2f}, but vowels are {between['vowel_consonant']:.2f} from consonants."
    )


@pytest.mark.parametrize(("study", "phrases"), [("traveling_words", traveling), ("character_embeddings", characters)])
def test_a_readme_says_what_the_metrics_say(study, phrases):
    assert missing(phrases(), f"{study}/README.md") == []


def test_the_sweep_in_the_readme_is_that_of_the_metrics():
    """One command writes it anew: python studies/character_embeddings/write_results.py"""
    text = (STUDIES / "character_embeddings" / "README.md").read_text(encoding="utf-8")
    found = metrics("character_embeddings/metrics/generated/metrics.json")
    assert filled(text, character_results.parts(found), "README.md") == text
