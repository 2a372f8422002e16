"""Judge, for one model and on one text, all shorter models beside the whole one, calibrated on whichever text.

Reads   studies/shorter_models/data/calibrated/MODEL/*.pickle   from 01_calibrate.py, of every text; and the model
Writes  studies/shorter_models/data/judged/MODEL/TEXT.pickle    a row of text: its article and, by model, sums over it

Resumes after a kill, row of text by row of text; shares the rows out to the ranks that torchrun starts.

Example: python studies/shorter_models/02_judge.py --model tiny-gpt2 --text docstrings
"""

from linear_shortcuts.settings import run
from shorter_models import settings as study


def main() -> None:
    args = study.parse_args(__doc__)
    settings = study.read(args.params)

    from tqdm import tqdm

    from linear_shortcuts.files import Partial, artifacts, fingerprint, ranks
    from linear_shortcuts.models import load_registered, load_registered_tokenizer
    from shorter_models import calibration, cloze, judgements

    own = ranks.join(args.device)
    entry = settings.registered(args.model)
    model, tokenizer = load_registered(entry, args.model, args.device), load_registered_tokenizer(entry)
    rows = calibration.rows_of(settings, args.text, model, tokenizer)["report"]
    files = {text: study.calibrated(args.model, text) for text in settings.texts}
    loaded = {text: artifacts.load(path, made_by="01_calibrate.py") for text, path in files.items()}
    recipe = {
        "model": dict(model.identity),
        "calibrated": {text: artifacts.file_sha256(path) for text, path in files.items()},
        "rows": fingerprint([row.ids.tolist() for row in rows]),
        "context": settings.context,
        "device": model.device.type,
    }
    item = f"{args.model}.{args.text}"
    with Partial("shorter_models/02_judge", item, recipe, ranks=own, code=__file__) as partial:
        todo = own.share([number for number in range(len(rows)) if number not in partial])
        beside = judgements.beside(model, loaded, args.text) if todo else None
        for number in tqdm(todo, desc=f"{args.model}, {args.text}: judge", unit=" rows", disable=own.hide):
            words = cloze.last_words(rows[number].ids, tokenizer, settings.context)
            partial.save(number, {}, judgements.of_row(beside, rows[number], words))
        if not partial.gather():
            return
        found = [{"article": row.article, "sums": partial.note(number)} for number, row in enumerate(rows)]
        artifacts.save(study.judged(args.model, args.text), found)
        partial.forget_others()
    print(
        f"{args.model}: {len(found[0]['sums'])} models on {len(found)} rows of {args.text}, {partial.resumed} resumed"
    )


if __name__ == "__main__":
    run(main)
