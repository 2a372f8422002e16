"""Measure, for one model, what leaving out blocks saves: parameters, and tokens a second.

Reads   the model
Writes  studies/shorter_models/data/costs/MODEL.json   by number of blocks left out; 0 is the whole model

The models generate in turn, so that a busy machine slows all of them alike.

Example: python studies/shorter_models/03_time.py --model tiny-gpt2
"""

from linear_shortcuts.settings import run
from shorter_models import settings as study


def main() -> None:
    args = study.parse_args(__doc__, text=False)
    settings = study.read(args.params)

    import torch

    from linear_shortcuts.files import artifacts
    from linear_shortcuts.models import load_registered
    from linear_shortcuts.shorten.judgement import tokens_per_second
    from linear_shortcuts.shorten.surgery import Cut, without

    model = load_registered(settings.registered(args.model), args.model, args.device)
    models = {0: model, **{number: without(model, Cut(1, 1 + number)) for number in settings.blocks}}
    prompt = torch.arange(settings.speed) % model.vocabulary
    speeds = tokens_per_second({str(number): own for number, own in models.items()}, prompt, tokens=settings.speed)
    found = {
        number: {
            "parameters": sum(parameter.numel() for parameter in own.network.parameters()),
            "tokens_per_second": speeds[str(number)],
        }
        for number, own in models.items()
    }
    artifacts.save_json(study.costs(args.model), {str(number): own for number, own in found.items()})
    print(f"{args.model}: {speeds['0']:.1f} tokens a second, {max(speeds.values()):.1f} at most of the shorter models")


if __name__ == "__main__":
    run(main)
