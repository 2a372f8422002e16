"""What the page of LambdaBERT says in numbers is what its tracked metrics say, and what `kept.json` keeps."""

import math

from pages import metrics, missing, percent

PAGE = "lambda_bert/README.md"
PRETRAINING = metrics("lambda_bert/metrics/docstrings/nsp/pretraining.json")
KEPT = metrics("lambda_bert/kept.json")
ROWS = {row["model"]: row for row in PRETRAINING["models"]}


def pretraining():
    guess, bert, own = (ROWS[name] for name in ("without context", "bert", "lambdabert"))
    yield f"Measured on {PRETRAINING['predicted_tokens']:,} tokens to predict and {PRETRAINING['pairs']} pairs of"
    yield f"after {PRETRAINING['steps']:,} steps of {PRETRAINING['batch']} pairs."
    speed = KEPT["speed"]["tokens_per_second"]
    yield f"LambdaBERT at {speed['lambdabert'] / speed['bert']:.2f} times the speed of BERT"
    yield f"LambdaBERT ends {guess['mask_loss'] - own['mask_loss']:.1f} nats below the guess without context, BERT"
    yield f"BERT {guess['mask_loss'] - bert['mask_loss']:.1f} below it"
    shares = [row["pair_accuracy"] for row in (bert, own)]
    z = (shares[0] - shares[1]) / sum(share * (1 - share) / PRETRAINING["pairs"] for share in shares) ** 0.5
    yield f"({shares[0]:.3f} and {shares[1]:.3f} of {PRETRAINING['pairs']} pairs: z = {z:.1f}, p = {two_sided(z):.2g})"
    pairs = KEPT["pairs"]
    yield f"always where a line stands alone ({percent(pairs['other_document']).replace(' ', '')} in all)"
    yield f"({pairs['full_length'][1]:.2f} with one label and {pairs['full_length'][0]:.2f} with the other are of full"


def two_sided(z):
    return math.erfc(abs(z) / math.sqrt(2))


def trials():
    """Trainings by hand, that no stage repeats."""
    other, start = KEPT["other_trainings"], KEPT["start"]
    for row in other:
        cells = [f"{row[key]:.3f}" for key in ("lambdabert", "bert", "without_context")]
        yield f"| {row['text']} | {row['steps']:,} | {' | '.join(cells)} |"
    first = [row["share"].replace("%", "") for row in start]
    yield f"is {first[0]}% of the variance of its sum with the stream"
    yield f"it is {first[3]}% (with the first alone {first[1]}%, with the second {first[2]}%)"


def test_the_page_says_what_the_numbers_say():
    assert missing([*pretraining(), *trials()], PAGE) == []
