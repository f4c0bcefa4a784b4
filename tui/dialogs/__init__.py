"""Sheets over the panes."""
