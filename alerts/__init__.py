"""Rules, event-time windows, the alert state machine, the outbox and the notifiers.

Imports `streams.records` and the consume loop only. Does not own tables (the two logs it needs are protocols in
`alerts.ports`, satisfied by `app.store`) nor scoring.
"""
