"""What leaving out blocks costs, and what a fitted matrix in their place saves, with intervals.

Read the modules in this order:

    settings        what params.yaml sets, and where results lie
    calibration     the cuts that are chosen and what is fitted for each, on one text
    judgements      all shorter models beside the whole one, on one row of another text
    cloze           the last words of sentences, by LAMBADA's rule
    report          what was found, as tables with intervals
    page, figures   what readers see
"""
