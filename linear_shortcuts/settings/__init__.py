"""What a user sets, checked, and what scripts share: arguments, devices, folders, one line for an error.

What a setting does is not known here; the function that takes its value says so.

    from linear_shortcuts.settings import read_params
    params = read_params("params.yaml")
    params.corpus
"""

from typing import TYPE_CHECKING

from linear_shortcuts._door import door

if TYPE_CHECKING:
    from linear_shortcuts.settings.checking import (
        at_least as at_least,
        between as between,
        known as known,
        read_settings as read_settings,
    )
    from linear_shortcuts.settings.devices import choose_device as choose_device, one_thread as one_thread
    from linear_shortcuts.settings.folders import SPLITS as SPLITS, Folders as Folders, sentences_file as sentences_file
    from linear_shortcuts.settings.params import (
        Bootstrap as Bootstrap,
        Corpus as Corpus,
        DocstringsCorpus as DocstringsCorpus,
        Drawing as Drawing,
        Exits as Exits,
        FileCorpus as FileCorpus,
        Model as Model,
        Params as Params,
        Schedules as Schedules,
        Sentences as Sentences,
        TokensCorpus as TokensCorpus,
        Training as Training,
        WikipediaCorpus as WikipediaCorpus,
        read_params as read_params,
    )
    from linear_shortcuts.settings.program import (
        add_device as add_device,
        add_params as add_params,
        parse_args as parse_args,
        run as run,
    )

__getattr__, __dir__, __all__ = door(__name__, __file__)
