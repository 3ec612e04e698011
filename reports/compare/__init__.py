"""Comparison of several runs.

facts.py                                what the figures draw
scores.py training.py differences.py    scores and settings; curves and times; images on which the runs disagree
"""
