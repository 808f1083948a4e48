"""The process: settings, tables, store, API, live hub, wiring and the command line.

The only room that imports all others.
"""
