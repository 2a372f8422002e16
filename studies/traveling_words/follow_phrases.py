"""Follow phrases through models, from the token before the last to the last: does the state approach it?

Reads   studies/traveling_words/phrases.yaml; the models that it names, from the project's registry
Writes  studies/traveling_words/metrics/phrases.json   a row a phrase: rank, cosine, mean cosine to all words and
        distance at the first layer and at the last

It is no stage of the pipeline, since not everyone has the models. Afterwards write_results.py makes the table of the
README from the file.

Example: python studies/traveling_words/follow_phrases.py
"""

from linear_shortcuts.settings import parse_args, read_settings, run
from traveling_words import settings as study


def main() -> None:
    args = parse_args(__doc__, model=False, device=True, params=study.PHRASES)
    wanted = read_settings(args.params, study.Phrases).phrases

    from dataclasses import replace

    from tqdm import tqdm

    from linear_shortcuts.files import artifacts
    from traveling_words import subject, trajectory

    settings = study.read()
    rows = []
    for name, phrases in tqdm(wanted.items(), desc="models", unit=" models", disable=None):
        chosen = subject.load_subject(replace(settings, model=name), args.device)
        for text in phrases:
            phrase = trajectory.read_phrase(chosen.model, chosen.phrase(text), -2)
            found = trajectory.approach(phrase, chosen.readout, chosen.final_norm, settings.k)
            ends = {
                end: {key: found["rows"][layer][key] for key in ("rank", "cosine", "mean_cosine", "distance")}
                for end, layer in (("first", 0), ("last", -1))
            }
            rows.append({"model": name, "phrase": text, "to": chosen.vocabulary.text(found["target"]), **ends})
    artifacts.save_json(study.FOLLOWED, rows)
    print(f"{len(rows)} phrases through {len(wanted)} models, in {study.FOLLOWED}")


if __name__ == "__main__":
    run(main)
