"""Record the hidden states of every layer at the sampled position, in one forward pass per sentence.

Reads   data/MODEL/CORPUS/tokens_SPLIT.pickle   from 03_tokenize.py
Writes  data/MODEL/CORPUS/hidden_SPLIT/         shards of h_0..h_L and of the attention outputs, with card.json

SPLIT is train or validation; both run if none is given. Resumes after a kill, shard by shard; shares the shards out
to the ranks that torchrun starts.

Example: python stages/04_extract_hidden_states.py --model tiny-gpt2 --split train
"""

from linear_shortcuts.settings import SPLITS, Folders, parse_args, run


def main() -> None:
    args = parse_args(__doc__, device=True, split=True)
    from tqdm import tqdm

    from linear_shortcuts.files import Partial, artifacts, ranks
    from linear_shortcuts.models import arithmetic, loading
    from linear_shortcuts.settings import read_params
    from linear_shortcuts.states import extraction, provenance, shards
    from linear_shortcuts.text import tokens

    params = read_params(args.params)
    entry = params.model(args.model)
    folders = Folders(args.model, params.corpus)
    own = ranks.join(args.device)
    model = loading.load_registered(entry, args.model, args.device)
    for split in [args.split] if args.split else SPLITS:
        path = folders.tokens(split)
        data, tokens_card = tokens.load_tokens(path, made_by="stages/03_tokenize.py")
        if tokens_card:  # tokens brought from elsewhere have none
            tokenizer = loading.load_registered_tokenizer(entry)
            described = tokens.describe_tokenizer(tokenizer, entry.checkpoint, entry.revision)
            most = tokens.limit(tokenizer, model.max_tokens, params.tokenize.max_tokens)
            asked = tokens.card_of(params, described, most, split)
            tokens.check_card(tokens_card, asked, path, made_by="stages/03_tokenize.py")
        tokens.check_fit(data, model.vocabulary, model.max_tokens, path, model.mask_token)
        positions = params.extract.positions if split == "train" else "sampled"
        vectors = extraction.count_vectors(data, positions)
        how = {"vectors": vectors, "positions": positions, "precision": params.extract.precision}
        sha256 = artifacts.file_sha256(path)
        card = provenance.states_card(model, tokens_card, sha256, params.corpus, split, len(data), **how)
        recipe = {"card": card, "extract": vars(params.extract), "device": model.device.type}
        name = f"{args.model}.{params.corpus}.{split}"
        with Partial("04_extract_hidden_states", name, recipe, ranks=own, code=__file__) as partial:
            ranges = shards.shard_ranges(len(data), params.extract.sentences_per_shard)
            todo = own.share([shard for shard in ranges if shard[0] not in partial])
            bar = tqdm(todo, desc=f"{args.model}: {split}", unit=" shards", disable=own.hide)
            with arithmetic(params.extract.precision, model.device):
                for number, first, last in bar:
                    shard = extraction.extract(model, data, first, last, params.extract.tokens_per_batch, positions)
                    partial.save(number, shards.shard_files(shard, number))
            if not partial.gather():
                continue
            partial.publish(folders.hidden(split), card)
        print(
            f"{args.model}: {model.layers + 1} layers of {card['vectors']:,} {split} tokens in {len(data):,} sentences "
            f"({card['tokens']}) recorded ({partial.resumed} shards resumed), in {folders.hidden(split)}"
        )


if __name__ == "__main__":
    run(main)
