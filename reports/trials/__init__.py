"""The trials of a study.

facts.py                            what the figures draw, and its numbers as text
history.py settings.py pareto.py    as it went; what mattered; two objectives against each other
sections.py                         which of these a page shows, and the table of trials
"""
