"""Bytes that last: one-line errors, seeds, files that are whole or absent, safe unpickling, resuming, ranks.

What the files mean is not known here; see the rooms that write them.

    from linear_shortcuts.files import artifacts
    artifacts.save("a.pickle", {"rows": [1, 2]})
    artifacts.load("a.pickle")
"""

from typing import TYPE_CHECKING

from linear_shortcuts._door import door

if TYPE_CHECKING:
    from linear_shortcuts.files.artifacts import fingerprint as fingerprint
    from linear_shortcuts.files.atomic import atomic_file as atomic_file, atomic_folder as atomic_folder
    from linear_shortcuts.files.cards import (
        FILE as FILE,
        compare as compare,
        read_card as read_card,
        versions as versions,
    )
    from linear_shortcuts.files.errors import (
        InputError as InputError,
        again as again,
        check_kind as check_kind,
        shown as shown,
    )
    from linear_shortcuts.files.partial import PATIENCE as PATIENCE, WORK as WORK, Partial as Partial
    from linear_shortcuts.files.seeds import derive as derive
    from linear_shortcuts.files.sources import code_sha256 as code_sha256
    from linear_shortcuts.files.tables import (
        save_plot as save_plot,
        save_table as save_table,
        save_text as save_text,
    )

__getattr__, __dir__, __all__ = door(__name__, __file__)
