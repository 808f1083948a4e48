"""The datum, the log, the one consume loop, matching and the sources.

Owns everything between an upstream channel and the [mentions] topic, and the log that all rooms read from. Does not own
scoring (`nlp`), rules (`alerts`), tables or HTTP (`app`). Imports nothing of ours.
"""
