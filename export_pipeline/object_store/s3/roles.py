"""A role of AWS that is assumed with the process's own credentials."""

from typing import Any

from export_pipeline.object_store.config import DestinationConfig

SESSION_NAME = "export-pipeline"


def assume(role: str, session: Any, own: Any, config: DestinationConfig) -> None:
    """Gives a botocore session the credentials of a role, renewed before they end.

    `own` is a session with the process's own credentials; nothing is asked before the first request. The external id
    keeps a workspace from using a role that another workspace's account lent to this installation.
    """
    from botocore.credentials import AssumeRoleCredentialFetcher, DeferredRefreshableCredentials
    from botocore.exceptions import NoCredentialsError

    from export_pipeline.object_store.answers import bound_answers

    credentials = own.get_credentials()
    if credentials is None:
        raise NoCredentialsError
    arguments = {"RoleSessionName": SESSION_NAME}
    if config.external_id is not None:
        arguments["ExternalId"] = config.external_id
    if own.get_config_variable("region") is None:  # STS is asked in the bucket's region where none is configured
        own.set_config_variable("region", config.region or "us-east-1")

    def bounded(*given: Any, **options: Any) -> Any:
        client = own.create_client(*given, **options)
        bound_answers(client)
        return client

    fetcher = AssumeRoleCredentialFetcher(bounded, credentials, role, extra_args=arguments)
    assumed = DeferredRefreshableCredentials(refresh_using=fetcher.fetch_credentials, method="assume-role")
    session.register_component("credential_provider", _Resolver(assumed))


class _Resolver:
    """What a botocore session asks for credentials; this one looks nowhere else."""

    def __init__(self, credentials: Any) -> None:
        self._credentials = credentials

    def load_credentials(self) -> Any:
        """The credentials of the role."""
        return self._credentials
