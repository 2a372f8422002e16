"""LambdaBERT is a family of the library: its variants pass what every family must pass."""

import family_checks
import pytest
import tiny
from hypothesis import given, settings, strategies as st
from lambda_models import VARIANTS, architectures  # noqa: F401 (a fixture that every test of the module uses)

from linear_shortcuts.files.errors import InputError
from linear_shortcuts.models.families import FAMILIES, find
from linear_shortcuts.models.identity import weights_sha256
from linear_shortcuts.models.loading import wrap


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize(
    "check",
    [
        family_checks.every_invariant_holds,
        family_checks.left_anywhere_without_loss,
        family_checks.costs_what_torch_counts,
        family_checks.longest_sentence_fits,
        family_checks.structure_alone_shows,
    ],
    ids=lambda check: check.__name__,
)
def test_every_variant_passes_what_every_family_must(check, name):
    check(name)
    assert find(tiny.architecture(name).network.config) is FAMILIES["lambdabert"]


@settings(max_examples=10, deadline=None)
@given(st.data())
def test_a_step_that_reads_another_site_is_caught(data):
    family_checks.another_site_is_caught(data.draw(st.sampled_from(list(VARIANTS))), data)


def test_a_lambdabert_that_does_not_mask_padding_is_refused():
    with pytest.raises(InputError, match="mask_padding = False, so that the padding of a batch changes") as error:
        wrap(tiny.random_network("lambdabert", num_lambda_queries=3), path="lambdas")
    assert str(error.value).startswith("lambdas has")
    assert "\n" not in str(error.value)


def test_the_statistics_of_a_batch_norm_are_part_of_a_models_identity():
    one, other = tiny.architecture("lambdabert"), tiny.architecture("lambdabert")
    assert weights_sha256(one.network) == weights_sha256(other.network) == one.identity["weights_sha256"]
    other.blocks[1].attention.self.value_norm.running_var[0] += 1
    assert weights_sha256(one.network) != weights_sha256(other.network)
