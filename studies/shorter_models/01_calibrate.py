"""Choose, for one model and on one text, which blocks are left out, and fit what stands in their place.

Reads   the model, and the text: the embedded one, or the file that params.yaml names
Writes  studies/shorter_models/data/calibrated/MODEL/TEXT.pickle   by number of blocks the cut, its candidates, and
        the corrections of fold, patch and the full matrix

Resumes after a kill, step by step.

Example: python studies/shorter_models/01_calibrate.py --model tiny-gpt2 --text docstrings
"""

from linear_shortcuts.settings import run
from shorter_models import settings as study


def main() -> None:
    args = study.parse_args(__doc__)
    settings = study.read(args.params)

    from tqdm import tqdm

    from linear_shortcuts.files import Partial, artifacts, fingerprint
    from linear_shortcuts.models import load_registered, load_registered_tokenizer
    from shorter_models import calibration

    entry = settings.registered(args.model)
    model = load_registered(entry, args.model, args.device)
    rows = calibration.rows_of(settings, args.text, model, load_registered_tokenizer(entry))

    def bars(own, what):
        return tqdm(own, desc=f"{args.model}, {args.text}: {what}", unit=" rows", disable=None)

    recipe = {
        "model": dict(model.identity),
        "rows": {name: fingerprint([row.ids.tolist() for row in rows[name]]) for name in ("fit", "choose")},
        "blocks": list(settings.blocks),
        "candidates": settings.candidates,
        "device": model.device.type,
    }
    with Partial("shorter_models/01_calibrate", f"{args.model}.{args.text}", recipe, code=__file__) as partial:
        found = calibration.calibrate(model, rows, settings, partial, bars)
        artifacts.save(study.calibrated(args.model, args.text), found)
        partial.forget_others()
    print(f"{args.model}: cuts of {len(found['cuts'])} lengths on {args.text} ({partial.resumed} steps resumed)")


if __name__ == "__main__":
    run(main)
