"""A neural character model of surnames, after Bengio et al. (2003), beside count models.

Read the modules in this order:

    settings     what params.yaml sets, and where results lie
    names        names made up or read from files, and cleaned
    vocabulary   characters as numbers, names as pairs of a context and the next character
    counts       n-gram models with additive smoothing
    network      the network, its gradients in closed form, its summary
    training     a trainer for any model, and the study's training
    sampling     new names from any of the models
    gradient     the gradient of an embedding layer, by hand
    vectors      what the learned vectors look like
    linearity    how close linear maps come to the network
    data, logs   what the stages saved, print and log
    figures, report   what readers see
    results      the table of the README that is made from metrics
"""
