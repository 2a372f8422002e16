"""`linear-shortcuts check MODEL`: a table of invariants, a line for the tokenizer, an exit code."""

from __future__ import annotations

import argparse

from linear_shortcuts.commands.arguments import Command, add_model, asked_model, load_asked_model

DESCRIPTION = """Check whether a model can be studied here: its declaration is held against the model itself.

Runs a few random sentences through the checkpoint and prints, for every invariant, the largest difference seen. The
first thing to do with a new model.

Example: linear-shortcuts check models/tiny-gpt2
"""
EPILOG = "Ends with code 0 if all of it holds, 1 if something does not, 2 if the model cannot be loaded."


def _run(args: argparse.Namespace) -> int:
    from linear_shortcuts.commands import invariants
    from linear_shortcuts.files import InputError
    from linear_shortcuts.models import load_registered_tokenizer

    model = load_asked_model(args)
    print(f"{invariants.describe(model)}\n\n{invariants.HEAD}", flush=True)
    tokens = invariants.sample_tokens(model)
    failed = 0
    for finding in invariants.check(model, tokens):
        print(invariants.line(finding), flush=True)
        failed += not finding.passed
    reason = ""
    try:
        tokenizer = load_registered_tokenizer(asked_model(args))
    except InputError as error:
        tokenizer, reason = None, f"; {error}"
    fits, row = invariants.tokenizer_line(model, tokenizer)
    print(row)
    for note in invariants.notes(model, tokens):
        print(f"\nnote: {note}")
    if failed:
        print(
            f"\n{args.model}: {failed} of {len(invariants.INVARIANTS)} invariants do not hold; results would be wrong"
        )
    elif not fits:
        print(f"\n{args.model}: every invariant holds, but only tokens of your own can be used{reason}")
    else:
        print(f"\n{args.model}: every invariant holds")
    return int(failed > 0 or not fits)


CHECK = Command("check", "hold a model against the declaration of its family", DESCRIPTION, EPILOG, add_model, _run)
