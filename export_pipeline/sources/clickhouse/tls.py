"""What a URL says about TLS, and what goes wrong with it."""

import ssl
from typing import Any

from export_pipeline.errors import SettingsError
from export_pipeline.settings import PREFIX

TLS_SCHEME = "clickhouses"


def has_tls(url: Any) -> bool:
    """Whether a SQLAlchemy URL asks for TLS."""
    return bool(url.get_backend_name() == TLS_SCHEME)


def trust_of(url: Any) -> dict[str, Any]:
    """What the driver's pool of connections is to trust. Raises `SettingsError` for a file that holds no authority."""
    if not has_tls(url):
        return {}
    if url.query.get("verify", "true") == "false":
        from urllib3 import disable_warnings
        from urllib3.exceptions import InsecureRequestWarning

        disable_warnings(InsecureRequestWarning)  # of each request, and the URL says so
        return {"verify": False}
    if (path := url.query.get("ca_cert")) is None:
        return {"verify": True}
    try:
        ssl.create_default_context(cafile=path)
    except OSError:
        raise SettingsError(f"{PREFIX}SOURCE_URL: ca_cert: {path} is no file of certificates in PEM") from None
    return {"verify": True, "ca_cert": path}


def distrust(words: str, url: Any) -> str | None:
    """Why the server's certificate is not accepted, where that is what an error says."""
    if "certificate verify failed" not in words and "CERTIFICATE_VERIFY_FAILED" not in words:
        return None
    if "mismatch" in words:
        return f"the server's certificate is not for {url.host}; name the server in the URL as its certificate does"
    if "expired" in words:
        return "the server's certificate has expired"
    return "the server's certificate is not trusted; name the file of its authority with ?ca_cert=/path"


def hint(words: str, url: Any) -> str:
    """What a connection that ends at once is a sign of."""
    if has_tls(url):
        return "; clickhouse:// is for servers without TLS" if "WRONG_VERSION_NUMBER" in words else ""
    return "; clickhouses:// is for servers with TLS" if "Connection aborted" in words else ""
