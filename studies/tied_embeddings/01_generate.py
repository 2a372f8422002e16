"""Generate the bit strings that all experiments read, shuffled and split, and say what they let a model reach.

Reads   nothing but studies/tied_embeddings/params.yaml
Writes  studies/tied_embeddings/data/strings.pickle   `train`, `validation` and `test`, (n, bits) each

Symbols and masks are drawn anew in every step of training, so they are not generated here.

Example: python studies/tied_embeddings/01_generate.py
"""

from linear_shortcuts.settings import parse_args, run
from tied_embeddings import settings as study


def main() -> None:
    args = parse_args(__doc__, model=False, params=study.PARAMS)
    settings = study.read(args.params)

    from linear_shortcuts.files import artifacts
    from tied_embeddings import dataset

    data = settings.dataset
    strings = dataset.bit_strings(data.bits, data.seed, data.include_all_ones)
    artifacts.save(study.STRINGS, strings)
    sizes = " + ".join(f"{len(part)} {split}" for split, part in strings.items())
    print(f"{sizes} strings of {data.bits} bits, in {study.STRINGS}")


if __name__ == "__main__":
    run(main)
