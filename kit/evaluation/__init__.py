"""Model quality and its uncertainty, by numpy, scipy and scikit-learn, without keras.

scores.py        accuracy, F1, log loss, confusion of one split (scikit-learn)
calibration.py   temperature scaling, expected calibration error
significance.py  Wilson's interval, McNemar's exact test; all that `reports` imports from here
"""
