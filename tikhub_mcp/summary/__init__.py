"""Saved answers to tables: CSV, JSON, a workbook, a page.

Imports posts and storage.
"""
