"""Tables that do not fit in memory: what is written is what the short way writes, byte for byte."""

import gzip
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from recbole_microlens.errors import MicroLensError
from recbole_microlens.release import atomic, blocks
from recbole_microlens.release.atomic import convert
from recbole_microlens.release.ids import natural_key
from recbole_microlens.release.sequence_store import SequenceStore
from recbole_microlens.release.spill import distributing, keys, plan, ranking, spilled

KINDS = ("numbers", "far-numbers", "names", "mixed")
SLOW_ONE, SLOW_TWO = (pytest.param(*more, marks=pytest.mark.slow) for more in (("last", None), ("first", 3)))
TITLES = "item,title\n7,a title\n8,\nv2,video two\n"


@pytest.fixture
def through_files(monkeypatch):
    """Return a function that makes every conversion go through partitions of a few rows."""

    def make(rows=5, block=40):
        monkeypatch.setattr(atomic, "rows_in_memory", lambda memory: 0)
        monkeypatch.setattr(plan, "LEAST_ROWS", rows)
        monkeypatch.setattr(plan, "_OWN_BYTES", 1 << 40)
        monkeypatch.setattr(blocks, "BLOCK", block)
        monkeypatch.setattr(ranking, "_USERS_AT_ONCE", 3)
        monkeypatch.setattr(spilled, "_ROWS_AT_ONCE", 4)

    return make


def files_of(out, dataset="mine"):
    folder = out / dataset
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def both_ways(make_release, tmp_path, through_files, files, **options):
    """The files of a conversion in memory and of one through partitions, or what each is refused with."""
    found = []
    for name in ("memory", "files"):
        out = tmp_path / name
        if name == "files":
            through_files()
        try:
            done = convert(make_release(files), "mine", out, **options)
            found.append((files_of(out), done.report().replace(str(out), "")))
        except MicroLensError as error:
            found.append(str(error).replace(str(out), ""))
    return found


def table_of(kind, rng, rows=80):
    """Rows of user, item, time in which users and items repeat and times are tied."""
    users = {
        "numbers": [str(n) for n in range(1, 12)],
        "far-numbers": [str(n**9) for n in range(1, 12)],
        "names": ["u1", "u10", "u2", "u02", "Ü", "用户", "a b", "a  b", "x" * 40, "v1.10", "v1.9"],
        "mixed": ["7", "007", "u7", "10", "9", "a", "0", "00", "999999999999999999", "1" * 25, "-5"],
    }[kind]
    base = 1_583_378_629_552
    lines = [f"{rng.choice(users)},{rng.choice(['7', '8', 'v2', '10', '9'])},{base + rng.randint(0, 9)}\n"]
    while len(lines) < rows:
        user, item = rng.choice(users), rng.choice(["7", "8", "v2", "10", "9", "12", "13"])
        lines.append(f"{user},{item},{base + rng.randint(0, 9)}\n")
    return "user,item,timestamp\n" + "".join(lines)


@pytest.mark.parametrize(("repeats", "latest"), [("first", None), ("keep", 3), SLOW_ONE, SLOW_TWO])
@pytest.mark.parametrize("kind", KINDS)
def test_both_ways_write_the_same(kind, latest, repeats, make_release, tmp_path, through_files):
    files = {"MicroLens-50k_pairs.csv": table_of(kind, random.Random(3)), "MicroLens-50k_titles.csv": TITLES}
    options = {"latest": latest, "repeats": repeats, "atomic": True, "store": True}
    short, long = both_ways(make_release, tmp_path, through_files, files, **options)
    assert isinstance(short, tuple) and short == long
    assert not [path for path in (tmp_path / "files").iterdir() if path.name != "mine"]


SECONDS = "u1,v1,1583378629\nu2,v1,1583378630\n"
TABLES = {
    "iso": "user,item,time\nu1,v1,2024-05-31T18:00:02Z\nu1,v2,2024-05-31 18:00:01\nu2,v1,2024-05-31\n" * 3,
    "two units": SECONDS * 5 + "u3,v9,1583378629552\n" + SECONDS,
    "bad rows": "1,7,5\n1,8\n2,7,soon\n2,8,6\n" * 6 + "3,\xff,7\n",
    "quotes": 'user,item,timestamp\n"1",7,5\n1,"8",6\n2,7,"5"\n' * 4,
    "blank lines": "\n\nuser,item,timestamp\n\n" + "1,7,5\n\n2,8,6\n  \n" * 5,
    "line ends": "1,7,5\r\n2,8,6\r\n" * 9,
    "carriage returns": "1,7,5\r2,8,6\r" * 9,
    "byte order mark": "\ufeffuser,item,timestamp\n" + "1,7,5\n2,8,6\n" * 9,
    "events": "user,item,ts,event\n" + "1,7,5,play\n1,8,6,skip\n2,7,7,play\n2,9,8,open\n" * 5,
    "wide ids": "1,7,5\n" + f"{2**62},8,6\n{10**17},9,7\n" * 5,
    "nothing": "user,item,timestamp\n",
    "header alone is odd": "who,what,when\n1,7,5\n",
}


@pytest.mark.parametrize("skip", [True, False], ids=["skip", "stop"])
@pytest.mark.parametrize("name", TABLES)
def test_odd_tables_give_the_same_by_both_ways(name, skip, make_release, tmp_path, through_files):
    files = {"MicroLens-50k_pairs.csv": TABLES[name].encode("latin-1" if name == "bad rows" else "utf-8")}
    events = ("play",) if name == "events" else ()
    short, long = both_ways(
        make_release,
        tmp_path,
        through_files,
        files,
        skip_bad_rows=skip,
        events=events,
        store=True,
        atomic=True,
    )
    assert short == long
    assert not list(tmp_path.rglob(".mine.*"))


@pytest.mark.parametrize("pack", [gzip.compress, lambda data: pa.compress(data, "zstd", asbytes=True)])
def test_packed_tables_and_sequences_too(pack, make_release, tmp_path, through_files):
    suffix = ".gz" if pack is gzip.compress else ".zst"
    lines = "".join(f"{user}\t{user + 1} {user + 3} {user + 1}\n" for user in range(30))
    release = make_release({f"log.tsv{suffix}": pack(lines.encode())}) / f"log.tsv{suffix}"
    convert(release, "mine", tmp_path / "memory")
    through_files()
    convert(release, "mine", tmp_path / "files")
    assert files_of(tmp_path / "memory") == files_of(tmp_path / "files")
    assert len((tmp_path / "files" / "mine" / "mine.inter").read_text().splitlines()) == 61


def test_a_damaged_packed_table_is_named(make_release, tmp_path):
    packed = pa.compress(b"1,7,5\n" * 1000, "zstd", asbytes=True)
    for content in (packed[:-3], b"no such thing"):
        release = make_release({"log.csv.zst": content}) / "log.csv.zst"
        with pytest.raises(MicroLensError, match="log.csv.zst: cannot be unpacked"):
            convert(release, "mine", tmp_path / "out")


def test_the_store_holds_what_the_atomic_files_hold(make_release, tmp_path, through_files, rows_of):
    through_files()
    files = {"MicroLens-50k_pairs.csv": table_of("mixed", random.Random(0))}
    convert(make_release(files), "mine", tmp_path, atomic=True, store=True)
    store = SequenceStore.open(tmp_path / "mine" / "mine.sequences")
    store.verify()
    user = np.repeat(np.arange(len(store)), np.diff(store.offsets))
    rows = zip(
        store.user_ids(user),
        [store.item_ids[code] for code in store.items],
        map(str, store.times),
        strict=True,
    )
    assert [list(row) for row in rows] == rows_of(tmp_path / "mine" / "mine.time")[1:]


def test_the_store_knows_how_many_earlier_interactions_are_left_out(make_release, tmp_path):
    files = {"MicroLens-50k_pairs.csv": "1,7,5\n1,8,6\n1,9,7\n1,7,8\n2,9,5\n"}
    convert(make_release(files), "mine", tmp_path, latest=2, store=True)
    store = SequenceStore.open(tmp_path / "mine" / "mine.sequences")
    assert store.item_ids == ["8", "9"] and store.items.tolist() == [0, 1, 1]
    assert store.earlier.tolist() == [1, 0] and store.manifest.latest == 2


def test_what_is_written_follows_the_number_of_interactions(make_release, tmp_path, monkeypatch):
    release = make_release({"MicroLens-50k_pairs.csv": "1,7,5\n2,8,6\n"})
    assert ".inter" in convert(release, "mine", tmp_path).paths
    monkeypatch.setattr(atomic, "ATOMIC_UP_TO", 1)
    done = convert(release, "mine", tmp_path)
    assert ".sequences" in done.paths and ".inter" not in done.paths and ".time" not in done.paths
    assert not (tmp_path / "mine" / "mine.inter").exists()
    assert ".inter" in convert(release, "mine", tmp_path, atomic=True).paths
    assert not (tmp_path / "mine" / "mine.sequences").exists()


@pytest.mark.parametrize(
    ("kind", "places"),
    [
        ("numbers", (18, 64, 125)),  # at 18 rows have been appended that no state counts
        ("mixed", (18, 86, 169)),
        *(pytest.param(kind, range(3, 400, 5), marks=pytest.mark.slow) for kind in KINDS),
    ],
)
def test_a_conversion_that_is_cut_off_anywhere_continues(
    kind, places, make_release, tmp_path, through_files, monkeypatch
):
    content = table_of(kind, random.Random(5), rows=40) + "1,broken\n"
    release = make_release({"MicroLens-50k_pairs.csv": content})
    options = {"atomic": True, "store": True, "skip_bad_rows": True}
    convert(release, "mine", tmp_path / "memory", **options)
    through_files(rows=12, block=200)
    monkeypatch.setattr(distributing, "_SECONDS_BETWEEN_STATES", -1)
    steps = 0

    class Cut(BaseException):
        """As sudden as a kill: nothing catches it."""

    def cut_after(count):
        left = [count]

        def opened(self, *arguments, **more):
            if left[0] == 0:
                raise Cut
            left[0] -= 1
            return real(self, *arguments, **more)

        return opened

    real = Path.open
    for count in places:
        out = tmp_path / f"files{count}"
        for _ in range(2):
            monkeypatch.setattr(Path, "open", cut_after(count))
            try:
                convert(release, "mine", out, **options)
                break
            except Cut:
                steps += 1
            finally:
                monkeypatch.setattr(Path, "open", real)
        convert(release, "mine", out, **options)
        assert files_of(out) == files_of(tmp_path / "memory"), count
    assert steps >= 3


def test_a_hash_that_two_ids_share_is_replaced(make_release, tmp_path, through_files, monkeypatch):
    files = {"MicroLens-50k_pairs.csv": table_of("names", random.Random(1))}
    real = keys._hashes

    def few(names, salt):
        return real(names, salt) if salt else np.full(len(names), -5, dtype=np.int64)

    convert(make_release(files), "mine", tmp_path / "memory")
    through_files()
    monkeypatch.setattr(keys, "_hashes", few)
    convert(make_release(files), "mine", tmp_path / "files")
    assert files_of(tmp_path / "memory") == files_of(tmp_path / "files")


def test_another_table_or_other_options_begin_anew(make_release, tmp_path, through_files, monkeypatch):
    through_files()
    monkeypatch.setattr(spilled, "sort_partitions", lambda *arguments: 1 / 0)
    release = make_release({"MicroLens-50k_pairs.csv": table_of("numbers", random.Random(1))})
    with pytest.raises(ZeroDivisionError):
        convert(release, "mine", tmp_path / "out", repeats="keep")
    monkeypatch.undo()
    through_files()
    convert(release, "mine", tmp_path / "out")
    convert(release, "mine", tmp_path / "new")
    assert files_of(tmp_path / "out") == files_of(tmp_path / "new")


def test_too_little_disk_is_said_before_anything_is_read(make_release, tmp_path, through_files, monkeypatch):
    through_files()
    usage = spilled.require_disk.__globals__["shutil"].disk_usage
    monkeypatch.setattr("shutil.disk_usage", lambda path: replace_free(usage(path)))
    release = make_release({"MicroLens-50k_pairs.csv": "1,7,5\n2,8,6\n" * 50})
    with pytest.raises(
        MicroLensError, match=r"needs about .* GB of disk here for a while, and 0.0 GB are free"
    ):
        convert(release, "mine", tmp_path / "out")


def replace_free(usage):
    return type(usage)(usage.total, usage.total, 10)


def test_names_have_the_order_of_their_natural_keys():
    rng = random.Random(0)
    parts = ["a", "b", "1", "10", "0", " ", "é", "Z", "~"]
    names = sorted({"".join(rng.choices(parts, k=rng.randint(1, 6))) for _ in range(2000)})
    assert sorted(names, key=ranking.sort_key) == sorted(names, key=natural_key)


def test_partitions_hold_like_numbers_of_rows_and_every_key():
    rng = np.random.default_rng(0)
    numbers = np.sort(rng.zipf(1.3, 5_000).clip(max=10**12))
    ends = plan._ends(numbers >> 24, 7)
    made = replace(plan.Plan(0, 10, 0, 24, ends, 4, 1 << 20))
    named = rng.integers(-(2**63), 0, 1000)
    partitions = made.partition_of(np.concatenate([numbers, named, [0, 2**62]]))
    assert partitions.min() >= 0 and partitions.max() < made.partitions
    assert (np.diff(partitions[:5_000]) >= 0).all() and (partitions[5_000:6_000] >= len(ends)).all()
    assert np.bincount(partitions[5_000:6_000] - len(ends)).min() > 200
    assert partitions[-2] == 0 and partitions[-1] == len(ends) - 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"latest": 0}, "--latest 0: give a whole number from 1 on"),
        ({"memory": 1000}, "--memory: 1,000 bytes are too few, give 330MiB"),
        ({"atomic": False, "store": False}, "nothing is left to write"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message, make_release, tmp_path):
    with pytest.raises(MicroLensError, match=message):
        convert(make_release({"MicroLens-50k_pairs.csv": "1,7,5\n"}), "mine", tmp_path, **options)
