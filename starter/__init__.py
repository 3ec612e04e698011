"""Recipe of the starter weights, `kit/model/starter.weights.h5`; docs/starter-weights.md has the results.

A small MobileNetV2 is initialised from a large pretrained one, then distilled from its features [Hinton et al. 2015,
arXiv:1503.02531; of features: Romero et al. 2015, arXiv:1412.6550]. Not installed: run from the repository's root.
    images      training images, and strong views of them at the sizes of teacher and student
    targets     features of the teacher for every view, computed once and kept on disk
    slimming    initial weights of the student, by least squares from the teacher's
    student     training of the student, with a checkpoint after each epoch
    probe       linear probe of frozen features on held-out images (a command)
    distil      the whole recipe in order (a command)
    command     arguments of both commands
"""
