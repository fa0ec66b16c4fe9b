"""Projects, their standing exports, and which of their days are to be exported."""
