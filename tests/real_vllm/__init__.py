"""A real vLLM server, started with the line that ``serve-command`` prints: `make test-vllm` makes its environment and runs these.

Everything is float32, so that greedy tokens can be compared one by one. Without ``VLLM_PYTHON``, a Python with vLLM and this
package in it, all of it is skipped.
"""
