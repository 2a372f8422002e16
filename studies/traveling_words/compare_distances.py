"""Rotary positions make W_QK another matrix at every distance: how many of the nearest keys of nouns stay the nearest?

Reads   the model and the list of nouns that the parameters name
Writes  studies/traveling_words/metrics/MODEL/distances.json   a row a block and distance: of the k keys nearest for
        a noun that looks at itself, the share that are among the k nearest so many tokens back; mean over nouns, heads

It is no stage of the pipeline, whose model has no rotary positions; there every share is 1.

Example: python studies/traveling_words/compare_distances.py --params studies/traveling_words/smollm2.yaml
"""

from linear_shortcuts.settings import parse_args, run
from traveling_words import settings as study

DISTANCES = (1, 4, 16)


def main() -> None:
    args = parse_args(__doc__, model=False, device=True, params=study.PARAMS)
    settings = study.read(args.params)

    from tqdm import tqdm

    from linear_shortcuts.files import artifacts
    from traveling_words import attention, nouns, subject

    chosen = subject.load_subject(settings, args.device)
    listed = nouns.read_nouns(settings.nouns, chosen.vocabulary.encode)
    words = (chosen.embeddings, chosen.readout, chosen.final_norm)
    rows = []
    for block in tqdm(settings.chosen_blocks(chosen.model.layers), desc=settings.model, unit="block", disable=None):
        reading = attention.read_attention(chosen.model, block)
        heads = settings.chosen_heads(reading.heads)
        keys = {
            distance: nouns.probe_nouns(reading, *words, listed.ids, heads, settings.k, distance)["key_ids"]
            for distance in (0, *DISTANCES)
        }
        rows += [
            {"block": block, "distance": distance, "shared": nouns.shared(keys[0], keys[distance])}
            for distance in DISTANCES
        ]
    path = study.Folders(settings.model).distances
    artifacts.save_json(path, rows)
    print(f"{settings.model}: {len(listed.ids)} nouns in {len(rows) // len(DISTANCES)} blocks, in {path}")


if __name__ == "__main__":
    run(main)
