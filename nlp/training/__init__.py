"""Training of the shipped model: base weights, vocabulary, corpora, the network, the loop, calibration and export.

Owns everything that turns public and own labelled texts into the files of `nlp/weights`. Nothing here runs in a
deployment: it needs the extra `gpu` (torch, transformers) and `onnx`, and no serving module imports it.
"""
