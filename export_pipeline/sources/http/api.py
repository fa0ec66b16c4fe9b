"""What the calls of every API have in common."""

from export_pipeline.sources.http.client import Client


class Api:
    """One service; its methods may be called from several threads at once."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @property
    def address(self) -> str:
        """Where it is."""
        return self._client.base

    @property
    def service(self) -> str:
        """What errors call it."""
        return self._client.service

    def usage(self) -> str:
        """A sentence on how near the limit is."""
        return self._client.usage()

    def close(self) -> None:
        """Gives back the connections."""
        self._client.close()
