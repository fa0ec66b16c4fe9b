"""Who may ask, and who has changed what: API keys and the audit log."""
