"""The HTTP API: the bulk-export calls of LangSmith, and what goes beyond them."""

from export_pipeline.api.app import create_app

__all__ = ["create_app"]
