"""Training on stored activations.

Data on its way through a run:

    Dataset      images by file and content, with labels and splits            (kit.data.dataset)
    Activations  outputs of the frozen trunk by cut point, on disk             (activations.py)
    Batches      samples that a phase trains on or is validated on             (kit.data.batches)

Modules in the order a run uses them; a CachedArray (kit.cache) is any array on disk:

    network.py        build_classifier: pretrained backbone, fresh head
    schedule.py       Phase: what is trained when, and how fast
    session.py        Session: configuration, classifier and dataset; where each phase starts
    extraction.py     Extractor: decode, forward, write, batch by batch
    activations.py    extract: Activations at the cut points of all phases
    fit.py            fit: the phases in order
    loop.py           PhaseLoop: the epochs of one phase
    checkpoints.py    state to resume a killed run from
    trained_heads.py  heads that trials share
    prediction.py     predict_phases: probabilities by the model of each phase
    history.py        EpochRecord and History, read without keras
    estimate.py       cost of a run
"""
