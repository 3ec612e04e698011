"""Records of a run that need the model or the images, for its page.

artifacts.py     files, written and read without keras: all that `reports` imports from here
thumbnails.py    images a page may show, as small JPEGs
activation.py    class activation maps of mistakes
linear_probe.py  linear discriminant analysis of pooled features: label issues, learning curve
collect.py       runs them at the end of a run
"""
