"""The City file and the processes that share it: each scene is a script in an interpreter of its own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.runtime.scenes import run
from tests.web import city_files

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="needs fork, and Linux's /proc/self"),
    pytest.mark.usefixtures("measured"),
]

START = """
import fcntl, os, resource, sys, tempfile, threading
from itertools import count
from pathlib import Path
from flaggate.errors import SettingError
from flaggate.web.geo import Geo
from tests.runtime.scenes import fork, reap, until
from tests.web.city_files import LEEDS, IN_MANCHESTER, city_file, mapped, padded

file, directory = Path("City.mmdb").absolute(), Path("kept").absolute()
said = []
TIMES = count(step=1000)  # whoever looks, may

def opened(directory=directory):
    return Geo(file, directory, said.append, TIMES.__next__)

def city(geo, address=IN_MANCHESTER):
    return geo.place(address).city

def copies():
    return [path for path in directory.iterdir() if path.name != "geo.lock"]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "City.mmdb").write_bytes(city_files.city_file())
    return tmp_path


@pytest.mark.parametrize("directory", ["directory", "None"])
@pytest.mark.parametrize("size", [0, 100, 5000])
def test_a_file_that_is_truncated_in_place_takes_nobody_down(folder: Path, directory: str, size: int) -> None:
    """Of whoever has mapped it, the system ends the process (SIGBUS) at the next lookup."""
    (folder / "City.mmdb").write_bytes(city_files.padded(city_files.city_file(), 1_000_000))
    script = f"""
geo = opened({directory})
os.truncate(file, {size})
for _ in range(3):
    for number in range(256):
        assert city(geo, f"81.2.69.{{number}}") == "Manchester"
    geo.look()
print(len(said), said[0].endswith("the one before goes on serving"))
"""
    assert run(folder, START + script) == "1 True\n"


def test_eight_processes_that_start_at_once_share_one_copy(folder: Path) -> None:
    (folder / "City.mmdb").write_bytes(city_files.padded(city_files.city_file(), 5_000_000))
    script = """
told, tell = os.pipe()
wait, go = os.pipe()

def serve():
    os.close(go)
    os.read(wait, 1)
    geo = opened()
    assert city(geo) == "Manchester"
    [inode] = mapped(directory)
    os.write(tell, f"{inode} ".encode())

children = [fork(serve) for _ in range(8)]
os.close(go)
reap(*children)
inodes = os.read(told, 1000).decode().split()
[copy] = copies()
print(len(inodes), set(inodes) == {str(copy.stat().st_ino)})
"""
    assert run(folder, START + script) == "8 True\n"


def test_a_copy_that_was_made_just_before_is_not_made_again(folder: Path) -> None:
    script = """
made = []

def make_first(event, _):
    if event == "fcntl.flock" and not made:
        made.append("now")
        made.append(opened())

sys.addaudithook(make_first)
geo = opened()
[copy] = copies()
print(len(made), mapped(directory) == {copy.stat().st_ino})
"""
    assert run(folder, START + script) == "2 True\n"


def test_a_process_that_starts_waits_for_the_one_that_copies(folder: Path) -> None:
    script = """
directory.mkdir()
tries = []
sys.addaudithook(lambda event, _: tries.append(event) if event == "fcntl.flock" else None)
with (directory / "geo.lock").open("ab") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    starting = threading.Thread(target=lambda: said.append(city(opened())))
    starting.start()
    until(lambda: len(tries) > 3, "it tries again and again")
    print(said)
starting.join()
print(said, len(copies()))
"""
    assert run(folder, START + script) == "[]\n['Manchester'] 1\n"


def test_a_process_that_serves_does_not_wait_for_the_one_that_copies(folder: Path) -> None:
    """Its keeper has more to do."""
    script = """
geo = opened()
file.write_bytes(city_file({"81.2.69.0/24": LEEDS}))
with (directory / "geo.lock").open("ab") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    geo.look()
    print(city(geo))
geo.look()
print(city(geo), said)
"""
    assert run(folder, START + script) == "Manchester\nLeeds []\n"


def test_a_process_that_hangs_while_it_copies_stops_nobody(folder: Path) -> None:
    script = """
geo = opened()
before = copies()
file.write_bytes(city_file({"81.2.69.0/24": LEEDS}))
tempfile.tempdir = os.getcwd()
with (directory / "geo.lock").open("ab") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    os.utime(lock.fileno(), (0, 0))  # since 1970
    geo.look()
    print(city(geo), city(opened()), said)
print(copies() == before, len(list(Path().glob("flaggate-*"))))
"""
    assert run(folder, START + script) == "Leeds Leeds []\nTrue 0\n"


def test_a_lock_that_a_child_was_born_with_holds_up_nobody(folder: Path) -> None:
    """A fork just while the copy is made gives the child the lock too, and it never lets go of it."""
    script = """
children = []
wait, go = os.pipe()

def fork_once(event, arguments):
    if event == "open" and str(arguments[0]).endswith(".part") and not children:
        children.append(fork(lambda: (os.close(go), os.read(wait, 1))))

sys.addaudithook(fork_once)
geo = opened()
file.write_bytes(city_file({"81.2.69.0/24": LEEDS}))
geo.look()
print(city(geo), len(children), len(copies()), said)
os.close(go)
reap(*children)
"""
    assert run(folder, START + script) == "Leeds 1 1 []\n"


def test_a_child_goes_on_with_what_was_open_and_looks_by_itself(folder: Path) -> None:
    script = """
geo = opened()

def serve():
    assert city(geo) == "Manchester"
    os.replace("new.mmdb", file)
    geo.look()
    assert city(geo) == "Leeds"

Path("new.mmdb").write_bytes(city_file({"81.2.69.0/24": LEEDS}))
reap(fork(serve))
print(city(geo))
geo.look()
print(city(geo), len(copies()))
"""
    assert run(folder, START + script) == "Manchester\nLeeds 1\n"


def test_a_file_that_is_written_to_while_it_is_read_is_not_taken(folder: Path) -> None:
    script = """
is_writing = False

def write_too(event, arguments):
    global is_writing
    if event == "open" and str(arguments[0]).endswith(".part") and is_writing:
        is_writing = False
        with file.open("ab") as other:
            other.write(b"more")

sys.addaudithook(write_too)
is_writing = True
try:
    opened()
except SettingError as error:
    print(error.allowed.endswith("(it changes while it is read)"), copies())
file.write_bytes(city_file())
geo = opened()
before = copies()
file.write_bytes(city_file({"81.2.69.0/24": LEEDS}))
is_writing = True
geo.look()
print(city(geo), "(it changes while it is read)" in said[0], copies() == before)
file.write_bytes(city_file({"81.2.69.0/24": LEEDS}))
geo.look()
print(city(geo), len(said), len(copies()))
"""
    assert run(folder, START + script) == "True []\nManchester True True\nLeeds 1 1\n"


def test_a_full_disk_keeps_nothing_of_the_copy(folder: Path) -> None:
    """A limit on what the process may write stands for it."""
    (folder / "City.mmdb").write_bytes(city_files.padded(city_files.city_file(), 1_000_000))
    script = """
tempfile.tempdir = os.getcwd()
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
before = sorted(os.listdir())
try:
    opened()
except SettingError as error:
    print("File too large" in str(error), copies(), sorted(os.listdir()) == sorted([*before, "kept"]))
"""
    assert run(folder, START + script) == "True [] True\n"


def test_a_lookup_opens_no_file(folder: Path) -> None:
    script = """
events = []
geo = opened()
geo.place("91.64.0.0")  # what the first one imports
is_looking_up = True
sys.addaudithook(lambda event, _: events.append(event) if is_looking_up else None)
place = geo.place(IN_MANCHESTER)
is_looking_up = False
print(place.city, [event for event in events if not event.startswith(("object.", "sys.", "code."))])
"""
    assert run(folder, START + script) == "Manchester []\n"


@pytest.mark.parametrize("directory", ["directory", "None"])
def test_the_file_is_not_held_in_memory(folder: Path, directory: str) -> None:
    (folder / "City.mmdb").write_bytes(city_files.padded(city_files.city_file(), 40_000_000))
    script = f"""
def anonymous():
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon")]
    return int(line.split()[1]) * 1024

before = anonymous()
geo = opened({directory})
for number in range(256):
    assert city(geo, f"81.2.69.{{number}}") == "Manchester"
more = anonymous() - before
print(more < 15_000_000 or more)
"""
    assert run(folder, START + script) == "True\n"
