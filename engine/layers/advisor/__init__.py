"""Advice: what could be left out of an image, with the bytes that it would save."""
