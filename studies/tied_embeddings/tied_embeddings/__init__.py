"""Tied embeddings and the distributional hypothesis, after Bertolotti and Cazzola (2024).

Read the modules in this order:

    settings, text_settings   what params.yaml sets, what a run is made of, where results lie
    dataset      masked parity, drawn anew in every step, and all that training asks of a dataset
    models       transformer, LSTM and mixer as ordinary modules
    columns, transformer, lstm, mixer   many models of one shape as one computation
    batched      the same behind one interface, and one by one for all other cases
    training     a trainer set up from its parts
    callbacks    what is recorded: distances, embeddings, logs, checkpoints
    experiment   a run from its settings: put together, trained, resumed, written
    measures     what trained models show, without sampling error
    verdicts     what the seeds decide: paired tests
    figures, report, tables   what readers see
    results      the tables of RESULTS.md
    options, parts, cli        a run put together on the command line
    looking, drawing           what a single run shows
    clones, text_model         real text with cloned words
    language_models            the embeddings of trained language models
    text_figures, text_report  what readers see of these
    repeats, seed_figures      the experiments on text from several seeds
    trained_models             the embeddings of models that others trained, with intervals
"""
