"""What the page of LambdaBERT says in numbers is what its tracked metrics say, and what `kept.json` keeps."""

import math

from pages import metrics, missing, percent

PAGE = "lambda_bert/README.md"
PRETRAINING = metrics("lambda_bert/metrics/docstrings/nsp/pretraining.json")
FOUND = metrics("lambda_bert/metrics/docstrings/nsp/metrics.json")
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
    yield f"always where a line stands alone ({whole(pairs['other_document'])} in all)"
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


def whole(share):
    return percent(share).replace(" ", "")


def shortcuts():
    found, left = FOUND["shortcuts"], KEPT["distilled"]
    made, control, own, teacher = (
        found[name] for name in ("distilled-lambdabert", "distilled-bert", "lambdabert", "tiny-bert")
    )
    yield f"variance unexplained is {left['bert']:.2f} for attention and {left['lambdabert']:.2f} for lambda layers"
    yield f"({left['teacher']:.2f} nats at a masked token for the teacher)"
    assert made["attention_r2"] > control["attention_r2"] > teacher["attention_r2"]
    yield f"a matrix explains {made['attention_r2']:.2f} of what lambda layers add and {control['attention_r2']:.2f} of"
    yield f"{whole(made['mat_attn_late'])} of the tokens stay, and {whole(control['mat_attn_late'])}."
    yield f"tiny-bert's, a matrix explains {teacher['attention_r2']:.2f}."
    yield f"(r² {made['mat_r2']:.2f} and {control['mat_r2']:.2f})"
    yield f"{made['mat_attn_kl']:.2f} nats with matrices and {made['no_attn_kl']:.2f} without for lambda layers"
    yield f"{control['mat_attn_kl']:.2f} and {control['no_attn_kl']:.2f} for attention."
    yield (
        f"they explain {own['feed_forward_r2']:.2f}, but the distance to the full model (KL) is "
        f"{own['no_ffn_kl']:.1f} nats with nothing in their place and {own['mat_ffn_kl']:.1f} with matrices"
    )
    yield (
        f"where they explain {teacher['feed_forward_r2']:.2f}, it is "
        f"{teacher['no_ffn_kl']:.1f} and {teacher['mat_ffn_kl']:.1f}."
    )
    yield f"validation sentences {whole(KEPT['validation_sentences_also_in_the_train_text'])} also stand in the text"


def accuracies(task, vector, model="trained"):
    """Of the probes of one kind of vector, layer by layer."""
    asked = {"task": task, "vector": vector, "model": model}
    return [row["accuracy"] for row in FOUND["probes"] if asked.items() <= row.items()]


def lambdas():
    likeness = [value for i, row in enumerate(FOUND["cka"]) for value in row[:i]]
    yield f"(CKA {min(likeness):.2f} to {max(likeness):.2f} between layers)"
    words, states = accuracies("word", "content lambda"), accuracies("word", "mean state")
    [bag], new = accuracies("word", "bag of embeddings"), accuracies("word", "content lambda", "untrained")
    assert all(own > state for own, state in zip(words, states, strict=True))
    yield f"({spread(words)} against {spread(states)}; {whole(bag)} from a bag of the word embeddings)"
    yield f"({spread(new)}), being a random projection"
    lengths, state_lengths = accuracies("length", "content lambda"), accuracies("length", "mean state")
    yield f"in lambdas from {whole(lengths[0])} to {whole(lengths[-1])} and in mean states from"
    yield f"mean states from {whole(state_lengths[0])} to {whole(state_lengths[-1])}; what is untrained keeps it"
    swaps = zip(accuracies("order", "mean state"), accuracies("order", "content lambda"), strict=True)
    ahead = [100 * (state - own) for state, own in swaps]
    yield f"by at most {max(ahead):.0f} points (in layer {ahead.index(max(ahead)) + 1}), and in layer 6 by none"
    assert round(ahead[-1]) == 0 <= min(ahead)
    yield f"Accuracies of 1,000 sentences are sure to {100 * 1.96 * (0.25 / 1000) ** 0.5:.0f} points or so"
    chance = [accuracies(task, "content lambda, random labels")[0] for task in ("length", "word", "order")]
    yield "at chance ({}, {} and {})".format(*map(whole, chance))


def soundness():
    above = {
        way: [100 * (row["own"] - row["others"]) for row in FOUND["soundness"] if row["way"] == way]
        for way in ("by short-cut", "directly")
    }
    early, late = above["by short-cut"][:3], above["by short-cut"][3:]
    yield f"By short-cut it is {min(late):.1f} to {max(late):.1f} in the last three layers"
    yield f"and {min(early):.1f} to {max(early):.1f} before"
    yield f"directly it is {min(above['directly']):.1f} to {max(above['directly']):.1f}"


def spread(shares):
    return f"{whole(min(shares))} to {whole(max(shares))}"


def test_the_page_says_what_the_numbers_say():
    assert missing([*pretraining(), *trials(), *shortcuts(), *lambdas(), *soundness()], PAGE) == []
