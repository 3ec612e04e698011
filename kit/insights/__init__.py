"""What a page needs and cannot compute, because it takes the model or the images: recorded when a run ends.

artifacts.py     the files, written and read without keras: all that `reports` imports from here
thumbnails.py    which images a page may show, and small JPEGs of them
activation.py    class activation maps of mistakes
linear_probe.py  linear discriminant analysis of pooled features: label issues, learning curve
collect.py       runs them at the end of a run
"""
