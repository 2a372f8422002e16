"""Attention and layer norm as geometry on word vectors, after *Traveling Words* (arXiv:2309.07315).

Read the modules in this order:

    settings        what params.yaml sets, and where results lie
    subject         the model, its word vectors and its tokens as strings and bytes
    geometry        what a norm does: a sphere, in a plane if the norm centres; the four transformed embeddings
    nearest         the nearest tokens of a vector, chunk by chunk of the vocabulary
    attention       the weights of each head as W_QK and W_VO, and the attention they give
    factorization   singular vectors of a product of two thin matrices, and their signs
    nouns, heads    the two probes of a block
    trajectory      a phrase's states on their way to the next word; in the full space, and
    projection      in three dimensions
    tables, formats, figures, page   what readers see
    probing         one block of one model in one call
    nanogpt         checkpoints of nanoGPT as models of transformers
"""
