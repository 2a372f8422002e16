"""Linear shortcuts through transformers: from any layer to any later one by a single matrix."""

__version__ = "0.1.0"
