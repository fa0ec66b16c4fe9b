"""Which addresses may be connected to for somebody else: none that only this machine or its network reaches."""

import ipaddress

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_NAT64_LOCAL = ipaddress.ip_network("64:ff9b:1::/48")
_TEREDO = ipaddress.ip_network("2001::/32")
_SHARED = ipaddress.ip_network("100.64.0.0/10")
_METADATA = frozenset(
    map(
        ipaddress.ip_address,
        ("169.254.169.254", "fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "168.63.129.16", "192.0.0.192"),
    )
)
_NOT_PUBLIC = tuple(
    map(
        ipaddress.ip_network,
        # Python's versions differ in what they call global; these are not, whatever it says (IANA's registries).
        (
            *("0.0.0.0/8", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24"),
            *("203.0.113.0/24", "240.0.0.0/4", "100::/64", "2001:db8::/32", "3fff::/20", "5f00::/16", "fc00::/7"),
            *("fec0::/10", "2001:2::/48", "2001:10::/28", "2001:20::/28"),
        ),
    )
)
_COMPATIBLE = ipaddress.ip_network("::/96")
_ISATAP = {0x00005EFE, 0x02005EFE}


def why_blocked(address: Address, scheme: str, *, allow_private: bool) -> str | None:
    """Why an address may not be an endpoint, or None where it may."""
    inner = _inner(address)
    if isinstance(inner, str):
        return inner
    if inner in _METADATA or inner.is_link_local:
        return "a link-local or metadata address, which is never allowed"
    if inner.is_unspecified or inner.is_multicast:
        return "an address that is not a single machine"
    if is_private(inner) and not allow_private:
        return "a loopback or private address, which is not allowed here"
    if scheme == "http" and not is_private(inner):
        return "a public address, which needs https"
    return None


def is_private(address: Address) -> bool:
    """Whether an address is on this machine or on a network that is not the public one."""
    special = any(address.version == network.version and address in network for network in _NOT_PUBLIC)
    return special or not address.is_global or address.is_reserved or address in _SHARED


def _inner(address: Address) -> Address | str:
    """The address that traffic ends at: that inside a mapped, compatible, 6to4, ISATAP or NAT64 one; or why none is."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if (inner := address.ipv4_mapped or address.sixtofour) is not None:
        return inner
    is_compatible = address in _COMPATIBLE and int(address) > 1
    if address in _NAT64 or is_compatible or (int(address) >> 32) & 0xFFFFFFFF in _ISATAP:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if address in _NAT64_LOCAL or address in _TEREDO:
        return "a translated address whose end cannot be seen"
    return address
