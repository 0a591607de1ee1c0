"""Benchmarks: each compares two sides in one run, alternating, and reports medians; nothing here asserts."""
