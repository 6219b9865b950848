"""Measurements, not tests: `make bench` runs them all, `python -m benchmarks NAME` one. Each prints what it did and the figures."""
