"""Write, for one model, a checkpoint of its shape and tokenizer with weights drawn anew, as before any training.

Reads   the model
Writes  studies/lenses/data/random/MODEL/   an ordinary checkpoint

What a lens finds in it, it finds in the shape of the model and in the prompts, not in what was learnt. params.yaml has
smollm2-135m-random and tiny-gpt2-random in its registry: run them through the pipeline and the study as any model.

Example: python studies/lenses/random_weights.py --model tiny-gpt2
"""

from lenses import settings as study
from linear_shortcuts.settings import parse_args, run


def main() -> None:
    args = parse_args(__doc__, params=study.PARAMS)
    settings = study.read(args.params)

    from lenses import randomness
    from linear_shortcuts.models import load_registered, load_registered_tokenizer

    entry, folder = settings.registered(args.model), study.DRAWN_ANEW / args.model
    network = randomness.redrawn(load_registered(entry, args.model, "cpu").network, settings.seed)
    randomness.save(network, load_registered_tokenizer(entry), folder)
    print(f"{args.model}: {sum(p.numel() for p in network.parameters()):,} random weights, in {folder}")


if __name__ == "__main__":
    run(main)
