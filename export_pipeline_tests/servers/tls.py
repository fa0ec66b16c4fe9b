"""TLS before a server that has none, with a certificate of the test's own."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

_PIECE = 65_536


@dataclass(frozen=True)
class TlsFront:
    """Where it listens on loopback, and the file of the authority that has signed its certificate."""

    port: int
    authority: Path


@contextmanager
def tls_front(port: int, folder: Path, *, days: int = 1) -> Iterator[TlsFront]:
    """Listens with TLS, as 127.0.0.1, and passes on what comes to the port of a server without.

    `days` is how long the certificate will be valid; it may have been.
    """
    authority, certificate = _certificates(folder, days=days)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=_serve, args=(listening, context, port), daemon=True).start()
        yield TlsFront(listening.getsockname()[1], authority)
        listening.shutdown(socket.SHUT_RDWR)


def _serve(listening: socket.socket, context: ssl.SSLContext, port: int) -> None:
    while True:
        try:
            client, _ = listening.accept()
        except OSError:
            return  # the end of the test
        threading.Thread(target=_answer, args=(client, context, port), daemon=True).start()


def _answer(client: socket.socket, context: ssl.SSLContext, port: int) -> None:
    try:
        with (
            context.wrap_socket(client, server_side=True) as inside,
            socket.create_connection(("127.0.0.1", port)) as to,
        ):
            answers = threading.Thread(target=_copy, args=(to, inside), daemon=True)
            answers.start()
            _copy(inside, to)
            answers.join()
    except OSError:
        client.close()  # who does not trust the certificate hangs up


def _copy(source: socket.socket, target: socket.socket) -> None:
    try:
        while piece := source.recv(_PIECE):
            target.sendall(piece)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        return


def _certificates(folder: Path, *, days: int) -> tuple[Path, Path]:
    """The files of an authority, and of a certificate that it has signed, with its key."""
    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    root_name, name = (
        x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, each)]) for each in ("authority", "server")
    )
    root = _builder(root_name, root_name, root_key, days=1).add_extension(
        x509.BasicConstraints(ca=True, path_length=None), critical=True
    )
    names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    leaf = _builder(name, root_name, key, days=days).add_extension(names, critical=False)
    authority, certificate = folder / "authority.pem", folder / "server.pem"
    authority.write_bytes(root.sign(root_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    certificate.write_bytes(leaf.sign(root_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM) + private)
    return authority, certificate


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, *, days: int
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=9))
        .not_valid_after(now + timedelta(days=days))
    )
