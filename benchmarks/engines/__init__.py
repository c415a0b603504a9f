"""The engine in this process beside vLLM's, on the same work: `python -m benchmarks.engines`, and the page that says which when."""
