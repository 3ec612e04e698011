"""The trials of a study.

facts.py                                     what the figures draw, and its numbers as text
history.py settings.py optuna_figures.py pareto.py     history; what mattered; two objectives
sections.py                                  which of these a page shows, and the table of trials
"""
