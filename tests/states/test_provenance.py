"""States and maps are refused in the wrong company, and both sides named."""

from dataclasses import replace

import pytest
import tiny

from linear_shortcuts.files.errors import InputError
from linear_shortcuts.models.language_model import CONVENTION
from linear_shortcuts.states.provenance import check_model


def test_another_models_artifacts_are_refused_and_both_sides_named():
    one, other = tiny.model("gpt2", seed=0), tiny.model("gpt2", seed=1)
    card = {"model": dict(one.identity), "convention": CONVENTION}
    check_model(card, one, "maps")
    with pytest.raises(InputError) as error:
        check_model(card, other, "maps")
    assert one.identity["weights_sha256"][:12] in str(error.value)
    assert other.identity["weights_sha256"][:12] in str(error.value)
    with pytest.raises(InputError, match="after the norm"):
        check_model({**card, "convention": "h_L after the norm"}, one, "maps")


def test_another_revision_of_the_same_weights_is_refused_and_a_folder_that_knows_none_is_not():
    model = tiny.model("gpt2")
    made_with = {**model.identity, "revision": "0a1b2c"}
    check_model({"model": made_with, "convention": CONVENTION}, model, "maps")
    elsewhere = replace(model, identity={**model.identity, "revision": "main"})
    with pytest.raises(InputError, match=r"at 0a1b2c .* at main "):
        check_model({"model": made_with, "convention": CONVENTION}, elsewhere, "maps")
