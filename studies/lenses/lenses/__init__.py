"""Every lens on the same states, with intervals.

Read the modules in this order:

    settings        what params.yaml sets, and where results lie
    text            the main pipeline's text and states, whole and in rows
    fitted          the lenses on disk, the controls among them
    comparison      all lenses of a model at a layer, on the prompts, and in what they cost
    report          what was found, as tables with intervals
    page, figures   what readers see
"""
