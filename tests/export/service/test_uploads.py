"""A form is written to the disk as it comes, and nothing of it is believed."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from export.service.asgi import in_own_loop

from recbole_microlens.export.service.problems import Refused
from recbole_microlens.export.service.uploads import received

TYPE = "multipart/form-data; boundary=xyz"


def part(name, content, filename=None):
    named = f'; filename="{filename}"' if filename is not None else ""
    head = f'--xyz\r\nContent-Disposition: form-data; name="{name}"{named}\r\n\r\n'
    return head.encode() + content + b"\r\n"


def form(*parts):
    return b"".join(parts) + b"--xyz--\r\n"


def take(chunks, folder, kind=TYPE, watch=None, further=()):
    async def body():
        for chunk in chunks:
            if watch is not None:
                watch()
            yield chunk

    async def run():
        with ThreadPoolExecutor(1) as executor:
            return await received(body(), kind, folder, executor, further)

    return in_own_loop(run())


def in_pieces(content, size):
    return [content[start : start + size] for start in range(0, len(content), size)]


VIDEO = bytes(range(256)) * 20 + b"\r\n--xy\r\n--xyz?" + b"\r\n" * 3


@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_a_form_is_what_was_sent_however_it_is_cut(size, tmp_path):
    content = form(
        part("item_id", "ñ 1".encode()), part("video", VIDEO, "a.MP4"), part("title", "Tïtle".encode())
    )
    upload = take(in_pieces(content, size), tmp_path)
    assert upload.texts == {"item_id": "ñ 1", "title": "Tïtle"}
    assert upload.files == {"video": tmp_path / "video.mp4"}
    assert upload.files["video"].read_bytes() == VIDEO


def test_what_the_template_of_the_run_names_may_be_given_too(tmp_path):
    content = form(part("item_id", b"1"), part("tag", b"toys"))
    assert take([content], tmp_path, further=("title", "tag")).texts == {"item_id": "1", "tag": "toys"}
    with pytest.raises(Refused, match="its fields are item_id, title, cold, video, cover"):
        take([content], tmp_path)


def test_bytes_are_on_the_disk_before_the_last_has_come(tmp_path):
    sizes = []

    def look():
        sizes.append(sum(file.stat().st_size for file in tmp_path.iterdir()))

    megabyte = bytes(1 << 20)
    content = form(part("item_id", b"x"), part("video", megabyte * 8, "a.mp4"))
    take(in_pieces(content, 1 << 16), tmp_path, watch=look)
    assert sizes[64] > 60 << 16


@pytest.mark.parametrize(
    "filename", ["../../etc/passwd", "/etc/passwd.mp4", "..", "a\\b.mp4", "x" * 3000 + ".mp4"]
)
def test_a_files_name_is_no_path(filename, tmp_path):
    folder = tmp_path / "inside"
    folder.mkdir()
    upload = take([form(part("item_id", b"x"), part("video", b"v", filename))], folder)
    assert upload.files["video"].parent == folder
    assert upload.files["video"].name in ("video", "video.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["inside"]


def test_an_empty_file_is_as_if_it_was_not_there(tmp_path):
    assert take([form(part("item_id", b"x"), part("cover", b"", ""))], tmp_path).files == {}


@pytest.mark.parametrize(
    ("content", "status", "message"),
    [
        (form(part("id", b"x")), 422, "The form has a field 'id', but its fields are item_id, title"),
        (form(part("item_id", b"x"), part("item_id", b"y")), 422, "item_id is given twice"),
        (form(part("item_id", b"x" * 1000)), 422, "item_id is longer than 200 characters"),
        (form(part("item_id", b"x" * 201)), 422, "item_id is longer than 200 characters"),
        (form(part("title", b"x" * 5000)), 422, "title is longer than 1000 characters"),
        (form(part("item_id", b"\xff\xfe")), 422, "item_id is not UTF-8"),
        (part("item_id", b"x") + part("video", b"half", "a.mp4"), 400, "ends before its last boundary"),
        (b"no form", 400, "The form cannot be read"),
        (b"", 400, "ends before its last boundary"),
        (b"--xyz\r\nContent-Disposition: form-data; name=" + b"a" * 9000, 400, "The form cannot be read"),
        (b"--xyz\r\n" + b"A: b\r\n" * 50, 400, "The form cannot be read"),
        (b"--xyz\r\n\r\nwithout a name\r\n--xyz--\r\n", 422, "The form has a field ''"),
    ],
)
def test_what_is_no_such_form_is_refused(content, status, message, tmp_path):
    with pytest.raises(Refused) as refused:
        take(in_pieces(content, 100), tmp_path)
    assert refused.value.status_code == status and message in refused.value.detail


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (None, 415),
        ("application/json", 415),
        ("multipart/mixed; boundary=xyz", 415),
        ("multipart/form-data", 400),
        ("multipart/form-data; boundary=", 400),
        ("multipart/form-data; boundary=" + "x" * 300, 400),
    ],
)
def test_another_content_type_is_refused_before_anything_is_read(kind, status, tmp_path):
    with pytest.raises(Refused) as refused:
        take(iter([]), tmp_path, kind)
    assert refused.value.status_code == status
