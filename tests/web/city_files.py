"""City files in MaxMind's format, as bytes: small ones made on the spot, and what can be wrong with one.

Scripts import it too, so nothing here may load pytest.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from mmdb_writer import METADATA_MAGIC, MMDBWriter
from netaddr import IPSet

logging.getLogger("mmdb_writer").setLevel(logging.WARNING)  # it tells of every network inside another


def _record(city: str | None, city_id: int, regions: list[str], country: str) -> dict[str, Any]:
    """As MaxMind shapes it; without what it knows of continent, time zone and so on."""
    record: dict[str, Any] = {
        "country": {"geoname_id": 2635167, "iso_code": country, "names": {"de": "-", "en": "-"}},
        "location": {"accuracy_radius": 20, "latitude": 53.5, "longitude": -2.2},
    }
    if city is not None:
        record["city"] = {"geoname_id": city_id, "names": {"de": f"Stadt {city}", "en": city}}
    if regions:
        record["subdivisions"] = [{"iso_code": "-", "names": {"de": "-", "en": region}} for region in regions]
    return record


MANCHESTER: Final = _record("Manchester", 2643123, ["England", "Greater Manchester"], "GB")
MANCHESTER_US: Final = _record("Manchester", 5089178, ["New Hampshire"], "US")
LEEDS: Final = _record("Leeds", 2644688, ["England", "Leeds"], "GB")
BERLIN: Final = _record("Berlin", 2950159, ["Land Berlin"], "DE")
SOMEWHERE_IN_FRANCE: Final = _record(None, 0, [], "FR")

NETWORKS: Final = {
    "81.2.69.0/24": MANCHESTER,
    "66.31.40.0/22": MANCHESTER_US,
    "90.203.16.0/20": LEEDS,
    "91.64.0.0/14": BERLIN,
    "92.88.0.0/16": SOMEWHERE_IN_FRANCE,
}
IPV6_NETWORKS: Final = {"2a02:c7c:1::/48": MANCHESTER, "2a02:8100::/27": BERLIN}

IN_MANCHESTER: Final = "81.2.69.142"
IN_LEEDS: Final = "90.203.17.5"


def city_file(
    networks: Mapping[str, Mapping[str, Any]] = NETWORKS, *, ip_version: int = 4, kind: str = "GeoLite2-City"
) -> bytes:
    """A file with these records by network."""
    writer = MMDBWriter(ip_version, kind, ["en"], "For tests", ipv4_compatible=ip_version == 6, int_type="u32")
    for network, record in networks.items():
        writer.insert_network(IPSet([network]), dict(record))
    with tempfile.NamedTemporaryFile() as made:
        writer.to_db_file(made.name)
        return Path(made.name).read_bytes()


def ipv6_city_file() -> bytes:
    """With IPv4 addresses inside, as MaxMind's own are."""
    return city_file({**NETWORKS, **IPV6_NETWORKS}, ip_version=6)


def asn_file() -> bytes:
    """Of another type."""
    operator = {"autonomous_system_number": 64496, "autonomous_system_organization": "Example"}
    return city_file({"81.2.69.0/24": operator}, kind="GeoLite2-ASN")


def flat_file() -> bytes:
    """A City file by its type, with texts where MaxMind has tables."""
    return city_file({"81.2.69.0/24": {"city": "Manchester", "country": "GB"}}, kind="Example-City")


def file_with_other_keys() -> bytes:
    """A City file by its type, with names that MaxMind does not use."""
    return city_file({"81.2.69.0/24": {"town": "Manchester", "nation": "GB"}}, kind="Example-City")


DAMAGES: Final = {
    "a text that is no UTF-8": b"\x45\xff\xfe\xfd\xff\xfe",
    "a pointer that leads out of the file": b"\x3f\xff\xff\xff\xffs",
    "a type that does not exist": b"\x00\xffLeed",
}


def damaged(file: bytes, damage: str) -> bytes:
    """The same size, with the name of Leeds spoilt."""
    return file.replace(b"\x45Leeds", DAMAGES[damage])  # 0x45: a text of five bytes


def long_file() -> bytes:
    """One in which Leeds stands far behind whatever is looked through at first."""
    many = {f"5.{number >> 8}.{number & 255}.0/24": (MANCHESTER, BERLIN)[number % 2] for number in range(1200)}
    return city_file(many | {"5.4.200.0/24": LEEDS, "81.2.69.0/24": MANCHESTER})


FAR_IN_LEEDS: Final = ("5.4.200.1", "5.4.200.2")


def endless_file() -> bytes:
    """One whose search tree leads back to its second node, everywhere; maxminddb's own iterator never leaves it."""
    file = city_file()
    nodes = file.index(b"\0" * 16) // 6  # the tree ends with these; a node is two numbers of 24 bits
    back = (1).to_bytes(3, "big") + nodes.to_bytes(3, "big")  # to the second node, and to nothing
    return back * nodes + file[6 * nodes :]


def padded(file: bytes, size: int) -> bytes:
    """The same records in a file of this size."""
    before, magic, metadata = file.rpartition(METADATA_MAGIC)
    return before + bytes(size - len(file)) + magic + metadata


def mapped(directory: Path) -> set[int]:
    """The inodes of the files below a folder, deleted ones too, that this process has mapped. Linux only."""
    lines = [line.split(maxsplit=5) for line in Path("/proc/self/maps").read_text().splitlines()]
    return {int(fields[4]) for fields in lines if len(fields) == 6 and fields[5].startswith(f"{directory}/")}
