"""`python -m studies.tied_embeddings`, from the project's root."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from tied_embeddings.cli import main

main()
