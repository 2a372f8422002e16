"""Follow a phrase through the model: its states in three dimensions, and how close they come to the next word.

Reads   the model and the phrase that studies/traveling_words/params.yaml names
Writes  studies/traveling_words/data/MODEL/trajectory.pickle   `words` (n, 3) the phrase's word vectors and `states`
        (L + 2, n, 3) in the projection; `approach`: dot product, cosine, distance and rank in the full space

Example: python studies/traveling_words/04_follow_phrase.py
"""

from linear_shortcuts.settings import parse_args, run
from traveling_words import settings as study


def main() -> None:
    args = parse_args(__doc__, model=False, device=True, params=study.PARAMS)
    settings = study.read(args.params)

    from linear_shortcuts.files import artifacts
    from traveling_words import projection, subject, trajectory

    chosen = subject.load_subject(settings, args.device)
    wanted = settings.trajectory
    phrase = trajectory.read_phrase(chosen.model, chosen.phrase(wanted.phrase), wanted.follow)
    approach = trajectory.approach(phrase, chosen.readout, chosen.final_norm, settings.k)
    project = projection.fit_projection(
        wanted.projection,
        chosen.readout[: wanted.rows].float().cpu().numpy(),
        neighbors=wanted.neighbors,
        min_distance=wanted.min_distance,
        seed=settings.seed,
    )
    words, states = trajectory.project(phrase, chosen.readout, chosen.final_norm, project)
    path = study.Folders(settings.model).trajectory
    value = {"ids": phrase.ids, "follow": phrase.follow, "projection": project.name, "words": words, "states": states}
    artifacts.save(path, {**value, "approach": approach, "card": chosen.card})
    answer = trajectory.does_it_approach(approach)
    print(
        f"{settings.model}: the word that follows {chosen.vocabulary.text(int(phrase.ids[phrase.follow]))!r} goes from "
        f"rank {answer['rank_first']:,} to {answer['rank_last']:,}; path by {project.name}, in {path}"
    )


if __name__ == "__main__":
    run(main)
