"""Small LambdaBERTs with random weights, for the tests of that study."""

from collections.abc import Iterator

import pytest
import tiny

import lambda_bert.registration  # noqa: F401 (makes the architecture known to the library)

_LAMBDAS = {"num_lambda_queries": 3, "key_depth": 4, "intra_depth": 2, "mask_padding": True}
# name -> model type and what its configuration sets otherwise, as in `tiny.ARCHITECTURES`
VARIANTS: dict[str, tuple[str, dict[str, object]]] = {
    "lambdabert": ("lambdabert", {**_LAMBDAS, "local_context_size": 5}),
    "lambdabert, relative": ("lambdabert", {**_LAMBDAS, "relative_global": True}),
    "lambdabert, global": ("lambdabert", {**_LAMBDAS}),
    "lambdabert, strict": ("lambdabert", {**_LAMBDAS, "strict_original": True}),
}


@pytest.fixture(autouse=True, scope="module")
def architectures() -> Iterator[None]:
    """Whoever imports this has the variants among the tiny architectures."""
    with pytest.MonkeyPatch.context() as patch:
        for name, variant in VARIANTS.items():
            patch.setitem(tiny.ARCHITECTURES, name, variant)
        yield
