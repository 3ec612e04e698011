"""What a page needs and cannot compute: recorded when a run ends, because it needs the model or the images.

records.py     the files, written and read without keras: all that `reports` may import from here
album.py       which images a page may show, and small JPEGs of them
activation.py  class activation maps of mistakes
probe.py       a linear model on the stored features: doubted labels, learning curve
recording.py   composes them at the end of a run
"""
