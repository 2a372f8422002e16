"""Look into the content lambdas of a trained LambdaBERT, beside those of a new one.

Reads   studies/lambda_bert/data/TEXT/TASK/MODEL/            from 04_distil.py or 02_pretrain.py: `lambdas.model`
        studies/lambda_bert/data/TEXT/TASK/shortcuts/MODEL/  from 05_shortcut.py: the maps by which rows are read
        data/sentences/CORPUS.pickle                         from the project's own stages/01_fetch_sentences.py
Writes  studies/lambda_bert/data/TEXT/TASK/lambdas/   lambdas.pickle: `lambdas`, an array (sentences, layers, k, v), and
        the `sentences`; found.pickle: spectra, similarities of layers, probes, and the nearest tokens

Example: python studies/lambda_bert/06_read_lambdas.py
"""

from lambda_bert import settings as study
from linear_shortcuts.settings import parse_args, run


def main() -> None:
    args = parse_args(__doc__, model=False, device=True, params=study.PARAMS)
    settings = study.read(args.params)
    from tqdm import tqdm

    from lambda_bert import inside, lambdas, probing, reading, shortcut
    from linear_shortcuts.files import artifacts, atomic
    from linear_shortcuts.settings import read_params

    params, wanted = read_params(study.REGISTRY), settings.lambdas
    model, tokenizer = shortcut.load_subject(settings, params, wanted.model, args.device)
    maps = shortcut.load_maps(settings, model)
    longest = model.network.config.max_position_embeddings
    drawn = shortcut.load_sentences(params)
    train, validation = drawn["train"][: wanted.train], drawn["validation"][: wanted.validation]
    sentences = [*train, *validation]
    texts, shifts = probing.shift_bigrams(sentences, settings.seed)

    found: dict[str, list] = {"spectra": [], "probes": []}
    networks = {"untrained": shortcut.untrained(settings, tokenizer, longest, args.device), "trained": model.network}
    for name, network in tqdm(networks.items(), desc=f"{wanted.model}: lambdas", unit=" models", disable=None):
        plain, shifted = (lambdas.export(network, tokenizer, one) for one in (sentences, texts))
        found["spectra"] += inside.spectra(plain.part(len(train)), name)
        asked = probing.tasks(train, validation, plain.lengths, shifts, wanted.words)
        words = network.get_input_embeddings().weight.detach().float().cpu().numpy()
        found["probes"] += inside.probes(plain, shifted, words, asked, name, len(train), settings.seed)
    scored = plain.part(len(train))
    found["cka"] = lambdas.cka(scored.lambdas).tolist()
    means = reading.token_means(model, plain.ids)
    found["soundness"] = inside.soundness(model, *maps, scored, means.last)
    examples = lambdas.export(model.network, tokenizer, wanted.examples)
    found |= inside.listings(
        model, *maps, examples, scored.lambdas.mean(0), means, wanted.examples, tokenizer, wanted.k
    )
    with atomic.atomic_folder(settings.folders.lambdas) as coming:
        artifacts.save(coming / "lambdas.pickle", {"lambdas": plain.lambdas, "sentences": sentences})
        artifacts.save(coming / "found.pickle", found)
    print(
        f"{wanted.model}: lambdas of {len(sentences):,} sentences, an array {plain.lambdas.shape}; effective rank "
        f"{found['spectra'][-1]['effective_rank']:.1f} in the last layer, in {settings.folders.lambdas}"
    )


if __name__ == "__main__":
    run(main)
