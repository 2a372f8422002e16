"""What the page of Traveling Words says in numbers is what its tracked metrics say."""

import pytest
from pages import STUDIES, metrics, missing
from scipy.stats import binomtest

from linear_shortcuts.files.documents import filled
from traveling_words import results

TINY, SMOL = (metrics(f"traveling_words/metrics/{name}/metrics.json") for name in results.STUDIED)
PHRASES = metrics("traveling_words/metrics/phrases.json")
DISTANCES = metrics("traveling_words/metrics/smollm2-135m-instruct-q4/distances.json")
PAGE = "traveling_words/README.md"


def test_the_tables_are_made_of_the_metrics():
    """One command writes them anew: python studies/traveling_words/write_results.py"""
    text = (STUDIES / PAGE).read_text(encoding="utf-8")
    made = results.parts(dict(zip(results.STUDIED, (TINY, SMOL), strict=True)), PHRASES, DISTANCES)
    assert filled(text, made, PAGE) == text


def test_two_roads_to_a_phrase_meet():
    """follow_phrases.py, and stages 04 and 05 by the settings of the study."""
    for found, phrase in ((TINY, "To kill two birds with one stone"), (SMOL, "The capital of France is Paris")):
        [row] = [row for row in PHRASES if (row["model"], row["phrase"]) == (found["model"], phrase)]
        path = found["trajectory"]
        assert [row[end]["rank"] for end in ("first", "last")] == [path["rank_first"], path["rank_last"]]
        assert results.gain(row) == pytest.approx(path["cosine_gain_over_mean"], abs=1e-6)
        assert row["last"]["distance"] - row["first"]["distance"] == pytest.approx(path["distance_change"], abs=1e-5)


def sign(count, of):
    """Two-sided sign test, as the page writes it."""
    return f"p = {binomtest(count, of).pvalue:.2g}"


def phrases():
    trained = [row for row in PHRASES if "random" not in row["model"]]
    [random] = [row for row in PHRASES if "random" in row["model"]]
    ends = [(row["first"], row["last"]) for row in trained]
    falls = sum(last["rank"] < first["rank"] for first, last in ends)
    rises = sum(last["cosine"] > first["cosine"] for first, last in ends)
    gains = sum(results.gain(row) > 0 for row in trained)
    shrinks = sum(last["distance"] < first["distance"] for first, last in ends)
    n = len(trained)
    yield f"The rank falls in {falls} of {n} (sign test, {sign(falls, n)}), to 1 in"
    yield f"to 1 in {sum(last['rank'] == 1 for _, last in ends)}, and carries the evidence"
    yield f"The cosine rises in {rises} ({sign(rises, n)}), but more than that to all words in {gains}"
    yield f"all words in {gains} ({sign(gains, n)})"
    yield f"The distance shrinks in {shrinks} and grows in {n - shrinks} ({sign(shrinks, n)})"
    yield f"the state goes from rank {random['first']['rank']:,} to {random['last']['rank']:,}"
    own = [results.gain(row) for row in trained if row["model"] == "smollm2-135m-instruct-q4"]
    yield f"of SmolLM2 {sum(gain > 0 for gain in own)} of {len(own)} gains over the mean are above 0"


def geometry():
    path = TINY["trajectory"]
    yield f"puts states {path['nearest_word_last']:.0f} from *every* word of `tiny-gpt2`"
    yield f"while the phrase's words are {path['word_spacing']:.2f} from their nearest neighbours"
    scaled = [found["embeddings"]["l2"] for found in (TINY, SMOL)]
    scale = [found["embeddings"]["scale"] for found in (TINY, SMOL)]
    yield f"by √d/m = {scale[0]:.1f} words are {scaled[0]['scaled']:.1f} from their normalised selves, untouched"
    yield f"untouched {scaled[0]['original']:.1f}; in SmolLM2, by {scale[1]:.1f}, {scaled[1]['scaled']:.1f} and"
    assert SMOL["embeddings"]["cosine"]["original"] < 1e-12 < TINY["embeddings"]["cosine"]["original"] < 1e-3
    yield f"{scaled[1]['scaled']:.1f} and {scaled[1]['original']:.1f}."


def nouns():
    for found, name in ((TINY, "of `tiny-gpt2`"), (SMOL, "of SmolLM2")):
        yield f"{found['nouns']['used']} {'are one token ' * (found is TINY)}{name}"
    own = results.blocks(TINY["nouns"])
    assert all(row["key_is_noun"] == 0 for row in own.values())
    keys = results.blocks(TINY["nouns"]["different_keys"])
    first, *later = keys.values()
    yield f"({first[0]} to {first[-1]} different nearest keys a head for {TINY['nouns']['used']} nouns)"
    yield f"({min(map(min, later))} to {max(map(max, later))} a head)"
    first, middle, _ = results.blocks(SMOL["nouns"]["different_keys"]).values()
    yield f"({first[0]} to {first[-1]} different ones a head)"
    yield f"for nearly each ({middle[0]} to {middle[-1]})"
    assert max(row["key_is_noun"] for row in results.blocks(SMOL["nouns"]).values()) < 0.02
    assert not SMOL["bias_norms"]
    (least, most), (low, high) = TINY["bias_norms"]["Wq bk"], TINY["bias_norms"]["bq Wk"]
    yield f"the norm of Wq b_k is {least:.3f} to {most:.3f} over the heads probed"
    yield f"that of b_q Wk {low:.2f} to {high:.2f}"


def test_the_page_says_what_the_metrics_say():
    said = [*phrases(), *geometry(), *nouns()]
    assert missing(said, PAGE) == []
