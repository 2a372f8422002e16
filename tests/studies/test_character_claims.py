"""What the page of Character embeddings says in numbers is what its tracked metrics say."""

from pages import STUDIES, metrics, missing

from character_embeddings import results
from linear_shortcuts.files.documents import filled

SURNAMES = metrics("character_embeddings/metrics/surnames/metrics.json")
TABLES = metrics("character_embeddings/metrics/surnames/tables.json")
WEIGHTS_ONLY = metrics("character_embeddings/metrics/surnames/weights_only.json")
PAGE = "character_embeddings/README.md"
MAPS = {"linear": "linear", "affine": "with a constant"}
TARGETS = {"preactivation": "before the ReLU", "hidden": "hidden layer", "logits": "logits"}


def test_the_tables_are_made_of_the_metrics(monkeypatch):
    """One command writes them anew: python studies/character_embeddings/write_results.py"""
    monkeypatch.chdir(STUDIES.parent)
    text = (STUDIES / PAGE).read_text(encoding="utf-8")
    assert filled(text, results.parts(), PAGE) == text


def losses(rows, block_size=3, embedding=3):
    """Validation losses seed by seed."""
    own = [row for row in rows if (row["block_size"], row["embedding"]) == (block_size, embedding)]
    return {row["seed"]: row["validation"] for row in own}


def phrases():
    yield f"{SURNAMES['names']:,} names, {SURNAMES['characters']:,} characters"
    yield f"a vocabulary of {SURNAMES['vocabulary']}, {SURNAMES['pairs_train']:,} pairs of context and next character"
    yield f"to train on and {SURNAMES['pairs_validation']:,} for validation"
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


def seeds():
    seeds, spared = losses(TABLES["sweep"]), losses(WEIGHTS_ONLY)
    assert spared.keys() == seeds.keys()
    ends = [f"{loss:.4f}" for loss in seeds.values()]
    yield f"Three seeds ({', '.join(map(str, seeds))}) end at {', '.join(ends[:-1])} and {ends[-1]}"
    ends = [f"{loss:.4f}" for loss in spared.values()]
    yield f"the same seeds end at {', '.join(ends[:-1])} and {ends[-1]}"
    lower = sorted(seeds[seed] - spared[seed] for seed in seeds)
    assert lower[0] > 0
    yield f"{lower[0]:.3f} to {lower[-1]:.3f} lower"
    yield f"After one epoch the first stands at {TABLES['epochs'][0]['validation']:.3f}, where the publication has"
    means = {(row["block_size"], row["embedding"]): row["validation"] for row in TABLES["sweep_means"]}
    yield f"at 5 characters and 10 numbers ({means[5, 10]:.4f}"
    yield f"ends at {means[1, 10]:.4f}, the bigram at {SURNAMES['bigram']:.4f}"
    yield f"with 3 numbers it ends at {means[1, 3]:.4f}"


def test_the_page_says_what_the_metrics_say():
    assert missing([*phrases(), *seeds()], PAGE) == []
