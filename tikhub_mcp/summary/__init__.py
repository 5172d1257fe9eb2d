"""Summaries: saved raw answers as tables in CSV and JSON, as an Excel workbook and as an HTML page.

Imports posts and storage.
"""
