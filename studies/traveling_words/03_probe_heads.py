"""Read the leading singular vectors of W_QK and W_VO of every chosen head, and its biases, as words.

Reads   the model that studies/traveling_words/params.yaml names
Writes  studies/traveling_words/data/MODEL/heads/block_B.pickle   `qk`, `vo`: singular values, token ids; `biases`

First the weights are held against the model: the attention they give must be the model's own on the phrase of the
settings. A killed run goes on with the blocks that are left.

Example: python studies/traveling_words/03_probe_heads.py
"""

from linear_shortcuts.settings import parse_args, run
from traveling_words import settings as study


def main() -> None:
    args = parse_args(__doc__, model=False, device=True, params=study.PARAMS)
    settings = study.read(args.params)

    from tqdm import tqdm

    from linear_shortcuts.files import Partial
    from traveling_words import attention, heads, subject

    chosen = subject.load_subject(settings, args.device)
    model = chosen.model
    blocks = settings.chosen_blocks(model.layers)
    readings = {block: attention.read_attention(model, block) for block in blocks}
    error = attention.check_reading(model, chosen.phrase(settings.trajectory.phrase), readings)
    asked = {"pairs": settings.singular.pairs, "k": settings.k, "distance": settings.distance}
    recipe = chosen.recipe(**asked, blocks=blocks, heads=settings.heads)
    with Partial("traveling_words/03_probe_heads", settings.model, recipe, code=__file__) as partial:
        for block in tqdm(blocks, desc=f"{settings.model}: heads", unit="block", disable=None):
            if block in partial:
                continue
            listed = settings.chosen_heads(readings[block].heads)
            reading, words = readings[block], chosen.embeddings
            found = heads.probe_singular_vectors(reading, words, chosen.readout, listed, **asked)
            biases = heads.probe_biases(reading, words, listed, settings.k)
            partial.save(block, {f"block_{block}.pickle": {**found, "biases": biases, "heads": listed}})
        folder = study.Folders(settings.model).heads
        rotary = readings[blocks[0]].frequencies is not None
        card = {**chosen.card, "blocks": blocks, "attention_error": error}
        partial.publish(folder, {**card, "distance": settings.distance if rotary else None})
    print(
        f"{settings.model}: {len(blocks)} blocks ({partial.resumed} resumed); attention from the weights of the heads "
        f"differs from the model's own by {error:.1e} of its size, in {folder}"
    )


if __name__ == "__main__":
    run(main)
