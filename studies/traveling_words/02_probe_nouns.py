"""Probe every chosen head with common nouns: the keys they look for, the tokens their values move to.

Reads   the model and the list of nouns that studies/traveling_words/params.yaml names
Writes  studies/traveling_words/data/MODEL/nouns/block_B.pickle   token ids (N, heads, k), scores and update norms

Raw word vectors are fed to every block as if they arrived there unchanged, without positions, and each noun attends
only to itself. A killed run goes on with the blocks that are left.

Example: python studies/traveling_words/02_probe_nouns.py
"""

from linear_shortcuts.settings import parse_args, run
from traveling_words import settings as study


def main() -> None:
    args = parse_args(__doc__, model=False, device=True, params=study.PARAMS)
    settings = study.read(args.params)

    from tqdm import tqdm

    from linear_shortcuts.files import Partial
    from traveling_words import attention, nouns, subject

    chosen = subject.load_subject(settings, args.device)
    model = chosen.model
    blocks = settings.chosen_blocks(model.layers)
    listed = nouns.read_nouns(settings.nouns, chosen.vocabulary.encode)
    recipe = chosen.recipe(
        k=settings.k, distance=settings.distance, blocks=blocks, heads=settings.heads, nouns=listed.ids
    )
    with Partial("traveling_words/02_probe_nouns", settings.model, recipe, code=__file__) as partial:
        for block in tqdm(blocks, desc=f"{settings.model}: nouns", unit="block", disable=None):
            if block in partial:
                continue
            reading = attention.read_attention(model, block)
            heads = settings.chosen_heads(reading.heads)
            words = (chosen.embeddings, chosen.readout, chosen.final_norm)
            found = nouns.probe_nouns(reading, *words, listed.ids, heads, settings.k, settings.distance)
            partial.save(block, {f"block_{block}.pickle": {**found, "heads": heads}})
        card = {**chosen.card, "nouns": listed.words, "ids": listed.ids, "dropped": listed.dropped}
        folder = study.Folders(settings.model).nouns
        partial.publish(folder, {**card, "blocks": blocks})
    print(
        f"{settings.model}: {len(listed.ids)} nouns that are one token ({listed.dropped} are not) in "
        f"{len(blocks)} blocks ({partial.resumed} resumed), in {folder}"
    )


if __name__ == "__main__":
    run(main)
