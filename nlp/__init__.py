"""Text in, scores out: loading, batching, ONNX on a CPU, torch on a GPU, training and evaluation.

Imports `streams.records` only. Does not own the consume loop, the store or any rule.
"""
