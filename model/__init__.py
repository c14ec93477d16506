"""The method itself, in PyTorch, NumPy and SciPy only.

Colours, network, pointer, training loop, propagation and metrics.
"""
