"""Text in, scores out: sentiment, urgency, intent and an embedding from one forward pass.

Owns models: loading, tokenising, batching, caching, training, evaluation. Does not own the stream, the store or any
rule; it imports `streams.records` and nothing else of ours. The app wires `worker.score_records` to its consume loop.
"""
