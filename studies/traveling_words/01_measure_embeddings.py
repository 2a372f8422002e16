"""Measure how word vectors lie to the final norm: distances to their normalised selves, and the tokens it favours.

Reads   the model that studies/traveling_words/params.yaml names
Writes  studies/traveling_words/data/MODEL/embeddings.pickle   `distances`, `scores` {setting: (V,)}, `extremes`

Example: python studies/traveling_words/01_measure_embeddings.py
"""

from linear_shortcuts.settings import parse_args, run
from traveling_words import settings as study


def main() -> None:
    args = parse_args(__doc__, model=False, device=True, params=study.PARAMS)
    settings = study.read(args.params)

    from linear_shortcuts.files import artifacts
    from traveling_words import geometry, subject

    chosen = subject.load_subject(settings, args.device)
    norm = chosen.final_norm
    distances = geometry.distance_table(chosen.embeddings, norm)
    scores = geometry.token_scores(chosen.readout, norm)
    listed = {name: geometry.extremes(values, settings.k) for name, values in scores.items()}
    path = study.Folders(settings.model).embeddings
    card = {**chosen.card, "centres": norm.centres, "tied": chosen.tied, "biased": bool(norm.bias.any())}
    artifacts.save(path, {"distances": distances, "scores": scores, "extremes": listed, "card": card})
    print(
        f"{settings.model}: {len(chosen.embeddings):,} word vectors of mean norm {distances['mean_norm']:.4g}, "
        f"scale {distances['scale']:.4g}, in {path}"
    )


if __name__ == "__main__":
    run(main)
