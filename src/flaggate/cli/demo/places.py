"""Where the demo's people are: a few cities with made-up networks, so that an address leads to a city."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Final, NamedTuple

__all__ = ["PLACES", "THIS_MACHINE", "Place"]


class Place(NamedTuple):
    """A city and its network."""

    city: str | None
    country: str | None
    network: str
    """Of those that are set apart for tests and documentation: RFC 2544 (198.18.0.0/15), RFC 3849 (2001:db8::/32)."""
    weight: int
    """How many of a hundred people are there."""
    city_id: int = 0
    """GeoNames."""

    def address(self, number: int) -> str:
        """The address of the so manieth person there."""
        network = ip_network(self.network)
        return str(network[1 + number % min(network.num_addresses - 2, 60_000)])


PLACES: Final = (
    Place("Manchester", "GB", "198.18.0.0/20", 12, 2643123),
    Place("Manchester", "US", "198.18.16.0/20", 4, 5089178),
    Place("Leeds", "GB", "2001:db8:1eed::/48", 20, 2644688),
    Place("London", "GB", "198.18.32.0/20", 40, 2643743),
    Place("Berlin", "DE", "198.18.48.0/20", 14, 2950159),
    Place(None, None, "198.19.0.0/16", 10),  # no file knows it, as it is with six in ten addresses
)

THIS_MACHINE: Final = Place("Manchester", "GB", "127.0.0.0/8", 0, 2643123)
"""A browser that looks at the demo is in Manchester."""
