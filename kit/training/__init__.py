"""Training on stored activations.

Data on its way through a run:

    Dataset      images by file and content, with labels and splits            (kit.data.dataset)
    Activations  outputs of the frozen trunk by cut point, on disk             (activations.py)
    Batches      samples that a phase trains on or is validated on             (kit.data.batches)

Modules in the order a run uses them; a CachedArray (kit.cache) is any array on disk:

    schedule.py       Phase: what is trained when, and how fast
    session.py        Session: network, dataset and schedule; where each phase starts
    forward.py        inference in passes of one batch size
    extraction.py     extract: decode, forward, write, batch by batch; Activations at the cut points of all phases
    fit.py            fit: the phases in order; predict_phases: probabilities by the model of each
    loop.py           PhaseLoop: the epochs of one phase; loss and optimiser
    checkpoints.py    state to resume a killed run from; heads that trials share
    history.py        EpochRecord and History, read without keras
    estimate.py       cost of a run
"""
