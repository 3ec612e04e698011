"""Several runs side by side.

facts.py                                what the figures draw
scores.py training.py differences.py    how good they are; how they got there and how long it took; where they disagree
"""
