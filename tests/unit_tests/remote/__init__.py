"""Tests of the engine that is elsewhere, against a vLLM of our own."""
