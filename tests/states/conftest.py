"""What the tests of this room share."""

import pytest
import tiny


@pytest.fixture(params=tiny.FAMILIES)
def model(request):
    return tiny.model(request.param)
