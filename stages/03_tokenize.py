"""Tokenize the sentences for one model and sample one position in each.

Reads   data/sentences/CORPUS.pickle             from 01_fetch_sentences.py
Writes  data/MODEL/CORPUS/tokens_train.pickle    mappings with `tokenized_sentences` (n int64 tensors),
        data/MODEL/CORPUS/tokens_validation.pickle        `token_positions` (n,) and `card`

A masked model's sampled token is [MASK] already; that of an encoder without a prediction head is left as it is. Two
files of your own in this format are taken in where the corpus has `source: tokens`.

Example: python stages/03_tokenize.py --model tiny-gpt2
"""

from pathlib import Path

from linear_shortcuts.settings import SPLITS, Folders, parse_args, run, sentences_file


def main() -> None:
    args = parse_args(__doc__)
    from linear_shortcuts.files import artifacts
    from linear_shortcuts.models import has_head, load_config, load_tokenizer, longest, width
    from linear_shortcuts.settings import read_params
    from linear_shortcuts.text import tokens

    params = read_params(args.params)
    entry = params.model(args.model)
    folders = Folders(args.model, params.corpus)
    corpus = params.chosen_corpus
    if corpus.source == "tokens":
        for split in SPLITS:
            made = tokens.bring(Path(corpus.path) / args.model / f"tokens_{split}.pickle", folders.tokens(split))
            print(f"{args.model}: {len(made):,} {split} sentences of your own tokens, in {folders.tokens(split)}")
        return
    source = sentences_file(params.corpus)
    sentences = tokens.load_sentences(source, params, made_by="stages/01_fetch_sentences.py")
    trusted = entry.trust_remote_code
    config, family = load_config(entry.checkpoint, entry.revision, trust_remote_code=trusted)
    masks = not family.causal and has_head(entry.checkpoint, entry.revision, trust_remote_code=trusted)
    tokenizer = load_tokenizer(entry.checkpoint, entry.revision, trust_remote_code=trusted)
    max_tokens = tokens.limit(tokenizer, longest(config, family), params.tokenize.max_tokens)
    how = {"max_tokens": max_tokens, "seed": params.seed, "compatibility": params.compatibility}
    described = tokens.describe_tokenizer(tokenizer, entry.checkpoint, entry.revision)
    for split in SPLITS:
        made = tokens.tokenize(sentences[split], tokenizer, causal=not masks, **how)
        if split == "train":
            tokens.check_rows(len(made), width(config))
        card = {
            **tokens.card_of(params, described, max_tokens, split),
            "corpus": sentences["card"],
            "sentences_sha256": artifacts.file_sha256(source),
        }
        tokens.save_tokens(folders.tokens(split), made, card)
        print(
            f"{args.model}: {len(made):,} {split} sentences, {sum(map(len, made.sentences)):,} tokens "
            f"({made.cut:,} cut at {max_tokens or 'no limit'}, {made.skipped:,} without a token to sample left out), "
            f"in {folders.tokens(split)}"
        )


if __name__ == "__main__":
    run(main)
