"""Places by address: from real files, that are good, wrong, damaged and replaced while they are served."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from flaggate.errors import SettingError
from flaggate.web.geo import LOOK_SECONDS, NOWHERE, RETRY_SECONDS, Geo, Place
from tests.web import city_files
from tests.web.city_files import FAR_IN_LEEDS, IN_LEEDS, IN_MANCHESTER, mapped

MANCHESTER = Place("Manchester", 2643123, "England", "GB")
MANCHESTER_US = Place("Manchester", 5089178, "New Hampshire", "US")
LEEDS = Place("Leeds", 2644688, "England", "GB")
BERLIN = Place("Berlin", 2950159, "Land Berlin", "DE")

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux: its /proc, its names of any bytes")


class Scene:
    """A file, the folder of its copy, a clock, and what was said."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "City.mmdb"
        self.file.write_bytes(city_files.city_file())
        self.directory = folder / "flags.db.flaggate"
        self.now = 1000.0
        self.said: list[str] = []

    def open(self) -> Geo:
        return Geo(self.file, self.directory, self.said.append, lambda: self.now)

    def replace(self, content: bytes) -> None:
        """As those do who update such files: written elsewhere, and renamed."""
        other = self.file.with_suffix(".new")
        other.write_bytes(content)
        other.replace(self.file)

    def look(self, geo: Geo, after: float = LOOK_SECONDS) -> None:
        self.now += after
        geo.look()

    def copies(self) -> list[Path]:
        return [path for path in self.directory.iterdir() if path.name != "geo.lock"]


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of temporary files, with nothing in it."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


# --- looking up -----------------------------------------------------------------------------


@pytest.mark.parametrize("content", [city_files.city_file(), city_files.ipv6_city_file()], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize(
    ("address", "place"),
    [(IN_MANCHESTER, MANCHESTER), ("66.31.43.255", MANCHESTER_US), (IN_LEEDS, LEEDS), ("91.64.0.0", BERLIN),
     ("92.88.1.1", Place(country="FR")), (f"::ffff:{IN_MANCHESTER}", MANCHESTER), ("81.2.69.142:8080", MANCHESTER),
     ("203.0.113.9", NOWHERE), ("10.0.0.1", NOWHERE), ("127.0.0.1", NOWHERE), ("::1", NOWHERE), ("fc00::1", NOWHERE),
     ("fe80::1%eth0", NOWHERE), ("", NOWHERE), ("unknown", NOWHERE), ("81.2.69", NOWHERE), ("81.2.17806", NOWHERE),
     ("81.2.69.999", NOWHERE), ("081.2.69.142", NOWHERE), ("81.2.69.142\0", NOWHERE), ("\ud800", NOWHERE)],
)  # fmt: skip
def test_places_by_address(scene: Scene, content: bytes, address: str, place: Place) -> None:
    scene.file.write_bytes(content)
    assert scene.open().place(address) == place
    assert scene.said == []


@pytest.mark.parametrize(("address", "place"), [("2a02:c7c:1::5", MANCHESTER), ("2a02:8109::1", BERLIN)])
def test_an_ipv6_address_has_a_place_where_the_file_knows_it(scene: Scene, address: str, place: Place) -> None:
    assert scene.open().place(address) == NOWHERE
    scene.replace(city_files.ipv6_city_file())
    assert scene.open().place(address) == place
    scene.replace(city_files.city_file(city_files.IPV6_NETWORKS, ip_version=6))  # which has no IPv4 at all
    assert scene.open().place(address) == place
    assert scene.said == []


def test_an_address_is_remembered_but_not_for_ever(scene: Scene) -> None:
    geo = scene.open()
    first = geo.place(IN_MANCHESTER)
    assert geo.place("81.2.69.143") is not first
    assert geo.place(IN_MANCHESTER) is first
    for number in range(5000):
        geo.place(f"81.2.{number >> 8}.{number & 255}")
    assert geo.place(IN_MANCHESTER) is not first
    assert geo.place(IN_MANCHESTER) == first


# --- wrong files ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "problem"),
    [(city_files.asn_file(), "it is of type GeoLite2-ASN"),
     (city_files.flat_file(), "it is damaged, or its records are not MaxMind's: "),
     (city_files.file_with_other_keys(), "its records name no city and no country where MaxMind's do"),
     (city_files.city_file({}), "its records name no city and no country where MaxMind's do"),
     (b"", "it is in another format, or damaged"),
     (b"garbage" * 10_000, "it is in another format, or damaged"),
     (city_files.city_file()[:-300], "it is in another format, or damaged"),
     (city_files.city_file()[300:], "it is "),
     (city_files.endless_file(), "it is damaged, or its records are not MaxMind's: "),
     *((city_files.damaged(city_files.city_file(), damage), "it is damaged, or its records are not MaxMind's: ")
       for damage in city_files.DAMAGES)],
)  # fmt: skip
def test_a_wrong_file_is_an_error_at_the_start(scene: Scene, content: bytes, problem: str) -> None:
    scene.file.write_bytes(content)
    with pytest.raises(SettingError) as caught:
        scene.open()
    start = f"geo: {scene.file}; allowed: a City file in MaxMind's format, such as GeoLite2-City.mmdb ("
    assert str(caught.value).startswith(start + problem)
    assert scene.copies() == []


def test_a_path_that_leads_to_no_file_is_an_error_at_the_start(scene: Scene) -> None:
    pipe = scene.file.with_name("pipe")
    os.mkfifo(pipe)  # reading it would wait for ever
    for path, problem in [
        (scene.file.with_name("missing.mmdb"), "No such file or directory"),
        (scene.file.parent, "it is no regular file"),
        (pipe, "it is no regular file"),
        (Path("nul\0.mmdb"), "null"),
    ]:
        scene.file = path
        with pytest.raises(SettingError, match="such as GeoLite2-City") as caught:
            scene.open()
        assert path.stem[:3] in str(caught.value)
        assert problem in str(caught.value)


@pytest.mark.parametrize("wrong", ["", b"City.mmdb", b"", 3, 0, True, ["City.mmdb"]])
def test_what_is_no_path_is_an_error_at_the_start(scene: Scene, wrong: Any) -> None:
    scene.file = wrong
    with pytest.raises(SettingError) as caught:
        scene.open()
    assert str(caught.value).startswith(f"geo: {wrong!r}; allowed: a City file in MaxMind's format, such as ")


@pytest.mark.parametrize("damage", city_files.DAMAGES)
def test_damage_that_shows_later_is_no_place_and_said_once(scene: Scene, damage: str) -> None:
    scene.file.write_bytes(city_files.damaged(city_files.long_file(), damage))
    geo = scene.open()
    assert scene.said == []
    for _ in range(2):
        assert [geo.place(address) for address in FAR_IN_LEEDS] == [NOWHERE, NOWHERE]
    assert geo.place(IN_MANCHESTER) == MANCHESTER
    [said] = scene.said
    assert said.startswith(f"geo: {scene.file} is damaged (")
    assert said.endswith("); addresses like 5.4.200.1 have no place")
    scene.replace(city_files.long_file())
    scene.look(geo)
    assert geo.place(FAR_IN_LEEDS[0]) == LEEDS
    assert len(scene.said) == 1


# --- replaced -------------------------------------------------------------------------------


def moved() -> bytes:
    """A later edition, in which what was in Manchester is in Leeds."""
    return city_files.city_file({"81.2.69.0/24": city_files.LEEDS})


def test_a_file_that_is_replaced_is_read_again(scene: Scene) -> None:
    geo = scene.open()
    assert geo.place(IN_MANCHESTER) == MANCHESTER
    scene.replace(moved())
    assert geo.place(IN_MANCHESTER) == MANCHESTER
    scene.look(geo)
    assert geo.place(IN_MANCHESTER) == LEEDS
    assert scene.said == []


def test_it_is_looked_at_now_and_then_only(scene: Scene) -> None:
    geo = scene.open()
    scene.replace(moved())
    scene.look(geo, after=LOOK_SECONDS / 2)
    assert geo.place(IN_MANCHESTER) == MANCHESTER
    scene.look(geo, after=LOOK_SECONDS / 2)
    assert geo.place(IN_MANCHESTER) == LEEDS
    scene.replace(city_files.city_file())
    scene.look(geo, after=LOOK_SECONDS / 2)
    assert geo.place(IN_MANCHESTER) == LEEDS


def test_a_file_that_is_the_same_is_not_copied_again(scene: Scene) -> None:
    geo = scene.open()
    [copy] = scene.copies()
    copy.unlink()
    scene.look(geo)
    assert scene.copies() == []


def test_a_file_written_over_with_its_old_time_is_read_again(scene: Scene) -> None:
    geo = scene.open()
    seen = scene.file.stat()
    other = city_files.city_file({"81.2.69.0/24": city_files.BERLIN})
    scene.file.write_bytes(city_files.padded(other, seen.st_size))
    os.utime(scene.file, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    assert (scene.file.stat().st_size, scene.file.stat().st_mtime_ns) == (seen.st_size, seen.st_mtime_ns)
    scene.look(geo)
    assert geo.place(IN_MANCHESTER) == BERLIN


@pytest.mark.parametrize("content", [b"", b"garbage", city_files.asn_file(), city_files.city_file()[:-300]])
def test_replaced_by_a_wrong_file_the_one_before_goes_on(scene: Scene, content: bytes) -> None:
    geo = scene.open()
    scene.replace(content)
    for _ in range(3):
        scene.look(geo)
        assert geo.place(IN_MANCHESTER) == MANCHESTER
        assert geo.place(IN_LEEDS) == LEEDS
    [said] = scene.said
    assert said.startswith(f"geo: {scene.file} cannot be used (it is ")
    assert said.endswith("); the one before goes on serving")
    scene.replace(moved())
    scene.look(geo)
    assert geo.place(IN_MANCHESTER) == LEEDS


def test_a_file_that_has_gone_goes_on_until_another_comes(scene: Scene) -> None:
    geo = scene.open()
    scene.file.unlink()
    scene.look(geo)
    assert "No such file or directory" in scene.said[0]
    assert geo.place(IN_MANCHESTER) == MANCHESTER
    scene.file.write_bytes(moved())
    scene.look(geo)
    assert geo.place(IN_MANCHESTER) == MANCHESTER
    scene.look(geo, after=RETRY_SECONDS)
    assert geo.place(IN_MANCHESTER) == LEEDS


def test_a_lookup_needs_neither_file_nor_folder(scene: Scene) -> None:
    geo = scene.open()
    scene.file.unlink()
    for path in scene.directory.iterdir():
        path.unlink()
    scene.directory.rmdir()
    assert geo.place(IN_MANCHESTER) == MANCHESTER
    scene.file.write_bytes(moved())
    scene.look(geo)
    assert geo.place(IN_MANCHESTER) == LEEDS


def test_a_link_that_is_switched_is_followed(scene: Scene) -> None:
    for name, content in [("March", city_files.city_file()), ("April", moved())]:
        folder = scene.file.with_name(name)
        folder.mkdir()
        (folder / "City.mmdb").write_bytes(content)
    current = scene.file.with_name("current")
    current.symlink_to("March")
    scene.file = current / "City.mmdb"
    geo = scene.open()
    assert geo.place(IN_MANCHESTER) == MANCHESTER
    switched = current.with_name("switched")
    switched.symlink_to("April")
    switched.replace(current)
    scene.look(geo)
    assert geo.place(IN_MANCHESTER) == LEEDS


def test_relative_paths_are_of_the_folder_at_the_start(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(scene.file.parent)
    geo = Geo("City.mmdb", "kept", scene.said.append, lambda: scene.now)
    scene.directory = Path("kept").absolute()
    (scene.file.parent / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    scene.replace(moved())
    scene.look(geo)
    assert geo.place(IN_MANCHESTER) == LEEDS
    assert len(scene.copies()) == 1
    assert list(Path.cwd().iterdir()) == []


# --- the copy -------------------------------------------------------------------------------


@on_linux
def test_one_copy_is_shared_and_replaced(scene: Scene) -> None:
    geos = [scene.open(), scene.open()]
    [copy] = scene.copies()
    first = copy.stat().st_ino
    assert mapped(scene.directory) == {first}
    assert mapped(scene.file.parent) == {first}
    scene.replace(moved())
    scene.look(geos[0])
    [copy] = scene.copies()
    assert mapped(scene.directory) == {first, copy.stat().st_ino}
    scene.look(geos[1], after=0)
    assert scene.copies() == [copy]
    assert mapped(scene.directory) == {copy.stat().st_ino}  # the one before is let go of
    assert [geo.place(IN_MANCHESTER) for geo in geos] == [LEEDS, LEEDS]


@on_linux
@pytest.mark.parametrize("directory", [None, "a file/below it"])
def test_without_a_folder_it_has_a_copy_of_its_own(scene: Scene, temporary: Path, directory: str | None) -> None:
    (scene.file.parent / "a file").touch()
    where = None if directory is None else scene.file.parent / directory
    geo = Geo(scene.file, where, scene.said.append, lambda: scene.now)
    assert len(mapped(temporary)) == 1
    assert list(temporary.iterdir()) == []
    scene.file.write_bytes(b"")
    assert geo.place(IN_MANCHESTER) == MANCHESTER
    scene.look(geo)
    scene.replace(moved())
    scene.look(geo)
    assert geo.place(IN_MANCHESTER) == LEEDS
    assert len(mapped(temporary)) == 1
    assert list(temporary.iterdir()) == []


def test_a_copy_of_which_a_crash_left_a_part_is_made_anew(scene: Scene) -> None:
    scene.open()
    [copy] = scene.copies()
    os.truncate(copy, 500)
    copy.with_name(f"{copy.name[:20]}left.part").touch()
    assert scene.open().place(IN_MANCHESTER) == MANCHESTER
    assert scene.copies() == [copy]
    assert copy.read_bytes() == scene.file.read_bytes()


@on_linux
def test_files_of_two_apps_stay_apart(scene: Scene, tmp_path: Path) -> None:
    one = scene.open()
    scene.file = tmp_path / os.fsdecode(b"\xff.mmdb")  # a name that is no UTF-8
    scene.file.write_bytes(moved())
    other = scene.open()
    assert (one.place(IN_MANCHESTER), other.place(IN_MANCHESTER)) == (MANCHESTER, LEEDS)
    scene.replace(city_files.city_file({"81.2.69.0/24": city_files.BERLIN}))
    scene.look(other)
    assert (one.place(IN_MANCHESTER), other.place(IN_MANCHESTER)) == (MANCHESTER, BERLIN)
    assert len(scene.copies()) == 2


def test_something_in_the_way_of_tidying_up_is_left(scene: Scene) -> None:
    geo = scene.open()
    [copy] = scene.copies()
    (scene.directory / f"{copy.name[:16]}-a-folder").mkdir()
    scene.replace(moved())
    scene.look(geo)
    assert geo.place(IN_MANCHESTER) == LEEDS
    assert not copy.exists()


def test_something_in_the_way_of_the_copy_is_left(scene: Scene, temporary: Path) -> None:
    scene.open()
    [copy] = scene.copies()
    copy.unlink()
    (copy / "a folder").mkdir(parents=True)
    assert scene.open().place(IN_MANCHESTER) == MANCHESTER
    assert scene.copies() == [copy]
    assert list(temporary.iterdir()) == []


def test_a_copy_that_does_not_succeed_is_tried_again_later(scene: Scene, temporary: Path) -> None:
    scene.directory = scene.file / "below a file"
    geo = scene.open()
    scene.replace(moved())
    temporary.rmdir()
    for _ in range(3):
        scene.look(geo)
        assert geo.place(IN_MANCHESTER) == MANCHESTER
    assert len(scene.said) == 1
    temporary.mkdir()
    scene.look(geo, after=RETRY_SECONDS)
    assert geo.place(IN_MANCHESTER) == LEEDS
