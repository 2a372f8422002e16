"""What the stages of the study begin with."""

from __future__ import annotations

import argparse

from lenses.settings import Folders, Settings
from linear_shortcuts.files import ranks
from linear_shortcuts.models import LanguageModel, load_registered


def begin(args: argparse.Namespace, settings: Settings) -> tuple[ranks.Ranks, LanguageModel, Folders]:
    """Which share of the work is this process's, the model that was asked for, and where its results lie."""
    own = ranks.join(args.device)
    model = load_registered(settings.registered(args.model), args.model, args.device)
    return own, model, Folders(args.model, settings.corpus)
