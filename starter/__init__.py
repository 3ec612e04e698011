"""The recipe of the starter weights, `kit/model/starter.weights.h5`; docs/starter-weights.md says what came of it.

A small MobileNetV2 is cut out of a large pretrained one and then taught to see as that one does [Hinton et al. 2015,
arXiv:1503.02531; of features: Romero et al. 2015, arXiv:1412.6550]. Who owns what:
    images      which images may be seen, and strong views of them at the sizes of teacher and student
    targets     what the teacher says of every view, computed once and kept on disk
    slimming    the student's first weights, by least squares from the teacher's
    student     the network that is trained, epoch by epoch, with checkpoints
    probe       how good features are: a linear classifier on them, scored on images held out (a command)
    distil      all of it in order (a command)
    command     what the two commands share

Not part of the installed package: run from the root of the repository.
"""
