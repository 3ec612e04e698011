"""Training on stored activations.

Images on their way through a run have three names:

    Dataset      images by file and content, with labels and splits           (kit.data.dataset)
    Activations  what the frozen trunk makes of them, by cut point, on disk    (activations.py)
    Batches      what the loop of a phase trains on, or is validated on       (kit.data.batches)

A CachedArray (kit.cache) is any array on disk. The modules in the order a run uses them:

    network.py        build_classifier: backbone with pretrained weights, fresh head
    schedule.py       Phase: what is trained when, and how fast
    session.py        Session: configuration, classifier and dataset; where each phase starts
    extraction.py     Extractor: decodes, passes forward, writes, batch by batch
    activations.py    extract: Activations at the cut points of all phases
    fit.py            fit: the phases in order
    loop.py           PhaseLoop: the epochs of one phase
    checkpoints.py    what a killed run is resumed from
    trained_heads.py  heads that trials share
    prediction.py     predict_phases: probabilities by the model of each phase
    history.py        EpochRecord and History, read without keras
    estimate.py       what a run would cost
"""
