"""HTTP: the routes of a process, each with a role.

Owns access, routes and headers. Does not own what is behind them: the store, the hub, the webhook sources.
"""
