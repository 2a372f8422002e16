"""Draw the distinct sentences of the study: train and validation, never overlapping.

Reads   the corpus that params.yaml names: docstrings (of this Python), wikipedia (Hugging Face hub), or your file;
        of tokens of your own, nothing
Writes  data/sentences/CORPUS.pickle   a mapping with `train`, `validation` (lists of text) and `card`

Example: python stages/01_fetch_sentences.py
"""

from linear_shortcuts.settings import parse_args, run, sentences_file


def main() -> None:
    args = parse_args(__doc__, model=False)
    from tqdm import tqdm

    from linear_shortcuts.files import artifacts
    from linear_shortcuts.settings import read_params
    from linear_shortcuts.text import corpora

    params = read_params(args.params)
    corpus = params.chosen_corpus
    path = sentences_file(params.corpus)
    if corpus.source == "tokens":  # nothing to draw: stage 03 takes them in
        artifacts.save(path, {"train": [], "validation": [], "card": {"corpus": params.corpus, **vars(corpus)}})
        print(f"{params.corpus}: tokens of your own take the place of sentences, in {path}")
        return
    articles = corpora.read_articles(corpus, params.seed)
    split, splitter = corpora.choose_splitter(corpus)
    drawn = corpora.draw(
        corpus,
        tqdm(articles, desc=f"{params.corpus}: read", unit=" texts", disable=None),
        split,
        params.sentences.train,
        params.sentences.validation,
        params.seed,
    )
    card = {**corpora.card_of(params), "split_by": splitter}
    artifacts.save(path, {"train": drawn.train, "validation": drawn.validation, "card": card})
    left_out = ", ".join(f"{number:,} {why}" for why, number in drawn.left_out.items()) or "none"
    print(
        f"{params.corpus}: {len(drawn.train):,} + {len(drawn.validation):,} sentences drawn from "
        f"{drawn.candidates:,} in {drawn.articles:,} texts (left out: {left_out}), in {path}"
    )


if __name__ == "__main__":
    run(main)
