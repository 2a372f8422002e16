"""What a script says to wrong input, without a process of its own: torch is loaded here already."""

import runpy
import sys

import pytest

from linear_shortcuts import InputError


def refusal(script, *arguments, folder) -> str:
    """The message of the `InputError` in which a script ends, started in `folder`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", [str(script), *map(str, arguments)])
        main = runpy.run_path(str(script))["main"]
        with pytest.raises(InputError) as error:
            main()
    return str(error.value)
