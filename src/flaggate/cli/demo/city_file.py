"""The demo's City file, in MaxMind's format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmdb_writer import MMDBWriter
from netaddr import IPSet

from flaggate.cli.demo.places import PLACES, THIS_MACHINE, Place

__all__ = ["write_city_file"]


def write_city_file(path: Path) -> None:
    """Write the file, with every place that has a city."""
    writer = MMDBWriter(6, "GeoLite2-City", ["en"], "Made up", ipv4_compatible=True, int_type="u32")
    for place in (*PLACES, THIS_MACHINE):
        if place.city is not None:
            writer.insert_network(IPSet([place.network]), _record(place))
    writer.to_db_file(str(path))


def _record(place: Place) -> dict[str, Any]:
    return {
        "city": {"geoname_id": place.city_id, "names": {"en": place.city}},
        "country": {"iso_code": place.country, "names": {"en": place.country}},
    }
