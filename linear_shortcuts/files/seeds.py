"""One root seed; every other seed is derived from it by name, so that no draw depends on the order of draws."""

import hashlib


def derive(seed: int, *names: object) -> int:
    """A 64-bit seed for the stream called `names`, independent of every other stream of the same root seed.

    >>> derive(0, "positions", "A sentence.") == derive(0, "positions", "A sentence.")
    True
    """
    text = "\0".join([str(seed), *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "big")
