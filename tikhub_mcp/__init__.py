"""Turns TikTok and Douyin share links into verified video files and honest metrics, for AI agents."""

__version__ = "0.1.0"
