"""The vendors' own SDKs upload to the sandbox, and find there what they uploaded."""

from __future__ import annotations

import http.client
import io
import json

import pytest

from deluge_sync.testing import Sandbox

from .test_sandbox_sdks import anthropic_client, gemini_client, openai_client

DATA = b"%PDF-1.7\r\n--\r\n" + bytes(range(256)) + b"\r\n"


class TestOpenAI:
    """openai 3.x."""

    def test_a_file_is_kept_under_an_id_and_read_back_byte_for_byte(self, sandbox):
        files = openai_client(sandbox).files
        made = files.create(file=("résumé.pdf", DATA, "application/pdf"), purpose="user_data")
        assert made.id.startswith("file-")
        assert (made.bytes, made.filename, made.purpose) == (len(DATA), "résumé.pdf", "user_data")
        assert made.expires_at is None
        assert files.retrieve(made.id) == made
        assert files.content(made.id).read() == DATA
        kept = sandbox.files[0]
        assert (kept.id, kept.data, kept.media_type) == (made.id, DATA, "application/pdf")

    def test_files_are_listed_the_newest_first_and_page_by_page(self, sandbox):
        files = openai_client(sandbox).files
        ids = [
            files.create(file=(f"{n}.jsonl", b"{}"), purpose="batch" if n == 2 else "user_data").id
            for n in range(5)
        ]
        assert [file.id for file in files.list(limit=2)] == ids[::-1]
        assert [file.id for file in files.list(order="asc")] == ids
        assert [file.id for file in files.list(purpose="batch")] == [ids[2]]

    def test_a_deleted_file_is_gone(self, sandbox):
        openai = pytest.importorskip("openai")
        files = openai_client(sandbox).files
        made = files.create(file=b"x", purpose="user_data")
        assert files.delete(made.id).deleted
        assert sandbox.files == []
        with pytest.raises(openai.NotFoundError, match="No such File object"):
            files.retrieve(made.id)

    def test_a_file_ends_when_its_time_is_over(self, sandbox):
        files = openai_client(sandbox).files
        after = {"anchor": "created_at", "seconds": 3600}
        made = files.create(file=b"x", purpose="user_data", expires_after=after)
        assert made.expires_at - made.created_at == 3600
        batch = files.create(file=b"x", purpose="batch")
        assert batch.expires_at - batch.created_at == 30 * 86_400

    @pytest.mark.parametrize(
        ("options", "problem"),
        [
            ({"file": b"", "purpose": "user_data"}, "File is empty"),
            ({"file": b"x", "purpose": "nonsense"}, "Invalid value for 'purpose'"),
            (
                {
                    "file": b"x",
                    "purpose": "batch",
                    "expires_after": {"anchor": "created_at", "seconds": 1},
                },
                "between 3600",
            ),
        ],
    )
    def test_what_the_vendor_refuses_is_refused(self, sandbox, options, problem):
        openai = pytest.importorskip("openai")
        with pytest.raises(openai.BadRequestError, match=problem):
            openai_client(sandbox).files.create(**options)

    @pytest.mark.sandbox(api_key="right", requests_per_minute=1, clock=lambda: 0.0)
    def test_uploads_need_the_key_and_draw_nothing_from_the_limits(self, sandbox):
        openai = pytest.importorskip("openai")
        with pytest.raises(openai.AuthenticationError):
            openai_client(sandbox).files.list()
        for _ in range(3):
            assert openai_client(sandbox, api_key="right").files.create(
                file=b"x", purpose="user_data"
            )

    def test_faults_come_to_uploads_too(self, sandbox):
        sandbox.script(["503"])
        made = openai_client(sandbox, max_retries=1).files.create(file=b"x", purpose="user_data")
        assert [record.status for record in sandbox.journal] == [503, 200]
        assert made.id in [file.id for file in sandbox.files]


class TestAnthropic:
    """anthropic 2.x."""

    def test_a_file_is_kept_under_an_id_and_listed(self, sandbox):
        files = anthropic_client(sandbox).files
        made = files.upload(file=("report.pdf", DATA, "application/pdf"))
        assert made.id.startswith("file_")
        assert (made.size_bytes, made.mime_type) == (len(DATA), "application/pdf")
        assert files.retrieve_metadata(made.id) == made
        others = [files.upload(file=(f"{n}.txt", b"x", "text/plain")).id for n in range(3)]
        assert [file.id for file in files.list(limit=2)] == [*others[::-1], made.id]
        assert sandbox.files[0].data == DATA

    def test_a_deleted_file_is_gone(self, sandbox):
        anthropic = pytest.importorskip("anthropic")
        files = anthropic_client(sandbox).files
        made = files.upload(file=("a.txt", b"x", "text/plain"), expires_in_seconds=3600)
        assert made.expires_at is not None
        assert files.delete(made.id).type == "file_deleted"
        with pytest.raises(anthropic.NotFoundError):
            files.retrieve_metadata(made.id)


class TestGemini:
    """google-genai 3.x."""

    @pytest.mark.parametrize("version", ["v1", "v1beta"])
    def test_a_file_is_uploaded_in_steps_and_read_back(self, sandbox, version):
        client = gemini_client(sandbox, api_version=version)
        data = DATA * 40_000  # the SDK cuts at 8 MiB
        config = {"mime_type": "application/pdf", "display_name": "Report"}
        made = client.files.upload(file=io.BytesIO(data), config=config)
        assert (made.size_bytes, made.mime_type) == (len(data), "application/pdf")
        assert (made.display_name, made.state.value) == ("Report", "ACTIVE")
        assert client.files.get(name=made.name) == made
        assert [file.name for file in client.files.list()] == [made.name]
        assert sandbox.files[0].data == data
        client.files.delete(name=made.name)
        assert sandbox.files == []


def test_one_vendor_does_not_see_the_files_of_another(sandbox):
    anthropic = pytest.importorskip("anthropic")
    made = openai_client(sandbox).files.create(file=b"x", purpose="user_data")
    client = anthropic_client(sandbox)
    assert list(client.files.list()) == []
    with pytest.raises(anthropic.NotFoundError):
        client.files.retrieve_metadata(made.id)


@pytest.mark.parametrize(
    ("media_type", "body"),
    [
        ("application/json", b"{}"),
        ("multipart/form-data", b"--x--\r\n"),
        ("multipart/form-data; boundary=x", b""),
        ("multipart/form-data; boundary=x", b"--x\r\n\r\nno name\r\n--x--\r\n"),
        ("multipart/form-data; boundary=x", b'--x\r\ncontent-disposition: form-data; name="file"'),
        ("multipart/form-data; boundary=x", b"--y\r\n\r\n\r\n--y--\r\n"),
        ("multipart/form-data; boundary=x", b"--x--\r\n"),
    ],
)
def test_a_body_that_is_no_whole_form_is_a_400(sandbox: Sandbox, media_type: str, body: bytes):
    connection = http.client.HTTPConnection("127.0.0.1", sandbox.port, timeout=5)
    connection.request("POST", "/v1/files", body, {"Content-Type": media_type})
    answer = connection.getresponse()
    assert answer.status == 400
    assert json.loads(answer.read())["error"]["type"] == "invalid_request_error"
    connection.close()
