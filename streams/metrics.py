"""The Prometheus metrics of the pipeline: the ledger's counters by source, lag by consumer, latency by stage.

Owns names and labels (README lists them; a test compares). Does not own when to count: each stage does, after the
effect is durable. Module level on purpose: the only global state of the program.
"""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each counter that nobody reads

_SECONDS: Final = (
    *(0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.25, 1.5, 2.0, 2.5),
    *(3.0, 4.0, 5.0, 7.5, 10.0, 30.0, 60.0, 300.0, 3600.0),
)

RECEIVED: Final = Counter("warroom_mentions_received_total", "Payloads that a source delivered", ["source"])
MATCHED: Final = Counter("warroom_mentions_matched_total", "Mentions that a query matched and the log took", ["source"])
DUPLICATED: Final = Counter("warroom_mentions_duplicated_total", "Repeats of a known identity and revision", ["source"])
SCORED: Final = Counter("warroom_mentions_scored_total", "Mentions that a model scored", ["source"])
STORED: Final = Counter("warroom_mentions_stored_total", "Mentions that the store inserted or revised", ["source"])
SHOWN: Final = Counter("warroom_mentions_shown_total", "Mentions that entered a frame's figures", ["source"])
DEAD: Final = Counter("warroom_mentions_dead_total", "Payloads or records that went to [dead]", ["source"])
LATE: Final = Counter("warroom_mentions_late_total", "Mentions that came after the engine had passed them", ["source"])
GAPS: Final = Counter("warroom_source_gaps_total", "Times at which mentions may have been lost upstream", ["source"])
RECONNECTS: Final = Counter("warroom_source_reconnects_total", "Connections made after the first", ["source"])
SOURCE_AGE: Final = Gauge("warroom_source_last_arrival_timestamp_seconds", "When a source last arrived", ["source"])

LAG_ITEMS: Final = Gauge("warroom_consumer_lag_items", "Items that a consumer has not fetched yet", ["topic", "group"])
LAG_SECONDS: Final = Gauge("warroom_consumer_lag_seconds", "Age of the oldest item not fetched", ["topic", "group"])
LOST: Final = Counter("warroom_items_lost_total", "Items that retention took before they were read", ["topic", "group"])
RETRIES: Final = Counter("warroom_consumer_retries_total", "Batches handled again after an error", ["topic", "group"])
BATCHES: Final = Counter("warroom_consumer_batches_total", "Batches handled and committed", ["topic", "group"])
ANSWERS: Final = Counter("warroom_scorer_answers_total", "Texts that the scorer answered, by how", ["how"])
REMEMBERED: Final = Gauge("warroom_scorer_cache_answers", "Answers that the scorer remembers")
FORGOTTEN: Final = Counter("warroom_scorer_cache_evictions_total", "Answers forgotten because the memory was full")
OVERLOADED: Final = Counter("warroom_scorer_overloads_total", "Texts not taken because the scorer's queue was full")
QUEUED: Final = Gauge("warroom_scorer_queue_tokens", "Estimated tokens that wait for the scorer")
BUSY: Final = Counter("warroom_scorer_busy_seconds_total", "Seconds that the scorer's thread worked")
LATENCY: Final = Histogram("warroom_latency_seconds", "From receipt to the end of a stage", ["stage"], buckets=_SECONDS)
ALERTS: Final = Counter("warroom_alert_events_total", "Transitions of alerts", ["state"])
NOTIFICATIONS: Final = Counter("warroom_notifications_total", "Delivery attempts", ["receiver", "result"])
CLIENTS: Final = Gauge("warroom_live_clients", "Open WebSockets", ["channel"])
RESYNCS: Final = Counter("warroom_live_resyncs_total", "Clients told to load a snapshot", ["reason"])
