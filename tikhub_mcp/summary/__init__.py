"""Summaries: saved raw answers as tables in CSV and JSON, as an Excel workbook and as an HTML page.

May import settings, posts and storage, and the modules beside the folders.
"""
