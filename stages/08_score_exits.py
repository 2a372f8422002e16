"""Leave the network at every layer under five mappings, and compare with the full model's own prediction.

Reads   data/MODEL/CORPUS/tokens_SPLIT.pickle, hidden_validation/        from 03 and 04
        linreg/MODEL/CORPUS/layers/, submodules/                         from 05 and 06, and the model
Writes  data/MODEL/CORPUS/fixed_exits.pickle   `records`: for each mapping and layer, per sample, the top-10 token ids,
        the two largest probabilities, surprisal and KL (nats), -1 and nan if it diverges; `positions`, `cost`, `card`;
        of an encoder: the cosine of the sentence embedding, recall@10

Resumes after a kill, chunk of sentences by chunk of sentences; shares the chunks out to the ranks that torchrun starts.

Example: python stages/08_score_exits.py --model tiny-gpt2
"""

from linear_shortcuts.settings import Folders, parse_args, run


def main() -> None:
    args = parse_args(__doc__, device=True)
    from tqdm import tqdm

    from linear_shortcuts.files import Partial, ranks
    from linear_shortcuts.maps import LayerMaps, SubmoduleMaps
    from linear_shortcuts.models import cost, loading
    from linear_shortcuts.scores import embeddings, exits, records
    from linear_shortcuts.settings import read_params
    from linear_shortcuts.states import provenance, shards
    from linear_shortcuts.text import tokens

    params = read_params(args.params)
    folders = Folders(args.model, params.corpus)
    own = ranks.join(args.device)
    model = loading.load_registered(params.model(args.model), args.model, args.device)
    layer_maps = LayerMaps.load(folders.layer_maps, made_by="stages/05_fit_layer_maps.py")
    submodule_maps = SubmoduleMaps.load(folders.submodule_maps, made_by="stages/06_fit_submodule_maps.py")
    states = shards.HiddenStates.open(folders.hidden("validation"), made_by="stages/04_extract_hidden_states.py")
    for fitted in (layer_maps, submodule_maps):
        provenance.check_states(fitted.card, states.card, fitted.folder, made_by="stages 03 to 06")
    provenance.check_model(states.card, model, states.folder, made_by="stages 03 to 06")
    provenance.check_asked(states.card, params, args.model, "validation", states.folder, made_by="stages 03 to 06")
    data = tokens.load_states_tokens(folders.tokens("validation"), states.card, made_by="stages 03 to 06")
    known = tokens.load_states_tokens(folders.tokens("train"), layer_maps.card, made_by="stages 03 to 06")
    listed = exits.listed(known, model, params.exits)
    leave, stacked = embeddings if model.family.headless else exits, states.stack()
    how = (layer_maps, submodule_maps, params.extract.tokens_per_batch, states.card["precision"], params.exits, listed)
    card = records.card_of(states.card, layer_maps.card, submodule_maps.card)
    recipe = {**card, "exits": vars(params.exits), "extract": vars(params.extract), "device": model.device.type}
    with Partial("08_score_exits", f"{args.model}.{params.corpus}", recipe, ranks=own, code=__file__) as partial:
        chunks = list(shards.shard_ranges(len(data), params.exits.sentences_per_chunk))
        todo = own.share([chunk for chunk in chunks if chunk[0] not in partial])
        if todo:  # what can fail late fails now
            leave.score_chunk(model, stacked, data, 0, exits.FEW, *how)
        for number, first, last in tqdm(todo, desc=f"{args.model}: exits", unit=" chunks", disable=own.hide):
            partial.save(number, leave.chunk_files(leave.score_chunk(model, stacked, data, first, last, *how), number))
        if not partial.gather():
            return
        joined = leave.join_chunks([partial.load(exits.chunk_file(number)) for number, _, _ in chunks])
        counted = cost.count(model, data.lengths, data.positions, params.exits.short_list)
        records.save_fixed(folders.fixed_exits, joined, data.positions, counted, card)
        partial.forget_others()
    resumed = f"{partial.resumed} of {len(chunks)} chunks resumed"
    print(f"{args.model}: {len(joined)} {leave.KIND} of {len(data):,} sentences ({resumed}), in {folders.fixed_exits}")


if __name__ == "__main__":
    run(main)
