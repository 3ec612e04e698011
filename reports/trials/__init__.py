"""Trials of a study.

facts.py                                     what the figures draw, and its numbers as text
history.py settings.py optuna_figures.py pareto.py     history; importance and values; Optuna's figures; two objectives
sections.py                                  sections of a page, and the table of trials
"""
